/* messages_envelope_test - envelopes to msgpack and back, and whatever else may come instead of one. */
#include "messages/message.h"

#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Decodes a copy of the bytes in a block of exactly their size. */
static int decode (const char *bytes, size_t length, struct envelope *envelope, struct message_error *error)
{
    char *block = malloc (length ? length : 1);
    assert_non_null (block);
    if (length)
        memcpy (block, bytes, length);
    *error = (struct message_error){{0}};
    int result = envelope_decode (slice_of (length ? block : block + 1, length), envelope, error);
    assert_true (result == 0 || (result == -1 && strlen (error->text) > 0));
    free (block);
    return result;
}

static void assert_envelopes_equal (const struct envelope *one, const struct envelope *other)
{
    assert_int_equal (one->type, other->type);
    assert_memory_equal (one->trace, other->trace, TRACE_BYTES);
    assert_int_equal (one->stream, other->stream);
    assert_int_equal (one->from, other->from);
    assert_int_equal (one->to, other->to);
    assert_int_equal (one->sequence, other->sequence);
    assert_int_equal (one->time, other->time);
}

static struct envelope sample (enum message_type type, enum actor_id from, enum actor_id to, uint64_t number)
{
    struct envelope envelope = {
        .type = type, .stream = number, .from = from, .to = to, .sequence = ~number, .time = number / 3};
    for (size_t index = 0; index < TRACE_BYTES; index++)
        envelope.trace[index] = (uint8_t) (number >> (index % 8 * 8));
    return envelope;
}

static void assert_unpacks (const struct envelope *envelope, const char *bytes, size_t length)
{
    msgpack_unpacked unpacked;
    msgpack_unpacked_init (&unpacked);
    size_t offset = 0;
    assert_int_equal (msgpack_unpack_next (&unpacked, bytes, length, &offset), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal (offset, length);
    assert_int_equal (unpacked.data.type, MSGPACK_OBJECT_ARRAY);
    assert_int_equal (unpacked.data.via.array.size, 7);
    const msgpack_object *at = unpacked.data.via.array.ptr;
    const uint64_t numbers[7] = {envelope->type, 0, envelope->stream, envelope->from, envelope->to, envelope->sequence,
                                 envelope->time};
    for (size_t index = 0; index < 7; index++)
        if (index == 1)
        {
            assert_int_equal (at[index].type, MSGPACK_OBJECT_BIN);
            assert_int_equal (at[index].via.bin.size, TRACE_BYTES);
            assert_memory_equal (at[index].via.bin.ptr, envelope->trace, TRACE_BYTES);
        }
        else
        {
            assert_int_equal (at[index].type, MSGPACK_OBJECT_POSITIVE_INTEGER);
            assert_int_equal (at[index].via.u64, numbers[index]);
        }
    msgpack_unpacked_destroy (&unpacked);
}

static void every_envelope_round_trips (void **state)
{
    (void) state;
    static const uint64_t numbers[] = {0, 1, 127, 128, 255, 256, 65535, 65536, UINT32_MAX, 1ull << 32, UINT64_MAX};
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        for (enum actor_id from = ACTOR_NONE + 1; from < ACTOR_COUNT; from++)
            for (enum actor_id to = ACTOR_NONE + 1; to < ACTOR_COUNT; to++)
                for (size_t index = 0; index < sizeof numbers / sizeof *numbers; index++)
                {
                    struct envelope envelope = sample (type, from, to, numbers[index]), decoded;
                    struct message_error error;
                    char bytes[ENVELOPE_BYTES_MAX];
                    size_t length = envelope_encode (&envelope, bytes);
                    assert_in_range (length, 1, ENVELOPE_BYTES_MAX);
                    assert_unpacks (&envelope, bytes, length);
                    if (decode (bytes, length, &decoded, &error) < 0)
                        fail_msg ("%s", error.text);
                    assert_envelopes_equal (&envelope, &decoded);
                }
}

static void no_envelope_is_too_long (void **state)
{
    (void) state;
    /* Also one that the catalog does not have, which only a bug could make. */
    struct envelope envelope = {.type = (enum message_type) UINT32_MAX,
                                .stream = UINT64_MAX,
                                .from = (enum actor_id) UINT32_MAX,
                                .to = (enum actor_id) UINT32_MAX,
                                .sequence = UINT64_MAX,
                                .time = UINT64_MAX};
    char bytes[ENVELOPE_BYTES_MAX + 1];
    bytes[ENVELOPE_BYTES_MAX] = 0x5a;
    size_t length = envelope_encode (&envelope, bytes);
    assert_unpacks (&envelope, bytes, length);
    assert_int_equal (bytes[ENVELOPE_BYTES_MAX], 0x5a);
    struct message_error error;
    assert_int_equal (decode (bytes, length, &envelope, &error), -1);
}

static void truncations_are_errors_and_corruptions_are_survived (void **state)
{
    (void) state;
    struct envelope envelope = sample (MESSAGE_request, ACTOR_ingress, ACTOR_auth, 0x123456789abcdef0), decoded;
    struct message_error error;
    char bytes[ENVELOPE_BYTES_MAX];
    size_t length = envelope_encode (&envelope, bytes), refused = 0;
    for (size_t cut = 0; cut < length; cut++)
        assert_int_equal (decode (bytes, cut, &decoded, &error), -1);
    for (size_t index = 0; index < length; index++)
    {
        char kept = bytes[index];
        for (int value = 0; value < 256; value++)
        {
            bytes[index] = (char) value;
            if (decode (bytes, length, &decoded, &error) < 0)
                refused++;
            else
            {
                assert_in_range (decoded.type, MESSAGE_NONE + 1, MESSAGE_COUNT - 1);
                assert_in_range (decoded.from, ACTOR_NONE + 1, ACTOR_COUNT - 1);
                assert_in_range (decoded.to, ACTOR_NONE + 1, ACTOR_COUNT - 1);
            }
        }
        bytes[index] = kept;
    }
    assert_true (refused > 1000);
}

/* ---------------------------------------------------------------------------------------------------- what is refused
 */

#define TRACE_16                                                                                                       \
    "\xc4\x10"                                                                                                         \
    "0123456789abcdef"

static void assert_refused (struct slice bytes, const char *text)
{
    struct envelope envelope;
    struct message_error error;
    assert_int_equal (decode (bytes.at, bytes.len, &envelope, &error), -1);
    assert_string_equal (error.text, text);
}

static void what_the_catalog_does_not_have_is_refused (void **state)
{
    (void) state;
    assert_refused (SLICE ("\x97\x00" TRACE_16 "\x05\x01\x02\x06\x07"), "envelope.type: 0 is not in the catalog");
    assert_refused (SLICE ("\x97\x7f" TRACE_16 "\x05\x01\x02\x06\x07"), "envelope.type: 127 is not in the catalog");
    assert_refused (SLICE ("\x97\x01" TRACE_16 "\x05\x00\x02\x06\x07"), "envelope.from: 0 is not in the catalog");
    assert_refused (SLICE ("\x97\x01" TRACE_16 "\x05\x7f\x02\x06\x07"), "envelope.from: 127 is not in the catalog");
    assert_refused (SLICE ("\x97\x01" TRACE_16 "\x05\x01\x00\x06\x07"), "envelope.to: 0 is not in the catalog");
    assert_refused (SLICE ("\x97\x01" TRACE_16 "\x05\x01\xcf\x00\x00\x00\x01\x00\x00\x00\x01\x06\x07"),
                    "envelope.to: 4294967297 is not in the catalog");

    for (int element = 0; element < 3; element++)
    {
        struct envelope envelope = sample (MESSAGE_request, ACTOR_ingress, ACTOR_auth, 1), decoded;
        struct message_error error;
        char bytes[ENVELOPE_BYTES_MAX];
        if (element == 0)
            envelope.type = MESSAGE_COUNT;
        if (element == 1)
            envelope.from = ACTOR_COUNT;
        if (element == 2)
            envelope.to = ACTOR_COUNT;
        assert_int_equal (decode (bytes, envelope_encode (&envelope, bytes), &decoded, &error), -1);
    }
}

static void a_trace_is_a_binary_of_16 (void **state)
{
    (void) state;
    assert_refused (SLICE ("\x97\x01\xc4\x0f"
                           "0123456789abcde"
                           "\x05\x01\x02\x06\x07"),
                    "envelope.trace: 15 bytes, expected 16");
    assert_refused (SLICE ("\x97\x01\xc4\x11"
                           "0123456789abcdefg"
                           "\x05\x01\x02\x06\x07"),
                    "envelope.trace: 17 bytes, expected 16");
    assert_refused (SLICE ("\x97\x01\xc4\x00\x05\x01\x02\x06\x07"), "envelope.trace: 0 bytes, expected 16");
    assert_refused (SLICE ("\x97\x01\xb0"
                           "0123456789abcdef"
                           "\x05\x01\x02\x06\x07"),
                    "envelope.trace: text, expected binary");
    assert_refused (SLICE ("\x97\x01\xc6\xff\xff\xff\xff"
                           "0123456789abcdef"),
                    "envelope.trace: cut off");
}

static void the_form_is_exact (void **state)
{
    (void) state;
    struct envelope envelope;
    struct message_error error;
    struct slice good = SLICE ("\x97\x01" TRACE_16 "\x05\x01\x02\x06\x07");
    struct slice wide = SLICE ("\xdd\x00\x00\x00\x07\xcd\x00\x01\xc5\x00\x10"
                               "0123456789abcdef"
                               "\xd3\x00\x00\x00\x00\x00\x00\x00\x05\xce\x00\x00\x00\x01\xcc\x02\xd0\x06\xd1\x00\x07");
    struct envelope expected = {MESSAGE_NONE + 1, "", 5, ACTOR_NONE + 1, ACTOR_NONE + 2, 6, 7};
    memcpy (expected.trace, "0123456789abcdef", TRACE_BYTES);
    assert_int_equal (decode (good.at, good.len, &envelope, &error), 0);
    assert_envelopes_equal (&envelope, &expected);
    envelope = (struct envelope){0};
    assert_int_equal (decode (wide.at, wide.len, &envelope, &error), 0);
    assert_envelopes_equal (&envelope, &expected);

    assert_refused (SLICE (""), "envelope: cut off");
    assert_refused (SLICE ("\x96\x01" TRACE_16 "\x05\x01\x02\x06"), "envelope: 6 elements, expected 7");
    assert_refused (SLICE ("\x98\x01" TRACE_16 "\x05\x01\x02\x06\x07\x08"), "envelope: 8 elements, expected 7");
    assert_refused (SLICE ("\x97\x01" TRACE_16 "\x05\x01\x02\x06\x07\x08"), "envelope: 1 trailing bytes");
    assert_refused (SLICE ("\xdd\xff\xff\xff\xff\x01"), "envelope: 4294967295 elements, expected 7");
    assert_refused (SLICE ("\x87\x01" TRACE_16 "\x05\x01\x02\x06\x07"),
                    "envelope: a kind that no field has, expected an array");
    assert_refused (SLICE ("\x97\x01" TRACE_16 "\xff\x01\x02\x06\x07"),
                    "envelope.stream: a negative number, expected a number");
    assert_refused (SLICE ("\x97\x01" TRACE_16 "\x05\x01\x02\xc3\x07"),
                    "envelope.sequence: a boolean, expected a number");
    assert_refused (SLICE ("\x97\x01" TRACE_16 "\x05\x01\x02\x06\xcf\x00"), "envelope.time: cut off");
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (every_envelope_round_trips),
        cmocka_unit_test (no_envelope_is_too_long),
        cmocka_unit_test (truncations_are_errors_and_corruptions_are_survived),
        cmocka_unit_test (what_the_catalog_does_not_have_is_refused),
        cmocka_unit_test (a_trace_is_a_binary_of_16),
        cmocka_unit_test (the_form_is_exact),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
