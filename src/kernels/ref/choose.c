/* Choosing by what elements are, and odd makers of tensors. */
#include "graph/attrs_choose.h"
#include "kernels/broadcast.h"
#include "kernels/ref/ref.h"
#include "kernels/walk.h"

#include <string.h>

#define NUMBERS \
    (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64) | DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I64))
#define INTS (DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I64))

static int64_t int_at(const void *x, bool wide, int64_t i)
{
    return wide ? ((const int64_t *)x)[i] : ((const int32_t *)x)[i];
}

/* ---- masked_select, nonzero ---- */

struct masked {
    struct broadcast walk;
    int64_t count;
    size_t size;
};

static status prepare_masked(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct masked *s = arena_zalloc(ctx->arena, sizeof(*s));
    struct shape all;
    shape_broadcast(&ctx->in[0].shape, &ctx->in[1].shape, &all);
    broadcast_plan(&ctx->in[0].shape, &ctx->in[1].shape, &all, &s->walk);
    s->count = shape_numel(&all);
    s->size = dtype_size(ctx->in[0].dtype);
    *state = s;
    return OK;
}

static status run_masked(const void *state, const struct kernel_io *io)
{
    const struct masked *s = state;
    int64_t index[SHAPE_MAX] = { 0 }, x = 0, m = 0, n = 0;
    int last = s->walk.rank - 1;
    do {
        for (int64_t i = 0; s->count > 0 && i < s->walk.dim[last]; i++)
            if (((const uint8_t *)io->in[1])[m + i * s->walk.step_b[last]])
                memcpy((uint8_t *)io->out[0] + (size_t)n++ * s->size,
                       (const uint8_t *)io->in[0] +
                           (size_t)(x + i * s->walk.step_a[last]) * s->size,
                       s->size);
    } while (s->count > 0 && broadcast_next(&s->walk, index, &x, &m));
    io->shape[0].dim[0] = n;
    return OK;
}

struct nonzero {
    struct shape x;
    int64_t count;
    dtype dtype;
};

static status prepare_nonzero(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    struct nonzero *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct nonzero){ ctx->in[0].shape, shape_numel(&ctx->in[0].shape), ctx->in[0].dtype };
    *state = s;
    return OK;
}

static bool is_true(const void *x, dtype d, int64_t i)
{
    switch (d) {
    case DTYPE_F32: return ((const float *)x)[i] != 0;
    case DTYPE_F64: return ((const double *)x)[i] != 0;
    case DTYPE_I32: return ((const int32_t *)x)[i] != 0;
    case DTYPE_I64: return ((const int64_t *)x)[i] != 0;
    default: return ((const uint8_t *)x)[i] != 0;
    }
}

static status run_nonzero(const void *state, const struct kernel_io *io)
{
    const struct nonzero *s = state;
    int64_t *out = io->out[0], n = 0;
    int rank = s->x.rank;
    for (int64_t i = 0; i < s->count; i++) {
        if (!is_true(io->in[0], s->dtype, i))
            continue;
        int64_t rest = i;
        for (int d = rank - 1; d >= 0; d--) {
            out[n * rank + d] = rest % s->x.dim[d];
            rest /= s->x.dim[d];
        }
        n++;
    }
    io->shape[0].dim[0] = n;
    return OK;
}

/* ---- unique ---- */

struct unique {
    int64_t count;
    struct unique_attrs attrs;
    size_t size;
    dtype dtype;
};

static status prepare_unique(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct unique *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct unique){ shape_numel(&ctx->in[0].shape),
                          *(const struct unique_attrs *)ctx->node->attrs,
                          dtype_size(ctx->in[0].dtype), ctx->in[0].dtype };
    *scratch = (size_t)s->count * 2 * sizeof(int64_t);
    *state = s;
    return OK;
}

/* < 0, 0, > 0; NaN is larger than all numbers. */
static int compare(const struct unique *s, const void *x, int64_t i, int64_t j)
{
    double a = 0, b = 0;
    if (s->dtype == DTYPE_F32) {
        a = ((const float *)x)[i];
        b = ((const float *)x)[j];
    } else if (s->dtype == DTYPE_F64) {
        a = ((const double *)x)[i];
        b = ((const double *)x)[j];
    } else {
        int64_t v = int_at(x, s->dtype == DTYPE_I64, i), w = int_at(x, s->dtype == DTYPE_I64, j);
        return (v > w) - (v < w);
    }
    if (isnan(a) || isnan(b))
        return isnan(a) - isnan(b);
    return (a > b) - (a < b);
}

/* The places of x in order; equal ones as they lie. order, spare: count places each. */
static int64_t *sorted(const struct unique *s, const void *x, int64_t *order, int64_t *spare)
{
    int64_t n = s->count;
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t run = 1; run < n && !s->attrs.consecutive; run *= 2) {
        for (int64_t from = 0; from < n; from += 2 * run) {
            int64_t mid = from + run < n ? from + run : n;
            int64_t to = from + 2 * run < n ? from + 2 * run : n;
            for (int64_t k = from, a = from, b = mid; k < to; k++)
                spare[k] = a < mid && (b >= to || compare(s, x, order[a], order[b]) <= 0)
                               ? order[a++]
                               : order[b++];
        }
        int64_t *t = order;
        order = spare;
        spare = t;
    }
    return order;
}

/* Groups in the order of their first elements. rank: where each group goes. */
static void by_first(int64_t n, const int64_t *first, int64_t *rank)
{
    for (int64_t i = 0; i < n; i++) {
        rank[i] = 0;
        for (int64_t k = 0; k < n; k++)
            rank[i] += first[k] < first[i];
    }
}

static void put_group(const struct unique *s, const struct kernel_io *io, int64_t at, int64_t from,
                      int64_t count)
{
    memcpy((uint8_t *)io->out[0] + (size_t)at * s->size,
           (const uint8_t *)io->in[0] + (size_t)from * s->size, s->size);
    ((int64_t *)io->out[1])[at] = from;
    ((int64_t *)io->out[3])[at] = count;
}

static status run_unique(const void *state, const struct kernel_io *io)
{
    const struct unique *s = state;
    int64_t *places = io->scratch, *spare = places + s->count, *which = io->out[2], groups = 0;
    int64_t *order = sorted(s, io->in[0], places, spare);
    int64_t *first = order == places ? spare : places; /* of each group, its first place in x */
    for (int64_t i = 0; i < s->count; i++) {
        if (i == 0 || compare(s, io->in[0], order[i - 1], order[i]) != 0)
            first[groups++] = order[i];
        which[order[i]] = groups - 1;
    }
    int64_t *rank = order; /* no longer looked at */
    for (int64_t g = 0; g < groups; g++)
        rank[g] = g;
    if (s->attrs.unsorted)
        by_first(groups, first, rank);
    for (int64_t g = 0; g < groups; g++)
        put_group(s, io, rank[g], first[g], 0);
    for (int64_t i = 0; i < s->count; i++) {
        which[i] = rank[which[i]];
        ((int64_t *)io->out[3])[which[i]]++;
    }
    io->shape[0].dim[0] = io->shape[1].dim[0] = io->shape[3].dim[0] = groups;
    return OK;
}

/* ---- linspace, diag ---- */

struct linspace {
    int64_t count;
    dtype from, to;
};

static const char *refuse_linspace(const struct kernel_ctx *ctx)
{
    return NUMBERS & DTYPE_BIT(ctx->out[0].dtype) ? NULL : "not for such a result";
}

static status prepare_linspace(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                               struct err *e)
{
    struct linspace *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct linspace){ ctx->out[0].shape.dim[0], ctx->in[0].dtype, ctx->out[0].dtype };
    *state = s;
    return OK;
}

static double number(const void *x, dtype d)
{
    switch (d) {
    case DTYPE_F64: return *(const double *)x;
    case DTYPE_I32: return *(const int32_t *)x;
    case DTYPE_I64: return (double)*(const int64_t *)x;
    default: return *(const float *)x;
    }
}

/* An integer that no result can hold becomes the nearest that it can. */
static int64_t whole(double v, int64_t low, int64_t high)
{
    if (isnan(v))
        return 0;
    return v <= (double)low ? low : v >= (double)high ? high : (int64_t)v;
}

static void put_number(void *out, dtype d, int64_t i, double v)
{
    switch (d) {
    case DTYPE_F64: ((double *)out)[i] = v; break;
    case DTYPE_I32: ((int32_t *)out)[i] = (int32_t)whole(v, INT32_MIN, INT32_MAX); break;
    case DTYPE_I64: ((int64_t *)out)[i] = whole(v, INT64_MIN, INT64_MAX); break;
    default: ((float *)out)[i] = (float)v; break;
    }
}

/* From both ends to the middle, as Paddle does, so that the last is exactly stop. */
static status run_linspace(const void *state, const struct kernel_io *io)
{
    const struct linspace *s = state;
    double start = number(io->in[0], s->from), stop = number(io->in[1], s->from);
    double step = s->count > 1 ? (stop - start) / (double)(s->count - 1) : 0;
    for (int64_t i = 0; i < s->count; i++) {
        double v = i < s->count / 2 || s->count == 1 ? start + step * (double)i
                                                     : stop - step * (double)(s->count - 1 - i);
        put_number(io->out[0], s->to, i, v);
    }
    return OK;
}

struct diag {
    bool makes;           /* a matrix */
    int64_t count, width; /* of the diagonal; of the matrix */
    int64_t row, column;  /* where it begins */
    size_t size;
    dtype dtype;
    float padding;
};

static status prepare_diag(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct diag_attrs *a = ctx->node->attrs;
    struct diag *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct shape *x = &ctx->in[0].shape;
    s->makes = x->rank == 1;
    s->count = s->makes ? x->dim[0] : ctx->out[0].shape.dim[0];
    s->width = s->makes ? ctx->out[0].shape.dim[1] : x->dim[1];
    s->row = a->offset < 0 ? -(int64_t)a->offset : 0;
    s->column = a->offset > 0 ? a->offset : 0;
    s->size = dtype_size(ctx->in[0].dtype);
    s->dtype = ctx->in[0].dtype;
    s->padding = a->padding;
    *state = s;
    return OK;
}

static status run_diag(const void *state, const struct kernel_io *io)
{
    const struct diag *s = state;
    for (int64_t i = 0; s->makes && i < s->width * s->width; i++)
        put_number(io->out[0], s->dtype, i, s->padding);
    for (int64_t i = 0; i < s->count; i++) {
        int64_t at = (s->row + i) * s->width + s->column + i;
        memcpy((uint8_t *)io->out[0] + (size_t)(s->makes ? at : i) * s->size,
               (const uint8_t *)io->in[0] + (size_t)(s->makes ? i : at) * s->size, s->size);
    }
    return OK;
}

/* ---- put_slice, repeat ---- */

struct put {
    struct walk to;   /* places of the slice in x */
    struct walk from; /* places of the value */
    int64_t count;    /* of x */
};

static status prepare_put(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct put *s = arena_zalloc(ctx->arena, sizeof(*s));
    void *walk;
    TRY(walk_prepare(ctx, put_slice_view, &walk, e));
    s->to = s->from = *(struct walk *)walk;
    s->from.offset = 0;
    s->count = shape_numel(&ctx->in[0].shape);
    const struct shape *v = &ctx->in[1].shape;
    int64_t step = 1;
    for (int i = s->to.rank - 1, k = v->rank - 1; i >= 0; i--, k--) {
        s->from.step[i] = k >= 0 && v->dim[k] != 1 ? step : 0;
        step *= k >= 0 ? v->dim[k] : 1;
    }
    *state = s;
    return OK;
}

static status run_put(const void *state, const struct kernel_io *io)
{
    const struct put *s = state;
    int64_t index[VIEW_RANK_MAX] = { 0 }, other[VIEW_RANK_MAX] = { 0 };
    int64_t to = s->to.offset, from = 0;
    if (io->out[0] != io->in[0] && s->count > 0)
        memcpy(io->out[0], io->in[0], (size_t)s->count * s->to.size);
    for (int64_t i = 0; i < s->to.count; i++) {
        memcpy((uint8_t *)io->out[0] + to * (int64_t)s->to.size,
               (const uint8_t *)io->in[1] + from * (int64_t)s->to.size, s->to.size);
        walk_next(&s->to, s->to.rank, index, &to);
        walk_next(&s->from, s->from.rank, other, &from);
    }
    return OK;
}

struct repeat {
    int64_t outer, dim, size, times;
    size_t row_bytes;
    bool each, wide; /* each has times of its own */
};

static status prepare_repeat(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct repeat *s = arena_zalloc(ctx->arena, sizeof(*s));
    int axis;
    TRY(repeat_size(ctx->node, ctx->in, &axis, &s->size, e));
    s->outer = shape_span(x, 0, axis);
    s->dim = x->dim[axis];
    s->times = s->dim > 0 ? s->size / s->dim : 0;
    s->row_bytes = (size_t)shape_span(x, axis + 1, x->rank) * dtype_size(ctx->in[0].dtype);
    s->each = ctx->in[1].shape.rank >= 0 && shape_numel(&ctx->in[1].shape) != 1;
    s->wide = ctx->in[1].dtype == DTYPE_I64;
    *state = s;
    return OK;
}

static status run_repeat(const void *state, const struct kernel_io *io)
{
    const struct repeat *s = state;
    const uint8_t *x = io->in[0];
    uint8_t *out = io->out[0];
    for (int64_t o = 0; o < s->outer; o++) {
        int64_t left = s->size;
        for (int64_t i = 0; i < s->dim; i++, x += s->row_bytes) {
            int64_t times = s->each ? int_at(io->in[1], s->wide, i) : s->times;
            if (times < 0 || times > left)
                return err_set(io->err, INVALID, "its times are not those that it was planned for");
            left -= times;
            for (int64_t k = 0; k < times && s->row_bytes > 0; k++, out += s->row_bytes)
                memcpy(out, x, s->row_bytes);
        }
    }
    return OK;
}

/* ---- shard_index, multiplex, sample ---- */

struct shard {
    int64_t count;
    struct shard_attrs attrs;
    bool wide;
};

static status prepare_shard(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    struct shard *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct shard){ shape_numel(&ctx->in[0].shape),
                         *(const struct shard_attrs *)ctx->node->attrs,
                         ctx->in[0].dtype == DTYPE_I64 };
    *state = s;
    return OK;
}

static status run_shard(const void *state, const struct kernel_io *io)
{
    const struct shard *s = state;
    int64_t size = s->attrs.count / s->attrs.shards + (s->attrs.count % s->attrs.shards != 0);
    for (int64_t i = 0; i < s->count; i++) {
        int64_t id = int_at(io->in[0], s->wide, i);
        if (id < 0 || id >= s->attrs.count)
            return err_set(io->err, INVALID, "id %lld (element %lld) is not in 0 .. %lld",
                           (long long)id, (long long)i, (long long)s->attrs.count - 1);
        int64_t v = id / size == s->attrs.shard ? id % size : s->attrs.other;
        if (s->wide)
            ((int64_t *)io->out[0])[i] = v;
        else
            ((int32_t *)io->out[0])[i] = (int32_t)v;
    }
    return OK;
}

struct multiplex {
    int64_t rows, count;
    size_t row_bytes;
    bool wide;
};

static status prepare_multiplex(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                struct err *e)
{
    const struct shape *x = &ctx->in[1].shape;
    struct multiplex *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct multiplex){ ctx->out[0].shape.dim[0], ctx->node->in_count - 1,
                             (size_t)shape_span(x, 1, x->rank) * dtype_size(ctx->in[1].dtype),
                             ctx->in[0].dtype == DTYPE_I64 };
    *state = s;
    return OK;
}

static status run_multiplex(const void *state, const struct kernel_io *io)
{
    const struct multiplex *s = state;
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t id = int_at(io->in[0], s->wide, i);
        if (id < 0 || id >= s->count)
            return err_set(io->err, INVALID, "id %lld (row %lld) is not in 0 .. %lld",
                           (long long)id, (long long)i, (long long)s->count - 1);
        if (s->row_bytes > 0)
            memcpy((uint8_t *)io->out[0] + (size_t)i * s->row_bytes,
                   (const uint8_t *)io->in[1 + id] + (size_t)i * s->row_bytes, s->row_bytes);
    }
    return OK;
}

const struct kernel ref_choose[] = {
    { "masked_select", "ref masked_select", UINT32_MAX, DEVICE_CPU, NULL, prepare_masked,
      run_masked, NULL },
    { "nonzero", "ref nonzero", NUMBERS | DTYPE_BIT(DTYPE_BOOL) | DTYPE_BIT(DTYPE_U8), DEVICE_CPU,
      NULL, prepare_nonzero, run_nonzero, NULL },
    { "unique", "ref unique", NUMBERS, DEVICE_CPU, NULL, prepare_unique, run_unique, NULL },
    { "linspace", "ref linspace", NUMBERS, DEVICE_CPU, refuse_linspace, prepare_linspace,
      run_linspace, NULL },
    { "diag", "ref diag", NUMBERS, DEVICE_CPU, NULL, prepare_diag, run_diag, NULL },
    { "put_slice", "ref put_slice", UINT32_MAX, DEVICE_CPU, NULL, prepare_put, run_put, NULL },
    { "repeat", "ref repeat", UINT32_MAX, DEVICE_CPU, NULL, prepare_repeat, run_repeat, NULL },
    { "shard_index", "ref shard_index", INTS, DEVICE_CPU, NULL, prepare_shard, run_shard, NULL },
    { "multiplex", "ref multiplex", INTS, DEVICE_CPU, NULL, prepare_multiplex, run_multiplex,
      NULL },
    { 0 },
};
