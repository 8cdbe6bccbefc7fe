/* auth.c - the actor that says yes or no: is the request signed by a key that may (contract section 4)?
 *
 * Modes    secret    the client signs the secret; any key that does is good, nothing is registered
 *          pinned    the client signs the constant with one of the keys of AGENT_PUBLIC_KEY
 *          default   the first key whose signature verifies is registered and kept; only its signatures count then
 * In       request, from ingress: forwarded to the router, or answered with 403; abort: forwarded
 *          forget, inspect: from control
 * Out      listen to ingress when nobody registered within AGENT_SECRET_TIMEOUT
 * Memory   SECRET_KEYS parsed keys, VERIFIED_PAIRS remembered pairs, SOURCES addresses that the log has told about
 *
 * The signature covers a constant, so a pair that verified once always will, and is remembered. Portainer signs each
 * request afresh: then a request costs one verification, with a key that was parsed once.
 */
#include "configuration.h"
#include "ensure.h"
#include "http/route.h"
#include "http/signature.h"
#include "key_file.h"
#include "log.h"
#include "placement.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <time.h>

enum
{
    SECRET_KEYS = 16,      /* parsed keys kept in secret mode; the least recently used goes */
    VERIFIED_PAIRS = 1024, /* power of two */
    SOURCES = 256,         /* power of two */
};

struct known_key
{
    struct signature_key *key;
    uint64_t serial; /* tells keys apart in the table of pairs; never used again */
    uint64_t used;   /* order of last use */
    char *header;    /* the header's text it came with: found again without decoding */
    size_t header_length;
};

struct verified_pair
{
    uint64_t serial; /* 0: free */
    uint8_t length, raw[SIGNATURE_BYTES_MAX];
};

struct auth
{
    struct actor *actor;
    const struct configuration *configuration;
    uint8_t digest[SIGNATURE_DIGEST_BYTES];
    bool secret;
    struct known_key
        keys[SECRET_KEYS]; /* pinned ones, or those of secret mode; in default mode the first is the registered one */
    size_t key_count;
    bool pinned;
    uint64_t last_serial, uses;
    char registered_from[64], registered_at[32];
    struct verified_pair pairs[VERIFIED_PAIRS];
    uint64_t told[SOURCES]; /* hashes of addresses */
    struct timer association;
    bool closed; /* nobody registered in time */
    struct
    {
        uint64_t accepted, refused, verified, remembered;
    } counters;
};

struct verdict
{
    bool good;
    const char *message, *details;
};

static const struct verdict s_yes = {true, NULL, NULL};

static struct verdict no (const char *details)
{
    return (struct verdict){false, "Invalid request signature", details};
}

/* ---------------------------------------------------------------------------------------------------------------- keys
 */

static void drop_key (struct known_key *known)
{
    signature_key_destroy (&known->key);
    free (known->header);
    *known = (struct known_key){0};
}

static void fill_key (struct auth *auth, struct known_key *known, struct signature_key *key, struct slice header)
{
    *known = (struct known_key){.key = key, .serial = ++auth->last_serial, .used = ++auth->uses};
    known->header = must (malloc (header.len + 1));
    memcpy (known->header, header.at, header.len);
    known->header_length = header.len;
}

static struct known_key *find_key (struct auth *auth, struct slice header)
{
    for (size_t index = 0; index < auth->key_count; index++)
        if (slice_equal_nocase (header, slice_of (auth->keys[index].header, auth->keys[index].header_length)))
            return &auth->keys[index];
    return NULL;
}

static struct signature_key *parse_key (struct slice header, const char **error)
{
    uint8_t der[SIGNATURE_KEY_BYTES_MAX];
    int length = signature_key_decode (header, der, error);
    return length < 0 ? NULL : signature_key_new (der, (size_t) length, error);
}

/* Keeps a key, in place of the least recently used one when all places are taken. */
static struct known_key *keep_key (struct auth *auth, struct signature_key *key, struct slice header)
{
    struct known_key *place = &auth->keys[0];
    if (auth->key_count < SECRET_KEYS)
        place = &auth->keys[auth->key_count++];
    else
    {
        for (size_t index = 1; index < SECRET_KEYS; index++)
            if (auth->keys[index].used < place->used)
                place = &auth->keys[index];
        drop_key (place);
    }
    fill_key (auth, place, key, header);
    return place;
}

/* ---------------------------------------------------------------------------------------------------------
 * verification */

static struct verified_pair *pair_place (struct auth *auth, const uint8_t *raw, uint64_t serial)
{
    uint64_t hash;
    memcpy (&hash, raw, sizeof hash); /* r is as good as random */
    return &auth->pairs[(hash ^ serial) & (VERIFIED_PAIRS - 1)];
}

/* Whether raw signs the digest with a known key: looked up, else verified and remembered. */
static bool verify (struct auth *auth, struct known_key *known, const uint8_t *raw, size_t length)
{
    if (length < sizeof (uint64_t))
        return false;
    struct verified_pair *pair = pair_place (auth, raw, known->serial);
    known->used = ++auth->uses;
    if (pair->serial == known->serial && pair->length == length && CRYPTO_memcmp (pair->raw, raw, length) == 0)
    {
        auth->counters.remembered++;
        return true;
    }
    auth->counters.verified++;
    if (!signature_verify (known->key, auth->digest, raw, length))
        return false;
    pair->serial = known->serial;
    pair->length = (uint8_t) length;
    memcpy (pair->raw, raw, length);
    return true;
}

static void now_text (char text[32])
{
    time_t now = time (NULL);
    struct tm calendar;
    gmtime_r (&now, &calendar);
    strftime (text, 32, "%Y-%m-%dT%H:%M:%SZ", &calendar);
}

static void register_key (struct auth *auth, struct signature_key *key, struct slice header, struct slice source)
{
    char fingerprint[96];
    signature_key_fingerprint (key, fingerprint);
    keep_key (auth, key, header);
    snprintf (auth->registered_from, sizeof auth->registered_from, "%.*s", (int) source.len, source.at);
    now_text (auth->registered_at);
    timer_clear (&auth->association);
    log_info ("auth", "registered the key %s of %s: from now on only its signatures are accepted", fingerprint,
              auth->registered_from);
    if (key_file_write (auth->configuration->data, signature_key_der (key)) < 0)
        log_warn ("auth", "the registered key will be lost at a restart: cannot write to %s: %s",
                  auth->configuration->data, key_file_error ());
}

/* A key that is not known yet: in secret mode it is kept when its signature is good, in default mode it is registered.
 */
static struct verdict try_new_key (struct auth *auth, struct slice header, const uint8_t *raw, size_t length,
                                   struct slice source)
{
    const char *error = "Unauthorized";
    struct signature_key *key = parse_key (header, &error);
    if (!key)
        return no (error);
    auth->counters.verified++;
    if (!signature_verify (key, auth->digest, raw, length))
    {
        signature_key_destroy (&key);
        return no ("Unauthorized");
    }
    if (auth->secret)
        keep_key (auth, key, header);
    else
        register_key (auth, key, header, source);
    return s_yes;
}

static struct verdict judge (struct auth *auth, const struct message_request *request)
{
    struct slice header = headers_find (request->headers, SLICE ("X-PortainerAgent-PublicKey"));
    struct slice signature = headers_find (request->headers, SLICE ("X-PortainerAgent-Signature"));
    if (header.len == 0 || signature.len == 0)
        return (struct verdict){false, "Missing request signature headers", "Unauthorized"};
    uint8_t raw[SIGNATURE_BYTES_MAX];
    const char *error = "Unauthorized";
    int length = signature_decode (signature, raw, &error);
    if (length < 0)
        return no (error);
    /* In default mode the registered key counts, whatever the header says (contract 4.2); so does a single pinned one.
     */
    bool single = !auth->secret && auth->key_count == 1;
    struct known_key *known = single ? &auth->keys[0] : find_key (auth, header);
    if (known)
        return verify (auth, known, raw, (size_t) length) ? s_yes : no ("Unauthorized");
    if (auth->pinned)
        return no ("Unauthorized");
    return try_new_key (auth, header, raw, (size_t) length, request->source);
}

/* --------------------------------------------------------------------------------------------------------------
 * requests */

static const char *advice (const struct auth *auth)
{
    if (auth->secret)
        return "AGENT_SECRET must be the same on the Portainer server and here";
    if (auth->pinned)
        return "its key is not one of AGENT_PUBLIC_KEY";
    if (auth->key_count)
        return "another key is registered; if Portainer was installed anew, run `shoal forget`";
    return "the client must sign its requests, as Portainer does; `shoal request` does too";
}

/* Says a refusal once for each address. */
static void tell_refusal (struct auth *auth, struct slice source, struct verdict verdict)
{
    size_t colon = source.len;
    while (colon && source.at[colon - 1] != ':')
        colon--;
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t index = 0; index + 1 < colon; index++)
        hash = (hash ^ (uint8_t) source.at[index]) * 1099511628211u;
    uint64_t *place = &auth->told[hash & (SOURCES - 1)];
    if (*place == hash)
        return;
    *place = hash;
    char fingerprint[96] = "none";
    if (!auth->secret && auth->key_count)
        signature_key_fingerprint (auth->keys[0].key, fingerprint);
    log_warn ("auth",
              "refused a request of %.*s: %s (%s); %s; registered key: %s%s%s; further refusals of this address are "
              "only counted",
              (int) source.len, source.at, verdict.message, verdict.details, advice (auth), fingerprint,
              auth->registered_at[0] ? " since " : "", auth->registered_at);
}

static void on_request (struct auth *auth, struct message *message)
{
    const struct message_request *request = &message->fields.request;
    struct verdict verdict = s_yes;
    if (!route_decide (request->method, request->target).open)
    {
        verdict = judge (auth, request);
        auth->counters.accepted += verdict.good;
    }
    if (verdict.good)
    {
        actor_forward (auth->actor, ACTOR_router, message);
        return;
    }
    auth->counters.refused++;
    tell_refusal (auth, request->source, verdict);
    struct subject subject = message_subject (message);
    answer_error (auth->actor, message->envelope.from, &subject, 403, verdict.message, verdict.details);
}

/* ---------------------------------------------------------------------------------------------------------------
 * control */

static void association_over (struct timer *timer)
{
    struct auth *auth = OWNER (timer, struct auth, association);
    auth->closed = true;
    log_error ("auth",
               "no key was registered in time (AGENT_SECRET_TIMEOUT): the API is closed; restart the agent or run "
               "`shoal forget` to open it again");
    union message_fields fields = {.listen = {.open = false}};
    actor_send (auth->actor, ACTOR_ingress, MESSAGE_listen, NULL, &fields, NULL);
}

static void await_association (struct auth *auth)
{
    if (!auth->secret && !auth->pinned && auth->key_count == 0)
        timer_set (auth->actor, &auth->association, auth->configuration->secret_timeout, association_over);
}

static void on_forget (struct auth *auth, struct message *message)
{
    json_t *state;
    if (auth->secret || auth->pinned)
        state = json_pack ("{sb ss}", "forgotten", 0, "reason",
                           auth->secret ? "the agent has a secret: it registers no keys"
                                        : "the keys are pinned by AGENT_PUBLIC_KEY");
    else
    {
        bool had = auth->key_count > 0;
        if (had)
            drop_key (&auth->keys[0]);
        auth->key_count = 0;
        auth->registered_from[0] = auth->registered_at[0] = '\0';
        memset (auth->pairs, 0, sizeof auth->pairs);
        memset (auth->told, 0, sizeof auth->told);
        int removed = key_file_remove (auth->configuration->data);
        log_warn ("auth", "the registered key was forgotten: the next key that signs well is registered");
        state = json_pack ("{sb ss}", "forgotten", removed == 0, "reason",
                           removed < 0 ? key_file_error ()
                           : had       ? "a key was registered"
                                       : "no key was registered");
        if (auth->closed)
        {
            union message_fields fields = {.listen = {.open = true}};
            actor_send (auth->actor, ACTOR_ingress, MESSAGE_listen, NULL, &fields, NULL);
            auth->closed = false;
        }
        await_association (auth);
    }
    actor_report (auth->actor, message->envelope.from, state);
}

static void on_inspect (struct auth *auth, struct message *message)
{
    char fingerprint[96] = "";
    json_t *keys = json_array ();
    for (size_t index = 0; index < auth->key_count && !auth->secret; index++)
    {
        signature_key_fingerprint (auth->keys[index].key, fingerprint);
        json_array_append_new (keys, json_string (fingerprint));
    }
    const char *mode = auth->secret      ? "secret"
                       : auth->pinned    ? "pinned"
                       : auth->key_count ? "registered"
                                         : "waiting for a key";
    actor_report (auth->actor, message->envelope.from,
                  json_pack ("{ss so ss ss sb sI sI sI sI}", "mode", mode, "keys", keys, "registered_from",
                             auth->registered_from, "registered_at", auth->registered_at, "closed", auth->closed,
                             "accepted", (json_int_t) auth->counters.accepted, "refused",
                             (json_int_t) auth->counters.refused, "verified", (json_int_t) auth->counters.verified,
                             "remembered", (json_int_t) auth->counters.remembered));
}

static void on_message (void *self, struct message *message)
{
    struct auth *auth = self;
    switch (message->envelope.type)
    {
    case MESSAGE_request:
        on_request (auth, message);
        break;
    case MESSAGE_abort: /* takes the way of its request */
        actor_forward (auth->actor, ACTOR_router, message);
        break;
    case MESSAGE_forget:
        on_forget (auth, message);
        break;
    case MESSAGE_inspect:
        on_inspect (auth, message);
        break;
    default:
        log_error ("auth", "does not know what to do with %s", message_type_name (message->envelope.type));
    }
}

/* -------------------------------------------------------------------------------------------------------- start and
 * stop */

/* AGENT_PUBLIC_KEY: hexadecimal keys separated by commas. */
static bool pin_keys (struct auth *auth, const char *list)
{
    while (*list)
    {
        size_t length = strcspn (list, ",");
        const char *error = "";
        struct signature_key *key = length ? parse_key (slice_of (list, length), &error) : NULL;
        if (length && (!key || auth->key_count == PINNED_KEYS_MAX))
        {
            log_error ("auth", "AGENT_PUBLIC_KEY: %s", key ? "more than 8 keys" : error);
            signature_key_destroy (&key);
            return false;
        }
        if (key)
            keep_key (auth, key, slice_of (list, length));
        list += length + (list[length] == ',');
    }
    auth->pinned = auth->key_count > 0;
    return true;
}

/* The key of an earlier life. */
static void load_key (struct auth *auth)
{
    uint8_t der[SIGNATURE_KEY_BYTES_MAX];
    ssize_t length = key_file_read (auth->configuration->data, der, sizeof der);
    if (length <= 0)
    {
        if (length < 0)
            log_warn ("auth", "cannot read the registered key in %s: %s", auth->configuration->data, key_file_error ());
        return;
    }
    const char *error = "";
    struct signature_key *key = signature_key_new (der, (size_t) length, &error);
    if (!key)
    {
        log_warn ("auth", "the registered key in %s is damaged and was ignored: %s", auth->configuration->data, error);
        return;
    }
    char fingerprint[96];
    signature_key_fingerprint (key, fingerprint);
    keep_key (auth, key, SLICE (""));
    snprintf (auth->registered_from, sizeof auth->registered_from, "%s", auth->configuration->data);
    log_info ("auth", "the key %s is registered since an earlier start", fingerprint);
}

static void stop (void **self_p)
{
    struct auth *auth = *self_p;
    for (size_t index = 0; index < auth->key_count; index++)
        drop_key (&auth->keys[index]);
    timer_clear (&auth->association);
    OPENSSL_cleanse (auth->digest, sizeof auth->digest);
    free (auth);
    *self_p = NULL;
}

static void *start (struct actor *actor, const void *configuration)
{
    struct auth *auth = must (calloc (1, sizeof *auth));
    auth->actor = actor;
    auth->configuration = configuration;
    struct slice secret = slice_from (auth->configuration->secret);
    auth->secret = secret.len > 0;
    signature_digest (secret, auth->digest);
    void *self = auth;
    if (!auth->secret && !pin_keys (auth, auth->configuration->public_key))
    {
        stop (&self);
        return NULL;
    }
    if (auth->secret && secret.len < 16)
        log_warn ("auth", "the secret has only %zu characters; use 16 or more, it is all that protects this node",
                  secret.len);
    if (!auth->secret && !auth->pinned)
        load_key (auth);
    if (!auth->secret && auth->key_count == 0)
        log_warn (
            "auth",
            "no secret and no key: the first client that signs is registered and from then on controls this engine; "
            "set AGENT_SECRET or AGENT_PUBLIC_KEY to decide who that is");
    await_association (auth);
    return auth;
}

const struct actor_class auth_class = {.id = ACTOR_auth, .start = start, .message = on_message, .stop = stop};
