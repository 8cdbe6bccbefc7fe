/* codec.c - envelopes and bodies to msgpack and back, driven by the catalog's rows.
 *
 *   envelope  [type, trace, stream, from, to, sequence, time]
 *   body      [field, field, ...]     UINT     integer
 *                                     BOOL     true, false
 *                                     TEXT     str, whatever the bytes are
 *                                     HEADERS  [[str, str], ...]
 *
 * One loop over a type's rows serves all types: a row says where in the struct its value lies and of what kind it is.
 *
 * Encoding is msgpack-c's packer, which writes through a callback into the caller's bytes. All limits are checked and
 * the size is known before the first byte is written, so that a message is written whole or not at all.
 *
 * Decoding is our own cursor (cursor.h): msgpack-c's unpacker allocates arrays from a count before the elements are
 * seen, so that hostile counts cost memory. The cursor allocates nothing, and slices point into the bytes that were
 * read.
 *
 * Six messages a request pass through here; nothing in this file is slower than it has to be, and error texts are made
 * out of the way.
 */
#include "cursor.h"
#include "message.h"

#include <inttypes.h>
#include <msgpack.h>
#include <stdarg.h>
#include <stdio.h>

enum
{
    ENVELOPE_ELEMENTS = 7,
    HEADER_ELEMENTS = 2,  /* name and value */
    HEADER_BYTES_MIN = 3, /* array head, two empty strings */
};

/* Where something is wrong: "type.field", "type.headers[index].part", or "type" alone. */
struct place
{
    const char *type, *field;
    const char *part; /* "name" or "value" of the header at index; NULL when it is about the field */
    size_t index;
};

/* ---------------------------------------------------------------------------------------------------------- errors */

/* Writes "PLACE: what is wrong" and returns -1. */
static int __attribute__ ((cold, noinline, format (printf, 3, 4)))
fail (struct message_error *error, const struct place *place, const char *format, ...)
{
    int length;
    if (place->part)
        length = snprintf (error->text, sizeof error->text, "%s.%s[%zu].%s: ", place->type, place->field, place->index,
                           place->part);
    else
        length = snprintf (error->text, sizeof error->text, "%s%s%s: ", place->type, place->field ? "." : "",
                           place->field ? place->field : "");
    if (length < 0 || (size_t) length >= sizeof error->text)
        return -1;
    va_list arguments;
    va_start (arguments, format);
    vsnprintf (error->text + length, sizeof error->text - (size_t) length, format, arguments);
    va_end (arguments);
    return -1;
}

/* Says what the cursor ran into, when `wanted` with a limit was expected. */
static int __attribute__ ((cold, noinline))
fail_cursor (struct message_error *error, const struct place *place, const struct cursor *cursor,
             enum cursor_result result, enum cursor_kind wanted, uint64_t limit)
{
    const char *unit = wanted == CURSOR_ARRAY                         ? " elements"
                       : wanted == CURSOR_STR || wanted == CURSOR_BIN ? " bytes"
                                                                      : "";
    switch (result)
    {
    case CURSOR_KIND:
        return fail (error, place, "%s, expected %s", cursor_kind_name (cursor->kind), cursor_kind_name (wanted));
    case CURSOR_OVER:
        return fail (error, place, "%" PRIu64 "%s, at most %" PRIu64, cursor->number, unit, limit);
    default:
        return fail (error, place, "cut off");
    }
}

/* -------------------------------------------------------------------------------------------------------- encoding */

/* Where the packer writes; the caller has made sure that all of it fits, the check is the second lock. */
struct sink
{
    char *at, *end;
};

static int sink_write (void *data, const char *bytes, size_t count)
{
    struct sink *sink = data;
    if (count > (size_t) (sink->end - sink->at))
        return -1;
    memcpy (sink->at, bytes, count);
    sink->at += count;
    return 0;
}

static inline void pack_text (msgpack_packer *packer, struct slice text)
{
    msgpack_pack_str (packer, text.len);
    if (text.len)
        msgpack_pack_str_body (packer, text.at, text.len);
}

static inline void pack_headers (msgpack_packer *packer, const struct headers *headers)
{
    msgpack_pack_array (packer, headers->count);
    for (size_t index = 0; index < headers->count; index++)
    {
        msgpack_pack_array (packer, HEADER_ELEMENTS);
        pack_text (packer, headers->at[index].name);
        pack_text (packer, headers->at[index].value);
    }
}

/* Bytes of an encoded value, by msgpack's shortest forms, which are the ones that the packer chooses. */
static inline size_t uint_size (uint64_t number)
{
    return number < 0x80 ? 1 : number <= UINT8_MAX ? 2 : number <= UINT16_MAX ? 3 : number <= UINT32_MAX ? 5 : 9;
}

static inline size_t text_size (size_t length)
{
    return (length < 32 ? 1u : length <= UINT8_MAX ? 2u : length <= UINT16_MAX ? 3u : 5u) + length;
}

static inline size_t array_size (size_t count)
{
    return count < 16 ? 1 : count <= UINT16_MAX ? 3 : 5;
}

static inline size_t headers_size (const struct headers *headers)
{
    size_t size = array_size (headers->count);
    for (size_t index = 0; index < headers->count; index++)
        size += array_size (HEADER_ELEMENTS) + text_size (headers->at[index].name.len) +
                text_size (headers->at[index].value.len);
    return size;
}

static inline const void *field_in (const union message_fields *body, const struct field_info *field)
{
    return (const char *) body + field->offset;
}

static int headers_check (const struct place *place, const struct headers *headers, uint64_t limit,
                          struct message_error *error)
{
    if (headers->count > limit)
        return fail (error, place, "%zu headers, at most %" PRIu64, headers->count, limit);
    for (size_t index = 0; index < headers->count; index++)
    {
        const struct header *header = &headers->at[index];
        if (header->name.len <= MESSAGE_STRING_MAX && header->value.len <= MESSAGE_STRING_MAX)
            continue;
        bool name = header->name.len > MESSAGE_STRING_MAX;
        struct place inner = {place->type, place->field, name ? "name" : "value", index};
        return fail (error, &inner, "%zu bytes, at most %d", name ? header->name.len : header->value.len,
                     MESSAGE_STRING_MAX);
    }
    return 0;
}

/* Checks every value against its row's limit. */
static int body_check (const struct message_info *info, const union message_fields *body, struct message_error *error)
{
    size_t room = MESSAGE_HEADERS_MAX;
    for (size_t index = 0; index < info->field_count; index++)
    {
        const struct field_info *field = &info->fields[index];
        const void *value = field_in (body, field);
        struct place place = {.type = info->name, .field = field->name};
        switch (field->kind)
        {
        case FIELD_UINT:
            if (*(const uint64_t *) value > field->limit)
                return fail (error, &place, "%" PRIu64 ", at most %" PRIu64, *(const uint64_t *) value, field->limit);
            break;
        case FIELD_BOOL:
            break;
        case FIELD_TEXT:
            if (((const struct slice *) value)->len > field->limit)
                return fail (error, &place, "%zu bytes, at most %" PRIu64, ((const struct slice *) value)->len,
                             field->limit);
            break;
        case FIELD_HEADERS:
            if (headers_check (&place, value, field->limit < room ? field->limit : room, error) < 0)
                return -1;
            room -= ((const struct headers *) value)->count;
            break;
        }
    }
    return 0;
}

static size_t body_size (const struct message_info *info, const union message_fields *body)
{
    size_t size = array_size (info->field_count);
    for (size_t index = 0; index < info->field_count; index++)
    {
        const struct field_info *field = &info->fields[index];
        const void *value = field_in (body, field);
        switch (field->kind)
        {
        case FIELD_UINT:
            size += uint_size (*(const uint64_t *) value);
            break;
        case FIELD_BOOL:
            size += 1;
            break;
        case FIELD_TEXT:
            size += text_size (((const struct slice *) value)->len);
            break;
        case FIELD_HEADERS:
            size += headers_size (value);
            break;
        }
    }
    return size;
}

size_t message_size (enum message_type type, const union message_fields *body)
{
    const struct message_info *info = message_info (type);
    return info && info->field_count ? body_size (info, body) : 0;
}

size_t message_encode (enum message_type type, const union message_fields *body, char *out, size_t capacity,
                       struct message_error *error)
{
    error->text[0] = '\0';
    const struct message_info *info = message_info (type);
    if (!info)
        return fail (error, &(struct place){.type = "message"}, "type %d is not in the catalog", (int) type), 0;
    if (info->field_count == 0)
        return 0;
    if (body_check (info, body, error) < 0)
        return 0;
    size_t size = body_size (info, body);
    if (size > capacity)
        return fail (error, &(struct place){.type = info->name}, "%zu bytes, room for %zu", size, capacity), 0;

    struct sink sink = {.at = out, .end = out + capacity};
    msgpack_packer packer;
    msgpack_packer_init (&packer, &sink, sink_write);
    msgpack_pack_array (&packer, info->field_count);
    for (size_t index = 0; index < info->field_count; index++)
    {
        const struct field_info *field = &info->fields[index];
        const void *value = field_in (body, field);
        switch (field->kind)
        {
        case FIELD_UINT:
            msgpack_pack_uint64 (&packer, *(const uint64_t *) value);
            break;
        case FIELD_BOOL:
            if (*(const bool *) value)
                msgpack_pack_true (&packer);
            else
                msgpack_pack_false (&packer);
            break;
        case FIELD_TEXT:
            pack_text (&packer, *(const struct slice *) value);
            break;
        case FIELD_HEADERS:
            pack_headers (&packer, value);
            break;
        }
    }
    return (size_t) (sink.at - out);
}

size_t envelope_encode (const struct envelope *envelope, char out[ENVELOPE_BYTES_MAX])
{
    struct sink sink = {.at = out, .end = out + ENVELOPE_BYTES_MAX};
    msgpack_packer packer;
    msgpack_packer_init (&packer, &sink, sink_write);
    msgpack_pack_array (&packer, ENVELOPE_ELEMENTS);
    msgpack_pack_uint32 (&packer, (uint32_t) envelope->type);
    msgpack_pack_bin (&packer, TRACE_BYTES);
    msgpack_pack_bin_body (&packer, envelope->trace, TRACE_BYTES);
    msgpack_pack_uint64 (&packer, envelope->stream);
    msgpack_pack_uint32 (&packer, (uint32_t) envelope->from);
    msgpack_pack_uint32 (&packer, (uint32_t) envelope->to);
    msgpack_pack_uint64 (&packer, envelope->sequence);
    msgpack_pack_uint64 (&packer, envelope->time);
    return (size_t) (sink.at - out);
}

/* -------------------------------------------------------------------------------------------------------- decoding */

/* Reads the head of the outermost array: exactly this many elements. */
static int read_outer (struct cursor *cursor, const char *type, size_t elements, struct message_error *error)
{
    struct place place = {.type = type};
    enum cursor_result result = cursor_expect (cursor, CURSOR_ARRAY, UINT32_MAX);
    if (result != CURSOR_OK)
        return fail_cursor (error, &place, cursor, result, CURSOR_ARRAY, UINT32_MAX);
    if (cursor->number != elements)
        return fail (error, &place, "%" PRIu64 " elements, expected %zu", cursor->number, elements);
    return 0;
}

/* Nothing may follow the outermost array. */
static int read_end (const struct cursor *cursor, const char *type, struct message_error *error)
{
    if (cursor_left (cursor) == 0)
        return 0;
    return fail (error, &(struct place){.type = type}, "%zu trailing bytes", cursor_left (cursor));
}

/* Reads one [name, value]. Most headers of a request pass here without a look at their place. */
static int read_header (struct cursor *cursor, const struct place *place, size_t index, struct header *header,
                        struct message_error *error)
{
    struct place inner = {place->type, place->field, "pair", index};
    enum cursor_result result = cursor_expect (cursor, CURSOR_ARRAY, UINT32_MAX);
    if (result != CURSOR_OK)
        return fail_cursor (error, &inner, cursor, result, CURSOR_ARRAY, UINT32_MAX);
    if (cursor->number != HEADER_ELEMENTS)
        return fail (error, &inner, "%" PRIu64 " elements, expected %d", cursor->number, HEADER_ELEMENTS);
    inner.part = "name";
    result = cursor_bytes (cursor, CURSOR_STR, MESSAGE_STRING_MAX, &header->name);
    if (result == CURSOR_OK)
    {
        inner.part = "value";
        result = cursor_bytes (cursor, CURSOR_STR, MESSAGE_STRING_MAX, &header->value);
    }
    return result == CURSOR_OK ? 0 : fail_cursor (error, &inner, cursor, result, CURSOR_STR, MESSAGE_STRING_MAX);
}

/* Reads a field of headers into the store, of which `used` are taken. */
static int read_headers (struct cursor *cursor, const struct place *place, uint64_t limit, struct header *store,
                         size_t *used, struct headers *headers, struct message_error *error)
{
    size_t room = MESSAGE_HEADERS_MAX - *used;
    if (limit > room)
        limit = room;
    uint64_t count;
    enum cursor_result result = cursor_array (cursor, limit, HEADER_BYTES_MIN, &count);
    if (result == CURSOR_OVER)
        return fail (error, place, "%" PRIu64 " headers, at most %" PRIu64, cursor->number, limit);
    if (result != CURSOR_OK)
        return fail_cursor (error, place, cursor, result, CURSOR_ARRAY, limit);
    struct header *at = store + *used;
    for (size_t index = 0; index < count; index++)
        if (read_header (cursor, place, index, &at[index], error) < 0)
            return -1;
    *headers = (struct headers){.at = at, .count = (size_t) count};
    *used += (size_t) count;
    return 0;
}

int message_decode (enum message_type type, struct slice bytes, union message_fields *body,
                    struct header store[MESSAGE_HEADERS_MAX], struct message_error *error)
{
    const struct message_info *info = message_info (type);
    if (!info)
        return fail (error, &(struct place){.type = "message"}, "type %d is not in the catalog", (int) type);
    struct cursor cursor = cursor_of (bytes);
    if (info->field_count == 0)
        return read_end (&cursor, info->name, error);
    if (read_outer (&cursor, info->name, info->field_count, error) < 0)
        return -1;

    size_t used = 0;
    for (size_t index = 0; index < info->field_count; index++)
    {
        const struct field_info *field = &info->fields[index];
        void *value = (char *) body + field->offset;
        struct place place = {.type = info->name, .field = field->name};
        enum cursor_result result = CURSOR_OK;
        enum cursor_kind wanted = CURSOR_NOTHING;
        switch (field->kind)
        {
        case FIELD_UINT:
            result = cursor_uint (&cursor, field->limit, value);
            wanted = CURSOR_UINT;
            break;
        case FIELD_BOOL:
            result = cursor_bool (&cursor, value);
            wanted = CURSOR_BOOL;
            break;
        case FIELD_TEXT:
            result = cursor_bytes (&cursor, CURSOR_STR, field->limit, value);
            wanted = CURSOR_STR;
            break;
        case FIELD_HEADERS:
            if (read_headers (&cursor, &place, field->limit, store, &used, value, error) < 0)
                return -1;
            break;
        }
        if (result != CURSOR_OK)
            return fail_cursor (error, &place, &cursor, result, wanted, field->limit);
    }
    return read_end (&cursor, info->name, error);
}

/* Reads a number of the envelope; type and actors must be ones that the catalog has. */
static int read_envelope_number (struct cursor *cursor, const char *field, uint64_t *number,
                                 struct message_error *error)
{
    enum cursor_result result = cursor_uint (cursor, UINT64_MAX, number);
    if (result == CURSOR_OK)
        return 0;
    return fail_cursor (error, &(struct place){.type = "envelope", .field = field}, cursor, result, CURSOR_UINT,
                        UINT64_MAX);
}

static int read_envelope_name (struct cursor *cursor, const char *field, uint64_t count, uint64_t *number,
                               struct message_error *error)
{
    if (read_envelope_number (cursor, field, number, error) < 0)
        return -1;
    if (*number > 0 && *number < count)
        return 0;
    return fail (error, &(struct place){.type = "envelope", .field = field}, "%" PRIu64 " is not in the catalog",
                 *number);
}

static int read_trace (struct cursor *cursor, uint8_t trace[TRACE_BYTES], struct message_error *error)
{
    struct place place = {.type = "envelope", .field = "trace"};
    struct slice bytes = {0};
    enum cursor_result result = cursor_bytes (cursor, CURSOR_BIN, UINT32_MAX, &bytes);
    if (result != CURSOR_OK)
        return fail_cursor (error, &place, cursor, result, CURSOR_BIN, UINT32_MAX);
    if (bytes.len != TRACE_BYTES)
        return fail (error, &place, "%zu bytes, expected %d", bytes.len, TRACE_BYTES);
    memcpy (trace, bytes.at, TRACE_BYTES);
    return 0;
}

int envelope_decode (struct slice bytes, struct envelope *envelope, struct message_error *error)
{
    struct cursor cursor = cursor_of (bytes);
    uint64_t type, from, to;
    if (read_outer (&cursor, "envelope", ENVELOPE_ELEMENTS, error) < 0 ||
        read_envelope_name (&cursor, "type", MESSAGE_COUNT, &type, error) < 0 ||
        read_trace (&cursor, envelope->trace, error) < 0 ||
        read_envelope_number (&cursor, "stream", &envelope->stream, error) < 0 ||
        read_envelope_name (&cursor, "from", ACTOR_COUNT, &from, error) < 0 ||
        read_envelope_name (&cursor, "to", ACTOR_COUNT, &to, error) < 0 ||
        read_envelope_number (&cursor, "sequence", &envelope->sequence, error) < 0 ||
        read_envelope_number (&cursor, "time", &envelope->time, error) < 0)
        return -1;
    envelope->type = (enum message_type) type;
    envelope->from = (enum actor_id) from;
    envelope->to = (enum actor_id) to;
    return read_end (&cursor, "envelope", error);
}
