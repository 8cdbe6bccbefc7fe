/* worker_pool.c - see worker_pool.h. One mutex guards both queues; an eventfd wakes the reactor. */
#include "worker_pool.h"

#include "ensure.h"
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum
{
    EXIT_TIME = 5000, /* ms that idle workers may take to end */
};

struct queue
{
    struct job *first, **end;
};

struct worker_pool
{
    pthread_mutex_t mutex;
    pthread_cond_t work; /* jobs are queued, or the pool ends */
    pthread_cond_t left; /* a worker has ended */
    struct queue queued, finished;
    size_t waiting;   /* jobs in queued */
    uint64_t jobs;    /* begun so far */
    unsigned workers; /* threads that live */
    unsigned holders; /* threads and the owner: the last one frees */
    bool ending;
    int wake; /* eventfd */
    struct worker_state states[WORKERS];

    struct watch watch; /* the reactor's only, and so is */
    size_t away;        /* jobs submitted and not yet back */
};

struct worker
{
    struct worker_pool *pool;
    unsigned number;
};

static void queue_add (struct queue *queue, struct job *job)
{
    job->next = NULL;
    *queue->end = job;
    queue->end = &job->next;
}

static struct job *queue_take (struct queue *queue)
{
    struct job *job = queue->first;
    if (job && !(queue->first = job->next))
        queue->end = &queue->first;
    return job;
}

static uint64_t monotonic_ms (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* Unlocks the pool and leaves it. */
static void let_go (struct worker_pool *pool)
{
    bool last = --pool->holders == 0;
    pthread_mutex_unlock (&pool->mutex);
    if (!last)
        return;
    close (pool->wake);
    pthread_cond_destroy (&pool->work);
    pthread_cond_destroy (&pool->left);
    pthread_mutex_destroy (&pool->mutex);
    free (pool);
}

static void *work (void *argument)
{
    struct worker *worker = argument;
    struct worker_pool *pool = worker->pool;
    struct worker_state *state = &pool->states[worker->number];
    free (worker);
    pthread_mutex_lock (&pool->mutex);
    for (;;)
    {
        struct job *job;
        while (!(job = queue_take (&pool->queued)) && !pool->ending)
            pthread_cond_wait (&pool->work, &pool->mutex);
        if (!job)
            break;
        pool->waiting--;
        state->job = ++pool->jobs;
        state->since_ms = monotonic_ms ();
        state->object = job;
        memcpy (state->label, job->label, sizeof state->label);
        pthread_mutex_unlock (&pool->mutex);
        job->run (job);
        pthread_mutex_lock (&pool->mutex);
        state->job = 0;
        state->object = NULL;
        queue_add (&pool->finished, job);
        ensure (write (pool->wake, &(uint64_t){1}, sizeof (uint64_t)) == sizeof (uint64_t));
    }
    pool->workers--;
    pthread_cond_signal (&pool->left);
    let_go (pool);
    return NULL;
}

/* Gives back what is finished. */
static void collect (struct worker_pool *pool)
{
    pthread_mutex_lock (&pool->mutex);
    struct job *job = pool->finished.first;
    pool->finished = (struct queue){NULL, &pool->finished.first};
    pthread_mutex_unlock (&pool->mutex);
    for (struct job *next; job; job = next)
    {
        next = job->next;
        pool->away--;
        job->done (job);
    }
}

static void on_wake (struct watch *watch, uint32_t events)
{
    (void) events;
    struct worker_pool *pool = OWNER (watch, struct worker_pool, watch);
    uint64_t count;
    if (read (pool->wake, &count, sizeof count) == sizeof count)
        collect (pool);
}

static bool start_worker (struct worker_pool *pool, unsigned number)
{
    struct worker *worker = must (malloc (sizeof *worker));
    *worker = (struct worker){pool, number};
    pthread_t thread;
    pthread_mutex_lock (&pool->mutex);
    int error = pthread_create (&thread, NULL, work, worker);
    if (error == 0)
    {
        pool->workers++;
        pool->holders++;
        pthread_detach (thread);
    }
    pthread_mutex_unlock (&pool->mutex);
    if (error)
    {
        free (worker);
        log_error ("host", "cannot start a thread for files: %s", strerror (error));
    }
    return error == 0;
}

struct worker_pool *worker_pool_new (struct actor *actor)
{
    struct worker_pool *pool = must (calloc (1, sizeof *pool));
    pthread_condattr_t monotonic;
    pthread_condattr_init (&monotonic);
    pthread_condattr_setclock (&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init (&pool->mutex, NULL);
    pthread_cond_init (&pool->work, NULL);
    pthread_cond_init (&pool->left, &monotonic);
    pthread_condattr_destroy (&monotonic);
    pool->queued.end = &pool->queued.first;
    pool->finished.end = &pool->finished.first;
    pool->holders = 1;
    pool->watch.fd = -1;
    pool->wake = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC);
    bool good = pool->wake >= 0 && watch_set (actor, &pool->watch, pool->wake, EPOLLIN, on_wake) == 0;
    if (!good)
        log_error ("host", "cannot make an eventfd for file operations: %s", strerror (errno));
    /* Signals are the main thread's. */
    sigset_t all, before;
    sigfillset (&all);
    pthread_sigmask (SIG_SETMASK, &all, &before);
    for (unsigned number = 0; good && number < WORKERS; number++)
        good = start_worker (pool, number);
    pthread_sigmask (SIG_SETMASK, &before, NULL);
    if (!good)
        worker_pool_destroy (&pool);
    return pool;
}

void worker_pool_submit (struct worker_pool *pool, struct job *job)
{
    pool->away++;
    pthread_mutex_lock (&pool->mutex);
    queue_add (&pool->queued, job);
    pool->waiting++;
    pthread_cond_signal (&pool->work);
    pthread_mutex_unlock (&pool->mutex);
}

bool worker_pool_cancel (struct worker_pool *pool, struct job *job)
{
    bool found = false;
    pthread_mutex_lock (&pool->mutex);
    for (struct job **place = &pool->queued.first; *place; place = &(*place)->next)
        if (*place == job)
        {
            found = true;
            *place = job->next;
            if (!*place)
                pool->queued.end = place;
            pool->waiting--;
            break;
        }
    pthread_mutex_unlock (&pool->mutex);
    pool->away -= found;
    return found;
}

size_t worker_pool_look (struct worker_pool *pool, struct worker_state states[WORKERS])
{
    pthread_mutex_lock (&pool->mutex);
    memcpy (states, pool->states, sizeof pool->states);
    size_t waiting = pool->waiting;
    pthread_mutex_unlock (&pool->mutex);
    return waiting;
}

size_t worker_pool_drain (struct worker_pool *pool, unsigned milliseconds)
{
    uint64_t now = monotonic_ms (), end = now + milliseconds;
    for (; pool->away && now < end; now = monotonic_ms ())
    {
        struct pollfd wake = {.fd = pool->wake, .events = POLLIN};
        if (poll (&wake, 1, (int) (end - now)) == 1)
            on_wake (&pool->watch, EPOLLIN);
    }
    return pool->away;
}

void worker_pool_destroy (struct worker_pool **pool_p)
{
    struct worker_pool *pool = *pool_p;
    *pool_p = NULL;
    if (!pool)
        return;
    uint64_t end = monotonic_ms () + (pool->away ? 0 : EXIT_TIME);
    struct timespec until = {.tv_sec = (time_t) (end / 1000), .tv_nsec = (long) (end % 1000) * 1000000};
    watch_end (&pool->watch);
    pthread_mutex_lock (&pool->mutex);
    pool->ending = true;
    pthread_cond_broadcast (&pool->work);
    while (pool->workers && pthread_cond_timedwait (&pool->left, &pool->mutex, &until) == 0)
        ;
    let_go (pool);
}
