/* gossip_members_test - what one state machine makes of what it hears of members: joining, suspicion, death, coming
 * back, identity, leaving.
 */
#include "gossip_rig.h"

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
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
