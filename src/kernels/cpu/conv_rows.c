/* Convolutions of texts: images of one channel, with filters as wide as the image, which slide over its rows alone. A window
 * is then a piece of the image, and all windows together are a matrix whose rows overlap: one product, without copying and
 * without a primitive made for the very length of the text (whose making takes ten times the run). */
#include "base/map.h"
#include "graph/attrs_image.h"
#include "kernels/cpu/cpu.h"

#include <string.h>

struct state {
    struct gemm gemm;    /* windows x filters, in [rows, filters] */
    const float *filter; /* [window, filters] */
    int64_t images, rows, width, filters;
    int64_t top,
        padded_rows; /* rows of zeros above; all rows, with what is below; 0: none are added */
};

#define WORTH_IT \
    16e6 /* multiplications from which oneDNN's kernels win by more than their making */

static const char *refuse(const struct kernel_ctx *ctx)
{
    const struct conv_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[CONV_X].shape, *w = &ctx->in[CONV_W].shape;
    if (ctx->in[CONV_W].constant == NULL || ctx->in[CONV_RESIDUAL].shape.rank >= 0 ||
        (ctx->in[CONV_SCALE].shape.rank >= 0 && ctx->in[CONV_SCALE].constant == NULL))
        return "its filter or scale is no constant, or something is added";
    if (a->groups != 1 || x->dim[1] != 1 || w->dim[3] != x->dim[3] || a->dilation_h != 1 ||
        ctx->out[0].shape.dim[3] != 1 || a->pad_left != 0 || a->pad_right != 0)
        return "its filters are not as wide as an image of one channel";
    if (shape_numel(&ctx->out[0].shape) == 0)
        return "there is nothing to compute";
    return (double)shape_numel(&ctx->out[0].shape) * (double)shape_span(w, 1, 4) > WORTH_IT
               ? "too much"
               : NULL;
}

struct turning {
    const void *from;
    const float *scale;
    int64_t filters, window;
};

static status turn(void *arg, void *memory)
{
    const struct turning *t = arg;
    float *to = memory;
    for (int64_t f = 0; f < t->filters; f++)
        for (int64_t k = 0; k < t->window; k++)
            to[k * t->filters + f] =
                float_at(t->from, f * t->window + k) * (t->scale != NULL ? t->scale[f] : 1);
    return OK;
}

static status pack(const struct kernel_ctx *ctx, struct state *s)
{
    const struct tensor *scale = ctx->in[CONV_SCALE].constant;
    struct turning t = { ctx->in[CONV_W].constant->data, scale != NULL ? scale->data : NULL,
                         s->filters, s->gemm.k };
    const void *key[] = { refuse, t.scale }; /* ours, and of this scale */
    const void *packed;
    TRY(packs_get(ctx->packs, t.from, map_hash((struct str){ (const char *)key, sizeof(key) }),
                  (size_t)(t.filters * t.window) * sizeof(float), turn, &t, &packed));
    s->filter = packed;
    return OK;
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[CONV_X].shape, *w = &ctx->in[CONV_W].shape;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    struct window at;
    TRY(conv_window(a, x, w, &at, e));
    s->images = x->dim[0];
    s->rows = x->dim[2];
    s->width = x->dim[3];
    s->filters = w->dim[0];
    s->gemm = (struct gemm){ .m = at.out_h,
                             .n = s->filters,
                             .k = w->dim[2] * s->width,
                             .lda = at.stride_h * s->width,
                             .alpha = 1,
                             .act = { a->act, a->act_alpha, a->act_beta, a->act_gamma } };
    if (at.pad_top != 0 || at.pad_bottom != 0) {
        s->top = at.pad_top;
        s->padded_rows = at.pad_top + s->rows + at.pad_bottom;
    }
    *scratch = (size_t)(s->padded_rows * s->width + at.out_h * s->filters) * sizeof(float);
    *state = s;
    return pack(ctx, s);
}

static const float *pad(const struct state *s, const float *x, float *padded)
{
    int64_t below = s->padded_rows - s->top - s->rows;
    if (s->padded_rows == 0)
        return x;
    memset(padded, 0, (size_t)(s->top * s->width) * sizeof(float));
    memcpy(padded + s->top * s->width, x, (size_t)(s->rows * s->width) * sizeof(float));
    memset(padded + (s->top + s->rows) * s->width, 0, (size_t)(below * s->width) * sizeof(float));
    return padded;
}

CLONES static void transpose(const float *x, int64_t rows, int64_t columns, float *y)
{
    for (int64_t c = 0; c < columns; c++)
        for (int64_t r = 0; r < rows; r++)
            y[c * rows + r] = x[r * columns + c];
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    float *padded = io->scratch, *product = padded + s->padded_rows * s->width;
    const float *x = io->in[CONV_X];
    float *out = io->out[0];
    for (int64_t i = 0; i < s->images; i++) {
        cpu_gemm(&s->gemm, pad(s, x, padded), s->filter, io->in[CONV_BIAS], product);
        transpose(product, s->gemm.m, s->filters, out);
        x += s->rows * s->width;
        out += s->gemm.m * s->filters;
    }
    return OK;
}

const struct kernel cpu_conv_rows[] = {
    { "conv2d", "cpu conv2d rows", F32_ONLY | KERNEL_ANY_ALIGNMENT(CONV_W), DEVICE_CPU, refuse,
      prepare, run, NULL },
    { 0 },
};
