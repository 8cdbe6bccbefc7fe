/* gossip_rig.h - one state machine on the bench. The test is everybody else: member 1, 2, 3... speak through say(), and
 * whatever the machine sends and reports is written down. Time passes only in run().
 */
#pragma once

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

static inline struct slice id_of (unsigned peer)
{
    static char texts[8][65];
    static unsigned next;
    char *text = texts[next++ % 8];
    snprintf (text, 65, "node%05u", peer);
    return slice_from (text);
}

static inline void address_of (unsigned peer, char out[65])
{
    snprintf (out, 65, "10.0.%u.%u", peer / 250, peer % 250);
}

static inline void on_send (void *context, const char *address, uint16_t port, struct slice bytes)
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

static inline void on_changed (void *context, const struct swim_member *member)
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

static inline void on_own_changed (void *context, const struct swim_member *own)
{
    (void) context;
    rig.own_changes++;
    rig.own_instance = own->identity.instance;
}

static inline struct swim_identity own_identity (void)
{
    struct swim_identity identity = {
        .instance = INSTANCE, .name = "own", .address = "10.0.0.0", .port = 9001, .gossip_port = PORT};
    snprintf (identity.id, sizeof identity.id, "%s", id_of (OWN).at);
    return identity;
}

static inline void tick (void)
{
    rig.due = swim_tick (rig.swim, rig.now);
    assert_true (rig.due > rig.now);
}

static inline int setup (void **state)
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

static inline int teardown (void **state)
{
    (void) state;
    swim_destroy (&rig.swim);
    assert_null (rig.swim);
    for (size_t index = 0; index < rig.sent_count; index++)
        free (rig.sent[index].bytes);
    return 0;
}

/* A peer sends a packet with two messages, or one when the second kind is PACKET_KINDS. */
static inline void say_both (unsigned peer, enum packet_kind kind, union message_fields fields, enum packet_kind second,
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

static inline void say (unsigned peer, enum packet_kind kind, union message_fields fields)
{
    say_both (peer, kind, fields, PACKET_KINDS, fields);
}

static inline union message_fields record_of (unsigned peer, uint64_t instance, uint64_t incarnation)
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

static inline union message_fields verdict_of (unsigned peer, uint64_t incarnation, enum verdict verdict,
                                               unsigned accuser)
{
    return (union message_fields){
        .swim_verdict = {.id = id_of (peer),
                         .instance = INSTANCE,
                         .incarnation = incarnation,
                         .state = verdict,
                         .accuser = verdict == SUSPECTED ? id_of (accuser) : (struct slice){0}}};
}

/* The latest message of a kind to a peer (from packet `from` on); false when there is none. fields point into it. */
static inline bool last_sent (unsigned to, enum packet_kind wanted, union message_fields *fields, size_t from)
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

static inline size_t count_sent (unsigned to, enum packet_kind kind, size_t from)
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
static inline void answer (unsigned peer)
{
    union message_fields ping;
    assert_true (last_sent (peer, PACKET_PING, &ping, 0));
    assert_true (slice_equal (ping.swim_ping.target, id_of (peer)));
    say (peer, PACKET_ACK, (union message_fields){.swim_ack = {.nonce = ping.swim_ping.nonce}});
}

static inline void let_answer (void)
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

static inline void run (uint64_t milliseconds)
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
static inline void befriend (unsigned peer)
{
    say (peer, PACKET_MEMBER, record_of (peer, INSTANCE, 0));
    answer (peer);
    assert_int_equal (rig.state[peer], SWIM_ALIVE);
    rig.answers[peer] = true;
}

static inline bool is_listed (unsigned peer)
{
    for (size_t index = 0; index < swim_count (rig.swim); index++)
        if (slice_equal (slice_from (swim_at (rig.swim, index)->identity.id), id_of (peer)))
            return true;
    return false;
}

/* Runs until the peer is in that state; fails after `most` ms. Returns how long it took. */
static inline uint64_t run_until (unsigned peer, enum swim_state state, uint64_t most)
{
    uint64_t since = rig.now;
    while (rig.state[peer] != state && rig.now - since < most)
        run (10);
    assert_int_equal (rig.state[peer], state);
    return rig.now - since;
}

#define TEST(name) cmocka_unit_test_setup_teardown (name, setup, teardown)
