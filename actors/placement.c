/* placement.c - see placement.h.
 *
 * A message within a reactor costs a third of a microsecond, one that wakes another thread some 25: so one reactor
 * carries the whole request path. It can serve more requests than an engine can answer. What may take its time lives
 * elsewhere: membership on a reactor of its own, calls to file systems on the workers of host.
 */
#include "placement.h"

#include <stdlib.h>

enum
{
    REACTOR_CONTROL = 0, /* the main thread */
    REACTOR_REQUESTS = 1,
    REACTOR_MEMBERSHIP = 2, /* what it does takes time: keys, names, waiting for good-byes to leave */
};

/* One actor a line. */
/* clang-format off */
const struct placement placement_table[] = {
    {&ingress_class, REACTOR_REQUESTS},
    {&auth_class, REACTOR_REQUESTS},
    {&router_class, REACTOR_REQUESTS},
    {&docker_class, REACTOR_REQUESTS},
    {&peers_class, REACTOR_REQUESTS},
    {&gather_class, REACTOR_REQUESTS},
    {&console_class, REACTOR_REQUESTS},
    {&host_class, REACTOR_REQUESTS},
    {&membership_class, REACTOR_MEMBERSHIP},
    {&control_class, REACTOR_CONTROL},
    {&tap_class, REACTOR_CONTROL},
};
/* clang-format on */
const size_t placement_rows = sizeof placement_table / sizeof *placement_table;

void actor_report (struct actor *actor, enum actor_id to, json_t *state)
{
    char *text = state ? json_dumps (state, JSON_COMPACT) : NULL;
    union message_fields fields = {.report = {.state = slice_from (text ? text : "{}")}};
    actor_send (actor, to, MESSAGE_report, NULL, &fields, NULL);
    free (text);
    json_decref (state);
}

static void answer_with (struct actor *actor, enum actor_id to, const struct subject *subject, unsigned status,
                         struct headers headers, struct slice body)
{
    union message_fields fields = {.response = {.status = status,
                                                .framing = body.len ? FRAMING_LENGTH : FRAMING_NONE,
                                                .length = body.len,
                                                .headers = headers}};
    actor_send (actor, to, MESSAGE_response, subject, &fields, NULL);
    if (body.len)
    {
        zmq_msg_t payload;
        payload_copy (&payload, body.at, body.len);
        actor_send (actor, to, MESSAGE_body, subject, NULL, &payload);
    }
    union message_fields end = {.end = {.trailers = {NULL, 0}}};
    actor_send (actor, to, MESSAGE_end, subject, &end, NULL);
}

void answer (struct actor *actor, enum actor_id to, const struct subject *subject, unsigned status, struct slice type,
             struct slice body, const char *allow)
{
    struct header headers[2];
    size_t count = 0;
    if (type.len)
        headers[count++] = (struct header){SLICE ("Content-Type"), type};
    if (allow)
        headers[count++] = (struct header){SLICE ("Allow"), slice_from (allow)};
    answer_with (actor, to, subject, status, (struct headers){headers, count}, body);
}

void answer_unavailable (struct actor *actor, enum actor_id to, const struct subject *subject)
{
    answer (actor, to, subject, 503, SLICE ("text/plain; charset=utf-8"), SLICE ("Service Unavailable"), NULL);
}

void answer_refusal (struct actor *actor, enum actor_id to, const struct subject *subject, unsigned status,
                     const char *message, const char *details, struct header field)
{
    struct header headers[] = {{SLICE ("Content-Type"), SLICE ("application/json")}, field};
    json_t *object = json_object ();
    if (message && message[0])
        json_object_set_new (object, "message", json_string (message));
    if (details && details[0])
        json_object_set_new (object, "details", json_string (details));
    char *text = json_dumps (object, JSON_COMPACT);
    answer_with (actor, to, subject, status, (struct headers){headers, field.name.len ? 2 : 1}, slice_from (text));
    free (text);
    json_decref (object);
}

void answer_error (struct actor *actor, enum actor_id to, const struct subject *subject, unsigned status,
                   const char *message, const char *details)
{
    answer_refusal (actor, to, subject, status, message, details, (struct header){SLICE (""), SLICE ("")});
}
