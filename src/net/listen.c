/* Listening: loop 0 accepts and deals the connections round over all loops. */
#include "net/internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG         1024
#define ACCEPTS_A_ROUND 64  /* then loop 0's own connections have their turn */
#define RETRY_MS        100 /* pause when accepting fails for want of files or memory */

struct net_listener {
    struct list node;
    struct loop_group *group;
    struct net_handler handler;
    uv_poll_t poll;
    uv_timer_t retry;
    int fd;
    char *path; /* of a unix socket's file, or NULL */
    bool open, short_of_files;
};

static void on_acceptable(uv_poll_t *poll, int fault, int events);

static void on_retry(uv_timer_t *retry)
{
    struct net_listener *ln = LIST_ENTRY(retry, struct net_listener, retry);
    uv_poll_start(&ln->poll, UV_READABLE, on_acceptable);
}

/* Out of files, most likely. The listener stays readable, so that going on would spin: the peers
 * wait in the backlog until some connection has ended. Said once, until accepting works again. */
static void pause_accepting(struct net_listener *ln, int fault)
{
    if (!ln->short_of_files)
        log_line(LOG_WARN, "net", "cannot accept connections for now: %s", strerror(fault));
    ln->short_of_files = true;
    uv_poll_stop(&ln->poll);
    uv_timer_start(&ln->retry, on_retry, RETRY_MS, 0);
}

static void deal(struct net_listener *ln, int fd, const struct sockaddr_storage *peer)
{
    struct loop_group *g = ln->group;
    g->next = (g->next + 1) % g->count;
    conn_deal(&g->loop[g->next], fd, peer, &ln->handler);
}

static void accept_up_to(struct net_listener *ln, int most)
{
    for (int i = 0; i < most; i++) {
        struct sockaddr_storage peer = { 0 };
        socklen_t size = sizeof(peer);
        int fd = accept4(ln->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            ln->short_of_files = false;
            deal(ln, fd, &peer);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
            pause_accepting(ln, errno);
            return;
        }
    }
}

static void on_acceptable(uv_poll_t *poll, int fault, int events)
{
    accept_up_to(LIST_ENTRY(poll, struct net_listener, poll), ACCEPTS_A_ROUND);
}

/* Opening */

/* A name, such as localhost: its first address. */
static status resolve(const char *host, int port, struct sockaddr_storage *out, struct err *e)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *list = NULL;
    char service[8];
    snprintf(service, sizeof(service), "%d", port);
    bool numbers = host[strspn(host, "0123456789.")] == '\0'; /* which it would complete: 1.2.3 */
    int fault = numbers ? EAI_NONAME : getaddrinfo(host, service, &hints, &list);
    if (fault != 0)
        return err_set(
            e, INVALID,
            "host '%s' is no address (such as 0.0.0.0, 127.0.0.1 or ::) and no name that "
            "has one: %s",
            host, gai_strerror(fault));
    memcpy(out, list->ai_addr, list->ai_addrlen);
    freeaddrinfo(list);
    return OK;
}

static status read_address(const char *host, int port, struct sockaddr_storage *out, struct err *e)
{
    if (port < 0 || port > 65535)
        return err_set(e, INVALID, "port %d: must be from 0 to 65535", port);
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)out) == 0 ||
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)out) == 0)
        return OK;
    return resolve(host, port, out, e);
}

static socklen_t address_size(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static int port_of(const struct sockaddr_storage *a)
{
    return ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
                                          : ((const struct sockaddr_in *)a)->sin_port);
}

/* The socket, bound and listening, or -1 and errno. "::" takes IPv4 too. */
static int open_socket(const struct sockaddr_storage *at)
{
    const int on = 1, off = 0;
    int fd = socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* accepted sockets inherit it */
    if (at->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, (const struct sockaddr *)at, address_size(at)) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int fault = errno;
    close(fd);
    errno = fault;
    return -1;
}

static status refuse(const char *host, int port, int fault, struct err *e)
{
    if (fault == EADDRINUSE)
        return err_set(e, BUSY, "%s port %d is in use: another server listens there", host, port);
    if (fault == EACCES)
        return err_set(e, IO_FAILED, "%s port %d: not allowed (ports below 1024 are root's)", host,
                       port);
    return err_set(e, IO_FAILED, "cannot listen on %s port %d: %s", host, port, strerror(fault));
}

struct watching {
    struct net_listener *ln;
    int fault;
};

/* On loop 0. */
static void watch(void *arg)
{
    struct watching *w = arg;
    struct net_listener *ln = w->ln;
    uv_loop_t *uv = &ln->group->loop[0].uv;
    w->fault = uv_poll_init(uv, &ln->poll, ln->fd);
    if (w->fault != 0)
        return;
    uv_timer_init(uv, &ln->retry);
    uv_poll_start(&ln->poll, UV_READABLE, on_acceptable);
    ln->open = true;
    list_push_back(&ln->group->listeners, &ln->node);
}

static status start_watching(struct loop_group *g, int fd, const char *path,
                             const struct net_handler *h, struct err *e)
{
    struct net_listener *ln = mem_zalloc(sizeof(*ln));
    struct watching w = { .ln = ln };
    ln->group = g;
    ln->handler = *h;
    ln->fd = fd;
    ln->path = path != NULL ? mem_strdup(path) : NULL;
    list_init(&ln->node);
    loop_call(&g->loop[0], watch, &w);
    if (w.fault == 0)
        return OK;
    mem_free(ln->path);
    mem_free(ln);
    return err_set(e, IO_FAILED, "the event loop cannot watch a listener: %s",
                   uv_strerror(w.fault));
}

status loop_group_listen(struct loop_group *g, const char *host, int port,
                         const struct net_handler *h, int *bound_port, struct err *e)
{
    struct sockaddr_storage at = { 0 };
    TRY(read_address(host, port, &at, e));
    int fd = open_socket(&at);
    if (fd < 0)
        return refuse(host, port, errno, e);
    socklen_t size = sizeof(at);
    getsockname(fd, (struct sockaddr *)&at, &size);
    status s = start_watching(g, fd, NULL, h, e);
    if (s != OK)
        close(fd);
    else if (bound_port != NULL)
        *bound_port = port_of(&at);
    return s;
}

/* Unix sockets */

/* A file that a server left behind when it was killed: nobody answers there. */
static void remove_stale(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) != 0 && errno == ECONNREFUSED)
        unlink(at->sun_path);
    close(fd);
}

status loop_group_listen_unix(struct loop_group *g, const char *path, const struct net_handler *h,
                              struct err *e)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    size_t n = strlen(path);
    bool file = path[0] != '@'; /* a file, and not a name of Linux's abstract namespace */
    if (n + file <= 1 || n >= sizeof(at.sun_path))
        return err_set(e, INVALID,
                       "unix socket '%s': expected a path, or @ and a name, of at most %zu bytes",
                       path, sizeof(at.sun_path) - 1);
    memcpy(at.sun_path, path, n);
    if (file)
        remove_stale(&at);
    else
        at.sun_path[0] = '\0';
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + file);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&at, bytes) != 0 || listen(fd, BACKLOG) != 0) {
        int fault = errno;
        if (fd >= 0)
            close(fd);
        return err_set(e, fault == EADDRINUSE ? BUSY : IO_FAILED, "unix socket '%s': %s", path,
                       fault == EADDRINUSE ? "another server listens there" : strerror(fault));
    }
    status s = start_watching(g, fd, file ? path : NULL, h, e);
    if (s != OK)
        close(fd);
    return s;
}

/* Closing */

void listeners_close(struct loop_group *g)
{
    for (struct list *at = g->listeners.next; at != &g->listeners; at = at->next) {
        struct net_listener *ln = LIST_ENTRY(at, struct net_listener, node);
        if (!ln->open)
            continue;
        ln->open = false;
        accept_up_to(ln, BACKLOG); /* those the kernel has welcomed already */
        uv_close((uv_handle_t *)&ln->poll, NULL);
        uv_close((uv_handle_t *)&ln->retry, NULL);
        close(ln->fd);
        if (ln->path != NULL)
            unlink(ln->path);
    }
}

void listeners_free(struct loop_group *g)
{
    while (!list_empty(&g->listeners)) {
        struct net_listener *ln = LIST_ENTRY(g->listeners.next, struct net_listener, node);
        list_remove(&ln->node);
        mem_free(ln->path);
        mem_free(ln);
    }
}

struct closing {
    struct loop_post post;
    struct loop_group *group;
};

static void run_closing(struct loop_post *p)
{
    struct closing *closing = LIST_ENTRY(p, struct closing, post);
    listeners_close(closing->group);
    mem_free(closing);
}

void loop_group_stop_listening(struct loop_group *g)
{
    struct closing *closing = mem_zalloc(sizeof(*closing));
    closing->post.fn = run_closing;
    closing->group = g;
    loop_post(&g->loop[0], &closing->post);
}
