/* date.c - see date.h. strptime() and strftime() speak English: the agent never sets another locale. */
#include "http/date.h"

#include "http/characters.h"

#include <time.h>

#define YEAR_1    (-62135596800) /* 0001-01-01, in seconds since 1970 */
#define YEAR_9999 253402300799   /* 9999-12-31 23:59:59 */

void http_date_write (int64_t seconds, char text[HTTP_DATE_BYTES])
{
    time_t time = seconds < YEAR_1 ? YEAR_1 : seconds > YEAR_9999 ? YEAR_9999 : seconds;
    struct tm calendar;
    gmtime_r (&time, &calendar);
    /* %Y would not pad the first thousand years. */
    size_t length = strftime (text, HTTP_DATE_BYTES, "%a, %d %b ", &calendar);
    unsigned year = (unsigned) calendar.tm_year + 1900;
    for (unsigned unit = 1000; unit; unit /= 10)
        text[length++] = (char) ('0' + year / unit % 10);
    strftime (text + length, HTTP_DATE_BYTES - length, " %H:%M:%S GMT", &calendar);
}

bool http_date_read (struct slice text, int64_t *seconds)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%a, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %d %H:%M:%S %Y"};
    char copy[40];
    if (text.len == 0 || text.len >= sizeof copy || memchr (text.at, '\0', text.len))
        return false;
    memcpy (copy, text.at, text.len);
    copy[text.len] = '\0';
    for (size_t index = 0; index < sizeof forms / sizeof *forms; index++)
    {
        struct tm calendar = {.tm_mday = 1};
        const char *end = strptime (copy, forms[index], &calendar);
        if (!end || *end)
            continue;
        int day = calendar.tm_mday;
        *seconds = timegm (&calendar);
        return calendar.tm_mday == day; /* the thirtieth of February would have become another day */
    }
    return false;
}
