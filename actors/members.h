/* members.h - the members of the cluster that may be asked, as the router, peers and gather each know them.
 *
 * Every one of them keeps a table of its own, filled by the `member` messages that membership sends. Only usable
 * members are in it, the own agent among them; at most MEMBERS_MAX. Sorted by id, so that all agents choose alike.
 */
#pragma once

#include "messages/message.h"

enum
{
    MEMBERS_MAX = 1024,
};

struct member
{
    char id[65], name[257], address[65], tls_key[65], version[33];
    uint64_t instance;
    unsigned port;
    bool own, manager, suspected, key_set;
};

/* All zero is an empty table. */
struct members
{
    struct member **at;
    size_t count, capacity;
};

/* Adds, changes or (usable is false) removes a member. What was removed or replaced is freed. */
void members_update (struct members *members, const struct message_member *news);

/* The member with this id, or NULL. */
struct member *members_by_id (const struct members *members, struct slice id);

/* The member with this node name, else with this id; the lowest id when several nodes have one name, and then *several
 * is set. NULL when there is none. */
struct member *members_by_target (const struct members *members, struct slice target, bool *several);

/* The own agent, or NULL while it is not known. */
struct member *members_own (const struct members *members);

void members_free (struct members *members);
