/* Moving elements one by one. */
#include "graph/attrs_move.h"
#include "kernels/ref/ref.h"
#include "kernels/walk.h"

#include <string.h>

static status run_walk(const void *state, const struct kernel_io *io)
{
    const struct walk *w = state;
    const uint8_t *x = io->in[0];
    uint8_t *out = io->out[0];
    int64_t index[VIEW_RANK_MAX] = { 0 }, at = w->offset;
    for (int64_t i = 0; i < w->count; i++) {
        memcpy(out + (size_t)i * w->size, x + at * (int64_t)w->size, w->size);
        walk_next(w, w->rank, index, &at);
    }
    return OK;
}

#define X(op, view)                                                                         \
    static status prepare_##op(const struct kernel_ctx *ctx, void **state, size_t *scratch, \
                               struct err *e)                                               \
    {                                                                                       \
        return walk_prepare(ctx, view, state, e);                                           \
    }
WALK_LIST(X)
#undef X

/* ---- roll ---- */

struct roll {
    struct shape shape;
    int64_t shift[SHAPE_MAX]; /* 0 .. dim-1 */
    int64_t count;
    size_t size;
};

/* a mod b that is never negative. */
static int64_t modulo(int64_t a, int64_t b)
{
    int64_t r = b > 0 ? a % b : 0;
    return r < 0 ? r + b : r;
}

static status prepare_roll(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct roll_attrs *a = ctx->node->attrs;
    struct roll *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->shape = ctx->in[0].shape;
    s->count = shape_numel(&s->shape);
    s->size = dtype_size(ctx->in[0].dtype);
    if (a->axes.count == 0)
        s->shape = SHAPE(s->count);
    for (int i = 0; i < a->shifts.count; i++) {
        int axis = a->axes.count > 0 ? shape_axis(&s->shape, a->axes.v[i]) : 0;
        int64_t dim = s->shape.dim[axis];
        s->shift[axis] = modulo(s->shift[axis] + modulo(a->shifts.v[i], dim), dim);
    }
    *state = s;
    return OK;
}

/* Where the element that comes to the place `at` lies in the input. */
static int64_t rolled_from(const struct roll *s, int64_t at)
{
    int64_t from = 0, step = 1;
    for (int i = s->shape.rank - 1; i >= 0; i--) {
        int64_t dim = s->shape.dim[i];
        from += modulo(at % dim - s->shift[i], dim) * step;
        step *= dim;
        at /= dim;
    }
    return from;
}

static status run_roll(const void *state, const struct kernel_io *io)
{
    const struct roll *s = state;
    for (int64_t i = 0; i < s->count; i++)
        memcpy((uint8_t *)io->out[0] + (size_t)i * s->size,
               (const uint8_t *)io->in[0] + (size_t)rolled_from(s, i) * s->size, s->size);
    return OK;
}

/* ---- triangle ---- */

struct triangle {
    int64_t matrices, rows, columns;
    struct triangle_attrs attrs;
    size_t size;
};

static status prepare_triangle(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                               struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct triangle *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->matrices = shape_span(x, 0, x->rank - 2);
    s->rows = x->dim[x->rank - 2];
    s->columns = x->dim[x->rank - 1];
    s->attrs = *(const struct triangle_attrs *)ctx->node->attrs;
    s->size = dtype_size(ctx->in[0].dtype);
    *state = s;
    return OK;
}

static status run_triangle(const void *state, const struct kernel_io *io)
{
    const struct triangle *s = state;
    const uint8_t *x = io->in[0];
    uint8_t *out = io->out[0];
    for (int64_t m = 0; m < s->matrices; m++)
        for (int64_t r = 0; r < s->rows; r++)
            for (int64_t c = 0; c < s->columns; c++, x += s->size, out += s->size) {
                int64_t above = c - r - s->attrs.diagonal;
                if (s->attrs.upper ? above >= 0 : above <= 0)
                    memcpy(out, x, s->size);
                else
                    memset(out, 0, s->size);
            }
    return OK;
}

const struct kernel ref_move[] = {
#define X(op, view) { #op, "ref " #op, UINT32_MAX, DEVICE_CPU, NULL, prepare_##op, run_walk, NULL },
    WALK_LIST(X)
#undef X
        { "roll", "ref roll", UINT32_MAX, DEVICE_CPU, NULL, prepare_roll, run_roll, NULL },
    { "triangle", "ref triangle", UINT32_MAX, DEVICE_CPU, NULL, prepare_triangle, run_triangle,
      NULL },
    { 0 },
};
