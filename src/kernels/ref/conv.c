#include "kernels/ref/ref.h"

struct state {
    struct window w;
    int64_t images, in_c, in_h, in_w, out_c, groups;
    struct act_fn act;
    bool act_first;
};

/* The arrays of one run. */
struct arrays {
    const float *filter, *bias, *scale, *residual; /* all but the filter may be NULL */
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(conv_window(a, x, &ctx->in[1].shape, &s->w, e));
    s->images = x->dim[0];
    s->in_c = x->dim[1];
    s->in_h = x->dim[2];
    s->in_w = x->dim[3];
    s->out_c = ctx->in[1].shape.dim[0];
    s->groups = a->groups;
    s->act = (struct act_fn){ a->act, a->act_alpha, a->act_beta, a->act_gamma };
    s->act_first = a->act_first;
    *state = s;
    return OK;
}

/* One filter channel over one image channel at output place (oh, ow). */
static double window_sum(const struct state *s, const float *x, const float *f, int64_t oh,
                         int64_t ow)
{
    const struct window *w = &s->w;
    double sum = 0;
    for (int64_t kh = 0; kh < w->kernel_h; kh++)
        for (int64_t kw = 0; kw < w->kernel_w; kw++) {
            int64_t h = oh * w->stride_h - w->pad_top + kh * w->dilation_h;
            int64_t v = ow * w->stride_w - w->pad_left + kw * w->dilation_w;
            if (h >= 0 && h < s->in_h && v >= 0 && v < s->in_w)
                sum += (double)x[h * s->in_w + v] * f[kh * w->kernel_w + kw];
        }
    return sum;
}

static double finish(const struct state *s, double sum, double residual)
{
    return s->act_first ? ref_act_fn(s->act, sum) + residual : ref_act_fn(s->act, sum + residual);
}

/* Output channel o of one image, `at` elements into the output. */
static void channel(const struct state *s, const struct arrays *a, const float *image, int64_t o,
                    int64_t at, float *out)
{
    int64_t per_group = s->in_c / s->groups, first = o / (s->out_c / s->groups) * per_group;
    int64_t taps = s->w.kernel_h * s->w.kernel_w;
    double scale = a->scale != NULL ? a->scale[o] : 1, bias = a->bias != NULL ? a->bias[o] : 0;
    for (int64_t oh = 0; oh < s->w.out_h; oh++)
        for (int64_t ow = 0; ow < s->w.out_w; ow++, at++) {
            double sum = 0;
            for (int64_t c = 0; c < per_group; c++)
                sum += window_sum(s, image + (first + c) * s->in_h * s->in_w,
                                  a->filter + (o * per_group + c) * taps, oh, ow);
            out[at] =
                (float)finish(s, sum * scale + bias, a->residual != NULL ? a->residual[at] : 0);
        }
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[CONV_X];
    struct arrays a = { io->in[CONV_W], io->in[CONV_BIAS], io->in[CONV_SCALE],
                        io->in[CONV_RESIDUAL] };
    int64_t at = 0, image = s->in_c * s->in_h * s->in_w;
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t o = 0; o < s->out_c; o++, at += s->w.out_h * s->w.out_w)
            channel(s, &a, x + n * image, o, at, io->out[0]);
    return OK;
}

const struct kernel ref_conv[] = {
    { "conv2d", "ref conv2d", F32_ONLY, DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
