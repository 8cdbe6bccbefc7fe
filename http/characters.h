/* characters.h - classes of bytes in HTTP messages, and fast searches for bytes that must not be there.
 *
 * Private to http/. The searches look at eight bytes at a time: on a usual head they are a small part of a microsecond.
 */
#pragma once

#include "messages/slice.h"

#include <stdint.h>

enum
{
    CHARACTER_TOKEN = 1, /* names and methods: tchar (RFC 9110 section 5.6.2) */
    CHARACTER_HOST =
        2, /* host names: reg-name (RFC 3986 section 3.2.2), but no `%` (see http_host_is_valid) and no comma */
    CHARACTER_DIGIT = 4,
    CHARACTER_HEX = 8,
};

extern const uint8_t http_characters[256];

static inline bool character_is (char byte, unsigned class)
{
    return http_characters[(uint8_t) byte] & class;
}

/* Value of a hexadecimal digit; the byte must be of CHARACTER_HEX. */
static inline unsigned character_hex (char digit)
{
    return digit <= '9' ? (unsigned) (digit - '0') : (unsigned) ((digit | 0x20) - 'a' + 10);
}

/* Whether all bytes are of the class; true for none. */
bool http_all_are (struct slice text, unsigned class);

/* A field name or a method: one or more token characters. */
bool http_is_token (struct slice text);

/* Whether a value has a control character other than TAB (RFC 9110 section 5.5). */
bool http_has_control (struct slice value);

/* Whether CR, LF or NUL are in it: what would break a head that we write. */
bool http_has_break (struct slice text);

/* Whether all bytes are visible ASCII, and none is `#`: what a request target may consist of. */
bool http_is_target (struct slice text);

/* `host[:port]` as in the Host field; the empty one is valid too (RFC 9112 section 3.2). */
bool http_host_is_valid (struct slice host);

/* The text without spaces and tabs at both ends. */
struct slice http_trim (struct slice text);
