/* agent_fields.h - names of the header fields that agents and their clients say to each other (contract 3.2, 4.1, 6).
 */
#pragma once

#include "messages/slice.h"

#include <stdbool.h>

#define FIELD_TARGET            SLICE ("X-PortainerAgent-Target")           /* node that a request is for */
#define FIELD_MANAGER_OPERATION SLICE ("X-PortainerAgent-ManagerOperation") /* not empty: for a manager */
#define FIELD_HOP               SLICE ("Shoal-Hop")   /* request: id of the node whose agent forwarded it */
#define FIELD_STALE             SLICE ("Shoal-Stale") /* answer 502: what the sender believes wrongly: role or name */
#define FIELD_MISSING_NODES     SLICE ("Shoal-Missing-Nodes") /* answer or trailer: nodes that a list lacks */

/* Whether a field is for agents alone, and must not reach the engine from a client's hand. */
bool field_is_for_agents (struct slice name);

/* Whether a field is one that an agent adds to every answer; of an answer that came from another agent it is dropped,
 * so that it is there once (contract section 11, row 11). */
bool field_is_of_every_answer (struct slice name);
