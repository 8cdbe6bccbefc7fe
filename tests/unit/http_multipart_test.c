/* http_multipart_test - forms, whole and cut at every byte: what comes out must not depend on where the body was cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/multipart.h"

#include <stdio.h>
#include <stdlib.h>

#define TYPE "multipart/form-data; boundary=AaB03x"

/* Parses pieces of a body, each in a block of exactly its size: `[name]`, `[name=file]`, data, then `.`, `!why` or `~`
 * when the body ends too early. The caller frees. */
static char *transcript_of (const char *type, struct slice body, size_t first, size_t step)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream (&text, &size);
    static struct multipart multipart;
    enum multipart_event event = MULTIPART_MORE;
    if (!multipart_start (&multipart, slice_from (type)))
    {
        fprintf (out, "no form");
        fclose (out);
        return text;
    }
    for (size_t at = 0, length = first; at < body.len && event == MULTIPART_MORE; at += length, length = step)
    {
        if (length > body.len - at)
            length = body.len - at;
        char *block = malloc (length ? length : 1);
        memcpy (block, body.at + at, length);
        struct slice input = slice_of (block, length), piece;
        do
        {
            event = multipart_next (&multipart, &input, &piece);
            if (event == MULTIPART_PART)
                fprintf (out, multipart.has_file_name ? "[%s=%s]" : "[%s]", multipart.name, multipart.file_name);
            else if (event == MULTIPART_DATA)
            {
                assert_true (piece.len > 0);
                fwrite (piece.at, 1, piece.len, out);
            }
        } while (event == MULTIPART_PART || event == MULTIPART_DATA);
        if (event == MULTIPART_MORE)
            assert_int_equal (input.len, 0);
        free (block);
    }
    if (event == MULTIPART_ERROR)
        fprintf (out, "!%s", multipart.error_text);
    else
        fputc (event == MULTIPART_DONE ? '.' : '~', out);
    fclose (out);
    return text;
}

static void expect (const char *type, struct slice body, const char *expected)
{
    char *whole = transcript_of (type, body, body.len, body.len);
    assert_string_equal (whole, expected);
    free (whole);
    for (size_t cut = 0; cut < body.len; cut++)
    {
        char *parted = transcript_of (type, body, cut, body.len);
        assert_string_equal (parted, expected);
        free (parted);
    }
    for (size_t step = 1; step < 4; step++)
    {
        char *parted = transcript_of (type, body, step, step);
        assert_string_equal (parted, expected);
        free (parted);
    }
}

#define HEAD(name)            "Content-Disposition: form-data; name=\"" name "\"\r\n\r\n"
#define PART(name, content)   "--AaB03x\r\n" HEAD (name) content "\r\n"
#define FILE_HEAD(parameters) "--AaB03x\r\nContent-Disposition: form-data; name=\"f\"; " parameters "\r\n\r\nx\r\n"
#define END                   "--AaB03x--\r\n"
#define BODY(text)                                                                                                     \
    {                                                                                                                  \
        text, sizeof (text) - 1                                                                                        \
    }

static const struct
{
    struct slice body;
    const char *expected;
} bodies[] = {
    {BODY (PART ("a", "1") PART ("b", "22") END), "[a]1[b]22."},
    {BODY (PART ("a", "") END), "[a]."},
    {BODY (END), "."},
    {BODY ("preamble\r\n" PART ("a", "1") "--AaB03x--epilogue\r\n--AaB03x\r\n"), "[a]1."},
    {BODY ("\r\n" PART ("a", "1") END), "[a]1."},
    {BODY ("--AaB03x \t\r\n" HEAD ("a") "1\r\n" END), "[a]1."},
    /* What looks like a delimiter for a while is data. */
    {BODY (PART ("a", "\r\n--AaB03") END), "[a]\r\n--AaB03."},
    {BODY (PART ("a", "\r\r\n\r\n-\r\n--\r\n--A\r\r\n--\r\n") END), "[a]\r\r\n\r\n-\r\n--\r\n--A\r\r\n--\r\n."},
    {BODY (PART ("a", "--AaB03x") END), "[a]--AaB03x."},
    {BODY (PART ("a", "x\n--AaB03x\n") END), "[a]x\n--AaB03x\n."},
    /* File names. */
    {BODY (FILE_HEAD ("filename=\"a b.txt\"") END), "[f=a b.txt]x."},
    {BODY (FILE_HEAD ("filename=plain.txt") END), "[f=plain.txt]x."},
    {BODY (FILE_HEAD ("filename=\"\"") END), "[f=]x."},
    {BODY (FILE_HEAD ("filename=\"q\\\"q\\\\b\"") END), "[f=q\"q\\b]x."},
    {BODY (FILE_HEAD ("filename=\"C:\\dir\\f\"") END), "[f=C:\\dir\\f]x."},
    {BODY (FILE_HEAD ("filename=\"a;b=c\"; other=d") END), "[f=a;b=c]x."},
    {BODY (FILE_HEAD ("filename=\"\xc3\x9c\"") END), "[f=\xc3\x9c]x."},
    {BODY (FILE_HEAD ("filename*=UTF-8''%C3%9C%20n") END), "[f=\xc3\x9c n]x."},
    {BODY (FILE_HEAD ("filename=\"u\"; filename*=utf-8'de'%c3%9c") END), "[f=\xc3\x9c]x."},
    {BODY (FILE_HEAD ("filename*=UTF-8''e; filename=\"u\"") END), "[f=e]x."},
    {BODY ("--AaB03x\r\ncontent-disposition:FORM-DATA;NAME=a\r\nContent-Type: x/y\r\n\r\n1\r\n" END), "[a]1."},
    /* A file name does not stay for the next part. */
    {BODY (FILE_HEAD ("filename=\"g\"") PART ("a", "1") END), "[f=g]x[a]1."},
    /* Cut off. */
    {BODY (""), "~"},
    {BODY ("--AaB03x"), "~"},
    {BODY (PART ("a", "1")), "[a]1~"},
    {BODY (PART ("a", "1") "--AaB03x-"), "[a]1~"},
    {BODY ("--AaB03x\r\n" HEAD ("a") "123"), "[a]123~"},
    {BODY ("--AaB03x\r\nContent-Disposition: form-data; name=\"a\"\r\n"), "~"},
    /* Refused. */
    {BODY ("--AaB03xyz\r\n" HEAD ("a") "1\r\n" END), "!a line that begins like a delimiter but is none"},
    {BODY (PART ("a", "1") "--AaB03x -\r\n"), "[a]1!a line that begins like a delimiter but is none"},
    {BODY (PART ("a", "1") "--AaB03x\n" HEAD ("b")), "[a]1!a line that begins like a delimiter but is none"},
    {BODY ("--AaB03x\r\n\r\nbody\r\n" END), "!a part without Content-Disposition"},
    {BODY ("--AaB03x\r\nContent-Disposition: form-data\r\n\r\n"), "!a part without a name"},
    {BODY ("--AaB03x\r\nContent-Disposition: attachment; name=a\r\n\r\n"), "!a part that is not form-data"},
    {BODY ("--AaB03x\r\nContent-Disposition: form-data; name=\"a\r\n\r\n"), "!malformed Content-Disposition"},
    {BODY ("--AaB03x\r\nContent-Disposition: form-data; name\r\n\r\n"), "!malformed Content-Disposition"},
    {BODY ("--AaB03x\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\n"),
     "!a field name that is too long, or given twice"},
    {BODY ("--AaB03x\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n\r\n"),
     "!two Content-Dispositions in a part"},
    {BODY ("--AaB03x\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\n"), "!a part without a name"},
    {BODY ("--AaB03x\r\nX: y\r\n folded\r\nContent-Disposition: form-data; name=a\r\n\r\n"),
     "!a malformed header line in a part"},
    {BODY ("--AaB03x\r\nContent-Disposition : form-data; name=a\r\n\r\n"), "!a malformed header line in a part"},
    {BODY ("--AaB03x\r\nno colon\r\n\r\n"), "!a malformed header line in a part"},
    {BODY ("--AaB03x\r\nContent-Disposition: form-data; name=a\rb\r\n\r\n"), "!a malformed header line in a part"},
    {BODY ("--AaB03x\r\nContent-Disposition: form-data; name=\"a\0b\"\r\n\r\n"), "!a malformed header line in a part"},
    {BODY (FILE_HEAD ("filename*=UTF-8''a%00b")), "!a file name that is too long or malformed"},
    {BODY (FILE_HEAD ("filename*=UTF-8''a%0")), "!a file name that is too long or malformed"},
    {BODY (FILE_HEAD ("filename*=latin-1''a")), "!a file name that is too long or malformed"},
    {BODY (FILE_HEAD ("filename*=UTF-8a")), "!a file name that is too long or malformed"},
};

static void reads_forms_wherever_they_are_cut (void **state)
{
    (void) state;
    for (size_t row = 0; row < sizeof bodies / sizeof *bodies; row++)
        expect (TYPE, bodies[row].body, bodies[row].expected);
}

static void reads_the_boundary (void **state)
{
    (void) state;
    static const struct
    {
        const char *type, *boundary; /* NULL: refused */
    } rows[] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"Multipart/Form-Data;BOUNDARY=abc", "abc"},
        {"multipart/form-data; charset=utf-8; boundary=\"a b'()+_,-./:=?c\"; x=y", "a b'()+_,-./:=?c"},
        {"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
         "----WebKitFormBoundary7MA4YWxkTrZu0gW"},
        {"multipart/form-data; boundary=0123456789012345678901234567890123456789012345678901234567890123456789",
         "0123456789012345678901234567890123456789012345678901234567890123456789"},
        {"multipart/form-data; boundary=01234567890123456789012345678901234567890123456789012345678901234567890", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=\"\"", NULL},
        {"multipart/form-data; boundary=\"a", NULL},
        {"multipart/form-data; boundary=\"a \"", NULL},
        {"multipart/form-data; boundary=\"a\x01\"", NULL},
        {"multipart/form-data; boundary=\"a@b\"", NULL},
        {"multipart/form-data", NULL},
        {"multipart/form-data; x", NULL},
        {"multipart/form-datax; boundary=abc", NULL},
        {"multipart/mixed; boundary=abc", NULL},
        {"application/json", NULL},
        {"", NULL},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct multipart multipart;
        bool good = multipart_start (&multipart, slice_from (rows[row].type));
        if (good != (rows[row].boundary != NULL))
            fail_msg ("%s", rows[row].type);
        if (!good)
            continue;
        char body[256];
        snprintf (body, sizeof body, "--%s--", rows[row].boundary);
        expect (rows[row].type, slice_from (body), ".");
    }
}

/* A body of a given shape with a run of bytes in the middle. */
static void expect_run (const char *before, size_t run, const char *after, const char *expected)
{
    size_t size = strlen (before) + run + strlen (after);
    char *body = malloc (size + 1);
    memcpy (body, before, strlen (before));
    memset (body + strlen (before), 'a', run);
    memcpy (body + strlen (before) + run, after, strlen (after) + 1);
    char *text = transcript_of (TYPE, slice_of (body, size), size / 2, size);
    if (strncmp (text, expected, strlen (expected)) != 0)
        fail_msg ("%zu: %.80s", run, text);
    free (text);
    free (body);
}

static void keeps_its_limits (void **state)
{
    (void) state;
    static const char name[] = "--AaB03x\r\nContent-Disposition: form-data; name=";
    expect_run (name, MULTIPART_NAME_MAX, "\r\n\r\nx\r\n" END, "[aaa");
    expect_run (name, MULTIPART_NAME_MAX + 1, "\r\n\r\nx\r\n" END, "!a field name that is too long");
    static const char file[] = "--AaB03x\r\nContent-Disposition: form-data; name=f; filename=";
    expect_run (file, MULTIPART_FILE_NAME_MAX, "\r\n\r\nx\r\n" END, "[f=aaa");
    expect_run (file, MULTIPART_FILE_NAME_MAX + 1, "\r\n\r\nx\r\n" END, "!a file name that is too long");
    expect_run (file, 4 * MULTIPART_FILE_NAME_MAX, "\r\n\r\nx\r\n" END, "!the head of a part is too long");
    static const char other[] = "--AaB03x\r\nContent-Disposition: form-data; name=f\r\nX: ";
    size_t fixed = sizeof other - 1 - 10 + 4;
    expect_run (other, MULTIPART_PART_HEAD_MAX - fixed, "\r\n\r\nx\r\n" END, "[f]x.");
    expect_run (other, MULTIPART_PART_HEAD_MAX - fixed + 1, "\r\n\r\nx\r\n" END, "!the head of a part is too long");
    expect_run ("", MULTIPART_PREAMBLE_MAX - 2, "\r\n" END, ".");
    expect_run ("", MULTIPART_PREAMBLE_MAX + 1, "\r\n" END, "!no delimiter at the beginning");
    expect_run ("--AaB03x\r\n" HEAD ("f"), 1000000, "\r\n" END, "[f]aaa");
}

static void counts_the_parts (void **state)
{
    (void) state;
    for (unsigned parts = MULTIPART_PARTS_MAX; parts <= MULTIPART_PARTS_MAX + 1; parts++)
    {
        char *body = NULL;
        size_t size;
        FILE *out = open_memstream (&body, &size);
        for (unsigned part = 0; part < parts; part++)
            fputs (PART ("p", ""), out);
        fputs (END, out);
        fclose (out);
        char *text = transcript_of (TYPE, slice_of (body, size), size, size);
        assert_string_equal (text + 3 * MULTIPART_PARTS_MAX,
                             parts == MULTIPART_PARTS_MAX ? "." : "!more than 64 parts");
        free (text);
        free (body);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (reads_forms_wherever_they_are_cut),
        cmocka_unit_test (reads_the_boundary),
        cmocka_unit_test (keeps_its_limits),
        cmocka_unit_test (counts_the_parts),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
