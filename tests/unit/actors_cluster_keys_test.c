/* actors_cluster_keys_test - the keys of the cluster, against an HKDF of another make (Python's hmac). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/cluster_keys.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

static void assert_key (const uint8_t key[CLUSTER_KEY_BYTES], const char *hexadecimal)
{
    char text[2 * CLUSTER_KEY_BYTES + 1];
    for (size_t index = 0; index < CLUSTER_KEY_BYTES; index++)
        snprintf (text + 2 * index, 3, "%02x", key[index]);
    assert_string_equal (text, hexadecimal);
}

static void assert_pair (const uint8_t public_key[CLUSTER_KEY_BYTES], const uint8_t secret_key[CLUSTER_KEY_BYTES])
{
    char secret[41], expected[41], found[41];
    assert_non_null (zmq_z85_encode (secret, secret_key, CLUSTER_KEY_BYTES));
    assert_non_null (zmq_z85_encode (found, public_key, CLUSTER_KEY_BYTES));
    assert_int_equal (zmq_curve_public (expected, secret), 0);
    assert_string_equal (found, expected);
}

static void come_from_the_secret (void **state)
{
    (void) state;
    struct cluster_keys keys, again, other;
    cluster_keys_derive (&keys, "correct horse battery staple");
    assert_key (keys.server_secret, "d7942da152bc23d28e68b74a4f2f45ca7d5d7447233aa0ac199463d7a2c005fc");
    assert_key (keys.client_secret, "6176c40175ee7fa07eecc39888fdc5c8d62eb8749711c97e2e99a1489b7df119");
    assert_pair (keys.server_public, keys.server_secret);
    assert_pair (keys.client_public, keys.client_secret);
    cluster_keys_derive (&again, "correct horse battery staple");
    assert_memory_equal (&keys, &again, sizeof keys);
    cluster_keys_derive (&other, "correct horse battery stapl");
    assert_memory_not_equal (keys.server_secret, other.server_secret, CLUSTER_KEY_BYTES);
    assert_memory_not_equal (keys.client_secret, other.client_secret, CLUSTER_KEY_BYTES);
}

static void without_a_secret_everybody_knows_them (void **state)
{
    (void) state;
    struct cluster_keys open, secret;
    cluster_keys_derive (&open, "");
    assert_key (open.server_secret, "efafe824c3935c262b58f72cd5b08a9bd7ece7678a71f814ca1bfa32018441da");
    assert_key (open.client_secret, "e787c5df491abcaab895d09e09e1ba25953273fa18728b36cf11193be8920ded");
    /* Whoever chooses the constant as a secret does not get the open keys. */
    cluster_keys_derive (&secret, "no secret: everybody knows this one");
    assert_memory_not_equal (&open, &secret, CLUSTER_KEY_BYTES);
}

static void are_wiped (void **state)
{
    (void) state;
    struct cluster_keys keys;
    static const struct cluster_keys nothing;
    cluster_keys_derive (&keys, "secret");
    cluster_keys_wipe (&keys);
    assert_memory_equal (&keys, &nothing, sizeof keys);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (come_from_the_secret),
        cmocka_unit_test (without_a_secret_everybody_knows_them),
        cmocka_unit_test (are_wiped),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
