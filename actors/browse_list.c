/* browse_list.c - listing a folder (contract 5.4): sorted by name, so all names are held; nothing else is.
 *
 * Names are read in batches, sorted as bytes, and each entry is looked at when its turn comes: a file that vanished
 * meanwhile is left out, and a link is described itself.
 */
#include "ensure.h"
#include "host.h"

#include "http/json_text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum
{
    BATCH_BYTES = 64 * 1024,                                    /* of folder entries, read in one step */
    ENTRY_BYTES_MAX = JSON_TEXT_FACTOR * NAME_MAX + 2 + 3 * 64, /* of JSON */
    LOOKS_MAX = 2048,                                           /* entries looked at in one step */
};

static const char s_message[] = "Unable to list files inside specified directory";

enum phase
{
    PHASE_OPEN,
    PHASE_READ,
    PHASE_WRITE,
};

struct list
{
    struct browse browse;
    enum phase phase;
    int folder;   /* valid after PHASE_OPEN */
    bool written; /* an entry was */
    char *names;  /* NUL-terminated, one after the other */
    size_t length, capacity;
    uint32_t *order; /* where names begin, sorted at the end */
    size_t count, order_capacity, next;
    size_t held; /* bytes counted in host.names */
};

/* Makes room for one more name, out of what all listings may hold. */
static bool reserve (struct list *list, size_t bytes)
{
    struct host *host = list->browse.task.host;
    size_t capacity = list->capacity, order = list->order_capacity;
    if (list->length + bytes > capacity)
        capacity = capacity ? capacity * 2 : 4096;
    if (list->count == order)
        order = order ? order * 2 : 256;
    size_t all = capacity + order * sizeof *list->order, more = all - list->held;
    if (more == 0)
        return true;
    if (atomic_fetch_add (&host->names, more) + more > LIST_NAMES_MAX)
    {
        atomic_fetch_sub (&host->names, more);
        return false;
    }
    list->held = all;
    list->names = must (realloc (list->names, capacity));
    list->order = must (realloc (list->order, order * sizeof *list->order));
    list->capacity = capacity;
    list->order_capacity = order;
    return true;
}

static bool add_name (struct list *list, const char *name)
{
    size_t bytes = strlen (name) + 1;
    if (strcmp (name, ".") == 0 || strcmp (name, "..") == 0)
        return true;
    if (!reserve (list, bytes))
        return false;
    list->order[list->count++] = (uint32_t) list->length;
    memcpy (list->names + list->length, name, bytes);
    list->length += bytes;
    return true;
}

static int compare (const void *left, const void *right, void *names)
{
    return strcmp ((const char *) names + *(const uint32_t *) left, (const char *) names + *(const uint32_t *) right);
}

static void open_folder (struct list *list)
{
    struct place *place = &list->browse.place;
    const char *path = browse_path_below (place, list->browse.path);
    list->folder = -1;
    list->phase = PHASE_READ;
    if (place_open (place) < 0 ||
        (list->folder = beneath_open (&place->beneath, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK)) < 0)
        task_fail (&list->browse.task, 500, s_message, browse_reason (place, errno));
}

static void read_batch (struct list *list)
{
    struct task *task = &list->browse.task;
    char batch[BATCH_BYTES] __attribute__ ((aligned (8)));
    ssize_t length = getdents64 (list->folder, batch, sizeof batch);
    if (length < 0)
    {
        task_fail (task, 500, s_message, strerror (errno));
        return;
    }
    for (ssize_t at = 0; at < length;)
    {
        const struct dirent64 *entry = (const struct dirent64 *) (const void *) (batch + at);
        if (!add_name (list, entry->d_name))
        {
            task_fail (task, 500, s_message, "All listings together would hold more than 64 MiB of names");
            return;
        }
        at += entry->d_reclen;
    }
    if (length > 0)
        return;
    if (list->count)
        qsort_r (list->order, list->count, sizeof *list->order, compare, list->names);
    list->phase = PHASE_WRITE;
    task_header (task, SLICE ("Content-Type"), SLICE ("application/json"));
    task_head (task, 200, FRAMING_CHUNKED, 0);
    task_output (task, SLICE ("["));
}

static void write_entry (struct list *list, const char *name)
{
    struct stat status = {.st_size = 0};
    char entry[ENTRY_BYTES_MAX];
    size_t length = 0;
    /* What cannot be looked at, such as a broken mount, is there nevertheless. */
    if (fstatat (list->folder, name, &status, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0 && errno == ENOENT)
        return;
    length = (size_t) snprintf (entry, sizeof entry, "%s{\"Name\":", list->written ? "," : "");
    length += json_text_write (entry + length, slice_from (name));
    length += (size_t) snprintf (entry + length, sizeof entry - length,
                                 ",\"Size\":%" PRId64 ",\"Dir\":%s,\"ModTime\":%" PRId64 "}", (int64_t) status.st_size,
                                 S_ISDIR (status.st_mode) ? "true" : "false", (int64_t) status.st_mtime);
    list->written = true;
    task_output (&list->browse.task, slice_of (entry, length));
}

static void write_entries (struct list *list)
{
    struct task *task = &list->browse.task;
    for (unsigned looks = 0; list->next < list->count && looks < LOOKS_MAX; looks++)
    {
        if (task->room < ENTRY_BYTES_MAX)
            return;
        write_entry (list, list->names + list->order[list->next++]);
    }
    if (list->next < list->count || task->room < ENTRY_BYTES_MAX)
        return;
    task_output (task, SLICE ("]\n"));
    task->finished = true;
}

static void list_work (struct task *task)
{
    struct list *list = (struct list *) task;
    switch (list->phase)
    {
    case PHASE_OPEN:
        open_folder (list);
        break;
    case PHASE_READ:
        read_batch (list);
        break;
    case PHASE_WRITE:
        write_entries (list);
        break;
    }
}

static void list_release (struct task *task)
{
    struct list *list = (struct list *) task;
    if (list->phase != PHASE_OPEN && list->folder >= 0)
        close (list->folder);
    atomic_fetch_sub (&task->host->names, list->held);
    free (list->names);
    free (list->order);
    browse_release (task);
}

const struct task_class browse_list_class = {sizeof (struct list), list_work, list_release};
