/* One tensor in, one of the same shape out.
 *
 *   op              of x, with the numbers alpha (a), beta (b), gamma (c)
 *   clip            min(max(x, a), b)
 *   leaky_relu      x > 0 ? x : a x
 *   elu             x > 0 ? x : a (exp(x) - 1)
 *   celu            max(0, x) + min(0, a (exp(x / a) - 1))
 *   selu            a (x > 0 ? x : b (exp(x) - 1))
 *   hard_sigmoid    min(max(a x + b, 0), 1)
 *   hard_swish      x min(max(x + c, 0), a) / b
 *   swish           x / (1 + exp(-a x))
 *   mish            x tanh(softplus(x)); softplus(x) is x above a, where a > 0
 *   softplus        log(1 + exp(a x)) / a; x where a x > b
 *   soft_relu       log(1 + exp(clip(x, -a, a)))
 *   stanh           b tanh(a x)
 *   hard_shrink     x where |x| > a, else 0
 *   soft_shrink     x - a above a, x + a below -a, else 0
 *   thresholded_relu  x where x > a, else b
 *   logit           log(x / (1 - x)), x first brought into [a, 1 - a] where a > 0
 *   power           x to the a
 *   gelu            x/2 (1 + erf(x / sqrt 2)); gelu_tanh is its approximation by tanh
 *   round           half away from zero; round_even: half to even
 */
#include "graph/ops.h"

const char *const act_names[] = { "none",       "relu", "tanh",         "sigmoid",    "clip",
                                  "leaky_relu", "elu",  "hard_sigmoid", "hard_swish", "swish",
                                  "mish",       "gelu", "gelu_tanh",    NULL };

status infer_same(const struct node *n, const struct type *in, struct type *out, struct err *e)
{
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    return OK;
}

bool has_input(const struct node *n, int i)
{
    return n->in_count > i && n->in[i] != NULL;
}

status want_rank(const struct type *t, int rank, const char *what, struct err *e)
{
    char shape[SHAPE_TEXT_MAX];
    if (t->shape.rank == rank)
        return OK;
    return err_set(e, INVALID, "expected %d dimensions of %s, got %s", rank, what,
                   shape_text(&t->shape, shape, sizeof(shape)));
}

status want_dtype(const struct type *t, dtype d, const char *what, struct err *e)
{
    if (t->dtype == d)
        return OK;
    return err_set(e, INVALID, "expected %s as %s, got %s", dtype_name(d), what,
                   dtype_name(t->dtype));
}

static status infer_bool(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    out[0] = (struct type){ DTYPE_BOOL, in[0].shape, NULL };
    return OK;
}

static const struct attr_field affine_fields[] = {
    FIELD(affine_attrs, scale, ATTR_F32),
    FIELD(affine_attrs, bias, ATTR_F32),
    { 0 },
};

static const struct attr_field curve_fields[] = {
    FIELD(curve_attrs, alpha, ATTR_F32),
    FIELD(curve_attrs, beta, ATTR_F32),
    FIELD(curve_attrs, gamma, ATTR_F32),
    { 0 },
};

#define MAP        (OP_INPLACE | OP_ELEMENTWISE)
#define PLAIN      1, 1, 1, MAP, NULL, 0, infer_same
#define WITH_CURVE 1, 1, 1, MAP, curve_fields, sizeof(struct curve_attrs), infer_same
#define TELLS      1, 1, 1, MAP, NULL, 0, infer_bool

// clang-format off
const struct op ops_unary[] = {
    { "identity", 1, 1, 1, OP_VIEW | OP_ELEMENTWISE, NULL, 0, infer_same },
    { "affine",   1, 1, 1, MAP, affine_fields, sizeof(struct affine_attrs), infer_same },
    { "relu",             PLAIN },
    { "tanh",             PLAIN },
    { "sigmoid",          PLAIN },
    { "exp",              PLAIN },
    { "log",              PLAIN },
    { "sqrt",             PLAIN },
    { "abs",              PLAIN },
    { "square",           PLAIN },
    { "expm1",            PLAIN },
    { "log1p",            PLAIN },
    { "log2",             PLAIN },
    { "log10",            PLAIN },
    { "rsqrt",            PLAIN },
    { "reciprocal",       PLAIN },
    { "sign",             PLAIN },
    { "floor",            PLAIN },
    { "ceil",             PLAIN },
    { "round",            PLAIN },
    { "round_even",       PLAIN },
    { "trunc",            PLAIN },
    { "sin",              PLAIN },
    { "cos",              PLAIN },
    { "tan",              PLAIN },
    { "asin",             PLAIN },
    { "acos",             PLAIN },
    { "atan",             PLAIN },
    { "sinh",             PLAIN },
    { "cosh",             PLAIN },
    { "asinh",            PLAIN },
    { "acosh",            PLAIN },
    { "atanh",            PLAIN },
    { "erf",              PLAIN },
    { "softsign",         PLAIN },
    { "logsigmoid",       PLAIN },
    { "tanh_shrink",      PLAIN },
    { "gelu",             PLAIN },
    { "gelu_tanh",        PLAIN },
    { "lgamma",           PLAIN },
    { "digamma",          PLAIN },
    { "erfinv",           PLAIN },
    { "bitwise_not",      PLAIN },
    { "clip",             WITH_CURVE },
    { "leaky_relu",       WITH_CURVE },
    { "elu",              WITH_CURVE },
    { "celu",             WITH_CURVE },
    { "selu",             WITH_CURVE },
    { "hard_sigmoid",     WITH_CURVE },
    { "hard_swish",       WITH_CURVE },
    { "swish",            WITH_CURVE },
    { "mish",             WITH_CURVE },
    { "softplus",         WITH_CURVE },
    { "soft_relu",        WITH_CURVE },
    { "stanh",            WITH_CURVE },
    { "hard_shrink",      WITH_CURVE },
    { "soft_shrink",      WITH_CURVE },
    { "thresholded_relu", WITH_CURVE },
    { "logit",            WITH_CURVE },
    { "power",            WITH_CURVE },
    { "not",              TELLS },
    { "isnan",            TELLS },
    { "isinf",            TELLS },
    { "isfinite",         TELLS },
    { 0 },
};
// clang-format on
