/* Rearranging ragged rows: whole rows are copied by bytes, so one version serves every dtype. */
#include "graph/attrs_ragged.h"
#include "kernels/ref/ref.h"
#include "kernels/xxhash.h"

#include <string.h>

/* x [rows, ...] with sequences of them. */
struct ragged {
    int64_t sequences, rows;
    size_t row_bytes;
};

static struct ragged ragged_of(const struct type *x, const struct type *offsets)
{
    return (struct ragged){ offsets->shape.dim[0] - 1, x->shape.dim[0],
                            (size_t)shape_span(&x->shape, 1, x->shape.rank) *
                                dtype_size(x->dtype) };
}

static void copy_rows(void *out, int64_t to, const void *x, int64_t from, int64_t count,
                      size_t row_bytes)
{
    if (count > 0 && row_bytes > 0)
        memcpy((uint8_t *)out + (size_t)to * row_bytes,
               (const uint8_t *)x + (size_t)from * row_bytes, (size_t)count * row_bytes);
}

static int64_t int_at(const void *x, bool wide, int64_t i)
{
    return wide ? ((const int64_t *)x)[i] : ((const int32_t *)x)[i];
}

static status prepare_ragged(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct ragged *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = ragged_of(&ctx->in[0], &ctx->in[1]);
    *state = s;
    return OK;
}

/* ---- seq_softmax ---- */

static void softmax(const float *x, float *out, int64_t n)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, x[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - top);
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(exp(x[i] - top) / sum);
}

static status run_softmax(const void *state, const struct kernel_io *io)
{
    const struct ragged *s = state;
    const int64_t *offset = io->in[1];
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++)
        softmax((const float *)io->in[0] + offset[i], (float *)io->out[0] + offset[i],
                offset[i + 1] - offset[i]);
    return OK;
}

/* ---- seq_reverse, seq_repeat, seq_expand, seq_concat ---- */

static status run_reverse(const void *state, const struct kernel_io *io)
{
    const struct ragged *s = state;
    const int64_t *offset = io->in[1];
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++)
        for (int64_t t = offset[i]; t < offset[i + 1]; t++)
            copy_rows(io->out[0], t, io->in[0], offset[i] + offset[i + 1] - 1 - t, 1, s->row_bytes);
    return OK;
}

static status prepare_repeat(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct ragged *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = ragged_of(&ctx->in[0], &ctx->in[1]);
    s->rows = ctx->out[0].shape.dim[0];
    *state = s;
    return OK;
}

static status run_repeat(const void *state, const struct kernel_io *io)
{
    const struct ragged *s = state;
    const int64_t *offset = io->in[1];
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i < s->sequences; i++)
        for (int64_t t = offset[i]; t < offset[i + 1]; t++)
            copy_rows(io->out[0], t, io->in[0], i, 1, s->row_bytes);
    return OK;
}

/* Planning has looked at the offsets and made room for what they say. */
struct expand {
    int64_t sequences, rows, out_rows, out_sequences;
    size_t row_bytes;
    bool ragged;
};

static status prepare_expand(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct expand *s = arena_zalloc(ctx->arena, sizeof(*s));
    struct ragged x = ragged_of(&ctx->in[0], &ctx->in[1]);
    *s = (struct expand){ .sequences = x.sequences,
                          .rows = x.rows,
                          .row_bytes = x.row_bytes,
                          .out_rows = ctx->out[0].shape.dim[0],
                          .out_sequences = ctx->out[1].shape.dim[0] - 1,
                          .ragged = ctx->in[2].shape.rank == 1 };
    *state = s;
    return OK;
}

static status expand_fault(struct err *e)
{
    return err_set(e, INVALID, "its offsets are not those that it was planned for");
}

static status run_expand(const void *state, const struct kernel_io *io)
{
    const struct expand *s = state;
    const int64_t *offset = io->in[1], *own = s->ragged ? io->in[2] : NULL;
    int64_t *out = io->out[1], at = 0, sequence = 0;
    if (own != NULL)
        TRY(ref_check_offsets(own, s->sequences, s->rows, io->err));
    out[0] = 0;
    for (int64_t i = 0; i < s->sequences; i++) {
        int64_t from = own != NULL ? own[i] : i, count = own != NULL ? own[i + 1] - from : 1;
        for (int64_t k = offset[i]; k < offset[i + 1]; k++) {
            if (sequence >= s->out_sequences || count > s->out_rows - at)
                return expand_fault(io->err);
            copy_rows(io->out[0], at, io->in[0], from, count, s->row_bytes);
            at += count;
            out[++sequence] = at;
        }
    }
    return at == s->out_rows && sequence == s->out_sequences ? OK : expand_fault(io->err);
}

struct concat {
    int64_t sequences;
    int count; /* of inputs */
    size_t row_bytes;
    int64_t rows[]; /* of each */
};

static status prepare_concat(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    int count = ctx->node->in_count / 2;
    struct concat *s = arena_zalloc(ctx->arena, sizeof(*s) + (size_t)count * sizeof(s->rows[0]));
    struct ragged first = ragged_of(&ctx->in[0], &ctx->in[1]);
    s->sequences = first.sequences;
    s->row_bytes = first.row_bytes;
    s->count = count;
    for (int i = 0; i < count; i++)
        s->rows[i] = ctx->in[2 * i].shape.dim[0];
    *state = s;
    return OK;
}

static status run_concat(const void *state, const struct kernel_io *io)
{
    const struct concat *s = state;
    int64_t *out = io->out[1], at = 0;
    for (int k = 0; k < s->count; k++)
        TRY(ref_check_offsets(io->in[2 * k + 1], s->sequences, s->rows[k], io->err));
    out[0] = 0;
    for (int64_t i = 0; i < s->sequences; i++) {
        for (int k = 0; k < s->count; k++) {
            const int64_t *offset = io->in[2 * k + 1];
            copy_rows(io->out[0], at, io->in[2 * k], offset[i], offset[i + 1] - offset[i],
                      s->row_bytes);
            at += offset[i + 1] - offset[i];
        }
        out[i + 1] = at;
    }
    return OK;
}

/* ---- seq_pad, seq_unpad ---- */

struct pad {
    struct ragged x;
    int64_t length; /* -1: the longest */
    size_t value_bytes;
};

static status prepare_pad(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct pad *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->x = ragged_of(&ctx->in[0], &ctx->in[1]);
    s->length = ((const struct seq_pad_attrs *)ctx->node->attrs)->length;
    s->value_bytes = (size_t)shape_numel(&ctx->in[2].shape) * dtype_size(ctx->in[2].dtype);
    *state = s;
    return OK;
}

static void fill_row(const struct pad *s, uint8_t *row, const void *value)
{
    for (size_t at = 0; at < s->x.row_bytes; at += s->value_bytes)
        memcpy(row + at, value, s->value_bytes);
}

static status run_pad(const void *state, const struct kernel_io *io)
{
    const struct pad *s = state;
    const int64_t *offset = io->in[1];
    int64_t longest = 0, *lengths = io->out[1];
    TRY(ref_check_offsets(offset, s->x.sequences, s->x.rows, io->err));
    for (int64_t i = 0; i < s->x.sequences; i++) {
        lengths[i] = offset[i + 1] - offset[i];
        longest = lengths[i] > longest ? lengths[i] : longest;
    }
    if (s->length >= 0 && longest > s->length)
        return err_set(io->err, INVALID, "a sequence of %lld rows does not fit %lld",
                       (long long)longest, (long long)s->length);
    int64_t length = s->length >= 0 ? s->length : longest;
    for (int64_t i = 0; i < s->x.sequences; i++) {
        copy_rows(io->out[0], i * length, io->in[0], offset[i], lengths[i], s->x.row_bytes);
        for (int64_t t = lengths[i]; t < length; t++)
            fill_row(s, (uint8_t *)io->out[0] + (size_t)(i * length + t) * s->x.row_bytes,
                     io->in[2]);
    }
    io->shape[0].dim[1] = length;
    return OK;
}

struct unpad {
    int64_t sequences, steps;
    size_t row_bytes;
    bool wide;
};

static status prepare_unpad(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct unpad *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct unpad){ x->dim[0], x->dim[1],
                         (size_t)shape_span(x, 2, x->rank) * dtype_size(ctx->in[0].dtype),
                         ctx->in[1].dtype == DTYPE_I64 };
    *state = s;
    return OK;
}

static status run_unpad(const void *state, const struct kernel_io *io)
{
    const struct unpad *s = state;
    int64_t *out = io->out[1], at = 0;
    out[0] = 0;
    for (int64_t i = 0; i < s->sequences; i++) {
        int64_t n = int_at(io->in[1], s->wide, i);
        if (n < 0 || n > s->steps)
            return err_set(io->err, INVALID, "length %lld (row %lld) is not in 0 .. %lld",
                           (long long)n, (long long)i, (long long)s->steps);
        copy_rows(io->out[0], at, io->in[0], i * s->steps, n, s->row_bytes);
        out[i + 1] = at += n;
    }
    io->shape[0].dim[0] = at;
    return OK;
}

/* ---- seq_slice, seq_scatter, seq_scale ---- */

struct slice {
    struct ragged x;
    bool wide_start, wide_length;
};

static status prepare_slice(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    struct slice *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->x = ragged_of(&ctx->in[0], &ctx->in[1]);
    s->wide_start = ctx->in[2].dtype == DTYPE_I64;
    s->wide_length = ctx->in[3].dtype == DTYPE_I64;
    *state = s;
    return OK;
}

static status run_slice(const void *state, const struct kernel_io *io)
{
    const struct slice *s = state;
    const int64_t *offset = io->in[1];
    int64_t *out = io->out[1], at = 0;
    TRY(ref_check_offsets(offset, s->x.sequences, s->x.rows, io->err));
    out[0] = 0;
    for (int64_t i = 0; i < s->x.sequences; i++) {
        int64_t start = int_at(io->in[2], s->wide_start, i),
                n = int_at(io->in[3], s->wide_length, i);
        int64_t there = offset[i + 1] - offset[i];
        if (start < 0 || n < 0 || start > there || n > there - start)
            return err_set(io->err, INVALID,
                           "%lld rows from %lld on of sequence %lld, which has %lld", (long long)n,
                           (long long)start, (long long)i, (long long)there);
        copy_rows(io->out[0], at, io->in[0], offset[i] + start, n, s->x.row_bytes);
        out[i + 1] = at += n;
    }
    io->shape[0].dim[0] = at;
    return OK;
}

struct scatter {
    int64_t rows, width, updates;
    bool wide;
};

static status prepare_scatter(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    struct scatter *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct scatter){ ctx->in[0].shape.dim[0], ctx->in[0].shape.dim[1],
                           ctx->in[1].shape.dim[0], ctx->in[1].dtype == DTYPE_I64 };
    *state = s;
    return OK;
}

static status run_scatter(const void *state, const struct kernel_io *io)
{
    const struct scatter *s = state;
    const int64_t *offset = io->in[2];
    float *out = io->out[0];
    TRY(ref_check_offsets(offset, s->rows, s->updates, io->err));
    copy_rows(out, 0, io->in[0], 0, s->rows, (size_t)s->width * sizeof(float));
    for (int64_t i = 0; i < s->rows; i++)
        for (int64_t t = offset[i]; t < offset[i + 1]; t++) {
            int64_t id = int_at(io->in[1], s->wide, t);
            if (id < 0 || id >= s->width)
                return err_set(io->err, INVALID, "id %lld (row %lld) is not in 0 .. %lld",
                               (long long)id, (long long)t, (long long)s->width - 1);
            out[i * s->width + id] += ((const float *)io->in[3])[t];
        }
    return OK;
}

struct scale {
    int64_t sequences, rows, from, to; /* widths */
};

static status prepare_scale(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    struct scale *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct scale){ ctx->in[1].shape.dim[0] - 1, ctx->in[0].shape.dim[0],
                         ctx->in[0].shape.dim[1],
                         ((const struct seq_scale_attrs *)ctx->node->attrs)->width };
    *state = s;
    return OK;
}

static status run_scale(const void *state, const struct kernel_io *io)
{
    const struct scale *s = state;
    const int64_t *offset = io->in[1];
    int64_t *out = io->out[0];
    TRY(ref_check_offsets(offset, s->sequences, s->rows, io->err));
    for (int64_t i = 0; i <= s->sequences; i++) {
        int64_t elements = offset[i] * s->from; /* no more than x has */
        if (elements % s->to != 0)
            return err_set(io->err, INVALID,
                           "the %lld elements up to sequence %lld are not rows of %lld",
                           (long long)elements, (long long)i, (long long)s->to);
        out[i] = elements / s->to;
    }
    return OK;
}

/* ---- ids: seq_enumerate, seq_erase, seq_mask, ctc_align ---- */

struct ids {
    struct ragged x;
    bool wide;
    union {
        struct seq_enumerate_attrs enumerate;
        struct seq_erase_attrs erase;
        struct ctc_align_attrs ctc;
    } attrs;
};

static status prepare_ids(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct ids *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->x = ragged_of(&ctx->in[0], &ctx->in[1]);
    s->wide = ctx->in[0].dtype == DTYPE_I64;
    memcpy(&s->attrs, ctx->node->attrs, ctx->node->op->attrs_size);
    *state = s;
    return OK;
}

static void put_int(void *out, bool wide, int64_t i, int64_t v)
{
    if (wide)
        ((int64_t *)out)[i] = v;
    else
        ((int32_t *)out)[i] = (int32_t)v;
}

static status run_enumerate(const void *state, const struct kernel_io *io)
{
    const struct ids *s = state;
    const int64_t *offset = io->in[1];
    int64_t window = s->attrs.enumerate.window;
    TRY(ref_check_offsets(offset, s->x.sequences, s->x.rows, io->err));
    for (int64_t i = 0; i < s->x.sequences; i++)
        for (int64_t t = offset[i]; t < offset[i + 1]; t++)
            for (int64_t k = 0; k < window; k++)
                put_int(io->out[0], s->wide, t * window + k,
                        t + k < offset[i + 1] ? int_at(io->in[0], s->wide, t + k)
                                              : s->attrs.enumerate.pad);
    return OK;
}

static bool is_erased(const struct seq_erase_attrs *a, int64_t id)
{
    for (int i = 0; i < a->tokens.count; i++)
        if (a->tokens.v[i] == id)
            return true;
    return false;
}

static status run_erase(const void *state, const struct kernel_io *io)
{
    const struct ids *s = state;
    const int64_t *offset = io->in[1];
    int64_t *out = io->out[1], at = 0;
    TRY(ref_check_offsets(offset, s->x.sequences, s->x.rows, io->err));
    out[0] = 0;
    for (int64_t i = 0; i < s->x.sequences; i++) {
        for (int64_t t = offset[i]; t < offset[i + 1]; t++) {
            int64_t id = int_at(io->in[0], s->wide, t);
            if (!is_erased(&s->attrs.erase, id))
                put_int(io->out[0], s->wide, at++, id);
        }
        out[i + 1] = at;
    }
    io->shape[0].dim[0] = at;
    return OK;
}

/* The labels of ids [from, to), put behind `at`; gives the next place. */
static int64_t align(const struct ctc_align_attrs *a, const void *x, bool wide, int64_t from,
                     int64_t to, void *out, int64_t at)
{
    int64_t before = -1;
    for (int64_t t = from; t < to; t++) {
        int64_t id = int_at(x, wide, t);
        if (id != a->blank && (a->keep || t == from || id != before))
            put_int(out, wide, at++, id);
        before = id;
    }
    return at;
}

static status run_ctc(const void *state, const struct kernel_io *io)
{
    const struct ids *s = state;
    const int64_t *offset = io->in[1];
    int64_t *out = io->out[1], at = 0;
    TRY(ref_check_offsets(offset, s->x.sequences, s->x.rows, io->err));
    out[0] = 0;
    for (int64_t i = 0; i < s->x.sequences; i++)
        out[i + 1] = at =
            align(&s->attrs.ctc, io->in[0], s->wide, offset[i], offset[i + 1], io->out[0], at);
    if (at == 0)
        put_int(io->out[0], s->wide, 0, -1);
    io->shape[0].dim[0] = at > 0 ? at : 1;
    return OK;
}

struct padded {
    int64_t rows, steps;
    bool wide;
    struct ctc_align_attrs attrs;
};

static status prepare_ctc_padded(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                 struct err *e)
{
    struct padded *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct padded){ ctx->in[0].shape.dim[0], ctx->in[0].shape.dim[1],
                          ctx->in[0].dtype == DTYPE_I64,
                          *(const struct ctc_align_attrs *)ctx->node->attrs };
    *state = s;
    return OK;
}

static status length_fault(int64_t n, int64_t row, int64_t steps, struct err *e)
{
    return err_set(e, INVALID, "length %lld (row %lld) is not in 0 .. %lld", (long long)n,
                   (long long)row, (long long)steps);
}

static status run_ctc_padded(const void *state, const struct kernel_io *io)
{
    const struct padded *s = state;
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t n = int_at(io->in[1], s->wide, i), from = i * s->steps;
        if (n < 0 || n > s->steps)
            return length_fault(n, i, s->steps, io->err);
        int64_t at = align(&s->attrs, io->in[0], s->wide, from, from + n, io->out[0], from);
        put_int(io->out[1], s->wide, i, at - from);
        for (; at < from + s->steps; at++)
            put_int(io->out[0], s->wide, at, s->attrs.pad);
    }
    return OK;
}

struct mask {
    int64_t count, longest;
    dtype dtype;
    bool wide;
};

static const char *refuse_mask(const struct kernel_ctx *ctx)
{
    dtype d = ctx->out[0].dtype;
    return d == DTYPE_F32 || d == DTYPE_F64 || d == DTYPE_I32 || d == DTYPE_I64 ||
                   d == DTYPE_BOOL || d == DTYPE_U8
               ? NULL
               : "not for such a result";
}

static status prepare_mask(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    struct mask *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct shape *out = &ctx->out[0].shape;
    *s = (struct mask){ shape_numel(&ctx->in[0].shape), out->dim[out->rank - 1], ctx->out[0].dtype,
                        ctx->in[0].dtype == DTYPE_I64 };
    *state = s;
    return OK;
}

static void put_bool(const struct mask *s, void *out, int64_t i, bool v)
{
    switch (s->dtype) {
    case DTYPE_F32: ((float *)out)[i] = v; break;
    case DTYPE_F64: ((double *)out)[i] = v; break;
    case DTYPE_I32: ((int32_t *)out)[i] = v; break;
    case DTYPE_I64: ((int64_t *)out)[i] = v; break;
    default: ((uint8_t *)out)[i] = v; break;
    }
}

static status run_mask(const void *state, const struct kernel_io *io)
{
    const struct mask *s = state;
    for (int64_t i = 0; i < s->count; i++) {
        int64_t n = int_at(io->in[0], s->wide, i);
        for (int64_t k = 0; k < s->longest; k++)
            put_bool(s, io->out[0], i * s->longest + k, k < n);
    }
    return OK;
}

/* ---- edit_distance ---- */

struct side {
    int64_t rows, steps; /* padded: steps of each row; else all rows */
    bool wide_lengths;
};

struct distance {
    int64_t count;
    struct side x, y;
    struct edit_distance_attrs attrs;
    bool wide;
};

static struct side side_of(const struct type *in, bool padded)
{
    return (struct side){ in[0].shape.dim[0], padded ? in[0].shape.dim[1] : 0,
                          in[1].dtype == DTYPE_I64 };
}

static status prepare_distance(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                               struct err *e)
{
    struct distance *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct edit_distance_attrs *)ctx->node->attrs;
    s->count = ctx->out[0].shape.dim[0];
    s->x = side_of(ctx->in, s->attrs.padded);
    s->y = side_of(ctx->in + 2, s->attrs.padded);
    s->wide = ctx->in[0].dtype == DTYPE_I64;
    int64_t longest = s->attrs.padded ? s->y.steps : s->y.rows;
    *scratch = (size_t)(longest + 1) * sizeof(int64_t);
    *state = s;
    return OK;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance by rows; row: n + 1 numbers. */
static int64_t distance(const struct distance *s, const void *x, int64_t xat, int64_t m,
                        const void *y, int64_t yat, int64_t n, int64_t *row)
{
    for (int64_t j = 0; j <= n; j++)
        row[j] = j;
    for (int64_t i = 1; i <= m; i++) {
        int64_t corner = row[0];
        row[0] = i;
        for (int64_t j = 1; j <= n; j++) {
            bool same = int_at(x, s->wide, xat + i - 1) == int_at(y, s->wide, yat + j - 1);
            int64_t best = least(least(row[j], row[j - 1]) + 1, corner + !same);
            corner = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

/* Where sequence i of one side lies. */
static status span_of(const struct distance *s, const struct side *side, const void *bounds,
                      int64_t i, int64_t *from, int64_t *count, struct err *e)
{
    if (!s->attrs.padded) {
        const int64_t *offset = bounds;
        *from = offset[i];
        *count = offset[i + 1] - offset[i];
        return OK;
    }
    *from = i * side->steps;
    *count = int_at(bounds, side->wide_lengths, i);
    return *count >= 0 && *count <= side->steps ? OK : length_fault(*count, i, side->steps, e);
}

static status run_distance(const void *state, const struct kernel_io *io)
{
    const struct distance *s = state;
    float *out = io->out[0];
    if (!s->attrs.padded) {
        TRY(ref_check_offsets(io->in[1], s->count, s->x.rows, io->err));
        TRY(ref_check_offsets(io->in[3], s->count, s->y.rows, io->err));
    }
    for (int64_t i = 0; i < s->count; i++) {
        int64_t xat, m, yat, n;
        TRY(span_of(s, &s->x, io->in[1], i, &xat, &m, io->err));
        TRY(span_of(s, &s->y, io->in[3], i, &yat, &n, io->err));
        if (s->attrs.normalized && n == 0)
            return err_set(io->err, INVALID,
                           "sequence %lld is empty, so that nothing can be divided "
                           "by its length",
                           (long long)i);
        double d = (double)distance(s, io->in[0], xat, m, io->in[2], yat, n, io->scratch);
        out[i] = (float)(s->attrs.normalized ? d / (double)n : d);
    }
    return OK;
}

/* ---- hash, cvm ---- */

struct hash {
    int64_t rows, width;
    struct hash_attrs attrs;
    size_t size;
};

static status prepare_hash(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    struct hash *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s =
        (struct hash){ ctx->in[0].shape.dim[0], ctx->in[0].shape.dim[1],
                       *(const struct hash_attrs *)ctx->node->attrs, dtype_size(ctx->in[0].dtype) };
    *state = s;
    return OK;
}

static status run_hash(const void *state, const struct kernel_io *io)
{
    const struct hash *s = state;
    const uint8_t *x = io->in[0];
    size_t row = (size_t)s->width * s->size;
    for (int64_t i = 0; i < s->rows; i++, x += row)
        for (int k = 0; k < s->attrs.count; k++)
            put_int(io->out[0], s->size == 8, i * s->attrs.count + k,
                    (int64_t)(xxhash64(x, row, (uint64_t)k) % (uint64_t)s->attrs.modulo));
    return OK;
}

struct cvm {
    int64_t rows, width;
    bool drop;
};

static status prepare_cvm(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct cvm *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct cvm){ ctx->in[0].shape.dim[0], ctx->in[0].shape.dim[1],
                       ((const struct cvm_attrs *)ctx->node->attrs)->drop };
    *state = s;
    return OK;
}

static status run_cvm(const void *state, const struct kernel_io *io)
{
    const struct cvm *s = state;
    const float *x = io->in[0];
    float *out = io->out[0];
    for (int64_t i = 0; i < s->rows; i++, x += s->width) {
        if (!s->drop) {
            out[0] = logf(x[0] + 1);
            out[1] = logf(x[1] + 1) - out[0];
            out += 2;
        }
        for (int64_t k = 2; k < s->width; k++)
            *out++ = x[k];
    }
    return OK;
}

#define IDS (DTYPE_BIT(DTYPE_I64) | DTYPE_BIT(DTYPE_I32))

// clang-format off
const struct kernel ref_ragged[] = {
    { "seq_softmax",   "ref seq_softmax",   F32_ONLY,   DEVICE_CPU, NULL, prepare_ragged,     run_softmax,    NULL },
    { "seq_reverse",   "ref seq_reverse",   UINT32_MAX, DEVICE_CPU, NULL, prepare_ragged,     run_reverse,    NULL },
    { "seq_repeat",    "ref seq_repeat",    UINT32_MAX, DEVICE_CPU, NULL, prepare_repeat,     run_repeat,     NULL },
    { "seq_expand",    "ref seq_expand",    UINT32_MAX, DEVICE_CPU, NULL, prepare_expand,     run_expand,     NULL },
    { "seq_concat",    "ref seq_concat",    UINT32_MAX, DEVICE_CPU, NULL, prepare_concat,     run_concat,     NULL },
    { "seq_pad",       "ref seq_pad",       UINT32_MAX, DEVICE_CPU, NULL, prepare_pad,        run_pad,        NULL },
    { "seq_unpad",     "ref seq_unpad",     UINT32_MAX, DEVICE_CPU, NULL, prepare_unpad,      run_unpad,      NULL },
    { "seq_slice",     "ref seq_slice",     UINT32_MAX, DEVICE_CPU, NULL, prepare_slice,      run_slice,      NULL },
    { "seq_scatter",   "ref seq_scatter",   F32_ONLY,   DEVICE_CPU, NULL, prepare_scatter,    run_scatter,    NULL },
    { "seq_scale",     "ref seq_scale",     UINT32_MAX, DEVICE_CPU, NULL, prepare_scale,      run_scale,      NULL },
    { "seq_enumerate", "ref seq_enumerate", IDS,        DEVICE_CPU, NULL, prepare_ids,        run_enumerate,  NULL },
    { "seq_erase",     "ref seq_erase",     IDS,        DEVICE_CPU, NULL, prepare_ids,        run_erase,      NULL },
    { "seq_mask",      "ref seq_mask",      IDS,        DEVICE_CPU, refuse_mask, prepare_mask, run_mask,      NULL },
    { "ctc_align",     "ref ctc_align",     IDS,        DEVICE_CPU, NULL, prepare_ids,        run_ctc,        NULL },
    { "ctc_align_padded", "ref ctc_align_padded", IDS,  DEVICE_CPU, NULL, prepare_ctc_padded, run_ctc_padded, NULL },
    { "edit_distance", "ref edit_distance", IDS,        DEVICE_CPU, NULL, prepare_distance,   run_distance,   NULL },
    { "hash",          "ref hash",          IDS,        DEVICE_CPU, NULL, prepare_hash,       run_hash,       NULL },
    { "cvm",           "ref cvm",           F32_ONLY,   DEVICE_CPU, NULL, prepare_cvm,        run_cvm,        NULL },
    { 0 },
};
// clang-format on
