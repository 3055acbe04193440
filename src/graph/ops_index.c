/* Operators that choose elements by number. */
#include "graph/attrs_index.h"
#include "graph/attrs_move.h"
#include "graph/ops.h"

const char *const scatter_names[] = { "set", "add", "mul", "max", "min", NULL };

static status infer_embedding(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    if (in[0].dtype != DTYPE_I64 && in[0].dtype != DTYPE_I32)
        return err_set(e, INVALID, "expected int64 or int32 ids, got %s", dtype_name(in[0].dtype));
    TRY(want_rank(&in[1], 2, "its table", e));
    if (in[0].shape.rank >= SHAPE_MAX)
        return err_set(e, UNSUPPORTED, "ids of %d dimensions, at most %d", in[0].shape.rank,
                       SHAPE_MAX - 1);
    struct shape s = in[0].shape;
    s.dim[s.rank++] = in[1].shape.dim[1];
    out[0] = (struct type){ in[1].dtype, s, NULL };
    return OK;
}

static status want_index(const struct type *t, struct err *e)
{
    if (t->dtype != DTYPE_I64 && t->dtype != DTYPE_I32)
        return err_set(e, INVALID, "expected int64 or int32 indices, got %s", dtype_name(t->dtype));
    return OK;
}

static status want_axis(const struct shape *x, int64_t axis, int *out, struct err *e)
{
    *out = shape_axis(x, axis);
    return *out >= 0 ? OK
                     : err_set(e, INVALID, "axis %lld does not fit %d dimensions", (long long)axis,
                               x->rank);
}

static status append(struct shape *to, const struct shape *from, int first, struct err *e)
{
    if (to->rank + from->rank - first > SHAPE_MAX)
        return err_set(e, UNSUPPORTED, "a result of %d dimensions, at most %d",
                       to->rank + from->rank - first, SHAPE_MAX);
    for (int i = first; i < from->rank; i++)
        to->dim[to->rank++] = from->dim[i];
    return OK;
}

static status infer_gather(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct shape *x = &in[0].shape;
    int axis;
    TRY(want_index(&in[1], e));
    TRY(want_axis(x, ((const struct gather_attrs *)n->attrs)->axis, &axis, e));
    out[0] = (struct type){ .dtype = in[0].dtype, .shape = *x };
    out[0].shape.rank = axis;
    TRY(append(&out[0].shape, &in[1].shape, 0, e));
    return append(&out[0].shape, x, axis + 1, e);
}

/* index [..., k] against x: k dimensions are named; *out is what comes of them. */
static status named_shape(const struct type *x, const struct type *index, struct shape *out,
                          struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    int rank = index->shape.rank;
    TRY(want_index(index, e));
    int64_t k = rank > 0 ? index->shape.dim[rank - 1] : -1;
    if (k < 0 || k > x->shape.rank)
        return err_set(e, INVALID, "indices of shape %s do not name dimensions of %d",
                       shape_text(&index->shape, text, sizeof(text)), x->shape.rank);
    *out = index->shape;
    out->rank--;
    return append(out, &x->shape, (int)k, e);
}

static status infer_gather_nd(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    out[0] = (struct type){ .dtype = in[0].dtype };
    return named_shape(&in[0], &in[1], &out[0].shape, e);
}

/* One rank, and index nowhere larger than x but along axis. */
static status check_along(const struct type *in, int axis, struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    const struct shape *x = &in[0].shape, *index = &in[1].shape;
    bool fits = x->rank == index->rank;
    for (int i = 0; fits && i < x->rank; i++)
        fits = i == axis || index->dim[i] <= x->dim[i];
    return fits ? OK
                : err_set(e, INVALID, "indices of shape %s do not fit %s along axis %d",
                          shape_text(index, a, sizeof(a)), shape_text(x, b, sizeof(b)), axis);
}

static status infer_take_along(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    int axis;
    TRY(want_index(&in[1], e));
    TRY(want_axis(&in[0].shape, ((const struct gather_attrs *)n->attrs)->axis, &axis, e));
    TRY(check_along(in, axis, e));
    out[0] = (struct type){ in[0].dtype, in[1].shape, NULL };
    return OK;
}

static status want_updates(const struct type *in, const struct shape *want, struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    TRY(want_dtype(&in[2], in[0].dtype, "its updates", e));
    if (shape_eq(&in[2].shape, want))
        return OK;
    return err_set(e, INVALID, "updates of shape %s expected, got %s",
                   shape_text(want, a, sizeof(a)), shape_text(&in[2].shape, b, sizeof(b)));
}

static status infer_put_along(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    int axis;
    TRY(want_index(&in[1], e));
    TRY(want_axis(&in[0].shape, ((const struct scatter_attrs *)n->attrs)->axis, &axis, e));
    TRY(check_along(in, axis, e));
    TRY(want_updates(in, &in[1].shape, e));
    return infer_same(n, in, out, e);
}

static status infer_scatter_rows(const struct node *n, const struct type *in, struct type *out,
                                 struct err *e)
{
    TRY(want_index(&in[1], e));
    TRY(want_rank(&in[1], 1, "its index", e));
    if (in[0].shape.rank < 1)
        return err_set(e, INVALID, "expected rows, got a scalar");
    struct shape want = in[0].shape;
    want.dim[0] = in[1].shape.dim[0];
    TRY(want_updates(in, &want, e));
    return infer_same(n, in, out, e);
}

static status infer_scatter_nd(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    struct shape want;
    TRY(named_shape(&in[0], &in[1], &want, e));
    TRY(want_updates(in, &want, e));
    return infer_same(n, in, out, e);
}

static status infer_where(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX], c[SHAPE_TEXT_MAX];
    TRY(want_dtype(&in[0], DTYPE_BOOL, "its condition", e));
    TRY(want_dtype(&in[2], in[1].dtype, "its third input", e));
    struct shape both;
    out[0] = (struct type){ .dtype = in[1].dtype };
    if (shape_broadcast(&in[1].shape, &in[2].shape, &both) &&
        shape_broadcast(&both, &in[0].shape, &out[0].shape))
        return OK;
    return err_set(e, INVALID, "shapes %s, %s and %s do not broadcast",
                   shape_text(&in[0].shape, a, sizeof(a)), shape_text(&in[1].shape, b, sizeof(b)),
                   shape_text(&in[2].shape, c, sizeof(c)));
}

static status infer_one_hot(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct one_hot_attrs *a = n->attrs;
    struct attr_ints depth;
    TRY(want_index(&in[0], e));
    TRY(ints_of(n, in, 1, &(struct attr_ints){ 1, { a->depth } }, "its depth", &depth, e));
    if (depth.count != 1 || depth.v[0] < 1 || !dtype_valid(a->dtype) || a->dtype == DTYPE_BYTES)
        return err_set(e, INVALID, "a depth of at least 1 expected");
    if (in[0].shape.rank >= SHAPE_MAX)
        return err_set(e, UNSUPPORTED, "ids of %d dimensions, at most %d", in[0].shape.rank,
                       SHAPE_MAX - 1);
    out[0] = (struct type){ (dtype)a->dtype, in[0].shape, NULL };
    out[0].shape.dim[out[0].shape.rank++] = depth.v[0];
    return OK;
}

static status infer_top_k(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    const struct top_k_attrs *a = n->attrs;
    struct attr_ints k;
    int axis;
    TRY(ints_of(n, in, 1, &(struct attr_ints){ 1, { a->k } }, "its k", &k, e));
    TRY(want_axis(&in[0].shape, a->axis, &axis, e));
    if (k.count != 1 || k.v[0] < 0 || k.v[0] > in[0].shape.dim[axis])
        return err_set(e, INVALID, "the %lld best of %lld elements were asked for",
                       (long long)(k.count == 1 ? k.v[0] : -1), (long long)in[0].shape.dim[axis]);
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[0].shape.dim[axis] = k.v[0];
    out[1] = (struct type){ DTYPE_I64, out[0].shape, NULL };
    return OK;
}

static status infer_argsort(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    int axis;
    TRY(want_axis(&in[0].shape, ((const struct top_k_attrs *)n->attrs)->axis, &axis, e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[1] = (struct type){ DTYPE_I64, in[0].shape, NULL };
    return OK;
}

static status infer_arg_reduce(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    const struct arg_reduce_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    struct shape s = { .rank = 0 };
    int axis = -1;
    if (a->dtype != DTYPE_I64 && a->dtype != DTYPE_I32)
        return err_set(e, INVALID, "places as int64 or int32 expected");
    if (!a->flatten && x->rank > 0)
        TRY(want_axis(x, a->axis, &axis, e));
    if (axis >= 0 ? x->dim[axis] == 0 : shape_numel(x) == 0)
        return err_set(e, INVALID, "the largest or smallest of no element");
    for (int i = 0; i < x->rank; i++) {
        bool gone = axis < 0 || i == axis;
        if (!gone || a->keep_dims)
            s.dim[s.rank++] = gone ? 1 : x->dim[i];
    }
    out[0] = (struct type){ (dtype)a->dtype, s, NULL };
    return OK;
}

// clang-format off
static const struct attr_field fields[] = {
    FIELD(embedding_attrs, has_padding, ATTR_BOOL), { 0 },
};
static const struct attr_field gather_fields[] = {
    FIELD(gather_attrs, axis, ATTR_I32), { 0 },
};
static const struct attr_field scatter_fields[] = {
    FIELD(scatter_attrs, axis, ATTR_I32), FIELD_ENUM(scatter_attrs, mode, scatter_names),
    FIELD(scatter_attrs, afresh, ATTR_BOOL), { 0 },
};
static const struct attr_field one_hot_fields[] = {
    FIELD(one_hot_attrs, dtype, ATTR_I32), FIELD(one_hot_attrs, lenient, ATTR_BOOL),
    FIELD(one_hot_attrs, negative, ATTR_BOOL), { 0 },
};
static const struct attr_field top_k_fields[] = {
    FIELD(top_k_attrs, axis, ATTR_I32), FIELD(top_k_attrs, smallest, ATTR_BOOL), { 0 },
};
static const struct attr_field arg_fields[] = {
    FIELD(arg_reduce_attrs, axis, ATTR_I32), FIELD(arg_reduce_attrs, dtype, ATTR_I32),
    FIELD(arg_reduce_attrs, smallest, ATTR_BOOL), FIELD(arg_reduce_attrs, keep_dims, ATTR_BOOL),
    FIELD(arg_reduce_attrs, flatten, ATTR_BOOL), FIELD(arg_reduce_attrs, last, ATTR_BOOL), { 0 },
};

const struct op ops_index[] = {
    { "embedding",    2, 2, 1, 0, fields,         sizeof(struct embedding_attrs),  infer_embedding },
    { "gather",       2, 2, 1, 0, gather_fields,  sizeof(struct gather_attrs),     infer_gather },
    { "gather_nd",    2, 2, 1, 0, NULL,           0,                               infer_gather_nd },
    { "take_along",   2, 2, 1, 0, gather_fields,  sizeof(struct gather_attrs),     infer_take_along },
    { "put_along",    3, 3, 1, 0, scatter_fields, sizeof(struct scatter_attrs),    infer_put_along },
    { "scatter_rows", 3, 3, 1, 0, scatter_fields, sizeof(struct scatter_attrs),    infer_scatter_rows },
    { "scatter_nd",   3, 3, 1, 0, scatter_fields, sizeof(struct scatter_attrs),    infer_scatter_nd },
    { "where",        3, 3, 1, 0, NULL,           0,                               infer_where },
    { "one_hot",      1, 2, 1, OP_NEEDS(1), one_hot_fields, sizeof(struct one_hot_attrs),    infer_one_hot },
    { "top_k",        1, 2, 2, OP_NEEDS(1), top_k_fields,   sizeof(struct top_k_attrs),      infer_top_k },
    { "argsort",      1, 1, 2, 0, top_k_fields,   sizeof(struct top_k_attrs),      infer_argsort },
    { "arg_reduce",   1, 1, 1, 0, arg_fields,     sizeof(struct arg_reduce_attrs), infer_arg_reduce },
    { 0 },
};
// clang-format on
