/* cluster_resolver.h - where other agents may be: the join names' addresses, asked for again and again, without
 * blocking (c-ares).
 *
 * Agents come and go, and two halves of a cluster that were parted find each other only by asking anew: so this goes on
 * for as long as the agent lives.
 */
#pragma once

#include "actor.h"
#include "join_names.h"

#include <jansson.h>

enum
{
    RESOLVED_MAX = 1024, /* addresses of all names together */
};

struct resolved
{
    char address[46];
    uint16_t port;
};

struct resolver;

/* names are copied. done is called after each round, and says how long (ms) to wait until the next. A name that was
 * never resolved is a warning only after patience (ms): a service's name exists once one of its tasks is healthy. */
struct resolver *resolver_new (struct actor *actor, const struct join_name *names, size_t count, uint64_t patience,
                               uint64_t (*done) (void *context), void *context);
void resolver_destroy (struct resolver **resolver);

/* Begins a round soon, whatever was said about the next: somebody came who is not known. */
void resolver_hurry (struct resolver *resolver);

/* The addresses as of the last answers; a name that cannot be resolved now keeps those it had. */
size_t resolver_count (const struct resolver *resolver);
const struct resolved *resolver_at (const struct resolver *resolver, size_t index);
bool resolver_knows (const struct resolver *resolver, const char *address);

/* For `shoal status`: names, addresses, last error. The caller decrefs. */
json_t *resolver_report (const struct resolver *resolver);
