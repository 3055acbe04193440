/* Small matrix products: tiles of a few rows by TILE columns stay in registers over the whole inner dimension. */
#include "kernels/cpu/cpu.h"

#include <string.h>

#define TILE 32
#define ROWS 4

/* A full tile: `rows` rows (at most ROWS) by TILE columns. */
#define TILE_SUMS(rows)                           \
    for (int64_t k = 0; k < g->k; k++, b += g->n) \
        for (int r = 0; r < (rows); r++)          \
            for (int j = 0; j < TILE; j++)        \
                sum[r][j] += a[r * g->lda + k] * b[j];

CLONES static void tile4(const struct gemm *g, const float *a, const float *b,
                         float sum[ROWS][TILE]){ TILE_SUMS(4) }

CLONES static void tile1(const struct gemm *g, const float *a, const float *b,
                         float sum[ROWS][TILE]){ TILE_SUMS(1) }

/* What is left at the right edge. */
CLONES static void narrow(const struct gemm *g, const float *a, const float *b, int rows, int width,
                          float sum[ROWS][TILE])
{
    for (int64_t k = 0; k < g->k; k++, b += g->n)
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < width; j++)
                sum[r][j] += a[r * g->lda + k] * b[j];
}

CLONES static float dot(const float *a, const float *b, int64_t k)
{
    float lane[16] = { 0 }, sum = 0;
    int64_t i = 0;
    for (; i + 16 <= k; i += 16)
        for (int j = 0; j < 16; j++)
            lane[j] += a[i + j] * b[i + j];
    for (; i < k; i++)
        sum += a[i] * b[i];
    for (int j = 0; j < 16; j++)
        sum += lane[j];
    return sum;
}

static void put_row(const struct gemm *g, const float *sum, const float *bias, int width,
                    float *out)
{
    for (int j = 0; j < width; j++)
        out[j] = g->alpha * sum[j] + (bias != NULL ? bias[j] : 0);
    cpu_act(g->act, out, width);
}

static void block(const struct gemm *g, const float *a, const float *b, const float *bias, int rows,
                  int width, float *out)
{
    float sum[ROWS][TILE] = { 0 };
    if (width < TILE) {
        narrow(g, a, b, rows, width, sum);
    } else if (rows == ROWS) {
        tile4(g, a, b, sum);
    } else {
        for (int r = 0; r < rows; r++)
            tile1(g, a + r * g->lda, b, sum + r);
    }
    for (int r = 0; r < rows; r++)
        put_row(g, sum[r], bias, width, out + r * g->n);
}

/* One row times a matrix: b is read once, from its first row to its last, SUMS columns wide. */
#define SUMS 1024
#define DEEP 8
CLONES static void add_rows(const float *a, const float *b, int64_t step, int64_t n, float *sum)
{
    for (int64_t j = 0; j < n; j++)
        sum[j] += a[0] * b[j] + a[1] * b[step + j] + a[2] * b[2 * step + j] +
                  a[3] * b[3 * step + j] + a[4] * b[4 * step + j] + a[5] * b[5 * step + j] +
                  a[6] * b[6 * step + j] + a[7] * b[7 * step + j];
}

CLONES static void add_row(float a, const float *b, int64_t n, float *sum)
{
    for (int64_t j = 0; j < n; j++)
        sum[j] += a * b[j];
}

static void gemv(const struct gemm *g, const float *a, const float *b, const float *bias,
                 float *out)
{
    float sum[SUMS];
    for (int64_t j = 0; j < g->n; j += SUMS) {
        int64_t n = g->n - j < SUMS ? g->n - j : SUMS, k = 0;
        memset(sum, 0, (size_t)n * sizeof(*sum));
        for (; k + DEEP <= g->k; k += DEEP)
            add_rows(a + k, b + k * g->n + j, g->n, n, sum);
        for (; k < g->k; k++)
            add_row(a[k], b + k * g->n + j, n, sum);
        put_row(g, sum, bias != NULL ? bias + j : NULL, (int)n, out + j);
    }
}

static void gemm_plain(const struct gemm *g, const float *a, const float *b, const float *bias,
                       float *out)
{
    if (g->m == 1 && g->n >= 2 * TILE) {
        gemv(g, a, b, bias, out);
        return;
    }
    for (int64_t j = 0; j < g->n; j += TILE) {
        int width = g->n - j < TILE ? (int)(g->n - j) : TILE;
        for (int64_t i = 0; i < g->m; i += ROWS) {
            int rows = g->m - i < ROWS ? (int)(g->m - i) : ROWS;
            block(g, a + i * g->lda, b + j, bias != NULL ? bias + j : NULL, rows, width,
                  out + i * g->n + j);
        }
    }
}

static void gemm_trans(const struct gemm *g, const float *a, const float *b, const float *bias,
                       float *out)
{
    for (int64_t i = 0; i < g->m; i++, out += g->n) {
        for (int64_t j = 0; j < g->n; j++)
            out[j] =
                g->alpha * dot(a + i * g->lda, b + j * g->k, g->k) + (bias != NULL ? bias[j] : 0);
        cpu_act(g->act, out, g->n);
    }
}

void cpu_gemm(const struct gemm *g, const float *a, const float *b, const float *bias, float *out)
{
    (g->trans_b ? gemm_trans : gemm_plain)(g, a, b, bias, out);
}
