#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/workers.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>

#define WORKERS 3

/* A job that says that it runs, then waits to be let go. */
struct gated {
    struct job job;
    sem_t *started, *gate;
    atomic_int *order; /* counts jobs that ran */
    int rank, worker;
};

static void run_gated(struct job *j, int worker)
{
    struct gated *g = (struct gated *)j;
    sem_post(g->started);
    sem_wait(g->gate);
    g->rank = atomic_fetch_add(g->order, 1);
    g->worker = worker;
}

static sem_t started, gate;
static atomic_int order;

static int setup(void **state)
{
    sem_init(&started, 0, 0);
    sem_init(&gate, 0, 0);
    order = 0;
    return 0;
}

static struct gated gated_job(void)
{
    return (struct gated){
        .job.run = run_gated, .started = &started, .gate = &gate, .order = &order, .rank = -1
    };
}

static void open_gate(int count)
{
    while (count-- > 0)
        sem_post(&gate);
}

static void each_worker_runs_one_job_at_a_time(void **state)
{
    struct workers *w = workers_start(WORKERS, 1);
    struct gated jobs[WORKERS];
    bool seen[WORKERS] = { false };
    assert_int_equal(workers_count(w), WORKERS);
    for (int i = 0; i < WORKERS; i++) {
        jobs[i] = gated_job();
        assert_true(workers_submit(w, &jobs[i].job));
        sem_wait(&started); /* hangs unless it runs beside those before it */
    }
    open_gate(WORKERS);
    workers_free(w);
    for (int i = 0; i < WORKERS; i++) {
        assert_in_range(jobs[i].worker, 0, WORKERS - 1);
        assert_false(seen[jobs[i].worker]);
        seen[jobs[i].worker] = true;
    }
}

static void a_full_queue_takes_no_more(void **state)
{
    struct workers *w = workers_start(1, 2);
    struct gated jobs[4];
    for (int i = 0; i < 4; i++)
        jobs[i] = gated_job();
    assert_true(workers_submit(w, &jobs[0].job));
    sem_wait(&started); /* it runs: the queue is empty again */
    assert_true(workers_submit(w, &jobs[1].job));
    assert_true(workers_submit(w, &jobs[2].job));
    assert_false(workers_submit(w, &jobs[3].job));
    open_gate(1);
    sem_wait(&started);
    assert_true(workers_submit(w, &jobs[3].job)); /* not taken before, so it may come again */
    open_gate(3);
    workers_free(w);
    for (int i = 0; i < 4; i++)
        assert_int_equal(jobs[i].rank, i); /* in the order they came */
}

static void *stop(void *w)
{
    workers_stop(w);
    return NULL;
}

static void stopping_runs_what_is_queued(void **state)
{
    struct workers *w = workers_start(1, 100);
    struct gated jobs[50];
    pthread_t stopper;
    for (int i = 0; i < 50; i++) {
        jobs[i] = gated_job();
        assert_true(workers_submit(w, &jobs[i].job));
    }
    sem_wait(&started); /* 49 are behind it */
    assert_int_equal(pthread_create(&stopper, NULL, stop, w), 0);
    open_gate(50);
    pthread_join(stopper, NULL);
    assert_int_equal(order, 50);
    assert_false(workers_submit(w, &jobs[0].job)); /* nobody would run it */
    workers_free(w);
}

static void an_idle_pool_ends(void **state)
{
    workers_free(workers_start(WORKERS, 1));
}

struct counted {
    struct job job;
    atomic_int *total;
};

static void count_and_free(struct job *j, int worker)
{
    struct counted *c = (struct counted *)j;
    atomic_fetch_add(c->total, 1);
    mem_free(c); /* the pool must not look at it again */
}

struct submitter {
    struct workers *w;
    atomic_int *total;
    int taken;
};

static void *submit_many(void *arg)
{
    struct submitter *s = arg;
    for (int i = 0; i < 2000; i++) {
        struct counted *c = mem_alloc(sizeof(*c));
        *c = (struct counted){ .job.run = count_and_free, .total = s->total };
        if (workers_submit(s->w, &c->job))
            s->taken++;
        else
            mem_free(c);
    }
    return NULL;
}

static void any_thread_submits_and_each_job_runs_once(void **state)
{
    struct workers *w = workers_start(WORKERS, 20);
    struct submitter s[3];
    pthread_t thread[3];
    atomic_int total = 0;
    int taken = 0;
    for (int i = 0; i < 3; i++) {
        s[i] = (struct submitter){ .w = w, .total = &total };
        assert_int_equal(pthread_create(&thread[i], NULL, submit_many, &s[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(thread[i], NULL);
        taken += s[i].taken;
    }
    workers_free(w);
    assert_int_equal(total, taken);
    assert_true(taken >= 20);
}

static void note_signal_mask(struct job *j, int worker)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (sigismember(&mask, SIGTERM))
        atomic_fetch_add(((struct counted *)j)->total, 1);
}

static void signals_stay_with_the_starter(void **state)
{
    atomic_int blocked = 0;
    struct workers *w = workers_start(1, 1);
    struct counted c = { .job.run = note_signal_mask, .total = &blocked };
    sigset_t mask;
    assert_true(workers_submit(w, &c.job));
    workers_free(w);
    assert_int_equal(blocked, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGTERM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_worker_runs_one_job_at_a_time, setup),
        cmocka_unit_test_setup(a_full_queue_takes_no_more, setup),
        cmocka_unit_test_setup(stopping_runs_what_is_queued, setup),
        cmocka_unit_test(an_idle_pool_ends),
        cmocka_unit_test(any_thread_submits_and_each_job_runs_once),
        cmocka_unit_test(signals_stay_with_the_starter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
