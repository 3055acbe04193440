/* LD_PRELOAD for bench/hold.py: the N-th call of one function of the system fails, once, as if the system had said no.
 *
 *     FAULT=read:7:5      the 7th read fails with errno 5
 *     FAULT=writev:3:short    the 3rd writev takes one byte
 *
 * FAULT_FILE: where the number of calls that were made is written when the process ends, so that the caller knows when it has tried all. Only calls
 * of the process that the server is, not of its children. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char wanted[32];
static long at;
static int fault; /* errno; 0: short */
static atomic_long made;

__attribute__((constructor)) static void begin(void)
{
    const char *how = getenv("FAULT");
    char what[16] = "";
    if (how != NULL && sscanf(how, "%31[^:]:%ld:%15s", wanted, &at, what) == 3)
        fault = strcmp(what, "short") == 0 ? 0 : atoi(what);
    unsetenv("FAULT");
    unsetenv("LD_PRELOAD");
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("FAULT_FILE");
    FILE *f = path != NULL ? fopen(path, "w") : NULL;
    if (f == NULL)
        return;
    fprintf(f, "%ld\n", atomic_load(&made));
    fclose(f);
}

/* Whether this call is the one. */
static int strikes(const char *name)
{
    return at != 0 && strcmp(name, wanted) == 0 && atomic_fetch_add(&made, 1) + 1 == at;
}

/* Files and sockets: an eventfd, by which threads wake each other, neither fails nor gives a part. */
static int is_outside(int fd)
{
    struct stat s;
    return fstat(fd, &s) == 0 && (S_ISREG(s.st_mode) || S_ISSOCK(s.st_mode));
}

#define REAL(name)                   \
    static __typeof__(&(name)) real; \
    if (real == NULL)                \
    real = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name)
#define STRIKE(name, bad) \
    REAL(name);           \
    if (strikes(#name)) { \
        errno = fault;    \
        return bad;       \
    }
/* For those that may do less than they were asked to. */
#define STRIKE_SHORT(name, fd, p, n)            \
    do {                                        \
        if (is_outside(fd) && strikes(#name)) { \
            if (fault != 0) {                   \
                errno = fault;                  \
                return -1;                      \
            }                                   \
            n = n > 0 ? 1 : 0;                  \
        }                                       \
    } while (0)

int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    REAL(open);
    if (strikes("open")) {
        errno = fault;
        return -1;
    }
    return real(path, flags, mode);
}

ssize_t read(int fd, void *p, size_t n)
{
    REAL(read);
    STRIKE_SHORT(read, fd, p, n);
    return real(fd, p, n);
}

ssize_t pread(int fd, void *p, size_t n, off_t offset)
{
    REAL(pread);
    STRIKE_SHORT(pread, fd, p, n);
    return real(fd, p, n, offset);
}

ssize_t write(int fd, const void *p, size_t n)
{
    REAL(write);
    STRIKE_SHORT(write, fd, p, n);
    return real(fd, p, n);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    REAL(send);
    STRIKE_SHORT(send, fd, p, n);
    return real(fd, p, n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    REAL(sendmsg);
    if (strikes("sendmsg")) {
        struct iovec one = { m->msg_iovlen > 0 ? m->msg_iov->iov_base : NULL, 1 };
        struct msghdr part = { .msg_iov = &one, .msg_iovlen = 1 };
        if (fault == 0 && m->msg_iovlen > 0 && m->msg_iov->iov_len > 0)
            return real(fd, &part, flags);
        errno = fault;
        return fault != 0 ? -1 : real(fd, m, flags);
    }
    return real(fd, m, flags);
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
    REAL(writev);
    if (strikes("writev")) {
        struct iovec one = { v->iov_base, 1 };
        if (fault == 0 && count > 0 && v->iov_len > 0)
            return real(fd, &one, 1);
        errno = fault;
        return fault != 0 ? -1 : real(fd, v, count);
    }
    return real(fd, v, count);
}

void *mmap(void *p, size_t n, int protection, int flags, int fd, off_t offset)
{
    STRIKE(mmap, MAP_FAILED);
    return real(p, n, protection, flags, fd, offset);
}

int socket(int domain, int type, int protocol)
{
    STRIKE(socket, -1);
    return real(domain, type, protocol);
}

int bind(int fd, const struct sockaddr *a, socklen_t n)
{
    STRIKE(bind, -1);
    return real(fd, a, n);
}

int listen(int fd, int backlog)
{
    STRIKE(listen, -1);
    return real(fd, backlog);
}

int accept(int fd, struct sockaddr *a, socklen_t *n)
{
    STRIKE(accept, -1);
    return real(fd, a, n);
}

int accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    STRIKE(accept4, -1);
    return real(fd, a, n, flags);
}

int epoll_ctl(int poll, int how, int fd, struct epoll_event *e)
{
    STRIKE(epoll_ctl, -1);
    return real(poll, how, fd, e);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
    STRIKE(setsockopt, -1);
    return real(fd, level, name, value, n);
}
