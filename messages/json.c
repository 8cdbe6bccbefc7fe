/* json.c - a message as a JSON object for programs:
 * {"method":"GET","target":"/info","length":0,"headers":[["host","a"]]}.
 *
 *   UINT      number; a string of digits above 2^63 - 1, which JSON libraries and ours do not carry
 *   BOOL      true, false
 *   TEXT      string
 *   HEADERS   array of [name, value]
 *   hidden    "<N bytes>" in place of the value, in a target within it
 *
 * JSON is Unicode, HTTP is bytes. Text that is UTF-8 comes out exactly; in text that is not, the bytes that are no
 * characters are written as \xNN. Everything beyond ASCII is written as \uNNNN, so that a terminal that shows the
 * object is not at the mercy of what is in it.
 */
#include "message.h"
#include "redact.h"
#include "utf8.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_utf8 (struct slice text)
{
    while (text.len)
    {
        uint32_t point;
        text = slice_skip (text, utf8_read (text, &point));
        if (point == UTF8_INVALID)
            return false;
    }
    return true;
}

/* The functions below return a new reference, NULL when there is no memory; jansson takes NULL for an error wherever it
 * takes a value, so that one test at the end is enough. */

static json_t *json_of_text (struct slice text)
{
    if (is_utf8 (text))
        return json_stringn (text.at ? text.at : "", text.len);
    char *escaped = malloc (4 * text.len);
    if (!escaped)
        return NULL;
    static const char digits[] = "0123456789abcdef";
    size_t length = 0;
    while (text.len)
    {
        uint32_t point;
        size_t size = utf8_read (text, &point);
        uint8_t byte = (uint8_t) text.at[0];
        if (point == UTF8_INVALID)
            memcpy (escaped + length, (char[]){'\\', 'x', digits[byte >> 4], digits[byte & 15]}, 4);
        else
            memcpy (escaped + length, text.at, size);
        length += point == UTF8_INVALID ? 4 : size;
        text = slice_skip (text, size);
    }
    json_t *string = json_stringn (escaped, length);
    free (escaped);
    return string;
}

static json_t *json_of_target (struct slice target)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream (&text, &size);
    if (!stream)
        return NULL;
    for (struct target_walk walk = target_walk_of (target); target_walk_next (&walk);)
    {
        fwrite (walk.shown.at, 1, walk.shown.len, stream);
        if (walk.hidden.at)
            fprintf (stream, "<%zu bytes>", walk.hidden.len);
    }
    bool whole = !ferror (stream);
    whole = fclose (stream) == 0 && whole;
    json_t *string = whole ? json_of_text (slice_of (text, size)) : NULL;
    free (text);
    return string;
}

static json_t *json_of_marker (size_t hidden)
{
    return json_sprintf ("<%zu bytes>", hidden);
}

static json_t *json_of_uint (uint64_t number)
{
    return number <= INT64_MAX ? json_integer ((json_int_t) number) : json_sprintf ("%" PRIu64, number);
}

static json_t *json_of_headers (const struct headers *headers, bool secret)
{
    json_t *array = json_array ();
    for (size_t index = 0; array && index < headers->count; index++)
    {
        const struct header *header = &headers->at[index];
        bool shown = !secret && header_is_public (header->name);
        json_t *pair = json_array ();
        bool whole = pair && json_array_append_new (pair, json_of_text (header->name)) == 0 &&
                     json_array_append_new (pair, shown ? json_of_text (header->value)
                                                        : json_of_marker (header->value.len)) == 0 &&
                     json_array_append (array, pair) == 0;
        json_decref (pair);
        if (!whole)
        {
            json_decref (array);
            array = NULL;
        }
    }
    return array;
}

static json_t *json_of_field (const struct field_info *field, const void *value)
{
    bool secret = field->secrecy == FIELD_SECRET;
    switch (field->kind)
    {
    case FIELD_UINT:
        return secret ? json_string ("<number>") : json_of_uint (*(const uint64_t *) value);
    case FIELD_BOOL:
        return secret ? json_string ("<boolean>") : json_boolean (*(const bool *) value);
    case FIELD_TEXT:
        if (secret)
            return json_of_marker (((const struct slice *) value)->len);
        if (field->secrecy == FIELD_QUERY)
            return json_of_target (*(const struct slice *) value);
        return json_of_text (*(const struct slice *) value);
    case FIELD_HEADERS:
        return json_of_headers (value, secret);
    }
    return NULL;
}

char *message_json (enum message_type type, const union message_fields *body)
{
    json_t *object = json_object ();
    const struct message_info *info = message_info (type);
    for (size_t index = 0; object && info && index < info->field_count; index++)
    {
        const struct field_info *field = &info->fields[index];
        if (json_object_set_new (object, field->name, json_of_field (field, (const char *) body + field->offset)) < 0)
        {
            json_decref (object);
            object = NULL;
        }
    }
    char *text = object ? json_dumps (object, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref (object);
    return text;
}
