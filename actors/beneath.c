/* beneath.c - see beneath.h.
 *
 * The walk by hand keeps a descriptor of every folder that it went down through: `..` goes back to the one before and
 * is never looked up, so that moving a folder away in the meantime leads nowhere.
 */
#include "beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_by_kernel (int root, const char *path, int flags, uint64_t resolve)
{
    if (!(flags & O_PATH))
        flags |= O_LARGEFILE; /* as open() does by itself on 32 bits */
    struct open_how how = {.flags = (uint64_t) (unsigned) (flags | O_CLOEXEC),
                           .resolve = resolve | RESOLVE_NO_MAGICLINKS};
    return (int) syscall (SYS_openat2, root, path, &how, sizeof how);
}

bool beneath_kernel_resolves (void)
{
    int fd = open_by_kernel (AT_FDCWD, ".", O_PATH, RESOLVE_BENEATH);
    if (fd >= 0)
        close (fd);
    return fd >= 0 || (errno != ENOSYS && errno != EPERM && errno != EINVAL);
}

static int fail (int error)
{
    errno = error;
    return -1;
}

static const char *without_slashes (const char *path)
{
    path += strspn (path, "/");
    return *path ? path : ".";
}

/* -------------------------------------------------------------------------------------------------------- the walk by
 * hand */

struct walk
{
    const struct beneath *beneath;
    int stack[BENEATH_DEPTH_MAX];
    size_t depth;
    unsigned links;
    char rest[PATH_MAX]; /* of the path */
};

static int here (const struct walk *walk)
{
    return walk->depth ? walk->stack[walk->depth - 1] : walk->beneath->root;
}

static void climb_to (struct walk *walk, size_t depth)
{
    while (walk->depth > depth)
        close (walk->stack[--walk->depth]);
}

/* Puts the target of a link before what is left of the path. */
static int follow (struct walk *walk, int link)
{
    char target[PATH_MAX];
    ssize_t length = readlinkat (link, "", target, sizeof target);
    if (length < 0)
        return -1;
    size_t rest = strlen (walk->rest);
    if (++walk->links > BENEATH_LINKS_MAX)
        return fail (ELOOP);
    if ((size_t) length + 1 + rest + 1 > sizeof walk->rest)
        return fail (ENAMETOOLONG);
    if (length == 0)
        return fail (ENOENT);
    if (target[0] == '/')
    {
        if (walk->beneath->scope == BENEATH_STRICT)
            return fail (EXDEV);
        climb_to (walk, 0);
    }
    memmove (walk->rest + length + 1, walk->rest, rest + 1);
    memcpy (walk->rest, target, (size_t) length);
    walk->rest[length] = '/';
    if (rest == 0) /* no slash behind a last element: it need not be a folder */
        walk->rest[length] = '\0';
    return 0;
}

/* Takes the next element of the path. Returns false when there is none. */
static bool take_element (struct walk *walk, char name[NAME_MAX + 1], bool *too_long)
{
    size_t slashes = strspn (walk->rest, "/"), length = strcspn (walk->rest + slashes, "/");
    *too_long = length > NAME_MAX;
    if (length == 0 || *too_long)
        return *too_long;
    memcpy (name, walk->rest + slashes, length);
    name[length] = '\0';
    memmove (walk->rest, walk->rest + slashes + length, strlen (walk->rest + slashes + length) + 1);
    return true;
}

/* Opens what the path ends in: it was opened as `found` to look at it. */
static int open_last (struct walk *walk, int found, const char *name, int flags, bool is_folder)
{
    bool wants_folder = flags & O_DIRECTORY || walk->rest[0] == '/';
    if (wants_folder && !is_folder)
    {
        close (found);
        return fail (ENOTDIR);
    }
    if (flags & O_PATH)
        return found;
    close (found);
    return openat (here (walk), name, flags | O_NOFOLLOW | O_CLOEXEC);
}

static int walk_path (struct walk *walk, int flags)
{
    char name[NAME_MAX + 1];
    bool too_long;
    while (take_element (walk, name, &too_long))
    {
        if (too_long)
            return fail (ENAMETOOLONG);
        if (strcmp (name, ".") == 0)
            continue;
        if (strcmp (name, "..") == 0)
        {
            if (walk->depth)
                climb_to (walk, walk->depth - 1);
            else if (walk->beneath->scope == BENEATH_STRICT)
                return fail (EXDEV);
            continue;
        }
        struct stat status;
        int found = openat (here (walk), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (found < 0)
            return -1;
        if (fstat (found, &status) < 0)
        {
            int error = errno;
            close (found);
            return fail (error);
        }
        if (S_ISLNK (status.st_mode))
        {
            int result = follow (walk, found), error = errno;
            close (found);
            if (result < 0)
                return fail (error);
            continue;
        }
        bool is_folder = S_ISDIR (status.st_mode), is_last = walk->rest[strspn (walk->rest, "/")] == '\0';
        if (is_last)
            return open_last (walk, found, name, flags, is_folder);
        if (!is_folder || walk->depth == BENEATH_DEPTH_MAX)
        {
            close (found);
            return fail (is_folder ? ENAMETOOLONG : ENOTDIR);
        }
        walk->stack[walk->depth++] = found;
    }
    return openat (here (walk), ".", flags | O_CLOEXEC);
}

static int open_by_hand (const struct beneath *beneath, const char *path, int flags)
{
    struct walk walk = {.beneath = beneath};
    size_t length = strlen (path);
    if (length >= sizeof walk.rest)
        return fail (ENAMETOOLONG);
    memcpy (walk.rest, path, length + 1);
    int fd = walk_path (&walk, flags), error = errno;
    climb_to (&walk, 0);
    errno = error;
    return fd;
}

/* ------------------------------------------------------------------------------------------------------- both ways */

int beneath_open (const struct beneath *beneath, const char *path, int flags)
{
    path = without_slashes (path);
    if (beneath->walk)
        return open_by_hand (beneath, path, flags);
    uint64_t resolve = beneath->scope == BENEATH_STRICT ? RESOLVE_BENEATH : RESOLVE_IN_ROOT;
    int fd = -1;
    for (unsigned attempt = 0; attempt < BENEATH_ATTEMPTS_MAX; attempt++)
        if ((fd = open_by_kernel (beneath->root, path, flags, resolve)) >= 0 || errno != EAGAIN)
            break;
    return fd;
}

bool beneath_is_root (const char *path)
{
    for (size_t length; path += strspn (path, "/"), *path; path += length)
        if ((length = strcspn (path, "/")) != 1 || *path != '.')
            return false;
    return true;
}

/* Copies the path without slashes and `.` elements at its end. Returns its length, 0 for the root, -1 with errno. */
static int copy_trimmed (const char *path, char copy[PATH_MAX])
{
    size_t length = strlen (path);
    if (length >= PATH_MAX)
        return fail (ENAMETOOLONG);
    memcpy (copy, path, length + 1);
    while (length && (copy[length - 1] == '/' || (copy[length - 1] == '.' && (length == 1 || copy[length - 2] == '/'))))
        copy[--length] = '\0';
    return (int) length;
}

int beneath_open_parent (const struct beneath *beneath, const char *path, char name[NAME_MAX + 1])
{
    char copy[PATH_MAX];
    int length = copy_trimmed (path, copy);
    if (length < 0)
        return -1;
    char *slash = strrchr (copy, '/'), *last = slash ? slash + 1 : copy;
    if (length == 0 || strcmp (last, "..") == 0)
        return fail (EINVAL);
    if (strlen (last) > NAME_MAX)
        return fail (ENAMETOOLONG);
    memcpy (name, last, strlen (last) + 1);
    *last = '\0';
    return beneath_open (beneath, copy, O_PATH | O_DIRECTORY);
}

static int make_folder (const struct beneath *beneath, const char *path)
{
    char name[NAME_MAX + 1];
    int parent = beneath_open_parent (beneath, path, name);
    if (parent < 0)
        return -1;
    int result = mkdirat (parent, name, 0755), error = errno;
    close (parent);
    if (result < 0 && error != EEXIST)
        return fail (error);
    return beneath_open (beneath, path, O_PATH | O_DIRECTORY);
}

int beneath_make_folders (const struct beneath *beneath, const char *path)
{
    char copy[PATH_MAX];
    int length = copy_trimmed (path, copy);
    if (length < 0)
        return -1;
    int fd = beneath_open (beneath, copy, O_PATH | O_DIRECTORY);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    for (char *end = copy + strspn (copy, "/"); *end; end += strspn (end, "/"))
    {
        end += strcspn (end, "/");
        char slash = *end;
        *end = '\0';
        fd = beneath_open (beneath, copy, O_PATH | O_DIRECTORY);
        if (fd < 0 && errno == ENOENT)
            fd = make_folder (beneath, copy);
        if (fd < 0 || !slash)
            return fd;
        close (fd);
        *end = slash;
    }
    return fail (ENOENT);
}
