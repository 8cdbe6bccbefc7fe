/* actor_harness.h - one real actor, alone: its neighbours are probes, which record what they are sent and say what the
 * test tells them.
 *
 * All actors of the catalog live on one reactor, on the test's own thread: those named to harness_new() are the real
 * ones, the others are probes. The reactor runs only within harness_until() and what builds on it, until a condition of
 * the test holds; no test sleeps and none races. Descriptors at the actor's natural edge (an engine's socket, a TLS
 * client) are the test's own, non-blocking, and looked at by such conditions.
 *
 * A barrier is a question that an actor answers with a report: what was ready before it has been dealt with when the
 * answer comes.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/configuration.h"
#include "actors/ensure.h"
#include "actors/placement.h"
#include "actors/reactor.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum
{
    HARNESS_PATIENCE = 20, /* seconds that a condition may take; what takes so long has failed */
};

/* A message that a probe was sent. */
struct seen
{
    struct envelope envelope;
    union message_fields fields; /* slices point into body */
    char *body, *payload;
    size_t payload_length;
    struct header *store;
    bool taken;
};

struct harness
{
    struct runtime *runtime;
    struct configuration configuration;
    struct budget budget;
    char folder[64]; /* of this test alone */
    char data[80], control[96], engine[96];

    struct actor *probes[ACTOR_COUNT];
    struct actor *any; /* one of them */
    struct seen **seen;
    size_t seen_count, seen_capacity;
    uint64_t last_stream;

    bool (*condition) (struct harness *harness, void *data);
    void *condition_data;
    bool reached;
    time_t deadline;
    struct timer tick;
};

/* The harness of the test that runs: probes are started without being told whose they are. */
static struct harness *s_harness;

/* ------------------------------------------------------------------------------------------------------------ probes
 */

static inline void *probe_start (struct actor *actor, const void *configuration)
{
    (void) configuration;
    s_harness->probes[actor->actor_class->id] = actor;
    s_harness->any = actor;
    return s_harness;
}

static inline char *bytes_copy (const void *bytes, size_t length)
{
    char *copy = must (malloc (length + 1));
    if (length)
        memcpy (copy, bytes, length);
    copy[length] = '\0';
    return copy;
}

static inline void probe_message (void *self, struct message *message)
{
    struct harness *harness = self;
    struct seen *seen = must (calloc (1, sizeof *seen));
    size_t length = zmq_msg_size (message->body);
    seen->envelope = message->envelope;
    seen->body = bytes_copy (zmq_msg_data (message->body), length);
    seen->payload_length = zmq_msg_size (message->payload);
    seen->payload = bytes_copy (zmq_msg_data (message->payload), seen->payload_length);
    seen->store = must (calloc (MESSAGE_HEADERS_MAX, sizeof *seen->store));
    struct message_error error;
    if (message_has_body (message->envelope.type))
        ensure (message_decode (message->envelope.type, slice_of (seen->body, length), &seen->fields, seen->store,
                                &error) == 0);
    if (harness->seen_count == harness->seen_capacity)
    {
        harness->seen_capacity = harness->seen_capacity ? harness->seen_capacity * 2 : 64;
        harness->seen = must (realloc (harness->seen, harness->seen_capacity * sizeof *harness->seen));
    }
    harness->seen[harness->seen_count++] = seen;
}

static inline void probe_stop (void **self_p)
{
    *self_p = NULL;
}

static inline const struct actor_class *probe_class (enum actor_id id)
{
    static struct actor_class classes[ACTOR_COUNT];
    classes[id] = (struct actor_class){.id = id, .start = probe_start, .message = probe_message, .stop = probe_stop};
    return &classes[id];
}

/* ----------------------------------------------------------------------------------------------------- life and death
 */

/* Makes the configuration and the folder, without starting anything: the test may change the configuration. */
static inline struct harness *harness_prepare (void)
{
    struct harness *harness = must (calloc (1, sizeof *harness));
    snprintf (harness->folder, sizeof harness->folder, "/tmp/shoal-test-XXXXXX");
    ensure (mkdtemp (harness->folder) != NULL);
    snprintf (harness->data, sizeof harness->data, "%s/data", harness->folder);
    snprintf (harness->control, sizeof harness->control, "%s/control/socket", harness->folder);
    snprintf (harness->engine, sizeof harness->engine, "%s/docker.sock", harness->folder);
    ensure (mkdir (harness->data, 0700) == 0);
    harness->budget.total = 32 * 1024 * 1024;
    harness->configuration = (struct configuration){.host = "127.0.0.1",
                                                    .secret = "",
                                                    .secret_file = "",
                                                    .secret_timeout = 3600000,
                                                    .public_key = "",
                                                    .docker_host = harness->engine,
                                                    .data = harness->data,
                                                    .control = harness->control,
                                                    .protocol_version = "2.19.0",
                                                    .connections = 1000,
                                                    .engine_connections = 1000,
                                                    .peer_connections = 1000,
                                                    .header_time = 60000,
                                                    .idle_time = 60000,
                                                    .grace_time = 8000,
                                                    .list_time = 30000,
                                                    .advertise_address = "192.0.2.1",
                                                    .budget = &harness->budget};
    s_harness = harness;
    return harness;
}

static inline void harness_start (struct harness *harness, const struct actor_class *real)
{
    struct placement table[ACTOR_COUNT];
    size_t rows = 0;
    for (enum actor_id id = ACTOR_NONE + 1; id < ACTOR_COUNT; id++)
        table[rows++] = (struct placement){real->id == id ? real : probe_class (id), 0};
    signal (SIGPIPE, SIG_IGN);
    log_setup (LOG_ERROR, LOG_NOCOLOR);
    harness->runtime = runtime_new (table, rows, &harness->configuration);
}

static inline int remove_entry (const char *path, const struct stat *information, int kind, struct FTW *position)
{
    (void) information, (void) kind, (void) position;
    return remove (path);
}

/* Stops the actors, but keeps what was seen. */
static inline void harness_stop (struct harness *harness)
{
    if (harness->runtime)
    {
        timer_clear (&harness->tick);
        runtime_stop (harness->runtime);
        runtime_destroy (&harness->runtime);
    }
}

static inline void harness_forget_seen (struct harness *harness)
{
    for (size_t index = 0; index < harness->seen_count; index++)
    {
        struct seen *seen = harness->seen[index];
        free (seen->body);
        free (seen->payload);
        free (seen->store);
        free (seen);
    }
    harness->seen_count = 0;
}

/* A teardown of cmocka: also after a test that failed. */
static inline int harness_teardown (void **state)
{
    (void) state;
    struct harness *harness = s_harness;
    if (!harness)
        return 0;
    harness_stop (harness);
    harness_forget_seen (harness);
    free (harness->seen);
    nftw (harness->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free (harness);
    s_harness = NULL;
    return 0;
}

/* Ends a harness in the middle of a test, and says whether all payload was given back. */
static inline void harness_destroy (struct harness *harness)
{
    harness_stop (harness);
    assert_int_equal (atomic_load (&harness->budget.used), 0);
    harness_teardown (NULL);
}

/* ----------------------------------------------------------------------------------------------------------- running
 */

static inline void harness_tick (struct timer *timer)
{
    struct harness *harness = OWNER (timer, struct harness, tick);
    harness->reached = harness->condition (harness, harness->condition_data);
    if (harness->reached || time (NULL) > harness->deadline)
        atomic_store (&harness->runtime->stopping, true);
    else
        timer_set (harness->any, timer, 1, harness_tick);
}

/* Where failures are what is looked for, SHOAL_TEST_PATIENCE makes them come sooner. */
static inline int harness_patience (void)
{
    const char *seconds = getenv ("SHOAL_TEST_PATIENCE");
    return seconds ? (int) strtol (seconds, NULL, 10) : HARNESS_PATIENCE;
}

/* Runs the reactor until the condition holds. Returns false when it never did. */
static inline bool harness_try (struct harness *harness, bool (*condition) (struct harness *harness, void *data),
                                void *data)
{
    harness->condition = condition;
    harness->condition_data = data;
    harness->deadline = time (NULL) + harness_patience ();
    harness->reached = condition (harness, data);
    if (harness->reached)
        return true;
    atomic_store (&harness->runtime->stopping, false);
    timer_set (harness->any, &harness->tick, 0, harness_tick);
    runtime_run (harness->runtime);
    timer_clear (&harness->tick);
    return harness->reached;
}

static inline void harness_until (struct harness *harness, bool (*condition) (struct harness *harness, void *data),
                                  void *data)
{
    if (!harness_try (harness, condition, data))
        fail_msg ("what was waited for did not happen in %d s", harness_patience ());
}

/* ---------------------------------------------------------------------------------------------------------- messages
 */

/* Says something in the place of a neighbour. */
static inline void probe_send (struct harness *harness, enum actor_id from, enum actor_id to, enum message_type type,
                               uint64_t stream, const union message_fields *fields, struct slice payload)
{
    struct subject subject = {.stream = stream, .trace = {1, 2, 3, (uint8_t) stream}};
    zmq_msg_t frame;
    if (message_has_payload (type))
        payload_copy (&frame, payload.at, payload.len);
    actor_send (harness->probes[from], to, type, &subject, fields, message_has_payload (type) ? &frame : NULL);
}

static inline void probe_body (struct harness *harness, enum actor_id from, enum actor_id to, uint64_t stream,
                               struct slice bytes)
{
    probe_send (harness, from, to, MESSAGE_body, stream, NULL, bytes);
}

static inline void probe_end (struct harness *harness, enum actor_id from, enum actor_id to, uint64_t stream)
{
    union message_fields fields = {.end = {.trailers = {NULL, 0}}};
    probe_send (harness, from, to, MESSAGE_end, stream, &fields, SLICE (""));
}

static inline void probe_credit (struct harness *harness, enum actor_id from, enum actor_id to, uint64_t stream,
                                 uint64_t bytes)
{
    union message_fields fields = {.credit = {.bytes = bytes}};
    probe_send (harness, from, to, MESSAGE_credit, stream, &fields, SLICE (""));
}

static inline void probe_abort (struct harness *harness, enum actor_id from, enum actor_id to, uint64_t stream)
{
    union message_fields fields = {.abort = {.reason = SLICE ("test")}};
    probe_send (harness, from, to, MESSAGE_abort, stream, &fields, SLICE (""));
}

struct wanted
{
    enum actor_id to;
    enum message_type type;
    uint64_t stream; /* 0: any */
    struct seen *found;
};

static inline bool is_there (struct harness *harness, void *data)
{
    struct wanted *wanted = data;
    for (size_t index = 0; index < harness->seen_count && !wanted->found; index++)
    {
        struct seen *seen = harness->seen[index];
        if (!seen->taken && seen->envelope.to == wanted->to && seen->envelope.type == wanted->type &&
            (!wanted->stream || seen->envelope.stream == wanted->stream))
            wanted->found = seen;
    }
    return wanted->found != NULL;
}

/* The next message of this type that the probe was sent, waited for. */
static inline struct seen *probe_await (struct harness *harness, enum actor_id to, enum message_type type,
                                        uint64_t stream)
{
    struct wanted wanted = {to, type, stream, NULL};
    if (!harness_try (harness, is_there, &wanted))
        fail_msg ("%s got no %s", actor_name (to), message_type_name (type));
    wanted.found->taken = true;
    return wanted.found;
}

/* How many messages of this type, taken or not, the probe was sent. */
static inline size_t probe_count (struct harness *harness, enum actor_id to, enum message_type type, uint64_t stream)
{
    size_t count = 0;
    for (size_t index = 0; index < harness->seen_count; index++)
    {
        const struct envelope *envelope = &harness->seen[index]->envelope;
        count += envelope->to == to && envelope->type == type && (!stream || envelope->stream == stream);
    }
    return count;
}

/* What the actor says about itself; a barrier besides. The caller decrefs. */
static inline json_t *harness_inspect (struct harness *harness, enum actor_id actor)
{
    enum actor_id asker = harness->any->actor_class->id;
    probe_send (harness, asker, actor, MESSAGE_inspect, 0, NULL, SLICE (""));
    struct slice text = probe_await (harness, asker, MESSAGE_report, 0)->fields.report.state;
    json_t *state = json_loadb (text.at, text.len, 0, NULL);
    assert_non_null (state);
    return state;
}

static inline long harness_counter (struct harness *harness, enum actor_id actor, const char *name)
{
    json_t *state = harness_inspect (harness, actor), *value = json_object_get (state, name);
    if (!json_is_integer (value) && !json_is_boolean (value))
        fail_msg ("no %s in the report of %s", name, actor_name (actor));
    long number = json_is_integer (value) ? (long) json_integer_value (value) : json_is_true (value);
    json_decref (state);
    return number;
}

/* Everything that was ready is dealt with; events that follow from it too. */
static inline void harness_barrier (struct harness *harness, enum actor_id actor)
{
    for (int turn = 0; turn < 4; turn++)
        json_decref (harness_inspect (harness, actor));
}

/* All payload of a stream that a probe was sent. The caller frees. */
static inline char *probe_payload (struct harness *harness, enum actor_id to, uint64_t stream, size_t *length)
{
    char *all = bytes_copy (NULL, 0);
    *length = 0;
    for (size_t index = 0; index < harness->seen_count; index++)
    {
        const struct seen *seen = harness->seen[index];
        if (seen->envelope.to != to || seen->envelope.stream != stream || seen->envelope.type != MESSAGE_body)
            continue;
        all = must (realloc (all, *length + seen->payload_length + 1));
        memcpy (all + *length, seen->payload, seen->payload_length);
        *length += seen->payload_length;
        all[*length] = '\0';
    }
    return all;
}

struct wanted_payload
{
    enum actor_id to;
    uint64_t stream;
    size_t length;
};

static inline bool has_payload (struct harness *harness, void *data)
{
    struct wanted_payload *wanted = data;
    size_t length = 0;
    for (size_t index = 0; index < harness->seen_count; index++)
    {
        const struct seen *seen = harness->seen[index];
        if (seen->envelope.to == wanted->to && seen->envelope.stream == wanted->stream)
            length += seen->payload_length;
    }
    return length >= wanted->length;
}

/* Waits for so much payload, and checks that it is exactly this. */
static inline void probe_expect_payload (struct harness *harness, enum actor_id to, uint64_t stream,
                                         struct slice expected)
{
    struct wanted_payload wanted = {to, stream, expected.len};
    harness_until (harness, has_payload, &wanted);
    size_t length;
    char *all = probe_payload (harness, to, stream, &length);
    assert_int_equal (length, expected.len);
    assert_memory_equal (all, expected.at, expected.len);
    free (all);
}

/* ------------------------------------------------------------------------------------------------------- descriptors
 */

/* The test's end of a socket, and what came out of it. */
struct peer
{
    int fd;
    char *text; /* NUL-terminated */
    size_t length;
    bool ended;     /* end of file */
    bool reset;     /* any other end */
    size_t stop_at; /* reads no more than so many bytes; 0: all */
};

static inline struct peer peer_of (int fd)
{
    return (struct peer){.fd = fd, .text = bytes_copy (NULL, 0)};
}

static inline void peer_free (struct peer *peer)
{
    if (peer->fd >= 0)
        close (peer->fd);
    free (peer->text);
    *peer = (struct peer){.fd = -1};
}

static inline void peer_read (struct peer *peer)
{
    char bytes[65536];
    while (!peer->ended && !peer->reset)
    {
        size_t size =
            peer->stop_at && peer->stop_at - peer->length < sizeof bytes ? peer->stop_at - peer->length : sizeof bytes;
        ssize_t length = size ? recv (peer->fd, bytes, size, MSG_DONTWAIT) : -1;
        if (length <= 0)
        {
            peer->ended = length == 0;
            peer->reset = length < 0 && size && errno != EAGAIN && errno != EINTR;
            return;
        }
        peer->text = must (realloc (peer->text, peer->length + (size_t) length + 1));
        memcpy (peer->text + peer->length, bytes, (size_t) length);
        peer->length += (size_t) length;
        peer->text[peer->length] = '\0';
    }
}

struct wanted_text
{
    struct peer *peer;
    const char *text; /* NULL: the end */
};

static inline bool peer_has (struct harness *harness, void *data)
{
    (void) harness;
    struct wanted_text *wanted = data;
    peer_read (wanted->peer);
    if (!wanted->text)
        return wanted->peer->ended || wanted->peer->reset;
    return memmem (wanted->peer->text, wanted->peer->length, wanted->text, strlen (wanted->text)) != NULL;
}

static inline void peer_await (struct harness *harness, struct peer *peer, const char *text)
{
    struct wanted_text wanted = {peer, text};
    if (!harness_try (harness, peer_has, &wanted))
        fail_msg ("never came: %s; this did: %s", text ? text : "the end", peer->text);
}

static inline void peer_await_end (struct harness *harness, struct peer *peer)
{
    peer_await (harness, peer, NULL);
}

/* Forgets what was read. */
static inline void peer_clear (struct peer *peer)
{
    peer->length = 0;
    peer->text[0] = '\0';
}

static inline void peer_send (struct peer *peer, const char *bytes, size_t length)
{
    assert_int_equal (send (peer->fd, bytes, length, MSG_NOSIGNAL), length);
}

static inline void peer_say (struct peer *peer, const char *text)
{
    peer_send (peer, text, strlen (text));
}
