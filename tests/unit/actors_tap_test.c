/* actors_tap_test - the tap actor: messages between probes, as a watcher on a socket pair sees them.
 */
#include "actor_harness.h"

static struct harness *begin (void)
{
    struct harness *harness = harness_prepare ();
    harness_start (harness, &tap_class);
    return harness;
}

/* A watcher; its greeting is taken. */
static struct peer watch_with (struct harness *harness, const char *filter, const char *greeting)
{
    int pair[2];
    assert_int_equal (socketpair (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    union message_fields fields = {.watch = {.descriptor = (uint64_t) pair[1], .filter = slice_from (filter)}};
    probe_send (harness, ACTOR_control, ACTOR_tap, MESSAGE_watch, 0, &fields, SLICE (""));
    struct peer peer = peer_of (pair[0]);
    peer_await (harness, &peer, greeting);
    assert_string_equal (peer.text, greeting);
    peer_clear (&peer);
    return peer;
}

static struct peer watch (struct harness *harness, const char *filter)
{
    return watch_with (harness, filter, "{\"ok\":true}\n");
}

static size_t lines_of (const struct peer *peer)
{
    size_t count = 0;
    for (size_t at = 0; at < peer->length; at++)
        count += peer->text[at] == '\n';
    return count;
}

/* A request whose parts are secret or public, as the catalog says. */
static void send_request (struct harness *harness, uint64_t stream)
{
    const struct header headers[] = {{SLICE ("Content-Type"), SLICE ("application/json")},
                                     {SLICE ("X-PortainerAgent-Signature"), SLICE ("hush-signature")},
                                     {SLICE ("X-PortainerAgent-PublicKey"), SLICE ("hush-key")},
                                     {SLICE ("X-Registry-Auth"), SLICE ("hush-registry")},
                                     {SLICE ("Authorization"), SLICE ("hush-authorization")},
                                     {SLICE ("Cookie"), SLICE ("hush-cookie")},
                                     {SLICE ("X-Unknown"), SLICE ("hush-unknown")}};
    union message_fields fields = {.request = {.method = SLICE ("GET"),
                                               .client = ACTOR_ingress,
                                               .target = SLICE ("/containers/json?all=1&token=hush-token"),
                                               .source = SLICE ("192.0.2.1:1"),
                                               .window = 1,
                                               .headers = {headers, 7}}};
    probe_send (harness, ACTOR_ingress, ACTOR_auth, MESSAGE_request, stream, &fields, SLICE (""));
}

static void shows_without_secrets (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct peer text = watch (harness, "{}"), json = watch (harness, "{\"format\":\"json\"}");
    send_request (harness, 4);
    probe_body (harness, ACTOR_docker, ACTOR_ingress, 4, SLICE ("hush-payload"));
    peer_await (harness, &text, "docker -> ingress body <12 bytes>\n");
    peer_await (harness, &json, "\"payload_bytes\":12}\n");
    struct peer *both[] = {&text, &json};
    for (int form = 0; form < 2; form++)
    {
        assert_null (strstr (both[form]->text, "hush"));
        assert_non_null (strstr (both[form]->text, "application/json"));
        assert_non_null (strstr (both[form]->text, "/containers/json?all=1&token="));
        assert_non_null (strstr (both[form]->text, "X-PortainerAgent-Signature"));
        assert_non_null (strstr (both[form]->text, "192.0.2.1:1"));
    }
    assert_non_null (strstr (text.text, "01020304 #4 ingress -> auth request method=\"GET\""));
    /* Each line of JSON is an object; the watch itself was not shown, it came before. */
    for (char *line = json.text, *end; (end = strchr (line, '\n')); line = end + 1)
    {
        json_t *object = json_loadb (line, (size_t) (end - line), 0, NULL);
        assert_true (json_is_object (object));
        assert_int_equal (json_integer_value (json_object_get (object, "stream")) == 4,
                          json_integer_value (json_object_get (object, "stream")) != 0);
        json_decref (object);
    }
    peer_free (&text);
    peer_free (&json);
    harness_destroy (harness);
}

static void shows_payload_when_asked (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct peer with = watch (harness, "{\"payload\":10}"), without = watch (harness, "{}"),
                json = watch (harness, "{\"payload\":1000000,\"format\":\"json\"}");
    probe_body (harness, ACTOR_docker, ACTOR_ingress, 4,
                SLICE ("ab\"\\\n\0\xff"
                       "0123456789"));
    peer_await (harness, &with, "body <17 bytes> \"ab\\x22\\x5c\\x0a\\x00\\xff012\"\n");
    peer_await (harness, &without, "body <17 bytes>\n");
    peer_await (harness, &json, "0123456789\"}\n");
    /* Far more than is ever shown. */
    char *large = must (malloc (100000));
    memset (large, '\1', 100000);
    peer_clear (&json);
    probe_body (harness, ACTOR_docker, ACTOR_ingress, 5, slice_of (large, 100000));
    peer_await (harness, &json, "\"payload_bytes\":100000");
    peer_await (harness, &json, "\n");
    json_t *object = json_loads (json.text, 0, NULL);
    assert_int_equal (json_string_length (json_object_get (object, "payload")), 4 * 4096);
    json_decref (object);
    free (large);
    peer_free (&with);
    peer_free (&without);
    peer_free (&json);
    harness_destroy (harness);
}

static void filters (void **state)
{
    (void) state;
    static const struct
    {
        const char *filter;
        bool shown[4]; /* credit auth -> docker, credit docker -> ingress, abort auth -> docker, credit of trace
                          01020309 */
    } rows[] = {
        {"{}", {true, true, true, true}},
        {"{\"actors\":[\"auth\"]}", {true, false, true, true}},
        {"{\"actors\":[\"ingress\",\"router\"]}", {false, true, false, false}},
        {"{\"types\":[\"abort\"]}", {false, false, true, false}},
        {"{\"types\":[\"abort\",\"credit\"],\"actors\":[\"docker\"]}", {true, true, true, true}},
        {"{\"trace\":\"01020309\"}", {false, false, false, true}},
        {"{\"trace\":\"0102\"}", {true, true, true, true}},
        {"{\"trace\":\"01020309\",\"types\":[\"abort\"]}", {false, false, false, false}},
        {"{\"trace\":\"ff\"}", {false, false, false, false}},
    };
    struct harness *harness = begin ();
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        /* A second one, who sees all, says when everything has passed. */
        struct peer peer = watch (harness, rows[row].filter), all = watch (harness, "{}");
        probe_credit (harness, ACTOR_auth, ACTOR_docker, 1, 101);
        probe_credit (harness, ACTOR_docker, ACTOR_ingress, 2, 102);
        probe_abort (harness, ACTOR_auth, ACTOR_docker, 3);
        probe_credit (harness, ACTOR_auth, ACTOR_docker, 9, 104);
        peer_await (harness, &all, "bytes=104\n");
        harness_barrier (harness, ACTOR_tap);
        peer_read (&peer);
        static const char *const marks[] = {
            "#1 auth -> docker credit bytes=101\n", "#2 docker -> ingress credit bytes=102\n",
            "#3 auth -> docker abort reason=\"test\"\n", "#9 auth -> docker credit bytes=104\n"};
        for (int index = 0; index < 4; index++)
            if ((strstr (peer.text, marks[index]) != NULL) != rows[row].shown[index])
                fail_msg ("%s: %s in '%s'", rows[row].filter, marks[index], peer.text);
        peer_free (&peer);
        peer_free (&all);
        harness_barrier (harness, ACTOR_tap);
        assert_int_equal (harness_counter (harness, ACTOR_tap, "watchers"), 0);
    }
    harness_destroy (harness);
}

static void refuses_bad_filters (void **state)
{
    (void) state;
    static const char *const filters[] = {"",
                                          "x",
                                          "[]",
                                          "{\"actors\":[\"nobody\"]}",
                                          "{\"actors\":[5]}",
                                          "{\"types\":[\"nothing\"]}",
                                          "{\"trace\":5}",
                                          "{\"trace\":\"0123456789012345678901234567890123\"}",
                                          "{\"payload\":\"all\"}"};
    struct harness *harness = begin ();
    for (size_t row = 0; row < sizeof filters / sizeof *filters; row++)
    {
        struct peer peer =
            watch_with (harness, filters[row], "{\"error\":\"no such actor or message type: see docs/messages.md\"}\n");
        peer_await_end (harness, &peer);
        peer_free (&peer);
    }
    struct peer peers[17];
    for (size_t index = 0; index < 16; index++)
        peers[index] = watch (harness, "{\"trace\":\"ff\"}");
    peers[16] = watch_with (harness, "{}", "{\"error\":\"too many watch already\"}\n");
    for (size_t index = 0; index < 17; index++)
        peer_free (&peers[index]);
    harness_barrier (harness, ACTOR_tap);
    assert_int_equal (harness_counter (harness, ACTOR_tap, "watchers"), 0);
    harness_destroy (harness);
}

/* A watcher that does not read: everybody else gets everything at once, and afterwards it is told how many it missed.
 */
static void counts_what_a_slow_watcher_loses (void **state)
{
    (void) state;
    enum
    {
        TOTAL = 60000
    };
    struct harness *harness = begin ();
    struct peer slow = watch (harness, "{\"types\":[\"credit\"]}");
    uint64_t sent = 0;
    for (int burst = 0; burst < TOTAL / 20000; burst++)
    {
        for (int index = 0; index < 20000; index++, sent++)
            probe_credit (harness, ACTOR_auth, ACTOR_docker, 1 + sent % 250, 7);
        harness_barrier (harness, ACTOR_tap);
    }
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_credit, 0), TOTAL);
    /* Now it reads: what it is told to have lost and what it sees is all there was. */
    uint64_t shown = 0, lost = 0;
    probe_credit (harness, ACTOR_auth, ACTOR_docker, 7, 999);
    for (int turn = 0; turn < 200 && !strstr (slow.text, "bytes=999\n"); turn++)
    {
        harness_barrier (harness, ACTOR_tap);
        peer_read (&slow);
        if (turn % 20 == 19 && !strstr (slow.text, "bytes=999\n"))
        {
            probe_credit (harness, ACTOR_auth, ACTOR_docker, 7, 999);
            sent++;
        }
    }
    sent++;
    for (char *line = slow.text, *end; (end = strchr (line, '\n')); line = end + 1)
    {
        unsigned long long number;
        if (sscanf (line, "-- %llu messages lost --", &number) == 1)
            lost += number;
        else
            shown++;
    }
    assert_true (lost > 0);
    assert_non_null (strstr (slow.text, "bytes=999\n"));
    /* Reports and questions of the barriers are not of the wanted type, but the runtime may have dropped some of them.
     */
    assert_true (shown + lost >= sent && shown + lost <= sent + 100);
    assert_true (harness_counter (harness, ACTOR_tap, "lost") > 0);
    peer_free (&slow);
    harness_destroy (harness);
}

/* Without a watcher nothing is mirrored; the last one that leaves turns it off. */
static void costs_nothing_unwatched (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    assert_false (atomic_load (&harness->runtime->tapping));
    struct peer first = watch (harness, "{}"), second = watch (harness, "{\"payload\":5}");
    assert_true (atomic_load (&harness->runtime->tapping));
    assert_true (atomic_load (&harness->runtime->tap_payloads));
    peer_free (&second);
    harness_barrier (harness, ACTOR_tap);
    assert_true (atomic_load (&harness->runtime->tapping));
    assert_false (atomic_load (&harness->runtime->tap_payloads));
    peer_free (&first);
    harness_barrier (harness, ACTOR_tap);
    assert_false (atomic_load (&harness->runtime->tapping));
    long shown = harness_counter (harness, ACTOR_tap, "shown");
    probe_credit (harness, ACTOR_auth, ACTOR_docker, 1, 1);
    harness_barrier (harness, ACTOR_tap);
    assert_int_equal (harness_counter (harness, ACTOR_tap, "shown"), shown);
    harness_destroy (harness);
}

/* Many messages, all read: every one is shown, once, in order. */
static void shows_every_message (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct peer peer = watch (harness, "{\"types\":[\"credit\"]}");
    for (uint64_t number = 1; number <= 20000;)
    {
        for (int burst = 0; burst < 700 && number <= 20000; burst++, number++)
            probe_credit (harness, ACTOR_auth, ACTOR_docker, number, 1);
        char mark[40];
        snprintf (mark, sizeof mark, "#%llu auth", (unsigned long long) number - 1);
        peer_await (harness, &peer, mark);
    }
    assert_int_equal (lines_of (&peer), 20000);
    uint64_t expected = 1;
    for (char *mark = peer.text; (mark = strchr (mark, '#')); mark++)
        assert_int_equal (strtoull (mark + 1, NULL, 10), expected++);
    assert_int_equal (harness_counter (harness, ACTOR_tap, "lost"), 0);
    peer_free (&peer);
    harness_destroy (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (shows_without_secrets, harness_teardown),
        cmocka_unit_test_teardown (shows_payload_when_asked, harness_teardown),
        cmocka_unit_test_teardown (filters, harness_teardown),
        cmocka_unit_test_teardown (refuses_bad_filters, harness_teardown),
        cmocka_unit_test_teardown (counts_what_a_slow_watcher_loses, harness_teardown),
        cmocka_unit_test_teardown (costs_nothing_unwatched, harness_teardown),
        cmocka_unit_test_teardown (shows_every_message, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
