#include "graph/ops.h"

static status infer_softmax(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct axis_attrs *a = n->attrs;
    if (shape_axis(&in[0].shape, a->axis) < 0)
        return err_set(e, INVALID, "axis %d does not fit %d dimensions", a->axis, in[0].shape.rank);
    return infer_same(n, in, out, e);
}

static const struct attr_field fields[] = {
    FIELD(axis_attrs, axis, ATTR_I32),
    { 0 },
};

const struct op ops_softmax[] = {
    { "softmax", 1, 1, 1, OP_INPLACE, fields, sizeof(struct axis_attrs), infer_softmax },
    { 0 },
};
