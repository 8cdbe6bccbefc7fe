/* byte_queue.h - bytes on their way to a descriptor: heads and payloads, in order, each left where it is until it is
 * written.
 *
 * A payload can be framed as one chunk of HTTP/1.1: its size goes before it and CRLF after it, without a copy.
 */
#pragma once

#include "messages/slice.h"

#include <sys/uio.h>
#include <zmq.h>

struct byte_queue_item;

/* All zero is an empty queue. */
struct byte_queue
{
    struct byte_queue_item *items;
    size_t first, count, capacity;
};

/* What an item is counted as when it was written. */
enum byte_queue_kind
{
    BYTES_HEAD,    /* nothing that flow control counts */
    BYTES_PAYLOAD, /* counts as payload */
    BYTES_CHUNK,   /* counts as payload, framed as a chunk; must not be empty */
};

/* Adds bytes; the frame is taken. */
void byte_queue_add (struct byte_queue *queue, zmq_msg_t *bytes, enum byte_queue_kind kind);

/* The contiguous bytes that come next; empty only when the queue is. */
struct slice byte_queue_next (struct byte_queue *queue, size_t *payload);

/* Notes that so many bytes were written, and adds to *payload what is now completely written of it. */
void byte_queue_advance (struct byte_queue *queue, size_t length, size_t *payload);

/* Describes the next bytes for writev(). Returns the number of elements filled. */
int byte_queue_vector (struct byte_queue *queue, struct iovec *vector, int most);

void byte_queue_free (struct byte_queue *queue);
