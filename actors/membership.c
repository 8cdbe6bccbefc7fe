/* membership.c - the actor that knows who belongs to the cluster.
 *
 * Owns     the gossip with the other agents: the state machine (gossip/swim.h), its transport, the join names
 * In       engine, from docker: who and where this agent is; identity, from ingress: its TLS key; stop, from control;
 *          inspect
 * Out      member to router, peers and gather: this agent as soon as its node is known, another one when it has
 *          answered and again when something about it changes
 * Limits   those of its parts; members: SWIM_MEMBERS_MAX
 * Timers   the state machine's; the resolver's; listening again when the port is taken
 *
 * Nothing is opened while the engine is in no Swarm. A node that leaves its Swarm leaves the cluster; one that enters
 * another begins anew under its new id. Whatever fails, the agent serves its own node.
 */
#include "membership.h"

#include "ensure.h"
#include "local_address.h"
#include "log.h"
#include "placement.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

enum
{
    BEGIN_AGAIN_TIME = 10000, /* ms */
    CLAIMS_SUSPICIOUS = 3,    /* claims of the own node by others, until somebody is told */
    NAME_PATIENCE = 10000,    /* ms in which a service's name need not be there */
    SEEKING_TIME = 1000,      /* ms between two rounds of names while somebody is missing, */
    SETTLED_TIME = 10000, /* and while nobody is: each a quarter more or less, so that agents do not march in step */
};

static void begin_cluster (struct membership *membership);

static void copy (char *out, size_t size, struct slice text)
{
    snprintf (out, size, "%.*s", (int) text.len, text.len ? text.at : "");
}

/* ------------------------------------------------------------------------------------------------- what others are
 * told
 */

static bool is_same (const struct member *known, const struct message_member *news)
{
    return known && news->usable && known->instance == news->instance && known->suspected == news->suspected &&
           known->manager == news->manager && known->key_set == news->key_set && known->port == news->port &&
           slice_equal (slice_from (known->name), news->name) &&
           slice_equal (slice_from (known->address), news->address) &&
           slice_equal (slice_from (known->tls_key), news->tls_key) &&
           slice_equal (slice_from (known->version), news->version);
}

static void publish (struct membership *membership, const struct swim_identity *identity, enum swim_state state)
{
    static const enum actor_id told[] = {ACTOR_router, ACTOR_peers, ACTOR_gather};
    bool own = strcmp (identity->id, membership->own.id) == 0;
    bool usable = state == SWIM_ALIVE || state == SWIM_SUSPECT;
    union message_fields fields = {.member = {.usable = usable,
                                              .lost = state == SWIM_DEAD,
                                              .own = own,
                                              .suspected = state == SWIM_SUSPECT,
                                              .id = slice_from (identity->id),
                                              .instance = identity->instance,
                                              .name = slice_from (identity->name),
                                              .manager = identity->manager,
                                              .address = slice_from (identity->address),
                                              .port = identity->port,
                                              .key_set = identity->key_set,
                                              .tls_key = slice_from (identity->tls_key),
                                              .version = slice_from (identity->version)}};
    const struct member *known = members_by_id (&membership->published, fields.member.id);
    if ((!known && !usable) || is_same (known, &fields.member))
        return;
    members_update (&membership->published, &fields.member);
    for (size_t index = 0; index < sizeof told / sizeof *told; index++)
        if (actor_is_there (membership->actor, told[index]))
            actor_send (membership->actor, told[index], MESSAGE_member, NULL, &fields, NULL);
}

static void publish_own (struct membership *membership)
{
    publish (membership, &membership->own, SWIM_ALIVE);
}

/* Nobody is a member any more. */
static void unpublish_all (struct membership *membership)
{
    while (membership->published.count)
    {
        struct swim_identity gone = {.id = ""};
        const struct member *member = membership->published.at[0];
        snprintf (gone.id, sizeof gone.id, "%s", member->id);
        gone.instance = member->instance;
        publish (membership, &gone, SWIM_LEFT);
    }
}

/* ------------------------------------------------------------------------------------------------------ the state
 * machine
 */

static void on_tick (struct timer *timer);

static void tick (struct membership *membership)
{
    uint64_t now = actor_now (membership->actor), next = swim_tick (membership->swim, now);
    timer_set (membership->actor, &membership->tick, next > now ? next - now : 0, on_tick);
}

static void on_tick (struct timer *timer)
{
    tick (OWNER (timer, struct membership, tick));
}

static void on_send (void *context, const char *address, uint16_t port, struct slice bytes)
{
    struct membership *membership = context;
    transport_send (membership->transport, address, port, bytes);
}

static void on_changed (void *context, const struct swim_member *member)
{
    static const char *const words[] = {"was heard of", "is there", "does not answer", "is gone", "has left"};
    struct membership *membership = context;
    const struct swim_identity *identity = &member->identity;
    const struct member *known = members_by_id (&membership->published, slice_from (identity->id));
    bool usable = member->state == SWIM_ALIVE || member->state == SWIM_SUSPECT;
    bool news = usable != (known != NULL) || (known && known->suspected != (member->state == SWIM_SUSPECT));
    if (news && member->state != SWIM_JOINING)
        log_line (member->state == SWIM_DEAD ? LOG_WARN : LOG_INFO, "membership", "node %s (%s) at %s %s",
                  identity->name, identity->id, identity->address, words[member->state]);
    publish (membership, identity, member->state);
}

/* Once is what an older agent of this node has left behind, under a clock that went ahead; again and again is one that
 * lives, and says the same of us. */
static void on_own_changed (void *context, const struct swim_member *own)
{
    struct membership *membership = context;
    membership->claims++;
    if (membership->claims == CLAIMS_SUSPICIOUS)
        log_warn (
            "membership",
            "another agent runs on this node (%s) and both claim it: requests reach one or the other. Stop one of "
            "them: a service that is there twice, or an old container",
            own->identity.id);
    membership->own.instance = own->identity.instance;
    membership->instance_least = own->identity.instance + 1;
    publish_own (membership);
}

static void on_packet (void *context, const char *from, struct slice bytes)
{
    struct membership *membership = context;
    if (membership->leaving)
        return;
    swim_receive (membership->swim, from, bytes, actor_now (membership->actor));
    tick (membership);
}

/* ---------------------------------------------------------------------------------------------------------- join names
 */

static bool is_own (const struct membership *membership, const struct resolved *resolved)
{
    return resolved->port == membership->own.gossip_port && strcmp (resolved->address, membership->own.address) == 0;
}

/* Ours as well, though not the one that the others know. */
static bool is_alias (const struct membership *membership, const struct resolved *resolved)
{
    return resolved->port == membership->own.gossip_port && address_is_local (resolved->address);
}

static bool is_live (const struct membership *membership, const struct resolved *resolved)
{
    size_t count = swim_count (membership->swim);
    for (size_t index = 0; index < count; index++)
    {
        const struct swim_member *member = swim_at (membership->swim, index);
        if ((member->state == SWIM_ALIVE || member->state == SWIM_SUSPECT) &&
            member->identity.gossip_port == resolved->port && strcmp (member->identity.address, resolved->address) == 0)
            return true;
    }
    return false;
}

static bool is_six (const char *address)
{
    return strchr (address, ':') != NULL;
}

/* An agent may have addresses of both families, and is known by one: those like our own count, if there are any. */
static bool has_own_family (const struct membership *membership)
{
    size_t count = resolver_count (membership->resolver);
    for (size_t index = 0; index < count; index++)
    {
        const struct resolved *resolved = resolver_at (membership->resolver, index);
        if (is_six (resolved->address) == is_six (membership->own.address) && !is_own (membership, resolved))
            return true;
    }
    return false;
}

static uint64_t on_resolved (void *context)
{
    struct membership *membership = context;
    bool one_family = has_own_family (membership);
    size_t missing = 0, others = 0, count = resolver_count (membership->resolver);
    for (size_t index = 0; index < count; index++)
    {
        const struct resolved *resolved = resolver_at (membership->resolver, index);
        if ((one_family && is_six (resolved->address) != is_six (membership->own.address)) ||
            is_own (membership, resolved))
            continue;
        bool live = is_live (membership, resolved);
        if (!live && is_alias (membership, resolved))
            continue;
        others++;
        if (live)
            continue;
        missing++;
        membership->joins++;
        swim_join (membership->swim, resolved->address, resolved->port, actor_now (membership->actor));
    }
    tick (membership);
    uint64_t pause = missing || !others ? SEEKING_TIME : SETTLED_TIME;
    return pause * 3 / 4 + actor_random (membership->actor) % (pause / 2);
}

/* Without a secret: asks the name server at once when it did not tell of this address; it may be new. */
static bool on_expected (void *context, const char *address)
{
    struct membership *membership = context;
    if (!membership->resolver)
        return false;
    if (resolver_knows (membership->resolver, address))
        return true;
    resolver_hurry (membership->resolver);
    return false;
}

static void begin_resolving (struct membership *membership)
{
    struct join_name names[JOIN_NAMES_MAX];
    char standard[300] = "";
    const char *text = membership->configuration->cluster_address, *error = "";
    if (!text[0] && membership->service[0])
    {
        snprintf (standard, sizeof standard, "tasks.%s", membership->service);
        text = standard;
    }
    int count = join_names_parse (text, membership->configuration->cluster_port, names, &error);
    if (count > 0)
    {
        log_info ("membership", "looking for other agents under %s", text);
        membership->resolver =
            resolver_new (membership->actor, names, (size_t) count, NAME_PATIENCE, on_resolved, membership);
    }
    else
        log_warn (
            "membership",
            "does not look for other agents: this container is of no Swarm service, and AGENT_CLUSTER_ADDR is not "
            "set to the names or addresses of all agents%s",
            membership->configuration->secret[0] ? "" : "; without AGENT_SECRET nobody else may join either");
}

/* ----------------------------------------------------------------------------------------------------- life and death
 */

static struct swim_parameters parameters_of (const struct configuration *configuration)
{
    struct swim_parameters parameters = swim_standard ();
    uint32_t interval = (uint32_t) configuration->probe_interval;
    parameters.suspicion_least =
        (uint32_t) ((uint64_t) parameters.suspicion_least * interval / parameters.probe_interval);
    parameters.suspicion_most =
        (uint32_t) ((uint64_t) parameters.suspicion_most * interval / parameters.probe_interval);
    parameters.probe_interval = interval;
    parameters.probe_timeout = (uint32_t) configuration->probe_timeout;
    return parameters;
}

static uint64_t new_instance (const struct membership *membership)
{
    struct timespec now;
    clock_gettime (CLOCK_REALTIME, &now);
    uint64_t instance = (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
    return instance > membership->instance_least ? instance : membership->instance_least;
}

static bool open_transport (struct membership *membership)
{
    static const struct transport_callbacks callbacks = {on_packet, on_expected};
    const struct configuration *configuration = membership->configuration;
    struct transport_options options = {.open = !configuration->secret[0],
                                        .address = membership->own.address,
                                        .port = configuration->cluster_port,
                                        .packet_bytes_max = SWIM_PACKET_MAX};
    cluster_keys_derive (&options.keys, configuration->secret);
    membership->transport = transport_new (membership->actor, &options, &callbacks, membership);
    int error = errno;
    cluster_keys_wipe (&options.keys);
    if (membership->transport)
        return true;
    char trouble[sizeof membership->trouble];
    snprintf (trouble, sizeof trouble, "cannot listen on port %u: %s%s", configuration->cluster_port, strerror (error),
              error == EADDRINUSE ? " (outside of a container dockerd itself has 7946: set AGENT_CLUSTER_PORT on all "
                                    "agents)"
                                  : "");
    if (strcmp (trouble, membership->trouble) != 0)
        log_error ("membership", "this agent stays alone, and tries again every 10 s: %s", trouble);
    snprintf (membership->trouble, sizeof membership->trouble, "%s", trouble);
    return false;
}

static void on_begin_again (struct timer *timer)
{
    begin_cluster (OWNER (timer, struct membership, begin_again));
}

static void begin_cluster (struct membership *membership)
{
    static const struct swim_callbacks callbacks = {on_send, on_changed, on_own_changed};
    const struct configuration *configuration = membership->configuration;
    if (membership->swim || membership->leaving)
        return;
    if (!open_transport (membership))
    {
        timer_set (membership->actor, &membership->begin_again, BEGIN_AGAIN_TIME, on_begin_again);
        return;
    }
    membership->trouble[0] = '\0';
    struct swim_parameters parameters = parameters_of (configuration);
    membership->swim = swim_new (&parameters, &membership->own, &callbacks, membership, actor_now (membership->actor),
                                 actor_random (membership->actor));
    log_info ("membership", "gossips as node %s (%s) on %s port %u, %s", membership->own.name, membership->own.id,
              membership->own.address, configuration->cluster_port,
              configuration->secret[0] ? "with agents that have the same secret"
                                       : "encrypted, but open to every agent at an address that AGENT_CLUSTER_ADDR "
                                         "resolves to: there is no AGENT_SECRET");
    begin_resolving (membership);
    tick (membership);
}

/* Says good-bye; the packets leave while the transport still lives. */
static void leave (struct membership *membership)
{
    if (!membership->swim || membership->leaving)
        return;
    swim_leave (membership->swim, actor_now (membership->actor));
    resolver_destroy (&membership->resolver);
    tick (membership); /* it is said again to those who may not have heard it, for as long as the agent still lives */
}

static void end_cluster (struct membership *membership)
{
    leave (membership);
    timer_clear (&membership->tick);
    timer_clear (&membership->begin_again);
    transport_destroy (&membership->transport);
    swim_destroy (&membership->swim);
}

/* ----------------------------------------------------------------------------------------------------------- messages
 */

static bool take_engine (struct membership *membership, const struct message_engine *engine)
{
    struct swim_identity *own = &membership->own, before = *own;
    copy (own->id, sizeof own->id, engine->node);
    copy (own->name, sizeof own->name, engine->name);
    copy (own->address, sizeof own->address, engine->address);
    own->manager = engine->manager;
    own->port = membership->configuration->port;
    own->gossip_port = membership->configuration->cluster_port;
    snprintf (own->version, sizeof own->version, "%s", SHOAL_VERSION);
    if (!before.id[0])
        own->instance = new_instance (membership);
    /* Padding that differs would tell the same once more, no worse. */
    return memcmp (&before, own, sizeof before) != 0; /* NOLINT(bugprone-suspicious-memory-comparison) */
}

/* The join name may depend on it. */
static void take_service (struct membership *membership, struct slice service)
{
    if (slice_equal (slice_from (membership->service), service))
        return;
    copy (membership->service, sizeof membership->service, service);
    if (!membership->swim || membership->configuration->cluster_address[0])
        return;
    resolver_destroy (&membership->resolver);
    begin_resolving (membership);
}

static void leave_swarm (struct membership *membership)
{
    log_info ("membership", "the engine is no longer node %s", membership->own.id);
    end_cluster (membership);
    unpublish_all (membership);
    membership->own.id[0] = '\0';
}

static void say_no_address (struct membership *membership)
{
    static const char trouble[] = "no address is known at which other agents reach this one";
    if (strcmp (membership->trouble, trouble) == 0)
        return;
    snprintf (membership->trouble, sizeof membership->trouble, "%s", trouble);
    log_warn ("membership",
              "this agent stays alone: %s. Attach its container to an overlay network, or set AGENT_ADVERTISE_ADDR",
              trouble);
}

static void on_engine (struct membership *membership, const struct message_engine *engine)
{
    struct swim_identity *own = &membership->own;
    /* What an engine that is away was before, its agent still is; before it was there, not all may be known. */
    if (membership->leaving || !engine->reachable)
        return;
    if (own->id[0] && !slice_equal (engine->node, slice_from (own->id)))
        leave_swarm (membership);
    if (!engine->node.len)
        return;
    bool changed = take_engine (membership, engine);
    take_service (membership, engine->service);
    if (membership->swim && changed)
    {
        swim_update (membership->swim, own, actor_now (membership->actor));
        tick (membership);
    }
    publish_own (membership);
    if (!own->address[0])
        say_no_address (membership);
    else if (!membership->begin_again.place)
        begin_cluster (membership);
}

static void on_identity (struct membership *membership, const struct message_identity *identity)
{
    copy (membership->own.tls_key, sizeof membership->own.tls_key, identity->tls_key);
    if (!membership->own.id[0])
        return;
    publish_own (membership);
    if (membership->swim)
    {
        swim_update (membership->swim, &membership->own, actor_now (membership->actor));
        tick (membership);
    }
}

static void on_message (void *self, struct message *message)
{
    struct membership *membership = self;
    switch (message->envelope.type)
    {
    case MESSAGE_engine:
        on_engine (membership, &message->fields.engine);
        break;
    case MESSAGE_identity:
        on_identity (membership, &message->fields.identity);
        break;
    case MESSAGE_stop:
        leave (membership);
        timer_clear (&membership->begin_again);
        membership->leaving = true;
        break;
    case MESSAGE_inspect:
        actor_report (membership->actor, message->envelope.from, membership_report (membership));
        break;
    default:
        log_error ("membership", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
}

static void *start (struct actor *actor, const void *configuration)
{
    struct membership *membership = must (calloc (1, sizeof *membership));
    membership->actor = actor;
    membership->configuration = configuration;
    return membership;
}

static void stop (void **self_p)
{
    struct membership *membership = *self_p;
    end_cluster (membership);
    members_free (&membership->published);
    free (membership);
    *self_p = NULL;
}

const struct actor_class membership_class = {
    .id = ACTOR_membership,
    .start = start,
    .message = on_message,
    .stop = stop,
};
