/* control.c - the actor behind the local socket and the signals: ping, ready, status, forget, tap; stopping.
 *
 * Owns     the local socket and its clients; the signal descriptor
 * In       report, from actors that were asked; engine, from docker; stopped, from ingress
 * Out      inspect to all; forget to auth; watch to tap; stop to ingress and membership
 * Limits   CLIENTS_MAX; REQUEST_BYTES a request; CLIENT_TIME for it
 *
 * A client sends one line, a JSON object with `command`, and gets one line back; a tap gets lines until it leaves. The
 * socket lies in a folder of mode 0700, has mode 0600, and the kernel is asked who is at the other end: our own user or
 * root.
 */
#include "configuration.h"
#include "ensure.h"
#include "log.h"
#include "placement.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum
{
    CLIENTS_MAX = 32,
    REQUEST_BYTES = 4096,
    CLIENT_TIME = 5000, /* ms */
};

struct client
{
    struct control *control;
    struct client *next;
    struct watch watch;
    struct timer timer;
    char line[REQUEST_BYTES];
    size_t length;
    json_t *reports; /* by actor, while a status is put together */
    size_t awaited;  /* reports still to come */
    bool forgets;
};

struct control
{
    struct actor *actor;
    const struct configuration *configuration;
    struct watch listener, signals;
    struct client *clients;
    size_t count;
    bool has_socket, stopping;
    bool engine_reachable;
    uint64_t started; /* ms */
};

/* ------------------------------------------------------------------------------------------------------------- clients
 */

static void free_client (void *object)
{
    struct client *client = object;
    json_decref (client->reports);
    free (client);
}

static void end_client (struct client *client, bool close_descriptor)
{
    struct control *control = client->control;
    for (struct client **place = &control->clients; *place; place = &(*place)->next)
        if (*place == client)
        {
            *place = client->next;
            break;
        }
    control->count--;
    timer_clear (&client->timer);
    int fd = client->watch.fd;
    watch_end (&client->watch);
    if (close_descriptor)
        close (fd);
    actor_defer (control->actor, free_client, client);
}

/* Sends one line and ends. The answer is smaller than the socket's buffer; a client that does not take it loses it. */
static void reply (struct client *client, json_t *answer)
{
    char *text = answer ? json_dumps (answer, JSON_COMPACT) : NULL;
    json_decref (answer);
    if (text)
    {
        struct iovec parts[] = {{text, strlen (text)}, {(void *) (uintptr_t) "\n", 1}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        if (sendmsg (client->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            log_debug ("control", "a client of the local socket did not wait for its answer: %s", strerror (errno));
    }
    free (text);
    end_client (client, true);
}

static void on_client_time (struct timer *timer)
{
    end_client (OWNER (timer, struct client, timer), true);
}

/* -------------------------------------------------------------------------------------------------------------- status
 */

static size_t count_descriptors (void)
{
    DIR *folder = opendir ("/proc/self/fd");
    size_t count = 0;
    while (folder && readdir (folder))
        count++;
    if (folder)
        closedir (folder);
    return count > 3 ? count - 3 : 0; /* `.`, `..` and the folder itself */
}

static json_t *own_state (struct control *control)
{
    struct runtime_counters counters = runtime_counters (actor_runtime (control->actor));
    struct budget *budget = control->configuration->budget;
    struct rusage usage;
    getrusage (RUSAGE_SELF, &usage);
    return json_pack ("{ss ss sI sI sb s{sI sI} s{sI sI} s{sI sI sI sI sI} sI sI}", "version", SHOAL_VERSION,
                      "protocol_version", control->configuration->protocol_version, "pid", (json_int_t) getpid (),
                      "uptime_ms", (json_int_t) (actor_now (control->actor) - control->started), "ready",
                      control->engine_reachable, "descriptors", "open", (json_int_t) count_descriptors (), "limit",
                      (json_int_t) control->configuration->descriptors, "payload", "used",
                      (json_int_t) atomic_load (&budget->used), "total", (json_int_t) budget->total, "limits",
                      "connections", (json_int_t) control->configuration->connections, "engine_connections",
                      (json_int_t) control->configuration->engine_connections, "header_time_ms",
                      (json_int_t) control->configuration->header_time, "idle_time_ms",
                      (json_int_t) control->configuration->idle_time, "grace_time_ms",
                      (json_int_t) control->configuration->grace_time, "messages_sent", (json_int_t) counters.sent,
                      "messages_refused", (json_int_t) counters.refused);
}

/* Asks every actor but this one. */
static void begin_status (struct client *client)
{
    struct actor *actor = client->control->actor;
    client->reports = json_object ();
    for (enum actor_id id = ACTOR_NONE + 1; id < ACTOR_COUNT; id++)
        if (id != ACTOR_control && actor_is_there (actor, id))
        {
            client->awaited++;
            actor_send (actor, id, MESSAGE_inspect, NULL, NULL, NULL);
        }
}

/* A report answers every client that waits for one of this actor: all of them asked before it was made. */
static void on_report (struct control *control, struct message *message)
{
    struct slice text = message->fields.report.state;
    const char *name = actor_name (message->envelope.from);
    struct client *next;
    for (struct client *client = control->clients; client; client = next)
    {
        next = client->next;
        if (client->forgets && message->envelope.from == ACTOR_auth)
        {
            reply (client, json_loadb (text.at, text.len, 0, NULL));
            continue;
        }
        if (!client->awaited || json_object_get (client->reports, name))
            continue;
        json_t *state = json_loadb (text.at, text.len, 0, NULL);
        json_object_set_new (client->reports, name, state ? state : json_null ());
        if (--client->awaited)
            continue;
        json_t *status = own_state (control);
        json_object_set_new (status, "actors", client->reports);
        client->reports = NULL;
        reply (client, status);
    }
}

/* ------------------------------------------------------------------------------------------------------------ commands
 */

static void on_command (struct client *client, json_t *request)
{
    struct control *control = client->control;
    const char *command = json_string_value (json_object_get (request, "command"));
    if (!command)
        reply (client, json_pack ("{ss}", "error", "send one line, a JSON object with a command"));
    else if (strcmp (command, "ping") == 0)
        reply (client, json_pack ("{sb}", "ok", 1));
    else if (strcmp (command, "ready") == 0)
        reply (client, json_pack ("{sb ss}", "ok", control->engine_reachable && !control->stopping, "reason",
                                  control->stopping            ? "the agent is stopping"
                                  : !control->engine_reachable ? "the Docker engine does not answer"
                                                               : ""));
    else if (strcmp (command, "status") == 0)
        begin_status (client);
    else if (strcmp (command, "forget") == 0)
    {
        client->forgets = true;
        actor_send (control->actor, ACTOR_auth, MESSAGE_forget, NULL, NULL, NULL);
    }
    else if (strcmp (command, "tap") == 0)
    {
        json_t *filter = json_object_get (request, "filter");
        char *text = json_dumps (filter, JSON_COMPACT);
        union message_fields fields = {
            .watch = {.descriptor = (uint64_t) client->watch.fd, .filter = slice_from (text ? text : "{}")}};
        actor_send (control->actor, ACTOR_tap, MESSAGE_watch, NULL, &fields, NULL);
        free (text);
        end_client (client, false);
    }
    else
        reply (client, json_pack ("{ss}", "error", "no such command: ping, ready, status, forget, tap"));
}

static void on_client (struct watch *watch, uint32_t events)
{
    (void) events;
    struct client *client = OWNER (watch, struct client, watch);
    ssize_t length =
        recv (watch->fd, client->line + client->length, sizeof client->line - client->length, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0)
    {
        end_client (client, true);
        return;
    }
    client->length += (size_t) length;
    char *end = memchr (client->line, '\n', client->length);
    if (!end && client->length < sizeof client->line)
        return;
    if (client->awaited || client->forgets)
        return; /* one request a connection; it is being answered */
    json_t *request = end ? json_loadb (client->line, (size_t) (end - client->line), 0, NULL) : NULL;
    on_command (client, request);
    json_decref (request);
}

static bool may_connect (int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid () || peer.uid == 0))
        return true;
    log_warn ("control", "refused a process of user %u at the local socket", peer.uid);
    return false;
}

static void on_listener (struct watch *watch, uint32_t events)
{
    (void) events;
    struct control *control = OWNER (watch, struct control, listener);
    int fd = accept4 (watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct client *client = must (calloc (1, sizeof *client));
    client->control = control;
    if (control->count == CLIENTS_MAX || !may_connect (fd) ||
        watch_set (control->actor, &client->watch, fd, EPOLLIN, on_client) < 0)
    {
        close (fd);
        free (client);
        return;
    }
    client->next = control->clients;
    control->clients = client;
    control->count++;
    timer_set (control->actor, &client->timer, CLIENT_TIME, on_client_time);
}

/* -------------------------------------------------------------------------------------------------------------- socket
 */

/* The folder must be ours alone, so that nobody can put another socket into the place of ours. */
static int make_folder (const char *path)
{
    char folder[108];
    const char *slash = strrchr (path, '/');
    if (!slash || slash == path)
        return errno = EINVAL, -1;
    snprintf (folder, sizeof folder, "%.*s", (int) (slash - path), path);
    if (mkdir (folder, 0700) == 0)
        return 0;
    struct stat information;
    if (errno != EEXIST || stat (folder, &information) < 0)
        return -1;
    if (!S_ISDIR (information.st_mode))
        return errno = ENOTDIR, -1;
    if (information.st_uid != geteuid () || (information.st_mode & 077))
        return errno = EPERM, -1;
    return 0;
}

static int open_socket (const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen (path) >= sizeof address.sun_path)
        return errno = ENAMETOOLONG, -1;
    memcpy (address.sun_path, path, strlen (path) + 1);
    if (make_folder (path) < 0)
        return -1;
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    /* Left over from an agent that was killed, or of one that runs: then ours would be in its place, so ask first. */
    if (connect (fd, (struct sockaddr *) &address, sizeof address) == 0)
    {
        close (fd);
        return errno = EADDRINUSE, -1;
    }
    unlink (path);
    mode_t before = umask (0177);
    int bound = bind (fd, (struct sockaddr *) &address, sizeof address);
    umask (before);
    if (bound == 0 && listen (fd, CLIENTS_MAX) == 0)
        return fd;
    int error = errno;
    close (fd);
    return errno = error, -1;
}

static void start_socket (struct control *control)
{
    const char *path = control->configuration->control;
    int fd = open_socket (path);
    if (fd < 0)
    {
        log_warn ("control", "no local socket at %s: %s%s; status, tap and forget do not work, all else does", path,
                  strerror (errno),
                  errno == EPERM ? " (its folder must belong to the agent's user and have mode 0700)" : "");
        return;
    }
    control->has_socket = true;
    ensure (watch_set (control->actor, &control->listener, fd, EPOLLIN, on_listener) == 0);
}

/* ------------------------------------------------------------------------------------------------------------ stopping
 */

static void on_signal (struct watch *watch, uint32_t events)
{
    (void) events;
    struct control *control = OWNER (watch, struct control, signals);
    struct signalfd_siginfo signal;
    if (read (watch->fd, &signal, sizeof signal) != sizeof signal)
        return;
    uint64_t grace = control->stopping ? 0 : control->configuration->grace_time;
    log_info ("control", "%s: %s", strsignal ((int) signal.ssi_signo),
              control->stopping ? "stopping at once" : "stopping in order; once more to stop at once");
    control->stopping = true;
    union message_fields fields = {.stop = {.grace = grace}};
    actor_send (control->actor, ACTOR_membership, MESSAGE_stop, NULL, &fields, NULL);
    actor_send (control->actor, ACTOR_console, MESSAGE_stop, NULL, &fields, NULL);
    actor_send (control->actor, ACTOR_ingress, MESSAGE_stop, NULL, &fields, NULL);
}

static void on_message (void *self, struct message *message)
{
    struct control *control = self;
    switch (message->envelope.type)
    {
    case MESSAGE_report:
        on_report (control, message);
        break;
    case MESSAGE_engine:
        control->engine_reachable = message->fields.engine.reachable;
        break;
    case MESSAGE_stopped:
        log_info ("control", "stopped");
        runtime_stop (actor_runtime (control->actor));
        break;
    default:
        log_error ("control", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
}

static void *start (struct actor *actor, const void *configuration)
{
    struct control *control = must (calloc (1, sizeof *control));
    control->actor = actor;
    control->configuration = configuration;
    control->listener.fd = -1;
    control->started = actor_now (actor);
    sigset_t signals;
    sigemptyset (&signals);
    sigaddset (&signals, SIGTERM);
    sigaddset (&signals, SIGINT);
    sigaddset (&signals, SIGHUP);
    sigprocmask (SIG_BLOCK, &signals, NULL);
    int fd = signalfd (-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    ensure (fd >= 0 && watch_set (actor, &control->signals, fd, EPOLLIN, on_signal) == 0);
    start_socket (control);
    return control;
}

static void stop (void **self_p)
{
    struct control *control = *self_p;
    while (control->clients)
        end_client (control->clients, true);
    int fd = control->signals.fd;
    watch_end (&control->signals);
    close (fd);
    if (control->has_socket)
    {
        fd = control->listener.fd;
        watch_end (&control->listener);
        close (fd);
        unlink (control->configuration->control);
    }
    free (control);
    *self_p = NULL;
}

const struct actor_class control_class = {.id = ACTOR_control, .start = start, .message = on_message, .stop = stop};
