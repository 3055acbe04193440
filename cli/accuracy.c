#include "accuracy.h"

#include "exec/exec.h"

#include <math.h>
#include <stdio.h>

static int64_t place_of_max(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static void add_numbers(struct accuracy *a, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        a->worst = fmax(a->worst, d);
        a->sum += d;
        a->scale = fmax(a->scale, fabs((double)want[i]));
        a->dot += (double)got[i] * want[i];
        a->got_2 += (double)got[i] * got[i];
        a->want_2 += (double)want[i] * want[i];
    }
    a->count += n;
}

void accuracy_add(struct accuracy *a, const struct tensor *got, const struct tensor *want)
{
    const struct shape *s = &want->shape;
    int64_t n = shape_numel(s), row = s->rank > 0 ? s->dim[s->rank - 1] : 1;
    const float *g = got->data, *w = want->data;
    if (got->dtype != DTYPE_F32 || want->dtype != DTYPE_F32 || !shape_eq(&got->shape, s))
        return;
    add_numbers(a, g, w, n);
    for (int64_t i = 0; row > 0 && i + row <= n; i += row) {
        a->rows++;
        a->same += place_of_max(g + i, row) == place_of_max(w + i, row);
    }
}

void accuracy_tell(const struct accuracy *a, const char *output)
{
    double scale = a->scale > 0 ? a->scale : 1, count = a->count > 0 ? (double)a->count : 1;
    double cosine = a->got_2 > 0 && a->want_2 > 0 ? a->dot / sqrt(a->got_2 * a->want_2) : 1;
    if (a->count == 0)
        return;
    fprintf(stderr,
            "%s: against fp32: max %.3g, mean %.3g of the largest magnitude, cosine %.7f, top-1 "
            "the same in %lld of %lld\n",
            output, a->worst / scale, a->sum / count / scale, cosine, (long long)a->same,
            (long long)a->rows);
}

status accuracy_report(const char *model, const struct tensor *in, const struct tensor *out,
                       struct arena *a, struct err *e)
{
    struct model *m;
    int count;
    TRY(model_open(model, NULL, &m, e));
    const struct port *port = model_outputs(m, &count);
    struct tensor *want = arena_zalloc(a, (size_t)(count + 1) * sizeof(*want));
    struct exec *x = exec_new();
    status s = exec_run(x, m, in, want, e);
    for (int i = 0; i < count && s == OK; i++) {
        struct accuracy one = { 0 };
        accuracy_add(&one, &out[i], &want[i]);
        accuracy_tell(&one, port[i].alias);
    }
    exec_free(x);
    model_unref(m);
    return s;
}

/* Both runs' working memory, and what they gave. */
struct pair {
    struct exec *exec[2];
    struct tensor *out[2];
};

static status compare_all(struct model *const *m, struct tensor *const *sample, int count,
                          struct pair *p, struct accuracy *sum, int outputs, struct err *e)
{
    for (int k = 0; k < count; k++) {
        for (int side = 0; side < 2; side++)
            TRY(exec_run(p->exec[side], m[side], sample[k], p->out[side], e));
        for (int i = 0; i < outputs; i++)
            accuracy_add(&sum[i], &p->out[0][i], &p->out[1][i]);
    }
    return OK;
}

status accuracy_compare(struct model *got, struct model *want, struct tensor *const *sample,
                        int count, struct arena *a, struct err *e)
{
    struct model *const m[] = { got, want };
    int outputs;
    const struct port *port = model_outputs(want, &outputs);
    struct accuracy *sum = arena_zalloc(a, (size_t)(outputs + 1) * sizeof(*sum));
    struct pair p;
    for (int i = 0; i < 2; i++) {
        p.exec[i] = exec_new();
        p.out[i] = arena_zalloc(a, (size_t)(outputs + 1) * sizeof(struct tensor));
    }
    status s = compare_all(m, sample, count, &p, sum, outputs, e);
    for (int i = 0; i < outputs && s == OK; i++)
        accuracy_tell(&sum[i], port[i].alias);
    for (int i = 0; i < 2; i++)
        exec_free(p.exec[i]);
    return s;
}
