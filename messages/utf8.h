/* utf8.h - reads one character of text that may not be UTF-8 at all (RFC 3629). */
#pragma once

#include "slice.h"

#include <stdint.h>

#define UTF8_INVALID UINT32_MAX

/* Reads the character that text, which is not empty, begins with. Returns its bytes; for what is no character *point is
 * UTF8_INVALID and 1 is returned. Overlong forms, surrogates and numbers above U+10FFFF are no characters. */
static inline size_t utf8_read (struct slice text, uint32_t *point)
{
    uint8_t lead = (uint8_t) text.at[0];
    *point = lead;
    if (lead < 0x80)
        return 1;
    *point = UTF8_INVALID;
    size_t size = lead >= 0xf0 && lead <= 0xf4  ? 4
                  : lead >= 0xe0 && lead < 0xf0 ? 3
                  : lead >= 0xc2 && lead < 0xe0 ? 2
                                                : 0;
    if (size == 0 || size > text.len)
        return 1;
    uint32_t value = lead & (0x7fu >> size);
    for (size_t index = 1; index < size; index++)
    {
        uint8_t byte = (uint8_t) text.at[index];
        if ((byte & 0xc0) != 0x80)
            return 1;
        value = value << 6 | (byte & 0x3f);
    }
    if ((size == 3 && value < 0x800) || (size == 4 && value < 0x10000) || (value >= 0xd800 && value < 0xe000) ||
        value > 0x10ffff)
        return 1;
    *point = value;
    return size;
}
