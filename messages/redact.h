/* redact.h - which parts of a message may be shown, for the text forms of this folder. */
#pragma once

#include "slice.h"

/* Whether the value of a query parameter may be shown: its name is on the allow-list and the value is as plain as the
 * values of such parameters are. */
bool query_is_public (struct slice name, struct slice value);

/* A walk over a request target, which alternates between bytes to show and bytes to hide. */
struct target_walk
{
    struct slice rest;
    bool in_query;
    struct slice shown;  /* of this step; may be empty */
    struct slice hidden; /* of this step, after shown; at is NULL when there is nothing to hide */
};

static inline struct target_walk target_walk_of (struct slice target)
{
    return (struct target_walk){.rest = target};
}

/* Makes one step; false at the end. The path is shown, a parameter is shown up to its `=`, its value only when it is
 * public. What stands there without a value is hidden as a whole: it may be one. */
bool target_walk_next (struct target_walk *walk);
