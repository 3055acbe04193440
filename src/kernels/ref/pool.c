#include "kernels/ref/ref.h"

struct state {
    struct window w;
    struct pool_attrs attrs;
    int64_t planes, in_h, in_w;
    dtype dtype;
};

static const char *refuse(const struct kernel_ctx *ctx)
{
    bool is_max = ((const struct pool_attrs *)ctx->node->attrs)->mode == POOL_MAX;
    return ctx->in[0].dtype == DTYPE_F32 || is_max ? NULL : "a mean of integers";
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct pool_attrs *)ctx->node->attrs;
    TRY(pool_window(&s->attrs, x, &s->w, e));
    s->planes = x->dim[0] * x->dim[1];
    s->in_h = x->dim[2];
    s->in_w = x->dim[3];
    s->dtype = ctx->in[0].dtype;
    *state = s;
    return OK;
}

struct range {
    int64_t from, to;
    /* elements of the window, pads included; one that was rounded up ends where the pads end */
    int64_t with_pads;
};

/* The elements that place `o` sees along one axis. */
static struct range seen(const struct state *s, int64_t o, int64_t in, int64_t out, int64_t kernel,
                         int64_t stride, int64_t before, int64_t after)
{
    if (s->attrs.adaptive)
        return (struct range){ o * in / out, ((o + 1) * in + out - 1) / out, 0 };
    int64_t from = o * stride - before, to = from + kernel;
    to = to > in + after ? in + after : to;
    return (struct range){ from < 0 ? 0 : from, to > in ? in : to, to - from };
}

static void put(dtype d, void *out, int64_t i, float v)
{
    if (d == DTYPE_F32)
        ((float *)out)[i] = v;
    else if (d == DTYPE_I8)
        ((int8_t *)out)[i] = (int8_t)v;
    else
        ((uint8_t *)out)[i] = (uint8_t)v;
}

/* first: of the plane, in x. */
static float pool_at(const struct state *s, const void *x, int64_t first, struct range h,
                     struct range w)
{
    double sum = 0;
    float top = -INFINITY;
    for (int64_t i = h.from; i < h.to; i++)
        for (int64_t j = w.from; j < w.to; j++) {
            float v = ref_element(s->dtype, x, first + i * s->in_w + j);
            sum += v;
            if (v > top || isnan(v))
                top = v;
        }
    if (s->attrs.mode == POOL_MAX)
        return top;
    bool whole = s->attrs.mode == POOL_AVG_WITH_PADS && !s->attrs.adaptive;
    int64_t inside = (h.to - h.from) * (w.to - w.from);
    return (float)(sum / (double)(whole ? h.with_pads * w.with_pads : inside));
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const struct window *w = &s->w;
    int64_t at = 0;
    for (int64_t p = 0; p < s->planes; p++)
        for (int64_t i = 0; i < w->out_h; i++)
            for (int64_t j = 0; j < w->out_w; j++, at++)
                put(s->dtype, io->out[0], at,
                    pool_at(s, io->in[0], p * s->in_h * s->in_w,
                            seen(s, i, s->in_h, w->out_h, w->kernel_h, w->stride_h, w->pad_top,
                                 w->pad_bottom),
                            seen(s, j, s->in_w, w->out_w, w->kernel_w, w->stride_w, w->pad_left,
                                 w->pad_right)));
    return OK;
}

const struct kernel ref_pool[] = {
    { "pool2d", "ref pool2d", F32_ONLY | DTYPE_BIT(DTYPE_I8) | DTYPE_BIT(DTYPE_U8), DEVICE_CPU,
      refuse, prepare, run, NULL },
    { 0 },
};
