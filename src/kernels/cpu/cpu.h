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

/* b of a product in panels, as wide as the processor's tiles, which many products with it then read. g says k, n, ldb and
 * trans_b. What is missing in the last panel are zeros: the product may have as many columns as the panels. */
size_t cpu_panels_bytes(int64_t k, int64_t n);
int64_t cpu_panel_columns(int64_t n);
void cpu_panels(const struct gemm *g, const float *b, float *panels);
/* alpha * a x b alone. */
void cpu_gemm_panels(const struct gemm *g, const float *a, const float *panels, float *c);

/* Products of rows with a matrix that comes out of memory and whose own rows lie a multiple of a page apart: such a stretch
 * of it, copied, pushes itself out of the caches (oneDNN: 98 GFLOP/s of 116), so it is read where it lies, once for many rows
 * of a, while its next columns are fetched. NULL: this is such a product; else why not. room: cpu_stream_bytes(g), 64-aligned. */
const char *cpu_stream_refuse(const struct gemm *g);
size_t cpu_stream_bytes(const struct gemm *g);
void cpu_stream(const struct gemm *g, const float *a, const float *b, const float *bias,
                const float *residual, float *out, float *room);

/* What follows the product itself, over columns j .. j + n of it; bias and residual may be NULL. */
void cpu_gemm_finish(const struct gemm *g, const float *bias, const float *residual, int64_t j,
                     int64_t n, float *c);

/* The activation over n elements in place. */
void cpu_act(struct act_fn f, float *x, int64_t n);

/* y = exp(x - greatest of x) over n elements (1 or more), which it gives the sum of; y may be x. */
float cpu_exp_row(const float *x, float *y, int64_t n);
float cpu_exp_row_roughly(const float *x, float *y, int64_t n); /* to 1e-4 of each */
void cpu_scale_row(float *y, int64_t n, float by);

/* bfloat16 numbers of floats, rounded to the nearest, to the even one of two. */
void cpu_narrow(const float *x, uint16_t *y, int64_t n);
