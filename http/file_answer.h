/* file_answer.h - what a GET of a file is answered with: the conditions and ranges of RFC 9110 sections 13 and 14, for
 * files that have a time and a size, but no entity tag. */
#pragma once

#include "http/range.h"
#include "messages/message.h"

struct file_answer
{
    unsigned status; /* 200, 206, 304, 412, 416 */
    size_t count;    /* 206: how many ranges */
    struct http_range ranges[HTTP_RANGES_MAX];
};

/* Decides by the headers of the request. modified is in seconds since 1970; 0 means that it is not known, and then no
 * condition on time holds anybody up. */
void file_answer_decide (struct headers headers, uint64_t size, int64_t modified, struct file_answer *answer);
