/* console_session.c - one console: a client's WebSocket and an engine's stream, joined.
 *
 *     attach ─▶ INSPECTING ─▶ STARTING ─101─▶ OPEN ─engine's end─▶ CLOSING ─close frame sent─▶ CLOSED ─the client's─▶
 * gone exec ───────────────────▲  └─ refused, client's close, broken protocol, no pong ─▲
 *
 * What a client types while the engine is asked waits within the window. Messages of the client lose their frames and
 * go to the engine as they are. Output becomes text messages: each is whole UTF-8 and within the client's credit, so a
 * frame never lies in two pieces. Of pongs only the latest waits (RFC 6455 section 5.5.3).
 *
 * A container without a terminal has output and errors in one stream of frames. Engines up to API 1.41 do not say so in
 * Content-Type, hence attach asks first. exec needs not: the engine goes by the `Tty` of the start, which is always
 * true.
 */
#include "console.h"

#include "ensure.h"
#include "log.h"

#include <jansson.h>
#include <stdlib.h>

static const char s_start_body[] = "{\"Tty\":true,\"Detach\":false}";

enum
{
    PATH_BYTES = CONSOLE_ID_MAX + 80,
    CHARACTER_BYTES_MAX = 4, /* of UTF-8: credit for fewer is no use */
};

static void on_tick (struct timer *timer);

/* --------------------------------------------------------------------------------------------------- sending */

static void send_to_client (struct session *session, enum message_type type, const union message_fields *fields)
{
    actor_send (session->console->actor, session->far, type, &session->client, fields, NULL);
}

static void send_to_engine (struct session *session, enum message_type type, const union message_fields *fields)
{
    actor_send (session->console->actor, ACTOR_docker, type, &session->engine, fields, NULL);
}

static void grant_client (struct session *session, uint32_t bytes)
{
    union message_fields fields = {.credit = {.bytes = bytes}};
    if (bytes)
        send_to_client (session, MESSAGE_credit, &fields);
}

static void grant_engine (struct session *session, uint32_t bytes)
{
    union message_fields fields = {.credit = {.bytes = bytes}};
    if (bytes && session->engine.stream)
        send_to_engine (session, MESSAGE_credit, &fields);
}

/* ------------------------------------------------------------------------------------------------------------ the end
 */

/* Docker's side of the stream is over, or forgotten. */
static void drop_engine (struct session *session)
{
    if (session->engine.stream)
        stream_table_remove (&session->console->streams, session->engine.stream);
    session->engine.stream = 0;
}

/* Has docker close the engine's connection, which ends what runs there for it. */
static void end_engine (struct session *session, const char *why)
{
    union message_fields fields = {.abort = {.reason = slice_from (why)}};
    if (session->engine.stream)
        send_to_engine (session, MESSAGE_abort, &fields);
    drop_engine (session);
}

static void free_session (void *object)
{
    free (object);
}

void session_destroy (struct session *session)
{
    struct console *console = session->console;
    end_engine (session, "the console is over");
    log_debug ("console", "%s %s: closed", session->exec ? "exec" : "attach", session->id);
    stream_table_remove (&console->streams, session->client.stream);
    if (session->previous)
        session->previous->next = session->next;
    else
        console->sessions = session->next;
    if (session->next)
        session->next->previous = session->previous;
    console->count--;
    timer_clear (&session->timer);
    relay_close (&session->input);
    relay_close (&session->output);
    websocket_destroy (&session->websocket);
    free (session->answer);
    actor_defer (console->actor, free_session, session);
}

/* Nothing more is to be said or heard: the client's connection ends in order. */
static void finish (struct session *session)
{
    static const union message_fields no_trailers;
    static const union message_fields closed = {.abort = {.reason = SLICE ("the console is closed")}};
    send_to_client (session, MESSAGE_end, &no_trailers);
    send_to_client (session, MESSAGE_abort, &closed);
    session_destroy (session);
}

static void on_close_late (struct timer *timer)
{
    finish (OWNER (timer, struct session, timer));
}

static void drop_waiting (struct session *session, struct relay *relay)
{
    relay_drop (relay, relay->length);
    uint32_t credit = relay_settle (relay, 0);
    if (relay == &session->input)
        grant_client (session, credit);
    else
        grant_engine (session, credit);
}

/* ----------------------------------------------------------------------------------------------- frames to the client
 */

/* Sends a frame when the client has credit for it. */
static bool send_frame (struct session *session, enum websocket_opcode opcode, struct slice payload)
{
    size_t length = websocket_frame_bytes (payload.len);
    if (session->output.credit < length)
        return false;
    zmq_msg_t frame;
    ensure (zmq_msg_init_size (&frame, length) == 0);
    ensure (websocket_write (session->websocket, opcode, payload, zmq_msg_data (&frame)) == length);
    session->output.credit -= length;
    actor_send (session->console->actor, session->far, MESSAGE_body, &session->client, NULL, &frame);
    return true;
}

static bool send_text (struct session *session)
{
    struct relay *output = &session->output;
    if (output->credit < WEBSOCKET_HEADER_MAX + CHARACTER_BYTES_MAX)
        return false;
    uint64_t most = output->credit - WEBSOCKET_HEADER_MAX;
    size_t length = utf8_text_cut (slice_of (output->bytes, output->length),
                                   most < CONSOLE_TEXT_MAX ? (size_t) most : CONSOLE_TEXT_MAX);
    send_frame (session, WEBSOCKET_TEXT, slice_of (output->bytes, length));
    relay_drop (output, length);
    grant_engine (session, relay_settle (output, length));
    return true;
}

static bool send_close (struct session *session)
{
    struct console *console = session->console;
    char frame[WEBSOCKET_CLOSE_FRAME_MAX];
    size_t length =
        websocket_write_close (session->websocket, session->close_code, slice_from (session->close_reason), frame);
    if (session->output.credit < length)
        return false;
    zmq_msg_t payload;
    payload_copy (&payload, frame, length);
    session->output.credit -= length;
    actor_send (console->actor, session->far, MESSAGE_body, &session->client, NULL, &payload);
    session->state = SESSION_CLOSED;
    timer_set (console->actor, &session->timer, console->close_time, on_close_late);
    return true;
}

/* Sends the next of what waits: pong and ping, then text, at last the close frame. Returns false when nothing waits or
 * the client's credit does not reach. */
static bool send_next (struct session *session)
{
    if (session->state == SESSION_CLOSED)
        return false;
    if (session->pong_due)
    {
        session->pong_due = !send_frame (session, WEBSOCKET_PONG_FRAME, slice_of (session->pong, session->pong_length));
        return !session->pong_due;
    }
    if (session->ping_due)
    {
        session->ping_due = !send_frame (session, WEBSOCKET_PING_FRAME, SLICE (""));
        return !session->ping_due;
    }
    if (session->output.length)
        return send_text (session);
    return session->state == SESSION_CLOSING && send_close (session);
}

static void send_input (struct session *session)
{
    struct relay *input = &session->input;
    size_t length = input->length < input->credit ? input->length : (size_t) input->credit;
    if (session->state == SESSION_OPEN && length)
    {
        zmq_msg_t payload;
        payload_copy (&payload, input->bytes, length);
        input->credit -= length;
        actor_send (session->console->actor, ACTOR_docker, MESSAGE_body, &session->engine, NULL, &payload);
        relay_drop (input, length);
    }
    else
        length = 0;
    grant_client (session, relay_settle (input, length));
}

/* Does whatever can be done now. The session may be gone afterwards. */
static void settle (struct session *session)
{
    send_input (session);
    while (send_next (session))
        continue;
    if (session->state == SESSION_CLOSED && session->client_closed)
        finish (session);
}

void session_close (struct session *session, unsigned code, const char *reason)
{
    if (session->state >= SESSION_CLOSING)
        return;
    session->state = SESSION_CLOSING;
    session->close_code = code;
    snprintf (session->close_reason, sizeof session->close_reason, "%s", reason);
    end_engine (session, "the console is closed");
    drop_waiting (session, &session->input);
    while (send_next (session))
        continue;
}

/* ----------------------------------------------------------------------------------------------------- the engine's
 * side
 */

static void ask_engine (struct session *session, const char *method, const char *target, size_t body, bool hijack,
                        uint32_t window)
{
    struct console *console = session->console;
    static const struct header type = {SLICE ("Content-Type"), SLICE ("application/json")};
    session->engine = session->client;
    session->engine.stream =
        UINT64_C (1) << 62 | ++console->last_stream; /* ingress counts from 1, so they never meet */
    stream_table_put (&console->streams, session->engine.stream, session);
    union message_fields fields = {.request = {.method = slice_from (method),
                                               .target = slice_from (target),
                                               .framing = body ? FRAMING_LENGTH : FRAMING_NONE,
                                               .length = body,
                                               .upgrade = hijack ? SLICE ("tcp") : SLICE (""),
                                               .hijackable = hijack,
                                               .source = SLICE ("console"),
                                               .window = window,
                                               .client = ACTOR_console,
                                               .headers = {&type, hijack}}};
    send_to_engine (session, MESSAGE_request, &fields);
}

static void inspect (struct session *session, uint32_t window)
{
    char target[PATH_BYTES];
    session->state = SESSION_INSPECTING;
    snprintf (target, sizeof target, "/containers/%s/json", session->id);
    ask_engine (session, "GET", target, 0, false, window);
}

static void start (struct session *session, uint32_t window)
{
    char target[PATH_BYTES];
    session->state = SESSION_STARTING;
    snprintf (target, sizeof target,
              session->exec ? "/exec/%s/start" : "/containers/%s/attach?stdin=1&stdout=1&stderr=1&stream=1",
              session->id);
    ask_engine (session, "POST", target, session->exec ? sizeof s_start_body - 1 : 0, true, window);
}

static void send_start_body (struct session *session)
{
    static const union message_fields no_trailers;
    zmq_msg_t payload;
    session->start_sent = true;
    payload_copy (&payload, s_start_body, sizeof s_start_body - 1);
    actor_send (session->console->actor, ACTOR_docker, MESSAGE_body, &session->engine, NULL, &payload);
    send_to_engine (session, MESSAGE_end, &no_trailers);
}

static void on_response (struct session *session, const struct message_response *response)
{
    session->status = (unsigned) response->status;
    if (session->state != SESSION_STARTING || response->framing != FRAMING_RAW)
        return; /* what it says comes as a body */
    struct slice type = headers_find (response->headers, SLICE ("Content-Type"));
    session->multiplexed = slice_equal (type, SLICE ("application/vnd.docker.multiplexed-stream")) ||
                           (!session->exec && !session->terminal);
    session->state = SESSION_OPEN;
}

static void put_text (struct session *session, unsigned kind, struct slice piece)
{
    struct relay *output = &session->output;
    size_t dropped = 0;
    char *out = relay_reserve (output, piece.len + UTF8_TEXT_HELD_MAX);
    output->length += utf8_text_filter (&session->text[kind == MULTIPLEXED_ERRORS], piece, out, &dropped);
}

static void on_output (struct session *session, struct slice bytes)
{
    struct slice piece = bytes;
    enum multiplexed_result result = MULTIPLEXED_MORE;
    if (!session->multiplexed)
        put_text (session, 0, piece);
    else
        while ((result = multiplexed_next (&session->frames, &bytes, &piece)) == MULTIPLEXED_PIECE)
            put_text (session, session->frames.kind, piece);
    if (result == MULTIPLEXED_ERROR)
        session_close (session, WEBSOCKET_FAILED, "the engine's stream of output and errors is malformed");
    else if (session->output.length == 0)
        grant_engine (session, relay_settle (&session->output, 0)); /* no text came of it yet */
}

/* Keeps what the engine says instead of opening a stream, and what it says of a container. */
static void collect (struct session *session, struct slice bytes)
{
    bool described = session->state == SESSION_INSPECTING && session->status == 200;
    size_t most = described ? CONSOLE_INSPECT_MAX : CONSOLE_REFUSAL_MAX;
    if (session->answer_length + bytes.len > most)
    {
        if (described)
            session_close (session, WEBSOCKET_FAILED, "what the engine says of the container is too long");
        bytes.len = most - session->answer_length; /* the rest of a refusal is not looked at */
    }
    session->answer = must (realloc (session->answer, session->answer_length + bytes.len + 1));
    memcpy (session->answer + session->answer_length, bytes.at, bytes.len);
    session->answer_length += bytes.len;
    grant_engine (session, relay_settle (&session->output, bytes.len));
}

static void on_engine_body (struct session *session, struct message *message)
{
    struct slice bytes = slice_of (zmq_msg_data (message->payload), zmq_msg_size (message->payload));
    session->output.owed += bytes.len;
    if (session->state == SESSION_OPEN)
        on_output (session, bytes);
    else
        collect (session, bytes);
}

/* Engines refuse an attach in plain text. Returns its first line; empty when it is something else. */
static struct slice plain_text (struct slice answer)
{
    static const char no_words[] = "{[<";
    size_t length = 0;
    if (answer.len && memchr (no_words, answer.at[0], sizeof no_words))
        return SLICE ("");
    while (length < answer.len && length < CONSOLE_REASON_BYTES && (unsigned char) answer.at[length] >= ' ')
        length++;
    return slice_of (answer.at, length);
}

/* The engine did not open a stream: its words become the reason of the close frame. */
static void refused (struct session *session)
{
    struct slice words = plain_text (slice_of (session->answer, session->answer_length));
    json_t *object = session->answer ? json_loadb (session->answer, session->answer_length, 0, NULL) : NULL;
    const char *text = json_string_value (json_object_get (object, "message"));
    const char *details = json_string_value (json_object_get (object, "details"));
    char reason[CONSOLE_REASON_BYTES];
    if (text)
        snprintf (reason, sizeof reason, "%s%s%s", text, details ? ": " : "", details ? details : "");
    else if (words.len)
        snprintf (reason, sizeof reason, "%.*s", (int) words.len, words.at);
    else
        snprintf (reason, sizeof reason, "the engine answered with status %u", session->status);
    json_decref (object);
    session->console->counters.engine_refused++;
    log_info ("console", "%s %s: refused by the engine: %s", session->exec ? "exec" : "attach", session->id, reason);
    session_close (session, WEBSOCKET_FAILED, reason);
}

/* The engine has described the container. */
static void on_described (struct session *session)
{
    json_t *object = session->answer ? json_loadb (session->answer, session->answer_length, 0, NULL) : NULL;
    json_t *terminal = json_object_get (json_object_get (object, "Config"), "Tty");
    bool known = json_is_boolean (terminal);
    session->terminal = json_is_true (terminal);
    json_decref (object);
    free (session->answer);
    session->answer = NULL;
    session->answer_length = 0;
    window_close (&session->output.window); /* docker has forgotten what was granted for that answer */
    uint32_t window = relay_open (&session->output, session->console->configuration->budget);
    if (!known)
        session_close (session, WEBSOCKET_FAILED, "the engine does not say whether the container has a terminal");
    else if (!window)
        session_close (session, WEBSOCKET_FAILED, "too much data in flight; see --payload-total");
    else
        start (session, window);
}

static void on_engine_end (struct session *session)
{
    if (session->state == SESSION_OPEN)
    {
        session->console->counters.ended++;
        session_close (session, WEBSOCKET_NORMAL, "");
        return;
    }
    drop_engine (session);
    if (session->state == SESSION_INSPECTING && session->status == 200)
        on_described (session);
    else
        refused (session);
}

static void on_engine_credit (struct session *session, uint64_t bytes)
{
    if (session->state == SESSION_OPEN)
        session->input.credit += bytes;
    else if (session->exec && !session->start_sent)
        send_start_body (session); /* credit for this body is none for raw bytes */
}

static void on_engine_abort (struct session *session, struct slice why)
{
    char reason[CONSOLE_REASON_BYTES];
    snprintf (reason, sizeof reason, "%.*s", (int) why.len, why.at);
    drop_engine (session);
    log_info ("console", "%s %s: broken off: %s", session->exec ? "exec" : "attach", session->id, reason);
    session_close (session, WEBSOCKET_FAILED, reason);
}

void session_on_engine (struct session *session, struct message *message)
{
    switch (message->envelope.type)
    {
    case MESSAGE_response:
        on_response (session, &message->fields.response);
        break;
    case MESSAGE_body:
        on_engine_body (session, message);
        break;
    case MESSAGE_end:
        on_engine_end (session);
        break;
    case MESSAGE_credit:
        on_engine_credit (session, message->fields.credit.bytes);
        break;
    case MESSAGE_abort:
        on_engine_abort (session, message->fields.abort.reason);
        break;
    default:
        log_error ("console", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
    settle (session);
}

/* ----------------------------------------------------------------------------------------------------- the client's
 * side
 */

/* The client wants no more, or cannot be understood any more: what waits for it is of no use. */
static void client_is_over (struct session *session, unsigned code, const char *reason)
{
    session->client_closed = true;
    drop_waiting (session, &session->output);
    session_close (session, code, reason);
}

static void on_client_body (struct session *session, struct message *message)
{
    struct relay *input = &session->input;
    struct slice bytes = slice_of (zmq_msg_data (message->payload), zmq_msg_size (message->payload)), payload;
    enum websocket_event event;
    session->alive = true;
    input->owed += bytes.len;
    while ((event = websocket_next (session->websocket, &bytes, &payload)) != WEBSOCKET_MORE)
        switch (event)
        {
        case WEBSOCKET_DATA:
            if (session->state >= SESSION_CLOSING)
                break;
            memcpy (relay_reserve (input, payload.len), payload.at, payload.len);
            input->length += payload.len;
            break;
        case WEBSOCKET_PING:
            memcpy (session->pong, payload.at, payload.len);
            session->pong_length = payload.len;
            session->pong_due = true;
            break;
        case WEBSOCKET_CLOSE:
            session->console->counters.client_closed += session->state < SESSION_CLOSING;
            client_is_over (session, websocket_code (session->websocket), "");
            break;
        case WEBSOCKET_ERROR:
            session->console->counters.protocol_errors++;
            log_info ("console", "%s %s: the client broke the WebSocket protocol: %s",
                      session->exec ? "exec" : "attach", session->id, websocket_error (session->websocket));
            client_is_over (session, websocket_code (session->websocket), websocket_error (session->websocket));
            break;
        default:
            break;
        }
}

void session_on_client (struct session *session, struct message *message)
{
    switch (message->envelope.type)
    {
    case MESSAGE_body:
        on_client_body (session, message);
        break;
    case MESSAGE_credit:
        session->output.credit += message->fields.credit.bytes;
        if (session->output.length)
            session->alive = true; /* a slow client, but it reads; its pong comes behind all that */
        break;
    case MESSAGE_end: /* a WebSocket has no half-close: it can still be told that this is the end, and answers no more
                       */
        session->console->counters.aborted += session->state < SESSION_CLOSING;
        session->client_closed = true;
        drop_waiting (session, &session->output);
        timer_set (session->console->actor, &session->timer, session->console->close_time, on_close_late);
        session_close (session, WEBSOCKET_GOING_AWAY, "the client's connection ended");
        break;
    case MESSAGE_abort:
        session->console->counters.aborted++;
        session_destroy (session);
        return;
    default:
        log_error ("console", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
    settle (session);
}

/* Looks after the client: a sign of life since the last ping, or bytes of it that wait for the engine, because its pong
 * may be stuck behind them. */
static void on_tick (struct timer *timer)
{
    struct session *session = OWNER (timer, struct session, timer);
    struct console *console = session->console;
    session->missed = session->alive || session->input.length ? 0 : session->missed + 1;
    session->alive = false;
    session->ping_due = true;
    timer_set (console->actor, timer, console->ping_time, on_tick);
    if (session->missed >= CONSOLE_PONGS_MISSED_MOST)
    {
        if (session->state >= SESSION_CLOSING)
        {
            finish (session);
            return;
        }
        console->counters.unanswered++;
        log_info ("console", "%s %s: closed: the client does not answer pings", session->exec ? "exec" : "attach",
                  session->id);
        session->ping_due = false;
        drop_waiting (session, &session->output);
        session_close (session, WEBSOCKET_GOING_AWAY, "no answer to pings");
    }
    settle (session);
}

/* -------------------------------------------------------------------------------------------------------------- begin
 */

static void answer_handshake (struct session *session, struct headers request)
{
    char accept[WEBSOCKET_ACCEPT_BYTES];
    ensure (websocket_accept (headers_find (request, SLICE ("Sec-WebSocket-Key")), accept));
    const struct header header = {SLICE ("Sec-WebSocket-Accept"), slice_of (accept, sizeof accept)};
    union message_fields fields = {.response = {.status = 101,
                                                .reason = SLICE ("Switching Protocols"),
                                                .framing = FRAMING_RAW,
                                                .upgrade = SLICE ("websocket"),
                                                .headers = {&header, 1}}};
    send_to_client (session, MESSAGE_response, &fields);
}

bool session_begin (struct console *console, struct message *message, bool exec, struct slice id)
{
    const struct message_request *request = &message->fields.request;
    struct budget *budget = console->configuration->budget;
    struct session *session = must (calloc (1, sizeof *session));
    uint32_t input = relay_open (&session->input, budget), output = relay_open (&session->output, budget);
    if (!input || !output)
    {
        relay_close (&session->input);
        relay_close (&session->output);
        free (session);
        return false;
    }
    session->console = console;
    session->exec = exec;
    memcpy (session->id, id.at, id.len);
    session->client = message_subject (message);
    session->far = (enum actor_id) request->client;
    session->websocket = must (websocket_new ());
    session->output.credit = request->window;
    session->alive = true;
    session->next = console->sessions;
    if (session->next)
        session->next->previous = session;
    console->sessions = session;
    console->count++;
    console->counters.opened++;
    stream_table_put (&console->streams, session->client.stream, session);
    log_debug ("console", "%.*s: %s %s: opened", (int) request->source.len, request->source.at,
               exec ? "exec" : "attach", session->id);
    answer_handshake (session, request->headers);
    grant_client (session, input);
    timer_set (console->actor, &session->timer, console->ping_time, on_tick);
    if (exec)
        start (session, output);
    else
        inspect (session, output);
    return true;
}
