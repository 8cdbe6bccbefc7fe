/* http_json_list_test - lists of the engine, in pieces: elements out, each with the node's name in it; and the scanner
 * below, compared with jansson.
 *
 * Every piece is fed from a heap block of exactly its size, so that sanitizers see any look beside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/json_list.h"
#include "http/json_scan.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NODE "{\"Agent\":{\"NodeName\":\"n1\"}}"
#define MARK "\"Portainer\":" NODE

/* ------------------------------------------------------------------------------------------------------ transcripts */

static char *block_of (const char *bytes, size_t length)
{
    char *block = malloc (length ? length : 1);
    assert_non_null (block);
    if (length)
        memcpy (block, bytes, length);
    return block;
}

/* What comes of a text that is cut at these places (ascending, the last one is the text's end): every element followed
 * by a line break, then the warnings, then the error, if any. The caller frees it. */
static char *transcript_in (enum json_list_kind kind, struct slice text, const size_t *cuts)
{
    char *result = NULL;
    size_t size = 0;
    FILE *out = open_memstream (&result, &size);
    assert_non_null (out);
    struct json_list *list = json_list_new (kind, SLICE ("n1"));
    enum json_list_result state = JSON_LIST_MORE;
    for (size_t at = 0; at < text.len && state != JSON_LIST_ERROR; cuts++)
    {
        char *block = block_of (text.at + at, *cuts - at);
        size_t done = 0, used;
        do
        {
            /* The element has to bear that the rest of the piece moves. */
            char *rest = block_of (block + done, *cuts - at - done);
            state = json_list_feed (list, slice_of (rest, *cuts - at - done), &used);
            free (rest);
            done += used;
            struct slice element = json_list_text (list);
            if (state == JSON_LIST_ELEMENT)
                fprintf (out, "%.*s\n", (int) element.len, element.at);
        } while (state == JSON_LIST_ELEMENT);
        if (state == JSON_LIST_MORE)
            assert_int_equal (done, *cuts - at);
        free (block);
        at = *cuts;
    }
    if (state != JSON_LIST_ERROR)
        state = json_list_end (list);
    struct slice warnings = json_list_warnings (list), error = json_list_text (list);
    if (warnings.len)
        fprintf (out, "warnings %.*s\n", (int) warnings.len, warnings.at);
    if (state == JSON_LIST_ERROR)
        fprintf (out, "error %.*s\n", (int) error.len, error.at);
    json_list_destroy (&list);
    assert_null (list);
    fclose (out);
    return result;
}

/* The transcript, the same for the text in one piece, cut at every place, and byte by byte. */
static char *transcript (enum json_list_kind kind, struct slice text)
{
    size_t whole[] = {text.len};
    char *expected = transcript_in (kind, text, whole);
    for (size_t cut = 1; cut < text.len; cut++)
    {
        char *other = transcript_in (kind, text, (size_t[]){cut, text.len});
        if (strcmp (other, expected) != 0)
            fail_msg ("cut at %zu: %.*s: %s, not %s", cut, (int) text.len, text.at, other, expected);
        free (other);
    }
    size_t *each = calloc (text.len + 1, sizeof *each);
    for (size_t index = 0; index < text.len; index++)
        each[index] = index + 1;
    char *other = transcript_in (kind, text, each);
    assert_string_equal (other, expected);
    free (other);
    free (each);
    return expected;
}

static void expect (enum json_list_kind kind, const char *text, const char *expected)
{
    char *result = transcript (kind, slice_from (text));
    if (strcmp (result, expected) != 0)
        fail_msg ("%s\n gives:\n%s not:\n%s", text, result, expected);
    free (result);
}

static void expect_error (enum json_list_kind kind, const char *text, const char *part)
{
    char *result = transcript (kind, slice_from (text));
    char *error = strstr (result, "error ");
    if (!error || !strstr (error, part))
        fail_msg ("%s\n gives:\n%s without an error: %s", text, result, part);
    free (result);
}

/* ------------------------------------------------------------------------------------------------------- by hand */

static void decorates_elements (void **state)
{
    (void) state;
    expect (JSON_LIST_ARRAY, "[]", "");
    expect (JSON_LIST_ARRAY, " [ ] \n", "");
    expect (JSON_LIST_ARRAY, "[{}]", "{" MARK "}\n");
    expect (JSON_LIST_ARRAY, "[{ }]", "{ " MARK "}\n");
    expect (JSON_LIST_ARRAY, "[{\"a\":1},{\"b\":[]}]\n", "{\"a\":1," MARK "}\n{\"b\":[]," MARK "}\n");
    /* Numbers, order, escapes, white space and bytes beyond ASCII stay. */
    expect (JSON_LIST_ARRAY,
            "[ { \"z\" : 9007199254740993 , \"a\":1.0e+2,\"<\":\"\\u003c\xc3\xa9\\\"}\" ,\"z\":-0 }\t,{\"n\":null}]",
            "{ \"z\" : 9007199254740993 , \"a\":1.0e+2,\"<\":\"\\u003c\xc3\xa9\\\"}\" ,\"z\":-0 ," MARK "}\n"
            "{\"n\":null," MARK "}\n");
}

static void replaces_an_existing_field (void **state)
{
    (void) state;
    expect (JSON_LIST_ARRAY, "[{\"Portainer\":1,\"a\":2}]", "{" MARK ",\"a\":2}\n");
    expect (JSON_LIST_ARRAY, "[{\"Portainer\":17}]", "{" MARK "}\n");
    expect (JSON_LIST_ARRAY, "[{\"a\":2, \"Portainer\" : {\"Agent\":{\"NodeName\":\"other\",\"x\":[{}]}} }]",
            "{\"a\":2, \"Portainer\" : " NODE " }\n");
    expect (JSON_LIST_ARRAY, "[{\"Portainer\":\"}\"},{\"Portainer\":null},{\"Portainer\":[1,2]}]",
            "{" MARK "}\n{" MARK "}\n{" MARK "}\n");
    expect (JSON_LIST_ARRAY, "[{\"Portainer\":1,\"Portainer\":2}]", "{" MARK "," MARK "}\n");
    /* A key is a key however it is escaped. */
    expect (JSON_LIST_ARRAY, "[{\"Portai\\u006eer\":1}]", "{\"Portai\\u006eer\":" NODE "}\n");
    expect (JSON_LIST_ARRAY, "[{\"\\u0050\\u006F\\u0072tainer\":[]}]", "{\"\\u0050\\u006F\\u0072tainer\":" NODE "}\n");
    /* These are other keys, or lie deeper. */
    expect (JSON_LIST_ARRAY, "[{\"portainer\":1}]", "{\"portainer\":1," MARK "}\n");
    expect (JSON_LIST_ARRAY, "[{\"Portainer \":1}]", "{\"Portainer \":1," MARK "}\n");
    expect (JSON_LIST_ARRAY, "[{\"Portain\\u0065\":1}]", "{\"Portain\\u0065\":1," MARK "}\n");
    expect (JSON_LIST_ARRAY, "[{\"Portaine\\n\":1}]", "{\"Portaine\\n\":1," MARK "}\n");
    expect (JSON_LIST_ARRAY, "[{\"a\":{\"Portainer\":1}}]", "{\"a\":{\"Portainer\":1}," MARK "}\n");
    expect (JSON_LIST_ARRAY, "[{\"a\":\"Portainer\"}]", "{\"a\":\"Portainer\"," MARK "}\n");
}

static void reads_volumes (void **state)
{
    (void) state;
    expect (JSON_LIST_VOLUMES, "{\"Volumes\":[{\"a\":1},{}],\"Warnings\":null}\n", "{\"a\":1," MARK "}\n{" MARK "}\n");
    expect (JSON_LIST_VOLUMES, "{\"Volumes\":null,\"Warnings\":[]}", "");
    expect (JSON_LIST_VOLUMES, "{}", "");
    expect (JSON_LIST_VOLUMES, "{\"Other\":[{\"Portainer\":1}],\"x\":{\"Volumes\":[1]}}", "");
    expect (JSON_LIST_VOLUMES, "{\"Warnings\":[\"a \\\"b\\\"\", \"c\"],\"Volumes\":[{\"Portainer\":1}]}",
            "{" MARK "}\nwarnings \"a \\\"b\\\"\",\"c\"\n");
    expect (JSON_LIST_VOLUMES, "{\"V\\u006flumes\":[{}],\"Warning\\u0073\":[\"w\"],\"message\":null}",
            "{" MARK "}\nwarnings \"w\"\n");
    expect_error (JSON_LIST_VOLUMES, "[]", "the answer is not an object");
    expect_error (JSON_LIST_VOLUMES, "{\"Volumes\":{}}", "Volumes is not a list");
    expect_error (JSON_LIST_VOLUMES, "{\"Volumes\":3}", "Volumes is not a list");
    expect_error (JSON_LIST_VOLUMES, "{\"Volumes\":[null]}", "not an object");
    expect_error (JSON_LIST_VOLUMES, "{\"Warnings\":\"a\"}", "Warnings is not a list");
    expect_error (JSON_LIST_VOLUMES, "{\"Warnings\":[1]}", "a warning is not text");
    expect_error (JSON_LIST_VOLUMES, "{\"message\":\"no\\nway\"}", "the engine says: \"no\\nway\"");
}

static void refuses_what_is_no_list (void **state)
{
    (void) state;
    static const char *const broken[] = {"[",
                                         "[{",
                                         "[{}",
                                         "[{}}",
                                         "[{]",
                                         "{]",
                                         "[}",
                                         "[{},]",
                                         "[,{}]",
                                         "[{} {}]",
                                         "[{}]x",
                                         "[{}] []",
                                         "[{\"a\"}]",
                                         "[{\"a\":}]",
                                         "[{\"a\":1,}]",
                                         "[{a:1}]",
                                         "[{\"a\":01}]",
                                         "[{\"a\":1.}]",
                                         "[{\"a\":.5}]",
                                         "[{\"a\":+1}]",
                                         "[{\"a\":-}]",
                                         "[{\"a\":1e}]",
                                         "[{\"a\":1e+}]",
                                         "[{\"a\":nul}]",
                                         "[{\"a\":nulll}]",
                                         "[{\"a\":True}]",
                                         "[{\"a\":\"\t\"}]",
                                         "[{\"a\":\"\\x\"}]",
                                         "[{\"a\":\"\\u00g0\"}]",
                                         "[{\"a\":\"\\u00",
                                         "[{\"a\":\"b",
                                         "[{\"a\":'b'}]",
                                         "[{\"a\":NaN}]",
                                         "[//\n{}]",
                                         "[{\"a\":1 2}]",
                                         "\xef\xbb\xbf[]",
                                         "[{\"a\"::1}]",
                                         "[{\"a\":[1,]}]",
                                         "[{\"a\":1]}"};
    for (size_t row = 0; row < sizeof broken / sizeof *broken; row++)
        expect_error (JSON_LIST_ARRAY, broken[row], "");
    expect_error (JSON_LIST_ARRAY, "", "the answer is empty");
    expect_error (JSON_LIST_ARRAY, " ", "ends in the middle, after 1 bytes");
    expect_error (JSON_LIST_ARRAY, "[{}}", "broken JSON at byte 4: a bracket closes");
    expect_error (JSON_LIST_ARRAY, "[{\"a\":\"\x01\"}]", "a control character in text");
    expect_error (JSON_LIST_ARRAY, "null", "not a list");
    expect_error (JSON_LIST_ARRAY, "7", "not a list");
    expect_error (JSON_LIST_ARRAY, "[1]", "an element of the list is not an object");
    expect_error (JSON_LIST_ARRAY, "[{},null]", "an element of the list is not an object");
    expect_error (JSON_LIST_ARRAY, "{\"m\":[1]}", "an object, not a list");
    expect_error (JSON_LIST_ARRAY, "{\"message\":null}", "an object, not a list");
    expect_error (JSON_LIST_ARRAY, "{\"a\":1,\"message\":\"no \xc3\xa9\"}", "the engine says: \"no ??\"");
    expect_error (JSON_LIST_ARRAY, "{\"message\":{\"a\":[1]}}", "the engine says: {\"a\":[1]}");
}

static void bounds_depth (void **state)
{
    (void) state;
    char text[2 * JSON_DEPTH_MAX + 32];
    for (int over = 0; over < 2; over++)
    {
        /* The list and the element are two of them. */
        int deep = JSON_DEPTH_MAX - 2 + over, length = snprintf (text, sizeof text, "[{\"a\":");
        memset (text + length, '[', (size_t) deep);
        memset (text + length + (size_t) deep, ']', (size_t) deep);
        snprintf (text + length + (size_t) 2 * (size_t) deep, 3, "}]");
        char *result = transcript_in (JSON_LIST_ARRAY, slice_from (text), (size_t[]){strlen (text)});
        assert_true (over ? strstr (result, "nested too deeply") != NULL : strstr (result, "error") == NULL);
        free (result);
    }
}

/* An element of exactly so many bytes, in a list. */
static char *list_of_length (size_t length)
{
    char *text = malloc (length + 3);
    assert_non_null (text);
    snprintf (text, length + 3, "[{\"a\":\"%*s\"}]", (int) length - 8, "");
    return text;
}

static void bounds_an_element (void **state)
{
    (void) state;
    for (int over = 0; over < 2; over++)
    {
        size_t length = JSON_LIST_ELEMENT_MAX + (size_t) over;
        char *text = list_of_length (length);
        struct slice whole = slice_of (text, length + 2);
        char *result = transcript_in (JSON_LIST_ARRAY, whole, (size_t[]){length + 2});
        char *halves = transcript_in (JSON_LIST_ARRAY, whole, (size_t[]){length / 2, length + 2});
        assert_string_equal (result, halves);
        if (over)
            assert_non_null (strstr (result, "error an element is longer than 1048576 bytes"));
        else
            assert_int_equal (strlen (result), length + strlen ("," MARK "\n"));
        free (result);
        free (halves);
        free (text);
    }
}

/* However long the list: one element is held, and a large one is given back. */
static void holds_one_element (void **state)
{
    (void) state;
    struct json_list *list = json_list_new (JSON_LIST_ARRAY, SLICE ("n1"));
    char *large = list_of_length (1000000);
    size_t used;
    assert_int_equal (json_list_feed (list, slice_of (large, 1000001), &used), JSON_LIST_ELEMENT);
    assert_true (json_list_held (list) > 1000000);
    struct slice small = SLICE (",{\"a\":\"0123456789012345678901234567890123456789\"}");
    for (int round = 0; round < 100000; round++)
    {
        assert_int_equal (json_list_feed (list, small, &used), JSON_LIST_ELEMENT);
        assert_true (json_list_held (list) <= 512);
    }
    json_list_destroy (&list);
    free (large);
}

static void bounds_warnings (void **state)
{
    (void) state;
    struct json_list *list = json_list_new (JSON_LIST_VOLUMES, SLICE ("n1"));
    size_t used, count = 0;
    assert_int_equal (json_list_feed (list, SLICE ("{\"Warnings\":[\"first\""), &used), JSON_LIST_MORE);
    while (json_list_feed (list, SLICE (",\"0123456789\""), &used) == JSON_LIST_MORE)
        assert_true (++count < 10000);
    assert_non_null (memmem (json_list_text (list).at, json_list_text (list).len, "warnings are longer", 19));
    assert_true (json_list_warnings (list).len <= JSON_LIST_WARNINGS_MAX);
    json_list_destroy (&list);
}

static void escapes_the_name (void **state)
{
    (void) state;
    struct json_list *list = json_list_new (JSON_LIST_ARRAY, SLICE ("a\"b\\c\n\xc3\xa9\xff"));
    size_t used;
    assert_int_equal (json_list_feed (list, SLICE ("[{}"), &used), JSON_LIST_ELEMENT);
    struct slice text = json_list_text (list);
    json_t *element = json_loadb (text.at, text.len, 0, NULL);
    const char *name = json_string_value (
        json_object_get (json_object_get (json_object_get (element, "Portainer"), "Agent"), "NodeName"));
    assert_string_equal (name, "a\"b\\c\n\xc3\xa9\xef\xbf\xbd");
    json_decref (element);
    json_list_destroy (&list);
}

/* ------------------------------------------------------------------------------------------------------- at random */

static uint64_t s_random;

static unsigned dice (unsigned sides)
{
    s_random ^= s_random << 13;
    s_random ^= s_random >> 7;
    s_random ^= s_random << 17;
    return (unsigned) ((s_random >> 11) % sides);
}

static void write_space (FILE *out)
{
    for (unsigned count = dice (8) ? 0 : dice (4); count > 0; count--)
        fputc (" \n\r\t"[dice (4)], out);
}

static void write_string (FILE *out, bool key)
{
    static const char *const keys[] = {"Portainer", "Portai\\u006Eer", "\\u0050ortainer", "portainer", "Volumes"};
    static const char *const parts[] = {"a",       "Id",       "sha256:0123456789abcdef0123456789abcdef",
                                        "\\\"",    "\\\\",     "\\/",
                                        "{",       "]",        ",",
                                        "\\u00e9", "\xc3\xa9", "\xf0\x9f\x90\x8b",
                                        "\\n",     "\x7f",     "'"};
    fputc ('"', out);
    if (key && dice (4) == 0)
        fputs (keys[dice (sizeof keys / sizeof *keys)], out);
    else
        for (unsigned count = dice (4); count > 0; count--)
            fputs (parts[dice (sizeof parts / sizeof *parts)], out);
    fputc ('"', out);
}

static void write_value (FILE *out, unsigned deep);

static void write_object (FILE *out, unsigned deep)
{
    fputc ('{', out);
    write_space (out);
    for (unsigned count = dice (4), index = 0; index < count; index++)
    {
        fputs (index ? "," : "", out);
        write_space (out);
        write_string (out, true);
        write_space (out);
        fputc (':', out);
        write_value (out, deep);
    }
    fputc ('}', out);
}

static void write_value (FILE *out, unsigned deep)
{
    static const char *const scalars[] = {"0",    "-0",    "17",  "-3.25", "1e3", "2E-2", "0.5", "9007199254740993",
                                          "true", "false", "null"};
    write_space (out);
    unsigned kind = dice (deep ? 6 : 4);
    if (kind == 5)
        write_object (out, deep - 1);
    else if (kind == 4)
    {
        fputc ('[', out);
        for (unsigned count = dice (3), index = 0; index < count; index++)
        {
            fputs (index ? "," : "", out);
            write_value (out, deep - 1);
        }
        fputc (']', out);
    }
    else if (kind > 1)
        write_string (out, false);
    else
        fputs (scalars[dice (sizeof scalars / sizeof *scalars)], out);
    write_space (out);
}

static char *random_list (enum json_list_kind kind)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream (&text, &size);
    assert_non_null (out);
    fputs (kind == JSON_LIST_VOLUMES ? "{\"Volumes\":[" : "[", out);
    for (unsigned count = dice (4), index = 0; index < count; index++)
    {
        fputs (index ? "," : "", out);
        write_space (out);
        write_object (out, 3);
        write_space (out);
    }
    fputs (kind == JSON_LIST_VOLUMES ? "],\"Warnings\":null}" : "]", out);
    fclose (out);
    return text;
}

/* jansson reads what came out as what went in, with the field set; and the bytes are the same without it. */
static void check_elements (enum json_list_kind kind, const char *text, char *result)
{
    json_error_t error;
    json_t *whole = json_loads (text, 0, &error);
    if (!whole)
        fail_msg ("%s: %s", text, error.text);
    json_t *list = kind == JSON_LIST_VOLUMES ? json_object_get (whole, "Volumes") : whole;
    size_t index = 0, at = 0;
    for (; index < json_array_size (list); index++)
    {
        json_t *element = json_array_get (list, index), *value = json_loads (NODE, 0, NULL);
        bool had = json_object_get (element, "Portainer") != NULL;
        json_object_set_new (element, "Portainer", value);
        /* White space may be a line break; so the decoder says where an element ends. */
        json_t *out = json_loads (result + at, JSON_DISABLE_EOF_CHECK, &error);
        if (!out || !json_equal (out, element))
            fail_msg ("element %zu of %s is not as expected in %s", index, text, result);
        size_t length = (size_t) error.position;
        if (!had)
        {
            char *mark = strstr (result + at, MARK);
            char *bare = strndup (result + at, length);
            char *cut = bare + (mark - (result + at));
            while ((mark = strstr (cut + 1, MARK)) && mark < bare + length)
                cut = mark;
            bool comma = cut[-1] == ',';
            memmove (cut - comma, cut + strlen (MARK), strlen (cut + strlen (MARK)) + 1);
            if (!strstr (text, bare))
                fail_msg ("element %zu of %s lost bytes: %s", index, text, bare);
            free (bare);
        }
        json_decref (out);
        at += length + 1;
    }
    assert_int_equal (result[at], '\0');
    json_decref (whole);
}

static uint64_t seed (void)
{
    const char *given = getenv ("SEED");
    uint64_t value = given ? strtoull (given, NULL, 10) : (uint64_t) time (NULL) * 2654435761u;
    print_message ("SEED=%llu\n", (unsigned long long) value);
    return value | 1;
}

static void decorates_random_lists (void **state)
{
    (void) state;
    s_random = seed ();
    for (int round = 0; round < 300; round++)
    {
        enum json_list_kind kind = dice (2) ? JSON_LIST_VOLUMES : JSON_LIST_ARRAY;
        char *text = random_list (kind), *result = transcript (kind, slice_from (text));
        check_elements (kind, text, result);
        free (result);
        free (text);
    }
}

static bool scan_accepts (const char *text, size_t cut)
{
    struct json_scan scan = {.watched = dice (5)};
    size_t length = strlen (text), used;
    for (size_t at = 0; at < length; at += used)
    {
        size_t end = at < cut ? cut : length;
        char *block = block_of (text + at, end - at);
        enum json_event event = json_scan_next (&scan, block, end - at, &used);
        free (block);
        if (event == JSON_BROKEN)
            return false;
    }
    return json_scan_is_whole (&scan);
}

/* What jansson holds to be JSON, the scanner does too, and the other way round: on lists with random mistakes. */
static void agrees_with_jansson (void **state)
{
    (void) state;
    static const char alphabet[] = "{}[]\",:0123456789eE+-.\\untrfals /x\n";
    s_random = seed ();
    unsigned accepted = 0, refused = 0;
    for (int round = 0; round < 20000; round++)
    {
        char *text = random_list (dice (2) ? JSON_LIST_VOLUMES : JSON_LIST_ARRAY);
        size_t length = strlen (text);
        for (unsigned mistakes = dice (3) + 1; mistakes > 0 && length; mistakes--)
            text[dice ((unsigned) length)] = alphabet[dice (sizeof alphabet - 1)];
        json_error_t error;
        json_t *value = json_loads (text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        bool jansson = value != NULL, ours = scan_accepts (text, dice ((unsigned) length + 1));
        enum json_error_code code = jansson ? json_error_unknown : json_error_code (&error);
        json_decref (value);
        /* What it refuses beyond the grammar: numbers too large, keys with NUL, and text that is no Unicode. */
        bool beyond = !jansson && (code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
                                   code == json_error_invalid_utf8 || strstr (error.text, "Unicode") ||
                                   strstr (error.text, "UTF-8"));
        if (!beyond && jansson != ours)
            fail_msg ("jansson %d, ours %d: %s (%s)", jansson, ours, text, jansson ? "" : error.text);
        accepted += ours;
        refused += !ours;
        free (text);
    }
    assert_true (accepted > 1000 && refused > 1000);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (decorates_elements),  cmocka_unit_test (replaces_an_existing_field),
        cmocka_unit_test (reads_volumes),       cmocka_unit_test (refuses_what_is_no_list),
        cmocka_unit_test (bounds_depth),        cmocka_unit_test (bounds_an_element),
        cmocka_unit_test (holds_one_element),   cmocka_unit_test (bounds_warnings),
        cmocka_unit_test (escapes_the_name),    cmocka_unit_test (decorates_random_lists),
        cmocka_unit_test (agrees_with_jansson),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
