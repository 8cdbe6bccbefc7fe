/* trace.c - see trace.h. */
#include "trace.h"

static int hex_digit (char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return -1;
}

bool trace_from_hex (struct slice hex, uint8_t trace[TRACE_BYTES])
{
    if (hex.len != (size_t) 2 * TRACE_BYTES)
        return false;
    for (size_t index = 0; index < TRACE_BYTES; index++)
    {
        int high = hex_digit (hex.at[2 * index]), low = hex_digit (hex.at[2 * index + 1]);
        if (high < 0 || low < 0)
            return false;
        trace[index] = (uint8_t) (high << 4 | low);
    }
    return true;
}

bool trace_from_parent (struct slice value, uint8_t trace[TRACE_BYTES])
{
    /* version "-" trace-id "-" parent-id "-" flags: 2, 32, 16 and 2 digits; later versions may append more. */
    static const uint8_t zero[TRACE_BYTES];
    if (value.len < 55 || value.at[2] != '-' || value.at[35] != '-' || value.at[52] != '-')
        return false;
    int high = hex_digit (value.at[0]), low = hex_digit (value.at[1]);
    if (high < 0 || low < 0 || (high == 15 && low == 15) || (high + low == 0 && value.len != 55))
        return false;
    uint8_t found[TRACE_BYTES];
    if (!trace_from_hex (slice_of (value.at + 3, (size_t) 2 * TRACE_BYTES), found) ||
        memcmp (found, zero, TRACE_BYTES) == 0)
        return false;
    memcpy (trace, found, TRACE_BYTES);
    return true;
}

void trace_to_hex (const uint8_t trace[TRACE_BYTES], char out[2 * TRACE_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t index = 0; index < TRACE_BYTES; index++)
    {
        out[2 * index] = digits[trace[index] >> 4];
        out[2 * index + 1] = digits[trace[index] & 15];
    }
}
