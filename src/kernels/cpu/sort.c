/* The best of a line of floats, as they are asked of a vocabulary: one pass, in which nearly every element is worse than
 * what was found already. */
#include "graph/attrs_index.h"
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

#define KEEP_MAX 64 /* more are sorted */

/* ---- top_k ---- */

struct top {
    int64_t lines, n, k;
    bool smallest;
};

static const char *refuse_top(const struct kernel_ctx *ctx)
{
    const struct top_k_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    int axis = shape_axis(x, a->axis);
    if (shape_span(x, axis + 1, x->rank) != 1)
        return "not along the last dimension";
    return ctx->out[0].shape.dim[axis] > KEEP_MAX ? "too many are asked for" : NULL;
}

static status prepare_top(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    const struct top_k_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    int axis = shape_axis(x, a->axis);
    struct top *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct top){ shape_span(x, 0, axis), x->dim[axis], ctx->out[0].shape.dim[axis],
                       a->smallest };
    *state = s;
    return OK;
}

/* A number that grows with x, also below 0; 0 and -0 are one, NaN is above all. */
static inline int32_t key_of(float x, bool smallest)
{
    union {
        float f;
        int32_t i;
    } u = { .f = x + 0.0f };
    int32_t key = isnan(x) ? INT32_MAX : u.i ^ (int32_t)((uint32_t)(u.i >> 31) >> 1);
    return smallest ? ~key : key;
}

/* keys and places of the best so far, the best one first; the earlier one of equals. */
static void top_line(const struct top *s, const float *x, int32_t *keys, int64_t *places)
{
    int64_t held = 0;
    for (int64_t i = 0; i < s->n; i++) {
        int32_t key = key_of(x[i], s->smallest);
        if (held == s->k && key <= keys[held - 1])
            continue;
        int64_t at = held < s->k ? held++ : held - 1;
        for (; at > 0 && keys[at - 1] < key; at--) {
            keys[at] = keys[at - 1];
            places[at] = places[at - 1];
        }
        keys[at] = key;
        places[at] = i;
    }
}

static status run_top(const void *state, const struct kernel_io *io)
{
    const struct top *s = state;
    const float *x = io->in[0];
    float *out = io->out[0];
    int64_t *where = io->out[1], places[KEEP_MAX] = { 0 };
    int32_t keys[KEEP_MAX];
    for (int64_t l = 0; l < s->lines && s->k > 0; l++, x += s->n, out += s->k, where += s->k) {
        top_line(s, x, keys, places);
        for (int64_t k = 0; k < s->k; k++) {
            out[k] = x[places[k]];
            where[k] = places[k];
        }
    }
    return OK;
}

/* ---- arg_reduce ---- */

struct arg {
    int64_t lines, n;
    bool smallest, narrow;
};

static const char *refuse_arg(const struct kernel_ctx *ctx)
{
    const struct arg_reduce_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    int axis = shape_axis(x, a->axis);
    if (a->last)
        return "the last of equals is asked for";
    return a->flatten || axis < 0 || shape_span(x, axis + 1, x->rank) == 1
               ? NULL
               : "not along the last dimension";
}

static status prepare_arg(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    const struct arg_reduce_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    int axis = shape_axis(x, a->axis);
    bool whole = a->flatten || axis < 0;
    struct arg *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct arg){ whole ? 1 : shape_span(x, 0, axis), whole ? shape_numel(x) : x->dim[axis],
                       a->smallest, a->dtype == DTYPE_I32 };
    *state = s;
    return OK;
}

/* The largest of the signed numbers; NaN where one is there and NaN counts. */
CLONES static float largest(const float *x, int64_t n, float sign)
{
    float top = -INFINITY, nan = 0;
    for (int64_t i = 0; i < n; i++) {
        float v = sign * x[i];
        top = v > top ? v : top;
        nan += v - v; /* 0, or NaN of NaN and infinities */
    }
    return isnan(nan) ? NAN : top;
}

static int64_t first_best(const float *x, int64_t n, bool smallest)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        int32_t a = key_of(x[i], smallest), b = key_of(x[best], smallest);
        if (a > b)
            best = i;
    }
    return best;
}

static int64_t find(const float *x, int64_t n, bool smallest)
{
    float sign = smallest ? -1 : 1, top = largest(x, n, sign);
    if (isnan(top)) /* NaN or an infinity is there: one by one */
        return first_best(x, n, smallest);
    int64_t i = 0;
    while (i < n - 1 && sign * x[i] != top)
        i++;
    return i;
}

static status run_arg(const void *state, const struct kernel_io *io)
{
    const struct arg *s = state;
    const float *x = io->in[0];
    for (int64_t l = 0; l < s->lines; l++, x += s->n) {
        int64_t best = find(x, s->n, s->smallest);
        if (s->narrow)
            ((int32_t *)io->out[0])[l] = (int32_t)best;
        else
            ((int64_t *)io->out[0])[l] = best;
    }
    return OK;
}

const struct kernel cpu_sort[] = {
    { "top_k", "cpu top_k", F32_ONLY, DEVICE_CPU, refuse_top, prepare_top, run_top, NULL },
    { "arg_reduce", "cpu arg_reduce", F32_ONLY, DEVICE_CPU, refuse_arg, prepare_arg, run_arg,
      NULL },
    { 0 },
};
