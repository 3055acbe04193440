/* Numbers by chance: splitmix64 (Steele, Lea, Flood), from a seed or from the system. */
#include "graph/attrs_random.h"
#include "kernels/ref/ref.h"

#include <string.h>
#include <sys/random.h>

struct chance {
    uint64_t state;
};

static struct chance begin(int32_t seed)
{
    struct chance c = { .state = (uint32_t)seed };
    if (seed == 0 && getrandom(&c.state, sizeof(c.state), 0) != (ssize_t)sizeof(c.state))
        c.state = (uint64_t)(uintptr_t)&c; /* no source: the stack's place is one of a kind */
    return c;
}

static uint64_t next(struct chance *c)
{
    uint64_t z = c->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* 0 .. 1, without 1. */
static double unit(struct chance *c)
{
    return (double)(next(c) >> 11) * 0x1p-53;
}

/* Box and Muller. */
static double normal(struct chance *c)
{
    double r = sqrt(-2 * log(1 - unit(c)));
    return r * cos(6.283185307179586 * unit(c));
}

static double within_two(struct chance *c)
{
    double v = normal(c);
    while (fabs(v) > 2)
        v = normal(c);
    return v;
}

/* ---- random ---- */

struct random {
    int64_t count;
    struct random_attrs attrs;
};

static status prepare_random(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct random *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->count = shape_numel(&ctx->out[0].shape);
    s->attrs = *(const struct random_attrs *)ctx->node->attrs;
    *state = s;
    return OK;
}

static double draw(const struct random_attrs *a, struct chance *c)
{
    switch ((enum random_kind)a->kind) {
    case RANDOM_NORMAL: return a->a + a->b * normal(c);
    case RANDOM_TRUNCATED: return a->a + a->b * within_two(c);
    case RANDOM_UNIFORM: break;
    }
    return a->a + (a->b - a->a) * unit(c);
}

/* v rounded down, below `end`, within what `most` says of the dtype; 0 for what is no number. */
static int64_t whole(double v, double end, double most)
{
    double n = fmin(floor(v), end - 1);
    return n > -most ? (int64_t)(n < most ? n : most) : n <= -most ? (int64_t)-most : 0;
}

static status run_random(const void *state, const struct kernel_io *io)
{
    const struct random *s = state;
    struct chance c = begin(s->attrs.seed);
    for (int64_t i = 0; i < s->count; i++) {
        double v = draw(&s->attrs, &c);
        switch (s->attrs.dtype) {
        case DTYPE_F64: ((double *)io->out[0])[i] = v; break;
        case DTYPE_I32:
            ((int32_t *)io->out[0])[i] = (int32_t)whole(v, s->attrs.b, INT32_MAX);
            break;
        case DTYPE_I64: ((int64_t *)io->out[0])[i] = whole(v, s->attrs.b, 0x1p62); break;
        default: ((float *)io->out[0])[i] = (float)v; break;
        }
    }
    return OK;
}

/* ---- sample, flip_coins ---- */

struct sample {
    int64_t rows, columns;
    struct sample_attrs attrs;
};

static status prepare_sample(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct sample *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->columns = x->dim[x->rank - 1];
    s->rows = shape_span(x, 0, x->rank - 1);
    s->attrs = *(const struct sample_attrs *)ctx->node->attrs;
    *scratch = (size_t)s->columns * sizeof(float);
    *state = s;
    return OK;
}

/* A place, each as likely as its weight says; -1 where no weight is above 0. */
static int64_t choose(const float *weight, int64_t n, struct chance *c)
{
    double sum = 0;
    int64_t last = -1;
    for (int64_t i = 0; i < n; i++)
        sum += weight[i];
    double at = unit(c) * sum;
    for (int64_t i = 0; i < n; i++) {
        if (!(weight[i] > 0))
            continue;
        last = i;
        at -= weight[i];
        if (at < 0)
            break;
    }
    return last;
}

static status check_weights(const float *x, int64_t n, int64_t row, struct err *e)
{
    for (int64_t i = 0; i < n; i++)
        if (!(x[i] >= 0) || !isfinite(x[i]))
            return err_set(e, INVALID, "weight %lld of row %lld is %g", (long long)i,
                           (long long)row, (double)x[i]);
    return OK;
}

static status run_sample(const void *state, const struct kernel_io *io)
{
    const struct sample *s = state;
    struct chance c = begin(s->attrs.seed);
    float *weight = io->scratch;
    int64_t *out = io->out[0];
    for (int64_t r = 0; r < s->rows; r++) {
        const float *x = (const float *)io->in[0] + r * s->columns;
        TRY(check_weights(x, s->columns, r, io->err));
        memcpy(weight, x, (size_t)s->columns * sizeof(*weight));
        for (int k = 0; k < s->attrs.count; k++) {
            int64_t at = choose(weight, s->columns, &c);
            if (at < 0)
                return err_set(io->err, INVALID, "row %lld has fewer than %d weights above 0",
                               (long long)r, s->attrs.count);
            *out++ = at;
            if (!s->attrs.replace)
                weight[at] = 0;
        }
    }
    return OK;
}

static status prepare_coins(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    int64_t *count = arena_zalloc(ctx->arena, sizeof(*count));
    *count = shape_numel(&ctx->in[0].shape);
    *state = count;
    return OK;
}

static status run_coins(const void *state, const struct kernel_io *io)
{
    struct chance c = begin(0);
    for (int64_t i = 0; i < *(const int64_t *)state; i++)
        ((float *)io->out[0])[i] = unit(&c) < ((const float *)io->in[0])[i] ? 1 : 0;
    return OK;
}

/* ---- gather_tree ---- */

struct tree {
    int64_t steps, rows, beams;
    bool wide;
};

static status prepare_tree(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct tree *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct tree){ x->dim[0], x->dim[1], x->dim[2], ctx->in[0].dtype == DTYPE_I64 };
    *state = s;
    return OK;
}

static int64_t int_at(const void *x, bool wide, int64_t i)
{
    return wide ? ((const int64_t *)x)[i] : ((const int32_t *)x)[i];
}

/* Copies the id of `beam` at step t of a row to beam b of the result; gives the beam it came from. */
static status follow(const struct tree *s, const struct kernel_io *io, int64_t t, int64_t row,
                     int64_t b, int64_t *beam)
{
    int64_t line = (t * s->rows + row) * s->beams;
    int64_t id = int_at(io->in[0], s->wide, line + *beam);
    if (s->wide)
        ((int64_t *)io->out[0])[line + b] = id;
    else
        ((int32_t *)io->out[0])[line + b] = (int32_t)id;
    *beam = int_at(io->in[1], s->wide, line + *beam);
    if (t > 0 && (*beam < 0 || *beam >= s->beams))
        return err_set(io->err, INVALID, "parent %lld (step %lld) is not in 0 .. %lld",
                       (long long)*beam, (long long)t, (long long)s->beams - 1);
    return OK;
}

static status run_tree(const void *state, const struct kernel_io *io)
{
    const struct tree *s = state;
    for (int64_t row = 0; row < s->rows; row++)
        for (int64_t b = 0; b < s->beams; b++) {
            int64_t beam = b;
            for (int64_t t = s->steps - 1; t >= 0; t--)
                TRY(follow(s, io, t, row, b, &beam));
        }
    return OK;
}

/* ---- beam_step ---- */

struct beams {
    int64_t sources, sequences, rows, columns;
    struct beam_attrs attrs;
};

struct candidate {
    int64_t row, id;
    float score;
};

/* scratch: the best candidates of all sources, and how many each source has. */
static status prepare_beams(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    struct beams *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct beams){ .sources = ctx->in[3].shape.dim[0] - 1,
                         .sequences = ctx->in[4].shape.dim[0] - 1,
                         .rows = ctx->in[2].shape.dim[0],
                         .columns = ctx->in[2].shape.dim[1],
                         .attrs = *(const struct beam_attrs *)ctx->node->attrs };
    *scratch = (size_t)(s->sources * s->attrs.beam_size) * sizeof(struct candidate) +
               (size_t)s->sources * sizeof(int64_t);
    *state = s;
    return OK;
}

/* The better one first; of equals the later row, as Paddle has it. */
static bool is_worse(const struct candidate *a, const struct candidate *b)
{
    return a->score < b->score || (a->score == b->score && a->row < b->row);
}

static void insert(struct candidate *best, int64_t *count, int64_t most, struct candidate c)
{
    if (*count == most && is_worse(&c, &best[most - 1]))
        return;
    int64_t at = *count < most ? (*count)++ : most - 1;
    for (; at > 0 && is_worse(&best[at - 1], &c); at--)
        best[at] = best[at - 1];
    best[at] = c;
}

static void offer_row(const struct beams *s, const struct kernel_io *io, int64_t row,
                      struct candidate *best, int64_t *count)
{
    int64_t before = ((const int64_t *)io->in[0])[row];
    float so_far = ((const float *)io->in[1])[row];
    const float *score = (const float *)io->in[2] + row * s->columns;
    const int64_t *id = io->in[5];
    if (before == s->attrs.end_id) {
        insert(best, count, s->attrs.beam_size, (struct candidate){ row, before, so_far });
        return;
    }
    for (int64_t k = 0; k < s->columns; k++) {
        float v = s->attrs.accumulated ? score[k] : so_far + logf(score[k]);
        insert(best, count, s->attrs.beam_size,
               (struct candidate){ row, id != NULL ? id[row * s->columns + k] : k, v });
    }
}

/* Whether nothing of a source goes on: its beams had ended, and end again. */
static bool has_ended(const struct beams *s, const int64_t *before, const struct candidate *best,
                      int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (best[i].id != s->attrs.end_id || before[best[i].row] != s->attrs.end_id)
            return false;
    return true;
}

/* Those of one source that came from this row. */
static void put_row(const struct kernel_io *io, const struct candidate *best, int64_t count,
                    int64_t row, int64_t *at)
{
    for (int64_t i = 0; i < count; i++) {
        if (best[i].row != row)
            continue;
        ((int64_t *)io->out[0])[*at] = best[i].id;
        ((float *)io->out[1])[*at] = best[i].score;
        ((int32_t *)io->out[2])[*at] = (int32_t)row;
        ++*at;
    }
}

static status run_beams(const void *state, const struct kernel_io *io)
{
    const struct beams *s = state;
    const int64_t *source = io->in[3], *sequence = io->in[4];
    int64_t *high = io->out[3], *low = io->out[4], at = 0;
    struct candidate *best = io->scratch;
    TRY(ref_check_offsets(source, s->sources, s->sequences, io->err));
    TRY(ref_check_offsets(sequence, s->sequences, s->rows, io->err));
    high[0] = 0;
    for (int64_t i = 0; i < s->sources; i++, best += s->attrs.beam_size) {
        int64_t count = 0, from = sequence[source[i]], to = sequence[source[i + 1]];
        high[i + 1] = to;
        for (int64_t row = from; row < to; row++)
            offer_row(s, io, row, best, &count);
        if (has_ended(s, io->in[0], best, count))
            count = 0;
        for (int64_t row = from; row < to; row++) {
            low[row] = at;
            put_row(io, best, count, row, &at);
        }
    }
    low[s->rows] = at;
    for (int i = 0; i < 3; i++)
        io->shape[i].dim[0] = at;
    return OK;
}

const struct kernel ref_random[] = {
    { "random", "ref random", UINT32_MAX, DEVICE_CPU, NULL, prepare_random, run_random, NULL },
    { "sample", "ref sample", F32_ONLY, DEVICE_CPU, NULL, prepare_sample, run_sample, NULL },
    { "flip_coins", "ref flip_coins", F32_ONLY, DEVICE_CPU, NULL, prepare_coins, run_coins, NULL },
    { "beam_step", "ref beam_step", DTYPE_BIT(DTYPE_I64), DEVICE_CPU, NULL, prepare_beams,
      run_beams, NULL },
    { "gather_tree", "ref gather_tree", DTYPE_BIT(DTYPE_I64) | DTYPE_BIT(DTYPE_I32), DEVICE_CPU,
      NULL, prepare_tree, run_tree, NULL },
    { 0 },
};
