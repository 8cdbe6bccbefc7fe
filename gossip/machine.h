/* machine.h - the parts of the state machine and what they know of each other; only gossip/ includes it.
 *
 *   swim.c       the calls of swim.h: the clock, what is due when, the own record
 *   table.c      members by id and by address, tombstones, the order of probing
 *   timers.c     a heap of the members' timers
 *   probe.c      failure detection: pings, helpers, nacks, local health
 *   suspicion.c  suspected members, and how long they have
 *   merge.c      what a record that was heard does to a member
 *   rumours.c    dissemination: what is told how often
 *   sync.c       push/pull of whole tables, first contact
 *   packet.c     bytes
 *
 * A member has one timer, and its state says what for: JOINING, the next ping or giving up; SUSPECT, the next ping or
 * the verdict; DEAD and LEFT, forgetting it. An ALIVE member needs none: the round of probes comes to it. So an event
 * costs O (log n) and nothing walks over all members, except sending a table.
 */
#pragma once

#include "packet.h"
#include "swim.h"

enum
{
    INDEX_BUCKETS = 1024,
    TOMBSTONES_MAX = 1024,    /* the dead that are remembered; beyond it one of them is forgotten early */
    CONFIRMATIONS_WANTED = 2, /* further accusers that shrink a suspicion to its least time */
    RELAYS_MAX = 64,          /* probes for others at the same time; more requests are dropped */
    GOSSIP_BYTES = 4096,      /* rumours in one packet of gossip */
    PIGGYBACK_BYTES = 512,    /* rumours beside a ping or an ack */
    NEWCOMER_TIME = 10000,    /* ms in which others know better what is in the tables that we get */
    RUMOUR_LEVELS = 64,       /* a rumour is sent less often than this */
    HELPERS_MAX = 8,          /* of one probe */
    FANOUT_MAX = 8,           /* members told in one round */
    SYNC_SOON = 1000,         /* ms to the first push/pull after something big; then twice that, and so on */
    RECONNECT_TIME = 1000,    /* ms between attempts to reach one of the dead again */
    STALL_TIME = 250,         /* ms that a tick may be late before the time is taken for a standstill of ours */
    REPEATS = 3,              /* pings of one probe in each probe_timeout */
    JOINING_TIME = 10000,     /* ms that a joining member has to answer */
    JOINING_RATE = 200,       /* pings a second to joining members, all together */
    JOINING_BURST = 100,
    CONTACT_RATE = 2, /* swim_join() a second that send anything */
    CONTACT_BURST = 8,
    TABLE_RATE = 4, /* tables a second that are sent to whoever asks */
    TABLE_BURST = 16,
    CLAIM_TIME = 1000,     /* ms between two claims of the own id against another process */
    LAST_WORDS_TIME = 800, /* ms before a verdict in which everybody asks the suspect, not the accusers only */
    REPLY_BURST = 50,      /* corrections of senders who know less than we, see merge.c */
    REPLY_RATE = 50,
};

static const uint64_t INSTANCE_MAX = UINT64_C (1) << 48; /* the catalog's limit */

/* So many events a second, and so many at once. */
struct bucket
{
    uint64_t thousandths; /* tokens left */
    uint64_t filled;      /* when */
    uint32_t rate, burst;
};

struct rumour;

struct member
{
    struct member *next_id, *next_address; /* in the chains of the table's indexes */
    uint64_t hash;                         /* of the id */
    uint64_t address_hash;
    char *text;                               /* id, name, address, tls_key, version, each NUL-terminated */
    uint16_t name, address, tls_key, version; /* where in text */
    uint16_t port, gossip_port;
    bool manager, key_set;
    bool unreached;    /* a tombstone of one that never answered us; only it itself brings it back */
    bool accused;      /* we suspect it because of a probe of our own */
    uint8_t state;     /* enum swim_state */
    uint8_t accusers;  /* how many of accuser[] are filled */
    uint8_t attempts;  /* pings to it while JOINING */
    uint32_t nonce;    /* of our latest question to it; 0: none */
    uint32_t place;    /* in living[] or tombstones[] */
    uint32_t turn;     /* in order[]; NOWHERE when it is not probed */
    uint32_t heap;     /* in the heap of timers; NOWHERE without a timer */
    uint64_t due;      /* when its timer fires */
    uint64_t since;    /* when its state began */
    uint64_t deadline; /* of the suspicion */
    uint64_t instance, incarnation;
    uint64_t accuser[1 + CONFIRMATIONS_WANTED]; /* hashes of their ids */
    struct rumour *rumour;                      /* what is being told of it, or NULL */
};

static const uint32_t NOWHERE = UINT32_MAX;

struct table
{
    struct member *by_id[INDEX_BUCKETS], *by_address[INDEX_BUCKETS];
    struct member *living[SWIM_MEMBERS_MAX]; /* JOINING, ALIVE and SUSPECT; the own member first */
    struct member *tombstones[TOMBSTONES_MAX];
    struct member *order[SWIM_MEMBERS_MAX]; /* ALIVE and SUSPECT without the own one, shuffled */
    size_t living_count, tombstone_count, order_count;
    size_t next_turn; /* in order[] */
    uint64_t digest;  /* over the own member, ALIVE and SUSPECT */
};

struct timers
{
    struct member *heap[SWIM_MEMBERS_MAX + TOMBSTONES_MAX];
    size_t count;
};

/* The probe under way. */
struct probe
{
    struct member *member; /* NULL: none, or it was answered */
    struct member *urgent; /* to be probed next, out of turn; or NULL */
    uint64_t due;          /* next step */
    uint64_t started;
    unsigned helpers, nacks;
    bool indirect; /* helpers were asked */
    bool repeated; /* the ping was */
};

/* A probe on somebody else's behalf. */
struct relay
{
    uint64_t requester, target; /* hashes of their ids */
    uint32_t requester_nonce, nonce;
    uint64_t repeat; /* when the target is pinged again */
    uint64_t due;    /* when the nack is sent */
    bool open, repeated;
};

struct rumours
{
    struct rumour *level[RUMOUR_LEVELS]; /* lists by how often they were sent */
    size_t count;
    uint64_t due, last; /* next and latest round */
    bool wide;          /* the next round goes to FANOUT_MAX members */
};

struct swim
{
    struct swim_parameters parameters;
    struct swim_callbacks callbacks;
    void *context;
    struct member *own;
    struct table table;
    struct timers timers;
    struct rumours rumours;
    struct probe probe;
    struct relay relays[RELAYS_MAX]; /* a ring: they all have the same time */
    size_t relay_first, relay_count;
    unsigned health;
    unsigned doubt;       /* cases of suspicion_doubt() lately */
    uint64_t doubt_since; /* the latest one */
    bool left;
    uint64_t started;
    uint64_t sync_due, reconnect_due;
    uint32_t sync_interval; /* until the next one but one; grows to the parameter */
    uint64_t claimed;       /* when the own id was last claimed */
    struct bucket joining_pings, contacts, tables, replies;
    uint64_t now;       /* our time: the caller's without the standstills */
    uint64_t outside;   /* the caller's time at the latest call */
    int64_t standstill; /* outside - now */
    uint64_t due;       /* our time of the next tick */
    uint64_t random;
    struct swim_counters counters;
    struct swim_member *shown; /* what swim_at() and the callbacks hand out; owned */
};

/* ---------------------------------------------------------------------------------------------------------- swim.c */

uint64_t swim_random (struct swim *swim);
uint32_t swim_random_below (struct swim *swim, uint32_t limit);
uint32_t swim_nonce (struct swim *swim);
bool bucket_take (struct bucket *bucket, uint64_t now);
void *swim_must (void *memory);

/* Text of a member. */
static inline struct slice member_id (const struct member *member)
{
    return slice_from (member->text);
}
static inline const char *member_address (const struct member *member)
{
    return member->text + member->address;
}

/* Tells the caller of the member as it now is. */
void swim_report (struct swim *swim, const struct member *member);
/* Sends to an address, or to a member. */
void swim_send_to (struct swim *swim, const char *address, uint16_t port, struct packet *packet);
void swim_send (struct swim *swim, const struct member *member, struct packet *packet);
/* Begins a packet of ours. */
void swim_packet (struct swim *swim, struct packet *packet);
/* Appends all that is known of the member: swim_member, or swim_verdict of a tombstone. False: it does not fit. */
bool swim_add_record (struct packet *packet, const struct member *member);
/* The same as an item; accuser: why it is suspected, whole: swim_member in any case. */
size_t swim_record (const struct member *member, struct slice accuser, bool whole, char out[PACKET_ITEM_MAX]);
/* Another process has used the own id with this instance: takes the next one and tells everybody. */
void swim_claim (struct swim *swim, uint64_t instance);
/* Somebody believes that our record with this incarnation is suspect, dead or gone: tells everybody better. */
void swim_refute (struct swim *swim, uint64_t incarnation);

/* --------------------------------------------------------------------------------------------------------- table.c */

uint64_t table_hash (struct slice text);
struct member *table_find (const struct table *table, struct slice id);
struct member *table_find_hash (const struct table *table, uint64_t hash);
struct member *table_find_address (const struct table *table, struct slice address, uint16_t port);
/* Adds a JOINING member. Returns NULL when the table is full. */
struct member *table_add (struct swim *swim, const struct message_swim_member *record, struct slice address);
/* Makes a member that was just added the own one. */
void table_adopt_own (struct swim *swim, struct member *member);
/* Replaces what the member says of itself. Returns whether anything differs from before. */
bool table_describe (struct swim *swim, struct member *member, const struct message_swim_member *record,
                     struct slice address);
/* Moves the member between the lists, keeps the digest, stops its timer. A tombstone that becomes living again may find
 * the table full: then false, and nothing has changed. */
bool table_set_state (struct swim *swim, struct member *member, enum swim_state state);
/* Changes instance and incarnation, and keeps the digest. */
void table_set_incarnation (struct swim *swim, struct member *member, uint64_t instance, uint64_t incarnation);
/* Forgets the member altogether. */
void table_forget (struct swim *swim, struct member *member);
void table_clear (struct swim *swim);
/* The next member to probe: each once in a round, in random order. NULL when there is none. */
struct member *table_next_turn (struct swim *swim);
/* Picks up to count different members of order[] at random, none of them `but`. Returns how many. */
size_t table_pick (struct swim *swim, struct member **picked, size_t count, const struct member *but);

/* -------------------------------------------------------------------------------------------------------- timers.c */

void timers_set (struct timers *timers, struct member *member, uint64_t due);
void timers_stop (struct timers *timers, struct member *member);
/* The one that is due first, or NULL. */
struct member *timers_first (const struct timers *timers);

/* --------------------------------------------------------------------------------------------------------- probe.c */

void probe_tick (struct swim *swim);
/* When probe_tick() has something to do. */
uint64_t probe_due (const struct swim *swim);
/* A member was removed or has changed its identity: questions to it are void. */
void probe_forget (struct swim *swim, const struct member *member);
/* The member is probed next, out of turn. */
void probe_urge (struct swim *swim, struct member *member);
/* Pings a JOINING member if the rate allows, and sets its timer. */
void probe_joining (struct swim *swim, struct member *member);
void probe_ping (struct swim *swim, struct member *member, bool introduce);
void probe_health (struct swim *swim, int change);
void probe_on_ping (struct swim *swim, struct member *sender, const struct message_swim_ping *ping);
void probe_on_request (struct swim *swim, struct member *sender, const struct message_swim_ping_request *request);
void probe_on_ack (struct swim *swim, struct member *sender, const struct message_swim_ack *ack);
void probe_on_nack (struct swim *swim, const struct message_swim_nack *nack);

/* ----------------------------------------------------------------------------------------------------- suspicion.c */

/* Somebody suspects the member with this incarnation: begins or confirms a suspicion. */
void suspicion_accuse (struct swim *swim, struct member *member, uint64_t incarnation, struct slice accuser);
/* The network, or a member, was slow or lost something: a suspicion proved wrong, or a ping had to be repeated. */
void suspicion_doubt (struct swim *swim);
/* The timer of a suspect. */
void suspicion_tick (struct swim *swim, struct member *member);

/* --------------------------------------------------------------------------------------------------------- merge.c */

/* Where a record came from. */
struct source
{
    struct slice sender; /* id */
    const char *from;    /* address */
    bool table;          /* it is part of a table: not news, so its dead are suspects only */
};
/* Returns false when the record's texts are not what they may be. */
bool merge_member (struct swim *swim, const struct source *source, const struct message_swim_member *record);
void merge_verdict (struct swim *swim, const struct source *source, const struct message_swim_verdict *verdict);
/* The member is dead or has left. */
void merge_bury (struct swim *swim, struct member *member, enum swim_state state, uint64_t incarnation);
/* A joining member has never answered. */
void merge_give_up (struct swim *swim, struct member *member);
/* A tombstone shows itself alive: it joins anew. */
void merge_revive (struct swim *swim, struct member *member);

/* ------------------------------------------------------------------------------------------------------- rumours.c */

/* Tells everybody of the member as it now is; what was told of it before is forgotten. accuser: why it is suspected. */
void rumours_tell (struct swim *swim, struct member *member, struct slice accuser);
/* The next round of gossip is now, because somebody's life hangs on the news; wide: it goes to FANOUT_MAX members. */
void rumours_hurry (struct swim *swim, bool wide);
void rumours_stop (struct swim *swim, struct member *member);
/* Appends at most so many bytes of rumours to a packet that is sent to so many members. */
void rumours_append (struct swim *swim, struct packet *packet, size_t room, size_t copies);
void rumours_tick (struct swim *swim);
void rumours_clear (struct swim *swim);

/* ---------------------------------------------------------------------------------------------------------- sync.c */

/* Asks for the table of whoever is at this address. */
void sync_ask (struct swim *swim, const char *address, uint16_t port);
void sync_tick (struct swim *swim);
uint64_t sync_due (const struct swim *swim);
/* Gossip may have missed some members: those that joined at the same time did not yet tell each other. */
void sync_soon (struct swim *swim);
void sync_on_sync (struct swim *swim, struct member *sender, const struct message_swim_sync *sync);
/* All of a piece of a table was merged. */
void sync_on_table (struct swim *swim, struct member *sender, const struct message_swim_table *table);
