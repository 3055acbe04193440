#include "base/line_file.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

struct line_file {
    char *path;
    int fd;           /* the same number for life: another file takes its place under it */
    atomic_bool torn; /* the last line that was written lacks its end */
    atomic_uint lost; /* writes, since the last one that went well */
};

static bool is_stderr(const char *path)
{
    return strcmp(path, "-") == 0;
}

static status open_at(const char *path, int *fd, struct err *e)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return *fd >= 0 ? OK
                    : err_set(e, IO_FAILED, "'%s' cannot be opened: %s", path, strerror(errno));
}

status line_file_open(const char *path, struct line_file **out, struct err *e)
{
    int fd = STDERR_FILENO;
    if (!is_stderr(path))
        TRY(open_at(path, &fd, e));
    struct line_file *f = mem_zalloc(sizeof(*f));
    f->path = mem_strdup(path);
    f->fd = fd;
    *out = f;
    return OK;
}

void line_file_close(struct line_file *f)
{
    if (f == NULL)
        return;
    if (!is_stderr(f->path))
        close(f->fd);
    mem_free(f->path);
    mem_free(f);
}

/* Other threads write meanwhile, to the old file or to the new one. */
status line_file_reopen(struct line_file *f, struct err *e)
{
    int fresh;
    if (is_stderr(f->path))
        return OK;
    TRY(open_at(f->path, &fresh, e));
    int fault = dup3(fresh, f->fd, O_CLOEXEC) < 0 ? errno : 0;
    close(fresh);
    if (fault != 0)
        return err_set(e, IO_FAILED, "'%s' cannot be opened: %s", f->path, strerror(fault));
    atomic_store(&f->torn, false);
    return OK;
}

static void say_lost(struct line_file *f, const char *why)
{
    if (atomic_fetch_add(&f->lost, 1) == 0)
        log_line(LOG_WARN, "log", "'%s' cannot be written: %s; its lines are lost until it can",
                 f->path, why);
}

static void say_found(struct line_file *f)
{
    unsigned lost = atomic_exchange(&f->lost, 0);
    if (lost > 0)
        log_line(LOG_WARN, "log", "'%s' is written again; %u of its lines were lost", f->path,
                 lost);
}

void line_file_put(struct line_file *f, const void *lines, size_t size)
{
    if (atomic_load(&f->torn) && write(f->fd, "\n", 1) == 1)
        atomic_store(&f->torn, false);
    size_t n = file_put(f->fd, lines, size);
    if (n == size) {
        if (atomic_load_explicit(&f->lost, memory_order_relaxed) > 0)
            say_found(f);
        return;
    }
    if (n > 0) /* half a line, as a disk that becomes full takes it */
        atomic_store(&f->torn, true);
    say_lost(f, strerror(errno));
}
