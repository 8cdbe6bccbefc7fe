/* upload.c - see upload.h. */
#include "upload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    MODE = 0755, /* contract 5.4 */
};

static void make_name (char name[32])
{
    uint64_t random = 0;
    if (getrandom (&random, sizeof random, 0) != sizeof random)
        random = (uint64_t) getpid ();
    snprintf (name, 32, ".shoal-%016" PRIx64, random);
}

int upload_open (struct upload *upload, int folder)
{
    *upload = UPLOAD_NONE;
    upload->folder = fcntl (folder, F_DUPFD_CLOEXEC, 0);
    if (upload->folder < 0)
        return -1;
    /* A name can be given later only through /proc. */
    if (access ("/proc/self/fd", X_OK) == 0)
        upload->file = openat (upload->folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, MODE);
    if (upload->file < 0)
    {
        make_name (upload->temporary);
        upload->file =
            openat (upload->folder, upload->temporary, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, MODE);
        if (upload->file < 0)
            upload->temporary[0] = '\0';
    }
    if (upload->file >= 0)
        return 0;
    int error = errno;
    upload_close (upload);
    errno = error;
    return -1;
}

int upload_write (struct upload *upload, const char *bytes, size_t length)
{
    while (length)
    {
        ssize_t written = write (upload->file, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        length -= (size_t) written;
    }
    return 0;
}

/* Gives a nameless file a name in this folder: at once the right one when that is free. */
static int link_nameless (struct upload *upload, int folder, const char *name)
{
    char path[40];
    snprintf (path, sizeof path, "/proc/self/fd/%d", upload->file);
    if (linkat (AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (errno != EEXIST)
        return -1;
    char temporary[32];
    make_name (temporary);
    if (linkat (AT_FDCWD, path, folder, temporary, AT_SYMLINK_FOLLOW) < 0)
        return -1;
    if (renameat (folder, temporary, folder, name) == 0)
        return 0;
    int error = errno;
    unlinkat (folder, temporary, 0);
    errno = error;
    return -1;
}

enum upload_result upload_place (struct upload *upload, int folder, const char *name)
{
    int result = upload->temporary[0] ? renameat (upload->folder, upload->temporary, folder, name)
                                      : link_nameless (upload, folder, name);
    if (result < 0)
        return errno == EXDEV ? UPLOAD_ELSEWHERE : UPLOAD_FAILED;
    upload->temporary[0] = '\0';
    return UPLOAD_PLACED;
}

int upload_copy (struct upload *from, struct upload *to)
{
    off_t at = lseek (to->file, 0, SEEK_CUR);
    ssize_t length = at < 0 ? -1 : sendfile (to->file, from->file, &at, UPLOAD_COPY_BYTES);
    return length < 0 ? -1 : length > 0;
}

void upload_close (struct upload *upload)
{
    if (upload->temporary[0])
        unlinkat (upload->folder, upload->temporary, 0);
    if (upload->file >= 0)
        close (upload->file);
    if (upload->folder >= 0)
        close (upload->folder);
    *upload = UPLOAD_NONE;
}
