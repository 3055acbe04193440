#include "graph/attrs_nms_each.h"
#include "graph/ops.h"

static status want_one(const struct type *t, dtype d, const char *what, struct err *e)
{
    if (t->shape.rank < 0)
        return OK;
    TRY(want_dtype(t, d, what, e));
    return shape_numel(&t->shape) == 1 ? OK
                                       : err_set(e, INVALID, "%s: expected one number, got %lld",
                                                 what, (long long)shape_numel(&t->shape));
}

static status infer_nms_each(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    const struct shape *boxes = &in[0].shape, *scores = &in[1].shape;
    TRY(want_dtype(&in[0], DTYPE_F32, "its boxes", e));
    TRY(want_dtype(&in[1], DTYPE_F32, "its scores", e));
    TRY(want_rank(&in[0], 3, "its boxes", e));
    TRY(want_rank(&in[1], 3, "its scores", e));
    if (boxes->dim[2] != 4 || boxes->dim[0] != scores->dim[0] || boxes->dim[1] != scores->dim[2])
        return err_set(e, INVALID,
                       "boxes [%lld, %lld, %lld] and scores [%lld, %lld, %lld], expected [N, M, 4] "
                       "and [N, C, M]",
                       (long long)boxes->dim[0], (long long)boxes->dim[1], (long long)boxes->dim[2],
                       (long long)scores->dim[0], (long long)scores->dim[1],
                       (long long)scores->dim[2]);
    TRY(want_one(&in[2], DTYPE_I64, "how many at most", e));
    TRY(want_one(&in[3], DTYPE_F32, "its overlap", e));
    TRY(want_one(&in[4], DTYPE_F32, "its least score", e));
    if (boxes->dim[1] > INT32_MAX)
        return err_set(e, TOO_LARGE, "%lld boxes", (long long)boxes->dim[1]);
    out[0] = (struct type){ DTYPE_I64, SHAPE(shape_numel(scores), 3), NULL };
    return OK;
}

// clang-format off
static const struct attr_field nms_each_fields[] = {
    FIELD(nms_each_attrs, centred, ATTR_BOOL), { 0 },
};

const struct op ops_nms_each[] = {
    { "nms_each", 2, 5, 1, OP_DYNAMIC, nms_each_fields, sizeof(struct nms_each_attrs), infer_nms_each },
    { 0 },
};
// clang-format on
