/* json_list_fuzz - a list of an engine, whole and cut where the first bytes say: the same elements and the same end. An
 * element that comes out has the node's name, is not much longer than what went in, and is JSON of one object. */
#include "http/json_list.h"
#include "http/json_scan.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

#define must(condition)                                                                                                \
    do                                                                                                                 \
    {                                                                                                                  \
        if (!(condition))                                                                                              \
        {                                                                                                              \
            fprintf (stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                 \
            abort ();                                                                                                  \
        }                                                                                                              \
    } while (0)

/* A sum over all that came out. */
struct outcome
{
    uint64_t sum;
    size_t elements;
    bool failed;
};

static void note (struct outcome *outcome, struct slice text)
{
    for (size_t index = 0; index < text.len; index++)
        outcome->sum = (outcome->sum ^ (uint8_t) text.at[index]) * 0x100000001b3u;
    outcome->sum = (outcome->sum ^ 256) * 0x100000001b3u;
}

static void must_be_an_object (struct slice text)
{
    struct json_scan scan = {.watched = 0};
    size_t used, at = 0;
    while (at < text.len)
    {
        must (json_scan_next (&scan, text.at + at, text.len - at, &used) != JSON_BROKEN);
        at += used;
    }
    must (json_scan_is_whole (&scan) && text.at[0] == '{');
    must (memmem (text.at, text.len, "{\"Agent\":{\"NodeName\":\"n\"}}", 26) != NULL);
}

static struct outcome run (enum json_list_kind kind, const uint8_t *data, size_t size, size_t step)
{
    struct outcome outcome = {.sum = 0xcbf29ce484222325u};
    struct json_list *list = json_list_new (kind, SLICE ("n"));
    enum json_list_result result = JSON_LIST_MORE;
    for (size_t at = 0; at < size && result != JSON_LIST_ERROR;)
    {
        size_t length = size - at < step ? size - at : step, used;
        char *block = malloc (length);
        must (block);
        memcpy (block, data + at, length);
        result = json_list_feed (list, slice_of (block, length), &used);
        free (block);
        must (used <= length && (result != JSON_LIST_MORE || used == length));
        at += used;
        if (result != JSON_LIST_ELEMENT)
            continue;
        must_be_an_object (json_list_text (list));
        note (&outcome, json_list_text (list));
        outcome.elements++;
    }
    if (result != JSON_LIST_ERROR)
        result = json_list_end (list);
    outcome.failed = result == JSON_LIST_ERROR;
    if (outcome.failed)
        note (&outcome, json_list_text (list));
    note (&outcome, json_list_warnings (list));
    json_list_destroy (&list);
    return outcome;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum json_list_kind kind = data[0] & 1 ? JSON_LIST_VOLUMES : JSON_LIST_ARRAY;
    size_t step = (size_t) (data[0] >> 1) % 31 + 1;
    struct outcome whole = run (kind, data + 1, size - 1, size), cut = run (kind, data + 1, size - 1, step);
    must (whole.sum == cut.sum && whole.elements == cut.elements && whole.failed == cut.failed);
    return 0;
}
