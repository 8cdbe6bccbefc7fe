/* actors_window_test - flow control windows: what they begin with, how they grow and shrink, and that the budget is
 * never exceeded and always given back. The numbers are those of the table in window.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/window.h"

enum
{
    KIB = 1024,
    TOTAL = 1024 * KIB,
    STREAMS = 64,
};

static size_t used (struct budget *budget)
{
    return atomic_load (&budget->used);
}

/* Uses a window as a stream does that always has more to send: returns the credit that the sender has in the end. */
static uint64_t stream_through (struct window *window, uint64_t credit, size_t bytes)
{
    while (bytes)
    {
        size_t piece = credit < 1000 ? credit : 1000;
        piece = piece < bytes ? piece : bytes;
        assert_true (piece > 0); /* a sender without credit, and nothing under way, would wait for ever */
        credit -= piece;
        bytes -= piece;
        credit += window_consume (window, piece);
        assert_true (credit <= window->reserved);
    }
    return credit;
}

static void begins_small_and_grows_while_it_is_used (void **state)
{
    (void) state;
    struct budget budget = {.total = TOTAL};
    struct window window;
    uint64_t credit = window_open (&window, &budget);
    assert_int_equal (credit, 16 * KIB);
    assert_int_equal (used (&budget), 16 * KIB);
    credit = stream_through (&window, credit, 8 * KIB);
    assert_int_equal (window.reserved, 32 * KIB);
    stream_through (&window, credit, TOTAL);
    assert_int_equal (window.reserved, 256 * KIB);
    assert_int_equal (used (&budget), 256 * KIB);
    window_close (&window);
    assert_int_equal (used (&budget), 0);
}

/* A message for each few bytes would cost more than the bytes. */
static void grants_only_what_is_worth_a_message (void **state)
{
    (void) state;
    struct budget budget = {.total = TOTAL};
    struct window window;
    assert_int_equal (window_open (&window, &budget), 16 * KIB);
    assert_int_equal (window_consume (&window, 8 * KIB - 1), 0);
    assert_int_equal (window_consume (&window, 0), 0);
    /* What was consumed comes back, and the window doubles. */
    assert_int_equal (window_consume (&window, 1), 8 * KIB + 16 * KIB);
    window_close (&window);
}

static void begins_smaller_when_the_budget_runs_low (void **state)
{
    (void) state;
    static const struct
    {
        size_t used;
        uint32_t first, most;
    } rows[] = {
        {0, 16 * KIB, 256 * KIB},
        {TOTAL / 2 - 16 * KIB, 16 * KIB, 256 * KIB},
        {TOTAL / 2 + 1, 16 * KIB, 64 * KIB},
        {TOTAL / 4 * 3 - 64 * KIB, 16 * KIB, 64 * KIB},
        {TOTAL / 4 * 3 + 1, 4 * KIB, 16 * KIB},
        {TOTAL - 4 * KIB, 4 * KIB, 4 * KIB},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct budget budget = {.used = rows[row].used, .total = TOTAL};
        struct window window;
        uint64_t credit = window_open (&window, &budget);
        assert_int_equal (credit, rows[row].first);
        stream_through (&window, credit, TOTAL);
        /* Its own bytes count as well, so it may stop before the most. */
        assert_in_range (window.reserved, rows[row].first, rows[row].most);
        assert_true (used (&budget) <= TOTAL);
        window_close (&window);
        assert_int_equal (used (&budget), rows[row].used);
    }
}

static void a_window_that_does_not_fit_is_refused (void **state)
{
    (void) state;
    struct budget budget = {.used = TOTAL - 4 * KIB + 1, .total = TOTAL};
    struct window window;
    assert_int_equal (window_open (&window, &budget), 0);
    assert_int_equal (used (&budget), TOTAL - 4 * KIB + 1);
}

static void a_large_window_shrinks_when_others_need_room (void **state)
{
    (void) state;
    struct budget budget = {.total = TOTAL};
    struct window window;
    uint64_t credit = window_open (&window, &budget);
    credit = stream_through (&window, credit, TOTAL);
    assert_int_equal (window.reserved, 256 * KIB);
    atomic_store (&budget.used, TOTAL / 4 * 3); /* others: so many that its own shrinking does not make room */
    credit = stream_through (&window, credit, TOTAL);
    assert_int_equal (window.reserved, 64 * KIB);
    assert_int_equal (used (&budget), TOTAL / 4 * 3 - (256 - 64) * KIB);
    atomic_store (&budget.used, TOTAL - 1);
    credit = stream_through (&window, credit, TOTAL);
    assert_int_equal (window.reserved, 16 * KIB);
    atomic_store (&budget.used, 16 * KIB);
    stream_through (&window, credit, TOTAL);
    assert_int_equal (window.reserved, 256 * KIB);
    window_close (&window);
    assert_int_equal (used (&budget), 0);
}

/* Granted credit cannot be taken back: a window shrinks only as its bytes come in. */
static void shrinking_never_reserves_less_than_was_granted (void **state)
{
    (void) state;
    struct budget budget = {.total = TOTAL};
    struct window window;
    uint64_t credit = window_open (&window, &budget);
    credit = stream_through (&window, credit, TOTAL);
    atomic_store (&budget.used, TOTAL);
    uint64_t granted = window_consume (&window, 128 * KIB);
    credit = credit - 128 * KIB + granted;
    assert_true (window.reserved >= credit);
    assert_true (window.reserved < 256 * KIB);
    window_close (&window);
}

/* Many streams at once, all as greedy as they may be. */
static void the_total_is_never_exceeded (void **state)
{
    (void) state;
    struct budget budget = {.total = TOTAL};
    struct window windows[STREAMS];
    uint64_t credits[STREAMS];
    for (size_t index = 0; index < STREAMS; index++)
        assert_true ((credits[index] = window_open (&windows[index], &budget)) > 0);
    for (int round = 0; round < 50; round++)
        for (size_t index = 0; index < STREAMS; index++)
        {
            credits[index] = stream_through (&windows[index], credits[index], 10000);
            size_t sum = 0;
            for (size_t each = 0; each < STREAMS; each++)
                sum += windows[each].reserved;
            assert_int_equal (used (&budget), sum);
            assert_true (sum <= TOTAL);
        }
    for (size_t index = 0; index < STREAMS; index++)
        window_close (&windows[index]);
    assert_int_equal (used (&budget), 0);
}

static void closing_twice_gives_back_once (void **state)
{
    (void) state;
    struct budget budget = {.used = 5000, .total = TOTAL};
    struct window window;
    window_open (&window, &budget);
    window_close (&window);
    window_close (&window);
    assert_int_equal (used (&budget), 5000);
    assert_int_equal (window_consume (&window, 100000), 0); /* bytes that were still under way */
    assert_int_equal (used (&budget), 5000);
}

/* A raw stream opens its window anew, while bytes that the first one granted are still to be written. */
static void bytes_of_an_earlier_window_are_not_counted (void **state)
{
    (void) state;
    struct budget budget = {.total = TOTAL};
    struct window window;
    uint32_t first = window_open (&window, &budget);
    uint32_t credit = window_consume (&window, (size_t) 10 * first);
    assert_true (credit <= window.reserved && window.reserved <= WINDOW_MOST);
    assert_int_equal (used (&budget), window.reserved);
    window_close (&window);
    assert_int_equal (used (&budget), 0);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (begins_small_and_grows_while_it_is_used),
        cmocka_unit_test (grants_only_what_is_worth_a_message),
        cmocka_unit_test (begins_smaller_when_the_budget_runs_low),
        cmocka_unit_test (a_window_that_does_not_fit_is_refused),
        cmocka_unit_test (a_large_window_shrinks_when_others_need_room),
        cmocka_unit_test (shrinking_never_reserves_less_than_was_granted),
        cmocka_unit_test (the_total_is_never_exceeded),
        cmocka_unit_test (closing_twice_gives_back_once),
        cmocka_unit_test (bytes_of_an_earlier_window_are_not_counted),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
