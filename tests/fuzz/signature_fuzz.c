/* signature_fuzz - the signature headers: the key's hex, a line break, the signature's base64.
 *
 * The bytes are also taken as DER, and as the point of a P-256 key, which mutations of hex would rarely reach.
 */
#include "http/signature.h"
#include "tests/http_conversation.h"

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static const uint8_t p256_prefix[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                      0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                      0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};

enum
{
    P256_POINT = 64,
};

static void try_key (const uint8_t *der, size_t der_length, const uint8_t *raw, size_t raw_length)
{
    uint8_t digest[SIGNATURE_DIGEST_BYTES];
    char fingerprint[96];
    const char *error = NULL;
    struct signature_key *key = signature_key_new (der, der_length, &error);
    must ((key == NULL) == (error != NULL));
    if (!key)
        return;
    must (slice_equal (signature_key_der (key), slice_of ((const char *) der, der_length)));
    signature_key_fingerprint (key, fingerprint);
    must (strlen (fingerprint) == 95);
    signature_digest (slice_of (NULL, 0), digest);
    bool valid = signature_verify (key, digest, raw, raw_length);
    must (!valid || raw_length == 56 || raw_length == 64 || raw_length == 96);
    must (signature_verify (key, digest, raw, raw_length) == valid);
    signature_key_destroy (&key);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    const char *error;
    uint8_t der[SIGNATURE_KEY_BYTES_MAX], raw[SIGNATURE_BYTES_MAX];
    struct slice text = slice_of ((const char *) data, size);
    const char *line = size > 0 ? memchr (text.at, '\n', text.len) : NULL;
    struct slice hex = slice_of (text.at, line ? (size_t) (line - text.at) : text.len);
    struct slice base64 = slice_skip (text, line ? hex.len + 1 : hex.len);
    int der_length = signature_key_decode (hex, der, &error);
    must (der_length <= SIGNATURE_KEY_BYTES_MAX && (der_length < 0) == (error != NULL));
    int raw_length = signature_decode (base64, raw, &error);
    must (raw_length <= SIGNATURE_BYTES_MAX && (raw_length < 0) == (error != NULL));
    if (der_length >= 0 && raw_length >= 0)
        try_key (der, (size_t) der_length, raw, (size_t) raw_length);
    try_key (data, size, data, size);
    if (size < P256_POINT)
        return 0;
    memcpy (der, p256_prefix, sizeof p256_prefix);
    memcpy (der + sizeof p256_prefix, data, P256_POINT);
    try_key (der, sizeof p256_prefix + P256_POINT, data + P256_POINT, size - P256_POINT);
    return 0;
}
