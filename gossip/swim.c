/* swim.c - the calls of swim.h.
 *
 * How the parts hang together is in machine.h and in docs/gossip.md.
 *
 * The machine's clock is the caller's without the times in which the process stood still: a tick that comes more than
 * STALL_TIME late means that we were paused, or starved. Nobody could answer us meanwhile, so that time must not count
 * against anybody; and going back, the caller's clock makes ours stop, not jump.
 */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>

/* Each value with its reason; docs/gossip.md has what follows from them. */
struct swim_parameters swim_standard (void)
{
    return (struct swim_parameters){
        /* Three members that are well cost each 4 messages a second, 0.9 kB with all headers. */
        .probe_interval = 500,
        /* A ping is repeated after a third of it; TCP repeats what was lost after 200 ms at the earliest. A probe fails
         * after twice this time. */
        .probe_timeout = 200,
        /* At 25 % loss, gossip every 200 ms gave false deaths, every 100 ms none. */
        .gossip_interval = 100,
        /* A member that handles everything 1 s late hears that it is suspected in time to refute. */
        .suspicion_least = 1150,
        /* While nobody confirms: long, because a real death is confirmed within a second. */
        .suspicion_most = 3000,
        /* A digest only, when nothing is amiss. */
        .sync_interval = 30000,
        .tombstone_time = 60000,
        .indirect_probes = 3,
        .gossip_fanout = 3,
        .retransmit_factor = 4,
        .health_most = 8,
    };
}

/* ----------------------------------------------------------------------------------------------------------- tools */

void *swim_must (void *memory)
{
    if (memory)
        return memory;
    fputs ("shoal: out of memory\n", stderr);
    abort ();
}

/* splitmix64. */
uint64_t swim_random (struct swim *swim)
{
    uint64_t mixed = swim->random += UINT64_C (0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C (0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

uint32_t swim_random_below (struct swim *swim, uint32_t limit)
{
    return limit ? (uint32_t) ((swim_random (swim) >> 32) * limit >> 32) : 0;
}

uint32_t swim_nonce (struct swim *swim)
{
    return (uint32_t) swim_random (swim) | 1;
}

bool bucket_take (struct bucket *bucket, uint64_t now)
{
    uint64_t gained = (now - bucket->filled) * bucket->rate, most = bucket->burst * UINT64_C (1000);
    bucket->filled = now;
    bucket->thousandths = bucket->thousandths + gained > most ? most : bucket->thousandths + gained;
    if (bucket->thousandths < 1000)
        return false;
    bucket->thousandths -= 1000;
    return true;
}

static struct bucket full_bucket (uint32_t rate, uint32_t burst, uint64_t now)
{
    return (struct bucket){.thousandths = burst * UINT64_C (1000), .filled = now, .rate = rate, .burst = burst};
}

/* -------------------------------------------------------------------------------------------------------- records */

static void copy_text (char *out, size_t size, const char *text)
{
    snprintf (out, size, "%s", text);
}

static const struct swim_member *show (const struct swim *swim, const struct member *member)
{
    struct swim_member *shown = swim->shown;
    struct swim_identity *identity = &shown->identity;
    shown->state = (enum swim_state) member->state;
    shown->incarnation = member->incarnation;
    identity->instance = member->instance;
    identity->port = member->port;
    identity->gossip_port = member->gossip_port;
    identity->manager = member->manager;
    identity->key_set = member->key_set;
    copy_text (identity->id, sizeof identity->id, member->text);
    copy_text (identity->name, sizeof identity->name, member->text + member->name);
    copy_text (identity->address, sizeof identity->address, member_address (member));
    copy_text (identity->tls_key, sizeof identity->tls_key, member->text + member->tls_key);
    copy_text (identity->version, sizeof identity->version, member->text + member->version);
    return shown;
}

void swim_report (struct swim *swim, const struct member *member)
{
    swim->callbacks.changed (swim->context, show (swim, member));
}

static size_t verdict_record (const struct member *member, struct slice accuser, char out[PACKET_ITEM_MAX])
{
    union message_fields fields = {.swim_verdict = {.id = member_id (member),
                                                    .instance = member->instance,
                                                    .incarnation = member->incarnation,
                                                    .state = member->state - (uint64_t) SWIM_SUSPECT,
                                                    .accuser = accuser}};
    return packet_item (PACKET_VERDICT, &fields, out);
}

size_t swim_record (const struct member *member, struct slice accuser, bool whole, char out[PACKET_ITEM_MAX])
{
    bool tombstone = member->state == SWIM_DEAD || member->state == SWIM_LEFT;
    if (tombstone || (accuser.len && !whole))
        return verdict_record (member, accuser, out);
    union message_fields fields = {.swim_member = {.id = member_id (member),
                                                   .instance = member->instance,
                                                   .incarnation = member->incarnation,
                                                   .accuser = accuser,
                                                   .name = slice_from (member->text + member->name),
                                                   .address = slice_from (member_address (member)),
                                                   .port = member->port,
                                                   .gossip_port = member->gossip_port,
                                                   .manager = member->manager,
                                                   .key_set = member->key_set,
                                                   .tls_key = slice_from (member->text + member->tls_key),
                                                   .version = slice_from (member->text + member->version)}};
    return packet_item (PACKET_MEMBER, &fields, out);
}

bool swim_add_record (struct packet *packet, const struct member *member)
{
    char item[PACKET_ITEM_MAX];
    return packet_add_item (packet, slice_of (item, swim_record (member, (struct slice){0}, false, item)));
}

static struct message_swim_member record_of (const struct swim_identity *identity)
{
    return (struct message_swim_member){.id = slice_from (identity->id),
                                        .instance = identity->instance,
                                        .name = slice_from (identity->name),
                                        .address = slice_from (identity->address),
                                        .port = identity->port,
                                        .gossip_port = identity->gossip_port,
                                        .manager = identity->manager,
                                        .key_set = identity->key_set,
                                        .tls_key = slice_from (identity->tls_key),
                                        .version = slice_from (identity->version)};
}

/* --------------------------------------------------------------------------------------------------------- packets */

void swim_packet (struct swim *swim, struct packet *packet)
{
    packet_begin (packet, member_id (swim->own));
}

void swim_send_to (struct swim *swim, const char *address, uint16_t port, struct packet *packet)
{
    struct slice bytes = packet_end (packet);
    swim->counters.packets_out++;
    swim->counters.bytes_out += bytes.len;
    swim->callbacks.send (swim->context, address, port, bytes);
}

void swim_send (struct swim *swim, const struct member *member, struct packet *packet)
{
    swim_send_to (swim, member_address (member), member->gossip_port, packet);
}

/* -------------------------------------------------------------------------------------------------- the own record */

void swim_claim (struct swim *swim, uint64_t instance)
{
    /* Two living processes with one id would outbid each other without end; once a second is bearable. */
    bool again = swim->claimed && swim->now - swim->claimed < CLAIM_TIME;
    if (swim->left || again || instance >= INSTANCE_MAX)
        return;
    swim->claimed = swim->now;
    table_set_incarnation (swim, swim->own, instance + 1, 0);
    rumours_tell (swim, swim->own, (struct slice){0});
    if (swim->callbacks.own_changed)
        swim->callbacks.own_changed (swim->context, show (swim, swim->own));
}

void swim_refute (struct swim *swim, uint64_t incarnation)
{
    if (swim->left)
        return;
    if (incarnation >= UINT32_MAX - 1)
    {
        swim_claim (swim, swim->own->instance);
        return;
    }
    table_set_incarnation (swim, swim->own, swim->own->instance, incarnation + 1);
    probe_health (swim, 1);
    rumours_tell (swim, swim->own, (struct slice){0});
    rumours_hurry (swim, true);
}

/* ----------------------------------------------------------------------------------------------------------- clock */

static void advance (struct swim *swim, uint64_t outside)
{
    if (outside < swim->outside)
        swim->standstill -= (int64_t) (swim->outside - outside);
    swim->outside = outside;
    uint64_t now = (uint64_t) ((int64_t) outside - swim->standstill);
    if (now > swim->due + STALL_TIME)
    {
        swim->standstill += (int64_t) (now - swim->due);
        now = swim->due;
        probe_health (swim, 1);
    }
    swim->now = now > swim->now ? now : swim->now;
}

static uint64_t earliest (uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_due (const struct swim *swim)
{
    uint64_t due = swim->rumours.count ? swim->rumours.due : UINT64_MAX;
    if (!swim->left)
        due = earliest (due, earliest (probe_due (swim), sync_due (swim)));
    const struct member *first = timers_first (&swim->timers);
    due = earliest (due, first && !swim->left ? first->due : UINT64_MAX);
    return earliest (due, swim->now + swim->parameters.sync_interval);
}

static void member_timer (struct swim *swim, struct member *member)
{
    if (member->state == SWIM_JOINING)
        probe_joining (swim, member);
    else if (member->state == SWIM_SUSPECT)
        suspicion_tick (swim, member);
    else
        table_forget (swim, member);
}

uint64_t swim_tick (struct swim *swim, uint64_t now)
{
    advance (swim, now);
    if (!swim->left)
    {
        for (struct member *first; (first = timers_first (&swim->timers)) && first->due <= swim->now;)
            member_timer (swim, first);
        probe_tick (swim);
        sync_tick (swim);
    }
    rumours_tick (swim);
    swim->due = next_due (swim);
    if (swim->due <= swim->now)
        swim->due = swim->now + 1;
    return (uint64_t) ((int64_t) swim->due + swim->standstill);
}

/* ----------------------------------------------------------------------------------------------------------- calls */

struct swim *swim_new (const struct swim_parameters *parameters, const struct swim_identity *identity,
                       const struct swim_callbacks *callbacks, void *context, uint64_t now, uint64_t seed)
{
    struct swim *swim = swim_must (calloc (1, sizeof *swim));
    swim->shown = swim_must (calloc (1, sizeof *swim->shown));
    swim->parameters = *parameters;
    if (swim->parameters.indirect_probes > HELPERS_MAX)
        swim->parameters.indirect_probes = HELPERS_MAX;
    if (swim->parameters.gossip_fanout > FANOUT_MAX)
        swim->parameters.gossip_fanout = FANOUT_MAX;
    swim->callbacks = *callbacks;
    swim->context = context;
    swim->random = seed;
    /* Our time does not begin at 0, so that "long ago" can be told from "never". */
    swim->now = swim->outside = now;
    if (now < 1000)
    {
        swim->now = 1000;
        swim->standstill = (int64_t) now - 1000;
    }
    now = swim->started = swim->now;
    swim->joining_pings = full_bucket (JOINING_RATE, JOINING_BURST, now);
    swim->contacts = full_bucket (CONTACT_RATE, CONTACT_BURST, now);
    swim->tables = full_bucket (TABLE_RATE, TABLE_BURST, now);
    swim->replies = full_bucket (REPLY_RATE, REPLY_BURST, now);
    /* Members that were started together must not probe together. */
    swim->probe.due = now + swim_random_below (swim, parameters->probe_interval);
    sync_soon (swim);
    swim->rumours.due = UINT64_MAX;
    swim->due = now;
    struct message_swim_member record = record_of (identity);
    if (record.instance > INSTANCE_MAX)
        record.instance = INSTANCE_MAX;
    table_adopt_own (swim, table_add (swim, &record, record.address));
    return swim;
}

void swim_destroy (struct swim **self)
{
    struct swim *swim = *self;
    *self = NULL;
    if (!swim)
        return;
    rumours_clear (swim);
    table_clear (swim);
    free (swim->shown);
    free (swim);
}

void swim_update (struct swim *swim, const struct swim_identity *identity, uint64_t now)
{
    advance (swim, now);
    struct message_swim_member record = record_of (identity);
    /* The old text, id included, is gone once the new one is written. */
    char id[sizeof identity->id];
    copy_text (id, sizeof id, swim->own->text);
    record.id = slice_from (id);
    if (swim->left || !table_describe (swim, swim->own, &record, record.address))
        return;
    if (swim->own->incarnation >= UINT32_MAX - 1)
    {
        swim_claim (swim, swim->own->instance);
        return;
    }
    table_set_incarnation (swim, swim->own, swim->own->instance, swim->own->incarnation + 1);
    rumours_tell (swim, swim->own, (struct slice){0});
}

void swim_join (struct swim *swim, const char *address, uint16_t port, uint64_t now)
{
    advance (swim, now);
    const struct member *member = table_find_address (&swim->table, slice_from (address), port);
    if (swim->left || (member && member->state == SWIM_ALIVE) || !bucket_take (&swim->contacts, swim->now))
        return;
    sync_ask (swim, address, port);
}

void swim_leave (struct swim *swim, uint64_t now)
{
    advance (swim, now);
    if (swim->left)
        return;
    swim->left = true;
    swim->own->state = SWIM_LEFT;
    rumours_tell (swim, swim->own, (struct slice){0});
    struct packet packet;
    swim_packet (swim, &packet);
    swim_add_record (&packet, swim->own);
    for (size_t index = 1; index < swim->table.living_count; index++)
        swim_send (swim, swim->table.living[index], &packet);
}

/* Returns false when the message is not what it may be. */
static bool dispatch (struct swim *swim, struct source *source, enum packet_kind kind,
                      const union message_fields *fields)
{
    struct member *sender = table_find (&swim->table, source->sender);
    switch (kind)
    {
    case PACKET_PING:
        probe_on_ping (swim, sender, &fields->swim_ping);
        return true;
    case PACKET_PING_REQUEST:
        probe_on_request (swim, sender, &fields->swim_ping_request);
        return true;
    case PACKET_ACK:
        probe_on_ack (swim, sender, &fields->swim_ack);
        return true;
    case PACKET_NACK:
        probe_on_nack (swim, &fields->swim_nack);
        return true;
    case PACKET_MEMBER:
        return merge_member (swim, source, &fields->swim_member);
    case PACKET_VERDICT:
        merge_verdict (swim, source, &fields->swim_verdict);
        return true;
    case PACKET_SYNC:
        sync_on_sync (swim, sender, &fields->swim_sync);
        return true;
    case PACKET_TABLE:
        source->table = true;
        sync_on_table (swim, sender, &fields->swim_table);
        return true;
    case PACKET_KINDS:
        break;
    }
    return false;
}

void swim_receive (struct swim *swim, const char *from, struct slice bytes, uint64_t now)
{
    advance (swim, now);
    swim->counters.packets_in++;
    swim->counters.bytes_in += bytes.len;
    struct packet_reader reader;
    struct message_error error;
    if (bytes.len > SWIM_PACKET_MAX || packet_open (&reader, bytes, &error) < 0)
    {
        swim->counters.refused++;
        return;
    }
    if (slice_equal (reader.sender, member_id (swim->own)))
        return;
    struct source source = {.sender = reader.sender, .from = from};
    enum packet_kind kind;
    union message_fields fields;
    int result;
    while ((result = packet_next (&reader, &kind, &fields, &error)) > 0)
        if ((swim->left && kind != PACKET_PING) || !dispatch (swim, &source, kind, &fields))
            break;
    bool refused = result < 0 || (result > 0 && !swim->left);
    swim->counters.refused += refused;
}

size_t swim_count (const struct swim *swim)
{
    return swim->table.living_count;
}

const struct swim_member *swim_at (const struct swim *swim, size_t index)
{
    return show (swim, swim->table.living[index]);
}

unsigned swim_health (const struct swim *swim)
{
    return swim->health;
}

struct swim_counters swim_counters (const struct swim *swim)
{
    return swim->counters;
}
