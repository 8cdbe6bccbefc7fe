/* actors_payload_test - buffers that are handed over: the receiver may be done with one before its sender is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/payload.h"

#include <string.h>

static void fill (struct payload_buffer *buffer, char byte)
{
    memset (buffer->bytes, byte, PAYLOAD_BUFFER_BYTES);
}

static void expect_bytes (const char *bytes, size_t length, char byte)
{
    for (size_t at = 0; at < length; at++)
        assert_int_equal (bytes[at], byte);
}

/* Of one read, the first piece goes with the buffer; the rest is looked at when the receiver has freed it. */
static void stays_readable_after_the_receiver_is_done (void **state)
{
    (void) state;
    struct payload_buffer buffer;
    zmq_msg_t payload, rest;
    payload_buffer_init (&buffer);
    for (char round = 'a'; round < 'f'; round++)
    {
        fill (&buffer, round);
        char *bytes = buffer.bytes;
        payload_from_buffer (&payload, &buffer, bytes, PAYLOAD_HAND_OVER);
        assert_ptr_equal (zmq_msg_data (&payload), bytes); /* not a copy */
        assert_ptr_not_equal (buffer.bytes, bytes);
        zmq_msg_close (&payload);
        payload_from_buffer (&rest, &buffer, bytes + PAYLOAD_HAND_OVER, PAYLOAD_BUFFER_BYTES - PAYLOAD_HAND_OVER);
        expect_bytes (zmq_msg_data (&rest), zmq_msg_size (&rest), round);
        expect_bytes (bytes, PAYLOAD_BUFFER_BYTES, round);
        zmq_msg_close (&rest);
    }
    payload_buffer_free (&buffer);
}

static void outlives_its_sender (void **state)
{
    (void) state;
    struct payload_buffer buffer;
    zmq_msg_t large, small;
    payload_buffer_init (&buffer);
    fill (&buffer, 'x');
    payload_from_buffer (&small, &buffer, buffer.bytes, PAYLOAD_HAND_OVER - 1);
    payload_from_buffer (&large, &buffer, buffer.bytes, PAYLOAD_BUFFER_BYTES);
    payload_buffer_free (&buffer);
    expect_bytes (zmq_msg_data (&large), zmq_msg_size (&large), 'x');
    expect_bytes (zmq_msg_data (&small), zmq_msg_size (&small), 'x');
    zmq_msg_close (&large);
    zmq_msg_close (&small);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (stays_readable_after_the_receiver_is_done),
        cmocka_unit_test (outlives_its_sender),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
