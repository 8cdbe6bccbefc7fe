/* pci_ids.c - see pci_ids.h. */
#include "pci_ids.h"

#include <ctype.h>

/* Reads so many hexadecimal digits; false when there are fewer. */
static bool read_hex (struct slice text, size_t digits, unsigned *number)
{
    if (text.len < digits)
        return false;
    *number = 0;
    for (size_t at = 0; at < digits; at++)
    {
        char byte = text.at[at];
        if (!isxdigit ((unsigned char) byte))
            return false;
        *number = *number << 4 | (unsigned) (byte <= '9' ? byte - '0' : (byte | 0x20) - 'a' + 10);
    }
    return true;
}

static struct slice take_line (struct slice *list)
{
    const char *end = list->len ? memchr (list->at, '\n', list->len) : NULL;
    struct slice line = slice_of (list->at, end ? (size_t) (end - list->at) : list->len);
    *list = slice_skip (*list, line.len + (end != NULL));
    return line;
}

/* Whether the line is `ID  name`; sets the name when the number is the one wanted. */
static bool is_entry (struct slice line, unsigned wanted, bool *found, struct slice *name)
{
    unsigned number;
    if (line.len < 7 || !read_hex (line, 4, &number) || line.at[4] != ' ' || line.at[5] != ' ')
        return false;
    *found = number == wanted;
    if (*found)
        *name = slice_skip (line, 6);
    return true;
}

void pci_ids_find (struct slice list, unsigned vendor, unsigned device, struct slice *vendor_name,
                   struct slice *device_name)
{
    bool in_vendor = false, found;
    *vendor_name = *device_name = SLICE ("");
    while (list.len)
    {
        struct slice line = take_line (&list);
        if (line.len == 0 || line.at[0] == '#')
            continue;
        if (line.at[0] != '\t')
        {
            if (in_vendor) /* its devices are over */
                return;
            in_vendor = is_entry (line, vendor, &found, vendor_name) && found;
        }
        else if (in_vendor && is_entry (slice_skip (line, 1), device, &found, device_name) && found)
            return;
    }
}

bool pci_ids_of_modalias (struct slice modalias, unsigned *vendor, unsigned *device)
{
    return slice_starts_with (modalias, SLICE ("pci:v")) && modalias.len >= 22 && modalias.at[13] == 'd' &&
           read_hex (slice_skip (modalias, 5), 8, vendor) && read_hex (slice_skip (modalias, 14), 8, device);
}
