/* options.h - the agent's options from environment and flags, checked. */
#pragma once

#include "configuration.h"

#include <stddef.h>

/* Fills the configuration: standard values, then the environment, then flags; reads the secret's file. A secret given
 * as a flag is wiped from argv. Returns 0; on a bad value prints one clear line on stderr and returns -1. --help and
 * --version print and exit(0). The texts in the configuration live as long as the process. */
int options_parse (struct configuration *configuration, int argc, char **argv);

/* The value of one option as the agent would see it without flags, for commands that talk to it: the control socket's
 * path. */
const char *options_control_path (void);

/* Prints docs/options.md. */
void options_print_reference (void);

/* Reads a duration such as 90s, 1h30m, 1.5h, 500ms; `0` needs no unit. Returns 0 with *milliseconds, or -1. */
int duration_parse (const char *text, uint64_t *milliseconds);
