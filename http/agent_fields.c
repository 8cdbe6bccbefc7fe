/* agent_fields.c - see agent_fields.h. */
#include "agent_fields.h"

#include <stddef.h>

bool field_is_for_agents (struct slice name)
{
    static const struct slice prefix = SLICE ("X-PortainerAgent-");
    if (name.len >= prefix.len && slice_equal_nocase (slice_of (name.at, prefix.len), prefix))
        return true;
    return slice_equal_nocase (name, FIELD_HOP);
}

bool field_is_of_every_answer (struct slice name)
{
    static const struct slice names[] = {SLICE ("Portainer-Agent"), SLICE ("Portainer-Agent-API-Version"),
                                         SLICE ("Portainer-Agent-Platform"), SLICE ("Shoal-Version"),
                                         SLICE ("Shoal-Trace")};
    char first = (char) (name.at[0] | 0x20);
    if (first != 'p' && first != 's')
        return false;
    for (size_t index = 0; index < sizeof names / sizeof *names; index++)
        if (slice_equal_nocase (name, names[index]))
            return true;
    return false;
}
