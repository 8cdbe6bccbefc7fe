/* tls_endpoint.c - keys, certificates and settings of TLS: what all connections of one side share. See tls.h. */
#include "tls.h"

#include "ensure.h"
#include "log.h"

#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

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

int tls_server_certify (struct tls_endpoint *endpoint, const char *address)
{
    X509 *certificate = new_certificate (endpoint->key, address);
    int done = certificate && SSL_CTX_use_certificate (endpoint->context, certificate) == 1 &&
               SSL_CTX_use_PrivateKey (endpoint->context, endpoint->key) == 1;
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

int tls_key_hash (EVP_PKEY *key, char hash[65])
{
    unsigned char *der = NULL, digest[32];
    int length = i2d_PUBKEY (key, &der);
    bool done = length > 0 && EVP_Digest (der, (size_t) length, digest, NULL, EVP_sha256 (), NULL) == 1;
    for (size_t index = 0; done && index < sizeof digest; index++)
        snprintf (hash + 2 * index, 3, "%02x", digest[index]);
    OPENSSL_free (der);
    return done ? 0 : -1;
}

/* What both sides' connections have alike. */
static void set_up_context (SSL_CTX *context)
{
    SSL_CTX_set_min_proto_version (context, TLS1_2_VERSION);
    SSL_CTX_set_options (context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode (context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead (context, 1);
    SSL_CTX_set_session_cache_mode (context, SSL_SESS_CACHE_OFF);
    /* AES-128 first: as strong as the key exchange, and the faster of the two. */
    SSL_CTX_set_ciphersuites (context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set_cipher_list (context, "ECDHE+AESGCM:ECDHE+CHACHA20");
}

static struct tls_endpoint *endpoint_new (const SSL_METHOD *method)
{
    struct tls_endpoint *endpoint = must (calloc (1, sizeof *endpoint));
    endpoint->output = must (malloc (TLS_OUTPUT_BYTES));
    endpoint->record = must (malloc (TLS_RECORD_BYTES));
    endpoint->method = tls_method_new ();
    endpoint->context = SSL_CTX_new (method);
    if (endpoint->context)
        set_up_context (endpoint->context);
    return endpoint;
}

static bool set_up_server (struct tls_endpoint *endpoint)
{
    SSL_CTX *context = endpoint->context;
    endpoint->key = EVP_EC_gen ("P-256");
    if (!endpoint->key || !context)
        return false;
    SSL_CTX_set_options (context, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_id_context (context, (const unsigned char *) "shoal", 5);
    SSL_CTX_set_timeout (context, TLS_TICKET_SECONDS);
    SSL_CTX_set_num_tickets (context, 1);
    SSL_CTX_set_alpn_select_cb (context, select_protocol, NULL);
    return tls_key_hash (endpoint->key, endpoint->key_hash) == 0 && tls_server_certify (endpoint, "") == 0;
}

struct tls_endpoint *tls_server_new (void)
{
    struct tls_endpoint *endpoint = endpoint_new (TLS_server_method ());
    if (!set_up_server (endpoint))
    {
        log_error ("ingress", "cannot make the TLS key and certificate: %s",
                   ERR_reason_error_string (ERR_peek_last_error ()));
        tls_endpoint_destroy (&endpoint);
    }
    return endpoint;
}

struct tls_endpoint *tls_client_new (void)
{
    struct tls_endpoint *endpoint = endpoint_new (TLS_client_method ());
    if (!endpoint->context)
    {
        log_error ("peers", "cannot make a TLS client: %s", ERR_reason_error_string (ERR_peek_last_error ()));
        tls_endpoint_destroy (&endpoint);
        return NULL;
    }
    /* The caller compares the server's key with the one that it expects: see tls_peer_has_key(). */
    SSL_CTX_set_verify (endpoint->context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_alpn_protos (endpoint->context, (const unsigned char *) "\x08http/1.1", 9);
    return endpoint;
}

void tls_endpoint_destroy (struct tls_endpoint **endpoint_p)
{
    struct tls_endpoint *endpoint = *endpoint_p;
    if (!endpoint)
        return;
    SSL_CTX_free (endpoint->context);
    EVP_PKEY_free (endpoint->key);
    BIO_meth_free (endpoint->method);
    free (endpoint->output);
    free (endpoint->record);
    free (endpoint);
    *endpoint_p = NULL;
}
