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

/* As Python has them; by zero: 0. */
static int64_t imod(int64_t a, int64_t b)
{
    int64_t r = b == 0 || b == -1 ? 0 : a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t ifloordiv(int64_t a, int64_t b)
{
    int64_t q = idiv(a, b);
    return b != 0 && imod(a, b) != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

/* Of unsigned ones of 64 bits, which no int64_t holds. */
static uint64_t udiv(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : a / b;
}

static uint64_t umod(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : a % b;
}

static uint64_t upow(uint64_t a, uint64_t b)
{
    uint64_t r = 1;
    for (; b > 0; b >>= 1, a *= a)
        if (b & 1)
            r *= a;
    return r;
}

/* The remainder of a quotient rounded towards zero. */
static int64_t irem(int64_t a, int64_t b)
{
    return b == 0 || b == -1 ? 0 : a % b;
}

/* By as many bits as there are, or more (a negative count is that too), only the sign is left. */
static int64_t ishift_right(int64_t a, uint64_t by, unsigned bits)
{
    return a >> (by < bits ? by : 63);
}

static uint64_t ushift_right(uint64_t a, uint64_t by, unsigned bits)
{
    return by < bits ? a >> by : 0;
}

static double fmodulo(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

#define WRAP(op) (int64_t)((uint64_t)a op(uint64_t) b)

/* The function for signed or for unsigned integers. */
#define WHOLE(signed_fn, unsigned_fn) _Generic((a), uint64_t : (unsigned_fn), default : (signed_fn))

// clang-format off
/*   op          of floats                              of integers */
#define NUMBER_LIST(X)                                                 \
    X(add,       a + b,                                 WRAP(+))        \
    X(sub,       a - b,                                 WRAP(-))        \
    X(mul,       a * b,                                 WRAP(*))        \
    X(div,       a / b,                                 WHOLE(idiv, udiv)(a, b)) \
    X(max,       a > b || isnan(a) ? a : b,             a > b ? a : b)  \
    X(min,       a < b || isnan(a) ? a : b,             a < b ? a : b)  \
    X(pow,       pow(a, b),                             WHOLE(ipow, upow)(a, b)) \
    X(fmax,      a > b || isnan(b) ? a : b,             a > b ? a : b)  \
    X(fmin,      a < b || isnan(b) ? a : b,             a < b ? a : b)  \
    X(prelu,     a > 0 || isnan(a) ? a : a * b,         (int64_t)(a > 0 ? (uint64_t)a : (uint64_t)WRAP(*))) \
    X(heaviside, a > 0 ? 1 : a < 0 ? 0 : isnan(a) ? a : b, a == 0 ? b : a > 0) \
    X(mod,       fmodulo(a, b),                         WHOLE(imod, umod)(a, b)) \
    X(rem,       fmod(a, b),                            WHOLE(irem, umod)(a, b)) \
    X(floordiv,  floor(a / b),                          WHOLE(ifloordiv, udiv)(a, b))

/* Not of integers, whose row is never used. */
#define FLOAT_LIST(X) X(atan2, atan2((double)a, (double)b), a & b)

#define BITS_LIST(X)      \
    X(bitwise_and, a & b) \
    X(bitwise_or,  a | b) \
    X(bitwise_xor, a ^ b)

/* Of integers alone. */
#define SHIFT_LIST(X)                                                              \
    X(shift_left,  (uint64_t)b < bits ? (uint64_t)a << b : 0)                      \
    X(shift_right, WHOLE(ishift_right, ushift_right)(a, (uint64_t)b, bits))

#define TRUTH_LIST(X)                   \
    X(equal,         a == b)            \
    X(not_equal,     a != b)            \
    X(less,          a < b)             \
    X(less_equal,    a <= b)            \
    X(greater,       a > b)             \
    X(greater_equal, a >= b)            \
    X(and,           a != 0 && b != 0)  \
    X(or,            a != 0 || b != 0)  \
    X(xor,           (a != 0) != (b != 0))
// clang-format on

#define SAME(v) (v)
#define WIDE(v) ((int64_t)(v))

/* A row of operands that are read as `wide` by load, and its result of type `result`. */
#define ROW(name, type, wide, load, result, store, expr)                                  \
    static void name(const struct broadcast *p, const void *va, const void *vb, void *vo, \
                     int64_t at_a, int64_t at_b, int64_t at)                              \
    {                                                                                     \
        enum {                                                                            \
            bits = 8 * sizeof(type)                                                       \
        };                                                                                \
        int last = p->rank - 1;                                                           \
        for (int64_t i = 0; i < p->dim[last]; i++) {                                      \
            wide a = load(((const type *)va)[at_a + i * p->step_a[last]]);                \
            wide b = load(((const type *)vb)[at_b + i * p->step_b[last]]);                \
            ((result *)vo)[at + i] = (result)store(expr);                                 \
        }                                                                                 \
    }

#define PREPARE(op)                                                                         \
    static status prepare_##op(const struct kernel_ctx *ctx, void **state, size_t *scratch, \
                               struct err *e)                                               \
    {                                                                                       \
        return prepare(ctx, op##_rows[ctx->in[0].dtype], state);                            \
    }

/* Integers are computed in 64 bits. */
#define WHOLE_ROWS(op, expr)                                     \
    ROW(op##_i64, int64_t, int64_t, SAME, int64_t, SAME, expr)   \
    ROW(op##_i32, int32_t, int64_t, SAME, int32_t, SAME, expr)   \
    ROW(op##_i16, int16_t, int64_t, SAME, int16_t, SAME, expr)   \
    ROW(op##_i8, int8_t, int64_t, WIDE, int8_t, SAME, expr)      \
    ROW(op##_u8, uint8_t, int64_t, SAME, uint8_t, SAME, expr)    \
    ROW(op##_u16, uint16_t, int64_t, SAME, uint16_t, SAME, expr) \
    ROW(op##_u32, uint32_t, int64_t, SAME, uint32_t, SAME, expr) \
    ROW(op##_u64, uint64_t, uint64_t, SAME, uint64_t, SAME, expr)

#define FLOATS_OF(op) \
    [DTYPE_F32] = op##_f32, [DTYPE_F64] = op##_f64, [DTYPE_F16] = op##_f16, [DTYPE_BF16] = op##_bf16

#define WHOLES_OF(op)                                                                             \
    [DTYPE_I64] = op##_i64, [DTYPE_I32] = op##_i32, [DTYPE_I16] = op##_i16, [DTYPE_I8] = op##_i8, \
    [DTYPE_U8] = op##_u8, [DTYPE_U16] = op##_u16, [DTYPE_U32] = op##_u32, [DTYPE_U64] = op##_u64

#define X(op, of_floats, of_ints)                                                  \
    ROW(op##_f32, float, float, SAME, float, SAME, of_floats)                      \
    ROW(op##_f64, double, double, SAME, double, SAME, of_floats)                   \
    ROW(op##_f16, uint16_t, float, f16_to_f32, uint16_t, f32_to_f16, of_floats)    \
    ROW(op##_bf16, uint16_t, float, bf16_to_f32, uint16_t, f32_to_bf16, of_floats) \
    WHOLE_ROWS(op, of_ints)                                                        \
    static const row_fn op##_rows[] = { FLOATS_OF(op), WHOLES_OF(op) };            \
    PREPARE(op)
NUMBER_LIST(X)
FLOAT_LIST(X)
#undef X

#define X(op, expr)                                                             \
    ROW(op##_i64, int64_t, int64_t, SAME, int64_t, SAME, expr)                  \
    ROW(op##_i32, int32_t, int32_t, SAME, int32_t, SAME, expr)                  \
    ROW(op##_i16, int16_t, int32_t, SAME, int16_t, SAME, expr)                  \
    ROW(op##_u8, uint8_t, int32_t, SAME, uint8_t, SAME, expr)                   \
    static const row_fn op##_rows[] = {                                         \
        [DTYPE_I64] = op##_i64, [DTYPE_I32] = op##_i32, [DTYPE_I16] = op##_i16, \
        [DTYPE_I8] = op##_u8,   [DTYPE_U8] = op##_u8,   [DTYPE_BOOL] = op##_u8, \
        [DTYPE_U16] = op##_i16, [DTYPE_U32] = op##_i32, [DTYPE_U64] = op##_i64  \
    };                                                                          \
    PREPARE(op)
BITS_LIST(X)
#undef X

#define X(op, expr)                                      \
    WHOLE_ROWS(op, expr)                                 \
    static const row_fn op##_rows[] = { WHOLES_OF(op) }; \
    PREPARE(op)
SHIFT_LIST(X)
#undef X

#define X(op, expr)                                                                             \
    ROW(op##_f32, float, float, SAME, bool, SAME, expr)                                         \
    ROW(op##_f64, double, double, SAME, bool, SAME, expr)                                       \
    ROW(op##_f16, uint16_t, float, f16_to_f32, bool, SAME, expr)                                \
    ROW(op##_bf16, uint16_t, float, bf16_to_f32, bool, SAME, expr)                              \
    ROW(op##_i64, int64_t, int64_t, SAME, bool, SAME, expr)                                     \
    ROW(op##_i32, int32_t, int32_t, SAME, bool, SAME, expr)                                     \
    ROW(op##_i16, int16_t, int32_t, SAME, bool, SAME, expr)                                     \
    ROW(op##_i8, int8_t, int64_t, WIDE, bool, SAME, expr)                                       \
    ROW(op##_u8, uint8_t, int32_t, SAME, bool, SAME, expr)                                      \
    ROW(op##_u16, uint16_t, int32_t, SAME, bool, SAME, expr)                                    \
    ROW(op##_u32, uint32_t, int64_t, SAME, bool, SAME, expr)                                    \
    ROW(op##_u64, uint64_t, uint64_t, SAME, bool, SAME, expr)                                   \
    static const row_fn op##_rows[] = { FLOATS_OF(op), WHOLES_OF(op), [DTYPE_BOOL] = op##_u8 }; \
    PREPARE(op)
TRUTH_LIST(X)
#undef X

#define FLOATS \
    (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64) | DTYPE_BIT(DTYPE_F16) | DTYPE_BIT(DTYPE_BF16))
#define INTS                                                                                    \
    (DTYPE_BIT(DTYPE_I64) | DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I16) | DTYPE_BIT(DTYPE_I8) | \
     DTYPE_BIT(DTYPE_U8) | DTYPE_BIT(DTYPE_U16) | DTYPE_BIT(DTYPE_U32) | DTYPE_BIT(DTYPE_U64))

const struct kernel ref_binary[] = {
#define X(op, of_floats, of_ints) \
    { #op, "ref " #op, FLOATS | INTS, DEVICE_CPU, NULL, prepare_##op, run, NULL },
    NUMBER_LIST(X)
#undef X
#define X(op, of_floats, of_ints) \
    { #op, "ref " #op, FLOATS, DEVICE_CPU, NULL, prepare_##op, run, NULL },
        FLOAT_LIST(X)
#undef X
#define X(op, expr) \
    { #op, "ref " #op, INTS | DTYPE_BIT(DTYPE_BOOL), DEVICE_CPU, NULL, prepare_##op, run, NULL },
            BITS_LIST(X)
#undef X
#define X(op, expr) { #op, "ref " #op, INTS, DEVICE_CPU, NULL, prepare_##op, run, NULL },
                SHIFT_LIST(X)
#undef X
#define X(op, expr)                                                                           \
    { #op, "ref " #op, FLOATS | INTS | DTYPE_BIT(DTYPE_BOOL), DEVICE_CPU, NULL, prepare_##op, \
      run, NULL },
                    TRUTH_LIST(X)
#undef X
                        { 0 },
};
