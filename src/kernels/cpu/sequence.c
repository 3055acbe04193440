#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

#include <string.h>

/* ---- seq_pool: whole rows at a time ---- */

typedef void (*fold_fn)(float *to, const float *row, int64_t n);

struct pool_state {
    int64_t sequences, rows, width;
    struct seq_pool_attrs attrs;
    fold_fn fold;
};

CLONES static void fold_sum(float *to, const float *row, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] += row[i];
}

CLONES static void fold_max(float *to, const float *row, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = row[i] > to[i] || isnan(row[i]) ? row[i] : to[i];
}

CLONES static void fold_min(float *to, const float *row, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = row[i] < to[i] || isnan(row[i]) ? row[i] : to[i];
}

CLONES static void scale(float *x, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= by;
}

static const fold_fn folds[] = {
    [SEQ_SUM] = fold_sum, [SEQ_AVERAGE] = fold_sum, [SEQ_SQRT] = fold_sum,
    [SEQ_MAX] = fold_max, [SEQ_MIN] = fold_min,     [SEQ_LAST] = NULL,
};

static status prepare_pool(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct pool_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->sequences = ctx->in[1].shape.dim[0] - 1;
    s->rows = x->dim[0];
    s->width = shape_span(x, 1, x->rank);
    s->attrs = *(const struct seq_pool_attrs *)ctx->node->attrs;
    s->fold = folds[s->attrs.mode];
    *state = s;
    return OK;
}

static void pool_sequence(const struct pool_state *s, const float *x, int64_t count, float *out)
{
    size_t row_bytes = (size_t)s->width * sizeof(float);
    memcpy(out, s->attrs.mode == SEQ_LAST ? x + (count - 1) * s->width : x, row_bytes);
    for (int64_t i = 1; s->fold != NULL && i < count; i++)
        s->fold(out, x + i * s->width, s->width);
    if (s->attrs.mode == SEQ_AVERAGE)
        scale(out, s->width, 1 / (float)count);
    if (s->attrs.mode == SEQ_SQRT)
        scale(out, s->width, 1 / sqrtf((float)count));
}

static status run_pool(const void *state, const struct kernel_io *io)
{
    const struct pool_state *s = state;
    const float *x = io->in[0];
    const int64_t *offset = io->in[1];
    float *out = io->out[0];
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++, out += s->width) {
        int64_t count = offset[i + 1] - offset[i];
        if (count > 0 && s->width > 0)
            pool_sequence(s, x + offset[i] * s->width, count, out);
        for (int64_t c = 0; count == 0 && c < s->width; c++)
            out[c] = s->attrs.pad_value;
    }
    return OK;
}

/* ---- seq_conv ----
 * The window of a row is context_length neighbouring rows, so that inside a sequence the windows of successive rows are
 * a matrix whose rows overlap: one product needs no copy. Windows that reach over an end are copied with zeros. */

struct conv_state {
    int64_t sequences, rows, width;
    struct seq_conv_attrs attrs;
    struct gemm gemm;
};

static status prepare_conv(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    struct conv_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->sequences = ctx->in[1].shape.dim[0] - 1;
    s->rows = ctx->in[0].shape.dim[0];
    s->width = ctx->in[0].shape.dim[1];
    s->attrs = *(const struct seq_conv_attrs *)ctx->node->attrs;
    s->gemm = (struct gemm){ .m = 1,
                             .n = ctx->out[0].shape.dim[1],
                             .k = ctx->in[2].shape.dim[0],
                             .lda = s->width,
                             .alpha = 1 };
    *scratch = (size_t)s->gemm.k * sizeof(float);
    *state = s;
    return OK;
}

/* The window of row t of the sequence [from, to), with zeros outside. */
static void copy_window(const struct conv_state *s, const float *x, int64_t t, int64_t from,
                        int64_t to, float *window)
{
    size_t row_bytes = (size_t)s->width * sizeof(float);
    for (int64_t k = 0; k < s->attrs.context_length; k++, window += s->width) {
        int64_t row = t + s->attrs.context_start + k;
        if (row >= from && row < to)
            memcpy(window, x + row * s->width, row_bytes);
        else
            memset(window, 0, row_bytes);
    }
}

static void conv_sequence(const struct conv_state *s, const struct kernel_io *io, int64_t from,
                          int64_t to)
{
    const float *x = io->in[0];
    float *out = io->out[0];
    int64_t start = s->attrs.context_start, length = s->attrs.context_length;
    int64_t whole_from = from - start, whole_to = to - start - length + 1; /* windows inside */
    struct gemm g = s->gemm;
    for (int64_t t = from; t < to; t += g.m) {
        bool inside = t >= whole_from && t < whole_to;
        g.m = inside ? (whole_to < to ? whole_to : to) - t : 1;
        if (!inside)
            copy_window(s, x, t, from, to, io->scratch);
        cpu_gemm(&g, inside ? x + (t + start) * s->width : io->scratch, io->in[2], NULL,
                 out + t * g.n);
    }
}

static status run_conv(const void *state, const struct kernel_io *io)
{
    const struct conv_state *s = state;
    const int64_t *offset = io->in[1];
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++)
        conv_sequence(s, io, offset[i], offset[i + 1]);
    return OK;
}

const struct kernel cpu_sequence[] = {
    { "seq_pool", "cpu seq_pool", F32_ONLY, DEVICE_CPU, NULL, prepare_pool, run_pool, NULL },
    { "seq_conv", "cpu seq_conv", F32_ONLY, DEVICE_CPU, NULL, prepare_conv, run_conv, NULL },
    { 0 },
};
