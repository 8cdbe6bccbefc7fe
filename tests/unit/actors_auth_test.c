/* actors_auth_test - the auth actor: requests in, yes (a request to the router) or no (an answer to ingress) out.
 */
#include "actor_harness.h"

#include "http/signature.h"

#include <fcntl.h>

/* -------------------------------------------------------------------------------------------------------- requests */

struct verdict
{
    unsigned status;
    json_t *body; /* of a refusal */
};

static void verdict_clear (struct verdict *verdict)
{
    json_decref (verdict->body);
    verdict->body = NULL;
}

static const char *message_of (const struct verdict *verdict)
{
    return json_string_value (json_object_get (verdict->body, "message"));
}

static const char *details_of (const struct verdict *verdict)
{
    return json_string_value (json_object_get (verdict->body, "details"));
}

static bool is_decided (struct harness *harness, void *data)
{
    struct wanted forwarded = {ACTOR_router, MESSAGE_request, *(uint64_t *) data, NULL};
    struct wanted refused = {ACTOR_ingress, MESSAGE_end, *(uint64_t *) data, NULL};
    return is_there (harness, &forwarded) || is_there (harness, &refused);
}

static struct verdict ask_from (struct harness *harness, const char *source, struct slice target, struct slice key,
                                struct slice signature)
{
    struct header headers[] = {{SLICE ("Accept"), SLICE ("*/*")},
                               {SLICE ("x-portaineragent-publickey"), key},
                               {SLICE ("X-PortainerAgent-Signature"), signature}};
    union message_fields fields = {.request = {.method = SLICE ("GET"),
                                               .client = ACTOR_ingress,
                                               .target = target,
                                               .source = slice_from (source),
                                               .window = 1,
                                               .headers = {headers, 3}}};
    uint64_t stream = ++harness->last_stream;
    probe_send (harness, ACTOR_ingress, ACTOR_auth, MESSAGE_request, stream, &fields, SLICE (""));
    harness_until (harness, is_decided, &stream);
    struct verdict verdict = {.status = 200};
    if (probe_count (harness, ACTOR_router, MESSAGE_request, stream))
    {
        /* Passed on as it came; nobody else was told anything. */
        const struct message_request *request =
            &probe_await (harness, ACTOR_router, MESSAGE_request, stream)->fields.request;
        assert_true (slice_equal (request->target, target));
        assert_int_equal (request->headers.count, 3);
        assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_response, stream), 0);
        return verdict;
    }
    verdict.status = (unsigned) probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response.status;
    size_t length;
    char *text = probe_payload (harness, ACTOR_ingress, stream, &length);
    verdict.body = json_loadb (text, length, 0, NULL);
    assert_non_null (verdict.body);
    free (text);
    return verdict;
}

static struct verdict ask (struct harness *harness, struct slice key, struct slice signature)
{
    return ask_from (harness, "192.0.2.1:1000", SLICE ("/info"), key, signature);
}

/* The status alone, of a request signed by one of ours. */
static unsigned ask_signed (struct harness *harness, struct signature_signer *signer, const char *secret)
{
    uint8_t digest[SIGNATURE_DIGEST_BYTES];
    char text[96];
    signature_digest (slice_from (secret), digest);
    assert_int_equal (signature_sign (signer, digest, text), 0);
    struct verdict verdict = ask (harness, slice_from (signature_signer_public (signer)), slice_from (text));
    verdict_clear (&verdict);
    return verdict.status;
}

static struct signature_signer *new_signer (void)
{
    const char *error;
    struct signature_signer *signer = signature_signer_new (SLICE (""), &error);
    assert_non_null (signer);
    return signer;
}

static struct slice text_of (const json_t *object, const char *name)
{
    const json_t *text = json_object_get (object, name);
    return slice_of (json_string_value (text), json_string_length (text));
}

static char *mode_of (struct harness *harness)
{
    json_t *state = harness_inspect (harness, ACTOR_auth);
    char *mode = strdup (json_string_value (json_object_get (state, "mode")));
    json_decref (state);
    return mode;
}

static void expect_mode (struct harness *harness, const char *expected)
{
    char *mode = mode_of (harness);
    assert_string_equal (mode, expected);
    free (mode);
}

/* --------------------------------------------------------------------------------------------------------- the vectors
 */

static void agrees_with_shared_cases (void **state)
{
    (void) state;
    json_t *file = json_load_file (TEST_DATA "/signature.json", 0, NULL), *test;
    size_t index;
    json_array_foreach (json_object_get (file, "single"), index, test)
    {
        struct harness *harness = harness_prepare ();
        harness->configuration.secret = json_string_value (json_object_get (test, "secret"));
        harness_start (harness, &auth_class);
        struct verdict verdict = ask (harness, text_of (test, "public_key"), text_of (test, "signature"));
        if ((verdict.status == 200) != json_is_true (json_object_get (test, "valid")))
            fail_msg ("%s: %u", json_string_value (json_object_get (test, "name")), verdict.status);
        if (verdict.status != 200)
        {
            assert_int_equal (verdict.status, 403);
            assert_non_null (strstr (message_of (&verdict), "request signature"));
            assert_true (strlen (details_of (&verdict)) > 0);
        }
        verdict_clear (&verdict);
        harness_destroy (harness);
    }
    assert_int_equal (index, 42);
    json_decref (file);
}

static void agrees_with_shared_sequences (void **state)
{
    (void) state;
    json_t *file = json_load_file (TEST_DATA "/signature.json", 0, NULL), *sequence, *step;
    size_t index, at, steps = 0;
    json_array_foreach (json_object_get (file, "sequences"), index, sequence)
    {
        struct harness *harness = harness_prepare ();
        harness->configuration.secret = json_string_value (json_object_get (sequence, "secret"));
        harness_start (harness, &auth_class);
        json_array_foreach (json_object_get (sequence, "steps"), at, step)
        {
            json_t *wanted = json_object_get (step, "wanted_status"), *status = json_object_get (step, "status");
            long expected = (long) json_integer_value (wanted ? wanted : status);
            struct verdict verdict = ask (harness, text_of (step, "public_key"), text_of (step, "signature"));
            const char *message = json_string_value (json_object_get (step, "message"));
            if (verdict.status != expected ||
                (expected != 200 && message && strcmp (message, message_of (&verdict)) != 0))
                fail_msg ("%s, step %zu: %u", json_string_value (json_object_get (sequence, "name")), at,
                          verdict.status);
            const char *details = json_string_value (json_object_get (step, "details"));
            if (expected != 200 && details && strcmp (details, "Unauthorized") == 0)
                assert_string_equal (details_of (&verdict), details);
            verdict_clear (&verdict);
            steps++;
        }
        harness_destroy (harness);
    }
    assert_true (index >= 4 && steps > index);
    json_decref (file);
}

/* --------------------------------------------------------------------------------------------------------------- modes
 */

static void pinned_keys_alone_may (void **state)
{
    (void) state;
    struct signature_signer *first = new_signer (), *second = new_signer (), *stranger = new_signer ();
    char list[1000], file[200];
    for (int count = 1; count <= 2; count++)
    {
        struct harness *harness = harness_prepare ();
        snprintf (list, sizeof list, "%s%s%s", signature_signer_public (first), count == 2 ? "," : "",
                  count == 2 ? signature_signer_public (second) : "");
        harness->configuration.public_key = list;
        harness_start (harness, &auth_class);
        assert_int_equal (ask_signed (harness, stranger, ""), 403);
        assert_int_equal (ask_signed (harness, first, ""), 200);
        assert_int_equal (ask_signed (harness, second, ""), count == 2 ? 200 : 403);
        assert_int_equal (ask_signed (harness, stranger, ""), 403);
        assert_int_equal (ask_signed (harness, first, "another message"), 403);
        expect_mode (harness, "pinned");
        snprintf (file, sizeof file, "%s/registered_key.der", harness->data);
        assert_int_equal (access (file, F_OK), -1);
        harness_destroy (harness);
    }
    signature_signer_destroy (&first);
    signature_signer_destroy (&second);
    signature_signer_destroy (&stranger);
}

static void refuses_to_start_with_bad_pins (void **state)
{
    (void) state;
    struct signature_signer *signer = new_signer ();
    char list[PINNED_KEYS_MAX * 200 + 400] = "";
    for (int count = 0; count < PINNED_KEYS_MAX + 1; count++)
        snprintf (list + strlen (list), sizeof list - strlen (list), "%s%s", count ? "," : "",
                  signature_signer_public (signer));
    const char *lists[] = {"zz", "30", list};
    for (size_t row = 0; row < 3; row++)
    {
        struct harness *harness = harness_prepare ();
        harness->configuration.public_key = lists[row];
        harness_start (harness, &auth_class);
        assert_null (harness->runtime);
        harness_destroy (harness);
    }
    signature_signer_destroy (&signer);
}

/* With a secret any key may, also more of them than are kept parsed; nothing is registered. */
static void secret_takes_any_key (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    struct signature_signer *signers[40];
    char file[200];
    harness->configuration.secret = "a secret of some length";
    harness_start (harness, &auth_class);
    for (size_t index = 0; index < 40; index++)
    {
        signers[index] = new_signer ();
        assert_int_equal (ask_signed (harness, signers[index], "a secret of some length"), 200);
        assert_int_equal (ask_signed (harness, signers[index], "a secret of some lengtH"), 403);
        assert_int_equal (ask_signed (harness, signers[index], ""), 403);
    }
    for (size_t index = 0; index < 40; index++)
    {
        assert_int_equal (ask_signed (harness, signers[index], "a secret of some length"), 200);
        signature_signer_destroy (&signers[index]);
    }
    snprintf (file, sizeof file, "%s/registered_key.der", harness->data);
    assert_int_equal (access (file, F_OK), -1);
    harness_destroy (harness);
}

/* One signature for a key must not be good for another, also when it is remembered. */
static void remembers_pairs (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    struct signature_signer *signer = new_signer (), *other = new_signer ();
    uint8_t digest[SIGNATURE_DIGEST_BYTES];
    char text[96];
    harness->configuration.secret = "a secret of some length";
    harness_start (harness, &auth_class);
    signature_digest (SLICE ("a secret of some length"), digest);
    assert_int_equal (signature_sign (signer, digest, text), 0);
    for (int round = 0; round < 10; round++)
    {
        struct verdict verdict = ask (harness, slice_from (signature_signer_public (signer)), slice_from (text));
        assert_int_equal (verdict.status, 200);
        verdict = ask (harness, slice_from (signature_signer_public (other)), slice_from (text));
        assert_int_equal (verdict.status, 403);
        verdict_clear (&verdict);
    }
    assert_true (harness_counter (harness, ACTOR_auth, "remembered") >= 8);
    long verified = harness_counter (harness, ACTOR_auth, "verified");
    /* A changed signature is verified anew, and refused. */
    text[40] = text[40] == 'A' ? 'B' : 'A';
    struct verdict verdict = ask (harness, slice_from (signature_signer_public (signer)), slice_from (text));
    assert_int_equal (verdict.status, 403);
    verdict_clear (&verdict);
    assert_int_equal (harness_counter (harness, ACTOR_auth, "verified"), verified + 1);
    /* Fresh signatures cost one verification each, whatever their number. */
    for (int round = 0; round < 1500; round++)
        assert_int_equal (ask_signed (harness, signer, "a secret of some length"), 200);
    assert_int_equal (harness_counter (harness, ACTOR_auth, "verified"), verified + 1501);
    signature_signer_destroy (&signer);
    signature_signer_destroy (&other);
    harness_destroy (harness);
}

/* ------------------------------------------------------------------------------------------------------- registration
 */

static bool forget (struct harness *harness)
{
    probe_send (harness, ACTOR_control, ACTOR_auth, MESSAGE_forget, 0, NULL, SLICE (""));
    struct slice text = probe_await (harness, ACTOR_control, MESSAGE_report, 0)->fields.report.state;
    json_t *state = json_loadb (text.at, text.len, 0, NULL);
    bool forgotten = json_is_true (json_object_get (state, "forgotten"));
    json_decref (state);
    return forgotten;
}

static void forgets (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    struct signature_signer *first = new_signer (), *second = new_signer ();
    uint8_t digest[SIGNATURE_DIGEST_BYTES];
    char text[96];
    harness_start (harness, &auth_class);
    expect_mode (harness, "waiting for a key");
    signature_digest (SLICE (""), digest);
    signature_sign (first, digest, text);
    for (int round = 0; round < 3; round++) /* remembered now */
    {
        struct verdict verdict = ask (harness, slice_from (signature_signer_public (first)), slice_from (text));
        assert_int_equal (verdict.status, 200);
    }
    assert_int_equal (ask_signed (harness, second, ""), 403);
    expect_mode (harness, "registered");
    assert_true (forget (harness));
    expect_mode (harness, "waiting for a key");
    assert_int_equal (ask_signed (harness, second, ""), 200);
    struct verdict verdict = ask (harness, slice_from (signature_signer_public (first)), slice_from (text));
    assert_int_equal (verdict.status, 403);
    verdict_clear (&verdict);
    assert_true (forget (harness));
    assert_true (forget (harness)); /* nothing is there: a success too */
    harness_destroy (harness);

    harness = harness_prepare ();
    harness->configuration.secret = "a secret of some length";
    harness_start (harness, &auth_class);
    assert_false (forget (harness));
    harness_destroy (harness);
    signature_signer_destroy (&first);
    signature_signer_destroy (&second);
}

static void survives_a_restart (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    struct signature_signer *first = new_signer (), *second = new_signer ();
    struct stat information;
    char file[200];
    snprintf (file, sizeof file, "%s/registered_key.der", harness->data);
    harness_start (harness, &auth_class);
    assert_int_equal (ask_signed (harness, first, "wrong"), 403);
    assert_int_equal (access (file, F_OK), -1); /* only once its signature verified */
    assert_int_equal (ask_signed (harness, first, ""), 200);
    assert_int_equal (stat (file, &information), 0);
    assert_int_equal (information.st_mode & 07777, 0600);
    harness_stop (harness);
    harness_start (harness, &auth_class);
    expect_mode (harness, "registered");
    assert_int_equal (ask_signed (harness, second, ""), 403);
    assert_int_equal (ask_signed (harness, first, ""), 200);
    assert_true (forget (harness));
    assert_int_equal (access (file, F_OK), -1);
    harness_stop (harness);
    harness_start (harness, &auth_class);
    assert_int_equal (ask_signed (harness, second, ""), 200);
    harness_stop (harness);

    /* A damaged file is no key; an absent folder no reason not to work. */
    int fd = open (file, O_WRONLY | O_TRUNC);
    assert_int_equal (write (fd, "garbage", 7), 7);
    close (fd);
    harness_start (harness, &auth_class);
    expect_mode (harness, "waiting for a key");
    assert_int_equal (ask_signed (harness, first, ""), 200);
    harness_stop (harness);
    harness->configuration.data = "/proc/none/such";
    harness_start (harness, &auth_class);
    assert_int_equal (ask_signed (harness, second, ""), 200);
    assert_int_equal (ask_signed (harness, first, ""), 403);
    signature_signer_destroy (&first);
    signature_signer_destroy (&second);
    harness_destroy (harness);
}

static bool clock_passed (struct harness *harness, void *data)
{
    return actor_now (harness->any) >= *(uint64_t *) data;
}

static void closes_when_nobody_comes (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    struct signature_signer *signer = new_signer ();
    harness->configuration.secret_timeout = 500; /* long enough to be asked before */
    harness_start (harness, &auth_class);
    assert_int_equal (ask_signed (harness, signer, "wrong"), 403); /* does not count */
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_listen, 0);
    assert_false (seen->fields.listen.open);
    assert_int_equal (harness_counter (harness, ACTOR_auth, "closed"), 1);
    assert_true (forget (harness));
    assert_true (probe_await (harness, ACTOR_ingress, MESSAGE_listen, 0)->fields.listen.open);
    assert_int_equal (ask_signed (harness, signer, ""), 200);
    /* Somebody came: it stays open. */
    uint64_t later = actor_now (harness->any) + 1000;
    harness_until (harness, clock_passed, &later);
    harness_barrier (harness, ACTOR_auth);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_listen, 0), 2);
    signature_signer_destroy (&signer);
    harness_destroy (harness);
}

/* ---------------------------------------------------------------------------------------------------------------- rest
 */

static void lets_open_routes_pass (void **state)
{
    (void) state;
    static const struct
    {
        const char *target;
        unsigned status;
    } rows[] = {{"/ping", 200},      {"/v2/ping", 200},    {"/pingx", 200},          {"/_ping", 403},
                {"/v1/ping", 403},   {"/ping/", 200},      {"/agents", 403},         {"/key", 403},
                {"/browse/ls", 403}, {"/v1.41/info", 403}, {"/websocket/exec", 403}, {"/containers/json?/ping", 403},
                {"/%70ing", 403}};
    struct harness *harness = harness_prepare ();
    harness_start (harness, &auth_class);
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct verdict verdict =
            ask_from (harness, "192.0.2.1:1", slice_from (rows[row].target), SLICE (""), SLICE (""));
        if (verdict.status != rows[row].status)
            fail_msg ("%s: %u", rows[row].target, verdict.status);
        if (verdict.status == 403)
        {
            assert_string_equal (message_of (&verdict), "Missing request signature headers");
            assert_string_equal (details_of (&verdict), "Unauthorized");
        }
        verdict_clear (&verdict);
    }
    harness_destroy (harness);
}

static void passes_aborts_on (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness_start (harness, &auth_class);
    probe_abort (harness, ACTOR_ingress, ACTOR_auth, 77);
    assert_true (
        slice_equal (probe_await (harness, ACTOR_router, MESSAGE_abort, 77)->fields.abort.reason, SLICE ("test")));
    harness_destroy (harness);
}

static size_t count_text (const char *text, const char *wanted)
{
    size_t count = 0;
    for (; (text = strstr (text, wanted)); text++)
        count++;
    return count;
}

/* A refusal is logged once for each address, with what to do; keys, signatures and the secret never are. */
static void tells_a_refusal_once (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    struct signature_signer *signer = new_signer ();
    char path[100], text[20000] = "";
    snprintf (path, sizeof path, "%s/log", harness->folder);
    harness->configuration.secret = "the-secret-itself";
    int before = dup (2), fd = open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    harness_start (harness, &auth_class);
    dup2 (fd, 2);
    log_setup (LOG_DEBUG, LOG_NOCOLOR);
    for (int round = 0; round < 3; round++)
    {
        static const char *const sources[] = {"192.0.2.1:1000", "192.0.2.1:1001", "192.0.2.2:1000", "[2001:db8::1]:1"};
        for (size_t row = 0; row < 4; row++)
        {
            struct verdict verdict =
                ask_from (harness, sources[row], SLICE ("/info"), slice_from (signature_signer_public (signer)),
                          SLICE ("c2VjcmV0c2lnbmF0dXJl"));
            verdict_clear (&verdict);
        }
    }
    harness_barrier (harness, ACTOR_auth);
    dup2 (before, 2);
    close (before);
    log_setup (LOG_ERROR, LOG_NOCOLOR);
    assert_true (pread (fd, text, sizeof text - 1, 0) > 0);
    close (fd);
    assert_int_equal (count_text (text, "refused a request of "), 3);
    assert_int_equal (count_text (text, "192.0.2.1:"), 1);
    assert_non_null (strstr (text, "AGENT_SECRET must be the same"));
    assert_null (strstr (text, "the-secret-itself"));
    assert_null (strstr (text, "c2VjcmV0c2lnbmF0dXJl"));
    signature_signer_destroy (&signer);
    harness_destroy (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (agrees_with_shared_cases, harness_teardown),
        cmocka_unit_test_teardown (agrees_with_shared_sequences, harness_teardown),
        cmocka_unit_test_teardown (pinned_keys_alone_may, harness_teardown),
        cmocka_unit_test_teardown (refuses_to_start_with_bad_pins, harness_teardown),
        cmocka_unit_test_teardown (secret_takes_any_key, harness_teardown),
        cmocka_unit_test_teardown (remembers_pairs, harness_teardown),
        cmocka_unit_test_teardown (forgets, harness_teardown),
        cmocka_unit_test_teardown (survives_a_restart, harness_teardown),
        cmocka_unit_test_teardown (closes_when_nobody_comes, harness_teardown),
        cmocka_unit_test_teardown (lets_open_routes_pass, harness_teardown),
        cmocka_unit_test_teardown (passes_aborts_on, harness_teardown),
        cmocka_unit_test_teardown (tells_a_refusal_once, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
