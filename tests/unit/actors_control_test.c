/* actors_control_test - the control actor: lines of its local socket and signals in; questions to the actors, and
 * answers, out.
 */
#include "actor_harness.h"

#include <fcntl.h>
#include <sys/wait.h>

/* Everybody but control itself. */
enum
{
    ASKED = ACTOR_COUNT - 2,
};

static enum actor_id asked (size_t index)
{
    enum actor_id id = (enum actor_id) (index + 1);
    return id < ACTOR_control ? id : id + 1;
}

static int dial (const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf (address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect (fd, (struct sockaddr *) &address, sizeof address) == 0)
        return fd;
    close (fd);
    return -1;
}

static struct harness *begin (void)
{
    struct harness *harness = harness_prepare ();
    harness_start (harness, &control_class);
    return harness;
}

static struct peer say (struct harness *harness, const char *line)
{
    struct peer peer = peer_of (dial (harness->control));
    assert_true (peer.fd >= 0);
    peer_say (&peer, line);
    return peer;
}

/* The one line that a client gets before its connection ends. The caller decrefs. */
static json_t *answer_of (struct harness *harness, struct peer *peer)
{
    peer_await_end (harness, peer);
    char *end = strchr (peer->text, '\n');
    assert_non_null (end);
    assert_int_equal (end[1], '\0');
    json_t *answer = json_loads (peer->text, 0, NULL);
    assert_non_null (answer);
    peer_free (peer);
    return answer;
}

static json_t *ask (struct harness *harness, const char *line)
{
    struct peer peer = say (harness, line);
    return answer_of (harness, &peer);
}

static void report (struct harness *harness, enum actor_id from, const char *text)
{
    union message_fields fields = {.report = {.state = slice_from (text)}};
    probe_send (harness, from, ACTOR_control, MESSAGE_report, 0, &fields, SLICE (""));
}

static bool is_yes (struct harness *harness, const char *line, const char *reason)
{
    json_t *answer = ask (harness, line);
    bool yes = json_is_true (json_object_get (answer, "ok"));
    if (reason)
        assert_non_null (strstr (json_string_value (json_object_get (answer, "reason")), reason));
    json_decref (answer);
    return yes;
}

static void tell_engine (struct harness *harness, bool reachable)
{
    union message_fields fields = {.engine = {.reachable = reachable}};
    probe_send (harness, ACTOR_docker, ACTOR_control, MESSAGE_engine, 0, &fields, SLICE (""));
}

static void says_whether_it_is_up (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    assert_true (is_yes (harness, "{\"command\":\"ping\"}\n", NULL));
    assert_false (is_yes (harness, "{\"command\":\"ready\"}\n", "engine does not answer"));
    tell_engine (harness, true);
    assert_true (is_yes (harness, "{\"command\":\"ready\"}\n", ""));
    tell_engine (harness, false);
    assert_false (is_yes (harness, "{\"command\":\"ready\"}\n", "engine does not answer"));
    assert_true (is_yes (harness, "{\"command\":\"ping\"}\n", NULL));
    harness_destroy (harness);
}

static void merges_reports (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    /* Two ask at the same time; one of them is gone before the answer. */
    struct peer first = say (harness, "{\"command\":\"status\"}\n"),
                second = say (harness, "{\"command\":\"status\"}\n"),
                gone = say (harness, "{\"command\":\"status\"}\n");
    for (size_t index = 0; index < ASKED; index++)
        for (int client = 0; client < 3; client++)
            probe_await (harness, asked (index), MESSAGE_inspect, 0);
    peer_free (&gone);
    for (size_t index = ASKED; index-- > 0;)
    {
        char text[40];
        snprintf (text, sizeof text, "{\"number\":%zu}", index);
        for (int client = 0; client < 3; client++)
            report (harness, asked (index), asked (index) == ACTOR_docker ? "not JSON" : text);
    }
    json_t *answers[] = {answer_of (harness, &first), answer_of (harness, &second)};
    for (int client = 0; client < 2; client++)
    {
        json_t *actors = json_object_get (answers[client], "actors");
        assert_int_equal (json_object_size (actors), ASKED);
        for (size_t index = 0; index < ASKED; index++)
        {
            json_t *actor = json_object_get (actors, actor_name (asked (index)));
            if (asked (index) == ACTOR_docker)
                assert_true (json_is_null (actor));
            else
                assert_int_equal (json_integer_value (json_object_get (actor, "number")), index);
        }
        assert_string_equal (json_string_value (json_object_get (answers[client], "version")), SHOAL_VERSION);
        assert_int_equal (json_integer_value (json_object_get (answers[client], "pid")), getpid ());
        json_t *payload = json_object_get (answers[client], "payload");
        assert_int_equal (json_integer_value (json_object_get (payload, "total")), harness->budget.total);
        assert_true (json_integer_value (json_object_get (json_object_get (answers[client], "descriptors"), "open")) >
                     3);
        json_decref (answers[client]);
    }
    harness_destroy (harness);
}

static void forgets_through_auth (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct peer peer = say (harness, "{\"command\":\"forget\"}\n");
    probe_await (harness, ACTOR_auth, MESSAGE_forget, 0);
    report (harness, ACTOR_docker, "{\"wrong\":1}"); /* of somebody else: no answer to this */
    report (harness, ACTOR_auth, "{\"forgotten\":true}");
    json_t *answer = answer_of (harness, &peer);
    assert_true (json_is_true (json_object_get (answer, "forgotten")));
    json_decref (answer);
    harness_destroy (harness);
}

static void hands_watchers_to_the_tap (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct peer peer = say (harness, "{\"command\":\"tap\",\"filter\":{\"trace\":\"ab\"}}\n");
    const struct message_watch *watch = &probe_await (harness, ACTOR_tap, MESSAGE_watch, 0)->fields.watch;
    assert_true (slice_equal (watch->filter, SLICE ("{\"trace\":\"ab\"}")));
    /* The descriptor is the client's connection, and now the tap's. */
    int fd = (int) watch->descriptor;
    assert_int_equal (write (fd, "line\n", 5), 5);
    close (fd);
    peer_await_end (harness, &peer);
    assert_string_equal (peer.text, "line\n");
    peer_free (&peer);
    harness_destroy (harness);
}

static void refuses_bad_lines (void **state)
{
    (void) state;
    static const char *const lines[] = {
        "\n", "hello\n", "{}\n", "[]\n", "{\"command\":5}\n", "{\"command\":\"none\"}\n", "{\"command\":\"pin", NULL};
    struct harness *harness = begin ();
    char *longest = must (malloc (5000));
    memset (longest, 'x', 4999);
    longest[4999] = '\0';
    for (size_t row = 0; row < sizeof lines / sizeof *lines; row++)
    {
        struct peer peer = say (harness, lines[row] ? lines[row] : longest);
        if (lines[row] && !strchr (lines[row], '\n'))
        {
            shutdown (peer.fd, SHUT_WR);
            peer_await_end (harness, &peer);
            assert_int_equal (peer.length, 0);
            peer_free (&peer);
            continue;
        }
        peer_await (harness, &peer, "\n");
        assert_true (slice_starts_with (slice_from (peer.text), SLICE ("{\"error\":\"")));
        peer_free (&peer);
    }
    /* In pieces. */
    struct peer peer = say (harness, "{\"comm");
    tell_engine (harness, true);
    peer_say (&peer, "and\":\"ready\"}\n");
    json_t *answer = answer_of (harness, &peer);
    assert_true (json_is_object (answer));
    json_decref (answer);
    free (longest);
    harness_destroy (harness);
}

static bool is_served (struct harness *harness, void *data)
{
    (void) data;
    struct peer peer = say (harness, "{\"command\":\"ping\"}\n");
    peer_await_end (harness, &peer);
    bool served = peer.length > 0;
    peer_free (&peer);
    return served;
}

static void bounds_its_clients (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct peer peers[33];
    for (size_t index = 0; index < 33; index++)
        peers[index] = say (harness, "{");
    peer_await_end (harness, &peers[32]); /* one too many */
    for (size_t index = 0; index < 33; index++)
        peer_free (&peers[index]);
    harness_until (harness, is_served, NULL); /* when it has noticed that they are gone */
    assert_true (is_yes (harness, "{\"command\":\"ping\"}\n", NULL));
    harness_destroy (harness);
}

/* ------------------------------------------------------------------------------------------------------------- who may
 */

static void is_closed_to_others (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct stat folder, file;
    char path[96];
    snprintf (path, sizeof path, "%s/control", harness->folder);
    assert_int_equal (stat (path, &folder), 0);
    assert_int_equal (stat (harness->control, &file), 0);
    assert_int_equal (folder.st_mode & 07777, 0700);
    assert_int_equal (file.st_mode & 0777, 0600);
    if (geteuid () != 0)
    {
        harness_destroy (harness);
        skip ();
    }
    /* Even where the modes let another user in, the kernel's word on who that is does not. */
    chmod (harness->folder, 0755);
    chmod (path, 0755);
    chmod (harness->control, 0666);
    int result[2];
    assert_int_equal (pipe2 (result, O_CLOEXEC | O_NONBLOCK), 0);
    fflush (NULL);
    pid_t child = fork ();
    if (child == 0)
    {
        char text[100];
        int fd = setgid (65534) == 0 && setuid (65534) == 0 ? dial (harness->control) : -1;
        ssize_t length = fd < 0 || send (fd, "{\"command\":\"ping\"}\n", 19, MSG_NOSIGNAL) < 0
                             ? -1
                             : recv (fd, text, sizeof text, 0);
        char verdict = fd < 0 ? 'c' : length > 0 ? 'a' : 'r';
        _exit (write (result[1], &verdict, 1) == 1 ? 0 : 1);
    }
    int status;
    while (waitpid (child, &status, WNOHANG) == 0)
        assert_true (is_yes (harness, "{\"command\":\"ping\"}\n", NULL));
    char verdict = '?';
    assert_int_equal (read (result[0], &verdict, 1), 1);
    assert_int_equal (verdict, 'r'); /* connected, and closed without an answer */
    close (result[0]);
    close (result[1]);
    harness_destroy (harness);
}

/* Where the socket cannot be made, the agent runs without it. */
static void runs_without_a_socket (void **state)
{
    (void) state;
    for (int row = 0; row < 4; row++)
    {
        struct harness *harness = harness_prepare ();
        char path[200];
        if (row == 0)
            snprintf (path, sizeof path, "/proc/none/such/socket");
        else if (row == 1)
            memset (path, 'x', sizeof path - 1), path[0] = '/', path[199] = '\0';
        else if (row == 2) /* a folder that others may write to */
        {
            snprintf (path, sizeof path, "%s/open", harness->folder);
            assert_int_equal (mkdir (path, 0700), 0);
            assert_int_equal (chmod (path, 0777), 0);
            snprintf (path, sizeof path, "%s/open/socket", harness->folder);
        }
        else /* a file in the place of the folder */
        {
            snprintf (path, sizeof path, "%s/file", harness->folder);
            close (open (path, O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
            snprintf (path, sizeof path, "%s/file/socket", harness->folder);
        }
        harness->configuration.control = path;
        harness_start (harness, &control_class);
        assert_non_null (harness->runtime);
        assert_int_equal (dial (path), -1);
        harness_destroy (harness);
    }
}

/* A socket left over from an agent that was killed is replaced; that of one that runs is not. */
static void replaces_a_dead_socket_only (void **state)
{
    (void) state;
    struct harness *harness = harness_prepare ();
    char path[96];
    snprintf (path, sizeof path, "%s/control", harness->folder);
    assert_int_equal (mkdir (path, 0700), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf (address.sun_path, sizeof address.sun_path, "%s", harness->control);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal (bind (fd, (struct sockaddr *) &address, sizeof address), 0);
    assert_int_equal (listen (fd, 5), 0);
    harness_start (harness, &control_class);
    struct peer peer = peer_of (dial (harness->control)); /* goes to the other */
    assert_true (peer.fd >= 0);
    peer_free (&peer);
    harness_stop (harness);
    assert_int_equal (access (harness->control, F_OK), 0); /* not ours to remove */
    close (fd);
    harness_start (harness, &control_class);
    assert_true (is_yes (harness, "{\"command\":\"ping\"}\n", NULL));
    harness_stop (harness);
    assert_int_equal (access (harness->control, F_OK), -1);
    harness_destroy (harness);
}

/* ------------------------------------------------------------------------------------------------------------ stopping
 */

static void stops_on_signals (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    tell_engine (harness, true);
    assert_true (is_yes (harness, "{\"command\":\"ready\"}\n", ""));
    raise (SIGTERM);
    assert_int_equal (probe_await (harness, ACTOR_ingress, MESSAGE_stop, 0)->fields.stop.grace, 8000);
    probe_await (harness, ACTOR_membership, MESSAGE_stop, 0);
    assert_int_equal (probe_await (harness, ACTOR_console, MESSAGE_stop, 0)->fields.stop.grace, 8000);
    assert_false (is_yes (harness, "{\"command\":\"ready\"}\n", "stopping"));
    assert_true (is_yes (harness, "{\"command\":\"ping\"}\n", NULL));
    raise (SIGINT);
    assert_int_equal (probe_await (harness, ACTOR_ingress, MESSAGE_stop, 0)->fields.stop.grace, 0);
    assert_int_equal (probe_await (harness, ACTOR_console, MESSAGE_stop, 0)->fields.stop.grace, 0);
    probe_send (harness, ACTOR_ingress, ACTOR_control, MESSAGE_stopped, 0, NULL, SLICE (""));
    atomic_store (&harness->runtime->stopping, false);
    runtime_run (harness->runtime); /* returns, or the test is cut off by its time limit */
    assert_true (atomic_load (&harness->runtime->stopping));
    harness_destroy (harness);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (says_whether_it_is_up, harness_teardown),
        cmocka_unit_test_teardown (merges_reports, harness_teardown),
        cmocka_unit_test_teardown (forgets_through_auth, harness_teardown),
        cmocka_unit_test_teardown (hands_watchers_to_the_tap, harness_teardown),
        cmocka_unit_test_teardown (refuses_bad_lines, harness_teardown),
        cmocka_unit_test_teardown (bounds_its_clients, harness_teardown),
        cmocka_unit_test_teardown (is_closed_to_others, harness_teardown),
        cmocka_unit_test_teardown (runs_without_a_socket, harness_teardown),
        cmocka_unit_test_teardown (replaces_a_dead_socket_only, harness_teardown),
        cmocka_unit_test_teardown (stops_on_signals, harness_teardown),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
