/* sync.c - push/pull of whole tables: what gossip has missed, first contact, and two clusters becoming one.
 *
 *   A ── own record, swim_sync (digest) ──────────────────▶ B   nothing more happens when B's digest is the same
 *   A ◀──────────────────── swim_table and all of B's records, swim_table (last) ── B
 *   A ── swim_table and all of A's records ──────────────▶ B   if A's digest still differs from B's
 *
 * A table holds the members that answered a probe of the sender, and the dead that it remembers; not those that it only
 * heard of, so that what never existed dies out. A table is no news: it may have lain on the far side of a partition.
 * So merge.c takes its dead for suspects, who can refute.
 */
#include "machine.h"

void sync_ask (struct swim *swim, const char *address, uint16_t port)
{
    struct packet packet;
    swim_packet (swim, &packet);
    swim_add_record (&packet, swim->own);
    packet_add (&packet, PACKET_SYNC, &(union message_fields){.swim_sync = {.digest = swim->table.digest}});
    swim_send_to (swim, address, port, &packet);
}

static bool add_head (const struct swim *swim, struct packet *packet, bool last)
{
    return packet_add (packet, PACKET_TABLE,
                       &(union message_fields){.swim_table = {.digest = swim->table.digest, .last = last}});
}

static void next_piece (struct swim *swim, struct member *receiver, struct packet *packet)
{
    swim_send (swim, receiver, packet);
    swim_packet (swim, packet);
    add_head (swim, packet, false);
}

static void add_record (struct swim *swim, struct member *receiver, struct packet *packet, const struct member *member)
{
    if (swim_add_record (packet, member))
        return;
    next_piece (swim, receiver, packet);
    swim_add_record (packet, member);
}

static void send_table (struct swim *swim, struct member *receiver, bool ask_back)
{
    if (!bucket_take (&swim->tables, swim->now))
        return;
    struct packet packet;
    swim_packet (swim, &packet);
    add_head (swim, &packet, false);
    swim_add_record (&packet, swim->own);
    for (size_t index = 0; index < swim->table.order_count; index++)
        add_record (swim, receiver, &packet, swim->table.order[index]);
    for (size_t index = 0; index < swim->table.tombstone_count; index++)
        if (!swim->table.tombstones[index]->unreached)
            add_record (swim, receiver, &packet, swim->table.tombstones[index]);
    if (ask_back && !add_head (swim, &packet, true))
    {
        next_piece (swim, receiver, &packet);
        add_head (swim, &packet, true);
    }
    swim_send (swim, receiver, &packet);
}

void sync_on_sync (struct swim *swim, struct member *sender, const struct message_swim_sync *sync)
{
    if (sender && sync->digest != swim->table.digest)
        send_table (swim, sender, true);
}

void sync_on_table (struct swim *swim, struct member *sender, const struct message_swim_table *table)
{
    if (sender && table->last && table->digest != swim->table.digest)
        send_table (swim, sender, false);
}

/* One of the dead may be back, or have been cut off only. */
static void reconnect (struct swim *swim)
{
    size_t count = swim->table.tombstone_count;
    if (count == 0)
        return;
    const struct member *dead = swim->table.tombstones[swim_random_below (swim, (uint32_t) count)];
    if (dead->state == SWIM_DEAD)
        sync_ask (swim, member_address (dead), dead->gossip_port);
}

static void schedule (struct swim *swim)
{
    uint32_t interval = swim->sync_interval, most = swim->parameters.sync_interval;
    swim->sync_due = swim->now + interval / 2 + swim_random_below (swim, interval);
    swim->sync_interval = interval < most / 2 ? 2 * interval : most;
}

void sync_soon (struct swim *swim)
{
    swim->sync_interval = SYNC_SOON;
    schedule (swim);
}

void sync_tick (struct swim *swim)
{
    if (swim->now >= swim->reconnect_due)
    {
        reconnect (swim);
        swim->reconnect_due = swim->now + RECONNECT_TIME;
    }
    if (swim->now < swim->sync_due)
        return;
    struct member *partner;
    if (table_pick (swim, &partner, 1, NULL))
        sync_ask (swim, member_address (partner), partner->gossip_port);
    schedule (swim);
}

uint64_t sync_due (const struct swim *swim)
{
    return swim->table.tombstone_count && swim->reconnect_due < swim->sync_due ? swim->reconnect_due : swim->sync_due;
}
