/* console.h - what the files of the console actor share.
 *
 *   console.c           the actor: handshakes, limits, messages in, stopping
 *   console_session.c   one console: a client's WebSocket and an engine's stream, joined
 */
#pragma once

#include "actor.h"
#include "configuration.h"
#include "http/multiplexed.h"
#include "http/utf8_text.h"
#include "http/websocket.h"
#include "relay.h"
#include "stream_table.h"

enum
{
    CONSOLES_MAX = 256,                /* at once; one over the limit gets 503 */
    CONSOLE_ID_MAX = 128,              /* bytes of an exec's or container's id; the engine's have 64 */
    CONSOLE_INSPECT_MAX = 1024 * 1024, /* bytes of what the engine says of a container */
    CONSOLE_REFUSAL_MAX = 8 * 1024,    /* bytes of an engine's refusal that are looked at */
    CONSOLE_REASON_BYTES = 256,        /* of a reason for closing, NUL included */
    CONSOLE_PING_TIME = 30000,         /* ms between pings */
    CONSOLE_PONGS_MISSED_MOST = 2,     /* pings in a row without a sign of life */
    CONSOLE_CLOSE_TIME = 5000,         /* ms that the client has to answer a close frame */
    CONSOLE_TEXT_MAX = 64 * 1024,      /* bytes of one text message to the client */
};

enum session_state
{
    SESSION_INSPECTING, /* attach: has the container a terminal? */
    SESSION_STARTING,   /* waits for the engine to open its stream */
    SESSION_OPEN,
    SESSION_CLOSING, /* the engine's side is over; what is left goes to the client, then a close frame */
    SESSION_CLOSED,  /* the close frame is sent; waits for the client's */
};

struct session
{
    struct console *console;
    struct session *next, *previous;
    enum session_state state;
    bool exec;
    char id[CONSOLE_ID_MAX + 1];

    struct subject client; /* the stream with whoever holds the client's connection */
    enum actor_id far;     /* who that is: usually ingress */
    struct subject engine; /* the stream with docker; stream 0: none */
    struct websocket *websocket;

    struct relay input;  /* client to engine */
    struct relay output; /* engine to client: text */
    bool start_sent;     /* the body of the exec's start */
    bool terminal;       /* attach: the container has one */
    bool multiplexed;
    struct multiplexed frames;
    struct utf8_text text[2]; /* of output and of errors */

    char *answer; /* what the engine says instead of opening a stream */
    size_t answer_length;
    unsigned status; /* of that answer */

    bool client_closed; /* its close frame came, or it cannot be understood any more */
    bool ping_due, pong_due;
    char pong[WEBSOCKET_CONTROL_MAX];
    size_t pong_length;
    bool alive;      /* the client gave a sign of life since the last ping */
    unsigned missed; /* pings in a row without one */
    struct timer timer;

    unsigned close_code;
    char close_reason[CONSOLE_REASON_BYTES];
};

struct console
{
    struct actor *actor;
    const struct configuration *configuration;
    struct session *sessions;
    size_t count;
    struct stream_table streams; /* both streams of a session */
    uint64_t last_stream;        /* counts; see engine_stream_of() in console_session.c */
    struct timer stop_sessions;
    bool stopping;

    /* Tests shorten these. */
    uint64_t ping_time, close_time; /* ms */
    size_t most;                    /* sessions at once */

    struct
    {
        uint64_t opened, refused, over_limit, engine_refused, ended, client_closed, unanswered, protocol_errors,
            aborted;
    } counters;
};

/* Answers 101 to a request whose handshake was checked, and asks the engine for the stream. Returns false when the
 * budget for payload has no room; nothing was answered then. */
bool session_begin (struct console *console, struct message *message, bool exec, struct slice id);

void session_on_client (struct session *session, struct message *message);
void session_on_engine (struct session *session, struct message *message);

/* Ends the engine's side at once, passes on what is left to the client, then a close frame. */
void session_close (struct session *session, unsigned code, const char *reason);

/* Frees everything; says nothing to the client, but ends the engine's side. */
void session_destroy (struct session *session);
