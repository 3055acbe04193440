/* Activations, in place over a row, and the unary operators of the same names. */
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
    X(MISH,         vmath_mish(x))                                           \
    X(GELU,         vmath_gelu(x))                                           \
    X(GELU_TANH,    vmath_gelu_tanh(x))
// clang-format on

#define X(name, value)                                                                   \
    CLONES static void map_##name(struct act_fn f, const float *in, float *out, int64_t n) \
    {                                                                                    \
        for (int64_t i = 0; i < n; i++) {                                                \
            float x = in[i];                                                             \
            out[i] = value;                                                              \
        }                                                                                \
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
