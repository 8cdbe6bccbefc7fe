/* relay.c - see relay.h. */
#include "relay.h"

#include "ensure.h"

#include <stdlib.h>

uint32_t relay_open (struct relay *relay, struct budget *budget)
{
    relay->owed = 0;
    return window_open (&relay->window, budget);
}

void relay_close (struct relay *relay)
{
    window_close (&relay->window);
    free (relay->bytes);
    *relay = (struct relay){.bytes = NULL};
}

char *relay_reserve (struct relay *relay, size_t bytes)
{
    if (relay->length + bytes > relay->capacity)
    {
        size_t twice = relay->capacity * 2;
        relay->capacity = relay->length + bytes > twice ? relay->length + bytes : twice;
        relay->bytes = must (realloc (relay->bytes, relay->capacity));
    }
    return relay->bytes + relay->length;
}

void relay_drop (struct relay *relay, size_t bytes)
{
    relay->length -= bytes;
    if (relay->length)
    {
        memmove (relay->bytes, relay->bytes + bytes, relay->length);
        return;
    }
    /* Consoles stand idle for hours. */
    free (relay->bytes);
    relay->bytes = NULL;
    relay->capacity = 0;
}

uint32_t relay_settle (struct relay *relay, size_t sent)
{
    /* What headers and dropped bytes took is owed with the rest of what waits. */
    size_t consumed = relay->length == 0 || sent > relay->owed ? relay->owed : sent;
    relay->owed -= consumed;
    return window_consume (&relay->window, consumed);
}
