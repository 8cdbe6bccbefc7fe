/* json_scan.c - see json_scan.h.
 *
 * One loop with one state per place in the grammar. Most bytes of Docker's lists are in strings, and those are skipped
 * eight at a time.
 */
#include "http/json_scan.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum state
{
    VALUE,          /* a value must come */
    VALUE_OR_CLOSE, /* after `[` */
    KEY,            /* after `,` in an object */
    KEY_OR_CLOSE,   /* after `{` */
    COLON,
    COMMA_OR_CLOSE, /* after a value in a container */
    STRING,
    ESCAPE,      /* after a backslash */
    HEXADECIMAL, /* within \uXXXX */
    LITERAL,     /* within true, false, null */
    MINUS,       /* a digit must come */
    ZERO,        /* a leading zero: no digit may come */
    INTEGER,
    POINT, /* a digit must come */
    FRACTION,
    EXPONENT,       /* a sign or a digit must come */
    EXPONENT_SIGN,  /* a digit must come */
    EXPONENT_DIGIT, /* digits may come */
    WHOLE,          /* only white space may come */
};

static inline bool is_space (char byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static inline bool is_digit (char byte)
{
    return byte >= '0' && byte <= '9';
}

static inline bool is_hexadecimal (char byte)
{
    return is_digit (byte) || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f');
}

/* Whether a byte ends a plain run within a string: a quote, a backslash or a control character. */
static inline bool is_special (char byte)
{
    return byte == '"' || byte == '\\' || (uint8_t) byte < ' ';
}

/* The first special byte of a string, or the end. */
static inline const char *skip_plain (const char *at, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8 ('"'), backslash = _mm_set1_epi8 ('\\'), control = _mm_set1_epi8 (' ' - 1);
    for (; end - at >= 16; at += 16)
    {
        __m128i bytes = _mm_loadu_si128 ((const __m128i *) (const void *) at);
        __m128i special = _mm_or_si128 (_mm_cmpeq_epi8 (bytes, quote), _mm_cmpeq_epi8 (bytes, backslash));
        special = _mm_or_si128 (special, _mm_cmpeq_epi8 (_mm_min_epu8 (bytes, control), bytes));
        int mask = _mm_movemask_epi8 (special);
        if (mask)
            return at + __builtin_ctz ((unsigned) mask);
    }
#endif
    while (at < end && !is_special (*at))
        at++;
    return at;
}

static inline bool in_object (const struct json_scan *scan)
{
    return scan->depth && scan->objects[(scan->depth - 1) / 64] >> (scan->depth - 1) % 64 & 1;
}

static enum json_event broken (struct json_scan *scan, const char *error)
{
    scan->error = error;
    return JSON_BROKEN;
}

static inline enum json_event event_at (struct json_scan *scan, enum json_event event, unsigned level)
{
    scan->level = level;
    return level <= scan->watched ? event : JSON_MORE;
}

static inline enum json_event value_ends (struct json_scan *scan)
{
    scan->state = scan->depth ? COMMA_OR_CLOSE : WHOLE;
    return event_at (scan, JSON_VALUE_END, scan->depth);
}

static enum json_event container_begins (struct json_scan *scan, bool object)
{
    if (scan->depth == JSON_DEPTH_MAX)
        return broken (scan, "nested too deeply");
    uint64_t bit = (uint64_t) 1 << scan->depth % 64, *word = &scan->objects[scan->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    scan->depth++;
    scan->state = object ? KEY_OR_CLOSE : VALUE_OR_CLOSE;
    return event_at (scan, JSON_VALUE_BEGIN, scan->depth - 1);
}

static enum json_event container_ends (struct json_scan *scan, bool object)
{
    if (object != in_object (scan))
        return broken (scan, "a bracket closes what another kind of bracket opened");
    scan->depth--;
    return value_ends (scan);
}

static inline enum json_event string_begins (struct json_scan *scan, bool key)
{
    scan->state = STRING;
    scan->in_key = key;
    return event_at (scan, key ? JSON_KEY_BEGIN : JSON_VALUE_BEGIN, scan->depth);
}

static inline enum json_event string_ends (struct json_scan *scan)
{
    if (!scan->in_key)
        return value_ends (scan);
    scan->state = COLON;
    return event_at (scan, JSON_KEY_END, scan->depth);
}

static enum json_event scalar_begins (struct json_scan *scan, char byte)
{
    scan->state = LITERAL;
    if (byte == 't')
        scan->literal = "rue";
    else if (byte == 'f')
        scan->literal = "alse";
    else if (byte == 'n')
        scan->literal = "ull";
    else if (byte == '-')
        scan->state = MINUS;
    else if (byte == '0')
        scan->state = ZERO;
    else if (is_digit (byte))
        scan->state = INTEGER;
    else
        return broken (scan, "a value was expected");
    return event_at (scan, JSON_VALUE_BEGIN, scan->depth);
}

static inline enum json_event value_begins (struct json_scan *scan, char byte)
{
    if (byte == '"')
        return string_begins (scan, false);
    if (byte == '{' || byte == '[')
        return container_begins (scan, byte == '{');
    return scalar_begins (scan, byte);
}

/* A byte where no string is being read. */
static inline enum json_event structure (struct json_scan *scan, char byte)
{
    switch (scan->state)
    {
    case VALUE_OR_CLOSE:
        return byte == ']' ? container_ends (scan, false) : value_begins (scan, byte);
    case VALUE:
        return value_begins (scan, byte);
    case KEY_OR_CLOSE:
        if (byte == '}')
            return container_ends (scan, true);
        return byte == '"' ? string_begins (scan, true) : broken (scan, "a key was expected");
    case KEY:
        return byte == '"' ? string_begins (scan, true) : broken (scan, "a key was expected");
    case COLON:
        scan->state = VALUE;
        return byte == ':' ? JSON_MORE : broken (scan, "a colon was expected");
    case COMMA_OR_CLOSE:
        if (byte == '}' || byte == ']')
            return container_ends (scan, byte == '}');
        scan->state = in_object (scan) ? KEY : VALUE;
        return byte == ',' ? JSON_MORE : broken (scan, "a comma or a closing bracket was expected");
    default:
        return broken (scan, "something follows the end");
    }
}

/* Bytes within a string, as far as they come. */
static inline enum json_event string (struct json_scan *scan, const char **at, const char *end)
{
    const char *stop = skip_plain (*at, end);
    *at = stop;
    if (stop == end)
        return JSON_MORE;
    *at = stop + 1;
    if (*stop == '"')
        return string_ends (scan);
    if (*stop != '\\')
        return broken (scan, "a control character in text");
    scan->state = ESCAPE;
    return JSON_MORE;
}

static enum json_event escape (struct json_scan *scan, char byte)
{
    scan->state = byte == 'u' ? HEXADECIMAL : STRING;
    scan->hexadecimal = 4;
    return byte && strchr ("\"\\/bfnrtu", byte) ? JSON_MORE : broken (scan, "an unknown escape in text");
}

static enum json_event hexadecimal (struct json_scan *scan, char byte)
{
    if (--scan->hexadecimal == 0)
        scan->state = STRING;
    return is_hexadecimal (byte) ? JSON_MORE : broken (scan, "an incomplete escape in text");
}

static enum json_event literal (struct json_scan *scan, char byte)
{
    if (byte != *scan->literal)
        return broken (scan, "a value was expected");
    return *++scan->literal ? JSON_MORE : value_ends (scan);
}

/* The state after one more byte of a number; WHOLE when the byte does not belong to it, VALUE when it is missing. */
static enum state number_next (enum state state, char byte)
{
    bool digit = is_digit (byte), power = (byte | 0x20) == 'e';
    switch (state)
    {
    case MINUS:
        return byte == '0' ? ZERO : digit ? INTEGER : VALUE;
    case ZERO:
        return byte == '.' ? POINT : power ? EXPONENT : digit ? VALUE : WHOLE;
    case INTEGER:
        return digit ? INTEGER : byte == '.' ? POINT : power ? EXPONENT : WHOLE;
    case POINT:
        return digit ? FRACTION : VALUE;
    case FRACTION:
        return digit ? FRACTION : power ? EXPONENT : WHOLE;
    case EXPONENT:
        return byte == '+' || byte == '-' ? EXPONENT_SIGN : digit ? EXPONENT_DIGIT : VALUE;
    case EXPONENT_SIGN:
        return digit ? EXPONENT_DIGIT : VALUE;
    default:
        return digit ? EXPONENT_DIGIT : WHOLE;
    }
}

static enum json_event number (struct json_scan *scan, const char **at, const char *end)
{
    for (; *at < end; ++*at)
    {
        enum state next = number_next ((enum state) scan->state, **at);
        if (next == WHOLE)
            return value_ends (scan);
        if (next == VALUE)
            return broken (scan, "a number that is none");
        scan->state = next;
    }
    return JSON_MORE;
}

enum json_event json_scan_next (struct json_scan *scan, const char *bytes, size_t length, size_t *used)
{
    const char *at = bytes, *end = bytes + length;
    enum json_event event = JSON_MORE;
    while (event == JSON_MORE && at < end)
        switch (scan->state)
        {
        case STRING:
            event = string (scan, &at, end);
            break;
        case ESCAPE:
            event = escape (scan, *at++);
            break;
        case HEXADECIMAL:
            event = hexadecimal (scan, *at++);
            break;
        case LITERAL:
            event = literal (scan, *at++);
            break;
        case MINUS:
        case ZERO:
        case INTEGER:
        case POINT:
        case FRACTION:
        case EXPONENT:
        case EXPONENT_SIGN:
        case EXPONENT_DIGIT:
            event = number (scan, &at, end);
            break;
        default:
            if (!is_space (*at))
                event = structure (scan, *at);
            at++;
        }
    *used = (size_t) (at - bytes);
    return event;
}

bool json_scan_is_whole (const struct json_scan *scan)
{
    switch (scan->state)
    {
    case WHOLE:
        return true;
    case ZERO:
    case INTEGER:
    case FRACTION:
    case EXPONENT_DIGIT:
        return scan->depth == 0;
    default:
        return false;
    }
}
