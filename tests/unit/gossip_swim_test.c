/* gossip_swim_test - what one state machine does by itself: probes, gossip, tables, its clock; and what it does not let
 * others do to it.
 */
#include "gossip_rig.h"

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

int main (void)
{
    const struct CMUnitTest tests[] = {
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
