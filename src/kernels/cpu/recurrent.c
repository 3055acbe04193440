/* Recurrent layers: one matrix product for all rows of a step, then the cell as a loop of vector code. */
#include "kernels/recurrent.h"

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"
#include "kernels/lstm.h"
#include "kernels/ref/ref.h"

#include <string.h>

/* ---- gates: tanh as a quotient of two polynomials, so that several share one division ---- */

/* tanh(x) = p / q to a few units in the last place, small x too (a minimax approximation on [-7.905, 7.905], where tanh is 1 in
 * float from there on; Eigen's coefficients, which the layers' tests compare with libm's). Half the
 * instructions of what is built on exp. NaN stays. */
static inline void tanh_ratio(float x, float *p, float *q)
{
    float t = vmath_clip(x, -7.90531110763549805f, 7.90531110763549805f), z = t * t;
    float u = -2.76076847742355e-16f;
    u = u * z + 2.00018790482477e-13f;
    u = u * z - 8.60467152213735e-11f;
    u = u * z + 5.12229709037114e-08f;
    u = u * z + 1.48572235717979e-05f;
    u = u * z + 6.37261928875436e-04f;
    u = u * z + 4.89352455891786e-03f;
    float v = 1.19825839466702e-06f;
    v = v * z + 1.18534705686654e-04f;
    v = v * z + 2.26843463243900e-03f;
    *p = u * t;
    *q = v * z + 4.89352518554385e-03f;
}

/* sigmoid(x) = p / q, as (1 + tanh(x / 2)) / 2. */
static inline void sigmoid_ratio(float x, float *p, float *q)
{
    float u, v;
    tanh_ratio(0.5f * x, &u, &v);
    *p = u + v;
    *q = v + v;
}

static inline float gate_tanh(float x)
{
    float p, q;
    tanh_ratio(x, &p, &q);
    return p / q;
}

static inline float gate_sigmoid(float x)
{
    float p, q;
    sigmoid_ratio(x, &p, &q);
    return p / q;
}

/* sigmoid(in) tanh(candidate) + sigmoid(forget) before. */
static inline float next_cell(float in, float candidate, float forget, float before)
{
    float pi, qi, pc, qc, pf, qf;
    sigmoid_ratio(in, &pi, &qi);
    tanh_ratio(candidate, &pc, &qc);
    sigmoid_ratio(forget, &pf, &qf);
    return (pi * pc * qf + pf * before * (qi * qc)) / (qi * qc * qf);
}

/* sigmoid(give) tanh(cell). */
static inline float given(float give, float cell)
{
    float pg, qg, pc, qc;
    sigmoid_ratio(give, &pg, &qg);
    tanh_ratio(cell, &pc, &qc);
    return pg * pc / (qg * qc);
}

/* ---- the cells: x and r are the projected input and the recurrent product, gate behind gate of n numbers ---- */

/* None of them overlap: the compiler would not check so many pairs before it makes vector code. */
typedef void (*cell_fn)(int64_t n, const float *x, const float *r, const float *h, float *c,
                        float *out);

CLONES static void lstm_cell(int64_t n, const float *restrict x, const float *restrict r,
                             const float *restrict h, float *restrict c, float *restrict out)
{
    for (int64_t j = 0; j < n; j++) {
        float next = next_cell(x[j] + r[j], x[2 * n + j] + r[2 * n + j], x[n + j] + r[n + j], c[j]);
        c[j] = next;
        out[j] = given(x[3 * n + j] + r[3 * n + j], next);
    }
}

CLONES static void gru_cell(int64_t n, const float *restrict x, const float *restrict r,
                            const float *restrict h, float *restrict c, float *restrict out)
{
    for (int64_t j = 0; j < n; j++) {
        float reset = gate_sigmoid(x[j] + r[j]);
        float update = gate_sigmoid(x[n + j] + r[n + j]);
        float candidate = gate_tanh(x[2 * n + j] + reset * r[2 * n + j]);
        out[j] = (1 - update) * candidate + update * h[j];
    }
}

CLONES static void tanh_cell(int64_t n, const float *restrict x, const float *restrict r,
                             const float *restrict h, float *restrict c, float *restrict out)
{
    for (int64_t j = 0; j < n; j++)
        out[j] = gate_tanh(x[j] + r[j]);
}

CLONES static void relu_cell(int64_t n, const float *restrict x, const float *restrict r,
                             const float *restrict h, float *restrict c, float *restrict out)
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

#define PACK_PANELS 0x726e6e5f70320000 /* "rnn_p2" */

/* w[i][c] lies at from[i * step_k + c * step_n]. */
struct source {
    const float *from;
    int64_t k, n, step_k, step_n;
};

static status pack_panels(void *arg, void *memory)
{
    const struct source *t = arg;
    float *to = memory;
    memset(to, 0, panels_size(t->k, t->n));
    for (int64_t c = 0; c < t->n; c++)
        for (int64_t i = 0; i < t->k; i++)
            to[(c / PANEL * t->k + i) * PANEL + c % PANEL] = t->from[i * t->step_k + c * t->step_n];
    return OK;
}

/* The panels of a weight that is a constant, made once for all plans. */
static status get_panels(const struct kernel_ctx *ctx, struct source w, const float **out)
{
    const void *panels;
    uint64_t key = PACK_PANELS + (w.step_k == 1);
    TRY(packs_get(ctx->packs, w.from, key, panels_size(w.k, w.n), pack_panels, &w, &panels));
    *out = panels;
    return OK;
}

static status prepare_rnn(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    static const cell_fn cell[] = {
        [RNN_LSTM] = lstm_cell, [RNN_GRU] = gru_cell, [RNN_TANH] = tanh_cell, [RNN_RELU] = relu_cell
    };
    struct rnn *s = arena_zalloc(ctx->arena, sizeof(*s));
    rnn_sizes(ctx, &s->sizes);
    int64_t d = s->sizes.width, g = s->sizes.gates * d;
    struct source w = { ctx->in[RNN_WEIGHT].constant->data, d, g, 1, d };
    TRY(get_panels(ctx, w, &s->weight));
    s->cell = cell[s->sizes.attrs.mode];
    *scratch = (size_t)(s->sizes.rows * g) * sizeof(float);
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

/* ---- ragged rows: sequences take their steps together, the longest first, so that those that still run are always the
 * first ones and one product serves them all ---- */

struct crowd {
    int64_t sequences, rows;
    bool reverse;
};

/* What a run knows: which sequence stands at each place, longest first. */
struct march {
    const struct crowd *crowd;
    const int64_t *offset; /* NULL: each row is a sequence */
    int64_t *order;
};

static int64_t begin_of(const struct march *m, int64_t sequence)
{
    return m->offset != NULL ? m->offset[sequence] : sequence;
}

static int64_t length_of(const struct march *m, int64_t sequence)
{
    return begin_of(m, sequence + 1) - begin_of(m, sequence);
}

/* Row of the sequence at `place` in step t. */
static int64_t row_of(const struct march *m, int64_t place, int64_t t)
{
    int64_t sequence = m->order[place];
    return m->crowd->reverse ? begin_of(m, sequence + 1) - 1 - t : begin_of(m, sequence) + t;
}

/* Lets the sequence at `at` sink in a heap of n whose top is the shortest. */
static void sink(struct march *m, int64_t at, int64_t n)
{
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && length_of(m, m->order[child + 1]) < length_of(m, m->order[child]))
            child++;
        if (length_of(m, m->order[at]) <= length_of(m, m->order[child]))
            return;
        int64_t t = m->order[at];
        m->order[at] = m->order[child];
        m->order[child] = t;
    }
}

/* Heapsort: a request may bring very many sequences, and nothing is allocated here. */
static void line_up(struct march *m)
{
    int64_t n = m->crowd->sequences;
    bool sorted = true;
    for (int64_t i = 0; i < n; i++) {
        m->order[i] = i;
        sorted = sorted && (i == 0 || length_of(m, i) <= length_of(m, i - 1));
    }
    for (int64_t i = n / 2 - 1; i >= 0 && !sorted; i--)
        sink(m, i, n);
    for (int64_t end = n - 1; end > 0 && !sorted; end--) {
        int64_t t = m->order[0];
        m->order[0] = m->order[end];
        m->order[end] = t;
        sink(m, 0, end);
    }
}

/* How many still run at step t, of `count` before it. */
static int64_t still_running(const struct march *m, int64_t count, int64_t t)
{
    while (count > 0 && length_of(m, m->order[count - 1]) <= t)
        count--;
    return count;
}

/* First states in the order of the march; zeros where none are given. */
static void take_states(const struct march *m, const float *from, int64_t width, float *to)
{
    for (int64_t i = 0; i < m->crowd->sequences; i++)
        begin_with(to + i * width, from != NULL ? from + m->order[i] * width : NULL, width);
}

/* ---- gru ---- */

struct gru {
    struct gru_sizes sizes;
    struct crowd crowd;
    const float *gates, *candidate; /* panels */
};

/* The activations that Paddle's own layers use; others are for ref. */
static const char *refuse_gru(const struct kernel_ctx *ctx)
{
    const struct gru_attrs *a = ctx->node->attrs;
    if (ctx->in[GRU_WEIGHT].constant == NULL)
        return "its weight is no constant";
    return a->gate_act == ACT_SIGMOID && a->candidate_act == ACT_TANH ? NULL
                                                                      : "its activations are rare";
}

/* scratch: for each sequence its place, state, gates, and the candidate's product; a bias of zeros. */
static status prepare_gru(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct gru *s = arena_zalloc(ctx->arena, sizeof(*s));
    gru_sizes(ctx, &s->sizes);
    int64_t d = s->sizes.width, n = s->sizes.sequences;
    const float *w = ctx->in[GRU_WEIGHT].constant->data;
    s->crowd = (struct crowd){ n, s->sizes.rows, s->sizes.attrs.reverse };
    TRY(get_panels(ctx, (struct source){ w, d, 2 * d, 2 * d, 1 }, &s->gates));
    TRY(get_panels(ctx, (struct source){ w + 2 * d * d, d, d, d, 1 }, &s->candidate));
    *scratch = (size_t)n * sizeof(int64_t) + (size_t)(n * 5 * d + 3 * d) * sizeof(float);
    *state = s;
    return OK;
}

/* gates become update and the state times reset. */
CLONES static void gru_gates(int64_t n, const float *restrict x, const float *restrict bias,
                             const float *restrict h, float *restrict gates)
{
    for (int64_t j = 0; j < n; j++) {
        gates[j] = gate_sigmoid(gates[j] + x[j] + bias[j]);
        gates[n + j] = gate_sigmoid(gates[n + j] + x[n + j] + bias[n + j]) * h[j];
    }
}

CLONES static void gru_mix(int64_t n, const float *restrict x, const float *restrict bias,
                           const float *restrict update, const float *restrict rest, bool origin,
                           float *restrict h, float *restrict out)
{
    for (int64_t j = 0; j < n; j++) {
        float u = origin ? 1 - update[j] : update[j];
        float v = (1 - u) * h[j] + u * gate_tanh(rest[j] + x[j] + bias[j]);
        out[j] = v;
        h[j] = v;
    }
}

struct gru_room {
    float *h, *gates, *kept, *rest;
    const float *bias; /* 3 * width; zeros where there is none */
};

static void gru_step(const struct gru *s, const struct march *m, const struct kernel_io *io,
                     const struct gru_room *r, int64_t count, int64_t t)
{
    int64_t d = s->sizes.width;
    const float *x = io->in[GRU_X];
    float *out = io->out[0];
    multiply(r->h, s->gates, NULL, count, d, 2 * d, r->gates);
    for (int64_t i = 0; i < count; i++) {
        float *gates = r->gates + i * 2 * d;
        gru_gates(d, x + row_of(m, i, t) * 3 * d, r->bias, r->h + i * d, gates);
        memcpy(r->kept + i * d, gates + d, (size_t)d * sizeof(float));
    }
    multiply(r->kept, s->candidate, NULL, count, d, d, r->rest);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = row_of(m, i, t);
        gru_mix(d, x + row * 3 * d + 2 * d, r->bias + 2 * d, r->gates + i * 2 * d, r->rest + i * d,
                s->sizes.attrs.origin, r->h + i * d, out + row * d);
    }
}

static status run_gru(const void *state, const struct kernel_io *io)
{
    const struct gru *s = state;
    int64_t d = s->sizes.width, n = s->sizes.sequences;
    struct march m = { &s->crowd, io->in[GRU_OFFSETS], io->scratch };
    float *h = (float *)(m.order + n);
    float *zeros = h + n * 5 * d;
    struct gru_room r = { h, h + n * d, h + n * 3 * d, h + n * 4 * d,
                          io->in[GRU_BIAS] != NULL ? io->in[GRU_BIAS] : zeros };
    memset(zeros, 0, (size_t)(3 * d) * sizeof(float));
    if (m.offset != NULL)
        TRY(ref_check_offsets(m.offset, n, s->sizes.rows, io->err));
    line_up(&m);
    take_states(&m, io->in[GRU_H0], d, h);
    int64_t count = n;
    for (int64_t t = 0; (count = still_running(&m, count, t)) > 0; t++)
        gru_step(s, &m, io, &r, count, t);
    return OK;
}

/* ---- lstm ---- */

struct lstm {
    struct lstm_sizes sizes;
    struct crowd crowd;
    const float *weight; /* panels */
};

static const char *refuse_lstm(const struct kernel_ctx *ctx)
{
    const struct lstm_attrs *a = ctx->node->attrs;
    if (ctx->in[LSTM_WEIGHT].constant == NULL)
        return "its weight is no constant";
    return a->gate_act == ACT_SIGMOID && a->cell_act == ACT_TANH && a->candidate_act == ACT_TANH
               ? NULL
               : "its activations are rare";
}

static status prepare_lstm(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    struct lstm *s = arena_zalloc(ctx->arena, sizeof(*s));
    lstm_sizes(ctx, &s->sizes);
    int64_t d = s->sizes.width, n = s->sizes.sequences;
    s->crowd = (struct crowd){ n, s->sizes.rows, s->sizes.attrs.reverse };
    struct source w = { ctx->in[LSTM_WEIGHT].constant->data, d, 4 * d, 4 * d, 1 };
    TRY(get_panels(ctx, w, &s->weight));
    *scratch = (size_t)n * sizeof(int64_t) + (size_t)(n * 6 * d) * sizeof(float);
    *state = s;
    return OK;
}

/* Gates in the order candidate, input, forget, output; peep: the weights that look at the cell, or zeros' effect by
 * `peeps` 0. */
CLONES static void ragged_cell(int64_t n, const float *restrict x, const float *restrict r,
                               const float *restrict bias, const float *restrict peep, float peeps,
                               float *restrict h, float *restrict c, float *restrict hidden,
                               float *restrict cell)
{
    for (int64_t j = 0; j < n; j++) {
        float before = c[j], look = peeps * before;
        float candidate = r[j] + x[j] + bias[j];
        float in = r[n + j] + x[n + j] + bias[n + j] + look * peep[j];
        float forget = r[2 * n + j] + x[2 * n + j] + bias[2 * n + j] + look * peep[n + j];
        float next = next_cell(in, candidate, forget, before);
        float give = r[3 * n + j] + x[3 * n + j] + bias[3 * n + j] + peeps * next * peep[2 * n + j];
        float v = given(give, next);
        c[j] = next;
        h[j] = v;
        cell[j] = next;
        hidden[j] = v;
    }
}

static void lstm_steps(const struct lstm *s, const struct march *m, const struct kernel_io *io,
                       float *h, float *c, float *gates)
{
    int64_t d = s->sizes.width, count = s->sizes.sequences;
    const float *x = io->in[LSTM_X], *bias = io->in[LSTM_BIAS];
    bool peeps = s->sizes.attrs.peepholes;
    for (int64_t t = 0; (count = still_running(m, count, t)) > 0; t++) {
        multiply(h, s->weight, NULL, count, d, 4 * d, gates);
        for (int64_t i = 0; i < count; i++) {
            int64_t row = row_of(m, i, t);
            ragged_cell(d, x + row * 4 * d, gates + i * 4 * d, bias, peeps ? bias + 4 * d : bias,
                        peeps ? 1 : 0, h + i * d, c + i * d, (float *)io->out[0] + row * d,
                        (float *)io->out[1] + row * d);
        }
    }
}

static status run_lstm(const void *state, const struct kernel_io *io)
{
    const struct lstm *s = state;
    int64_t d = s->sizes.width, n = s->sizes.sequences;
    struct march m = { &s->crowd, io->in[LSTM_OFFSETS], io->scratch };
    float *h = (float *)(m.order + n), *c = h + n * d;
    TRY(ref_check_offsets(m.offset, n, s->sizes.rows, io->err));
    line_up(&m);
    take_states(&m, io->in[LSTM_H0], d, h);
    take_states(&m, io->in[LSTM_C0], d, c);
    lstm_steps(s, &m, io, h, c, c + n * d);
    return OK;
}

const struct kernel cpu_recurrent[] = {
    { "rnn", "cpu rnn", F32_ONLY, DEVICE_CPU, refuse_rnn, prepare_rnn, run_rnn, NULL },
    { "gru", "cpu gru", F32_ONLY, DEVICE_CPU, refuse_gru, prepare_gru, run_gru, NULL },
    { "lstm", "cpu lstm in step", F32_ONLY, DEVICE_CPU, refuse_lstm, prepare_lstm, run_lstm, NULL },
    { 0 },
};
