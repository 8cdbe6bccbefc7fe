/* lost_nodes.h - nodes that were declared dead and have not left: what they have is missing from every list.
 *
 * Filled by the `member` messages that membership sends. A node is named until its agent is back, or for LOST_TIME: one
 * that was taken out of the Swarm while it was down never says so.
 */
#pragma once

#include "messages/message.h"

enum
{
    LOST_NODES_MAX = 1024,
    LOST_TIME = 24 * 60 * 60 * 1000, /* ms */
};

struct lost_node
{
    char id[65], name[257];
    uint64_t since;  /* ms */
    uint64_t number; /* counts those that were ever lost */
};

/* All zero is an empty table; oldest first. */
struct lost_nodes
{
    struct lost_node *at;
    size_t count, capacity;
    uint64_t last; /* number of the one that was lost last */
};

/* Adds a member that was lost, or takes out one that is back or has left. */
void lost_nodes_update (struct lost_nodes *nodes, const struct message_member *news, uint64_t now);

/* Takes out those that were lost LOST_TIME ago. */
void lost_nodes_forget (struct lost_nodes *nodes, uint64_t now);

void lost_nodes_free (struct lost_nodes *nodes);
