/* rumours.c - dissemination: each piece of news is sent to a few members every gossip interval, and with every ping and
 * ack, until it was sent often enough (SWIM sections 4.1 and 4.4).
 *
 * There is one rumour a member at most: news replaces what was told before. Those that were sent least go first, so
 * that fresh news is never stuck behind old. A rumour is encoded once.
 */
#include "machine.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

struct rumour
{
    struct rumour *next, *before; /* in a level's list */
    struct member *member;
    size_t level;  /* how often it was sent */
    size_t length; /* bytes of item */
    bool whole;    /* it carries the member's whole record */
    char item[];
};

static const uint64_t NEVER = UINT64_MAX;

static void insert (struct rumours *rumours, struct rumour *rumour)
{
    struct rumour **head = &rumours->level[rumour->level];
    rumour->before = NULL;
    rumour->next = *head;
    if (*head)
        (*head)->before = rumour;
    *head = rumour;
}

static void take_out (struct rumours *rumours, struct rumour *rumour)
{
    if (rumour->next)
        rumour->next->before = rumour->before;
    if (rumour->before)
        rumour->before->next = rumour->next;
    else
        rumours->level[rumour->level] = rumour->next;
}

/* Takes the first rumour of a level, which must have one, out of its list. */
static struct rumour *pop (struct rumours *rumours, size_t level)
{
    struct rumour *rumour = rumours->level[level];
    rumours->level[level] = rumour->next;
    if (rumour->next)
        rumour->next->before = NULL;
    return rumour;
}

static void drop (struct rumours *rumours, struct rumour *rumour)
{
    rumour->member->rumour = NULL;
    rumours->count--;
    free (rumour);
}

void rumours_stop (struct swim *swim, struct member *member)
{
    if (!member->rumour)
        return;
    take_out (&swim->rumours, member->rumour);
    drop (&swim->rumours, member->rumour);
}

void rumours_tell (struct swim *swim, struct member *member, struct slice accuser)
{
    /* Who has not yet heard of the member at all can do nothing with a verdict. */
    bool whole = member->rumour && member->rumour->whole;
    rumours_stop (swim, member);
    char item[PACKET_ITEM_MAX];
    size_t length = swim_record (member, accuser, whole, item);
    struct rumour *rumour = swim_must (malloc (sizeof *rumour + length));
    *rumour = (struct rumour){.member = member, .length = length, .whole = item[0] == PACKET_MEMBER};
    memcpy (rumour->item, item, length);
    member->rumour = rumour;
    insert (&swim->rumours, rumour);
    if (swim->rumours.count++ > 0 && swim->rumours.due != NEVER)
        return;
    uint64_t next = swim->rumours.last + swim->parameters.gossip_interval;
    swim->rumours.due = next > swim->now ? next : swim->now;
}

void rumours_hurry (struct swim *swim, bool wide)
{
    swim->rumours.due = swim->now;
    swim->rumours.wide |= wide;
}

/* How often one rumour is sent: grows with the logarithm of the members, SWIM section 4.1. */
static size_t limit_of (const struct swim *swim)
{
    double members = (double) swim->table.order_count + 1;
    size_t limit = swim->parameters.retransmit_factor * (size_t) ceil (log10 (members + 1));
    return limit < RUMOUR_LEVELS ? limit : RUMOUR_LEVELS;
}

void rumours_append (struct swim *swim, struct packet *packet, size_t room, size_t copies)
{
    struct rumours *rumours = &swim->rumours;
    if (rumours->count == 0)
        return;
    size_t limit = limit_of (swim);
    struct rumour *sent = NULL;
    for (size_t level = 0; level < RUMOUR_LEVELS && room; level++)
        while (rumours->level[level])
        {
            if (level >= limit)
            {
                drop (rumours, pop (rumours, level));
                continue;
            }
            struct rumour *rumour = rumours->level[level];
            if (rumour->length > room || !packet_add_item (packet, slice_of (rumour->item, rumour->length)))
            {
                room = 0;
                break;
            }
            room -= rumour->length;
            pop (rumours, level);
            rumour->level += copies;
            rumour->next = sent;
            sent = rumour;
        }
    while (sent)
    {
        struct rumour *rumour = sent;
        sent = rumour->next;
        if (rumour->level < limit)
            insert (rumours, rumour);
        else
            drop (rumours, rumour);
    }
}

void rumours_tick (struct swim *swim)
{
    struct rumours *rumours = &swim->rumours;
    if (swim->now < rumours->due)
        return;
    struct member *told[FANOUT_MAX];
    size_t fanout = swim->parameters.gossip_fanout;
    size_t count = table_pick (swim, told, rumours->wide ? FANOUT_MAX : fanout, NULL);
    rumours->wide = false;
    if (count == 0)
        rumours_clear (swim); /* whoever comes gets the whole table */
    if (rumours->count)
    {
        struct packet packet;
        swim_packet (swim, &packet);
        rumours_append (swim, &packet, GOSSIP_BYTES, count < fanout ? count : fanout);
        for (size_t index = 0; index < count; index++)
            swim_send (swim, told[index], &packet);
        rumours->last = swim->now;
    }
    rumours->due = rumours->count ? swim->now + swim->parameters.gossip_interval : NEVER;
}

void rumours_clear (struct swim *swim)
{
    struct rumours *rumours = &swim->rumours;
    for (size_t level = 0; level < RUMOUR_LEVELS; level++)
        while (rumours->level[level])
            drop (rumours, pop (rumours, level));
}
