/* gather_branch.c - one node's part of a list: the request to it, and what becomes of its answer. See gather.h. */
#include "gather.h"

#include "ensure.h"
#include "log.h"

#include <stdarg.h>

/* ------------------------------------------------------------------------------------------------------------- failing
 */

static void count_failure (struct gather *gather, const char *name)
{
    gather->counters.failed++;
    char shown[sizeof gather->failures->name];
    snprintf (shown, sizeof shown, "%.*s", (int) sizeof shown - 1, name);
    for (size_t index = 0; index < gather->failed_nodes; index++)
        if (strcmp (gather->failures[index].name, shown) == 0)
        {
            gather->failures[index].count++;
            return;
        }
    if (gather->failed_nodes == GATHER_NODES_MAX)
    {
        gather->counters.failed_others++;
        return;
    }
    struct failures *failures = &gather->failures[gather->failed_nodes++];
    memcpy (failures->name, shown, sizeof shown);
    failures->count = 1;
}

void branch_log (const struct branch *branch)
{
    log_warn ("gather", "%s is missing from %s: %s", branch->name, branch->list->path, branch->reason);
}

static void arrive (struct branch *branch)
{
    if (branch->arrived)
        return;
    branch->arrived = true;
    branch->list->awaited--;
}

static void free_input (struct branch *branch)
{
    free (branch->input);
    branch->input = NULL;
    branch->from = branch->length = branch->capacity = 0;
}

void branch_close (struct branch *branch, const char *why)
{
    struct gather *gather = branch->list->gather;
    if (!branch->ended)
    {
        union message_fields fields = {.abort = {.reason = slice_from (why)}};
        actor_send (gather->actor, branch->far, MESSAGE_abort, &branch->subject, &fields, NULL);
        branch->ended = true;
    }
    timer_clear (&branch->timer);
    stream_table_remove (&gather->by_branch, branch->subject.stream);
    window_close (&branch->window);
    gather->held -= branch->held;
    branch->held = 0;
    json_list_destroy (&branch->elements);
    free_input (branch);
}

static void __attribute__ ((format (printf, 2, 0)))
set_reason (struct branch *branch, const char *format, va_list arguments)
{
    vsnprintf (branch->reason, sizeof branch->reason, format, arguments);
    for (char *at = branch->reason; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
}

/* The branch is over without its list. A refusal's body is kept for a client whom all nodes refuse alike. */
static void fail (struct branch *branch, unsigned status, const char *format, ...)
    __attribute__ ((format (printf, 3, 4)));
static void fail (struct branch *branch, unsigned status, const char *format, ...)
{
    struct list *list = branch->list;
    va_list arguments;
    va_start (arguments, format);
    set_reason (branch, format, arguments);
    va_end (arguments);
    char *body = branch->passable ? branch->input : NULL;
    size_t length = branch->passable ? branch->length : 0;
    if (branch->passable)
        branch->input = NULL;
    branch_close (branch, branch->reason);
    branch->input = body;
    branch->length = length;
    branch->element = SLICE ("");
    branch->state = BRANCH_FAILED;
    branch->status = status;
    branch->late = list->head_sent;
    list->running--;
    arrive (branch);
    count_failure (list->gather, branch->name);
    if (branch->late)
        branch_log (branch);
}

/* The far end can be trusted no more, or is gone: what came before is still sent, unless nothing was sent yet. */
static void cut (struct branch *branch, unsigned status, const char *format, ...)
    __attribute__ ((format (printf, 3, 4)));
static void cut (struct branch *branch, unsigned status, const char *format, ...)
{
    va_list arguments;
    va_start (arguments, format);
    set_reason (branch, format, arguments);
    va_end (arguments);
    if (!branch->list->head_sent)
    {
        char reason[GATHER_REASON_BYTES];
        memcpy (reason, branch->reason, sizeof reason);
        fail (branch, status, "%s", reason);
        return;
    }
    if (!branch->ended)
    {
        union message_fields fields = {.abort = {.reason = slice_from (branch->reason)}};
        actor_send (branch->list->gather->actor, branch->far, MESSAGE_abort, &branch->subject, &fields, NULL);
    }
    branch->ended = branch->cut = true;
    branch_ready (branch);
}

/* Whether it is somebody else's turn: the far end has said all, or the client has not taken what came before. */
static bool is_not_waited_for (const struct branch *branch)
{
    return branch->ended || branch->from < branch->length || branch->element.len;
}

static void on_time (struct timer *timer)
{
    struct branch *branch = OWNER (timer, struct branch, timer);
    struct list *list = branch->list;
    struct actor *actor = list->gather->actor;
    uint64_t limit = list->gather->configuration->list_time;
    uint64_t silence = is_not_waited_for (branch) ? 0 : actor_now (actor) - branch->heard;
    if (branch->arrived && silence < limit)
    {
        timer_set (actor, timer, limit - silence, on_time);
        return;
    }
    if (branch->arrived)
        fail (branch, 504, "nothing came for %llu ms (see --list-time)", (unsigned long long) limit);
    else if (branch->lost)
        fail (branch, 502, "it left the cluster before it answered");
    else
        fail (branch, 504, "no answer within %llu ms (see --list-time)", (unsigned long long) limit);
    list_progress (list);
}

void branch_lost (struct branch *branch)
{
    if (branch->arrived || branch->lost || branch->far == ACTOR_docker)
        return;
    uint64_t now = actor_now (branch->list->gather->actor);
    if (branch->timer.place && branch->timer.at <= now + GATHER_LOST_TIME)
        return;
    branch->lost = true;
    timer_set (branch->list->gather->actor, &branch->timer, GATHER_LOST_TIME, on_time);
}

/* ------------------------------------------------------------------------------------------------------------- asking
 */

void print_node_name (char out[GATHER_NAME_BYTES], const char *name)
{
    for (; *name; name++)
        if (*name <= ' ' || *name > '~' || *name == ',' || *name == '%')
            out += snprintf (out, 4, "%%%02X", (unsigned) (uint8_t) *name);
        else
            *out++ = *name;
    *out = '\0';
}

static bool has_control (const char *name)
{
    for (; *name; name++)
        if ((uint8_t) *name < ' ' || *name == 0x7f)
            return true;
    return false;
}

void branch_begin (struct list *list, struct branch *branch, const struct member *member,
                   const struct message_request *request, struct header *headers, size_t count)
{
    struct gather *gather = list->gather;
    const char *name = member ? member->name : gather->engine_name;
    branch->list = list;
    branch->far = !member || member->own ? ACTOR_docker : ACTOR_peers;
    branch->subject = list->subject;
    branch->subject.stream = (uint64_t) 1 << 63 | ++gather->last_stream;
    branch->ended = true; /* until it was asked */
    snprintf (branch->id, sizeof branch->id, "%s", member ? member->id : "");
    print_node_name (branch->name, name);
    gather->counters.branches++;
    if (branch->far == ACTOR_peers)
    {
        if (has_control (name))
        {
            fail (branch, 502, "its name has control characters and cannot be sent in a header");
            return;
        }
        headers[count++] = (struct header){SLICE ("X-PortainerAgent-Target"), slice_from (name)};
    }
    uint32_t credit = window_open (&branch->window, gather->configuration->budget);
    if (!credit)
    {
        fail (branch, 503, "too much data in flight (see --payload-total)");
        return;
    }
    branch->elements = json_list_new (list->kind, slice_from (name));
    branch->ended = false;
    stream_table_put (&gather->by_branch, branch->subject.stream, branch);
    union message_fields fields = {.request = {.method = list->is_head ? SLICE ("GET") : request->method,
                                               .target = request->target,
                                               .framing = FRAMING_NONE,
                                               .source = request->source,
                                               .window = credit,
                                               .client = ACTOR_gather,
                                               .node = slice_from (branch->id),
                                               .headers = {headers, count}}};
    if (branch->far == ACTOR_docker)
        fields.request.node = SLICE ("");
    actor_send (gather->actor, branch->far, MESSAGE_request, &branch->subject, &fields, NULL);
    if (gather->configuration->list_time)
        timer_set (gather->actor, &branch->timer, gather->configuration->list_time, on_time);
}

/* ----------------------------------------------------------------------------------------------------------- the
 * answer
 */

/* Why the node refused, from the body of its answer: the contract's JSON error, else what it begins with. */
static void refuse (struct branch *branch)
{
    json_t *object = json_loadb (branch->input ? branch->input : "", branch->length, 0, NULL);
    const char *message = json_string_value (json_object_get (object, "message"));
    const char *details = json_string_value (json_object_get (object, "details"));
    char reason[GATHER_REASON_BYTES];
    if (message || details)
        snprintf (reason, sizeof reason, "%s%s%s", message ? message : "", message && details ? ": " : "",
                  details ? details : "");
    else
        snprintf (reason, sizeof reason, "%.*s", (int) (branch->length < 128 ? branch->length : 128),
                  branch->input ? branch->input : "");
    json_decref (object);
    fail (branch, branch->status, "it answered %u%s%s", branch->status, reason[0] ? ": " : "", reason);
}

void branch_on_response (struct branch *branch, const struct message_response *response)
{
    if (branch->ended)
        return;
    if (branch->state != BRANCH_WAITING)
    {
        cut (branch, 502, "it sent two heads");
        return;
    }
    struct slice coding = headers_find (response->headers, SLICE ("Content-Encoding"));
    if (response->status != 200)
    {
        struct slice type = headers_find (response->headers, SLICE ("Content-Type"));
        branch->state = BRANCH_REFUSING;
        branch->status = (unsigned) response->status;
        if (type.len < sizeof branch->type)
            snprintf (branch->type, sizeof branch->type, "%.*s", (int) type.len, type.len ? type.at : "");
    }
    else if (coding.len && !slice_equal_nocase (coding, SLICE ("identity")))
        fail (branch, 502, "it answered in the encoding %.*s", (int) (coding.len < 32 ? coding.len : 32), coding.at);
    else
        branch->state = BRANCH_LISTING;
}

static void keep_input (struct branch *branch, struct slice bytes)
{
    if (branch->from)
    {
        memmove (branch->input, branch->input + branch->from, branch->length - branch->from);
        branch->length -= branch->from;
        branch->from = 0;
    }
    if (branch->capacity - branch->length < bytes.len)
    {
        size_t needed = branch->length + bytes.len;
        branch->capacity = needed > 2 * branch->capacity ? needed : 2 * branch->capacity;
        branch->input = must (realloc (branch->input, branch->capacity));
    }
    memcpy (branch->input + branch->length, bytes.at, bytes.len);
    branch->length += bytes.len;
}

void branch_on_body (struct branch *branch, struct slice bytes)
{
    if (bytes.len == 0 || branch->ended)
        return;
    if (branch->state == BRANCH_WAITING)
        cut (branch, 502, "it sent a body before its head");
    else if (branch->length - branch->from + bytes.len > branch->window.reserved)
        cut (branch, 502, "it sent more than it was granted");
    else
    {
        branch->heard = actor_now (branch->list->gather->actor);
        keep_input (branch, bytes);
        if (branch->state == BRANCH_REFUSING)
        {
            /* It is not granted any more: were it longer, its end would never come. */
            if (branch->length >= GATHER_REFUSAL_MAX)
                refuse (branch);
            return;
        }
        arrive (branch);
        branch_ready (branch);
        if (!branch->list->head_sent)
            branch_next (branch); /* a mistake at the beginning is better known before the head */
    }
}

void branch_on_end (struct branch *branch)
{
    if (branch->ended)
        return;
    branch->ended = true;
    if (branch->state == BRANCH_WAITING)
        fail (branch, 502, "it ended before its head");
    else if (branch->state == BRANCH_REFUSING)
    {
        branch->passable = true;
        refuse (branch);
    }
    else
    {
        arrive (branch);
        branch_ready (branch);
        if (!branch->list->head_sent)
            branch_next (branch);
    }
}

void branch_on_abort (struct branch *branch, struct slice reason)
{
    if (branch->ended)
        return;
    branch->ended = true;
    cut (branch, 502, "its answer was cut off: %.*s", (int) (reason.len < 160 ? reason.len : 160), reason.at);
}

/* ----------------------------------------------------------------------------------------------------------- elements
 */

void branch_ready (struct branch *branch)
{
    struct list *list = branch->list;
    if (branch->queued)
        return;
    branch->queued = true;
    branch->next_ready = NULL;
    if (list->ready)
        list->ready_last->next_ready = branch;
    else
        list->ready = branch;
    list->ready_last = branch;
}

static void consume (struct branch *branch, size_t bytes)
{
    branch->from += bytes;
    if (branch->from == branch->length)
        branch->from = branch->length = 0;
    uint32_t credit = window_consume (&branch->window, bytes);
    if (!credit || branch->ended)
        return;
    union message_fields fields = {.credit = {.bytes = credit}};
    actor_send (branch->list->gather->actor, branch->far, MESSAGE_credit, &branch->subject, &fields, NULL);
}

/* Whether the unfinished elements of all lists still fit into memory that is theirs. */
static bool count_held (struct branch *branch)
{
    struct gather *gather = branch->list->gather;
    size_t held = json_list_held (branch->elements);
    bool grew = held > branch->held;
    gather->held += held - branch->held;
    branch->held = held;
    return !grew || gather->held <= GATHER_HELD_MAX;
}

static void take_warnings (struct branch *branch)
{
    struct list *list = branch->list;
    struct slice warnings = json_list_warnings (branch->elements);
    size_t length = list->warnings_length;
    if (!warnings.len)
        return;
    if (length + 1 + warnings.len > GATHER_WARNINGS_MAX)
    {
        log_warn ("gather", "%s: warnings of %s are left out: there are too many", list->path, branch->name);
        return;
    }
    list->warnings = must (realloc (list->warnings, length + 1 + warnings.len));
    if (length)
        list->warnings[length++] = ',';
    memcpy (list->warnings + length, warnings.at, warnings.len);
    list->warnings_length = length + warnings.len;
}

static void finish (struct branch *branch)
{
    if (branch->cut)
    {
        char reason[GATHER_REASON_BYTES];
        memcpy (reason, branch->reason, sizeof reason);
        fail (branch, 502, "%s", reason);
        return;
    }
    if (json_list_end (branch->elements) == JSON_LIST_ERROR)
    {
        struct slice error = json_list_text (branch->elements);
        fail (branch, 502, "%.*s", (int) error.len, error.at);
        return;
    }
    take_warnings (branch);
    branch_close (branch, "");
    branch->state = BRANCH_DONE;
    branch->list->running--;
}

bool branch_next (struct branch *branch)
{
    if (branch->element.len)
        return true;
    if (branch->from < branch->length)
    {
        size_t used;
        struct slice bytes = slice_of (branch->input + branch->from, branch->length - branch->from);
        enum json_list_result result = json_list_feed (branch->elements, bytes, &used);
        if (result == JSON_LIST_ERROR)
        {
            struct slice error = json_list_text (branch->elements);
            fail (branch, 502, "%.*s", (int) error.len, error.at);
            return false;
        }
        consume (branch, used);
        if (!count_held (branch))
        {
            fail (branch, 503, "unfinished elements of all lists are over %d bytes", GATHER_HELD_MAX);
            return false;
        }
        if (result == JSON_LIST_ELEMENT)
        {
            branch->element = json_list_text (branch->elements);
            return true;
        }
    }
    if (branch->ended)
        finish (branch);
    return false;
}
