/* Recurrent layers: one matrix product for all rows of a step, then the cell as a loop of vector code. */
#include "kernels/recurrent.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"
#include "kernels/ref/ref.h"

#include <string.h>

/* ---- the cells: x and r are the projected input and the recurrent product, gate behind gate of n numbers ---- */

typedef void (*cell_fn)(int64_t n, const float *x, const float *r, const float *h, float *c,
                        float *out);

CLONES static void lstm_cell(int64_t n, const float *x, const float *r, const float *h, float *c,
                             float *out)
{
    for (int64_t j = 0; j < n; j++) {
        float in = vmath_sigmoid(x[j] + r[j]);
        float forget = vmath_sigmoid(x[n + j] + r[n + j]);
        float candidate = vmath_tanh(x[2 * n + j] + r[2 * n + j]);
        float give = vmath_sigmoid(x[3 * n + j] + r[3 * n + j]);
        float next = forget * c[j] + in * candidate;
        c[j] = next;
        out[j] = give * vmath_tanh(next);
    }
}

CLONES static void gru_cell(int64_t n, const float *x, const float *r, const float *h, float *c,
                            float *out)
{
    for (int64_t j = 0; j < n; j++) {
        float reset = vmath_sigmoid(x[j] + r[j]);
        float update = vmath_sigmoid(x[n + j] + r[n + j]);
        float candidate = vmath_tanh(x[2 * n + j] + reset * r[2 * n + j]);
        out[j] = (1 - update) * candidate + update * h[j];
    }
}

CLONES static void tanh_cell(int64_t n, const float *x, const float *r, const float *h, float *c,
                             float *out)
{
    for (int64_t j = 0; j < n; j++)
        out[j] = vmath_tanh(x[j] + r[j]);
}

CLONES static void relu_cell(int64_t n, const float *x, const float *r, const float *h, float *c,
                             float *out)
{
    for (int64_t j = 0; j < n; j++) {
        float v = x[j] + r[j];
        out[j] = v < 0 ? 0 : v;
    }
}

/* ---- the recurrent product: h [rows, k] x w, whose columns are packed in panels that are read from end to end ---- */

#define PANEL 64

/* Panel p holds, for each k, columns p * PANEL and on; zeros behind the last. */
static size_t panels_size(int64_t k, int64_t n)
{
    return (size_t)((n + PANEL - 1) / PANEL * PANEL * k) * sizeof(float);
}

/* acc[r][j] += h[r][i] * w[i][j]. The sums are local, so that they can stay in registers. */
#define PANEL_SUMS(rows)                          \
    float sum[rows][PANEL];                       \
    memcpy(sum, acc, sizeof(sum));                \
    for (int64_t i = 0; i < k; i++, w += PANEL)   \
        for (int r = 0; r < (rows); r++)          \
            for (int j = 0; j < PANEL; j++)       \
                sum[r][j] += h[r * k + i] * w[j]; \
    memcpy(acc, sum, sizeof(sum));

CLONES static void panel1(const float *restrict h, const float *restrict w, int64_t k,
                          float acc[][PANEL]){ PANEL_SUMS(1) }

CLONES static void panel2(const float *restrict h, const float *restrict w, int64_t k,
                          float acc[][PANEL])
{
    PANEL_SUMS(2)
}

/* One or two rows by one panel: out [rows][n] gets `width` columns. */
static void put_panel(const float *h, const float *w, const float *bias, int64_t k, int64_t n,
                      int rows, int width, float *out)
{
    float acc[2][PANEL] = { { 0 } };
    for (int j = 0; bias != NULL && j < width; j++)
        acc[0][j] = acc[1][j] = bias[j];
    (rows == 2 ? panel2 : panel1)(h, w, k, acc);
    for (int r = 0; r < rows; r++)
        memcpy(out + r * n, acc[r], (size_t)width * sizeof(float));
}

static void multiply(const float *h, const float *w, const float *bias, int64_t rows, int64_t k,
                     int64_t n, float *out)
{
    for (int64_t j = 0; j < n; j += PANEL, w += PANEL * k) {
        int width = n - j < PANEL ? (int)(n - j) : PANEL;
        for (int64_t r = 0; r < rows; r += 2)
            put_panel(h + r * k, w, bias != NULL ? bias + j : NULL, k, n, rows - r > 1 ? 2 : 1,
                      width, out + r * n + j);
    }
}

/* ---- rnn ---- */

struct rnn {
    struct rnn_sizes sizes;
    const float *weight; /* panels of [H, G * H] */
    cell_fn cell;
};

static const char *refuse_rnn(const struct kernel_ctx *ctx)
{
    const struct rnn_attrs *a = ctx->node->attrs;
    if (a->mode == RNN_GRU && a->reset_first)
        return "its reset gate comes before the product";
    return ctx->in[RNN_WEIGHT].constant == NULL ? "its weight is no constant" : NULL;
}

struct turn {
    const float *from; /* [n, k] */
    int64_t n, k;
};

static status turn(void *arg, void *memory)
{
    const struct turn *t = arg;
    float *to = memory;
    memset(to, 0, panels_size(t->k, t->n));
    for (int64_t c = 0; c < t->n; c++)
        for (int64_t i = 0; i < t->k; i++)
            to[(c / PANEL * t->k + i) * PANEL + c % PANEL] = t->from[c * t->k + i];
    return OK;
}

#define PACK_PANELS 0x726e6e5f7032 /* "rnn_p2" */

static status prepare_rnn(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    static const cell_fn cell[] = {
        [RNN_LSTM] = lstm_cell, [RNN_GRU] = gru_cell, [RNN_TANH] = tanh_cell, [RNN_RELU] = relu_cell
    };
    struct rnn *s = arena_zalloc(ctx->arena, sizeof(*s));
    const void *source = ctx->in[RNN_WEIGHT].constant->data, *panels;
    rnn_sizes(ctx, &s->sizes);
    struct turn t = { source, s->sizes.gates * s->sizes.width, s->sizes.width };
    TRY(packs_get(ctx->packs, source, PACK_PANELS, panels_size(t.k, t.n), turn, &t, &panels));
    s->weight = panels;
    s->cell = cell[s->sizes.attrs.mode];
    *scratch = (size_t)(s->sizes.rows * t.n) * sizeof(float);
    *state = s;
    return OK;
}

static void rnn_step(const struct rnn *s, const struct kernel_io *io, int64_t t)
{
    int64_t d = s->sizes.width, g = s->sizes.gates * d;
    const float *x = (const float *)io->in[RNN_X] + t * s->sizes.rows * g, *r = io->scratch;
    float *y = (float *)io->out[0] + t * s->sizes.rows * d, *h = io->out[1], *c = io->out[2];
    multiply(h, s->weight, io->in[RNN_BIAS], s->sizes.rows, d, g, io->scratch);
    for (int64_t i = 0; i < s->sizes.rows; i++, x += g, r += g, y += d, h += d, c += d) {
        if (rnn_runs(&s->sizes, io->in[RNN_LENGTHS], i, t)) {
            s->cell(d, x, r, h, c, y);
            memcpy(h, y, (size_t)d * sizeof(float));
        } else {
            memset(y, 0, (size_t)d * sizeof(float));
        }
    }
}

static void begin_with(float *to, const float *from, int64_t n)
{
    if (from != NULL)
        memcpy(to, from, (size_t)n * sizeof(float));
    else
        memset(to, 0, (size_t)n * sizeof(float));
}

static status run_rnn(const void *state, const struct kernel_io *io)
{
    const struct rnn *s = state;
    const struct rnn_sizes *z = &s->sizes;
    TRY(rnn_check_lengths(z, io->in[RNN_LENGTHS], io->err));
    begin_with(io->out[1], io->in[RNN_H0], z->rows * z->width);
    begin_with(io->out[2], z->attrs.mode == RNN_LSTM ? io->in[RNN_C0] : NULL, z->rows * z->width);
    for (int64_t k = 0; k < z->steps && z->rows > 0; k++)
        rnn_step(s, io, z->attrs.reverse ? z->steps - 1 - k : k);
    return OK;
}

/* ---- gru ---- */

struct gru {
    struct gru_sizes sizes;
    struct gemm gates, candidate;
};

/* The activations that Paddle's own layers use; others are for ref. */
static const char *refuse_gru(const struct kernel_ctx *ctx)
{
    const struct gru_attrs *a = ctx->node->attrs;
    return a->gate_act == ACT_SIGMOID && a->candidate_act == ACT_TANH ? NULL
                                                                      : "its activations are rare";
}

static status prepare_gru(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct gru *s = arena_zalloc(ctx->arena, sizeof(*s));
    gru_sizes(ctx, &s->sizes);
    int64_t d = s->sizes.width;
    s->gates = (struct gemm){ .m = 1, .n = 2 * d, .k = d, .lda = d, .alpha = 1 };
    s->candidate = (struct gemm){ .m = 1, .n = d, .k = d, .lda = d, .alpha = 1 };
    *scratch = (size_t)d * 7 * sizeof(float); /* x with its bias, both products, a row of zeros */
    *state = s;
    return OK;
}

CLONES static void add(const float *a, const float *b, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = a[i] + (b != NULL ? b[i] : 0);
}

/* gates become update and the state times reset. */
CLONES static void gru_gates(int64_t n, const float *h, float *gates)
{
    for (int64_t j = 0; j < n; j++) {
        gates[j] = vmath_sigmoid(gates[j]);
        gates[n + j] = vmath_sigmoid(gates[n + j]) * h[j];
    }
}

CLONES static void gru_mix(int64_t n, const float *update, const float *rest, const float *h,
                           bool origin, float *out)
{
    for (int64_t j = 0; j < n; j++) {
        float u = origin ? 1 - update[j] : update[j];
        out[j] = (1 - u) * h[j] + u * vmath_tanh(rest[j]);
    }
}

static void gru_sequence(const struct gru *s, const struct kernel_io *io, int64_t from, int64_t to,
                         const float *h)
{
    int64_t d = s->sizes.width;
    const float *w = io->in[GRU_WEIGHT];
    float *x = io->scratch, *gates = x + 3 * d, *rest = gates + 2 * d, *out = io->out[0];
    for (int64_t k = 0; k < to - from; k++) {
        int64_t t = s->sizes.attrs.reverse ? to - 1 - k : from + k;
        add((const float *)io->in[GRU_X] + t * 3 * d, io->in[GRU_BIAS], x, 3 * d);
        cpu_gemm(&s->gates, h, w, x, gates);
        gru_gates(d, h, gates);
        cpu_gemm(&s->candidate, gates + d, w + 2 * d * d, x + 2 * d, rest);
        gru_mix(d, gates, rest, h, s->sizes.attrs.origin, out + t * d);
        h = out + t * d;
    }
}

static status run_gru(const void *state, const struct kernel_io *io)
{
    const struct gru *s = state;
    const int64_t *offset = io->in[GRU_OFFSETS];
    const float *h0 = io->in[GRU_H0];
    int64_t d = s->sizes.width;
    float *zeros = (float *)io->scratch + 6 * d;
    if (offset != NULL)
        TRY(ref_check_offsets(offset, s->sizes.sequences, s->sizes.rows, io->err));
    memset(zeros, 0, (size_t)d * sizeof(float));
    for (int64_t i = 0; i < s->sizes.sequences; i++)
        gru_sequence(s, io, offset != NULL ? offset[i] : i, offset != NULL ? offset[i + 1] : i + 1,
                     h0 != NULL ? h0 + i * d : zeros);
    return OK;
}

const struct kernel cpu_recurrent[] = {
    { "rnn", "cpu rnn", F32_ONLY, DEVICE_CPU, refuse_rnn, prepare_rnn, run_rnn, NULL },
    { "gru", "cpu gru", F32_ONLY, DEVICE_CPU, refuse_gru, prepare_gru, run_gru, NULL },
    { 0 },
};
