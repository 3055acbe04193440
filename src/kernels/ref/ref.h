/* What the plain kernels share. They are the truth that fast kernels are compared with: written to be read, sums in
 * double. */
#pragma once

#include "graph/attrs.h"
#include "kernels/kernel.h"

#include <math.h>

#define F32_ONLY DTYPE_BIT(DTYPE_F32)

static inline double ref_clip(double x, double low, double high)
{
    return x < low ? low : (x > high ? high : x); /* NaN stays */
}

static inline double ref_act_fn(struct act_fn f, double x)
{
    switch (f.kind) {
    case ACT_RELU: return x > 0 || isnan(x) ? x : 0;
    case ACT_TANH: return tanh(x);
    case ACT_SIGMOID: return 1 / (1 + exp(-x));
    case ACT_CLIP: return ref_clip(x, f.alpha, f.beta);
    case ACT_LEAKY_RELU: return x > 0 ? x : f.alpha * x;
    case ACT_ELU: return x > 0 ? x : f.alpha * expm1(x);
    case ACT_HARD_SIGMOID: return ref_clip(f.alpha * x + f.beta, 0, 1);
    case ACT_HARD_SWISH: return x * ref_clip(x + f.gamma, 0, f.alpha) / f.beta;
    case ACT_SWISH: return x / (1 + exp(-f.alpha * x));
    case ACT_MISH: return x * tanh(f.alpha > 0 && x > f.alpha ? x : log1p(exp(x)));
    case ACT_GELU: return x / 2 * (1 + erf(x * 0.70710678118654752));
    case ACT_GELU_TANH: return x / 2 * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    default: return x;
    }
}

/* For the activations without numbers. */
static inline double ref_act(int32_t kind, double x)
{
    return ref_act_fn((struct act_fn){ .kind = kind }, x);
}

/* Element i of an array of float, int8 or uint8. */
static inline float ref_element(dtype d, const void *x, int64_t i)
{
    return d == DTYPE_F32  ? ((const float *)x)[i]
           : d == DTYPE_I8 ? ((const int8_t *)x)[i]
                           : ((const uint8_t *)x)[i];
}

/* INVALID unless the offsets rise from 0 to rows: they may come from another branch of a model than the rows do. */
status ref_check_offsets(const int64_t *offset, int64_t sequences, int64_t rows, struct err *e);
