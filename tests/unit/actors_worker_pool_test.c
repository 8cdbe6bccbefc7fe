/* actors_worker_pool_test - workers: order, cancelling, hanging, ending. Jobs hang for real: they read from a pipe. */
#include "actor_harness.h"

#include "actors/worker_pool.h"

struct read_job
{
    struct job job;
    int pipe[2];
    bool run, done;
};

static void run_read (struct job *job)
{
    struct read_job *read_job = OWNER (job, struct read_job, job);
    char byte;
    ensure (read (read_job->pipe[0], &byte, 1) == 1);
    read_job->run = true;
}

static void on_read_done (struct job *job)
{
    OWNER (job, struct read_job, job)->done = true;
}

static void open_job (struct read_job *job, const char *label)
{
    *job = (struct read_job){.job = {.run = run_read, .done = on_read_done}};
    snprintf (job->job.label, sizeof job->job.label, "%s", label);
    ensure (pipe (job->pipe) == 0);
}

static void release (struct read_job *job)
{
    ensure (write (job->pipe[1], "", 1) == 1);
}

static void close_job (struct read_job *job)
{
    close (job->pipe[0]);
    close (job->pipe[1]);
}

static bool is_done (struct harness *harness, void *data)
{
    (void) harness;
    return ((struct read_job *) data)->done;
}

/* So many workers have begun a job. */
struct wanted_busy
{
    struct worker_pool *pool;
    size_t busy;
};

static bool are_busy (struct harness *harness, void *data)
{
    (void) harness;
    struct wanted_busy *wanted = data;
    struct worker_state states[WORKERS];
    size_t busy = 0;
    worker_pool_look (wanted->pool, states);
    for (unsigned number = 0; number < WORKERS; number++)
        busy += states[number].job != 0;
    return busy == wanted->busy;
}

static struct harness *begin (void)
{
    struct harness *harness = harness_prepare ();
    harness_start (harness, &(const struct actor_class){.id = ACTOR_NONE});
    return harness;
}

static void others_go_on_while_one_hangs (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct worker_pool *pool = worker_pool_new (harness->any);
    struct read_job hanging, others[20];
    open_job (&hanging, "hangs");
    worker_pool_submit (pool, &hanging.job);
    for (size_t index = 0; index < 20; index++)
    {
        open_job (&others[index], "runs");
        release (&others[index]);
        worker_pool_submit (pool, &others[index].job);
    }
    for (size_t index = 0; index < 20; index++)
    {
        harness_until (harness, is_done, &others[index]);
        assert_true (others[index].run);
        close_job (&others[index]);
    }
    struct wanted_busy one = {pool, 1};
    harness_until (harness, are_busy, &one);
    struct worker_state states[WORKERS];
    assert_int_equal (worker_pool_look (pool, states), 0);
    for (unsigned number = 0; number < WORKERS; number++)
        if (states[number].job)
        {
            assert_string_equal (states[number].label, "hangs");
            assert_ptr_equal (states[number].object, &hanging.job);
        }
    assert_false (hanging.done);
    release (&hanging);
    harness_until (harness, is_done, &hanging);
    assert_int_equal (worker_pool_drain (pool, 1000), 0);
    worker_pool_destroy (&pool);
    assert_null (pool);
    close_job (&hanging);
    harness_destroy (harness);
}

static void queues_when_all_hang_and_cancels (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct worker_pool *pool = worker_pool_new (harness->any);
    struct read_job hanging[WORKERS], waiting[3];
    for (size_t index = 0; index < WORKERS; index++)
    {
        open_job (&hanging[index], "hangs");
        worker_pool_submit (pool, &hanging[index].job);
    }
    struct wanted_busy all = {pool, WORKERS};
    harness_until (harness, are_busy, &all);
    for (size_t index = 0; index < 3; index++)
    {
        open_job (&waiting[index], "waits");
        release (&waiting[index]);
        worker_pool_submit (pool, &waiting[index].job);
    }
    struct worker_state states[WORKERS];
    assert_int_equal (worker_pool_look (pool, states), 3);
    assert_true (worker_pool_cancel (pool, &waiting[2].job)); /* the last, then the first */
    assert_true (worker_pool_cancel (pool, &waiting[0].job));
    assert_false (worker_pool_cancel (pool, &waiting[0].job));
    assert_false (worker_pool_cancel (pool, &hanging[0].job));
    assert_int_equal (worker_pool_look (pool, states), 1);
    assert_int_equal (worker_pool_drain (pool, 1), WORKERS + 1);
    worker_pool_submit (pool, &waiting[2].job); /* behind the one that is left */
    for (size_t index = 0; index < WORKERS; index++)
        release (&hanging[index]);
    harness_until (harness, is_done, &waiting[2]);
    assert_true (waiting[1].run && waiting[2].run && !waiting[0].run);
    assert_int_equal (worker_pool_drain (pool, 1000), 0);
    worker_pool_destroy (&pool);
    for (size_t index = 0; index < WORKERS; index++)
        close_job (&hanging[index]);
    for (size_t index = 0; index < 3; index++)
        close_job (&waiting[index]);
    harness_destroy (harness);
}

struct chain
{
    struct job job;
    struct worker_pool *pool;
    int left;
};

static void run_nothing (struct job *job)
{
    (void) job;
}

static void submit_again (struct job *job)
{
    struct chain *chain = OWNER (job, struct chain, job);
    if (--chain->left)
        worker_pool_submit (chain->pool, job);
}

static void drains_what_follows_too (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct worker_pool *pool = worker_pool_new (harness->any);
    struct chain chain = {.job = {.run = run_nothing, .done = submit_again}, .pool = pool, .left = 100};
    worker_pool_submit (pool, &chain.job);
    assert_int_equal (worker_pool_drain (pool, 10000), 0);
    assert_int_equal (chain.left, 0);
    worker_pool_destroy (&pool);
    harness_destroy (harness);
}

static void leaves_behind_what_hangs (void **state)
{
    (void) state;
    struct harness *harness = begin ();
    struct worker_pool *pool = worker_pool_new (harness->any);
    static struct read_job hanging; /* its worker outlives this function */
    open_job (&hanging, "hangs");
    worker_pool_submit (pool, &hanging.job);
    assert_int_equal (worker_pool_drain (pool, 1), 1);
    worker_pool_destroy (&pool);
    assert_false (hanging.done);
    release (&hanging); /* its worker ends by itself, and frees the pool */
    harness_destroy (harness);
}

#define TEST(name) cmocka_unit_test_teardown (name, harness_teardown)

int main (void)
{
    const struct CMUnitTest tests[] = {
        TEST (others_go_on_while_one_hangs),
        TEST (queues_when_all_hang_and_cancels),
        TEST (drains_what_follows_too),
        TEST (leaves_behind_what_hangs),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
