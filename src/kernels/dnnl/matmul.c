/* Large matrix products by oneDNN's sgemm, which reads the weights where they lie: packing them would cost memory and
 * time at loading, and was measured to bring nothing (110 of 115 GFLOP/s either way). Its first call takes 30 ms, so that
 * models of small products had better not make it. */
#include "kernels/broadcast.h"
#include "kernels/cpu/cpu.h"
#include "kernels/dnnl/onednn.h"

#include <string.h>

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
        struct gemm whole = { .m = d->m, .n = d->n, .act = s->act };
        cpu_gemm_finish(&whole, bias, residual, j, columns, out);
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

/* ---- in bfloat16 ---- */

struct narrow {
    struct onednn *onednn;
    const void *packed;
    int64_t count;    /* elements of a that we bring to bfloat16, where nobody else does; or 0 */
    size_t narrow_at; /* in the scratch */
    size_t residual_bytes; /* of what is added; 0: nothing */
};

static const char *refuse_narrow(const struct kernel_ctx *ctx)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    struct matmul_dims d;
    if (!ctx->bf16)
        return "nobody asked for bfloat16";
    if (!kernel_has_bf16())
        return "this processor does not multiply bfloat16";
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    join_rows(&d);
    if (ctx->in[1].constant == NULL || d.stack.rank > 0 || d.trans_a || a->alpha != 1)
        return "only for rows times a constant";
    if ((double)d.m * (double)d.n * (double)d.k < 1e5)
        return "too small";
    return onednn_refuse_act((struct act_fn){ a->act, a->act_alpha, a->act_beta, a->act_gamma });
}

static void place(const struct kernel_ctx *ctx, struct narrow *s)
{
    enum layout give = LAYOUT_PLAIN;
    bool sums = ctx->in[MATMUL_RESIDUAL].shape.rank >= 0;
    if (ctx->want != NULL) {
        give = ctx->narrow ? layout_narrow(LAYOUT_PLAIN) : LAYOUT_PLAIN;
        ctx->want[MATMUL_A] = layout_narrow(LAYOUT_PLAIN);
        ctx->give[0] = give;
    }
    if (sums && ctx->want != NULL)
        ctx->want[MATMUL_RESIDUAL] = give;
    if (sums && ctx->over != NULL)
        *ctx->over = MATMUL_RESIDUAL;
    if (sums)
        s->residual_bytes = (size_t)layout_bytes(&ctx->out[0].shape, give, sizeof(float));
}

static status prepare_narrow(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    struct narrow made = { 0 };
    struct matmul_dims d;
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &d);
    join_rows(&d);
    TRY(onednn_matmul_bf16(ctx, &d, &made.onednn, e));
    status s =
        onednn_pack(made.onednn, ctx->packs, ctx->in[1].constant->data, NULL, &made.packed, e);
    if (s != OK) {
        onednn_free(made.onednn);
        return s;
    }
    *scratch = made.narrow_at = (onednn_scratch_bytes(made.onednn) + 63) / 64 * 64;
    if (ctx->want == NULL) {
        made.count = d.m * d.k;
        *scratch += (size_t)made.count * sizeof(uint16_t);
    }
    place(ctx, &made);
    *state = arena_zalloc(ctx->arena, sizeof(made));
    *(struct narrow *)*state = made;
    return OK;
}

/* oneDNN adds to what lies in the result already. */
static status run_narrow(const void *state, const struct kernel_io *io)
{
    const struct narrow *s = state;
    void *narrow = (uint8_t *)io->scratch + s->narrow_at;
    struct onednn_data d = { io->in[0], s->packed, io->in[MATMUL_BIAS], io->out[0], io->scratch };
    if (s->residual_bytes > 0 && io->in[MATMUL_RESIDUAL] != io->out[0])
        memcpy(io->out[0], io->in[MATMUL_RESIDUAL], s->residual_bytes);
    if (s->count > 0) {
        cpu_narrow(io->in[0], narrow, s->count);
        d.src = narrow;
    }
    return onednn_run(s->onednn, &d, io->err);
}

static void release_narrow(void *state)
{
    if (state != NULL)
        onednn_free(((struct narrow *)state)->onednn);
}

const struct kernel dnnl_matmul[] = {
    { "matmul", "dnnl matmul bf16", F32_ONLY | KERNEL_ANY_ALIGNMENT(1), DEVICE_CPU, refuse_narrow,
      prepare_narrow, run_narrow, release_narrow },
    { "matmul", "dnnl matmul", F32_ONLY | KERNEL_SLOW_UNALIGNED(1), DEVICE_CPU, refuse, prepare,
      run, NULL },
    { 0 },
};
