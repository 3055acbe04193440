#include "kernels/dnnl/filter.h"

#include "kernels/cpu/cpu.h"
#include "tensor/tensor.h"

#include <string.h>

#define LANES 16  /* output channels that lie together */
#define CHUNK 144 /* columns that are turned at a time: 16 channels of 3 x 3 */

/* ---- turning ---- */

/* `count` columns from `column` on of 16 rows (output channels from `first` on), as columns of 16. */
CLONES static void turn(const struct filter *f, int64_t first, int64_t column, int64_t count,
                        float to[CHUNK][LANES])
{
    int64_t row = f->i * f->taps, rows = f->o - first < LANES ? f->o - first : LANES;
    for (int64_t o = 0; o < rows; o++) {
        const char *from = (const char *)f->from + ((first + o) * row + column) * 4;
        float by = f->scale != NULL ? f->scale[first + o] : 1;
        for (int64_t c = 0; c < count; c++)
            to[c][o] = float_at(from, c) * by;
    }
    for (int64_t o = rows; o < LANES; o++)
        for (int64_t c = 0; c < count; c++)
            to[c][o] = 0;
}

/* Columns [column, column + count) to their places in one block of 16 output channels. */
static void place_columns(const struct filter *f, int64_t column, int64_t count,
                          float from[CHUNK][LANES], float *block)
{
    for (int64_t c = 0; c < count; c++) {
        int64_t i = (column + c) / f->taps, tap = (column + c) % f->taps;
        int64_t at = (i / LANES * f->taps + tap) * LANES + i % LANES;
        memcpy(block + at * LANES, from[c], sizeof(from[c]));
    }
}

void filter_blocks(const struct filter *f, float *to)
{
    float turned[CHUNK][LANES];
    int64_t columns = f->i * f->taps, blocks = (f->i + LANES - 1) / LANES;
    int64_t size = blocks * f->taps * LANES * LANES;
    for (int64_t o = 0; o < f->o; o += LANES, to += size) {
        if (f->i % LANES != 0)
            memset(to + (blocks - 1) * f->taps * LANES * LANES, 0,
                   (size_t)f->taps * LANES * LANES * sizeof(float));
        for (int64_t c = 0; c < columns; c += CHUNK) {
            int64_t count = columns - c < CHUNK ? columns - c : CHUNK;
            turn(f, o, c, count, turned);
            place_columns(f, c, count, turned, to);
        }
    }
}

/* ---- Winograd ---- */

#define TAPS      9
#define ALPHA_MAX 6

static const float small_tiles[ALPHA_MAX][3] = {
    { 1, 0, 0 }, { 0.5f, 0.5f, 0.5f }, { 0.5f, -0.5f, 0.5f }, { 0, 0, 1 }
};

#define NEAR (-0.68840336f) /* 1 / (2 p^2 (p^2 - q^2)), p = 5/8, q = 3/2 */
#define FAR  (0.11951447f)  /* 1 / (2 q^2 (q^2 - p^2)) */
static const float large_tiles[ALPHA_MAX][3] = {
    { 256.0f / 225, 0, 0 },
    { NEAR, NEAR * 0.625f, NEAR * 0.390625f },
    { NEAR, NEAR * -0.625f, NEAR * 0.390625f },
    { FAR, FAR * 1.5f, FAR * 2.25f },
    { FAR, FAR * -1.5f, FAR * 2.25f },
    { 0, 0, 1 },
};

/* 3 x 3 of 16 channels to alpha x alpha of them, row after row. */
CLONES static void transform(const float g[ALPHA_MAX][3], int alpha, float from[TAPS][LANES],
                             float to[ALPHA_MAX * ALPHA_MAX][LANES])
{
    float half[ALPHA_MAX * 3][LANES];
    for (int a = 0; a < alpha; a++)
        for (int k = 0; k < 3; k++)
            for (int l = 0; l < LANES; l++)
                half[a * 3 + k][l] =
                    g[a][0] * from[k][l] + g[a][1] * from[3 + k][l] + g[a][2] * from[6 + k][l];
    for (int a = 0; a < alpha; a++)
        for (int b = 0; b < alpha; b++)
            for (int l = 0; l < LANES; l++)
                to[a * alpha + b][l] = g[b][0] * half[a * 3][l] + g[b][1] * half[a * 3 + 1][l] +
                                       g[b][2] * half[a * 3 + 2][l];
}

/* Where the first place of a block's input channel lies, and how far its places are apart. */
struct spot {
    int64_t at, step;
};

static struct spot find_spot(const struct winograd *w, int64_t block, int64_t i)
{
    int64_t outer = block / w->group_o, inner = block % w->group_o, blocks = w->o / LANES;
    if (w->order == WINOGRAD_PLAIN)
        return (struct spot){ (block * w->i + i) * LANES, blocks * w->i * LANES };
    if (w->order == WINOGRAD_GROUPED)
        return (struct spot){ ((outer * w->i + i) * w->group_o + inner) * LANES,
                              blocks * w->i * LANES };
    int64_t step = w->group_o * w->i * LANES, each = w->group_i * LANES;
    int64_t at = outer * w->alpha * w->alpha * step +
                 ((i / each * w->group_o + inner) * each + i % each) * LANES;
    return (struct spot){ at, step };
}

static void put(const struct winograd *w, int64_t block, int64_t i,
                float from[ALPHA_MAX * ALPHA_MAX][LANES], float *to)
{
    struct spot s = find_spot(w, block, i);
    for (int k = 0; k < w->alpha * w->alpha; k++)
        memcpy(to + s.at + k * s.step, from[k], sizeof(from[k]));
}

static void transform_block(const struct filter *f, const struct winograd *w, int64_t block,
                            float *to)
{
    float turned[CHUNK][LANES], made[ALPHA_MAX * ALPHA_MAX][LANES];
    for (int64_t i = 0; i < f->i; i += CHUNK / TAPS) {
        int64_t count = f->i - i < CHUNK / TAPS ? f->i - i : CHUNK / TAPS;
        turn(f, block * LANES, i * TAPS, count * TAPS, turned);
        for (int64_t k = 0; k < count; k++) {
            transform(w->alpha == 4 ? small_tiles : large_tiles, w->alpha, turned + k * TAPS, made);
            put(w, block, i + k, made, to);
        }
    }
    memset(made, 0, sizeof(made));
    for (int64_t i = f->i; i < w->i; i++)
        put(w, block, i, made, to);
}

void filter_winograd(const struct filter *f, const struct winograd *w, float *to)
{
    float zeros[ALPHA_MAX * ALPHA_MAX][LANES] = { { 0 } };
    int64_t blocks = (f->o + LANES - 1) / LANES;
    for (int64_t b = 0; b < blocks; b++)
        transform_block(f, w, b, to);
    for (int64_t b = blocks; b < w->o / LANES; b++)
        for (int64_t i = 0; i < w->i; i++)
            put(w, b, i, zeros, to);
}
