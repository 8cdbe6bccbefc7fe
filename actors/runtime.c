/* runtime.c - the reactors of a process: making them, their threads, stopping, and the switch that taps turn.
 *
 * Starting is a handshake: runtime_new() returns only when every actor has started, or when one failed and all was
 * taken down.
 */
#include "reactor.h"

#include "ensure.h"

#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct start
{
    struct reactor *reactor;
    const struct placement *table;
    size_t rows;
    const void *configuration;
    sem_t *done;
};

static void *run_thread (void *argument)
{
    struct start start = *(struct start *) argument;
    struct reactor *reactor = start.reactor;
    reactor->started_well = reactor_start_actors (reactor, start.table, start.rows, start.configuration);
    bool well = reactor->started_well;
    sem_post (start.done); /* from here on the argument is gone */
    if (well)
        reactor_run (reactor);
    reactor_stop_actors (reactor);
    return NULL;
}

static bool start_thread (struct reactor *reactor, const struct placement *table, size_t rows,
                          const void *configuration)
{
    sem_t done;
    sem_init (&done, 0, 0);
    struct start start = {reactor, table, rows, configuration, &done};
    /* Signals come through the control actor's signalfd: no other thread may take them. */
    sigset_t all, before;
    sigfillset (&all);
    pthread_sigmask (SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init (&attributes);
    pthread_attr_setstacksize (&attributes, (size_t) 1024 * 1024); /* bytes; only touched pages cost memory */
    reactor->has_thread = pthread_create (&reactor->thread, &attributes, run_thread, &start) == 0;
    pthread_attr_destroy (&attributes);
    pthread_sigmask (SIG_SETMASK, &before, NULL);
    while (reactor->has_thread && sem_wait (&done) < 0)
        continue;
    sem_destroy (&done);
    return reactor->has_thread && reactor->started_well;
}

struct runtime *runtime_new (const struct placement *table, size_t rows, const void *configuration)
{
    struct runtime *runtime = must (calloc (1, sizeof *runtime));
    runtime->context = must (zmq_ctx_new ());
    zmq_ctx_set (runtime->context, ZMQ_IO_THREADS, 0); /* inproc only: no thread of libzmq's own is needed */
    for (size_t row = 0; row < rows; row++)
        if (table[row].reactor >= runtime->reactor_count)
            runtime->reactor_count = table[row].reactor + 1;
    ensure (runtime->reactor_count <= REACTORS_MAX);
    for (unsigned number = 0; number < runtime->reactor_count; number++)
        runtime->reactors[number] = reactor_new (runtime, number);
    for (size_t row = 0; row < rows; row++)
        runtime->home[table[row].actor_class->id] = runtime->reactors[table[row].reactor];
    for (unsigned number = 0; number < runtime->reactor_count; number++)
        reactor_connect (runtime->reactors[number]);

    bool well = true;
    for (unsigned number = 1; well && number < runtime->reactor_count; number++)
        well = start_thread (runtime->reactors[number], table, rows, configuration);
    well = well && reactor_start_actors (runtime->reactors[0], table, rows, configuration);
    if (!well)
    {
        runtime_stop (runtime);
        runtime_destroy (&runtime);
    }
    return runtime;
}

void runtime_run (struct runtime *runtime)
{
    reactor_run (runtime->reactors[0]);
}

void runtime_stop (struct runtime *runtime)
{
    atomic_store (&runtime->stopping, true);
    uint64_t one = 1;
    for (unsigned number = 0; number < runtime->reactor_count; number++)
        ensure (write (runtime->reactors[number]->wake.fd, &one, sizeof one) == sizeof one);
}

void runtime_destroy (struct runtime **runtime_p)
{
    struct runtime *runtime = *runtime_p;
    if (!runtime)
        return;
    for (unsigned number = 1; number < runtime->reactor_count; number++)
        if (runtime->reactors[number]->has_thread)
            pthread_join (runtime->reactors[number]->thread, NULL);
    reactor_stop_actors (runtime->reactors[0]);
    for (unsigned number = 0; number < runtime->reactor_count; number++)
        reactor_destroy (&runtime->reactors[number]);
    zmq_ctx_term (runtime->context);
    free (runtime);
    *runtime_p = NULL;
}

struct runtime_counters runtime_counters (struct runtime *runtime)
{
    struct runtime_counters total = {0};
    for (unsigned number = 0; number < runtime->reactor_count; number++)
    {
        total.sent += atomic_load (&runtime->reactors[number]->sent);
        total.refused += atomic_load (&runtime->reactors[number]->refused);
    }
    return total;
}

void runtime_tap (struct runtime *runtime, bool on, bool payloads)
{
    atomic_store (&runtime->tap_payloads, payloads);
    atomic_store (&runtime->tapping, on);
}

uint64_t runtime_tap_lost (struct runtime *runtime)
{
    return atomic_load (&runtime->tap_lost);
}

void runtime_tap_taken (struct runtime *runtime)
{
    atomic_fetch_sub (&runtime->tap_in_flight, 1);
    atomic_load_explicit (&runtime->home[ACTOR_tap]->handover, memory_order_acquire);
}

void *runtime_context (struct runtime *runtime)
{
    return runtime->context;
}
