/* actors_peers_test - the peers actor before other agents that do what the test says, over TLS on loopback.
 *
 * Probes stand for ingress, gather, the router and membership. The other agents are this program: they accept, shake
 * hands with a key of their own, read what they were sent, and answer, wrongly or not at all.
 */
#include "actor_harness.h"

#include "actors/tls.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>

enum
{
    WINDOW = 65536, /* credit that a request brings, where it does not matter */
};

/* ------------------------------------------------------------------------------------------------------------- agents
 */

struct agent
{
    int listener;
    uint16_t port;
    struct tls_endpoint *tls;
};

/* One connection of the peers actor, the agent's end. */
struct session
{
    struct agent *agent;
    int fd;
    SSL *ssl;
    char *text; /* what was read, NUL-terminated */
    size_t length;
    bool shaken, ended, cut;
};

static struct agent agent_new (void)
{
    struct agent agent = {.tls = tls_server_new ()};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    agent.listener = socket (AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal (bind (agent.listener, (struct sockaddr *) &address, size), 0);
    assert_int_equal (listen (agent.listener, 16), 0);
    assert_int_equal (getsockname (agent.listener, (struct sockaddr *) &address, &size), 0);
    agent.port = ntohs (address.sin_port);
    return agent;
}

static void agent_free (struct agent *agent)
{
    if (agent->listener >= 0)
        close (agent->listener);
    tls_endpoint_destroy (&agent->tls);
}

static void read_session (struct session *session)
{
    char bytes[65536];
    size_t length;
    while (!session->ended && !session->cut)
    {
        ERR_clear_error ();
        int returned = SSL_read_ex (session->ssl, bytes, sizeof bytes, &length);
        if (returned != 1)
        {
            int error = SSL_get_error (session->ssl, returned);
            session->ended = error == SSL_ERROR_ZERO_RETURN;
            session->cut = !session->ended && error != SSL_ERROR_WANT_READ;
            return;
        }
        session->text = must (realloc (session->text, session->length + length + 1));
        memcpy (session->text + session->length, bytes, length);
        session->length += length;
        session->text[session->length] = '\0';
    }
}

static bool is_shaken (struct harness *harness, void *data)
{
    (void) harness;
    struct session *session = data;
    if (!session->ssl)
    {
        session->fd = accept4 (session->agent->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (session->fd < 0)
            return false;
        session->ssl = SSL_new (session->agent->tls->context);
        SSL_set_fd (session->ssl, session->fd);
    }
    ERR_clear_error ();
    int returned = SSL_accept (session->ssl);
    session->shaken = returned == 1;
    session->cut = returned != 1 && SSL_get_error (session->ssl, returned) != SSL_ERROR_WANT_READ;
    return session->shaken || session->cut;
}

/* The next connection, after its handshake. */
static struct session agent_accept (struct harness *harness, struct agent *agent)
{
    struct session session = {.agent = agent, .fd = -1, .text = bytes_copy (NULL, 0)};
    harness_until (harness, is_shaken, &session);
    return session;
}

struct wanted_bytes
{
    struct session *session;
    const char *text; /* NULL: the end */
};

static bool has_bytes (struct harness *harness, void *data)
{
    (void) harness;
    struct wanted_bytes *wanted = data;
    read_session (wanted->session);
    if (!wanted->text)
        return wanted->session->ended || wanted->session->cut;
    return strstr (wanted->session->text, wanted->text) != NULL;
}

static void session_await (struct harness *harness, struct session *session, const char *text)
{
    struct wanted_bytes wanted = {session, text};
    if (!harness_try (harness, has_bytes, &wanted))
        fail_msg ("never came: %s; this did: %s", text ? text : "the end", session->text);
}

static void session_clear (struct session *session)
{
    session->length = 0;
    session->text[0] = '\0';
}

static void session_say (struct session *session, const char *text)
{
    size_t written;
    assert_int_equal (SSL_write_ex (session->ssl, text, strlen (text), &written), 1);
}

static void session_free (struct session *session)
{
    SSL_free (session->ssl);
    if (session->fd >= 0)
        close (session->fd);
    free (session->text);
    *session = (struct session){.fd = -1};
}

/* ----------------------------------------------------------------------------------------------------------- members
 */

struct known
{
    const char *id, *name;
    bool manager, suspected, gone;
    const char *tls_key; /* NULL: the agent's own */
};

static void tell_member (struct harness *harness, const struct agent *agent, struct known known)
{
    union message_fields fields = {
        .member = {.usable = !known.gone,
                   .suspected = known.suspected,
                   .id = slice_from (known.id),
                   .instance = 1,
                   .name = slice_from (known.name),
                   .manager = known.manager,
                   .address = SLICE ("127.0.0.1"),
                   .port = agent->port,
                   .tls_key = slice_from (known.tls_key ? known.tls_key : agent->tls->key_hash),
                   .version = SLICE ("1")}};
    probe_send (harness, ACTOR_membership, ACTOR_peers, MESSAGE_member, 0, &fields, SLICE (""));
}

static struct harness *begin (void)
{
    struct harness *harness = harness_prepare ();
    harness_start (harness, &peers_class);
    union message_fields fields = {.engine = {.reachable = true, .api_maximum = 1041, .node = SLICE ("own")}};
    probe_send (harness, ACTOR_docker, ACTOR_peers, MESSAGE_engine, 0, &fields, SLICE (""));
    return harness;
}

struct asked
{
    const char *method, *target, *node;
    enum framing framing;
    uint64_t length, window;
    const char *upgrade;
    struct header headers[8];
    size_t count;
};

static uint64_t ask (struct harness *harness, struct asked asked)
{
    uint64_t stream = ++harness->last_stream;
    union message_fields fields = {.request = {.method = slice_from (asked.method),
                                               .target = slice_from (asked.target),
                                               .framing = asked.framing,
                                               .length = asked.length,
                                               .upgrade = slice_from (asked.upgrade),
                                               .hijackable = asked.upgrade != NULL,
                                               .source = SLICE ("192.0.2.9:4711"),
                                               .authority = SLICE ("shoal.example:9001"),
                                               .window = asked.window ? asked.window : WINDOW,
                                               .client = ACTOR_ingress,
                                               .node = slice_from (asked.node),
                                               .headers = {asked.headers, asked.count}}};
    probe_send (harness, ACTOR_router, ACTOR_peers, MESSAGE_request, stream, &fields, SLICE (""));
    return stream;
}

static uint64_t get (struct harness *harness, const char *node)
{
    return ask (harness, (struct asked){.method = "GET", .target = "/x", .node = node});
}

static struct session take (struct harness *harness, struct agent *agent)
{
    struct session session = agent_accept (harness, agent);
    session_await (harness, &session, "\r\n\r\n");
    return session;
}

static unsigned status_of (struct harness *harness, uint64_t stream)
{
    return (unsigned) probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response.status;
}

static void expect_error (struct harness *harness, uint64_t stream, unsigned status, const char *message,
                          const char *cause)
{
    assert_int_equal (status_of (harness, stream), status);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    size_t length;
    char *text = probe_payload (harness, ACTOR_ingress, stream, &length);
    if (!strstr (text, message) || !strstr (text, cause))
        fail_msg ("'%s' and '%s' are not in %s", message, cause, text);
    free (text);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_response, stream), 1);
}

static const char s_no_agent[] = "\"The agent was unable to contact any other agent\"";
static const char s_no_manager[] = "\"The agent was unable to contact any other agent located on a manager node\"";
static const char s_ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/* ---------------------------------------------------------------------------------------------------- plain requests
 */

static bool has_line (const struct session *session, const char *line)
{
    char text[200];
    snprintf (text, sizeof text, "\r\n%s\r\n", line);
    return strstr (session->text, text) != NULL;
}

static void forwards_request_and_answer (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    struct asked asked = {.method = "GET",
                          .target = "/v1.47/a%2Fb?x=%20",
                          .node = "n2",
                          .headers = {{SLICE ("X-PortainerAgent-Signature"), SLICE ("abc")},
                                      {SLICE ("X-PortainerAgent-Target"), SLICE ("n2")},
                                      {SLICE ("X-PortainerAgent-ManagerOperation"), SLICE ("")},
                                      {SLICE ("Shoal-Hop"), SLICE ("forged")},
                                      {SLICE ("traceparent"), SLICE ("00-1-2-3")},
                                      {SLICE ("X-Forwarded-For"), SLICE ("198.51.100.1")},
                                      {SLICE ("X-Other"), SLICE ("kept")}},
                          .count = 7};
    uint64_t stream = ask (harness, asked);
    struct session session = take (harness, &agent);
    char host[40];
    snprintf (host, sizeof host, "Host: 127.0.0.1:%u", agent.port);
    assert_true (strstr (session.text, "GET /v1.47/a%2Fb?x=%20 HTTP/1.1\r\n") == session.text);
    assert_true (has_line (&session, host));
    assert_true (has_line (&session, "X-PortainerAgent-Signature: abc"));
    assert_true (has_line (&session, "X-PortainerAgent-Target: node2"));
    assert_true (has_line (&session, "Shoal-Hop: own"));
    assert_true (has_line (&session, "X-Forwarded-For: 198.51.100.1, 192.0.2.9"));
    assert_true (has_line (&session, "X-Other: kept"));
    assert_non_null (strstr (session.text, "\r\ntraceparent: 00-010203"));
    assert_null (strstr (session.text, "forged"));
    assert_null (strstr (session.text, "00-1-2-3"));

    session_say (&session, "HTTP/1.1 299 Fine\r\nContent-Type: a/b\r\nContent-Length: 6\r\n\r\nabc");
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
    assert_int_equal (seen->fields.response.status, 299);
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abc"));
    session_say (&session, "def");
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abcdef"));
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);

    /* The connection is kept for the next request. */
    session_clear (&session);
    stream = get (harness, "n2");
    session_await (harness, &session, "\r\n\r\n");
    session_say (&session, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    assert_int_equal (harness_counter (harness, ACTOR_peers, "connects"), 1);
    assert_int_equal (harness_counter (harness, ACTOR_peers, "reused"), 1);
    session_free (&session);
    harness_destroy (harness);
    agent_free (&agent);
}

static void bodies_obey_credit (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    uint64_t stream = ask (
        harness,
        (struct asked){.method = "POST", .target = "/load", .node = "n2", .framing = FRAMING_CHUNKED, .window = 5});
    struct session session = take (harness, &agent);
    assert_true (probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream)->fields.credit.bytes >= 4096);
    probe_body (harness, ACTOR_ingress, ACTOR_peers, stream, SLICE ("hello"));
    probe_end (harness, ACTOR_ingress, ACTOR_peers, stream);
    session_await (harness, &session, "5\r\nhello\r\n0\r\n\r\n");

    /* One record holds the whole answer; it is passed on as credit allows. */
    session_say (&session, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nabcdefghijkl");
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abcde"));
    harness_barrier (harness, ACTOR_peers);
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abcde"));
    probe_credit (harness, ACTOR_ingress, ACTOR_peers, stream, 3);
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abcdefgh"));
    probe_credit (harness, ACTOR_ingress, ACTOR_peers, stream, 100);
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abcdefghijkl"));
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    session_free (&session);
    harness_destroy (harness);
    agent_free (&agent);
}

static void an_answer_that_is_cut_off (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    uint64_t stream = get (harness, "n2");
    struct session session = take (harness, &agent);
    session_say (&session, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abc"));
    session_free (&session); /* a FIN without close_notify */
    probe_await (harness, ACTOR_ingress, MESSAGE_abort, stream);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_end, stream), 0);

    /* Also where the end of the connection would end the body: only close_notify says that it is whole. */
    for (int orderly = 0; orderly < 2; orderly++)
    {
        stream = get (harness, "n2");
        session = take (harness, &agent);
        session_say (&session, "HTTP/1.1 200 OK\r\n\r\nabc");
        probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("abc"));
        if (orderly)
            SSL_shutdown (session.ssl);
        else
            close (session.fd), session.fd = -1;
        probe_await (harness, ACTOR_ingress, orderly ? MESSAGE_end : MESSAGE_abort, stream);
        session_free (&session);
    }
    harness_destroy (harness);
    agent_free (&agent);
}

static void an_abort_closes_the_connection (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    uint64_t stream = get (harness, "n2");
    struct session session = take (harness, &agent);
    probe_abort (harness, ACTOR_ingress, ACTOR_peers, stream);
    session_await (harness, &session, NULL);
    assert_true (session.cut); /* no close_notify: it is an abort */
    session_free (&session);
    harness_destroy (harness);
    agent_free (&agent);
}

/* ------------------------------------------------------------------------------------------------------ raw streams */

/* A console compares Origin with the Host that the browser sent, so that travels along. */
static void a_console_keeps_its_host (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    uint64_t stream =
        ask (harness,
             (struct asked){.method = "GET", .target = "/websocket/exec?id=a", .node = "n2", .upgrade = "websocket"});
    struct session session = take (harness, &agent);
    assert_true (has_line (&session, "Host: shoal.example:9001"));
    assert_true (has_line (&session, "Upgrade: websocket"));
    session_say (&session, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    session_free (&session);
    harness_destroy (harness);
    agent_free (&agent);
}

/* The last bytes and the end come in one read of the socket. */
static void the_end_comes_with_the_last_bytes (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    uint64_t stream =
        ask (harness, (struct asked){.method = "POST", .target = "/exec/a/start", .node = "n2", .upgrade = "tcp"});
    struct session session = take (harness, &agent);
    session_say (&session, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream);
    session_say (&session, "last");
    SSL_shutdown (session.ssl);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("last"));
    session_free (&session);

    /* The same, where the client's credit ends with the last byte. */
    stream = ask (harness, (struct asked){.method = "GET", .target = "/x", .node = "n2", .window = 4});
    session = take (harness, &agent);
    session_say (&session, "HTTP/1.1 200 OK\r\n\r\n");
    probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
    session_say (&session, "last");
    SSL_shutdown (session.ssl);
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("last"));
    probe_credit (harness, ACTOR_ingress, ACTOR_peers, stream, 4);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    session_free (&session);
    harness_destroy (harness);
    agent_free (&agent);
}

static void raw_bytes_and_half_close (void **state)
{
    (void) state;
    for (int client_first = 0; client_first < 2; client_first++)
    {
        struct agent agent = agent_new ();
        struct harness *harness = begin ();
        tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
        uint64_t stream =
            ask (harness, (struct asked){.method = "POST", .target = "/exec/a/start", .node = "n2", .upgrade = "tcp"});
        struct session session = take (harness, &agent);
        assert_true (has_line (&session, "Upgrade: tcp") && has_line (&session, "Connection: Upgrade"));
        session_clear (&session);
        session_say (&session, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst");
        struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
        assert_int_equal (seen->fields.response.framing, FRAMING_RAW);
        assert_true (slice_equal (seen->fields.response.upgrade, SLICE ("tcp")));
        probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream);
        probe_body (harness, ACTOR_ingress, ACTOR_peers, stream, SLICE ("typed"));
        session_await (harness, &session, "typed");
        if (client_first)
        {
            probe_end (harness, ACTOR_ingress, ACTOR_peers, stream);
            session_await (harness, &session, NULL);
            assert_true (session.ended);
            session_say (&session, " last");
            probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("first last"));
            SSL_shutdown (session.ssl);
            probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
        }
        else
        {
            SSL_shutdown (session.ssl);
            probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
            session_clear (&session);
            probe_body (harness, ACTOR_ingress, ACTOR_peers, stream, SLICE ("more"));
            session_await (harness, &session, "more");
            probe_end (harness, ACTOR_ingress, ACTOR_peers, stream);
            session_await (harness, &session, NULL);
            assert_true (session.ended);
        }
        assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_abort, stream), 0);
        assert_int_equal (harness_counter (harness, ACTOR_peers, "streams"), 0);
        session_free (&session);
        harness_destroy (harness);
        agent_free (&agent);
    }
}

/* ------------------------------------------------------------------------------------------------------------- trust
 */

static void another_key_than_announced (void **state)
{
    (void) state;
    struct agent agent = agent_new (), other = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2", .tls_key = other.tls->key_hash});
    uint64_t stream = ask (harness, (struct asked){.method = "GET",
                                                   .target = "/x",
                                                   .node = "n2",
                                                   .headers = {{SLICE ("X-PortainerAgent-Signature"), SLICE ("abc")}},
                                                   .count = 1});
    struct session session = agent_accept (harness, &agent);
    expect_error (harness, stream, 502, s_no_agent, "another TLS key than the one it announced");
    /* It saw nothing of the request. */
    session_await (harness, &session, NULL);
    assert_int_equal (session.length, 0);
    session_free (&session);
    harness_destroy (harness);
    agent_free (&agent);
    agent_free (&other);
}

static void a_member_without_a_key (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2", .tls_key = ""});
    uint64_t stream = get (harness, "n2");
    struct session session = agent_accept (harness, &agent);
    expect_error (harness, stream, 502, s_no_agent, "another TLS key than the one it announced");
    session_free (&session);
    harness_destroy (harness);
    agent_free (&agent);
}

/* ----------------------------------------------------------------------------------------------------------- members
 */

static void unknown_and_gone_members (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    expect_error (harness, get (harness, "nobody"), 502, s_no_agent, "has just left the cluster");
    expect_error (harness, get (harness, "manager"), 500, s_no_manager, "Unable to find an agent on any manager node");
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    expect_error (harness, get (harness, "manager"), 500, s_no_manager, "Unable to find an agent on any manager node");

    /* A living stream goes on when its member is declared dead; new requests are refused, idle connections closed. */
    uint64_t stream = get (harness, "n2");
    struct session living = take (harness, &agent);
    uint64_t other = get (harness, "n2");
    struct session idle = take (harness, &agent);
    session_say (&idle, s_ok);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, other);
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2", .gone = true});
    session_await (harness, &idle, NULL);
    expect_error (harness, get (harness, "n2"), 502, s_no_agent, "has just left the cluster");
    session_say (&living, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);

    /* It comes back. */
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    stream = get (harness, "n2");
    session_free (&living);
    session_free (&idle);
    idle = take (harness, &agent);
    session_say (&idle, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    session_free (&idle);
    harness_destroy (harness);
    agent_free (&agent);
}

static size_t agents_known (struct harness *harness)
{
    json_t *state = harness_inspect (harness, ACTOR_peers);
    size_t agents = json_object_size (json_object_get (state, "agents"));
    json_decref (state);
    return agents;
}

/* Contract 5.6: a console whose agent cannot be reached is answered in plain text. */
static void a_console_on_a_node_out_of_reach (void **state)
{
    (void) state;
    struct agent agent = agent_new (), other = agent_new ();
    struct harness *harness = begin ();
    struct asked asked = {.method = "GET", .target = "/v2/websocket/attach?id=a", .node = "n2", .upgrade = "websocket"};
    expect_error (harness, ask (harness, asked), 503, "Service Unavailable", "");
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2", .tls_key = other.tls->key_hash});
    uint64_t stream = ask (harness, asked);
    struct session session = agent_accept (harness, &agent);
    expect_error (harness, stream, 503, "Service Unavailable", "");
    session_free (&session);
    /* The engine's own WebSocket is no console of the agent's. */
    asked.target = "/containers/a/attach/ws";
    stream = ask (harness, asked);
    session = agent_accept (harness, &agent);
    expect_error (harness, stream, 502, s_no_agent, "another TLS key");
    session_free (&session);
    harness_destroy (harness);
    agent_free (&agent);
    agent_free (&other);
}

static void members_without_streams_are_forgotten (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    for (int index = 0; index < 50; index++)
    {
        char id[8];
        snprintf (id, sizeof id, "n%d", index);
        tell_member (harness, &agent, (struct known){.id = id, .name = id});
        tell_member (harness, &agent, (struct known){.id = id, .name = id, .gone = true});
    }
    time_t deadline = time (NULL) + HARNESS_PATIENCE;
    while (agents_known (harness))
        assert_true (time (NULL) < deadline);
    /* Nobody was asked. */
    assert_int_equal (accept4 (agent.listener, NULL, NULL, SOCK_NONBLOCK), -1);
    harness_destroy (harness);
    agent_free (&agent);
}

/* ----------------------------------------------------------------------------------------------------------- managers
 */

static void managers_are_tried_in_turn (void **state)
{
    (void) state;
    struct agent dead = agent_new (), closing = agent_new (), good = agent_new ();
    close (dead.listener);
    dead.listener = -1;
    struct harness *harness = begin ();
    /* The best of three is asked first: those that are suspected come last. */
    tell_member (harness, &good, (struct known){.id = "n4", .name = "node4", .manager = true, .suspected = true});
    tell_member (harness, &dead, (struct known){.id = "n2", .name = "node2", .manager = true});
    uint64_t stream = get (harness, "manager");
    struct session session = take (harness, &good);
    session_say (&session, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    session_free (&session);

    /* Also after a part of the request was sent, when its method is safe. */
    tell_member (harness, &dead, (struct known){.id = "n2", .name = "node2", .gone = true});
    tell_member (harness, &closing, (struct known){.id = "n3", .name = "node3", .manager = true});
    stream = get (harness, "manager");
    session = take (harness, &closing);
    session_free (&session);
    session = take (harness, &good);
    session_say (&session, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    session_free (&session);

    /* Not so when it may have been carried out. */
    stream = ask (harness, (struct asked){.method = "POST", .target = "/services/create", .node = "manager"});
    session = take (harness, &closing);
    session_free (&session);
    expect_error (harness, stream, 502, s_no_manager, "node3");
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_credit, stream), 0);

    /* All of them are named when none could be reached. */
    close (good.listener);
    good.listener = -1;
    close (closing.listener);
    closing.listener = -1;
    tell_member (harness, &closing, (struct known){.id = "n3", .name = "node3", .gone = true});
    tell_member (harness, &dead, (struct known){.id = "n2", .name = "node2", .manager = true});
    stream = ask (harness, (struct asked){.method = "POST", .target = "/services/create", .node = "manager"});
    expect_error (harness, stream, 502, s_no_manager, "node2");
    size_t length;
    char *text = probe_payload (harness, ACTOR_ingress, stream, &length);
    assert_non_null (strstr (text, "node4"));
    free (text);
    harness_destroy (harness);
    agent_free (&dead);
    agent_free (&closing);
    agent_free (&good);
}

/* A request with a body is kept until the connection stands: until then nothing of its body has moved. */
static void a_body_waits_for_the_right_manager (void **state)
{
    (void) state;
    struct agent dead = agent_new (), good = agent_new ();
    close (dead.listener);
    dead.listener = -1;
    struct harness *harness = begin ();
    tell_member (harness, &good, (struct known){.id = "n4", .name = "node4", .manager = true, .suspected = true});
    tell_member (harness, &dead, (struct known){.id = "n2", .name = "node2", .manager = true});
    uint64_t stream = ask (
        harness,
        (struct asked){.method = "POST", .target = "/s", .node = "manager", .framing = FRAMING_LENGTH, .length = 5});
    struct session session = take (harness, &good);
    probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_credit, stream), 1);
    probe_body (harness, ACTOR_ingress, ACTOR_peers, stream, SLICE ("hello"));
    probe_end (harness, ACTOR_ingress, ACTOR_peers, stream);
    session_await (harness, &session, "hello");
    session_say (&session, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    session_free (&session);
    harness_destroy (harness);
    agent_free (&dead);
    agent_free (&good);
}

static void a_manager_that_is_none_any_more (void **state)
{
    (void) state;
    static const char stale[] = "HTTP/1.1 502 Bad Gateway\r\nShoal-Stale: role\r\nContent-Length: 2\r\n\r\nno";
    struct agent demoted = agent_new (), good = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &good, (struct known){.id = "n4", .name = "node4", .manager = true, .suspected = true});
    tell_member (harness, &demoted, (struct known){.id = "n2", .name = "node2", .manager = true});
    uint64_t stream = ask (harness, (struct asked){.method = "POST", .target = "/s", .node = "manager"});
    struct session first = take (harness, &demoted);
    session_say (&first, stale);
    struct session second = take (harness, &good);
    session_say (&second, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    session_free (&second);

    /* When there is no other, its own words are passed on, and so is a 502 that means something else. */
    tell_member (harness, &good, (struct known){.id = "n4", .name = "node4", .gone = true});
    session_free (&first);
    stream = get (harness, "manager");
    first = take (harness, &demoted);
    session_say (&first, stale);
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
    assert_int_equal (seen->fields.response.status, 502);
    assert_true (slice_equal (headers_find (seen->fields.response.headers, SLICE ("Shoal-Stale")), SLICE ("role")));
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("no"));
    session_free (&first);
    harness_destroy (harness);
    agent_free (&demoted);
    agent_free (&good);
}

/* ------------------------------------------------------------------------------------------------------------- limits
 */

static void too_many_connections (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    harness->configuration.peer_connections = 1;
    uint64_t stream = get (harness, "n2");
    struct session session = take (harness, &agent);
    expect_error (harness, get (harness, "n2"), 503, "Too many requests to other agents at once", "--peer-connections");
    session_say (&session, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    session_free (&session);
    harness_destroy (harness);
    agent_free (&agent);
}

/* What is idle makes room for what is wanted. */
static void idle_connections_make_room (void **state)
{
    (void) state;
    struct agent agent = agent_new (), other = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    tell_member (harness, &other, (struct known){.id = "n3", .name = "node3"});
    harness->configuration.peer_connections = 1;
    uint64_t stream = get (harness, "n2");
    struct session idle = take (harness, &agent);
    session_say (&idle, s_ok);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    stream = get (harness, "n3");
    struct session session = take (harness, &other);
    session_say (&session, s_ok);
    assert_int_equal (status_of (harness, stream), 200);
    session_await (harness, &idle, NULL);
    session_free (&session);
    session_free (&idle);
    harness_destroy (harness);
    agent_free (&agent);
    agent_free (&other);
}

/* A node that takes the connection and shakes no hands. */
static void a_handshake_that_never_ends (void **state)
{
    (void) state;
    struct agent agent = agent_new ();
    struct harness *harness = begin ();
    tell_member (harness, &agent, (struct known){.id = "n2", .name = "node2"});
    expect_error (harness, get (harness, "n2"), 502, s_no_agent, "it does not answer");
    harness_destroy (harness);
    agent_free (&agent);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (forwards_request_and_answer, harness_teardown),
        cmocka_unit_test_teardown (bodies_obey_credit, harness_teardown),
        cmocka_unit_test_teardown (an_answer_that_is_cut_off, harness_teardown),
        cmocka_unit_test_teardown (an_abort_closes_the_connection, harness_teardown),
        cmocka_unit_test_teardown (raw_bytes_and_half_close, harness_teardown),
        cmocka_unit_test_teardown (the_end_comes_with_the_last_bytes, harness_teardown),
        cmocka_unit_test_teardown (a_console_keeps_its_host, harness_teardown),
        cmocka_unit_test_teardown (another_key_than_announced, harness_teardown),
        cmocka_unit_test_teardown (a_member_without_a_key, harness_teardown),
        cmocka_unit_test_teardown (unknown_and_gone_members, harness_teardown),
        cmocka_unit_test_teardown (a_console_on_a_node_out_of_reach, harness_teardown),
        cmocka_unit_test_teardown (members_without_streams_are_forgotten, harness_teardown),
        cmocka_unit_test_teardown (managers_are_tried_in_turn, harness_teardown),
        cmocka_unit_test_teardown (a_body_waits_for_the_right_manager, harness_teardown),
        cmocka_unit_test_teardown (a_manager_that_is_none_any_more, harness_teardown),
        cmocka_unit_test_teardown (too_many_connections, harness_teardown),
        cmocka_unit_test_teardown (idle_connections_make_room, harness_teardown),
        cmocka_unit_test_teardown (a_handshake_that_never_ends, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
