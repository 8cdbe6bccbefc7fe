/* websocket_fuzz - a client's bytes on a WebSocket: the first byte says how they are split.
 *
 * Whatever comes, the events are the same in one piece as in pieces; what is handed out was there; a control frame
 * keeps its limit; nothing follows the end.
 */
#include "http/websocket.h"
#include "tests/http_conversation.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

struct transcript
{
    char *marks; /* an event each; data joined */
    size_t mark_count;
    char *bytes;
    size_t length;
    bool over;
};

static void take_event (struct transcript *transcript, struct websocket *websocket, enum websocket_event event,
                        struct slice payload)
{
    must (!transcript->over);
    if (event == WEBSOCKET_DATA)
        must (payload.len > 0);
    else
        must (payload.len <= WEBSOCKET_CONTROL_MAX);
    bool joined = event == WEBSOCKET_DATA && transcript->mark_count &&
                  transcript->marks[transcript->mark_count - 1] == WEBSOCKET_DATA;
    if (!joined)
        transcript->marks[transcript->mark_count++] = (char) event;
    if (event != WEBSOCKET_ERROR)
    {
        memcpy (transcript->bytes + transcript->length, payload.at, payload.len);
        transcript->length += payload.len;
    }
    transcript->over = event == WEBSOCKET_CLOSE || event == WEBSOCKET_ERROR;
    if (event == WEBSOCKET_CLOSE)
        must (websocket_code (websocket) >= 1000 && websocket_code (websocket) <= 4999);
    if (event == WEBSOCKET_ERROR)
    {
        must (websocket_code (websocket) == WEBSOCKET_PROTOCOL_ERROR ||
              websocket_code (websocket) == WEBSOCKET_NOT_TEXT);
        must (websocket_error (websocket) && payload.len == 0);
    }
}

static void run (struct transcript *transcript, const uint8_t *data, size_t size, size_t step)
{
    struct websocket *websocket = websocket_new ();
    must (websocket);
    *transcript = (struct transcript){.marks = malloc (size + 1), .bytes = malloc (size + 1)};
    for (size_t at = 0; at < size; at += step)
    {
        size_t length = size - at < step ? size - at : step;
        char *block = malloc (length); /* of exactly this size, for the sanitizer */
        memcpy (block, data + at, length);
        struct slice input = slice_of (block, length), payload;
        enum websocket_event event;
        while ((event = websocket_next (websocket, &input, &payload)) != WEBSOCKET_MORE)
            take_event (transcript, websocket, event, payload);
        must (input.len == 0);
        free (block);
    }
    websocket_destroy (&websocket);
    must (websocket == NULL);
}

/* Data that came before an error within the same frame depends on the split: only what is whole must be the same. */
static bool ends_in_error (const struct transcript *transcript)
{
    return transcript->mark_count && transcript->marks[transcript->mark_count - 1] == WEBSOCKET_ERROR;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct transcript whole, pieces;
    size_t step = data[0] ? data[0] : 1;
    run (&whole, data + 1, size - 1, size);
    run (&pieces, data + 1, size - 1, step);
    must (ends_in_error (&whole) == ends_in_error (&pieces));
    if (!ends_in_error (&whole))
    {
        must (whole.mark_count == pieces.mark_count && memcmp (whole.marks, pieces.marks, whole.mark_count) == 0);
        must (whole.length == pieces.length && memcmp (whole.bytes, pieces.bytes, whole.length) == 0);
    }
    free (whole.marks);
    free (whole.bytes);
    free (pieces.marks);
    free (pieces.bytes);
    return 0;
}
