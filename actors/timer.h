/* timer.h - the timer heap of one reactor. Actors use timer_set() and timer_clear() of actor.h. */
#pragma once

#include "actor.h"

struct timer_heap
{
    struct timer **at; /* a binary heap, earliest first */
    size_t count, capacity;
    uint64_t order;
};

void timer_heap_put (struct timer_heap *heap, struct timer *timer, uint64_t at);
void timer_heap_remove (struct timer_heap *heap, struct timer *timer);

/* The earliest timer, NULL when none is set. */
struct timer *timer_heap_first (const struct timer_heap *heap);
void timer_heap_free (struct timer_heap *heap);
