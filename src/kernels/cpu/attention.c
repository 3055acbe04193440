/* Attention, one head and one block of queries at a time, so that the weights of a block stay in the nearest cache: they
 * are never written to memory as a whole. Keys and values of a head are brought into panels once. Rows are not divided by their sum
 * until they have been multiplied with the values, which are fewer. */
#include "kernels/attention.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"
#include "kernels/parallel.h"

#include <math.h>
#include <string.h>

#define BLOCK (2 * TILE_ROWS_MAX) /* queries */

static const char *refuse(const struct kernel_ctx *ctx)
{
    for (int i = 0; i < 3; i++)
        if (shape_numel(&ctx->in[i].shape) == 0)
            return "there is nothing to compute";
    return NULL;
}

/* Operands of one head. */
struct head {
    const float *q, *k, *v, *mask;
    float *out;
    void *room;
};

struct state {
    struct attention a;
    void (*head)(const struct state *s, const struct head *h);
    float (*exp_row)(const float *x, float *y, int64_t n);
    int parts;         /* at once */
    size_t part_bytes; /* of the scratch */
    int64_t keys;      /* rounded up to whole panels */
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(attention_sizes(ctx, &s->a, e));
    int64_t heads = s->a.d.batch * s->a.d.heads;
    s->parts = ctx->threads < heads ? ctx->threads : (int)heads;
    s->keys = cpu_panel_columns(s->a.d.k.tokens);
    *state = s;
    return OK;
}

static void set_room(struct state *s, size_t bytes, size_t *scratch)
{
    s->part_bytes = (bytes + 63) / 64 * 64;
    *scratch = s->part_bytes * (size_t)s->parts;
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

/* Weights of one query, which add up to what it gives. The row ends with a panel: whole vectors have no remainder. */
static float weigh(const struct state *s, const struct head *h, int64_t query, float *row)
{
    const struct attention *a = &s->a;
    if (h->mask != NULL)
        add_mask(row, h->mask + query * a->mask_step[2], a->mask_step[3], a->d.k.tokens);
    for (int64_t j = a->d.k.tokens; j < s->keys; j++)
        row[j] = -INFINITY;
    return s->exp_row(row, row, s->keys);
}

/* ---- in float ---- */

static size_t float_bytes(const struct state *s)
{
    const struct attention_dims *d = &s->a.d;
    return cpu_panels_bytes(d->q.width, d->k.tokens) + cpu_panels_bytes(d->k.tokens, d->v.width) +
           (size_t)(BLOCK * s->keys) * sizeof(float);
}

static void run_head(const struct state *s, const struct head *h)
{
    const struct attention_dims *d = &s->a.d;
    float *keys = h->room, sum[BLOCK];
    float *values = keys + cpu_panels_bytes(d->q.width, d->k.tokens) / sizeof(float);
    float *weight = values + cpu_panels_bytes(d->k.tokens, d->v.width) / sizeof(float);
    struct gemm qk = { .n = d->k.tokens,
                       .k = d->q.width,
                       .lda = d->q.token_step,
                       .ldb = d->k.token_step,
                       .trans_b = true,
                       .alpha = s->a.scale,
                       .ldc = s->keys };
    struct gemm wv = { .n = d->v.width,
                       .k = d->k.tokens,
                       .lda = s->keys,
                       .ldb = d->v.token_step,
                       .alpha = 1,
                       .ldc = d->out.token_step };
    cpu_panels(&qk, h->k, keys);
    cpu_panels(&wv, h->v, values);
    qk.n = s->keys;
    for (int64_t m = 0; m < d->q.tokens; m += BLOCK) {
        float *out = h->out + m * d->out.token_step;
        qk.m = wv.m = d->q.tokens - m < BLOCK ? d->q.tokens - m : BLOCK;
        cpu_gemm_panels(&qk, h->q + m * d->q.token_step, keys, weight);
        for (int64_t i = 0; i < qk.m; i++)
            sum[i] = weigh(s, h, m + i, weight + i * s->keys);
        cpu_gemm_panels(&wv, weight, values, out);
        for (int64_t i = 0; i < qk.m; i++)
            cpu_scale_row(out + i * d->out.token_step, d->v.width, 1 / sum[i]);
    }
}

static status prepare_float(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    TRY(prepare(ctx, state, scratch, e));
    struct state *s = *state;
    s->head = run_head;
    s->exp_row = cpu_exp_row;
    set_room(s, float_bytes(s), scratch);
    return OK;
}

/* ---- with operands in bfloat16 ---- */

static const char *refuse_narrow(const struct kernel_ctx *ctx)
{
    if (!ctx->bf16)
        return "nobody asked for bfloat16";
    if (cpu_narrow_tile() == NULL)
        return "this processor does not multiply bfloat16";
    return refuse(ctx);
}

/* Where the pieces of a head's room begin, in floats; bfloat16 lie in pairs. */
struct narrow_room {
    int64_t queries, keys, values, weight, narrow, out, end;
    int64_t width_pairs, key_pairs, columns; /* of values, rounded up to whole panels */
};

static struct narrow_room narrow_room(const struct state *s)
{
    const struct attention_dims *d = &s->a.d;
    struct narrow_room r = { .width_pairs = (d->q.width + 1) / 2,
                             .key_pairs = (d->k.tokens + 1) / 2,
                             .columns = cpu_panel_columns(d->v.width) };
    r.keys = BLOCK * r.width_pairs;
    r.values = r.keys + s->keys * r.width_pairs;
    r.weight = r.values + r.columns * r.key_pairs;
    r.narrow = r.weight + BLOCK * s->keys;
    r.out = r.narrow + BLOCK * r.key_pairs;
    r.end = r.out + BLOCK * r.columns;
    return r;
}

/* The bits of a bfloat16, to the nearest, to the even one of two; NaN stays. */
static inline uint32_t narrowed(float x)
{
    uint32_t v;
    memcpy(&v, &x, sizeof(v));
    uint32_t rounded = (v + 0x7fff + (v >> 16 & 1)) >> 16;
    return (v & 0x7fffffff) > 0x7f800000 ? v >> 16 | 0x40 : rounded;
}

/* n numbers of a row as pairs; an odd one's partner is 0. */
CLONES static void narrow_row(const float *x, int64_t n, uint32_t *pairs)
{
    for (int64_t i = 0; i < n / 2; i++)
        pairs[i] = narrowed(x[2 * i]) | narrowed(x[2 * i + 1]) << 16;
    if (n % 2 != 0)
        pairs[n / 2] = narrowed(x[n - 1]);
}

/* Keys, [tokens, width], as panels [pairs of width, tokens]. */
CLONES static void pack_keys(const struct attention_side *k, const float *x, int64_t tokens,
                             uint32_t *to)
{
    int64_t pairs = (k->width + 1) / 2;
    memset(to, 0, (size_t)(tokens * pairs) * sizeof(*to));
    for (int64_t j = 0; j < k->tokens; j++, x += k->token_step) {
        uint32_t *at =
            to + j / NARROW_TILE_WIDTH * NARROW_TILE_WIDTH * pairs + j % NARROW_TILE_WIDTH;
        for (int64_t i = 0; i < k->width / 2; i++)
            at[i * NARROW_TILE_WIDTH] = narrowed(x[2 * i]) | narrowed(x[2 * i + 1]) << 16;
        if (k->width % 2 != 0)
            at[k->width / 2 * NARROW_TILE_WIDTH] = narrowed(x[k->width - 1]);
    }
}

/* Two rows of values, the second NULL where there is none, as one row of pairs in each panel. */
CLONES static void pack_value_pair(const float *x, const float *y, int64_t width, int64_t step,
                                   uint32_t *to)
{
    for (int64_t j = 0; j < width; j += NARROW_TILE_WIDTH, to += step) {
        int64_t n = width - j < NARROW_TILE_WIDTH ? width - j : NARROW_TILE_WIDTH;
        for (int64_t i = 0; i < n; i++)
            to[i] = narrowed(x[j + i]);
        for (int64_t i = 0; i < n && y != NULL; i++)
            to[i] |= narrowed(y[j + i]) << 16;
    }
}

/* Values, [tokens, width], as panels [pairs of tokens, width]. */
static void pack_values(const struct attention_side *v, const float *x, int64_t columns,
                        uint32_t *to)
{
    int64_t pairs = (v->tokens + 1) / 2;
    memset(to, 0, (size_t)(columns * pairs) * sizeof(*to));
    for (int64_t i = 0; i < v->tokens; i += 2) {
        const float *row = x + i * v->token_step;
        pack_value_pair(row, i + 1 < v->tokens ? row + v->token_step : NULL, v->width,
                        pairs * NARROW_TILE_WIDTH, to + i / 2 * NARROW_TILE_WIDTH);
    }
}

/* m rows of a past all panels of b; c has room for whole panels. */
static void multiply(const struct narrow_tile *first, int64_t m, int64_t columns)
{
    narrow_tile_fn run = cpu_narrow_tile();
    for (int64_t j = 0; j < columns; j += NARROW_TILE_WIDTH)
        for (int64_t i = 0; i < m; i += NARROW_TILE_ROWS) {
            struct narrow_tile t = *first;
            t.a += i * t.lda;
            t.b += j * t.pairs;
            t.c += i * t.ldc + j;
            run(&t, (int)(m - i < NARROW_TILE_ROWS ? m - i : NARROW_TILE_ROWS));
        }
}

static void run_narrow_head(const struct state *s, const struct head *h)
{
    const struct attention_dims *d = &s->a.d;
    struct narrow_room at = narrow_room(s);
    float *room = h->room, *weight = room + at.weight, *made = room + at.out, sum[BLOCK];
    uint32_t *pairs = h->room, *narrow = pairs + at.narrow;
    struct narrow_tile qk = { at.width_pairs,  at.width_pairs, NARROW_TILE_WIDTH, s->keys, pairs,
                              pairs + at.keys, weight,         s->a.scale };
    struct narrow_tile wv = { at.key_pairs,
                              at.key_pairs,
                              NARROW_TILE_WIDTH,
                              at.columns,
                              narrow,
                              pairs + at.values,
                              made,
                              1 };
    pack_keys(&d->k, h->k, s->keys, pairs + at.keys);
    pack_values(&d->v, h->v, at.columns, pairs + at.values);
    for (int64_t m = 0; m < d->q.tokens; m += BLOCK) {
        int64_t rows = d->q.tokens - m < BLOCK ? d->q.tokens - m : BLOCK;
        for (int64_t i = 0; i < rows; i++)
            narrow_row(h->q + (m + i) * d->q.token_step, d->q.width, pairs + i * at.width_pairs);
        multiply(&qk, rows, s->keys);
        for (int64_t i = 0; i < rows; i++) {
            sum[i] = weigh(s, h, m + i, weight + i * s->keys);
            narrow_row(weight + i * s->keys, d->k.tokens, narrow + i * at.key_pairs);
        }
        multiply(&wv, rows, at.columns);
        for (int64_t i = 0; i < rows; i++) {
            float *row = memcpy(h->out + (m + i) * d->out.token_step, made + i * at.columns,
                                (size_t)d->v.width * sizeof(float));
            cpu_scale_row(row, d->v.width, 1 / sum[i]);
        }
    }
}

static status prepare_narrow(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    TRY(prepare(ctx, state, scratch, e));
    struct state *s = *state;
    s->head = run_narrow_head;
    s->exp_row = cpu_exp_row_roughly; /* what it gives is rounded to eight bits */
    set_room(s, (size_t)narrow_room(s).end * sizeof(float), scratch);
    return OK;
}

/* ---- both ---- */

struct call {
    const struct state *s;
    const struct kernel_io *io;
};

/* Every parts-th head. */
static void run_part(void *arg, int part)
{
    const struct call *c = arg;
    const struct state *s = c->s;
    const struct attention_dims *d = &s->a.d;
    const float *mask = c->io->in[3];
    for (int64_t i = part; i < d->batch * d->heads; i += s->parts) {
        int64_t b = i / d->heads, h = i % d->heads;
        struct head head = {
            .q = (const float *)c->io->in[0] + d->q.offset + b * d->q.batch_step +
                 h * d->q.head_step,
            .k = (const float *)c->io->in[1] + d->k.offset + b * d->k.batch_step +
                 h * d->k.head_step,
            .v = (const float *)c->io->in[2] + d->v.offset + b * d->v.batch_step +
                 h * d->v.head_step,
            .mask = mask != NULL ? mask + b * s->a.mask_step[0] + h * s->a.mask_step[1] : NULL,
            .out = (float *)c->io->out[0] + b * d->out.batch_step + h * d->out.head_step,
            .room = (uint8_t *)c->io->scratch + (size_t)part * s->part_bytes,
        };
        s->head(s, &head);
    }
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    struct call c = { s, io };
    parallel_run(s->parts, run_part, &c);
    return OK;
}

const struct kernel cpu_attention[] = {
    { "attention", "cpu attention bf16", F32_ONLY, DEVICE_CPU, refuse_narrow, prepare_narrow, run,
      NULL },
    { "attention", "cpu attention", F32_ONLY, DEVICE_CPU, refuse, prepare_float, run, NULL },
    { 0 },
};
