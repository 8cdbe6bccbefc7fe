/* upstream_answer.c - bytes from a server: heads, bodies, raw streams, and their ends. See upstream.h. */
#include "upstream.h"

#include "ensure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum
{
    INQUIRY_BYTES_MAX = 8 * 1024 * 1024, /* an answer to a question of the agent's own */
};

static void send_piece (struct upstream_connection *connection, char *bytes, size_t length)
{
    struct upstream_owner *owner = connection->upstream->owner;
    zmq_msg_t payload;
    payload_from_buffer (&payload, &owner->buffer, bytes, length);
    connection->credit -= length < connection->credit ? length : connection->credit;
    actor_send (owner->actor, connection->client, MESSAGE_body, &connection->subject, NULL, &payload);
}

static void send_end (struct upstream_connection *connection)
{
    static const union message_fields no_trailers;
    if (connection->answer_ended)
        return;
    connection->answer_ended = true;
    if (!connection->inquiry)
        actor_send (connection->upstream->owner->actor, connection->client, MESSAGE_end, &connection->subject,
                    &no_trailers, NULL);
}

static void fail_malformed (struct upstream_connection *connection)
{
    char why[UPSTREAM_TEXT];
    snprintf (why, sizeof why, "the answer of %.300s is malformed: %s", connection->upstream->name,
              connection->reader.error_text);
    upstream_fail (connection, 502, why);
}

/* -------------------------------------------------------------------------------------------------------------- heads
 */

static bool is_raw_type (struct headers headers)
{
    struct slice type = headers_find (headers, SLICE ("Content-Type"));
    return slice_equal (type, SLICE ("application/vnd.docker.raw-stream")) ||
           slice_equal (type, SLICE ("application/vnd.docker.multiplexed-stream"));
}

/* From here on bytes flow raw in both directions. The client's need credit. */
static bool go_raw (struct upstream_connection *connection)
{
    struct upstream_owner *owner = connection->upstream->owner;
    owner->counters.upgrades++;
    connection->state = UPSTREAM_RAW;
    connection->request_done = false;
    window_close (&connection->window);
    uint32_t credit = window_open (&connection->window, owner->configuration->budget);
    if (credit)
        upstream_grant (connection, credit);
    return credit > 0;
}

/* A length that belongs to the head though no body follows: HEAD and 304. */
static struct headers with_length (struct upstream_connection *connection, char digits[24])
{
    struct http_head *head = &connection->reader.head;
    struct header *table = connection->upstream->owner->table;
    if (!head->length_known || head->framing != FRAMING_NONE || head->headers.count == HTTP_HEADERS_MAX ||
        !(connection->is_head || head->status == 304))
        return head->headers;
    snprintf (digits, 24, "%llu", (unsigned long long) head->length);
    table[head->headers.count] = (struct header){SLICE ("Content-Length"), slice_from (digits)};
    return (struct headers){table, head->headers.count + 1};
}

/* The head of the answer is whole. Returns false when the connection is gone. */
static bool pass_head (struct upstream_connection *connection)
{
    struct upstream_owner *owner = connection->upstream->owner;
    struct http_head *head = &connection->reader.head;
    enum framing framing = head->framing;
    /* Without Upgrade the engine answers 200, raw-stream, no length (contract 6.3). */
    if (framing == FRAMING_CLOSE && connection->hijackable && head->status == 200 && is_raw_type (head->headers))
        framing = FRAMING_RAW;
    char why[UPSTREAM_TEXT];
    if (framing == FRAMING_RAW && !connection->hijackable)
    {
        snprintf (why, sizeof why, "%.300s changed the protocol, which the request did not ask for",
                  connection->upstream->name);
        upstream_fail (connection, 502, why);
        return false;
    }
    if (owner->kind->answered && !connection->inquiry)
        owner->kind->answered (connection, head);
    if (connection->state == UPSTREAM_CLOSED)
        return false;
    connection->head_done = true;
    if (connection->inquiry)
        return true;
    char digits[24];
    union message_fields fields = {.response = {.status = head->status,
                                                .reason = head->reason,
                                                .framing = framing,
                                                .length = framing == FRAMING_LENGTH ? head->length : 0,
                                                .upgrade = head->status == 101 ? head->upgrade : SLICE (""),
                                                .headers = with_length (connection, digits)}};
    actor_send (owner->actor, connection->client, MESSAGE_response, &connection->subject, &fields, NULL);
    if (framing == FRAMING_RAW && !go_raw (connection))
    {
        upstream_fail (connection, 503, "too much data in flight; see --payload-total");
        return false;
    }
    return true;
}

/* -------------------------------------------------------------------------------------------------------------- bodies
 */

static void collect (struct upstream_connection *connection, struct slice piece)
{
    struct inquiry *inquiry = connection->inquiry;
    if (inquiry->length + piece.len + 1 > inquiry->capacity)
    {
        inquiry->capacity = (inquiry->length + piece.len + 1) * 2;
        inquiry->text = must (realloc (inquiry->text, inquiry->capacity));
    }
    memcpy (inquiry->text + inquiry->length, piece.at, piece.len);
    inquiry->length += piece.len;
}

/* The answer is whole. */
static void complete (struct upstream_connection *connection, bool leftover)
{
    struct inquiry *inquiry = connection->inquiry;
    unsigned status = connection->reader.head.status;
    send_end (connection);
    upstream_release (connection, leftover);
    if (inquiry)
        inquiry->done (inquiry->self, inquiry, status, slice_of (inquiry->text, inquiry->length));
}

/* Uses bytes of the answer's body. */
static void use_body (struct upstream_connection *connection, char *bytes, size_t length)
{
    struct slice piece = slice_of (bytes, length);
    enum http_result result = HTTP_MORE;
    size_t used = length;
    if (connection->state != UPSTREAM_RAW)
        result = http_reader_body (&connection->reader, bytes, length, &piece, &used);
    if (result == HTTP_ERROR)
    {
        fail_malformed (connection);
        return;
    }
    if (piece.len && connection->inquiry)
    {
        if (connection->inquiry->length + piece.len > INQUIRY_BYTES_MAX)
        {
            upstream_fail (connection, 502, "the answer to a question of the agent's own is too long");
            return;
        }
        collect (connection, piece);
    }
    else if (piece.len)
        send_piece (connection, bytes + (piece.at - bytes), piece.len);
    if (result == HTTP_DONE)
        complete (connection, used < length);
}

/* Uses bytes of the answer; returns how many, fewer than given only when a head is incomplete. */
static size_t use_answer (struct upstream_connection *connection, char *bytes, size_t length)
{
    size_t used = 0;
    while (!connection->head_done)
    {
        struct header *table = connection->upstream->owner->table;
        switch (http_reader_head (&connection->reader, bytes + used, length - used, table))
        {
        case HTTP_MORE:
            return used;
        case HTTP_ERROR:
            fail_malformed (connection);
            return length;
        default:
            break;
        }
        used += connection->reader.head.bytes;
        unsigned status = connection->reader.head.status;
        if (status < 200 && status != 101)
            http_reader_next (&connection->reader); /* an interim answer: ingress makes its own */
        else if (!pass_head (connection))
            return length;
    }
    /* Also without bytes: a body of length nothing is complete now. */
    use_body (connection, bytes + used, length - used);
    return length;
}

static void use_bytes (struct upstream_connection *connection, char *bytes, size_t length)
{
    connection->any_byte = true;
    if (connection->head_done)
    {
        use_body (connection, bytes, length);
        return;
    }
    if (connection->held)
    {
        connection->held = must (realloc (connection->held, connection->held_length + length));
        memcpy (connection->held + connection->held_length, bytes, length);
        char *all = connection->held;
        size_t all_length = connection->held_length + length;
        connection->held = NULL; /* the connection may be closed below */
        size_t used = use_answer (connection, all, all_length);
        if (used == all_length)
        {
            free (all);
            return;
        }
        memmove (all, all + used, all_length - used);
        connection->held = all;
        connection->held_length = all_length - used;
        return;
    }
    size_t used = use_answer (connection, bytes, length);
    if (used < length)
    {
        connection->held_length = length - used;
        connection->held = must (malloc (connection->held_length));
        memcpy (connection->held, bytes + used, connection->held_length);
    }
}

/* --------------------------------------------------------------------------------------------------------------- ends
 */

/* The server ended its direction: in order when reason is NULL. */
static void on_server_end (struct upstream_connection *connection, const char *reason)
{
    struct upstream *upstream = connection->upstream;
    bool tls = connection->tls.ssl != NULL;
    /* FIN without close_notify may be an attacker's; on a Unix socket there is nobody between. */
    if (connection->state == UPSTREAM_RAW && (!reason || !tls))
    {
        send_end (connection);
        watch_change (&connection->watch, connection->watch.events & ~(uint32_t) (EPOLLIN | EPOLLRDHUP));
        if (connection->request_done && connection->output.count == 0 && transport_is_flushed (connection))
            upstream_close (connection);
    }
    else if (connection->head_done && connection->reader.head.framing == FRAMING_CLOSE && !reason)
        complete (connection, true);
    else if (!connection->any_byte && connection->kept && connection->repeatable && !connection->fresh)
        upstream_retry (connection);
    else
    {
        char why[UPSTREAM_TEXT];
        snprintf (why, sizeof why, "%.300s closed the connection %s%s%s", upstream->name,
                  !connection->any_byte   ? "before it answered"
                  : connection->head_done ? "in the middle of its answer"
                                          : "in the middle of its answer's head",
                  reason ? ": " : "", reason ? reason : "");
        if (upstream->owner->kind->lost)
            upstream->owner->kind->lost (upstream, why);
        upstream_fail (connection, 502, why);
    }
}

/* Stops reading until there is credit. The kernel reports a hang-up whatever one asks for, so then the watch must end.
 */
static void pause_reading (struct upstream_connection *connection, uint32_t events)
{
    if (events & (EPOLLHUP | EPOLLERR))
        watch_end (&connection->watch);
    else
        watch_change (&connection->watch, connection->watch.events & ~(uint32_t) (EPOLLIN | EPOLLRDHUP));
}

static bool reads (const struct upstream_connection *connection)
{
    return (connection->state == UPSTREAM_BUSY || connection->state == UPSTREAM_RAW) && !connection->answer_ended;
}

/* Reads once. Returns whether more waits that the descriptor does not tell of. */
static bool read_once (struct upstream_connection *connection, uint32_t events)
{
    struct upstream_owner *owner = connection->upstream->owner;
    size_t size = PAYLOAD_BUFFER_BYTES, length;
    if (!connection->inquiry && connection->credit < size)
        size = connection->credit;
    if (size == 0)
    {
        pause_reading (connection, events);
        return false;
    }
    switch (transport_read (connection, owner->buffer.bytes, size, &length))
    {
    case TRANSPORT_OK:
        use_bytes (connection, owner->buffer.bytes, length);
        return transport_has_pending (connection);
    case TRANSPORT_ENDED:
        on_server_end (connection, NULL);
        return false;
    case TRANSPORT_FAILED:
        on_server_end (connection, connection->reason);
        return false;
    default:
        return false;
    }
}

void upstream_read (struct upstream_connection *connection, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP))
        while (reads (connection) && read_once (connection, events))
            continue;
    /* The server closed both directions of a raw stream, and its last byte was read: nothing can be sent to it any
     * more. */
    if ((events & (EPOLLHUP | EPOLLERR)) && connection->state == UPSTREAM_RAW && connection->answer_ended)
        upstream_abort (connection, "the other side closed the stream");
    else if ((events & EPOLLERR) && connection->state == UPSTREAM_BUSY && !(events & EPOLLIN))
        on_server_end (connection, "connection error");
}

void upstream_on_credit (struct upstream_connection *connection, uint64_t bytes)
{
    connection->credit += bytes;
    if (!reads (connection))
        return;
    struct upstream_owner *owner = connection->upstream->owner;
    if (connection->watch.fd >= 0)
        watch_change (&connection->watch, connection->watch.events | EPOLLIN | EPOLLRDHUP);
    else if (watch_set (owner->actor, &connection->watch, connection->fd, EPOLLIN | EPOLLRDHUP,
                        connection->watch.ready) < 0)
    {
        upstream_fail (connection, 502, strerror (errno));
        return;
    }
    if (transport_has_pending (connection))
        upstream_read (connection, EPOLLIN);
}
