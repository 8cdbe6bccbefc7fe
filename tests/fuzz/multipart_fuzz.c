/* multipart_fuzz - a form: cut anywhere it says the same, and within its limits. The first byte tells where it is cut.
 */
#include "http/multipart.h"
#include "tests/http_conversation.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static char *transcript_of (struct slice body, size_t step)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream (&text, &length);
    struct multipart multipart;
    enum multipart_event event = MULTIPART_MORE;
    must (multipart_start (&multipart, SLICE ("multipart/form-data; boundary=b")));
    for (size_t at = 0; at < body.len && event == MULTIPART_MORE; at += step)
    {
        size_t bytes = step < body.len - at ? step : body.len - at;
        char *block = malloc (bytes);
        must (block);
        memcpy (block, body.at + at, bytes);
        struct slice input = slice_of (block, bytes), piece;
        for (;;)
        {
            event = multipart_next (&multipart, &input, &piece);
            must_be_within (input, block, bytes);
            if (event == MULTIPART_PART)
            {
                must (strlen (multipart.name) <= MULTIPART_NAME_MAX);
                must (strlen (multipart.file_name) <= MULTIPART_FILE_NAME_MAX);
                fprintf (out, "[%s|%s]", multipart.name, multipart.has_file_name ? multipart.file_name : "");
            }
            else if (event == MULTIPART_DATA)
                fwrite (piece.at, 1, piece.len, out);
            else
                break;
        }
        must (event != MULTIPART_MORE || input.len == 0);
        free (block);
    }
    fprintf (out, "%d%s", event, event == MULTIPART_ERROR ? multipart.error_text : "");
    fclose (out);
    return text;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct slice body = slice_of ((const char *) data + 1, size - 1);
    char *whole = transcript_of (body, body.len), *cut = transcript_of (body, (size_t) data[0] % body.len + 1),
         *bytes = transcript_of (body, 1);
    must (strcmp (whole, cut) == 0 && strcmp (whole, bytes) == 0);
    free (whole);
    free (cut);
    free (bytes);
    /* The same bytes as a Content-Type. */
    char *exact = malloc (body.len);
    must (exact);
    memcpy (exact, body.at, body.len);
    struct multipart multipart;
    if (multipart_start (&multipart, slice_of (exact, body.len)))
        must (multipart.delimiter_length > 4 && multipart.delimiter_length <= sizeof multipart.delimiter);
    free (exact);
    return 0;
}
