/* json_text.c - see json_text.h (RFC 8259 section 7). */
#include "http/json_text.h"

#include "messages/utf8.h"

static size_t write_escape (char *out, char byte)
{
    static const char digits[] = "0123456789abcdef";
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* what is escaped by a letter, and which */
    out[0] = '\\';
    for (const char *pair = letters; *pair; pair += 2)
        if (*pair == byte)
        {
            out[1] = pair[1];
            return 2;
        }
    out[1] = 'u';
    out[2] = out[3] = '0';
    out[4] = digits[(uint8_t) byte >> 4];
    out[5] = digits[byte & 15];
    return 6;
}

size_t json_text_write (char *out, struct slice text)
{
    char *at = out;
    *at++ = '"';
    while (text.len)
    {
        uint32_t point;
        size_t size = utf8_read (text, &point);
        if (point == UTF8_INVALID)
        {
            memcpy (at, "\xef\xbf\xbd", 3); /* NOLINT(bugprone-not-null-terminated-result): a run of bytes */
            at += 3;
        }
        else if (point < 0x20 || point == '"' || point == '\\' || point == 0x7f)
            at += write_escape (at, text.at[0]);
        else
        {
            memcpy (at, text.at, size);
            at += size;
        }
        text = slice_skip (text, size);
    }
    *at++ = '"';
    return (size_t) (at - out);
}
