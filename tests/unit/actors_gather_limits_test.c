/* actors_gather_limits_test - the gather actor at its limits: credit, windows, long elements, many members, large
 * lists, and whatever the other actors say.
 */
#include "gather_client.h"

#include "actors/members.h"
#include "http/json_list.h"

#include <malloc.h>

/* -------------------------------------------------------------------------------------------------------------- limits
 */

/* The client's credit bounds what is sent; what it does not cover is not granted to the branches either. */
static void keeps_to_the_clients_credit (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask_for (harness, "GET", "/containers/json", 10);
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &c, 200, "[]");
    head (harness, &a, 200, "X", "y");
    head (harness, &b, 200, "X", "y");
    char text[4096];
    for (size_t index = 0; index < sizeof text - 1; index++)
        text[index] = "{\"n\":12},"[index % 9];
    text[(sizeof text - 1) / 9 * 9 - 1] = '\0'; /* 455 elements, the last without its comma */
    body (harness, &a, "[");
    body (harness, &b, "[");
    for (uint64_t sent = 0; sent + 2 * sizeof text < a.credit; sent += strlen (text) + 1)
    {
        body (harness, &a, text);
        body (harness, &a, ",");
        body (harness, &b, text);
        body (harness, &b, ",");
    }
    harness_barrier (harness, ACTOR_gather);
    size_t length = 0, allowed = 10;
    for (int round = 0; round < 100; round++)
    {
        char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
        free (all);
        assert_int_equal (length, allowed);
        probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, 7);
        allowed += 7;
        harness_barrier (harness, ACTOR_gather);
    }
    assert_int_equal (probe_count (harness, ACTOR_docker, MESSAGE_credit, 0), 0);
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_credit, 0), 0);
    body (harness, &a, "{}]");
    end (harness, &a);
    body (harness, &b, "{}]");
    cut_off (harness, &b); /* what came before is still sent */
    probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, 1 << 20);
    struct headers trailers = probe_await (harness, ACTOR_ingress, MESSAGE_end, stream)->fields.end.trailers;
    expect_header (trailers, "Shoal-Missing-Nodes", "node-b");
    assert_true (probe_count (harness, ACTOR_docker, MESSAGE_credit, 0) == 0); /* it had ended */
    char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
    json_t *list = json_loads (all, 0, NULL);
    assert_true (json_array_size (list) > 1000 && json_array_size (list) % 2 == 0);
    json_decref (list);
    free (all);
    harness_destroy (harness);
}

static void refuses_more_than_was_granted (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    for (int late = 0; late < 2; late++)
    {
        uint64_t stream = ask_for (harness, "GET", "/containers/json", late ? 5 : 1000);
        struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
        say (harness, &a, 200, "[]");
        head (harness, &b, 200, "X", "y");
        head (harness, &c, 200, "X", "y");
        char *text = must (calloc (1, b.credit + 100));
        memset (text, ' ', b.credit + 1);
        memcpy (text, "[{\"n\":1},", 9);
        text[b.credit + 1] = '\0';
        if (late)
        {
            body (harness, &c, "[]");
            end (harness, &c);
        }
        body (harness, &b, "[{\"n\":1}");
        body (harness, &b, text);
        expect_aborted (harness, &b);
        if (!late)
        {
            body (harness, &c, "[]");
            end (harness, &c);
        }
        else
            probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, 1000);
        expect_list (harness, stream, late ? "[{\"n\":1," MARK ("node-b") "}]" : "[]", late ? NULL : "node-b",
                     late ? "node-b" : NULL);
        free (text);
    }
    harness_destroy (harness);
}

/* Sends so many bytes of one string, as credit comes. False when the branch was aborted. */
static bool send_long_string (struct harness *harness, struct far *far, size_t length)
{
    char *text = must (malloc (WINDOW_MOST));
    memset (text, 'x', WINDOW_MOST);
    bool alive = true;
    while (length && alive)
    {
        size_t step = far->credit < length ? (size_t) far->credit : length;
        step = step < WINDOW_MOST ? step : WINDOW_MOST;
        probe_body (harness, far->actor, ACTOR_gather, far->stream, slice_of (text, step));
        far->credit -= step;
        length -= step;
        harness_barrier (harness, ACTOR_gather);
        for (size_t index = 0; index < harness->seen_count; index++)
        {
            struct seen *seen = harness->seen[index];
            if (seen->taken || seen->envelope.stream != far->stream)
                continue;
            if (seen->envelope.type == MESSAGE_abort)
                alive = false;
            if (seen->envelope.type == MESSAGE_credit)
            {
                far->credit += seen->fields.credit.bytes;
                seen->taken = true;
            }
        }
        if (alive && length && !far->credit)
            fail_msg ("no credit is given any more, %zu bytes before the end", length);
    }
    free (text);
    return alive;
}

static void bounds_an_element (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t stream = ask_for (harness, "GET", "/containers/json", 3 << 20);
    struct far a = far_of (harness, "a"), b = far_of (harness, "b"), c = far_of (harness, "c");
    say (harness, &c, 200, "[]");
    head (harness, &a, 200, "X", "y");
    head (harness, &b, 200, "X", "y");
    body (harness, &a, "[{\"a\":\"");
    body (harness, &b, "[{\"a\":\"");
    a.credit -= 7;
    b.credit -= 7;
    assert_false (send_long_string (harness, &b, JSON_LIST_ELEMENT_MAX));
    assert_true (send_long_string (harness, &a, JSON_LIST_ELEMENT_MAX - 8));
    body (harness, &a, "\"}]");
    end (harness, &a);
    struct headers trailers = probe_await (harness, ACTOR_ingress, MESSAGE_end, stream)->fields.end.trailers;
    expect_header (trailers, "Shoal-Missing-Nodes", "node-b");
    size_t length;
    char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
    assert_int_equal (length, JSON_LIST_ELEMENT_MAX + strlen ("[," MARK ("node-a") "]"));
    free (all);
    harness_destroy (harness);
}

static void tell_many (struct harness *harness, int count)
{
    for (int index = 0; index < count; index++)
    {
        char id[16];
        snprintf (id, sizeof id, "m%04d", index);
        tell_member (harness, id, id, false, true);
    }
}

static struct far next_far (struct harness *harness)
{
    struct seen *seen = probe_await (harness, ACTOR_peers, MESSAGE_request, 0);
    return (struct far){ACTOR_peers, seen->envelope.stream, seen->fields.request.window, &seen->fields.request};
}

/* Unfinished elements of all branches together have a limit, and the branch that goes over it fails. */
static void bounds_what_is_held (void **state)
{
    (void) state;
    enum
    {
        MEMBERS = 66
    };
    struct harness *harness = harness_prepare ();
    harness->budget.total = (size_t) 1 << 30;
    harness_start (harness, &gather_class);
    tell_many (harness, MEMBERS);
    uint64_t stream = ask (harness, "/containers/json");
    struct far far[MEMBERS];
    int aborted = 0;
    for (int index = 0; index < MEMBERS; index++)
    {
        far[index] = next_far (harness);
        head (harness, &far[index], 200, "X", "y");
        body (harness, &far[index], "[{\"a\":\"");
        far[index].credit -= 7;
    }
    for (int index = 0; index < MEMBERS; index++)
        if (!send_long_string (harness, &far[index], 600000)) /* for which it has a megabyte */
            aborted++;
        else
            assert_true (harness_counter (harness, ACTOR_gather, "held_bytes") <= 64 << 20);
    assert_int_equal (aborted, MEMBERS - 64);
    probe_abort (harness, ACTOR_ingress, ACTOR_gather, stream);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "held_bytes"), 0);
    harness_destroy (harness);
}

static void bounds_lists (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    uint64_t first = 0;
    for (int index = 0; index < 256; index++)
    {
        uint64_t stream = ask (harness, "/containers/json");
        first = first ? first : stream;
    }
    uint64_t refused = ask (harness, "/containers/json");
    expect_answer (harness, refused, 503, "application/json", "Too many lists of all nodes at once");
    assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 256);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "refused"), 1);
    probe_abort (harness, ACTOR_ingress, ACTOR_gather, first);
    uint64_t again = ask (harness, "/containers/json");
    assert_false (has_head (harness, again));
    assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 256);
    for (uint64_t stream = first + 1; stream <= again; stream++)
        probe_abort (harness, ACTOR_ingress, ACTOR_gather, stream);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 0);
    harness_destroy (harness);
}

static void needs_a_window (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness->budget.total = WINDOW_FIRST + WINDOW_LEAST; /* enough for two */
    begin_with (harness);
    uint64_t stream = ask (harness, "/containers/json");
    struct far a = far_of (harness, "a"), b = far_of (harness, "b");
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_request, 0), 1);
    say (harness, &a, 200, "[]");
    say (harness, &b, 200, "[]");
    expect_list (harness, stream, "[]", "node-c", NULL);
    atomic_store (&harness->budget.used, harness->budget.total);
    stream = ask (harness, "/containers/json");
    expect_answer (harness, stream, 503, "application/json", "node-a: too much data in flight (see --payload-total)");
    atomic_store (&harness->budget.used, 0);
    harness_destroy (harness);
}

static void refuses_too_many_headers (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct header headers[MESSAGE_HEADERS_MAX];
    for (size_t index = 0; index < MESSAGE_HEADERS_MAX; index++)
        headers[index] = (struct header){SLICE ("X"), SLICE ("y")};
    for (size_t count = MESSAGE_HEADERS_MAX - 1; count <= MESSAGE_HEADERS_MAX; count++)
    {
        union message_fields fields = {.request = {.method = SLICE ("GET"),
                                                   .target = SLICE ("/networks"),
                                                   .window = 1000,
                                                   .client = ACTOR_ingress,
                                                   .headers = {headers, count}}};
        uint64_t stream = ++harness->last_stream;
        probe_send (harness, ACTOR_router, ACTOR_gather, MESSAGE_request, stream, &fields, SLICE (""));
        if (count < MESSAGE_HEADERS_MAX)
            assert_int_equal (far_of (harness, "b").request->headers.count, MESSAGE_HEADERS_MAX);
        else
            expect_answer (harness, stream, 431, "application/json", "Too many header fields");
    }
    probe_abort (harness, ACTOR_ingress, ACTOR_gather, 1);
    harness_barrier (harness, ACTOR_gather);
    harness_destroy (harness);
}

static void asks_a_thousand (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    harness_start (harness, &gather_class);
    tell_many (harness, MEMBERS_MAX + 1);
    uint64_t stream = ask (harness, "/containers/json");
    harness_barrier (harness, ACTOR_gather);
    assert_int_equal (probe_count (harness, ACTOR_peers, MESSAGE_request, 0), MEMBERS_MAX);
    for (int index = 0; index < MEMBERS_MAX; index++)
    {
        struct far far = next_far (harness);
        if (index < 900)
            cut_off (harness, &far);
        else
            say (harness, &far, 200, "[{}]");
    }
    const struct message_response *response =
        &probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response;
    struct slice names = headers_find (response->headers, SLICE ("Shoal-Missing-Nodes"));
    assert_true (names.len > 3500 && names.len < 4096);
    assert_memory_equal (names.at + names.len - 5, ", ...", 5);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "elements"), MEMBERS_MAX - 900);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "failed"), 900);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "failed_others"), 900 - 64);
    assert_true (harness_counter (harness, ACTOR_gather, "members") == MEMBERS_MAX);
    harness_destroy (harness);
}

/* ---------------------------------------------------------------------------------------------------------- large
 * lists
 */

/* 300 MB go through; what gather holds meanwhile does not grow. */
static void holds_no_list (void **state)
{
    (void) state;
    enum
    {
        PIECE = 4000,
        TOTAL = 300 * 1000 * 1000
    };
    struct harness *harness = begin ();
    uint64_t stream = ask_for (harness, "GET", "/containers/json", WINDOW_MOST);
    struct far far[] = {far_of (harness, "a"), far_of (harness, "b"), far_of (harness, "c")};
    char *text = must (malloc (WINDOW_MOST));
    for (size_t at = 0; at < WINDOW_MOST; at++)
        text[at] = 'x';
    for (size_t at = 0; at + PIECE <= WINDOW_MOST; at += PIECE)
    {
        /* An element of PIECE bytes, and a comma within them. */
        for (size_t index = 0; index < 6; index++)
            text[at + index] = "{\"a\":\""[index];
        for (size_t index = 0; index < 3; index++)
            text[at + PIECE - 3 + index] = "\"},"[index];
    }
    size_t sent[3] = {0}, received = 0, most = 0, allocated = 0;
    for (int index = 0; index < 3; index++)
    {
        head (harness, &far[index], 200, "X", "y");
        body (harness, &far[index], "[");
        far[index].credit--;
    }
    while (sent[0] + sent[1] + sent[2] < TOTAL)
    {
        for (int index = 0; index < 3; index++)
        {
            size_t at = sent[index] % PIECE, most_now = (size_t) (WINDOW_MOST / PIECE * PIECE) - at;
            size_t step = far[index].credit < most_now ? (size_t) far[index].credit : most_now;
            probe_body (harness, far[index].actor, ACTOR_gather, far[index].stream, slice_of (text + at, step));
            sent[index] += step;
            far[index].credit -= step;
        }
        json_decref (harness_inspect (harness, ACTOR_gather));
        size_t held =
            (size_t) harness_counter (harness, ACTOR_gather, "held_bytes") + atomic_load (&harness->budget.used);
        most = held > most ? held : most;
        /* What the allocator has handed out stays as it was after the first part (0 under AddressSanitizer). */
        if (sent[0] > TOTAL / 20 && !allocated)
            allocated = mallinfo2 ().uordblks;
        assert_true (!allocated || mallinfo2 ().uordblks < allocated + ((size_t) 4 << 20));
        size_t taken = 0;
        for (size_t index = 0; index < harness->seen_count; index++)
        {
            const struct seen *seen = harness->seen[index];
            for (int branch = 0; branch < 3; branch++)
                if (seen->envelope.type == MESSAGE_credit && seen->envelope.stream == far[branch].stream)
                    far[branch].credit += seen->fields.credit.bytes;
            if (seen->envelope.type == MESSAGE_body)
                taken += seen->payload_length;
        }
        assert_true (taken > 0 || received == 0);
        received += taken;
        harness_forget_seen (harness);
        probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, taken);
    }
    assert_true (received > TOTAL - (size_t) 4 * WINDOW_MOST);
    /* Three windows and three elements. */
    assert_true (most <= (size_t) 3 * WINDOW_MOST + (size_t) 3 * 2 * 8192);
    probe_abort (harness, ACTOR_ingress, ACTOR_gather, stream);
    assert_int_equal (harness_counter (harness, ACTOR_gather, "held_bytes"), 0);
    free (text);
    harness_destroy (harness);
}

/* ----------------------------------------------------------------------------------------------------------- at random
 */

static uint64_t s_random;

static unsigned dice (unsigned sides)
{
    s_random ^= s_random << 13;
    s_random ^= s_random >> 7;
    s_random ^= s_random << 17;
    return (unsigned) ((s_random >> 11) % sides);
}

/* Every element, once, whole, in its node's order, with its node's name. */
static void check_merged (const char *text, const int counts[3])
{
    static const char *const names[] = {"node-a", "node-b", "node-c"};
    int next[3] = {0};
    json_t *list = json_loads (text, 0, NULL), *element;
    size_t index;
    assert_true (json_is_array (list));
    json_array_foreach (list, index, element)
    {
        int node = (int) json_integer_value (json_object_get (element, "node"));
        int number = (int) json_integer_value (json_object_get (element, "number"));
        assert_int_equal (number, next[node]++);
        json_t *agent = json_object_get (json_object_get (element, "Portainer"), "Agent");
        assert_string_equal (json_string_value (json_object_get (agent, "NodeName")), names[node]);
    }
    assert_memory_equal (next, counts, sizeof next);
    json_decref (list);
}

/* Random lists in random pieces, in random turns, with random credit. */
static void merges_random_pieces (void **state)
{
    (void) state;
    static const char *const ids[] = {"a", "b", "c"};
    const char *given = getenv ("SEED");
    uint64_t seed = given ? strtoull (given, NULL, 10) : (uint64_t) time (NULL) * 2654435761u;
    print_message ("SEED=%llu\n", (unsigned long long) seed);
    s_random = seed | 1;
    struct harness *harness = begin ();
    for (int round = 0; round < 40; round++)
    {
        uint64_t stream = ask_for (harness, "GET", "/containers/json", dice (3) ? dice (50) : 100000);
        struct far far[3];
        char *text[3];
        size_t length[3], at[3] = {0};
        bool ended[3] = {false};
        int counts[3];
        for (int node = 0; node < 3; node++)
        {
            far[node] = far_of (harness, ids[node]);
            FILE *out = open_memstream (&text[node], &length[node]);
            counts[node] = (int) dice (12);
            fputs ("[", out);
            for (int number = 0; number < counts[node]; number++)
                fprintf (out, "%s{\"node\":%d,\"number\":%d,\"x\":\"%*s\"%s}", number ? "," : "", node, number,
                         (int) dice (100), "", dice (3) ? "" : ",\"Portainer\":[[]]");
            fputs ("]", out);
            fclose (out);
            head (harness, &far[node], 200, "X", "y");
        }
        while (!ended[0] || !ended[1] || !ended[2])
        {
            int node = (int) dice (3);
            size_t step = dice (40);
            step = step < length[node] - at[node] ? step : length[node] - at[node];
            probe_body (harness, far[node].actor, ACTOR_gather, far[node].stream,
                        slice_of (text[node] + at[node], step));
            at[node] += step;
            if (at[node] == length[node] && !ended[node])
            {
                ended[node] = true;
                end (harness, &far[node]);
            }
            if (dice (6) == 0)
                json_decref (harness_inspect (harness, ACTOR_gather));
            if (dice (6) == 0)
                probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, dice (60));
        }
        probe_credit (harness, ACTOR_ingress, ACTOR_gather, stream, 100000);
        probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
        size_t total;
        char *all = probe_payload (harness, ACTOR_ingress, stream, &total);
        check_merged (all, counts);
        free (all);
        for (int node = 0; node < 3; node++)
            free (text[node]);
        harness_forget_seen (harness);
    }
    assert_int_equal (harness_counter (harness, ACTOR_gather, "failed"), 0);
    harness_destroy (harness);
}

/* Whatever the other actors say, in whatever order: nothing breaks, and all is given back. */
static void bears_any_order_of_messages (void **state)
{
    (void) state;
    static const char *const texts[] = {"[", "]", "{}", ",", "{\"a\":\"", "\"}", "x", "", "[{},{}", "[]"};
    const char *given = getenv ("SEED");
    uint64_t seed = given ? strtoull (given, NULL, 10) : (uint64_t) time (NULL) * 40503u;
    print_message ("SEED=%llu\n", (unsigned long long) seed);
    s_random = seed | 1;
    struct harness *harness = begin ();
    for (int round = 0; round < 100; round++)
    {
        uint64_t stream = ask_for (harness, dice (8) ? "GET" : "HEAD", dice (3) ? "/networks" : "/volumes", dice (40));
        struct far far[] = {far_of (harness, "a"), far_of (harness, "b"), far_of (harness, "c")};
        for (int turn = 0; turn < 25; turn++)
        {
            struct far *one = &far[dice (3)];
            switch (dice (8))
            {
            case 0:
            case 1:
                head (harness, one, dice (4) ? 200 : 400, "X", "y");
                break;
            case 2:
                end (harness, one);
                break;
            case 3:
                if (dice (3) == 0)
                    cut_off (harness, one);
                break;
            case 4:
                probe_credit (harness, dice (2) ? ACTOR_ingress : one->actor, ACTOR_gather,
                              dice (2) ? stream : one->stream, dice (30));
                break;
            default:
                body (harness, one, texts[dice (sizeof texts / sizeof *texts)]);
            }
        }
        probe_abort (harness, ACTOR_ingress, ACTOR_gather, stream);
        assert_int_equal (harness_counter (harness, ACTOR_gather, "running"), 0);
        assert_int_equal (harness_counter (harness, ACTOR_gather, "held_bytes"), 0);
        assert_int_equal (atomic_load (&harness->budget.used), 0);
        harness_forget_seen (harness);
    }
    harness_destroy (harness);
}

int main (void)
{
#define TEST(name) cmocka_unit_test_teardown (name, harness_teardown)
    const struct CMUnitTest tests[] = {
        TEST (keeps_to_the_clients_credit),
        TEST (refuses_more_than_was_granted),
        TEST (bounds_an_element),
        TEST (bounds_what_is_held),
        TEST (bounds_lists),
        TEST (needs_a_window),
        TEST (refuses_too_many_headers),
        TEST (asks_a_thousand),
        TEST (holds_no_list),
        TEST (merges_random_pieces),
        TEST (bears_any_order_of_messages),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
