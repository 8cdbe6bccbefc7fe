/* merge.c - what a record that was heard does to the member that it is about.
 *
 * A greater instance replaces everything. Within one instance the greater incarnation counts, and within one
 * incarnation the worse state: alive, suspect, dead, left (SWIM section 4.2). Only the member itself makes greater
 * incarnations, so a verdict stands until the member has heard of it and has spoken against it.
 *
 * A sender who speaks of itself and is behind what we know is told so: its clock was set back before it was restarted,
 * or it does not know that it was declared dead.
 */
#include "machine.h"

enum
{
    ADDRESS_MAX = sizeof ((struct swim_identity *) 0)->address - 1,
};

static bool is_tombstone (const struct member *member)
{
    return member->state == SWIM_DEAD || member->state == SWIM_LEFT;
}

static void bury (struct swim *swim, struct member *member, enum swim_state state)
{
    probe_forget (swim, member);
    member->nonce = 0;
    table_set_state (swim, member, state);
    timers_set (&swim->timers, member, swim->now + swim->parameters.tombstone_time);
}

void merge_bury (struct swim *swim, struct member *member, enum swim_state state, uint64_t incarnation)
{
    if (incarnation > member->incarnation)
        table_set_incarnation (swim, member, member->instance, incarnation);
    bury (swim, member, state);
    member->unreached = false;
    rumours_tell (swim, member, (struct slice){0});
    swim_report (swim, member);
}

void merge_give_up (struct swim *swim, struct member *member)
{
    bury (swim, member, SWIM_DEAD);
    member->unreached = true;
    rumours_stop (swim, member);
    swim_report (swim, member);
}

/* The member has to answer a probe (again). Returns false when the table is full. */
static bool join (struct swim *swim, struct member *member)
{
    probe_forget (swim, member);
    member->nonce = 0;
    if (!table_set_state (swim, member, SWIM_JOINING))
        return false;
    member->unreached = false;
    swim_report (swim, member);
    probe_joining (swim, member);
    return true;
}

void merge_revive (struct swim *swim, struct member *member)
{
    join (swim, member);
}

/* -------------------------------------------------------------------------------------------------- the own member */

/* A record of the own id: returns whether it cannot be ours. */
static bool is_foreign (const struct swim *swim, uint64_t instance, uint64_t incarnation)
{
    const struct member *own = swim->own;
    return instance > own->instance || (instance == own->instance && incarnation > own->incarnation);
}

/* Whether the record, which has our instance and incarnation, says something else than we do. */
static bool differs (const struct member *own, const struct message_swim_member *record)
{
    struct slice address = slice_from (member_address (own));
    return !slice_equal (record->name, slice_from (own->text + own->name)) ||
           (address.len && !slice_equal (record->address, address)) || record->port != own->port ||
           record->gossip_port != own->gossip_port ||
           !slice_equal (record->tls_key, slice_from (own->text + own->tls_key));
}

static void merge_own_member (struct swim *swim, const struct message_swim_member *record)
{
    bool current = record->instance == swim->own->instance && record->incarnation == swim->own->incarnation;
    if (is_foreign (swim, record->instance, record->incarnation) || (current && differs (swim->own, record)))
        swim_claim (swim, record->instance);
    else if (current && record->accuser.len)
        swim_refute (swim, record->incarnation);
}

static void merge_own_verdict (struct swim *swim, const struct message_swim_verdict *verdict)
{
    if (is_foreign (swim, verdict->instance, verdict->incarnation))
        swim_claim (swim, verdict->instance);
    else if (verdict->instance == swim->own->instance && verdict->incarnation == swim->own->incarnation)
        swim_refute (swim, verdict->incarnation);
}

/* -------------------------------------------------------------------------------------------------- other members */

/* Tells the sender what we know of it, at the address that it has now. */
static void correct (struct swim *swim, const struct member *member, struct slice address, uint16_t port)
{
    if (!bucket_take (&swim->replies, swim->now))
        return;
    char text[ADDRESS_MAX + 1] = {0};
    memcpy (text, address.at, address.len);
    struct packet packet;
    swim_packet (swim, &packet);
    swim_add_record (&packet, member);
    swim_send_to (swim, text, port, &packet);
}

static void add (struct swim *swim, const struct source *source, const struct message_swim_member *record,
                 struct slice address)
{
    struct member *member = table_add (swim, record, address);
    if (!member)
        return;
    if (!source->table || swim->now - swim->started >= NEWCOMER_TIME)
        rumours_tell (swim, member, (struct slice){0});
    join (swim, member);
}

static void replace (struct swim *swim, struct member *member, const struct message_swim_member *record,
                     struct slice address)
{
    if (is_tombstone (member) && swim->table.living_count == SWIM_MEMBERS_MAX)
    {
        swim->counters.dropped_members++;
        return;
    }
    table_set_incarnation (swim, member, record->instance, record->incarnation);
    table_describe (swim, member, record, address);
    join (swim, member);
    rumours_tell (swim, member, (struct slice){0});
}

/* The member has spoken with a greater incarnation. */
static void renew (struct swim *swim, struct member *member, const struct message_swim_member *record,
                   struct slice address)
{
    enum swim_state before = (enum swim_state) member->state;
    if (is_tombstone (member) && swim->table.living_count == SWIM_MEMBERS_MAX)
    {
        swim->counters.dropped_members++;
        return;
    }
    table_set_incarnation (swim, member, record->instance, record->incarnation);
    bool changed = table_describe (swim, member, record, address);
    if (is_tombstone (member))
    {
        swim->counters.deaths_refuted += before == SWIM_DEAD && !member->unreached;
        sync_soon (swim);
        join (swim, member);
    }
    else if (before == SWIM_SUSPECT)
    {
        swim->counters.refuted++;
        suspicion_doubt (swim);
        table_set_state (swim, member, SWIM_ALIVE);
        swim_report (swim, member);
    }
    else if (changed)
        swim_report (swim, member);
    rumours_tell (swim, member, (struct slice){0});
    if (before == SWIM_SUSPECT)
        rumours_hurry (swim, false);
}

/* What members say of themselves goes into headers, JSON and the log: no control characters. */
static bool is_text (struct slice text)
{
    for (size_t index = 0; index < text.len; index++)
        if ((uint8_t) text.at[index] < ' ' || text.at[index] == 0x7f)
            return false;
    return true;
}

static bool is_sound (const struct message_swim_member *record)
{
    return record->id.len && record->gossip_port && is_text (record->id) && is_text (record->name) &&
           is_text (record->address) && is_text (record->tls_key) && is_text (record->version);
}

bool merge_member (struct swim *swim, const struct source *source, const struct message_swim_member *record)
{
    if (!is_sound (record))
        return false;
    struct member *member = table_find (&swim->table, record->id);
    if (member == swim->own)
    {
        merge_own_member (swim, record);
        return true;
    }
    bool direct = slice_equal (source->sender, record->id);
    struct slice address = record->address;
    if (!address.len && direct)
        address = slice_from (source->from);
    if (!address.len || address.len > ADDRESS_MAX)
        return true; /* nobody could reach it */

    if (!member)
        add (swim, source, record, address);
    else if (record->instance > member->instance)
        replace (swim, member, record, address);
    else if (record->instance == member->instance && record->incarnation > member->incarnation)
        renew (swim, member, record, address);
    else if (direct && member->unreached)
        join (swim, member);
    else if (direct && (record->instance < member->instance || is_tombstone (member)))
        correct (swim, member, address, (uint16_t) record->gossip_port);
    member = table_find (&swim->table, record->id);
    if (record->accuser.len && member && record->instance == member->instance)
        suspicion_accuse (swim, member, record->incarnation, record->accuser);
    return true;
}

void merge_verdict (struct swim *swim, const struct source *source, const struct message_swim_verdict *verdict)
{
    struct member *member = table_find (&swim->table, verdict->id);
    if (!member)
        return;
    if (member == swim->own)
    {
        merge_own_verdict (swim, verdict);
        return;
    }
    enum swim_state state = verdict->state == 0 ? SWIM_SUSPECT : verdict->state == 1 ? SWIM_DEAD : SWIM_LEFT;
    bool newer = verdict->instance > member->instance;
    if (verdict->instance < member->instance || (!newer && verdict->incarnation < member->incarnation))
        return;
    if (state == SWIM_SUSPECT || (state == SWIM_DEAD && source->table && !newer))
    {
        struct slice accuser = verdict->accuser.len ? verdict->accuser : source->sender;
        if (!newer)
            suspicion_accuse (swim, member, verdict->incarnation, accuser);
        return;
    }
    bool final = is_tombstone (member) && (member->state == SWIM_LEFT || state == SWIM_DEAD);
    if (final && !newer && verdict->incarnation == member->incarnation)
        return;
    if (newer)
        table_set_incarnation (swim, member, verdict->instance, verdict->incarnation);
    merge_bury (swim, member, state, verdict->incarnation);
}
