/* tap.c - the actor that shows messages to whoever watches, over the local socket.
 *
 * Owns     the watchers' connections; the endpoint to which reactors mirror messages while somebody watches
 * In       watch, from control; inspect
 * Limits   WATCHERS_MAX; WATCHER_BYTES of lines not yet read by a watcher, and then it loses messages and is told how
 * many; what the runtime holds for us (it drops and counts). The agent never waits for a watcher.
 *
 * Lines are made here, so secrets are redacted before they leave the process (messages/redact.c).
 */
#include "ensure.h"
#include "http/trace.h"
#include "log.h"
#include "placement.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum
{
    WATCHERS_MAX = 16,
    WATCHER_BYTES = 256 * 1024,
    MESSAGES_A_VISIT = 512,
    LINE_BYTES = 8 * 1024,
    PAYLOAD_SHOWN_MAX = TAP_PAYLOAD_BYTES,
    PAYLOAD_TEXT_MAX = 4 * PAYLOAD_SHOWN_MAX + 8, /* each byte may need four characters */
};

struct watcher
{
    struct tap *tap;
    struct watcher *next;
    struct watch watch;
    bool actors[ACTOR_COUNT], types[MESSAGE_COUNT]; /* those wanted */
    char trace[2 * TRACE_BYTES + 1];                /* begin of the wanted id, hexadecimal; empty: all */
    bool json;
    size_t payload; /* bytes of payloads shown */
    char *lines;    /* WATCHER_BYTES */
    size_t length;
    uint64_t lost, missed; /* not fitting, not told yet; the runtime's count when it was last told */
    uint64_t first;        /* ns, time of the first message shown */
    bool closed;
};

struct tap
{
    struct actor *actor;
    void *mirror; /* PULL */
    struct watch ready;
    struct timer again;
    struct watcher *watchers;
    size_t count;
    struct header store[MESSAGE_HEADERS_MAX];
    uint64_t shown, lost;
};

/* ----------------------------------------------------------------------------------------------------------- watchers
 */

static void free_watcher (void *object)
{
    struct watcher *watcher = object;
    free (watcher->lines);
    free (watcher);
}

static void update_mirror (struct tap *tap)
{
    bool payloads = false;
    for (struct watcher *watcher = tap->watchers; watcher; watcher = watcher->next)
        payloads |= watcher->payload > 0;
    runtime_tap (actor_runtime (tap->actor), tap->watchers != NULL, payloads);
}

static void end_watcher (struct watcher *watcher)
{
    struct tap *tap = watcher->tap;
    for (struct watcher **place = &tap->watchers; *place; place = &(*place)->next)
        if (*place == watcher)
        {
            *place = watcher->next;
            break;
        }
    int fd = watcher->watch.fd;
    watch_end (&watcher->watch);
    close (fd);
    tap->count--;
    log_info ("tap", "a watcher left; %zu watch", tap->count);
    update_mirror (tap);
    actor_defer (tap->actor, free_watcher, watcher);
}

static void flush (struct watcher *watcher)
{
    while (watcher->length)
    {
        ssize_t sent = send (watcher->watch.fd, watcher->lines, watcher->length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0)
        {
            watcher->closed = true;
            return;
        }
        watcher->length -= (size_t) sent;
        memmove (watcher->lines, watcher->lines + sent, watcher->length);
    }
    watch_change (&watcher->watch, watcher->length ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static bool add_line (struct watcher *watcher, const char *line, size_t length)
{
    if (watcher->length + length > WATCHER_BYTES)
        return false;
    memcpy (watcher->lines + watcher->length, line, length);
    watcher->length += length;
    return true;
}

/* Says how many messages were lost, before the next one that is shown. */
static bool tell_lost (struct watcher *watcher)
{
    uint64_t missed = runtime_tap_lost (actor_runtime (watcher->tap->actor));
    uint64_t lost = watcher->lost + missed - watcher->missed;
    if (!lost)
        return true;
    char line[80];
    int length = snprintf (line, sizeof line, watcher->json ? "{\"lost\":%llu}\n" : "-- %llu messages lost --\n",
                           (unsigned long long) lost);
    if (!add_line (watcher, line, (size_t) length))
        return false;
    watcher->lost = 0;
    watcher->missed = missed;
    return true;
}

static void on_watcher (struct watch *watch, uint32_t events)
{
    struct watcher *watcher = OWNER (watch, struct watcher, watch);
    char unused[256];
    if (events & EPOLLOUT)
        flush (watcher);
    ssize_t length =
        events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? recv (watch->fd, unused, sizeof unused, MSG_DONTWAIT) : 1;
    if (length == 0 || (length < 0 && errno != EAGAIN) || watcher->closed)
        end_watcher (watcher);
}

/* ------------------------------------------------------------------------------------------------------------- filters
 */

/* Names of a JSON array into flags; an absent array wants all. False when a name is not in the catalog. */
static bool want (json_t *names, bool *flags, size_t count, unsigned (*find) (struct slice name))
{
    size_t index;
    json_t *name;
    for (index = 0; index < count; index++)
        flags[index] = json_array_size (names) == 0;
    json_array_foreach (names, index, name)
    {
        unsigned found = json_is_string (name) ? find (slice_from (json_string_value (name))) : 0;
        if (!found)
            return false;
        flags[found] = true;
    }
    return true;
}

static unsigned find_actor (struct slice name)
{
    return actor_from_name (name);
}

static unsigned find_type (struct slice name)
{
    return message_type_from_name (name);
}

static bool read_filter (struct watcher *watcher, struct slice text)
{
    json_t *filter = json_loadb (text.at, text.len, 0, NULL);
    const char *trace = "", *format = "text";
    json_t *actors = NULL, *types = NULL;
    int payload = 0;
    bool good = filter &&
                json_unpack (filter, "{s?o s?o s?s s?s s?i}", "actors", &actors, "types", &types, "trace", &trace,
                             "format", &format, "payload", &payload) == 0 &&
                want (actors, watcher->actors, ACTOR_COUNT, find_actor) &&
                want (types, watcher->types, MESSAGE_COUNT, find_type) && strlen (trace) < sizeof watcher->trace;
    if (good)
    {
        snprintf (watcher->trace, sizeof watcher->trace, "%s", trace);
        watcher->json = strcmp (format, "json") == 0;
        watcher->payload = payload < 0 ? 0 : payload > PAYLOAD_SHOWN_MAX ? PAYLOAD_SHOWN_MAX : (size_t) payload;
    }
    json_decref (filter);
    return good;
}

static void on_watch (struct tap *tap, const struct message_watch *request)
{
    int fd = (int) request->descriptor;
    struct watcher *watcher = must (calloc (1, sizeof *watcher));
    watcher->tap = tap;
    watcher->watch.fd = -1;
    const char *refusal = NULL;
    if (tap->count == WATCHERS_MAX)
        refusal = "{\"error\":\"too many watch already\"}\n";
    else if (!read_filter (watcher, request->filter))
        refusal = "{\"error\":\"no such actor or message type: see docs/messages.md\"}\n";
    else if (watch_set (tap->actor, &watcher->watch, fd, EPOLLIN, on_watcher) < 0)
        refusal = "{\"error\":\"cannot watch the connection\"}\n";
    if (refusal)
    {
        if (send (fd, refusal, strlen (refusal), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            log_debug ("tap", "a refused watcher is gone");
        close (fd);
        free (watcher);
        return;
    }
    static const char greeting[] = "{\"ok\":true}\n";
    watcher->lines = must (malloc (WATCHER_BYTES));
    add_line (watcher, greeting, sizeof greeting - 1);
    watcher->missed = runtime_tap_lost (actor_runtime (tap->actor));
    watcher->next = tap->watchers;
    tap->watchers = watcher;
    tap->count++;
    log_info ("tap", "a watcher came%s; %zu watch", watcher->payload ? ", who sees payloads" : "", tap->count);
    update_mirror (tap);
    flush (watcher);
}

/* ------------------------------------------------------------------------------------------------------------ messages
 */

struct mirrored
{
    struct envelope envelope;
    union message_fields fields;
    uint64_t payload_length;
    struct slice payload;
    char trace[2 * TRACE_BYTES + 1];
};

static bool decode (struct tap *tap, zmq_msg_t *frames, int count, struct mirrored *message)
{
    struct message_error error;
    size_t size = zmq_msg_size (&frames[0]);
    if (size < sizeof message->payload_length)
        return false;
    size -= sizeof message->payload_length;
    const char *bytes = zmq_msg_data (&frames[0]);
    memcpy (&message->payload_length, bytes + size, sizeof message->payload_length);
    if (envelope_decode (slice_of (bytes, size), &message->envelope, &error) < 0)
        return false;
    int body = message_has_body (message->envelope.type);
    if (body && (count < 2 || message_decode (message->envelope.type,
                                              slice_of (zmq_msg_data (&frames[1]), zmq_msg_size (&frames[1])),
                                              &message->fields, tap->store, &error) < 0))
        return false;
    message->payload = slice_of (NULL, 0);
    if (count > 1 + body)
        message->payload = slice_of (zmq_msg_data (&frames[1 + body]), zmq_msg_size (&frames[1 + body]));
    trace_to_hex (message->envelope.trace, message->trace);
    message->trace[sizeof message->trace - 1] = '\0';
    return true;
}

/* Payload bytes as printable ASCII, the rest as \xNN. */
static size_t escape (struct slice bytes, char *out, size_t size)
{
    size_t used = 0;
    for (size_t index = 0; index < bytes.len && used + 5 < size; index++)
    {
        unsigned char byte = (unsigned char) bytes.at[index];
        if (byte >= 0x20 && byte < 0x7f && byte != '\\' && byte != '"')
            out[used++] = (char) byte;
        else
            used += (size_t) snprintf (out + used, size - used, "\\x%02x", byte);
    }
    out[used] = '\0';
    return used;
}

static size_t text_line (struct watcher *watcher, struct mirrored *message, char *line, size_t size)
{
    const struct envelope *envelope = &message->envelope;
    if (!watcher->first)
        watcher->first = envelope->time;
    double seconds = ((double) envelope->time - (double) watcher->first) / 1e9;
    int used = snprintf (line, size, "%+.6f %.8s #%llu %s -> %s %s ", seconds, message->trace,
                         (unsigned long long) envelope->stream, actor_name (envelope->from), actor_name (envelope->to),
                         message_type_name (envelope->type));
    size_t length = (size_t) used;
    if (message_has_payload (envelope->type))
        length += (size_t) snprintf (line + length, size - length, "<%llu bytes> ",
                                     (unsigned long long) message->payload_length);
    if (message_has_body (envelope->type))
        length += message_text (envelope->type, &message->fields, line + length, size - length - 2);
    if (watcher->payload && message->payload.len)
    {
        struct slice shown = message->payload;
        if (shown.len > watcher->payload)
            shown.len = watcher->payload;
        length += (size_t) snprintf (line + length, size - length, "\"");
        length += escape (shown, line + length, size - length - 3);
        length += (size_t) snprintf (line + length, size - length, "\"");
    }
    while (length && line[length - 1] == ' ')
        length--;
    line[length++] = '\n';
    return length;
}

static size_t json_line (struct watcher *watcher, struct mirrored *message, char *line, size_t size)
{
    const struct envelope *envelope = &message->envelope;
    json_t *object = json_pack ("{sI ss sI sI ss ss ss}", "time", (json_int_t) envelope->time, "trace", message->trace,
                                "stream", (json_int_t) envelope->stream, "sequence", (json_int_t) envelope->sequence,
                                "from", actor_name (envelope->from), "to", actor_name (envelope->to), "type",
                                message_type_name (envelope->type));
    if (message_has_body (envelope->type))
    {
        char *fields = message_json (envelope->type, &message->fields);
        json_object_set_new (object, "fields", fields ? json_loads (fields, 0, NULL) : json_null ());
        free (fields);
    }
    if (message_has_payload (envelope->type))
        json_object_set_new (object, "payload_bytes", json_integer ((json_int_t) message->payload_length));
    if (watcher->payload && message->payload.len)
    {
        char shown[PAYLOAD_TEXT_MAX];
        struct slice bytes = message->payload;
        if (bytes.len > watcher->payload)
            bytes.len = watcher->payload;
        escape (bytes, shown, sizeof shown);
        json_object_set_new (object, "payload", json_string (shown));
    }
    /* A line that does not fit is not cut, which would not be JSON any more: the fields are left out. */
    size_t length = json_dumpb (object, line, size - 1, JSON_COMPACT);
    if (length > size - 1)
    {
        json_object_del (object, "fields");
        json_object_del (object, "payload");
        length = json_dumpb (object, line, size - 1, JSON_COMPACT);
    }
    json_decref (object);
    line[length++] = '\n';
    return length;
}

static void show (struct tap *tap, struct mirrored *message)
{
    char line[PAYLOAD_TEXT_MAX + LINE_BYTES];
    for (struct watcher *watcher = tap->watchers; watcher; watcher = watcher->next)
    {
        const struct envelope *envelope = &message->envelope;
        bool wanted = (watcher->actors[envelope->from] || watcher->actors[envelope->to]) &&
                      watcher->types[envelope->type] &&
                      strncmp (message->trace, watcher->trace, strlen (watcher->trace)) == 0;
        if (!wanted || watcher->closed)
            continue;
        size_t length = watcher->json ? json_line (watcher, message, line, sizeof line)
                                      : text_line (watcher, message, line, sizeof line);
        if (tell_lost (watcher) && add_line (watcher, line, length))
            tap->shown++;
        else
        {
            watcher->lost++;
            tap->lost++;
        }
    }
}

static void on_mirror_again (struct timer *timer);

static void drain (struct tap *tap)
{
    for (int taken = 0; taken < MESSAGES_A_VISIT; taken++)
    {
        zmq_msg_t frames[3];
        struct mirrored message;
        int count, received = frames_receive (tap->mirror, frames, &count);
        if (received == 0)
            break;
        runtime_tap_taken (actor_runtime (tap->actor));
        if (received > 0 && decode (tap, frames, count, &message))
            show (tap, &message);
        for (int index = 0; index < count; index++)
            zmq_msg_close (&frames[index]);
        /* The descriptor will not fire again for what is left. */
        if (taken + 1 == MESSAGES_A_VISIT)
            timer_set (tap->actor, &tap->again, 0, on_mirror_again);
    }
    struct watcher *next;
    for (struct watcher *watcher = tap->watchers; watcher; watcher = next)
    {
        next = watcher->next;
        flush (watcher);
        if (watcher->closed)
            end_watcher (watcher);
    }
}

static void on_mirror_again (struct timer *timer)
{
    drain (OWNER (timer, struct tap, again));
}

static void on_mirror (struct watch *watch, uint32_t events)
{
    (void) events;
    drain (OWNER (watch, struct tap, ready));
}

static void on_message (void *self, struct message *message)
{
    struct tap *tap = self;
    switch (message->envelope.type)
    {
    case MESSAGE_watch:
        on_watch (tap, &message->fields.watch);
        break;
    case MESSAGE_inspect:
        actor_report (tap->actor, message->envelope.from,
                      json_pack ("{sI sI sI}", "watchers", (json_int_t) tap->count, "shown", (json_int_t) tap->shown,
                                 "lost",
                                 (json_int_t) tap->lost + (json_int_t) runtime_tap_lost (actor_runtime (tap->actor))));
        break;
    default:
        log_error ("tap", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
}

static void *start (struct actor *actor, const void *configuration)
{
    (void) configuration;
    struct tap *tap = must (calloc (1, sizeof *tap));
    int none = 0, descriptor;
    size_t size = sizeof descriptor;
    tap->actor = actor;
    tap->mirror = must (zmq_socket (runtime_context (actor_runtime (actor)), ZMQ_PULL));
    zmq_setsockopt (tap->mirror, ZMQ_RCVHWM, &none, sizeof none);
    ensure (zmq_bind (tap->mirror, TAP_ENDPOINT) == 0);
    zmq_getsockopt (tap->mirror, ZMQ_FD, &descriptor, &size);
    ensure (watch_set (actor, &tap->ready, descriptor, EPOLLIN | EPOLLET, on_mirror) == 0);
    /* libzmq wakes only a reader that has found its socket empty once. */
    drain (tap);
    return tap;
}

static void stop (void **self_p)
{
    struct tap *tap = *self_p;
    while (tap->watchers)
        end_watcher (tap->watchers);
    timer_clear (&tap->again);
    watch_end (&tap->ready);
    zmq_close (tap->mirror);
    free (tap);
    *self_p = NULL;
}

const struct actor_class tap_class = {.id = ACTOR_tap, .start = start, .message = on_message, .stop = stop};
