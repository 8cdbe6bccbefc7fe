/* host_info.c - what hardware the node has (contract 5.3): PCI devices and disks, as its mounted root shows them.
 *
 * What is missing there is left out: a node without PCI, or whose root is not mounted, has empty lists. Names of
 * devices come from the node's own pci.ids; without one, the numbers stand for them, and nothing is fetched.
 */
#include "ensure.h"
#include "host.h"
#include "pci_ids.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum
{
    ENTRIES_MAX = 4096,               /* devices of a kind; further ones are left out */
    VALUE_BYTES = 256,                /* of a file in /sys */
    LIST_BYTES_MAX = 8 * 1024 * 1024, /* of pci.ids */
    SECTOR_BYTES = 512,               /* what `size` counts in, whatever the disk's sectors are */
};

struct info
{
    struct task task;
    struct place place;
    char *text;
    size_t length, at;
};

/* ------------------------------------------------------------------------------------------------------------- reading
 */

/* Reads a file beneath the root: at most size bytes, without white space at its ends. Empty when there is none. */
static struct slice read_file (const struct place *place, const char *path, char *bytes, size_t size)
{
    int fd = beneath_open (&place->beneath, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    size_t length = 0;
    for (ssize_t more = 1; fd >= 0 && more > 0 && length<size; length += more> 0 ? (size_t) more : 0)
        more = read (fd, bytes + length, size - length);
    if (fd >= 0)
        close (fd);
    while (length && strchr (" \t\r\n", bytes[length - 1]) && bytes[length - 1])
        length--;
    size_t begin = 0;
    while (begin < length && (bytes[begin] == ' ' || bytes[begin] == '\t'))
        begin++;
    return slice_of (bytes + begin, length - begin);
}

/* One value of an entry in a folder of /sys. */
static struct slice read_value (const struct place *place, const char *folder, const char *entry, const char *name,
                                char bytes[VALUE_BYTES])
{
    char path[PATH_MAX];
    int length = snprintf (path, sizeof path, "%s/%s/%s", folder, entry, name);
    return length < (int) sizeof path ? read_file (place, path, bytes, VALUE_BYTES) : SLICE ("");
}

static int is_visible (const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* The names in a folder, sorted; 0 when it is missing, -1 with errno when it cannot be read. */
static int read_folder (const struct place *place, const char *path, struct dirent ***entries)
{
    int folder = beneath_open (&place->beneath, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    *entries = NULL;
    if (folder < 0)
        return errno == ENOENT ? 0 : -1;
    int count = scandirat (folder, ".", entries, is_visible, alphasort), error = errno;
    close (folder);
    errno = error;
    return count;
}

static void free_folder (struct dirent **entries, int count)
{
    for (int index = 0; index < count; index++)
        free (entries[index]);
    free (entries);
}

/* Text of the node as JSON; what is not UTF-8 is not shown. */
static json_t *text_of (struct slice text, const char *otherwise)
{
    json_t *string = text.len ? json_stringn (text.at, text.len) : NULL;
    return string ? string : json_string (otherwise);
}

/* ------------------------------------------------------------------------------------------------------------- devices
 */

static struct slice read_ids (const struct place *place, char *bytes)
{
    struct slice list = read_file (place, "usr/share/hwdata/pci.ids", bytes, LIST_BYTES_MAX);
    return list.len ? list : read_file (place, "usr/share/misc/pci.ids", bytes, LIST_BYTES_MAX);
}

static json_t *describe_device (struct slice list, unsigned vendor, unsigned device)
{
    struct slice vendor_name, device_name;
    char vendor_id[16], device_id[16];
    snprintf (vendor_id, sizeof vendor_id, "%04x", vendor);
    snprintf (device_id, sizeof device_id, "%04x", device);
    pci_ids_find (list, vendor, device, &vendor_name, &device_name);
    return json_pack ("{so so}", "Vendor", text_of (vendor_name, list.len ? "unknown" : vendor_id), "Name",
                      text_of (device_name, list.len ? "unknown" : device_id));
}

/* The devices; empty when there is nothing to read. */
static json_t *read_devices (const struct place *place)
{
    static const char folder[] = "sys/bus/pci/devices";
    json_t *devices = json_array ();
    struct dirent **entries;
    int count = read_folder (place, folder, &entries);
    char *bytes = count > 0 ? must (malloc (LIST_BYTES_MAX)) : NULL;
    struct slice list = count > 0 ? read_ids (place, bytes) : SLICE ("");
    for (int index = 0; index < count && index < ENTRIES_MAX; index++)
    {
        char value[VALUE_BYTES];
        unsigned vendor, device;
        if (pci_ids_of_modalias (read_value (place, folder, entries[index]->d_name, "modalias", value), &vendor,
                                 &device))
            json_array_append_new (devices, describe_device (list, vendor, device));
    }
    free (bytes);
    free_folder (entries, count);
    return devices;
}

/* --------------------------------------------------------------------------------------------------------------- disks
 */

static json_int_t read_size (struct slice value)
{
    char text[24];
    if (value.len == 0 || value.len >= sizeof text)
        return 0;
    memcpy (text, value.at, value.len);
    text[value.len] = '\0';
    char *end;
    errno = 0;
    unsigned long long sectors = strtoull (text, &end, 10);
    return errno || *end || sectors > INT64_MAX / SECTOR_BYTES ? 0 : (json_int_t) sectors * SECTOR_BYTES;
}

/* The disks, NULL with errno when they cannot be read. */
static json_t *read_disks (const struct place *place)
{
    static const char folder[] = "sys/block";
    struct dirent **entries;
    int count = read_folder (place, folder, &entries);
    if (count < 0)
        return NULL;
    json_t *disks = json_array ();
    for (int index = 0; index < count && index < ENTRIES_MAX; index++)
    {
        char vendor[VALUE_BYTES], size[VALUE_BYTES];
        const char *name = entries[index]->d_name;
        if (strncmp (name, "loop", 4) == 0)
            continue;
        json_array_append_new (
            disks, json_pack ("{so sI}", "Vendor",
                              text_of (read_value (place, folder, name, "device/vendor", vendor), "unknown"), "Size",
                              read_size (read_value (place, folder, name, "size", size))));
    }
    free_folder (entries, count);
    return disks;
}

/* ------------------------------------------------------------------------------------------------------------ the task
 */

static void gather (struct info *info)
{
    struct task *task = &info->task;
    bool mounted = place_open (&info->place) == 0;
    json_t *disks = mounted ? read_disks (&info->place) : errno == ENOENT ? json_array () : NULL;
    if (!disks)
    {
        task_fail (task, 500, "Unable to retrieve host information", strerror (errno));
        return;
    }
    json_t *state = json_pack ("{so so}", "PCIDevices", mounted ? read_devices (&info->place) : json_array (),
                               "PhysicalDisks", disks);
    info->text = must (json_dumps (state, JSON_COMPACT));
    info->length = strlen (info->text);
    json_decref (state);
    task_header (task, SLICE ("Content-Type"), SLICE ("application/json"));
    task_head (task, 200, FRAMING_LENGTH, info->length);
}

static void info_work (struct task *task)
{
    struct info *info = (struct info *) task;
    if (!task->has_head)
        gather (info);
    if (task->finished)
        return;
    info->at += task_output (task, slice_of (info->text + info->at, info->length - info->at));
    task->finished = info->at == info->length;
}

static void info_release (struct task *task)
{
    struct info *info = (struct info *) task;
    place_close (&info->place);
    free (info->text);
}

static const struct task_class s_info_class = {sizeof (struct info), info_work, info_release};

void host_info_begin (struct host *host, struct message *message)
{
    struct info *info = (struct info *) task_new (host, message, &s_info_class, "host information");
    if (!info)
        return;
    info->place = (struct place){.host = host, .beneath = {.root = -1}};
    task_start (&info->task);
}
