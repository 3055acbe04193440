#include "kernels/ref/ref.h"

status ref_check_offsets(const int64_t *offset, int64_t sequences, int64_t rows, struct err *e)
{
    bool rises = offset[0] == 0 && offset[sequences] == rows;
    for (int64_t i = 0; i < sequences && rises; i++)
        rises = offset[i] <= offset[i + 1];
    return rises ? OK
                 : err_set(e, INVALID, "its %lld sequences do not add up to its %lld rows",
                           (long long)sequences, (long long)rows);
}

/* ---- seq_pool ---- */

struct pool_state {
    int64_t sequences, rows, width;
    struct seq_pool_attrs attrs;
};

static status prepare_pool(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    struct pool_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct shape *x = &ctx->in[0].shape;
    s->sequences = ctx->in[1].shape.dim[0] - 1;
    s->rows = x->dim[0];
    s->width = shape_span(x, 1, x->rank);
    s->attrs = *(const struct seq_pool_attrs *)ctx->node->attrs;
    *state = s;
    return OK;
}

/* One column of one sequence of `count` (at least 1) rows. */
static float pool_column(const struct pool_state *s, const float *x, int64_t count)
{
    double sum = 0;
    float top = x[0], low = x[0];
    for (int64_t i = 0; i < count; i++) {
        float v = x[i * s->width];
        sum += v;
        top = v > top || isnan(v) ? v : top;
        low = v < low || isnan(v) ? v : low;
    }
    switch ((enum seq_pool_mode)s->attrs.mode) {
    case SEQ_SUM: return (float)sum;
    case SEQ_AVERAGE: return (float)(sum / (double)count);
    case SEQ_SQRT: return (float)(sum / sqrt((double)count));
    case SEQ_MAX: return top;
    case SEQ_MIN: return low;
    case SEQ_FIRST: return x[0];
    case SEQ_LAST: return x[(count - 1) * s->width];
    }
    return 0;
}

static status run_pool(const void *state, const struct kernel_io *io)
{
    const struct pool_state *s = state;
    const float *x = io->in[0];
    const int64_t *offset = io->in[1];
    float *out = io->out[0];
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++)
        for (int64_t c = 0; c < s->width; c++) {
            int64_t count = offset[i + 1] - offset[i];
            *out++ = count > 0 ? pool_column(s, x + offset[i] * s->width + c, count)
                               : s->attrs.pad_value;
        }
    return OK;
}

/* ---- seq_conv ---- */

struct conv_state {
    int64_t sequences, rows, width, filters;
    struct seq_conv_attrs attrs;
};

static status prepare_conv(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    struct conv_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->sequences = ctx->in[1].shape.dim[0] - 1;
    s->rows = ctx->in[0].shape.dim[0];
    s->width = ctx->in[0].shape.dim[1];
    s->filters = ctx->out[0].shape.dim[1];
    s->attrs = *(const struct seq_conv_attrs *)ctx->node->attrs;
    *state = s;
    return OK;
}

/* Row t of a sequence that spans rows [from, to). */
static void conv_row(const struct conv_state *s, const float *x, const float *filter, int64_t t,
                     int64_t from, int64_t to, float *out)
{
    for (int64_t f = 0; f < s->filters; f++) {
        double sum = 0;
        for (int64_t k = 0; k < s->attrs.context_length; k++) {
            int64_t row = t + s->attrs.context_start + k;
            for (int64_t d = 0; row >= from && row < to && d < s->width; d++)
                sum += (double)x[row * s->width + d] * filter[(k * s->width + d) * s->filters + f];
        }
        out[f] = (float)sum;
    }
}

static status run_conv(const void *state, const struct kernel_io *io)
{
    const struct conv_state *s = state;
    const int64_t *offset = io->in[1];
    float *out = io->out[0];
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++)
        for (int64_t t = offset[i]; t < offset[i + 1]; t++)
            conv_row(s, io->in[0], io->in[2], t, offset[i], offset[i + 1], out + t * s->filters);
    return OK;
}

const struct kernel ref_sequence[] = {
    { "seq_pool", "ref seq_pool", F32_ONLY, DEVICE_CPU, NULL, prepare_pool, run_pool, NULL },
    { "seq_conv", "ref seq_conv", F32_ONLY, DEVICE_CPU, NULL, prepare_conv, run_conv, NULL },
    { 0 },
};
