/* key_file.c - see key_file.h. */
#include "key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

static const char s_name[] = "registered_key.der";

static int path_of (const char *folder, const char *suffix, char path[PATH_MAX])
{
    if (snprintf (path, PATH_MAX, "%s/%s%s", folder, s_name, suffix) < PATH_MAX)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

static int write_all (int fd, struct slice der)
{
    while (der.len)
    {
        ssize_t written = write (fd, der.at, der.len);
        if (written < 0 && errno != EINTR)
            return -1;
        if (written > 0)
            der = slice_skip (der, (size_t) written);
    }
    return fsync (fd);
}

int key_file_write (const char *folder, struct slice der)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    if (path_of (folder, "", path) < 0 || path_of (folder, ".new", temporary) < 0)
        return -1;
    int fd = open (temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int done = write_all (fd, der);
    if (close (fd) < 0 || done < 0 || rename (temporary, path) < 0)
    {
        int error = errno;
        unlink (temporary);
        errno = error;
        return -1;
    }
    return 0;
}

ssize_t key_file_read (const char *folder, uint8_t *der, size_t size)
{
    char path[PATH_MAX];
    if (path_of (folder, "", path) < 0)
        return -1;
    int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    ssize_t length = read (fd, der, size);
    close (fd);
    return length;
}

int key_file_remove (const char *folder)
{
    char path[PATH_MAX];
    if (path_of (folder, "", path) < 0)
        return -1;
    return unlink (path) == 0 || errno == ENOENT || errno == ENOTDIR ? 0 : -1;
}

const char *key_file_error (void)
{
    return strerror (errno);
}
