/* http_conversation.h - runs a byte stream through a reader and tells what it made of it, for unit tests and fuzz
 * targets.
 *
 * The stream is delivered cut into pieces, and each call sees the bytes in a heap block of exactly their size, at a new
 * address: so sanitizers see any read or write beside them, and any pointer that was kept. What the reader says becomes
 * a transcript, a text that must not depend on where the stream was cut:
 *
 *     POST /x host=a length=3 keep-alive; X: y {abc} GET /y host=a none; {} error 400 Host missing
 *
 * It ends in `end` where the connection may end, `cut` where that cuts a message off, or `error`.
 */
#pragma once

#include "http/reader.h"

#include <stdio.h>
#include <stdlib.h>

#define must(condition)                                                                                                \
    do                                                                                                                 \
    {                                                                                                                  \
        if (!(condition))                                                                                              \
        {                                                                                                              \
            fprintf (stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                 \
            abort ();                                                                                                  \
        }                                                                                                              \
    } while (0)

struct conversation
{
    bool responses, no_body;
    struct slice stream;
    /* The end of the delivery that follows the one that ended at `from`; a number above it. */
    size_t (*cut) (size_t from, void *data);
    void *data;
};

static inline void must_be_within (struct slice part, const char *block, size_t length)
{
    must (part.len == 0 || (part.at >= block && part.at + part.len <= block + length));
}

static inline void print_slice (FILE *out, const char *before, struct slice text)
{
    fprintf (out, "%s%.*s", before, (int) text.len, text.len ? text.at : "");
}

static inline void print_head (FILE *out, const struct http_reader *reader, const char *block)
{
    static const char *const framings[] = {"none", "length", "chunked", "raw", "close"};
    const struct http_head *head = &reader->head;
    must_be_within (head->method, block, head->bytes);
    must_be_within (head->target, block, head->bytes);
    must_be_within (head->authority, block, head->bytes);
    must_be_within (head->reason, block, head->bytes);
    must_be_within (head->upgrade, block, head->bytes);
    must (head->headers.count <= HTTP_HEADERS_MAX);
    if (reader->responses)
    {
        must (head->status >= 100 && head->status <= 599);
        fprintf (out, "%u", head->status);
        print_slice (out, " ", head->reason);
    }
    else
    {
        must (head->target.len > 0 && head->target.at[0] == '/');
        print_slice (out, "", head->method);
        print_slice (out, " ", head->target);
        print_slice (out, " host=", head->authority);
    }
    fprintf (out, " %s", framings[head->framing]);
    if (head->length_known)
        fprintf (out, "=%llu", (unsigned long long) head->length);
    else
        must (head->length == 0 && head->framing != FRAMING_LENGTH);
    fprintf (out, "%s%s", head->keep_alive ? " keep-alive" : "", head->expect_continue ? " expect" : "");
    if (head->upgrade.len > 0)
        print_slice (out, " upgrade=", head->upgrade);
    fprintf (out, ";");
    for (size_t at = 0; at < head->headers.count; at++)
    {
        must_be_within (head->headers.at[at].name, block, head->bytes);
        must_be_within (head->headers.at[at].value, block, head->bytes);
        print_slice (out, " ", head->headers.at[at].name);
        print_slice (out, ": ", head->headers.at[at].value);
    }
}

/* The transcript; the caller frees it with free(). It may have NUL bytes of bodies in it: *length tells its length. */
static inline char *converse (const struct conversation *conversation, size_t *length)
{
    struct header table[HTTP_HEADERS_MAX];
    struct http_reader reader;
    struct slice stream = conversation->stream;
    size_t begin = 0, arrived = 0; /* stream[begin .. arrived) is what the reader is shown */
    bool in_body = false;
    enum http_result result = HTTP_MORE;
    char *text = NULL;
    FILE *out = open_memstream (&text, length);
    must (out);
    http_reader_init (&reader, conversation->responses);
    http_reader_expect_no_body (&reader, conversation->no_body);
    must (http_reader_may_end (&reader));
    while (result != HTTP_ERROR && (arrived < stream.len || result == HTTP_DONE))
    {
        if (result == HTTP_MORE)
        {
            size_t next = conversation->cut (arrived, conversation->data);
            must (next > arrived);
            arrived = next < stream.len ? next : stream.len;
        }
        size_t shown = arrived - begin, used = 0;
        struct slice piece;
        char *block = malloc (shown ? shown : 1), *bytes = shown ? block : block + 1;
        must (block);
        memcpy (bytes, stream.at + begin, shown);
        if (in_body)
        {
            result = http_reader_body (&reader, bytes, shown, &piece, &used);
            must (used <= shown && (result != HTTP_MORE || used == shown));
            must_be_within (piece, bytes, used);
            if (piece.len > 0)
                fwrite (piece.at, 1, piece.len, out);
            begin += used;
        }
        else
        {
            result = http_reader_head (&reader, bytes, shown, table);
            if (result == HTTP_DONE)
            {
                must (reader.head.bytes > 0 && reader.head.bytes <= shown);
                print_head (out, &reader, bytes);
                fprintf (out, " {");
                begin += reader.head.bytes;
            }
        }
        free (block);
        if (result != HTTP_DONE)
            continue;
        if (in_body)
        {
            must (http_reader_may_end (&reader));
            fprintf (out, "} ");
            http_reader_next (&reader);
            must (http_reader_may_end (&reader));
            result = begin < arrived ? HTTP_DONE : HTTP_MORE;
        }
        in_body = !in_body;
    }
    if (result == HTTP_ERROR)
    {
        fprintf (out, "error %u %s", reader.error_status, reader.error_text);
        must (!http_reader_may_end (&reader));
        must (http_reader_head (&reader, NULL, 0, table) == HTTP_ERROR);
    }
    else
        fprintf (out, http_reader_may_end (&reader) ? "end" : "cut");
    fclose (out);
    return text;
}

/* Ways to cut: not at all, every byte, once at *data, pseudo-randomly with the seed at *data. */

static inline size_t cut_never (size_t from, void *data)
{
    (void) from, (void) data;
    return SIZE_MAX;
}

static inline size_t cut_always (size_t from, void *data)
{
    (void) data;
    return from + 1;
}

static inline size_t cut_once (size_t from, void *data)
{
    size_t at = *(size_t *) data;
    return from < at ? at : SIZE_MAX;
}

/* Marsaglia's xorshift: the same numbers from the same seed everywhere. The seed must not be 0. */
static inline uint64_t random_next (uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

static inline size_t cut_randomly (size_t from, void *data)
{
    uint64_t number = random_next (data);
    return from + 1 + (size_t) (number >> 8) % (number & 1 ? 8 : 4096);
}
