/* url.c - request targets: cleaning paths, splitting, Docker's version prefix.
 *
 * A path is cleaned only where all readers agree on the result. `..` is refused instead of resolved, and it is found as
 * the engine would find it: also when its dots or the slashes around it are written as escapes, because the engine
 * routes on the decoded path.
 */
#include "http/url.h"

#include "http/characters.h"

enum
{
    VERSION_MINOR_MAX = 999,
};

void url_split (struct slice target, struct slice *path, struct slice *query)
{
    const char *mark = target.len > 0 ? memchr (target.at, '?', target.len) : NULL;
    *path = target;
    *query = slice_of (NULL, 0);
    if (mark)
    {
        path->len = (size_t) (mark - target.at);
        *query = slice_skip (target, path->len + 1);
    }
}

/* Checks escapes and elements. *dots: whether an element is empty or `.`, so that there may be something to clean. */
static bool path_is_valid (struct slice path, bool *unclean)
{
    enum
    {
        OTHER = 3, /* the element has something else than dots, or more than two of them */
    };
    unsigned dots = OTHER; /* dots seen in this element, as long as it has nothing else */
    for (size_t at = 0; at < path.len; at++)
    {
        char byte = path.at[at];
        if (byte == '%')
        {
            if (path.len - at < 3 || !character_is (path.at[at + 1], CHARACTER_HEX) ||
                !character_is (path.at[at + 2], CHARACTER_HEX))
                return false;
            byte = (char) (character_hex (path.at[at + 1]) << 4 | character_hex (path.at[at + 2]));
            at += 2;
            if (byte == 0)
                return false;
        }
        if (byte == '/')
        {
            if (dots == 2)
                return false;
            *unclean |= dots < 2;
            dots = 0;
        }
        else
            dots = byte == '.' && dots < 2 ? dots + 1 : OTHER;
    }
    *unclean |= dots == 1;
    return dots != 2;
}

/* Whether an element between slashes says nothing: it is empty or `.`. */
static bool element_is_void (const char *at, size_t length)
{
    return length == 0 || (length == 1 && at[0] == '.') ||
           (length == 3 && at[0] == '%' && at[1] == '2' && (at[2] | 0x20) == 'e');
}

/* Drops the void elements of a path; a slash at the end stays. Returns the new length. */
static size_t path_compact (char *path, size_t length)
{
    size_t out = 0;
    for (size_t at = 0; at < length;)
    {
        const char *slash = memchr (path + at + 1, '/', length - at - 1);
        size_t next = slash ? (size_t) (slash - path) : length;
        if (!element_is_void (path + at + 1, next - at - 1))
        {
            memmove (path + out, path + at, next - at);
            out += next - at;
        }
        else if (next == length && (next - at == 1 || out == 0))
            path[out++] = '/';
        at = next;
    }
    return out;
}

bool url_clean (char *bytes, struct slice *target)
{
    struct slice path, query;
    bool unclean = false;
    url_split (*target, &path, &query);
    if (path.len == 0 || path.at[0] != '/' || !http_is_target (*target) || !path_is_valid (path, &unclean))
        return false;
    if (unclean)
    {
        char *at = bytes + (target->at - bytes);
        size_t length = path_compact (at, path.len);
        memmove (at + length, at + path.len, target->len - path.len);
        target->len -= path.len - length;
    }
    return true;
}

unsigned url_version_prefix (struct slice path, size_t *bytes)
{
    *bytes = 0;
    if (path.len < 5 || path.at[0] != '/' || path.at[1] != 'v' || !character_is (path.at[2], CHARACTER_DIGIT) ||
        path.at[3] != '.')
        return 0;
    unsigned minor = 0;
    size_t at = 4;
    for (; at < path.len && character_is (path.at[at], CHARACTER_DIGIT); at++)
    {
        minor = minor * 10 + (unsigned) (path.at[at] - '0');
        if (minor > VERSION_MINOR_MAX)
            return 0;
    }
    if (at == 4 || (at < path.len && path.at[at] != '/'))
        return 0;
    unsigned version = (unsigned) (path.at[2] - '0') * 1000 + minor;
    *bytes = version > 0 ? at : 0;
    return version;
}

struct slice url_query_find (struct slice query, struct slice name)
{
    while (query.len > 0)
    {
        const char *end = memchr (query.at, '&', query.len);
        struct slice pair = slice_of (query.at, end ? (size_t) (end - query.at) : query.len);
        query = slice_skip (query, end ? pair.len + 1 : pair.len);
        if (!slice_starts_with (pair, name))
            continue;
        struct slice value = slice_skip (pair, name.len);
        if (value.len == 0)
            return value;
        if (value.at[0] == '=')
            return slice_skip (value, 1);
    }
    return slice_of (NULL, 0);
}

bool url_decode (struct slice value, char *out, size_t *length)
{
    *length = 0;
    for (size_t at = 0; at < value.len; at++)
    {
        char byte = value.at[at];
        if (byte == '+')
            byte = ' ';
        else if (byte == '%')
        {
            if (value.len - at < 3 || !character_is (value.at[at + 1], CHARACTER_HEX) ||
                !character_is (value.at[at + 2], CHARACTER_HEX))
                return false;
            byte = (char) (character_hex (value.at[at + 1]) << 4 | character_hex (value.at[at + 2]));
            at += 2;
        }
        if (byte == '\0')
            return false;
        out[(*length)++] = byte;
    }
    return true;
}
