/* cluster_transport.c - see cluster_transport.h.
 *
 * A link lives as long as its TCP connection and is never repaired: when it ends, the next packet makes a new one. What
 * was written and is not acknowledged for UNACKNOWLEDGED_TIME ends it (TCP_USER_TIMEOUT). So a link across a cable that
 * was cut is gone two seconds later and not when TCP's ever longer pauses are over, a cable that is whole again is used
 * by the first packet, and no heartbeat costs anything while all is well.
 *
 * A connection that has lost a segment stalls: nothing behind it arrives before TCP has repeated it, after 0.2 s and,
 * as it repeats at a constant pace here, every 0.2 s (TCP_THIN_LINEAR_TIMEOUTS: tcp(7) would wait ever longer). So a
 * peer to whom a link stalls, or is slow to be made, gets a second and a third one, and every packet goes over all of
 * them; whichever is not stalled brings it in time. Gossip does not mind to hear a thing twice. When no segment was
 * lost for CALM_TIME, one link stays.
 */
#include "cluster_transport.h"

#include "complaints.h"
#include "ensure.h"
#include "local_address.h"
#include "log.h"
#include "socket_watch.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

enum
{
    QUEUE_PACKETS = 64,         /* that wait for a link, and that wait for us; then they are dropped */
    CONNECT_TIME = 500,         /* ms */
    HANDSHAKE_TIME = 3000,      /* ms */
    UNACKNOWLEDGED_TIME = 2000, /* ms; room for some ten repeats */
    STALL_TIME = 60,            /* ms without an acknowledgement; a healthy peer delays it by 40 at most */
    SLOW_TIME = 250,            /* ms; a link takes longer only where packets are lost or nobody is */
    CALM_TIME = 10000,          /* ms */
    LINKS_A_PEER = 3,           /* at most, while packets are lost */
    LINGER_TIME = 300,          /* ms that a packet on its way may hold up the end: good-byes should arrive */
    KEEPALIVE_IDLE = 60,        /* s; finds the other end gone where nothing else would tell */
    KEEPALIVE_INTERVAL = 15,    /* s */
    KEEPALIVE_COUNT = 4,
    BACKLOG = 128,
    BROKEN_PATIENCE = 500,    /* ms that handshakes may fail before it is said */
    UNKNOWN_PATIENCE = 10000, /* ms that another agent may not expect us yet */
    CURVE_BYTES = 33,         /* added to a packet: its name, nonce, flags and authenticator (rfc.zeromq.org/spec/26) */
};

struct link
{
    struct transport *transport;
    struct link *next, *previous; /* the most recently used first */
    char address[64], name[80];   /* name: with the port, for people */
    uint16_t port;
    void *socket, *monitor;
    struct socket_watch watch;
    uint64_t made;    /* when */
    uint64_t stalled; /* when it was seen so; 0: never */
    uint32_t repeats; /* segments that TCP had repeated when we looked */
    int fd;           /* of libzmq's, to look at only; -1 until it is connected */
    bool usable;      /* the handshake is over */
};

struct transport
{
    struct actor *actor;
    struct transport_options options;
    struct transport_callbacks callbacks;
    void *callback_context;
    void *context, *router;
    struct socket_watch router_watch;
    struct gate_rules rules;
    struct gate *gate;
    struct link *links, *oldest;
    uint64_t link_number;
    struct complaints refusals;
    struct transport_counters counters;
};

static void set (void *socket, int option, int value)
{
    ensure (zmq_setsockopt (socket, option, &value, sizeof value) == 0);
}

/* -------------------------------------------------------------------------------------------------------------- links
 */

static void unhang (struct link *link)
{
    struct transport *transport = link->transport;
    *(link->previous ? &link->previous->next : &transport->links) = link->next;
    *(link->next ? &link->next->previous : &transport->oldest) = link->previous;
}

static void hang (struct link *link)
{
    struct transport *transport = link->transport;
    link->previous = NULL;
    link->next = transport->links;
    *(link->next ? &link->next->previous : &transport->oldest) = link;
    transport->links = link;
}

static void free_link (void *object)
{
    free (object);
}

/* What the link was given last may still leave, for LINGER_TIME. */
static void end_link (struct link *link)
{
    struct transport *transport = link->transport;
    unhang (link);
    transport->counters.links--;
    socket_watch_end (&link->watch);
    socket_monitor_destroy (link->socket, &link->monitor);
    zmq_close (link->socket);
    actor_defer (transport->actor, free_link, link);
}

static void complain (struct link *link, int event, uint32_t value)
{
    struct transport *transport = link->transport;
    bool unknown = event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH && transport->options.open;
    transport->counters.handshakes_failed++;
    /* The other may just have been stopped; or asked its name server before we were known there. */
    if (!complaint_due (&transport->refusals, link->name, actor_now (transport->actor),
                        unknown ? UNKNOWN_PATIENCE : BROKEN_PATIENCE))
        return;
    if (unknown)
        log_warn ("membership",
                  "the agent at %s does not let us join: our address is none of those that its AGENT_CLUSTER_ADDR "
                  "resolves to. Set AGENT_SECRET on all agents, or AGENT_CLUSTER_ADDR to a name of all",
                  link->name);
    else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL && (int) value == EAGAIN)
        log_warn ("membership", "what listens at %s does not answer as an agent does: is it one?", link->name);
    else
        log_warn (
            "membership",
            "the agent at %s does not accept our keys: give both the same AGENT_SECRET (or both none) and restart "
            "them",
            link->name);
}

static bool take_event (struct socket_watch *watch)
{
    struct link *link = OWNER (watch, struct link, watch);
    struct transport *transport = link->transport;
    uint32_t value;
    int event = socket_monitor_take (link->monitor, &value);
    switch (event)
    {
    case 0:
        return false;
    case ZMQ_EVENT_CONNECTED:
        link->fd = (int) value;
        socket_repeat_steadily (link->fd);
        break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        link->usable = true;
        complaint_over (&transport->refusals, link->name);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        complain (link, event, value);
        break;
    case ZMQ_EVENT_CLOSED:
    case ZMQ_EVENT_DISCONNECTED:
        transport->counters.connects_failed += link->fd < 0;
        end_link (link);
        break;
    default:
        break;
    }
    return true;
}

/* With the address that it leaves from, so that the other sees it come from ours. */
static void describe_endpoint (char *out, size_t size, const struct transport *transport, const struct link *link)
{
    const char *own = transport->options.address;
    bool six = strchr (link->address, ':') != NULL;
    size_t used = 0;
    if (six == (strchr (own, ':') != NULL) && address_is_local (own))
        used = (size_t) snprintf (out, size, six ? "tcp://[%s]:0;" : "tcp://%s:0;", own);
    snprintf (out + used, size - used, "%s%s", used ? "" : "tcp://", link->name);
}

static void *new_dealer (const struct transport *transport)
{
    const struct cluster_keys *keys = &transport->options.keys;
    void *socket = zmq_socket (transport->context, ZMQ_DEALER);
    if (!socket)
        return NULL; /* no descriptor is left */
    set (socket, ZMQ_RECONNECT_IVL, -1);
    set (socket, ZMQ_CONNECT_TIMEOUT, CONNECT_TIME);
    set (socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_TIME);
    set (socket, ZMQ_TCP_MAXRT, UNACKNOWLEDGED_TIME);
    set (socket, ZMQ_LINGER, LINGER_TIME);
    set (socket, ZMQ_SNDHWM, QUEUE_PACKETS);
    set (socket, ZMQ_RCVHWM, 1); /* nobody sends to it */
    set (socket, ZMQ_IPV6, 1);
    ensure (zmq_setsockopt (socket, ZMQ_CURVE_SERVERKEY, keys->server_public, CLUSTER_KEY_BYTES) == 0);
    ensure (zmq_setsockopt (socket, ZMQ_CURVE_PUBLICKEY, keys->client_public, CLUSTER_KEY_BYTES) == 0);
    ensure (zmq_setsockopt (socket, ZMQ_CURVE_SECRETKEY, keys->client_secret, CLUSTER_KEY_BYTES) == 0);
    return socket;
}

static struct link *new_link (struct transport *transport, const char *address, uint16_t port)
{
    char endpoint[180], name[32];
    struct link *link = must (calloc (1, sizeof *link));
    link->transport = transport;
    link->port = port;
    link->fd = -1;
    link->made = actor_now (transport->actor);
    snprintf (link->address, sizeof link->address, "%s", address);
    snprintf (link->name, sizeof link->name, strchr (address, ':') ? "[%s]:%u" : "%s:%u", address, port);
    link->socket = new_dealer (transport);
    snprintf (name, sizeof name, "link-%llu", (unsigned long long) transport->link_number++);
    if (link->socket)
        link->monitor = socket_monitor_new (transport->context, link->socket, name,
                                            ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED |
                                                ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                                                ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    if (!link->monitor)
    {
        log_debug ("membership", "cannot connect to %s: %s", link->name, zmq_strerror (zmq_errno ()));
        transport->counters.connects_failed++;
        if (link->socket)
            zmq_close (link->socket);
        free (link);
        return NULL;
    }
    socket_watch_begin (transport->actor, &link->watch, link->monitor, take_event);
    hang (link);
    transport->counters.links++;
    transport->counters.connects++;
    describe_endpoint (endpoint, sizeof endpoint, transport, link);
    if (zmq_connect (link->socket, endpoint) == 0)
        return link;
    log_debug ("membership", "cannot connect to %s: %s", link->name, zmq_strerror (zmq_errno ()));
    transport->counters.connects_failed++;
    end_link (link);
    return NULL;
}

/* Whether packets given to the link may be held up. The descriptor may just have been closed, or be another's: then the
 * answer is wrong once, and costs a link or a delay. */
static bool is_stalled (struct link *link, uint64_t now)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (!link->usable)
        return now - link->made > SLOW_TIME;
    if (getsockopt (link->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return false;
    bool repeated = info.tcpi_total_retrans != link->repeats;
    link->repeats = info.tcpi_total_retrans;
    return repeated || (info.tcpi_unacked > 0 && info.tcpi_last_data_sent > STALL_TIME);
}

static bool leads_to (const struct link *link, const char *address, uint16_t port)
{
    return link->port == port && strcmp (link->address, address) == 0;
}

static struct link *room_for_link (struct transport *transport, const char *address, uint16_t port)
{
    if (transport->counters.links == LINKS_MAX)
    {
        transport->counters.links_evicted++;
        end_link (transport->oldest);
    }
    return new_link (transport, address, port);
}

static bool give (struct link *link, struct slice bytes)
{
    return zmq_send (link->socket, bytes.at, bytes.len, ZMQ_DONTWAIT) >= 0;
}

/* What is known of the links to one address. */
struct way
{
    size_t links;
    bool stalled, calm; /* one is; none was for CALM_TIME */
    bool given;         /* one at least has taken the packet */
};

/* Gives the packet to all links to the address. */
static struct way give_all (struct transport *transport, const char *address, uint16_t port, struct slice bytes)
{
    uint64_t now = actor_now (transport->actor);
    struct way way = {.calm = true};
    for (struct link *link = transport->links, *next; link; link = next)
    {
        next = link->next;
        if (!leads_to (link, address, port))
            continue;
        if (is_stalled (link, now))
        {
            way.stalled = true;
            link->stalled = now;
        }
        way.calm = way.calm && now - (link->stalled ? link->stalled : link->made) > CALM_TIME;
        unhang (link);
        hang (link);
        way.links++;
        way.given |= give (link, bytes);
    }
    return way;
}

static void end_one (struct transport *transport, const char *address, uint16_t port)
{
    for (struct link *link = transport->links; link; link = link->next)
        if (leads_to (link, address, port))
        {
            end_link (link);
            return;
        }
}

/* A spare link pushes out nobody's only one. */
void transport_send (struct transport *transport, const char *address, uint16_t port, struct slice bytes)
{
    struct way way = give_all (transport, address, port, bytes);
    bool spare = way.stalled && way.links < LINKS_A_PEER && transport->counters.links < LINKS_MAX;
    if (way.links == 0 || spare)
    {
        struct link *link = room_for_link (transport, address, port);
        way.given |= link && give (link, bytes);
        transport->counters.spares += spare;
    }
    else if (way.links > 1 && way.calm)
        end_one (transport, address, port);
    if (!way.given)
    {
        transport->counters.dropped++;
        return;
    }
    transport->counters.packets_out++;
    transport->counters.bytes_out += bytes.len;
}

/* -------------------------------------------------------------------------------------------------------- what comes
 */

/* An identity that libzmq has put before it, then the packet. */
static bool take_packet (struct socket_watch *watch)
{
    struct transport *transport = OWNER (watch, struct transport, router_watch);
    zmq_msg_t frames[3];
    int count, received = frames_receive (transport->router, frames, &count);
    if (received == 0)
        return false;
    const char *address = count == 2 ? zmq_msg_gets (&frames[1], "Peer-Address") : NULL;
    /* A link may be older than the name server's last word. */
    if (address && (!transport->options.open ||
                    transport->callbacks.expected (transport->callback_context, plain_address (address))))
    {
        struct slice bytes = slice_of (zmq_msg_data (&frames[1]), zmq_msg_size (&frames[1]));
        transport->counters.packets_in++;
        transport->counters.bytes_in += bytes.len;
        transport->callbacks.packet (transport->callback_context, plain_address (address), bytes);
    }
    else
        transport->counters.malformed++;
    for (int index = 0; index < count; index++)
        zmq_msg_close (&frames[index]);
    return true;
}

static void *new_router (struct transport *transport)
{
    void *router = must (zmq_socket (transport->context, ZMQ_ROUTER));
    int64_t most = (int64_t) transport->options.packet_bytes_max + CURVE_BYTES;
    set (router, ZMQ_LINGER, 0);
    set (router, ZMQ_SNDHWM, 1); /* it never sends */
    set (router, ZMQ_RCVHWM, QUEUE_PACKETS);
    set (router, ZMQ_IPV6, 1);
    set (router, ZMQ_BACKLOG, BACKLOG);
    set (router, ZMQ_HANDSHAKE_IVL, HANDSHAKE_TIME);
    set (router, ZMQ_TCP_KEEPALIVE, 1);
    set (router, ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE);
    set (router, ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL);
    set (router, ZMQ_TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT);
    ensure (zmq_setsockopt (router, ZMQ_MAXMSGSIZE, &most, sizeof most) == 0);
    return router;
}

/* ----------------------------------------------------------------------------------------------------- life and death
 */

struct transport *transport_new (struct actor *actor, const struct transport_options *options,
                                 const struct transport_callbacks *callbacks, void *context)
{
    struct transport *transport = must (calloc (1, sizeof *transport));
    char endpoint[32];
    transport->actor = actor;
    transport->options = *options;
    transport->callbacks = *callbacks;
    transport->callback_context = context;
    transport->context = must (zmq_ctx_new ());
    zmq_ctx_set (transport->context, ZMQ_IO_THREADS, 1);
    transport->rules = (struct gate_rules){&transport->options.keys, options->open, callbacks->expected, context};
    transport->gate = gate_new (actor, transport->context, &transport->rules);
    transport->router = new_router (transport);
    gate_guard (transport->gate, transport->router);
    snprintf (endpoint, sizeof endpoint, "tcp://*:%u", options->port);
    if (zmq_bind (transport->router, endpoint) < 0)
    {
        int error = zmq_errno ();
        transport_destroy (&transport);
        errno = error;
        return NULL;
    }
    socket_watch_begin (actor, &transport->router_watch, transport->router, take_packet);
    return transport;
}

void transport_destroy (struct transport **transport_p)
{
    struct transport *transport = *transport_p;
    if (!transport)
        return;
    while (transport->links)
        end_link (transport->links);
    socket_watch_end (&transport->router_watch);
    gate_destroy (&transport->gate);
    zmq_close (transport->router);
    zmq_ctx_term (transport->context);
    cluster_keys_wipe (&transport->options.keys);
    free (transport);
    *transport_p = NULL;
}

struct transport_counters transport_counters (const struct transport *transport)
{
    struct transport_counters counters = transport->counters;
    counters.gate = gate_counters (transport->gate);
    return counters;
}
