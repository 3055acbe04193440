/* Operators that look at the same elements in another shape, or move them. */
#include "graph/attrs_move.h"
#include "graph/ops.h"

static status reshape_fault(const struct type *in, const struct attr_ints *to, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    struct shape want = { .rank = to->count < SHAPE_MAX ? to->count : SHAPE_MAX };
    char want_text[SHAPE_TEXT_MAX];
    for (int i = 0; i < want.rank; i++)
        want.dim[i] = to->v[i];
    return err_set(e, INVALID, "shape %s cannot become %s",
                   shape_text(&in->shape, text, sizeof(text)),
                   shape_text(&want, want_text, sizeof(want_text)));
}

/* The size of the one -1; -1 when there is none to be had. */
static int64_t left_over(int64_t numel, const struct shape *known, int open)
{
    struct shape rest = *known;
    rest.dim[open] = 1;
    int64_t n = shape_numel(&rest);
    if (n == 0) /* nothing times anything: as NumPy refuses, unless there is nothing to share out */
        return numel == 0 ? 0 : -1;
    return n > 0 && numel % n == 0 ? numel / n : -1;
}

static status infer_reshape(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    struct attr_ints given, *to = &given;
    int64_t numel = shape_numel(&in[0].shape);
    int open = -1;
    TRY(ints_of(n, in, 1, &((const struct reshape_attrs *)n->attrs)->shape, "its shape", to, e));
    struct shape s = { .rank = to->count };
    if (to->count > SHAPE_MAX)
        return reshape_fault(&in[0], to, e);
    for (int i = 0; i < to->count; i++) {
        s.dim[i] = to->v[i] == 0 && i < in[0].shape.rank ? in[0].shape.dim[i] : to->v[i];
        if (to->v[i] < -1 || (to->v[i] == -1 && open >= 0))
            return reshape_fault(&in[0], to, e);
        if (to->v[i] == -1)
            open = i;
    }
    if (open >= 0)
        s.dim[open] = left_over(numel, &s, open);
    if (shape_numel(&s) != numel)
        return reshape_fault(&in[0], to, e);
    out[0] = (struct type){ in[0].dtype, s, NULL };
    return OK;
}

static status infer_flatten(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct flatten_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    int start = shape_axis(x, a->start), stop = shape_axis(x, a->stop);
    if (x->rank == 0 || start < 0 || stop < start)
        return err_set(e, INVALID, "dimensions %d to %d do not fit %d dimensions", a->start,
                       a->stop, x->rank);
    struct shape s = { .rank = 0 };
    for (int i = 0; i < start; i++)
        s.dim[s.rank++] = x->dim[i];
    s.dim[s.rank++] = shape_span(x, start, stop + 1);
    for (int i = stop + 1; i < x->rank; i++)
        s.dim[s.rank++] = x->dim[i];
    out[0] = (struct type){ in[0].dtype, s, NULL };
    return OK;
}

/* Alike in all dimensions but the one along which they are joined. */
static bool fits_beside(const struct type *a, const struct type *b, int axis)
{
    struct shape x = a->shape;
    if (x.rank != b->shape.rank || a->dtype != b->dtype)
        return false;
    x.dim[axis] = b->shape.dim[axis];
    return shape_eq(&x, &b->shape);
}

static status infer_concat(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    int axis = shape_axis(&in[0].shape, ((const struct axis_attrs *)n->attrs)->axis);
    if (axis < 0)
        return err_set(e, INVALID, "its axis does not fit %d dimensions", in[0].shape.rank);
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    for (int i = 1; i < n->in_count; i++) {
        if (in[i].shape.rank < 0 || !fits_beside(&in[0], &in[i], axis))
            return err_set(e, INVALID,
                           "inputs 0 and %d (%s %s and %s %s) do not join along axis %d", i,
                           dtype_name(in[0].dtype), shape_text(&in[0].shape, a, sizeof(a)),
                           dtype_name(in[i].dtype), shape_text(&in[i].shape, b, sizeof(b)), axis);
        if (__builtin_add_overflow(out[0].shape.dim[axis], in[i].shape.dim[axis],
                                   &out[0].shape.dim[axis]))
            return err_set(e, TOO_LARGE, "the joined axis overflows");
    }
    return OK;
}

/* Rank 1 and without elements: a list that nothing was appended to. */
static bool is_nothing(const struct type *t)
{
    return t->shape.rank == 1 && t->shape.dim[0] == 0;
}

static status infer_append(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    const struct shape *list = &in[0].shape, *item = &in[1].shape;
    if (item->rank == SHAPE_MAX)
        return err_set(e, UNSUPPORTED, "items of %d dimensions, at most %d", item->rank,
                       SHAPE_MAX - 1);
    struct shape s = { .rank = item->rank + 1, .dim = { is_nothing(&in[0]) ? 0 : list->dim[0] } };
    for (int i = 0; i < item->rank; i++)
        s.dim[i + 1] = item->dim[i];
    if (in[0].dtype != in[1].dtype || (!is_nothing(&in[0]) && !shape_eq(&s, list)))
        return err_set(e, INVALID, "%s %s cannot join %s %s", dtype_name(in[1].dtype),
                       shape_text(item, a, sizeof(a)), dtype_name(in[0].dtype),
                       shape_text(list, b, sizeof(b)));
    s.dim[0]++;
    out[0] = (struct type){ in[0].dtype, s, NULL };
    return OK;
}

static const struct attr_field reshape_fields[] = {
    FIELD(reshape_attrs, shape, ATTR_I64S),
    { 0 },
};

static const struct attr_field flatten_fields[] = {
    FIELD(flatten_attrs, start, ATTR_I32),
    FIELD(flatten_attrs, stop, ATTR_I32),
    { 0 },
};

static const struct attr_field concat_fields[] = {
    FIELD(axis_attrs, axis, ATTR_I32),
    { 0 },
};

// clang-format off
const struct op ops_shape[] = {
    { "reshape", 1, 2,         1, OP_VIEW | OP_NEEDS(1), reshape_fields, sizeof(struct reshape_attrs), infer_reshape },
    { "flatten", 1, 1,         1, OP_VIEW, flatten_fields, sizeof(struct flatten_attrs), infer_flatten },
    { "concat",  1, UINT8_MAX, 1, 0,       concat_fields,  sizeof(struct axis_attrs),    infer_concat },
    { "append",  2, 2,         1, 0,       NULL,           0,                            infer_append },
    { 0 },
};
// clang-format on
