/* Executors side by side on one model: do runs a second grow with the processors?
 *
 *   bench_side MODEL[:BATCH:LENGTH] [SECONDS]
 *
 * 1, 2, ... executors, each on a thread of its own and pinned to a processor of its own, run the model for SECONDS (2). Weights
 * and plans are shared. Printed: runs a second, and how many times those of one executor that is. */
#include "feeds.h"

#include "base/clock.h"
#include "exec/exec.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MOST 64

struct worker {
    pthread_t thread;
    struct model *model;
    struct tensor *in;
    int processor;
    double seconds;
    uint64_t runs, ns;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct exec *x = exec_new();
    struct arena a;
    cpu_set_t mine;
    int outputs;
    CPU_ZERO(&mine);
    CPU_SET(w->processor, &mine);
    pthread_setaffinity_np(pthread_self(), sizeof(mine), &mine);
    arena_init(&a, 0);
    model_outputs(w->model, &outputs);
    struct tensor *out = arena_zalloc(&a, ((size_t)outputs + 1) * sizeof(*out));
    for (int i = 0; i < 2; i++)
        exec_run(x, w->model, w->in, out, NULL);
    uint64_t begin = clock_ns(), end = begin + (uint64_t)(w->seconds * 1e9);
    while (clock_ns() < end)
        w->runs += exec_run(x, w->model, w->in, out, NULL) == OK;
    w->ns = clock_ns() - begin;
    arena_deinit(&a);
    exec_free(x);
    return NULL;
}

static double runs_a_second(struct model *m, struct tensor *in, int count, double seconds)
{
    static struct worker w[MOST];
    double rate = 0;
    for (int i = 0; i < count; i++) {
        w[i] = (struct worker){ .model = m, .in = in, .processor = i, .seconds = seconds };
        pthread_create(&w[i].thread, NULL, work, &w[i]);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(w[i].thread, NULL);
        rate += (double)w[i].runs / ((double)w[i].ns / 1e9);
    }
    return rate;
}

int main(int argc, char **argv)
{
    struct model *m;
    struct arena a;
    struct err e = { "" };
    long long batch = 1, length = 128, processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (argc < 2)
        return 2;
    char *colon = strchr(argv[1], ':');
    if (colon != NULL) {
        *colon = '\0';
        sscanf(colon + 1, "%lld:%lld", &batch, &length);
    }
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2, one = 0;
    if (model_open(argv[1], NULL, &m, &e) != OK) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    arena_init(&a, 0);
    struct tensor *in = feeds_make(m, batch, length, &a);
    printf("| executors | runs a second | times one |\n|---|---|---|\n");
    for (int n = 1; n <= processors && n <= MOST; n *= 2) {
        double rate = runs_a_second(m, in, n, seconds);
        one = n == 1 ? rate : one;
        printf("| %d | %.1f | %.2f |\n", n, rate, one > 0 ? rate / one : 0);
    }
    arena_deinit(&a);
    model_unref(m);
    return 0;
}
