/* characters.c - classes of bytes in HTTP messages, and fast searches for bytes that must not be there.
 *
 * A search tests a word of eight bytes at once. The test may raise a false alarm, never miss; then the bytes of the
 * word are looked at one by one.
 */
#include "http/characters.h"

enum
{
    TOKEN = CHARACTER_TOKEN,
    HOST = CHARACTER_HOST,
    PORT_DIGITS_MAX = 5,
};

const uint8_t http_characters[256] = {
    ['0' ... '9'] = TOKEN | HOST | CHARACTER_DIGIT | CHARACTER_HEX,
    ['A' ... 'F'] = TOKEN | HOST | CHARACTER_HEX,
    ['a' ... 'f'] = TOKEN | HOST | CHARACTER_HEX,
    ['G' ... 'Z'] = TOKEN | HOST,
    ['g' ... 'z'] = TOKEN | HOST,
    ['-'] = TOKEN | HOST,
    ['.'] = TOKEN | HOST,
    ['_'] = TOKEN | HOST,
    ['~'] = TOKEN | HOST,
    ['!'] = TOKEN | HOST,
    ['$'] = TOKEN | HOST,
    ['&'] = TOKEN | HOST,
    ['\''] = TOKEN | HOST,
    ['*'] = TOKEN | HOST,
    ['+'] = TOKEN | HOST,
    ['('] = HOST,
    [')'] = HOST,
    [';'] = HOST,
    ['='] = HOST,
    ['#'] = TOKEN,
    ['%'] = TOKEN,
    ['^'] = TOKEN,
    ['`'] = TOKEN,
    ['|'] = TOKEN,
};

/* ------------------------------------------------------------------------------------------------- eight at a time */

#define EACH(byte) (UINT64_C (0x0101010101010101) * (byte))
#define TOP_BITS   EACH (0x80)

static uint64_t word_at (const char *at)
{
    uint64_t word;
    memcpy (&word, at, sizeof word);
    return word;
}

/* Not zero when a byte of the word is below limit (at most 0x80). */
static uint64_t word_below (uint64_t word, uint8_t limit)
{
    return (word - EACH (limit)) & ~word & TOP_BITS;
}

/* Not zero when a byte of the word is equal to the given one. */
static uint64_t word_has (uint64_t word, uint8_t byte)
{
    return word_below (word ^ EACH (byte), 1);
}

/* Runs `suspect` over the words, the last of which may overlap the one before; only if it raises an alarm, or where
 * there is no whole word, `bad` over the bytes. Both are inlined. */
static inline __attribute__ ((always_inline)) bool any_bad (struct slice text, uint64_t (*suspect) (uint64_t),
                                                            bool (*bad) (uint8_t))
{
    if (text.len >= sizeof (uint64_t))
    {
        uint64_t alarm = suspect (word_at (text.at + text.len - sizeof (uint64_t)));
        for (size_t at = 0; at + sizeof (uint64_t) < text.len; at += sizeof (uint64_t))
            alarm |= suspect (word_at (text.at + at));
        if (!alarm)
            return false;
    }
    for (size_t at = 0; at < text.len; at++)
        if (bad ((uint8_t) text.at[at]))
            return true;
    return false;
}

static inline uint64_t suspect_control (uint64_t word)
{
    return word_below (word, 0x20) | word_has (word, 0x7f);
}

static inline bool is_control (uint8_t byte)
{
    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

bool http_has_control (struct slice value)
{
    return any_bad (value, suspect_control, is_control);
}

static inline uint64_t suspect_break (uint64_t word)
{
    return word_below (word, '\r' + 1);
}

static inline bool is_break (uint8_t byte)
{
    return byte == '\r' || byte == '\n' || byte == 0;
}

bool http_has_break (struct slice text)
{
    return any_bad (text, suspect_break, is_break);
}

static inline uint64_t suspect_target (uint64_t word)
{
    return word_below (word, 0x21) | word_has (word, 0x7f) | word_has (word, '#') | (word & TOP_BITS);
}

static inline bool is_no_target (uint8_t byte)
{
    return byte < 0x21 || byte >= 0x7f || byte == '#';
}

bool http_is_target (struct slice text)
{
    return !any_bad (text, suspect_target, is_no_target);
}

/* ------------------------------------------------------------------------------------------------------- grammar */

bool http_all_are (struct slice text, unsigned class)
{
    for (size_t at = 0; at < text.len; at++)
        if (!character_is (text.at[at], class))
            return false;
    return true;
}

bool http_is_token (struct slice text)
{
    return text.len > 0 && http_all_are (text, CHARACTER_TOKEN);
}

/* The bytes that the host proper takes at the front of text; SIZE_MAX when it is malformed. */
static size_t host_length (struct slice text)
{
    size_t at = 0;
    if (text.len > 0 && text.at[0] == '[')
    {
        for (at = 1; at < text.len && text.at[at] != ']'; at++)
            if (!character_is (text.at[at], CHARACTER_HEX) && text.at[at] != ':' && text.at[at] != '.')
                return SIZE_MAX;
        return at < text.len && at > 2 ? at + 1 : SIZE_MAX; /* the shortest is [::] */
    }
    while (at < text.len && text.at[at] != ':')
        if (character_is (text.at[at], CHARACTER_HOST))
            at++;
        else if (text.at[at] == '%' && text.len - at > 2 && character_is (text.at[at + 1], CHARACTER_HEX) &&
                 character_is (text.at[at + 2], CHARACTER_HEX))
            at += 3;
        else
            return SIZE_MAX;
    return at;
}

bool http_host_is_valid (struct slice host)
{
    size_t length = host_length (host);
    if (length == SIZE_MAX)
        return false;
    if (length == host.len)
        return true;
    if (length == 0 || host.at[length] != ':')
        return false;
    struct slice port = slice_of (host.at + length + 1, host.len - length - 1);
    return port.len <= PORT_DIGITS_MAX && http_all_are (port, CHARACTER_DIGIT);
}

struct slice http_trim (struct slice text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
        text = slice_skip (text, 1);
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}
