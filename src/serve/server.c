#include "serve/server.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "crew/crew.h"
#include "serve/grpc.h"
#include "serve/note.h"
#include "serve/notify.h"
#include "serve/shm.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define FILES_BESIDE     256 /* open files that are no connections */
#define QUEUE_PER_WORKER 256
#define DRAIN_LIMIT_MS   30000
#define DRAIN_POLL_MS    5
#define RELOAD_S         10 /* the original's */
#define SETTLE_MS        1000
#define SPARE_BYTES      ((size_t)128 << 20) /* of large bodies, kept for the next ones */

/* ---- starting ---- */

static void signals_of_end(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

/* All that the main thread waits for. */
static void signals_of_all(sigset_t *set)
{
    signals_of_end(set);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
}

static void block_signals(void)
{
    sigset_t set;
    signals_of_all(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log at its ulimit -f is as good as a full disk */
}

/* As many files as the connections may want, where the system allows: systemd and shells begin with 1024. */
static void raise_file_limit(const struct server_options *o)
{
    struct rlimit files;
    rlim_t want =
        o->max_connections > 0 ? (rlim_t)o->max_connections + FILES_BESIDE : RLIM_INFINITY;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= want)
        return;
    files.rlim_cur = want < files.rlim_max ? want : files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < (rlim_t)o->max_connections)
        log_line(LOG_WARN, "serve",
                 "the limit on open files (ulimit -Hn) is %llu: fewer than the %d connections of "
                 "--max-connections want",
                 (unsigned long long)files.rlim_cur, o->max_connections);
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
    s->workers = workers_start(s->worker_count, s->options.queue_size > 0
                                                    ? s->options.queue_size
                                                    : s->worker_count * QUEUE_PER_WORKER);
    s->env.workers = s->workers;
    s->env.worker_exec = s->worker_exec;
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
        lane->scratch.max_depth = s->options.max_json_depth;
        buf_init(&lane->span, LIMIT_CONFIG_BYTES);
        stats_init(&lane->stats);
        h2_pool_init(&lane->h2_pool);
        list_init(&lane->watchers);
    }
    return OK;
}

/* "HOST:PORT", "[::1]:PORT" or "unix:PATH". */
static status listen_too(struct server *s, const char *text, const struct net_handler *h,
                         struct err *e)
{
    struct str host = str_of(text);
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (str_starts(host, "unix:"))
        return loop_group_listen_unix(s->loops, text + 5, h, e);
    if (colon == NULL || !str_to_i64(str_of(colon + 1), &port) || port < 0 || port > 65535)
        return err_set(e, INVALID, "--listen '%s': expected HOST:PORT or unix:PATH", text);
    bool bracketed = text[0] == '[' && colon > text + 2 && colon[-1] == ']';
    char *copy = mem_strdup(text + bracketed);
    copy[colon - text - 2 * bracketed] = '\0';
    status code = loop_group_listen(s->loops, copy, (int)port, h, NULL, e);
    mem_free(copy);
    return code;
}

static status listen_on(struct server *s, struct err *e)
{
    struct net_handler h = conn_handler;
    h.arg = s;
    h.idle_ms = (uint64_t)s->options.idle_timeout_s * 1000;
    h.write_ms = (uint64_t)s->options.write_timeout_s * 1000;
    if (s->options.request_timeout_s > 0)
        h.head_ms = (uint64_t)s->options.request_timeout_s * 1000;
    h.max_input_bytes = s->options.max_body_bytes + LIMIT_HTTP_HEADER_BYTES + LIMIT_RPC_META_BYTES;
    h.tls = s->tls;
    h.tls_required = s->options.tls_required;
    h.proxy_protocol = s->options.proxy_protocol;
    for (int i = 0; i < s->options.bind_count; i++)
        TRY(listen_too(s, s->options.bind[i], &h, e));
    TRY(loop_group_listen(s->loops, s->options.host, s->options.port, &h, &s->port, e));
    if (s->options.prometheus_port == 0)
        return OK;
    status code =
        loop_group_listen(s->loops, s->options.host, s->options.prometheus_port, &h, NULL, e);
    return code == OK ? OK : err_prefix(e, code, "--prometheus-port: ");
}

/* ---- keys and certificates ---- */

static status open_secrets(struct server *s, struct err *e)
{
    const struct server_options *o = &s->options;
    struct keys *keys = NULL;
    status code = OK;
    if ((o->tls_cert != NULL) != (o->tls_key != NULL))
        return err_set(e, INVALID, "--tls-cert and --tls-key: one wants the other");
    if (o->tls_cert == NULL && (o->tls_client_ca != NULL || o->tls_required))
        return err_set(e, INVALID, "--tls-client-ca and --tls-required want a --tls-cert");
    if (o->tls_cert != NULL)
        TRY(net_tls_open(&(struct net_tls_options){ o->tls_cert, o->tls_key, o->tls_client_ca },
                         &s->tls, e));
    if (o->api_keys != NULL)
        code = keys_load(o->api_keys, &keys, e);
    atomic_store(&s->keys, keys);
    return code == OK ? OK : err_prefix(e, code, "--api-keys: ");
}

static void close_secrets(struct server *s)
{
    net_tls_close(s->tls);
    keys_free(atomic_load(&s->keys));
}

/* Keys that were replaced. A request looks at them within one turn of its loop: when each loop has had another, nobody does. */
struct old_keys {
    struct keys *keys;
    atomic_int left; /* loops */
    struct turn {
        struct loop_post post;
        struct old_keys *of;
    } turn[];
};

static void turned(struct loop_post *p)
{
    struct old_keys *old = LIST_ENTRY(p, struct turn, post)->of;
    if (atomic_fetch_sub(&old->left, 1) != 1)
        return;
    keys_free(old->keys);
    mem_free(old);
}

static void free_when_unseen(struct server *s, struct keys *keys)
{
    struct old_keys *old = mem_zalloc(sizeof(*old) + (size_t)s->lane_count * sizeof(old->turn[0]));
    old->keys = keys;
    atomic_init(&old->left, s->lane_count);
    for (int i = 0; i < s->lane_count; i++) {
        old->turn[i] = (struct turn){ .post = { .fn = turned }, .of = old };
        loop_post(s->lane[i].loop, &old->turn[i].post);
    }
}

static void reload_keys(struct server *s)
{
    struct err e = { "" };
    struct keys *fresh;
    if (s->options.api_keys == NULL)
        return;
    if (keys_load(s->options.api_keys, &fresh, &e) != OK)
        log_line(LOG_WARN, "serve", "the old keys stay: %s", e.text);
    else
        free_when_unseen(s, atomic_exchange(&s->keys, fresh));
}

static void reload_secrets(struct server *s)
{
    struct err e = { "" };
    if (s->tls != NULL && net_tls_reload(s->tls, &e) != OK)
        log_line(LOG_WARN, "serve", "the old certificate stays: %s", e.text);
    reload_keys(s);
}

static uint64_t take_turn(struct loop_watch *w)
{
    return crew_turn(LIST_ENTRY(w, struct server, crew_watch)->crew);
}

static status start_crew(struct server *s, struct err *e)
{
    TRY(crew_open(s->options.crew_fd, &s->crew, e));
    s->crew_watch.fn = take_turn;
    return loop_watch(s->lane[0].loop, &s->crew_watch, crew_poll_fd(s->crew), e);
}

static status start(struct server *s, struct err *e)
{
    const struct repository_options models = {
        .server = &s->options, .env = &s->env, .changed = lanes_refresh, .arg = s
    };
    const struct trace_options trace = { s->options.trace_file, s->options.trace_endpoint,
                                         s->options.trace_rate };
    block_signals();
    raise_file_limit(&s->options);
    TRY(access_log_open(s->options.access_log, s->options.access_sample, &s->access, e));
    TRY(tracer_open(&trace, &s->tracer, e));
    if (s->options.shared_memory)
        s->regions = shm_table_new();
    s->trace = s->env.trace = trace_new();
    if (s->options.record != NULL)
        TRY(recorder_open(&(struct recorder_options){ s->options.record, s->options.record_share,
                                                      s->options.record_bytes },
                          &s->recorder, e));
    TRY(open_secrets(s, e));
    TRY(repository_open(&models, &s->models, e));
    TRY(start_threads(s, e));
    if (s->options.crew_fd > 0)
        TRY(start_crew(s, e));
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
    if (o->max_header_bytes == 0 || o->max_header_bytes > LIMIT_HTTP_HEADER_BYTES)
        o->max_header_bytes = LIMIT_HTTP_HEADER_BYTES;
    if (o->max_streams == 0)
        o->max_streams = LIMIT_H2_STREAMS;
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
    mem_keep(SPARE_BYTES);
    atomic_store(&s->ready, true);
    notify_ready(s);
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

/* Waits until nobody is owed an answer. A second signal ends the process; a peer that never reads its answer is not
 * waited for longer than the limit. */
static void wait_for_drain(struct server *s)
{
    const struct timespec poll = { 0, DRAIN_POLL_MS * 1000000 };
    sigset_t set;
    signals_of_end(&set);
    for (int ms = 0; ms < DRAIN_LIMIT_MS; ms += DRAIN_POLL_MS) {
        if (server_calls(s) == 0 && loop_group_open_conns(s->loops) == 0)
            return;
        if (sigtimedwait(&set, NULL, &poll) > 0)
            _exit(1);
    }
    log_line(LOG_WARN, "serve", "%d connections did not end within %d s and are dropped",
             loop_group_open_conns(s->loops), DRAIN_LIMIT_MS / 1000);
}

/* Log files that were renamed are left, and begun anew under their paths. */
static void reopen_logs(struct server *s)
{
    struct err e = { "" };
    if (access_log_reopen(s->access, &e) != OK)
        log_line(LOG_WARN, "serve", "the old access log stays: %s", e.text);
    if (tracer_reopen(s->tracer, &e) != OK)
        log_line(LOG_WARN, "serve", "the old file of traces stays: %s", e.text);
}

static void reload(struct server *s, int signal_number)
{
    bool all = signal_number == SIGHUP;
    log_line(LOG_INFO, "serve",
             all ? "SIGHUP: reading keys and certificates again, opening log files anew"
                 : "SIGUSR1: opening log files anew");
    notify_reloading();
    reopen_logs(s);
    if (all)
        reload_secrets(s);
    notify_ready(s);
}

/* The next signal, with the watchdog hearing of us meanwhile. */
static int next_signal(struct server *s)
{
    const struct timespec every = notify_beat_every();
    bool watched = every.tv_sec > 0 || every.tv_nsec > 0;
    sigset_t set;
    int n;
    signals_of_all(&set);
    do {
        if (watched)
            notify_beat(s);
        n = watched ? sigtimedwait(&set, NULL, &every) : sigwaitinfo(&set, NULL);
    } while (n < 0);
    return n;
}

int server_wait(struct server *s)
{
    int n;
    while (n = next_signal(s), n == SIGHUP || n == SIGUSR1)
        reload(s, n);
    log_line(LOG_INFO, "serve", "%s: answering what is admitted, then ending",
             n == SIGTERM ? "SIGTERM" : "SIGINT");
    notify_stopping();
    server_drain(s);
    wait_for_drain(s);
    return 0;
}

/* A call may be in the hands of a thread that no pool knows (a batch's): all must have come home before their loops end. */
static void wait_for_calls(const struct server *s)
{
    const struct timespec poll = { 0, 1000000 };
    for (int ms = 0; server_calls(s) > 0 && ms < DRAIN_LIMIT_MS; ms++)
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
        buf_deinit(&s->lane[i].span);
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
    if (s->crew != NULL && s->lane != NULL)
        loop_unwatch(s->lane[0].loop, &s->crew_watch);
    crew_close(s->crew);
    stop_threads(s);
    mem_keep(0);
    repository_close(s->models);
    recorder_close(s->recorder);
    trace_free(s->trace);
    close_secrets(s);
    tracer_close(s->tracer);
    access_log_close(s->access);
    shm_table_free(s->regions);
    mem_free(s);
}
