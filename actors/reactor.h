/* reactor.h - what reactor.c and runtime.c share; actors see actor.h only. */
#pragma once

#include "actor.h"
#include "timer.h"

#include <pthread.h>
#include <stdatomic.h>

struct actor
{
    const struct actor_class *actor_class; /* NULL: not on this reactor */
    struct reactor *reactor;
    void *self;
};

struct deferred
{
    void (*destroy) (void *object);
    void *object;
};

struct reactor
{
    struct runtime *runtime;
    unsigned number;
    pthread_t thread;
    bool has_thread, started_well;

    int epoll;
    struct watch wake;   /* eventfd: somebody called runtime_stop() */
    struct watch remote; /* the remote mailbox's ZMQ_FD, edge-triggered */
    void *self_push, *self_pull, *remote_pull;
    void *remote_push[REACTORS_MAX];
    void *tap_push;

    size_t pending;    /* messages in the self mailbox */
    bool visit_remote; /* the remote mailbox was left before it was empty */
    uint64_t now_ns;   /* CLOCK_MONOTONIC at the begin of the turn */
    uint64_t sequence;
    uint64_t random; /* state of the generator */
    struct timer_heap timers;
    struct deferred *deferred;
    size_t deferred_count, deferred_capacity;
    struct actor actors[ACTOR_COUNT];
    struct header store[MESSAGE_HEADERS_MAX];

    atomic_uint handover; /* release on send, acquire on receive: see frames_send() */
    atomic_ulong sent, refused;
};

struct runtime
{
    void *context;
    struct reactor *reactors[REACTORS_MAX];
    size_t reactor_count;
    struct reactor *home[ACTOR_COUNT]; /* which reactor an actor lives on; written before the threads start */
    atomic_bool stopping;
    atomic_bool tapping, tap_payloads;
    atomic_long tap_in_flight;
    atomic_ulong tap_lost;
};

struct reactor *reactor_new (struct runtime *runtime, unsigned number);
void reactor_connect (struct reactor *reactor);
bool reactor_start_actors (struct reactor *reactor, const struct placement *table, size_t rows,
                           const void *configuration);
void reactor_run (struct reactor *reactor);
void reactor_stop_actors (struct reactor *reactor);
void reactor_destroy (struct reactor **reactor);
