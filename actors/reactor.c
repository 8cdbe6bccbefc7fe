/* reactor.c - one thread: its epoll, its timers, its two mailboxes, and the sending and receiving of messages.
 *
 *                    actor_send()
 *        same reactor /          \ another reactor
 *     self mailbox (PUSH/PULL)    that reactor's remote mailbox (PULL, one PUSH per sender)
 *     `pending` counts, so the    its ZMQ_FD is in epoll, edge-triggered; drained until EAGAIN
 *     socket is never read empty  (or `visit_remote` is set, because the descriptor will not fire again)
 *
 * They must be two sockets: a receive may swallow the wake-up that belonged to another sender's message.
 *
 * A turn: wait for events, let their owners act, fire due timers, drain the mailboxes (bounded), let actors settle when
 * the own mailbox is empty, free what was deferred.
 */
#include "reactor.h"

#include "ensure.h"
#include "log.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum
{
    EVENTS_A_TURN = 128,    /* descriptors looked at before the mailboxes are */
    MESSAGES_A_TURN = 4096, /* messages handled before descriptors are looked at again */
    REMOTE_A_VISIT = 256,   /* messages taken from the remote mailbox at once */
    TAP_IN_FLIGHT = 8192,   /* mirrored messages that the tap has not taken yet */
};

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer sees what libzmq's threads write, by memcpy and the like and by libsodium, but not how they hand it
 * over. Accesses within these two are left out; ours are looked at as ever. */
const char *__tsan_default_suppressions (void);
const char *__tsan_default_suppressions (void)
{
    return "race:libzmq.so\nrace:libsodium.so\n";
}
#endif

static uint64_t clock_ns (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

/* ------------------------------------------------------------------------------------------------------ messages out
 */

static void close_frames (zmq_msg_t *frames, int count)
{
    for (int index = 0; index < count; index++)
        zmq_msg_close (&frames[index]);
}

/* Takes the frames. The release here and the acquire in receive() order the sender's writes to the frames before the
 * receiver's reads for ThreadSanitizer, which cannot see into the distribution's libzmq. */
static int frames_send (void *socket, atomic_uint *handover, zmq_msg_t *frames, int count)
{
    if (handover)
        atomic_fetch_add_explicit (handover, 1, memory_order_release);
    for (int index = 0; index < count; index++)
        if (zmq_msg_send (&frames[index], socket, ZMQ_DONTWAIT | (index + 1 < count ? ZMQ_SNDMORE : 0)) < 0)
        {
            close_frames (&frames[index], count - index);
            return -1;
        }
    return 0;
}

/* Copies of the frames go to the tap: of payloads no more than it may show. Out of the way of who does not watch. */
static void __attribute__ ((noinline)) mirror (struct reactor *reactor, zmq_msg_t *frames, int count, bool payload)
{
    struct runtime *runtime = reactor->runtime;
    if (atomic_fetch_add (&runtime->tap_in_flight, 1) >= TAP_IN_FLIGHT)
    {
        atomic_fetch_sub (&runtime->tap_in_flight, 1);
        atomic_fetch_add (&runtime->tap_lost, 1);
        return;
    }
    /* The tap says how long a payload was, also when it must not see it: the length follows the envelope. */
    zmq_msg_t copies[3];
    int copied = count - (payload && !atomic_load (&runtime->tap_payloads));
    uint64_t length = payload ? zmq_msg_size (&frames[count - 1]) : 0;
    size_t envelope = zmq_msg_size (&frames[0]);
    ensure (zmq_msg_init_size (&copies[0], envelope + sizeof length) == 0);
    memcpy (zmq_msg_data (&copies[0]), zmq_msg_data (&frames[0]), envelope);
    memcpy ((char *) zmq_msg_data (&copies[0]) + envelope, &length, sizeof length);
    for (int index = 1; index < copied; index++)
    {
        size_t size = zmq_msg_size (&frames[index]);
        if (payload && index + 1 == count && size > TAP_PAYLOAD_BYTES)
            size = TAP_PAYLOAD_BYTES;
        payload_copy (&copies[index], zmq_msg_data (&frames[index]), size);
    }
    if (frames_send (reactor->tap_push, &runtime->home[ACTOR_tap]->handover, copies, copied) < 0)
    {
        atomic_fetch_sub (&runtime->tap_in_flight, 1);
        atomic_fetch_add (&runtime->tap_lost, 1);
    }
}

static void post (struct actor *actor, enum actor_id to, enum message_type type, const struct subject *subject,
                  zmq_msg_t *frames, int count)
{
    struct reactor *reactor = actor->reactor;
    struct runtime *runtime = reactor->runtime;
    struct reactor *home = runtime->home[to];
    ensure (home != NULL);
    struct envelope envelope = {.type = type,
                                .stream = subject->stream,
                                .from = actor->actor_class->id,
                                .to = to,
                                .sequence = ++reactor->sequence};
    bool tapped = __builtin_expect (atomic_load_explicit (&runtime->tapping, memory_order_relaxed), 0);
    if (tapped)
        envelope.time = clock_ns ();
    memcpy (envelope.trace, subject->trace, TRACE_BYTES);
    char bytes[ENVELOPE_BYTES_MAX];
    size_t length = envelope_encode (&envelope, bytes);
    payload_copy (&frames[0], bytes, length);

    if (tapped)
        mirror (reactor, frames, count, message_has_payload (type));
    atomic_fetch_add_explicit (&reactor->sent, 1, memory_order_relaxed);
    bool local = home == reactor;
    void *socket = local ? reactor->self_push : reactor->remote_push[home->number];
    int sent = frames_send (socket, local ? NULL : &home->handover, frames, count);
    /* Without a high-water mark the only ways to fail are the end of the context and lack of memory. */
    ensure (sent == 0 || atomic_load (&runtime->stopping));
    if (local && sent == 0)
        reactor->pending++;
}

void actor_send (struct actor *actor, enum actor_id to, enum message_type type, const struct subject *subject,
                 const union message_fields *fields, zmq_msg_t *payload)
{
    static const struct subject nothing;
    zmq_msg_t frames[3];
    int count = 1;
    if (message_has_body (type))
    {
        size_t size = message_size (type, fields);
        struct message_error error = {""};
        ensure (zmq_msg_init_size (&frames[count], size) == 0);
        size_t written = message_encode (type, fields, zmq_msg_data (&frames[count]), size, &error);
        if (written != size)
            log_error (actor_self_name (actor), "cannot send %s: %s", message_type_name (type), error.text);
        ensure (written == size);
        count++;
    }
    ensure (message_has_payload (type) == (payload != NULL));
    if (payload)
    {
        zmq_msg_init (&frames[count]);
        zmq_msg_move (&frames[count++], payload);
    }
    post (actor, to, type, subject ? subject : &nothing, frames, count);
}

void actor_forward (struct actor *actor, enum actor_id to, struct message *message)
{
    zmq_msg_t frames[3];
    int count = 1;
    enum message_type type = message->envelope.type;
    if (message_has_body (type))
    {
        zmq_msg_init (&frames[count]);
        zmq_msg_move (&frames[count++], message->body);
    }
    if (message_has_payload (type))
    {
        zmq_msg_init (&frames[count]);
        zmq_msg_move (&frames[count++], message->payload);
    }
    struct subject subject = message_subject (message);
    post (actor, to, type, &subject, frames, count);
}

struct subject message_subject (const struct message *message)
{
    struct subject subject = {.stream = message->envelope.stream};
    memcpy (subject.trace, message->envelope.trace, TRACE_BYTES);
    return subject;
}

void payload_copy (zmq_msg_t *payload, const void *bytes, size_t length)
{
    ensure (zmq_msg_init_size (payload, length) == 0);
    if (length)
        memcpy (zmq_msg_data (payload), bytes, length);
}

/* ------------------------------------------------------------------------------------------------------- messages in
 */

int frames_receive (void *socket, zmq_msg_t frames[3], int *count)
{
    *count = 0;
    bool surplus = false;
    for (;;)
    {
        zmq_msg_t frame;
        zmq_msg_init (&frame);
        if (zmq_msg_recv (&frame, socket, ZMQ_DONTWAIT) < 0)
        {
            zmq_msg_close (&frame);
            close_frames (frames, *count);
            *count = 0;
            return errno == EAGAIN || errno == ETERM ? 0 : -1;
        }
        int more = zmq_msg_more (&frame);
        if (*count < 3)
        {
            zmq_msg_init (&frames[*count]);
            zmq_msg_move (&frames[(*count)++], &frame);
        }
        else
            surplus = true;
        zmq_msg_close (&frame);
        if (!more)
            break;
    }
    if (!surplus)
        return 1;
    close_frames (frames, *count);
    *count = 0;
    return -1;
}

static void refuse (struct reactor *reactor, const char *why)
{
    atomic_fetch_add_explicit (&reactor->refused, 1, memory_order_relaxed);
    log_error ("runtime", "a message between actors was refused: %s", why);
}

static void dispatch (struct reactor *reactor, zmq_msg_t *frames, int count)
{
    struct message message;
    struct message_error error = {"wrong number of frames"};
    struct slice envelope = slice_of (zmq_msg_data (&frames[0]), zmq_msg_size (&frames[0]));
    if (envelope_decode (envelope, &message.envelope, &error) < 0)
    {
        refuse (reactor, error.text);
        return;
    }
    enum message_type type = message.envelope.type;
    int body = message_has_body (type), payload = message_has_payload (type);
    zmq_msg_t none;
    zmq_msg_init (&none);
    message.body = body && count > 1 ? &frames[1] : &none;
    message.payload = payload && count > 1 + body ? &frames[1 + body] : &none;
    struct slice bytes = slice_of (zmq_msg_data (message.body), zmq_msg_size (message.body));
    struct actor *actor = &reactor->actors[message.envelope.to];
    if (count != 1 + body + payload ||
        (body && message_decode (type, bytes, &message.fields, reactor->store, &error) < 0))
        refuse (reactor, error.text);
    else if (!actor->actor_class)
        refuse (reactor, "its receiver lives on another reactor");
    else
        actor->actor_class->message (actor->self, &message);
    zmq_msg_close (&none);
}

static bool receive_one (struct reactor *reactor, void *socket)
{
    zmq_msg_t frames[3];
    int count, received = frames_receive (socket, frames, &count);
    if (received < 0)
        refuse (reactor, "too many frames");
    if (received <= 0)
        return received < 0;
    /* Pairs with the release in frames_send(). */
    atomic_load_explicit (&reactor->handover, memory_order_acquire);
    dispatch (reactor, frames, count);
    close_frames (frames, count);
    return true;
}

static void drain_remote (struct reactor *reactor)
{
    reactor->visit_remote = false;
    for (int taken = 0; receive_one (reactor, reactor->remote_pull);)
    {
        if (++taken == REMOTE_A_VISIT)
        {
            reactor->visit_remote = true;
            return;
        }
    }
}

static void settle (struct reactor *reactor)
{
    for (unsigned id = 0; id < ACTOR_COUNT; id++)
        if (reactor->actors[id].actor_class && reactor->actors[id].actor_class->settle)
            reactor->actors[id].actor_class->settle (reactor->actors[id].self);
}

/* Drains the own mailbox, and lets actors settle, which may send again; bounded, so that descriptors are not starved.
 */
static void drain_self (struct reactor *reactor)
{
    size_t handled = 0;
    do
    {
        for (; reactor->pending && handled < MESSAGES_A_TURN; handled++)
        {
            reactor->pending--;
            receive_one (reactor, reactor->self_pull);
        }
        settle (reactor);
    } while (reactor->pending && handled < MESSAGES_A_TURN);
}

/* --------------------------------------------------------------------------------------------------------- the loop */

static void on_remote (struct watch *watch, uint32_t events)
{
    (void) events;
    /* Only the note: the mailbox is drained at its place in the turn. */
    OWNER (watch, struct reactor, remote)->visit_remote = true;
}

static void on_wake (struct watch *watch, uint32_t events)
{
    (void) events;
    uint64_t count;
    if (read (watch->fd, &count, sizeof count) < 0)
        return;
}

static int wait_limit (struct reactor *reactor)
{
    if (reactor->pending || reactor->visit_remote || atomic_load (&reactor->runtime->stopping))
        return 0;
    struct timer *first = timer_heap_first (&reactor->timers);
    if (!first)
        return -1;
    /* The turn's own time is near enough: a timer is late by what the turn took. */
    uint64_t now = reactor->now_ns / 1000000;
    uint64_t wait = first->at > now ? first->at - now : 0;
    return wait > 3600000 ? 3600000 : (int) wait;
}

static void fire_timers (struct reactor *reactor)
{
    uint64_t now = reactor->now_ns / 1000000;
    /* One turn fires each timer at most once: those that are set again with 0 ms have a later order. */
    uint64_t order = reactor->timers.order;
    for (struct timer *timer;
         (timer = timer_heap_first (&reactor->timers)) && timer->at <= now && timer->order < order;)
    {
        timer_heap_remove (&reactor->timers, timer);
        timer->fire (timer);
    }
}

static void free_deferred (struct reactor *reactor)
{
    /* A destructor may defer again. */
    for (size_t index = 0; index < reactor->deferred_count; index++)
    {
        struct deferred item = reactor->deferred[index];
        item.destroy (item.object);
    }
    reactor->deferred_count = 0;
}

void reactor_run (struct reactor *reactor)
{
    struct epoll_event events[EVENTS_A_TURN];
    drain_remote (reactor);
    while (!atomic_load_explicit (&reactor->runtime->stopping, memory_order_relaxed))
    {
        int count = epoll_wait (reactor->epoll, events, EVENTS_A_TURN, wait_limit (reactor));
        ensure (count >= 0 || errno == EINTR);
        reactor->now_ns = clock_ns ();
        for (int index = 0; index < count; index++)
        {
            struct watch *watch = events[index].data.ptr;
            /* An earlier event of this batch may have ended the watch. */
            if (watch->fd >= 0)
                watch->ready (watch, events[index].events);
        }
        fire_timers (reactor);
        if (reactor->visit_remote)
            drain_remote (reactor);
        drain_self (reactor);
        if (reactor->deferred_count)
            free_deferred (reactor);
    }
}

/* -------------------------------------------------------------------------------------------- what actors may call */

bool actor_is_there (const struct actor *actor, enum actor_id id)
{
    return actor->reactor->runtime->home[id] != NULL;
}

struct runtime *actor_runtime (struct actor *actor)
{
    return actor->reactor->runtime;
}

const char *actor_self_name (const struct actor *actor)
{
    return actor_name (actor->actor_class->id);
}

uint64_t actor_now (const struct actor *actor)
{
    return actor->reactor->now_ns / 1000000;
}

uint64_t actor_now_ns (const struct actor *actor)
{
    return actor->reactor->now_ns;
}

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
uint64_t actor_random (struct actor *actor)
{
    uint64_t z = actor->reactor->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void actor_defer (struct actor *actor, void (*destroy) (void *object), void *object)
{
    struct reactor *reactor = actor->reactor;
    if (reactor->deferred_count == reactor->deferred_capacity)
    {
        reactor->deferred_capacity = reactor->deferred_capacity ? reactor->deferred_capacity * 2 : 64;
        reactor->deferred = must (realloc (reactor->deferred, reactor->deferred_capacity * sizeof *reactor->deferred));
    }
    reactor->deferred[reactor->deferred_count++] = (struct deferred){destroy, object};
}

int watch_set (struct actor *actor, struct watch *watch, int fd, uint32_t events,
               void (*ready) (struct watch *watch, uint32_t events))
{
    *watch = (struct watch){.fd = fd, .events = events, .actor = actor, .ready = ready};
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl (actor->reactor->epoll, EPOLL_CTL_ADD, fd, &event) == 0)
        return 0;
    watch->fd = -1;
    return -1;
}

int watch_change (struct watch *watch, uint32_t events)
{
    if (watch->fd < 0 || watch->events == events)
        return 0;
    watch->events = events;
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl (watch->actor->reactor->epoll, EPOLL_CTL_MOD, watch->fd, &event);
}

void watch_end (struct watch *watch)
{
    if (watch->fd < 0 || !watch->actor)
        return;
    epoll_ctl (watch->actor->reactor->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->fd = -1;
}

void timer_set (struct actor *actor, struct timer *timer, uint64_t milliseconds, void (*fire) (struct timer *timer))
{
    timer->actor = actor;
    timer->fire = fire;
    timer_heap_put (&actor->reactor->timers, timer, actor->reactor->now_ns / 1000000 + milliseconds);
}

void timer_clear (struct timer *timer)
{
    if (timer->place)
        timer_heap_remove (&timer->actor->reactor->timers, timer);
}

/* ----------------------------------------------------------------------------------------------------- life and death
 */

static void *new_socket (struct runtime *runtime, int type, const char *endpoint, bool bind)
{
    void *socket = must (zmq_socket (runtime->context, type));
    int none = 0;
    zmq_setsockopt (socket, ZMQ_SNDHWM, &none, sizeof none);
    zmq_setsockopt (socket, ZMQ_RCVHWM, &none, sizeof none);
    zmq_setsockopt (socket, ZMQ_LINGER, &none, sizeof none);
    ensure ((bind ? zmq_bind (socket, endpoint) : zmq_connect (socket, endpoint)) == 0);
    return socket;
}

static const char *mailbox (char name[32], const char *kind, unsigned number)
{
    snprintf (name, 32, "inproc://%s-%u", kind, number);
    return name;
}

struct reactor *reactor_new (struct runtime *runtime, unsigned number)
{
    struct reactor *reactor = must (calloc (1, sizeof *reactor));
    char name[32];
    reactor->runtime = runtime;
    reactor->number = number;
    reactor->now_ns = clock_ns ();
    ensure (getrandom (&reactor->random, sizeof reactor->random, 0) == sizeof reactor->random);
    reactor->epoll = epoll_create1 (EPOLL_CLOEXEC);
    ensure (reactor->epoll >= 0);
    reactor->self_pull = new_socket (runtime, ZMQ_PULL, mailbox (name, "self", number), true);
    reactor->self_push = new_socket (runtime, ZMQ_PUSH, mailbox (name, "self", number), false);
    reactor->remote_pull = new_socket (runtime, ZMQ_PULL, mailbox (name, "remote", number), true);

    /* The two watches of the reactor itself are nobody's actor; they only need to find their epoll. */
    reactor->actors[ACTOR_NONE].reactor = reactor;
    int descriptor;
    size_t size = sizeof descriptor;
    zmq_getsockopt (reactor->remote_pull, ZMQ_FD, &descriptor, &size);
    int wake = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    ensure (wake >= 0);
    ensure (watch_set (&reactor->actors[ACTOR_NONE], &reactor->wake, wake, EPOLLIN, on_wake) == 0);
    ensure (watch_set (&reactor->actors[ACTOR_NONE], &reactor->remote, descriptor, EPOLLIN | EPOLLET, on_remote) == 0);
    return reactor;
}

void reactor_connect (struct reactor *reactor)
{
    struct runtime *runtime = reactor->runtime;
    char name[32];
    for (unsigned number = 0; number < runtime->reactor_count; number++)
        if (number != reactor->number)
            reactor->remote_push[number] = new_socket (runtime, ZMQ_PUSH, mailbox (name, "remote", number), false);
    reactor->tap_push = new_socket (runtime, ZMQ_PUSH, TAP_ENDPOINT, false);
}

bool reactor_start_actors (struct reactor *reactor, const struct placement *table, size_t rows,
                           const void *configuration)
{
    for (size_t row = 0; row < rows; row++)
    {
        const struct actor_class *actor_class = table[row].actor_class;
        if (table[row].reactor != reactor->number)
            continue;
        struct actor *actor = &reactor->actors[actor_class->id];
        actor->actor_class = actor_class;
        actor->reactor = reactor;
        actor->self = actor_class->start (actor, configuration);
        if (!actor->self)
        {
            actor->actor_class = NULL;
            return false;
        }
    }
    return true;
}

void reactor_stop_actors (struct reactor *reactor)
{
    for (unsigned id = ACTOR_NONE + 1; id < ACTOR_COUNT; id++)
        if (reactor->actors[id].actor_class)
            reactor->actors[id].actor_class->stop (&reactor->actors[id].self);
    free_deferred (reactor);
    OPENSSL_thread_stop ();
}

void reactor_destroy (struct reactor **reactor_p)
{
    struct reactor *reactor = *reactor_p;
    if (!reactor)
        return;
    int wake = reactor->wake.fd;
    watch_end (&reactor->wake);
    watch_end (&reactor->remote);
    close (wake);
    void *sockets[] = {reactor->self_push, reactor->self_pull, reactor->remote_pull, reactor->tap_push};
    for (size_t index = 0; index < sizeof sockets / sizeof *sockets; index++)
        if (sockets[index])
            zmq_close (sockets[index]);
    for (unsigned number = 0; number < REACTORS_MAX; number++)
        if (reactor->remote_push[number])
            zmq_close (reactor->remote_push[number]);
    close (reactor->epoll);
    timer_heap_free (&reactor->timers);
    free (reactor->deferred);
    free (reactor);
    *reactor_p = NULL;
}
