/* beneath.h - opens files below a folder and nothing outside of it, whatever paths, links and races are made up.
 *
 * Who may write into a volume is not trusted by the agent: a symbolic link there may name any file of the node, and may
 * replace a folder while its path is being resolved. The kernel resolves such paths safely by openat2(); where it does
 * not have it (before Linux 5.6) or a seccomp profile forbids it, each element is opened by itself and links are read
 * by hand.
 *
 * Paths are relative to the root, however many slashes they begin with. All calls may hang as the file system does:
 * they belong into a worker.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>

enum beneath_scope
{
    BENEATH_STRICT, /* what leads out, an absolute link included, is refused with EXDEV */
    BENEATH_ROOTED, /* the folder is `/` to links and `..`, as in a chroot */
};

struct beneath
{
    int root; /* descriptor of the folder, O_PATH is enough */
    enum beneath_scope scope;
    bool walk; /* resolve by hand */
};

enum
{
    BENEATH_LINKS_MAX = 40,    /* links in one path: as the kernel (ELOOP) */
    BENEATH_DEPTH_MAX = 128,   /* folders that a walk by hand goes down (ENAMETOOLONG) */
    BENEATH_ATTEMPTS_MAX = 64, /* when the kernel saw a race and could not be sure */
};

/* Whether openat2() is there and allowed. */
bool beneath_kernel_resolves (void);

/* Opens an existing file. flags are open()'s, without O_CREAT and O_NOFOLLOW; O_CLOEXEC is added. A link as last
 * element is followed, within the scope. Returns a descriptor, or -1 with errno. */
int beneath_open (const struct beneath *beneath, const char *path, int flags);

/* Opens the folder that holds the last element of the path, and copies that element's name; what it is, is not looked
 * at. A path that names the root itself, or ends in `..`, gives EINVAL. Returns a descriptor (O_PATH), or -1 with
 * errno. */
int beneath_open_parent (const struct beneath *beneath, const char *path, char name[NAME_MAX + 1]);

/* Opens a folder, after making it and those above it that are missing (mode 0755 less the umask). Returns a descriptor
 * (O_PATH), or -1 with errno. */
int beneath_make_folders (const struct beneath *beneath, const char *path);

/* Whether the path names the root itself: it has no element but `.`. */
bool beneath_is_root (const char *path);
