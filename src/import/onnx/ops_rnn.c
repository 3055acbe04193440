/* Recurrent layers: each direction is a projection of all steps at once and one recurrent operator (attrs_recurrent.h). */
#include "graph/attrs_move.h"
#include "graph/attrs_recurrent.h"
#include "import/onnx/build.h"

/* A kind of layer: its gates, in which order ours want ONNX's. */
struct kind {
    const char *type;
    int32_t mode;
    int gates;
    int order[4];
};

static const struct kind kinds[] = {
    { "LSTM", RNN_LSTM, 4, { 0, 2, 3, 1 } }, /* ONNX: input, output, forget, candidate */
    { "GRU", RNN_GRU, 3, { 1, 0, 2 } },      /* ONNX: update, reset, candidate */
    { "RNN", RNN_TANH, 1, { 0 } },
};

struct layer {
    const struct kind *kind;
    int32_t mode;
    int64_t hidden;
    int directions;
    bool backwards; /* a single direction, from the end */
    bool reset_first, batch_first;
    struct value *x, *w, *r, *b, *lengths, *h0, *c0;
};

static const struct kind *find_kind(const struct onnx_site *s)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_is(s->node->type, kinds[i].type))
            return &kinds[i];
    return &kinds[0];
}

/* The activations that the engine has are the usual ones; anything else would be another layer. */
static status check_activations(struct onnx_site *s, struct layer *l)
{
    static const char *const usual[3][3] = { { "Sigmoid", "Tanh", "Tanh" },
                                             { "Sigmoid", "Tanh", NULL },
                                             { "Tanh", NULL, NULL } };
    const struct onnx_attr *a = onnx_attr(s, "activations");
    int kind = (int)(l->kind - kinds), per = kind == 0 ? 3 : kind == 1 ? 2 : 1;
    for (int i = 0; a != NULL && i < a->string_count; i++) {
        if (kind == 2 && str_eq_nocase(a->strings[i], STR("Relu")) &&
            (i == 0 || l->mode == RNN_RELU))
            l->mode = RNN_RELU;
        else if (!str_eq_nocase(a->strings[i], str_of(usual[kind][i % per])))
            return onnx_fault(s, UNSUPPORTED, "activation '%.*s'", STR_ARG(a->strings[i]));
    }
    if (onnx_attr(s, "clip") != NULL || onnx_bool(s, "input_forget", false))
        return onnx_fault(s, UNSUPPORTED, "attributes clip and input_forget");
    return OK;
}

static status read_layer(struct onnx_site *s, struct layer *l)
{
    static const char *const direction[] = { "forward", "reverse", "bidirectional", NULL };
    struct value *peepholes;
    int32_t way = onnx_enum(s, "direction", "forward", direction);
    *l = (struct layer){ .kind = find_kind(s),
                         .directions = way == 2 ? 2 : 1,
                         .backwards = way == 1,
                         .reset_first = !onnx_bool(s, "linear_before_reset", false),
                         .batch_first = onnx_bool(s, "layout", false) };
    l->mode = l->kind->mode;
    TRY(check_activations(s, l));
    struct value **in[] = { &l->x, &l->w, &l->r, &l->b, &l->lengths, &l->h0, &l->c0 };
    for (int i = 0; i < 7; i++)
        TRY(i < 3 ? onnx_in(s, i, in[i]) : onnx_in_optional(s, i, in[i]));
    TRY(onnx_in_optional(s, 7, &peepholes));
    if (peepholes != NULL && l->kind->mode == RNN_LSTM)
        return onnx_fault(s, UNSUPPORTED, "peepholes (input 7)");
    l->hidden = l->r->shape.rank == 3 ? l->r->shape.dim[2] : -1;
    if (l->hidden < 1)
        return onnx_fault(s, UNSUPPORTED, "weights whose shape the file does not tell");
    return OK;
}

/* One direction's part of a [directions, ...] tensor, without that dimension. */
static status part_of(struct onnx_site *s, struct value *v, int d, struct value **out)
{
    struct value *cut;
    *out = NULL;
    if (v == NULL)
        return OK;
    TRY(build_slice(s, v, 0, d, d + 1, &cut));
    TRY(build1(s, "squeeze", cut, out));
    ((struct axes_attrs *)node_attrs((*out)->producer))->axes = (struct attr_ints){ 1, { 0 } };
    (*out)->shape.rank = v->shape.rank - 1;
    for (int i = 0; i < (*out)->shape.rank; i++)
        (*out)->shape.dim[i] = v->shape.dim[i + 1];
    return OK;
}

/* Rows of gates from ONNX's order to ours. */
static status reorder(struct onnx_site *s, const struct layer *l, struct value *v,
                      struct value **out)
{
    struct value *gate[4];
    *out = v;
    if (l->kind->gates == 1)
        return OK;
    for (int i = 0; i < l->kind->gates; i++) {
        int64_t from = l->kind->order[i] * l->hidden;
        TRY(build_slice(s, v, 0, from, from + l->hidden, &gate[i]));
    }
    return build_concat(s, gate, l->kind->gates, 0, out);
}

/* The two halves of a direction's bias: of the projection and of the recurrent product. */
static status read_biases(struct onnx_site *s, const struct layer *l, int d, struct value *bias[2])
{
    struct value *both, *half;
    int64_t size = l->kind->gates * l->hidden;
    bias[0] = bias[1] = NULL;
    TRY(part_of(s, l->b, d, &both));
    for (int i = 0; both != NULL && i < 2; i++) {
        TRY(build_slice(s, both, 0, i * size, (i + 1) * size, &half));
        TRY(reorder(s, l, half, &bias[i]));
    }
    return OK;
}

static status run_direction(struct onnx_site *s, const struct layer *l, int d, struct node **out)
{
    struct value *w, *r, *bias[2], *h0, *c0, *projected;
    TRY(part_of(s, l->w, d, &w));
    TRY(part_of(s, l->r, d, &r));
    TRY(reorder(s, l, w, &w));
    TRY(reorder(s, l, r, &r));
    TRY(read_biases(s, l, d, bias));
    TRY(part_of(s, l->h0, d, &h0));
    TRY(part_of(s, l->c0, d, &c0));
    TRY(build_matmul(s, l->x, w, true, &projected));
    if (bias[0] != NULL)
        TRY(build2(s, "add", projected, bias[0], &projected));
    struct value *in[] = { projected, r, bias[1], h0, c0, l->lengths };
    TRY(onnx_add(s, "rnn", in, ARRAY_LEN(in), out));
    *(struct rnn_attrs *)node_attrs(*out) = (struct rnn_attrs){ .mode = l->mode,
                                                                .reverse = l->backwards || d == 1,
                                                                .reset_first = l->reset_first };
    for (int i = 0; i < 3; i++) {
        (*out)->out[i]->dtype = l->x->dtype;
        (*out)->out[i]->shape = (struct shape){ .rank = i == 0 ? 3 : 2, .dim = { -1, -1, -1 } };
    }
    return OK;
}

/* The same output of every direction side by side in a new dimension. */
static status join(struct onnx_site *s, const struct layer *l, struct node *const *run, int output,
                   int at, struct value **out)
{
    struct value *part[2];
    for (int d = 0; d < l->directions; d++)
        TRY(build_unsqueeze(s, run[d]->out[output], &(struct attr_ints){ 1, { at } }, &part[d]));
    return build_concat(s, part, l->directions, at, out);
}

static status bind_outputs(struct onnx_site *s, const struct layer *l, struct node *const *run)
{
    static const struct attr_ints steps_last = { 4, { 2, 0, 1, 3 } }, states = { 3, { 1, 0, 2 } };
    for (int i = 0; i < 3; i++) {
        struct value *out;
        if (!onnx_wants(s, i))
            continue;
        TRY(join(s, l, run, i, i == 0 ? 1 : 0, &out));
        if (l->batch_first)
            TRY(build_transpose(s, out, i == 0 ? &steps_last : &states, &out));
        TRY(onnx_bind(s, i, out));
    }
    return OK;
}

/* To [steps, batch, ...] and [directions, batch, ...], whatever the node's layout. */
static status turn_inputs(struct onnx_site *s, struct layer *l)
{
    static const struct attr_ints swap = { 3, { 1, 0, 2 } };
    if (!l->batch_first)
        return OK;
    TRY(build_transpose(s, l->x, &swap, &l->x));
    if (l->h0 != NULL)
        TRY(build_transpose(s, l->h0, &swap, &l->h0));
    return l->c0 != NULL ? build_transpose(s, l->c0, &swap, &l->c0) : OK;
}

static status import_recurrent(struct onnx_site *s)
{
    struct layer l;
    struct node *run[2];
    TRY(read_layer(s, &l));
    TRY(turn_inputs(s, &l));
    for (int d = 0; d < l.directions; d++)
        TRY(run_direction(s, &l, d, &run[d]));
    return bind_outputs(s, &l, run);
}

// clang-format off
const struct onnx_row onnx_rnn[] = {
    { "LSTM", "rnn", import_recurrent },
    { "GRU",  "rnn", import_recurrent },
    { "RNN",  "rnn", import_recurrent },
    { 0 },
};
// clang-format on
