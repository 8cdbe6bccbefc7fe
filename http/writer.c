/* writer.c - HTTP/1.1 heads as bytes.
 *
 * What is written is only as good as what was checked: names and values from a checked head are clean, but this is the
 * last place where a line break that slipped in somewhere could make a second header, so each field is looked at once
 * more.
 */
#include "http/writer.h"

#include "http/characters.h"

#include <stdint.h>

enum
{
    NUMBER_DIGITS_MAX = 20, /* of a uint64_t */
    FIELD_EXTRA = 4,        /* `: ` and CRLF */
    HEAD_EXTRA_MAX = 128,   /* version, spaces, status, the longest standard reason, framing field, last line */
};

static const struct
{
    unsigned status;
    const char *text;
} reasons[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *http_reason (unsigned status)
{
    for (size_t at = 0; at < sizeof reasons / sizeof reasons[0]; at++)
        if (reasons[at].status == status)
            return reasons[at].text;
    return "Unknown";
}

/* Copies bytes for which there is room. Returns the place behind them. */
static char *put (char *at, struct slice bytes)
{
    if (bytes.len > 0) /* an empty slice may be NULL */
        memcpy (at, bytes.at, bytes.len);
    return at + bytes.len;
}

void http_write (struct http_writer *writer, struct slice bytes)
{
    if (writer->overflow || bytes.len > writer->capacity - writer->length)
    {
        writer->overflow = true;
        return;
    }
    put (writer->at + writer->length, bytes);
    writer->length += bytes.len;
}

void http_write_number (struct http_writer *writer, uint64_t number)
{
    char digits[NUMBER_DIGITS_MAX];
    size_t at = sizeof digits;
    do
        digits[--at] = (char) ('0' + number % 10);
    while ((number /= 10) > 0);
    http_write (writer, slice_of (digits + at, sizeof digits - at));
}

void http_write_field (struct http_writer *writer, struct slice name, struct slice value)
{
    size_t length = name.len + value.len + FIELD_EXTRA;
    if (writer->overflow || length > writer->capacity - writer->length || http_has_break (name) ||
        http_has_break (value))
    {
        writer->overflow = true;
        return;
    }
    char *at = put (writer->at + writer->length, name);
    at = put (at, SLICE (": "));
    at = put (at, value);
    put (at, SLICE ("\r\n"));
    writer->length += length;
}

void http_write_headers (struct http_writer *writer, struct headers headers)
{
    for (size_t at = 0; at < headers.count; at++)
        http_write_field (writer, headers.at[at].name, headers.at[at].value);
}

void http_write_framing (struct http_writer *writer, enum framing framing, uint64_t length)
{
    if (framing == FRAMING_CHUNKED)
        http_write (writer, SLICE ("Transfer-Encoding: chunked\r\n"));
    if (framing != FRAMING_LENGTH)
        return;
    http_write (writer, SLICE ("Content-Length: "));
    http_write_number (writer, length);
    http_write (writer, SLICE ("\r\n"));
}

void http_write_request_line (struct http_writer *writer, struct slice method, struct slice target)
{
    writer->overflow |= !http_is_token (method) || target.len == 0 || !http_is_target (target);
    http_write (writer, method);
    http_write (writer, SLICE (" "));
    http_write (writer, target);
    http_write (writer, SLICE (" HTTP/1.1\r\n"));
}

void http_write_status_line (struct http_writer *writer, unsigned status, struct slice reason)
{
    writer->overflow |= status < 100 || status > 999 || http_has_break (reason);
    http_write (writer, SLICE ("HTTP/1.1 "));
    http_write_number (writer, status);
    http_write (writer, SLICE (" "));
    http_write (writer, reason.len > 0 ? reason : slice_from (http_reason (status)));
    http_write (writer, SLICE ("\r\n"));
}

void http_write_end (struct http_writer *writer)
{
    http_write (writer, SLICE ("\r\n"));
}

size_t http_chunk_head (char out[18], size_t size)
{
    size_t digits = 1;
    while (digits < 2 * sizeof size && size >> (4 * digits) > 0)
        digits++;
    for (size_t at = 0; at < digits; at++)
        out[at] = "0123456789abcdef"[size >> (4 * (digits - 1 - at)) & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}

size_t http_head_bound (struct slice first, struct slice second, struct headers headers)
{
    size_t bytes = first.len + second.len + HEAD_EXTRA_MAX;
    for (size_t at = 0; at < headers.count; at++)
        bytes += headers.at[at].name.len + headers.at[at].value.len + FIELD_EXTRA;
    return bytes;
}
