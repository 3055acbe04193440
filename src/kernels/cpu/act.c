/* Activations, in place over a row, and the unary operators of the same names and some others. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"

#include <string.h>

// clang-format off
/*    act            value of x, with the numbers of f */
#define ACT_LIST(X)                                                          \
    X(RELU,         x < 0 ? 0 : x)                                           \
    X(TANH,         vmath_tanh(x))                                           \
    X(SIGMOID,      vmath_sigmoid(x))                                        \
    X(CLIP,         vmath_clip(x, f.alpha, f.beta))                          \
    X(LEAKY_RELU,   x > 0 ? x : f.alpha * x)                                 \
    X(ELU,          x > 0 ? x : f.alpha * (vmath_exp(x) - 1))                \
    X(HARD_SIGMOID, vmath_clip(f.alpha * x + f.beta, 0, 1))                  \
    X(HARD_SWISH,   x * vmath_clip(x + f.gamma, 0, f.alpha) * (1 / f.beta))  \
    X(SWISH,        x / (1 + vmath_exp(-f.alpha * x)))                       \
    X(MISH,         f.alpha > 0 && x > f.alpha ? x * vmath_tanh(x) : vmath_mish(x)) \
    X(GELU,         vmath_gelu(x))                                           \
    X(GELU_TANH,    vmath_gelu_tanh(x))
// clang-format on

#define X(name, value)                                                                     \
    CLONES static void map_##name(struct act_fn f, const float *in, float *out, int64_t n) \
    {                                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                  \
            float x = in[i];                                                               \
            out[i] = value;                                                                \
        }                                                                                  \
    }
ACT_LIST(X)
#undef X

typedef void (*map_fn)(struct act_fn f, const float *in, float *out, int64_t n);

static const map_fn maps[ACT_COUNT] = {
#define X(name, value) [ACT_##name] = map_##name,
    ACT_LIST(X)
#undef X
};

void cpu_act(struct act_fn f, float *x, int64_t n)
{
    if (maps[f.kind] != NULL)
        maps[f.kind](f, x, x, n);
}

/* ---- narrow floats ---- */

CLONES static void narrow(const uint32_t *restrict x, uint16_t *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t v = x[i], rounded = (v + 0x7fff + (v >> 16 & 1)) >> 16;
        y[i] = (uint16_t)((v & 0x7fffffff) > 0x7f800000 ? v >> 16 | 0x40 : rounded); /* NaN stays */
    }
}

void cpu_narrow(const float *x, uint16_t *y, int64_t n)
{
    narrow((const uint32_t *)(const void *)x, y, n);
}

/* ---- the unary operators ---- */

struct state {
    map_fn map;
    struct act_fn f;
    int64_t count;
};

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    s->map(s->f, io->in[0], io->out[0], s->count);
    return OK;
}

static status prepare(const struct kernel_ctx *ctx, map_fn map, struct act_fn f, void **state)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct state){ map, f, shape_numel(&ctx->out[0].shape) };
    *state = s;
    return OK;
}

static status prepare_act(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    const struct curve_attrs *c = ctx->node->attrs;
    struct act_fn f = { ACT_RELU, 0, 0, 0 };
    while (strcmp(act_names[f.kind], ctx->node->op->name) != 0)
        f.kind++;
    if (c != NULL) {
        f.alpha = c->alpha;
        f.beta = c->beta;
        f.gamma = c->gamma;
    }
    return prepare(ctx, maps[f.kind], f, state);
}

// clang-format off
#define OTHERS(X)                      \
    X(exp,        vmath_exp(x))        \
    X(erf,        vmath_erf(x))        \
    X(sqrt,       sqrtf(x))            \
    X(rsqrt,      1 / sqrtf(x))        \
    X(reciprocal, 1 / x)               \
    X(square,     x * x)               \
    X(abs,        fabsf(x))            \
    X(affine,     x * f.alpha + f.beta)
// clang-format on

#define X(name, value)                                                                        \
    CLONES static void other_##name(struct act_fn f, const float *in, float *out, int64_t n)  \
    {                                                                                         \
        for (int64_t i = 0; i < n; i++) {                                                     \
            float x = in[i];                                                                  \
            out[i] = value;                                                                   \
        }                                                                                     \
    }                                                                                         \
    static status prepare_##name(const struct kernel_ctx *ctx, void **state, size_t *scratch, \
                                 struct err *e)                                               \
    {                                                                                         \
        const struct affine_attrs *a = ctx->node->attrs;                                      \
        struct act_fn f = { ACT_NONE, a != NULL ? a->scale : 0, a != NULL ? a->bias : 0, 0 }; \
        return prepare(ctx, other_##name, f, state);                                          \
    }
OTHERS(X)
#undef X

#define ROW(op, prepare_fn)                                              \
    {                                                                    \
        op, "cpu " op, F32_ONLY, DEVICE_CPU, NULL, prepare_fn, run, NULL \
    }

const struct kernel cpu_unary[] = {
#define X(name, value) ROW(#name, prepare_##name),
    OTHERS(X)
#undef X
        ROW("relu", prepare_act),
    ROW("tanh", prepare_act),
    ROW("sigmoid", prepare_act),
    ROW("clip", prepare_act),
    ROW("leaky_relu", prepare_act),
    ROW("elu", prepare_act),
    ROW("hard_sigmoid", prepare_act),
    ROW("hard_swish", prepare_act),
    ROW("swish", prepare_act),
    ROW("mish", prepare_act),
    ROW("gelu", prepare_act),
    ROW("gelu_tanh", prepare_act),
    { 0 },
};
