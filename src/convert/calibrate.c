/* What activations a model has on samples: it runs in fp32 with all of them as outputs, once for their ranges, and where the
 * method looks at how they are spread, once more to count them. */
#include "convert/recipe.h"
#include "exec/exec.h"
#include "exec/model.h"

#include <math.h>
#include <string.h>

struct watch {
    struct recipe *recipe;
    struct model *model;
    struct exec *exec;
    const struct convert_samples *samples;
    struct tensor *out; /* of all outputs; the activations are the last */
    int first;          /* of them */
};

typedef void look_fn(struct activation *v, const float *x, int64_t n);

static void look_range(struct activation *v, const float *x, int64_t n)
{
    float low = v->low, high = v->high;
    for (int64_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    v->low = low;
    v->high = high;
}

static float largest(const struct activation *v)
{
    return fmaxf(-v->low, v->high);
}

static void look_spread(struct activation *v, const float *x, int64_t n)
{
    float by = RECIPE_BINS / largest(v);
    for (int64_t i = 0; i < n && isfinite(by); i++) {
        float at = fabsf(x[i]) * by;
        if (x[i] != 0 && at >= 0) /* zeros, which relu makes many of, are kept by every cut */
            v->bins[at < RECIPE_BINS ? (int)at : RECIPE_BINS - 1]++;
    }
}

static status look_at_all(struct watch *w, look_fn *look, struct err *e)
{
    for (int k = 0; k < w->samples->count; k++) {
        status s = exec_run(w->exec, w->model, w->samples->feed[k], w->out, e);
        if (s != OK)
            return err_prefix(e, s, "sample %d: ", k + 1);
        for (int i = 0; i < w->recipe->activation_count; i++) {
            const struct tensor *t = &w->out[w->first + i];
            if (t->dtype == DTYPE_F32)
                look(w->recipe->activation[i], t->data, shape_numel(&t->shape));
        }
    }
    return OK;
}

/* ---- the cut ---- */

static int cut_percentile(const uint64_t *bins, double percent)
{
    double total = 0, sum = 0;
    for (int i = 0; i < RECIPE_BINS; i++)
        total += (double)bins[i];
    for (int i = 0; i < RECIPE_BINS; i++) {
        sum += (double)bins[i];
        if (sum >= total * percent / 100)
            return i + 1;
    }
    return RECIPE_BINS;
}

#define LEVELS 128

/* How far `count` bins, cut there, are from what LEVELS of them can say: the sum of p log(p / q), where p has everything
 * beyond in its last bin, and q spreads what a level holds over those of its bins that p has something in. (Migacz, "8-bit
 * inference with TensorRT", 2017.) */
static double divergence(const uint64_t *bins, int count, double beyond)
{
    double kept = 0, sum = 0;
    for (int i = 0; i < count; i++)
        kept += (double)bins[i];
    for (int level = 0; level < LEVELS; level++) {
        int from = (int)((int64_t)level * count / LEVELS);
        int to = (int)((int64_t)(level + 1) * count / LEVELS), used = 0;
        double of_level = 0;
        for (int i = from; i < to; i++) {
            of_level += (double)bins[i];
            used += bins[i] != 0 || (i == count - 1 && beyond > 0);
        }
        for (int i = from; i < to; i++) {
            double p = ((double)bins[i] + (i == count - 1 ? beyond : 0)) / (kept + beyond);
            double q = of_level > 0 ? of_level / used / kept : 0;
            if (p > 0)
                sum += p * log(p / (q > 1e-12 ? q : 1e-12));
        }
    }
    return sum;
}

static int cut_kl(const uint64_t *bins)
{
    double beyond = 0, least = INFINITY;
    int best = RECIPE_BINS;
    for (int count = RECIPE_BINS; count >= LEVELS; count--) {
        double d = divergence(bins, count, beyond);
        if (d < least) {
            least = d;
            best = count;
        }
        beyond += (double)bins[count - 1];
    }
    return best;
}

static void cut(struct activation *v, const struct convert_options *opt)
{
    if (v->bins == NULL)
        return;
    int bins =
        opt->method == CONVERT_KL ? cut_kl(v->bins) : cut_percentile(v->bins, opt->percentile);
    float most = largest(v) * (float)bins / RECIPE_BINS;
    v->low = fmaxf(v->low, -most);
    v->high = fminf(v->high, most);
}

static void decide(struct activation *v, bool symmetric)
{
    float width = symmetric ? largest(v) / 127 : (v->high - v->low) / 255;
    v->step = width > 0 && isfinite(width) ? width : 1.0f / 127; /* nothing but zeros was seen */
    v->zero = symmetric ? 0 : (int32_t)rintf(-v->low / v->step);
}

/* ---- the whole ---- */

static status look(struct watch *w, const struct convert_options *opt, struct err *e)
{
    struct recipe *r = w->recipe;
    TRY(look_at_all(w, look_range, e));
    for (int i = 0; i < r->activation_count && opt->method != CONVERT_MAX; i++)
        r->activation[i]->bins = arena_zalloc(r->arena, RECIPE_BINS * sizeof(uint64_t));
    if (opt->method != CONVERT_MAX)
        TRY(look_at_all(w, look_spread, e));
    for (int i = 0; i < r->activation_count; i++) {
        cut(r->activation[i], opt);
        decide(r->activation[i], r->symmetric);
    }
    return OK;
}

status recipe_calibrate(struct recipe *r, const char *path, const struct convert_options *opt,
                        const struct convert_samples *samples, struct err *e)
{
    struct watch w = { .recipe = r, .samples = samples };
    int outputs;
    const char **name = arena_zalloc(r->arena, (size_t)(r->activation_count + 1) * sizeof(*name));
    for (int i = 0; i < r->activation_count; i++)
        name[i] = arena_strndup(r->arena, r->activation[i]->name.p, r->activation[i]->name.n);
    const struct model_options how = { .threads = opt->threads,
                                       .fetch = name,
                                       .fetch_count = r->activation_count };
    TRY(model_open(path, &how, &w.model, e));
    model_outputs(w.model, &outputs);
    w.first = outputs - r->activation_count;
    w.out = arena_zalloc(r->arena, (size_t)(outputs + 1) * sizeof(*w.out));
    w.exec = exec_new();
    status s = look(&w, opt, e);
    exec_free(w.exec);
    model_unref(w.model);
    return s;
}
