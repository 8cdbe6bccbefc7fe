/* connection.c - one client's connection: handshake, bytes in, time-outs, end.
 *
 *     NEW ─first byte─▶ HANDSHAKE ─▶ HEAD ─head whole─▶ EXCHANGE ─answer and body done─▶ HEAD ...
 *                          │           │                   │  └─101, raw answer─▶ RAW ─both directions ended─▶ LINGER
 *                          └───────────┴── refused, last answer, time-out ─▶ LINGER ─▶ CLOSED
 *
 * Reading stops when nobody can take the bytes: no credit for a body, or HELD_MAX bytes of later requests. An end of
 * file without close_notify is an abort, also when it comes while nothing is read (EPOLLRDHUP).
 *
 * TLS state exists from the first byte on, so that connections which only stand there cost a kilobyte each.
 */
#include "ingress.h"

#include "ensure.h"
#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_ready (struct watch *watch, uint32_t events);
static void on_timer (struct timer *timer);

/* ----------------------------------------------------------------------------------------------------- begin and end
 */

void connection_new (struct ingress *ingress, int fd, const char *source)
{
    struct connection *connection = must (calloc (1, sizeof *connection));
    connection->ingress = ingress;
    connection->fd = fd;
    snprintf (connection->source, sizeof connection->source, "%s", source);
    http_reader_init (&connection->reader, false);
    if (watch_set (ingress->actor, &connection->watch, fd, EPOLLIN | EPOLLRDHUP, on_ready) < 0)
    {
        log_warn ("ingress", "cannot watch the connection of %s: %s", source, strerror (errno));
        close (fd);
        free (connection);
        return;
    }
    connection->over_limit = ingress->connection_count >= ingress->configuration->connections;
    connection->next = ingress->connections;
    if (connection->next)
        connection->next->previous = connection;
    ingress->connections = connection;
    ingress->connection_count++;
    connection_set_deadline (connection, ingress->configuration->header_time);
}

static void account_head (struct connection *connection, size_t bytes)
{
    connection->ingress->unfinished_heads += bytes - connection->head_bytes;
    connection->head_bytes = bytes;
}

static void free_connection (void *object)
{
    struct connection *connection = object;
    free (connection->input);
    byte_queue_free (&connection->output);
    free (connection);
}

static void close_connection (struct connection *connection)
{
    struct ingress *ingress = connection->ingress;
    ensure (connection->state != CONNECTION_CLOSED && !connection->exchange.active);
    connection->state = CONNECTION_CLOSED;
    account_head (connection, 0);
    watch_end (&connection->watch);
    timer_clear (&connection->timer);
    ingress->buffered_count -= connection->buffered;
    tls_close (&connection->tls);
    close (connection->fd);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        ingress->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    ingress->connection_count--;
    /* It may still stand in the list of connections with output; that list is walked before deferred objects are freed.
     */
    actor_defer (ingress->actor, free_connection, connection);
}

void connection_cut (struct connection *connection, const char *why)
{
    if (connection->state == CONNECTION_CLOSED)
        return;
    if (connection->exchange.active)
    {
        connection->ingress->counters.aborted++;
        log_debug ("ingress", "%s: cut: %s", connection->source, why);
        exchange_abort (connection, why);
    }
    close_connection (connection);
}

/* All output is written: says goodbye and waits for the client to close, so that the kernel does not throw away what
 * the client has not read yet, as it would when bytes of the client lie unread at close(). */
static void finish_linger (struct connection *connection)
{
    if (!connection->write_closed)
    {
        connection->write_closed = true;
        if (connection->tls.ssl)
        {
            tls_end (&connection->tls);
            enum tls_result result = tls_flush (&connection->tls);
            if (result == TLS_FAILED)
            {
                close_connection (connection);
                return;
            }
            connection_watch_output (connection, result == TLS_BLOCKED);
            if (result == TLS_BLOCKED)
                return;
        }
        shutdown (connection->fd, SHUT_WR);
    }
    if (connection->read_closed && connection->state != CONNECTION_CLOSED)
        close_connection (connection);
}

void connection_linger (struct connection *connection)
{
    ensure (!connection->exchange.active);
    account_head (connection, 0);
    connection->state = CONNECTION_LINGER;
    connection->input_length = 0;
    connection_set_deadline (connection, LINGER_TIME);
    watch_change (&connection->watch, connection->watch.events | EPOLLIN);
    if (output_is_empty (connection))
        finish_linger (connection);
}

bool connection_is_idle (const struct connection *connection)
{
    return connection->state < CONNECTION_HEAD ||
           (connection->state == CONNECTION_HEAD && connection->input_length == 0);
}

/* ---------------------------------------------------------------------------------------------------------- time-outs
 */

/* Timers are lazy: a later deadline leaves the timer where it is, and the timer looks again when it fires. So a busy
 * connection never touches the heap. */
void connection_set_deadline (struct connection *connection, uint64_t milliseconds)
{
    struct actor *actor = connection->ingress->actor;
    connection->deadline = actor_now (actor) + milliseconds;
    if (!connection->timer.place || connection->timer.at > connection->deadline)
        timer_set (actor, &connection->timer, milliseconds, on_timer);
}

static void on_timer (struct timer *timer)
{
    struct connection *connection = OWNER (timer, struct connection, timer);
    struct ingress *ingress = connection->ingress;
    uint64_t now = actor_now (ingress->actor);
    if (connection->deadline == 0 || now < connection->deadline)
    {
        uint64_t wait = connection->deadline ? connection->deadline - now : ingress->configuration->idle_time;
        timer_set (ingress->actor, timer, wait, on_timer);
        return;
    }
    if (connection->state == CONNECTION_HEAD && connection->input_length)
    {
        ingress->counters.timeouts++;
        exchange_refuse (connection, 408, "Request head not complete in time", "send the whole head at once");
        return;
    }
    if (connection->state < CONNECTION_HEAD)
        ingress->counters.timeouts++;
    if (connection->state == CONNECTION_HEAD)
        connection_linger (connection);
    else
        connection_cut (connection, "timed out");
}

/* -------------------------------------------------------------------------------------------------------------- input
 */

static bool wants_input (const struct connection *connection)
{
    if (connection->read_closed)
        return false;
    switch (connection->state)
    {
    case CONNECTION_EXCHANGE:
        if (!connection->exchange.request_done && !connection->exchange.discard)
            return connection->exchange.credit > 0;
        return connection->input_length < HELD_MAX;
    case CONNECTION_RAW:
        return connection->exchange.credit > 0;
    case CONNECTION_CLOSED:
        return false;
    default:
        return true;
    }
}

static void reserve_input (struct connection *connection, size_t length)
{
    if (length <= connection->input_capacity)
        return;
    size_t capacity = connection->input_capacity ? connection->input_capacity * 2 : 4096;
    while (capacity < length)
        capacity *= 2;
    connection->input = must (realloc (connection->input, capacity));
    connection->input_capacity = capacity;
}

static size_t parse_head (struct connection *connection, char *bytes, size_t length)
{
    struct ingress *ingress = connection->ingress;
    switch (http_reader_head (&connection->reader, bytes, length, ingress->table))
    {
    case HTTP_ERROR:
        exchange_refuse (connection, connection->reader.error_status, "Request refused", connection->reader.error_text);
        return length;
    case HTTP_DONE:
        account_head (connection, 0);
        connection->state = CONNECTION_EXCHANGE;
        connection->deadline = 0;
        exchange_begin (connection);
        return connection->reader.head.bytes;
    default:
        break;
    }
    if (connection->head_bytes == 0)
        connection_set_deadline (connection, ingress->configuration->header_time);
    account_head (connection, length);
    if (ingress->unfinished_heads > UNFINISHED_HEADS_MAX)
    {
        ingress->counters.over_limit++;
        exchange_refuse (connection, 503, "Too many unfinished requests",
                         "the heads of all clients exceed 16 MiB; try again");
        return length;
    }
    return 0;
}

/* Uses what can be used of bytes and returns how many were. */
static size_t use_input (struct connection *connection, char *bytes, size_t length)
{
    size_t used = 0;
    while (used < length)
    {
        size_t step;
        switch (connection->state)
        {
        case CONNECTION_HEAD:
            step = parse_head (connection, bytes + used, length - used);
            break;
        case CONNECTION_EXCHANGE:
        case CONNECTION_RAW:
            step = exchange_input (connection, bytes + used, length - used);
            break;
        case CONNECTION_LINGER:
            connection->discarded += length - used;
            step = length - used;
            break;
        default:
            return length;
        }
        used += step;
        if (step == 0)
            break;
    }
    return used;
}

static void use_held_input (struct connection *connection)
{
    if (connection->input_length == 0)
        return;
    size_t used = use_input (connection, connection->input, connection->input_length);
    if (connection->state == CONNECTION_CLOSED || connection->input_length == 0)
        return;
    connection->input_length -= used;
    if (connection->input_length == 0)
    {
        free (connection->input);
        connection->input = NULL;
        connection->input_capacity = 0;
    }
    else if (used)
        memmove (connection->input, connection->input + used, connection->input_length);
}

/* close_notify came and everything before it was used. */
static void end_input (struct connection *connection)
{
    switch (connection->state)
    {
    case CONNECTION_EXCHANGE:
    case CONNECTION_RAW:
        exchange_input_end (connection);
        break;
    case CONNECTION_LINGER:
        if (connection->write_closed)
            close_connection (connection);
        break;
    case CONNECTION_CLOSED:
        break;
    default:
        connection_linger (connection);
    }
}

/* Reads plaintext, as many records as one read of the socket brought, and uses it. Returns false when there is nothing
 * to go on with. */
static bool read_once (struct connection *connection)
{
    struct ingress *ingress = connection->ingress;
    struct tls *tls = &connection->tls;
    bool held = connection->input_length > 0;
    if (held)
        reserve_input (connection, connection->input_length + TLS_RECORD_BYTES);
    char *bytes = held ? connection->input + connection->input_length : ingress->buffer.bytes;
    size_t size = held ? connection->input_capacity - connection->input_length : PAYLOAD_BUFFER_BYTES, length = 0;
    enum tls_result result;
    do
    {
        size_t more = 0;
        result = tls_read (tls, bytes + length, size - length, &more);
        length += more;
    } while (result == TLS_OK && tls_has_pending (tls) && size - length >= TLS_RECORD_BYTES);

    if (result == TLS_FAILED)
    {
        connection_cut (connection, "the client ended the connection");
        return false;
    }
    if (result == TLS_CLOSED)
        connection->read_closed = true;
    if (length && held)
    {
        connection->input_length += length;
        use_held_input (connection);
    }
    else if (length)
    {
        size_t used = use_input (connection, bytes, length);
        if (used < length && connection->state != CONNECTION_CLOSED)
        {
            reserve_input (connection, length - used);
            memcpy (connection->input, bytes + used, length - used);
            connection->input_length = length - used;
        }
    }
    if (connection->read_closed && (connection->input_length == 0 || connection->state == CONNECTION_HEAD))
    {
        end_input (connection);
        return false;
    }
    return result == TLS_OK && connection->state != CONNECTION_CLOSED && tls_has_pending (tls);
}

static void read_input (struct connection *connection)
{
    while (wants_input (connection) && read_once (connection))
        continue;
    if (connection->state == CONNECTION_CLOSED)
        return;
    uint32_t events = connection->watch.events & ~(uint32_t) EPOLLIN;
    watch_change (&connection->watch, wants_input (connection) ? events | EPOLLIN : events);
}

void connection_resume_input (struct connection *connection)
{
    use_held_input (connection);
    if (connection->state == CONNECTION_CLOSED)
        return;
    if (connection->read_closed)
    {
        if (connection->input_length == 0 || connection->state == CONNECTION_HEAD)
            end_input (connection);
        return;
    }
    if (!wants_input (connection))
        return;
    /* What OpenSSL has read already, epoll will not tell of. */
    if (tls_has_pending (&connection->tls))
        read_input (connection);
    else
        watch_change (&connection->watch, connection->watch.events | EPOLLIN);
}

/* Between requests a connection gives its TLS buffers back, but for the first ones, which keep theirs: so many clients
 * cost little, and few clients cost no time. */
static void rest (struct connection *connection)
{
    struct ingress *ingress = connection->ingress;
    if (connection->reads_far)
        tls_read_far (&connection->tls, false);
    connection->reads_far = false;
    if (!connection->buffered && ingress->buffered_count < BUFFERED_CONNECTIONS)
    {
        connection->buffered = true;
        ingress->buffered_count++;
    }
    else if (!connection->buffered)
        tls_rest (&connection->tls);
}

void connection_next_request (struct connection *connection)
{
    rest (connection);
    http_reader_next (&connection->reader);
    connection->exchange = (struct exchange){.active = false};
    connection->state = CONNECTION_HEAD;
    connection_set_deadline (connection, connection->ingress->configuration->idle_time);
    connection_resume_input (connection);
}

/* ---------------------------------------------------------------------------------------------------------- handshake
 */

static bool looks_like_http (uint8_t first)
{
    return first >= 'A' && first <= 'Z';
}

static void answer_plain_http (struct connection *connection)
{
    static const char body[] =
        "{\"message\":\"This port speaks HTTPS\",\"details\":\"Use https:// and accept the agent's "
        "self-signed certificate\"}";
    char answer[512];
    int length = snprintf (answer, sizeof answer,
                           "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                           "Connection: close\r\n\r\n%s",
                           sizeof body - 1, body);
    connection->ingress->counters.plain_http++;
    if (send (connection->fd, answer, (size_t) length, MSG_NOSIGNAL) < 0)
        log_debug ("ingress", "%s: %s", connection->source, strerror (errno));
    /* TLS never began: what still comes is read and thrown away as it is. */
    tls_close (&connection->tls);
    connection_linger (connection);
}

static void handshake (struct connection *connection)
{
    if (connection->state == CONNECTION_NEW)
    {
        if (tls_open (&connection->tls, connection->ingress->tls, connection->fd) < 0)
        {
            connection_cut (connection, "no memory for TLS");
            return;
        }
        connection->state = CONNECTION_HANDSHAKE;
    }
    enum tls_result result = tls_handshake (&connection->tls);
    const char *reason = result == TLS_FAILED ? tls_reason (&connection->tls) : "";
    enum tls_result flushed = tls_flush (&connection->tls);
    if (result == TLS_FAILED && connection->tls.first_known && looks_like_http (connection->tls.first))
    {
        answer_plain_http (connection);
        return;
    }
    if (result == TLS_FAILED || result == TLS_CLOSED || flushed == TLS_FAILED)
    {
        /* Probes and port scanners end here: counted, and not worth a line each. */
        connection->ingress->counters.handshake_failures++;
        log_debug ("ingress", "%s: TLS handshake failed: %s", connection->source, reason);
        connection_cut (connection, "TLS handshake failed");
        return;
    }
    connection_watch_output (connection, flushed == TLS_BLOCKED);
    if (result != TLS_OK)
        return;
    connection->state = CONNECTION_HEAD;
    tls_rest (&connection->tls);
    if (tls_has_pending (&connection->tls))
        read_input (connection);
}

/* ------------------------------------------------------------------------------------------------------------- events
 */

void connection_watch_output (struct connection *connection, bool blocked)
{
    uint32_t events = connection->watch.events & ~(uint32_t) EPOLLOUT;
    watch_change (&connection->watch, blocked ? events | EPOLLOUT : events);
}

/* Lingering without TLS: plain bytes are thrown away. */
static void discard_plain (struct connection *connection)
{
    ssize_t length = recv (connection->fd, connection->ingress->buffer.bytes, PAYLOAD_BUFFER_BYTES, 0);
    if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR))
        close_connection (connection);
}

static void on_ready (struct watch *watch, uint32_t events)
{
    struct connection *connection = OWNER (watch, struct connection, watch);
    if (connection->state == CONNECTION_LINGER && !connection->tls.ssl)
    {
        discard_plain (connection);
        return;
    }
    if (connection->state <= CONNECTION_HANDSHAKE)
    {
        if (events & (EPOLLERR | EPOLLHUP))
            connection_cut (connection, "the client ended the connection");
        else
            handshake (connection);
        return;
    }
    if (events & EPOLLOUT)
    {
        output_flush (connection);
        if (connection->state == CONNECTION_LINGER && output_is_empty (connection))
            finish_linger (connection);
    }
    if (connection->state != CONNECTION_CLOSED && (events & EPOLLIN) && wants_input (connection))
        read_input (connection);
    if (connection->state != CONNECTION_CLOSED && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        connection_cut (connection, "the client ended the connection");
    else if (connection->state != CONNECTION_CLOSED && (events & EPOLLIN) && !wants_input (connection))
        watch_change (&connection->watch, connection->watch.events & ~(uint32_t) EPOLLIN);
}
