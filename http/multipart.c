/* multipart.c - see multipart.h.
 *
 * The delimiter begins with CR, which a boundary cannot contain: so when a partial match fails, a new one can begin
 * only with the byte at hand, and no other bytes need to be looked at again. The first delimiter of a body may lack its
 * CR LF, hence the parser begins as if it had just seen them.
 */
#include "http/multipart.h"

#include "http/characters.h"

enum state
{
    STATE_PREAMBLE,
    STATE_DELIMITER, /* a delimiter was seen: `--`, or padding and CR LF, must follow */
    STATE_HEAD,
    STATE_DATA,
    STATE_DONE,
    STATE_ERROR,
};

enum
{
    LINE_BREAK_BYTES = 2,
};

static enum multipart_event refuse (struct multipart *multipart, const char *why)
{
    multipart->state = STATE_ERROR;
    multipart->error_text = why;
    return MULTIPART_ERROR;
}

/* ---------------------------------------------------------------------------------------------------------- parameters
 */

/* The next `; name=value` of a header value: name as it stands, value unquoted into buffer. Returns 1, 0 at the end, -1
 * when it is malformed or too long. In quotes, a backslash escapes only a quote or itself: browsers send the path of a
 * file with bare backslashes. */
static int next_parameter (struct slice *text, struct slice *name, char *buffer, size_t size, size_t *length)
{
    *text = http_trim (*text);
    if (text->len == 0)
        return 0;
    if (text->at[0] != ';')
        return -1;
    *text = http_trim (slice_skip (*text, 1));
    if (text->len == 0)
        return 0;
    size_t at = 0;
    while (at < text->len && character_is (text->at[at], CHARACTER_TOKEN))
        at++;
    *name = slice_of (text->at, at);
    if (at == 0 || at == text->len || text->at[at] != '=')
        return -1;
    *text = slice_skip (*text, at + 1);
    bool quoted = text->len && text->at[0] == '"', closed = !quoted;
    *length = 0;
    for (at = quoted; at < text->len; at++)
    {
        char byte = text->at[at];
        if (quoted && byte == '"')
        {
            closed = true;
            at++;
            break;
        }
        if (!quoted && !character_is (byte, CHARACTER_TOKEN))
            break;
        if (quoted && byte == '\\' && at + 1 < text->len && (text->at[at + 1] == '"' || text->at[at + 1] == '\\'))
            byte = text->at[++at];
        if (*length == size)
            return -1;
        buffer[(*length)++] = byte;
    }
    *text = slice_skip (*text, at);
    return closed ? 1 : -1;
}

static bool boundary_is_valid (const char *at, size_t length)
{
    if (length == 0 || at[length - 1] == ' ')
        return false;
    for (size_t index = 0; index < length; index++)
        if (!character_is (at[index], CHARACTER_DIGIT) && !((at[index] | 0x20) >= 'a' && (at[index] | 0x20) <= 'z') &&
            !(at[index] && strchr ("'()+_,-./:=? ", at[index])))
            return false;
    return true;
}

bool multipart_start (struct multipart *multipart, struct slice content_type)
{
    static const struct slice form = {"multipart/form-data", 19};
    *multipart = (struct multipart){.state = STATE_PREAMBLE, .matched = LINE_BREAK_BYTES};
    content_type = http_trim (content_type);
    if (content_type.len < form.len || !slice_equal_nocase (slice_of (content_type.at, form.len), form))
        return false;
    struct slice text = slice_skip (content_type, form.len), name;
    char *boundary = multipart->delimiter + 4;
    size_t length = 0;
    memcpy (multipart->delimiter, "\r\n--", 4);
    while (next_parameter (&text, &name, boundary, MULTIPART_BOUNDARY_MAX, &length) == 1)
        if (slice_equal_nocase (name, SLICE ("boundary")))
        {
            multipart->delimiter_length = 4 + length;
            return boundary_is_valid (boundary, length);
        }
    return false;
}

/* ------------------------------------------------------------------------------------------------------- heads of
 * parts
 */

/* Percent escapes of a name in the form of RFC 8187: UTF-8'language'text. */
static bool decode_extended (char *bytes, size_t *length)
{
    static const struct slice charset = {"UTF-8'", 6};
    const char *quote;
    if (*length < charset.len || !slice_equal_nocase (slice_of (bytes, charset.len), charset) ||
        !(quote = memchr (bytes + charset.len, '\'', *length - charset.len)))
        return false;
    struct slice text = slice_skip (slice_of (bytes, *length), (size_t) (quote + 1 - bytes));
    *length = 0;
    for (size_t at = 0; at < text.len; at++)
    {
        char byte = text.at[at];
        if (byte == '%')
        {
            if (text.len - at < 3 || !character_is (text.at[at + 1], CHARACTER_HEX) ||
                !character_is (text.at[at + 2], CHARACTER_HEX))
                return false;
            byte = (char) (character_hex (text.at[at + 1]) << 4 | character_hex (text.at[at + 2]));
            at += 2;
        }
        bytes[(*length)++] = byte;
    }
    return true;
}

static bool keep (char *place, size_t size, const char *bytes, size_t length)
{
    if (length > size || memchr (bytes, '\0', length))
        return false;
    memcpy (place, bytes, length);
    place[length] = '\0';
    return true;
}

static const char *read_disposition (struct multipart *multipart, struct slice value)
{
    static const struct slice form_data = {"form-data", 9};
    char buffer[3 * MULTIPART_FILE_NAME_MAX];
    size_t length;
    struct slice name;
    bool extended = false, named = false;
    int result;
    if (value.len < form_data.len || !slice_equal_nocase (slice_of (value.at, form_data.len), form_data))
        return "a part that is not form-data";
    value = slice_skip (value, form_data.len);
    while ((result = next_parameter (&value, &name, buffer, sizeof buffer, &length)) == 1)
    {
        bool is_extended = slice_equal_nocase (name, SLICE ("filename*"));
        if (slice_equal_nocase (name, SLICE ("name")))
        {
            if (named || !keep (multipart->name, MULTIPART_NAME_MAX, buffer, length))
                return "a field name that is too long, or given twice";
            named = true;
        }
        else if (is_extended || (slice_equal_nocase (name, SLICE ("filename")) && !extended))
        {
            if ((is_extended && !decode_extended (buffer, &length)) ||
                !keep (multipart->file_name, MULTIPART_FILE_NAME_MAX, buffer, length))
                return "a file name that is too long or malformed";
            multipart->has_file_name = true;
            extended |= is_extended;
        }
    }
    return result < 0 ? "malformed Content-Disposition" : named ? NULL : "a part without a name";
}

/* Reads the head, whose lines all end in CR LF; the empty one at its end included. Returns NULL or what is wrong. */
static const char *read_head (struct multipart *multipart)
{
    struct slice head = slice_of (multipart->head, multipart->head_length);
    bool disposed = false;
    multipart->has_file_name = false;
    multipart->name[0] = multipart->file_name[0] = '\0';
    while (head.len > LINE_BREAK_BYTES)
    {
        const char *end = memmem (head.at, head.len, "\r\n", LINE_BREAK_BYTES);
        struct slice line = slice_of (head.at, (size_t) (end - head.at));
        head = slice_skip (head, line.len + LINE_BREAK_BYTES);
        const char *colon = memchr (line.at, ':', line.len);
        struct slice name = slice_of (line.at, colon ? (size_t) (colon - line.at) : 0);
        struct slice value = slice_skip (line, name.len + (colon != NULL));
        if (!http_is_token (name) || http_has_control (value))
            return "a malformed header line in a part";
        if (!slice_equal_nocase (name, SLICE ("Content-Disposition")))
            continue;
        if (disposed)
            return "two Content-Dispositions in a part";
        disposed = true;
        const char *wrong = read_disposition (multipart, http_trim (value));
        if (wrong)
            return wrong;
    }
    return disposed ? NULL : "a part without Content-Disposition";
}

/* Whether the head gathered so far is whole: it ends in an empty line, or is one. */
static bool head_is_whole (const struct multipart *multipart)
{
    size_t length = multipart->head_length;
    const char *end = multipart->head + length;
    return (length == 2 && memcmp (end - 2, "\r\n", 2) == 0) || (length >= 4 && memcmp (end - 4, "\r\n\r\n", 4) == 0);
}

static enum multipart_event take_head (struct multipart *multipart, struct slice *input)
{
    while (input->len)
    {
        if (multipart->head_length == sizeof multipart->head)
            return refuse (multipart, "the head of a part is too long");
        multipart->head[multipart->head_length++] = input->at[0];
        *input = slice_skip (*input, 1);
        if (!head_is_whole (multipart))
            continue;
        const char *wrong = read_head (multipart);
        if (wrong)
            return refuse (multipart, wrong);
        multipart->state = STATE_DATA;
        return MULTIPART_PART;
    }
    return MULTIPART_MORE;
}

/* ------------------------------------------------------------------------------------------------- delimiters and data
 */

/* Behind a delimiter: `--` ends the body; spaces and tabs, then CR LF, begin a part. */
static enum multipart_event take_after (struct multipart *multipart, struct slice *input)
{
    while (input->len)
    {
        char byte = input->at[0];
        *input = slice_skip (*input, 1);
        if (multipart->after_length == 0 && (byte == ' ' || byte == '\t'))
        {
            multipart->after[0] = ' '; /* padding: no `--` any more */
            continue;
        }
        bool padded = multipart->after[0] == ' ';
        if (multipart->after_length == 0 && (byte == '\r' || (byte == '-' && !padded)))
        {
            multipart->after[multipart->after_length++] = byte;
            continue;
        }
        if (multipart->after_length == 1 && multipart->after[0] == '-' && byte == '-')
        {
            multipart->state = STATE_DONE;
            return MULTIPART_DONE;
        }
        if (multipart->after_length != 1 || multipart->after[0] != '\r' || byte != '\n')
            return refuse (multipart, "a line that begins like a delimiter but is none");
        if (++multipart->parts > MULTIPART_PARTS_MAX)
            return refuse (multipart, "more than 64 parts");
        multipart->state = STATE_HEAD;
        multipart->head_length = 0;
        return MULTIPART_MORE;
    }
    return MULTIPART_MORE;
}

/* Bytes up to the next delimiter: true with data in *piece; false when the input is used up, or a delimiter was seen.
 */
static bool take_data (struct multipart *multipart, struct slice *input, struct slice *piece)
{
    while (input->len)
    {
        if (multipart->matched == 0)
        {
            const char *cr = memchr (input->at, '\r', input->len);
            size_t length = cr ? (size_t) (cr - input->at) : input->len;
            if (length)
            {
                *piece = slice_of (input->at, length);
                *input = slice_skip (*input, length);
                return true;
            }
        }
        if (input->at[0] == multipart->delimiter[multipart->matched])
        {
            *input = slice_skip (*input, 1);
            if (++multipart->matched < multipart->delimiter_length)
                continue;
            multipart->matched = 0;
            multipart->state = STATE_DELIMITER;
            multipart->after_length = 0;
            multipart->after[0] = '\0';
            return false;
        }
        *piece = slice_of (multipart->delimiter, multipart->matched);
        multipart->matched = 0;
        return true;
    }
    return false;
}

enum multipart_event multipart_next (struct multipart *multipart, struct slice *input, struct slice *piece)
{
    *piece = SLICE ("");
    for (;;)
    {
        enum multipart_event event = MULTIPART_MORE;
        switch ((enum state) multipart->state)
        {
        case STATE_PREAMBLE:
            while (multipart->state == STATE_PREAMBLE && take_data (multipart, input, piece))
                if ((multipart->preamble += piece->len) > MULTIPART_PREAMBLE_MAX)
                    return refuse (multipart, "no delimiter at the beginning");
            *piece = SLICE ("");
            break;
        case STATE_DELIMITER:
            event = take_after (multipart, input);
            break;
        case STATE_HEAD:
            event = take_head (multipart, input);
            break;
        case STATE_DATA:
            if (take_data (multipart, input, piece))
                return MULTIPART_DATA;
            break;
        case STATE_DONE:
            *input = slice_skip (*input, input->len);
            return MULTIPART_DONE;
        case STATE_ERROR:
            return MULTIPART_ERROR;
        }
        if (event != MULTIPART_MORE || input->len == 0)
            return event;
    }
}
