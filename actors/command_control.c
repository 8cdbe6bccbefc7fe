/* command_control.c - the commands that talk to the agent of this machine over its local socket: ping, status, forget,
 * tap. */
#include "commands.h"
#include "ensure.h"
#include "options.h"

#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum
{
    ANSWER_SECONDS = 5,
};

struct arguments
{
    const char *control;
    bool control_given; /* as a flag: one certain agent is meant */
    bool ready, json;
    json_t *actors, *types;
    const char *trace;
    int payload;
    long count;
    uint64_t milliseconds;
};

/* --------------------------------------------------------------------------------------------------------- the socket
 */

static int connect_control (const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen (path) >= sizeof address.sun_path)
        return errno = ENAMETOOLONG, -1;
    memcpy (address.sun_path, path, strlen (path) + 1);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect (fd, (struct sockaddr *) &address, sizeof address) < 0)
    {
        int error = errno;
        close (fd);
        return errno = error, -1;
    }
    return fd;
}

static const char *hint (int error)
{
    if (error == ENOENT || error == ECONNREFUSED)
        return " (is it running? its --control or SHOAL_CONTROL must be the same here)";
    return error == EPIPE || error == ECONNRESET ? " (it answers only its own user and root)" : "";
}

/* Connects and sends a command; takes it. Returns a stream of answer lines, or NULL after saying why. */
static FILE *send_command (const char *path, json_t *command)
{
    char *text = must (json_dumps (command, JSON_COMPACT));
    json_decref (command);
    int fd = connect_control (path);
    FILE *stream = fd >= 0 ? fdopen (fd, "r") : NULL;
    struct iovec parts[] = {{text, strlen (text)}, {(void *) (uintptr_t) "\n", 1}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    /* An agent that refuses us closes at once: that is an error to tell, not a signal to die of. */
    if (stream && sendmsg (fd, &message, MSG_NOSIGNAL) < 0)
    {
        int error = errno;
        fclose (stream);
        stream = NULL;
        errno = error;
    }
    if (!stream)
        fprintf (stderr, "shoal: cannot reach the agent at %s: %s%s\n", path, strerror (errno), hint (errno));
    free (text);
    return stream;
}

/* One command, one answer. NULL after saying why. */
static json_t *ask (const char *path, json_t *command)
{
    FILE *stream = send_command (path, command);
    if (!stream)
        return NULL;
    struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    setsockopt (fileno (stream), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    char *line = NULL;
    size_t size = 0;
    json_t *answer = getline (&line, &size, stream) > 0 ? json_loads (line, 0, NULL) : NULL;
    if (!answer)
        fprintf (stderr, "shoal: the agent at %s does not answer\n", path);
    free (line);
    fclose (stream);
    return answer;
}

/* ---------------------------------------------------------------------------------------------------------- arguments
 */

enum
{
    KEY_READY = 'r',
    KEY_CONTROL = 1000,
    KEY_ACTOR,
    KEY_TYPE,
    KEY_TRACE,
    KEY_JSON,
    KEY_PAYLOAD,
    KEY_COUNT,
    KEY_FOR,
};

static void add_names (json_t *list, const char *names)
{
    while (*names)
    {
        size_t length = strcspn (names, ",");
        json_array_append_new (list, json_stringn (names, length));
        names += length + (names[length] == ',');
    }
}

static error_t parse_argument (int key, char *argument, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    char *end;
    switch (key)
    {
    case KEY_CONTROL:
        arguments->control = argument;
        arguments->control_given = true;
        return 0;
    case KEY_READY:
        arguments->ready = true;
        return 0;
    case KEY_ACTOR:
        add_names (arguments->actors, argument);
        return 0;
    case KEY_TYPE:
        add_names (arguments->types, argument);
        return 0;
    case KEY_TRACE:
        arguments->trace = argument;
        return 0;
    case KEY_JSON:
        arguments->json = true;
        return 0;
    case KEY_PAYLOAD:
        arguments->payload = argument ? (int) strtol (argument, &end, 10) : 64;
        if (arguments->payload < 1 || (argument && *end))
            argp_error (state, "--payload: '%s' is not a number of bytes", argument);
        return 0;
    case KEY_COUNT:
        arguments->count = strtol (argument, &end, 10);
        if (arguments->count < 1 || *end)
            argp_error (state, "--count: '%s' is not a number of messages", argument);
        return 0;
    case KEY_FOR:
        if (duration_parse (argument, &arguments->milliseconds) < 0)
            argp_error (state, "--for: '%s' is not a duration such as 10s", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define OPTION_CONTROL                                                                                                 \
    {                                                                                                                  \
        "control", KEY_CONTROL, "PATH", 0, "local socket of the agent [SHOAL_CONTROL]", 0                              \
    }

static struct arguments parse (int argc, char **argv, const struct argp_option *options, const char *doc)
{
    struct arguments arguments = {.control = options_control_path ()};
    arguments.actors = json_array ();
    arguments.types = json_array ();
    const struct argp argp = {.options = options, .parser = parse_argument, .doc = doc};
    char name[64];
    snprintf (name, sizeof name, "shoal %s", argv[0]);
    argv[0] = name;
    argp_err_exit_status = 1;
    argp_parse (&argp, argc, argv, 0, NULL, &arguments);
    return arguments;
}

static void free_arguments (struct arguments *arguments)
{
    json_decref (arguments->actors);
    json_decref (arguments->types);
}

/* ----------------------------------------------------------------------------------------------------------- commands
 */

/* An agent that cannot make its socket, as in a container whose root is read-only, is still up when its API says so.
 * Where that listens is read from the variables that the agent reads; a flag of the agent's is not seen here. */
static bool ping_api (const char *socket)
{
    const char *host = getenv ("AGENT_HOST"), *port = getenv ("AGENT_PORT");
    bool any = !host || !*host || strcmp (host, "0.0.0.0") == 0 || strcmp (host, "::") == 0;
    bool bare = !any && strchr (host, ':'); /* IPv6 */
    char to[300];
    snprintf (to, sizeof to, "%s%s%s:%s", bare ? "[" : "", any ? "127.0.0.1" : host, bare ? "]" : "",
              port && *port ? port : "9001");
    if (request_ping (to, ANSWER_SECONDS) == 0)
        return true;
    fprintf (stderr, "shoal: and there is no local socket at %s%s\n", socket, hint (ENOENT));
    return false;
}

static bool has_socket (const char *path)
{
    int fd = connect_control (path);
    if (fd >= 0)
        close (fd);
    return fd >= 0;
}

int command_ping (int argc, char **argv)
{
    static const struct argp_option options[] = {
        OPTION_CONTROL, {"ready", KEY_READY, 0, 0, "also ask whether the engine answers", 0}, {0}};
    struct arguments arguments = parse (
        argc, argv, options,
        "Asks the agent of this machine whether it is up. Exit status 0: yes.\vWhere the agent could not make its "
        "local socket, `shoal ping` asks https://127.0.0.1:9001/ping instead (AGENT_HOST, AGENT_PORT), unless "
        "--control or --ready is given.");
    if (!arguments.control_given && !arguments.ready && !has_socket (arguments.control))
    {
        bool up = ping_api (arguments.control);
        free_arguments (&arguments);
        return up ? 0 : 1;
    }
    json_t *answer = ask (arguments.control, json_pack ("{ss}", "command", arguments.ready ? "ready" : "ping"));
    bool good = json_is_true (json_object_get (answer, "ok"));
    const char *reason = json_string_value (json_object_get (answer, "reason"));
    if (answer && !good)
        fprintf (stderr, "shoal: not ready: %s\n", reason ? reason : "unknown");
    json_decref (answer);
    free_arguments (&arguments);
    return good ? 0 : 1;
}

int command_status (int argc, char **argv)
{
    static const struct argp_option options[] = {OPTION_CONTROL, {0}};
    struct arguments arguments = parse (argc, argv, options, "Prints the state of this machine's agent as JSON.");
    json_t *answer = ask (arguments.control, json_pack ("{ss}", "command", "status"));
    bool good = answer && !json_object_get (answer, "error");
    if (answer && json_dumpf (answer, stdout, JSON_INDENT (2)) == 0)
        putchar ('\n');
    json_decref (answer);
    free_arguments (&arguments);
    return good ? 0 : 1;
}

int command_forget (int argc, char **argv)
{
    static const struct argp_option options[] = {OPTION_CONTROL, {0}};
    struct arguments arguments = parse (
        argc, argv, options,
        "Drops the registered key. The next client that signs well is registered, so let the right one come at once.");
    json_t *answer = ask (arguments.control, json_pack ("{ss}", "command", "forget"));
    bool good = json_is_true (json_object_get (answer, "forgotten"));
    const char *reason = json_string_value (json_object_get (answer, "reason"));
    if (answer)
        fprintf (good ? stdout : stderr, "shoal: %s: %s\n", good ? "forgotten" : "not forgotten",
                 reason ? reason : "unknown");
    json_decref (answer);
    free_arguments (&arguments);
    return good ? 0 : 1;
}

static int64_t now_ms (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Copies lines to stdout until the agent ends, the count is reached or the time is over. */
static int print_lines (int fd, long count, uint64_t milliseconds)
{
    char buffer[64 * 1024];
    int64_t end = now_ms () + (int64_t) milliseconds;
    for (;;)
    {
        int64_t left = milliseconds ? end - now_ms () : -1;
        if (milliseconds && left <= 0)
            return 0;
        struct pollfd descriptor = {.fd = fd, .events = POLLIN};
        if (poll (&descriptor, 1, (int) left) == 0)
            return 0;
        ssize_t length = read (fd, buffer, sizeof buffer);
        if (length <= 0)
            return fprintf (stderr, "shoal: the agent ended the tap\n"), 1;
        size_t shown = (size_t) length;
        for (size_t index = 0; count && index < (size_t) length; index++)
            if (buffer[index] == '\n' && --count == 0)
                shown = index + 1, milliseconds = 1, end = 0;
        if (fwrite (buffer, 1, shown, stdout) < shown || fflush (stdout) != 0)
            return 1;
    }
}

int command_tap (int argc, char **argv)
{
    static const struct argp_option options[] = {
        OPTION_CONTROL,
        {"actor", KEY_ACTOR, "NAMES", 0,
         "only messages from or to these actors: ingress,auth,router,docker,console,control,tap", 0},
        {"type", KEY_TYPE, "NAMES", 0, "only these types, such as request,response", 0},
        {"trace", KEY_TRACE, "HEX", 0, "only traces that begin so; an answer's Shoal-Trace header names its own", 0},
        {"json", KEY_JSON, 0, 0, "JSON lines", 0},
        {"payload", KEY_PAYLOAD, "BYTES", OPTION_ARG_OPTIONAL,
         "show up to so many bytes (64) of payloads; they may hold secrets", 0},
        {"count", KEY_COUNT, "NUMBER", 0, "stop after so many lines", 0},
        {"for", KEY_FOR, "TIME", 0, "stop after this time, such as 10s", 0},
        {0}};
    struct arguments arguments = parse (argc, argv, options,
                                        "Shows the messages between the agent's actors as they pass, until "
                                        "Ctrl-C.\vSecrets are redacted by the agent. A line "
                                        "is: seconds since the first message, trace, stream, sender, receiver, type, "
                                        "fields. A watcher that is too slow loses "
                                        "messages and is told how many; the agent never waits.");
    json_t *filter = json_pack ("{sO sO ss ss si}", "actors", arguments.actors, "types", arguments.types, "trace",
                                arguments.trace ? arguments.trace : "", "format", arguments.json ? "json" : "text",
                                "payload", arguments.payload);
    FILE *stream = send_command (arguments.control, json_pack ("{ss so}", "command", "tap", "filter", filter));
    free_arguments (&arguments);
    if (!stream)
        return 1;
    /* The first line says whether the tap was accepted. It is read byte by byte, so that no line behind it stays in a
     * buffer. */
    char line[512] = "";
    size_t length = 0;
    while (length < sizeof line - 1 && read (fileno (stream), line + length, 1) == 1 && line[length] != '\n')
        length++;
    json_t *greeting = json_loadb (line, length, 0, NULL);
    const char *error = json_string_value (json_object_get (greeting, "error"));
    int status = 1;
    if (!greeting || error)
        fprintf (stderr, "shoal: tap refused: %s\n", error ? error : "the agent said nothing");
    else
        status = print_lines (fileno (stream), arguments.count, arguments.milliseconds);
    json_decref (greeting);
    fclose (stream);
    return status;
}
