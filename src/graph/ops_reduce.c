/* Operators that bring many elements down to one, or run along an axis. */
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"
#include "graph/ops.h"

const char *const reduce_names[] = { "sum", "mean",          "max", "min", "prod",       "all",
                                     "any", "logsumexp",     "l1",  "l2",  "sum_square", "log_sum",
                                     "lp",  "count_nonzero", NULL };
const char *const scan_names[] = { "sum", "prod", "max", "min", "logsumexp", NULL };

static status axis_fault(int64_t axis, int rank, struct err *e)
{
    return err_set(e, INVALID, "axis %lld does not fit %d dimensions", (long long)axis, rank);
}

status reduce_axes(const struct node *n, const struct type *in, bool drop[SHAPE_MAX], struct err *e)
{
    const struct reduce_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    struct attr_ints axes;
    TRY(ints_of(n, in, 1, &a->axes, "its axes", &axes, e));
    for (int i = 0; i < SHAPE_MAX; i++)
        drop[i] = i < x->rank && axes.count == 0 && !a->none_is_none;
    for (int i = 0; i < axes.count; i++) {
        int axis = shape_axis(x, axes.v[i]);
        if (axis < 0 && !(x->rank == 0 && (axes.v[i] == 0 || axes.v[i] == -1)))
            return axis_fault(axes.v[i], x->rank, e);
        if (axis >= 0)
            drop[axis] = true;
    }
    return OK;
}

/* Without an element there is no largest. */
static bool needs_one(int32_t mode)
{
    return mode == REDUCE_MAX || mode == REDUCE_MIN;
}

static status infer_reduce(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct reduce_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    bool drop[SHAPE_MAX], empty = false, any = false;
    struct shape s = { .rank = 0 };
    TRY(reduce_axes(n, in, drop, e));
    for (int i = 0; i < x->rank; i++) {
        empty |= drop[i] && x->dim[i] == 0;
        any |= !drop[i] && x->dim[i] == 0;
        if (!drop[i] || a->keep_dims)
            s.dim[s.rank++] = drop[i] ? 1 : x->dim[i];
    }
    if (empty && !any && needs_one(a->mode) && !a->of_none)
        return err_set(e, INVALID, "the %s of no element", reduce_names[a->mode]);
    out[0] = (struct type){ a->mode == REDUCE_ZERO ? DTYPE_I64 : in[0].dtype, s, NULL };
    return OK;
}

status scan_axis(const struct node *n, const struct type *in, int *axis, struct err *e)
{
    const struct scan_attrs *a = n->attrs;
    struct attr_ints at = { 1, { a->axis } };
    TRY(ints_of(n, in, 1, &at, "its axis", &at, e));
    if (at.count != 1)
        return err_set(e, INVALID, "its axis is not one number but %d", at.count);
    *axis = in[0].shape.rank > 0 ? shape_axis(&in[0].shape, at.v[0]) : 0;
    return *axis >= 0 ? OK : axis_fault(at.v[0], in[0].shape.rank, e);
}

static status infer_scan(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    int axis;
    TRY(scan_axis(n, in, &axis, e));
    return infer_same(n, in, out, e);
}

static status want_flat(const struct node *n, const struct type *in, int i, int64_t count,
                        const char *what, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    if (i >= n->in_count || n->in[i] == NULL)
        return OK;
    TRY(want_dtype(&in[i], in[0].dtype, what, e));
    if (shape_numel(&in[i].shape) == count)
        return OK;
    return err_set(e, INVALID, "%s: %lld elements expected, got %s", what, (long long)count,
                   shape_text(&in[i].shape, text, sizeof(text)));
}

static status infer_layer_norm(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    const struct layer_norm_attrs *a = n->attrs;
    int begin = shape_axis(&in[0].shape, a->begin);
    if (begin < 0)
        return axis_fault(a->begin, in[0].shape.rank, e);
    int64_t count = shape_span(&in[0].shape, begin, in[0].shape.rank);
    TRY(want_flat(n, in, 1, count, "its scale", e));
    TRY(want_flat(n, in, 2, count, "its bias", e));
    return infer_same(n, in, out, e);
}

static status infer_l2(const struct node *n, const struct type *in, struct type *out, struct err *e)
{
    const struct l2_attrs *a = n->attrs;
    if (shape_axis(&in[0].shape, a->axis) < 0)
        return axis_fault(a->axis, in[0].shape.rank, e);
    return infer_same(n, in, out, e);
}

// clang-format off
static const struct attr_field reduce_fields[] = {
    FIELD_ENUM(reduce_attrs, mode, reduce_names), FIELD(reduce_attrs, axes, ATTR_I64S),
    FIELD(reduce_attrs, keep_dims, ATTR_BOOL), FIELD(reduce_attrs, none_is_none, ATTR_BOOL),
    FIELD(reduce_attrs, of_none, ATTR_BOOL),
    FIELD(reduce_attrs, p, ATTR_F32), { 0 },
};
static const struct attr_field scan_fields[] = {
    FIELD_ENUM(scan_attrs, mode, scan_names), FIELD(scan_attrs, axis, ATTR_I32),
    FIELD(scan_attrs, exclusive, ATTR_BOOL), FIELD(scan_attrs, reverse, ATTR_BOOL), { 0 },
};
static const struct attr_field norm_fields[] = {
    FIELD(layer_norm_attrs, begin, ATTR_I32), FIELD(layer_norm_attrs, epsilon, ATTR_F32), { 0 },
};
static const struct attr_field l2_fields[] = {
    FIELD(l2_attrs, axis, ATTR_I32), FIELD(l2_attrs, epsilon, ATTR_F32),
    FIELD(l2_attrs, at_least, ATTR_BOOL), { 0 },
};

const struct op ops_reduce[] = {
    { "reduce",       1, 2, 1, OP_NEEDS(1),          reduce_fields, sizeof(struct reduce_attrs),     infer_reduce },
    { "scan",         1, 2, 1, OP_INPLACE | OP_NEEDS(1), scan_fields,   sizeof(struct scan_attrs),       infer_scan },
    { "layer_norm",   1, 3, 1, OP_INPLACE, norm_fields,   sizeof(struct layer_norm_attrs), infer_layer_norm },
    { "rms_norm",     1, 3, 1, OP_INPLACE, norm_fields,   sizeof(struct layer_norm_attrs), infer_layer_norm },
    { "l2_normalize", 1, 1, 1, OP_INPLACE, l2_fields,     sizeof(struct l2_attrs),         infer_l2 },
    { 0 },
};
// clang-format on
