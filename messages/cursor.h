/* cursor.h - a strict msgpack reader over borrowed bytes.
 *
 * A cursor walks over bytes that it does not own and never allocates. Every step asks first whether the bytes are
 * there, so that no input makes it read past the end. It knows the kinds that messages are made of: non-negative
 * integers, booleans, strings, binaries and arrays; every width that msgpack has for them is accepted, the shortest or
 * not, and for integers also the signed forms when the number is not negative. Whatever else stands there is a wrong
 * kind.
 *
 * Why not msgpack-c's own unpacker: it builds a tree, and allocates an array from its count before it has seen a single
 * element; a count costs a peer five bytes and would cost us gigabytes. Here a count is only a number until the caller
 * has compared it with its limit and with the bytes that are left.
 *
 * After a failure the cursor keeps what it found, for the error text, and is not to be used further.
 */
#pragma once

#include "slice.h"

#include <stdint.h>

enum cursor_kind
{
    CURSOR_NOTHING, /* kinds that no message has: nil, floats, maps, extensions, the unused byte */
    CURSOR_UINT,
    CURSOR_NEGATIVE,
    CURSOR_BOOL,
    CURSOR_STR,
    CURSOR_BIN,
    CURSOR_ARRAY,
};

enum cursor_result
{
    CURSOR_OK,
    CURSOR_CUT,  /* the bytes end within the value, or within what its count or length announces */
    CURSOR_KIND, /* another kind than the one asked for */
    CURSOR_OVER, /* a number, length or count over the limit */
};

struct cursor
{
    const uint8_t *at, *end;

    /* What the last step found. */
    enum cursor_kind kind;
    uint64_t number; /* the integer or boolean; the length of a string or binary; the count of an array */
};

static inline struct cursor cursor_of (struct slice bytes)
{
    /* Arithmetic on NULL is undefined, so the empty slice gets an address. */
    static const uint8_t none[1];
    const uint8_t *at = bytes.at && bytes.len ? (const uint8_t *) bytes.at : none;
    return (struct cursor){.at = at, .end = at + (bytes.at ? bytes.len : 0)};
}

static inline size_t cursor_left (const struct cursor *cursor)
{
    return (size_t) (cursor->end - cursor->at);
}

/* Reads a big-endian number of 1, 2, 4 or 8 bytes. */
static inline enum cursor_result cursor_number (struct cursor *cursor, size_t width)
{
    if (cursor_left (cursor) < width)
        return CURSOR_CUT;
    uint64_t number = 0;
    for (size_t index = 0; index < width; index++)
        number = number << 8 | cursor->at[index];
    cursor->at += width;
    cursor->number = number;
    return CURSOR_OK;
}

static inline enum cursor_result cursor_wide (struct cursor *cursor, enum cursor_kind kind, size_t width)
{
    enum cursor_result result = cursor_number (cursor, width);
    cursor->kind = result == CURSOR_OK ? kind : CURSOR_NOTHING;
    return result;
}

static inline enum cursor_result cursor_signed (struct cursor *cursor, size_t width)
{
    enum cursor_result result = cursor_wide (cursor, CURSOR_UINT, width);
    if (result == CURSOR_OK && cursor->number >> (8 * width - 1))
        cursor->kind = CURSOR_NEGATIVE;
    return result;
}

/* Reads the head of whatever value comes next into kind and number. Content of strings and arrays is still to come. */
static inline enum cursor_result cursor_head (struct cursor *cursor)
{
    if (cursor->at == cursor->end)
        return CURSOR_CUT;
    uint8_t byte = *cursor->at++;
    switch (byte)
    {
    case 0x00 ... 0x7f:
        cursor->kind = CURSOR_UINT;
        cursor->number = byte;
        return CURSOR_OK;
    case 0x90 ... 0x9f:
        cursor->kind = CURSOR_ARRAY;
        cursor->number = byte & 0x0f;
        return CURSOR_OK;
    case 0xa0 ... 0xbf:
        cursor->kind = CURSOR_STR;
        cursor->number = byte & 0x1f;
        return CURSOR_OK;
    case 0xc2:
    case 0xc3:
        cursor->kind = CURSOR_BOOL;
        cursor->number = byte & 0x01;
        return CURSOR_OK;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return cursor_wide (cursor, CURSOR_BIN, (size_t) 1 << (byte - 0xc4));
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return cursor_wide (cursor, CURSOR_UINT, (size_t) 1 << (byte - 0xcc));
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return cursor_signed (cursor, (size_t) 1 << (byte - 0xd0));
    case 0xd9:
    case 0xda:
    case 0xdb:
        return cursor_wide (cursor, CURSOR_STR, (size_t) 1 << (byte - 0xd9));
    case 0xdc:
    case 0xdd:
        return cursor_wide (cursor, CURSOR_ARRAY, (size_t) 2 << (byte - 0xdc));
    case 0xe0 ... 0xff:
        cursor->kind = CURSOR_NEGATIVE;
        return CURSOR_OK;
    default:
        cursor->kind = CURSOR_NOTHING;
        return CURSOR_OK;
    }
}

/* Reads the head of a value that must be of this kind and whose number must not be over the limit. */
static inline enum cursor_result cursor_expect (struct cursor *cursor, enum cursor_kind kind, uint64_t limit)
{
    enum cursor_result result = cursor_head (cursor);
    if (result != CURSOR_OK)
        return result;
    if (cursor->kind != kind)
        return CURSOR_KIND;
    return cursor->number > limit ? CURSOR_OVER : CURSOR_OK;
}

static inline enum cursor_result cursor_uint (struct cursor *cursor, uint64_t limit, uint64_t *number)
{
    enum cursor_result result = cursor_expect (cursor, CURSOR_UINT, limit);
    *number = result == CURSOR_OK ? cursor->number : 0;
    return result;
}

static inline enum cursor_result cursor_bool (struct cursor *cursor, bool *value)
{
    enum cursor_result result = cursor_expect (cursor, CURSOR_BOOL, 1);
    *value = result == CURSOR_OK && cursor->number;
    return result;
}

/* Reads a string or a binary (kind says which) of at most limit bytes; the slice points into the cursor's bytes. */
static inline enum cursor_result cursor_bytes (struct cursor *cursor, enum cursor_kind kind, uint64_t limit,
                                               struct slice *bytes)
{
    enum cursor_result result = cursor_expect (cursor, kind, limit);
    if (result != CURSOR_OK)
        return result;
    if (cursor->number > cursor_left (cursor))
        return CURSOR_CUT;
    *bytes = slice_of ((const char *) cursor->at, (size_t) cursor->number);
    cursor->at += cursor->number;
    return CURSOR_OK;
}

/* Reads the head of an array of at most limit elements. An element is never shorter than element_min bytes, so that a
 * count which cannot be true is refused before anybody loops over it. */
static inline enum cursor_result cursor_array (struct cursor *cursor, uint64_t limit, size_t element_min,
                                               uint64_t *count)
{
    enum cursor_result result = cursor_expect (cursor, CURSOR_ARRAY, limit);
    if (result == CURSOR_OK && cursor->number > cursor_left (cursor) / element_min)
        result = CURSOR_CUT;
    *count = result == CURSOR_OK ? cursor->number : 0;
    return result;
}

/* The name of a kind as error texts use it. */
static inline const char *cursor_kind_name (enum cursor_kind kind)
{
    static const char *const names[] = {
        [CURSOR_NOTHING] = "a kind that no field has",
        [CURSOR_UINT] = "a number",
        [CURSOR_NEGATIVE] = "a negative number",
        [CURSOR_BOOL] = "a boolean",
        [CURSOR_STR] = "text",
        [CURSOR_BIN] = "binary",
        [CURSOR_ARRAY] = "an array",
    };
    return names[kind];
}
