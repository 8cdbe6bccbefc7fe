/* reader.h - HTTP/1.1 messages from bytes: heads and bodies of requests and of responses (RFC 9112).
 *
 * Sans-I/O: the caller owns the bytes and says when more have come. One reader serves one direction of one connection,
 * message after message. What is private to it is some 200 bytes:
 *
 *     http_reader_head ─MORE─▶ (read more, call again) ─DONE─▶ http_reader_body ... ─DONE─▶ http_reader_next ─▶ head
 *
 * Built on llhttp in strict mode, plus all that llhttp lets pass and that two parsers could read differently: such a
 * message is refused, never repaired. Exceptions, which are harmless and silent: empty lines before a request, `//` and
 * `/./` in a path. Refused too, because nobody here can serve it: CONNECT (501), `OPTIONS *` (400), expectations other
 * than 100-continue (417), versions other than 1.0 and 1.1 (505). Nothing is allocated.
 */
#pragma once

#include "http/chunked.h"
#include "messages/message.h"

#include <llhttp/llhttp.h>

enum
{
    HTTP_HEAD_MAX = 128 * 1024, /* bytes of one head, request line and headers together */
    HTTP_HEADERS_MAX = 256,     /* header fields in one head, those that are removed included */
    HTTP_EMPTY_LINES_MAX = 16,  /* bytes of empty lines that are skipped before a request line */
};

enum http_result
{
    HTTP_MORE,  /* all bytes were looked at; more are needed */
    HTTP_DONE,  /* the head, or the body, is complete */
    HTTP_ERROR, /* refused: error_status and error_text say what to answer; the connection is to be closed */
};

/* What a head says. Slices point into the caller's bytes, except where noted. */
struct http_head
{
    struct slice method;    /* request */
    struct slice target;    /* request: origin-form, path cleaned (see url.h), query as received; may have been moved
                               within the caller's bytes while cleaning */
    struct slice authority; /* request: Host, or the authority of an absolute-form target (then equal to Host) */
    unsigned status;        /* response */
    struct slice reason;    /* response */
    enum framing framing; /* body that follows this head. Request: NONE, LENGTH or CHUNKED. Response: also RAW (101) and
                             CLOSE; the caller may turn CLOSE into RAW where it knows better */
    uint64_t length;      /* bytes, when framing is LENGTH; also what Content-Length says in a response to HEAD and in a
                             304, whose framing is NONE: to be shown to the client when length_known */
    bool length_known;    /* Content-Length was there and counts */
    bool keep_alive;      /* the connection may carry another message after this one (RFC 9112 section 9.3) */
    bool expect_continue; /* request: Expect: 100-continue */
    struct slice upgrade; /* value of Upgrade when Connection names it too, else empty */
    struct headers headers; /* end-to-end fields in order: without Connection, what Connection names, Keep-Alive,
                               Proxy-Connection, TE, Trailer, Transfer-Encoding, Upgrade, Content-Length and, in
                               requests, Expect and Host */
    size_t bytes;           /* length of the head; what follows is body or the next message */
};

struct http_reader
{
    struct http_head head;  /* valid after http_reader_head said DONE, until the caller's bytes or table change */
    unsigned error_status;  /* answer to a refused request: 400, 413, 417, 431, 501, 505; 502 for a refused response */
    const char *error_text; /* why, in a few lower-case words; static storage */

    /* private to reader.c */
    llhttp_t parser;
    bool responses, no_body;
    unsigned phase;
    size_t scanned;     /* bytes of the head that were looked at */
    size_t skipped;     /* of them, empty lines before it */
    uint64_t body_left; /* bytes still to come, when framing is LENGTH */
    struct http_chunked chunked;
};

/* Prepares a reader for requests (clients' side) or responses (engine's side). */
void http_reader_init (struct http_reader *reader, bool responses);

/* Responses only, before each head: whether the request was HEAD, so that no body follows (RFC 9110 section 9.3.2). */
void http_reader_expect_no_body (struct http_reader *reader, bool no_body);

/* Parses a head that begins at bytes[0]. The caller passes everything that has come since the head began: after MORE,
 * the same bytes (they may have moved in memory) and more of them; each byte is parsed once, however they trickle in.
 * Bytes after the head are not looked at. llhttp validates; once the head is whole, it is split into table, which the
 * caller may share among all its readers because it is filled in this one call. A head longer than HTTP_HEAD_MAX or
 * with more than HTTP_HEADERS_MAX fields is an error (431 for requests). */
enum http_result http_reader_head (struct http_reader *reader, char *bytes, size_t length,
                                   struct header table[HTTP_HEADERS_MAX]);

/* Parses body bytes that follow the head (or what the last call left). Decodes in place: on return *piece holds the
 * decoded body bytes (moved together within the given bytes, not always at their front; may be empty) and *used how
 * many bytes were consumed. DONE: the body ended, bytes from *used on belong to the next message, or after an upgrade
 * to the caller. MORE: all bytes were consumed. A body with FRAMING_NONE is DONE at once. FRAMING_CLOSE and FRAMING_RAW
 * never say DONE. Trailer fields are checked (Content-Length, Transfer-Encoding, Host and the like are refused) and
 * dropped. */
enum http_result http_reader_body (struct http_reader *reader, char *bytes, size_t length, struct slice *piece,
                                   size_t *used);

/* Whether the message in progress may end here, because the connection has: true for FRAMING_CLOSE and FRAMING_RAW,
 * when the body is DONE, or when nothing of a message was read; false when a head or body was cut off or refused. */
bool http_reader_may_end (const struct http_reader *reader);

/* Makes ready for the next message, once the body is DONE. Where no body is to come, http_reader_head does it by
 * itself: so after an interim response (100 to 199 but 101) the caller may just ask for the next head. */
void http_reader_next (struct http_reader *reader);
