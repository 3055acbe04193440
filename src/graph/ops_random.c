/* Operators that answer by chance, and the one that follows beams back. */
#include "graph/attrs_move.h"
#include "graph/attrs_random.h"
#include "graph/ops.h"

const char *const random_names[] = { "uniform", "normal", "truncated", NULL };

static status infer_random(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct random_attrs *a = n->attrs;
    struct attr_ints dims;
    TRY(ints_of(n, in, 0, &a->shape, "its shape", &dims, e));
    struct shape s = { .rank = dims.count };
    if (dims.count > SHAPE_MAX)
        return err_set(e, UNSUPPORTED, "a result of %d dimensions, at most %d", dims.count,
                       SHAPE_MAX);
    for (int i = 0; i < dims.count; i++) {
        if (dims.v[i] < 0)
            return err_set(e, INVALID, "its shape holds %lld at place %d", (long long)dims.v[i], i);
        s.dim[i] = dims.v[i];
    }
    bool is_int = a->dtype == DTYPE_I64 || a->dtype == DTYPE_I32;
    if (!is_int && a->dtype != DTYPE_F32 && a->dtype != DTYPE_F64)
        return err_set(e, UNSUPPORTED, "random numbers of that dtype");
    if (is_int && (a->kind != RANDOM_UNIFORM || !(a->a < a->b)))
        return err_set(e, INVALID, "integers of %g to %g", (double)a->a, (double)a->b);
    out[0] = (struct type){ (dtype)a->dtype, s, NULL };
    return OK;
}

static status infer_sample(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct sample_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    int64_t c = x->rank > 0 ? x->dim[x->rank - 1] : 0;
    if (x->rank < 1 || x->rank > 2 || c < 1 || a->count < 1 || (!a->replace && a->count > c))
        return err_set(e, INVALID, "%d of %lld cannot be chosen", a->count, (long long)c);
    out[0] = (struct type){ DTYPE_I64, *x, NULL };
    out[0].shape.dim[x->rank - 1] = a->count;
    return OK;
}

static status infer_gather_tree(const struct node *n, const struct type *in, struct type *out,
                                struct err *e)
{
    TRY(want_rank(&in[0], 3, "its ids", e));
    TRY(want_dtype(&in[1], in[0].dtype, "its parents", e));
    if (in[0].dtype != DTYPE_I64 && in[0].dtype != DTYPE_I32)
        return err_set(e, INVALID, "expected int64 or int32 ids, got %s", dtype_name(in[0].dtype));
    if (!shape_eq(&in[0].shape, &in[1].shape))
        return err_set(e, INVALID, "its ids and its parents are not of one shape");
    return infer_same(n, in, out, e);
}

// clang-format off
static const struct attr_field random_fields[] = {
    FIELD(random_attrs, shape, ATTR_I64S), FIELD_ENUM(random_attrs, kind, random_names),
    FIELD(random_attrs, dtype, ATTR_I32), FIELD(random_attrs, seed, ATTR_I32),
    FIELD(random_attrs, a, ATTR_F32), FIELD(random_attrs, b, ATTR_F32), { 0 },
};
static const struct attr_field sample_fields[] = {
    FIELD(sample_attrs, count, ATTR_I32), FIELD(sample_attrs, seed, ATTR_I32),
    FIELD(sample_attrs, replace, ATTR_BOOL), { 0 },
};

const struct op ops_random[] = {
    { "random",      0, 1, 1, OP_IMPURE | OP_NEEDS(0), random_fields, sizeof(struct random_attrs), infer_random },
    { "sample",      1, 1, 1, OP_IMPURE,               sample_fields, sizeof(struct sample_attrs), infer_sample },
    { "flip_coins",  1, 1, 1, OP_IMPURE,               NULL,          0,                           infer_same },
    { "gather_tree", 2, 2, 1, 0,                       NULL,          0,                           infer_gather_tree },
    { 0 },
};
// clang-format on
