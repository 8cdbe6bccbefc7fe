/* messages_sample.h - made-up bodies for the tests of messages/: any type, from the catalog's rows alone.
 *
 * A sample owns the bytes of its texts and headers, each in a heap block of exactly its size. The numbers come from a
 * generator with a seed, so that a failure can be repeated.
 */
#pragma once

#include "messages/message.h"

#include <stdlib.h>

enum sample_shape
{
    SAMPLE_ZERO,   /* 0, false, empty; slices without an address */
    SAMPLE_LIMIT,  /* every value at its row's limit */
    SAMPLE_RANDOM, /* lengths and numbers around the widths of msgpack, any bytes */
    SAMPLE_SMALL,  /* short random values, for tests that go through every byte */
    SAMPLE_SHAPES,
};

struct sample
{
    enum message_type type;
    union message_fields fields;
    struct header headers[MESSAGE_HEADERS_MAX];
    size_t header_count;
    void *blocks[2 * MESSAGE_HEADERS_MAX + 64]; /* owned */
    size_t block_count;
    uint64_t seed;
};

static inline uint64_t sample_random (struct sample *sample)
{
    sample->seed ^= sample->seed << 13;
    sample->seed ^= sample->seed >> 7;
    sample->seed ^= sample->seed << 17;
    return sample->seed;
}

/* One of the numbers at which msgpack changes its form, or any, but not over the limit. */
static inline uint64_t sample_number (struct sample *sample, enum sample_shape shape, uint64_t limit)
{
    static const uint64_t edges[] = {0,     1,     31,         32,          127,       128,        255,       256,
                                     65535, 65536, UINT32_MAX, 0x100000000, INT64_MAX, 1ull << 63, UINT64_MAX};
    if (shape == SAMPLE_ZERO)
        return 0;
    if (shape == SAMPLE_LIMIT)
        return limit;
    uint64_t random = sample_random (sample);
    uint64_t number = random & 1 ? edges[random / 2 % (sizeof edges / sizeof *edges)] : random >> (random / 2 % 64);
    if (shape == SAMPLE_SMALL)
        number %= 40;
    return number > limit ? limit : number;
}

static inline struct slice sample_text (struct sample *sample, enum sample_shape shape, uint64_t limit)
{
    size_t length = (size_t) sample_number (sample, shape, limit);
    if (shape == SAMPLE_RANDOM && length > 70000 && length < limit)
        length = 70000;
    if (length == 0)
        return (struct slice){0};
    char *bytes = malloc (length);
    if (!bytes)
        abort ();
    sample->blocks[sample->block_count++] = bytes;
    for (size_t index = 0; index < length; index++)
        bytes[index] = (char) (sample_random (sample) >> 11);
    return slice_of (bytes, length);
}

static inline void sample_headers (struct sample *sample, enum sample_shape shape, uint64_t limit,
                                   struct headers *headers)
{
    size_t room = MESSAGE_HEADERS_MAX - sample->header_count;
    size_t count = (size_t) sample_number (sample, shape, limit < room ? limit : room);
    headers->at = sample->headers + sample->header_count;
    headers->count = count;
    for (size_t index = 0; index < count; index++)
    {
        /* All at the limit would be 64 MiB; the last one stands for the others. */
        enum sample_shape inner = shape == SAMPLE_LIMIT && index + 1 < count ? SAMPLE_SMALL : shape;
        uint64_t text_limit = inner == SAMPLE_RANDOM ? 300 : MESSAGE_STRING_MAX;
        struct header *header = &sample->headers[sample->header_count++];
        header->name = sample_text (sample, inner, text_limit);
        header->value = sample_text (sample, inner, text_limit);
    }
}

/* A sample of this type. The seed is not 0. */
static inline struct sample *sample_new (enum message_type type, enum sample_shape shape, uint64_t seed)
{
    struct sample *sample = calloc (1, sizeof *sample);
    if (!sample)
        abort ();
    sample->type = type;
    sample->seed = seed;
    const struct message_info *info = message_info (type);
    for (size_t index = 0; index < info->field_count; index++)
    {
        const struct field_info *field = &info->fields[index];
        void *value = (char *) &sample->fields + field->offset;
        switch (field->kind)
        {
        case FIELD_UINT:
            *(uint64_t *) value = sample_number (sample, shape, field->limit);
            break;
        case FIELD_BOOL:
            *(bool *) value = sample_number (sample, shape, 1) != 0;
            break;
        case FIELD_TEXT:
            *(struct slice *) value = sample_text (sample, shape, field->limit);
            break;
        case FIELD_HEADERS:
            sample_headers (sample, shape, field->limit, value);
            break;
        }
    }
    return sample;
}

static inline void sample_destroy (struct sample **sample_p)
{
    struct sample *sample = *sample_p;
    for (size_t index = 0; sample && index < sample->block_count; index++)
        free (sample->blocks[index]);
    free (sample);
    *sample_p = NULL;
}

static inline const void *field_value (const union message_fields *fields, const struct field_info *field)
{
    return (const char *) fields + field->offset;
}

static inline bool headers_equal (const struct headers *one, const struct headers *other)
{
    if (one->count != other->count)
        return false;
    for (size_t index = 0; index < one->count; index++)
        if (!slice_equal (one->at[index].name, other->at[index].name) ||
            !slice_equal (one->at[index].value, other->at[index].value))
            return false;
    return true;
}

static inline bool field_equal (const struct field_info *field, const void *one, const void *other)
{
    switch (field->kind)
    {
    case FIELD_UINT:
        return *(const uint64_t *) one == *(const uint64_t *) other;
    case FIELD_BOOL:
        return *(const bool *) one == *(const bool *) other;
    case FIELD_TEXT:
        return slice_equal (*(const struct slice *) one, *(const struct slice *) other);
    case FIELD_HEADERS:
        return headers_equal (one, other);
    }
    return false;
}

/* The first field in which two bodies differ; NULL when they are equal. */
static inline const struct field_info *fields_differ (enum message_type type, const union message_fields *one,
                                                      const union message_fields *other)
{
    const struct message_info *info = message_info (type);
    for (size_t index = 0; index < info->field_count; index++)
        if (!field_equal (&info->fields[index], field_value (one, &info->fields[index]),
                          field_value (other, &info->fields[index])))
            return &info->fields[index];
    return NULL;
}
