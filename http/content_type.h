/* content_type.h - what a file probably is: by the extension of its name, else by its first bytes (contract 5.4). */
#pragma once

#include "messages/slice.h"

enum
{
    CONTENT_TYPE_SNIFF = 512, /* bytes of a file that are looked at, at most */
};

/* The media type by the name's extension; empty when the extension is not known. Static storage. */
struct slice content_type_by_name (struct slice name);

/* The media type by the first bytes: a few well-known formats, text, or application/octet-stream. Static storage. */
struct slice content_type_by_bytes (struct slice bytes);
