/* message_fuzz - bodies: the name of a type, a line feed, then the bytes to decode. The name rather than a number keeps
 * the corpus true when the catalog grows.
 *
 * Whatever is accepted must survive encoding and decoding again, and have both text forms; the line must be harmless to
 * a terminal at any size.
 */
#include "messages/message.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void check (bool holds, const char *what)
{
    if (holds)
        return;
    fprintf (stderr, "message_fuzz: %s\n", what);
    abort ();
}

static void check_line (enum message_type type, const union message_fields *fields, size_t size)
{
    char *line = malloc (size ? size : 1);
    check (line != NULL, "no memory");
    size_t length = message_text (type, fields, line, size);
    check (size == 0 ? length == 0 : length < size && line[length] == '\0', "the line's length is wrong");
    for (size_t index = 0; index < length; index++)
        check ((uint8_t) line[index] >= 0x20 && (uint8_t) line[index] != 0x7f, "a control character in the line");
    free (line);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    const char *name = (const char *) data, *name_end = size ? memchr (data, '\n', size) : NULL;
    enum message_type type =
        name_end ? message_type_from_name (slice_of (name, (size_t) (name_end - name))) : MESSAGE_NONE;
    if (type == MESSAGE_NONE)
        return 0;
    struct slice body = slice_skip (slice_of (name, size), (size_t) (name_end - name) + 1);
    static struct header store[MESSAGE_HEADERS_MAX], store_again[MESSAGE_HEADERS_MAX];
    union message_fields fields, fields_again;
    struct message_error error;
    if (message_decode (type, body, &fields, store, &error) < 0)
    {
        check (memchr (error.text, '\0', sizeof error.text) && error.text[0], "an error without a text");
        return 0;
    }

    /* The first encoding may be shorter than the input, which need not use the shortest forms; the second is the first.
     */
    size_t length = message_size (type, &fields);
    check (length <= body.len, "the shortest form is longer than the input");
    char *bytes = malloc (length ? length : 1), *again = malloc (length ? length : 1);
    check (bytes && again, "no memory");
    check (message_encode (type, &fields, bytes, length, &error) == length, "a decoded message cannot be encoded");
    check (message_decode (type, slice_of (bytes, length), &fields_again, store_again, &error) == 0,
           "an encoded message cannot be decoded");
    check (message_encode (type, &fields_again, again, length, &error) == length, "the second encoding fails");
    check (memcmp (bytes, again, length) == 0, "the second encoding differs");

    check_line (type, &fields, 1 << 16);
    check_line (type, &fields, body.len % 300);
    char *json = message_json (type, &fields);
    check (json != NULL, "no JSON");
    free (json);
    free (again);
    free (bytes);
    return 0;
}
