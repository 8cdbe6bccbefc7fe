/* actors_cluster_transport_test - packets between agents: several transports on one reactor, over real TCP connections
 * of the loopback interface. An actor of the test's own holds them.
 */
#include "log_capture.h"

#include "actors/cluster_transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>

enum
{
    PACKET_MAX = 64 * 1024,
    TRANSPORTS = 3,
    PACKETS_MAX = 200,
};

static const char s_secret[] = "a secret of many characters", s_other[] = "another secret";

/* One end, and what came there. */
struct end
{
    struct transport *transport;
    uint16_t port;
    char address[20];
    const char *expected; /* without a secret, only this address may come; NULL: any */
    size_t count, bytes;  /* of packets */
    char last[64], from[64];
};

static struct end s_ends[TRANSPORTS];
static struct actor *s_actor;

static void *hold (struct actor *actor, const void *configuration)
{
    (void) configuration;
    s_actor = actor;
    return actor;
}

static void on_message (void *self, struct message *message)
{
    union message_fields fields = {.report = {.state = SLICE ("{}")}};
    actor_send (self, message->envelope.from, MESSAGE_report, NULL, &fields, NULL);
}

static void let_go (void **self_p)
{
    for (size_t index = 0; index < TRANSPORTS; index++)
        transport_destroy (&s_ends[index].transport);
    *self_p = NULL;
}

static const struct actor_class s_holder = {
    .id = ACTOR_membership, .start = hold, .message = on_message, .stop = let_go};

static void on_packet (void *context, const char *from, struct slice bytes)
{
    struct end *end = context;
    end->count++;
    end->bytes += bytes.len;
    snprintf (end->last, sizeof end->last, "%.*s", (int) (bytes.len < 60 ? bytes.len : 60), bytes.at);
    snprintf (end->from, sizeof end->from, "%s", from);
}

static bool is_expected (void *context, const char *address)
{
    const struct end *end = context;
    return !end->expected || strcmp (end->expected, address) == 0;
}

static uint16_t free_port (int family)
{
    int fd = socket (family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage address = {.ss_family = (sa_family_t) family};
    socklen_t size = family == AF_INET ? sizeof (struct sockaddr_in) : sizeof (struct sockaddr_in6);
    ensure (bind (fd, (struct sockaddr *) &address, size) == 0);
    size = sizeof address;
    ensure (getsockname (fd, (struct sockaddr *) &address, &size) == 0);
    close (fd);
    return ntohs (((struct sockaddr_in *) (void *) &address)->sin_port);
}

static struct end *open_end (size_t number, const char *address, const char *secret, const char *expected)
{
    static const struct transport_callbacks callbacks = {on_packet, is_expected};
    struct end *end = &s_ends[number];
    *end = (struct end){.expected = expected};
    snprintf (end->address, sizeof end->address, "%s", address);
    for (int attempt = 0; attempt < 10 && !end->transport; attempt++)
    {
        end->port = free_port (AF_INET);
        struct transport_options options = {
            .open = !secret[0], .address = address, .port = end->port, .packet_bytes_max = PACKET_MAX};
        cluster_keys_derive (&options.keys, secret);
        end->transport = transport_new (s_actor, &options, &callbacks, end);
    }
    assert_non_null (end->transport);
    return end;
}

static struct harness *begin (void)
{
    struct harness *harness = harness_prepare ();
    harness_start (harness, &s_holder);
    log_capture_begin (harness);
    return harness;
}

static int teardown (void **state)
{
    log_capture_end ();
    return harness_teardown (state);
}

static void finish (struct harness *harness)
{
    log_capture_end ();
    harness_destroy (harness);
}

static void say (struct end *from, const struct end *to, const char *text)
{
    transport_send (from->transport, to->address, to->port, slice_from (text));
}

struct awaited
{
    const struct end *end;
    size_t count;
};

static bool has_packets (struct harness *harness, void *data)
{
    (void) harness;
    const struct awaited *awaited = data;
    return awaited->end->count >= awaited->count;
}

static void await_packets (struct harness *harness, const struct end *end, size_t count)
{
    struct awaited awaited = {end, count};
    harness_until (harness, has_packets, &awaited);
    assert_int_equal (end->count, count);
}

static struct transport_counters counters (const struct end *end)
{
    return transport_counters (end->transport);
}

static bool first_has_no_link (struct harness *harness, void *data)
{
    (void) harness;
    return counters (data).links == 0;
}

/* ----------------------------------------------------------------------------------------------------------- delivery
 */

static void delivers_packets (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.2", s_secret, NULL), *second = open_end (1, "127.0.0.3", s_secret, NULL);
    say (first, second, "hello"); /* before there is a connection */
    await_packets (harness, second, 1);
    assert_string_equal (second->last, "hello");
    assert_string_equal (second->from, "127.0.0.2"); /* it leaves from the address that is the agent's */
    say (second, first, "good day");
    await_packets (harness, first, 1);
    assert_string_equal (first->last, "good day");
    assert_string_equal (first->from, "127.0.0.3");

    for (int number = 0; number < 10; number++)
        say (first, second, "once");
    await_packets (harness, second, 11);
    assert_int_equal (counters (first).connects, 1);
    assert_int_equal (counters (first).packets_out, 11);
    assert_int_equal (counters (first).bytes_out, 45);
    assert_int_equal (counters (second).packets_in, 11);
    assert_int_equal (counters (second).bytes_in, 45);
    assert_int_equal (counters (second).gate.admitted, 1);
    assert_string_equal (log_capture_text (), "");
    finish (harness);
}

/* Descriptors run out: a packet is lost, not the agent. */
static void survives_without_descriptors (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.2", s_secret, NULL), *second = open_end (1, "127.0.0.3", s_secret, NULL);
    struct rlimit before, none;
    getrlimit (RLIMIT_NOFILE, &before);
    none = before;
    int least = dup (0);
    none.rlim_cur = (rlim_t) least;
    close (least);
    setrlimit (RLIMIT_NOFILE, &none);
    say (first, second, "lost");
    setrlimit (RLIMIT_NOFILE, &before);
    assert_int_equal (counters (first).dropped, 1);
    finish (harness);
}

static void delivers_over_ipv6 (void **state)
{
    (void) state;
    int probe = socket (AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_six = probe >= 0 && bind (probe, (struct sockaddr *) &loopback, sizeof loopback) == 0;
    close (probe);
    if (!has_six)
        skip ();
    struct harness *harness = begin ();
    struct end *first = open_end (0, "::1", s_secret, NULL), *second = open_end (1, "::1", s_secret, NULL);
    say (first, second, "six");
    await_packets (harness, second, 1);
    assert_string_equal (second->from, "::1");
    finish (harness);
}

static void sends_the_longest_packet_and_no_longer_one (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.1", s_secret, NULL), *second = open_end (1, "127.0.0.1", s_secret, NULL);
    char *bytes = must (calloc (1, PACKET_MAX + 1));
    transport_send (first->transport, second->address, second->port, slice_of (bytes, PACKET_MAX));
    await_packets (harness, second, 1);
    assert_int_equal (second->bytes, PACKET_MAX);
    transport_send (first->transport, second->address, second->port, slice_of (bytes, PACKET_MAX + 1));
    harness_until (harness, first_has_no_link, first); /* the receiver hangs up */
    say (first, second, "next");
    await_packets (harness, second, 2);
    assert_string_equal (second->last, "next");
    assert_int_equal (counters (first).connects, 2);
    free (bytes);
    finish (harness);
}

/* ------------------------------------------------------------------------------------------------------------ secrets
 */

static void refuses_another_secret (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.2", s_secret, NULL), *second = open_end (1, "127.0.0.3", s_other, NULL),
               *third = open_end (2, "127.0.0.4", "", NULL);
    static const char refused[] = "refused a connection from 127.0.0.2";
    char refuses[80];
    size_t attempts = 0;
    snprintf (refuses, sizeof refuses, "the agent at 127.0.0.3:%u does not accept our keys", second->port);
    time_t deadline = time (NULL) + HARNESS_PATIENCE;
    /* One failure is none yet; and a connection that is gone before it was looked at has no address. */
    while (attempts < 5 || !log_capture_count (refused) || !log_capture_count (refuses))
    {
        if (time (NULL) > deadline)
            fail_msg ("the log does not say it at both ends: %s", log_capture_text ());
        say (first, second, "let me in");
        harness_until (harness, first_has_no_link, first);
        assert_int_equal (counters (first).handshakes_failed, ++attempts);
    }
    assert_int_equal (log_capture_count (refused), 1); /* not at each attempt, */
    assert_int_equal (log_capture_count (refuses), 1); /* and at both ends */
    assert_int_equal (log_capture_count ("AGENT_SECRET"), 2);
    harness_barrier (harness, ACTOR_membership);
    assert_int_equal (counters (second).gate.wrong_keys, attempts);

    /* Keys that everybody knows open nothing where there is a secret, nor the other way about. */
    say (third, first, "let me in");
    harness_until (harness, first_has_no_link, third);
    say (first, third, "let me in");
    harness_until (harness, first_has_no_link, first);
    assert_int_equal (first->count + second->count + third->count, 0);
    finish (harness);
}

/* A client that knows the server's public key, which is no secret by itself. */
static void refuses_other_client_keys (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.2", s_secret, NULL);
    struct cluster_keys keys;
    cluster_keys_derive (&keys, s_secret);
    void *context = zmq_ctx_new (), *dealer = zmq_socket (context, ZMQ_DEALER);
    char public_key[41], secret_key[41], endpoint[64];
    int none = 0;
    assert_int_equal (zmq_curve_keypair (public_key, secret_key), 0);
    zmq_setsockopt (dealer, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt (dealer, ZMQ_CURVE_SERVERKEY, keys.server_public, CLUSTER_KEY_BYTES);
    zmq_setsockopt (dealer, ZMQ_CURVE_PUBLICKEY, public_key, 40);
    zmq_setsockopt (dealer, ZMQ_CURVE_SECRETKEY, secret_key, 40);
    snprintf (endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", first->port);
    assert_int_equal (zmq_connect (dealer, endpoint), 0);
    zmq_send (dealer, "hello", 5, ZMQ_DONTWAIT);
    log_await (harness, "refused an agent at 127.0.0.1: it knows who we are, but its own key is not the cluster's");
    assert_int_equal (counters (first).gate.wrong_keys, 1);
    assert_int_equal (first->count, 0);
    zmq_close (dealer);
    zmq_ctx_term (context);

    /* The same with the right key is heard. */
    struct end *second = open_end (1, "127.0.0.3", s_secret, NULL);
    say (second, first, "hello");
    await_packets (harness, first, 1);
    finish (harness);
}

static void without_a_secret_addresses_decide (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.2", "", "127.0.0.3"), *friend = open_end (1, "127.0.0.3", "", NULL),
               *stranger = open_end (2, "127.0.0.4", "", NULL);
    say (friend, first, "I am expected");
    await_packets (harness, first, 1);
    assert_string_equal (first->from, "127.0.0.3");
    say (stranger, first, "I am not");
    harness_until (harness, first_has_no_link, stranger);
    assert_int_equal (counters (first).gate.wrong_hosts, 1);
    assert_int_equal (counters (stranger).handshakes_failed, 1);

    /* What is expected changes; a connection that was made before does not outlive it. */
    first->expected = "127.0.0.4";
    say (friend, first, "no longer");
    say (stranger, first, "now I am");
    await_packets (harness, first, 2);
    assert_string_equal (first->last, "now I am");
    while (counters (first).malformed == 0)
        harness_barrier (harness, ACTOR_membership);
    assert_int_equal (first->count, 2);
    finish (harness);
}

/* ------------------------------------------------------------------------------------------------------ hostile input
 */

static int dial (const struct end *end)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons (end->port), .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal (connect (fd, (struct sockaddr *) &address, sizeof address), 0);
    return fd;
}

static void survives_garbage (void **state)
{
    (void) state;
    const struct slice texts[] = {
        SLICE ("GET / HTTP/1.1\r\nHost: x\r\n\r\n                                               "),
        SLICE ("\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
               "\0\0\0\0\0"
               "\x04\x19\x05READY\x0bSocket-Type\0\0\0\x06"
               "DEALER"),
        SLICE ("\xff\0\0\0\0\0\0\0\x01\x7f\x03\0CURVE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
               "\0\0\0\0"
               "\x06\xff\xff\xff\xff\xff\xff\xff\xff"),
        SLICE ("\xff\0\0\0\0\0\0\0\x01\x7f\x03\0CURVE\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
               "\0\0\0\0"
               "\x04\xc8\x05HELLO\x01\0 cut off"),
        SLICE ("\xff"),
    };
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.2", s_secret, NULL), *second = open_end (1, "127.0.0.3", s_secret, NULL);
    for (size_t row = 0; row < sizeof texts / sizeof *texts; row++)
    {
        struct peer peer = peer_of (dial (first));
        peer_send (&peer, texts[row].at, texts[row].len);
        shutdown (peer.fd, SHUT_WR);
        peer_await_end (harness, &peer);
        peer_free (&peer);
    }
    /* One that says nothing is hung up on. */
    struct peer silent = peer_of (dial (first));
    peer_await_end (harness, &silent);
    peer_free (&silent);
    say (second, first, "all is well");
    await_packets (harness, first, 1);
    assert_int_equal (counters (first).gate.accepted, sizeof texts / sizeof *texts + 2);
    assert_int_equal (counters (first).gate.admitted, 1);
    assert_true (counters (first).gate.unfinished >= 1);
    finish (harness);
}

/* Whoever has the keys may still send what is no packet: several frames. */
static void counts_what_is_no_packet (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.2", s_secret, NULL);
    struct cluster_keys keys;
    cluster_keys_derive (&keys, s_secret);
    void *context = zmq_ctx_new (), *dealer = zmq_socket (context, ZMQ_DEALER);
    char endpoint[64];
    int none = 0;
    zmq_setsockopt (dealer, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt (dealer, ZMQ_CURVE_SERVERKEY, keys.server_public, CLUSTER_KEY_BYTES);
    zmq_setsockopt (dealer, ZMQ_CURVE_PUBLICKEY, keys.client_public, CLUSTER_KEY_BYTES);
    zmq_setsockopt (dealer, ZMQ_CURVE_SECRETKEY, keys.client_secret, CLUSTER_KEY_BYTES);
    snprintf (endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", first->port);
    assert_int_equal (zmq_connect (dealer, endpoint), 0);
    for (int frames = 2; frames < 6; frames++)
    {
        for (int frame = 1; frame < frames; frame++)
            zmq_send (dealer, "part", 4, ZMQ_DONTWAIT | ZMQ_SNDMORE);
        zmq_send (dealer, "end", 3, ZMQ_DONTWAIT);
    }
    zmq_send (dealer, "whole", 5, ZMQ_DONTWAIT);
    await_packets (harness, first, 1);
    assert_string_equal (first->last, "whole");
    assert_int_equal (counters (first).malformed, 4);
    zmq_close (dealer);
    zmq_ctx_term (context);
    finish (harness);
}

/* ------------------------------------------------------------------------------------------------------------- limits
 */

static void has_few_links (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.1", s_secret, NULL), *second = open_end (1, "127.0.0.1", s_secret, NULL);
    int listeners[LINKS_MAX];
    say (first, second, "first");
    await_packets (harness, second, 1);
    for (int number = 0; number < LINKS_MAX; number++)
    {
        /* They take connections, and say nothing. */
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        listeners[number] = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal (bind (listeners[number], (struct sockaddr *) &address, size), 0);
        assert_int_equal (listen (listeners[number], 5), 0);
        assert_int_equal (getsockname (listeners[number], (struct sockaddr *) &address, &size), 0);
        transport_send (first->transport, "127.0.0.1", ntohs (address.sin_port), SLICE ("x"));
        assert_true (counters (first).links <= LINKS_MAX);
        if (number == LINKS_MAX / 2) /* used again: it is not the oldest any more */
            say (first, second, "second");
    }
    assert_int_equal (counters (first).links, LINKS_MAX);
    assert_int_equal (counters (first).links_evicted, 1);
    say (first, second, "third");
    await_packets (harness, second, 3);
    assert_int_equal (counters (second).gate.admitted, 1); /* over the same connection */
    for (int number = 0; number < LINKS_MAX; number++)
        close (listeners[number]);
    finish (harness);
}

static void drops_what_a_link_cannot_take (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.1", s_secret, NULL);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal (bind (listener, (struct sockaddr *) &address, size), 0);
    assert_int_equal (listen (listener, 5), 0);
    assert_int_equal (getsockname (listener, (struct sockaddr *) &address, &size), 0);
    for (int number = 0; number < PACKETS_MAX; number++)
        transport_send (first->transport, "127.0.0.1", ntohs (address.sin_port), SLICE ("x"));
    assert_int_equal (counters (first).packets_out + counters (first).dropped, PACKETS_MAX);
    assert_true (counters (first).dropped > 0);
    assert_int_equal (counters (first).packets_out, 64);
    close (listener);
    finish (harness);
}

/* ------------------------------------------------------------------------------------------------------ links that end
 */

static void comes_back_when_the_other_does (void **state)
{
    (void) state;
    static const struct transport_callbacks callbacks = {on_packet, is_expected};
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.1", s_secret, NULL), *second = open_end (1, "127.0.0.1", s_secret, NULL);
    say (first, second, "one");
    await_packets (harness, second, 1);
    transport_destroy (&second->transport);
    harness_until (harness, first_has_no_link, first);
    say (first, second, "lost"); /* nobody listens */
    harness_until (harness, first_has_no_link, first);
    assert_int_equal (counters (first).connects_failed, 1);

    struct transport_options options = {
        .address = second->address, .port = second->port, .packet_bytes_max = PACKET_MAX};
    cluster_keys_derive (&options.keys, s_secret);
    second->transport = transport_new (s_actor, &options, &callbacks, second);
    assert_non_null (second->transport);
    say (first, second, "two");
    await_packets (harness, second, 2);
    assert_string_equal (second->last, "two");
    finish (harness);
}

static void says_good_bye (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.1", s_secret, NULL), *second = open_end (1, "127.0.0.1", s_secret, NULL);
    say (first, second, "hello");
    await_packets (harness, second, 1);
    say (first, second, "good-bye");
    transport_destroy (&first->transport);
    await_packets (harness, second, 2);
    assert_string_equal (second->last, "good-bye");
    finish (harness);
}

static void needs_its_port (void **state)
{
    (void) state;
    static const struct transport_callbacks callbacks = {on_packet, is_expected};
    struct harness *harness = begin ();
    struct end *first = open_end (0, "127.0.0.1", s_secret, NULL);
    struct transport_options options = {.address = "127.0.0.1", .port = first->port, .packet_bytes_max = PACKET_MAX};
    cluster_keys_derive (&options.keys, s_secret);
    errno = 0;
    assert_null (transport_new (s_actor, &options, &callbacks, NULL));
    assert_int_equal (errno, EADDRINUSE);
    finish (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (delivers_packets, teardown),
        cmocka_unit_test_teardown (survives_without_descriptors, teardown),
        cmocka_unit_test_teardown (delivers_over_ipv6, teardown),
        cmocka_unit_test_teardown (sends_the_longest_packet_and_no_longer_one, teardown),
        cmocka_unit_test_teardown (refuses_another_secret, teardown),
        cmocka_unit_test_teardown (refuses_other_client_keys, teardown),
        cmocka_unit_test_teardown (without_a_secret_addresses_decide, teardown),
        cmocka_unit_test_teardown (survives_garbage, teardown),
        cmocka_unit_test_teardown (counts_what_is_no_packet, teardown),
        cmocka_unit_test_teardown (has_few_links, teardown),
        cmocka_unit_test_teardown (drops_what_a_link_cannot_take, teardown),
        cmocka_unit_test_teardown (comes_back_when_the_other_does, teardown),
        cmocka_unit_test_teardown (says_good_bye, teardown),
        cmocka_unit_test_teardown (needs_its_port, teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
