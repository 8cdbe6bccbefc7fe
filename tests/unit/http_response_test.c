/* http_response_test - responses of the engine or of another agent, as the reader understands them.
 *
 * As with requests, each stream is delivered in one piece, byte by byte, and cut once at every position.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/http_conversation.h"

#define OK "HTTP/1.1 200 OK\r\n"
#define TEXT(literal)                                                                                                  \
    {                                                                                                                  \
        literal, sizeof (literal) - 1                                                                                  \
    }

static char *transcript (struct slice stream, bool no_body, size_t (*cut) (size_t, void *), void *data)
{
    size_t length;
    return converse (
        &(struct conversation){.responses = true, .no_body = no_body, .stream = stream, .cut = cut, .data = data},
        &length);
}

static void expect_always (const char *name, struct slice stream, bool no_body, const char *expected)
{
    for (size_t at = 0; at <= stream.len + 1; at++)
    {
        char *got = at == 0           ? transcript (stream, no_body, cut_never, NULL)
                    : at > stream.len ? transcript (stream, no_body, cut_always, NULL)
                                      : transcript (stream, no_body, cut_once, &at);
        if (strcmp (got, expected) != 0)
            fail_msg ("%s, cut at %zu:\n  got      %s\n  expected %s", name, at, got, expected);
        free (got);
    }
}

/* ---------------------------------------------------------------------------------------------------------- streams */

static const struct
{
    const char *name;
    struct slice bytes;
    const char *transcript;
} accepted[] = {
    {"nothing", TEXT (""), "end"},
    {"length", TEXT (OK "Content-Length: 2\r\nApi-Version: 1.41\r\n\r\n[]" OK "Content-Length: 0\r\n\r\n"),
     "200 OK length=2 keep-alive; Api-Version: 1.41 {[]} 200 OK length=0 keep-alive; {} end"},
    {"chunked", TEXT (OK "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\n[]\r\n0\r\nX: y\r\n\r\n"),
     "200 OK chunked keep-alive; {[]} end"},
    {"up to the end", TEXT (OK "Content-Type: text/plain\r\n\r\nhello"),
     "200 OK close; Content-Type: text/plain {helloend"},
    {"HTTP/1.0", TEXT ("HTTP/1.0 404 Not Found\r\n\r\nno"), "404 Not Found close; {noend"},
    {"HTTP/1.0 keep-alive", TEXT ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na"),
     "200 OK length=1 keep-alive; {a} end"},
    {"connection closed after it", TEXT (OK "Connection: close\r\nContent-Length: 1\r\n\r\na"),
     "200 OK length=1; {a} end"},
    {"empty reason", TEXT ("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"), "200  length=0 keep-alive; {} end"},
    {"no reason", TEXT ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), "200  length=0 keep-alive; {} end"},
    {"reason of many words", TEXT ("HTTP/1.1 500 A b\tc \xc3\xa4\r\nContent-Length: 0\r\n\r\n"),
     "500 A b\tc \xc3\xa4 length=0 keep-alive; {} end"},
    {"cut in the head", TEXT (OK), "cut"},
    {"cut in the body", TEXT (OK "Content-Length: 3\r\n\r\nab"), "200 OK length=3 keep-alive; {abcut"},
    {"cut in the chunks", TEXT (OK "Transfer-Encoding: chunked\r\n\r\n5\r\nab"), "200 OK chunked keep-alive; {abcut"},

    /* bodiless by status */
    {"204", TEXT ("HTTP/1.1 204 No Content\r\n\r\n" OK "Content-Length: 0\r\n\r\n"),
     "204 No Content none keep-alive; {} 200 OK length=0 keep-alive; {} end"},
    {"204 with a length that means nothing", TEXT ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
     "204 No Content none keep-alive; {} end"},
    {"304 with the length of what is not sent",
     TEXT ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n"),
     "304 Not Modified none=5 keep-alive; ETag: x {} end"},
    {"304 without length", TEXT ("HTTP/1.1 304 Not Modified\r\n\r\n"), "304 Not Modified none keep-alive; {} end"},
    {"304 chunked", TEXT ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
     "304 Not Modified none keep-alive; {} end"},
    {"100, then the answer", TEXT ("HTTP/1.1 100 Continue\r\n\r\n" OK "Content-Length: 1\r\n\r\na"),
     "100 Continue none keep-alive; {} 200 OK length=1 keep-alive; {a} end"},

    /* upgrades */
    {"101",
     TEXT ("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\n"
           "Upgrade: tcp\r\n\r\n\nraw\r\n"),
     "101 UPGRADED raw upgrade=tcp; Content-Type: application/vnd.docker.raw-stream {\nraw\r\nend"},
    {"101 with length", TEXT ("HTTP/1.1 101 UPGRADED\r\nContent-Length: 1\r\n\r\nraw"), "101 UPGRADED raw; {rawend"},
    {"upgrade offered only", TEXT (OK "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"),
     "200 OK length=0 keep-alive upgrade=h2c; {} end"},

    /* hop by hop */
    {"hop-by-hop fields",
     TEXT (OK "Keep-Alive: timeout=5\r\nUpgrade: h2c\r\nTE: x\r\nProxy-Connection: close\r\nConnection: X\r\nX: y\r\n"
              "Host: a\r\nExpect: b\r\nContent-Length: 0\r\n\r\n"),
     "200 OK length=0 keep-alive; Host: a Expect: b {} end"},
};

static void accepts (void **state)
{
    (void) state;
    for (size_t row = 0; row < sizeof accepted / sizeof accepted[0]; row++)
        expect_always (accepted[row].name, accepted[row].bytes, false, accepted[row].transcript);
}

/* After HEAD there is no body, whatever the head says; what it says is still told. */
static void knows_answers_to_head (void **state)
{
    (void) state;
    expect_always ("length", SLICE (OK "Content-Length: 5\r\n\r\n" OK "\r\n"), true,
                   "200 OK none=5 keep-alive; {} 200 OK none keep-alive; {} end");
    expect_always ("chunked", SLICE (OK "Transfer-Encoding: chunked\r\n\r\n"), true, "200 OK none keep-alive; {} end");
    expect_always ("100 before", SLICE ("HTTP/1.1 100 Continue\r\n\r\n" OK "Content-Length: 5\r\n\r\n"), true,
                   "100 Continue none keep-alive; {} 200 OK none=5 keep-alive; {} end");
}

/* After an interim answer the caller may ask for the next head at once. */
static void goes_on_after_interim_answers (void **state)
{
    (void) state;
    struct header table[HTTP_HEADERS_MAX];
    struct http_reader reader;
    char bytes[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    http_reader_init (&reader, true);
    assert_int_equal (http_reader_head (&reader, bytes, sizeof bytes - 1, table), HTTP_DONE);
    assert_int_equal (reader.head.status, 100);
    size_t at = reader.head.bytes;
    assert_int_equal (http_reader_head (&reader, bytes + at, sizeof bytes - 1 - at, table), HTTP_DONE);
    assert_int_equal (reader.head.status, 201);
}

/* The caller may know that a body without length is a raw stream (an old engine's attach). */
static void lets_close_become_raw (void **state)
{
    (void) state;
    struct header table[HTTP_HEADERS_MAX];
    struct http_reader reader;
    struct slice piece;
    size_t used;
    char bytes[] = OK "Content-Type: application/vnd.docker.raw-stream\r\n\r\nraw";
    http_reader_init (&reader, true);
    assert_int_equal (http_reader_head (&reader, bytes, sizeof bytes - 1, table), HTTP_DONE);
    assert_int_equal (reader.head.framing, FRAMING_CLOSE);
    reader.head.framing = FRAMING_RAW;
    assert_int_equal (http_reader_body (&reader, bytes + reader.head.bytes, 3, &piece, &used), HTTP_MORE);
    assert_true (slice_equal (piece, SLICE ("raw")));
    assert_true (http_reader_may_end (&reader));
}

static const struct
{
    const char *name;
    struct slice bytes;
} refusals[] = {
    {"garbage", TEXT ("hello")},
    {"a request", TEXT ("GET / HTTP/1.1\r\nHost: a\r\n\r\n")},
    {"empty line before", TEXT ("\r\n" OK "Content-Length: 0\r\n\r\n")},
    {"HTTP/2.0", TEXT ("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n")},
    {"HTTP/0.9", TEXT ("HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n")},
    {"status of two digits", TEXT ("HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n")},
    {"status of four digits", TEXT ("HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n")},
    {"status below 100", TEXT ("HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n")},
    {"status above 599", TEXT ("HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n")},
    {"no status", TEXT ("HTTP/1.1\r\nContent-Length: 0\r\n\r\n")},
    {"two spaces before the status", TEXT ("HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n")},
    {"control character in the reason", TEXT ("HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n")},
    {"bare LF after the status line", TEXT ("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n")},
    {"bare CR in the status line", TEXT ("HTTP/1.1 200 OK\rX: y\r\nContent-Length: 0\r\n\r\n")},
    {"bare LF after a field", TEXT (OK "Content-Length: 0\n\r\n")},
    {"folded line", TEXT (OK "X: y\r\n z\r\nContent-Length: 0\r\n\r\n")},
    {"space before the colon", TEXT (OK "Content-Length : 0\r\n\r\n")},
    {"end of head without LF", TEXT (OK "Content-Length: 0\r\n\rX")},
    {"length and chunked", TEXT (OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {"chunked and length", TEXT (OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")},
    {"two lengths", TEXT (OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello")},
    {"listed length", TEXT (OK "Content-Length: 5, 5\r\n\r\nhello")},
    {"length too large", TEXT (OK "Content-Length: 9223372036854775808\r\n\r\n")},
    {"length far too large", TEXT (OK "Content-Length: 99999999999999999999\r\n\r\n")},
    {"other coding", TEXT (OK "Transfer-Encoding: gzip\r\n\r\n")},
    {"coding in HTTP/1.0", TEXT ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {"Connection names the length", TEXT (OK "Connection: Content-Length\r\nContent-Length: 0\r\n\r\n")},
    {"bad chunk size", TEXT (OK "Transfer-Encoding: chunked\r\n\r\nx\r\n")},
    {"bad chunk end", TEXT (OK "Transfer-Encoding: chunked\r\n\r\n1\r\nabc")},
    {"length in the trailer", TEXT (OK "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 1\r\n\r\n")},
};

static void refuses (void **state)
{
    (void) state;
    for (size_t row = 0; row < sizeof refusals / sizeof refusals[0]; row++)
    {
        char *whole = transcript (refusals[row].bytes, false, cut_never, NULL);
        if (!strstr (whole, "error 502 "))
            fail_msg ("%s: got '%s'", refusals[row].name, whole);
        expect_always (refusals[row].name, refusals[row].bytes, false, whole);
        free (whole);
    }
}

/* ----------------------------------------------------------------------------------------------- chunked, by property
 */

enum
{
    ROUNDS = 300,
    BODY_MAX = 20000,
};

/* Writes a random body in random chunks, with an extension or a trailer here and there. */
static void write_chunks (FILE *out, const char *body, size_t length, uint64_t *seed)
{
    size_t greatest = 1 + (size_t) (random_next (seed) % (random_next (seed) & 1 ? 16 : BODY_MAX));
    for (size_t at = 0; at < length;)
    {
        size_t size = 1 + (size_t) (random_next (seed) % greatest);
        size = size < length - at ? size : length - at;
        fprintf (out, random_next (seed) & 1 ? "%zx" : "00%zX", size);
        fputs (random_next (seed) % 64 == 0 ? ";name=\"value\"\r\n" : "\r\n", out);
        fwrite (body + at, 1, size, out);
        fputs ("\r\n", out);
        at += size;
    }
    fputs (random_next (seed) & 1 ? "0\r\n\r\n" : "000\r\nDigest: x\r\n\r\n", out);
}

/* Any body in any chunks, cut anywhere, comes out as it was, and nothing behind it is touched. */
static void decodes_any_chunks (void **state)
{
    (void) state;
    const uint64_t first_seed = 0x5eed5eed5eed;
    uint64_t seed = first_seed;
    print_message ("seed %#llx\n", (unsigned long long) first_seed);
    for (int round = 0; round < ROUNDS; round++)
    {
        char body[BODY_MAX], *stream = NULL, *expected = NULL;
        size_t length = (size_t) (random_next (&seed) % BODY_MAX), stream_length, expected_length, got_length;
        for (size_t at = 0; at < length; at++)
            body[at] = (char) (random_next (&seed) & 1 ? random_next (&seed) >> 16 : '\n');
        FILE *out = open_memstream (&stream, &stream_length);
        fputs (OK "Transfer-Encoding: chunked\r\n\r\n", out);
        write_chunks (out, body, length, &seed);
        fputs (OK "Content-Length: 1\r\n\r\na", out);
        fclose (out);
        out = open_memstream (&expected, &expected_length);
        fputs ("200 OK chunked keep-alive; {", out);
        fwrite (body, 1, length, out);
        fputs ("} 200 OK length=1 keep-alive; {a} end", out);
        fclose (out);
        for (int cuts = 0; cuts < 3; cuts++)
        {
            uint64_t cut_seed = seed;
            struct conversation conversation = {.responses = true,
                                                .stream = slice_of (stream, stream_length),
                                                .cut = cuts == 0 ? cut_never : cut_randomly,
                                                .data = &cut_seed};
            random_next (&seed);
            char *got = converse (&conversation, &got_length);
            if (got_length != expected_length || memcmp (got, expected, expected_length) != 0)
                fail_msg ("round %d, cuts %d: not decoded to the same bytes", round, cuts);
            free (got);
        }
        free (stream);
        free (expected);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (accepts),
        cmocka_unit_test (knows_answers_to_head),
        cmocka_unit_test (goes_on_after_interim_answers),
        cmocka_unit_test (lets_close_become_raw),
        cmocka_unit_test (refuses),
        cmocka_unit_test (decodes_any_chunks),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
