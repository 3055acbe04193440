#include "graph/attrs_image.h"
#include "kernels/ref/ref.h"

struct state {
    struct span d, h, w;
    int64_t images, in_c, out_c, groups, deform_groups;
    int64_t in_size, out_size, taps; /* of one channel, of one filter channel */
};

static void measure(struct state *s, const struct kernel_ctx *ctx, const struct span span[3])
{
    s->d = span[0];
    s->h = span[1];
    s->w = span[2];
    s->images = ctx->in[0].shape.dim[0];
    s->in_c = ctx->in[0].shape.dim[1];
    s->out_c = ctx->out[0].shape.dim[1];
    s->in_size = s->d.in * s->h.in * s->w.in;
    s->out_size = s->d.out * s->h.out * s->w.out;
    s->taps = s->d.kernel * s->h.kernel * s->w.kernel;
}

static status prepare(const struct kernel_ctx *ctx, bool transposed, void **state, struct err *e)
{
    const struct conv_nd_attrs *a = ctx->node->attrs;
    struct span span[SPATIAL_MAX];
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(conv_nd_spans(a, &ctx->in[0].shape, &ctx->in[1].shape, transposed, span, e));
    measure(s, ctx, span);
    s->groups = a->groups;
    *state = s;
    return OK;
}

static status prepare_conv(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    return prepare(ctx, false, state, e);
}

static status prepare_transpose(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                struct err *e)
{
    return prepare(ctx, true, state, e);
}

/* The input's place under tap k of output place o; -1: none. */
typedef int64_t (*under_fn)(const struct span *s, int64_t o, int64_t k);

static int64_t under_conv(const struct span *s, int64_t o, int64_t k)
{
    int64_t at = o * s->stride - s->before + k * s->dilation;
    return at >= 0 && at < s->in ? at : -1;
}

/* The place whose tap k falls on o. */
static int64_t under_transpose(const struct span *s, int64_t o, int64_t k)
{
    int64_t at = o + s->before - k * s->dilation;
    return at >= 0 && at % s->stride == 0 && at / s->stride < s->in ? at / s->stride : -1;
}

/* One filter channel over one image channel at output place (od, oh, ow). */
static double window_sum(const struct state *s, under_fn under, const float *x, const float *f,
                         int64_t od, int64_t oh, int64_t ow)
{
    double sum = 0;
    for (int64_t i = 0; i < s->d.kernel; i++)
        for (int64_t j = 0; j < s->h.kernel; j++)
            for (int64_t k = 0; k < s->w.kernel; k++) {
                int64_t d = under(&s->d, od, i), h = under(&s->h, oh, j), w = under(&s->w, ow, k);
                if (d >= 0 && h >= 0 && w >= 0)
                    sum += (double)x[(d * s->h.in + h) * s->w.in + w] *
                           f[(i * s->h.kernel + j) * s->w.kernel + k];
            }
    return sum;
}

/* Output channel o: the sum over `count` image channels from x on, whose filters are `step` floats apart. */
static void channel(const struct state *s, under_fn under, const float *x, const float *filter,
                    int64_t count, int64_t step, double bias, float *out)
{
    for (int64_t d = 0; d < s->d.out; d++)
        for (int64_t h = 0; h < s->h.out; h++)
            for (int64_t w = 0; w < s->w.out; w++) {
                double sum = bias;
                for (int64_t c = 0; c < count; c++)
                    sum += window_sum(s, under, x + c * s->in_size, filter + c * step, d, h, w);
                *out++ = (float)sum;
            }
}

static status run_conv(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *filter = io->in[1], *bias = io->in[2];
    float *out = io->out[0];
    int64_t per_group = s->in_c / s->groups;
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t o = 0; o < s->out_c; o++, out += s->out_size) {
            const float *x = (const float *)io->in[0] + n * s->in_c * s->in_size;
            x += o / (s->out_c / s->groups) * per_group * s->in_size;
            channel(s, under_conv, x, filter + o * per_group * s->taps, per_group, s->taps,
                    bias != NULL ? bias[o] : 0, out);
        }
    return OK;
}

static status run_transpose(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *filter = io->in[1], *bias = io->in[2];
    float *out = io->out[0];
    int64_t in_group = s->in_c / s->groups, out_group = s->out_c / s->groups;
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t o = 0; o < s->out_c; o++, out += s->out_size) {
            int64_t first = o / out_group * in_group; /* filter [C, O/groups, taps] */
            channel(s, under_transpose,
                    (const float *)io->in[0] + (n * s->in_c + first) * s->in_size,
                    filter + (first * out_group + o % out_group) * s->taps, in_group,
                    out_group * s->taps, bias != NULL ? bias[o] : 0, out);
        }
    return OK;
}

/* ---- deformable ---- */

static status prepare_deform(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct deform_conv_attrs *a = ctx->node->attrs;
    struct span span[SPATIAL_MAX];
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(deform_conv_spans(a, &ctx->in[0].shape, &ctx->in[1].shape, span, e));
    measure(s, ctx, span);
    s->groups = a->groups;
    s->deform_groups = a->deform_groups;
    *scratch = (size_t)(s->in_c * s->taps) * sizeof(float);
    *state = s;
    return OK;
}

/* Bilinear, with zeros outside; a place further away than one element is 0. */
static float sample(const struct state *s, const float *x, float h, float w)
{
    if (!(h > -1 && w > -1 && h < (float)s->h.in && w < (float)s->w.in))
        return 0;
    int64_t h0 = (int64_t)floorf(h), w0 = (int64_t)floorf(w);
    float dh = h - (float)h0, dw = w - (float)w0;
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        int64_t y = h0 + (i >> 1), v = w0 + (i & 1);
        if (y >= 0 && y < s->h.in && v >= 0 && v < s->w.in)
            sum += (i >> 1 ? dh : 1 - dh) * (i & 1 ? dw : 1 - dw) * x[y * s->w.in + v];
    }
    return sum;
}

/* What the taps see at output place p of one image: [C, taps]. */
static void gather(const struct state *s, const float *x, const float *offset, const float *mask,
                   int64_t p, float *column)
{
    int64_t oh = p / s->w.out, ow = p % s->w.out, per_group = s->in_c / s->deform_groups;
    for (int64_t c = 0; c < s->in_c; c++)
        for (int64_t k = 0; k < s->taps; k++) {
            int64_t tap = c / per_group * s->taps + k;
            float h = offset[2 * tap * s->out_size + p],
                  w = offset[(2 * tap + 1) * s->out_size + p];
            int64_t kh = k / s->w.kernel, kw = k % s->w.kernel;
            h += (float)(oh * s->h.stride - s->h.before + kh * s->h.dilation);
            w += (float)(ow * s->w.stride - s->w.before + kw * s->w.dilation);
            *column++ = sample(s, x + c * s->in_size, h, w) *
                        (mask != NULL ? mask[tap * s->out_size + p] : 1);
        }
}

static void multiply(const struct state *s, const float *filter, const float *column, float *out)
{
    int64_t n = s->in_c / s->groups * s->taps;
    for (int64_t o = 0; o < s->out_c; o++) {
        const float *v = column + o / (s->out_c / s->groups) * n;
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)v[i] * filter[o * n + i];
        out[o * s->out_size] = (float)sum;
    }
}

static status run_deform(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0], *offset = io->in[2], *mask = io->in[3];
    float *out = io->out[0];
    int64_t taps = s->deform_groups * s->taps * s->out_size;
    for (int64_t n = 0; n < s->images; n++) {
        for (int64_t p = 0; p < s->out_size; p++) {
            gather(s, x, offset, mask, p, io->scratch);
            multiply(s, io->in[1], io->scratch, out + p);
        }
        x += s->in_c * s->in_size;
        offset += 2 * taps;
        mask = mask != NULL ? mask + taps : NULL;
        out += s->out_c * s->out_size;
    }
    return OK;
}

// clang-format off
const struct kernel ref_conv_nd[] = {
    { "conv_nd",        "ref conv_nd",        F32_ONLY, DEVICE_CPU, NULL, prepare_conv,      run_conv,      NULL },
    { "conv_transpose", "ref conv_transpose", F32_ONLY, DEVICE_CPU, NULL, prepare_transpose, run_transpose, NULL },
    { "deform_conv",    "ref deform_conv",    F32_ONLY, DEVICE_CPU, NULL, prepare_deform,    run_deform,    NULL },
    { 0 },
};
// clang-format on
