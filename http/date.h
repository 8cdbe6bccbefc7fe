/* date.h - HTTP dates (RFC 9110 section 5.6.7): pure arithmetic, no clock is asked. */
#pragma once

#include "messages/slice.h"

#include <stdint.h>

enum
{
    HTTP_DATE_BYTES = 30, /* `Sun, 06 Nov 1994 08:49:37 GMT` and a NUL */
};

/* Writes a time, in seconds since 1970, as IMF-fixdate. Years outside of 1 to 9999 become the nearest that can be said.
 */
void http_date_write (int64_t seconds, char text[HTTP_DATE_BYTES]);

/* Reads any of the three forms that a recipient must take: IMF-fixdate, RFC 850's and asctime's. Returns false for
 * anything else. */
bool http_date_read (struct slice text, int64_t *seconds);
