/* Operators that rearrange ragged rows. */
#include "graph/attrs_move.h"
#include "graph/attrs_ragged.h"
#include "graph/ops.h"

static status want_rows(const struct type *t, const char *what, struct err *e)
{
    return t->shape.rank > 0 ? OK : err_set(e, INVALID, "%s: expected rows, got a scalar", what);
}

static status want_ids(const struct type *t, const char *what, struct err *e)
{
    if (t->dtype == DTYPE_I64 || t->dtype == DTYPE_I32)
        return OK;
    return err_set(e, INVALID, "%s: expected int64 or int32, got %s", what, dtype_name(t->dtype));
}

static status want_count(const struct type *t, int64_t count, const char *what, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    if (shape_numel(&t->shape) == count)
        return OK;
    return err_set(e, INVALID, "%s: %lld elements expected, got %s", what, (long long)count,
                   shape_text(&t->shape, text, sizeof(text)));
}

/* x of ids, one in each row. */
static status want_id_rows(const struct type *t, struct err *e)
{
    TRY(want_ids(t, "its rows", e));
    TRY(want_rows(t, "its rows", e));
    return want_count(t, t->shape.dim[0], "its rows", e);
}

static struct type offsets_type(int64_t sequences)
{
    return (struct type){ DTYPE_I64, SHAPE(sequences + 1), NULL };
}

static status infer_softmax(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rows(&in[0], "its rows", e));
    TRY(want_count(&in[0], in[0].shape.dim[0], "its rows", e));
    return infer_same(n, in, out, e);
}

static status infer_reverse(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rows(&in[0], "its rows", e));
    return infer_same(n, in, out, e);
}

static status infer_repeat(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rows(&in[0], "its rows", e));
    TRY(want_rows(&in[2], "its third input", e));
    if (in[0].shape.dim[0] != sequences)
        return err_set(e, INVALID, "%lld rows for %lld sequences", (long long)in[0].shape.dim[0],
                       (long long)sequences);
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[0].shape.dim[0] = in[2].shape.dim[0];
    return OK;
}

/* Sizes of what seq_expand makes, from known offsets: rows and sequences. */
static status expand_sizes(const struct type *in, int64_t n, bool ragged, int64_t *rows,
                           int64_t *sequences, struct err *e)
{
    const int64_t *offset = in[1].constant->data;
    const int64_t *own = ragged ? in[2].constant->data : NULL;
    *rows = *sequences = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t times, size = 1, all;
        if (__builtin_sub_overflow(offset[i + 1], offset[i], &times) || times < 0 ||
            (own != NULL && (__builtin_sub_overflow(own[i + 1], own[i], &size) || size < 0)) ||
            __builtin_mul_overflow(times, size, &all) || __builtin_add_overflow(*rows, all, rows) ||
            __builtin_add_overflow(*sequences, times, sequences) || *sequences == INT64_MAX)
            return err_set(e, INVALID, "sequence %lld cannot be repeated so often", (long long)i);
    }
    return OK;
}

static status infer_expand(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    int64_t count, own, rows, sequences;
    bool ragged = n->in_count > 2 && n->in[2] != NULL;
    TRY(want_offsets(&in[1], &count, e));
    TRY(want_rows(&in[0], "its rows", e));
    own = in[0].shape.dim[0];
    if (ragged)
        TRY(want_offsets(&in[2], &own, e));
    if (own != count)
        return err_set(e, INVALID, "%lld sequences cannot be repeated as %lld say", (long long)own,
                       (long long)count);
    if (in[1].constant == NULL || (ragged && in[2].constant == NULL))
        return err_set(e, UNSUPPORTED, "its offsets are not known");
    TRY(expand_sizes(in, count, ragged, &rows, &sequences, e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[0].shape.dim[0] = rows;
    out[1] = offsets_type(sequences);
    return OK;
}

static bool same_rows(const struct type *a, const struct type *b)
{
    struct shape x = a->shape;
    if (x.rank < 1 || x.rank != b->shape.rank || a->dtype != b->dtype)
        return false;
    x.dim[0] = b->shape.dim[0];
    return shape_eq(&x, &b->shape);
}

static status infer_concat(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    int64_t sequences, others;
    if (n->in_count % 2 != 0)
        return err_set(e, INVALID, "each of its inputs needs offsets");
    TRY(want_offsets(&in[1], &sequences, e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    for (int i = 2; i < n->in_count; i += 2) {
        TRY(want_offsets(&in[i + 1], &others, e));
        if (others != sequences || !same_rows(&in[0], &in[i]))
            return err_set(e, INVALID, "inputs 0 and %d do not join sequence by sequence", i / 2);
        if (__builtin_add_overflow(out[0].shape.dim[0], in[i].shape.dim[0], &out[0].shape.dim[0]))
            return err_set(e, TOO_LARGE, "the number of rows overflows");
    }
    TRY(want_rows(&in[0], "its rows", e));
    out[1] = offsets_type(sequences);
    return OK;
}

static status infer_pad(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    int64_t sequences, length = ((const struct seq_pad_attrs *)n->attrs)->length;
    const struct shape *x = &in[0].shape;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rows(&in[0], "its rows", e));
    TRY(want_dtype(&in[2], in[0].dtype, "its value", e));
    int64_t row = shape_span(x, 1, x->rank), value = shape_numel(&in[2].shape);
    if (value != 1 && value != row)
        return err_set(e, INVALID, "a value of 1 or %lld elements expected, got %lld",
                       (long long)row, (long long)value);
    if (length < -1 || x->rank >= SHAPE_MAX)
        return err_set(e, INVALID, "a length of %lld for rows of %d dimensions", (long long)length,
                       x->rank);
    out[0] = (struct type){ in[0].dtype, SHAPE(sequences, length >= 0 ? length : x->dim[0]), NULL };
    for (int i = 1; i < x->rank; i++)
        out[0].shape.dim[out[0].shape.rank++] = x->dim[i];
    out[1] = (struct type){ DTYPE_I64, SHAPE(sequences), NULL };
    return OK;
}

static status infer_unpad(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    const struct shape *x = &in[0].shape;
    if (x->rank < 2)
        return err_set(e, INVALID, "expected [n, L, ...], got %d dimensions", x->rank);
    TRY(want_ids(&in[1], "its lengths", e));
    TRY(want_count(&in[1], x->dim[0], "its lengths", e));
    out[0] = (struct type){ .dtype = in[0].dtype };
    out[0].shape.dim[out[0].shape.rank++] = shape_span(x, 0, 2);
    for (int i = 2; i < x->rank; i++)
        out[0].shape.dim[out[0].shape.rank++] = x->dim[i];
    if (x->rank == 2) /* rows of one element, as Paddle has it */
        out[0].shape.dim[out[0].shape.rank++] = 1;
    out[1] = offsets_type(x->dim[0]);
    return OK;
}

static status infer_slice(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rows(&in[0], "its rows", e));
    for (int i = 2; i < 4; i++) {
        TRY(want_ids(&in[i], "its bounds", e));
        TRY(want_count(&in[i], sequences, "its bounds", e));
    }
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[1] = offsets_type(sequences);
    return OK;
}

static status infer_scatter(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[2], &sequences, e));
    TRY(want_rank(&in[0], 2, "its first input", e));
    TRY(want_id_rows(&in[1], e));
    TRY(want_dtype(&in[3], in[0].dtype, "its updates", e));
    TRY(want_count(&in[3], in[1].shape.dim[0], "its updates", e));
    if (sequences != in[0].shape.dim[0])
        return err_set(e, INVALID, "%lld rows for %lld sequences", (long long)in[0].shape.dim[0],
                       (long long)sequences);
    return infer_same(n, in, out, e);
}

static status infer_scale(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    int64_t sequences, width = ((const struct seq_scale_attrs *)n->attrs)->width;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_rank(&in[0], 2, "its rows", e));
    if (width < 1)
        return err_set(e, INVALID, "rows of %lld", (long long)width);
    out[0] = offsets_type(sequences);
    return OK;
}

static status infer_enumerate(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    int64_t sequences, window = ((const struct seq_enumerate_attrs *)n->attrs)->window;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_id_rows(&in[0], e));
    if (window < 1)
        return err_set(e, INVALID, "a window of %lld", (long long)window);
    out[0] = (struct type){ in[0].dtype, SHAPE(in[0].shape.dim[0], window), NULL };
    return OK;
}

static status infer_fewer_ids(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    int64_t sequences;
    TRY(want_offsets(&in[1], &sequences, e));
    TRY(want_id_rows(&in[0], e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[1] = offsets_type(sequences);
    return OK;
}

/* Room for the one row that stands for nothing. */
static status infer_ctc_align(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    TRY(infer_fewer_ids(n, in, out, e));
    out[0].shape = SHAPE(in[0].shape.dim[0] > 0 ? in[0].shape.dim[0] : 1, 1);
    return OK;
}

static status infer_ctc_padded(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    TRY(want_ids(&in[0], "its ids", e));
    TRY(want_rank(&in[0], 2, "its ids", e));
    TRY(want_ids(&in[1], "its lengths", e));
    TRY(want_count(&in[1], in[0].shape.dim[0], "its lengths", e));
    TRY(want_dtype(&in[1], in[0].dtype, "its lengths", e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[1] = (struct type){ in[0].dtype, SHAPE(in[0].shape.dim[0], 1), NULL };
    return OK;
}

static status infer_mask(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct seq_mask_attrs *a = n->attrs;
    struct attr_ints longest;
    TRY(want_ids(&in[0], "its lengths", e));
    TRY(ints_of(n, in, 1, &(struct attr_ints){ 1, { a->longest } }, "the longest", &longest, e));
    if (longest.count != 1 || longest.v[0] < 0 || !dtype_valid(a->dtype) ||
        in[0].shape.rank >= SHAPE_MAX)
        return err_set(e, INVALID, "a mask of %lld columns",
                       (long long)(longest.count == 1 ? longest.v[0] : -1));
    out[0] = (struct type){ (dtype)a->dtype, in[0].shape, NULL };
    out[0].shape.dim[out[0].shape.rank++] = longest.v[0];
    return OK;
}

static status distance_side(const struct type *in, bool padded, int64_t *count, struct err *e)
{
    TRY(want_ids(&in[0], "its ids", e));
    if (!padded) {
        TRY(want_offsets(&in[1], count, e));
        return want_id_rows(&in[0], e);
    }
    TRY(want_rank(&in[0], 2, "its ids", e));
    TRY(want_ids(&in[1], "its lengths", e));
    *count = in[0].shape.dim[0];
    return want_count(&in[1], *count, "its lengths", e);
}

static status infer_edit_distance(const struct node *n, const struct type *in, struct type *out,
                                  struct err *e)
{
    bool padded = ((const struct edit_distance_attrs *)n->attrs)->padded;
    int64_t count, other;
    TRY(distance_side(in, padded, &count, e));
    TRY(distance_side(in + 2, padded, &other, e));
    TRY(want_dtype(&in[2], in[0].dtype, "its third input", e));
    if (count != other)
        return err_set(e, INVALID, "%lld sequences against %lld", (long long)count,
                       (long long)other);
    out[0] = (struct type){ DTYPE_F32, SHAPE(count, 1), NULL };
    return OK;
}

static status infer_hash(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct hash_attrs *a = n->attrs;
    TRY(want_ids(&in[0], "its ids", e));
    TRY(want_rank(&in[0], 2, "its ids", e));
    if (a->count < 1 || a->modulo < 1)
        return err_set(e, INVALID, "%d hashes modulo %lld", a->count, (long long)a->modulo);
    out[0] = (struct type){ in[0].dtype, SHAPE(in[0].shape.dim[0], a->count, 1), NULL };
    return OK;
}

static status infer_cvm(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    TRY(want_rank(&in[0], 2, "its rows", e));
    if (in[0].shape.dim[1] < 2)
        return err_set(e, INVALID, "rows of %lld, at least 2 expected",
                       (long long)in[0].shape.dim[1]);
    TRY(infer_same(n, in, out, e));
    if (((const struct cvm_attrs *)n->attrs)->drop)
        out[0].shape.dim[1] -= 2;
    return OK;
}

// clang-format off
static const struct attr_field erase_fields[] = { FIELD(seq_erase_attrs, tokens, ATTR_I64S), { 0 } };
static const struct attr_field enumerate_fields[] = { FIELD(seq_enumerate_attrs, window, ATTR_I32), { 0 } };
static const struct attr_field mask_fields[] = { FIELD(seq_mask_attrs, dtype, ATTR_I32), { 0 } };
static const struct attr_field cvm_fields[] = { FIELD(cvm_attrs, drop, ATTR_BOOL), { 0 } };
static const struct attr_field ctc_fields[] = {
    FIELD(ctc_align_attrs, blank, ATTR_I32), FIELD(ctc_align_attrs, pad, ATTR_I32),
    FIELD(ctc_align_attrs, keep, ATTR_BOOL), { 0 },
};
static const struct attr_field distance_fields[] = {
    FIELD(edit_distance_attrs, padded, ATTR_BOOL), FIELD(edit_distance_attrs, normalized, ATTR_BOOL), { 0 },
};
static const struct attr_field hash_fields[] = { FIELD(hash_attrs, count, ATTR_I32), { 0 } };
/* Fields that no text can show (int64). */
static const struct attr_field no_fields[] = { { 0 } };

const struct op ops_ragged[] = {
    { "seq_softmax",   2, 2, 1, 0,              NULL,      0,                              infer_softmax },
    { "seq_reverse",   2, 2, 1, 0,              NULL,      0,                              infer_reverse },
    { "seq_repeat",    3, 3, 1, 0,              NULL,      0,                              infer_repeat },
    { "seq_expand",    2, 3, 2, OP_NEEDS(1) | OP_NEEDS(2), NULL, 0,                        infer_expand },
    { "seq_concat",    2, UINT8_MAX, 2, 0,      NULL,      0,                              infer_concat },
    { "seq_pad",       3, 3, 2, OP_DYNAMIC,     no_fields, sizeof(struct seq_pad_attrs),   infer_pad },
    { "seq_unpad",     2, 2, 2, OP_DYNAMIC,     NULL,      0,                              infer_unpad },
    { "seq_slice",     4, 4, 2, OP_DYNAMIC,     NULL,      0,                              infer_slice },
    { "seq_scatter",   4, 4, 1, 0,              NULL,      0,                              infer_scatter },
    { "seq_scale",     2, 2, 1, 0,              no_fields, sizeof(struct seq_scale_attrs), infer_scale },
    { "seq_enumerate", 2, 2, 1, 0,              enumerate_fields, sizeof(struct seq_enumerate_attrs), infer_enumerate },
    { "seq_erase",     2, 2, 2, OP_DYNAMIC,     erase_fields, sizeof(struct seq_erase_attrs), infer_fewer_ids },
    { "seq_mask",      1, 2, 1, OP_NEEDS(1),    mask_fields, sizeof(struct seq_mask_attrs), infer_mask },
    { "ctc_align",     2, 2, 2, OP_DYNAMIC,     ctc_fields, sizeof(struct ctc_align_attrs), infer_ctc_align },
    { "ctc_align_padded", 2, 2, 2, 0,           ctc_fields, sizeof(struct ctc_align_attrs), infer_ctc_padded },
    { "edit_distance", 4, 4, 1, 0,              distance_fields, sizeof(struct edit_distance_attrs), infer_edit_distance },
    { "hash",          1, 1, 1, 0,              hash_fields, sizeof(struct hash_attrs),    infer_hash },
    { "cvm",           1, 1, 1, 0,              cvm_fields, sizeof(struct cvm_attrs),      infer_cvm },
    { 0 },
};
// clang-format on
