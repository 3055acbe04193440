#include "kernels/broadcast.h"
#include "kernels/cpu/cpu.h"

#include <math.h>

typedef void (*row_fn)(const float *a, const float *b, float *out, int64_t n);

struct state {
    struct broadcast walk;
    int64_t count;
    row_fn row;
};

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *a = io->in[0], *b = io->in[1];
    float *out = io->out[0];
    int64_t index[SHAPE_MAX] = { 0 }, at_a = 0, at_b = 0;
    if (s->count == 0)
        return OK;
    do {
        s->row(a + at_a, b + at_b, out, s->walk.dim[s->walk.rank - 1]);
        out += s->walk.dim[s->walk.rank - 1];
    } while (broadcast_next(&s->walk, index, &at_a, &at_b));
    return OK;
}

/* One loop for each way of stepping along a row: both operands, or one of them repeated. */
#define ROWS(op, expr)                                                                     \
    CLONES static void op##_both(const float *pa, const float *pb, float *out, int64_t n)  \
    {                                                                                      \
        for (int64_t i = 0; i < n; i++) {                                                  \
            float a = pa[i], b = pb[i];                                                    \
            out[i] = expr;                                                                 \
        }                                                                                  \
    }                                                                                      \
    CLONES static void op##_left(const float *pa, const float *pb, float *out, int64_t n)  \
    {                                                                                      \
        float b = *pb;                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                  \
            float a = pa[i];                                                               \
            out[i] = expr;                                                                 \
        }                                                                                  \
    }                                                                                      \
    CLONES static void op##_right(const float *pa, const float *pb, float *out, int64_t n) \
    {                                                                                      \
        float a = *pa;                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                  \
            float b = pb[i];                                                               \
            out[i] = expr;                                                                 \
        }                                                                                  \
    }

#define BINARY_LIST(X)                \
    X(add, a + b)                     \
    X(sub, a - b)                     \
    X(mul, a *b)                      \
    X(div, a / b)                     \
    X(prelu, a <= 0 ? a * b : a)      \
    X(max, a > b || isnan(a) ? a : b) \
    X(min, a < b || isnan(a) ? a : b)

/* in[0] may be out: an element is read before it is written, and a repeated operand is read once. */
#define X(op, expr)                                                                               \
    ROWS(op, expr)                                                                                \
    static status prepare_##op(const struct kernel_ctx *ctx, void **state, size_t *scratch,       \
                               struct err *e)                                                     \
    {                                                                                             \
        struct state *s = arena_zalloc(ctx->arena, sizeof(*s));                                   \
        broadcast_plan(&ctx->in[0].shape, &ctx->in[1].shape, &ctx->out[0].shape, &s->walk);       \
        s->count = shape_numel(&ctx->out[0].shape);                                               \
        int last = s->walk.rank - 1;                                                              \
        s->row = s->walk.step_a[last] == 0 ? op##_right                                           \
                                           : (s->walk.step_b[last] == 0 ? op##_left : op##_both); \
        *state = s;                                                                               \
        return OK;                                                                                \
    }
BINARY_LIST(X)
#undef X

const struct kernel cpu_binary[] = {
#define X(op, expr) { #op, "cpu " #op, F32_ONLY, DEVICE_CPU, NULL, prepare_##op, run, NULL },
    BINARY_LIST(X)
#undef X
        { 0 },
};
