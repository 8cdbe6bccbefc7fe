/* local_address.h - whether an IP address is this machine's own. */
#pragma once

#include <stdbool.h>

/* address: IPv4 or IPv6 text, without brackets. */
bool address_is_local (const char *address);

/* Whether the text is an IP address. */
bool address_is_literal (const char *text);
