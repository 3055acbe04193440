/* Arithmetic: one element in, one out; two tensors broadcast; matrix products; softmax. */
#include "graph/attrs_control.h"
#include "graph/attrs_index.h"
#include "import/einsum.h"
#include "import/onnx/build.h"
#include "import/onnx/narrow.h"

#include <float.h>
#include <math.h>

/* ---- one tensor ---- */

static status import_truth(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_add1(s, s->row->canonical, &x, 1, &out));
    out->dtype = DTYPE_BOOL;
    return onnx_bind(s, 0, out);
}

static status import_neg(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(build_affine(s, x, -1, 0, &out));
    return onnx_bind(s, 0, out);
}

/* swish(a) * b */
static status import_swiglu(struct onnx_site *s)
{
    struct value *a, *b, *gate, *out;
    TRY(onnx_in(s, 0, &a));
    TRY(onnx_in(s, 1, &b));
    TRY(onnx_add1(s, "swish", &a, 1, &gate));
    ((struct curve_attrs *)node_attrs(gate->producer))->alpha = onnx_f32(s, "alpha", 1);
    TRY(build2(s, "mul", gate, b, &out));
    return onnx_bind(s, 0, out);
}

/* Which attribute (or, without one, which number) each of a curve's numbers is. */
struct number {
    const char *attr;
    float otherwise;
};

static const struct {
    const char *type;
    struct number alpha, beta, gamma;
} curves[] = {
    { "LeakyRelu", { "alpha", 0.01f }, { NULL, 0 }, { NULL, 0 } },
    { "Elu", { "alpha", 1 }, { NULL, 0 }, { NULL, 0 } },
    { "Celu", { "alpha", 1 }, { NULL, 0 }, { NULL, 0 } },
    { "Selu",
      { "gamma", 1.05070102214813232421875f },
      { "alpha", 1.67326319217681884765625f },
      { NULL, 0 } },
    { "HardSigmoid", { "alpha", 0.2f }, { "beta", 0.5f }, { NULL, 0 } },
    { "HardSwish", { NULL, 6 }, { NULL, 6 }, { NULL, 3 } },
    { "Swish", { "alpha", 1 }, { NULL, 0 }, { NULL, 0 } },
    { "Mish", { NULL, 0 }, { NULL, 0 }, { NULL, 0 } },
    { "Softplus", { NULL, 1 }, { NULL, FLT_MAX }, { NULL, 0 } },
    { "ThresholdedRelu", { "alpha", 1 }, { NULL, 0 }, { NULL, 0 } },
};

static float number_of(struct onnx_site *s, const struct number *n)
{
    return n->attr != NULL ? onnx_f32(s, n->attr, n->otherwise) : n->otherwise;
}

static status import_curve(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_add1(s, s->row->canonical, &x, 1, &out));
    for (size_t i = 0; i < ARRAY_LEN(curves); i++)
        if (str_is(s->node->type, curves[i].type))
            *(struct curve_attrs *)node_attrs(out->producer) = (struct curve_attrs){
                number_of(s, &curves[i].alpha),
                number_of(s, &curves[i].beta),
                number_of(s, &curves[i].gamma),
            };
    return onnx_bind(s, 0, out);
}

static status import_gelu(struct onnx_site *s)
{
    static const char *const approximate[] = { "none", "tanh", NULL };
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    bool by_tanh = onnx_enum(s, "approximate", "none", approximate) == 1;
    TRY(onnx_add1(s, by_tanh ? "gelu_tanh" : "gelu", &x, 1, &out));
    return onnx_bind(s, 0, out);
}

/* x < -lambd: x + bias; x > lambd: x - bias; else 0. */
static status import_shrink(struct onnx_site *s)
{
    struct value *x, *out;
    float lambd = onnx_f32(s, "lambd", 0.5f), bias = onnx_f32(s, "bias", 0);
    if (bias != 0 && bias != lambd)
        return onnx_fault(s, UNSUPPORTED, "a bias that is neither 0 nor lambd");
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_add1(s, bias == 0 ? "hard_shrink" : "soft_shrink", &x, 1, &out));
    ((struct curve_attrs *)node_attrs(out->producer))->alpha = lambd;
    return onnx_bind(s, 0, out);
}

static status import_isinf(struct onnx_site *s)
{
    bool positive = onnx_bool(s, "detect_positive", true),
         negative = onnx_bool(s, "detect_negative", true);
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    if (positive && negative)
        return import_truth(s);
    TRY(onnx_add_scalar_like(s, in[0], positive ? INFINITY : negative ? -INFINITY : NAN, &in[1]));
    TRY(onnx_add1(s, "equal", in, 2, &out));
    out->dtype = DTYPE_BOOL;
    return onnx_bind(s, 0, out);
}

/* ---- limits ---- */

static status limit_by(struct onnx_site *s, const char *op, struct value *by, struct value **x)
{
    struct value *in[2] = { *x, by };
    return by == NULL ? OK : onnx_add1(s, op, in, 2, x);
}

/* A number that the file holds as one float; otherwise `without` where there is none. */
static bool known_limit(const struct value *v, float without, float *out)
{
    *out = without;
    if (v == NULL)
        return true;
    if (v->constant == NULL || v->dtype != DTYPE_F32 || shape_numel(&v->constant->shape) != 1)
        return false;
    *out = *(const float *)v->constant->data;
    return true;
}

static status clip_between(struct onnx_site *s, struct value *x, float low, float high)
{
    struct value *out;
    TRY(onnx_add1(s, "clip", &x, 1, &out));
    *(struct curve_attrs *)node_attrs(out->producer) = (struct curve_attrs){ low, high, 0 };
    return onnx_bind(s, 0, out);
}

static status import_clip(struct onnx_site *s)
{
    struct value *x, *low, *high;
    float a, b;
    TRY(onnx_in(s, 0, &x));
    if (s->opset < 11)
        return clip_between(s, x, onnx_f32(s, "min", -INFINITY), onnx_f32(s, "max", INFINITY));
    TRY(onnx_in_optional(s, 1, &low));
    TRY(onnx_in_optional(s, 2, &high));
    if (x->dtype == DTYPE_F32 && known_limit(low, -INFINITY, &a) &&
        known_limit(high, INFINITY, &b) && a <= b)
        return clip_between(s, x, a, b);
    TRY(limit_by(s, "max", low, &x));
    TRY(limit_by(s, "min", high, &x));
    return onnx_bind(s, 0, x);
}

/* ---- two tensors ---- */

/* Before version 7 the second input was laid along `axis` where broadcast was set. */
static status lay_along(struct onnx_site *s, const struct value *a, struct value **b)
{
    int64_t axis = onnx_i64(s, "axis", -1);
    if (s->opset >= 7 || !onnx_bool(s, "broadcast", false) || axis < 0 || a->shape.rank < 0)
        return OK;
    struct attr_ints shape = { .count = a->shape.rank - (int32_t)axis };
    if (shape.count <= (*b)->shape.rank || shape.count > SHAPE_MAX)
        return OK;
    for (int i = 0; i < shape.count; i++)
        shape.v[i] = i < (*b)->shape.rank ? 0 : 1;
    return onnx_add_reshape(s, *b, &shape, b);
}

static status add_binary(struct onnx_site *s, const char *op, struct value **out)
{
    struct value *in[2];
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(lay_along(s, in[0], &in[1]));
    return build2(s, op, in[0], in[1], out);
}

static status import_binary(struct onnx_site *s)
{
    struct value *out;
    TRY(add_binary(s, s->row->canonical, &out));
    return onnx_bind(s, 0, out);
}

static status import_compare(struct onnx_site *s)
{
    struct value *out;
    TRY(add_binary(s, s->row->canonical, &out));
    out->dtype = DTYPE_BOOL;
    return onnx_bind(s, 0, out);
}

static status import_mod(struct onnx_site *s)
{
    struct value *out;
    TRY(add_binary(s, onnx_bool(s, "fmod", false) ? "rem" : "mod", &out));
    return onnx_bind(s, 0, out);
}

static status import_shift(struct onnx_site *s)
{
    static const char *const direction[] = { "LEFT", "RIGHT", NULL };
    struct value *out;
    bool right = onnx_enum(s, "direction", "LEFT", direction) == 1;
    TRY(add_binary(s, right ? "shift_right" : "shift_left", &out));
    return onnx_bind(s, 0, out);
}

/* The exponent may be of another type; the result is of the base's. */
static status import_pow(struct onnx_site *s)
{
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    dtype base = in[0]->dtype,
          wide = dtype_is_float(in[1]->dtype) && !dtype_is_float(base) ? in[1]->dtype : base;
    TRY(build_cast(s, in[0], wide, &in[0]));
    TRY(build_cast(s, in[1], wide, &in[1]));
    TRY(lay_along(s, in[0], &in[1]));
    TRY(onnx_add1(s, "pow", in, 2, &out));
    TRY(build_cast(s, out, base, &out));
    return onnx_bind(s, 0, out);
}

/* Sum, Max, Min, Mean of any number of tensors. */
static status fold(struct onnx_site *s, struct value **out, int *count)
{
    struct value **in;
    TRY(onnx_ins(s, 0, &in, count));
    if (*count == 0)
        return onnx_fault(s, INVALID, "it has no input");
    *out = in[0];
    for (int i = 1; i < *count; i++)
        TRY(build2(s, s->row->canonical, *out, in[i], out));
    return *count > 1 ? OK : onnx_add1(s, "identity", in, 1, out);
}

static status import_fold(struct onnx_site *s)
{
    struct value *out;
    int count;
    TRY(fold(s, &out, &count));
    return onnx_bind(s, 0, out);
}

static status import_mean(struct onnx_site *s)
{
    struct value *sum, *out;
    int count;
    TRY(fold(s, &sum, &count));
    TRY(build_affine(s, sum, 1.0 / count, 0, &out));
    return onnx_bind(s, 0, out);
}

static status import_where(struct onnx_site *s)
{
    struct value *in[3], *out;
    for (int i = 0; i < 3; i++)
        TRY(onnx_in(s, i, &in[i]));
    TRY(build_where(s, in[0], in[1], in[2], &out));
    return onnx_bind(s, 0, out);
}

/* Before version 7 a slope for each channel was flat. */
static status import_prelu(struct onnx_site *s)
{
    struct value *x, *slope, *out;
    struct attr_ints shape = { 1, { -1 } };
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &slope));
    if (s->opset < 7 && slope->shape.rank == 1 && x->shape.rank > 2) {
        while (shape.count < x->shape.rank - 1)
            shape.v[shape.count++] = 1;
        TRY(onnx_add_reshape(s, slope, &shape, &slope));
    }
    TRY(build2(s, "prelu", x, slope, &out));
    return onnx_bind(s, 0, out);
}

/* ---- dtypes ---- */

static status import_cast(struct onnx_site *s)
{
    struct value *x, *out;
    dtype to;
    const struct onnx_narrow *narrow = onnx_narrow_find(onnx_i32(s, "to", 1));
    TRY(onnx_in(s, 0, &x));
    if (narrow != NULL) {
        TRY(onnx_to_narrow(s, x, narrow, &out));
        return onnx_bind(s, 0, out);
    }
    TRY(onnx_type_attr(s, "to", DTYPE_F32, &to));
    TRY(onnx_add1(s, "cast", &x, 1, &out));
    ((struct dtype_attrs *)node_attrs(out->producer))->dtype = to;
    out->dtype = to;
    return onnx_bind(s, 0, out);
}

static status import_bit_cast(struct onnx_site *s)
{
    struct value *x, *out;
    dtype to;
    TRY(onnx_in(s, 0, &x));
    if (onnx_narrow_find(onnx_i32(s, "to", 1)) != NULL || onnx_marked(s->import, x) != NULL)
        return onnx_fault(s, UNSUPPORTED, "the bits of floats below 16, or integers below 8");
    TRY(onnx_type_attr(s, "to", x->dtype, &to));
    TRY(onnx_add1(s, "bit_cast", &x, 1, &out));
    *(struct bit_cast_attrs *)node_attrs(out->producer) =
        (struct bit_cast_attrs){ (int32_t)x->dtype, (int32_t)to };
    out->dtype = to;
    return onnx_bind(s, 0, out);
}

static status import_cast_like(struct onnx_site *s)
{
    struct value *x, *like, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &like));
    const struct onnx_narrow *narrow = onnx_marked(s->import, like);
    if (narrow != NULL) {
        TRY(onnx_to_narrow(s, x, narrow, &out));
        return onnx_bind(s, 0, out);
    }
    TRY(onnx_add1(s, "cast", &x, 1, &out));
    ((struct dtype_attrs *)node_attrs(out->producer))->dtype = like->dtype;
    out->dtype = like->dtype;
    return onnx_bind(s, 0, out);
}

/* For inference: nothing is dropped, so every element of the mask is true. */
static status import_dropout(struct onnx_site *s)
{
    struct value *x, *out;
    const struct tensor *training;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_const(s, 2, "training_mode", &training));
    if (training != NULL && training->dtype == DTYPE_BOOL && *(const bool *)training->data)
        return onnx_fault(s, UNSUPPORTED, "training_mode is set; export the model for inference");
    TRY(onnx_add1(s, "identity", &x, 1, &out));
    TRY(onnx_bind(s, 0, out));
    if (!onnx_wants(s, 1))
        return OK;
    TRY(onnx_add1(s, "fill_like", &x, 1, &out));
    *(struct fill_like_attrs *)node_attrs(out->producer) =
        (struct fill_like_attrs){ .dtype = DTYPE_BOOL, .value = 1, .integer = 1 };
    out->dtype = DTYPE_BOOL;
    return onnx_bind(s, 1, out);
}

/* ---- matrix products ---- */

static status import_matmul(struct onnx_site *s)
{
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(build_matmul(s, in[0], in[1], false, &out));
    return onnx_bind(s, 0, out);
}

static status add_for_einsum(void *site, const char *op, struct value *const *in, int count,
                             struct value **out)
{
    return onnx_add1(site, op, in, count, out);
}

static status refuse_einsum(void *site)
{
    struct onnx_site *s = site;
    return onnx_fault(s, UNSUPPORTED, "the equation '%.*s'", STR_ARG(onnx_str(s, "equation", "")));
}

static status import_einsum(struct onnx_site *s)
{
    const struct einsum_maker maker = { s, add_for_einsum, refuse_einsum };
    struct value **in, *out;
    int count;
    TRY(onnx_ins(s, 0, &in, &count));
    TRY(einsum_build(&maker, onnx_str(s, "equation", ""), in, count, &out));
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

/* alpha A' B' + beta C. */
static status import_gemm(struct onnx_site *s)
{
    struct value *in[2], *c, *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_in_optional(s, 2, &c));
    TRY(onnx_add1(s, "matmul", in, 2, &out));
    *(struct matmul_attrs *)node_attrs(out->producer) = (struct matmul_attrs){
        .trans_a = onnx_bool(s, "transA", false),
        .trans_b = onnx_bool(s, "transB", false),
        .alpha = onnx_f32(s, "alpha", 1),
    };
    out->shape = (struct shape){ .rank = 2, .dim = { -1, -1 } };
    if (c != NULL) {
        float beta = onnx_f32(s, "beta", 1);
        if (beta != 1)
            TRY(build_affine(s, c, (double)beta, 0, &c));
        TRY(build2(s, "add", out, c, &out));
    }
    return onnx_bind(s, 0, out);
}

/* ---- softmax ---- */

typedef status along_fn(struct onnx_site *s, struct value *x, int32_t axis, struct value **out);

/* Before version 13 the input counted as a matrix, whose rows end in front of axis. */
static status by_rows(struct onnx_site *s, along_fn *along, struct value *x, int32_t axis,
                      struct value **out)
{
    struct value *shape, *rows, *done;
    TRY(build_shape(s, x, &shape));
    TRY(onnx_add1(s, "flatten", &x, 1, &rows));
    *(struct flatten_attrs *)node_attrs(rows->producer) = (struct flatten_attrs){ axis, -1 };
    TRY(along(s, rows, -1, &done));
    return build_reshape_to(s, done, shape, x->shape.rank, out);
}

static status import_by_rows(struct onnx_site *s, along_fn *along)
{
    struct value *x, *out;
    int32_t axis = onnx_i32(s, "axis", s->opset < 13 ? 1 : -1);
    TRY(onnx_in(s, 0, &x));
    if (s->opset < 13 && axis != -1 && axis != x->shape.rank - 1)
        TRY(by_rows(s, along, x, axis, &out));
    else
        TRY(along(s, x, axis, &out));
    return onnx_bind(s, 0, out);
}

static status softmax_along(struct onnx_site *s, struct value *x, int32_t axis, struct value **out)
{
    return build_along(s, "softmax", x, axis, out);
}

/* 1 at the first of the largest, 0 elsewhere. */
static status hardmax_along(struct onnx_site *s, struct value *x, int32_t axis, struct value **out)
{
    struct value *at, *zeros, *ones;
    TRY(build1(s, "arg_reduce", x, &at));
    *(struct arg_reduce_attrs *)node_attrs(at->producer) =
        (struct arg_reduce_attrs){ .axis = axis, .dtype = DTYPE_I64, .keep_dims = true };
    at->dtype = DTYPE_I64;
    TRY(build_affine(s, x, 0, 0, &zeros));
    TRY(build1(s, "fill_like", at, &ones));
    *(struct fill_like_attrs *)node_attrs(ones->producer) =
        (struct fill_like_attrs){ .dtype = x->dtype, .value = 1, .integer = 1 };
    ones->dtype = x->dtype;
    TRY(onnx_add1(s, "put_along", (struct value *[]){ zeros, at, ones }, 3, out));
    ((struct scatter_attrs *)node_attrs((*out)->producer))->axis = axis;
    return OK;
}

static status import_softmax(struct onnx_site *s)
{
    return import_by_rows(s, softmax_along);
}

static status import_log_softmax(struct onnx_site *s)
{
    return import_by_rows(s, build_log_softmax);
}

static status import_hardmax(struct onnx_site *s)
{
    return import_by_rows(s, hardmax_along);
}

// clang-format off
const struct onnx_row onnx_math[] = {
    { "Identity",        "identity",         import_plain },
    { "Relu",            "relu",             import_plain },
    { "Tanh",            "tanh",             import_plain },
    { "Sigmoid",         "sigmoid",          import_plain },
    { "Exp",             "exp",              import_plain },
    { "Log",             "log",              import_plain },
    { "Sqrt",            "sqrt",             import_plain },
    { "Abs",             "abs",              import_plain },
    { "Reciprocal",      "reciprocal",       import_plain },
    { "Sign",            "sign",             import_plain },
    { "Floor",           "floor",            import_plain },
    { "Ceil",            "ceil",             import_plain },
    { "Round",           "round_even",       import_plain },
    { "Sin",             "sin",              import_plain },
    { "Cos",             "cos",              import_plain },
    { "Tan",             "tan",              import_plain },
    { "Asin",            "asin",             import_plain },
    { "Acos",            "acos",             import_plain },
    { "Atan",            "atan",             import_plain },
    { "Sinh",            "sinh",             import_plain },
    { "Cosh",            "cosh",             import_plain },
    { "Asinh",           "asinh",            import_plain },
    { "Acosh",           "acosh",            import_plain },
    { "Atanh",           "atanh",            import_plain },
    { "Erf",             "erf",              import_plain },
    { "Softsign",        "softsign",         import_plain },
    { "BitwiseNot",      "bitwise_not",      import_plain },
    { "Not",             "not",              import_truth },
    { "IsNaN",           "isnan",            import_truth },
    { "IsInf",           "isinf",            import_isinf },
    { "Neg",             "affine",           import_neg },
    { "LeakyRelu",       "leaky_relu",       import_curve },
    { "Elu",             "elu",              import_curve },
    { "Celu",            "celu",             import_curve },
    { "Selu",            "selu",             import_curve },
    { "HardSigmoid",     "hard_sigmoid",     import_curve },
    { "HardSwish",       "hard_swish",       import_curve },
    { "Swish",           "swish",            import_curve },
    { "SwiGLU",          "swish",            import_swiglu },
    { "Mish",            "mish",             import_curve },
    { "Softplus",        "softplus",         import_curve },
    { "ThresholdedRelu", "thresholded_relu", import_curve },
    { "Shrink",          "soft_shrink",      import_shrink },
    { "Gelu",            "gelu",             import_gelu },
    { "Clip",            "clip",             import_clip },
    { "Add",             "add",              import_binary },
    { "Sub",             "sub",              import_binary },
    { "Mul",             "mul",              import_binary },
    { "Div",             "div",              import_binary },
    { "BitwiseAnd",      "bitwise_and",      import_binary },
    { "BitwiseOr",       "bitwise_or",       import_binary },
    { "BitwiseXor",      "bitwise_xor",      import_binary },
    { "PRelu",           "prelu",            import_prelu },
    { "Pow",             "pow",              import_pow },
    { "Mod",             "mod",              import_mod },
    { "BitShift",        "shift_left",       import_shift },
    { "Equal",           "equal",            import_compare },
    { "Less",            "less",             import_compare },
    { "LessOrEqual",     "less_equal",       import_compare },
    { "Greater",         "greater",          import_compare },
    { "GreaterOrEqual",  "greater_equal",    import_compare },
    { "And",             "and",              import_compare },
    { "Or",              "or",               import_compare },
    { "Xor",             "xor",              import_compare },
    { "Sum",             "add",              import_fold },
    { "Max",             "max",              import_fold },
    { "Min",             "min",              import_fold },
    { "Mean",            "add",              import_mean },
    { "Where",           "where",            import_where },
    { "Cast",            "cast",             import_cast },
    { "CastLike",        "cast",             import_cast_like },
    { "BitCast",         "bit_cast",         import_bit_cast },
    { "Dropout",         "identity",         import_dropout },
    { "MatMul",          "matmul",           import_matmul },
    { "Gemm",            "matmul",           import_gemm },
    { "Det",             "det",              import_plain },
    { "Einsum",          "matmul",           import_einsum },
    { "Softmax",         "softmax",          import_softmax },
    { "LogSoftmax",      "reduce",           import_log_softmax },
    { "Hardmax",         "arg_reduce",       import_hardmax },
    { 0 },
};
// clang-format on
