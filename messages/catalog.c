/* catalog.c - the catalog as tables: names, rows of fields, docs.
 *
 * The preprocessor turns each MESSAGE ... END block of catalog.def into one array of rows and one entry of the table of
 * types. Everything that handles messages in general (codec, text forms, the reference page, tests) walks over these
 * rows.
 */
#include "message.h"

/* ----------------------------------------------------------------------------------- the rows of each type's fields */

#define BARE    false
#define PAYLOAD true

#define ACTOR(name, doc)
#define MESSAGE(type, payload, doc) static const struct field_info type##_fields[] = {
#define FIELD(type, name, kind, limit, secrecy, doc)                                                                   \
    {#name, doc, FIELD_##kind, FIELD_##secrecy, limit, offsetof (union message_fields, type.name)},
#define END(type)                                                                                                      \
    }                                                                                                                  \
    ;
#include "catalog.def"
#undef MESSAGE
#undef FIELD
#undef END

/* A row that contradicts itself does not compile: a header field's limit must fit the store that decoding fills, only
 * text can be a query, and headers must never be shown unsifted. */
#define ROW_UINT(limit, secrecy) (FIELD_##secrecy == FIELD_PUBLIC || FIELD_##secrecy == FIELD_SECRET)
#define ROW_BOOL(limit, secrecy) (ROW_UINT (limit, secrecy) && (limit) == 1)
#define ROW_TEXT(limit, secrecy) (FIELD_##secrecy != FIELD_FIELDS && (limit) <= UINT32_MAX)
#define ROW_HEADERS(limit, secrecy)                                                                                    \
    ((FIELD_##secrecy == FIELD_FIELDS || FIELD_##secrecy == FIELD_SECRET) && (limit) <= MESSAGE_HEADERS_MAX)
#define MESSAGE(type, payload, doc)
#define FIELD(type, name, kind, limit, secrecy, doc)                                                                   \
    _Static_assert(ROW_##kind (limit, secrecy), #type "." #name ": limit or secrecy does not suit the kind");
#define END(type)
#include "catalog.def"
#undef ACTOR
#undef MESSAGE
#undef FIELD
#undef END

/* ----------------------------------------------------------------------------------------- the types and the actors */

static const struct message_info types[MESSAGE_COUNT] = {
#define ACTOR(name, doc)
#define MESSAGE(type, payload, doc)                                                                                    \
    [MESSAGE_##type] = {#type, doc, payload, type##_fields, sizeof type##_fields / sizeof (struct field_info)},
#define FIELD(type, name, kind, limit, secrecy, doc)
#define END(type)
#include "catalog.def"
#undef ACTOR
#undef MESSAGE
};

static const struct
{
    const char *name, *doc;
} actors[ACTOR_COUNT] = {
    [ACTOR_NONE] = {"none", ""},
#define ACTOR(name, doc) [ACTOR_##name] = {#name, doc},
#define MESSAGE(type, payload, doc)
#include "catalog.def"
#undef ACTOR
#undef MESSAGE
#undef FIELD
#undef END
};

/* Numbers come from outside as enums; a negative one is a large one here. */
static bool type_is_known (enum message_type type)
{
    return (unsigned) type > MESSAGE_NONE && (unsigned) type < MESSAGE_COUNT;
}

static bool actor_is_known (enum actor_id actor)
{
    return (unsigned) actor < ACTOR_COUNT;
}

const struct message_info *message_info (enum message_type type)
{
    return type_is_known (type) ? &types[type] : NULL;
}

const char *message_type_name (enum message_type type)
{
    if (type == MESSAGE_NONE)
        return "none";
    return type_is_known (type) ? types[type].name : "?";
}

const char *actor_name (enum actor_id actor)
{
    return actor_is_known (actor) ? actors[actor].name : "?";
}

const char *actor_doc (enum actor_id actor)
{
    return actor_is_known (actor) ? actors[actor].doc : "";
}

enum message_type message_type_from_name (struct slice name)
{
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        if (slice_equal (name, slice_from (types[type].name)))
            return type;
    return MESSAGE_NONE;
}

enum actor_id actor_from_name (struct slice name)
{
    for (enum actor_id actor = ACTOR_NONE + 1; actor < ACTOR_COUNT; actor++)
        if (slice_equal (name, slice_from (actors[actor].name)))
            return actor;
    return ACTOR_NONE;
}

bool message_has_body (enum message_type type)
{
    return type_is_known (type) && types[type].field_count > 0;
}

bool message_has_payload (enum message_type type)
{
    return type_is_known (type) && types[type].payload;
}

/* --------------------------------------------------------------------------------------------------------- headers */

struct slice headers_find (struct headers headers, struct slice name)
{
    for (size_t index = 0; index < headers.count; index++)
    {
        struct header header = headers.at[index];
        if (!slice_equal_nocase (header.name, name))
            continue;
        /* A header without a value is there all the same, and NULL says that it is not. */
        return header.value.at ? header.value : slice_of ("", 0);
    }
    return (struct slice){0};
}
