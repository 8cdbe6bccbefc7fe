/* content_type.c - see content_type.h. What is text and what is binary is told as in the WHATWG's MIME Sniffing
 * Standard, section 7.1: a byte that no text contains makes a file binary. */
#include "http/content_type.h"

#define TEXT_UTF8 "; charset=utf-8"

struct pair
{
    struct slice key, type;
};

#define PAIR(key, type)                                                                                                \
    {                                                                                                                  \
        {key, sizeof (key) - 1},                                                                                       \
        {                                                                                                              \
            type, sizeof (type) - 1                                                                                    \
        }                                                                                                              \
    }

static const struct pair s_extensions[] = {
    PAIR ("avif", "image/avif"),
    PAIR ("bz2", "application/x-bzip2"),
    PAIR ("conf", "text/plain" TEXT_UTF8),
    PAIR ("css", "text/css" TEXT_UTF8),
    PAIR ("csv", "text/csv" TEXT_UTF8),
    PAIR ("gif", "image/gif"),
    PAIR ("gz", "application/gzip"),
    PAIR ("htm", "text/html" TEXT_UTF8),
    PAIR ("html", "text/html" TEXT_UTF8),
    PAIR ("ico", "image/vnd.microsoft.icon"),
    PAIR ("jpeg", "image/jpeg"),
    PAIR ("jpg", "image/jpeg"),
    PAIR ("js", "text/javascript" TEXT_UTF8),
    PAIR ("json", "application/json"),
    PAIR ("log", "text/plain" TEXT_UTF8),
    PAIR ("md", "text/markdown" TEXT_UTF8),
    PAIR ("mjs", "text/javascript" TEXT_UTF8),
    PAIR ("mp3", "audio/mpeg"),
    PAIR ("mp4", "video/mp4"),
    PAIR ("pdf", "application/pdf"),
    PAIR ("png", "image/png"),
    PAIR ("svg", "image/svg+xml"),
    PAIR ("tar", "application/x-tar"),
    PAIR ("tgz", "application/gzip"),
    PAIR ("txt", "text/plain" TEXT_UTF8),
    PAIR ("wasm", "application/wasm"),
    PAIR ("webm", "video/webm"),
    PAIR ("webp", "image/webp"),
    PAIR ("xml", "text/xml" TEXT_UTF8),
    PAIR ("xz", "application/x-xz"),
    PAIR ("yaml", "application/yaml"),
    PAIR ("yml", "application/yaml"),
    PAIR ("zip", "application/zip"),
    PAIR ("zst", "application/zstd"),
};

static const struct pair s_beginnings[] = {
    PAIR ("%PDF-", "application/pdf"),
    PAIR ("\x89PNG\r\n\x1a\n", "image/png"),
    PAIR ("GIF87a", "image/gif"),
    PAIR ("GIF89a", "image/gif"),
    PAIR ("\xff\xd8\xff", "image/jpeg"),
    PAIR ("\x1f\x8b\x08", "application/x-gzip"),
    PAIR ("PK\x03\x04", "application/zip"),
    PAIR ("\xef\xbb\xbf", "text/plain; charset=utf-8"),
    PAIR ("\xfe\xff", "text/plain; charset=utf-16be"),
    PAIR ("\xff\xfe", "text/plain; charset=utf-16le"),
};

static const struct pair s_markup[] = {
    PAIR ("<!doctype html", "text/html" TEXT_UTF8),
    PAIR ("<html", "text/html" TEXT_UTF8),
    PAIR ("<?xml", "text/xml" TEXT_UTF8),
};

struct slice content_type_by_name (struct slice name)
{
    const char *dot = name.len ? memrchr (name.at, '.', name.len) : NULL;
    if (!dot)
        return SLICE ("");
    struct slice extension = slice_skip (name, (size_t) (dot - name.at) + 1);
    for (size_t index = 0; index < sizeof s_extensions / sizeof *s_extensions; index++)
        if (slice_equal_nocase (extension, s_extensions[index].key))
            return s_extensions[index].type;
    return SLICE ("");
}

static bool is_binary (char byte)
{
    unsigned value = (unsigned char) byte;
    return value < 0x20 && value != '\t' && value != '\n' && value != '\r' && value != '\f' && value != 0x1b;
}

struct slice content_type_by_bytes (struct slice bytes)
{
    if (bytes.len > CONTENT_TYPE_SNIFF)
        bytes.len = CONTENT_TYPE_SNIFF;
    for (size_t index = 0; index < sizeof s_beginnings / sizeof *s_beginnings; index++)
        if (slice_starts_with (bytes, s_beginnings[index].key))
            return s_beginnings[index].type;
    struct slice text = bytes;
    while (text.len && strchr (" \t\r\n\f", text.at[0]) && text.at[0])
        text = slice_skip (text, 1);
    for (size_t index = 0; index < sizeof s_markup / sizeof *s_markup; index++)
        if (text.len >= s_markup[index].key.len &&
            slice_equal_nocase (slice_of (text.at, s_markup[index].key.len), s_markup[index].key))
            return s_markup[index].type;
    for (size_t at = 0; at < bytes.len; at++)
        if (is_binary (bytes.at[at]))
            return SLICE ("application/octet-stream");
    return SLICE ("text/plain; charset=utf-8");
}
