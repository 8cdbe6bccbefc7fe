/* peers.c - the actor in front of the other agents of the cluster (contract 6.4).
 *
 * Owns     a pool of TLS connections to each of them
 * In       member, from membership; engine, from docker: the own node; inspect;
 *          request, from the router (any client) and gather; body, end, credit, abort from whoever asked
 * Out      response, body, end, credit, abort to whoever asked
 * Limits   connections (503); IDLE_CONNECTIONS_MAX kept for each agent; MEMBERS_MAX agents; payload in flight (503)
 * Timers   one, while requests are under way: does the other node still acknowledge?
 *
 * A request names the id of a member, or PEERS_MANAGER: then the managers are tried in turn, the next one only when
 * nothing of the request was sent or its method is safe. The other agent's TLS key must be the one that membership
 * announced. A request carries Shoal-Hop, so that whoever receives it serves it or refuses it, but never forwards it.
 *
 * A dead verdict of membership refuses new requests. It does not end living streams: those end when TCP agrees, because
 * a wait, a build or a pull may say nothing for minutes.
 */
#include "peers.h"

#include "ensure.h"
#include "http/agent_fields.h"
#include "http/route.h"
#include "http/trace.h"
#include "log.h"
#include "members.h"
#include "placement.h"
#include "upstream.h"

#include <stdio.h>
#include <stdlib.h>

enum
{
    CONNECT_TIME = 1000,      /* ms until a connection must be usable */
    AGAIN_TIME = 1500,        /* ms from the first attempt in which the same node is dialled once more */
    IDLE_CONNECTIONS_MAX = 8, /* kept open for the next request, for each agent */
    SILENCE_WATCH_TIME = 100, /* ms between two looks at what is not acknowledged */
    SILENCE_TIME = 2000,      /* ms without an acknowledgement after which a node counts as gone, */
    SILENCE_TIME_LIST = 800,  /* for a branch of a list, */
    SILENCE_TIME_DEAD = 1500, /* and when membership says that it is dead; more than KEEPALIVE_IDLE, see transport */
    FIELDS_ROOM = 1024,       /* bytes of the fields that are added to a head */
};

/* Another agent. It outlives its membership for as long as it carries streams. */
struct peer
{
    struct peer *next;
    struct upstream upstream;
    char id[65], node[257];
    bool member, manager, suspected;
};

struct peers
{
    struct actor *actor;
    const struct configuration *configuration;
    struct upstream_owner owner;
    struct tls_endpoint *tls;
    struct peer *list;
    size_t count;
    char own_id[65];
    struct header kept[MESSAGE_HEADERS_MAX]; /* of a request that is asked again */
    struct timer silence;
    struct
    {
        uint64_t silent, refused, elsewhere;
    } counters;
};

/* -------------------------------------------------------------------------------------------------------------- heads
 */

static bool is_rewritten (struct slice name)
{
    return slice_equal_nocase (name, FIELD_HOP) || slice_equal_nocase (name, FIELD_TARGET) ||
           slice_equal_nocase (name, SLICE ("traceparent")) || slice_equal_nocase (name, SLICE ("X-Forwarded-For"));
}

/* The client's address without its port. */
static struct slice host_of (struct slice source)
{
    size_t length = source.len;
    while (length && source.at[length - 1] != ':')
        length--;
    struct slice host = slice_of (source.at, length ? length - 1 : 0);
    if (host.len > 1 && host.at[0] == '[')
        host = slice_of (host.at + 1, host.len - 2);
    return host;
}

static void write_forwarded (struct http_writer *writer, const struct message_request *request)
{
    struct slice before = headers_find (request->headers, SLICE ("X-Forwarded-For"));
    struct slice host = host_of (request->source);
    char value[FIELDS_ROOM / 2];
    if (before.len > sizeof value / 2)
        before.len = 0; /* nobody needs a list of that many hops */
    snprintf (value, sizeof value, "%.*s%s%.*s", (int) before.len, before.at, before.len && host.len ? ", " : "",
              (int) host.len, host.at);
    if (value[0])
        http_write_field (writer, SLICE ("X-Forwarded-For"), slice_from (value));
}

static void write_trace (struct upstream_connection *connection, struct http_writer *writer)
{
    char value[64], hex[2 * TRACE_BYTES];
    trace_to_hex (connection->subject.trace, hex);
    unsigned long long span = actor_random (connection->upstream->owner->actor) | 1; /* all zero is not valid */
    snprintf (value, sizeof value, "00-%.*s-%016llx-01", (int) sizeof hex, hex, span);
    http_write_field (writer, SLICE ("traceparent"), slice_from (value));
}

static void write_fields (struct upstream_connection *connection, struct http_writer *writer,
                          const struct message_request *request)
{
    struct peer *peer = OWNER (connection->upstream, struct peer, upstream);
    struct peers *peers = OWNER (connection->upstream->owner, struct peers, owner);
    char host[80];
    bool six = strchr (peer->upstream.address, ':') != NULL;
    snprintf (host, sizeof host, "%s%s%s:%u", six ? "[" : "", peer->upstream.address, six ? "]" : "",
              peer->upstream.port);
    /* A console compares Origin with the Host that the browser sent. */
    bool browser = slice_equal_nocase (request->upgrade, SLICE ("websocket")) && request->authority.len;
    http_write_field (writer, SLICE ("Host"), browser ? request->authority : slice_from (host));
    for (size_t index = 0; index < request->headers.count; index++)
        if (!is_rewritten (request->headers.at[index].name))
            http_write_field (writer, request->headers.at[index].name, request->headers.at[index].value);
    http_write_field (writer, FIELD_TARGET, slice_from (peer->node));
    http_write_field (writer, FIELD_HOP, slice_from (peers->own_id));
    write_forwarded (writer, request);
    write_trace (connection, writer);
}

/* ------------------------------------------------------------------------------------------------------------ choosing
 */

static struct peer *find (const struct peers *peers, struct slice id)
{
    for (struct peer *peer = peers->list; peer; peer = peer->next)
        if (slice_equal (slice_from (peer->id), id))
            return peer;
    return NULL;
}

static bool was_tried (const struct upstream_attempts *attempts, const struct peer *peer)
{
    for (unsigned index = 0; attempts && index < attempts->count; index++)
        if (attempts->servers[index] == &peer->upstream)
            return true;
    return false;
}

/* How good a manager is to be asked: one that answers lately, and to which a connection stands. */
static int merit (const struct peer *peer)
{
    return 2 * !peer->suspected + (peer->upstream.idle != NULL);
}

static struct peer *next_manager (const struct peers *peers, const struct upstream_attempts *attempts)
{
    struct peer *best = NULL;
    for (struct peer *peer = peers->list; peer; peer = peer->next)
        if (peer->member && peer->manager && !was_tried (attempts, peer) && (!best || merit (peer) > merit (best)))
            best = peer;
    return best;
}

/* ------------------------------------------------------------------------------------------------------------- silence
 */

static bool is_silent (struct peers *peers, const struct peer *peer, const struct upstream_connection *connection)
{
    uint64_t silence = transport_silence (connection), age = actor_now (peers->actor) - connection->begun;
    uint64_t limit = connection->client == ACTOR_gather ? SILENCE_TIME_LIST
                     : peer->member                     ? SILENCE_TIME
                                                        : SILENCE_TIME_DEAD;
    return silence >= limit && age >= limit;
}

static void end_silent (struct peers *peers, struct peer *peer)
{
    struct upstream_connection *next;
    for (struct upstream_connection *connection = peer->upstream.busy; connection; connection = next)
    {
        next = connection->next;
        if (!is_silent (peers, peer, connection))
            continue;
        char why[UPSTREAM_TEXT];
        snprintf (why, sizeof why, "%.300s does not answer: its node may be down, or cut off", peer->upstream.name);
        peers->counters.silent++;
        upstream_fail (connection, 502, why);
        next = peer->upstream.busy; /* asking elsewhere may have changed the list */
        for (; next && !is_silent (peers, peer, next); next = next->next)
            continue;
    }
}

static void forget (struct peers *peers, struct peer **place)
{
    struct peer *peer = *place;
    *place = peer->next;
    peers->count--;
    upstream_close_idle (&peer->upstream);
    free (peer);
}

static void watch_silence (struct timer *timer)
{
    struct peers *peers = OWNER (timer, struct peers, silence);
    bool busy = false;
    for (struct peer **place = &peers->list; *place;)
    {
        struct peer *peer = *place;
        end_silent (peers, peer);
        busy = busy || peer->upstream.busy;
        if (!peer->member && !peer->upstream.busy)
            forget (peers, place);
        else
            place = &peer->next;
    }
    if (busy)
        timer_set (peers->actor, timer, SILENCE_WATCH_TIME, watch_silence);
}

static void begin_watch (struct peers *peers)
{
    if (!peers->silence.place)
        timer_set (peers->actor, &peers->silence, SILENCE_WATCH_TIME, watch_silence);
}

/* ------------------------------------------------------------------------------------------------------------ requests
 */

static const char s_no_agent[] = "The agent was unable to contact any other agent";
static const char s_no_manager[] = "The agent was unable to contact any other agent located on a manager node";

/* Idle connections to other agents shall not keep a request from this one. */
static void make_room (struct peers *peers, const struct peer *wanted)
{
    if (wanted->upstream.idle)
        return;
    for (struct peer *peer = peers->list; peer && peers->owner.count >= *peers->owner.connections_most;)
        if (peer->upstream.idle)
            upstream_close (peer->upstream.idle);
        else
            peer = peer->next;
}

static bool wants_manager (const struct message_request *request)
{
    return slice_equal (request->node, SLICE (PEERS_MANAGER));
}

static bool is_console (const struct message_request *request)
{
    return route_decide (request->method, request->target).route == ROUTE_WEBSOCKET;
}

static void on_request (struct peers *peers, struct message *message)
{
    const struct message_request *request = &message->fields.request;
    bool manager = wants_manager (request);
    struct peer *peer = manager ? next_manager (peers, NULL) : find (peers, request->node);
    struct upstream_call call = {.request = request,
                                 .subject = message_subject (message),
                                 .frame = message->body,
                                 .unavailable = manager ? s_no_manager : s_no_agent};
    if (!peer || !peer->member)
    {
        peers->counters.refused++;
        if (is_console (request))
            answer_unavailable (peers->actor, (enum actor_id) request->client, &call.subject);
        else
            answer_error (
                peers->actor, (enum actor_id) request->client, &call.subject, manager ? 500 : 502, call.unavailable,
                manager ? "Unable to find an agent on any manager node" : "The node has just left the cluster");
        return;
    }
    begin_watch (peers);
    make_room (peers, peer);
    upstream_begin (&peer->upstream, &call);
}

/* Notes that a server failed. Returns false when no further one may be tried. */
static bool add_attempt (struct upstream_connection *connection)
{
    struct upstream_attempts *attempts = connection->attempts;
    if (!attempts)
    {
        attempts = connection->attempts = must (calloc (1, sizeof *attempts));
        attempts->begun = connection->begun;
    }
    if (attempts->count == ATTEMPTS_MOST)
        return false;
    attempts->servers[attempts->count++] = connection->upstream;
    return true;
}

/* After the next server was chosen: the reason joins those of the servers before. */
static void add_reason (struct upstream_attempts *attempts, const char *why)
{
    size_t length = strlen (attempts->text);
    snprintf (attempts->text + length, sizeof attempts->text - length, "%s%s", length ? "; " : "", why);
}

/* Whether the same node is worth another connection: the packets that open one may have been lost. */
static bool may_dial_again (const struct peers *peers, const struct upstream_connection *connection)
{
    uint64_t now = actor_now (peers->actor);
    return connection->state == UPSTREAM_CONNECTING && now - connection->begun >= CONNECT_TIME &&
           now - connection->attempts->begun < AGAIN_TIME;
}

/* The request from its frame; its headers are valid until the next is looked at. */
static struct message_request kept_request (struct upstream_connection *connection)
{
    struct peers *peers = OWNER (connection->upstream->owner, struct peers, owner);
    struct slice bytes = slice_of (zmq_msg_data (&connection->request), zmq_msg_size (&connection->request));
    union message_fields fields;
    struct message_error error;
    ensure (message_decode (MESSAGE_request, bytes, &fields, peers->kept, &error) == 0);
    return fields.request;
}

/* A console whose agent cannot be reached is refused in plain text (contract 5.6). */
static bool refuse_console (struct upstream_connection *connection)
{
    struct message_request request = kept_request (connection);
    if (!is_console (&request))
        return false;
    answer_unavailable (connection->upstream->owner->actor, connection->client, &connection->subject);
    return true;
}

static bool ask_elsewhere (struct upstream_connection *connection, const char *why)
{
    struct peers *peers = OWNER (connection->upstream->owner, struct peers, owner);
    struct peer *peer = OWNER (connection->upstream, struct peer, upstream), *next;
    struct message_request request = kept_request (connection);
    if (!add_attempt (connection))
        return false;
    if (wants_manager (&request))
        next = next_manager (peers, connection->attempts);
    else
        next = peer->member && may_dial_again (peers, connection) ? peer : NULL;
    if (!next)
        return false;
    if (next != peer)
        add_reason (connection->attempts, why);
    log_info ("peers", "%s: asking %s", why, next->upstream.name);
    peers->counters.elsewhere++;
    /* The stream and the frame move to the next connection. */
    zmq_msg_t frame;
    zmq_msg_init (&frame);
    zmq_msg_move (&frame, &connection->request);
    struct upstream_call call = {.request = &request,
                                 .subject = connection->subject,
                                 .frame = &frame,
                                 .attempts = connection->attempts,
                                 .unavailable = connection->unavailable};
    stream_table_remove (&peers->owner.streams, connection->subject.stream);
    connection->subject.stream = 0;
    connection->attempts = NULL;
    begin_watch (peers);
    make_room (peers, next);
    upstream_begin (&next->upstream, &call);
    zmq_msg_close (&frame);
    return true;
}

/* An agent refused what it was asked for because it is no manager any more: it did nothing, so another one may be
 * asked. */
static void on_answered (struct upstream_connection *connection, const struct http_head *head)
{
    if (head->status != 502 || !connection->kept || connection->request_framing != FRAMING_NONE ||
        headers_find (head->headers, FIELD_STALE).len == 0)
        return;
    char why[UPSTREAM_TEXT];
    snprintf (why, sizeof why, "%.300s is no manager any more", connection->upstream->name);
    if (ask_elsewhere (connection, why))
        upstream_close (connection);
}

static const struct upstream_kind s_agents = {
    .subject = "peers",
    .too_many = "Too many requests to other agents at once",
    .too_many_hint = "the agent's limit is reached; see --peer-connections",
    .connect_time = CONNECT_TIME,
    .write_fields = write_fields,
    .fields_room = FIELDS_ROOM,
    .elsewhere = ask_elsewhere,
    .refused = refuse_console,
    .answered = on_answered,
    .keeps_requests = true,
};

/* ------------------------------------------------------------------------------------------------------------- members
 */

static void copy (char *out, size_t size, struct slice text)
{
    snprintf (out, size, "%.*s", (int) text.len, text.len ? text.at : "");
}

static struct peer *add (struct peers *peers, struct slice id)
{
    if (peers->count >= MEMBERS_MAX)
        return NULL;
    struct peer *peer = must (calloc (1, sizeof *peer));
    copy (peer->id, sizeof peer->id, id);
    peer->upstream.owner = &peers->owner;
    peer->upstream.tls = peers->tls;
    peer->next = peers->list;
    peers->list = peer;
    peers->count++;
    return peer;
}

static void change (struct peer *peer, const struct message_member *news)
{
    struct upstream *upstream = &peer->upstream;
    bool moved = upstream->port != news->port || !slice_equal (slice_from (upstream->address), news->address) ||
                 !slice_equal (slice_from (upstream->tls_key), news->tls_key);
    if (moved)
        upstream_close_idle (upstream);
    copy (upstream->address, sizeof upstream->address, news->address);
    copy (upstream->tls_key, sizeof upstream->tls_key, news->tls_key);
    upstream->port = (uint16_t) news->port;
    copy (peer->node, sizeof peer->node, news->name);
    peer->member = true;
    peer->manager = news->manager;
    peer->suspected = news->suspected;
    bool six = strchr (upstream->address, ':') != NULL;
    snprintf (upstream->name, sizeof upstream->name, "the agent of node %s (%s%s%s:%u)", peer->node, six ? "[" : "",
              upstream->address, six ? "]" : "", upstream->port);
}

static void on_member (struct peers *peers, const struct message_member *news)
{
    struct peer *peer = find (peers, news->id);
    if (news->own)
        return;
    if (news->usable && (peer || (peer = add (peers, news->id))))
        change (peer, news);
    else if (peer)
    {
        peer->member = false;
        upstream_close_idle (&peer->upstream);
        begin_watch (peers); /* which frees it, once its last stream has ended */
    }
}

/* ------------------------------------------------------------------------------------------------------------- status
 */

static json_t *peer_state (const struct peer *peer)
{
    size_t busy = 0;
    for (const struct upstream_connection *connection = peer->upstream.busy; connection; connection = connection->next)
        busy++;
    return json_pack ("{ss ss sb sb sI sI}", "node", peer->node, "address", peer->upstream.address, "member",
                      peer->member, "manager", peer->manager, "busy", (json_int_t) busy, "idle",
                      (json_int_t) peer->upstream.idle_count);
}

static void on_inspect (struct peers *peers, struct message *message)
{
    json_t *list = json_object ();
    for (const struct peer *peer = peers->list; peer; peer = peer->next)
        json_object_set_new (list, peer->id, peer_state (peer));
    json_t *state = json_pack (
        "{so sI sI sI sI sI sI sI sI sI sI sI}", "agents", list, "connections", (json_int_t) peers->owner.count,
        "streams", (json_int_t) peers->owner.streams.count, "requests", (json_int_t) peers->owner.counters.requests,
        "connects", (json_int_t) peers->owner.counters.connects, "reused", (json_int_t) peers->owner.counters.reused,
        "retried", (json_int_t) peers->owner.counters.retried, "elsewhere", (json_int_t) peers->counters.elsewhere,
        "failed", (json_int_t) peers->owner.counters.failed, "aborted", (json_int_t) peers->owner.counters.aborted,
        "silent", (json_int_t) peers->counters.silent, "refused", (json_int_t) peers->counters.refused);
    if (state)
        json_object_set_new (state, "last_failure", json_string (peers->owner.last_failure));
    actor_report (peers->actor, message->envelope.from, state);
}

static void on_message (void *self, struct message *message)
{
    struct peers *peers = self;
    switch (message->envelope.type)
    {
    case MESSAGE_request:
        on_request (peers, message);
        break;
    case MESSAGE_member:
        on_member (peers, &message->fields.member);
        break;
    case MESSAGE_engine:
        if (message->fields.engine.node.len)
            copy (peers->own_id, sizeof peers->own_id, message->fields.engine.node);
        break;
    case MESSAGE_inspect:
        on_inspect (peers, message);
        break;
    default:
        upstream_on_message (&peers->owner, message);
    }
}

static void stop (void **self_p)
{
    struct peers *peers = *self_p;
    timer_clear (&peers->silence);
    while (peers->list)
    {
        upstream_close_all (&peers->list->upstream);
        forget (peers, &peers->list);
    }
    upstream_owner_free (&peers->owner);
    tls_endpoint_destroy (&peers->tls);
    free (peers);
    *self_p = NULL;
}

static void *start (struct actor *actor, const void *configuration)
{
    struct peers *peers = must (calloc (1, sizeof *peers));
    void *self = peers;
    peers->actor = actor;
    peers->configuration = configuration;
    upstream_owner_init (&peers->owner, actor, configuration, &s_agents);
    peers->owner.connections_most = &peers->configuration->peer_connections;
    peers->owner.idle_most = IDLE_CONNECTIONS_MAX;
    peers->tls = tls_client_new ();
    if (!peers->tls)
        stop (&self);
    return self;
}

const struct actor_class peers_class = {.id = ACTOR_peers, .start = start, .message = on_message, .stop = stop};
