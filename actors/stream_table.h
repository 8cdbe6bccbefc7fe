/* stream_table.h - finds an actor's object by stream id. Ids are never 0 and never used again. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct stream_table
{
    struct stream_slot
    {
        uint64_t id;
        void *object;
    } * slots;              /* open addressing, linear probing; id 0 is free */
    size_t count, capacity; /* capacity is a power of two */
    uint64_t unknown;       /* look-ups that found nothing: messages for streams that are over */
};

void stream_table_put (struct stream_table *table, uint64_t id, void *object);

/* The object, or NULL. */
void *stream_table_get (struct stream_table *table, uint64_t id);
void stream_table_remove (struct stream_table *table, uint64_t id);
void stream_table_free (struct stream_table *table);
