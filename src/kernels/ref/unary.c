#include "kernels/ref/ref.h"

typedef float (*unary_fn)(float x, const struct affine_attrs *a);

struct state {
    int64_t count;
    unary_fn fn;
    struct affine_attrs affine;
};

static float f_relu(float x, const struct affine_attrs *a)
{
    return (float)ref_act(ACT_RELU, x);
}

static float f_tanh(float x, const struct affine_attrs *a)
{
    return tanhf(x);
}

static float f_sigmoid(float x, const struct affine_attrs *a)
{
    return (float)ref_act(ACT_SIGMOID, x);
}

static float f_exp(float x, const struct affine_attrs *a)
{
    return expf(x);
}

static float f_log(float x, const struct affine_attrs *a)
{
    return logf(x);
}

static float f_sqrt(float x, const struct affine_attrs *a)
{
    return sqrtf(x);
}

static float f_abs(float x, const struct affine_attrs *a)
{
    return fabsf(x);
}

static float f_square(float x, const struct affine_attrs *a)
{
    return x * x;
}

static float f_affine(float x, const struct affine_attrs *a)
{
    return x * a->scale + a->bias;
}

static status prepare(const struct kernel_ctx *ctx, unary_fn fn, void **state)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->count = shape_numel(&ctx->out[0].shape);
    s->fn = fn;
    if (ctx->node->attrs != NULL)
        s->affine = *(const struct affine_attrs *)ctx->node->attrs;
    *state = s;
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0];
    float *y = io->out[0];
    for (int64_t i = 0; i < s->count; i++)
        y[i] = s->fn(x[i], &s->affine);
    return OK;
}

#define UNARY_LIST(X) \
    X(relu)           \
    X(tanh)           \
    X(sigmoid)        \
    X(exp)            \
    X(log)            \
    X(sqrt)           \
    X(abs)            \
    X(square)         \
    X(affine)

#define X(op)                                                                               \
    static status prepare_##op(const struct kernel_ctx *ctx, void **state, size_t *scratch, \
                               struct err *e)                                               \
    {                                                                                       \
        return prepare(ctx, f_##op, state);                                                 \
    }
UNARY_LIST(X)
#undef X

const struct kernel ref_unary[] = {
#define X(op) { #op, "ref " #op, F32_ONLY, DEVICE_CPU, NULL, prepare_##op, run, NULL },
    UNARY_LIST(X)
#undef X
        { 0 },
};
