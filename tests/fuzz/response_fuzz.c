/* response_fuzz - an engine's byte stream, as the answer to GET and as the answer to HEAD. */
#include "llhttp_oracle.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct slice stream = slice_of ((const char *) data, size);
    must_not_depend_on_cuts (stream, true, false);
    must_not_depend_on_cuts (stream, true, true);
    must_agree_with_llhttp (stream, true);
    return 0;
}
