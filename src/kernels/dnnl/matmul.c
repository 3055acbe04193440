/* Large matrix products by oneDNN's sgemm; small ones do not pay for its way in. */
#include "kernels/broadcast.h"
#include "kernels/cpu/cpu.h"
#include "kernels/dnnl/onednn.h"

struct state {
    struct matmul_dims d;
    struct matmul_attrs attrs;
    struct broadcast walk; /* over the batch dimensions, in matrices */
};

#define WORTH_IT (64.0 * 1024) /* multiplications of one matrix */

static const char *refuse(const struct kernel_ctx *ctx)
{
    struct matmul_dims d;
    if (ctx->in[3].shape.rank >= 0)
        return "something is added to its result";
    matmul_dims(ctx->node->attrs, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    if (d.trans_a)
        return shape_numel(&ctx->out[0].shape) > 0 && d.k > 0 ? NULL
                                                              : "there is nothing to compute";
    return (double)d.m * (double)d.n * (double)d.k < WORTH_IT || d.m == 1 ? "too small" : NULL;
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct matmul_attrs *)ctx->node->attrs;
    matmul_dims(&s->attrs, &ctx->in[0].shape, &ctx->in[1].shape, &s->d);
    broadcast_plan(&s->d.stack_a, &s->d.stack_b, &s->d.stack, &s->walk);
    *state = s;
    return OK;
}

/* Bias and activation over one product. */
static void finish(const struct state *s, const float *bias, float *out)
{
    const struct act_fn fn = { s->attrs.act, s->attrs.act_alpha, s->attrs.act_beta,
                               s->attrs.act_gamma };
    for (int64_t i = 0; i < s->d.m; i++, out += s->d.n) {
        for (int64_t j = 0; bias != NULL && j < s->d.n; j++)
            out[j] += bias[j];
        cpu_act(fn, out, s->d.n);
    }
}

static status multiply(const struct state *s, const struct kernel_io *io, int64_t at_a,
                       int64_t at_b, float *out)
{
    const float *a = (const float *)io->in[0] + at_a * s->d.m * s->d.k;
    const float *b = (const float *)io->in[1] + at_b * s->d.k * s->d.n;
    if (onednn_sgemm(&s->d, s->attrs.alpha, a, b, out) != OK)
        return err_set(io->err, INTERNAL, "oneDNN: sgemm failed");
    finish(s, io->in[2], out);
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    float *out = io->out[0];
    int64_t index[SHAPE_MAX] = { 0 }, at_a = 0, at_b = 0;
    int last = s->walk.rank - 1;
    do {
        for (int64_t i = 0; i < s->walk.dim[last]; i++, out += s->d.m * s->d.n)
            TRY(multiply(s, io, at_a + i * s->walk.step_a[last], at_b + i * s->walk.step_b[last],
                         out));
    } while (broadcast_next(&s->walk, index, &at_a, &at_b));
    return OK;
}

const struct kernel dnnl_matmul[] = {
    { "matmul", "dnnl matmul", F32_ONLY, DEVICE_CPU, refuse, prepare, run, NULL },
    { 0 },
};
