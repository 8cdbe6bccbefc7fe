/* url_fuzz - a request target: cleaning it leaves nothing to clean, and the query as it was. */
#include "http/url.h"
#include "tests/http_conversation.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* No empty, `.` or `..` element is left, except an empty one at the end. */
static void must_be_clean (struct slice path)
{
    must (path.len > 0 && path.at[0] == '/');
    for (size_t at = 0; at < path.len; at++)
    {
        if (path.at[at] != '/')
            continue;
        struct slice rest = slice_skip (path, at + 1);
        const char *slash = rest.len > 0 ? memchr (rest.at, '/', rest.len) : NULL;
        struct slice element = slice_of (rest.at, slash ? (size_t) (slash - rest.at) : rest.len);
        must (element.len > 0 || rest.len == 0);
        must (!slice_equal (element, SLICE (".")) && !slice_equal (element, SLICE ("..")));
        must (!slice_equal_nocase (element, SLICE ("%2e")) && !slice_equal_nocase (element, SLICE ("%2e%2e")));
    }
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    char *block = malloc (size ? size : 1), *bytes = size ? block : block + 1;
    must (block);
    memcpy (bytes, data, size);
    struct slice target = slice_of (bytes, size), path, query, query_before;
    size_t length;
    url_split (slice_of ((const char *) data, size), &path, &query_before);
    if (url_clean (bytes, &target))
    {
        url_split (target, &path, &query);
        must (target.len <= size && slice_equal (query, query_before) && !query.at == !query_before.at);
        must_be_clean (path);
        struct slice again = target;
        must (url_clean (bytes, &again) && again.at == target.at && again.len == target.len);
        url_version_prefix (path, &length);
        must (length <= path.len && (length == path.len || path.at[length] == '/'));
    }
    else
        must (size == 0 || memcmp (bytes, data, size) == 0);
    must_be_within (url_query_find (target, SLICE ("a")), bytes, size);
    must_be_within (url_query_find (target, SLICE ("")), bytes, size);
    url_version_prefix (target, &length);
    must (length <= target.len);
    free (block);
    return 0;
}
