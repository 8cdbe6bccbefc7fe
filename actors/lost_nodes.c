/* lost_nodes.c - see lost_nodes.h. */
#include "lost_nodes.h"

#include "ensure.h"

#include <stdio.h>
#include <stdlib.h>

static void take_out (struct lost_nodes *nodes, size_t place)
{
    nodes->count--;
    memmove (&nodes->at[place], &nodes->at[place + 1], (nodes->count - place) * sizeof *nodes->at);
}

static void add (struct lost_nodes *nodes, const struct message_member *news, uint64_t now)
{
    if (nodes->count == LOST_NODES_MAX)
        take_out (nodes, 0);
    if (nodes->count == nodes->capacity)
    {
        nodes->capacity = nodes->capacity ? 2 * nodes->capacity : 4;
        nodes->at = must (realloc (nodes->at, nodes->capacity * sizeof *nodes->at));
    }
    struct lost_node *node = &nodes->at[nodes->count++];
    *node = (struct lost_node){.since = now, .number = ++nodes->last};
    snprintf (node->id, sizeof node->id, "%.*s", (int) news->id.len, news->id.at);
    snprintf (node->name, sizeof node->name, "%.*s", (int) news->name.len, news->name.len ? news->name.at : "");
}

void lost_nodes_update (struct lost_nodes *nodes, const struct message_member *news, uint64_t now)
{
    bool lost = !news->usable && news->lost;
    for (size_t index = nodes->count; index-- > 0;)
    {
        const struct lost_node *node = &nodes->at[index];
        /* A node that is lost again may have come back under another id meanwhile. */
        if (slice_equal (slice_from (node->id), news->id) ||
            (lost && slice_equal (slice_from (node->name), news->name)))
            take_out (nodes, index);
    }
    if (lost)
        add (nodes, news, now);
}

void lost_nodes_forget (struct lost_nodes *nodes, uint64_t now)
{
    while (nodes->count && now - nodes->at[0].since >= LOST_TIME)
        take_out (nodes, 0);
}

void lost_nodes_free (struct lost_nodes *nodes)
{
    free (nodes->at);
    *nodes = (struct lost_nodes){0};
}
