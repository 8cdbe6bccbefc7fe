/* complaints.c - see complaints.h. */
#include "complaints.h"

#include <stdio.h>
#include <string.h>

static struct complaint *find (struct complaints *complaints, const char *address)
{
    for (size_t index = 0; index < COMPLAINTS_MAX; index++)
        if (strcmp (complaints->at[index].address, address) == 0)
            return &complaints->at[index];
    return NULL;
}

bool complaint_due (struct complaints *complaints, const char *address, uint64_t now, uint64_t patience)
{
    struct complaint *complaint = find (complaints, address);
    if (!complaint)
    {
        complaint = &complaints->at[complaints->next++ % COMPLAINTS_MAX];
        *complaint = (struct complaint){.since = now};
        snprintf (complaint->address, sizeof complaint->address, "%s", address);
    }
    bool due = !complaint->said && now - complaint->since >= patience;
    complaint->said |= due;
    return due;
}

void complaint_over (struct complaints *complaints, const char *address)
{
    struct complaint *complaint = find (complaints, address);
    if (complaint)
        *complaint = (struct complaint){.address = ""};
}
