/* tls.h - TLS for ingress and peers: keys and certificate, and connections that encrypt into one buffer shared by all.
 *
 * OpenSSL reads through a BIO of ours straight from the socket, and writes into a ciphertext buffer that the whole
 * reactor shares: many records leave in one system call. OpenSSL's own buffers, some 17 KiB for each direction, are
 * given back when the caller says that a connection rests. So the buffer never holds bytes of two connections, every
 * call that may have produced ciphertext is followed by tls_flush() before another connection's turn.
 */
#pragma once

#include "byte_queue.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum
{
    TLS_RECORD_BYTES = 16 * 1024,      /* most plaintext in one record (RFC 8446 section 5.1) */
    TLS_OUTPUT_BYTES = 5 * 17 * 1024,  /* the shared buffer; flushed when less than one record's room is left */
    TLS_TICKET_SECONDS = 24 * 60 * 60, /* a session can be resumed for a day at most */
    TLS_CERTIFICATE_DAYS = 365,        /* re-issued after half of it */
};

/* ---- tls_endpoint.c: what all connections of one side share */

struct tls_endpoint
{
    SSL_CTX *context;
    EVP_PKEY *key; /* server: ECDSA P-256, made once; client: NULL */
    BIO_METHOD *method;
    char *output; /* ciphertext on its way to one connection */
    size_t output_length;
    char *record;      /* TLS_RECORD_BYTES; plaintext gathered for one record */
    char key_hash[65]; /* server: SHA-256 of the public key (DER), hexadecimal */
};

/* Makes the server's key, certificate and context, or a client's context. Returns NULL after logging why. */
struct tls_endpoint *tls_server_new (void);
struct tls_endpoint *tls_client_new (void);
void tls_endpoint_destroy (struct tls_endpoint **endpoint);

/* Issues the certificate anew with the same key, for localhost and, when not empty, this IP address. Returns 0, or -1.
 */
int tls_server_certify (struct tls_endpoint *endpoint, const char *address);

/* SHA-256 of a key's SubjectPublicKeyInfo (DER), in lower-case hexadecimal. Returns 0, or -1. */
int tls_key_hash (EVP_PKEY *key, char hash[65]);

/* ---- one connection */

struct tls
{
    SSL *ssl;
    struct tls_endpoint *endpoint;
    int fd;
    int failure;      /* errno of the last failed read or write, 0 for an end of file */
    bool first_known; /* the first byte that came is known, */
    uint8_t first;    /* and it is this: 0x16 begins a TLS handshake */
    char *unsent;     /* ciphertext that the kernel did not take yet */
    size_t unsent_at, unsent_length;
    size_t unsent_payload; /* bytes of whole payloads that are encrypted, and not known to be with the kernel */
};

enum tls_result
{
    TLS_OK,
    TLS_BLOCKED, /* wait for the descriptor (reading), or for EPOLLOUT (flushing) */
    TLS_CLOSED,  /* the peer sent close_notify: an end in order */
    TLS_FAILED,  /* cut off, or no TLS: tls_reason() */
};

/* Makes the server's or the client's side of a connection on a connected non-blocking socket. Returns 0, or -1. */
int tls_open (struct tls *tls, struct tls_endpoint *endpoint, int fd);
int tls_open_client (struct tls *tls, struct tls_endpoint *endpoint, int fd);

/* After the handshake: whether the other side's public key has this hash (see tls_key_hash). */
bool tls_peer_has_key (const struct tls *tls, const char *key_hash);

/* Frees; the socket stays open. Idempotent. */
void tls_close (struct tls *tls);

enum tls_result tls_handshake (struct tls *tls);

/* Reads plaintext, at most size bytes into bytes; *length is set with TLS_OK. One read of the socket at most. */
enum tls_result tls_read (struct tls *tls, char *bytes, size_t size, size_t *length);

/* Whether bytes that were already read from the socket wait inside, or the peer's close_notify came: then tls_read()
 * says so however often it is asked. */
bool tls_has_pending (const struct tls *tls);

/* Encrypts at most TLS_RECORD_BYTES into the shared buffer, which must have room: see tls_room(). */
enum tls_result tls_write (struct tls *tls, const char *bytes, size_t length);
bool tls_room (const struct tls *tls);

/* Encrypts and sends the queue in records of TLS_RECORD_BYTES, and adds the payloads that the kernel now has to
 * *payload. TLS_OK when it has all. */
enum tls_result tls_write_queue (struct tls *tls, struct byte_queue *queue, size_t *payload);

/* Gives OpenSSL's buffers back; they are made anew when they are needed, which costs a busy connection a few per cent.
 */
void tls_rest (struct tls *tls);

/* Has one read of the socket bring up to four records, for a large body, or one again. */
void tls_read_far (struct tls *tls, bool far);

/* Sends what the shared buffer holds; what the kernel does not take is kept with the connection. */
enum tls_result tls_flush (struct tls *tls);

/* Puts close_notify into the shared buffer: this side will send no more. */
void tls_end (struct tls *tls);

/* Why the last call failed, in words; static or thread-local storage. */
const char *tls_reason (struct tls *tls);

/* The BIO of tls.c, for tls_endpoint.c. */
BIO_METHOD *tls_method_new (void);
