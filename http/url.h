/* url.h - request targets: cleaning paths, splitting, Docker's version prefix (wire contract 6.1). */
#pragma once

#include "messages/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Cleans an origin-form target in place: empty and `.` elements go (`//` becomes `/`, `/a/.` becomes `/a`), also where
 * the dot is written as `%2e`; a slash at the end stays; the query (from the first `?`) stays as it is, other escapes
 * stay as they are. Returns false, leaving the bytes alone, when the path does not begin with `/`, or has an element
 * `..` (also with `%2e` for dots or `%2f` for the slashes around it), an incomplete escape, or `%00`, or when a
 * fragment or a byte outside of visible ASCII is anywhere. The cleaned target is never longer: *target is shortened. */
bool url_clean (char *bytes, struct slice *target);

/* The path and the query (without `?`) of an origin-form target. query.at is NULL when there is no `?`. */
void url_split (struct slice target, struct slice *path, struct slice *query);

/* The number of a leading Docker version prefix: `/v`, one digit, `.`, one or more digits, then `/` or the end of the
 * path. Returns major * 1000 + minor, and the prefix's length in *bytes; 0 when there is none (or minor is over 999).
 */
unsigned url_version_prefix (struct slice path, size_t *bytes);

/* The first value of a query parameter, still escaped; at is NULL when absent. */
struct slice url_query_find (struct slice query, struct slice name);

/* Decodes a value of a query or of a form with urlencoded fields: `+` is a space, `%XX` a byte. out has room for
 * value.len bytes and may be where value is. Returns false for an incomplete escape, and for NUL, which no path and no
 * name contains. */
bool url_decode (struct slice value, char *out, size_t *length);
