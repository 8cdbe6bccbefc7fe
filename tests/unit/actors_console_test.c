/* actors_console_test - the console actor: WebSocket handshakes and frames on the client's side, hijacked requests on
 * the engine's; windows, pings, ends.
 */
#include "actor_harness.h"

#include "actors/console.h"

enum
{
    CLIENT_WINDOW = 16384,
};

/* ----------------------------------------------------------------------------------------------------- both other ends
 */

static struct console *console_of (struct harness *harness)
{
    return harness->runtime->reactors[0]->actors[ACTOR_console].self;
}

static struct harness *begin (void)
{
    struct harness *harness = harness_prepare ();
    harness_start (harness, &console_class);
    return harness;
}

struct handshake
{
    const char *target, *upgrade, *version, *key, *origin, *authority;
    enum framing framing;
    uint32_t window;
};

static uint64_t ask (struct harness *harness, struct handshake handshake)
{
    struct header headers[3];
    size_t count = 0;
    if (handshake.version)
        headers[count++] = (struct header){SLICE ("Sec-WebSocket-Version"), slice_from (handshake.version)};
    if (handshake.key)
        headers[count++] = (struct header){SLICE ("Sec-WebSocket-Key"), slice_from (handshake.key)};
    if (handshake.origin)
        headers[count++] = (struct header){SLICE ("Origin"), slice_from (handshake.origin)};
    union message_fields fields = {
        .request = {.method = SLICE ("GET"),
                    .client = ACTOR_ingress,
                    .target = slice_from (handshake.target),
                    .framing = handshake.framing,
                    .upgrade = slice_from (handshake.upgrade),
                    .source = SLICE ("192.0.2.1:1"),
                    .authority = slice_from (handshake.authority ? handshake.authority : "agent:9001"),
                    .window = handshake.window ? handshake.window : CLIENT_WINDOW,
                    .headers = {headers, count}}};
    uint64_t stream = ++harness->last_stream;
    probe_send (harness, ACTOR_router, ACTOR_console, MESSAGE_request, stream, &fields, SLICE (""));
    return stream;
}

static struct handshake good (const char *target)
{
    return (struct handshake){
        .target = target, .upgrade = "websocket", .version = "13", .key = "dGhlIHNhbXBsZSBub25jZQ=="};
}

static bool is (struct slice text, const char *expected)
{
    return slice_equal (text, slice_from (expected));
}

/* The client sends a frame, masked, whose first byte is first. */
static void client_frame (struct harness *harness, uint64_t stream, unsigned first, const char *payload, size_t length)
{
    static char bytes[70000];
    static const uint8_t mask[4] = {1, 0xf2, 3, 0x84};
    size_t at = 0;
    bytes[at++] = (char) first;
    bytes[at++] = (char) (0x80 | (length < 126 ? length : 126));
    if (length >= 126)
    {
        bytes[at++] = (char) (length >> 8);
        bytes[at++] = (char) length;
    }
    memcpy (bytes + at, mask, 4);
    at += 4;
    for (size_t index = 0; index < length; index++)
        bytes[at++] = (char) ((uint8_t) payload[index] ^ mask[index % 4]);
    probe_body (harness, ACTOR_ingress, ACTOR_console, stream, slice_of (bytes, at));
}

static void client_types (struct harness *harness, uint64_t stream, const char *text)
{
    client_frame (harness, stream, 0x81, text, strlen (text));
}

static void client_closes (struct harness *harness, uint64_t stream, unsigned code)
{
    char body[2] = {(char) (code >> 8), (char) code};
    client_frame (harness, stream, 0x88, body, 2);
}

/* What the client was sent, frame by frame: T and a text, P ping, Q pong, C close, each behind a bar. A frame that is
 * cut, masked, or no whole message is an error. The caller frees. */
static char *client_saw (struct harness *harness, uint64_t stream)
{
    size_t length, at = 0, out = 0;
    char *bytes = probe_payload (harness, ACTOR_ingress, stream, &length), *text = must (malloc (length * 2 + 16));
    text[0] = '\0';
    while (at < length)
    {
        assert_true (at + 2 <= length);
        uint8_t first = (uint8_t) bytes[at], second = (uint8_t) bytes[at + 1];
        size_t payload = second;
        at += 2;
        if (second == 126)
        {
            payload = (size_t) (uint8_t) bytes[at] << 8 | (uint8_t) bytes[at + 1];
            at += 2;
        }
        assert_true (second < 127 && at + payload <= length);
        const char *mark = first == 0x81 ? "T" : first == 0x89 ? "P" : first == 0x8a ? "Q" : first == 0x88 ? "C" : "?";
        const char *piece = bytes + at;
        out += (size_t) sprintf (text + out, "|%s", mark);
        if (*mark == 'C' && payload)
            out += (size_t) sprintf (text + out, "%u ", (unsigned) (uint8_t) piece[0] << 8 | (uint8_t) piece[1]);
        size_t skip = *mark == 'C' && payload ? 2 : 0;
        memcpy (text + out, piece + skip, payload - skip);
        out += payload - skip;
        text[out] = '\0';
        at += payload;
    }
    free (bytes);
    return text;
}

struct wanted_frames
{
    uint64_t stream;
    const char *end;
};

static bool saw_it (struct harness *harness, void *data)
{
    struct wanted_frames *wanted = data;
    char *text = client_saw (harness, wanted->stream);
    size_t length = strlen (text), end = strlen (wanted->end);
    bool there = length >= end && strcmp (text + length - end, wanted->end) == 0;
    free (text);
    return there;
}

/* Waits until these are the last frames, and checks that there are no others. */
static void client_expect (struct harness *harness, uint64_t stream, const char *expected)
{
    struct wanted_frames wanted = {stream, expected};
    bool reached = harness_try (harness, saw_it, &wanted);
    char *text = client_saw (harness, stream);
    if (!reached || strcmp (text, expected) != 0)
        fail_msg ("%s instead of %s", text, expected);
    free (text);
}

static void engine_responds (struct harness *harness, uint64_t stream, unsigned status, enum framing framing,
                             const char *type)
{
    struct header header = {SLICE ("Content-Type"), slice_from (type)};
    union message_fields fields = {.response = {.status = status,
                                                .framing = framing,
                                                .upgrade = status == 101 ? SLICE ("tcp") : SLICE (""),
                                                .headers = {&header, 1}}};
    probe_send (harness, ACTOR_docker, ACTOR_console, MESSAGE_response, stream, &fields, SLICE (""));
}

static void engine_says (struct harness *harness, uint64_t stream, struct slice bytes)
{
    probe_body (harness, ACTOR_docker, ACTOR_console, stream, bytes);
}

static void engine_credits (struct harness *harness, uint64_t stream, uint64_t bytes)
{
    probe_credit (harness, ACTOR_docker, ACTOR_console, stream, bytes);
}

static void engine_ends (struct harness *harness, uint64_t stream)
{
    probe_end (harness, ACTOR_docker, ACTOR_console, stream);
}

/* An answer with a body of text, as the engine and docker make them. */
static void engine_answers (struct harness *harness, uint64_t stream, unsigned status, const char *text)
{
    engine_responds (harness, stream, status, FRAMING_LENGTH, "application/json");
    engine_says (harness, stream, slice_from (text));
    engine_ends (harness, stream);
}

static struct seen *engine_asked (struct harness *harness)
{
    return probe_await (harness, ACTOR_docker, MESSAGE_request, 0);
}

/* A console of an exec, open on both sides. */
struct opened
{
    uint64_t client, engine;
};

static struct opened open_exec_within (struct harness *harness, uint32_t window)
{
    struct handshake handshake = good ("/websocket/exec?id=0123456789abcdef");
    handshake.window = window;
    struct opened opened = {.client = ask (harness, handshake)};
    probe_await (harness, ACTOR_ingress, MESSAGE_response, opened.client);
    opened.engine = engine_asked (harness)->envelope.stream;
    engine_credits (harness, opened.engine, 16384);
    probe_await (harness, ACTOR_docker, MESSAGE_end, opened.engine);
    engine_responds (harness, opened.engine, 101, FRAMING_RAW, "application/vnd.docker.raw-stream");
    return opened;
}

static struct opened open_exec (struct harness *harness)
{
    return open_exec_within (harness, CLIENT_WINDOW);
}

static const char s_start[] = "{\"Tty\":true,\"Detach\":false}";

/* What the engine got after the body of the start. */
static void engine_expect (struct harness *harness, uint64_t stream, const char *expected)
{
    char *all = must (malloc (sizeof s_start + strlen (expected)));
    strcpy (all, s_start);
    strcat (all, expected);
    probe_expect_payload (harness, ACTOR_docker, stream, slice_from (all));
    free (all);
}

static size_t sent_to (struct harness *harness, enum actor_id to, uint64_t stream)
{
    size_t length;
    free (probe_payload (harness, to, stream, &length));
    return length;
}

static uint64_t granted (struct harness *harness, enum actor_id to, uint64_t stream)
{
    uint64_t bytes = 0;
    for (size_t index = 0; index < harness->seen_count; index++)
    {
        const struct seen *seen = harness->seen[index];
        if (seen->envelope.to == to && seen->envelope.stream == stream && seen->envelope.type == MESSAGE_credit)
            bytes += seen->fields.credit.bytes;
    }
    return bytes;
}

static void expect_gone (struct harness *harness, struct opened opened)
{
    probe_await (harness, ACTOR_ingress, MESSAGE_end, opened.client);
    probe_await (harness, ACTOR_ingress, MESSAGE_abort, opened.client);
    assert_int_equal (harness_counter (harness, ACTOR_console, "consoles"), 0);
}

/* --------------------------------------------------------------------------------------------------------- handshakes
 */

static void refuses_what_is_no_handshake (void **state)
{
    (void) state;
    static const char hexadecimal[] = "Invalid query parameter: id (must be hexadecimal identifier)";
    static char long_target[300] = "/websocket/exec?id=";
    memset (long_target + strlen (long_target), 'a', CONSOLE_ID_MAX + 1);
    struct handshake no_upgrade = good ("/websocket/exec?id=00"), tcp = no_upgrade, version = no_upgrade,
                     no_version = no_upgrade, no_key = no_upgrade, key = no_upgrade, body = no_upgrade,
                     origin = no_upgrade, null = no_upgrade, both = good ("/websocket/exec");
    no_upgrade.upgrade = NULL;
    tcp.upgrade = "tcp";
    version.version = "8";
    no_version.version = NULL;
    no_key.key = NULL;
    key.key = "short";
    body.framing = FRAMING_CHUNKED;
    origin.origin = "https://evil.example";
    null.origin = "null";
    both.upgrade = NULL;
    const struct
    {
        struct handshake handshake;
        unsigned status;
        const char *message, *details; /* JSON, or a part of a text */
    } rows[] = {
        {good ("/websocket/exec"), 400, "Invalid query parameter: id", "Missing query parameter"},
        {good ("/v2/websocket/attach"), 400, "Invalid query parameter: id", "Missing query parameter"},
        {good ("/websocket/exec?id="), 400, "Invalid query parameter: id", "Missing query parameter"},
        {good ("/websocket/exec?identity=00"), 400, "Invalid query parameter: id", "Missing query parameter"},
        {good ("/websocket/exec?id=xyz"), 400, hexadecimal, hexadecimal},
        {good ("/websocket/attach?id=a/b"), 400, hexadecimal, hexadecimal},
        {good ("/websocket/attach?id=ab%2F"), 400, hexadecimal, hexadecimal},
        {good (long_target), 400, hexadecimal, hexadecimal},
        {both, 400, "Invalid query parameter: id", "Missing query parameter"}, /* the id is looked at first */
        {no_upgrade, 400, "Upgrade: websocket", NULL},
        {tcp, 400, "Upgrade: websocket", NULL},
        {version, 400, "Sec-WebSocket-Version", NULL},
        {no_version, 400, "Sec-WebSocket-Version", NULL},
        {no_key, 400, "Sec-WebSocket-Key", NULL},
        {key, 400, "Sec-WebSocket-Key", NULL},
        {body, 400, "body", NULL},
        {origin, 403, "Origin", NULL},
        {null, 403, "Origin", NULL},
    };
    struct harness *harness = begin ();
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        uint64_t stream = ask (harness, rows[row].handshake);
        const struct message_response *response =
            &probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response;
        probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
        size_t length;
        char *text = probe_payload (harness, ACTOR_ingress, stream, &length);
        if (response->status != rows[row].status || response->length != length || !strstr (text, rows[row].message))
            fail_msg ("row %zu: %u %s", row, (unsigned) response->status, text);
        struct slice type = headers_find (response->headers, SLICE ("Content-Type"));
        struct slice spoken = headers_find (response->headers, SLICE ("Sec-WebSocket-Version"));
        if (rows[row].details)
        {
            json_t *object = json_loads (text, 0, NULL);
            assert_string_equal (json_string_value (json_object_get (object, "message")), rows[row].message);
            assert_string_equal (json_string_value (json_object_get (object, "details")), rows[row].details);
            assert_int_equal (json_object_size (object), 2);
            json_decref (object);
            assert_true (is (type, "application/json"));
        }
        else
        {
            assert_true (is (type, "text/plain; charset=utf-8"));
            assert_true (is (spoken, "13"));
        }
        free (text);
    }
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_request, 0), 0);
    assert_int_equal (harness_counter (harness, ACTOR_console, "refused"), sizeof rows / sizeof *rows);
    assert_int_equal (harness_counter (harness, ACTOR_console, "opened"), 0);
    harness_destroy (harness);
}

static void accepts_handshakes (void **state)
{
    (void) state;
    struct handshake same = good ("/websocket/exec?id=00"), other = good ("/websocket/attach?id=00"),
                     many = good ("/v1/websocket/exec?token=x&id=ABCDEFabcdef0123456789&endpointId=1&nodeName=n");
    same.origin = "https://agent:9001";
    other.origin = "https://evil.example"; /* attach does not look */
    const struct handshake rows[] = {same, other, many};
    struct harness *harness = begin ();
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        uint64_t stream = ask (harness, rows[row]);
        const struct message_response *response =
            &probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response;
        assert_int_equal (response->status, 101);
        assert_int_equal (response->framing, FRAMING_RAW);
        assert_true (is (response->upgrade, "websocket"));
        assert_int_equal (response->headers.count, 1); /* no subprotocol, no extension */
        assert_true (
            is (headers_find (response->headers, SLICE ("Sec-WebSocket-Accept")), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_int_equal (probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream)->fields.credit.bytes,
                          WINDOW_FIRST);
        probe_abort (harness, ACTOR_ingress, ACTOR_console, stream);
    }
    harness_destroy (harness);
}

static void keeps_its_limits (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    console_of (harness)->most = 1;
    struct opened opened = open_exec (harness);
    uint64_t over = ask (harness, good ("/websocket/exec?id=00"));
    assert_int_equal (probe_await (harness, ACTOR_ingress, MESSAGE_response, over)->fields.response.status, 503);
    probe_abort (harness, ACTOR_ingress, ACTOR_console, opened.client);
    harness_barrier (harness, ACTOR_console);
    /* All payload of the agent is in use: for one window there is room, for two there is not. */
    atomic_store (&harness->budget.used, harness->budget.total - WINDOW_LEAST);
    over = ask (harness, good ("/websocket/exec?id=00"));
    assert_int_equal (probe_await (harness, ACTOR_ingress, MESSAGE_response, over)->fields.response.status, 503);
    assert_int_equal (atomic_load (&harness->budget.used), harness->budget.total - WINDOW_LEAST);
    atomic_store (&harness->budget.used, 0);
    assert_int_equal (harness_counter (harness, ACTOR_console, "over_limit"), 2);
    assert_int_equal (harness_counter (harness, ACTOR_console, "consoles"), 0);
    open_exec (harness);
    harness_destroy (harness);
}

/* ----------------------------------------------------------------------------------------------------- opening a
 * stream
 */

static void starts_an_exec (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = {.client = ask (harness, good ("/websocket/exec?id=0123456789abcdef&token=secret"))};
    struct seen *seen = engine_asked (harness);
    const struct message_request *request = &seen->fields.request;
    opened.engine = seen->envelope.stream;
    assert_int_equal (opened.engine >> 62, 1);
    uint8_t trace[TRACE_BYTES] = {1, 2, 3, (uint8_t) opened.client};
    assert_memory_equal (seen->envelope.trace, trace, TRACE_BYTES);
    assert_true (is (request->method, "POST"));
    assert_true (is (request->target, "/exec/0123456789abcdef/start"));
    assert_int_equal (request->framing, FRAMING_LENGTH);
    assert_int_equal (request->length, sizeof s_start - 1);
    assert_true (is (request->upgrade, "tcp"));
    assert_true (request->hijackable);
    assert_int_equal (request->client, ACTOR_console);
    assert_int_equal (request->window, WINDOW_FIRST);
    assert_int_equal (request->headers.count, 1);
    assert_true (is (headers_find (request->headers, SLICE ("Content-Type")), "application/json"));
    /* Nothing of a body before docker has said that somebody is there. */
    client_types (harness, opened.client, "early ");
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (sent_to (harness, ACTOR_docker, opened.engine), 0);
    engine_credits (harness, opened.engine, 16384);
    probe_await (harness, ACTOR_docker, MESSAGE_end, opened.engine);
    engine_expect (harness, opened.engine, "");
    /* Credit for the start's body is none for what is typed. */
    engine_responds (harness, opened.engine, 101, FRAMING_RAW, "application/vnd.docker.raw-stream");
    harness_barrier (harness, ACTOR_console);
    engine_expect (harness, opened.engine, "");
    engine_credits (harness, opened.engine, 16384);
    engine_expect (harness, opened.engine, "early ");
    client_types (harness, opened.client, "late");
    engine_expect (harness, opened.engine, "early late");
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_end, opened.engine), 1);
    harness_destroy (harness);
}

static void attaches (void **state)
{
    (void) state;
    static const struct
    {
        const char *described, *type;
        bool frames;
    } rows[] = {
        {"{\"Id\":\"x\",\"Config\":{\"Tty\":true}}", "application/vnd.docker.raw-stream", false},
        {"{\"Id\":\"x\",\"Config\":{\"Tty\":false}}", "application/vnd.docker.raw-stream", true},
        {"{\"Id\":\"x\",\"Config\":{\"Tty\":false}}", "application/vnd.docker.multiplexed-stream", true},
        {"{\"Id\":\"x\",\"Config\":{\"Tty\":true}}", "application/vnd.docker.multiplexed-stream", true},
    };
    struct harness *harness = begin ();
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        uint64_t client = ask (harness, good ("/websocket/attach?id=0123456789abcdef"));
        struct seen *seen = engine_asked (harness);
        uint64_t first = seen->envelope.stream;
        assert_true (is (seen->fields.request.method, "GET"));
        assert_true (is (seen->fields.request.target, "/containers/0123456789abcdef/json"));
        assert_int_equal (seen->fields.request.framing, FRAMING_NONE);
        assert_false (seen->fields.request.hijackable);
        assert_int_equal (seen->fields.request.upgrade.len, 0);
        client_types (harness, client, "early");
        engine_responds (harness, first, 200, FRAMING_CHUNKED, "application/json");
        size_t half = strlen (rows[row].described) / 2; /* in two pieces */
        engine_says (harness, first, slice_of (rows[row].described, half));
        engine_says (harness, first, slice_from (rows[row].described + half));
        engine_ends (harness, first);
        seen = engine_asked (harness);
        uint64_t second = seen->envelope.stream;
        assert_int_not_equal (first, second);
        assert_true (is (seen->fields.request.method, "POST"));
        assert_true (
            is (seen->fields.request.target, "/containers/0123456789abcdef/attach?stdin=1&stdout=1&stderr=1&stream=1"));
        assert_int_equal (seen->fields.request.framing, FRAMING_NONE);
        assert_true (is (seen->fields.request.upgrade, "tcp"));
        assert_true (seen->fields.request.hijackable);
        assert_int_equal (seen->fields.request.window, WINDOW_FIRST);
        engine_responds (harness, second, 101, FRAMING_RAW, rows[row].type);
        engine_credits (harness, second, 100);
        probe_expect_payload (harness, ACTOR_docker, second, SLICE ("early"));
        if (rows[row].frames)
        {
            /* A character of output is split by a piece of errors. */
            engine_says (harness, second, SLICE ("\1\0\0\0\0\0\0\2a\xc3\2\0\0\0\0\0\0\1!\1\0\0\0"));
            engine_says (harness, second, SLICE ("\0\0\0\1\xa9"));
            client_expect (harness, client, "|Ta!|T\xc3\xa9");
        }
        else
        {
            engine_says (harness, second, SLICE ("\1\0\0\0\0\0\0\1"));
            engine_says (harness, second, SLICE ("text"));
            size_t length;
            struct wanted_payload wanted = {ACTOR_ingress, client, 16};
            harness_until (harness, has_payload, &wanted);
            char *all = probe_payload (harness, ACTOR_ingress, client, &length);
            assert_int_equal (length, 16);
            assert_memory_equal (all, "\x81\x08\1\0\0\0\0\0\0\1\x81\x04text", 16);
            free (all);
        }
        probe_abort (harness, ACTOR_ingress, ACTOR_console, client);
        probe_await (harness, ACTOR_docker, MESSAGE_abort, second);
        harness_forget_seen (harness);
    }
    harness_destroy (harness);
}

static void closes_when_frames_are_none (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = {.client = ask (harness, good ("/websocket/attach?id=00"))};
    engine_answers (harness, engine_asked (harness)->envelope.stream, 200, "{\"Config\":{\"Tty\":false}}");
    opened.engine = engine_asked (harness)->envelope.stream;
    engine_responds (harness, opened.engine, 101, FRAMING_RAW, "application/vnd.docker.raw-stream");
    engine_says (harness, opened.engine, SLICE ("\1\0\0\0\0\0\0\2ok$ ls -la /"));
    client_expect (harness, opened.client, "|Tok|C1011 the engine's stream of output and errors is malformed");
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    harness_destroy (harness);
}

/* The engine's words become the reason. */
static void tells_why_the_engine_refuses (void **state)
{
    (void) state;
    static char long_message[400], long_expected[200];
    snprintf (long_message, sizeof long_message, "{\"message\":\"%0300d\"}", 7);
    snprintf (long_expected, sizeof long_expected, "|C1011 %0123d", 0);
    static const struct
    {
        const char *target;
        unsigned status;
        const char *text, *expected;
    } rows[] = {
        {"/websocket/exec?id=00", 404, "{\"message\":\"No such exec instance: 00\"}\n",
         "|C1011 No such exec instance: 00"},
        {"/websocket/exec?id=00", 409, "{\"message\":\"Container 1 is paused\"}", "|C1011 Container 1 is paused"},
        {"/websocket/exec?id=00", 502,
         "{\"message\":\"Unable to proxy the request via the Docker socket\",\"details\":\"cannot connect\"}",
         "|C1011 Unable to proxy the request via the Docker socket: cannot connect"},
        {"/websocket/attach?id=00", 409, "Container 1 is paused\r\nmore", "|C1011 Container 1 is paused"},
        {"/websocket/exec?id=00", 500, "<html>\n", "|C1011 the engine answered with status 500"},
        {"/websocket/exec?id=00", 500, "\x1b[2J", "|C1011 the engine answered with status 500"},
        {"/websocket/exec?id=00", 500, "", "|C1011 the engine answered with status 500"},
        {"/websocket/exec?id=00", 500, "[]", "|C1011 the engine answered with status 500"},
        {"/websocket/exec?id=00", 200, "{}", "|C1011 the engine answered with status 200"}, /* detached? */
        {"/websocket/exec?id=00", 400, long_message, long_expected},
        {"/websocket/attach?id=00", 404, "{\"message\":\"No such container: 00\"}", "|C1011 No such container: 00"},
        {"/websocket/attach?id=00", 200, "not JSON",
         "|C1011 the engine does not say whether the container has a terminal"},
        {"/websocket/attach?id=00", 200, "{\"Config\":{}}",
         "|C1011 the engine does not say whether the container has a terminal"},
    };
    struct harness *harness = begin ();
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct opened opened = {.client = ask (harness, good (rows[row].target))};
        opened.engine = engine_asked (harness)->envelope.stream;
        client_types (harness, opened.client, "nobody will read this");
        engine_answers (harness, opened.engine, rows[row].status, rows[row].text);
        client_expect (harness, opened.client, rows[row].expected);
        assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_end, opened.client), 0);
        client_closes (harness, opened.client, 1011);
        expect_gone (harness, opened);
        client_expect (harness, opened.client, rows[row].expected); /* one close frame is enough */
        harness_forget_seen (harness);
    }
    /* Attach: the container was there, but has stopped since. */
    uint64_t client = ask (harness, good ("/websocket/attach?id=00"));
    engine_answers (harness, engine_asked (harness)->envelope.stream, 200, "{\"Config\":{\"Tty\":true}}");
    engine_answers (harness, engine_asked (harness)->envelope.stream, 409, "{\"message\":\"start it first\"}");
    client_expect (harness, client, "|C1011 start it first");
    harness_destroy (harness);
}

static void a_long_refusal_costs_little (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    char *piece = must (malloc (WINDOW_FIRST));
    memset (piece, '<', WINDOW_FIRST);
    struct opened opened = {.client = ask (harness, good ("/websocket/exec?id=00"))};
    opened.engine = engine_asked (harness)->envelope.stream;
    engine_responds (harness, opened.engine, 500, FRAMING_CLOSE, "text/plain");
    for (int count = 0; count < 20; count++)
        engine_says (harness, opened.engine, slice_of (piece, 8192));
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (console_of (harness)->sessions->answer_length, CONSOLE_REFUSAL_MAX);
    engine_ends (harness, opened.engine);
    client_expect (harness, opened.client, "|C1011 the engine answered with status 500");
    /* What describes a container has a limit too, and credit for more is granted up to it. */
    opened.client = ask (harness, good ("/websocket/attach?id=00"));
    opened.engine = engine_asked (harness)->envelope.stream;
    engine_responds (harness, opened.engine, 200, FRAMING_CHUNKED, "application/json");
    for (int count = 0; count < CONSOLE_INSPECT_MAX / WINDOW_FIRST; count++)
        engine_says (harness, opened.engine, slice_of (piece, WINDOW_FIRST));
    harness_barrier (harness, ACTOR_console);
    assert_true (granted (harness, ACTOR_docker, opened.engine) >= CONSOLE_INSPECT_MAX - WINDOW_FIRST);
    assert_int_equal (sent_to (harness, ACTOR_ingress, opened.client), 0);
    engine_says (harness, opened.engine, slice_of (piece, 1));
    client_expect (harness, opened.client, "|C1011 what the engine says of the container is too long");
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    free (piece);
    harness_destroy (harness);
}

/* -------------------------------------------------------------------------------------------------------------- bytes
 */

static void passes_input_as_it_is (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec (harness);
    engine_credits (harness, opened.engine, 16384);
    client_frame (harness, opened.client, 0x02, "\xff\x01", 2); /* binary, in fragments, a ping between */
    client_frame (harness, opened.client, 0x89, "hi", 2);
    client_frame (harness, opened.client, 0x80, "\x80z", 2);
    client_types (harness, opened.client, "ls\xc3\xa9\r");
    client_types (harness, opened.client, "");
    engine_expect (harness, opened.engine, "\xff\x01\x80zls\xc3\xa9\r");
    client_expect (harness, opened.client, "|Qhi");
    harness_destroy (harness);
}

static void makes_text_of_output (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec (harness);
    engine_says (harness, opened.engine, SLICE ("plain"));
    engine_says (harness, opened.engine, SLICE ("\xf0\x9f"));
    engine_says (harness, opened.engine, SLICE ("\x90"));
    engine_says (harness, opened.engine, SLICE ("\x9f|"));
    engine_says (harness, opened.engine,
                 SLICE ("a\xff\xfe"
                        "b\xc3"));
    engine_says (harness, opened.engine, SLICE ("c"));
    engine_ends (harness, opened.engine);
    client_expect (harness, opened.client, "|Tplain|T\xf0\x9f\x90\x9f||Tab|Tc|C1000 ");
    harness_destroy (harness);
}

/* The client takes little: what waits is within the window, the engine gets no credit, no frame and no character is
 * split, and the client's credit is never exceeded. */
static void output_waits_for_a_slow_client (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec_within (harness, 20);
    char *piece = must (malloc (WINDOW_FIRST)), *got;
    for (size_t index = 0; index < WINDOW_FIRST; index += 4)
        memcpy (piece + index, "\xf0\x9f\x90\x9f", 4);
    engine_says (harness, opened.engine, slice_of (piece, WINDOW_FIRST));
    engine_ends (harness, opened.engine);
    harness_barrier (harness, ACTOR_console);
    client_expect (harness, opened.client, "|T\xf0\x9f\x90\x9f\xf0\x9f\x90\x9f");
    assert_int_equal (harness_counter (harness, ACTOR_console, "waiting_bytes"), WINDOW_FIRST - 8);
    assert_int_equal (granted (harness, ACTOR_docker, opened.engine), 0);
    uint64_t credit = 20;
    for (int turn = 0; turn < 200; turn++)
    {
        uint64_t more = (uint64_t) (turn % 29 + 1) * 13;
        credit += more;
        probe_credit (harness, ACTOR_ingress, ACTOR_console, opened.client, more);
        harness_barrier (harness, ACTOR_console);
        assert_true (sent_to (harness, ACTOR_ingress, opened.client) <= credit);
    }
    probe_credit (harness, ACTOR_ingress, ACTOR_console, opened.client, 100000);
    probe_credit (harness, ACTOR_ingress, ACTOR_console, opened.client, 100000);
    struct wanted_frames wanted = {opened.client, "|C1000 "};
    harness_until (harness, saw_it, &wanted);
    got = client_saw (harness, opened.client);
    /* Every text frame is whole characters; together they are all that there was. */
    size_t fish = 0;
    for (const char *at = got; strcmp (at, "|C1000 ") != 0;)
        if (at[0] == '|' && at[1] == 'T')
            at += 2;
        else
        {
            assert_memory_equal (at, "\xf0\x9f\x90\x9f", 4);
            at += 4;
            fish++;
        }
    assert_int_equal (fish, WINDOW_FIRST / 4);
    free (got);
    free (piece);
    harness_destroy (harness);
}

static void output_is_granted_as_the_client_takes_it (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec_within (harness, 1000);
    char piece[8192];
    memset (piece, 'o', sizeof piece);
    engine_says (harness, opened.engine, slice_of (piece, sizeof piece));
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (granted (harness, ACTOR_docker, opened.engine), 0);
    probe_credit (harness, ACTOR_ingress, ACTOR_console, opened.client, 20000);
    probe_await (harness, ACTOR_docker, MESSAGE_credit, opened.engine);
    /* Output that is no text at all is granted again as well, or the engine would stand still. */
    memset (piece, 0xff, sizeof piece);
    for (int count = 0; count < 100; count++)
        engine_says (harness, opened.engine, slice_of (piece, sizeof piece));
    harness_barrier (harness, ACTOR_console);
    assert_true (granted (harness, ACTOR_docker, opened.engine) > 700000);
    harness_destroy (harness);
}

/* The engine takes little: what was typed waits within the window, and the client gets no credit for more. */
static void input_waits_for_a_slow_engine (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec (harness);
    char paste[8000];
    memset (paste, 'p', sizeof paste);
    client_frame (harness, opened.client, 0x81, paste, sizeof paste);
    client_frame (harness, opened.client, 0x81, paste, sizeof paste);
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (harness_counter (harness, ACTOR_console, "waiting_bytes"), 2 * sizeof paste);
    assert_int_equal (granted (harness, ACTOR_ingress, opened.client), WINDOW_FIRST);
    engine_credits (harness, opened.engine, 5);
    engine_expect (harness, opened.engine, "ppppp");
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (sent_to (harness, ACTOR_docker, opened.engine), sizeof s_start - 1 + 5);
    engine_credits (harness, opened.engine, 100000);
    struct wanted_payload wanted = {ACTOR_docker, opened.engine, sizeof s_start - 1 + 2 * sizeof paste};
    harness_until (harness, has_payload, &wanted);
    harness_barrier (harness, ACTOR_console);
    assert_true (granted (harness, ACTOR_ingress, opened.client) >= WINDOW_FIRST + 2 * sizeof paste);
    /* The close frame of a client whose bytes wait is heard. */
    client_frame (harness, opened.client, 0x81, paste, sizeof paste);
    client_closes (harness, opened.client, 1000);
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    harness_destroy (harness);
}

/* The window is full of what the engine did not take when it ends: the client must be able to send its close frame. */
static void input_is_thrown_away_at_the_end (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec (harness);
    char paste[WINDOW_FIRST - 8];
    memset (paste, 'p', sizeof paste);
    client_frame (harness, opened.client, 0x81, paste, sizeof paste); /* 8 bytes before it: the whole window */
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (granted (harness, ACTOR_ingress, opened.client), WINDOW_FIRST);
    engine_ends (harness, opened.engine);
    client_expect (harness, opened.client, "|C1000 ");
    assert_true (granted (harness, ACTOR_ingress, opened.client) >= 2 * WINDOW_FIRST);
    /* And so is what comes after it. */
    for (uint64_t count = 2; count < 6; count++)
    {
        client_frame (harness, opened.client, 0x81, paste, sizeof paste);
        assert_int_equal (harness_counter (harness, ACTOR_console, "waiting_bytes"), 0);
        assert_true (granted (harness, ACTOR_ingress, opened.client) >= count * WINDOW_FIRST);
    }
    client_closes (harness, opened.client, 1000);
    expect_gone (harness, opened);
    assert_int_equal (sent_to (harness, ACTOR_docker, opened.engine), sizeof s_start - 1);
    harness_destroy (harness);
}

/* A flood of pings costs one pong. */
static void only_the_latest_pong_waits (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec_within (harness, 1);
    for (int count = 0; count < 100; count++)
        client_frame (harness, opened.client, 0x89, count < 99 ? "old" : "new", 3);
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (sent_to (harness, ACTOR_ingress, opened.client), 0);
    probe_credit (harness, ACTOR_ingress, ACTOR_console, opened.client, 1000);
    client_expect (harness, opened.client, "|Qnew");
    harness_destroy (harness);
}

/* ---------------------------------------------------------------------------------------------------------------- ends
 */

static void late_output_goes_before_the_close_frame (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec_within (harness, 15);
    engine_says (harness, opened.engine, SLICE ("quick command"));
    engine_ends (harness, opened.engine);
    harness_barrier (harness, ACTOR_console);
    client_expect (harness, opened.client, "|Tquick");
    probe_credit (harness, ACTOR_ingress, ACTOR_console, opened.client, 1000);
    client_expect (harness, opened.client, "|Tquick|T command|C1000 ");
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_abort, opened.engine), 1);
    assert_int_equal (harness_counter (harness, ACTOR_console, "ended"), 1);
    client_closes (harness, opened.client, 1000);
    expect_gone (harness, opened);
    harness_destroy (harness);
}

static void a_close_frame_waits_for_credit (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec_within (harness, 3);
    engine_ends (harness, opened.engine);
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (sent_to (harness, ACTOR_ingress, opened.client), 0);
    probe_credit (harness, ACTOR_ingress, ACTOR_console, opened.client, 1);
    client_expect (harness, opened.client, "|C1000 ");
    harness_destroy (harness);
}

static void answers_a_close_frame_with_its_code (void **state)
{
    (void) state;
    static const unsigned codes[] = {1000, 1001, 4000, 0};
    struct harness *harness = begin ();
    for (size_t row = 0; row < sizeof codes / sizeof *codes; row++)
    {
        struct opened opened = open_exec (harness);
        char expected[16] = "|C";
        if (codes[row])
            snprintf (expected, sizeof expected, "|C%u ", codes[row]);
        if (codes[row])
            client_closes (harness, opened.client, codes[row]);
        else
            client_frame (harness, opened.client, 0x88, "", 0);
        probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
        expect_gone (harness, opened);
        client_expect (harness, opened.client, expected);
    }
    assert_int_equal (harness_counter (harness, ACTOR_console, "client_closed"), 4);
    harness_destroy (harness);
}

/* Output that waits is of no use to a client that closes. */
static void a_close_frame_does_not_wait_for_output (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec_within (harness, 200);
    char piece[8192];
    memset (piece, 'o', sizeof piece);
    engine_says (harness, opened.engine, slice_of (piece, sizeof piece));
    harness_barrier (harness, ACTOR_console);
    client_closes (harness, opened.client, 1000);
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    probe_credit (harness, ACTOR_ingress, ACTOR_console, opened.client, 127);
    expect_gone (harness, opened);
    char *text = client_saw (harness, opened.client);
    assert_string_equal (text + strlen (text) - 8, "o|C1000 ");
    assert_true (strlen (text) < 250);
    free (text);
    harness_destroy (harness);
}

static void breaks_with_who_breaks_the_protocol (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec (harness);
    probe_body (harness, ACTOR_ingress, ACTOR_console, opened.client, SLICE ("\x81\x05hello")); /* not masked */
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    expect_gone (harness, opened);
    client_expect (harness, opened.client, "|C1002 a client must mask its frames");
    opened = open_exec (harness);
    client_types (harness, opened.client, "\xff");
    expect_gone (harness, opened);
    client_expect (harness, opened.client, "|C1007 a text message is not UTF-8; send a binary one");
    assert_int_equal (harness_counter (harness, ACTOR_console, "protocol_errors"), 2);
    harness_destroy (harness);
}

static void a_client_that_goes_ends_the_engines_side (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec (harness);
    probe_abort (harness, ACTOR_ingress, ACTOR_console, opened.client);
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    /* What comes too late is dropped. */
    engine_says (harness, opened.engine, SLICE ("late"));
    client_types (harness, opened.client, "late");
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (sent_to (harness, ACTOR_ingress, opened.client), 0);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_end, opened.client), 0);
    /* TLS ends without a close frame; while the engine is still asked. */
    opened = open_exec (harness);
    probe_end (harness, ACTOR_ingress, ACTOR_console, opened.client);
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    expect_gone (harness, opened);
    opened.client = ask (harness, good ("/websocket/attach?id=00"));
    opened.engine = engine_asked (harness)->envelope.stream;
    client_closes (harness, opened.client, 1000);
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    expect_gone (harness, opened);
    assert_int_equal (harness_counter (harness, ACTOR_console, "aborted"), 2);
    harness_destroy (harness);
}

static void an_engine_that_breaks_off_closes_with_why (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec (harness);
    engine_says (harness, opened.engine, SLICE ("text"));
    probe_abort (harness, ACTOR_docker, ACTOR_console, opened.engine);
    client_expect (harness, opened.client, "|Ttext|C1011 test");
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_abort, opened.engine), 0);
    harness_destroy (harness);
}

static bool is_over (struct harness *harness, void *data)
{
    (void) data;
    return console_of (harness)->count == 0;
}

static void a_client_that_does_not_answer_a_close_frame_is_left (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    console_of (harness)->close_time = 10;
    struct opened opened = open_exec (harness);
    engine_ends (harness, opened.engine);
    harness_until (harness, is_over, NULL);
    expect_gone (harness, opened);
    harness_destroy (harness);
}

/* --------------------------------------------------------------------------------------------------------------- pings
 */

static void pings_and_closes_when_nobody_answers (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    console_of (harness)->ping_time = 20;
    struct opened opened = open_exec (harness);
    client_expect (harness, opened.client, "|P|P|C1001 no answer to pings");
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_abort, opened.engine), 1);
    assert_int_equal (harness_counter (harness, ACTOR_console, "unanswered"), 1);
    harness_destroy (harness);
}

static bool answered_five (struct harness *harness, void *data)
{
    struct opened *opened = data;
    static size_t answered;
    size_t pings = sent_to (harness, ACTOR_ingress, opened->client) / 2;
    for (; answered < pings; answered++)
        client_frame (harness, opened->client, 0x8a, "", 0);
    return pings >= 5;
}

static void a_client_that_answers_stays (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    console_of (harness)->ping_time = 100;
    struct opened opened = open_exec (harness);
    harness_until (harness, answered_five, &opened);
    assert_int_equal (harness_counter (harness, ACTOR_console, "consoles"), 1);
    assert_int_equal (harness_counter (harness, ACTOR_console, "unanswered"), 0);
    harness_destroy (harness);
}

static bool pinged_five (struct harness *harness, void *data)
{
    struct opened *opened = data;
    return sent_to (harness, ACTOR_ingress, opened->client) >= 10;
}

/* Its pong is stuck behind a paste that the engine does not take. */
static void a_client_whose_bytes_wait_stays (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    console_of (harness)->ping_time = 100;
    struct opened opened = open_exec (harness);
    client_types (harness, opened.client, "nobody takes this");
    harness_until (harness, pinged_five, &opened);
    assert_int_equal (harness_counter (harness, ACTOR_console, "unanswered"), 0);
    harness_destroy (harness);
}

static bool took_five_pings (struct harness *harness, void *data)
{
    struct opened *opened = data;
    probe_credit (harness, ACTOR_ingress, ACTOR_console, opened->client, 20);
    char *text = client_saw (harness, opened->client);
    size_t pings = 0;
    for (const char *at = text; (at = strstr (at, "|P")); at++)
        pings++;
    free (text);
    return pings >= 5;
}

/* Its pong comes behind the output that it has not read yet. */
static void a_slow_client_stays (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    console_of (harness)->ping_time = 100;
    struct opened opened = open_exec_within (harness, 20);
    char piece[WINDOW_FIRST];
    memset (piece, 'o', sizeof piece);
    engine_says (harness, opened.engine, slice_of (piece, sizeof piece));
    harness_until (harness, took_five_pings, &opened);
    assert_true (harness_counter (harness, ACTOR_console, "waiting_bytes") > 0);
    assert_int_equal (harness_counter (harness, ACTOR_console, "unanswered"), 0);
    harness_destroy (harness);
}

/* A client that takes nothing at all, not even the close frame. */
static void a_client_that_reads_nothing_is_left (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    console_of (harness)->ping_time = 20;
    struct opened opened = open_exec_within (harness, 1);
    engine_says (harness, opened.engine, SLICE ("text"));
    harness_until (harness, is_over, NULL);
    expect_gone (harness, opened);
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    harness_destroy (harness);
}

/* ------------------------------------------------------------------------------------------------------------ stopping
 */

static void stop (struct harness *harness, uint64_t grace)
{
    union message_fields fields = {.stop = {.grace = grace}};
    probe_send (harness, ACTOR_control, ACTOR_console, MESSAGE_stop, 0, &fields, SLICE (""));
}

static void stops_with_a_close_frame (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct opened opened = open_exec (harness), other = open_exec (harness);
    stop (harness, 8000);
    harness_barrier (harness, ACTOR_console);
    assert_int_equal (sent_to (harness, ACTOR_ingress, opened.client),
                      0); /* they have until the grace is nearly over */
    uint64_t late = ask (harness, good ("/websocket/exec?id=00"));
    assert_int_equal (probe_await (harness, ACTOR_ingress, MESSAGE_response, late)->fields.response.status, 503);
    stop (harness, CONSOLE_STOP_LEAD_TIME);
    client_expect (harness, opened.client, "|C1001 the agent stops");
    client_expect (harness, other.client, "|C1001 the agent stops");
    probe_await (harness, ACTOR_docker, MESSAGE_abort, opened.engine);
    harness_destroy (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (refuses_what_is_no_handshake, harness_teardown),
        cmocka_unit_test_teardown (accepts_handshakes, harness_teardown),
        cmocka_unit_test_teardown (keeps_its_limits, harness_teardown),
        cmocka_unit_test_teardown (starts_an_exec, harness_teardown),
        cmocka_unit_test_teardown (attaches, harness_teardown),
        cmocka_unit_test_teardown (closes_when_frames_are_none, harness_teardown),
        cmocka_unit_test_teardown (tells_why_the_engine_refuses, harness_teardown),
        cmocka_unit_test_teardown (a_long_refusal_costs_little, harness_teardown),
        cmocka_unit_test_teardown (passes_input_as_it_is, harness_teardown),
        cmocka_unit_test_teardown (makes_text_of_output, harness_teardown),
        cmocka_unit_test_teardown (output_waits_for_a_slow_client, harness_teardown),
        cmocka_unit_test_teardown (output_is_granted_as_the_client_takes_it, harness_teardown),
        cmocka_unit_test_teardown (input_waits_for_a_slow_engine, harness_teardown),
        cmocka_unit_test_teardown (input_is_thrown_away_at_the_end, harness_teardown),
        cmocka_unit_test_teardown (only_the_latest_pong_waits, harness_teardown),
        cmocka_unit_test_teardown (late_output_goes_before_the_close_frame, harness_teardown),
        cmocka_unit_test_teardown (a_close_frame_waits_for_credit, harness_teardown),
        cmocka_unit_test_teardown (answers_a_close_frame_with_its_code, harness_teardown),
        cmocka_unit_test_teardown (a_close_frame_does_not_wait_for_output, harness_teardown),
        cmocka_unit_test_teardown (breaks_with_who_breaks_the_protocol, harness_teardown),
        cmocka_unit_test_teardown (a_client_that_goes_ends_the_engines_side, harness_teardown),
        cmocka_unit_test_teardown (an_engine_that_breaks_off_closes_with_why, harness_teardown),
        cmocka_unit_test_teardown (a_client_that_does_not_answer_a_close_frame_is_left, harness_teardown),
        cmocka_unit_test_teardown (pings_and_closes_when_nobody_answers, harness_teardown),
        cmocka_unit_test_teardown (a_client_that_answers_stays, harness_teardown),
        cmocka_unit_test_teardown (a_client_whose_bytes_wait_stays, harness_teardown),
        cmocka_unit_test_teardown (a_slow_client_stays, harness_teardown),
        cmocka_unit_test_teardown (a_client_that_reads_nothing_is_left, harness_teardown),
        cmocka_unit_test_teardown (stops_with_a_close_frame, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
