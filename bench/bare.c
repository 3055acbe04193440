/* How much of a model's time its products and convolutions take when each runs alone.
 *
 *   bench_bare MODEL[:BATCH:LENGTH] [THREADS]
 *
 * Each step of the plan that multiplies (conv2d, matmul, attention, ...: whatever flops are counted of) is run alone, again
 * and again on the same arrays, and the medians are added up; then the whole graph runs, alternating with them in rounds.
 * Printed: the sum, the whole, and the sum's share of the whole, which is 100 % where nothing but the bare primitives costs
 * time. */
#include "feeds.h"

#include "base/clock.h"
#include "base/mem.h"
#include "exec/exec.h"
#include "exec/internal.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 5
#define AGAIN  7
#define STEPS  2048

struct subject {
    struct model *model;
    struct plan *plan;
    struct tensor *in, *out;
    uint8_t *workspace;
    double alone[STEPS][ROUNDS * AGAIN]; /* ms */
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof(*v), by_value);
    return v[n / 2];
}

static const void *place_data(const struct subject *s, const struct place *p)
{
    switch (p->kind) {
    case PLACE_CONSTANT: return p->data;
    case PLACE_GIVEN: return s->in[p->index].data;
    case PLACE_WORKSPACE: return s->workspace + p->offset;
    default: return NULL;
    }
}

static double run_alone(const struct subject *s, const struct plan_step *step)
{
    const void *in[64];
    void *out[64];
    struct err e;
    struct kernel_io io = {
        .in = in, .out = out, .scratch = s->workspace + s->plan->scratch_offset, .err = &e
    };
    for (int i = 0; i < step->in_count && i < 64; i++)
        in[i] = place_data(s, &step->in[i]);
    for (int i = 0; i < step->out_count && i < 64; i++)
        out[i] = s->workspace + step->out[i].offset;
    uint64_t begin = clock_ns();
    if (step->kernel->run(step->state, &io) != OK)
        fprintf(stderr, "%s: %s\n", step->node->name, e.text);
    return (double)(clock_ns() - begin) / 1e6;
}

/* A plan for the feeds, whose steps can be run from outside. */
static status open_plan(struct subject *s, struct err *e)
{
    struct plan *p = NULL;
    struct exec *x = exec_new();
    status code = OK;
    for (int i = 0; i < 20 && code == OK && (p == NULL || p->is_raw); i++) {
        code = exec_run(x, s->model, s->in, s->out, e);
        p = LIST_ENTRY(s->model->plans.next, struct plan, node); /* the one made last */
    }
    if (p != NULL && p->next != p->graph->node_count)
        code = err_set(e, UNSUPPORTED, "it takes several plans");
    if (code == OK) {
        s->plan = plan_ref(p);
        s->workspace = mem_try_aligned(p->workspace_bytes + 64, 64);
        for (size_t i = 0; i < p->workspace_bytes / sizeof(float); i++)
            ((float *)s->workspace)[i] = 0.01f;
    }
    exec_free(x);
    return code;
}

static bool multiplies(const struct plan_step *s)
{
    return s->kernel != NULL && s->flops > 0;
}

static void measure(struct subject *s)
{
    struct exec *x = exec_new();
    static double whole[ROUNDS * AGAIN];
    int counted = 0, steps = s->plan->step_count < STEPS ? s->plan->step_count : STEPS;
    double sum = 0;
    for (int i = 0; i < 3; i++)
        exec_run(x, s->model, s->in, s->out, NULL);
    for (int r = 0; r < ROUNDS; r++) {
        for (int k = 0; k < steps; k++)
            for (int i = 0; i < AGAIN && multiplies(&s->plan->steps[k]); i++)
                s->alone[k][r * AGAIN + i] = run_alone(s, &s->plan->steps[k]);
        for (int i = 0; i < AGAIN; i++) {
            uint64_t begin = clock_ns();
            exec_run(x, s->model, s->in, s->out, NULL);
            whole[r * AGAIN + i] = (double)(clock_ns() - begin) / 1e6;
        }
    }
    for (int k = 0; k < steps; k++)
        if (multiplies(&s->plan->steps[k])) {
            sum += median(s->alone[k], ROUNDS * AGAIN);
            counted++;
        }
    double all = median(whole, ROUNDS * AGAIN);
    printf("%d of %d steps multiply; alone they take %.2f ms, the whole graph %.2f ms: %.1f %%\n",
           counted, s->plan->step_count, sum, all, 100 * sum / all);
    exec_free(x);
}

int main(int argc, char **argv)
{
    static struct subject s;
    struct arena a;
    struct err e = { "" };
    long long batch = 1, length = 128;
    int outputs;
    if (argc < 2)
        return 2;
    char *colon = strchr(argv[1], ':');
    if (colon != NULL) {
        *colon = '\0';
        sscanf(colon + 1, "%lld:%lld", &batch, &length);
    }
    const struct model_options how = { .threads = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1 };
    if (model_open(argv[1], &how, &s.model, &e) != OK) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    arena_init(&a, 0);
    s.in = feeds_make(s.model, batch, length, &a);
    model_outputs(s.model, &outputs);
    s.out = arena_zalloc(&a, ((size_t)outputs + 1) * sizeof(*s.out));
    status code = open_plan(&s, &e);
    if (code == OK)
        measure(&s);
    else
        fprintf(stderr, "%s\n", e.text);
    plan_unref(s.plan);
    mem_free(s.workspace);
    arena_deinit(&a);
    model_unref(s.model);
    return code == OK ? 0 : 1;
}
