/* actors_timer_test - the timer heap: order, ties, moving and removing, against a model that sorts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/timer.h"

enum
{
    MANY = 500, /* the heap grows several times */
};

static void is_empty_at_first (void **state)
{
    (void) state;
    struct timer_heap heap = {0};
    struct timer timer = {0};
    assert_null (timer_heap_first (&heap));
    timer_heap_remove (&heap, &timer); /* one that is not set */
    assert_null (timer_heap_first (&heap));
    timer_heap_free (&heap);
}

static void expect_order (struct timer_heap *heap, struct timer *const *expected, size_t count)
{
    for (size_t index = 0; index < count; index++)
    {
        assert_ptr_equal (timer_heap_first (heap), expected[index]);
        timer_heap_remove (heap, expected[index]);
        assert_int_equal (expected[index]->place, 0);
    }
    assert_null (timer_heap_first (heap));
}

static void earlier_comes_first_and_ties_as_they_were_set (void **state)
{
    (void) state;
    struct timer_heap heap = {0};
    struct timer a = {0}, b = {0}, c = {0}, d = {0}, e = {0};
    timer_heap_put (&heap, &a, 30);
    timer_heap_put (&heap, &b, 10);
    timer_heap_put (&heap, &c, 30);
    timer_heap_put (&heap, &d, 30);
    timer_heap_put (&heap, &e, UINT64_MAX);
    expect_order (&heap, (struct timer *[]){&b, &a, &c, &d, &e}, 5);
    timer_heap_free (&heap);
}

static void setting_again_moves (void **state)
{
    (void) state;
    struct timer_heap heap = {0};
    struct timer a = {0}, b = {0}, c = {0};
    timer_heap_put (&heap, &a, 10);
    timer_heap_put (&heap, &b, 20);
    timer_heap_put (&heap, &c, 30);
    timer_heap_put (&heap, &c, 5);  /* earlier */
    timer_heap_put (&heap, &a, 20); /* later, and now behind b, which was set before */
    assert_int_equal (heap.count, 3);
    expect_order (&heap, (struct timer *[]){&c, &b, &a}, 3);
    timer_heap_free (&heap);
}

static void removing_is_idempotent_and_leaves_the_others (void **state)
{
    (void) state;
    struct timer_heap heap = {0};
    struct timer timers[7] = {{0}};
    for (size_t index = 0; index < 7; index++)
        timer_heap_put (&heap, &timers[index], 10 * index);
    timer_heap_remove (&heap, &timers[0]);
    timer_heap_remove (&heap, &timers[3]);
    timer_heap_remove (&heap, &timers[3]);
    timer_heap_remove (&heap, &timers[6]);
    expect_order (&heap, (struct timer *[]){&timers[1], &timers[2], &timers[4], &timers[5]}, 4);
    timer_heap_free (&heap);
    assert_int_equal (heap.count, 0);
}

/* The earliest timer that is set, by looking at all. */
static struct timer *earliest (struct timer *timers)
{
    struct timer *first = NULL;
    for (size_t index = 0; index < MANY; index++)
        if (timers[index].place && (!first || timers[index].at < first->at ||
                                    (timers[index].at == first->at && timers[index].order < first->order)))
            first = &timers[index];
    return first;
}

/* Whatever is set, moved and removed in whatever order: the first one is the earliest. */
static void agrees_with_a_search (void **state)
{
    (void) state;
    static struct timer timers[MANY];
    struct timer_heap heap = {0};
    uint64_t random = 88172645463325252u; /* xorshift64: the same numbers each time */
    for (size_t round = 0; round < 20 * MANY; round++)
    {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        struct timer *timer = &timers[random % MANY];
        if (random >> 32 & 3)
            timer_heap_put (&heap, timer, random >> 40 & 255);
        else
            timer_heap_remove (&heap, timer);
        assert_ptr_equal (timer_heap_first (&heap), earliest (timers));
    }
    assert_true (heap.count > MANY / 2);
    while (heap.count)
    {
        struct timer *first = timer_heap_first (&heap);
        assert_ptr_equal (first, earliest (timers));
        timer_heap_remove (&heap, first);
    }
    timer_heap_free (&heap);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (is_empty_at_first),    cmocka_unit_test (earlier_comes_first_and_ties_as_they_were_set),
        cmocka_unit_test (setting_again_moves),  cmocka_unit_test (removing_is_idempotent_and_leaves_the_others),
        cmocka_unit_test (agrees_with_a_search),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
