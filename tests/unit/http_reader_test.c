/* http_reader_test - requests: what the reader accepts, what it makes of it, and all that it refuses.
 *
 * Each stream of the tables is delivered in one piece, byte by byte, and cut once at every position; the reader must
 * always say the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/head.h"
#include "tests/http_conversation.h"

#define HOST    "Host: a\r\n"
#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
#define GET     "GET / HTTP/1.1\r\n"
#define TEXT(literal)                                                                                                  \
    {                                                                                                                  \
        literal, sizeof (literal) - 1                                                                                  \
    }

static char *transcript (struct slice stream, size_t (*cut) (size_t, void *), void *data)
{
    size_t length;
    return converse (&(struct conversation){.stream = stream, .cut = cut, .data = data}, &length);
}

/* Compares the transcript with what is expected, however the stream is cut. */
static void expect_always (const char *name, struct slice stream, const char *expected)
{
    for (size_t at = 0; at <= stream.len + 1; at++)
    {
        char *got = at == 0           ? transcript (stream, cut_never, NULL)
                    : at > stream.len ? transcript (stream, cut_always, NULL)
                                      : transcript (stream, cut_once, &at);
        if (strcmp (got, expected) != 0)
            fail_msg ("%s, cut at %zu:\n  got      %s\n  expected %s", name, at, got, expected);
        free (got);
    }
}

/* -------------------------------------------------------------------------------------------------------- refusals */

static const struct
{
    const char *name;
    struct slice bytes;
    unsigned status;
} refusals[] = {
    /* request line */
    {"garbage", TEXT ("\x16\x03\x01\x02"), 400},
    {"unknown method", TEXT ("FETCH / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"method in lower case", TEXT ("get / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"method followed by TAB", TEXT ("GET\t/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"two spaces before the target", TEXT ("GET  / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"two spaces after the target", TEXT ("GET /  HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"space inside the target", TEXT ("GET /a b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"space after the version", TEXT ("GET / HTTP/1.1 \r\n" HOST "\r\n"), 400},
    {"space before the method", TEXT (" GET / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"no version", TEXT ("GET /\r\n" HOST "\r\n"), 400},
    {"no version, no headers", TEXT ("GET /\r\n\r\n"), 400},
    {"empty version", TEXT ("GET / \r\n" HOST "\r\n"), 400},
    {"version in lower case", TEXT ("GET / http/1.1\r\n" HOST "\r\n"), 400},
    {"another protocol", TEXT ("OPTIONS / RTSP/1.0\r\n" HOST "\r\n"), 400},
    {"yet another protocol", TEXT ("SOURCE / ICE/1.0\r\n" HOST "\r\n"), 400},
    {"version with letters", TEXT ("GET / HTTP/1.x\r\n" HOST "\r\n"), 400},
    {"version with a surplus digit", TEXT ("GET / HTTP/1.10\r\n" HOST "\r\n"), 400},
    {"HTTP/0.9", TEXT ("GET / HTTP/0.9\r\n" HOST "\r\n"), 505},
    {"HTTP/1.2", TEXT ("GET / HTTP/1.2\r\n" HOST "\r\n"), 505},
    {"HTTP/2.0", TEXT ("GET / HTTP/2.0\r\n" HOST "\r\n"), 505},
    {"HTTP/3.0", TEXT ("GET / HTTP/3.0\r\n" HOST "\r\n"), 505},
    {"HTTP/2 preface", TEXT ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
    {"CONNECT", TEXT ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), 501},
    {"too many empty lines", TEXT ("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET HOST "\r\n"), 400},
    {"bare LF before the request", TEXT ("\n" GET HOST "\r\n"), 400},
    {"bare CR before the request", TEXT ("\r" GET HOST "\r\n"), 400},

    /* target */
    {"fragment", TEXT ("GET /a#b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"fragment in the query", TEXT ("GET /a?b#c HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"..", TEXT ("GET /a/../b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {".. at the end", TEXT ("GET /a/.. HTTP/1.1\r\n" HOST "\r\n"), 400},
    {".. as %2e%2e", TEXT ("GET /a/%2e%2e/b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {".. as .%2E", TEXT ("GET /a/.%2E HTTP/1.1\r\n" HOST "\r\n"), 400},
    {".. between escaped slashes", TEXT ("GET /a%2f..%2Fb HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"incomplete escape", TEXT ("GET /a%2 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"malformed escape", TEXT ("GET /a%zz HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"escaped NUL", TEXT ("GET /a%00 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"byte above ASCII", TEXT ("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"control character in the target", TEXT ("GET /a\x01 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"TAB in the target", TEXT ("GET /a\tb HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"target without slash", TEXT ("GET a HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"asterisk", TEXT ("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"absolute form of another host", TEXT ("GET http://b/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"absolute form with another port", TEXT ("GET http://a:80/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"absolute form of another scheme", TEXT ("GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"absolute form with a user", TEXT ("GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"absolute form with a user, HTTP/1.0", TEXT ("GET http://u@a/ HTTP/1.0\r\n\r\n"), 400},
    {"absolute form without authority", TEXT ("GET http:///x HTTP/1.1\r\nHost:\r\n\r\n"), 400},
    {"absolute form without Host", TEXT ("GET http://a/ HTTP/1.1\r\n\r\n"), 400},

    /* Host */
    {"no Host", TEXT (GET "\r\n"), 400},
    {"two Hosts", TEXT (GET HOST HOST "\r\n"), 400},
    {"two Hosts, HTTP/1.0", TEXT ("GET / HTTP/1.0\r\n" HOST HOST "\r\n"), 400},
    {"listed Host", TEXT (GET "Host: a, b\r\n\r\n"), 400},
    {"listed Host without space", TEXT (GET "Host: a,b\r\n\r\n"), 400},
    {"Host with a path", TEXT (GET "Host: a/b\r\n\r\n"), 400},
    {"Host with a user", TEXT (GET "Host: u@a\r\n\r\n"), 400},
    {"Host with a space", TEXT (GET "Host: a b\r\n\r\n"), 400},
    {"Host with a quote", TEXT (GET "Host: a\"\r\n\r\n"), 400},
    {"Host above ASCII", TEXT (GET "Host: \xc3\xa4\r\n\r\n"), 400},
    {"Host with a port that is none", TEXT (GET "Host: a:b\r\n\r\n"), 400},
    {"Host with two ports", TEXT (GET "Host: a:1:2\r\n\r\n"), 400},
    {"Host with a long port", TEXT (GET "Host: a:123456\r\n\r\n"), 400},
    {"Host that is a port", TEXT (GET "Host: :80\r\n\r\n"), 400},
    {"Host with an open bracket", TEXT (GET "Host: [::1\r\n\r\n"), 400},
    {"Host with text after the bracket", TEXT (GET "Host: [::1]a\r\n\r\n"), 400},
    {"Host with a name in brackets", TEXT (GET "Host: [host]\r\n\r\n"), 400},
    {"Host with empty brackets", TEXT (GET "Host: []\r\n\r\n"), 400},

    /* lines */
    {"bare LF after the request line", TEXT ("GET / HTTP/1.1\n" HOST "\r\n"), 400},
    {"bare LF after a field", TEXT (GET "Host: a\n\r\n"), 400},
    {"bare LF at the end", TEXT (GET HOST "\n"), 400},
    {"bare CR after the request line", TEXT ("GET / HTTP/1.1\r" HOST "\r\n"), 400},
    {"bare CR in a value", TEXT (GET HOST "X: a\rb\r\n\r\n"), 400},
    {"bare CR hiding a field", TEXT (GET HOST "X:\rTransfer-Encoding: chunked\r\n\r\n"), 400},
    {"end of head without LF", TEXT (GET HOST "\rX"), 400},
    {"end of head without LF, then a request", TEXT (GET HOST "X: y\r\n\rGET /b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"folded line, space", TEXT (GET HOST "X: a\r\n b\r\n\r\n"), 400},
    {"folded line, TAB", TEXT (GET HOST "X: a\r\n\tb\r\n\r\n"), 400},
    {"folded first line", TEXT (GET " Host: a\r\n\r\n"), 400},
    {"folded first line, TAB", TEXT (GET "\tX: y\r\n" HOST "\r\n"), 400},
    {"folded Transfer-Encoding", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n chunked\r\n\r\n"), 400},
    {"folded Content-Length", TEXT ("POST / HTTP/1.1\r\n" HOST "X: y\r\n Content-Length: 5\r\n\r\n"), 400},
    {"folded empty line", TEXT (GET HOST "X: y\r\n \r\n\r\n"), 400},
    {"space before the colon", TEXT (GET HOST "X : y\r\n\r\n"), 400},
    {"TAB before the colon", TEXT (GET HOST "X\t: y\r\n\r\n"), 400},
    {"space before Content-Length's colon", TEXT (GET HOST "Content-Length : 5\r\n\r\n"), 400},
    {"space before Transfer-Encoding's colon", TEXT (GET HOST "Transfer-Encoding : chunked\r\n\r\n"), 400},
    {"space inside a name", TEXT (GET HOST "X Y: z\r\n\r\n"), 400},
    {"empty name", TEXT (GET HOST ": x\r\n\r\n"), 400},
    {"no colon", TEXT (GET HOST "X\r\n\r\n"), 400},
    {"name above ASCII", TEXT (GET HOST "X\xc3\xa4: y\r\n\r\n"), 400},
    {"name with a control character", TEXT (GET HOST "X\x01: y\r\n\r\n"), 400},
    {"name with brackets", TEXT (GET HOST "(X): y\r\n\r\n"), 400},
    {"name with NUL", TEXT (GET HOST "X\0: y\r\n\r\n"), 400},
    {"NUL in a value", TEXT (GET HOST "X: a\0b\r\n\r\n"), 400},
    {"control character in a value",
     TEXT (GET HOST "X: a\x01"
                    "b\r\n\r\n"),
     400},
    {"DEL in a value", TEXT (GET HOST "X: a\x7f\r\n\r\n"), 400},
    {"vertical tab before chunked",
     TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b"
           "chunked\r\n\r\n"),
     400},

    /* Content-Length */
    {"Content-Length repeated", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
     400},
    {"Content-Lengths that differ", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
     400},
    {"Content-Length listed", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\na"), 400},
    {"Content-Length empty", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n"), 400},
    {"Content-Length of spaces", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length:   \r\n\r\n"), 400},
    {"Content-Length with +", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n"), 400},
    {"Content-Length with -", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\n"), 400},
    {"Content-Length with a space inside", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 5 5\r\n\r\n"), 400},
    {"Content-Length in hexadecimal", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n"), 400},
    {"Content-Length with a letter", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 5a\r\n\r\n"), 400},
    {"Content-Length of 2^63", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775808\r\n\r\n"), 413},
    {"Content-Length of 2^64", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551616\r\n\r\n"), 413},
    {"Content-Length of 2^64 + 5",
     TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551621\r\n\r\nhello"), 413},

    /* Transfer-Encoding */
    {"Content-Length, then Transfer-Encoding",
     TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"Transfer-Encoding, then Content-Length",
     TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), 400},
    {"Transfer-Encoding repeated",
     TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
    {"identity, then chunked",
     TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
    {"identity, chunked", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity, chunked\r\n\r\n"), 400},
    {"chunked, identity", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n"), 400},
    {"chunked twice", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n"), 400},
    {"identity", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n"), 400},
    {"gzip, chunked", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"), 400},
    {"xchunked", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n"), 400},
    {"chunked with a parameter", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;a=b\r\n\r\n"), 400},
    {"chunked in quotes", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n"), 400},
    {"chunked with a comma", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: ,chunked\r\n\r\n"), 400},
    {"Transfer-Encoding empty", TEXT ("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n"), 400},
    {"Transfer-Encoding in HTTP/1.0", TEXT ("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     400},

    /* Connection, Upgrade, Expect */
    {"Connection names Host", TEXT (GET HOST "Connection: host\r\n\r\n"), 400},
    {"Connection names Content-Length", TEXT (GET HOST "Connection: close, Content-Length\r\n\r\n"), 400},
    {"Connection names Transfer-Encoding", TEXT (GET HOST "Connection: transfer-encoding\r\n\r\n"), 400},
    {"Connection names the signature", TEXT (GET HOST "Connection: x-portaineragent-signature\r\n\r\n"), 400},
    {"Connection names the target node",
     TEXT (GET HOST "Connection: close\r\nConnection: X-PortainerAgent-Target\r\n\r\n"), 400},
    {"Connection names no token", TEXT (GET HOST "Connection: a b\r\n\r\n"), 400},
    {"Connection names many", TEXT (GET HOST "Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\n\r\n"), 400},
    {"Upgrade repeated", TEXT (GET HOST "Connection: upgrade\r\nUpgrade: tcp\r\nUpgrade: h2c\r\n\r\n"), 400},
    {"unknown expectation", TEXT (GET HOST "Expect: 200-ok\r\n\r\n"), 417},
    {"expectation with more", TEXT (GET HOST "Expect: 100-continue, x\r\n\r\n"), 417},

    /* chunked bodies */
    {"chunk without a size", TEXT (CHUNKED "\r\n"), 400},
    {"chunk size not hexadecimal", TEXT (CHUNKED "g\r\n"), 400},
    {"chunk size with 0x", TEXT (CHUNKED "0x5\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size with +", TEXT (CHUNKED "+5\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size with -", TEXT (CHUNKED "-5\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size with a space before", TEXT (CHUNKED " 5\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size with a space after", TEXT (CHUNKED "5 \r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size with an underscore", TEXT (CHUNKED "1_0\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size with a comma", TEXT (CHUNKED "5,5\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size of 2^63", TEXT (CHUNKED "8000000000000000\r\n"), 400},
    {"chunk size of 2^64", TEXT (CHUNKED "10000000000000000\r\n"), 400},
    {"chunk size of 2^64 + 5", TEXT (CHUNKED "10000000000000005\r\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size ended by LF", TEXT (CHUNKED "5\nhello\r\n0\r\n\r\n"), 400},
    {"chunk size ended by CR", TEXT (CHUNKED "5\rhello\r\n0\r\n\r\n"), 400},
    {"chunk data followed by other bytes", TEXT (CHUNKED "5\r\nhelloXX0\r\n\r\n"), 400},
    {"chunk data followed by LF", TEXT (CHUNKED "5\r\nhello\n0\r\n\r\n"), 400},
    {"chunk data followed by CR X", TEXT (CHUNKED "5\r\nhello\rX0\r\n\r\n"), 400},
    {"chunk data longer than its size", TEXT (CHUNKED "4\r\nhello\r\n0\r\n\r\n"), 400},
    {"CR in an extension", TEXT (CHUNKED "5;a\rb\r\nhello\r\n0\r\n\r\n"), 400},
    {"LF in an extension", TEXT (CHUNKED "5;a\nb\r\nhello\r\n0\r\n\r\n"), 400},
    {"NUL in an extension", TEXT (CHUNKED "5;a\0b\r\nhello\r\n0\r\n\r\n"), 400},
    {"CR in an extension's quotes", TEXT (CHUNKED "5;a=\"\rb\"\r\nhello\r\n0\r\n\r\n"), 400},

    {"extension without a name", TEXT (CHUNKED "5;\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with an empty one", TEXT (CHUNKED "5;a;\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with an empty name", TEXT (CHUNKED "5;=a\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension without a value", TEXT (CHUNKED "5;a=\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with a space before", TEXT (CHUNKED "5; a\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with a space after", TEXT (CHUNKED "5;a \r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with a space inside", TEXT (CHUNKED "5;a b\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with an open quote", TEXT (CHUNKED "5;a=\"b\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with text after the quotes", TEXT (CHUNKED "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with a quote in a token", TEXT (CHUNKED "5;a=b\"c\"\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension after a token", TEXT (CHUNKED "5;a=b;c\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with a backslash", TEXT (CHUNKED "5;a=\"\\b\"\r\nhello\r\n0\r\n\r\n"), 400},
    {"extension with an equals sign too many", TEXT (CHUNKED "5;a=b=c\r\nhello\r\n0\r\n\r\n"), 400},

    /* trailers */
    {"Content-Length in the trailer", TEXT (CHUNKED "0\r\nContent-Length: 5\r\n\r\n"), 400},
    {"Transfer-Encoding in the trailer", TEXT (CHUNKED "0\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n"), 400},
    {"Host in the trailer", TEXT (CHUNKED "0\r\nHOST: b\r\n\r\n"), 400},
    {"Connection in the trailer", TEXT (CHUNKED "0\r\nConnection: close\r\n\r\n"), 400},
    {"Upgrade in the trailer", TEXT (CHUNKED "0\r\nUpgrade: tcp\r\n\r\n"), 400},
    {"target node in the trailer", TEXT (CHUNKED "0\r\nX-PortainerAgent-Target: b\r\n\r\n"), 400},
    {"folded line in the trailer", TEXT (CHUNKED "0\r\nX: y\r\n z\r\n\r\n"), 400},
    {"folded first line in the trailer", TEXT (CHUNKED "0\r\n X: y\r\n\r\n"), 400},
    {"space before a trailer's colon", TEXT (CHUNKED "0\r\nX : y\r\n\r\n"), 400},
    {"empty name in the trailer", TEXT (CHUNKED "0\r\n: y\r\n\r\n"), 400},
    {"no colon in the trailer", TEXT (CHUNKED "0\r\nX\r\n\r\n"), 400},
    {"bare LF in the trailer", TEXT (CHUNKED "0\r\nX: y\n\r\n"), 400},
    {"bare CR in the trailer", TEXT (CHUNKED "0\r\nX: y\rz\r\n\r\n"), 400},
    {"NUL in the trailer", TEXT (CHUNKED "0\r\nX: \0\r\n\r\n"), 400},
    {"end of trailer without LF", TEXT (CHUNKED "0\r\n\rX"), 400},
    {"bare LF at the end of the trailer", TEXT (CHUNKED "0\r\n\n"), 400},
};

static void refuses (void **state)
{
    (void) state;
    for (size_t row = 0; row < sizeof refusals / sizeof refusals[0]; row++)
    {
        char *whole = transcript (refusals[row].bytes, cut_never, NULL), expected[32];
        snprintf (expected, sizeof expected, "error %u ", refusals[row].status);
        if (!strstr (whole, expected))
            fail_msg ("%s: got '%s', expected '%s'", refusals[row].name, whole, expected);
        expect_always (refusals[row].name, refusals[row].bytes, whole);
        free (whole);
    }
}

/* The splitter is a second line behind llhttp: it refuses the same heads without llhttp's help. Only of methods it has
 * no list. */
static void refuses_without_llhttp (void **state)
{
    (void) state;
    for (size_t row = 0; row < sizeof refusals / sizeof refusals[0]; row++)
    {
        struct header table[HTTP_HEADERS_MAX];
        struct http_reader reader;
        size_t length = refusals[row].bytes.len;
        char *bytes = malloc (length);
        assert_non_null (bytes);
        memcpy (bytes, refusals[row].bytes.at, length);
        http_reader_init (&reader, false);
        bool taken = http_head_split (&reader, bytes, length, table);
        if (taken && !strstr (refusals[row].name, "method"))
            fail_msg ("%s: taken", refusals[row].name);
        if (taken != !reader.error_status)
            fail_msg ("%s: no status", refusals[row].name);
        free (bytes);
    }
}

/* -------------------------------------------------------------------------------------------------------- accepted */

static const struct
{
    const char *name;
    struct slice bytes;
    const char *transcript;
} accepted[] = {
    {"nothing", TEXT (""), "end"},
    {"smallest", TEXT (GET HOST "\r\n"), "GET / host=a none keep-alive; {} end"},
    {"cut in the head", TEXT (GET HOST), "cut"},
    {"empty line alone", TEXT ("\r\n"), "end"},
    {"half an empty line", TEXT ("\r\n\r"), "end"},
    {"empty lines before", TEXT ("\r\n\r\n" GET HOST "\r\n"), "GET / host=a none keep-alive; {} end"},
    {"eight empty lines before", TEXT ("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET HOST "\r\n"),
     "GET / host=a none keep-alive; {} end"},
    {"empty lines between", TEXT (GET HOST "\r\n\r\n\r\nHEAD /b HTTP/1.1\r\n" HOST "\r\n"),
     "GET / host=a none keep-alive; {} HEAD /b host=a none keep-alive; {} end"},
    {"fields in order, trimmed", TEXT (GET "B:  1\t \r\nHost:\ta \r\nA: x y\r\nb:2\r\nE:\r\n\r\n"),
     "GET / host=a none keep-alive; B: 1 A: x y b: 2 E:  {} end"},
    {"TAB and bytes above ASCII in a value", TEXT (GET HOST "X: a\tb\xc3\xa4\r\n\r\n"),
     "GET / host=a none keep-alive; X: a\tb\xc3\xa4 {} end"},
    {"empty Host", TEXT (GET "Host:\r\n\r\n"), "GET / host= none keep-alive; {} end"},
    {"Host with port", TEXT (GET "host: tasks.agent_x:9001\r\n\r\n"),
     "GET / host=tasks.agent_x:9001 none keep-alive; {} end"},
    {"Host in brackets", TEXT (GET "Host: [fe80::1]:9001\r\n\r\n"),
     "GET / host=[fe80::1]:9001 none keep-alive; {} end"},
    {"Host with escapes", TEXT (GET "Host: %2Fvar%2Frun%2Fdocker.sock\r\n\r\n"),
     "GET / host=%2Fvar%2Frun%2Fdocker.sock none keep-alive; {} end"},
    {"clean path, query as it is", TEXT ("GET //v1.41/./a//b/%2e/c/.?x=//&y=/../ HTTP/1.1\r\n" HOST "\r\n"),
     "GET /v1.41/a/b/c?x=//&y=/../ host=a none keep-alive; {} end"},
    {"absolute form", TEXT ("GET http://A/b//c?d HTTP/1.1\r\n" HOST "\r\n"),
     "GET /b/c?d host=A none keep-alive; {} end"},
    {"absolute form, https, port", TEXT ("GET HTTPS://a:1/b HTTP/1.1\r\nHost: A:1\r\n\r\n"),
     "GET /b host=a:1 none keep-alive; {} end"},
    {"absolute form without path", TEXT ("GET http://a HTTP/1.1\r\n" HOST "\r\n"),
     "GET / host=a none keep-alive; {} end"},
    {"absolute form without path, with query", TEXT ("GET https://a?b HTTP/1.1\r\n" HOST "\r\n"),
     "GET /?b host=a none keep-alive; {} end"},
    {"absolute form, HTTP/1.0 without Host", TEXT ("GET http://a:80 HTTP/1.0\r\n\r\n"), "GET / host=a:80 none; {} end"},

    /* persistence */
    {"HTTP/1.0", TEXT ("GET / HTTP/1.0\r\n\r\n"), "GET / host= none; {} end"},
    {"HTTP/1.0 keep-alive", TEXT ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
     "GET / host= none keep-alive; {} end"},
    {"HTTP/1.1 close", TEXT (GET HOST "Connection: close\r\n\r\n"), "GET / host=a none; {} end"},
    {"close wins", TEXT (GET HOST "Connection: keep-alive, Close\r\n\r\n"), "GET / host=a none; {} end"},

    /* hop by hop */
    {"hop-by-hop fields",
     TEXT (GET HOST "TE: trailers\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTrailer: X\r\nUpgrade: "
                    "h2c\r\nA: b\r\n\r\n"),
     "GET / host=a none keep-alive; A: b {} end"},
    {"fields named by Connection", TEXT (GET HOST "X-a: 1\r\nB: 2\r\nConnection: ,x-A , TE,\r\nx-A: 3\r\nC: 4\r\n\r\n"),
     "GET / host=a none keep-alive; B: 2 C: 4 {} end"},

    /* bodies of known length */
    {"length", TEXT ("PUT / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello" GET HOST "\r\n"),
     "PUT / host=a length=5 keep-alive; {hello} GET / host=a none keep-alive; {} end"},
    {"length 0", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n" GET HOST "\r\n"),
     "POST / host=a length=0 keep-alive; {} GET / host=a none keep-alive; {} end"},
    {"length with zeros", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 00000000000000000000002\r\n\r\nab"),
     "POST / host=a length=2 keep-alive; {ab} end"},
    {"greatest length", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775807\r\n\r\nab"),
     "POST / host=a length=9223372036854775807 keep-alive; {abcut"},
    {"cut in the body", TEXT ("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nab"),
     "POST / host=a length=3 keep-alive; {abcut"},
    {"length in HTTP/1.0", TEXT ("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab"), "POST / host= length=2; {ab} end"},
    {"expectation", TEXT ("POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\na"),
     "POST / host=a length=1 keep-alive expect; {a} end"},
    {"expectation without body", TEXT (GET HOST "Expect: 100-continue\r\n\r\n"),
     "GET / host=a none keep-alive; {} end"},
    {"expectation in HTTP/1.0", TEXT ("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na"),
     "POST / host= length=1; {a} end"},

    /* chunked bodies */
    {"chunks", TEXT (CHUNKED "5\r\nhello\r\n1\r\n,\r\n006\r\n world\r\n0\r\n\r\n" GET HOST "\r\n"),
     "POST / host=a chunked keep-alive; {hello, world} GET / host=a none keep-alive; {} end"},
    {"no chunks", TEXT (CHUNKED "000\r\n\r\n"), "POST / host=a chunked keep-alive; {} end"},
    {"hexadecimal size", TEXT (CHUNKED "1A\r\nabcdefghijklmnopqrstuvwxyz\r\na\r\n0123456789\r\n0\r\n\r\n"),
     "POST / host=a chunked keep-alive; {abcdefghijklmnopqrstuvwxyz0123456789} end"},
    {"line ends in the data", TEXT (CHUNKED "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
     "POST / host=a chunked keep-alive; {\r\n0\r\n\r\n} end"},
    {"extensions", TEXT (CHUNKED "2;c=\"d;=\te\";f=\"\";g;a=b\r\nab\r\n0;x\r\n\r\n"),
     "POST / host=a chunked keep-alive; {ab} end"},
    {"trailers are dropped", TEXT (CHUNKED "2\r\nab\r\n0\r\nX: y\r\nDigest:\tz\r\nContent-Length-X:\r\n\r\n"),
     "POST / host=a chunked keep-alive; {ab} end"},
    {"cut before the end of chunks", TEXT (CHUNKED "2\r\nab\r\n0\r\n"), "POST / host=a chunked keep-alive; {abcut"},
    {"chunked in any case", TEXT ("POST / HTTP/1.1\r\n" HOST "transfer-encoding:CHUNKED \r\n\r\n0\r\n\r\n"),
     "POST / host=a chunked keep-alive; {} end"},

    /* upgrades, as the docker CLI asks for them */
    {"exec start",
     TEXT ("POST /exec/1/start HTTP/1.1\r\n" HOST
           "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\nA: b\r\n\r\n{}"),
     "POST /exec/1/start host=a length=2 keep-alive upgrade=tcp; A: b {{}} end"},
    {"session", TEXT ("POST /session HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
     "POST /session host=a none keep-alive upgrade=h2c; {} end"},
    {"upgrade with chunks",
     TEXT ("POST / HTTP/1.1\r\n" HOST
           "Connection: upgrade\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     "POST / host=a chunked keep-alive upgrade=tcp; {} end"},
    {"Upgrade in HTTP/1.0", TEXT ("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n"),
     "GET / host= none; {} end"},
};

static void accepts (void **state)
{
    (void) state;
    for (size_t row = 0; row < sizeof accepted / sizeof accepted[0]; row++)
        expect_always (accepted[row].name, accepted[row].bytes, accepted[row].transcript);
}

/* Bytes behind a head with an upgrade, or behind its body, are left to the caller untouched. */
static void leaves_upgraded_bytes (void **state)
{
    (void) state;
    static const char *const streams[] = {
        "POST / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}\n\r\0raw",
        "POST / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n\n\r\0raw",
        CHUNKED "2\r\n{}\r\n0\r\n\r\n\n\r\0raw",
    };
    for (size_t row = 0; row < 3; row++)
    {
        struct header table[HTTP_HEADERS_MAX];
        struct http_reader reader;
        char bytes[256];
        size_t length = strlen (streams[row]) + 4, used;
        struct slice piece;
        memcpy (bytes, streams[row], length);
        http_reader_init (&reader, false);
        assert_int_equal (http_reader_head (&reader, bytes, length, table), HTTP_DONE);
        size_t at = reader.head.bytes;
        assert_int_equal (http_reader_body (&reader, bytes + at, length - at, &piece, &used), HTTP_DONE);
        assert_int_equal (length - at - used, 6);
        assert_memory_equal (bytes + at + used, "\n\r\0raw", 6);
        assert_int_equal (http_reader_body (&reader, bytes + at + used, 6, &piece, &used), HTTP_DONE);
        assert_int_equal (used, 0);
        assert_int_equal (piece.len, 0);
    }
}

/* ---------------------------------------------------------------------------------------------------------- limits */

/* A stream of `before`, so many bytes of filling, and `after`. */
static char *filled (const char *before, const char *filling, size_t count, const char *after, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream (&text, length);
    assert_non_null (out);
    fputs (before, out);
    for (size_t at = 0; at < count; at++)
        fputs (filling, out);
    fputs (after, out);
    fclose (out);
    return text;
}

static const struct limit
{
    const char *name, *before, *filling, *after;
    size_t good; /* as many fillings pass, one more does not */
    const char *error;
} limits[] = {
    {"head", GET HOST "X: ", "x", "\r\n\r\n", HTTP_HEAD_MAX - 16 - 9 - 3 - 4, "error 431 head too long"},
    {"target", "GET /", "x", " HTTP/1.1\r\n" HOST "\r\n", HTTP_HEAD_MAX - 5 - 11 - 9 - 2, "error 431 head too long"},
    {"fields", GET HOST, "X: y\r\n", "\r\n", HTTP_HEADERS_MAX - 1, "error 431 too many header fields"},
    {"removed fields", GET HOST, "TE: y\r\n", "\r\n", HTTP_HEADERS_MAX - 1, "error 431 too many header fields"},
    {"chunk size digits", CHUNKED, "0", "\r\n\r\n", HTTP_CHUNK_LINE_MAX - 1, "error 400 chunk line too long"},
    {"chunk extension", CHUNKED "1;", "x", "\r\na\r\n0\r\n\r\n", HTTP_CHUNK_LINE_MAX - 2,
     "error 400 chunk extensions too long"},
    {"chunk extensions", CHUNKED, "1;xxxxxxxx\r\na\r\n", "0\r\n\r\n", HTTP_CHUNK_EXTENSIONS_MAX / 8,
     "error 400 chunk extensions too long"},
    {"trailers", CHUNKED "0\r\nX: ", "x", "\r\n\r\n", HTTP_TRAILERS_MAX - 3 - 4, "error 400 trailer section too long"},
    {"trailer lines", CHUNKED "0\r\n", "X: y \r\n", "\r\n", (HTTP_TRAILERS_MAX - 2) / 7,
     "error 400 trailer section too long"},
};

static void keeps_limits (void **state)
{
    (void) state;
    for (const struct limit *limit = limits; limit < limits + sizeof limits / sizeof limits[0]; limit++)
        for (size_t over = 0; over < 2; over++)
        {
            size_t length;
            char *bytes = filled (limit->before, limit->filling, limit->good + over, limit->after, &length);
            struct slice stream = slice_of (bytes, length);
            uint64_t seed = 20;
            char *whole = transcript (stream, cut_never, NULL), *cut = transcript (stream, cut_randomly, &seed);
            if (over ? !strstr (whole, limit->error) : !strstr (whole, "} end"))
                fail_msg ("%s%s: %s", limit->name, over ? ", one more" : "",
                          strchr (whole, ';') ? strchr (whole, ';') : whole);
            if (strcmp (whole, cut) != 0)
                fail_msg ("%s%s: depends on the cuts", limit->name, over ? ", one more" : "");
            free (whole);
            free (cut);
            free (bytes);
        }
}

/* A call out of order is refused; it is the caller's mistake, but must not run into something undefined. */
static void survives_calls_out_of_order (void **state)
{
    (void) state;
    struct header table[HTTP_HEADERS_MAX];
    struct http_reader reader;
    char bytes[] = "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n";
    struct slice piece;
    size_t used;
    http_reader_init (&reader, false);
    assert_int_equal (http_reader_body (&reader, bytes, 1, &piece, &used), HTTP_ERROR);
    http_reader_init (&reader, false);
    assert_int_equal (http_reader_head (&reader, bytes, 9, table), HTTP_MORE);
    assert_int_equal (http_reader_head (&reader, bytes, 9, table), HTTP_MORE); /* nothing new */
    assert_int_equal (http_reader_head (&reader, bytes, sizeof bytes - 1, table), HTTP_DONE);
    assert_int_equal (http_reader_head (&reader, bytes, sizeof bytes - 1, table), HTTP_ERROR);
    assert_int_equal (http_reader_body (&reader, bytes, 1, &piece, &used), HTTP_ERROR);
    assert_false (http_reader_may_end (&reader));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (refuses),      cmocka_unit_test (refuses_without_llhttp),
        cmocka_unit_test (accepts),      cmocka_unit_test (leaves_upgraded_bytes),
        cmocka_unit_test (keeps_limits), cmocka_unit_test (survives_calls_out_of_order),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
