/* actors_gather_test - the gather actor: a client's list in; requests to docker and peers, and one merged list, out.
 */
#include "actor_harness.h"

#include "actors/members.h"
#include "http/json_list.h"

#define MARK(name) "\"Portainer\":{\"Agent\":{\"NodeName\":\"" name "\"}}"

static void tell_member (struct harness *harness, const char *id, const char *name, bool own, bool usable)
{
    union message_fields fields = {.member = {.usable = usable,
                                              .own = own,
                                              .id = slice_from (id),
                                              .name = slice_from (name),
                                              .address = SLICE ("192.0.2.7"),
                                              .port = 9001}};
    probe_send (harness, ACTOR_membership, ACTOR_gather, MESSAGE_member, 0, &fields, SLICE (""));
}

/* An agent in a cluster of three: a is its own node. */
static struct harness *begin_with (struct harness *harness)
{
    harness_start (harness, &gather_class);
    tell_member (harness, "a", "node-a", true, true);
    tell_member (harness, "b", "node-b", false, true);
    tell_member (harness, "c", "node-c", false, true);
    return harness;
}

static struct harness *begin (void)
{
    return begin_with (harness_prepare ());
}

static uint64_t ask_for (struct harness *harness, const char *method, const char *target, uint64_t window)
{
    static const struct header headers[] = {{SLICE ("Accept-Encoding"), SLICE ("gzip")},
                                            {SLICE ("x-portaineragent-target"), SLICE ("elsewhere")},
                                            {SLICE ("X-Kept"), SLICE ("yes")}};
    union message_fields fields = {.request = {.method = slice_from (method),
                                               .target = slice_from (target),
                                               .framing = FRAMING_LENGTH,
                                               .length = 5,
                                               .source = SLICE ("192.0.2.1:1"),
                                               .upgrade = SLICE ("websocket"),
                                               .hijackable = true,
                                               .window = window,
                                               .client = ACTOR_ingress,
                                               .headers = {headers, 3}}};
    uint64_t stream = ++harness->last_stream;
    probe_send (harness, ACTOR_router, ACTOR_gather, MESSAGE_request, stream, &fields, SLICE (""));
    return stream;
}

static uint64_t ask (struct harness *harness, const char *target)
{
    return ask_for (harness, "GET", target, 1 << 20);
}

/* ------------------------------------------------------------------------------------------------------------ branches
 */

/* A branch, seen from its far end. */
struct far
{
    enum actor_id actor;
    uint64_t stream;
    uint64_t credit;
    const struct message_request *request;
};

/* The next request that this node is asked. */
static struct far far_of (struct harness *harness, const char *id)
{
    for (;;)
    {
        bool own = strcmp (id, "a") == 0;
        harness_barrier (harness, ACTOR_gather);
        for (size_t index = 0; index < harness->seen_count; index++)
        {
            struct seen *seen = harness->seen[index];
            if (seen->taken || seen->envelope.type != MESSAGE_request ||
                !slice_equal (seen->fields.request.node, own ? SLICE ("") : slice_from (id)))
                continue;
            assert_int_equal (seen->envelope.to, own ? ACTOR_docker : ACTOR_peers);
            seen->taken = true;
            return (struct far){seen->envelope.to, seen->envelope.stream, seen->fields.request.window,
                                &seen->fields.request};
        }
        fail_msg ("node %s is not asked", id);
    }
}

static void head (struct harness *harness, struct far *far, unsigned status, const char *name, const char *value)
{
    struct header header = {slice_from (name), slice_from (value)};
    union message_fields fields = {.response = {.status = status, .framing = FRAMING_CHUNKED, .headers = {&header, 1}}};
    probe_send (harness, far->actor, ACTOR_gather, MESSAGE_response, far->stream, &fields, SLICE (""));
}

static void body (struct harness *harness, struct far *far, const char *text)
{
    probe_body (harness, far->actor, ACTOR_gather, far->stream, slice_from (text));
}

static void end (struct harness *harness, struct far *far)
{
    probe_end (harness, far->actor, ACTOR_gather, far->stream);
}

/* A whole answer. */
static void say (struct harness *harness, struct far *far, unsigned status, const char *text)
{
    head (harness, far, status, "Content-Type", "application/json");
    body (harness, far, text);
    end (harness, far);
}

static void cut_off (struct harness *harness, struct far *far)
{
    probe_abort (harness, far->actor, ACTOR_gather, far->stream);
}

static void expect_aborted (struct harness *harness, struct far *far)
{
    probe_await (harness, far->actor, MESSAGE_abort, far->stream);
}

/* ---------------------------------------------------------------------------------------------------------- the client
 */

static bool has_head (struct harness *harness, uint64_t stream)
{
    harness_barrier (harness, ACTOR_gather);
    return probe_count (harness, ACTOR_ingress, MESSAGE_response, stream) > 0;
}

static void expect_header (struct headers headers, const char *name, const char *expected)
{
    struct slice value = headers_find (headers, slice_from (name));
    if (!slice_equal (value, slice_from (expected)) || !value.at != !expected)
        fail_msg ("%s: %.*s, not %s", name, (int) value.len, value.at, expected);
}

/* A list with these elements; the nodes that are missing, or NULL, in its head and in its trailer. */
static void expect_list (struct harness *harness, uint64_t stream, const char *text, const char *missing,
                         const char *trailer)
{
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
    const struct message_response *response = &seen->fields.response;
    assert_int_equal (response->status, 200);
    assert_int_equal (response->framing, FRAMING_CHUNKED);
    expect_header (response->headers, "Content-Type", "application/json");
    expect_header (response->headers, "Trailer", "Shoal-Missing-Nodes");
    expect_header (response->headers, "Shoal-Missing-Nodes", missing);
    struct headers trailers = probe_await (harness, ACTOR_ingress, MESSAGE_end, stream)->fields.end.trailers;
    expect_header (trailers, "Shoal-Missing-Nodes", trailer);
    size_t length;
    char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
    assert_string_equal (all, text);
    free (all);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_abort, stream), 0);
}

/* Some other answer, with this in its body. */
static void expect_answer (struct harness *harness, uint64_t stream, unsigned status, const char *type,
                           const char *part)
{
    const struct message_response *response =
        &probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response;
    assert_int_equal (response->status, status);
    expect_header (response->headers, "Content-Type", type);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    size_t length;
    char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
    if (!strstr (all, part))
        fail_msg ("%s is not in %s", part, all);
    assert_int_equal (response->length, length);
    assert_true (length <= WINDOW_LEAST);
    free (all);
}

static long failures_of (struct harness *harness, const char *name)
{
    json_t *state = harness_inspect (harness, ACTOR_gather);
    long count = (long) json_integer_value (json_object_get (json_object_get (state, "failed_nodes"), name));
    json_decref (state);
    return count;
}

/* ------------------------------------------------------------------------------------------------------------- merging
 */

static void asks_every_member (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask (harness, "/v1.41/containers/json?all=1&filters=%7B%7D");
    static const char *const ids[] = {"a", "b", "c"}, *const targets[] = {NULL, "node-b", "node-c"};
    uint64_t streams[3];
    for (int index = 0; index < 3; index++)
    {
        struct far far = far_of (harness, ids[index]);
        const struct message_request *request = far.request;
        streams[index] = far.stream;
        assert_true (far.stream >> 63);
        assert_true (slice_equal (request->method, SLICE ("GET")));
        assert_true (slice_equal (request->target, SLICE ("/v1.41/containers/json?all=1&filters=%7B%7D")));
        assert_true (slice_equal (request->source, SLICE ("192.0.2.1:1")));
        assert_int_equal (request->client, ACTOR_gather);
        assert_int_equal (request->framing, FRAMING_NONE);
        assert_int_equal (request->length, 0);
        assert_int_equal (request->upgrade.len, 0);
        assert_false (request->hijackable);
        assert_true (request->window >= WINDOW_LEAST && request->window <= WINDOW_FIRST);
        expect_header (request->headers, "X-Kept", "yes");
        expect_header (request->headers, "Accept-Encoding", NULL);
        expect_header (request->headers, "X-PortainerAgent-Target", targets[index]);
        say (harness, &far, 200, "[]");
    }
    assert_true (streams[0] != streams[1] && streams[1] != streams[2] && streams[0] != streams[2]);
    expect_list (harness, stream, "[]", NULL, NULL);
    /* The trace is the client's. */
    for (size_t index = 0; index < harness->seen_count; index++)
        if (harness->seen[index]->envelope.type == MESSAGE_request)
            assert_memory_equal (harness->seen[index]->envelope.trace,
                                 ((uint8_t[TRACE_BYTES]){1, 2, 3, (uint8_t) stream}), TRACE_BYTES);
    /* The client's body is not asked for. */
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_credit, 0), 0);
    harness_destroy (harness);
}

static void merges_in_order_of_arrival (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    head (harness, &a, 200, "Api-Version", "1.41");
    head (harness, &b, 200, "Content-Encoding", "identity");
    head (harness, &c, 200, "X", "y");
    body (harness, &c, " [ {\"n\":1}\n,{\"n\"");
    body (harness, &b, "[{\"Portainer\":0}");
    assert_false (has_head (harness, stream));
    body (harness, &a, "");
    assert_false (has_head (harness, stream));
    body (harness, &a, "[");
    assert_true (has_head (harness, stream));
    body (harness, &a, "{\"n\":18446744073709551616}");
    body (harness, &c, ":2} ] ");
    body (harness, &b, ",{}");
    end (harness, &c);
    body (harness, &b, "]");
    end (harness, &b);
    body (harness, &a, "]\n");
    end (harness, &a);
    expect_list (harness, stream,
                 "[{\"n\":1," MARK ("node-c") "},{" MARK ("node-b") "},{\"n\":18446744073709551616," MARK (
                     "node-a") "},{\"n\":2," MARK ("node-c") "},{" MARK ("node-b") "}]",
                 NULL, NULL);
    /* The engine's own headers are not sent with it. */
    assert_int_equal (harness_counter (harness, ACTOR_gather, "elements"), 5);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "lists"), 1);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "branches"), 3);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "failed"), 0);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 0);
    harness_destroy (harness);
}

/* One that is slow does not keep the others' elements back. */
static void does_not_wait_within_the_body (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask (harness, "/networks");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &c, 200, "[]");
    head (harness, &a, 200, "X", "y");
    body (harness, &a, "[{\"half\":\"");
    head (harness, &b, 200, "X", "y");
    body (harness, &b, "[{\"n\":1},{\"n\":2}");
    probe_expect_payload (harness, ACTOR_ingress, stream,
                          SLICE ("[{\"n\":1," MARK ("node-b") "},{\"n\":2," MARK ("node-b") "}"));
    body (harness, &b, "]");
    end (harness, &b);
    body (harness, &a, "\"}]");
    end (harness, &a);
    expect_list (harness, stream,
                 "[{\"n\":1," MARK ("node-b") "},{\"n\":2," MARK ("node-b") "},{\"half\":\"\"," MARK ("node-a") "}]",
                 NULL, NULL);
    harness_destroy (harness);
}

static void merges_volumes (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask (harness, "/v1.30/volumes?x=y");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &b, 200, "{\"Warnings\":[\"one\"],\"Volumes\":[]}");
    say (harness, &c, 200, "{\"Volumes\":null,\"Warnings\":[\"\\u0074wo\",\"three\"]}\n");
    say (harness, &a, 200, "{\"Volumes\":[{\"Name\":\"v\"}],\"Warnings\":null}");
    expect_list (harness, stream,
                 "{\"Volumes\":[{\"Name\":\"v\"," MARK ("node-a") "}],\"Warnings\":[\"one\",\"\\u0074wo\",\"three\"]}",
                 NULL, NULL);
    stream = ask (harness, "/volumes");
    a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &a, 200, "{\"Volumes\":null}");
    say (harness, &b, 200, "{}");
    say (harness, &c, 200, "[]"); /* no volumes look like this */
    expect_list (harness, stream, "{\"Volumes\":[],\"Warnings\":null}", "node-c", NULL);
    harness_destroy (harness);
}

static void asks_docker_alone_without_members (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness_start (harness, &gather_class);
    union message_fields fields = {.engine = {.reachable = true, .name = SLICE ("lonely")}};
    probe_send (harness, ACTOR_docker, ACTOR_gather, MESSAGE_engine, 0, &fields, SLICE (""));
    fields.engine = (struct message_engine){.reachable = false};
    probe_send (harness, ACTOR_docker, ACTOR_gather, MESSAGE_engine, 0, &fields, SLICE (""));
    uint64_t stream = ask (harness, "/images/json");
    struct far a = far_of (harness, "a");
    say (harness, &a, 200, "[{}]");
    expect_list (harness, stream, "[{" MARK ("lonely") "}]", NULL, NULL);
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_request, 0), 0);
    harness_destroy (harness);
}

static void answers_head_and_other_methods (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask_for (harness, "HEAD", "/containers/json", 4096);
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    assert_true (slice_equal (a.request->method, SLICE ("GET")));
    say (harness, &a, 200, "[{}]");
    head (harness, &b, 200, "X", "y");
    body (harness, &b, "[{}");
    assert_false (has_head (harness, stream));
    cut_off (harness, &c);
    const struct message_response *response =
        &probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response;
    assert_int_equal (response->status, 200);
    assert_int_equal (response->framing, FRAMING_NONE);
    expect_header (response->headers, "Shoal-Missing-Nodes", "node-c");
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    expect_aborted (harness, &b);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_body, 0), 0);

    stream = ask_for (harness, "POST", "/containers/json", 4096);
    a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    assert_true (slice_equal (b.request->method, SLICE ("POST")));
    assert_int_equal (b.request->framing, FRAMING_NONE);
    say (harness, &a, 405, "no\n");
    say (harness, &b, 405, "no\n");
    say (harness, &c, 405, "no\n");
    expect_answer (harness, stream, 405, "application/json", "no\n");
    harness_destroy (harness);
}

/* ------------------------------------------------------------------------------------------------------------- failing
 */

/* Each way to fail before the head: the node is named there, and its branch is ended. */
static void names_nodes_that_failed_before_the_head (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    static const struct
    {
        unsigned status;
        const char *name, *value, *text;
        bool ends, aborted;
    } rows[] = {
        {502, "Content-Type", "application/json", "{\"message\":\"x\"}", true, false},
        {500, "Content-Type", "text/plain", "no", true, false},
        {204, "X", "y", "", true, false},
        {101, "X", "y", "", true, false},
        {200, "Content-Encoding", "gzip", "[]", false, true},
        {200, "X", "y", "{\"message\":\"bad\"}", false, true},
        {200, "X", "y", "<html>", false, true},
        {200, "X", "y", "[1]", false, true},
        {200, "X", "y", "[{", true, false},
        {200, "X", "y", "", true, false},
        {200, "X", "y", "[]]", true, true},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        uint64_t stream = ask (harness, "/containers/json");
        struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
        head (harness, &b, rows[row].status, rows[row].name, rows[row].value);
        body (harness, &b, rows[row].text);
        if (rows[row].ends)
            end (harness, &b);
        say (harness, &a, 200, "[{}]");
        say (harness, &c, 200, "[]");
        if (rows[row].aborted)
            expect_aborted (harness, &b);
        expect_list (harness, stream, "[{" MARK ("node-a") "}]", "node-b", NULL);
    }
    long rounds = sizeof rows / sizeof *rows;
    assert_int_equal (failures_of (harness, "node-b"), rounds);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "failed"), rounds);
    /* Without a head: an end, a body, an abort. */
    for (int way = 0; way < 3; way++)
    {
        uint64_t stream = ask (harness, "/containers/json");
        struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
        if (way == 0)
            end (harness, &b);
        else if (way == 1)
            body (harness, &b, "[]");
        else
            cut_off (harness, &b);
        say (harness, &a, 200, "[]");
        cut_off (harness, &c);
        expect_list (harness, stream, "[]", "node-b, node-c", NULL);
    }
    harness_destroy (harness);
}

/* What came whole before is sent; half an element is not. */
static void names_nodes_that_failed_later_in_the_trailer (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    static const struct
    {
        const char *text;
        enum
        {
            ABORTS,
            ENDS,
            GOES_ON
        } then;
    } rows[] = {
        {",{\"half\":[{\"", ABORTS},
        {",{\"half\":[{\"", ENDS},
        {",{]", GOES_ON},
        {",null", GOES_ON},
        {"] x", GOES_ON},
        {"", ABORTS},
        {"", ENDS},
        {"]", ABORTS},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        uint64_t stream = ask (harness, "/containers/json");
        struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
        cut_off (harness, &c);
        head (harness, &a, 200, "X", "y");
        body (harness, &a, "[");
        head (harness, &b, 200, "X", "y");
        body (harness, &b, "[{\"n\":1}");
        assert_true (has_head (harness, stream));
        body (harness, &b, rows[row].text);
        if (rows[row].then == ABORTS)
            cut_off (harness, &b);
        else if (rows[row].then == ENDS)
            end (harness, &b);
        else
            expect_aborted (harness, &b);
        harness_barrier (harness, ACTOR_gather);
        body (harness, &a, "{\"n\":2}]");
        end (harness, &a);
        expect_list (harness, stream, "[{\"n\":1," MARK ("node-b") "},{\"n\":2," MARK ("node-a") "}]", "node-c",
                     "node-b");
    }
    harness_destroy (harness);
}

static void passes_on_what_all_nodes_say (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask (harness, "/containers/json?filters=x");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &b, 400, "{\"message\":\"invalid filter on b\"}\n");
    say (harness, &a, 400, "{\"message\":\"invalid filter on a\"}\n");
    assert_false (has_head (harness, stream));
    say (harness, &c, 400, "{\"message\":\"invalid filter on c\"}\n");
    expect_answer (harness, stream, 400, "application/json", "{\"message\":\"invalid filter on a\"}\n");

    /* They differ: names and reasons. */
    stream = ask (harness, "/containers/json");
    a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &a, 400, "{\"message\":\"bad \\\"x\\\"\"}");
    say (harness, &b, 500, "oh\n");
    cut_off (harness, &c);
    expect_answer (harness, stream, 502, "application/json",
                   "node-a: it answered 400: bad \\\"x\\\"; node-b: it answered 500: oh?; node-c: its answer was cut "
                   "off: test");

    /* Agents' own errors: all of them are named. */
    stream = ask (harness, "/containers/json");
    a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &a, 504, "{\"message\":\"m\",\"details\":\"d\"}");
    say (harness, &b, 504, "{\"message\":\"m\",\"details\":\"d\"}");
    say (harness, &c, 504, "{\"message\":\"m\",\"details\":\"e\"}");
    expect_answer (harness, stream, 504, "application/json", "node-c: it answered 504: m: e");

    /* A body that is too long to be held is not passed on, but its status is. */
    stream = ask (harness, "/containers/json");
    a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    struct far *all[] = {&a, &b, &c};
    char text[WINDOW_LEAST + 1];
    memset (text, 'x', WINDOW_LEAST);
    text[WINDOW_LEAST] = '\0';
    for (int index = 0; index < 3; index++)
    {
        head (harness, all[index], 409, "Content-Type", "text/html");
        body (harness, all[index], text);
        expect_aborted (harness, all[index]);
    }
    expect_answer (harness, stream, 409, "application/json", "node-b: it answered 409: xxxxx");
    harness_destroy (harness);
}

static void gives_up_what_takes_too_long (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness->configuration.list_time = 30;
    begin_with (harness);
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    head (harness, &c, 200, "X", "y"); /* a head is not an answer yet */
    head (harness, &a, 200, "X", "y");
    body (harness, &a, "[");
    expect_aborted (harness, &b);
    expect_aborted (harness, &c);
    assert_true (has_head (harness, stream));
    end (harness, &b);         /* too late */
    body (harness, &a, "{}]"); /* in time: it may be slow now */
    end (harness, &a);
    expect_list (harness, stream, "[{" MARK ("node-a") "}]", "node-b, node-c", NULL);

    stream = ask (harness, "/containers/json");
    expect_answer (harness, stream, 504, "application/json", "no answer within 30 ms (see --list-time)");
    harness_destroy (harness);
}

static uint64_t now_ms (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* A node that left has little time to answer; one that has begun to answer is left to peers. */
static void gives_up_members_that_left (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    head (harness, &c, 200, "X", "y");
    body (harness, &c, "[{\"n\":1}");
    uint64_t begun = now_ms ();
    tell_member (harness, "a", "node-a", true, false); /* its engine is asked all the same */
    tell_member (harness, "b", "node-b", false, false);
    tell_member (harness, "c", "node-c", false, false);
    expect_aborted (harness, &b);
    uint64_t passed = now_ms () - begun;
    assert_true (passed >= 790 && passed < 10000);
    say (harness, &a, 200, "[]");
    body (harness, &c, "]");
    end (harness, &c);
    expect_list (harness, stream, "[{\"n\":1," MARK ("node-c") "}]", "node-b", NULL);
    /* They are asked no more. */
    assert_int_equal (harness_counter (harness, ACTOR_gather, "members"), 0);

    tell_member (harness, "b", "node-b", false, true);
    stream = ask (harness, "/containers/json");
    b = far_of (harness, "b");
    tell_member (harness, "b", "node-b", false, false);
    harness_barrier (harness, ACTOR_gather);
    say (harness, &b, 200, "[]"); /* it did answer */
    expect_list (harness, stream, "[]", NULL, NULL);
    harness_destroy (harness);
}

static void ends_with_its_client (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &c, 200, "[]");
    head (harness, &a, 200, "X", "y");
    body (harness, &a, "[{\"half\":");
    harness_barrier (harness, ACTOR_gather);
    probe_abort (harness, ACTOR_router, ACTOR_gather, stream); /* before ingress knew whose it is */
    expect_aborted (harness, &a);
    expect_aborted (harness, &b);
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_abort, c.stream), 0);
    body (harness, &a, "1}]");
    end (harness, &a);
    say (harness, &b, 200, "[]");
    assert_false (has_head (harness, stream));
    assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 0);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "held_bytes"), 0);
    assert_int_equal (atomic_load (&harness->budget.used), 0);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "failed"), 0);
    harness_destroy (harness);
}

/* Names that would break a head, a log line or JSON. */
static void bears_strange_names (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    tell_member (harness, "b", "no,de\xc3\xa9 \"b\"%", false, true);
    tell_member (harness, "c", "node\r\nX: y", false, true);
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b");
    say (harness, &a, 200, "[]");
    say (harness, &b, 200, "[{}]");
    expect_list (harness, stream, "[{" MARK ("no,de\xc3\xa9 \\u0022b\\u0022%") "}]", "node%0D%0AX:%20y", NULL);
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_request, 0), 1);
    stream = ask (harness, "/containers/json");
    a = far_of (harness, "a"), b = far_of (harness, "b");
    say (harness, &a, 200, "[]");
    cut_off (harness, &b);
    expect_list (harness, stream, "[]", "no%2Cde%C3%A9%20\"b\"%25, node%0D%0AX:%20y", NULL);
    harness_destroy (harness);
}

/* -------------------------------------------------------------------------------------------------------------- limits
 */

/* The client's credit bounds what is sent; what it does not cover is not granted to the branches either. */
static void keeps_to_the_clients_credit (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask_for (harness, "GET", "/containers/json", 10);
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &c, 200, "[]");
    head (harness, &a, 200, "X", "y");
    head (harness, &b, 200, "X", "y");
    char text[4096];
    for (size_t index = 0; index < sizeof text - 1; index++)
        text[index] = "{\"n\":12},"[index % 9];
    text[(sizeof text - 1) / 9 * 9 - 1] = '\0'; /* 455 elements, the last without its comma */
    body (harness, &a, "[");
    body (harness, &b, "[");
    for (uint64_t sent = 0; sent + 2 * sizeof text < a.credit; sent += strlen (text) + 1)
    {
        body (harness, &a, text);
        body (harness, &a, ",");
        body (harness, &b, text);
        body (harness, &b, ",");
    }
    harness_barrier (harness, ACTOR_gather);
    size_t length = 0, allowed = 10;
    for (int round = 0; round < 200; round++)
    {
        char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
        free (all);
        assert_int_equal (length, allowed);
        probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, 7);
        allowed += 7;
        harness_barrier (harness, ACTOR_gather);
    }
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_credit, 0), 0);
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_credit, 0), 0);
    body (harness, &a, "{}]");
    end (harness, &a);
    body (harness, &b, "{}]");
    cut_off (harness, &b); /* what came before is still sent */
    probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, 1 << 20);
    struct headers trailers = probe_await (harness, ACTOR_ingress, MESSAGE_end, stream)->fields.end.trailers;
    expect_header (trailers, "Shoal-Missing-Nodes", "node-b");
    assert_true (probe_count (harness, ACTOR_docker, MESSAGE_credit, 0) == 0); /* it had ended */
    char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
    json_t *list = json_loads (all, 0, NULL);
    assert_true (json_array_size (list) > 1000 && json_array_size (list) % 2 == 0);
    json_decref (list);
    free (all);
    harness_destroy (harness);
}

static void refuses_more_than_was_granted (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    for (int late = 0; late < 2; late++)
    {
        uint64_t stream = ask_for (harness, "GET", "/containers/json", late ? 5 : 1000);
        struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
        say (harness, &a, 200, "[]");
        head (harness, &b, 200, "X", "y");
        head (harness, &c, 200, "X", "y");
        char *text = must (calloc (1, b.credit + 100));
        memset (text, ' ', b.credit + 1);
        memcpy (text, "[{\"n\":1},", 9);
        text[b.credit + 1] = '\0';
        if (late)
        {
            body (harness, &c, "[]");
            end (harness, &c);
        }
        body (harness, &b, "[{\"n\":1}");
        body (harness, &b, text);
        expect_aborted (harness, &b);
        if (!late)
        {
            body (harness, &c, "[]");
            end (harness, &c);
        }
        else
            probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, 1000);
        expect_list (harness, stream, late ? "[{\"n\":1," MARK ("node-b") "}]" : "[]", late ? NULL : "node-b",
                     late ? "node-b" : NULL);
        free (text);
    }
    harness_destroy (harness);
}

/* Sends so many bytes of one string, as credit comes. False when the branch was aborted. */
static bool send_long_string (struct harness *harness, struct far *far, size_t length)
{
    char *text = must (malloc (WINDOW_MOST));
    memset (text, 'x', WINDOW_MOST);
    bool alive = true;
    while (length && alive)
    {
        size_t step = far->credit < length ? (size_t) far->credit : length;
        step = step < WINDOW_MOST ? step : WINDOW_MOST;
        probe_body (harness, far->actor, ACTOR_gather, far->stream, slice_of (text, step));
        far->credit -= step;
        length -= step;
        harness_barrier (harness, ACTOR_gather);
        for (size_t index = 0; index < harness->seen_count; index++)
        {
            struct seen *seen = harness->seen[index];
            if (seen->taken || seen->envelope.stream != far->stream)
                continue;
            if (seen->envelope.type == MESSAGE_abort)
                alive = false;
            if (seen->envelope.type == MESSAGE_credit)
            {
                far->credit += seen->fields.credit.bytes;
                seen->taken = true;
            }
        }
        if (alive && length && !far->credit)
            fail_msg ("no credit is given any more, %zu bytes before the end", length);
    }
    free (text);
    return alive;
}

static void bounds_an_element (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask_for (harness, "GET", "/containers/json", 3 << 20);
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &c, 200, "[]");
    head (harness, &a, 200, "X", "y");
    head (harness, &b, 200, "X", "y");
    body (harness, &a, "[{\"a\":\"");
    body (harness, &b, "[{\"a\":\"");
    a.credit -= 7;
    b.credit -= 7;
    assert_false (send_long_string (harness, &b, JSON_LIST_ELEMENT_MAX));
    assert_true (send_long_string (harness, &a, JSON_LIST_ELEMENT_MAX - 8));
    body (harness, &a, "\"}]");
    end (harness, &a);
    struct headers trailers = probe_await (harness, ACTOR_ingress, MESSAGE_end, stream)->fields.end.trailers;
    expect_header (trailers, "Shoal-Missing-Nodes", "node-b");
    size_t length;
    char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
    assert_int_equal (length, JSON_LIST_ELEMENT_MAX + strlen ("[," MARK ("node-a") "]"));
    free (all);
    harness_destroy (harness);
}

static void tell_many (struct harness *harness, int count)
{
    for (int index = 0; index < count; index++)
    {
        char id[16];
        snprintf (id, sizeof id, "m%04d", index);
        tell_member (harness, id, id, false, true);
    }
}

static struct far next_far (struct harness *harness)
{
    struct seen *seen = probe_await (harness, ACTOR_peers, MESSAGE_request, 0);
    return (struct far){ACTOR_peers, seen->envelope.stream, seen->fields.request.window, &seen->fields.request};
}

/* Unfinished elements of all branches together have a limit, and the branch that goes over it fails. */
static void bounds_what_is_held (void **state)
{
    (void) state;
    enum
    {
        MEMBERS = 66
    };
    struct harness *harness = harness_prepare ();
    harness->budget.total = (size_t) 1 << 30;
    harness_start (harness, &gather_class);
    tell_many (harness, MEMBERS);
    uint64_t stream = ask (harness, "/containers/json");
    struct far far[MEMBERS];
    int aborted = 0;
    for (int index = 0; index < MEMBERS; index++)
    {
        far[index] = next_far (harness);
        head (harness, &far[index], 200, "X", "y");
        body (harness, &far[index], "[{\"a\":\"");
        far[index].credit -= 7;
    }
    for (int index = 0; index < MEMBERS; index++)
        if (!send_long_string (harness, &far[index], 600000)) /* for which it has a megabyte */
            aborted++;
        else
            assert_true (harness_counter (harness, ACTOR_gather, "held_bytes") <= 64 << 20);
    assert_int_equal (aborted, MEMBERS - 64);
    probe_abort (harness, ACTOR_ingress, ACTOR_gather, stream);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "held_bytes"), 0);
    harness_destroy (harness);
}

static void bounds_lists (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t first = 0;
    for (int index = 0; index < 256; index++)
    {
        uint64_t stream = ask (harness, "/containers/json");
        first = first ? first : stream;
    }
    uint64_t refused = ask (harness, "/containers/json");
    expect_answer (harness, refused, 503, "application/json", "Too many lists of all nodes at once");
    assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 256);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "refused"), 1);
    probe_abort (harness, ACTOR_ingress, ACTOR_gather, first);
    uint64_t again = ask (harness, "/containers/json");
    assert_false (has_head (harness, again));
    assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 256);
    for (uint64_t stream = first + 1; stream <= again; stream++)
        probe_abort (harness, ACTOR_ingress, ACTOR_gather, stream);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 0);
    harness_destroy (harness);
}

static void needs_a_window (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness->budget.total = WINDOW_FIRST + WINDOW_LEAST; /* enough for two */
    begin_with (harness);
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b");
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_request, 0), 1);
    say (harness, &a, 200, "[]");
    say (harness, &b, 200, "[]");
    expect_list (harness, stream, "[]", "node-c", NULL);
    atomic_store (&harness->budget.used, harness->budget.total);
    stream = ask (harness, "/containers/json");
    expect_answer (harness, stream, 503, "application/json", "node-a: too much data in flight (see --payload-total)");
    atomic_store (&harness->budget.used, 0);
    harness_destroy (harness);
}

static void refuses_too_many_headers (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct header headers[MESSAGE_HEADERS_MAX];
    for (size_t index = 0; index < MESSAGE_HEADERS_MAX; index++)
        headers[index] = (struct header){SLICE ("X"), SLICE ("y")};
    for (size_t count = MESSAGE_HEADERS_MAX - 1; count <= MESSAGE_HEADERS_MAX; count++)
    {
        union message_fields fields = {.request = {.method = SLICE ("GET"),
                                                   .target = SLICE ("/networks"),
                                                   .window = 1000,
                                                   .client = ACTOR_ingress,
                                                   .headers = {headers, count}}};
        uint64_t stream = ++harness->last_stream;
        probe_send (harness, ACTOR_router, ACTOR_gather, MESSAGE_request, stream, &fields, SLICE (""));
        if (count < MESSAGE_HEADERS_MAX)
            assert_int_equal (far_of (harness, "b").request->headers.count, MESSAGE_HEADERS_MAX);
        else
            expect_answer (harness, stream, 431, "application/json", "Too many header fields");
    }
    probe_abort (harness, ACTOR_ingress, ACTOR_gather, 1);
    harness_barrier (harness, ACTOR_gather);
    harness_destroy (harness);
}

static void asks_a_thousand (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness_start (harness, &gather_class);
    tell_many (harness, MEMBERS_MAX + 1);
    uint64_t stream = ask (harness, "/containers/json");
    harness_barrier (harness, ACTOR_gather);
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_request, 0), MEMBERS_MAX);
    for (int index = 0; index < MEMBERS_MAX; index++)
    {
        struct far far = next_far (harness);
        if (index < 900)
            cut_off (harness, &far);
        else
            say (harness, &far, 200, "[{}]");
    }
    const struct message_response *response =
        &probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response;
    struct slice names = headers_find (response->headers, SLICE ("Shoal-Missing-Nodes"));
    assert_true (names.len > 3500 && names.len < 4096);
    assert_memory_equal (names.at + names.len - 5, ", ...", 5);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "elements"), MEMBERS_MAX - 900);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "failed"), 900);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "failed_others"), 900 - 64);
    assert_true (harness_counter (harness, ACTOR_gather, "members") == MEMBERS_MAX);
    harness_destroy (harness);
}

/* ---------------------------------------------------------------------------------------------------------- large
 * lists
 */

/* 300 MB go through; what gather holds meanwhile does not grow. */
static void holds_no_list (void **state)
{
    (void) state;
    enum
    {
        PIECE = 4000,
        TOTAL = 300 * 1000 * 1000
    };
    struct harness *harness = begin ();
    uint64_t stream = ask_for (harness, "GET", "/containers/json", WINDOW_MOST);
    struct far far[] = {far_of (harness, "a"), far_of (harness, "b"), far_of (harness, "c")};
    char *text = must (malloc (WINDOW_MOST));
    for (size_t at = 0; at < WINDOW_MOST; at++)
        text[at] = 'x';
    for (size_t at = 0; at + PIECE <= WINDOW_MOST; at += PIECE)
    {
        memcpy (text + at, "{\"a\":\"", 6);
        memcpy (text + at + PIECE - 3, "\"},", 3);
    }
    size_t sent[3] = {0}, received = 0, most = 0;
    for (int index = 0; index < 3; index++)
    {
        head (harness, &far[index], 200, "X", "y");
        body (harness, &far[index], "[");
        far[index].credit--;
    }
    while (sent[0] + sent[1] + sent[2] < TOTAL)
    {
        for (int index = 0; index < 3; index++)
        {
            size_t at = sent[index] % PIECE, most_now = WINDOW_MOST / PIECE * PIECE - at;
            size_t step = far[index].credit < most_now ? (size_t) far[index].credit : most_now;
            probe_body (harness, far[index].actor, ACTOR_gather, far[index].stream, slice_of (text + at, step));
            sent[index] += step;
            far[index].credit -= step;
        }
        json_decref (harness_inspect (harness, ACTOR_gather));
        size_t held =
            (size_t) harness_counter (harness, ACTOR_gather, "held_bytes") + atomic_load (&harness->budget.used);
        most = held > most ? held : most;
        size_t taken = 0;
        for (size_t index = 0; index < harness->seen_count; index++)
        {
            const struct seen *seen = harness->seen[index];
            for (int branch = 0; branch < 3; branch++)
                if (seen->envelope.type == MESSAGE_credit && seen->envelope.stream == far[branch].stream)
                    far[branch].credit += seen->fields.credit.bytes;
            if (seen->envelope.type == MESSAGE_body)
                taken += seen->payload_length;
        }
        assert_true (taken > 0 || received == 0);
        received += taken;
        harness_forget_seen (harness);
        probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, taken);
    }
    assert_true (received > TOTAL - 4 * WINDOW_MOST);
    /* Three windows and three elements. */
    assert_true (most <= 3 * WINDOW_MOST + 3 * 2 * 8192);
    probe_abort (harness, ACTOR_ingress, ACTOR_gather, stream);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "held_bytes"), 0);
    free (text);
    harness_destroy (harness);
}

/* ----------------------------------------------------------------------------------------------------------- at random
 */

static uint64_t s_random;

static unsigned dice (unsigned sides)
{
    s_random ^= s_random << 13;
    s_random ^= s_random >> 7;
    s_random ^= s_random << 17;
    return (unsigned) ((s_random >> 11) % sides);
}

/* Every element, once, whole, in its node's order, with its node's name. */
static void check_merged (const char *text, const int counts[3])
{
    static const char *const names[] = {"node-a", "node-b", "node-c"};
    int next[3] = {0};
    json_t *list = json_loads (text, 0, NULL), *element;
    size_t index;
    assert_true (json_is_array (list));
    json_array_foreach (list, index, element)
    {
        int node = (int) json_integer_value (json_object_get (element, "node"));
        int number = (int) json_integer_value (json_object_get (element, "number"));
        assert_int_equal (number, next[node]++);
        json_t *agent = json_object_get (json_object_get (element, "Portainer"), "Agent");
        assert_string_equal (json_string_value (json_object_get (agent, "NodeName")), names[node]);
    }
    assert_memory_equal (next, counts, sizeof next);
    json_decref (list);
}

/* Random lists in random pieces, in random turns, with random credit. */
static void merges_random_pieces (void **state)
{
    (void) state;
    static const char *const ids[] = {"a", "b", "c"};
    const char *given = getenv ("SEED");
    uint64_t seed = given ? strtoull (given, NULL, 10) : (uint64_t) time (NULL) * 2654435761u;
    print_message ("SEED=%llu\n", (unsigned long long) seed);
    s_random = seed | 1;
    struct harness *harness = begin ();
    for (int round = 0; round < 60; round++)
    {
        uint64_t stream = ask_for (harness, "GET", "/containers/json", dice (3) ? dice (50) : 100000);
        struct far far[3];
        char *text[3];
        size_t length[3], at[3] = {0};
        bool ended[3] = {false};
        int counts[3];
        for (int node = 0; node < 3; node++)
        {
            far[node] = far_of (harness, ids[node]);
            FILE *out = open_memstream (&text[node], &length[node]);
            counts[node] = (int) dice (12);
            fputs ("[", out);
            for (int number = 0; number < counts[node]; number++)
                fprintf (out, "%s{\"node\":%d,\"number\":%d,\"x\":\"%*s\"%s}", number ? "," : "", node, number,
                         (int) dice (100), "", dice (3) ? "" : ",\"Portainer\":[[]]");
            fputs ("]", out);
            fclose (out);
            head (harness, &far[node], 200, "X", "y");
        }
        while (!ended[0] || !ended[1] || !ended[2])
        {
            int node = (int) dice (3);
            size_t step = dice (40);
            step = step < length[node] - at[node] ? step : length[node] - at[node];
            probe_body (harness, far[node].actor, ACTOR_gather, far[node].stream,
                        slice_of (text[node] + at[node], step));
            at[node] += step;
            if (at[node] == length[node] && !ended[node])
            {
                ended[node] = true;
                end (harness, &far[node]);
            }
            if (dice (6) == 0)
                json_decref (harness_inspect (harness, ACTOR_gather));
            if (dice (6) == 0)
                probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, dice (60));
        }
        probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, 100000);
        probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
        size_t total;
        char *all = probe_payload (harness, ACTOR_ingress, stream, &total);
        check_merged (all, counts);
        free (all);
        for (int node = 0; node < 3; node++)
            free (text[node]);
        harness_forget_seen (harness);
    }
    assert_int_equal (harness_counter (harness, ACTOR_gather, "failed"), 0);
    harness_destroy (harness);
}

/* Whatever the other actors say, in whatever order: nothing breaks, and all is given back. */
static void bears_any_order_of_messages (void **state)
{
    (void) state;
    static const char *const texts[] = {"[", "]", "{}", ",", "{\"a\":\"", "\"}", "x", "", "[{},{}", "[]"};
    const char *given = getenv ("SEED");
    uint64_t seed = given ? strtoull (given, NULL, 10) : (uint64_t) time (NULL) * 40503u;
    print_message ("SEED=%llu\n", (unsigned long long) seed);
    s_random = seed | 1;
    struct harness *harness = begin ();
    for (int round = 0; round < 200; round++)
    {
        uint64_t stream = ask_for (harness, dice (8) ? "GET" : "HEAD", dice (3) ? "/networks" : "/volumes", dice (40));
        struct far far[] = {far_of (harness, "a"), far_of (harness, "b"), far_of (harness, "c")};
        for (int turn = 0; turn < 25; turn++)
        {
            struct far *one = &far[dice (3)];
            switch (dice (8))
            {
            case 0:
            case 1:
                head (harness, one, dice (4) ? 200 : 400, "X", "y");
                break;
            case 2:
                end (harness, one);
                break;
            case 3:
                if (dice (3) == 0)
                    cut_off (harness, one);
                break;
            case 4:
                probe_credit (harness, dice (2) ? ACTOR_ingress : one->actor, ACTOR_gather,
                              dice (2) ? stream : one->stream, dice (30));
                break;
            default:
                body (harness, one, texts[dice (sizeof texts / sizeof *texts)]);
            }
        }
        probe_abort (harness, ACTOR_ingress, ACTOR_gather, stream);
        assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 0);
        assert_int_equal (harness_counter (harness, ACTOR_gather, "held_bytes"), 0);
        assert_int_equal (atomic_load (&harness->budget.used), 0);
        harness_forget_seen (harness);
    }
    harness_destroy (harness);
}

/* Stops while lists are in progress: nothing is left. */
static void stops_in_the_middle (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    ask (harness, "/containers/json");
    ask (harness, "/volumes");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b");
    head (harness, &a, 200, "X", "y");
    body (harness, &a, "[{\"a\":");
    say (harness, &b, 400, "no");
    harness_barrier (harness, ACTOR_gather);
    harness_destroy (harness);
}

int main (void)
{
#define TEST(name) cmocka_unit_test_teardown (name, harness_teardown)
    const struct CMUnitTest tests[] = {
        TEST (asks_every_member),
        TEST (merges_in_order_of_arrival),
        TEST (does_not_wait_within_the_body),
        TEST (merges_volumes),
        TEST (asks_docker_alone_without_members),
        TEST (answers_head_and_other_methods),
        TEST (names_nodes_that_failed_before_the_head),
        TEST (names_nodes_that_failed_later_in_the_trailer),
        TEST (passes_on_what_all_nodes_say),
        TEST (gives_up_what_takes_too_long),
        TEST (gives_up_members_that_left),
        TEST (ends_with_its_client),
        TEST (bears_strange_names),
        TEST (keeps_to_the_clients_credit),
        TEST (refuses_more_than_was_granted),
        TEST (bounds_an_element),
        TEST (bounds_what_is_held),
        TEST (bounds_lists),
        TEST (needs_a_window),
        TEST (refuses_too_many_headers),
        TEST (asks_a_thousand),
        TEST (holds_no_list),
        TEST (merges_random_pieces),
        TEST (bears_any_order_of_messages),
        TEST (stops_in_the_middle),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
