/* cluster_gate.h - who may come in: the answers to libzmq's questions about clients (ZAP, rfc.zeromq.org/spec/27), and
 * what is to be said about those who may not.
 *
 * CURVE alone lets any client in that knows the server's public key. The gate admits the cluster's client key only, and
 * where everybody knows that key, only addresses that the join names give.
 */
#pragma once

#include "actor.h"
#include "cluster_keys.h"

struct gate;

struct gate_rules
{
    const struct cluster_keys *keys;
    bool open; /* there is no secret: addresses decide */
    /* Whether an address is one of the cluster's; asked when the gate is open. */
    bool (*expected) (void *context, const char *address);
    void *context;
};

struct gate_counters
{
    uint64_t accepted;    /* connections */
    uint64_t admitted;    /* of them, shook hands */
    uint64_t wrong_keys;  /* did not have our keys, or did not speak our protocol */
    uint64_t unfinished;  /* went away in the handshake, or were silent */
    uint64_t wrong_hosts; /* came from an address that is not the cluster's */
};

/* Binds the ZAP endpoint of this ZeroMQ context, so there is one gate in each. rules and what they point to outlive the
 * gate. */
struct gate *gate_new (struct actor *actor, void *context, const struct gate_rules *rules);

/* Makes a ROUTER, not bound yet, ask the gate, and tell it of handshakes. */
void gate_guard (struct gate *gate, void *router);

/* The router must still be open. */
void gate_destroy (struct gate **gate);

struct gate_counters gate_counters (const struct gate *gate);

/* `::ffff:192.0.2.1`, as a socket for both families says, is 192.0.2.1. */
const char *plain_address (const char *address);
