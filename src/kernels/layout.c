#include "kernels/layout.h"

#include "kernels/cpu/cpu.h"
#include "kernels/kernel.h"

#include <string.h>

int64_t layout_block(enum layout l)
{
    l = layout_wide(l);
    return l == LAYOUT_C16 ? 16 : (l == LAYOUT_C8 ? 8 : 1);
}

struct shape layout_shape(const struct shape *s, enum layout l)
{
    int64_t block = layout_block(l), blocks = 0;
    l = layout_wide(l);
    if (l == LAYOUT_PLAIN || s->rank != 4)
        return *s;
    if (l == LAYOUT_LAST)
        return SHAPE(s->dim[0], s->dim[2], s->dim[3], s->dim[1]);
    blocks = s->dim[1] / block + (s->dim[1] % block != 0);
    return SHAPE(s->dim[0], blocks, s->dim[2], s->dim[3], block);
}

int64_t layout_bytes(const struct shape *s, enum layout l, size_t size)
{
    struct shape p = layout_shape(s, l);
    int64_t n = shape_numel(&p), bytes;
    if (layout_is_narrow(l))
        size = sizeof(uint16_t);
    return n >= 0 && !__builtin_mul_overflow(n, (int64_t)size, &bytes) ? bytes : -1;
}

bool layout_same(const struct shape *s, enum layout a, enum layout b)
{
    if (a == b)
        return true;
    if (layout_is_narrow(a) != layout_is_narrow(b) || s->rank != 4 || s->dim[2] * s->dim[3] != 1)
        return false;
    return s->dim[1] % layout_block(a) == 0 && s->dim[1] % layout_block(b) == 0;
}

/* ---- reordering: n images of c channels by p places; one image at a time ---- */

/* A tile of BLOCK channels by BLOCK places at a time goes through a local array, so that both sides are touched in whole
 * lines. `count` of the channels are there; the others are written as zeros, or not at all. */
#define TILES(B)                                                                      \
    CLONES static void pack_##B(const float *x, int64_t count, int64_t p, float *y)   \
    {                                                                                 \
        int64_t i = 0;                                                                \
        for (; i + (B) <= p && count == (B); i += (B)) {                              \
            float tile[B][B];                                                         \
            for (int c = 0; c < (B); c++)                                             \
                for (int j = 0; j < (B); j++)                                         \
                    tile[j][c] = x[c * p + i + j];                                    \
            memcpy(y + i * (B), tile, sizeof(tile));                                  \
        }                                                                             \
        for (; i < p; i++)                                                            \
            for (int c = 0; c < (B); c++)                                             \
                y[i * (B) + c] = c < count ? x[c * p + i] : 0;                        \
    }                                                                                 \
    CLONES static void unpack_##B(const float *x, int64_t count, int64_t p, float *y) \
    {                                                                                 \
        int64_t i = 0;                                                                \
        for (; i + (B) <= p && count == (B); i += (B)) {                              \
            float tile[B][B];                                                         \
            memcpy(tile, x + i * (B), sizeof(tile));                                  \
            for (int c = 0; c < (B); c++)                                             \
                for (int j = 0; j < (B); j++)                                         \
                    y[c * p + i + j] = tile[j][c];                                    \
        }                                                                             \
        for (; i < p; i++)                                                            \
            for (int c = 0; c < count; c++)                                           \
                y[c * p + i] = x[i * (B) + c];                                        \
    }
TILES(8)
TILES(16)

/* A matrix [rows, columns] turned round, in tiles that touch whole lines on both sides. */
#define SIDE 16
CLONES static void turn(const float *x, int64_t rows, int64_t columns, float *y)
{
    for (int64_t r = 0; r < rows; r += SIDE)
        for (int64_t c = 0; c < columns; c += SIDE) {
            if (r + SIDE > rows || c + SIDE > columns) {
                for (int64_t i = r; i < rows && i < r + SIDE; i++)
                    for (int64_t j = c; j < columns && j < c + SIDE; j++)
                        y[j * rows + i] = x[i * columns + j];
                continue;
            }
            float tile[SIDE][SIDE];
            for (int i = 0; i < SIDE; i++)
                for (int j = 0; j < SIDE; j++)
                    tile[j][i] = x[(r + i) * columns + c + j];
            for (int j = 0; j < SIDE; j++)
                memcpy(y + (c + j) * rows + r, tile[j], sizeof(tile[j]));
        }
}

/* Few rows, as the three colours of a picture. */
CLONES static void weave(const float *x, int64_t rows, int64_t columns, float *y)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            y[c * rows + r] = x[r * columns + c];
}

static void turn_round(const float *x, int64_t rows, int64_t columns, float *y)
{
    (rows < 8 ? weave : turn)(x, rows, columns, y);
}

static void pack(enum layout to, const float *x, int64_t channels, int64_t places, float *y)
{
    int64_t block = layout_block(to);
    for (int64_t c = 0; c < channels; c += block, y += block * places) {
        int64_t count = channels - c < block ? channels - c : block;
        (block == 16 ? pack_16 : pack_8)(x + c * places, count, places, y);
    }
}

static void unpack(enum layout from, const float *x, int64_t channels, int64_t places, float *y)
{
    int64_t block = layout_block(from);
    for (int64_t c = 0; c < channels; c += block, x += block * places) {
        int64_t count = channels - c < block ? channels - c : block;
        (block == 16 ? unpack_16 : unpack_8)(x, count, places, y + c * places);
    }
}

/* Blocks of channels and channels last: a block of one place is copied at a time. */
static void block_up(enum layout to, const float *x, int64_t channels, int64_t places, float *y)
{
    int64_t block = layout_block(to);
    for (int64_t c = 0; c < channels; c += block)
        for (int64_t i = 0; i < places; i++, y += block) {
            int64_t count = channels - c < block ? channels - c : block;
            memcpy(y, x + i * channels + c, (size_t)count * sizeof(float));
            memset(y + count, 0, (size_t)(block - count) * sizeof(float));
        }
}

static void block_down(enum layout from, const float *x, int64_t channels, int64_t places, float *y)
{
    int64_t block = layout_block(from);
    for (int64_t c = 0; c < channels; c += block)
        for (int64_t i = 0; i < places; i++, x += block) {
            int64_t count = channels - c < block ? channels - c : block;
            memcpy(y + i * channels + c, x, (size_t)count * sizeof(float));
        }
}

/* Where element (c, i) of an image lies. */
static int64_t at(enum layout l, int64_t channels, int64_t places, int64_t c, int64_t i)
{
    l = layout_wide(l);
    int64_t block = l == LAYOUT_LAST ? channels : layout_block(l);
    return (c / block * places + i) * block + c % block;
}

/* Any two layouts, one element at a time: pairs that a plan hardly ever meets. */
static void move(const struct reorder *r, const float *x, int64_t channels, int64_t places,
                 float *y, int64_t out_size)
{
    memset(y, 0, (size_t)out_size * sizeof(float));
    for (int64_t i = 0; i < places; i++)
        for (int64_t c = 0; c < channels; c++)
            y[at(r->to, channels, places, c, i)] = x[at(r->from, channels, places, c, i)];
}

/* The same for smaller elements, which lie plain or with their channels last. */
#define MOVE_SMALL(type)                                                                \
    CLONES static void move_##type(const struct reorder *r, const type *x, type *y)     \
    {                                                                                   \
        int64_t channels = r->shape.dim[1], places = r->shape.dim[2] * r->shape.dim[3]; \
        int64_t image = channels * places;                                              \
        bool last = r->to == LAYOUT_LAST; /* rows of x become columns of y */           \
        int64_t rows = last ? channels : places, columns = last ? places : channels;    \
        for (int64_t n = 0; n < r->shape.dim[0]; n++, x += image, y += image)           \
            for (int64_t i = 0; i < columns; i += SIDE) /* a strip that stays near */   \
                for (int64_t k = 0; k < rows; k++)                                      \
                    for (int64_t j = i; j < columns && j < i + SIDE; j++)               \
                        y[j * rows + k] = x[k * columns + j];                           \
    }
MOVE_SMALL(uint8_t)
MOVE_SMALL(uint16_t)

static status run_small(const struct reorder *r, const struct kernel_io *io)
{
    if (r->from == r->to)
        memcpy(io->out[0], io->in[0], (size_t)layout_bytes(&r->shape, r->to, r->size));
    else if (r->size == sizeof(uint8_t))
        move_uint8_t(r, io->in[0], io->out[0]);
    else
        move_uint16_t(r, io->in[0], io->out[0]);
    return OK;
}

/* ---- to bfloat16 and back ---- */

CLONES static void widen(const uint16_t *x, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(&y[i], &bits, sizeof(bits));
    }
}

/* A strip of rows at a time goes through a local array of the other width. */
#define STRIP 1024

static void narrow_turned(const float *x, int64_t rows, int64_t columns, uint16_t *y)
{
    uint16_t strip[STRIP];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c += STRIP) {
            int64_t count = columns - c < STRIP ? columns - c : STRIP;
            cpu_narrow(x + r * columns + c, strip, count);
            for (int64_t k = 0; k < count; k++)
                y[(c + k) * rows + r] = strip[k];
        }
}

/* n elements that lie side by side on both sides. */
static void convert(const struct reorder *r, const void *x, int64_t from, void *y, int64_t to,
                    int64_t n)
{
    const uint16_t *half = (const uint16_t *)x + from;
    if (!layout_is_narrow(r->from))
        cpu_narrow((const float *)x + from, (uint16_t *)y + to, n);
    else if (!layout_is_narrow(r->to))
        widen(half, (float *)y + to, n);
    else
        memcpy((uint16_t *)y + to, half, (size_t)n * sizeof(*half));
}

/* Any two layouts, by the runs of channels that both have side by side. */
static void move_narrow(const struct reorder *r, const void *x, void *y)
{
    int64_t channels = r->shape.dim[1], places = r->shape.dim[2] * r->shape.dim[3];
    bool plain = layout_wide(r->from) == LAYOUT_PLAIN || layout_wide(r->to) == LAYOUT_PLAIN;
    int64_t most = plain ? 1 : 8;
    struct shape one = r->shape;
    one.dim[0] = 1;
    int64_t in_size = layout_bytes(&one, layout_wide(r->from), 1);
    int64_t out_size = layout_bytes(&one, layout_wide(r->to), 1);
    if (channels % layout_block(r->to) != 0)
        memset(y, 0, (size_t)layout_bytes(&r->shape, r->to, sizeof(float)));
    for (int64_t n = 0; n < r->shape.dim[0]; n++)
        for (int64_t c = 0; c < channels; c += most)
            for (int64_t i = 0; i < places; i++)
                convert(r, x, n * in_size + at(r->from, channels, places, c, i), y,
                        n * out_size + at(r->to, channels, places, c, i),
                        channels - c < most ? channels - c : most);
}

static status run_narrow(const struct reorder *r, const struct kernel_io *io)
{
    enum layout from = layout_wide(r->from), to = layout_wide(r->to);
    int64_t count = layout_bytes(&r->shape, from, 1);
    bool down = !layout_is_narrow(r->from);
    if (from == to && down)
        cpu_narrow(io->in[0], io->out[0], count);
    else if (from == to && !layout_is_narrow(r->to))
        widen(io->in[0], io->out[0], count);
    else if (down && from == LAYOUT_PLAIN && to == LAYOUT_LAST && r->shape.dim[0] == 1)
        narrow_turned(io->in[0], r->shape.dim[1], r->shape.dim[2] * r->shape.dim[3], io->out[0]);
    else
        move_narrow(r, io->in[0], io->out[0]);
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct reorder *r = state;
    if (r->size < sizeof(float))
        return run_small(r, io);
    if (layout_is_narrow(r->from) || layout_is_narrow(r->to))
        return run_narrow(r, io);
    const float *x = io->in[0];
    float *y = io->out[0];
    int64_t images = r->shape.dim[0], channels = r->shape.dim[1];
    int64_t places = r->shape.dim[2] * r->shape.dim[3];
    struct shape one = r->shape;
    one.dim[0] = 1;
    int64_t in_size = layout_bytes(&one, r->from, sizeof(float)) / (int64_t)sizeof(float);
    int64_t out_size = layout_bytes(&one, r->to, sizeof(float)) / (int64_t)sizeof(float);
    for (int64_t n = 0; n < images; n++, x += in_size, y += out_size) {
        if (r->from == r->to)
            memcpy(y, x, (size_t)in_size * sizeof(float));
        else if (r->from == LAYOUT_PLAIN && r->to == LAYOUT_LAST)
            turn_round(x, channels, places, y);
        else if (r->from == LAYOUT_LAST && r->to == LAYOUT_PLAIN)
            turn_round(x, places, channels, y);
        else if (r->from == LAYOUT_PLAIN)
            pack(r->to, x, channels, places, y);
        else if (r->to == LAYOUT_PLAIN)
            unpack(r->from, x, channels, places, y);
        else if (r->from == LAYOUT_LAST)
            block_up(r->to, x, channels, places, y);
        else if (r->to == LAYOUT_LAST)
            block_down(r->from, x, channels, places, y);
        else
            move(r, x, channels, places, y, out_size);
    }
    return OK;
}

const struct kernel layout_reorder = { .op = "reorder", .name = "cpu reorder", .run = run };
