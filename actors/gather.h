/* gather.h - lists that all nodes answer together, seen from within (gather.c, gather_branch.c, gather_merge.c).
 *
 * A list is one client's request; it has one branch per member, asked all at once. A branch goes through these states:
 *
 *     WAITING ──200──▶ LISTING ──its end──▶ DONE
 *        │                │
 *        └──other──▶ REFUSING ──▶ FAILED   (from any state)
 *
 * A branch has arrived when the first byte of its list, or its end, has come; a branch that failed is not waited for
 * either. When there is none left to wait for, the head is decided. From then on bytes of branches become elements in
 * order of arrival, as far as the client's credit goes; what it does not cover stays where it is, ungranted.
 */
#pragma once

#include "configuration.h"
#include "http/json_list.h"
#include "lost_nodes.h"
#include "members.h"
#include "payload.h"
#include "placement.h"
#include "stream_table.h"
#include "window.h"

enum
{
    GATHER_LISTS_MAX = 256,             /* lists at once */
    GATHER_HELD_MAX = 64 * 1024 * 1024, /* bytes of unfinished elements of all lists together */
    GATHER_REFUSAL_MAX = 4096,          /* bytes of the body of an answer other than 200: the least window */
    GATHER_WARNINGS_MAX = 256 * 1024,   /* bytes of volume warnings of one list */
    GATHER_NAMES_MAX = 4096,            /* bytes of node names in one header */
    GATHER_NODES_MAX = 64,              /* nodes whose failures are counted by name */
    GATHER_LOST_TIME = 800,             /* ms that a branch has when its node has left the cluster */
    GATHER_NAME_BYTES = 3 * 256 + 1,    /* a printable node name */
    GATHER_REASON_BYTES = 256,
};

enum branch_state
{
    BRANCH_WAITING,
    BRANCH_LISTING,
    BRANCH_REFUSING,
    BRANCH_DONE,
    BRANCH_FAILED,
};

/* One node's answer. */
struct branch
{
    struct list *list;
    struct subject subject; /* a stream of gather's own */
    enum actor_id far;      /* docker or peers */
    enum branch_state state;
    bool arrived;  /* is not waited for any more */
    bool ended;    /* the far end sends nothing more */
    bool cut;      /* it ended too early: reason says why */
    bool lost;     /* its node left the cluster */
    bool late;     /* failed after the head: belongs into the trailer */
    bool passable; /* the refusal is the node's own, and whole */
    bool queued;   /* among the ready ones */
    struct branch *next_ready;
    struct json_list *elements; /* LISTING */
    struct slice element;       /* whole, and not sent yet */
    size_t held;                /* bytes that elements holds, as counted in the total */
    char *input;                /* what came and was not looked at; of a refusal, the body */
    size_t from, length, capacity;
    struct window window; /* covers input */
    struct timer timer;
    uint64_t heard;  /* ms: when something came last */
    unsigned status; /* FAILED: what to answer when all fail alike */
    char type[128];  /* content type of a refusal */
    char id[65];
    char name[GATHER_NAME_BYTES]; /* printable */
    char reason[GATHER_REASON_BYTES];
};

/* One client's request. */
struct list
{
    struct gather *gather;
    struct list *next;
    struct subject subject;
    enum actor_id client;
    enum json_list_kind kind;
    bool is_head;    /* HEAD: nothing but the head is sent */
    bool head_sent;  /* and it said 200 */
    bool begun;      /* the opening bracket was sent */
    bool closing;    /* what is pending is the end of the text */
    uint64_t credit; /* bytes that the client is ready for */
    uint64_t losses; /* number of the last node that was lost before it began */
    size_t awaited;  /* branches that have not arrived */
    size_t running;  /* branches that are neither DONE nor FAILED */
    char path[64];   /* for the log */
    char *warnings;  /* JSON strings with commas between them */
    size_t warnings_length;
    char *tail;                        /* what ends the text */
    struct slice pending[2];           /* to be sent before anything else */
    struct branch *sending;            /* whose element is pending */
    struct branch *ready, *ready_last; /* branches that something came from, in order of arrival */
    size_t count;
    struct branch branches[];
};

/* How often a node was missing. */
struct failures
{
    char name[65];
    uint64_t count;
};

struct gather
{
    struct actor *actor;
    const struct configuration *configuration;
    struct members members;
    struct lost_nodes lost;
    struct list *lists;
    size_t list_count;
    struct stream_table by_client, by_branch;
    uint64_t last_stream;
    char engine_name[257];
    struct payload_buffer buffer; /* what goes to a client next */
    size_t buffered;
    size_t held;
    struct failures failures[GATHER_NODES_MAX];
    size_t failed_nodes;
    struct
    {
        uint64_t lists, refused, branches, failed, failed_others, elements, bytes;
    } counters;
};

/* ------------------------------------------------------------------------------------------------------------- a list
 */

/* Something happened to a branch: decides the head when it is time, and sends what can be sent. The list may be gone
 * afterwards. */
void list_progress (struct list *list);

/* Ends the list without a word to its client: running branches are aborted. */
void list_destroy (struct list *list);

/* Sends elements as far as credit and branches go. The list may be gone afterwards. */
void list_merge (struct list *list);

/* The node's name as it may stand in a header, in the log and in JSON: what is not visible ASCII, and the comma, is
 * percent-encoded. */
void print_node_name (char out[GATHER_NAME_BYTES], const char *name);

/* Names of the nodes that are missing since before, or after, the head: printable, with commas between them. Empty when
 * there are none. */
void list_missing (const struct list *list, bool late, char out[GATHER_NAMES_MAX]);

/* ----------------------------------------------------------------------------------------------------------- a branch
 */

/* Asks one node. The request is the client's, with the headers that every branch gets and room for one more. */
void branch_begin (struct list *list, struct branch *branch, const struct member *member,
                   const struct message_request *request, struct header *headers, size_t count);

void branch_on_response (struct branch *branch, const struct message_response *response);
void branch_on_body (struct branch *branch, struct slice bytes);
void branch_on_end (struct branch *branch);
void branch_on_abort (struct branch *branch, struct slice reason);

/* Its node has left the cluster: it is given up soon, unless it answers. */
void branch_lost (struct branch *branch);

/* Looks for the next element in what came. True: branch->element is one; false: none is there now, or the branch is
 * over. */
bool branch_next (struct branch *branch);

/* Puts it among the ready ones. */
void branch_ready (struct branch *branch);

/* Says in the log why the node is missing. */
void branch_log (const struct branch *branch);

/* Frees what it holds, and aborts it when its far end still sends. Idempotent. */
void branch_close (struct branch *branch, const char *why);

static inline bool branch_is_over (const struct branch *branch)
{
    return branch->state == BRANCH_DONE || branch->state == BRANCH_FAILED;
}
