/* signer.c - the client's side of the signature headers: a P-256 key that signs, for `shoal request` and for tests.
 *
 * Declared in signature.h.
 */
#include "http/signature.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>

enum
{
    HALF = 32,          /* bytes of r and of s on P-256 */
    PUBLIC_BYTES = 91,  /* DER of a P-256 key */
    DER_BYTES_MAX = 80, /* DER of a P-256 signature is at most 72 */
};

struct signature_signer
{
    EVP_PKEY *key;
    char public[2 * PUBLIC_BYTES + 1];
};

/* There is nobody to ask for a pass phrase; OpenSSL would ask the terminal. */
static int no_pass_phrase (char *buffer, int size, int writing, void *data)
{
    (void) buffer, (void) size, (void) writing, (void) data;
    return -1;
}

static EVP_PKEY *key_read (struct slice pem)
{
    BIO *bio = pem.len <= INT32_MAX ? BIO_new_mem_buf (pem.at, (int) pem.len) : NULL;
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey (bio, NULL, no_pass_phrase, NULL) : NULL;
    BIO_free (bio);
    return key;
}

/* Fills in the public half; false when the key is none on P-256. */
static bool signer_set_public (struct signature_signer *signer)
{
    char group[32];
    uint8_t der[PUBLIC_BYTES], *at = der;
    const char *error;
    if (!EVP_PKEY_is_a (signer->key, "EC") ||
        EVP_PKEY_get_utf8_string_param (signer->key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, NULL) != 1 ||
        strcmp (group, SN_X9_62_prime256v1) != 0 ||
        EVP_PKEY_set_utf8_string_param (signer->key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") != 1 ||
        i2d_PUBKEY (signer->key, NULL) != sizeof der || i2d_PUBKEY (signer->key, &at) != sizeof der)
        return false;
    struct signature_key *key = signature_key_new (der, sizeof der, &error);
    bool good = key != NULL;
    signature_key_destroy (&key);
    for (size_t byte = 0; byte < sizeof der; byte++)
    {
        signer->public[2 * byte] = "0123456789abcdef"[der[byte] >> 4];
        signer->public[2 * byte + 1] = "0123456789abcdef"[der[byte] & 15];
    }
    return good;
}

struct signature_signer *signature_signer_new (struct slice pem, const char **error)
{
    *error = "out of memory";
    struct signature_signer *signer = calloc (1, sizeof *signer);
    if (!signer)
        return NULL;
    *error = NULL;
    signer->key = pem.len > 0 ? key_read (pem) : EVP_EC_gen ("P-256");
    if (!signer->key)
        *error = pem.len > 0 ? "not a private key in PEM form without a pass phrase" : "cannot make a key";
    else if (!signer_set_public (signer))
        *error = "not a P-256 key";
    if (*error)
    {
        ERR_clear_error ();
        signature_signer_destroy (&signer);
    }
    return signer;
}

void signature_signer_destroy (struct signature_signer **signer)
{
    if (!*signer)
        return;
    EVP_PKEY_free ((*signer)->key);
    free (*signer);
    *signer = NULL;
}

const char *signature_signer_public (const struct signature_signer *signer)
{
    return signer->public;
}

char *signature_signer_pem (const struct signature_signer *signer)
{
    char *at, *pem = NULL;
    BIO *bio = BIO_new (BIO_s_secmem ());
    if (bio && PEM_write_bio_PKCS8PrivateKey (bio, signer->key, NULL, NULL, 0, NULL, NULL) == 1)
    {
        long length = BIO_get_mem_data (bio, &at);
        pem = length > 0 ? strndup (at, (size_t) length) : NULL;
    }
    BIO_free (bio);
    return pem;
}

/* Base64 without padding, and a NUL. */
static void base64_encode (const uint8_t *bytes, size_t length, char *out)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    unsigned count = 0; /* of bits not written yet */
    for (size_t at = 0; at < length; at++)
        for (bits = bits << 8 | bytes[at], count += 8; count >= 6; count -= 6)
            *out++ = alphabet[bits >> (count - 6) & 63];
    if (count > 0)
        *out++ = alphabet[bits << (6 - count) & 63];
    *out = '\0';
}

int signature_sign (struct signature_signer *signer, const uint8_t digest[SIGNATURE_DIGEST_BYTES], char out[96])
{
    uint8_t der[DER_BYTES_MAX], raw[2 * HALF];
    size_t length = sizeof der;
    ECDSA_SIG *signature = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new (signer->key, NULL);
    if (context && EVP_PKEY_sign_init (context) == 1 &&
        EVP_PKEY_sign (context, der, &length, digest, SIGNATURE_DIGEST_BYTES) == 1)
    {
        const uint8_t *at = der;
        signature = d2i_ECDSA_SIG (NULL, &at, (long) length);
    }
    bool good = signature && BN_bn2binpad (ECDSA_SIG_get0_r (signature), raw, HALF) == HALF &&
                BN_bn2binpad (ECDSA_SIG_get0_s (signature), raw + HALF, HALF) == HALF;
    if (good)
        base64_encode (raw, sizeof raw, out);
    else
        ERR_clear_error ();
    ECDSA_SIG_free (signature);
    EVP_PKEY_CTX_free (context);
    return good ? 0 : -1;
}
