/* engine_connection.c - one connection to the engine: a request out, its answer in, then back to the pool.
 *
 *     (pool) IDLE ─request─▶ BUSY ─answer whole─▶ IDLE
 *              ▲               │ └─101, or raw stream on a hijackable route─▶ RAW ─both directions ended─▶ CLOSED
 *     connect ─┘               └─ client gone, engine gone, answer malformed ─▶ CLOSED
 *
 * Reading takes at most what the client granted, so the answer of a slow client stays in the engine's socket. An answer
 * that ends early is an abort, never a short body. A connection of the pool that turns out to be dead before any byte
 * of an answer is replaced once, for a request without a body whose method may be repeated.
 */
#include "docker.h"

#include "ensure.h"
#include "http/writer.h"
#include "log.h"
#include "placement.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum
{
    VECTOR_MOST = 16,        /* elements of one writev() */
    SMALL_HEAD_BYTES = 4096, /* a head up to this size is put together on the stack */
};

static void on_ready (struct watch *watch, uint32_t events);
static void connect_again (struct timer *timer);
static void flush (struct engine_connection *connection);
static void grant_first (struct engine_connection *connection);

/* ------------------------------------------------------------------------------------------------------------- lists
 */

static void link_into (struct engine_connection **list, struct engine_connection *connection)
{
    connection->previous = NULL;
    connection->next = *list;
    if (*list)
        (*list)->previous = connection;
    *list = connection;
}

static void unlink_from (struct engine_connection **list, struct engine_connection *connection)
{
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        *list = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
}

/* --------------------------------------------------------------------------------------------------- begin and end */

static void free_connection (void *object)
{
    free (object);
}

/* Frees what belongs to the request in hand. */
static void end_request (struct engine_connection *connection)
{
    struct docker *docker = connection->docker;
    if (connection->subject.stream)
        stream_table_remove (&docker->streams, connection->subject.stream);
    connection->subject.stream = 0;
    if (connection->inquiry)
        connection->inquiry->connection = NULL;
    connection->inquiry = NULL;
    window_close (&connection->window);
    timer_clear (&connection->again);
    if (connection->retriable)
        zmq_msg_close (&connection->request);
    connection->retriable = false;
    byte_queue_free (&connection->output);
    free (connection->held);
    connection->held = NULL;
    connection->held_length = 0;
}

void engine_close (struct engine_connection *connection)
{
    struct docker *docker = connection->docker;
    if (connection->state == ENGINE_CLOSED)
        return;
    end_request (connection);
    if (connection->state == ENGINE_IDLE)
        docker->idle_count--;
    unlink_from (connection->state == ENGINE_IDLE ? &docker->idle : &docker->busy, connection);
    connection->state = ENGINE_CLOSED;
    docker->count--;
    watch_end (&connection->watch);
    if (connection->fd >= 0)
        close (connection->fd);
    actor_defer (docker->actor, free_connection, connection);
}

void engine_abort (struct engine_connection *connection, const char *why)
{
    union message_fields fields = {.abort = {.reason = slice_from (why)}};
    actor_send (connection->docker->actor, connection->client, MESSAGE_abort, &connection->subject, &fields, NULL);
    engine_close (connection);
}

void engine_fail (struct engine_connection *connection, unsigned status, const char *why)
{
    struct docker *docker = connection->docker;
    docker->counters.failed++;
    bool news = strcmp (docker->last_failure, why) != 0; /* what is the same as before is only counted */
    snprintf (docker->last_failure, sizeof docker->last_failure, "%s", why);
    struct inquiry *inquiry = connection->inquiry;
    if (inquiry)
    {
        engine_close (connection);
        inquiry->done (docker, inquiry, 0, slice_from (why));
        return;
    }
    if (news)
        log_warn ("docker", "a request failed: %s", why);
    else
        log_debug ("docker", "a request failed: %s", why);
    if (connection->head_done)
    {
        engine_abort (connection, why);
        return;
    }
    answer_error (docker->actor, connection->client, &connection->subject, status,
                  "Unable to proxy the request via the Docker socket", why);
    engine_close (connection);
}

/* Opens a socket to the engine. Returns 0, 1 when the engine's queue is full, -1 with errno. */
static int open_socket (struct engine_connection *connection)
{
    struct docker *docker = connection->docker;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf (address.sun_path, sizeof address.sun_path, "%s", docker->path);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect (fd, (struct sockaddr *) &address, sizeof address) < 0 ||
        watch_set (docker->actor, &connection->watch, fd, EPOLLIN | EPOLLRDHUP, on_ready) < 0)
    {
        int error = errno;
        close (fd);
        errno = error;
        return error == EAGAIN ? 1 : -1;
    }
    connection->fd = fd;
    docker->counters.connects++;
    return 0;
}

static void fail_to_connect (struct engine_connection *connection, const char *reason)
{
    char why[160];
    snprintf (why, sizeof why, "cannot connect to %s: %s", connection->docker->path, reason);
    if (!connection->inquiry)
        discovery_engine_lost (connection->docker, why);
    engine_fail (connection, 502, why);
}

/* Connects a busy connection that has none; what is queued is sent as soon as there is one. */
static void dial (struct engine_connection *connection)
{
    int opened = open_socket (connection);
    if (opened == 0)
    {
        connection->state = ENGINE_BUSY;
        grant_first (connection);
        flush (connection);
    }
    else if (opened > 0 && actor_now (connection->docker->actor) - connection->begun < CONNECT_TIME)
    {
        connection->state = ENGINE_CONNECTING;
        timer_set (connection->docker->actor, &connection->again, CONNECT_AGAIN_TIME, connect_again);
    }
    else
        fail_to_connect (connection, opened > 0 ? "its queue of connections stays full" : strerror (errno));
}

static void connect_again (struct timer *timer)
{
    dial (OWNER (timer, struct engine_connection, again));
}

/* A connection for a request: the last used one of the pool, or a new one without a socket. */
static struct engine_connection *take_connection (struct docker *docker)
{
    struct engine_connection *connection = docker->idle;
    if (connection)
    {
        unlink_from (&docker->idle, connection);
        docker->idle_count--;
        docker->counters.reused++;
        connection->fresh = false;
    }
    else
    {
        connection = must (calloc (1, sizeof *connection));
        connection->docker = docker;
        connection->fd = connection->watch.fd = -1;
        connection->fresh = true;
        http_reader_init (&connection->reader, true);
        docker->count++;
    }
    connection->state = ENGINE_BUSY;
    connection->client = ACTOR_NONE;
    connection->is_head = connection->hijackable = connection->request_done = false;
    connection->write_failed = connection->write_ended = false;
    connection->any_byte = connection->head_done = connection->answer_ended = false;
    connection->request_framing = FRAMING_NONE;
    connection->begun = actor_now (docker->actor);
    connection->credit = 0;
    connection->first_credit = 0;
    connection->unread_from = 0;
    link_into (&docker->busy, connection);
    return connection;
}

/* The answer is whole: the connection goes back to the pool, if it can carry another request. */
static void finish (struct engine_connection *connection, bool leftover)
{
    struct docker *docker = connection->docker;
    bool reusable = connection->reader.head.keep_alive && connection->request_done && !connection->write_failed &&
                    !leftover && connection->output.count == 0 && docker->idle_count < IDLE_CONNECTIONS_MAX;
    if (!reusable)
    {
        engine_close (connection);
        return;
    }
    end_request (connection);
    unlink_from (&docker->busy, connection);
    link_into (&docker->idle, connection);
    docker->idle_count++;
    connection->state = ENGINE_IDLE;
    http_reader_next (&connection->reader);
    watch_change (&connection->watch, EPOLLIN | EPOLLRDHUP);
}

/* ------------------------------------------------------------------------------------------------------- bytes out */

/* Grants the client credit for so many bytes of its body; the first grant tells it who is here. */
static void grant (struct engine_connection *connection, uint32_t bytes)
{
    union message_fields fields = {.credit = {.bytes = bytes}};
    actor_send (connection->docker->actor, connection->client, MESSAGE_credit, &connection->subject, &fields, NULL);
}

/* The first grant has the client send, and has ingress say 100 Continue: not before somebody is there to read. */
static void grant_first (struct engine_connection *connection)
{
    if (connection->first_credit)
        grant (connection, connection->first_credit);
    connection->first_credit = 0;
}

static void end_writing (struct engine_connection *connection)
{
    if (connection->write_ended || connection->state != ENGINE_RAW)
        return;
    connection->write_ended = true;
    shutdown (connection->fd, SHUT_WR);
}

static void flush (struct engine_connection *connection)
{
    size_t payload = 0;
    bool blocked = false;
    if (connection->state == ENGINE_CONNECTING || connection->state == ENGINE_CLOSED)
        return;
    while (connection->output.count && !blocked && !connection->write_failed)
    {
        struct iovec vector[VECTOR_MOST];
        struct msghdr message = {.msg_iov = vector};
        message.msg_iovlen = (size_t) byte_queue_vector (&connection->output, vector, VECTOR_MOST);
        ssize_t sent = message.msg_iovlen ? sendmsg (connection->fd, &message, MSG_NOSIGNAL) : 0;
        if (sent >= 0)
            byte_queue_advance (&connection->output, (size_t) sent, &payload);
        else if (errno == EAGAIN)
            blocked = true;
        else if (errno != EINTR)
            connection->write_failed = true; /* its answer may still be there to be read */
    }
    if (connection->write_failed)
        byte_queue_free (&connection->output);
    uint32_t events = connection->watch.events & ~(uint32_t) EPOLLOUT;
    watch_change (&connection->watch, blocked ? events | EPOLLOUT : events);
    uint32_t credit = payload ? window_consume (&connection->window, payload) : 0;
    if (credit && !connection->request_done)
        grant (connection, credit);
    if (connection->state == ENGINE_RAW && connection->request_done && connection->output.count == 0)
        end_writing (connection);
}

static bool is_agent_field (struct slice name)
{
    static const struct slice prefix = {"x-portaineragent-", 17};
    return name.len >= prefix.len && slice_equal_nocase (slice_of (name.at, prefix.len), prefix);
}

/* Sends bytes at once when nothing waits before them; what the kernel does not take is queued. */
static void queue_or_send (struct engine_connection *connection, const char *bytes, size_t length)
{
    ssize_t sent = -1;
    if (connection->fd >= 0 && connection->output.count == 0)
        sent = send (connection->fd, bytes, length, MSG_NOSIGNAL);
    size_t done = sent > 0 ? (size_t) sent : 0; /* a failure is met again, and handled, by flush() */
    if (done == length)
        return;
    zmq_msg_t frame;
    payload_copy (&frame, bytes + done, length - done);
    byte_queue_add (&connection->output, &frame, BYTES_HEAD);
}

/* Sends the head of the request: as the client sent it, but for what is between it and us (RFC 9110 section 7.6.1), the
 * agent's headers, and Host. */
static void send_head (struct engine_connection *connection, const struct message_request *request)
{
    size_t bound = http_head_bound (request->method, request->target, request->headers) + request->upgrade.len + 256;
    char small[SMALL_HEAD_BYTES], *bytes = bound <= sizeof small ? small : must (malloc (bound));
    struct http_writer writer = {.at = bytes, .capacity = bound};
    http_write_request_line (&writer, request->method, request->target);
    http_write_field (&writer, SLICE ("Host"), SLICE ("docker"));
    for (size_t index = 0; index < request->headers.count; index++)
        if (!is_agent_field (request->headers.at[index].name))
            http_write_field (&writer, request->headers.at[index].name, request->headers.at[index].value);
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

/* Methods that may be repeated without harm (RFC 9110 section 9.2.2). */
static bool is_idempotent (struct slice method)
{
    return slice_equal (method, SLICE ("GET")) || slice_equal (method, SLICE ("HEAD")) ||
           slice_equal (method, SLICE ("OPTIONS")) || slice_equal (method, SLICE ("PUT")) ||
           slice_equal (method, SLICE ("DELETE"));
}

static void begin_answer (struct engine_connection *connection)
{
    http_reader_expect_no_body (&connection->reader, connection->is_head);
    if (connection->fd < 0)
    {
        dial (connection);
        return;
    }
    grant_first (connection);
    if (connection->output.count)
        flush (connection);
}

void engine_begin (struct docker *docker, struct message *message)
{
    const struct message_request *request = &message->fields.request;
    struct subject subject = message_subject (message);
    enum actor_id client = (enum actor_id) request->client;
    docker->counters.requests++;
    if (!docker->idle && docker->count >= docker->configuration->engine_connections)
    {
        answer_error (docker->actor, client, &subject, 503, "Too many requests to the Docker engine at once",
                      "the agent's limit is reached; see --engine-connections");
        return;
    }
    struct window window = {.budget = NULL};
    uint32_t credit = 0;
    if (request->framing != FRAMING_NONE && !(credit = window_open (&window, docker->configuration->budget)))
    {
        answer_error (docker->actor, client, &subject, 503, "Too much data in flight",
                      "the agent's limit is reached; see --payload-total");
        return;
    }
    struct engine_connection *connection = take_connection (docker);
    connection->subject = subject;
    connection->client = client;
    connection->window = window;
    connection->credit = request->window;
    connection->is_head = slice_equal (request->method, SLICE ("HEAD"));
    connection->hijackable = request->hijackable;
    connection->request_framing = (enum framing) request->framing;
    connection->request_done = request->framing == FRAMING_NONE;
    stream_table_put (&docker->streams, subject.stream, connection);
    send_head (connection, request);
    if (!connection->fresh && connection->request_done && !connection->hijackable && is_idempotent (request->method))
    {
        connection->retriable = true;
        zmq_msg_init (&connection->request);
        zmq_msg_move (&connection->request, message->body);
    }
    connection->first_credit = credit;
    begin_answer (connection);
}

void engine_on_body (struct engine_connection *connection, struct message *message)
{
    if (connection->write_failed || connection->request_done || zmq_msg_size (message->payload) == 0)
        return;
    bool chunked = connection->state != ENGINE_RAW && connection->request_framing == FRAMING_CHUNKED;
    byte_queue_add (&connection->output, message->payload, chunked ? BYTES_CHUNK : BYTES_PAYLOAD);
    flush (connection);
}

void engine_on_end (struct engine_connection *connection)
{
    if (connection->request_done)
        return;
    connection->request_done = true;
    if (connection->state != ENGINE_RAW && connection->request_framing == FRAMING_CHUNKED)
    {
        zmq_msg_t last;
        payload_copy (&last, "0\r\n\r\n", 5);
        byte_queue_add (&connection->output, &last, BYTES_HEAD);
    }
    flush (connection);
    if (connection->state == ENGINE_RAW && connection->answer_ended && connection->output.count == 0)
        engine_close (connection);
}

/* -------------------------------------------------------------------------------------------------------- bytes in */

void engine_on_credit (struct engine_connection *connection, uint64_t bytes)
{
    connection->credit += bytes;
    if (connection->answer_ended || connection->state == ENGINE_CONNECTING)
        return;
    if (connection->watch.fd >= 0)
        watch_change (&connection->watch, connection->watch.events | EPOLLIN | EPOLLRDHUP);
    else if (watch_set (connection->docker->actor, &connection->watch, connection->fd, EPOLLIN | EPOLLRDHUP, on_ready) <
             0)
        engine_fail (connection, 502, strerror (errno));
}

/* Stops reading until there is credit. The kernel reports a hang-up whatever one asks for, so then the watch must end.
 */
static void pause_reading (struct engine_connection *connection, uint32_t events)
{
    if (events & (EPOLLHUP | EPOLLERR))
        watch_end (&connection->watch);
    else
        watch_change (&connection->watch, connection->watch.events & ~(uint32_t) (EPOLLIN | EPOLLRDHUP));
}

static void send_piece (struct engine_connection *connection, char *bytes, size_t length)
{
    struct docker *docker = connection->docker;
    zmq_msg_t payload;
    payload_from_buffer (&payload, &docker->buffer, bytes, length);
    connection->credit -= length < connection->credit ? length : connection->credit;
    actor_send (docker->actor, connection->client, MESSAGE_body, &connection->subject, NULL, &payload);
}

static void send_end (struct engine_connection *connection)
{
    static const union message_fields no_trailers;
    if (connection->answer_ended)
        return;
    connection->answer_ended = true;
    if (!connection->inquiry)
        actor_send (connection->docker->actor, connection->client, MESSAGE_end, &connection->subject, &no_trailers,
                    NULL);
}

static bool is_raw_type (struct headers headers)
{
    struct slice type = headers_find (headers, SLICE ("Content-Type"));
    return slice_equal (type, SLICE ("application/vnd.docker.raw-stream")) ||
           slice_equal (type, SLICE ("application/vnd.docker.multiplexed-stream"));
}

/* From here on bytes flow raw in both directions. The client's need credit. */
static bool go_raw (struct engine_connection *connection)
{
    struct docker *docker = connection->docker;
    docker->counters.upgrades++;
    connection->state = ENGINE_RAW;
    connection->request_done = false;
    window_close (&connection->window);
    uint32_t credit = window_open (&connection->window, docker->configuration->budget);
    if (credit)
        grant (connection, credit);
    return credit > 0;
}

/* The head of the answer is whole. Returns false when the connection is gone. */
static bool pass_head (struct engine_connection *connection)
{
    struct docker *docker = connection->docker;
    struct http_head *head = &connection->reader.head;
    enum framing framing = head->framing;
    /* Without Upgrade the engine answers 200, raw-stream, no length (contract 6.3). */
    if (framing == FRAMING_CLOSE && connection->hijackable && head->status == 200 && is_raw_type (head->headers))
        framing = FRAMING_RAW;
    if (framing == FRAMING_RAW && !connection->hijackable)
    {
        engine_fail (connection, 502, "the engine changed the protocol, which the request did not ask for");
        return false;
    }
    connection->head_done = true;
    if (connection->inquiry)
        return true;
    struct headers headers = head->headers;
    char digits[24];
    if (head->length_known && framing == FRAMING_NONE && headers.count < HTTP_HEADERS_MAX &&
        (connection->is_head || head->status == 304))
    {
        snprintf (digits, sizeof digits, "%llu", (unsigned long long) head->length);
        docker->table[headers.count] = (struct header){SLICE ("Content-Length"), slice_from (digits)};
        headers = (struct headers){docker->table, headers.count + 1};
    }
    union message_fields fields = {.response = {.status = head->status,
                                                .reason = head->reason,
                                                .framing = framing,
                                                .length = framing == FRAMING_LENGTH ? head->length : 0,
                                                .upgrade = head->status == 101 ? head->upgrade : SLICE (""),
                                                .headers = headers}};
    actor_send (docker->actor, connection->client, MESSAGE_response, &connection->subject, &fields, NULL);
    if (framing == FRAMING_RAW && !go_raw (connection))
    {
        engine_fail (connection, 503, "too much data in flight; see --payload-total");
        return false;
    }
    return true;
}

static void collect (struct engine_connection *connection, struct slice piece)
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
static void complete (struct engine_connection *connection, bool leftover)
{
    struct docker *docker = connection->docker;
    struct inquiry *inquiry = connection->inquiry;
    unsigned status = connection->reader.head.status;
    send_end (connection);
    finish (connection, leftover);
    if (inquiry)
        inquiry->done (docker, inquiry, status, slice_of (inquiry->text, inquiry->length));
}

/* Uses bytes of the answer's body. */
static void use_body (struct engine_connection *connection, char *bytes, size_t length)
{
    struct slice piece = slice_of (bytes, length);
    enum http_result result = HTTP_MORE;
    size_t used = length;
    if (connection->state != ENGINE_RAW)
        result = http_reader_body (&connection->reader, bytes, length, &piece, &used);
    if (result == HTTP_ERROR)
    {
        char why[160];
        snprintf (why, sizeof why, "the engine's answer is malformed: %s", connection->reader.error_text);
        engine_fail (connection, 502, why);
        return;
    }
    if (piece.len && connection->inquiry)
    {
        if (connection->inquiry->length + piece.len > INQUIRY_BYTES_MAX)
        {
            engine_fail (connection, 502, "the engine's answer is too long");
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
static size_t use_answer (struct engine_connection *connection, char *bytes, size_t length)
{
    size_t used = 0;
    while (!connection->head_done)
    {
        switch (http_reader_head (&connection->reader, bytes + used, length - used, connection->docker->table))
        {
        case HTTP_MORE:
            return used;
        case HTTP_ERROR:
        {
            char why[160];
            snprintf (why, sizeof why, "the engine's answer is malformed: %s", connection->reader.error_text);
            engine_fail (connection, 502, why);
            return length;
        }
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

static void use_bytes (struct engine_connection *connection, char *bytes, size_t length)
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

/* ------------------------------------------------------------------------------------------------------------- ends */

/* The connection of the pool was dead: the same request again on a new one. */
static void retry (struct engine_connection *connection)
{
    struct docker *docker = connection->docker;
    docker->counters.retried++;
    watch_end (&connection->watch);
    close (connection->fd);
    connection->fd = -1;
    connection->fresh = true;
    connection->write_failed = false;
    byte_queue_free (&connection->output);
    http_reader_init (&connection->reader, true);

    union message_fields fields;
    struct message_error error;
    struct slice bytes = slice_of (zmq_msg_data (&connection->request), zmq_msg_size (&connection->request));
    ensure (message_decode (MESSAGE_request, bytes, &fields, docker->table, &error) == 0);
    send_head (connection, &fields.request);
    zmq_msg_close (&connection->request);
    connection->retriable = false;
    begin_answer (connection);
}

static void on_engine_end (struct engine_connection *connection, const char *reason)
{
    char why[160];
    if (connection->state == ENGINE_RAW)
    {
        send_end (connection);
        watch_change (&connection->watch, connection->watch.events & ~(uint32_t) (EPOLLIN | EPOLLRDHUP));
        if (connection->request_done && connection->output.count == 0)
            engine_close (connection);
    }
    else if (connection->head_done && connection->reader.head.framing == FRAMING_CLOSE && !reason)
        complete (connection, true);
    else if (!connection->any_byte && connection->retriable)
        retry (connection);
    else
    {
        snprintf (why, sizeof why, "the engine closed the connection %s%s%s",
                  !connection->any_byte   ? "before it answered"
                  : connection->head_done ? "in the middle of its answer"
                                          : "in the middle of its answer's head",
                  reason ? ": " : "", reason ? reason : "");
        discovery_engine_lost (connection->docker, why);
        engine_fail (connection, 502, why);
    }
}

static void read_answer (struct engine_connection *connection, uint32_t events)
{
    struct docker *docker = connection->docker;
    size_t size = PAYLOAD_BUFFER_BYTES;
    if (!connection->inquiry && connection->credit < size)
        size = connection->credit;
    if (size == 0)
    {
        pause_reading (connection, events);
        return;
    }
    ssize_t length = recv (connection->fd, docker->buffer.bytes, size, 0);
    if (length > 0)
        use_bytes (connection, docker->buffer.bytes, (size_t) length);
    else if (length == 0)
        on_engine_end (connection, NULL);
    else if (errno != EAGAIN && errno != EINTR)
        on_engine_end (connection, strerror (errno));
}

static void on_ready (struct watch *watch, uint32_t events)
{
    struct engine_connection *connection = OWNER (watch, struct engine_connection, watch);
    if (connection->state == ENGINE_IDLE)
    {
        engine_close (connection); /* the engine ended it, or spoke without being asked */
        return;
    }
    if (events & EPOLLOUT)
        flush (connection);
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) && connection->state != ENGINE_CLOSED && !connection->answer_ended)
        read_answer (connection, events);
    /* The engine closed both directions of a raw stream, and its last byte was read: nothing can be sent to it any
     * more. */
    if ((events & (EPOLLHUP | EPOLLERR)) && connection->state == ENGINE_RAW && connection->answer_ended)
        engine_abort (connection, "the engine closed the stream");
    else if ((events & EPOLLERR) && connection->state == ENGINE_BUSY && !(events & EPOLLIN))
        on_engine_end (connection, "connection error");
}

/* --------------------------------------------------------------------------------------------- questions of our own */

void engine_ask (struct docker *docker, struct inquiry *inquiry, const char *target)
{
    struct engine_connection *connection = take_connection (docker);
    inquiry->connection = connection;
    inquiry->length = 0;
    connection->inquiry = inquiry;
    connection->request_done = true;
    struct message_request request = {.method = SLICE ("GET"), .target = slice_from (target)};
    send_head (connection, &request);
    begin_answer (connection);
}

void engine_drop_question (struct inquiry *inquiry)
{
    if (inquiry->connection)
        engine_close (inquiry->connection);
    free (inquiry->text);
    inquiry->text = NULL;
    inquiry->length = inquiry->capacity = 0;
}
