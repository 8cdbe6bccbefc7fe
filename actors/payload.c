/* payload.c - see payload.h. */
#include "payload.h"

#include "actor.h"
#include "ensure.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

/* A buffer and those who hold it: the actor that reads into it, and the payload that was made of it. Counted here and
 * not by libzmq, whose counters ThreadSanitizer does not see. */
struct block
{
    atomic_uint holders;
    char bytes[PAYLOAD_BUFFER_BYTES];
};

static struct block *block_of (char *bytes)
{
    return (struct block *) (void *) (bytes - offsetof (struct block, bytes));
}

char *payload_block_new (void)
{
    struct block *block = must (malloc (sizeof *block));
    atomic_init (&block->holders, 1);
    return block->bytes;
}

void payload_block_free (char *block)
{
    if (block && atomic_fetch_sub_explicit (&block_of (block)->holders, 1, memory_order_acq_rel) == 1)
        free (block_of (block));
}

/* Runs on whatever thread drops the payload's last reference. */
static void free_payload (void *bytes, void *buffer)
{
    (void) bytes;
    payload_block_free (buffer);
}

void payload_from_block (zmq_msg_t *payload, char *block, char *at, size_t length)
{
    if (length < PAYLOAD_HAND_OVER)
    {
        payload_copy (payload, at, length);
        payload_block_free (block);
    }
    else
        ensure (zmq_msg_init_data (payload, at, length, free_payload, block) == 0);
}

void payload_buffer_init (struct payload_buffer *buffer)
{
    *buffer = (struct payload_buffer){.bytes = payload_block_new ()};
}

void payload_buffer_free (struct payload_buffer *buffer)
{
    payload_block_free (buffer->bytes);
    payload_block_free (buffer->handed);
    *buffer = (struct payload_buffer){.bytes = NULL};
}

void payload_from_buffer (zmq_msg_t *payload, struct payload_buffer *buffer, char *at, size_t length)
{
    if (length < PAYLOAD_HAND_OVER || at < buffer->bytes || at >= buffer->bytes + PAYLOAD_BUFFER_BYTES)
    {
        payload_copy (payload, at, length);
        return;
    }
    payload_block_free (buffer->handed);
    buffer->handed = buffer->bytes;
    buffer->bytes = payload_block_new ();
    atomic_fetch_add_explicit (&block_of (buffer->handed)->holders, 1, memory_order_relaxed);
    ensure (zmq_msg_init_data (payload, at, length, free_payload, buffer->handed) == 0);
}
