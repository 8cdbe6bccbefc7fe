/* actors_stream_table_test - streams found by id: growing, removing in the middle of runs, what is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/stream_table.h"

enum
{
    MANY = 5000,
    LIVING = 20,
};

static char s_objects[MANY + 1];

static void an_empty_table_finds_nothing (void **state)
{
    (void) state;
    struct stream_table table = {0};
    assert_null (stream_table_get (&table, 1));
    assert_int_equal (table.unknown, 1);
    stream_table_remove (&table, 1);
    assert_int_equal (table.count, 0);
    stream_table_free (&table);
}

static void finds_what_was_put (void **state)
{
    (void) state;
    struct stream_table table = {0};
    for (uint64_t id = 1; id <= MANY; id++)
        stream_table_put (&table, id, &s_objects[id]);
    assert_int_equal (table.count, MANY);
    for (uint64_t id = 1; id <= MANY; id++)
        assert_ptr_equal (stream_table_get (&table, id), &s_objects[id]);
    assert_int_equal (table.unknown, 0);
    assert_null (stream_table_get (&table, MANY + 1));
    assert_null (stream_table_get (&table, UINT64_MAX));
    assert_int_equal (table.unknown, 2);
    stream_table_free (&table);
    assert_int_equal (table.count, 0);
    assert_int_equal (table.capacity, 0);
}

static void removes_one_and_keeps_the_others (void **state)
{
    (void) state;
    struct stream_table table = {0};
    for (uint64_t id = 1; id <= MANY; id++)
        stream_table_put (&table, id, &s_objects[id]);
    for (uint64_t id = 3; id <= MANY; id += 3)
    {
        stream_table_remove (&table, id);
        stream_table_remove (&table, id); /* a second time changes nothing */
    }
    assert_int_equal (table.count, MANY - MANY / 3);
    for (uint64_t id = 1; id <= MANY; id++)
        assert_ptr_equal (stream_table_get (&table, id), id % 3 ? &s_objects[id] : NULL);
    stream_table_free (&table);
}

/* Ids that are far apart may share a place: a run of them loses members at its begin, middle and end. */
static void runs_of_one_place_survive_removal (void **state)
{
    (void) state;
    struct stream_table table = {0};
    uint64_t ids[MANY], shared[8];
    size_t count = 0;
    for (size_t index = 0; index < MANY; index++)
        ids[index] = 1 + index * 0x100000001u;
    /* Which ids share one place with the first is seen in a table of that one. */
    for (size_t index = 0; index < MANY && count < 8; index++)
    {
        struct stream_table one = {0};
        size_t at[2] = {0};
        for (size_t which = 0; which < 2; which++)
        {
            stream_table_put (&one, ids[which ? index : 0], &s_objects[0]);
            while (one.slots[at[which]].id == 0)
                at[which]++;
            stream_table_free (&one);
        }
        if (at[0] == at[1])
            shared[count++] = ids[index];
    }
    assert_int_equal (count, 8);
    for (size_t gone = 0; gone < 8; gone++)
    {
        for (size_t index = 0; index < 8; index++)
            stream_table_put (&table, shared[index], &s_objects[index]);
        stream_table_remove (&table, shared[gone]);
        for (size_t index = 0; index < 8; index++)
            assert_ptr_equal (stream_table_get (&table, shared[index]), index == gone ? NULL : &s_objects[index]);
        for (size_t index = 0; index < 8; index++)
            stream_table_remove (&table, shared[index]);
        assert_int_equal (table.count, 0);
    }
    stream_table_free (&table);
}

/* As in an agent that runs for long: ids only count up, few live at a time. The table stays as small as they need. */
static void long_use_does_not_grow_it (void **state)
{
    (void) state;
    struct stream_table table = {0};
    for (uint64_t id = 1; id <= 100000; id++)
    {
        stream_table_put (&table, id, &s_objects[id % MANY]);
        if (id > LIVING)
            stream_table_remove (&table, id - LIVING);
        assert_ptr_equal (stream_table_get (&table, id), &s_objects[id % MANY]);
    }
    assert_int_equal (table.count, LIVING);
    assert_int_equal (table.capacity, 64);
    assert_int_equal (table.unknown, 0);
    stream_table_free (&table);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (an_empty_table_finds_nothing),     cmocka_unit_test (finds_what_was_put),
        cmocka_unit_test (removes_one_and_keeps_the_others), cmocka_unit_test (runs_of_one_place_survive_removal),
        cmocka_unit_test (long_use_does_not_grow_it),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
