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
#include "http/agent_fields.h"
#include "log.h"
#include "placement.h"

#include <stdlib.h>

enum
{
    CONNECT_TIME = 5000,       /* ms; then the request is refused */
    IDLE_CONNECTIONS_MAX = 64, /* kept open for the next request */
};

/* The client's fields, but for the agent's own and Host. */
static void write_fields (struct upstream_connection *connection, struct http_writer *writer,
                          const struct message_request *request)
{
    (void) connection;
    http_write_field (writer, SLICE ("Host"), SLICE ("docker"));
    for (size_t index = 0; index < request->headers.count; index++)
        if (!field_is_for_agents (request->headers.at[index].name))
            http_write_field (writer, request->headers.at[index].name, request->headers.at[index].value);
}

static void on_lost (struct upstream *upstream, const char *why)
{
    discovery_engine_lost (OWNER (upstream, struct docker, engine), why);
}

/* 503 is what an engine says that is not, or no longer, a Swarm manager. */
static void on_answered (struct upstream_connection *connection, const struct http_head *head)
{
    if (head->status == 503)
        discovery_hurry (OWNER (connection->upstream, struct docker, engine));
}

static const struct upstream_kind s_engine = {
    .subject = "docker",
    .too_many = "Too many requests to the Docker engine at once",
    .too_many_hint = "the agent's limit is reached; see --engine-connections",
    .connect_time = CONNECT_TIME,
    .write_fields = write_fields,
    .lost = on_lost,
    .answered = on_answered,
};

static void on_inspect (struct docker *docker, struct message *message)
{
    struct budget *budget = docker->configuration->budget;
    json_t *state = json_pack (
        "{sb ss ss ss ss sb si si sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI sI}", "reachable", docker->reachable,
        "socket", docker->engine.path, "name", docker->name, "node", docker->node, "address", docker->address,
        "manager", docker->manager, "api_minimum", (int) docker->api_minimum, "api_maximum", (int) docker->api_maximum,
        "connections", (json_int_t) docker->owner.count, "idle", (json_int_t) docker->engine.idle_count, "streams",
        (json_int_t) docker->owner.streams.count, "request_window_bytes",
        (json_int_t) upstream_window_bytes (&docker->engine), "payload_used", (json_int_t) atomic_load (&budget->used),
        "payload_total", (json_int_t) budget->total, "requests", (json_int_t) docker->owner.counters.requests,
        "connects", (json_int_t) docker->owner.counters.connects, "reused", (json_int_t) docker->owner.counters.reused,
        "retried", (json_int_t) docker->owner.counters.retried, "failed", (json_int_t) docker->owner.counters.failed,
        "aborted", (json_int_t) docker->owner.counters.aborted, "upgrades",
        (json_int_t) docker->owner.counters.upgrades, "hung", (json_int_t) docker->counters.hung, "stalled",
        (json_int_t) docker->counters.stalled, "unknown_streams", (json_int_t) docker->owner.streams.unknown);
    if (state)
        json_object_set_new (state, "last_failure", json_string (docker->owner.last_failure));
    actor_report (docker->actor, message->envelope.from, state);
}

static void on_request (struct docker *docker, struct message *message)
{
    struct upstream_call call = {.request = &message->fields.request,
                                 .subject = message_subject (message),
                                 .frame = message->body,
                                 .unavailable = "Unable to proxy the request via the Docker socket"};
    upstream_begin (&docker->engine, &call);
}

static void on_message (void *self, struct message *message)
{
    struct docker *docker = self;
    switch (message->envelope.type)
    {
    case MESSAGE_request:
        on_request (docker, message);
        break;
    case MESSAGE_inspect:
        on_inspect (docker, message);
        break;
    case MESSAGE_rediscover:
        discovery_hurry (docker);
        break;
    default:
        upstream_on_message (&docker->owner, message);
    }
}

static void *start (struct actor *actor, const void *configuration)
{
    struct docker *docker = must (calloc (1, sizeof *docker));
    docker->actor = actor;
    docker->configuration = configuration;
    upstream_owner_init (&docker->owner, actor, configuration, &s_engine);
    docker->owner.connections_most = &docker->configuration->engine_connections;
    docker->owner.idle_most = IDLE_CONNECTIONS_MAX;
    docker->engine =
        (struct upstream){.owner = &docker->owner, .name = "the engine", .path = docker->configuration->docker_host};
    discovery_start (docker);
    return docker;
}

static void stop (void **self_p)
{
    struct docker *docker = *self_p;
    discovery_stop (docker);
    upstream_close_all (&docker->engine);
    upstream_owner_free (&docker->owner);
    free (docker);
    *self_p = NULL;
}

const struct actor_class docker_class = {.id = ACTOR_docker, .start = start, .message = on_message, .stop = stop};
