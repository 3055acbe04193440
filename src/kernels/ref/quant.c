#include "graph/attrs_quant.h"
#include "kernels/ref/ref.h"

/* `outer` blocks of `channels` runs of `inner` elements; a scale for each channel. */
struct state {
    int64_t outer, channels, inner;
    struct fake_quant_attrs quant;
    struct fake_dequant_attrs dequant;
    float top;
    bool narrow; /* int8 */
};

static struct state *state_of(const struct kernel_ctx *ctx, bool per_axis, int32_t axis)
{
    const struct shape *x = &ctx->in[0].shape;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    int at = per_axis ? shape_axis(x, axis) : 0;
    s->outer = per_axis ? shape_span(x, 0, at) : 1;
    s->channels = per_axis ? x->dim[at] : 1;
    s->inner = per_axis ? shape_span(x, at + 1, x->rank) : shape_numel(x);
    return s;
}

static status prepare_quant(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    const struct fake_quant_attrs *a = ctx->node->attrs;
    struct state *s = state_of(ctx, a->per_axis, a->axis);
    s->quant = *a;
    s->top = (float)((1 << (a->bits - 1)) - 1);
    *state = s;
    return OK;
}

/* Paddle's guard against scales of nothing. */
static float inverse(float s)
{
    return s <= 1e-30f ? 1 / (s + 1e-6f) : 1 / s;
}

static float quantise(const struct state *s, float x, float scale)
{
    float factor = s->top * inverse(scale), v;
    if (s->quant.away) {
        v = x < -scale ? -scale : x > scale ? scale : x;
        v = roundf(factor * v);
    } else {
        v = rintf(factor * x);
        v = v > s->top ? s->top : v < -s->top - 1 ? -s->top - 1 : v;
    }
    return s->quant.back ? v * scale / s->top : v;
}

static status run_quant(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0], *scale = io->in[1];
    float *out = io->out[0];
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t i = 0; i < s->inner; i++)
                *out++ = quantise(s, *x++, scale[c]);
    return OK;
}

static status prepare_dequant(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    const struct fake_dequant_attrs *a = ctx->node->attrs;
    struct state *s = state_of(ctx, a->per_axis, a->axis);
    s->dequant = *a;
    s->narrow = ctx->in[0].dtype == DTYPE_I8;
    *state = s;
    return OK;
}

static status run_dequant(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *scale = io->in[1], *second = io->in[2];
    float *out = io->out[0];
    int64_t at = 0;
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t i = 0; i < s->inner; i++, at++) {
                float x =
                    s->narrow ? ((const int8_t *)io->in[0])[at] : ((const float *)io->in[0])[at];
                float v = x * scale[c];
                out[at] = (second != NULL ? v * second[0] : v) / s->dequant.range;
            }
    return OK;
}

const struct kernel ref_quant[] = {
    { "fake_quant", "ref fake_quant", F32_ONLY, DEVICE_CPU, NULL, prepare_quant, run_quant, NULL },
    { "fake_dequant", "ref fake_dequant", F32_ONLY | DTYPE_BIT(DTYPE_I8), DEVICE_CPU, NULL,
      prepare_dequant, run_dequant, NULL },
    { 0 },
};
