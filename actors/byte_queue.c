/* byte_queue.c - see byte_queue.h. */
#include "byte_queue.h"

#include "ensure.h"
#include "http/writer.h"

#include <stdlib.h>

struct byte_queue_item
{
    zmq_msg_t bytes;
    size_t at; /* bytes already written, of prefix, bytes and suffix together */
    char prefix[18];
    uint8_t prefix_length, suffix_length; /* the suffix is CRLF */
    bool payload;
};

static const char s_suffix[] = "\r\n";

/* Items are moved one by one, because a zmq_msg_t may change its place in memory only by zmq_msg_move(). */
static void grow (struct byte_queue *queue)
{
    size_t capacity = queue->count < 2 ? 4 : queue->count * 2;
    struct byte_queue_item *items = must (calloc (capacity, sizeof *items));
    for (size_t index = 0; index < queue->count; index++)
    {
        struct byte_queue_item *from = &queue->items[queue->first + index];
        items[index] = *from;
        zmq_msg_init (&items[index].bytes);
        zmq_msg_move (&items[index].bytes, &from->bytes);
    }
    free (queue->items);
    *queue = (struct byte_queue){.items = items, .count = queue->count, .capacity = capacity};
}

void byte_queue_add (struct byte_queue *queue, zmq_msg_t *bytes, enum byte_queue_kind kind)
{
    if (queue->first + queue->count == queue->capacity)
        grow (queue);
    struct byte_queue_item *item = &queue->items[queue->first + queue->count++];
    *item = (struct byte_queue_item){.payload = kind != BYTES_HEAD};
    zmq_msg_init (&item->bytes);
    zmq_msg_move (&item->bytes, bytes);
    if (kind == BYTES_CHUNK)
    {
        item->prefix_length = (uint8_t) http_chunk_head (item->prefix, zmq_msg_size (&item->bytes));
        item->suffix_length = sizeof s_suffix - 1;
    }
}

/* The run of an item that begins at an offset. */
static struct slice run_at (struct byte_queue_item *item, size_t at)
{
    size_t length = zmq_msg_size (&item->bytes);
    if (at < item->prefix_length)
        return slice_of (item->prefix + at, item->prefix_length - at);
    at -= item->prefix_length;
    if (at < length)
        return slice_of ((char *) zmq_msg_data (&item->bytes) + at, length - at);
    at -= length;
    return slice_of (s_suffix + at, item->suffix_length - at);
}

static size_t item_length (struct byte_queue_item *item)
{
    return item->prefix_length + zmq_msg_size (&item->bytes) + item->suffix_length;
}

static void pop (struct byte_queue *queue, size_t *payload)
{
    struct byte_queue_item *item = &queue->items[queue->first];
    if (item->payload)
        *payload += zmq_msg_size (&item->bytes);
    zmq_msg_close (&item->bytes);
    queue->count--;
    queue->first = queue->count ? queue->first + 1 : 0;
}

struct slice byte_queue_next (struct byte_queue *queue, size_t *payload)
{
    while (queue->count)
    {
        struct byte_queue_item *item = &queue->items[queue->first];
        if (item->at < item_length (item))
            return run_at (item, item->at);
        pop (queue, payload); /* an empty item */
    }
    return slice_of (NULL, 0);
}

void byte_queue_advance (struct byte_queue *queue, size_t length, size_t *payload)
{
    while (queue->count)
    {
        struct byte_queue_item *item = &queue->items[queue->first];
        size_t left = item_length (item) - item->at;
        if (length < left)
        {
            item->at += length;
            return;
        }
        length -= left;
        pop (queue, payload);
        if (length == 0)
            return;
    }
    ensure (length == 0);
}

int byte_queue_vector (struct byte_queue *queue, struct iovec *vector, int most)
{
    int filled = 0;
    for (size_t index = 0; index < queue->count; index++)
    {
        struct byte_queue_item *item = &queue->items[queue->first + index];
        for (size_t at = item->at; at < item_length (item);)
        {
            if (filled == most)
                return filled;
            struct slice run = run_at (item, at);
            vector[filled++] = (struct iovec){.iov_base = (void *) (uintptr_t) run.at, .iov_len = run.len};
            at += run.len;
        }
    }
    return filled;
}

void byte_queue_free (struct byte_queue *queue)
{
    for (size_t index = 0; index < queue->count; index++)
        zmq_msg_close (&queue->items[queue->first + index].bytes);
    free (queue->items);
    *queue = (struct byte_queue){0};
}
