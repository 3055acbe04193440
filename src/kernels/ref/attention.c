#include "kernels/attention.h"
#include "kernels/ref/ref.h"

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct attention *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(attention_sizes(ctx, s, e));
    *scratch = (size_t)s->d.k.tokens * sizeof(double) + sizeof(double);
    *state = s;
    return OK;
}

/* Weights of the keys for one query, which add up to one. */
static void weigh(const struct attention *s, const float *q, const float *k, const float *mask,
                  double *weight)
{
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < s->d.k.tokens; j++) {
        double dot = 0;
        for (int64_t i = 0; i < s->d.q.width; i++)
            dot += (double)q[i] * k[j * s->d.k.token_step + i];
        weight[j] = dot * s->scale + (mask != NULL ? mask[j * s->mask_step[3]] : 0);
        top = weight[j] > top || isnan(weight[j]) ? weight[j] : top;
    }
    for (int64_t j = 0; j < s->d.k.tokens; j++)
        sum += weight[j] = exp(weight[j] - top);
    for (int64_t j = 0; j < s->d.k.tokens; j++)
        weight[j] /= sum;
}

static void head(const struct attention *s, const struct kernel_io *io, int64_t b, int64_t h)
{
    const struct attention_dims *d = &s->d;
    const float *q =
        (const float *)io->in[0] + d->q.offset + b * d->q.batch_step + h * d->q.head_step;
    const float *k =
        (const float *)io->in[1] + d->k.offset + b * d->k.batch_step + h * d->k.head_step;
    const float *v =
        (const float *)io->in[2] + d->v.offset + b * d->v.batch_step + h * d->v.head_step;
    float *out = (float *)io->out[0] + b * d->out.batch_step + h * d->out.head_step;
    const float *mask = io->in[3];
    if (mask != NULL)
        mask += b * s->mask_step[0] + h * s->mask_step[1];
    for (int64_t m = 0; m < d->q.tokens; m++) {
        weigh(s, q + m * d->q.token_step, k, mask != NULL ? mask + m * s->mask_step[2] : NULL,
              io->scratch);
        for (int64_t i = 0; i < d->v.width; i++) {
            double sum = 0;
            for (int64_t j = 0; j < d->k.tokens; j++)
                sum += ((const double *)io->scratch)[j] * v[j * d->v.token_step + i];
            out[m * d->out.token_step + i] = (float)sum;
        }
    }
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct attention *s = state;
    for (int64_t b = 0; b < s->d.batch; b++)
        for (int64_t h = 0; h < s->d.heads; h++)
            head(s, io, b, h);
    return OK;
}

const struct kernel ref_attention[] = {
    { "attention", "ref attention", F32_ONLY, DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
