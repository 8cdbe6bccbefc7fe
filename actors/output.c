/* output.c - bytes to a client: a queue of heads and payloads, gathered into TLS records of 16 KiB.
 *
 * Nothing is written when a piece arrives. The connection is marked, and when the reactor's own mailbox is empty its
 * whole queue is encrypted and sent with one system call: an answer that came as three messages costs one write. A
 * piece that arrives alone is written at the end of the same turn; corking never waits for time. Payloads stay where
 * they are until they are encrypted.
 */
#include "ingress.h"

void output_nudge (struct connection *connection)
{
    if (connection->dirty)
        return;
    connection->dirty = true;
    connection->next_dirty = connection->ingress->dirty;
    connection->ingress->dirty = connection;
}

void output_head (struct connection *connection, zmq_msg_t *bytes)
{
    byte_queue_add (&connection->output, bytes, BYTES_HEAD);
    output_nudge (connection);
}

void output_body (struct connection *connection, zmq_msg_t *payload, bool chunked)
{
    byte_queue_add (&connection->output, payload, chunked ? BYTES_CHUNK : BYTES_PAYLOAD);
    output_nudge (connection);
}

bool output_is_empty (const struct connection *connection)
{
    return connection->output.count == 0 && !connection->tls.unsent;
}

void output_flush (struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSED || !connection->tls.ssl)
        return;
    size_t payload = 0;
    enum tls_result result = tls_write_queue (&connection->tls, &connection->output, &payload);
    if (result == TLS_FAILED)
    {
        connection_cut (connection, "the client ended the connection");
        return;
    }
    connection_watch_output (connection, result == TLS_BLOCKED);
    if (result == TLS_BLOCKED)
        tls_rest (&connection->tls); /* a slow client shall not cost more than its window and what is unsent */
    if (payload)
        exchange_payload_sent (connection, payload);
    if (result == TLS_OK)
        exchange_output_done (connection);
}
