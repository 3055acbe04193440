#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 2048

static atomic_int lowest_level = LOG_INFO;
static atomic_int chosen_format = LOG_TEXT;
static const char *const level_names[] = { "debug", "info", "warn", "error" };

void log_set_level(log_level lowest)
{
    atomic_store(&lowest_level, (int)lowest);
}

log_level log_get_level(void)
{
    return (log_level)atomic_load(&lowest_level);
}

void log_set_format(log_format format)
{
    atomic_store(&chosen_format, (int)format);
}

log_format log_get_format(void)
{
    return (log_format)atomic_load(&chosen_format);
}

int log_stamp(char *out)
{
    struct timespec t;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    size_t n = strftime(out, LOG_STAMP_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    return (int)n + snprintf(out + n, LOG_STAMP_BYTES - n, ".%03ldZ", t.tv_nsec / 1000000);
}

static int put_head(char *line, log_level level, const char *room)
{
    char stamp[LOG_STAMP_BYTES];
    log_stamp(stamp);
    if (log_get_format() == LOG_JSON)
        return snprintf(line, LINE_BYTES,
                        "{\"time\":\"%s\",\"level\":\"%s\",\"room\":\"%s\",\"message\":\"", stamp,
                        level_names[level], room);
    return snprintf(line, LINE_BYTES, "%s %s %s: ", stamp, level_names[level], room);
}

/* Names in messages come from outside: no escape codes, no forged lines, nothing that ends a JSON string. */
static int put_words(char *to, int most, const char *words, bool json)
{
    int n = 0;
    for (; *words != '\0' && n < most; words++) {
        unsigned char c = (unsigned char)*words;
        if (json && (c == '"' || c == '\\'))
            to[n++] = '\\';
        to[n++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    return n;
}

void log_line(log_level level, const char *room, const char *fmt, ...)
{
    if ((int)level < atomic_load_explicit(&lowest_level, memory_order_relaxed))
        return;
    char line[LINE_BYTES], words[LINE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof(words), fmt, ap);
    va_end(ap);
    bool json = log_get_format() == LOG_JSON;
    int n = put_head(line, level, room);
    n += put_words(line + n, LINE_BYTES - 2 - n - (json ? 3 : 0), words, json);
    if (json) {
        line[n++] = '"';
        line[n++] = '}';
    }
    line[n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
    (void)ignored;
}
