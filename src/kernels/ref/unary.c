#include "kernels/ref/ref.h"

/* x, and the operator's numbers: alpha a, beta b, gamma c. */
typedef double (*curve_fn)(double x, double a, double b, double c);
typedef int64_t (*whole_fn)(int64_t x, double a, double b);

struct state {
    int64_t count;
    dtype dtype;
    curve_fn fn;
    whole_fn whole;
    double number[3]; /* the operator's attributes in order */
};

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

/* NaN stays NaN. */
static double clip(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

static double sign(double x)
{
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

/* Recurrence up to where the asymptotic series is good; reflection below zero (Abramowitz and Stegun 6.3.5-7, 6.3.18). */
static double digamma(double x)
{
    double sum = 0;
    if (x <= 0 && x == floor(x))
        return NAN;
    if (x < 0)
        return digamma(1 - x) - 3.14159265358979323846 / tan(3.14159265358979323846 * x);
    while (x < 10) {
        sum -= 1 / x;
        x += 1;
    }
    double y = 1 / (x * x);
    double series =
        y * (1. / 12 - y * (1. / 120 - y * (1. / 252 - y * (1. / 240 - y * (1. / 132)))));
    return sum + log(x) - 0.5 / x - series;
}

/* lgamma alone writes a global. */
static double log_gamma(double x)
{
    int of_gamma;
    return lgamma_r(x, &of_gamma);
}

/* A rough start (Winitzki) and three steps of Newton's. */
static double erfinv(double x)
{
    if (!(x > -1 && x < 1))
        return x == 1 ? INFINITY : x == -1 ? -INFINITY : NAN;
    double l = log1p(-x * x), t = 4.330746750799873 + l / 2;
    double y = copysign(sqrt(sqrt(t * t - l / 0.147) - t), x);
    for (int i = 0; i < 3; i++)
        y -= (erf(y) - x) / (1.12837916709551257390 * exp(-y * y));
    return y;
}

/* The integer part; the ends of the range for what lies outside. */
static int64_t whole(double v)
{
    if (!(v > -9223372036854775808.0)) /* and NaN */
        return INT64_MIN;
    return v >= 9223372036854775808.0 ? INT64_MAX : (int64_t)v;
}

// clang-format off
#define CURVE_LIST(X)                                                                 \
    X(relu,         x > 0 || isnan(x) ? x : 0)                                        \
    X(tanh,         tanh(x))                                                          \
    X(sigmoid,      sigmoid(x))                                                       \
    X(exp,          exp(x))                                                           \
    X(log,          log(x))                                                           \
    X(sqrt,         sqrt(x))                                                          \
    X(abs,          fabs(x))                                                          \
    X(square,       x * x)                                                            \
    X(expm1,        expm1(x))                                                         \
    X(log1p,        log1p(x))                                                         \
    X(log2,         log2(x))                                                          \
    X(log10,        log10(x))                                                         \
    X(rsqrt,        1 / sqrt(x))                                                      \
    X(reciprocal,   1 / x)                                                            \
    X(sign,         sign(x))                                                          \
    X(floor,        floor(x))                                                         \
    X(ceil,         ceil(x))                                                          \
    X(round,        round(x))                                                         \
    X(round_even,   nearbyint(x))                                                     \
    X(trunc,        trunc(x))                                                         \
    X(sin,          sin(x))                                                           \
    X(cos,          cos(x))                                                           \
    X(tan,          tan(x))                                                           \
    X(asin,         asin(x))                                                          \
    X(acos,         acos(x))                                                          \
    X(atan,         atan(x))                                                          \
    X(sinh,         sinh(x))                                                          \
    X(cosh,         cosh(x))                                                          \
    X(asinh,        asinh(x))                                                         \
    X(acosh,        acosh(x))                                                         \
    X(atanh,        atanh(x))                                                         \
    X(erf,          erf(x))                                                           \
    X(softsign,     x / (1 + fabs(x)))                                                \
    X(logsigmoid,   -softplus(-x))                                                    \
    X(tanh_shrink,  x - tanh(x))                                                      \
    X(gelu,         0.5 * x * erfc(-x * 0.70710678118654752440))                      \
    X(gelu_tanh,    gelu_tanh(x))                                                     \
    X(lgamma,       log_gamma(x))                                                       \
    X(digamma,      digamma(x))                                                       \
    X(erfinv,       erfinv(x))                                                        \
    X(affine,       x * a + b)                                                        \
    X(clip,         clip(x, a, b))                                                    \
    X(leaky_relu,   x > 0 ? x : a * x)                                                \
    X(elu,          x > 0 ? x : a * expm1(x))                                         \
    X(celu,         x > 0 ? x : a * expm1(x / a))                                     \
    X(selu,         a * (x > 0 ? x : b * expm1(x)))                                   \
    X(hard_sigmoid, clip(a * x + b, 0, 1))                                            \
    X(hard_swish,   x * clip(x + c, 0, a) / b)                                        \
    X(swish,        x * sigmoid(a * x))                                               \
    X(mish,         x * tanh(a > 0 && x > a ? x : softplus(x)))                       \
    X(softplus,     a * x > b ? x : softplus(a * x) / a)                              \
    X(soft_relu,    softplus(clip(x, -a, a)))                                         \
    X(stanh,        b * tanh(a * x))                                                  \
    X(hard_shrink,  x > a || x < -a || isnan(x) ? x : 0)                              \
    X(soft_shrink,  x > a ? x - a : x < -a ? x + a : isnan(x) ? x : 0)                \
    X(thresholded_relu, x > a ? x : b)                                                \
    X(logit,        a > 0 ? (x = clip(x, a, 1 - a), log(x / (1 - x))) : log(x / (1 - x))) \
    X(power,        pow(x, a))

/* Of integers, which wrap; a number of the operator's is cut to an integer first, as Paddle does. */
#define WHOLE_LIST(X)                                                          \
    X(relu,   x > 0 ? x : 0)                                                   \
    X(abs,    x < 0 ? (int64_t)(0 - (uint64_t)x) : x)                          \
    X(square, (int64_t)((uint64_t)x * (uint64_t)x))                            \
    X(sign,   (x > 0) - (x < 0))                                               \
    X(affine, (int64_t)((uint64_t)x * (uint64_t)whole(a) + (uint64_t)whole(b))) \
    X(clip,   x < whole(a) ? whole(a) : x > whole(b) ? whole(b) : x)           \
    X(floor,  x)                                                               \
    X(ceil,   x)                                                               \
    X(round,  x)                                                               \
    X(round_even, x)                                                           \
    X(trunc,  x)

#define BITS_LIST(X) X(bitwise_not, ~x)
// clang-format on

static status prepare(const struct kernel_ctx *ctx, curve_fn fn, whole_fn of_whole, void **state)
{
    const struct attr_field *f = ctx->node->op->attrs;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct state){ shape_numel(&ctx->out[0].shape), ctx->in[0].dtype, fn, of_whole, { 0 } };
    for (int i = 0; f != NULL && f[i].name != NULL; i++)
        s->number[i] = *(const float *)((const char *)ctx->node->attrs + f[i].offset);
    *state = s;
    return OK;
}

#define LOOP(type, fn, load, store)        \
    for (int64_t i = 0; i < s->count; i++) \
        ((type *)out)[i] = store(fn(load(((const type *)in)[i]), a, b FN_LAST));

static status run_curve(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const void *in = io->in[0];
    void *out = io->out[0];
    double a = s->number[0], b = s->number[1], c = s->number[2];
#define FN_LAST , c
    switch (s->dtype) {
    case DTYPE_F32: LOOP(float, s->fn, (double), (float)) break;
    case DTYPE_F64: LOOP(double, s->fn, , ) break;
    case DTYPE_F16: LOOP(uint16_t, s->fn, f16_to_f32, f32_to_f16) break;
    default: LOOP(uint16_t, s->fn, bf16_to_f32, f32_to_bf16) break;
    }
#undef FN_LAST
    return OK;
}

static status run_whole(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const void *in = io->in[0];
    void *out = io->out[0];
    double a = s->number[0], b = s->number[1];
#define FN_LAST
    switch (s->dtype) {
    case DTYPE_I64: LOOP(int64_t, s->whole, , ) break;
    case DTYPE_I32: LOOP(int32_t, s->whole, , (int32_t)) break;
    case DTYPE_I16: LOOP(int16_t, s->whole, , (int16_t)) break;
    case DTYPE_I8: LOOP(int8_t, s->whole, , (int8_t)) break;
    case DTYPE_U16: LOOP(uint16_t, s->whole, , (uint16_t)) break;
    case DTYPE_U32: LOOP(uint32_t, s->whole, , (uint32_t)) break;
    case DTYPE_U64: LOOP(uint64_t, s->whole, (int64_t), (uint64_t)) break;
    default: LOOP(uint8_t, s->whole, , (uint8_t)) break;
    }
#undef FN_LAST
    return OK;
}

#define X(op, expr)                                                                         \
    static double f_##op(double x, double a, double b, double c)                            \
    {                                                                                       \
        return expr;                                                                        \
    }                                                                                       \
    static status prepare_f_##op(const struct kernel_ctx *ctx, void **state, size_t *bytes, \
                                 struct err *e)                                             \
    {                                                                                       \
        return prepare(ctx, f_##op, NULL, state);                                           \
    }
CURVE_LIST(X)
#undef X

#define X(op, expr)                                                                         \
    static int64_t w_##op(int64_t x, double a, double b)                                    \
    {                                                                                       \
        return expr;                                                                        \
    }                                                                                       \
    static status prepare_w_##op(const struct kernel_ctx *ctx, void **state, size_t *bytes, \
                                 struct err *e)                                             \
    {                                                                                       \
        return prepare(ctx, NULL, w_##op, state);                                           \
    }
WHOLE_LIST(X)
BITS_LIST(X)
#undef X

/* ---- questions, answered by a bool each ---- */

// clang-format off
/*   op        of floats        of integers */
#define TELL_LIST(X)                     \
    X(not,      !(x != 0 || isnan(x)), n == 0) \
    X(isnan,    isnan(x) != 0,         false)  \
    X(isinf,    isinf(x) != 0,         false)  \
    X(isfinite, isfinite(x) != 0,      true)
// clang-format on

/* The element as a float where it is one; NAN and the like survive the widening. */
static bool read_element(dtype d, const void *in, int64_t i, double *x, int64_t *n)
{
    switch (d) {
    case DTYPE_F32: *x = ((const float *)in)[i]; return true;
    case DTYPE_F64: *x = ((const double *)in)[i]; return true;
    case DTYPE_F16: *x = f16_to_f32(((const uint16_t *)in)[i]); return true;
    case DTYPE_BF16: *x = bf16_to_f32(((const uint16_t *)in)[i]); return true;
    case DTYPE_I64: *n = ((const int64_t *)in)[i]; return false;
    case DTYPE_I32: *n = ((const int32_t *)in)[i]; return false;
    case DTYPE_I16: *n = ((const int16_t *)in)[i]; return false;
    case DTYPE_U16: *n = ((const uint16_t *)in)[i]; return false;
    case DTYPE_U32: *n = ((const uint32_t *)in)[i]; return false;
    default: *n = ((const uint8_t *)in)[i]; return false;
    }
}

static status prepare_tell(const struct kernel_ctx *ctx, void **state, size_t *bytes, struct err *e)
{
    return prepare(ctx, NULL, NULL, state);
}

#define X(op, of_float, of_whole)                                         \
    static bool tell_##op(bool is_float, double x, int64_t n)             \
    {                                                                     \
        return is_float ? (of_float) : (of_whole);                        \
    }                                                                     \
    static status run_##op(const void *state, const struct kernel_io *io) \
    {                                                                     \
        const struct state *s = state;                                    \
        double x = 0;                                                     \
        int64_t n = 0;                                                    \
        for (int64_t i = 0; i < s->count; i++) {                          \
            bool is_float = read_element(s->dtype, io->in[0], i, &x, &n); \
            ((bool *)io->out[0])[i] = tell_##op(is_float, x, n);          \
        }                                                                 \
        return OK;                                                        \
    }
TELL_LIST(X)
#undef X

#define FLOATS \
    (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64) | DTYPE_BIT(DTYPE_F16) | DTYPE_BIT(DTYPE_BF16))
#define WHOLES                                                                                  \
    (DTYPE_BIT(DTYPE_I64) | DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I16) | DTYPE_BIT(DTYPE_I8) | \
     DTYPE_BIT(DTYPE_U8) | DTYPE_BIT(DTYPE_U16) | DTYPE_BIT(DTYPE_U32))

const struct kernel ref_unary[] = {
#define X(op, expr) { #op, "ref " #op, FLOATS, DEVICE_CPU, NULL, prepare_f_##op, run_curve, NULL },
    CURVE_LIST(X)
#undef X
#define X(op, expr) { #op, "ref " #op, WHOLES, DEVICE_CPU, NULL, prepare_w_##op, run_whole, NULL },
        WHOLE_LIST(X)
#undef X
#define X(op, expr)                                                                           \
    { #op,       "ref " #op, WHOLES | DTYPE_BIT(DTYPE_U64), DEVICE_CPU, NULL, prepare_w_##op, \
      run_whole, NULL },
            BITS_LIST(X)
#undef X
#define X(op, of_float, of_whole)                                        \
    {                                                                    \
        #op,        "ref " #op, FLOATS | WHOLES | DTYPE_BIT(DTYPE_BOOL), \
        DEVICE_CPU, NULL,       prepare_tell,                            \
        run_##op,   NULL                                                 \
    },
                TELL_LIST(X)
#undef X
                    { 0 },
};
