/* What a request of a length never seen before costs, against one of a length seen: the price of planning.
 *
 *   bench_lengths MODEL[:FIRST:STEP:COUNT] ...
 *
 * Feeds are made up (feeds.h). Lengths are FIRST, FIRST + STEP, ... (8, 3, 60 where nothing is said), in mixed order, a fifth of them to warm up.
 * Each other one is run once (never seen), then nine times more (seen; the median of these). Printed is the median over the
 * lengths, and the same of the ratio. Markdown. */
#include "feeds.h"

#include "base/clock.h"
#include "base/str.h"
#include "exec/exec.h"
#include "exec/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 512
#define AGAIN     9

struct series {
    int64_t first, step, count;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof(*v), by_value);
    return n > 0 ? v[n / 2] : 0;
}

/* Milliseconds of one run; below 0: it failed, and said why. */
static double run(struct exec *x, struct model *m, int64_t length)
{
    struct arena a;
    struct err e = { "" };
    int out_count;
    arena_init(&a, 0);
    struct tensor *in = feeds_make(m, 1, length, &a);
    model_outputs(m, &out_count);
    struct tensor *out = arena_zalloc(&a, ((size_t)out_count + 1) * sizeof(*out));
    uint64_t begin = clock_ns();
    status s = exec_run(x, m, in, out, &e);
    double ms = (double)(clock_ns() - begin) / 1e6;
    if (s != OK)
        fprintf(stderr, "length %lld: %s\n", (long long)length, e.text);
    arena_deinit(&a);
    return s == OK ? ms : -1;
}

static int measure(struct model *m, const struct series *s, const char *name)
{
    static double seen[COUNT_MAX], unseen[COUNT_MAX], ratio[COUNT_MAX], again[AGAIN];
    struct exec *x = exec_new();
    int kept = 0;
    for (int64_t i = 0; i < s->count; i++) {
        int64_t length = s->first + s->step * (i * 37 % s->count);
        double once = run(x, m, length);
        for (int k = 0; k < AGAIN && once >= 0; k++)
            again[k] = run(x, m, length);
        if (once < 0) {
            exec_free(x);
            return 1;
        }
        if (i < s->count / 5)
            continue;
        unseen[kept] = once;
        seen[kept] = median(again, AGAIN);
        ratio[kept] = once / seen[kept];
        kept++;
    }
    exec_free(x);
    printf("| %s | %.4f | %.4f | %.2f |\n", name, median(seen, kept), median(unseen, kept),
           median(ratio, kept));
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0;
    printf("| model | a length seen, ms | never seen, ms | ratio |\n|---|---|---|---|\n");
    for (int i = 1; i < argc; i++) {
        struct series s = { 8, 3, 60 };
        char *colon = strchr(argv[i], ':');
        struct err e = { "" };
        struct model *m;
        if (colon != NULL) {
            *colon = '\0';
            char *end = colon + 1;
            s.first = strtoll(end, &end, 10);
            s.step = strtoll(end + (*end == ':'), &end, 10);
            s.count = strtoll(end + (*end == ':'), &end, 10);
        }
        if (s.count < 5 || s.count > COUNT_MAX || s.count % 37 == 0 || s.first < 1 || s.step < 1) {
            fprintf(stderr, "%s: expected MODEL:FIRST:STEP:COUNT\n", argv[i]);
            return 2;
        }
        if (model_open(argv[i], NULL, &m, &e) != OK) {
            fprintf(stderr, "%s\n", e.text);
            failed = 1;
            continue;
        }
        failed |= measure(m, &s, argv[i]);
        model_unref(m);
        fflush(stdout);
    }
    return failed;
}
