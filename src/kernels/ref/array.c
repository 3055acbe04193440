/* Tensor arrays (graph/attrs_array.h). An array's bytes:
 *
 *     int64 count | int64 place[count] | tensors, each where its place says, 8-aligned:
 *         int64 dtype, rank, dim[8], levels, then for each level int64 n and n offsets, then the elements
 *
 * No bytes are an array without tensors. Arrays come from these kernels alone, or are empty, but a loop could feed one that
 * is a model's own input, so every place and size is checked. */
#include "graph/attrs_array.h"
#include "graph/attrs_random.h"
#include "kernels/ref/ref.h"

#include <string.h>

struct item {
    dtype dtype;
    struct shape shape;
    int64_t levels;
    int64_t offset_count[LOD_MAX];
    const int64_t *offset[LOD_MAX];
    const void *data;
    int64_t bytes;
};

#define ITEM_WORDS (3 + SHAPE_MAX)

static int64_t padded(int64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static int64_t item_bytes(const struct item *x)
{
    int64_t words = ITEM_WORDS;
    for (int l = 0; l < x->levels; l++)
        words += 1 + x->offset_count[l];
    return words * 8 + padded(x->bytes);
}

static status damaged(struct err *e)
{
    return err_set(e, INVALID, "a tensor array is damaged");
}

/* ---- reading ---- */

struct array {
    const uint8_t *bytes;
    int64_t size, count;
};

static status open_array(const void *bytes, int64_t size, struct array *out, struct err *e)
{
    *out = (struct array){ .bytes = bytes, .size = size };
    if (size == 0)
        return OK;
    if (size < 8 || (uintptr_t)bytes % 8 != 0)
        return damaged(e);
    memcpy(&out->count, bytes, 8);
    return out->count >= 0 && out->count <= (size - 8) / 8 ? OK : damaged(e);
}

static bool take_words(const struct array *a, int64_t *at, int64_t count, const int64_t **out)
{
    if (count < 0 || *at < 0 || *at > a->size || count > (a->size - *at) / 8)
        return false;
    *out = (const int64_t *)(a->bytes + *at);
    *at += count * 8;
    return true;
}

static status read_item(const struct array *a, int64_t i, struct item *out, struct err *e)
{
    const int64_t *w;
    int64_t at;
    if (i < 0 || i >= a->count)
        return err_set(e, INVALID, "tensor %lld of an array of %lld", (long long)i,
                       (long long)a->count);
    memcpy(&at, a->bytes + 8 + i * 8, 8);
    if (at % 8 != 0 || !take_words(a, &at, ITEM_WORDS, &w) || !dtype_valid((int)w[0]) || w[1] < 0 ||
        w[1] > SHAPE_MAX || w[ITEM_WORDS - 1] < 0 || w[ITEM_WORDS - 1] > LOD_MAX)
        return damaged(e);
    *out = (struct item){ .dtype = (dtype)w[0], .shape.rank = (int32_t)w[1] };
    memcpy(out->shape.dim, w + 2, sizeof(out->shape.dim));
    out->levels = w[ITEM_WORDS - 1];
    for (int l = 0; l < out->levels; l++) {
        if (!take_words(a, &at, 1, &w))
            return damaged(e);
        out->offset_count[l] = w[0];
        if (!take_words(a, &at, w[0], &out->offset[l]))
            return damaged(e);
    }
    struct tensor t = { .dtype = out->dtype, .shape = out->shape };
    out->bytes = tensor_bytes(&t);
    if (out->bytes < 0 || out->bytes > a->size - at)
        return damaged(e);
    out->data = a->bytes + at;
    return OK;
}

static int64_t read_index(dtype d, const void *p)
{
    return d == DTYPE_I32 ? *(const int32_t *)p : *(const int64_t *)p;
}

/* ---- writing ---- */

struct writer {
    uint8_t *bytes;
    int64_t at, count, written;
};

static void begin_array(struct writer *w, void *bytes, int64_t count)
{
    *w = (struct writer){ .bytes = bytes, .at = 8 + count * 8, .count = count };
    memcpy(bytes, &count, 8);
}

static void put_words(struct writer *w, const int64_t *words, int64_t count)
{
    if (count > 0)
        memcpy(w->bytes + w->at, words, (size_t)count * 8);
    w->at += count * 8;
}

/* Describes x; its elements are to be put at what it returns. */
static uint8_t *put_item(struct writer *w, const struct item *x)
{
    int64_t head[ITEM_WORDS] = { x->dtype, x->shape.rank };
    memcpy(head + 2, x->shape.dim, sizeof(x->shape.dim));
    head[ITEM_WORDS - 1] = x->levels;
    memcpy(w->bytes + 8 + w->written++ * 8, &w->at, 8);
    put_words(w, head, ITEM_WORDS);
    for (int l = 0; l < x->levels; l++) {
        put_words(w, &x->offset_count[l], 1);
        put_words(w, x->offset[l], x->offset_count[l]);
    }
    uint8_t *data = w->bytes + w->at;
    memset(data + x->bytes, 0, (size_t)(padded(x->bytes) - x->bytes));
    w->at += padded(x->bytes);
    return data;
}

static void copy_item(struct writer *w, const struct item *x)
{
    uint8_t *to = put_item(w, x);
    if (x->bytes > 0)
        memcpy(to, x->data, (size_t)x->bytes);
}

/* ---- what all kernels here know ---- */

#define INPUTS_MAX (3 + LOD_MAX)

struct state {
    struct array_attrs attrs;
    int in_count, out_count;
    dtype dtype[INPUTS_MAX];
    struct shape shape[INPUTS_MAX];
    int64_t room[1 + LOD_MAX]; /* bytes at each output */
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct node *n = ctx->node;
    if (n->attrs != NULL)
        s->attrs = *(const struct array_attrs *)n->attrs;
    s->in_count = n->in_count;
    s->out_count = n->out_count;
    for (int i = 0; i < n->in_count; i++) {
        s->dtype[i] = ctx->in[i].dtype;
        s->shape[i] = ctx->in[i].shape;
    }
    for (int i = 0; i < n->out_count && i <= LOD_MAX; i++) {
        struct tensor t = { .dtype = ctx->out[i].dtype, .shape = ctx->out[i].shape };
        s->room[i] = tensor_bytes(&t);
    }
    *state = s;
    return OK;
}

static status open_input(const struct state *s, const struct kernel_io *io, struct array *a)
{
    return open_array(io->in[0], s->shape[0].dim[0], a, io->err);
}

/* ---- array_write, array_read, array_length ---- */

static struct item item_of(const struct state *s, const struct kernel_io *io)
{
    struct tensor t = { .dtype = s->dtype[2], .shape = s->shape[2] };
    struct item x = { .dtype = s->dtype[2],
                      .shape = s->shape[2],
                      .levels = s->in_count - 3,
                      .data = io->in[2],
                      .bytes = tensor_bytes(&t) };
    for (int l = 0; l < x.levels; l++) {
        x.offset_count[l] = shape_numel(&s->shape[3 + l]);
        x.offset[l] = io->in[3 + l];
    }
    return x;
}

static status run_write(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    int64_t index = read_index(s->dtype[1], io->in[1]);
    struct item x = item_of(s, io), old;
    struct array a;
    struct writer w;
    TRY(open_input(s, io, &a));
    if (index < 0 || index > a.count)
        return err_set(io->err, INVALID, "tensor %lld is written to an array of %lld",
                       (long long)index, (long long)a.count);
    int64_t count = index < a.count ? a.count : index + 1, total = 8 + count * 8 + item_bytes(&x);
    for (int64_t i = 0; i < a.count; i++) {
        if (i == index)
            continue;
        TRY(read_item(&a, i, &old, io->err));
        total += item_bytes(&old);
    }
    if (total > s->room[0]) /* two places that say the same bytes */
        return damaged(io->err);
    begin_array(&w, io->out[0], count);
    for (int64_t i = 0; i < count; i++) {
        if (i != index)
            TRY(read_item(&a, i, &old, io->err));
        copy_item(&w, i != index ? &old : &x);
    }
    io->shape[0] = SHAPE(w.at);
    return OK;
}

static status run_read(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    struct array a;
    struct item x;
    TRY(open_input(s, io, &a));
    TRY(read_item(&a, read_index(s->dtype[1], io->in[1]), &x, io->err));
    if ((int32_t)x.dtype != s->attrs.dtype || x.levels != s->attrs.levels)
        return err_set(io->err, INVALID, "the array holds %s with %lld levels, expected %s with %d",
                       dtype_name(x.dtype), (long long)x.levels, dtype_name((dtype)s->attrs.dtype),
                       s->attrs.levels);
    if (x.bytes > 0)
        memcpy(io->out[0], x.data, (size_t)x.bytes);
    io->shape[0] = x.shape;
    for (int l = 0; l < x.levels; l++) {
        if (x.offset_count[l] > 0)
            memcpy(io->out[1 + l], x.offset[l], (size_t)x.offset_count[l] * 8);
        io->shape[1 + l] = SHAPE(x.offset_count[l]);
    }
    return OK;
}

static status run_length(const void *state, const struct kernel_io *io)
{
    struct array a;
    TRY(open_input(state, io, &a));
    *(int64_t *)io->out[0] = a.count;
    return OK;
}

/* ---- array_join ---- */

static status check_part(const struct state *s, const struct item *first, const struct item *x,
                         int axis, struct err *e)
{
    struct shape a = first->shape, b = x->shape;
    if (a.rank == b.rank && !s->attrs.stack)
        b.dim[axis] = a.dim[axis];
    if ((int32_t)x->dtype != s->attrs.dtype || !shape_eq(&a, &b))
        return err_set(e, INVALID, "the array's tensors do not go together");
    return OK;
}

/* The joined shape, and the axis of it; the array holds one at least. */
static status join_shape(const struct state *s, const struct array *a, struct shape *out, int *axis,
                         struct err *e)
{
    struct item first, x;
    int64_t along = 0;
    TRY(read_item(a, 0, &first, e));
    *out = first.shape;
    if (s->attrs.stack)
        out->rank++;
    *axis = out->rank <= SHAPE_MAX ? shape_axis(out, s->attrs.axis) : -1;
    if (*axis < 0)
        return err_set(e, INVALID, "axis %d does not fit %d dimensions", s->attrs.axis, out->rank);
    for (int64_t i = 0; i < a->count; i++) {
        TRY(read_item(a, i, &x, e));
        TRY(check_part(s, &first, &x, *axis, e));
        along += s->attrs.stack ? 1 : x.shape.dim[*axis];
    }
    for (int d = out->rank - 1; s->attrs.stack && d > *axis; d--)
        out->dim[d] = out->dim[d - 1];
    out->dim[*axis] = along;
    return OK;
}

static status run_join(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    struct array a;
    struct item x;
    struct shape shape;
    int axis;
    TRY(open_input(s, io, &a));
    io->shape[0] = io->shape[1] = SHAPE(0);
    if (a.count == 0)
        return OK;
    TRY(join_shape(s, &a, &shape, &axis, io->err));
    struct tensor whole = { .dtype = (dtype)s->attrs.dtype, .shape = shape };
    if (tensor_bytes(&whole) < 0 || tensor_bytes(&whole) > s->room[0])
        return damaged(io->err);
    int64_t outer = shape_span(&shape, 0, axis);
    uint8_t *to = io->out[0];
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < a.count; i++) {
            TRY(read_item(&a, i, &x, io->err));
            size_t part = (size_t)(x.bytes / outer);
            if (part > 0)
                memcpy(to, (const uint8_t *)x.data + (size_t)o * part, part);
            to += part;
            ((int32_t *)io->out[1])[i] = s->attrs.stack ? 1 : (int32_t)x.shape.dim[axis];
        }
    io->shape[0] = shape;
    io->shape[1] = SHAPE(a.count);
    return OK;
}

/* ---- rank tables ---- */

/* Insertion keeps equals in their order, and tables are short. */
static status run_table(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const int64_t *offset = io->in[0];
    int64_t n = s->shape[0].dim[0] - 1, *table = io->out[0];
    for (int64_t i = 0; i < n; i++) {
        int64_t length = offset[i + 1] - offset[i], at = i;
        if (length < 0)
            return err_set(io->err, INVALID, "offsets do not rise");
        for (; at > 0 && table[2 * at - 1] < length; at--) {
            table[2 * at] = table[2 * at - 2];
            table[2 * at + 1] = table[2 * at - 1];
        }
        table[2 * at] = i;
        table[2 * at + 1] = length;
    }
    return OK;
}

static status run_longest(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    *(int64_t *)io->out[0] = s->shape[0].dim[0] > 0 ? ((const int64_t *)io->in[0])[1] : 0;
    return OK;
}

/* A table is a permutation with falling lengths that are not negative. */
static status check_table(const int64_t *table, int64_t n, struct err *e)
{
    for (int64_t i = 0; i < n; i++)
        if (table[2 * i] < 0 || table[2 * i] >= n || table[2 * i + 1] < 0 ||
            (i > 0 && table[2 * i + 1] > table[2 * i - 1]))
            return err_set(e, INVALID, "a rank table is damaged");
    return OK;
}

/* Sequences that are longer than t. */
static int64_t longer_than(const int64_t *table, int64_t n, int64_t t)
{
    int64_t count = 0;
    while (count < n && table[2 * count + 1] > t)
        count++;
    return count;
}

static int64_t row_bytes(const struct state *s, int input)
{
    const struct shape *x = &s->shape[input];
    return shape_span(x, 1, x->rank) * (int64_t)dtype_size(s->dtype[input]);
}

/* The table says the lengths that the offsets say. */
static status check_lengths(const int64_t *table, const int64_t *offset, int64_t n, struct err *e)
{
    for (int64_t i = 0; i < n; i++)
        if (offset[table[2 * i] + 1] - offset[table[2 * i]] != table[2 * i + 1])
            return err_set(e, INVALID, "the rank table is of other sequences");
    return OK;
}

static status run_split(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const int64_t *offset = io->in[1], *table = io->in[2];
    int64_t n = s->shape[2].dim[0], row = row_bytes(s, 0);
    struct writer w;
    TRY(ref_check_offsets(offset, n, s->shape[0].dim[0], io->err));
    TRY(check_table(table, n, io->err));
    TRY(check_lengths(table, offset, n, io->err));
    int64_t steps = n > 0 ? table[1] : 0;
    begin_array(&w, io->out[0], steps);
    for (int64_t t = 0; t < steps; t++) {
        struct item x = { .dtype = s->dtype[0], .shape = s->shape[0] };
        x.shape.dim[0] = longer_than(table, n, t);
        x.bytes = x.shape.dim[0] * row;
        uint8_t *to = put_item(&w, &x);
        for (int64_t i = 0; i < x.shape.dim[0] && row > 0; i++)
            memcpy(to + i * row, (const uint8_t *)io->in[0] + (offset[table[2 * i]] + t) * row,
                   (size_t)row);
    }
    io->shape[0] = SHAPE(w.at);
    return OK;
}

static void offsets_of_table(const int64_t *table, int64_t n, int64_t *offset)
{
    offset[0] = 0;
    for (int64_t i = 0; i < n; i++)
        offset[table[2 * i] + 1] = table[2 * i + 1];
    for (int64_t i = 0; i < n; i++)
        offset[i + 1] += offset[i];
}

static status check_step(const struct state *s, const struct item *first, const struct item *x,
                         int64_t rows, struct err *e)
{
    struct shape a = first->shape, b = x->shape;
    if (b.rank < 1 || b.dim[0] != rows || (int32_t)x->dtype != s->attrs.dtype)
        return err_set(e, INVALID, "the array's tensors are not those of the rank table");
    a.dim[0] = b.dim[0] = 0;
    return shape_eq(&a, &b) ? OK : err_set(e, INVALID, "the array's tensors do not go together");
}

static status run_rank_join(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const int64_t *table = io->in[1];
    int64_t n = s->shape[1].dim[0], *offset = io->out[1];
    struct array a;
    struct item first = { .bytes = 0 }, x;
    TRY(open_input(s, io, &a));
    TRY(check_table(table, n, io->err));
    memset(offset, 0, (size_t)(n + 1) * 8);
    offsets_of_table(table, n, offset);
    io->shape[0] = SHAPE(0);
    if (a.count == 0)
        return OK;
    TRY(read_item(&a, 0, &first, io->err));
    int64_t row = first.shape.rank > 0 && n > 0 && first.shape.dim[0] > 0
                      ? first.bytes / first.shape.dim[0]
                      : 0;
    if (a.count != (n > 0 ? table[1] : 0) || (row > 0 && offset[n] > s->room[0] / row))
        return err_set(io->err, INVALID, "the array is not of the rank table's sequences");
    for (int64_t t = 0; t < a.count; t++) {
        TRY(read_item(&a, t, &x, io->err));
        TRY(check_step(s, &first, &x, longer_than(table, n, t), io->err));
        for (int64_t i = 0; i < x.shape.dim[0] && row > 0; i++)
            memcpy((uint8_t *)io->out[0] + (offset[table[2 * i]] + t) * row,
                   (const uint8_t *)x.data + i * row, (size_t)row);
    }
    io->shape[0] = first.shape;
    io->shape[0].dim[0] = offset[n];
    return OK;
}

static status run_shrink(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    int64_t rows = longer_than(io->in[2], s->shape[2].dim[0], read_index(s->dtype[1], io->in[1]));
    if (rows > s->shape[0].dim[0])
        rows = s->shape[0].dim[0];
    size_t bytes = (size_t)(rows * row_bytes(s, 0));
    if (bytes > 0)
        memcpy(io->out[0], io->in[0], bytes);
    io->shape[0].dim[0] = rows;
    return OK;
}

static status run_reorder(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const int64_t *table = io->in[1], *offset = io->in[2];
    int64_t n = s->shape[1].dim[0], row = row_bytes(s, 0), at = 0, *moved = io->out[1];
    TRY(check_table(table, n, io->err));
    if (offset != NULL)
        TRY(ref_check_offsets(offset, n, s->shape[0].dim[0], io->err));
    moved[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t from = offset != NULL ? offset[table[2 * i]] : table[2 * i];
        int64_t rows = offset != NULL ? offset[table[2 * i] + 1] - from : 1;
        if (at + rows > s->shape[0].dim[0])
            return err_set(io->err, INVALID, "a rank table is damaged");
        if (rows > 0 && row > 0)
            memcpy((uint8_t *)io->out[0] + at * row, (const uint8_t *)io->in[0] + from * row,
                   (size_t)(rows * row));
        moved[i + 1] = at += rows;
    }
    return at == s->shape[0].dim[0] ? OK : err_set(io->err, INVALID, "a rank table is damaged");
}

/* ---- beam_decode ---- */

/* One sentence while it is followed back: where it stands in the step at hand, and what was said, last word first. */
struct sentence {
    int64_t row, length;
    int64_t *id;
    float *score;
};

struct beams {
    struct array ids, scores;
    int64_t steps, size, end_id, sources;
    struct sentence *sentence; /* of one source, `size` of them */
};

struct beam_state {
    struct state inputs;
    struct beam_decode_attrs attrs;
    int64_t steps, room;
};

static status prepare_beams(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    struct beam_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    size_t each;
    s->attrs = *(const struct beam_decode_attrs *)ctx->node->attrs;
    s->inputs.shape[0] = ctx->in[0].shape;
    s->inputs.shape[1] = ctx->in[1].shape;
    s->steps = *(const int64_t *)ctx->in[2].constant->data;
    s->room = shape_numel(&ctx->out[0].shape);
    if (ctx->in[2].constant->dtype == DTYPE_I32)
        s->steps = *(const int32_t *)ctx->in[2].constant->data;
    if (__builtin_mul_overflow((size_t)s->steps, sizeof(int64_t) + sizeof(float), &each) ||
        __builtin_add_overflow(each, sizeof(struct sentence), &each) ||
        __builtin_mul_overflow(each, (size_t)s->attrs.beam_size, scratch))
        return err_set(e, TOO_LARGE, "%d beams of %lld steps", s->attrs.beam_size,
                       (long long)s->steps);
    *state = s;
    return OK;
}

/* The offsets of one step: those of sources point into the others, these into rows; all rise. */
static status open_step(const struct beams *b, int64_t step, struct item *id, struct item *score,
                        struct err *e)
{
    TRY(read_item(&b->ids, step, id, e));
    TRY(read_item(&b->scores, step, score, e));
    int64_t rows = shape_numel(&id->shape);
    if (id->dtype != DTYPE_I64 || score->dtype != DTYPE_F32 || id->levels != 2 ||
        id->offset_count[0] < 1 || shape_numel(&score->shape) != rows ||
        (b->sources >= 0 && id->offset_count[0] != b->sources + 1))
        return err_set(e, INVALID, "step %lld of its beams is not ids and scores of sources",
                       (long long)step);
    for (int l = 0; l < 2; l++) {
        const int64_t *at = id->offset[l];
        int64_t end = l == 0 ? id->offset_count[1] - 1 : rows;
        for (int64_t i = 0; i < id->offset_count[l]; i++)
            if (at[i] < (i > 0 ? at[i - 1] : 0) || at[i] > end)
                return err_set(e, INVALID, "the offsets of step %lld of its beams do not rise",
                               (long long)step);
    }
    return OK;
}

static void say(struct sentence *s, const struct item *id, const struct item *score, int64_t row)
{
    s->id[s->length] = ((const int64_t *)id->data)[row];
    s->score[s->length++] = ((const float *)score->data)[row];
}

/* Every candidate of the source in this step ends a sentence. */
static status begin_sentences(struct beams *b, int64_t source, const struct item *id,
                              const struct item *score, int64_t *count, struct err *e)
{
    for (int64_t p = id->offset[0][source]; p < id->offset[0][source + 1]; p++)
        for (int64_t row = id->offset[1][p]; row < id->offset[1][p + 1]; row++) {
            if (*count == b->size)
                return err_set(e, INVALID, "more than %lld beams of a source", (long long)b->size);
            struct sentence *s = &b->sentence[(*count)++];
            say(s, id, score, row);
            s->row = p;
        }
    return OK;
}

/* One step further back: each sentence's word there, and the beam it came from. */
static status go_back(struct beams *b, int64_t source, const struct item *id,
                      const struct item *score, int64_t count, struct err *e)
{
    int64_t rows = shape_numel(&id->shape);
    for (int64_t i = 0; i < count; i++) {
        struct sentence *s = &b->sentence[i];
        int64_t row = s->row, p = id->offset[0][source];
        if (row < 0 || row >= rows)
            return err_set(e, INVALID, "a beam came from row %lld of %lld", (long long)row,
                           (long long)rows);
        if (((const int64_t *)id->data)[row] != b->end_id || s->length == 0)
            say(s, id, score, row);
        while (p + 1 < id->offset[0][source + 1] && id->offset[1][p + 1] <= row)
            p++;
        s->row = p;
    }
    return OK;
}

static void best_first(struct sentence *s, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        struct sentence v = s[i];
        int64_t k = i;
        for (; k > 0 && s[k - 1].score[0] < v.score[0]; k--)
            s[k] = s[k - 1];
        s[k] = v;
    }
}

/* All sentences of a source; those that are not there have no words. */
static status decode_source(struct beams *b, int64_t source, int64_t *count, struct err *e)
{
    struct item id, score;
    *count = 0;
    for (int64_t i = 0; i < b->size; i++)
        b->sentence[i].length = 0;
    for (int64_t step = b->steps - 1; step >= 0; step--) {
        TRY(open_step(b, step, &id, &score, e));
        TRY(*count == 0 ? begin_sentences(b, source, &id, &score, count, e)
                        : go_back(b, source, &id, &score, *count, e));
    }
    best_first(b->sentence, *count);
    return OK;
}

static status run_beams(const void *state, const struct kernel_io *io)
{
    const struct beam_state *s = state;
    struct beams b = { .steps = s->steps, .size = s->attrs.beam_size, .end_id = s->attrs.end_id };
    struct item id, score;
    int64_t words = 0, sentences = 0, count, *sources = io->out[2], *ends = io->out[3];
    TRY(open_array(io->in[0], s->inputs.shape[0].dim[0], &b.ids, io->err));
    TRY(open_array(io->in[1], s->inputs.shape[1].dim[0], &b.scores, io->err));
    b.sentence = io->scratch;
    int64_t *id_room = (int64_t *)(b.sentence + b.size);
    float *score_room = (float *)(id_room + b.size * b.steps);
    for (int64_t i = 0; i < b.size; i++)
        b.sentence[i] =
            (struct sentence){ .id = id_room + i * b.steps, .score = score_room + i * b.steps };
    b.sources = -1;
    if (b.steps > 0)
        TRY(open_step(&b, 0, &id, &score, io->err));
    b.sources = b.steps > 0 ? id.offset_count[0] - 1 : 0;
    sources[0] = ends[0] = 0;
    for (int64_t i = 0; i < b.sources; i++) {
        TRY(decode_source(&b, i, &count, io->err));
        for (int64_t k = 0; k < b.size; k++) {
            const struct sentence *x = &b.sentence[k];
            if (x->length > s->room - words)
                return damaged(io->err);
            for (int64_t w = x->length; w-- > 0; words++) {
                ((int64_t *)io->out[0])[words] = x->id[w];
                ((float *)io->out[1])[words] = x->score[w];
            }
            ends[++sentences] = words;
        }
        sources[i + 1] = sentences;
    }
    io->shape[0] = io->shape[1] = SHAPE(words);
    io->shape[2] = SHAPE(b.sources + 1);
    io->shape[3] = SHAPE(sentences + 1);
    return OK;
}

// clang-format off
const struct kernel ref_array[] = {
    { "array_write",  "ref array_write",  UINT32_MAX, DEVICE_CPU, NULL, prepare, run_write,     NULL },
    { "array_read",   "ref array_read",   UINT32_MAX, DEVICE_CPU, NULL, prepare, run_read,      NULL },
    { "array_length", "ref array_length", UINT32_MAX, DEVICE_CPU, NULL, prepare, run_length,    NULL },
    { "array_join",   "ref array_join",   UINT32_MAX, DEVICE_CPU, NULL, prepare, run_join,      NULL },
    { "rank_table",   "ref rank_table",   UINT32_MAX, DEVICE_CPU, NULL, prepare, run_table,     NULL },
    { "rank_longest", "ref rank_longest", UINT32_MAX, DEVICE_CPU, NULL, prepare, run_longest,   NULL },
    { "rank_split",   "ref rank_split",   UINT32_MAX, DEVICE_CPU, NULL, prepare, run_split,     NULL },
    { "rank_join",    "ref rank_join",    UINT32_MAX, DEVICE_CPU, NULL, prepare, run_rank_join, NULL },
    { "rank_shrink",  "ref rank_shrink",  UINT32_MAX, DEVICE_CPU, NULL, prepare, run_shrink,    NULL },
    { "beam_decode",  "ref beam_decode",  UINT32_MAX, DEVICE_CPU, NULL, prepare_beams, run_beams, NULL },
    { "rank_reorder", "ref rank_reorder", UINT32_MAX, DEVICE_CPU, NULL, prepare, run_reorder,   NULL },
    { 0 },
};
// clang-format on
