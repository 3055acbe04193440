/* Normalisation of images whose channels come before their places: each channel is one row of memory. */
#include "graph/attrs_image.h"
#include "kernels/cpu/cpu.h"

#include <math.h>

struct state {
    int64_t images, channels, size, per_group; /* per_group: channels that share a mean */
    float epsilon;
};

static const char *refuse(const struct kernel_ctx *ctx)
{
    return ((const struct norm_attrs *)ctx->node->attrs)->channel_last ? "its channels come last"
                                                                       : NULL;
}

static status prepare(const struct kernel_ctx *ctx, int64_t per_group, void **state)
{
    const struct shape *x = &ctx->in[0].shape;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    if (shape_numel(x) > 0)
        *s = (struct state){ x->dim[0], x->dim[1], shape_span(x, 2, x->rank), per_group,
                             ((const struct norm_attrs *)ctx->node->attrs)->epsilon };
    *state = s;
    return OK;
}

static status prepare_batch(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    return prepare(ctx, 1, state);
}

static status prepare_group(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    const struct norm_attrs *a = ctx->node->attrs;
    return prepare(ctx, ctx->in[0].shape.dim[1] / a->groups, state);
}

CLONES static void scale_row(const float *x, int64_t n, float by, float more, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * by + more;
}

static status run_batch(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0], *scale = io->in[1], *bias = io->in[2], *mean = io->in[3],
                *variance = io->in[4];
    float *y = io->out[0];
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t c = 0; c < s->channels; c++, x += s->size, y += s->size) {
            double by = scale[c] / sqrt((double)variance[c] + s->epsilon);
            scale_row(x, s->size, (float)by, (float)(bias[c] - mean[c] * by), y);
        }
    return OK;
}

/* ---- by their own mean and variance ---- */

#define LANES 8

/* Sums of the elements, and of their squares around `about`. */
CLONES static void add_up(const float *x, int64_t n, double about, double *sum, double *squares)
{
    double a[LANES] = { 0 }, b[LANES] = { 0 };
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            double v = (double)x[i + j] - about;
            a[j] += v;
            b[j] += v * v;
        }
    for (; i < n; i++) {
        double v = (double)x[i] - about;
        a[0] += v;
        b[0] += v * v;
    }
    *sum = *squares = 0;
    for (int j = 0; j < LANES; j++) {
        *sum += a[j];
        *squares += b[j];
    }
}

/* A group's channels lie side by side, so that it is one row too. */
static void normalise(const struct state *s, const struct kernel_io *io, int64_t c, const float *x,
                      float *y)
{
    const float *scale = io->in[1], *bias = io->in[2];
    double sum, squares, count = (double)(s->per_group * s->size);
    add_up(x, s->per_group * s->size, 0, &sum, &squares);
    double mean = sum / count;
    add_up(x, s->per_group * s->size, mean, &sum, &squares);
    double one = 1 / sqrt(squares / count + s->epsilon);
    for (int64_t k = c; k < c + s->per_group; k++, x += s->size, y += s->size) {
        double by = scale != NULL ? scale[k] * one : one, more = bias != NULL ? bias[k] : 0;
        scale_row(x, s->size, (float)by, (float)(more - mean * by), y);
    }
}

static status run_group(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    int64_t group = s->per_group * s->size, at = 0;
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t c = 0; c < s->channels; c += s->per_group, at += group)
            normalise(s, io, c, (const float *)io->in[0] + at, (float *)io->out[0] + at);
    return OK;
}

// clang-format off
const struct kernel cpu_channels[] = {
    { "batch_norm",    "cpu batch_norm",    F32_ONLY, DEVICE_CPU, refuse, prepare_batch, run_batch, NULL },
    { "instance_norm", "cpu instance_norm", F32_ONLY, DEVICE_CPU, refuse, prepare_batch, run_group, NULL },
    { "group_norm",    "cpu group_norm",    F32_ONLY, DEVICE_CPU, refuse, prepare_group, run_group, NULL },
    { 0 },
};
// clang-format on
