/* task.c - the life of a task: steps on workers, answers and bodies within their credit. See host.h. */
#include "ensure.h"
#include "host.h"
#include "log.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void advance (struct task *task);

/* ------------------------------------------------------------------------------------------------------------- pieces
 */

static void pieces_add (struct pieces *pieces, zmq_msg_t *bytes)
{
    struct piece *piece = must (calloc (1, sizeof *piece));
    zmq_msg_init (&piece->bytes);
    zmq_msg_move (&piece->bytes, bytes);
    pieces->bytes += zmq_msg_size (&piece->bytes);
    *(pieces->first ? pieces->end : &pieces->first) = piece;
    pieces->end = &piece->next;
}

static size_t pieces_free (struct pieces *pieces)
{
    size_t bytes = pieces->bytes;
    for (struct piece *next; pieces->first; pieces->first = next)
    {
        next = pieces->first->next;
        zmq_msg_close (&pieces->first->bytes);
        free (pieces->first);
    }
    *pieces = (struct pieces){.first = NULL};
    return bytes;
}

/* ------------------------------------------------------------------------------------------------------------- output
 */

static void output_free (struct task *task)
{
    for (; task->sent < task->blocks; task->sent++)
        payload_block_free (task->output[task->sent].bytes);
    task->blocks = task->sent = 0;
}

/* ----------------------------------------------------------------------------------------------------- birth and death
 */

static void destroy (struct task *task)
{
    struct host *host = task->host;
    for (struct task **place = &host->tasks; *place; place = &(*place)->next)
        if (*place == task)
        {
            *place = task->next;
            break;
        }
    host->count--;
    pieces_free (&task->input);
    output_free (task);
    free (task);
}

static void run_step (struct job *job)
{
    struct task *task = OWNER (job, struct task, job);
    task->task_class->work (task);
}

static void run_release (struct job *job)
{
    struct task *task = OWNER (job, struct task, job);
    task->task_class->release (task);
}

static void submit (struct task *task)
{
    size_t most = (size_t) TASK_BLOCKS * PAYLOAD_BUFFER_BYTES;
    task->room = task->credit < TASK_STEP_LEAST ? TASK_STEP_LEAST : task->credit < most ? (size_t) task->credit : most;
    task->busy = true;
    worker_pool_submit (task->host->pool, &task->job);
}

/* Nothing is said any more: what is open is closed, by a worker. */
static void end_stream (struct task *task)
{
    task->over = true;
    stream_table_remove (&task->host->streams, task->subject.stream);
    window_close (&task->window);
    pieces_free (&task->received);
    if (task->busy)
        return; /* when the step is back */
    task->releasing = true;
    task->job.run = run_release;
    submit (task);
}

static void on_done (struct job *job)
{
    struct task *task = OWNER (job, struct task, job);
    task->busy = false;
    if (task->releasing)
        destroy (task);
    else if (task->over)
        end_stream (task);
    else
        advance (task);
}

struct task *task_new (struct host *host, struct message *message, const struct task_class *task_class,
                       const char *label)
{
    struct message_request *request = &message->fields.request;
    struct subject subject = message_subject (message);
    enum actor_id client = (enum actor_id) request->client;
    if (host->count == TASKS_MAX || host->hung == WORKERS)
    {
        host->counters.refused++;
        answer_error (host->actor, client, &subject, 503, "Too many file operations",
                      host->hung == WORKERS ? "every worker waits for a file system that does not answer; see the log"
                                            : "the agent's limit is reached");
        return NULL;
    }
    struct window window = {.budget = NULL};
    uint32_t credit = 0;
    bool has_body = request->framing != FRAMING_NONE && !(request->framing == FRAMING_LENGTH && request->length == 0);
    if (has_body && !(credit = window_open (&window, host->configuration->budget)))
    {
        host->counters.refused++;
        answer_error (host->actor, client, &subject, 503, "Too much data in flight",
                      "the agent's limit is reached; see --payload-total");
        return NULL;
    }
    struct task *task = must (calloc (1, task_class->size));
    *task = (struct task){.job = {.run = run_step, .done = on_done},
                          .task_class = task_class,
                          .host = host,
                          .next = host->tasks,
                          .subject = subject,
                          .client = client,
                          .credit = request->window,
                          .window = window,
                          .received_end = !has_body};
    size_t length = 0;
    for (; label[length] && length + 1 < sizeof task->job.label; length++)
        task->job.label[length] = (char) (label[length] >= ' ' && label[length] <= '~' ? label[length] : '?');
    host->tasks = task;
    host->count++;
    host->counters.requests++;
    stream_table_put (&host->streams, subject.stream, task);
    if (credit)
    {
        union message_fields fields = {.credit = {.bytes = credit}};
        actor_send (host->actor, client, MESSAGE_credit, &subject, &fields, NULL);
    }
    return task;
}

void task_start (struct task *task)
{
    submit (task);
}

void task_abort (struct task *task)
{
    task->host->counters.aborted++;
    end_stream (task);
}

void task_give_up (struct task *task, const char *details)
{
    struct host *host = task->host;
    host->counters.failed++;
    if (task->answered)
    {
        union message_fields fields = {.abort = {.reason = slice_from (details)}};
        actor_send (host->actor, task->client, MESSAGE_abort, &task->subject, &fields, NULL);
    }
    else
        answer_error (host->actor, task->client, &task->subject, 503, "The file system does not answer", details);
    bool begun = task->busy && !worker_pool_cancel (host->pool, &task->job);
    task->busy = begun;
    end_stream (task);
}

void task_release_all (struct host *host)
{
    for (struct task *task = host->tasks, *next; task; task = next)
    {
        next = task->next;
        if (!task->over)
            end_stream (task);
    }
}

/* ---------------------------------------------------------------------------------------------------------- the answer
 */

static void send_head (struct task *task)
{
    union message_fields fields = {.response = {.status = task->status,
                                                .framing = task->framing,
                                                .length = task->length,
                                                .headers = {task->headers, task->header_count}}};
    task->answered = true;
    task->host->counters.failed += task->status >= 500;
    actor_send (task->host->actor, task->client, MESSAGE_response, &task->subject, &fields, NULL);
}

/* Sends as much of the output as the client is ready for. Returns whether that was all. */
static bool send_output (struct task *task)
{
    for (; task->sent < task->blocks; task->sent++)
    {
        struct block *block = &task->output[task->sent];
        size_t left = block->end - block->at, length = left < task->credit ? left : (size_t) task->credit;
        if (length == 0)
            return false;
        zmq_msg_t payload;
        if (length == left)
            payload_from_block (&payload, block->bytes, block->bytes + block->at, length);
        else
            payload_copy (&payload, block->bytes + block->at, length);
        block->at += length;
        task->credit -= length;
        actor_send (task->host->actor, task->client, MESSAGE_body, &task->subject, NULL, &payload);
        if (length < left)
            return false;
    }
    task->blocks = task->sent = 0;
    return true;
}

/* The body that the last step was given is used up: more may come. */
static void grant (struct task *task)
{
    size_t bytes = pieces_free (&task->input);
    uint32_t credit = bytes ? window_consume (&task->window, bytes) : 0;
    if (!credit || task->received_end)
        return;
    union message_fields fields = {.credit = {.bytes = credit}};
    actor_send (task->host->actor, task->client, MESSAGE_credit, &task->subject, &fields, NULL);
}

/* Begins the next step when it has what it needs. */
static void next_step (struct task *task)
{
    if (task->wants_body)
    {
        if (!task->received.first && !task->received_end)
            return;
        task->input = task->received;
        task->received = (struct pieces){.first = NULL};
        task->input_end = task->received_end;
    }
    else if (task->answered && task->credit == 0)
        return; /* a client that does not read costs no work and no memory */
    submit (task);
}

/* Goes on as far as step, credit and body allow. */
static void advance (struct task *task)
{
    struct actor *actor = task->host->actor;
    grant (task);
    if (task->broken)
    {
        union message_fields fields = {.abort = {.reason = slice_from (task->broken)}};
        log_warn ("host", "%s: %s", task->job.label, task->broken);
        task->host->counters.failed++;
        actor_send (actor, task->client, MESSAGE_abort, &task->subject, &fields, NULL);
        end_stream (task);
        return;
    }
    if (task->has_head && !task->answered)
        send_head (task);
    if (!send_output (task))
        return;
    if (!task->finished)
    {
        next_step (task);
        return;
    }
    union message_fields end = {.end = {.trailers = {NULL, 0}}};
    actor_send (actor, task->client, MESSAGE_end, &task->subject, &end, NULL);
    end_stream (task);
}

void task_on_message (struct task *task, struct message *message)
{
    switch (message->envelope.type)
    {
    case MESSAGE_credit:
        task->credit += message->fields.credit.bytes;
        break;
    case MESSAGE_body:
        pieces_add (&task->received, message->payload);
        break;
    case MESSAGE_end:
        task->received_end = true;
        break;
    case MESSAGE_abort:
        task_abort (task);
        return;
    default:
        log_error ("host", "does not know what to do with %s", message_type_name (message->envelope.type));
        return;
    }
    if (!task->busy)
        advance (task);
}

/* ------------------------------------------------------------------------------------------------------- for workers
 */

void task_head (struct task *task, unsigned status, enum framing framing, uint64_t length)
{
    task->has_head = true;
    task->status = status;
    task->framing = framing;
    task->length = length;
}

void task_header (struct task *task, struct slice name, struct slice value)
{
    ensure (task->header_count < TASK_HEADERS_MAX && value.len <= sizeof task->text - task->text_length);
    char *copy = task->text + task->text_length;
    memcpy (copy, value.at, value.len);
    task->text_length += value.len;
    task->headers[task->header_count++] = (struct header){name, slice_of (copy, value.len)};
}

char *task_place (struct task *task, size_t *room)
{
    *room = 0;
    if (task->room == 0)
        return NULL;
    if (task->blocks == 0 || task->output[task->blocks - 1].end == PAYLOAD_BUFFER_BYTES)
    {
        ensure (task->blocks < TASK_BLOCKS); /* a step begins with none, and with room for no more */
        task->output[task->blocks++] = (struct block){.bytes = payload_block_new ()};
    }
    struct block *block = &task->output[task->blocks - 1];
    size_t left = PAYLOAD_BUFFER_BYTES - block->end;
    *room = left < task->room ? left : task->room;
    return block->bytes + block->end;
}

void task_filled (struct task *task, size_t length)
{
    task->output[task->blocks - 1].end += length;
    task->room -= length;
}

size_t task_output (struct task *task, struct slice bytes)
{
    size_t done = 0, room;
    while (done < bytes.len)
    {
        char *place = task_place (task, &room);
        size_t step = bytes.len - done < room ? bytes.len - done : room;
        if (step == 0)
            break;
        memcpy (place, bytes.at + done, step);
        task_filled (task, step);
        done += step;
    }
    return done;
}

void task_fail (struct task *task, unsigned status, const char *message, const char *details)
{
    task->finished = true;
    if (task->answered)
    {
        task->broken = details;
        return;
    }
    if (task->has_head) /* which nobody has seen yet */
        task->header_count = task->text_length = 0;
    json_t *object = json_pack ("{ssss}", "message", message, "details", details);
    if (!object) /* details of others that are not UTF-8 */
        object = json_pack ("{ss}", "message", message);
    char *text = must (json_dumps (object, JSON_COMPACT));
    output_free (task);
    task->room = PAYLOAD_BUFFER_BYTES;
    task_header (task, SLICE ("Content-Type"), SLICE ("application/json"));
    task_head (task, status, FRAMING_LENGTH, task_output (task, slice_from (text)));
    free (text);
    json_decref (object);
}

void task_done (struct task *task)
{
    task_head (task, 204, FRAMING_NONE, 0);
    task->finished = true;
}
