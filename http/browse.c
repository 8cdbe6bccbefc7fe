/* browse.c - see browse.h. */
#include "http/browse.h"

#include "http/characters.h"
#include "http/url.h"

enum
{
    VOLUME_BYTES_MAX = 255,
};

static const struct
{
    struct slice name;
    enum browse_operation operation;
} s_operations[] = {
    {{"ls", 2}, BROWSE_LIST},       {{"get", 3}, BROWSE_GET}, {{"delete", 6}, BROWSE_DELETE},
    {{"rename", 6}, BROWSE_RENAME}, {{"put", 3}, BROWSE_PUT},
};

static bool cut (struct slice *path, struct slice prefix)
{
    if (!slice_starts_with (*path, prefix))
        return false;
    *path = slice_skip (*path, prefix.len);
    return true;
}

bool browse_target_read (struct slice target, struct browse_target *browse)
{
    struct slice path;
    size_t version;
    *browse = (struct browse_target){.volume = SLICE ("")};
    url_split (target, &path, &browse->query);
    url_version_prefix (path, &version);
    path = slice_skip (path, version);
    browse->first_shape = cut (&path, SLICE ("/v1/"));
    if (!browse->first_shape && !cut (&path, SLICE ("/v2/")) && !cut (&path, SLICE ("/")))
        return false;
    if (!cut (&path, SLICE ("browse/")))
        return false;
    if (browse->first_shape)
    {
        const char *slash = path.len ? memchr (path.at, '/', path.len) : NULL;
        if (!slash || slash == path.at)
            return false;
        browse->volume = slice_of (path.at, (size_t) (slash - path.at));
        path = slice_skip (path, browse->volume.len + 1);
    }
    for (size_t index = 0; index < sizeof s_operations / sizeof *s_operations; index++)
        if (slice_equal (path, s_operations[index].name))
        {
            browse->operation = s_operations[index].operation;
            return true;
        }
    return false;
}

static bool is_alphanumeric (char byte)
{
    return character_is (byte, CHARACTER_DIGIT) || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
}

bool browse_is_volume (struct slice name)
{
    if (name.len == 0 || name.len > VOLUME_BYTES_MAX || !is_alphanumeric (name.at[0]))
        return false;
    for (size_t at = 1; at < name.len; at++)
        if (!is_alphanumeric (name.at[at]) && name.at[at] != '_' && name.at[at] != '.' && name.at[at] != '-')
            return false;
    return true;
}

bool browse_climbs (struct slice path)
{
    size_t begin = 0;
    for (size_t at = 0; at <= path.len; at++)
        if (at == path.len || path.at[at] == '/' || path.at[at] == '\\')
        {
            if (at - begin == 2 && path.at[begin] == '.' && path.at[begin + 1] == '.')
                return true;
            begin = at + 1;
        }
    return false;
}

static bool cut_root (struct slice *path, struct slice root)
{
    while (root.len && root.at[root.len - 1] == '/')
        root.len--;
    if (root.len == 0 || !slice_starts_with (*path, root) || (path->len > root.len && path->at[root.len] != '/'))
        return false;
    *path = slice_skip (*path, root.len);
    return true;
}

struct slice browse_below_root (struct slice path, struct slice root)
{
    if (!cut_root (&path, root))
        cut_root (&path, SLICE ("/host"));
    return path;
}

bool browse_is_file_name (struct slice name)
{
    return name.len && !memchr (name.at, '/', name.len) && !memchr (name.at, '\0', name.len) &&
           !slice_equal (name, SLICE (".")) && !slice_equal (name, SLICE (".."));
}
