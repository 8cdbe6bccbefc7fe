/* head.c - a whole head, split into its parts in one pass, and judged.
 *
 * This does not believe that llhttp has seen the head already: each line must end in CR LF, be a field, and hold no
 * control character, and the empty line must be where llhttp found it. Fields that are about this connection or about
 * framing are taken out; what they say is put into struct http_head.
 */
#include "http/head.h"

#include "http/characters.h"
#include "http/url.h"

enum
{
    VERSION_BYTES = 8,         /* HTTP/1.1 */
    CONNECTION_NAMES_MAX = 16, /* fields that Connection may name, beside the well-known ones */
};

#define AGENT_PREFIX "X-PortainerAgent-" /* of headers that decide who may do what, and where */

bool http_reader_refuse (struct http_reader *reader, unsigned status, const char *text)
{
    reader->error_status = reader->responses ? 502 : status;
    reader->error_text = text;
    return false;
}

/* ---------------------------------------------------------------------------------------------------------- fields */

enum known
{
    KNOWN_NOT,
    KNOWN_CONNECTION,
    KNOWN_CONTENT_LENGTH,
    KNOWN_EXPECT,
    KNOWN_HOP, /* removed, no other effect */
    KNOWN_HOST,
    KNOWN_TRANSFER_ENCODING,
    KNOWN_UPGRADE,
};

static const struct
{
    struct slice name;
    enum known known;
} known_fields[] = {
    {{"TE", 2}, KNOWN_HOP},
    {{"Host", 4}, KNOWN_HOST},
    {{"Expect", 6}, KNOWN_EXPECT},
    {{"Upgrade", 7}, KNOWN_UPGRADE},
    {{"Trailer", 7}, KNOWN_HOP},
    {{"Connection", 10}, KNOWN_CONNECTION},
    {{"Keep-Alive", 10}, KNOWN_HOP},
    {{"Content-Length", 14}, KNOWN_CONTENT_LENGTH},
    {{"Proxy-Connection", 16}, KNOWN_HOP},
    {{"Transfer-Encoding", 17}, KNOWN_TRANSFER_ENCODING},
};

/* One bit for each length of a known name: most other names are told from them by it. */
#define KNOWN_LENGTHS (1u << 2 | 1u << 4 | 1u << 6 | 1u << 7 | 1u << 10 | 1u << 14 | 1u << 16 | 1u << 17)

static enum known known_find (struct slice name)
{
    if (name.len >= 32 || !(KNOWN_LENGTHS >> name.len & 1))
        return KNOWN_NOT;
    for (size_t at = 0; at < sizeof known_fields / sizeof known_fields[0]; at++)
        if (name.len == known_fields[at].name.len && ((name.at[0] ^ known_fields[at].name.at[0]) & ~0x20) == 0 &&
            slice_equal_nocase (name, known_fields[at].name))
            return known_fields[at].known;
    return KNOWN_NOT;
}

/* A head being split: what its fields say, before it is judged as a whole. */
struct split
{
    struct http_reader *reader;
    struct http_head *head;
    struct header *table;
    size_t count;  /* fields in the table */
    size_t fields; /* fields seen */
    bool version_1_0;
    bool close, keep, upgrade; /* options that Connection named */
    bool has_host, has_coding, has_upgrade;
    struct slice host, expect, upgrade_value;
    size_t named_count;
    struct slice named[CONNECTION_NAMES_MAX]; /* other fields that Connection named */
};

/* One option of Connection. Fields that decide about framing or rights cannot be named away by the client. */
static bool split_option (struct split *split, struct slice option)
{
    if (option.len == 0)
        return true; /* empty list elements are legal */
    if (!http_is_token (option))
        return http_reader_refuse (split->reader, 400, "malformed Connection");
    if (slice_equal_nocase (option, SLICE ("close")))
        return split->close = true;
    if (slice_equal_nocase (option, SLICE ("keep-alive")))
        return split->keep = true;
    if (slice_equal_nocase (option, SLICE ("upgrade")))
        return split->upgrade = true;
    enum known known = known_find (option);
    if (known == KNOWN_HOST || known == KNOWN_CONTENT_LENGTH || known == KNOWN_TRANSFER_ENCODING ||
        (option.len >= sizeof AGENT_PREFIX - 1 &&
         slice_equal_nocase (slice_of (option.at, sizeof AGENT_PREFIX - 1), SLICE (AGENT_PREFIX))))
        return http_reader_refuse (split->reader, 400, "Connection names an end-to-end field");
    if (known != KNOWN_NOT)
        return true; /* is removed anyway */
    if (split->named_count == CONNECTION_NAMES_MAX)
        return http_reader_refuse (split->reader, 400, "Connection names too many fields");
    split->named[split->named_count++] = option;
    return true;
}

static bool split_connection (struct split *split, struct slice value)
{
    while (value.len > 0)
    {
        const char *comma = memchr (value.at, ',', value.len);
        struct slice option = slice_of (value.at, comma ? (size_t) (comma - value.at) : value.len);
        value = slice_skip (value, comma ? option.len + 1 : option.len);
        if (!split_option (split, http_trim (option)))
            return false;
    }
    return true;
}

static bool split_length (struct split *split, struct slice value)
{
    struct http_head *head = split->head;
    if (head->length_known)
        return http_reader_refuse (split->reader, 400, "Content-Length repeated");
    if (value.len == 0 || !http_all_are (value, CHARACTER_DIGIT))
        return http_reader_refuse (split->reader, 400, "malformed Content-Length");
    for (size_t at = 0; at < value.len; at++)
    {
        unsigned digit = (unsigned) (value.at[at] - '0');
        if (head->length > (uint64_t) (INT64_MAX - digit) / 10)
            return http_reader_refuse (split->reader, 413, "Content-Length too large");
        head->length = head->length * 10 + digit;
    }
    head->length_known = true;
    return true;
}

static bool split_coding (struct split *split, struct slice value)
{
    if (split->has_coding || !slice_equal_nocase (value, SLICE ("chunked")))
        return http_reader_refuse (split->reader, 400, "Transfer-Encoding other than chunked");
    split->has_coding = true;
    return true;
}

static bool split_host (struct split *split, struct slice value)
{
    if (split->has_host)
        return http_reader_refuse (split->reader, 400, "Host repeated");
    if (!http_host_is_valid (value))
        return http_reader_refuse (split->reader, 400, "malformed Host");
    split->has_host = true;
    split->host = value;
    return true;
}

/* Files one field. */
static bool split_field (struct split *split, struct slice name, struct slice value)
{
    bool responses = split->reader->responses;
    enum known known = known_find (name);
    if (responses && (known == KNOWN_HOST || known == KNOWN_EXPECT))
        known = KNOWN_NOT; /* mean nothing there */
    switch (known)
    {
    case KNOWN_CONNECTION:
        return split_connection (split, value);
    case KNOWN_CONTENT_LENGTH:
        return split_length (split, value);
    case KNOWN_TRANSFER_ENCODING:
        return split_coding (split, value);
    case KNOWN_HOST:
        return split_host (split, value);
    case KNOWN_EXPECT:
        if (!slice_equal_nocase (value, SLICE ("100-continue")))
            return http_reader_refuse (split->reader, 417, "unknown expectation");
        split->expect = value;
        return true;
    case KNOWN_UPGRADE:
        if (split->has_upgrade)
            return http_reader_refuse (split->reader, 400, "Upgrade repeated");
        split->has_upgrade = true;
        split->upgrade_value = value;
        return true;
    case KNOWN_HOP:
        return true;
    default:
        split->table[split->count++] = (struct header){.name = name, .value = value};
        return true;
    }
}

/* Splits the lines after the first into fields, up to the empty line, which must be the last thing before end. */
static bool split_fields (struct split *split, const char *at, const char *end)
{
    for (;;)
    {
        const char *newline = memchr (at, '\n', (size_t) (end - at));
        if (!newline || newline == at || newline[-1] != '\r')
            return http_reader_refuse (split->reader, 400, "line not ended by CRLF");
        struct slice line = slice_of (at, (size_t) (newline - 1 - at));
        at = newline + 1;
        if (line.len == 0)
            return at == end || http_reader_refuse (split->reader, 400, "malformed end of head");
        if (line.at[0] == ' ' || line.at[0] == '\t')
            return http_reader_refuse (split->reader, 400, "folded header line");
        const char *colon = memchr (line.at, ':', line.len);
        struct slice name = slice_of (line.at, colon ? (size_t) (colon - line.at) : 0);
        if (!http_is_token (name))
            return http_reader_refuse (split->reader, 400, "malformed header field name");
        struct slice value = http_trim (slice_skip (line, name.len + 1));
        if (http_has_control (value))
            return http_reader_refuse (split->reader, 400, "control character in a header field");
        if (++split->fields > HTTP_HEADERS_MAX)
            return http_reader_refuse (split->reader, 431, "too many header fields");
        if (!split_field (split, name, value))
            return false;
    }
}

/* Removes the fields that Connection named from the table. */
static void split_remove_named (struct split *split)
{
    size_t kept = 0;
    for (size_t at = 0; at < split->count; at++)
    {
        bool named = false;
        for (size_t option = 0; option < split->named_count && !named; option++)
            named = slice_equal_nocase (split->table[at].name, split->named[option]);
        if (!named)
            split->table[kept++] = split->table[at];
    }
    split->count = kept;
}

/* Reads `HTTP/1.x`. */
static bool split_version (struct split *split, struct slice version)
{
    if (version.len != VERSION_BYTES || !slice_starts_with (version, SLICE ("HTTP/")) ||
        !character_is (version.at[5], CHARACTER_DIGIT) || version.at[6] != '.' ||
        !character_is (version.at[7], CHARACTER_DIGIT))
        return http_reader_refuse (split->reader, 400, "malformed HTTP version");
    if (version.at[5] != '1' || version.at[7] > '1')
        return http_reader_refuse (split->reader, 505, "HTTP version not supported");
    split->version_1_0 = version.at[7] == '0';
    return true;
}

/* What requests and responses have in common, once all fields are known. */
static bool split_finish (struct split *split)
{
    struct http_head *head = split->head;
    if (split->has_coding && head->length_known)
        return http_reader_refuse (split->reader, 400, "Content-Length with Transfer-Encoding");
    if (split->has_coding && split->version_1_0)
        return http_reader_refuse (split->reader, 400, "Transfer-Encoding in HTTP/1.0");
    if (split->named_count > 0)
        split_remove_named (split);
    head->framing = split->has_coding ? FRAMING_CHUNKED : head->length_known ? FRAMING_LENGTH : FRAMING_NONE;
    head->keep_alive = !split->close && (!split->version_1_0 || split->keep);
    if (split->upgrade && split->has_upgrade && !split->version_1_0)
        head->upgrade = split->upgrade_value;
    head->headers = (struct headers){.at = split->table, .count = split->count};
    return true;
}

/* -------------------------------------------------------------------------------------------------------- requests */

/* Turns an absolute-form target into origin-form; its authority becomes *authority. Where there is no path, the `/`
 * needs a place: the authority moves one byte down, over a slash of `://`. */
static bool target_to_origin (char *bytes, struct slice *target, struct slice *authority)
{
    size_t scheme = slice_equal_nocase (slice_of (target->at, target->len < 7 ? target->len : 7), SLICE ("http://")) ? 7
                    : slice_equal_nocase (slice_of (target->at, target->len < 8 ? target->len : 8), SLICE ("https://"))
                        ? 8
                        : 0;
    if (scheme == 0)
        return false;
    struct slice rest = slice_skip (*target, scheme);
    size_t length = 0;
    while (length < rest.len && rest.at[length] != '/' && rest.at[length] != '?')
        length++;
    if (length == 0)
        return false;
    *authority = slice_of (rest.at, length);
    *target = slice_skip (rest, length);
    if (target->len == 0 || target->at[0] == '?')
    {
        char *at = bytes + (rest.at - bytes);
        memmove (at - 1, at, length);
        at[length - 1] = '/';
        *authority = slice_of (at - 1, length);
        *target = slice_of (at + length - 1, target->len + 1);
    }
    return true;
}

/* The request line, without CRLF: method, one space, target, one space, version. The target is left as it is. */
static bool split_request_line (struct split *split, struct slice line)
{
    struct http_head *head = split->head;
    const char *first = memchr (line.at, ' ', line.len);
    const char *last = memrchr (line.at, ' ', line.len);
    if (!first || first == last)
        return http_reader_refuse (split->reader, 400, "request line without HTTP version");
    head->method = slice_of (line.at, (size_t) (first - line.at));
    head->target = slice_of (first + 1, (size_t) (last - first - 1));
    if (!http_is_token (head->method))
        return http_reader_refuse (split->reader, 400, "malformed method");
    return split_version (split, slice_of (last + 1, line.len - (size_t) (last + 1 - line.at)));
}

/* Target and Host, once the fields are known. */
static bool split_target (struct split *split, char *bytes)
{
    struct http_head *head = split->head;
    if (slice_equal (head->method, SLICE ("CONNECT")))
        return http_reader_refuse (split->reader, 501, "CONNECT is not supported");
    if (!split->has_host && !split->version_1_0)
        return http_reader_refuse (split->reader, 400, "Host missing");
    head->authority = split->host;
    if (head->target.len > 0 && head->target.at[0] != '/')
    {
        struct slice authority;
        if (!target_to_origin (bytes, &head->target, &authority))
            return http_reader_refuse (split->reader, 400, "malformed request target");
        if (split->has_host ? !slice_equal_nocase (authority, split->host) : !http_host_is_valid (authority))
            return http_reader_refuse (split->reader, 400, "request target and Host disagree");
        head->authority = authority;
    }
    return url_clean (bytes, &head->target) || http_reader_refuse (split->reader, 400, "malformed request target");
}

static bool split_request (struct split *split, char *bytes, const char *end)
{
    struct http_reader *reader = split->reader;
    const char *newline = memchr (bytes, '\n', (size_t) (end - bytes));
    if (!newline || newline == bytes || newline[-1] != '\r')
        return http_reader_refuse (reader, 400, "line not ended by CRLF");
    if (!split_request_line (split, slice_of (bytes, (size_t) (newline - 1 - bytes))) ||
        !split_fields (split, newline + 1, end) || !split_target (split, bytes) || !split_finish (split))
        return false;
    /* Nobody waits for a "100 Continue" who has nothing to send, or speaks HTTP/1.0. */
    split->head->expect_continue =
        split->expect.len > 0 && !split->version_1_0 && (split->has_coding || split->head->length > 0);
    return true;
}

/* ------------------------------------------------------------------------------------------------------- responses */

/* The status line, without CRLF: version, one space, three digits, and mostly one space and a reason. */
static bool split_status_line (struct split *split, struct slice line)
{
    struct slice version = slice_of (line.at, line.len < VERSION_BYTES ? line.len : VERSION_BYTES);
    if (!split_version (split, version))
        return false;
    struct slice rest = slice_skip (line, VERSION_BYTES);
    if (rest.len < 4 || rest.at[0] != ' ' || !http_all_are (slice_of (rest.at + 1, 3), CHARACTER_DIGIT) ||
        (rest.len > 4 && rest.at[4] != ' ') || http_has_control (rest))
        return http_reader_refuse (split->reader, 502, "malformed status line");
    split->head->status = (unsigned) ((rest.at[1] - '0') * 100 + (rest.at[2] - '0') * 10 + rest.at[3] - '0');
    if (split->head->status < 100 || split->head->status > 599)
        return http_reader_refuse (split->reader, 502, "malformed status line");
    split->head->reason = slice_skip (rest, rest.len > 4 ? 5 : 4);
    return true;
}

/* Where the body of a response ends (RFC 9112 section 6.3). */
static void split_response_framing (struct split *split)
{
    struct http_head *head = split->head;
    unsigned status = head->status;
    bool no_body = split->reader->no_body || status < 200 || status == 204 || status == 304;
    if (status < 200 || status == 204)
        head->length_known = false, head->length = 0; /* must not be there, means nothing */
    if (status == 101)
        head->framing = FRAMING_RAW;
    else if (no_body)
        head->framing = FRAMING_NONE;
    else if (head->framing == FRAMING_NONE)
        head->framing = FRAMING_CLOSE;
    head->keep_alive &= head->framing != FRAMING_RAW && head->framing != FRAMING_CLOSE;
}

static bool split_response (struct split *split, char *bytes, const char *end)
{
    struct http_reader *reader = split->reader;
    const char *newline = memchr (bytes, '\n', (size_t) (end - bytes));
    if (!newline || newline == bytes || newline[-1] != '\r')
        return http_reader_refuse (reader, 502, "line not ended by CRLF");
    if (!split_status_line (split, slice_of (bytes, (size_t) (newline - 1 - bytes))) ||
        !split_fields (split, newline + 1, end) || !split_finish (split))
        return false;
    split_response_framing (split);
    return true;
}

/* ------------------------------------------------------------------------------------------------------------ both */

bool http_head_split (struct http_reader *reader, char *bytes, size_t length, struct header table[HTTP_HEADERS_MAX])
{
    struct split split;
    memset (&split, 0, offsetof (struct split, named)); /* the rest is filled as far as named_count says */
    split.reader = reader;
    split.head = &reader->head;
    split.table = table;
    memset (&reader->head, 0, sizeof reader->head);
    reader->head.bytes = length;
    return reader->responses ? split_response (&split, bytes, bytes + length)
                             : split_request (&split, bytes + reader->skipped, bytes + length);
}
