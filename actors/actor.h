/* actor.h - the runtime: actors, the reactors that host them, messages between them, descriptors and timers.
 *
 * An actor is state of its own plus callbacks; a reactor is one thread that hosts one or more actors with one epoll,
 * one timer heap and two mailboxes. Actors meet only through actor_send(): no locks, no shared mutable memory, no
 * globals. placement.c says which actor lives on which reactor.
 *
 * Rules for callbacks: never block; never free an object that owns a watch or a timer directly, but hand it to
 * actor_defer(), because the batch of events in progress may still name it. Callbacks run on the reactor's thread, one
 * at a time.
 */
#pragma once

#include "messages/message.h"

#include <stdint.h>
#include <sys/epoll.h>
#include <zmq.h>

struct actor;
struct reactor;
struct runtime;

/* ------------------------------------------------------------------------------------------------------- messages */

/* What a message is about: one stream and the trace that it belongs to. Streams are one request with its answer, or one
 * upgraded connection; their ids are never used again. */
struct subject
{
    uint64_t stream;
    uint8_t trace[TRACE_BYTES];
};

/* A received message. Everything in it lives until the callback returns; a payload may be taken with zmq_msg_move(). */
struct message
{
    struct envelope envelope;
    union message_fields fields;
    zmq_msg_t *body;    /* the frame that fields point into */
    zmq_msg_t *payload; /* an empty frame when the type has none */
};

/* Sends a message. Fields are copied (NULL when the type has none); the payload frame is taken: it is empty and
 * initialised afterwards (NULL when the type has none). Never blocks. A value over the catalog's limits is a bug of the
 * caller. */
void actor_send (struct actor *actor, enum actor_id to, enum message_type type, const struct subject *subject,
                 const union message_fields *fields, zmq_msg_t *payload);

/* Sends the message in hand on to another actor: its body frame is handed over untouched, only the envelope is new. */
void actor_forward (struct actor *actor, enum actor_id to, struct message *message);

/* The subject of a received message. */
struct subject message_subject (const struct message *message);

/* Copies bytes into a new payload frame. */
void payload_copy (zmq_msg_t *payload, const void *bytes, size_t length);

/* --------------------------------------------------------------------------------------------------------- actors */

struct actor_class
{
    enum actor_id id;
    /* Makes the actor's state; NULL is a failure that was already logged. configuration is the runtime's, shared,
     * constant. */
    void *(*start) (struct actor *actor, const void *configuration);
    void (*message) (void *self, struct message *message);
    /* May be NULL. Called when the reactor's own queue is empty, before it waits: the place to write what was gathered.
     */
    void (*settle) (void *self);
    void (*stop) (void **self);
};

/* Whether an actor is part of the runtime: only then it can be sent anything. */
bool actor_is_there (const struct actor *actor, enum actor_id id);

/* The runtime that an actor belongs to; its own name. */
struct runtime *actor_runtime (struct actor *actor);
const char *actor_self_name (const struct actor *actor);

/* CLOCK_MONOTONIC in milliseconds and nanoseconds, read once a turn of the loop. */
uint64_t actor_now (const struct actor *actor);
uint64_t actor_now_ns (const struct actor *actor);

/* Random 64 bits, good enough for ids and jitter, not for secrets. */
uint64_t actor_random (struct actor *actor);

/* Calls destroy (object) once the batch of events in progress is done. */
void actor_defer (struct actor *actor, void (*destroy) (void *object), void *object);

/* -------------------------------------------------------------------------------------------- descriptors and timers
 */

/* A descriptor that an actor waits for; lives inside the object that owns the descriptor. */
struct watch
{
    int fd;          /* -1: not watched */
    uint32_t events; /* EPOLLIN and the like, level-triggered unless EPOLLET */
    struct actor *actor;
    void (*ready) (struct watch *watch, uint32_t events);
};

/* Begins to watch, or changes the events of interest. Returns 0, or -1 with errno when the kernel refuses. */
int watch_set (struct actor *actor, struct watch *watch, int fd, uint32_t events,
               void (*ready) (struct watch *watch, uint32_t events));
int watch_change (struct watch *watch, uint32_t events);

/* Ends the watch; the descriptor stays open and is the caller's to close. Idempotent. */
void watch_end (struct watch *watch);

/* A timer; lives inside its owner. All zero is a timer that is not set. */
struct timer
{
    uint64_t at;    /* CLOCK_MONOTONIC, milliseconds */
    uint64_t order; /* ties fire in the order in which they were set */
    size_t place;   /* 1-based place in the heap; 0: not set */
    struct actor *actor;
    void (*fire) (struct timer *timer);
};

/* Sets or moves the timer to so many milliseconds from now. */
void timer_set (struct actor *actor, struct timer *timer, uint64_t milliseconds, void (*fire) (struct timer *timer));
void timer_clear (struct timer *timer);

/* The object that contains a member, from a pointer to the member. */
#define OWNER(pointer, type, member) ((type *) (void *) ((char *) (pointer) -offsetof (type, member)))

/* -------------------------------------------------------------------------------------------------------- runtime */

/* One row of the placement table. */
struct placement
{
    const struct actor_class *actor_class;
    unsigned reactor; /* 0 is the thread that calls runtime_run() */
};

enum
{
    REACTORS_MAX = 8,
};

/* Starts all actors of the table, each reactor but the first on a thread of its own. configuration is handed to every
 * start(). Returns when all have started; NULL when one could not (it said why), and then everything is taken down
 * again. */
struct runtime *runtime_new (const struct placement *table, size_t rows, const void *configuration);

/* Runs reactor 0 on the calling thread until runtime_stop(). */
void runtime_run (struct runtime *runtime);

/* Makes all reactors end after the message in hand. Any thread may call it. */
void runtime_stop (struct runtime *runtime);

/* Joins the threads, stops the actors, frees all. */
void runtime_destroy (struct runtime **runtime);

/* Totals for `shoal status`. */
struct runtime_counters
{
    uint64_t sent, refused; /* messages sent; received ones that did not decode */
};
struct runtime_counters runtime_counters (struct runtime *runtime);

/* ----------------------------------------------------------------------------------------------------------- taps */

/* While on, every message is mirrored to this PULL endpoint (inproc); what the reader does not take in time is dropped
 * and counted. The frames are those of the message, but 8 bytes follow the envelope in its frame, the payload's length
 * in host order, and the payload frame itself is there only when payloads were asked for. */
#define TAP_ENDPOINT "inproc://tap"
enum
{
    TAP_PAYLOAD_BYTES = 4096, /* of a payload, so much is mirrored at most */
};
void runtime_tap (struct runtime *runtime, bool on, bool payloads);

/* How many mirrored messages were dropped so far; and tells that one was taken out of the endpoint. */
uint64_t runtime_tap_lost (struct runtime *runtime);
void runtime_tap_taken (struct runtime *runtime);

/* The ZeroMQ context of the runtime, for actors with sockets of their own. */
void *runtime_context (struct runtime *runtime);

/* Receives the frames of one message from a socket. Returns 1, 0 when there is none, -1 when it was refused (frames of
 * a refused message are dropped). The frames are the caller's to close. */
int frames_receive (void *socket, zmq_msg_t frames[3], int *count);
