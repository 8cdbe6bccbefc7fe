/* simulate - the gossip of whole clusters in virtual time: what docs/gossip.md promises, measured.
 *
 * usage: simulate [OPTION...] SCENARIO      (simulate --help says more)
 *
 * A scenario runs once for each seed, on as many threads as there are processors. Its times are the cluster's: from the
 * event until the last node knows. Each line says what seeds it stands for, so that `--first SEED --seeds 1` repeats
 * one.
 */
#include "world.h"

#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum
{
    SEEDS_MAX = 1000,
    METRICS_MAX = 6,
    PATIENCE = 60, /* virtual seconds after which something is taken not to happen */
};

static const uint64_t SECOND = UINT64_C (1000) * WORLD_MS;
static const double NEVER = 1e9;

struct setting
{
    const char *scenario;
    size_t nodes;
    enum world_link link;
    double loss;     /* 0 to 1 */
    double duration; /* virtual seconds */
    unsigned seeds;
    uint64_t first; /* seed */
};

/* What one run found; what each number means, the scenario says. */
struct outcome
{
    double metric[METRICS_MAX];
};

/* ------------------------------------------------------------------------------------------------------- scenarios */

static struct world *begin (const struct setting *setting, uint64_t seed, size_t started)
{
    struct world_options options = {.nodes = setting->nodes,
                                    .link = setting->link,
                                    .loss = setting->loss,
                                    .duplication = setting->link == WORLD_DATAGRAMS ? 0.01 : 0,
                                    .reordering = setting->link == WORLD_DATAGRAMS ? 0.01 : 0,
                                    .parameters = swim_standard (),
                                    .seed = seed};
    struct world *world = world_new (&options);
    world_start_known (world, started);
    /* A moment of its own, not a multiple of an interval. */
    world_run (world, 2 * SECOND + world_random (world) % SECOND, NULL, 0);
    world_forgive (world);
    return world;
}

/* Runs until the condition holds; the seconds that took, or NEVER. */
static double seconds_until (struct world *world, uint64_t since, world_condition condition, size_t argument)
{
    bool held = world_run (world, PATIENCE * SECOND, condition, argument);
    return held ? (double) (world_now (world) - since) / 1e6 : NEVER;
}

static size_t newcomer_of (const struct setting *setting)
{
    return setting->nodes - 1;
}

static bool almost_all_know (struct world *world, size_t of)
{
    return world_known (world, of) >= of + 1 - of / 1000;
}

static bool all_know (struct world *world, size_t of)
{
    return world_known (world, of) == of + 1;
}

static bool all_use (struct world *world, size_t of)
{
    return world_usable (world, of) == of + 1;
}

/* known to 99.9 %, known to all, usable at all; false deaths */
static struct outcome join (const struct setting *setting, uint64_t seed)
{
    size_t newcomer = newcomer_of (setting);
    struct world *world = begin (setting, seed, newcomer);
    uint64_t since = world_now (world);
    world_start (world, newcomer, 0, newcomer < 3 ? newcomer - 1 : 2);
    struct outcome outcome = {{0}};
    outcome.metric[0] = seconds_until (world, since, almost_all_know, newcomer);
    outcome.metric[1] = seconds_until (world, since, all_know, newcomer);
    outcome.metric[2] = seconds_until (world, since, all_use, newcomer);
    outcome.metric[3] = (double) world_false_deaths (world);
    world_destroy (&world);
    return outcome;
}

static bool nobody_uses (struct world *world, size_t of)
{
    return world_usable (world, of) <= (world_node (world, of)->swim ? 1 : 0);
}

/* dropped by all; false deaths */
static struct outcome lose (const struct setting *setting, uint64_t seed, bool cut)
{
    struct world *world = begin (setting, seed, setting->nodes);
    size_t lost = world_random (world) % setting->nodes;
    uint64_t since = world_now (world);
    if (cut)
        world_isolate (world, lost, true);
    else
        world_crash (world, lost);
    struct outcome outcome = {{0}};
    outcome.metric[0] = seconds_until (world, since, nobody_uses, lost);
    outcome.metric[1] = (double) world_false_deaths (world);
    world_destroy (&world);
    return outcome;
}

static struct outcome crash (const struct setting *setting, uint64_t seed)
{
    return lose (setting, seed, false);
}

static struct outcome cut (const struct setting *setting, uint64_t seed)
{
    return lose (setting, seed, true);
}

/* dropped by all; false deaths */
static struct outcome leave (const struct setting *setting, uint64_t seed)
{
    struct world *world = begin (setting, seed, setting->nodes);
    size_t gone = world_random (world) % setting->nodes;
    uint64_t since = world_now (world);
    world_leave (world, gone);
    struct outcome outcome = {{seconds_until (world, since, nobody_uses, gone), (double) world_false_deaths (world)}};
    world_destroy (&world);
    return outcome;
}

static bool is_whole (struct world *world, size_t argument)
{
    (void) argument;
    return world_is_whole (world);
}

/* merged. The network is split for the duration; as the actor does, every node tries addresses of others every 2 s. */
static struct outcome heal (const struct setting *setting, uint64_t seed)
{
    struct world *world = begin (setting, seed, setting->nodes);
    for (size_t number = 0; number < setting->nodes; number++)
        world_node (world, number)->group = number < (setting->nodes + 1) / 2;
    uint64_t rejoin = 2 * SECOND;
    for (uint64_t end = world_now (world) + (uint64_t) setting->duration * SECOND; world_now (world) < end;)
    {
        world_rejoin (world, 8);
        world_run (world, rejoin, NULL, 0);
    }
    for (size_t number = 0; number < setting->nodes; number++)
        world_node (world, number)->group = 0;
    uint64_t since = world_now (world);
    /* The next round of the actors comes within its interval. */
    bool whole = world_run (world, world_random (world) % rejoin, is_whole, 0);
    for (unsigned round = 0; !whole && round < PATIENCE / 2; round++)
    {
        world_rejoin (world, 8);
        whole = world_run (world, rejoin, is_whole, 0);
    }
    struct outcome outcome = {{whole ? (double) (world_now (world) - since) / 1e6 : NEVER}};
    world_destroy (&world);
    return outcome;
}

/* false deaths; suspicions, messages and bytes sent (with and without overhead) a node and second */
static struct outcome watch (struct world *world, const struct setting *setting)
{
    uint64_t sent = 0, bytes = 0, suspicions = 0;
    for (size_t number = 0; number < setting->nodes; number++)
    {
        sent -= world_node (world, number)->sent;
        bytes -= world_node (world, number)->sent_bytes;
        suspicions -= swim_counters (world_node (world, number)->swim).probes_failed;
    }
    world_run (world, (uint64_t) (setting->duration * 1e6), NULL, 0);
    for (size_t number = 0; number < setting->nodes; number++)
    {
        sent += world_node (world, number)->sent;
        bytes += world_node (world, number)->sent_bytes;
        suspicions += swim_counters (world_node (world, number)->swim).probes_failed;
    }
    double share = (double) setting->nodes * setting->duration;
    return (struct outcome){{(double) world_false_deaths (world), (double) suspicions / share, (double) sent / share,
                             (double) bytes / share, ((double) bytes + (double) sent * WORLD_OVERHEAD) / share}};
}

static struct outcome steady (const struct setting *setting, uint64_t seed)
{
    struct world *world = begin (setting, seed, setting->nodes);
    struct outcome outcome = watch (world, setting);
    world_destroy (&world);
    return outcome;
}

/* The same, while one node handles every message 1 s late. */
static struct outcome late (const struct setting *setting, uint64_t seed)
{
    struct world *world = begin (setting, seed, setting->nodes);
    world_node (world, seed % setting->nodes)->lateness = SECOND;
    struct outcome outcome = watch (world, setting);
    world_destroy (&world);
    return outcome;
}

/* One direction between two nodes is cut. */
static struct outcome oneway (const struct setting *setting, uint64_t seed)
{
    struct world *world = begin (setting, seed, setting->nodes);
    world_cut (world, 0, 1, true);
    struct outcome outcome = watch (world, setting);
    world_destroy (&world);
    return outcome;
}

static const struct scenario
{
    const char *name, *what;
    struct outcome (*run) (const struct setting *setting, uint64_t seed);
    const char *metrics[METRICS_MAX];
} scenarios[] = {
    {"join",
     "a node joins: s until 99.9 % and all list it, until all have had its answer",
     join,
     {"99.9 % know", "all know", "all use", "false deaths"}},
    {"crash", "a node dies: s until nobody lists it", crash, {"detected", "false deaths"}},
    {"cut", "a node is cut off: s until nobody else lists it", cut, {"detected", "false deaths"}},
    {"leave", "a node leaves in order: s until nobody lists it", leave, {"known", "false deaths"}},
    {"heal", "the network is split in halves for --duration: s until all know all again", heal, {"merged"}},
    {"steady",
     "nothing happens for --duration",
     steady,
     {"false deaths", "failed probes/s", "messages/s", "bytes/s", "with overhead"}},
    {"late",
     "steady, but one node handles every message 1 s late",
     late,
     {"false deaths", "failed probes/s", "messages/s", "bytes/s", "with overhead"}},
    {"oneway",
     "steady, but nothing goes from one node to another",
     oneway,
     {"false deaths", "failed probes/s", "messages/s", "bytes/s", "with overhead"}},
};

static const struct scenario *scenario_named (const char *name)
{
    for (size_t index = 0; index < sizeof scenarios / sizeof *scenarios; index++)
        if (strcmp (scenarios[index].name, name) == 0)
            return &scenarios[index];
    return NULL;
}

/* --------------------------------------------------------------------------------------------------------- running */

struct job
{
    const struct setting *setting;
    const struct scenario *scenario;
    struct outcome outcomes[SEEDS_MAX];
    unsigned next; /* atomic */
};

static void *work (void *context)
{
    struct job *job = context;
    for (;;)
    {
        unsigned index = __atomic_fetch_add (&job->next, 1, __ATOMIC_RELAXED);
        if (index >= job->setting->seeds)
            return NULL;
        job->outcomes[index] = job->scenario->run (job->setting, job->setting->first + index);
    }
}

static int by_size (const void *a, const void *b)
{
    double left = *(const double *) a, right = *(const double *) b;
    return (left > right) - (left < right);
}

struct summary
{
    double median, p95, most, sum;
};

static struct summary summary_of (const struct job *job, unsigned metric)
{
    double values[SEEDS_MAX];
    unsigned count = job->setting->seeds;
    struct summary summary = {0};
    for (unsigned index = 0; index < count; index++)
        summary.sum += values[index] = job->outcomes[index].metric[metric];
    qsort (values, count, sizeof *values, by_size);
    summary.median = values[count / 2];
    summary.p95 = values[(count * 95 + 99) / 100 - 1];
    summary.most = values[count - 1];
    return summary;
}

static void print_number (double number)
{
    if (number >= NEVER)
        printf (" %8s", "never");
    else
        printf (number >= 100 ? " %8.0f" : " %8.2f", number);
}

static struct job *run (const struct setting *setting)
{
    struct job *job = calloc (1, sizeof *job);
    if (!job)
        abort ();
    job->setting = setting;
    job->scenario = scenario_named (setting->scenario);
    long processors = sysconf (_SC_NPROCESSORS_ONLN);
    pthread_t threads[64];
    long count = processors < 1 ? 1 : processors > 64 ? 64 : processors;
    for (long index = 0; index < count; index++)
        if (pthread_create (&threads[index], NULL, work, job))
            abort ();
    for (long index = 0; index < count; index++)
        pthread_join (threads[index], NULL);
    return job;
}

/* Prints a line for each metric. */
static void print (const struct job *job)
{
    const struct setting *setting = job->setting;
    for (unsigned metric = 0; metric < METRICS_MAX && job->scenario->metrics[metric]; metric++)
    {
        struct summary summary = summary_of (job, metric);
        printf ("%-7s %5zu %-9s %4.0f %% %6.0f s %4u %-16s", setting->scenario, setting->nodes,
                setting->link == WORLD_TCP ? "tcp" : "datagrams", setting->loss * 100, setting->duration,
                setting->seeds, job->scenario->metrics[metric]);
        print_number (summary.median);
        print_number (summary.p95);
        print_number (summary.most);
        printf ("\n");
    }
    fflush (stdout);
}

static void print_head (void)
{
    printf ("%-7s %5s %-9s %6s %8s %4s %-16s %8s %8s %8s\n", "event", "nodes", "links", "loss", "during", "runs", "",
            "median", "p95", "most");
}

/* ---------------------------------------------------------------------------------------------------- expectations */

enum statistic
{
    MEDIAN,
    P95,
    MOST,
};

/* A setting, and what must come out of it. */
struct expectation
{
    struct setting setting;
    unsigned metric;
    enum statistic statistic;
    double limit;
};

#define RUN(scenario, nodes, link, loss, duration, seeds)                                                              \
    {                                                                                                                  \
        scenario, nodes, WORLD_##link, loss, duration, seeds, 1                                                        \
    }

/* What every run of ctest proves: a second or two in a release build. */
static const struct expectation quick[] = {
    {RUN ("steady", 3, DATAGRAMS, 0.25, 120, 20), 0, MOST, 0},
    {RUN ("steady", 10, DATAGRAMS, 0.25, 60, 20), 0, MOST, 0},
    {RUN ("steady", 3, TCP, 0, 120, 5), 4, MOST, 1000},
    {RUN ("late", 10, TCP, 0, 60, 10), 0, MOST, 0},
    {RUN ("crash", 3, TCP, 0, 0, 100), 0, P95, 3},
    {RUN ("cut", 3, TCP, 0, 0, 100), 0, P95, 3},
    {RUN ("crash", 10, TCP, 0, 0, 100), 0, P95, 3},
    {RUN ("leave", 10, TCP, 0, 0, 20), 0, MOST, 1},
    {RUN ("join", 10, TCP, 0, 0, 20), 2, MOST, 1},
    {RUN ("join", 100, DATAGRAMS, 0.01, 0, 20), 0, MEDIAN, 2},
    {RUN ("heal", 3, TCP, 0, 20, 20), 0, MOST, 3},
    {RUN ("heal", 10, TCP, 0, 90, 20), 0, MOST, 3},
};

/* What docs/gossip.md promises. */
static const struct expectation full[] = {
    {RUN ("join", 1000, DATAGRAMS, 0.01, 0, 20), 0, MEDIAN, 2},
    {RUN ("join", 1000, DATAGRAMS, 0.01, 0, 20), 1, MEDIAN, 3},
    {RUN ("crash", 3, TCP, 0, 0, 400), 0, P95, 3},
    {RUN ("cut", 3, TCP, 0, 0, 400), 0, P95, 3},
    {RUN ("crash", 10, TCP, 0, 0, 400), 0, P95, 3},
    {RUN ("crash", 100, TCP, 0, 0, 40), 0, P95, 6},
    {RUN ("cut", 100, TCP, 0, 0, 40), 0, P95, 6},
    {RUN ("leave", 100, TCP, 0, 0, 20), 0, MOST, 1},
    {RUN ("heal", 3, TCP, 0, 20, 20), 0, MOST, 3},
    {RUN ("heal", 3, TCP, 0, 90, 20), 0, MOST, 3},
    {RUN ("heal", 10, TCP, 0, 90, 20), 0, MOST, 3},
    {RUN ("steady", 3, TCP, 0, 600, 20), 4, MOST, 1000},
    {RUN ("steady", 3, DATAGRAMS, 0.25, 600, 20), 0, MOST, 0},
    {RUN ("steady", 10, DATAGRAMS, 0.25, 600, 20), 0, MOST, 0},
    {RUN ("steady", 100, DATAGRAMS, 0.25, 600, 20), 0, MOST, 0},
    {RUN ("steady", 1000, DATAGRAMS, 0.25, 10, 20), 0, MOST, 0},
    {RUN ("steady", 10, TCP, 0.25, 600, 20), 0, MOST, 0},
    {RUN ("late", 3, TCP, 0, 600, 20), 0, MOST, 0},
    {RUN ("late", 10, TCP, 0, 600, 20), 0, MOST, 0},
    {RUN ("oneway", 3, TCP, 0, 600, 20), 0, MOST, 0},
};

static bool same_runs (const struct setting *a, const struct setting *b)
{
    return strcmp (a->scenario, b->scenario) == 0 && a->nodes == b->nodes && a->link == b->link && a->loss == b->loss &&
           a->duration == b->duration && a->seeds == b->seeds && a->first == b->first;
}

/* Every expectation of a list; the runs of equal settings that follow each other are shared. */
static int check (const struct expectation *list, size_t count)
{
    static const char *const names[] = {"median", "95th percentile", "greatest value"};
    unsigned failed = 0;
    struct job *job = NULL;
    print_head ();
    for (size_t index = 0; index < count; index++)
    {
        const struct expectation *expected = &list[index];
        if (!job || !same_runs (&expected->setting, job->setting))
        {
            free (job);
            job = run (&expected->setting);
            print (job);
        }
        struct summary summary = summary_of (job, expected->metric);
        double found = expected->statistic == MEDIAN ? summary.median
                       : expected->statistic == P95  ? summary.p95
                                                     : summary.most;
        if (found <= expected->limit)
            continue;
        failed++;
        printf ("FAILED: %s: %s is %g, at most %g\n", job->scenario->metrics[expected->metric],
                names[expected->statistic], found, expected->limit);
    }
    free (job);
    printf ("%zu expectations, %u failed\n", count, failed);
    return failed != 0;
}

/* ------------------------------------------------------------------------------------------------------- the table */

static struct summary measure (const struct setting *base, const char *scenario, double loss, unsigned metric)
{
    struct setting setting = *base;
    setting.scenario = scenario;
    setting.loss = loss;
    struct job *job = run (&setting);
    struct summary summary = summary_of (job, metric);
    free (job);
    return summary;
}

/* Everything against the number of nodes, up to that of the setting. tests/simulation/plot.py draws it. */
static void print_table (const struct setting *setting)
{
    static const size_t sizes[] = {3, 10, 30, 100, 300, 1000};
    printf ("%5s %9s %9s %9s %9s %9s %9s %9s %9s\n", "nodes", "join", "join all", "crash", "crash p95", "leave",
            "messages", "bytes", "25 % loss");
    for (size_t index = 0; index < sizeof sizes / sizeof *sizes && sizes[index] <= setting->nodes; index++)
    {
        struct setting base = *setting;
        base.nodes = sizes[index];
        double join_most = measure (&base, "join", 0.01, 0).median, join_all = measure (&base, "join", 0.01, 2).median;
        struct summary crashed = measure (&base, "crash", 0.01, 0);
        double left = measure (&base, "leave", 0.01, 0).median;
        double messages = measure (&base, "steady", 0, 2).median, bytes = measure (&base, "steady", 0, 4).median;
        double lossy = measure (&base, "steady", 0.25, 4).median;
        printf ("%5zu %9.3f %9.3f %9.2f %9.2f %9.3f %9.2f %9.0f %9.0f\n", base.nodes, join_most, join_all,
                crashed.median, crashed.p95, left, messages, bytes, lossy);
        fflush (stdout);
    }
}

/* ---------------------------------------------------------------------------------------------------- command line */

static void usage (FILE *out)
{
    fprintf (out, "usage: simulate [OPTION...] SCENARIO\n\n");
    for (size_t index = 0; index < sizeof scenarios / sizeof *scenarios; index++)
        fprintf (out, "  %-8s %s\n", scenarios[index].name, scenarios[index].what);
    fprintf (out, "  %-8s %s\n", "quick", "a choice of these, with what must come out; exit status 1 when it does not");
    fprintf (out, "  %-8s %s\n", "full", "the same for all that docs/gossip.md promises: a minute or two");
    fprintf (out, "  %-8s %s\n", "table",
             "medians for 3 to --nodes nodes at 1 per cent loss: s, messages and bytes a node and second");
    fprintf (out, "\n  --nodes N      nodes, at most %d (10)\n", SWIM_MEMBERS_MAX);
    fprintf (out, "  --loss P       per cent of messages that get lost (0)\n");
    fprintf (out, "  --tcp          links are TCP connections, not datagrams\n");
    fprintf (out, "  --duration S   virtual seconds (60)\n");
    fprintf (out, "  --seeds N      runs, at most %d (20)\n", SEEDS_MAX);
    fprintf (out, "  --first SEED   of the first run (1)\n");
}

/* A number from the command line; ends the program when it is none or out of range. */
static double number_of (const char *name, const char *text, double least, double most)
{
    char *end;
    double number = strtod (text, &end);
    if (*text && !*end && number >= least && number <= most)
        return number;
    fprintf (stderr, "simulate: --%s %s: expected a number from %g to %g\n", name, text, least, most);
    exit (2);
}

int main (int argc, char **argv)
{
    struct setting setting = {.nodes = 10, .duration = 60, .seeds = 20, .first = 1};
    static const struct option options[] = {
        {"nodes", required_argument, NULL, 'n'}, {"loss", required_argument, NULL, 'l'},
        {"tcp", no_argument, NULL, 't'},         {"duration", required_argument, NULL, 'd'},
        {"seeds", required_argument, NULL, 's'}, {"first", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long (argc, argv, "", options, NULL)) != -1;)
        switch (option)
        {
        case 'n':
            setting.nodes = (size_t) number_of ("nodes", optarg, 2, SWIM_MEMBERS_MAX);
            break;
        case 'l':
            setting.loss = number_of ("loss", optarg, 0, 99) / 100;
            break;
        case 't':
            setting.link = WORLD_TCP;
            break;
        case 'd':
            setting.duration = number_of ("duration", optarg, 1, 1e6);
            break;
        case 's':
            setting.seeds = (unsigned) number_of ("seeds", optarg, 1, SEEDS_MAX);
            break;
        case 'f':
            setting.first = (uint64_t) number_of ("first", optarg, 0, 1e15);
            break;
        case 'h':
            usage (stdout);
            return 0;
        default:
            usage (stderr);
            return 2;
        }
    setting.scenario = optind + 1 == argc ? argv[optind] : "";
    if (strcmp (setting.scenario, "quick") == 0)
        return check (quick, sizeof quick / sizeof *quick);
    if (strcmp (setting.scenario, "full") == 0)
        return check (full, sizeof full / sizeof *full);
    if (strcmp (setting.scenario, "table") == 0)
    {
        print_table (&setting);
        return 0;
    }
    if (!scenario_named (setting.scenario))
    {
        usage (stderr);
        return 2;
    }
    print_head ();
    struct job *job = run (&setting);
    print (job);
    free (job);
    return 0;
}
