/* Large matrix products by oneDNN's sgemm, which reads the weights where they lie: packing them would cost memory and
 * time at loading, and was measured to bring nothing (110 of 115 GFLOP/s either way). Its first call takes 30 ms, so that
 * models of small products had better not make it. */
#include "kernels/broadcast.h"
#include "kernels/cpu/cpu.h"
#include "kernels/dnnl/onednn.h"

struct state {
    struct matmul_dims d;
    float alpha;
    struct act_fn act;
    int threads;
    struct broadcast walk; /* over the batch dimensions, in matrices */
    int64_t columns;       /* of the result that are made, and then finished, at a time */
};

#define WORTH_IT   16e6        /* multiplications of one matrix */
#define CACHE_SIZE (64 * 1024) /* elements of the result that stay near until they are finished */

/* A stack of matrices times one shared matrix is one tall product. */
static void join_rows(struct matmul_dims *d)
{
    if (d->stack_b.rank > 0 || d->trans_a || d->stack.rank == 0)
        return;
    d->m *= shape_numel(&d->stack);
    d->stack = d->stack_a = (struct shape){ .rank = 0 };
}

static const char *refuse(const struct kernel_ctx *ctx)
{
    struct matmul_dims d;
    matmul_dims(ctx->node->attrs, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    if (shape_numel(&ctx->out[0].shape) == 0 || d.k == 0)
        return "there is nothing to compute";
    if (d.trans_a || ctx->threads > 1)
        return NULL;
    join_rows(&d);
    return (double)d.m * (double)d.n * (double)d.k < WORTH_IT || d.m == 1 ? "too small" : NULL;
}

static int64_t columns_at_a_time(const struct matmul_dims *d)
{
    int64_t columns = CACHE_SIZE / d->m / 64 * 64;
    if (columns < 256) /* narrower ones would be slower than what they save */
        columns = 256;
    return columns < d->n ? columns : d->n;
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->alpha = a->alpha;
    s->act = (struct act_fn){ a->act, a->act_alpha, a->act_beta, a->act_gamma };
    s->threads = ctx->threads;
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &s->d);
    join_rows(&s->d);
    broadcast_plan(&s->d.stack_a, &s->d.stack_b, &s->d.stack, &s->walk);
    bool finishes = ctx->in[2].shape.rank >= 0 || ctx->in[3].shape.rank >= 0 || a->act != ACT_NONE;
    s->columns = finishes ? columns_at_a_time(&s->d) : s->d.n;
    *state = s;
    return OK;
}

CLONES static void add_row(float *out, const float *x, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        out[j] += x[j];
}

/* Bias, activation and residual over `columns` columns of one product; bias and residual may be NULL. */
static void finish(const struct state *s, const float *bias, const float *residual, float *out,
                   int64_t columns)
{
    if (bias == NULL && residual == NULL && s->act.kind == ACT_NONE)
        return;
    for (int64_t i = 0; i < s->d.m; i++, out += s->d.n) {
        if (bias != NULL)
            add_row(out, bias, columns);
        cpu_act(s->act, out, columns);
        if (residual != NULL)
            add_row(out, residual + i * s->d.n, columns);
    }
}

static status multiply(const struct state *s, const float *a, const float *b, const float *bias,
                       const float *residual, float *out)
{
    const struct matmul_dims *d = &s->d;
    for (int64_t j = 0; j < d->n; j += s->columns) {
        int64_t columns = d->n - j < s->columns ? d->n - j : s->columns;
        struct sgemm g = { .m = d->m,
                           .n = columns,
                           .k = d->k,
                           .alpha = s->alpha,
                           .a = a,
                           .lda = d->trans_a ? d->m : d->k,
                           .trans_a = d->trans_a,
                           .b = b + (d->trans_b ? j * d->k : j),
                           .ldb = d->trans_b ? d->k : d->n,
                           .trans_b = d->trans_b,
                           .c = out + j,
                           .ldc = d->n,
                           .threads = s->threads };
        TRY(onednn_sgemm(&g));
        finish(s, bias != NULL ? bias + j : NULL, residual != NULL ? residual + j : NULL, out + j,
               columns);
    }
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *a = io->in[0], *b = io->in[1], *residual = io->in[3];
    float *out = io->out[0];
    int64_t index[SHAPE_MAX] = { 0 }, at_a = 0, at_b = 0, size = s->d.m * s->d.n;
    int last = s->walk.rank - 1;
    do {
        for (int64_t i = 0; i < s->walk.dim[last]; i++, out += size) {
            if (multiply(s, a + (at_a + i * s->walk.step_a[last]) * s->d.m * s->d.k,
                         b + (at_b + i * s->walk.step_b[last]) * s->d.k * s->d.n, io->in[2],
                         residual, out) != OK)
                return err_set(io->err, INTERNAL, "oneDNN: sgemm failed");
            residual = residual != NULL ? residual + size : NULL;
        }
    } while (broadcast_next(&s->walk, index, &at_a, &at_b));
    return OK;
}

const struct kernel dnnl_matmul[] = {
    { "matmul", "dnnl matmul", F32_ONLY, DEVICE_CPU, refuse, prepare, run, NULL },
    { 0 },
};
