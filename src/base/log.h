/* The server's log: one line a call on stderr, "2026-11-24T05:07:48.123Z info serve: words". Any thread; a line is
 * written with one write, so that lines of two threads never mix. */
#pragma once

typedef enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
} log_level;

void log_set_level(log_level lowest); /* default LOG_INFO */
/* room: the part of the program that speaks ("serve", "exec"). A line is cut at 2 KiB; control characters become '?'. */
void log_line(log_level level, const char *room, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
