/* Operators that are rarely met: each becomes a few common ones. */
#include "graph/attrs_choose.h"
#include "graph/attrs_control.h"
#include "graph/attrs_index.h"
#include "graph/attrs_quant.h"
#include "graph/attrs_reduce.h"
#include "import/paddle/site.h"

#include <math.h>

/* ---- pieces ---- */

static status add1(struct site *s, const char *op, struct value *x, struct value **out)
{
    return site_add1(s, op, &x, 1, out);
}

static status affine(struct site *s, struct value *x, double scale, double bias, struct value **out)
{
    TRY(add1(s, "affine", x, out));
    *(struct affine_attrs *)node_attrs((*out)->producer) =
        (struct affine_attrs){ (float)scale, (float)bias };
    return OK;
}

static status reduce(struct site *s, struct value *x, const struct reduce_attrs *a,
                     struct value **out)
{
    TRY(add1(s, "reduce", x, out));
    *(struct reduce_attrs *)node_attrs((*out)->producer) = *a;
    return OK;
}

/* Two inputs that one operator of ours takes as they are. */
static status both(struct site *s, struct value *in[2])
{
    TRY(site_in(s, "X", &in[0]));
    return site_in(s, "Y", &in[1]);
}

/* ---- what is passed on ---- */

/* A copy in another place, a value watched, one process of several that is alone. */
static status import_pass(struct site *s)
{
    struct value *x, *out;
    const char *slot = op_slot_in(s->op, "In") != NULL ? "In" : "X";
    TRY(site_in(s, slot, &x));
    TRY(add1(s, "identity", x, &out));
    return site_bind(s, "Out", out);
}

/* Nothing is dropped: the sum is left. */
static status import_dropout_add(struct site *s)
{
    struct value *x, *y, *out;
    double p = attr_f64(s, "p", 0.5);
    TRY(site_in(s, "x", &x));
    TRY(site_in(s, "y", &y));
    if (!str_is(attr_str(s, "mode", "downscale_in_infer"), "upscale_in_train"))
        TRY(affine(s, x, 1 - p, 0, &x));
    TRY(site_add2(s, "add", x, y, &out));
    return site_bind(s, "out", out);
}

/* ---- comparisons ---- */

static status tell(struct site *s, const char *op, struct value *a, struct value *b,
                   struct value **out)
{
    TRY(site_add2(s, op, a, b, out));
    (*out)->dtype = DTYPE_BOOL;
    return OK;
}

/* A tolerance: an attribute that is text in some files, a number in others. */
static status read_tolerance(struct site *s, const char *name, double otherwise, double *out)
{
    const struct attr_desc *a = op_attr(s->op, name);
    *out = otherwise;
    if (a == NULL)
        return OK;
    if (a->kind != KIND_STRING) {
        *out = attr_f64(s, name, otherwise);
        return OK;
    }
    if (!str_to_double(a->s, out))
        return site_fault(s, INVALID, "attribute '%s': '%.*s' is no number", name, STR_ARG(a->s));
    return OK;
}

/* x == y, or |x - y| <= atol + rtol * |y|, or both are NaN where that counts. */
static status close_to(struct site *s, struct value *x, struct value *y, struct value **out)
{
    struct value *gap, *room, *near, *same, *nx, *ny;
    double rtol, atol;
    TRY(read_tolerance(s, "rtol", 1e-5, &rtol));
    TRY(read_tolerance(s, "atol", 1e-8, &atol));
    TRY(site_add2(s, "sub", x, y, &gap));
    TRY(add1(s, "abs", gap, &gap));
    TRY(add1(s, "abs", y, &room));
    TRY(affine(s, room, rtol, atol, &room));
    TRY(tell(s, "less_equal", gap, room, &near));
    TRY(tell(s, "equal", x, y, &same));
    TRY(tell(s, "or", near, same, out));
    if (!attr_bool(s, "equal_nan", false))
        return OK;
    TRY(add1(s, "isnan", x, &nx));
    TRY(add1(s, "isnan", y, &ny));
    nx->dtype = ny->dtype = DTYPE_BOOL;
    TRY(tell(s, "and", nx, ny, &nx));
    return tell(s, "or", *out, nx, out);
}

static status import_isclose(struct site *s)
{
    struct value *x, *y, *out;
    TRY(site_in(s, "Input", &x));
    TRY(site_in(s, "Other", &y));
    TRY(close_to(s, x, y, &out));
    return site_bind(s, "Out", out);
}

static status bind_all(struct site *s, struct value *truths, int32_t mode)
{
    struct value *out;
    TRY(reduce(s, truths, &(struct reduce_attrs){ .mode = mode }, &out));
    return site_bind_one(s, "Out", out);
}

static status import_allclose(struct site *s)
{
    struct value *x, *y, *out;
    TRY(site_in(s, "Input", &x));
    TRY(site_in(s, "Other", &y));
    TRY(close_to(s, x, y, &out));
    return bind_all(s, out, REDUCE_ALL);
}

static status import_equal_all(struct site *s)
{
    struct value *in[2], *out;
    TRY(both(s, in));
    TRY(tell(s, "equal", in[0], in[1], &out));
    return bind_all(s, out, REDUCE_ALL);
}

/* The first isnan and isinf tell of the whole tensor. */
static status import_has(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(add1(s, s->row->canonical, x, &out));
    out->dtype = DTYPE_BOOL;
    return bind_all(s, out, REDUCE_ANY);
}

/* ---- norms ---- */

static status import_whole_norm(struct site *s)
{
    struct value *x, *out;
    int32_t mode = str_is(s->op->type, "l1_norm") ? REDUCE_L1 : REDUCE_SUM_SQUARE;
    TRY(site_in(s, "X", &x));
    TRY(reduce(s, x, &(struct reduce_attrs){ .mode = mode }, &out));
    return site_bind_one(s, "Out", out);
}

/* clip_by_norm: x, or, where it is longer than max_norm, as long as that: x / max(1, |x| / max_norm). */
static status import_clip_by_norm(struct site *s)
{
    struct value *x, *norm, *one, *out;
    double most = attr_f64(s, "max_norm", 1);
    if (!(most > 0))
        return site_fault(s, INVALID, "max_norm %g", most);
    TRY(site_in(s, "X", &x));
    TRY(reduce(s, x, &(struct reduce_attrs){ .mode = REDUCE_L2 }, &norm));
    TRY(affine(s, norm, 1 / most, 0, &norm));
    TRY(affine(s, norm, 0, 1, &one));
    TRY(site_add2(s, "max", norm, one, &norm));
    TRY(site_add2(s, "div", x, norm, &out));
    return site_bind(s, "Out", out);
}

static status import_rms_norm(struct site *s)
{
    struct value *x, *in[3], *bias, *residual, *out;
    TRY(site_in(s, "x", &x));
    TRY(site_in_optional(s, "bias", &bias));
    TRY(site_in_optional(s, "residual", &residual));
    TRY(site_in(s, "norm_weight", &in[1]));
    TRY(site_in_optional(s, "norm_bias", &in[2]));
    if (attr_f64(s, "quant_scale", -1) > 0)
        return site_fault(s, UNSUPPORTED, "quant_scale");
    in[0] = x;
    if (bias != NULL)
        TRY(site_add2(s, "add", in[0], bias, &in[0]));
    if (residual != NULL)
        TRY(site_add2(s, "add", in[0], residual, &in[0]));
    TRY(site_add1(s, "rms_norm", in, in[2] != NULL ? 3 : 2, &out));
    *(struct layer_norm_attrs *)node_attrs(out->producer) =
        (struct layer_norm_attrs){ .begin = attr_i32(s, "begin_norm_axis", -1),
                                   .epsilon = (float)attr_f64(s, "epsilon", 1e-5) };
    return site_bind(s, "out", out);
}

/* ---- order ---- */

/* kthvalue: the last of the k smallest. */
static status import_kthvalue(struct site *s)
{
    static const char *const slot[] = { "Out", "Indices" };
    struct value *x, *v;
    struct node *n;
    int64_t k = attr_i64(s, "k", 1);
    int32_t axis = attr_i32(s, "axis", -1);
    TRY(site_in(s, "X", &x));
    TRY(site_add(s, "top_k", &x, 1, &n));
    *(struct top_k_attrs *)node_attrs(n) =
        (struct top_k_attrs){ .k = k, .axis = axis, .smallest = true };
    n->out[0]->dtype = x->dtype;
    n->out[1]->dtype = DTYPE_I64;
    for (int i = 0; i < 2; i++) {
        TRY(add1(s, "slice", n->out[i], &v));
        *(struct slice_attrs *)node_attrs(v->producer) = (struct slice_attrs){
            .axes = { 1, { axis } }, .starts = { 1, { k - 1 } }, .ends = { 1, { k } }
        };
        if (!attr_bool(s, "keepdim", false)) {
            TRY(add1(s, "squeeze", v, &v));
            ((struct axes_attrs *)node_attrs(v->producer))->axes =
                (struct attr_ints){ 1, { axis } };
        }
        TRY(site_bind(s, slot[i], v));
    }
    return OK;
}

/* unique_with_counts: as they appear. */
static status import_unique_with_counts(struct site *s)
{
    static const char *const slot[] = { "Out", NULL, "Index", "Count" };
    struct value *x, *v;
    struct node *n;
    dtype d = DTYPE_I64;
    if (!program_computed(attr_i32(s, "dtype", 3), &d))
        return site_fault(s, UNSUPPORTED, "dtype %d of VarType", attr_i32(s, "dtype", 3));
    TRY(site_in(s, "X", &x));
    TRY(site_add(s, "unique", &x, 1, &n));
    ((struct unique_attrs *)node_attrs(n))->unsorted = true;
    n->out[0]->dtype = x->dtype;
    for (int i = 0; i < 4; i++) {
        if (slot[i] == NULL)
            continue;
        n->out[i]->dtype = i == 0 ? x->dtype : DTYPE_I64;
        n->out[i]->shape = SHAPE(-1);
        v = n->out[i];
        if (i > 0)
            TRY(site_cast(s, v, d, &v));
        TRY(site_bind(s, slot[i], v));
    }
    return OK;
}

/* ---- diagonals ---- */

/* Dimensions axis1 and axis2 become one, the last, which runs along their diagonal. */
static status add_diagonal(struct site *s, struct value **out)
{
    struct value *x;
    TRY(site_in(s, "Input", &x));
    TRY(add1(s, "diagonal", x, out));
    *(struct diagonal_attrs *)node_attrs((*out)->producer) =
        (struct diagonal_attrs){ .offset = attr_i32(s, "offset", 0),
                                 .axis1 = attr_i32(s, "axis1", 0),
                                 .axis2 = attr_i32(s, "axis2", 1) };
    return OK;
}

static status import_diagonal(struct site *s)
{
    struct value *out;
    TRY(add_diagonal(s, &out));
    return site_bind(s, "Out", out);
}

static status import_trace(struct site *s)
{
    struct value *diagonal, *out;
    TRY(add_diagonal(s, &diagonal));
    TRY(reduce(s, diagonal, &(struct reduce_attrs){ .mode = REDUCE_SUM, .axes = { 1, { -1 } } },
               &out));
    return site_bind(s, "Out", out);
}

/* ---- attention ---- */

/* Softmax of x + mask, and of x where nothing looks ahead. */
static status bind_softmax(struct site *s, struct value *x)
{
    struct value *out;
    TRY(add1(s, "softmax", x, &out));
    ((struct axis_attrs *)node_attrs(out->producer))->axis = -1;
    return site_bind(s, "Out", out);
}

static status import_softmax_mask(struct site *s)
{
    struct value *x, *mask, *sum;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Mask", &mask));
    TRY(site_add2(s, "add", x, mask, &sum));
    return bind_softmax(s, sum);
}

/* x where the column is not behind the row, else a number that exp makes 0. */
static status causal(struct site *s, struct value *x, struct value **out)
{
    struct value *ones, *keep, *far, *in[3];
    TRY(affine(s, x, 0, 1, &ones));
    TRY(add1(s, "triangle", ones, &keep));
    TRY(site_cast(s, keep, DTYPE_BOOL, &keep));
    TRY(affine(s, x, 0, -1e30, &far));
    in[0] = keep;
    in[1] = x;
    in[2] = far;
    TRY(site_add1(s, "where", in, 3, out));
    (*out)->dtype = x->dtype;
    return OK;
}

static status import_softmax_causal(struct site *s)
{
    struct value *x, *seen;
    TRY(site_in(s, "X", &x));
    TRY(causal(s, x, &seen));
    return bind_softmax(s, seen);
}

static status heads_first(struct site *s, const char *slot, struct value **out)
{
    struct value *x;
    TRY(site_in(s, slot, &x));
    if (x->shape.rank != 4)
        return site_fault(s, INVALID, "its input %s is not [batch, steps, heads, size]", slot);
    TRY(add1(s, "transpose", x, out));
    ((struct transpose_attrs *)node_attrs((*out)->producer))->perm =
        (struct attr_ints){ 4, { 0, 2, 1, 3 } };
    return OK;
}

/* flash_attn: softmax(q x k' / sqrt(size) + mask) x v; of [batch, steps, heads, size] each. */
static status import_flash_attn(struct site *s)
{
    struct value *q, *k, *v, *mask, *score, *out;
    TRY(heads_first(s, "q", &q));
    TRY(heads_first(s, "k", &k));
    TRY(heads_first(s, "v", &v));
    TRY(site_in_optional(s, "attn_mask", &mask));
    int64_t size = q->shape.dim[3];
    if (size < 1)
        return site_fault(s, UNSUPPORTED, "the size of its heads is not known");
    TRY(site_add2(s, "matmul", q, k, &score));
    *(struct matmul_attrs *)node_attrs(score->producer) =
        (struct matmul_attrs){ .trans_b = true, .alpha = 1 / sqrtf((float)size) };
    if (mask != NULL)
        TRY(site_add2(s, "add", score, mask, &score));
    if (attr_bool(s, "causal", false))
        TRY(causal(s, score, &score));
    TRY(add1(s, "softmax", score, &score));
    ((struct axis_attrs *)node_attrs(score->producer))->axis = -1;
    TRY(site_add2(s, "matmul", score, v, &out));
    ((struct matmul_attrs *)node_attrs(out->producer))->alpha = 1;
    TRY(add1(s, "transpose", out, &out));
    ((struct transpose_attrs *)node_attrs(out->producer))->perm =
        (struct attr_ints){ 4, { 0, 2, 1, 3 } };
    return site_bind(s, "out", out);
}

/* ---- graphs, tables ---- */

/* graph_send_recv: each row of x goes where the edges say and is added to what came before. */
static status import_graph_send_recv(struct site *s)
{
    struct value *x, *from, *to, *rows, *zeros, *in[3], *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Src_index", &from));
    TRY(site_in(s, "Dst_index", &to));
    TRY(site_refuse_in(s, "Out_size"));
    struct attr_ints size = attr_i64s(s, "out_size");
    if (!str_is(attr_str(s, "reduce_op", "SUM"), "SUM") || (size.count > 0 && size.v[0] > 0))
        return site_fault(s, UNSUPPORTED, "a reduce_op other than SUM, or an out_size");
    TRY(site_add2(s, "gather", x, from, &rows));
    TRY(affine(s, x, 0, 0, &zeros));
    in[0] = zeros;
    in[1] = to;
    in[2] = rows;
    TRY(site_add1(s, "scatter_rows", in, 3, &out));
    ((struct scatter_attrs *)node_attrs(out->producer))->mode = SCATTER_ADD;
    return site_bind(s, "Out", out);
}

static status import_index_add(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Index", &in[1]));
    TRY(site_in(s, "AddValue", &in[2]));
    if (shape_axis(&in[0]->shape, attr_i32(s, "axis", 0)) != 0)
        return site_fault(s, UNSUPPORTED, "axis %d; only rows are supported",
                          attr_i32(s, "axis", 0));
    TRY(site_add1(s, "scatter_rows", in, 3, &out));
    ((struct scatter_attrs *)node_attrs(out->producer))->mode = SCATTER_ADD;
    return site_bind(s, "Out", out);
}

/* int8 times scale / max_range. */
static status import_dequantize_abs_max(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Scale", &in[1]));
    TRY(site_add1(s, "fake_dequant", in, 2, &out));
    ((struct fake_dequant_attrs *)node_attrs(out->producer))->range =
        (float)attr_f64(s, "max_range", 127);
    out->dtype = DTYPE_F32;
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_rare[] = {
    { "memcpy",               "identity",     import_pass,               LOD_SHARE },
    { "memcpy_h2d",           "identity",     import_pass,               LOD_SHARE },
    { "memcpy_d2h",           "identity",     import_pass,               LOD_SHARE },
    { "share_data",           "identity",     import_pass,               LOD_SHARE },
    { "print",                "identity",     import_pass,               LOD_SHARE },
    { "c_identity",           "identity",     import_pass,               LOD_SHARE },
    { "fused_dropout_add",    "add",          import_dropout_add,        LOD_OWN },
    { "isclose",              "or",           import_isclose,            LOD_OWN },
    { "allclose",             "reduce",       import_allclose,           LOD_OWN },
    { "equal_all",            "reduce",       import_equal_all,          LOD_OWN },
    { "isnan",                "isnan",        import_has,                LOD_OWN },
    { "isinf",                "isinf",        import_has,                LOD_OWN },
    { "l1_norm",              "reduce",       import_whole_norm,         LOD_OWN },
    { "squared_l2_norm",      "reduce",       import_whole_norm,         LOD_OWN },
    { "clip_by_norm",         "div",          import_clip_by_norm,       LOD_SHARE },
    { "rms_norm",             "rms_norm",     import_rms_norm,           LOD_OWN },
    { "kthvalue",             "top_k",        import_kthvalue,           LOD_OWN },
    { "unique_with_counts",   "unique",       import_unique_with_counts, LOD_OWN },
    { "diagonal",             "diagonal",     import_diagonal,           LOD_OWN },
    { "trace",                "reduce",       import_trace,              LOD_OWN },
    { "fused_softmax_mask",   "softmax",      import_softmax_mask,       LOD_OWN },
    { "fused_softmax_mask_upper_triangle", "softmax", import_softmax_causal, LOD_OWN },
    { "flash_attn",           "matmul",       import_flash_attn,         LOD_OWN },
    { "graph_send_recv",      "scatter_rows", import_graph_send_recv,    LOD_OWN },
    { "index_add",            "scatter_rows", import_index_add,          LOD_OWN },
    { "dequantize_abs_max",   "fake_dequant", import_dequantize_abs_max, LOD_OWN },
    { 0 },
};
// clang-format on
