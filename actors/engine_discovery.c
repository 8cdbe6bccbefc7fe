/* engine_discovery.c - what the agent asks the engine for itself (contract section 2), without ever waiting for it.
 *
 *     GET /version ─▶ GET /info ─▶ GET /containers/<own host name>/json ─▶ GET /networks/<id> for each of its networks
 * ─▶ known
 *
 * No version is written into these paths: engines of any age answer them. Whatever fails, the agent serves: an engine
 * that is not there is looked for again every second, an own container that is not there only means that no address is
 * known. What was learned goes to the router (versions) and to ingress (address) as one message.
 *
 * The watchdog answers requests with 504 when the engine has accepted them and is silent, and is silent to /_ping as
 * well. A request alone may take as long as it likes: a wait or a pull says nothing for hours.
 *
 * It also ends raw streams that are over but for input which nobody will ever read. When a container ends, the engine
 * ends its side of the stream and forgets the other: it neither reads nor closes until its garbage collector comes by.
 * That the client has gone cannot be seen, because its end stands behind that input.
 */
#include "docker.h"

#include "ensure.h"
#include "http/url.h"
#include "log.h"
#include "placement.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum
{
    DISCOVER_AGAIN_TIME = 1000, /* ms until the engine is looked for again, plus up to a quarter */
    REFRESH_TIME = 60000,       /* ms; a standalone engine may join a Swarm */
    SWARM_REFRESH_TIME = 10000, /* ms; the role of a Swarm node may change, and managers are where requests go */
    HURRY_TIME = 1000,          /* ms between two questions, however many want to know */
    ANSWER_TIME = 10000,        /* ms that the engine has for a question of ours */
};

static const struct engine_times s_times = {.look = 5000, .silence = 20000, .answer = ANSWER_TIME, .stall = 10000};

enum step
{
    STEP_NONE,
    STEP_VERSION,
    STEP_INFO,
    STEP_CONTAINER,
    STEP_NETWORK,
};

static void discover (struct timer *timer);
static void ask_network (struct docker *docker);

static void publish (struct docker *docker)
{
    union message_fields fields = {.engine = {.reachable = docker->reachable,
                                              .api_minimum = docker->api_minimum,
                                              .api_maximum = docker->api_maximum,
                                              .name = slice_from (docker->name),
                                              .node = slice_from (docker->node),
                                              .manager = docker->manager,
                                              .address = slice_from (docker->address),
                                              .service = slice_from (docker->service)}};
    static const enum actor_id told[] = {ACTOR_router,     ACTOR_ingress, ACTOR_control,
                                         ACTOR_membership, ACTOR_peers,   ACTOR_gather};
    for (size_t index = 0; index < sizeof told / sizeof *told; index++)
        if (actor_is_there (docker->actor, told[index]))
            actor_send (docker->actor, told[index], MESSAGE_engine, NULL, &fields, NULL);
}

static void again (struct docker *docker, uint64_t time)
{
    docker->step = STEP_NONE;
    timer_set (docker->actor, &docker->discover_again, time + actor_random (docker->actor) % (time / 4), discover);
}

static void fail (struct docker *docker, const char *why)
{
    if (!docker->said_unreachable)
        log_warn ("docker", "no engine: %s; looking for it every second", why);
    docker->said_unreachable = true;
    docker->reachable = false;
    snprintf (docker->owner.last_failure, sizeof docker->owner.last_failure, "%s", why);
    publish (docker);
    again (docker, DISCOVER_AGAIN_TIME);
}

static void finish (struct docker *docker)
{
    json_decref (docker->networks);
    docker->networks = NULL;
    if (!docker->reachable)
        log_info ("docker", "engine %s speaks API %u.%u to %u.%u, %s%s%s", docker->name, docker->api_minimum / 1000,
                  docker->api_minimum % 1000, docker->api_maximum / 1000, docker->api_maximum % 1000,
                  !docker->node[0]  ? "standalone"
                  : docker->manager ? "Swarm manager"
                                    : "Swarm worker",
                  docker->address[0] ? ", advertised address " : "", docker->address);
    docker->reachable = true;
    docker->said_unreachable = false;
    publish (docker);
    again (docker, docker->node[0] ? SWARM_REFRESH_TIME : REFRESH_TIME);
}

/* ---------------------------------------------------------------------------------------------------------- the steps
 */

static void copy_text (char *out, size_t size, json_t *text)
{
    snprintf (out, size, "%s", json_is_string (text) ? json_string_value (text) : "");
}

/* `1.41` is 1041; 0 when it is not a version. */
static unsigned version_number (json_t *text)
{
    size_t bytes = 0;
    char prefix[16];
    if (!json_is_string (text))
        return 0;
    snprintf (prefix, sizeof prefix, "/v%s", json_string_value (text));
    unsigned number = url_version_prefix (slice_from (prefix), &bytes);
    return bytes == strlen (prefix) ? number : 0;
}

static void on_version (struct docker *docker, json_t *version)
{
    docker->api_maximum = version_number (json_object_get (version, "ApiVersion"));
    docker->api_minimum = version_number (json_object_get (version, "MinAPIVersion"));
    docker->step = STEP_INFO;
    upstream_ask (&docker->engine, &docker->discovery, "/info");
}

/* The host name of a container is its id, unless it was given another one; then no address is known, and nothing else
 * suffers. */
static bool host_name_is_plain (const char *name)
{
    return name[0] &&
           strspn (name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == strlen (name);
}

static void on_info (struct docker *docker, json_t *info)
{
    json_t *swarm = json_object_get (info, "Swarm");
    copy_text (docker->name, sizeof docker->name, json_object_get (info, "Name"));
    copy_text (docker->node, sizeof docker->node, json_object_get (swarm, "NodeID"));
    docker->manager = json_is_true (json_object_get (swarm, "ControlAvailable"));
    /* In a Swarm the container also says which service's it is, and so where the other agents are. */
    bool told = docker->configuration->advertise_address[0];
    if (told)
        snprintf (docker->address, sizeof docker->address, "%s", docker->configuration->advertise_address);
    if (host_name_is_plain (docker->host_name) && (!told || docker->node[0]))
    {
        char target[300];
        snprintf (target, sizeof target, "/containers/%s/json", docker->host_name);
        docker->step = STEP_CONTAINER;
        upstream_ask (&docker->engine, &docker->discovery, target);
        return;
    }
    finish (docker);
}

static void on_container (struct docker *docker, json_t *container)
{
    json_t *networks = json_object_get (json_object_get (container, "NetworkSettings"), "Networks");
    json_t *labels = json_object_get (json_object_get (container, "Config"), "Labels");
    copy_text (docker->service, sizeof docker->service, json_object_get (labels, "com.docker.swarm.service.name"));
    bool wanted = json_is_object (networks) && !docker->configuration->advertise_address[0];
    docker->networks = wanted ? json_deep_copy (networks) : NULL;
    ask_network (docker);
}

/* Networks are looked at in the order of their names, so that several of them always give the same address. */
static const char *first_name (json_t *networks)
{
    const char *first = NULL, *name;
    json_t *network;
    json_object_foreach (networks, name, network) if (!first || strcmp (name, first) < 0) first = name;
    return first;
}

static void ask_network (struct docker *docker)
{
    const char *name = docker->networks ? first_name (docker->networks) : NULL;
    char id[80], target[120];
    if (!name)
    {
        finish (docker);
        return;
    }
    copy_text (id, sizeof id, json_object_get (json_object_get (docker->networks, name), "NetworkID"));
    snprintf (target, sizeof target, "/networks/%s", host_name_is_plain (id) ? id : "none");
    docker->step = STEP_NETWORK;
    upstream_ask (&docker->engine, &docker->discovery, target);
}

/* The first network that is not the ingress mesh, and in a Swarm spans it, gives the address (contract 2, step 4). */
static void on_network (struct docker *docker, json_t *network)
{
    const char *name = first_name (docker->networks);
    json_t *address = json_object_get (json_object_get (docker->networks, name), "IPAddress");
    json_t *scope = json_object_get (network, "Scope");
    bool spans = !docker->node[0] || (json_is_string (scope) && strcmp (json_string_value (scope), "swarm") == 0);
    bool good = network && !json_is_true (json_object_get (network, "Ingress")) && spans && json_is_string (address) &&
                json_string_length (address) > 0;
    if (good)
    {
        copy_text (docker->address, sizeof docker->address, address);
        finish (docker);
        return;
    }
    json_object_del (docker->networks, name);
    ask_network (docker);
}

static void on_answer (void *self, struct inquiry *inquiry, unsigned status, struct slice text)
{
    (void) inquiry;
    struct docker *docker = self;
    char why[200];
    if (status == 0)
    {
        snprintf (why, sizeof why, "%.*s", (int) text.len, text.at);
        fail (docker, why);
        return;
    }
    json_t *object = status == 200 ? json_loadb (text.at, text.len, 0, NULL) : NULL;
    unsigned step = docker->step;
    if (!json_is_object (object) && (step == STEP_VERSION || step == STEP_INFO))
    {
        snprintf (why, sizeof why, "GET %s was answered with status %u and no JSON object",
                  step == STEP_VERSION ? "/version" : "/info", status);
        fail (docker, why);
    }
    else if (step == STEP_VERSION)
        on_version (docker, object);
    else if (step == STEP_INFO)
        on_info (docker, object);
    else if (step == STEP_CONTAINER)
        on_container (docker, object);
    else if (step == STEP_NETWORK)
        on_network (docker, object);
    json_decref (object);
}

static void discover (struct timer *timer)
{
    struct docker *docker = OWNER (timer, struct docker, discover_again);
    docker->discovery.done = on_answer;
    timer_set (docker->actor, timer, ANSWER_TIME, discover);
    if (docker->step != STEP_NONE && docker->discovery.connection)
    {
        upstream_drop_question (&docker->discovery);
        fail (docker, "the engine does not answer");
        return;
    }
    /* What versions it speaks does not change while it runs; asking costs the engine two processes. */
    bool known = docker->reachable && docker->api_maximum;
    docker->step = known ? STEP_INFO : STEP_VERSION;
    docker->asked = actor_now (docker->actor);
    upstream_ask (&docker->engine, &docker->discovery, known ? "/info" : "/version");
}

void discovery_hurry (struct docker *docker)
{
    uint64_t now = actor_now (docker->actor), due = docker->asked + HURRY_TIME;
    if (docker->step != STEP_NONE || !docker->reachable || !docker->node[0] || docker->discover_again.at <= due)
        return;
    timer_set (docker->actor, &docker->discover_again, due > now ? due - now : 0, discover);
}

void discovery_engine_lost (struct docker *docker, const char *why)
{
    if (!docker->reachable || docker->step != STEP_NONE)
        return;
    log_warn ("docker", "the engine may be gone: %s", why);
    docker->reachable = false;
    publish (docker);
    timer_set (docker->actor, &docker->discover_again, 0, discover);
}

/* ---------------------------------------------------------------------------------------------------------- watchdog
 */

static void on_alive (void *self, struct inquiry *inquiry, unsigned status, struct slice text)
{
    (void) self, (void) inquiry, (void) status, (void) text;
}

static bool is_silent (const struct docker *docker, const struct upstream_connection *connection)
{
    return !connection->inquiry && !connection->head_done && connection->request_done &&
           actor_now (docker->actor) - connection->begun >= docker->times.silence;
}

static void give_up_silent (struct docker *docker)
{
    struct upstream_connection *next;
    for (struct upstream_connection *connection = docker->engine.busy; connection; connection = next)
    {
        next = connection->next;
        if (!is_silent (docker, connection))
            continue;
        docker->counters.hung++;
        upstream_fail (connection, 504, "the engine took the request and does not answer, not even to /_ping");
    }
}

/* Whether the engine has ended its side of a raw stream, and not read a byte of the other since then or for the time of
 * a stall. */
static bool is_stalled (struct docker *docker, struct upstream_connection *connection, uint64_t now)
{
    int unread = 0;
    bool over = connection->state == UPSTREAM_RAW && connection->answer_ended;
    if (!over || ioctl (connection->fd, SIOCOUTQ, &unread) < 0 || unread == 0)
        connection->unread_from = 0;
    else if (connection->unread_from == 0 || unread != connection->unread)
        connection->unread_from = now;
    connection->unread = unread;
    return connection->unread_from && now - connection->unread_from >= docker->times.stall;
}

static void end_stalled (struct docker *docker, uint64_t now)
{
    struct upstream_connection *next;
    for (struct upstream_connection *connection = docker->engine.busy; connection; connection = next)
    {
        next = connection->next;
        if (!is_stalled (docker, connection, now))
            continue;
        docker->counters.stalled++;
        upstream_abort (connection, "the engine ended the stream and reads no more of it");
    }
}

static void watchdog (struct timer *timer)
{
    struct docker *docker = OWNER (timer, struct docker, watchdog);
    uint64_t now = actor_now (docker->actor);
    timer_set (docker->actor, timer, docker->times.look, watchdog);
    end_stalled (docker, now);
    if (docker->probe.connection)
    {
        if (now - docker->probe_begun < docker->times.answer)
            return;
        upstream_drop_question (&docker->probe);
        give_up_silent (docker);
        return;
    }
    for (const struct upstream_connection *connection = docker->engine.busy; connection; connection = connection->next)
        if (is_silent (docker, connection))
        {
            docker->probe_begun = now;
            docker->probe.done = on_alive;
            upstream_ask (&docker->engine, &docker->probe, "/_ping");
            return;
        }
}

void discovery_start (struct docker *docker)
{
    if (gethostname (docker->host_name, sizeof docker->host_name - 1) < 0)
        docker->host_name[0] = '\0';
    docker->discovery.self = docker->probe.self = docker;
    timer_set (docker->actor, &docker->discover_again, 0, discover);
    docker->times = docker->configuration->engine_times ? *docker->configuration->engine_times : s_times;
    timer_set (docker->actor, &docker->watchdog, docker->times.look, watchdog);
}

void discovery_stop (struct docker *docker)
{
    timer_clear (&docker->discover_again);
    timer_clear (&docker->watchdog);
    upstream_drop_question (&docker->discovery);
    upstream_drop_question (&docker->probe);
    json_decref (docker->networks);
    docker->networks = NULL;
}
