/* What Paddle's graph optimiser and its incubating layers write instead of plain operators: they are taken apart again,
 * so that one set of passes and kernels serves both. */
#include "graph/attrs_move.h"
#include "graph/attrs_ragged.h"
#include "graph/attrs_recurrent.h"
#include "graph/attrs_reduce.h"
#include "import/paddle/site.h"

#include <math.h>

/* ---- pieces ---- */

/* x + y, or x where there is no y. */
static status add_to(struct site *s, struct value *x, struct value *y, struct value **out)
{
    *out = x;
    return y != NULL ? site_add2(s, "add", x, y, out) : OK;
}

static status product(struct site *s, struct value *a, struct value *b, struct matmul_attrs attrs,
                      struct value **out)
{
    TRY(site_add2(s, "matmul", a, b, out));
    *(struct matmul_attrs *)node_attrs((*out)->producer) = attrs;
    return OK;
}

static status reshape(struct site *s, struct value *x, struct attr_ints to, struct value **out)
{
    return site_add_reshape(s, x, &to, out);
}

static status flat(struct site *s, struct value *x, struct value **out)
{
    if (x == NULL) {
        *out = NULL;
        return OK;
    }
    return site_reshape(s, x, &(struct attr_ints){ 1, { -1 } }, out);
}

static status transpose(struct site *s, struct value *x, struct attr_ints perm, struct value **out)
{
    TRY(site_add1(s, "transpose", &x, 1, out));
    ((struct transpose_attrs *)node_attrs((*out)->producer))->perm = perm;
    (*out)->shape.rank = perm.count;
    return OK;
}

static status part(struct site *s, struct value *x, int index, int count, struct value **out)
{
    struct value *cut;
    TRY(site_add1(s, "split_part", &x, 1, &cut));
    *(struct split_attrs *)node_attrs(cut->producer) =
        (struct split_attrs){ .index = index, .count = count };
    TRY(site_add1(s, "squeeze", &cut, 1, out));
    ((struct axes_attrs *)node_attrs((*out)->producer))->axes = (struct attr_ints){ 1, { 0 } };
    (*out)->shape.rank = x->shape.rank - 1;
    return OK;
}

static status layer_norm(struct site *s, struct value *x, struct value *scale, struct value *bias,
                         int begin, double epsilon, struct value **out)
{
    struct value *in[] = { x, scale, bias };
    TRY(site_add1(s, "layer_norm", in, 3, out));
    *(struct layer_norm_attrs *)node_attrs((*out)->producer) =
        (struct layer_norm_attrs){ .begin = begin, .epsilon = (float)epsilon };
    return OK;
}

/* An activation by the name that fused operators give it; none leaves x. */
static status activate(struct site *s, struct value *x, struct str name, struct value **out)
{
    static const char *const known[] = { "relu", "gelu", "tanh", "sigmoid" };
    *out = x;
    if (name.n == 0 || str_is(name, "none") || str_is(name, "identity"))
        return OK;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_is(name, known[i]))
            return site_add1(s, known[i], &x, 1, out);
    return site_fault(s, UNSUPPORTED, "the activation '%.*s'", STR_ARG(name));
}

/* Nothing is dropped; what is not scaled up while training is scaled down now. */
static status undrop(struct site *s, struct value *x, const char *rate, const char *how,
                     struct value **out)
{
    double p = attr_f64(s, rate, 0.5);
    *out = x;
    if (str_is(attr_str(s, how, "upscale_in_train"), "upscale_in_train") || p == 0)
        return OK;
    TRY(site_add1(s, "affine", &x, 1, out));
    ((struct affine_attrs *)node_attrs((*out)->producer))->scale = (float)(1 - p);
    return OK;
}

/* x, whose dimensions from `columns` on are one, times w, and its bias. */
static status fc(struct site *s, struct value *x, int columns, struct value *w, struct value *bias,
                 struct value **out)
{
    struct value *rows = x;
    if (columns < 1 || columns >= x->shape.rank)
        return site_fault(s, INVALID, "%d leading dimensions of %d", columns, x->shape.rank);
    if (columns < x->shape.rank - 1) {
        TRY(site_add1(s, "flatten", &x, 1, &rows));
        *(struct flatten_attrs *)node_attrs(rows->producer) = (struct flatten_attrs){ columns, -1 };
        rows->shape.rank = columns + 1;
    }
    TRY(product(s, rows, w, (struct matmul_attrs){ .alpha = 1 }, out));
    (*out)->shape.rank = columns + 1;
    TRY(flat(s, bias, &bias));
    return add_to(s, *out, bias, out);
}

/* A fresh value for the output variable: what came of it may be an input as it is. */
static status bind_copy(struct site *s, const char *slot, struct value *v)
{
    struct value *out;
    TRY(site_add1(s, "identity", &v, 1, &out));
    return site_bind(s, slot, out);
}

/* ---- products ---- */

static status import_fc(struct site *s)
{
    struct value *x, *w, *bias, *out;
    TRY(site_in(s, "Input", &x));
    TRY(site_in(s, "W", &w));
    TRY(site_in_optional(s, "Bias", &bias));
    if (attr_bool(s, "padding_weights", false))
        return site_fault(s, UNSUPPORTED, "padding_weights");
    TRY(fc(s, x, attr_i32(s, "in_num_col_dims", 1), w, bias, &out));
    TRY(activate(s, out, attr_str(s, "activation_type", ""), &out));
    return bind_copy(s, "Out", out);
}

static status import_gemm_epilogue(struct site *s)
{
    struct value *x, *y, *bias, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(site_in(s, "Bias", &bias));
    struct matmul_attrs a = { .trans_a = attr_bool(s, "trans_x", false),
                              .trans_b = attr_bool(s, "trans_y", false),
                              .alpha = 1 };
    TRY(product(s, x, y, a, &out));
    TRY(add_to(s, out, bias, &out));
    TRY(activate(s, out, attr_str(s, "activation", "none"), &out));
    return bind_copy(s, "Out", out);
}

/* A chain of products, each with its bias and relu. */
static status import_repeated_fc(struct site *s)
{
    struct value *x, **w, **bias;
    int count, biases;
    TRY(site_in(s, "X", &x));
    TRY(site_ins(s, "W", &w, &count));
    TRY(site_ins(s, "Bias", &bias, &biases));
    if (count != biases)
        return site_fault(s, INVALID, "%d weights and %d biases", count, biases);
    for (int i = 0; i < count; i++) {
        TRY(fc(s, x, 1, w[i], bias[i], &x));
        TRY(site_add1(s, "relu", &x, 1, &x));
    }
    return bind_copy(s, "Out", x);
}

/* ((X x Y)^2 - X^2 x Y^2) * scalar: the second order of a factorisation machine. */
static status import_squared_mat_sub(struct site *s)
{
    struct value *x, *y, *all, *own, *xx, *yy, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(product(s, x, y, (struct matmul_attrs){ .alpha = 1 }, &all));
    TRY(site_add1(s, "square", &all, 1, &all));
    TRY(site_add1(s, "square", &x, 1, &xx));
    TRY(site_add1(s, "square", &y, 1, &yy));
    TRY(product(s, xx, yy, (struct matmul_attrs){ .alpha = 1 }, &own));
    TRY(site_add2(s, "sub", all, own, &out));
    TRY(site_add1(s, "affine", &out, 1, &out));
    ((struct affine_attrs *)node_attrs(out->producer))->scale = (float)attr_f64(s, "scalar", 1);
    return site_bind(s, "Out", out);
}

/* ---- normalisation ---- */

static status import_skip_layernorm(struct site *s)
{
    struct value *x, *y, *scale, *bias, *sum, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(site_in(s, "Scale", &scale));
    TRY(site_in(s, "Bias", &bias));
    TRY(site_add2(s, "add", x, y, &sum));
    TRY(layer_norm(s, sum, scale, bias, attr_i32(s, "begin_norm_axis", x->shape.rank - 1),
                   attr_f64(s, "epsilon", 1e-5), &out));
    return site_bind(s, "Out", out);
}

static status import_fc_layernorm(struct site *s)
{
    struct value *x, *w, *y, *bias0, *bias1, *scale, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "W", &w));
    TRY(site_in(s, "Y", &y));
    TRY(site_in_optional(s, "Bias0", &bias0));
    TRY(site_in_optional(s, "Bias1", &bias1));
    TRY(site_in_optional(s, "Scale", &scale));
    TRY(fc(s, x, attr_i32(s, "x_num_col_dims", 1), w, bias0, &out));
    TRY(activate(s, out, attr_str(s, "activation_type", ""), &out));
    TRY(site_add2(s, "add", out, y, &out));
    TRY(layer_norm(s, out, scale, bias1, attr_i32(s, "begin_norm_axis", 1),
                   attr_f64(s, "epsilon", 1e-5), &out));
    return site_bind(s, "Out", out);
}

/* The sum of several look-ups, normalised: the beginning of a BERT. */
static status import_embedding_layernorm(struct site *s)
{
    struct value **ids, **table, *scale, *bias, *row, *sum = NULL, *out;
    int count, tables;
    TRY(site_ins(s, "Ids", &ids, &count));
    TRY(site_ins(s, "Embs", &table, &tables));
    TRY(site_in(s, "Scale", &scale));
    TRY(site_in(s, "Bias", &bias));
    if (count != tables)
        return site_fault(s, INVALID, "%d ids and %d tables", count, tables);
    for (int i = 0; i < count; i++) {
        struct value *id = ids[i];
        if (id->shape.rank == 3)
            TRY(reshape(s, id, (struct attr_ints){ 2, { 0, 0 } }, &id));
        TRY(site_add2(s, "embedding", id, table[i], &row));
        row->dtype = table[i]->dtype;
        sum = sum == NULL ? row : sum;
        if (sum != row)
            TRY(site_add2(s, "add", sum, row, &sum));
    }
    TRY(layer_norm(s, sum, scale, bias, 2, attr_f64(s, "epsilon", 1e-5), &out));
    return site_bind(s, "Out", out);
}

static status import_residual_layernorm(struct site *s)
{
    struct value *x, *residual, *bias, *scale, *shift, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Residual", &residual));
    TRY(site_in_optional(s, "Bias", &bias));
    TRY(site_in_optional(s, "LnScale", &scale));
    TRY(site_in_optional(s, "LnBias", &shift));
    TRY(add_to(s, x, bias, &out));
    TRY(undrop(s, out, "dropout_rate", "dropout_implementation", &out));
    TRY(site_add2(s, "add", residual, out, &out));
    TRY(layer_norm(s, out, scale, shift, -1, attr_f64(s, "ln_epsilon", 1e-5), &out));
    return site_bind(s, "Y", out);
}

/* ---- attention ---- */

/* qkv [B, S, 3 * N * D] to the attention's result [B, S, N * D]. mask is added to the scores; may be NULL. */
static status attend(struct site *s, struct value *qkv, int64_t heads, int64_t size, float alpha,
                     struct value *mask, struct value **out)
{
    struct value *all, *q, *k, *v, *score;
    TRY(reshape(s, qkv, (struct attr_ints){ 5, { 0, 0, 3, heads, size } }, &all));
    TRY(transpose(s, all, (struct attr_ints){ 5, { 2, 0, 3, 1, 4 } }, &all));
    TRY(part(s, all, 0, 3, &q));
    TRY(part(s, all, 1, 3, &k));
    TRY(part(s, all, 2, 3, &v));
    TRY(product(s, q, k, (struct matmul_attrs){ .trans_b = true, .alpha = alpha }, &score));
    TRY(add_to(s, score, mask, &score));
    TRY(site_add1(s, "softmax", &score, 1, &score));
    ((struct axis_attrs *)node_attrs(score->producer))->axis = -1;
    TRY(product(s, score, v, (struct matmul_attrs){ .alpha = 1 }, out));
    TRY(transpose(s, *out, (struct attr_ints){ 4, { 0, 2, 1, 3 } }, out));
    return reshape(s, *out, (struct attr_ints){ 3, { 0, 0, heads * size } }, out);
}

static status check_heads(struct site *s, int64_t heads, int64_t width)
{
    if (heads < 1 || width < heads || width % heads != 0 || width > INT32_MAX)
        return site_fault(s, INVALID, "%lld heads of a width of %lld", (long long)heads,
                          (long long)width);
    return OK;
}

/* W is [H, 3, N, D], or another shape of the same elements; all of H. */
static status import_multihead_matmul(struct site *s)
{
    struct value *x, *w, *bias, *mask, *qkv, *out;
    TRY(site_in(s, "Input", &x));
    TRY(site_in(s, "W", &w));
    TRY(site_in_optional(s, "Bias", &bias));
    TRY(site_in_optional(s, "BiasQK", &mask));
    int64_t heads = attr_i32(s, "head_number", 1);
    int64_t width = w->shape.rank > 0 ? w->shape.dim[0] : -1;
    TRY(check_heads(s, heads, width));
    TRY(site_reshape(s, w, &(struct attr_ints){ 2, { width, 3 * width } }, &w));
    TRY(fc(s, x, 2, w, bias, &qkv));
    TRY(attend(s, qkv, heads, width / heads, (float)attr_f64(s, "alpha", 1), mask, &out));
    return site_bind(s, "Out", out);
}

/* fused_attention: QKVW is [3, N, D, H], or with transpose_qkv_wb [H, 3 * H]. */
static status project_qkv(struct site *s, struct value *x, int64_t *heads, int64_t *size,
                          struct value **out)
{
    struct value *w, *bias;
    TRY(site_in(s, "QKVW", &w));
    TRY(site_in_optional(s, "QKVBias", &bias));
    if (attr_bool(s, "transpose_qkv_wb", false)) {
        *heads = attr_i32(s, "num_heads", 1);
        TRY(check_heads(s, *heads, w->shape.rank == 2 ? w->shape.dim[0] : -1));
        *size = w->shape.dim[0] / *heads;
        return fc(s, x, 2, w, bias, out);
    }
    if (w->shape.rank != 4 || w->shape.dim[0] != 3 || shape_numel(&w->shape) < 0)
        return site_fault(s, INVALID, "its input QKVW is not [3, heads, size, width]");
    *heads = w->shape.dim[1];
    *size = w->shape.dim[2];
    TRY(site_reshape(
        s, w, &(struct attr_ints){ 2, { shape_span(&w->shape, 0, 3), w->shape.dim[3] } }, &w));
    TRY(product(s, x, w, (struct matmul_attrs){ .trans_b = true, .alpha = 1 }, out));
    (*out)->shape.rank = 3;
    TRY(flat(s, bias, &bias));
    return add_to(s, *out, bias, out);
}

static status import_fused_attention(struct site *s)
{
    struct value *x, *w, *bias, *mask, *scale, *shift, *in, *out;
    int64_t heads = 1, size = 1;
    bool pre = attr_bool(s, "pre_layer_norm", false);
    TRY(site_in(s, "X", &x));
    TRY(site_in_optional(s, "SrcMask", &mask));
    TRY(site_in(s, "OutLinearW", &w));
    TRY(site_in_optional(s, "OutLinearBias", &bias));
    TRY(site_in_optional(s, pre ? "LnScale" : "Ln2Scale", &scale));
    TRY(site_in_optional(s, pre ? "LnBias" : "Ln2Bias", &shift));
    TRY(site_refuse_in(s, "CacheKV"));
    in = x;
    if (pre)
        TRY(layer_norm(s, x, scale, shift, -1, attr_f64(s, "epsilon", 1e-5), &in));
    TRY(project_qkv(s, in, &heads, &size, &out));
    TRY(attend(s, out, heads, size, 1 / sqrtf((float)size), mask, &out));
    TRY(fc(s, out, 2, w, bias, &out));
    TRY(undrop(s, out, "dropout_rate", "dropout_implementation", &out));
    if (attr_bool(s, "add_residual", true))
        TRY(site_add2(s, "add", x, out, &out));
    if (!pre)
        TRY(layer_norm(s, out, scale, shift, -1, attr_f64(s, "ln_epsilon", 1e-5), &out));
    return bind_copy(s, "Y", out);
}

static status import_fused_feedforward(struct site *s)
{
    struct value *x, *w1, *b1, *w2, *b2, *scale, *shift, *out;
    bool pre = attr_bool(s, "pre_layer_norm", false);
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Linear1Weight", &w1));
    TRY(site_in_optional(s, "Linear1Bias", &b1));
    TRY(site_in(s, "Linear2Weight", &w2));
    TRY(site_in_optional(s, "Linear2Bias", &b2));
    TRY(site_in_optional(s, pre ? "Ln1Scale" : "Ln2Scale", &scale));
    TRY(site_in_optional(s, pre ? "Ln1Bias" : "Ln2Bias", &shift));
    out = x;
    if (pre)
        TRY(layer_norm(s, x, scale, shift, -1, attr_f64(s, "ln1_epsilon", 1e-5), &out));
    TRY(fc(s, out, x->shape.rank - 1, w1, b1, &out));
    TRY(activate(s, out, attr_str(s, "act_method", "gelu"), &out));
    TRY(undrop(s, out, "dropout1_rate", "dropout1_implementation", &out));
    TRY(fc(s, out, x->shape.rank - 1, w2, b2, &out));
    TRY(undrop(s, out, "dropout2_rate", "dropout2_implementation", &out));
    TRY(site_add2(s, "add", x, out, &out));
    if (!pre)
        TRY(layer_norm(s, out, scale, shift, -1, attr_f64(s, "ln2_epsilon", 1e-5), &out));
    return site_bind(s, "Out", out);
}

/* ---- recurrent layers with their projection ---- */

/* X times WeightX; the rows keep X's sequences, whose offsets come too. */
static status project(struct site *s, struct value **rows, struct value **offsets)
{
    struct value *x, *w;
    TRY(site_in(s, "X", &x));
    TRY(site_offsets(s, "X", offsets));
    TRY(site_in(s, "WeightX", &w));
    s->ragged = x;
    return product(s, x, w, (struct matmul_attrs){ .alpha = 1 }, rows);
}

static status import_fusion_gru(struct site *s)
{
    static const char *const acts[] = { "identity", "relu", "tanh", "sigmoid", NULL };
    struct value *in[5], *out;
    TRY(project(s, &in[0], &in[2]));
    TRY(site_in(s, "WeightH", &in[1]));
    TRY(site_in_optional(s, "Bias", &in[3]));
    TRY(site_in_optional(s, "H0", &in[4]));
    TRY(site_add1(s, "gru", in, 5, &out));
    *(struct gru_attrs *)node_attrs(out->producer) =
        (struct gru_attrs){ .reverse = attr_bool(s, "is_reverse", false),
                            .origin = attr_bool(s, "origin_mode", false),
                            .gate_act = attr_enum(s, "gate_activation", "sigmoid", acts),
                            .candidate_act = attr_enum(s, "activation", "tanh", acts) };
    return site_bind(s, "Hidden", out);
}

static status import_fusion_lstm(struct site *s)
{
    static const char *const acts[] = { "identity", "relu", "tanh", "sigmoid", NULL };
    struct value *in[6];
    struct node *n;
    TRY(project(s, &in[0], &in[1]));
    TRY(site_in(s, "WeightH", &in[2]));
    TRY(site_in(s, "Bias", &in[3]));
    TRY(site_in_optional(s, "H0", &in[4]));
    TRY(site_in_optional(s, "C0", &in[5]));
    TRY(site_add(s, "lstm", in, 6, &n));
    *(struct lstm_attrs *)node_attrs(n) =
        (struct lstm_attrs){ .peepholes = attr_bool(s, "use_peepholes", true),
                             .reverse = attr_bool(s, "is_reverse", false),
                             .gate_act = attr_enum(s, "gate_activation", "sigmoid", acts),
                             .cell_act = attr_enum(s, "cell_activation", "tanh", acts),
                             .candidate_act = attr_enum(s, "candidate_activation", "tanh", acts) };
    TRY(site_bind(s, "Hidden", n->out[0]));
    return site_bind(s, "Cell", n->out[1]);
}

/* lstm_unit: one step of the gates input, forget, output, candidate. */
static status import_lstm_unit(struct site *s)
{
    struct value *x, *before, *gate[4], *kept, *fresh, *c, *h;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "C_prev", &before));
    double bias = attr_f64(s, "forget_bias", 0);
    for (int i = 0; i < 4; i++) {
        TRY(site_add1(s, "split_part", &x, 1, &gate[i]));
        *(struct split_attrs *)node_attrs(gate[i]->producer) =
            (struct split_attrs){ .axis = -1, .index = i, .count = 4 };
        if (i == 1 && bias != 0) {
            TRY(site_add1(s, "affine", &gate[i], 1, &gate[i]));
            *(struct affine_attrs *)node_attrs(gate[i]->producer) =
                (struct affine_attrs){ 1, (float)bias };
        }
        TRY(site_add1(s, i < 3 ? "sigmoid" : "tanh", &gate[i], 1, &gate[i]));
    }
    TRY(site_add2(s, "mul", gate[1], before, &kept));
    TRY(site_add2(s, "mul", gate[0], gate[3], &fresh));
    TRY(site_add2(s, "add", kept, fresh, &c));
    TRY(site_bind(s, "C", c));
    TRY(site_add1(s, "tanh", &c, 1, &h));
    TRY(site_add2(s, "mul", gate[2], h, &h));
    return site_bind(s, "H", h);
}

/* ---- sequences ---- */

static status pool_rows(struct site *s, struct value *x, int32_t mode, struct value **out)
{
    if (x->lod_levels == 0)
        return site_fault(s, INVALID, "its input '%s' has no LoD", x->name);
    TRY(site_add2(s, "seq_pool", x, x->lod[x->lod_levels - 1], out));
    *(struct seq_pool_attrs *)node_attrs((*out)->producer) =
        (struct seq_pool_attrs){ .mode = mode, .pad_value = (float)attr_f64(s, "pad_value", 0) };
    return OK;
}

static int32_t read_pool(struct site *s)
{
    static const char *const type[] = { "SUM", "AVERAGE", "SQRT", NULL }; /* enum seq_pool_mode */
    return attr_enum(s, "pooltype", "SUM", type);
}

static status add_cvm(struct site *s, struct value *x, struct value **out)
{
    TRY(site_add1(s, "cvm", &x, 1, out));
    ((struct cvm_attrs *)node_attrs((*out)->producer))->drop = !attr_bool(s, "use_cvm", true);
    return OK;
}

/* Each input pooled, with `cvm` shows and clicks put in logs, and all side by side. */
static status pool_concat(struct site *s, bool cvm)
{
    struct value **x, *out;
    int count, axis = attr_i32(s, "axis", 1);
    int32_t mode = read_pool(s);
    TRY(site_ins(s, "X", &x, &count));
    for (int i = 0; i < count; i++) {
        TRY(pool_rows(s, x[i], mode, &x[i]));
        if (cvm)
            TRY(add_cvm(s, x[i], &x[i]));
    }
    TRY(site_add1(s, "concat", x, count, &out));
    ((struct axis_attrs *)node_attrs(out->producer))->axis = axis;
    return site_bind(s, "Out", out);
}

static status import_seqpool_concat(struct site *s)
{
    return pool_concat(s, false);
}

static status import_seqpool_cvm_concat(struct site *s)
{
    return pool_concat(s, true);
}

/* fused_seqpool_cvm: each input pooled by itself. */
static status import_seqpool_cvm(struct site *s)
{
    struct value **x, *out;
    int count;
    int32_t mode = read_pool(s);
    TRY(site_ins(s, "X", &x, &count));
    if (attr_i32(s, "cvm_offset", 2) != 2 || attr_bool(s, "need_filter", false))
        return site_fault(s, UNSUPPORTED, "cvm_offset %d, need_filter %d",
                          attr_i32(s, "cvm_offset", 2), attr_bool(s, "need_filter", false));
    for (int i = 0; i < count; i++) {
        TRY(pool_rows(s, x[i], mode, &out));
        TRY(add_cvm(s, out, &out));
        TRY(site_bind_at(s, "Out", i, out));
    }
    return OK;
}

static status import_seqconv_relu(struct site *s)
{
    struct value *in[3], *bias, *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_offsets(s, "X", &in[1]));
    TRY(site_in(s, "Filter", &in[2]));
    TRY(site_in(s, "Bias", &bias));
    TRY(site_add1(s, "seq_conv", in, 3, &out));
    *(struct seq_conv_attrs *)node_attrs(out->producer) =
        (struct seq_conv_attrs){ .context_start = attr_i32(s, "contextStart", 0),
                                 .context_length = attr_i32(s, "contextLength", 1) };
    TRY(flat(s, bias, &bias));
    TRY(site_add2(s, "add", out, bias, &out));
    TRY(site_add1(s, "relu", &out, 1, &out));
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_fused[] = {
    { "fc",                                     "matmul",     import_fc,                  LOD_SHARE },
    { "fused_gemm_epilogue",                    "matmul",     import_gemm_epilogue,       LOD_SHARE },
    { "fusion_repeated_fc_relu",                "matmul",     import_repeated_fc,         LOD_SHARE },
    { "fusion_squared_mat_sub",                 "matmul",     import_squared_mat_sub,     LOD_OWN },
    { "skip_layernorm",                         "layer_norm", import_skip_layernorm,      LOD_SHARE },
    { "fused_fc_elementwise_layernorm",         "layer_norm", import_fc_layernorm,        LOD_SHARE },
    { "fused_embedding_eltwise_layernorm",      "layer_norm", import_embedding_layernorm, LOD_OWN },
    { "fused_bias_dropout_residual_layer_norm", "layer_norm", import_residual_layernorm,  LOD_OWN },
    { "multihead_matmul",                       "matmul",     import_multihead_matmul,    LOD_OWN },
    { "fused_attention",                        "matmul",     import_fused_attention,     LOD_OWN },
    { "fused_feedforward",                      "matmul",     import_fused_feedforward,   LOD_OWN },
    { "fusion_gru",                             "gru",        import_fusion_gru,          LOD_SHARE },
    { "fusion_lstm",                            "lstm",       import_fusion_lstm,         LOD_SHARE },
    { "lstm_unit",                              "mul",        import_lstm_unit,           LOD_OWN },
    { "fusion_seqpool_concat",                  "seq_pool",   import_seqpool_concat,      LOD_OWN },
    { "fusion_seqpool_cvm_concat",              "seq_pool",   import_seqpool_cvm_concat,  LOD_OWN },
    { "fused_seqpool_cvm",                      "seq_pool",   import_seqpool_cvm,         LOD_OWN },
    { "fusion_seqconv_eltadd_relu",             "seq_conv",   import_seqconv_relu,        LOD_SHARE },
    { 0 },
};
// clang-format on
