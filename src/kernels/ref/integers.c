/* Products, convolutions and pooling of int8 and uint8, and the way from floats and back. */
#include "graph/attrs_quant.h"
#include "kernels/ref/ref.h"

/* An array of one of the dtypes that stand for numbers here. */
struct numbers {
    const void *data;
    dtype dtype;
    double scale, zero; /* an element v is scale * (v - zero) */
};

static double number(const struct numbers *a, int64_t i)
{
    return a->scale * (ref_element(a->dtype, a->data, i) - a->zero);
}

/* Behind the sum: out = act(s * sum + bias + residual), or the residual last. */
struct tail {
    struct integers q;
    struct act_fn act;
    bool act_first;
    dtype residual;
};

static void put(dtype d, void *out, int64_t i, double v)
{
    double low = d == DTYPE_I8 ? -128 : 0, high = d == DTYPE_I8 ? 127 : 255;
    v = v > low ? v : low; /* a NaN too */
    v = v < high ? v : high;
    if (d == DTYPE_I8)
        ((int8_t *)out)[i] = (int8_t)v;
    else
        ((uint8_t *)out)[i] = (uint8_t)v;
}

static void finish(const struct tail *t, double v, const void *residual, int64_t i, void *out)
{
    static const dtype made[] = { [RESULT_I8] = DTYPE_I8, [RESULT_U8] = DTYPE_U8 };
    bool whole = t->residual != DTYPE_F32;
    struct numbers r = { residual, t->residual, whole ? (double)t->q.residual_scale : 1,
                         whole ? t->q.residual_zero : 0 };
    double more = residual != NULL ? number(&r, i) : 0;
    v = t->act_first ? ref_act_fn(t->act, v) + more : ref_act_fn(t->act, v + more);
    if (t->q.result == RESULT_F32)
        ((float *)out)[i] = (float)v;
    else
        put(made[t->q.result], out, i, rint(v / (double)t->q.out_scale) + t->q.out_zero);
}

/* ---- conv2d ---- */

struct conv {
    struct window w;
    int64_t images, in_c, in_h, in_w, out_c, groups;
    dtype x;
    struct tail tail;
};

static status prepare_conv(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    struct conv *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(conv_window(a, x, &ctx->in[1].shape, &s->w, e));
    s->images = x->dim[0];
    s->in_c = x->dim[1];
    s->in_h = x->dim[2];
    s->in_w = x->dim[3];
    s->out_c = ctx->in[1].shape.dim[0];
    s->groups = a->groups;
    s->x = ctx->in[0].dtype;
    s->tail = (struct tail){ a->q,
                             { a->act, a->act_alpha, a->act_beta, a->act_gamma },
                             a->act_first,
                             ctx->in[CONV_RESIDUAL].dtype };
    *state = s;
    return OK;
}

/* One filter channel over the image channel that begins at element `first` of x. */
static double window_sum(const struct conv *s, const struct numbers *x, int64_t first,
                         const int8_t *f, int64_t oh, int64_t ow)
{
    const struct window *w = &s->w;
    double sum = 0;
    for (int64_t kh = 0; kh < w->kernel_h; kh++)
        for (int64_t kw = 0; kw < w->kernel_w; kw++) {
            int64_t h = oh * w->stride_h - w->pad_top + kh * w->dilation_h;
            int64_t v = ow * w->stride_w - w->pad_left + kw * w->dilation_w;
            if (h >= 0 && h < s->in_h && v >= 0 && v < s->in_w)
                sum += number(x, first + h * s->in_w + v) * f[kh * w->kernel_w + kw];
        }
    return sum;
}

static void conv_channel(const struct conv *s, const struct kernel_io *io, int64_t n, int64_t o,
                         int64_t at)
{
    const struct numbers x = { io->in[CONV_X], s->x, 1, s->tail.q.x_zero };
    int64_t per_group = s->in_c / s->groups, first = o / (s->out_c / s->groups) * per_group;
    int64_t taps = s->w.kernel_h * s->w.kernel_w, plane = s->in_h * s->in_w;
    const int8_t *filter = (const int8_t *)io->in[CONV_W] + o * per_group * taps;
    const float *bias = io->in[CONV_BIAS], *scale = io->in[CONV_SCALE];
    for (int64_t oh = 0; oh < s->w.out_h; oh++)
        for (int64_t ow = 0; ow < s->w.out_w; ow++, at++) {
            double sum = 0;
            for (int64_t c = 0; c < per_group; c++)
                sum +=
                    window_sum(s, &x, (n * s->in_c + first + c) * plane, filter + c * taps, oh, ow);
            finish(&s->tail, sum * (double)scale[o] + (bias != NULL ? (double)bias[o] : 0),
                   io->in[CONV_RESIDUAL], at, io->out[0]);
        }
}

static status run_conv(const void *state, const struct kernel_io *io)
{
    const struct conv *s = state;
    int64_t at = 0;
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t o = 0; o < s->out_c; o++, at += s->w.out_h * s->w.out_w)
            conv_channel(s, io, n, o, at);
    return OK;
}

/* ---- matmul: rows times a matrix ---- */

struct product {
    int64_t rows, n, k;
    bool trans_b;
    dtype a;
    struct tail tail;
};

static status prepare_matmul(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    struct product *s = arena_zalloc(ctx->arena, sizeof(*s));
    struct matmul_dims d;
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    *s = (struct product){ .rows = shape_numel(&d.stack) * d.m,
                           .n = d.n,
                           .k = d.k,
                           .trans_b = d.trans_b,
                           .a = ctx->in[0].dtype };
    s->tail = (struct tail){ a->q,
                             { a->act, a->act_alpha, a->act_beta, a->act_gamma },
                             true,
                             ctx->in[MATMUL_RESIDUAL].dtype };
    *state = s;
    return OK;
}

static status run_matmul(const void *state, const struct kernel_io *io)
{
    const struct product *s = state;
    const struct numbers a = { io->in[MATMUL_A], s->a, 1, s->tail.q.x_zero };
    const int8_t *b = io->in[MATMUL_B];
    const float *bias = io->in[MATMUL_BIAS], *scale = io->in[MATMUL_SCALE];
    for (int64_t i = 0; i < s->rows; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < s->k; k++)
                sum += number(&a, i * s->k + k) * b[s->trans_b ? j * s->k + k : k * s->n + j];
            finish(&s->tail, sum * (double)scale[j] + (bias != NULL ? (double)bias[j] : 0),
                   io->in[MATMUL_RESIDUAL], i * s->n + j, io->out[0]);
        }
    return OK;
}

/* ---- quantize, dequantize ---- */

struct steps {
    int64_t outer, channels, inner; /* a scale for each channel */
    dtype dtype;                    /* of the integers */
    bool multiply, away;
};

static status prepare_steps(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    const struct quant_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    struct steps *s = arena_zalloc(ctx->arena, sizeof(*s));
    bool one = shape_numel(&ctx->in[1].shape) == 1;
    int at = one ? 0 : shape_axis(x, a->axis);
    s->outer = one ? 1 : shape_span(x, 0, at);
    s->channels = one ? 1 : x->dim[at];
    s->inner = one ? shape_numel(x) : shape_span(x, at + 1, x->rank);
    s->dtype = ctx->in[0].dtype == DTYPE_F32 ? ctx->out[0].dtype : ctx->in[0].dtype;
    s->multiply = a->multiply;
    s->away = a->away;
    *state = s;
    return OK;
}

static int32_t zero_of(const struct steps *s, const void *zero, int64_t c)
{
    if (zero == NULL)
        return 0;
    return s->dtype == DTYPE_I8 ? ((const int8_t *)zero)[c] : ((const uint8_t *)zero)[c];
}

static status run_quantize(const void *state, const struct kernel_io *io)
{
    const struct steps *s = state;
    const float *x = io->in[0], *scale = io->in[1];
    int64_t at = 0;
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t i = 0; i < s->inner; i++, at++) {
                float v = s->multiply ? x[at] * scale[c] : x[at] / scale[c];
                v = s->away ? fmaxf(roundf(v), -127) : rintf(v);
                put(s->dtype, io->out[0], at, (double)v + zero_of(s, io->in[2], c));
            }
    return OK;
}

static status run_dequantize(const void *state, const struct kernel_io *io)
{
    const struct steps *s = state;
    const float *scale = io->in[1];
    float *out = io->out[0];
    int64_t at = 0;
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t i = 0; i < s->inner; i++, at++) {
                int32_t v = zero_of(s, io->in[0], at) - zero_of(s, io->in[2], c);
                out[at] = (float)v * scale[c];
            }
    return OK;
}

#define INTEGERS (DTYPE_BIT(DTYPE_I8) | DTYPE_BIT(DTYPE_U8))

// clang-format off
const struct kernel ref_integers[] = {
    { "conv2d",     "ref conv2d int8", INTEGERS, DEVICE_CPU, NULL, prepare_conv,   run_conv,       NULL },
    { "matmul",     "ref matmul int8", INTEGERS, DEVICE_CPU, NULL, prepare_matmul, run_matmul,     NULL },
    { "quantize",   "ref quantize",    F32_ONLY, DEVICE_CPU, NULL, prepare_steps,  run_quantize,   NULL },
    { "dequantize", "ref dequantize",  INTEGERS, DEVICE_CPU, NULL, prepare_steps,  run_dequantize, NULL },
    { 0 },
};
// clang-format on
