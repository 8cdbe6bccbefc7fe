/* docker.h - what the files of the docker actor share.
 *
 *   docker.c              the actor: messages in, how the engine differs from other servers, counters
 *   engine_discovery.c    the agent's own questions to the engine: versions, names, addresses, is it there
 *
 * Requests and answers are carried by upstream.h.
 */
#pragma once

#include "upstream.h"

#include <jansson.h>

/* When an engine counts as silent: milliseconds, see engine_discovery.c. */
struct engine_times
{
    uint64_t look;    /* between two looks of the watchdog */
    uint64_t silence; /* without the head of an answer; then the engine is asked whether it lives */
    uint64_t answer;  /* for that question */
    uint64_t stall;   /* without reading, after the engine has ended its side of a raw stream */
};

struct docker
{
    struct actor *actor;
    const struct configuration *configuration;
    struct upstream_owner owner;
    struct upstream engine;

    /* discovery: see engine_discovery.c */
    struct timer discover_again, watchdog;
    struct engine_times times;
    struct inquiry discovery, probe;
    unsigned step;
    bool reachable, said_unreachable;
    unsigned api_minimum, api_maximum;
    char name[256], node[64], address[64], service[257], host_name[256];
    bool manager;
    json_t *networks; /* of the own container, while they are looked at */
    uint64_t asked;   /* ms; when the engine was last asked */
    uint64_t probe_begun;

    struct
    {
        uint64_t hung, stalled;
    } counters;
};

/* ---- engine_discovery.c */

void discovery_start (struct docker *docker);
void discovery_stop (struct docker *docker);

/* What is known may be stale: asks the engine now, or shortly after it was asked last. */
void discovery_hurry (struct docker *docker);

/* A connection could not be made or was lost: the engine is looked for again. */
void discovery_engine_lost (struct docker *docker, const char *why);
