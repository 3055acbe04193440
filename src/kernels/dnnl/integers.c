/* Convolutions and products of int8 and uint8 by oneDNN, and the largest of windows. */
#include "kernels/cpu/cpu.h"
#include "kernels/dnnl/onednn.h"

#include <math.h>
#include <string.h>

struct state {
    struct onednn *onednn;
    const void *filter;
    float *bias;  /* in units of the products; NULL: none */
    int residual; /* which input; -1: none */
    size_t residual_bytes;
};

static void release(void *state)
{
    if (state != NULL)
        onednn_free(((struct state *)state)->onednn);
}

static const char *refuse_sum(const struct kernel_ctx *ctx, int residual)
{
    const struct type *r = &ctx->in[residual];
    if (r->shape.rank >= 0 && dtype_size(r->dtype) != dtype_size(ctx->out[0].dtype))
        return "what is added differs in size from the result";
    return NULL;
}

/* A step of 0 makes the bias, which is divided by it, no number: what it multiplies is then 0 next to the bias anyhow. */
#define LEAST_SCALE 1e-20f

/* f(c x) = c f(x) for c > 0 */
static bool is_homogeneous(struct act_fn f)
{
    return f.kind == ACT_NONE || f.kind == ACT_RELU || f.kind == ACT_LEAKY_RELU;
}

/* Inputs of the node that count here. */
struct roles {
    int bias, scale, residual;
    struct act_fn act;
    bool act_first;
    struct integers q;
};

/* One multiplication does for the step of the products and that of the result where the activation lets it through. */
static void work_out(const struct kernel_ctx *ctx, const struct roles *r, struct onednn_units *u,
                     struct state *s)
{
    const float *scale = ctx->in[r->scale].constant->data;
    int64_t count = shape_numel(&ctx->in[r->scale].shape);
    bool sums = ctx->in[r->residual].shape.rank >= 0, biased = ctx->in[r->bias].shape.rank >= 0;
    const float *bias = biased ? ctx->in[r->bias].constant->data : NULL;
    float *by = arena_alloc(ctx->arena, (size_t)count * sizeof(float));
    float unit = r->q.result == RESULT_F32 ? 1 : 1 / r->q.out_scale;
    bool early = is_homogeneous(r->act);
    s->bias = biased ? arena_alloc(ctx->arena, (size_t)count * sizeof(float)) : NULL;
    for (int64_t c = 0; c < count; c++) {
        float step = fabsf(scale[c]) < LEAST_SCALE ? LEAST_SCALE : scale[c];
        by[c] = early ? step * unit : step;
        if (biased)
            s->bias[c] = bias[c] / step;
    }
    *u = (struct onednn_units){ .scale = by,
                                .count = count,
                                .x_zero = r->q.x_zero,
                                .out_zero = r->q.result == RESULT_F32 ? 0 : r->q.out_zero,
                                .sum_zero = r->q.residual_zero,
                                .act_scale = early ? 1 : unit,
                                .sum_type = ctx->in[r->residual].dtype };
    u->sum_scale = r->q.residual_scale * (early || r->act_first ? unit : 1);
    s->residual = sums ? r->residual : -1;
}

static status keep(const struct kernel_ctx *ctx, struct state *made, const void *filter,
                   void **state, size_t *scratch, struct err *e)
{
    status s = onednn_pack(made->onednn, ctx->packs, filter, NULL, &made->filter, e);
    if (s != OK) {
        onednn_free(made->onednn);
        return s;
    }
    struct tensor out = { .dtype = ctx->out[0].dtype, .shape = ctx->out[0].shape };
    made->residual_bytes = (size_t)tensor_bytes(&out);
    if (made->residual >= 0 && ctx->over != NULL)
        *ctx->over = made->residual;
    *scratch = onednn_scratch_bytes(made->onednn);
    *state = arena_zalloc(ctx->arena, sizeof(*made));
    *(struct state *)*state = *made;
    return OK;
}

/* oneDNN adds to what lies in the result already. */
static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    struct onednn_data d = { io->in[0], s->filter, s->bias, io->out[0], io->scratch };
    if (s->residual >= 0 && io->in[s->residual] != io->out[0])
        memcpy(io->out[0], io->in[s->residual], s->residual_bytes);
    return onednn_run(s->onednn, &d, io->err);
}

static const char *refuse_constants(const struct kernel_ctx *ctx, const struct roles *r)
{
    if (ctx->in[1].constant == NULL || ctx->in[r->scale].constant == NULL ||
        (ctx->in[r->bias].shape.rank >= 0 && ctx->in[r->bias].constant == NULL))
        return "its weights are not constants";
    if (shape_numel(&ctx->out[0].shape) == 0 || shape_numel(&ctx->in[0].shape) == 0)
        return "there is nothing to compute";
    const char *why = refuse_sum(ctx, r->residual);
    return why != NULL ? why : onednn_refuse_act(r->act);
}

/* Zero points and mixed dtypes are not taken everywhere. */
static bool is_odd(const struct kernel_ctx *ctx, const struct roles *r)
{
    return r->q.x_zero != 0 || r->q.out_zero != 0 || r->act.kind > ACT_RELU ||
           (ctx->in[r->residual].shape.rank >= 0 &&
            ctx->in[r->residual].dtype != ctx->out[0].dtype);
}

/* Whether oneDNN takes an odd one shows when it is asked. */
static const char *refuse(const struct kernel_ctx *ctx, const struct roles *r,
                          status (*open)(const struct kernel_ctx *ctx, struct state *made,
                                         struct err *e))
{
    struct state made = { 0 };
    const char *why = refuse_constants(ctx, r);
    if (why != NULL || !is_odd(ctx, r))
        return why;
    status s = open(ctx, &made, NULL);
    onednn_free(made.onednn);
    return s == OK ? NULL : "oneDNN does not take its zero points, sums or activation";
}

/* ---- conv2d ---- */

static struct roles conv_roles(const struct node *n)
{
    const struct conv_attrs *a = n->attrs;
    return (struct roles){ CONV_BIAS,     CONV_SCALE,
                           CONV_RESIDUAL, { a->act, a->act_alpha, a->act_beta, a->act_gamma },
                           a->act_first,  a->q };
}

static status open_conv(const struct kernel_ctx *ctx, struct state *made, struct err *e)
{
    const struct roles r = conv_roles(ctx->node);
    struct onednn_units units;
    struct window w;
    TRY(conv_window(ctx->node->attrs, &ctx->in[0].shape, &ctx->in[1].shape, &w, e));
    work_out(ctx, &r, &units, made);
    return onednn_conv_int8(ctx, &w, &units, &made->onednn, e);
}

static const char *refuse_conv(const struct kernel_ctx *ctx)
{
    const struct roles r = conv_roles(ctx->node);
    return ctx->have == NULL ? "its image lies plain" : refuse(ctx, &r, open_conv);
}

static status prepare_conv(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    struct state made = { 0 };
    TRY(open_conv(ctx, &made, e));
    if (made.residual >= 0)
        ctx->want[CONV_RESIDUAL] = ctx->give[0];
    return keep(ctx, &made, ctx->in[CONV_W].constant->data, state, scratch, e);
}

/* ---- matmul ---- */

static struct roles matmul_roles(const struct node *n)
{
    const struct matmul_attrs *a = n->attrs;
    return (struct roles){ MATMUL_BIAS,
                           MATMUL_SCALE,
                           MATMUL_RESIDUAL,
                           { a->act, a->act_alpha, a->act_beta, a->act_gamma },
                           true,
                           a->q };
}

static status open_matmul(const struct kernel_ctx *ctx, struct state *made, struct err *e)
{
    const struct roles r = matmul_roles(ctx->node);
    struct onednn_units units;
    struct matmul_dims d;
    matmul_dims(ctx->node->attrs, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    d.m *= shape_numel(&d.stack);
    work_out(ctx, &r, &units, made);
    return onednn_matmul_int8(ctx, &d, &units, &made->onednn, e);
}

static const char *refuse_matmul(const struct kernel_ctx *ctx)
{
    const struct roles r = matmul_roles(ctx->node);
    return refuse(ctx, &r, open_matmul);
}

static status prepare_matmul(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct state made = { 0 };
    TRY(open_matmul(ctx, &made, e));
    return keep(ctx, &made, ctx->in[MATMUL_B].constant->data, state, scratch, e);
}

#define INTEGERS (DTYPE_BIT(DTYPE_I8) | DTYPE_BIT(DTYPE_U8))

// clang-format off
const struct kernel dnnl_integers[] = {
    { "conv2d", "dnnl conv2d int8", INTEGERS, DEVICE_CPU, refuse_conv,   prepare_conv,   run, release },
    { "matmul", "dnnl matmul int8", INTEGERS, DEVICE_CPU, refuse_matmul, prepare_matmul, run, release },
    { 0 },
};
// clang-format on
