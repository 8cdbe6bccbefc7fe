/* output_fuzz - what an engine sends to a console: frames of output and errors, bytes as text. The first byte says how
 * they are split.
 *
 * The text is UTF-8 and does not depend on the split; nothing is lost but what is dropped or held back.
 */
#include "http/multiplexed.h"
#include "http/utf8_text.h"
#include "messages/utf8.h"
#include "tests/http_conversation.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

struct result
{
    char *text;
    size_t length, dropped, held;
};

static void must_be_text (struct slice text)
{
    while (text.len)
    {
        uint32_t point;
        size_t length = utf8_read (text, &point);
        must (point != UTF8_INVALID);
        text = slice_skip (text, length);
    }
}

static void filter (struct utf8_text *state, struct slice piece, struct result *result)
{
    char *out = malloc (piece.len + UTF8_TEXT_HELD_MAX);
    size_t written = utf8_text_filter (state, piece, out, &result->dropped);
    must (written <= piece.len + UTF8_TEXT_HELD_MAX);
    must_be_text (slice_of (out, written));
    size_t cut = utf8_text_cut (slice_of (out, written), written / 2);
    must (cut <= written / 2 || written == 0);
    must_be_text (slice_of (out, cut));
    memcpy (result->text + result->length, out, written);
    result->length += written;
    result->held = state->count;
    free (out);
}

static struct result run (const uint8_t *data, size_t size, size_t step, bool frames)
{
    struct utf8_text state = {.count = 0};
    struct multiplexed stream = {.have = 0};
    struct result result = {.text = malloc (size + UTF8_TEXT_HELD_MAX)};
    bool broken = false;
    for (size_t at = 0; at < size && !broken; at += step)
    {
        size_t length = size - at < step ? size - at : step;
        char *block = malloc (length);
        memcpy (block, data + at, length);
        struct slice input = slice_of (block, length), piece = input;
        enum multiplexed_result said = MULTIPLEXED_MORE;
        if (!frames)
            filter (&state, input, &result);
        else
            while ((said = multiplexed_next (&stream, &input, &piece)) == MULTIPLEXED_PIECE)
            {
                must (piece.len > 0 && piece.at >= block && piece.at + piece.len <= block + length);
                must (stream.kind <= MULTIPLEXED_KIND_MOST);
                filter (&state, piece, &result);
            }
        broken = said == MULTIPLEXED_ERROR;
        free (block);
    }
    if (!frames)
        must (result.length + result.dropped + result.held == size);
    return result;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t step = data[0] ? data[0] : 1;
    for (int frames = 0; frames < 2; frames++)
    {
        struct result whole = run (data + 1, size - 1, size, frames), pieces = run (data + 1, size - 1, step, frames);
        must (whole.length == pieces.length && memcmp (whole.text, pieces.text, whole.length) == 0);
        must (whole.dropped == pieces.dropped && whole.held == pieces.held);
        free (whole.text);
        free (pieces.text);
    }
    return 0;
}
