/* Tiles: a few rows by two vectors of a matrix product, whose sums stay in registers over a stretch of the inner dimension.
 * They are compiled for three widths of vectors and chosen when the processor is known. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TILE_WIDTH_MAX 32
#define TILE_ROWS_MAX  12

/* rows x width of c = alpha * a x b (+ c where add). */
struct tile {
    int64_t k, lda, ldb, ldc;
    const float *a, *b;
    float *c;
    float alpha;
    bool add;
    /* Rows of b, ldb apart, that are fetched into the second-level cache meanwhile, for a tile to come. */
    const float *next;
    int64_t next_rows; /* 0: none; at most k */
};

struct tiles {
    int width, rows; /* of a tile, at most */
    void (*run)(const struct tile *t, int rows);
    /* The same where a is packed: [k, rows], `rows` as above whatever the tile has. lda is not looked at. */
    void (*run_packed)(const struct tile *t, int rows);
};

const struct tiles *cpu_tiles(void);

/* The same of bfloat16: pairs of numbers that follow each other along the inner dimension lie in 32 bits. */
struct narrow_tile {
    int64_t pairs, lda, ldb, ldc; /* lda, ldb: in pairs */
    const uint32_t *a, *b;
    float *c;
    float alpha;
};

#define NARROW_TILE_WIDTH 32
#define NARROW_TILE_ROWS  12

/* NULL: this processor has no instructions for it. */
typedef void (*narrow_tile_fn)(const struct narrow_tile *t, int rows);
narrow_tile_fn cpu_narrow_tile(void);
