/* Reductions of floats over neighbouring dimensions: x seen as [outer, n, inner], n of each go. */
#include "graph/attrs_reduce.h"
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

#define LANES 16

typedef float (*row_fn)(const float *x, int64_t n);
typedef void (*fold_fn)(float *to, const float *x, int64_t n);

struct state {
    int64_t outer, n, inner;
    row_fn row;   /* n elements to one */
    fold_fn fold; /* one more row into a row of results */
    float scale;  /* of sums */
    bool root;
};

/* fold(sum, v) must be free of order. */
#define ROW(name, start, fold)                                           \
    CLONES static float row_##name(const float *x, int64_t n)            \
    {                                                                    \
        float lane[LANES], sum = start;                                  \
        int64_t i = 0;                                                   \
        for (int j = 0; j < LANES; j++)                                  \
            lane[j] = start;                                             \
        for (; i + LANES <= n; i += LANES)                               \
            for (int j = 0; j < LANES; j++) {                            \
                float s = lane[j], v = x[i + j];                         \
                lane[j] = fold;                                          \
            }                                                            \
        for (; i < n; i++) {                                             \
            float s = sum, v = x[i];                                     \
            sum = fold;                                                  \
        }                                                                \
        return join_##name(lane, sum);                                   \
    }                                                                    \
    CLONES static void fold_##name(float *to, const float *x, int64_t n) \
    {                                                                    \
        for (int64_t i = 0; i < n; i++) {                                \
            float s = to[i], v = x[i];                                   \
            to[i] = fold;                                                \
        }                                                                \
    }

static float add_lanes(const float *lane, float sum)
{
    for (int j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}

static float most(const float *lane, float top)
{
    for (int j = 0; j < LANES; j++)
        top = lane[j] > top || isnan(lane[j]) ? lane[j] : top;
    return top;
}

static float least(const float *lane, float low)
{
    for (int j = 0; j < LANES; j++)
        low = lane[j] < low || isnan(lane[j]) ? lane[j] : low;
    return low;
}

#define join_sum    add_lanes
#define join_square add_lanes
#define join_l1     add_lanes
#define join_max    most
#define join_min    least

ROW(sum, 0, s + v)
ROW(square, 0, s + v * v)
ROW(l1, 0, s + fabsf(v))
ROW(max, -INFINITY, v > s || v != v ? v : s)
ROW(min, INFINITY, v < s || v != v ? v : s)

struct way {
    row_fn row;
    fold_fn fold;
};

static const struct way ways[REDUCE_COUNT] = {
    [REDUCE_SUM] = { row_sum, fold_sum },
    [REDUCE_MEAN] = { row_sum, fold_sum },
    [REDUCE_MAX] = { row_max, fold_max },
    [REDUCE_MIN] = { row_min, fold_min },
    [REDUCE_L1] = { row_l1, fold_l1 },
    [REDUCE_L2] = { row_square, fold_square },
    [REDUCE_SUM_SQUARE] = { row_square, fold_square },
};

/* false: what goes does not lie together. */
static bool view_of(const struct shape *x, const bool drop[SHAPE_MAX], struct state *s)
{
    int phase = 0; /* 0: what stays in front, 1: what goes, 2: what stays behind */
    s->outer = s->n = s->inner = 1;
    for (int i = 0; i < x->rank; i++) {
        if (x->dim[i] == 1)
            continue;
        if (drop[i] && phase == 2)
            return false;
        if (drop[i])
            phase = 1;
        else if (phase == 1)
            phase = 2;
        *(phase == 0 ? &s->outer : phase == 1 ? &s->n : &s->inner) *= x->dim[i];
    }
    return true;
}

static const char *refuse(const struct kernel_ctx *ctx)
{
    bool drop[SHAPE_MAX];
    struct state s;
    if (ways[((const struct reduce_attrs *)ctx->node->attrs)->mode].row == NULL)
        return "a rare kind";
    if (reduce_axes(ctx->node, ctx->in, drop, NULL) != OK ||
        !view_of(&ctx->in[0].shape, drop, &s) || s.n == 0)
        return "dimensions that do not lie together";
    return NULL;
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    int32_t mode = ((const struct reduce_attrs *)ctx->node->attrs)->mode;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    bool drop[SHAPE_MAX];
    TRY(reduce_axes(ctx->node, ctx->in, drop, e));
    view_of(&ctx->in[0].shape, drop, s);
    s->row = ways[mode].row;
    s->fold = ways[mode].fold;
    s->scale = mode == REDUCE_MEAN ? 1 / (float)s->n : 1;
    s->root = mode == REDUCE_L2;
    *state = s;
    return OK;
}

static void finish(const struct state *s, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = s->root ? sqrtf(out[i]) : out[i] * s->scale;
}

/* The first row as its own fold: sums of squares and magnitudes start from nothing, the others from the row. */
static void fold_block(const struct state *s, const float *x, float *out)
{
    for (int64_t i = 0; i < s->inner; i++)
        out[i] = s->row(x + i, 1);
    for (int64_t k = 1; k < s->n; k++)
        s->fold(out, x + k * s->inner, s->inner);
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0];
    float *out = io->out[0];
    for (int64_t o = 0; o < s->outer; o++, x += s->n * s->inner, out += s->inner) {
        if (s->inner == 1)
            *out = s->row(x, s->n);
        else
            fold_block(s, x, out);
    }
    if (s->root || s->scale != 1)
        finish(s, io->out[0], s->outer * s->inner);
    return OK;
}

const struct kernel cpu_reduce[] = {
    { "reduce", "cpu reduce", F32_ONLY, DEVICE_CPU, refuse, prepare, run, NULL },
    { 0 },
};
