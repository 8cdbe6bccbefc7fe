/*
 * standin_engine: a Docker engine's stand-in for benchmarks, as fast as one thread can be.
 *
 *     standin_engine SOCKET        serves HTTP/1.1 with keep-alive on a Unix socket until it is killed
 *
 *     GET, HEAD  /_ping, /version, /info       what an agent asks at its start
 *                /containers/NAME/json         404: no container is known by name
 *                /large?bytes=N                N bytes, chunked in pieces of 32 KiB as `docker save` sends them;
 *                                              with &length=1 with a Content-Length
 *                anything else                 1,024 bytes of JSON
 *     other methods                            the body is drained; then {"drained":BYTES}
 *
 * A leading /v1.41 is ignored. One epoll, level-triggered; one read for a request, one write for an answer. A
 * connection is always in one of four states: it reads a head, drains a body of either kind, or writes. While it writes
 * it does not read. Requests are trusted: this is no place for hostile ones.
 */

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum
{
    INPUT_SIZE = 64 * 1024, // room for a head, and for pieces of a body that is thrown away
    PIECE_SIZE = 32 * 1024, // body bytes in one chunk of a large answer
    JSON_SIZE = 1024,       // bytes of the usual answer
    SMALL_SIZE = 512,       // room for an answer made for one request
    BATCH = 256,            // events taken from epoll at once
};

enum state
{
    READING_HEAD,
    DRAINING_LENGTH,
    DRAINING_CHUNKED,
    WRITING
};

struct connection
{
    int fd;
    enum state state;
    bool watches_output;    // EPOLLOUT is asked for
    bool head_only;         // the request is a HEAD
    bool large_chunked;     // the large answer in progress is chunked
    bool chunk_is_last;     // DRAINING_CHUNKED: the chunk of size 0 was seen, trailers follow
    uint64_t drained;       // body bytes of the request that came
    uint64_t drain_left;    // bytes to come: of the body, or of the chunk with its line end
    uint64_t large_left;    // body bytes of a large answer that are not in `output` yet
    struct iovec output[3]; // what is being written; the parts written are empty
    char small[SMALL_SIZE];
    size_t have; // bytes in `input`
    char input[INPUT_SIZE];
};

static const char VERSION_BODY[] = "{\"Version\":\"20.10.24\",\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\","
                                   "\"Os\":\"linux\",\"Arch\":\"amd64\"}\n";
static const char INFO_BODY[] =
    "{\"ID\":\"STAND-IN\",\"Name\":\"stand-in\",\"ServerVersion\":\"20.10.24\",\"Containers\":0,"
    "\"OSType\":\"linux\",\"Swarm\":{\"NodeID\":\"\",\"LocalNodeState\":\"inactive\","
    "\"ControlAvailable\":false}}\n";

static char json_answer[JSON_SIZE + SMALL_SIZE]; // head and body of the usual answer, made once
static size_t json_length, json_head_length;
static char piece[PIECE_SIZE]; // body bytes of every large answer

static void die (const char *what)
{
    fprintf (stderr, "standin_engine: %s: %s\n", what, strerror (errno));
    exit (1);
}

static void json_answer_make (void)
{
    json_head_length = (size_t) snprintf (json_answer, sizeof json_answer,
                                          "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n"
                                          "Server: Docker/20.10.24 (linux)\r\nContent-Length: %d\r\n\r\n",
                                          JSON_SIZE);
    char *body = json_answer + json_head_length;
    memset (body, 'x', JSON_SIZE);
    memcpy (body, "[{\"Id\":\"", 8);
    memcpy (body + JSON_SIZE - 4, "\"}]\n", 4);
    json_length = json_head_length + JSON_SIZE;
    memset (piece, 'p', sizeof piece);
}

// ------------------------------------------------------------------------------------------------------------ answers

// The answer of a connection that has nothing else to write. `at` must live until it is written.
static void output_set (struct connection *self, const char *at, size_t length)
{
    self->output[0] = (struct iovec){(void *) (uintptr_t) at, length};
    self->output[1].iov_len = self->output[2].iov_len = 0;
    self->state = WRITING;
}

static void answer_small (struct connection *self, const char *status, const char *type, const char *body)
{
    int length = snprintf (self->small, SMALL_SIZE,
                           "HTTP/1.1 %s\r\nApi-Version: 1.41\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
                           status, type, strlen (body), self->head_only ? "" : body);
    output_set (self, self->small, (size_t) length);
}

static void answer_large (struct connection *self, const char *query)
{
    const char *bytes = strstr (query, "bytes=");
    uint64_t total = bytes ? strtoull (bytes + 6, NULL, 10) : 0;
    self->large_chunked = strstr (query, "length=1") == NULL;
    self->large_left = self->head_only ? 0 : total;
    int length = snprintf (self->small, SMALL_SIZE, "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\n");
    if (!self->large_chunked)
        length += snprintf (self->small + length, SMALL_SIZE - (size_t) length, "Content-Length: %llu\r\n\r\n",
                            (unsigned long long) total);
    else
        length += snprintf (self->small + length, SMALL_SIZE - (size_t) length, "Transfer-Encoding: chunked\r\n\r\n%s",
                            total == 0 && !self->head_only ? "0\r\n\r\n" : "");
    output_set (self, self->small, (size_t) length);
}

// The next piece of a large answer becomes the output; false when there is none.
static bool answer_next_piece (struct connection *self)
{
    if (self->large_left == 0)
        return false;
    size_t length = self->large_left < PIECE_SIZE ? (size_t) self->large_left : (size_t) PIECE_SIZE;
    self->large_left -= length;
    output_set (self, piece, length);
    if (self->large_chunked)
    {
        self->output[1] = self->output[0];
        self->output[0].iov_base = self->small;
        self->output[0].iov_len = (size_t) snprintf (self->small, SMALL_SIZE, "%zx\r\n", length);
        const char *end = self->large_left ? "\r\n" : "\r\n0\r\n\r\n";
        self->output[2] = (struct iovec){(void *) (uintptr_t) end, strlen (end)};
    }
    return true;
}

static void answer_get (struct connection *self, const char *path)
{
    if (strncmp (path, "/v1.", 4) == 0 && strchr (path + 1, '/'))
        path = strchr (path + 1, '/');
    static const char CONTAINERS[] = "/containers/";
    if (strncmp (path, "/large", 6) == 0)
        answer_large (self, path + 6);
    else if (strcmp (path, "/_ping") == 0)
        answer_small (self, "200 OK", "text/plain; charset=utf-8", "OK");
    else if (strcmp (path, "/version") == 0)
        answer_small (self, "200 OK", "application/json", VERSION_BODY);
    else if (strcmp (path, "/info") == 0)
        answer_small (self, "200 OK", "application/json", INFO_BODY);
    else if (strncmp (path, CONTAINERS, sizeof CONTAINERS - 1) == 0 && strchr (path + sizeof CONTAINERS - 1, '/'))
        answer_small (self, "404 Not Found", "application/json", "{\"message\":\"No such container\"}\n");
    else
        output_set (self, json_answer, self->head_only ? json_head_length : json_length);
}

static void answer_drained (struct connection *self)
{
    char body[64];
    snprintf (body, sizeof body, "{\"drained\":%llu}\n", (unsigned long long) self->drained);
    answer_small (self, "200 OK", "application/json", body);
}

// ----------------------------------------------------------------------------------------------------------- requests

static void input_consume (struct connection *self, size_t length)
{
    self->have -= length;
    if (self->have)
        memmove (self->input, self->input + length, self->have);
}

// The value of a header, or NULL. `head` begins with the CR LF that ends the request line and ends with NUL.
static const char *head_value (const char *head, const char *name)
{
    size_t length = strlen (name);
    for (const char *line = head; line; line = strstr (line + 2, "\r\n"))
        if (strncasecmp (line + 2, name, length) == 0 && line[2 + length] == ':')
            return line + 2 + length + 1 + strspn (line + 2 + length + 1, " ");
    return NULL;
}

// Takes a whole head from the input and begins what it asks for; false when there is none yet.
static bool request_take (struct connection *self)
{
    char *end = memmem (self->input, self->have, "\r\n\r\n", 4);
    if (!end)
        return false;
    end[2] = '\0';
    char *path = memchr (self->input, ' ', (size_t) (end - self->input));
    char *line_end = strstr (self->input, "\r\n");
    char *path_end = path ? memchr (path + 1, ' ', (size_t) (line_end - path - 1)) : NULL;
    if (!path_end)
        answer_small (self, "400 Bad Request", "text/plain", "no request line\n");
    else
    {
        *path_end = '\0';
        self->head_only = strncmp (self->input, "HEAD ", 5) == 0;
        if (self->head_only || strncmp (self->input, "GET ", 4) == 0)
            answer_get (self, path + 1);
        else
        {
            const char *length = head_value (line_end, "content-length");
            self->drained = 0;
            self->chunk_is_last = false;
            self->drain_left = length ? strtoull (length, NULL, 10) : 0;
            self->state = head_value (line_end, "transfer-encoding") ? DRAINING_CHUNKED : DRAINING_LENGTH;
        }
    }
    input_consume (self, (size_t) (end + 4 - self->input));
    return true;
}

static bool drain_length (struct connection *self)
{
    size_t length = self->have < self->drain_left ? self->have : (size_t) self->drain_left;
    self->drained += length;
    self->drain_left -= length;
    input_consume (self, length);
    if (self->drain_left == 0)
        answer_drained (self);
    return self->drain_left == 0;
}

// One chunk, one part of it, or one line; false when more must be read first.
static bool drain_chunked (struct connection *self)
{
    if (self->drain_left > 0)
    {
        size_t length = self->have < self->drain_left ? self->have : (size_t) self->drain_left;
        self->drain_left -= length;
        input_consume (self, length);
        return length > 0;
    }
    char *line_end = memmem (self->input, self->have, "\r\n", 2);
    if (!line_end)
        return false;
    if (self->chunk_is_last)
    {
        if (line_end == self->input)
            answer_drained (self);
    }
    else
    {
        uint64_t size = strtoull (self->input, NULL, 16);
        self->chunk_is_last = size == 0;
        self->drained += size;
        self->drain_left = size ? size + 2 : 0;
    }
    input_consume (self, (size_t) (line_end + 2 - self->input));
    return true;
}

// -------------------------------------------------------------------------------------------------------- connections

static void connection_watch (struct connection *self, int epoll, bool output)
{
    if (self->watches_output == output)
        return;
    self->watches_output = output;
    struct epoll_event event = {.events = output ? EPOLLOUT : EPOLLIN, .data.ptr = self};
    epoll_ctl (epoll, EPOLL_CTL_MOD, self->fd, &event);
}

// Writes what there is to write: 1 when all is written, 0 when the socket is full, -1 when the peer is gone.
static int connection_write (struct connection *self)
{
    do
    {
        while (self->output[0].iov_len + self->output[1].iov_len + self->output[2].iov_len > 0)
        {
            ssize_t written = writev (self->fd, self->output, 3);
            if (written < 0)
                return errno == EAGAIN ? 0 : -1;
            size_t left = (size_t) written;
            for (int part = 0; part < 3; part++)
            {
                size_t done = left < self->output[part].iov_len ? left : self->output[part].iov_len;
                self->output[part].iov_base = (char *) self->output[part].iov_base + done;
                self->output[part].iov_len -= done;
                left -= done;
            }
        }
    } while (answer_next_piece (self));
    return 1;
}

// Goes on with a connection as far as input and socket allow; false when it is at its end.
static bool connection_work (struct connection *self, int epoll)
{
    for (;;)
    {
        bool moved = false;
        switch (self->state)
        {
        case READING_HEAD:
            moved = request_take (self);
            if (!moved && self->have == INPUT_SIZE)
                return false;
            break;
        case DRAINING_LENGTH:
            moved = drain_length (self);
            break;
        case DRAINING_CHUNKED:
            moved = drain_chunked (self);
            break;
        case WRITING:
        {
            int written = connection_write (self);
            if (written < 0)
                return false;
            connection_watch (self, epoll, written == 0);
            moved = written > 0;
            if (moved)
                self->state = READING_HEAD;
            break;
        }
        }
        if (!moved)
            return true;
    }
}

static bool connection_read (struct connection *self)
{
    ssize_t length = read (self->fd, self->input + self->have, INPUT_SIZE - self->have);
    if (length <= 0)
        return length < 0 && errno == EAGAIN;
    self->have += (size_t) length;
    return true;
}

static int listener_open (const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen (path) >= sizeof address.sun_path)
    {
        errno = ENAMETOOLONG;
        die (path);
    }
    strcpy (address.sun_path, path);
    unlink (path);
    int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind (fd, (struct sockaddr *) &address, sizeof address) < 0 || listen (fd, 1024) < 0)
        die (path);
    return fd;
}

int main (int argc, char **argv)
{
    if (argc != 2 || argv[1][0] == '-')
    {
        fprintf (stderr, "usage: standin_engine SOCKET\n");
        return 2;
    }
    signal (SIGPIPE, SIG_IGN);
    json_answer_make ();
    int listener = listener_open (argv[1]);
    int epoll = epoll_create1 (EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || epoll_ctl (epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        die ("epoll");
    puts ("ready");
    fflush (stdout);
    for (;;)
    {
        struct epoll_event events[BATCH];
        int count = epoll_wait (epoll, events, BATCH, -1);
        for (int index = 0; index < count; index++)
        {
            struct connection *self = events[index].data.ptr;
            if (!self)
            {
                int fd = accept4 (listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                self = fd < 0 ? NULL : calloc (1, sizeof *self);
                if (!self)
                    continue;
                self->fd = fd;
                event = (struct epoll_event){.events = EPOLLIN, .data.ptr = self};
                epoll_ctl (epoll, EPOLL_CTL_ADD, fd, &event);
            }
            else if ((self->state != WRITING && !connection_read (self)) || !connection_work (self, epoll))
            {
                close (self->fd);
                free (self);
            }
        }
    }
}
