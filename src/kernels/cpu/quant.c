/* Paddle's fake quantisation as vector code; the arithmetic is ref's, to the bit. */
#include "graph/attrs_quant.h"
#include "kernels/cpu/cpu.h"

#include <math.h>

struct state {
    int64_t outer, channels, inner;
    struct fake_quant_attrs attrs;
    float top, range;
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

static const char *refuse_quant(const struct kernel_ctx *ctx)
{
    const struct fake_quant_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    return a->per_axis && shape_span(x, shape_axis(x, a->axis) + 1, x->rank) < 8
               ? "scales that change from element to element"
               : NULL;
}

static status prepare_quant(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    const struct fake_quant_attrs *a = ctx->node->attrs;
    struct state *s = state_of(ctx, a->per_axis, a->axis);
    s->attrs = *a;
    s->top = (float)((1 << (a->bits - 1)) - 1);
    *state = s;
    return OK;
}

/* Halves to the even neighbour: adding and taking away 1.5 * 2^23 rounds what is smaller, as these are after cutting;
 * what is larger has no part behind the point that would matter, as it is cut. */
CLONES static void to_even(const float *x, float *out, int64_t n, float factor, float top)
{
    const float round = 12582912;
    for (int64_t i = 0; i < n; i++) {
        float v = factor * x[i];
        v = v > top + 1 ? top + 1 : v < -top - 2 ? -top - 2 : v;
        v = (v + round) - round;
        out[i] = v > top ? top : v < -top - 1 ? -top - 1 : v;
    }
}

/* Halves away from 0: the whole part, and one more where what is left is half or more. */
CLONES static void away(const float *x, float *out, int64_t n, float factor, float scale)
{
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] < -scale ? -scale : x[i] > scale ? scale : x[i];
        float y = fabsf(factor * v);
        float whole = (y + 8388608.0f) - 8388608.0f; /* to even; then mended */
        whole = whole > y ? whole - 1 : whole;
        whole = y - whole >= 0.5f ? whole + 1 : whole;
        out[i] = copysignf(whole, v);
    }
}

CLONES static void back(float *x, int64_t n, float scale, float top)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] * scale / top;
}

static float inverse(float s)
{
    return s <= 1e-30f ? 1 / (s + 1e-6f) : 1 / s;
}

static status run_quant(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0], *scale = io->in[1];
    float *out = io->out[0];
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t c = 0; c < s->channels; c++, x += s->inner, out += s->inner) {
            float factor = s->top * inverse(scale[c]);
            if (s->attrs.away)
                away(x, out, s->inner, factor, scale[c]);
            else
                to_even(x, out, s->inner, factor, s->top);
            if (s->attrs.back)
                back(out, s->inner, scale[c], s->top);
        }
    return OK;
}

const struct kernel cpu_quant[] = {
    { "fake_quant", "cpu fake_quant", F32_ONLY, DEVICE_CPU, refuse_quant, prepare_quant, run_quant,
      NULL },
    { 0 },
};
