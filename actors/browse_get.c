/* browse_get.c - sending a file (contract 5.4): regular files only, of any size, whole or in ranges.
 *
 * What follows the head is a sequence of segments: of text (heads of parts) and of bytes of the file. Each step reads
 * on where the last one stopped.
 */
#include "ensure.h"
#include "host.h"

#include "http/content_type.h"
#include "http/date.h"
#include "http/file_answer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char s_message[] = "Unable to open file";

/* The headers of a request that decide about the answer (RFC 9110 sections 13 and 14). */
static const struct slice s_conditions[] = {
    {"Range", 5},          {"If-Range", 8},           {"If-Match", 8},
    {"If-None-Match", 13}, {"If-Modified-Since", 17}, {"If-Unmodified-Since", 19},
};

enum
{
    CONDITIONS = sizeof s_conditions / sizeof *s_conditions,
};

struct get
{
    struct browse browse;
    int file; /* -1: not open */
    struct header conditions[CONDITIONS];
    size_t condition_count;
    char *condition_text;
    uint64_t size;
    struct slice type;
    struct file_answer answer;
    char boundary[HTTP_BOUNDARY_BYTES];
    size_t range;                    /* the one in progress */
    uint64_t at, left;               /* of the file, in this range */
    char part[HTTP_PART_HEAD_BYTES]; /* text that goes before */
    size_t part_at, part_length;
    bool ended; /* the text is the end of the last part */
};

void browse_get_prepare (struct browse *browse, struct headers headers)
{
    struct get *get = (struct get *) browse;
    size_t bytes = 0;
    get->file = -1;
    for (size_t index = 0; index < CONDITIONS; index++)
        bytes += headers_find (headers, s_conditions[index]).len;
    char *copy = get->condition_text = must (malloc (bytes + 1));
    for (size_t index = 0; index < CONDITIONS; index++)
    {
        struct slice value = headers_find (headers, s_conditions[index]);
        if (!value.at)
            continue;
        memcpy (copy, value.at, value.len);
        get->conditions[get->condition_count++] = (struct header){s_conditions[index], slice_of (copy, value.len)};
        copy += value.len;
    }
}

/* -------------------------------------------------------------------------------------------------------- the head
 */

enum
{
    NOT_REGULAR = -2,
};

/* Opens a regular file. It is looked at before it is opened: opening a device can do things by itself. Returns a
 * descriptor, -1 with errno, or NOT_REGULAR. */
static int open_regular (const struct beneath *beneath, const char *path, struct stat *status)
{
    int fd = beneath_open (beneath, path, O_PATH);
    if (fd < 0)
        return -1;
    bool regular = fstat (fd, status) == 0 && S_ISREG (status->st_mode);
    close (fd);
    fd = regular ? beneath_open (beneath, path, O_RDONLY | O_NONBLOCK | O_NOCTTY) : -1;
    if (fd >= 0 && fstat (fd, status) == 0 && S_ISREG (status->st_mode))
        return fd;
    if (fd >= 0)
        close (fd);
    return fd >= 0 || !regular ? NOT_REGULAR : -1;
}

static struct slice type_of (struct get *get, const char *path)
{
    const char *slash = strrchr (path, '/');
    struct slice type = content_type_by_name (slice_from (slash ? slash + 1 : path));
    if (type.len)
        return type;
    char bytes[CONTENT_TYPE_SNIFF];
    ssize_t length = pread (get->file, bytes, sizeof bytes, 0);
    return content_type_by_bytes (slice_of (bytes, length > 0 ? (size_t) length : 0));
}

static void next_range (struct get *get)
{
    get->part_at = 0;
    if (get->range == get->answer.count)
    {
        get->part_length = http_range_end (slice_of (get->boundary, sizeof get->boundary), get->part);
        get->left = 0;
        get->ended = true;
        return;
    }
    const struct http_range *range = &get->answer.ranges[get->range++];
    get->part_length =
        http_range_part_head (range, get->size, slice_of (get->boundary, sizeof get->boundary), get->type, get->part);
    get->at = range->first;
    get->left = range->length;
}

/* Several ranges: their heads, their bytes, and the end, all counted beforehand. */
static void begin_parts (struct get *get)
{
    struct task *task = &get->browse.task;
    static const char digits[] = "0123456789abcdef";
    uint8_t random[HTTP_BOUNDARY_BYTES / 2];
    uint64_t length = 0;
    ensure (getrandom (random, sizeof random, 0) == sizeof random);
    for (size_t index = 0; index < sizeof random; index++)
    {
        get->boundary[2 * index] = digits[random[index] >> 4];
        get->boundary[2 * index + 1] = digits[random[index] & 15];
    }
    do
    {
        next_range (get);
        length += get->part_length + get->left;
    } while (!get->ended);
    get->range = 0;
    get->ended = false;
    char type[96];
    int bytes = snprintf (type, sizeof type, "multipart/byteranges; boundary=%.*s", HTTP_BOUNDARY_BYTES, get->boundary);
    task_header (task, SLICE ("Content-Type"), slice_of (type, (size_t) bytes));
    task_head (task, 206, FRAMING_LENGTH, length);
    next_range (get);
}

static void begin_whole (struct get *get, const struct http_range *range)
{
    struct task *task = &get->browse.task;
    task_header (task, SLICE ("Content-Type"), get->type);
    if (range)
    {
        char text[HTTP_RANGE_TEXT_BYTES];
        size_t length = http_range_write (range, get->size, text);
        task_header (task, SLICE ("Content-Range"), slice_of (text, length));
    }
    get->at = range ? range->first : 0;
    get->left = range ? range->length : get->size;
    get->ended = true;
    task_head (task, range ? 206 : 200, get->left ? FRAMING_LENGTH : FRAMING_NONE, get->left);
}

static void begin (struct get *get, const struct stat *status)
{
    struct task *task = &get->browse.task;
    struct headers conditions = {get->conditions, get->condition_count};
    char text[HTTP_RANGE_TEXT_BYTES];
    get->size = (uint64_t) status->st_size;
    file_answer_decide (conditions, get->size, status->st_mtime, &get->answer);
    task_header (task, SLICE ("Accept-Ranges"), SLICE ("bytes"));
    if (status->st_mtime)
    {
        char date[HTTP_DATE_BYTES];
        http_date_write (status->st_mtime, date);
        task_header (task, SLICE ("Last-Modified"), slice_from (date));
    }
    switch (get->answer.status)
    {
    case 304:
        task_head (task, 304, FRAMING_NONE, 0);
        task->finished = true;
        break;
    case 412:
        task_fail (task, 412, "Precondition failed", "The file has changed since the time that the request names");
        break;
    case 416:
        task_header (task, SLICE ("Content-Range"), slice_of (text, http_range_write (NULL, get->size, text)));
        task_fail (task, 416, "Invalid range", "The file has no such bytes");
        break;
    default:
        get->type = type_of (get, get->browse.path);
        if (get->answer.count > 1)
            begin_parts (get);
        else
            begin_whole (get, get->answer.count ? &get->answer.ranges[0] : NULL);
    }
}

static void open_file (struct get *get)
{
    struct task *task = &get->browse.task;
    struct place *place = &get->browse.place;
    struct stat status;
    if (place_open (place) < 0 ||
        (get->file = open_regular (&place->beneath, browse_path_below (place, get->browse.path), &status)) < 0)
    {
        bool other = get->file == NOT_REGULAR;
        task_fail (task, other ? 400 : 500, s_message,
                   other ? "This is not a regular file" : browse_reason (place, errno));
        return;
    }
    posix_fadvise (get->file, 0, 0, POSIX_FADV_SEQUENTIAL);
    begin (get, &status);
}

/* -------------------------------------------------------------------------------------------------------- the bytes
 */

static bool read_bytes (struct get *get)
{
    struct task *task = &get->browse.task;
    size_t room;
    char *place = task_place (task, &room);
    ssize_t length = pread (get->file, place, get->left < room ? (size_t) get->left : room, (off_t) get->at);
    if (length <= 0)
    {
        task_fail (task, 500, s_message, length < 0 ? strerror (errno) : "the file became shorter while it was sent");
        return false;
    }
    task_filled (task, (size_t) length);
    get->at += (uint64_t) length;
    get->left -= (uint64_t) length;
    return true;
}

static void fill (struct get *get)
{
    struct task *task = &get->browse.task;
    while (task->room)
    {
        if (get->part_at < get->part_length)
            get->part_at += task_output (task, slice_of (get->part + get->part_at, get->part_length - get->part_at));
        else if (get->left)
        {
            if (!read_bytes (get))
                return;
        }
        else if (!get->ended)
            next_range (get);
        else
        {
            task->finished = true;
            return;
        }
    }
}

static void get_work (struct task *task)
{
    struct get *get = (struct get *) task;
    if (!task->has_head)
        open_file (get);
    if (!task->finished)
        fill (get);
}

static void get_release (struct task *task)
{
    struct get *get = (struct get *) task;
    if (get->file >= 0)
        close (get->file);
    free (get->condition_text);
    browse_release (task);
}

const struct task_class browse_get_class = {sizeof (struct get), get_work, get_release};
