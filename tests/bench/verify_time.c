/*
 * verify_time: what one ECDSA P-256 verification costs here, with OpenSSL and nothing around it.
 *
 * The key is parsed and the context is made once. Prints the CPU time of one verification in nanoseconds: the median of
 * BATCHES batches.
 */

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum
{
    BATCHES = 21,
    BATCH = 100
};

static double cpu_ns (void)
{
    struct timespec now;
    clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double) now.tv_sec * 1e9 + (double) now.tv_nsec;
}

static int compare (const void *one, const void *other)
{
    double left = *(const double *) one, right = *(const double *) other;
    return (left > right) - (left < right);
}

int main (void)
{
    static const unsigned char DIGEST[16] = "sixteen bytes...";
    unsigned char signature[128];
    size_t length = sizeof signature;
    double times[BATCHES];
    EVP_PKEY *key = EVP_EC_gen ("P-256");
    EVP_PKEY_CTX *sign = key ? EVP_PKEY_CTX_new (key, NULL) : NULL, *verify = key ? EVP_PKEY_CTX_new (key, NULL) : NULL;
    if (!sign || !verify || EVP_PKEY_sign_init (sign) != 1 || EVP_PKEY_verify_init (verify) != 1 ||
        EVP_PKEY_sign (sign, signature, &length, DIGEST, sizeof DIGEST) != 1)
    {
        fprintf (stderr, "verify_time: cannot sign\n");
        return 1;
    }
    for (int batch = 0; batch < BATCHES; batch++)
    {
        double begin = cpu_ns ();
        for (int index = 0; index < BATCH; index++)
            if (EVP_PKEY_verify (verify, signature, length, DIGEST, sizeof DIGEST) != 1)
            {
                fprintf (stderr, "verify_time: a good signature was refused\n");
                return 1;
            }
        times[batch] = (cpu_ns () - begin) / BATCH;
    }
    qsort (times, BATCHES, sizeof times[0], compare);
    printf ("%.0f\n", times[BATCHES / 2]);
    EVP_PKEY_CTX_free (sign);
    EVP_PKEY_CTX_free (verify);
    EVP_PKEY_free (key);
    return 0;
}
