/* utf8_text.c - see utf8_text.h. */
#include "utf8_text.h"

#include "messages/utf8.h"

/* Whether bytes are the beginning of a character and not the whole of it. Between them, the lowest and the highest
 * continuation find a character for every beginning of one: E0 and F0 need a high one, ED and F4 a low one. */
static bool is_beginning (const char *bytes, size_t length)
{
    uint8_t lead = (uint8_t) bytes[0];
    size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (length >= size)
        return false;
    for (int high = 0; high < 2; high++)
    {
        char whole[4];
        uint32_t point;
        memset (whole, high ? 0xbf : 0x80, sizeof whole);
        memcpy (whole, bytes, length);
        if (utf8_read (slice_of (whole, size), &point) == size && point != UTF8_INVALID)
            return true;
    }
    return false;
}

static size_t put (char *out, size_t at, const char *bytes, size_t length)
{
    if (out)
        memcpy (out + at, bytes, length);
    return length;
}

/* Goes on with the held character, byte by byte, until it is whole or turns out to be none. */
static size_t complete_held (struct utf8_text *text, struct slice *input, char *out, size_t *dropped)
{
    while (text->count && input->len)
    {
        uint32_t point;
        text->held[text->count] = input->at[0];
        size_t length = text->count + 1;
        if (utf8_read (slice_of (text->held, length), &point) == length && point != UTF8_INVALID)
        {
            *input = slice_skip (*input, 1);
            text->count = 0;
            return put (out, 0, text->held, length);
        }
        if (!is_beginning (text->held, length))
        {
            /* The byte in hand is looked at anew: it may begin a character. */
            *dropped += text->count;
            text->count = 0;
            return 0;
        }
        text->count++;
        *input = slice_skip (*input, 1);
    }
    return 0;
}

static size_t ascii_length (struct slice text)
{
    size_t at = 0;
    for (uint64_t word; at + sizeof word <= text.len; at += sizeof word)
    {
        memcpy (&word, text.at + at, sizeof word);
        if (word & 0x8080808080808080u)
            break;
    }
    while (at < text.len && !(text.at[at] & 0x80))
        at++;
    return at;
}

size_t utf8_text_filter (struct utf8_text *text, struct slice input, char *out, size_t *dropped)
{
    size_t written = complete_held (text, &input, out, dropped);
    while (input.len)
    {
        size_t length = ascii_length (input);
        uint32_t point = 0;
        if (!length)
            length = utf8_read (input, &point);
        if (point != UTF8_INVALID)
            written += put (out, written, input.at, length);
        else if (input.len <= UTF8_TEXT_HELD_MAX && is_beginning (input.at, input.len))
        {
            memcpy (text->held, input.at, input.len);
            text->count = (unsigned) input.len;
            break;
        }
        else
            ++*dropped;
        input = slice_skip (input, length);
    }
    return written;
}

bool utf8_text_is_complete (const struct utf8_text *text)
{
    return text->count == 0;
}

size_t utf8_text_cut (struct slice text, size_t limit)
{
    if (limit >= text.len)
        return text.len;
    while (limit && (text.at[limit] & 0xc0) == 0x80)
        limit--;
    return limit;
}
