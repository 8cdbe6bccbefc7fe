/* host.c - the actor for the node's files and devices: browsing (contract 5.4, 5.5) and host information (5.3).
 *
 * Owns     the workers that touch file systems; the tasks that requests make there
 * In       request, from the router; body, end, credit, abort from whoever asked (ingress); inspect
 * Out      response, body, end, credit, abort to whoever asked
 * Limits   TASKS_MAX, and payload in flight (503); LIST_NAMES_MAX; RENAME_BODY_MAX; one step of a task at a time
 * Timers   looking for workers that hang, once a second while there are tasks
 *
 * It makes no call to a file system itself: a network mount that does not answer holds up the worker that asked it,
 * and nobody else.
 */
#include "host.h"

#include "ensure.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>

enum
{
    LOOK_TIME = 1000, /* ms between two looks at the workers */
};

/* ----------------------------------------------------------------------------------------------- workers that hang */

/* Tells of a worker that hangs now, or no longer does. */
static void look_at (struct host *host, unsigned number, const struct worker_state *state)
{
    uint64_t now = actor_now (host->actor);
    if (host->told[number] && host->told[number] != state->job)
    {
        log_info ("host", "worker %u goes on: its file system answered after %u s", number,
                  (unsigned) ((now - host->told_at[number]) / 1000));
        host->told[number] = 0;
    }
    if (!state->job || host->told[number] == state->job || now < state->since_ms + TASK_HUNG_TIME)
        return;
    host->told[number] = state->job;
    host->told_at[number] = state->since_ms;
    host->counters.hung++;
    log_warn (
        "host",
        "worker %u has waited for %u s for a file system: %s. Is a network mount out of reach? %u workers are left",
        number, (unsigned) ((now - state->since_ms) / 1000), state->label, WORKERS - host->hung - 1);
    struct task *task = OWNER (state->object, struct task, job);
    if (!task->over)
        task_give_up (task, "it took longer than 10 s; see the agent's log");
}

static void on_look (struct timer *timer)
{
    struct host *host = OWNER (timer, struct host, timer);
    struct worker_state states[WORKERS];
    worker_pool_look (host->pool, states);
    unsigned hung = 0;
    for (unsigned number = 0; number < WORKERS; number++)
    {
        host->hung = hung;
        look_at (host, number, &states[number]);
        hung += host->told[number] != 0;
    }
    host->hung = hung;
    for (struct task *task = host->tasks, *next; task && hung == WORKERS; task = next)
    {
        next = task->next;
        if (!task->over)
            task_give_up (task, "every worker waits for a file system that does not answer; see the agent's log");
    }
    if (host->count)
        timer_set (host->actor, timer, LOOK_TIME, on_look);
}

/* ------------------------------------------------------------------------------------------------------------ messages
 */

static void on_request (struct host *host, struct message *message)
{
    struct browse_target target;
    if (browse_target_read (message->fields.request.target, &target))
        browse_begin (host, message, &target);
    else
        host_info_begin (host, message);
    if (host->count && !host->timer.place)
        timer_set (host->actor, &host->timer, LOOK_TIME, on_look);
}

static void on_inspect (struct host *host, struct message *message)
{
    struct worker_state states[WORKERS];
    size_t waiting = worker_pool_look (host->pool, states), window_bytes = 0;
    for (const struct task *task = host->tasks; task; task = task->next)
        window_bytes += task->window.reserved;
    uint64_t now = actor_now (host->actor);
    json_t *workers = json_array ();
    for (unsigned number = 0; number < WORKERS; number++)
        if (states[number].job)
            json_array_append_new (
                workers, json_pack ("{ss sI sb}", "operation", states[number].label, "for_ms",
                                    (json_int_t) (now > states[number].since_ms ? now - states[number].since_ms : 0),
                                    "hung", host->told[number] == states[number].job));
    actor_report (host->actor, message->envelope.from,
                  json_pack ("{so sI sI sI sI sI ss sI sI sI sI sI sI}", "busy_workers", workers, "workers",
                             (json_int_t) WORKERS, "hung_workers", (json_int_t) host->hung, "waiting",
                             (json_int_t) waiting, "tasks", (json_int_t) host->count, "streams",
                             (json_int_t) host->streams.count, "paths_resolved_by", host->walk ? "walk" : "openat2",
                             "request_window_bytes", (json_int_t) window_bytes, "requests",
                             (json_int_t) host->counters.requests, "refused", (json_int_t) host->counters.refused,
                             "failed", (json_int_t) host->counters.failed, "aborted",
                             (json_int_t) host->counters.aborted, "hung", (json_int_t) host->counters.hung));
}

static void on_message (void *self, struct message *message)
{
    struct host *host = self;
    if (message->envelope.type == MESSAGE_request)
    {
        on_request (host, message);
        return;
    }
    if (message->envelope.type == MESSAGE_inspect)
    {
        on_inspect (host, message);
        return;
    }
    struct task *task = stream_table_get (&host->streams, message->envelope.stream);
    if (task)
        task_on_message (task, message);
}

static void *start (struct actor *actor, const void *configuration)
{
    struct worker_pool *pool = worker_pool_new (actor);
    if (!pool)
        return NULL;
    struct host *host = must (calloc (1, sizeof *host));
    host->actor = actor;
    host->configuration = configuration;
    host->pool = pool;
    host->walk = !beneath_kernel_resolves ();
    if (host->walk)
        log_info ("host",
                  "openat2() is missing or forbidden here: paths are resolved by hand, which is as safe and slower");
    return host;
}

static void stop (void **self_p)
{
    struct host *host = *self_p;
    *self_p = NULL;
    timer_clear (&host->timer);
    task_release_all (host);
    size_t left = worker_pool_drain (host->pool, STOP_TIME);
    worker_pool_destroy (&host->pool);
    stream_table_free (&host->streams);
    if (left)
        log_warn ("host", "%zu file operations hang, and end with the process", left);
    else /* their jobs point here */
        free (host);
}

const struct actor_class host_class = {.id = ACTOR_host, .start = start, .message = on_message, .stop = stop};
