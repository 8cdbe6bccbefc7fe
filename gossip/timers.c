/* timers.c - a binary heap of members, the one that is due first on top. A member knows its place in the heap. */
#include "machine.h"

static void put (struct timers *timers, size_t at, struct member *member)
{
    timers->heap[at] = member;
    member->heap = (uint32_t) at;
}

static void up (struct timers *timers, size_t at, struct member *member)
{
    while (at > 0 && timers->heap[(at - 1) / 2]->due > member->due)
    {
        put (timers, at, timers->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put (timers, at, member);
}

static void down (struct timers *timers, size_t at, struct member *member)
{
    for (size_t child; (child = 2 * at + 1) < timers->count; at = child)
    {
        if (child + 1 < timers->count && timers->heap[child + 1]->due < timers->heap[child]->due)
            child++;
        if (timers->heap[child]->due >= member->due)
            break;
        put (timers, at, timers->heap[child]);
    }
    put (timers, at, member);
}

void timers_set (struct timers *timers, struct member *member, uint64_t due)
{
    uint64_t before = member->due;
    member->due = due;
    if (member->heap == NOWHERE)
        up (timers, timers->count++, member);
    else if (due < before)
        up (timers, member->heap, member);
    else
        down (timers, member->heap, member);
}

void timers_stop (struct timers *timers, struct member *member)
{
    if (member->heap == NOWHERE)
        return;
    size_t at = member->heap;
    member->heap = NOWHERE;
    struct member *last = timers->heap[--timers->count];
    if (last == member)
        return;
    last->heap = (uint32_t) at;
    if (at > 0 && timers->heap[(at - 1) / 2]->due > last->due)
        up (timers, at, last);
    else
        down (timers, at, last);
}

struct member *timers_first (const struct timers *timers)
{
    return timers->count ? timers->heap[0] : NULL;
}
