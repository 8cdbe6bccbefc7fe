/* router.c - the actor that decides who answers a request (contract section 6; the tables are in http/route.c).
 *
 * In       request, from auth; abort, which takes the request's way; engine, from docker; member, from membership;
 *          inspect
 * Out      request to docker, peers, gather, console and host; answers of its own to the client; rediscover to docker
 *
 * Without a Swarm every request is local and the target headers mean nothing. In a Swarm a request goes to the node
 * that it names, to a manager, or to all nodes. What another agent forwarded (Shoal-Hop) is served here or refused,
 * never forwarded again: so there is no loop, whatever the members believe of each other.
 *
 * A version prefix stays when the engine speaks that version and is dropped otherwise, because servers ask with
 * whatever version they were built for (contract 6.3). Another agent gets the target as it came: its engine may be
 * another one.
 */
#include "configuration.h"
#include "ensure.h"
#include "http/agent_fields.h"
#include "http/route.h"
#include "log.h"
#include "members.h"
#include "peers.h"
#include "placement.h"

#include <stdio.h>
#include <stdlib.h>

struct router
{
    struct actor *actor;
    unsigned api_minimum, api_maximum; /* 0: not known yet */
    char node[65], name[257];          /* of the own node; node is empty without a Swarm */
    bool manager;                      /* the own node is one */
    struct members members;
    char ambiguous[257]; /* the last name that was said to be several nodes' */
    struct
    {
        uint64_t docker, node, manager, list, agent, refused, stale, unknown, versions_dropped;
    } counters;
};

static const char s_no_agent[] = "The agent was unable to contact any other agent";

/* A request in hand: what was read off it once. */
struct routing
{
    struct message *message;
    const struct message_request *request;
    struct route_decision decision;
    struct subject subject;
    enum actor_id client;
    struct slice target; /* the node that the client named */
    bool hop;            /* another agent forwarded it */
};

/* --------------------------------------------------------------------------------------------------------- the ways */

static bool speaks (const struct router *router, unsigned version)
{
    return router->api_maximum && version >= router->api_minimum && version <= router->api_maximum;
}

/* To an actor that asks the own engine. */
static void send_local (struct router *router, struct routing *routing, enum actor_id to)
{
    if (!routing->decision.version || speaks (router, routing->decision.version))
    {
        actor_forward (router->actor, to, routing->message);
        return;
    }
    router->counters.versions_dropped++;
    routing->message->fields.request.target = routing->decision.unversioned;
    actor_send (router->actor, to, MESSAGE_request, &routing->subject, &routing->message->fields, NULL);
}

static void to_docker (struct router *router, struct routing *routing)
{
    router->counters.docker++;
    send_local (router, routing, ACTOR_docker);
}

static void to_peers (struct router *router, struct routing *routing, struct slice node)
{
    routing->message->fields.request.node = node;
    actor_send (router->actor, ACTOR_peers, MESSAGE_request, &routing->subject, &routing->message->fields, NULL);
}

/* What the sender believes of this node is not true any more. Nothing was done: the sender may ask elsewhere. */
static void refuse_stale (struct router *router, struct routing *routing, const char *what, const char *details)
{
    router->counters.stale++;
    answer_refusal (router->actor, routing->client, &routing->subject, 502, s_no_agent, details,
                    (struct header){FIELD_STALE, slice_from (what)});
}

static void to_manager (struct router *router, struct routing *routing)
{
    if (router->manager)
    {
        to_docker (router, routing);
        return;
    }
    if (routing->hop)
    {
        char details[400];
        snprintf (details, sizeof details, "Node %s is not a manager, as the agent that forwarded this believed",
                  router->name);
        actor_send (router->actor, ACTOR_docker, MESSAGE_rediscover, NULL, NULL, NULL);
        refuse_stale (router, routing, "role", details);
        return;
    }
    router->counters.manager++;
    to_peers (router, routing, SLICE (PEERS_MANAGER));
}

static bool is_own (const struct router *router, struct slice target)
{
    return slice_equal (target, slice_from (router->name)) || slice_equal (target, slice_from (router->node));
}

static void warn_of_ambiguity (struct router *router, const struct member *member)
{
    if (strcmp (router->ambiguous, member->name) == 0)
        return;
    snprintf (router->ambiguous, sizeof router->ambiguous, "%s", member->name);
    log_warn ("router", "several nodes are named %s: requests for that name go to %s; name a node's id instead",
              member->name, member->id);
}

static void refuse_unknown (struct router *router, struct routing *routing)
{
    router->counters.unknown++;
    answer_error (router->actor, routing->client, &routing->subject, 500, s_no_agent,
                  "Unable to find the targeted agent");
}

static void refuse_misdirected (struct router *router, struct routing *routing)
{
    char details[800];
    snprintf (details, sizeof details, "This is node %s, not %.*s, as the agent that forwarded this believed",
              router->name, (int) routing->target.len, routing->target.at);
    refuse_stale (router, routing, "name", details);
}

typedef void serve (struct router *router, struct routing *routing);

/* To the node that the request names, where `own` serves it when that is this node. */
static void to_node (struct router *router, struct routing *routing, serve *own)
{
    bool alone = !router->node[0];
    if (alone || routing->target.len == 0 || (routing->hop && is_own (router, routing->target)))
    {
        own (router, routing);
        return;
    }
    if (routing->hop)
    {
        refuse_misdirected (router, routing);
        return;
    }
    bool several;
    const struct member *member = members_by_target (&router->members, routing->target, &several);
    if (member ? member->own : is_own (router, routing->target))
    {
        own (router, routing);
        return;
    }
    if (!member)
    {
        refuse_unknown (router, routing);
        return;
    }
    if (several)
        warn_of_ambiguity (router, member);
    router->counters.node++;
    to_peers (router, routing, slice_from (member->id));
}

static void to_all (struct router *router, struct routing *routing)
{
    /* A branch of somebody's list carries the name of the node that it is for. */
    if (routing->hop || is_own (router, routing->target))
    {
        to_docker (router, routing);
        return;
    }
    router->counters.list++;
    send_local (router, routing, ACTOR_gather);
}

static void to_engine (struct router *router, struct routing *routing)
{
    struct slice operation = headers_find (routing->request->headers, FIELD_MANAGER_OPERATION);
    if (!router->node[0])
    {
        to_docker (router, routing);
        return;
    }
    switch (route_scope (routing->request->method, routing->decision.unversioned, operation))
    {
    case SCOPE_MANAGER:
        to_manager (router, routing);
        break;
    case SCOPE_CLUSTER:
        to_all (router, routing);
        break;
    default:
        to_node (router, routing, to_docker);
    }
}

/* ------------------------------------------------------------------------------------------------------ agent routes
 */

static json_t *agent_object (const struct member *member)
{
    char port[8];
    snprintf (port, sizeof port, "%u", member->port);
    return json_pack ("{ss ss ss ss sb}", "IPAddress", member->address, "Port", port, "NodeName", member->name,
                      "NodeRole", member->manager ? "manager" : "worker", "EdgeKeySet", member->key_set);
}

static void answer_agents (struct router *router, struct routing *routing)
{
    if (!router->node[0])
    {
        answer_error (router->actor, routing->client, &routing->subject, 503,
                      "Agent management is not available when running the agent on a standalone engine",
                      "Agent management is disabled");
        return;
    }
    json_t *list = json_array ();
    for (size_t index = 0; index < router->members.count; index++)
        json_array_append_new (list, agent_object (router->members.at[index]));
    char *text = must (json_dumps (list, JSON_COMPACT));
    answer (router->actor, routing->client, &routing->subject, 200, SLICE ("application/json"), slice_from (text),
            NULL);
    free (text);
    json_decref (list);
}

static void to_console (struct router *router, struct routing *routing)
{
    actor_forward (router->actor, ACTOR_console, routing->message);
}

static void to_host (struct router *router, struct routing *routing)
{
    actor_forward (router->actor, ACTOR_host, routing->message);
}

static void answer_unserved (struct router *router, struct routing *routing)
{
    router->counters.refused++;
    answer_error (router->actor, routing->client, &routing->subject, 501,
                  "This route is not part of this version of the agent", "Pull limits are not served");
}

static void on_request (struct router *router, struct message *message)
{
    const struct message_request *request = &message->fields.request;
    struct routing routing = {.message = message,
                              .request = request,
                              .decision = route_decide (request->method, request->target),
                              .subject = message_subject (message),
                              .client = (enum actor_id) request->client,
                              .target = headers_find (request->headers, FIELD_TARGET),
                              .hop = headers_find (request->headers, FIELD_HOP).len > 0};
    struct actor *actor = router->actor;
    if (routing.decision.route == ROUTE_DOCKER)
    {
        to_engine (router, &routing);
        return;
    }
    router->counters.agent++;
    switch (routing.decision.route)
    {
    case ROUTE_PING:
        answer (actor, routing.client, &routing.subject, 204, SLICE (""), SLICE (""), NULL);
        break;
    case ROUTE_KEY:
        answer_error (actor, routing.client, &routing.subject, 503, "Edge key management is disabled on non Edge agent",
                      "Edge key management is disabled");
        break;
    case ROUTE_AGENTS:
        answer_agents (router, &routing);
        break;
    case ROUTE_BROWSE:
    case ROUTE_HOST_INFO:
        to_node (router, &routing, to_host);
        break;
    case ROUTE_WEBSOCKET:
        to_node (router, &routing, to_console);
        break;
    case ROUTE_NOT_FOUND:
        answer (actor, routing.client, &routing.subject, 404, SLICE ("text/plain; charset=utf-8"),
                SLICE ("404 page not found\n"), NULL);
        break;
    case ROUTE_METHOD_NOT_ALLOWED:
        answer (actor, routing.client, &routing.subject, 405, SLICE (""), SLICE (""), routing.decision.allow);
        break;
    default:
        answer_unserved (router, &routing);
    }
}

/* ---------------------------------------------------------------------------------------------------------- messages
 */

static void on_engine (struct router *router, const struct message_engine *engine)
{
    /* What was learned stays true while the engine is away. */
    if (!engine->api_maximum)
        return;
    router->api_minimum = (unsigned) engine->api_minimum;
    router->api_maximum = (unsigned) engine->api_maximum;
    router->manager = engine->manager;
    snprintf (router->node, sizeof router->node, "%.*s", (int) engine->node.len, engine->node.at);
    snprintf (router->name, sizeof router->name, "%.*s", (int) engine->name.len, engine->name.at);
}

/* The stream's end takes the request's way; whoever has the stream ends it, the others do not know its id. */
static void on_abort (struct router *router, struct message *message)
{
    static const enum actor_id answering[] = {ACTOR_docker, ACTOR_peers, ACTOR_gather, ACTOR_console, ACTOR_host};
    struct subject subject = message_subject (message);
    for (size_t index = 0; index < sizeof answering / sizeof *answering; index++)
        actor_send (router->actor, answering[index], MESSAGE_abort, &subject, &message->fields, NULL);
}

static void on_inspect (struct router *router, struct message *message)
{
    actor_report (
        router->actor, message->envelope.from,
        json_pack ("{sI sI sI sI sI sI sI sI sI sI}", "docker", (json_int_t) router->counters.docker, "node",
                   (json_int_t) router->counters.node, "manager", (json_int_t) router->counters.manager, "list",
                   (json_int_t) router->counters.list, "agent", (json_int_t) router->counters.agent, "not_implemented",
                   (json_int_t) router->counters.refused, "stale", (json_int_t) router->counters.stale,
                   "unknown_target", (json_int_t) router->counters.unknown, "versions_dropped",
                   (json_int_t) router->counters.versions_dropped, "members", (json_int_t) router->members.count));
}

static void on_message (void *self, struct message *message)
{
    struct router *router = self;
    switch (message->envelope.type)
    {
    case MESSAGE_request:
        on_request (router, message);
        break;
    case MESSAGE_abort:
        on_abort (router, message);
        break;
    case MESSAGE_engine:
        on_engine (router, &message->fields.engine);
        break;
    case MESSAGE_member:
        members_update (&router->members, &message->fields.member);
        break;
    case MESSAGE_inspect:
        on_inspect (router, message);
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
    struct router *router = *self_p;
    members_free (&router->members);
    free (router);
    *self_p = NULL;
}

const struct actor_class router_class = {.id = ACTOR_router, .start = start, .message = on_message, .stop = stop};
