/* actors_router_test - the router actor: requests in; requests to docker and answers of the agent's own out.
 */
#include "actor_harness.h"

static uint64_t ask (struct harness *harness, const char *method, const char *target)
{
    struct header header = {SLICE ("X-Kept"), SLICE ("yes")};
    union message_fields fields = {.request = {.method = slice_from (method),
                                               .client = ACTOR_ingress,
                                               .target = slice_from (target),
                                               .framing = FRAMING_LENGTH,
                                               .length = 7,
                                               .hijackable = true,
                                               .source = SLICE ("192.0.2.1:1"),
                                               .window = 5,
                                               .headers = {&header, 1}}};
    uint64_t stream = ++harness->last_stream;
    probe_send (harness, ACTOR_auth, ACTOR_router, MESSAGE_request, stream, &fields, SLICE (""));
    return stream;
}

static void tell_engine (struct harness *harness, unsigned minimum, unsigned maximum, const char *node)
{
    union message_fields fields = {
        .engine = {
            .reachable = maximum > 0, .api_minimum = minimum, .api_maximum = maximum, .node = slice_from (node)}};
    probe_send (harness, ACTOR_docker, ACTOR_router, MESSAGE_engine, 0, &fields, SLICE (""));
}

static void expect_docker (struct harness *harness, const char *target, const char *expected)
{
    uint64_t stream = ask (harness, "POST", target);
    const struct message_request *request =
        &probe_await (harness, ACTOR_docker, MESSAGE_request, stream)->fields.request;
    if (!slice_equal (request->target, slice_from (expected)))
        fail_msg ("%s: %.*s", target, (int) request->target.len, request->target.at);
    /* Nothing else of it changes. */
    assert_true (slice_equal (request->method, SLICE ("POST")));
    assert_int_equal (request->framing, FRAMING_LENGTH);
    assert_int_equal (request->length, 7);
    assert_int_equal (request->window, 5);
    assert_true (request->hijackable);
    assert_true (slice_equal (headers_find (request->headers, SLICE ("x-kept")), SLICE ("yes")));
}

/* A version is kept when the engine speaks it, and dropped otherwise; what follows stays as it came. */
static void keeps_versions_that_the_engine_speaks (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness_start (harness, &router_class);
    expect_docker (harness, "/v1.30/info", "/info"); /* nothing is known of the engine yet */
    tell_engine (harness, 1024, 1041, "");
    static const char *const rows[][2] = {
        {"/v1.24/info", "/v1.24/info"},
        {"/v1.41/info?a=%2F", "/v1.41/info?a=%2F"},
        {"/v1.41/containers/a%2Fb/json", "/v1.41/containers/a%2Fb/json"},
        {"/v1.23/info", "/info"},
        {"/v1.42/info?a=%2F", "/info?a=%2F"},
        {"/v1.47/containers/a%2Fb/json", "/containers/a%2Fb/json"},
        {"/v2.0/info", "/info"},
        {"/v1.44", "/"},
        {"/info", "/info"},
        {"/images/reg.io/v1.2/foo/json", "/images/reg.io/v1.2/foo/json"},
        {"/v1.47/images/reg.io/v1.2/foo/json", "/images/reg.io/v1.2/foo/json"},
        {"/_ping", "/_ping"},
        {"/v1/ping", "/v1/ping"},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
        expect_docker (harness, rows[row][0], rows[row][1]);
    /* What was learned stays true while the engine is away. */
    tell_engine (harness, 0, 0, "");
    expect_docker (harness, "/v1.41/info", "/v1.41/info");
    assert_int_equal (harness_counter (harness, ACTOR_router, "versions_dropped"), 7);
    assert_int_equal (harness_counter (harness, ACTOR_router, "docker"), 15);
    harness_destroy (harness);
}

static void answers_what_is_its_own (void **state)
{
    (void) state;
    static const struct
    {
        const char *method, *target;
        unsigned status, swarm_status;
        const char *allow, *body;
    } rows[] = {
        {"GET", "/ping", 204, 204, NULL, ""},
        {"GET", "/v2/ping", 204, 204, NULL, ""},
        {"GET", "/v1.41/ping", 204, 204, NULL, ""},
        {"POST", "/ping", 405, 405, "GET", ""},
        {"POST", "/agents", 405, 405, "GET", ""},
        {"GET", "/browse/put", 405, 405, "POST", ""},
        {"PUT", "/key", 405, 405, "GET, POST", ""},
        {"GET", "/pingx", 404, 404, NULL, "404 page not found\n"},
        {"GET", "/agents/", 404, 404, NULL, "404 page not found\n"},
        {"GET", "/kubernetes/config", 404, 404, NULL, "404 page not found\n"},
        {"GET", "/key", 503, 503, NULL, "Edge key management is disabled on non Edge agent"},
        {"GET", "/agents", 503, 200, NULL, ""},
        {"GET", "/v1.41/agents", 503, 200, NULL, ""},
        {"POST", "/websocket/exec", 405, 405, "GET", ""},
        {"HEAD", "/v2/websocket/attach", 405, 405, "GET", ""},
        {"GET", "/websocket/pod", 404, 404, NULL, "404 page not found\n"},
        {"POST", "/v2/dockerhub", 501, 501, NULL, "message"},
    };
    struct harness *harness = harness_prepare ();
    harness_start (harness, &router_class);
    for (int swarm = 0; swarm < 2; swarm++)
    {
        tell_engine (harness, 1012, 1041, swarm ? "node" : "");
        for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
        {
            uint64_t stream = ask (harness, rows[row].method, rows[row].target);
            struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
            unsigned expected = swarm ? rows[row].swarm_status : rows[row].status;
            if (seen->fields.response.status != expected)
                fail_msg ("%s %s: %u", rows[row].method, rows[row].target, (unsigned) seen->fields.response.status);
            struct slice allow = headers_find (seen->fields.response.headers, SLICE ("Allow"));
            assert_true (slice_equal (allow, slice_from (rows[row].allow)));
            probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
            size_t length;
            char *body = probe_payload (harness, ACTOR_ingress, stream, &length);
            assert_int_equal (length, seen->fields.response.length);
            assert_int_equal (seen->fields.response.framing, length ? FRAMING_LENGTH : FRAMING_NONE);
            assert_non_null (strstr (body, rows[row].body));
            if (expected >= 500)
            {
                json_t *object = json_loads (body, 0, NULL);
                assert_true (json_is_string (json_object_get (object, "message")));
                assert_true (json_is_string (json_object_get (object, "details")));
                json_decref (object);
                assert_true (slice_equal (headers_find (seen->fields.response.headers, SLICE ("Content-Type")),
                                          SLICE ("application/json")));
            }
            free (body);
        }
    }
    /* None of them fell through. */
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_request, 0), 0);
    harness_destroy (harness);
}

/* Every name of the consoles, untouched. */
static void hands_websockets_to_console (void **state)
{
    (void) state;
    static const char *const targets[] = {"/websocket/exec?id=1",      "/websocket/attach?id=1",
                                          "/v1/websocket/exec?id=1",   "/v2/websocket/exec?id=1",
                                          "/v2/websocket/attach?id=1", "/v1.41/websocket/exec?id=1"};
    struct harness *harness = harness_prepare ();
    harness_start (harness, &router_class);
    tell_engine (harness, 1012, 1041, "");
    for (size_t row = 0; row < sizeof targets / sizeof *targets; row++)
    {
        uint64_t stream = ask (harness, "GET", targets[row]);
        const struct message_request *request =
            &probe_await (harness, ACTOR_console, MESSAGE_request, stream)->fields.request;
        assert_true (slice_equal (request->target, slice_from (targets[row])));
        assert_true (slice_equal (headers_find (request->headers, SLICE ("x-kept")), SLICE ("yes")));
    }
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_request, 0), 0);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_response, 0), 0);
    harness_destroy (harness);
}

static void hands_files_and_hardware_to_the_host (void **state)
{
    (void) state;
    static const char *const requests[][2] = {
        {"GET", "/host/info"},        {"GET", "/v1/host/info"},       {"GET", "/v2/host/info"},
        {"GET", "/v1.41/host/info"},  {"GET", "/browse/ls?path=/"},   {"GET", "/v2/browse/get?path=/"},
        {"DELETE", "/browse/delete"}, {"PUT", "/v2/browse/rename"},   {"POST", "/browse/put"},
        {"GET", "/v1/browse/vol/ls"}, {"POST", "/v1/browse/vol/put"},
    };
    struct harness *harness = harness_prepare ();
    harness_start (harness, &router_class);
    for (size_t row = 0; row < sizeof requests / sizeof *requests; row++)
    {
        uint64_t stream = ask (harness, requests[row][0], requests[row][1]);
        struct slice target = probe_await (harness, ACTOR_host, MESSAGE_request, stream)->fields.request.target;
        assert_true (slice_equal (target, slice_from (requests[row][1])));
    }
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_request, 0), 0);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_response, 0), 0);
    harness_destroy (harness);
}

static void passes_aborts_on (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness_start (harness, &router_class);
    probe_abort (harness, ACTOR_auth, ACTOR_router, 5);
    /* Whoever has the stream ends it. */
    static const enum actor_id answering[] = {ACTOR_docker, ACTOR_peers, ACTOR_gather, ACTOR_console, ACTOR_host};
    for (size_t index = 0; index < sizeof answering / sizeof *answering; index++)
        assert_true (slice_equal (probe_await (harness, answering[index], MESSAGE_abort, 5)->fields.abort.reason,
                                  SLICE ("test")));
    harness_destroy (harness);
}

/* The abort of a request comes behind it, or it would abort nothing. */
static void keeps_the_order (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness_start (harness, &router_class);
    for (int round = 0; round < 100; round++)
        probe_abort (harness, ACTOR_auth, ACTOR_router, ask (harness, "GET", round & 1 ? "/v9.99/info" : "/info"));
    harness_barrier (harness, ACTOR_router);
    uint64_t last = 0;
    for (size_t index = 0; index < harness->seen_count; index++)
    {
        const struct envelope *envelope = &harness->seen[index]->envelope;
        if (envelope->to != ACTOR_docker)
            continue;
        if (envelope->type == MESSAGE_request)
            last = envelope->stream;
        else
            assert_int_equal (envelope->stream, last);
    }
    assert_int_equal (last, 100);
    harness_destroy (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (keeps_versions_that_the_engine_speaks, harness_teardown),
        cmocka_unit_test_teardown (answers_what_is_its_own, harness_teardown),
        cmocka_unit_test_teardown (hands_websockets_to_console, harness_teardown),
        cmocka_unit_test_teardown (hands_files_and_hardware_to_the_host, harness_teardown),
        cmocka_unit_test_teardown (passes_aborts_on, harness_teardown),
        cmocka_unit_test_teardown (keeps_the_order, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
