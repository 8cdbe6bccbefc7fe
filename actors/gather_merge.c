/* gather_merge.c - elements of all branches become one list, as far as the client's credit goes. See gather.h.
 *
 * Whole elements only, each branch in its turn. What is sent in one go is put together in one buffer, so that many
 * small elements cost one message.
 */
#include "gather.h"

#include "ensure.h"

#include <stdlib.h>

static void send_buffer (struct list *list)
{
    struct gather *gather = list->gather;
    if (!gather->buffered)
        return;
    zmq_msg_t payload;
    payload_from_buffer (&payload, &gather->buffer, gather->buffer.bytes, gather->buffered);
    gather->counters.bytes += gather->buffered;
    gather->buffered = 0;
    actor_send (gather->actor, list->client, MESSAGE_body, &list->subject, NULL, &payload);
}

/* Returns false when the client's credit is used up before all is written. */
static bool write_pending (struct list *list)
{
    struct gather *gather = list->gather;
    for (size_t part = 0; part < sizeof list->pending / sizeof *list->pending; part++)
    {
        struct slice *pending = &list->pending[part];
        while (pending->len)
        {
            if (gather->buffered == PAYLOAD_BUFFER_BYTES)
                send_buffer (list);
            size_t room = PAYLOAD_BUFFER_BYTES - gather->buffered;
            size_t step = pending->len < room ? pending->len : room;
            step = step < list->credit ? step : (size_t) list->credit;
            if (step == 0)
                return false;
            memcpy (gather->buffer.bytes + gather->buffered, pending->at, step);
            gather->buffered += step;
            list->credit -= step;
            *pending = slice_skip (*pending, step);
        }
    }
    return true;
}

/* What goes before an element: the beginning of the text, or a comma. */
static struct slice separator (struct list *list)
{
    if (list->begun)
        return SLICE (",");
    list->begun = true;
    return list->kind == JSON_LIST_VOLUMES ? SLICE ("{\"Volumes\":[") : SLICE ("[");
}

static void close_text (struct list *list)
{
    list->closing = true;
    if (!list->begun)
        list->pending[0] = separator (list);
    if (list->kind == JSON_LIST_ARRAY)
    {
        list->pending[1] = SLICE ("]");
        return;
    }
    int length = list->warnings_length
                     ? asprintf (&list->tail, "],\"Warnings\":[%.*s]}", (int) list->warnings_length, list->warnings)
                     : asprintf (&list->tail, "],\"Warnings\":null}");
    ensure (length > 0);
    list->pending[1] = slice_of (list->tail, (size_t) length);
}

static struct branch *take_ready (struct list *list)
{
    struct branch *branch = list->ready;
    if (branch)
    {
        list->ready = branch->next_ready;
        branch->queued = false;
    }
    return branch;
}

/* Chooses what to send next. False when there is nothing now. */
static bool choose (struct list *list)
{
    struct branch *branch = take_ready (list);
    if (!branch && list->running)
        return false;
    if (!branch)
        close_text (list);
    else if (!branch_is_over (branch) && branch_next (branch))
    {
        list->gather->counters.elements++;
        list->pending[0] = separator (list);
        list->pending[1] = branch->element;
        list->sending = branch;
    }
    return true;
}

static void end_list (struct list *list)
{
    char names[GATHER_NAMES_MAX];
    list_missing (list, true, names);
    struct header header = {SLICE ("Shoal-Missing-Nodes"), slice_from (names)};
    union message_fields fields = {.end = {.trailers = {&header, names[0] ? 1 : 0}}};
    actor_send (list->gather->actor, list->client, MESSAGE_end, &list->subject, &fields, NULL);
    list_destroy (list);
}

void list_merge (struct list *list)
{
    while (write_pending (list))
    {
        if (list->closing)
        {
            send_buffer (list);
            end_list (list);
            return;
        }
        if (list->sending)
        {
            list->sending->element = SLICE ("");
            branch_ready (list->sending);
            list->sending = NULL;
        }
        if (!choose (list))
            break;
    }
    send_buffer (list);
}
