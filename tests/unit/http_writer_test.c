/* http_writer_test - heads as bytes: the forms, the end of the memory, and what must never be written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/reader.h"
#include "http/writer.h"

#include <stdio.h>
#include <stdlib.h>

static const struct header fields[] = {
    {{"Host", 4}, {"a:1", 3}},
    {{"X-Empty", 7}, {NULL, 0}},
    {{"X-Text", 6}, {"b\tc\xc3\xa4", 5}},
};

static const struct headers all_fields = {.at = fields, .count = 3};

static const char request_text[] = "PUT /x?y HTTP/1.1\r\nHost: a:1\r\nX-Empty: \r\nX-Text: b\tc\xc3\xa4\r\n"
                                   "Content-Length: 18446744073709551615\r\n\r\n";

static void write_request (struct http_writer *writer)
{
    http_write_request_line (writer, SLICE ("PUT"), SLICE ("/x?y"));
    http_write_headers (writer, all_fields);
    http_write_framing (writer, FRAMING_LENGTH, UINT64_MAX);
    http_write_end (writer);
}

static void expect_text (struct http_writer *writer, const char *text)
{
    assert_false (writer->overflow);
    assert_int_equal (writer->length, strlen (text));
    assert_memory_equal (writer->at, text, writer->length);
    writer->length = 0;
}

static void writes_heads (void **state)
{
    (void) state;
    char out[512];
    struct http_writer writer = {.at = out, .capacity = sizeof out};
    write_request (&writer);
    expect_text (&writer, request_text);
    http_write_status_line (&writer, 200, SLICE ("Fine"));
    expect_text (&writer, "HTTP/1.1 200 Fine\r\n");
    http_write_status_line (&writer, 404, slice_of (NULL, 0));
    expect_text (&writer, "HTTP/1.1 404 Not Found\r\n");
    http_write_status_line (&writer, 299, SLICE (""));
    expect_text (&writer, "HTTP/1.1 299 Unknown\r\n");
    http_write_framing (&writer, FRAMING_CHUNKED, 7);
    expect_text (&writer, "Transfer-Encoding: chunked\r\n");
    http_write_framing (&writer, FRAMING_LENGTH, 0);
    expect_text (&writer, "Content-Length: 0\r\n");
    http_write_framing (&writer, FRAMING_NONE, 7);
    http_write_framing (&writer, FRAMING_RAW, 7);
    http_write_framing (&writer, FRAMING_CLOSE, 7);
    http_write (&writer, slice_of (NULL, 0));
    expect_text (&writer, "");
    http_write_number (&writer, 1234567890);
    expect_text (&writer, "1234567890");
}

/* In a block of any size: the whole text, or an overflow with a beginning of it; never a byte beyond. */
static void notices_the_end (void **state)
{
    (void) state;
    for (size_t capacity = 0; capacity < sizeof request_text + 2; capacity++)
    {
        char *out = malloc (capacity ? capacity : 1);
        assert_non_null (out);
        struct http_writer writer = {.at = capacity ? out : out + 1, .capacity = capacity};
        write_request (&writer);
        assert_int_equal (writer.overflow, capacity < sizeof request_text - 1);
        assert_true (writer.length <= capacity);
        assert_memory_equal (writer.at, request_text, writer.length);
        size_t length = writer.length;
        http_write_end (&writer);
        if (capacity < sizeof request_text - 1)
            assert_int_equal (writer.length, length); /* nothing more once it overflowed */
        free (out);
    }
}

/* What could make a second header or a second message out of one. */
static void refuses_breaks (void **state)
{
    (void) state;
    static const struct slice bad[] = {{"a\rb", 3},      {"a\nb", 3},       {"a\0b", 3},         {"\r\n", 2},
                                       {"0123456\n", 8}, {"01234567\r", 9}, {"0123456789\0", 11}};
    char out[512];
    for (size_t row = 0; row < sizeof bad / sizeof bad[0]; row++)
        for (int form = 0; form < 5; form++)
        {
            struct http_writer writer = {.at = out, .capacity = sizeof out};
            if (form == 0)
                http_write_field (&writer, bad[row], SLICE ("x"));
            if (form == 1)
                http_write_field (&writer, SLICE ("X"), bad[row]);
            if (form == 2)
                http_write_request_line (&writer, bad[row], SLICE ("/"));
            if (form == 3)
                http_write_request_line (&writer, SLICE ("GET"), bad[row]);
            if (form == 4)
                http_write_status_line (&writer, 200, bad[row]);
            assert_true (writer.overflow);
            assert_int_equal (writer.length, 0);
        }
    static const struct slice targets[] = {{"", 0}, {"/a b", 4}, {"/a#b", 4}, {"/\x80", 2}};
    for (size_t row = 0; row < 4; row++)
    {
        struct http_writer writer = {.at = out, .capacity = sizeof out};
        http_write_request_line (&writer, SLICE ("GET"), targets[row]);
        assert_true (writer.overflow && writer.length == 0);
    }
}

static void writes_chunk_heads (void **state)
{
    (void) state;
    static const struct
    {
        size_t size;
        const char *text;
    } sizes[] = {{0, "0\r\n"},
                 {1, "1\r\n"},
                 {15, "f\r\n"},
                 {16, "10\r\n"},
                 {255, "ff\r\n"},
                 {65536, "10000\r\n"},
                 {0xabc123, "abc123\r\n"},
                 {SIZE_MAX, NULL}};
    for (size_t row = 0; row < sizeof sizes / sizeof sizes[0]; row++)
    {
        char out[18], expected[32];
        size_t length = http_chunk_head (out, sizes[row].size);
        snprintf (expected, sizeof expected, "%zx\r\n", sizes[row].size);
        assert_string_equal (expected, sizes[row].text ? sizes[row].text : expected);
        assert_int_equal (length, strlen (expected));
        assert_memory_equal (out, expected, length);
    }
}

/* A head of the bound's size always fits, the longest standard reason included. */
static void bounds_heads (void **state)
{
    (void) state;
    for (unsigned status = 100; status < 600; status++)
    {
        size_t bound = http_head_bound (slice_of (NULL, 0), slice_of (NULL, 0), all_fields);
        char *out = malloc (bound);
        struct http_writer writer = {.at = out, .capacity = bound};
        http_write_status_line (&writer, status, slice_of (NULL, 0));
        http_write_headers (&writer, all_fields);
        http_write_framing (&writer, FRAMING_LENGTH, UINT64_MAX);
        http_write_end (&writer);
        assert_false (writer.overflow);
        free (out);
    }
    assert_true (http_head_bound (SLICE ("PUT"), SLICE ("/x?y"), all_fields) >= sizeof request_text - 1);
}

/* What is written is read as the same. */
static void is_read_back (void **state)
{
    (void) state;
    char out[512];
    struct header table[HTTP_HEADERS_MAX];
    struct http_reader reader;
    struct http_writer writer = {.at = out, .capacity = sizeof out};
    http_write_request_line (&writer, SLICE ("PUT"), SLICE ("/x?y"));
    http_write_headers (&writer, all_fields);
    http_write_framing (&writer, FRAMING_LENGTH, 12);
    http_write_end (&writer);
    http_reader_init (&reader, false);
    assert_int_equal (http_reader_head (&reader, out, writer.length, table), HTTP_DONE);
    assert_true (slice_equal (reader.head.method, SLICE ("PUT")) && slice_equal (reader.head.target, SLICE ("/x?y")));
    assert_true (slice_equal (reader.head.authority, SLICE ("a:1")));
    assert_int_equal (reader.head.framing, FRAMING_LENGTH);
    assert_int_equal (reader.head.length, 12);
    assert_int_equal (reader.head.headers.count, 2);
    for (size_t at = 0; at < 2; at++)
        assert_true (slice_equal (table[at].name, fields[1 + at].name) &&
                     slice_equal (table[at].value, fields[1 + at].value));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (writes_heads),       cmocka_unit_test (notices_the_end), cmocka_unit_test (refuses_breaks),
        cmocka_unit_test (writes_chunk_heads), cmocka_unit_test (bounds_heads),    cmocka_unit_test (is_read_back),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
