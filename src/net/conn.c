/* Connections. One lives from conn_deal to on_closed; net_conn_close only begins the end, so that
 * whoever is further up the stack may still touch it, and the handler's close is never called from
 * inside another of its functions. */
#include "net/internal.h"
#include "net/proxy.h"
#include "net/tls.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define SHORT_TOLD_MS  1000
#define READ_MIN_BYTES ((size_t)16 << 10)  /* room for one read, at first */
#define READ_MAX_BYTES ((size_t)256 << 10) /* and where reads fill their room */
#define READ_LARGE_BYTES \
    ((size_t)1 << 20) /* in the middle of a message whose owner has made room for it */
#define READ_WORTH_BYTES \
    ((size_t)4 << 10) /* less room than this is not worth a read: the buffer grows */
#define WAITING_MAX_BYTES ((size_t)1 << 20) /* while more output waits, no input is read */
#define OUT_MAX_BYTES     (2 * LIMIT_BODY_BYTES)
#define CIPHER_MAX_BYTES  ((size_t)1 << 20)
#define TLS_HANDSHAKE \
    0x16 /* the first byte of a TLS connection, and of nothing else that is spoken here */
#define LINGER_MS         2000
#define RATE_BYTES_PER_MS 16 /* a request that comes at least this quickly is never too slow */

struct net_conn {
    struct list node;   /* in its loop's conns, from arrival to on_closed */
    struct list kicked; /* in its loop's kicked: deliver soon */
    struct loop_post arrival;
    struct loop *loop;
    const struct net_handler *handler;
    void *state;
    uv_tcp_t tcp;
    int fd; /* tcp's */

    struct buf in, out;
    size_t read_bytes;  /* room to give the next read */
    size_t first_bytes; /* the most that is read into an empty buffer; 0: any */
    struct buf sending; /* what uv_write is at; empty: no write is under way */
    uv_write_t write;
    size_t write_queue_before; /* at the last tick: a smaller one now is progress */

    /* NULL: in the clear. Then `in` is what it decrypted, `plain` what it is to encrypt into out */
    struct tls *tls;
    struct buf cipher, plain;

    int owed; /* answers that are still being made (net_conn_owe) */
    bool reading;
    bool paused;
    bool eof;       /* the peer has sent all it will */
    bool ending;    /* closes when all output is out; no more input is handed over */
    bool lingering; /* all output and our FIN are out; what still comes is thrown away */
    bool closing;   /* uv_close was called */
    bool partial;
    bool handshaking;
    bool proxied;  /* the PROXY header was taken */
    bool settled;  /* it is known whether it speaks TLS */
    bool loopback; /* the peer is on this machine */

    uint64_t active_ms;  /* when a byte last went either way, or began to linger */
    uint64_t partial_ms; /* when the present request began to come */
    uint64_t partial_bytes;
    char peer[ADDRESS_TEXT_MAX], local[ADDRESS_TEXT_MAX];
};

static uint64_t now_ms(const struct net_conn *c)
{
    return uv_now(&c->loop->uv);
}

static uv_stream_t *stream_of(struct net_conn *c)
{
    return (uv_stream_t *)&c->tcp;
}

static size_t waiting_bytes(const struct net_conn *c)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp) + c->out.len + c->plain.len;
}

/* The end */

static void on_closed(uv_handle_t *tcp)
{
    struct net_conn *c = LIST_ENTRY(tcp, struct net_conn, tcp);
    if (c->state != NULL)
        c->handler->close(c, c->state);
    list_remove(&c->node);
    list_remove(&c->kicked);
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    buf_deinit(&c->sending);
    buf_deinit(&c->cipher);
    buf_deinit(&c->plain);
    tls_free(c->tls);
    atomic_fetch_sub(&c->loop->group->open_conns, 1);
    atomic_fetch_add(&c->loop->group->closed_conns, 1);
    mem_free(c);
}

void net_conn_close(struct net_conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    c->reading = false;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

void conns_close_all(struct loop *l)
{
    for (struct list *at = l->conns.next; at != &l->conns; at = at->next)
        net_conn_close(LIST_ENTRY(at, struct net_conn, node));
}

/* Reading */

/* An idle connection has no buffer: what comes is read into its loop's, which it keeps while there is something in it. */
static void move_room(struct buf *from, struct buf *to)
{
    to->data = from->data;
    to->cap = from->cap;
    from->data = NULL;
    from->cap = 0;
}

static void give_room_back(struct net_conn *c, struct buf *in)
{
    if (in->len != 0 || in->data == NULL)
        return;
    if (c->loop->room.data == NULL && in->cap <= READ_MAX_BYTES)
        move_room(in, &c->loop->room);
    else
        buf_deinit(in);
}

/* The connection is closed by its next read. Many may be at once: one line a second tells enough. */
static void tell_short(struct net_conn *c, const struct buf *in, size_t want)
{
    struct loop *l = c->loop;
    uint64_t now = uv_now(&l->uv);
    if (l->told_short_ms != 0 && now - l->told_short_ms < SHORT_TOLD_MS)
        return;
    l->told_short_ms = now;
    log_line(LOG_WARN, "net",
             "no memory for %zu bytes more of what %s sends, behind %zu: it is closed", want,
             c->peer, in->len);
}

static void on_room(uv_handle_t *tcp, size_t suggested, uv_buf_t *out)
{
    struct net_conn *c = LIST_ENTRY(tcp, struct net_conn, tcp);
    struct buf *in = c->tls != NULL ? &c->cipher : &c->in;
    if (in->data == NULL)
        move_room(&c->loop->room, in);
    size_t room = in->cap - in->len, most = in->max - in->len;
    size_t want =
        room >= READ_WORTH_BYTES && (in->len > 0 || room > c->read_bytes) ? room : c->read_bytes;
    size_t limit = in->len > 0 ? READ_LARGE_BYTES : READ_MAX_BYTES;
    if (in->len == 0 && c->first_bytes > 0)
        limit = c->first_bytes;
    if (want > limit)
        want = limit;
    if (want > most)
        want = most;
    uint8_t *to = want != 0 ? buf_reserve(in, want) : NULL;
    if (want != 0 && to == NULL)
        tell_short(c, in, want);
    *out = uv_buf_init((char *)to, to != NULL ? (unsigned)want : 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *room);

static bool should_read(const struct net_conn *c)
{
    if (c->closing || c->eof)
        return false;
    if (c->lingering)
        return true;
    return !c->ending && !(c->paused && c->in.len != 0) && c->in.len < c->in.max &&
           waiting_bytes(c) <= WAITING_MAX_BYTES;
}

/* A pause with nothing in the buffer does not stop reading, since stopping and starting cost system
 * calls and most pauses end before anything comes; what comes is kept, and then no more is read.
 * With something in it, which others may be looking at meanwhile, it must not move. */
static void update_reading(struct net_conn *c)
{
    bool wanted = should_read(c);
    if (wanted == c->reading || c->closing)
        return;
    c->reading = wanted;
    if (!wanted)
        uv_read_stop(stream_of(c));
    else if (uv_read_start(stream_of(c), on_room, on_read) != 0)
        net_conn_close(c);
}

static void end_if_over(struct net_conn *c)
{
    if (c->eof && !c->paused && c->owed == 0)
        net_conn_close_after_flush(c);
}

/* Decrypts what came; true: there was more than `in` holds. What lies in a paused connection's `in` must not move. */
static bool decrypt(struct net_conn *c)
{
    if (c->paused && c->in.len != 0)
        return false;
    enum tls_state state = tls_read(c->tls, buf_view(&c->cipher), &c->in);
    buf_clear(&c->cipher);
    tls_take(c->tls, &c->out);
    if (tls_is_ready(c->tls) && c->handshaking)
        net_conn_set_partial(c, c->handshaking = false);
    net_conn_flush(c); /* the handshake's answers; of a broken one, why */
    if (state == TLS_BROKEN)
        net_conn_close_after_flush(c);
    else if (state == TLS_ENDED)
        c->eof = true;
    return state == TLS_FULL;
}

static void hand_over(struct net_conn *c)
{
    if (!c->paused && c->in.len != 0 && !c->closing && !c->ending)
        c->handler->data(c, c->state, &c->in);
}

/* For others. */
static void let_go(struct net_conn *c)
{
    give_room_back(c, &c->in);
    give_room_back(c, &c->cipher);
}

static void deliver(struct net_conn *c)
{
    if (c->closing || c->ending)
        return;
    bool more = c->tls != NULL && decrypt(c);
    hand_over(c);
    while (more && c->in.len < c->in.max && !c->closing && !c->ending) {
        more = decrypt(c);
        hand_over(c);
    }
    let_go(c);
    if (c->closing || c->ending)
        return;
    end_if_over(c);
    update_reading(c);
}

static void kick(struct net_conn *c)
{
    if (c->closing)
        return;
    if (list_empty(&c->loop->kicked))
        loop_come_round(c->loop);
    list_remove(&c->kicked);
    list_push_back(&c->loop->kicked, &c->kicked);
}

void conns_run_kicked(struct loop *l)
{
    struct list kicked;
    list_move(&kicked, &l->kicked);
    while (!list_empty(&kicked)) {
        struct net_conn *c = LIST_ENTRY(kicked.next, struct net_conn, kicked);
        list_remove(&c->kicked);
        deliver(c);
    }
}

static void note_peer(struct net_conn *c, const struct sockaddr_storage *peer)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;
    address_text(peer, c->peer);
    if (peer->ss_family == AF_INET)
        c->loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    else if (peer->ss_family == AF_INET6)
        c->loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
                      (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127);
    else
        c->loopback = peer->ss_family == AF_UNIX;
}

static bool take_proxy_header(struct net_conn *c)
{
    struct sockaddr_storage peer;
    bool told;
    struct parse p = proxy_parse(buf_view(&c->in), &peer, &told);
    if (p.state == PARSE_BAD)
        log_line(LOG_WARN, "net", "%s: no PROXY header of version 2 in front; closed", c->peer);
    if (p.state == PARSE_BAD)
        net_conn_close(c);
    net_conn_set_partial(c, p.state == PARSE_MORE);
    if (p.state != PARSE_DONE)
        return false;
    buf_consume(&c->in, p.used);
    if (told)
        note_peer(c, &peer);
    return c->proxied = true;
}

static void begin_tls(struct net_conn *c)
{
    c->tls = tls_new(c->handler->tls);
    if (c->tls == NULL) {
        net_conn_close(c);
        return;
    }
    struct buf came = c->in; /* goes on as what is to be decrypted */
    c->in = (struct buf){ .max = came.max };
    c->cipher = came;
    c->cipher.max = CIPHER_MAX_BYTES;
    c->handshaking = true;
    net_conn_set_partial(c, true);
}

/* What comes first of all: a PROXY header, then what shows whether TLS is spoken. false: more must come, or it is over. */
static bool settle(struct net_conn *c)
{
    if (c->handler->proxy_protocol && !c->proxied && !take_proxy_header(c))
        return false;
    if (c->in.len == 0)
        return false;
    c->settled = true;
    bool tls = c->in.data[0] == TLS_HANDSHAKE;
    if (c->handler->tls != NULL && tls)
        begin_tls(c);
    else if (c->handler->tls_required && strncmp(c->local, "unix", 4) != 0)
        net_conn_close(c);
    return !c->closing;
}

static void on_bytes(struct net_conn *c, size_t n, size_t room)
{
    if (c->lingering)
        return;
    struct buf *in = c->tls != NULL ? &c->cipher : &c->in;
    in->len += n;
    c->active_ms = now_ms(c);
    c->partial_bytes += n;
    if (n == room && c->read_bytes < READ_MAX_BYTES)
        c->read_bytes *= 2;
    if (c->settled || settle(c))
        deliver(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *room)
{
    struct net_conn *c = LIST_ENTRY(stream, struct net_conn, tcp);
    if (n > 0) {
        on_bytes(c, (size_t)n, room->len);
    } else if (n == UV_EOF) {
        c->eof = true;
        c->reading = false; /* libuv has stopped by itself */
        if (c->lingering)
            net_conn_close(c);
        else if (!c->closing)
            end_if_over(c);
    } else if (n < 0) {
        net_conn_close(c);
    }
    if (n <= 0)
        let_go(c);
}

/* Writing */

/* Both ends of a conversation that we end: our FIN goes out, and what the peer still sends is read
 * and dropped for a while. Closing at once would answer its bytes with a reset, which can overtake
 * our last answer. */
static void linger(struct net_conn *c)
{
    if (c->eof || shutdown(c->fd, SHUT_WR) != 0) {
        net_conn_close(c);
        return;
    }
    c->lingering = true;
    c->active_ms = now_ms(c);
    buf_clear(&c->in);
    update_reading(c);
}

static void after_write(struct net_conn *c)
{
    if (c->closing)
        return;
    if (c->ending && !c->lingering && waiting_bytes(c) == 0)
        linger(c);
    else
        update_reading(c);
}

static void on_written(uv_write_t *write, int fault)
{
    struct net_conn *c = LIST_ENTRY(write, struct net_conn, write);
    buf_clear(&c->sending);
    if (fault != 0) {
        net_conn_close(c);
        return;
    }
    c->active_ms = now_ms(c);
    net_conn_flush(c);
    if (!c->closing && !c->ending && c->handler->drained != NULL && waiting_bytes(c) == 0)
        c->handler->drained(c, c->state);
}

/* Leaves out, from its offset-th byte on, to libuv, which writes it as the socket takes it. */
static void send_rest(struct net_conn *c, size_t offset)
{
    struct buf rest = c->out;
    c->out = c->sending;
    c->sending = rest;
    uv_buf_t bytes = uv_buf_init((char *)rest.data + offset, 0);
    bytes.len = rest.len - offset;
    if (uv_write(&c->write, stream_of(c), &bytes, 1, on_written) != 0)
        net_conn_close(c);
}

/* One part is sent by the call that costs the kernel least. */
static ssize_t send_parts(int fd, struct iovec *part, size_t count)
{
    if (count == 1)
        return send(fd, part->iov_base, part->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    struct msghdr all = { .msg_iov = part, .msg_iovlen = count };
    return sendmsg(fd, &all, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What the socket takes at once of out and body together; a fault closes. */
static size_t try_write(struct net_conn *c, const void *body, size_t n)
{
    struct iovec parts[2] = { { c->out.data, c->out.len }, { (void *)(uintptr_t)body, n } };
    size_t first = c->out.len == 0 ? 1 : 0, end = n == 0 ? 1 : 2;
    ssize_t written;
    do
        written = send_parts(c->fd, parts + first, end - first);
    while (written < 0 && errno == EINTR);
    if (written > 0)
        c->active_ms = now_ms(c);
    else if (written < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        net_conn_close(c);
    return written > 0 ? (size_t)written : 0;
}

/* Whatever was written of the two, what is left of body stands in out after this; the result is
 * where in out the rest begins. */
static size_t keep_rest(struct net_conn *c, size_t written, const char *body, size_t n)
{
    if (written < c->out.len) {
        buf_append(&c->out, body, n);
        return written;
    }
    size_t of_body = written - c->out.len;
    c->out.len = 0;
    buf_append(&c->out, body + of_body, n - of_body);
    return 0;
}

static bool out_is_sound(struct net_conn *c)
{
    status s = buf_check(&c->out);
    if (s == OK)
        return true;
    log_line(LOG_WARN, "net", "%s: output %s", c->peer, status_text(s));
    net_conn_close(c);
    return false;
}

/* Before the handshake is over nothing can be said; it waits. */
static void encrypt(struct net_conn *c, struct str body)
{
    if (!tls_is_ready(c->tls)) {
        buf_append(&c->plain, body.p, body.n);
        return;
    }
    if (buf_check(&c->plain) != OK || tls_write(c->tls, buf_view(&c->plain)) != OK ||
        tls_write(c->tls, body) != OK)
        c->out.failed = IO_FAILED;
    buf_clear(&c->plain);
    tls_take(c->tls, &c->out);
}

void net_conn_flush_with(struct net_conn *c, const void *body, size_t n)
{
    if (c->closing || c->lingering) {
        buf_clear(&c->out);
        buf_clear(&c->plain);
        return;
    }
    if (c->tls != NULL) {
        encrypt(c, (struct str){ body, n });
        n = 0;
    }
    if (!out_is_sound(c))
        return;
    size_t total, offset = 0;
    bool busy = c->sending.len != 0;
    if (busy || !mem_add(c->out.len, n, &total) || total == 0) {
        buf_append(&c->out, body, n);
    } else {
        size_t written = try_write(c, body, n);
        if (c->closing)
            return;
        offset = keep_rest(c, written, body, n);
    }
    if (!out_is_sound(c))
        return;
    if (!busy && c->out.len > offset)
        send_rest(c, offset);
    after_write(c);
}

void net_conn_flush(struct net_conn *c)
{
    net_conn_flush_with(c, "", 0);
}

void net_conn_close_after_flush(struct net_conn *c)
{
    if (c->closing || c->ending)
        return;
    c->ending = true;
    if (c->tls != NULL) {
        encrypt(c, STR(""));
        tls_end(c->tls);
        tls_take(c->tls, &c->out);
    }
    net_conn_flush(c);
}

/* Arrival */

void address_text(const struct sockaddr_storage *a, char out[ADDRESS_TEXT_MAX])
{
    const struct sockaddr_un *file = (const struct sockaddr_un *)a;
    if (a->ss_family == AF_UNIX) {
        snprintf(out, ADDRESS_TEXT_MAX, file->sun_path[0] != '\0' ? "unix:%.*s" : "unix%.*s",
                 (int)sizeof(file->sun_path), file->sun_path);
        return;
    }
    char host[INET6_ADDRSTRLEN] = "?";
    if (a->ss_family != AF_INET6) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(out, ADDRESS_TEXT_MAX, "%s:%d", host, ntohs(v4->sin_port));
        return;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
    bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
    if (mapped)
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, sizeof(host));
    else
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
    snprintf(out, ADDRESS_TEXT_MAX, mapped ? "%s:%d" : "[%s]:%d", host, ntohs(v6->sin6_port));
}

static void write_local(struct net_conn *c)
{
    struct sockaddr_storage at = { 0 };
    int size = sizeof(at);
    uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&at, &size);
    address_text(&at, c->local);
}

static uint64_t shorter_timeout(const struct net_handler *h)
{
    uint64_t idle = h->idle_ms != 0 ? h->idle_ms : UINT64_MAX;
    uint64_t head = h->head_ms != 0 ? h->head_ms : UINT64_MAX;
    uint64_t write = h->write_ms != 0 ? h->write_ms : UINT64_MAX, least = idle < head ? idle : head;
    return least < write ? least : write;
}

static void open_conn(struct net_conn *c)
{
    const struct net_handler *h = c->handler;
    uv_tcp_nodelay(&c->tcp, 1);
    write_local(c);
    c->active_ms = now_ms(c);
    loop_tick_within(c->loop, shorter_timeout(h) / 4);
    c->state = h->open(c, h->arg);
    if (c->state == NULL)
        net_conn_close(c);
    update_reading(c);
}

/* libuv ends the process when epoll takes no more files (ENOSPC, ENOMEM); of one that is there already it says what it wants
 * watched. */
static bool can_be_watched(const struct net_conn *c)
{
    struct epoll_event nothing = { 0 };
    return epoll_ctl(uv_backend_fd(&c->loop->uv), EPOLL_CTL_ADD, c->fd, &nothing) == 0;
}

/* On the connection's loop. */
static void on_arrival(struct loop_post *p)
{
    struct net_conn *c = LIST_ENTRY(p, struct net_conn, arrival);
    list_push_back(&c->loop->conns, &c->node);
    uv_tcp_init(&c->loop->uv, &c->tcp);
    if (c->loop->stopping || !can_be_watched(c) || uv_tcp_open(&c->tcp, c->fd) != 0) {
        close(c->fd);
        net_conn_close(c);
        return;
    }
    open_conn(c);
}

void conn_deal(struct loop *l, int fd, const struct sockaddr_storage *peer,
               const struct net_handler *h)
{
    struct net_conn *c = mem_try(sizeof(*c));
    if (c == NULL) {
        close(fd);
        return;
    }
    *c = (struct net_conn){
        .arrival.fn = on_arrival,
        .loop = l,
        .handler = h,
        .fd = fd,
        .read_bytes = READ_MIN_BYTES,
    };
    list_init(&c->node);
    list_init(&c->kicked);
    buf_init(&c->in, h->max_input_bytes);
    buf_init(&c->out, OUT_MAX_BYTES);
    buf_init(&c->sending, OUT_MAX_BYTES);
    buf_init(&c->plain, OUT_MAX_BYTES);
    note_peer(c, peer);
    atomic_fetch_add(&l->group->open_conns, 1);
    if (l->index == 0)
        on_arrival(&c->arrival);
    else
        loop_post(l, &c->arrival);
}

/* Timeouts */

static bool is_too_slow(const struct net_conn *c, uint64_t now)
{
    uint64_t limit = c->handler->head_ms;
    return c->partial && limit != 0 &&
           now - c->partial_ms > limit + c->partial_bytes / RATE_BYTES_PER_MS;
}

static bool is_overdue(const struct net_conn *c, uint64_t now)
{
    if (c->lingering)
        return now - c->active_ms > LINGER_MS;
    if (c->handler->write_ms != 0 && waiting_bytes(c) > 0 &&
        now - c->active_ms > c->handler->write_ms)
        return true;
    if (!c->ending && (c->paused || c->owed > 0))
        return false;
    if (!c->ending && is_too_slow(c, now))
        return true;
    return c->handler->idle_ms != 0 && now - c->active_ms > c->handler->idle_ms;
}

/* One large write goes out in many steps that only its queue shows. */
static void note_write_progress(struct net_conn *c, uint64_t now)
{
    size_t queue = uv_stream_get_write_queue_size(stream_of(c));
    if (queue < c->write_queue_before)
        c->active_ms = now;
    c->write_queue_before = queue;
}

static void give_memory_back(struct net_conn *c)
{
    c->read_bytes = READ_MIN_BYTES;
    buf_shrink(&c->in, 0);
    buf_shrink(&c->out, 0);
    buf_shrink(&c->cipher, 0);
    buf_shrink(&c->plain, 0);
    if (c->sending.len == 0)
        buf_shrink(&c->sending, 0);
}

/* How much later than it should the tick came: the loop was busy that long, with a computation
 * perhaps, and could not see what its peers did. */
static uint64_t take_lag(struct loop *l, uint64_t now)
{
    uint64_t due = l->ticked_ms + uv_timer_get_repeat(&l->tick);
    l->ticked_ms = now;
    return now > due ? now - due : 0;
}

static uint64_t later(uint64_t then, uint64_t by, uint64_t now)
{
    return then + by < now ? then + by : now;
}

void conns_tick(struct loop *l)
{
    uint64_t now = uv_now(&l->uv), lag = take_lag(l, now);
    for (struct list *at = l->conns.next; at != &l->conns; at = at->next) {
        struct net_conn *c = LIST_ENTRY(at, struct net_conn, node);
        if (c->closing)
            continue;
        c->active_ms = later(c->active_ms, lag, now);
        c->partial_ms = later(c->partial_ms, lag, now);
        note_write_progress(c, now);
        if (is_overdue(c, now))
            net_conn_close(c);
        else if (now - c->active_ms >= TICK_MS)
            give_memory_back(c);
    }
}

/* What handlers ask and tell */

struct loop *net_conn_loop(struct net_conn *c)
{
    return c->loop;
}

void *net_conn_state(struct net_conn *c)
{
    return c->state;
}

const char *net_conn_peer(struct net_conn *c)
{
    return c->peer;
}

const char *net_conn_local(struct net_conn *c)
{
    return c->local;
}

bool net_conn_is_loopback(const struct net_conn *c)
{
    return c->loopback;
}

struct buf *net_conn_out(struct net_conn *c)
{
    return c->tls != NULL ? &c->plain : &c->out;
}

size_t net_conn_waiting(const struct net_conn *c)
{
    return waiting_bytes(c);
}

void net_conn_pause(struct net_conn *c)
{
    c->paused = true;
    update_reading(c);
}

void net_conn_resume(struct net_conn *c)
{
    c->paused = false;
    c->active_ms = now_ms(c);
    if (c->in.len != 0 || c->eof)
        kick(c);
    else
        update_reading(c);
}

void net_conn_owe(struct net_conn *c, int more)
{
    c->owed += more;
    if (c->owed != 0)
        return;
    c->active_ms = now_ms(c);
    if (c->eof)
        kick(c);
}

void net_conn_read_first(struct net_conn *c, size_t bytes)
{
    c->first_bytes = bytes;
}

void net_conn_take_input(struct net_conn *c, struct buf *to)
{
    *to = c->in;
    buf_init(&c->in, to->max);
}

void net_conn_set_partial(struct net_conn *c, bool in_request)
{
    if (in_request && !c->partial) {
        c->partial_ms = now_ms(c);
        c->partial_bytes = 0;
    }
    c->partial = in_request;
}
