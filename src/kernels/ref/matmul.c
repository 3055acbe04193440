#include "kernels/broadcast.h"
#include "kernels/ref/ref.h"

struct state;
typedef void (*multiply_fn)(const struct state *s, const void *a, const void *b, const void *bias,
                            const void *residual, void *out);

struct state {
    multiply_fn multiply;
    size_t size; /* of an element */
    struct matmul_dims d;
    float alpha;
    struct act_fn act;
    struct broadcast walk; /* over the batch dimensions, in matrices */
    int64_t count;
};

/* `wide` holds a sum; of integers it is unsigned, so that they wrap. residual: of this product; may be NULL, as bias. */
#define MULTIPLY(name, type, wide, finish)                                                       \
    static wide dot_##name(const struct matmul_dims *d, const type *a, const type *b, int64_t i, \
                           int64_t j)                                                            \
    {                                                                                            \
        wide sum = 0;                                                                            \
        for (int64_t k = 0; k < d->k; k++) {                                                     \
            wide x = (wide)(d->trans_a ? a[k * d->m + i] : a[i * d->k + k]);                     \
            wide y = (wide)(d->trans_b ? b[j * d->k + k] : b[k * d->n + j]);                     \
            sum += x * y;                                                                        \
        }                                                                                        \
        return sum;                                                                              \
    }                                                                                            \
    static void multiply_##name(const struct state *s, const void *a, const void *b,             \
                                const void *bias, const void *residual, void *out)               \
    {                                                                                            \
        const struct matmul_dims *d = &s->d;                                                     \
        for (int64_t i = 0; i < d->m; i++)                                                       \
            for (int64_t j = 0; j < d->n; j++) {                                                 \
                int64_t at = i * d->n + j;                                                       \
                wide v = dot_##name(d, a, b, i, j);                                              \
                wide more = bias != NULL ? (wide)((const type *)bias)[j] : 0;                    \
                wide rest = residual != NULL ? (wide)((const type *)residual)[at] : 0;           \
                ((type *)out)[at] = (type)(finish);                                              \
            }                                                                                    \
    }

MULTIPLY(f32, float, double, ref_act_fn(s->act, s->alpha *v + more) + rest)
MULTIPLY(f64, double, double, ref_act_fn(s->act, s->alpha *v + more) + rest)
MULTIPLY(i32, int32_t, uint64_t, (int64_t)(v + more + rest))
MULTIPLY(i64, int64_t, uint64_t, (int64_t)(v + more + rest))

static const multiply_fn multiplies[] = { [DTYPE_F32] = multiply_f32,
                                          [DTYPE_F64] = multiply_f64,
                                          [DTYPE_I32] = multiply_i32,
                                          [DTYPE_I64] = multiply_i64 };

/* Integers are multiplied and added, no more. */
static const char *refuse(const struct kernel_ctx *ctx)
{
    const struct matmul_attrs *a = ctx->node->attrs;
    bool whole = ctx->in[0].dtype == DTYPE_I32 || ctx->in[0].dtype == DTYPE_I64;
    return whole && (a->alpha != 1 || a->act != ACT_NONE) ? "not for integers" : NULL;
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct matmul_attrs *a = ctx->node->attrs;
    s->multiply = multiplies[ctx->in[0].dtype];
    s->size = dtype_size(ctx->in[0].dtype);
    s->alpha = a->alpha;
    s->act = (struct act_fn){ a->act, a->act_alpha, a->act_beta, a->act_gamma };
    matmul_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &s->d);
    broadcast_plan(&s->d.stack_a, &s->d.stack_b, &s->d.stack, &s->walk);
    s->count = shape_numel(&ctx->out[0].shape);
    *state = s;
    return OK;
}

/* Matrix number i of `elements` each; NULL stays NULL. */
static const void *matrix(const struct state *s, const void *x, int64_t i, int64_t elements)
{
    return x != NULL ? (const uint8_t *)x + (size_t)(i * elements) * s->size : NULL;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const struct matmul_dims *d = &s->d;
    int64_t index[SHAPE_MAX] = { 0 }, at_a = 0, at_b = 0, at = 0;
    int last = s->walk.rank - 1;
    if (s->count == 0)
        return OK;
    do {
        for (int64_t i = 0; i < s->walk.dim[last]; i++, at++)
            s->multiply(s, matrix(s, io->in[0], at_a + i * s->walk.step_a[last], d->m * d->k),
                        matrix(s, io->in[1], at_b + i * s->walk.step_b[last], d->k * d->n),
                        io->in[2], matrix(s, io->in[3], at, d->m * d->n),
                        (uint8_t *)io->out[0] + (size_t)(at * d->m * d->n) * s->size);
    } while (broadcast_next(&s->walk, index, &at_a, &at_b));
    return OK;
}

#define NUMBERS (F32_ONLY | DTYPE_BIT(DTYPE_F64) | DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_I64))

const struct kernel ref_matmul[] = {
    { "matmul", "ref matmul", NUMBERS, DEVICE_CPU, refuse, prepare, run, NULL },
    { 0 },
};
