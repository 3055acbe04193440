/* exp, tanh, erf and what is built on them, for one float at a time but written so that the compiler turns a loop over
 * them into vector instructions: no calls, no branches, no tables. Each is within 4 units in the last place of the true
 * value wherever that is a normal number (tests/kernels/act_test.c); infinities and NaN come out as libm's do. */
#pragma once

#include "graph/attrs.h"

#include <math.h>
#include <stdint.h>

static inline float vmath_from_bits(int32_t bits)
{
    union {
        int32_t i;
        float f;
    } u = { .i = bits };
    return u.f;
}

static inline int32_t vmath_bits(float x)
{
    union {
        float f;
        int32_t i;
    } u = { .f = x };
    return u.i;
}

/* x = n ln 2 + r with |r| <= ln 2 / 2; exp(r) by its Taylor series to the seventh power; 2^n in two factors, so that the
 * ends of the range are reached without overflow in between. */
static inline float vmath_exp(float x)
{
    const float round = 12582912;  /* 1.5 * 2^23: adding and taking it away rounds to an integer */
    float t = x > -104 ? x : -104; /* NaN too: no integer stands for it */
    t = t > 89 ? 89 : t;
    float n = t * 1.44269504f + round;
    int32_t k = (int32_t)(n - round);
    n -= round;
    float r = t - n * 0.693359375f;
    r += n * 2.12194440e-4f;
    float p = 1.9841270e-4f;
    p = p * r + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1;
    int32_t half = k >> 1;
    p = p * vmath_from_bits((half + 127) << 23) * vmath_from_bits((k - half + 127) << 23);
    return isnan(x) ? x : p;
}

/* The same to 1e-4 of itself, with 2^-120 for less: for what is rounded to bfloat16 behind. A cubic makes 2 to the power of the
 * rest; the whole part is added to its exponent as bits. */
static inline float vmath_exp_roughly(float x)
{
    const float round = 12582912;
    float z = x * 1.44269504f;
    z = z < -120 ? -120 : z; /* NaN stays */
    float n = z + round, f = z - (n - round);
    float p = 0.05517166f;
    p = p * f + 0.24261113f;
    p = p * f + 0.69326099f;
    p = p * f + 0.99992807f;
    uint32_t bits = (uint32_t)vmath_bits(p) + ((uint32_t)vmath_bits(n) << 23);
    return vmath_from_bits((int32_t)bits) + (z - z);
}

static inline float vmath_sigmoid(float x)
{
    return 1 / (1 + vmath_exp(-x));
}

/* Near 0, where 1 - 2 / (exp(2x) + 1) would cancel, an odd polynomial (Cephes, Moshier, tanhf). */
static inline float vmath_tanh(float x)
{
    float z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    float near = p * z * x + x;
    float far = 1 - 2 / (vmath_exp(2 * x) + 1);
    return fabsf(x) < 0.625f ? near : far;
}

/* An odd polynomial over an even one on [-4, 4], beyond which erf is 1 in float. */
static inline float vmath_erf(float x)
{
    float t = x < -4 ? -4 : x;
    t = t > 4 ? 4 : t;
    float z = t * t;
    float p = -2.72614225801306e-10f;
    p = p * z + 2.77068142495902e-08f;
    p = p * z - 2.10102402082508e-06f;
    p = p * z - 5.69250639462346e-05f;
    p = p * z - 7.34990630326855e-04f;
    p = p * z - 2.95459980854025e-03f;
    p = p * z - 1.60960333262415e-02f;
    float q = -1.45660718464996e-05f;
    q = q * z - 2.13374055278905e-04f;
    q = q * z - 1.68282697438203e-03f;
    q = q * z - 7.37332916720468e-03f;
    q = q * z - 1.42647390514189e-02f;
    return t * p / q;
}

static inline float vmath_clip(float x, float low, float high)
{
    float t = x < low ? low : x; /* NaN stays */
    return t > high ? high : t;
}

static inline float vmath_gelu(float x)
{
    return 0.5f * x * (1 + vmath_erf(x * 0.70710678f));
}

static inline float vmath_gelu_tanh(float x)
{
    return 0.5f * x * (1 + vmath_tanh(0.79788456f * (x + 0.044715f * x * x * x)));
}

/* x tanh(log(1 + e)) = x (e^2 + 2e) / (e^2 + 2e + 2); above 20 it is x. */
static inline float vmath_mish(float x)
{
    float e = vmath_exp(x > 20 ? 20 : x);
    float n = e * e + 2 * e;
    return x * (n / (n + 2));
}
