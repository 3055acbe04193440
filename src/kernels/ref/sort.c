/* Order along an axis: top_k, argsort, arg_reduce. */
#include "graph/attrs_index.h"
#include "kernels/ref/ref.h"

#include <string.h>

/* `outer` blocks of n lines `inner` elements wide; `keep` of each line come out. */
struct order {
    int64_t outer, inner, n, keep;
    bool smallest, last;
    bool narrow;                                         /* arg_reduce: places as int32 */
    int (*compare)(const void *x, int64_t i, int64_t j); /* < 0: element i is less than j */
    size_t size;
};

/* NaN is larger than all numbers. */
#define COMPARE(name, type, is_nan)                              \
    static int name(const void *x, int64_t i, int64_t j)         \
    {                                                            \
        type a = ((const type *)x)[i], b = ((const type *)x)[j]; \
        bool na = is_nan(a), nb = is_nan(b);                     \
        if (na || nb)                                            \
            return na - nb;                                      \
        return (a > b) - (a < b);                                \
    }
#define NEVER(a) false
COMPARE(compare_f32, float, isnan)
COMPARE(compare_f64, double, isnan)
COMPARE(compare_i32, int32_t, NEVER)
COMPARE(compare_i64, int64_t, NEVER)
COMPARE(compare_u8, uint8_t, NEVER)

static int (*const compares[])(const void *, int64_t, int64_t) = {
    [DTYPE_F32] = compare_f32, [DTYPE_F64] = compare_f64, [DTYPE_I32] = compare_i32,
    [DTYPE_I64] = compare_i64, [DTYPE_U8] = compare_u8,   [DTYPE_BOOL] = compare_u8,
};

#define COMPARABLE                                                                               \
    (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64) | DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I64) | \
     DTYPE_BIT(DTYPE_U8) | DTYPE_BIT(DTYPE_BOOL))

static struct order *order_of(const struct kernel_ctx *ctx, int axis)
{
    const struct shape *x = &ctx->in[0].shape;
    struct order *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->outer = shape_span(x, 0, axis);
    s->n = x->dim[axis];
    s->inner = shape_span(x, axis + 1, x->rank);
    s->size = dtype_size(ctx->in[0].dtype);
    s->compare = compares[ctx->in[0].dtype];
    return s;
}

/* scratch: the places of a line, and room to merge. */
static status prepare_sorted(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct top_k_attrs *a = ctx->node->attrs;
    int axis = shape_axis(&ctx->in[0].shape, a->axis);
    struct order *s = order_of(ctx, axis);
    s->keep = ctx->out[0].shape.dim[axis];
    s->smallest = a->smallest;
    *scratch = (size_t)s->n * 2 * sizeof(int64_t);
    *state = s;
    return OK;
}

/* Whether the line's element at i comes before that at j; equal ones stay as they lie. */
static bool goes_first(const struct order *s, const void *line, int64_t i, int64_t j)
{
    int c = s->compare(line, i * s->inner, j * s->inner);
    return s->smallest ? c <= 0 : c >= 0;
}

/* Merges the sorted runs [from, mid) and [mid, to). */
static void merge(const struct order *s, const void *line, const int64_t *places, int64_t from,
                  int64_t mid, int64_t to, int64_t *out)
{
    int64_t a = from, b = mid;
    for (int64_t i = from; i < to; i++) {
        bool left = a < mid && (b >= to || goes_first(s, line, places[a], places[b]));
        out[i] = left ? places[a++] : places[b++];
    }
}

/* Merge sort, as it keeps the order of equals; the result lies in one of the two halves of the scratch. */
static const int64_t *sort_line(const struct order *s, const void *line, int64_t *places)
{
    int64_t *from = places, *to = places + s->n;
    for (int64_t i = 0; i < s->n; i++)
        from[i] = i;
    for (int64_t run = 1; run < s->n; run *= 2) {
        for (int64_t i = 0; i < s->n; i += 2 * run) {
            int64_t mid = i + run < s->n ? i + run : s->n;
            int64_t end = i + 2 * run < s->n ? i + 2 * run : s->n;
            merge(s, line, from, i, mid, end, to);
        }
        int64_t *t = from;
        from = to;
        to = t;
    }
    return from;
}

static status run_sorted(const void *state, const struct kernel_io *io)
{
    const struct order *s = state;
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t i = 0; i < s->inner; i++) {
            const uint8_t *line =
                (const uint8_t *)io->in[0] + (size_t)(o * s->n * s->inner + i) * s->size;
            const int64_t *places = sort_line(s, line, io->scratch);
            for (int64_t k = 0; k < s->keep; k++) {
                int64_t to = (o * s->keep + k) * s->inner + i;
                memcpy((uint8_t *)io->out[0] + (size_t)to * s->size,
                       line + (size_t)(places[k] * s->inner) * s->size, s->size);
                ((int64_t *)io->out[1])[to] = places[k];
            }
        }
    return OK;
}

static status prepare_arg(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    const struct arg_reduce_attrs *a = ctx->node->attrs;
    struct order *s = arena_zalloc(ctx->arena, sizeof(*s));
    int axis = shape_axis(&ctx->in[0].shape, a->axis);
    if (a->flatten || axis < 0) {
        s->outer = s->inner = 1;
        s->n = shape_numel(&ctx->in[0].shape);
        s->size = dtype_size(ctx->in[0].dtype);
        s->compare = compares[ctx->in[0].dtype];
    } else {
        s = order_of(ctx, axis);
    }
    s->smallest = a->smallest;
    s->last = a->last;
    s->narrow = a->dtype == DTYPE_I32;
    *state = s;
    return OK;
}

static int64_t best_of(const struct order *s, const void *line)
{
    int64_t best = 0;
    for (int64_t i = 1; i < s->n; i++) {
        int c = s->compare(line, i * s->inner, best * s->inner);
        if ((s->smallest ? c < 0 : c > 0) || (c == 0 && s->last))
            best = i;
    }
    return best;
}

static status run_arg(const void *state, const struct kernel_io *io)
{
    const struct order *s = state;
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t i = 0; i < s->inner; i++) {
            int64_t to = o * s->inner + i;
            int64_t best = best_of(s, (const uint8_t *)io->in[0] +
                                          (size_t)(o * s->n * s->inner + i) * s->size);
            if (s->narrow)
                ((int32_t *)io->out[0])[to] = (int32_t)best;
            else
                ((int64_t *)io->out[0])[to] = best;
        }
    return OK;
}

const struct kernel ref_sort[] = {
    { "top_k", "ref top_k", COMPARABLE, DEVICE_CPU, NULL, prepare_sorted, run_sorted, NULL },
    { "argsort", "ref argsort", COMPARABLE, DEVICE_CPU, NULL, prepare_sorted, run_sorted, NULL },
    { "arg_reduce", "ref arg_reduce", COMPARABLE, DEVICE_CPU, NULL, prepare_arg, run_arg, NULL },
    { 0 },
};
