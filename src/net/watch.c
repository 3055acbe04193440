/* A file of somebody else's that a loop looks after. */
#include "net/internal.h"

#include "base/clock.h"
#include "base/mem.h"

struct watching {
    struct loop_watch *watch;
    struct loop *loop;
    uv_poll_t poll;
    uv_timer_t due;
    int fd, fault;
    int open; /* handles that have not closed yet */
    uv_sem_t closed;
};

static void on_due(uv_timer_t *due);

/* Times are rounded up: looking too early would only mean to look again. */
static void turn(struct watching *w)
{
    uint64_t next = w->watch->fn(w->watch), now = clock_ns();
    if (next == UINT64_MAX) {
        uv_timer_stop(&w->due);
        return;
    }
    uv_update_time(&w->loop->uv);
    uv_timer_start(&w->due, on_due, next > now ? (next - now + 999999) / 1000000 : 0, 0);
}

static void on_due(uv_timer_t *due)
{
    turn(LIST_ENTRY(due, struct watching, due));
}

static void on_readable(uv_poll_t *poll, int fault, int events)
{
    turn(LIST_ENTRY(poll, struct watching, poll));
}

static void begin(void *arg)
{
    struct watching *w = arg;
    w->fault = uv_poll_init(&w->loop->uv, &w->poll, w->fd);
    if (w->fault != 0)
        return;
    uv_timer_init(&w->loop->uv, &w->due);
    uv_poll_start(&w->poll, UV_READABLE, on_readable);
    turn(w);
}

status loop_watch(struct loop *l, struct loop_watch *watch, int fd, struct err *e)
{
    struct watching *w = mem_zalloc(sizeof(*w));
    *w = (struct watching){ .watch = watch, .loop = l, .fd = fd, .open = 2 };
    watch->state = w;
    loop_call(l, begin, w);
    if (w->fault == 0)
        return OK;
    status s = err_set(e, IO_FAILED, "a file cannot be watched: %s", uv_strerror(w->fault));
    watch->state = NULL;
    mem_free(w);
    return s;
}

static void count_closed(struct watching *w)
{
    if (--w->open == 0)
        uv_sem_post(&w->closed);
}

static void on_poll_closed(uv_handle_t *h)
{
    count_closed(LIST_ENTRY(h, struct watching, poll));
}

static void on_due_closed(uv_handle_t *h)
{
    count_closed(LIST_ENTRY(h, struct watching, due));
}

static void end(void *arg)
{
    struct watching *w = arg;
    uv_close((uv_handle_t *)&w->poll, on_poll_closed);
    uv_close((uv_handle_t *)&w->due, on_due_closed);
}

void loop_unwatch(struct loop *l, struct loop_watch *watch)
{
    struct watching *w = watch->state;
    if (w == NULL)
        return;
    uv_sem_init(&w->closed, 0);
    loop_call(l, end, w);
    uv_sem_wait(&w->closed);
    uv_sem_destroy(&w->closed);
    watch->state = NULL;
    mem_free(w);
}
