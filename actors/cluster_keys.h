/* cluster_keys.h - the CURVE keys of the cluster, which all its agents share.
 *
 * One server and one client key pair come from AGENT_SECRET, by HKDF-SHA256 (RFC 5869): whoever has the secret has the
 * keys, and nobody else. Without a secret they come from a constant that everybody can read: traffic is encrypted then,
 * but the keys prove nothing.
 */
#pragma once

#include <stdint.h>

enum
{
    CLUSTER_KEY_BYTES = 32,
};

struct cluster_keys
{
    uint8_t server_public[CLUSTER_KEY_BYTES], server_secret[CLUSTER_KEY_BYTES];
    uint8_t client_public[CLUSTER_KEY_BYTES], client_secret[CLUSTER_KEY_BYTES];
};

/* secret: NUL-terminated, empty for the keys that everybody knows. */
void cluster_keys_derive (struct cluster_keys *keys, const char *secret);

/* Overwrites the keys. */
void cluster_keys_wipe (struct cluster_keys *keys);
