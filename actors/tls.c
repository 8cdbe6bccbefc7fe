/* tls.c - see tls.h. */
#include "tls.h"

#include "ensure.h"
#include "log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <sys/socket.h>

enum
{
    TLS_READ_AHEAD_BYTES = 64 * 1024, /* ciphertext that one read of a socket may bring */
    RECORD_ROOM = TLS_RECORD_BYTES + 1024,
};

/* --------------------------------------------------------------------------------------------------------- the BIO */

static int bio_write (BIO *bio, const char *bytes, int length)
{
    struct tls *tls = BIO_get_data (bio);
    struct tls_server *server = tls->server;
    if ((size_t) length > TLS_OUTPUT_BYTES - server->output_length)
    {
        BIO_set_retry_write (bio);
        return -1;
    }
    memcpy (server->output + server->output_length, bytes, (size_t) length);
    server->output_length += (size_t) length;
    return length;
}

static int bio_read (BIO *bio, char *bytes, int size)
{
    struct tls *tls = BIO_get_data (bio);
    BIO_clear_retry_flags (bio);
    ssize_t length = recv (tls->fd, bytes, (size_t) size, 0);
    if (length > 0)
    {
        if (!tls->first_known)
        {
            tls->first_known = true;
            tls->first = (uint8_t) bytes[0];
        }
        return (int) length;
    }
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read (bio);
    else
        tls->failure = length < 0 ? errno : 0;
    return (int) length;
}

static long bio_control (BIO *bio, int command, long number, void *pointer)
{
    (void) bio, (void) number, (void) pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *new_method (void)
{
    BIO_METHOD *method = must (BIO_meth_new (BIO_get_new_index () | BIO_TYPE_SOURCE_SINK, "shoal socket"));
    BIO_meth_set_write (method, bio_write);
    BIO_meth_set_read (method, bio_read);
    BIO_meth_set_ctrl (method, bio_control);
    return method;
}

/* ------------------------------------------------------------------------------------------------- the certificate */

static void add_extension (X509 *certificate, int id, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb (&context);
    X509V3_set_ctx (&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid (NULL, &context, id, value);
    if (extension)
        X509_add_ext (certificate, extension, -1);
    X509_EXTENSION_free (extension);
}

/* Subject and issuer stay empty, so the alternative names are critical (RFC 5280 section 4.2.1.6; contract 3.1). */
static X509 *new_certificate (EVP_PKEY *key, const char *address)
{
    X509 *certificate = must (X509_new ());
    X509_set_version (certificate, X509_VERSION_3);
    BIGNUM *serial = must (BN_new ());
    BN_rand (serial, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY);
    BN_to_ASN1_INTEGER (serial, X509_get_serialNumber (certificate));
    BN_free (serial);
    /* A clock of the other side may be a little behind. */
    X509_gmtime_adj (X509_getm_notBefore (certificate), -60L * 60);
    X509_gmtime_adj (X509_getm_notAfter (certificate), TLS_CERTIFICATE_DAYS * 24L * 60 * 60);
    X509_set_pubkey (certificate, key);
    add_extension (certificate, NID_basic_constraints, "critical,CA:FALSE");
    add_extension (certificate, NID_key_usage, "critical,digitalSignature");
    add_extension (certificate, NID_ext_key_usage, "serverAuth");
    char names[128];
    unsigned char binary[sizeof (struct in6_addr)];
    bool is_address = inet_pton (AF_INET, address, binary) == 1 || inet_pton (AF_INET6, address, binary) == 1;
    snprintf (names, sizeof names, "critical,DNS:localhost,IP:127.0.0.1%s%s", is_address ? ",IP:" : "",
              is_address ? address : "");
    add_extension (certificate, NID_subject_alt_name, names);
    if (X509_sign (certificate, key, EVP_sha256 ()) > 0)
        return certificate;
    X509_free (certificate);
    return NULL;
}

int tls_server_certify (struct tls_server *server, const char *address)
{
    X509 *certificate = new_certificate (server->key, address);
    int done = certificate && SSL_CTX_use_certificate (server->context, certificate) == 1 &&
               SSL_CTX_use_PrivateKey (server->context, server->key) == 1;
    X509_free (certificate);
    return done ? 0 : -1;
}

/* ALPN http/1.1 only; who offers other protocols alone is told so (RFC 7301 section 3.2). */
static int select_protocol (SSL *ssl, const unsigned char **out, unsigned char *out_length,
                            const unsigned char *offered, unsigned offered_length, void *argument)
{
    (void) ssl, (void) argument;
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto (&chosen, out_length, ours, sizeof ours - 1, offered, offered_length) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void hash_key (struct tls_server *server)
{
    unsigned char *der = NULL, digest[32];
    int length = i2d_PUBKEY (server->key, &der);
    if (length > 0 && EVP_Digest (der, (size_t) length, digest, NULL, EVP_sha256 (), NULL) == 1)
        for (size_t index = 0; index < sizeof digest; index++)
            snprintf (server->key_hash + 2 * index, 3, "%02x", digest[index]);
    OPENSSL_free (der);
}

static bool set_up (struct tls_server *server)
{
    server->key = EVP_EC_gen ("P-256");
    server->context = SSL_CTX_new (TLS_server_method ());
    if (!server->key || !server->context)
        return false;
    SSL_CTX *context = server->context;
    SSL_CTX_set_min_proto_version (context, TLS1_2_VERSION);
    SSL_CTX_set_options (context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode (context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead (context, 1);
    SSL_CTX_set_session_cache_mode (context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context (context, (const unsigned char *) "shoal", 5);
    SSL_CTX_set_timeout (context, TLS_TICKET_SECONDS);
    SSL_CTX_set_num_tickets (context, 1);
    SSL_CTX_set_alpn_select_cb (context, select_protocol, NULL);
    /* AES-128 first: as strong as the key exchange, and the faster of the two. */
    SSL_CTX_set_ciphersuites (context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set_cipher_list (context, "ECDHE+AESGCM:ECDHE+CHACHA20");
    hash_key (server);
    return tls_server_certify (server, "") == 0;
}

struct tls_server *tls_server_new (void)
{
    struct tls_server *server = must (calloc (1, sizeof *server));
    server->output = must (malloc (TLS_OUTPUT_BYTES));
    server->method = new_method ();
    if (!set_up (server))
    {
        log_error ("ingress", "cannot make the TLS key and certificate: %s",
                   ERR_reason_error_string (ERR_peek_last_error ()));
        tls_server_destroy (&server);
    }
    return server;
}

void tls_server_destroy (struct tls_server **server_p)
{
    struct tls_server *server = *server_p;
    if (!server)
        return;
    SSL_CTX_free (server->context);
    EVP_PKEY_free (server->key);
    BIO_meth_free (server->method);
    free (server->output);
    free (server);
    *server_p = NULL;
}

/* ------------------------------------------------------------------------------------------------------ connections */

int tls_open (struct tls *tls, struct tls_server *server, int fd)
{
    *tls = (struct tls){.ssl = SSL_new (server->context), .server = server, .fd = fd};
    BIO *bio = tls->ssl ? BIO_new (server->method) : NULL;
    if (!bio)
    {
        tls_close (tls);
        return -1;
    }
    BIO_set_data (bio, tls);
    BIO_set_init (bio, 1);
    SSL_set_bio (tls->ssl, bio, bio);
    SSL_set_accept_state (tls->ssl);
    return 0;
}

void tls_close (struct tls *tls)
{
    SSL_free (tls->ssl);
    free (tls->unsent);
    tls->ssl = NULL;
    tls->unsent = NULL;
    tls->unsent_at = tls->unsent_length = 0;
}

static enum tls_result result_of (struct tls *tls, int returned)
{
    switch (SSL_get_error (tls->ssl, returned))
    {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return TLS_BLOCKED;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_CLOSED;
    default:
        return TLS_FAILED;
    }
}

/* Errors of earlier calls would be taken for this one's; looking is cheaper than clearing. */
static void clear_errors (void)
{
    if (ERR_peek_error ())
        ERR_clear_error ();
}

enum tls_result tls_handshake (struct tls *tls)
{
    clear_errors ();
    int returned = SSL_do_handshake (tls->ssl);
    return returned == 1 ? TLS_OK : result_of (tls, returned);
}

enum tls_result tls_read (struct tls *tls, char *bytes, size_t size, size_t *length)
{
    clear_errors ();
    int returned = SSL_read_ex (tls->ssl, bytes, size, length);
    return returned == 1 ? TLS_OK : result_of (tls, returned);
}

bool tls_has_pending (const struct tls *tls)
{
    return SSL_has_pending (tls->ssl);
}

enum tls_result tls_write (struct tls *tls, const char *bytes, size_t length)
{
    size_t written;
    clear_errors ();
    int returned = SSL_write_ex (tls->ssl, bytes, length, &written);
    if (returned != 1)
        return result_of (tls, returned) == TLS_BLOCKED ? TLS_BLOCKED : TLS_FAILED;
    ensure (written == length);
    return TLS_OK;
}

void tls_rest (struct tls *tls)
{
    SSL_free_buffers (tls->ssl); /* does nothing while they hold something */
}

void tls_read_far (struct tls *tls, bool far)
{
    SSL_set_default_read_buffer_len (tls->ssl, far ? TLS_READ_AHEAD_BYTES : 0);
    SSL_free_buffers (tls->ssl);
}

bool tls_room (const struct tls *tls)
{
    return TLS_OUTPUT_BYTES - tls->server->output_length >= RECORD_ROOM;
}

/* Sends; returns the bytes that the kernel took, or -1 when the connection is broken. */
static ssize_t send_some (struct tls *tls, const char *bytes, size_t length)
{
    ssize_t sent = send (tls->fd, bytes, length, MSG_NOSIGNAL);
    if (sent >= 0)
        return sent;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    tls->failure = errno;
    return -1;
}

static void keep_unsent (struct tls *tls, const char *bytes, size_t length)
{
    ensure (length > 0);
    size_t left = tls->unsent_length - tls->unsent_at;
    char *kept = must (malloc (left + length));
    if (tls->unsent)
        memcpy (kept, tls->unsent + tls->unsent_at, left);
    memcpy (kept + left, bytes, length);
    free (tls->unsent);
    tls->unsent = kept;
    tls->unsent_at = 0;
    tls->unsent_length = left + length;
}

enum tls_result tls_flush (struct tls *tls)
{
    struct tls_server *server = tls->server;
    size_t fresh = server->output_length;
    server->output_length = 0;
    if (tls->unsent)
    {
        if (fresh)
            keep_unsent (tls, server->output, fresh);
        ssize_t sent = send_some (tls, tls->unsent + tls->unsent_at, tls->unsent_length - tls->unsent_at);
        if (sent < 0)
            return TLS_FAILED;
        tls->unsent_at += (size_t) sent;
        if (tls->unsent_at < tls->unsent_length)
            return TLS_BLOCKED;
        free (tls->unsent);
        tls->unsent = NULL;
        tls->unsent_at = tls->unsent_length = 0;
        return TLS_OK;
    }
    if (!fresh)
        return TLS_OK;
    ssize_t sent = send_some (tls, server->output, fresh);
    if (sent < 0)
        return TLS_FAILED;
    if ((size_t) sent == fresh)
        return TLS_OK;
    keep_unsent (tls, server->output + sent, fresh - (size_t) sent);
    return TLS_BLOCKED;
}

void tls_end (struct tls *tls)
{
    clear_errors ();
    if (SSL_is_init_finished (tls->ssl))
        SSL_shutdown (tls->ssl);
}

const char *tls_reason (struct tls *tls)
{
    unsigned long code = ERR_peek_last_error ();
    if (tls->failure)
        return strerror (tls->failure);
    const char *reason = code ? ERR_reason_error_string (code) : NULL;
    return reason ? reason : "connection ended";
}
