/* route.h - which part of the agent answers a request: the contract's tables (sections 5 and 6) as data.
 *
 * A decision looks at method and target only, before authentication, so that auth (may this pass unsigned?) and the
 * router (who answers?) cannot come to different views: both ask here.
 */
#pragma once

#include "messages/slice.h"

#include <stdbool.h>

enum route
{
    ROUTE_DOCKER, /* everything that is no agent route */
    ROUTE_PING,
    ROUTE_KEY,
    ROUTE_AGENTS,
    ROUTE_HOST_INFO,
    ROUTE_BROWSE,
    ROUTE_WEBSOCKET,
    ROUTE_DOCKERHUB,
    ROUTE_NOT_FOUND,         /* 404 */
    ROUTE_METHOD_NOT_ALLOWED /* 405 */
};

struct route_decision
{
    enum route route;
    bool open;                /* answered without a signature */
    const char *allow;        /* ROUTE_METHOD_NOT_ALLOWED: the method that is */
    unsigned version;         /* Docker version prefix, major * 1000 + minor, 0 when there is none */
    struct slice unversioned; /* the target without that prefix, beginning with `/`; a part of the target or static */
};

/* Where in a cluster a request belongs, by the tables of the contract alone (6.2). */
enum route_scope
{
    SCOPE_NODE,    /* the node that the target header names, else the receiver */
    SCOPE_MANAGER, /* any manager */
    SCOPE_CLUSTER, /* all nodes at once: a list */
};

/* target is without a version prefix; manager_operation is the header's value. Agent routes that a node serves for
 * itself (browsing, host information, consoles) are SCOPE_NODE too. */
enum route_scope route_scope (struct slice method, struct slice target, struct slice manager_operation);

/* Decides about a request; target is origin-form and clean. */
struct route_decision route_decide (struct slice method, struct slice target);

/* Whether the answer to such a Docker request may turn the connection into raw bytes, also without an Upgrade header:
 * attach, exec start, and BuildKit's /session and /grpc. */
bool route_is_hijackable (struct slice method, struct slice target);

/* Whether the answer has no end of its own: events, followed logs, stats. Only such a stream may be ended in order
 * while it is running; any other would look complete when it is not. */
bool route_is_endless (struct slice target);

/* Whether the path begins with /key: no Portainer-Agent headers there (contract 3.2). */
bool route_is_key (struct slice target);
