/* reader.c - HTTP/1.1 messages from bytes: heads and bodies of requests and of responses.
 *
 * A head is read twice. llhttp runs over the bytes as they come and finds the end of the head. Then the whole head is
 * split in one pass that does not believe llhttp: each line must end in CR LF, be a field, and hold no control
 * character, and both must have found the same end. So what goes on is what two parsers agree upon. The body needs no
 * llhttp: bytes are counted, or decoded by chunked.c.
 */
#include "http/reader.h"

#include "http/head.h"

enum phase
{
    PHASE_HEAD,
    PHASE_BODY,
    PHASE_REFUSED,
};

/* --------------------------------------------------------------------------------------------------------- errors */

/* Refuses the message; the reader stays in this state. */
static enum http_result refuse (struct http_reader *reader, unsigned status, const char *text)
{
    reader->phase = PHASE_REFUSED;
    http_reader_refuse (reader, status, text);
    return HTTP_ERROR;
}

/* What llhttp has against the message. */
static enum http_result refuse_parsed (struct http_reader *reader)
{
    switch (llhttp_get_errno (&reader->parser))
    {
    case HPE_INVALID_METHOD:
        return refuse (reader, 400, "unknown method");
    case HPE_INVALID_URL:
        return refuse (reader, 400, "malformed request target");
    case HPE_PAUSED_H2_UPGRADE:
        return refuse (reader, 505, "HTTP/2 is not spoken here");
    case HPE_INVALID_VERSION:
        if (reader->parser.http_major > 1 || (reader->parser.http_major == 1 && reader->parser.http_minor > 1))
            return refuse (reader, 505, "HTTP version not supported");
        return refuse (reader, 400, "malformed HTTP version");
    case HPE_INVALID_HEADER_TOKEN:
        return refuse (reader, 400, "malformed header field");
    case HPE_INVALID_CONTENT_LENGTH:
        if (reader->parser.content_length > UINT64_MAX / 10) /* the next digit was too much */
            return refuse (reader, 413, "Content-Length too large");
        return refuse (reader, 400, "malformed Content-Length");
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return refuse (reader, 400, "Content-Length repeated or with Transfer-Encoding");
    case HPE_INVALID_TRANSFER_ENCODING:
        return refuse (reader, 400, "Transfer-Encoding repeated, unknown or with Content-Length");
    case HPE_CR_EXPECTED:
    case HPE_LF_EXPECTED:
    case HPE_STRICT:
        return refuse (reader, 400, "line not ended by CRLF");
    case HPE_INVALID_STATUS:
        return refuse (reader, 400, "malformed status");
    default:
        return refuse (reader, 400, "malformed message");
    }
}

/* ---------------------------------------------------------------------------------------------------------- reader */

static int pause_parser (llhttp_t *parser)
{
    (void) parser;
    return HPE_PAUSED;
}

/* llhttp stops behind the head and is not asked again before the next one. */
static const llhttp_settings_t settings = {.on_headers_complete = pause_parser};

void http_reader_init (struct http_reader *reader, bool responses)
{
    memset (reader, 0, sizeof *reader);
    reader->responses = responses;
    llhttp_init (&reader->parser, responses ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
}

void http_reader_expect_no_body (struct http_reader *reader, bool no_body)
{
    reader->no_body = no_body;
}

void http_reader_next (struct http_reader *reader)
{
    llhttp_reset (&reader->parser);
    reader->phase = PHASE_HEAD;
    reader->scanned = reader->skipped = 0;
}

/* Whether nothing of the body is to come any more. */
static bool body_is_done (const struct http_reader *reader)
{
    switch (reader->head.framing)
    {
    case FRAMING_NONE:
        return true;
    case FRAMING_LENGTH:
        return reader->body_left == 0;
    case FRAMING_CHUNKED:
        return http_chunked_done (&reader->chunked);
    default:
        return false;
    }
}

/* Skips empty lines before a request line. Says DONE when something else has come. */
static enum http_result skip_empty_lines (struct http_reader *reader, const char *bytes, size_t length)
{
    while (reader->skipped < length && (bytes[reader->skipped] == '\r' || bytes[reader->skipped] == '\n'))
    {
        if (reader->skipped >= HTTP_EMPTY_LINES_MAX)
            return refuse (reader, 400, "too many empty lines before the request");
        if (bytes[reader->skipped] == '\n')
            return refuse (reader, 400, "line not ended by CRLF");
        if (length - reader->skipped < 2)
            return HTTP_MORE;
        if (bytes[reader->skipped + 1] != '\n')
            return refuse (reader, 400, "line not ended by CRLF");
        reader->skipped += 2;
        reader->scanned = reader->skipped; /* as long as they are equal, no line has begun */
    }
    return reader->skipped < length ? HTTP_DONE : HTTP_MORE;
}

/* The head is whole: llhttp has found its end. */
static enum http_result finish_head (struct http_reader *reader, char *bytes, struct header *table)
{
    reader->scanned = (size_t) (llhttp_get_error_pos (&reader->parser) - bytes);
    reader->phase = PHASE_REFUSED;
    if (!http_head_split (reader, bytes, reader->scanned, table))
        return HTTP_ERROR;
    reader->phase = PHASE_BODY;
    reader->body_left = reader->head.framing == FRAMING_LENGTH ? reader->head.length : 0;
    http_chunked_start (&reader->chunked);
    return HTTP_DONE;
}

enum http_result http_reader_head (struct http_reader *reader, char *bytes, size_t length,
                                   struct header table[HTTP_HEADERS_MAX])
{
    if (reader->phase == PHASE_BODY && body_is_done (reader))
        http_reader_next (reader);
    if (reader->phase == PHASE_BODY)
        return refuse (reader, 400, "the body before is not finished");
    if (reader->phase == PHASE_REFUSED)
        return HTTP_ERROR;
    if (!reader->responses && reader->scanned == reader->skipped)
    {
        enum http_result result = skip_empty_lines (reader, bytes, length);
        if (result != HTTP_DONE)
            return result;
    }
    size_t limit = length < HTTP_HEAD_MAX ? length : HTTP_HEAD_MAX;
    if (limit <= reader->scanned)
        return HTTP_MORE;
    switch (llhttp_execute (&reader->parser, bytes + reader->scanned, limit - reader->scanned))
    {
    case HPE_OK:
        reader->scanned = limit;
        return limit < HTTP_HEAD_MAX ? HTTP_MORE : refuse (reader, 431, "head too long");
    case HPE_PAUSED:
        return finish_head (reader, bytes, table);
    default:
        return refuse_parsed (reader);
    }
}

enum http_result http_reader_body (struct http_reader *reader, char *bytes, size_t length, struct slice *piece,
                                   size_t *used)
{
    *piece = slice_of (bytes, 0);
    *used = 0;
    if (reader->phase == PHASE_HEAD)
        return refuse (reader, 400, "body before the head");
    if (reader->phase == PHASE_REFUSED)
        return HTTP_ERROR;
    const char *error = NULL;
    switch (reader->head.framing)
    {
    case FRAMING_NONE:
        break;
    case FRAMING_LENGTH:
        piece->len = *used = length < reader->body_left ? length : (size_t) reader->body_left;
        reader->body_left -= *used;
        break;
    case FRAMING_CHUNKED:
        error = http_chunked_decode (&reader->chunked, bytes, length, piece, used);
        break;
    case FRAMING_RAW:
    case FRAMING_CLOSE:
        piece->len = *used = length;
        break;
    }
    if (error)
        return refuse (reader, 400, error);
    return body_is_done (reader) ? HTTP_DONE : HTTP_MORE;
}

bool http_reader_may_end (const struct http_reader *reader)
{
    if (reader->phase == PHASE_HEAD)
        return reader->scanned == reader->skipped;
    enum framing framing = reader->head.framing;
    return reader->phase == PHASE_BODY && (framing == FRAMING_CLOSE || framing == FRAMING_RAW || body_is_done (reader));
}
