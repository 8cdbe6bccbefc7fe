/* gossip_swim_test - one state machine, call by call. The test is everybody else: member 1, 2, 3... speak through
 * say(), and whatever the machine sends and reports is written down. Time passes only in run().
 */
#include "gossip/packet.h"
#include "gossip/swim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum
{
    OWN = 0,
    PORT = 7946,
    SENT_MAX = 40000,
    PEERS = 3000,
};

static const uint64_t INSTANCE = 1700000000000;

struct sent
{
    uint64_t time;
    unsigned to;
    size_t length;
    char *bytes;
};

static struct
{
    struct swim *swim;
    uint64_t now, due;
    struct sent sent[SENT_MAX];
    size_t sent_count, seen; /* seen: what run() has answered */
    bool answers[PEERS];     /* peers that ack each ping at once */
    enum swim_state state[PEERS];
    unsigned reports[PEERS];
    uint64_t instance[PEERS];
    struct swim_member last;
    unsigned own_changes;
    uint64_t own_instance;
} rig;

/* ------------------------------------------------------------------------------------------------------------- rig */

static struct slice id_of (unsigned peer)
{
    static char texts[8][65];
    static unsigned next;
    char *text = texts[next++ % 8];
    snprintf (text, 65, "node%05u", peer);
    return slice_from (text);
}

static void address_of (unsigned peer, char out[65])
{
    snprintf (out, 65, "10.0.%u.%u", peer / 250, peer % 250);
}

static void on_send (void *context, const char *address, uint16_t port, struct slice bytes)
{
    (void) context;
    unsigned high, low;
    assert_int_equal (sscanf (address, "10.0.%u.%u", &high, &low), 2);
    assert_int_equal (port, PORT);
    assert_true (bytes.len <= SWIM_PACKET_MAX);
    assert_true (rig.sent_count < SENT_MAX);
    struct sent *sent = &rig.sent[rig.sent_count++];
    *sent = (struct sent){.time = rig.now, .to = high * 250 + low, .length = bytes.len, .bytes = malloc (bytes.len)};
    memcpy (sent->bytes, bytes.at, bytes.len);
}

static void on_changed (void *context, const struct swim_member *member)
{
    (void) context;
    unsigned peer;
    assert_int_equal (sscanf (member->identity.id, "node%u", &peer), 1);
    assert_true (peer != OWN && peer < PEERS);
    rig.state[peer] = member->state;
    rig.instance[peer] = member->identity.instance;
    rig.reports[peer]++;
    rig.last = *member;
}

static void on_own_changed (void *context, const struct swim_member *own)
{
    (void) context;
    rig.own_changes++;
    rig.own_instance = own->identity.instance;
}

static struct swim_identity own_identity (void)
{
    struct swim_identity identity = {
        .instance = INSTANCE, .name = "own", .address = "10.0.0.0", .port = 9001, .gossip_port = PORT};
    snprintf (identity.id, sizeof identity.id, "%s", id_of (OWN).at);
    return identity;
}

static void tick (void)
{
    rig.due = swim_tick (rig.swim, rig.now);
    assert_true (rig.due > rig.now);
}

static int setup (void **state)
{
    (void) state;
    memset (&rig, 0, sizeof rig);
    rig.now = 5000;
    static const struct swim_callbacks callbacks = {on_send, on_changed, on_own_changed};
    struct swim_parameters parameters = swim_standard ();
    struct swim_identity identity = own_identity ();
    rig.swim = swim_new (&parameters, &identity, &callbacks, NULL, rig.now, 42);
    tick ();
    return 0;
}

static int teardown (void **state)
{
    (void) state;
    swim_destroy (&rig.swim);
    assert_null (rig.swim);
    for (size_t index = 0; index < rig.sent_count; index++)
        free (rig.sent[index].bytes);
    return 0;
}

/* A peer sends a packet with two messages, or one when the second kind is PACKET_KINDS. */
static void say_both (unsigned peer, enum packet_kind kind, union message_fields fields, enum packet_kind second,
                      union message_fields others)
{
    struct packet packet;
    char address[65];
    packet_begin (&packet, id_of (peer));
    assert_true (packet_add (&packet, kind, &fields));
    if (second != PACKET_KINDS)
        assert_true (packet_add (&packet, second, &others));
    address_of (peer, address);
    swim_receive (rig.swim, address, packet_end (&packet), rig.now);
    tick ();
}

static void say (unsigned peer, enum packet_kind kind, union message_fields fields)
{
    say_both (peer, kind, fields, PACKET_KINDS, fields);
}

static union message_fields record_of (unsigned peer, uint64_t instance, uint64_t incarnation)
{
    static char address[65];
    address_of (peer, address);
    return (union message_fields){.swim_member = {.id = id_of (peer),
                                                  .instance = instance,
                                                  .incarnation = incarnation,
                                                  .name = SLICE ("peer"),
                                                  .address = slice_from (address),
                                                  .port = 9001,
                                                  .gossip_port = PORT}};
}

enum verdict
{
    SUSPECTED,
    DEAD,
    LEFT,
};

static union message_fields verdict_of (unsigned peer, uint64_t incarnation, enum verdict verdict, unsigned accuser)
{
    return (union message_fields){
        .swim_verdict = {.id = id_of (peer),
                         .instance = INSTANCE,
                         .incarnation = incarnation,
                         .state = verdict,
                         .accuser = verdict == SUSPECTED ? id_of (accuser) : (struct slice){0}}};
}

/* The latest message of a kind to a peer (from packet `from` on); false when there is none. fields point into it. */
static bool last_sent (unsigned to, enum packet_kind wanted, union message_fields *fields, size_t from)
{
    for (size_t index = rig.sent_count; index-- > from;)
    {
        if (rig.sent[index].to != to)
            continue;
        struct packet_reader reader;
        struct message_error error;
        enum packet_kind kind;
        assert_int_equal (packet_open (&reader, slice_of (rig.sent[index].bytes, rig.sent[index].length), &error), 0);
        assert_true (slice_equal (reader.sender, id_of (OWN)));
        bool found = false;
        union message_fields next;
        while (packet_next (&reader, &kind, &next, &error) > 0)
            if (kind == wanted)
            {
                *fields = next;
                found = true;
            }
        if (found)
            return true;
    }
    return false;
}

static size_t count_sent (unsigned to, enum packet_kind kind, size_t from)
{
    size_t count = 0;
    union message_fields fields;
    for (size_t end = rig.sent_count, index = from; index < end; index++)
        if (rig.sent[index].to == to)
        {
            rig.sent_count = index + 1;
            count += last_sent (to, kind, &fields, index);
            rig.sent_count = end;
        }
    return count;
}

/* The peer acks the latest ping to it. */
static void answer (unsigned peer)
{
    union message_fields ping;
    assert_true (last_sent (peer, PACKET_PING, &ping, 0));
    assert_true (slice_equal (ping.swim_ping.target, id_of (peer)));
    say (peer, PACKET_ACK, (union message_fields){.swim_ack = {.nonce = ping.swim_ping.nonce}});
}

static void let_answer (void)
{
    for (; rig.seen < rig.sent_count; rig.seen++)
    {
        unsigned to = rig.sent[rig.seen].to;
        union message_fields ping;
        size_t end = rig.sent_count;
        rig.sent_count = rig.seen + 1;
        bool pinged = rig.answers[to] && last_sent (to, PACKET_PING, &ping, rig.seen) &&
                      slice_equal (ping.swim_ping.target, id_of (to));
        rig.sent_count = end;
        if (pinged)
            say (to, PACKET_ACK, (union message_fields){.swim_ack = {.nonce = ping.swim_ping.nonce}});
    }
}

static void run (uint64_t milliseconds)
{
    uint64_t end = rig.now + milliseconds;
    let_answer ();
    while (rig.due <= end)
    {
        rig.now = rig.due;
        tick ();
        let_answer ();
    }
    rig.now = end;
    tick ();
}

/* Makes the peer an ALIVE member that goes on answering. */
static void befriend (unsigned peer)
{
    say (peer, PACKET_MEMBER, record_of (peer, INSTANCE, 0));
    answer (peer);
    assert_int_equal (rig.state[peer], SWIM_ALIVE);
    rig.answers[peer] = true;
}

static bool is_listed (unsigned peer)
{
    for (size_t index = 0; index < swim_count (rig.swim); index++)
        if (slice_equal (slice_from (swim_at (rig.swim, index)->identity.id), id_of (peer)))
            return true;
    return false;
}

/* Runs until the peer is in that state; fails after `most` ms. Returns how long it took. */
static uint64_t run_until (unsigned peer, enum swim_state state, uint64_t most)
{
    uint64_t since = rig.now;
    while (rig.state[peer] != state && rig.now - since < most)
        run (10);
    assert_int_equal (rig.state[peer], state);
    return rig.now - since;
}

/* --------------------------------------------------------------------------------------------------------- joining */

static void a_newcomer_is_asked_at_once_and_joins_with_its_answer (void **state)
{
    (void) state;
    say (1, PACKET_MEMBER, record_of (1, INSTANCE, 0));
    assert_int_equal (rig.state[1], SWIM_JOINING);
    assert_int_equal (rig.reports[1], 1);
    assert_int_equal (count_sent (1, PACKET_PING, 0), 1);
    assert_int_equal (count_sent (1, PACKET_MEMBER, 0), 1); /* it need not know us */
    answer (1);
    assert_int_equal (rig.state[1], SWIM_ALIVE);
    assert_int_equal (rig.reports[1], 2);
    assert_string_equal (rig.last.identity.name, "peer");
    assert_string_equal (rig.last.identity.address, "10.0.0.1");
    assert_int_equal (rig.last.identity.port, 9001);
    assert_int_equal (swim_count (rig.swim), 2);
    assert_string_equal (swim_at (rig.swim, 0)->identity.name, "own");
}

static void only_its_own_answer_to_our_question_lets_it_join (void **state)
{
    (void) state;
    befriend (2);
    say (1, PACKET_MEMBER, record_of (1, INSTANCE, 0));
    union message_fields ping;
    assert_true (last_sent (1, PACKET_PING, &ping, 0));
    union message_fields ack = {.swim_ack = {.nonce = ping.swim_ping.nonce}};
    say (2, PACKET_ACK, ack); /* somebody else's word */
    assert_int_equal (rig.state[1], SWIM_JOINING);
    ack.swim_ack.nonce ^= 2;
    say (1, PACKET_ACK, ack); /* a guess */
    assert_int_equal (rig.state[1], SWIM_JOINING);
    answer (1);
    assert_int_equal (rig.state[1], SWIM_ALIVE);
}

static void who_never_answers_is_dropped_and_not_taken_up_from_gossip (void **state)
{
    (void) state;
    befriend (2);
    say (2, PACKET_MEMBER, record_of (1, INSTANCE, 0));
    uint64_t took = run_until (1, SWIM_DEAD, 15000);
    assert_in_range (took, 9000, 13000);
    assert_false (is_listed (1));
    assert_in_range (count_sent (1, PACKET_PING, 0), 5, 20);
    say (2, PACKET_MEMBER, record_of (1, INSTANCE, 0));
    assert_false (is_listed (1));
    assert_int_equal (swim_counters (rig.swim).deaths, 0);
    /* It itself may come at any time. */
    say (1, PACKET_MEMBER, record_of (1, INSTANCE, 0));
    assert_int_equal (rig.state[1], SWIM_JOINING);
}

static void an_address_that_a_member_does_not_know_is_where_it_came_from (void **state)
{
    (void) state;
    union message_fields record = record_of (1, INSTANCE, 0);
    record.swim_member.address = SLICE ("");
    say (2, PACKET_MEMBER, record); /* of somebody else, that says nothing */
    assert_false (is_listed (1));
    say (1, PACKET_MEMBER, record);
    assert_string_equal (rig.last.identity.address, "10.0.0.1");
}

/* --------------------------------------------------------------------------------------- suspicion, death, coming back
 */

static void a_silent_member_is_suspected_then_dead_then_forgotten (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    run (3000);
    rig.answers[1] = false;
    uint64_t suspected = run_until (1, SWIM_SUSPECT, 2500);
    assert_true (is_listed (1));
    uint64_t dead = run_until (1, SWIM_DEAD, 4000);
    struct swim_parameters parameters = swim_standard ();
    assert_in_range (dead, parameters.suspicion_least, parameters.suspicion_most + 100);
    assert_in_range (suspected, 2 * parameters.probe_timeout, 2500);
    assert_false (is_listed (1));
    assert_int_equal (swim_counters (rig.swim).deaths, 1);
    assert_int_equal (rig.state[2], SWIM_ALIVE);

    /* What is said of it again by others does not bring it back, while its tombstone stands. */
    say (2, PACKET_MEMBER, record_of (1, INSTANCE, 0));
    assert_int_equal (rig.state[1], SWIM_DEAD);
    run (parameters.tombstone_time + 1000);
    say (2, PACKET_MEMBER, record_of (1, INSTANCE, 0));
    assert_int_equal (rig.state[1], SWIM_JOINING);
}

static uint64_t suspicion_with_accusers (unsigned accusers)
{
    for (unsigned peer = 1; peer <= 9; peer++)
        befriend (peer);
    run (2000);
    rig.answers[1] = false;
    for (unsigned accuser = 2; accuser < 2 + accusers; accuser++)
        say (accuser, PACKET_VERDICT, verdict_of (1, 0, SUSPECTED, accuser));
    assert_int_equal (rig.state[1], SWIM_SUSPECT);
    return run_until (1, SWIM_DEAD, 10000);
}

static void confirmations_shorten_a_suspicion (void **state)
{
    (void) state;
    struct swim_parameters parameters = swim_standard ();
    uint64_t least = suspicion_with_accusers (3);
    assert_in_range (least, parameters.suspicion_least, parameters.suspicion_least + 20);
}

static void one_accuser_does_not_confirm_itself (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    befriend (3);
    run (2000);
    rig.answers[1] = false;
    for (unsigned again = 0; again < 5; again++)
        say (2, PACKET_VERDICT, verdict_of (1, 0, SUSPECTED, 2));
    /* Our own probe confirms once, which still leaves more than the least time. */
    uint64_t time = run_until (1, SWIM_DEAD, 10000);
    assert_true (time > swim_standard ().suspicion_least + 200);
}

static void a_suspect_refutes_with_a_greater_incarnation (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    say (2, PACKET_VERDICT, verdict_of (1, 0, SUSPECTED, 2));
    assert_int_equal (rig.state[1], SWIM_SUSPECT);
    say (2, PACKET_MEMBER, record_of (1, INSTANCE, 0)); /* old news */
    assert_int_equal (rig.state[1], SWIM_SUSPECT);
    say (1, PACKET_MEMBER, record_of (1, INSTANCE, 1));
    assert_int_equal (rig.state[1], SWIM_ALIVE);
    say (2, PACKET_VERDICT, verdict_of (1, 0, SUSPECTED, 2)); /* late */
    say (2, PACKET_VERDICT, verdict_of (1, 0, DEAD, 2));
    assert_int_equal (rig.state[1], SWIM_ALIVE);
    assert_int_equal (swim_counters (rig.swim).refuted, 1);
}

static void a_suspect_is_told_of_it_first (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    run (1000);
    rig.answers[1] = false;
    run_until (1, SWIM_SUSPECT, 2500);
    union message_fields ping;
    assert_true (last_sent (1, PACKET_PING, &ping, 0));
    assert_true (ping.swim_ping.suspected);
}

static void the_dead_come_back_with_a_greater_incarnation (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    say (2, PACKET_VERDICT, verdict_of (1, 0, DEAD, 2));
    assert_int_equal (rig.state[1], SWIM_DEAD);
    size_t before = rig.sent_count;
    say (1, PACKET_MEMBER, record_of (1, INSTANCE, 0)); /* it does not know yet: it is told */
    union message_fields verdict;
    assert_true (last_sent (1, PACKET_VERDICT, &verdict, before));
    assert_int_equal (verdict.swim_verdict.state, DEAD);
    say (1, PACKET_MEMBER, record_of (1, INSTANCE, 1));
    assert_int_equal (rig.state[1], SWIM_JOINING);
    answer (1);
    assert_int_equal (rig.state[1], SWIM_ALIVE);
    assert_int_equal (swim_counters (rig.swim).deaths_refuted, 1);
}

static void a_table_s_dead_are_suspects_first (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    say_both (2, PACKET_TABLE, (union message_fields){.swim_table = {.digest = 1}}, PACKET_VERDICT,
              verdict_of (1, 0, DEAD, 2));
    assert_int_equal (rig.state[1], SWIM_SUSPECT);
}

/* -------------------------------------------------------------------------------------------------------- identity */

static void the_newest_instance_replaces_the_old_one (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    say (1, PACKET_MEMBER, record_of (1, INSTANCE + 5000, 0));
    assert_int_equal (rig.state[1], SWIM_JOINING);
    assert_int_equal (rig.instance[1], INSTANCE + 5000);
    assert_int_equal (swim_count (rig.swim), 3);
    answer (1);
    assert_int_equal (rig.state[1], SWIM_ALIVE);
    say (2, PACKET_MEMBER, record_of (1, INSTANCE, 9)); /* whatever the old one has said */
    say (2, PACKET_VERDICT, verdict_of (1, 9, DEAD, 2));
    assert_int_equal (rig.state[1], SWIM_ALIVE);
    assert_int_equal (rig.instance[1], INSTANCE + 5000);
}

static void an_older_instance_is_told_of_the_newer_one (void **state)
{
    (void) state;
    befriend (1);
    size_t before = rig.sent_count;
    say (1, PACKET_MEMBER, record_of (1, INSTANCE - 5000, 0));
    assert_int_equal (rig.instance[1], INSTANCE);
    union message_fields record;
    assert_true (last_sent (1, PACKET_MEMBER, &record, before));
    assert_true (slice_equal (record.swim_member.id, id_of (1)));
    assert_int_equal (record.swim_member.instance, INSTANCE);
}

static void our_id_in_use_with_a_greater_instance_is_outbid (void **state)
{
    (void) state;
    befriend (1);
    run (1500);
    size_t before = rig.sent_count;
    say (1, PACKET_MEMBER, record_of (OWN, INSTANCE + 70000, 3));
    assert_int_equal (rig.own_changes, 1);
    assert_int_equal (rig.own_instance, INSTANCE + 70001);
    assert_int_equal (swim_at (rig.swim, 0)->identity.instance, INSTANCE + 70001);
    run (200);
    union message_fields record;
    assert_true (last_sent (1, PACKET_MEMBER, &record, before));
    assert_int_equal (record.swim_member.instance, INSTANCE + 70001);
    assert_true (slice_equal (record.swim_member.name, SLICE ("own")));

    /* Another living process would outbid us in turn; that must not become a storm. */
    for (unsigned round = 0; round < 50; round++)
        say (1, PACKET_MEMBER, record_of (OWN, INSTANCE + 80000 + round, 3));
    assert_int_equal (rig.own_changes, 1);
    run (1000);
    say (1, PACKET_VERDICT,
         (union message_fields){.swim_verdict = {.id = id_of (OWN), .instance = INSTANCE + 90000, .state = DEAD}});
    assert_int_equal (rig.own_instance, INSTANCE + 90001);
}

static void our_own_words_are_no_other_s (void **state)
{
    (void) state;
    befriend (1);
    union message_fields record;
    assert_true (last_sent (1, PACKET_MEMBER, &record, 0));
    assert_true (slice_equal (record.swim_member.id, id_of (OWN)));
    say (1, PACKET_MEMBER, record);
    assert_int_equal (rig.own_changes, 0);
    record.swim_member.tls_key = SLICE ("another");
    say (1, PACKET_MEMBER, record);
    assert_int_equal (rig.own_changes, 1);
}

static void we_refute_what_is_said_against_us (void **state)
{
    (void) state;
    befriend (1);
    for (enum verdict verdict = SUSPECTED; verdict <= LEFT; verdict++)
    {
        size_t before = rig.sent_count;
        uint64_t incarnation = swim_at (rig.swim, 0)->incarnation;
        say (1, PACKET_VERDICT, verdict_of (OWN, incarnation, verdict, 1));
        run (300);
        union message_fields record;
        assert_true (last_sent (1, PACKET_MEMBER, &record, before));
        assert_int_equal (record.swim_member.incarnation, incarnation + 1);
        say (1, PACKET_VERDICT, verdict_of (OWN, incarnation, verdict, 1)); /* again, too late */
        assert_int_equal (swim_at (rig.swim, 0)->incarnation, incarnation + 1);
    }
    assert_int_equal (rig.own_changes, 0);
}

static void a_changed_identity_is_told (void **state)
{
    (void) state;
    befriend (1);
    run (1000);
    size_t before = rig.sent_count;
    struct swim_identity identity = own_identity ();
    swim_update (rig.swim, &identity, rig.now); /* nothing has changed */
    run (50);
    union message_fields record;
    assert_false (last_sent (1, PACKET_MEMBER, &record, before));
    identity.key_set = true;
    swim_update (rig.swim, &identity, rig.now);
    run (150);
    assert_true (last_sent (1, PACKET_MEMBER, &record, before));
    assert_true (record.swim_member.key_set);
    assert_int_equal (record.swim_member.incarnation, 1);

    unsigned reports = rig.reports[1];
    union message_fields theirs = record_of (1, INSTANCE, 1);
    theirs.swim_member.key_set = true;
    say (1, PACKET_MEMBER, theirs);
    assert_int_equal (rig.reports[1], reports + 1);
    assert_true (rig.last.identity.key_set);
    assert_int_equal (rig.last.state, SWIM_ALIVE);
}

/* --------------------------------------------------------------------------------------------------------- leaving */

static void leaving_is_told_to_everybody_at_once (void **state)
{
    (void) state;
    for (unsigned peer = 1; peer <= 20; peer++)
        befriend (peer);
    size_t before = rig.sent_count;
    swim_leave (rig.swim, rig.now);
    for (unsigned peer = 1; peer <= 20; peer++)
    {
        union message_fields verdict;
        assert_true (last_sent (peer, PACKET_VERDICT, &verdict, before));
        assert_int_equal (verdict.swim_verdict.state, LEFT);
        assert_true (slice_equal (verdict.swim_verdict.id, id_of (OWN)));
    }
    /* It does not refute its own word, and probes nobody. */
    say (1, PACKET_VERDICT, verdict_of (OWN, 0, LEFT, 1));
    before = rig.sent_count;
    run (5000);
    for (unsigned peer = 1; peer <= 20; peer++)
        assert_int_equal (count_sent (peer, PACKET_PING, before), 0);
}

static void who_has_left_is_gone_at_once (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    say (1, PACKET_VERDICT, verdict_of (1, 0, LEFT, 1));
    assert_int_equal (rig.state[1], SWIM_LEFT);
    assert_false (is_listed (1));
    assert_int_equal (swim_counters (rig.swim).deaths, 0);
}

/* ----------------------------------------------------------------------------------------------------------- probes */

static void a_helper_asks_and_passes_the_answer_on (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    rig.answers[2] = false;
    size_t before = rig.sent_count;
    say (1, PACKET_PING_REQUEST, (union message_fields){.swim_ping_request = {.nonce = 77, .target = id_of (2)}});
    answer (2);
    union message_fields ack;
    assert_true (last_sent (1, PACKET_ACK, &ack, before));
    assert_int_equal (ack.swim_ack.nonce, 77);
    run (300);
    assert_false (last_sent (1, PACKET_NACK, &ack, before));
}

static void a_helper_without_an_answer_says_so_in_time (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    rig.answers[2] = false;
    size_t before = rig.sent_count;
    say (1, PACKET_PING_REQUEST, (union message_fields){.swim_ping_request = {.nonce = 77, .target = id_of (2)}});
    run (swim_standard ().probe_timeout);
    union message_fields nack;
    assert_true (last_sent (1, PACKET_NACK, &nack, before));
    assert_int_equal (nack.swim_nack.nonce, 77);
}

static void requests_beyond_what_is_bearable_are_dropped (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    size_t before = rig.sent_count;
    for (unsigned index = 0; index < 1000; index++)
        say (1, PACKET_PING_REQUEST,
             (union message_fields){.swim_ping_request = {.nonce = index + 1, .target = id_of (2)}});
    assert_true (count_sent (2, PACKET_PING, before) <= 100);
}

static void a_helper_s_ack_ends_a_probe (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    rig.answers[1] = false;
    union message_fields request;
    size_t before = rig.sent_count;
    for (unsigned step = 0; step < 300 && !last_sent (2, PACKET_PING_REQUEST, &request, before); step++)
        run (10);
    assert_true (slice_equal (request.swim_ping_request.target, id_of (1)));
    say (2, PACKET_ACK, (union message_fields){.swim_ack = {.nonce = request.swim_ping_request.nonce}});
    run (250);
    assert_int_equal (rig.state[1], SWIM_ALIVE);
    assert_int_equal (swim_counters (rig.swim).probes_failed, 0);
}

static void who_hears_nothing_at_all_doubts_itself (void **state)
{
    (void) state;
    for (unsigned peer = 1; peer <= 5; peer++)
        befriend (peer);
    run (2000);
    assert_int_equal (swim_health (rig.swim), 0);
    for (unsigned peer = 1; peer <= 5; peer++)
        rig.answers[peer] = false;
    run (1200);
    assert_true (swim_health (rig.swim) > 0);
    assert_true (swim_health (rig.swim) <= swim_standard ().health_most);
}

static void nacks_show_that_we_are_well (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    rig.answers[1] = false;
    size_t before = rig.sent_count;
    union message_fields request;
    for (unsigned step = 0; step < 300 && !last_sent (2, PACKET_PING_REQUEST, &request, before); step++)
        run (10);
    say (2, PACKET_NACK, (union message_fields){.swim_nack = {.nonce = request.swim_ping_request.nonce}});
    run_until (1, SWIM_SUSPECT, 1000);
    assert_int_equal (swim_health (rig.swim), 0);
}

static void a_ping_for_somebody_else_is_not_answered (void **state)
{
    (void) state;
    befriend (1);
    size_t before = rig.sent_count;
    union message_fields ping = {.swim_ping = {.nonce = 5, .target = id_of (2), .instance = INSTANCE}}, ack;
    say (1, PACKET_PING, ping);
    assert_false (last_sent (1, PACKET_ACK, &ack, before));
    ping.swim_ping.target = id_of (OWN);
    say (1, PACKET_PING, ping);
    assert_true (last_sent (1, PACKET_ACK, &ack, before));
    assert_int_equal (ack.swim_ack.nonce, 5);
}

/* ---------------------------------------------------------------------------------------------------- dissemination */

static void without_news_there_are_probes_only (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    run (20000); /* first rumours, first exchanges of tables */
    size_t before = rig.sent_count;
    struct swim_counters counters = swim_counters (rig.swim);
    run (10000);
    size_t probes = swim_counters (rig.swim).probes - counters.probes;
    assert_in_range (probes, 19, 21);
    assert_in_range (rig.sent_count - before, probes, probes + 2); /* and a digest */
}

static void news_is_told_a_bounded_number_of_times (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    run (20000);
    size_t before = rig.sent_count;
    say (1, PACKET_MEMBER, record_of (1, INSTANCE, 1));
    run (10000);
    size_t told = count_sent (1, PACKET_MEMBER, before) + count_sent (2, PACKET_MEMBER, before);
    assert_in_range (told, 2, 8);
}

static void equal_tables_are_not_sent (void **state)
{
    (void) state;
    befriend (1);
    union message_fields sync, table;
    size_t before = rig.sent_count;
    run (20000);
    assert_true (last_sent (1, PACKET_SYNC, &sync, before));
    before = rig.sent_count;
    say (1, PACKET_SYNC, sync);
    assert_false (last_sent (1, PACKET_TABLE, &table, before));
    sync.swim_sync.digest ^= 1;
    say (1, PACKET_SYNC, sync);
    assert_true (last_sent (1, PACKET_TABLE, &table, before));
    assert_true (table.swim_table.last);
}

static void tables_are_sent_at_a_bounded_rate (void **state)
{
    (void) state;
    befriend (1);
    size_t before = rig.sent_count;
    for (unsigned index = 0; index < 1000; index++)
        say (1, PACKET_SYNC, (union message_fields){.swim_sync = {.digest = index}});
    assert_true (count_sent (1, PACKET_TABLE, before) <= 20);
}

static void joining_costs_nothing_where_a_member_lives (void **state)
{
    (void) state;
    befriend (1);
    size_t before = rig.sent_count;
    swim_join (rig.swim, "10.0.0.1", PORT, rig.now);
    assert_int_equal (rig.sent_count, before);
    swim_join (rig.swim, "10.0.0.9", PORT, rig.now);
    assert_int_equal (rig.sent_count, before + 1);
    for (unsigned index = 0; index < 1000; index++)
        swim_join (rig.swim, "10.0.0.9", PORT, rig.now);
    assert_true (rig.sent_count - before < 20);
}

/* ------------------------------------------------------------------------------------------------------------ clock */

static void a_standstill_kills_nobody (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    say (2, PACKET_VERDICT, verdict_of (1, 0, SUSPECTED, 2));
    rig.now += 3600 * 1000;
    tick ();
    assert_int_equal (rig.state[1], SWIM_SUSPECT);
    assert_true (swim_health (rig.swim) > 0);
    say (1, PACKET_MEMBER, record_of (1, INSTANCE, 1));
    run (5000);
    assert_int_equal (rig.state[1], SWIM_ALIVE);
    assert_int_equal (rig.state[2], SWIM_ALIVE);
    assert_int_equal (swim_counters (rig.swim).deaths, 0);
}

static void a_clock_that_goes_back_stops_nothing (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    run (1000);
    rig.now -= 4000;
    tick ();
    assert_true (rig.due - rig.now <= 1000);
    rig.answers[1] = false;
    run_until (1, SWIM_DEAD, 8000);
    assert_int_equal (rig.state[2], SWIM_ALIVE);
}

/* ---------------------------------------------------------------------------------------------------------- hostile */

static void a_flood_of_members_costs_a_bounded_rate_and_passes (void **state)
{
    (void) state;
    befriend (1);
    befriend (2);
    run (1000);
    size_t before = rig.sent_count;
    for (unsigned peer = 10; peer < 2500; peer++)
        say (1, PACKET_MEMBER, record_of (peer, INSTANCE, 0));
    assert_int_equal (swim_count (rig.swim), SWIM_MEMBERS_MAX);
    assert_true (swim_counters (rig.swim).dropped_members > 1000);
    size_t burst = rig.sent_count - before;
    assert_true (burst <= 110);
    before = rig.sent_count;
    run (1000);
    assert_true (rig.sent_count - before <= 300);
    run (14000);
    assert_int_equal (swim_count (rig.swim), 3);
    assert_int_equal (rig.state[1], SWIM_ALIVE);
    assert_int_equal (rig.state[2], SWIM_ALIVE);
}

static void garbage_is_refused_and_changes_nothing (void **state)
{
    (void) state;
    befriend (1);
    struct swim_counters before = swim_counters (rig.swim);
    unsigned seed = 7, refused = 0;
    for (unsigned round = 0; round < 2000; round++)
    {
        char bytes[64];
        size_t length = (size_t) rand_r (&seed) % sizeof bytes;
        for (size_t index = 0; index < length; index++)
            bytes[index] = (char) rand_r (&seed);
        swim_receive (rig.swim, "10.0.0.1", slice_of (bytes, length), rig.now);
        refused++;
    }
    static char large[SWIM_PACKET_MAX + 1];
    swim_receive (rig.swim, "10.0.0.1", slice_of (large, sizeof large), rig.now);
    refused++;
    union message_fields nameless = record_of (3, INSTANCE, 0);
    nameless.swim_member.id = slice_of ("a\0b", 3);
    say (1, PACKET_MEMBER, nameless);
    refused++;
    assert_int_equal (swim_counters (rig.swim).refused - before.refused, refused);
    assert_int_equal (swim_count (rig.swim), 2);
    run (3000);
    assert_int_equal (rig.state[1], SWIM_ALIVE);
}

static void numbers_at_their_limits_do_not_silence_us (void **state)
{
    (void) state;
    befriend (1);
    run (1500);
    say (1, PACKET_VERDICT, verdict_of (OWN, UINT32_MAX, DEAD, 1));
    assert_int_equal (rig.own_changes, 1);
    assert_int_equal (swim_at (rig.swim, 0)->incarnation, 0);
    run (1500);
    /* Nothing is greater than the greatest instance: it cannot be outbid, and must not wrap. */
    say (1, PACKET_VERDICT,
         (union message_fields){.swim_verdict = {.id = id_of (OWN), .instance = UINT64_C (1) << 48, .state = DEAD}});
    assert_int_equal (swim_at (rig.swim, 0)->identity.instance, INSTANCE + 1);
}

/* Every packet of a life is sent again, twice, by somebody who has listened. */
static void replayed_packets_change_nothing (void **state)
{
    (void) state;
    struct packet packet;
    static char kept[400][512];
    static size_t lengths[400];
    size_t count = 0;
    befriend (1);
    befriend (2);
    for (uint64_t incarnation = 1; incarnation < 100; incarnation++)
    {
        union message_fields messages[] = {verdict_of (1, incarnation - 1, SUSPECTED, 2),
                                           record_of (1, INSTANCE, incarnation)};
        for (unsigned index = 0; index < 2; index++)
        {
            packet_begin (&packet, id_of (index ? 1 : 2));
            packet_add (&packet, index ? PACKET_MEMBER : PACKET_VERDICT, &messages[index]);
            struct slice bytes = packet_end (&packet);
            memcpy (kept[count], bytes.at, bytes.len);
            lengths[count++] = bytes.len;
            swim_receive (rig.swim, "10.0.0.2", bytes, rig.now);
            tick ();
        }
    }
    unsigned reports = rig.reports[1];
    for (size_t index = 0; index < 2 * count; index++)
        swim_receive (rig.swim, "10.0.0.2", slice_of (kept[index % count], lengths[index % count]), rig.now);
    assert_int_equal (rig.reports[1], reports);
    assert_int_equal (rig.state[1], SWIM_ALIVE);
}

#define TEST(name) cmocka_unit_test_setup_teardown (name, setup, teardown)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (a_newcomer_is_asked_at_once_and_joins_with_its_answer),
        TEST (only_its_own_answer_to_our_question_lets_it_join),
        TEST (who_never_answers_is_dropped_and_not_taken_up_from_gossip),
        TEST (an_address_that_a_member_does_not_know_is_where_it_came_from),
        TEST (a_silent_member_is_suspected_then_dead_then_forgotten),
        TEST (confirmations_shorten_a_suspicion),
        TEST (one_accuser_does_not_confirm_itself),
        TEST (a_suspect_refutes_with_a_greater_incarnation),
        TEST (a_suspect_is_told_of_it_first),
        TEST (the_dead_come_back_with_a_greater_incarnation),
        TEST (a_table_s_dead_are_suspects_first),
        TEST (the_newest_instance_replaces_the_old_one),
        TEST (an_older_instance_is_told_of_the_newer_one),
        TEST (our_id_in_use_with_a_greater_instance_is_outbid),
        TEST (our_own_words_are_no_other_s),
        TEST (we_refute_what_is_said_against_us),
        TEST (a_changed_identity_is_told),
        TEST (leaving_is_told_to_everybody_at_once),
        TEST (who_has_left_is_gone_at_once),
        TEST (a_helper_asks_and_passes_the_answer_on),
        TEST (a_helper_without_an_answer_says_so_in_time),
        TEST (requests_beyond_what_is_bearable_are_dropped),
        TEST (a_helper_s_ack_ends_a_probe),
        TEST (who_hears_nothing_at_all_doubts_itself),
        TEST (nacks_show_that_we_are_well),
        TEST (a_ping_for_somebody_else_is_not_answered),
        TEST (without_news_there_are_probes_only),
        TEST (news_is_told_a_bounded_number_of_times),
        TEST (equal_tables_are_not_sent),
        TEST (tables_are_sent_at_a_bounded_rate),
        TEST (joining_costs_nothing_where_a_member_lives),
        TEST (a_standstill_kills_nobody),
        TEST (a_clock_that_goes_back_stops_nothing),
        TEST (a_flood_of_members_costs_a_bounded_rate_and_passes),
        TEST (garbage_is_refused_and_changes_nothing),
        TEST (numbers_at_their_limits_do_not_silence_us),
        TEST (replayed_packets_change_nothing),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
