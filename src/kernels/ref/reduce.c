/* Reductions, running sums, and normalisation over the last dimensions. Floats are summed in double. */
#include "graph/attrs_reduce.h"
#include "kernels/ref/ref.h"

#include <string.h>

#define FLOATS (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64))
#define INTS   (DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I64))

/* Elements are read as doubles, or, whole ones, as int64: a type each with its own arithmetic. */
typedef double (*get_f)(const void *x, int64_t i);
typedef void (*put_f)(void *x, int64_t i, double v);
typedef int64_t (*get_i)(const void *x, int64_t i);
typedef void (*put_i)(void *x, int64_t i, int64_t v);

#define ACCESS(suffix, type, wide)                       \
    static wide get_##suffix(const void *x, int64_t i)   \
    {                                                    \
        return ((const type *)x)[i];                     \
    }                                                    \
    static void put_##suffix(void *x, int64_t i, wide v) \
    {                                                    \
        ((type *)x)[i] = (type)v;                        \
    }
ACCESS(f32, float, double)
ACCESS(f64, double, double)
ACCESS(i32, int32_t, int64_t)
ACCESS(i64, int64_t, int64_t)
ACCESS(u8, uint8_t, int64_t)

struct access {
    get_f get_f;
    put_f put_f;
    get_i get_i; /* NULL for floats */
    put_i put_i;
};

static struct access access_of(dtype d)
{
    switch (d) {
    case DTYPE_F64: return (struct access){ get_f64, put_f64, NULL, NULL };
    case DTYPE_I32: return (struct access){ NULL, NULL, get_i32, put_i32 };
    case DTYPE_I64: return (struct access){ NULL, NULL, get_i64, put_i64 };
    case DTYPE_BOOL: return (struct access){ NULL, NULL, get_u8, put_u8 };
    default: return (struct access){ get_f32, put_f32, NULL, NULL };
    }
}

/* ---- reduce ---- */

struct reduce {
    struct access access;
    struct reduce_attrs attrs;
    int kept, gone; /* dimensions */
    int64_t kept_dim[SHAPE_MAX], kept_step[SHAPE_MAX];
    int64_t gone_dim[SHAPE_MAX], gone_step[SHAPE_MAX];
    int64_t count, each; /* results, and elements of each */
};

static const char *refuse_reduce(const struct kernel_ctx *ctx)
{
    int32_t mode = ((const struct reduce_attrs *)ctx->node->attrs)->mode;
    bool is_bool = ctx->in[0].dtype == DTYPE_BOOL, is_int = INTS & DTYPE_BIT(ctx->in[0].dtype);
    if ((mode == REDUCE_ALL || mode == REDUCE_ANY) != is_bool && mode != REDUCE_ZERO)
        return "not for this dtype";
    if (is_int && (mode == REDUCE_MEAN || mode == REDUCE_LOG_SUM_EXP || mode == REDUCE_L2 ||
                   mode == REDUCE_LOG_SUM || mode == REDUCE_LP))
        return "not for integers";
    return NULL;
}

static status prepare_reduce(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct reduce *s = arena_zalloc(ctx->arena, sizeof(*s));
    bool drop[SHAPE_MAX];
    int64_t step = 1;
    TRY(reduce_axes(ctx->node, ctx->in, drop, e));
    s->attrs = *(const struct reduce_attrs *)ctx->node->attrs;
    s->access = access_of(ctx->in[0].dtype);
    s->count = s->each = 1;
    for (int i = x->rank - 1; i >= 0; i--) {
        int at = drop[i] ? s->gone++ : s->kept++;
        (drop[i] ? s->gone_dim : s->kept_dim)[at] = x->dim[i];
        (drop[i] ? s->gone_step : s->kept_step)[at] = step;
        *(drop[i] ? &s->each : &s->count) *= x->dim[i];
        step *= x->dim[i];
    }
    *state = s;
    return OK;
}

/* The place of element i, counted over dimensions given innermost first. */
static int64_t place(int64_t i, int rank, const int64_t *dim, const int64_t *step)
{
    int64_t at = 0;
    for (int d = 0; d < rank; d++) {
        at += i % dim[d] * step[d];
        i /= dim[d];
    }
    return at;
}

static double start_f(int32_t mode)
{
    return mode == REDUCE_PROD  ? 1
           : mode == REDUCE_MAX ? -INFINITY
           : mode == REDUCE_MIN ? INFINITY
                                : 0;
}

static double fold_f(const struct reduce_attrs *a, double sum, double v)
{
    switch ((enum reduce_mode)a->mode) {
    case REDUCE_MAX: return v > sum || isnan(v) ? v : sum;
    case REDUCE_MIN: return v < sum || isnan(v) ? v : sum;
    case REDUCE_PROD: return sum * v;
    case REDUCE_L1: return sum + fabs(v);
    case REDUCE_L2:
    case REDUCE_SUM_SQUARE: return sum + v * v;
    case REDUCE_LP: return sum + pow(fabs(v), a->p);
    case REDUCE_ZERO: return sum + (v != 0);
    default: return sum + v;
    }
}

static double finish_f(const struct reduce_attrs *a, double sum, int64_t each)
{
    switch ((enum reduce_mode)a->mode) {
    case REDUCE_MEAN: return sum / (double)each;
    case REDUCE_L2: return sqrt(sum);
    case REDUCE_LOG_SUM: return log(sum);
    case REDUCE_LP: return pow(sum, 1 / (double)a->p);
    default: return sum;
    }
}

static double at_f(const struct reduce *s, const void *x, int64_t base, int64_t k)
{
    return s->access.get_f(x, base + place(k, s->gone, s->gone_dim, s->gone_step));
}

/* log(sum(exp(x - top))) + top: no sum overflows. */
static double log_sum_exp(const struct reduce *s, const void *x, int64_t base)
{
    double top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < s->each; k++)
        top = fmax(top, at_f(s, x, base, k));
    if (!isfinite(top))
        return top;
    for (int64_t k = 0; k < s->each; k++)
        sum += exp(at_f(s, x, base, k) - top);
    return log(sum) + top;
}

static double reduce_f(const struct reduce *s, const void *x, int64_t base)
{
    if (s->attrs.mode == REDUCE_LOG_SUM_EXP)
        return log_sum_exp(s, x, base);
    double sum = start_f(s->attrs.mode);
    for (int64_t k = 0; k < s->each; k++)
        sum = fold_f(&s->attrs, sum, at_f(s, x, base, k));
    return finish_f(&s->attrs, sum, s->each);
}

/* Sums wrap, by way of unsigned. */
static int64_t fold_i(int32_t mode, int64_t sum, int64_t v)
{
    uint64_t a = (uint64_t)sum, b = (uint64_t)v;
    switch ((enum reduce_mode)mode) {
    case REDUCE_MAX: return v > sum ? v : sum;
    case REDUCE_MIN: return v < sum ? v : sum;
    case REDUCE_PROD: return (int64_t)(a * b);
    case REDUCE_ALL: return sum && v;
    case REDUCE_ANY: return sum || v;
    case REDUCE_L1: return (int64_t)(a + (v < 0 ? 0 - b : b));
    case REDUCE_SUM_SQUARE: return (int64_t)(a + b * b);
    case REDUCE_ZERO: return sum + (v != 0);
    default: return (int64_t)(a + b);
    }
}

static int64_t start_i(int32_t mode)
{
    return mode == REDUCE_PROD || mode == REDUCE_ALL ? 1
           : mode == REDUCE_MAX                      ? INT64_MIN
           : mode == REDUCE_MIN                      ? INT64_MAX
                                                     : 0;
}

static int64_t reduce_i(const struct reduce *s, const void *x, int64_t base)
{
    int64_t sum = start_i(s->attrs.mode);
    for (int64_t k = 0; k < s->each; k++)
        sum = fold_i(s->attrs.mode, sum,
                     s->access.get_i(x, base + place(k, s->gone, s->gone_dim, s->gone_step)));
    return sum;
}

static status run_reduce(const void *state, const struct kernel_io *io)
{
    const struct reduce *s = state;
    bool counts = s->attrs.mode == REDUCE_ZERO;
    for (int64_t i = 0; i < s->count; i++) {
        int64_t base = place(i, s->kept, s->kept_dim, s->kept_step);
        if (s->access.get_i != NULL)
            (counts ? put_i64 : s->access.put_i)(io->out[0], i, reduce_i(s, io->in[0], base));
        else if (counts)
            put_i64(io->out[0], i, (int64_t)reduce_f(s, io->in[0], base));
        else
            s->access.put_f(io->out[0], i, reduce_f(s, io->in[0], base));
    }
    return OK;
}

/* ---- scan ---- */

struct scan {
    struct access access;
    struct scan_attrs attrs;
    int64_t outer, n, inner;
};

static const char *refuse_scan(const struct kernel_ctx *ctx)
{
    bool logs = ((const struct scan_attrs *)ctx->node->attrs)->mode == SCAN_LOG_SUM_EXP;
    return logs && (INTS & DTYPE_BIT(ctx->in[0].dtype)) ? "not for integers" : NULL;
}

static status prepare_scan(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct scan *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct scan_attrs *)ctx->node->attrs;
    s->access = access_of(ctx->in[0].dtype);
    int axis;
    TRY(scan_axis(ctx->node, ctx->in, &axis, e));
    s->outer = shape_span(x, 0, axis);
    s->n = x->rank > 0 ? x->dim[axis] : 1;
    s->inner = x->rank > 0 ? shape_span(x, axis + 1, x->rank) : 1;
    *state = s;
    return OK;
}

static double step_f(int32_t mode, double sum, double v)
{
    switch ((enum scan_mode)mode) {
    case SCAN_PROD: return sum * v;
    case SCAN_MAX: return v > sum || isnan(v) ? v : sum;
    case SCAN_MIN: return v < sum || isnan(v) ? v : sum;
    case SCAN_LOG_SUM_EXP: {
        double top = fmax(sum, v);
        return isfinite(top) ? log(exp(sum - top) + exp(v - top)) + top : top;
    }
    default: return sum + v;
    }
}

static int64_t step_i(int32_t mode, int64_t sum, int64_t v)
{
    switch ((enum scan_mode)mode) {
    case SCAN_PROD: return (int64_t)((uint64_t)sum * (uint64_t)v);
    case SCAN_MAX: return v > sum ? v : sum;
    case SCAN_MIN: return v < sum ? v : sum;
    default: return (int64_t)((uint64_t)sum + (uint64_t)v);
    }
}

static double scan_start_f(int32_t mode)
{
    return mode == SCAN_PROD ? 1 : mode == SCAN_MIN ? INFINITY : mode == SCAN_SUM ? 0 : -INFINITY;
}

static int64_t scan_start_i(int32_t mode)
{
    return mode == SCAN_PROD ? 1 : mode == SCAN_MAX ? INT64_MIN : mode == SCAN_MIN ? INT64_MAX : 0;
}

static void scan_line(const struct scan *s, const void *x, void *out, int64_t base)
{
    double f = scan_start_f(s->attrs.mode);
    int64_t w = scan_start_i(s->attrs.mode);
    for (int64_t k = 0; k < s->n; k++) {
        int64_t at = base + (s->attrs.reverse ? s->n - 1 - k : k) * s->inner;
        if (s->access.get_i != NULL) {
            int64_t next = step_i(s->attrs.mode, w, s->access.get_i(x, at));
            s->access.put_i(out, at, s->attrs.exclusive ? w : next);
            w = next;
        } else {
            double next = step_f(s->attrs.mode, f, s->access.get_f(x, at));
            s->access.put_f(out, at, s->attrs.exclusive ? f : next);
            f = next;
        }
    }
}

static status run_scan(const void *state, const struct kernel_io *io)
{
    const struct scan *s = state;
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t i = 0; i < s->inner; i++)
            scan_line(s, io->in[0], io->out[0], o * s->n * s->inner + i);
    return OK;
}

/* ---- layer_norm, rms_norm ---- */

struct norm {
    int64_t rows, width;
    double epsilon;
    bool centred;
};

static status prepare_norm(const struct kernel_ctx *ctx, bool centred, void **state)
{
    const struct layer_norm_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    struct norm *s = arena_zalloc(ctx->arena, sizeof(*s));
    int begin = shape_axis(x, a->begin);
    *s = (struct norm){ shape_span(x, 0, begin), shape_span(x, begin, x->rank), a->epsilon,
                        centred };
    *state = s;
    return OK;
}

static status prepare_layer_norm(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                 struct err *e)
{
    return prepare_norm(ctx, true, state);
}

static status prepare_rms_norm(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                               struct err *e)
{
    return prepare_norm(ctx, false, state);
}

static void norm_row(const struct norm *s, const float *x, const float *scale, const float *bias,
                     float *out)
{
    double mean = 0, square = 0;
    for (int64_t i = 0; i < s->width; i++)
        mean += x[i];
    mean = s->centred ? mean / (double)s->width : 0;
    for (int64_t i = 0; i < s->width; i++)
        square += (x[i] - mean) * (x[i] - mean);
    double by = 1 / sqrt(square / (double)s->width + s->epsilon);
    for (int64_t i = 0; i < s->width; i++)
        out[i] = (float)((x[i] - mean) * by * (scale != NULL ? scale[i] : 1) +
                         (bias != NULL ? bias[i] : 0));
}

static status run_norm(const void *state, const struct kernel_io *io)
{
    const struct norm *s = state;
    for (int64_t r = 0; r < s->rows; r++)
        norm_row(s, (const float *)io->in[0] + r * s->width, io->in[1], io->in[2],
                 (float *)io->out[0] + r * s->width);
    return OK;
}

/* ---- l2_normalize ---- */

struct l2 {
    int64_t outer, n, inner;
    struct l2_attrs attrs;
};

static status prepare_l2(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct l2 *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct l2_attrs *)ctx->node->attrs;
    int axis = shape_axis(x, s->attrs.axis);
    s->outer = shape_span(x, 0, axis);
    s->n = x->dim[axis];
    s->inner = shape_span(x, axis + 1, x->rank);
    *state = s;
    return OK;
}

static void l2_line(const struct l2 *s, const float *x, float *out)
{
    double sum = 0;
    for (int64_t k = 0; k < s->n; k++)
        sum += (double)x[k * s->inner] * x[k * s->inner];
    double by =
        s->attrs.at_least ? fmax(sqrt(sum), s->attrs.epsilon) : sqrt(sum + s->attrs.epsilon);
    for (int64_t k = 0; k < s->n; k++)
        out[k * s->inner] = (float)(x[k * s->inner] / by);
}

static status run_l2(const void *state, const struct kernel_io *io)
{
    const struct l2 *s = state;
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t i = 0; i < s->inner; i++) {
            int64_t at = o * s->n * s->inner + i;
            l2_line(s, (const float *)io->in[0] + at, (float *)io->out[0] + at);
        }
    return OK;
}

const struct kernel ref_reduce[] = {
    { "reduce", "ref reduce", FLOATS | INTS | DTYPE_BIT(DTYPE_BOOL), DEVICE_CPU, refuse_reduce,
      prepare_reduce, run_reduce, NULL },
    { "scan", "ref scan", FLOATS | INTS, DEVICE_CPU, refuse_scan, prepare_scan, run_scan, NULL },
    { "layer_norm", "ref layer_norm", F32_ONLY, DEVICE_CPU, NULL, prepare_layer_norm, run_norm,
      NULL },
    { "rms_norm", "ref rms_norm", F32_ONLY, DEVICE_CPU, NULL, prepare_rms_norm, run_norm, NULL },
    { "l2_normalize", "ref l2_normalize", F32_ONLY, DEVICE_CPU, NULL, prepare_l2, run_l2, NULL },
    { 0 },
};
