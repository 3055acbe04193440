/* Recurrent layers step by step, and decoders of tag chains. */
#include "kernels/recurrent.h"
#include "kernels/ref/ref.h"

#include <string.h>

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* ---- rnn ---- */

static status prepare_rnn(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct rnn_sizes *s = arena_zalloc(ctx->arena, sizeof(*s));
    rnn_sizes(ctx, s);
    *scratch = (size_t)s->width * sizeof(float);
    *state = s;
    return OK;
}

/* h times row j of gate g's weight. */
static double recur(const struct rnn_sizes *s, const struct kernel_io *io, int64_t g, int64_t j,
                    const float *h)
{
    const float *w = (const float *)io->in[RNN_WEIGHT] + (g * s->width + j) * s->width;
    const float *bias = io->in[RNN_BIAS];
    double sum = bias != NULL ? bias[g * s->width + j] : 0;
    for (int64_t k = 0; k < s->width; k++)
        sum += (double)h[k] * w[k];
    return sum;
}

/* The candidate of a GRU whose reset gate comes before the product. */
static double candidate_first(const struct rnn_sizes *s, const struct kernel_io *io, int64_t j,
                              const float *x, const float *h)
{
    const float *w = (const float *)io->in[RNN_WEIGHT] + (2 * s->width + j) * s->width;
    const float *bias = io->in[RNN_BIAS];
    double sum = bias != NULL ? bias[2 * s->width + j] : 0;
    for (int64_t k = 0; k < s->width; k++)
        sum += sigmoid(x[k] + recur(s, io, 0, k, h)) * h[k] * w[k];
    return sum;
}

/* One element of one row's step. x: the row's gates; c: read and written. */
static double cell(const struct rnn_sizes *s, const struct kernel_io *io, int64_t j, const float *x,
                   const float *h, float *c)
{
    int64_t d = s->width;
    switch ((enum rnn_mode)s->attrs.mode) {
    case RNN_LSTM: {
        double in = sigmoid(x[j] + recur(s, io, 0, j, h));
        double forget = sigmoid(x[d + j] + recur(s, io, 1, j, h));
        double next = forget * c[j] + in * tanh(x[2 * d + j] + recur(s, io, 2, j, h));
        c[j] = (float)next;
        return sigmoid(x[3 * d + j] + recur(s, io, 3, j, h)) * tanh(next);
    }
    case RNN_GRU: {
        double reset = sigmoid(x[j] + recur(s, io, 0, j, h));
        double update = sigmoid(x[d + j] + recur(s, io, 1, j, h));
        double rest =
            s->attrs.reset_first ? candidate_first(s, io, j, x, h) : reset * recur(s, io, 2, j, h);
        return (1 - update) * tanh(x[2 * d + j] + rest) + update * h[j];
    }
    case RNN_TANH: return tanh(x[j] + recur(s, io, 0, j, h));
    case RNN_RELU: return fmax(0, x[j] + recur(s, io, 0, j, h));
    }
    return 0;
}

static void rnn_row(const struct rnn_sizes *s, const struct kernel_io *io, int64_t i)
{
    float *y = io->out[0], *next = io->scratch;
    float *h = (float *)io->out[1] + i * s->width, *c = (float *)io->out[2] + i * s->width;
    for (int64_t k = 0; k < s->steps; k++) {
        int64_t t = s->attrs.reverse ? s->steps - 1 - k : k, at = t * s->rows + i;
        bool runs = rnn_runs(s, io->in[RNN_LENGTHS], i, t);
        const float *x = (const float *)io->in[RNN_X] + at * s->gates * s->width;
        for (int64_t j = 0; j < s->width; j++)
            next[j] = runs ? (float)cell(s, io, j, x, h, c) : 0;
        memcpy(y + at * s->width, next, (size_t)s->width * sizeof(float));
        if (runs)
            memcpy(h, next, (size_t)s->width * sizeof(float));
    }
}

static void begin_with(float *to, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = from != NULL ? from[i] : 0;
}

static status run_rnn(const void *state, const struct kernel_io *io)
{
    const struct rnn_sizes *s = state;
    TRY(rnn_check_lengths(s, io->in[RNN_LENGTHS], io->err));
    begin_with(io->out[1], io->in[RNN_H0], s->rows * s->width);
    begin_with(io->out[2], s->attrs.mode == RNN_LSTM ? io->in[RNN_C0] : NULL, s->rows * s->width);
    for (int64_t i = 0; i < s->rows; i++)
        rnn_row(s, io, i);
    return OK;
}

/* ---- gru ---- */

static status prepare_gru(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct gru_sizes *s = arena_zalloc(ctx->arena, sizeof(*s));
    gru_sizes(ctx, s);
    *scratch = (size_t)s->width * 3 * sizeof(float);
    *state = s;
    return OK;
}

/* h [width] times column j of w, which has `columns` of them. */
static double column(const float *h, const float *w, int64_t width, int64_t columns, int64_t j)
{
    double sum = 0;
    for (int64_t k = 0; k < width; k++)
        sum += (double)h[k] * w[k * columns + j];
    return sum;
}

/* gates: room for update, reset, and the state times reset. */
static void gru_step(const struct gru_sizes *s, const float *x, const float *w, const float *bias,
                     const float *h, float *gates, float *hidden)
{
    int64_t d = s->width;
    float *update = gates, *reset = gates + d, *kept = gates + 2 * d;
    for (int64_t j = 0; j < 2 * d; j++) {
        double v = x[j] + column(h, w, d, 2 * d, j) + (bias != NULL ? bias[j] : 0);
        gates[j] = (float)ref_act(s->attrs.gate_act, v);
    }
    for (int64_t j = 0; j < d; j++)
        kept[j] = reset[j] * h[j];
    for (int64_t j = 0; j < d; j++) {
        double v = x[2 * d + j] + column(kept, w + 2 * d * d, d, d, j) +
                   (bias != NULL ? bias[2 * d + j] : 0);
        double candidate = ref_act(s->attrs.candidate_act, v), u = update[j];
        hidden[j] = (float)(s->attrs.origin ? u * h[j] + (1 - u) * candidate
                                            : (1 - u) * h[j] + u * candidate);
    }
}

static void gru_sequence(const struct gru_sizes *s, const struct kernel_io *io, int64_t from,
                         int64_t to, const float *h)
{
    int64_t d = s->width;
    float *out = io->out[0];
    for (int64_t k = 0; k < to - from; k++) {
        int64_t t = s->attrs.reverse ? to - 1 - k : from + k;
        gru_step(s, (const float *)io->in[GRU_X] + t * 3 * d, io->in[GRU_WEIGHT], io->in[GRU_BIAS],
                 h, io->scratch, out + t * d);
        h = out + t * d;
    }
}

static status run_gru(const void *state, const struct kernel_io *io)
{
    const struct gru_sizes *s = state;
    const int64_t *offset = io->in[GRU_OFFSETS];
    const float *h0 = io->in[GRU_H0];
    if (offset != NULL)
        TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++) {
        int64_t from = offset != NULL ? offset[i] : i, to = offset != NULL ? offset[i + 1] : i + 1;
        if (from == to)
            continue;
        /* the first step's state is zeros: its own output row is filled with them and read before it is written */
        float *first = (float *)io->out[0] + (s->attrs.reverse ? to - 1 : from) * s->width;
        if (h0 == NULL)
            memset(first, 0, (size_t)s->width * sizeof(float));
        gru_sequence(s, io, from, to, h0 != NULL ? h0 + i * s->width : first);
    }
    return OK;
}

/* ---- crf_decode, viterbi ---- */

struct chain {
    int64_t sequences, rows, steps, tags;
    bool ends, wide;
};

/* begin[k], end[k], step[from * tags + to]: what it costs; NULL: nothing. */
struct costs {
    const float *begin, *end, *step;
};

/* best: [rows][tags] of the scores so far; from: where each came from. */
static void chain_step(int64_t tags, const float *x, const float *step, const float *before,
                       float *score, int64_t *from)
{
    for (int64_t k = 0; k < tags; k++) {
        float best = -INFINITY;
        from[k] = 0;
        for (int64_t j = 0; j < tags; j++) {
            float v = before[j] + step[j * tags + k];
            if (v > best) {
                best = v;
                from[k] = j;
            }
        }
        score[k] = best + x[k];
    }
}

/* The best path of n steps; scratch: [2][tags] floats behind [n][tags] places. Gives its score. */
static float best_path(const struct costs *c, const float *x, int64_t n, int64_t tags,
                       int64_t *from, float *score, int64_t *path)
{
    float *before = score + tags, best = -INFINITY;
    int64_t last = 0;
    for (int64_t k = 0; k < tags; k++)
        score[k] = x[k] + (c->begin != NULL ? c->begin[k] : 0);
    for (int64_t t = 1; t < n; t++) {
        memcpy(before, score, (size_t)tags * sizeof(*score));
        chain_step(tags, x + t * tags, c->step, before, score, from + t * tags);
    }
    for (int64_t k = 0; k < tags; k++) {
        float v = score[k] + (c->end != NULL ? c->end[k] : 0);
        if (v > best) {
            best = v;
            last = k;
        }
    }
    for (int64_t t = n - 1; t >= 0; t--) {
        path[t] = last;
        last = t > 0 ? from[t * tags + last] : 0;
    }
    return best;
}

static size_t chain_scratch(int64_t steps, int64_t tags)
{
    return (size_t)(steps * tags) * sizeof(int64_t) + (size_t)tags * 2 * sizeof(float);
}

static status prepare_crf(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct chain *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->sequences = ctx->in[1].shape.dim[0] - 1;
    s->rows = ctx->in[0].shape.dim[0];
    s->tags = ctx->in[0].shape.dim[1];
    *scratch = chain_scratch(s->rows, s->tags);
    *state = s;
    return OK;
}

static status run_crf(const void *state, const struct kernel_io *io)
{
    const struct chain *s = state;
    const int64_t *offset = io->in[1];
    const float *x = io->in[0], *w = io->in[2];
    struct costs c = { w, w + s->tags, w + 2 * s->tags };
    int64_t *from = io->scratch, *path = io->out[0];
    float *score = (float *)(from + s->rows * s->tags);
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++)
        if (offset[i] < offset[i + 1])
            best_path(&c, x + offset[i] * s->tags, offset[i + 1] - offset[i], s->tags, from, score,
                      path + offset[i]);
    return OK;
}

static struct chain *padded_chain(const struct kernel_ctx *ctx, const struct type *lengths,
                                  size_t *scratch)
{
    const struct shape *x = &ctx->in[0].shape;
    struct chain *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct chain){ .rows = x->dim[0],
                         .steps = x->dim[1],
                         .tags = x->dim[2],
                         .wide = lengths->dtype == DTYPE_I64 };
    *scratch = chain_scratch(s->steps, s->tags);
    return s;
}

/* The paths of all rows; score_out may be NULL. `most` is the longest length. */
static status padded_paths(const struct chain *s, const struct costs *c, const struct kernel_io *io,
                           const void *lengths, int64_t *path, float *score_out, int64_t *most)
{
    const float *x = io->in[0];
    int64_t *from = io->scratch;
    float *score = (float *)(from + s->steps * s->tags);
    *most = 0;
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t n = s->wide ? ((const int64_t *)lengths)[i] : ((const int32_t *)lengths)[i];
        if (n < 1 || n > s->steps)
            return err_set(io->err, INVALID, "length %lld (row %lld) is not in 1 .. %lld",
                           (long long)n, (long long)i, (long long)s->steps);
        int64_t *own = path + i * s->steps;
        memset(own, 0, (size_t)s->steps * sizeof(*path));
        float best = best_path(c, x + i * s->steps * s->tags, n, s->tags, from, score, own);
        if (score_out != NULL)
            score_out[i] = best;
        *most = n > *most ? n : *most;
    }
    return OK;
}

static status prepare_crf_padded(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                 struct err *e)
{
    *state = padded_chain(ctx, &ctx->in[1], scratch);
    return OK;
}

static status run_crf_padded(const void *state, const struct kernel_io *io)
{
    const struct chain *s = state;
    const float *w = io->in[2];
    struct costs c = { w, w + s->tags, w + 2 * s->tags };
    int64_t most;
    return padded_paths(s, &c, io, io->in[1], io->out[0], NULL, &most);
}

static status prepare_viterbi(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    struct chain *s = padded_chain(ctx, &ctx->in[2], scratch);
    s->ends = ((const struct viterbi_attrs *)ctx->node->attrs)->tags;
    *state = s;
    return OK;
}

/* Paths are as long as the longest: they move together when that is less than all steps. */
static status run_viterbi(const void *state, const struct kernel_io *io)
{
    const struct chain *s = state;
    const float *w = io->in[1];
    struct costs c = { s->ends ? w + (s->tags - 1) * s->tags : NULL,
                       s->ends ? w + (s->tags - 2) * s->tags : NULL, w };
    int64_t *path = io->out[1], most;
    TRY(padded_paths(s, &c, io, io->in[2], path, io->out[0], &most));
    for (int64_t i = 1; i < s->rows; i++)
        memmove(path + i * most, path + i * s->steps, (size_t)most * sizeof(*path));
    io->shape[1].dim[1] = most;
    return OK;
}

/* ---- row_conv ---- */

struct row_conv {
    int64_t sequences, rows, width, context;
};

static status prepare_row_conv(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                               struct err *e)
{
    struct row_conv *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct row_conv){ ctx->in[1].shape.dim[0] - 1, ctx->in[0].shape.dim[0],
                            ctx->in[0].shape.dim[1], ctx->in[2].shape.dim[0] };
    *state = s;
    return OK;
}

static status run_row_conv(const void *state, const struct kernel_io *io)
{
    const struct row_conv *s = state;
    const int64_t *offset = io->in[1];
    const float *x = io->in[0], *w = io->in[2];
    float *out = io->out[0];
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++)
        for (int64_t t = offset[i]; t < offset[i + 1]; t++)
            for (int64_t d = 0; d < s->width; d++) {
                double sum = 0;
                for (int64_t k = 0; k < s->context && t + k < offset[i + 1]; k++)
                    sum += (double)x[(t + k) * s->width + d] * w[k * s->width + d];
                out[t * s->width + d] = (float)sum;
            }
    return OK;
}

const struct kernel ref_recurrent[] = {
    { "rnn", "ref rnn", F32_ONLY, DEVICE_CPU, NULL, prepare_rnn, run_rnn, NULL },
    { "gru", "ref gru", F32_ONLY, DEVICE_CPU, NULL, prepare_gru, run_gru, NULL },
    { "crf_decode", "ref crf_decode", F32_ONLY, DEVICE_CPU, NULL, prepare_crf, run_crf, NULL },
    { "crf_decode_padded", "ref crf_decode_padded", F32_ONLY, DEVICE_CPU, NULL, prepare_crf_padded,
      run_crf_padded, NULL },
    { "viterbi", "ref viterbi", F32_ONLY, DEVICE_CPU, NULL, prepare_viterbi, run_viterbi, NULL },
    { "row_conv", "ref row_conv", F32_ONLY, DEVICE_CPU, NULL, prepare_row_conv, run_row_conv,
      NULL },
    { 0 },
};
