/* actors_host_test - the host actor: requests, bodies and credit in; answers within the credit out. All of it twice:
 * the second time in a process where openat2() is forbidden, as by the seccomp profile of an old Docker.
 */
#include "actor_harness.h"

#include "actors/host.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FORM      "multipart/form-data; boundary=b"
#define PATH_PART "--b\r\nContent-Disposition: form-data; name=\"Path\"\r\n\r\n/dir\r\n"
#define FILE_HEAD "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n"
/* Behind another part. */
#define VOLUME_PART(name) "\r\n--b\r\nContent-Disposition: form-data; name=\"volumeID\"\r\n\r\n" name
#define FORM_END          "\r\n--b--\r\n"

static char s_volumes[96], s_host[96], s_data[128];
static bool s_forbidden; /* openat2() is */

static struct harness *begin (void)
{
    struct harness *harness = harness_prepare ();
    char path[112];
    snprintf (s_volumes, sizeof s_volumes, "%s/volumes", harness->folder);
    snprintf (s_host, sizeof s_host, "%s/host", harness->folder);
    snprintf (path, sizeof path, "%s/vol", s_volumes);
    snprintf (s_data, sizeof s_data, "%s/_data", path);
    ensure (mkdir (s_volumes, 0755) == 0 && mkdir (path, 0755) == 0 && mkdir (s_data, 0755) == 0 &&
            mkdir (s_host, 0755) == 0);
    harness->configuration.volumes_root = s_volumes;
    harness->configuration.host_root = s_host;
    return harness;
}

static struct harness *begin_started (void)
{
    struct harness *harness = begin ();
    harness_start (harness, &host_class);
    assert_non_null (harness->runtime);
    return harness;
}

static void make_file (const char *name, size_t size)
{
    char path[200];
    snprintf (path, sizeof path, "%s/%s", s_data, name);
    FILE *file = fopen (path, "w");
    ensure (file != NULL);
    for (size_t at = 0; at < size; at++)
        fputc ((int) ('a' + at % 23), file);
    fclose (file);
}

static bool exists (const char *name)
{
    char path[200];
    snprintf (path, sizeof path, "%s/%s", s_data, name);
    return access (path, F_OK) == 0;
}

static uint64_t ask (struct harness *harness, const char *method, const char *target, uint64_t window, size_t body,
                     const char *type)
{
    struct header header = {SLICE ("Content-Type"), slice_from (type)};
    union message_fields fields = {.request = {.method = slice_from (method),
                                               .client = ACTOR_ingress,
                                               .target = slice_from (target),
                                               .framing = body ? FRAMING_LENGTH : FRAMING_NONE,
                                               .length = body,
                                               .source = SLICE ("192.0.2.1:1"),
                                               .window = window,
                                               .headers = {&header, type ? 1 : 0}}};
    uint64_t stream = ++harness->last_stream;
    probe_send (harness, ACTOR_router, ACTOR_host, MESSAGE_request, stream, &fields, SLICE (""));
    return stream;
}

static unsigned status_of (struct harness *harness, uint64_t stream)
{
    return (unsigned) probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response.status;
}

/* Waits until no task is left, as its last step runs on a worker. */
static void await_no_task (struct harness *harness)
{
    time_t deadline = time (NULL) + HARNESS_PATIENCE;
    while (harness_counter (harness, ACTOR_host, "tasks") > 0)
        assert_true (time (NULL) < deadline);
}

static void finish (struct harness *harness)
{
    await_no_task (harness);
    assert_int_equal (harness_counter (harness, ACTOR_host, "streams"), 0);
    harness_destroy (harness);
}

static void expect_error (struct harness *harness, uint64_t stream, unsigned status, const char *message)
{
    assert_int_equal (status_of (harness, stream), status);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    size_t length;
    char *body = probe_payload (harness, ACTOR_ingress, stream, &length);
    json_t *object = json_loadb (body, length, 0, NULL);
    assert_string_equal (json_string_value (json_object_get (object, "message")), message);
    json_decref (object);
    free (body);
}

/* ----------------------------------------------------------------------------------------------------------------
 * tests
 */

static void says_how_it_resolves_paths (void **state)
{
    (void) state;
    struct harness *harness = begin_started ();
    json_t *report = harness_inspect (harness, ACTOR_host);
    const char *how = json_string_value (json_object_get (report, "paths_resolved_by"));
    assert_string_equal (how, beneath_kernel_resolves () ? "openat2" : "walk");
    if (s_forbidden)
        assert_string_equal (how, "walk");
    json_decref (report);
    finish (harness);
}

static void sends_no_more_than_the_credit (void **state)
{
    (void) state;
    enum
    {
        SIZE = 300000
    };
    struct harness *harness = begin_started ();
    make_file ("file", SIZE);
    uint64_t stream = ask (harness, "GET", "/v2/browse/get?volumeID=vol&path=/file", 10, 0, NULL);
    struct seen *head = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
    assert_int_equal (head->fields.response.status, 200);
    assert_int_equal (head->fields.response.framing, FRAMING_LENGTH);
    assert_int_equal (head->fields.response.length, SIZE);
    size_t credit = 10, length = 0;
    char *all = NULL;
    for (size_t more = 1; length < SIZE; more = more * 3 + 1)
    {
        struct wanted_payload wanted = {ACTOR_ingress, stream, credit < SIZE ? credit : SIZE};
        harness_until (harness, has_payload, &wanted);
        harness_barrier (harness, ACTOR_host);
        free (all);
        all = probe_payload (harness, ACTOR_ingress, stream, &length);
        assert_int_equal (length, wanted.length);
        probe_credit (harness, ACTOR_ingress, ACTOR_host, stream, more);
        credit += more;
    }
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    for (size_t at = 0; at < SIZE; at++)
        assert_int_equal (all[at], 'a' + at % 23);
    free (all);
    finish (harness);
}

static void lists_within_the_credit (void **state)
{
    (void) state;
    struct harness *harness = begin_started ();
    char name[16];
    for (unsigned number = 0; number < 3000; number++)
    {
        snprintf (name, sizeof name, "file%04u", number);
        make_file (name, number % 7);
    }
    uint64_t stream = ask (harness, "GET", "/v1/browse/vol/ls", 1, 0, NULL);
    assert_int_equal (status_of (harness, stream), 200);
    harness_barrier (harness, ACTOR_host);
    probe_expect_payload (harness, ACTOR_ingress, stream, SLICE ("["));
    probe_credit (harness, ACTOR_ingress, ACTOR_host, stream, 10000000);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    size_t length;
    char *text = probe_payload (harness, ACTOR_ingress, stream, &length);
    json_t *list = json_loadb (text, length, 0, NULL);
    assert_int_equal (json_array_size (list), 3000);
    for (unsigned number = 0; number < 3000; number++)
    {
        snprintf (name, sizeof name, "file%04u", number);
        json_t *entry = json_array_get (list, number);
        assert_string_equal (json_string_value (json_object_get (entry, "Name")), name);
        assert_int_equal (json_integer_value (json_object_get (entry, "Size")), number % 7);
    }
    json_decref (list);
    free (text);
    finish (harness);
}

/* Sends a body as the credit allows, in pieces of a size. */
static void send_body (struct harness *harness, uint64_t stream, struct slice body, size_t piece)
{
    uint64_t credit = 0;
    while (body.len)
    {
        if (credit == 0)
            credit = probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream)->fields.credit.bytes;
        size_t length = body.len < piece ? body.len : piece;
        if (length > credit)
            length = (size_t) credit;
        probe_body (harness, ACTOR_ingress, ACTOR_host, stream, slice_of (body.at, length));
        body = slice_skip (body, length);
        credit -= length;
    }
    probe_end (harness, ACTOR_ingress, ACTOR_host, stream);
}

static void takes_uploads_within_its_credit (void **state)
{
    (void) state;
    enum
    {
        SIZE = 500000
    };
    struct harness *harness = begin_started ();
    for (int turn = 0; turn < 2; turn++) /* the folder before the file, and behind it */
    {
        char *body = must (malloc (SIZE + 1000)), *at = body;
        at = stpcpy (at, turn ? "" : PATH_PART);
        at = stpcpy (at, FILE_HEAD);
        for (size_t index = 0; index < SIZE; index++)
            *at++ = (char) ('a' + index % 23);
        at = stpcpy (at, turn ? "\r\n--b\r\nContent-Disposition: form-data; name=\"Path\"\r\n\r\nbehind" : "");
        at = stpcpy (at, FORM_END);
        size_t length = (size_t) (at - body);
        uint64_t stream = ask (harness, "POST", "/v2/browse/put?volumeID=vol", 100, length, FORM);
        send_body (harness, stream, slice_of (body, length), 7777);
        assert_int_equal (status_of (harness, stream), 204);
        probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
        char path[200], *written = must (malloc (SIZE + 1));
        snprintf (path, sizeof path, "%s/%s/f", s_data, turn ? "behind" : "dir");
        FILE *file = fopen (path, "r");
        assert_non_null (file);
        assert_int_equal (fread (written, 1, SIZE + 1, file), SIZE);
        fclose (file);
        for (size_t index = 0; index < SIZE; index++)
            assert_int_equal (written[index], 'a' + index % 23);
        free (written);
        free (body);
    }
    finish (harness);
}

static void forgets_aborted_uploads (void **state)
{
    (void) state;
    struct harness *harness = begin_started ();
    for (int turn = 0; turn < 20; turn++)
    {
        uint64_t stream = ask (harness, "POST", "/v2/browse/put?volumeID=vol", 100, 100000, FORM);
        probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream);
        if (turn & 1)
            probe_body (harness, ACTOR_ingress, ACTOR_host, stream, SLICE (PATH_PART FILE_HEAD "content"));
        if (turn & 2)
            harness_barrier (harness, ACTOR_host);
        probe_abort (harness, ACTOR_ingress, ACTOR_host, stream);
        probe_body (harness, ACTOR_ingress, ACTOR_host, stream, SLICE ("late"));
        probe_end (harness, ACTOR_ingress, ACTOR_host, stream);
        await_no_task (harness);
        assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_response, stream), 0);
        assert_false (exists ("dir/f"));
    }
    assert_int_equal (harness_counter (harness, ACTOR_host, "aborted"), 20);
    finish (harness);
}

/* The body ends in order, but before the form does. */
static void keeps_no_upload_that_is_not_whole (void **state)
{
    (void) state;
    static const char *const bodies[] = {PATH_PART FILE_HEAD "content", PATH_PART FILE_HEAD "content\r\n--b",
                                         PATH_PART FILE_HEAD "content\r\n--b-", PATH_PART FILE_HEAD};
    struct harness *harness = begin_started ();
    for (size_t row = 0; row < sizeof bodies / sizeof *bodies; row++)
    {
        struct slice body = slice_from (bodies[row]);
        uint64_t stream = ask (harness, "POST", "/v2/browse/put?volumeID=vol", 1000, body.len, FORM);
        send_body (harness, stream, body, 10);
        expect_error (harness, stream, 400, "Invalid request payload");
        assert_false (exists ("dir/f"));
    }
    finish (harness);
}

/* When the agent stops, uploads are under way. */
static void stops_with_tasks_under_way (void **state)
{
    (void) state;
    struct harness *harness = begin_started ();
    make_file ("file", 100000);
    for (int turn = 0; turn < 8; turn++)
    {
        ask (harness, "GET", "/v2/browse/get?volumeID=vol&path=/file", 10, 0, NULL);
        uint64_t stream = ask (harness, "POST", "/v2/browse/put?volumeID=vol", 100, 100000, FORM);
        probe_await (harness, ACTOR_ingress, MESSAGE_credit, stream);
        probe_body (harness, ACTOR_ingress, ACTOR_host, stream, SLICE (PATH_PART FILE_HEAD "content"));
    }
    harness_barrier (harness, ACTOR_host);
    harness_destroy (harness);
}

static void refuses_when_payload_runs_out (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    harness->budget.total = WINDOW_FIRST;
    harness_start (harness, &host_class);
    uint64_t first = ask (harness, "POST", "/v2/browse/put?volumeID=vol", 100, 1000, FORM);
    probe_await (harness, ACTOR_ingress, MESSAGE_credit, first);
    uint64_t second = ask (harness, "POST", "/v2/browse/put?volumeID=vol", 1000, 1000, FORM);
    expect_error (harness, second, 503, "Too much data in flight");
    /* What needs no window is served. */
    uint64_t third = ask (harness, "GET", "/v1/browse/vol/ls", 1000, 0, NULL);
    assert_int_equal (status_of (harness, third), 200);
    probe_abort (harness, ACTOR_ingress, ACTOR_host, first);
    finish (harness);
}

static void refuses_too_many_tasks (void **state)
{
    (void) state;
    struct harness *harness = begin_started ();
    make_file ("file", 10);
    uint64_t first = harness->last_stream + 1;
    for (int task = 0; task < TASKS_MAX; task++)
        ask (harness, "GET", "/v2/browse/get?volumeID=vol&path=/file", 1, 0, NULL);
    for (int task = 0; task < TASKS_MAX; task++)
        assert_int_equal (status_of (harness, first + (uint64_t) task), 200);
    expect_error (harness, ask (harness, "GET", "/host/info", 1000, 0, NULL), 503, "Too many file operations");
    for (int task = 0; task < TASKS_MAX; task++)
        probe_credit (harness, ACTOR_ingress, ACTOR_host, first + (uint64_t) task, 9);
    for (int task = 0; task < TASKS_MAX; task++)
        probe_await (harness, ACTOR_ingress, MESSAGE_end, first + (uint64_t) task);
    finish (harness);
}

/* A body of no bytes, with a length, has no end message of its own. */
static void takes_empty_bodies (void **state)
{
    (void) state;
    struct harness *harness = begin_started ();
    struct header header = {SLICE ("Content-Type"), SLICE ("application/json")};
    union message_fields fields = {.request = {.method = SLICE ("PUT"),
                                               .client = ACTOR_ingress,
                                               .target = SLICE ("/v2/browse/rename?volumeID=vol"),
                                               .framing = FRAMING_LENGTH,
                                               .length = 0,
                                               .window = 1000,
                                               .headers = {&header, 1}}};
    probe_send (harness, ACTOR_router, ACTOR_host, MESSAGE_request, 77, &fields, SLICE (""));
    expect_error (harness, 77, 400, "Invalid request payload");
    finish (harness);
}

static void answers_whoever_asks (void **state)
{
    (void) state;
    struct harness *harness = begin_started ();
    union message_fields fields = {
        .request = {.method = SLICE ("GET"), .client = ACTOR_peers, .target = SLICE ("/v2/host/info"), .window = 1000}};
    probe_send (harness, ACTOR_router, ACTOR_host, MESSAGE_request, 5, &fields, SLICE (""));
    assert_int_equal (probe_await (harness, ACTOR_peers, MESSAGE_response, 5)->fields.response.status, 200);
    probe_expect_payload (harness, ACTOR_peers, 5, SLICE ("{\"PCIDevices\":[],\"PhysicalDisks\":[]}"));
    probe_await (harness, ACTOR_peers, MESSAGE_end, 5);
    finish (harness);
}

static void keeps_within_the_volume (void **state)
{
    (void) state;
    struct harness *harness = begin_started ();
    char path[200], secret[200];
    snprintf (secret, sizeof secret, "%s/secret", harness->folder);
    fclose (fopen (secret, "w"));
    snprintf (path, sizeof path, "%s/link", s_data);
    ensure (symlink (harness->folder, path) == 0);
    expect_error (harness, ask (harness, "GET", "/v2/browse/get?volumeID=vol&path=link/secret", 1000, 0, NULL), 500,
                  "Unable to open file");
    expect_error (harness, ask (harness, "GET", "/v2/browse/ls?volumeID=vol&path=link", 1000, 0, NULL), 500,
                  "Unable to list files inside specified directory");
    expect_error (harness, ask (harness, "DELETE", "/v2/browse/delete?volumeID=vol&path=link/secret", 1000, 0, NULL),
                  500, "Unable to remove file");
    assert_int_equal (access (secret, F_OK), 0);
    finish (harness);
}

/* A file whose size is more than what can be read of it, as all in /sys: the first read fails before anything was said.
 */
static void answers_what_cannot_be_read (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    harness->configuration.host_root = "/sys";
    harness->configuration.host_management = true;
    harness_start (harness, &host_class);
    uint64_t stream = ask (harness, "GET", "/v2/browse/get?path=/devices/system/cpu/online", 100000, 0, NULL);
    expect_error (harness, stream, 500, "Unable to open file");
    finish (harness);
}

/* The form's volume counts (contract 5): one that comes when the file is already elsewhere is refused, not passed over.
 */
static void refuses_another_volume_behind_the_file (void **state)
{
    (void) state;
    static const char *const names[] = {"vol", "other", ""};
    static const char format[] = FILE_HEAD "content" VOLUME_PART ("%s") "\r\n" PATH_PART "--b--\r\n";
    struct harness *harness = begin ();
    harness->configuration.host_management = true;
    harness_start (harness, &host_class);
    for (unsigned query = 0; query < 2; query++)
        for (unsigned index = 0; index < sizeof names / sizeof *names; index++)
        {
            char body[sizeof format + 8];
            size_t length = (size_t) snprintf (body, sizeof body, format, names[index]);
            uint64_t stream =
                ask (harness, "POST", query ? "/v2/browse/put?volumeID=vol" : "/v2/browse/put", 1000, length, FORM);
            send_body (harness, stream, slice_of (body, length), 1000);
            bool same = strcmp (names[index], query ? "vol" : "") == 0;
            if (same)
                assert_int_equal (status_of (harness, stream), 204);
            else
                expect_error (harness, stream, 400, "Invalid volume");
        }
    /* The first one counts, as it does for every field. */
    static const char twice[] =
        FILE_HEAD "content" VOLUME_PART ("other") VOLUME_PART ("vol") "\r\n" PATH_PART "--b--\r\n";
    uint64_t stream = ask (harness, "POST", "/v2/browse/put?volumeID=vol", 1000, sizeof twice - 1, FORM);
    send_body (harness, stream, slice_of (twice, sizeof twice - 1), 1000);
    expect_error (harness, stream, 400, "Invalid volume");
    finish (harness);
}

/* As with an older runtime's filter, and on a file system that knows no files without a name. */
static bool forbid_the_new (void)
{
    static const unsigned nameless = O_TMPFILE & ~(unsigned) O_DIRECTORY;
    struct sock_filter code[] = {
        BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, nr)),
        BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
        BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, args[2])),
        BPF_JUMP (BPF_JMP | BPF_JSET | BPF_K, nameless, 0, 1),
        BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    return prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#define TEST(name) cmocka_unit_test_teardown (name, harness_teardown)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (says_how_it_resolves_paths),  TEST (sends_no_more_than_the_credit),
        TEST (lists_within_the_credit),     TEST (takes_uploads_within_its_credit),
        TEST (forgets_aborted_uploads),     TEST (keeps_no_upload_that_is_not_whole),
        TEST (stops_with_tasks_under_way),  TEST (refuses_when_payload_runs_out),
        TEST (refuses_too_many_tasks),      TEST (takes_empty_bodies),
        TEST (answers_whoever_asks),        TEST (keeps_within_the_volume),
        TEST (answers_what_cannot_be_read), TEST (refuses_another_volume_behind_the_file),
    };
    int failed = cmocka_run_group_tests_name ("as it is", tests, NULL, NULL);
    fflush (NULL);
    pid_t child = fork ();
    if (child == 0)
    {
        s_forbidden = forbid_the_new ();
        if (!s_forbidden)
            print_message ("SKIPPED: no seccomp here; the walk by hand is tested by actors_beneath_test alone\n");
        _exit (s_forbidden ? cmocka_run_group_tests_name ("neither openat2 nor O_TMPFILE", tests, NULL, NULL) : 0);
    }
    int status = 1;
    ensure (child > 0 && waitpid (child, &status, 0) == child);
    return failed + (WIFEXITED (status) ? WEXITSTATUS (status) : 1);
}
