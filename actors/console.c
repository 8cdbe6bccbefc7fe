/* console.c - the actor for consoles over WebSocket: exec and attach (contract section 5.6).
 *
 * Owns     sessions: a client's WebSocket on one side, a hijacked request to the engine on the other
 * In       request, from the router; body, end, credit, abort from ingress about the client's side and, with response,
 *          from docker about the engine's; stop; inspect
 * Out      response, body, end, credit, abort to ingress; request, body, end, credit, abort to docker
 * Limits   CONSOLES_MAX (503); payload in flight (503); what waits in a session is within the windows that it granted
 * Timers   pings; the client's answer to a close frame; stopping
 *
 * The handshake is answered first, because servers and browsers wait for it; what the engine refuses comes as a close
 * frame with its message. To docker a console is a client like ingress: one that asks under a stream id of its own.
 */
#include "console.h"

#include "ensure.h"
#include "http/url.h"
#include "log.h"
#include "placement.h"

#include <ctype.h>
#include <stdlib.h>

/* Says what is wrong with a handshake, and which version would do (RFC 6455 section 4.4). */
static void refuse_handshake (struct console *console, struct message *message, unsigned status, const char *why)
{
    struct subject subject = message_subject (message);
    enum actor_id client = (enum actor_id) message->fields.request.client;
    char text[160];
    int length = snprintf (text, sizeof text, "%s\n", why);
    const struct header headers[] = {{SLICE ("Content-Type"), SLICE ("text/plain; charset=utf-8")},
                                     {SLICE ("Sec-WebSocket-Version"), SLICE ("13")}};
    union message_fields fields = {.response = {.status = status,
                                                .framing = FRAMING_LENGTH,
                                                .length = (uint64_t) length,
                                                .headers = {headers, sizeof headers / sizeof *headers}}};
    console->counters.refused++;
    actor_send (console->actor, client, MESSAGE_response, &subject, &fields, NULL);
    zmq_msg_t payload;
    payload_copy (&payload, text, (size_t) length);
    actor_send (console->actor, client, MESSAGE_body, &subject, NULL, &payload);
    union message_fields end = {.end = {.trailers = {NULL, 0}}};
    actor_send (console->actor, client, MESSAGE_end, &subject, &end, NULL);
}

static void refuse (struct console *console, struct message *message, unsigned status, const char *text,
                    const char *details)
{
    struct subject subject = message_subject (message);
    console->counters.refused++;
    answer_error (console->actor, (enum actor_id) message->fields.request.client, &subject, status, text, details);
}

static bool ends_with (struct slice text, struct slice end)
{
    return text.len >= end.len && slice_equal (slice_skip (text, text.len - end.len), end);
}

static bool is_hexadecimal (struct slice text)
{
    for (size_t index = 0; index < text.len; index++)
        if (!isxdigit ((unsigned char) text.at[index]))
            return false;
    return true;
}

static void on_request (struct console *console, struct message *message)
{
    const struct message_request *request = &message->fields.request;
    struct slice path, query;
    url_split (request->target, &path, &query);
    bool exec = ends_with (path, SLICE ("/exec"));
    struct slice id = url_query_find (query, SLICE ("id"));
    struct slice origin = headers_find (request->headers, SLICE ("Origin"));
    const char *error;
    if (id.len == 0)
        refuse (console, message, 400, "Invalid query parameter: id", "Missing query parameter");
    else if (id.len > CONSOLE_ID_MAX || !is_hexadecimal (id))
        refuse (console, message, 400, "Invalid query parameter: id (must be hexadecimal identifier)",
                "Invalid query parameter: id (must be hexadecimal identifier)");
    else if ((error = websocket_handshake_error (request)) != NULL)
        refuse_handshake (console, message, 400, error);
    else if (exec && origin.at && !websocket_is_same_origin (origin, request->authority))
        refuse_handshake (console, message, 403, "the page that asks (Origin) is not of this host (Host)");
    else if (console->stopping)
        refuse (console, message, 503, "The agent is stopping", "no console is opened any more");
    else if (console->count >= console->most)
    {
        console->counters.over_limit++;
        log_warn ("console", "%.*s: refused: %zu consoles are open, which is the limit", (int) request->source.len,
                  request->source.at, console->count);
        refuse (console, message, 503, "Too many consoles", "the agent's limit is reached; close some");
    }
    else if (!session_begin (console, message, exec, id))
    {
        console->counters.over_limit++;
        refuse (console, message, 503, "Too much data in flight", "the agent's limit is reached; see --payload-total");
    }
}

/* ------------------------------------------------------------------------------------------------------------ stopping
 */

static void stop_sessions (struct timer *timer)
{
    struct console *console = OWNER (timer, struct console, stop_sessions);
    struct session *next;
    for (struct session *session = console->sessions; session; session = next)
    {
        next = session->next;
        session_close (session, WEBSOCKET_GOING_AWAY, "the agent stops");
    }
}

/* Ingress cuts what lives when the grace is over; a close frame goes before that. */
static void on_stop (struct console *console, uint64_t grace)
{
    console->stopping = true;
    timer_set (console->actor, &console->stop_sessions,
               grace > CONSOLE_STOP_LEAD_TIME ? grace - CONSOLE_STOP_LEAD_TIME : 0, stop_sessions);
}

/* ------------------------------------------------------------------------------------------------------------ messages
 */

static void on_inspect (struct console *console, struct message *message)
{
    size_t waiting = 0;
    for (const struct session *session = console->sessions; session; session = session->next)
        waiting += session->input.length + session->output.length;
    json_t *state = json_pack (
        "{sI sI sI sI sI sI sI sI sI sI sI sI}", "consoles", (json_int_t) console->count, "waiting_bytes",
        (json_int_t) waiting, "opened", (json_int_t) console->counters.opened, "refused",
        (json_int_t) console->counters.refused, "over_limit", (json_int_t) console->counters.over_limit,
        "engine_refused", (json_int_t) console->counters.engine_refused, "ended", (json_int_t) console->counters.ended,
        "client_closed", (json_int_t) console->counters.client_closed, "unanswered",
        (json_int_t) console->counters.unanswered, "protocol_errors", (json_int_t) console->counters.protocol_errors,
        "aborted", (json_int_t) console->counters.aborted, "unknown_streams", (json_int_t) console->streams.unknown);
    actor_report (console->actor, message->envelope.from, state);
}

static void on_message (void *self, struct message *message)
{
    struct console *console = self;
    switch (message->envelope.type)
    {
    case MESSAGE_request:
        on_request (console, message);
        return;
    case MESSAGE_stop:
        on_stop (console, message->fields.stop.grace);
        return;
    case MESSAGE_inspect:
        on_inspect (console, message);
        return;
    default:
        break;
    }
    struct session *session = stream_table_get (&console->streams, message->envelope.stream);
    if (!session)
        return; /* the stream is over here: what was under way is dropped */
    if (message->envelope.stream == session->engine.stream)
        session_on_engine (session, message);
    else
        session_on_client (session, message);
}

static void *start (struct actor *actor, const void *configuration)
{
    struct console *console = must (calloc (1, sizeof *console));
    console->actor = actor;
    console->configuration = configuration;
    console->ping_time = CONSOLE_PING_TIME;
    console->close_time = CONSOLE_CLOSE_TIME;
    console->most = CONSOLES_MAX;
    return console;
}

static void stop (void **self_p)
{
    struct console *console = *self_p;
    while (console->sessions)
        session_destroy (console->sessions);
    timer_clear (&console->stop_sessions);
    stream_table_free (&console->streams);
    free (console);
    *self_p = NULL;
}

const struct actor_class console_class = {.id = ACTOR_console, .start = start, .message = on_message, .stop = stop};
