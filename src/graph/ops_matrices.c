#include "graph/attrs_matrices.h"
#include "graph/ops.h"

static status want_squares(const struct type *t, struct err *e)
{
    int rank = t->shape.rank;
    if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F64)
        return err_set(e, INVALID, "matrices of %s, expected floats", dtype_name(t->dtype));
    if (rank < 2 || t->shape.dim[rank - 1] != t->shape.dim[rank - 2])
        return err_set(e, INVALID, "an input of %d dimensions that are no square matrices", rank);
    return OK;
}

static status infer_det(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    TRY(want_squares(&in[0], e));
    out[0] = in[0];
    out[0].constant = NULL;
    out[0].shape.rank -= 2;
    return OK;
}

static status infer_inverse(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    TRY(want_squares(&in[0], e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    return OK;
}

int64_t classes_of_pairs(int64_t pairs)
{
    int64_t n = 2;
    while (n <= COUPLE_CLASSES_MAX && n * (n - 1) / 2 < pairs)
        n++;
    return n <= COUPLE_CLASSES_MAX && n * (n - 1) / 2 == pairs ? n : -1;
}

static status infer_couple(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    TRY(want_dtype(&in[0], DTYPE_F32, "its probabilities", e));
    TRY(want_rank(&in[0], 2, "its probabilities", e));
    int64_t classes = classes_of_pairs(in[0].shape.dim[1]);
    if (classes < 0)
        return err_set(e, INVALID,
                       "%lld probabilities a row, which are not all pairs of at most %d",
                       (long long)in[0].shape.dim[1], COUPLE_CLASSES_MAX);
    out[0] = (struct type){ DTYPE_F32, SHAPE(in[0].shape.dim[0], classes), NULL };
    return OK;
}

// clang-format off
const struct op ops_matrices[] = {
    { "det",     1, 1, 1, 0, NULL, 0, infer_det },
    { "inverse", 1, 1, 1, 0, NULL, 0, infer_inverse },
    { "couple",  1, 1, 1, 0, NULL, 0, infer_couple },
    { 0 },
};
// clang-format on
