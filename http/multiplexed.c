/* multiplexed.c - see multiplexed.h. */
#include "multiplexed.h"

static bool begin_frame (struct multiplexed *stream)
{
    const uint8_t *header = stream->header;
    if (header[0] > MULTIPLEXED_KIND_MOST || header[1] || header[2] || header[3])
        return false;
    stream->kind = header[0];
    stream->left =
        (uint32_t) header[4] << 24 | (uint32_t) header[5] << 16 | (uint32_t) header[6] << 8 | (uint32_t) header[7];
    stream->have = 0;
    return true;
}

enum multiplexed_result multiplexed_next (struct multiplexed *stream, struct slice *input, struct slice *piece)
{
    while (input->len)
    {
        if (stream->left)
        {
            *piece = slice_of (input->at, stream->left < input->len ? stream->left : input->len);
            *input = slice_skip (*input, piece->len);
            stream->left -= (uint32_t) piece->len;
            return MULTIPLEXED_PIECE;
        }
        stream->header[stream->have++] = (uint8_t) input->at[0];
        *input = slice_skip (*input, 1);
        if (stream->have == MULTIPLEXED_HEADER_BYTES && !begin_frame (stream))
        {
            stream->have = 0;
            return MULTIPLEXED_ERROR;
        }
    }
    return MULTIPLEXED_MORE;
}
