/* actors_dispatch_test - the router in a Swarm: which node gets a request, by the contract's vectors (section 6).
 *
 * node1 is a manager, node2 and node3 are workers. The router under test is the one of the node that receives.
 */
#include "actor_harness.h"

static const char *const s_ids[] = {"id1", "id2", "id3"};

static void tell_engine (struct harness *harness, const char *name, const char *id, bool manager)
{
    union message_fields fields = {.engine = {.reachable = true,
                                              .api_minimum = 1012,
                                              .api_maximum = 1041,
                                              .name = slice_from (name),
                                              .node = slice_from (id),
                                              .manager = manager,
                                              .address = SLICE ("192.0.2.1")}};
    probe_send (harness, ACTOR_docker, ACTOR_router, MESSAGE_engine, 0, &fields, SLICE (""));
}

static void tell_member (struct harness *harness, const char *id, const char *name, bool manager, bool own, bool usable)
{
    union message_fields fields = {.member = {.usable = usable,
                                              .own = own,
                                              .id = slice_from (id),
                                              .instance = 1,
                                              .name = slice_from (name),
                                              .manager = manager,
                                              .address = SLICE ("192.0.2.7"),
                                              .port = 9001,
                                              .version = SLICE ("1")}};
    probe_send (harness, ACTOR_membership, ACTOR_router, MESSAGE_member, 0, &fields, SLICE (""));
}

/* The router of node `own` (1 to 3) in the Swarm of three. */
static struct harness *begin (int own)
{
    struct harness *harness = harness_prepare ();
    harness_start (harness, &router_class);
    char name[] = "node?";
    for (int node = 1; node <= 3; node++)
    {
        name[4] = (char) ('0' + node);
        if (node == own)
            tell_engine (harness, name, s_ids[node - 1], node == 1);
        tell_member (harness, s_ids[node - 1], name, node == 1, node == own, true);
    }
    return harness;
}

struct asked
{
    const char *method, *target;
    struct header headers[4];
    size_t count;
};

static uint64_t ask (struct harness *harness, const struct asked *asked)
{
    union message_fields fields = {.request = {.method = slice_from (asked->method),
                                               .target = slice_from (asked->target),
                                               .source = SLICE ("192.0.2.9:1"),
                                               .window = 5,
                                               .client = ACTOR_ingress,
                                               .headers = {asked->headers, asked->count}}};
    uint64_t stream = ++harness->last_stream;
    probe_send (harness, ACTOR_auth, ACTOR_router, MESSAGE_request, stream, &fields, SLICE (""));
    return stream;
}

static struct asked with (const char *method, const char *target, const char *field, const char *value)
{
    struct asked asked = {.method = method, .target = target};
    if (field)
        asked.headers[asked.count++] = (struct header){slice_from (field), slice_from (value)};
    return asked;
}

/* Where a request went: the actor, and for peers the node, as `docker`, `gather`, `peers id3`, or the answer's status.
 */
static void where (struct harness *harness, uint64_t stream, char out[80])
{
    static const enum actor_id answering[] = {ACTOR_docker, ACTOR_gather, ACTOR_peers};
    harness_barrier (harness, ACTOR_router);
    for (size_t index = 0; index < sizeof answering / sizeof *answering; index++)
        if (probe_count (harness, answering[index], MESSAGE_request, stream))
        {
            struct seen *seen = probe_await (harness, answering[index], MESSAGE_request, stream);
            struct slice node = seen->fields.request.node;
            snprintf (out, 80, "%s%s%.*s", actor_name (answering[index]), node.len ? " " : "", (int) node.len, node.at);
            return;
        }
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
    snprintf (out, 80, "%u", (unsigned) seen->fields.response.status);
}

static void expect (struct harness *harness, struct asked asked, const char *expected)
{
    char went[80];
    where (harness, ask (harness, &asked), went);
    if (strcmp (went, expected) != 0)
        fail_msg ("%s %s went to %s, not to %s", asked.method, asked.target, went, expected);
}

/* ----------------------------------------------------------------------------------------------------------- vectors
 */

/* What a row's decision means to the router of the node that received it; NULL: not the router's business, because
 * another actor answers it, or it is refused before. */
static const char *expected_way (json_t *row, int receiver, char text[80])
{
    const char *decision = json_string_value (json_object_get (row, "decision"));
    const char *path = json_string_value (json_object_get (row, "path"));
    bool own_api = strstr (path, "/browse/") || strstr (path, "/host/info") || strstr (path, "/websocket/");
    unsigned status = (unsigned) json_integer_value (json_object_get (row, "status"));
    if (strcmp (decision, "local") == 0)
        return "docker";
    if (strcmp (decision, "manager") == 0)
        return receiver == 1 ? "docker" : "peers manager";
    if (strcmp (decision, "cluster") == 0)
        return "gather";
    if (strncmp (decision, "node:node", 9) == 0 || strncmp (decision, "api:node", 8) == 0)
    {
        snprintf (text, 80, "peers id%c", decision[strlen (decision) - 1]);
        return text;
    }
    if (strcmp (decision, "error") == 0 ||
        (strcmp (decision, "api") == 0 && (!own_api || status == 404 || status == 405)))
    {
        snprintf (text, 80, "%u", status);
        return text;
    }
    return NULL;
}

static struct asked asked_of (json_t *row)
{
    struct asked asked = {.method = json_string_value (json_object_get (row, "method")),
                          .target = json_string_value (json_object_get (row, "path"))};
    const char *name;
    json_t *value;
    json_object_foreach (json_object_get (row, "headers"), name, value)
    {
        ensure (asked.count < 4);
        asked.headers[asked.count++] = (struct header){slice_from (name), slice_from (json_string_value (value))};
    }
    return asked;
}

static void the_vectors (void **state)
{
    (void) state;
    json_error_t error;
    json_t *data = json_load_file (TEST_DATA "/routing.json", 0, &error), *row;
    assert_non_null (data);
    size_t index, checked = 0;
    for (int receiver = 1; receiver <= 3; receiver++)
    {
        struct harness *harness = begin (receiver);
        json_array_foreach (json_object_get (data, "cases"), index, row)
        {
            char text[80], name[] = "node?";
            name[4] = (char) ('0' + receiver);
            if (strcmp (json_string_value (json_object_get (row, "mode")), "swarm") != 0 ||
                strcmp (json_string_value (json_object_get (row, "received_by")), name) != 0 ||
                !json_is_true (json_object_get (row, "signed")))
                continue;
            const char *way = expected_way (row, receiver, text);
            if (!way)
                continue;
            expect (harness, asked_of (row), way);
            checked++;
        }
        harness_destroy (harness);
    }
    assert_true (checked >= 80);
    json_decref (data);
}

/* ------------------------------------------------------------------------------------------------------------- details
 */

/* What another agent forwarded is served or refused, never forwarded. */
static void a_hop_is_the_last (void **state)
{
    (void) state;
    struct harness *harness = begin (2);
    static const struct
    {
        const char *method, *target, *node, *expected;
    } rows[] = {
        {"GET", "/containers/json", "node2", "docker"},
        {"GET", "/containers/json", "node3", "docker"},
        {"GET", "/containers/json", "", "docker"},
        {"GET", "/volumes", NULL, "docker"},
        {"GET", "/containers/a/json", "node2", "docker"},
        {"GET", "/containers/a/json", "id2", "docker"},
        {"GET", "/containers/a/json", "node3", "502"},
        {"GET", "/containers/a/json", "nope", "502"},
        {"GET", "/containers/a/json", NULL, "docker"},
        {"GET", "/services", "node2", "502"},
        {"GET", "/host/info", "node3", "502"},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct asked asked = with (rows[row].method, rows[row].target, "Shoal-Hop", "id1");
        if (rows[row].node)
            asked.headers[asked.count++] =
                (struct header){SLICE ("X-PortainerAgent-Target"), slice_from (rows[row].node)};
        expect (harness, asked, rows[row].expected);
    }
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_request, 0), 0);
    assert_int_equal (probe_count (harness, ACTOR_gather, MESSAGE_request, 0), 0);

    /* It says what was stale, and has the own role looked at. */
    struct asked asked = with ("GET", "/services", "Shoal-Hop", "id1");
    uint64_t stream = ask (harness, &asked);
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
    assert_true (slice_equal (headers_find (seen->fields.response.headers, SLICE ("Shoal-Stale")), SLICE ("role")));
    size_t length;
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    char *body = probe_payload (harness, ACTOR_ingress, stream, &length);
    assert_non_null (strstr (body, "node2 is not a manager"));
    free (body);
    probe_await (harness, ACTOR_docker, MESSAGE_rediscover, 0);
    harness_destroy (harness);

    /* A manager serves what is for managers. */
    harness = begin (1);
    expect (harness, with ("GET", "/services", "Shoal-Hop", "id2"), "docker");
    harness_destroy (harness);
}

/* Two nodes with one name: the lowest id has it, and each answers to its own id. */
static void one_name_of_two_nodes (void **state)
{
    (void) state;
    struct harness *harness = begin (2);
    tell_member (harness, "id0", "twin", false, false, true);
    tell_member (harness, "id9", "twin", false, false, true);
    expect (harness, with ("GET", "/version", "X-PortainerAgent-Target", "twin"), "peers id0");
    expect (harness, with ("GET", "/version", "X-PortainerAgent-Target", "id9"), "peers id9");
    tell_member (harness, "id0", "twin", false, false, false);
    expect (harness, with ("GET", "/version", "X-PortainerAgent-Target", "twin"), "peers id9");
    tell_member (harness, "id9", "twin", false, false, false);
    expect (harness, with ("GET", "/version", "X-PortainerAgent-Target", "twin"), "500");

    /* Also when one of them is this one. */
    tell_member (harness, "id1x", "node2", false, false, true);
    expect (harness, with ("GET", "/version", "X-PortainerAgent-Target", "node2"), "peers id1x");
    expect (harness, with ("GET", "/version", "X-PortainerAgent-Target", "id2"), "docker");
    harness_destroy (harness);
}

static void roles_change (void **state)
{
    (void) state;
    struct harness *harness = begin (2);
    expect (harness, with ("GET", "/nodes", NULL, NULL), "peers manager");
    tell_engine (harness, "node2", "id2", true);
    expect (harness, with ("GET", "/nodes", NULL, NULL), "docker");
    expect (harness, with ("GET", "/version", "X-PortainerAgent-ManagerOperation", "0"), "docker");
    tell_engine (harness, "node2", "id2", false);
    expect (harness, with ("GET", "/nodes", NULL, NULL), "peers manager");
    expect (harness, with ("GET", "/version", "X-PortainerAgent-ManagerOperation", "0"), "peers manager");
    /* The node left the Swarm. */
    tell_engine (harness, "node2", "", false);
    expect (harness, with ("GET", "/nodes", NULL, NULL), "docker");
    expect (harness, with ("GET", "/version", "X-PortainerAgent-Target", "node3"), "docker");
    harness_destroy (harness);
}

static void agents_are_listed (void **state)
{
    (void) state;
    struct harness *harness = begin (2);
    tell_member (harness, "id3", "node3", false, false, false);
    struct asked asked = with ("GET", "/v2/agents", NULL, NULL);
    uint64_t stream = ask (harness, &asked);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    size_t length;
    char *body = probe_payload (harness, ACTOR_ingress, stream, &length);
    assert_string_equal (body, "[{\"IPAddress\":\"192.0.2.7\",\"Port\":\"9001\",\"NodeName\":\"node1\",\"NodeRole\":"
                               "\"manager\",\"EdgeKeySet\":false},{\"IPAddress\":\"192.0.2.7\",\"Port\":\"9001\","
                               "\"NodeName\":\"node2\",\"NodeRole\":\"worker\",\"EdgeKeySet\":false}]");
    free (body);
    harness_destroy (harness);
}

/* The own engine's versions say nothing about those of other nodes. */
static void versions_on_their_way (void **state)
{
    (void) state;
    struct harness *harness = begin (2);
    struct asked asked = with ("GET", "/v1.47/containers/a%2Fb/json?x=%20", "X-PortainerAgent-Target", "node3");
    struct seen *seen = probe_await (harness, ACTOR_peers, MESSAGE_request, ask (harness, &asked));
    assert_true (slice_equal (seen->fields.request.target, SLICE ("/v1.47/containers/a%2Fb/json?x=%20")));
    asked = with ("GET", "/v1.47/containers/json?x=%20", NULL, NULL);
    seen = probe_await (harness, ACTOR_gather, MESSAGE_request, ask (harness, &asked));
    assert_true (slice_equal (seen->fields.request.target, SLICE ("/containers/json?x=%20")));
    harness_destroy (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (the_vectors, harness_teardown),
        cmocka_unit_test_teardown (a_hop_is_the_last, harness_teardown),
        cmocka_unit_test_teardown (one_name_of_two_nodes, harness_teardown),
        cmocka_unit_test_teardown (roles_change, harness_teardown),
        cmocka_unit_test_teardown (agents_are_listed, harness_teardown),
        cmocka_unit_test_teardown (versions_on_their_way, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
