/* actors_ingress_test - the ingress actor between a real TLS client on loopback, which is this program, and probes.
 *
 * The auth probe gets the requests; the docker probe answers them, as the real one would.
 */
#include "actor_harness.h"

#include "actors/ingress.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

struct client
{
    SSL_CTX *context;
    SSL *ssl;
    int fd;
    char *text; /* what came, NUL-terminated */
    size_t length;
    bool closed; /* close_notify */
    bool cut;    /* the end without it */
    bool paused; /* reads nothing */
};

/* ------------------------------------------------------------------------------------------------------------- client
 */

static struct ingress *ingress_of (struct harness *harness)
{
    return harness->runtime->reactors[0]->actors[ACTOR_ingress].self;
}

static int dial (struct harness *harness)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    assert_int_equal (getsockname (ingress_of (harness)->listener_fd, (struct sockaddr *) &address, &size), 0);
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal (connect (fd, (struct sockaddr *) &address, sizeof address), 0);
    int on = 1;
    setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* what was said before a barrier has come after it */
    fcntl (fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static bool handshaken (struct harness *harness, void *data)
{
    (void) harness;
    struct client *client = data;
    int returned = SSL_do_handshake (client->ssl);
    client->cut = returned != 1 && SSL_get_error (client->ssl, returned) != SSL_ERROR_WANT_READ;
    return returned == 1 || client->cut;
}

static struct client client_prepare (struct harness *harness)
{
    struct client client = {
        .context = SSL_CTX_new (TLS_client_method ()), .fd = dial (harness), .text = bytes_copy (NULL, 0)};
    client.ssl = SSL_new (client.context);
    SSL_set_fd (client.ssl, client.fd);
    SSL_set_connect_state (client.ssl);
    SSL_set_mode (client.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return client;
}

static struct client client_open (struct harness *harness)
{
    struct client client = client_prepare (harness);
    harness_until (harness, handshaken, &client);
    assert_false (client.cut);
    return client;
}

static void client_free (struct client *client)
{
    SSL_free (client->ssl);
    SSL_CTX_free (client->context);
    if (client->fd >= 0)
        close (client->fd);
    free (client->text);
    ERR_clear_error ();
}

static void client_read (struct client *client)
{
    char bytes[16384];
    size_t length;
    while (!client->closed && !client->cut && !client->paused)
    {
        ERR_clear_error ();
        int returned = SSL_read_ex (client->ssl, bytes, sizeof bytes, &length);
        if (returned != 1)
        {
            int error = SSL_get_error (client->ssl, returned);
            client->closed = error == SSL_ERROR_ZERO_RETURN;
            client->cut = !client->closed && error != SSL_ERROR_WANT_READ;
            return;
        }
        client->text = must (realloc (client->text, client->length + length + 1));
        memcpy (client->text + client->length, bytes, length);
        client->length += length;
        client->text[client->length] = '\0';
    }
}

struct wanted_bytes
{
    struct client *client;
    const char *text;
    size_t length;
};

static bool client_has (struct harness *harness, void *data)
{
    (void) harness;
    struct wanted_bytes *wanted = data;
    struct client *client = wanted->client;
    client_read (client);
    if (wanted->text)
        return memmem (client->text, client->length, wanted->text, strlen (wanted->text)) != NULL;
    return wanted->length ? client->length >= wanted->length : client->closed || client->cut;
}

static void client_await (struct harness *harness, struct client *client, const char *text)
{
    struct wanted_bytes wanted = {client, text, 0};
    if (!harness_try (harness, client_has, &wanted))
        fail_msg ("never came: %s; this did: %.4000s", text, client->text);
}

static void client_await_end (struct harness *harness, struct client *client)
{
    struct wanted_bytes wanted = {client, NULL, 0};
    harness_until (harness, client_has, &wanted);
}

static void client_clear (struct client *client)
{
    client->length = 0;
    client->text[0] = '\0';
}

static void client_send (struct client *client, const char *bytes, size_t length)
{
    size_t written;
    ERR_clear_error ();
    assert_int_equal (SSL_write_ex (client->ssl, bytes, length, &written), 1);
    assert_int_equal (written, length);
}

static void client_say (struct client *client, const char *text)
{
    client_send (client, text, strlen (text));
}

/* ------------------------------------------------------------------------------------------------- both other ends */

static struct harness *begin (void)
{
    struct harness *harness = harness_prepare ();
    harness_start (harness, &ingress_class);
    assert_non_null (harness->runtime);
    return harness;
}

static struct seen *next_request (struct harness *harness)
{
    return probe_await (harness, ACTOR_auth, MESSAGE_request, 0);
}

static void respond (struct harness *harness, uint64_t stream, unsigned status, enum framing framing, uint64_t length)
{
    struct header type = {SLICE ("Content-Type"), SLICE ("a/b")};
    union message_fields fields = {.response = {.status = status,
                                                .framing = framing,
                                                .length = length,
                                                .upgrade = status == 101 ? SLICE ("tcp") : SLICE (""),
                                                .headers = {&type, 1}}};
    probe_send (harness, ACTOR_docker, ACTOR_ingress, MESSAGE_response, stream, &fields, SLICE (""));
}

static void body (struct harness *harness, uint64_t stream, const char *text)
{
    probe_body (harness, ACTOR_docker, ACTOR_ingress, stream, slice_from (text));
}

static void end (struct harness *harness, uint64_t stream)
{
    probe_end (harness, ACTOR_docker, ACTOR_ingress, stream);
}

static void credit (struct harness *harness, uint64_t stream, uint64_t bytes)
{
    probe_credit (harness, ACTOR_docker, ACTOR_ingress, stream, bytes);
}

/* Answers with 200 and a text. */
static void answer_ok (struct harness *harness, uint64_t stream, const char *text)
{
    respond (harness, stream, 200, FRAMING_LENGTH, strlen (text));
    body (harness, stream, text);
    end (harness, stream);
}

static void expect_live (struct harness *harness, long connections, long streams)
{
    assert_int_equal (harness_counter (harness, ACTOR_ingress, "connections"), connections);
    assert_int_equal (harness_counter (harness, ACTOR_ingress, "streams"), streams);
}

/* ----------------------------------------------------------------------------------------------------- plain exchanges
 */

/* The 101 of a WebSocket has none of the protocol's headers (contract 5.6); any other 101 has them. */
static void a_websockets_101_is_bare (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    for (int bare = 0; bare < 2; bare++)
    {
        struct client client = client_open (harness);
        client_say (&client, "GET /websocket/exec HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                             "Sec-WebSocket-Key: key\r\n\r\n");
        struct seen *seen = next_request (harness);
        assert_true (slice_equal (seen->fields.request.upgrade, SLICE ("websocket")));
        assert_true (seen->fields.request.hijackable);
        assert_true (
            slice_equal (headers_find (seen->fields.request.headers, SLICE ("Sec-WebSocket-Key")), SLICE ("key")));
        union message_fields fields = {.response = {.status = 101,
                                                    .reason = SLICE ("Switching Protocols"),
                                                    .framing = FRAMING_RAW,
                                                    .upgrade = bare ? SLICE ("websocket") : SLICE ("tcp")}};
        probe_send (harness, ACTOR_console, ACTOR_ingress, MESSAGE_response, seen->envelope.stream, &fields,
                    SLICE (""));
        client_await (harness, &client, "\r\n\r\n");
        assert_non_null (strstr (client.text, bare ? "\r\nUpgrade: websocket\r\n" : "\r\nUpgrade: tcp\r\n"));
        assert_non_null (strstr (client.text, "\r\nConnection: Upgrade\r\n"));
        assert_int_equal (strstr (client.text, "Portainer-Agent") == NULL, bare);
        client_free (&client);
    }
    harness_destroy (harness);
}

static void makes_messages_of_requests (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    client_say (
        &client,
        "GET //a/./b%2Fc?x=1 HTTP/1.1\r\nHost: h:9001\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"
        "Keep-Alive: 5\r\nX-Kept: yes\r\ntraceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n\r\n");
    struct seen *seen = next_request (harness);
    const struct message_request *request = &seen->fields.request;
    assert_true (slice_equal (request->method, SLICE ("GET")));
    assert_true (slice_equal (request->target, SLICE ("/a/b%2Fc?x=1")));
    assert_int_equal (request->framing, FRAMING_NONE);
    assert_false (request->hijackable);
    assert_int_equal (request->upgrade.len, 0);
    assert_int_equal (request->window, WINDOW_FIRST);
    assert_true (slice_starts_with (request->source, SLICE ("127.0.0.1:")));
    assert_true (slice_equal (request->authority, SLICE ("h:9001")));
    assert_int_equal (request->headers.count, 2);
    assert_true (slice_equal (headers_find (request->headers, SLICE ("x-kept")), SLICE ("yes")));
    answer_ok (harness, seen->envelope.stream, "hello");
    client_await (harness, &client, "\r\n\r\nhello");
    static const char *const fields[] = {"HTTP/1.1 200 OK\r\n",
                                         "\r\nContent-Type: a/b\r\n",
                                         "\r\nContent-Length: 5\r\n",
                                         "\r\nPortainer-Agent: 2.19.0\r\n",
                                         "\r\nPortainer-Agent-API-Version: 2\r\n",
                                         "\r\nPortainer-Agent-Platform: 1\r\n",
                                         "\r\nShoal-Version: " SHOAL_VERSION "\r\n",
                                         "\r\nShoal-Trace: 0123456789abcdef0123456789abcdef\r\n"};
    for (size_t index = 0; index < sizeof fields / sizeof *fields; index++)
        if (!strstr (client.text, fields[index]))
            fail_msg ("no %s in %s", fields[index], client.text);
    assert_null (strstr (client.text, "Connection:"));

    /* Below /key the protocol's fields are not sent. */
    client_clear (&client);
    client_say (&client, "GET /key HTTP/1.1\r\nHost: h\r\n\r\n");
    answer_ok (harness, next_request (harness)->envelope.stream, "key");
    client_await (harness, &client, "\r\n\r\nkey");
    assert_null (strstr (client.text, "Portainer-Agent"));
    assert_non_null (strstr (client.text, "\r\nShoal-Trace: "));
    client_free (&client);
    harness_destroy (harness);
}

static void answers_pipelined_requests_in_order (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    client_say (&client, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: "
                         "3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /4 HTTP/1.1\r\n");
    struct seen *first = next_request (harness);
    assert_true (slice_equal (first->fields.request.target, SLICE ("/1")));
    harness_barrier (harness, ACTOR_ingress);
    assert_int_equal (probe_count (harness, ACTOR_auth, MESSAGE_request, 0), 1);
    answer_ok (harness, first->envelope.stream, "one");
    struct seen *second = next_request (harness);
    assert_int_equal (second->fields.request.framing, FRAMING_LENGTH);
    assert_int_equal (second->fields.request.length, 3);
    uint64_t stream = second->envelope.stream;
    assert_int_not_equal (stream, first->envelope.stream);
    credit (harness, stream, 2);
    probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("ab"));
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_end, stream), 0);
    credit (harness, stream, 5);
    probe_await (harness, ACTOR_docker, MESSAGE_end, stream);
    probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("abc"));
    answer_ok (harness, stream, "two");
    answer_ok (harness, next_request (harness)->envelope.stream, "three");
    client_await_end (harness, &client);
    assert_true (client.closed);
    const char *one = strstr (client.text, "\r\n\r\none"), *two = strstr (client.text, "\r\n\r\ntwo"),
               *three = strstr (client.text, "\r\n\r\nthree");
    assert_true (one && two && three && one < two && two < three);
    assert_non_null (strstr (two, "\r\nConnection: close\r\n"));
    assert_int_equal (probe_count (harness, ACTOR_auth, MESSAGE_request, 0), 3);
    client_free (&client);
    harness_destroy (harness);
}

static void frames_answers (void **state)
{
    (void) state;
    static const struct
    {
        const char *request;
        unsigned status;
        enum framing framing;
        uint64_t length;
        const char *pieces[3];
        const char *has, *has_not, *ends;
        bool closes;
    } rows[] = {
        {"GET / HTTP/1.1",
         200,
         FRAMING_CHUNKED,
         0,
         {"abc", "", "0123456789abcdefg"},
         "Transfer-Encoding: chunked",
         "Content-Length",
         "\r\n\r\n3\r\nabc\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n",
         false},
        {"GET / HTTP/1.1", 200, FRAMING_LENGTH, 0, {NULL}, "Content-Length: 0", "Transfer", "\r\n\r\n", false},
        {"GET / HTTP/1.1", 200, FRAMING_NONE, 0, {NULL}, "Content-Length: 0", "Transfer", "\r\n\r\n", false},
        {"GET / HTTP/1.1",
         204,
         FRAMING_NONE,
         0,
         {NULL},
         "HTTP/1.1 204 No Content",
         "Content-Length",
         "\r\n\r\n",
         false},
        {"GET / HTTP/1.1", 304, FRAMING_NONE, 0, {NULL}, "HTTP/1.1 304", "Content-Length", "\r\n\r\n", false},
        {"HEAD / HTTP/1.1", 200, FRAMING_NONE, 0, {NULL}, "HTTP/1.1 200", "Content-Length", "\r\n\r\n", false},
        {"HEAD / HTTP/1.1", 403, FRAMING_LENGTH, 9, {"forbidden"}, "Content-Length: 9", "forbidden", "\r\n\r\n", false},
        {"GET / HTTP/1.1",
         200,
         FRAMING_CLOSE,
         0,
         {"to the ", "end"},
         "Connection: close",
         "Content-Length",
         "\r\n\r\nto the end",
         true},
        {"GET / HTTP/1.0", 200, FRAMING_CHUNKED, 0, {"old"}, "Connection: close", "chunked", "\r\n\r\nold", true},
        {"GET / HTTP/1.0", 200, FRAMING_LENGTH, 3, {"old"}, "Connection: close", "chunked", "\r\n\r\nold", true},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct harness *harness = begin ();
        struct client client = client_open (harness);
        client_say (&client, rows[row].request);
        client_say (&client, "\r\nHost: h\r\n\r\n");
        uint64_t stream = next_request (harness)->envelope.stream;
        respond (harness, stream, rows[row].status, rows[row].framing, rows[row].length);
        for (size_t piece = 0; piece < 3 && rows[row].pieces[piece]; piece++)
            body (harness, stream, rows[row].pieces[piece]);
        end (harness, stream);
        if (rows[row].closes)
            client_await_end (harness, &client);
        else
        {
            client_await (harness, &client, rows[row].ends);
            char *answer = bytes_copy (client.text, client.length);
            client_say (&client, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
            answer_ok (harness, next_request (harness)->envelope.stream, "next");
            client_await (harness, &client, "\r\n\r\nnext");
            assert_memory_equal (client.text, answer, strlen (answer));
            client.length = strlen (answer);
            client.text[client.length] = '\0';
            free (answer);
        }
        size_t tail = strlen (rows[row].ends);
        if (!strstr (client.text, rows[row].has) || strstr (client.text, rows[row].has_not) || client.length < tail ||
            strcmp (client.text + client.length - tail, rows[row].ends) != 0)
            fail_msg ("row %zu: %s", row, client.text);
        if (rows[row].closes)
            assert_true (client.closed && !client.cut);
        client_free (&client);
        harness_destroy (harness);
    }
}

static void passes_a_head_before_its_body (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    client_say (&client, "POST /containers/1/wait HTTP/1.1\r\nHost: h\r\n\r\n");
    uint64_t stream = next_request (harness)->envelope.stream;
    respond (harness, stream, 200, FRAMING_CHUNKED, 0);
    client_await (harness, &client, "\r\n\r\n");
    assert_true (client.length > 4 && strcmp (client.text + client.length - 4, "\r\n\r\n") == 0);
    body (harness, stream, "{}");
    client_await (harness, &client, "2\r\n{}\r\n");
    end (harness, stream);
    client_await (harness, &client, "0\r\n\r\n");
    client_free (&client);
    harness_destroy (harness);
}

/* -------------------------------------------------------------------------------------------------- request bodies */

static void says_continue_only_with_credit (void **state)
{
    (void) state;
    static const char request[] = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    client_say (&client, request);
    uint64_t stream = next_request (harness)->envelope.stream;
    harness_barrier (harness, ACTOR_ingress);
    client_read (&client);
    assert_int_equal (client.length, 0);
    credit (harness, stream, 100);
    client_await (harness, &client, "HTTP/1.1 100 Continue\r\n\r\n");
    client_say (&client, "body");
    probe_await (harness, ACTOR_docker, MESSAGE_end, stream);
    probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("body"));
    answer_ok (harness, stream, "done");
    client_await (harness, &client, "\r\n\r\ndone");

    /* Who does not wait is not told to go on. */
    client_clear (&client);
    client_say (&client, request);
    client_say (&client, "body");
    stream = next_request (harness)->envelope.stream;
    harness_barrier (harness, ACTOR_ingress);
    credit (harness, stream, 100);
    probe_await (harness, ACTOR_docker, MESSAGE_end, stream);
    answer_ok (harness, stream, "done");
    client_await (harness, &client, "\r\n\r\ndone");
    assert_null (strstr (client.text, "100 Continue"));

    /* A refused one is not either, and its connection ends: whether the body follows is not known. */
    client_clear (&client);
    client_say (&client, request);
    stream = next_request (harness)->envelope.stream;
    respond (harness, stream, 403, FRAMING_LENGTH, 2);
    body (harness, stream, "no");
    end (harness, stream);
    client_await_end (harness, &client);
    assert_true (slice_starts_with (slice_from (client.text), SLICE ("HTTP/1.1 403 Forbidden\r\n")));
    assert_non_null (strstr (client.text, "\r\nConnection: close\r\n"));
    client_free (&client);
    harness_destroy (harness);
}

static void decodes_chunked_bodies (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    client_say (&client, "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nab");
    struct seen *seen = next_request (harness);
    assert_int_equal (seen->fields.request.framing, FRAMING_CHUNKED);
    uint64_t stream = seen->envelope.stream;
    credit (harness, stream, 1000);
    probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("ab"));
    client_say (&client, "c\r\n5\r\ndefgh\r\n0\r\nX-Trailer: 1\r\n\r\n");
    probe_await (harness, ACTOR_docker, MESSAGE_end, stream);
    probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("abcdefgh"));
    answer_ok (harness, stream, "done");
    client_await (harness, &client, "\r\n\r\ndone");

    /* A body that turns out to be wrong: the far end is told, the client gets 400, the connection ends. */
    client_clear (&client);
    client_say (&client, "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    stream = next_request (harness)->envelope.stream;
    credit (harness, stream, 1000);
    probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("abc"));
    client_say (&client, "xyz\r\n");
    probe_await (harness, ACTOR_docker, MESSAGE_abort, stream);
    client_await_end (harness, &client);
    assert_true (slice_starts_with (slice_from (client.text), SLICE ("HTTP/1.1 400 ")));
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_end, stream), 0);
    client_free (&client);
    harness_destroy (harness);
}

struct upload
{
    struct client *client;
    const char *bytes;
    size_t sent, total;
    uint64_t stream, granted, received, messages;
};

/* Sends what the connection takes; looks at what arrived. */
static bool upload_step (struct harness *harness, void *data)
{
    struct upload *upload = data;
    size_t written;
    ERR_clear_error ();
    while (upload->sent < upload->total && SSL_write_ex (upload->client->ssl, upload->bytes + upload->sent,
                                                         upload->total - upload->sent, &written) == 1)
        upload->sent += written;
    for (; upload->messages < harness->seen_count; upload->messages++)
    {
        const struct seen *seen = harness->seen[upload->messages];
        if (seen->envelope.stream == upload->stream && seen->envelope.type == MESSAGE_body)
            upload->received += seen->payload_length;
    }
    return upload->granted ? upload->received >= upload->granted : upload->sent == upload->total;
}

static void holds_bodies_without_credit (void **state)
{
    (void) state;
    enum
    {
        TOTAL = 2000000
    };
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    char *bytes = must (malloc (TOTAL)), head[100];
    for (size_t at = 0; at < TOTAL; at++)
        bytes[at] = (char) (at * 11 + at / 241);
    snprintf (head, sizeof head, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", TOTAL);
    client_say (&client, head);
    struct upload upload = {
        .client = &client, .bytes = bytes, .total = TOTAL, .stream = next_request (harness)->envelope.stream};
    uint64_t seed = 88172645463325252u;
    while (upload.granted < TOTAL)
    {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        uint64_t more = 1 + seed % 60000;
        more = more < TOTAL - upload.granted ? more : TOTAL - upload.granted;
        upload.granted += more;
        credit (harness, upload.stream, more);
        harness_until (harness, upload_step, &upload);
        harness_barrier (harness, ACTOR_ingress);
        upload_step (harness, &upload);
        assert_int_equal (upload.received, upload.granted); /* never more */
    }
    probe_await (harness, ACTOR_docker, MESSAGE_end, upload.stream);
    probe_expect_payload (harness, ACTOR_docker, upload.stream, slice_of (bytes, TOTAL));
    answer_ok (harness, upload.stream, "done");
    client_await (harness, &client, "\r\n\r\ndone");
    free (bytes);
    client_free (&client);
    harness_destroy (harness);
}

/* An answer that comes before the body was read. */
static void takes_early_answers (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    /* Auth refuses: a small body is skipped, and the connection lives. */
    client_say (&client, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234");
    uint64_t stream = next_request (harness)->envelope.stream;
    respond (harness, stream, 403, FRAMING_LENGTH, 2);
    body (harness, stream, "no");
    end (harness, stream);
    client_await (harness, &client, "\r\n\r\nno");
    client_say (&client, "56789GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    struct seen *seen = next_request (harness);
    assert_true (slice_equal (seen->fields.request.target, SLICE ("/next")));
    answer_ok (harness, seen->envelope.stream, "next");
    client_await (harness, &client, "\r\n\r\nnext");

    /* The engine has begun to read: it is told that no more comes, and the connection ends behind the answer. */
    client_clear (&client);
    client_say (&client, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n01234");
    stream = next_request (harness)->envelope.stream;
    credit (harness, stream, 100);
    probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("01234"));
    answer_ok (harness, stream, "early");
    client_await_end (harness, &client);
    assert_true (client.closed);
    assert_non_null (strstr (client.text, "\r\n\r\nearly"));
    assert_non_null (strstr (client.text, "\r\nConnection: close\r\n"));
    probe_await (harness, ACTOR_docker, MESSAGE_abort, stream);
    client_free (&client);
    harness_destroy (harness);
}

/* ------------------------------------------------------------------------------------------------------------- windows
 */

static void grants_as_the_client_reads (void **state)
{
    (void) state;
    enum
    {
        TOTAL = 6000000
    };
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    char *bytes = must (malloc (TOTAL));
    for (size_t at = 0; at < TOTAL; at++)
        bytes[at] = (char) (at * 13 + at / 239);
    client_say (&client, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    struct seen *seen = next_request (harness);
    uint64_t stream = seen->envelope.stream, granted = seen->fields.request.window;
    respond (harness, stream, 200, FRAMING_LENGTH, TOTAL);
    client.paused = true;
    size_t sent = 0, messages = 0, stalls = 0;
    while (sent < TOTAL)
    {
        uint64_t before = granted;
        harness_barrier (harness, ACTOR_ingress);
        for (; messages < harness->seen_count; messages++)
            if (harness->seen[messages]->envelope.stream == stream &&
                harness->seen[messages]->envelope.type == MESSAGE_credit)
                granted += harness->seen[messages]->fields.credit.bytes;
        assert_true (atomic_load (&harness->budget.used) <= WINDOW_MOST);
        if (granted == before && sent == granted)
        {
            stalls++;
            client.paused = false;
            client_read (&client);
            client.paused = true;
        }
        while (sent < granted && sent < TOTAL)
        {
            size_t piece = granted - sent < 30000 ? granted - sent : 30000;
            piece = piece < TOTAL - sent ? piece : TOTAL - sent;
            probe_body (harness, ACTOR_docker, ACTOR_ingress, stream, slice_of (bytes + sent, piece));
            sent += piece;
        }
    }
    assert_true (stalls > 0);
    end (harness, stream);
    client.paused = false;
    const char *text = NULL;
    while (!text || client.length - (size_t) (text - client.text) < TOTAL)
    {
        harness_barrier (harness, ACTOR_ingress);
        client_read (&client);
        assert_false (client.closed || client.cut);
        text = strstr (client.text, "\r\n\r\n");
        text = text ? text + 4 : NULL;
    }
    assert_memory_equal (text, bytes, TOTAL);
    free (bytes);
    client_free (&client);
    harness_destroy (harness);
}

static void refuses_when_nothing_fits (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    atomic_store (&harness->budget.used, harness->budget.total);
    client_say (&client, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    client_await_end (harness, &client);
    assert_true (slice_starts_with (slice_from (client.text), SLICE ("HTTP/1.1 503 ")));
    assert_non_null (strstr (client.text, "--payload-total"));
    assert_int_equal (probe_count (harness, ACTOR_auth, MESSAGE_request, 0), 0);
    atomic_store (&harness->budget.used, 0);
    client_free (&client);
    harness_destroy (harness);
}

/* ---------------------------------------------------------------------------------------------------------- aborts */

enum leaving
{
    LEAVE_FIN,   /* FIN without close_notify */
    LEAVE_RESET, /* RST */
};

static void leave (struct client *client, enum leaving how)
{
    struct linger now = {1, 0};
    if (how == LEAVE_RESET)
    {
        setsockopt (client->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        SSL_set_quiet_shutdown (client->ssl, 1);
        close (client->fd);
        client->fd = -1;
    }
    else
        shutdown (client->fd, SHUT_WR);
}

/* A client that goes away without saying goodbye: whoever works for it is told, at every point of an exchange. */
static void leaving_is_an_abort (void **state)
{
    (void) state;
    for (enum leaving how = LEAVE_FIN; how <= LEAVE_RESET; how++)
        for (int point = 0; point < 6; point++)
        {
            struct harness *harness = begin ();
            struct client client = client_open (harness);
            bool with_body = point == 1 || point == 2;
            client_say (&client, with_body ? "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc"
                                           : "POST /exec/1/start HTTP/1.1\r\nHost: h\r\n\r\n");
            uint64_t stream = next_request (harness)->envelope.stream;
            enum actor_id told = ACTOR_docker;
            switch (point)
            {
            case 0: /* nobody has answered: the abort takes the request's way */
            case 1:
                told = ACTOR_auth;
                break;
            case 2: /* in the middle of its body */
                credit (harness, stream, 100);
                probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("abc"));
                break;
            case 3: /* the head has come */
                respond (harness, stream, 200, FRAMING_CHUNKED, 0);
                client_await (harness, &client, "\r\n\r\n");
                break;
            case 4: /* and a piece */
                respond (harness, stream, 200, FRAMING_LENGTH, 100);
                body (harness, stream, "abc");
                client_await (harness, &client, "abc");
                break;
            default: /* a raw stream */
                respond (harness, stream, 101, FRAMING_RAW, 0);
                client_await (harness, &client, "\r\n\r\n");
                credit (harness, stream, 100);
            }
            leave (&client, how);
            probe_await (harness, told, MESSAGE_abort, stream);
            assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_end, stream), 0);
            /* What is still under way for the stream does no harm. */
            body (harness, stream, "late");
            end (harness, stream);
            probe_abort (harness, ACTOR_docker, ACTOR_ingress, stream);
            harness_barrier (harness, ACTOR_ingress);
            expect_live (harness, 0, 0);
            client_free (&client);
            harness_destroy (harness);
        }
}

/* close_notify after a whole request only says that no other will come. */
static void goodbye_is_no_abort (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client client = client_open (harness);
    client_say (&client, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    SSL_shutdown (client.ssl);
    uint64_t stream = next_request (harness)->envelope.stream;
    harness_barrier (harness, ACTOR_ingress);
    assert_int_equal (probe_count (harness, ACTOR_auth, MESSAGE_abort, 0), 0);
    answer_ok (harness, stream, "answer");
    client_await_end (harness, &client);
    assert_true (client.closed);
    assert_non_null (strstr (client.text, "\r\n\r\nanswer"));
    client_free (&client);

    /* In the middle of a body it is one. */
    client = client_open (harness);
    client_say (&client, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    stream = next_request (harness)->envelope.stream;
    credit (harness, stream, 100);
    probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("abc"));
    SSL_shutdown (client.ssl);
    probe_await (harness, ACTOR_docker, MESSAGE_abort, stream);
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_end, stream), 0);
    client_free (&client);
    harness_destroy (harness);
}

static void aborts_from_the_far_end_are_never_short_answers (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    /* Before the head: 502 in the contract's words. */
    struct client client = client_open (harness);
    client_say (&client, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    probe_abort (harness, ACTOR_docker, ACTOR_ingress, next_request (harness)->envelope.stream);
    client_await (harness, &client, "{\"message\":\"Unable to proxy the request via the Docker socket\"");
    assert_true (slice_starts_with (slice_from (client.text), SLICE ("HTTP/1.1 502 ")));
    client_free (&client);
    /* After it: what came is delivered, and then the connection is cut, without the last chunk and without
     * close_notify. */
    static const enum framing framings[] = {FRAMING_CHUNKED, FRAMING_LENGTH, FRAMING_CLOSE};
    for (size_t row = 0; row < 3; row++)
    {
        client = client_open (harness);
        client_say (&client, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        uint64_t stream = next_request (harness)->envelope.stream;
        respond (harness, stream, 200, framings[row], 100);
        body (harness, stream, "part");
        probe_abort (harness, ACTOR_docker, ACTOR_ingress, stream);
        client_await_end (harness, &client);
        assert_true (client.cut);
        assert_false (client.closed);
        const char *part = strstr (client.text, "part");
        assert_non_null (part);
        assert_null (strstr (part, "0\r\n"));
        client_free (&client);
    }
    expect_live (harness, 0, 0);
    harness_destroy (harness);
}

/* ------------------------------------------------------------------------------------------------------- raw bytes */

/* What follows a request whose answer may be raw is held until the head of the answer says what it is. */
static void holds_what_follows_a_hijackable_request (void **state)
{
    (void) state;
    static const char request[] = "POST /exec/1/start HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}GET /smuggled "
                                  "HTTP/1.1\r\nHost: h\r\n\r\n";
    for (int raw = 0; raw < 2; raw++)
    {
        struct harness *harness = begin ();
        struct client client = client_open (harness);
        client_say (&client, request);
        struct seen *seen = next_request (harness);
        assert_true (seen->fields.request.hijackable);
        uint64_t stream = seen->envelope.stream;
        credit (harness, stream, 1000);
        probe_await (harness, ACTOR_docker, MESSAGE_end, stream);
        probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("{}"));
        harness_barrier (harness, ACTOR_ingress);
        assert_int_equal (probe_count (harness, ACTOR_auth, MESSAGE_request, 0), 1);
        if (raw)
        {
            respond (harness, stream, 101, FRAMING_RAW, 0);
            client_await (harness, &client, "HTTP/1.1 101 Switching Protocols\r\n");
            assert_non_null (strstr (client.text, "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"));
            harness_barrier (harness, ACTOR_ingress);
            probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("{}")); /* the old credit does not count */
            credit (harness, stream, 5);
            probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("{}GET /"));
            credit (harness, stream, 1000);
            probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("{}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"));
            assert_int_equal (probe_count (harness, ACTOR_auth, MESSAGE_request, 0), 1);
        }
        else
        {
            answer_ok (harness, stream, "detached");
            seen = next_request (harness);
            assert_true (slice_equal (seen->fields.request.target, SLICE ("/smuggled")));
            answer_ok (harness, seen->envelope.stream, "second");
            client_await (harness, &client, "\r\n\r\nsecond");
        }
        client_free (&client);
        harness_destroy (harness);
    }
}

static void half_closes_raw_streams (void **state)
{
    (void) state;
    for (int engine_first = 0; engine_first < 2; engine_first++)
    {
        struct harness *harness = begin ();
        struct client client = client_open (harness);
        client_say (&client,
                    "POST /containers/1/attach HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        struct seen *seen = next_request (harness);
        assert_true (slice_equal (seen->fields.request.upgrade, SLICE ("tcp")));
        uint64_t stream = seen->envelope.stream;
        respond (harness, stream, 101, FRAMING_RAW, 0);
        credit (harness, stream, 1000);
        client_await (harness, &client, "\r\n\r\n");
        client_clear (&client);
        client_say (&client, "in");
        body (harness, stream, "out");
        probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("in"));
        client_await (harness, &client, "out");
        if (engine_first)
        {
            end (harness, stream);
            client_await_end (harness, &client);
            assert_true (client.closed);
            client_say (&client, "still here");
            probe_expect_payload (harness, ACTOR_docker, stream, SLICE ("instill here"));
            SSL_shutdown (client.ssl);
            probe_await (harness, ACTOR_docker, MESSAGE_end, stream);
        }
        else
        {
            SSL_shutdown (client.ssl);
            probe_await (harness, ACTOR_docker, MESSAGE_end, stream);
            body (harness, stream, "more");
            client_await (harness, &client, "outmore");
            assert_false (client.closed);
            end (harness, stream);
            client_await_end (harness, &client);
            assert_true (client.closed);
        }
        harness_barrier (harness, ACTOR_ingress);
        expect_live (harness, 0, 0);
        assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_abort, stream), 0);
        client_free (&client);
        harness_destroy (harness);
    }
}

/* -------------------------------------------------------------------------------------------------------- refusals */

static void refuses_what_reads_in_two_ways (void **state)
{
    (void) state;
    static const struct
    {
        const char *request;
        unsigned status;
    } rows[] = {
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
        {"GET / HTTP/1.1\nHost: h\n\n", 400},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
        {"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400},
        {"GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", 501},
        {"GET / HTTP/2.5\r\nHost: h\r\n\r\n", 505},
    };
    struct harness *harness = begin ();
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        char start[32];
        struct client client = client_open (harness);
        client_say (&client, rows[row].request);
        client_say (&client, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        client_await_end (harness, &client);
        snprintf (start, sizeof start, "HTTP/1.1 %u ", rows[row].status);
        if (strncmp (client.text, start, strlen (start)) != 0 || !client.closed ||
            !strstr (client.text, "\r\nConnection: close\r\n"))
            fail_msg ("row %zu: %s", row, client.text);
        client_free (&client);
    }
    assert_int_equal (probe_count (harness, ACTOR_auth, MESSAGE_request, 0), 0);
    harness_destroy (harness);
}

static void keeps_limits (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct ingress *ingress = ingress_of (harness);
    /* A head that is too long. */
    struct client client = client_open (harness);
    client_say (&client, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    char *long_value = must (malloc (HTTP_HEAD_MAX));
    memset (long_value, 'x', HTTP_HEAD_MAX);
    struct upload upload = {.client = &client, .bytes = long_value, .total = HTTP_HEAD_MAX};
    harness_until (harness, upload_step, &upload);
    assert_int_equal (upload.sent, upload.total);
    client_await (harness, &client, "HTTP/1.1 431 ");
    free (long_value);
    client_free (&client);
    /* All unfinished heads together. */
    client = client_open (harness);
    ingress->unfinished_heads += UNFINISHED_HEADS_MAX;
    client_say (&client, "GET / HTTP/1.1\r\nHos");
    client_await (harness, &client, "HTTP/1.1 503 ");
    ingress->unfinished_heads -= UNFINISHED_HEADS_MAX;
    client_await_end (harness, &client);
    client_free (&client);
    harness_barrier (harness, ACTOR_ingress);
    assert_int_equal (harness_counter (harness, ACTOR_ingress, "unfinished_head_bytes"), 0);
    /* Connections: one more is let in far enough to be told. */
    harness->configuration.connections = 1;
    struct client first = client_open (harness), second = client_open (harness);
    client_say (&second, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client_await_end (harness, &second);
    assert_non_null (strstr (second.text, "HTTP/1.1 503 "));
    assert_non_null (strstr (second.text, "--connections"));
    client_say (&first, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    answer_ok (harness, next_request (harness)->envelope.stream, "served");
    client_await (harness, &first, "served");
    client_free (&first);
    client_free (&second);
    harness_destroy (harness);
}

static void keeps_times (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness->configuration.header_time = harness->configuration.idle_time = 500; /* four handshakes fit into it */
    harness_start (harness, &ingress_class);
    struct client slow = client_open (harness), idle = client_open (harness), silent = client_prepare (harness),
                  living = client_open (harness);
    client_say (&slow, "GET / HTTP/1.1\r\nHost: ");
    client_say (&living, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client_await_end (harness, &slow);
    assert_true (slice_starts_with (slice_from (slow.text), SLICE ("HTTP/1.1 408 ")));
    client_await_end (harness, &idle);
    assert_int_equal (idle.length, 0);
    client_await_end (harness, &silent);
    /* A living stream has no limit. */
    answer_ok (harness, next_request (harness)->envelope.stream, "late");
    client_await (harness, &living, "\r\n\r\nlate");
    client_free (&slow);
    client_free (&idle);
    client_free (&silent);
    client_free (&living);
    harness_destroy (harness);
}

static void tells_plain_http (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct peer peer = peer_of (dial (harness));
    peer_say (&peer, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    peer_await (harness, &peer, "This port speaks HTTPS");
    assert_true (slice_starts_with (slice_from (peer.text), SLICE ("HTTP/1.1 400 ")));
    peer_await_end (harness, &peer);
    peer_free (&peer);
    /* Anything else that is no TLS is only closed. */
    peer = peer_of (dial (harness));
    peer_send (&peer, "\0\1\2\3\4\5\6\7", 8);
    peer_await_end (harness, &peer);
    assert_null (strstr (peer.text, "HTTP"));
    peer_free (&peer);
    harness_barrier (harness, ACTOR_ingress);
    expect_live (harness, 0, 0);
    harness_destroy (harness);
}

/* ------------------------------------------------------------------------------------------------------------- TLS */

static void speaks_tls (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client client = client_prepare (harness);
    SSL_set_alpn_protos (client.ssl, (const unsigned char *) "\x02h2\x08http/1.1", 12);
    harness_until (harness, handshaken, &client);
    const unsigned char *protocol;
    unsigned length;
    SSL_get0_alpn_selected (client.ssl, &protocol, &length);
    assert_int_equal (length, 8);
    assert_memory_equal (protocol, "http/1.1", 8);
    X509 *certificate = SSL_get1_peer_certificate (client.ssl);
    EVP_PKEY *key = X509_get_pubkey (certificate);
    assert_int_equal (EVP_PKEY_get_bits (key), 256);
    assert_int_equal (X509_check_ip_asc (certificate, "127.0.0.1", 0), 1);
    assert_int_equal (X509_check_ip_asc (certificate, "192.0.2.7", 0), 0);
    X509_free (certificate);
    /* Membership was told which key that is, for the other agents to pin. */
    unsigned char *der = NULL, digest[32];
    char hash[65];
    int size = i2d_PUBKEY (key, &der);
    assert_int_equal (EVP_Digest (der, (size_t) size, digest, NULL, EVP_sha256 (), NULL), 1);
    for (size_t index = 0; index < sizeof digest; index++)
        snprintf (hash + 2 * index, 3, "%02x", digest[index]);
    OPENSSL_free (der);
    struct seen *identity = probe_await (harness, ACTOR_membership, MESSAGE_identity, 0);
    assert_true (slice_equal (identity->fields.identity.tls_key, slice_from (hash)));
    /* The ticket comes behind the handshake; it is good for another connection, and for a day at most. */
    client_say (&client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    answer_ok (harness, next_request (harness)->envelope.stream, "x");
    client_await (harness, &client, "\r\n\r\nx");
    SSL_SESSION *session = SSL_get1_session (client.ssl);
    assert_true (SSL_SESSION_has_ticket (session));
    assert_true (SSL_SESSION_get_ticket_lifetime_hint (session) <= 24 * 60 * 60);
    SSL_shutdown (client.ssl); /* else OpenSSL takes the session for a bad one */
    client_free (&client);
    client = client_prepare (harness);
    SSL_set_session (client.ssl, session);
    harness_until (harness, handshaken, &client);
    assert_true (SSL_session_reused (client.ssl));
    SSL_SESSION_free (session);
    client_free (&client);

    /* The advertised address becomes known: another certificate, the same key. */
    union message_fields fields = {.engine = {.reachable = true, .address = SLICE ("192.0.2.7")}};
    probe_send (harness, ACTOR_docker, ACTOR_ingress, MESSAGE_engine, 0, &fields, SLICE (""));
    harness_barrier (harness, ACTOR_ingress);
    client = client_open (harness);
    certificate = SSL_get1_peer_certificate (client.ssl);
    assert_int_equal (X509_check_ip_asc (certificate, "192.0.2.7", 0), 1);
    EVP_PKEY *same = X509_get_pubkey (certificate);
    assert_int_equal (EVP_PKEY_eq (key, same), 1);
    EVP_PKEY_free (key);
    EVP_PKEY_free (same);
    X509_free (certificate);
    client_free (&client);

    /* Old versions, and clients that speak only HTTP/2, are refused in the handshake. */
    client = client_prepare (harness);
    SSL_set_security_level (client.ssl, 0);
    SSL_set_max_proto_version (client.ssl, TLS1_1_VERSION);
    harness_until (harness, handshaken, &client);
    assert_true (client.cut);
    client_free (&client);
    client = client_prepare (harness);
    SSL_set_alpn_protos (client.ssl, (const unsigned char *) "\x02h2", 3);
    harness_until (harness, handshaken, &client);
    assert_true (client.cut);
    client_free (&client);
    harness_barrier (harness, ACTOR_ingress);
    assert_int_equal (harness_counter (harness, ACTOR_ingress, "handshake_failures"), 2);
    harness_destroy (harness);
}

/* -------------------------------------------------------------------------------------------------------- stopping */

static void tell_stop (struct harness *harness, uint64_t grace)
{
    union message_fields fields = {.stop = {.grace = grace}};
    probe_send (harness, ACTOR_control, ACTOR_ingress, MESSAGE_stop, 0, &fields, SLICE (""));
}

static void stops_in_order (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client idle = client_open (harness), living = client_open (harness), unfinished = client_open (harness);
    client_say (&living, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client_say (&unfinished, "GET / HTTP/1.1\r\nHos");
    uint64_t stream = next_request (harness)->envelope.stream;
    harness_barrier (harness, ACTOR_ingress);
    tell_stop (harness, 60000);
    client_await_end (harness, &idle);
    assert_true (idle.closed);
    client_await_end (harness, &unfinished);
    assert_int_equal (probe_count (harness, ACTOR_control, MESSAGE_stopped, 0), 0);
    assert_int_equal (harness_counter (harness, ACTOR_ingress, "listening"), 0);
    answer_ok (harness, stream, "whole");
    client_await_end (harness, &living);
    assert_true (living.closed);
    assert_non_null (strstr (living.text, "\r\n\r\nwhole"));
    assert_non_null (strstr (living.text, "\r\nConnection: close\r\n"));
    client_free (&idle);
    client_free (&living);
    client_free (&unfinished);
    probe_await (harness, ACTOR_control, MESSAGE_stopped, 0);
    harness_destroy (harness);
}

/* When the grace time is over, endless and raw streams end in order; an unfinished answer is cut. */
static void ends_what_outlives_the_grace (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client events = client_open (harness), raw = client_open (harness), unfinished = client_open (harness);
    client_say (&events, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
    uint64_t first = next_request (harness)->envelope.stream;
    client_say (&raw, "POST /containers/1/attach HTTP/1.1\r\nHost: h\r\n\r\n");
    uint64_t second = next_request (harness)->envelope.stream;
    client_say (&unfinished, "GET /images/get HTTP/1.1\r\nHost: h\r\n\r\n");
    uint64_t third = next_request (harness)->envelope.stream;
    respond (harness, first, 200, FRAMING_CHUNKED, 0);
    body (harness, first, "event");
    respond (harness, second, 200, FRAMING_RAW, 0);
    respond (harness, third, 200, FRAMING_CHUNKED, 0);
    body (harness, third, "part");
    client_await (harness, &events, "event");
    client_await (harness, &raw, "\r\n\r\n");
    client_await (harness, &unfinished, "part");
    tell_stop (harness, 20);
    client_await_end (harness, &events);
    client_await_end (harness, &raw);
    client_await_end (harness, &unfinished);
    assert_true (events.closed && raw.closed && unfinished.cut);
    assert_non_null (strstr (events.text, "5\r\nevent\r\n0\r\n\r\n"));
    assert_null (strstr (strstr (unfinished.text, "part"), "0\r\n"));
    probe_await (harness, ACTOR_docker, MESSAGE_abort, first);
    probe_await (harness, ACTOR_docker, MESSAGE_abort, second);
    probe_await (harness, ACTOR_docker, MESSAGE_abort, third);
    client_free (&events);
    client_free (&raw);
    client_free (&unfinished);
    probe_await (harness, ACTOR_control, MESSAGE_stopped, 0);
    harness_destroy (harness);
}

static void stops_at_once (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct client living = client_open (harness);
    client_say (&living, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    uint64_t stream = next_request (harness)->envelope.stream;
    tell_stop (harness, 60000);
    tell_stop (harness, 0);
    probe_await (harness, ACTOR_control, MESSAGE_stopped, 0);
    probe_await (harness, ACTOR_auth, MESSAGE_abort, stream);
    client_await_end (harness, &living);
    assert_true (living.cut);
    client_free (&living);
    harness_destroy (harness);
}

static bool refused (struct harness *harness, struct sockaddr_in *address)
{
    (void) harness;
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int connected = connect (fd, (struct sockaddr *) address, sizeof *address);
    close (fd);
    return connected < 0;
}

static void closes_and_opens_the_api (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    getsockname (ingress_of (harness)->listener_fd, (struct sockaddr *) &address, &size);
    harness->configuration.port = ntohs (address.sin_port);
    for (int open = 0; open < 2; open++)
    {
        union message_fields fields = {.listen = {.open = open}};
        probe_send (harness, ACTOR_auth, ACTOR_ingress, MESSAGE_listen, 0, &fields, SLICE (""));
        assert_int_equal (harness_counter (harness, ACTOR_ingress, "listening"), open);
        assert_int_equal (refused (harness, &address), !open);
    }
    struct client client = client_open (harness);
    client_free (&client);
    harness_destroy (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (makes_messages_of_requests, harness_teardown),
        cmocka_unit_test_teardown (a_websockets_101_is_bare, harness_teardown),
        cmocka_unit_test_teardown (answers_pipelined_requests_in_order, harness_teardown),
        cmocka_unit_test_teardown (frames_answers, harness_teardown),
        cmocka_unit_test_teardown (passes_a_head_before_its_body, harness_teardown),
        cmocka_unit_test_teardown (says_continue_only_with_credit, harness_teardown),
        cmocka_unit_test_teardown (decodes_chunked_bodies, harness_teardown),
        cmocka_unit_test_teardown (holds_bodies_without_credit, harness_teardown),
        cmocka_unit_test_teardown (takes_early_answers, harness_teardown),
        cmocka_unit_test_teardown (grants_as_the_client_reads, harness_teardown),
        cmocka_unit_test_teardown (refuses_when_nothing_fits, harness_teardown),
        cmocka_unit_test_teardown (leaving_is_an_abort, harness_teardown),
        cmocka_unit_test_teardown (goodbye_is_no_abort, harness_teardown),
        cmocka_unit_test_teardown (aborts_from_the_far_end_are_never_short_answers, harness_teardown),
        cmocka_unit_test_teardown (holds_what_follows_a_hijackable_request, harness_teardown),
        cmocka_unit_test_teardown (half_closes_raw_streams, harness_teardown),
        cmocka_unit_test_teardown (refuses_what_reads_in_two_ways, harness_teardown),
        cmocka_unit_test_teardown (keeps_limits, harness_teardown),
        cmocka_unit_test_teardown (keeps_times, harness_teardown),
        cmocka_unit_test_teardown (tells_plain_http, harness_teardown),
        cmocka_unit_test_teardown (speaks_tls, harness_teardown),
        cmocka_unit_test_teardown (stops_in_order, harness_teardown),
        cmocka_unit_test_teardown (ends_what_outlives_the_grace, harness_teardown),
        cmocka_unit_test_teardown (stops_at_once, harness_teardown),
        cmocka_unit_test_teardown (closes_and_opens_the_api, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
