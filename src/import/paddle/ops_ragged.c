/* Operators that rearrange ragged rows: their offsets become an ordinary input, and those that they make an output. */
#include "graph/attrs_control.h"
#include "graph/attrs_move.h"
#include "graph/attrs_ragged.h"
#include "graph/attrs_reduce.h"
#include "import/paddle/site.h"

/* v has x's sequences, but for the last level, whose offsets are given. */
static void set_offsets(struct value *v, const struct value *x, struct value *offsets)
{
    int levels = x->lod_levels > 0 ? x->lod_levels : 1;
    site_share_lod(v, x, levels);
    v->lod[levels - 1] = offsets;
}

/* The rows in a slot and their offsets. */
static status ragged_in(struct site *s, const char *slot, struct value *in[2])
{
    TRY(site_in(s, slot, &in[0]));
    return site_offsets(s, slot, &in[1]);
}

/* x and offsets in, rows of the same sequences out. */
static status same_sequences(struct site *s, const char *op, const char *slot)
{
    struct value *in[2], *out;
    TRY(ragged_in(s, "X", in));
    TRY(site_add1(s, op, in, 2, &out));
    return site_bind(s, slot, out);
}

static status import_softmax(struct site *s)
{
    return same_sequences(s, "seq_softmax", "Out");
}

static status import_reverse(struct site *s)
{
    return same_sequences(s, "seq_reverse", "Y");
}

/* A node whose outputs are rows and their offsets. */
static status bind_new(struct site *s, struct node *n, const char *slot, const struct value *x)
{
    n->out[0]->dtype = n->in[0]->dtype;
    n->out[0]->shape = n->in[0]->shape;
    n->out[1]->dtype = DTYPE_I64;
    n->out[1]->shape = SHAPE(-1);
    TRY(site_bind(s, slot, n->out[0]));
    set_offsets(n->out[0], x, n->out[1]);
    return OK;
}

/* ---- expand ---- */

static status import_expand_as(struct site *s)
{
    struct value *x, *y[2], *out;
    TRY(site_in(s, "X", &x));
    TRY(ragged_in(s, "Y", y));
    struct value *in[] = { x, y[1], y[0] };
    TRY(site_add1(s, "seq_repeat", in, 3, &out));
    TRY(site_bind(s, "Out", out));
    site_share_lod(out, y[0], y[0]->lod_levels);
    return OK;
}

/* Rows that are no sequences, by the last level: as many come out as Y has. */
static status expand_rows(struct site *s, struct value *x, struct value *y)
{
    struct value *in[] = { x, y->lod[y->lod_levels - 1], y }, *out;
    TRY(site_add1(s, "seq_repeat", in, 3, &out));
    return site_bind(s, "Out", out);
}

static status import_expand(struct site *s)
{
    struct value *x, *y, *offsets;
    struct node *n;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(site_offsets(s, "Y", &offsets));
    int level = attr_i32(s, "ref_level", -1);
    if (level < -1 || level >= y->lod_levels)
        return site_fault(s, INVALID, "ref_level %d, its input '%s' has %d LoD levels", level,
                          y->name, y->lod_levels);
    if (level >= 0)
        offsets = y->lod[level];
    if (x->lod_levels == 0 && (level == -1 || level == y->lod_levels - 1))
        return expand_rows(s, x, y);
    if (x->lod_levels > 1)
        return site_fault(s, UNSUPPORTED, "its input '%s' has %d LoD levels, at most 1", x->name,
                          x->lod_levels);
    struct value *in[] = { x, offsets, x->lod_levels > 0 ? x->lod[0] : NULL };
    TRY(site_add(s, "seq_expand", in, in[2] != NULL ? 3 : 2, &n));
    n->out[0]->dtype = x->dtype;
    n->out[0]->shape = x->shape;
    n->out[1]->shape = SHAPE(-1);
    TRY(site_bind(s, "Out", n->out[0]));
    if (x->lod_levels > 0)
        set_offsets(n->out[0], x, n->out[1]);
    return OK;
}

static status import_concat(struct site *s)
{
    struct value **x, **in;
    struct node *n;
    int count;
    TRY(site_ins(s, "X", &x, &count));
    in = arena_zalloc(s->scratch, (size_t)count * 2 * sizeof(*in));
    for (int i = 0; i < count; i++) {
        if (x[i]->lod_levels != 1)
            return site_fault(s, INVALID, "its input '%s' has %d LoD levels, expected 1",
                              x[i]->name, x[i]->lod_levels);
        in[2 * i] = x[i];
        in[2 * i + 1] = x[i]->lod[0];
    }
    TRY(site_add(s, "seq_concat", in, 2 * count, &n));
    return bind_new(s, n, "Out", x[0]);
}

/* ---- pad, unpad, slice, reshape, scatter ---- */

static status import_pad(struct site *s)
{
    struct value *in[3];
    struct node *n;
    TRY(ragged_in(s, "X", in));
    TRY(site_in(s, "PadValue", &in[2]));
    if (in[0]->lod_levels > 1)
        return site_fault(s, UNSUPPORTED, "its input '%s' has %d LoD levels, at most 1",
                          in[0]->name, in[0]->lod_levels);
    int64_t length = attr_i64(s, "padded_length", -1);
    TRY(site_add(s, "seq_pad", in, 3, &n));
    ((struct seq_pad_attrs *)node_attrs(n))->length = length;
    n->out[0]->dtype = in[0]->dtype;
    n->out[1]->dtype = DTYPE_I64;
    n->out[1]->shape = SHAPE(-1);
    TRY(site_bind(s, "Out", n->out[0]));
    return site_bind(s, "Length", n->out[1]);
}

static status import_unpad(struct site *s)
{
    struct value *in[2];
    struct node *n;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Length", &in[1]));
    TRY(site_add(s, "seq_unpad", in, 2, &n));
    return bind_new(s, n, "Out", &(struct value){ .lod_levels = 0 });
}

static status import_slice(struct site *s)
{
    struct value *in[4];
    struct node *n;
    TRY(ragged_in(s, "X", in));
    TRY(site_in(s, "Offset", &in[2]));
    TRY(site_in(s, "Length", &in[3]));
    TRY(site_add(s, "seq_slice", in, 4, &n));
    return bind_new(s, n, "Out", in[0]);
}

static status import_reshape(struct site *s)
{
    struct value *in[2], *offsets, *out;
    TRY(ragged_in(s, "X", in));
    int64_t width = attr_i64(s, "new_dim", 1);
    if (width < 1)
        return site_fault(s, INVALID, "new_dim %lld", (long long)width);
    TRY(site_add1(s, "seq_scale", in, 2, &offsets));
    ((struct seq_scale_attrs *)node_attrs(offsets->producer))->width = width;
    offsets->dtype = DTYPE_I64;
    offsets->shape = SHAPE(-1);
    TRY(site_add_reshape(s, in[0], &(struct attr_ints){ 2, { -1, width } }, &out));
    TRY(site_bind(s, "Out", out));
    set_offsets(out, in[0], offsets);
    return OK;
}

static status import_scatter(struct site *s)
{
    struct value *in[4], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(ragged_in(s, "Ids", in + 1));
    TRY(site_in(s, "Updates", &in[3]));
    TRY(site_add1(s, "seq_scatter", in, 4, &out));
    return site_bind(s, "Out", out);
}

/* ---- ids ---- */

static status import_enumerate(struct site *s)
{
    struct value *in[2], *out;
    TRY(ragged_in(s, "X", in));
    TRY(site_add1(s, "seq_enumerate", in, 2, &out));
    *(struct seq_enumerate_attrs *)node_attrs(out->producer) =
        (struct seq_enumerate_attrs){ .window = attr_i32(s, "win_size", 2),
                                      .pad = attr_i64(s, "pad_value", 0) };
    return site_bind(s, "Out", out);
}

static status import_erase(struct site *s)
{
    struct value *in[2];
    struct node *n;
    TRY(ragged_in(s, "X", in));
    TRY(site_add(s, "seq_erase", in, 2, &n));
    ((struct seq_erase_attrs *)node_attrs(n))->tokens = attr_i64s(s, "tokens");
    return bind_new(s, n, "Out", in[0]);
}

/* The longest: an input, an attribute, or, below 0, the largest length. */
static status longest(struct site *s, struct value *x, int64_t attr, struct value **out)
{
    TRY(site_in_optional(s, "MaxLenTensor", out));
    if (*out != NULL || attr >= 0)
        return OK;
    TRY(site_add1(s, "reduce", &x, 1, out));
    ((struct reduce_attrs *)node_attrs((*out)->producer))->mode = REDUCE_MAX;
    (*out)->shape = (struct shape){ 0 };
    return OK;
}

static status import_mask(struct site *s)
{
    struct value *in[2], *out;
    dtype d = DTYPE_I64;
    TRY(site_in(s, "X", &in[0]));
    int64_t most = attr_i64(s, "maxlen", -1);
    int32_t code = attr_i32(s, "out_dtype", 3);
    if (!program_computed(code, &d))
        return site_fault(s, UNSUPPORTED, "out_dtype %d of VarType", code);
    TRY(longest(s, in[0], most, &in[1]));
    TRY(site_add1(s, "seq_mask", in, in[1] != NULL ? 2 : 1, &out));
    *(struct seq_mask_attrs *)node_attrs(out->producer) =
        (struct seq_mask_attrs){ .longest = most, .dtype = (int32_t)d };
    return site_bind(s, "Y", out);
}

static status import_ctc_align(struct site *s)
{
    struct value *in[2];
    struct node *n;
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in_optional(s, "InputLength", &in[1]));
    struct ctc_align_attrs a = { .blank = attr_i32(s, "blank", 0),
                                 .pad = attr_i32(s, "padding_value", 0),
                                 .keep = !attr_bool(s, "merge_repeated", true) };
    bool padded = in[1] != NULL;
    if (padded)
        TRY(site_cast(s, in[1], in[0]->dtype, &in[1]));
    else
        TRY(site_offsets(s, "Input", &in[1]));
    TRY(site_add(s, padded ? "ctc_align_padded" : "ctc_align", in, 2, &n));
    *(struct ctc_align_attrs *)node_attrs(n) = a;
    if (!padded)
        return bind_new(s, n, "Output", in[0]);
    TRY(site_bind(s, "Output", n->out[0]));
    return site_bind(s, "OutputLength", n->out[1]);
}

static status distance_side(struct site *s, const char *slot, const char *lengths, bool *padded,
                            struct value *in[2])
{
    TRY(site_in(s, slot, &in[0]));
    TRY(site_in_optional(s, lengths, &in[1]));
    *padded = in[1] != NULL;
    return *padded ? OK : site_offsets(s, slot, &in[1]);
}

static status import_edit_distance(struct site *s)
{
    struct value *in[4], *out, *shape, *count;
    bool padded, too;
    TRY(distance_side(s, "Hyps", "HypsLength", &padded, in));
    TRY(distance_side(s, "Refs", "RefsLength", &too, in + 2));
    if (padded != too)
        return site_fault(s, INVALID, "one of its inputs has lengths, the other has none");
    TRY(site_add1(s, "edit_distance", in, 4, &out));
    *(struct edit_distance_attrs *)node_attrs(out->producer) =
        (struct edit_distance_attrs){ .padded = padded,
                                      .normalized = attr_bool(s, "normalized", false) };
    TRY(site_bind(s, "Out", out));
    if (site_out_count(s, "SequenceNum") == 0)
        return OK;
    /* how many there are: as many as distances */
    TRY(site_add1(s, "shape", &out, 1, &shape));
    ((struct dtype_attrs *)node_attrs(shape->producer))->dtype = DTYPE_I64;
    TRY(site_add1(s, "slice", &shape, 1, &count));
    *(struct slice_attrs *)node_attrs(count->producer) =
        (struct slice_attrs){ .starts = { 1, { 0 } }, .ends = { 1, { 1 } } };
    return site_bind(s, "SequenceNum", count);
}

static status import_hash(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "hash", &x, 1, &out));
    *(struct hash_attrs *)node_attrs(out->producer) =
        (struct hash_attrs){ .count = attr_i32(s, "num_hash", 1),
                             .modulo = attr_i64(s, "mod_by", 100000) };
    return site_bind(s, "Out", out);
}

/* ---- LoD itself ---- */

/* The same rows as other sequences: those of Y, those that Y's elements say, or those of the attribute. */
static status import_lod_reset(struct site *s)
{
    struct value *x, *y, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in_optional(s, "Y", &y));
    struct attr_ints lod = attr_i64s(s, "target_lod");
    if (attr_bool(s, "append", false))
        return site_fault(s, UNSUPPORTED, "append true");
    if (y == NULL && lod.count == 0)
        return site_fault(s, INVALID, "neither an input Y nor the attribute 'target_lod'");
    TRY(site_add1(s, "identity", &x, 1, &out));
    TRY(site_bind(s, "Out", out));
    if (y != NULL && y->lod_levels > 0) {
        site_share_lod(out, y, y->lod_levels);
        return OK;
    }
    out->lod_levels = 1;
    return y != NULL ? site_cast(s, y, DTYPE_I64, &out->lod[0])
                     : site_ints_constant(s, &lod, &out->lod[0]);
}

/* ---- what PaddleRec uses ---- */

static status import_cvm(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "cvm", &x, 1, &out));
    ((struct cvm_attrs *)node_attrs(out->producer))->drop = !attr_bool(s, "use_cvm", true);
    return site_bind(s, "Y", out);
}

/* Look-up of all ids of a row, side by side, then the sum of each sequence's rows. */
static status import_embedding_pool(struct site *s)
{
    struct value *table, *ids[2], *rows, *flat, *out;
    TRY(site_in(s, "W", &table));
    TRY(ragged_in(s, "Ids", ids));
    if (!str_is(attr_str(s, "combiner", "sum"), "sum"))
        return site_fault(s, UNSUPPORTED, "a combiner other than 'sum'");
    TRY(site_add2(s, "embedding", ids[0], table, &rows));
    int64_t padding = attr_i64(s, "padding_idx", -1);
    *(struct embedding_attrs *)node_attrs(rows->producer) =
        (struct embedding_attrs){ .has_padding = padding != -1, .padding_id = padding };
    rows->dtype = table->dtype;
    rows->shape = (struct shape){ 3, { -1, -1, -1 } };
    TRY(site_add1(s, "flatten", &rows, 1, &flat));
    *(struct flatten_attrs *)node_attrs(flat->producer) = (struct flatten_attrs){ 1, -1 };
    flat->shape.rank = 2;
    TRY(site_add2(s, "seq_pool", flat, ids[1], &out));
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_ragged[] = {
    { "sequence_softmax",   "seq_softmax",   import_softmax,       LOD_SHARE },
    { "sequence_reverse",   "seq_reverse",   import_reverse,       LOD_SHARE },
    { "sequence_expand",    "seq_expand",    import_expand,        LOD_OWN },
    { "sequence_expand_as", "seq_repeat",    import_expand_as,     LOD_OWN },
    { "sequence_concat",    "seq_concat",    import_concat,        LOD_OWN },
    { "sequence_pad",       "seq_pad",       import_pad,           LOD_OWN },
    { "sequence_unpad",     "seq_unpad",     import_unpad,         LOD_OWN },
    { "sequence_slice",     "seq_slice",     import_slice,         LOD_OWN },
    { "sequence_reshape",   "reshape",       import_reshape,       LOD_OWN },
    { "sequence_scatter",   "seq_scatter",   import_scatter,       LOD_OWN },
    { "sequence_enumerate", "seq_enumerate", import_enumerate,     LOD_SHARE },
    { "sequence_erase",     "seq_erase",     import_erase,         LOD_OWN },
    { "sequence_mask",      "seq_mask",      import_mask,          LOD_OWN },
    { "ctc_align",          "ctc_align",     import_ctc_align,     LOD_OWN },
    { "edit_distance",      "edit_distance", import_edit_distance, LOD_OWN },
    { "hash",               "hash",          import_hash,          LOD_SHARE },
    { "lod_reset",          "identity",      import_lod_reset,     LOD_OWN },
    { "fused_embedding_seq_pool", "seq_pool", import_embedding_pool, LOD_OWN },
    { "cvm",                "cvm",           import_cvm,           LOD_SHARE },
    { 0 },
};
// clang-format on
