/* writer.h - HTTP/1.1 heads as bytes (RFC 9112). */
#pragma once

#include "messages/message.h"

/* A growing run of bytes in memory that the caller gave: never allocates, remembers an overflow. */
struct http_writer
{
    char *at;
    size_t length, capacity; /* bytes */
    bool overflow;           /* something did not fit; nothing was written since */
};

void http_write (struct http_writer *writer, struct slice bytes);
void http_write_number (struct http_writer *writer, uint64_t number);

/* `name: value` and CRLF. Name and value come from a checked head or from us; a CR, LF or NUL in them sets overflow. */
void http_write_field (struct http_writer *writer, struct slice name, struct slice value);

/* The fields of one message. */
void http_write_headers (struct http_writer *writer, struct headers headers);

/* `Content-Length` or `Transfer-Encoding: chunked`, as the framing asks for; nothing for the others. */
void http_write_framing (struct http_writer *writer, enum framing framing, uint64_t length);

/* Request line: method, target, HTTP/1.1. */
void http_write_request_line (struct http_writer *writer, struct slice method, struct slice target);

/* Status line; an empty reason is replaced by the standard one. */
void http_write_status_line (struct http_writer *writer, unsigned status, struct slice reason);

/* The empty line that ends a head. */
void http_write_end (struct http_writer *writer);

/* `size` in hexadecimal and CRLF, as a chunk begins (RFC 9112 section 7.1). out has room for 18 bytes. Returns the
 * length. */
size_t http_chunk_head (char out[18], size_t size);

/* Standard reason phrase (RFC 9110 section 15), "Unknown" for the rest. */
const char *http_reason (unsigned status);

/* An upper bound of the bytes that a head with these headers takes, start line included (its variable parts are given).
 */
size_t http_head_bound (struct slice first, struct slice second, struct headers headers);
