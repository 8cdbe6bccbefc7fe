/* tls.c - one TLS connection. See tls.h. */
#include "tls.h"

#include "ensure.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509.h>
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
    struct tls_endpoint *endpoint = tls->endpoint;
    if ((size_t) length > TLS_OUTPUT_BYTES - endpoint->output_length)
    {
        BIO_set_retry_write (bio);
        return -1;
    }
    memcpy (endpoint->output + endpoint->output_length, bytes, (size_t) length);
    endpoint->output_length += (size_t) length;
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

BIO_METHOD *tls_method_new (void)
{
    BIO_METHOD *method = must (BIO_meth_new (BIO_get_new_index () | BIO_TYPE_SOURCE_SINK, "shoal socket"));
    BIO_meth_set_write (method, bio_write);
    BIO_meth_set_read (method, bio_read);
    BIO_meth_set_ctrl (method, bio_control);
    return method;
}

/* ------------------------------------------------------------------------------------------------------ connections */

static int open_connection (struct tls *tls, struct tls_endpoint *endpoint, int fd)
{
    *tls = (struct tls){.ssl = SSL_new (endpoint->context), .endpoint = endpoint, .fd = fd};
    BIO *bio = tls->ssl ? BIO_new (endpoint->method) : NULL;
    if (!bio)
    {
        tls_close (tls);
        return -1;
    }
    BIO_set_data (bio, tls);
    BIO_set_init (bio, 1);
    SSL_set_bio (tls->ssl, bio, bio);
    return 0;
}

int tls_open (struct tls *tls, struct tls_endpoint *endpoint, int fd)
{
    int opened = open_connection (tls, endpoint, fd);
    if (opened == 0)
        SSL_set_accept_state (tls->ssl);
    return opened;
}

int tls_open_client (struct tls *tls, struct tls_endpoint *endpoint, int fd)
{
    int opened = open_connection (tls, endpoint, fd);
    if (opened == 0)
        SSL_set_connect_state (tls->ssl);
    return opened;
}

bool tls_peer_has_key (const struct tls *tls, const char *key_hash)
{
    char hash[65];
    X509 *certificate = SSL_get0_peer_certificate (tls->ssl);
    EVP_PKEY *key = certificate ? X509_get0_pubkey (certificate) : NULL;
    return key && tls_key_hash (key, hash) == 0 && strlen (key_hash) == 64 && CRYPTO_memcmp (hash, key_hash, 64) == 0;
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
    return SSL_has_pending (tls->ssl) || (SSL_get_shutdown (tls->ssl) & SSL_RECEIVED_SHUTDOWN);
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
    return TLS_OUTPUT_BYTES - tls->endpoint->output_length >= RECORD_ROOM;
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
    struct tls_endpoint *endpoint = tls->endpoint;
    size_t fresh = endpoint->output_length;
    endpoint->output_length = 0;
    if (tls->unsent)
    {
        if (fresh)
            keep_unsent (tls, endpoint->output, fresh);
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
    ssize_t sent = send_some (tls, endpoint->output, fresh);
    if (sent < 0)
        return TLS_FAILED;
    if ((size_t) sent == fresh)
        return TLS_OK;
    keep_unsent (tls, endpoint->output + sent, fresh - (size_t) sent);
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

/* ---------------------------------------------------------------------------------------------------------- queues */

/* Takes up to one record's worth of plaintext from the queue, and encrypts it. A run that fills a record alone is not
 * copied. */
static enum tls_result write_record (struct tls *tls, struct byte_queue *queue, size_t *payload)
{
    char *record = tls->endpoint->record;
    size_t filled = 0;
    while (filled < TLS_RECORD_BYTES)
    {
        struct slice run = byte_queue_next (queue, payload);
        if (filled == 0 && run.len >= TLS_RECORD_BYTES)
        {
            enum tls_result result = tls_write (tls, run.at, TLS_RECORD_BYTES);
            byte_queue_advance (queue, TLS_RECORD_BYTES, payload);
            return result;
        }
        if (run.len == 0)
            break;
        size_t step = run.len < TLS_RECORD_BYTES - filled ? run.len : TLS_RECORD_BYTES - filled;
        memcpy (record + filled, run.at, step);
        filled += step;
        byte_queue_advance (queue, step, payload);
    }
    return filled ? tls_write (tls, record, filled) : TLS_OK;
}

/* Sends what is encrypted. The payload in it is written when the kernel has all of it: what is kept here still costs
 * memory, and so still counts for the stream's window. */
static enum tls_result flush_payload (struct tls *tls, size_t *payload)
{
    enum tls_result result = tls_flush (tls);
    if (result != TLS_OK)
        return result;
    *payload += tls->unsent_payload;
    tls->unsent_payload = 0;
    return TLS_OK;
}

enum tls_result tls_write_queue (struct tls *tls, struct byte_queue *queue, size_t *payload)
{
    enum tls_result result = tls->unsent ? flush_payload (tls, payload) : TLS_OK; /* what was left over comes first */
    while (result == TLS_OK && queue->count)
    {
        if (!tls_room (tls))
            result = flush_payload (tls, payload);
        else if (write_record (tls, queue, &tls->unsent_payload) != TLS_OK)
            result = TLS_FAILED;
    }
    return result == TLS_OK ? flush_payload (tls, payload) : result;
}
