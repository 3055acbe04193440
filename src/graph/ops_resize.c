/* Operators that look at an image at other places than its elements': resizing, padding, sampling by a grid. */
#include "graph/attrs_image.h"
#include "graph/ops.h"

#include <math.h>
#include <string.h>

const char *const resize_mode_names[] = { "nearest", "linear", "cubic", NULL };
const char *const resize_place_names[] = { "half_pixel", "asymmetric", "corners", "half_pixel_or_0",
                                           NULL };
const char *const resize_round_names[] = { "down", "half_up", "half_down", "up", NULL };
const char *const pad_mode_names[] = { "constant", "reflect", "edge", "wrap", NULL };
const char *const grid_padding_names[] = { "zeros", "border", "reflection", NULL };

#define SIZE_LIMIT ((int64_t)1 << 31)

/* ---- inputs that decide on a shape ---- */

static status known_ints(const struct type *t, const char *what, struct attr_ints *out,
                         struct err *e)
{
    const struct tensor *c = t->constant;
    if (c == NULL)
        return err_set(e, UNSUPPORTED, "%s is known only when it runs", what);
    out->count = (int32_t)shape_numel(&c->shape);
    if ((c->dtype != DTYPE_I32 && c->dtype != DTYPE_I64) || shape_numel(&c->shape) > ATTR_INTS_MAX)
        return err_set(e, INVALID, "%s: expected a few int32 or int64, got %lld of %s", what,
                       (long long)shape_numel(&c->shape), dtype_name(c->dtype));
    for (int i = 0; i < out->count; i++)
        out->v[i] =
            c->dtype == DTYPE_I32 ? ((const int32_t *)c->data)[i] : ((const int64_t *)c->data)[i];
    return OK;
}

static status known_floats(const struct type *t, const char *what, struct attr_floats *out,
                           struct err *e)
{
    const struct tensor *c = t->constant;
    if (c == NULL)
        return err_set(e, UNSUPPORTED, "%s is known only when it runs", what);
    out->count = (int32_t)shape_numel(&c->shape);
    if (c->dtype != DTYPE_F32 || shape_numel(&c->shape) > ATTR_INTS_MAX)
        return err_set(e, INVALID, "%s: expected a few float32, got %lld of %s", what,
                       (long long)shape_numel(&c->shape), dtype_name(c->dtype));
    memcpy(out->v, c->data, (size_t)out->count * sizeof(float));
    return OK;
}

/* ---- resize ---- */

/* A list with one number for each axis, or one for all, or none. */
static bool counts(int32_t count, int axes)
{
    return count == 0 || count == 1 || count == axes;
}

static status resize_one(const struct resize_attrs *a, struct resize_axis *x, int64_t size,
                         float scale, struct err *e)
{
    if (size < 0 && !(scale > 0 && (double)x->in * (double)scale < (double)SIZE_LIMIT))
        return err_set(e, INVALID, "a scale of %g for %lld elements", (double)scale,
                       (long long)x->in);
    x->out = size >= 0 ? size : (int64_t)((float)x->in * scale);
    if (x->in < 1 || x->out < 1 || x->in >= SIZE_LIMIT || x->out >= SIZE_LIMIT)
        return err_set(e, INVALID, "%lld elements cannot become %lld", (long long)x->in,
                       (long long)x->out);
    x->ratio = (float)x->in / (float)x->out;
    if (scale > 0 && !a->ratio_of_sizes)
        x->ratio = 1 / scale;
    if (a->place == PLACE_CORNERS)
        x->ratio = x->out > 1 ? (float)(x->in - 1) / (float)(x->out - 1) : 0;
    return OK;
}

static status resize_axes(const struct resize_attrs *a, const struct shape *x, bool all,
                          struct resize_axis out[SHAPE_MAX], int *count, struct err *e)
{
    bool listed = a->axes.count > 0;
    *count = listed ? a->axes.count : all ? x->rank : x->rank - 2;
    if (*count < 1 || *count > SHAPE_MAX)
        return err_set(e, INVALID, "%d axes of %d dimensions", *count, x->rank);
    for (int i = 0; i < *count; i++) {
        int axis = listed ? shape_axis(x, a->axes.v[i]) : all ? i : 2 + i;
        if (axis < 0)
            return err_set(e, INVALID, "axis %lld of %d dimensions", (long long)a->axes.v[i],
                           x->rank);
        for (int k = 0; k < i; k++)
            if (out[k].axis == axis)
                return err_set(e, INVALID, "axis %d is resized twice", axis);
        out[i] = (struct resize_axis){ .axis = axis, .in = x->dim[axis] };
    }
    return OK;
}

status resize_plan(const struct node *n, const struct type *in, struct resize_axis out[SHAPE_MAX],
                   int *count, struct err *e)
{
    const struct resize_attrs *a = n->attrs;
    struct attr_ints size = a->size;
    struct attr_floats scale = a->scale;
    bool by_size = has_input(n, 1), by_scale = has_input(n, 2) || scale.count > 0;
    if (has_input(n, 2))
        TRY(known_floats(&in[2], "its scale", &scale, e));
    if (by_size)
        TRY(known_ints(&in[1], "its size", &size, e));
    int rank = in[0].shape.rank;
    TRY(resize_axes(a, &in[0].shape, size.count == rank || scale.count == rank, out, count, e));
    if (!counts(size.count, *count) || !counts(scale.count, *count) ||
        (size.count == 0 && scale.count == 0))
        return err_set(e, INVALID, "%d sizes and %d scales for %d axes", size.count, scale.count,
                       *count);
    for (int i = 0; i < *count; i++) {
        int64_t to = by_size || !by_scale ? size.v[size.count == 1 ? 0 : i] : -1;
        float by = scale.count > 0 ? scale.v[scale.count == 1 ? 0 : i] : 0;
        if (to < 0 && (by_size || !by_scale))
            return err_set(e, INVALID, "a size of %lld", (long long)to);
        TRY(resize_one(a, &out[i], to, by, e));
    }
    return OK;
}

static status infer_resize(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    struct resize_axis axis[SHAPE_MAX];
    int count;
    TRY(resize_plan(n, in, axis, &count, e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    for (int i = 0; i < count; i++)
        out[0].shape.dim[axis[i].axis] = axis[i].out;
    return OK;
}

/* ---- pad ---- */

status pad_amounts(const struct node *n, const struct type *in, int64_t before[SHAPE_MAX],
                   int64_t after[SHAPE_MAX], struct err *e)
{
    const struct pad_attrs *a = n->attrs;
    int rank = in[0].shape.rank;
    struct attr_ints pads = a->pads;
    if (has_input(n, 1))
        TRY(known_ints(&in[1], "its pads", &pads, e));
    if (pads.count != 2 * rank)
        return err_set(e, INVALID, "%d pads for %d dimensions", pads.count, rank);
    for (int i = 0; i < rank; i++) {
        before[i] = pads.v[i];
        after[i] = pads.v[rank + i];
    }
    return OK;
}

static status pad_axis(const struct pad_attrs *a, int64_t dim, int64_t before, int64_t after,
                       int64_t *out, struct err *e)
{
    int64_t reach = a->mode == PADDING_REFLECT ? dim - 1 : a->mode == PADDING_WRAP ? dim : -1;
    if (dim >= SIZE_LIMIT || before <= -SIZE_LIMIT || before >= SIZE_LIMIT ||
        after <= -SIZE_LIMIT || after >= SIZE_LIMIT)
        return err_set(e, TOO_LARGE, "%lld elements with pads of %lld and %lld", (long long)dim,
                       (long long)before, (long long)after);
    *out = dim + before + after;
    if (*out < 0 || (dim == 0 && *out > 0 && a->mode != PADDING_CONSTANT))
        return err_set(e, INVALID, "%lld elements with pads of %lld and %lld", (long long)dim,
                       (long long)before, (long long)after);
    if (reach >= 0 && (before > reach || after > reach))
        return err_set(e, INVALID, "pads of %lld and %lld reach over %lld elements",
                       (long long)before, (long long)after, (long long)dim);
    return OK;
}

static status infer_pad(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    int64_t before[SHAPE_MAX], after[SHAPE_MAX];
    TRY(pad_amounts(n, in, before, after, e));
    if (has_input(n, 2)) {
        TRY(want_dtype(&in[2], in[0].dtype, "its value", e));
        if (shape_numel(&in[2].shape) != 1)
            return err_set(e, INVALID, "expected one value to pad with");
    }
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    for (int i = 0; i < in[0].shape.rank; i++)
        TRY(pad_axis(n->attrs, in[0].shape.dim[i], before[i], after[i], &out[0].shape.dim[i], e));
    return OK;
}

/* ---- grids ---- */

static status infer_grid_sample(const struct node *n, const struct type *in, struct type *out,
                                struct err *e)
{
    const struct grid_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape, *grid = &in[1].shape;
    char s[SHAPE_TEXT_MAX], t[SHAPE_TEXT_MAX];
    TRY(want_dtype(&in[1], in[0].dtype, "its grid", e));
    if ((x->rank != 4 && x->rank != 5) || grid->rank != x->rank || grid->dim[0] != x->dim[0] ||
        grid->dim[x->rank - 1] != x->rank - 2)
        return err_set(e, INVALID, "image %s and grid %s do not agree", shape_text(x, s, sizeof(s)),
                       shape_text(grid, t, sizeof(t)));
    if (a->mode == RESIZE_CUBIC && x->rank == 5)
        return err_set(e, UNSUPPORTED, "cubic interpolation in three dimensions");
    for (int i = 2; i < x->rank; i++)
        if (x->dim[i] < 1 || x->dim[i] >= SIZE_LIMIT)
            return err_set(e, INVALID, "image %s", shape_text(x, s, sizeof(s)));
    out[0] = (struct type){ in[0].dtype, *grid, NULL };
    out[0].shape.dim[1] = x->dim[1];
    for (int i = 2; i < x->rank; i++)
        out[0].shape.dim[i] = grid->dim[i - 1];
    return OK;
}

static status infer_affine_grid(const struct node *n, const struct type *in, struct type *out,
                                struct err *e)
{
    const struct affine_grid_attrs *a = n->attrs;
    struct attr_ints size = a->size;
    const struct shape *theta = &in[0].shape;
    if (has_input(n, 1))
        TRY(known_ints(&in[1], "its size", &size, e));
    int axes = size.count - 2;
    if (theta->rank != 3 || (axes != 2 && axes != 3) || theta->dim[1] != axes ||
        theta->dim[2] != axes + 1)
        return err_set(e, UNSUPPORTED,
                       "expected theta [N, 2, 3] and 4 sizes, or [N, 3, 4] and 5, got %d "
                       "dimensions, %d sizes",
                       theta->rank, size.count);
    out[0] = (struct type){ in[0].dtype, { .rank = axes + 2 }, NULL };
    out[0].shape.dim[0] = size.v[0];
    out[0].shape.dim[axes + 1] = axes;
    for (int i = 0; i < axes; i++) {
        out[0].shape.dim[1 + i] = size.v[2 + i];
        if (size.v[0] != theta->dim[0] || size.v[2 + i] < 1 || size.v[2 + i] >= SIZE_LIMIT)
            return err_set(e, INVALID, "a grid of %lld images, %lld x %lld", (long long)size.v[0],
                           (long long)size.v[axes], (long long)size.v[axes + 1]);
    }
    return OK;
}

static const struct attr_field resize_fields[] = {
    FIELD_ENUM(resize_attrs, mode, resize_mode_names),
    FIELD_ENUM(resize_attrs, place, resize_place_names),
    FIELD_ENUM(resize_attrs, round, resize_round_names),
    FIELD(resize_attrs, cubic, ATTR_F32),
    FIELD(resize_attrs, axes, ATTR_I64S),
    FIELD(resize_attrs, size, ATTR_I64S),
    FIELD(resize_attrs, scale, ATTR_F32S),
    FIELD(resize_attrs, ratio_of_sizes, ATTR_BOOL),
    { 0 },
};

static const struct attr_field pad_fields[] = {
    FIELD_ENUM(pad_attrs, mode, pad_mode_names),
    FIELD(pad_attrs, pads, ATTR_I64S),
    FIELD(pad_attrs, value, ATTR_F32),
    { 0 },
};

static const struct attr_field grid_fields[] = {
    FIELD_ENUM(grid_attrs, mode, resize_mode_names),
    FIELD_ENUM(grid_attrs, padding, grid_padding_names),
    FIELD(grid_attrs, align_corners, ATTR_BOOL),
    FIELD(grid_attrs, strict, ATTR_BOOL),
    { 0 },
};

static const struct attr_field affine_fields[] = {
    FIELD(affine_grid_attrs, size, ATTR_I64S),
    FIELD(affine_grid_attrs, align_corners, ATTR_BOOL),
    { 0 },
};

// clang-format off
const struct op ops_resize[] = {
    { "resize",      1, 3, 1, OP_NEEDS(1) | OP_NEEDS(2), resize_fields, sizeof(struct resize_attrs),      infer_resize },
    { "pad",         1, 3, 1, OP_NEEDS(1), pad_fields,    sizeof(struct pad_attrs),         infer_pad },
    { "grid_sample", 2, 2, 1, 0, grid_fields,   sizeof(struct grid_attrs),        infer_grid_sample },
    { "affine_grid", 1, 2, 1, OP_NEEDS(1), affine_fields, sizeof(struct affine_grid_attrs), infer_affine_grid },
    { 0 },
};
// clang-format on
