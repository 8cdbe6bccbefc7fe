/* chunked.h - the chunked transfer coding, decoded in place (RFC 9112 section 7.1).
 *
 * Private to http/. llhttp could decode it too, but does not let trailer lines, folded lines or the length of
 * extensions be seen byte by byte; this decoder takes a strict subset of what llhttp takes (a fuzz target holds both
 * against each other).
 */
#pragma once

#include "messages/slice.h"

#include <stdint.h>

enum
{
    HTTP_CHUNK_LINE_MAX = 1024,            /* bytes of a chunk-size line with its extensions, without CRLF */
    HTTP_CHUNK_EXTENSIONS_MAX = 16 * 1024, /* bytes of all extensions of one body: they are read but carry nothing */
    HTTP_TRAILERS_MAX = 16 * 1024,         /* bytes of the trailer section */
    HTTP_TRAILER_NAME_KEPT = 24, /* bytes of a trailer name that are remembered: the longest refused one fits */
};

struct http_chunked
{
    unsigned state;
    uint64_t left;          /* the size while it is read, then bytes of the chunk still to come */
    size_t line_bytes;      /* of this chunk-size line */
    size_t extension_bytes; /* of this body */
    size_t trailer_bytes;   /* of this body */
    size_t name_length;
    char name[HTTP_TRAILER_NAME_KEPT]; /* of this trailer line, lower case, cut off when longer */
};

/* Makes ready for the first chunk. */
void http_chunked_start (struct http_chunked *chunked);

/* Decodes bytes. On return *piece holds the decoded bytes, moved together within the given ones, and *used how many
 * bytes were consumed: all, unless the body ended. Returns NULL, or why the bytes are refused (static text). */
const char *http_chunked_decode (struct http_chunked *chunked, char *bytes, size_t length, struct slice *piece,
                                 size_t *used);

/* Whether the body has ended. */
bool http_chunked_done (const struct http_chunked *chunked);
