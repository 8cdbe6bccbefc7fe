/* gather_client.h - the neighbours of gather, for its component tests: membership, the client, docker and peers. */
#pragma once

#include "actor_harness.h"

#define MARK(name) "\"Portainer\":{\"Agent\":{\"NodeName\":\"" name "\"}}"

static inline void tell_member (struct harness *harness, const char *id, const char *name, bool own, bool usable)
{
    union message_fields fields = {.member = {.usable = usable,
                                              .own = own,
                                              .id = slice_from (id),
                                              .name = slice_from (name),
                                              .address = SLICE ("192.0.2.7"),
                                              .port = 9001}};
    probe_send (harness, ACTOR_membership, ACTOR_gather, MESSAGE_member, 0, &fields, SLICE (""));
}

/* An agent in a cluster of three: a is its own node. */
static inline struct harness *begin_with (struct harness *harness)
{
    harness_start (harness, &gather_class);
    tell_member (harness, "a", "node-a", true, true);
    tell_member (harness, "b", "node-b", false, true);
    tell_member (harness, "c", "node-c", false, true);
    return harness;
}

static inline struct harness *begin (void)
{
    return begin_with (harness_prepare ());
}

static inline uint64_t ask_for (struct harness *harness, const char *method, const char *target, uint64_t window)
{
    static const struct header headers[] = {{SLICE ("Accept-Encoding"), SLICE ("gzip")},
                                            {SLICE ("x-portaineragent-target"), SLICE ("elsewhere")},
                                            {SLICE ("X-Kept"), SLICE ("yes")}};
    union message_fields fields = {.request = {.method = slice_from (method),
                                               .target = slice_from (target),
                                               .framing = FRAMING_LENGTH,
                                               .length = 5,
                                               .source = SLICE ("192.0.2.1:1"),
                                               .upgrade = SLICE ("websocket"),
                                               .hijackable = true,
                                               .window = window,
                                               .client = ACTOR_ingress,
                                               .headers = {headers, 3}}};
    uint64_t stream = ++harness->last_stream;
    probe_send (harness, ACTOR_router, ACTOR_gather, MESSAGE_request, stream, &fields, SLICE (""));
    return stream;
}

static inline uint64_t ask (struct harness *harness, const char *target)
{
    return ask_for (harness, "GET", target, 1 << 20);
}

/* ------------------------------------------------------------------------------------------------------------ branches
 */

/* A branch, seen from its far end. */
struct far
{
    enum actor_id actor;
    uint64_t stream;
    uint64_t credit;
    const struct message_request *request;
};

/* The next request that this node is asked. */
static inline struct far far_of (struct harness *harness, const char *id)
{
    for (;;)
    {
        bool own = strcmp (id, "a") == 0;
        harness_barrier (harness, ACTOR_gather);
        for (size_t index = 0; index < harness->seen_count; index++)
        {
            struct seen *seen = harness->seen[index];
            if (seen->taken || seen->envelope.type != MESSAGE_request ||
                !slice_equal (seen->fields.request.node, own ? SLICE ("") : slice_from (id)))
                continue;
            assert_int_equal (seen->envelope.to, own ? ACTOR_docker : ACTOR_peers);
            seen->taken = true;
            return (struct far){seen->envelope.to, seen->envelope.stream, seen->fields.request.window,
                                &seen->fields.request};
        }
        fail_msg ("node %s is not asked", id);
    }
}

static inline void head (struct harness *harness, struct far *far, unsigned status, const char *name, const char *value)
{
    struct header header = {slice_from (name), slice_from (value)};
    union message_fields fields = {.response = {.status = status, .framing = FRAMING_CHUNKED, .headers = {&header, 1}}};
    probe_send (harness, far->actor, ACTOR_gather, MESSAGE_response, far->stream, &fields, SLICE (""));
}

static inline void body (struct harness *harness, struct far *far, const char *text)
{
    probe_body (harness, far->actor, ACTOR_gather, far->stream, slice_from (text));
}

static inline void end (struct harness *harness, struct far *far)
{
    probe_end (harness, far->actor, ACTOR_gather, far->stream);
}

/* A whole answer. */
static inline void say (struct harness *harness, struct far *far, unsigned status, const char *text)
{
    head (harness, far, status, "Content-Type", "application/json");
    body (harness, far, text);
    end (harness, far);
}

static inline void cut_off (struct harness *harness, struct far *far)
{
    probe_abort (harness, far->actor, ACTOR_gather, far->stream);
}

static inline void expect_aborted (struct harness *harness, struct far *far)
{
    probe_await (harness, far->actor, MESSAGE_abort, far->stream);
}

/* ---------------------------------------------------------------------------------------------------------- the client
 */

static inline bool has_head (struct harness *harness, uint64_t stream)
{
    harness_barrier (harness, ACTOR_gather);
    return probe_count (harness, ACTOR_ingress, MESSAGE_response, stream) > 0;
}

static inline void expect_header (struct headers headers, const char *name, const char *expected)
{
    struct slice value = headers_find (headers, slice_from (name));
    if (!slice_equal (value, slice_from (expected)) || !value.at != !expected)
        fail_msg ("%s: %.*s, not %s", name, (int) value.len, value.at, expected);
}

/* A list with these elements; the nodes that are missing, or NULL, in its head and in its trailer. */
static inline void expect_list (struct harness *harness, uint64_t stream, const char *text, const char *missing,
                                const char *trailer)
{
    struct seen *seen = probe_await (harness, ACTOR_ingress, MESSAGE_response, stream);
    const struct message_response *response = &seen->fields.response;
    assert_int_equal (response->status, 200);
    assert_int_equal (response->framing, FRAMING_CHUNKED);
    expect_header (response->headers, "Content-Type", "application/json");
    expect_header (response->headers, "Trailer", "Shoal-Missing-Nodes");
    expect_header (response->headers, "Shoal-Missing-Nodes", missing);
    struct headers trailers = probe_await (harness, ACTOR_ingress, MESSAGE_end, stream)->fields.end.trailers;
    expect_header (trailers, "Shoal-Missing-Nodes", trailer);
    size_t length;
    char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
    assert_string_equal (all, text);
    free (all);
    assert_int_equal (probe_count (harness, ACTOR_ingress, MESSAGE_abort, stream), 0);
}

/* Some other answer, with this in its body. */
static inline void expect_answer (struct harness *harness, uint64_t stream, unsigned status, const char *type,
                                  const char *part)
{
    const struct message_response *response =
        &probe_await (harness, ACTOR_ingress, MESSAGE_response, stream)->fields.response;
    assert_int_equal (response->status, status);
    expect_header (response->headers, "Content-Type", type);
    probe_await (harness, ACTOR_ingress, MESSAGE_end, stream);
    size_t length;
    char *all = probe_payload (harness, ACTOR_ingress, stream, &length);
    if (!strstr (all, part))
        fail_msg ("%s is not in %s", part, all);
    assert_int_equal (response->length, length);
    assert_true (length <= WINDOW_LEAST);
    free (all);
}
