/* http_file_answer_test - dates, ranges and conditions of files, and what type a file is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/content_type.h"
#include "http/date.h"
#include "http/file_answer.h"

#include <stdio.h>
#include <stdlib.h>

static void reads_dates (void **state)
{
    (void) state;
    static const struct
    {
        const char *text;
        int64_t seconds; /* -1: refused */
    } rows[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Tue, 19 Jan 2038 03:14:08 GMT", 2147483648},
        {"Thu, 29 Feb 2024 23:59:59 GMT", 1709251199},
        {"Wed, 29 Feb 2023 23:59:59 GMT", -1},
        {"Sun, 06 Nov 1994 08:49:37", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMT+1", -1},
        {"Sun, 06 Nov 1994 08:49:37 UTC", -1},
        {"Sun, 32 Nov 1994 08:49:37 GMT", -1},
        {"784111777", -1},
        {"", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMTaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", -1},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        int64_t seconds = -1;
        struct slice text = slice_from (rows[row].text);
        char *exact = malloc (text.len ? text.len : 1);
        memcpy (exact, text.at, text.len);
        bool good = http_date_read (slice_of (exact, text.len), &seconds);
        if (good != (rows[row].seconds >= 0) || (good && seconds != rows[row].seconds))
            fail_msg ("%s: %d %lld", rows[row].text, good, (long long) seconds);
        free (exact);
    }
    int64_t seconds;
    assert_false (http_date_read (slice_of ("Sun, 06 Nov 1994 08:49:37 GMT\0x", 31), &seconds));
}

static void writes_dates (void **state)
{
    (void) state;
    char text[HTTP_DATE_BYTES];
    http_date_write (784111777, text);
    assert_string_equal (text, "Sun, 06 Nov 1994 08:49:37 GMT");
    http_date_write (0, text);
    assert_string_equal (text, "Thu, 01 Jan 1970 00:00:00 GMT");
    http_date_write (INT64_MAX, text);
    assert_string_equal (text, "Fri, 31 Dec 9999 23:59:59 GMT");
    http_date_write (INT64_MIN, text);
    assert_string_equal (text, "Mon, 01 Jan 0001 00:00:00 GMT");
    for (int64_t seconds = -2000000000; seconds < 40000000000; seconds += 12345678)
    {
        int64_t again;
        http_date_write (seconds, text);
        assert_true (http_date_read (slice_from (text), &again));
        assert_int_equal (again, seconds);
    }
}

/* What a Range gives for a file of so many bytes: `first+length …`, `ignored` or `none`. */
static void expect_range (const char *value, uint64_t size, const char *expected)
{
    struct http_range ranges[HTTP_RANGES_MAX];
    size_t count, used = 0;
    char text[4096] = "";
    enum http_range_result result = http_range_read (slice_from (value), size, ranges, &count);
    assert_int_equal (result == HTTP_RANGE_PARTIAL, count > 0);
    if (result != HTTP_RANGE_PARTIAL)
        snprintf (text, sizeof text, "%s", result == HTTP_RANGE_IGNORED ? "ignored" : "none");
    for (size_t index = 0; result == HTTP_RANGE_PARTIAL && index < count; index++)
        used += (size_t) snprintf (text + used, sizeof text - used, index ? " %llu+%llu" : "%llu+%llu",
                                   (unsigned long long) ranges[index].first, (unsigned long long) ranges[index].length);
    if (strcmp (text, expected) != 0)
        fail_msg ("%s of %llu: %s instead of %s", value, (unsigned long long) size, text, expected);
}

static void reads_ranges (void **state)
{
    (void) state;
    static const struct
    {
        const char *value;
        uint64_t size;
        const char *expected;
    } rows[] = {
        {"bytes=0-0", 10, "0+1"},
        {"bytes=0-", 10, "0+10"},
        {"bytes=3-5", 10, "3+3"},
        {"bytes=3-50", 10, "3+7"},
        {"bytes=9-9", 10, "9+1"},
        {"bytes=-1", 10, "9+1"},
        {"bytes=-10", 10, "0+10"},
        {"bytes=-11", 10, "0+10"},
        {"BYTES=1-1", 10, "1+1"},
        {"bytes= 1-1 , 3-3", 10, "1+1 3+1"},
        {"bytes=,1-1,,3-3,", 10, "1+1 3+1"},
        {"bytes=5-6,0-1", 10, "5+2 0+2"},
        {"bytes=0-1,20-30", 10, "0+2"},
        {"bytes=0-18446744073709551615", 10, "0+10"},
        {"bytes=0-99999999999999999999999", 10, "0+10"},
        {"bytes=-99999999999999999999999", 10, "0+10"},
        {"bytes=4294967296-4294967297", UINT64_C (1) << 33, "4294967296+2"},
        {"bytes=0-", INT64_MAX, "0+9223372036854775807"},
        {"bytes=10-", 10, "none"},
        {"bytes=99999999999999999999999-", 10, "none"},
        {"bytes=-0", 10, "none"},
        {"bytes=5-4", 10, "none"},
        {"bytes=a-4", 10, "none"},
        {"bytes=1-b", 10, "none"},
        {"bytes=1", 10, "none"},
        {"bytes=-", 10, "none"},
        {"bytes=1-1x", 10, "none"},
        {"bytes=1 -2", 10, "none"},
        {"bytes=+1-2", 10, "none"},
        {"bytes=", 10, "none"},
        {"bytes=,", 10, "none"},
        {"bytes=1-1,x", 10, "none"},
        {"bytes=0-9,0-9", 10, "ignored"},
        {"bytes=0-5,5-9", 10, "ignored"},
        {"items=0-1", 10, "ignored"},
        {"bytes", 10, "ignored"},
        {"", 10, "ignored"},
        {"bytes=0-0", 0, "ignored"},
        {"bytes=-1", 0, "ignored"},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
        expect_range (rows[row].value, rows[row].size, rows[row].expected);
}

static void counts_ranges (void **state)
{
    (void) state;
    char value[1024] = "bytes=", expected[1024] = "";
    for (unsigned index = 0; index < HTTP_RANGES_MAX; index++)
    {
        snprintf (value + strlen (value), sizeof value - strlen (value), "%u-%u,", index, index);
        snprintf (expected + strlen (expected), sizeof expected - strlen (expected), index ? " %u+1" : "%u+1", index);
    }
    expect_range (value, 1000, expected);
    strcat (value, "70-70");
    expect_range (value, 1000, "ignored");
}

static void writes_parts_as_long_as_announced (void **state)
{
    (void) state;
    struct http_range range = {INT64_MAX - 1, 1};
    struct slice boundary = SLICE ("0123456789abcdef0123456789abcdef");
    struct slice type = SLICE ("application/vnd.0123456789012345678901234567890123456789012345678");
    char text[HTTP_PART_HEAD_BYTES], value[HTTP_RANGE_TEXT_BYTES];
    assert_int_equal (type.len, 65);
    size_t length = http_range_part_head (&range, INT64_MAX, boundary, type, text);
    assert_int_equal (length, strlen (text));
    assert_non_null (
        strstr (text, "\r\nContent-Range: bytes 9223372036854775806-9223372036854775806/9223372036854775807\r\n"));
    assert_int_equal (http_range_write (NULL, 10, value), 10);
    assert_string_equal (value, "bytes */10");
    length = http_range_end (boundary, text);
    assert_int_equal (length, strlen (text));
    assert_string_equal (text, "\r\n--0123456789abcdef0123456789abcdef--\r\n");
}

#define TIME   1571000000
#define BEFORE "Sun, 13 Oct 2019 20:53:19 GMT"
#define AT     "Sun, 13 Oct 2019 20:53:20 GMT"
#define BEHIND "Sun, 13 Oct 2019 20:53:21 GMT"

static void decides_by_conditions (void **state)
{
    (void) state;
    static const struct
    {
        const char *headers[4]; /* name, value, name, value */
        int64_t modified;
        unsigned status;
    } rows[] = {
        {{"X", "y"}, TIME, 200},
        {{"If-Modified-Since", BEFORE}, TIME, 200},
        {{"If-Modified-Since", AT}, TIME, 304},
        {{"If-Modified-Since", BEHIND}, TIME, 304},
        {{"If-Modified-Since", "Sunday, 13-Oct-19 20:53:20 GMT"}, TIME, 304},
        {{"If-Modified-Since", "never"}, TIME, 200},
        {{"If-Modified-Since", BEHIND}, 0, 200},
        {{"If-Unmodified-Since", BEFORE}, TIME, 412},
        {{"If-Unmodified-Since", AT}, TIME, 200},
        {{"If-Unmodified-Since", "never"}, TIME, 200},
        {{"If-Unmodified-Since", BEFORE}, 0, 200},
        {{"If-Match", "*", "If-Unmodified-Since", BEFORE}, TIME, 200},
        {{"If-Match", "\"a\""}, TIME, 412},
        {{"If-None-Match", "*"}, TIME, 304},
        {{"If-None-Match", "\"a\"", "If-Modified-Since", AT}, TIME, 200},
        {{"Range", "bytes=0-0"}, TIME, 206},
        {{"Range", "bytes=99-"}, TIME, 416},
        {{"Range", "bytes=0-0", "If-Range", AT}, TIME, 206},
        {{"Range", "bytes=0-0", "If-Range", BEFORE}, TIME, 200},
        {{"Range", "bytes=0-0", "If-Range", BEHIND}, TIME, 200},
        {{"Range", "bytes=0-0", "If-Range", "\"a\""}, TIME, 200},
        {{"Range", "bytes=0-0", "If-Range", AT}, 0, 200},
        {{"Range", "bytes=99-", "If-Modified-Since", AT}, TIME, 304},
        {{"range", "bytes=0-0", "if-unmodified-since", BEFORE}, TIME, 412},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        const char *const *given = rows[row].headers;
        struct header headers[] = {{slice_from (given[0]), slice_from (given[1])},
                                   {slice_from (given[2]), slice_from (given[3])}};
        struct file_answer answer;
        file_answer_decide ((struct headers){headers, given[2] ? 2 : 1}, 10, rows[row].modified, &answer);
        if (answer.status != rows[row].status || (answer.status == 206) != (answer.count > 0))
            fail_msg ("%s: %s: %u", given[0], given[1], answer.status);
    }
}

static void tells_types (void **state)
{
    (void) state;
    static const struct
    {
        const char *name, *type;
    } names[] = {
        {"a.html", "text/html; charset=utf-8"},
        {"a.JPG", "image/jpeg"},
        {"a.tar.gz", "application/gzip"},
        {".css", "text/css; charset=utf-8"},
        {"a.", ""},
        {"html", ""},
        {"a.htmlx", ""},
        {"", ""},
    };
    for (size_t row = 0; row < sizeof names / sizeof *names; row++)
        assert_true (slice_equal (content_type_by_name (slice_from (names[row].name)), slice_from (names[row].type)));
    static const struct
    {
        struct slice bytes;
        const char *type;
    } contents[] = {
        {{"", 0}, "text/plain; charset=utf-8"},
        {{"a\tb\r\n\f\x1b", 7}, "text/plain; charset=utf-8"},
        {{"a\0", 2}, "application/octet-stream"},
        {{"\x7f"
          "ELF\x02",
          5},
         "application/octet-stream"},
        {{" \n<HTML>", 8}, "text/html; charset=utf-8"},
        {{"<html", 5}, "text/html; charset=utf-8"},
        {{"<htm", 4}, "text/plain; charset=utf-8"},
        {{"\n<?xml version", 14}, "text/xml; charset=utf-8"},
        {{"GIF89a\0", 7}, "image/gif"},
        {{"GIF89", 5}, "text/plain; charset=utf-8"},
        {{"\xff\xd8\xff\xe0", 4}, "image/jpeg"},
        {{"PK\x03\x04\0", 5}, "application/zip"},
        {{"\xef\xbb\xbf\0", 4}, "text/plain; charset=utf-8"},
    };
    for (size_t row = 0; row < sizeof contents / sizeof *contents; row++)
    {
        char *exact = malloc (contents[row].bytes.len + !contents[row].bytes.len);
        memcpy (exact, contents[row].bytes.at, contents[row].bytes.len);
        struct slice type = content_type_by_bytes (slice_of (exact, contents[row].bytes.len));
        if (!slice_equal (type, slice_from (contents[row].type)))
            fail_msg ("%zu: %.*s", row, (int) type.len, type.at);
        free (exact);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (reads_dates),           cmocka_unit_test (writes_dates),
        cmocka_unit_test (reads_ranges),          cmocka_unit_test (counts_ranges),
        cmocka_unit_test (decides_by_conditions), cmocka_unit_test (writes_parts_as_long_as_announced),
        cmocka_unit_test (tells_types),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
