#include "client/load.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "client/remote.h"
#include "client/session.h"
#include "client/transport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS        64
#define CONNECT_NS    2000000000u
#define RECEIVE_BYTES ((size_t)16 << 10)

struct load_conn {
    struct transport to;
    bool waits_to_write, busy;
    uint64_t begin_ns;
    struct session session;
    const struct buf *request; /* that it sends, or waits for the answer of */
    struct buf in;
};

struct load {
    const struct load_options *opt;
    struct load_result *result;
    struct endpoint at;
    struct remote_link link;
    struct buf *request; /* request_count of them */
    int turn;            /* whose turn it is */
    int poll, timer;     /* timer: open loop, else -1 */
    bool measuring;
    uint64_t begin_ns, end_ns;
    double interval_ns;         /* open loop: between two calls; 0: closed */
    uint64_t first_due_ns, due; /* calls that were made or skipped so far */
    struct load_conn *conn;
};

/* When the next call of an open loop is due. */
static uint64_t due_ns(const struct load *l)
{
    return l->first_due_ns + (uint64_t)((double)l->due * l->interval_ns);
}

static struct load_slot *slot_of(struct load *l, uint64_t now)
{
    uint64_t whole = l->end_ns - l->begin_ns, at = now > l->begin_ns ? now - l->begin_ns : 0;
    uint64_t i = whole > 0 ? at * LOAD_SLOTS / whole : 0;
    return &l->result->slot[i < LOAD_SLOTS ? i : LOAD_SLOTS - 1];
}

static void count_error(struct load *l, const struct err *e)
{
    if (l->result->errors == 0)
        l->result->first_error = *e;
    if (!l->measuring)
        return;
    l->result->errors++;
    slot_of(l, clock_ns())->errors++;
}

static status watch(struct load *l, struct load_conn *c, int how, bool write, struct err *e)
{
    struct epoll_event event = { .events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c };
    c->waits_to_write = write;
    if (epoll_ctl(l->poll, how, c->to.fd, &event) != 0)
        return err_set(e, IO_FAILED, "epoll: %s", strerror(errno));
    return OK;
}

/* Sends what the socket takes of the request; the rest follows when it says that it can. */
static status push(struct load *l, struct load_conn *c, struct err *e)
{
    struct str due;
    while ((due = session_output(&c->session, buf_view(c->request))).n > 0 ||
           transport_unsent(&c->to)) {
        ssize_t n = transport_try_send(&c->to, due);
        if (n < 0 && errno == EAGAIN)
            return c->waits_to_write ? OK : watch(l, c, EPOLL_CTL_MOD, true, e);
        if (n < 0 && errno != EINTR)
            return err_set(e, IO_FAILED, "sending: %s", strerror(errno));
        session_sent(&c->session, n > 0 ? (size_t)n : 0);
    }
    return c->waits_to_write ? watch(l, c, EPOLL_CTL_MOD, false, e) : OK;
}

/* Closed loop: at once. Open loop: when a call is due, which this connection may have kept waiting. */
static status next_call(struct load *l, struct load_conn *c, struct err *e)
{
    uint64_t now = clock_ns();
    c->busy = l->interval_ns <= 0 || due_ns(l) <= now;
    if (!c->busy)
        return OK;
    buf_clear(&c->in);
    c->request = &l->request[l->turn];
    l->turn = (l->turn + 1) % l->opt->request_count;
    session_again(&c->session, buf_view(c->request));
    c->begin_ns = now;
    if (l->interval_ns > 0) {
        c->begin_ns = due_ns(l);
        l->due++;
    }
    return push(l, c, e);
}

/* The timer of an open loop rings when a call is due: all free connections take what is. */
static status on_timer(struct load *l, struct err *e)
{
    uint64_t rings;
    ssize_t ignored = read(l->timer, &rings, sizeof(rings));
    (void)ignored;
    for (int i = 0; i < l->opt->connections && due_ns(l) <= clock_ns(); i++)
        if (!l->conn[i].busy)
            TRY(next_call(l, &l->conn[i], e));
    uint64_t next = due_ns(l), now = clock_ns();
    if (next <= now)
        next =
            now + 100000; /* all connections are busy: they take what is due when they are free */
    struct itimerspec at = { .it_value = { (time_t)(next / 1000000000),
                                           (long)(next % 1000000000) } };
    timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &at, NULL);
    return OK;
}

static status connect_and_call(struct load *l, struct load_conn *c, struct err *e)
{
    const struct transport_options opt = { l->link.tls, c->session.protocol->alpn };
    TRY(transport_connect(&l->at, &opt, clock_ns() + CONNECT_NS, &c->to, e));
    TRY(watch(l, c, EPOLL_CTL_ADD, false, e));
    session_connected(&c->session);
    return next_call(l, c, e);
}

static status replace(struct load *l, struct load_conn *c, struct err *e)
{
    transport_close(&c->to);
    return connect_and_call(l, c, e);
}

static void account(struct load *l, const struct answer *answer, uint64_t ns)
{
    struct err e;
    if (answer->refused != OK) {
        err_set(&e, answer->refused, "code %d: %.*s", answer->code, STR_ARG(answer->words));
        count_error(l, &e);
    } else if (l->measuring) {
        struct load_slot *slot = slot_of(l, clock_ns());
        l->result->calls++;
        histogram_add(l->result->latency, ns);
        slot->calls++;
        slot->sum_ns += ns;
        slot->max_ns = ns > slot->max_ns ? ns : slot->max_ns;
    }
}

static status on_bytes(struct load *l, struct load_conn *c, struct err *e)
{
    struct answer answer;
    struct parse got = session_cut(&c->session, buf_view(&c->in), &answer);
    if (got.state == PARSE_MORE)
        return push(l, c, e);
    if (got.state == PARSE_BAD)
        return err_set(e, got.why, "the answer is not one of protocol %s",
                       c->session.protocol->name);
    account(l, &answer, clock_ns() - c->begin_ns);
    return answer.keep_alive ? next_call(l, c, e) : replace(l, c, e);
}

static status on_readable(struct load *l, struct load_conn *c, struct err *e)
{
    if (buf_reserve(&c->in, RECEIVE_BYTES) == NULL)
        return err_set(e, TOO_LARGE, "an answer does not fit after %zu bytes", c->in.len);
    ssize_t n = transport_try_receive(&c->to, &c->in, c->in.cap - c->in.len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return OK;
    if (n < 0)
        return err_set(e, IO_FAILED, "receiving: %s", strerror(errno));
    if (n == 0)
        return err_set(e, IO_FAILED, "the server closed the connection");
    return on_bytes(l, c, e);
}

/* A broken connection is replaced, and is an error where it had a call in flight: a server may close one that was silent for
 * long. One that cannot be reached any more ends the run. */
static status serve_event(struct load *l, const struct epoll_event *event, struct err *e)
{
    struct load_conn *c = event->data.ptr;
    status s = OK;
    if (c == NULL)
        return on_timer(l, e);
    if (event->events & EPOLLOUT)
        s = push(l, c, e);
    if (s == OK && (event->events & ~(uint32_t)EPOLLOUT) != 0)
        s = on_readable(l, c, e);
    if (s == OK || c->to.fd < 0)
        return s;
    if (c->busy)
        count_error(l, e);
    return replace(l, c, e);
}

/* Until end_ns; calls then in flight stay so. */
static status drive(struct load *l, struct err *e)
{
    struct epoll_event event[EVENTS];
    for (;;) {
        uint64_t now = clock_ns();
        if (now >= l->end_ns)
            return OK;
        int n = epoll_wait(l->poll, event, EVENTS, (int)((l->end_ns - now) / 1000000) + 1);
        if (n < 0 && errno != EINTR)
            return err_set(e, IO_FAILED, "epoll: %s", strerror(errno));
        for (int i = 0; i < n; i++)
            TRY(serve_event(l, &event[i], e));
    }
}

static status build(struct load *l, const struct session *s, int i, struct err *e)
{
    struct session session = *s;
    struct buf scratch;
    buf_init(&scratch, LIMIT_BODY_BYTES);
    session_ask(&session, &l->opt->request[i], &l->request[i], &scratch);
    status fault = buf_check(&scratch) != OK ? buf_check(&scratch) : buf_check(&l->request[i]);
    buf_deinit(&scratch);
    return fault == OK ? OK : err_set(e, fault, "the request is too large");
}

static status start_timer(struct load *l, struct err *e)
{
    struct epoll_event event = { .events = EPOLLIN };
    if (l->interval_ns <= 0)
        return OK;
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->timer < 0 || epoll_ctl(l->poll, EPOLL_CTL_ADD, l->timer, &event) != 0)
        return err_set(e, IO_FAILED, "a timer: %s", strerror(errno));
    l->first_due_ns = UINT64_MAX; /* nothing is due before all are connected */
    return OK;
}

static status start(struct load *l, const struct session_protocol *p, const char *authority,
                    struct err *e)
{
    l->poll = epoll_create1(EPOLL_CLOEXEC);
    if (l->poll < 0)
        return err_set(e, IO_FAILED, "epoll: %s", strerror(errno));
    TRY(start_timer(l, e));
    for (int i = 0; i < l->opt->connections; i++) {
        struct load_conn *c = &l->conn[i];
        session_init(&c->session, p, authority);
        c->session.model = l->opt->model;
        c->session.id = 1; /* what session_ask counts to from a fresh session */
        buf_init(&c->in, LIMIT_BODY_BYTES + LIMIT_HTTP_HEADER_BYTES);
        c->to = TRANSPORT_NONE;
        c->session.authorization = l->link.authorization;
        c->session.secure = l->link.tls != NULL;
    }
    struct session fresh;
    session_init(&fresh, p, authority);
    fresh.model = l->opt->model;
    fresh.authorization = l->link.authorization;
    for (int i = 0; i < l->opt->request_count; i++)
        TRY(build(l, &fresh, i, e));
    for (int i = 0; i < l->opt->connections; i++)
        TRY(connect_and_call(l, &l->conn[i], e));
    return OK;
}

static status measure(struct load *l, struct err *e)
{
    l->begin_ns = clock_ns();
    l->end_ns = l->begin_ns + (uint64_t)(l->opt->warm_up_s * 1e9);
    if (l->interval_ns > 0) {
        l->first_due_ns = l->begin_ns;
        TRY(on_timer(l, e));
    }
    TRY(drive(l, e));
    uint64_t begin = l->begin_ns = clock_ns();
    l->measuring = true;
    l->end_ns = begin + (uint64_t)(l->opt->seconds * 1e9);
    TRY(drive(l, e));
    l->result->seconds = (double)(clock_ns() - begin) / 1e9;
    if (l->interval_ns > 0 && due_ns(l) < clock_ns())
        l->result->late = (uint64_t)((double)(clock_ns() - due_ns(l)) / l->interval_ns);
    if (l->result->calls == 0 && l->result->errors == 0)
        return err_set(e, TIMED_OUT, "no answer within %g seconds", l->opt->seconds);
    return OK;
}

static void finish(struct load *l)
{
    for (int i = 0; i < l->opt->connections; i++) {
        struct load_conn *c = &l->conn[i];
        if (c->session.protocol == NULL)
            continue;
        transport_close(&c->to);
        session_deinit(&c->session);
        buf_deinit(&c->in);
    }
    if (l->timer >= 0)
        close(l->timer);
    if (l->poll >= 0)
        close(l->poll);
    for (int i = 0; i < l->opt->request_count; i++)
        buf_deinit(&l->request[i]);
    mem_free(l->request);
    remote_close(&l->link);
    mem_free(l->conn);
}

status load_run(const struct load_options *opt, struct load_result *out, struct err *e)
{
    char text[ENDPOINT_TEXT_MAX], authority[ENDPOINT_TEXT_MAX];
    struct load l = { .opt = opt, .result = out, .poll = -1, .timer = -1 };
    l.interval_ns = opt->rate > 0 ? 1e9 / opt->rate : 0;
    const struct session_protocol *p = session_protocol_find(opt->protocol);
    if (p == NULL)
        return err_set(e, INVALID, "no protocol '%.*s'", STR_ARG(opt->protocol));
    TRY(endpoint_parse(opt->endpoint, &l.at, e));
    if (opt->remote != NULL)
        TRY(remote_open(opt->remote, &l.link, e));
    *out = (struct load_result){ .latency = histogram_new() };
    l.request = mem_zalloc((size_t)opt->request_count * sizeof(*l.request));
    for (int i = 0; i < opt->request_count; i++)
        buf_init(&l.request[i], LIMIT_BODY_BYTES + LIMIT_HTTP_HEADER_BYTES);
    l.conn = mem_zalloc((size_t)opt->connections * sizeof(*l.conn));
    status s = start(&l, p, endpoint_authority(&l.at, authority), e);
    if (s == OK)
        s = measure(&l, e);
    finish(&l);
    if (s != OK)
        histogram_free(out->latency);
    return s == OK ? OK : err_prefix(e, s, "%s: ", endpoint_text(&l.at, text));
}
