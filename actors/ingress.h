/* ingress.h - what the files of the ingress actor share.
 *
 *   ingress.c     the actor: listener, limits, messages in, stopping
 *   connection.c  one client's connection: handshake, bytes in, time-outs, end
 *   output.c      bytes out: a queue of heads and payloads, gathered into TLS records
 *   exchange.c    one request and its answer on a connection
 */
#pragma once

#include "actor.h"
#include "byte_queue.h"
#include "configuration.h"
#include "http/reader.h"
#include "payload.h"
#include "stream_table.h"
#include "tls.h"
#include "window.h"

enum
{
    UNFINISHED_HEADS_MAX = 16 * 1024 * 1024, /* bytes of unfinished heads, all connections together */
    HELD_MAX = 64 * 1024,                    /* bytes held that follow a request in progress, per connection */
    DISCARD_MAX = 64 * 1024,    /* a body that nobody reads is skipped up to this size; else the connection ends */
    LINGER_TIME = 2000,         /* ms that a closing connection waits for the client to read and close */
    BUFFERED_CONNECTIONS = 128, /* connections that keep TLS buffers (34 KiB) between requests */
    SPARE_CONNECTIONS = 256,    /* connections over the limit that are kept long enough for a 503 */
};

enum connection_state
{
    CONNECTION_NEW, /* accepted; no byte has come yet, so no TLS state exists */
    CONNECTION_HANDSHAKE,
    CONNECTION_HEAD,     /* waits for a request, or has part of its head */
    CONNECTION_EXCHANGE, /* a request is under way; its body may still come */
    CONNECTION_RAW,      /* upgraded: raw bytes in both directions */
    CONNECTION_LINGER,   /* all is said; what still comes is thrown away */
    CONNECTION_CLOSED,   /* waits to be freed */
};

/* One request and its answer. */
struct exchange
{
    struct subject subject;
    bool active;
    bool console;          /* the connection was upgraded to a WebSocket */
    bool known;            /* the far end is known: it granted credit or answered */
    enum actor_id far;     /* who answers, once known */
    struct window window;  /* for the answer's body */
    uint64_t credit;       /* bytes of request body that the far end is ready for */
    uint64_t request_left; /* bytes of request body not yet read, when its length is known */
    bool request_done, response_started, response_done;
    bool discard; /* the request's body is read and thrown away */
    bool expects; /* the client waits for 100 Continue */
    bool is_head, old_version, keep_alive, hijackable, endless, bare_headers;
    enum framing request_framing, response_framing;
    uint64_t begun; /* ms */
};

struct connection
{
    struct ingress *ingress;
    struct connection *next, *previous; /* all connections */
    struct connection *next_dirty;      /* those with something to write */
    bool dirty;

    struct watch watch;
    struct timer timer;
    uint64_t deadline; /* ms; 0: none. The timer is set to it or to an earlier time */
    int fd;
    struct tls tls;
    enum connection_state state;
    bool read_closed;  /* the client sent close_notify */
    bool write_closed; /* we did */
    bool over_limit;   /* to be answered 503 */
    bool buffered;     /* one of those that keep their TLS buffers */
    bool reads_far;    /* has a large read buffer, for a large body */
    size_t discarded;  /* bytes thrown away */
    char source[64];   /* address and port */

    struct http_reader reader;
    char *input; /* plaintext that was read and not used yet */
    size_t input_length, input_capacity;
    size_t head_bytes; /* this connection's part of ingress->unfinished_heads */

    struct byte_queue output; /* what is to be written */
    struct exchange exchange;
};

struct ingress
{
    struct actor *actor;
    const struct configuration *configuration;
    struct tls_endpoint *tls;
    struct watch listener;
    int listener_fd;
    bool listening, paused, draining;
    struct timer accept_again, certify_again, consoles_over, grace_over, give_back;
    char address[64];

    struct connection *connections, *dirty;
    size_t connection_count, buffered_count, paused_at; /* paused_at: the count when accepting paused */
    bool said_paused;
    struct stream_table streams;
    uint64_t last_stream;
    struct payload_buffer buffer; /* plaintext of the connection whose turn it is */
    struct header table[HTTP_HEADERS_MAX];
    size_t unfinished_heads; /* bytes */

    struct
    {
        uint64_t accepted, requests, refused, handshake_failures, plain_http, aborted, timeouts, over_limit, paused;
    } counters;
};

/* ---- connection.c */

void connection_new (struct ingress *ingress, int fd, const char *source);

/* Ends at once, without close_notify when something was cut: the exchange is aborted. */
void connection_cut (struct connection *connection, const char *why);

/* Ends in order: close_notify once the output is written, then a moment for the client to read it. */
void connection_linger (struct connection *connection);

/* Uses bytes that wait, and reads on when there may be more. */
void connection_resume_input (struct connection *connection);

/* Makes ready for the next request after an exchange. */
void connection_next_request (struct connection *connection);

/* Whether it is idle: between requests, nothing read. */
bool connection_is_idle (const struct connection *connection);
void connection_set_deadline (struct connection *connection, uint64_t milliseconds);
void connection_watch_output (struct connection *connection, bool blocked);

/* ---- output.c */

/* Adds bytes of a head; the frame is taken. */
void output_head (struct connection *connection, zmq_msg_t *bytes);

/* Adds a piece of a body; the payload is taken. When chunked, it is framed as one chunk. */
void output_body (struct connection *connection, zmq_msg_t *payload, bool chunked);

/* Encrypts and sends what is queued, as much as the client takes, and then does what waited for it. */
void output_flush (struct connection *connection);
/* Has the connection looked at at the end of the turn, as if something had been written. */
void output_nudge (struct connection *connection);
bool output_is_empty (const struct connection *connection);

/* ---- exchange.c */

/* A head was read: makes the request and sends it on its way. */
void exchange_begin (struct connection *connection);

/* Uses bytes of the request's body, or raw bytes; returns how many. */
size_t exchange_input (struct connection *connection, char *bytes, size_t length);

/* The client sent close_notify and all bytes before it were used. */
void exchange_input_end (struct connection *connection);

void exchange_on_response (struct connection *connection, struct message *message);
void exchange_on_body (struct connection *connection, struct message *message);
void exchange_on_end (struct connection *connection, struct message *message);
void exchange_on_credit (struct connection *connection, struct message *message);
void exchange_on_abort (struct connection *connection, struct message *message);

/* So many payload bytes left for the client: grants new credit when it is time. */
void exchange_payload_sent (struct connection *connection, size_t bytes);

/* Everything queued was sent: finishes what can be finished. */
void exchange_output_done (struct connection *connection);

/* The agent stops soon: has the agent that serves this console, on another node, close it. Consoles of the own node are
 * closed by the actor that serves them. */
void exchange_end_relayed_console (struct connection *connection);

/* Tells the far end that the stream is over, frees the exchange. */
void exchange_abort (struct connection *connection, const char *why);

/* Grace is over: ends a stream as its kind allows. */
void exchange_stop (struct connection *connection);

/* Answers a request that never became a message: an error of the client's, or a limit. The connection ends after it. */
void exchange_refuse (struct connection *connection, unsigned status, const char *message, const char *details);
