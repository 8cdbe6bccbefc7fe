/*
 * load: the benchmark's client. One thread, TLS 1.3 with AES-128-GCM or a plain Unix socket.
 *
 *     load WHERE [REQUEST] MODE
 *
 *     WHERE    --to HOST:PORT | --unix SOCKET
 *     REQUEST  --path P  --header 'Name: value'…  --signatures FILE [--rotate [--first N]]
 *     MODE     --seconds S --connections N       the same GET again and again on N kept connections
 *              --download                        one GET; the body is counted and thrown away
 *              --upload FILE                     one POST of FILE with a Content-Length
 *              --slow BYTES --connections N      N GETs at once, of which each reads BYTES every 100 ms
 *              --idle --connections N            N connections that do nothing
 *
 * --steps makes the run measurable from outside: when all connections are open and warm it prints `ready`, waits for a
 * line on stdin, runs, prints its result as one line of JSON and holds the connections until stdin ends. --slow and
 * --idle always work so; they run until stdin ends.
 *
 * FILE of signatures: the public key's hexadecimal digits, then one signature a line, all of one length (made by
 * `signatures`). Each request carries the first one, or with --rotate the next one.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum
{
    INPUT_SIZE = 64 * 1024,
    REQUEST_SIZE = 8 * 1024,
    BATCH = 256,            // events taken from epoll at once
    SLOW_TICK_MS = 100,     // how often a slow client reads
    SLOW_BUFFER = 4 * 1024, // receive buffer of a slow client's socket, so that the server feels its slowness
    SIGNATURE_SIZE = 86,    // characters of a signature
};

enum part
{
    HEAD,
    LENGTH,
    CHUNK_SIZE,
    CHUNK_DATA,
    TRAILER,
    WHOLE
};

// What is known of the answer that a connection is reading.
struct answer
{
    enum part part;
    int status;
    uint64_t left; // bytes to come: of the body, or of the chunk with its line end
    uint64_t body; // body bytes that came
};

struct connection
{
    int fd;
    SSL *ssl; // NULL on a Unix socket
    uint64_t sent_at;
    struct answer answer;
    size_t have; // bytes in `input` that are not yet understood
    char input[INPUT_SIZE];
};

struct options
{
    const char *host_port, *unix_path, *path, *signatures, *upload;
    const char *headers[16];
    size_t header_count, connections, first, slow;
    double seconds;
    bool rotate, download, idle, steps;
};

static struct
{
    char text[REQUEST_SIZE]; // the request as it is sent
    size_t length;
    char *signature; // where in `text` the signature stands
    char *pool;      // all signatures, SIGNATURE_SIZE + 1 apart
    size_t pool_count, pool_next;
} request;

static struct
{
    uint32_t *latency; // ns, one for each request
    size_t count, room;
    uint64_t errors;
} result;

static void die (const char *format, ...) __attribute__ ((format (printf, 1, 2), noreturn));
static void die (const char *format, ...)
{
    va_list arguments;
    va_start (arguments, format);
    fputs ("load: ", stderr);
    vfprintf (stderr, format, arguments);
    fputc ('\n', stderr);
    va_end (arguments);
    exit (1);
}

static uint64_t clock_ns (clockid_t id)
{
    struct timespec now;
    clock_gettime (id, &now);
    return (uint64_t) now.tv_sec * 1000000000U + (uint64_t) now.tv_nsec;
}

// ------------------------------------------------------------------------------------------------------------ request

static void signatures_read (const struct options *options)
{
    FILE *file = fopen (options->signatures, "r");
    struct stat status;
    if (!file || fstat (fileno (file), &status) < 0)
        die ("%s: %s", options->signatures, strerror (errno));
    char key[512];
    if (!fgets (key, sizeof key, file) || !strchr (key, '\n'))
        die ("%s: no public key", options->signatures);
    key[strcspn (key, "\n")] = '\0';
    size_t size = (size_t) status.st_size - (size_t) ftell (file);
    request.pool = malloc (size + 1);
    if (!request.pool || fread (request.pool, 1, size, file) != size || size < SIGNATURE_SIZE + 1)
        die ("%s: no signatures", options->signatures);
    fclose (file);
    request.pool_count = size / (SIGNATURE_SIZE + 1);
    request.pool_next = options->first % request.pool_count;
    request.length += (size_t) sprintf (request.text + request.length,
                                        "X-PortainerAgent-PublicKey: %s\r\nX-PortainerAgent-Signature: ", key);
    request.signature = request.text + request.length;
    request.length += (size_t) sprintf (request.signature, "%.*s\r\n", SIGNATURE_SIZE, request.pool);
}

static void request_make (const struct options *options, const char *method, uint64_t body)
{
    size_t room = REQUEST_SIZE - 1024; // for the signature's headers
    request.length = (size_t) snprintf (request.text, room, "%s %s HTTP/1.1\r\nHost: bench\r\nUser-Agent: load\r\n",
                                        method, options->path);
    for (size_t index = 0; index < options->header_count && request.length < room; index++)
        request.length +=
            (size_t) snprintf (request.text + request.length, room - request.length, "%s\r\n", options->headers[index]);
    if (request.length >= room)
        die ("the request is too long");
    if (options->signatures)
        signatures_read (options);
    if (strcmp (method, "POST") == 0)
        request.length +=
            (size_t) sprintf (request.text + request.length,
                              "Content-Type: application/x-tar\r\nContent-Length: %llu\r\n", (unsigned long long) body);
    request.length += (size_t) sprintf (request.text + request.length, "\r\n");
}

static void request_rotate (void)
{
    memcpy (request.signature, request.pool + request.pool_next * (SIGNATURE_SIZE + 1), SIGNATURE_SIZE);
    request.pool_next = (request.pool_next + 1) % request.pool_count;
}

// ------------------------------------------------------------------------------------------------------------- answer

static void answer_head (struct answer *self, const char *head, const char *end)
{
    self->status = atoi (head + 9);
    self->part = self->status == 204 || self->status == 304 ? WHOLE : LENGTH;
    self->left = 0;
    for (const char *line = memchr (head, '\n', (size_t) (end - head)); line; line = strchr (line + 1, '\n'))
    {
        if ((line[1] | 0x20) == 'c' && strncasecmp (line + 1, "content-length:", 15) == 0)
            self->left = strtoull (line + 16, NULL, 10);
        else if ((line[1] | 0x20) == 't' && strncasecmp (line + 1, "transfer-encoding:", 18) == 0)
            self->part = CHUNK_SIZE;
    }
    if (self->part == LENGTH && self->left == 0)
        self->part = WHOLE;
}

// Takes from `at` what can be understood and returns how much that was. Ends early once the answer is whole.
static size_t answer_feed (struct answer *self, char *at, size_t length)
{
    size_t taken = 0;
    while (self->part != WHOLE && taken < length)
    {
        char *from = at + taken;
        size_t rest = length - taken;
        if (self->part == LENGTH || self->part == CHUNK_DATA)
        {
            size_t part = rest < self->left ? rest : (size_t) self->left;
            self->left -= part;
            self->body += self->part == LENGTH ? part : 0;
            taken += part;
            if (self->left == 0)
                self->part = self->part == LENGTH ? WHOLE : CHUNK_SIZE;
            continue;
        }
        const char *mark = self->part == HEAD ? "\r\n\r\n" : "\r\n";
        size_t mark_length = strlen (mark);
        char *end = memmem (from, rest, mark, mark_length);
        if (!end)
            break;
        taken += (size_t) (end - from) + mark_length;
        *end = '\0';
        if (self->part == HEAD)
            answer_head (self, from, end);
        else if (self->part == TRAILER)
            self->part = end == from ? WHOLE : TRAILER;
        else
        {
            uint64_t size = strtoull (from, NULL, 16);
            self->body += size;
            self->left = size + 2; // with the line end behind the data
            self->part = size ? CHUNK_DATA : TRAILER;
        }
    }
    return taken;
}

// -------------------------------------------------------------------------------------------------------- connections

static int socket_open (const struct options *options)
{
    if (options->unix_path)
    {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        if (strlen (options->unix_path) >= sizeof address.sun_path)
            die ("%s: too long for a socket's path", options->unix_path);
        strcpy (address.sun_path, options->unix_path);
        int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect (fd, (struct sockaddr *) &address, sizeof address) < 0)
            die ("%s: %s", options->unix_path, strerror (errno));
        return fd;
    }
    char host[64];
    int port = 0;
    if (sscanf (options->host_port, "%63[^:]:%d", host, &port) != 2)
        die ("--to takes ADDRESS:PORT, not %s", options->host_port);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons ((uint16_t) port)};
    if (inet_pton (AF_INET, host, &address.sin_addr) != 1)
        die ("%s is no IPv4 address", host);
    int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, small = SLOW_BUFFER;
    setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options->slow)
        setsockopt (fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (fd < 0 || connect (fd, (struct sockaddr *) &address, sizeof address) < 0)
        die ("%s: %s", options->host_port, strerror (errno));
    return fd;
}

static SSL_CTX *tls_new (void)
{
    SSL_CTX *tls = SSL_CTX_new (TLS_client_method ());
    // The same cipher whatever the server prefers; no verification, as every client of an agent does.
    if (!tls || !SSL_CTX_set_min_proto_version (tls, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites (tls, "TLS_AES_128_GCM_SHA256"))
        die ("cannot set TLS up");
    SSL_CTX_set_read_ahead (tls, 1);
    SSL_CTX_set_mode (tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return tls;
}

static struct connection *connection_new (const struct options *options, SSL_CTX *tls)
{
    struct connection *self = malloc (sizeof *self);
    if (!self)
        die ("no memory");
    memset (self, 0, offsetof (struct connection, input));
    self->fd = socket_open (options);
    if (options->host_port)
    {
        self->ssl = SSL_new (tls);
        if (!self->ssl || !SSL_set_fd (self->ssl, self->fd))
            die ("cannot make a TLS session");
        if (SSL_connect (self->ssl) != 1)
            die ("TLS handshake failed: %s", ERR_reason_error_string (ERR_get_error ()));
    }
    return self;
}

// Reads once: the number of bytes, 0 when the server has closed, -1 when there is nothing now.
static ssize_t connection_read (struct connection *self, char *at, size_t length)
{
    if (!self->ssl)
        return read (self->fd, at, length);
    int got = SSL_read (self->ssl, at, (int) length);
    if (got > 0)
        return got;
    int reason = SSL_get_error (self->ssl, got);
    return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

// Writes all; on a non-blocking socket waits for room, which a client that sends small requests hardly ever does.
static void connection_write (struct connection *self, const char *at, size_t length)
{
    while (length > 0)
    {
        ssize_t written = self->ssl ? SSL_write (self->ssl, at, (int) length) : write (self->fd, at, length);
        if (written > 0)
        {
            at += written;
            length -= (size_t) written;
            continue;
        }
        bool full = self->ssl ? SSL_get_error (self->ssl, (int) written) == SSL_ERROR_WANT_WRITE : errno == EAGAIN;
        if (!full)
            die ("the server closed the connection while a request was sent");
        struct pollfd ready = {.fd = self->fd, .events = POLLOUT};
        poll (&ready, 1, -1);
    }
}

static void connection_send (struct connection *self, bool rotate)
{
    if (rotate)
        request_rotate ();
    self->answer = (struct answer){.part = HEAD};
    self->have = 0;
    self->sent_at = clock_ns (CLOCK_MONOTONIC);
    connection_write (self, request.text, request.length);
}

// Reads what is there and feeds the answer; true once it is whole.
static bool connection_receive (struct connection *self)
{
    do
    {
        ssize_t length = connection_read (self, self->input + self->have, INPUT_SIZE - self->have);
        if (length < 0)
            return false;
        if (length == 0)
            die ("the server closed the connection after %llu bytes of a body", (unsigned long long) self->answer.body);
        self->have += (size_t) length;
        size_t taken = answer_feed (&self->answer, self->input, self->have);
        self->have -= taken;
        if (self->have)
            memmove (self->input, self->input + taken, self->have);
        if (self->have == INPUT_SIZE)
            die ("the answer's head is too long");
    } while (self->answer.part != WHOLE && self->ssl && SSL_has_pending (self->ssl));
    return self->answer.part == WHOLE;
}

static void connection_complete (struct connection *self)
{
    connection_send (self, false);
    while (!connection_receive (self))
        ;
}

// -------------------------------------------------------------------------------------------------------------- modes

static int latency_compare (const void *one, const void *other)
{
    uint32_t left = *(const uint32_t *) one, right = *(const uint32_t *) other;
    return (left > right) - (left < right);
}

static double latency_quantile (double quantile)
{
    return result.count ? result.latency[(size_t) (quantile * (double) (result.count - 1))] / 1000.0 : 0;
}

static void latency_add (uint64_t nanoseconds)
{
    if (result.count == result.room)
    {
        result.room = result.room ? result.room * 2 : 1 << 20;
        result.latency = realloc (result.latency, result.room * sizeof *result.latency);
        if (!result.latency)
            die ("no memory");
    }
    result.latency[result.count++] = nanoseconds < UINT32_MAX ? (uint32_t) nanoseconds : UINT32_MAX;
}

static void steps_ready (const struct options *options)
{
    char line[16];
    if (!options->steps)
        return;
    puts ("ready");
    fflush (stdout);
    if (!fgets (line, sizeof line, stdin))
        exit (1);
}

static void steps_end (const struct options *options)
{
    fflush (stdout);
    while (options->steps && getchar () != EOF)
        ;
}

// Requests on all connections until the time is over, then the answers that are still to come.
static void rate_run (const struct options *options, struct connection **connections)
{
    int epoll = epoll_create1 (EPOLL_CLOEXEC);
    for (size_t index = 0; index < options->connections; index++)
    {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connections[index]};
        fcntl (connections[index]->fd, F_SETFL, O_NONBLOCK);
        if (epoll_ctl (epoll, EPOLL_CTL_ADD, connections[index]->fd, &event) < 0)
            die ("epoll: %s", strerror (errno));
    }
    latency_add (0); // the pages are there before the clock runs
    result.count = 0;
    steps_ready (options);
    uint64_t cpu = clock_ns (CLOCK_PROCESS_CPUTIME_ID), begin = clock_ns (CLOCK_MONOTONIC), now = begin;
    uint64_t end = begin + (uint64_t) (options->seconds * 1e9);
    for (size_t index = 0; index < options->connections; index++)
        connection_send (connections[index], options->rotate);
    for (size_t open = options->connections; open > 0;)
    {
        struct epoll_event events[BATCH];
        int count = epoll_wait (epoll, events, BATCH, 10000);
        if (count == 0)
            die ("no answer for 10 s on %zu connections", open);
        for (int index = 0; index < count; index++)
        {
            struct connection *self = events[index].data.ptr;
            if (!connection_receive (self))
                continue;
            now = clock_ns (CLOCK_MONOTONIC);
            latency_add (now - self->sent_at);
            result.errors += self->answer.status != 200;
            if (now < end)
                connection_send (self, options->rotate);
            else
                open--;
        }
    }
    cpu = clock_ns (CLOCK_PROCESS_CPUTIME_ID) - cpu;
    double seconds = (double) (now - begin) / 1e9;
    qsort (result.latency, result.count, sizeof *result.latency, latency_compare);
    printf ("{\"requests\": %zu, \"errors\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"p50_us\": %.1f, "
            "\"p99_us\": %.1f, \"cpu_seconds\": %.6f}\n",
            result.count, (unsigned long long) result.errors, seconds, (double) result.count / seconds,
            latency_quantile (0.5), latency_quantile (0.99), (double) cpu / 1e9);
    steps_end (options);
}

static void transfer_run (const struct options *options, struct connection *self)
{
    int file = -1;
    struct stat status = {0};
    if (options->upload && ((file = open (options->upload, O_RDONLY | O_CLOEXEC)) < 0 || fstat (file, &status) < 0))
        die ("%s: %s", options->upload, strerror (errno));
    request_make (options, options->upload ? "POST" : "GET", (uint64_t) status.st_size);
    steps_ready (options);
    uint64_t begin = clock_ns (CLOCK_MONOTONIC);
    connection_send (self, false);
    static char piece[64 * 1024];
    ssize_t length;
    while (file >= 0 && (length = read (file, piece, sizeof piece)) > 0)
        connection_write (self, piece, (size_t) length);
    while (!connection_receive (self))
        ;
    double seconds = (double) (clock_ns (CLOCK_MONOTONIC) - begin) / 1e9;
    result.errors = self->answer.status != 200;
    printf ("{\"sent\": %llu, \"received\": %llu, \"status\": %d, \"errors\": %llu, \"seconds\": %.6f}\n",
            (unsigned long long) status.st_size, (unsigned long long) self->answer.body, self->answer.status,
            (unsigned long long) result.errors, seconds);
    steps_end (options);
}

// Holds all connections until stdin ends; slow ones read a little now and then.
static void hold_run (const struct options *options, struct connection **connections)
{
    unsigned long long received = 0;
    if (options->slow)
        for (size_t index = 0; index < options->connections; index++)
        {
            fcntl (connections[index]->fd, F_SETFL, O_NONBLOCK);
            connection_send (connections[index], false);
        }
    puts ("ready");
    fflush (stdout);
    struct pollfd end = {.fd = STDIN_FILENO, .events = POLLIN};
    static char piece[INPUT_SIZE];
    size_t most = options->slow < INPUT_SIZE ? options->slow : (size_t) INPUT_SIZE;
    while (poll (&end, 1, options->slow ? SLOW_TICK_MS : -1) == 0)
        for (size_t index = 0; index < options->connections; index++)
        {
            ssize_t length = connection_read (connections[index], piece, most);
            result.errors += length == 0;
            received += length > 0 ? (unsigned long long) length : 0;
        }
    printf ("{\"received\": %llu, \"errors\": %llu}\n", received, (unsigned long long) result.errors);
}

static struct options options_read (int argc, char **argv)
{
    static const struct option NAMES[] = {{"to", 1, 0, 't'},         {"unix", 1, 0, 'x'},        {"path", 1, 0, 'p'},
                                          {"header", 1, 0, 'H'},     {"rotate", 0, 0, 'r'},      {"first", 1, 0, 'f'},
                                          {"signatures", 1, 0, 'k'}, {"seconds", 1, 0, 's'},     {"upload", 1, 0, 'u'},
                                          {"download", 0, 0, 'd'},   {"connections", 1, 0, 'c'}, {"slow", 1, 0, 'l'},
                                          {"idle", 0, 0, 'i'},       {"steps", 0, 0, 'w'},       {0, 0, 0, 0}};
    struct options options = {.path = "/containers/json", .connections = 1, .seconds = 0};
    int name;
    while ((name = getopt_long (argc, argv, "", NAMES, NULL)) != -1)
        switch (name)
        {
        case 't':
            options.host_port = optarg;
            break;
        case 'x':
            options.unix_path = optarg;
            break;
        case 'p':
            options.path = optarg;
            break;
        case 'k':
            options.signatures = optarg;
            break;
        case 'u':
            options.upload = optarg;
            break;
        case 'd':
            options.download = true;
            break;
        case 'i':
            options.idle = true;
            break;
        case 'w':
            options.steps = true;
            break;
        case 'r':
            options.rotate = true;
            break;
        case 'f':
            options.first = strtoull (optarg, NULL, 10);
            break;
        case 'c':
            options.connections = strtoull (optarg, NULL, 10);
            break;
        case 'l':
            options.slow = strtoull (optarg, NULL, 10);
            break;
        case 's':
            options.seconds = strtod (optarg, NULL);
            break;
        case 'H':
            if (options.header_count == sizeof options.headers / sizeof options.headers[0])
                die ("too many headers");
            options.headers[options.header_count++] = optarg;
            break;
        default:
            exit (2);
        }
    int modes = (options.seconds > 0) + options.download + (options.upload != NULL) + (options.slow > 0) + options.idle;
    if (optind != argc || !options.host_port == !options.unix_path || modes != 1 || options.connections == 0 ||
        (options.rotate && !options.signatures))
        die ("one --to or --unix and one mode, please: the head of load.c says more");
    return options;
}

int main (int argc, char **argv)
{
    struct options options = options_read (argc, argv);
    signal (SIGPIPE, SIG_IGN);
    SSL_CTX *tls = options.host_port ? tls_new () : NULL;
    if (options.upload || options.download)
        options.connections = 1;
    struct connection **connections = calloc (options.connections, sizeof *connections);
    if (!connections)
        die ("no memory");
    for (size_t index = 0; index < options.connections; index++)
        connections[index] = connection_new (&options, tls);
    if (options.upload || options.download)
        transfer_run (&options, connections[0]);
    else
    {
        request_make (&options, "GET", 0);
        for (size_t index = 0; options.seconds > 0 && index < options.connections; index++)
            connection_complete (connections[index]); // warm: tickets have come, the server's memory is there
        if (options.seconds > 0)
            rate_run (&options, connections);
        else
            hold_run (&options, connections);
    }
    return result.errors > 0;
}
