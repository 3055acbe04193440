#include "graph/attrs_index.h"
#include "kernels/ref/ref.h"

#include <string.h>

struct state {
    int64_t count, rows;
    size_t row_bytes;
    bool wide; /* int64 ids, else int32 */
    struct embedding_attrs attrs;
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct shape *table = &ctx->in[1].shape;
    s->count = shape_numel(&ctx->in[0].shape);
    s->rows = table->dim[0];
    s->row_bytes = (size_t)table->dim[1] * dtype_size(ctx->in[1].dtype);
    s->wide = ctx->in[0].dtype == DTYPE_I64;
    s->attrs = *(const struct embedding_attrs *)ctx->node->attrs;
    *state = s;
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const uint8_t *table = io->in[1];
    uint8_t *out = io->out[0];
    for (int64_t i = 0; i < s->count; i++, out += s->row_bytes) {
        int64_t id = s->wide ? ((const int64_t *)io->in[0])[i] : ((const int32_t *)io->in[0])[i];
        if (s->attrs.has_padding && id == s->attrs.padding_id)
            memset(out, 0, s->row_bytes);
        else if (id >= 0 && id < s->rows)
            memcpy(out, table + (size_t)id * s->row_bytes, s->row_bytes);
        else
            return err_set(io->err, INVALID,
                           "id %lld (element %lld) is not in the table's 0 .. %lld", (long long)id,
                           (long long)i, (long long)s->rows - 1);
    }
    return OK;
}

/* ---- gather, gather_nd, take_along ---- */

#define INDICES (DTYPE_BIT(DTYPE_I64) | DTYPE_BIT(DTYPE_I32))

struct index {
    const void *p;
    bool wide; /* int64, else int32 */
};

/* Element i, counted from 0 up; a fault where it is not in a dimension of `dim`. */
static status index_at(const struct index *x, int64_t i, int64_t dim, int64_t *out, struct err *e)
{
    int64_t v = x->wide ? ((const int64_t *)x->p)[i] : ((const int32_t *)x->p)[i];
    *out = v < 0 ? v + dim : v;
    if (v >= -dim && v < dim)
        return OK;
    return err_set(e, INVALID, "index %lld (element %lld) is not in the %lld that there are",
                   (long long)v, (long long)i, (long long)dim);
}

static const char *refuse_index(const struct kernel_ctx *ctx)
{
    return INDICES & DTYPE_BIT(ctx->in[1].dtype) ? NULL : "not for such indices";
}

struct pick {
    int64_t outer, dim, count; /* of indices for each of `outer` blocks of dim rows */
    size_t row_bytes;
    bool wide;
};

static status prepare_gather(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    int axis = shape_axis(x, ((const struct gather_attrs *)ctx->node->attrs)->axis);
    struct pick *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct pick){ .outer = shape_span(x, 0, axis),
                        .dim = x->dim[axis],
                        .count = shape_numel(&ctx->in[1].shape),
                        .row_bytes =
                            (size_t)shape_span(x, axis + 1, x->rank) * dtype_size(ctx->in[0].dtype),
                        .wide = ctx->in[1].dtype == DTYPE_I64 };
    *state = s;
    return OK;
}

static status run_gather(const void *state, const struct kernel_io *io)
{
    const struct pick *s = state;
    struct index index = { io->in[1], s->wide };
    const uint8_t *x = io->in[0];
    uint8_t *out = io->out[0];
    for (int64_t o = 0; s->row_bytes > 0 && o < s->outer; o++, x += (size_t)s->dim * s->row_bytes)
        for (int64_t i = 0; i < s->count; i++, out += s->row_bytes) {
            int64_t row;
            TRY(index_at(&index, i, s->dim, &row, io->err));
            memcpy(out, x + (size_t)row * s->row_bytes, s->row_bytes);
        }
    return OK;
}

/* Rows of an index [..., k] that name places of x, each row_bytes large. */
struct named {
    int64_t count, k;
    int64_t dim[SHAPE_MAX];
    size_t row_bytes;
    bool wide;
};

static void named_of(const struct kernel_ctx *ctx, struct named *s)
{
    const struct shape *x = &ctx->in[0].shape, *index = &ctx->in[1].shape;
    s->k = index->dim[index->rank - 1];
    s->count = shape_span(index, 0, index->rank - 1);
    s->row_bytes = (size_t)shape_span(x, (int)s->k, x->rank) * dtype_size(ctx->in[0].dtype);
    s->wide = ctx->in[1].dtype == DTYPE_I64;
    memcpy(s->dim, x->dim, sizeof(s->dim));
}

/* The place that row i names, in rows of x. */
static status named_at(const struct named *s, const void *p, int64_t i, int64_t *out, struct err *e)
{
    struct index index = { p, s->wide };
    *out = 0;
    for (int64_t d = 0; d < s->k; d++) {
        int64_t at;
        TRY(index_at(&index, i * s->k + d, s->dim[d], &at, e));
        *out = *out * s->dim[d] + at;
    }
    return OK;
}

static status prepare_gather_nd(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                struct err *e)
{
    struct named *s = arena_zalloc(ctx->arena, sizeof(*s));
    named_of(ctx, s);
    *state = s;
    return OK;
}

static status run_gather_nd(const void *state, const struct kernel_io *io)
{
    const struct named *s = state;
    uint8_t *out = io->out[0];
    for (int64_t i = 0; s->row_bytes > 0 && i < s->count; i++, out += s->row_bytes) {
        int64_t row;
        TRY(named_at(s, io->in[1], i, &row, io->err));
        memcpy(out, (const uint8_t *)io->in[0] + (size_t)row * s->row_bytes, s->row_bytes);
    }
    return OK;
}

/* Walks over an index of x's rank; the place along axis comes from it. */
struct along {
    struct shape x, index;
    int axis;
    int64_t count, x_count;
    size_t size;
    bool wide;
    int32_t mode; /* enum scatter_mode */
};

static void along_of(const struct kernel_ctx *ctx, int32_t axis, struct along *s)
{
    *s = (struct along){ .x = ctx->in[0].shape,
                         .index = ctx->in[1].shape,
                         .axis = shape_axis(&ctx->in[0].shape, axis),
                         .count = shape_numel(&ctx->in[1].shape),
                         .x_count = shape_numel(&ctx->in[0].shape),
                         .size = dtype_size(ctx->in[0].dtype),
                         .wide = ctx->in[1].dtype == DTYPE_I64 };
}

static status along_at(const struct along *s, const void *p, int64_t i, int64_t *out, struct err *e)
{
    struct index index = { p, s->wide };
    int64_t step = 1, rest = i;
    *out = 0;
    for (int d = s->x.rank - 1; d >= 0; d--) {
        int64_t at = rest % s->index.dim[d];
        rest /= s->index.dim[d];
        if (d == s->axis)
            TRY(index_at(&index, i, s->x.dim[d], &at, e));
        *out += at * step;
        step *= s->x.dim[d];
    }
    return OK;
}

static status prepare_take_along(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                 struct err *e)
{
    struct along *s = arena_zalloc(ctx->arena, sizeof(*s));
    along_of(ctx, ((const struct gather_attrs *)ctx->node->attrs)->axis, s);
    *state = s;
    return OK;
}

static status run_take_along(const void *state, const struct kernel_io *io)
{
    const struct along *s = state;
    for (int64_t i = 0; i < s->count; i++) {
        int64_t from;
        TRY(along_at(s, io->in[1], i, &from, io->err));
        memcpy((uint8_t *)io->out[0] + (size_t)i * s->size,
               (const uint8_t *)io->in[0] + (size_t)from * s->size, s->size);
    }
    return OK;
}

/* ---- scatter ---- */

#define COMBINE(name, type)                                               \
    static void name(int32_t mode, void *to, const void *from, int64_t n) \
    {                                                                     \
        type *t = to;                                                     \
        const type *f = from;                                             \
        for (int64_t i = 0; i < n; i++)                                   \
            switch ((enum scatter_mode)mode) {                            \
            case SCATTER_SET: t[i] = f[i]; break;                         \
            case SCATTER_ADD: t[i] = t[i] + f[i]; break;                  \
            case SCATTER_MUL: t[i] = t[i] * f[i]; break;                  \
            case SCATTER_MAX: t[i] = f[i] > t[i] ? f[i] : t[i]; break;    \
            case SCATTER_MIN: t[i] = f[i] < t[i] ? f[i] : t[i]; break;    \
            }                                                             \
    }
COMBINE(combine_f32, float)
COMBINE(combine_f64, double)

/* Integers wrap, by way of unsigned. */
#define COMBINE_INT(name, type, wrap)                                        \
    static void name(int32_t mode, void *to, const void *from, int64_t n)    \
    {                                                                        \
        type *t = to;                                                        \
        const type *f = from;                                                \
        for (int64_t i = 0; i < n; i++)                                      \
            switch ((enum scatter_mode)mode) {                               \
            case SCATTER_SET: t[i] = f[i]; break;                            \
            case SCATTER_ADD: t[i] = (type)((wrap)t[i] + (wrap)f[i]); break; \
            case SCATTER_MUL: t[i] = (type)((wrap)t[i] * (wrap)f[i]); break; \
            case SCATTER_MAX: t[i] = f[i] > t[i] ? f[i] : t[i]; break;       \
            case SCATTER_MIN: t[i] = f[i] < t[i] ? f[i] : t[i]; break;       \
            }                                                                \
    }
COMBINE_INT(combine_i32, int32_t, uint32_t)
COMBINE_INT(combine_i64, int64_t, uint64_t)

typedef void (*combine_fn)(int32_t mode, void *to, const void *from, int64_t n);

static const combine_fn combine[] = { [DTYPE_F32] = combine_f32,
                                      [DTYPE_F64] = combine_f64,
                                      [DTYPE_I32] = combine_i32,
                                      [DTYPE_I64] = combine_i64 };

#define NUMBERS \
    (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64) | DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I64))

struct scatter {
    union {
        struct named named;
        struct along along;
    } at;
    struct scatter_attrs attrs;
    combine_fn combine;
    int64_t row, count; /* elements of a row, of x */
    size_t size;
};

static struct scatter *scatter_of(const struct kernel_ctx *ctx)
{
    struct scatter *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct scatter_attrs *)ctx->node->attrs;
    s->combine = combine[ctx->in[0].dtype];
    s->count = shape_numel(&ctx->in[0].shape);
    s->size = dtype_size(ctx->in[0].dtype);
    s->row = 1;
    return s;
}

static void copy_x(const struct scatter *s, const struct kernel_io *io)
{
    if (io->out[0] != io->in[0] && s->count > 0)
        memcpy(io->out[0], io->in[0], (size_t)s->count * s->size);
}

static status prepare_put_along(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                struct err *e)
{
    struct scatter *s = scatter_of(ctx);
    along_of(ctx, s->attrs.axis, &s->at.along);
    *state = s;
    return OK;
}

static status run_put_along(const void *state, const struct kernel_io *io)
{
    const struct scatter *s = state;
    copy_x(s, io);
    for (int64_t i = 0; i < s->at.along.count; i++) {
        int64_t to;
        TRY(along_at(&s->at.along, io->in[1], i, &to, io->err));
        s->combine(s->attrs.mode, (uint8_t *)io->out[0] + (size_t)to * s->size,
                   (const uint8_t *)io->in[2] + (size_t)i * s->size, 1);
    }
    return OK;
}

static status prepare_scatter_nd(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                 struct err *e)
{
    struct scatter *s = scatter_of(ctx);
    named_of(ctx, &s->at.named);
    s->row = (int64_t)(s->at.named.row_bytes / s->size);
    *state = s;
    return OK;
}

/* The rows of a flat index are rows of [n, 1]. */
static status prepare_scatter_rows(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                   struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct scatter *s = scatter_of(ctx);
    s->row = shape_span(x, 1, x->rank);
    s->at.named = (struct named){ .count = ctx->in[1].shape.dim[0],
                                  .k = 1,
                                  .dim = { x->dim[0] },
                                  .row_bytes = (size_t)s->row * s->size,
                                  .wide = ctx->in[1].dtype == DTYPE_I64 };
    *state = s;
    return OK;
}

static status run_scatter_nd(const void *state, const struct kernel_io *io)
{
    const struct scatter *s = state;
    size_t bytes = s->at.named.row_bytes;
    uint8_t *out = io->out[0];
    int64_t row;
    copy_x(s, io);
    for (int64_t i = 0; i < s->at.named.count && s->attrs.afresh; i++) {
        TRY(named_at(&s->at.named, io->in[1], i, &row, io->err));
        memset(out + (size_t)row * bytes, 0, bytes);
    }
    for (int64_t i = 0; i < s->at.named.count; i++) {
        TRY(named_at(&s->at.named, io->in[1], i, &row, io->err));
        s->combine(s->attrs.mode, out + (size_t)row * bytes,
                   (const uint8_t *)io->in[2] + (size_t)i * bytes, s->row);
    }
    return OK;
}

/* ---- where ---- */

struct where {
    int rank;
    int64_t dim[SHAPE_MAX], step[3][SHAPE_MAX];
    int64_t count;
    size_t size;
};

static status prepare_where(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    const struct shape *out = &ctx->out[0].shape;
    struct where *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->rank = out->rank;
    s->count = shape_numel(out);
    s->size = dtype_size(ctx->in[1].dtype);
    memcpy(s->dim, out->dim, sizeof(s->dim));
    for (int i = 0; i < 3; i++) {
        const struct shape *x = &ctx->in[i].shape;
        int64_t step = 1;
        for (int d = x->rank - 1, o = out->rank - 1; d >= 0; d--, o--) {
            s->step[i][o] = x->dim[d] == 1 ? 0 : step;
            step *= x->dim[d];
        }
    }
    *state = s;
    return OK;
}

static status run_where(const void *state, const struct kernel_io *io)
{
    const struct where *s = state;
    int64_t index[SHAPE_MAX] = { 0 }, at[3] = { 0 };
    uint8_t *out = io->out[0];
    for (int64_t i = 0; i < s->count; i++, out += s->size) {
        int from = ((const uint8_t *)io->in[0])[at[0]] != 0 ? 1 : 2;
        memcpy(out, (const uint8_t *)io->in[from] + (size_t)at[from] * s->size, s->size);
        for (int d = s->rank - 1; d >= 0; d--) {
            for (int k = 0; k < 3; k++)
                at[k] += s->step[k][d];
            if (++index[d] < s->dim[d])
                break;
            for (int k = 0; k < 3; k++)
                at[k] -= s->step[k][d] * s->dim[d];
            index[d] = 0;
        }
    }
    return OK;
}

/* ---- one_hot ---- */

struct one_hot {
    int64_t count, depth;
    struct one_hot_attrs attrs;
    size_t size;
    bool wide;
    uint64_t one; /* the bytes of a 1 */
};

/* A 1 of the dtype, as its first bytes. */
static uint64_t one_of(dtype d)
{
    union {
        uint64_t u;
        float f;
        double d;
        uint16_t h;
    } v = { .u = 1 };
    if (d == DTYPE_F32)
        v.f = 1;
    if (d == DTYPE_F64)
        v.d = 1;
    if (d == DTYPE_F16 || d == DTYPE_BF16)
        v.h = d == DTYPE_F16 ? f32_to_f16(1) : f32_to_bf16(1);
    return v.u;
}

static const char *refuse_one_hot(const struct kernel_ctx *ctx)
{
    return dtype_size(ctx->out[0].dtype) <= 8 && ctx->out[0].dtype != DTYPE_C64
               ? NULL
               : "not for such a result";
}

static status prepare_one_hot(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    struct one_hot *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->count = shape_numel(&ctx->in[0].shape);
    s->depth = ctx->out[0].shape.dim[ctx->out[0].shape.rank - 1];
    s->attrs = *(const struct one_hot_attrs *)ctx->node->attrs;
    s->size = dtype_size(ctx->out[0].dtype);
    s->wide = ctx->in[0].dtype == DTYPE_I64;
    s->one = one_of(ctx->out[0].dtype);
    *state = s;
    return OK;
}

static status run_one_hot(const void *state, const struct kernel_io *io)
{
    const struct one_hot *s = state;
    uint8_t *out = io->out[0];
    size_t row = (size_t)s->depth * s->size;
    memset(out, 0, (size_t)s->count * row);
    for (int64_t i = 0; i < s->count; i++, out += row) {
        int64_t id = s->wide ? ((const int64_t *)io->in[0])[i] : ((const int32_t *)io->in[0])[i];
        int64_t at = id < 0 && s->attrs.negative ? id + s->depth : id;
        if (at >= 0 && at < s->depth)
            memcpy(out + (size_t)at * s->size, &s->one, s->size);
        else if (!s->attrs.lenient)
            return err_set(io->err, INVALID, "id %lld (element %lld) is not in 0 .. %lld",
                           (long long)id, (long long)i, (long long)s->depth - 1);
    }
    return OK;
}

const struct kernel ref_index[] = {
    { "embedding", "ref embedding", DTYPE_BIT(DTYPE_I64) | DTYPE_BIT(DTYPE_I32), DEVICE_CPU, NULL,
      prepare, run, NULL },
    { "gather", "ref gather", UINT32_MAX, DEVICE_CPU, refuse_index, prepare_gather, run_gather,
      NULL },
    { "gather_nd", "ref gather_nd", UINT32_MAX, DEVICE_CPU, refuse_index, prepare_gather_nd,
      run_gather_nd, NULL },
    { "take_along", "ref take_along", UINT32_MAX, DEVICE_CPU, refuse_index, prepare_take_along,
      run_take_along, NULL },
    { "put_along", "ref put_along", NUMBERS, DEVICE_CPU, refuse_index, prepare_put_along,
      run_put_along, NULL },
    { "scatter_rows", "ref scatter_rows", NUMBERS, DEVICE_CPU, refuse_index, prepare_scatter_rows,
      run_scatter_nd, NULL },
    { "scatter_nd", "ref scatter_nd", NUMBERS, DEVICE_CPU, refuse_index, prepare_scatter_nd,
      run_scatter_nd, NULL },
    { "where", "ref where", DTYPE_BIT(DTYPE_BOOL), DEVICE_CPU, NULL, prepare_where, run_where,
      NULL },
    { "one_hot", "ref one_hot", INDICES, DEVICE_CPU, refuse_one_hot, prepare_one_hot, run_one_hot,
      NULL },
    { 0 },
};
