#include "graph/attrs_narrow.h"
#include "kernels/ref/ref.h"

struct state {
    int64_t count;
    enum narrow format;
    struct narrow_rule rule;
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct narrow_attrs *a = ctx->node->attrs;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct state){ shape_numel(&ctx->in[0].shape),
                         (enum narrow)a->format,
                         { a->saturate, (enum narrow_round)a->round } };
    *state = s;
    return OK;
}

static status run_round(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0];
    for (int64_t i = 0; i < s->count; i++)
        ((float *)io->out[0])[i] =
            narrow_to_f32(s->format, narrow_from_f32(s->format, x[i], s->rule));
    return OK;
}

static status run_to_codes(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0];
    for (int64_t i = 0; i < s->count; i++)
        ((uint8_t *)io->out[0])[i] = narrow_from_f32(s->format, x[i], s->rule);
    return OK;
}

static status run_from_codes(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const uint8_t *x = io->in[0];
    for (int64_t i = 0; i < s->count; i++)
        ((float *)io->out[0])[i] = narrow_to_f32(s->format, x[i]);
    return OK;
}

#define U8_ONLY DTYPE_BIT(DTYPE_U8)

// clang-format off
const struct kernel ref_narrow[] = {
    { "round_narrow", "ref round_narrow", F32_ONLY, DEVICE_CPU, NULL, prepare, run_round,      NULL },
    { "to_codes",     "ref to_codes",     F32_ONLY, DEVICE_CPU, NULL, prepare, run_to_codes,   NULL },
    { "from_codes",   "ref from_codes",   U8_ONLY,  DEVICE_CPU, NULL, prepare, run_from_codes, NULL },
    { 0 },
};
// clang-format on
