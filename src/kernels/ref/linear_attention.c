#include "graph/attrs_linear_attention.h"
#include "kernels/ref/ref.h"

#include <string.h>

struct state {
    struct linear_attention_dims d;
    double scale;
};

/* Scratch: one token's v'. */
static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    float scale = ((const struct linear_attention_attrs *)ctx->node->attrs)->scale;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(linear_attention_dims(ctx->node, ctx->in, &s->d, e));
    s->scale = scale != 0 ? (double)scale : 1 / sqrt((double)s->d.key);
    *scratch = (size_t)s->d.value * sizeof(float);
    *state = s;
    return OK;
}

/* S = exp(g) S, one row of S for each number of a key. */
static void decay(const struct state *s, const float *gate, float *S)
{
    for (int64_t i = 0; i < s->d.key; i++) {
        float by = expf(gate[s->d.decay_by_key ? i : 0]);
        for (int64_t j = 0; j < s->d.value; j++)
            S[i * s->d.value + j] *= by;
    }
}

/* beta (v - S' k) */
static void correct(const struct state *s, const float *S, const float *k, float beta, float *v)
{
    for (int64_t j = 0; j < s->d.value; j++) {
        double seen = 0;
        for (int64_t i = 0; i < s->d.key; i++)
            seen += (double)S[i * s->d.value + j] * k[i];
        v[j] = beta * (v[j] - (float)seen);
    }
}

static void read_out(const struct state *s, const float *S, const float *q, float *out)
{
    for (int64_t j = 0; j < s->d.value; j++) {
        double sum = 0;
        for (int64_t i = 0; i < s->d.key; i++)
            sum += (double)q[i] * S[i * s->d.value + j];
        out[j] = (float)(s->scale * sum);
    }
}

/* token: counted over all batches. */
static void step(const struct state *s, const struct kernel_io *io, int64_t token, int64_t head,
                 float *S)
{
    const struct linear_attention_dims *d = &s->d;
    int64_t at = token * d->kv_heads + head, group = d->q_heads / d->kv_heads;
    const float *k = (const float *)io->in[LINEAR_K] + at * d->key;
    const float *gate = io->in[LINEAR_DECAY], *beta = io->in[LINEAR_BETA];
    float *v = io->scratch;
    if (d->value > 0)
        memcpy(v, (const float *)io->in[LINEAR_V] + at * d->value,
               (size_t)d->value * sizeof(float));
    if (gate != NULL)
        decay(s, gate + (d->decay_by_key ? at * d->key : at), S);
    if (beta != NULL)
        correct(s, S, k, beta[d->beta_by_head ? at : token], v);
    for (int64_t i = 0; i < d->key; i++)
        for (int64_t j = 0; j < d->value; j++)
            S[i * d->value + j] += k[i] * v[j];
    for (int64_t g = 0; g < group; g++) {
        int64_t q = token * d->q_heads + head * group + g;
        read_out(s, S, (const float *)io->in[LINEAR_Q] + q * d->key,
                 (float *)io->out[0] + q * d->value);
    }
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    int64_t size = s->d.key * s->d.value, count = s->d.batch * s->d.kv_heads;
    const float *begin = io->in[LINEAR_STATE];
    float *S = io->out[1];
    for (int64_t i = 0; i < count * size; i++)
        S[i] = begin != NULL ? begin[i] : 0;
    for (int64_t b = 0; b < s->d.batch; b++)
        for (int64_t h = 0; h < s->d.kv_heads; h++)
            for (int64_t t = 0; t < s->d.tokens; t++)
                step(s, io, b * s->d.tokens + t, h, S + (b * s->d.kv_heads + h) * size);
    return OK;
}

const struct kernel ref_linear_attention[] = {
    { "linear_attention", "ref linear_attention", F32_ONLY, DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
