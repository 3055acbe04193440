#include "kernels/broadcast.h"
#include "kernels/cpu/cpu.h"

struct state {
    struct gemm gemm;
    struct broadcast walk; /* over the batch dimensions, in matrices */
    int64_t size_a, size_b, size_out, count;
};

static const char *refuse(const struct kernel_ctx *ctx)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    return a->trans_a && ctx->in[0].shape.rank > 1 ? "its first operand is transposed" : NULL;
}

/* A stack of matrices times one shared matrix is one tall product. */
static void join_rows(struct matmul_dims *d)
{
    if (d->stack_b.rank > 0 || d->stack.rank == 0)
        return;
    d->m *= shape_numel(&d->stack);
    d->stack = d->stack_a = (struct shape){ .rank = 0 };
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    struct matmul_dims d;
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    join_rows(&d);
    s->gemm = (struct gemm){ .m = d.m,
                             .n = d.n,
                             .k = d.k,
                             .lda = d.k,
                             .trans_b = d.trans_b,
                             .alpha = a->alpha,
                             .act = { a->act, a->act_alpha, a->act_beta, a->act_gamma } };
    broadcast_plan(&d.stack_a, &d.stack_b, &d.stack, &s->walk);
    s->size_a = d.m * d.k;
    s->size_b = d.k * d.n;
    s->size_out = d.m * d.n;
    s->count = shape_numel(&ctx->out[0].shape);
    *state = s;
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *a = io->in[0], *b = io->in[1], *residual = io->in[3];
    float *out = io->out[0];
    int64_t index[SHAPE_MAX] = { 0 }, at_a = 0, at_b = 0;
    int last = s->walk.rank - 1;
    if (s->count == 0)
        return OK;
    do {
        for (int64_t i = 0; i < s->walk.dim[last]; i++, out += s->size_out) {
            cpu_gemm_add(&s->gemm, a + (at_a + i * s->walk.step_a[last]) * s->size_a,
                         b + (at_b + i * s->walk.step_b[last]) * s->size_b, io->in[2], residual,
                         out);
            residual = residual != NULL ? residual + s->size_out : NULL;
        }
    } while (broadcast_next(&s->walk, index, &at_a, &at_b));
    return OK;
}

const struct kernel cpu_matmul[] = {
    { "matmul", "cpu matmul", F32_ONLY, DEVICE_CPU, refuse, prepare, run, NULL },
    { 0 },
};
