/* upstream_request.c - bytes to a server: heads, bodies, the client's credit. See upstream.h. */
#include "upstream.h"

#include "ensure.h"

#include <stdlib.h>
#include <sys/socket.h>

enum
{
    SMALL_HEAD_BYTES = 4096, /* a head up to this size is put together on the stack */
};

void upstream_grant (struct upstream_connection *connection, uint32_t bytes)
{
    union message_fields fields = {.credit = {.bytes = bytes}};
    actor_send (connection->upstream->owner->actor, connection->client, MESSAGE_credit, &connection->subject, &fields,
                NULL);
}

/* The first grant has the client send, and has ingress say 100 Continue: not before somebody is there to read. */
void upstream_grant_first (struct upstream_connection *connection)
{
    if (connection->first_credit)
        upstream_grant (connection, connection->first_credit);
    connection->first_credit = 0;
}

static void end_writing (struct upstream_connection *connection)
{
    if (connection->write_ended)
        return;
    connection->write_ended = true;
    if (transport_end (connection) == TRANSPORT_BLOCKED)
        watch_change (&connection->watch, connection->watch.events | EPOLLOUT);
}

void upstream_flush (struct upstream_connection *connection)
{
    size_t payload = 0;
    if (connection->state != UPSTREAM_BUSY && connection->state != UPSTREAM_RAW)
        return;
    enum transport_result result = TRANSPORT_OK;
    if (!connection->write_failed)
        result = transport_write (connection, &payload);
    if (result == TRANSPORT_FAILED)
    {
        connection->write_failed = true; /* its answer may still be there to be read */
        byte_queue_free (&connection->output);
    }
    uint32_t events = connection->watch.events & ~(uint32_t) EPOLLOUT;
    watch_change (&connection->watch, result == TRANSPORT_BLOCKED ? events | EPOLLOUT : events);
    uint32_t credit = payload ? window_consume (&connection->window, payload) : 0;
    if (credit && !connection->request_done)
        upstream_grant (connection, credit);
    if (connection->state != UPSTREAM_RAW || !connection->request_done || connection->output.count)
        return;
    end_writing (connection);
    if (connection->answer_ended && transport_is_flushed (connection))
        upstream_close (connection);
}

/* Sends bytes at once when nothing waits before them; what the kernel does not take is queued. */
static void queue_or_send (struct upstream_connection *connection, const char *bytes, size_t length)
{
    ssize_t sent = -1;
    if (connection->fd >= 0 && !connection->tls.ssl && connection->output.count == 0)
        sent = send (connection->fd, bytes, length, MSG_NOSIGNAL);
    size_t done = sent > 0 ? (size_t) sent : 0; /* a failure is met again, and handled, by upstream_flush() */
    connection->sent = connection->sent || done;
    if (done == length)
        return;
    zmq_msg_t frame;
    payload_copy (&frame, bytes + done, length - done);
    byte_queue_add (&connection->output, &frame, BYTES_HEAD);
}

/* The head of the request: as the client sent it, but for what is between it and us (RFC 9110 section 7.6.1), and what
 * the kind of upstream makes of its fields. */
void upstream_send_head (struct upstream_connection *connection, const struct message_request *request)
{
    const struct upstream_kind *kind = connection->upstream->owner->kind;
    size_t bound = http_head_bound (request->method, request->target, request->headers) + request->upgrade.len +
                   request->authority.len + kind->fields_room + 256;
    char small[SMALL_HEAD_BYTES], *bytes = bound <= sizeof small ? small : must (malloc (bound));
    struct http_writer writer = {.at = bytes, .capacity = bound};
    http_write_request_line (&writer, request->method, request->target);
    kind->write_fields (connection, &writer, request);
    http_write_framing (&writer, (enum framing) request->framing, request->length);
    if (request->framing == FRAMING_NONE && !slice_equal (request->method, SLICE ("GET")) && !connection->is_head)
        http_write_field (&writer, SLICE ("Content-Length"), SLICE ("0"));
    if (request->upgrade.len)
    {
        http_write_field (&writer, SLICE ("Connection"), SLICE ("Upgrade"));
        http_write_field (&writer, SLICE ("Upgrade"), request->upgrade);
    }
    http_write_end (&writer);
    ensure (!writer.overflow);
    queue_or_send (connection, bytes, writer.length);
    if (bytes != small)
        free (bytes);
}

void upstream_on_body (struct upstream_connection *connection, struct message *message)
{
    if (connection->write_failed || connection->request_done || zmq_msg_size (message->payload) == 0)
        return;
    bool chunked = connection->state != UPSTREAM_RAW && connection->request_framing == FRAMING_CHUNKED;
    byte_queue_add (&connection->output, message->payload, chunked ? BYTES_CHUNK : BYTES_PAYLOAD);
    upstream_flush (connection);
}

void upstream_on_end (struct upstream_connection *connection)
{
    if (connection->request_done)
        return;
    connection->request_done = true;
    if (connection->state != UPSTREAM_RAW && connection->request_framing == FRAMING_CHUNKED)
    {
        zmq_msg_t last;
        payload_copy (&last, "0\r\n\r\n", 5);
        byte_queue_add (&connection->output, &last, BYTES_HEAD);
    }
    upstream_flush (connection);
}
