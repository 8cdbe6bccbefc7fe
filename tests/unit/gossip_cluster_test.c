/* gossip_cluster_test - small clusters in virtual time (tests/simulation/world.h): what needs more than one machine.
 * How fast and how surely all this happens is the simulator's business (tests/simulation/simulate.c).
 */
#include "tests/simulation/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const uint64_t SECOND = 1000 * WORLD_MS;

static struct world *cluster (size_t nodes, size_t started)
{
    struct world_options options = {
        .nodes = nodes, .link = WORLD_TCP, .parameters = swim_standard (), .seed = nodes * 1000 + started};
    struct world *world = world_new (&options);
    world_start_known (world, started);
    world_run (world, SECOND, NULL, 0);
    return world;
}

static bool is_whole (struct world *world, size_t argument)
{
    (void) argument;
    return world_is_whole (world);
}

static bool is_gone (struct world *world, size_t of)
{
    return world_usable (world, of) <= (world_node (world, of)->swim != NULL);
}

/* The member with the number in the node's list; NULL when it is not there. */
static const struct swim_member *listed (struct world *world, size_t at, size_t of, size_t *times)
{
    struct swim *swim = world_node (world, at)->swim;
    char id[65];
    world_id (of, id);
    size_t found = SIZE_MAX;
    *times = 0;
    for (size_t index = 0; index < swim_count (swim); index++)
        if (strcmp (swim_at (swim, index)->identity.id, id) == 0)
        {
            found = index;
            ++*times;
        }
    return found == SIZE_MAX ? NULL : swim_at (swim, found);
}

static void strangers_become_a_cluster_through_one_address (void **state)
{
    (void) state;
    struct world *world = cluster (8, 0);
    for (size_t number = 0; number < 8; number++)
        world_start (world, number, 0, 0);
    assert_true (world_run (world, 10 * SECOND, is_whole, 0));
    assert_int_equal (world_false_deaths (world), 0);
    world_destroy (&world);
}

static void a_restarted_node_replaces_itself (void **state)
{
    (void) state;
    static const int64_t clocks[] = {0, -3600 * 1000, 3600 * 1000};
    for (size_t index = 0; index < sizeof clocks / sizeof *clocks; index++)
    {
        struct world *world = cluster (4, 4);
        world_crash (world, 3);
        world_run (world, SECOND / 2, NULL, 0); /* before anybody has noticed */
        world_node (world, 3)->wall_clock = clocks[index];
        world_start (world, 3, 0, 2);
        world_run (world, 3 * SECOND, NULL, 0);
        assert_true (world_is_whole (world));
        uint64_t own = swim_at (world_node (world, 3)->swim, 0)->identity.instance;
        for (size_t at = 0; at < 3; at++)
        {
            size_t times;
            const struct swim_member *member = listed (world, at, 3, &times);
            assert_int_equal (times, 1);
            assert_int_equal (member->identity.instance, own);
            assert_int_equal (member->state, SWIM_ALIVE);
        }
        world_destroy (&world);
    }
}

static void a_node_restarted_after_its_death_with_a_clock_set_back_joins (void **state)
{
    (void) state;
    struct world *world = cluster (4, 4);
    world_crash (world, 3);
    assert_true (world_run (world, 10 * SECOND, is_gone, 3));
    world_node (world, 3)->wall_clock = -3600 * 1000;
    world_start (world, 3, 0, 2);
    assert_true (world_run (world, 3 * SECOND, is_whole, 0));
    world_destroy (&world);
}

static void one_way_cut_kills_nobody (void **state)
{
    (void) state;
    struct world *world = cluster (5, 5);
    world_cut (world, 0, 1, true);
    world_run (world, 120 * SECOND, NULL, 0);
    assert_int_equal (world_false_deaths (world), 0);
    assert_true (world_is_whole (world));
    world_destroy (&world);
}

static void a_node_that_only_sends_is_dropped (void **state)
{
    (void) state;
    struct world *world = cluster (4, 4);
    for (size_t other = 0; other < 3; other++)
        world_cut (world, other, 3, true);
    assert_true (world_run (world, 10 * SECOND, is_gone, 3));
    world_destroy (&world);
}

static void halves_merge (void **state)
{
    (void) state;
    static const unsigned seconds[] = {10, 120}; /* while the dead are remembered, and after */
    for (size_t index = 0; index < 2; index++)
    {
        struct world *world = cluster (6, 6);
        for (size_t number = 0; number < 6; number++)
            world_node (world, number)->group = number % 2;
        world_run (world, seconds[index] * SECOND, NULL, 0);
        for (size_t number = 0; number < 6; number++)
            assert_int_equal (world_usable (world, number), 3);
        for (size_t number = 0; number < 6; number++)
            world_node (world, number)->group = 0;
        bool whole = false;
        for (unsigned second = 0; second < 5 && !whole; second++)
        {
            world_rejoin (world, 8);
            whole = world_run (world, SECOND, is_whole, 0);
        }
        assert_true (whole);
        world_destroy (&world);
    }
}

static void a_slow_node_neither_dies_nor_kills (void **state)
{
    (void) state;
    struct world *world = cluster (5, 5);
    world_node (world, 2)->lateness = SECOND;
    world_run (world, 300 * SECOND, NULL, 0);
    assert_int_equal (world_false_deaths (world), 0);
    assert_true (swim_health (world_node (world, 2)->swim) > 0);
    world_destroy (&world);
}

static void a_cluster_repeats_from_its_seed (void **state)
{
    (void) state;
    uint64_t deliveries[2];
    for (unsigned run = 0; run < 2; run++)
    {
        struct world *world = cluster (10, 10);
        world_crash (world, 4);
        world_run (world, 20 * SECOND, NULL, 0);
        deliveries[run] = world_deliveries (world);
        world_destroy (&world);
    }
    assert_int_equal (deliveries[0], deliveries[1]);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (strangers_become_a_cluster_through_one_address),
        cmocka_unit_test (a_restarted_node_replaces_itself),
        cmocka_unit_test (a_node_restarted_after_its_death_with_a_clock_set_back_joins),
        cmocka_unit_test (one_way_cut_kills_nobody),
        cmocka_unit_test (a_node_that_only_sends_is_dropped),
        cmocka_unit_test (halves_merge),
        cmocka_unit_test (a_slow_node_neither_dies_nor_kills),
        cmocka_unit_test (a_cluster_repeats_from_its_seed),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
