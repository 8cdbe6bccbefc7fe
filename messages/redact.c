/* redact.c - the allow-lists: header and query names whose values may be shown in taps and logs.
 *
 * Whatever is not listed is secret. Credentials hide in more places than one can forbid: a registry's password in
 * X-Registry-Auth, the caller's signature in X-PortainerAgent-Signature, build arguments and a repository's token in
 * the query of /build. So a name is added here only when no client has a reason to put a secret into it, and somebody
 * who watches messages is helped by seeing it. Left out on purpose:
 *
 *   headers   Authorization, Cookie, X-Registry-*, X-PortainerAgent-Signature and -PublicKey; Location and Referer,
 * since addresses carry tokens in their queries; Portainer-Agent-* and Shoal-* beyond the known ones query     token,
 * buildargs, remote, filters, labels, fromImage, fromSrc, repo, message, changes, path, ps_args
 */
#include "redact.h"
#include "message.h"

/* Names in lower case. */
static const struct slice public_headers[] = {
    SLICE ("accept"),
    SLICE ("accept-encoding"),
    SLICE ("accept-language"),
    SLICE ("accept-ranges"),
    SLICE ("allow"),
    SLICE ("api-version"),
    SLICE ("builder-version"),
    SLICE ("cache-control"),
    SLICE ("connection"),
    SLICE ("content-encoding"),
    SLICE ("content-length"),
    SLICE ("content-range"),
    SLICE ("content-type"),
    SLICE ("date"),
    SLICE ("docker-experimental"),
    SLICE ("etag"),
    SLICE ("expect"),
    SLICE ("host"),
    SLICE ("last-modified"),
    SLICE ("ostype"),
    SLICE ("portainer-agent"),
    SLICE ("portainer-agent-api-version"),
    SLICE ("portainer-agent-platform"),
    SLICE ("pragma"),
    SLICE ("range"),
    SLICE ("retry-after"),
    SLICE ("server"),
    SLICE ("shoal-missing-nodes"),
    SLICE ("shoal-trace"),
    SLICE ("shoal-version"),
    SLICE ("swarm"),
    SLICE ("te"),
    SLICE ("traceparent"),
    SLICE ("transfer-encoding"),
    SLICE ("upgrade"),
    SLICE ("user-agent"),
    SLICE ("vary"),
    SLICE ("x-portaineragent-manageroperation"),
    SLICE ("x-portaineragent-target"),
};

/* Parameters of the engine's API that are switches, numbers, times, names of signals and platforms. Case counts. */
static const struct slice public_parameters[] = {
    SLICE ("all"),
    SLICE ("condition"),
    SLICE ("copyUIDGID"),
    SLICE ("detachKeys"),
    SLICE ("digests"),
    SLICE ("endpointId"),
    SLICE ("follow"),
    SLICE ("force"),
    SLICE ("forcerm"),
    SLICE ("h"),
    SLICE ("limit"),
    SLICE ("link"),
    SLICE ("logs"),
    SLICE ("manifests"),
    SLICE ("nocache"),
    SLICE ("nodeName"),
    SLICE ("noOverwriteDirNonDir"),
    SLICE ("noprune"),
    SLICE ("one-shot"),
    SLICE ("pause"),
    SLICE ("platform"),
    SLICE ("rm"),
    SLICE ("shared-size"),
    SLICE ("signal"),
    SLICE ("since"),
    SLICE ("size"),
    SLICE ("stderr"),
    SLICE ("stdin"),
    SLICE ("stdout"),
    SLICE ("stream"),
    SLICE ("t"),
    SLICE ("tag"),
    SLICE ("tail"),
    SLICE ("timestamps"),
    SLICE ("until"),
    SLICE ("v"),
    SLICE ("verbose"),
    SLICE ("version"),
    SLICE ("w"),
};

enum
{
    PUBLIC_VALUE_MAX = 64, /* bytes; no honest value of the parameters above is longer */
};

bool header_is_public (struct slice name)
{
    for (size_t index = 0; index < sizeof public_headers / sizeof *public_headers; index++)
        if (slice_equal_nocase (name, public_headers[index]))
            return true;
    return false;
}

/* A listed name does not make any value harmless: `all=1;token=x` and `all=1%26token%3Dx` are one value to some readers
 * and two to others. */
static bool value_is_plain (struct slice value)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:,+/~-";
    if (value.len > PUBLIC_VALUE_MAX)
        return false;
    for (size_t index = 0; index < value.len; index++)
        if (!memchr (plain, value.at[index], sizeof plain - 1))
            return false;
    return true;
}

bool query_is_public (struct slice name, struct slice value)
{
    for (size_t index = 0; index < sizeof public_parameters / sizeof *public_parameters; index++)
        if (slice_equal (name, public_parameters[index]))
            return value_is_plain (value);
    return false;
}

/* The first n bytes of text. */
static struct slice slice_first (struct slice text, size_t n)
{
    return slice_of (text.at, n);
}

/* Where the first of two bytes stands; the length when there is neither. */
static size_t slice_until (struct slice text, char one, char other)
{
    size_t index = 0;
    while (index < text.len && text.at[index] != one && text.at[index] != other)
        index++;
    return index;
}

static bool is_all_equals_signs (struct slice text)
{
    for (size_t index = 0; index < text.len; index++)
        if (text.at[index] != '=')
            return false;
    return true;
}

bool target_walk_next (struct target_walk *walk)
{
    if (walk->rest.len == 0)
        return false;
    struct slice rest = walk->rest;
    walk->hidden = (struct slice){0};
    if (!walk->in_query)
    {
        /* A fragment has no business here, but where there is one it is no path. */
        size_t path = slice_until (rest, '?', '#');
        walk->in_query = true;
        walk->shown = slice_first (rest, path < rest.len ? path + 1 : path);
        walk->rest = slice_skip (rest, walk->shown.len);
        return true;
    }

    /* Servers disagree whether `;` separates parameters, so it must not hide one in another's value. */
    size_t start = rest.at[0] == '&' || rest.at[0] == ';';
    size_t end = start + slice_until (slice_skip (rest, start), '&', ';');
    struct slice parameter = slice_of (rest.at + start, end - start);
    size_t name_length = slice_until (parameter, '=', '=');
    struct slice name = slice_first (parameter, name_length);
    struct slice value = slice_skip (parameter, name_length < parameter.len ? name_length + 1 : name_length);
    walk->rest = slice_skip (rest, end);
    if (parameter.len == 0 || query_is_public (name, value))
        walk->shown = slice_first (rest, end);
    else
    {
        /* The end of base64 looks like a name with an empty value. */
        struct slice hidden = is_all_equals_signs (value) ? parameter : value;
        walk->shown = slice_first (rest, end - hidden.len);
        walk->hidden = hidden;
    }
    return true;
}
