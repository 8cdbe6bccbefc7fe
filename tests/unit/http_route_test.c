/* http_route_test - which part of the agent answers: the contract's sections 5 and 6.1, row by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/route.h"

#include <stdio.h>

static struct route_decision decide (const char *method, const char *target)
{
    return route_decide (slice_from (method), slice_from (target));
}

static void expect (const char *method, const char *target, enum route route)
{
    struct route_decision decision = decide (method, target);
    if (decision.route != route)
        fail_msg ("%s %s: route %d instead of %d", method, target, (int) decision.route, (int) route);
}

/* Path behind the prefix, method; the prefixes under which it exists (section 5); whether it is open (4.3). */
static const struct
{
    const char *path, *method;
    enum route route;
    bool bare, v1, v2, open;
} s_routes[] = {
    {"/ping", "GET", ROUTE_PING, true, false, true, true},
    {"/agents", "GET", ROUTE_AGENTS, true, true, true, false},
    {"/host/info", "GET", ROUTE_HOST_INFO, true, true, true, false},
    {"/browse/ls", "GET", ROUTE_BROWSE, true, false, true, false},
    {"/browse/get", "GET", ROUTE_BROWSE, true, false, true, false},
    {"/browse/delete", "DELETE", ROUTE_BROWSE, true, false, true, false},
    {"/browse/rename", "PUT", ROUTE_BROWSE, true, false, true, false},
    {"/browse/put", "POST", ROUTE_BROWSE, true, false, true, false},
    {"/browse/vol/ls", "GET", ROUTE_BROWSE, false, true, false, false},
    {"/browse/vol/get", "GET", ROUTE_BROWSE, false, true, false, false},
    {"/browse/vol/delete", "DELETE", ROUTE_BROWSE, false, true, false, false},
    {"/browse/vol/rename", "PUT", ROUTE_BROWSE, false, true, false, false},
    {"/browse/vol/put", "POST", ROUTE_BROWSE, false, true, false, false},
    {"/websocket/exec", "GET", ROUTE_WEBSOCKET, true, true, true, false},
    {"/websocket/attach", "GET", ROUTE_WEBSOCKET, true, true, true, false},
    {"/dockerhub", "POST", ROUTE_DOCKERHUB, false, false, true, false},
};

/* What a path is under a prefix where there is no such route (6.1, step 4): below /v1 and /v2 the engine's; bare a 404
 * of the agent's, but for /dockerhub, which is nobody's name there. */
static enum route elsewhere (size_t prefix, const char *path)
{
    return prefix > 0 || strcmp (path, "/dockerhub") == 0 ? ROUTE_DOCKER : ROUTE_NOT_FOUND;
}

static void every_route_under_every_prefix (void **state)
{
    (void) state;
    static const char *const prefixes[] = {"", "/v1", "/v2"}, *const versions[] = {"", "/v1.24", "/v1.41", "/v2.0"};
    static const char *const queries[] = {"", "?", "?path=/etc&volumeID=x", "?a=/../b"};
    for (size_t row = 0; row < sizeof s_routes / sizeof *s_routes; row++)
        for (size_t prefix = 0; prefix < 3; prefix++)
            for (size_t version = 0; version < 4; version++)
                for (size_t query = 0; query < 4; query++)
                {
                    char target[200];
                    snprintf (target, sizeof target, "%s%s%s%s", versions[version], prefixes[prefix],
                              s_routes[row].path, queries[query]);
                    bool here = prefix == 0 ? s_routes[row].bare : prefix == 1 ? s_routes[row].v1 : s_routes[row].v2;
                    expect (s_routes[row].method, target,
                            here ? s_routes[row].route : elsewhere (prefix, s_routes[row].path));
                    if (here)
                        assert_int_equal (decide (s_routes[row].method, target).open, s_routes[row].open);
                }
}

static void another_method_is_refused_and_told_the_right_one (void **state)
{
    (void) state;
    static const char *const methods[] = {"GET",     "HEAD",  "POST", "PUT",  "DELETE",
                                          "OPTIONS", "PATCH", "get",  "GETX", ""};
    static const char *const prefixes[] = {"", "/v1", "/v2"};
    for (size_t row = 0; row < sizeof s_routes / sizeof *s_routes; row++)
        for (size_t method = 0; method < sizeof methods / sizeof *methods; method++)
            for (size_t prefix = 0; prefix < 3; prefix++)
            {
                bool here = prefix == 0 ? s_routes[row].bare : prefix == 1 ? s_routes[row].v1 : s_routes[row].v2;
                if (!here || strcmp (methods[method], s_routes[row].method) == 0)
                    continue;
                char target[100];
                snprintf (target, sizeof target, "%s%s", prefixes[prefix], s_routes[row].path);
                struct route_decision decision = decide (methods[method], target);
                if (decision.route != ROUTE_METHOD_NOT_ALLOWED || strcmp (decision.allow, s_routes[row].method) != 0)
                    fail_msg ("%s %s: route %d, Allow: %s", methods[method], target, (int) decision.route,
                              decision.allow ? decision.allow : "none");
                assert_true (decision.open); /* before authentication (4.3) */
            }
}

static void the_edge_key (void **state)
{
    (void) state;
    expect ("GET", "/key", ROUTE_KEY);
    expect ("POST", "/key", ROUTE_KEY);
    expect ("GET", "/v1.41/key", ROUTE_KEY);
    assert_false (decide ("GET", "/key").open);
    assert_string_equal (decide ("DELETE", "/key").allow, "GET, POST");
    expect ("DELETE", "/key", ROUTE_METHOD_NOT_ALLOWED);
    expect ("GET", "/keys", ROUTE_NOT_FOUND);
    expect ("GET", "/key/x", ROUTE_NOT_FOUND);
    expect ("GET", "/v1/key", ROUTE_DOCKER); /* it exists bare only */
    expect ("GET", "/v2/key", ROUTE_DOCKER);
}

/* The agent's names are plain prefixes, not segments: what begins with one and is no route is a 404 and never the
 * engine's, and it is said before authentication. */
static void names_are_exact_and_prefixes_are_the_agents (void **state)
{
    (void) state;
    static const char *const not_found[] = {
        "/pingx",           "/ping/",      "/ping/x",        "/agents/",       "/agentsx",
        "/hostx",           "/host",       "/host/",         "/host/infox",    "/host/info/",
        "/browse",          "/browse/",    "/browse/x",      "/browse/lsx",    "/browse/ls/",
        "/browse/vol/ls",   "/browse//ls", "/websocket",     "/websocket/pod", "/websocketx",
        "/websocket/exec/", "/kubernetes", "/kubernetesx/y", "/v1.41/hostx",   "/v1.30/agents/x",
    };
    static const char *const methods[] = {"GET", "POST", "X"};
    for (size_t row = 0; row < sizeof not_found / sizeof *not_found; row++)
        for (size_t method = 0; method < 3; method++)
        {
            expect (methods[method], not_found[row], ROUTE_NOT_FOUND);
            assert_true (decide (methods[method], not_found[row]).open);
        }
}

static void everything_else_is_the_engines (void **state)
{
    (void) state;
    static const char *const docker[] = {
        "/",
        "/_ping",
        "/containers/json",
        "/info",
        "/version",
        "/v1.41/containers/json",
        "/v2/",
        "/v1",
        "/v2/containers/json",
        "/v1/ping",
        "/v3/agents",
        "/v1.41/v1/ping",
        "/v1x/ping",
        "/v2/pingx",
        "/v1/hostx",
        "/v2/browse/vol/ls",
        "/v1/browse/ls",
        "/v1/browse/a/b/ls",
        "/v1/browse//ls",
        "/v1/dockerhub",
        "/Ping",
        "/AGENTS",
        "/hos",
        "/pin",
        "/a/ping",
        "/images/ping",
        "/v1.41",
        "/v1.41/",
        "/_ping?x=/ping",
        "/v2/kubernetes/x",
        "/%70ing",
        "/x?/key",
    };
    for (size_t row = 0; row < sizeof docker / sizeof *docker; row++)
    {
        expect ("GET", docker[row], ROUTE_DOCKER);
        expect ("BREW", docker[row], ROUTE_DOCKER); /* any method */
        assert_false (decide ("GET", docker[row]).open);
    }
}

/* A leading version is told apart, and only a leading one; escapes and query stay (6.1, step 3). */
static void the_version_is_cut_off_once (void **state)
{
    (void) state;
    static const struct
    {
        const char *target, *unversioned;
        unsigned version;
    } rows[] = {
        {"/containers/json", "/containers/json", 0},
        {"/v1.41/containers/json?all=1", "/containers/json?all=1", 1041},
        {"/v1.41/containers/abc%2Fdef/json", "/containers/abc%2Fdef/json", 1041},
        {"/v1.24", "/", 1024},
        {"/v1.24/", "/", 1024},
        {"/v1.24?x=1", "/", 1024}, /* a target begins with a slash */
        {"/v1.41/v1.40/info", "/v1.40/info", 1041},
        {"/images/reg.io/v1.2/foo/json", "/images/reg.io/v1.2/foo/json", 0},
        {"/v1.41/v2/ping", "/v2/ping", 1041},
        {"/v2/containers/json", "/v2/containers/json", 0},
        {"/v1/agents", "/v1/agents", 0},
        {"/v10.1/info", "/v10.1/info", 0}, /* one digit before the dot */
        {"/v1./info", "/v1./info", 0},
        {"/v1.4x/info", "/v1.4x/info", 0},
        {"/V1.41/info", "/V1.41/info", 0},
        {"/v9.999/info", "/info", 9999},
        {"/v1.1000/info", "/v1.1000/info", 0},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    {
        struct route_decision decision = decide ("GET", rows[row].target);
        assert_int_equal (decision.version, rows[row].version);
        if (!slice_equal (decision.unversioned, slice_from (rows[row].unversioned)))
            fail_msg ("%s gives %.*s", rows[row].target, (int) decision.unversioned.len, decision.unversioned.at);
    }
}

/* Attach, exec start and BuildKit's streams, by POST (6.3). */
static void what_may_become_raw (void **state)
{
    (void) state;
    static const char *const yes[] = {
        "/containers/abc/attach",
        "/containers/abc/attach?stream=1&stdin=1",
        "/v1.41/containers/abc/attach",
        "/exec/0a/start",
        "/v1.24/exec/0a/start",
        "/session",
        "/v1.41/grpc",
    };
    static const char *const no[] = {
        "/containers/abc/attach/ws",
        "/containers//attach",
        "/containers/a/b/attach",
        "/containers/abc/start",
        "/exec/0a/json",
        "/exec/start",
        "/sessions",
        "/session/x",
        "/grpc/",
        "/build",
        "/x/containers/a/attach",
        "/v2/exec/0a/start",
        "/images/create?x=/session",
        "/containers/attach",
    };
    for (size_t row = 0; row < sizeof yes / sizeof *yes; row++)
    {
        assert_true (route_is_hijackable (SLICE ("POST"), slice_from (yes[row])));
        assert_false (route_is_hijackable (SLICE ("GET"), slice_from (yes[row])));
    }
    for (size_t row = 0; row < sizeof no / sizeof *no; row++)
        if (route_is_hijackable (SLICE ("POST"), slice_from (no[row])))
            fail_msg ("%s", no[row]);
}

/* Only what has no end of its own may be ended while it runs: anything else would look complete. */
static void what_is_endless (void **state)
{
    (void) state;
    static const char *const yes[] = {
        "/events",
        "/v1.41/events?since=1&filters=%7B%7D",
        "/events?until=",
        "/containers/abc/stats",
        "/containers/abc/stats?stream=1",
        "/containers/abc/logs?follow=1&stdout=1",
        "/v1.30/containers/abc/logs?stdout=1&follow=true",
        "/services/s/logs?follow=True",
        "/tasks/t/logs?follow=1",
    };
    static const char *const no[] = {
        "/events?until=1600000000",
        "/eventsx",
        "/containers/abc/stats?stream=0",
        "/containers/abc/stats?stream=false",
        "/containers/abc/stats?one-shot=1&stream=FALSE",
        "/containers/abc/logs",
        "/containers/abc/logs?stdout=1",
        "/containers/abc/logs?follow=0",
        "/containers/abc/logs?follow=",
        "/containers/abc/logs?unfollow=1",
        "/containers/abc/wait",
        "/images/create?fromImage=a",
        "/build?follow=1",
        "/images/x/get",
        "/containers/abc/export",
    };
    for (size_t row = 0; row < sizeof yes / sizeof *yes; row++)
        if (!route_is_endless (slice_from (yes[row])))
            fail_msg ("has an end: %s", yes[row]);
    for (size_t row = 0; row < sizeof no / sizeof *no; row++)
        if (route_is_endless (slice_from (no[row])))
            fail_msg ("has no end: %s", no[row]);
}

/* Below /key there are no Portainer-Agent headers (3.2); it is a plain prefix like the others (6.1, step 1). */
static void what_is_below_key (void **state)
{
    (void) state;
    static const char *const yes[] = {"/key", "/key?x", "/key/x", "/keyx", "/v1.41/key"};
    static const char *const no[] = {"/", "/ke", "/KEY", "/v1/key", "/v2/key", "/a/key", "/_ping?/key", "/v1.41"};
    for (size_t row = 0; row < sizeof yes / sizeof *yes; row++)
        assert_true (route_is_key (slice_from (yes[row])));
    for (size_t row = 0; row < sizeof no / sizeof *no; row++)
        assert_false (route_is_key (slice_from (no[row])));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (every_route_under_every_prefix),
        cmocka_unit_test (another_method_is_refused_and_told_the_right_one),
        cmocka_unit_test (the_edge_key),
        cmocka_unit_test (names_are_exact_and_prefixes_are_the_agents),
        cmocka_unit_test (everything_else_is_the_engines),
        cmocka_unit_test (the_version_is_cut_off_once),
        cmocka_unit_test (what_may_become_raw),
        cmocka_unit_test (what_is_endless),
        cmocka_unit_test (what_is_below_key),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
