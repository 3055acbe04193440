/* Operators that move an image's elements between channels and places, or copy them out by windows. */
#include "graph/attrs_image.h"
#include "graph/ops.h"

#include <math.h>

#define SIZE_LIMIT ((int64_t)1 << 31)

static status image_dims(const struct type *x, bool channel_last, int *c, int *h, int *w,
                         struct err *e)
{
    TRY(want_rank(x, 4, "its image", e));
    *c = channel_last ? 3 : 1;
    *h = channel_last ? 1 : 2;
    *w = *h + 1;
    return OK;
}

static status infer_depth_to_space(const struct node *n, const struct type *in, struct type *out,
                                   struct err *e)
{
    const struct block_attrs *a = n->attrs;
    int c = 1, h = 2, w = 3;
    TRY(image_dims(&in[0], a->channel_last, &c, &h, &w, e));
    int64_t block = a->block, per = block * block;
    if (block < 1 || block > 4096 || in[0].shape.dim[c] % per != 0)
        return err_set(e, INVALID, "%lld channels do not make blocks of %lld x %lld",
                       (long long)in[0].shape.dim[c], (long long)block, (long long)block);
    TRY(infer_same(n, in, out, e));
    out[0].shape.dim[c] /= per;
    if (__builtin_mul_overflow(out[0].shape.dim[h], block, &out[0].shape.dim[h]) ||
        __builtin_mul_overflow(out[0].shape.dim[w], block, &out[0].shape.dim[w]))
        return err_set(e, TOO_LARGE, "the image's size overflows");
    return OK;
}

static status infer_space_to_depth(const struct node *n, const struct type *in, struct type *out,
                                   struct err *e)
{
    const struct block_attrs *a = n->attrs;
    int c = 1, h = 2, w = 3;
    TRY(image_dims(&in[0], a->channel_last, &c, &h, &w, e));
    int64_t block = a->block;
    TRY(infer_same(n, in, out, e));
    if (block < 1 || block > 4096 || in[0].shape.dim[h] % block != 0 ||
        in[0].shape.dim[w] % block != 0)
        return err_set(e, INVALID, "an image of %lld x %lld does not fall into blocks of %lld",
                       (long long)in[0].shape.dim[h], (long long)in[0].shape.dim[w],
                       (long long)block);
    out[0].shape.dim[h] /= block;
    out[0].shape.dim[w] /= block;
    if (__builtin_mul_overflow(out[0].shape.dim[c], block * block, &out[0].shape.dim[c]))
        return err_set(e, TOO_LARGE, "the number of channels overflows");
    return OK;
}

static status infer_channel_shuffle(const struct node *n, const struct type *in, struct type *out,
                                    struct err *e)
{
    const struct groups_attrs *a = n->attrs;
    int c = 1, h = 2, w = 3;
    TRY(image_dims(&in[0], a->channel_last, &c, &h, &w, e));
    if (a->groups < 1 || in[0].shape.dim[c] % a->groups != 0)
        return err_set(e, INVALID, "%lld channels do not make %d groups",
                       (long long)in[0].shape.dim[c], a->groups);
    return infer_same(n, in, out, e);
}

static status infer_maxout(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct groups_attrs *a = n->attrs;
    int axis = shape_axis(&in[0].shape, a->axis);
    if (axis < 0 || a->groups < 1 || in[0].shape.dim[axis] % a->groups != 0)
        return err_set(e, INVALID, "axis %d of %d dimensions does not make groups of %d", a->axis,
                       in[0].shape.rank, a->groups);
    TRY(infer_same(n, in, out, e));
    out[0].shape.dim[axis] /= a->groups;
    return OK;
}

/* ---- what three of them are as walks over their input ---- */

/* x seen as `seen`, its dimensions taken in the order perm; `shape` is the result's. */
static void arrange(const struct shape *seen, const int *perm, const struct shape *shape,
                    struct view *out)
{
    *out = (struct view){ .shape = *shape, .rank = seen->rank };
    for (int i = 0; i < seen->rank; i++) {
        out->dim[i] = seen->dim[perm[i]];
        out->step[i] = shape_numel(shape) > 0 ? shape_span(seen, perm[i] + 1, seen->rank) : 0;
    }
}

status depth_to_space_view(const struct node *n, const struct type *in, struct view *out,
                           struct err *e)
{
    static const int orders[2][2][6] = { { { 0, 1, 4, 2, 5, 3 }, { 0, 3, 4, 1, 5, 2 } },
                                         { { 0, 1, 4, 2, 5, 3 }, { 0, 1, 3, 2, 4, 5 } } };
    const struct block_attrs *a = n->attrs;
    const int64_t *x = in[0].shape.dim, b = a->block;
    struct type to;
    TRY(infer_depth_to_space(n, in, &to, e));
    int64_t c = x[a->channel_last ? 3 : 1] / b / b;
    struct shape seen =
        a->blocks_first ? SHAPE(x[0], b, b, c, x[2], x[3]) : SHAPE(x[0], c, b, b, x[2], x[3]);
    if (a->channel_last)
        seen =
            a->blocks_first ? SHAPE(x[0], x[1], x[2], b, b, c) : SHAPE(x[0], x[1], x[2], c, b, b);
    arrange(&seen, orders[a->channel_last][a->blocks_first], &to.shape, out);
    return OK;
}

status space_to_depth_view(const struct node *n, const struct type *in, struct view *out,
                           struct err *e)
{
    static const int orders[2][2][6] = { { { 0, 1, 3, 5, 2, 4 }, { 0, 3, 5, 1, 2, 4 } },
                                         { { 0, 1, 3, 5, 2, 4 }, { 0, 1, 3, 2, 4, 5 } } };
    const struct block_attrs *a = n->attrs;
    const int64_t *x = in[0].shape.dim, b = a->block;
    struct type to;
    TRY(infer_space_to_depth(n, in, &to, e));
    struct shape seen = a->channel_last ? SHAPE(x[0], x[1] / b, b, x[2] / b, b, x[3])
                                        : SHAPE(x[0], x[1], x[2] / b, b, x[3] / b, b);
    arrange(&seen, orders[a->channel_last][a->blocks_first], &to.shape, out);
    return OK;
}

status channel_shuffle_view(const struct node *n, const struct type *in, struct view *out,
                            struct err *e)
{
    static const int orders[2][5] = { { 0, 2, 1, 3, 4 }, { 0, 1, 2, 4, 3 } };
    const struct groups_attrs *a = n->attrs;
    const int64_t *x = in[0].shape.dim, g = a->groups;
    struct type to;
    TRY(infer_channel_shuffle(n, in, &to, e));
    struct shape seen = a->channel_last ? SHAPE(x[0], x[1], x[2], g, x[3] / g)
                                        : SHAPE(x[0], g, x[1] / g, x[2], x[3]);
    arrange(&seen, orders[a->channel_last], &to.shape, out);
    return OK;
}

/* ---- windows as columns ---- */

static int64_t pick(const struct attr_ints *v, int i, int64_t otherwise)
{
    return v->count > i ? v->v[i] : otherwise;
}

static bool fits(int64_t v, int64_t low)
{
    return v >= low && v < SIZE_LIMIT;
}

/* Axes that the image does not have come first, with one element and a window of one. */
static status column_spans(const struct im2col_attrs *a, const struct attr_ints *size,
                           const struct attr_ints *kernel, struct span out[SPATIAL_MAX],
                           struct err *e)
{
    int axes = size->count;
    if (axes < 1 || axes > SPATIAL_MAX || kernel->count != axes ||
        (a->pads.count != 0 && a->pads.count != 2 * axes))
        return err_set(e, INVALID, "expected %d kernels and %d pads, got %d and %d", axes, 2 * axes,
                       kernel->count, a->pads.count);
    for (int i = 0; i < SPATIAL_MAX - axes; i++)
        out[i] = (struct span){ 1, 1, 1, 1, 0, 0, 1 };
    for (int i = 0; i < axes; i++) {
        struct span *s = &out[SPATIAL_MAX - axes + i];
        *s = (struct span){ size->v[i],
                            kernel->v[i],
                            pick(&a->stride, i, 1),
                            pick(&a->dilation, i, 1),
                            pick(&a->pads, i, 0),
                            pick(&a->pads, axes + i, 0),
                            0 };
        if (!fits(s->in, 0) || !fits(s->kernel, 1) || !fits(s->stride, 1) ||
            !fits(s->dilation, 1) || !fits(s->before, 0) || !fits(s->after, 0))
            return err_set(e, INVALID, "a window of %lld, stride %lld, dilation %lld and pads",
                           (long long)s->kernel, (long long)s->stride, (long long)s->dilation);
        int64_t room = s->in + s->before + s->after - ((s->kernel - 1) * s->dilation + 1);
        if (room < 0)
            return err_set(e, INVALID, "a window of %lld is larger than the padded image",
                           (long long)s->kernel);
        s->out = room / s->stride + 1;
    }
    return OK;
}

status im2col_spans(const struct im2col_attrs *a, int64_t h, int64_t w,
                    struct span out[SPATIAL_MAX], struct err *e)
{
    return column_spans(a, &(struct attr_ints){ 2, { h, w } }, &a->kernel, out, e);
}

status col2im_spans(const struct node *n, const struct type *in, struct span out[SPATIAL_MAX],
                    int *axes, struct err *e)
{
    const struct im2col_attrs *a = n->attrs;
    struct attr_ints size, kernel;
    TRY(ints_of(n, in, 1, &a->size, "its size", &size, e));
    TRY(ints_of(n, in, 2, &a->kernel, "its kernel", &kernel, e));
    *axes = size.count;
    return column_spans(a, &size, &kernel, out, e);
}

static bool product(int64_t a, int64_t b, int64_t c, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out) && !__builtin_mul_overflow(*out, c, out);
}

static status infer_im2col(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    struct span s[SPATIAL_MAX];
    int64_t rows, places;
    TRY(want_rank(&in[0], 4, "its image", e));
    const struct shape *x = &in[0].shape;
    TRY(im2col_spans(n->attrs, x->dim[2], x->dim[3], s, e));
    if (!product(x->dim[1], s[1].kernel, s[2].kernel, &rows) ||
        !product(s[1].out, s[2].out, 1, &places))
        return err_set(e, TOO_LARGE, "the columns' size overflows");
    out[0] = (struct type){ in[0].dtype, SHAPE(x->dim[0], rows, places), NULL };
    return OK;
}

static status infer_col2im(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    struct span s[SPATIAL_MAX];
    int axes;
    int64_t window, places;
    TRY(want_rank(&in[0], 3, "its columns", e));
    TRY(col2im_spans(n, in, s, &axes, e));
    const struct shape *x = &in[0].shape;
    if (!product(s[0].kernel, s[1].kernel, s[2].kernel, &window) ||
        !product(s[0].out, s[1].out, s[2].out, &places) || x->dim[1] % window != 0 ||
        x->dim[2] != places)
        return err_set(e, INVALID, "columns [%lld, %lld] do not make images of %lld x %lld",
                       (long long)x->dim[1], (long long)x->dim[2], (long long)s[1].in,
                       (long long)s[2].in);
    out[0] = (struct type){ in[0].dtype, { .rank = 2 + axes }, NULL };
    out[0].shape.dim[0] = x->dim[0];
    out[0].shape.dim[1] = x->dim[1] / window;
    for (int i = 0; i < axes; i++)
        out[0].shape.dim[2 + i] = s[SPATIAL_MAX - axes + i].in;
    return OK;
}

static status infer_temporal(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    const struct temporal_attrs *a = n->attrs;
    TRY(want_rank(&in[0], 4, "its image", e));
    if (a->segments < 1 || in[0].shape.dim[0] % a->segments != 0 ||
        !(a->ratio >= 0 && a->ratio <= 0.5f))
        return err_set(e, INVALID, "%lld images, %d segments and a ratio of %g",
                       (long long)in[0].shape.dim[0], a->segments, (double)a->ratio);
    return infer_same(n, in, out, e);
}

/* even_offsets: x [N, L, ...] to the offsets of N sequences of L rows each. */
static status infer_offsets(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    int64_t end;
    if (in[0].shape.rank < 2 || in[0].shape.dim[0] == INT64_MAX ||
        __builtin_mul_overflow(in[0].shape.dim[0], in[0].shape.dim[1], &end))
        return err_set(e, INVALID, "expected sequences of rows, got %d dimensions",
                       in[0].shape.rank);
    out[0] = (struct type){ DTYPE_I64, SHAPE(in[0].shape.dim[0] + 1), NULL };
    return OK;
}

static const struct attr_field block_fields[] = {
    FIELD(block_attrs, block, ATTR_I32),
    FIELD(block_attrs, blocks_first, ATTR_BOOL),
    FIELD(block_attrs, channel_last, ATTR_BOOL),
    { 0 },
};

static const struct attr_field groups_fields[] = {
    FIELD(groups_attrs, groups, ATTR_I32),
    FIELD(groups_attrs, axis, ATTR_I32),
    FIELD(groups_attrs, channel_last, ATTR_BOOL),
    { 0 },
};

static const struct attr_field im2col_fields[] = {
    FIELD(im2col_attrs, kernel, ATTR_I64S),   FIELD(im2col_attrs, stride, ATTR_I64S),
    FIELD(im2col_attrs, dilation, ATTR_I64S), FIELD(im2col_attrs, pads, ATTR_I64S),
    FIELD(im2col_attrs, size, ATTR_I64S),     { 0 },
};

static const struct attr_field temporal_fields[] = {
    FIELD(temporal_attrs, segments, ATTR_I32),
    FIELD(temporal_attrs, ratio, ATTR_F32),
    FIELD(temporal_attrs, channel_last, ATTR_BOOL),
    { 0 },
};

// clang-format off
const struct op ops_rearrange[] = {
    { "depth_to_space",  1, 1, 1, 0, block_fields,    sizeof(struct block_attrs),    infer_depth_to_space },
    { "space_to_depth",  1, 1, 1, 0, block_fields,    sizeof(struct block_attrs),    infer_space_to_depth },
    { "channel_shuffle", 1, 1, 1, 0, groups_fields,   sizeof(struct groups_attrs),   infer_channel_shuffle },
    { "maxout",          1, 1, 1, 0, groups_fields,   sizeof(struct groups_attrs),   infer_maxout },
    { "im2col",          1, 1, 1, 0, im2col_fields,   sizeof(struct im2col_attrs),   infer_im2col },
    { "col2im",          1, 3, 1, OP_NEEDS(1) | OP_NEEDS(2), im2col_fields,   sizeof(struct im2col_attrs),   infer_col2im },
    { "temporal_shift",  1, 1, 1, 0, temporal_fields, sizeof(struct temporal_attrs), infer_temporal },
    { "even_offsets",    1, 1, 1, OP_SHAPE_ONLY, NULL,            0,                             infer_offsets },
    { 0 },
};
// clang-format on
