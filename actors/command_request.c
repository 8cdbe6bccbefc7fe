/* command_request.c - `shoal request` and `shoal sign`: a signed client for people and scripts.
 *
 * One request over one TLS connection with blocking calls; the body comes from a file or stdin, the answer's body goes
 * to stdout as it comes. The agent's certificate is self-signed and made anew at each start, so it is not checked;
 * --pin checks its key instead. The client's own key is made when it is missing, in ~/.config/shoal/key.pem.
 */
#include "commands.h"
#include "configuration.h"
#include "ensure.h"
#include "http/reader.h"
#include "http/signature.h"
#include "http/writer.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

enum
{
    HEADERS_MOST = 64,
    BODY_STEP = 64 * 1024,
};

struct arguments
{
    const char *method, *path, *to, *key, *target, *body, *pin;
    char *secret; /* owned: the one on the command line is wiped */
    const char *headers[HEADERS_MOST];
    size_t header_count;
    bool include;
    unsigned seconds; /* that connecting, reading and writing may each take; 0: no limit */
};

static const char *s_name = "shoal request";

static int fail (const char *what, const char *why)
{
    fprintf (stderr, "%s: %s%s%s\n", s_name, what, why ? ": " : "", why ? why : "");
    return -1;
}

/* ------------------------------------------------------------------------------------------------------------- the key
 */

/* ~/.config/shoal/key.pem; the folders are made. */
static int standard_key (char path[PATH_MAX])
{
    const char *configuration = getenv ("XDG_CONFIG_HOME"), *home = getenv ("HOME");
    char folder[PATH_MAX - 32];
    if (configuration && *configuration)
        snprintf (folder, sizeof folder, "%s", configuration);
    else if (home && *home)
        snprintf (folder, sizeof folder, "%s/.config", home);
    else
        return fail ("HOME is not set: say --key FILE", NULL);
    mkdir (folder, 0700);
    snprintf (path, PATH_MAX, "%s/shoal", folder);
    mkdir (path, 0700);
    snprintf (path, PATH_MAX, "%s/shoal/key.pem", folder);
    return 0;
}

static struct signature_signer *make_key (const char *path)
{
    const char *error = "";
    struct signature_signer *signer = signature_signer_new (SLICE (""), &error);
    char *pem = signer ? signature_signer_pem (signer) : NULL;
    int fd = pem ? open (path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    bool written = fd >= 0 && write (fd, pem, strlen (pem)) == (ssize_t) strlen (pem);
    if (fd >= 0)
        close (fd);
    free (pem);
    if (written)
        return signer;
    fail (path, strerror (errno));
    signature_signer_destroy (&signer);
    return NULL;
}

static struct signature_signer *load_key (const char *given)
{
    char path[PATH_MAX], pem[16384];
    if (given)
        snprintf (path, sizeof path, "%s", given);
    else if (standard_key (path) < 0)
        return NULL;
    FILE *file = fopen (path, "re");
    if (!file && errno == ENOENT)
        return make_key (path);
    if (!file)
        return fail (path, strerror (errno)), NULL;
    size_t length = fread (pem, 1, sizeof pem, file);
    fclose (file);
    const char *error = "the file is empty";
    struct signature_signer *signer = length ? signature_signer_new (slice_of (pem, length), &error) : NULL;
    OPENSSL_cleanse (pem, sizeof pem);
    if (!signer)
        fail (path, error);
    return signer;
}

struct signed_headers
{
    char *key; /* NULL: the request is not signed */
    char signature[96];
};

static int sign (const struct arguments *arguments, struct signed_headers *headers)
{
    uint8_t digest[SIGNATURE_DIGEST_BYTES];
    const char *secret = arguments->secret ? arguments->secret : getenv ("AGENT_SECRET");
    struct signature_signer *signer = load_key (arguments->key);
    if (!signer)
        return -1;
    signature_digest (slice_from (secret), digest);
    headers->key = must (strdup (signature_signer_public (signer)));
    int signed_ = signature_sign (signer, digest, headers->signature);
    signature_signer_destroy (&signer);
    return signed_ == 0 ? 0 : fail ("cannot sign", NULL);
}

/* ------------------------------------------------------------------------------------------------------ the connection
 */

static int dial (const char *to, unsigned seconds)
{
    struct timeval limit = {.tv_sec = seconds};
    char host[256];
    const char *colon = strrchr (to, ':'), *port = colon ? colon + 1 : "9001";
    size_t length = colon ? (size_t) (colon - to) : strlen (to);
    bool brackets = length > 1 && to[0] == '[' && to[length - 1] == ']';
    snprintf (host, sizeof host, "%.*s", (int) (brackets ? length - 2 : length), to + brackets);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int error = getaddrinfo (host, port, &hints, &found);
    if (error)
        return fail (to, gai_strerror (error));
    int fd = -1;
    for (struct addrinfo *address = found; address && fd < 0; address = address->ai_next)
    {
        fd = socket (address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && seconds)
        {
            setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
            setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        }
        if (fd >= 0 && connect (fd, address->ai_addr, address->ai_addrlen) < 0)
        {
            int failure = errno;
            close (fd);
            fd = -1;
            errno = failure;
        }
    }
    freeaddrinfo (found);
    return fd >= 0 ? fd : fail (to, strerror (errno));
}

static int check_pin (SSL *ssl, const char *pin)
{
    unsigned char *der = NULL, digest[32];
    char hex[65] = "";
    X509 *certificate = SSL_get0_peer_certificate (ssl);
    int length = certificate ? i2d_PUBKEY (X509_get0_pubkey (certificate), &der) : 0;
    if (length > 0 && EVP_Digest (der, (size_t) length, digest, NULL, EVP_sha256 (), NULL) == 1)
        for (size_t index = 0; index < sizeof digest; index++)
            snprintf (hex + 2 * index, 3, "%02x", digest[index]);
    OPENSSL_free (der);
    return strcasecmp (hex, pin) == 0 ? 0 : fail ("the agent has another key than --pin", hex);
}

static SSL *connect_tls (SSL_CTX *context, const struct arguments *arguments)
{
    int fd = dial (arguments->to, arguments->seconds);
    if (fd < 0)
        return NULL;
    SSL *ssl = must (SSL_new (context));
    SSL_set_fd (ssl, fd);
    if (SSL_connect (ssl) == 1 && (!arguments->pin || check_pin (ssl, arguments->pin) == 0))
        return ssl;
    unsigned long error = ERR_get_error ();
    if (error)
        fail (arguments->to, ERR_reason_error_string (error));
    SSL_free (ssl);
    close (fd);
    return NULL;
}

static int write_all (SSL *ssl, const char *bytes, size_t length)
{
    size_t written;
    return length == 0 || SSL_write_ex (ssl, bytes, length, &written) == 1 ? 0 : -1;
}

/* -------------------------------------------------------------------------------------------------------- the request
 */

static int write_head (SSL *ssl, const struct arguments *arguments, const struct signed_headers *headers)
{
    static char bytes[HTTP_HEAD_MAX];
    struct http_writer writer = {.at = bytes, .capacity = sizeof bytes};
    http_write_request_line (&writer, slice_from (arguments->method), slice_from (arguments->path));
    http_write_field (&writer, SLICE ("Host"), slice_from (arguments->to));
    http_write_field (&writer, SLICE ("User-Agent"), SLICE ("shoal/" SHOAL_VERSION));
    if (headers->key)
    {
        http_write_field (&writer, SLICE ("X-PortainerAgent-PublicKey"), slice_from (headers->key));
        http_write_field (&writer, SLICE ("X-PortainerAgent-Signature"), slice_from (headers->signature));
    }
    if (arguments->target)
        http_write_field (&writer, SLICE ("X-PortainerAgent-Target"), slice_from (arguments->target));
    for (size_t index = 0; index < arguments->header_count; index++)
    {
        const char *text = arguments->headers[index], *colon = strchr (text, ':');
        if (!colon)
            return fail ("--header needs 'Name: value'", text);
        const char *value = colon + 1 + strspn (colon + 1, " ");
        http_write_field (&writer, slice_of (text, (size_t) (colon - text)), slice_from (value));
    }
    http_write_field (&writer, SLICE ("Connection"), SLICE ("close"));
    http_write_framing (&writer, arguments->body ? FRAMING_CHUNKED : FRAMING_NONE, 0);
    http_write_end (&writer);
    if (writer.overflow)
        return fail ("a header or the path has a line break in it, or all are too long", NULL);
    return write_all (ssl, bytes, writer.length);
}

static int write_body (SSL *ssl, const char *name)
{
    FILE *file = strcmp (name, "-") == 0 ? stdin : fopen (name, "re");
    if (!file)
        return fail (name, strerror (errno));
    static char bytes[BODY_STEP + 32];
    int result = 0;
    for (size_t length; result == 0 && (length = fread (bytes + 20, 1, BODY_STEP, file)) > 0;)
    {
        char head[18];
        size_t prefix = http_chunk_head (head, length);
        memcpy (bytes + 20 - prefix, head, prefix);
        memcpy (bytes + 20 + length, "\r\n", 2);
        result = write_all (ssl, bytes + 20 - prefix, prefix + length + 2);
    }
    if (ferror (file))
        result = fail (name, "cannot be read to its end");
    if (file != stdin)
        fclose (file);
    /* An agent that refuses closes before the body is whole; its answer says why. */
    if (result == 0 && write_all (ssl, "0\r\n\r\n", 5) < 0)
        return 0;
    return result;
}

/* --------------------------------------------------------------------------------------------------------- the answer
 */

static void print_head (const struct http_head *head)
{
    printf ("HTTP/1.1 %u %.*s\n", head->status, (int) head->reason.len, head->reason.at);
    for (size_t index = 0; index < head->headers.count; index++)
        printf ("%.*s: %.*s\n", (int) head->headers.at[index].name.len, head->headers.at[index].name.at,
                (int) head->headers.at[index].value.len, head->headers.at[index].value.at);
    printf ("\n");
}

/* Uses bytes of the answer. Returns 1 when it is whole, 0 when more is needed, -1 when it is malformed. */
static int use_answer (struct http_reader *reader, bool *head_done, bool include, char *bytes, size_t length,
                       size_t *used)
{
    static struct header table[HTTP_HEADERS_MAX];
    *used = 0;
    while (!*head_done)
    {
        enum http_result result = http_reader_head (reader, bytes + *used, length - *used, table);
        if (result != HTTP_DONE)
            return result == HTTP_MORE ? 0 : fail ("malformed answer", reader->error_text);
        *used += reader->head.bytes;
        if (reader->head.status < 200 && reader->head.status != 101)
        {
            http_reader_next (reader);
            continue;
        }
        *head_done = true;
        if (include)
            print_head (&reader->head);
    }
    struct slice piece = slice_of (bytes + *used, length - *used);
    size_t step = piece.len;
    enum http_result result = HTTP_MORE;
    if (reader->head.framing != FRAMING_RAW)
        result = http_reader_body (reader, bytes + *used, length - *used, &piece, &step);
    *used += step;
    if (result == HTTP_ERROR)
        return fail ("malformed answer", reader->error_text);
    if (piece.len && (fwrite (piece.at, 1, piece.len, stdout) < piece.len || fflush (stdout) != 0))
        return fail ("cannot write the answer", strerror (errno));
    return result == HTTP_DONE;
}

static int read_answer (SSL *ssl, const struct arguments *arguments)
{
    static struct http_reader reader;
    static char bytes[2 * HTTP_HEAD_MAX];
    size_t held = 0;
    bool head_done = false;
    http_reader_init (&reader, true);
    http_reader_expect_no_body (&reader, strcmp (arguments->method, "HEAD") == 0);
    for (;;)
    {
        size_t length = 0, used = 0;
        if (held == sizeof bytes)
            return fail ("malformed answer", "its head is too long");
        if (SSL_read_ex (ssl, bytes + held, sizeof bytes - held, &length) != 1)
        {
            bool orderly = SSL_get_shutdown (ssl) & SSL_RECEIVED_SHUTDOWN;
            bool whole = head_done && (reader.head.framing == FRAMING_RAW || http_reader_may_end (&reader));
            if (whole && orderly)
                break;
            return fail (head_done ? "the answer was cut off" : "the agent closed the connection without an answer",
                         NULL);
        }
        held += length;
        int result = use_answer (&reader, &head_done, arguments->include, bytes, held, &used);
        if (result < 0)
            return -1;
        if (result > 0)
            break;
        held -= used;
        memmove (bytes, bytes + used, held);
    }
    unsigned status = reader.head.status;
    if (status >= 300 && !arguments->include)
        fprintf (stderr, "\n%s: answered with status %u\n", s_name, status);
    return status < 300 ? 0 : -1;
}

static int run (const struct arguments *arguments, const struct signed_headers *headers)
{
    signal (SIGPIPE, SIG_IGN);
    SSL_CTX *context = must (SSL_CTX_new (TLS_client_method ()));
    SSL_CTX_set_min_proto_version (context, TLS1_2_VERSION);
    SSL_CTX_set_verify (context, SSL_VERIFY_NONE, NULL);
    SSL *ssl = connect_tls (context, arguments);
    int result = -1;
    if (ssl)
    {
        result = write_head (ssl, arguments, headers);
        if (result == 0 && arguments->body)
            result = write_body (ssl, arguments->body);
        /* A refusal may come while the body is still being written. */
        if (result == 0 || arguments->body)
            result = read_answer (ssl, arguments) < 0 ? -1 : result;
        int fd = SSL_get_fd (ssl);
        SSL_shutdown (ssl);
        SSL_free (ssl);
        close (fd);
    }
    SSL_CTX_free (context);
    return result;
}

/* ---------------------------------------------------------------------------------------------------------- arguments
 */

enum
{
    KEY_TO = 1000,
    KEY_SECRET,
    KEY_KEY,
    KEY_TARGET,
    KEY_BODY,
    KEY_HEADER,
    KEY_PIN,
};

#define OPTION_SECRET                                                                                                  \
    {                                                                                                                  \
        "secret", KEY_SECRET, "SECRET", 0, "secret of the agent [AGENT_SECRET]", 0                                     \
    }
#define OPTION_KEY                                                                                                     \
    {                                                                                                                  \
        "key", KEY_KEY, "FILE", 0, "private key, PEM; made when missing (~/.config/shoal/key.pem)", 0                  \
    }

static void forget_secret (struct arguments *arguments)
{
    if (arguments->secret)
        explicit_bzero (arguments->secret, strlen (arguments->secret));
    free (arguments->secret);
    arguments->secret = NULL;
}

static error_t parse_argument (int key, char *argument, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key)
    {
    case KEY_TO:
        arguments->to = argument;
        return 0;
    case KEY_SECRET:
        forget_secret (arguments);
        arguments->secret = must (strdup (argument));
        explicit_bzero (argument, strlen (argument));
        return 0;
    case KEY_KEY:
        arguments->key = argument;
        return 0;
    case KEY_TARGET:
        arguments->target = argument;
        return 0;
    case KEY_BODY:
        arguments->body = argument;
        return 0;
    case KEY_PIN:
        arguments->pin = argument;
        return 0;
    case 'i':
        arguments->include = true;
        return 0;
    case KEY_HEADER:
        if (arguments->header_count == HEADERS_MOST)
            argp_error (state, "more than %d headers", HEADERS_MOST);
        arguments->headers[arguments->header_count++] = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1 || !arguments->to)
            argp_usage (state);
        *(state->arg_num ? &arguments->path : &arguments->method) = argument;
        return 0;
    case ARGP_KEY_END:
        if (arguments->to && !arguments->path)
            argp_usage (state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int command_request (int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"to", KEY_TO, "HOST:PORT", 0, "the agent (127.0.0.1:9001)", 0},
        OPTION_SECRET,
        OPTION_KEY,
        {"target", KEY_TARGET, "NODE", 0, "node that shall answer, in a cluster", 0},
        {"body", KEY_BODY, "FILE", 0, "body of the request; - is stdin", 0},
        {"header", KEY_HEADER, "'NAME: VALUE'", 0, "a further header; may be repeated", 0},
        {"include", 'i', 0, 0, "print the answer's head too", 0},
        {"pin", KEY_PIN, "HEX", 0, "SHA-256 of the agent's public key, as its log says it; else any key is accepted",
         0},
        {0}};
    const struct argp argp = {
        .options = options,
        .parser = parse_argument,
        .args_doc = "METHOD PATH",
        .doc = "Sends a signed request to an agent and streams the answer's body to stdout. Exit status "
               "0: the answer was a 2xx.\vExample: shoal request GET '/containers/json?all=1'"};
    struct arguments arguments = {.to = "127.0.0.1:9001"};
    struct signed_headers headers = {.key = NULL};
    argv[0] = (char *) (uintptr_t) s_name;
    argp_err_exit_status = 1;
    argp_parse (&argp, argc, argv, 0, NULL, &arguments);
    int result = sign (&arguments, &headers);
    if (result == 0)
        result = run (&arguments, &headers);
    free (headers.key);
    forget_secret (&arguments);
    return result == 0 ? 0 : 1;
}

int request_ping (const char *to, unsigned seconds)
{
    const struct arguments arguments = {.method = "GET", .path = "/ping", .to = to, .seconds = seconds};
    const struct signed_headers unsigned_ = {.key = NULL};
    s_name = "shoal";
    return run (&arguments, &unsigned_);
}

int command_sign (int argc, char **argv)
{
    static const struct argp_option options[] = {OPTION_SECRET, OPTION_KEY, {0}};
    const struct argp argp = {.options = options,
                              .parser = parse_argument,
                              .doc = "Prints the two signature headers as a JSON object, as the HttpHeaders of a "
                                     "docker config.json. They are good for ever: "
                                     "keep them like a password."};
    struct arguments arguments = {.to = NULL};
    struct signed_headers headers = {.key = NULL};
    s_name = "shoal sign";
    argv[0] = (char *) (uintptr_t) s_name;
    argp_err_exit_status = 1;
    argp_parse (&argp, argc, argv, 0, NULL, &arguments);
    int result = sign (&arguments, &headers);
    if (result == 0)
        printf ("{\"X-PortainerAgent-PublicKey\":\"%s\",\"X-PortainerAgent-Signature\":\"%s\"}\n", headers.key,
                headers.signature);
    free (headers.key);
    forget_secret (&arguments);
    return result == 0 ? 0 : 1;
}
