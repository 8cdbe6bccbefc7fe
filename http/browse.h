/* browse.h - what a request to browse files asks for: operation, volume, query (contract 5.4 and 5.5), and the rules
 * that names and paths obey before a file system hears of them. */
#pragma once

#include "messages/slice.h"

enum browse_operation
{
    BROWSE_LIST,
    BROWSE_GET,
    BROWSE_DELETE,
    BROWSE_RENAME,
    BROWSE_PUT,
};

struct browse_target
{
    enum browse_operation operation;
    bool first_shape;    /* /v1/browse/VOLUME/…: another shape and other errors */
    struct slice volume; /* the escaped path segment of the first shape; else empty */
    struct slice query;  /* without `?` */
};

/* Takes a target apart that the table of routes has found to be one of browsing. Returns false for any other. */
bool browse_target_read (struct slice target, struct browse_target *browse);

/* A volume name as Docker takes it: a letter or digit, then letters, digits, `_`, `.`, `-`; at most 255. */
bool browse_is_volume (struct slice name);

/* Whether an element of the path is `..`; elements are split at `/` and `\`. */
bool browse_climbs (struct slice path);

/* The path below the root of the host: without a leading root (such as /host), which Portainer's pages send, and
 * without the /host that they send whatever the root is. Always a part of path, which begins with `/` or is empty. */
struct slice browse_below_root (struct slice path, struct slice root);

/* Whether a name may be that of a new file: one element, not empty, not `.` nor `..`, without NUL. */
bool browse_is_file_name (struct slice name);
