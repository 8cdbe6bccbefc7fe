/* membership.h - what the files of the membership actor share.
 *
 *   membership.c           the actor: messages in, the state machine's packets, what is said of members
 *   membership_report.c    what `shoal status` shows of it
 *   cluster_transport.c    packets over ZeroMQ: a ROUTER for what comes, a link a peer for what goes
 *   cluster_gate.c         who may come in
 *   cluster_keys.c         the keys, from the secret
 *   cluster_resolver.c     the join names' addresses
 *   gossip/swim.c          the state machine: who belongs to the cluster
 */
#pragma once

#include "actor.h"
#include "cluster_resolver.h"
#include "cluster_transport.h"
#include "configuration.h"
#include "gossip/swim.h"
#include "members.h"

struct membership
{
    struct actor *actor;
    const struct configuration *configuration;
    struct swim_identity own; /* id empty: the engine is in no Swarm, or was not asked yet */
    char service[257];        /* of the own container */
    uint64_t instance_least;  /* the next own instance is newer than all that were heard of */
    struct members published; /* what router, peers and gather know */

    /* the cluster: there when the engine is in a Swarm and the own address is known */
    struct transport *transport;
    struct swim *swim;
    struct resolver *resolver; /* NULL also when there is no name to resolve */
    struct timer tick;         /* of the state machine */
    struct timer begin_again;  /* the port could not be listened on */
    uint64_t joins, claims;    /* attempts to reach an address; by others, of the own node */
    bool leaving;              /* good-bye was said: nothing begins any more */
    char trouble[160];         /* why there is no cluster; empty when there is one */
};

/* A JSON object. The caller decrefs. */
json_t *membership_report (struct membership *membership);
