/* signature.c - the agent's signature headers, verified: an ECDSA signature over a constant message.
 *
 * A key comes as DER. Each curve taken has exactly one form of a SubjectPublicKeyInfo with an uncompressed point, so it
 * is recognised by comparing its first bytes and its length; only then does OpenSSL see it, and checks that the point
 * is on the curve. A signature comes as r and s; OpenSSL wants them as DER, which is written by hand on the stack:
 *
 *   30 len  02 len [00] r...  02 len [00] s...      without leading zero bytes, a 00 where the top bit is set
 *
 * The other side, which signs, is in signer.c.
 */
#include "http/signature.h"

#include "http/characters.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdio.h>
#include <stdlib.h>

enum
{
    PREFIX_BYTES_MAX = 27,
    INTEGER_BYTES_MAX = 2 + 1 + SIGNATURE_BYTES_MAX / 2, /* tag, length, sign byte, one half */
    FINGERPRINT_BYTES = 32,                              /* SHA-256 */
};

/* The curves taken: bytes of a coordinate, and what a key begins with, up to the 04 of the uncompressed point. */
static const struct curve
{
    const char *name;
    size_t half, prefix_length;
    uint8_t prefix[PREFIX_BYTES_MAX];
} curves[] = {
    {"P-256", 32, 27, {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                       0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04}},
    {"P-384", 48, 24, {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
                       0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04}},
    {"P-224", 28, 24, {0x30, 0x4e, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
                       0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21, 0x03, 0x3a, 0x00, 0x04}},
};

struct signature_key
{
    EVP_PKEY *key;
    EVP_PKEY_CTX *context; /* verifies, again and again */
    size_t half;           /* bytes of r and of s */
    size_t der_length;
    uint8_t der[SIGNATURE_KEY_BYTES_MAX];
};

/* -------------------------------------------------------------------------------------------------------- decoding */

/* Value of a character of the standard base64 alphabet, or -1. */
static int base64_value (char digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52;
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

int signature_decode (struct slice base64, uint8_t raw[SIGNATURE_BYTES_MAX], const char **error)
{
    size_t length = base64.len / 4 * 3 + (base64.len % 4 * 3) / 4;
    uint32_t bits = 0;
    size_t out = 0;
    *error = "illegal base64 data";
    for (size_t at = 0; at < base64.len; at++)
    {
        int value = base64_value (base64.at[at]);
        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t) value;
        if (at % 4 == 0 || length > SIGNATURE_BYTES_MAX)
            continue;
        raw[out++] = (uint8_t) (bits >> (6 - at % 4 * 2));
    }
    if (base64.len % 4 == 1)
        return -1;
    *error = "signature too long";
    if (length > SIGNATURE_BYTES_MAX)
        return -1;
    *error = NULL;
    return (int) length;
}

int signature_key_decode (struct slice hex, uint8_t der[SIGNATURE_KEY_BYTES_MAX], const char **error)
{
    *error = "invalid hex digit";
    if (!http_all_are (hex, CHARACTER_HEX))
        return -1;
    *error = "odd length hex string";
    if (hex.len % 2 != 0)
        return -1;
    *error = "public key too long";
    if (hex.len / 2 > SIGNATURE_KEY_BYTES_MAX)
        return -1;
    for (size_t at = 0; at < hex.len / 2; at++)
        der[at] = (uint8_t) (character_hex (hex.at[2 * at]) << 4 | character_hex (hex.at[2 * at + 1]));
    *error = NULL;
    return (int) (hex.len / 2);
}

/* ------------------------------------------------------------------------------------------------------------ keys */

/* The curve of a key, when the key has the one form that is taken. */
static const struct curve *curve_find (const uint8_t *der, size_t length)
{
    for (size_t at = 0; at < sizeof curves / sizeof curves[0]; at++)
        if (length == curves[at].prefix_length + 2 * curves[at].half &&
            memcmp (der, curves[at].prefix, curves[at].prefix_length) == 0)
            return &curves[at];
    return NULL;
}

/* OpenSSL's key from an uncompressed point; NULL when it is not on the curve. Five times as fast as its DER decoder. */
static EVP_PKEY *key_from_point (const struct curve *curve, uint8_t *point)
{
    char name[16];
    EVP_PKEY *key = NULL;
    snprintf (name, sizeof name, "%s", curve->name);
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string (OSSL_PKEY_PARAM_GROUP_NAME, name, 0),
        OSSL_PARAM_construct_octet_string (OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * curve->half),
        OSSL_PARAM_construct_end (),
    };
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name (NULL, "EC", NULL);
    if (!context || EVP_PKEY_fromdata_init (context) != 1 ||
        EVP_PKEY_fromdata (context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
    {
        EVP_PKEY_free (key);
        key = NULL;
    }
    EVP_PKEY_CTX_free (context);
    return key;
}

struct signature_key *signature_key_new (const uint8_t *der, size_t length, const char **error)
{
    const struct curve *curve = curve_find (der, length);
    *error = "not a public key on P-224, P-256 or P-384 with an uncompressed point";
    if (!curve)
        return NULL;
    *error = "out of memory";
    struct signature_key *key = calloc (1, sizeof *key);
    if (!key)
        return NULL;
    key->half = curve->half;
    key->der_length = length;
    memcpy (key->der, der, length);
    key->key = key_from_point (curve, key->der + curve->prefix_length - 1);
    if (key->key)
        key->context = EVP_PKEY_CTX_new (key->key, NULL);
    if (!key->context || EVP_PKEY_verify_init (key->context) != 1)
    {
        *error = key->key ? "out of memory" : "the public key's point is not on its curve";
        ERR_clear_error ();
        signature_key_destroy (&key);
        return NULL;
    }
    *error = NULL;
    return key;
}

void signature_key_destroy (struct signature_key **key)
{
    if (!*key)
        return;
    EVP_PKEY_CTX_free ((*key)->context);
    EVP_PKEY_free ((*key)->key);
    free (*key);
    *key = NULL;
}

struct slice signature_key_der (const struct signature_key *key)
{
    return slice_of ((const char *) key->der, key->der_length);
}

/* A digest that cannot fail for a reason of the caller's. Going on without one would be worse than to end: a signature
 * over a digest that is known to be zero can be made for any key. */
static void digest_of (const char *name, struct slice bytes, uint8_t *out)
{
    unsigned length = 0;
    EVP_MD *digest = EVP_MD_fetch (NULL, name, "-fips");
    if (!digest || EVP_Digest (bytes.len > 0 ? bytes.at : "", bytes.len, out, &length, digest, NULL) != 1)
    {
        fprintf (stderr, "signature: OpenSSL has no %s\n", name);
        abort ();
    }
    EVP_MD_free (digest);
}

void signature_key_fingerprint (const struct signature_key *key, char out[96])
{
    uint8_t digest[FINGERPRINT_BYTES];
    digest_of ("SHA256", signature_key_der (key), digest);
    for (size_t at = 0; at < sizeof digest; at++)
    {
        out[3 * at] = "0123456789abcdef"[digest[at] >> 4];
        out[3 * at + 1] = "0123456789abcdef"[digest[at] & 15];
        out[3 * at + 2] = at + 1 < sizeof digest ? ':' : '\0';
    }
}

/* ---------------------------------------------------------------------------------------------------- verification */

void signature_digest (struct slice secret, uint8_t digest[SIGNATURE_DIGEST_BYTES])
{
    digest_of ("MD5", secret.len > 0 ? secret : SLICE ("Portainer-App"), digest);
}

/* Writes an unsigned number as a DER INTEGER. Returns the bytes written. */
static size_t der_integer (uint8_t *out, const uint8_t *number, size_t length)
{
    while (length > 1 && number[0] == 0)
        number++, length--;
    size_t sign = number[0] >> 7;
    out[0] = 0x02;
    out[1] = (uint8_t) (length + sign);
    out[2] = 0;
    memcpy (out + 2 + sign, number, length);
    return 2 + sign + length;
}

bool signature_verify (struct signature_key *key, const uint8_t digest[SIGNATURE_DIGEST_BYTES], const uint8_t *raw,
                       size_t length)
{
    uint8_t der[2 + 2 * INTEGER_BYTES_MAX];
    if (length != 2 * key->half)
        return false;
    size_t bytes = der_integer (der + 2, raw, key->half);
    bytes += der_integer (der + 2 + bytes, raw + key->half, key->half);
    der[0] = 0x30;
    der[1] = (uint8_t) bytes; /* at most 102: one length byte is enough */
    if (EVP_PKEY_verify (key->context, der, 2 + bytes, digest, SIGNATURE_DIGEST_BYTES) == 1)
        return true;
    ERR_clear_error ();
    return false;
}
