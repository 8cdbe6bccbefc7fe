/* utf8_text.h - a stream of bytes as text: what is UTF-8 passes, what is not is dropped, a character that is split over
 * two pieces is held back and joined (wire contract 5.6; RFC 3629).
 *
 * The result does not depend on how the bytes are split into pieces.
 */
#pragma once

#include "messages/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum
{
    UTF8_TEXT_HELD_MAX = 3, /* bytes of an incomplete character */
};

/* All zero is the beginning of a text. */
struct utf8_text
{
    char held[UTF8_TEXT_HELD_MAX + 1]; /* the beginning of a character */
    unsigned count;                    /* bytes of it */
};

/* Takes the next piece and writes whole characters to out, which has room for input.len + UTF8_TEXT_HELD_MAX bytes;
 * when out is NULL the bytes are only judged. Returns the bytes written, and adds to *dropped those that are no text.
 */
size_t utf8_text_filter (struct utf8_text *text, struct slice input, char *out, size_t *dropped);

/* Whether the text may end here: no character is incomplete. */
bool utf8_text_is_complete (const struct utf8_text *text);

/* The length, at most limit, at which text (whole characters only) can be cut in two without splitting a character. */
size_t utf8_text_cut (struct slice text, size_t limit);
