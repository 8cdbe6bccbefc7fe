/* worker_pool.h - threads for what may block: calls to a file system, which a network mount can hold up for ever.
 *
 * An actor hands jobs over and gets each back, run, on its own reactor. Jobs are taken in order, one by each worker;
 * the queue is as long as what its owner submits, who therefore bounds its jobs. A job that hangs holds up one worker;
 * the others go on.
 */
#pragma once

#include "actor.h"

enum
{
    WORKERS = 4,
    WORKER_LABEL_BYTES = 200,
};

/* Lives inside its owner's object, which must stay until the job is back. */
struct job
{
    void (*run) (struct job *job);  /* on a worker */
    void (*done) (struct job *job); /* on the actor's reactor */
    char label[WORKER_LABEL_BYTES]; /* what it is about, for people; constant while the job is away */
    struct job *next;
};

struct worker_state
{
    uint64_t job;      /* number of the job that it runs; 0: it waits for one */
    uint64_t since_ms; /* when that began, CLOCK_MONOTONIC */
    char label[WORKER_LABEL_BYTES];
    struct job *object; /* the job itself */
};

struct worker_pool;

/* Starts the threads. NULL when the system refuses; it was logged. */
struct worker_pool *worker_pool_new (struct actor *actor);

void worker_pool_submit (struct worker_pool *pool, struct job *job);

/* Takes a job back that no worker has begun; false when one has. */
bool worker_pool_cancel (struct worker_pool *pool, struct job *job);

/* What the workers do, and how many jobs wait for one. */
size_t worker_pool_look (struct worker_pool *pool, struct worker_state states[WORKERS]);

/* Waits, for so many milliseconds at most, until no job is away; meanwhile jobs come back by their done(), which may
 * submit more. Returns how many are still away. Blocks: only for the end. */
size_t worker_pool_drain (struct worker_pool *pool, unsigned milliseconds);

/* Ends the workers. Those that hang are left behind, with the pool's memory and with their jobs, which never come back.
 */
void worker_pool_destroy (struct worker_pool **pool);
