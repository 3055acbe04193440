/* Operators that choose by what elements are, and odd makers of tensors. */
#include "graph/attrs_choose.h"
#include "graph/ops.h"

static status want_ints(const struct type *t, const char *what, struct err *e)
{
    if (t->dtype == DTYPE_I64 || t->dtype == DTYPE_I32)
        return OK;
    return err_set(e, INVALID, "%s: expected int64 or int32, got %s", what, dtype_name(t->dtype));
}

static status infer_masked_select(const struct node *n, const struct type *in, struct type *out,
                                  struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    struct shape all;
    TRY(want_dtype(&in[1], DTYPE_BOOL, "its mask", e));
    if (!shape_broadcast(&in[0].shape, &in[1].shape, &all) || shape_numel(&all) < 0)
        return err_set(e, INVALID, "shapes %s and %s do not broadcast",
                       shape_text(&in[0].shape, a, sizeof(a)),
                       shape_text(&in[1].shape, b, sizeof(b)));
    out[0] = (struct type){ in[0].dtype, SHAPE(shape_numel(&all)), NULL };
    return OK;
}

static status infer_nonzero(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    out[0] = (struct type){ DTYPE_I64, SHAPE(shape_numel(&in[0].shape), in[0].shape.rank), NULL };
    return OK;
}

static status infer_unique(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    struct shape flat = SHAPE(shape_numel(&in[0].shape));
    out[0] = (struct type){ in[0].dtype, flat, NULL };
    for (int i = 1; i < 4; i++)
        out[i] = (struct type){ DTYPE_I64, flat, NULL };
    return OK;
}

static status infer_linspace(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    const struct linspace_attrs *a = n->attrs;
    struct attr_ints count;
    for (int i = 0; i < 2; i++)
        if (shape_numel(&in[i].shape) != 1)
            return err_set(e, INVALID, "one number as start and one as stop expected");
    TRY(want_dtype(&in[1], in[0].dtype, "its stop", e));
    TRY(ints_of(n, in, 2, NULL, "its number", &count, e));
    if (count.count != 1 || count.v[0] < 1)
        return err_set(e, INVALID, "a number of at least 1 expected");
    if (!dtype_valid(a->dtype) || a->dtype == DTYPE_BYTES)
        return err_set(e, INVALID, "a dtype %d", a->dtype);
    out[0] = (struct type){ (dtype)a->dtype, SHAPE(count.v[0]), NULL };
    return OK;
}

/* Where the diagonal begins and how long it is. */
static int64_t diagonal_of(const struct shape *x, int64_t offset)
{
    int64_t rows = x->dim[0] + (offset < 0 ? offset : 0);
    int64_t columns = x->dim[1] - (offset > 0 ? offset : 0);
    int64_t n = rows < columns ? rows : columns;
    return n > 0 ? n : 0;
}

static status infer_diag(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct shape *x = &in[0].shape;
    int64_t offset = ((const struct diag_attrs *)n->attrs)->offset, size;
    out[0] = (struct type){ .dtype = in[0].dtype };
    if (x->rank == 2) {
        out[0].shape = SHAPE(diagonal_of(x, offset));
        return OK;
    }
    if (x->rank != 1 || __builtin_add_overflow(x->dim[0], offset < 0 ? -offset : offset, &size))
        return err_set(e, INVALID, "expected 1 or 2 dimensions, got %d", x->rank);
    out[0].shape = SHAPE(size, size);
    return OK;
}

/* The slice of input 0; its bounds are inputs 2 and on. */
status put_slice_view(const struct node *n, const struct type *in, struct view *out, struct err *e)
{
    struct value *value[5] = { n->in[0] };
    struct type type[5] = { in[0] };
    struct node slice = { .op = n->op, .name = n->name, .in = value, .attrs = n->attrs };
    slice.in_count = n->in_count > 2 ? n->in_count - 1 : 1;
    for (int i = 1; i < slice.in_count; i++) {
        value[i] = n->in[i + 1];
        type[i] = in[i + 1];
    }
    return slice_view(&slice, type, out, e);
}

static status infer_put_slice(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    struct view v;
    struct shape all;
    TRY(put_slice_view(n, in, &v, e));
    TRY(want_dtype(&in[1], in[0].dtype, "its value", e));
    if (!shape_broadcast(&in[1].shape, &v.shape, &all) || !shape_eq(&all, &v.shape))
        return err_set(e, INVALID, "a value of shape %s does not fill a slice of %s",
                       shape_text(&in[1].shape, a, sizeof(a)), shape_text(&v.shape, b, sizeof(b)));
    return infer_same(n, in, out, e);
}

static bool takes_times(const struct node *n, const struct type *in)
{
    return n->in_count > 1 && n->in[1] != NULL && shape_numel(&in[1].shape) != 1;
}

static int64_t int_at(const struct tensor *t, int64_t i)
{
    return t->dtype == DTYPE_I64 ? ((const int64_t *)t->data)[i] : ((const int32_t *)t->data)[i];
}

status repeat_size(const struct node *n, const struct type *in, int *axis, int64_t *size,
                   struct err *e)
{
    const struct repeat_attrs *a = n->attrs;
    struct attr_ints one;
    *axis = shape_axis(&in[0].shape, a->axis);
    if (*axis < 0)
        return err_set(e, INVALID, "axis %d does not fit %d dimensions", a->axis, in[0].shape.rank);
    int64_t dim = in[0].shape.dim[*axis];
    if (!takes_times(n, in)) {
        TRY(ints_of(n, in, 1, &(struct attr_ints){ 1, { a->times } }, "its times", &one, e));
        if (one.v[0] < 0 || __builtin_mul_overflow(dim, one.v[0], size))
            return err_set(e, INVALID, "%lld elements cannot be repeated %lld times",
                           (long long)dim, (long long)one.v[0]);
        return OK;
    }
    TRY(want_ints(&in[1], "its times", e));
    if (shape_numel(&in[1].shape) != dim || in[1].constant == NULL)
        return err_set(e, INVALID, "%lld times for %lld elements",
                       (long long)shape_numel(&in[1].shape), (long long)dim);
    *size = 0;
    for (int64_t i = 0; i < dim; i++) {
        int64_t times = int_at(in[1].constant, i);
        if (times < 0 || __builtin_add_overflow(*size, times, size))
            return err_set(e, INVALID, "element %lld cannot be repeated %lld times", (long long)i,
                           (long long)times);
    }
    return OK;
}

static status infer_repeat(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    int axis;
    int64_t size;
    TRY(repeat_size(n, in, &axis, &size, e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[0].shape.dim[axis] = size;
    return OK;
}

static status infer_shard(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    const struct shard_attrs *a = n->attrs;
    TRY(want_ints(&in[0], "its ids", e));
    if (a->count < 1 || a->shards < 1 || a->shard < 0 || a->shard >= a->shards)
        return err_set(e, INVALID, "shard %lld of %lld for %lld ids", (long long)a->shard,
                       (long long)a->shards, (long long)a->count);
    return infer_same(n, in, out, e);
}

static status infer_multiplex(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    TRY(want_ints(&in[0], "its ids", e));
    const struct shape *x = &in[1].shape;
    for (int i = 2; i < n->in_count; i++)
        if (in[i].dtype != in[1].dtype || !shape_eq(&in[i].shape, x))
            return err_set(e, INVALID, "inputs 1 and %d are not of one type", i);
    if (x->rank < 1 || shape_numel(&in[0].shape) > x->dim[0])
        return err_set(e, INVALID, "%lld ids for rows of %d dimensions",
                       (long long)shape_numel(&in[0].shape), x->rank);
    out[0] = (struct type){ in[1].dtype, *x, NULL };
    out[0].shape.dim[0] = shape_numel(&in[0].shape);
    return OK;
}

// clang-format off
static const struct attr_field unique_fields[] = {
    FIELD(unique_attrs, consecutive, ATTR_BOOL), FIELD(unique_attrs, unsorted, ATTR_BOOL), { 0 },
};
static const struct attr_field linspace_fields[] = { FIELD(linspace_attrs, dtype, ATTR_I32), { 0 } };
static const struct attr_field diag_fields[] = {
    FIELD(diag_attrs, offset, ATTR_I32), FIELD(diag_attrs, padding, ATTR_F32), { 0 },
};
static const struct attr_field slice_fields[] = {
    FIELD(slice_attrs, axes, ATTR_I64S), FIELD(slice_attrs, starts, ATTR_I64S),
    FIELD(slice_attrs, ends, ATTR_I64S), FIELD(slice_attrs, steps, ATTR_I64S), { 0 },
};
static const struct attr_field repeat_fields[] = { FIELD(repeat_attrs, axis, ATTR_I32), { 0 } };
static const struct attr_field no_fields[] = { { 0 } };

#define SLICE_NEEDS (OP_NEEDS(2) | OP_NEEDS(3) | OP_NEEDS(4) | OP_NEEDS(5))

const struct op ops_choose[] = {
    { "masked_select", 2, 2, 1, OP_DYNAMIC,  NULL,            0,                             infer_masked_select },
    { "nonzero",       1, 1, 1, OP_DYNAMIC,  NULL,            0,                             infer_nonzero },
    { "unique",        1, 1, 4, OP_DYNAMIC,  unique_fields,   sizeof(struct unique_attrs),   infer_unique },
    { "linspace",      3, 3, 1, OP_NEEDS(2), linspace_fields, sizeof(struct linspace_attrs), infer_linspace },
    { "diag",          1, 1, 1, 0,           diag_fields,     sizeof(struct diag_attrs),     infer_diag },
    { "put_slice",     2, 6, 1, SLICE_NEEDS, slice_fields,    sizeof(struct slice_attrs),    infer_put_slice },
    { "repeat",        1, 2, 1, OP_NEEDS(1), repeat_fields,   sizeof(struct repeat_attrs),   infer_repeat },
    { "shard_index",   1, 1, 1, 0,           no_fields,       sizeof(struct shard_attrs),    infer_shard },
    { "multiplex",     2, UINT8_MAX, 1, 0,   NULL,            0,                             infer_multiplex },
    { 0 },
};
// clang-format on
