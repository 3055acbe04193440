#include "serve/server.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/grpc.h"
#include "serve/internal.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#define QUEUE_PER_WORKER 256
#define DRAIN_LIMIT_MS   30000
#define DRAIN_POLL_MS    5
#define RELOAD_S         10 /* the original's */
#define SETTLE_MS        1000

/* ---- starting ---- */

static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int loop_count(int threads)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return processors > 0 && threads > processors ? (int)processors : threads;
}

static status start_threads(struct server *s, struct err *e)
{
    s->lane_count = loop_count(s->options.threads);
    s->worker_count = s->options.threads;
    s->worker_exec = mem_zalloc((size_t)s->worker_count * sizeof(*s->worker_exec));
    for (int i = 0; i < s->worker_count; i++)
        s->worker_exec[i] = exec_new();
    s->workers = workers_start(s->worker_count, s->worker_count * QUEUE_PER_WORKER);
    s->env = (struct flow_env){ s->workers, s->worker_exec };
    TRY(loop_group_start(s->lane_count, &s->loops, e));
    s->lane = mem_zalloc((size_t)s->lane_count * sizeof(*s->lane));
    for (int i = 0; i < s->lane_count; i++) {
        struct lane *lane = &s->lane[i];
        lane->server = s;
        lane->loop = loop_group_at(s->loops, i);
        lane->exec = exec_new();
        list_init(&lane->conns);
        list_init(&lane->spare);
        arena_init(&lane->scratch, 0);
        stats_init(&lane->stats);
        h2_pool_init(&lane->h2_pool);
        list_init(&lane->watchers);
    }
    return OK;
}

static status listen_on(struct server *s, struct err *e)
{
    struct net_handler h = conn_handler;
    h.arg = s;
    h.max_input_bytes = s->options.max_body_bytes + LIMIT_HTTP_HEADER_BYTES + LIMIT_RPC_META_BYTES;
    return loop_group_listen(s->loops, s->options.host, s->options.port, &h, &s->port, e);
}

static status start(struct server *s, struct err *e)
{
    const struct repository_options models = {
        .server = &s->options, .env = &s->env, .changed = lanes_refresh, .arg = s
    };
    block_signals();
    if (s->options.record != NULL)
        TRY(recorder_open(&(struct recorder_options){ s->options.record, s->options.record_share,
                                                      s->options.record_bytes },
                          &s->recorder, e));
    TRY(repository_open(&models, &s->models, e));
    TRY(start_threads(s, e));
    TRY(listen_on(s, e));
    repository_watch(s->models);
    return OK;
}

static void set_defaults(struct server_options *o)
{
    if (o->host == NULL)
        o->host = "0.0.0.0";
    if (o->threads < 1)
        o->threads = 4;
    if (o->max_body_bytes == 0)
        o->max_body_bytes = LIMIT_BODY_BYTES;
    if (o->version_policy == NULL)
        o->version_policy = "latest";
    if (o->reload_interval_s == 0)
        o->reload_interval_s = RELOAD_S;
    if (o->settle_ms == 0)
        o->settle_ms = SETTLE_MS;
}

status server_start(const struct server_options *opt, struct server **out, struct err *e)
{
    uint64_t begin = clock_ns();
    struct server *s = mem_zalloc(sizeof(*s));
    s->options = *opt;
    s->start_us = clock_wall_us();
    set_defaults(&s->options);
    status code = start(s, e);
    if (code != OK) {
        server_free(s);
        return code;
    }
    atomic_store(&s->ready, true);
    if (!opt->quiet)
        ready_print(s, begin);
    *out = s;
    return OK;
}

int server_port(const struct server *s)
{
    return s->port;
}

/* ---- stopping ---- */

static void drain_lane(struct loop_post *p)
{
    struct lane *lane = LIST_ENTRY(p, struct lane, drain);
    grpc_models_changed(lane);
    for (struct list *l = lane->conns.next, *next; l != &lane->conns; l = next) {
        next = l->next;
        conn_drain(LIST_ENTRY(l, struct conn, node));
    }
}

void server_drain(struct server *s)
{
    if (atomic_exchange(&s->draining, true))
        return;
    loop_group_stop_listening(s->loops);
    for (int i = 0; i < s->lane_count; i++) {
        s->lane[i].drain.fn = drain_lane;
        loop_post(s->lane[i].loop, &s->lane[i].drain);
    }
}

static void signals_of_end(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

/* Waits until nobody is owed an answer. A second signal ends the process; a peer that never reads its answer is not
 * waited for longer than the limit. */
static void wait_for_drain(struct server *s)
{
    const struct timespec poll = { 0, DRAIN_POLL_MS * 1000000 };
    sigset_t set;
    signals_of_end(&set);
    for (int ms = 0; ms < DRAIN_LIMIT_MS; ms += DRAIN_POLL_MS) {
        if (atomic_load(&s->calls) == 0 && loop_group_open_conns(s->loops) == 0)
            return;
        if (sigtimedwait(&set, NULL, &poll) > 0)
            _exit(1);
    }
    log_line(LOG_WARN, "serve", "%d connections did not end within %d s and are dropped",
             loop_group_open_conns(s->loops), DRAIN_LIMIT_MS / 1000);
}

int server_wait(struct server *s)
{
    sigset_t set;
    int signal_number = 0;
    signals_of_end(&set);
    while (sigwait(&set, &signal_number) != 0)
        continue;
    log_line(LOG_INFO, "serve", "%s: answering what is admitted, then ending",
             signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
    server_drain(s);
    wait_for_drain(s);
    return 0;
}

/* A call may be in the hands of a thread that no pool knows (a batch's): all must have come home before their loops end. */
static void wait_for_calls(const struct server *s)
{
    const struct timespec poll = { 0, 1000000 };
    for (int ms = 0; atomic_load(&s->calls) > 0 && ms < DRAIN_LIMIT_MS; ms++)
        nanosleep(&poll, NULL);
}

/* Workers end first, so that nobody posts to a loop that has ended; the pool itself is there as long as a loop may want to
 * submit to it. Calls that workers bring home are answered or dropped by the loops before these end. */
static void stop_threads(struct server *s)
{
    if (s->workers != NULL)
        workers_stop(s->workers);
    if (s->loops != NULL)
        loop_group_stop(s->loops);
    if (s->workers != NULL)
        workers_free(s->workers);
    for (int i = 0; s->lane != NULL && i < s->lane_count; i++) {
        calls_drop_spare(&s->lane[i]);
        table_unref(s->lane[i].table);
        traffic_unref(s->lane[i].pick.traffic);
        arena_deinit(&s->lane[i].scratch);
        stats_deinit(&s->lane[i].stats);
        h2_pool_deinit(&s->lane[i].h2_pool);
        exec_free(s->lane[i].exec);
    }
    for (int i = 0; i < s->worker_count; i++)
        exec_free(s->worker_exec[i]);
    mem_free(s->lane);
    mem_free(s->worker_exec);
}

void server_free(struct server *s)
{
    if (s == NULL)
        return;
    if (s->models != NULL) /* first: it posts to the loops */
        repository_stop(s->models);
    if (s->loops != NULL && s->lane != NULL) {
        server_drain(s);
        wait_for_calls(s);
    }
    stop_threads(s);
    repository_close(s->models);
    recorder_close(s->recorder);
    mem_free(s);
}
