/* join_names.c - see join_names.h. */
#include "join_names.h"

#include "local_address.h"
#include "messages/slice.h"

#include <stdio.h>
#include <string.h>

static bool parse_port (struct slice text, uint16_t *port)
{
    unsigned number = 0;
    if (text.len == 0 || text.len > 5)
        return false;
    for (size_t index = 0; index < text.len; index++)
    {
        if (text.at[index] < '0' || text.at[index] > '9')
            return false;
        number = number * 10 + (unsigned) (text.at[index] - '0');
    }
    *port = (uint16_t) number;
    return number >= 1 && number <= 65535;
}

static bool is_host_name (const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return text[0] && text[0] != '-' && text[0] != '.' && !strstr (text, "..") &&
           strspn (text, allowed) == strlen (text);
}

static const char *parse_one (struct slice text, uint16_t standard_port, struct join_name *name)
{
    const char *bracket = text.at[0] == '[' ? memchr (text.at, ']', text.len) : NULL;
    const char *colon = memchr (text.at, ':', text.len);
    struct slice host = text, port = {NULL, 0};
    if (text.at[0] == '[' && !bracket)
        return "a [ without a ]";
    if (bracket)
    {
        host = slice_of (text.at + 1, (size_t) (bracket - text.at) - 1);
        port = slice_of (bracket + 1, text.len - host.len - 2);
        if (port.len && port.at[0] != ':')
            return "only a colon and a port may follow a ]";
    }
    else if (colon && !memchr (colon + 1, ':', text.len - (size_t) (colon - text.at) - 1))
    {
        host = slice_of (text.at, (size_t) (colon - text.at));
        port = slice_of (colon, text.len - host.len);
    }
    if (host.len > JOIN_NAME_BYTES_MAX)
        return "a name is longer than 253 characters";
    snprintf (name->host, sizeof name->host, "%.*s", (int) host.len, host.at);
    name->port = standard_port;
    name->literal = address_is_literal (name->host);
    if (port.len && !parse_port (slice_of (port.at + 1, port.len - 1), &name->port))
        return "a port is a number from 1 to 65535";
    if (bracket && !(name->literal && strchr (name->host, ':')))
        return "between [ and ] stands no IPv6 address";
    if (!name->literal && !is_host_name (name->host))
        return "not a host name and not an IP address, such as tasks.agent, host:7946 or [2001:db8::1]:7946";
    return NULL;
}

static struct slice trim (struct slice text)
{
    while (text.len && (text.at[0] == ' ' || text.at[0] == '\t'))
        text = slice_of (text.at + 1, text.len - 1);
    while (text.len && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}

int join_names_parse (const char *text, uint16_t standard_port, struct join_name names[JOIN_NAMES_MAX],
                      const char **error)
{
    int count = 0;
    while (*text)
    {
        size_t length = strcspn (text, ",");
        struct slice entry = trim (slice_of (text, length));
        text += length + (text[length] == ',');
        if (entry.len == 0)
            continue;
        *error = count == JOIN_NAMES_MAX ? "more than 64 names" : parse_one (entry, standard_port, &names[count]);
        if (*error)
            return -1;
        count++;
    }
    return count;
}
