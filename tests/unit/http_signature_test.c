/* http_signature_test - keys, signatures and digests, with the shared cases of signature.json and with keys made here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/signature.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

/* Whether a request with these headers would be let in; *error as the first function that refuses says. */
static bool is_valid (struct slice secret, struct slice hex, struct slice base64, const char **error)
{
    uint8_t der[SIGNATURE_KEY_BYTES_MAX], raw[SIGNATURE_BYTES_MAX], digest[SIGNATURE_DIGEST_BYTES];
    int der_length = signature_key_decode (hex, der, error);
    int raw_length = der_length < 0 ? -1 : signature_decode (base64, raw, error);
    if (raw_length < 0)
        return false;
    struct signature_key *key = signature_key_new (der, (size_t) der_length, error);
    if (!key)
        return false;
    assert_true (slice_equal (signature_key_der (key), slice_of ((const char *) der, (size_t) der_length)));
    signature_digest (secret, digest);
    bool valid = signature_verify (key, digest, raw, (size_t) raw_length);
    assert_int_equal (signature_verify (key, digest, raw, (size_t) raw_length), valid); /* a key serves many times */
    signature_key_destroy (&key);
    assert_null (key);
    signature_key_destroy (&key);
    return valid;
}

static struct slice json_slice (const json_t *object, const char *name)
{
    const json_t *text = json_object_get (object, name);
    assert_true (json_is_string (text));
    return slice_of (json_string_value (text), json_string_length (text));
}

static void agrees_with_shared_cases (void **state)
{
    (void) state;
    json_error_t json_error;
    json_t *file = json_load_file (TEST_DATA "/signature.json", 0, &json_error), *test;
    assert_non_null (file);
    size_t index, valid_count = 0;
    json_array_foreach (json_object_get (file, "single"), index, test)
    {
        const char *error = NULL;
        bool expected = json_is_true (json_object_get (test, "valid"));
        bool valid = is_valid (json_slice (test, "secret"), json_slice (test, "public_key"),
                               json_slice (test, "signature"), &error);
        if (valid != expected)
            fail_msg ("%s: %s", json_string_value (json_object_get (test, "name")), error ? error : "no error");
        valid_count += valid;
    }
    assert_int_equal (index, 42);
    assert_int_equal (valid_count, 11);
    json_decref (file);
}

static void agrees_with_shared_digests (void **state)
{
    (void) state;
    json_error_t json_error;
    json_t *file = json_load_file (TEST_DATA "/signature.json", 0, &json_error), *digest;
    const char *message;
    size_t count = 0;
    assert_non_null (file);
    json_object_foreach (json_object_get (file, "digests"), message, digest)
    {
        uint8_t bytes[SIGNATURE_DIGEST_BYTES];
        char hex[2 * SIGNATURE_DIGEST_BYTES + 1];
        signature_digest (strcmp (message, "Portainer-App") == 0 ? slice_of (NULL, 0) : slice_from (message), bytes);
        for (size_t at = 0; at < sizeof bytes; at++)
            snprintf (hex + 2 * at, 3, "%02x", bytes[at]);
        assert_string_equal (hex, json_string_value (digest));
        count++;
    }
    assert_int_equal (count, 3);
    json_decref (file);
}

static void decodes_base64 (void **state)
{
    (void) state;
    static const struct
    {
        const char *text;
        int length;
        const char *bytes;
    } texts[] = {
        {"", 0, ""},
        {"AA", 1, "\0"},
        {"QQ", 1, "A"},
        {"QUI", 2, "AB"},
        {"QUJD", 3, "ABC"},
        {"QUJDRA", 4, "ABCD"},
        {"+/+/", 3, "\xfb\xff\xbf"},
        {"A", -1, ""},
        {"AAAAA", -1, ""},
        {"QQ==", -1, ""},
        {"QUI=", -1, ""},
        {"QU I", -1, ""},
        {"QU\nI", -1, ""},
        {"-_-_", -1, ""},
        {"QUJ\x80", -1, ""},
        {"QR", 1, "A"}, /* spare bits are not looked at, as with Go */
    };
    for (size_t row = 0; row < sizeof texts / sizeof texts[0]; row++)
    {
        uint8_t raw[SIGNATURE_BYTES_MAX];
        const char *error = "unset";
        int length = signature_decode (slice_from (texts[row].text), raw, &error);
        if (length != texts[row].length || (length > 0 && memcmp (raw, texts[row].bytes, (size_t) length) != 0))
            fail_msg ("'%s': %d", texts[row].text, length);
        assert_int_equal (error == NULL, length >= 0);
    }
    char longest[130];
    uint8_t raw[SIGNATURE_BYTES_MAX];
    const char *error;
    memset (longest, 'A', sizeof longest);
    assert_int_equal (signature_decode (slice_of (longest, 128), raw, &error), 96);
    assert_int_equal (signature_decode (slice_of (longest, 130), raw, &error), -1);
    assert_string_equal (error, "signature too long");
}

static void decodes_hex (void **state)
{
    (void) state;
    uint8_t der[SIGNATURE_KEY_BYTES_MAX];
    char longest[2 * SIGNATURE_KEY_BYTES_MAX + 2];
    const char *error;
    assert_int_equal (signature_key_decode (SLICE ("00fFAb9"
                                                   "0"),
                                            der, &error),
                      4);
    assert_memory_equal (der, "\x00\xff\xab\x90", 4);
    assert_null (error);
    assert_int_equal (signature_key_decode (SLICE (""), der, &error), 0);
    assert_int_equal (signature_key_decode (SLICE ("0"), der, &error), -1);
    assert_non_null (error);
    assert_int_equal (signature_key_decode (SLICE ("0g"), der, &error), -1);
    assert_int_equal (signature_key_decode (SLICE ("0 "), der, &error), -1);
    assert_int_equal (signature_key_decode (SLICE ("\xff\xff"), der, &error), -1);
    memset (longest, 'a', sizeof longest);
    assert_int_equal (signature_key_decode (slice_of (longest, sizeof longest - 2), der, &error),
                      SIGNATURE_KEY_BYTES_MAX);
    assert_int_equal (signature_key_decode (slice_of (longest, sizeof longest), der, &error), -1);
}

/* ---------------------------------------------------------------------------------------------------------- signer */

static struct signature_signer *make_signer (struct slice pem)
{
    const char *error;
    struct signature_signer *signer = signature_signer_new (pem, &error);
    assert_non_null (signer);
    assert_null (error);
    return signer;
}

/* What the signer signs verifies, with its key and digest only; a key read back from PEM is the same key. */
static void signs (void **state)
{
    (void) state;
    struct signature_signer *signer = make_signer (slice_of (NULL, 0)), *other = make_signer (slice_of (NULL, 0));
    char *pem = signature_signer_pem (signer);
    assert_non_null (pem);
    struct signature_signer *again = make_signer (slice_from (pem));
    assert_string_equal (signature_signer_public (again), signature_signer_public (signer));
    assert_int_equal (strlen (signature_signer_public (signer)), 182);
    struct slice public = slice_from (signature_signer_public (signer));
    for (int round = 0; round < 300; round++) /* enough for halves with leading zero bytes */
    {
        const char *error;
        uint8_t digest[SIGNATURE_DIGEST_BYTES];
        char text[96];
        signature_digest (SLICE ("secret"), digest);
        assert_int_equal (signature_sign (round & 1 ? again : signer, digest, text), 0);
        assert_int_equal (strlen (text), 86);
        assert_true (is_valid (SLICE ("secret"), public, slice_from (text), &error));
        if (round > 0)
            continue;
        assert_false (is_valid (SLICE (""), public, slice_from (text), &error));
        assert_false (
            is_valid (SLICE ("secret"), slice_from (signature_signer_public (other)), slice_from (text), &error));
    }
    free (pem);
    signature_signer_destroy (&again);
    signature_signer_destroy (&signer);
    signature_signer_destroy (&other);
    assert_null (signer);
    signature_signer_destroy (&signer);
}

/* Other kinds of private key, one behind a pass phrase, and text that is no key, are refused without asking anybody. */
static void refuses_other_private_keys (void **state)
{
    (void) state;
    EVP_PKEY *keys[] = {EVP_EC_gen ("P-384"), EVP_PKEY_Q_keygen (NULL, NULL, "ED25519"), EVP_EC_gen ("P-256")};
    for (size_t row = 0; row < 3; row++)
    {
        char *text;
        const char *error = NULL;
        BIO *bio = BIO_new (BIO_s_mem ());
        assert_non_null (keys[row]);
        assert_int_equal (
            PEM_write_bio_PKCS8PrivateKey (bio, keys[row], row == 2 ? EVP_aes_128_cbc () : NULL, "pass", 4, NULL, NULL),
            1);
        long length = BIO_get_mem_data (bio, &text);
        assert_null (signature_signer_new (slice_of (text, (size_t) length), &error));
        assert_non_null (error);
        BIO_free (bio);
        EVP_PKEY_free (keys[row]);
    }
    const char *error = NULL;
    assert_null (signature_signer_new (SLICE ("hello"), &error));
    assert_non_null (error);
}

/* ------------------------------------------------------------------------------------------------------------ keys */

/* A good key with any one byte changed, cut off or added is no key; a changed point is off the curve. */
static void takes_one_form_of_key (void **state)
{
    (void) state;
    struct signature_signer *signer = make_signer (slice_of (NULL, 0));
    uint8_t der[SIGNATURE_KEY_BYTES_MAX + 1] = {0};
    const char *error;
    int length = signature_key_decode (slice_from (signature_signer_public (signer)), der, &error);
    assert_int_equal (length, 91);
    for (size_t at = 0; at < (size_t) length; at++)
        for (unsigned bit = 0; bit < 8; bit++)
        {
            der[at] ^= (uint8_t) (1 << bit);
            assert_null (signature_key_new (der, (size_t) length, &error));
            assert_non_null (error);
            der[at] ^= (uint8_t) (1 << bit);
        }
    for (size_t at = 0; at < sizeof der; at++)
    {
        struct signature_key *key = signature_key_new (der, at, &error);
        assert_int_equal (key != NULL, at == (size_t) length);
        signature_key_destroy (&key);
    }
    signature_signer_destroy (&signer);
}

static void prints_fingerprints (void **state)
{
    (void) state;
    struct signature_signer *signer = make_signer (slice_of (NULL, 0));
    uint8_t der[SIGNATURE_KEY_BYTES_MAX], digest[32];
    char out[96], expected[97] = "";
    const char *error;
    int length = signature_key_decode (slice_from (signature_signer_public (signer)), der, &error);
    struct signature_key *key = signature_key_new (der, (size_t) length, &error);
    assert_non_null (key);
    signature_key_fingerprint (key, out);
    assert_int_equal (EVP_Q_digest (NULL, "SHA256", NULL, der, (size_t) length, digest, NULL), 1);
    for (size_t at = 0; at < 32; at++)
        snprintf (expected + 3 * at, 4, "%02x:", digest[at]);
    expected[95] = '\0';
    assert_string_equal (out, expected);
    signature_key_destroy (&key);
    signature_signer_destroy (&signer);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (agrees_with_shared_cases),
        cmocka_unit_test (agrees_with_shared_digests),
        cmocka_unit_test (decodes_base64),
        cmocka_unit_test (decodes_hex),
        cmocka_unit_test (signs),
        cmocka_unit_test (refuses_other_private_keys),
        cmocka_unit_test (takes_one_form_of_key),
        cmocka_unit_test (prints_fingerprints),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
