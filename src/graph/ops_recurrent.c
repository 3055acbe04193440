/* Recurrent layers over padded steps and over ragged rows. */
#include "graph/attrs_recurrent.h"
#include "graph/ops.h"

const char *const rnn_names[] = { "lstm", "gru", "tanh", "relu", NULL };

static status want_shape(const struct type *t, const struct shape *want, dtype d, const char *what,
                         struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    TRY(want_dtype(t, d, what, e));
    if (shape_eq(&t->shape, want))
        return OK;
    return err_set(e, INVALID, "%s: shape %s expected, got %s", what,
                   shape_text(want, a, sizeof(a)), shape_text(&t->shape, b, sizeof(b)));
}

static status check_state(const struct node *n, const struct type *in, int i, int64_t rows,
                          int64_t width, const char *what, struct err *e)
{
    return has_input(n, i) ? want_shape(&in[i], &SHAPE(rows, width), in[0].dtype, what, e) : OK;
}

static status want_lengths(const struct type *t, int64_t count, struct err *e)
{
    if (t->dtype != DTYPE_I64 && t->dtype != DTYPE_I32)
        return err_set(e, INVALID, "expected int64 or int32 lengths, got %s", dtype_name(t->dtype));
    if (shape_numel(&t->shape) != count)
        return err_set(e, INVALID, "%lld lengths expected, got %lld", (long long)count,
                       (long long)shape_numel(&t->shape));
    return OK;
}

static status infer_rnn(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    static const int64_t gates[] = {
        [RNN_LSTM] = 4, [RNN_GRU] = 3, [RNN_TANH] = 1, [RNN_RELU] = 1
    };
    int64_t g = gates[((const struct rnn_attrs *)n->attrs)->mode];
    TRY(want_rank(&in[0], 3, "its steps", e));
    TRY(want_rank(&in[1], 2, "its weight", e));
    int64_t width = in[1].shape.dim[1], steps = in[0].shape.dim[0], rows = in[0].shape.dim[1];
    if (width > INT32_MAX)
        return err_set(e, TOO_LARGE, "a width of %lld", (long long)width);
    TRY(want_shape(&in[1], &SHAPE(g * width, width), in[0].dtype, "its weight", e));
    TRY(want_shape(&in[0], &SHAPE(steps, rows, g * width), in[0].dtype, "its steps", e));
    if (has_input(n, 2))
        TRY(want_shape(&in[2], &SHAPE(g * width), in[0].dtype, "its bias", e));
    TRY(check_state(n, in, 3, rows, width, "its first h", e));
    TRY(check_state(n, in, 4, rows, width, "its first c", e));
    if (has_input(n, 5))
        TRY(want_lengths(&in[5], rows, e));
    out[0] = (struct type){ in[0].dtype, SHAPE(steps, rows, width), NULL };
    out[1] = out[2] = (struct type){ in[0].dtype, SHAPE(rows, width), NULL };
    return OK;
}

static status infer_gru(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    TRY(want_rank(&in[0], 2, "its rows", e));
    int64_t sequences = in[0].shape.dim[0], width = in[0].shape.dim[1] / 3;
    if (has_input(n, 2))
        TRY(want_offsets(&in[2], &sequences, e));
    TRY(want_dtype(&in[1], in[0].dtype, "its weight", e));
    if (in[0].shape.dim[1] % 3 != 0 || width > INT32_MAX ||
        shape_numel(&in[1].shape) != 3 * width * width)
        return err_set(e, INVALID,
                       "rows of 3D and a weight of 3D * D elements expected, got %lld and %lld",
                       (long long)in[0].shape.dim[1], (long long)shape_numel(&in[1].shape));
    if (has_input(n, 3)) {
        TRY(want_dtype(&in[3], in[0].dtype, "its bias", e));
        if (shape_numel(&in[3].shape) != 3 * width)
            return err_set(e, INVALID, "a bias of %lld elements expected", (long long)(3 * width));
    }
    TRY(check_state(n, in, 4, sequences, width, "its first state", e));
    out[0] = (struct type){ in[0].dtype, SHAPE(in[0].shape.dim[0], width), NULL };
    return OK;
}

static status infer_crf_decode(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rank(&in[0], 2, "its emission", e));
    int64_t tags = in[0].shape.dim[1];
    if (tags < 1 || tags > INT32_MAX)
        return err_set(e, INVALID, "%lld tags", (long long)tags);
    TRY(want_shape(&in[2], &SHAPE(tags + 2, tags), in[0].dtype, "its transition", e));
    out[0] = (struct type){ DTYPE_I64, SHAPE(in[0].shape.dim[0], 1), NULL };
    return OK;
}

static status infer_crf_padded(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    TRY(want_rank(&in[0], 3, "its emission", e));
    const struct shape *x = &in[0].shape;
    if (x->dim[2] < 1 || x->dim[2] > INT32_MAX)
        return err_set(e, INVALID, "%lld tags", (long long)x->dim[2]);
    TRY(want_lengths(&in[1], x->dim[0], e));
    TRY(want_shape(&in[2], &SHAPE(x->dim[2] + 2, x->dim[2]), in[0].dtype, "its transition", e));
    out[0] = (struct type){ DTYPE_I64, SHAPE(x->dim[0], x->dim[1]), NULL };
    return OK;
}

static status infer_viterbi(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    TRY(want_rank(&in[0], 3, "its potentials", e));
    const struct shape *x = &in[0].shape;
    int64_t tags = x->dim[2];
    bool ends = ((const struct viterbi_attrs *)n->attrs)->tags;
    if (tags < (ends ? 2 : 1) || tags > INT32_MAX || x->dim[1] < 1)
        return err_set(e, INVALID, "%lld steps and %lld tags", (long long)x->dim[1],
                       (long long)tags);
    TRY(want_shape(&in[1], &SHAPE(tags, tags), in[0].dtype, "its transition", e));
    TRY(want_lengths(&in[2], x->dim[0], e));
    out[0] = (struct type){ in[0].dtype, SHAPE(x->dim[0]), NULL };
    out[1] = (struct type){ DTYPE_I64, SHAPE(x->dim[0], x->dim[1]), NULL };
    return OK;
}

static status infer_row_conv(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rank(&in[0], 2, "its rows", e));
    TRY(want_rank(&in[2], 2, "its filter", e));
    TRY(want_shape(&in[2], &SHAPE(in[2].shape.dim[0], in[0].shape.dim[1]), in[0].dtype,
                   "its filter", e));
    return infer_same(n, in, out, e);
}

// clang-format off
static const struct attr_field rnn_fields[] = {
    FIELD_ENUM(rnn_attrs, mode, rnn_names), FIELD(rnn_attrs, reverse, ATTR_BOOL),
    FIELD(rnn_attrs, reset_first, ATTR_BOOL), { 0 },
};
static const struct attr_field gru_fields[] = {
    FIELD(gru_attrs, reverse, ATTR_BOOL), FIELD(gru_attrs, origin, ATTR_BOOL),
    FIELD_ENUM(gru_attrs, gate_act, act_names), FIELD_ENUM(gru_attrs, candidate_act, act_names), { 0 },
};
static const struct attr_field viterbi_fields[] = {
    FIELD(viterbi_attrs, tags, ATTR_BOOL), { 0 },
};

const struct op ops_recurrent[] = {
    { "rnn",        2, 6, 3, 0, rnn_fields,     sizeof(struct rnn_attrs),     infer_rnn },
    { "gru",        2, 5, 1, 0, gru_fields,     sizeof(struct gru_attrs),     infer_gru },
    { "crf_decode", 3, 3, 1, 0, NULL,           0,                            infer_crf_decode },
    { "crf_decode_padded", 3, 3, 1, 0, NULL,    0,                            infer_crf_padded },
    { "viterbi",    3, 3, 2, OP_DYNAMIC, viterbi_fields, sizeof(struct viterbi_attrs), infer_viterbi },
    { "row_conv",   3, 3, 1, 0, NULL,           0,                            infer_row_conv },
    { 0 },
};
// clang-format on
