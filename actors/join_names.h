/* join_names.h - the names under which the agents of a cluster are found: AGENT_CLUSTER_ADDR, taken apart.
 *
 *     tasks.agent      host:7946      192.0.2.1      [2001:db8::1]:7946      2001:db8::1      several, with commas
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum
{
    JOIN_NAMES_MAX = 64,
    JOIN_NAME_BYTES_MAX = 253, /* RFC 1035, section 3.1, as text */
};

struct join_name
{
    char host[JOIN_NAME_BYTES_MAX + 1]; /* a host name or an IP address, without brackets */
    uint16_t port;
    bool literal; /* it is an IP address */
};

/* Takes the text apart; entries without a port get standard_port. Spaces around an entry and empty entries are ignored.
 * Returns how many there are, or -1 and in *error what is wrong, without a period. */
int join_names_parse (const char *text, uint16_t standard_port, struct join_name names[JOIN_NAMES_MAX],
                      const char **error);
