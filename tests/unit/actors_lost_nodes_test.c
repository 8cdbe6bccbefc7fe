/* actors_lost_nodes_test - who is named as missing, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/lost_nodes.h"

#include <stdio.h>

static void tell (struct lost_nodes *nodes, const char *id, const char *name, bool lost, uint64_t now)
{
    struct message_member news = {.lost = lost, .usable = !lost, .id = slice_from (id), .name = slice_from (name)};
    lost_nodes_update (nodes, &news, now);
}

static void is_named_until_it_is_back (void **state)
{
    (void) state;
    struct lost_nodes nodes = {.at = NULL};
    tell (&nodes, "a", "node-a", true, 1);
    tell (&nodes, "b", "node-b", true, 2);
    tell (&nodes, "c", "node-a", true, 3); /* the same node under another id */
    assert_int_equal (nodes.count, 2);
    assert_string_equal (nodes.at[0].id, "b");
    assert_string_equal (nodes.at[1].id, "c");
    tell (&nodes, "b", "node-b", false, 4);
    tell (&nodes, "unknown", "node-c", false, 5);
    assert_int_equal (nodes.count, 1);
    assert_string_equal (nodes.at[0].id, "c");
    lost_nodes_free (&nodes);
}

static void is_forgotten_after_a_day (void **state)
{
    (void) state;
    struct lost_nodes nodes = {.at = NULL};
    tell (&nodes, "a", "node-a", true, 10);
    tell (&nodes, "b", "node-b", true, 20);
    lost_nodes_forget (&nodes, 9 + LOST_TIME);
    assert_int_equal (nodes.count, 2);
    lost_nodes_forget (&nodes, 10 + LOST_TIME);
    assert_int_equal (nodes.count, 1);
    assert_string_equal (nodes.at[0].id, "b");
    lost_nodes_forget (&nodes, 20 + LOST_TIME);
    assert_int_equal (nodes.count, 0);
    lost_nodes_free (&nodes);
}

static void is_bounded (void **state)
{
    (void) state;
    struct lost_nodes nodes = {.at = NULL};
    char name[16];
    for (unsigned number = 0; number < LOST_NODES_MAX + 2; number++)
    {
        snprintf (name, sizeof name, "n%u", number);
        tell (&nodes, name, name, true, number);
    }
    assert_int_equal (nodes.count, LOST_NODES_MAX);
    assert_string_equal (nodes.at[0].id, "n2");
    assert_int_equal (nodes.last, LOST_NODES_MAX + 2);
    lost_nodes_free (&nodes);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (is_named_until_it_is_back),
        cmocka_unit_test (is_forgotten_after_a_day),
        cmocka_unit_test (is_bounded),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
