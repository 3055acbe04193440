#include "kernels/cpu/tiles.h"

#include <stddef.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Only loops without an end that running tells keep the sums in registers. */
#define UNROLLED _Pragma("GCC unroll 12")

/* The tile for `bytes` of vector, with a's element r, k at A. rows is a constant to every caller. */
#define TILE(name, vec, bytes, rows_max, A)                                                \
    static inline __attribute__((always_inline)) void name(const struct tile *t, int rows) \
    {                                                                                      \
        const int lanes = (bytes) / 4;                                                     \
        const float *a = t->a, *b = t->b, *next = t->next;                                 \
        const int64_t lda = t->lda, ldb = t->ldb, fetched = t->next_rows;                  \
        float *c = t->c;                                                                   \
        vec sum[rows_max][2];                                                              \
        UNROLLED for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = (vec){ 0 };        \
        for (int64_t k = 0; k < t->k; k++, b += ldb) {                                     \
            vec left = *(const vec *)b, right = *(const vec *)(b + lanes);                 \
            UNROLLED for (int r = 0; r < rows; r++)                                        \
            {                                                                              \
                sum[r][0] += A * left;                                                     \
                sum[r][1] += A * right;                                                    \
            }                                                                              \
            if (k < fetched) {                                                             \
                __builtin_prefetch(next, 0, 2);                                            \
                __builtin_prefetch(next + lanes, 0, 2);                                    \
                next += ldb;                                                               \
            }                                                                              \
        }                                                                                  \
        UNROLLED for (int r = 0; r < rows; r++, c += t->ldc)                               \
        {                                                                                  \
            vec left = sum[r][0] * t->alpha, right = sum[r][1] * t->alpha;                 \
            if (t->add) {                                                                  \
                left += *(const vec *)c;                                                   \
                right += *(const vec *)(c + lanes);                                        \
            }                                                                              \
            *(vec *)c = left;                                                              \
            *(vec *)(c + lanes) = right;                                                   \
        }                                                                                  \
        (void)lda; /* a packed one does without */                                         \
    }

/* A function for each number of rows, since only a constant one keeps the sums in registers. */
#define ROWS_6(name)           \
    case 1: name(t, 1); break; \
    case 2: name(t, 2); break; \
    case 3: name(t, 3); break; \
    case 4: name(t, 4); break; \
    case 5: name(t, 5); break; \
    case 6:                    \
        name(t, 6);            \
        break;
#define ROWS_12(name)            \
    ROWS_6(name)                 \
    case 7: name(t, 7); break;   \
    case 8: name(t, 8); break;   \
    case 9: name(t, 9); break;   \
    case 10: name(t, 10); break; \
    case 11: name(t, 11); break; \
    case 12: name(t, 12); break;

/* name: a tile; RUN: the rows it may have. */
#define RUN(name, ROWS, target)                                    \
    target static void name##_rows(const struct tile *t, int rows) \
    {                                                              \
        switch (rows) {                                            \
            ROWS(name)                                             \
        }                                                          \
    }

#define FAR_APART      a[r * lda + k]
#define TOGETHER(rows) a[k * (rows) + r]
#define ANY_TARGET

typedef float vec_16 __attribute__((vector_size(16), aligned(4), may_alias));
TILE(tile_16, vec_16, 16, 6, FAR_APART)
TILE(packed_16, vec_16, 16, 6, TOGETHER(6))
RUN(tile_16, ROWS_6, ANY_TARGET)
RUN(packed_16, ROWS_6, ANY_TARGET)

#if defined(__x86_64__)
#define AVX2   __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f")))
typedef float vec_32 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float vec_64 __attribute__((vector_size(64), aligned(4), may_alias));
TILE(tile_32, vec_32, 32, 6, FAR_APART)
TILE(packed_32, vec_32, 32, 6, TOGETHER(6))
TILE(tile_64, vec_64, 64, 12, FAR_APART)
TILE(packed_64, vec_64, 64, 12, TOGETHER(12))
RUN(tile_32, ROWS_6, AVX2)
RUN(packed_32, ROWS_6, AVX2)
RUN(tile_64, ROWS_12, AVX512)
RUN(packed_64, ROWS_12, AVX512)
#endif

const struct tiles *cpu_tiles(void)
{
    static const struct tiles any = { 8, 6, tile_16_rows, packed_16_rows };
#if defined(__x86_64__)
    static const struct tiles avx512 = { 32, 12, tile_64_rows, packed_64_rows };
    static const struct tiles avx2 = { 16, 6, tile_32_rows, packed_32_rows };
    if (__builtin_cpu_supports("avx512f"))
        return &avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &avx2;
#endif
    return &any;
}

/* ---- bfloat16 ---- */

#if defined(__x86_64__)
#define AVX512_BF16 __attribute__((target("avx512f,avx512bf16")))

AVX512_BF16 static inline __attribute__((always_inline)) void
narrow_tile(const struct narrow_tile *t, int rows)
{
    const uint32_t *a = t->a, *b = t->b;
    float *c = t->c;
    __m512 sum[NARROW_TILE_ROWS][2];
    UNROLLED for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
    for (int64_t k = 0; k < t->pairs; k++, b += t->ldb) {
        __m512bh left = (__m512bh)_mm512_loadu_si512(b);
        __m512bh right = (__m512bh)_mm512_loadu_si512(b + 16);
        UNROLLED for (int r = 0; r < rows; r++)
        {
            __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[r * t->lda + k]);
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], x, left);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], x, right);
        }
    }
    UNROLLED for (int r = 0; r < rows; r++, c += t->ldc)
    {
        _mm512_storeu_ps(c, sum[r][0] * t->alpha);
        _mm512_storeu_ps(c + 16, sum[r][1] * t->alpha);
    }
}

AVX512_BF16 static void narrow_rows(const struct narrow_tile *t, int rows)
{
    switch (rows) {
        ROWS_12(narrow_tile)
    }
}
#endif

narrow_tile_fn cpu_narrow_tile(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16"))
        return narrow_rows;
#endif
    return NULL;
}
