/* Recurrent layers over ragged rows. */
#include "graph/ops.h"

static status check_state(const struct node *n, const struct type *in, int i, int64_t sequences,
                          int64_t width, struct err *e)
{
    if (i >= n->in_count || n->in[i] == NULL)
        return OK;
    TRY(want_dtype(&in[i], in[0].dtype, "its first state", e));
    if (in[i].shape.rank == 2 && in[i].shape.dim[0] == sequences && in[i].shape.dim[1] == width)
        return OK;
    return err_set(e, INVALID, "expected a first state of [%lld, %lld]", (long long)sequences,
                   (long long)width);
}

static status infer_lstm(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct lstm_attrs *a = n->attrs;
    int64_t sequences, width;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rank(&in[0], 2, "its rows", e));
    TRY(want_rank(&in[2], 2, "its weight", e));
    TRY(want_dtype(&in[2], in[0].dtype, "its weight", e));
    TRY(want_dtype(&in[3], in[0].dtype, "its bias", e));
    width = in[2].shape.dim[0];
    if (width > INT32_MAX || in[2].shape.dim[1] != 4 * width || in[0].shape.dim[1] != 4 * width)
        return err_set(e, INVALID, "a weight of [D, 4D] and rows of 4D expected, D is %lld",
                       (long long)width);
    if (shape_numel(&in[3].shape) != (a->peepholes ? 7 : 4) * width)
        return err_set(e, INVALID, "a bias of %dD elements expected, D is %lld",
                       a->peepholes ? 7 : 4, (long long)width);
    TRY(check_state(n, in, 4, sequences, width, e));
    TRY(check_state(n, in, 5, sequences, width, e));
    out[0] = out[1] = (struct type){ in[0].dtype, SHAPE(in[0].shape.dim[0], width), NULL };
    return OK;
}

static const struct attr_field fields[] = {
    FIELD(lstm_attrs, peepholes, ATTR_BOOL),          FIELD(lstm_attrs, reverse, ATTR_BOOL),
    FIELD_ENUM(lstm_attrs, gate_act, act_names),      FIELD_ENUM(lstm_attrs, cell_act, act_names),
    FIELD_ENUM(lstm_attrs, candidate_act, act_names), { 0 },
};

const struct op ops_rnn[] = {
    { "lstm", 4, 6, 2, 0, fields, sizeof(struct lstm_attrs), infer_lstm },
    { 0 },
};
