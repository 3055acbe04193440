/* Attention, one head and one block of queries at a time, so that the weights of a block stay in the nearest cache: they
 * are never written to memory as a whole. Rows are not divided by their sum until they have been multiplied with the values,
 * which are fewer. */
#include "kernels/attention.h"
#include "kernels/cpu/cpu.h"
#include "kernels/dnnl/onednn.h"

#define BLOCK 64 /* queries */

struct state {
    struct attention a;
    int threads;
    bool by_onednn;
};

/* oneDNN's first product takes 30 ms: only where there are many. */
#define WORTH_IT 5e6 /* multiplications of all heads */

static double work(const struct attention *a)
{
    const struct attention_dims *d = &a->d;
    return (double)(d->batch * d->heads * d->q.tokens) * (double)d->k.tokens *
           (double)(d->q.width + d->v.width);
}

static const char *refuse(const struct kernel_ctx *ctx)
{
    for (int i = 0; i < 3; i++)
        if (shape_numel(&ctx->in[i].shape) == 0)
            return "there is nothing to compute";
    return NULL;
}

static size_t block_bytes(const struct attention *a)
{
    return (size_t)(BLOCK * a->d.k.tokens) * sizeof(float);
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(attention_sizes(ctx, &s->a, e));
    s->threads = ctx->threads;
    s->by_onednn = work(&s->a) >= WORTH_IT;
    *scratch = block_bytes(&s->a);
    *state = s;
    return OK;
}

CLONES static void add_mask(float *row, const float *mask, int64_t step, int64_t n)
{
    if (step == 1)
        for (int64_t j = 0; j < n; j++)
            row[j] += mask[j];
    else
        for (int64_t j = 0; j < n; j++)
            row[j] += mask[0];
}

/* Operands of one head. */
struct head {
    const float *q, *k, *v, *mask;
    float *out, *weight;
};

static status multiply(const struct state *s, const struct sgemm *g)
{
    if (s->by_onednn)
        return onednn_sgemm(g);
    struct gemm own = { g->m, g->n, g->k, g->lda, g->trans_b, g->alpha, { 0 }, g->ldb, g->ldc };
    cpu_gemm(&own, g->a, g->b, NULL, g->c);
    return OK;
}

static status block(const struct state *s, const struct head *h, int64_t from, int64_t rows)
{
    const struct attention *a = &s->a;
    const struct attention_dims *d = &a->d;
    int64_t n = d->k.tokens;
    float sum[BLOCK], *out = h->out + from * d->out.token_step;
    struct sgemm qk = { .m = rows,
                        .n = n,
                        .k = d->q.width,
                        .alpha = a->scale,
                        .threads = s->threads,
                        .a = h->q + from * d->q.token_step,
                        .lda = d->q.token_step,
                        .b = h->k,
                        .ldb = d->k.token_step,
                        .trans_b = true,
                        .c = h->weight,
                        .ldc = n };
    TRY(multiply(s, &qk));
    for (int64_t i = 0; i < rows; i++) {
        float *row = h->weight + i * n;
        if (h->mask != NULL)
            add_mask(row, h->mask + (from + i) * a->mask_step[2], a->mask_step[3], n);
        sum[i] = cpu_exp_row(row, row, n);
    }
    struct sgemm wv = { .m = rows,
                        .n = d->v.width,
                        .k = n,
                        .alpha = 1,
                        .threads = s->threads,
                        .a = h->weight,
                        .lda = n,
                        .b = h->v,
                        .ldb = d->v.token_step,
                        .c = out,
                        .ldc = d->out.token_step };
    TRY(multiply(s, &wv));
    for (int64_t i = 0; i < rows; i++)
        cpu_scale_row(out + i * d->out.token_step, d->v.width, 1 / sum[i]);
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const struct attention *a = &s->a;
    const struct attention_dims *d = &a->d;
    for (int64_t i = 0; i < d->batch * d->heads; i++) {
        int64_t b = i / d->heads, h = i % d->heads;
        const float *mask = io->in[3];
        struct head head = {
            .q = (const float *)io->in[0] + b * d->q.batch_step + h * d->q.head_step,
            .k = (const float *)io->in[1] + b * d->k.batch_step + h * d->k.head_step,
            .v = (const float *)io->in[2] + b * d->v.batch_step + h * d->v.head_step,
            .mask = mask != NULL ? mask + b * a->mask_step[0] + h * a->mask_step[1] : NULL,
            .out = (float *)io->out[0] + b * d->out.batch_step + h * d->out.head_step,
            .weight = io->scratch,
        };
        for (int64_t m = 0; m < d->q.tokens; m += BLOCK)
            if (block(s, &head, m, d->q.tokens - m < BLOCK ? d->q.tokens - m : BLOCK) != OK)
                return err_set(io->err, INTERNAL, "oneDNN: sgemm failed");
    }
    return OK;
}

const struct kernel dnnl_attention[] = {
    { "attention", "dnnl attention", F32_ONLY, DEVICE_CPU, refuse, prepare, run, NULL },
    { 0 },
};
