#include "base/workers.h"

#include "base/mem.h"

#include <pthread.h>
#include <signal.h>

struct worker {
    pthread_t thread;
    struct workers *pool;
    int index;
};

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct list queue; /* guarded by lock */
    int queued;        /* guarded by lock */
    bool stopping;     /* guarded by lock */
    int queue_max, count;
    struct worker worker[];
};

/* The next job, or NULL when the pool is stopping and the queue is empty. */
static struct job *next_job(struct workers *w)
{
    struct job *j = NULL;
    pthread_mutex_lock(&w->lock);
    while (list_empty(&w->queue) && !w->stopping)
        pthread_cond_wait(&w->ready, &w->lock);
    if (!list_empty(&w->queue)) {
        j = LIST_ENTRY(w->queue.next, struct job, node);
        list_remove(&j->node);
        w->queued--;
    }
    pthread_mutex_unlock(&w->lock);
    return j;
}

static void *work(void *arg)
{
    struct worker *self = arg;
    struct job *j;
    while ((j = next_job(self->pool)) != NULL)
        j->run(j, self->index);
    return NULL;
}

/* Workers take no signals: they belong to the thread that started the pool. */
static void spawn(struct worker *worker)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    if (pthread_create(&worker->thread, NULL, work, worker) != 0)
        worker->pool = NULL;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

struct workers *workers_start(int count, int queue_max)
{
    struct workers *w = mem_zalloc(sizeof(*w) + (size_t)count * sizeof(w->worker[0]));
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->ready, NULL);
    list_init(&w->queue);
    w->queue_max = queue_max;
    w->count = count;
    for (int i = 0; i < count; i++) {
        w->worker[i] = (struct worker){ .pool = w, .index = i };
        spawn(&w->worker[i]);
    }
    return w;
}

bool workers_submit(struct workers *w, struct job *j)
{
    pthread_mutex_lock(&w->lock);
    bool taken = w->queued < w->queue_max && !w->stopping;
    if (taken) {
        list_push_back(&w->queue, &j->node);
        w->queued++;
        pthread_cond_signal(&w->ready);
    }
    pthread_mutex_unlock(&w->lock);
    return taken;
}

int workers_count(const struct workers *w)
{
    return w->count;
}

void workers_stop(struct workers *w)
{
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_broadcast(&w->ready);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->count; i++) {
        if (w->worker[i].pool != NULL)
            pthread_join(w->worker[i].thread, NULL);
        w->worker[i].pool = NULL;
    }
}

void workers_free(struct workers *w)
{
    workers_stop(w);
    pthread_cond_destroy(&w->ready);
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}
