/* One tensor in, one of the same shape out. */
#include "graph/ops.h"

const char *const act_names[] = { "none", "relu", "tanh", "sigmoid", NULL };

status infer_same(const struct node *n, const struct type *in, struct type *out, struct err *e)
{
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    return OK;
}

status want_rank(const struct type *t, int rank, const char *what, struct err *e)
{
    char shape[SHAPE_TEXT_MAX];
    if (t->shape.rank == rank)
        return OK;
    return err_set(e, INVALID, "expected %d dimensions of %s, got %s", rank, what,
                   shape_text(&t->shape, shape, sizeof(shape)));
}

status want_dtype(const struct type *t, dtype d, const char *what, struct err *e)
{
    if (t->dtype == d)
        return OK;
    return err_set(e, INVALID, "expected %s as %s, got %s", dtype_name(d), what,
                   dtype_name(t->dtype));
}

static const struct attr_field affine_fields[] = {
    FIELD(affine_attrs, scale, ATTR_F32),
    FIELD(affine_attrs, bias, ATTR_F32),
    { 0 },
};

#define MAP (OP_INPLACE | OP_ELEMENTWISE)

// clang-format off
const struct op ops_unary[] = {
    { "identity", 1, 1, 1, OP_VIEW | OP_ELEMENTWISE, NULL, 0, infer_same },
    { "relu",     1, 1, 1, MAP, NULL, 0, infer_same },
    { "tanh",     1, 1, 1, MAP, NULL, 0, infer_same },
    { "sigmoid",  1, 1, 1, MAP, NULL, 0, infer_same },
    { "exp",      1, 1, 1, MAP, NULL, 0, infer_same },
    { "log",      1, 1, 1, MAP, NULL, 0, infer_same },
    { "sqrt",     1, 1, 1, MAP, NULL, 0, infer_same },
    { "abs",      1, 1, 1, MAP, NULL, 0, infer_same },
    { "square",   1, 1, 1, MAP, NULL, 0, infer_same },
    { "affine",   1, 1, 1, MAP, affine_fields, sizeof(struct affine_attrs), infer_same },
    { 0 },
};
// clang-format on
