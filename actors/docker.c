/* docker.c - the actor in front of the Docker engine.
 *
 * Owns     all connections to the engine's socket; what is known of the engine
 * In       request, from the router; body, end, credit, abort from whoever asked (ingress); rediscover; inspect
 * Out      response, body, end, credit, abort to whoever asked; engine to all who want it when something was learned
 * Limits   connections to the engine (503); payload in flight (503); IDLE_CONNECTIONS_MAX kept
 * Timers   looking for the engine; the watchdog of requests without an answer
 *
 * Every piece is passed on the moment it comes. The engine is never asked twice for a request that it may have begun to
 * carry out.
 */
#include "docker.h"

#include "ensure.h"
#include "log.h"
#include "placement.h"

#include <stdlib.h>

static size_t window_bytes (const struct docker *docker)
{
    size_t bytes = 0;
    for (const struct engine_connection *connection = docker->busy; connection; connection = connection->next)
        bytes += connection->window.reserved;
    return bytes;
}

static void on_inspect (struct docker *docker, struct message *message)
{
    struct budget *budget = docker->configuration->budget;
    json_t *state = json_pack (
        "{sb ss ss ss ss sb si si sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI}", "reachable", docker->reachable,
        "socket", docker->path, "name", docker->name, "node", docker->node, "address", docker->address, "manager",
        docker->manager, "api_minimum", (int) docker->api_minimum, "api_maximum", (int) docker->api_maximum,
        "connections", (json_int_t) docker->count, "idle", (json_int_t) docker->idle_count, "streams",
        (json_int_t) docker->streams.count, "request_window_bytes", (json_int_t) window_bytes (docker), "payload_used",
        (json_int_t) atomic_load (&budget->used), "payload_total", (json_int_t) budget->total, "requests",
        (json_int_t) docker->counters.requests, "connects", (json_int_t) docker->counters.connects, "reused",
        (json_int_t) docker->counters.reused, "retried", (json_int_t) docker->counters.retried, "failed",
        (json_int_t) docker->counters.failed, "aborted", (json_int_t) docker->counters.aborted, "upgrades",
        (json_int_t) docker->counters.upgrades, "hung", (json_int_t) docker->counters.hung, "unknown_streams",
        (json_int_t) docker->streams.unknown);
    if (state)
        json_object_set_new (state, "last_failure", json_string (docker->last_failure));
    actor_report (docker->actor, message->envelope.from, state);
}

static void on_message (void *self, struct message *message)
{
    struct docker *docker = self;
    if (message->envelope.type == MESSAGE_request)
    {
        engine_begin (docker, message);
        return;
    }
    if (message->envelope.type == MESSAGE_inspect)
    {
        on_inspect (docker, message);
        return;
    }
    if (message->envelope.type == MESSAGE_rediscover)
    {
        discovery_hurry (docker);
        return;
    }
    struct engine_connection *connection = stream_table_get (&docker->streams, message->envelope.stream);
    if (!connection)
        return; /* the stream is over here: what was under way is dropped */
    switch (message->envelope.type)
    {
    case MESSAGE_body:
        engine_on_body (connection, message);
        break;
    case MESSAGE_end:
        engine_on_end (connection);
        break;
    case MESSAGE_credit:
        engine_on_credit (connection, message->fields.credit.bytes);
        break;
    case MESSAGE_abort:
        docker->counters.aborted++;
        engine_close (connection);
        break;
    default:
        log_error ("docker", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
}

static void *start (struct actor *actor, const void *configuration)
{
    struct docker *docker = must (calloc (1, sizeof *docker));
    docker->actor = actor;
    docker->configuration = configuration;
    docker->path = docker->configuration->docker_host;
    payload_buffer_init (&docker->buffer);
    discovery_start (docker);
    return docker;
}

static void stop (void **self_p)
{
    struct docker *docker = *self_p;
    discovery_stop (docker);
    while (docker->busy)
        engine_close (docker->busy);
    while (docker->idle)
        engine_close (docker->idle);
    stream_table_free (&docker->streams);
    payload_buffer_free (&docker->buffer);
    free (docker);
    *self_p = NULL;
}

const struct actor_class docker_class = {.id = ACTOR_docker, .start = start, .message = on_message, .stop = stop};
