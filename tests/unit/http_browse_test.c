/* http_browse_test - targets of browsing, names and paths; decoding of queries; strings of JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/browse.h"
#include "http/json_text.h"
#include "http/url.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void reads_targets (void **state)
{
    (void) state;
    static const struct
    {
        const char *target;
        int operation; /* -1: none of browsing */
        bool first_shape;
        const char *volume, *query;
    } rows[] = {
        {"/browse/ls", BROWSE_LIST, false, "", ""},
        {"/browse/get?path=/a", BROWSE_GET, false, "", "path=/a"},
        {"/v2/browse/delete?", BROWSE_DELETE, false, "", ""},
        {"/v2/browse/rename?volumeID=v", BROWSE_RENAME, false, "", "volumeID=v"},
        {"/v1.41/v2/browse/put", BROWSE_PUT, false, "", ""},
        {"/v1/browse/vol/ls", BROWSE_LIST, true, "vol", ""},
        {"/v1.24/v1/browse/a%2fb/put?x", BROWSE_PUT, true, "a%2fb", "x"},
        {"/v1/browse/get/get", BROWSE_GET, true, "get", ""},
        {"/v1/browse/ls", -1, false, "", ""},
        {"/v1/browse//ls", -1, false, "", ""},
        {"/v2/browse/vol/ls", -1, false, "", ""},
        {"/browse/vol/ls", -1, false, "", ""},
        {"/browse/lsx", -1, false, "", ""},
        {"/browse/", -1, false, "", ""},
        {"/host/info", -1, false, "", ""},
        {"/", -1, false, "", ""},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct browse_target browse;
        bool good = browse_target_read (slice_from (rows[row].target), &browse);
        if (good != (rows[row].operation >= 0))
            fail_msg ("%s", rows[row].target);
        if (!good)
            continue;
        assert_int_equal (browse.operation, rows[row].operation);
        assert_int_equal (browse.first_shape, rows[row].first_shape);
        assert_true (slice_equal (browse.volume, slice_from (rows[row].volume)));
        assert_true (slice_equal (browse.query, slice_from (rows[row].query)));
    }
}

static void knows_names_of_volumes (void **state)
{
    (void) state;
    static const char *const good[] = {"a", "0", "vol", "A-b_c.d", "9..", "a.-_"};
    static const char *const bad[] = {"",    ".",    "..", ".a",  "-a",       "_a", "a/b",
                                      "a b", "a\\b", "a%", "a\n", "\xc3\xbc", "a:"};
    for (size_t row = 0; row < sizeof good / sizeof *good; row++)
        assert_true (browse_is_volume (slice_from (good[row])));
    for (size_t row = 0; row < sizeof bad / sizeof *bad; row++)
        assert_false (browse_is_volume (slice_from (bad[row])));
    char longest[256];
    memset (longest, 'a', sizeof longest);
    assert_true (browse_is_volume (slice_of (longest, 255)));
    assert_false (browse_is_volume (slice_of (longest, 256)));
    assert_false (browse_is_volume (slice_of ("a\0b", 3)));
}

static void knows_paths_that_climb (void **state)
{
    (void) state;
    static const char *const climbing[] = {"..", "/..", "../", "a/..", "a/../b", "..\\a", "a\\..", "a/..\\b"};
    static const char *const staying[] = {"", "/", ".", "...", "a..b", "..a", "a..", "/a/.../b", "a/. ./b", ". ."};
    for (size_t row = 0; row < sizeof climbing / sizeof *climbing; row++)
        assert_true (browse_climbs (slice_from (climbing[row])));
    for (size_t row = 0; row < sizeof staying / sizeof *staying; row++)
        assert_false (browse_climbs (slice_from (staying[row])));
}

static void takes_the_root_off (void **state)
{
    (void) state;
    static const struct
    {
        const char *path, *root, *below;
    } rows[] = {
        {"/host/etc", "/host", "/etc"},           {"/host", "/host", ""},          {"/host/", "/host/", "/"},
        {"/hostx/etc", "/host", "/hostx/etc"},    {"/etc", "/host", "/etc"},       {"etc", "/host", "etc"},
        {"/mnt/h/etc", "/mnt/h", "/etc"},         {"/host/etc", "/mnt/h", "/etc"}, {"/mnt/hx/e", "/mnt/h", "/mnt/hx/e"},
        {"/host/host/etc", "/host", "/host/etc"}, {"/etc", "/", "/etc"},           {"/host/../x", "/host", "/../x"},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
        assert_string_equal (browse_below_root (slice_from (rows[row].path), slice_from (rows[row].root)).at,
                             rows[row].below);
}

static void knows_names_of_files (void **state)
{
    (void) state;
    assert_true (browse_is_file_name (SLICE ("a")));
    assert_true (browse_is_file_name (SLICE ("...")));
    assert_true (browse_is_file_name (SLICE ("a\\b \n")));
    assert_false (browse_is_file_name (SLICE ("")));
    assert_false (browse_is_file_name (SLICE (".")));
    assert_false (browse_is_file_name (SLICE ("..")));
    assert_false (browse_is_file_name (SLICE ("a/b")));
    assert_false (browse_is_file_name (SLICE ("a\0b")));
}

static void decodes_values (void **state)
{
    (void) state;
    static const struct
    {
        const char *value, *text; /* NULL: refused */
    } rows[] = {
        {"", ""},         {"abc", "abc"}, {"a+b", "a b"}, {"a%2Bb%2f", "a+b/"}, {"%c3%9C", "\xc3\x9c"}, {"%25", "%"},
        {"%2525", "%25"}, {"%", NULL},    {"a%2", NULL},  {"%zz", NULL},        {"%00", NULL},          {"a%00b", NULL},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct slice value = slice_from (rows[row].value);
        char *exact = malloc (value.len + !value.len);
        memcpy (exact, value.at, value.len);
        size_t length;
        bool good = url_decode (slice_of (exact, value.len), exact, &length);
        assert_int_equal (good, rows[row].text != NULL);
        if (good)
            assert_true (slice_equal (slice_of (exact, length), slice_from (rows[row].text)));
        free (exact);
    }
}

/* Every string comes back from a JSON parser as it went in. */
static void writes_json_that_others_read (void **state)
{
    (void) state;
    char text[256 + 8], out[JSON_TEXT_FACTOR * sizeof text + 2];
    size_t length = 0;
    for (unsigned byte = 1; byte < 0x80; byte++)
        text[length++] = (char) byte;
    memcpy (text + length, "\xc3\x9c\xe2\x82\xac\xf0\x9f\x98\x80", 9);
    length += 9;
    size_t written = json_text_write (out, slice_of (text, length));
    json_t *value = json_loadb (out, written, JSON_DECODE_ANY, NULL);
    assert_non_null (value);
    assert_int_equal (json_string_length (value), length);
    assert_memory_equal (json_string_value (value), text, length);
    json_decref (value);
}

static void replaces_what_is_not_utf8 (void **state)
{
    (void) state;
    static const struct
    {
        const char *text, *json;
    } rows[] = {
        {"", "\"\""},
        {"a\"\\\n\x01\x7f/<&", "\"a\\\"\\\\\\n\\u0001\\u007f/<&\""},
        {"a\xff"
         "b",
         "\"a\xef\xbf\xbd"
         "b\""},
        {"\xc3", "\"\xef\xbf\xbd\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        char out[100];
        size_t length = json_text_write (out, slice_from (rows[row].text));
        assert_true (slice_equal (slice_of (out, length), slice_from (rows[row].json)));
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (reads_targets),
        cmocka_unit_test (knows_names_of_volumes),
        cmocka_unit_test (knows_paths_that_climb),
        cmocka_unit_test (takes_the_root_off),
        cmocka_unit_test (knows_names_of_files),
        cmocka_unit_test (decodes_values),
        cmocka_unit_test (writes_json_that_others_read),
        cmocka_unit_test (replaces_what_is_not_utf8),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
