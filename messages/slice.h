/* slice.h - a borrowed run of bytes: pointer and length, no NUL assumed.
 *
 * Everything that comes from outside is handled as slices, so that no length is ever guessed from the content. A slice
 * owns nothing; the doc line of whoever hands it out says how long the bytes live.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct slice
{
    const char *at; /* may be NULL when len is 0 */
    size_t len;     /* bytes */
};

/* A slice of a string literal, without its NUL. */
#define SLICE(literal) ((struct slice){.at = (literal), .len = sizeof (literal) - 1})

static inline struct slice slice_of (const char *at, size_t len)
{
    return (struct slice){.at = at, .len = len};
}

/* A slice of a NUL-terminated string; NULL gives the empty slice. */
static inline struct slice slice_from (const char *text)
{
    return (struct slice){.at = text, .len = text ? strlen (text) : 0};
}

static inline bool slice_equal (struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp (a.at, b.at, a.len) == 0);
}

/* Equal without regard to ASCII case, as header names are compared (RFC 9110 section 5.1). */
static inline bool slice_equal_nocase (struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp (a.at, b.at, a.len) == 0);
}

static inline bool slice_starts_with (struct slice text, struct slice prefix)
{
    return text.len >= prefix.len && (prefix.len == 0 || memcmp (text.at, prefix.at, prefix.len) == 0);
}

/* The slice without its first n bytes; n is at most len. */
static inline struct slice slice_skip (struct slice text, size_t n)
{
    return (struct slice){.at = n ? text.at + n : text.at, .len = text.len - n};
}
