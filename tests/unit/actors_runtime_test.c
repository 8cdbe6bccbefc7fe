/* actors_runtime_test - the runtime itself: order, delivery between threads, deferred freeing, timers, watches, mirror,
 * stop.
 *
 * The actors here are made for these tests; they borrow names of the catalog, because only those can be addressed.
 */
#include "actor_harness.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

enum
{
    MANY = 100000, /* messages of each sender */
};

/* -------------------------------------------------------------------------------------------- actors on three threads
 */

/* Counts what comes from each sender and looks at the order; ends the runtime when all has come. Senders tell the
 * number in the stream and again in the payload, so that a frame that got into the wrong message is seen. */
struct many
{
    struct actor *actor;
    uint64_t next[ACTOR_COUNT], sequence[ACTOR_COUNT];
    struct timer timer;
    uint64_t sent;
    struct watch wake;
};

static struct
{
    atomic_uint wrong;    /* messages out of order, or not what was sent */
    atomic_uint received; /* by the receiver */
    atomic_uint stopped, deferred_freed;
} s_shared;

static void send_number (struct many *many, enum actor_id to, uint64_t number)
{
    struct subject subject = {.stream = number + 1};
    char bytes[24];
    zmq_msg_t payload;
    /* Small ones lie within the frame, large ones in memory of their own: both ways must hold between threads. */
    if (number % 3 == 0)
    {
        ensure (zmq_msg_init_size (&payload, 300) == 0);
        memset (zmq_msg_data (&payload), (int) (number & 0x7f), 300);
    }
    else
        payload_copy (&payload, bytes, (size_t) snprintf (bytes, sizeof bytes, "%llu", (unsigned long long) number));
    actor_send (many->actor, to, MESSAGE_body, &subject, NULL, &payload);
}

static bool is_number (struct message *message, uint64_t number)
{
    const char *bytes = zmq_msg_data (message->payload);
    char expected[24];
    size_t length = zmq_msg_size (message->payload);
    if (message->envelope.stream != number + 1)
        return false;
    if (number % 3 == 0)
        return length == 300 && bytes[0] == (char) (number & 0x7f) && bytes[299] == bytes[0];
    return (size_t) snprintf (expected, sizeof expected, "%llu", (unsigned long long) number) == length &&
           memcmp (bytes, expected, length) == 0;
}

/* Bursts of changing size, with the loop between them: the wake-up of the other reactor is tried in all its states. */
static void on_send_time (struct timer *timer)
{
    struct many *many = OWNER (timer, struct many, timer);
    uint64_t burst = 1 + actor_random (many->actor) % (many->sent & 1 ? 3 : 2000);
    for (; burst && many->sent < MANY; burst--)
        send_number (many, ACTOR_ingress, many->sent++);
    if (many->sent < MANY)
        timer_set (many->actor, timer, 0, on_send_time);
}

static void *start_many (struct actor *actor, const void *configuration)
{
    (void) configuration;
    struct many *many = must (calloc (1, sizeof *many));
    many->actor = actor;
    if (actor->actor_class->id != ACTOR_ingress)
        timer_set (actor, &many->timer, 0, on_send_time);
    return many;
}

static void receive_many (void *self, struct message *message)
{
    struct many *many = self;
    enum actor_id from = message->envelope.from;
    if (!is_number (message, many->next[from]++) || message->envelope.sequence <= many->sequence[from])
        atomic_fetch_add (&s_shared.wrong, 1);
    many->sequence[from] = message->envelope.sequence;
    if (atomic_fetch_add (&s_shared.received, 1) + 1 == 3 * MANY)
        runtime_stop (actor_runtime (many->actor));
}

static void stop_many (void **self_p)
{
    struct many *many = *self_p;
    timer_clear (&many->timer);
    free (many);
    *self_p = NULL;
    atomic_fetch_add (&s_shared.stopped, 1);
}

/* 300,000 messages from three actors, one on the receiver's own reactor: none is lost, none overtakes another of its
 * sender, and none stays lying in a mailbox, for which this test would wait in vain. */
static void delivers_between_threads (void **state)
{
    (void) state;
    static const struct actor_class receiver = {
        .id = ACTOR_ingress, .start = start_many, .message = receive_many, .stop = stop_many};
    static const struct actor_class near = {
        .id = ACTOR_auth, .start = start_many, .message = receive_many, .stop = stop_many};
    static const struct actor_class far = {
        .id = ACTOR_router, .start = start_many, .message = receive_many, .stop = stop_many};
    static const struct actor_class other = {
        .id = ACTOR_docker, .start = start_many, .message = receive_many, .stop = stop_many};
    const struct placement table[] = {{&receiver, 0}, {&near, 0}, {&far, 1}, {&other, 2}};
    memset (&s_shared, 0, sizeof s_shared);
    struct runtime *runtime = runtime_new (table, 4, NULL);
    assert_non_null (runtime);
    runtime_run (runtime);
    struct runtime_counters counters = runtime_counters (runtime);
    assert_int_equal (counters.sent, 3 * MANY);
    assert_int_equal (counters.refused, 0);
    runtime_destroy (&runtime);
    assert_null (runtime);
    assert_int_equal (atomic_load (&s_shared.received), 3 * MANY);
    assert_int_equal (atomic_load (&s_shared.wrong), 0);
    assert_int_equal (atomic_load (&s_shared.stopped), 4);
}

/* ------------------------------------------------------------------------------------------------------ one at a time
 */

/* A ball goes between two threads, one message at a time: each must wake the other out of its sleep. */
static void play (void *self, struct message *message)
{
    struct many *many = self;
    if (many->actor->actor_class->id == ACTOR_ingress && atomic_fetch_add (&s_shared.received, 1) == 5000)
    {
        runtime_stop (actor_runtime (many->actor));
        return;
    }
    actor_forward (many->actor, message->envelope.from, message);
}

static void serve (struct timer *timer)
{
    send_number (OWNER (timer, struct many, timer), ACTOR_router, 6);
}

static void *start_player (struct actor *actor, const void *configuration)
{
    (void) configuration;
    struct many *many = must (calloc (1, sizeof *many));
    many->actor = actor;
    if (actor->actor_class->id == ACTOR_ingress)
        timer_set (actor, &many->timer, 0, serve);
    return many;
}

static void wakes_a_sleeping_reactor (void **state)
{
    (void) state;
    static const struct actor_class here = {
        .id = ACTOR_ingress, .start = start_player, .message = play, .stop = stop_many};
    static const struct actor_class there = {
        .id = ACTOR_router, .start = start_player, .message = play, .stop = stop_many};
    const struct placement table[] = {{&here, 0}, {&there, 1}};
    memset (&s_shared, 0, sizeof s_shared);
    struct runtime *runtime = runtime_new (table, 2, NULL);
    runtime_run (runtime);
    runtime_destroy (&runtime);
    assert_int_equal (atomic_load (&s_shared.received), 5001);
}

/* ---------------------------------------------------------------------------------------------- failure of a start */

static void *start_nothing (struct actor *actor, const void *configuration)
{
    (void) actor, (void) configuration;
    return NULL;
}

static void takes_all_down_when_one_cannot_start (void **state)
{
    (void) state;
    static const struct actor_class good = {
        .id = ACTOR_ingress, .start = start_player, .message = play, .stop = stop_many};
    static const struct actor_class also = {
        .id = ACTOR_router, .start = start_player, .message = play, .stop = stop_many};
    static const struct actor_class bad = {
        .id = ACTOR_docker, .start = start_nothing, .message = play, .stop = stop_many};
    for (unsigned where = 0; where < 3; where++)
    {
        const struct placement table[] = {{&good, 0}, {&also, 1}, {&bad, where}};
        memset (&s_shared, 0, sizeof s_shared);
        assert_null (runtime_new (table, 3, NULL));
        /* Whoever had started was stopped. */
        assert_true (atomic_load (&s_shared.stopped) <= 2);
        assert_int_equal (atomic_load (&s_shared.stopped), where == 1 ? 1 : where == 2 ? 1 : 2);
    }
}

/* -------------------------------------------------------------------------------------- on one thread, with probes */

static struct harness *begin (void)
{
    static const struct actor_class none = {.id = ACTOR_NONE};
    struct harness *harness = harness_prepare ();
    harness_start (harness, &none);
    return harness;
}

static void keeps_the_order_of_one_sender (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    for (uint64_t stream = 1; stream <= 20000; stream++)
        probe_credit (harness, stream % 2 ? ACTOR_auth : ACTOR_router, ACTOR_docker, stream, stream);
    probe_await (harness, ACTOR_docker, MESSAGE_credit, 20000);
    assert_int_equal (harness->seen_count, 20000);
    for (size_t index = 0; index < harness->seen_count; index++)
    {
        assert_int_equal (harness->seen[index]->envelope.stream, index + 1);
        assert_int_equal (harness->seen[index]->envelope.sequence, index + 1);
        assert_int_equal (harness->seen[index]->fields.credit.bytes, index + 1);
        assert_int_equal (harness->seen[index]->envelope.time, 0); /* nobody watches */
    }
    harness_destroy (harness);
}

/* Two watches of one batch: the first that fires ends both and defers the memory. The other must not fire any more, and
 * the memory must still be there while the batch goes on. */
struct pair
{
    struct watch one, other;
    struct harness *harness;
    unsigned fired;
};

static void free_pair (void *object)
{
    free (object);
    atomic_fetch_add (&s_shared.deferred_freed, 1);
}

static void end_both (struct pair *pair)
{
    pair->fired++;
    assert_int_equal (pair->fired, 1);
    int fds[] = {pair->one.fd, pair->other.fd};
    watch_end (&pair->one);
    watch_end (&pair->other);
    watch_end (&pair->other); /* idempotent */
    close (fds[0]);
    close (fds[1]);
    actor_defer (pair->harness->any, free_pair, pair);
}

static void on_one (struct watch *watch, uint32_t events)
{
    (void) events;
    end_both (OWNER (watch, struct pair, one));
}

static void on_other (struct watch *watch, uint32_t events)
{
    (void) events;
    end_both (OWNER (watch, struct pair, other));
}

static bool are_freed (struct harness *harness, void *data)
{
    (void) harness;
    return atomic_load (&s_shared.deferred_freed) == *(unsigned *) data;
}

static void frees_when_the_batch_is_done (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    unsigned count = 30;
    memset (&s_shared, 0, sizeof s_shared);
    for (unsigned index = 0; index < count; index++)
    {
        struct pair *pair = must (calloc (1, sizeof *pair));
        pair->harness = harness;
        assert_int_equal (watch_set (harness->any, &pair->one, eventfd (1, EFD_CLOEXEC), EPOLLIN, on_one), 0);
        assert_int_equal (watch_set (harness->any, &pair->other, eventfd (1, EFD_CLOEXEC), EPOLLIN, on_other), 0);
    }
    harness_until (harness, are_freed, &count);
    harness_destroy (harness);
}

static void free_chain (void *object)
{
    unsigned *left = object;
    atomic_fetch_add (&s_shared.deferred_freed, 1);
    if (--*left)
        actor_defer (s_harness->any, free_chain, left);
}

/* A destructor may defer again, also when everything ends. */
static void defers_within_a_destructor (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    unsigned left = 100, all = 100;
    memset (&s_shared, 0, sizeof s_shared);
    actor_defer (harness->any, free_chain, &left);
    harness_until (harness, are_freed, &all);
    left = 100;
    actor_defer (harness->any, free_chain, &left);
    harness_stop (harness);
    assert_int_equal (atomic_load (&s_shared.deferred_freed), 200);
    harness_destroy (harness);
}

/* ---------------------------------------------------------------------------------------------------------- timers */

struct bell
{
    struct timer timer;
    unsigned number;
};

static unsigned s_rung[64], s_rung_count;

static void ring (struct timer *timer)
{
    s_rung[s_rung_count++] = OWNER (timer, struct bell, timer)->number;
}

/* Set again and again with no time at all: the loop must still come to everything else. */
static void ring_for_ever (struct timer *timer)
{
    OWNER (timer, struct bell, timer)->number++;
    timer_set (timer->actor, timer, 0, ring_for_ever);
}

static bool has_rung (struct harness *harness, void *data)
{
    (void) harness;
    return s_rung_count == *(unsigned *) data;
}

static void fires_timers_in_order (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct bell bells[8] = {{.number = 0}}, busy = {.number = 0};
    static const unsigned times[8] = {30, 5, 5, 20, 1, 5, 10, 40};
    s_rung_count = 0;
    for (unsigned index = 0; index < 8; index++)
    {
        bells[index].number = index;
        timer_set (harness->any, &bells[index].timer, times[index], ring);
    }
    timer_set (harness->any, &busy.timer, 0, ring_for_ever);
    timer_clear (&bells[3].timer);                       /* never */
    timer_clear (&bells[3].timer);                       /* idempotent */
    timer_set (harness->any, &bells[7].timer, 2, ring);  /* moved forward */
    timer_set (harness->any, &bells[4].timer, 50, ring); /* moved back */
    unsigned count = 7;
    harness_until (harness, has_rung, &count);
    static const unsigned expected[] = {7, 1, 2, 5, 6, 0, 4};
    assert_memory_equal (s_rung, expected, sizeof expected);
    assert_true (busy.number > 7);
    timer_clear (&busy.timer);
    harness_destroy (harness);
}

/* ---------------------------------------------------------------------------------------------------------- mirror */

static void mirrors_while_it_is_watched (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    void *mirror = zmq_socket (runtime_context (harness->runtime), ZMQ_PULL);
    int none = 0, count;
    zmq_msg_t frames[3];
    zmq_setsockopt (mirror, ZMQ_RCVHWM, &none, sizeof none);
    assert_int_equal (zmq_bind (mirror, TAP_ENDPOINT), 0);
    probe_body (harness, ACTOR_auth, ACTOR_docker, 1, SLICE ("unseen"));
    probe_await (harness, ACTOR_docker, MESSAGE_body, 1);
    assert_int_equal (frames_receive (mirror, frames, &count), 0);
    for (int payloads = 0; payloads < 2; payloads++)
    {
        runtime_tap (harness->runtime, true, payloads);
        probe_body (harness, ACTOR_auth, ACTOR_docker, 2, SLICE ("seen"));
        probe_credit (harness, ACTOR_auth, ACTOR_docker, 3, 9);
        assert_int_equal (frames_receive (mirror, frames, &count), 1);
        runtime_tap_taken (harness->runtime);
        assert_int_equal (count, 1 + payloads);
        struct envelope envelope;
        struct message_error error;
        uint64_t length;
        size_t size = zmq_msg_size (&frames[0]) - sizeof length;
        memcpy (&length, (char *) zmq_msg_data (&frames[0]) + size, sizeof length);
        assert_int_equal (length, 4);
        assert_int_equal (envelope_decode (slice_of (zmq_msg_data (&frames[0]), size), &envelope, &error), 0);
        assert_int_equal (envelope.stream, 2);
        assert_true (envelope.time > 0);
        if (payloads)
            assert_memory_equal (zmq_msg_data (&frames[1]), "seen", 4);
        for (int index = 0; index < count; index++)
            zmq_msg_close (&frames[index]);
        assert_int_equal (frames_receive (mirror, frames, &count), 1);
        runtime_tap_taken (harness->runtime);
        assert_int_equal (count, 2);
        for (int index = 0; index < count; index++)
            zmq_msg_close (&frames[index]);
        probe_expect_payload (harness, ACTOR_docker, 2, payloads ? SLICE ("seenseen") : SLICE ("seen"));
    }
    /* Nobody takes them: a bounded number is kept, the rest is counted, and the receiver gets every one. */
    for (uint64_t stream = 1000; stream < 21000; stream++)
        probe_credit (harness, ACTOR_auth, ACTOR_docker, stream, 1);
    probe_await (harness, ACTOR_docker, MESSAGE_credit, 20999);
    uint64_t lost = runtime_tap_lost (harness->runtime), taken = 0;
    assert_true (lost > 0 && lost < 20000);
    while (frames_receive (mirror, frames, &count) == 1)
    {
        runtime_tap_taken (harness->runtime);
        taken++;
        for (int index = 0; index < count; index++)
            zmq_msg_close (&frames[index]);
    }
    assert_int_equal (taken + lost, 20000);
    runtime_tap (harness->runtime, false, false);
    probe_credit (harness, ACTOR_auth, ACTOR_docker, 30000, 1);
    assert_int_equal (frames_receive (mirror, frames, &count), 0);
    zmq_close (mirror);
    harness_destroy (harness);
}

/* ------------------------------------------------------------------------------------------------------- bad messages
 */

/* Frames that are no message are counted and dropped; those behind them arrive. */
static void refuses_what_is_no_message (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct reactor *reactor = harness->runtime->reactors[0];
    int before = dup (2), quiet = open ("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2 (quiet, 2);
    static const int counts[] = {1, 2, 3, 4, 7};
    for (size_t row = 0; row < 5; row++)
    {
        for (int index = 0; index < counts[row]; index++)
            zmq_send (reactor->self_push, "garbage", 7, ZMQ_DONTWAIT | (index + 1 < counts[row] ? ZMQ_SNDMORE : 0));
        reactor->pending++;
    }
    /* A good envelope, whose body is missing, and one that says more than its type has. */
    struct envelope envelope = {.type = MESSAGE_credit, .from = ACTOR_auth, .to = ACTOR_docker, .stream = 5};
    char bytes[ENVELOPE_BYTES_MAX];
    size_t length = envelope_encode (&envelope, bytes);
    zmq_send (reactor->self_push, bytes, length, ZMQ_DONTWAIT);
    zmq_send (reactor->self_push, bytes, length, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    zmq_send (reactor->self_push, "\x91\xc0", 2, ZMQ_DONTWAIT);
    zmq_send (reactor->self_push, bytes, length, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    zmq_send (reactor->self_push, "\x91\x05", 2, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    zmq_send (reactor->self_push, "more", 4, ZMQ_DONTWAIT);
    reactor->pending += 3;
    probe_credit (harness, ACTOR_auth, ACTOR_docker, 6, 1);
    probe_await (harness, ACTOR_docker, MESSAGE_credit, 6);
    dup2 (before, 2);
    close (before);
    close (quiet);
    assert_int_equal (harness->seen_count, 1);
    assert_int_equal (runtime_counters (harness->runtime).refused, 8);
    harness_destroy (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (delivers_between_threads),
        cmocka_unit_test (wakes_a_sleeping_reactor),
        cmocka_unit_test (takes_all_down_when_one_cannot_start),
        cmocka_unit_test_teardown (keeps_the_order_of_one_sender, harness_teardown),
        cmocka_unit_test_teardown (frees_when_the_batch_is_done, harness_teardown),
        cmocka_unit_test_teardown (defers_within_a_destructor, harness_teardown),
        cmocka_unit_test_teardown (fires_timers_in_order, harness_teardown),
        cmocka_unit_test_teardown (mirrors_while_it_is_watched, harness_teardown),
        cmocka_unit_test_teardown (refuses_what_is_no_message, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
