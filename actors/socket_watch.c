/* socket_watch.c - see socket_watch.h. */
#include "socket_watch.h"

#include "ensure.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

enum
{
    MESSAGES_A_VISIT = 64,
};

static void visit (struct socket_watch *watch);

static void on_again (struct timer *timer)
{
    visit (OWNER (timer, struct socket_watch, again));
}

static void visit (struct socket_watch *watch)
{
    for (int taken = 0; watch->socket && watch->take (watch);)
        if (++taken == MESSAGES_A_VISIT && watch->socket)
        {
            timer_set (watch->watch.actor, &watch->again, 0, on_again);
            return;
        }
}

static void on_descriptor (struct watch *watch, uint32_t events)
{
    (void) events;
    visit (OWNER (watch, struct socket_watch, watch));
}

void socket_watch_begin (struct actor *actor, struct socket_watch *watch, void *socket,
                         bool (*take) (struct socket_watch *watch))
{
    int descriptor;
    size_t size = sizeof descriptor;
    *watch = (struct socket_watch){.socket = socket, .take = take};
    ensure (zmq_getsockopt (socket, ZMQ_FD, &descriptor, &size) == 0);
    ensure (watch_set (actor, &watch->watch, descriptor, EPOLLIN | EPOLLET, on_descriptor) == 0);
    /* libzmq wakes only a reader that has found its socket empty once. */
    timer_set (actor, &watch->again, 0, on_again);
}

void socket_watch_end (struct socket_watch *watch)
{
    if (!watch->socket)
        return;
    timer_clear (&watch->again);
    watch_end (&watch->watch);
    watch->socket = NULL;
}

/* ----------------------------------------------------------------------------------------------------------- monitors
 */

void *socket_monitor_new (void *context, void *socket, const char *name, int events)
{
    char endpoint[64];
    int none = 0;
    snprintf (endpoint, sizeof endpoint, "inproc://monitor-%s", name);
    if (zmq_socket_monitor (socket, endpoint, events) < 0)
        return NULL;
    void *monitor = zmq_socket (context, ZMQ_PAIR);
    if (!monitor)
        return NULL;
    zmq_setsockopt (monitor, ZMQ_LINGER, &none, sizeof none);
    ensure (zmq_connect (monitor, endpoint) == 0);
    return monitor;
}

/* The first frame is the event (16 bits) and its value (32 bits); the second the endpoint, which says nothing new. */
int socket_monitor_take (void *monitor, uint32_t *value)
{
    uint8_t bytes[sizeof (uint16_t) + sizeof (uint32_t)];
    uint16_t event;
    int length = zmq_recv (monitor, bytes, sizeof bytes, ZMQ_DONTWAIT);
    if (length != (int) sizeof bytes)
        return 0;
    memcpy (&event, bytes, sizeof event);
    memcpy (value, bytes + sizeof event, sizeof *value);
    zmq_recv (monitor, bytes, sizeof bytes, ZMQ_DONTWAIT);
    return event;
}

void socket_monitor_destroy (void *socket, void **monitor)
{
    if (!*monitor)
        return;
    zmq_socket_monitor (socket, NULL, 0);
    zmq_close (*monitor);
    *monitor = NULL;
}

void socket_repeat_steadily (int descriptor)
{
    setsockopt (descriptor, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &(int){1}, sizeof (int));
}
