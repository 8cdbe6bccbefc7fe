/* llhttp_oracle.h - holds the reader against llhttp: a message that the reader takes must be the same message to
 * llhttp.
 *
 * The reader takes less than llhttp does, so only one direction is tested: where the reader found the end of a message,
 * llhttp finds it too, and both have read the same body.
 */
#pragma once

#include "tests/http_conversation.h"

struct oracle
{
    char *body; /* where llhttp's body goes; has room for all of the stream */
    size_t length;
};

static inline int oracle_on_body (llhttp_t *parser, const char *at, size_t length)
{
    struct oracle *oracle = parser->data;
    memcpy (oracle->body + oracle->length, at, length);
    oracle->length += length;
    return 0;
}

/* llhttp leaves it to its caller to know the statuses without a body (RFC 9112 section 6.3); 1 says that there is none.
 */
static inline int oracle_on_head (llhttp_t *parser)
{
    unsigned status = parser->status_code;
    return parser->type == HTTP_RESPONSE && (status / 100 == 1 || status == 204 || status == 304);
}

static inline int oracle_on_end (llhttp_t *parser)
{
    (void) parser;
    return HPE_PAUSED;
}

static inline void must_agree_with_llhttp (struct slice stream, bool responses)
{
    struct header table[HTTP_HEADERS_MAX];
    struct http_reader reader;
    struct slice piece;
    size_t used;
    char *bytes = malloc (stream.len + 1), *body = malloc (stream.len + 1);
    must (bytes && body);
    memcpy (bytes, stream.at, stream.len);
    http_reader_init (&reader, responses);
    if (http_reader_head (&reader, bytes, stream.len, table) == HTTP_DONE &&
        http_reader_body (&reader, bytes + reader.head.bytes, stream.len - reader.head.bytes, &piece, &used) ==
            HTTP_DONE)
    {
        static const llhttp_settings_t settings = {
            .on_headers_complete = oracle_on_head, .on_body = oracle_on_body, .on_message_complete = oracle_on_end};
        llhttp_t parser;
        struct oracle oracle = {.body = body};
        llhttp_init (&parser, responses ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
        parser.data = &oracle;
        must (llhttp_execute (&parser, stream.at, stream.len) == HPE_PAUSED);
        must (llhttp_get_error_pos (&parser) == stream.at + reader.head.bytes + used);
        must (slice_equal (piece, slice_of (oracle.body, oracle.length)));
    }
    free (bytes);
    free (body);
}

/* The transcript must not depend on the cuts. */
static inline void must_not_depend_on_cuts (struct slice stream, bool responses, bool no_body)
{
    enum
    {
        BYTE_BY_BYTE_MAX = 512, /* each byte costs a copy of what came before */
    };
    uint64_t seed = 1469598103934665603u; /* from the input, so that the same input is always cut alike */
    for (size_t at = 0; at < stream.len; at++)
        seed = (seed ^ (uint8_t) stream.at[at]) * 1099511628211u;
    seed |= 1;
    size_t length, cut_length;
    struct conversation conversation = {
        .responses = responses, .no_body = no_body, .stream = stream, .cut = cut_never, .data = &seed};
    char *whole = converse (&conversation, &length);
    for (int round = 0; round < 3; round++)
    {
        conversation.cut = round == 0 && stream.len <= BYTE_BY_BYTE_MAX ? cut_always : cut_randomly;
        char *cut = converse (&conversation, &cut_length);
        must (length == cut_length && memcmp (whole, cut, length) == 0);
        free (cut);
    }
    free (whole);
}
