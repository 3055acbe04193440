/* Worker processes: how they are started, what they say, how they end. */
#include "crew/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIVED_NS 1000000000ull /* whoever lived so long began well */
#define REST_NS \
    100000000ull /* before the second start in a row that may come to nothing; doubles */
#define RESTS_MAX 6
#define STUCK_NS  1000000000ull /* past its deadline, and the process has nothing else to do */
#define NEVER     UINT64_MAX

/* ---- the zygote ---- */

enum {
    ASK_START = 'S', /* u32 process, u32 slots; their sockets go along */
    ASK_KILL = 'K',  /* u32 process id */
    TELL_PID = 'P',  /* u32 process, u32 process id */
};

struct zygote_message {
    uint32_t kind, a, b;
};

/* `room` is for CMSG_SPACE of so many. */
static void send_along(struct msghdr *h, char *room, const int *fd, int count)
{
    h->msg_control = room;
    h->msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    struct cmsghdr *cm = CMSG_FIRSTHDR(h);
    cm->cmsg_level = SOL_SOCKET;
    cm->cmsg_type = SCM_RIGHTS;
    cm->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    memcpy(CMSG_DATA(cm), fd, (size_t)count * sizeof(int));
}

static bool ask_zygote(struct crew *c, struct zygote_message m, const int *fd, int count)
{
    char room[CMSG_SPACE(CREW_SLOTS_MAX * sizeof(int))] = { 0 };
    struct iovec iov = { &m, sizeof(m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (count > 0)
        send_along(&h, room, fd, count);
    return sendmsg(c->zygote, &h, MSG_NOSIGNAL) == (ssize_t)sizeof(m);
}

void zygote_hear(struct crew *c)
{
    struct zygote_message m;
    ssize_t n = recv(c->zygote, &m, sizeof(m), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    pthread_mutex_lock(&c->lock);
    if (n <= 0) {
        epoll_ctl(c->poll, EPOLL_CTL_DEL, c->zygote, NULL);
        c->orphan = true;
        if (!c->starting &&
            !c->stopping) { /* as whoever waits for signals ends a server: what is admitted is answered */
            log_line(LOG_WARN, "crew",
                     "the process that starts workers has ended, and so does the server");
            kill(getpid(), SIGTERM);
        }
    } else if (n == (ssize_t)sizeof(m) && m.kind == TELL_PID &&
               m.a < (uint32_t)c->conf.process_count && c->process[m.a].alive) {
        c->process[m.a].pid = (pid_t)m.b;
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- start and end ---- */

static status open_slot(struct slot *s, int *theirs)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return IO_FAILED;
    s->fd = pair[0];
    *theirs = pair[1];
    return crew_watch(s->process->crew, s->fd, s);
}

static void close_slot(struct slot *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    area_close(&s->down);
    area_close(&s->up);
    list_remove(&s->node);
    s->ready = s->busy = false;
}

void process_close(struct process *p)
{
    for (int i = 0; i < p->slot_count; i++)
        close_slot(&p->slot[i]);
    p->alive = false;
    p->busy = p->ready = 0;
}

static void rest(struct process *p, uint64_t now)
{
    int n = p->faults < RESTS_MAX ? p->faults : RESTS_MAX;
    p->start_ns = n == 0 ? now : now + (REST_NS << (n - 1));
    p->faults++;
}

void process_start(struct process *p)
{
    int theirs[CREW_SLOTS_MAX];
    int opened = 0;
    struct crew *c = p->crew;
    p->alive = true;
    p->pid = 0;
    p->since_ns = clock_ns();
    status s = OK;
    while (s == OK && opened < p->slot_count)
        s = open_slot(&p->slot[opened], &theirs[opened]), opened += s == OK;
    if (s != OK ||
        !ask_zygote(
            c, (struct zygote_message){ ASK_START, (uint32_t)p->index, (uint32_t)p->slot_count },
            theirs, opened)) {
        process_close(p);
        rest(p, p->since_ns);
        log_line(LOG_ERROR, "crew", "no socket for a worker process: %s", strerror(errno));
    }
    for (int i = 0; i < opened; i++)
        close(theirs[i]);
}

void process_kill(struct process *p)
{
    if (p->pid != 0)
        ask_zygote(p->crew, (struct zygote_message){ ASK_KILL, (uint32_t)p->pid, 0 }, NULL, 0);
}

static void fail_work(struct slot *s, const char *words)
{
    for (int i = 0; i < s->count && s->busy; i++)
        turn_fail(s->work[i], BUSY, words);
    s->op->busy -= s->busy;
    s->count = 0;
    s->busy = false;
}

void process_dead(struct process *p, const char *why)
{
    char words[ERR_TEXT_MAX];
    struct crew *c = p->crew;
    uint64_t now = clock_ns();
    if (!p->alive)
        return;
    process_kill(p);
    if (now - p->since_ns > LIVED_NS || p->ready == p->slot_count)
        p->faults = 0;
    for (int i = 0; i < p->slot_count; i++) {
        struct slot *s = &p->slot[i];
        snprintf(words, sizeof(words),
                 "[%s] the worker process that had this request (pid %d) ended; send it again",
                 s->op->conf->name, (int)p->pid);
        fail_work(s, words);
    }
    log_line(LOG_WARN, "crew", "worker process %d (pid %d) %s; another one takes its place",
             p->index, (int)p->pid, why);
    process_close(p);
    rest(p, now);
    c->restarts++;
    if (c->starting && c->fault == OK) {
        c->fault = err_set(&c->words, INVALID, "a worker process ended while it began");
    }
    crew_wake_by(c, p->start_ns);
}

static bool is_stuck(const struct process *p, uint64_t now)
{
    for (int i = 0; i < p->slot_count; i++)
        if (!p->slot[i].busy || p->slot[i].deadline_ns + STUCK_NS > now)
            return false;
    return p->alive;
}

uint64_t processes_tick(struct crew *c, uint64_t now)
{
    uint64_t next = NEVER;
    for (int i = 0; i < c->conf.process_count && !c->stopping && !c->orphan; i++) {
        struct process *p = &c->process[i];
        if (is_stuck(p, now))
            process_dead(p, "was in all its threads over time");
        if (!p->alive && p->start_ns <= now)
            process_start(p);
        if (!p->alive && p->start_ns < next)
            next = p->start_ns;
        for (int k = 0; k < p->slot_count; k++)
            if (p->slot[k].busy && p->slot[k].deadline_ns + STUCK_NS < next)
                next = p->slot[k].deadline_ns + STUCK_NS;
    }
    return next;
}

/* ---- giving work ---- */

static bool send_head(struct slot *s, const struct crew_head *head, const uint8_t *inlined)
{
    char room[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov[2] = { { (void *)(uintptr_t)head, sizeof(*head) },
                            { (void *)(uintptr_t)inlined, head->shared ? 0 : head->bytes } };
    struct msghdr h = { .msg_iov = iov, .msg_iovlen = head->shared ? 1 : 2 };
    if (head->shared && !s->down.told) {
        send_along(&h, room, &s->down.fd, 1);
        s->down.told = true;
    }
    return sendmsg(s->fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
}

static struct str view(const struct blob *b)
{
    return (struct str){ (const char *)b->p, b->n };
}

static void add_part(const struct request *r, int source, struct crew_part *part, int *count)
{
    if (source < 0)
        part[(*count)++] = (struct crew_part){ CREW_FROM_REQUEST, r->task->head, r->task->body };
    else if (r->of[source].blob != NULL)
        part[(*count)++] =
            (struct crew_part){ (uint32_t)source, { NULL, 0 }, view(r->of[source].blob) };
}

static struct crew_item item_of(const struct turn *t, uint64_t now, struct arena *a)
{
    const struct request *r = t->request;
    const struct crew_op_conf *conf = t->op->conf;
    struct crew_part *part = arena_alloc(a, ((size_t)conf->input_count + 1) * sizeof(*part));
    struct crew_item item = { .id = r->id, .form = (uint32_t)r->task->form, .part = part };
    item.left_us = r->deadline_ns > now ? (r->deadline_ns - now) / 1000 : 0;
    if (t->only != ALL_INPUTS)
        add_part(r, t->only, part, &item.part_count);
    for (int i = 0; i < conf->input_count && t->only == ALL_INPUTS; i++)
        add_part(r, conf->input[i], part, &item.part_count);
    return item;
}

bool slot_give(struct slot *s, struct turn *const *turn, int count, struct err *e, status *fault)
{
    struct crew *c = s->process->crew;
    uint64_t now = clock_ns();
    uint8_t inlined[CREW_INLINE_BYTES];
    struct crew_item *item = arena_alloc(&c->scratch, (size_t)count * sizeof(*item));
    s->deadline_ns = 0;
    for (int i = 0; i < count; i++) {
        item[i] = item_of(turn[i], now, &c->scratch);
        if (turn[i]->request->deadline_ns > s->deadline_ns)
            s->deadline_ns = turn[i]->request->deadline_ns;
    }
    struct crew_head head = { .kind = CREW_WORK, .count = (uint32_t)count, .number = ++s->number };
    head.bytes = crew_work_bytes(item, count);
    head.shared = head.bytes > CREW_INLINE_BYTES;
    if (head.bytes > CREW_MESSAGE_BYTES)
        *fault = err_set(e, TOO_LARGE, "more than a worker process is given at once");
    else if (head.shared)
        *fault = area_grow(&s->down, head.bytes, e);
    if (*fault == OK)
        crew_work_put(item, count, head.shared ? s->down.p : inlined);
    bool sent = *fault == OK && send_head(s, &head, inlined);
    arena_reset(&c->scratch);
    if (*fault != OK)
        return true;
    list_remove(&s->node);
    if (!sent) { /* the next turn hears its end from the socket */
        shutdown(s->fd, SHUT_RDWR);
        return false;
    }
    memcpy(s->work, turn, (size_t)count * sizeof(*turn));
    s->count = count;
    s->busy = true;
    s->process->busy++;
    s->op->busy++;
    s->op->batches++;
    s->op->requests += (uint64_t)count;
    return true;
}

/* ---- hearing ---- */

struct heard {
    struct crew_head head;
    struct str payload;
    char bytes[sizeof(struct crew_head) + CREW_INLINE_BYTES + 1];
};

/* OK with n = 0: the other end has gone. */
static status receive(struct slot *s, struct heard *h, size_t *n, struct err *e)
{
    char room[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { h->bytes, sizeof(h->bytes) };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
    };
    ssize_t got = recvmsg(s->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *n = got > 0 ? (size_t)got : 0;
    struct cmsghdr *cm = got > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (cm != NULL && cm->cmsg_type == SCM_RIGHTS && cm->cmsg_len == CMSG_LEN(sizeof(int))) {
        int fd;
        memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
        TRY(area_adopt(&s->up, fd, e));
    }
    return (m.msg_flags & MSG_TRUNC) != 0 ? err_set(e, INVALID, "a message that is too long") : OK;
}

static status take_payload(struct slot *s, struct heard *h, size_t n, struct err *e)
{
    TRY(crew_head_read((struct str){ h->bytes, n }, &h->head, e));
    h->payload = (struct str){ h->bytes + sizeof(h->head), n - sizeof(h->head) };
    if (h->head.shared) {
        TRY(area_see(&s->up, h->head.bytes, e));
        h->payload = (struct str){ (const char *)s->up.p, (size_t)h->head.bytes };
    }
    return OK;
}

static void become_idle(struct slot *s)
{
    list_push_front(&s->op->idle, &s->node);
    crew_wake_by(s->process->crew, op_dispatch(s->op, clock_ns()));
}

static void take_ready(struct slot *s)
{
    s->ready = true;
    s->process->ready++;
    become_idle(s);
}

static void take_failed(struct slot *s, struct str words)
{
    struct crew *c = s->process->crew;
    log_line(LOG_ERROR, "crew", "worker process %d cannot begin: %.*s", s->process->index,
             STR_ARG(words));
    if (c->starting && c->fault == OK) {
        c->fault = err_set(&c->words, INVALID, "%.*s", STR_ARG(words));
    }
}

static status take_answer(struct slot *s, const struct heard *h, struct err *e)
{
    struct crew_outcome outcome[CREW_BATCH_MAX];
    if (!s->busy || h->head.number != s->number || h->head.count != (uint32_t)s->count)
        return err_set(e, INVALID, "an answer to what it was not given");
    TRY(crew_answer_read(h->payload, s->count, outcome, e));
    int count = s->count;
    s->count = 0;
    s->busy = false;
    s->process->busy--;
    s->op->busy--;
    s->op->prep_us += h->head.prep_us;
    s->op->midp_us += h->head.midp_us;
    s->op->postp_us += h->head.postp_us;
    for (int i = 0; i < count; i++)
        turn_deliver(s->work[i], &outcome[i]);
    area_trim(&s->down);
    become_idle(s);
    return OK;
}

static status take_message(struct slot *s, struct heard *h, size_t n, struct err *e)
{
    TRY(take_payload(s, h, n, e));
    if (h->head.kind == CREW_ANSWER)
        return take_answer(s, h, e);
    if (h->head.kind == CREW_FAILED)
        take_failed(s, h->payload);
    else if (!s->ready)
        take_ready(s);
    else
        return err_set(e, INVALID, "it says twice that it is ready");
    return OK;
}

void slot_hear(struct slot *s)
{
    struct crew *c = s->process->crew;
    struct heard h;
    struct err e = { "" };
    char why[ERR_TEXT_MAX + 64];
    size_t n = 0;
    pthread_mutex_lock(&c->lock);
    /* A process that died in this round took its other slots along. */
    status fault = s->fd >= 0 ? receive(s, &h, &n, &e) : OK;
    if (s->fd >= 0 && fault == OK && n > 0)
        fault = take_message(s, &h, n, &e);
    if (fault != OK) {
        snprintf(why, sizeof(why), "does not speak as a worker (%s)", e.text);
        process_dead(s->process, why);
    } else if (s->fd >= 0 && n == 0) {
        process_dead(s->process, "ended");
    }
    pthread_mutex_unlock(&c->lock);
}
