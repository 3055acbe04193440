/* Convolutions that oneDNN's own primitive is not asked for: what the filter sees at a few rows of output places is
 * written out as the columns of a matrix, and one product with the filter makes those rows of every channel. */
#include "graph/attrs_image.h"
#include "kernels/cpu/cpu.h"
#include "kernels/dnnl/onednn.h"

#include <math.h>
#include <string.h>

#define COLUMN_FLOATS ((int64_t)1 << 18) /* of one part: it stays in the second-level cache */

struct state {
    struct span d, h, w;
    int64_t images, in_c, out_c, groups, deform_groups;
    int64_t in_size, out_size, taps; /* of one channel, of one filter channel */
    int64_t depth;                   /* rows of the matrix: channels of a group times taps */
    int64_t part;                    /* rows of output places at a time */
    int threads;
};

/* A part of the output: `rows` rows of w.out places, from place `first` on. */
struct part {
    int64_t first, rows, places;
};

static const char *refuse(const struct kernel_ctx *ctx)
{
    if (shape_numel(&ctx->out[0].shape) == 0 || shape_numel(&ctx->in[1].shape) == 0)
        return "there is nothing to compute";
    return NULL;
}

static void measure(struct state *s, const struct kernel_ctx *ctx, const struct span span[3],
                    int64_t groups)
{
    s->d = span[0];
    s->h = span[1];
    s->w = span[2];
    s->images = ctx->in[0].shape.dim[0];
    s->in_c = ctx->in[0].shape.dim[1];
    s->out_c = ctx->out[0].shape.dim[1];
    s->groups = groups;
    s->threads = ctx->threads;
    s->in_size = s->d.in * s->h.in * s->w.in;
    s->out_size = s->d.out * s->h.out * s->w.out;
    s->taps = s->d.kernel * s->h.kernel * s->w.kernel;
    s->depth = s->in_c / groups * s->taps;
    s->part = COLUMN_FLOATS / (s->depth * s->w.out);
    s->part = s->part < 1 ? 1 : s->part;
}

static int64_t part_places(const struct state *s)
{
    int64_t rows = s->d.out * s->h.out;
    return (s->part < rows ? s->part : rows) * s->w.out;
}

static size_t column_bytes(const struct state *s)
{
    return (size_t)(s->depth * part_places(s)) * sizeof(float);
}

static status prepare_conv(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct conv_nd_attrs *a = ctx->node->attrs;
    struct span span[SPATIAL_MAX];
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(conv_nd_spans(a, &ctx->in[0].shape, &ctx->in[1].shape, false, span, e));
    measure(s, ctx, span, a->groups);
    *scratch = column_bytes(s);
    *state = s;
    return OK;
}

/* ---- the product ---- */

/* One group's channels at a part of their places. */
static status multiply(const struct state *s, const struct kernel_io *io, const struct part *p,
                       int64_t group, const float *columns, float *image)
{
    int64_t out_c = s->out_c / s->groups;
    struct sgemm g = { .m = out_c,
                       .n = p->places,
                       .k = s->depth,
                       .alpha = 1,
                       .a = (const float *)io->in[1] + group * out_c * s->depth,
                       .b = columns,
                       .c = image + group * out_c * s->out_size + p->first,
                       .lda = s->depth,
                       .ldb = p->places,
                       .ldc = s->out_size,
                       .threads = s->threads };
    return onednn_sgemm(&g) == OK ? OK : err_set(io->err, INTERNAL, "oneDNN: sgemm failed");
}

static struct part next_part(const struct state *s, int64_t row)
{
    int64_t rows = s->d.out * s->h.out - row;
    rows = rows < s->part ? rows : s->part;
    return (struct part){ row * s->w.out, rows, rows * s->w.out };
}

CLONES static void add_bias(const float *bias, int64_t channels, int64_t size, float *out)
{
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < size; i++)
            out[c * size + i] += bias[c];
}

/* ---- plain ---- */

/* One row of places of tap k along w, from a row of the input; NULL: all outside. */
static void copy_row(const struct span *w, const float *x, int64_t k, float *to)
{
    int64_t shift = k * w->dilation - w->before;
    for (int64_t o = 0; o < w->out; o++) {
        int64_t at = o * w->stride + shift;
        to[o] = x != NULL && at >= 0 && at < w->in ? x[at] : 0;
    }
}

/* Where stride is 1 the inside is one copy. */
static void copy_whole_row(const struct span *w, const float *x, int64_t k, float *to)
{
    int64_t shift = k * w->dilation - w->before, from = shift < 0 ? -shift : 0;
    int64_t end = w->in - shift < w->out ? w->in - shift : w->out;
    from = from < w->out ? from : w->out;
    if (x == NULL || end < from)
        end = from;
    memset(to, 0, (size_t)from * sizeof(float));
    if (end > from)
        memcpy(to + from, x + from + shift, (size_t)(end - from) * sizeof(float));
    memset(to + end, 0, (size_t)(w->out - end) * sizeof(float));
}

/* The row of the input under row r of the output at taps i, j; NULL: outside. */
static const float *input_row(const struct state *s, const float *x, int64_t r, int64_t i,
                              int64_t j)
{
    int64_t d = r / s->h.out * s->d.stride - s->d.before + i * s->d.dilation;
    int64_t h = r % s->h.out * s->h.stride - s->h.before + j * s->h.dilation;
    bool inside = d >= 0 && d < s->d.in && h >= 0 && h < s->h.in;
    return inside ? x + (d * s->h.in + h) * s->w.in : NULL;
}

static void fill_columns(const struct state *s, const struct part *p, const float *x, float *to)
{
    int64_t row = p->first / s->w.out, per = s->h.kernel * s->w.kernel;
    for (int64_t c = 0; c < s->depth; c++) {
        int64_t tap = c % s->taps, k = tap % s->w.kernel;
        for (int64_t r = row; r < row + p->rows; r++, to += s->w.out) {
            const float *from =
                input_row(s, x + c / s->taps * s->in_size, r, tap / per, tap % per / s->w.kernel);
            (s->w.stride == 1 ? copy_whole_row : copy_row)(&s->w, from, k, to);
        }
    }
}

static status run_conv(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    float *out = io->out[0];
    int64_t group_size = s->in_c / s->groups * s->in_size;
    for (int64_t n = 0; n < s->images; n++, out += s->out_c * s->out_size) {
        for (int64_t g = 0; g < s->groups; g++)
            for (int64_t row = 0; row < s->d.out * s->h.out; row += s->part) {
                struct part p = next_part(s, row);
                fill_columns(s, &p, (const float *)io->in[0] + (n * s->groups + g) * group_size,
                             io->scratch);
                TRY(multiply(s, io, &p, g, io->scratch, out));
            }
        if (io->in[2] != NULL)
            add_bias(io->in[2], s->out_c, s->out_size, out);
    }
    return OK;
}

/* ---- deformable ---- */

/* Where one tap looks at one place: four neighbours and their weights. */
struct look {
    int32_t at[4];
    float weight[4];
};

static status prepare_deform(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct deform_conv_attrs *a = ctx->node->attrs;
    struct span span[SPATIAL_MAX];
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(deform_conv_spans(a, &ctx->in[0].shape, &ctx->in[1].shape, span, e));
    measure(s, ctx, span, a->groups);
    s->deform_groups = a->deform_groups;
    *scratch = column_bytes(s) + (size_t)part_places(s) * sizeof(struct look);
    *state = s;
    return OK;
}

static const char *refuse_deform(const struct kernel_ctx *ctx)
{
    const struct shape *x = &ctx->in[0].shape;
    const struct deform_conv_attrs *a = ctx->node->attrs;
    if (shape_numel(x) == 0 || x->dim[2] > INT32_MAX / x->dim[3])
        return "an image that is empty, or of too many elements";
    if (a->deform_groups % a->groups != 0 && a->groups % a->deform_groups != 0)
        return "its groups cross";
    return refuse(ctx);
}

static void look_at(const struct state *s, float h, float w, float weight, struct look *l)
{
    *l = (struct look){ { 0 }, { 0 } };
    if (!(h > -1 && w > -1 && h < (float)s->h.in && w < (float)s->w.in))
        return;
    int64_t top = (int64_t)floorf(h), left = (int64_t)floorf(w);
    float dh = h - (float)top, dw = w - (float)left;
    for (int i = 0; i < 4; i++) {
        int64_t y = top + (i >> 1), x = left + (i & 1);
        if (y < 0 || y >= s->h.in || x < 0 || x >= s->w.in)
            continue;
        l->at[i] = (int32_t)(y * s->w.in + x);
        l->weight[i] = (i >> 1 ? dh : 1 - dh) * (i & 1 ? dw : 1 - dw) * weight;
    }
}

/* Tap `tap` (of all deformable groups) at every place of a part. */
static void look_around(const struct state *s, const struct kernel_io *io, const struct part *p,
                        int64_t n, int64_t tap, struct look *l)
{
    int64_t taps = s->deform_groups * s->taps, k = tap % s->taps;
    int64_t kh = k / s->w.kernel, kw = k % s->w.kernel;
    const float *offset = (const float *)io->in[2] + (n * taps + tap) * 2 * s->out_size;
    const float *mask = io->in[3];
    mask = mask != NULL ? mask + (n * taps + tap) * s->out_size : NULL;
    for (int64_t i = 0; i < p->places; i++) {
        int64_t at = p->first + i, oh = at / s->w.out, ow = at % s->w.out;
        float h = (float)(oh * s->h.stride - s->h.before + kh * s->h.dilation);
        float w = (float)(ow * s->w.stride - s->w.before + kw * s->w.dilation);
        look_at(s, h + offset[at], w + offset[s->out_size + at], mask != NULL ? mask[at] : 1,
                &l[i]);
    }
}

static void gather(const struct look *l, int64_t count, const float *x, float *to)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = l[i].weight[0] * x[l[i].at[0]] + l[i].weight[1] * x[l[i].at[1]] +
                l[i].weight[2] * x[l[i].at[2]] + l[i].weight[3] * x[l[i].at[3]];
}

/* The columns of channels [c, c + count) of image n, which may span several deformable groups. */
static void fill_deformed(const struct state *s, const struct kernel_io *io, const struct part *p,
                          int64_t n, int64_t c, int64_t count, float *columns, struct look *l)
{
    int64_t per = s->in_c / s->deform_groups;
    for (int64_t first = c; first < c + count;) {
        int64_t dg = first / per, end = (dg + 1) * per < c + count ? (dg + 1) * per : c + count;
        for (int64_t k = 0; k < s->taps; k++) {
            look_around(s, io, p, n, dg * s->taps + k, l);
            for (int64_t i = first; i < end; i++)
                gather(l, p->places, (const float *)io->in[0] + (n * s->in_c + i) * s->in_size,
                       columns + ((i - c) * s->taps + k) * p->places);
        }
        first = end;
    }
}

static status run_deform(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    struct look *l = io->scratch; /* first: it holds integers and floats alike */
    float *columns = (float *)(l + part_places(s)), *out = io->out[0];
    int64_t channels = s->in_c / s->groups;
    for (int64_t n = 0; n < s->images; n++, out += s->out_c * s->out_size)
        for (int64_t g = 0; g < s->groups; g++)
            for (int64_t row = 0; row < s->h.out; row += s->part) {
                struct part p = next_part(s, row);
                fill_deformed(s, io, &p, n, g * channels, channels, columns, l);
                TRY(multiply(s, io, &p, g, columns, out));
            }
    return OK;
}

// clang-format off
const struct kernel dnnl_columns[] = {
    { "conv_nd",     "dnnl conv_nd",     F32_ONLY, DEVICE_CPU, refuse,        prepare_conv,   run_conv,   NULL },
    { "deform_conv", "dnnl deform_conv", F32_ONLY, DEVICE_CPU, refuse_deform, prepare_deform, run_deform, NULL },
    { 0 },
};
// clang-format on
