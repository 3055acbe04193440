#include "kernels/ref/boxes.h"

/* Features pooled under boxes. */
struct state {
    struct images images; /* counts and offsets; not looked at where each roi says its image */
    int64_t rois, image_count;
    dtype index;
    int64_t in_c, out_c, in_h, in_w;
    struct roi_attrs attrs;
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct roi_attrs *a = ctx->node->attrs;
    struct images images = { 0 };
    if (!a->by_image)
        images = images_of(ctx->in, 2, ctx->in[1].shape.dim[0]);
    *s = (struct state){ images,    ctx->in[1].shape.dim[0],  x->dim[0], ctx->in[2].dtype,
                         x->dim[1], ctx->out[0].shape.dim[1], x->dim[2], x->dim[3],
                         *a };
    *state = s;
    return OK;
}

/* Pools one roi's feature of all channels into out. */
typedef void (*roi_fn)(const struct state *s, const float *feature, const float *roi, float *out);

/* Rois that each say their image. */
static status roi_by_image(const struct state *s, const struct kernel_io *io, roi_fn fn)
{
    int64_t image = s->in_c * s->in_h * s->in_w;
    int64_t out = s->out_c * s->attrs.height * s->attrs.width;
    for (int64_t i = 0; i < s->rois; i++) {
        int64_t of = s->index == DTYPE_I64 ? ((const int64_t *)io->in[2])[i]
                                           : ((const int32_t *)io->in[2])[i];
        if (of < 0 || of >= s->image_count)
            return err_set(io->err, INVALID, "roi %lld is of image %lld, there are %lld",
                           (long long)i, (long long)of, (long long)s->image_count);
        fn(s, (const float *)io->in[0] + of * image, (const float *)io->in[1] + i * 4,
           (float *)io->out[0] + i * out);
    }
    return OK;
}

static status each_roi(const struct state *s, const struct kernel_io *io, roi_fn fn)
{
    struct image_rows r = { 0 };
    int64_t image = s->in_c * s->in_h * s->in_w;
    int64_t out = s->out_c * s->attrs.height * s->attrs.width;
    if (s->attrs.by_image)
        return roi_by_image(s, io, fn);
    while (r.image < s->images.count) {
        TRY(images_next(&s->images, io->in[2], io->in[3], &r, io->err));
        for (int64_t i = r.from; i < r.to; i++)
            fn(s, (const float *)io->in[0] + (r.image - 1) * image,
               (const float *)io->in[1] + i * 4, (float *)io->out[0] + i * out);
    }
    return OK;
}

/* v as a place of 0 .. size; NaN is 0. */
static int64_t inside(float v, int64_t size)
{
    return v >= (float)size ? size : v > 0 ? (int64_t)v : 0;
}

/* ---- roi_align: the mean of bilinear samples in each bin ---- */

#define SAMPLES_MAX \
    4096 /* along one axis of a bin, where the box decides: a box from outside may be of any size */

static float bilinear(const struct state *s, const float *x, float h, float w)
{
    if (!(h >= -1 && w >= -1 && h <= (float)s->in_h && w <= (float)s->in_w))
        return 0;
    h = h <= 0 ? 0 : h;
    w = w <= 0 ? 0 : w;
    int64_t top = (int64_t)h, left = (int64_t)w, bottom = top + 1, right = left + 1;
    if (top >= s->in_h - 1)
        h = (float)(bottom = top = s->in_h - 1);
    if (left >= s->in_w - 1)
        w = (float)(right = left = s->in_w - 1);
    float y1 = h - (float)top, x1 = w - (float)left, y0 = 1 - y1, x0 = 1 - x1;
    float a = y0 * x0 * x[top * s->in_w + left], b = y0 * x1 * x[top * s->in_w + right],
          c = y1 * x0 * x[bottom * s->in_w + left], d = y1 * x1 * x[bottom * s->in_w + right];
    return s->attrs.largest ? fmaxf(fmaxf(a, b), fmaxf(c, d)) : a + b + c + d;
}

struct bins {
    float top, left, bin_h, bin_w;
    int64_t samples_h, samples_w;
};

static int64_t samples_of(const struct roi_attrs *a, float bin)
{
    float count = ceilf(bin);
    if (a->samples > 0)
        return a->samples;
    return count >= SAMPLES_MAX ? SAMPLES_MAX : count > 0 ? (int64_t)count : 0;
}

static struct bins bins_of(const struct state *s, const float *roi)
{
    const struct roi_attrs *a = &s->attrs;
    float shift = a->aligned ? 0.5f : 0, left = roi[0] * a->scale - shift,
          top = roi[1] * a->scale - shift;
    float w = roi[2] * a->scale - shift - left, h = roi[3] * a->scale - shift - top;
    if (!a->aligned) {
        w = fmaxf(w, 1);
        h = fmaxf(h, 1);
    }
    struct bins b = { top, left, h / (float)a->height, w / (float)a->width, 0, 0 };
    b.samples_h = samples_of(a, b.bin_h);
    b.samples_w = samples_of(a, b.bin_w);
    return b;
}

static float bin_mean(const struct state *s, const struct bins *b, const float *x, int64_t i,
                      int64_t j)
{
    float sum = 0, top = -INFINITY, count = (float)(b->samples_h * b->samples_w);
    for (int64_t p = 0; p < b->samples_h; p++)
        for (int64_t q = 0; q < b->samples_w; q++) {
            float h = b->top + b->bin_h * ((float)i + ((float)p + 0.5f) / (float)b->samples_h);
            float w = b->left + b->bin_w * ((float)j + ((float)q + 0.5f) / (float)b->samples_w);
            float v = bilinear(s, x, h, w);
            sum += v;
            top = fmaxf(top, v);
        }
    if (s->attrs.largest)
        return count > 0 ? top : 0;
    return count > 0 ? sum / count : 0;
}

static void align(const struct state *s, const float *feature, const float *roi, float *out)
{
    struct bins b = bins_of(s, roi);
    for (int64_t c = 0; c < s->in_c; c++, feature += s->in_h * s->in_w)
        for (int64_t i = 0; i < s->attrs.height; i++)
            for (int64_t j = 0; j < s->attrs.width; j++)
                *out++ = bin_mean(s, &b, feature, i, j);
}

static status run_align(const void *state, const struct kernel_io *io)
{
    return each_roi(state, io, align);
}

/* ---- roi_pool: the largest element of each bin of whole elements ---- */

struct range {
    int64_t from, to;
};

/* Bin i of a box that begins at `start` and has `bin` elements a bin. */
static struct range bin_range(float start, float bin, int64_t i, int64_t size)
{
    return (struct range){ inside(floorf((float)i * bin) + start, size),
                           inside(ceilf((float)(i + 1) * bin) + start, size) };
}

static float largest(const struct state *s, const float *x, struct range h, struct range w)
{
    float top = h.to > h.from && w.to > w.from ? -3.402823466e38f : 0;
    for (int64_t i = h.from; i < h.to; i++)
        for (int64_t j = w.from; j < w.to; j++)
            top = x[i * s->in_w + j] > top ? x[i * s->in_w + j] : top;
    return top;
}

static void pool(const struct state *s, const float *feature, const float *roi, float *out)
{
    const struct roi_attrs *a = &s->attrs;
    float left = roundf(roi[0] * a->scale), top = roundf(roi[1] * a->scale);
    float bin_w = fmaxf(roundf(roi[2] * a->scale) - left + 1, 1) / (float)a->width;
    float bin_h = fmaxf(roundf(roi[3] * a->scale) - top + 1, 1) / (float)a->height;
    for (int64_t c = 0; c < s->in_c; c++, feature += s->in_h * s->in_w)
        for (int64_t i = 0; i < a->height; i++)
            for (int64_t j = 0; j < a->width; j++)
                *out++ = largest(s, feature, bin_range(top, bin_h, i, s->in_h),
                                 bin_range(left, bin_w, j, s->in_w));
}

static status run_pool(const void *state, const struct kernel_io *io)
{
    return each_roi(state, io, pool);
}

/* ---- psroi_pool: each bin has channels of its own ---- */

static float mean_of(const struct state *s, const float *x, struct range h, struct range w)
{
    float sum = 0;
    if (h.to <= h.from || w.to <= w.from)
        return 0;
    for (int64_t i = h.from; i < h.to; i++)
        for (int64_t j = w.from; j < w.to; j++)
            sum += x[i * s->in_w + j];
    return sum / (float)((h.to - h.from) * (w.to - w.from));
}

static struct range part_range(float start, float bin, int64_t i, int64_t size)
{
    return (struct range){ inside(floorf((float)i * bin + start), size),
                           inside(ceilf((float)(i + 1) * bin + start), size) };
}

static void pool_parts(const struct state *s, const float *feature, const float *roi, float *out)
{
    const struct roi_attrs *a = &s->attrs;
    float left = roundf(roi[0]) * a->scale, top = roundf(roi[1]) * a->scale;
    float bin_w = fmaxf((roundf(roi[2]) + 1) * a->scale - left, 0.1f) / (float)a->width;
    float bin_h = fmaxf((roundf(roi[3]) + 1) * a->scale - top, 0.1f) / (float)a->height;
    for (int64_t c = 0; c < s->out_c; c++)
        for (int64_t i = 0; i < a->height; i++)
            for (int64_t j = 0; j < a->width; j++, feature += s->in_h * s->in_w)
                *out++ = mean_of(s, feature, part_range(top, bin_h, i, s->in_h),
                                 part_range(left, bin_w, j, s->in_w));
}

static status run_parts(const void *state, const struct kernel_io *io)
{
    return each_roi(state, io, pool_parts);
}

/* ---- prroi_pool: the exact mean of the bilinear surface over each bin (Jiang et al., IoU-Net, 2018) ---- */

/* The integral of element k's hat function max(0, 1 - |v - k|) over [from, to]. */
static double hat(double from, double to, int64_t k)
{
    double sum = 0;
    for (int side = -1; side < 1; side++) { /* its rising and its falling half */
        double low = fmax(from, (double)(k + side)), high = fmin(to, (double)(k + side + 1));
        if (high > low) {
            double a = 1 - fabs(low - (double)k), b = 1 - fabs(high - (double)k);
            sum += (a + b) / 2 * (high - low);
        }
    }
    return sum;
}

static double integral(const struct state *s, const float *x, double top, double left,
                       double bottom, double right)
{
    struct range h = { inside(floorf((float)top), s->in_h),
                       inside(ceilf((float)bottom) + 1, s->in_h) };
    struct range w = { inside(floorf((float)left), s->in_w),
                       inside(ceilf((float)right) + 1, s->in_w) };
    double sum = 0;
    for (int64_t i = h.from; i < h.to; i++) {
        double weight = hat(top, bottom, i);
        for (int64_t j = w.from; j < w.to; j++)
            sum += weight * hat(left, right, j) * (double)x[i * s->in_w + j];
    }
    return sum;
}

static void pool_exactly(const struct state *s, const float *feature, const float *roi, float *out)
{
    const struct roi_attrs *a = &s->attrs;
    double left = (double)(roi[0] * a->scale), top = (double)(roi[1] * a->scale);
    double bin_w = fmax((double)(roi[2] * a->scale) - left, 0) / a->width;
    double bin_h = fmax((double)(roi[3] * a->scale) - top, 0) / a->height;
    double area = bin_w * bin_h;
    for (int64_t c = 0; c < s->in_c; c++, feature += s->in_h * s->in_w)
        for (int64_t i = 0; i < a->height; i++)
            for (int64_t j = 0; j < a->width; j++) {
                double h = top + bin_h * (double)i, w = left + bin_w * (double)j;
                *out++ =
                    area > 0 ? (float)(integral(s, feature, h, w, h + bin_h, w + bin_w) / area) : 0;
            }
}

static status run_exactly(const void *state, const struct kernel_io *io)
{
    return each_roi(state, io, pool_exactly);
}

// clang-format off
const struct kernel ref_roi[] = {
    { "roi_align",  "ref roi_align",  F32_ONLY, DEVICE_CPU, NULL, prepare, run_align,   NULL },
    { "roi_pool",   "ref roi_pool",   F32_ONLY, DEVICE_CPU, NULL, prepare, run_pool,    NULL },
    { "psroi_pool", "ref psroi_pool", F32_ONLY, DEVICE_CPU, NULL, prepare, run_parts,   NULL },
    { "prroi_pool", "ref prroi_pool", F32_ONLY, DEVICE_CPU, NULL, prepare, run_exactly, NULL },
    { 0 },
};
// clang-format on
