/* conv2d and pool2d by oneDNN's primitives. */
#include "base/mem.h"
#include "kernels/dnnl/onednn.h"

struct state {
    struct onednn *onednn;
    const void *filter; /* packed; NULL for a pooling */
};

static void release(void *state)
{
    struct state *s = state;
    if (s != NULL)
        onednn_free(s->onednn);
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    bool is_conv = s->filter != NULL;
    return onednn_run(s->onednn, io->in[0], s->filter, is_conv ? io->in[2] : NULL, io->out[0],
                      io->scratch, io->err);
}

static status finish(const struct kernel_ctx *ctx, struct onednn *o, const void *filter,
                     void **state, size_t *scratch)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct state){ o, filter };
    *state = s;
    *scratch = onednn_scratch_bytes(o);
    return OK;
}

/* ---- conv2d ---- */

static const char *refuse_conv(const struct kernel_ctx *ctx)
{
    if (ctx->in[1].constant == NULL)
        return "its filter is not a constant";
    if (shape_numel(&ctx->out[0].shape) == 0 || shape_numel(&ctx->in[0].shape) == 0)
        return "there is nothing to compute";
    return NULL;
}

static status prepare_conv(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    struct window w;
    struct onednn *o;
    const void *filter;
    TRY(conv_window(ctx->node->attrs, &ctx->in[0].shape, &ctx->in[1].shape, &w, e));
    TRY(onednn_conv(ctx, &w, &o, e));
    status s = onednn_pack(o, ctx->packs, ctx->in[1].constant->data, &filter, e);
    if (s != OK) {
        onednn_free(o);
        return s;
    }
    return finish(ctx, o, filter, state, scratch);
}

/* ---- pool2d ---- */

static const char *refuse_pool(const struct kernel_ctx *ctx)
{
    const struct pool_attrs *a = ctx->node->attrs;
    if (a->adaptive)
        return "its windows differ in size";
    if (a->mode == POOL_AVG_WITH_PADS && a->ceil_mode)
        return "oneDNN counts a rounded-up window otherwise";
    if (shape_numel(&ctx->out[0].shape) == 0)
        return "there is nothing to compute";
    return NULL;
}

static status prepare_pool(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct window w;
    struct onednn *o;
    TRY(pool_window(ctx->node->attrs, x, &w, e));
    /* oneDNN wants the pads that the windows really reach: more where ceil_mode rounded up, less where some are unused. */
    w.pad_bottom = (w.out_h - 1) * w.stride_h + w.kernel_h - x->dim[2] - w.pad_top;
    w.pad_right = (w.out_w - 1) * w.stride_w + w.kernel_w - x->dim[3] - w.pad_left;
    TRY(onednn_pool(ctx, &w, &o, e));
    return finish(ctx, o, NULL, state, scratch);
}

const struct kernel dnnl_conv[] = {
    { "conv2d", "dnnl conv2d", DTYPE_BIT(DTYPE_F32), DEVICE_CPU, refuse_conv, prepare_conv, run,
      release },
    { 0 },
};

const struct kernel dnnl_pool[] = {
    { "pool2d", "dnnl pool2d", DTYPE_BIT(DTYPE_F32), DEVICE_CPU, refuse_pool, prepare_pool, run,
      release },
    { 0 },
};
