/* commands.h - the commands besides the agent itself. Each takes its own argv, argv[0] being its name, and returns an
 * exit status. */
#pragma once

#include <stddef.h>

int command_request (int argc, char **argv);
int command_sign (int argc, char **argv);
int command_ping (int argc, char **argv);
int command_status (int argc, char **argv);
int command_forget (int argc, char **argv);
int command_tap (int argc, char **argv);

/* Asks the agent at host:port for GET /ping over TLS, unsigned. 0 when the answer was a 2xx, -1 after saying why not;
 * connecting, reading and writing may each take so many seconds. */
int request_ping (const char *to, unsigned seconds);
