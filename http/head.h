/* head.h - a whole head, split into its parts in one pass, and judged. Private to http/. */
#pragma once

#include "http/reader.h"

/* Splits the head that ends at bytes[length], empty lines before it included, into reader->head and the table. False
 * when it is refused. */
bool http_head_split (struct http_reader *reader, char *bytes, size_t length, struct header table[HTTP_HEADERS_MAX]);

/* Notes why a message is refused; a response is always refused with 502. Returns false, so that checks can end in it.
 */
bool http_reader_refuse (struct http_reader *reader, unsigned status, const char *text);
