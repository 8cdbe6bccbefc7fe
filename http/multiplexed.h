/* multiplexed.h - the engine's frames for containers without a terminal: output and errors in one stream.
 *
 *     kind (1 byte: 0 input, 1 output, 2 errors, 3 the engine's own), 3 bytes 0, length (4 bytes, big-endian), bytes
 *
 * Docker Engine API, ContainerAttach, "Stream format". Sans-I/O; nothing is copied or allocated.
 */
#pragma once

#include "messages/slice.h"

#include <stdint.h>

enum
{
    MULTIPLEXED_HEADER_BYTES = 8,
    MULTIPLEXED_ERRORS = 2, /* the kind of a program's error output */
    MULTIPLEXED_KIND_MOST = 3,
};

enum multiplexed_result
{
    MULTIPLEXED_MORE,  /* all input was used */
    MULTIPLEXED_PIECE, /* *piece is what comes next; call again */
    MULTIPLEXED_ERROR, /* these are no such frames */
};

/* All zero is the beginning of a stream. */
struct multiplexed
{
    uint8_t header[MULTIPLEXED_HEADER_BYTES];
    unsigned have; /* bytes of the header */
    uint32_t left; /* bytes of the frame that are still to come */
    unsigned kind; /* of the piece */
};

/* Takes from the input up to the end of a frame. *piece points into the input and is not empty. */
enum multiplexed_result multiplexed_next (struct multiplexed *stream, struct slice *input, struct slice *piece);
