/* file_answer.c - see file_answer.h. The order of the conditions is that of RFC 9110 section 13.2.2. */
#include "http/file_answer.h"

#include "http/characters.h"
#include "http/date.h"

/* A condition on an entity tag: without one of our own only `*` holds. */
static bool names_any (struct slice value)
{
    return slice_equal (http_trim (value), SLICE ("*"));
}

static bool has_time (struct headers headers, struct slice name, int64_t *seconds)
{
    return http_date_read (headers_find (headers, name), seconds);
}

static unsigned decide_conditions (struct headers headers, int64_t modified)
{
    struct slice match = headers_find (headers, SLICE ("If-Match")),
                 none = headers_find (headers, SLICE ("If-None-Match"));
    int64_t time;
    if (match.at)
    {
        if (!names_any (match))
            return 412;
    }
    else if (modified && has_time (headers, SLICE ("If-Unmodified-Since"), &time) && modified > time)
        return 412;
    if (none.at)
        return names_any (none) ? 304 : 200;
    if (modified && has_time (headers, SLICE ("If-Modified-Since"), &time) && modified <= time)
        return 304;
    return 200;
}

/* Whether ranges count: If-Range must name exactly the time that the file has (RFC 9110 section 13.1.5). */
static bool allows_ranges (struct headers headers, int64_t modified)
{
    int64_t time;
    struct slice condition = headers_find (headers, SLICE ("If-Range"));
    return !condition.at || (modified && http_date_read (condition, &time) && time == modified);
}

void file_answer_decide (struct headers headers, uint64_t size, int64_t modified, struct file_answer *answer)
{
    struct slice range = headers_find (headers, SLICE ("Range"));
    answer->status = decide_conditions (headers, modified);
    answer->count = 0;
    if (answer->status != 200 || !range.at || !allows_ranges (headers, modified))
        return;
    enum http_range_result result = http_range_read (range, size, answer->ranges, &answer->count);
    if (result == HTTP_RANGE_PARTIAL)
        answer->status = 206;
    else if (result == HTTP_RANGE_UNSATISFIABLE)
        answer->status = 416;
}
