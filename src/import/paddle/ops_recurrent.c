/* Recurrent layers, and what decodes chains of tags. */
#include "graph/attrs_move.h"
#include "graph/attrs_recurrent.h"
#include "import/paddle/site.h"

/* ---- the rnn of nn.LSTM, nn.GRU and nn.SimpleRNN: layers and directions are nodes of their own ---- */

struct rnn_layers {
    struct rnn_attrs attrs;
    int layers, directions;
    struct value **weight; /* two for each layer and direction, then as many biases */
    struct value **state;  /* h, and for lstm c: [layers * directions, N, H] */
    int state_count;
    struct value *lengths;           /* or NULL */
    struct value **last_h, **last_c; /* of each layer and direction */
};

static status read_rnn(struct site *s, struct rnn_layers *r)
{
    static const char *const mode[] = { "LSTM", "GRU", "RNN_TANH", "RNN_RELU", NULL };
    int weights;
    r->attrs.mode = attr_enum(s, "mode", "RNN_TANH", mode); /* as enum rnn_mode */
    r->layers = attr_i32(s, "num_layers", 1);
    r->directions = attr_bool(s, "is_bidirec", false) ? 2 : 1;
    TRY(site_ins(s, "WeightList", &r->weight, &weights));
    TRY(site_ins(s, "PreState", &r->state, &r->state_count));
    TRY(site_in_optional(s, "SequenceLength", &r->lengths));
    if (r->layers < 1 || r->layers > weights || weights != 4 * r->layers * r->directions)
        return site_fault(s, INVALID, "%d weights for %d layers in %d directions, expected 4 each",
                          weights, r->layers, r->directions);
    if (r->state_count != (r->attrs.mode == RNN_LSTM ? 2 : 1))
        return site_fault(s, INVALID, "%d first states", r->state_count);
    size_t room = (size_t)(r->layers * r->directions) * sizeof(*r->last_h);
    r->last_h = arena_zalloc(s->scratch, room);
    r->last_c = arena_zalloc(s->scratch, room);
    return OK;
}

/* Part k of a state for all layers and directions. */
static status state_part(struct site *s, const struct rnn_layers *r, int which, int k,
                         struct value **out)
{
    struct value *part;
    if (which >= r->state_count) {
        *out = NULL;
        return OK;
    }
    TRY(site_add1(s, "split_part", &r->state[which], 1, &part));
    *(struct split_attrs *)node_attrs(part->producer) =
        (struct split_attrs){ .index = k, .count = r->layers * r->directions };
    TRY(site_add1(s, "squeeze", &part, 1, out));
    ((struct axes_attrs *)node_attrs((*out)->producer))->axes = (struct attr_ints){ 1, { 0 } };
    return OK;
}

/* x times the input weight, with the bias: the gates of all steps in one product. */
static status project(struct site *s, const struct rnn_layers *r, int k, struct value *x,
                      struct value **out)
{
    int biases = 2 * r->layers * r->directions;
    struct value *in[] = { x, r->weight[2 * k], r->weight[biases + 2 * k] };
    TRY(site_add1(s, "matmul", in, 3, out));
    struct matmul_attrs *a = node_attrs((*out)->producer);
    a->trans_b = true;
    a->alpha = 1;
    return OK;
}

static status add_direction(struct site *s, const struct rnn_layers *r, int k, struct value *x,
                            struct value **y)
{
    int biases = 2 * r->layers * r->directions;
    struct value *in[6] = {
        [1] = r->weight[2 * k + 1], [2] = r->weight[biases + 2 * k + 1], [5] = r->lengths
    };
    struct node *n;
    TRY(project(s, r, k, x, &in[0]));
    TRY(state_part(s, r, 0, k, &in[3]));
    TRY(state_part(s, r, 1, k, &in[4]));
    TRY(site_add(s, "rnn", in, r->lengths != NULL ? 6 : 5, &n));
    struct rnn_attrs *a = node_attrs(n);
    *a = r->attrs;
    a->reverse = k % r->directions == 1;
    *y = n->out[0];
    r->last_h[k] = n->out[1];
    r->last_c[k] = n->out[2];
    return OK;
}

static status add_layer(struct site *s, const struct rnn_layers *r, int layer, struct value *x,
                        struct value **out)
{
    struct value *y[2] = { NULL };
    for (int d = 0; d < r->directions; d++)
        TRY(add_direction(s, r, layer * r->directions + d, x, &y[d]));
    *out = y[0];
    if (r->directions == 1)
        return OK;
    TRY(site_add1(s, "concat", y, 2, out));
    ((struct axis_attrs *)node_attrs((*out)->producer))->axis = 2;
    return OK;
}

/* The last states of all layers as one tensor. */
static status bind_state(struct site *s, const struct rnn_layers *r, int which, struct value **last)
{
    struct value *out;
    if (site_out_count(s, "State") <= which)
        return OK;
    for (int k = 0; k < r->layers * r->directions; k++) {
        struct value *h = last[k];
        TRY(site_add1(s, "unsqueeze", &h, 1, &last[k]));
        ((struct axes_attrs *)node_attrs(last[k]->producer))->axes = (struct attr_ints){ 1, { 0 } };
    }
    TRY(site_add1(s, "concat", last, r->layers * r->directions, &out));
    return site_bind_at(s, "State", which, out);
}

static status import_rnn(struct site *s)
{
    struct rnn_layers r = { 0 };
    struct value *x;
    TRY(site_in(s, "Input", &x));
    TRY(read_rnn(s, &r));
    for (int layer = 0; layer < r.layers; layer++)
        TRY(add_layer(s, &r, layer, x, &x));
    TRY(site_bind(s, "Out", x));
    TRY(bind_state(s, &r, 0, r.last_h));
    return bind_state(s, &r, 1, r.last_c);
}

/* ---- the gru of 1.x ---- */

/* Activations: by name, in gru_unit by number. */
static const char *const acts[] = { "identity", "relu", "tanh", "sigmoid", NULL }; /* enum act */

static status import_gru(struct site *s)
{
    struct value *in[5], *out;
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "Weight", &in[1]));
    TRY(site_offsets(s, "Input", &in[2]));
    TRY(site_in_optional(s, "Bias", &in[3]));
    TRY(site_in_optional(s, "H0", &in[4]));
    TRY(site_add1(s, "gru", in, in[4] != NULL ? 5 : in[3] != NULL ? 4 : 3, &out));
    *(struct gru_attrs *)node_attrs(out->producer) =
        (struct gru_attrs){ .reverse = attr_bool(s, "is_reverse", false),
                            .origin = attr_bool(s, "origin_mode", false),
                            .gate_act = attr_enum(s, "gate_activation", "sigmoid", acts),
                            .candidate_act = attr_enum(s, "activation", "tanh", acts) };
    s->ragged = in[0];
    return site_bind(s, "Hidden", out);
}

static status read_act(struct site *s, const char *name, int32_t otherwise, int32_t *out)
{
    static const int32_t by_number[] = { ACT_NONE, ACT_SIGMOID, ACT_TANH, ACT_RELU };
    int32_t i = attr_i32(s, name, otherwise);
    if (i < 0 || i >= (int32_t)ARRAY_LEN(by_number))
        return site_fault(s, INVALID, "attribute '%s' is %d, expected 0 to 3", name, i);
    *out = by_number[i];
    return OK;
}

/* One step for each row: every row is a sequence of its own, and the state before it is given. */
static status import_gru_unit(struct site *s)
{
    struct value *in[5] = { NULL }, *out;
    struct gru_attrs a = { .origin = attr_bool(s, "origin_mode", false) };
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "Weight", &in[1]));
    TRY(site_in_optional(s, "Bias", &in[3]));
    TRY(site_in(s, "HiddenPrev", &in[4]));
    TRY(read_act(s, "gate_activation", 1, &a.gate_act));
    TRY(read_act(s, "activation", 2, &a.candidate_act));
    TRY(site_add1(s, "gru", in, 5, &out));
    *(struct gru_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Hidden", out);
}

/* ---- decoders ---- */

/* With labels, the answer is where the path agrees with them. */
static status bind_path(struct site *s, struct value *path)
{
    struct value *in[2] = { path, NULL }, *same;
    TRY(site_in_optional(s, "Label", &in[1]));
    if (in[1] == NULL)
        return site_bind(s, "ViterbiPath", path);
    TRY(site_cast(s, in[1], DTYPE_I64, &in[1]));
    TRY(site_add1(s, "equal", in, 2, &same));
    same->dtype = DTYPE_BOOL;
    TRY(site_cast(s, same, DTYPE_I64, &same));
    return site_bind(s, "ViterbiPath", same);
}

static status import_crf_decoding(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "Emission", &in[0]));
    TRY(site_in_optional(s, "Length", &in[1]));
    TRY(site_in(s, "Transition", &in[2]));
    bool padded = in[1] != NULL;
    if (!padded)
        TRY(site_offsets(s, "Emission", &in[1]));
    TRY(site_add1(s, padded ? "crf_decode_padded" : "crf_decode", in, 3, &out));
    out->dtype = DTYPE_I64;
    s->ragged = padded ? NULL : in[0];
    return bind_path(s, out);
}

static status import_viterbi_decode(struct site *s)
{
    struct value *in[3];
    struct node *n;
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "Transition", &in[1]));
    TRY(site_in(s, "Length", &in[2]));
    TRY(site_add(s, "viterbi", in, 3, &n));
    ((struct viterbi_attrs *)node_attrs(n))->tags = attr_bool(s, "include_bos_eos_tag", true);
    n->out[1]->dtype = DTYPE_I64;
    TRY(site_bind(s, "Scores", n->out[0]));
    return site_bind(s, "Path", n->out[1]);
}

static status import_row_conv(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_offsets(s, "X", &in[1]));
    TRY(site_in(s, "Filter", &in[2]));
    TRY(site_add1(s, "row_conv", in, 3, &out));
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_recurrent[] = {
    { "rnn",          "rnn",        import_rnn,          LOD_OWN },
    { "gru",          "gru",        import_gru,          LOD_SHARE },
    { "gru_unit",     "gru",        import_gru_unit,     LOD_SHARE },
    { "crf_decoding", "crf_decode", import_crf_decoding, LOD_SHARE },
    { "viterbi_decode", "viterbi",  import_viterbi_decode, LOD_OWN },
    { "row_conv",     "row_conv",   import_row_conv,     LOD_SHARE },
    { 0 },
};
// clang-format on
