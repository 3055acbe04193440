#include "kernels/cpu/cpu.h"
#include "kernels/lstm.h"
#include "kernels/ref/ref.h"

#include <string.h>

struct state {
    struct lstm_sizes sizes;
    struct gemm recurrent; /* h_before x weight */
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    lstm_sizes(ctx, &s->sizes);
    int64_t d = s->sizes.width;
    s->recurrent = (struct gemm){ .m = 1, .n = 4 * d, .k = d, .lda = d, .alpha = 1 };
    *scratch = (size_t)d * 9 * sizeof(float); /* sums, gates, and a row of zeros */
    *state = s;
    return OK;
}

CLONES static void add_bias(const float *x, const float *bias, float *sum, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] = x[i] + bias[i];
}

static void sequence(const struct state *s, const struct kernel_io *io, int64_t from, int64_t to,
                     const float *h, const float *c)
{
    const float *x = io->in[LSTM_X], *bias = io->in[LSTM_BIAS];
    float *hidden = io->out[0], *cell = io->out[1];
    int64_t d = s->sizes.width;
    float *sum = io->scratch, *gates = sum + 4 * d;
    for (int64_t i = 0; i < to - from; i++) {
        int64_t t = s->sizes.attrs.reverse ? to - 1 - i : from + i;
        add_bias(x + t * 4 * d, bias, sum, 4 * d);
        cpu_gemm(&s->recurrent, h, io->in[LSTM_WEIGHT], sum, gates);
        lstm_step(&s->sizes, gates, bias, c, cell + t * d, hidden + t * d);
        h = hidden + t * d;
        c = cell + t * d;
    }
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const int64_t *offset = io->in[LSTM_OFFSETS];
    const float *h0 = io->in[LSTM_H0], *c0 = io->in[LSTM_C0];
    int64_t d = s->sizes.width;
    float *zeros = (float *)io->scratch + 8 * d;
    TRY(ref_check_offsets(offset, s->sizes.sequences, s->sizes.rows, io->err));
    memset(zeros, 0, (size_t)d * sizeof(float));
    for (int64_t i = 0; i < s->sizes.sequences; i++)
        sequence(s, io, offset[i], offset[i + 1], h0 != NULL ? h0 + i * d : zeros,
                 c0 != NULL ? c0 + i * d : zeros);
    return OK;
}

const struct kernel cpu_rnn[] = {
    { "lstm", "cpu lstm", F32_ONLY, DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
