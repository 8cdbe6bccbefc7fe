/* swim.h - who belongs to the cluster: SWIM with Lifeguard, as a state machine without sockets, threads or clocks.
 *
 * Packets and the time go in; packets and verdicts come out, through two callbacks. The very same code runs in the
 * agent (actors/membership.c) and, thousands of times in one process with virtual time, in the simulator
 * (tests/simulation).
 *
 *     heard of ──▶ JOINING ──own ack──▶ ALIVE ──probe failed──▶ SUSPECT ──time-out──▶ DEAD ──▶ forgotten
 *                    │ ▲                 └◀──greater incarnation──┘                    │ │
 *                    │ └◀──greater incarnation, or newer instance──────────────────────┘ │
 *                    └──no answer for 10 s──▶ DEAD                LEFT: as DEAD, but said so itself
 *
 * Sources: Das, Gupta, Motivala: SWIM (DSN 2002); Dadgar, Phillips, Currey: Lifeguard (arXiv 1707.00788).
 *
 * Identity is a Swarm node id plus an instance number; the newest instance of an id replaces older ones at once and is
 * never listed beside them. Times are milliseconds of a monotonic clock; addresses are opaque text to this folder.
 * Nothing here logs. Memory is bounded by SWIM_MEMBERS_MAX. docs/gossip.md describes all of it.
 */
#pragma once

#include "messages/message.h"

enum
{
    SWIM_MEMBERS_MAX = 1024,     /* members known at once, tombstones not counted */
    SWIM_PACKET_MAX = 64 * 1024, /* bytes of one packet: what the transport accepts */
};

enum swim_state
{
    SWIM_JOINING, /* heard of, but it did not answer a direct probe yet: gets no requests */
    SWIM_ALIVE,
    SWIM_SUSPECT, /* still counts as alive */
    SWIM_DEAD,
    SWIM_LEFT,
};

/* What a member says of itself. Text is NUL-terminated. */
struct swim_identity
{
    char id[65];           /* Swarm node id */
    uint64_t instance;     /* max (Unix ms at start, last one heard for this id + 1), at most 2^48 */
    char name[257];        /* node name */
    char address[65];      /* IP address of its API and its gossip */
    uint16_t port;         /* of its API */
    uint16_t gossip_port;  /* of its gossip */
    bool manager, key_set; /* Swarm role; has an Edge key */
    char tls_key[65];      /* SHA-256 of its TLS public key, hexadecimal; empty when not known yet */
    char version[33];      /* Shoal's */
};

struct swim_member
{
    struct swim_identity identity;
    enum swim_state state;
    uint64_t incarnation;
};

/* Callbacks come out of the calls below and must not call back into the machine. What they get lives for the call. */
struct swim_callbacks
{
    /* Sends a packet to an address and port, at most once, whole or not at all. bytes live for the call only. */
    void (*send) (void *context, const char *address, uint16_t port, struct slice bytes);
    /* A member was added or has changed: its state, or what it says of itself. The own member never comes here.
     * JOINING: heard of, or a newer instance of it has come, or it came back from the dead: not (or no longer) to be
     * used. ALIVE: its direct answer came, or it refuted a suspicion, or it changed its record. SUSPECT: still usable.
     * DEAD, LEFT: it is no longer in the list; DEAD also for a joining member that never answered. */
    void (*changed) (void *context, const struct swim_member *member);
    /* The own instance number is another now, because a record of the own id with ours or a newer one was heard that
     * was not ours: keep it, and announce it. Not called for what swim_update() changes. May be NULL. */
    void (*own_changed) (void *context, const struct swim_member *own);
};

/* Tunables; swim_standard() gives those of the agent, with their reasons beside them in swim.c. */
struct swim_parameters
{
    uint32_t probe_interval;    /* ms between two probes */
    uint32_t probe_timeout;     /* ms until indirect probes are asked for; after twice this time a probe has failed */
    uint32_t gossip_interval;   /* ms between two rounds of gossip while there is something to tell */
    uint32_t suspicion_least;   /* ms, with all confirmations; grows with the cluster */
    uint32_t suspicion_most;    /* ms, without any; both grow while the network is bad */
    uint32_t sync_interval;     /* ms between two push/pull exchanges */
    uint32_t tombstone_time;    /* ms that the dead are remembered, so that old gossip does not bring them back */
    unsigned indirect_probes;   /* helpers of one probe */
    unsigned gossip_fanout;     /* members told in one round */
    unsigned retransmit_factor; /* times log10 (n + 1): how often one rumour is sent */
    unsigned health_most;       /* Lifeguard's local health multiplier, at most */
};
struct swim_parameters swim_standard (void);

struct swim_counters
{
    uint64_t packets_in, packets_out, bytes_in, bytes_out, refused; /* refused: packets that did not decode */
    uint64_t probes, probes_failed, suspicions, refuted; /* refuted: suspicions of others that proved wrong */
    uint64_t deaths, deaths_refuted; /* deaths_refuted: declared dead, and the same instance came back */
    uint64_t dropped_members;        /* over SWIM_MEMBERS_MAX */
};

struct swim;

/* Makes a member that knows nobody. identity is copied. seed: random numbers come from it alone, so a run repeats. */
struct swim *swim_new (const struct swim_parameters *parameters, const struct swim_identity *identity,
                       const struct swim_callbacks *callbacks, void *context, uint64_t now, uint64_t seed);
void swim_destroy (struct swim **self);

/* The own identity has changed (role, address, keys): tells everybody, under a new incarnation. id and instance stay,
 * whatever is in identity. */
void swim_update (struct swim *swim, const struct swim_identity *identity, uint64_t now);

/* Makes contact with an agent at this address: a push/pull exchange. May be called again and again: nothing is sent
 * where the address is an ALIVE member's or the own one, nor beyond 8 at once and 2 a second. So call it every 2 s with
 * what the join name resolves to, in random order. */
void swim_join (struct swim *swim, const char *address, uint16_t port, uint64_t now);

/* A packet came. from is the address it came from, as the transport knows it. Whatever the bytes are, nothing breaks.
 */
void swim_receive (struct swim *swim, const char *from, struct slice bytes, uint64_t now);

/* Does what is due, and returns the time (ms) of the next call. Call it also after every other call here. Whoever comes
 * late should hand over the packets that have come first: a tick more than 250 ms late is taken for a standstill of the
 * process, whose time counts against nobody. */
uint64_t swim_tick (struct swim *swim, uint64_t now);

/* Says good-bye to everybody, at once. The next ticks (some 300 ms) repeat it to some; nothing else is done any more.
 */
void swim_leave (struct swim *swim, uint64_t now);

/* The members that are JOINING, ALIVE or SUSPECT, in no order; the own one first. There is one place for what swim_at()
 * returns: it is valid until the next call of any function here. */
size_t swim_count (const struct swim *swim);
const struct swim_member *swim_at (const struct swim *swim, size_t index);

/* Lifeguard's local health: 0 is well. */
unsigned swim_health (const struct swim *swim);
struct swim_counters swim_counters (const struct swim *swim);
