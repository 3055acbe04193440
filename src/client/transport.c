#include "client/transport.h"

#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BYTES ((size_t)64 << 10)

static bool split(struct str text, struct str *host, struct str *port)
{
    const char *colon = text.n != 0 ? memrchr(text.p, ':', text.n) : NULL;
    if (colon == NULL)
        return false;
    *host = (struct str){ text.p, (size_t)(colon - text.p) };
    *port = (struct str){ colon + 1, text.n - host->n - 1 };
    if (host->n >= 2 && host->p[0] == '[' && host->p[host->n - 1] == ']') {
        *host = (struct str){ host->p + 1, host->n - 2 };
        return host->n != 0;
    }
    return host->n != 0 && memchr(host->p, ':', host->n) == NULL;
}

status endpoint_parse(struct str text, struct endpoint *out, struct err *e)
{
    struct str host, port;
    int64_t number;
    if (!split(text, &host, &port) || !str_to_i64(port, &number) || number < 1 || number > 65535)
        return err_set(e, INVALID,
                       "'%.*s' is no HOST:PORT with a port from 1 to 65535 (such as "
                       "127.0.0.1:9292 or [::1]:9292)",
                       STR_ARG(text));
    if (host.n >= sizeof(out->host))
        return err_set(e, INVALID, "a host name of %zu bytes is longer than %zu", host.n,
                       sizeof(out->host) - 1);
    memcpy(out->host, host.p, host.n);
    out->host[host.n] = '\0';
    snprintf(out->port, sizeof(out->port), "%d", (int)number);
    return OK;
}

/* Waits for events; the deadline is rounded up to poll's milliseconds. */
static status wait_for(int fd, short events, uint64_t deadline_ns, struct err *e)
{
    for (;;) {
        uint64_t now = clock_ns();
        if (now >= deadline_ns)
            return err_set(e, TIMED_OUT, "no answer before the timeout");
        uint64_t ms = (deadline_ns - now + 999999) / 1000000;
        struct pollfd p = { .fd = fd, .events = events };
        int n = poll(&p, 1, ms > 60000 ? 60000 : (int)ms);
        if (n > 0)
            return OK;
        if (n < 0 && errno != EINTR)
            return err_set(e, IO_FAILED, "poll: %s", strerror(errno));
    }
}

static status finish_connect(int fd, uint64_t deadline_ns, struct err *e)
{
    TRY(wait_for(fd, POLLOUT, deadline_ns, e));
    int fault = 0;
    socklen_t size = sizeof(fault);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &size) != 0)
        fault = errno;
    return fault == 0 ? OK : err_set(e, IO_FAILED, "%s", strerror(fault));
}

static status connect_one(const struct addrinfo *at, uint64_t deadline_ns, int *out, struct err *e)
{
    int fd = socket(at->ai_family, at->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, IO_FAILED, "socket: %s", strerror(errno));
    status s = OK;
    if (connect(fd, at->ai_addr, at->ai_addrlen) != 0)
        s = errno == EINPROGRESS ? finish_connect(fd, deadline_ns, e)
                                 : err_set(e, IO_FAILED, "%s", strerror(errno));
    if (s != OK) {
        close(fd);
        return s;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    *out = fd;
    return OK;
}

status transport_connect(const struct endpoint *at, uint64_t deadline_ns, int *fd, struct err *e)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    int fault = getaddrinfo(at->host, at->port, &want, &list);
    if (fault != 0)
        return err_set(e, IO_FAILED, "host '%s': %s", at->host, gai_strerror(fault));
    status s = err_set(e, IO_FAILED, "the host has no address");
    for (const struct addrinfo *a = list; a != NULL && s != OK; a = a->ai_next)
        s = connect_one(a, deadline_ns, fd, e);
    freeaddrinfo(list);
    return s == OK ? OK : err_prefix(e, s, "cannot connect to %s port %s: ", at->host, at->port);
}

/* Takes n bytes that are sent off the front of the pieces; how many pieces are done. */
static int take_sent(struct iovec *piece, int count, size_t n)
{
    int done = 0;
    while (done < count && n >= piece[done].iov_len)
        n -= piece[done++].iov_len;
    if (done < count) {
        piece[done].iov_base = (char *)piece[done].iov_base + n;
        piece[done].iov_len -= n;
    }
    return done;
}

status transport_send_pieces(int fd, struct iovec *piece, int count, uint64_t deadline_ns,
                             struct err *e)
{
    while (count > 0) {
        struct msghdr message = { .msg_iov = piece, .msg_iovlen = (size_t)count };
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (n >= 0) {
            int done = take_sent(piece, count, (size_t)n);
            piece += done;
            count -= done;
        } else if (errno == EAGAIN) {
            TRY(wait_for(fd, POLLOUT, deadline_ns, e));
        } else if (errno != EINTR) {
            return err_set(e, IO_FAILED, "sending: %s", strerror(errno));
        }
    }
    return OK;
}

status transport_send(int fd, struct str bytes, uint64_t deadline_ns, struct err *e)
{
    struct iovec piece = { .iov_base = (void *)(uintptr_t)bytes.p, .iov_len = bytes.n };
    return transport_send_pieces(fd, &piece, bytes.n != 0, deadline_ns, e);
}

status transport_wait(int fd, uint64_t deadline_ns, struct err *e)
{
    return wait_for(fd, POLLIN, deadline_ns, e);
}

status transport_receive(int fd, struct buf *in, uint64_t deadline_ns, struct err *e)
{
    size_t room = in->max - in->len < RECEIVE_BYTES ? in->max - in->len : RECEIVE_BYTES;
    uint8_t *to = room != 0 ? buf_reserve(in, room) : NULL;
    if (to == NULL)
        return err_set(e, room != 0 ? buf_check(in) : TOO_LARGE,
                       "the answer does not fit after %zu bytes", in->len);
    for (;;) {
        ssize_t n = recv(fd, to, room, 0);
        if (n > 0) {
            in->len += (size_t)n;
            return OK;
        }
        if (n == 0)
            return err_set(e, IO_FAILED, "the server closed the connection after %zu bytes",
                           in->len);
        if (errno == EAGAIN)
            TRY(wait_for(fd, POLLIN, deadline_ns, e));
        else if (errno != EINTR)
            return err_set(e, IO_FAILED, "receiving: %s", strerror(errno));
    }
}
