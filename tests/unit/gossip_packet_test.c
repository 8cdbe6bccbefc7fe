/* gossip_packet_test - gossip packets to bytes and back, and whatever else may come instead of one. Bytes to read lie
 * in heap blocks of exactly their size, so that a sanitizer sees a read past the end.
 */
#include "gossip/packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct packet sample (void)
{
    struct packet packet;
    packet_begin (&packet, SLICE ("sender"));
    union message_fields ping = {.swim_ping = {.nonce = 7, .target = SLICE ("target"), .instance = 1700000000000}};
    union message_fields ack = {.swim_ack = {.nonce = UINT32_MAX}};
    assert_true (packet_add (&packet, PACKET_PING, &ping));
    assert_true (packet_add (&packet, PACKET_ACK, &ack));
    packet_end (&packet);
    return packet;
}

/* Reads a packet to its end. Returns how many messages it had, or -1. */
static int read_all (const char *bytes, size_t length)
{
    char *block = malloc (length ? length : 1);
    assert_non_null (block);
    if (length)
        memcpy (block, bytes, length);
    struct packet_reader reader;
    struct message_error error = {{0}};
    enum packet_kind kind;
    union message_fields fields;
    int count = 0, result = packet_open (&reader, slice_of (length ? block : block + 1, length), &error);
    while (result == 0 && (result = packet_next (&reader, &kind, &fields, &error)) > 0)
    {
        count++;
        result = 0;
        if (reader.left == 0)
            break;
    }
    if (result < 0)
        assert_string_not_equal (error.text, "");
    free (block);
    return result < 0 ? -1 : count;
}

static void messages_come_back (void **state)
{
    (void) state;
    struct packet packet = sample ();
    struct packet_reader reader;
    struct message_error error;
    enum packet_kind kind;
    union message_fields fields;
    assert_int_equal (packet_open (&reader, slice_of (packet.bytes, packet.length), &error), 0);
    assert_true (slice_equal (reader.sender, SLICE ("sender")));
    assert_int_equal (packet_next (&reader, &kind, &fields, &error), 1);
    assert_int_equal (kind, PACKET_PING);
    assert_int_equal (fields.swim_ping.nonce, 7);
    assert_true (slice_equal (fields.swim_ping.target, SLICE ("target")));
    assert_int_equal (fields.swim_ping.instance, 1700000000000);
    assert_int_equal (packet_next (&reader, &kind, &fields, &error), 1);
    assert_int_equal (kind, PACKET_ACK);
    assert_int_equal (fields.swim_ack.nonce, UINT32_MAX);
    assert_int_equal (packet_next (&reader, &kind, &fields, &error), 0);
}

static void longest_record_fits (void **state)
{
    (void) state;
    static char text[256];
    memset (text, 'x', sizeof text);
    union message_fields fields = {.swim_member = {.id = slice_of (text, 64),
                                                   .instance = UINT64_C (1) << 48,
                                                   .incarnation = UINT32_MAX,
                                                   .accuser = slice_of (text, 64),
                                                   .name = slice_of (text, 256),
                                                   .address = slice_of (text, 64),
                                                   .port = 65535,
                                                   .gossip_port = 65535,
                                                   .tls_key = slice_of (text, 64),
                                                   .version = slice_of (text, 32)}};
    struct packet packet;
    packet_begin (&packet, slice_of (text, 64));
    assert_true (packet_add (&packet, PACKET_MEMBER, &fields));
    struct slice bytes = packet_end (&packet);
    assert_int_equal (read_all (bytes.at, bytes.len), 1);
}

static void a_full_packet_stays_as_it_is (void **state)
{
    (void) state;
    struct packet packet;
    packet_begin (&packet, SLICE ("sender"));
    union message_fields ack = {.swim_ack = {.nonce = 1}};
    int count = 0;
    while (packet_add (&packet, PACKET_ACK, &ack))
        count++;
    struct slice bytes = packet_end (&packet);
    assert_true (bytes.len <= PACKET_BYTES_MAX);
    assert_int_equal (read_all (bytes.at, bytes.len), count);
}

static void cut_packets_are_refused (void **state)
{
    (void) state;
    struct packet packet = sample ();
    for (size_t length = 0; length < packet.length; length++)
        assert_int_equal (read_all (packet.bytes, length), -1);
    assert_int_equal (read_all (packet.bytes, packet.length), 2);
}

static void surplus_bytes_are_refused (void **state)
{
    (void) state;
    struct packet packet = sample ();
    packet.bytes[packet.length] = 0;
    assert_int_equal (read_all (packet.bytes, packet.length + 1), -1);
}

/* [version, sender, kind, body] with one thing wrong. */
static void wrong_values_are_refused (void **state)
{
    (void) state;
    static const struct
    {
        const char *bytes;
        size_t length;
        int result;
    } cases[] = {
        {"\x94\x01\xa1s\x03\xc4\x02\x91\x05", 9, 1},       /* an ack, for comparison */
        {"\x94\x02\xa1s\x03\xc4\x02\x91\x05", 9, -1},      /* another version */
        {"\x94\x01\xa0\x03\xc4\x02\x91\x05", 8, -1},       /* no sender */
        {"\x94\x01\xa1s\x00\xc4\x02\x91\x05", 9, -1},      /* kind 0 */
        {"\x94\x01\xa1s\x09\xc4\x02\x91\x05", 9, -1},      /* a kind of the future */
        {"\x94\x01\xa1s\x03\xa2\x91\x05", 8, -1},          /* the body is text */
        {"\x94\x01\xa1s\x03\xc4\x01\x05", 8, -1},          /* the body is no array */
        {"\x94\x01\xa1s\x03\xc4\x03\x92\x05\x05", 10, -1}, /* a field too many */
        {"\x93\x01\xa1s\x03", 5, -1},                      /* a kind without a body */
        {"\xdd\xff\xff\xff\xff\x01\xa1s", 8, -1},          /* a count that cannot be true */
        {"\x92\x01\xa1s", 4, 0},                           /* nothing to say is fine */
        {"\x80", 1, -1},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++)
        if (read_all (cases[index].bytes, cases[index].length) != cases[index].result)
            fail_msg ("case %zu", index);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (messages_come_back),           cmocka_unit_test (longest_record_fits),
        cmocka_unit_test (a_full_packet_stays_as_it_is), cmocka_unit_test (cut_packets_are_refused),
        cmocka_unit_test (surplus_bytes_are_refused),    cmocka_unit_test (wrong_values_are_refused),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
