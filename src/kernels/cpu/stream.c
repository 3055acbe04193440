#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"

#include <string.h>

#define PAGE_FLOATS 1024
#define ROWS \
    132 /* of a, packed at a time: with two panels of b they stay in the second-level cache */
#define DEPTH     768
#define GROUP     128 /* columns that are finished while they are near */
#define MOST_ROWS 512 /* from here on b's copies pay for themselves */

const char *cpu_stream_refuse(const struct gemm *g)
{
    int64_t row = g->ldb > 0 ? g->ldb : g->n;
    if (g->trans_b || row % PAGE_FLOATS != 0)
        return "its rows lie as the caches like them";
    if (g->n % GROUP != 0 || g->k < 64)
        return "an odd size";
    return g->m < 2 * TILE_ROWS_MAX || g->m > MOST_ROWS ? "too few rows, or too many" : NULL;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

size_t cpu_stream_bytes(const struct gemm *g)
{
    int64_t rows = (least(g->m, ROWS) + TILE_ROWS_MAX - 1) / TILE_ROWS_MAX * TILE_ROWS_MAX;
    return (size_t)(rows * least(g->k, DEPTH)) * sizeof(float);
}

/* m rows of a as blocks of `rows`, each [depth, rows]. */
CLONES static void pack_rows(const float *a, int64_t lda, int64_t m, int64_t depth, int rows,
                             float *to)
{
    for (int64_t i = 0; i < m; i += rows, to += depth * rows)
        for (int64_t r = 0; r < least(rows, m - i); r++)
            for (int64_t k = 0; k < depth; k++)
                to[k * rows + r] = a[(i + r) * lda + k];
}

/* A block of rows of a, packed, over a stretch of the inner dimension. */
struct block {
    const struct tiles *tiles;
    struct tile tile; /* of the first rows and columns */
    int64_t m, n;
};

/* All rows past one panel of b, whose neighbour is fetched bit by bit. */
static void run_panel(const struct block *b, int64_t j)
{
    int rows = b->tiles->rows;
    int64_t blocks = (b->m + rows - 1) / rows, each = (b->tile.k + blocks - 1) / blocks;
    for (int64_t i = 0; i < blocks; i++) {
        struct tile t = b->tile;
        int64_t fetched = least(i * each, t.k);
        t.a += i * rows * t.k;
        t.b += j;
        t.c += i * rows * t.ldc + j;
        if (j + b->tiles->width < b->n) {
            t.next = t.b + fetched * t.ldb + b->tiles->width;
            t.next_rows = least(each, t.k - fetched);
        }
        b->tiles->run_packed(&t, (int)least(rows, b->m - i * rows));
    }
}

void cpu_stream(const struct gemm *g, const float *a, const float *b, const float *bias,
                const float *residual, float *out, float *room)
{
    const struct tiles *tiles = cpu_tiles();
    int64_t ldb = g->ldb > 0 ? g->ldb : g->n, ldc = g->ldc > 0 ? g->ldc : g->n;
    for (int64_t i = 0; i < g->m; i += ROWS, out += ROWS * ldc) {
        struct gemm part = *g; /* what is finished at a time */
        part.m = least(g->m - i, ROWS);
        for (int64_t k = 0; k < g->k; k += DEPTH) {
            int64_t depth = least(g->k - k, DEPTH);
            struct block block = { tiles,
                                   { .k = depth,
                                     .ldb = ldb,
                                     .ldc = ldc,
                                     .a = room,
                                     .b = b + k * ldb,
                                     .c = out,
                                     .alpha = g->alpha,
                                     .add = k > 0 },
                                   part.m,
                                   g->n };
            pack_rows(a + i * g->lda + k, g->lda, part.m, depth, tiles->rows, room);
            for (int64_t j = 0; j < g->n; j += tiles->width) {
                run_panel(&block, j);
                if (k + depth == g->k && (j + tiles->width) % GROUP == 0)
                    cpu_gemm_finish(&part, bias, residual, j + tiles->width - GROUP, GROUP, out);
            }
        }
        if (residual != NULL)
            residual += ROWS * ldc;
    }
}
