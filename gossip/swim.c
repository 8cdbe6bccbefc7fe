/* swim.c - see swim.h. */
#include "swim.h"

struct swim_parameters swim_standard (void)
{
    return (struct swim_parameters){
        .probe_interval = 500,
        .probe_timeout = 200,
        .gossip_interval = 100,
        .suspicion_least = 1000,
        .suspicion_most = 1500,
        .sync_interval = 30000,
        .tombstone_time = 60000,
        .indirect_probes = 3,
        .gossip_fanout = 3,
        .retransmit_factor = 4,
        .health_most = 8,
    };
}
