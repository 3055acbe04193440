/* softmax, layer_norm and rms_norm. */
#include "graph/attrs_reduce.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vmath.h"

#include <string.h>

/* ---- softmax ---- */

/* The axis has `size` elements `step` apart; `outer` blocks of size * step elements follow each other. */
struct softmax {
    int64_t outer, size, step;
};

#define BLOCK \
    512 /* places beside each other that are brought along an axis that is not the last one together */

static status prepare_softmax(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    int axis = shape_axis(x, ((const struct axis_attrs *)ctx->node->attrs)->axis);
    struct softmax *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct softmax){ shape_span(x, 0, axis), x->dim[axis], shape_span(x, axis + 1, x->rank) };
    *scratch = 2 * BLOCK * sizeof(float);
    *state = s;
    return OK;
}

CLONES static float exp_row(const float *x, float *y, int64_t n, float top)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = vmath_exp(x[i] - top);
    return row_sum(y, n);
}

CLONES static float exp_row_roughly(const float *x, float *y, int64_t n, float top)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = vmath_exp_roughly(x[i] - top);
    return row_sum(y, n);
}

CLONES static float max_row(const float *x, int64_t n)
{
    return row_max(x, n);
}

CLONES static void scale_row(float *y, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++)
        y[i] *= by;
}

float cpu_exp_row(const float *x, float *y, int64_t n)
{
    return exp_row(x, y, n, max_row(x, n));
}

float cpu_exp_row_roughly(const float *x, float *y, int64_t n)
{
    return exp_row_roughly(x, y, n, max_row(x, n));
}

void cpu_scale_row(float *y, int64_t n, float by)
{
    scale_row(y, n, by);
}

CLONES static void max_columns(const float *x, float *top, int64_t size, int64_t step, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        top[j] = x[j];
    for (int64_t i = 1; i < size; i++)
        for (int64_t j = 0; j < n; j++)
            top[j] = x[i * step + j] > top[j] ? x[i * step + j] : top[j];
}

CLONES static void exp_columns(const float *x, float *y, const float *top, float *sum, int64_t size,
                               int64_t step, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        sum[j] = 0;
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j < n; j++) {
            float v = vmath_exp(x[i * step + j] - top[j]);
            y[i * step + j] = v;
            sum[j] += v;
        }
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * step + j] /= sum[j];
}

static void softmax_columns(const struct softmax *s, const float *x, float *y, float *room)
{
    for (int64_t j = 0; j < s->step; j += BLOCK) {
        int64_t n = s->step - j < BLOCK ? s->step - j : BLOCK;
        max_columns(x + j, room, s->size, s->step, n);
        exp_columns(x + j, y + j, room, room + BLOCK, s->size, s->step, n);
    }
}

static status run_softmax(const void *state, const struct kernel_io *io)
{
    const struct softmax *s = state;
    const float *x = io->in[0];
    float *y = io->out[0];
    int64_t each = s->size * s->step;
    for (int64_t o = 0; o < s->outer && each > 0; o++, x += each, y += each) {
        if (s->step == 1)
            scale_row(y, s->size, 1 / cpu_exp_row(x, y, s->size));
        else
            softmax_columns(s, x, y, io->scratch);
    }
    return OK;
}

/* ---- layer_norm, rms_norm ---- */

struct norm {
    int64_t rows, width;
    float epsilon;
    bool centred;
    bool narrow; /* the result is bfloat16, a row at a time from the scratch */
};

static status prepare_norm(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct layer_norm_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    struct norm *s = arena_zalloc(ctx->arena, sizeof(*s));
    int begin = shape_axis(x, a->begin);
    *s = (struct norm){ shape_span(x, 0, begin), shape_span(x, begin, x->rank), a->epsilon,
                        strcmp(ctx->node->op->name, "layer_norm") == 0, false };
    if (ctx->narrow && ctx->give != NULL) {
        s->narrow = true;
        ctx->give[0] = layout_narrow(LAYOUT_PLAIN);
        *scratch = (size_t)s->width * sizeof(float);
    }
    *state = s;
    return OK;
}

/* Mean first, then squares of what is left: no cancellation. */
CLONES static void norm_row(const struct norm *s, const float *x, const float *scale,
                            const float *bias, float *y)
{
    int64_t n = s->width;
    float mean = s->centred ? row_sum(x, n) / (float)n : 0;
    float by = 1 / sqrtf(row_squares(x, n, mean) / (float)n + s->epsilon);
    if (scale != NULL && bias != NULL) {
        for (int64_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * by * scale[i] + bias[i];
        return;
    }
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * by;
    for (int64_t i = 0; i < n && scale != NULL; i++)
        y[i] *= scale[i];
    for (int64_t i = 0; i < n && bias != NULL; i++)
        y[i] += bias[i];
}

static status run_norm(const void *state, const struct kernel_io *io)
{
    const struct norm *s = state;
    const float *x = io->in[0];
    for (int64_t i = 0; i < s->rows * s->width; i += s->width) {
        float *y = s->narrow ? io->scratch : (float *)io->out[0] + i;
        norm_row(s, x + i, io->in[1], io->in[2], y);
        if (s->narrow)
            cpu_narrow(y, (uint16_t *)io->out[0] + i, s->width);
    }
    return OK;
}

const struct kernel cpu_norm[] = {
    { "softmax", "cpu softmax", F32_ONLY, DEVICE_CPU, NULL, prepare_softmax, run_softmax, NULL },
    { "layer_norm", "cpu layer_norm", F32_ONLY, DEVICE_CPU, NULL, prepare_norm, run_norm, NULL },
    { "rms_norm", "cpu rms_norm", F32_ONLY, DEVICE_CPU, NULL, prepare_norm, run_norm, NULL },
    { 0 },
};
