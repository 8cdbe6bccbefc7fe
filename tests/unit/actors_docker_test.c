/* actors_docker_test - the docker actor before an engine that does what the test says, on a Unix socket.
 *
 * Probes stand for ingress and the router. The engine is this program: it accepts, reads what it was sent, and answers
 * byte by byte, wrongly, or not at all.
 */
#include "actor_harness.h"
#include "actors/docker.h"

enum
{
    WINDOW = 65536, /* credit that a request brings, where it does not matter */
};

struct engine
{
    int listener;
    struct peer last;
};

/* ------------------------------------------------------------------------------------------------------------- engine
 */

static int engine_listen (struct harness *harness)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf (address.sun_path, sizeof address.sun_path, "%s", harness->engine);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true (fd >= 0);
    assert_int_equal (bind (fd, (struct sockaddr *) &address, sizeof address), 0);
    assert_int_equal (listen (fd, 64), 0);
    return fd;
}

static bool accepted (struct harness *harness, void *data)
{
    (void) harness;
    struct engine *engine = data;
    int fd = accept4 (engine->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return false;
    engine->last = peer_of (fd);
    return true;
}

static struct peer engine_accept (struct harness *harness, struct engine *engine)
{
    harness_until (harness, accepted, engine);
    return engine->last;
}

static void expect_no_connection (struct harness *harness, struct engine *engine)
{
    harness_barrier (harness, ACTOR_docker);
    assert_false (accepted (harness, engine));
}

/* One question of discovery, answered over a connection of its own. */
static void answer_question (struct harness *harness, struct engine *engine, const char *question, const char *body)
{
    char answer[512];
    struct peer peer = engine_accept (harness, engine);
    peer_await (harness, &peer, "\r\n\r\n");
    assert_ptr_equal (strstr (peer.text, question), peer.text);
    snprintf (answer, sizeof answer, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
              body ? "200 OK" : "404 Not Found", body ? strlen (body) : 0, body ? body : "");
    peer_say (&peer, answer);
    peer_await_end (harness, &peer);
    peer_free (&peer);
}

static const char s_version[] = "{\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"}";

static void discover (struct harness *harness, struct engine *engine)
{
    answer_question (harness, engine, "GET /version HTTP/1.1\r\n", s_version);
    answer_question (harness, engine, "GET /info HTTP/1.1\r\n", "{\"Name\":\"box\",\"Swarm\":{}}");
    struct seen *seen;
    do /* that it was lost may have been said before */
        seen = probe_await (harness, ACTOR_router, MESSAGE_engine, 0);
    while (!seen->fields.engine.reachable);
    assert_int_equal (seen->fields.engine.api_minimum, 1012);
    assert_int_equal (seen->fields.engine.api_maximum, 1041);
}

/* A docker actor that knows its engine and has no connection. */
static struct harness *begin (struct engine *engine)
{
    struct harness *harness = harness_prepare ();
    engine->listener = engine_listen (harness);
    harness_start (harness, &docker_class);
    discover (harness, engine);
    return harness;
}

static void end (struct harness *harness, struct engine *engine)
{
    close (engine->listener);
    harness_destroy (harness);
}

/* ----------------------------------------------------------------------------------------------------------- requests
 */

struct asked
{
    const char *method, *target;
    enum framing framing;
    uint64_t length, window;
    bool hijackable;
    const char *upgrade;
    const struct header *headers;
    size_t header_count;
};

static uint64_t ask_with (struct harness *harness, struct asked asked)
{
    uint64_t stream = ++harness->last_stream;
    union message_fields fields = {.request = {.method = slice_from (asked.method),
                                               .client = ACTOR_ingress,
                                               .target = slice_from (asked.target),
                                               .framing = asked.framing,
                                               .length = asked.length,
                                               .upgrade = slice_from (asked.upgrade),
                                               .hijackable = asked.hijackable,
                                               .source = SLICE ("192.0.2.9:1"),
                                               .window = asked.window ? asked.window : WINDOW,
                                               .headers = {asked.headers, asked.header_count}}};
    probe_send (harness, ACTOR_router, ACTOR_docker, MESSAGE_request, stream, &fields, SLICE (""));
    return stream;
}

static uint64_t ask (struct harness *harness, const char *method, const char *target)
{
    return ask_with (harness, (struct asked){.method = method, .target = target});
}

static struct seen *expect_status (struct harness *harness, uint64_t stream, unsigned status)
{
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
    assert_int_equal (seen->fields.response.status, status);
    return seen;
}

static void expect_end (struct harness *harness, uint64_t stream)
{
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_abort, stream), 0);
}

static void expect_abort (struct harness *harness, uint64_t stream)
{
    probe_await (harness, ACTOR_ingress, MESSAGE_abort, stream);
    harness_barrier (harness, ACTOR_docker);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_end, stream), 0);
}

/* An error of the agent's own, with the contract's message and a cause. */
static void expect_error (struct harness *harness, uint64_t stream, unsigned status, const char *message,
                          const char *cause)
{
    expect_status (harness, stream, status);
    expect_end (harness, stream);
    size_t length;
    char *text = probe_payload (harness, ACTOR_ingress, stream, &length);
    json_t *object = json_loads (text, 0, NULL);
    assert_string_equal (json_string_value (json_object_get (object, "message")), message);
    if (!strstr (json_string_value (json_object_get (object, "details")), cause))
        fail_msg ("'%s' is not in %s", cause, text);
    json_decref (object);
    free (text);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_response, stream), 1);
}

static void expect_bad_gateway (struct harness *harness, uint64_t stream, const char *cause)
{
    expect_error (harness, stream, 502, "Unable to proxy the request via the Docker socket", cause);
}

/* Accepts, and reads one request's head. */
static struct peer engine_take (struct harness *harness, struct engine *engine)
{
    struct peer peer = engine_accept (harness, engine);
    peer_await (harness, &peer, "\r\n\r\n");
    return peer;
}

/* --------------------------------------------------------------------------------------------------- plain answers */

static void passes_request_and_answer (void **state)
{
    (void) state;
    struct engine engine;
    struct harness *harness = begin (&engine);
    const struct header headers[] = {{SLICE ("Accept"), SLICE ("text/plain")},
                                     {SLICE ("X-PortainerAgent-Signature"), SLICE ("abc")},
                                     {SLICE ("x-portaineragent-publickey"), SLICE ("def")},
                                     {SLICE ("X-PortainerAgent-Target"), SLICE ("node")},
                                     {SLICE ("X-PORTAINERAGENT-MANAGEROPERATION"), SLICE ("1")},
                                     {SLICE ("X-Other"), SLICE ("kept")}};
    uint64_t stream = ask_with (
        harness, (struct asked){.method = "GET", .target = "/a%2Fb?x=%20", .headers = headers, .header_count = 6});
    struct peer peer = engine_take (harness, &engine);
    assert_string_equal (peer.text,
                         "GET /a%2Fb?x=%20 HTTP/1.1\r\nHost: docker\r\nAccept: text/plain\r\nX-Other: kept\r\n\r\n");

    /* The head is passed on at once, before any byte of the body, and so is every piece. */
    peer_say (&peer, "HTTP/1.1 299 Fine\r\nContent-Type: a/b\r\nContent-Length: 6\r\nConnection: keep-alive\r\n\r\n");
    struct seen *seen = expect_status (harness, stream, 299);
    assert_true (slice_equal (seen->fields.response.reason, SLICE ("Fine")));
    assert_int_equal (seen->fields.response.framing, FRAMING_LENGTH);
    assert_int_equal (seen->fields.response.length, 6);
    assert_int_equal (seen->fields.response.headers.count, 1);
    assert_int_equal (seen->envelope.trace[3], stream);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_body, stream), 0);
    peer_say (&peer, "abc");
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abc"));
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_end, stream), 0);
    peer_say (&peer, "def");
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abcdef"));
    expect_end (harness, stream);
    peer_free (&peer);
    end (harness, &engine);
}

static void framing_stays_as_the_engine_chose (void **state)
{
    (void) state;
    static const struct
    {
        const char *method, *answer, *body;
        enum framing framing;
        uint64_t length;
        bool closes;
    } rows[] = {
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde",
         FRAMING_CHUNKED, 0, false},
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", FRAMING_CHUNKED, 0, false},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", FRAMING_LENGTH, 0, false},
        {"GET", "HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end", FRAMING_CLOSE, 0, true},
        {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", FRAMING_LENGTH, 2, false},
        {"GET", "HTTP/1.1 204 No Content\r\n\r\n", "", FRAMING_NONE, 0, false},
        {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "", FRAMING_NONE, 0, false},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", "", FRAMING_NONE, 0, false},
        {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", FRAMING_NONE, 0, false},
        {"GET",
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
         "1\r\n\r\nx",
         "x", FRAMING_LENGTH, 1, false},
    };
    struct engine engine;
    struct harness *harness = begin (&engine);
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        uint64_t stream = ask (harness, rows[row].method, "/x");
        struct peer peer = engine_take (harness, &engine);
        peer_say (&peer, rows[row].answer);
        if (rows[row].closes)
            shutdown (peer.fd, SHUT_WR);
        struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
        if (seen->fields.response.framing != rows[row].framing || seen->fields.response.length != rows[row].length)
            fail_msg ("row %zu: framing %d", row, (int) seen->fields.response.framing);
        if (strcmp (rows[row].method, "HEAD") == 0 && row == 7)
            assert_true (
                slice_equal (headers_find (seen->fields.response.headers, SLICE ("content-length")), SLICE ("77")));
        probe_expect_payload (harness, ACTOR_ingress, stream, slice_from (rows[row].body));
        expect_end (harness, stream);
        assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_response, stream), 1);
        peer_free (&peer);
        harness_barrier (harness, ACTOR_docker); /* the closed connection leaves the pool */
        assert_int_equal (harness_counter (harness, ACTOR_docker, "connections"), 0);
    }
    end (harness, &engine);
}

/* Wherever an answer is cut into pieces, and however slowly they come, the messages say the same. */
static void cuts_do_not_matter (void **state)
{
    (void) state;
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
    struct engine engine;
    struct harness *harness = begin (&engine);
    uint64_t stream = ask (harness, "GET", "/x");
    struct peer peer = engine_take (harness, &engine);
    for (size_t cut = 1; cut < sizeof answer - 1; cut++)
    {
        peer_send (&peer, answer, cut);
        harness_barrier (harness, ACTOR_docker);
        peer_send (&peer, answer + cut, sizeof answer - 1 - cut);
        expect_status (harness, stream, 200);
        probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abc0123456789"));
        expect_end (harness, stream);
        peer_clear (&peer);
        stream = ask (harness, "GET", "/x");
        peer_await (harness, &peer, "\r\n\r\n");
    }
    for (size_t at = 0; at < sizeof answer - 1; at++)
    {
        peer_send (&peer, answer + at, 1);
        json_decref (harness_inspect (harness, ACTOR_docker));
    }
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abc0123456789"));
    expect_end (harness, stream);
    peer_free (&peer);
    end (harness, &engine);
}

/* --------------------------------------------------------------------------------------------------------------- pool
 */

static void answer_ok (struct harness *harness, struct peer *peer, uint64_t stream)
{
    peer_say (peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    expect_status (harness, stream, 200);
    expect_end (harness, stream);
    peer_clear (peer);
}

static void keeps_connections (void **state)
{
    (void) state;
    struct engine engine;
    struct harness *harness = begin (&engine);
    uint64_t stream = ask (harness, "GET", "/1");
    struct peer peer = engine_take (harness, &engine);
    answer_ok (harness, &peer, stream);
    for (int round = 0; round < 5; round++)
    {
        stream = ask (harness, round & 1 ? "POST" : "GET", "/again");
        peer_await (harness, &peer, "/again HTTP/1.1\r\n");
        answer_ok (harness, &peer, stream);
    }
    expect_no_connection (harness, &engine);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "reused"), 5);

    /* Two at once need two. */
    uint64_t first = ask (harness, "GET", "/first"), second = ask (harness, "GET", "/second");
    struct peer other = engine_take (harness, &engine);
    assert_non_null (strstr (other.text, "GET /second "));
    answer_ok (harness, &other, second);
    peer_await (harness, &peer, "GET /first ");
    answer_ok (harness, &peer, first);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "idle"), 2);

    /* An idle connection that the engine closes, or on which it speaks unasked, is dropped. */
    peer_say (&peer, "HTTP/1.1 408 Request Timeout\r\n\r\n");
    peer_await_end (harness, &peer);
    peer_free (&peer);
    peer_free (&other);
    harness_barrier (harness, ACTOR_docker);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "connections"), 0);
    end (harness, &engine);
}

/* Bytes after an answer, an answer before the request's end, and Connection: close each spoil a connection. */
static void drops_spoilt_connections (void **state)
{
    (void) state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    };
    struct engine engine;
    struct harness *harness = begin (&engine);
    for (size_t row = 0; row < sizeof answers / sizeof *answers; row++)
    {
        uint64_t stream = ask (harness, "GET", "/x");
        struct peer peer = engine_take (harness, &engine);
        peer_say (&peer, answers[row]);
        expect_end (harness, stream);
        probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("ok"));
        peer_await_end (harness, &peer);
        peer_free (&peer);
    }
    uint64_t stream =
        ask_with (harness, (struct asked){.method = "POST", .target = "/x", .framing = FRAMING_LENGTH, .length = 10});
    struct peer peer = engine_take (harness, &engine);
    peer_say (&peer, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nok");
    expect_status (harness, stream, 413);
    expect_end (harness, stream);
    peer_await_end (harness, &peer);
    peer_free (&peer);
    end (harness, &engine);
}

/* A connection of the pool that dies as the request arrives is replaced, once, when asking again does no harm. */
static void retries_what_may_be_repeated (void **state)
{
    (void) state;
    static const struct
    {
        struct asked asked;
        bool again;
    } rows[] = {
        {{.method = "GET", .target = "/r"}, true},
        {{.method = "HEAD", .target = "/r"}, true},
        {{.method = "DELETE", .target = "/r"}, true},
        {{.method = "PUT", .target = "/r"}, true},
        {{.method = "POST", .target = "/r"}, false},
        {{.method = "PATCH", .target = "/r"}, false},
        {{.method = "PUT", .target = "/r", .framing = FRAMING_LENGTH, .length = 3}, false},
        {{.method = "PUT", .target = "/r", .framing = FRAMING_CHUNKED}, false},
        {{.method = "GET", .target = "/r", .hijackable = true, .upgrade = "tcp"}, false},
    };
    struct engine engine;
    struct harness *harness = begin (&engine);
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        uint64_t stream = ask (harness, "GET", "/warm");
        struct peer peer = engine_take (harness, &engine);
        answer_ok (harness, &peer, stream);
        stream = ask_with (harness, rows[row].asked);
        peer_await (harness, &peer, "\r\n\r\n");
        char *asked = bytes_copy (peer.text, peer.length);
        peer_free (&peer);
        if (rows[row].again)
        {
            peer = engine_take (harness, &engine);
            assert_string_equal (peer.text, asked);
            peer_say (&peer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            expect_status (harness, stream, 200);
            expect_end (harness, stream);
            peer_free (&peer);
        }
        else
        {
            expect_bad_gateway (harness, stream, "closed the connection before it answered");
            /* The agent may ask for itself whether the engine lives; it does not repeat the request. */
            discover (harness, &engine);
            expect_no_connection (harness, &engine);
        }
        free (asked);
        harness_barrier (harness, ACTOR_docker);
        assert_int_equal (harness_counter (harness, ACTOR_docker, "connections"), 0);
    }
    assert_int_equal (harness_counter (harness, ACTOR_docker, "retried"), 4);
    end (harness, &engine);
}

static void retries_once_only (void **state)
{
    (void) state;
    struct engine engine;
    struct harness *harness = begin (&engine);
    uint64_t stream = ask (harness, "GET", "/warm");
    struct peer peer = engine_take (harness, &engine);
    answer_ok (harness, &peer, stream);
    stream = ask (harness, "GET", "/r");
    peer_await (harness, &peer, "GET /r ");
    peer_free (&peer);
    peer = engine_take (harness, &engine);
    peer_free (&peer);
    expect_bad_gateway (harness, stream, "before it answered");

    /* Nor when a byte of the answer has come: the engine may have done it. */
    discover (harness, &engine);
    stream = ask (harness, "GET", "/warm");
    peer = engine_take (harness, &engine);
    answer_ok (harness, &peer, stream);
    stream = ask (harness, "GET", "/r");
    peer_await (harness, &peer, "GET /r ");
    peer_say (&peer, "H");
    harness_barrier (harness, ACTOR_docker);
    peer_free (&peer);
    expect_bad_gateway (harness, stream, "in the middle of its answer's head");
    end (harness, &engine);
}

/* ------------------------------------------------------------------------------------------------------------ failures
 */

static void cut_answers_are_no_answers (void **state)
{
    (void) state;
    static const struct
    {
        const char *answer, *cause; /* cause NULL: the head was good, so the stream is aborted */
    } rows[] = {
        {"", "before it answered"},
        {"HTTP/1.1 200 OK\r\nContent-", "in the middle of its answer's head"},
        {"HTTP/1.1 100 Continue\r\n\r\n", "in the middle of its answer's head"},
        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "malformed"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "malformed"},
        {"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n", "malformed"},
        {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", "changed the protocol"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", NULL},
        {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", NULL},
    };
    struct engine engine;
    struct harness *harness = begin (&engine);
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        uint64_t stream = ask (harness, "GET", "/x");
        struct peer peer = engine_take (harness, &engine);
        peer_say (&peer, rows[row].answer);
        shutdown (peer.fd, SHUT_WR);
        if (rows[row].cause)
            expect_bad_gateway (harness, stream, rows[row].cause);
        else
        {
            expect_status (harness, stream, 200);
            expect_abort (harness, stream);
        }
        peer_await_end (harness, &peer);
        peer_free (&peer);
        /* What ended early has the engine looked for again; what was malformed has not. */
        harness_barrier (harness, ACTOR_docker);
        if (!harness_counter (harness, ACTOR_docker, "reachable"))
            discover (harness, &engine);
    }
    end (harness, &engine);
}

static bool answered_again (struct harness *harness, void *data)
{
    (void) data;
    for (size_t index = 0; index < harness->seen_count; index++)
        if (harness->seen[index]->envelope.type == MESSAGE_engine && harness->seen[index]->fields.engine.reachable)
            return true;
    return false;
}

static void finds_an_engine_that_returns (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness_start (harness, &docker_class);
    /* Nothing there. */
    assert_false (probe_await (harness, ACTOR_control, MESSAGE_engine, 0)->fields.engine.reachable);
    expect_bad_gateway (harness, ask (harness, "GET", "/x"), "No such file or directory");
    /* A socket that nobody listens on. */
    struct engine engine = {.listener = engine_listen (harness)};
    close (engine.listener);
    expect_bad_gateway (harness, ask (harness, "GET", "/x"), "Connection refused");
    unlink (harness->engine);
    /* There again: found without a request. */
    engine.listener = engine_listen (harness);
    answer_question (harness, &engine, "GET /version ", s_version);
    answer_question (harness, &engine, "GET /info ", "{\"Name\":\"box\"}");
    harness_until (harness, answered_again, NULL);
    uint64_t stream = ask (harness, "GET", "/x");
    struct peer peer = engine_take (harness, &engine);
    answer_ok (harness, &peer, stream);
    peer_free (&peer);
    end (harness, &engine);
}

static void finds_its_address (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness->configuration.advertise_address = "";
    struct engine engine = {.listener = engine_listen (harness)};
    harness_start (harness, &docker_class);
    answer_question (harness, &engine, "GET /version ", s_version);
    answer_question (harness, &engine, "GET /info ",
                     "{\"Name\":\"box\",\"Swarm\":{\"NodeID\":\"n1\",\"ControlAvailable\":true}}");
    answer_question (
        harness, &engine, "GET /containers/",
        "{\"NetworkSettings\":{\"Networks\":{\"b\":{\"NetworkID\":\"bb\",\"IPAddress\":\"10.0.0.2\"},\"a\":{"
        "\"NetworkID\":\"aa\",\"IPAddress\":\"10.0.0.1\"},\"c\":{\"NetworkID\":\"cc\",\"IPAddress\":\"10.0.0.3\"}}}}");
    answer_question (harness, &engine, "GET /networks/aa ", "{\"Scope\":\"swarm\",\"Ingress\":true}");
    answer_question (harness, &engine, "GET /networks/bb ", "{\"Scope\":\"local\"}");
    answer_question (harness, &engine, "GET /networks/cc ", "{\"Scope\":\"swarm\"}");
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_engine, 0);
    assert_true (slice_equal (seen->fields.engine.address, SLICE ("10.0.0.3")));
    assert_true (slice_equal (seen->fields.engine.node, SLICE ("n1")));
    assert_true (seen->fields.engine.manager);
    end (harness, &engine);
}

/* In a Swarm the own container is looked at even when the address is given, because its service names the others. */
static void finds_its_service (void **state)
{
    (void) state;
    static const char info[] = "{\"Name\":\"box\",\"Swarm\":{\"NodeID\":\"n1\",\"ControlAvailable\":false}}";
    static const char container[] = "{\"Config\":{\"Labels\":{\"com.docker.swarm.service.name\":\"stack_agent\"}},"
                                    "\"NetworkSettings\":{\"Networks\":{\"a\":{\"NetworkID\":\"aa\",\"IPAddress\":"
                                    "\"10.0.0.1\"}}}}";
    static const enum actor_id told[] = {ACTOR_router,     ACTOR_ingress, ACTOR_control,
                                         ACTOR_membership, ACTOR_peers,   ACTOR_gather};
    struct harness *harness = harness_prepare ();
    struct engine engine = {.listener = engine_listen (harness)};
    harness_start (harness, &docker_class);
    answer_question (harness, &engine, "GET /version ", s_version);
    answer_question (harness, &engine, "GET /info ", info);
    answer_question (harness, &engine, "GET /containers/", container);
    for (size_t index = 0; index < sizeof told / sizeof *told; index++)
    {
        struct seen *seen = probe_await (harness, told[index], MESSAGE_engine, 0);
        assert_true (slice_equal (seen->fields.engine.service, SLICE ("stack_agent")));
        assert_true (slice_equal (seen->fields.engine.address, SLICE ("192.0.2.1")));
        assert_false (seen->fields.engine.manager);
    }
    end (harness, &engine);
}

/* Whoever finds that what is known is stale has the engine asked at once, however many they are. */
static void asks_again_when_told (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    struct engine engine = {.listener = engine_listen (harness)};
    struct seen *seen;
    harness_start (harness, &docker_class);
    answer_question (harness, &engine, "GET /version ", s_version);
    answer_question (harness, &engine, "GET /info ", "{\"Name\":\"box\",\"Swarm\":{\"NodeID\":\"n1\"}}");
    answer_question (harness, &engine, "GET /containers/", NULL);
    do
        seen = probe_await (harness, ACTOR_peers, MESSAGE_engine, 0);
    while (!seen->fields.engine.reachable);
    assert_false (seen->fields.engine.manager);
    size_t before = probe_count (harness, ACTOR_membership, MESSAGE_engine, 0);
    for (int number = 0; number < 5; number++)
        probe_send (harness, ACTOR_router, ACTOR_docker, MESSAGE_rediscover, 0, NULL, SLICE (""));
    answer_question (harness, &engine, "GET /info ",
                     "{\"Name\":\"box\",\"Swarm\":{\"NodeID\":\"n1\",\"ControlAvailable\":true}}");
    answer_question (harness, &engine, "GET /containers/", NULL);
    assert_true (probe_await (harness, ACTOR_peers, MESSAGE_engine, 0)->fields.engine.manager);
    harness_barrier (harness, ACTOR_docker);
    assert_int_equal (probe_count (harness, ACTOR_membership, MESSAGE_engine, 0), before + 1);
    expect_no_connection (harness, &engine);
    end (harness, &engine);
}

/* An engine that answers discovery with nonsense is no engine, and does no harm. */
static void survives_nonsense_in_discovery (void **state)
{
    (void) state;
    static const char *const bodies[] = {"", "[1]", "{\"ApiVersion\":{}}",
                                         "{\"ApiVersion\":\"x.y\",\"MinAPIVersion\":7}"};
    for (size_t row = 0; row < sizeof bodies / sizeof *bodies; row++)
    {
        struct harness *harness = harness_prepare ();
        struct engine engine = {.listener = engine_listen (harness)};
        harness_start (harness, &docker_class);
        answer_question (harness, &engine, "GET /version ", bodies[row]);
        if (row >= 2)
            answer_question (harness, &engine, "GET /info ", "{\"Name\":5,\"Swarm\":[]}");
        struct seen *seen = probe_await (harness, ACTOR_router, MESSAGE_engine, 0);
        assert_int_equal (seen->fields.engine.reachable, row >= 2);
        assert_int_equal (seen->fields.engine.api_maximum, 0);
        assert_int_equal (seen->fields.engine.name.len, 0);
        end (harness, &engine);
    }
}

/* -------------------------------------------------------------------------------------------------- request bodies */

static void passes_bodies (void **state)
{
    (void) state;
    struct engine engine;
    struct harness *harness = begin (&engine);
    uint64_t stream =
        ask_with (harness, (struct asked){.method = "POST", .target = "/x", .framing = FRAMING_LENGTH, .length = 5});
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream);
    assert_int_equal (seen->envelope.from, ACTOR_docker);
    assert_int_equal (seen->fields.credit.bytes, WINDOW_FIRST);
    struct peer peer = engine_take (harness, &engine);
    assert_string_equal (peer.text, "POST /x HTTP/1.1\r\nHost: docker\r\nContent-Length: 5\r\n\r\n");
    probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE ("ab"));
    peer_await (harness, &peer, "\r\n\r\nab"); /* at once, not when it is whole */
    probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE (""));
    probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE ("cde"));
    probe_end (harness, ACTOR_ingress, ACTOR_docker, stream);
    peer_await (harness, &peer, "\r\n\r\nabcde");
    answer_ok (harness, &peer, stream);

    stream = ask_with (harness, (struct asked){.method = "PUT", .target = "/x", .framing = FRAMING_CHUNKED});
    probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream);
    probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE ("0123456789abcdefg"));
    probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE (""));
    probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE ("x"));
    probe_end (harness, ACTOR_ingress, ACTOR_docker, stream);
    peer_await (harness, &peer, "\r\n\r\n11\r\n0123456789abcdefg\r\n1\r\nx\r\n0\r\n\r\n");
    assert_non_null (strstr (peer.text, "Transfer-Encoding: chunked\r\n"));
    assert_null (strstr (peer.text, "Content-Length"));
    answer_ok (harness, &peer, stream);
    expect_no_connection (harness, &engine);

    stream = ask (harness, "POST", "/empty");
    peer_await (harness, &peer, "POST /empty HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n");
    answer_ok (harness, &peer, stream);
    peer_free (&peer);
    end (harness, &engine);
}

/* An engine that does not read gets no more than a window; when it reads, everything comes, in order. */
static void slow_engine_holds_the_client (void **state)
{
    (void) state;
    enum
    {
        TOTAL = 3000000
    };
    struct engine engine;
    struct harness *harness = begin (&engine);
    uint64_t stream =
        ask_with (harness, (struct asked){.method = "PUT", .target = "/x", .framing = FRAMING_LENGTH, .length = TOTAL});
    struct peer peer = engine_take (harness, &engine);
    peer_clear (&peer);
    char *body = must (malloc (TOTAL));
    for (size_t at = 0; at < TOTAL; at++)
        body[at] = (char) (at * 7 + at / 251);
    size_t sent = 0, granted = 0, used_credit = 0, stalls = 0;
    while (sent < TOTAL)
    {
        size_t before = granted;
        harness_barrier (harness, ACTOR_docker);
        for (; used_credit < harness->seen_count; used_credit++)
            if (harness->seen[used_credit]->envelope.type == MESSAGE_credit &&
                harness->seen[used_credit]->envelope.stream == stream)
                granted += harness->seen[used_credit]->fields.credit.bytes;
        if (granted == before)
        {
            /* It stands still: the kernel's buffer and one window are full. */
            assert_true (granted - peer.length <= WINDOW_MOST + 1024 * 1024);
            stalls++;
            peer_read (&peer);
        }
        size_t step = granted - sent < TOTAL - sent ? granted - sent : TOTAL - sent;
        for (; step; step -= step < 10000 ? step : 10000)
        {
            size_t piece = step < 10000 ? step : 10000;
            probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, slice_of (body + sent, piece));
            sent += piece;
        }
    }
    assert_true (stalls > 1);
    probe_end (harness, ACTOR_ingress, ACTOR_docker, stream);
    while (peer.length < TOTAL)
    {
        harness_barrier (harness, ACTOR_docker);
        peer_read (&peer);
    }
    assert_int_equal (peer.length, TOTAL);
    assert_memory_equal (peer.text, body, TOTAL);
    answer_ok (harness, &peer, stream);
    free (body);
    peer_free (&peer);
    end (harness, &engine);
}

/* ------------------------------------------------------------------------------------------------------------- credit
 */

static void respects_credit (void **state)
{
    (void) state;
    struct engine engine;
    struct harness *harness = begin (&engine);
    uint64_t stream = ask_with (harness, (struct asked){.method = "GET", .target = "/x", .window = 10});
    struct peer peer = engine_take (harness, &engine);
    char body[1000];
    for (size_t at = 0; at < sizeof body; at++)
        body[at] = (char) ('a' + at % 26);
    peer_say (&peer, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    peer_send (&peer, body, sizeof body);
    shutdown (peer.fd, SHUT_WR); /* the end must not overtake what waits */
    uint64_t granted = 10, seed = 88172645463325252u;
    size_t length = 0;
    while (length < sizeof body)
    {
        harness_barrier (harness, ACTOR_docker);
        char *payload = probe_payload (harness, ACTOR_ingress, stream, &length);
        assert_true (length <= granted);
        assert_memory_equal (payload, body, length);
        free (payload);
        if (length < sizeof body)
            assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_end, stream), 0);
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        uint64_t more = 1 + seed % 90;
        granted += more;
        probe_credit (harness, ACTOR_ingress, ACTOR_docker, stream, more);
    }
    expect_end (harness, stream);
    peer_free (&peer);
    end (harness, &engine);
}

static void refuses_when_nothing_fits (void **state)
{
    (void) state;
    struct engine engine;
    struct harness *harness = begin (&engine);
    atomic_store (&harness->budget.used, harness->budget.total);
    uint64_t stream =
        ask_with (harness, (struct asked){.method = "POST", .target = "/x", .framing = FRAMING_LENGTH, .length = 5});
    expect_error (harness, stream, 503, "Too much data in flight", "--payload-total");
    atomic_store (&harness->budget.used, 0);
    expect_no_connection (harness, &engine);

    harness->configuration.engine_connections = 2;
    ask (harness, "GET", "/1");
    ask (harness, "GET", "/2");
    expect_error (harness, ask (harness, "GET", "/3"), 503, "Too many requests to the Docker engine at once",
                  "--engine-connections");
    end (harness, &engine);
}

/* -------------------------------------------------------------------------------------------------------------- aborts
 */

static void abort_closes_the_engines_side (void **state)
{
    (void) state;
    static const char *const begun[] = {"", "HTTP/1.1 200 OK\r\nCont",
                                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"};
    struct engine engine;
    struct harness *harness = begin (&engine);
    for (size_t row = 0; row < sizeof begun / sizeof *begun; row++)
        for (int body = 0; body < 2; body++)
        {
            uint64_t stream = ask_with (
                harness,
                (struct asked){.method = "PUT", .target = "/x", .framing = body ? FRAMING_CHUNKED : FRAMING_NONE});
            struct peer peer = engine_take (harness, &engine);
            peer_say (&peer, begun[row]);
            harness_barrier (harness, ACTOR_docker);
            size_t before = harness->seen_count;
            probe_abort (harness, ACTOR_router, ACTOR_docker, stream);
            peer_await_end (harness, &peer);
            /* Nothing is said about the stream any more, and what still comes for it is harmless. */
            probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE ("x"));
            probe_credit (harness, ACTOR_ingress, ACTOR_docker, stream, 5);
            probe_end (harness, ACTOR_ingress, ACTOR_docker, stream);
            probe_abort (harness, ACTOR_ingress, ACTOR_docker, stream);
            harness_barrier (harness, ACTOR_docker);
            for (; before < harness->seen_count; before++)
                assert_int_not_equal (harness->seen[before]->envelope.stream, stream);
            peer_free (&peer);
        }
    assert_int_equal (harness_counter (harness, ACTOR_docker, "streams"), 0);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "connections"), 0);
    end (harness, &engine);
}

/* ------------------------------------------------------------------------------------------------------- raw bytes */

static const char s_upgraded[] = "HTTP/1.1 101 UPGRADED\r\nContent-Type: "
                                 "application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
static const char s_hijacked[] = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";

/* Begins a raw stream: with Upgrade, or without it. */
static uint64_t hijack (struct harness *harness, struct engine *engine, struct peer *peer, bool upgrade)
{
    uint64_t stream = ask_with (harness, (struct asked){.method = "POST",
                                                        .target = "/exec/1/start",
                                                        .hijackable = true,
                                                        .framing = FRAMING_LENGTH,
                                                        .length = 2,
                                                        .upgrade = upgrade ? "tcp" : ""});
    probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream);
    probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE ("{}"));
    probe_end (harness, ACTOR_ingress, ACTOR_docker, stream);
    *peer = engine_take (harness, engine);
    peer_await (harness, peer, "\r\n\r\n{}");
    assert_int_equal (strstr (peer->text, "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n") != NULL, upgrade);
    peer_clear (peer);
    peer_say (peer, upgrade ? s_upgraded : s_hijacked);
    struct seen *seen = expect_status (harness, stream, upgrade ? 101 : 200);
    assert_int_equal (seen->fields.response.framing, FRAMING_RAW);
    assert_true (slice_equal (seen->fields.response.upgrade, slice_from (upgrade ? "tcp" : "")));
    probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream);
    return stream;
}

static void carries_raw_bytes (void **state)
{
    (void) state;
    struct engine engine;
    struct harness *harness = begin (&engine);
    for (int upgrade = 0; upgrade < 2; upgrade++)
    {
        /* The client ends first; the engine still speaks. */
        struct peer peer;
        uint64_t stream = hijack (harness, &engine, &peer, upgrade);
        peer_send (&peer, "\x01\0\0\0\0\0\0\x02hi", 10);
        probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("\x01\0\0\0\0\0\0\x02hi"));
        probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE ("input"));
        peer_await (harness, &peer, "input");
        probe_end (harness, ACTOR_ingress, ACTOR_docker, stream);
        peer_await_end (harness, &peer);
        assert_string_equal (peer.text, "input");
        assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_end, stream), 0);
        peer_say (&peer, "more");
        probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("\x01\0\0\0\0\0\0\x02himore"));
        peer_free (&peer);
        expect_end (harness, stream);

        /* The engine ends first; the client still speaks. */
        stream = hijack (harness, &engine, &peer, upgrade);
        peer_say (&peer, "bye");
        shutdown (peer.fd, SHUT_WR);
        expect_end (harness, stream);
        probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("bye"));
        probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, SLICE ("still here"));
        peer_await (harness, &peer, "still here");
        assert_false (peer.ended);
        probe_end (harness, ACTOR_ingress, ACTOR_docker, stream);
        peer_await_end (harness, &peer);
        peer_free (&peer);
        harness_barrier (harness, ACTOR_docker);
        assert_int_equal (harness_counter (harness, ACTOR_docker, "connections"), 0);

        /* The engine goes away wholly: the client is told, or it would wait for ever. */
        stream = hijack (harness, &engine, &peer, upgrade);
        peer_say (&peer, "last");
        peer_free (&peer);
        probe_await (harness, ACTOR_ingress, MESSAGE_abort, stream);
        probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("last"));

        /* The client goes away wholly. */
        stream = hijack (harness, &engine, &peer, upgrade);
        probe_abort (harness, ACTOR_ingress, ACTOR_docker, stream);
        peer_await_end (harness, &peer);
        peer_free (&peer);
    }
    harness_barrier (harness, ACTOR_docker);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "streams"), 0);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "connections"), 0);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "upgrades"), 8);
    end (harness, &engine);
}

/* An answer of another kind to a request that might have been hijacked is an ordinary one; its connection is kept. */
static void hijackable_is_not_hijacked (void **state)
{
    (void) state;
    struct engine engine;
    struct harness *harness = begin (&engine);
    uint64_t stream = ask_with (
        harness, (struct asked){.method = "POST", .target = "/exec/1/start", .hijackable = true, .upgrade = "tcp"});
    struct peer peer = engine_take (harness, &engine);
    peer_say (&peer, "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    assert_int_equal (expect_status (harness, stream, 409)->fields.response.framing, FRAMING_LENGTH);
    expect_end (harness, stream);
    peer_clear (&peer);
    stream = ask_with (harness, (struct asked){.method = "POST", .target = "/exec/1/start", .hijackable = true});
    peer_await (harness, &peer, "/exec/1/start");
    peer_say (&peer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\ndetached");
    assert_int_equal (expect_status (harness, stream, 200)->fields.response.framing, FRAMING_CLOSE);
    peer_free (&peer);
    expect_end (harness, stream);
    end (harness, &engine);
}

/* Raw bytes obey credit too, and bytes in the piece that holds the head are raw ones. */
static void raw_bytes_obey_credit (void **state)
{
    (void) state;
    struct engine engine;
    struct harness *harness = begin (&engine);
    uint64_t stream = ask_with (
        harness,
        (struct asked){
            .method = "POST", .target = "/containers/1/attach", .hijackable = true, .upgrade = "tcp", .window = 300});
    struct peer peer = engine_take (harness, &engine);
    char bytes[2000];
    memset (bytes, 'r', sizeof bytes);
    memcpy (bytes, s_upgraded, sizeof s_upgraded - 1);
    peer_send (&peer, bytes, sizeof bytes);
    expect_status (harness, stream, 101);
    size_t total = sizeof bytes - (sizeof s_upgraded - 1), length = 0;
    for (uint64_t granted = 300; length < total; granted += 100)
    {
        harness_barrier (harness, ACTOR_docker);
        free (probe_payload (harness, ACTOR_ingress, stream, &length));
        assert_true (length <= granted);
        probe_credit (harness, ACTOR_ingress, ACTOR_docker, stream, 100);
    }
    assert_int_equal (length, total);
    peer_free (&peer);
    end (harness, &engine);
}

/* ---------------------------------------------------------------------------------------------------------- watchdog
 */

static struct harness *begin_impatient (struct engine *engine, const struct engine_times *times)
{
    struct harness *harness = harness_prepare ();
    harness->configuration.engine_times = times;
    engine->listener = engine_listen (harness);
    harness_start (harness, &docker_class);
    discover (harness, engine);
    return harness;
}

static uint64_t milliseconds (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* Silence alone is no reason to give up; silence to /_ping is, for what waits for a head and for nothing else. */
static void gives_up_an_engine_that_hangs (void **state)
{
    (void) state;
    static const struct engine_times times = {.look = 20, .silence = 200, .answer = 1000, .stall = 60000};
    struct engine engine;
    struct harness *harness = begin_impatient (&engine, &times);
    uint64_t answered = ask (harness, "GET", "/events");
    struct peer events = engine_take (harness, &engine);
    peer_say (&events, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect_status (harness, answered, 200);
    uint64_t sending = ask_with (
        harness, (struct asked){.method = "POST", .target = "/build", .framing = FRAMING_LENGTH, .length = 1});
    struct peer build = engine_take (harness, &engine);

    uint64_t begun = milliseconds (), silent = ask (harness, "POST", "/containers/1/wait");
    struct peer wait = engine_take (harness, &engine), ping = engine_take (harness, &engine);
    assert_ptr_equal (strstr (ping.text, "GET /_ping HTTP/1.1\r\n"), ping.text);
    assert_true (milliseconds () - begun >= times.silence);
    for (int round = 0; round < 3; round++)
    {
        peer_clear (&ping);
        peer_say (&ping, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
        peer_await (harness, &ping, "GET /_ping HTTP/1.1\r\n");
    }
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_response, silent), 0);

    expect_error (harness, silent, 504, "Unable to proxy the request via the Docker socket", "not even to /_ping");
    assert_true (milliseconds () - begun >= times.silence + times.answer);
    peer_await_end (harness, &wait);
    peer_await_end (harness, &ping);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "hung"), 1);
    peer_say (&events, "2\r\n{}\r\n0\r\n\r\n");
    expect_end (harness, answered);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_response, sending), 0);
    probe_abort (harness, ACTOR_ingress, ACTOR_docker, sending);
    peer_await_end (harness, &build);
    peer_free (&events);
    peer_free (&build);
    peer_free (&wait);
    peer_free (&ping);
    end (harness, &engine);
}

struct reading
{
    struct peer *peer;
    uint64_t last;
};

/* The engine reads one piece after the other, each long before the time of a stall is over. */
static bool reads_on (struct harness *harness, void *data)
{
    (void) harness;
    struct reading *reading = data;
    char piece[100];
    if (milliseconds () - reading->last < 50)
        return false;
    reading->last = milliseconds ();
    return recv (reading->peer->fd, piece, sizeof piece, MSG_DONTWAIT) < 0;
}

/* The engine has said all and reads no more, and the end of the client stands behind bytes that nobody takes. */
static void ends_what_is_over_but_for_input (void **state)
{
    (void) state;
    static const struct engine_times times = {.look = 20, .silence = 60000, .answer = 60000, .stall = 1000};
    struct engine engine;
    struct harness *harness = begin_impatient (&engine, &times);
    struct peer peer, other;
    char piece[100] = "";
    uint64_t stream = hijack (harness, &engine, &peer, true), speaking = hijack (harness, &engine, &other, true);
    for (int round = 0; round < 30; round++)
        probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, slice_of (piece, sizeof piece));
    probe_body (harness, ACTOR_ingress, ACTOR_docker, speaking, SLICE ("unread, but the engine may still speak"));
    uint64_t begun = milliseconds ();
    shutdown (peer.fd, SHUT_WR);
    expect_end (harness, stream);
    struct reading reading = {&peer, begun};
    harness_until (harness, reads_on, &reading);
    assert_true (milliseconds () - begun > times.stall);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_abort, stream), 0);

    begun = milliseconds ();
    probe_body (harness, ACTOR_ingress, ACTOR_docker, stream, slice_of (piece, sizeof piece));
    probe_await (harness, ACTOR_ingress, MESSAGE_abort, stream);
    assert_true (milliseconds () - begun >= times.stall);
    peer_await_end (harness, &peer);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "stalled"), 1);
    assert_int_equal (harness_counter (harness, ACTOR_docker, "streams"), 1);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_abort, speaking), 0);
    probe_abort (harness, ACTOR_ingress, ACTOR_docker, speaking);
    peer_await_end (harness, &other);
    peer_free (&peer);
    peer_free (&other);
    end (harness, &engine);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (passes_request_and_answer, harness_teardown),
        cmocka_unit_test_teardown (framing_stays_as_the_engine_chose, harness_teardown),
        cmocka_unit_test_teardown (cuts_do_not_matter, harness_teardown),
        cmocka_unit_test_teardown (keeps_connections, harness_teardown),
        cmocka_unit_test_teardown (drops_spoilt_connections, harness_teardown),
        cmocka_unit_test_teardown (retries_what_may_be_repeated, harness_teardown),
        cmocka_unit_test_teardown (retries_once_only, harness_teardown),
        cmocka_unit_test_teardown (cut_answers_are_no_answers, harness_teardown),
        cmocka_unit_test_teardown (finds_an_engine_that_returns, harness_teardown),
        cmocka_unit_test_teardown (finds_its_address, harness_teardown),
        cmocka_unit_test_teardown (finds_its_service, harness_teardown),
        cmocka_unit_test_teardown (asks_again_when_told, harness_teardown),
        cmocka_unit_test_teardown (survives_nonsense_in_discovery, harness_teardown),
        cmocka_unit_test_teardown (passes_bodies, harness_teardown),
        cmocka_unit_test_teardown (slow_engine_holds_the_client, harness_teardown),
        cmocka_unit_test_teardown (respects_credit, harness_teardown),
        cmocka_unit_test_teardown (refuses_when_nothing_fits, harness_teardown),
        cmocka_unit_test_teardown (abort_closes_the_engines_side, harness_teardown),
        cmocka_unit_test_teardown (carries_raw_bytes, harness_teardown),
        cmocka_unit_test_teardown (hijackable_is_not_hijacked, harness_teardown),
        cmocka_unit_test_teardown (raw_bytes_obey_credit, harness_teardown),
        cmocka_unit_test_teardown (gives_up_an_engine_that_hangs, harness_teardown),
        cmocka_unit_test_teardown (ends_what_is_over_but_for_input, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
