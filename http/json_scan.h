/* json_scan.h - JSON text in pieces, read strictly (RFC 8259), with events for what lies near its surface.
 *
 * The scanner keeps no text and allocates nothing: it knows where it is in the grammar, and stops at events. Events are
 * given for values and keys that lie within at most `watched` containers; what lies deeper is only checked. Text is
 * bytes: UTF-8 is not looked into, and surrogates without a partner are let pass, as the grammar does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum
{
    JSON_DEPTH_MAX = 256, /* containers within each other; Docker's lists have less than 10 */
};

enum json_event
{
    JSON_MORE,        /* all bytes were looked at */
    JSON_KEY_BEGIN,   /* the opening quote of a key was taken */
    JSON_KEY_END,     /* the closing quote of a key was taken */
    JSON_VALUE_BEGIN, /* the first byte of a value was taken */
    JSON_VALUE_END,   /* the last byte of a value was taken */
    JSON_BROKEN,      /* this is no JSON: `error` says why; the scanner is of no use any more */
};

/* All zero, but for watched, is a scanner before its first byte. */
struct json_scan
{
    unsigned watched;                      /* events for what lies within so many containers or fewer */
    unsigned level;                        /* of the last event: in how many containers the value or key lies */
    unsigned depth;                        /* containers that are open */
    uint64_t objects[JSON_DEPTH_MAX / 64]; /* for each open container, whether it is an object */
    const char *literal;                   /* what is still to come of true, false, null */
    uint8_t state;                         /* where it is in the grammar */
    uint8_t hexadecimal;                   /* digits still to come of \uXXXX */
    bool in_key;                           /* the string that is being read is a key */
    const char *error;                     /* what is wrong; lower case, static */
};

/* Reads on until the next event. *used is the number of bytes taken, those of the event included; the next call goes on
 * behind them. A number ends at the byte that follows it, which is not taken. */
enum json_event json_scan_next (struct json_scan *scan, const char *bytes, size_t length, size_t *used);

/* Whether the text may end here: one whole value was read (a number at the surface, which only the end ends, counts).
 */
bool json_scan_is_whole (const struct json_scan *scan);
