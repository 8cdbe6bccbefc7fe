/* exchange.c - one request and its answer on a client's connection.
 *
 * The request goes to auth, on to the router, on to whoever answers. From then on the two ends talk directly: the first
 * credit (for a request with a body) or the answer tells ingress who the far end is. Requests of one connection are
 * taken one after the other; bytes of later ones wait, and so do bytes that follow a request whose answer may turn the
 * connection into raw bytes.
 */
#include "ingress.h"

#include "ensure.h"
#include "http/agent_fields.h"
#include "http/route.h"
#include "http/trace.h"
#include "http/url.h"
#include "http/writer.h"
#include "log.h"

#include <jansson.h>
#include <stdlib.h>

enum
{
    OWN_HEAD_BYTES = 768,    /* what ingress itself adds to the head of an answer, at most */
    SMALL_HEAD_BYTES = 4096, /* a head up to this size is put together on the stack */
};

/* ---------------------------------------------------------------------------------------------------- heads of answers
 */

/* The agent's own fields, on every answer; below /key without the protocol's (contract 3.2). */
static void write_own_fields (struct connection *connection, struct http_writer *writer)
{
    const struct configuration *configuration = connection->ingress->configuration;
    struct exchange *exchange = &connection->exchange;
    if (!exchange->bare_headers)
    {
        http_write_field (writer, SLICE ("Portainer-Agent"), slice_from (configuration->protocol_version));
        http_write_field (writer, SLICE ("Portainer-Agent-API-Version"), SLICE ("2"));
        http_write_field (writer, SLICE ("Portainer-Agent-Platform"), SLICE ("1"));
    }
    http_write_field (writer, SLICE ("Shoal-Version"), SLICE (SHOAL_VERSION));
    char trace[2 * TRACE_BYTES];
    trace_to_hex (exchange->subject.trace, trace);
    http_write_field (writer, SLICE ("Shoal-Trace"), slice_of (trace, sizeof trace));
}

static void write_end_to_end (struct http_writer *writer, struct headers headers)
{
    for (size_t index = 0; index < headers.count; index++)
        if (!field_is_of_every_answer (headers.at[index].name))
            http_write_field (writer, headers.at[index].name, headers.at[index].value);
}

static void write_connection_field (struct connection *connection, struct http_writer *writer, struct slice upgrade)
{
    struct exchange *exchange = &connection->exchange;
    if (upgrade.len)
    {
        http_write_field (writer, SLICE ("Connection"), SLICE ("Upgrade"));
        http_write_field (writer, SLICE ("Upgrade"), upgrade);
    }
    else if (!exchange->keep_alive && exchange->response_framing != FRAMING_RAW)
        http_write_field (writer, SLICE ("Connection"), SLICE ("close"));
    else if (exchange->old_version && exchange->keep_alive)
        http_write_field (writer, SLICE ("Connection"), SLICE ("keep-alive"));
}

/* Writes the head of the answer in one frame and queues it. */
static void send_head (struct connection *connection, const struct message_response *response)
{
    struct exchange *exchange = &connection->exchange;
    unsigned status = (unsigned) response->status;
    size_t bound = http_head_bound (response->reason, response->upgrade, response->headers) + OWN_HEAD_BYTES;
    char small[SMALL_HEAD_BYTES], *bytes = bound <= sizeof small ? small : must (malloc (bound));
    struct http_writer writer = {.at = bytes, .capacity = bound};
    http_write_status_line (&writer, status, response->reason);
    write_end_to_end (&writer, response->headers);
    http_write_framing (&writer, exchange->response_framing, response->length);
    if (exchange->response_framing == FRAMING_NONE && status >= 200 && status != 204 && status != 304 &&
        !exchange->is_head)
        http_write_field (&writer, SLICE ("Content-Length"), SLICE ("0"));
    write_own_fields (connection, &writer);
    write_connection_field (connection, &writer, response->upgrade);
    http_write_end (&writer);
    ensure (!writer.overflow);
    zmq_msg_t frame;
    payload_copy (&frame, bytes, writer.length);
    if (bytes != small)
        free (bytes);
    output_head (connection, &frame);
    exchange->response_started = true;
}

static void new_trace (struct connection *connection, uint8_t trace[TRACE_BYTES])
{
    for (size_t index = 0; index < TRACE_BYTES; index += sizeof (uint64_t))
    {
        uint64_t random = actor_random (connection->ingress->actor) | 1; /* all zero is not a trace id */
        memcpy (trace + index, &random, sizeof random);
    }
}

void exchange_refuse (struct connection *connection, unsigned status, const char *message, const char *details)
{
    struct exchange *exchange = &connection->exchange;
    connection->ingress->counters.refused++;
    log_debug ("ingress", "%s: refused with %u: %s: %s", connection->source, status, message, details);
    json_t *object = json_pack ("{ssss}", "message", message, "details", details);
    char *body = object ? json_dumps (object, JSON_COMPACT) : NULL;
    json_decref (object);
    if (!body)
    {
        connection_cut (connection, "no memory for an error");
        return;
    }
    static const uint8_t no_trace[TRACE_BYTES];
    if (memcmp (exchange->subject.trace, no_trace, TRACE_BYTES) == 0)
        new_trace (connection, exchange->subject.trace);
    struct exchange refused = {.subject = exchange->subject,
                               .is_head = exchange->is_head,
                               .bare_headers = exchange->bare_headers,
                               .response_framing = FRAMING_LENGTH};
    *exchange = refused;
    struct header type = {SLICE ("Content-Type"), SLICE ("application/json")};
    struct message_response response = {.status = status, .length = strlen (body), .headers = {&type, 1}};
    send_head (connection, &response);
    if (!exchange->is_head)
    {
        zmq_msg_t payload;
        payload_copy (&payload, body, strlen (body));
        output_head (connection, &payload);
    }
    free (body);
    connection_linger (connection);
}

/* -------------------------------------------------------------------------------------------------------- the request
 */

void exchange_begin (struct connection *connection)
{
    struct ingress *ingress = connection->ingress;
    const struct http_head *head = &connection->reader.head;
    struct exchange *exchange = &connection->exchange;
    *exchange = (struct exchange){
        .keep_alive = head->keep_alive,
        .expects = head->expect_continue,
        .is_head = slice_equal (head->method, SLICE ("HEAD")),
        .old_version = connection->reader.parser.http_minor == 0,
        .request_framing = head->framing,
        .request_left = head->length,
        .request_done = head->framing == FRAMING_NONE,
        .bare_headers = route_is_key (head->target),
        .endless = route_is_endless (head->target),
        .hijackable = head->upgrade.len || route_is_hijackable (head->method, head->target),
        .begun = actor_now (ingress->actor),
    };
    if (!trace_from_parent (headers_find (head->headers, SLICE ("traceparent")), exchange->subject.trace))
        new_trace (connection, exchange->subject.trace);
    if (connection->over_limit)
    {
        ingress->counters.over_limit++;
        exchange_refuse (connection, 503, "Too many connections", "the agent's limit is reached; see --connections");
        return;
    }
    uint32_t credit = window_open (&exchange->window, ingress->configuration->budget);
    if (!credit)
    {
        ingress->counters.over_limit++;
        exchange_refuse (connection, 503, "Too much data in flight",
                         "the agent's limit is reached; see --payload-total");
        return;
    }
    exchange->active = true;
    exchange->subject.stream = ++ingress->last_stream;
    stream_table_put (&ingress->streams, exchange->subject.stream, connection);
    ingress->counters.requests++;
    union message_fields fields = {.request = {.method = head->method,
                                               .target = head->target,
                                               .framing = head->framing,
                                               .length = head->framing == FRAMING_LENGTH ? head->length : 0,
                                               .upgrade = head->upgrade,
                                               .hijackable = exchange->hijackable,
                                               .source = slice_from (connection->source),
                                               .authority = head->authority,
                                               .window = credit,
                                               .client = ACTOR_ingress,
                                               .headers = head->headers}};
    actor_send (ingress->actor, ACTOR_auth, MESSAGE_request, &exchange->subject, &fields, NULL);
}

static void send_payload (struct connection *connection, char *bytes, size_t length)
{
    struct exchange *exchange = &connection->exchange;
    zmq_msg_t payload;
    payload_from_buffer (&payload, &connection->ingress->buffer, bytes, length);
    exchange->credit -= length;
    actor_send (connection->ingress->actor, exchange->far, MESSAGE_body, &exchange->subject, NULL, &payload);
}

static void send_end (struct connection *connection)
{
    static const union message_fields no_trailers;
    struct exchange *exchange = &connection->exchange;
    exchange->request_done = true;
    if (exchange->known)
        actor_send (connection->ingress->actor, exchange->far, MESSAGE_end, &exchange->subject, &no_trailers, NULL);
}

/* A Content-Length of 0 promises a body of which nothing will come. */
static bool body_is_empty (const struct exchange *exchange)
{
    return exchange->request_framing == FRAMING_LENGTH && exchange->request_left == 0;
}

static size_t body_input (struct connection *connection, char *bytes, size_t length)
{
    struct exchange *exchange = &connection->exchange;
    if (!exchange->discard && length > exchange->credit)
        length = exchange->credit;
    if (length == 0)
        return 0;
    struct slice piece;
    size_t used = 0;
    enum http_result result = http_reader_body (&connection->reader, bytes, length, &piece, &used);
    if (result == HTTP_ERROR)
    {
        const char *why = connection->reader.error_text;
        bool answered = exchange->response_started;
        exchange_abort (connection, why);
        if (answered)
            connection_cut (connection, why);
        else
            exchange_refuse (connection, connection->reader.error_status, "Request refused", why);
        return used ? used : length;
    }
    exchange->expects = false; /* it did not wait */
    if (exchange->request_framing == FRAMING_LENGTH)
        exchange->request_left -= piece.len;
    if (piece.len && !exchange->discard)
        send_payload (connection, bytes + (piece.at - bytes), piece.len);
    if (result == HTTP_DONE)
    {
        if (exchange->discard)
            exchange->request_done = true;
        else
            send_end (connection);
        output_nudge (connection);
    }
    return used;
}

size_t exchange_input (struct connection *connection, char *bytes, size_t length)
{
    struct exchange *exchange = &connection->exchange;
    if (connection->state == CONNECTION_RAW)
    {
        if (exchange->request_done)
            return length; /* nobody listens any more: see exchange_end_relayed_console() */
        size_t step = length < exchange->credit ? length : exchange->credit;
        if (step)
            send_payload (connection, bytes, step);
        return step;
    }
    return exchange->request_done ? 0 : body_input (connection, bytes, length);
}

void exchange_input_end (struct connection *connection)
{
    struct exchange *exchange = &connection->exchange;
    if (connection->state == CONNECTION_RAW)
    {
        if (!exchange->request_done)
            send_end (connection);
        output_nudge (connection);
    }
    else if (!exchange->request_done)
        connection_cut (connection, "the client closed within a request's body");
    /* Otherwise the client only says that it will ask no more: it gets its answer. */
}

static void release (struct connection *connection)
{
    struct exchange *exchange = &connection->exchange;
    window_close (&exchange->window);
    stream_table_remove (&connection->ingress->streams, exchange->subject.stream);
    exchange->active = false;
}

/* --------------------------------------------------------------------------------------------------------- the answer
 */

/* The answer comes before the body was read: is the rest worth reading, to keep the connection? */
static void settle_unread_body (struct connection *connection)
{
    struct exchange *exchange = &connection->exchange;
    if (body_is_empty (exchange))
        exchange->request_done = true;
    if (exchange->request_done)
        return;
    bool small = exchange->request_framing == FRAMING_LENGTH && exchange->request_left <= DISCARD_MAX;
    if (!exchange->known && small && !exchange->expects)
    {
        /* Not for ever: the rest of the body has the time of a head. */
        exchange->discard = true;
        connection_set_deadline (connection, connection->ingress->configuration->header_time);
    }
    else
        exchange->keep_alive = false;
}

void exchange_on_response (struct connection *connection, struct message *message)
{
    struct exchange *exchange = &connection->exchange;
    const struct message_response *response = &message->fields.response;
    if (exchange->response_started)
        return;
    settle_unread_body (connection);
    exchange->known = true;
    exchange->far = message->envelope.from;
    exchange->response_framing = (enum framing) response->framing;
    /* HTTP/1.0 knows no chunks: the end of the connection ends the body. */
    if (exchange->response_framing == FRAMING_CHUNKED && exchange->old_version)
        exchange->response_framing = FRAMING_CLOSE;
    if (exchange->response_framing == FRAMING_CLOSE || connection->ingress->draining)
        exchange->keep_alive = false;
    if (exchange->response_framing == FRAMING_RAW)
    {
        /* No agent headers on the 101 of a WebSocket (contract 5.6). */
        exchange->console = slice_equal_nocase (response->upgrade, SLICE ("websocket"));
        exchange->bare_headers |= exchange->console;
        connection->state = CONNECTION_RAW;
        exchange->keep_alive = false;
        exchange->request_done = false;
        exchange->credit = 0;
    }
    send_head (connection, response);
    if (exchange->discard)
        connection_resume_input (connection);
    if (connection->state == CONNECTION_RAW && connection->read_closed && connection->input_length == 0)
        exchange_input_end (connection);
}

void exchange_on_body (struct connection *connection, struct message *message)
{
    struct exchange *exchange = &connection->exchange;
    if (!exchange->response_started || exchange->response_done)
        return;
    bool chunked = exchange->response_framing == FRAMING_CHUNKED;
    /* An empty chunk would end the body; an answer to HEAD has none. */
    if (zmq_msg_size (message->payload) && !exchange->is_head)
        output_body (connection, message->payload, chunked);
}

void exchange_on_end (struct connection *connection, struct message *message)
{
    struct exchange *exchange = &connection->exchange;
    if (!exchange->response_started || exchange->response_done)
        return;
    exchange->response_done = true;
    struct headers trailers = message->fields.end.trailers;
    char *bytes = NULL;
    size_t length = 0;
    if (exchange->response_framing == FRAMING_CHUNKED)
    {
        size_t bound = http_head_bound (SLICE (""), SLICE (""), trailers) + 16;
        bytes = must (malloc (bound));
        struct http_writer writer = {.at = bytes, .capacity = bound};
        http_write (&writer, SLICE ("0\r\n"));
        http_write_headers (&writer, trailers);
        http_write_end (&writer);
        length = writer.length;
    }
    /* An empty piece has the queue looked at, and the exchange finished, at the end of the turn. */
    zmq_msg_t frame;
    payload_copy (&frame, bytes, length);
    free (bytes);
    output_head (connection, &frame);
}

void exchange_on_credit (struct connection *connection, struct message *message)
{
    struct exchange *exchange = &connection->exchange;
    exchange->known = true;
    exchange->far = message->envelope.from;
    exchange->credit += message->fields.credit.bytes;
    if (connection->state != CONNECTION_RAW && !exchange->request_done && body_is_empty (exchange))
    {
        exchange->expects = false;
        send_end (connection);
        return;
    }
    if (!connection->reads_far && exchange->credit > TLS_RECORD_BYTES)
    {
        /* The body is large, or its sender is: the window has grown. */
        connection->reads_far = true;
        tls_read_far (&connection->tls, true);
    }
    if (exchange->expects && !exchange->response_started && connection->input_length == 0)
    {
        static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
        exchange->expects = false;
        zmq_msg_t frame;
        payload_copy (&frame, interim, sizeof interim - 1);
        output_head (connection, &frame);
    }
    connection_resume_input (connection);
}

void exchange_on_abort (struct connection *connection, struct message *message)
{
    struct slice reason = message->fields.abort.reason;
    char why[256];
    snprintf (why, sizeof why, "%.*s", (int) reason.len, reason.at);
    struct exchange *exchange = &connection->exchange;
    /* Pieces that came before the abort belong to the client, as far as it takes them at once. */
    if (exchange->response_started)
        output_flush (connection);
    if (connection->state == CONNECTION_CLOSED || !exchange->active)
        return;
    bool answered = exchange->response_started;
    if (exchange->response_done)
    {
        /* The answer is whole; only the other direction of a raw stream was still open. */
        exchange->request_done = true;
        output_nudge (connection);
        return;
    }
    release (connection);
    if (answered)
    {
        log_warn ("ingress", "%s: an answer was cut off: %s", connection->source, why);
        connection->ingress->counters.aborted++;
        connection_cut (connection, why);
    }
    else
        exchange_refuse (connection, 502, "Unable to proxy the request via the Docker socket", why);
}

/* ----------------------------------------------------------------------------------------------------------- the end
 */

void exchange_payload_sent (struct connection *connection, size_t bytes)
{
    struct exchange *exchange = &connection->exchange;
    if (!exchange->active)
        return;
    uint32_t credit = window_consume (&exchange->window, bytes);
    if (!credit || exchange->response_done)
        return;
    union message_fields fields = {.credit = {.bytes = credit}};
    actor_send (connection->ingress->actor, exchange->far, MESSAGE_credit, &exchange->subject, &fields, NULL);
}

/* The answer is complete and written. */
static void finish (struct connection *connection)
{
    struct exchange *exchange = &connection->exchange;
    if (connection->state == CONNECTION_RAW && !exchange->request_done)
    {
        /* Half-close: the client may go on sending. */
        if (connection->write_closed)
            return;
        connection->write_closed = true;
        tls_end (&connection->tls);
        enum tls_result result = tls_flush (&connection->tls);
        if (result == TLS_FAILED)
            connection_cut (connection, "the client ended the connection");
        else
            connection_watch_output (connection, result == TLS_BLOCKED);
        return;
    }
    if (!exchange->request_done && exchange->discard)
        return; /* until the small rest of the body was skipped */
    if (!exchange->request_done)
        exchange_abort (connection, "answered before the body was read");
    else
        release (connection);
    if (exchange->keep_alive && !connection->ingress->draining)
        connection_next_request (connection);
    else
        connection_linger (connection);
}

void exchange_output_done (struct connection *connection)
{
    struct exchange *exchange = &connection->exchange;
    if (exchange->active && exchange->response_done)
        finish (connection);
    else if (connection->state == CONNECTION_LINGER && !exchange->active && !connection->write_closed)
        connection_linger (connection);
}

void exchange_abort (struct connection *connection, const char *why)
{
    struct exchange *exchange = &connection->exchange;
    if (!exchange->active)
        return;
    /* Before the far end is known, the abort follows the request's own way, so that it cannot overtake it. */
    union message_fields fields = {.abort = {.reason = slice_from (why)}};
    actor_send (connection->ingress->actor, exchange->known ? exchange->far : ACTOR_auth, MESSAGE_abort,
                &exchange->subject, &fields, NULL);
    release (connection);
}

void exchange_end_relayed_console (struct connection *connection)
{
    struct exchange *exchange = &connection->exchange;
    if (exchange->active && exchange->console && exchange->far == ACTOR_peers && !exchange->request_done)
        send_end (connection);
}

void exchange_stop (struct connection *connection)
{
    struct exchange *exchange = &connection->exchange;
    bool orderly = connection->state == CONNECTION_RAW ||
                   (exchange->endless && exchange->response_started && exchange->response_framing == FRAMING_CHUNKED);
    if (!orderly)
    {
        connection_cut (connection, "the agent stops");
        return;
    }
    bool chunked = exchange->response_framing == FRAMING_CHUNKED && !exchange->response_done;
    exchange_abort (connection, "the agent stops");
    if (chunked)
    {
        zmq_msg_t frame;
        payload_copy (&frame, "0\r\n\r\n", 5);
        output_head (connection, &frame);
    }
    connection_linger (connection);
}
