/* join_names_fuzz - any text as AGENT_CLUSTER_ADDR: what is taken is a name and a port that can be used as such. */
#include "actors/ensure.h"
#include "actors/join_names.h"
#include "actors/local_address.h"

#include <string.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    static struct join_name names[JOIN_NAMES_MAX];
    const char *error = NULL;
    char *text = must (malloc (size + 1));
    if (size)
        memcpy (text, data, size);
    text[size] = '\0';
    int count = join_names_parse (text, 7946, names, &error);
    ensure (count >= 0 ? count <= JOIN_NAMES_MAX : error && error[0]);
    for (int index = 0; index < count; index++)
    {
        ensure (names[index].host[0] && strlen (names[index].host) <= JOIN_NAME_BYTES_MAX && names[index].port);
        ensure (names[index].literal == address_is_literal (names[index].host));
        ensure (!strpbrk (names[index].host, "[], \t/@"));
    }
    free (text);
    return 0;
}
