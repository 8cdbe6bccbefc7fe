/* main.c - the program: the agent, or one of its commands. */
#include "actor.h"
#include "commands.h"
#include "configuration.h"
#include "options.h"
#include "placement.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static const struct
{
    const char *name;
    int (*run) (int argc, char **argv);
} s_commands[] = {{"request", command_request}, {"sign", command_sign},     {"ping", command_ping},
                  {"status", command_status},   {"forget", command_forget}, {"tap", command_tap}};

/* Descriptors are what a proxy runs out of first. */
static uint64_t raise_descriptors (void)
{
    struct rlimit limit;
    if (getrlimit (RLIMIT_NOFILE, &limit) < 0)
        return 0;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit (RLIMIT_NOFILE, &limit) < 0)
        limit.rlim_cur = before;
    log_info ("agent", "descriptors: %llu (limit was %llu)", (unsigned long long) limit.rlim_cur,
              (unsigned long long) before);
    return limit.rlim_cur;
}

enum
{
    OWN_DESCRIPTORS = 512, /* for clients who are told that there are too many, gossip, files, and the agent itself */
};

/* Limits on connections that the descriptors cannot bear would end in EMFILE instead of an answer. */
static void fit_limits (struct configuration *configuration)
{
    uint64_t all = configuration->descriptors;
    uint64_t shared = all / 2 > OWN_DESCRIPTORS ? all - OWN_DESCRIPTORS : all / 2;
    uint64_t clients = shared / 4 * 3, engine = shared / 5, peers = shared / 25;
    if (configuration->connections > clients)
    {
        log_info ("agent", "connections: %llu instead of %llu, for want of descriptors", (unsigned long long) clients,
                  (unsigned long long) configuration->connections);
        configuration->connections = clients;
    }
    if (configuration->engine_connections > engine)
        configuration->engine_connections = engine;
    if (configuration->peer_connections > peers)
        configuration->peer_connections = peers;
}

/* control takes these through a signalfd. It starts last, when clients may already be served: a signal that comes
 * before waits for it. */
static void hold_signals (void)
{
    sigset_t signals;
    sigemptyset (&signals);
    sigaddset (&signals, SIGTERM);
    sigaddset (&signals, SIGINT);
    sigaddset (&signals, SIGHUP);
    sigprocmask (SIG_BLOCK, &signals, NULL);
}

static int run_agent (int argc, char **argv)
{
    static struct configuration configuration;
    static struct budget budget;
    if (options_parse (&configuration, argc, argv) < 0)
        return 1;
    /* Buffers of 64 KiB come and go: they stay in the heap, whose top goes back to the system when a megabyte of it is
     * free. One arena serves both threads, because one of them rarely allocates. */
    mallopt (M_ARENA_MAX, 1);
    mallopt (M_MMAP_THRESHOLD, 1024 * 1024);
    mallopt (M_TRIM_THRESHOLD, 1024 * 1024);
    log_setup (configuration.log_level, configuration.log_mode);
    signal (SIGPIPE, SIG_IGN);
    hold_signals ();
    log_info ("agent", "shoal %s", SHOAL_VERSION);
    configuration.descriptors = raise_descriptors ();
    fit_limits (&configuration);
    budget.total = configuration.payload_total;
    configuration.budget = &budget;
    struct runtime *runtime = runtime_new (placement_table, placement_rows, &configuration);
    if (!runtime)
        return 1;
    runtime_run (runtime);
    runtime_destroy (&runtime);
    return 0;
}

int main (int argc, char **argv)
{
    if (argc > 1 && strcmp (argv[1], "--help-markdown") == 0)
        return options_print_reference (), 0;
    for (size_t index = 0; argc > 1 && index < sizeof s_commands / sizeof *s_commands; index++)
        if (strcmp (argv[1], s_commands[index].name) == 0)
            return s_commands[index].run (argc - 1, argv + 1);
    return run_agent (argc, argv);
}
