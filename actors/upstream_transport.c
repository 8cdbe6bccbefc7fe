/* upstream_transport.c - the kernel's side of a connection to a server. See upstream.h.
 *
 * A Unix socket connects at once or not at all. TCP connects while the reactor does other things, then TLS shakes
 * hands, then the server's public key is compared with the one that is expected of it; before that no byte of a request
 * is encrypted. Certificates are not looked at: they are self-signed, and the key is known from membership.
 *
 * A silent TCP peer is noticed by the kernel (keep-alive, TCP_USER_TIMEOUT), and earlier by transport_silence().
 */
#include "upstream.h"

#include "ensure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum
{
    VECTOR_MOST = 16,        /* elements of one writev() */
    TCP_SILENCE_TIME = 3000, /* ms without an acknowledgement after which the kernel gives a connection up */
    KEEPALIVE_IDLE = 1,      /* seconds of idleness until the kernel asks whether the other side lives, */
    KEEPALIVE_INTERVAL = 1,  /* seconds between two such questions, */
    KEEPALIVE_QUESTIONS = 3, /* and how many stay unanswered until it gives up */
    RECORDS_A_READ = 4,      /* TLS records taken at once */
};

static enum transport_result failed (struct upstream_connection *connection, const char *reason)
{
    connection->reason = reason;
    return TRANSPORT_FAILED;
}

/* ------------------------------------------------------------------------------------------------------------ opening
 */

static enum transport_result watch_new (struct upstream_connection *connection, int fd, uint32_t events,
                                        void (*ready) (struct watch *watch, uint32_t events))
{
    if (watch_set (connection->upstream->owner->actor, &connection->watch, fd, events, ready) < 0)
    {
        int error = errno;
        close (fd);
        return failed (connection, strerror (error));
    }
    connection->fd = fd;
    connection->upstream->owner->counters.connects++;
    return TRANSPORT_OK;
}

static enum transport_result open_unix (struct upstream_connection *connection,
                                        void (*ready) (struct watch *watch, uint32_t events))
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf (address.sun_path, sizeof address.sun_path, "%s", connection->upstream->path);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed (connection, strerror (errno));
    if (connect (fd, (struct sockaddr *) &address, sizeof address) < 0)
    {
        int error = errno;
        close (fd);
        return error == EAGAIN ? TRANSPORT_AGAIN : failed (connection, strerror (error));
    }
    return watch_new (connection, fd, EPOLLIN | EPOLLRDHUP, ready);
}

static void set_up_tcp (int fd)
{
    int on = 1, silence = TCP_SILENCE_TIME, idle = KEEPALIVE_IDLE, interval = KEEPALIVE_INTERVAL,
        questions = KEEPALIVE_QUESTIONS;
    setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt (fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt (fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt (fd, IPPROTO_TCP, TCP_KEEPCNT, &questions, sizeof questions);
    setsockopt (fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof silence);
}

static socklen_t make_address (const struct upstream *upstream, struct sockaddr_storage *storage)
{
    struct sockaddr_in *four = (struct sockaddr_in *) storage;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *) storage;
    memset (storage, 0, sizeof *storage);
    if (inet_pton (AF_INET, upstream->address, &four->sin_addr) == 1)
    {
        four->sin_family = AF_INET;
        four->sin_port = htons (upstream->port);
        return sizeof *four;
    }
    if (inet_pton (AF_INET6, upstream->address, &six->sin6_addr) == 1)
    {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons (upstream->port);
        return sizeof *six;
    }
    return 0;
}

static enum transport_result open_tcp (struct upstream_connection *connection,
                                       void (*ready) (struct watch *watch, uint32_t events))
{
    struct sockaddr_storage address;
    socklen_t length = make_address (connection->upstream, &address);
    if (!length)
        return failed (connection, "its address is not an IP address");
    int fd = socket (address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed (connection, strerror (errno));
    set_up_tcp (fd);
    if (connect (fd, (struct sockaddr *) &address, length) < 0 && errno != EINPROGRESS)
    {
        int error = errno;
        close (fd);
        return failed (connection, strerror (error));
    }
    enum transport_result result = watch_new (connection, fd, EPOLLOUT, ready);
    return result == TRANSPORT_OK ? TRANSPORT_BLOCKED : result;
}

enum transport_result transport_open (struct upstream_connection *connection,
                                      void (*ready) (struct watch *watch, uint32_t events))
{
    return connection->upstream->path ? open_unix (connection, ready) : open_tcp (connection, ready);
}

enum transport_result transport_establish (struct upstream_connection *connection)
{
    struct upstream *upstream = connection->upstream;
    if (!connection->tls.ssl)
    {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt (connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error)
            return failed (connection, strerror (error));
        if (tls_open_client (&connection->tls, upstream->tls, connection->fd) < 0)
            return failed (connection, "cannot make a TLS connection");
    }
    enum tls_result result = tls_handshake (&connection->tls);
    enum tls_result flushed = tls_flush (&connection->tls);
    if ((result != TLS_OK && result != TLS_BLOCKED) || flushed == TLS_FAILED)
        return failed (connection, tls_reason (&connection->tls));
    if (result == TLS_BLOCKED)
    {
        watch_change (&connection->watch, flushed == TLS_BLOCKED ? EPOLLIN | EPOLLOUT : EPOLLIN);
        return TRANSPORT_BLOCKED;
    }
    if (!tls_peer_has_key (&connection->tls, upstream->tls_key))
        return failed (connection, "it has another TLS key than the one it announced to the cluster");
    return TRANSPORT_OK;
}

/* ------------------------------------------------------------------------------------------------------------ reading
 */

static enum transport_result read_tls (struct upstream_connection *connection, char *bytes, size_t size, size_t *length)
{
    struct tls *tls = &connection->tls;
    enum tls_result result = TLS_OK;
    for (int record = 0; record < RECORDS_A_READ && *length < size && result == TLS_OK; record++)
    {
        size_t more = 0;
        if (*length && !tls_has_pending (tls))
            break;
        result = tls_read (tls, bytes + *length, size - *length, &more);
        *length += more;
    }
    tls_flush (tls); /* a key update wants an answer */
    if (*length)
        return TRANSPORT_OK;
    if (result == TLS_BLOCKED)
        return TRANSPORT_BLOCKED;
    if (result == TLS_CLOSED)
        return TRANSPORT_ENDED;
    return failed (connection, tls->failure ? strerror (tls->failure) : "it was cut off");
}

enum transport_result transport_read (struct upstream_connection *connection, char *bytes, size_t size, size_t *length)
{
    *length = 0;
    if (connection->tls.ssl)
        return read_tls (connection, bytes, size, length);
    ssize_t got = recv (connection->fd, bytes, size, 0);
    if (got > 0)
    {
        *length = (size_t) got;
        return TRANSPORT_OK;
    }
    if (got == 0)
        return TRANSPORT_ENDED;
    return errno == EAGAIN || errno == EINTR ? TRANSPORT_BLOCKED : failed (connection, strerror (errno));
}

bool transport_has_pending (const struct upstream_connection *connection)
{
    return connection->tls.ssl && tls_has_pending (&connection->tls);
}

/* ------------------------------------------------------------------------------------------------------------ writing
 */

static enum transport_result write_unix (struct upstream_connection *connection, size_t *payload)
{
    while (connection->output.count)
    {
        struct iovec vector[VECTOR_MOST];
        struct msghdr message = {.msg_iov = vector};
        message.msg_iovlen = (size_t) byte_queue_vector (&connection->output, vector, VECTOR_MOST);
        ssize_t sent = message.msg_iovlen ? sendmsg (connection->fd, &message, MSG_NOSIGNAL) : 0;
        if (sent >= 0)
        {
            connection->sent = connection->sent || sent > 0;
            byte_queue_advance (&connection->output, (size_t) sent, payload);
        }
        else if (errno == EAGAIN)
            return TRANSPORT_BLOCKED;
        else if (errno != EINTR)
            return failed (connection, strerror (errno));
    }
    return TRANSPORT_OK;
}

static enum transport_result write_tls (struct upstream_connection *connection, size_t *payload)
{
    connection->sent = connection->sent || connection->output.count;
    switch (tls_write_queue (&connection->tls, &connection->output, payload))
    {
    case TLS_OK:
        return TRANSPORT_OK;
    case TLS_BLOCKED:
        return TRANSPORT_BLOCKED;
    default:
        return failed (connection, tls_reason (&connection->tls));
    }
}

enum transport_result transport_write (struct upstream_connection *connection, size_t *payload)
{
    return connection->tls.ssl ? write_tls (connection, payload) : write_unix (connection, payload);
}

bool transport_is_flushed (const struct upstream_connection *connection)
{
    return !connection->tls.unsent;
}

/* ---------------------------------------------------------------------------------------------------------------- end
 */

enum transport_result transport_end (struct upstream_connection *connection)
{
    if (!connection->tls.ssl)
    {
        shutdown (connection->fd, SHUT_WR);
        return TRANSPORT_OK;
    }
    tls_end (&connection->tls);
    return tls_flush (&connection->tls) == TLS_BLOCKED ? TRANSPORT_BLOCKED : TRANSPORT_OK;
}

void transport_reset (struct upstream_connection *connection)
{
    struct linger at_once = {.l_onoff = 1};
    if (connection->tls.ssl)
        setsockopt (connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void transport_close (struct upstream_connection *connection)
{
    watch_end (&connection->watch);
    if (connection->tls.ssl)
        tls_close (&connection->tls);
    if (connection->fd >= 0)
        close (connection->fd);
    connection->fd = -1;
}

uint64_t transport_silence (const struct upstream_connection *connection)
{
    struct tcp_info information;
    socklen_t size = sizeof information;
    if (connection->upstream->path || connection->fd < 0 ||
        getsockopt (connection->fd, IPPROTO_TCP, TCP_INFO, &information, &size) < 0)
        return 0;
    /* What was sent last may be younger than the last acknowledgement: an idle connection is not silent. */
    uint64_t waited = information.tcpi_last_ack_recv;
    return information.tcpi_unacked ? waited : 0;
}
