/* window.h - flow control: how many bytes a receiver lets its sender have under way, out of a total for the process.
 *
 * A window is reserved from the budget before its credit is granted, so that all payload in flight stays within the
 * total whatever clients and engine do. Windows begin small, grow while a stream uses them, and grow less when the
 * budget runs low; when not even the smallest fits, the stream is refused (503).
 *
 *     budget used      a stream begins with     and grows to
 *     up to 1/2        16 KiB                   256 KiB
 *     up to 3/4        16 KiB                    64 KiB
 *     above             4 KiB                    16 KiB
 *
 * The budget is the one thing that actors share: an atomic counter, handed to them when they start.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct budget
{
    atomic_size_t used; /* bytes */
    size_t total;       /* bytes */
};

enum
{
    WINDOW_LEAST = 4 * 1024,
    WINDOW_FIRST = 16 * 1024,
    WINDOW_MOST = 256 * 1024,
};

struct window
{
    struct budget *budget; /* NULL: closed */
    uint32_t reserved;     /* bytes: credit outstanding, received and not consumed, consumed and not granted again */
    uint32_t consumed;     /* bytes consumed since the last grant */
    uint32_t target;       /* bytes that the window shall have now */
};

/* Opens a window and returns the credit to grant with it, 0 when the budget has no room. */
uint32_t window_open (struct window *window, struct budget *budget);

/* Notes that so many received bytes have left, and returns the credit to grant now; 0 when it is not worth a message
 * yet. */
uint32_t window_consume (struct window *window, size_t bytes);

/* Returns all that is reserved. Idempotent. */
void window_close (struct window *window);
