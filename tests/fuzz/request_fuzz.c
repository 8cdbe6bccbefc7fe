/* request_fuzz - a client's byte stream: heads and bodies, one after the other, cut in different ways. */
#include "llhttp_oracle.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct slice stream = slice_of ((const char *) data, size);
    must_not_depend_on_cuts (stream, false, false);
    must_agree_with_llhttp (stream, false);
    return 0;
}
