/* upload.h - a file that is there only when it is whole: bytes go to a file without a name, which gets its name at the
 * end.
 *
 * Where the file system has no nameless files (O_TMPFILE), the file is called .shoal- and a random number meanwhile. It
 * replaces what is there under its name, atomically. All calls belong on a worker.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct upload
{
    int file;           /* -1: none */
    int folder;         /* where it lies; own descriptor */
    char temporary[32]; /* its name meanwhile; empty: it has none */
};

enum upload_result
{
    UPLOAD_FAILED = -1, /* errno */
    UPLOAD_PLACED = 0,
    UPLOAD_ELSEWHERE = 1, /* the folder is on another file system: copy it there, see upload_copy() */
};

enum
{
    UPLOAD_COPY_BYTES = 1024 * 1024, /* of one call of upload_copy() */
};

#define UPLOAD_NONE ((struct upload){.file = -1, .folder = -1})

/* Begins a file of mode 0755 less the umask in a folder (a descriptor, which is duplicated). Returns 0 or -1, errno. */
int upload_open (struct upload *upload, int folder);
int upload_write (struct upload *upload, const char *bytes, size_t length);

/* Gives the file its name in a folder, the same or another. */
enum upload_result upload_place (struct upload *upload, int folder, const char *name);

/* Copies the next bytes. Returns 1 while there may be more, 0 at the end, -1 with errno. */
int upload_copy (struct upload *from, struct upload *to);

/* Closes it; what was not placed is gone. Idempotent. */
void upload_close (struct upload *upload);
