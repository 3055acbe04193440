#include "kernels/broadcast.h"
#include "kernels/ref/ref.h"

struct state;
typedef void (*row_fn)(const struct broadcast *p, const void *a, const void *b, void *out,
                       int64_t at_a, int64_t at_b, int64_t at);

struct state {
    struct broadcast walk;
    int64_t count;
    row_fn row;
};

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    int64_t index[SHAPE_MAX] = { 0 }, at_a = 0, at_b = 0, at = 0;
    if (s->count == 0)
        return OK;
    do {
        s->row(&s->walk, io->in[0], io->in[1], io->out[0], at_a, at_b, at);
        at += s->walk.dim[s->walk.rank - 1];
    } while (broadcast_next(&s->walk, index, &at_a, &at_b));
    return OK;
}

static status prepare(const struct kernel_ctx *ctx, row_fn row, void **state)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    broadcast_plan(&ctx->in[0].shape, &ctx->in[1].shape, &ctx->out[0].shape, &s->walk);
    s->count = shape_numel(&ctx->out[0].shape);
    s->row = row;
    *state = s;
    return OK;
}

/* Integers wrap as NumPy's do, by way of unsigned; dividing by zero gives 0 and the one quotient that does not fit
 * wraps, where C says nothing. Quotients round towards zero. */
static int64_t idiv(int64_t a, int64_t b)
{
    return b == 0 ? 0 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

static int64_t ipow(int64_t a, int64_t b)
{
    uint64_t base = (uint64_t)a, r = 1;
    if (b < 0)
        return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    for (; b > 0; b >>= 1, base *= base)
        if (b & 1)
            r *= base;
    return (int64_t)r;
}

#define WRAP(op) (int64_t)((uint64_t)a op(uint64_t) b)

// clang-format off
/*   op    of floats                                     of integers */
#define BINARY_LIST(X)                                                                    \
    X(add, a + b,                                        WRAP(+))                          \
    X(sub, a - b,                                        WRAP(-))                          \
    X(mul, a * b,                                        WRAP(*))                          \
    X(div, a / b,                                        idiv(a, b))                       \
    X(max, a > b || isnan(a) ? a : b,                    a > b ? a : b)                    \
    X(min, a < b || isnan(a) ? a : b,                    a < b ? a : b)                    \
    X(pow, pow(a, b),                                    ipow(a, b))
// clang-format on

#define ROW(name, type, wide, expr)                                                       \
    static void name(const struct broadcast *p, const void *va, const void *vb, void *vo, \
                     int64_t at_a, int64_t at_b, int64_t at)                              \
    {                                                                                     \
        int last = p->rank - 1;                                                           \
        for (int64_t i = 0; i < p->dim[last]; i++) {                                      \
            wide a = ((const type *)va)[at_a + i * p->step_a[last]];                      \
            wide b = ((const type *)vb)[at_b + i * p->step_b[last]];                      \
            ((type *)vo)[at + i] = (type)(expr);                                          \
        }                                                                                 \
    }

#define X(op, of_floats, of_ints)                                                           \
    ROW(op##_f32, float, float, of_floats)                                                  \
    ROW(op##_f64, double, double, of_floats)                                                \
    ROW(op##_i32, int32_t, int64_t, of_ints)                                                \
    ROW(op##_i64, int64_t, int64_t, of_ints)                                                \
    static status prepare_##op(const struct kernel_ctx *ctx, void **state, size_t *scratch, \
                               struct err *e)                                               \
    {                                                                                       \
        static const row_fn row[] = { [DTYPE_F32] = op##_f32,                               \
                                      [DTYPE_F64] = op##_f64,                               \
                                      [DTYPE_I32] = op##_i32,                               \
                                      [DTYPE_I64] = op##_i64 };                             \
        return prepare(ctx, row[ctx->in[0].dtype], state);                                  \
    }
BINARY_LIST(X)
#undef X

#define NUMBERS \
    (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64) | DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I64))

const struct kernel ref_binary[] = {
#define X(op, of_floats, of_ints) \
    { #op, "ref " #op, NUMBERS, DEVICE_CPU, NULL, prepare_##op, run, NULL },
    BINARY_LIST(X)
#undef X
        { 0 },
};
