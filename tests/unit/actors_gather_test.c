/* actors_gather_test - the gather actor: a client's list in; requests to docker and peers, and one merged list, out.
 * Limits and large lists have a program of their own, actors_gather_limits_test.
 */
#include "gather_client.h"

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
    harness->configuration.list_time = 1000; /* enough for what is said in time, on a busy machine too */
    begin_with (harness);
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    head (harness, &c, 200, "X", "y"); /* a head is not an answer yet */
    head (harness, &a, 200, "X", "y");
    body (harness, &a, "[");
    for (unsigned piece = 0; piece < 6; piece++) /* slow, but never silent for so long */
    {
        nanosleep (&(struct timespec){.tv_nsec = 300000000}, NULL);
        body (harness, &a, " ");
        harness_barrier (harness, ACTOR_gather);
    }
    expect_aborted (harness, &b);
    expect_aborted (harness, &c);
    assert_true (has_head (harness, stream));
    end (harness, &b); /* too late */
    body (harness, &a, "{}]");
    end (harness, &a);
    expect_list (harness, stream, "[{" MARK ("node-a") "}]", "node-b, node-c", NULL);

    stream = ask (harness, "/containers/json");
    expect_answer (harness, stream, 504, "application/json", "no answer within 1000 ms (see --list-time)");
    harness_destroy (harness);
}

static void lose (struct harness *harness, const char *id, const char *name, bool lost)
{
    union message_fields fields = {.member = {.lost = lost, .id = slice_from (id), .name = slice_from (name)}};
    probe_send (harness, ACTOR_membership, ACTOR_gather, MESSAGE_member, 0, &fields, SLICE (""));
}

/* A list of the own node alone, with these missing. */
static void expect_lonely_list (struct harness *harness, const char *missing)
{
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a");
    say (harness, &a, 200, "[{}]");
    expect_list (harness, stream, "[{" MARK ("node-a") "}]", missing, NULL);
}

/* The dead are missing from every list, those that left in order are not; each is named once. */
static void names_the_dead (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    lose (harness, "b", "node-b", true);
    lose (harness, "b", "node-b", true);
    lose (harness, "c", "node-c", false);
    expect_lonely_list (harness, "node-b");
    lose (harness, "d", "node, d", true);
    expect_lonely_list (harness, "node-b, node%2C%20d");
    lose (harness, "d", "", false);
    expect_lonely_list (harness, "node-b");
    /* It is back, under another id: the node is there. */
    tell_member (harness, "a", "node-a", true, false);
    tell_member (harness, "z", "node-b", false, true);
    uint64_t stream = ask (harness, "/containers/json");
    struct far z = far_of (harness, "z");
    lose (harness, "z", "node-b", true); /* while the list is made: its branch is named, and it only */
    cut_off (harness, &z);
    expect_answer (harness, stream, 502, "application/json", "node-b: its answer was cut off");
    tell_member (harness, "a", "node-a", true, true);
    expect_lonely_list (harness, "node-b");
    tell_member (harness, "b", "node-b", false, true);
    stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b");
    say (harness, &a, 200, "[{}]");
    say (harness, &b, 200, "[]");
    expect_list (harness, stream, "[{" MARK ("node-a") "}]", NULL, NULL);
    harness_destroy (harness);
}

static void gives_up_what_stops_in_the_middle (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness->configuration.list_time = 1000;
    begin_with (harness);
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    struct far *all[] = {&a, &b, &c};
    for (unsigned index = 0; index < 3; index++)
    {
        head (harness, all[index], 200, "X", "y");
        body (harness, all[index], index == 1 ? "[{},{\"Id\":" : "[{}]");
        if (index != 1)
            end (harness, all[index]);
    }
    expect_aborted (harness, &b);
    expect_list (harness, stream, "[{" MARK ("node-a") "},{" MARK ("node-b") "},{" MARK ("node-c") "}]", NULL,
                 "node-b");
    harness_destroy (harness);
}

/* A client that takes nothing for longer than a node may be silent costs no node its part; neither one whose bytes wait
 * for the client, nor one that has said all. */
static void waits_for_a_slow_client (void **state)
{
    (void) state;
    static const char first[] = "[{" MARK ("node-a") "}";
    struct harness *harness = harness_prepare ();
    harness->configuration.list_time = 300;
    begin_with (harness);
    uint64_t stream = ask_for (harness, "GET", "/containers/json", sizeof first - 1);
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &b, 200, "[]");
    head (harness, &a, 200, "X", "y");
    body (harness, &a, "[{}]");
    head (harness, &c, 200, "X", "y");
    body (harness, &c, "[");
    harness_barrier (harness, ACTOR_gather);
    body (harness, &c, "{}]");
    end (harness, &c);
    end (harness, &a);
    for (unsigned look = 0; look < 10; look++) /* what must not happen cannot be waited for */
    {
        nanosleep (&(struct timespec){.tv_nsec = 100000000}, NULL);
        harness_barrier (harness, ACTOR_gather);
    }
    probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, 1000);
    expect_list (harness, stream, "[{" MARK ("node-a") "},{" MARK ("node-c") "}]", NULL, NULL);
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
        TEST (gives_up_what_stops_in_the_middle),
        TEST (waits_for_a_slow_client),
        TEST (names_the_dead),
        TEST (gives_up_members_that_left),
        TEST (ends_with_its_client),
        TEST (bears_strange_names),
        TEST (stops_in_the_middle),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
