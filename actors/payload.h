/* payload.h - buffers that bodies are read into and handed on in, without a copy. */
#pragma once

#include <stddef.h>
#include <zmq.h>

enum
{
    PAYLOAD_BUFFER_BYTES = 64 * 1024,
    PAYLOAD_HAND_OVER = 32 * 1024, /* a piece of at least so many bytes goes with its buffer; a smaller one is copied */
};

/* The buffer that an actor reads into; replaced when a piece of it was handed over. */
struct payload_buffer
{
    char *bytes;  /* PAYLOAD_BUFFER_BYTES */
    char *handed; /* the one that was handed over last, still held here; NULL: none */
};

void payload_buffer_init (struct payload_buffer *buffer);
void payload_buffer_free (struct payload_buffer *buffer);

/* A block of PAYLOAD_BUFFER_BYTES for one payload. Either of the two other functions
 * ends it; at lies in it. NULL is freed in peace. */
char *payload_block_new (void);
void payload_block_free (char *block);
void payload_from_block (zmq_msg_t *payload, char *block, char *at, size_t length);

/* Makes a payload of bytes that lie in the buffer: hands the buffer over when they are many, copies them when they are
 * few. The caller may read the old bytes, which the receiver may be done with on another thread, until the next buffer
 * is handed over, and must not write to those that were. */
void payload_from_buffer (zmq_msg_t *payload, struct payload_buffer *buffer, char *at, size_t length);
