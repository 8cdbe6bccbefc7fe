/* json_text.h - strings of JSON, written one by one into a buffer: for answers that are too long to be held as a whole.
 */
#pragma once

#include "messages/slice.h"

enum
{
    JSON_TEXT_FACTOR = 6, /* a byte becomes at most so many */
};

/* Writes the text in quotes, escaped; bytes that are not UTF-8 become U+FFFD each, so that the JSON is valid whatever a
 * file is called. out has room for JSON_TEXT_FACTOR times the text, and 2 bytes. Returns how many were written. */
size_t json_text_write (char *out, struct slice text);
