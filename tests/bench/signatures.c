/*
 * signatures FILE COUNT [SECRET]: makes a key pair and COUNT different signatures with it, as a Portainer server sends
 * them: ECDSA over P-256 of MD5 ("Portainer-App"), or of MD5 (SECRET).
 *
 * FILE: the public key (DER, hexadecimal), then one signature a line (r ‖ s, base64 without padding: 86 characters).
 */

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check (int good, const char *what)
{
    if (good)
        return;
    fprintf (stderr, "signatures: %s failed\n", what);
    exit (1);
}

static void key_print (FILE *file, EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int length = i2d_PUBKEY (key, &der);
    check (length > 0, "encoding the public key");
    for (int index = 0; index < length; index++)
        fprintf (file, "%02x", der[index]);
    fputc ('\n', file);
    OPENSSL_free (der);
}

static void signature_print (FILE *file, EVP_PKEY_CTX *context, const unsigned char *digest, size_t digest_length)
{
    unsigned char der[128], raw[64];
    const unsigned char *at = der;
    char text[96];
    size_t length = sizeof der;
    check (EVP_PKEY_sign (context, der, &length, digest, digest_length) == 1, "signing");
    ECDSA_SIG *signature = d2i_ECDSA_SIG (NULL, &at, (long) length);
    check (signature != NULL, "reading a signature");
    check (BN_bn2binpad (ECDSA_SIG_get0_r (signature), raw, 32) == 32, "writing r");
    check (BN_bn2binpad (ECDSA_SIG_get0_s (signature), raw + 32, 32) == 32, "writing s");
    EVP_EncodeBlock ((unsigned char *) text, raw, sizeof raw);
    fprintf (file, "%.86s\n", text);
    ECDSA_SIG_free (signature);
}

int main (int argc, char **argv)
{
    long count = argc == 3 || argc == 4 ? strtol (argv[2], NULL, 10) : 0;
    if (count < 1)
    {
        fprintf (stderr, "usage: signatures FILE COUNT [SECRET]\n");
        return 2;
    }
    const char *message = argc == 4 ? argv[3] : "Portainer-App";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_length = 0;
    check (EVP_Digest (message, strlen (message), digest, &digest_length, EVP_md5 (), NULL), "MD5");
    EVP_PKEY *key = EVP_EC_gen ("P-256");
    EVP_PKEY_CTX *context = key ? EVP_PKEY_CTX_new (key, NULL) : NULL;
    check (context && EVP_PKEY_sign_init (context) == 1, "making a key");
    FILE *file = fopen (argv[1], "w");
    check (file != NULL, "opening the file");
    key_print (file, key);
    for (long index = 0; index < count; index++)
        signature_print (file, context, digest, digest_length);
    check (fclose (file) == 0, "writing the file");
    EVP_PKEY_CTX_free (context);
    EVP_PKEY_free (key);
    return 0;
}
