/* actors_options_test - the agent's options: standard values, environment, flags, and the one line that a bad value
 * gets. What is refused is tried in a child process, because a bad flag ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The generator of P-256 is a point of the curve, and so a public key. */
#define KEY                                                                                                            \
    "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d8" \
    "98c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"

enum
{
    WORDS_MAX = 4,
};

static int clear_environment (void **state)
{
    (void) state;
    return clearenv ();
}

/* Parses flags, of which the last is NULL, in this process. */
static int parse (struct configuration *configuration, const char *const *flags)
{
    static char words[WORDS_MAX][4096]; /* as argv, they may be written to */
    char *argv[WORDS_MAX + 2] = {(char[]){"shoal"}};
    int argc = 1;
    for (; flags && flags[argc - 1]; argc++)
    {
        snprintf (words[argc - 1], sizeof words[0], "%s", flags[argc - 1]);
        argv[argc] = words[argc - 1];
    }
    *configuration = (struct configuration){.port = 0};
    return options_parse (configuration, argc, argv);
}

static struct configuration parsed (const char *const *flags)
{
    struct configuration configuration;
    assert_int_equal (parse (&configuration, flags), 0);
    return configuration;
}

/* Parses in a child that must end with status 1 and say one line, which holds all of the words. */
static void expect_refused (const char *const *flags, const char *const *words)
{
    char said[4096];
    int ends[2], status;
    assert_int_equal (pipe (ends), 0);
    pid_t child = fork ();
    if (child == 0)
    {
        struct configuration configuration;
        dup2 (ends[1], STDERR_FILENO);
        close (ends[0]);
        close (ends[1]);
        _exit (parse (&configuration, flags) < 0 ? 1 : 0);
    }
    close (ends[1]);
    size_t length = 0;
    for (ssize_t more; (more = read (ends[0], said + length, sizeof said - 1 - length)) > 0;)
        length += (size_t) more;
    said[length] = '\0';
    close (ends[0]);
    assert_int_equal (waitpid (child, &status, 0), child);
    assert_true (WIFEXITED (status));
    assert_int_equal (WEXITSTATUS (status), 1);
    if (length == 0 || strchr (said, '\n') != said + length - 1 || strncmp (said, "shoal: ", 7) != 0)
        fail_msg ("not one line: %s", said);
    for (; *words; words++)
        if (!strstr (said, *words))
            fail_msg ("'%s' is not in: %s", *words, said);
}

static void expect_bad (const char *variable, const char *flag, const char *value, const char *wanted)
{
    char argument[300];
    setenv (variable, value, 1);
    expect_refused (NULL, (const char *[]){variable, wanted, NULL});
    unsetenv (variable);
    snprintf (argument, sizeof argument, "--%s=%s", flag, value);
    expect_refused ((const char *[]){argument, NULL}, (const char *[]){wanted, NULL});
}

/* ---------------------------------------------------------------------------------------------------------- durations
 */

static void durations (void **state)
{
    (void) state;
    static const struct
    {
        const char *text;
        uint64_t milliseconds;
    } good[] = {
        {"0", 0},      {"0s", 0},          {"90s", 90000},   {"1h30m", 5400000}, {"1.5h", 5400000},
        {".5s", 500},  {"500ms", 500},     {"5m", 300000},   {"72h", 259200000}, {"1h1m1s1ms", 3661001},
        {"1500us", 1}, {"1500\u00b5s", 1}, {"2000000ns", 2}, {"30m1h", 5400000},
    };
    static const char *const bad[] = {
        "",
        "5",
        "1d",
        "-5s",
        "+5s",
        "5 s",
        " 5s",
        "5s ",
        "s",
        "ms",
        "1h30",
        "1..5s",
        ".s",
        "1e3s",
        "0x1s",
        "1S",
        "infs",
        "nans",
        "1.5.s",
        "1sm2s",
        "1hh",
        "5sec",
        "1 h 30 m",
        "99999999999999999999h",
        "111111111111111111111s",
        "1,5s",
        "00",
    };
    for (size_t row = 0; row < sizeof good / sizeof *good; row++)
    {
        uint64_t milliseconds = 77;
        if (duration_parse (good[row].text, &milliseconds) != 0 || milliseconds != good[row].milliseconds)
            fail_msg ("%s gives %llu", good[row].text, (unsigned long long) milliseconds);
    }
    for (size_t row = 0; row < sizeof bad / sizeof *bad; row++)
    {
        uint64_t milliseconds = 77;
        if (duration_parse (bad[row], &milliseconds) != -1)
            fail_msg ("'%s' was taken for a duration", bad[row]);
        assert_int_equal (milliseconds, 77);
    }
}

/* ------------------------------------------------------------------------------------------------------- good values
 */

/* The contract's (section 1), and those that docs/options.md promises. */
static void standard_values (void **state)
{
    (void) state;
    struct configuration configuration = parsed (NULL);
    assert_string_equal (configuration.host, "0.0.0.0");
    assert_int_equal (configuration.port, 9001);
    assert_string_equal (configuration.secret, "");
    assert_int_equal (configuration.secret_timeout, 72 * 3600000u);
    assert_string_equal (configuration.docker_host, "/var/run/docker.sock");
    assert_string_equal (configuration.data, "/data");
    assert_string_equal (configuration.assets, "/app");
    assert_int_equal (configuration.log_level, LOG_INFO);
    assert_int_equal (configuration.log_mode, LOG_PRETTY);
    assert_int_equal (configuration.payload_total, 32 * 1024 * 1024);
    assert_int_equal (configuration.header_time, 10000);
    assert_int_equal (configuration.idle_time, 120000);
    assert_int_equal (configuration.grace_time, 8000);
    assert_string_equal (configuration.cluster_address, "");
    assert_false (configuration.edge);
    assert_true (configuration.edge_tunnel);
    assert_string_equal (configuration.edge_host, "0.0.0.0");
    assert_int_equal (configuration.edge_port, 80);
    assert_int_equal (configuration.edge_inactivity, 300000);
    assert_false (configuration.edge_insecure_poll);
}

static void the_environment_sets_every_kind (void **state)
{
    (void) state;
    setenv ("AGENT_HOST", "2001:db8::1", 1);
    setenv ("AGENT_PORT", "65535", 1);
    setenv ("AGENT_SECRET", "s e=c\xffret", 1);
    setenv ("EDGE_INSECURE_POLL", "T", 1);
    setenv ("EDGE_TUNNEL", "fAlSe", 1);
    setenv ("EDGE_INACTIVITY_TIMEOUT", "1.5h", 1);
    setenv ("SHOAL_PAYLOAD_TOTAL", "1G", 1);
    setenv ("SHOAL_CONNECTIONS", "1000000", 1);
    setenv ("LOG_LEVEL", "warn", 1);
    setenv ("LOG_MODE", "Json", 1);
    setenv ("DOCKER_HOST", "unix:///run/other.sock", 1);
    setenv ("AGENT_PUBLIC_KEY", "," KEY ",,", 1);
    struct configuration configuration = parsed (NULL);
    assert_string_equal (configuration.host, "2001:db8::1");
    assert_int_equal (configuration.port, 65535);
    assert_string_equal (configuration.secret, "s e=c\xffret");
    assert_true (configuration.edge_insecure_poll);
    assert_false (configuration.edge_tunnel);
    assert_int_equal (configuration.edge_inactivity, 5400000);
    assert_int_equal (configuration.payload_total, 1024 * 1024 * 1024);
    assert_int_equal (configuration.connections, 1000000);
    assert_int_equal (configuration.log_level, LOG_WARN);
    assert_int_equal (configuration.log_mode, LOG_JSON);
    assert_string_equal (configuration.docker_host, "/run/other.sock");
}

static void an_empty_variable_is_an_unset_one (void **state)
{
    (void) state;
    static const char *const variables[] = {"AGENT_HOST",          "AGENT_PORT",           "LOG_LEVEL",  "EDGE_TUNNEL",
                                            "SHOAL_PAYLOAD_TOTAL", "AGENT_SECRET_TIMEOUT", "DOCKER_HOST"};
    for (size_t index = 0; index < sizeof variables / sizeof *variables; index++)
        setenv (variables[index], "", 1);
    struct configuration configuration = parsed (NULL), standard;
    clearenv ();
    standard = parsed (NULL);
    assert_string_equal (configuration.host, standard.host);
    assert_int_equal (configuration.port, standard.port);
    assert_int_equal (configuration.log_level, standard.log_level);
    assert_int_equal (configuration.edge_tunnel, standard.edge_tunnel);
    assert_int_equal (configuration.payload_total, standard.payload_total);
    assert_int_equal (configuration.secret_timeout, standard.secret_timeout);
    assert_string_equal (configuration.docker_host, standard.docker_host);
}

static void a_flag_wins (void **state)
{
    (void) state;
    setenv ("AGENT_PORT", "9002", 1);
    setenv ("SHOAL_CONTROL", "/run/variable.sock", 1);
    struct configuration configuration =
        parsed ((const char *[]){"--port=9003", "--payload-total", "512k", "--edge-tunnel=0", NULL});
    assert_int_equal (configuration.port, 9003);
    assert_int_equal (configuration.payload_total, 512 * 1024);
    assert_false (configuration.edge_tunnel);
    assert_string_equal (configuration.control, "/run/variable.sock");
}

/* Everybody on the machine can read the command line of a process. */
static void a_secret_flag_is_wiped_from_the_command_line (void **state)
{
    (void) state;
    char name[] = "shoal", flag[] = "--secret=hush hush", key[] = "--edge-key", value[] = "also secret";
    char *argv[] = {name, flag, key, value, NULL};
    struct configuration configuration = {.port = 0};
    assert_int_equal (options_parse (&configuration, 4, argv), 0);
    assert_string_equal (configuration.secret, "hush hush");
    assert_string_equal (configuration.edge_key, "also secret");
    char zero[sizeof value] = "";
    assert_memory_equal (flag, "--secret=\0\0\0\0\0\0\0\0\0", sizeof flag);
    assert_memory_equal (value, zero, sizeof value);
    free ((void *) (uintptr_t) configuration.secret);
    free ((void *) (uintptr_t) configuration.edge_key);
}

/* -------------------------------------------------------------------------------------------------------- bad values
 */

static void bad_values_get_one_line (void **state)
{
    (void) state;
    static const struct
    {
        const char *variable, *flag, *value, *wanted;
    } rows[] = {
        {"AGENT_PORT", "port", "0", "'0' is not a port from 1 to 65535"},
        {"AGENT_PORT", "port", "65536", "port from 1 to 65535"},
        {"AGENT_PORT", "port", "-1", "port from 1 to 65535"},
        {"AGENT_PORT", "port", "+80", "port from 1 to 65535"},
        {"AGENT_PORT", "port", "18446744073709551617", "port from 1 to 65535"},
        {"AGENT_HOST", "host", "localhost", "an IPv4 or IPv6 address"},
        {"EDGE_ASYNC", "edge-async", "yes", "1, t, true, 0, f or false"},
        {"SHOAL_GRACE_TIME", "grace-time", "8", "a duration such as"},
        {"SHOAL_PAYLOAD_TOTAL", "payload-total", "32mb", "a number of bytes"},
        {"SHOAL_PAYLOAD_TOTAL", "payload-total", "18446744073709551615k", "a number of bytes"},
        {"SHOAL_PAYLOAD_TOTAL", "payload-total", "255k", "at least 256k"},
        {"SHOAL_CONNECTIONS", "connections", "0", "a number from 1 to 1000000"},
        {"SHOAL_IDLE_TIME", "idle-time", "0", "longer than 0"},
        {"LOG_LEVEL", "log-level", "WARNING", "DEBUG, INFO, WARN or ERROR"},
        {"LOG_MODE", "log-mode", "xml", "PRETTY, NOCOLOR or JSON"},
        {"DOCKER_HOST", "docker-host", "tcp://127.0.0.1:2375", "unix:///path"},
        {"AGENT_PUBLIC_KEY", "public-key", "3059", "AGENT_PUBLIC_KEY"},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
        expect_bad (rows[row].variable, rows[row].flag, rows[row].value, rows[row].wanted);
}

static void eight_keys_may_be_pinned (void **state)
{
    (void) state;
    setenv ("AGENT_PUBLIC_KEY", KEY "," KEY "," KEY "," KEY "," KEY "," KEY "," KEY "," KEY, 1);
    parsed (NULL);
    setenv ("AGENT_PUBLIC_KEY", KEY "," KEY "," KEY "," KEY "," KEY "," KEY "," KEY "," KEY "," KEY, 1);
    expect_refused (NULL, (const char *[]){"AGENT_PUBLIC_KEY: more than 8 keys", NULL});
}

/* -------------------------------------------------------------------------------------------------------- secret file
 */

static void write_secret (char *path, const char *bytes, size_t length)
{
    strcpy (path, "/tmp/shoal-test-XXXXXX");
    int fd = mkstemp (path);
    assert_true (fd >= 0);
    assert_int_equal (write (fd, bytes, length), length);
    close (fd);
    setenv ("AGENT_SECRET_FILE", path, 1);
}

static void a_secret_may_come_from_a_file (void **state)
{
    (void) state;
    static const struct
    {
        const char *bytes, *secret;
    } rows[] = {{"hush", "hush"}, {"hush\n", "hush"}, {"hush\n\n", "hush\n"}, {" hush\r\n", " hush\r"}};
    char path[40];
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        write_secret (path, rows[row].bytes, strlen (rows[row].bytes));
        assert_string_equal (parsed (NULL).secret, rows[row].secret);
        unlink (path);
    }
}

static void a_bad_secret_file_is_refused (void **state)
{
    (void) state;
    static char large[5000];
    memset (large, 'x', sizeof large);
    char path[40];
    struct
    {
        const char *bytes;
        size_t length;
        const char *wanted;
    } rows[] = {{"", 0, "empty"},
                {"\n", 1, "empty"},
                {"a\0b", 3, "NUL"},
                {large, 4095, "longer than 4094 bytes"},
                {large, sizeof large, "longer than 4094 bytes"}};
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        write_secret (path, rows[row].bytes, rows[row].length);
        expect_refused (NULL, (const char *[]){"AGENT_SECRET_FILE", path, rows[row].wanted, NULL});
        unlink (path);
    }
    expect_refused (NULL, (const char *[]){path, "No such file or directory", NULL});
    write_secret (path, large, 4094);
    assert_int_equal (strlen (parsed (NULL).secret), 4094);
    setenv ("AGENT_SECRET", "another", 1);
    expect_refused (NULL, (const char *[]){"AGENT_SECRET and AGENT_SECRET_FILE exclude each other", NULL});
    unlink (path);
}

/* ------------------------------------------------------------------------------------------------------------- others
 */

static void commands_find_the_control_socket (void **state)
{
    (void) state;
    assert_string_equal (options_control_path (), parsed (NULL).control);
    setenv ("SHOAL_CONTROL", "/run/other.sock", 1);
    assert_string_equal (options_control_path (), "/run/other.sock");
    setenv ("SHOAL_CONTROL", "", 1);
    assert_string_equal (options_control_path (), parsed (NULL).control);
}

int main (void)
{
#define TEST(name) cmocka_unit_test_setup (name, clear_environment)
    const struct CMUnitTest tests[] = {
        TEST (durations),
        TEST (standard_values),
        TEST (the_environment_sets_every_kind),
        TEST (an_empty_variable_is_an_unset_one),
        TEST (a_flag_wins),
        TEST (a_secret_flag_is_wiped_from_the_command_line),
        TEST (bad_values_get_one_line),
        TEST (eight_keys_may_be_pinned),
        TEST (a_secret_may_come_from_a_file),
        TEST (a_bad_secret_file_is_refused),
        TEST (commands_find_the_control_socket),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
