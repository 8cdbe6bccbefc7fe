/* signature.h - the agent's signature headers: an ECDSA signature over a constant message (wire contract 4.1).
 *
 * Bytes in, verdict out; the crypto is OpenSSL's. A key is parsed once and then verifies any number of signatures
 * without an allocation of ours.
 */
#pragma once

#include "messages/slice.h"

#include <stddef.h>
#include <stdint.h>

enum
{
    SIGNATURE_BYTES_MAX = 96,      /* r and s on the largest curve taken, P-384 */
    SIGNATURE_DIGEST_BYTES = 16,   /* MD5 */
    SIGNATURE_KEY_BYTES_MAX = 160, /* DER of the largest key taken */
};

/* The digest that is signed: MD5 of the secret, or of `Portainer-App` when the secret is empty. Ends the process when
 * OpenSSL cannot do MD5: nothing could be verified then, and a signature over a known zero digest can be forged. */
void signature_digest (struct slice secret, uint8_t digest[SIGNATURE_DIGEST_BYTES]);

/* A signature as it came in the header, decoded; spare bits of the last character are not looked at. Returns its length
 * in bytes, or -1 with *error (static text, the parser's words) when it is not standard base64 without padding, or too
 * long. */
int signature_decode (struct slice base64, uint8_t raw[SIGNATURE_BYTES_MAX], const char **error);

/* An EC public key that can verify: P-224, P-256 or P-384, from a DER SubjectPublicKeyInfo with an uncompressed point.
 */
struct signature_key;

/* Decodes a key as it came in the header (hex, either case) to DER. Returns the number of bytes, or -1 with *error. */
int signature_key_decode (struct slice hex, uint8_t der[SIGNATURE_KEY_BYTES_MAX], const char **error);

/* Parses DER. Returns NULL with *error (static text) when it is not exactly such a key. Caller destroys. */
struct signature_key *signature_key_new (const uint8_t *der, size_t length, const char **error);
void signature_key_destroy (struct signature_key **key);

/* The DER bytes that the key was made from; borrowed from the key. */
struct slice signature_key_der (const struct signature_key *key);

/* SHA-256 of the DER as `xx:xx:…`, lower case, NUL-terminated, for logs and people. */
void signature_key_fingerprint (const struct signature_key *key, char out[96]);

/* Whether raw (r then s, big-endian, each half as long as the curve) signs the digest. A wrong length is simply false.
 */
bool signature_verify (struct signature_key *key, const uint8_t digest[SIGNATURE_DIGEST_BYTES], const uint8_t *raw,
                       size_t length);

/* ---- the client's side, for `shoal request` and tests */

struct signature_signer;

/* Reads a P-256 private key from PEM text, or makes a new one when pem is empty. NULL with *error on failure. */
struct signature_signer *signature_signer_new (struct slice pem, const char **error);
void signature_signer_destroy (struct signature_signer **signer);

/* The key as the header wants it: lower-case hex of the DER. NUL-terminated, borrowed from the signer. */
const char *signature_signer_public (const struct signature_signer *signer);

/* The private key as PEM, NUL-terminated; the caller frees with free(). */
char *signature_signer_pem (const struct signature_signer *signer);

/* Signs; out gets base64 without padding (86 characters) and a NUL. Returns 0, or -1. */
int signature_sign (struct signature_signer *signer, const uint8_t digest[SIGNATURE_DIGEST_BYTES], char out[96]);
