/* table.c - the members: found by id and by address, listed as living or as tombstones, shuffled for probing.
 *
 * Hash chains, with the members themselves as links. Lists are dense arrays; a member knows its places, so that taking
 * it out costs a swap with the last one.
 */
#include "machine.h"

#include <stdlib.h>

/* FNV-1a: the same on all nodes, because the digest is made of it. Colliding ids cost time, at most that of a walk over
 * all members. */
uint64_t table_hash (struct slice text)
{
    uint64_t hash = UINT64_C (0xcbf29ce484222325);
    for (size_t index = 0; index < text.len; index++)
        hash = (hash ^ (uint8_t) text.at[index]) * UINT64_C (0x100000001b3);
    return hash;
}

static uint64_t address_hash (struct slice address, uint16_t port)
{
    return (table_hash (address) ^ port) * UINT64_C (0x100000001b3);
}

static size_t bucket_of (uint64_t hash)
{
    return (hash ^ hash >> 32) % INDEX_BUCKETS;
}

struct member *table_find_hash (const struct table *table, uint64_t hash)
{
    struct member *member = table->by_id[bucket_of (hash)];
    while (member && member->hash != hash)
        member = member->next_id;
    return member;
}

struct member *table_find (const struct table *table, struct slice id)
{
    uint64_t hash = table_hash (id);
    struct member *member = table->by_id[bucket_of (hash)];
    while (member && (member->hash != hash || !slice_equal (member_id (member), id)))
        member = member->next_id;
    return member;
}

struct member *table_find_address (const struct table *table, struct slice address, uint16_t port)
{
    uint64_t hash = address_hash (address, port);
    struct member *member = table->by_address[bucket_of (hash)];
    while (member && (member->address_hash != hash || member->gossip_port != port ||
                      !slice_equal (slice_from (member_address (member)), address)))
        member = member->next_address;
    return member;
}

/* --------------------------------------------------------------------------------------------------------- indexes */

static void index_id (struct table *table, struct member *member)
{
    struct member **bucket = &table->by_id[bucket_of (member->hash)];
    member->next_id = *bucket;
    *bucket = member;
}

static void index_address (struct table *table, struct member *member)
{
    member->address_hash = address_hash (slice_from (member_address (member)), member->gossip_port);
    struct member **bucket = &table->by_address[bucket_of (member->address_hash)];
    member->next_address = *bucket;
    *bucket = member;
}

static void unindex_id (struct table *table, const struct member *member)
{
    struct member **link = &table->by_id[bucket_of (member->hash)];
    while (*link != member)
        link = &(*link)->next_id;
    *link = member->next_id;
}

static void unindex_address (struct table *table, const struct member *member)
{
    struct member **link = &table->by_address[bucket_of (member->address_hash)];
    while (*link != member)
        link = &(*link)->next_address;
    *link = member->next_address;
}

/* ----------------------------------------------------------------------------------------------------------- lists */

static bool is_tombstone (const struct member *member)
{
    return member->state == SWIM_DEAD || member->state == SWIM_LEFT;
}

/* Whether the member answers probes and is told rumours. */
static bool is_usable (const struct member *member)
{
    return member->state == SWIM_ALIVE || member->state == SWIM_SUSPECT;
}

static uint64_t digest_of (const struct member *member)
{
    uint64_t mixed = member->hash ^ member->instance * UINT64_C (0x9e3779b97f4a7c15) ^
                     member->incarnation * UINT64_C (0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 29) * UINT64_C (0x94d049bb133111eb);
    return mixed ^ mixed >> 32;
}

static void list (struct swim *swim, struct member *member)
{
    struct table *table = &swim->table;
    if (is_tombstone (member))
    {
        if (table->tombstone_count == TOMBSTONES_MAX)
            table_forget (swim, table->tombstones[swim_random_below (swim, TOMBSTONES_MAX)]);
        member->place = (uint32_t) table->tombstone_count;
        table->tombstones[table->tombstone_count++] = member;
        return;
    }
    member->place = (uint32_t) table->living_count;
    table->living[table->living_count++] = member;
}

static void unlist (struct table *table, struct member *member)
{
    struct member **members = is_tombstone (member) ? table->tombstones : table->living;
    size_t *count = is_tombstone (member) ? &table->tombstone_count : &table->living_count;
    members[member->place] = members[--*count];
    members[member->place]->place = member->place;
}

/* Puts the member at a random place, so that a newcomer is not always probed last. */
static void enter_order (struct swim *swim, struct member *member)
{
    struct table *table = &swim->table;
    uint32_t at = swim_random_below (swim, (uint32_t) table->order_count + 1);
    struct member *moved = table->order[at];
    if (at < table->order_count)
    {
        moved->turn = (uint32_t) table->order_count;
        table->order[table->order_count] = moved;
    }
    table->order_count++;
    table->order[at] = member;
    member->turn = at;
}

static void leave_order (struct table *table, struct member *member)
{
    table->order[member->turn] = table->order[--table->order_count];
    table->order[member->turn]->turn = member->turn;
    member->turn = NOWHERE;
}

static bool is_counted (const struct swim *swim, const struct member *member)
{
    return is_usable (member) || member == swim->own;
}

/* --------------------------------------------------------------------------------------------------------- members */

bool table_describe (struct swim *swim, struct member *member, const struct message_swim_member *record,
                     struct slice address)
{
    struct slice parts[] = {record->id, record->name, address, record->tls_key, record->version};
    enum
    {
        PARTS = sizeof parts / sizeof *parts
    };
    uint16_t offsets[PARTS];
    size_t length = 0;
    for (size_t index = 0; index < PARTS; index++)
    {
        offsets[index] = (uint16_t) length;
        length += parts[index].len + 1;
    }
    bool same = member->text && member->port == record->port && member->gossip_port == record->gossip_port &&
                member->manager == record->manager && member->key_set == record->key_set;
    for (size_t index = 0; same && index < PARTS; index++)
    {
        const uint16_t before[PARTS] = {0, member->name, member->address, member->tls_key, member->version};
        same = slice_equal (slice_from (member->text + before[index]), parts[index]);
    }
    if (same)
        return false;

    char *text = swim_must (malloc (length));
    for (size_t index = 0; index < PARTS; index++)
    {
        if (parts[index].len)
            memcpy (text + offsets[index], parts[index].at, parts[index].len);
        text[offsets[index] + parts[index].len] = '\0';
    }
    if (member->text)
        unindex_address (&swim->table, member);
    free (member->text);
    member->text = text;
    member->name = offsets[1];
    member->address = offsets[2];
    member->tls_key = offsets[3];
    member->version = offsets[4];
    member->port = (uint16_t) record->port;
    member->gossip_port = (uint16_t) record->gossip_port;
    member->manager = record->manager;
    member->key_set = record->key_set;
    index_address (&swim->table, member);
    return true;
}

struct member *table_add (struct swim *swim, const struct message_swim_member *record, struct slice address)
{
    if (swim->table.living_count == SWIM_MEMBERS_MAX)
    {
        swim->counters.dropped_members++;
        return NULL;
    }
    struct member *member = swim_must (calloc (1, sizeof *member));
    member->hash = table_hash (record->id);
    member->turn = member->heap = NOWHERE;
    member->state = SWIM_JOINING;
    member->since = swim->now;
    member->instance = record->instance;
    member->incarnation = record->incarnation;
    table_describe (swim, member, record, address);
    index_id (&swim->table, member);
    list (swim, member);
    return member;
}

bool table_set_state (struct swim *swim, struct member *member, enum swim_state state)
{
    struct table *table = &swim->table;
    bool dies = state == SWIM_DEAD || state == SWIM_LEFT;
    if (is_tombstone (member) && !dies && table->living_count == SWIM_MEMBERS_MAX)
    {
        swim->counters.dropped_members++;
        return false;
    }
    bool move = is_tombstone (member) != dies;
    if (is_counted (swim, member))
        table->digest ^= digest_of (member);
    if (move)
        unlist (table, member);
    timers_stop (&swim->timers, member);
    member->state = (uint8_t) state;
    member->since = swim->now;
    member->accused = false;
    member->accusers = member->attempts = 0;
    if (move)
        list (swim, member);
    if (is_counted (swim, member))
        table->digest ^= digest_of (member);
    if (member == swim->own)
        return true;
    if (is_usable (member) && member->turn == NOWHERE)
        enter_order (swim, member);
    else if (!is_usable (member) && member->turn != NOWHERE)
        leave_order (table, member);
    return true;
}

void table_set_incarnation (struct swim *swim, struct member *member, uint64_t instance, uint64_t incarnation)
{
    if (is_counted (swim, member))
        swim->table.digest ^= digest_of (member);
    member->instance = instance;
    member->incarnation = incarnation;
    if (is_counted (swim, member))
        swim->table.digest ^= digest_of (member);
}

void table_adopt_own (struct swim *swim, struct member *member)
{
    swim->own = member;
    member->state = SWIM_ALIVE;
    swim->table.digest ^= digest_of (member);
}

static void free_member (struct member *member)
{
    free (member->text);
    free (member);
}

void table_forget (struct swim *swim, struct member *member)
{
    if (is_counted (swim, member))
        swim->table.digest ^= digest_of (member);
    probe_forget (swim, member);
    rumours_stop (swim, member);
    timers_stop (&swim->timers, member);
    unlist (&swim->table, member);
    if (member->turn != NOWHERE)
        leave_order (&swim->table, member);
    unindex_id (&swim->table, member);
    unindex_address (&swim->table, member);
    free_member (member);
}

void table_clear (struct swim *swim)
{
    for (size_t index = 0; index < swim->table.living_count; index++)
        free_member (swim->table.living[index]);
    for (size_t index = 0; index < swim->table.tombstone_count; index++)
        free_member (swim->table.tombstones[index]);
}

/* --------------------------------------------------------------------------------------------------------- choices */

static void shuffle (struct swim *swim)
{
    struct table *table = &swim->table;
    for (size_t left = table->order_count; left > 1; left--)
    {
        size_t at = swim_random_below (swim, (uint32_t) left);
        struct member *member = table->order[at];
        table->order[at] = table->order[left - 1];
        table->order[left - 1] = member;
        table->order[left - 1]->turn = (uint32_t) left - 1;
        table->order[at]->turn = (uint32_t) at;
    }
}

struct member *table_next_turn (struct swim *swim)
{
    struct table *table = &swim->table;
    if (table->order_count == 0)
        return NULL;
    if (table->next_turn >= table->order_count)
    {
        shuffle (swim);
        table->next_turn = 0;
    }
    return table->order[table->next_turn++];
}

size_t table_pick (struct swim *swim, struct member **picked, size_t count, const struct member *but)
{
    const struct table *table = &swim->table;
    size_t found = 0;
    if (table->order_count == 0)
        return 0;
    /* A short list is walked from a random place on; in a long one, tries rarely hit the same member twice. */
    bool walk = table->order_count <= 4 * count;
    uint32_t start = swim_random_below (swim, (uint32_t) table->order_count);
    size_t tries = walk ? table->order_count : 4 * count;
    for (size_t try = 0; try < tries && found < count; try++)
    {
        size_t at = walk ? (start + try) % table->order_count : swim_random_below (swim, (uint32_t) table->order_count);
        struct member *member = table->order[at];
        bool again = member == but;
        for (size_t index = 0; index < found; index++)
            again |= picked[index] == member;
        if (!again)
            picked[found++] = member;
    }
    return found;
}
