/* messages_codec_test - bodies of every type to msgpack and back, and whatever else may come instead of one.
 *
 * The tests know no type by name where they can go by the catalog: a new row is tested from the day it is added.
 * msgpack-c is the second opinion: its unpacker must read what we write, and its packer writes what we must refuse.
 * Bytes to decode lie in heap blocks of exactly their size, so that AddressSanitizer and valgrind see a read past the
 * end.
 */
#include "messages_sample.h"

#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Decodes a copy of the bytes in a block of exactly their size. What was decoded is compared with *expected, when
 * given, while the block lives. */
static int decode (enum message_type type, const char *bytes, size_t length, const union message_fields *expected,
                   struct message_error *error)
{
    char *block = malloc (length ? length : 1);
    assert_non_null (block);
    if (length)
        memcpy (block, bytes, length);
    union message_fields fields;
    struct header *store = malloc (MESSAGE_HEADERS_MAX * sizeof *store);
    assert_non_null (store);
    *error = (struct message_error){{0}};
    /* The address past the end of an empty input is no address to read from. */
    int result = message_decode (type, slice_of (length ? block : block + 1, length), &fields, store, error);
    if (result == 0 && expected)
    {
        const struct field_info *field = fields_differ (type, expected, &fields);
        if (field)
            fail_msg ("%s.%s is not what was encoded", message_type_name (type), field->name);
    }
    if (result == 0)
    {
        /* What was accepted can be encoded again: decoding lets no value through that encoding refuses. */
        size_t size = message_size (type, &fields);
        char *again = malloc (size ? size : 1);
        assert_non_null (again);
        assert_int_equal (message_encode (type, &fields, again, size, error), size);
        free (again);
    }
    else
    {
        assert_int_equal (result, -1);
        assert_true (strlen (error->text) > 0 && strlen (error->text) < sizeof error->text);
    }
    free (store);
    free (block);
    return result;
}

/* ----------------------------------------------------------------------------------- msgpack-c as the second opinion
 */

static bool object_is_text (const msgpack_object *object, struct slice text)
{
    return object->type == MSGPACK_OBJECT_STR &&
           slice_equal (slice_of (object->via.str.ptr, object->via.str.size), text);
}

static bool object_is_field (const msgpack_object *object, const struct field_info *field, const void *value)
{
    const struct headers *headers = value;
    switch (field->kind)
    {
    case FIELD_UINT:
        return object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 == *(const uint64_t *) value;
    case FIELD_BOOL:
        return object->type == MSGPACK_OBJECT_BOOLEAN && object->via.boolean == *(const bool *) value;
    case FIELD_TEXT:
        return object_is_text (object, *(const struct slice *) value);
    case FIELD_HEADERS:
        if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != headers->count)
            return false;
        for (size_t index = 0; index < headers->count; index++)
        {
            const msgpack_object *pair = &object->via.array.ptr[index];
            if (pair->type != MSGPACK_OBJECT_ARRAY || pair->via.array.size != 2 ||
                !object_is_text (&pair->via.array.ptr[0], headers->at[index].name) ||
                !object_is_text (&pair->via.array.ptr[1], headers->at[index].value))
                return false;
        }
        return true;
    }
    return false;
}

static void assert_unpacks (const struct sample *sample, const char *bytes, size_t length)
{
    const struct message_info *info = message_info (sample->type);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init (&unpacked);
    size_t offset = 0;
    assert_int_equal (msgpack_unpack_next (&unpacked, bytes, length, &offset), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal (offset, length);
    assert_int_equal (unpacked.data.type, MSGPACK_OBJECT_ARRAY);
    assert_int_equal (unpacked.data.via.array.size, info->field_count);
    for (size_t index = 0; index < info->field_count; index++)
        if (!object_is_field (&unpacked.data.via.array.ptr[index], &info->fields[index],
                              field_value (&sample->fields, &info->fields[index])))
            fail_msg ("%s.%s: msgpack-c reads something else", info->name, info->fields[index].name);
    msgpack_unpacked_destroy (&unpacked);
}

static void pack_text (msgpack_packer *packer, struct slice text)
{
    msgpack_pack_str (packer, text.len);
    if (text.len)
        msgpack_pack_str_body (packer, text.at, text.len);
}

/* Packs a value as it is, whatever its row's limit. */
static void pack_field (msgpack_packer *packer, const struct field_info *field, const void *value)
{
    const struct headers *headers = value;
    switch (field->kind)
    {
    case FIELD_UINT:
        msgpack_pack_uint64 (packer, *(const uint64_t *) value);
        break;
    case FIELD_BOOL:
        *(const bool *) value ? msgpack_pack_true (packer) : msgpack_pack_false (packer);
        break;
    case FIELD_TEXT:
        pack_text (packer, *(const struct slice *) value);
        break;
    case FIELD_HEADERS:
        msgpack_pack_array (packer, headers->count);
        for (size_t index = 0; index < headers->count; index++)
        {
            msgpack_pack_array (packer, 2);
            pack_text (packer, headers->at[index].name);
            pack_text (packer, headers->at[index].value);
        }
        break;
    }
}

/* Packs a body whose outer array says `count` elements and has `present`; the element `other_index` is what other says.
 */
static void pack_body (msgpack_sbuffer *buffer, const struct sample *sample, size_t count, size_t present,
                       size_t other_index, struct slice other)
{
    const struct message_info *info = message_info (sample->type);
    msgpack_packer packer;
    msgpack_packer_init (&packer, buffer, msgpack_sbuffer_write);
    msgpack_pack_array (&packer, count);
    for (size_t index = 0; index < present; index++)
        if (index == other_index)
            msgpack_sbuffer_write (buffer, other.at, other.len);
        else if (index < info->field_count)
            pack_field (&packer, &info->fields[index], field_value (&sample->fields, &info->fields[index]));
        else
            msgpack_pack_nil (&packer);
}

static const size_t NO_OTHER = (size_t) -1;

/* --------------------------------------------------------------------------------------------------- what must work */

static void assert_round_trip (const struct sample *sample)
{
    struct message_error error;
    size_t size = message_size (sample->type, &sample->fields);
    char *bytes = malloc (size + 2);
    assert_non_null (bytes);
    memset (bytes, 0x5a, size + 2);
    size_t written = message_encode (sample->type, &sample->fields, bytes, size, &error);
    if (written != size)
        fail_msg ("%zu bytes written, %zu announced: %s", written, size, error.text);
    assert_string_equal (error.text, "");
    assert_int_equal (bytes[size], 0x5a);
    if (size)
    {
        assert_unpacks (sample, bytes, size);

        /* One byte less is refused before anything is written. */
        char *small = malloc (size - 1), *untouched = malloc (size - 1);
        assert_true (small && untouched);
        memset (small, 0x5a, size - 1);
        memset (untouched, 0x5a, size - 1);
        assert_int_equal (message_encode (sample->type, &sample->fields, small, size - 1, &error), 0);
        assert_non_null (strstr (error.text, "room for"));
        assert_memory_equal (small, untouched, size - 1);
        free (untouched);
        free (small);
    }
    if (decode (sample->type, bytes, size, &sample->fields, &error) < 0)
        fail_msg ("%s", error.text);
    free (bytes);
}

static void every_type_round_trips (void **state)
{
    (void) state;
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        for (enum sample_shape shape = 0; shape < SAMPLE_SHAPES; shape++)
            for (uint64_t seed = 1; seed <= (shape == SAMPLE_RANDOM || shape == SAMPLE_SMALL ? 30 : 1); seed++)
            {
                struct sample *sample = sample_new (type, shape, seed);
                assert_round_trip (sample);
                sample_destroy (&sample);
            }
}

static void headers_at_their_limits_round_trip (void **state)
{
    (void) state;
    struct sample *sample = sample_new (MESSAGE_response, SAMPLE_LIMIT, 7);
    assert_int_equal (sample->fields.response.headers.count, MESSAGE_HEADERS_MAX);
    assert_int_equal (sample->headers[MESSAGE_HEADERS_MAX - 1].name.len, MESSAGE_STRING_MAX);
    assert_int_equal (sample->headers[MESSAGE_HEADERS_MAX - 1].value.len, MESSAGE_STRING_MAX);
    assert_round_trip (sample);
    sample_destroy (&sample);
}

/* Writes a head with this many bytes for its number. */
static size_t put_head (char *out, uint8_t byte, uint64_t number, size_t width)
{
    out[0] = (char) byte;
    for (size_t index = 0; index < width; index++)
        out[1 + index] = (char) (number >> (8 * (width - 1 - index)));
    return 1 + width;
}

static void any_width_of_an_integer_is_accepted (void **state)
{
    (void) state;
    static const struct
    {
        uint8_t byte;
        size_t width;
    } forms[] = {{0xcc, 1}, {0xcd, 2}, {0xce, 4}, {0xcf, 8}, {0xd0, 1}, {0xd1, 2}, {0xd2, 4}, {0xd3, 8}};
    struct message_error error;
    for (size_t form = 0; form < sizeof forms / sizeof *forms; form++)
    {
        char bytes[16] = {(char) 0x91};
        size_t length = 1 + put_head (bytes + 1, forms[form].byte, 77, forms[form].width);
        union message_fields expected = {.credit = {.bytes = 77}};
        if (decode (MESSAGE_credit, bytes, length, &expected, &error) < 0)
            fail_msg ("head %02x: %s", forms[form].byte, error.text);
        /* The highest bit is the sign in the signed forms. */
        bytes[2] = (char) 0x80;
        bool is_signed = forms[form].byte >= 0xd0;
        int result = decode (MESSAGE_credit, bytes, length, NULL, &error);
        if (is_signed)
        {
            assert_int_equal (result, -1);
            assert_string_equal (error.text, "credit.bytes: a negative number, expected a number");
        }
        else
            assert_int_equal (result, forms[form].width == 8 ? -1 : 0);
    }
}

static void any_width_of_a_length_is_accepted (void **state)
{
    (void) state;
    struct message_error error;
    union message_fields expected = {.abort = {.reason = SLICE ("gone")}};
    for (size_t array = 0; array < 3; array++)
        for (size_t text = 0; text < 4; text++)
        {
            char bytes[32];
            size_t length = array == 0   ? put_head (bytes, 0x91, 0, 0)
                            : array == 1 ? put_head (bytes, 0xdc, 1, 2)
                                         : put_head (bytes, 0xdd, 1, 4);
            length += text == 0 ? put_head (bytes + length, 0xa4, 0, 0)
                                : put_head (bytes + length, (uint8_t) (0xd8 + text), 4, (size_t) 1 << (text - 1));
            memcpy (bytes + length, "gone", 4);
            if (decode (MESSAGE_abort, bytes, length + 4, &expected, &error) < 0)
                fail_msg ("forms %zu and %zu: %s", array, text, error.text);
        }
}

/* -------------------------------------------------------------------------------------------- what must be an error */

static void each_truncation_is_an_error (void **state)
{
    (void) state;
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        for (uint64_t seed = 1; seed <= 2 && message_has_body (type); seed++)
        {
            struct message_error error;
            struct sample *sample = sample_new (type, SAMPLE_SMALL, seed);
            size_t size = message_size (type, &sample->fields);
            char *bytes = malloc (size);
            assert_non_null (bytes);
            assert_int_equal (message_encode (type, &sample->fields, bytes, size, &error), size);
            for (size_t length = 0; length < size; length++)
                if (decode (type, bytes, length, NULL, &error) == 0)
                    fail_msg ("%s: %zu of %zu bytes were accepted", message_type_name (type), length, size);
            free (bytes);
            sample_destroy (&sample);
        }
}

static void each_corruption_is_survived (void **state)
{
    (void) state;
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
    {
        if (!message_has_body (type))
            continue;
        struct message_error error;
        struct sample *sample = sample_new (type, SAMPLE_SMALL, 5);
        size_t size = message_size (type, &sample->fields);
        char *bytes = malloc (size);
        assert_non_null (bytes);
        assert_int_equal (message_encode (type, &sample->fields, bytes, size, &error), size);
        /* In a long body not every value at every place, but every value somewhere. */
        size_t step = size > 300 ? 23 : 1;
        for (size_t index = 0; index < size; index++)
        {
            char kept = bytes[index];
            for (size_t value = index % step; value < 256; value += step)
            {
                bytes[index] = (char) value;
                decode (type, bytes, size, NULL, &error);
            }
            bytes[index] = kept;
        }
        free (bytes);
        sample_destroy (&sample);
    }
}

/* The sample's packed bytes are refused, and the error begins with type.field and says the limit. */
static void assert_over_limit (const struct sample *sample, const struct field_info *field, uint64_t limit)
{
    struct message_error error;
    char start[64], end[64];
    snprintf (start, sizeof start, "%s.%s", message_type_name (sample->type), field->name);
    snprintf (end, sizeof end, ", at most %llu", (unsigned long long) limit);

    size_t capacity = message_size (sample->type, &sample->fields);
    char *out = malloc (capacity);
    assert_non_null (out);
    assert_int_equal (message_encode (sample->type, &sample->fields, out, capacity, &error), 0);
    free (out);
    assert_memory_equal (error.text, start, strlen (start));
    assert_non_null (strstr (error.text, end));

    size_t count = message_info (sample->type)->field_count;
    msgpack_sbuffer buffer;
    msgpack_sbuffer_init (&buffer);
    pack_body (&buffer, sample, count, count, NO_OTHER, (struct slice){0});
    assert_int_equal (decode (sample->type, buffer.data, buffer.size, NULL, &error), -1);
    msgpack_sbuffer_destroy (&buffer);
    assert_memory_equal (error.text, start, strlen (start));
    assert_non_null (strstr (error.text, end));
}

static void one_over_the_limit_is_an_error (void **state)
{
    (void) state;
    static char bytes[MESSAGE_STRING_MAX + 1];
    static struct header headers[MESSAGE_HEADERS_MAX + 1];
    size_t tried = 0;
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        for (size_t index = 0; index < message_info (type)->field_count; index++)
        {
            const struct field_info *field = &message_info (type)->fields[index];
            struct sample *sample = sample_new (type, SAMPLE_ZERO, 1);
            void *value = (char *) &sample->fields + field->offset;
            tried++;
            switch (field->kind)
            {
            case FIELD_UINT:
                *(uint64_t *) value = field->limit + 1;
                if (field->limit != UINT64_MAX)
                    assert_over_limit (sample, field, field->limit);
                break;
            case FIELD_BOOL:
                break;
            case FIELD_TEXT:
                assert_true (field->limit < sizeof bytes);
                *(struct slice *) value = slice_of (bytes, (size_t) field->limit + 1);
                assert_over_limit (sample, field, field->limit);
                break;
            case FIELD_HEADERS:
                *(struct headers *) value = (struct headers){headers, (size_t) field->limit + 1};
                assert_over_limit (sample, field, field->limit);
                *(struct headers *) value = (struct headers){headers, 2};
                headers[1].name = slice_of (bytes, MESSAGE_STRING_MAX + 1);
                assert_over_limit (sample, field, MESSAGE_STRING_MAX);
                headers[1] = (struct header){.value = slice_of (bytes, MESSAGE_STRING_MAX + 1)};
                assert_over_limit (sample, field, MESSAGE_STRING_MAX);
                headers[1] = (struct header){.name = {0}};
                break;
            }
            sample_destroy (&sample);
        }
    assert_true (tried > 20);
}

/* A value of each kind of msgpack, and the kind of field that may look so. */
static const struct
{
    struct slice bytes;
    int fits; /* a field kind; -1 when none */
} kinds[] = {
    {SLICE ("\xc0"), -1},                                 /* nil */
    {SLICE ("\xc1"), -1},                                 /* never used */
    {SLICE ("\xc2"), FIELD_BOOL},                         /* false */
    {SLICE ("\xc3"), FIELD_BOOL},                         /* true */
    {SLICE ("\x01"), FIELD_UINT},                         /* 1 */
    {SLICE ("\xff"), -1},                                 /* -1 */
    {SLICE ("\xd3\xff\xff\xff\xff\xff\xff\xff\xff"), -1}, /* -1 */
    {SLICE ("\xca\x00\x00\x00\x00"), -1},                 /* float */
    {SLICE ("\xcb\x00\x00\x00\x00\x00\x00\x00\x00"), -1}, /* double */
    {SLICE ("\xa1"
            "a"),
     FIELD_TEXT}, /* str */
    {SLICE ("\xc4\x01"
            "a"),
     -1},                            /* bin */
    {SLICE ("\x90"), FIELD_HEADERS}, /* array */
    {SLICE ("\x80"), -1},            /* map */
    {SLICE ("\xd4\x01\x00"), -1},    /* ext */
};

static void each_wrong_kind_is_an_error (void **state)
{
    (void) state;
    size_t accepted = 0, refused = 0;
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        for (size_t index = 0; index < message_info (type)->field_count; index++)
            for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
            {
                const struct message_info *info = message_info (type);
                struct sample *sample = sample_new (type, SAMPLE_ZERO, 1);
                struct message_error error;
                msgpack_sbuffer buffer;
                msgpack_sbuffer_init (&buffer);
                pack_body (&buffer, sample, info->field_count, info->field_count, index, kinds[kind].bytes);
                int result = decode (type, buffer.data, buffer.size, NULL, &error);
                if (kinds[kind].fits == (int) info->fields[index].kind)
                {
                    assert_int_equal (result, 0);
                    accepted++;
                }
                else
                {
                    char start[64];
                    snprintf (start, sizeof start, "%s.%s: ", info->name, info->fields[index].name);
                    assert_int_equal (result, -1);
                    assert_memory_equal (error.text, start, strlen (start));
                    assert_non_null (strstr (error.text, ", expected "));
                    refused++;
                }
                msgpack_sbuffer_destroy (&buffer);
                sample_destroy (&sample);
            }
    assert_true (accepted > 20 && refused > accepted);
}

static void missing_and_surplus_elements_are_errors (void **state)
{
    (void) state;
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
    {
        size_t fields = message_info (type)->field_count;
        for (size_t count = 0; count <= fields + 1 && fields; count++)
            for (size_t present = 0; present <= fields + 1; present++)
            {
                struct sample *sample = sample_new (type, SAMPLE_SMALL, 3);
                struct message_error error;
                msgpack_sbuffer buffer;
                msgpack_sbuffer_init (&buffer);
                pack_body (&buffer, sample, count, present, NO_OTHER, (struct slice){0});
                int result = decode (type, buffer.data, buffer.size, NULL, &error);
                assert_int_equal (result, count == fields && present == fields ? 0 : -1);
                msgpack_sbuffer_destroy (&buffer);
                sample_destroy (&sample);
            }
    }
}

static void assert_refused (enum message_type type, struct slice bytes, const char *text)
{
    struct message_error error;
    assert_int_equal (decode (type, bytes.at, bytes.len, NULL, &error), -1);
    assert_string_equal (error.text, text);
}

/* A count is refused by its limit or by the bytes that are left; nobody loops over it, or this test would not end. */
static void hostile_counts_are_refused (void **state)
{
    (void) state;
    assert_refused (MESSAGE_end, SLICE ("\xdd\xff\xff\xff\xff"), "end: 4294967295 elements, expected 1");
    assert_refused (MESSAGE_end, SLICE ("\xdc\xff\xff"), "end: 65535 elements, expected 1");
    assert_refused (MESSAGE_end, SLICE ("\x91\xdd\xff\xff\xff\xff"), "end.trailers: 4294967295 headers, at most 64");
    assert_refused (MESSAGE_end, SLICE ("\x91\xdc\x00\x41"), "end.trailers: 65 headers, at most 64");
    assert_refused (MESSAGE_end, SLICE ("\x91\xdc\x00\x40\x92\xa0\xa0"), "end.trailers: cut off");
    assert_refused (MESSAGE_end, SLICE ("\x91\x91\xdd\xff\xff\xff\xff\xa0\xa0"),
                    "end.trailers[0].pair: 4294967295 elements, expected 2");
    assert_refused (MESSAGE_abort, SLICE ("\x91\xdb\xff\xff\xff\xffgone"),
                    "abort.reason: 4294967295 bytes, at most 256");
    assert_refused (MESSAGE_abort, SLICE ("\x91\xda\x01\x00gone"), "abort.reason: cut off");
}

static void errors_say_what_is_wrong (void **state)
{
    (void) state;
    assert_refused (MESSAGE_end, SLICE (""), "end: cut off");
    assert_refused (MESSAGE_end, SLICE ("\x81\x01\x02"), "end: a kind that no field has, expected an array");
    assert_refused (MESSAGE_end, SLICE ("\x91\x90\xc0"), "end: 1 trailing bytes");
    assert_refused (MESSAGE_end, SLICE ("\x91\x91\x01\xc0\xc0"), "end.trailers[0].pair: a number, expected an array");
    assert_refused (MESSAGE_end, SLICE ("\x91\x91\x93\xa0\xa0\xa0"), "end.trailers[0].pair: 3 elements, expected 2");
    assert_refused (MESSAGE_end, SLICE ("\x91\x92\x92\xa0\xa0\x92\x01\xa0"),
                    "end.trailers[1].name: a number, expected text");
    assert_refused (MESSAGE_end, SLICE ("\x91\x91\x92\xa0\xc4\x00"), "end.trailers[0].value: binary, expected text");
    assert_refused (MESSAGE_credit, SLICE ("\x91\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
                    "credit.bytes: 4294967296, at most 4294967295");
    assert_refused (MESSAGE_credit, SLICE ("\x91\xcd\x00"), "credit.bytes: cut off");
    assert_refused (MESSAGE_engine, SLICE ("\x98\x01\x00\x00\xa0\xa0\xc2\xa0\xa0"),
                    "engine.reachable: a number, expected a boolean");
    assert_refused (MESSAGE_inspect, SLICE ("\x90"), "inspect: 1 trailing bytes");
    assert_refused (MESSAGE_NONE, SLICE ("\x90"), "message: type 0 is not in the catalog");
    char unknown[64];
    snprintf (unknown, sizeof unknown, "message: type %d is not in the catalog", MESSAGE_COUNT);
    assert_refused (MESSAGE_COUNT, SLICE ("\x90"), unknown);

    struct message_error error;
    static char long_target[131073];
    char out[16];
    union message_fields fields = {.request = {.target = {long_target, sizeof long_target}}};
    assert_int_equal (message_encode (MESSAGE_request, &fields, out, sizeof out, &error), 0);
    assert_string_equal (error.text, "request.target: 131073 bytes, at most 131072");
    fields.request.target.len = 1;
    fields.request.framing = 4;
    assert_int_equal (message_encode (MESSAGE_request, &fields, out, sizeof out, &error), 0);
    assert_string_equal (error.text, "request.framing: 4, at most 3");
    fields.abort.reason = SLICE ("gone");
    assert_int_equal (message_encode (MESSAGE_abort, &fields, out, 5, &error), 0);
    assert_string_equal (error.text, "abort: 6 bytes, room for 5");
    assert_int_equal (message_encode (MESSAGE_NONE, &fields, out, sizeof out, &error), 0);
    assert_string_equal (error.text, "message: type 0 is not in the catalog");
}

static void types_without_fields_have_no_body (void **state)
{
    (void) state;
    struct message_error error;
    char out[4];
    assert_int_equal (message_size (MESSAGE_inspect, NULL), 0);
    assert_int_equal (message_encode (MESSAGE_inspect, NULL, out, sizeof out, &error), 0);
    assert_string_equal (error.text, "");
    union message_fields fields;
    assert_int_equal (message_decode (MESSAGE_inspect, (struct slice){0}, &fields, NULL, &error), 0);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (every_type_round_trips),
        cmocka_unit_test (headers_at_their_limits_round_trip),
        cmocka_unit_test (any_width_of_an_integer_is_accepted),
        cmocka_unit_test (any_width_of_a_length_is_accepted),
        cmocka_unit_test (each_truncation_is_an_error),
        cmocka_unit_test (each_corruption_is_survived),
        cmocka_unit_test (one_over_the_limit_is_an_error),
        cmocka_unit_test (each_wrong_kind_is_an_error),
        cmocka_unit_test (missing_and_surplus_elements_are_errors),
        cmocka_unit_test (hostile_counts_are_refused),
        cmocka_unit_test (errors_say_what_is_wrong),
        cmocka_unit_test (types_without_fields_have_no_body),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
