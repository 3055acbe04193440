#include "kernels/ref/ref.h"

/* The axis has `size` elements `step` apart; `outer` blocks of size * step elements follow each other. */
struct state {
    int64_t outer, size, step;
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    int axis = shape_axis(x, ((const struct axis_attrs *)ctx->node->attrs)->axis);
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct state){ shape_span(x, 0, axis), x->dim[axis], shape_span(x, axis + 1, x->rank) };
    *state = s;
    return OK;
}

/* exp(x - max): no sum overflows. */
static void softmax(const float *x, float *y, int64_t size, int64_t step)
{
    float top = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < size; i++)
        top = fmaxf(top, x[i * step]);
    for (int64_t i = 0; i < size; i++) {
        float v = expf(x[i * step] - top);
        y[i * step] = v;
        sum += v;
    }
    for (int64_t i = 0; i < size; i++)
        y[i * step] = (float)(y[i * step] / sum);
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0];
    float *y = io->out[0];
    for (int64_t o = 0; o < s->outer; o++)
        for (int64_t i = 0; i < s->step; i++)
            softmax(x + o * s->size * s->step + i, y + o * s->size * s->step + i, s->size, s->step);
    return OK;
}

const struct kernel ref_softmax[] = {
    { "softmax", "ref softmax", F32_ONLY, DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
