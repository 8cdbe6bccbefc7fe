/* world.h - a cluster in one process: many swim machines, virtual time, and links that lose, delay and stall.
 *
 * Everything follows from the seed, so a run repeats. Time is in microseconds; the machines get milliseconds. Nodes are
 * numbers; node 7 has the id, the name and the address that follow from 7.
 */
#pragma once

#include "gossip/swim.h"

enum world_link
{
    WORLD_DATAGRAMS, /* loss, delay, duplication, reordering */
    WORLD_TCP,       /* in order; a loss stalls the connection; set-up; a bounded queue, which drops */
};

enum
{
    WORLD_PORT = 7946,
    WORLD_QUEUE = 64,          /* messages that wait in one connection */
    WORLD_OVERHEAD = 110 + 52, /* bytes a message costs beside itself: IP, TCP, ZMTP, CURVE; and its TCP ack */
    WORLD_MS = 1000,
};

struct world_options
{
    size_t nodes; /* at most SWIM_MEMBERS_MAX */
    enum world_link link;
    double loss;                      /* 0 to 1, of one message, or of one segment with TCP */
    double duplication;               /* 0 to 1, datagrams */
    double reordering;                /* 0 to 1: datagrams that are 10 ms late */
    uint32_t delay_least, delay_most; /* microseconds; 0, 0: 200 to 1000 */
    struct swim_parameters parameters;
    uint64_t seed;
};

struct world_node
{
    struct swim *swim; /* NULL: not running */
    struct world *world;
    size_t number;
    uint64_t due;                                        /* next tick, microseconds */
    uint64_t lateness;                                   /* microseconds after which a message that came is handled */
    unsigned group;                                      /* nodes of different groups hear nothing of each other */
    int64_t wall_clock;                                  /* milliseconds that its clock of the day is off */
    uint64_t sent, sent_bytes, received, received_bytes; /* messages, and bytes without overhead */
};

struct world;

struct world *world_new (const struct world_options *options);
void world_destroy (struct world **self);

uint64_t world_now (const struct world *world);
uint64_t world_random (struct world *world);
struct world_node *world_node (struct world *world, size_t number);

/* Starts a node, which joins at the addresses of the nodes from `first` to `last`; first > last: at none. */
void world_start (struct world *world, size_t number, size_t first, size_t last);
/* Starts the nodes from 0 to count - 1, all of which know each other already. */
void world_start_known (struct world *world, size_t count);
/* Ends a node without a word, and with good-bye. */
void world_crash (struct world *world, size_t number);
void world_leave (struct world *world, size_t number);
/* Nothing goes from a to b any more; or again. */
void world_cut (struct world *world, size_t from, size_t to, bool cut);
/* The network never delivers to nor from the node; or again. */
void world_isolate (struct world *world, size_t number, bool isolated);
/* Every node calls swim_join() with up to `most` random addresses of nodes, as the actor does with what it resolves. */
void world_rejoin (struct world *world, size_t most);

/* What node `at` believes of node `of`: SWIM_DEAD also when it has never heard of it. */
enum swim_state world_view (const struct world *world, size_t at, size_t of);
/* How many running nodes list this one, and how many of them hold it for usable (ALIVE or SUSPECT). */
size_t world_known (const struct world *world, size_t of);
size_t world_usable (const struct world *world, size_t of);
/* Whether every running node holds every running node for ALIVE or SUSPECT, and no other node. */
bool world_is_whole (const struct world *world);
/* Verdicts over nodes that ran and were not cut off from the judge, since the beginning or the last call of
 * world_forgive(). */
uint64_t world_false_deaths (const struct world *world);
void world_forgive (struct world *world);
uint64_t world_deliveries (const struct world *world);

/* Runs until the condition holds or the time (microseconds from now) is over. Returns whether it holds; NULL never
 * does. It is asked once a millisecond at most. */
typedef bool (*world_condition) (struct world *world, size_t argument);
bool world_run (struct world *world, uint64_t time, world_condition condition, size_t argument);

/* Hands bytes to a node as if they had come from an address. */
void world_inject (struct world *world, size_t to, const char *from, struct slice bytes);
/* The id and address of a number. */
void world_id (size_t number, char out[65]);
void world_address (size_t number, char out[65]);
