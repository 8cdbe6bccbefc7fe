/* configuration.h - what the agent was told: every option of the table in options.def, checked. Constant once it runs.
 */
#pragma once

#include "log.h"
#include "window.h"

#include <stdbool.h>
#include <stdint.h>

enum
{
    PINNED_KEYS_MAX = 8,
    PROBE_INTERVAL_LEAST = 100,  /* ms */
    PROBE_INTERVAL_MOST = 60000, /* ms */
    PROBE_TIMEOUT_LEAST = 20,    /* ms */
};

struct configuration
{
#define VALUE_TEXT                                         const char *
#define VALUE_HOST                                         const char *
#define VALUE_SOCKET                                       const char *
#define VALUE_SECRET                                       const char *
#define VALUE_PORT                                         uint16_t
#define VALUE_BOOL                                         bool
#define VALUE_DURATION                                     uint64_t
#define VALUE_BYTES                                        uint64_t
#define VALUE_COUNT                                        uint64_t
#define VALUE_LEVEL                                        enum log_level
#define VALUE_MODE                                         enum log_mode
#define OPTION(field, kind, variable, flag, standard, doc) VALUE_##kind field;
#include "options.def"
#undef OPTION
#undef VALUE_TEXT
#undef VALUE_HOST
#undef VALUE_SOCKET
#undef VALUE_SECRET
#undef VALUE_PORT
#undef VALUE_BOOL
#undef VALUE_DURATION
#undef VALUE_BYTES
#undef VALUE_COUNT
#undef VALUE_LEVEL
#undef VALUE_MODE
    uint64_t descriptors;                    /* RLIMIT_NOFILE after it was raised */
    struct budget *budget;                   /* payload in flight, of the whole process */
    const struct engine_times *engine_times; /* NULL: the standard ones; no option, so that only tests have others */
};
