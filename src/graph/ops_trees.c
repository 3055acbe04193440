#include "graph/attrs_trees.h"
#include "graph/ops.h"

const char *const tree_sum_names[] = { "sum", "min", "max", NULL };

static status want_list(const struct type *t, dtype d, int64_t count, const char *what,
                        struct err *e)
{
    TRY(want_dtype(t, d, what, e));
    TRY(want_rank(t, 1, what, e));
    if (count >= 0 && t->shape.dim[0] != count)
        return err_set(e, INVALID, "%lld of %s, expected %lld", (long long)t->shape.dim[0], what,
                       (long long)count);
    return OK;
}

static status infer_trees(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    const struct trees_attrs *a = n->attrs;
    TRY(want_dtype(&in[0], DTYPE_F32, "its rows", e));
    TRY(want_rank(&in[0], 2, "its rows", e));
    TRY(want_dtype(&in[1], DTYPE_I32, "its nodes", e));
    TRY(want_rank(&in[1], 2, "its nodes", e));
    if (in[1].shape.dim[1] != TREE_COLUMNS)
        return err_set(e, INVALID, "nodes of %lld numbers, expected %d",
                       (long long)in[1].shape.dim[1], TREE_COLUMNS);
    TRY(want_list(&in[2], DTYPE_F32, in[1].shape.dim[0], "thresholds", e));
    TRY(want_list(&in[3], DTYPE_I32, -1, "targets of leaves", e));
    TRY(want_list(&in[4], DTYPE_F32, in[3].shape.dim[0], "weights of leaves", e));
    TRY(want_list(&in[5], DTYPE_I32, -1, "roots", e));
    if (a->targets < 1)
        return err_set(e, INVALID, "%d targets", a->targets);
    if (in[6].shape.rank >= 0)
        TRY(want_list(&in[6], DTYPE_F32, a->targets, "base values", e));
    out[0] = (struct type){ DTYPE_F32, SHAPE(in[0].shape.dim[0], a->targets), NULL };
    return OK;
}

// clang-format off
static const struct attr_field trees_fields[] = {
    FIELD(trees_attrs, targets, ATTR_I32), FIELD_ENUM(trees_attrs, sum, tree_sum_names), { 0 },
};

const struct op ops_trees[] = {
    { "trees", 6, 7, 1, 0, trees_fields, sizeof(struct trees_attrs), infer_trees },
    { 0 },
};
// clang-format on
