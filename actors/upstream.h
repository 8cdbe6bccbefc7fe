/* upstream.h - requests to another server, and its answers: what the actors docker and peers do alike.
 *
 *   upstream.c             pools of keep-alive connections; begin, retry, fail, end; messages of a stream
 *   upstream_request.c     bytes out: the request's head and body, credit for the client
 *   upstream_answer.c      bytes in: the answer's head and body, raw streams, ends
 *   upstream_transport.c   the kernel's side: a Unix socket, or TLS over TCP with the server's key pinned
 *
 * An upstream is one server: the engine, or one other agent. Every piece is passed on the moment it comes. Reading
 * takes at most what the client granted, so the answer to a slow client stays in the server's socket. An answer that
 * ends early is an abort, never a short body. A server is never asked twice for a request that it may have begun to
 * carry out.
 */
#pragma once

#include "actor.h"
#include "byte_queue.h"
#include "configuration.h"
#include "http/reader.h"
#include "http/writer.h"
#include "payload.h"
#include "stream_table.h"
#include "tls.h"
#include "window.h"

enum
{
    UPSTREAM_TEXT = 400, /* bytes of an error's text */
    ATTEMPTS_MOST = 8,   /* servers that one request is asked of */
};

enum upstream_state
{
    UPSTREAM_IDLE,       /* in the pool */
    UPSTREAM_WAITING,    /* the server's queue of connections is full: tries again */
    UPSTREAM_CONNECTING, /* TCP connects, then TLS shakes hands */
    UPSTREAM_BUSY,       /* carries a request */
    UPSTREAM_RAW,        /* carries raw bytes */
    UPSTREAM_CLOSED,     /* waits to be freed */
};

/* What all upstreams of one actor share. */
struct upstream_owner
{
    struct actor *actor;
    const struct configuration *configuration;
    const struct upstream_kind *kind;
    const uint64_t *connections_most; /* of all upstreams together; more requests are answered 503 */
    size_t idle_most;                 /* kept open for the next request, of one upstream */
    size_t count;                     /* connections, questions of the agent's own included */
    struct stream_table streams;
    struct payload_buffer buffer;
    struct header table[HTTP_HEADERS_MAX];
    char last_failure[UPSTREAM_TEXT];
    struct
    {
        uint64_t requests, connects, reused, retried, failed, aborted, upgrades;
    } counters;
};

struct upstream
{
    struct upstream_owner *owner;
    char name[400];   /* for errors: "the engine", or node and address */
    const char *path; /* of a Unix socket; NULL: TLS to address and port */
    char address[65];
    uint16_t port;
    struct tls_endpoint *tls; /* the context of client connections, which the owner keeps */
    char tls_key[65];         /* SHA-256 of the server's public key, hexadecimal */
    struct upstream_connection *idle, *busy;
    size_t idle_count;
};

struct upstream_connection;

/* Servers that failed to take a request, before the one that has it now. */
struct upstream_attempts
{
    uint64_t begun; /* ms: the first attempt */
    unsigned count;
    const struct upstream *servers[ATTEMPTS_MOST]; /* to be compared only */
    char text[2 * UPSTREAM_TEXT];                  /* which, and why */
};

/* A request, as upstream_begin() takes it. */
struct upstream_call
{
    const struct message_request *request;
    struct subject subject;
    zmq_msg_t *frame;                   /* request's frame: is taken when it may be needed again */
    struct upstream_attempts *attempts; /* NULL, or from malloc(): is taken */
    const char *unavailable;            /* `message` of the error when nobody can be asked; static storage */
};

/* How an actor's upstreams differ from those of another. */
struct upstream_kind
{
    const char *subject;       /* of log lines */
    const char *too_many;      /* `message` of 503 when connections_most is reached, */
    const char *too_many_hint; /* and its `details` */
    uint64_t connect_time;     /* ms until a connection must be usable */
    /* Writes the head's fields: Host, the client's, and the actor's own. */
    void (*write_fields) (struct upstream_connection *connection, struct http_writer *writer,
                          const struct message_request *request);
    size_t fields_room; /* bytes that write_fields adds at most, beyond the client's */
    /* A connection could not be made, or was lost. May be NULL. */
    void (*lost) (struct upstream *upstream, const char *why);
    /* The request failed before any byte of an answer and may be asked of another server. True: that is done, the
     * frame and the stream were taken over. May be NULL. */
    bool (*elsewhere) (struct upstream_connection *connection, const char *why);
    /* The request, whose frame is kept, failed before any byte of an answer: answers in a way of its own, or returns
     * false for the contract's JSON error. May be NULL. */
    bool (*refused) (struct upstream_connection *connection);
    /* The head of an answer came. May be NULL. */
    void (*answered) (struct upstream_connection *connection, const struct http_head *head);
    /* Every request's frame is kept until its answer begins; otherwise only where a dead connection of the pool may
     * be met. */
    bool keeps_requests;
};

/* A question of the actor's own. */
struct inquiry
{
    /* status 0: there was no answer, and text says why; else text is the body, which is the callee's only for the call.
     */
    void (*done) (void *self, struct inquiry *inquiry, unsigned status, struct slice text);
    void *self;
    struct upstream_connection *connection; /* NULL when none is under way */
    char *text;
    size_t length, capacity;
};

struct upstream_connection
{
    struct upstream *upstream;
    struct upstream_connection *next, *previous; /* of the pool, or of those at work */
    struct watch watch;
    int fd;
    struct tls tls; /* ssl is NULL on a Unix socket */
    enum upstream_state state;
    bool fresh;         /* has not answered anything yet */
    const char *reason; /* of the transport's last failure; static or thread-local storage */

    /* the request */
    struct subject subject;
    enum actor_id client; /* who gets the answer; ACTOR_NONE for an inquiry */
    struct inquiry *inquiry;
    zmq_msg_t request; /* the request's body frame, while it may be sent again */
    bool kept;         /* request is kept */
    bool repeatable;   /* may be carried out twice without harm */
    bool sent;         /* some of it may have reached the server */
    bool is_head, hijackable;
    bool request_done; /* the request's body is whole, or the client will send no more raw bytes */
    bool write_failed, write_ended;
    enum framing request_framing;
    struct window window;  /* for the request's body */
    uint32_t first_credit; /* its first grant, which waits for the connection */
    struct byte_queue output;
    uint64_t begun;     /* ms */
    struct timer timer; /* connecting */
    struct upstream_attempts *attempts;
    const char *unavailable; /* `message` of 502 and 504 */

    /* the answer */
    struct http_reader reader;
    bool any_byte, head_done, answer_ended;
    uint64_t credit; /* bytes that the client is ready for */
    char *held;      /* part of a head */
    size_t held_length;

    /* input of a raw stream that the server does not read, as a watchdog sees it */
    int unread;           /* bytes, roughly */
    uint64_t unread_from; /* ms; 0: none at the last look */
};

/* ---- upstream.c: what actors call */

void upstream_owner_init (struct upstream_owner *owner, struct actor *actor, const struct configuration *configuration,
                          const struct upstream_kind *kind);
void upstream_owner_free (struct upstream_owner *owner);

/* Carries a request: over a connection of the pool, else a new one. */
void upstream_begin (struct upstream *upstream, struct upstream_call *call);

/* A message of a stream: body, end, credit or abort. Those of a stream that is over are dropped and counted. */
void upstream_on_message (struct upstream_owner *owner, struct message *message);

/* Asks a question of the agent's own: GET target. */
void upstream_ask (struct upstream *upstream, struct inquiry *inquiry, const char *target);
void upstream_drop_question (struct inquiry *inquiry);

/* Closes all idle connections; those and the busy ones. */
void upstream_close_idle (struct upstream *upstream);
void upstream_close_all (struct upstream *upstream);

/* Closes the connection, and with it whatever the server was doing for it. Says nothing to the client. */
void upstream_close (struct upstream_connection *connection);

/* Tells the client that the stream is over, and closes. */
void upstream_abort (struct upstream_connection *connection, const char *why);

/* Asks another server where that is possible; else answers with the status when no head was passed on yet, or aborts
 * the answer; then closes. */
void upstream_fail (struct upstream_connection *connection, unsigned status, const char *why);

size_t upstream_window_bytes (const struct upstream *upstream);

/* ---- upstream.c: for the other files */

/* The answer is whole: the connection goes back to the pool, if it can carry another request. */
void upstream_release (struct upstream_connection *connection, bool leftover);

/* The connection of the pool was dead: the same request again on a new one. */
void upstream_retry (struct upstream_connection *connection);

/* ---- upstream_request.c */

void upstream_send_head (struct upstream_connection *connection, const struct message_request *request);
void upstream_flush (struct upstream_connection *connection);
/* Grants the client credit for so many bytes of its body; the first grant tells it who is here. */
void upstream_grant (struct upstream_connection *connection, uint32_t bytes);
void upstream_grant_first (struct upstream_connection *connection);
void upstream_on_body (struct upstream_connection *connection, struct message *message);
void upstream_on_end (struct upstream_connection *connection);

/* ---- upstream_answer.c */

void upstream_read (struct upstream_connection *connection, uint32_t events);
void upstream_on_credit (struct upstream_connection *connection, uint64_t bytes);

/* ---- upstream_transport.c */

enum transport_result
{
    TRANSPORT_OK,
    TRANSPORT_BLOCKED, /* wait for the descriptor */
    TRANSPORT_AGAIN,   /* opening only: the server's queue is full, try again soon */
    TRANSPORT_ENDED,   /* reading only: an end in order */
    TRANSPORT_FAILED,  /* connection->reason says why */
};

/* Opens a socket; ready is called when something can be done. BLOCKED: transport_establish() goes on. */
enum transport_result transport_open (struct upstream_connection *connection,
                                      void (*ready) (struct watch *watch, uint32_t events));
enum transport_result transport_establish (struct upstream_connection *connection);

/* Reads at most size bytes; *length is set with OK. */
enum transport_result transport_read (struct upstream_connection *connection, char *bytes, size_t size, size_t *length);
/* Whether bytes wait that the descriptor does not tell of. */
bool transport_has_pending (const struct upstream_connection *connection);

/* Writes the queue, and adds to *payload what was written of bodies. */
enum transport_result transport_write (struct upstream_connection *connection, size_t *payload);
/* Whether everything written has left for the kernel. */
bool transport_is_flushed (const struct upstream_connection *connection);
/* This side will send no more: half-close. */
enum transport_result transport_end (struct upstream_connection *connection);
/* Has transport_close() break a TCP connection off, not end it: an end stands behind bytes that are under way, and a
 * server that does not read those would never hear that its client has gone. */
void transport_reset (struct upstream_connection *connection);
void transport_close (struct upstream_connection *connection);

/* Milliseconds for which bytes have waited to be acknowledged by the other side, 0 when none do. TCP only. */
uint64_t transport_silence (const struct upstream_connection *connection);
