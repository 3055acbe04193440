/* The server's log: one line a call on stderr, "2026-11-24T05:07:48.123Z info serve: words". Any thread; a line is
 * written with one write, so that lines of two threads never mix. */
#pragma once

typedef enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
} log_level;

typedef enum log_format {
    LOG_TEXT, /* for people */
    LOG_JSON, /* for machines: {"time":...,"level":...,"room":...,"message":...} */
} log_format;

void log_set_level(log_level lowest); /* default LOG_INFO */
log_level log_get_level(void);
void log_set_format(log_format format); /* default LOG_TEXT */
log_format log_get_format(void);
/* Now as "2026-11-24T05:07:48.123Z"; out holds LOG_STAMP_BYTES. */
#define LOG_STAMP_BYTES 32
int log_stamp(char *out);
/* room: the part of the program that speaks ("serve", "exec"). A line is cut at 2 KiB; control characters become '?'. */
void log_line(log_level level, const char *room, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
