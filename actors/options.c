/* options.c - see options.h and options.def. */
#include "options.h"

#include "ensure.h"
#include "http/signature.h"
#include "join_names.h"
#include "local_address.h"

#include <argp.h>
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind
{
    KIND_TEXT,
    KIND_HOST,
    KIND_SOCKET,
    KIND_SECRET,
    KIND_PORT,
    KIND_BOOL,
    KIND_DURATION,
    KIND_BYTES,
    KIND_COUNT,
    KIND_LEVEL,
    KIND_MODE,
};

struct option_row
{
    size_t offset;
    enum kind kind;
    const char *variable, *flag, *standard, *doc;
};

static const struct option_row s_rows[] = {
#define OPTION(field, kind, variable, flag, standard, doc)                                                             \
    {offsetof (struct configuration, field), KIND_##kind, variable, flag, standard, doc},
#include "options.def"
#undef OPTION
};

enum
{
    ROWS = sizeof s_rows / sizeof *s_rows,
    FIRST_KEY = 1000, /* argp keys of the rows; above all characters */
};

/* ------------------------------------------------------------------------------------------------------------- values
 */

int duration_parse (const char *text, uint64_t *milliseconds)
{
    static const struct
    {
        const char *name;
        double milliseconds;
    } units[] = {{"ns", 1e-6}, {"us", 1e-3}, {"\u00b5s", 1e-3}, {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}};
    double total = 0;
    if (strcmp (text, "0") == 0)
        return *milliseconds = 0, 0;
    if (!*text)
        return -1;
    while (*text)
    {
        char *end;
        if (!isdigit ((unsigned char) *text) && *text != '.')
            return -1;
        size_t digits = strspn (text, "0123456789.");
        double number = strtod (text, &end);
        if ((size_t) (end - text) != digits || digits > 20)
            return -1;
        size_t length = strspn (end, "nu\u00b5smh"), unit = 0;
        /* Units follow each other only with a number between them. */
        for (; unit < sizeof units / sizeof *units; unit++)
            if (strlen (units[unit].name) == length && strncmp (end, units[unit].name, length) == 0)
                break;
        if (unit == sizeof units / sizeof *units)
            return -1;
        total += number * units[unit].milliseconds;
        text = end + length;
    }
    if (total > 1e13)
        return -1;
    *milliseconds = (uint64_t) total;
    return 0;
}

static int parse_number (const char *text, uint64_t *number)
{
    char *end;
    errno = 0;
    if (!isdigit ((unsigned char) *text))
        return -1;
    *number = strtoull (text, &end, 10);
    return errno || *end ? -1 : 0;
}

static int parse_bytes (const char *text, uint64_t *bytes)
{
    char *end;
    errno = 0;
    if (!isdigit ((unsigned char) *text))
        return -1;
    *bytes = strtoull (text, &end, 10);
    unsigned shift = 0;
    if (*end)
    {
        const char *unit = strchr ("kmg", tolower ((unsigned char) *end));
        if (!unit || end[1])
            return -1;
        shift = *unit == 'k' ? 10 : *unit == 'm' ? 20 : 30;
    }
    if (errno || *bytes > (UINT64_MAX >> shift))
        return -1;
    *bytes <<= shift;
    return 0;
}

static int parse_bool (const char *text, bool *value)
{
    static const char *const yes[] = {"1", "t", "true"}, *const no[] = {"0", "f", "false"};
    for (size_t index = 0; index < 3; index++)
        if (strcasecmp (text, yes[index]) == 0 || strcasecmp (text, no[index]) == 0)
            return *value = strcasecmp (text, yes[index]) == 0, 0;
    return -1;
}

static int parse_choice (const char *text, const char *const *names, int count)
{
    for (int index = 0; index < count; index++)
        if (strcasecmp (text, names[index]) == 0)
            return index;
    return -1;
}

/* Puts a value into its field. Returns NULL, or what would have been right. */
static const char *set_value (struct configuration *configuration, const struct option_row *row, const char *text)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    static const char *const modes[] = {"pretty", "nocolor", "json"};
    void *field = (char *) configuration + row->offset;
    unsigned char binary[sizeof (struct in6_addr)];
    uint64_t number;
    int choice;
    switch (row->kind)
    {
    case KIND_SOCKET:
        if (strncmp (text, "unix://", 7) == 0)
            text += 7;
        if (*text != '/' || strlen (text) >= 108)
            return "unix:///path, of at most 107 characters";
        *(const char **) field = text;
        return NULL;
    case KIND_HOST:
        if (inet_pton (AF_INET, text, binary) != 1 && inet_pton (AF_INET6, text, binary) != 1)
            return "an IPv4 or IPv6 address";
        *(const char **) field = text;
        return NULL;
    case KIND_TEXT:
    case KIND_SECRET:
        *(const char **) field = text;
        return NULL;
    case KIND_PORT:
        if (parse_number (text, &number) < 0 || number < 1 || number > 65535)
            return "a port from 1 to 65535";
        *(uint16_t *) field = (uint16_t) number;
        return NULL;
    case KIND_BOOL:
        return parse_bool (text, field) < 0 ? "1, t, true, 0, f or false" : NULL;
    case KIND_DURATION:
        return duration_parse (text, field) < 0 ? "a duration such as 90s, 1h30m or 500ms" : NULL;
    case KIND_BYTES:
        return parse_bytes (text, field) < 0 ? "a number of bytes such as 65536, 512k or 32m" : NULL;
    case KIND_COUNT:
        if (parse_number (text, &number) < 0 || number < 1 || number > 1000000)
            return "a number from 1 to 1000000";
        *(uint64_t *) field = number;
        return NULL;
    case KIND_LEVEL:
        if ((choice = parse_choice (text, levels, 4)) < 0)
            return "DEBUG, INFO, WARN or ERROR";
        *(enum log_level *) field = (enum log_level) choice;
        return NULL;
    case KIND_MODE:
        if ((choice = parse_choice (text, modes, 3)) < 0)
            return "PRETTY, NOCOLOR or JSON";
        *(enum log_mode *) field = (enum log_mode) choice;
        return NULL;
    }
    return "something else";
}

static int complain (const struct option_row *row, const char *where, const char *text, const char *wanted)
{
    fprintf (stderr, "shoal: %s%s: '%s' is not %s\n", where[0] == '-' ? "--" : "",
             where[0] == '-' ? row->flag : row->variable, row->kind == KIND_SECRET ? "(secret)" : text, wanted);
    return -1;
}

/* -------------------------------------------------------------------------------------------------------------- flags
 */

static const char s_doc[] =
    "Makes a Docker engine answer over HTTPS, with the protocol of the Portainer agent. Without a command it is the "
    "agent, in the "
    "foreground, with its log on stderr.\v"
    "Commands (each has --help):\n"
    "  shoal request METHOD PATH   send a signed request to an agent, and print the answer\n"
    "  shoal sign                  print signature headers, for other clients\n"
    "  shoal ping [--ready]        ask the agent of this machine whether it is up (and its engine too)\n"
    "  shoal status                print the agent's state as JSON\n"
    "  shoal tap                   watch the messages inside the agent\n"
    "  shoal forget                drop the registered key, so that another Portainer can register\n\n"
    "Each option can also be given as an environment variable, named in brackets. Flags win.";

static error_t parse_flag (int key, char *argument, struct argp_state *state)
{
    struct configuration *configuration = state->input;
    if (key == ARGP_KEY_ARG)
        argp_error (state, "no such command: '%s'", argument);
    if (key < FIRST_KEY || key >= FIRST_KEY + ROWS)
        return ARGP_ERR_UNKNOWN;
    const struct option_row *row = &s_rows[key - FIRST_KEY];
    const char *value = argument;
    if (row->kind == KIND_SECRET)
    {
        /* Everybody on the machine can read the command line of a process. */
        value = must (strdup (argument)); /* lives as long as the process */
        explicit_bzero (argument, strlen (argument));
    }
    const char *wanted = set_value (configuration, row, value);
    if (wanted)
    {
        complain (row, "-", value, wanted);
        exit (1);
    }
    return 0; /* NOLINT(clang-analyzer-unix.Malloc): the configuration keeps the value */
}

static char *help_of (const struct option_row *row)
{
    char *text;
    bool shown = row->standard[0] && row->kind != KIND_SECRET;
    ensure (asprintf (&text, "%s%s%s%s [%s]", row->doc, shown ? " (" : "", shown ? row->standard : "", shown ? ")" : "",
                      row->variable) >= 0);
    return text;
}

static int parse_flags (struct configuration *configuration, int argc, char **argv)
{
    static const char *const values[] = {"TEXT", "ADDRESS", "SOCKET", "SECRET", "PORT", "BOOL",
                                         "TIME", "BYTES",   "NUMBER", "LEVEL",  "MODE"};
    struct argp_option options[ROWS + 1] = {{0}};
    for (size_t index = 0; index < ROWS; index++)
        options[index] = (struct argp_option){.name = s_rows[index].flag,
                                              .key = FIRST_KEY + (int) index,
                                              .arg = values[s_rows[index].kind],
                                              .doc = help_of (&s_rows[index])};
    const struct argp argp = {.options = options, .parser = parse_flag, .args_doc = "", .doc = s_doc};
    error_t failed = argp_parse (&argp, argc, argv, 0, NULL, configuration);
    for (size_t index = 0; index < ROWS; index++)
        free ((void *) (uintptr_t) options[index].doc);
    return failed ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------------- the whole */

static int read_environment (struct configuration *configuration)
{
    for (size_t index = 0; index < ROWS; index++)
    {
        const struct option_row *row = &s_rows[index];
        const char *text = getenv (row->variable);
        const char *wanted = set_value (configuration, row, row->standard);
        ensure (wanted == NULL);
        if (text && *text && (wanted = set_value (configuration, row, text)))
            return complain (row, row->variable, text, wanted);
    }
    return 0;
}

static int read_secret (struct configuration *configuration)
{
    static char secret[4096];
    if (!configuration->secret_file[0])
        return 0;
    if (configuration->secret[0])
    {
        fprintf (stderr, "shoal: AGENT_SECRET and AGENT_SECRET_FILE exclude each other\n");
        return -1;
    }
    FILE *file = fopen (configuration->secret_file, "re");
    size_t length = file ? fread (secret, 1, sizeof secret - 1, file) : 0;
    bool failed = !file || ferror (file);
    int error = errno;
    if (file)
        fclose (file);
    if (failed || length == 0 || length == sizeof secret - 1)
    {
        fprintf (stderr, "shoal: AGENT_SECRET_FILE: %s: %s\n", configuration->secret_file,
                 failed        ? strerror (error)
                 : length == 0 ? "the file is empty"
                               : "the file is longer than 4094 bytes");
        return -1;
    }
    if (secret[length - 1] == '\n')
        length--;
    secret[length] = '\0';
    if (strlen (secret) != length || length == 0)
    {
        fprintf (stderr, "shoal: AGENT_SECRET_FILE: %s: the secret is empty or contains a NUL\n",
                 configuration->secret_file);
        return -1;
    }
    configuration->secret = secret;
    return 0;
}

/* auth parses them again; here a mistake is told before anything is started. */
static int check_public_keys (const char *list)
{
    for (size_t count = 0; *list;)
    {
        uint8_t der[SIGNATURE_KEY_BYTES_MAX];
        const char *error = "";
        size_t length = strcspn (list, ",");
        int size = length ? signature_key_decode (slice_of (list, length), der, &error) : 0;
        struct signature_key *key = size > 0 ? signature_key_new (der, (size_t) size, &error) : NULL;
        bool good = length == 0 || key;
        signature_key_destroy (&key);
        if (!good || (count += length > 0) > PINNED_KEYS_MAX)
        {
            fprintf (stderr, "shoal: AGENT_PUBLIC_KEY: %s\n", good ? "more than 8 keys" : error);
            return -1;
        }
        list += length + (list[length] == ',');
    }
    return 0;
}

static int check_cluster (const struct configuration *configuration)
{
    struct join_name names[JOIN_NAMES_MAX];
    const char *error = "";
    if (join_names_parse (configuration->cluster_address, configuration->cluster_port, names, &error) < 0)
    {
        fprintf (stderr, "shoal: AGENT_CLUSTER_ADDR: '%s': %s\n", configuration->cluster_address, error);
        return -1;
    }
    if (configuration->advertise_address[0] && !address_is_literal (configuration->advertise_address))
    {
        fprintf (stderr, "shoal: AGENT_ADVERTISE_ADDR: '%s': an IPv4 or IPv6 address is wanted\n",
                 configuration->advertise_address);
        return -1;
    }
    if (configuration->probe_interval < PROBE_INTERVAL_LEAST || configuration->probe_interval > PROBE_INTERVAL_MOST ||
        configuration->probe_timeout < PROBE_TIMEOUT_LEAST ||
        configuration->probe_timeout >= configuration->probe_interval)
    {
        fprintf (stderr, "shoal: AGENT_CLUSTER_PROBE_INTERVAL, AGENT_CLUSTER_PROBE_TIMEOUT: the interval must be from "
                         "100ms to 1m, and the time-out at least 20ms and shorter than the interval\n");
        return -1;
    }
    return 0;
}

int options_parse (struct configuration *configuration, int argc, char **argv)
{
    argp_program_version = "shoal " SHOAL_VERSION;
    argp_err_exit_status = 1;
    if (read_environment (configuration) < 0 || parse_flags (configuration, argc, argv) < 0 ||
        read_secret (configuration) < 0)
        return -1;
    if (check_public_keys (configuration->public_key) < 0 || check_cluster (configuration) < 0)
        return -1;
    if (configuration->edge)
    {
        fprintf (stderr, "shoal: EDGE: this version has no Edge mode\n");
        return -1;
    }
    if (configuration->payload_total < WINDOW_MOST)
    {
        fprintf (stderr, "shoal: SHOAL_PAYLOAD_TOTAL: at least 256k is needed\n");
        return -1;
    }
    if (configuration->header_time == 0 || configuration->idle_time == 0)
    {
        fprintf (stderr, "shoal: SHOAL_HEADER_TIME, SHOAL_IDLE_TIME: must be longer than 0\n");
        return -1;
    }
    return 0;
}

const char *options_control_path (void)
{
    for (size_t index = 0; index < ROWS; index++)
        if (strcmp (s_rows[index].flag, "control") == 0)
        {
            const char *path = getenv (s_rows[index].variable);
            return path && *path ? path : s_rows[index].standard;
        }
    return "";
}

void options_print_reference (void)
{
    printf ("# Options\n\nEvery option is a flag and an environment variable; the flag wins, an empty variable is an "
            "unset one. This "
            "page is printed by\n`shoal --help-markdown`.\n\n| flag | variable | default | what it does "
            "|\n|---|---|---|---|\n");
    for (size_t index = 0; index < ROWS; index++)
        printf ("| `--%s` | `%s` | %s%s%s | %s |\n", s_rows[index].flag, s_rows[index].variable,
                s_rows[index].standard[0] ? "`" : "", s_rows[index].standard, s_rows[index].standard[0] ? "`" : "",
                s_rows[index].doc);
}
