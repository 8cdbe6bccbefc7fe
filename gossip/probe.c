/* probe.c - failure detection.
 *
 * Once in a probe interval the next member of a shuffled list is asked (SWIM sections 4.1 and 4.3):
 *
 *   0 ms             ping; its ack ends the probe
 *   timeout / 3      the ping again, with our record in case the target does not know us; and so on
 *   timeout          helpers are asked to ping it too: ack from the target by way of them, or nack from themselves
 *   timeout * 2      failed: the target is suspected
 *
 * Repeating the ping costs nothing while all is well, and at 25 % loss it makes one suspicion in 40 probes of what
 * would be one in three (three members, one helper).
 *
 * Local health (Lifeguard section IV-A): a failed probe without nacks, and having to refute, say that perhaps we are
 * the slow one; then interval and timeout grow, up to 1 + health_most times.
 *
 * Joining members are asked at once, at a bounded rate, until they answer or JOINING_TIME is over.
 */
#include "machine.h"

static struct slice own_id (const struct swim *swim)
{
    return member_id (swim->own);
}

static uint64_t scaled (const struct swim *swim, uint32_t time)
{
    return (uint64_t) time * (1 + swim->health);
}

void probe_health (struct swim *swim, int change)
{
    if (change < 0 && swim->health > 0)
        swim->health--;
    else if (change > 0 && swim->health < swim->parameters.health_most)
        swim->health++;
}

/* ----------------------------------------------------------------------------------------------------------- pings */

static void add_ping (struct packet *packet, const struct member *member, uint32_t nonce)
{
    packet_add (packet, PACKET_PING,
                &(union message_fields){.swim_ping = {.nonce = nonce,
                                                      .target = member_id (member),
                                                      .instance = member->instance,
                                                      .incarnation = member->incarnation,
                                                      .suspected = member->state == SWIM_SUSPECT}});
}

void probe_ping (struct swim *swim, struct member *member, bool introduce)
{
    struct packet packet;
    swim_packet (swim, &packet);
    if (introduce)
        swim_add_record (&packet, swim->own);
    if (!member->nonce)
        member->nonce = swim_nonce (swim);
    add_ping (&packet, member, member->nonce);
    if (member->state != SWIM_JOINING)
        rumours_append (swim, &packet, PIGGYBACK_BYTES, 1);
    swim_send (swim, member, &packet);
}

void probe_joining (struct swim *swim, struct member *member)
{
    if (swim->now - member->since >= JOINING_TIME)
    {
        merge_give_up (swim, member);
        return;
    }
    if (!bucket_take (&swim->joining_pings, swim->now))
    {
        timers_set (&swim->timers, member, swim->now + 50 + swim_random_below (swim, 100));
        return;
    }
    probe_ping (swim, member, true);
    /* The first three follow each other quickly, for loss; then ever slower, for hosts that are not there. */
    unsigned doubled = member->attempts < 3 ? 0 : member->attempts - 2u;
    member->attempts += member->attempts < 6;
    timers_set (&swim->timers, member, swim->now + ((uint64_t) swim->parameters.gossip_interval << doubled));
}

/* ------------------------------------------------------------------------------------------------------ the probe */

/* The next in turn; before that, a suspect that we were chosen to confirm. */
static struct member *next_target (struct swim *swim)
{
    struct member *urgent = swim->probe.urgent;
    swim->probe.urgent = NULL;
    if (urgent && urgent->state == SWIM_SUSPECT && !urgent->accused)
        return urgent;
    struct member *member = table_next_turn (swim);
    /* Those that we accuse are being asked anyway. */
    for (unsigned try = 0; try < 3 && member && member->accused; try++)
        member = table_next_turn (swim);
    return member;
}

static void begin (struct swim *swim)
{
    struct probe *probe = &swim->probe;
    struct member *member = next_target (swim);
    *probe = (struct probe){.started = swim->now, .due = swim->now + scaled (swim, swim->parameters.probe_interval)};
    if (!member || member->accused)
        return;
    swim->counters.probes++;
    probe->member = member;
    probe->due = swim->now + scaled (swim, swim->parameters.probe_timeout) / REPEATS;
    member->nonce = swim_nonce (swim);
    probe_ping (swim, member, false);
}

static void ask_helpers (struct swim *swim)
{
    struct probe *probe = &swim->probe;
    probe->indirect = true;
    struct member *helpers[HELPERS_MAX];
    unsigned wanted = swim->parameters.indirect_probes;
    probe->helpers = (unsigned) table_pick (swim, helpers, wanted, probe->member);
    for (unsigned index = 0; index < probe->helpers; index++)
    {
        struct packet packet;
        swim_packet (swim, &packet);
        packet_add (&packet, PACKET_PING_REQUEST,
                    &(union message_fields){
                        .swim_ping_request = {.nonce = probe->member->nonce, .target = member_id (probe->member)}});
        swim_send (swim, helpers[index], &packet);
    }
}

static void fail (struct swim *swim)
{
    struct probe *probe = &swim->probe;
    struct member *member = probe->member;
    probe->member = NULL;
    probe->due = probe->started + scaled (swim, swim->parameters.probe_interval);
    swim->counters.probes_failed++;
    if (probe->helpers == 0 || probe->nacks < probe->helpers)
        probe_health (swim, 1);
    suspicion_accuse (swim, member, member->incarnation, own_id (swim));
}

static void succeed (struct swim *swim)
{
    struct probe *probe = &swim->probe;
    probe->member = NULL;
    probe->due = probe->started + scaled (swim, swim->parameters.probe_interval);
    probe_health (swim, -1);
    if (probe->repeated)
        suspicion_doubt (swim);
}

static void step (struct swim *swim)
{
    struct probe *probe = &swim->probe;
    uint64_t end = probe->started + 2 * scaled (swim, swim->parameters.probe_timeout);
    if (!probe->member)
    {
        begin (swim);
        return;
    }
    if (swim->now >= end)
    {
        fail (swim);
        return;
    }
    if (!probe->indirect && swim->now - probe->started >= scaled (swim, swim->parameters.probe_timeout))
        ask_helpers (swim);
    probe_ping (swim, probe->member, true);
    probe->repeated = true;
    probe->due = swim->now + scaled (swim, swim->parameters.probe_timeout) / REPEATS;
    if (probe->due > end)
        probe->due = end;
}

void probe_urge (struct swim *swim, struct member *member)
{
    if (!swim->probe.urgent)
        swim->probe.urgent = member;
}

void probe_forget (struct swim *swim, const struct member *member)
{
    if (swim->probe.urgent == member)
        swim->probe.urgent = NULL;
    if (swim->probe.member != member)
        return;
    swim->probe.member = NULL;
    swim->probe.due = swim->probe.started + scaled (swim, swim->parameters.probe_interval);
}

/* ----------------------------------------------------------------------------------------------- probes for others */

static struct relay *relay_at (struct swim *swim, size_t index)
{
    return &swim->relays[(swim->relay_first + index) % RELAYS_MAX];
}

static void answer (struct swim *swim, const struct relay *relay, enum packet_kind kind)
{
    struct member *requester = table_find_hash (&swim->table, relay->requester);
    if (!requester)
        return;
    struct packet packet;
    swim_packet (swim, &packet);
    packet_add (&packet, kind, &(union message_fields){.swim_ack = {.nonce = relay->requester_nonce}});
    swim_send (swim, requester, &packet);
}

static void ask_target (struct swim *swim, const struct relay *relay)
{
    struct member *target = table_find_hash (&swim->table, relay->target);
    if (!target)
        return;
    struct packet packet;
    swim_packet (swim, &packet);
    swim_add_record (&packet, swim->own);
    add_ping (&packet, target, relay->nonce);
    swim_send (swim, target, &packet);
}

static void relays_tick (struct swim *swim)
{
    for (; swim->relay_count && relay_at (swim, 0)->due <= swim->now; swim->relay_count--)
    {
        struct relay *relay = relay_at (swim, 0);
        if (relay->open)
            answer (swim, relay, PACKET_NACK);
        swim->relay_first = (swim->relay_first + 1) % RELAYS_MAX;
    }
    for (size_t index = 0; index < swim->relay_count; index++)
    {
        struct relay *relay = relay_at (swim, index);
        if (!relay->open || relay->repeated || relay->repeat > swim->now)
            continue;
        relay->repeated = true;
        ask_target (swim, relay);
    }
}

static uint64_t relays_due (const struct swim *swim)
{
    uint64_t due = UINT64_MAX;
    for (size_t index = 0; index < swim->relay_count; index++)
    {
        const struct relay *relay = &swim->relays[(swim->relay_first + index) % RELAYS_MAX];
        uint64_t next = relay->open && !relay->repeated ? relay->repeat : relay->due;
        due = next < due ? next : due;
    }
    return due;
}

void probe_on_request (struct swim *swim, struct member *sender, const struct message_swim_ping_request *request)
{
    const struct member *target = table_find (&swim->table, request->target);
    if (!sender || !target || target == swim->own || swim->relay_count == RELAYS_MAX)
        return;
    struct relay *relay = relay_at (swim, swim->relay_count++);
    /* The nack must be there before the requester's probe ends. */
    uint32_t time = swim->parameters.probe_timeout * 3 / 4;
    *relay = (struct relay){.requester = sender->hash,
                            .target = target->hash,
                            .requester_nonce = (uint32_t) request->nonce,
                            .nonce = swim_nonce (swim),
                            .repeat = swim->now + time / 2,
                            .due = swim->now + time,
                            .open = true};
    ask_target (swim, relay);
}

void probe_tick (struct swim *swim)
{
    relays_tick (swim);
    if (swim->now >= swim->probe.due)
        step (swim);
}

uint64_t probe_due (const struct swim *swim)
{
    uint64_t relay = relays_due (swim);
    return relay < swim->probe.due ? relay : swim->probe.due;
}

/* --------------------------------------------------------------------------------------------------------- answers */

void probe_on_ping (struct swim *swim, struct member *sender, const struct message_swim_ping *ping)
{
    const struct member *own = swim->own;
    if (!slice_equal (ping->target, own_id (swim)))
        return; /* our address was another's before */
    bool foreign =
        ping->instance > own->instance || (ping->instance == own->instance && ping->incarnation > own->incarnation);
    if (foreign)
        swim_claim (swim, ping->instance);
    else if (ping->suspected && ping->instance == own->instance && ping->incarnation == own->incarnation)
        swim_refute (swim, ping->incarnation);
    if (!sender)
        return;
    struct packet packet;
    swim_packet (swim, &packet);
    if (ping->instance != own->instance || ping->incarnation != own->incarnation || ping->suspected)
        swim_add_record (&packet, own);
    if (sender->state == SWIM_DEAD || sender->state == SWIM_LEFT)
    {
        if (sender->unreached)
            merge_revive (swim, sender);
        else
            swim_add_record (&packet, sender); /* so that it can refute */
    }
    if (!swim->left)
        packet_add (&packet, PACKET_ACK, &(union message_fields){.swim_ack = {.nonce = ping->nonce}});
    if (sender->state != SWIM_JOINING)
        rumours_append (swim, &packet, PIGGYBACK_BYTES, 1);
    swim_send (swim, sender, &packet);
}

static void on_direct_ack (struct swim *swim, struct member *sender)
{
    sender->nonce = 0;
    if (swim->probe.member == sender)
        succeed (swim);
    if (sender->state == SWIM_JOINING && table_set_state (swim, sender, SWIM_ALIVE))
        swim_report (swim, sender);
}

void probe_on_ack (struct swim *swim, struct member *sender, const struct message_swim_ack *ack)
{
    if (!sender || !ack->nonce)
        return;
    if (sender->nonce == ack->nonce)
    {
        on_direct_ack (swim, sender);
        return;
    }
    if (swim->probe.member && swim->probe.indirect && swim->probe.member->nonce == ack->nonce)
    {
        succeed (swim);
        return;
    }
    for (size_t index = 0; index < swim->relay_count; index++)
    {
        struct relay *relay = relay_at (swim, index);
        if (!relay->open || relay->nonce != ack->nonce)
            continue;
        relay->open = false;
        answer (swim, relay, PACKET_ACK);
        return;
    }
}

void probe_on_nack (struct swim *swim, const struct message_swim_nack *nack)
{
    struct probe *probe = &swim->probe;
    if (probe->member && probe->indirect && probe->member->nonce == nack->nonce && probe->nacks < probe->helpers)
        probe->nacks++;
}
