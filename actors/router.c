/* router.c - the actor that decides who answers a request (contract section 6; the tables are in http/route.c).
 *
 * In       request, from auth; abort, which takes the request's way; engine, from docker; inspect
 * Out      request and abort to docker and host; answers of its own to ingress
 *
 * On one node every Docker request is local and the agent's target headers mean nothing. A version prefix stays when
 * the engine speaks that version and is dropped otherwise, because servers ask with whatever version they were built
 * for (contract 6.3).
 */
#include "configuration.h"
#include "ensure.h"
#include "http/route.h"
#include "log.h"
#include "placement.h"

#include <stdlib.h>

struct router
{
    struct actor *actor;
    unsigned api_minimum, api_maximum; /* 0: not known yet */
    bool swarm;
    struct
    {
        uint64_t docker, agent, refused, versions_dropped;
    } counters;
};

static void to_docker (struct router *router, struct message *message, const struct route_decision *decision)
{
    router->counters.docker++;
    bool spoken =
        router->api_maximum && decision->version >= router->api_minimum && decision->version <= router->api_maximum;
    if (!decision->version || spoken)
    {
        actor_forward (router->actor, ACTOR_docker, message);
        return;
    }
    router->counters.versions_dropped++;
    message->fields.request.target = decision->unversioned;
    struct subject subject = message_subject (message);
    actor_send (router->actor, ACTOR_docker, MESSAGE_request, &subject, &message->fields, NULL);
}

static void on_request (struct router *router, struct message *message)
{
    struct message_request *request = &message->fields.request;
    struct route_decision decision = route_decide (request->method, request->target);
    struct subject subject = message_subject (message);
    struct actor *actor = router->actor;
    if (decision.route == ROUTE_DOCKER)
    {
        to_docker (router, message, &decision);
        return;
    }
    router->counters.agent++;
    enum actor_id client = (enum actor_id) request->client;
    switch (decision.route)
    {
    case ROUTE_PING:
        answer (actor, client, &subject, 204, SLICE (""), SLICE (""), NULL);
        break;
    case ROUTE_KEY:
        answer_error (actor, client, &subject, 503, "Edge key management is disabled on non Edge agent",
                      "Edge key management is disabled");
        break;
    case ROUTE_AGENTS:
        if (router->swarm)
            answer_error (actor, client, &subject, 501, "Agent management is not part of this version of the agent",
                          "This agent answers for its own node only");
        else
            answer_error (actor, client, &subject, 503,
                          "Agent management is not available when running the agent on a standalone engine",
                          "Agent management is disabled");
        break;
    case ROUTE_BROWSE:
    case ROUTE_HOST_INFO:
        actor_forward (actor, ACTOR_host, message);
        break;
    case ROUTE_NOT_FOUND:
        answer (actor, client, &subject, 404, SLICE ("text/plain; charset=utf-8"), SLICE ("404 page not found\n"),
                NULL);
        break;
    case ROUTE_METHOD_NOT_ALLOWED:
        answer (actor, client, &subject, 405, SLICE (""), SLICE (""), decision.allow);
        break;
    default:
        router->counters.refused++;
        answer_error (actor, client, &subject, 501, "This route is not part of this version of the agent",
                      "Consoles over WebSocket and pull limits are not served");
    }
}

static void abort_everywhere (struct router *router, struct message *message)
{
    static const enum actor_id others[] = {ACTOR_host};
    struct subject subject = message_subject (message);
    for (size_t index = 0; index < sizeof others / sizeof *others; index++)
        actor_send (router->actor, others[index], MESSAGE_abort, &subject, &message->fields, NULL);
    actor_forward (router->actor, ACTOR_docker, message);
}

static void on_engine (struct router *router, const struct message_engine *engine)
{
    /* What was learned stays true while the engine is away. */
    if (!engine->api_maximum)
        return;
    router->api_minimum = (unsigned) engine->api_minimum;
    router->api_maximum = (unsigned) engine->api_maximum;
    router->swarm = engine->node.len > 0;
}

static void on_message (void *self, struct message *message)
{
    struct router *router = self;
    switch (message->envelope.type)
    {
    case MESSAGE_request:
        on_request (router, message);
        break;
    case MESSAGE_abort: /* whoever has the stream ends it; the others do not know the id */
        abort_everywhere (router, message);
        break;
    case MESSAGE_engine:
        on_engine (router, &message->fields.engine);
        break;
    case MESSAGE_inspect:
        actor_report (router->actor, message->envelope.from,
                      json_pack ("{sI sI sI sI}", "docker", (json_int_t) router->counters.docker, "agent",
                                 (json_int_t) router->counters.agent, "not_implemented",
                                 (json_int_t) router->counters.refused, "versions_dropped",
                                 (json_int_t) router->counters.versions_dropped));
        break;
    default:
        log_error ("router", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
}

static void *start (struct actor *actor, const void *configuration)
{
    (void) configuration;
    struct router *router = must (calloc (1, sizeof *router));
    router->actor = actor;
    return router;
}

static void stop (void **self_p)
{
    free (*self_p);
    *self_p = NULL;
}

const struct actor_class router_class = {.id = ACTOR_router, .start = start, .message = on_message, .stop = stop};
