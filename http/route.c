/* route.c - see route.h. */
#include "route.h"

#include "url.h"

#include <stddef.h>

enum prefix
{
    BARE = 1,
    V1 = 2,
    V2 = 4,
};

struct row
{
    const char *path, *method;
    enum route route;
    unsigned prefixes;
    bool open;
};

/* Contract section 5. Names are exact. */
static const struct row s_rows[] = {
    {"/ping", "GET", ROUTE_PING, BARE | V2, true},
    {"/key", "GET", ROUTE_KEY, BARE, false},
    {"/key", "POST", ROUTE_KEY, BARE, false},
    {"/agents", "GET", ROUTE_AGENTS, BARE | V1 | V2, false},
    {"/host/info", "GET", ROUTE_HOST_INFO, BARE | V1 | V2, false},
    {"/browse/ls", "GET", ROUTE_BROWSE, BARE | V2, false},
    {"/browse/get", "GET", ROUTE_BROWSE, BARE | V2, false},
    {"/browse/delete", "DELETE", ROUTE_BROWSE, BARE | V2, false},
    {"/browse/rename", "PUT", ROUTE_BROWSE, BARE | V2, false},
    {"/browse/put", "POST", ROUTE_BROWSE, BARE | V2, false},
    {"/browse/*/ls", "GET", ROUTE_BROWSE, V1, false},
    {"/browse/*/get", "GET", ROUTE_BROWSE, V1, false},
    {"/browse/*/delete", "DELETE", ROUTE_BROWSE, V1, false},
    {"/browse/*/rename", "PUT", ROUTE_BROWSE, V1, false},
    {"/browse/*/put", "POST", ROUTE_BROWSE, V1, false},
    {"/websocket/exec", "GET", ROUTE_WEBSOCKET, BARE | V1 | V2, false},
    {"/websocket/attach", "GET", ROUTE_WEBSOCKET, BARE | V1 | V2, false},
    {"/dockerhub", "POST", ROUTE_DOCKERHUB, V2, false},
};

/* Plain string prefixes that belong to the agent: what begins with one and is no route is a 404 and never the engine's
 * (contract 6.1, step 4). Below /v1 and /v2 everything else is the engine's. */
static const char *const s_own[] = {"/key", "/ping", "/agents", "/host", "/browse", "/websocket", "/kubernetes"};

/* Whether path matches pattern, in which `*` stands for one non-empty segment. */
static bool matches (struct slice path, const char *pattern)
{
    size_t at = 0;
    for (; *pattern; pattern++)
        if (*pattern == '*')
        {
            size_t begin = at;
            while (at < path.len && path.at[at] != '/')
                at++;
            if (at == begin)
                return false;
        }
        else if (at == path.len || path.at[at++] != *pattern)
            return false;
    return at == path.len;
}

static bool cut_prefix (struct slice *path, struct slice prefix)
{
    if (!slice_starts_with (*path, prefix) || path->len == prefix.len || path->at[prefix.len] != '/')
        return false;
    *path = slice_skip (*path, prefix.len);
    return true;
}

/* A cheap look that spares Docker's paths the tables: the second letter of every path in them. */
static bool may_be_own (struct slice path)
{
    static const char letters[] = {'k', 'p', 'a', 'h', 'b', 'w', 'd'};
    return path.len > 1 && memchr (letters, path.at[1], sizeof letters) != NULL;
}

struct route_decision route_decide (struct slice method, struct slice target)
{
    struct route_decision decision = {.route = ROUTE_DOCKER, .unversioned = target};
    struct slice path, query;
    size_t prefix = 0;
    url_split (target, &path, &query);
    decision.version = url_version_prefix (path, &prefix);
    if (decision.version)
    {
        decision.unversioned = slice_skip (target, prefix);
        path = slice_skip (path, prefix);
        /* Without a path there is nothing for a query to ask about, and no room for a slash before it. */
        if (path.len == 0)
            decision.unversioned = SLICE ("/");
    }
    enum prefix where = cut_prefix (&path, SLICE ("/v1")) ? V1 : cut_prefix (&path, SLICE ("/v2")) ? V2 : BARE;
    for (size_t index = 0; may_be_own (path) && index < sizeof s_rows / sizeof *s_rows; index++)
    {
        const struct row *row = &s_rows[index];
        if (!(row->prefixes & where) || !matches (path, row->path))
            continue;
        if (slice_equal (method, slice_from (row->method)))
        {
            decision.route = row->route;
            decision.open = row->open;
            return decision;
        }
        decision.route = ROUTE_METHOD_NOT_ALLOWED;
        decision.allow = decision.allow ? "GET, POST" : row->method;
    }
    if (decision.route == ROUTE_DOCKER && where == BARE)
        for (size_t index = 0; index < sizeof s_own / sizeof *s_own; index++)
            if (slice_starts_with (path, slice_from (s_own[index])))
                decision.route = ROUTE_NOT_FOUND;
    decision.open = decision.route != ROUTE_DOCKER;
    return decision;
}

/* The path of a Docker request without its version. */
static struct slice docker_path (struct slice target, struct slice *query)
{
    struct slice path;
    size_t prefix = 0;
    url_split (target, &path, query);
    return url_version_prefix (path, &prefix) ? slice_skip (path, prefix) : path;
}

bool route_is_hijackable (struct slice method, struct slice target)
{
    struct slice query, path = docker_path (target, &query);
    return slice_equal (method, SLICE ("POST")) &&
           (matches (path, "/containers/*/attach") || matches (path, "/exec/*/start") || matches (path, "/session") ||
            matches (path, "/grpc"));
}

static bool is_true (struct slice value)
{
    return slice_equal (value, SLICE ("1")) || slice_equal_nocase (value, SLICE ("true"));
}

static bool is_false (struct slice value)
{
    return slice_equal (value, SLICE ("0")) || slice_equal_nocase (value, SLICE ("false"));
}

bool route_is_endless (struct slice target)
{
    struct slice query, path = docker_path (target, &query);
    if (matches (path, "/events"))
        return url_query_find (query, SLICE ("until")).len == 0;
    if (matches (path, "/containers/*/stats"))
        return !is_false (url_query_find (query, SLICE ("stream")));
    if (matches (path, "/containers/*/logs") || matches (path, "/services/*/logs") || matches (path, "/tasks/*/logs"))
        return is_true (url_query_find (query, SLICE ("follow")));
    return false;
}

bool route_is_key (struct slice target)
{
    struct slice query;
    return slice_starts_with (docker_path (target, &query), SLICE ("/key"));
}

/* --------------------------------------------------------------------------------------------------------- clusters */

static bool is_list (struct slice method, struct slice path)
{
    if (slice_equal (path, SLICE ("/containers/json")) || slice_equal (path, SLICE ("/images/json")))
        return true;
    return slice_equal (method, SLICE ("GET")) &&
           (slice_equal (path, SLICE ("/volumes")) || slice_equal (path, SLICE ("/networks")));
}

enum route_scope route_scope (struct slice method, struct slice target, struct slice manager_operation)
{
    static const struct slice of_managers[] = {SLICE ("/services"), SLICE ("/tasks"), SLICE ("/secrets"),
                                               SLICE ("/configs"),  SLICE ("/swarm"), SLICE ("/info"),
                                               SLICE ("/nodes")};
    struct slice path, query;
    url_split (target, &path, &query);
    if (manager_operation.len)
        return SCOPE_MANAGER;
    if (is_list (method, path))
        return SCOPE_CLUSTER;
    for (size_t index = 0; index < sizeof of_managers / sizeof *of_managers; index++)
        if (slice_starts_with (path, of_managers[index]))
            return SCOPE_MANAGER;
    return SCOPE_NODE;
}
