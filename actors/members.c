/* members.c - see members.h. */
#include "members.h"

#include "ensure.h"

#include <stdio.h>
#include <stdlib.h>

static void copy (char *out, size_t size, struct slice text)
{
    snprintf (out, size, "%.*s", (int) text.len, text.len ? text.at : "");
}

static int compare (const char *id, struct slice other)
{
    size_t length = strlen (id), common = length < other.len ? length : other.len;
    int order = common ? memcmp (id, other.at, common) : 0;
    return order ? order : (length > other.len) - (length < other.len);
}

/* The place of an id, or where it belongs. */
static size_t place_of (const struct members *members, struct slice id)
{
    size_t low = 0, high = members->count;
    while (low < high)
    {
        size_t middle = (low + high) / 2;
        if (compare (members->at[middle]->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct member *members_by_id (const struct members *members, struct slice id)
{
    size_t place = place_of (members, id);
    bool found = place < members->count && compare (members->at[place]->id, id) == 0;
    return found ? members->at[place] : NULL;
}

static void take_out (struct members *members, size_t place)
{
    free (members->at[place]);
    memmove (&members->at[place], &members->at[place + 1], (--members->count - place) * sizeof *members->at);
}

static struct member *put_in (struct members *members, size_t place)
{
    if (members->count == MEMBERS_MAX)
        return NULL;
    if (members->count == members->capacity)
    {
        members->capacity = members->capacity ? 2 * members->capacity : 8;
        members->at = must (realloc (members->at, members->capacity * sizeof *members->at));
    }
    memmove (&members->at[place + 1], &members->at[place], (members->count++ - place) * sizeof *members->at);
    return members->at[place] = must (calloc (1, sizeof (struct member)));
}

void members_update (struct members *members, const struct message_member *news)
{
    size_t place = place_of (members, news->id);
    struct member *member = members_by_id (members, news->id);
    if (!news->usable)
    {
        if (member)
            take_out (members, place);
        return;
    }
    if (!member && !(member = put_in (members, place)))
        return;
    copy (member->id, sizeof member->id, news->id);
    copy (member->name, sizeof member->name, news->name);
    copy (member->address, sizeof member->address, news->address);
    copy (member->tls_key, sizeof member->tls_key, news->tls_key);
    copy (member->version, sizeof member->version, news->version);
    member->instance = news->instance;
    member->port = (unsigned) news->port;
    member->own = news->own;
    member->manager = news->manager;
    member->suspected = news->suspected;
    member->key_set = news->key_set;
}

struct member *members_by_target (const struct members *members, struct slice target, bool *several)
{
    struct member *found = NULL;
    size_t named = 0;
    for (size_t index = 0; index < members->count; index++)
        if (slice_equal (slice_from (members->at[index]->name), target) && named++ == 0)
            found = members->at[index];
    *several = named > 1;
    return named ? found : members_by_id (members, target);
}

struct member *members_own (const struct members *members)
{
    for (size_t index = 0; index < members->count; index++)
        if (members->at[index]->own)
            return members->at[index];
    return NULL;
}

void members_free (struct members *members)
{
    while (members->count)
        take_out (members, members->count - 1);
    free (members->at);
    *members = (struct members){0};
}
