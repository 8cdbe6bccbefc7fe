/* http_url_test - request targets: cleaning, splitting, version prefix, query parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/url.h"

#include <stdlib.h>

/* The cleaned target in a block of exactly the target's size, or NULL; a refused target must be as before. */
static struct slice cleaned (const char *text, char *block)
{
    struct slice given = slice_from (text), target = slice_of (block, given.len);
    memcpy (block, given.at, given.len);
    if (url_clean (block, &target))
    {
        assert_ptr_equal (target.at, block);
        assert_true (target.len <= given.len);
        return target;
    }
    assert_memory_equal (block, given.at, given.len);
    assert_int_equal (target.len, given.len);
    return slice_of (NULL, 0);
}

static const struct
{
    const char *target, *clean; /* NULL: refused */
} targets[] = {
    {"/", "/"},
    {"/containers/json", "/containers/json"},
    {"/a/", "/a/"},
    {"//", "/"},
    {"///", "/"},
    {"//a", "/a"},
    {"/a//b", "/a/b"},
    {"/a///b//", "/a/b/"},
    {"/.", "/"},
    {"/./", "/"},
    {"/./a", "/a"},
    {"/a/.", "/a"},
    {"/a/./", "/a/"},
    {"/a/./b/././c", "/a/b/c"},
    {"/.//./.", "/"},
    {"/a/.//.", "/a"},
    {"/%2e", "/"},
    {"/a/%2E/b", "/a/b"},
    {"/a%2fb", "/a%2fb"},
    {"/images/a%2Fb%3Ac/json", "/images/a%2Fb%3Ac/json"},
    {"/a%2f.%2fb", "/a%2f.%2fb"},
    {"/.a/b./...", "/.a/b./..."},
    {"/..a/b../%2e%2e%2e", "/..a/b../%2e%2e%2e"},
    {"/a%2e%2ejson", "/a%2e%2ejson"},
    {"/?", "/?"},
    {"/a?b", "/a?b"},
    {"//a/.?//./../%zz?%0", "/a?//./../%zz?%0"},
    {"/a?filters={\"label\":[\"x\"]}", "/a?filters={\"label\":[\"x\"]}"},
    {"/a;b=c,d:e@f!$&'()*+~_-", "/a;b=c,d:e@f!$&'()*+~_-"},
    {"", NULL},
    {"a", NULL},
    {"*", NULL},
    {"?a", NULL},
    {"http://a/b", NULL},
    {"/..", NULL},
    {"/../a", NULL},
    {"/a/..", NULL},
    {"/a/../", NULL},
    {"/a/..?b", NULL},
    {"/a/%2e%2e/b", NULL},
    {"/a/.%2E", NULL},
    {"/a/%2e./b", NULL},
    {"/a%2f..", NULL},
    {"/..%2Fa", NULL},
    {"/a%2f%2e%2e%2fb", NULL},
    {"/a#b", NULL},
    {"/a?b#c", NULL},
    {"/a%", NULL},
    {"/a%2", NULL},
    {"/a%2?b", NULL},
    {"/a%g0", NULL},
    {"/a%0g", NULL},
    {"/a%00b", NULL},
    {"/a b", NULL},
    {"/a?b c", NULL},
    {"/a\t", NULL},
    {"/a\x7f", NULL},
    {"/a\x80", NULL},
    {"/a?\xff", NULL},
    {"/long-enough-for-eight-at-a-time/\xc3\xa4/x", NULL},
    {"/long-enough-for-eight-at-a-time?query#fragment", NULL},
};

static void cleans_targets (void **state)
{
    (void) state;
    for (size_t row = 0; row < sizeof targets / sizeof targets[0]; row++)
    {
        size_t length = strlen (targets[row].target);
        char *block = malloc (length ? length : 1);
        assert_non_null (block);
        struct slice clean = cleaned (targets[row].target, length ? block : block + 1);
        if ((clean.at != NULL) != (targets[row].clean != NULL) || !slice_equal (clean, slice_from (targets[row].clean)))
            fail_msg ("%s: got '%.*s', expected '%s'", targets[row].target, (int) clean.len, clean.at ? clean.at : "",
                      targets[row].clean ? targets[row].clean : "refused");
        free (block);
    }
}

/* Every byte is either visible ASCII and may stand in a path and in a query, or is refused in both. */
static void knows_each_byte (void **state)
{
    (void) state;
    for (unsigned byte = 1; byte < 256; byte++)
        for (size_t place = 0; place < 12; place++)
        {
            char block[32], text[32] = "/ghijklmnopqrst";
            bool good = byte > 0x20 && byte < 0x7f && byte != '#' && byte != '%';
            text[1 + place] = (char) byte;
            assert_int_equal (cleaned (text, block).at != NULL, good);
            text[1] = '?';
            text[2 + place] = (char) byte;
            assert_int_equal (cleaned (text, block).at != NULL, good || byte == '%');
        }
}

static void splits_targets (void **state)
{
    (void) state;
    struct slice path, query;
    url_split (SLICE ("/a/b?c=d?e"), &path, &query);
    assert_true (slice_equal (path, SLICE ("/a/b")) && slice_equal (query, SLICE ("c=d?e")));
    url_split (SLICE ("/a?"), &path, &query);
    assert_true (slice_equal (path, SLICE ("/a")) && query.len == 0 && query.at != NULL);
    url_split (SLICE ("/a"), &path, &query);
    assert_true (slice_equal (path, SLICE ("/a")) && query.at == NULL);
    url_split (slice_of (NULL, 0), &path, &query);
    assert_true (path.len == 0 && query.at == NULL);
}

static void finds_version_prefixes (void **state)
{
    (void) state;
    static const struct
    {
        const char *path;
        unsigned version;
        size_t bytes;
    } paths[] = {
        {"/v1.41/containers/json", 1041, 6},
        {"/v1.24", 1024, 6},
        {"/v1.24/", 1024, 6},
        {"/v2.0/x", 2000, 5},
        {"/v1.999/x", 1999, 7},
        {"/v0.1/x", 1, 5},
        {"/v0.0/x", 0, 0},
        {"/v1.1000/x", 0, 0},
        {"/v1.99999999999999999999/x", 0, 0},
        {"/v1.41x", 0, 0},
        {"/v1./x", 0, 0},
        {"/v1.", 0, 0},
        {"/v1", 0, 0},
        {"/v1/agents", 0, 0},
        {"/v2/ping", 0, 0},
        {"/v10.1/x", 0, 0},
        {"/V1.41/x", 0, 0},
        {"/v.41/x", 0, 0},
        {"/va.41/x", 0, 0},
        {"/x/v1.41", 0, 0},
        {"/", 0, 0},
        {"", 0, 0},
    };
    for (size_t row = 0; row < sizeof paths / sizeof paths[0]; row++)
    {
        size_t bytes = 99;
        unsigned version = url_version_prefix (slice_from (paths[row].path), &bytes);
        if (version != paths[row].version || bytes != paths[row].bytes)
            fail_msg ("%s: got %u and %zu bytes", paths[row].path, version, bytes);
    }
}

static void finds_query_parameters (void **state)
{
    (void) state;
    struct slice query = SLICE ("all=1&&nameless&=x&name=%20a+b&name=c&empty=&long=d=e");
    assert_true (slice_equal (url_query_find (query, SLICE ("all")), SLICE ("1")));
    assert_true (slice_equal (url_query_find (query, SLICE ("name")), SLICE ("%20a+b")));
    assert_true (slice_equal (url_query_find (query, SLICE ("long")), SLICE ("d=e")));
    assert_true (slice_equal (url_query_find (query, SLICE ("")), SLICE ("")));
    struct slice empty = url_query_find (query, SLICE ("empty")), nameless = url_query_find (query, SLICE ("nameless"));
    assert_true (empty.at != NULL && empty.len == 0);
    assert_true (nameless.at != NULL && nameless.len == 0);
    assert_null (url_query_find (query, SLICE ("al")).at);
    assert_null (url_query_find (query, SLICE ("alll")).at);
    assert_null (url_query_find (query, SLICE ("ALL")).at);
    assert_null (url_query_find (query, SLICE ("1")).at);
    assert_null (url_query_find (slice_of (NULL, 0), SLICE ("all")).at);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (cleans_targets),         cmocka_unit_test (knows_each_byte),
        cmocka_unit_test (splits_targets),         cmocka_unit_test (finds_version_prefixes),
        cmocka_unit_test (finds_query_parameters),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
