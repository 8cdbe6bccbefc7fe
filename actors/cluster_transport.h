/* cluster_transport.h - packets between the agents of a cluster: ZeroMQ over TCP, encrypted and authenticated by CURVE.
 *
 *     our ROUTER, bound  ◀── everybody's DEALERs: all that comes
 *     a DEALER a peer    ──▶ its ROUTER: what goes, one way; two or three of them while packets are lost
 *
 * A packet arrives whole, or not at all, and more than once while packets are lost; nobody waits for it. It has its own
 * ZeroMQ context, so that an agent without a cluster needs none of libzmq's threads.
 */
#pragma once

#include "cluster_gate.h"
#include "messages/slice.h"

enum
{
    LINKS_MAX = 32, /* outgoing connections; the least recently used one goes */
};

struct transport;

struct transport_options
{
    struct cluster_keys keys;
    bool open;               /* without a secret: see cluster_gate.h */
    const char *address;     /* the own one, borrowed, read anew for each link: which leaves from it if it is local */
    uint16_t port;           /* to listen on, on all addresses */
    size_t packet_bytes_max; /* a longer one ends its connection */
};

struct transport_callbacks
{
    /* A packet came; the bytes live for the call. */
    void (*packet) (void *context, const char *from, struct slice bytes);
    /* Whether an address may join, where there is no secret. */
    bool (*expected) (void *context, const char *address);
};

struct transport_counters
{
    uint64_t packets_in, packets_out, bytes_in, bytes_out; /* payload, without what encryption and TCP add */
    uint64_t dropped;                                      /* a link was full, or could not be made */
    uint64_t malformed;                                    /* not one frame, or from an address that may not */
    uint64_t connects, connects_failed, handshakes_failed; /* of links */
    uint64_t links, links_evicted;                         /* now; that made room for others */
    uint64_t spares;                                       /* of the connects: because another link stalled */
    struct gate_counters gate;
};

/* options are copied, but for the address. NULL, with errno, when the port cannot be listened on. */
struct transport *transport_new (struct actor *actor, const struct transport_options *options,
                                 const struct transport_callbacks *callbacks, void *context);

/* Waits a moment (LINGER_TIME) for packets that are on their way out. */
void transport_destroy (struct transport **transport);

/* Sends a packet to an IP address and port, or drops it. */
void transport_send (struct transport *transport, const char *address, uint16_t port, struct slice bytes);

struct transport_counters transport_counters (const struct transport *transport);
