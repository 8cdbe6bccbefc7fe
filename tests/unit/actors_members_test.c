/* actors_members_test - the table of members that the router, peers and gather keep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/members.h"

#include <stdio.h>

static struct message_member news_of (const char *id, const char *name, bool usable)
{
    return (struct message_member){.usable = usable,
                                   .id = slice_from (id),
                                   .instance = 7,
                                   .name = slice_from (name),
                                   .address = SLICE ("192.0.2.1"),
                                   .port = 9001,
                                   .tls_key = SLICE ("ab"),
                                   .version = SLICE ("1")};
}

static void tell (struct members *members, const char *id, const char *name, bool usable)
{
    struct message_member news = news_of (id, name, usable);
    members_update (members, &news);
}

static void members_come_change_and_go (void **state)
{
    (void) state;
    struct members members = {0};
    bool several;
    assert_null (members_by_id (&members, SLICE ("a")));
    assert_null (members_by_target (&members, SLICE ("a"), &several));
    assert_null (members_own (&members));
    tell (&members, "a", "one", false); /* a member that was never known */
    assert_int_equal (members.count, 0);

    tell (&members, "a", "one", true);
    struct message_member news = news_of ("a", "two", true);
    news.own = news.manager = news.suspected = news.key_set = true;
    news.address = SLICE ("2001:db8::1");
    news.port = 65535;
    members_update (&members, &news);
    assert_int_equal (members.count, 1);
    struct member *member = members_by_id (&members, SLICE ("a"));
    assert_ptr_equal (member, members_own (&members));
    assert_string_equal (member->name, "two");
    assert_string_equal (member->address, "2001:db8::1");
    assert_int_equal (member->port, 65535);
    assert_true (member->manager && member->suspected && member->key_set);
    assert_null (members_by_target (&members, SLICE ("one"), &several));

    tell (&members, "a", "two", false);
    assert_int_equal (members.count, 0);
    assert_null (members_own (&members));
    members_free (&members);
}

/* All agents must choose alike, in whatever order they heard of the members. */
static void the_order_is_that_of_the_ids (void **state)
{
    (void) state;
    static const char *const orders[][4] = {{"b", "a", "ab", "c"}, {"c", "b", "ab", "a"}, {"a", "ab", "b", "c"}};
    static const char *const sorted[] = {"a", "ab", "b", "c"};
    for (size_t order = 0; order < 3; order++)
    {
        struct members members = {0};
        bool several;
        for (size_t index = 0; index < 4; index++)
            tell (&members, orders[order][index], "same", true);
        for (size_t index = 0; index < 4; index++)
            assert_string_equal (members.at[index]->id, sorted[index]);
        assert_string_equal (members_by_target (&members, SLICE ("same"), &several)->id, "a");
        assert_true (several);
        assert_string_equal (members_by_target (&members, SLICE ("ab"), &several)->id, "ab");
        assert_false (several);
        members_free (&members);
    }
}

/* A node may have the name that is another node's id: the name goes first. */
static void a_name_goes_before_an_id (void **state)
{
    (void) state;
    struct members members = {0};
    bool several;
    tell (&members, "a", "x", true);
    tell (&members, "b", "a", true);
    assert_string_equal (members_by_target (&members, SLICE ("a"), &several)->id, "b");
    assert_false (several);
    members_free (&members);
}

static void there_are_so_many_and_no_more (void **state)
{
    (void) state;
    struct members members = {0};
    char id[16];
    for (int index = 0; index < MEMBERS_MAX + 10; index++)
    {
        snprintf (id, sizeof id, "%d", index);
        tell (&members, id, id, true);
    }
    assert_int_equal (members.count, MEMBERS_MAX);
    assert_null (members_by_id (&members, slice_from (id)));
    /* Those that are known still change, and make room when they go. */
    tell (&members, "5", "five", true);
    assert_string_equal (members_by_id (&members, SLICE ("5"))->name, "five");
    tell (&members, "5", "five", false);
    tell (&members, id, id, true);
    assert_non_null (members_by_id (&members, slice_from (id)));
    members_free (&members);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (members_come_change_and_go),
        cmocka_unit_test (the_order_is_that_of_the_ids),
        cmocka_unit_test (a_name_goes_before_an_id),
        cmocka_unit_test (there_are_so_many_and_no_more),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
