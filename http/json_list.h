/* json_list.h - a list as the Docker engine sends it, in pieces: out come its elements, each with the node's name in
 * it.
 *
 * Every element of an aggregated list gets `"Portainer":{"Agent":{"NodeName":"<name>"}}` (contract 6.5). The field is
 * put at the element's end; where the element has a field Portainer already, however its key is escaped, that one's
 * value is replaced. Nothing else changes: numbers, order, unknown fields and white space stay as the engine wrote
 * them.
 *
 *     JSON_LIST_ARRAY     [element, ...]                        containers, images, networks
 *     JSON_LIST_VOLUMES   {"Volumes":[element, ...] or null, "Warnings":["text", ...] or null, ...}
 *
 * An error is all that is not such a list: broken JSON, an element that is no object, one that is too long, and an
 * object with a `message` that is not null, which is the engine's own error. Sans-I/O; holds one element, never a list.
 */
#pragma once

#include "messages/slice.h"

enum
{
    JSON_LIST_ELEMENT_MAX = 1024 * 1024, /* bytes of one element, as the engine wrote it */
    JSON_LIST_WARNINGS_MAX = 64 * 1024,  /* bytes of all warnings of one list */
};

enum json_list_kind
{
    JSON_LIST_ARRAY,
    JSON_LIST_VOLUMES,
};

enum json_list_result
{
    JSON_LIST_MORE,    /* all bytes were looked at */
    JSON_LIST_ELEMENT, /* json_list_text() is an element */
    JSON_LIST_ERROR,   /* json_list_text() says why, in printable ASCII, lower case */
};

struct json_list;

/* The name is copied; what is not UTF-8 in it becomes U+FFFD. */
struct json_list *json_list_new (enum json_list_kind kind, struct slice node_name);
void json_list_destroy (struct json_list **list_p);

/* Looks at bytes until an element is whole. *used says how many were looked at; the next call goes on behind them.
 * After an error nothing more may be fed. */
enum json_list_result json_list_feed (struct json_list *list, struct slice bytes, size_t *used);

/* No more bytes come: JSON_LIST_MORE when the list is whole, else JSON_LIST_ERROR. */
enum json_list_result json_list_end (struct json_list *list);

/* The element, or the error. Lives until the next call of the functions above. */
struct slice json_list_text (const struct json_list *list);

/* The warnings so far, as JSON strings with commas between them; empty when there are none. */
struct slice json_list_warnings (const struct json_list *list);

/* Bytes of memory that the list holds now, for limits over many of them. */
size_t json_list_held (const struct json_list *list);
