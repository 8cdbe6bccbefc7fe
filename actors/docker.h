/* docker.h - what the files of the docker actor share.
 *
 *   docker.c              the actor: messages in, the pool of connections, counters
 *   engine_connection.c   one connection to the engine: bytes out, bytes in, ends and failures
 *   engine_discovery.c    the agent's own questions to the engine: versions, names, addresses, is it there
 */
#pragma once

#include "actor.h"
#include "byte_queue.h"
#include "configuration.h"
#include "http/reader.h"
#include "payload.h"
#include "stream_table.h"
#include "window.h"

#include <jansson.h>

enum
{
    IDLE_CONNECTIONS_MAX = 64,           /* kept open for the next request */
    CONNECT_AGAIN_TIME = 5,              /* ms; the engine's queue of connections is full */
    CONNECT_TIME = 5000,                 /* ms; then the request is refused */
    INQUIRY_BYTES_MAX = 8 * 1024 * 1024, /* an answer to a question of the agent's own */
};

enum engine_state
{
    ENGINE_IDLE,       /* in the pool */
    ENGINE_CONNECTING, /* waits for room in the engine's queue of connections */
    ENGINE_BUSY,       /* carries a request */
    ENGINE_RAW,        /* carries raw bytes */
    ENGINE_CLOSED,     /* waits to be freed */
};

/* A question of the agent's own. */
struct docker;
struct engine_connection;
struct inquiry
{
    /* status 0: there was no answer, and text says why; else text is the body, which is the callee's only for the call.
     */
    void (*done) (struct docker *docker, struct inquiry *inquiry, unsigned status, struct slice text);
    struct engine_connection *connection; /* NULL when none is under way */
    char *text;
    size_t length, capacity;
};

struct engine_connection
{
    struct docker *docker;
    struct engine_connection *next, *previous; /* of the pool, or of those at work */
    struct watch watch;
    int fd;
    enum engine_state state;
    bool fresh; /* has not answered anything yet */

    /* the request */
    struct subject subject;
    enum actor_id client; /* who gets the answer; ACTOR_NONE for an inquiry */
    struct inquiry *inquiry;
    zmq_msg_t request; /* the request's body frame, kept while it may be sent again */
    bool retriable;    /* a retry is allowed and the frame is kept */
    bool is_head, hijackable;
    bool request_done; /* the request's body is whole, or the client will send no more raw bytes */
    bool write_failed, write_ended;
    enum framing request_framing;
    struct window window;  /* for the request's body */
    uint32_t first_credit; /* its first grant, which waits for the connection */
    struct byte_queue output;
    uint64_t begun;     /* ms */
    struct timer again; /* connecting */

    /* the answer */
    struct http_reader reader;
    bool any_byte, head_done, answer_ended;
    uint64_t credit; /* bytes that the client is ready for */
    char *held;      /* part of a head */
    size_t held_length;
};

struct docker
{
    struct actor *actor;
    const struct configuration *configuration;
    const char *path; /* of the engine's socket */
    struct engine_connection *idle, *busy;
    size_t idle_count, count; /* count: all connections, the agent's own questions included */
    struct stream_table streams;
    struct payload_buffer buffer;
    struct header table[HTTP_HEADERS_MAX];
    char last_failure[200];

    /* discovery: see engine_discovery.c */
    struct timer discover_again, watchdog;
    struct inquiry discovery, probe;
    unsigned step;
    bool reachable, said_unreachable;
    unsigned api_minimum, api_maximum;
    char name[256], node[64], address[64], service[257], host_name[256];
    bool manager;
    json_t *networks; /* of the own container, while they are looked at */
    uint64_t asked;   /* ms; when the engine was last asked */
    uint64_t probe_begun;

    struct
    {
        uint64_t requests, connects, reused, retried, failed, aborted, upgrades, hung;
    } counters;
};

/* ---- engine_connection.c */

/* Carries a request: over a connection of the pool, else a new one. The message is used, not kept, but for a retry. */
void engine_begin (struct docker *docker, struct message *message);

/* Asks a question of the agent's own: GET target. */
void engine_ask (struct docker *docker, struct inquiry *inquiry, const char *target);
void engine_drop_question (struct inquiry *inquiry);

void engine_on_body (struct engine_connection *connection, struct message *message);
void engine_on_end (struct engine_connection *connection);
void engine_on_credit (struct engine_connection *connection, uint64_t bytes);

/* Closes the connection, and with it whatever the engine was doing for it. Says nothing to the client. */
void engine_close (struct engine_connection *connection);

/* Answers 502 or 504 when no head was passed on yet, else aborts the answer; then closes. */
void engine_fail (struct engine_connection *connection, unsigned status, const char *why);

/* ---- engine_discovery.c */

void discovery_start (struct docker *docker);
void discovery_stop (struct docker *docker);

/* What is known may be stale: asks the engine now, or shortly after it was asked last. */
void discovery_hurry (struct docker *docker);

/* A connection could not be made or was lost: the engine is looked for again. */
void discovery_engine_lost (struct docker *docker, const char *why);
