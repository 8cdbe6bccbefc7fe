/* timer.c - a binary heap of timers that live inside their owners; ties fire in the order in which they were set. */
#include "timer.h"

#include "ensure.h"

#include <stdlib.h>

static bool earlier (const struct timer *a, const struct timer *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void put_at (struct timer_heap *heap, size_t place, struct timer *timer)
{
    heap->at[place - 1] = timer;
    timer->place = place;
}

static void sift_up (struct timer_heap *heap, struct timer *timer)
{
    size_t place = timer->place;
    for (; place > 1 && earlier (timer, heap->at[place / 2 - 1]); place /= 2)
        put_at (heap, place, heap->at[place / 2 - 1]);
    put_at (heap, place, timer);
}

static void sift_down (struct timer_heap *heap, struct timer *timer)
{
    size_t place = timer->place;
    for (;;)
    {
        size_t child = place * 2;
        if (child > heap->count)
            break;
        if (child < heap->count && earlier (heap->at[child], heap->at[child - 1]))
            child++;
        if (!earlier (heap->at[child - 1], timer))
            break;
        put_at (heap, place, heap->at[child - 1]);
        place = child;
    }
    put_at (heap, place, timer);
}

void timer_heap_put (struct timer_heap *heap, struct timer *timer, uint64_t at)
{
    if (timer->place)
        timer_heap_remove (heap, timer);
    if (heap->count == heap->capacity)
    {
        heap->capacity = heap->capacity ? heap->capacity * 2 : 64;
        heap->at = must (realloc (heap->at, heap->capacity * sizeof *heap->at));
    }
    timer->at = at;
    timer->order = heap->order++;
    timer->place = ++heap->count;
    sift_up (heap, timer);
}

void timer_heap_remove (struct timer_heap *heap, struct timer *timer)
{
    if (!timer->place)
        return;
    struct timer *last = heap->at[--heap->count];
    if (last != timer)
    {
        last->place = timer->place;
        sift_up (heap, last);
        sift_down (heap, last);
    }
    timer->place = 0;
}

struct timer *timer_heap_first (const struct timer_heap *heap)
{
    return heap->count ? heap->at[0] : NULL;
}

void timer_heap_free (struct timer_heap *heap)
{
    free (heap->at);
    heap->at = NULL;
    heap->count = heap->capacity = 0;
}
