#include "base/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct file_map {
    atomic_int refs;
    const uint8_t *data;
    size_t size;
    bool detached; /* its pages are the only ones */
};

static const uint8_t empty_file[1];

static status map_fd(int fd, const char *path, size_t max_bytes, struct file_map *m, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(e, INVALID, "%s: expected a file, it is a directory or device", path);
    if ((uint64_t)st.st_size > max_bytes)
        return err_set(e, TOO_LARGE, "%s: %lld bytes, at most %zu are read", path,
                       (long long)st.st_size, max_bytes);
    m->size = (size_t)st.st_size;
    m->data = empty_file;
    if (m->size == 0)
        return OK;
    void *p = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_set(e, IO_FAILED, "%s: cannot map %zu bytes: %s", path, m->size,
                       strerror(errno));
    m->data = p;
    return OK;
}

status file_map_open(const char *path, size_t max_bytes, struct file_map **out, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for a writer */
    if (fd < 0)
        return err_set(e, errno == ENOENT || errno == ENOTDIR ? NOT_FOUND : IO_FAILED, "%s: %s",
                       path, strerror(errno));
    struct file_map *m = mem_zalloc(sizeof(*m));
    atomic_init(&m->refs, 1);
    status s = map_fd(fd, path, max_bytes, m, e);
    close(fd);
    if (s != OK) {
        mem_free(m);
        return s;
    }
    *out = m;
    return OK;
}

status file_map_detach(struct file_map *m, struct err *e)
{
    if (m->size == 0)
        return OK;
    void *copy = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return err_set(e, NO_MEMORY, "no memory for a copy of %zu bytes", m->size);
    memcpy(copy, m->data, m->size);
    if (mprotect(copy, m->size, PROT_READ) != 0 ||
        mremap(copy, m->size, m->size, MREMAP_MAYMOVE | MREMAP_FIXED, m->data) == MAP_FAILED) {
        munmap(copy, m->size);
        return err_set(e, IO_FAILED, "cannot keep a copy of a file: %s", strerror(errno));
    }
    m->detached = true;
    return OK;
}

void file_map_forget(const struct file_map *m)
{
    if (m->size > 0 && !m->detached)
        madvise((void *)m->data, m->size, MADV_DONTNEED);
}

struct file_map *file_map_ref(struct file_map *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void file_map_unref(struct file_map *m)
{
    if (m == NULL || atomic_fetch_sub(&m->refs, 1) != 1)
        return;
    if (m->size != 0)
        munmap((void *)m->data, m->size);
    mem_free(m);
}

const uint8_t *file_map_data(const struct file_map *m)
{
    return m->data;
}

size_t file_map_size(const struct file_map *m)
{
    return m->size;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool file_stays_below(struct str name)
{
    struct str part;
    if (name.n == 0 || name.p[0] == '/' || memchr(name.p, '\0', name.n) != NULL)
        return false;
    while (name.n > 0) {
        str_cut(&name, '/', &part);
        if (str_is(part, ".."))
            return false;
    }
    return true;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

size_t file_put(int fd, const void *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    return done;
}

static status write_all(int fd, const char *path, const void *data, size_t size, struct err *e)
{
    if (file_put(fd, data, size) == size)
        return OK;
    return err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
}

/* A device, a pipe or /dev/stdout: it is written into, and no file takes its place. */
static status write_into(const char *path, const void *data, size_t size, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
    status s = write_all(fd, path, data, size, e);
    close(fd);
    return s;
}

/* By a neighbour that takes its place when it is whole. */
static status replace(const char *path, const void *data, size_t size, struct err *e)
{
    char tmp[4096];
    /* The thread's number, so that two threads that write the same file do not share a neighbour. */
    int n = snprintf(tmp, sizeof(tmp), "%s.tmp.%d", path, (int)gettid());
    if (n < 0 || (size_t)n >= sizeof(tmp))
        return err_set(e, INVALID, "%s: the path is too long", path);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_set(e, IO_FAILED, "%s: %s", tmp, strerror(errno));
    status s = write_all(fd, tmp, data, size, e);
    if (s == OK && fsync(fd) != 0)
        s = err_set(e, IO_FAILED, "%s: %s", tmp, strerror(errno));
    close(fd);
    if (s == OK && rename(tmp, path) != 0)
        s = err_set(e, IO_FAILED, "%s: %s", path, strerror(errno));
    if (s != OK)
        unlink(tmp);
    return s;
}

status file_write(const char *path, const void *data, size_t size, struct err *e)
{
    struct stat st;
    bool special = stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
    return special ? write_into(path, data, size, e) : replace(path, data, size, e);
}
