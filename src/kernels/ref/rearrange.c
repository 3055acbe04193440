#include "graph/attrs_image.h"
#include "kernels/ref/ref.h"

/* ---- maxout ---- */

struct maxout_state {
    int64_t outer, channels, inner, groups;
};

static status prepare_maxout(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct groups_attrs *a = ctx->node->attrs;
    const struct shape *y = &ctx->out[0].shape;
    int axis = shape_axis(y, a->axis);
    struct maxout_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    if (shape_numel(y) > 0)
        *s = (struct maxout_state){ shape_span(y, 0, axis), y->dim[axis],
                                    shape_span(y, axis + 1, y->rank), a->groups };
    *state = s;
    return OK;
}

static status run_maxout(const void *state, const struct kernel_io *io)
{
    const struct maxout_state *s = state;
    const float *x = io->in[0];
    float *out = io->out[0];
    for (int64_t c = 0; c < s->outer * s->channels; c++, x += s->groups * s->inner)
        for (int64_t i = 0; i < s->inner; i++) {
            float top = x[i];
            for (int64_t g = 1; g < s->groups; g++) {
                float v = x[g * s->inner + i];
                top = v > top || isnan(v) ? v : top;
            }
            *out++ = top;
        }
    return OK;
}

/* ---- im2col, col2im ---- */

struct col_state {
    struct span d, h, w;
    int64_t planes; /* images times channels */
};

static status keep_spans(const struct kernel_ctx *ctx, const struct span span[SPATIAL_MAX],
                         const struct shape *image, void **state)
{
    struct col_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct col_state){ span[0], span[1], span[2], image->dim[0] * image->dim[1] };
    *state = s;
    return OK;
}

static status prepare_im2col(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct shape *image = &ctx->in[0].shape;
    struct span span[SPATIAL_MAX];
    TRY(im2col_spans(ctx->node->attrs, image->dim[2], image->dim[3], span, e));
    return keep_spans(ctx, span, image, state);
}

static status prepare_col2im(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct span span[SPATIAL_MAX];
    int axes;
    TRY(col2im_spans(ctx->node, ctx->in, span, &axes, e));
    return keep_spans(ctx, span, &ctx->out[0].shape, state);
}

/* Where tap k of window o falls in the image; -1: outside. */
static int64_t under(const struct span *s, int64_t o, int64_t k)
{
    int64_t at = o * s->stride - s->before + k * s->dilation;
    return at >= 0 && at < s->in ? at : -1;
}

/* Copies or adds every element that tap (k, i, j) of all windows sees; column: the first of them. */
static void walk_tap(const struct col_state *s, const int64_t tap[3], int64_t column,
                     const float *from, float *to, bool to_image)
{
    for (int64_t od = 0; od < s->d.out; od++)
        for (int64_t oh = 0; oh < s->h.out; oh++)
            for (int64_t ow = 0; ow < s->w.out; ow++, column++) {
                int64_t d = under(&s->d, od, tap[0]), h = under(&s->h, oh, tap[1]),
                        w = under(&s->w, ow, tap[2]), at = (d * s->h.in + h) * s->w.in + w;
                bool inside = d >= 0 && h >= 0 && w >= 0;
                if (to_image && inside)
                    to[at] += from[column];
                if (!to_image)
                    to[column] = inside ? from[at] : 0;
            }
}

static void walk_plane(const struct col_state *s, const float *from, float *to, bool to_image)
{
    int64_t places = s->d.out * s->h.out * s->w.out, tap[3], column = 0;
    for (tap[0] = 0; tap[0] < s->d.kernel; tap[0]++)
        for (tap[1] = 0; tap[1] < s->h.kernel; tap[1]++)
            for (tap[2] = 0; tap[2] < s->w.kernel; tap[2]++, column += places)
                walk_tap(s, tap, column, from, to, to_image);
}

static int64_t column_size(const struct col_state *s)
{
    return s->d.kernel * s->h.kernel * s->w.kernel * s->d.out * s->h.out * s->w.out;
}

static status run_im2col(const void *state, const struct kernel_io *io)
{
    const struct col_state *s = state;
    for (int64_t p = 0; p < s->planes; p++)
        walk_plane(s, (const float *)io->in[0] + p * s->h.in * s->w.in,
                   (float *)io->out[0] + p * column_size(s), false);
    return OK;
}

static status run_col2im(const void *state, const struct kernel_io *io)
{
    const struct col_state *s = state;
    int64_t image = s->d.in * s->h.in * s->w.in;
    for (int64_t p = 0; p < s->planes; p++) {
        float *to = (float *)io->out[0] + p * image;
        for (int64_t i = 0; i < image; i++)
            to[i] = 0;
        walk_plane(s, (const float *)io->in[0] + p * column_size(s), to, true);
    }
    return OK;
}

/* ---- temporal_shift ---- */

struct temporal_state {
    int64_t images, segments, channels, before, behind,
        plane; /* channels 0 .. before - 1 .. behind - 1 */
    bool channel_last;
};

static status prepare_temporal(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                               struct err *e)
{
    const struct temporal_attrs *a = ctx->node->attrs;
    const int64_t *x = ctx->in[0].shape.dim;
    struct temporal_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->images = x[0];
    s->segments = a->segments;
    s->channels = x[a->channel_last ? 3 : 1];
    s->before = (int64_t)((float)s->channels * a->ratio);
    s->behind = (int64_t)((float)s->channels * 2 * a->ratio);
    s->plane = a->channel_last ? x[1] * x[2] : x[2] * x[3];
    s->channel_last = a->channel_last;
    *state = s;
    return OK;
}

static status run_temporal(const void *state, const struct kernel_io *io)
{
    const struct temporal_state *s = state;
    const float *x = io->in[0];
    float *out = io->out[0];
    int64_t image = s->channels * s->plane;
    int64_t next = s->channel_last ? s->channels : 1, step = s->channel_last ? 1 : s->plane;
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t c = 0; c < s->channels; c++) {
            int64_t t = n % s->segments, shift = c < s->before ? -1 : c < s->behind ? 1 : 0;
            bool inside = t + shift >= 0 && t + shift < s->segments;
            int64_t at = n * image + c * step;
            for (int64_t i = 0; i < s->plane; i++, at += next)
                out[at] = inside ? x[at + shift * image] : 0;
        }
    return OK;
}

/* ---- even_offsets ---- */

struct even_state {
    int64_t count, rows;
};

static status prepare_offsets(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    struct even_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct even_state){ ctx->out[0].shape.dim[0], ctx->in[0].shape.dim[1] };
    *state = s;
    return OK;
}

static status run_offsets(const void *state, const struct kernel_io *io)
{
    const struct even_state *s = state;
    for (int64_t i = 0; i < s->count; i++)
        ((int64_t *)io->out[0])[i] = i * s->rows;
    return OK;
}

#define ANY UINT32_MAX

// clang-format off
const struct kernel ref_rearrange[] = {
    { "maxout",          "ref maxout",          F32_ONLY, DEVICE_CPU, NULL, prepare_maxout,          run_maxout,   NULL },
    { "im2col",          "ref im2col",          F32_ONLY, DEVICE_CPU, NULL, prepare_im2col,          run_im2col,   NULL },
    { "col2im",          "ref col2im",          F32_ONLY, DEVICE_CPU, NULL, prepare_col2im,          run_col2im,   NULL },
    { "temporal_shift",  "ref temporal_shift",  F32_ONLY, DEVICE_CPU, NULL, prepare_temporal,        run_temporal, NULL },
    { "even_offsets",    "ref even_offsets",    ANY,      DEVICE_CPU, NULL, prepare_offsets,         run_offsets,  NULL },
    { 0 },
};
// clang-format on
