#include "crew/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONF_BYTES    ((size_t)1 << 20)
#define EVENTS        64
#define NEVER         UINT64_MAX
#define START_WAIT_MS 100

/* ---- turns ---- */

void crew_wake_by(struct crew *c, uint64_t ns)
{
    const uint64_t one = 1;
    if (ns == 0 || ns >= c->wake_ns)
        return;
    c->wake_ns = ns;
    ssize_t ignored = write(c->wake, &one, sizeof(one)); /* full: it wakes anyway */
    (void)ignored;
}

/* Deadlines that have passed; the earliest that has not is in check_ns. */
static void check_deadlines(struct crew *c, uint64_t now)
{
    uint64_t next = NEVER;
    if (now < c->check_ns)
        return;
    for (struct list *l = c->active.next, *after; l != &c->active; l = after) {
        struct request *r = LIST_ENTRY(l, struct request, node);
        after = l->next;
        if (r->deadline_ns <= now)
            request_finish(r, TIMED_OUT, "no result within the time that the request had");
        else if (r->deadline_ns < next)
            next = r->deadline_ns;
    }
    c->check_ns = next;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return b != 0 && b < a ? b : a;
}

/* Everything that is due; when the next thing is. */
static uint64_t tick(struct crew *c)
{
    uint64_t now = clock_ns();
    check_deadlines(c, now);
    uint64_t next = earlier(c->check_ns, processes_tick(c, now));
    for (int i = 0; i < c->conf.op_count; i++)
        next = earlier(next, op_dispatch(&c->op[i], now));
    return next;
}

/* Tells the callers of finished requests, without the lock: they may do anything. */
static void tell_over(struct crew *c)
{
    pthread_mutex_lock(&c->lock);
    while (!list_empty(&c->over)) {
        struct request *r = LIST_ENTRY(c->over.next, struct request, node);
        list_remove(&r->node);
        pthread_mutex_unlock(&c->lock);
        r->task->done(r->task);
        pthread_mutex_lock(&c->lock);
        request_unref(r);
    }
    pthread_mutex_unlock(&c->lock);
}

static void hear(struct crew *c, const struct epoll_event *ev)
{
    uint64_t count;
    if (ev->data.ptr == c) {
        zygote_hear(c);
    } else if (ev->data.ptr == &c->wake) {
        ssize_t ignored = read(c->wake, &count, sizeof(count));
        (void)ignored;
    } else {
        slot_hear(ev->data.ptr);
    }
}

/* What there is to hear, and what is due. */
static uint64_t turn(struct crew *c, int wait_ms)
{
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(c->poll, ev, EVENTS, wait_ms);
    pthread_mutex_lock(&c->lock);
    c->wake_ns = 0; /* whatever comes to be due meanwhile is seen by tick */
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < n; i++)
        hear(c, &ev[i]);
    pthread_mutex_lock(&c->lock);
    uint64_t next = tick(c);
    c->wake_ns = next;
    pthread_mutex_unlock(&c->lock);
    tell_over(c);
    return next;
}

int crew_poll_fd(const struct crew *c)
{
    return c->poll;
}

uint64_t crew_turn(struct crew *c)
{
    return turn(c, 0);
}

/* ---- life ---- */

static status read_conf(struct crew *c, struct err *e)
{
    ssize_t n = recv(c->zygote, NULL, 0, MSG_PEEK | MSG_TRUNC);
    if (n <= 0 || (size_t)n > CONF_BYTES)
        return err_set(e, INVALID, "--crew %d: no configuration comes from there%s%s", c->zygote,
                       n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
    char *text = arena_alloc(&c->arena, (size_t)n);
    n = recv(c->zygote, text, (size_t)n, 0);
    return crew_conf_read((struct str){ text, n > 0 ? (size_t)n : 0 }, &c->arena, &c->conf, e);
}

static void make_ops(struct crew *c)
{
    c->op = arena_zalloc(&c->arena, (size_t)c->conf.op_count * sizeof(*c->op));
    for (int i = 0; i < c->conf.op_count; i++) {
        c->op[i] = (struct op){ .conf = &c->conf.op[i], .crew = c, .index = i };
        list_init(&c->op[i].queue);
        list_init(&c->op[i].idle);
    }
}

static void make_process(struct crew *c, int index)
{
    const struct crew_process_conf *conf = &c->conf.process[index];
    struct process *p = &c->process[index];
    *p = (struct process){ .crew = c, .index = index, .slot_count = conf->count };
    p->slot = arena_zalloc(&c->arena, (size_t)conf->count * sizeof(*p->slot));
    for (int i = 0; i < conf->count; i++) {
        struct slot *s = &p->slot[i];
        list_init(&s->node);
        s->process = p;
        s->op = &c->op[conf->op[i]];
        s->op->slots++;
        s->fd = -1;
        area_init(&s->down);
        area_init(&s->up);
    }
}

status crew_watch(struct crew *c, int fd, void *what)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = what };
    return fd >= 0 && epoll_ctl(c->poll, EPOLL_CTL_ADD, fd, &ev) == 0 ? OK : IO_FAILED;
}

static status start(struct crew *c, struct err *e)
{
    TRY(read_conf(c, e));
    make_ops(c);
    c->process = arena_zalloc(&c->arena, (size_t)c->conf.process_count * sizeof(*c->process));
    for (int i = 0; i < c->conf.process_count; i++)
        make_process(c, i);
    c->poll = epoll_create1(EPOLL_CLOEXEC);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->poll < 0 || crew_watch(c, c->wake, &c->wake) != OK || crew_watch(c, c->zygote, c) != OK)
        return err_set(e, IO_FAILED, "a crew cannot be watched: %s", strerror(errno));
    return OK;
}

static int ready_processes(const struct crew *c)
{
    int n = 0;
    for (int i = 0; i < c->conf.process_count; i++)
        n += c->process[i].alive && c->process[i].ready == c->process[i].slot_count;
    return n;
}

/* Signals that end a server are blocked, and stand in line until somebody waits for them. */
static bool told_to_end(void)
{
    sigset_t set;
    return sigpending(&set) == 0 &&
           (sigismember(&set, SIGTERM) == 1 || sigismember(&set, SIGINT) == 1);
}

/* A worker's start may take minutes (it loads models): only a fault ends the wait. Nobody else knows the crew yet. */
static status wait_ready(struct crew *c, struct err *e)
{
    bool ended = false;
    while (c->fault == OK && !c->orphan && !ended && ready_processes(c) < c->conf.process_count) {
        turn(c, START_WAIT_MS);
        ended = told_to_end();
    }
    c->starting = false;
    if (c->fault != OK)
        return err_set(e, c->fault, "%s", c->words.text);
    for (int i = 0; i < c->conf.process_count && ended; i++)
        process_kill(&c->process[i]);
    if (ended)
        return err_set(e, STOPPING, "told to end before all workers were ready");
    return c->orphan ? err_set(e, IO_FAILED, "the process that starts workers has ended") : OK;
}

status crew_open(int zygote_fd, struct crew **out, struct err *e)
{
    struct crew *c = mem_zalloc(sizeof(*c));
    arena_init(&c->arena, 0);
    arena_init(&c->scratch, 0);
    pthread_mutex_init(&c->lock, NULL);
    list_init(&c->active);
    list_init(&c->over);
    c->zygote = zygote_fd;
    c->poll = c->wake = -1;
    c->wake_ns = c->check_ns = NEVER;
    c->starting = true;
    fcntl(zygote_fd, F_SETFD, FD_CLOEXEC);
    status s = start(c, e);
    if (s == OK)
        s = wait_ready(c, e);
    if (s != OK) {
        crew_close(c);
        return s;
    }
    *out = c;
    return OK;
}

static void drop_request(struct request *r)
{
    list_remove(&r->node);
    r->finished = true;
    request_unref(r);
}

static void drop_all(struct crew *c)
{
    for (int i = 0; i < c->conf.op_count && c->op != NULL; i++)
        while (!list_empty(&c->op[i].queue)) {
            struct turn *t = LIST_ENTRY(c->op[i].queue.next, struct turn, node);
            list_remove(&t->node);
            turn_free(t);
        }
    for (int i = 0; i < c->conf.process_count && c->process != NULL; i++) {
        for (int k = 0; k < c->process[i].slot_count; k++)
            for (int n = 0; n < c->process[i].slot[k].count; n++)
                turn_free(c->process[i].slot[k].work[n]);
        process_close(&c->process[i]);
    }
    while (!list_empty(&c->active))
        drop_request(LIST_ENTRY(c->active.next, struct request, node));
}

void crew_close(struct crew *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_mutex_unlock(&c->lock);
    drop_all(c);
    if (c->poll >= 0)
        close(c->poll);
    if (c->wake >= 0)
        close(c->wake);
    close(c->zygote);
    pthread_mutex_destroy(&c->lock);
    arena_deinit(&c->scratch);
    arena_deinit(&c->arena);
    mem_free(c);
}

const char *crew_name(const struct crew *c)
{
    return c->conf.name;
}

bool crew_is_pipeline(const struct crew *c)
{
    return c->conf.pipeline;
}

/* ---- requests ---- */

static struct request *request_new(struct crew *c, struct crew_task *t)
{
    struct request *r = mem_zalloc(sizeof(*r) + (size_t)c->conf.op_count * sizeof(struct made));
    uint64_t limit;
    r->crew = c;
    r->task = t;
    r->id = c->next_id++;
    r->begin_ns = clock_ns();
    limit = r->begin_ns + (uint64_t)c->conf.timeout_ms * 1000000;
    r->deadline_ns = t->deadline_ns != 0 && t->deadline_ns < limit ? t->deadline_ns : limit;
    r->attempts_left = c->conf.retry - 1;
    r->refs = 1;
    return r;
}

status crew_submit(struct crew *c, struct crew_task *t)
{
    pthread_mutex_lock(&c->lock);
    status s = c->stopping || c->orphan ? STOPPING : c->in_flight >= c->conf.in_flight ? BUSY : OK;
    if (s == OK) {
        struct request *r = request_new(c, t);
        t->result = OK;
        t->code = 200;
        c->in_flight++;
        list_push_back(&c->active, &r->node);
        if (r->deadline_ns < c->check_ns)
            c->check_ns = r->deadline_ns;
        crew_wake_by(c, r->deadline_ns);
        request_begin(r);
    } else {
        c->refused++;
    }
    if (!list_empty(&c->over))
        crew_wake_by(c, 1);
    pthread_mutex_unlock(&c->lock);
    return s;
}

/* ---- what it has done ---- */

static void view_op(const struct op *op, struct crew_op_view *v)
{
    *v = (struct crew_op_view){ .name = op->conf->name,
                                .slots = op->slots,
                                .busy = op->busy,
                                .queued = op->queued,
                                .queued_most = op->queued_most,
                                .channel_size = op->conf->channel_size,
                                .requests = op->requests,
                                .failures = op->failures,
                                .batches = op->batches,
                                .in_us = op->in_us,
                                .prep_us = op->prep_us,
                                .midp_us = op->midp_us,
                                .postp_us = op->postp_us };
}

void crew_look(struct crew *c, bool take, struct crew_view *out)
{
    pthread_mutex_lock(&c->lock);
    out->name = c->conf.name;
    out->op_count = c->conf.op_count;
    out->processes = c->conf.process_count;
    out->ready = ready_processes(c);
    out->in_flight = c->in_flight;
    out->restarts = c->restarts;
    out->answered = c->answered;
    out->failed = c->failed;
    out->refused = c->refused;
    out->sum_us = c->sum_us;
    for (int i = 0; i < c->conf.op_count; i++)
        view_op(&c->op[i], &out->op[i]);
    out->latest_count = c->latest_count;
    memcpy(out->latest_us, c->latest_us, (size_t)c->latest_count * sizeof(*c->latest_us));
    out->taken_count = c->taken_count;
    out->taken_failed = c->taken_failed;
    out->taken_us = c->taken_us;
    out->bad_count = c->bad_count;
    memcpy(out->bad, c->bad, (size_t)c->bad_count * sizeof(*c->bad));
    if (take)
        c->latest_count = c->bad_count = 0, c->taken_count = c->taken_failed = c->taken_us = 0;
    pthread_mutex_unlock(&c->lock);
}
