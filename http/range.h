/* range.h - byte ranges of a file (RFC 9110 section 14), and the multipart/byteranges form of several of them. */
#pragma once

#include "messages/slice.h"

#include <stdint.h>

enum
{
    HTTP_RANGES_MAX = 64,       /* ranges of one request; with more the whole file is sent (RFC 9110 section 14.2) */
    HTTP_RANGE_TEXT_BYTES = 72, /* `bytes FIRST-LAST/SIZE` with the largest numbers, and a NUL */
    HTTP_BOUNDARY_BYTES = 32,   /* characters of our boundaries */
    HTTP_PART_HEAD_BYTES = 256, /* what goes before a part, at most */
};

struct http_range
{
    uint64_t first, length; /* bytes */
};

enum http_range_result
{
    HTTP_RANGE_IGNORED,       /* send the whole file */
    HTTP_RANGE_PARTIAL,       /* 206 */
    HTTP_RANGE_UNSATISFIABLE, /* 416 */
};

/* Reads the value of Range for a file of so many bytes. Ranges are clipped to the file, those that begin behind its end
 * are dropped. Ignored are: another unit than bytes, more than HTTP_RANGES_MAX ranges, ranges that are together longer
 * than the file, and any range of an empty file. Not satisfiable are: malformed ones, and when none is left. *count is
 * 0 unless the result is HTTP_RANGE_PARTIAL. */
enum http_range_result http_range_read (struct slice value, uint64_t size, struct http_range ranges[HTTP_RANGES_MAX],
                                        size_t *count);

/* The value of Content-Range: `bytes 0-9/100`; with range NULL `bytes * /100` without the space. Returns its length. */
size_t http_range_write (const struct http_range *range, uint64_t size, char text[HTTP_RANGE_TEXT_BYTES]);

/* What goes before the bytes of a part, the line break behind the part before included (RFC 9110 section 14.6). type is
 * at most 64 bytes. Returns its length. */
size_t http_range_part_head (const struct http_range *range, uint64_t size, struct slice boundary, struct slice type,
                             char text[HTTP_PART_HEAD_BYTES]);

/* What goes behind the last part. Returns its length. */
size_t http_range_end (struct slice boundary, char text[HTTP_PART_HEAD_BYTES]);
