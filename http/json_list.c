/* json_list.c - see json_list.h.
 *
 * The scanner says where keys and values at the surface begin and end. An element is copied while it is scanned, in
 * runs as long as the piece allows, so that it lies in one run when it is whole; keys at the surface of a volume list,
 * warnings and the engine's message are copied the same way, one thing at a time.
 */
#include "http/json_list.h"

#include "http/json_scan.h"
#include "messages/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum
{
    ERROR_BYTES = 200,
    TEXT_KEPT = 64 * 1024, /* bytes of memory that are kept from one element to the next */
};

enum field
{
    FIELD_OTHER,
    FIELD_VOLUMES,
    FIELD_WARNINGS,
    FIELD_MESSAGE,
};

struct bytes
{
    char *at;
    size_t length, capacity;
};

struct json_list
{
    struct json_scan scan;
    enum json_list_kind kind;
    enum field field;        /* at the surface of an object: what the value in hand is */
    unsigned level;          /* in how many containers the elements lie; 0: not within the list */
    struct bytes text;       /* what is being copied: an element, a key, a warning or a message */
    bool copying;            /* every byte goes to text */
    bool replacing;          /* the value in hand is that of a field Portainer */
    bool decorated;          /* the element has its field */
    bool has_fields;         /* the element has any field */
    size_t copied;           /* bytes of the piece that are in text, or that nobody wants */
    size_t key_at;           /* in text: where the key begins (it may not be there yet) */
    size_t value_at;         /* in text: where the value to replace begins */
    uint64_t before;         /* bytes of all pieces before this one */
    struct bytes warnings;   /* JSON strings with commas between them */
    struct bytes value;      /* {"Agent":{"NodeName":"..."}} */
    char error[ERROR_BYTES]; /* empty: none */
};

static const struct slice s_portainer = SLICE ("Portainer");

/* ------------------------------------------------------------------------------------------------------- bytes */

static void bytes_add (struct bytes *bytes, const char *at, size_t length)
{
    if (length == 0)
        return;
    if (bytes->capacity - bytes->length < length)
    {
        size_t capacity = bytes->capacity ? 2 * bytes->capacity : 512;
        while (capacity - bytes->length < length)
            capacity *= 2;
        char *larger = realloc (bytes->at, capacity);
        if (!larger)
            abort ();
        bytes->at = larger;
        bytes->capacity = capacity;
    }
    memcpy (bytes->at + bytes->length, at, length);
    bytes->length += length;
}

static void bytes_add_slice (struct bytes *bytes, struct slice slice)
{
    bytes_add (bytes, slice.at, slice.len);
}

static void bytes_free (struct bytes *bytes)
{
    free (bytes->at);
    *bytes = (struct bytes){0};
}

/* Adds text as the inside of a JSON string. */
static void add_escaped (struct bytes *bytes, struct slice text)
{
    while (text.len)
    {
        uint32_t point;
        size_t size = utf8_read (text, &point);
        char escape[8];
        if (point == UTF8_INVALID)
            bytes_add_slice (bytes, SLICE ("\\ufffd"));
        else if (point < ' ' || point == '"' || point == '\\')
            bytes_add (bytes, escape, (size_t) snprintf (escape, sizeof escape, "\\u%04x", (unsigned) point));
        else
            bytes_add (bytes, text.at, size);
        text = slice_skip (text, size);
    }
}

/* ------------------------------------------------------------------------------------------------------- errors */

/* Notes the error, printable as it may go to logs and heads. Returns false, so that checks can end in it. */
static bool refuse (struct json_list *list, const char *format, ...) __attribute__ ((format (printf, 2, 3)));
static bool refuse (struct json_list *list, const char *format, ...)
{
    va_list arguments;
    va_start (arguments, format);
    vsnprintf (list->error, sizeof list->error, format, arguments);
    va_end (arguments);
    for (char *at = list->error; *at; at++)
        if (*at < ' ' || *at > '~')
            *at = '?';
    return false;
}

/* ------------------------------------------------------------------------------------------------------- copying */

/* Begins to copy at this place of the piece. */
static void copy_from (struct json_list *list, size_t at)
{
    if (list->text.capacity > TEXT_KEPT)
        bytes_free (&list->text);
    list->text.length = 0;
    list->copying = true;
    list->copied = at;
}

/* Copies what comes before this place of the piece. */
static bool copy_to (struct json_list *list, struct slice piece, size_t at)
{
    if (list->text.length + (at - list->copied) > JSON_LIST_ELEMENT_MAX)
        return refuse (list, "an element is longer than %d bytes", JSON_LIST_ELEMENT_MAX);
    bytes_add (&list->text, piece.at + list->copied, at - list->copied);
    list->copied = at;
    return true;
}

/* Where in text a place of the piece will be. */
static size_t place_in_text (const struct json_list *list, size_t at)
{
    return list->text.length + (at - list->copied);
}

/* ------------------------------------------------------------------------------------------------------- keys */

/* The character that an escape stands for, as far as it is ASCII; *size is the escape's length. 0 for any other. */
static char escaped_character (const char *at, size_t *size)
{
    static const char names[] = "\"\\/bfnrt", characters[] = "\"\\/\b\f\n\r\t";
    *size = at[1] == 'u' ? 6 : 2;
    if (at[1] != 'u')
        return characters[strchr (names, at[1]) - names];
    char digits[5] = {at[2], at[3], at[4], at[5], 0};
    unsigned long point = strtoul (digits, NULL, 16);
    return (char) (point < 0x80 ? point : 0);
}

/* Whether a key, between its quotes and checked by the scanner, is this name. */
static bool key_is (struct slice key, struct slice name)
{
    if (slice_equal (key, name))
        return true;
    if (key.len < name.len || key.len > 6 * name.len || !memchr (key.at, '\\', key.len))
        return false;
    for (size_t index = 0; index < name.len; index++)
    {
        if (key.len == 0)
            return false;
        size_t size = 1;
        char character = key.at[0];
        if (character == '\\')
            character = escaped_character (key.at, &size);
        if (character != name.at[index])
            return false;
        key = slice_skip (key, size);
    }
    return key.len == 0;
}

/* The key that ends with the quote before this place. */
static bool key_in_hand (struct json_list *list, struct slice piece, size_t at, struct slice *key)
{
    size_t length = place_in_text (list, at) - 1 - list->key_at;
    bool in_piece = list->key_at >= list->text.length;
    if (!in_piece && !copy_to (list, piece, at))
        return false;
    *key = slice_of (in_piece ? piece.at + at - 1 - length : list->text.at + list->key_at, length);
    return true;
}

/* ------------------------------------------------------------------------------------------------------- elements */

static bool element_begins (struct json_list *list, struct slice piece, size_t at)
{
    if (piece.at[at - 1] != '{')
        return refuse (list, "an element of the list is not an object");
    copy_from (list, at - 1);
    list->decorated = list->has_fields = list->replacing = false;
    return true;
}

static bool element_key (struct json_list *list, struct slice piece, size_t at)
{
    struct slice key;
    list->has_fields = true;
    if (!key_in_hand (list, piece, at, &key))
        return false;
    list->replacing = key_is (key, s_portainer);
    return true;
}

static bool replaced_begins (struct json_list *list, struct slice piece, size_t at)
{
    if (!copy_to (list, piece, at - 1))
        return false;
    list->value_at = list->text.length;
    return true;
}

static bool replaced_ends (struct json_list *list, struct slice piece, size_t at)
{
    if (!copy_to (list, piece, at))
        return false;
    list->text.length = list->value_at;
    bytes_add_slice (&list->text, slice_of (list->value.at, list->value.length));
    list->replacing = false;
    list->decorated = true;
    return true;
}

static bool element_ends (struct json_list *list, struct slice piece, size_t at)
{
    if (!copy_to (list, piece, at))
        return false;
    list->copying = false;
    if (list->decorated)
        return true;
    list->text.length--; /* the closing bracket */
    bytes_add_slice (&list->text, list->has_fields ? SLICE (",\"Portainer\":") : SLICE ("\"Portainer\":"));
    bytes_add_slice (&list->text, slice_of (list->value.at, list->value.length));
    bytes_add_slice (&list->text, SLICE ("}"));
    return true;
}

/* ------------------------------------------------------------------------------------------------------- around them
 */

static bool top_begins (struct json_list *list, char first)
{
    if (list->kind == JSON_LIST_ARRAY && first == '[')
        list->level = 1;
    else if (first != '{')
        return refuse (list, "the answer is not %s", list->kind == JSON_LIST_ARRAY ? "a list" : "an object");
    return true;
}

static bool top_key (struct json_list *list, struct slice piece, size_t at)
{
    struct slice key;
    if (!key_in_hand (list, piece, at, &key))
        return false;
    list->copying = false;
    list->field = key_is (key, SLICE ("message")) ? FIELD_MESSAGE : FIELD_OTHER;
    if (list->kind == JSON_LIST_VOLUMES && list->field == FIELD_OTHER)
        list->field = key_is (key, SLICE ("Volumes"))    ? FIELD_VOLUMES
                      : key_is (key, SLICE ("Warnings")) ? FIELD_WARNINGS
                                                         : FIELD_OTHER;
    return true;
}

static bool field_begins (struct json_list *list, char first, size_t at)
{
    if (list->field == FIELD_OTHER || first == 'n')
        return true;
    if (list->field == FIELD_MESSAGE)
        copy_from (list, at - 1);
    else if (first != '[')
        return refuse (list, "%s is not a list", list->field == FIELD_VOLUMES ? "Volumes" : "Warnings");
    else if (list->field == FIELD_VOLUMES)
        list->level = 2;
    return true;
}

static bool field_ends (struct json_list *list, struct slice piece, size_t at)
{
    list->level = 0;
    if (list->field != FIELD_MESSAGE || !list->copying)
        return true;
    if (!copy_to (list, piece, at))
        return false;
    return refuse (list, "the engine says: %.*s", (int) list->text.length, list->text.at);
}

static bool warning_ends (struct json_list *list, struct slice piece, size_t at)
{
    if (!copy_to (list, piece, at))
        return false;
    list->copying = false;
    if (list->warnings.length + list->text.length + 1 > JSON_LIST_WARNINGS_MAX)
        return refuse (list, "its warnings are longer than %d bytes", JSON_LIST_WARNINGS_MAX);
    if (list->warnings.length)
        bytes_add_slice (&list->warnings, SLICE (","));
    bytes_add_slice (&list->warnings, slice_of (list->text.at, list->text.length));
    return true;
}

/* ------------------------------------------------------------------------------------------------------- events
 */

static bool on_key_begin (struct json_list *list, size_t at)
{
    if (!list->level && list->scan.level == 1)
        copy_from (list, at);
    list->key_at = place_in_text (list, at);
    return true;
}

static bool on_key_end (struct json_list *list, struct slice piece, size_t at)
{
    unsigned level = list->scan.level;
    if (list->level)
        return level == list->level + 1 ? element_key (list, piece, at) : true;
    return level == 1 ? top_key (list, piece, at) : true;
}

static bool on_value_begin (struct json_list *list, struct slice piece, size_t at)
{
    unsigned level = list->scan.level;
    char first = piece.at[at - 1];
    if (list->level && level == list->level)
        return element_begins (list, piece, at);
    if (list->level)
        return list->replacing ? replaced_begins (list, piece, at) : true;
    if (level == 0)
        return top_begins (list, first);
    if (level == 1)
        return field_begins (list, first, at);
    if (list->field == FIELD_WARNINGS)
    {
        if (first != '"')
            return refuse (list, "a warning is not text");
        copy_from (list, at - 1);
    }
    return true;
}

static bool on_value_end (struct json_list *list, struct slice piece, size_t at, bool *whole)
{
    unsigned level = list->scan.level;
    *whole = list->level && level == list->level;
    if (*whole)
        return element_ends (list, piece, at);
    if (list->level && level > list->level)
        return list->replacing ? replaced_ends (list, piece, at) : true;
    if (level == 1)
        return field_ends (list, piece, at);
    if (level == 0 && list->kind == JSON_LIST_ARRAY && !list->level)
        return refuse (list, "the answer is an object, not a list");
    if (level == 2 && list->field == FIELD_WARNINGS)
        return warning_ends (list, piece, at);
    return true;
}

enum json_list_result json_list_feed (struct json_list *list, struct slice bytes, size_t *used)
{
    size_t at = 0;
    list->copied = 0;
    for (;;)
    {
        size_t step;
        bool good = true, whole = false;
        enum json_event event = json_scan_next (&list->scan, bytes.at + at, bytes.len - at, &step);
        at += step;
        switch (event)
        {
        case JSON_MORE:
            good = !list->copying || copy_to (list, bytes, at);
            break;
        case JSON_KEY_BEGIN:
            good = on_key_begin (list, at);
            break;
        case JSON_KEY_END:
            good = on_key_end (list, bytes, at);
            break;
        case JSON_VALUE_BEGIN:
            good = on_value_begin (list, bytes, at);
            break;
        case JSON_VALUE_END:
            good = on_value_end (list, bytes, at, &whole);
            break;
        case JSON_BROKEN:
            good =
                refuse (list, "broken JSON at byte %llu: %s", (unsigned long long) list->before + at, list->scan.error);
            break;
        }
        if (good && event != JSON_MORE && !whole)
            continue;
        *used = at;
        list->before += at;
        return !good ? JSON_LIST_ERROR : whole ? JSON_LIST_ELEMENT : JSON_LIST_MORE;
    }
}

enum json_list_result json_list_end (struct json_list *list)
{
    if (list->before == 0)
        refuse (list, "the answer is empty");
    else if (!json_scan_is_whole (&list->scan))
        refuse (list, "the answer ends in the middle, after %llu bytes", (unsigned long long) list->before);
    return list->error[0] ? JSON_LIST_ERROR : JSON_LIST_MORE;
}

struct slice json_list_text (const struct json_list *list)
{
    return list->error[0] ? slice_from (list->error) : slice_of (list->text.at, list->text.length);
}

struct slice json_list_warnings (const struct json_list *list)
{
    return slice_of (list->warnings.at, list->warnings.length);
}

size_t json_list_held (const struct json_list *list)
{
    return list->text.capacity + list->warnings.capacity;
}

struct json_list *json_list_new (enum json_list_kind kind, struct slice node_name)
{
    struct json_list *list = calloc (1, sizeof *list);
    if (!list)
        abort ();
    list->kind = kind;
    list->scan.watched = kind == JSON_LIST_ARRAY ? 2 : 3;
    bytes_add_slice (&list->value, SLICE ("{\"Agent\":{\"NodeName\":\""));
    add_escaped (&list->value, node_name);
    bytes_add_slice (&list->value, SLICE ("\"}}"));
    return list;
}

void json_list_destroy (struct json_list **list_p)
{
    struct json_list *list = *list_p;
    if (!list)
        return;
    bytes_free (&list->text);
    bytes_free (&list->warnings);
    bytes_free (&list->value);
    free (list);
    *list_p = NULL;
}
