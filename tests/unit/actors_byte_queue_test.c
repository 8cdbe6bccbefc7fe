/* actors_byte_queue_test - bytes on their way out: order, chunk framing, what counts as payload, however they are
 * taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/byte_queue.h"

#include <string.h>

static void add (struct byte_queue *queue, const char *text, enum byte_queue_kind kind)
{
    zmq_msg_t frame;
    zmq_msg_init_size (&frame, strlen (text));
    memcpy (zmq_msg_data (&frame), text, strlen (text));
    byte_queue_add (queue, &frame, kind);
    assert_int_equal (zmq_msg_size (&frame), 0); /* it was taken */
    zmq_msg_close (&frame);
}

/* Heads, payloads and chunks as they follow each other in answers; an empty head is a nudge without bytes. */
static void fill (struct byte_queue *queue)
{
    add (queue, "HEAD\r\n\r\n", BYTES_HEAD);
    add (queue, "0123456789abcdef", BYTES_CHUNK);
    add (queue, "", BYTES_HEAD);
    add (queue, "x", BYTES_CHUNK);
    add (queue, "plain", BYTES_PAYLOAD);
    add (queue, "0\r\n\r\n", BYTES_HEAD);
}

static const char s_wire[] = "HEAD\r\n\r\n10\r\n0123456789abcdef\r\n1\r\nx\r\nplain0\r\n\r\n";
enum
{
    WIRE = sizeof s_wire - 1,
    PAYLOAD = 16 + 1 + 5,
};

static void an_empty_queue_has_nothing (void **state)
{
    (void) state;
    struct byte_queue queue = {0};
    struct iovec vector[2];
    size_t payload = 0;
    assert_int_equal (byte_queue_next (&queue, &payload).len, 0);
    assert_int_equal (byte_queue_vector (&queue, vector, 2), 0);
    byte_queue_advance (&queue, 0, &payload);
    assert_int_equal (payload, 0);
    byte_queue_free (&queue);
}

static void runs_come_in_order (void **state)
{
    (void) state;
    struct byte_queue queue = {0};
    fill (&queue);
    char wire[2 * WIRE];
    size_t length = 0, payload = 0;
    for (struct slice run; (run = byte_queue_next (&queue, &payload)).len;)
    {
        memcpy (wire + length, run.at, run.len);
        length += run.len;
        byte_queue_advance (&queue, run.len, &payload);
    }
    assert_int_equal (length, WIRE);
    assert_memory_equal (wire, s_wire, WIRE);
    assert_int_equal (payload, PAYLOAD);
    assert_int_equal (queue.count, 0);
    byte_queue_free (&queue);
}

/* However many bytes the kernel takes at a time, and however short the vector: the same bytes. */
static void any_step_gives_the_same_bytes (void **state)
{
    (void) state;
    for (size_t step = 1; step <= WIRE; step++)
        for (int most = 1; most <= 16; most += 5)
        {
            struct byte_queue queue = {0};
            fill (&queue);
            char wire[WIRE];
            size_t length = 0, payload = 0;
            while (length < WIRE)
            {
                struct iovec vector[16];
                int count = byte_queue_vector (&queue, vector, most);
                assert_in_range (count, 1, most);
                size_t taken = 0;
                for (int index = 0; index < count && taken < step; index++)
                {
                    size_t part = vector[index].iov_len < step - taken ? vector[index].iov_len : step - taken;
                    assert_true (length + taken + part <= WIRE);
                    memcpy (wire + length + taken, vector[index].iov_base, part);
                    taken += part;
                }
                byte_queue_advance (&queue, taken, &payload);
                length += taken;
            }
            assert_memory_equal (wire, s_wire, WIRE);
            assert_int_equal (payload, PAYLOAD);
            byte_queue_free (&queue);
        }
}

/* Credit is given back for what has left, not for what is half written; and never for heads and framing. */
static void payload_counts_when_it_has_left_wholly (void **state)
{
    (void) state;
    struct byte_queue queue = {0};
    size_t payload = 0;
    add (&queue, "head", BYTES_HEAD);
    add (&queue, "0123456789", BYTES_PAYLOAD);
    add (&queue, "abc", BYTES_CHUNK);
    byte_queue_advance (&queue, 4, &payload);
    assert_int_equal (payload, 0);
    byte_queue_advance (&queue, 9, &payload);
    assert_int_equal (payload, 0);
    byte_queue_advance (&queue, 1, &payload);
    assert_int_equal (payload, 10);
    byte_queue_advance (&queue, 3 + 3 + 1, &payload); /* all but the last byte of CRLF */
    assert_int_equal (payload, 10);
    byte_queue_advance (&queue, 1, &payload);
    assert_int_equal (payload, 13);
    assert_int_equal (queue.count, 0);
    byte_queue_free (&queue);
}

/* A queue that never becomes empty, as that of a slow client, keeps its order and does not grow without end. */
static void long_use_keeps_order_and_size (void **state)
{
    (void) state;
    struct byte_queue queue = {0};
    size_t payload = 0, written = 0;
    for (char next = 0; next < 3; next++)
        add (&queue, (char[]){(char) ('a' + next), '\0'}, BYTES_PAYLOAD);
    for (size_t round = 0; round < 10000; round++)
    {
        struct slice run = byte_queue_next (&queue, &payload);
        assert_int_equal (run.len, 1);
        assert_int_equal (run.at[0], 'a' + round % 26);
        byte_queue_advance (&queue, 1, &payload);
        assert_int_equal (payload, ++written);
        add (&queue, (char[]){(char) ('a' + (round + 3) % 26), '\0'}, BYTES_PAYLOAD);
    }
    assert_int_equal (queue.count, 3);
    assert_true (queue.capacity <= 8);
    byte_queue_free (&queue);
}

static size_t s_freed;

static void count_free (void *bytes, void *hint)
{
    (void) bytes, (void) hint;
    s_freed++;
}

/* Payloads are not copied, and each is let go of exactly once: when it was written, or with the queue. */
static void frames_are_held_and_let_go (void **state)
{
    (void) state;
    static char bytes[3][100];
    struct byte_queue queue = {0};
    size_t payload = 0;
    s_freed = 0;
    for (size_t index = 0; index < 3; index++)
    {
        zmq_msg_t frame;
        zmq_msg_init_data (&frame, bytes[index], sizeof bytes[index], count_free, NULL);
        byte_queue_add (&queue, &frame, BYTES_PAYLOAD);
        zmq_msg_close (&frame);
    }
    struct iovec vector[8];
    assert_int_equal (byte_queue_vector (&queue, vector, 8), 3);
    for (size_t index = 0; index < 3; index++)
        assert_ptr_equal (vector[index].iov_base, bytes[index]);
    byte_queue_advance (&queue, 150, &payload);
    assert_int_equal (s_freed, 1);
    assert_ptr_equal (byte_queue_next (&queue, &payload).at, bytes[1] + 50);
    byte_queue_free (&queue);
    assert_int_equal (s_freed, 3);
    byte_queue_free (&queue);
    assert_int_equal (s_freed, 3);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (an_empty_queue_has_nothing),    cmocka_unit_test (runs_come_in_order),
        cmocka_unit_test (any_step_gives_the_same_bytes), cmocka_unit_test (payload_counts_when_it_has_left_wholly),
        cmocka_unit_test (long_use_keeps_order_and_size), cmocka_unit_test (frames_are_held_and_let_go),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
