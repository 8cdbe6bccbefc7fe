/* multipart.h - bodies of multipart/form-data, as they come (RFC 7578, RFC 2046 section 5.1).
 *
 * Sans-I/O and without allocation: the caller feeds pieces of any size, and gets events; data of a part is handed out
 * where it lies. A delimiter may be cut anywhere. What was held back because it could have been one and was not, is
 * handed out from the delimiter itself, of which it is a copy. So nothing of a part is ever stored.
 *
 *     MULTIPART_PART, MULTIPART_DATA …, MULTIPART_PART, MULTIPART_DATA …, MULTIPART_DONE
 *
 * Strict where readers could differ: a line that begins like a delimiter and goes on otherwise is refused, and so is a
 * part without a name, a folded or over-long head, and a body that ends before the last delimiter.
 */
#pragma once

#include "messages/slice.h"

enum
{
    MULTIPART_BOUNDARY_MAX = 70,    /* RFC 2046 section 5.1.1 */
    MULTIPART_PART_HEAD_MAX = 4096, /* bytes of the headers of one part */
    MULTIPART_NAME_MAX = 128,       /* bytes of a field's name */
    MULTIPART_FILE_NAME_MAX = 1024, /* bytes of a file's name */
    MULTIPART_PREAMBLE_MAX = 4096,  /* bytes before the first delimiter */
    MULTIPART_PARTS_MAX = 64,
};

enum multipart_event
{
    MULTIPART_MORE,  /* the input is used up */
    MULTIPART_PART,  /* a part begins: name, and file_name when has_file_name */
    MULTIPART_DATA,  /* *piece is data of the part; it lives until the next call */
    MULTIPART_DONE,  /* the last delimiter was read; whatever follows means nothing */
    MULTIPART_ERROR, /* refused: error_text says why; nothing else will come */
};

struct multipart
{
    char name[MULTIPART_NAME_MAX + 1]; /* of the part in progress, NUL-terminated, without NUL within */
    char file_name[MULTIPART_FILE_NAME_MAX + 1];
    bool has_file_name;
    const char *error_text; /* a few lower-case words; static storage */

    /* private to multipart.c */
    unsigned state;
    size_t parts, preamble;
    size_t matched;                             /* bytes of the delimiter that were seen just now */
    char delimiter[4 + MULTIPART_BOUNDARY_MAX]; /* CR LF `--` boundary */
    size_t delimiter_length;
    char after[2]; /* the bytes behind the delimiter */
    size_t after_length;
    char head[MULTIPART_PART_HEAD_MAX];
    size_t head_length;
};

/* Makes ready for a body whose Content-Type is this. Returns false when it is not multipart/form-data with a valid
 * boundary. */
bool multipart_start (struct multipart *multipart, struct slice content_type);

/* Goes on to the next event; *input is shortened by what was used. */
enum multipart_event multipart_next (struct multipart *multipart, struct slice *input, struct slice *piece);
