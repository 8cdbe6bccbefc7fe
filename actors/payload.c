/* payload.c - see payload.h. */
#include "payload.h"

#include "actor.h"
#include "ensure.h"

#include <stdlib.h>

/* Runs on whatever thread drops the last reference. */
static void free_buffer (void *bytes, void *buffer)
{
    (void) bytes;
    free (buffer);
}

void payload_buffer_init (struct payload_buffer *buffer)
{
    buffer->bytes = must (malloc (PAYLOAD_BUFFER_BYTES));
}

void payload_buffer_free (struct payload_buffer *buffer)
{
    free (buffer->bytes);
    buffer->bytes = NULL;
}

void payload_from_buffer (zmq_msg_t *payload, struct payload_buffer *buffer, char *at, size_t length)
{
    if (length < PAYLOAD_HAND_OVER || at < buffer->bytes || at >= buffer->bytes + PAYLOAD_BUFFER_BYTES)
    {
        payload_copy (payload, at, length);
        return;
    }
    ensure (zmq_msg_init_data (payload, at, length, free_buffer, buffer->bytes) == 0);
    payload_buffer_init (buffer);
}
