#include "kernels/lstm.h"
#include "kernels/ref/ref.h"

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct lstm_sizes *s = arena_zalloc(ctx->arena, sizeof(*s));
    lstm_sizes(ctx, s);
    *scratch = (size_t)s->width * 5 * sizeof(float); /* gates, and a row of zeros */
    *state = s;
    return OK;
}

/* gates = x + bias + h_before x weight */
static void add_up(const struct lstm_sizes *s, const float *x, const float *bias,
                   const float *weight, const float *h_before, float *gates)
{
    int64_t n = 4 * s->width;
    for (int64_t j = 0; j < n; j++) {
        double sum = (double)x[j] + bias[j];
        for (int64_t k = 0; k < s->width; k++)
            sum += (double)h_before[k] * weight[k * n + j];
        gates[j] = (float)sum;
    }
}

static void sequence(const struct lstm_sizes *s, const struct kernel_io *io, int64_t from,
                     int64_t to, const float *h, const float *c)
{
    const float *x = io->in[LSTM_X];
    float *hidden = io->out[0], *cell = io->out[1];
    for (int64_t i = 0; i < to - from; i++) {
        int64_t t = s->attrs.reverse ? to - 1 - i : from + i, d = s->width;
        add_up(s, x + t * 4 * d, io->in[LSTM_BIAS], io->in[LSTM_WEIGHT], h, io->scratch);
        lstm_step(s, io->scratch, io->in[LSTM_BIAS], c, cell + t * d, hidden + t * d);
        h = hidden + t * d;
        c = cell + t * d;
    }
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct lstm_sizes *s = state;
    const int64_t *offset = io->in[LSTM_OFFSETS];
    const float *h0 = io->in[LSTM_H0], *c0 = io->in[LSTM_C0];
    float *zeros = (float *)io->scratch + 4 * s->width;
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t j = 0; j < s->width; j++)
        zeros[j] = 0;
    for (int64_t i = 0; i < s->sequences; i++)
        sequence(s, io, offset[i], offset[i + 1], h0 != NULL ? h0 + i * s->width : zeros,
                 c0 != NULL ? c0 + i * s->width : zeros);
    return OK;
}

const struct kernel ref_rnn[] = {
    { "lstm", "ref lstm", F32_ONLY, DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
