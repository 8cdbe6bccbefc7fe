/* upstream.c - pools of connections to a server, and the life of one connection. See upstream.h.
 *
 *     (pool) IDLE ─request─▶ BUSY ─answer whole─▶ IDLE
 *              ▲               │ └─101, or raw stream on a hijackable route─▶ RAW ─both directions ended─▶ CLOSED
 *   CONNECTING ┴ WAITING       └─ client gone, server gone, answer malformed ─▶ CLOSED
 *
 * A connection of the pool that turns out to be dead before any byte of an answer is replaced once, for a request
 * without a body whose method may be repeated.
 */
#include "upstream.h"

#include "ensure.h"
#include "log.h"
#include "placement.h"

#include <stdio.h>
#include <stdlib.h>

enum
{
    CONNECT_AGAIN_TIME = 5, /* ms; the server's queue of connections is full */
};

static void on_ready (struct watch *watch, uint32_t events);
static void dial (struct upstream_connection *connection);

/* ------------------------------------------------------------------------------------------------------------- lists
 */

static void link_into (struct upstream_connection **list, struct upstream_connection *connection)
{
    connection->previous = NULL;
    connection->next = *list;
    if (*list)
        (*list)->previous = connection;
    *list = connection;
}

static void unlink_from (struct upstream_connection **list, struct upstream_connection *connection)
{
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        *list = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
}

/* --------------------------------------------------------------------------------------------------------------- end
 */

static void free_connection (void *object)
{
    free (object);
}

/* Frees what belongs to the request in hand. */
static void end_request (struct upstream_connection *connection)
{
    struct upstream_owner *owner = connection->upstream->owner;
    if (connection->subject.stream)
        stream_table_remove (&owner->streams, connection->subject.stream);
    connection->subject.stream = 0;
    if (connection->inquiry)
        connection->inquiry->connection = NULL;
    connection->inquiry = NULL;
    window_close (&connection->window);
    timer_clear (&connection->timer);
    if (connection->kept)
        zmq_msg_close (&connection->request);
    connection->kept = false;
    byte_queue_free (&connection->output);
    free (connection->attempts);
    connection->attempts = NULL;
    free (connection->held);
    connection->held = NULL;
    connection->held_length = 0;
}

void upstream_close (struct upstream_connection *connection)
{
    struct upstream *upstream = connection->upstream;
    if (connection->state == UPSTREAM_CLOSED)
        return;
    bool idle = connection->state == UPSTREAM_IDLE, over = connection->answer_ended && connection->request_done;
    if (!idle && !over)
        transport_reset (connection);
    end_request (connection);
    upstream->idle_count -= idle;
    unlink_from (idle ? &upstream->idle : &upstream->busy, connection);
    connection->state = UPSTREAM_CLOSED;
    upstream->owner->count--;
    transport_close (connection);
    actor_defer (upstream->owner->actor, free_connection, connection);
}

void upstream_close_idle (struct upstream *upstream)
{
    while (upstream->idle)
        upstream_close (upstream->idle);
}

void upstream_close_all (struct upstream *upstream)
{
    while (upstream->busy)
        upstream_close (upstream->busy);
    upstream_close_idle (upstream);
}

void upstream_abort (struct upstream_connection *connection, const char *why)
{
    union message_fields fields = {.abort = {.reason = slice_from (why)}};
    actor_send (connection->upstream->owner->actor, connection->client, MESSAGE_abort, &connection->subject, &fields,
                NULL);
    upstream_close (connection);
}

/* Nothing of an answer came, and the request did no harm that a second one could double. */
static bool may_ask_elsewhere (const struct upstream_connection *connection)
{
    bool untouched = !connection->sent && (connection->request_framing == FRAMING_NONE || connection->first_credit);
    return connection->kept && !connection->any_byte && (connection->repeatable || untouched);
}

static void count_failure (struct upstream_owner *owner, const char *why)
{
    owner->counters.failed++;
    bool news = strcmp (owner->last_failure, why) != 0; /* what is the same as before is only counted */
    snprintf (owner->last_failure, sizeof owner->last_failure, "%.*s", UPSTREAM_TEXT - 1, why);
    log_line (news ? LOG_WARN : LOG_DEBUG, owner->kind->subject, "a request failed: %s", why);
}

void upstream_fail (struct upstream_connection *connection, unsigned status, const char *why)
{
    struct upstream_owner *owner = connection->upstream->owner;
    struct inquiry *inquiry = connection->inquiry;
    if (inquiry)
    {
        owner->counters.failed++;
        snprintf (owner->last_failure, sizeof owner->last_failure, "%.*s", UPSTREAM_TEXT - 1, why);
        upstream_close (connection);
        inquiry->done (inquiry->self, inquiry, 0, slice_from (why));
        return;
    }
    if (owner->kind->elsewhere && may_ask_elsewhere (connection) && owner->kind->elsewhere (connection, why))
    {
        upstream_close (connection);
        return;
    }
    char text[3 * UPSTREAM_TEXT];
    const struct upstream_attempts *attempts = connection->attempts;
    const char *before = attempts ? attempts->text : "";
    snprintf (text, sizeof text, "%s%s%s", before, before[0] ? "; " : "", why);
    count_failure (owner, text);
    if (connection->head_done)
    {
        text[255] = '\0'; /* what an abort may say at most */
        upstream_abort (connection, text);
        return;
    }
    if (!connection->kept || !owner->kind->refused || !owner->kind->refused (connection))
        answer_error (owner->actor, connection->client, &connection->subject, status, connection->unavailable, text);
    upstream_close (connection);
}

/* --------------------------------------------------------------------------------------------------------- connecting
 */

/* The connection is usable: what is queued is sent. */
static void established (struct upstream_connection *connection)
{
    timer_clear (&connection->timer);
    connection->state = UPSTREAM_BUSY;
    watch_change (&connection->watch, EPOLLIN | EPOLLRDHUP);
    upstream_grant_first (connection);
    upstream_flush (connection);
}

static void fail_to_connect (struct upstream_connection *connection, const char *reason)
{
    char why[UPSTREAM_TEXT];
    struct upstream *upstream = connection->upstream;
    snprintf (why, sizeof why, "cannot connect to %.300s: %s", upstream->path ? upstream->path : upstream->name,
              reason);
    if (!connection->inquiry && upstream->owner->kind->lost)
        upstream->owner->kind->lost (upstream, why);
    upstream_fail (connection, 502, why);
}

static uint64_t time_left (const struct upstream_connection *connection)
{
    struct upstream_owner *owner = connection->upstream->owner;
    uint64_t passed = actor_now (owner->actor) - connection->begun;
    return passed < owner->kind->connect_time ? owner->kind->connect_time - passed : 0;
}

static void connect_timer (struct timer *timer)
{
    struct upstream_connection *connection = OWNER (timer, struct upstream_connection, timer);
    if (connection->state == UPSTREAM_WAITING)
        dial (connection);
    else
        fail_to_connect (connection, "it does not answer");
}

static void establish (struct upstream_connection *connection)
{
    enum transport_result result = transport_establish (connection);
    if (result == TRANSPORT_OK)
        established (connection);
    else if (result == TRANSPORT_FAILED)
        fail_to_connect (connection, connection->reason);
}

/* Connects a busy connection that has none. */
static void dial (struct upstream_connection *connection)
{
    struct actor *actor = connection->upstream->owner->actor;
    uint64_t left = time_left (connection);
    switch (transport_open (connection, on_ready))
    {
    case TRANSPORT_OK:
        established (connection);
        break;
    case TRANSPORT_BLOCKED:
        connection->state = UPSTREAM_CONNECTING;
        timer_set (actor, &connection->timer, left, connect_timer);
        break;
    case TRANSPORT_AGAIN:
        connection->state = UPSTREAM_WAITING;
        if (left)
            timer_set (actor, &connection->timer, CONNECT_AGAIN_TIME, connect_timer);
        else
            fail_to_connect (connection, "its queue of connections stays full");
        break;
    default:
        fail_to_connect (connection, connection->reason);
    }
}

static void on_ready (struct watch *watch, uint32_t events)
{
    struct upstream_connection *connection = OWNER (watch, struct upstream_connection, watch);
    if (connection->state == UPSTREAM_IDLE)
    {
        upstream_close (connection); /* the server ended it, or spoke without being asked */
        return;
    }
    if (connection->state == UPSTREAM_CONNECTING)
    {
        establish (connection);
        return;
    }
    if (events & EPOLLOUT)
        upstream_flush (connection);
    upstream_read (connection, events);
}

/* ------------------------------------------------------------------------------------------------------------- begin
 */

/* A connection for a request: the last used one of the pool, or a new one without a socket. */
static struct upstream_connection *take_connection (struct upstream *upstream)
{
    struct upstream_owner *owner = upstream->owner;
    struct upstream_connection *connection = upstream->idle;
    if (connection)
    {
        unlink_from (&upstream->idle, connection);
        upstream->idle_count--;
        owner->counters.reused++;
        connection->fresh = false;
    }
    else
    {
        connection = must (calloc (1, sizeof *connection));
        connection->upstream = upstream;
        connection->fd = connection->watch.fd = -1;
        connection->fresh = true;
        http_reader_init (&connection->reader, true);
        owner->count++;
    }
    connection->state = UPSTREAM_BUSY;
    connection->client = ACTOR_NONE;
    connection->is_head = connection->hijackable = connection->request_done = false;
    connection->repeatable = connection->sent = false;
    connection->write_failed = connection->write_ended = false;
    connection->any_byte = connection->head_done = connection->answer_ended = false;
    connection->request_framing = FRAMING_NONE;
    connection->begun = actor_now (owner->actor);
    connection->credit = 0;
    connection->first_credit = 0;
    connection->unread_from = 0;
    link_into (&upstream->busy, connection);
    return connection;
}

/* Methods that may be repeated without harm (RFC 9110 section 9.2.2). */
static bool is_idempotent (struct slice method)
{
    return slice_equal (method, SLICE ("GET")) || slice_equal (method, SLICE ("HEAD")) ||
           slice_equal (method, SLICE ("OPTIONS")) || slice_equal (method, SLICE ("PUT")) ||
           slice_equal (method, SLICE ("DELETE"));
}

static void begin_answer (struct upstream_connection *connection)
{
    http_reader_expect_no_body (&connection->reader, connection->is_head);
    if (connection->fd < 0)
    {
        dial (connection);
        return;
    }
    upstream_grant_first (connection);
    if (connection->output.count)
        upstream_flush (connection);
}

static bool has_room (struct upstream *upstream)
{
    return upstream->idle || upstream->owner->count < *upstream->owner->connections_most;
}

static void refuse (struct upstream *upstream, struct upstream_call *call, const char *message, const char *details)
{
    answer_error (upstream->owner->actor, (enum actor_id) call->request->client, &call->subject, 503, message, details);
    free (call->attempts);
}

void upstream_begin (struct upstream *upstream, struct upstream_call *call)
{
    struct upstream_owner *owner = upstream->owner;
    const struct message_request *request = call->request;
    struct window window = {.budget = NULL};
    uint32_t credit = 0;
    owner->counters.requests++;
    if (!has_room (upstream))
    {
        refuse (upstream, call, owner->kind->too_many, owner->kind->too_many_hint);
        return;
    }
    if (request->framing != FRAMING_NONE && !(credit = window_open (&window, owner->configuration->budget)))
    {
        refuse (upstream, call, "Too much data in flight", "the agent's limit is reached; see --payload-total");
        return;
    }
    struct upstream_connection *connection = take_connection (upstream);
    connection->subject = call->subject;
    connection->client = (enum actor_id) request->client;
    connection->attempts = call->attempts;
    connection->unavailable = call->unavailable;
    connection->window = window;
    connection->credit = request->window;
    connection->is_head = slice_equal (request->method, SLICE ("HEAD"));
    connection->hijackable = request->hijackable;
    connection->request_framing = (enum framing) request->framing;
    connection->request_done =
        request->framing == FRAMING_NONE || (request->framing == FRAMING_LENGTH && request->length == 0);
    stream_table_put (&owner->streams, call->subject.stream, connection);
    upstream_send_head (connection, request);
    connection->repeatable = connection->request_done && !connection->hijackable && is_idempotent (request->method);
    if (owner->kind->keeps_requests || (!connection->fresh && connection->repeatable))
    {
        connection->kept = true;
        zmq_msg_init (&connection->request);
        zmq_msg_move (&connection->request, call->frame);
    }
    connection->first_credit = credit;
    begin_answer (connection);
}

void upstream_retry (struct upstream_connection *connection)
{
    struct upstream_owner *owner = connection->upstream->owner;
    owner->counters.retried++;
    transport_close (connection);
    connection->begun = actor_now (owner->actor); /* to connect anew, it has the time of a new one */
    connection->fresh = true;
    connection->sent = connection->write_failed = false;
    byte_queue_free (&connection->output);
    http_reader_init (&connection->reader, true);

    union message_fields fields;
    struct message_error error;
    struct slice bytes = slice_of (zmq_msg_data (&connection->request), zmq_msg_size (&connection->request));
    ensure (message_decode (MESSAGE_request, bytes, &fields, owner->table, &error) == 0);
    upstream_send_head (connection, &fields.request);
    if (!owner->kind->keeps_requests)
    {
        zmq_msg_close (&connection->request);
        connection->kept = false;
    }
    begin_answer (connection);
}

void upstream_release (struct upstream_connection *connection, bool leftover)
{
    struct upstream *upstream = connection->upstream;
    bool reusable = connection->reader.head.keep_alive && connection->request_done && !connection->write_failed &&
                    !leftover && connection->output.count == 0 && transport_is_flushed (connection) &&
                    !transport_has_pending (connection) && upstream->idle_count < upstream->owner->idle_most;
    if (!reusable)
    {
        upstream_close (connection);
        return;
    }
    end_request (connection);
    unlink_from (&upstream->busy, connection);
    link_into (&upstream->idle, connection);
    upstream->idle_count++;
    connection->state = UPSTREAM_IDLE;
    http_reader_next (&connection->reader);
    watch_change (&connection->watch, EPOLLIN | EPOLLRDHUP);
}

/* ----------------------------------------------------------------------------------------------------------- messages
 */

void upstream_on_message (struct upstream_owner *owner, struct message *message)
{
    struct upstream_connection *connection = stream_table_get (&owner->streams, message->envelope.stream);
    if (!connection)
        return; /* the stream is over here: what was under way is dropped */
    switch (message->envelope.type)
    {
    case MESSAGE_body:
        upstream_on_body (connection, message);
        break;
    case MESSAGE_end:
        upstream_on_end (connection);
        break;
    case MESSAGE_credit:
        upstream_on_credit (connection, message->fields.credit.bytes);
        break;
    case MESSAGE_abort:
        owner->counters.aborted++;
        upstream_close (connection);
        break;
    default:
        log_error (owner->kind->subject, "does not know what to do with %s",
                   message_type_name (message->envelope.type));
    }
}

size_t upstream_window_bytes (const struct upstream *upstream)
{
    size_t bytes = 0;
    for (const struct upstream_connection *connection = upstream->busy; connection; connection = connection->next)
        bytes += connection->window.reserved;
    return bytes;
}

void upstream_owner_init (struct upstream_owner *owner, struct actor *actor, const struct configuration *configuration,
                          const struct upstream_kind *kind)
{
    owner->actor = actor;
    owner->configuration = configuration;
    owner->kind = kind;
    payload_buffer_init (&owner->buffer);
}

void upstream_owner_free (struct upstream_owner *owner)
{
    stream_table_free (&owner->streams);
    payload_buffer_free (&owner->buffer);
}

/* ------------------------------------------------------------------------------------------------- questions of our
 * own
 */

void upstream_ask (struct upstream *upstream, struct inquiry *inquiry, const char *target)
{
    struct upstream_connection *connection = take_connection (upstream);
    inquiry->connection = connection;
    inquiry->length = 0;
    connection->inquiry = inquiry;
    connection->request_done = true;
    struct message_request request = {.method = SLICE ("GET"), .target = slice_from (target)};
    upstream_send_head (connection, &request);
    begin_answer (connection);
}

void upstream_drop_question (struct inquiry *inquiry)
{
    if (inquiry->connection)
        upstream_close (inquiry->connection);
    free (inquiry->text);
    inquiry->text = NULL;
    inquiry->length = inquiry->capacity = 0;
}
