/* actors_membership_test - the membership actor: what the engine says of this node in, what is known of all nodes out.
 * Several of them in one process, each in a runtime of its own, gossip over real connections of the loopback
 * interface; the test turns their loops by turns.
 */
#include "log_capture.h"

#include <netinet/in.h>

enum
{
    NODES = 3,
};

struct node
{
    struct harness *harness;
    char address[20], id[20], name[20];
    uint16_t port;
};

static struct node s_nodes[NODES];
static char s_names[200]; /* all of them, as AGENT_CLUSTER_ADDR */

static uint16_t free_port (void)
{
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    ensure (bind (fd, (struct sockaddr *) &address, size) == 0);
    ensure (getsockname (fd, (struct sockaddr *) &address, &size) == 0);
    close (fd);
    return ntohs (address.sin_port);
}

/* Names and ports of all nodes, before any is there. */
static void plan (void)
{
    s_names[0] = '\0';
    for (int number = 0; number < NODES; number++)
    {
        struct node *node = &s_nodes[number];
        *node = (struct node){.port = free_port ()};
        snprintf (node->address, sizeof node->address, "127.88.0.%d", number + 1);
        snprintf (node->id, sizeof node->id, "id%d", number);
        snprintf (node->name, sizeof node->name, "node%d", number);
        snprintf (s_names + strlen (s_names), sizeof s_names - strlen (s_names), "%s:%u,", node->address, node->port);
    }
}

static void start_node (int number, const char *secret, const char *names)
{
    struct node *node = &s_nodes[number];
    node->harness = harness_prepare ();
    struct configuration *configuration = &node->harness->configuration;
    configuration->secret = secret;
    configuration->cluster_address = names;
    configuration->cluster_port = node->port;
    configuration->port = (uint16_t) (9001 + number);
    configuration->probe_interval = 500;
    configuration->probe_timeout = 200;
    harness_start (node->harness, &membership_class);
    assert_non_null (node->harness->runtime);
}

static bool has_turned (struct harness *harness, void *data)
{
    (void) harness;
    int *turns = data;
    return ++*turns > 2;
}

/* Lets every node do what is due. */
static void turn_all (void)
{
    for (int number = 0; number < NODES; number++)
    {
        int turns = 0;
        if (s_nodes[number].harness)
            assert_true (harness_try (s_nodes[number].harness, has_turned, &turns));
    }
}

/* The next message of this type to one of the node's neighbours, about a member when there is an id; NULL: not yet. */
static struct seen *look (int number, enum actor_id to, enum message_type type, const char *id)
{
    struct harness *harness = s_nodes[number].harness;
    for (size_t index = 0; index < harness->seen_count; index++)
    {
        struct seen *seen = harness->seen[index];
        if (!seen->taken && seen->envelope.to == to && seen->envelope.type == type &&
            (!id || slice_equal (seen->fields.member.id, slice_from (id))))
            return seen;
    }
    return NULL;
}

/* The same, waited for while all nodes live. */
static struct seen *await (int number, enum actor_id to, enum message_type type, const char *id)
{
    struct seen *seen;
    time_t deadline = time (NULL) + HARNESS_PATIENCE;
    while (!(seen = look (number, to, type, id)))
    {
        if (time (NULL) > deadline)
            fail_msg ("%s of node %d got no %s %s", actor_name (to), number, message_type_name (type), id ? id : "");
        turn_all ();
    }
    seen->taken = true;
    return seen;
}

static void tell_engine (int number, const char *id, bool manager, const char *address)
{
    struct node *node = &s_nodes[number];
    union message_fields fields = {.engine = {.reachable = true,
                                              .name = slice_from (node->name),
                                              .node = slice_from (id),
                                              .manager = manager,
                                              .address = slice_from (address)}};
    probe_send (node->harness, ACTOR_docker, ACTOR_membership, MESSAGE_engine, 0, &fields, SLICE (""));
}

static void begin (int number, const char *names)
{
    start_node (number, "a secret of many characters", names);
    tell_engine (number, s_nodes[number].id, number == 0, s_nodes[number].address);
}

static void end (int number)
{
    struct node *node = &s_nodes[number];
    s_harness = node->harness;
    if (s_harness)
        harness_destroy (s_harness);
    node->harness = NULL;
}

static int teardown (void **state)
{
    log_capture_end ();
    for (int number = 0; number < NODES; number++)
    {
        s_harness = s_nodes[number].harness;
        harness_teardown (state);
        s_nodes[number].harness = NULL;
    }
    return 0;
}

/* The next thing that an actor is told of a member with this id. */
static const struct message_member *await_member (int number, enum actor_id told, const char *id)
{
    return &await (number, told, MESSAGE_member, id)->fields.member;
}

/* Waits until it is usable, or no longer. */
static const struct message_member *await_usable (int number, const char *id, bool usable)
{
    const struct message_member *member;
    do
        member = await_member (number, ACTOR_router, id);
    while (member->usable != usable);
    return member;
}

static long number_of (int number, const char *part, const char *name)
{
    probe_send (s_nodes[number].harness, ACTOR_control, ACTOR_membership, MESSAGE_inspect, 0, NULL, SLICE (""));
    struct slice text = await (number, ACTOR_control, MESSAGE_report, NULL)->fields.report.state;
    json_t *report = json_loadb (text.at, text.len, 0, NULL);
    json_t *object = part ? json_object_get (report, part) : report;
    json_t *value = json_object_get (object, name);
    if (!json_is_integer (value) && !json_is_boolean (value))
        fail_msg ("no %s in the report", name);
    long result = json_is_integer (value) ? (long) json_integer_value (value) : json_is_true (value);
    json_decref (report);
    return result;
}

/* ------------------------------------------------------------------------------------------------------ this node */

static void tells_of_its_own_node (void **state)
{
    (void) state;
    plan ();
    begin (0, "");
    static const enum actor_id told[] = {ACTOR_router, ACTOR_peers, ACTOR_gather};
    for (size_t index = 0; index < sizeof told / sizeof *told; index++)
    {
        const struct message_member *own = await_member (0, told[index], "id0");
        assert_true (own->usable && own->own && own->manager && !own->suspected && !own->key_set);
        assert_true (slice_equal (own->name, SLICE ("node0")));
        assert_true (slice_equal (own->address, SLICE ("127.88.0.1")));
        assert_true (slice_equal (own->version, SLICE (SHOAL_VERSION)));
        assert_int_equal (own->port, 9001);
        assert_int_equal (own->tls_key.len, 0);
        assert_true (own->instance / 1000 >= (uint64_t) time (NULL) - 60 &&
                     own->instance / 1000 <= (uint64_t) time (NULL) + 1);
    }
    union message_fields identity = {.identity = {.tls_key = SLICE ("ab12")}};
    probe_send (s_nodes[0].harness, ACTOR_ingress, ACTOR_membership, MESSAGE_identity, 0, &identity, SLICE (""));
    assert_true (slice_equal (await_member (0, ACTOR_router, "id0")->tls_key, SLICE ("ab12")));
    tell_engine (0, "id0", false, "127.88.0.1");
    assert_false (await_member (0, ACTOR_router, "id0")->manager);

    /* What was said before is not said again. */
    size_t before = probe_count (s_nodes[0].harness, ACTOR_router, MESSAGE_member, 0);
    tell_engine (0, "id0", false, "127.88.0.1");
    harness_barrier (s_nodes[0].harness, ACTOR_membership);
    assert_int_equal (probe_count (s_nodes[0].harness, ACTOR_router, MESSAGE_member, 0), before);

    /* It left the Swarm, and entered another. */
    tell_engine (0, "", false, "127.88.0.1");
    assert_false (await_member (0, ACTOR_router, "id0")->usable);
    assert_int_equal (number_of (0, NULL, "clustered"), 0);
    tell_engine (0, "other", true, "127.88.0.1");
    assert_true (await_member (0, ACTOR_router, "other")->own);
    assert_int_equal (number_of (0, NULL, "clustered"), 1);
    assert_int_equal (number_of (0, NULL, "published"), 1);
    end (0);
}

static void needs_a_swarm_and_an_address (void **state)
{
    (void) state;
    plan ();
    start_node (0, "secret", "");
    struct harness *harness = s_nodes[0].harness;
    union message_fields lost = {.engine = {.reachable = false}};
    probe_send (harness, ACTOR_docker, ACTOR_membership, MESSAGE_engine, 0, &lost, SLICE (""));
    tell_engine (0, "", false, "127.88.0.1");
    harness_barrier (harness, ACTOR_membership);
    assert_int_equal (probe_count (harness, ACTOR_router, MESSAGE_member, 0), 0);
    assert_int_equal (number_of (0, NULL, "clustered"), 0);

    tell_engine (0, "id0", false, "");
    assert_true (await_member (0, ACTOR_router, "id0")->own); /* it serves its own node nevertheless */
    assert_int_equal (number_of (0, NULL, "clustered"), 0);

    tell_engine (0, "id0", false, "127.88.0.1");
    assert_true (slice_equal (await_member (0, ACTOR_router, "id0")->address, SLICE ("127.88.0.1")));
    assert_int_equal (number_of (0, NULL, "clustered"), 1);

    /* An engine that is away for a while changes nothing. */
    union message_fields away = {
        .engine = {
            .reachable = false, .name = SLICE ("node0"), .node = SLICE ("id0"), .address = SLICE ("127.88.0.1")}};
    probe_send (harness, ACTOR_docker, ACTOR_membership, MESSAGE_engine, 0, &away, SLICE (""));
    harness_barrier (harness, ACTOR_membership);
    assert_int_equal (number_of (0, NULL, "clustered"), 1);
    end (0);
}

/* -------------------------------------------------------------------------------------------------------- a cluster */

static void finds_the_others (void **state)
{
    (void) state;
    plan ();
    for (int number = 0; number < NODES; number++)
        begin (number, s_names);
    for (int number = 0; number < NODES; number++)
        for (int other = 0; other < NODES; other++)
        {
            const struct message_member *member = await_usable (number, s_nodes[other].id, true);
            assert_int_equal (member->own, number == other);
            assert_int_equal (member->manager, other == 0);
            assert_int_equal (member->port, 9001 + other);
            assert_true (slice_equal (member->name, slice_from (s_nodes[other].name)));
            assert_true (slice_equal (member->address, slice_from (s_nodes[other].address)));
        }
    /* What one says of itself arrives at the others. */
    union message_fields identity = {.identity = {.tls_key = SLICE ("cd34")}};
    probe_send (s_nodes[2].harness, ACTOR_ingress, ACTOR_membership, MESSAGE_identity, 0, &identity, SLICE (""));
    for (int number = 0; number < 2; number++)
        while (!slice_equal (await_member (number, ACTOR_peers, "id2")->tls_key, SLICE ("cd34")))
            continue;
    tell_engine (2, "id2", true, s_nodes[2].address);
    while (!await_member (0, ACTOR_router, "id2")->manager)
        continue;
    assert_int_equal (number_of (0, NULL, "members_alive"), NODES);
    assert_int_equal (number_of (0, NULL, "published"), NODES);
    assert_int_equal (number_of (0, "transport", "links"), NODES - 1);
    assert_int_equal (number_of (0, "gossip", "deaths"), 0);
    for (int number = 0; number < NODES; number++)
        end (number);
}

/* Only the first knows where the others will be. */
static void finds_late_starters (void **state)
{
    (void) state;
    plan ();
    begin (0, s_names);
    await_usable (0, "id0", true);
    while (number_of (0, NULL, "joins") < 2 * (NODES - 1)) /* a second round has found nobody */
        continue;
    begin (1, "");
    await_usable (0, "id1", true);
    await_usable (1, "id0", true);
    end (0);
    end (1);
}

static void leaves_when_it_stops (void **state)
{
    (void) state;
    plan ();
    for (int number = 0; number < NODES; number++)
        begin (number, s_names);
    for (int number = 0; number < NODES; number++)
        for (int other = 0; other < NODES; other++)
            await_usable (number, s_nodes[other].id, true);
    union message_fields stop = {.stop = {.grace = 8000}};
    probe_send (s_nodes[1].harness, ACTOR_control, ACTOR_membership, MESSAGE_stop, 0, &stop, SLICE (""));
    assert_int_equal (number_of (1, NULL, "clustered"), 0);
    await_usable (0, "id1", false); /* while the first still has requests to finish */
    await_usable (2, "id1", false);
    assert_int_equal (number_of (0, "gossip", "deaths"), 0);
    /* Without being told to stop, the last thing that an agent does is to leave as well. */
    end (2);
    await_usable (0, "id2", false);
    assert_int_equal (number_of (0, "gossip", "deaths"), 0);
    assert_int_equal (number_of (0, NULL, "published"), 1);
    end (0);
    end (1);
}

static void replaces_an_older_instance (void **state)
{
    (void) state;
    plan ();
    begin (0, s_names);
    begin (1, s_names);
    uint64_t instance = await_usable (0, "id1", true)->instance;
    end (1);
    begin (1, s_names);
    const struct message_member *again;
    do
        again = await_usable (0, "id1", true);
    while (again->instance == instance);
    assert_true (again->instance > instance);
    assert_int_equal (number_of (0, NULL, "published"), 2);
    end (0);
    end (1);
}

/* Both claim the node, as they hear of each other by a third one, and say so. */
static void says_that_two_run_on_one_node (void **state)
{
    (void) state;
    plan ();
    begin (0, s_names);
    begin (2, s_names);
    await_usable (0, "id2", true);
    start_node (1, "a secret of many characters", s_names);
    log_capture_begin (s_nodes[1].harness);
    tell_engine (1, "id0", false, s_nodes[1].address);
    time_t deadline = time (NULL) + HARNESS_PATIENCE;
    while (!log_capture_count ("another agent runs on this node (id0)"))
    {
        assert_true (time (NULL) < deadline);
        turn_all ();
    }
    assert_true (look (0, ACTOR_router, MESSAGE_member, "id0")->fields.member.own);
    log_capture_end ();
    for (int number = 0; number < NODES; number++)
        end (number);
}

static void serves_its_node_when_the_port_is_taken (void **state)
{
    (void) state;
    plan ();
    begin (0, "");
    await_usable (0, "id0", true);
    harness_barrier (s_nodes[0].harness, ACTOR_membership);
    s_nodes[1].port = s_nodes[0].port;
    start_node (1, "secret", "");
    log_capture_begin (s_nodes[1].harness);
    tell_engine (1, "id1", false, s_nodes[1].address);
    assert_true (await_usable (1, "id1", true)->own);
    assert_int_equal (number_of (1, NULL, "clustered"), 0);
    assert_int_equal (log_capture_count ("AGENT_CLUSTER_PORT"), 1);
    tell_engine (1, "id1", true, s_nodes[1].address); /* it is not said with every message */
    harness_barrier (s_nodes[1].harness, ACTOR_membership);
    assert_int_equal (log_capture_count ("AGENT_CLUSTER_PORT"), 1);
    log_capture_end ();
    end (1);
    end (0);
}

int main (void)
{
    signal (SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (tells_of_its_own_node, teardown),
        cmocka_unit_test_teardown (needs_a_swarm_and_an_address, teardown),
        cmocka_unit_test_teardown (finds_the_others, teardown),
        cmocka_unit_test_teardown (finds_late_starters, teardown),
        cmocka_unit_test_teardown (leaves_when_it_stops, teardown),
        cmocka_unit_test_teardown (replaces_an_older_instance, teardown),
        cmocka_unit_test_teardown (says_that_two_run_on_one_node, teardown),
        cmocka_unit_test_teardown (serves_its_node_when_the_port_is_taken, teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
