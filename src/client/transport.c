#include "client/transport.h"

#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RECEIVE_BYTES     ((size_t)64 << 10)
#define RECEIVE_TLS_BYTES ((size_t)16 << 10)
#define ENCRYPT_BYTES     ((size_t)64 << 10) /* at a time */
#define WIRE_BYTES        ((size_t)1 << 20)
#define QUEUE_FULL_US     1000
#define UNIX_SEND_BYTES   (1 << 20)

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

static status connect_one(const struct sockaddr *at, socklen_t bytes, uint64_t deadline_ns,
                          int *out, struct err *e)
{
    int fd = socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, IO_FAILED, "socket: %s", strerror(errno));
    status s = OK;
    if (connect(fd, at, bytes) != 0)
        s = errno == EINPROGRESS
                ? finish_connect(fd, deadline_ns, e)
                : err_set(e, errno == EAGAIN ? BUSY : IO_FAILED, "%s", strerror(errno));
    if (s != OK) {
        close(fd);
        return s;
    }
    *out = fd;
    return OK;
}

/* A unix socket refuses (EAGAIN) where its listener's queue is full, and has no event for when it is not. */
static status connect_unix(const struct endpoint *at, uint64_t deadline_ns, int *fd, struct err *e)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    size_t n = strlen(at->host);
    memcpy(to.sun_path, at->host, n); /* endpoint_parse saw that it fits */
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    bytes += to.sun_path[0] != '\0'; /* a path ends with a NUL, and a name does not */
    status s;
    while ((s = connect_one((const struct sockaddr *)&to, bytes, deadline_ns, fd, e)) == BUSY &&
           clock_ns() < deadline_ns)
        usleep(QUEUE_FULL_US);
    /* It does not grow by itself as TCP's does, and what does not fit costs a wait; the system bounds it. */
    int room = UNIX_SEND_BYTES;
    if (s == OK)
        setsockopt(*fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    return s;
}

static status connect_host(const struct endpoint *at, uint64_t deadline_ns, int *fd, struct err *e)
{
    struct addrinfo want = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    int fault = getaddrinfo(at->host, at->port, &want, &list);
    if (fault != 0)
        return err_set(e, IO_FAILED, "host '%s': %s", at->host, gai_strerror(fault));
    status s = err_set(e, IO_FAILED, "the host has no address");
    for (const struct addrinfo *a = list; a != NULL && s != OK; a = a->ai_next)
        s = connect_one(a->ai_addr, a->ai_addrlen, deadline_ns, fd, e);
    freeaddrinfo(list);
    int on = 1;
    if (s == OK)
        setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return s;
}

/* ---- TLS ---- */

/* All that is encrypted goes out. */
static status flush_wire(struct transport *t, uint64_t deadline_ns, struct err *e)
{
    while (t->wire.len > 0) {
        ssize_t n = send(t->fd, t->wire.data, t->wire.len, MSG_NOSIGNAL);
        if (n > 0)
            buf_consume(&t->wire, (size_t)n);
        else if (n < 0 && errno == EAGAIN)
            TRY(wait_for(t->fd, POLLOUT, deadline_ns, e));
        else if (n < 0 && errno != EINTR)
            return err_set(e, IO_FAILED, "sending: %s", strerror(errno));
    }
    return OK;
}

/* One round of the handshake: what came is read, what it asks for is sent. */
static status shake_once(struct transport *t, uint64_t deadline_ns, struct err *e)
{
    uint8_t bytes[8192];
    struct buf plain; /* nothing can be said before the handshake is over */
    TRY(flush_wire(t, deadline_ns, e));
    TRY(wait_for(t->fd, POLLIN, deadline_ns, e));
    ssize_t n = recv(t->fd, bytes, sizeof(bytes), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return OK;
    if (n <= 0)
        return tls_fault(t->tls, e);
    buf_init(&plain, sizeof(bytes));
    enum tls_state state = tls_read(t->tls, (struct str){ (const char *)bytes, (size_t)n }, &plain);
    buf_deinit(&plain);
    tls_take(t->tls, &t->wire);
    if (state == TLS_GOING)
        return OK;
    (void)flush_wire(t, deadline_ns, NULL); /* so that the peer hears why */
    return tls_fault(t->tls, e);
}

static status shake_hands(struct transport *t, const struct endpoint *at,
                          const struct transport_options *opt, uint64_t deadline_ns, struct err *e)
{
    buf_init(&t->wire, WIRE_BYTES);
    t->tls = tls_new_client(opt->tls, endpoint_is_unix(at) ? "localhost" : at->host, opt->alpn);
    if (t->tls == NULL)
        return err_set(e, NO_MEMORY, "TLS could not begin");
    tls_take(t->tls, &t->wire);
    while (!tls_is_ready(t->tls))
        TRY(shake_once(t, deadline_ns, e));
    return flush_wire(t, deadline_ns, e);
}

/* ---- connecting ---- */

status transport_connect(const struct endpoint *at, const struct transport_options *opt,
                         uint64_t deadline_ns, struct transport *out, struct err *e)
{
    *out = TRANSPORT_NONE;
    status s = endpoint_is_unix(at) ? connect_unix(at, deadline_ns, &out->fd, e)
                                    : connect_host(at, deadline_ns, &out->fd, e);
    if (s == OK && opt->tls != NULL)
        s = shake_hands(out, at, opt, deadline_ns, e);
    if (s == OK)
        return OK;
    transport_close(out);
    return err_prefix(e, s, "cannot connect: ");
}

void transport_close(struct transport *t)
{
    tls_free(t->tls);
    buf_deinit(&t->wire);
    if (t->fd >= 0)
        close(t->fd);
    *t = TRANSPORT_NONE;
}

/* ---- sending ---- */

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

static status send_encrypted(struct transport *t, const struct iovec *piece, int count,
                             uint64_t deadline_ns, struct err *e)
{
    for (int i = 0; i < count; i++) {
        struct str rest = { piece[i].iov_base, piece[i].iov_len };
        while (rest.n > 0) {
            struct str part = { rest.p, rest.n < ENCRYPT_BYTES ? rest.n : ENCRYPT_BYTES };
            if (tls_write(t->tls, part) != OK)
                return tls_fault(t->tls, e);
            tls_take(t->tls, &t->wire);
            TRY(flush_wire(t, deadline_ns, e));
            rest = (struct str){ rest.p + part.n, rest.n - part.n };
        }
    }
    return OK;
}

status transport_send_pieces(struct transport *t, struct iovec *piece, int count,
                             uint64_t deadline_ns, struct err *e)
{
    if (t->tls != NULL)
        return send_encrypted(t, piece, count, deadline_ns, e);
    while (count > 0) {
        struct msghdr message = { .msg_iov = piece, .msg_iovlen = (size_t)count };
        ssize_t n = sendmsg(t->fd, &message, MSG_NOSIGNAL);
        if (n >= 0) {
            int done = take_sent(piece, count, (size_t)n);
            piece += done;
            count -= done;
        } else if (errno == EAGAIN) {
            TRY(wait_for(t->fd, POLLOUT, deadline_ns, e));
        } else if (errno != EINTR) {
            return err_set(e, IO_FAILED, "sending: %s", strerror(errno));
        }
    }
    return OK;
}

status transport_send(struct transport *t, struct str bytes, uint64_t deadline_ns, struct err *e)
{
    struct iovec piece = { .iov_base = (void *)(uintptr_t)bytes.p, .iov_len = bytes.n };
    return transport_send_pieces(t, &piece, bytes.n != 0, deadline_ns, e);
}

bool transport_unsent(const struct transport *t)
{
    return t->wire.len > 0;
}

ssize_t transport_try_send(struct transport *t, struct str bytes)
{
    if (t->tls == NULL)
        return send(t->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
    if (bytes.n > ENCRYPT_BYTES)
        bytes.n = ENCRYPT_BYTES;
    if (t->wire.len > 0)
        bytes.n = 0; /* what was encrypted before goes first */
    if (bytes.n > 0 && tls_write(t->tls, bytes) != OK) {
        errno = EPROTO;
        return -1;
    }
    tls_take(t->tls, &t->wire);
    ssize_t n = t->wire.len > 0 ? send(t->fd, t->wire.data, t->wire.len, MSG_NOSIGNAL) : 0;
    if (n < 0 && (bytes.n == 0 || errno != EAGAIN))
        return -1;
    buf_consume(&t->wire, n > 0 ? (size_t)n : 0);
    return (ssize_t)bytes.n;
}

/* ---- receiving ---- */

status transport_wait(struct transport *t, uint64_t deadline_ns, struct err *e)
{
    return wait_for(t->fd, POLLIN, deadline_ns, e);
}

/* Decrypts what came behind the `n` bytes at `from`; records that are not whole add nothing. */
static ssize_t decrypt(struct transport *t, const uint8_t *from, size_t n, struct buf *in)
{
    size_t before = in->len;
    enum tls_state state = tls_read(t->tls, (struct str){ (const char *)from, n }, in);
    tls_take(t->tls, &t->wire); /* an answer to a renewed key, at most */
    if (in->len > before)
        return (ssize_t)(in->len - before);
    if (state == TLS_ENDED)
        return 0;
    errno = state == TLS_GOING ? EAGAIN : EPROTO;
    return -1;
}

ssize_t transport_try_receive(struct transport *t, struct buf *in, size_t room)
{
    uint8_t cipher[RECEIVE_TLS_BYTES];
    if (t->tls == NULL) {
        ssize_t n = recv(t->fd, in->data + in->len, room, 0);
        in->len += n > 0 ? (size_t)n : 0;
        return n;
    }
    ssize_t n = recv(t->fd, cipher, sizeof(cipher), 0);
    return n > 0 ? decrypt(t, cipher, (size_t)n, in) : n;
}

status transport_receive(struct transport *t, struct buf *in, uint64_t deadline_ns, struct err *e)
{
    size_t room = in->max - in->len < RECEIVE_BYTES ? in->max - in->len : RECEIVE_BYTES;
    if ((room != 0 ? buf_reserve(in, room) : NULL) == NULL)
        return err_set(e, room != 0 ? buf_check(in) : TOO_LARGE,
                       "the answer does not fit after %zu bytes", in->len);
    for (;;) {
        ssize_t n = transport_try_receive(t, in, room);
        if (n > 0)
            return OK;
        if (n == 0)
            return err_set(e, IO_FAILED, "the server closed the connection after %zu bytes",
                           in->len);
        if (errno == EAGAIN)
            TRY(wait_for(t->fd, POLLIN, deadline_ns, e));
        else if (errno != EINTR)
            return t->tls != NULL && errno == EPROTO
                       ? tls_fault(t->tls, e)
                       : err_set(e, IO_FAILED, "receiving: %s", strerror(errno));
    }
}
