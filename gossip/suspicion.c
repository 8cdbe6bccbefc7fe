/* suspicion.c - a member that failed a probe is suspected first, and has time to refute (SWIM section 4.2). The time
 * begins long and shrinks as independent accusers confirm (Lifeguard section IV-B):
 *
 *   time = most - (most - least) * ln (confirmations + 1) / ln (confirmations wanted + 1), all times log10 (members)
 *
 * The accusers go on asking the suspect every gossip interval, with the accusation in the ping: so it hears of it first
 * (Lifeguard's buddy system), and its answer brings the refutation. Everybody else who would pass the verdict asks in
 * the last LAST_WORDS_TIME before it, because gossip alone may miss one among many: at 25 % loss and 1,000 members
 * once in 10^5.
 */
#include "machine.h"

#include <math.h>

enum
{
    DOUBT_MOST = 5,
    DOUBT_TIME = 20000, /* ms after which one case is forgotten */
};

static const double DOUBT_STEP = 0.75;

/* How many members may confirm: all but the suspect and its first accuser. */
static unsigned confirmations_wanted (const struct swim *swim)
{
    size_t others = swim->table.order_count > 1 ? swim->table.order_count - 1 : 0;
    return others < CONFIRMATIONS_WANTED ? (unsigned) others : CONFIRMATIONS_WANTED;
}

static unsigned doubt_of (const struct swim *swim)
{
    uint64_t gone = (swim->now - swim->doubt_since) / DOUBT_TIME;
    return gone < swim->doubt ? swim->doubt - (unsigned) gone : 0;
}

void suspicion_doubt (struct swim *swim)
{
    unsigned doubt = doubt_of (swim) + 1;
    swim->doubt = doubt < DOUBT_MOST ? doubt : DOUBT_MOST;
    swim->doubt_since = swim->now;
}

static uint64_t deadline_of (const struct swim *swim, const struct member *member)
{
    double members = (double) swim->table.order_count + 1;
    double scale = members > 10 ? log10 (members) : 1;
    double least = swim->parameters.suspicion_least, most = swim->parameters.suspicion_most;
    unsigned wanted = confirmations_wanted (swim), confirmations = member->accusers - 1u;
    if (confirmations > wanted)
        confirmations = wanted;
    /* Two members have nobody who could confirm or help. */
    unsigned doubt = doubt_of (swim);
    double time = (least + most) / 2;
    if (wanted)
        time = most - (most - least) * log (confirmations + 1.0) / log (wanted + 1.0);
    return member->since + (uint64_t) (time * scale * (1 + (doubt > 1 ? doubt - 1 : 0) * DOUBT_STEP));
}

static void schedule (struct swim *swim, struct member *member)
{
    member->deadline = deadline_of (swim, member);
    uint64_t next = swim->now + swim->parameters.gossip_interval;
    if (!member->accused && next + LAST_WORDS_TIME < member->deadline)
        next = member->deadline - LAST_WORDS_TIME;
    timers_set (&swim->timers, member, next < member->deadline ? next : member->deadline);
}

static void begin (struct swim *swim, struct member *member, uint64_t incarnation, struct slice accuser)
{
    if (incarnation > member->incarnation)
        table_set_incarnation (swim, member, member->instance, incarnation);
    bool known = member->state == SWIM_SUSPECT;
    table_set_state (swim, member, SWIM_SUSPECT);
    member->accuser[0] = table_hash (accuser);
    member->accusers = 1;
    swim->counters.suspicions++;
    rumours_tell (swim, member, accuser);
    if (!known)
        swim_report (swim, member);
}

static bool confirm (struct swim *swim, struct member *member, struct slice accuser)
{
    uint64_t hash = table_hash (accuser);
    for (unsigned index = 0; index < member->accusers; index++)
        if (member->accuser[index] == hash)
            return false;
    if (member->accusers > confirmations_wanted (swim))
        return false;
    member->accuser[member->accusers++] = hash;
    rumours_tell (swim, member, accuser);
    return true;
}

void suspicion_accuse (struct swim *swim, struct member *member, uint64_t incarnation, struct slice accuser)
{
    bool living = member->state == SWIM_ALIVE || member->state == SWIM_SUSPECT;
    if (!living || incarnation < member->incarnation)
        return;
    bool fresh = member->state == SWIM_ALIVE;
    bool ours = slice_equal (accuser, member_id (swim->own));
    if (member->state == SWIM_ALIVE || incarnation > member->incarnation)
        begin (swim, member, incarnation, accuser);
    else if (!confirm (swim, member, accuser) && !ours)
        return;
    if (ours && !member->accused)
    {
        member->accused = true;
        probe_ping (swim, member, true);
    }
    else if (fresh && swim_random_below (swim, (uint32_t) swim->table.order_count) < 2 * confirmations_wanted (swim))
    {
        probe_ping (swim, member, true);
        probe_urge (swim, member);
    }
    schedule (swim, member);
}

void suspicion_tick (struct swim *swim, struct member *member)
{
    if (swim->now < member->deadline)
    {
        probe_ping (swim, member, true);
        schedule (swim, member);
        return;
    }
    swim->counters.deaths++;
    merge_bury (swim, member, SWIM_DEAD, member->incarnation);
}
