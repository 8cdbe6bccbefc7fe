/* actors_cluster_resolver_test - the join names' addresses, round after round. Names that a name server would have to
 * know are the system tests' (test_cluster_network.py); here are addresses, a name of /etc/hosts, and one that cannot
 * be.
 */
#include "log_capture.h"

#include "actors/cluster_resolver.h"

static struct actor *s_actor;
static struct resolver *s_resolver;
static size_t s_rounds;
static uint64_t s_pause;    /* ms between two rounds */
static uint64_t s_patience; /* ms */

static void *hold (struct actor *actor, const void *configuration)
{
    (void) configuration;
    s_actor = actor;
    return actor;
}

static void on_message (void *self, struct message *message)
{
    (void) self, (void) message;
}

static void let_go (void **self_p)
{
    resolver_destroy (&s_resolver);
    *self_p = NULL;
}

static const struct actor_class s_holder = {
    .id = ACTOR_membership, .start = hold, .message = on_message, .stop = let_go};

static uint64_t on_done (void *context)
{
    (void) context;
    s_rounds++;
    return s_pause;
}

static struct harness *begin (const char *text, uint64_t pause)
{
    struct join_name names[JOIN_NAMES_MAX];
    const char *error;
    struct harness *harness = harness_prepare ();
    harness_start (harness, &s_holder);
    log_capture_begin (harness);
    s_rounds = 0;
    s_pause = pause;
    int count = join_names_parse (text, 7946, names, &error);
    assert_true (count > 0);
    s_resolver = resolver_new (s_actor, names, (size_t) count, s_patience, on_done, NULL);
    return harness;
}

static int teardown (void **state)
{
    log_capture_end ();
    return harness_teardown (state);
}

static bool has_rounds (struct harness *harness, void *data)
{
    (void) harness;
    return s_rounds >= *(size_t *) data;
}

static void await_rounds (struct harness *harness, size_t count)
{
    harness_until (harness, has_rounds, &count);
}

static void finish (struct harness *harness)
{
    log_capture_end ();
    harness_destroy (harness);
}

static void takes_addresses_as_they_are (void **state)
{
    (void) state;
    struct harness *harness = begin ("192.0.2.1,[2001:db8::1]:80", 1);
    assert_true (resolver_knows (s_resolver, "192.0.2.1")); /* without waiting */
    await_rounds (harness, 3);
    assert_int_equal (resolver_count (s_resolver), 2);
    assert_string_equal (resolver_at (s_resolver, 0)->address, "192.0.2.1");
    assert_int_equal (resolver_at (s_resolver, 0)->port, 7946);
    assert_string_equal (resolver_at (s_resolver, 1)->address, "2001:db8::1");
    assert_int_equal (resolver_at (s_resolver, 1)->port, 80);
    assert_null (resolver_at (s_resolver, 2));
    assert_true (resolver_knows (s_resolver, "2001:db8::1"));
    assert_false (resolver_knows (s_resolver, "192.0.2.2"));
    finish (harness);
}

static void resolves_names (void **state)
{
    (void) state;
    struct harness *harness = begin ("localhost:7001", 1);
    await_rounds (harness, 2);
    assert_true (resolver_knows (s_resolver, "127.0.0.1"));
    assert_int_equal (resolver_at (s_resolver, 0)->port, 7001);
    assert_string_equal (log_capture_text (), "");
    finish (harness);
}

/* A name that fails is said once, and does not keep the others from being found. */
static void goes_on_when_a_name_fails (void **state)
{
    (void) state;
    struct harness *harness = begin ("localhost,no-such-name.invalid,192.0.2.1", 1);
    await_rounds (harness, 2);
    assert_true (resolver_knows (s_resolver, "127.0.0.1"));
    assert_true (resolver_knows (s_resolver, "192.0.2.1"));
    assert_int_equal (log_capture_count ("cannot resolve 'no-such-name.invalid' to find other agents: "), 1);
    json_t *report = resolver_report (s_resolver), *names = json_object_get (report, "names");
    assert_true (json_integer_value (json_object_get (report, "failures")) >= 2);
    assert_string_equal (json_string_value (json_object_get (json_array_get (names, 0), "last_error")), "");
    assert_string_not_equal (json_string_value (json_object_get (json_array_get (names, 1), "last_error")), "");
    json_decref (report);
    finish (harness);
}

/* At the start of a service nobody is healthy yet, and so nobody is in DNS: no cause to warn. */
static void is_patient_with_a_name_that_is_new (void **state)
{
    (void) state;
    s_patience = 3600000;
    struct harness *harness = begin ("no-such-name.invalid", 1);
    await_rounds (harness, 2);
    s_patience = 0;
    assert_int_equal (log_capture_count ("'no-such-name.invalid' cannot be resolved yet"), 1);
    assert_int_equal (log_capture_count ("WARN"), 0);
    finish (harness);
}

static void hurries (void **state)
{
    (void) state;
    struct harness *harness = begin ("192.0.2.1", 3600000);
    await_rounds (harness, 1);
    for (int number = 0; number < 100; number++)
        resolver_hurry (s_resolver);
    await_rounds (harness, 2);
    resolver_hurry (s_resolver);
    await_rounds (harness, 3);
    assert_int_equal (s_rounds, 3);
    finish (harness);
}

static bool has_begun (struct harness *harness, void *data)
{
    (void) harness, (void) data;
    json_t *report = resolver_report (s_resolver);
    bool begun = json_integer_value (json_object_get (report, "rounds")) > 0;
    json_decref (report);
    return begun;
}

/* It may end in the middle of a round, and says nothing of it then. */
static void ends_while_it_asks (void **state)
{
    (void) state;
    struct harness *harness = begin ("no-such-name.invalid", 1);
    harness_until (harness, has_begun, NULL);
    size_t rounds = s_rounds;
    resolver_destroy (&s_resolver);
    assert_null (s_resolver);
    assert_int_equal (s_rounds, rounds);
    finish (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (takes_addresses_as_they_are, teardown),
        cmocka_unit_test_teardown (resolves_names, teardown),
        cmocka_unit_test_teardown (goes_on_when_a_name_fails, teardown),
        cmocka_unit_test_teardown (is_patient_with_a_name_that_is_new, teardown),
        cmocka_unit_test_teardown (hurries, teardown),
        cmocka_unit_test_teardown (ends_while_it_asks, teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
