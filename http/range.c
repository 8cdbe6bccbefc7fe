/* range.c - see range.h. */
#include "http/range.h"

#include "http/characters.h"

#include <inttypes.h>
#include <stdio.h>

/* Takes digits from the front of the text. False when there are none; a number too large becomes UINT64_MAX. */
static bool take_number (struct slice *text, uint64_t *number)
{
    size_t digits = 0;
    *number = 0;
    for (; digits < text->len && character_is (text->at[digits], CHARACTER_DIGIT); digits++)
    {
        unsigned digit = (unsigned) (text->at[digits] - '0');
        if (*number > (UINT64_MAX - digit) / 10)
            *number = UINT64_MAX;
        else if (*number != UINT64_MAX)
            *number = *number * 10 + digit;
    }
    *text = slice_skip (*text, digits);
    return digits > 0;
}

enum element
{
    ELEMENT_RANGE,
    ELEMENT_BEHIND, /* begins behind the end of the file, or is empty */
    ELEMENT_WRONG,
};

static enum element read_element (struct slice text, uint64_t size, struct http_range *range)
{
    uint64_t first, last = UINT64_MAX;
    bool has_first = take_number (&text, &first);
    if (text.len == 0 || text.at[0] != '-')
        return ELEMENT_WRONG;
    text = slice_skip (text, 1);
    bool has_last = take_number (&text, &last);
    if (text.len || (!has_first && !has_last))
        return ELEMENT_WRONG;
    if (!has_first) /* the last so many bytes */
    {
        uint64_t length = last < size ? last : size;
        *range = (struct http_range){size - length, length};
        return length ? ELEMENT_RANGE : ELEMENT_BEHIND;
    }
    if (!has_last)
        last = UINT64_MAX;
    if (last < first)
        return ELEMENT_WRONG;
    if (first >= size)
        return ELEMENT_BEHIND;
    *range = (struct http_range){first, (last < size ? last + 1 : size) - first};
    return ELEMENT_RANGE;
}

/* No ranges after all. */
static enum http_range_result without (size_t *count, enum http_range_result result)
{
    *count = 0;
    return result;
}

enum http_range_result http_range_read (struct slice value, uint64_t size, struct http_range ranges[HTTP_RANGES_MAX],
                                        size_t *count)
{
    static const struct slice unit = {"bytes=", 6};
    *count = 0;
    if (size == 0 || value.len < unit.len || !slice_equal_nocase (slice_of (value.at, unit.len), unit))
        return HTTP_RANGE_IGNORED;
    uint64_t total = 0;
    size_t elements = 0;
    for (value = slice_skip (value, unit.len); value.len;)
    {
        const char *comma = memchr (value.at, ',', value.len);
        struct slice element = slice_of (value.at, comma ? (size_t) (comma - value.at) : value.len);
        value = slice_skip (value, element.len + (comma != NULL));
        element = http_trim (element);
        if (element.len == 0) /* legal in a list (RFC 9110 section 5.6.1) */
            continue;
        if (++elements > HTTP_RANGES_MAX)
            return without (count, HTTP_RANGE_IGNORED);
        enum element kind = read_element (element, size, &ranges[*count]);
        if (kind == ELEMENT_WRONG)
            return without (count, HTTP_RANGE_UNSATISFIABLE);
        if (kind == ELEMENT_RANGE)
            total += ranges[(*count)++].length; /* cannot wrap: 64 files of a file system's largest size do not */
    }
    if (*count == 0)
        return HTTP_RANGE_UNSATISFIABLE;
    return total > size ? without (count, HTTP_RANGE_IGNORED) : HTTP_RANGE_PARTIAL;
}

size_t http_range_write (const struct http_range *range, uint64_t size, char text[HTTP_RANGE_TEXT_BYTES])
{
    if (!range)
        return (size_t) snprintf (text, HTTP_RANGE_TEXT_BYTES, "bytes */%" PRIu64, size);
    return (size_t) snprintf (text, HTTP_RANGE_TEXT_BYTES, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range->first,
                              range->first + range->length - 1, size);
}

size_t http_range_part_head (const struct http_range *range, uint64_t size, struct slice boundary, struct slice type,
                             char text[HTTP_PART_HEAD_BYTES])
{
    char content_range[HTTP_RANGE_TEXT_BYTES];
    http_range_write (range, size, content_range);
    return (size_t) snprintf (text, HTTP_PART_HEAD_BYTES,
                              "\r\n--%.*s\r\nContent-Type: %.*s\r\nContent-Range: %s\r\n\r\n", (int) boundary.len,
                              boundary.at, (int) type.len, type.at, content_range);
}

size_t http_range_end (struct slice boundary, char text[HTTP_PART_HEAD_BYTES])
{
    return (size_t) snprintf (text, HTTP_PART_HEAD_BYTES, "\r\n--%.*s--\r\n", (int) boundary.len, boundary.at);
}
