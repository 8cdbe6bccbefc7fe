/* local_address.c - see local_address.h. */
#include "local_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

bool address_is_literal (const char *text)
{
    unsigned char binary[sizeof (struct in6_addr)];
    return inet_pton (AF_INET, text, binary) == 1 || inet_pton (AF_INET6, text, binary) == 1;
}

static bool is_of (const struct sockaddr *address, int family, const unsigned char *binary)
{
    if (!address || address->sa_family != family)
        return false;
    if (family == AF_INET)
        return memcmp (&((const struct sockaddr_in *) (const void *) address)->sin_addr, binary, 4) == 0;
    return memcmp (&((const struct sockaddr_in6 *) (const void *) address)->sin6_addr, binary, 16) == 0;
}

bool address_is_local (const char *address)
{
    unsigned char binary[sizeof (struct in6_addr)];
    int family = inet_pton (AF_INET, address, binary) == 1 ? AF_INET : AF_INET6;
    struct ifaddrs *all = NULL;
    bool found = false;
    if (family == AF_INET6 && inet_pton (AF_INET6, address, binary) != 1)
        return false;
    if (family == AF_INET && binary[0] == 127) /* all of 127.0.0.0/8 is, though but one address of it is listed */
        return true;
    if (getifaddrs (&all) < 0)
        return false;
    for (const struct ifaddrs *one = all; one && !found; one = one->ifa_next)
        found = is_of (one->ifa_addr, family, binary);
    freeifaddrs (all);
    return found;
}
