#include "accuracy.h"

#include "exec/exec.h"
#include "exec/model.h"

#include <math.h>
#include <stdio.h>

struct accuracy {
    double worst, mean, cosine; /* differences over the largest magnitude */
    int64_t rows, same; /* rows of the last dimension; those with their maximum in the same place */
};

static int64_t place_of_max(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static void compare_numbers(const float *got, const float *want, int64_t n, struct accuracy *out)
{
    double scale = 0, dot = 0, got_2 = 0, want_2 = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        out->worst = fmax(out->worst, d);
        out->mean += d;
        scale = fmax(scale, fabs((double)want[i]));
        dot += (double)got[i] * want[i];
        got_2 += (double)got[i] * got[i];
        want_2 += (double)want[i] * want[i];
    }
    scale = scale > 0 ? scale : 1;
    out->worst /= scale;
    out->mean /= scale * (double)(n > 0 ? n : 1);
    out->cosine = got_2 > 0 && want_2 > 0 ? dot / sqrt(got_2 * want_2) : 1;
}

static void compare(const struct tensor *got, const struct tensor *want, struct accuracy *out)
{
    const struct shape *s = &want->shape;
    int64_t n = shape_numel(s), row = s->rank > 0 ? s->dim[s->rank - 1] : 1;
    const float *g = got->data, *w = want->data;
    *out = (struct accuracy){ 0 };
    compare_numbers(g, w, n, out);
    for (int64_t i = 0; row > 0 && i + row <= n; i += row) {
        out->rows++;
        out->same += place_of_max(g + i, row) == place_of_max(w + i, row);
    }
}

static void tell(const struct port *port, const struct tensor *got, const struct tensor *want)
{
    struct accuracy a;
    if (got->dtype != DTYPE_F32 || !shape_eq(&got->shape, &want->shape))
        return;
    compare(got, want, &a);
    fprintf(
        stderr,
        "%s: against fp32: max %.3g, mean %.3g of the largest magnitude, cosine %.7f, top-1 the "
        "same in %lld of %lld\n",
        port->alias, a.worst, a.mean, a.cosine, (long long)a.same, (long long)a.rows);
}

static status run_plain(struct model *m, const struct tensor *in, const struct tensor *out,
                        struct arena *a, struct err *e)
{
    int count;
    const struct port *port = model_outputs(m, &count);
    struct tensor *want = arena_zalloc(a, (size_t)(count + 1) * sizeof(*want));
    struct exec *x = exec_new();
    status s = exec_run(x, m, in, want, e);
    for (int i = 0; i < count && s == OK; i++)
        tell(&port[i], &out[i], &want[i]);
    exec_free(x);
    return s;
}

status accuracy_report(const char *model, const struct tensor *in, const struct tensor *out,
                       struct arena *a, struct err *e)
{
    struct model *m;
    TRY(model_open(model, NULL, &m, e));
    status s = run_plain(m, in, out, a, e);
    model_unref(m);
    return s;
}
