/* relay.h - one direction of a stream that an actor changes on its way: what came in under its window, and waits,
 * changed, for the credit of the next one.
 *
 * Bytes that came are owed back to the sender as credit once what became of them was sent on. So no more waits here
 * than the window that was granted, whatever the two ends do.
 */
#pragma once

#include "messages/slice.h"
#include "window.h"

/* All zero is a closed relay without credit. */
struct relay
{
    struct window window; /* for what comes in */
    size_t owed;          /* bytes that came and were not noted as consumed */
    uint64_t credit;      /* bytes that the next one is ready for */
    char *bytes;          /* what waits; NULL when nothing does */
    size_t length, capacity;
};

/* Opens the window and returns the credit to grant with it, 0 when the budget has no room. */
uint32_t relay_open (struct relay *relay, struct budget *budget);

/* Returns the window and frees what waits. Idempotent. */
void relay_close (struct relay *relay);

/* Makes room for so many bytes behind what waits, and returns where; the caller adds to length what it wrote. */
char *relay_reserve (struct relay *relay, size_t bytes);

/* Takes so many bytes away from the front of what waits. */
void relay_drop (struct relay *relay, size_t bytes);

/* Notes that so many bytes were sent on, or thrown away, and returns the credit to grant now; 0 when it is not worth a
 * message yet. */
uint32_t relay_settle (struct relay *relay, size_t sent);
