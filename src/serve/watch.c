#include "serve/watch.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <unistd.h>

#define EVENTS                                                                          \
    (IN_CREATE | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | \
     IN_MODIFY | IN_DELETE_SELF)
#define SOON_NS 500000000
#define CALM_MS 20 /* events come in bursts: the first waits for the others */

struct grave {
    struct list node;
    struct flow *flow;
};

struct watch {
    struct repository *repository;
    pthread_t thread;
    bool started;
    int wake, notify; /* an eventfd; inotify's, or -1 where there is none */
    bool told;        /* that directories cannot be watched */
    pthread_mutex_t lock;
    struct list tasks;  /* struct repository_task; guarded by lock */
    struct list graves; /* guarded by lock */
    bool stopping;      /* guarded by lock */
};

struct watch *watch_new(struct repository *r)
{
    struct watch *w = mem_zalloc(sizeof(*w));
    w->repository = r;
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    pthread_mutex_init(&w->lock, NULL);
    list_init(&w->tasks);
    list_init(&w->graves);
    return w;
}

static void wake(struct watch *w)
{
    uint64_t one = 1;
    if (write(w->wake, &one, sizeof(one)) < 0) {
        /* it is awake already */
    }
}

static void drain(int fd)
{
    char bytes[4096];
    while (fd >= 0 && read(fd, bytes, sizeof(bytes)) > 0)
        continue;
}

/* ---- what it does ---- */

static struct list *take(struct watch *w, struct list *queue)
{
    struct list *l = NULL;
    pthread_mutex_lock(&w->lock);
    if (!list_empty(queue)) {
        l = queue->next;
        list_remove(l);
    }
    pthread_mutex_unlock(&w->lock);
    return l;
}

static bool run_tasks(struct watch *w)
{
    bool any = false;
    for (struct list *l; (l = take(w, &w->tasks)) != NULL;) {
        struct repository_task *t = LIST_ENTRY(l, struct repository_task, node);
        t->err.text[0] = '\0';
        t->result = t->run(w->repository, t, &t->err);
        t->done(t);
        any = true;
    }
    return any;
}

static void empty_graves(struct watch *w)
{
    bool any = false;
    for (struct list *l; (l = take(w, &w->graves)) != NULL; any = true) {
        struct grave *g = LIST_ENTRY(l, struct grave, node);
        flow_destroy(g->flow);
        mem_free(g);
    }
    if (any)
        mem_trim();
}

static bool is_stopping(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    bool stopping = w->stopping;
    pthread_mutex_unlock(&w->lock);
    return stopping;
}

/* Waits for a task, a grave, or files; true: files changed. */
static bool wait_for_work(struct watch *w, int timeout_ms)
{
    struct pollfd fd[2] = { { w->wake, POLLIN, 0 }, { w->notify, POLLIN, 0 } };
    int n = poll(fd, 2, timeout_ms);
    if (n < 0 && errno != EINTR)
        log_line(LOG_ERROR, "serve", "watching for changes: error %d", errno);
    drain(w->wake);
    if (fd[1].revents == 0)
        return false;
    poll(&fd[0], 1, CALM_MS);
    drain(w->notify);
    return true;
}

static int ms_until(uint64_t ns)
{
    uint64_t now = clock_ns();
    if (ns == UINT64_MAX)
        return -1;
    return ns <= now ? 0 : (int)((ns - now) / 1000000) + 1;
}

/* Loading takes a processor for as long as the model is large: threads that answer go before it. (Linux keeps this for each
 * thread.) */
#define KEEPER_NICE 10

static void *keep(void *arg)
{
    struct watch *w = arg;
    setpriority(PRIO_PROCESS, (id_t)gettid(), KEEPER_NICE);
    uint64_t next_ns = clock_ns();
    while (!is_stopping(w)) {
        bool look = wait_for_work(w, ms_until(next_ns)) || clock_ns() >= next_ns;
        if (run_tasks(w) && next_ns > clock_ns() + SOON_NS)
            next_ns = clock_ns() + SOON_NS; /* what was asked for may want to be looked after */
        if (look && !is_stopping(w)) {
            int ms = repository_scan(w->repository);
            next_ns = ms < 0 ? UINT64_MAX : clock_ns() + (uint64_t)ms * 1000000;
        }
        empty_graves(w);
    }
    return NULL;
}

/* ---- life ---- */

void watch_start(struct watch *w)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all,
                    &old); /* signals belong to the thread that started the server */
    w->started = pthread_create(&w->thread, NULL, keep, w) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!w->started)
        log_line(LOG_ERROR, "serve", "no thread to watch models with: nothing will be reloaded");
}

void watch_stop(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_mutex_unlock(&w->lock);
    wake(w);
    if (w->started)
        pthread_join(w->thread, NULL);
    w->started = false;
    for (struct list *l; (l = take(w, &w->tasks)) != NULL;) {
        struct repository_task *t = LIST_ENTRY(l, struct repository_task, node);
        t->result = err_set(&t->err, STOPPING, "the server is stopping");
        t->done(t);
    }
}

void watch_free(struct watch *w)
{
    empty_graves(w);
    close(w->wake);
    if (w->notify >= 0)
        close(w->notify);
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}

/* ---- what others hand it ---- */

void watch_submit(struct watch *w, struct repository_task *t)
{
    pthread_mutex_lock(&w->lock);
    bool taken = !w->stopping;
    if (taken)
        list_push_back(&w->tasks, &t->node);
    pthread_mutex_unlock(&w->lock);
    if (taken) {
        wake(w);
        return;
    }
    t->result = err_set(&t->err, STOPPING, "the server is stopping");
    t->done(t);
}

void watch_bury(struct flow *f, void *arg)
{
    struct watch *w = arg;
    struct grave *g = mem_alloc(sizeof(*g));
    g->flow = f;
    pthread_mutex_lock(&w->lock);
    list_push_back(&w->graves, &g->node);
    pthread_mutex_unlock(&w->lock);
    wake(w);
}

void watch_directory(struct watch *w, const char *path)
{
    if (w->notify < 0 || path == NULL || inotify_add_watch(w->notify, path, EVENTS) >= 0)
        return;
    if (errno == ENOENT || errno == ENOTDIR || w->told)
        return;
    w->told = true;
    log_line(LOG_WARN, "serve",
             "%s: its changes cannot be watched (%s); it is looked at from time to time", path,
             strerror(errno));
}
