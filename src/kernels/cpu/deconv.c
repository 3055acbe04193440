/* conv_transpose whose windows lie side by side (stride as large as the kernel, no pads): with channels last, row h of the image
 * times the filter's row i is row h * kernel + i of the result, as it lies in memory: products and nothing else. */
#include "graph/attrs_image.h"
#include "kernels/cpu/cpu.h"

struct deconv {
    int64_t images, h, w, in_c, out_c, kernel_h, kernel_w;
    const float *filter; /* [kernel_h, C, kernel_w * O] */
    struct gemm gemm;    /* one row of places by kernel_w * O */
};

static bool side_by_side(const struct span *s)
{
    return s->stride == s->kernel && s->dilation == 1 && s->before == 0 &&
           s->out == s->in * s->kernel;
}

static const char *refuse(const struct kernel_ctx *ctx)
{
    const struct conv_nd_attrs *a = ctx->node->attrs;
    struct span span[SPATIAL_MAX];
    if (ctx->in[0].shape.rank != 4 || ctx->have == NULL)
        return "it is no image";
    if (a->groups > 1 || ctx->in[1].constant == NULL)
        return "its filter is in groups, or no constant";
    if (shape_numel(&ctx->out[0].shape) == 0 || shape_numel(&ctx->in[0].shape) == 0)
        return "there is nothing to compute";
    if (conv_nd_spans(a, &ctx->in[0].shape, &ctx->in[1].shape, true, span, NULL) != OK ||
        !side_by_side(&span[SPATIAL_MAX - 2]) || !side_by_side(&span[SPATIAL_MAX - 1]))
        return "its windows overlap or leave gaps";
    return NULL;
}

/* [C, O, h, w] to [h, C, w, O] */
static status fill(void *arg, void *memory)
{
    const struct deconv *s = arg;
    const float *from = s->filter;
    float *to = memory;
    int64_t row = s->kernel_w * s->out_c;
    for (int64_t c = 0; c < s->in_c; c++)
        for (int64_t o = 0; o < s->out_c; o++)
            for (int64_t h = 0; h < s->kernel_h; h++)
                for (int64_t w = 0; w < s->kernel_w; w++)
                    to[(h * s->in_c + c) * row + w * s->out_c + o] = *from++;
    return OK;
}

#define PACK_ROWS 0x6465636f6e76 /* "deconv" */

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct shape *x = &ctx->in[0].shape, *w = &ctx->in[1].shape;
    struct deconv *s = arena_zalloc(ctx->arena, sizeof(*s));
    const void *packed;
    *s = (struct deconv){ .images = x->dim[0],
                          .h = x->dim[2],
                          .w = x->dim[3],
                          .in_c = x->dim[1],
                          .out_c = w->dim[1],
                          .kernel_h = w->dim[2],
                          .kernel_w = w->dim[3],
                          .filter = ctx->in[1].constant->data };
    TRY(packs_get(ctx->packs, s->filter, PACK_ROWS, (size_t)shape_numel(w) * sizeof(float), fill, s,
                  &packed));
    s->filter = packed;
    s->gemm = (struct gemm){
        .m = s->w, .n = s->kernel_w * s->out_c, .k = s->in_c, .lda = s->in_c, .alpha = 1
    };
    *scratch = (size_t)s->gemm.n * sizeof(float); /* the bias for one row */
    ctx->want[0] = ctx->give[0] = LAYOUT_LAST;
    *state = s;
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct deconv *s = state;
    const float *x = io->in[0], *one = io->in[2];
    float *out = io->out[0], *bias = one != NULL ? io->scratch : NULL;
    for (int64_t i = 0; one != NULL && i < s->gemm.n; i++)
        bias[i] = one[i % s->out_c];
    for (int64_t r = 0; r < s->images * s->h; r++, x += s->w * s->in_c)
        for (int64_t i = 0; i < s->kernel_h; i++, out += s->w * s->gemm.n)
            cpu_gemm(&s->gemm, x, s->filter + i * s->in_c * s->gemm.n, bias, out);
    return OK;
}

const struct kernel cpu_deconv[] = {
    { "conv_transpose", "cpu conv_transpose", F32_ONLY, DEVICE_CPU, refuse, prepare, run, NULL },
    { 0 },
};
