/* socket_watch.h - a ZeroMQ socket in a reactor's loop.
 *
 * The descriptor of such a socket is edge-triggered and says only that something may have happened: the socket is read
 * until it is empty, or, because one socket must not keep the others waiting, the loop is asked to come back.
 */
#pragma once

#include "actor.h"

struct socket_watch
{
    void *socket; /* NULL: not watched */
    struct watch watch;
    struct timer again;
    /* Takes one message; false when there was none. It may end the watch. */
    bool (*take) (struct socket_watch *watch);
};

/* Begins to watch; the socket stays the caller's. What is there already is taken in the loop's next turn. */
void socket_watch_begin (struct actor *actor, struct socket_watch *watch, void *socket,
                         bool (*take) (struct socket_watch *watch));

/* Idempotent. Does not close the socket. */
void socket_watch_end (struct socket_watch *watch);

/* Events of another socket, such as ZMQ_EVENT_HANDSHAKE_SUCCEEDED, as a socket of their own (zmq_socket_monitor). name
 * is one of its own within the context. NULL, with zmq_errno(), when no descriptor is left. */
void *socket_monitor_new (void *context, void *socket, const char *name, int events);

/* Takes one event. Returns it, with its value (a descriptor, or what the event says), or 0 when there is none. */
int socket_monitor_take (void *monitor, uint32_t *value);

/* Ends the monitor of a socket. Before the socket is closed: libzmq would wait for a reader that has gone. */
void socket_monitor_destroy (void *socket, void **monitor);

/* Has TCP repeat what is lost at a constant pace, not ever more slowly, as long as little is on its way
 * (TCP_THIN_LINEAR_TIMEOUTS). descriptor is libzmq's, from ZMQ_EVENT_CONNECTED or _ACCEPTED, and may be closed already.
 */
void socket_repeat_steadily (int descriptor);
