/* cluster_gate.c - see cluster_gate.h.
 *
 * A ZAP question comes when a client has proved that it has the secret half of its key. One that does not even know the
 * server's key fails earlier: libzmq tells of it by events, which do not name the client. But the event before says
 * which descriptor was accepted, and the one after which was closed.
 */
#include "cluster_gate.h"

#include "complaints.h"
#include "ensure.h"
#include "log.h"
#include "socket_watch.h"

#include <netdb.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/socket.h>

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define ZAP_DOMAIN   "shoal"

enum
{
    ZAP_FRAMES = 7,           /* version, request id, domain, address, identity, mechanism, key */
    ACCEPTED_MAX = 256,       /* connections whose address is remembered until they end; others have none in the log */
    STRANGER_PATIENCE = 10000 /* ms; a name server is told of a new agent a little later than the agent itself */
};

struct accepted
{
    int fd; /* of libzmq's, to compare only; -1: free */
    char address[64];
};

struct gate
{
    struct actor *actor;
    void *context;
    const struct gate_rules *rules;
    void *router, *zap, *monitor;
    struct socket_watch zap_watch, monitor_watch;
    struct accepted accepted[ACCEPTED_MAX];
    bool failed; /* the next connection that ends failed its handshake */
    struct complaints strangers, wrong;
    struct gate_counters counters;
};

const char *plain_address (const char *address)
{
    return strncmp (address, "::ffff:", 7) == 0 && strchr (address, '.') ? address + 7 : address;
}

/* --------------------------------------------------------------------------------------------------------------- ZAP
 */

static void copy_frame (char *text, size_t size, zmq_msg_t *frame)
{
    snprintf (text, size, "%.*s", (int) zmq_msg_size (frame), (const char *) zmq_msg_data (frame));
}

static bool is_admitted (struct gate *gate, zmq_msg_t *address_frame, zmq_msg_t *key)
{
    char text[64];
    copy_frame (text, sizeof text, address_frame);
    const char *address = plain_address (text);
    uint64_t now = actor_now (gate->actor);
    if (zmq_msg_size (key) != CLUSTER_KEY_BYTES ||
        CRYPTO_memcmp (zmq_msg_data (key), gate->rules->keys->client_public, CLUSTER_KEY_BYTES) != 0)
    {
        gate->counters.wrong_keys++;
        if (complaint_due (&gate->wrong, address, now, 0))
            log_warn ("membership", "refused an agent at %s: it knows who we are, but its own key is not the cluster's",
                      address);
        return false;
    }
    if (!gate->rules->open || gate->rules->expected (gate->rules->context, address))
        return true;
    gate->counters.wrong_hosts++;
    if (complaint_due (&gate->strangers, address, now, STRANGER_PATIENCE))
        log_warn ("membership",
                  "refused an agent at %s: without AGENT_SECRET only addresses that AGENT_CLUSTER_ADDR resolves to may "
                  "join, and this is none of them",
                  address);
    return false;
}

static bool take_question (struct socket_watch *watch)
{
    struct gate *gate = OWNER (watch, struct gate, zap_watch);
    zmq_msg_t frames[ZAP_FRAMES];
    int count = 0, more = 1;
    while (more)
    {
        zmq_msg_t frame;
        zmq_msg_init (&frame);
        if (zmq_msg_recv (&frame, gate->zap, ZMQ_DONTWAIT) < 0)
            break;
        more = zmq_msg_more (&frame);
        if (count < ZAP_FRAMES)
        {
            zmq_msg_init (&frames[count]);
            zmq_msg_move (&frames[count++], &frame);
        }
        zmq_msg_close (&frame);
    }
    if (count == 0)
        return false;
    bool admitted = count == ZAP_FRAMES && is_admitted (gate, &frames[3], &frames[6]);
    zmq_send (gate->zap, "1.0", 3, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    zmq_send (gate->zap, count > 1 ? zmq_msg_data (&frames[1]) : "", count > 1 ? zmq_msg_size (&frames[1]) : 0,
              ZMQ_DONTWAIT | ZMQ_SNDMORE);
    zmq_send (gate->zap, admitted ? "200" : "400", 3, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    zmq_send (gate->zap, "", 0, ZMQ_DONTWAIT | ZMQ_SNDMORE); /* words, which libzmq does not pass on */
    zmq_send (gate->zap, "", 0, ZMQ_DONTWAIT | ZMQ_SNDMORE); /* a user's name */
    zmq_send (gate->zap, "", 0, ZMQ_DONTWAIT);               /* properties */
    for (int index = 0; index < count; index++)
        zmq_msg_close (&frames[index]);
    return true;
}

/* ------------------------------------------------------------------------------------------------------------- events
 */

static struct accepted *find (struct gate *gate, int fd)
{
    for (size_t index = 0; index < ACCEPTED_MAX; index++)
        if (gate->accepted[index].fd == fd)
            return &gate->accepted[index];
    return NULL;
}

/* The connection may be gone by now, and with it the address; who tries again is seen sooner or later. */
static void remember (struct gate *gate, int fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    struct accepted *accepted = find (gate, fd);
    if (!accepted && !(accepted = find (gate, -1)))
        return;
    accepted->fd = fd;
    accepted->address[0] = '\0';
    if (getpeername (fd, (struct sockaddr *) &address, &size) == 0)
        getnameinfo ((struct sockaddr *) &address, size, accepted->address, sizeof accepted->address, NULL, 0,
                     NI_NUMERICHOST);
}

static void on_end (struct gate *gate, int fd)
{
    struct accepted *accepted = find (gate, fd);
    bool known = accepted && accepted->address[0];
    const char *address = known ? plain_address (accepted->address) : "an unknown address";
    if (gate->failed)
    {
        gate->counters.wrong_keys++;
        if (complaint_due (&gate->wrong, address, actor_now (gate->actor), known ? 0 : STRANGER_PATIENCE))
            log_warn (
                "membership",
                "refused a connection from %s: it does not have our keys. If it is an agent of this cluster, give "
                "it the same AGENT_SECRET as this one (or both none) and restart it",
                address);
    }
    gate->failed = false;
    if (accepted)
        accepted->fd = -1;
}

static bool take_event (struct socket_watch *watch)
{
    struct gate *gate = OWNER (watch, struct gate, monitor_watch);
    uint32_t value;
    switch (socket_monitor_take (gate->monitor, &value))
    {
    case 0:
        return false;
    case ZMQ_EVENT_ACCEPTED:
        gate->counters.accepted++;
        remember (gate, (int) value);
        socket_repeat_steadily ((int) value); /* our part of the handshake */
        break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        gate->counters.admitted++;
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        gate->failed = true;
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL: /* it went away, or said nothing until its time was over */
        gate->counters.unfinished++;
        break;
    case ZMQ_EVENT_DISCONNECTED:
        on_end (gate, (int) value);
        break;
    default:
        break;
    }
    return true;
}

/* ----------------------------------------------------------------------------------------------------- life and death
 */

struct gate *gate_new (struct actor *actor, void *context, const struct gate_rules *rules)
{
    struct gate *gate = must (calloc (1, sizeof *gate));
    int none = 0;
    gate->actor = actor;
    gate->context = context;
    gate->rules = rules;
    for (size_t index = 0; index < ACCEPTED_MAX; index++)
        gate->accepted[index].fd = -1;
    gate->zap = must (zmq_socket (context, ZMQ_REP));
    zmq_setsockopt (gate->zap, ZMQ_LINGER, &none, sizeof none);
    ensure (zmq_bind (gate->zap, ZAP_ENDPOINT) == 0);
    socket_watch_begin (actor, &gate->zap_watch, gate->zap, take_question);
    return gate;
}

void gate_guard (struct gate *gate, void *router)
{
    int on = 1;
    gate->router = router;
    ensure (zmq_setsockopt (router, ZMQ_CURVE_SERVER, &on, sizeof on) == 0);
    ensure (zmq_setsockopt (router, ZMQ_CURVE_SECRETKEY, gate->rules->keys->server_secret, CLUSTER_KEY_BYTES) == 0);
    ensure (zmq_setsockopt (router, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen (ZAP_DOMAIN)) == 0);
    gate->monitor =
        must (socket_monitor_new (gate->context, router, "gate",
                                  ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                                      ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL));
    socket_watch_begin (gate->actor, &gate->monitor_watch, gate->monitor, take_event);
}

void gate_destroy (struct gate **gate_p)
{
    struct gate *gate = *gate_p;
    if (!gate)
        return;
    socket_watch_end (&gate->monitor_watch);
    socket_watch_end (&gate->zap_watch);
    socket_monitor_destroy (gate->router, &gate->monitor);
    zmq_close (gate->zap);
    free (gate);
    *gate_p = NULL;
}

struct gate_counters gate_counters (const struct gate *gate)
{
    return gate->counters;
}
