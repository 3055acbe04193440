/* What our own fast kernels share. They are plain loops that the compiler turns into vector instructions, compiled several
 * times over by CLONES; the loader takes the version that the processor can run. */
#pragma once

#include "graph/attrs.h"
#include "kernels/kernel.h"

#if defined(__has_feature)
#define CPU_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CPU_SANITIZED 1
#else
#define CPU_SANITIZED 0
#endif

/* The loader chooses before a sanitizer has set itself up, so there one version has to do. */
#if defined(__x86_64__) && !CPU_SANITIZED
#define CLONES __attribute__((target_clones("avx512f", "fma", "default")))
#else
#define CLONES
#endif

#define F32_ONLY DTYPE_BIT(DTYPE_F32)

/* out = act(alpha * a x b + bias) + residual: a [m, k] with rows lda elements apart, b [k, n], or [n, k] when trans_b, bias
 * [n] or NULL, out and residual (or NULL) [m, n]. ldb and ldc: how far rows of b and of out are apart; 0: they follow each
 * other. out overlaps none of them. Uses 128 KB of stack. */
struct gemm {
    int64_t m, n, k, lda;
    bool trans_b;
    float alpha;
    struct act_fn act;
    int64_t ldb, ldc;
};
void cpu_gemm(const struct gemm *g, const float *a, const float *b, const float *bias, float *out);
void cpu_gemm_add(const struct gemm *g, const float *a, const float *b, const float *bias,
                  const float *residual, float *out);

/* What follows the product itself, over columns j .. j + n of it; bias and residual may be NULL. */
void cpu_gemm_finish(const struct gemm *g, const float *bias, const float *residual, int64_t j,
                     int64_t n, float *c);

/* The activation over n elements in place. */
void cpu_act(struct act_fn f, float *x, int64_t n);

/* y = exp(x - greatest of x) over n elements (1 or more), which it gives the sum of; y may be x. */
float cpu_exp_row(const float *x, float *y, int64_t n);
void cpu_scale_row(float *y, int64_t n, float by);

/* bfloat16 numbers of floats, rounded to the nearest, to the even one of two. */
void cpu_narrow(const float *x, uint16_t *y, int64_t n);
