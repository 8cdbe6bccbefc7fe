/* browse.c - requests to browse files: what they ask for, checked before any file system hears of it; and deleting. */
#include "host.h"

#include "http/multipart.h"
#include "http/url.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* -------------------------------------------------------------------------------------------------------------- places
 */

static int open_folder (int at, const char *name, int flags)
{
    return openat (at, name, O_PATH | O_DIRECTORY | O_CLOEXEC | flags);
}

/* The folder of a volume: <root>/<volume>/_data, neither of them a link. The roots are the administrator's, and may be
 * links. */
static int open_volume (const char *root, const char *volume)
{
    int volumes = open_folder (AT_FDCWD, root, 0);
    int folder = volumes < 0 ? -1 : open_folder (volumes, volume, O_NOFOLLOW);
    int data = folder < 0 ? -1 : open_folder (folder, "_data", O_NOFOLLOW);
    int error = errno;
    if (folder >= 0)
        close (folder);
    if (volumes >= 0)
        close (volumes);
    errno = error;
    return data;
}

int place_open (struct place *place)
{
    const struct configuration *configuration = place->host->configuration;
    bool in_volume = place->volume[0];
    place->beneath = (struct beneath){
        .root = in_volume ? open_volume (configuration->volumes_root, place->volume)
                          : open_folder (AT_FDCWD, configuration->host_root, 0),
        .scope = in_volume ? BENEATH_STRICT : BENEATH_ROOTED,
        .walk = place->host->walk,
    };
    return place->beneath.root < 0 ? -1 : 0;
}

void place_close (struct place *place)
{
    if (place->beneath.root >= 0)
        close (place->beneath.root);
    place->beneath.root = -1;
}

bool browse_path_is_valid (const struct place *place, const char *path)
{
    return !place->volume[0] || !browse_climbs (slice_from (path));
}

const char *browse_path_below (const struct place *place, const char *path)
{
    if (place->volume[0])
        return path;
    return browse_below_root (slice_from (path), slice_from (place->host->configuration->host_root)).at;
}

const char *browse_reason (const struct place *place, int error)
{
    if (error == EXDEV && place->volume[0])
        return "A link in the path leads out of the volume";
    return strerror (error);
}

void browse_release (struct task *task)
{
    place_close (&((struct browse *) task)->place);
}

/* ------------------------------------------------------------------------------------------------------ what is asked
 */

/* By operation: its task, and what it takes of the request. */
static const struct
{
    const char *name;
    const struct task_class *task_class;
    bool has_path; /* in the query */
    void (*prepare) (struct browse *browse, struct headers headers);
} s_operations[] = {
    [BROWSE_LIST] = {"ls", &browse_list_class, true, NULL},
    [BROWSE_GET] = {"get", &browse_get_class, true, browse_get_prepare},
    [BROWSE_DELETE] = {"delete", &browse_delete_class, true, NULL},
    [BROWSE_RENAME] = {"rename", &browse_rename_class, false, NULL},
    [BROWSE_PUT] = {"put", &browse_put_class, false, browse_put_prepare},
};

/* A request on its way to become a task. */
struct asked
{
    struct host *host;
    struct message *message;
    const struct browse_target *target;
    bool has_form; /* the body is one, in which a put has its parameters */
    char volume[PATH_MAX], path[PATH_MAX];
};

static bool refuse (struct asked *asked, unsigned status, const char *message, const char *details)
{
    struct subject subject = message_subject (asked->message);
    asked->host->counters.refused++;
    answer_error (asked->host->actor, (enum actor_id) asked->message->fields.request.client, &subject, status, message,
                  details);
    return false;
}

/* Decodes an escaped value into a string; false when it is malformed or too long. */
static bool decode (struct slice value, char text[PATH_MAX])
{
    size_t length = 0;
    bool good = value.len < PATH_MAX && (value.len == 0 || url_decode (value, text, &length));
    text[good ? length : 0] = '\0';
    return good;
}

static bool read_volume (struct asked *asked)
{
    const struct browse_target *target = asked->target;
    struct slice value = target->first_shape ? target->volume : url_query_find (target->query, SLICE ("volumeID"));
    bool good = decode (value, asked->volume);
    if (value.len == 0 && asked->has_form)
        return true; /* it may still come within the form */
    if (value.len == 0 && !asked->host->configuration->host_management)
        return refuse (asked, 503, "Host management capability disabled", "This agent feature is not enabled");
    if (value.len && (!good || !browse_is_volume (slice_from (asked->volume))))
        return refuse (asked, 400, "Invalid volume", "This is not the name of a volume");
    return true;
}

static bool read_path (struct asked *asked)
{
    const struct browse_target *target = asked->target;
    struct slice value = url_query_find (target->query, SLICE ("path"));
    if (value.len == 0 && !target->first_shape)
        return refuse (asked, 400, "Invalid query parameter: path", "Missing query parameter");
    if (value.len == 0)
        value = SLICE ("/");
    if (!decode (value, asked->path))
        return refuse (asked, 400, "Invalid query parameter: path", "The path is malformed or too long");
    if (asked->volume[0] && browse_climbs (slice_from (asked->path)))
        return refuse (asked, 400, target->first_shape ? "Invalid query parameter: path" : "Invalid volume",
                       CLIMBS_DETAILS);
    return true;
}

/* Whether the request may become a task: what is refused here is refused before any of a body is asked for. */
static bool read_request (struct asked *asked)
{
    enum browse_operation operation = asked->target->operation;
    struct multipart form;
    asked->has_form =
        operation == BROWSE_PUT &&
        multipart_start (&form, headers_find (asked->message->fields.request.headers, SLICE ("Content-Type")));
    if (!read_volume (asked))
        return false;
    if (operation == BROWSE_PUT && !asked->has_form)
        return refuse (asked, 400, "Invalid request payload", "Invalid uploaded file");
    return !s_operations[operation].has_path || read_path (asked);
}

void browse_begin (struct host *host, struct message *message, const struct browse_target *target)
{
    struct asked asked = {.host = host, .message = message, .target = target};
    if (!read_request (&asked))
        return;
    char label[WORKER_LABEL_BYTES];
    snprintf (label, sizeof label, "%s %s%.60s%.100s", s_operations[target->operation].name,
              asked.volume[0] ? "in volume " : "on the host ", asked.volume, asked.path);
    struct browse *browse =
        (struct browse *) task_new (host, message, s_operations[target->operation].task_class, label);
    if (!browse)
        return;
    browse->place = (struct place){.host = host, .beneath = {.root = -1}};
    browse->first_shape = target->first_shape;
    memcpy (browse->place.volume, asked.volume, strlen (asked.volume) + 1);
    memcpy (browse->path, asked.path, strlen (asked.path) + 1);
    if (s_operations[target->operation].prepare)
        s_operations[target->operation].prepare (browse, message->fields.request.headers);
    task_start (&browse->task);
}

/* ------------------------------------------------------------------------------------------------------------ deleting
 */

/* Removes a file, a link itself, or an empty folder. */
static int remove_entry (const struct beneath *beneath, const char *path)
{
    char name[NAME_MAX + 1];
    int folder = beneath_open_parent (beneath, path, name);
    if (folder < 0)
        return -1;
    int result = unlinkat (folder, name, 0);
    if (result < 0 && (errno == EISDIR || errno == EPERM))
        result = unlinkat (folder, name, AT_REMOVEDIR);
    int error = errno;
    close (folder);
    errno = error;
    return result;
}

static void delete_work (struct task *task)
{
    static const char message[] = "Unable to remove file";
    struct browse *browse = (struct browse *) task;
    const char *path = browse_path_below (&browse->place, browse->path);
    if (beneath_is_root (path))
        task_fail (task, 400, message, "The root folder cannot be removed");
    else if (place_open (&browse->place) < 0 || remove_entry (&browse->place.beneath, path) < 0)
        task_fail (task, 500, message, browse_reason (&browse->place, errno));
    else
        task_done (task);
}

const struct task_class browse_delete_class = {sizeof (struct browse), delete_work, browse_release};
