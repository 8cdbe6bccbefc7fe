/* envelope_fuzz - envelopes: what is accepted names a known type and known actors, and survives encoding and decoding.
 */
#include "messages/message.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void check (bool holds, const char *what)
{
    if (holds)
        return;
    fprintf (stderr, "envelope_fuzz: %s\n", what);
    abort ();
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct envelope envelope, again;
    struct message_error error;
    if (envelope_decode (slice_of ((const char *) data, size), &envelope, &error) < 0)
    {
        check (memchr (error.text, '\0', sizeof error.text) && error.text[0], "an error without a text");
        return 0;
    }
    check (message_info (envelope.type) != NULL, "an unknown type was accepted");
    check (envelope.from > ACTOR_NONE && envelope.from < ACTOR_COUNT, "an unknown sender was accepted");
    check (envelope.to > ACTOR_NONE && envelope.to < ACTOR_COUNT, "an unknown receiver was accepted");

    char bytes[ENVELOPE_BYTES_MAX];
    size_t length = envelope_encode (&envelope, bytes);
    check (length <= size, "the shortest form is longer than the input");
    check (envelope_decode (slice_of (bytes, length), &again, &error) == 0, "an encoded envelope cannot be decoded");
    check (again.type == envelope.type && again.from == envelope.from && again.to == envelope.to &&
               again.stream == envelope.stream && again.sequence == envelope.sequence && again.time == envelope.time &&
               memcmp (again.trace, envelope.trace, TRACE_BYTES) == 0,
           "an envelope comes back changed");
    return 0;
}
