/* log.c - see log.h. The level, the mode and the rate counter are the only process-wide variables of the agent. */
#include "log.h"

#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum log_level s_least = LOG_INFO;
static enum log_mode s_mode = LOG_PRETTY;
static bool s_colour;
static atomic_long s_second; /* the wall-clock second that s_lines counts */
static atomic_uint s_lines;
static atomic_uint s_unwritten; /* lines that stderr did not take, not told yet */

static const struct
{
    const char *name, *colour;
} s_levels[] = {{"DEBUG", "\033[2m"}, {"INFO", "\033[32m"}, {"WARN", "\033[33m"}, {"ERROR", "\033[31m"}};

void log_setup (enum log_level least, enum log_mode mode)
{
    s_least = least;
    s_mode = mode;
    s_colour = mode == LOG_PRETTY && isatty (STDERR_FILENO);
}

static void write_line (enum log_level level, const char *subject, const char *text, const struct timespec *now)
{
    char stamp[32], line[1400];
    struct tm calendar;
    gmtime_r (&now->tv_sec, &calendar);
    size_t used = strftime (stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &calendar);
    snprintf (stamp + used, sizeof stamp - used, ".%03ldZ", now->tv_nsec / 1000000);
    int length;
    if (s_mode == LOG_JSON)
    {
        json_t *object =
            json_pack ("{ssssssss}", "time", stamp, "level", s_levels[level].name, "subject", subject, "message", text);
        char *dump = object ? json_dumps (object, JSON_COMPACT) : NULL;
        length = snprintf (line, sizeof line, "%s\n", dump ? dump : "{\"message\":\"a log line that is not UTF-8\"}");
        free (dump);
        json_decref (object);
    }
    else
        length = snprintf (line, sizeof line, "%s %s%-5s%s %s: %s\n", stamp, s_colour ? s_levels[level].colour : "",
                           s_levels[level].name, s_colour ? "\033[0m" : "", subject, text);
    if (length >= (int) sizeof line)
    {
        length = sizeof line - 1;
        line[length - 1] = '\n';
    }
    /* A log that nobody reads must not stop the agent: a pipe that can be written to takes a line of this size at once.
     */
    struct pollfd log = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll (&log, 1, 0) != 1 || !(log.revents & POLLOUT) || write (STDERR_FILENO, line, (size_t) length) < 0)
        atomic_fetch_add (&s_unwritten, 1);
}

void log_line (enum log_level level, const char *subject, const char *format, ...)
{
    if (level < s_least)
        return;
    struct timespec now;
    clock_gettime (CLOCK_REALTIME, &now);
    long second = atomic_load_explicit (&s_second, memory_order_relaxed);
    if (second != now.tv_sec && atomic_compare_exchange_strong (&s_second, &second, now.tv_sec))
    {
        unsigned lines = atomic_exchange (&s_lines, 0), lost = atomic_exchange (&s_unwritten, 0);
        if (lines > LOG_LINES_PER_SECOND)
            lost += lines - LOG_LINES_PER_SECOND;
        if (lost)
        {
            char said[80];
            snprintf (said, sizeof said, "%u earlier lines were left out", lost);
            write_line (LOG_WARN, "log", said, &now);
        }
    }
    if (atomic_fetch_add (&s_lines, 1) >= LOG_LINES_PER_SECOND)
        return;
    char text[1200];
    va_list arguments;
    va_start (arguments, format);
    vsnprintf (text, sizeof text, format, arguments);
    va_end (arguments);
    /* What a client sent may stand in a line: no control character reaches the terminal. */
    for (char *at = text; *at; at++)
        if ((unsigned char) *at < 0x20 || *at == 0x7f)
            *at = '?';
    write_line (level, subject, text, &now);
}
