/* http_utf8_text_test - bytes as text, and the engine's frames: the same result at every split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/multiplexed.h"
#include "http/utf8_text.h"

#include <stdio.h>
#include <stdlib.h>

struct row
{
    const char *input;
    size_t length;
    const char *expected;
    size_t dropped;
};

#define ROW(input, expected, dropped)                                                                                  \
    {                                                                                                                  \
        input, sizeof (input) - 1, expected, dropped                                                                   \
    }

static const struct row s_rows[] = {
    ROW ("", "", 0),
    ROW ("plain text, longer than a word", "plain text, longer than a word", 0),
    ROW ("caf\xc3\xa9", "caf\xc3\xa9", 0),
    ROW ("\xe2\x82\xac\xf0\x9f\x90\x9f", "\xe2\x82\xac\xf0\x9f\x90\x9f", 0),
    ROW ("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 0),
    ROW ("a\xff"
         "b",
         "ab", 1),
    ROW ("\x80\x80x", "x", 2),
    ROW ("\xc3x", "x", 1),
    ROW ("\xe2\x82x", "x", 2),
    ROW ("\xf0\x9f\x90x", "x", 3),
    ROW ("\xe2\xc3\xa9", "\xc3\xa9", 1), /* an incomplete character before a whole one */
    ROW ("\xf0\x9f\xe2\x82\xac", "\xe2\x82\xac", 2),
    ROW ("\xc0\xaf.", ".", 2), /* overlong */
    ROW ("\xe0\x9f\xbf.", ".", 3),
    ROW ("\xf0\x8f\xbf\xbf.", ".", 4),
    ROW ("\xed\xa0\x80.", ".", 3),     /* a surrogate */
    ROW ("\xf4\x90\x80\x80.", ".", 4), /* above U+10FFFF */
    ROW ("\xf5\x80\x80\x80.", ".", 4),
};

/* Splits the input at two places; what does not come out is dropped, but for an incomplete character at the end. */
static void check (const struct row *row, size_t first, size_t second)
{
    struct utf8_text text = {.count = 0}, judged = {.count = 0};
    char out[256];
    size_t length = 0, dropped = 0, dropped_judged = 0;
    const size_t ends[] = {0, first, second, row->length};
    for (int piece = 0; piece < 3; piece++)
    {
        /* Each piece in a block of its own size, and each output in one of the promised size: for the sanitizer. */
        size_t bytes = ends[piece + 1] - ends[piece], room = bytes + UTF8_TEXT_HELD_MAX;
        char *in = malloc (bytes ? bytes : 1), *piece_out = malloc (room);
        memcpy (in, row->input + ends[piece], bytes);
        size_t written = utf8_text_filter (&text, slice_of (in, bytes), piece_out, &dropped);
        assert_true (written <= room);
        assert_int_equal (utf8_text_filter (&judged, slice_of (in, bytes), NULL, &dropped_judged), written);
        memcpy (out + length, piece_out, written);
        length += written;
        free (in);
        free (piece_out);
    }
    if (length != strlen (row->expected) || memcmp (out, row->expected, length) != 0 || dropped != row->dropped ||
        dropped_judged != dropped || !utf8_text_is_complete (&text))
        fail_msg ("row %td, split at %zu and %zu: %.*s, %zu dropped", row - s_rows, first, second, (int) length, out,
                  dropped);
}

static void drops_what_is_no_text_at_every_split (void **state)
{
    (void) state;
    for (size_t row = 0; row < sizeof s_rows / sizeof *s_rows; row++)
        for (size_t first = 0; first <= s_rows[row].length; first++)
            for (size_t second = first; second <= s_rows[row].length; second++)
                check (&s_rows[row], first, second);
}

static void holds_back_what_is_incomplete (void **state)
{
    (void) state;
    static const char fish[] = "\xf0\x9f\x90\x9f";
    struct utf8_text text = {.count = 0};
    char out[8];
    size_t dropped = 0;
    for (size_t index = 0; index < 3; index++)
    {
        assert_int_equal (utf8_text_filter (&text, slice_of (fish + index, 1), out, &dropped), 0);
        assert_false (utf8_text_is_complete (&text));
    }
    assert_int_equal (utf8_text_filter (&text, slice_of (fish + 3, 1), out, &dropped), 4);
    assert_memory_equal (out, fish, 4);
    assert_true (utf8_text_is_complete (&text));
    assert_int_equal (dropped, 0);
}

static void cuts_between_characters (void **state)
{
    (void) state;
    struct slice text = SLICE ("a\xc3\xa9\xf0\x9f\x90\x9fz");
    static const size_t expected[] = {0, 1, 1, 3, 3, 3, 3, 7, 8, 8};
    for (size_t limit = 0; limit < 10; limit++)
        assert_int_equal (utf8_text_cut (text, limit), expected[limit]);
}

/* ----------------------------------------------------------------------------------------------- the engine's frames
 */

static void takes_frames_apart_at_every_split (void **state)
{
    (void) state;
    static const char bytes[] = "\1\0\0\0\0\0\0\5hello"
                                "\2\0\0\0\0\0\0\1!"
                                "\1\0\0\0\0\0\0\0"
                                "\3\0\0\0\0\0\0\2no"
                                "\0\0\0\0\0\0\0\3yes";
    for (size_t split = 0; split < sizeof bytes; split++)
    {
        struct multiplexed stream = {.have = 0};
        struct slice pieces[] = {slice_of (bytes, split), slice_of (bytes + split, sizeof bytes - 1 - split)}, piece;
        char out[64];
        size_t length = 0;
        for (int index = 0; index < 2; index++)
            while (multiplexed_next (&stream, &pieces[index], &piece) == MULTIPLEXED_PIECE)
                for (size_t at = 0; at < piece.len; at++)
                {
                    out[length++] = (char) ('0' + stream.kind);
                    out[length++] = piece.at[at];
                }
        out[length] = '\0';
        assert_string_equal (out, "1h1e1l1l1o2!3n3o0y0e0s");
    }
}

static void refuses_what_are_no_frames (void **state)
{
    (void) state;
    static const char *const rows[] = {"\4\0\0\0\0\0\0\1", "\1\1\0\0\0\0\0\1", "\1\0\1\0\0\0\0\1", "\1\0\0\1\0\0\0\1",
                                       "$ ls -la"};
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct multiplexed stream = {.have = 0};
        struct slice input = slice_of (rows[row], 8), piece;
        assert_int_equal (multiplexed_next (&stream, &input, &piece), MULTIPLEXED_ERROR);
    }
}

/* A length of four bytes is not taken for a negative number. */
static void takes_long_frames (void **state)
{
    (void) state;
    struct multiplexed stream = {.have = 0};
    struct slice input = slice_of ("\1\0\0\0\xff\xff\xff\xff"
                                   "ab",
                                   10),
                 piece;
    assert_int_equal (multiplexed_next (&stream, &input, &piece), MULTIPLEXED_PIECE);
    assert_int_equal (piece.len, 2);
    assert_int_equal (stream.left, 0xffffffffu - 2);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (drops_what_is_no_text_at_every_split),
        cmocka_unit_test (holds_back_what_is_incomplete),
        cmocka_unit_test (cuts_between_characters),
        cmocka_unit_test (takes_frames_apart_at_every_split),
        cmocka_unit_test (refuses_what_are_no_frames),
        cmocka_unit_test (takes_long_frames),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
