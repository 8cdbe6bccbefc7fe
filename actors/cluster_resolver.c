/* cluster_resolver.c - see cluster_resolver.h.
 *
 * A round asks for all names at once. c-ares has a channel only while a round is under way: what /etc/resolv.conf says
 * then is what counts. Its sockets and its time-outs are the reactor's.
 */
#include "cluster_resolver.h"

#include "ensure.h"
#include "local_address.h"
#include "log.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

enum
{
    ANSWER_TIME = 1000,       /* ms for a name server's answer, */
    TRIES = 2,                /* and how often each is asked */
    HURRY_TIME = 200,         /* ms until a round that somebody wants soon */
    ROUND_LEAST = 1000,       /* ms between two rounds, at least */
    NAME_ADDRESSES_MAX = 512, /* of one name */
};

struct lookup
{
    struct resolver *resolver;
    struct join_name name;
    struct resolved *addresses; /* of the last answer */
    size_t count;
    bool pending;
    char error[80]; /* of the last round; empty when there was none */
};

/* A socket of c-ares'. */
struct asking
{
    struct resolver *resolver;
    struct asking *next;
    struct watch watch;
};

struct resolver
{
    struct actor *actor;
    uint64_t (*done) (void *context);
    void *context;
    struct lookup lookups[JOIN_NAMES_MAX];
    size_t lookup_count, pending;
    ares_channel channel; /* NULL between two rounds */
    struct asking *sockets;
    struct timer next_round, time_out;
    uint64_t begun;                       /* ms; the last round */
    uint64_t patient_until;               /* ms */
    bool worked, said_early, said_failed; /* worked: all names could be resolved, once */
    uint64_t rounds, failures;
};

static void begin_round (struct timer *timer);
static void after_ares (struct resolver *resolver);

/* ------------------------------------------------------------------------------------------------ c-ares in the loop
 */

static void free_asking (void *object)
{
    free (object);
}

static void on_socket (struct watch *watch, uint32_t events)
{
    struct resolver *resolver = OWNER (watch, struct asking, watch)->resolver;
    ares_socket_t fd = watch->fd;
    bool broken = events & (EPOLLERR | EPOLLHUP);
    ares_process_fd (resolver->channel, events & EPOLLIN || broken ? fd : ARES_SOCKET_BAD,
                     events & EPOLLOUT || broken ? fd : ARES_SOCKET_BAD);
    after_ares (resolver);
}

static void on_time_out (struct timer *timer)
{
    struct resolver *resolver = OWNER (timer, struct resolver, time_out);
    ares_process_fd (resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    after_ares (resolver);
}

/* c-ares wants a socket watched, or, with neither, no longer: it is about to close it. */
static void on_state (void *data, ares_socket_t fd, int readable, int writable)
{
    struct resolver *resolver = data;
    struct asking **place = &resolver->sockets;
    uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
    while (*place && (*place)->watch.fd != fd)
        place = &(*place)->next;
    struct asking *asking = *place;
    if (asking && events)
        watch_change (&asking->watch, events);
    else if (asking)
    {
        *place = asking->next;
        watch_end (&asking->watch);
        actor_defer (resolver->actor, free_asking, asking);
    }
    else if (events)
    {
        asking = must (calloc (1, sizeof *asking));
        asking->resolver = resolver;
        asking->next = resolver->sockets;
        resolver->sockets = asking;
        ensure (watch_set (resolver->actor, &asking->watch, fd, events, on_socket) == 0);
    }
}

/* -------------------------------------------------------------------------------------------------------- the answers
 */

static void take_addresses (struct lookup *lookup, const struct ares_addrinfo *answer)
{
    free (lookup->addresses);
    lookup->addresses = must (calloc (NAME_ADDRESSES_MAX, sizeof *lookup->addresses));
    lookup->count = 0;
    for (const struct ares_addrinfo_node *node = answer->nodes; node && lookup->count < NAME_ADDRESSES_MAX;
         node = node->ai_next)
    {
        struct resolved *resolved = &lookup->addresses[lookup->count];
        resolved->port = lookup->name.port;
        if (getnameinfo (node->ai_addr, node->ai_addrlen, resolved->address, sizeof resolved->address, NULL, 0,
                         NI_NUMERICHOST) == 0)
            lookup->count++;
    }
}

static void on_answer (void *argument, int status, int time_outs, struct ares_addrinfo *answer)
{
    (void) time_outs;
    struct lookup *lookup = argument;
    struct resolver *resolver = lookup->resolver;
    lookup->pending = false;
    resolver->pending--;
    lookup->error[0] = '\0';
    if (status == ARES_SUCCESS && answer && answer->nodes)
        take_addresses (lookup, answer);
    else if (status != ARES_EDESTRUCTION)
    {
        snprintf (lookup->error, sizeof lookup->error, "%s", ares_strerror (status));
        resolver->failures++;
    }
    if (answer)
        ares_freeaddrinfo (answer);
}

/* Said once, when it begins and when it is over. */
static void say_failures (struct resolver *resolver)
{
    const struct lookup *failed = NULL;
    for (size_t index = 0; index < resolver->lookup_count && !failed; index++)
        if (resolver->lookups[index].error[0])
            failed = &resolver->lookups[index];
    resolver->worked |= !failed;
    if (failed && !resolver->worked && actor_now (resolver->actor) < resolver->patient_until)
    {
        if (!resolver->said_early)
            log_info (
                "membership",
                "'%s' cannot be resolved yet (%s): usual until a first agent is healthy; asking again every second",
                failed->name.host, failed->error);
        resolver->said_early = true;
        return;
    }
    if (failed && !resolver->said_failed)
        log_warn ("membership", "cannot resolve '%s' to find other agents: %s; going on trying (AGENT_CLUSTER_ADDR)",
                  failed->name.host, failed->error);
    else if (!failed && resolver->said_failed)
        log_info ("membership", "the names of AGENT_CLUSTER_ADDR can be resolved again");
    resolver->said_failed = failed != NULL;
}

static void end_channel (struct resolver *resolver)
{
    timer_clear (&resolver->time_out);
    if (resolver->channel)
        ares_destroy (resolver->channel);
    resolver->channel = NULL;
}

static void end_round (struct resolver *resolver)
{
    end_channel (resolver);
    say_failures (resolver);
    uint64_t pause = resolver->done (resolver->context);
    timer_set (resolver->actor, &resolver->next_round, pause, begin_round);
}

static void after_ares (struct resolver *resolver)
{
    struct timeval most = {ANSWER_TIME / 1000, 0}, wait;
    if (resolver->pending == 0)
    {
        end_round (resolver);
        return;
    }
    const struct timeval *next = ares_timeout (resolver->channel, &most, &wait);
    uint64_t milliseconds = (uint64_t) next->tv_sec * 1000 + (uint64_t) next->tv_usec / 1000 + 1;
    timer_set (resolver->actor, &resolver->time_out, milliseconds, on_time_out);
}

static void begin_round (struct timer *timer)
{
    struct resolver *resolver = OWNER (timer, struct resolver, next_round);
    struct ares_options options = {
        .timeout = ANSWER_TIME, .tries = TRIES, .sock_state_cb = on_state, .sock_state_cb_data = resolver};
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT};
    resolver->begun = actor_now (resolver->actor);
    resolver->rounds++;
    if (ares_init_options (&resolver->channel, &options,
                           ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS)
        resolver->channel = NULL;
    for (size_t index = 0; index < resolver->lookup_count; index++)
    {
        struct lookup *lookup = &resolver->lookups[index];
        if (lookup->name.literal || !resolver->channel)
            continue;
        lookup->pending = true;
        resolver->pending++;
        ares_getaddrinfo (resolver->channel, lookup->name.host, NULL, &hints, on_answer, lookup);
    }
    after_ares (resolver);
}

void resolver_hurry (struct resolver *resolver)
{
    uint64_t now = actor_now (resolver->actor), since = now - resolver->begun;
    uint64_t wait = since < ROUND_LEAST ? ROUND_LEAST - since : HURRY_TIME;
    if (resolver->channel || !resolver->next_round.place || resolver->next_round.at <= now + wait)
        return;
    timer_set (resolver->actor, &resolver->next_round, wait, begin_round);
}

/* ------------------------------------------------------------------------------------------------------------ the list
 */

const struct resolved *resolver_at (const struct resolver *resolver, size_t index)
{
    for (size_t number = 0; number < resolver->lookup_count; number++)
    {
        const struct lookup *lookup = &resolver->lookups[number];
        if (index < lookup->count)
            return &lookup->addresses[index];
        index -= lookup->count;
    }
    return NULL;
}

size_t resolver_count (const struct resolver *resolver)
{
    size_t count = 0;
    for (size_t number = 0; number < resolver->lookup_count; number++)
        count += resolver->lookups[number].count;
    return count < RESOLVED_MAX ? count : RESOLVED_MAX;
}

bool resolver_knows (const struct resolver *resolver, const char *address)
{
    const struct resolved *resolved;
    for (size_t index = 0; index < RESOLVED_MAX && (resolved = resolver_at (resolver, index)); index++)
        if (strcmp (resolved->address, address) == 0)
            return true;
    return false;
}

json_t *resolver_report (const struct resolver *resolver)
{
    enum
    {
        SHOWN_MAX = 64, /* addresses, of all names together */
    };
    json_t *names = json_array ();
    size_t shown = 0;
    for (size_t number = 0; number < resolver->lookup_count; number++)
    {
        const struct lookup *lookup = &resolver->lookups[number];
        json_t *addresses = json_array ();
        for (size_t index = 0; index < lookup->count && shown < SHOWN_MAX; index++, shown++)
            json_array_append_new (addresses, json_string (lookup->addresses[index].address));
        json_array_append_new (names, json_pack ("{ss si sI so ss}", "name", lookup->name.host, "port",
                                                 (int) lookup->name.port, "count", (json_int_t) lookup->count,
                                                 "addresses", addresses, "last_error", lookup->error));
    }
    return json_pack ("{so sI sI}", "names", names, "rounds", (json_int_t) resolver->rounds, "failures",
                      (json_int_t) resolver->failures);
}

/* ----------------------------------------------------------------------------------------------------- life and death
 */

struct resolver *resolver_new (struct actor *actor, const struct join_name *names, size_t count, uint64_t patience,
                               uint64_t (*done) (void *context), void *context)
{
    struct resolver *resolver = must (calloc (1, sizeof *resolver));
    resolver->actor = actor;
    resolver->done = done;
    resolver->context = context;
    resolver->lookup_count = count;
    resolver->patient_until = actor_now (actor) + patience;
    for (size_t index = 0; index < count; index++)
    {
        struct lookup *lookup = &resolver->lookups[index];
        lookup->resolver = resolver;
        lookup->name = names[index];
        if (!lookup->name.literal)
            continue;
        lookup->addresses = must (calloc (1, sizeof *lookup->addresses));
        lookup->addresses[0].port = lookup->name.port;
        snprintf (lookup->addresses[0].address, sizeof lookup->addresses[0].address, "%.45s", lookup->name.host);
        lookup->count = 1;
    }
    timer_set (actor, &resolver->next_round, 0, begin_round);
    return resolver;
}

void resolver_destroy (struct resolver **resolver_p)
{
    struct resolver *resolver = *resolver_p;
    if (!resolver)
        return;
    timer_clear (&resolver->next_round);
    end_channel (resolver);
    for (size_t index = 0; index < resolver->lookup_count; index++)
        free (resolver->lookups[index].addresses);
    free (resolver);
    *resolver_p = NULL;
}
