#include "graph/attrs_image.h"
#include "kernels/ref/ref.h"

struct state {
    struct span span[SPATIAL_MAX];
    int64_t planes;
    struct pool_nd_attrs attrs;
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct pool_nd_attrs *)ctx->node->attrs;
    TRY(pool_nd_spans(&s->attrs, x, s->span, e));
    s->planes = x->dim[0] * x->dim[1];
    *state = s;
    return OK;
}

/* What a window sees along one axis: from, from + step, ... below to. */
struct range {
    int64_t from, to, step;
    int64_t inside; /* how many these are */
    /* and with those in the pads; a window that was rounded up ends where the pads end */
    int64_t with_pads;
};

/* The elements that place `o` sees along one axis. */
static struct range seen(const struct state *s, int axis, int64_t o)
{
    const struct span *x = &s->span[axis];
    if (s->attrs.adaptive && !s->attrs.global) {
        int64_t from = o * x->in / x->out, to = ((o + 1) * x->in + x->out - 1) / x->out;
        return (struct range){ from, to, 1, to - from, 0 };
    }
    int64_t gap = x->dilation, begin = o * x->stride - x->before;
    int64_t to = begin + (x->kernel - 1) * gap + 1;
    to = to > x->in + x->after ? x->in + x->after : to;
    int64_t all = (to - begin + gap - 1) / gap;
    int64_t from = begin < 0 ? begin + (gap - 1 - begin) / gap * gap : begin;
    to = to > x->in ? x->in : to;
    return (struct range){ from, to, gap, to > from ? (to - from + gap - 1) / gap : 0, all };
}

struct found {
    double sum;
    float top;
    int64_t top_at;
};

static struct found look(const struct state *s, const float *x, struct range d, struct range h,
                         struct range w)
{
    struct found f = { 0, -INFINITY, -1 };
    for (int64_t i = d.from; i < d.to; i += d.step)
        for (int64_t j = h.from; j < h.to; j += h.step)
            for (int64_t k = w.from; k < w.to; k += w.step) {
                int64_t at = (i * s->span[1].in + j) * s->span[2].in + k;
                float v = x[at];
                f.sum += v;
                if (f.top_at < 0 || v > f.top || (isnan(v) && !isnan(f.top))) {
                    f.top = v;
                    f.top_at = at;
                }
            }
    return f;
}

static float value(const struct state *s, const struct found *f, struct range d, struct range h,
                   struct range w)
{
    if (s->attrs.mode == POOL_MAX)
        return f->top;
    bool whole = s->attrs.mode == POOL_AVG_WITH_PADS && !s->attrs.adaptive;
    int64_t inside = d.inside * h.inside * w.inside;
    int64_t count = whole ? d.with_pads * h.with_pads * w.with_pads : inside;
    return (float)(f->sum / (double)(count > 0 ? count : 1)); /* the gaps may miss the image */
}

static void plane(const struct state *s, const float *x, float *out, int32_t *index)
{
    int64_t at = 0;
    for (int64_t i = 0; i < s->span[0].out; i++)
        for (int64_t j = 0; j < s->span[1].out; j++)
            for (int64_t k = 0; k < s->span[2].out; k++, at++) {
                struct range d = seen(s, 0, i), h = seen(s, 1, j), w = seen(s, 2, k);
                struct found f = look(s, x, d, h, w);
                out[at] = value(s, &f, d, h, w);
                if (index != NULL)
                    index[at] = (int32_t)f.top_at;
            }
}

static void planes(const struct state *s, const float *x, float *out, int32_t *index)
{
    int64_t in = s->span[0].in * s->span[1].in * s->span[2].in;
    int64_t count = s->span[0].out * s->span[1].out * s->span[2].out;
    for (int64_t p = 0; p < s->planes; p++)
        plane(s, x + p * in, out + p * count, index != NULL ? index + p * count : NULL);
}

static status run_pool(const void *state, const struct kernel_io *io)
{
    planes(state, io->in[0], io->out[0], NULL);
    return OK;
}

static status run_index(const void *state, const struct kernel_io *io)
{
    planes(state, io->in[0], io->out[0], io->out[1]);
    return OK;
}

/* ---- max_unpool ---- */

struct unpool_state {
    int64_t planes, in, out;
    bool wide;
};

static status prepare_unpool(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct shape *x = &ctx->in[0].shape, *y = &ctx->out[0].shape;
    struct unpool_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct unpool_state){ x->dim[0] * x->dim[1], shape_span(x, 2, x->rank),
                                shape_span(y, 2, y->rank), ctx->in[1].dtype == DTYPE_I64 };
    *state = s;
    return OK;
}

static status run_unpool(const void *state, const struct kernel_io *io)
{
    const struct unpool_state *s = state;
    const float *x = io->in[0];
    float *out = io->out[0];
    for (int64_t i = 0; i < s->planes * s->out; i++)
        out[i] = 0;
    for (int64_t i = 0; i < s->planes * s->in; i++) {
        int64_t at = s->wide ? ((const int64_t *)io->in[1])[i] : ((const int32_t *)io->in[1])[i];
        if (at < 0 || at >= s->out)
            return err_set(io->err, INVALID, "its index %lld is outside a plane of %lld",
                           (long long)at, (long long)s->out);
        out[i / s->in * s->out + at] = x[i];
    }
    return OK;
}

// clang-format off
const struct kernel ref_pool_nd[] = {
    { "pool_nd",        "ref pool_nd",        F32_ONLY, DEVICE_CPU, NULL, prepare,        run_pool,   NULL },
    { "max_pool_index", "ref max_pool_index", F32_ONLY, DEVICE_CPU, NULL, prepare,        run_index,  NULL },
    { "max_unpool",     "ref max_unpool",     F32_ONLY, DEVICE_CPU, NULL, prepare_unpool, run_unpool, NULL },
    { 0 },
};
// clang-format on
