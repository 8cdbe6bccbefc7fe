/* ingress.c - the actor at the clients' side: listens, speaks TLS and HTTP/1.1, turns requests into messages and
 * messages into answers.
 *
 * Owns     the listening socket, all clients' connections, the TLS key and certificate.
 * In       response, body, end, credit, abort: of a stream; from whoever answers it
 *          engine: the address to put into the certificate; listen: open or close the API; stop; inspect
 * Out      request to auth; body, end, credit, abort to the far end; stopped, report to control;
 *          identity to membership
 * Limits   connections (503), unfinished heads (503), payload in flight (503), head size and fields (431),
 *          times (408, close)
 * Timers   one per connection; accepting again after EMFILE; the certificate's age; the grace time of a stop
 */
#include "ingress.h"

#include "ensure.h"
#include "log.h"
#include "placement.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum
{
    BACKLOG = 4096,
    ACCEPTS_A_TURN = 64,
    ACCEPT_AGAIN_TIME = 100,         /* ms after EMFILE, unless a connection ends first */
    CROWD_CONNECTIONS = 256,         /* so many connections, */
    CROWD_PAYLOAD = 4 * 1024 * 1024, /* or so many bytes in flight, are a crowd: */
    GIVE_BACK_TIME = 2000,           /* ms; when it has gone, memory goes back to the system */
};

/* ---------------------------------------------------------------------------------------------------------- listening
 */

static void describe (const struct sockaddr_storage *address, char text[64])
{
    char host[INET6_ADDRSTRLEN] = "?", port[8] = "0";
    getnameinfo ((const struct sockaddr *) address, sizeof *address, host, sizeof host, port, sizeof port,
                 NI_NUMERICHOST | NI_NUMERICSERV);
    bool six = address->ss_family == AF_INET6 && strchr (host, ':');
    snprintf (text, 64, "%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port);
}

static void set_up_socket (int fd)
{
    int on = 1, idle = 60, interval = 15, count = 4; /* seconds, seconds, probes */
    setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt (fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt (fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt (fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

static void accept_again (struct timer *timer)
{
    struct ingress *ingress = OWNER (timer, struct ingress, accept_again);
    ingress->paused = false;
    watch_change (&ingress->listener, EPOLLIN);
}

static void pause_accepting (struct ingress *ingress, const char *why)
{
    if (!ingress->said_paused)
        log_warn ("ingress", "no further connections for now: %s", why);
    ingress->paused = ingress->said_paused = true;
    ingress->paused_at = ingress->connection_count;
    ingress->counters.paused++;
    watch_change (&ingress->listener, 0);
    timer_set (ingress->actor, &ingress->accept_again, ACCEPT_AGAIN_TIME, accept_again);
}

static void on_listener (struct watch *watch, uint32_t events)
{
    (void) events;
    struct ingress *ingress = OWNER (watch, struct ingress, listener);
    for (int accepted = 0; accepted < ACCEPTS_A_TURN; accepted++)
    {
        if (ingress->connection_count >= ingress->configuration->connections + SPARE_CONNECTIONS)
        {
            pause_accepting (ingress, "the limit of connections is reached (--connections)");
            return;
        }
        struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
        socklen_t length = sizeof address;
        int fd = accept4 (watch->fd, (struct sockaddr *) &address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
        {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_accepting (ingress, strerror (errno));
            return;
        }
        char source[64];
        describe (&address, source);
        set_up_socket (fd);
        ingress->counters.accepted++;
        ingress->said_paused = false;
        connection_new (ingress, fd, source);
    }
}

static int new_listener (const struct configuration *configuration)
{
    char port[8];
    snprintf (port, sizeof port, "%u", configuration->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *address = NULL;
    if (getaddrinfo (configuration->host, port, &hints, &address) != 0)
        return -1;
    int on = 1, off = 0, fd = socket (address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
    {
        setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (address->ai_family == AF_INET6) /* :: is for IPv4 clients too */
            setsockopt (fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (bind (fd, address->ai_addr, address->ai_addrlen) < 0 || listen (fd, BACKLOG) < 0)
        {
            int error = errno;
            close (fd);
            errno = error;
            fd = -1;
        }
    }
    freeaddrinfo (address);
    return fd;
}

static bool open_listener (struct ingress *ingress)
{
    const struct configuration *configuration = ingress->configuration;
    if (ingress->listening)
        return true;
    ingress->listener_fd = new_listener (configuration);
    if (ingress->listener_fd < 0)
    {
        log_error ("ingress", "cannot listen on %s port %u: %s", configuration->host, configuration->port,
                   strerror (errno));
        return false;
    }
    ensure (watch_set (ingress->actor, &ingress->listener, ingress->listener_fd, EPOLLIN, on_listener) == 0);
    ingress->listening = true;
    log_info ("ingress", "serving HTTPS on %s port %u, key sha256:%s", configuration->host, configuration->port,
              ingress->tls->key_hash);
    return true;
}

static void close_listener (struct ingress *ingress)
{
    if (!ingress->listening)
        return;
    timer_clear (&ingress->accept_again);
    watch_end (&ingress->listener);
    close (ingress->listener_fd);
    ingress->listening = ingress->paused = false;
}

/* ------------------------------------------------------------------------------------------------------- certificate
 */

static void certify_again (struct timer *timer)
{
    struct ingress *ingress = OWNER (timer, struct ingress, certify_again);
    if (tls_server_certify (ingress->tls, ingress->address) < 0)
        log_error ("ingress", "cannot issue a certificate for '%s'; the old one stays", ingress->address);
    timer_set (ingress->actor, timer, (uint64_t) TLS_CERTIFICATE_DAYS / 2 * 86400000, certify_again);
}

static void on_engine (struct ingress *ingress, const struct message_engine *engine)
{
    char address[64];
    snprintf (address, sizeof address, "%.*s", (int) engine->address.len, engine->address.at);
    if (!address[0] || strcmp (address, ingress->address) == 0)
        return;
    snprintf (ingress->address, sizeof ingress->address, "%s", address);
    log_info ("ingress", "the certificate now names the address %s", address);
    certify_again (&ingress->certify_again);
}

/* ----------------------------------------------------------------------------------------------------------- stopping
 */

static void end_if_drained (struct ingress *ingress)
{
    if (!ingress->draining || ingress->connections)
        return;
    timer_clear (&ingress->grace_over);
    timer_clear (&ingress->consoles_over);
    ingress->draining = false;
    actor_send (ingress->actor, ACTOR_control, MESSAGE_stopped, NULL, NULL, NULL);
}

static void grace_over (struct timer *timer)
{
    struct ingress *ingress = OWNER (timer, struct ingress, grace_over);
    struct connection *next;
    for (struct connection *connection = ingress->connections; connection; connection = next)
    {
        next = connection->next;
        if (connection->exchange.active)
            exchange_stop (connection);
    }
}

static void end_consoles (struct timer *timer)
{
    struct ingress *ingress = OWNER (timer, struct ingress, consoles_over);
    for (struct connection *connection = ingress->connections; connection; connection = connection->next)
        exchange_end_relayed_console (connection);
}

static void on_stop (struct ingress *ingress, uint64_t grace)
{
    close_listener (ingress);
    if (!ingress->draining)
    {
        size_t living = 0;
        for (struct connection *connection = ingress->connections; connection; connection = connection->next)
            living += connection->exchange.active;
        log_info ("ingress", "stopping: %zu living requests have %llu ms", living, (unsigned long long) grace);
    }
    ingress->draining = true;
    struct connection *next;
    for (struct connection *connection = ingress->connections; connection; connection = next)
    {
        next = connection->next;
        if (!grace)
            connection_cut (connection, "the agent stops at once");
        else if (connection->state < CONNECTION_HEAD)
            connection_cut (connection, "the agent stops");
        else if (connection->state == CONNECTION_HEAD)
            connection_linger (connection);
    }
    timer_set (ingress->actor, &ingress->grace_over, grace, grace_over);
    if (grace > CONSOLE_STOP_LEAD_TIME)
        timer_set (ingress->actor, &ingress->consoles_over, grace - CONSOLE_STOP_LEAD_TIME, end_consoles);
    end_if_drained (ingress);
}

/* ----------------------------------------------------------------------------------------------------------- messages
 */

static void on_inspect (struct ingress *ingress, struct message *message)
{
    json_t *state = json_pack (
        "{sb sI sI sI sI sI sI sI sI sI sI sI sI sI ss}", "listening", ingress->listening, "connections",
        (json_int_t) ingress->connection_count, "streams", (json_int_t) ingress->streams.count, "unfinished_head_bytes",
        (json_int_t) ingress->unfinished_heads, "accepted", (json_int_t) ingress->counters.accepted, "requests",
        (json_int_t) ingress->counters.requests, "refused", (json_int_t) ingress->counters.refused, "aborted",
        (json_int_t) ingress->counters.aborted, "timeouts", (json_int_t) ingress->counters.timeouts, "over_limit",
        (json_int_t) ingress->counters.over_limit, "handshake_failures",
        (json_int_t) ingress->counters.handshake_failures, "plain_http", (json_int_t) ingress->counters.plain_http,
        "accept_pauses", (json_int_t) ingress->counters.paused, "unknown_streams",
        (json_int_t) ingress->streams.unknown, "key_sha256", ingress->tls->key_hash);
    actor_report (ingress->actor, message->envelope.from, state);
}

static void on_message (void *self, struct message *message)
{
    struct ingress *ingress = self;
    switch (message->envelope.type)
    {
    case MESSAGE_engine:
        on_engine (ingress, &message->fields.engine);
        return;
    case MESSAGE_listen:
        if (message->fields.listen.open)
            open_listener (ingress);
        else
            close_listener (ingress);
        return;
    case MESSAGE_stop:
        on_stop (ingress, message->fields.stop.grace);
        return;
    case MESSAGE_inspect:
        on_inspect (ingress, message);
        return;
    default:
        break;
    }
    struct connection *connection = stream_table_get (&ingress->streams, message->envelope.stream);
    if (!connection)
        return; /* the stream is over here: what was under way is dropped */
    switch (message->envelope.type)
    {
    case MESSAGE_response:
        exchange_on_response (connection, message);
        break;
    case MESSAGE_body:
        exchange_on_body (connection, message);
        break;
    case MESSAGE_end:
        exchange_on_end (connection, message);
        break;
    case MESSAGE_credit:
        exchange_on_credit (connection, message);
        break;
    case MESSAGE_abort:
        exchange_on_abort (connection, message);
        break;
    default:
        log_error ("ingress", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
}

static bool is_crowded (const struct ingress *ingress)
{
    return ingress->connection_count > CROWD_CONNECTIONS || ingress->unfinished_heads > CROWD_PAYLOAD ||
           atomic_load_explicit (&ingress->configuration->budget->used, memory_order_relaxed) > CROWD_PAYLOAD;
}

/* The allocator keeps what a crowd has needed: looked at again and again until the crowd has gone. */
static void give_back (struct timer *timer)
{
    struct ingress *ingress = OWNER (timer, struct ingress, give_back);
    if (is_crowded (ingress))
        timer_set (ingress->actor, timer, GIVE_BACK_TIME, give_back);
    else
        malloc_trim (0);
}

static void settle (void *self)
{
    struct ingress *ingress = self;
    while (ingress->dirty)
    {
        struct connection *connection = ingress->dirty;
        ingress->dirty = connection->next_dirty;
        connection->dirty = false;
        output_flush (connection);
    }
    /* A connection has ended since: its descriptor is free. */
    if (ingress->paused && ingress->connection_count < ingress->paused_at)
        accept_again (&ingress->accept_again);
    if (!ingress->give_back.place && is_crowded (ingress))
        timer_set (ingress->actor, &ingress->give_back, GIVE_BACK_TIME, give_back);
    end_if_drained (ingress);
}

/* ------------------------------------------------------------------------------------------------------ start and stop
 */

static void stop (void **self_p)
{
    struct ingress *ingress = *self_p;
    close_listener (ingress);
    while (ingress->connections)
        connection_cut (ingress->connections, "the agent has stopped");
    timer_clear (&ingress->certify_again);
    timer_clear (&ingress->consoles_over);
    timer_clear (&ingress->grace_over);
    timer_clear (&ingress->give_back);
    stream_table_free (&ingress->streams);
    payload_buffer_free (&ingress->buffer);
    tls_endpoint_destroy (&ingress->tls);
    /* Connections that were just cut still point here until the deferred objects are freed, but no longer look. */
    free (ingress);
    *self_p = NULL;
}

static void *start (struct actor *actor, const void *configuration)
{
    struct ingress *ingress = must (calloc (1, sizeof *ingress));
    ingress->actor = actor;
    ingress->configuration = configuration;
    ingress->listener.fd = -1;
    payload_buffer_init (&ingress->buffer);
    ingress->tls = tls_server_new ();
    if (!ingress->tls || !open_listener (ingress))
    {
        tls_endpoint_destroy (&ingress->tls);
        payload_buffer_free (&ingress->buffer);
        free (ingress);
        return NULL;
    }
    timer_set (actor, &ingress->certify_again, (uint64_t) TLS_CERTIFICATE_DAYS / 2 * 86400000, certify_again);
    union message_fields identity = {.identity = {.tls_key = slice_from (ingress->tls->key_hash)}};
    if (actor_is_there (actor, ACTOR_membership))
        actor_send (actor, ACTOR_membership, MESSAGE_identity, NULL, &identity, NULL);
    return ingress;
}

const struct actor_class ingress_class = {
    .id = ACTOR_ingress,
    .start = start,
    .message = on_message,
    .settle = settle,
    .stop = stop,
};
