#include "kernels/broadcast.h"
#include "kernels/ref/ref.h"

struct state {
    struct matmul_dims d;
    float alpha;
    struct act_fn act;
    struct broadcast walk; /* over the batch dimensions, in matrices */
    int64_t count;
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct matmul_attrs *a = ctx->node->attrs;
    s->alpha = a->alpha;
    s->act = (struct act_fn){ a->act, a->act_alpha, a->act_beta, a->act_gamma };
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &s->d);
    broadcast_plan(&s->d.stack_a, &s->d.stack_b, &s->d.stack, &s->walk);
    s->count = shape_numel(&ctx->out[0].shape);
    *state = s;
    return OK;
}

static double dot(const struct matmul_dims *d, const float *a, const float *b, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t k = 0; k < d->k; k++) {
        double x = d->trans_a ? a[k * d->m + i] : a[i * d->k + k];
        double y = d->trans_b ? b[j * d->k + k] : b[k * d->n + j];
        sum += x * y;
    }
    return sum;
}

/* residual: of this product; may be NULL, as bias. */
static void multiply(const struct state *s, const float *a, const float *b, const float *bias,
                     const float *residual, float *out)
{
    const struct matmul_dims *d = &s->d;
    for (int64_t i = 0; i < d->m; i++)
        for (int64_t j = 0; j < d->n; j++) {
            double v = s->alpha * dot(d, a, b, i, j) + (bias != NULL ? bias[j] : 0);
            int64_t at = i * d->n + j;
            out[at] = (float)(ref_act_fn(s->act, v) + (residual != NULL ? residual[at] : 0));
        }
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const struct matmul_dims *d = &s->d;
    const float *a = io->in[0], *b = io->in[1], *residual = io->in[3];
    float *out = io->out[0];
    int64_t index[SHAPE_MAX] = { 0 }, at_a = 0, at_b = 0;
    int last = s->walk.rank - 1;
    if (s->count == 0)
        return OK;
    do {
        for (int64_t i = 0; i < s->walk.dim[last]; i++, out += d->m * d->n) {
            multiply(s, a + (at_a + i * s->walk.step_a[last]) * d->m * d->k,
                     b + (at_b + i * s->walk.step_b[last]) * d->k * d->n, io->in[2], residual, out);
            residual = residual != NULL ? residual + d->m * d->n : NULL;
        }
    } while (broadcast_next(&s->walk, index, &at_a, &at_b));
    return OK;
}

const struct kernel ref_matmul[] = {
    { "matmul", "ref matmul", F32_ONLY, DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
