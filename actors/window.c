/* window.c - see window.h. */
#include "window.h"

static bool budget_take (struct budget *budget, size_t bytes)
{
    size_t used = atomic_load_explicit (&budget->used, memory_order_relaxed);
    do
        if (bytes > budget->total - used)
            return false;
    while (!atomic_compare_exchange_weak_explicit (&budget->used, &used, used + bytes, memory_order_relaxed,
                                                   memory_order_relaxed));
    return true;
}

static void budget_give (struct budget *budget, size_t bytes)
{
    atomic_fetch_sub_explicit (&budget->used, bytes, memory_order_relaxed);
}

/* How large a window may be now. */
static uint32_t ceiling (struct budget *budget)
{
    size_t used = atomic_load_explicit (&budget->used, memory_order_relaxed);
    if (used <= budget->total / 2)
        return WINDOW_MOST;
    return used <= budget->total / 4 * 3 ? WINDOW_MOST / 4 : WINDOW_FIRST;
}

uint32_t window_open (struct window *window, struct budget *budget)
{
    uint32_t first = ceiling (budget) > WINDOW_FIRST ? WINDOW_FIRST : WINDOW_LEAST;
    if (!budget_take (budget, first))
        return 0;
    *window = (struct window){.budget = budget, .reserved = first, .target = first};
    return first;
}

uint32_t window_consume (struct window *window, size_t bytes)
{
    if (!window->budget)
        return 0;
    /* A window that was opened anew also hears of bytes that were granted by the one before: they are not its own. */
    uint32_t most_consumed = window->reserved - window->consumed;
    window->consumed += bytes < most_consumed ? (uint32_t) bytes : most_consumed;
    if (window->consumed < window->target / 2)
        return 0;
    uint32_t most = ceiling (window->budget);
    uint32_t target = window->target * 2 > most ? most : window->target * 2;
    uint32_t outstanding = window->reserved - window->consumed;
    if (target < outstanding) /* shrinking: what is granted cannot be taken back */
        target = outstanding;
    if (target > window->reserved && !budget_take (window->budget, target - window->reserved))
        target = window->reserved;
    if (target < window->reserved)
        budget_give (window->budget, window->reserved - target);
    uint32_t credit = target - outstanding;
    window->reserved = window->target = target;
    window->consumed = 0;
    return credit;
}

void window_close (struct window *window)
{
    if (window->budget)
        budget_give (window->budget, window->reserved);
    *window = (struct window){.budget = NULL};
}
