/* stream_table.c - see stream_table.h. Removal shifts later entries back, so there are no tombstones. */
#include "stream_table.h"

#include "ensure.h"

#include <stdlib.h>

static size_t home_of (const struct stream_table *table, uint64_t id)
{
    return (size_t) (id * 0x9e3779b97f4a7c15u >> 32) & (table->capacity - 1);
}

static void insert (struct stream_table *table, uint64_t id, void *object)
{
    size_t place = home_of (table, id);
    while (table->slots[place].id)
        place = (place + 1) & (table->capacity - 1);
    table->slots[place] = (struct stream_slot){id, object};
}

void stream_table_put (struct stream_table *table, uint64_t id, void *object)
{
    if ((table->count + 1) * 2 > table->capacity)
    {
        struct stream_table larger = {.capacity = table->capacity ? table->capacity * 2 : 64};
        larger.slots = must (calloc (larger.capacity, sizeof *larger.slots));
        for (size_t place = 0; place < table->capacity; place++)
            if (table->slots[place].id)
                insert (&larger, table->slots[place].id, table->slots[place].object);
        free (table->slots);
        table->slots = larger.slots;
        table->capacity = larger.capacity;
    }
    insert (table, id, object);
    table->count++;
}

void *stream_table_get (struct stream_table *table, uint64_t id)
{
    if (table->capacity)
        for (size_t place = home_of (table, id); table->slots[place].id; place = (place + 1) & (table->capacity - 1))
            if (table->slots[place].id == id)
                return table->slots[place].object;
    table->unknown++;
    return NULL;
}

void stream_table_remove (struct stream_table *table, uint64_t id)
{
    if (!table->capacity)
        return;
    size_t mask = table->capacity - 1, place = home_of (table, id);
    while (table->slots[place].id != id)
    {
        if (!table->slots[place].id)
            return;
        place = (place + 1) & mask;
    }
    table->count--;
    /* Close the gap: an entry may move back unless that would put it before its home. */
    for (size_t next = (place + 1) & mask; table->slots[next].id; next = (next + 1) & mask)
    {
        size_t home = home_of (table, table->slots[next].id);
        if (((next - home) & mask) >= ((next - place) & mask))
        {
            table->slots[place] = table->slots[next];
            place = next;
        }
    }
    table->slots[place].id = 0;
}

void stream_table_free (struct stream_table *table)
{
    free (table->slots);
    *table = (struct stream_table){0};
}
