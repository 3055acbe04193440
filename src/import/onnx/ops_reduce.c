/* Many elements down to one, running sums, norms. */
#include "graph/attrs_control.h"
#include "graph/attrs_index.h"
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"
#include "import/onnx/build.h"

/* Axes are an input since version 18 (of ReduceSum since 13), an attribute before. */
static status read_axes(struct onnx_site *s, struct value **axes, struct attr_ints *known)
{
    int64_t since = str_is(s->node->type, "ReduceSum") ? 13 : 18;
    *known = onnx_i64s(s, "axes");
    *axes = NULL;
    if (s->opset < since)
        return OK;
    TRY(onnx_in_optional(s, 1, axes));
    if (*axes == NULL || (*axes)->constant == NULL)
        return OK;
    *axes = NULL;
    return onnx_const_ints(s, 1, "its axes", known);
}

static void declare_reduced(struct value *out, const struct reduce_attrs *a, bool known)
{
    struct shape x = out->shape, y = { .rank = 0 };
    for (int i = 0; i < x.rank; i++) {
        bool gone = a->axes.count == 0;
        for (int k = 0; k < a->axes.count; k++)
            gone = gone || (a->axes.v[k] < 0 ? a->axes.v[k] + x.rank : a->axes.v[k]) == i;
        if (!gone || a->keep_dims)
            y.dim[y.rank++] = gone ? 1 : known ? x.dim[i] : -1;
    }
    if (!known && !a->keep_dims)
        y.rank = -1;
    if (x.rank >= 0)
        out->shape = y;
}

static const struct {
    const char *type;
    enum reduce_mode mode;
} modes[] = {
    { "ReduceSum", REDUCE_SUM },
    { "ReduceMean", REDUCE_MEAN },
    { "ReduceMax", REDUCE_MAX },
    { "ReduceMin", REDUCE_MIN },
    { "ReduceProd", REDUCE_PROD },
    { "ReduceLogSumExp", REDUCE_LOG_SUM_EXP },
    { "ReduceL1", REDUCE_L1 },
    { "ReduceL2", REDUCE_L2 },
    { "ReduceSumSquare", REDUCE_SUM_SQUARE },
    { "ReduceLogSum", REDUCE_LOG_SUM },
};

/* Of truths, the largest is whether any holds. */
static int32_t of_truths(int32_t mode)
{
    return mode == REDUCE_MAX ? REDUCE_ANY : mode == REDUCE_MIN ? REDUCE_ALL : mode;
}

static status import_reduce(struct onnx_site *s)
{
    struct value *in[2], *out;
    struct reduce_attrs a = { .of_none = true,
                              .keep_dims = onnx_bool(s, "keepdims", true),
                              .none_is_none = onnx_bool(s, "noop_with_empty_axes", false) };
    TRY(onnx_in(s, 0, &in[0]));
    TRY(read_axes(s, &in[1], &a.axes));
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        if (str_is(s->node->type, modes[i].type))
            a.mode = modes[i].mode;
    if (in[0]->dtype == DTYPE_BOOL)
        a.mode = of_truths(a.mode);
    TRY(onnx_add1(s, "reduce", in, in[1] != NULL ? 2 : 1, &out));
    *(struct reduce_attrs *)node_attrs(out->producer) = a;
    if (in[1] == NULL && a.axes.count == 0 && a.none_is_none)
        out->shape = in[0]->shape;
    else
        declare_reduced(out, &a, in[1] == NULL);
    return onnx_bind(s, 0, out);
}

static status import_arg(struct onnx_site *s)
{
    struct value *x, *out;
    struct arg_reduce_attrs a = { .axis = onnx_i32(s, "axis", 0),
                                  .dtype = DTYPE_I64,
                                  .smallest = str_is(s->node->type, "ArgMin"),
                                  .keep_dims = onnx_bool(s, "keepdims", true),
                                  .last = onnx_bool(s, "select_last_index", false) };
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_add1(s, "arg_reduce", &x, 1, &out));
    *(struct arg_reduce_attrs *)node_attrs(out->producer) = a;
    struct reduce_attrs r = { .axes = { 1, { a.axis } }, .keep_dims = a.keep_dims };
    declare_reduced(out, &r, true);
    out->dtype = DTYPE_I64;
    return onnx_bind(s, 0, out);
}

static status import_scan_along(struct onnx_site *s)
{
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_add1(s, "scan", in, 2, &out));
    *(struct scan_attrs *)node_attrs(out->producer) = (struct scan_attrs){
        .mode = str_is(s->node->type, "CumProd") ? SCAN_PROD : SCAN_SUM,
        .exclusive = onnx_bool(s, "exclusive", false),
        .reverse = onnx_bool(s, "reverse", false),
    };
    return onnx_bind(s, 0, out);
}

/* The scale (and bias) of a norm is flat to the engine. */
static status flat(struct onnx_site *s, int i, struct value **out)
{
    TRY(onnx_in_optional(s, i, out));
    if (*out == NULL || (*out)->shape.rank == 1)
        return OK;
    return onnx_add_reshape(s, *out, &(struct attr_ints){ 1, { -1 } }, out);
}

/* Step by step, since mean and inverse deviation are outputs too. */
static status layer_norm_told(struct onnx_site *s)
{
    struct value *x, *scale, *bias, *mean, *centred, *square, *variance, *inverse, *out;
    struct attr_ints axes = { 0 };
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &scale));
    TRY(onnx_in_optional(s, 2, &bias));
    int begin = declared_axis(x, onnx_i64(s, "axis", -1));
    if (begin < 0)
        return onnx_fault(s, UNSUPPORTED, "an input of no known number of dimensions");
    for (int i = begin; i < x->shape.rank; i++)
        axes.v[axes.count++] = i;
    TRY(build_reduce(s, REDUCE_MEAN, x, &axes, true, &mean));
    TRY(build2(s, "sub", x, mean, &centred));
    TRY(build1(s, "square", centred, &square));
    TRY(build_reduce(s, REDUCE_MEAN, square, &axes, true, &variance));
    TRY(build_affine(s, variance, 1, (double)onnx_f32(s, "epsilon", 1e-5f), &variance));
    TRY(build1(s, "rsqrt", variance, &inverse));
    TRY(build2(s, "mul", centred, inverse, &out));
    TRY(build2(s, "mul", out, scale, &out));
    if (bias != NULL)
        TRY(build2(s, "add", out, bias, &out));
    TRY(onnx_bind(s, 0, out));
    TRY(onnx_bind(s, 1, mean));
    return onnx_bind(s, 2, inverse);
}

static status import_layer_norm(struct onnx_site *s)
{
    struct value *in[3], *out;
    if (onnx_wants(s, 1) || onnx_wants(s, 2))
        return layer_norm_told(s);
    TRY(onnx_in(s, 0, &in[0]));
    TRY(flat(s, 1, &in[1]));
    TRY(flat(s, 2, &in[2]));
    TRY(onnx_add1(s, s->row->canonical, in, in[2] != NULL ? 3 : in[1] != NULL ? 2 : 1, &out));
    *(struct layer_norm_attrs *)node_attrs(out->producer) =
        (struct layer_norm_attrs){ onnx_i32(s, "axis", -1), onnx_f32(s, "epsilon", 1e-5f) };
    return onnx_bind(s, 0, out);
}

static status import_lp_norm(struct onnx_site *s)
{
    struct value *x, *norm, *out;
    bool first = onnx_i64(s, "p", 2) == 1;
    struct attr_ints axis = { 1, { onnx_i64(s, "axis", -1) } };
    TRY(onnx_in(s, 0, &x));
    TRY(build_reduce(s, first ? REDUCE_L1 : REDUCE_L2, x, &axis, true, &norm));
    TRY(build2(s, "div", x, norm, &out));
    return onnx_bind(s, 0, out);
}

/* (x - mean) / (deviation + 1e-9) over axes. */
static status import_mean_variance(struct onnx_site *s)
{
    struct attr_ints axes = onnx_i64s(s, "axes");
    struct value *x, *mean, *centred, *square, *variance, *deviation, *safe, *out;
    if (axes.count == 0)
        axes = (struct attr_ints){ 3, { 0, 2, 3 } };
    TRY(onnx_in(s, 0, &x));
    TRY(build_reduce(s, REDUCE_MEAN, x, &axes, true, &mean));
    TRY(build2(s, "sub", x, mean, &centred));
    TRY(build1(s, "square", centred, &square));
    TRY(build_reduce(s, REDUCE_MEAN, square, &axes, true, &variance));
    TRY(build1(s, "sqrt", variance, &deviation));
    TRY(build_affine(s, deviation, 1, 1e-9, &safe));
    TRY(build2(s, "div", centred, safe, &out));
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_reduce[] = {
    { "ReduceSum",                 "reduce",       import_reduce },
    { "ReduceMean",                "reduce",       import_reduce },
    { "ReduceMax",                 "reduce",       import_reduce },
    { "ReduceMin",                 "reduce",       import_reduce },
    { "ReduceProd",                "reduce",       import_reduce },
    { "ReduceLogSumExp",           "reduce",       import_reduce },
    { "ReduceL1",                  "reduce",       import_reduce },
    { "ReduceL2",                  "reduce",       import_reduce },
    { "ReduceSumSquare",           "reduce",       import_reduce },
    { "ReduceLogSum",              "reduce",       import_reduce },
    { "ArgMax",                    "arg_reduce",   import_arg },
    { "ArgMin",                    "arg_reduce",   import_arg },
    { "CumSum",                    "scan",         import_scan_along },
    { "CumProd",                   "scan",         import_scan_along },
    { "LayerNormalization",        "layer_norm",   import_layer_norm },
    { "RMSNormalization",          "rms_norm",     import_layer_norm },
    { "LpNormalization",           "reduce",       import_lp_norm },
    { "MeanVarianceNormalization", "reduce",       import_mean_variance },
    { 0 },
};
// clang-format on
