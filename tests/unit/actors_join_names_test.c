/* actors_join_names_test - AGENT_CLUSTER_ADDR taken apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/join_names.h"

#include <stdio.h>
#include <string.h>

static struct join_name s_names[JOIN_NAMES_MAX];

static int parse (const char *text)
{
    const char *error = NULL;
    int count = join_names_parse (text, 7946, s_names, &error);
    assert_true ((count < 0) == (error != NULL && error[0]));
    return count;
}

static void takes_one (void **state)
{
    (void) state;
    static const struct
    {
        const char *text, *host;
        unsigned port;
        bool literal;
    } rows[] = {
        {"tasks.agent", "tasks.agent", 7946, false},  {"tasks.my_agent-2:1", "tasks.my_agent-2", 1, false},
        {"agent:65535", "agent", 65535, false},       {"agent.", "agent.", 7946, false},
        {"192.0.2.1", "192.0.2.1", 7946, true},       {"192.0.2.1:80", "192.0.2.1", 80, true},
        {"2001:db8::1", "2001:db8::1", 7946, true},   {"::1", "::1", 7946, true},
        {"[2001:db8::1]", "2001:db8::1", 7946, true}, {"[::1]:7001", "::1", 7001, true},
        {" \tagent:5\t ", "agent", 5, false},         {",,agent,", "agent", 7946, false},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        assert_int_equal (parse (rows[row].text), 1);
        assert_string_equal (s_names[0].host, rows[row].host);
        assert_int_equal (s_names[0].port, rows[row].port);
        assert_int_equal (s_names[0].literal, rows[row].literal);
    }
}

static void takes_several (void **state)
{
    (void) state;
    assert_int_equal (parse ("127.0.0.1:7001, [::1]:7002,tasks.agent"), 3);
    assert_string_equal (s_names[0].host, "127.0.0.1");
    assert_int_equal (s_names[0].port, 7001);
    assert_string_equal (s_names[1].host, "::1");
    assert_int_equal (s_names[1].port, 7002);
    assert_string_equal (s_names[2].host, "tasks.agent");
    assert_int_equal (s_names[2].port, 7946);
    assert_int_equal (parse (""), 0);
    assert_int_equal (parse (" , ,"), 0);
}

static void refuses_others (void **state)
{
    (void) state;
    static const char *const texts[] = {
        "agent:",     "agent:0",    "agent:65536",   "agent:-1",   "agent:7946x", "agent:000001", ":7946",
        "[::1",       "[::1]7946",  "[::1]:",        "[agent]",    "[192.0.2.1]", "[]",           "]",
        "1:2:3",      ":::",        "http://agent",  "agent/path", "a b",         "-agent",       ".agent",
        "agent..com", "b\303\274r", "agent,a:b:c:d", "agent, x y", "user@agent",  "agent:+80",
    };
    for (size_t row = 0; row < sizeof texts / sizeof *texts; row++)
        if (parse (texts[row]) >= 0)
            fail_msg ("was taken: %s", texts[row]);
}

static void has_limits (void **state)
{
    (void) state;
    char text[16 * JOIN_NAMES_MAX] = "", name[300];
    for (int number = 0; number < JOIN_NAMES_MAX; number++)
        snprintf (text + strlen (text), sizeof text - strlen (text), "a%d,", number);
    assert_int_equal (parse (text), JOIN_NAMES_MAX);
    assert_string_equal (s_names[JOIN_NAMES_MAX - 1].host, "a63");
    strcat (text, "b");
    assert_int_equal (parse (text), -1);

    memset (name, 'a', sizeof name);
    name[JOIN_NAME_BYTES_MAX] = '\0';
    assert_int_equal (parse (name), 1);
    assert_int_equal (strlen (s_names[0].host), JOIN_NAME_BYTES_MAX);
    name[JOIN_NAME_BYTES_MAX] = 'a';
    name[JOIN_NAME_BYTES_MAX + 1] = '\0';
    assert_int_equal (parse (name), -1);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (takes_one),
        cmocka_unit_test (takes_several),
        cmocka_unit_test (refuses_others),
        cmocka_unit_test (has_limits),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
