/* Tensor arrays and rank tables: all their shapes depend on data, so inference gives bounds. */
#include "graph/attrs_array.h"
#include "graph/attrs_move.h"
#include "graph/attrs_random.h"
#include "graph/ops.h"

static status want_array(const struct type *t, struct err *e)
{
    TRY(want_rank(t, 1, "a tensor array", e));
    return want_dtype(t, DTYPE_U8, "a tensor array", e);
}

static status want_index(const struct type *t, struct err *e)
{
    if (shape_numel(&t->shape) == 1 && (t->dtype == DTYPE_I64 || t->dtype == DTYPE_I32))
        return OK;
    return err_set(e, INVALID, "expected one integer as the place in an array");
}

static status want_table(const struct type *t, int64_t *sequences, struct err *e)
{
    TRY(want_rank(t, 2, "a rank table", e));
    TRY(want_dtype(t, DTYPE_I64, "a rank table", e));
    *sequences = t->shape.dim[0];
    return t->shape.dim[1] == 2 ? OK : err_set(e, INVALID, "a rank table has two columns");
}

static int64_t bytes_of(const struct type *t)
{
    struct tensor x = { .dtype = t->dtype, .shape = t->shape };
    return tensor_bytes(&x);
}

/* Room that a tensor takes in an array beside its bytes: its entry, its description, gaps. */
#define ENTRY_BYTES 256

static status infer_write(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    TRY(want_array(&in[0], e));
    TRY(want_index(&in[1], e));
    int64_t total = in[0].shape.dim[0] + ENTRY_BYTES;
    for (int i = 2; i < n->in_count; i++) {
        if (i > 2)
            TRY(want_dtype(&in[i], DTYPE_I64, "the offsets of what is written", e));
        if (__builtin_add_overflow(total, bytes_of(&in[i]) + ENTRY_BYTES, &total))
            return err_set(e, TOO_LARGE, "the array's size overflows");
    }
    out[0] = (struct type){ DTYPE_U8, SHAPE(total), NULL };
    return n->in_count - 3 <= LOD_MAX ? OK : err_set(e, INVALID, "more than %d levels", LOD_MAX);
}

/* A tensor of at most the array's bytes. */
static struct type at_most(const struct type *array, int32_t d)
{
    int64_t size = (int64_t)dtype_size((dtype)d);
    return (struct type){ (dtype)d, SHAPE(size > 0 ? array->shape.dim[0] / size : 0), NULL };
}

static status want_element(const struct array_attrs *a, struct err *e)
{
    return dtype_valid(a->dtype) && a->dtype != DTYPE_BYTES
               ? OK
               : err_set(e, INVALID, "no dtype has code %d", a->dtype);
}

static status infer_read(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct array_attrs *a = n->attrs;
    TRY(want_array(&in[0], e));
    TRY(want_index(&in[1], e));
    TRY(want_element(a, e));
    if (a->levels < 0 || a->levels > LOD_MAX || n->out_count != 1 + a->levels)
        return err_set(e, INVALID, "it gives %d values for %d levels", n->out_count, a->levels);
    out[0] = at_most(&in[0], a->dtype);
    for (int l = 0; l < a->levels; l++)
        out[1 + l] = at_most(&in[0], DTYPE_I64);
    return OK;
}

static status infer_length(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    out[0] = (struct type){ DTYPE_I64, SHAPE(1), NULL };
    return want_array(&in[0], e);
}

static status infer_join(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct array_attrs *a = n->attrs;
    TRY(want_array(&in[0], e));
    TRY(want_element(a, e));
    out[0] = at_most(&in[0], a->dtype);
    out[1] = at_most(&in[0], DTYPE_I32);
    return OK;
}

static status infer_table(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[0], &sequences, e));
    out[0] = (struct type){ DTYPE_I64, SHAPE(sequences, 2), NULL };
    return OK;
}

static status infer_longest(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    int64_t sequences;
    out[0] = (struct type){ DTYPE_I64, SHAPE(1), NULL };
    return want_table(&in[0], &sequences, e);
}

static status infer_split(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    int64_t sequences, ranked, room, total;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_table(&in[2], &ranked, e));
    if (in[0].shape.rank < 1 || sequences != ranked)
        return err_set(e, INVALID, "%lld sequences, a rank table of %lld", (long long)sequences,
                       (long long)ranked);
    if (__builtin_mul_overflow(in[0].shape.dim[0] + 1, ENTRY_BYTES, &room) ||
        __builtin_add_overflow(room, bytes_of(&in[0]), &total))
        return err_set(e, TOO_LARGE, "the array's size overflows");
    out[0] = (struct type){ DTYPE_U8, SHAPE(total), NULL };
    return OK;
}

static status infer_rank_join(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    int64_t sequences;
    const struct array_attrs *a = n->attrs;
    TRY(want_array(&in[0], e));
    TRY(want_table(&in[1], &sequences, e));
    TRY(want_element(a, e));
    out[0] = at_most(&in[0], a->dtype);
    out[1] = (struct type){ DTYPE_I64, SHAPE(sequences + 1), NULL };
    return OK;
}

static status infer_shrink(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    int64_t sequences;
    TRY(want_index(&in[1], e));
    TRY(want_table(&in[2], &sequences, e));
    if (in[0].shape.rank < 1 || in[0].shape.dim[0] > sequences)
        return err_set(e, INVALID, "more rows than the rank table has sequences");
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    return OK;
}

static status infer_reorder(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    int64_t ranked, sequences = in[0].shape.rank > 0 ? in[0].shape.dim[0] : -1;
    TRY(want_table(&in[1], &ranked, e));
    if (in[2].shape.rank >= 0)
        TRY(want_offsets(&in[2], &sequences, e));
    if (sequences != ranked)
        return err_set(e, INVALID, "%lld sequences, a rank table of %lld", (long long)sequences,
                       (long long)ranked);
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[1] = (struct type){ DTYPE_I64, SHAPE(ranked + 1), NULL };
    return OK;
}

static status infer_beam_decode(const struct node *n, const struct type *in, struct type *out,
                                struct err *e)
{
    const struct beam_decode_attrs *a = n->attrs;
    struct attr_ints steps;
    int64_t elements = in[0].shape.rank == 1 ? in[0].shape.dim[0] / 8 : 0, words, sentences;
    TRY(want_array(&in[0], e));
    TRY(want_array(&in[1], e));
    TRY(ints_of(n, in, 2, &(struct attr_ints){ 0 }, "the number of its steps", &steps, e));
    if (steps.count != 1 || steps.v[0] < 0 || a->beam_size < 1)
        return err_set(e, INVALID, "%d beams and %lld steps", a->beam_size,
                       steps.count == 1 ? (long long)steps.v[0] : 0LL);
    if (__builtin_mul_overflow(elements, steps.v[0], &words) ||
        __builtin_mul_overflow(elements, a->beam_size, &sentences))
        return err_set(e, TOO_LARGE, "%d beams of %lld steps", a->beam_size, (long long)steps.v[0]);
    out[0] = (struct type){ DTYPE_I64, SHAPE(words), NULL };
    out[1] = (struct type){ DTYPE_F32, SHAPE(words), NULL };
    out[2] = (struct type){ DTYPE_I64, SHAPE(elements + 1), NULL };
    out[3] = (struct type){ DTYPE_I64, SHAPE(sentences + 1), NULL };
    return OK;
}

static const struct attr_field beam_decode_fields[] = {
    FIELD(beam_decode_attrs, beam_size, ATTR_I32),
    { 0 },
};

static const struct attr_field array_fields[] = {
    FIELD(array_attrs, dtype, ATTR_I32),
    FIELD(array_attrs, levels, ATTR_I32),
    FIELD(array_attrs, axis, ATTR_I32),
    FIELD(array_attrs, stack, ATTR_BOOL),
    { 0 },
};

#define ARRAY array_fields, sizeof(struct array_attrs)

// clang-format off
const struct op ops_array[] = {
    { "array_write",  3, 3 + LOD_MAX, 1,       OP_DYNAMIC, NULL, 0, infer_write },
    { "array_read",   2, 2,           OUT_ANY, OP_DYNAMIC, ARRAY,   infer_read },
    { "array_length", 1, 1,           1,       0,          NULL, 0, infer_length },
    { "array_join",   1, 1,           2,       OP_DYNAMIC, ARRAY,   infer_join },
    { "rank_table",   1, 1,           1,       0,          NULL, 0, infer_table },
    { "rank_longest", 1, 1,           1,       0,          NULL, 0, infer_longest },
    { "rank_split",   3, 3,           1,       OP_DYNAMIC, NULL, 0, infer_split },
    { "rank_join",    2, 2,           2,       OP_DYNAMIC, ARRAY,   infer_rank_join },
    { "rank_shrink",  3, 3,           1,       OP_DYNAMIC, NULL, 0, infer_shrink },
    { "beam_decode",  3, 3,           4,       OP_DYNAMIC | OP_NEEDS(2), beam_decode_fields,
      sizeof(struct beam_decode_attrs), infer_beam_decode },
    { "rank_reorder", 2, 3,           2,       0,          NULL, 0, infer_reorder },
    { 0 },
};
// clang-format on
