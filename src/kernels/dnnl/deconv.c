/* conv_transpose of images by oneDNN. */
#include "graph/attrs_image.h"
#include "kernels/cpu/cpu.h"
#include "kernels/dnnl/onednn.h"

struct state {
    struct onednn *onednn;
    const void *filter; /* packed */
};

static const char *refuse(const struct kernel_ctx *ctx)
{
    if (ctx->in[0].shape.rank != 4)
        return "it is no image";
    if (ctx->in[1].constant == NULL)
        return "its filter is not a constant";
    if (shape_numel(&ctx->out[0].shape) == 0 || shape_numel(&ctx->in[0].shape) == 0)
        return "there is nothing to compute";
    return NULL;
}

static void release(void *state)
{
    struct state *s = state;
    if (s != NULL)
        onednn_free(s->onednn);
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct span span[SPATIAL_MAX];
    struct state made;
    TRY(conv_nd_spans(ctx->node->attrs, &ctx->in[0].shape, &ctx->in[1].shape, true, span, e));
    TRY(onednn_deconv(ctx, &span[SPATIAL_MAX - 2], &span[SPATIAL_MAX - 1], &made.onednn, e));
    status s =
        onednn_pack(made.onednn, ctx->packs, ctx->in[1].constant->data, NULL, &made.filter, e);
    if (s != OK) {
        onednn_free(made.onednn);
        return s;
    }
    *state = arena_zalloc(ctx->arena, sizeof(made));
    *(struct state *)*state = made;
    *scratch = onednn_scratch_bytes(made.onednn);
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    struct onednn_data d = { io->in[0], s->filter, io->in[2], io->out[0], io->scratch };
    return onednn_run(s->onednn, &d, io->err);
}

const struct kernel dnnl_deconv[] = {
    { "conv_transpose", "dnnl conv_transpose", F32_ONLY, DEVICE_CPU, refuse, prepare, run,
      release },
    { 0 },
};
