#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 2048

static atomic_int lowest_level = LOG_INFO;
static const char *const level_names[] = { "debug", "info", "warn", "error" };

void log_set_level(log_level lowest)
{
    atomic_store(&lowest_level, (int)lowest);
}

static int stamp(char *to, size_t size)
{
    struct timespec t;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    size_t n = strftime(to, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return (int)n + snprintf(to + n, size - n, ".%03ldZ", t.tv_nsec / 1000000);
}

void log_line(log_level level, const char *room, const char *fmt, ...)
{
    if ((int)level < atomic_load_explicit(&lowest_level, memory_order_relaxed))
        return;
    char line[LINE_BYTES];
    int n = stamp(line, sizeof(line));
    n += snprintf(line + n, sizeof(line) - (size_t)n, " %s %s: ", level_names[level], room);
    va_list ap;
    va_start(ap, fmt);
    int words = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    n += words < 0 ? 0 : words;
    if (n > LINE_BYTES - 2)
        n = LINE_BYTES - 2;
    for (int i = 0; i < n;
         i++) /* names in messages come from outside: no escape codes, no forged lines */
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
    (void)ignored;
}
