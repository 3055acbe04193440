/* From floats to int8 or uint8 and back, with one scale for all elements; an image keeps its layout where integers can have
 * it. The arithmetic is ref's, to the bit. */
#include "kernels/cpu/cpu.h"

#include "graph/attrs_quant.h"

#include <math.h>

struct state {
    int64_t count;
    dtype dtype; /* of the integers */
    bool multiply, away;
};

static const char *refuse(const struct kernel_ctx *ctx)
{
    const struct quant_attrs *a = ctx->node->attrs;
    if (a->away && (!a->multiply || ctx->out[0].dtype != DTYPE_I8 || ctx->in[2].shape.rank >= 0))
        return "halves away from 0 for int8 around 0 alone";
    return shape_numel(&ctx->in[1].shape) == 1 ? NULL : "several scales";
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->count = shape_numel(&ctx->in[0].shape);
    s->dtype = ctx->in[0].dtype == DTYPE_F32 ? ctx->out[0].dtype : ctx->in[0].dtype;
    s->multiply = ((const struct quant_attrs *)ctx->node->attrs)->multiply;
    s->away = ((const struct quant_attrs *)ctx->node->attrs)->away;
    if (ctx->have != NULL && ctx->have[0] != LAYOUT_PLAIN)
        ctx->want[0] = ctx->give[0] = LAYOUT_LAST;
    *state = s;
    return OK;
}

static int32_t zero_of(const struct state *s, const void *zero)
{
    if (zero == NULL)
        return 0;
    return s->dtype == DTYPE_I8 ? *(const int8_t *)zero : *(const uint8_t *)zero;
}

/* Rounds halves to the even neighbour: adding and taking away 1.5 * 2^23 does, for what is as small as this after cutting.
 * What is no number becomes the least. */
#define ROUND 12582912.0f
#define QUANTISE(name, type, value)                                                              \
    CLONES static void name(const float *x, type *y, int64_t n, float by, float low, float high, \
                            int32_t zero)                                                        \
    {                                                                                            \
        for (int64_t i = 0; i < n; i++) {                                                        \
            float v = value;                                                                     \
            v = v > low ? v : low;                                                               \
            v = v < high ? v : high;                                                             \
            y[i] = (type)((int32_t)((v + ROUND) - ROUND) + zero);                                \
        }                                                                                        \
    }
QUANTISE(multiply_i8, int8_t, x[i] * by)
QUANTISE(multiply_u8, uint8_t, x[i] * by)
QUANTISE(divide_i8, int8_t, x[i] / by)
QUANTISE(divide_u8, uint8_t, x[i] / by)

/* The whole part, and one more where what is left is half or more. */
CLONES static void multiply_away(const float *x, int8_t *y, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] * by;
        v = v > -127 ? v : -127;
        v = v < 127 ? v : 127;
        float size = fabsf(v), whole = (size + ROUND) - ROUND;
        whole = whole > size ? whole - 1 : whole;
        whole = size - whole >= 0.5f ? whole + 1 : whole;
        y[i] = (int8_t)(int32_t)copysignf(whole, v);
    }
}

static status run_quantize(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0], by = *(const float *)io->in[1];
    int32_t zero = zero_of(s, io->in[2]);
    if (s->away)
        multiply_away(x, io->out[0], s->count, by);
    else if (s->dtype == DTYPE_I8)
        (s->multiply ? multiply_i8 : divide_i8)(x, io->out[0], s->count, by, (float)(-128 - zero),
                                                (float)(127 - zero), zero);
    else
        (s->multiply ? multiply_u8 : divide_u8)(x, io->out[0], s->count, by, (float)-zero,
                                                (float)(255 - zero), zero);
    return OK;
}

#define WIDEN(type)                                                                                \
    CLONES static void widen_##type(const type *q, float *y, int64_t n, float scale, int32_t zero) \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++)                                                            \
            y[i] = (float)(q[i] - zero) * scale;                                                   \
    }
WIDEN(int8_t)
WIDEN(uint8_t)

static status run_dequantize(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    float scale = *(const float *)io->in[1];
    int32_t zero = zero_of(s, io->in[2]);
    if (s->dtype == DTYPE_I8)
        widen_int8_t(io->in[0], io->out[0], s->count, scale, zero);
    else
        widen_uint8_t(io->in[0], io->out[0], s->count, scale, zero);
    return OK;
}

// clang-format off
const struct kernel cpu_integers[] = {
    { "quantize",   "cpu quantize",   F32_ONLY, DEVICE_CPU, refuse, prepare, run_quantize, NULL },
    { "dequantize", "cpu dequantize", DTYPE_BIT(DTYPE_I8) | DTYPE_BIT(DTYPE_U8), DEVICE_CPU, refuse, prepare, run_dequantize, NULL },
    { 0 },
};
// clang-format on
