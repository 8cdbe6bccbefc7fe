/* browse_put.c - taking a file (contract 5.4): a form with the folder (`Path`) and the file (`file`), in either order.
 *
 * Portainer's pages send the file first. Then it is written at the root of its place, and moved when the folder is
 * known; copied, when that is on another file system. It gets its name when the whole request has come, and not before.
 */
#include "host.h"
#include "log.h"
#include "upload.h"

#include "http/multipart.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char s_payload[] = "Invalid request payload", s_message[] = "Error saving file to disk";

enum field
{
    FIELD_OTHER, /* of no interest */
    FIELD_PATH,
    FIELD_VOLUME, /* the old agent looked into the form as well as into the query */
    FIELD_LATE_VOLUME,
    FIELD_FILE,
};

struct put
{
    struct browse browse; /* its path is the form's Path */
    bool done;            /* the last delimiter was read */
    struct multipart form;
    enum field field; /* the part in progress */
    size_t path_length, volume_length;
    bool names_volume; /* the form has named one; further ones are of no interest */
    bool late;         /* a volume was named when the place was open already; it must be the same one */
    char late_volume[NAME_MAX + 1];
    bool has_file;
    char file_name[MULTIPART_FILE_NAME_MAX + 1];
    int folder; /* where the file shall be; -1: not known yet */
    struct upload upload, copy;
    bool copying;
};

void browse_put_prepare (struct browse *browse, struct headers headers)
{
    struct put *put = (struct put *) browse;
    multipart_start (&put->form, headers_find (headers, SLICE ("Content-Type")));
    put->folder = -1;
    put->upload = put->copy = UPLOAD_NONE;
}

static bool refuse (struct put *put, unsigned status, const char *message, const char *details)
{
    task_fail (&put->browse.task, status, message, details);
    return false;
}

static bool fail (struct put *put)
{
    return refuse (put, 500, s_message, browse_reason (&put->browse.place, errno));
}

/* ------------------------------------------------------------------------------------------------------ where it goes
 */

/* The place is known when the file comes, or at the end. */
static bool open_place (struct put *put)
{
    struct place *place = &put->browse.place;
    if (place->beneath.root >= 0)
        return true;
    if (!place->volume[0] && !place->host->configuration->host_management)
        return refuse (put, 503, "Host management capability disabled", "This agent feature is not enabled");
    if (place->volume[0] && !browse_is_volume (slice_from (place->volume)))
        return refuse (put, 400, "Invalid volume", "This is not the name of a volume");
    return place_open (place) == 0 || fail (put);
}

/* Opens the folder that Path names, made when it is missing. */
static bool open_folder (struct put *put)
{
    struct place *place = &put->browse.place;
    if (put->folder >= 0)
        return true;
    if (!browse_path_is_valid (place, put->browse.path))
        return refuse (put, 400, "Invalid volume", CLIMBS_DETAILS);
    put->folder = beneath_make_folders (&place->beneath, browse_path_below (place, put->browse.path));
    return put->folder >= 0 || fail (put);
}

/* ----------------------------------------------------------------------------------------------------------- the form
 */

/* Begins the file: in its folder; while that is not known at the root of its place; where that is read-only, in a
 * folder for temporary files. */
static bool open_upload (struct put *put)
{
    static const char *const folders[] = {"", "var/tmp", "tmp"};
    const struct place *place = &put->browse.place;
    if (put->folder >= 0)
        return upload_open (&put->upload, put->folder) == 0 || fail (put);
    int result = -1;
    for (size_t index = 0; result < 0 && index < (place->volume[0] ? 1 : sizeof folders / sizeof *folders); index++)
    {
        int folder = beneath_open (&place->beneath, folders[index], O_PATH | O_DIRECTORY);
        result = folder < 0 ? -1 : upload_open (&put->upload, folder);
        int error = errno;
        if (folder >= 0)
            close (folder);
        errno = error;
    }
    return result == 0 || fail (put);
}

static bool begin_file (struct put *put)
{
    struct slice name = slice_from (put->form.file_name);
    put->field = FIELD_FILE;
    put->has_file = true;
    memcpy (put->file_name, name.at, name.len + 1);
    if (!open_place (put))
        return false;
    if (browse_climbs (name))
        return refuse (put, 400, "Invalid filename", CLIMBS_DETAILS);
    if (!browse_is_file_name (name))
        return refuse (put, 400, "Invalid filename", "The name of a file has no '/'");
    if (put->path_length && !open_folder (put))
        return false;
    return open_upload (put);
}

/* The form comes before the query (contract 5). */
static void begin_volume (struct put *put)
{
    put->names_volume = true;
    put->late = put->browse.place.beneath.root >= 0;
    put->field = put->late ? FIELD_LATE_VOLUME : FIELD_VOLUME;
    put->volume_length = 0;
    *(put->late ? put->late_volume : put->browse.place.volume) = '\0';
}

static bool begin_part (struct put *put)
{
    const struct multipart *form = &put->form;
    put->field = FIELD_OTHER;
    if (strcmp (form->name, "Path") == 0 && put->path_length == 0)
        put->field = FIELD_PATH;
    else if (strcmp (form->name, "volumeID") == 0 && !put->browse.first_shape && !put->names_volume)
        begin_volume (put);
    else if (strcmp (form->name, "file") == 0 && form->has_file_name && form->file_name[0] && !put->has_file)
        return begin_file (put);
    return true;
}

/* Adds to a field that is held as a string. */
static bool add_text (char *text, size_t size, size_t *length, struct slice piece)
{
    if (piece.len >= size - *length || memchr (piece.at, '\0', piece.len))
        return false;
    memcpy (text + *length, piece.at, piece.len);
    *length += piece.len;
    text[*length] = '\0';
    return true;
}

static bool take_data (struct put *put, struct slice piece)
{
    struct browse *browse = &put->browse;
    switch (put->field)
    {
    case FIELD_PATH:
        return add_text (browse->path, sizeof browse->path, &put->path_length, piece) ||
               refuse (put, 400, s_payload, "Invalid file path");
    case FIELD_VOLUME:
        return add_text (browse->place.volume, sizeof browse->place.volume, &put->volume_length, piece) ||
               refuse (put, 400, "Invalid volume", "This is not the name of a volume");
    case FIELD_LATE_VOLUME:
        return add_text (put->late_volume, sizeof put->late_volume, &put->volume_length, piece) ||
               refuse (put, 400, "Invalid volume", "This is not the name of a volume");
    case FIELD_FILE:
        return upload_write (&put->upload, piece.at, piece.len) == 0 || fail (put);
    case FIELD_OTHER:
        break;
    }
    return true;
}

/* Takes a piece of the body. Returns false when the task has failed. */
static bool take_input (struct put *put, struct slice input)
{
    for (;;)
    {
        struct slice piece;
        switch (multipart_next (&put->form, &input, &piece))
        {
        case MULTIPART_MORE:
            return true;
        case MULTIPART_DONE:
            put->done = true;
            return true;
        case MULTIPART_PART:
            if (!begin_part (put))
                return false;
            break;
        case MULTIPART_DATA:
            if (!take_data (put, piece))
                return false;
            break;
        case MULTIPART_ERROR:
            log_debug ("host", "%s: malformed form: %s", put->browse.task.job.label, put->form.error_text);
            return refuse (put, 400, s_payload, "Invalid uploaded file");
        }
    }
}

/* ---------------------------------------------------------------------------------------------------------- the end
 */

static void place_file (struct put *put)
{
    struct task *task = &put->browse.task;
    switch (upload_place (put->copying ? &put->copy : &put->upload, put->folder, put->file_name))
    {
    case UPLOAD_PLACED:
        task_done (task);
        break;
    case UPLOAD_ELSEWHERE:
        put->copying = true;
        task->wants_body = false;
        if (upload_open (&put->copy, put->folder) < 0)
            fail (put);
        break;
    case UPLOAD_FAILED:
        fail (put);
        break;
    }
}

static void copy_on (struct put *put)
{
    int result = upload_copy (&put->upload, &put->copy);
    if (result < 0)
        fail (put);
    else if (result == 0)
        place_file (put);
}

static void finish (struct put *put)
{
    if (!open_place (put))
        return;
    if (put->late && strcmp (put->late_volume, put->browse.place.volume) != 0)
        refuse (put, 400, "Invalid volume", "The form names its volumeID behind the file");
    else if (put->path_length == 0)
        refuse (put, 400, s_payload, "Invalid file path");
    else if (!put->has_file || !put->done)
        refuse (put, 400, s_payload, "Invalid uploaded file");
    else if (open_folder (put))
        place_file (put);
}

static void put_work (struct task *task)
{
    struct put *put = (struct put *) task;
    if (put->copying)
    {
        copy_on (put);
        return;
    }
    task->wants_body = true;
    for (struct piece *piece = task->input.first; piece; piece = piece->next)
        if (!put->done && !take_input (put, slice_of (zmq_msg_data (&piece->bytes), zmq_msg_size (&piece->bytes))))
            return;
    if (task->input_end)
        finish (put);
}

static void put_release (struct task *task)
{
    struct put *put = (struct put *) task;
    upload_close (&put->upload);
    upload_close (&put->copy);
    if (put->folder >= 0)
        close (put->folder);
    browse_release (task);
}

const struct task_class browse_put_class = {sizeof (struct put), put_work, put_release};
