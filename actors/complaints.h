/* complaints.h - which addresses were complained about already, so that the log has one line for each and not one for
 * each attempt.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum
{
    COMPLAINTS_MAX = 64, /* addresses remembered; the oldest is forgotten */
};

struct complaint
{
    char address[80];
    uint64_t since; /* ms, of the first time */
    bool said;
};

/* All zero is nothing to complain about. */
struct complaints
{
    struct complaint at[COMPLAINTS_MAX];
    size_t next;
};

/* Whether it is time to complain: once, when the trouble with this address is patience (ms) old. */
bool complaint_due (struct complaints *complaints, const char *address, uint64_t now, uint64_t patience);

/* All is well with this address again: the next trouble is a new one. */
void complaint_over (struct complaints *complaints, const char *address);
