#include "kernels/ref/ref.h"

#include <string.h>

/* Each input gives `bytes[i]` neighbouring bytes of each of `outer` blocks. */
struct state {
    int64_t outer;
    int count;
    size_t bytes[];
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    int axis = shape_axis(x, ((const struct axis_attrs *)ctx->node->attrs)->axis);
    int count = ctx->node->in_count;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s) + (size_t)count * sizeof(s->bytes[0]));
    s->outer = shape_span(x, 0, axis);
    s->count = count;
    for (int i = 0; i < count; i++)
        s->bytes[i] =
            (size_t)shape_span(&ctx->in[i].shape, axis, x->rank) * dtype_size(ctx->in[i].dtype);
    *state = s;
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    uint8_t *out = io->out[0];
    for (int64_t o = 0; o < s->outer; o++)
        for (int i = 0; i < s->count; i++) {
            if (s->bytes[i] > 0)
                memcpy(out, (const uint8_t *)io->in[i] + (size_t)o * s->bytes[i], s->bytes[i]);
            out += s->bytes[i];
        }
    return OK;
}

/* append: the list's bytes, then the item's. */
static status prepare_append(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s) + 2 * sizeof(s->bytes[0]));
    s->outer = 1;
    s->count = 2;
    for (int i = 0; i < 2; i++)
        s->bytes[i] = (size_t)shape_numel(&ctx->in[i].shape) * dtype_size(ctx->in[i].dtype);
    *state = s;
    return OK;
}

const struct kernel ref_shape[] = {
    { "append", "ref append", UINT32_MAX, DEVICE_CPU, NULL, prepare_append, run, NULL },
    { "concat", "ref concat", UINT32_MAX, DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
