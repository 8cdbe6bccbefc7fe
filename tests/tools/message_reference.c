/* message_reference - prints docs/messages.md, the reference page of all messages, from the catalog.
 *
 * The page is committed, so that it can be read without building; a test compares it with what this program prints.
 * After a change of the catalog:  build/release/tests/message_reference > docs/messages.md
 */
#include "messages/message.h"

#include <inttypes.h>
#include <stdio.h>

/* Prints text so that Markdown takes no character of it for markup. */
static void print_text (const char *text)
{
    for (; *text; text++)
    {
        if (strchr ("|*_<`\\", *text))
            putchar ('\\');
        putchar (*text);
    }
}

static void print_limit (const struct field_info *field)
{
    switch (field->kind)
    {
    case FIELD_UINT:
        if (field->limit == UINT64_MAX)
            printf ("2^64 - 1");
        else if (field->limit == UINT32_MAX)
            printf ("2^32 - 1");
        else
            printf ("%" PRIu64, field->limit);
        break;
    case FIELD_BOOL:
        break;
    case FIELD_TEXT:
        printf ("%" PRIu64 " bytes", field->limit);
        break;
    case FIELD_HEADERS:
        printf ("%" PRIu64 " headers", field->limit);
        break;
    }
}

static const char *const kinds[] = {
    [FIELD_UINT] = "number", [FIELD_BOOL] = "boolean", [FIELD_TEXT] = "text", [FIELD_HEADERS] = "headers"};
static const char *const shown[] = {
    [FIELD_PUBLIC] = "yes", [FIELD_SECRET] = "no", [FIELD_QUERY] = "by parameter", [FIELD_FIELDS] = "by name"};

static void print_opening (void)
{
    printf (
        "# Messages\n\n"
        "<!-- Printed by tests/tools/message_reference.c from messages/catalog.def. Change the catalog, not this page. "
        "-->\n\n"
        "Everything that happens in Shoal is a message from one actor to another. This page lists all of them; it is\n"
        "printed from the catalog, `messages/catalog.def`, from which the code is made too.\n\n"
        "## What a message looks like\n\n"
        "| frame | content | present |\n"
        "|---|---|---|\n"
        "| envelope | msgpack array of 7 elements, at most %d bytes | always |\n"
        "| body | msgpack array, one element for each field, in the order below | when the type has fields |\n"
        "| payload | raw bytes | when the type has a payload |\n\n",
        ENVELOPE_BYTES_MAX);
    printf ("The elements of the envelope:\n\n"
            "| element | kind | meaning |\n"
            "|---|---|---|\n"
            "| type | number | the message's type, by its number below |\n"
            "| trace | binary, %d bytes | the request's trace id (W3C Trace Context) |\n"
            "| stream | number | the request and its answer that it belongs to; 0 when none |\n"
            "| from, to | number | sender and receiver, by their numbers below |\n"
            "| sequence | number | counts the messages that one reactor sent |\n"
            "| time | number | when it was sent: CLOCK\\_MONOTONIC, nanoseconds |\n\n",
            TRACE_BYTES);
    printf (
        "The kinds of fields:\n\n"
        "| kind | in msgpack | limit |\n"
        "|---|---|---|\n"
        "| number | integer, not negative | the largest number |\n"
        "| boolean | true or false | |\n"
        "| text | str; any bytes, not only UTF-8 | bytes |\n"
        "| headers | array of [name, value], both str | headers; each name and value at most %d bytes, and at most %d "
        "headers in a message |\n\n",
        MESSAGE_STRING_MAX, MESSAGE_HEADERS_MAX);
    printf ("A decoder refuses whatever differs: an unknown type or actor, a missing or surplus element, another kind, "
            "a value\n"
            "over its limit, bytes after the end. Of a number or a length every width that msgpack has is accepted.\n\n"
            "Taps and logs show a field as the column *shown* says: as it is; of a request target the path, and the "
            "values of\n"
            "parameters on an allow-list; of headers the values of names on an allow-list (both lists: "
            "`messages/redact.c`).\n"
            "In place of what is not shown stands its length, `<24 bytes>`.\n\n"
            "Numbers of types and actors follow the order of the catalog and hold within one build.\n\n");
}

static void print_actors (void)
{
    printf ("## Actors\n\n| number | actor | owns |\n|---|---|---|\n");
    for (enum actor_id actor = ACTOR_NONE + 1; actor < ACTOR_COUNT; actor++)
    {
        printf ("| %d | **%s** | ", (int) actor, actor_name (actor));
        print_text (actor_doc (actor));
        printf (" |\n");
    }
}

static void print_overview (void)
{
    printf ("\n## Types\n\n| number | type | fields | payload |\n|---|---|---|---|\n");
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
    {
        const struct message_info *info = message_info (type);
        printf ("| %d | [%s](#%s) | %zu | %s |\n", (int) type, info->name, info->name, info->field_count,
                info->payload ? "yes" : "");
    }
}

static void print_type (const struct message_info *info)
{
    printf ("\n### %s\n\n", info->name);
    print_text (info->doc);
    printf ("\n");
    if (info->payload)
        printf ("\nPayload: raw bytes.\n");
    if (info->field_count == 0)
        return;
    printf ("\n| field | kind | limit | shown | meaning |\n|---|---|---|---|---|\n");
    for (size_t index = 0; index < info->field_count; index++)
    {
        const struct field_info *field = &info->fields[index];
        printf ("| `%s` | %s | ", field->name, kinds[field->kind]);
        print_limit (field);
        printf (" | %s | ", shown[field->secrecy]);
        print_text (field->doc);
        printf (" |\n");
    }
}

int main (void)
{
    print_opening ();
    print_actors ();
    print_overview ();
    for (enum message_type type = MESSAGE_NONE + 1; type < MESSAGE_COUNT; type++)
        print_type (message_info (type));
    return fflush (stdout) == 0 && !ferror (stdout) ? 0 : 1;
}
