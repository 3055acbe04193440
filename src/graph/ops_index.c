/* Operators that choose elements by number. */
#include "graph/ops.h"

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

static const struct attr_field fields[] = {
    FIELD(embedding_attrs, has_padding, ATTR_BOOL),
    { 0 },
};

const struct op ops_index[] = {
    { "embedding", 2, 2, 1, 0, fields, sizeof(struct embedding_attrs), infer_embedding },
    { 0 },
};
