/* Activations and functions of one element. */
#include "import/paddle/site.h"

#include <math.h>

static status import_plain(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, s->row->canonical, &x, 1, &out));
    return site_bind(s, "Out", out);
}

/* The bits of a truth are the truth. */
static status import_bits(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, x->dtype == DTYPE_BOOL ? "not" : "bitwise_not", &x, 1, &out));
    return site_bind(s, "Out", out);
}

/* ---- operators with numbers: where Paddle keeps what curve_attrs has, and what stands for an absent one ---- */

struct number {
    const char *attr; /* NULL: always `otherwise` */
    double otherwise;
};

struct curve_row {
    const char *type;
    struct number alpha, beta, gamma;
};

// clang-format off
static const struct curve_row curves[] = {
    { "relu6",            { NULL, 0 },                { "threshold", 6 },            { NULL, 0 } },
    { "brelu",            { "t_min", 0 },             { "t_max", 24 },               { NULL, 0 } },
    { "hardtanh",         { "t_min", 0 },             { "t_max", 24 },               { NULL, 0 } },
    { "leaky_relu",       { "alpha", 0.02f },         { NULL, 0 },                   { NULL, 0 } },
    { "elu",              { "alpha", 1 },             { NULL, 0 },                   { NULL, 0 } },
    { "celu",             { "alpha", 1 },             { NULL, 0 },                   { NULL, 0 } },
    { "selu",             { "scale", 1.0507009873554804934 }, { "alpha", 1.6732632423543772848 }, { NULL, 0 } },
    { "hard_sigmoid",     { "slope", 0.2f },          { "offset", 0.5 },             { NULL, 0 } },
    { "hard_swish",       { "threshold", 6 },         { "scale", 6 },                { "offset", 3 } },
    { "swish",            { "beta", 1 },              { NULL, 0 },                   { NULL, 0 } },
    { "silu",             { NULL, 1 },                { NULL, 0 },                   { NULL, 0 } },
    { "mish",             { "threshold", 20 },        { NULL, 0 },                   { NULL, 0 } },
    { "softplus",         { "beta", 1 },              { "threshold", 20 },           { NULL, 0 } },
    { "soft_relu",        { "threshold", 40 },        { NULL, 0 },                   { NULL, 0 } },
    { "stanh",            { "scale_a", 0.67f },       { "scale_b", 1.7159f },        { NULL, 0 } },
    { "hard_shrink",      { "threshold", 0.5 },       { NULL, 0 },                   { NULL, 0 } },
    { "softshrink",       { "lambda", 0.5 },          { NULL, 0 },                   { NULL, 0 } },
    { "thresholded_relu", { "threshold", 1 },         { "value", 0 },                { NULL, 0 } },
    { "logit",            { "eps", 1e-6f },           { NULL, 0 },                   { NULL, 0 } },
};
// clang-format on

static float read_number(struct site *s, const struct number *n)
{
    return (float)(n->attr != NULL ? attr_f64(s, n->attr, n->otherwise) : n->otherwise);
}

static status import_curve(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, s->row->canonical, &x, 1, &out));
    struct curve_attrs *a = node_attrs(out->producer);
    for (size_t i = 0; i < ARRAY_LEN(curves); i++)
        if (str_is(s->op->type, curves[i].type))
            *a = (struct curve_attrs){ read_number(s, &curves[i].alpha),
                                       read_number(s, &curves[i].beta),
                                       read_number(s, &curves[i].gamma) };
    return site_bind(s, "Out", out);
}

/* Random while training; the middle of its slopes afterwards. */
static status import_rrelu(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "leaky_relu", &x, 1, &out));
    ((struct curve_attrs *)node_attrs(out->producer))->alpha =
        (float)((attr_f64(s, "lower", 1.0 / 8) + attr_f64(s, "upper", 1.0 / 3)) / 2);
    return site_bind(s, "Out", out);
}

static status import_gelu(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, attr_bool(s, "approximate", false) ? "gelu_tanh" : "gelu", &x, 1, &out));
    return site_bind(s, "Out", out);
}

/* The lower or upper limit as a tensor of one element, which overrules the attribute. */
static status limit(struct site *s, const char *op, const char *slot, struct value **x)
{
    struct value *in[2] = { *x, NULL };
    TRY(site_in_optional(s, slot, &in[1]));
    if (in[1] == NULL)
        return OK;
    TRY(site_reshape(s, in[1], &(struct attr_ints){ 0 }, &in[1]));
    return site_add1(s, op, in, 2, x);
}

static status import_clip(struct site *s)
{
    struct value *x, *low, *high;
    TRY(site_in(s, "X", &x));
    TRY(site_in_optional(s, "Min", &low));
    TRY(site_in_optional(s, "Max", &high));
    if (low == NULL || high == NULL) {
        struct value *out;
        TRY(site_add1(s, "clip", &x, 1, &out));
        *(struct curve_attrs *)node_attrs(out->producer) =
            (struct curve_attrs){ low == NULL ? (float)attr_f64(s, "min", -INFINITY) : -INFINITY,
                                  high == NULL ? (float)attr_f64(s, "max", INFINITY) : INFINITY,
                                  0 };
        x = out;
    }
    TRY(limit(s, "max", "Min", &x));
    TRY(limit(s, "min", "Max", &x));
    return site_bind(s, "Out", x);
}

static status import_pow(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in_optional(s, "FactorTensor", &in[1]));
    if (in[1] != NULL) {
        TRY(site_reshape(s, in[1], &(struct attr_ints){ 0 }, &in[1]));
        TRY(site_add1(s, "pow", in, 2, &out));
        return site_bind(s, "Out", out);
    }
    TRY(site_add1(s, "power", in, 1, &out));
    ((struct curve_attrs *)node_attrs(out->producer))->alpha = (float)attr_f64(s, "factor", 1);
    return site_bind(s, "Out", out);
}

static status add_affine(struct site *s, struct value *x, double scale, double bias)
{
    struct value *out;
    TRY(site_add1(s, "affine", &x, 1, &out));
    *(struct affine_attrs *)node_attrs(out->producer) =
        (struct affine_attrs){ .scale = (float)scale, .bias = (float)bias };
    return site_bind(s, "Out", out);
}

/* The factor comes as a tensor of one element. */
static status scale_by_tensor(struct site *s, struct value *x, struct value *by)
{
    bool after = attr_bool(s, "bias_after_scale", true);
    double bias = attr_f64(s, "bias", 0);
    struct value *in[2] = { x, by }, *out;
    TRY(site_reshape(s, by, &(struct attr_ints){ 0 }, &in[1]));
    if (!after) {
        TRY(site_add1(s, "affine", &x, 1, &in[0]));
        *(struct affine_attrs *)node_attrs(in[0]->producer) =
            (struct affine_attrs){ 1, (float)bias };
    }
    TRY(site_add1(s, "mul", in, 2, &out));
    return after ? add_affine(s, out, 1, bias) : site_bind(s, "Out", out);
}

static status import_scale(struct site *s)
{
    struct value *x, *by;
    TRY(site_in(s, "X", &x));
    TRY(site_in_optional(s, "ScaleTensor", &by));
    if (by != NULL)
        return scale_by_tensor(s, x, by);
    double scale = attr_f64(s, "scale", 1), bias = attr_f64(s, "bias", 0);
    if (!attr_bool(s, "bias_after_scale", true))
        bias *= scale;
    return add_affine(s, x, scale, bias);
}

static status import_increment(struct site *s)
{
    struct value *x;
    TRY(site_in(s, "X", &x));
    return add_affine(s, x, 1, attr_f64(s, "step", 1));
}

// clang-format off
const struct op_row paddle_unary[] = {
    { "relu",             "relu",             import_plain,     LOD_SHARE },
    { "tanh",             "tanh",             import_plain,     LOD_SHARE },
    { "sigmoid",          "sigmoid",          import_plain,     LOD_SHARE },
    { "exp",              "exp",              import_plain,     LOD_SHARE },
    { "expm1",            "expm1",            import_plain,     LOD_SHARE },
    { "log",              "log",              import_plain,     LOD_SHARE },
    { "log1p",            "log1p",            import_plain,     LOD_SHARE },
    { "log2",             "log2",             import_plain,     LOD_SHARE },
    { "log10",            "log10",            import_plain,     LOD_SHARE },
    { "sqrt",             "sqrt",             import_plain,     LOD_SHARE },
    { "rsqrt",            "rsqrt",            import_plain,     LOD_SHARE },
    { "abs",              "abs",              import_plain,     LOD_SHARE },
    { "square",           "square",           import_plain,     LOD_SHARE },
    { "reciprocal",       "reciprocal",       import_plain,     LOD_SHARE },
    { "sign",             "sign",             import_plain,     LOD_SHARE },
    { "floor",            "floor",            import_plain,     LOD_SHARE },
    { "ceil",             "ceil",             import_plain,     LOD_SHARE },
    { "round",            "round",            import_plain,     LOD_SHARE },
    { "trunc",            "trunc",            import_plain,     LOD_SHARE },
    { "sin",              "sin",              import_plain,     LOD_SHARE },
    { "cos",              "cos",              import_plain,     LOD_SHARE },
    { "tan",              "tan",              import_plain,     LOD_SHARE },
    { "asin",             "asin",             import_plain,     LOD_SHARE },
    { "acos",             "acos",             import_plain,     LOD_SHARE },
    { "atan",             "atan",             import_plain,     LOD_SHARE },
    { "sinh",             "sinh",             import_plain,     LOD_SHARE },
    { "cosh",             "cosh",             import_plain,     LOD_SHARE },
    { "asinh",            "asinh",            import_plain,     LOD_SHARE },
    { "acosh",            "acosh",            import_plain,     LOD_SHARE },
    { "atanh",            "atanh",            import_plain,     LOD_SHARE },
    { "erf",              "erf",              import_plain,     LOD_SHARE },
    { "erfinv",           "erfinv",           import_plain,     LOD_SHARE },
    { "lgamma",           "lgamma",           import_plain,     LOD_SHARE },
    { "digamma",          "digamma",          import_plain,     LOD_SHARE },
    { "softsign",         "softsign",         import_plain,     LOD_SHARE },
    { "logsigmoid",       "logsigmoid",       import_plain,     LOD_SHARE },
    { "tanh_shrink",      "tanh_shrink",      import_plain,     LOD_SHARE },
    { "logical_not",      "not",              import_plain,     LOD_SHARE },
    { "bitwise_not",      "bitwise_not",      import_bits,      LOD_SHARE },
    { "isnan_v2",         "isnan",            import_plain,     LOD_SHARE },
    { "isinf_v2",         "isinf",            import_plain,     LOD_SHARE },
    { "isfinite_v2",      "isfinite",         import_plain,     LOD_SHARE },
    { "relu6",            "clip",             import_curve,     LOD_SHARE },
    { "brelu",            "clip",             import_curve,     LOD_SHARE },
    { "hardtanh",         "clip",             import_curve,     LOD_SHARE },
    { "leaky_relu",       "leaky_relu",       import_curve,     LOD_SHARE },
    { "elu",              "elu",              import_curve,     LOD_SHARE },
    { "celu",             "celu",             import_curve,     LOD_SHARE },
    { "selu",             "selu",             import_curve,     LOD_SHARE },
    { "hard_sigmoid",     "hard_sigmoid",     import_curve,     LOD_SHARE },
    { "hard_swish",       "hard_swish",       import_curve,     LOD_SHARE },
    { "swish",            "swish",            import_curve,     LOD_SHARE },
    { "silu",             "swish",            import_curve,     LOD_SHARE },
    { "mish",             "mish",             import_curve,     LOD_SHARE },
    { "softplus",         "softplus",         import_curve,     LOD_SHARE },
    { "soft_relu",        "soft_relu",        import_curve,     LOD_SHARE },
    { "stanh",            "stanh",            import_curve,     LOD_SHARE },
    { "hard_shrink",      "hard_shrink",      import_curve,     LOD_SHARE },
    { "softshrink",       "soft_shrink",      import_curve,     LOD_SHARE },
    { "thresholded_relu", "thresholded_relu", import_curve,     LOD_SHARE },
    { "logit",            "logit",            import_curve,     LOD_SHARE },
    { "rrelu",            "leaky_relu",       import_rrelu,     LOD_SHARE },
    { "gelu",             "gelu",             import_gelu,      LOD_SHARE },
    { "clip",             "clip",             import_clip,      LOD_SHARE },
    { "pow",              "power",            import_pow,       LOD_SHARE },
    { "scale",            "affine",           import_scale,     LOD_SHARE },
    { "increment",        "affine",           import_increment, LOD_SHARE },
    { 0 },
};
// clang-format on
