/* cluster_keys.c - see cluster_keys.h. */
#include "cluster_keys.h"

#include "ensure.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>
#include <zmq.h>

/* Other versions of the wire form, or of this derivation, get another salt: their agents do not understand each other,
 * and notice at the handshake. */
static const char s_salt[] = "shoal cluster 1";
static const char s_nobodys_secret[] = "no secret: everybody knows this one";

static void derive (uint8_t key[CLUSTER_KEY_BYTES], const char *secret, const char *purpose)
{
    EVP_KDF *kdf = must (EVP_KDF_fetch (NULL, "HKDF", NULL));
    EVP_KDF_CTX *context = must (EVP_KDF_CTX_new (kdf));
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string (OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string (OSSL_KDF_PARAM_KEY, (void *) (uintptr_t) secret, strlen (secret)),
        OSSL_PARAM_construct_octet_string (OSSL_KDF_PARAM_SALT, (void *) (uintptr_t) s_salt, sizeof s_salt - 1),
        OSSL_PARAM_construct_octet_string (OSSL_KDF_PARAM_INFO, (void *) (uintptr_t) purpose, strlen (purpose)),
        OSSL_PARAM_construct_end ()};
    ensure (EVP_KDF_derive (context, key, CLUSTER_KEY_BYTES, parameters) == 1);
    EVP_KDF_CTX_free (context);
    EVP_KDF_free (kdf);
}

/* libzmq computes public keys of Z85 text only. */
static void publish (uint8_t public_key[CLUSTER_KEY_BYTES], const uint8_t secret_key[CLUSTER_KEY_BYTES])
{
    char text[CLUSTER_KEY_BYTES / 4 * 5 + 1], public_text[sizeof text];
    ensure (zmq_z85_encode (text, secret_key, CLUSTER_KEY_BYTES) != NULL);
    ensure (zmq_curve_public (public_text, text) == 0);
    ensure (zmq_z85_decode (public_key, public_text) != NULL);
    explicit_bzero (text, sizeof text);
}

void cluster_keys_derive (struct cluster_keys *keys, const char *secret)
{
    /* A secret of that very text must not open what is open to all. */
    const char *server = secret[0] ? "server" : "open server", *client = secret[0] ? "client" : "open client";
    secret = secret[0] ? secret : s_nobodys_secret;
    derive (keys->server_secret, secret, server);
    derive (keys->client_secret, secret, client);
    publish (keys->server_public, keys->server_secret);
    publish (keys->client_public, keys->client_secret);
}

void cluster_keys_wipe (struct cluster_keys *keys)
{
    explicit_bzero (keys, sizeof *keys);
}
