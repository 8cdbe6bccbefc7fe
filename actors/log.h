/* log.h - log lines on stderr: one write a line, levels, three forms, bounded rate.
 *
 * A line is `time LEVEL subject: text`. Text is lower case without a final period and says what happened, to whom and,
 * for a failure, what to do. At most LOG_LINES_PER_SECOND lines a second are written; how many were left out is said
 * afterwards.
 */
#pragma once

enum log_level
{
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
};

enum log_mode
{
    LOG_PRETTY, /* with colours when stderr is a terminal */
    LOG_NOCOLOR,
    LOG_JSON, /* one object a line */
};

enum
{
    LOG_LINES_PER_SECOND = 200,
};

/* Call once, before threads start. */
void log_setup (enum log_level least, enum log_mode mode);

void log_line (enum log_level level, const char *subject, const char *format, ...)
    __attribute__ ((format (printf, 3, 4)));

#define log_debug(subject, ...) log_line (LOG_DEBUG, subject, __VA_ARGS__)
#define log_info(subject, ...)  log_line (LOG_INFO, subject, __VA_ARGS__)
#define log_warn(subject, ...)  log_line (LOG_WARN, subject, __VA_ARGS__)
#define log_error(subject, ...) log_line (LOG_ERROR, subject, __VA_ARGS__)
