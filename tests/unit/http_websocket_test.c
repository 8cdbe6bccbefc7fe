/* http_websocket_test - WebSocket handshake and frames against RFC 6455: its own examples, every split, every
 * violation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/websocket.h"

#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------------------------------------------- handshake */

static struct message_request handshake (struct header headers[2])
{
    headers[0] = (struct header){SLICE ("Sec-WebSocket-Key"), SLICE ("dGhlIHNhbXBsZSBub25jZQ==")};
    headers[1] = (struct header){SLICE ("Sec-WebSocket-Version"), SLICE ("13")};
    return (struct message_request){.method = SLICE ("GET"), .upgrade = SLICE ("websocket"), .headers = {headers, 2}};
}

static void accepts_as_the_rfc_does (void **state)
{
    (void) state;
    /* RFC 6455 section 1.3; a key that a browser made. */
    static const char *const rows[][2] = {
        {"dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
        {"x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        char accept[WEBSOCKET_ACCEPT_BYTES];
        assert_true (websocket_accept (slice_from (rows[row][0]), accept));
        assert_memory_equal (accept, rows[row][1], sizeof accept);
    }
    char accept[WEBSOCKET_ACCEPT_BYTES];
    assert_false (websocket_accept (SLICE ("short"), accept));
}

static void checks_the_handshake (void **state)
{
    (void) state;
    struct header headers[2];
    struct message_request request = handshake (headers);
    assert_null (websocket_handshake_error (&request));
    static const char *const good_upgrades[] = {"WebSocket", "h2c, websocket", "websocket ,x"};
    for (size_t row = 0; row < 3; row++)
    {
        request.upgrade = slice_from (good_upgrades[row]);
        assert_null (websocket_handshake_error (&request));
    }
    static const char *const bad_upgrades[] = {"", "tcp", "websockets", "web socket", ","};
    for (size_t row = 0; row < 5; row++)
    {
        request.upgrade = slice_from (bad_upgrades[row]);
        assert_non_null (strstr (websocket_handshake_error (&request), "Upgrade: websocket"));
    }
    request = handshake (headers);
    static const char *const bad_versions[] = {"", "12", "8", "130", "13, 8"};
    for (size_t row = 0; row < 5; row++)
    {
        headers[1].value = slice_from (bad_versions[row]);
        assert_non_null (strstr (websocket_handshake_error (&request), "Sec-WebSocket-Version"));
    }
    request = handshake (headers);
    request.headers.count = 1;
    assert_non_null (strstr (websocket_handshake_error (&request), "Sec-WebSocket-Version"));
    request = handshake (headers);
    static const char *const bad_keys[] = {"",
                                           "dGhlIHNhbXBsZSBub25jZQ=",
                                           "dGhlIHNhbXBsZSBub25jZQ===",
                                           "dGhlIHNhbXBsZSBub25jZTE=",
                                           "dGhlIHNhbXBsZSBub25jZTEy",
                                           "dGhlIHNhbXB!ZSBub25jZQ==",
                                           "dGhlIHNhbX==ZSBub25jZQ=="};
    for (size_t row = 0; row < sizeof bad_keys / sizeof *bad_keys; row++)
    {
        headers[0].value = slice_from (bad_keys[row]);
        const char *error = websocket_handshake_error (&request);
        if (!error || !strstr (error, "Sec-WebSocket-Key"))
            fail_msg ("%s: %s", bad_keys[row], error ? error : "accepted");
    }
    request = handshake (headers);
    request.framing = FRAMING_CHUNKED;
    assert_non_null (strstr (websocket_handshake_error (&request), "body"));
}

static void compares_origins (void **state)
{
    (void) state;
    static const struct
    {
        const char *origin, *host;
        bool same;
    } rows[] = {
        {"https://agent:9001", "agent:9001", true},
        {"http://agent:9001", "agent:9001", true},
        {"https://AGENT:9001", "agent:9001", true},
        {"https://[::1]:9001", "[::1]:9001", true},
        {"https://agent", "agent", true},
        {"https://agent", "agent:9001", false},
        {"https://agent:9001", "agent", false},
        {"https://evil", "agent", false},
        {"https://agent.evil", "agent", false},
        {"https://agent/evil", "agent", false},
        {"https://evil/://agent", "agent", false},
        {"null", "agent", false},
        {"null", "null", false},
        {"agent", "agent", false},
        {"", "", false},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
        if (websocket_is_same_origin (slice_from (rows[row].origin), slice_from (rows[row].host)) != rows[row].same)
            fail_msg ("%s at %s", rows[row].origin, rows[row].host);
}

/* ------------------------------------------------------------------------------------------------------- frames in */

/* What came out of a client's bytes: `D` and data, `P`ing, `Q` pong, `C` close, `E` error; the pieces of data joined.
 */
struct transcript
{
    char text[512 * 1024];
    size_t length;
    bool in_data;
};

static void note (struct transcript *transcript, char mark, struct slice payload, unsigned code)
{
    if (mark != 'D' || !transcript->in_data)
        transcript->text[transcript->length++] = mark;
    transcript->in_data = mark == 'D';
    memcpy (transcript->text + transcript->length, payload.at, payload.len);
    transcript->length += payload.len;
    if (mark == 'C' || mark == 'E')
        transcript->length += (size_t) sprintf (transcript->text + transcript->length, "%u", code);
    transcript->text[transcript->length] = '\0';
}

static bool feed (struct websocket *websocket, struct slice input, struct transcript *transcript)
{
    static const char marks[] = "?DPQCE";
    while (true)
    {
        struct slice payload;
        enum websocket_event event = websocket_next (websocket, &input, &payload);
        if (event == WEBSOCKET_MORE)
        {
            assert_int_equal (input.len, 0);
            return true;
        }
        note (transcript, marks[event], payload, websocket_code (websocket));
        if (event == WEBSOCKET_ERROR)
            assert_non_null (websocket_error (websocket));
    }
}

/* Adds a client's frame, masked. */
static size_t put_frame (char *out, unsigned first, const char *payload, size_t length)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t at = 0;
    out[at++] = (char) first;
    if (length < 126)
        out[at++] = (char) (0x80 | length);
    else if (length < 65536)
    {
        out[at++] = (char) (0x80 | 126);
        out[at++] = (char) (length >> 8);
        out[at++] = (char) length;
    }
    else
    {
        out[at++] = (char) (0x80 | 127);
        for (int shift = 56; shift >= 0; shift -= 8)
            out[at++] = (char) ((uint64_t) length >> shift);
    }
    memcpy (out + at, mask, 4);
    at += 4;
    for (size_t index = 0; index < length; index++)
        out[at + index] = (char) ((uint8_t) payload[index] ^ mask[index % 4]);
    return at + length;
}

static void expect (struct slice bytes, const char *expected)
{
    static struct transcript transcript;
    transcript.length = 0;
    transcript.in_data = false;
    transcript.text[0] = '\0';
    struct websocket *websocket = websocket_new ();
    feed (websocket, bytes, &transcript);
    websocket_destroy (&websocket);
    if (strcmp (transcript.text, expected) != 0)
        fail_msg ("%s instead of %s", transcript.text, expected);
}

/* The whole in one piece, byte by byte, and in two pieces at every place. */
static void expect_at_every_split (struct slice bytes, const char *expected)
{
    static struct transcript transcript;
    expect (bytes, expected);
    for (size_t split = 0; split <= bytes.len; split++)
    {
        transcript.length = 0;
        transcript.in_data = false;
        struct websocket *websocket = websocket_new ();
        if (split == 0)
            for (size_t index = 0; index < bytes.len; index++)
                feed (websocket, slice_of (bytes.at + index, 1), &transcript);
        else
        {
            feed (websocket, slice_of (bytes.at, split), &transcript);
            feed (websocket, slice_skip (bytes, split), &transcript);
        }
        websocket_destroy (&websocket);
        if (strcmp (transcript.text, expected) != 0)
            fail_msg ("split at %zu: %s instead of %s", split, transcript.text, expected);
    }
}

static void reads_the_examples_of_the_rfc (void **state)
{
    (void) state;
    /* RFC 6455 section 5.7: a masked text message, a masked pong. */
    static const char text[] = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    static const char pong[] = "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    expect_at_every_split (slice_of (text, sizeof text - 1), "DHello");
    expect_at_every_split (slice_of (pong, sizeof pong - 1), "QHello");
}

static void joins_fragments_and_answers_control_frames_between_them (void **state)
{
    (void) state;
    char bytes[1024];
    size_t length = put_frame (bytes, 0x01, "caf\xc3", 4); /* split within a character */
    length += put_frame (bytes + length, 0x89, "are you there", 13);
    length += put_frame (bytes + length, 0x00, "", 0);
    length += put_frame (bytes + length, 0x80, "\xa9!", 2);
    length += put_frame (bytes + length, 0x8a, "", 0);
    length += put_frame (bytes + length, 0x02, "\xff\xfe", 2);
    length += put_frame (bytes + length, 0x80, "\x80", 1);
    length += put_frame (bytes + length, 0x81, "", 0);
    length += put_frame (bytes + length, 0x88,
                         "\x03\xe9"
                         "bye",
                         5);
    length += put_frame (bytes + length, 0x81, "too late", 8);
    expect_at_every_split (slice_of (bytes, length), "Dcaf\xc3Pare you thereD\xa9!QD\xff\xfe\x80"
                                                     "Cbye1001");
}

static void reads_every_length (void **state)
{
    (void) state;
    static char bytes[300000], expected[300000], payload[200000];
    static const size_t lengths[] = {0, 1, 125, 126, 127, 4095, 4096, 4097, 65535, 65536, 200000};
    for (size_t index = 0; index < sizeof payload; index++)
        payload[index] = (char) ('a' + index % 26);
    for (size_t row = 0; row < sizeof lengths / sizeof *lengths; row++)
    {
        size_t length = put_frame (bytes, 0x82, payload, lengths[row]);
        length += put_frame (bytes + length, 0x8a, "x", 1);
        size_t at = 0;
        if (lengths[row])
            expected[at++] = 'D';
        memcpy (expected + at, payload, lengths[row]);
        strcpy (expected + at + lengths[row], "Qx");
        expect (slice_of (bytes, length), expected);
    }
}

static void refuses_what_breaks_the_protocol (void **state)
{
    (void) state;
    char long_ping[200] = {0}, bytes[1024];
    static const struct
    {
        const char *bytes;
        size_t length;
    } rows[] = {
#define ROW(text) {text, sizeof text - 1}
        ROW ("\x81\x05Hello"),     /* not masked */
        ROW ("\x89\x00"),          /* a ping that is not masked */
        ROW ("\xc1\x81\1\2\3\4x"), /* reserved bits */
        ROW ("\xa1\x81\1\2\3\4x"),
        ROW ("\x91\x81\1\2\3\4x"),
        ROW ("\x83\x80\1\2\3\4"),
        ROW ("\x87\x80\1\2\3\4"), /* reserved opcodes */
        ROW ("\x8b\x80\1\2\3\4"),
        ROW ("\x8f\x80\1\2\3\4"),
        ROW ("\x80\x81\1\2\3\4x"),                        /* continues nothing */
        ROW ("\x01\x81\1\2\3\4\x40\x81\x81\1\2\3\4\x40"), /* a message in a message */
        ROW ("\x09\x80\1\2\3\4"),                         /* a ping in fragments */
        ROW ("\x89\xfe\x00\x7e\1\2\3\4"),                 /* a ping of 126 bytes */
        ROW ("\x82\xfe\x00\x7d\1\2\3\4"),                 /* a length that is not in its shortest form */
        ROW ("\x82\xff\0\0\0\0\0\0\xff\xff\1\2\3\4"),
        ROW ("\x82\xff\x80\0\0\0\0\0\0\0\1\2\3\4"), /* a length over 2^63 */
        ROW ("\x88\x81\0\0\0\0\x03"),               /* half a code */
        ROW ("\x88\x82\0\0\0\0\x03\xe7"),           /* 999 */
        ROW ("\x88\x82\0\0\0\0\x03\xec"),           /* 1004, 1005, 1006, 1015 are not for the wire */
        ROW ("\x88\x82\0\0\0\0\x03\xed"),
        ROW ("\x88\x82\0\0\0\0\x03\xee"),
        ROW ("\x88\x82\0\0\0\0\x03\xf7"),
        ROW ("\x88\x82\0\0\0\0\x07\xd0"), /* 2000 */
        ROW ("\x88\x82\0\0\0\0\x13\x88"), /* 5000 */
#undef ROW
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct websocket *websocket = websocket_new ();
        static struct transcript transcript;
        transcript.length = 0;
        feed (websocket, slice_of (rows[row].bytes, rows[row].length), &transcript);
        const char *mark = strchr (transcript.text, 'E');
        if (!mark || strcmp (mark, "E1002") != 0)
            fail_msg ("row %zu: %s", row, transcript.text);
        /* And nothing after it counts. */
        size_t length = put_frame (bytes, 0x89, long_ping, 3);
        feed (websocket, slice_of (bytes, length), &transcript);
        assert_string_equal (mark, "E1002");
        websocket_destroy (&websocket);
    }
}

static void knows_close_codes (void **state)
{
    (void) state;
    static const unsigned codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
                                     1010, 1011, 1012, 1013, 1014, 3000, 4999};
    for (size_t row = 0; row < sizeof codes / sizeof *codes; row++)
    {
        char bytes[64], body[2] = {(char) (codes[row] >> 8), (char) codes[row]}, expected[16];
        size_t length = put_frame (bytes, 0x88, body, 2);
        snprintf (expected, sizeof expected, "C%u", codes[row]);
        expect (slice_of (bytes, length), expected);
    }
    char bytes[64];
    expect (slice_of (bytes, put_frame (bytes, 0x88, "", 0)), "C1005");
}

static void text_must_be_utf8 (void **state)
{
    (void) state;
    static const char *const rows[] = {"\xff",     "a\x80",   "\xc3(", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                       "\xe2\x82", "\xc0\xaf"};
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        char bytes[64], expected[64];
        size_t length = put_frame (bytes, 0x81, rows[row], strlen (rows[row]));
        expect (slice_of (bytes, length), "E1007");
        /* As bytes they are welcome. */
        length = put_frame (bytes, 0x82, rows[row], strlen (rows[row]));
        snprintf (expected, sizeof expected, "D%s", rows[row]);
        expect (slice_of (bytes, length), expected);
    }
    /* An incomplete character at the end of a message; in the reason of a close frame. */
    char bytes[64];
    size_t length = put_frame (bytes, 0x01, "\xe2", 1);
    length += put_frame (bytes + length, 0x80, "\x82", 1);
    expect (slice_of (bytes, length), "D\xe2"
                                      "E1007");
    expect (slice_of (bytes, put_frame (bytes, 0x88, "\x03\xe8\xff", 3)), "E1007");
    expect (slice_of (bytes, put_frame (bytes, 0x88, "\x03\xe8\xe2\x82", 4)), "E1007");
}

/* ------------------------------------------------------------------------------------------------------ frames out */

static void writes_frames (void **state)
{
    (void) state;
    static char payload[70000], out[70000 + WEBSOCKET_HEADER_MAX];
    memset (payload, 'x', sizeof payload);
    static const struct
    {
        size_t length;
        const char *header;
        size_t header_length;
    } rows[] = {
        {0, "\x81\x00", 2},
        {5, "\x81\x05", 2},
        {125, "\x81\x7d", 2},
        {126, "\x81\x7e\x00\x7e", 4},
        {65535, "\x81\x7e\xff\xff", 4},
        {65536, "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10},
    };
    struct websocket *websocket = websocket_new ();
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        size_t length = websocket_write (websocket, WEBSOCKET_TEXT, slice_of (payload, rows[row].length), out);
        assert_int_equal (length, rows[row].header_length + rows[row].length);
        assert_int_equal (length, websocket_frame_bytes (rows[row].length));
        assert_memory_equal (out, rows[row].header, rows[row].header_length);
        assert_memory_equal (out + rows[row].header_length, payload, rows[row].length);
    }
    assert_int_equal (websocket_write (websocket, WEBSOCKET_PONG_FRAME, SLICE ("hi"), out), 4);
    assert_memory_equal (out, "\x8a\x02hi", 4);
    assert_int_equal (websocket_write (websocket, WEBSOCKET_PING_FRAME, SLICE (""), out), 2);
    assert_memory_equal (out, "\x89\x00", 2);
    websocket_destroy (&websocket);
    websocket_destroy (&websocket);
}

static void writes_close_frames (void **state)
{
    (void) state;
    char out[WEBSOCKET_CLOSE_FRAME_MAX], reason[400];
    struct websocket *websocket = websocket_new ();
    assert_int_equal (websocket_write_close (websocket, 1000, SLICE (""), out), 4);
    assert_memory_equal (out, "\x88\x02\x03\xe8", 4);
    assert_int_equal (websocket_write_close (websocket, WEBSOCKET_NO_CODE, SLICE ("ignored"), out), 2);
    assert_memory_equal (out, "\x88\x00", 2);
    assert_int_equal (websocket_write_close (websocket, 1011, SLICE ("no\xff such"), out), 11);
    assert_memory_equal (out, "\x88\x09\x03\xf3no such", 11);
    /* 122 bytes and a character of two: it does not fit and is not split. */
    memset (reason, 'r', sizeof reason);
    memcpy (reason + 122, "\xc3\xa9", 2);
    assert_int_equal (websocket_write_close (websocket, 1011, slice_of (reason, sizeof reason), out), 2 + 2 + 122);
    assert_int_equal ((uint8_t) out[1], 124);
    memset (reason, 'r', sizeof reason);
    assert_int_equal (websocket_write_close (websocket, 1011, slice_of (reason, sizeof reason), out), 2 + 125);
    websocket_destroy (&websocket);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (accepts_as_the_rfc_does),
        cmocka_unit_test (checks_the_handshake),
        cmocka_unit_test (compares_origins),
        cmocka_unit_test (reads_the_examples_of_the_rfc),
        cmocka_unit_test (joins_fragments_and_answers_control_frames_between_them),
        cmocka_unit_test (reads_every_length),
        cmocka_unit_test (refuses_what_breaks_the_protocol),
        cmocka_unit_test (knows_close_codes),
        cmocka_unit_test (text_must_be_utf8),
        cmocka_unit_test (writes_frames),
        cmocka_unit_test (writes_close_frames),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
