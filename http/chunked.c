/* chunked.c - the chunked transfer coding, decoded in place.
 *
 *   SIZE ──▶ [EXTENSION] ──CR LF──▶ DATA ──▶ CR LF ──▶ SIZE        chunk
 *                             └─(size 0)──▶ TRAILER_START          last chunk
 *   TRAILER_START ──▶ NAME ──:──▶ VALUE ──CR LF──▶ TRAILER_START   trailer line, checked and dropped
 *   TRAILER_START ──CR LF──▶ DONE
 *
 * Every line ends in CR LF, nothing else; there is no white space around the size; a trailer line cannot be folded.
 */
#include "http/chunked.h"

#include "http/characters.h"

#include <ctype.h>

enum state
{
    SIZE_START, /* no digit yet */
    SIZE,
    EXTENSION, /* after the semicolon */
    EXTENSION_NAME,
    EXTENSION_VALUE, /* after the equals sign */
    EXTENSION_TOKEN,
    EXTENSION_QUOTED,
    EXTENSION_QUOTED_END,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    NAME,
    VALUE,
    VALUE_LF,
    LAST_LF,
    DONE,
    BAD,
};

/* Trailer fields that would change where the message ends or where it goes, were they taken for header fields. Names
 * that begin with the agent's prefix are refused too. */
static const struct slice refused_trailers[] = {
    {"content-length", 14},
    {"transfer-encoding", 17},
    {"host", 4},
    {"connection", 10},
    {"upgrade", 7},
    {"te", 2},
    {"trailer", 7},
    {"keep-alive", 10},
    {"expect", 6},
    {"proxy-connection", 16},
};

void http_chunked_start (struct http_chunked *chunked)
{
    chunked->state = SIZE_START;
    chunked->left = 0;
    chunked->line_bytes = chunked->extension_bytes = chunked->trailer_bytes = chunked->name_length = 0;
}

bool http_chunked_done (const struct http_chunked *chunked)
{
    return chunked->state == DONE;
}

static const char *on_size (struct http_chunked *chunked, char byte)
{
    if (character_is (byte, CHARACTER_HEX))
    {
        if (chunked->left > INT64_MAX >> 4)
            return "chunk size too large";
        chunked->left = chunked->left << 4 | character_hex (byte);
        chunked->state = SIZE;
    }
    else if (chunked->state == SIZE && (byte == '\r' || byte == ';'))
        chunked->state = byte == '\r' ? SIZE_LF : EXTENSION;
    else
        return "malformed chunk size";
    return ++chunked->line_bytes > HTTP_CHUNK_LINE_MAX ? "chunk line too long" : NULL;
}

/* The state that a byte of an extension leads to, or BAD. Less is taken than the grammar has, because llhttp takes no
 * more: no white space, no backslash in quotes, nothing after a value that is not in quotes. */
static enum state extension_next (enum state state, char byte)
{
    bool token = character_is (byte, CHARACTER_TOKEN), control = http_has_control (slice_of (&byte, 1));
    switch (state)
    {
    case EXTENSION:
        return token ? EXTENSION_NAME : BAD;
    case EXTENSION_NAME:
        return token ? EXTENSION_NAME : byte == '=' ? EXTENSION_VALUE : byte == ';' ? EXTENSION : BAD;
    case EXTENSION_VALUE:
        return token ? EXTENSION_TOKEN : byte == '"' ? EXTENSION_QUOTED : BAD;
    case EXTENSION_TOKEN:
        return token ? EXTENSION_TOKEN : BAD;
    case EXTENSION_QUOTED:
        return control || byte == '\\' ? BAD : byte == '"' ? EXTENSION_QUOTED_END : EXTENSION_QUOTED;
    default:
        return byte == ';' ? EXTENSION : BAD;
    }
}

static const char *on_extension (struct http_chunked *chunked, char byte)
{
    if (byte == '\r' && (chunked->state == EXTENSION_NAME || chunked->state == EXTENSION_TOKEN ||
                         chunked->state == EXTENSION_QUOTED_END))
    {
        chunked->state = SIZE_LF;
        return NULL;
    }
    chunked->state = extension_next (chunked->state, byte);
    if (chunked->state == BAD)
        return "malformed chunk extension";
    if (++chunked->line_bytes > HTTP_CHUNK_LINE_MAX || ++chunked->extension_bytes > HTTP_CHUNK_EXTENSIONS_MAX)
        return "chunk extensions too long";
    return NULL;
}

static const char *on_size_end (struct http_chunked *chunked, char byte)
{
    if (byte != '\n')
        return "chunk size line not ended by CRLF";
    chunked->state = chunked->left > 0 ? DATA : TRAILER_START;
    chunked->line_bytes = 0;
    return NULL;
}

static const char *on_name_end (struct http_chunked *chunked)
{
    struct slice name = slice_of (chunked->name, chunked->name_length);
    if (slice_starts_with (name, SLICE ("x-portaineragent-")))
        return "forbidden trailer field";
    for (size_t at = 0; at < sizeof refused_trailers / sizeof refused_trailers[0]; at++)
        if (slice_equal (name, refused_trailers[at]))
            return "forbidden trailer field";
    chunked->state = VALUE;
    return NULL;
}

static const char *on_name (struct http_chunked *chunked, char byte)
{
    if (byte == ':' && chunked->state == NAME)
        return on_name_end (chunked);
    if (chunked->state == TRAILER_START && byte == '\r')
    {
        chunked->state = LAST_LF;
        return NULL;
    }
    if (!character_is (byte, CHARACTER_TOKEN))
        return "malformed trailer field name";
    if (chunked->state == TRAILER_START)
        chunked->name_length = 0;
    if (chunked->name_length < sizeof chunked->name)
        chunked->name[chunked->name_length++] = (char) tolower ((unsigned char) byte); /* ASCII: a token character */
    chunked->state = NAME;
    return NULL;
}

static const char *on_trailer (struct http_chunked *chunked, char byte)
{
    if (++chunked->trailer_bytes > HTTP_TRAILERS_MAX)
        return "trailer section too long";
    if (chunked->state == TRAILER_START || chunked->state == NAME)
        return on_name (chunked, byte);
    if (chunked->state == VALUE && byte == '\r')
        chunked->state = VALUE_LF;
    else if (chunked->state == VALUE && http_has_control (slice_of (&byte, 1)))
        return "control character in a trailer field";
    else if (chunked->state != VALUE && byte != '\n')
        return "trailer line not ended by CRLF";
    else if (chunked->state != VALUE)
        chunked->state = chunked->state == VALUE_LF ? TRAILER_START : DONE;
    return NULL;
}

/* Takes one byte that is not chunk data. */
static const char *on_byte (struct http_chunked *chunked, char byte)
{
    switch (chunked->state)
    {
    case SIZE_START:
    case SIZE:
        return on_size (chunked, byte);
    case EXTENSION ... EXTENSION_QUOTED_END:
        return on_extension (chunked, byte);
    case SIZE_LF:
        return on_size_end (chunked, byte);
    case DATA_CR:
        chunked->state = DATA_LF;
        return byte == '\r' ? NULL : "chunk data not followed by CRLF";
    case DATA_LF:
        chunked->state = SIZE_START;
        return byte == '\n' ? NULL : "chunk data not followed by CRLF";
    default:
        return on_trailer (chunked, byte);
    }
}

const char *http_chunked_decode (struct http_chunked *chunked, char *bytes, size_t length, struct slice *piece,
                                 size_t *used)
{
    size_t at = 0, start = 0, decoded = 0; /* the piece is bytes[start .. start + decoded) */
    const char *error = NULL;
    while (at < length && !error && chunked->state != DONE)
    {
        if (chunked->state != DATA)
        {
            error = on_byte (chunked, bytes[at++]);
            continue;
        }
        size_t run = length - at < chunked->left ? length - at : (size_t) chunked->left;
        if (decoded == 0)
            start = at; /* the first run stays where it is: most reads bring one chunk or a part of one */
        else
            memmove (bytes + start + decoded, bytes + at, run);
        decoded += run;
        at += run;
        chunked->left -= run;
        if (chunked->left == 0)
            chunked->state = DATA_CR;
    }
    *piece = slice_of (bytes + start, decoded);
    *used = at;
    return error;
}
