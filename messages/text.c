/* text.c - a message as one line for people: `method="GET" target="/info" length=0 headers=[host: "a", cookie: <9
 * bytes>]`.
 *
 *   UINT, BOOL   as they are: 17, true
 *   TEXT         in quotes
 *   HEADERS      [name: value, name: value]
 *   hidden       <N bytes> in place of the value; in a query within the quotes, /build?remote=<31 bytes>
 *
 * The bytes come from clients and end on somebody's terminal. So everything that is not a visible character is written
 * as \xNN, byte by byte: control characters (also the C1 ones, which UTF-8 terminals obey), bytes that are no UTF-8,
 * the invisible characters that reorder or join what is read, and the quote and backslash that our own form uses.
 *
 * A line is written in atoms (a character, an escape, a name, a number, a marker); where it must be cut, it is cut
 * between two of them and ends in "...".
 */
#include "message.h"
#include "redact.h"
#include "utf8.h"

#include <inttypes.h>
#include <stdio.h>

struct line
{
    char *at;
    size_t room; /* bytes without the NUL */
    size_t length;
    size_t safe; /* the longest length up to now that has room for the dots behind it */
    bool cut;
};

enum
{
    DOTS = 3,
};

static void line_atom (struct line *line, const char *bytes, size_t count)
{
    if (line->cut || count > line->room - line->length)
    {
        line->cut = true;
        return;
    }
    memcpy (line->at + line->length, bytes, count);
    line->length += count;
    if (line->length + DOTS <= line->room)
        line->safe = line->length;
}

static void line_add (struct line *line, const char *text)
{
    line_atom (line, text, strlen (text));
}

static void line_number (struct line *line, const char *before, uint64_t number, const char *after)
{
    char text[64];
    int length = snprintf (text, sizeof text, "%s%" PRIu64 "%s", before, number, after);
    line_atom (line, text, (size_t) length);
}

static void line_marker (struct line *line, size_t hidden)
{
    line_number (line, "<", hidden, " bytes>");
}

static size_t line_end (struct line *line)
{
    if (line->cut)
    {
        size_t dots = line->room - line->safe < DOTS ? line->room - line->safe : DOTS;
        memcpy (line->at + line->safe, "...", dots);
        line->length = line->safe + dots;
    }
    line->at[line->length] = '\0';
    return line->length;
}

/* -------------------------------------------------------------------------------------------------------- escaping */

/* Whether a character can be seen and is only what it looks like. */
static bool is_visible (uint32_t point)
{
    static const struct
    {
        uint32_t first, last;
    } invisible[] = {
        {0x00, 0x1f},       /* C0 controls */
        {0x7f, 0x9f},       /* DEL and C1 controls */
        {0xad, 0xad},       /* soft hyphen */
        {0x61c, 0x61c},     /* Arabic letter mark */
        {0x180b, 0x180e},   /* Mongolian separators */
        {0x200b, 0x200f},   /* zero width, direction marks */
        {0x2028, 0x202e},   /* line and paragraph separator, embeddings and overrides */
        {0x2060, 0x206f},   /* joiners, isolates, deprecated format characters */
        {0xfe00, 0xfe0f},   /* variation selectors */
        {0xfeff, 0xfeff},   /* byte order mark */
        {0xfff9, 0xfffb},   /* interlinear annotation */
        {0xe0000, 0xe0fff}, /* tags, more variation selectors */
    };
    if (point == '"' || point == '\\' || point == UTF8_INVALID)
        return false;
    if (point >= 0x20 && point < 0x7f)
        return true;
    for (size_t index = 0; index < sizeof invisible / sizeof *invisible; index++)
        if (point >= invisible[index].first && point <= invisible[index].last)
            return false;
    return true;
}

static void line_escape (struct line *line, struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t index = 0; index < bytes.len; index++)
    {
        uint8_t byte = (uint8_t) bytes.at[index];
        line_atom (line, (char[]){'\\', 'x', digits[byte >> 4], digits[byte & 15]}, 4);
    }
}

static void line_text (struct line *line, struct slice text)
{
    while (text.len && !line->cut)
    {
        uint32_t point;
        size_t size = utf8_read (text, &point);
        if (is_visible (point))
            line_atom (line, text.at, size);
        else
            line_escape (line, slice_of (text.at, size));
        text = slice_of (text.at + size, text.len - size);
    }
}

/* A header's name stands without quotes, so that whatever is not of a name (RFC 9110, token) is escaped. */
static void line_header_name (struct line *line, struct slice name)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t index = 0; index < name.len && !line->cut; index++)
        if (memchr (token, name.at[index], sizeof token - 1))
            line_atom (line, name.at + index, 1);
        else
            line_escape (line, slice_of (name.at + index, 1));
}

/* ---------------------------------------------------------------------------------------------------------- fields */

static void line_quoted (struct line *line, struct slice text)
{
    line_add (line, "\"");
    line_text (line, text);
    line_add (line, "\"");
}

static void line_target (struct line *line, struct slice target)
{
    line_add (line, "\"");
    for (struct target_walk walk = target_walk_of (target); !line->cut && target_walk_next (&walk);)
    {
        line_text (line, walk.shown);
        if (walk.hidden.at)
            line_marker (line, walk.hidden.len);
    }
    line_add (line, "\"");
}

static void line_headers (struct line *line, const struct headers *headers, bool secret)
{
    line_add (line, "[");
    for (size_t index = 0; index < headers->count && !line->cut; index++)
    {
        const struct header *header = &headers->at[index];
        line_add (line, index ? ", " : "");
        line_header_name (line, header->name);
        line_add (line, ": ");
        if (!secret && header_is_public (header->name))
            line_quoted (line, header->value);
        else
            line_marker (line, header->value.len);
    }
    line_add (line, "]");
}

static void line_field (struct line *line, const struct field_info *field, const void *value)
{
    bool secret = field->secrecy == FIELD_SECRET;
    switch (field->kind)
    {
    case FIELD_UINT:
        if (secret)
            line_add (line, "<number>");
        else
            line_number (line, "", *(const uint64_t *) value, "");
        break;
    case FIELD_BOOL:
        line_add (line, secret ? "<boolean>" : *(const bool *) value ? "true" : "false");
        break;
    case FIELD_TEXT:
        if (secret)
            line_marker (line, ((const struct slice *) value)->len);
        else if (field->secrecy == FIELD_QUERY)
            line_target (line, *(const struct slice *) value);
        else
            line_quoted (line, *(const struct slice *) value);
        break;
    case FIELD_HEADERS:
        line_headers (line, value, secret);
        break;
    }
}

size_t message_text (enum message_type type, const union message_fields *body, char *out, size_t size)
{
    if (size == 0)
        return 0;
    struct line line = {.at = out, .room = size - 1};
    const struct message_info *info = message_info (type);
    for (size_t index = 0; info && index < info->field_count && !line.cut; index++)
    {
        const struct field_info *field = &info->fields[index];
        line_add (&line, index ? " " : "");
        line_add (&line, field->name);
        line_add (&line, "=");
        line_field (&line, field, (const char *) body + field->offset);
    }
    return line_end (&line);
}
