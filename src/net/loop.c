#include "net/internal.h"

#include "base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Posts */

/* What comes meanwhile waits for the next round, so that posts which post do not starve the
 * sockets. */
static void run_posts(struct loop *l)
{
    struct list posts;
    pthread_mutex_lock(&l->lock);
    list_move(&posts, &l->posts);
    pthread_mutex_unlock(&l->lock);
    while (!list_empty(&posts)) {
        struct loop_post *p = LIST_ENTRY(posts.next, struct loop_post, node);
        list_remove(&p->node);
        p->fn(p);
    }
}

/* Only the first post of a batch wakes the loop, which takes all there are. */
void loop_post(struct loop *l, struct loop_post *p)
{
    pthread_mutex_lock(&l->lock);
    bool first = list_empty(&l->posts);
    list_push_back(&l->posts, &p->node);
    if (first && !l->deaf)
        uv_async_send(&l->wake);
    pthread_mutex_unlock(&l->lock);
}

struct call {
    struct loop_post post;
    void (*fn)(void *arg);
    void *arg;
    uv_sem_t done;
};

static void run_call(struct loop_post *p)
{
    struct call *call = LIST_ENTRY(p, struct call, post);
    call->fn(call->arg);
    uv_sem_post(&call->done);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct call call = { .post.fn = run_call, .fn = fn, .arg = arg };
    uv_sem_init(&call.done, 0);
    loop_post(l, &call.post);
    uv_sem_wait(&call.done);
    uv_sem_destroy(&call.done);
}

/* One loop */

static void on_wake(uv_async_t *wake)
{
    run_posts(LIST_ENTRY(wake, struct loop, wake));
}

#define MANY_CLOSED 16

/* Loop 0, for all. What a crowd of connections leaves behind goes back to the system when no more of them go. */
static void give_memory_back(struct loop_group *g)
{
    int closed = atomic_exchange(&g->closed_conns, 0);
    mem_rest();
    if (closed == 0 && g->many_closed)
        mem_trim();
    g->many_closed = closed >= MANY_CLOSED || (g->many_closed && closed > 0);
}

static void on_tick(uv_timer_t *tick)
{
    struct loop *l = LIST_ENTRY(tick, struct loop, tick);
    conns_tick(l);
    if (l->index == 0)
        give_memory_back(l->group);
}

static void on_again(uv_idle_t *again)
{
    uv_idle_stop(again);
    conns_run_kicked(LIST_ENTRY(again, struct loop, again));
}

void loop_come_round(struct loop *l)
{
    uv_idle_start(&l->again, on_again);
}

void loop_tick_within(struct loop *l, uint64_t ms)
{
    if (ms >= uv_timer_get_repeat(&l->tick))
        return;
    l->ticked_ms = uv_now(&l->uv);
    uv_timer_set_repeat(&l->tick, ms != 0 ? ms : 1);
    uv_timer_again(&l->tick);
}

/* Signals are the main thread's affair. Above all SIGPIPE: libuv writes without MSG_NOSIGNAL, and a
 * thread that has it blocked gets the error code alone. */
static void block_signals(void)
{
    static const int own_faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP };
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < ARRAY_LEN(own_faults); i++)
        sigdelset(&set, own_faults[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void *run_loop(void *arg)
{
    struct loop *l = arg;
    char name[16];
    snprintf(name, sizeof(name), "oar-loop-%d", l->index);
    pthread_setname_np(pthread_self(), name);
    block_signals();
    uv_run(&l->uv, UV_RUN_DEFAULT);
    run_posts(l); /* those that came while the last connections closed */
    return NULL;
}

static void stop_loop(void *arg)
{
    struct loop *l = arg;
    l->stopping = true;
    conns_close_all(l);
    uv_close((uv_handle_t *)&l->tick, NULL);
    uv_close((uv_handle_t *)&l->again, NULL);
    pthread_mutex_lock(&l->lock);
    l->deaf = true;
    uv_close((uv_handle_t *)&l->wake, NULL);
    pthread_mutex_unlock(&l->lock);
}

static void deinit_loop(struct loop *l)
{
    uv_loop_close(&l->uv);
    buf_deinit(&l->room);
    pthread_mutex_destroy(&l->lock);
}

/* Where a later step fails, running the loop once lets go of the handles of the earlier ones. */
static int init_loop(struct loop *l)
{
    int fault = uv_loop_init(&l->uv);
    if (fault != 0)
        return fault;
    pthread_mutex_init(&l->lock, NULL);
    list_init(&l->posts);
    list_init(&l->conns);
    list_init(&l->kicked);
    uv_timer_init(&l->uv, &l->tick);
    uv_idle_init(&l->uv, &l->again);
    fault = uv_async_init(&l->uv, &l->wake, on_wake);
    if (fault == 0) {
        l->ticked_ms = uv_now(&l->uv);
        uint64_t period = l->index == 0 ? REST_MS : TICK_MS;
        uv_timer_start(&l->tick, on_tick, period, period);
        return 0;
    }
    uv_close((uv_handle_t *)&l->tick, NULL);
    uv_close((uv_handle_t *)&l->again, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    deinit_loop(l);
    return fault;
}

static int start_loop(struct loop_group *g, int index)
{
    struct loop *l = &g->loop[index];
    l->group = g;
    l->index = index;
    int fault = init_loop(l);
    if (fault != 0)
        return fault;
    fault = pthread_create(&l->thread, NULL, run_loop, l);
    if (fault == 0)
        return 0;
    stop_loop(l);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    deinit_loop(l);
    return uv_translate_sys_error(fault);
}

/* The group */

status loop_group_start(int count, struct loop_group **out, struct err *e)
{
    if (count < 1 || count > LOOPS_MAX)
        return err_set(e, INVALID, "%d event loops: must be from 1 to %d", count, LOOPS_MAX);
    struct loop_group *g = mem_zalloc(sizeof(*g) + (size_t)count * sizeof(g->loop[0]));
    list_init(&g->listeners);
    for (; g->count < count; g->count++) {
        int fault = start_loop(g, g->count);
        if (fault != 0) {
            int failed = g->count;
            loop_group_stop(g);
            return err_set(e, IO_FAILED, "event loop %d of %d could not start: %s", failed, count,
                           uv_strerror(fault));
        }
    }
    *out = g;
    return OK;
}

static void close_listeners(void *arg)
{
    listeners_close(arg);
}

/* Listeners first and waited for: after that no loop is dealt a connection any more. */
void loop_group_stop(struct loop_group *g)
{
    if (g->count > 0)
        loop_call(&g->loop[0], close_listeners, g);
    for (int i = 0; i < g->count; i++)
        loop_call(&g->loop[i], stop_loop, &g->loop[i]);
    for (int i = 0; i < g->count; i++) {
        pthread_join(g->loop[i].thread, NULL);
        deinit_loop(&g->loop[i]);
    }
    listeners_free(g);
    mem_free(g);
}

int loop_group_count(const struct loop_group *g)
{
    return g->count;
}

struct loop *loop_group_at(struct loop_group *g, int index)
{
    return &g->loop[index];
}

int loop_group_open_conns(const struct loop_group *g)
{
    return atomic_load(&g->open_conns);
}

int loop_index(const struct loop *l)
{
    return l->index;
}
