/* The figures of the operator graph: what the chain that `--model` means costs more than the engine called directly, and
 * how well two branches of equal cost overlap on two workers.
 *
 *     build/bench_flow MODEL HEAVY_MODEL ROWS */
#include "base/clock.h"
#include "flow/node.h"
#include "flow/service.h"

#include <stdio.h>
#include <stdlib.h>

#define RUNS 20000

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double median_us(uint64_t *ns, int count)
{
    qsort(ns, (size_t)count, sizeof(*ns), by_size);
    return (double)ns[count / 2] / 1000;
}

static struct model *open_or_die(const char *path)
{
    struct model *m;
    struct err e;
    if (model_open(path, NULL, &m, &e) != OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    return m;
}

/* Zeros for every input, with `rows` rows where the first dimension is open. */
static struct named_tensor *make_feeds(const struct model *m, int64_t rows, struct arena *a,
                                       int *count)
{
    const struct port *p = model_inputs(m, count);
    struct named_tensor *t = arena_zalloc(a, (size_t)*count * sizeof(*t));
    for (int i = 0; i < *count; i++) {
        struct tensor *x = &t[i].tensor;
        t[i].name = t[i].alias = str_of(p[i].alias);
        *x = (struct tensor){ .dtype = p[i].dtype, .shape = p[i].shape };
        if (x->shape.dim[0] < 0)
            x->shape.dim[0] = rows;
        x->data = arena_zalloc(a, (size_t)tensor_bytes(x) + 1);
    }
    return t;
}

/* Alternating, so that both see the same machine. */
static void measure_chain(const char *path)
{
    struct model *m = open_or_die(path);
    struct arena a, call;
    struct exec *x = exec_new(), *y = exec_new();
    struct flow *f;
    static uint64_t direct[RUNS], chained[RUNS];
    int inputs;
    arena_init(&a, 0);
    arena_init(&call, 0);
    struct named_tensor *feed = make_feeds(m, 1, &a, &inputs);
    struct tensor in[16], out[16];
    for (int i = 0; i < inputs; i++)
        in[i] = feed[i].tensor;
    if (flow_for_model(m, &(struct flow_options){ .name = "m" }, &f, NULL) != OK)
        exit(1);
    for (int i = 0; i < RUNS; i++) {
        struct infer_request request = { .feed = feed, .feed_count = inputs };
        struct infer_reply reply;
        struct err e;
        struct flow_call c = {
            .request = &request, .reply = &reply, .arena = &call, .exec = y, .err = &e
        };
        uint64_t begin = clock_ns();
        if (exec_run(x, m, in, out, NULL) != OK)
            exit(1);
        uint64_t middle = clock_ns();
        if (flow_start(f, &c) != OK)
            exit(1);
        arena_reset(&call);
        direct[i] = middle - begin;
        chained[i] = clock_ns() - middle;
    }
    double d = median_us(direct, RUNS), g = median_us(chained, RUNS);
    printf("{\"engine_us\":%.3f,\"graph_us\":%.3f,\"more_us\":%.3f}\n", d, g, g - d);
    flow_unref(f);
    model_unref(m);
    exec_free(x);
    exec_free(y);
    arena_deinit(&call);
    arena_deinit(&a);
}

static struct flow *branches(const char *path, int count, const struct flow_env *env,
                             struct arena *a)
{
    struct service s = { 0 };
    struct flow *f;
    struct err e = { "" };
    const char *text = "nodes:\n";
    for (int i = 0; i < count; i++)
        text = arena_printf(a, "%s  - {name: m%d, model: '%s'}\n", text, i, path);
    if (service_from_yaml(str_of(text), "bench", a, &s, &e) != OK ||
        service_open(&s, &(struct flow_options){ .name = "b", .env = env }, false, &f, &e) != OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    return f;
}

static uint64_t run_ns(struct flow *f, struct named_tensor *feed, int inputs, struct exec *x)
{
    struct arena a;
    struct infer_request request = { .feed = feed, .feed_count = inputs };
    struct infer_reply reply;
    struct err e = { "" };
    struct flow_call c = {
        .request = &request, .reply = &reply, .arena = &a, .exec = x, .err = &e
    };
    arena_init(&a, 0);
    uint64_t begin = clock_ns();
    if (flow_run(f, &c) != OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    uint64_t ns = clock_ns() - begin;
    arena_deinit(&a);
    return ns;
}

static void measure_overlap(const char *path, int64_t rows)
{
    enum {
        TRIES = 61
    };
    static uint64_t one[TRIES], two[TRIES];
    struct exec *x = exec_new(), *worker_exec[2] = { exec_new(), exec_new() };
    struct flow_env env = { .workers = workers_start(2, 64), .worker_exec = worker_exec };
    struct arena a;
    int inputs;
    arena_init(&a, 0);
    struct model *m = open_or_die(path);
    struct named_tensor *feed = make_feeds(m, rows, &a, &inputs);
    struct flow *single = branches(path, 1, &env, &a), *both = branches(path, 2, &env, &a);
    for (int i = 0; i < 5; i++)
        run_ns(both, feed, inputs, x);
    for (int i = 0; i < TRIES; i++) {
        one[i] = run_ns(single, feed, inputs, x);
        two[i] = run_ns(both, feed, inputs, x);
    }
    qsort(one, TRIES, sizeof(*one), by_size);
    qsort(two, TRIES, sizeof(*two), by_size);
    printf("{\"one_branch_us\":%.1f,\"two_branches_us\":%.1f,\"ratio\":%.3f,\"ratio_of_least\":%."
           "3f}\n",
           (double)one[TRIES / 2] / 1000, (double)two[TRIES / 2] / 1000,
           (double)two[TRIES / 2] / (double)one[TRIES / 2], (double)two[0] / (double)one[0]);
    flow_unref(single);
    flow_unref(both);
    model_unref(m);
    workers_free(env.workers);
    exec_free(x);
    exec_free(worker_exec[0]);
    exec_free(worker_exec[1]);
    arena_deinit(&a);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench_flow MODEL HEAVY_MODEL ROWS\n");
        return 2;
    }
    measure_chain(argv[1]);
    measure_overlap(argv[2], atol(argv[3]));
    return 0;
}
