/* conv2d and pool2d by oneDNN's primitives. */
#include "base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/dnnl/onednn.h"

#include <string.h>

struct state {
    struct onednn *onednn;
    const void *filter;    /* packed; NULL for a pooling */
    size_t residual_bytes; /* 0 where nothing is added */
    bool bare;             /* activation and residual are left to us, over `count` elements */
    int64_t count;
    struct act_fn act;
    bool act_first;
    /* elements of the image that we bring to bfloat16, where nobody else does; or 0 */
    int64_t narrow;
    size_t narrow_at; /* in the scratch */
};

static void release(void *state)
{
    struct state *s = state;
    if (s != NULL)
        onednn_free(s->onednn);
}

static status finish(const struct kernel_ctx *ctx, const struct state *made, void **state,
                     size_t *scratch)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = *made;
    *state = s;
    *scratch = onednn_scratch_bytes(made->onednn);
    return OK;
}

/* ---- conv2d ---- */

static const char *refuse_conv(const struct kernel_ctx *ctx)
{
    const struct conv_attrs *a = ctx->node->attrs;
    if (ctx->in[CONV_W].constant == NULL)
        return "its filter is not a constant";
    if (ctx->in[CONV_SCALE].shape.rank >= 0 && ctx->in[CONV_SCALE].constant == NULL)
        return "its scale is not a constant";
    if (shape_numel(&ctx->out[0].shape) == 0 || shape_numel(&ctx->in[0].shape) == 0)
        return "there is nothing to compute";
    return onednn_refuse_act((struct act_fn){ a->act, a->act_alpha, a->act_beta, a->act_gamma });
}

/* oneDNN adds to what lies in the result already, so the residual should be there, or is copied there first. What we add
 * ourselves lies elsewhere. */
static void place_residual(const struct kernel_ctx *ctx, struct state *s)
{
    enum layout l = ctx->give != NULL ? ctx->give[0] : LAYOUT_PLAIN;
    const struct conv_attrs *a = ctx->node->attrs;
    s->act = (struct act_fn){ a->act, a->act_alpha, a->act_beta, a->act_gamma };
    s->act_first = a->act_first;
    s->count = layout_bytes(&ctx->out[0].shape, l, sizeof(float)) / (int64_t)sizeof(float);
    if (ctx->in[CONV_RESIDUAL].shape.rank < 0)
        return;
    s->residual_bytes = (size_t)layout_bytes(&ctx->out[0].shape, l, sizeof(float));
    if (ctx->want != NULL)
        ctx->want[CONV_RESIDUAL] = l;
    if (ctx->over != NULL && !s->bare)
        *ctx->over = CONV_RESIDUAL;
}

static status make_conv(const struct kernel_ctx *ctx, bool narrow, void **state, size_t *scratch,
                        struct err *e)
{
    const struct tensor *scale = ctx->in[CONV_SCALE].constant;
    struct window w;
    struct state made = { 0 };
    TRY(conv_window(ctx->node->attrs, &ctx->in[0].shape, &ctx->in[1].shape, &w, e));
    TRY(onednn_conv(ctx, &w, narrow, &made.onednn, &made.bare, e));
    status s = onednn_pack(made.onednn, ctx->packs, ctx->in[CONV_W].constant->data,
                           scale != NULL ? scale->data : NULL, &made.filter, e);
    if (s != OK) {
        onednn_free(made.onednn);
        return s;
    }
    place_residual(ctx, &made);
    made.narrow_at = (onednn_scratch_bytes(made.onednn) + 63) / 64 * 64;
    enum layout l = ctx->want != NULL ? ctx->want[CONV_X] : LAYOUT_PLAIN;
    if (narrow && ctx->want == NULL)
        made.narrow =
            layout_bytes(&ctx->in[CONV_X].shape, l, sizeof(float)) / (int64_t)sizeof(float);
    TRY(finish(ctx, &made, state, scratch));
    *scratch = made.narrow_at + (size_t)made.narrow * sizeof(uint16_t);
    return OK;
}

static status prepare_conv(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    return make_conv(ctx, false, state, scratch, e);
}

static const char *refuse_narrow(const struct kernel_ctx *ctx)
{
    if (!ctx->bf16)
        return "nobody asked for bfloat16";
    if (!kernel_has_bf16())
        return "this processor does not multiply bfloat16";
    struct window w;
    const struct conv_attrs *a = ctx->node->attrs;
    if (a->groups > 1 && (ctx->in[CONV_W].shape.dim[1] != 1))
        return "there is too little to multiply";
    if (conv_window(ctx->node->attrs, &ctx->in[0].shape, &ctx->in[1].shape, &w, NULL) == OK &&
        onednn_prefers_floats(ctx, &w))
        return "winograd's way on floats is faster";
    return refuse_conv(ctx);
}

/* ---- who reads bfloat16 ---- */

static bool conv_likes_narrow(const struct node *n, int i, const struct type *x)
{
    const struct conv_attrs *a = n->attrs;
    const struct tensor *f = n->in[CONV_W]->constant;
    if (f == NULL || x->shape.rank != 4 || (a->groups > 1 && (f->shape.dim[1] != 1)))
        return false;
    /* Nothing but a window of the image's own size suits winograd. */
    struct type in[] = { *x, { .dtype = f->dtype, .shape = f->shape } };
    enum layout have[2] = { 0 };
    struct kernel_ctx ctx = { .node = n, .in = in, .have = have };
    struct window w;
    return i == CONV_RESIDUAL ||
           (i == CONV_X && conv_window(a, &x->shape, &f->shape, &w, NULL) == OK &&
            !onednn_prefers_floats(&ctx, &w));
}

static bool pool_likes_narrow(const struct node *n, int i, const struct type *x)
{
    return x->shape.rank == 4;
}

static bool matmul_likes_narrow(const struct node *n, int i, const struct type *a)
{
    const struct matmul_attrs *m = n->attrs;
    const struct tensor *b = n->in[MATMUL_B]->constant;
    return i == MATMUL_A && b != NULL && b->shape.rank == 2 && !m->trans_a && m->alpha == 1;
}

static const struct reader {
    const char *op;
    bool (*likes)(const struct node *n, int i, const struct type *t);
} readers[] = {
    { "conv2d", conv_likes_narrow },
    { "pool2d", pool_likes_narrow },
    { "matmul", matmul_likes_narrow },
};

bool kernel_likes_narrow(const struct node *n, int i, const struct type *t)
{
    for (size_t k = 0; k < ARRAY_LEN(readers); k++)
        if (strcmp(readers[k].op, n->op->name) == 0)
            return readers[k].likes(n, i, t);
    return false;
}

static status prepare_narrow(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    return make_conv(ctx, true, state, scratch, e);
}

#define NEAR 4096 /* elements that stay in the nearest cache between two loops over them */

CLONES static void add(float *out, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] += x[i];
}

static void finish_bare(const struct state *s, const float *residual, float *out)
{
    for (int64_t i = 0; i < s->count; i += NEAR) {
        int64_t n = s->count - i < NEAR ? s->count - i : NEAR;
        if (residual != NULL && !s->act_first)
            add(out + i, residual + i, n);
        cpu_act(s->act, out + i, n);
        if (residual != NULL && s->act_first)
            add(out + i, residual + i, n);
    }
}

static status run_conv(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const void *residual = io->in[CONV_RESIDUAL];
    if (s->residual_bytes > 0 && !s->bare && residual != io->out[0])
        memcpy(io->out[0], residual, s->residual_bytes);
    struct onednn_data d = { io->in[CONV_X], s->filter, io->in[CONV_BIAS], io->out[0],
                             io->scratch };
    if (s->narrow > 0) {
        d.src = (uint8_t *)io->scratch + s->narrow_at;
        cpu_narrow(io->in[CONV_X], (void *)d.src, s->narrow);
    }
    TRY(onednn_run(s->onednn, &d, io->err));
    if (s->bare)
        finish_bare(s, residual, io->out[0]);
    return OK;
}

/* ---- pool2d ---- */

/* An adaptive pooling's windows, where they divide the image evenly. */
static bool has_even_windows(const struct kernel_ctx *ctx)
{
    const struct shape *x = &ctx->in[0].shape, *y = &ctx->out[0].shape;
    return y->dim[2] > 0 && y->dim[3] > 0 && x->dim[2] % y->dim[2] == 0 &&
           x->dim[3] % y->dim[3] == 0 && x->dim[2] > 0 && x->dim[3] > 0;
}

static void set_even_windows(const struct kernel_ctx *ctx, struct window *w)
{
    const struct shape *x = &ctx->in[0].shape, *y = &ctx->out[0].shape;
    *w = (struct window){ .out_h = y->dim[2], .out_w = y->dim[3] };
    w->kernel_h = w->stride_h = x->dim[2] / y->dim[2];
    w->kernel_w = w->stride_w = x->dim[3] / y->dim[3];
}

static const char *refuse_pool(const struct kernel_ctx *ctx)
{
    const struct pool_attrs *a = ctx->node->attrs;
    if (ctx->in[0].dtype != DTYPE_F32 && (a->mode != POOL_MAX || ctx->have == NULL))
        return "only the largest of integers, with their channels last";
    if (a->adaptive && !has_even_windows(ctx))
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
    struct state made = { 0 };
    if (((const struct pool_attrs *)ctx->node->attrs)->adaptive)
        set_even_windows(ctx, &w);
    else
        TRY(pool_window(ctx->node->attrs, x, &w, e));
    /* oneDNN wants the pads that the windows really reach: more where ceil_mode rounded up, less where some are unused. */
    w.pad_bottom = (w.out_h - 1) * w.stride_h + w.kernel_h - x->dim[2] - w.pad_top;
    w.pad_right = (w.out_w - 1) * w.stride_w + w.kernel_w - x->dim[3] - w.pad_left;
    TRY(onednn_pool(ctx, &w, &made.onednn, e));
    return finish(ctx, &made, state, scratch);
}

static status run_pool(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    struct onednn_data d = { .src = io->in[0], .dst = io->out[0], .scratch = io->scratch };
    return onednn_run(s->onednn, &d, io->err);
}

const struct kernel dnnl_conv[] = {
    { "conv2d", "dnnl conv2d bf16", DTYPE_BIT(DTYPE_F32) | KERNEL_ANY_ALIGNMENT(CONV_W), DEVICE_CPU,
      refuse_narrow, prepare_narrow, run_conv, release },
    { "conv2d", "dnnl conv2d", DTYPE_BIT(DTYPE_F32) | KERNEL_ANY_ALIGNMENT(CONV_W), DEVICE_CPU,
      refuse_conv, prepare_conv, run_conv, release },
    { 0 },
};

const struct kernel dnnl_pool[] = {
    { "pool2d", "dnnl pool2d", DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_I8) | DTYPE_BIT(DTYPE_U8),
      DEVICE_CPU, refuse_pool, prepare_pool, run_pool, release },
    { 0 },
};
