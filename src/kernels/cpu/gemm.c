/* Matrix products of tiles (tiles.h). The stretch of b under them is copied into a panel that stays in the second-level
 * cache while all rows of a pass over it. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"

#include <string.h>

#define DEPTH       256 /* of a panel: 32 KB with the widest vectors */
#define GROUP       128 /* columns that are finished while they are near */
#define FEW_COLUMNS 8

/* ---- panels ---- */

static int64_t row_of_b(const struct gemm *g)
{
    return g->ldb > 0 ? g->ldb : (g->trans_b ? g->k : g->n);
}

static int64_t row_of_c(const struct gemm *g)
{
    return g->ldc > 0 ? g->ldc : g->n;
}

/* depth x columns of b as panels of `width` columns, one behind the other; what is missing in the last one are zeros. A row
 * of b is read at one go: rows lie far apart, and each costs a look-up of its page. */
CLONES static void pack_turned(const float *b, int64_t step, int64_t depth, int64_t columns,
                               int width, float *panel)
{
    for (int64_t j = 0; j < (columns + width - 1) / width * width; j++) {
        float *to = panel + j / width * width * depth + j % width;
        for (int64_t k = 0; k < depth; k++)
            to[k * width] = j < columns ? b[j * step + k] : 0;
    }
}

CLONES static void pack_plain(const float *b, int64_t step, int64_t depth, int64_t columns,
                              int width, float *panel)
{
    for (int64_t k = 0; k < depth; k++, b += step)
        for (int64_t j = 0; j < columns; j += width) {
            float *to = panel + j * depth + k * width;
            int64_t n = columns - j < width ? columns - j : width;
            for (int64_t i = 0; i < n; i++)
                to[i] = b[j + i];
            for (int64_t i = n; i < width; i++)
                to[i] = 0;
        }
}

static void pack(const struct gemm *g, const float *b, int64_t k, int64_t j, int64_t depth,
                 int64_t columns, int width, float *panel)
{
    int64_t step = row_of_b(g);
    if (g->trans_b)
        pack_turned(b + j * step + k, step, depth, columns, width, panel);
    else
        pack_plain(b + k * step + j, step, depth, columns, width, panel);
}

/* All rows of a past one panel. */
struct stretch {
    const struct tiles *tiles;
    struct tile tile; /* of the first rows */
    int64_t m;
    int columns; /* that are there; fewer than the tile is wide at the right edge */
};

static void copy_edge(const struct stretch *s, const struct tile *t, int rows, const float *edge)
{
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < s->columns; j++) {
            float *c = &t->c[r * t->ldc + j];
            *c = edge[r * s->tiles->width + j] + (t->add ? *c : 0);
        }
}

static void run_stretch(const struct stretch *s)
{
    float edge[TILE_ROWS_MAX * TILE_WIDTH_MAX];
    for (int64_t i = 0; i < s->m; i += s->tiles->rows) {
        int rows = s->m - i < s->tiles->rows ? (int)(s->m - i) : s->tiles->rows;
        struct tile t = s->tile;
        t.a += i * t.lda;
        t.c += i * t.ldc;
        if (s->columns == s->tiles->width) {
            s->tiles->run(&t, rows);
            continue;
        }
        struct tile aside = t;
        aside.c = edge;
        aside.ldc = s->tiles->width;
        aside.add = false;
        s->tiles->run(&aside, rows);
        copy_edge(s, &t, rows, edge);
    }
}

/* Columns j .. j + n of the product, over the whole inner dimension. */
static void run_group(const struct gemm *g, const struct tiles *tiles, const float *a,
                      const float *b, int64_t j, int64_t n, float *c)
{
    float panel[DEPTH * GROUP] __attribute__((aligned(64)));
    /* What is read once is not copied. */
    bool direct = g->m <= tiles->rows && n % tiles->width == 0 && !g->trans_b;
    for (int64_t k = 0; k < g->k; k += DEPTH) {
        int64_t depth = g->k - k < DEPTH ? g->k - k : DEPTH;
        if (!direct)
            pack(g, b, k, j, depth, n, tiles->width, panel);
        for (int64_t at = 0; at < n; at += tiles->width) {
            int columns = n - at < tiles->width ? (int)(n - at) : tiles->width;
            struct stretch s = { tiles,
                                 { .k = depth,
                                   .lda = g->lda,
                                   .ldb = tiles->width,
                                   .ldc = row_of_c(g),
                                   .a = a + k,
                                   .b = panel + at * depth,
                                   .c = c + j + at,
                                   .alpha = g->alpha,
                                   .add = k > 0 },
                                 g->m,
                                 columns };
            if (direct) {
                s.tile.b = b + k * row_of_b(g) + j + at;
                s.tile.ldb = row_of_b(g);
            }
            run_stretch(&s);
        }
    }
}

/* ---- packed beforehand ---- */

size_t cpu_panels_bytes(int64_t k, int64_t n)
{
    return (size_t)((n + TILE_WIDTH_MAX - 1) / TILE_WIDTH_MAX * TILE_WIDTH_MAX * k) * sizeof(float);
}

int64_t cpu_panel_columns(int64_t n)
{
    int64_t width = cpu_tiles()->width;
    return (n + width - 1) / width * width;
}

void cpu_panels(const struct gemm *g, const float *b, float *panels)
{
    pack(g, b, 0, 0, g->k, g->n, cpu_tiles()->width, panels);
}

void cpu_gemm_panels(const struct gemm *g, const float *a, const float *panels, float *c)
{
    const struct tiles *tiles = cpu_tiles();
    for (int64_t j = 0; j < g->n; j += tiles->width) {
        int columns = g->n - j < tiles->width ? (int)(g->n - j) : tiles->width;
        struct stretch s = { tiles,
                             { .k = g->k,
                               .lda = g->lda,
                               .ldb = tiles->width,
                               .ldc = row_of_c(g),
                               .a = a,
                               .b = panels + j * g->k,
                               .c = c + j,
                               .alpha = g->alpha },
                             g->m,
                             columns };
        run_stretch(&s);
    }
}

/* ---- small ones ---- */

CLONES static float dot(const float *a, const float *b, int64_t k)
{
    float lane[16] = { 0 }, sum = 0;
    int64_t i = 0;
    for (; i + 16 <= k; i += 16)
        for (int j = 0; j < 16; j++)
            lane[j] += a[i + j] * b[i + j];
    for (; i < k; i++)
        sum += a[i] * b[i];
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return sum + lane[0];
}

#define SHORT_K    16
#define SHORT_ROWS 8

/* Rows shorter than a vector: several at once, since one alone is a chain of additions that wait for each other. */
CLONES static void short_dots(const float *a, int64_t lda, const float *b, int64_t k, float *sum)
{
    typedef float eight __attribute__((vector_size(SHORT_ROWS * sizeof(float))));
    eight s = { 0 };
    for (int64_t i = 0; i < k; i++, a++) {
        eight column = { a[0],       a[lda],     a[2 * lda], a[3 * lda],
                         a[4 * lda], a[5 * lda], a[6 * lda], a[7 * lda] };
        s += column * b[i];
    }
    memcpy(sum, &s, sizeof(s));
}

/* How many rows were done. */
static int64_t run_short(const struct gemm *g, const float *a, const float *b, int64_t step,
                         float *c)
{
    int64_t i = 0;
    for (; g->k < SHORT_K && i + SHORT_ROWS <= g->m; i += SHORT_ROWS)
        for (int64_t j = 0; j < g->n; j++) {
            float sum[SHORT_ROWS];
            short_dots(a + i * g->lda, g->lda, b + j * step, g->k, sum);
            for (int r = 0; r < SHORT_ROWS; r++)
                c[(i + r) * row_of_c(g) + j] = g->alpha * sum[r];
        }
    return i;
}

/* Rows of a with columns of b that lie one after another: b is turned, or has one column. */
static void run_dots(const struct gemm *g, const float *a, const float *b, float *c)
{
    int64_t step = g->trans_b ? row_of_b(g) : g->k;
    for (int64_t i = run_short(g, a, b, step, c); i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++)
            c[i * row_of_c(g) + j] = g->alpha * dot(a + i * g->lda, b + j * step, g->k);
}

CLONES static void few_columns(const float *a, const float *b, int64_t step, int64_t k, int n,
                               float *sum)
{
    for (int64_t i = 0; i < k; i++, b += step)
        for (int j = 0; j < n; j++)
            sum[j] += a[i] * b[j];
}

#define TURN_DEPTH 512

/* Many rows pay for turning the few columns round. */
static void run_turned(const struct gemm *g, const float *a, const float *b, float *c)
{
    float turned[FEW_COLUMNS * TURN_DEPTH];
    for (int64_t k = 0; k < g->k; k++)
        for (int64_t j = 0; j < g->n; j++)
            turned[j * g->k + k] = b[k * row_of_b(g) + j];
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++)
            c[i * row_of_c(g) + j] = g->alpha * dot(a + i * g->lda, turned + j * g->k, g->k);
}

static void run_few(const struct gemm *g, const float *a, const float *b, float *c)
{
    if (g->m >= 8 && g->k >= 16 && g->k <= TURN_DEPTH) {
        run_turned(g, a, b, c);
        return;
    }
    for (int64_t i = 0; i < g->m; i++) {
        float sum[FEW_COLUMNS] = { 0 };
        few_columns(a + i * g->lda, b, row_of_b(g), g->k, (int)g->n, sum);
        for (int64_t j = 0; j < g->n; j++)
            c[i * row_of_c(g) + j] = g->alpha * sum[j];
    }
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

static void run_row(const struct gemm *g, const float *a, const float *b, float *c)
{
    int64_t step = row_of_b(g);
    for (int64_t j = 0; j < g->n; j += SUMS) {
        int64_t n = g->n - j < SUMS ? g->n - j : SUMS, k = 0;
        memset(c + j, 0, (size_t)n * sizeof(*c));
        for (; k + DEEP <= g->k; k += DEEP)
            add_rows(a + k, b + k * step + j, step, n, c + j);
        for (; k < g->k; k++)
            add_row(a[k], b + k * step + j, n, c + j);
        if (g->alpha != 1)
            cpu_scale_row(c + j, n, g->alpha);
    }
}

/* ---- all of it ---- */

CLONES static void add_same(float v, int64_t n, float *row)
{
    for (int64_t j = 0; j < n; j++)
        row[j] += v;
}

void cpu_gemm_finish(const struct gemm *g, const float *bias, const float *residual, int64_t j,
                     int64_t n, float *c)
{
    if (bias == NULL && residual == NULL && g->act.kind == ACT_NONE)
        return;
    if (n == 1 && row_of_c(g) == 1 && residual == NULL) { /* one column: all of it is one row */
        if (bias != NULL)
            add_same(bias[j], g->m, c);
        cpu_act(g->act, c, g->m);
        return;
    }
    for (int64_t i = 0; i < g->m; i++) {
        float *row = c + i * row_of_c(g) + j;
        if (bias != NULL)
            add_row(1, bias + j, n, row);
        cpu_act(g->act, row, n);
        if (residual != NULL)
            add_row(1, residual + i * row_of_c(g) + j, n, row);
    }
}

static void run_groups(const struct gemm *g, const float *a, const float *b, const float *bias,
                       const float *residual, float *c)
{
    const struct tiles *tiles = cpu_tiles();
    for (int64_t j = 0; j < g->n; j += GROUP) {
        int64_t n = g->n - j < GROUP ? g->n - j : GROUP;
        run_group(g, tiles, a, b, j, n, c);
        cpu_gemm_finish(g, bias, residual, j, n, c);
    }
}

void cpu_gemm_add(const struct gemm *g, const float *a, const float *b, const float *bias,
                  const float *residual, float *out)
{
    bool dots = g->trans_b ? g->m <= 2 : g->n == 1 && row_of_b(g) == 1;
    if (!dots && g->k > 0 && g->n > FEW_COLUMNS && (g->m > 1 || g->n < 64 || g->trans_b)) {
        run_groups(g, a, b, bias, residual, out);
        return;
    }
    if (dots)
        run_dots(g, a, b, out);
    else if (g->n > FEW_COLUMNS && g->m == 1)
        run_row(g, a, b, out);
    else if (g->n <= FEW_COLUMNS && !g->trans_b)
        run_few(g, a, b, out);
    else
        run_dots(g, a, b, out);
    cpu_gemm_finish(g, bias, residual, 0, g->n, out);
}

void cpu_gemm(const struct gemm *g, const float *a, const float *b, const float *bias, float *out)
{
    cpu_gemm_add(g, a, b, bias, NULL, out);
}
