/* browse_rename.c - renaming and moving within a place (contract 5.4). The request's body is a small JSON object. */
#include "ensure.h"
#include "host.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char s_payload[] = "Invalid request payload", s_message[] = "Unable to rename file";

struct rename_task
{
    struct browse browse;
    char *body; /* gathers in it */
    size_t length;
};

static int rename_entry (const struct beneath *beneath, const char *from, const char *to)
{
    char from_name[NAME_MAX + 1], to_name[NAME_MAX + 1];
    int from_folder = beneath_open_parent (beneath, from, from_name);
    int to_folder = from_folder < 0 ? -1 : beneath_open_parent (beneath, to, to_name);
    int result = to_folder < 0 ? -1 : renameat (from_folder, from_name, to_folder, to_name), error = errno;
    if (from_folder >= 0)
        close (from_folder);
    if (to_folder >= 0)
        close (to_folder);
    errno = error;
    return result;
}

static void carry_out (struct rename_task *self, const char *from, const char *to)
{
    struct task *task = &self->browse.task;
    struct place *place = &self->browse.place;
    if (!browse_path_is_valid (place, from) || !browse_path_is_valid (place, to))
    {
        task_fail (task, 400, "Invalid volume", CLIMBS_DETAILS);
        return;
    }
    from = browse_path_below (place, from);
    to = browse_path_below (place, to);
    if (beneath_is_root (from) || beneath_is_root (to))
        task_fail (task, 400, s_message, "The root folder cannot be renamed or replaced");
    else if (place_open (place) < 0 || rename_entry (&place->beneath, from, to) < 0)
        task_fail (task, 500, s_message, browse_reason (place, errno));
    else
        task_done (task);
}

/* The field's value: its name in any case, as in the old agent, but the exact one is preferred. NULL when it is no
 * string; empty when it is absent. */
static const char *text_field (const json_t *object, const char *name)
{
    const json_t *found = json_object_get (object, name);
    const char *key;
    json_t *value;
    if (!found)
        json_object_foreach ((json_t *) (uintptr_t) object, key, value) if (strcasecmp (key, name) == 0) found = value;
    return !found || json_is_null (found) ? "" : json_string_value (found);
}

static void read_payload (struct rename_task *self)
{
    struct task *task = &self->browse.task;
    json_error_t error;
    json_t *object = json_loadb (self->body, self->length, JSON_DISABLE_EOF_CHECK, &error);
    const char *from = object ? text_field (object, "CurrentFilePath") : NULL,
               *to = object ? text_field (object, "NewFilePath") : NULL;
    if (self->length == 0)
        task_fail (task, 400, s_payload, "EOF");
    else if (!object)
        task_fail (task, 400, s_payload, error.text);
    else if (!json_is_object (object) || !from || !to)
        task_fail (task, 400, s_payload, "an object with the strings CurrentFilePath and NewFilePath is expected");
    else if (!from[0])
        task_fail (task, 400, s_payload, "Current file path is invalid");
    else if (!to[0])
        task_fail (task, 400, s_payload, "New file path is invalid");
    else
        carry_out (self, from, to);
    json_decref (object);
}

static void rename_work (struct task *task)
{
    struct rename_task *self = (struct rename_task *) task;
    task->wants_body = true;
    if (self->length + task->input.bytes > RENAME_BODY_MAX)
    {
        task_fail (task, 400, s_payload, "The payload is longer than 64 KiB");
        return;
    }
    if (!self->body)
        self->body = must (malloc (RENAME_BODY_MAX));
    for (struct piece *piece = task->input.first; piece; piece = piece->next)
    {
        size_t length = zmq_msg_size (&piece->bytes);
        memcpy (self->body + self->length, zmq_msg_data (&piece->bytes), length);
        self->length += length;
    }
    if (task->input_end)
        read_payload (self);
}

static void rename_release (struct task *task)
{
    free (((struct rename_task *) task)->body);
    browse_release (task);
}

const struct task_class browse_rename_class = {sizeof (struct rename_task), rename_work, rename_release};
