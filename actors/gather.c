/* gather.c - the actor that asks all nodes for one list, and merges the answers while they arrive (contract 6.5).
 *
 * Owns     lists in progress, and their branches
 * In       request, from the router: a list for `client`; credit, abort from that client; response, body, end, abort
 *          from docker and peers; member, from membership; engine, from docker; inspect
 * Out      request, credit, abort to docker (the own node) and peers (the others); response, body, end to the client
 * Limits   GATHER_LISTS_MAX lists (503), MEMBERS_MAX branches each; a window a branch (it fails without one);
 *          an element of JSON_LIST_ELEMENT_MAX (its node fails); GATHER_HELD_MAX of unfinished elements
 * Timers   a branch has --list-time until its first byte, GATHER_LOST_TIME when its node has left the cluster
 *
 * A node that fails is left out, named in Shoal-Missing-Nodes (in the trailer of that name when it fails after the
 * head), logged and counted; so is, without log line, one that is dead and has not left. When all fail, there is no
 * list: what they agree on is passed on. A request's body is never asked for: lists need none, and ingress deals with
 * one that nobody reads. HEAD is asked as GET, because engines know no HEAD on lists, and ends at the head.
 */
#include "gather.h"

#include "ensure.h"
#include "http/route.h"
#include "http/url.h"
#include "log.h"

/* ------------------------------------------------------------------------------------------------------------- a list
 */

/* Adds a name as long as there is room for it and for the sign that there are more. Returns false when there is not. */
static bool add_name (char out[GATHER_NAMES_MAX], size_t *length, const char *name)
{
    bool fits = *length + strlen (name) + sizeof ", ..." <= GATHER_NAMES_MAX;
    *length +=
        (size_t) snprintf (out + *length, GATHER_NAMES_MAX - *length, "%s%s", *length ? ", " : "", fits ? name : "...");
    return fits;
}

/* A node that was lost while the list was made has a branch, and a node may be back under another id. */
static bool is_lost (const struct list *list, const struct lost_node *node)
{
    bool several;
    return node->number <= list->losses &&
           !members_by_target (&list->gather->members, slice_from (node->name), &several);
}

void list_missing (const struct list *list, bool late, char out[GATHER_NAMES_MAX])
{
    size_t length = 0;
    bool fits = true;
    out[0] = '\0';
    for (size_t index = 0; fits && index < list->count; index++)
        if (list->branches[index].state == BRANCH_FAILED && list->branches[index].late == late)
            fits = add_name (out, &length, list->branches[index].name);
    const struct lost_nodes *lost = &list->gather->lost;
    for (size_t index = 0; fits && !late && index < lost->count; index++)
        if (is_lost (list, &lost->at[index]))
        {
            char name[GATHER_NAME_BYTES];
            print_node_name (name, lost->at[index].name);
            fits = add_name (out, &length, name);
        }
}

static void free_list (void *object)
{
    struct list *list = object;
    free (list->warnings);
    free (list->tail);
    free (list);
}

void list_destroy (struct list *list)
{
    struct gather *gather = list->gather;
    for (size_t index = 0; index < list->count; index++)
        branch_close (&list->branches[index], "nobody waits for the list any more");
    struct list **place = &gather->lists;
    while (*place != list)
        place = &(*place)->next;
    *place = list->next;
    gather->list_count--;
    stream_table_remove (&gather->by_client, list->subject.stream);
    actor_defer (gather->actor, free_list, list);
}

/* All failed: which status do they agree on? 502 when on none. */
static unsigned common_status (const struct list *list)
{
    for (size_t index = 1; index < list->count; index++)
        if (list->branches[index].status != list->branches[0].status)
            return 502;
    return list->branches[0].status;
}

/* `name: reason; name: reason`, as far as it fits beside the rest of an error into the least window. */
static void list_reasons (const struct list *list, char *out, size_t size)
{
    size_t length = 0;
    for (size_t index = 0; index < list->count; index++)
    {
        const struct branch *branch = &list->branches[index];
        size_t needed = strlen (branch->name) + strlen (branch->reason) + 4;
        if (length + needed + 32 > size)
        {
            snprintf (out + length, size - length, "; and %zu more", list->count - index);
            return;
        }
        length += (size_t) snprintf (out + length, size - length, "%s%s: %s", length ? "; " : "", branch->name,
                                     branch->reason);
    }
}

/* 502 and 504 are agents' own, and say more with the names of all nodes; anything else that all engines say is what the
 * client is to know, a mistake in its filters for example. */
static void answer_failure (struct list *list)
{
    unsigned status = common_status (list);
    const struct branch *first = &list->branches[0];
    for (size_t index = 0; index < list->count && !first->passable; index++)
        first = &list->branches[index];
    if (first->passable && first->status == status && status != 502 && status != 504)
    {
        log_debug ("gather", "%s: every node answered %u", list->path, status);
        answer (list->gather->actor, list->client, &list->subject, status, slice_from (first->type),
                slice_of (first->input, first->length), NULL);
        return;
    }
    for (size_t index = 0; index < list->count; index++)
        branch_log (&list->branches[index]);
    char reasons[1536];
    list_reasons (list, reasons, sizeof reasons);
    answer_error (list->gather->actor, list->client, &list->subject, status, "No node could answer the list", reasons);
}

static void send_head (struct list *list)
{
    char names[GATHER_NAMES_MAX];
    struct header headers[3] = {{SLICE ("Content-Type"), SLICE ("application/json")}};
    size_t count = 1;
    list_missing (list, false, names);
    if (names[0])
        headers[count++] = (struct header){SLICE ("Shoal-Missing-Nodes"), slice_from (names)};
    if (!list->is_head)
        headers[count++] = (struct header){SLICE ("Trailer"), SLICE ("Shoal-Missing-Nodes")};
    for (size_t index = 0; index < list->count; index++)
        if (list->branches[index].state == BRANCH_FAILED)
            branch_log (&list->branches[index]);
    union message_fields fields = {.response = {.status = 200,
                                                .framing = list->is_head ? FRAMING_NONE : FRAMING_CHUNKED,
                                                .headers = {headers, count}}};
    actor_send (list->gather->actor, list->client, MESSAGE_response, &list->subject, &fields, NULL);
    list->head_sent = true;
}

void list_progress (struct list *list)
{
    if (!list->head_sent)
    {
        bool any = false;
        if (list->awaited)
            return;
        for (size_t index = 0; index < list->count; index++)
            any = any || list->branches[index].state != BRANCH_FAILED;
        if (!any)
        {
            answer_failure (list);
            list_destroy (list);
            return;
        }
        send_head (list);
        if (list->is_head)
        {
            static const union message_fields no_trailers;
            actor_send (list->gather->actor, list->client, MESSAGE_end, &list->subject, &no_trailers, NULL);
            list_destroy (list);
            return;
        }
    }
    list_merge (list);
}

/* ----------------------------------------------------------------------------------------------------------- a request
 */

/* The headers that every branch gets. Answers are read here, so they must come as they are. */
static size_t branch_headers (struct headers all, struct header out[MESSAGE_HEADERS_MAX])
{
    size_t count = 0;
    for (size_t index = 0; index < all.count; index++)
        if (!slice_equal_nocase (all.at[index].name, SLICE ("Accept-Encoding")) &&
            !slice_equal_nocase (all.at[index].name, SLICE ("X-PortainerAgent-Target")))
            out[count++] = all.at[index];
    return count;
}

static void set_path (struct list *list, const struct message_request *request)
{
    struct slice path, query;
    url_split (route_decide (request->method, request->target).unversioned, &path, &query);
    list->kind = slice_equal (path, SLICE ("/volumes")) ? JSON_LIST_VOLUMES : JSON_LIST_ARRAY;
    snprintf (list->path, sizeof list->path, "%.*s", (int) (path.len < 63 ? path.len : 63), path.len ? path.at : "");
}

static struct list *new_list (struct gather *gather, struct message *message)
{
    const struct message_request *request = &message->fields.request;
    size_t count = gather->members.count ? gather->members.count : 1;
    struct list *list = must (calloc (1, sizeof *list + count * sizeof *list->branches));
    list->gather = gather;
    list->subject = message_subject (message);
    list->client = (enum actor_id) request->client;
    list->is_head = slice_equal (request->method, SLICE ("HEAD"));
    list->credit = request->window;
    lost_nodes_forget (&gather->lost, actor_now (gather->actor));
    list->losses = gather->lost.last;
    list->count = list->awaited = list->running = count;
    set_path (list, request);
    list->next = gather->lists;
    gather->lists = list;
    gather->list_count++;
    stream_table_put (&gather->by_client, list->subject.stream, list);
    return list;
}

static void on_request (struct gather *gather, struct message *message)
{
    const struct message_request *request = &message->fields.request;
    struct subject subject = message_subject (message);
    enum actor_id client = (enum actor_id) request->client;
    struct header headers[MESSAGE_HEADERS_MAX + 1];
    size_t count = branch_headers (request->headers, headers);
    if (gather->list_count == GATHER_LISTS_MAX)
    {
        gather->counters.refused++;
        answer_error (gather->actor, client, &subject, 503, "Too many lists of all nodes at once",
                      "the agent's limit is reached; name the agent's own node as the target, or try again");
        return;
    }
    if (count == MESSAGE_HEADERS_MAX)
    {
        gather->counters.refused++;
        answer_error (gather->actor, client, &subject, 431, "Too many header fields", "one is added for each node");
        return;
    }
    gather->counters.lists++;
    struct list *list = new_list (gather, message);
    for (size_t index = 0; index < list->count; index++)
        branch_begin (list, &list->branches[index], gather->members.count ? gather->members.at[index] : NULL, request,
                      headers, count);
    list_progress (list);
}

/* ----------------------------------------------------------------------------------------------------------- messages
 */

static void on_client (struct gather *gather, struct message *message)
{
    struct list *list = stream_table_get (&gather->by_client, message->envelope.stream);
    if (!list)
        return; /* the list is over: what was under way is dropped */
    if (message->envelope.type == MESSAGE_abort)
        list_destroy (list);
    else if (message->envelope.type == MESSAGE_credit)
    {
        list->credit += message->fields.credit.bytes;
        list_progress (list);
    }
}

static void on_branch (struct gather *gather, struct message *message)
{
    struct branch *branch = stream_table_get (&gather->by_branch, message->envelope.stream);
    if (!branch || branch->far != message->envelope.from)
        return;
    struct list *list = branch->list;
    switch (message->envelope.type)
    {
    case MESSAGE_response:
        branch_on_response (branch, &message->fields.response);
        break;
    case MESSAGE_body:
        branch_on_body (branch, slice_of (zmq_msg_data (message->payload), zmq_msg_size (message->payload)));
        break;
    case MESSAGE_end:
        branch_on_end (branch);
        break;
    case MESSAGE_abort:
        branch_on_abort (branch, message->fields.abort.reason);
        break;
    default: /* credit for a body that there is not */
        return;
    }
    list_progress (list);
}

static void on_member (struct gather *gather, const struct message_member *news)
{
    members_update (&gather->members, news);
    lost_nodes_update (&gather->lost, news, actor_now (gather->actor));
    if (news->usable)
        return;
    for (struct list *list = gather->lists; list; list = list->next)
        for (size_t index = 0; index < list->count; index++)
            if (slice_equal (slice_from (list->branches[index].id), news->id))
                branch_lost (&list->branches[index]);
}

static void on_inspect (struct gather *gather, struct message *message)
{
    json_t *failures = json_object ();
    for (size_t index = 0; index < gather->failed_nodes; index++)
        json_object_set_new (failures, gather->failures[index].name,
                             json_integer ((json_int_t) gather->failures[index].count));
    json_t *state = json_pack (
        "{sI sI sI sI sI sI sI sI sI sI sI sI so}", "members", (json_int_t) gather->members.count, "lost_nodes",
        (json_int_t) gather->lost.count, "running", (json_int_t) gather->list_count, "lists",
        (json_int_t) gather->counters.lists, "refused", (json_int_t) gather->counters.refused, "branches",
        (json_int_t) gather->counters.branches, "failed", (json_int_t) gather->counters.failed, "failed_others",
        (json_int_t) gather->counters.failed_others, "elements", (json_int_t) gather->counters.elements, "bytes",
        (json_int_t) gather->counters.bytes, "held_bytes", (json_int_t) gather->held, "unknown_streams",
        (json_int_t) gather->by_client.unknown + (json_int_t) gather->by_branch.unknown, "failed_nodes", failures);
    actor_report (gather->actor, message->envelope.from, state);
}

static void on_engine (struct gather *gather, const struct message_engine *engine)
{
    if (engine->name.len) /* what was learned stays true while the engine is away */
        snprintf (gather->engine_name, sizeof gather->engine_name, "%.*s", (int) engine->name.len, engine->name.at);
}

static void on_message (void *self, struct message *message)
{
    struct gather *gather = self;
    switch (message->envelope.type)
    {
    case MESSAGE_request:
        on_request (gather, message);
        break;
    case MESSAGE_response:
    case MESSAGE_body:
    case MESSAGE_end:
    case MESSAGE_credit:
    case MESSAGE_abort:
        if (message->envelope.from == ACTOR_docker || message->envelope.from == ACTOR_peers)
            on_branch (gather, message);
        else
            on_client (gather, message);
        break;
    case MESSAGE_member:
        on_member (gather, &message->fields.member);
        break;
    case MESSAGE_engine:
        on_engine (gather, &message->fields.engine);
        break;
    case MESSAGE_inspect:
        on_inspect (gather, message);
        break;
    default:
        log_error ("gather", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
}

static void *start (struct actor *actor, const void *configuration)
{
    struct gather *gather = must (calloc (1, sizeof *gather));
    gather->actor = actor;
    gather->configuration = configuration;
    payload_buffer_init (&gather->buffer);
    return gather;
}

static void stop (void **self_p)
{
    struct gather *gather = *self_p;
    while (gather->lists)
        list_destroy (gather->lists);
    stream_table_free (&gather->by_client);
    stream_table_free (&gather->by_branch);
    members_free (&gather->members);
    lost_nodes_free (&gather->lost);
    payload_buffer_free (&gather->buffer);
    free (gather);
    *self_p = NULL;
}

const struct actor_class gather_class = {.id = ACTOR_gather, .start = start, .message = on_message, .stop = stop};
