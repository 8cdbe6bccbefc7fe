/* host.h - the parts of the actor `host`: tasks, and what makes them.
 *
 * A task is the work that one request makes on a file system, cut into steps. A step runs on a worker, everything else
 * on the reactor, and while a step runs (busy) the reactor leaves alone what the step may touch. One step of a task
 * runs at a time, so its calls stay in order.
 *
 *     on the reactor                              on a worker
 *     task_start ──────────────────────────────▶  work() ── head, output, finished, wants_body
 *     sends head and output within the credit  ◀──┘
 *     when all output is out, or body has come ▶  work() …   (as much as the client is ready for)
 *     after the end, or an abort ──────────────▶  release() ─▶ freed
 */
#pragma once

#include "beneath.h"
#include "configuration.h"
#include "payload.h"
#include "placement.h"
#include "stream_table.h"
#include "worker_pool.h"

#include "http/browse.h"

#include <limits.h>
#include <stdatomic.h>

enum
{
    TASKS_MAX = 128,        /* requests on files at a time (503) */
    TASK_BLOCKS = 4,        /* of PAYLOAD_BUFFER_BYTES: the output of one step, at most */
    TASK_STEP_LEAST = 4096, /* bytes that a step may put out, however little the client is ready for */
    TASK_HEADERS_MAX = 6,
    TASK_TEXT_BYTES = 512,             /* for values of headers */
    TASK_HUNG_TIME = 10000,            /* ms; a step that takes so long hangs */
    LIST_NAMES_MAX = 64 * 1024 * 1024, /* bytes of names that all listings hold together */
    RENAME_BODY_MAX = 64 * 1024,       /* bytes of the JSON of a rename */
    STOP_TIME = 2000,                  /* ms that workers have to clean up when the agent stops */
};

struct task;

struct host
{
    struct actor *actor;
    const struct configuration *configuration;
    struct worker_pool *pool;
    struct stream_table streams;
    struct task *tasks;
    size_t count;
    bool walk;                 /* the kernel does not resolve paths beneath a folder: by hand then */
    struct timer timer;        /* looks for workers that hang, while there are tasks */
    uint64_t told[WORKERS];    /* jobs of which the log knows that they hang */
    uint64_t told_at[WORKERS]; /* ms, when they began */
    unsigned hung;             /* workers that hang now */
    atomic_size_t names;       /* bytes that listings hold */
    struct
    {
        uint64_t requests, refused, failed, aborted, hung;
    } counters;
};

struct task_class
{
    size_t size; /* of the object that begins with a struct task */
    /* One step, on a worker: ends having set head, output, finished or failure, or wants_body. */
    void (*work) (struct task *task);
    /* Gives back what is open, on a worker, whatever became of the task. */
    void (*release) (struct task *task);
};

/* A received piece of the request's body. */
struct piece
{
    struct piece *next;
    zmq_msg_t bytes;
};

struct pieces
{
    struct piece *first, **end;
    size_t bytes;
};

/* A block of output, of which the bytes from at to end are still to be sent. */
struct block
{
    char *bytes;
    size_t at, end;
};

struct task
{
    struct job job;
    const struct task_class *task_class;
    struct host *host;
    struct task *next;
    struct subject subject;
    enum actor_id client;

    /* The reactor's. */
    bool busy;     /* a step is queued or runs */
    bool over;     /* nothing is said about the stream any more */
    bool answered; /* the head was sent */
    bool releasing;
    uint64_t credit;      /* bytes of the answer that the client is ready for */
    struct window window; /* of the request's body */
    struct pieces received;
    bool received_end;

    /* Of the step that runs, else the reactor's. */
    struct pieces input;     /* body for this step */
    bool input_end;          /* and that was all of it */
    bool wants_body;         /* the next step makes sense only with more of the body, or its end */
    bool has_head, finished; /* finished: nothing follows this output */
    const char *broken;      /* after the head: the answer cannot be completed; why */
    unsigned status;         /* of the head */
    enum framing framing;
    uint64_t length;
    struct header headers[TASK_HEADERS_MAX];
    size_t header_count;
    char text[TASK_TEXT_BYTES]; /* values of headers live here */
    size_t text_length;
    struct block output[TASK_BLOCKS];
    unsigned blocks; /* of output that were begun */
    unsigned sent;   /* and those that are gone */
    size_t room;     /* bytes that the step may still put out */
};

/* --------------------------------------------------------------------------------------------------- life of a task */

/* Makes a task for a request; NULL when it was refused. The object's own part is zero. */
struct task *task_new (struct host *host, struct message *message, const struct task_class *task_class,
                       const char *label);

/* Begins with the first step. */
void task_start (struct task *task);
void task_on_message (struct task *task, struct message *message);

/* The stream is over; the object goes when its worker has let go of it. */
void task_abort (struct task *task);

/* The file system does not answer: says so to the client, in place of the task. */
void task_give_up (struct task *task, const char *details);

/* Of all tasks that are left when the agent stops. */
void task_release_all (struct host *host);

/* ------------------------------------------------------------------------------------------- for steps, on a worker */

void task_head (struct task *task, unsigned status, enum framing framing, uint64_t length);
/* The value is copied. */
void task_header (struct task *task, struct slice name, struct slice value);
/* Ends the task with the contract's error, or, after its head, breaks it off. */
void task_fail (struct task *task, unsigned status, const char *message, const char *details);
/* 204. */
void task_done (struct task *task);
/* Adds output. Returns how much of it had room. */
size_t task_output (struct task *task, struct slice bytes);
/* Where output may be put without a copy: *room bytes, 0 when the step may put out no more. task_filled() adds what
 * was. */
char *task_place (struct task *task, size_t *room);
void task_filled (struct task *task, size_t length);

/* ---------------------------------------------------------------------------------------------- what tasks are about
 */

/* Where a path leads: into a volume, or below the root of the host. */
struct place
{
    const struct host *host;
    char volume[NAME_MAX + 1]; /* empty: the host */
    struct beneath beneath;    /* root is -1 until it is opened */
};

/* Opens the root. Returns 0, or -1 with errno. On a worker. */
int place_open (struct place *place);
void place_close (struct place *place);

/* A request of browsing; of host information. */
void browse_begin (struct host *host, struct message *message, const struct browse_target *target);
void host_info_begin (struct host *host, struct message *message);

/* What all browse tasks begin with. */
struct browse
{
    struct task task;
    struct place place;
    bool first_shape;
    char path[PATH_MAX]; /* decoded, NUL-terminated */
};

extern const struct task_class browse_list_class, browse_get_class, browse_delete_class, browse_rename_class,
    browse_put_class;

#define CLIMBS_DETAILS "Invalid path. Ensure that the path do not contain '..' elements"

/* Whether the path may be used in this place: a volume's has no element `..` (contract 5.4). */
bool browse_path_is_valid (const struct place *place, const char *path);

/* The path to resolve beneath the place's root. */
const char *browse_path_below (const struct place *place, const char *path);

/* Take what they need of the request's headers, on the reactor, before the first step. */
void browse_get_prepare (struct browse *browse, struct headers headers);
void browse_put_prepare (struct browse *browse, struct headers headers);

/* Why a call on a file of the place failed, for people; error is an errno. Static storage. */
const char *browse_reason (const struct place *place, int error);

/* Closes the place: the release of tasks that open nothing else. */
void browse_release (struct task *task);
