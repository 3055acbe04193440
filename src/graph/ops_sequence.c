/* Operators on ragged rows: x holds the rows of all sequences, offsets says where each begins. */
#include "graph/ops.h"

const char *const seq_pool_names[] = {
    "sum", "average", "sqrt", "max", "min", "first", "last", NULL
};

status want_offsets(const struct type *t, int64_t *sequences, struct err *e)
{
    TRY(want_dtype(t, DTYPE_I64, "its offsets", e));
    TRY(want_rank(t, 1, "its offsets", e));
    if (t->shape.dim[0] < 1)
        return err_set(e, INVALID, "its offsets are empty");
    *sequences = t->shape.dim[0] - 1;
    return OK;
}

static status infer_seq_pool(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[1], &sequences, e));
    if (in[0].shape.rank < 1)
        return err_set(e, INVALID, "expected rows, got a scalar");
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[0].shape.dim[0] = sequences;
    return OK;
}

static status infer_seq_conv(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    const struct seq_conv_attrs *a = n->attrs;
    int64_t sequences, want;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rank(&in[0], 2, "its rows", e));
    TRY(want_rank(&in[2], 2, "its filter", e));
    TRY(want_dtype(&in[2], in[0].dtype, "its filter", e));
    if (a->context_length < 1 ||
        __builtin_mul_overflow((int64_t)a->context_length, in[0].shape.dim[1], &want) ||
        want != in[2].shape.dim[0])
        return err_set(e, INVALID, "%d rows of %lld do not make the filter's %lld",
                       a->context_length, (long long)in[0].shape.dim[1],
                       (long long)in[2].shape.dim[0]);
    out[0] = (struct type){ in[0].dtype, SHAPE(in[0].shape.dim[0], in[2].shape.dim[1]), NULL };
    return OK;
}

static const struct attr_field pool_fields[] = {
    FIELD_ENUM(seq_pool_attrs, mode, seq_pool_names),
    FIELD(seq_pool_attrs, pad_value, ATTR_F32),
    { 0 },
};

static const struct attr_field conv_fields[] = {
    FIELD(seq_conv_attrs, context_start, ATTR_I32),
    FIELD(seq_conv_attrs, context_length, ATTR_I32),
    { 0 },
};

// clang-format off
const struct op ops_sequence[] = {
    { "seq_pool", 2, 2, 1, 0, pool_fields, sizeof(struct seq_pool_attrs), infer_seq_pool },
    { "seq_conv", 3, 3, 1, 0, conv_fields, sizeof(struct seq_conv_attrs), infer_seq_conv },
    { 0 },
};
// clang-format on
