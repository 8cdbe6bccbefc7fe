/* log_capture.h - what the log says while a test runs: stderr goes into a file, which the test reads. */
#pragma once

#include "actor_harness.h"

#include <fcntl.h>

struct log_capture
{
    int before; /* the real stderr */
    char path[96], text[65536];
};

static struct log_capture s_log;

/* After harness_start(), which sets the level to what tests want to see as a rule. */
static inline void log_capture_begin (struct harness *harness)
{
    snprintf (s_log.path, sizeof s_log.path, "%s/log", harness->folder);
    int fd = open (s_log.path, O_CREAT | O_TRUNC | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
    fflush (stderr);
    s_log.before = dup (STDERR_FILENO);
    ensure (fd >= 0 && s_log.before >= 0 && dup2 (fd, STDERR_FILENO) >= 0);
    close (fd);
    log_setup (LOG_INFO, LOG_NOCOLOR);
}

/* Idempotent: a teardown calls it too. */
static inline void log_capture_end (void)
{
    if (!s_log.path[0])
        return;
    dup2 (s_log.before, STDERR_FILENO);
    close (s_log.before);
    s_log.path[0] = '\0';
    log_setup (LOG_ERROR, LOG_NOCOLOR);
}

static inline const char *log_capture_text (void)
{
    int fd = open (s_log.path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read (fd, s_log.text, sizeof s_log.text - 1);
    ensure (length >= 0);
    s_log.text[length] = '\0';
    close (fd);
    return s_log.text;
}

/* How often a text stands in the log. */
static inline size_t log_capture_count (const char *text)
{
    size_t count = 0;
    for (const char *place = log_capture_text (); (place = strstr (place, text)); place += strlen (text))
        count++;
    return count;
}

static inline bool log_has (struct harness *harness, void *data)
{
    (void) harness;
    return log_capture_count (data) > 0;
}

static inline void log_await (struct harness *harness, const char *text)
{
    if (!harness_try (harness, log_has, (void *) (uintptr_t) text))
        fail_msg ("the log never said: %s; it did say: %s", text, log_capture_text ());
}
