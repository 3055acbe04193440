/* com.microsoft: what ONNX Runtime's own optimiser and quantiser write into a model that is saved again, and what exporters
 * for it write. Each is a few operators of ours; passes fuse them as they see fit. */
#include "graph/attrs_image.h"
#include "graph/attrs_index.h"
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"
#include "import/onnx/build.h"

#include <math.h>

/* ---- pieces ---- */

static status add_optional(struct onnx_site *s, int input, struct value **x)
{
    struct value *more;
    TRY(onnx_in_optional(s, input, &more));
    return more != NULL ? build2(s, "add", *x, more, x) : OK;
}

static status refuse_in(struct onnx_site *s, int input, const char *what)
{
    struct value *v;
    TRY(onnx_in_optional(s, input, &v));
    return v == NULL ? OK : onnx_fault(s, UNSUPPORTED, "%s (input %d)", what, input);
}

/* An output that training wants. */
static status refuse_out(struct onnx_site *s, int output, const char *what)
{
    return onnx_wants(s, output) ? onnx_fault(s, UNSUPPORTED, "%s (output %d)", what, output) : OK;
}

/* The activation that follows in the same node. */
static status activate(struct onnx_site *s, const float *params, struct value **x)
{
    // clang-format off
    static const struct { const char *name, *op; struct curve_attrs by; int given; } row[] = {
        { "Relu",        "relu",         { 0, 0, 0 },              0 },
        { "Tanh",        "tanh",         { 0, 0, 0 },              0 },
        { "Sigmoid",     "sigmoid",      { 0, 0, 0 },              0 },
        { "LeakyRelu",   "leaky_relu",   { 0.01f, 0, 0 },    1 },
        { "HardSigmoid", "hard_sigmoid", { 0.2f, 0.5f, 0 },  2 },
        { "Clip",        "clip",         { -INFINITY, INFINITY, 0 }, 2 },
    };
    // clang-format on
    struct str name = onnx_str(s, "activation", "");
    if (name.n == 0)
        return OK;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        if (!str_is(name, row[i].name))
            continue;
        TRY(build1(s, row[i].op, *x, x));
        if (row[i].given == 0)
            return OK;
        struct curve_attrs by = row[i].by;
        by.alpha = params != NULL ? params[0] : by.alpha;
        by.beta = params != NULL && row[i].given > 1 ? params[1] : by.beta;
        *(struct curve_attrs *)node_attrs((*x)->producer) = by;
        return OK;
    }
    return onnx_fault(s, UNSUPPORTED, "activation '%.*s'", STR_ARG(name));
}

/* Its numbers: a list, or one attribute each; NULL: its defaults. */
static const float *activation_numbers(struct onnx_site *s, float pair[2])
{
    const struct onnx_attr *list = onnx_attr(s, "activation_params");
    if (list != NULL && list->float_count >= 1) {
        pair[0] = list->floats[0];
        pair[1] = list->float_count > 1 ? list->floats[1] : 0;
        return pair;
    }
    if (onnx_attr(s, "activation_alpha") == NULL)
        return NULL;
    pair[0] = onnx_f32(s, "activation_alpha", 0);
    pair[1] = onnx_f32(s, "activation_beta", 0);
    return pair;
}

/* ---- products ---- */

static status import_fused_matmul(struct onnx_site *s)
{
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    if (onnx_bool(s, "transBatchA", false) || onnx_bool(s, "transBatchB", false))
        return onnx_fault(s, UNSUPPORTED, "transBatchA or transBatchB");
    TRY(build_matmul(s, in[0], in[1], onnx_bool(s, "transB", false), &out));
    struct matmul_attrs *a = node_attrs(out->producer);
    a->trans_a = onnx_bool(s, "transA", false);
    a->alpha = onnx_f32(s, "alpha", 1);
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

static status import_fused_gemm(struct onnx_site *s)
{
    struct value *in[2], *c, *out;
    float pair[2];
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_in_optional(s, 2, &c));
    TRY(build_matmul(s, in[0], in[1], onnx_bool(s, "transB", false), &out));
    struct matmul_attrs *a = node_attrs(out->producer);
    a->trans_a = onnx_bool(s, "transA", false);
    a->alpha = onnx_f32(s, "alpha", 1);
    out->shape = SHAPE(-1, -1);
    if (c != NULL && onnx_f32(s, "beta", 1) != 1)
        TRY(build_affine(s, c, (double)onnx_f32(s, "beta", 1), 0, &c));
    if (c != NULL)
        TRY(build2(s, "add", out, c, &out));
    TRY(activate(s, activation_numbers(s, pair), &out));
    return onnx_bind(s, 0, out);
}

/* ---- activations with a bias ---- */

static status import_biased_gelu(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(add_optional(s, 1, &x));
    TRY(build1(s, s->row->canonical, x, &out));
    return onnx_bind(s, 0, out);
}

/* x sigmoid(alpha x) */
static status import_quick_gelu(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(build1(s, "swish", x, &out));
    ((struct curve_attrs *)node_attrs(out->producer))->alpha = onnx_f32(s, "alpha", 1.702f);
    return onnx_bind(s, 0, out);
}

static status import_bias_softmax(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(add_optional(s, 1, &x));
    if (onnx_i64(s, "axis", 1) != x->shape.rank - 1 && onnx_i64(s, "axis", 1) != -1)
        return onnx_fault(s, UNSUPPORTED, "a softmax over more than the last dimension");
    TRY(build_along(s, "softmax", x, -1, &out));
    return onnx_bind(s, 0, out);
}

/* ---- normalisations ---- */

/* op: layer_norm or rms_norm. gamma and beta are inputs; beta < 0: there is none. */
static status normalise(struct onnx_site *s, const char *op, struct value *x, int gamma, int beta,
                        float epsilon, struct value **out)
{
    struct value *in[3] = { x };
    TRY(onnx_in(s, gamma, &in[1]));
    if (beta >= 0)
        TRY(onnx_in_optional(s, beta, &in[2]));
    TRY(onnx_add1(s, op, in, in[2] != NULL ? 3 : 2, out));
    *(struct layer_norm_attrs *)node_attrs((*out)->producer) =
        (struct layer_norm_attrs){ -1, epsilon };
    return OK;
}

static status import_simplified_norm(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(refuse_out(s, 1, "the inverse deviation"));
    int64_t axis = onnx_i64(s, "axis", -1);
    if (axis != -1 && axis != x->shape.rank - 1)
        return onnx_fault(s, UNSUPPORTED, "axis %lld, which is not the last", (long long)axis);
    TRY(normalise(s, "rms_norm", x, 1, -1, onnx_f32(s, "epsilon", 1e-5f), &out));
    return onnx_bind(s, 0, out);
}

/* x + skip + bias, normalised; the sum is output 3. */
static status import_skip_norm(struct onnx_site *s)
{
    bool simple = !str_is(str_of(s->row->canonical), "layer_norm");
    struct value *x, *skip, *sum, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &skip));
    TRY(refuse_out(s, 1, "the mean"));
    TRY(refuse_out(s, 2, "the inverse deviation"));
    TRY(build2(s, "add", x, skip, &sum));
    TRY(add_optional(s, simple ? 3 : 4, &sum));
    TRY(normalise(s, s->row->canonical, sum, 2, simple ? -1 : 3, onnx_f32(s, "epsilon", 1e-12f),
                  &out));
    TRY(onnx_bind(s, 0, out));
    return onnx_bind(s, 3, sum);
}

/* Rows of a table by numbers; places NULL: 0, 1, .. along dimension 1 of ids. */
static status look_up(struct onnx_site *s, int table, struct value *places, struct value **sum)
{
    struct value *rows, *found;
    TRY(onnx_in(s, table, &rows));
    TRY(build_gather(s, rows, places, 0, &found));
    return build2(s, "add", *sum, found, sum);
}

/* The sum of words', positions' and segments' vectors, normalised; output 1: how many words each text has. */
static status import_embed(struct onnx_site *s)
{
    struct value *ids, *segments, *words, *places, *mask, *sum, *out, *length;
    TRY(onnx_in(s, 0, &ids));
    TRY(onnx_in_optional(s, 1, &segments));
    TRY(onnx_in(s, 2, &words));
    TRY(build_gather(s, words, ids, 0, &sum));
    sum->shape = SHAPE(-1, -1, words->shape.rank == 2 ? words->shape.dim[1] : -1);
    TRY(onnx_in_optional(s, 8, &places));
    if (places == NULL)
        TRY(build_places(s, ids, 1, &places));
    TRY(look_up(s, 3, places, &sum));
    if (segments != NULL)
        TRY(look_up(s, 4, segments, &sum));
    TRY(normalise(s, "layer_norm", sum, 5, 6, onnx_f32(s, "epsilon", 1e-12f), &out));
    TRY(onnx_bind(s, 0, out));
    TRY(onnx_bind(s, 2, sum));
    if (!onnx_wants(s, 1))
        return OK;
    TRY(onnx_in_optional(s, 7, &mask));
    if (mask == NULL) {
        TRY(build_affine(s, ids, 0, 0, &length));
        TRY(build_reduce(s, REDUCE_SUM, length, &(struct attr_ints){ 1, { 1 } }, false, &length));
    } else {
        TRY(build_reduce(s, REDUCE_SUM, mask, &(struct attr_ints){ 1, { 1 } }, false, &length));
    }
    TRY(build_cast(s, length, DTYPE_I32, &length));
    return onnx_bind(s, 1, length);
}

/* ---- attention ---- */

struct heads {
    struct value *q, *k, *v; /* [batch, heads, length, size] */
    int64_t count;
};

static status split_heads(struct onnx_site *s, struct value *x, int64_t heads, struct value **out)
{
    struct value *cut;
    TRY(onnx_add_reshape(s, x, &(struct attr_ints){ 4, { 0, 0, heads, -1 } }, &cut));
    return build_transpose(s, cut, &(struct attr_ints){ 4, { 0, 2, 1, 3 } }, out);
}

/* A mask of 1 and 0 as what is added to scores. */
static status add_hidden(struct onnx_site *s, struct value *mask, struct value **scores)
{
    struct value *hidden;
    TRY(build_cast(s, mask, DTYPE_F32, &hidden));
    double low = (double)onnx_f32(s, "mask_filter_value", -10000);
    TRY(build_affine(s, hidden, -low, low, &hidden)); /* 1: 0, 0: low */
    return build2(s, "add", *scores, hidden, scores);
}

/* How many keys each text has, [batch], or a mask [batch, keys], [batch, queries, keys]. */
static status mask_keys(struct onnx_site *s, int input, struct value **scores)
{
    struct value *mask, *places;
    TRY(onnx_in_optional(s, input, &mask));
    if (mask == NULL)
        return OK;
    if (mask->shape.rank == 1) {
        TRY(build_places(s, *scores, 3, &places));
        TRY(build_unsqueeze(s, mask, &(struct attr_ints){ 1, { 1 } }, &mask));
        TRY(build_cast(s, mask, DTYPE_I64, &mask));
        TRY(build2(s, "less", places, mask, &mask));
        mask->shape = SHAPE(-1, -1);
    }
    if (mask->shape.rank == 2)
        TRY(build_unsqueeze(s, mask, &(struct attr_ints){ 2, { 1, 2 } }, &mask));
    else if (mask->shape.rank == 3)
        TRY(build_unsqueeze(s, mask, &(struct attr_ints){ 1, { 1 } }, &mask));
    else
        return onnx_fault(s, UNSUPPORTED, "a mask of %d dimensions", mask->shape.rank);
    return add_hidden(s, mask, scores);
}

/* Query i sees the keys up to i. */
static status mask_later(struct onnx_site *s, struct value **scores)
{
    struct value *q, *k, *sees, *low;
    TRY(build_places(s, *scores, 2, &q));
    TRY(build_places(s, *scores, 3, &k));
    TRY(build_unsqueeze(s, q, &(struct attr_ints){ 1, { 1 } }, &q));
    TRY(build2(s, "less_equal", k, q, &sees));
    TRY(onnx_add_scalar_like(s, *scores, -INFINITY, &low));
    return build_where(s, sees, *scores, low, scores);
}

static status attend(struct onnx_site *s, const struct heads *h, int mask, int bias,
                     struct value **out)
{
    struct value *scores, *size, *root, *weights, *mixed;
    TRY(build_matmul(s, h->q, h->k, true, &scores));
    scores->shape.rank = 4;
    declare_unknown(scores);
    if (onnx_f32(s, "scale", 0) != 0) {
        TRY(build_affine(s, scores, (double)onnx_f32(s, "scale", 0), 0, &scores));
    } else {
        TRY(build_dim(s, h->q, -1, &size));
        TRY(build_cast(s, size, DTYPE_F32, &root));
        TRY(build1(s, "sqrt", root, &root));
        TRY(build2(s, "div", scores, root, &scores));
    }
    TRY(add_optional(s, bias, &scores));
    TRY(mask_keys(s, mask, &scores));
    if (onnx_bool(s, "unidirectional", false))
        TRY(mask_later(s, &scores));
    TRY(build_along(s, "softmax", scores, -1, &weights));
    TRY(build_matmul(s, weights, h->v, false, &mixed));
    mixed->shape.rank = 4;
    declare_unknown(mixed);
    TRY(build_transpose(s, mixed, &(struct attr_ints){ 4, { 0, 2, 1, 3 } }, &mixed));
    return onnx_add_reshape(s, mixed, &(struct attr_ints){ 3, { 0, 0, -1 } }, out);
}

/* Widths of q, k and v in what one product gives for all. */
static status part_widths(struct onnx_site *s, const struct value *weight, int64_t width[3])
{
    struct attr_ints sizes = onnx_i64s(s, "qkv_hidden_sizes");
    int64_t all = weight->shape.rank == 2 ? weight->shape.dim[1] : -1;
    for (int i = 0; i < 3; i++)
        width[i] = sizes.count == 3 ? sizes.v[i] : all / 3;
    if (all < 3 || width[0] < 1 || width[1] < 1 || width[2] < 1)
        return onnx_fault(s, UNSUPPORTED, "weights whose size the file does not tell");
    return OK;
}

static status import_attention(struct onnx_site *s)
{
    struct heads h = { .count = onnx_i64(s, "num_heads", 0) };
    struct value *x, *weight, *all, *part, *out, **to[3] = { &h.q, &h.k, &h.v };
    int64_t width[3], at = 0;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &weight));
    TRY(refuse_in(s, 4, "keys and values of earlier calls"));
    TRY(refuse_out(s, 1, "keys and values for later calls"));
    if (h.count < 1 || onnx_i64(s, "do_rotary", 0) != 0)
        return onnx_fault(s, UNSUPPORTED, "no heads, or do_rotary");
    TRY(part_widths(s, weight, width));
    TRY(build_matmul(s, x, weight, false, &all));
    all->shape = SHAPE(-1, -1, weight->shape.dim[1]);
    TRY(add_optional(s, 2, &all));
    for (int i = 0; i < 3; at += width[i++]) {
        TRY(build_slice(s, all, 2, at, at + width[i], &part));
        TRY(split_heads(s, part, h.count, to[i]));
    }
    TRY(attend(s, &h, 3, 5, &out));
    return onnx_bind(s, 0, out);
}

/* The bias of all three lies in one row. */
static status add_part_of_bias(struct onnx_site *s, const struct value *bias, int64_t at,
                               int64_t width, struct value **x)
{
    struct value *part;
    TRY(build_slice(s, (struct value *)bias, 0, at, at + width, &part));
    return build2(s, "add", *x, part, x);
}

static status import_multi_head(struct onnx_site *s)
{
    struct heads h = { .count = onnx_i64(s, "num_heads", 0) };
    struct value *x[3], *bias, *out, **to[3] = { &h.q, &h.k, &h.v };
    int64_t at = 0;
    for (int i = 0; i < 3; i++)
        TRY(onnx_in(s, i, &x[i]));
    TRY(onnx_in_optional(s, 3, &bias));
    TRY(refuse_in(s, 6, "keys of earlier calls"));
    TRY(refuse_out(s, 1, "keys for later calls"));
    for (int i = 0; i < 3; i++) {
        if (x[i]->shape.rank != 3 || h.count < 1)
            return onnx_fault(s, UNSUPPORTED, "input %d of %d dimensions, expected 3", i,
                              x[i]->shape.rank);
        int64_t width = x[i]->shape.dim[2];
        if (bias != NULL && width < 1)
            return onnx_fault(s, UNSUPPORTED, "a bias for inputs of no known width");
        if (bias != NULL)
            TRY(add_part_of_bias(s, bias, at, width, &x[i]));
        at += width;
        TRY(split_heads(s, x[i], h.count, to[i]));
    }
    TRY(attend(s, &h, 4, 5, &out));
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_microsoft[] = {
    { "FusedMatMul",            "matmul",     import_fused_matmul },
    { "TransposeMatMul",        "matmul",     import_fused_matmul },
    { "FusedGemm",              "matmul",     import_fused_gemm },
    { "Gelu",                   "gelu",       import_biased_gelu },
    { "BiasGelu",               "gelu",       import_biased_gelu },
    { "FastGelu",               "gelu_tanh",  import_biased_gelu },
    { "QuickGelu",              "swish",      import_quick_gelu },
    { "BiasSoftmax",            "softmax",    import_bias_softmax },
    { "SkipLayerNormalization", "layer_norm", import_skip_norm },
    { "SkipSimplifiedLayerNormalization", "rms_norm", import_skip_norm },
    { "EmbedLayerNormalization", "layer_norm", import_embed },
    { "Attention",              "softmax",    import_attention },
    { "MultiHeadAttention",     "softmax",    import_multi_head },
    { "Inverse",                "inverse",    import_plain },
    { 0 },
};

/* ONNX Runtime writes this one into the default domain. */
const struct onnx_row onnx_runtime_own[] = {
    { "SimplifiedLayerNormalization", "rms_norm", import_simplified_norm },
    { 0 },
};
// clang-format on
