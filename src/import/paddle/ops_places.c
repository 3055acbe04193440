/* What writes, counts or finds places that tensors name, and a few operators of geometry and language models. */
#include "graph/attrs_control.h"
#include "graph/attrs_index.h"
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"
#include "import/paddle/site.h"

#include <math.h>

/* ---- pieces ---- */

static status add1(struct site *s, const char *op, struct value *x, struct value **out)
{
    return site_add1(s, op, &x, 1, out);
}

static status reduce_last(struct site *s, int32_t mode, struct value *x, struct value **out)
{
    TRY(add1(s, "reduce", x, out));
    *(struct reduce_attrs *)node_attrs((*out)->producer) =
        (struct reduce_attrs){ .mode = mode, .axes = { 1, { -1 } } };
    return OK;
}

static status unsqueeze(struct site *s, struct value *x, int axis, struct value **out)
{
    TRY(add1(s, "unsqueeze", x, out));
    ((struct axes_attrs *)node_attrs((*out)->producer))->axes = (struct attr_ints){ 1, { axis } };
    return OK;
}

/* ---- index_put ---- */

/* Truths name the places where they hold: [n, rank]; numbers one dimension's place each: [..., 1]. */
static status as_places(struct site *s, struct value *index, struct value **out)
{
    if (index->dtype == DTYPE_BOOL) {
        TRY(add1(s, "nonzero", index, out));
        (*out)->dtype = DTYPE_I64;
        return OK;
    }
    TRY(site_cast(s, index, DTYPE_I64, &index));
    return unsqueeze(s, index, -1, out);
}

/* Each index becomes of the shape that all have together: 0 times the others is added. */
static status spread(struct site *s, struct value *const *index, int count, int i,
                     struct value **out)
{
    *out = index[i];
    for (int k = 0; k < count; k++) {
        struct value *nothing;
        if (k == i)
            continue;
        TRY(add1(s, "affine", index[k], &nothing));
        *(struct affine_attrs *)node_attrs(nothing->producer) = (struct affine_attrs){ 0, 0 };
        TRY(site_add2(s, "add", *out, nothing, out));
    }
    return OK;
}

/* [..., k]: a place in the first k dimensions of each row. */
static status join_places(struct site *s, struct value **out)
{
    struct value **index, *place[SHAPE_MAX], *wide;
    int count;
    TRY(site_ins(s, "indices", &index, &count));
    if (count > SHAPE_MAX)
        return site_fault(s, INVALID, "%d indices, at most %d", count, SHAPE_MAX);
    if (count == 1)
        return as_places(s, index[0], out);
    for (int i = 0; i < count; i++) {
        if (index[i]->dtype == DTYPE_BOOL)
            return site_fault(s, UNSUPPORTED, "truths among several indices");
        TRY(site_cast(s, index[i], DTYPE_I64, &index[i]));
    }
    for (int i = 0; i < count; i++) {
        TRY(spread(s, index, count, i, &wide));
        TRY(unsqueeze(s, wide, -1, &place[i]));
    }
    TRY(site_add1(s, "concat", place, count, out));
    ((struct axis_attrs *)node_attrs((*out)->producer))->axis = -1;
    return OK;
}

static status import_index_put(struct site *s)
{
    struct value *x, *places, *value, *there, *out;
    TRY(site_in(s, "x", &x));
    TRY(site_in(s, "value", &value));
    TRY(join_places(s, &places));
    TRY(site_add2(s, "gather_nd", x, places, &there));
    TRY(site_add2(s, "expand_as", value, there, &value));
    struct value *in[] = { x, places, value };
    TRY(site_add1(s, "scatter_nd", in, 3, &out));
    ((struct scatter_attrs *)node_attrs(out->producer))->mode =
        attr_bool(s, "accumulate", false) ? SCATTER_ADD : SCATTER_SET;
    return site_bind(s, "out", out);
}

static status import_masked_fill(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "mask", &in[0]));
    TRY(site_in(s, "value", &in[1]));
    TRY(site_in(s, "x", &in[2]));
    TRY(site_cast(s, in[1], in[2]->dtype, &in[1]));
    TRY(site_add1(s, "where", in, 3, &out));
    out->dtype = in[2]->dtype;
    return site_bind(s, "out", out);
}

/* ---- searchsorted: how many of the sorted numbers are below (or not above) each ---- */

static status import_search(struct site *s)
{
    struct value *sorted, *x, *below, *out;
    TRY(site_in(s, "SortedSequence", &sorted));
    TRY(site_in(s, "Values", &x));
    if (sorted->shape.rank > 1)
        TRY(unsqueeze(s, sorted, -2, &sorted));
    TRY(unsqueeze(s, x, -1, &x));
    bool right = attr_bool(s, "right", false);
    TRY(site_add2(s, right ? "less_equal" : "less", sorted, x, &below));
    below->dtype = DTYPE_BOOL;
    below->shape.rank = -1;
    TRY(site_cast(s, below, attr_bool(s, "out_int32", false) ? DTYPE_I32 : DTYPE_I64, &below));
    TRY(reduce_last(s, REDUCE_SUM, below, &out));
    return site_bind(s, "Out", out);
}

/* ---- segment_pool: rows with one number become one row ---- */

/* [last number + 1, ...]: a tensor of `number` for the results. */
static status empty_segments(struct site *s, struct value *x, struct value *ids, double number,
                             struct value **out)
{
    struct value *last, *rows, *shape, *rest, *to;
    TRY(add1(s, "reduce", ids, &last));
    *(struct reduce_attrs *)node_attrs(last->producer) =
        (struct reduce_attrs){ .mode = REDUCE_MAX, .keep_dims = true };
    TRY(site_cast(s, last, DTYPE_I64, &last));
    TRY(add1(s, "affine", last, &rows));
    *(struct affine_attrs *)node_attrs(rows->producer) = (struct affine_attrs){ 1, 1 };
    TRY(add1(s, "shape", x, &shape));
    shape->dtype = DTYPE_I64;
    shape->shape = SHAPE(x->shape.rank);
    ((struct dtype_attrs *)node_attrs(shape->producer))->dtype = DTYPE_I64;
    TRY(add1(s, "slice", shape, &rest));
    *(struct slice_attrs *)node_attrs(rest->producer) =
        (struct slice_attrs){ .starts = { 1, { 1 } }, .ends = { 1, { INT32_MAX } } };
    TRY(site_add2(s, "concat", rows, rest, &to));
    TRY(add1(s, "fill", to, out));
    *(struct fill_attrs *)node_attrs((*out)->producer) =
        (struct fill_attrs){ .dtype = x->dtype, .value = number };
    (*out)->dtype = x->dtype;
    (*out)->shape = x->shape;
    (*out)->shape.dim[0] = -1;
    return OK;
}

static status scatter_into(struct site *s, struct value *to, struct value *ids, struct value *rows,
                           int32_t mode, struct value **out)
{
    struct value *in[] = { to, ids, rows };
    TRY(site_add1(s, "scatter_rows", in, 3, out));
    ((struct scatter_attrs *)node_attrs((*out)->producer))->mode = mode;
    return OK;
}

/* How many rows each segment has, at least 1, [segments, 1, ..]. */
static status count_rows(struct site *s, struct value *x, struct value *ids, struct value **out)
{
    struct value *none, *ones, *one;
    TRY(empty_segments(s, x, ids, 0, &none));
    TRY(add1(s, "fill_like", x, &ones));
    *(struct fill_like_attrs *)node_attrs(ones->producer) =
        (struct fill_like_attrs){ .dtype = x->dtype, .value = 1, .integer = 1, .from_dim = -1 };
    TRY(scatter_into(s, none, ids, ones, SCATTER_ADD, out));
    TRY(site_number(s, x->dtype, 0, 1, &one));
    return site_add2(s, "max", *out, one, out);
}

static status import_segment_pool(struct site *s)
{
    static const char *const type[] = { "SUM", "MEAN", "MAX", "MIN", NULL };
    static const int32_t mode[] = { SCATTER_ADD, SCATTER_ADD, SCATTER_MAX, SCATTER_MIN };
    struct value *x, *ids, *to, *count, *out;
    int32_t how = attr_enum(s, "pooltype", "SUM", type);
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "SegmentIds", &ids));
    if (x->shape.rank < 1)
        return site_fault(s, UNSUPPORTED, "rows of no known number of dimensions");
    if (how >= 2)
        return site_fault(s, UNSUPPORTED, "pooltype %s", type[how]);
    TRY(empty_segments(s, x, ids, 0, &to));
    TRY(scatter_into(s, to, ids, x, mode[how], &out));
    if (how == 1) {
        TRY(count_rows(s, x, ids, &count));
        TRY(site_add2(s, "div", out, count, &out));
    }
    return site_bind(s, "Out", out);
}

/* ---- tril_indices, triu_indices ---- */

static status import_triangle_places(struct site *s)
{
    bool lower = str_is(s->op->type, "tril_indices");
    int64_t rows = attr_i64(s, lower ? "rows" : "row", 0), offset = attr_i64(s, "offset", 0),
            columns = attr_i64(s, lower ? "cols" : "col", 0), count = 0;
    struct value *all, *out;
    if (rows < 0 || columns < 0 || rows > 4096 || columns > 4096)
        return site_fault(s, UNSUPPORTED, "places of %lld x %lld, at most 4096", (long long)rows,
                          (long long)columns);
    int64_t *place =
        arena_try_array(&s->graph->arena, 2 * (size_t)(rows * columns) + 1, sizeof(*place));
    if (place == NULL)
        return site_fault(s, NO_MEMORY, "no memory for %lld x %lld places", (long long)rows,
                          (long long)columns);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++)
                if (lower ? j - i <= offset : j - i >= offset)
                    place[count++] = pass == 0 ? i : j;
    struct tensor t = { .dtype = DTYPE_I64, .shape = SHAPE(2, count / 2), .data = place };
    TRY(graph_add_constant(s->graph, NULL, &t, &all, s->err));
    TRY(add1(s, "identity", all, &out));
    return site_bind(s, "out", out);
}

/* ---- cross ---- */

static status rolled(struct site *s, struct value *x, int axis, int by, struct value **out)
{
    TRY(add1(s, "roll", x, out));
    *(struct roll_attrs *)node_attrs((*out)->producer) =
        (struct roll_attrs){ .shifts = { 1, { by } }, .axes = { 1, { axis } } };
    return OK;
}

#define CROSS_FIRST 9 /* Paddle's word for the first dimension of 3 */

static status cross_axis(struct site *s, const struct value *x, int *out)
{
    int64_t dim = attr_i64(s, str_is(s->op->type, "cross") ? "dim" : "axis", CROSS_FIRST);
    for (*out = 0; dim == CROSS_FIRST && *out < x->shape.rank; (*out)++)
        if (x->shape.dim[*out] == 3)
            return OK;
    *out = shape_axis(&x->shape, dim);
    return *out >= 0 ? OK : site_fault(s, INVALID, "axis %lld of '%s'", (long long)dim, x->name);
}

/* x[i + 1] y[i + 2] - x[i + 2] y[i + 1], round the three. */
static status import_cross(struct site *s)
{
    struct value *x, *y, *a[2], *b[2], *out;
    int axis;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(cross_axis(s, x, &axis));
    for (int i = 0; i < 2; i++) {
        TRY(rolled(s, x, axis, -1 - i, &a[i]));
        TRY(rolled(s, y, axis, i - 2, &b[i]));
        TRY(site_add2(s, "mul", a[i], b[i], &a[i]));
    }
    TRY(site_add2(s, "sub", a[0], a[1], &out));
    return site_bind(s, "Out", out);
}

/* ---- language models ---- */

/* silu(x) y; without y, the halves of x. */
static status import_swiglu(struct site *s)
{
    struct value *x, *y, *half[2], *out;
    TRY(site_in(s, "x", &x));
    TRY(site_in_optional(s, "y", &y));
    half[0] = x;
    half[1] = y;
    for (int i = 0; y == NULL && i < 2; i++) {
        TRY(add1(s, "split_part", x, &half[i]));
        *(struct split_attrs *)node_attrs(half[i]->producer) =
            (struct split_attrs){ .axis = -1, .index = i, .count = 2 };
        half[i]->shape.rank = x->shape.rank;
        half[i]->shape.dim[x->shape.rank > 0 ? x->shape.rank - 1 : 0] = -1;
    }
    TRY(add1(s, "swish", half[0], &x));
    ((struct curve_attrs *)node_attrs(x->producer))->alpha = 1;
    TRY(site_add2(s, "mul", x, half[1], &out));
    return site_bind(s, "out", out);
}

/* x + bias + residual, normalised from an axis on. */
static status import_residual_norm(struct site *s)
{
    struct value *x, *more, *in[3], *out;
    bool rms = str_is(str_of(s->row->canonical), "rms_norm");
    TRY(site_in(s, "x", &x));
    TRY(site_in_optional(s, "bias", &more));
    if (more != NULL)
        TRY(site_add2(s, "add", x, more, &x));
    TRY(site_in_optional(s, "residual", &more));
    if (more != NULL && attr_f64(s, "residual_alpha", 1) != 1)
        return site_fault(s, UNSUPPORTED, "residual_alpha other than 1");
    if (more != NULL)
        TRY(site_add2(s, "add", x, more, &x));
    if (attr_f64(s, "quant_scale", -1) > 0)
        return site_fault(s, UNSUPPORTED, "a result that is quantised");
    in[0] = x;
    TRY(site_in(s, "norm_weight", &in[1]));
    TRY(site_in_optional(s, "norm_bias", &in[2]));
    if (rms && in[2] != NULL)
        return site_fault(s, UNSUPPORTED, "a bias");
    TRY(site_add1(s, s->row->canonical, in, in[2] != NULL ? 3 : 2, &out));
    *(struct layer_norm_attrs *)node_attrs(out->producer) =
        (struct layer_norm_attrs){ attr_i32(s, "begin_norm_axis", -1),
                                   (float)attr_f64(s, "epsilon", 1e-6) };
    TRY(site_bind(s, "out", out));
    if (more == NULL)
        return OK;
    TRY(add1(s, "identity", x, &out));
    return site_bind(s, "residual_out", out);
}

/* ---- others ---- */

static status import_is_empty(struct site *s)
{
    struct value *x, *count, *none, *out;
    TRY(site_in(s, "X", &x));
    TRY(add1(s, "numel", x, &count));
    count->dtype = DTYPE_I64;
    count->shape = (struct shape){ .rank = 0 };
    TRY(site_number(s, DTYPE_I64, 0, 0, &none));
    TRY(site_add2(s, "equal", count, none, &out));
    out->dtype = DTYPE_BOOL;
    return site_bind_one(s, "Out", out);
}

static status import_square_matrix(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "Input", &x));
    TRY(add1(s, s->row->canonical, x, &out));
    return site_bind(s, op_slot_out(s->op, "Output") != NULL ? "Output" : "Out", out);
}

/* |x| with y's sign. */
static status import_copysign(struct site *s)
{
    struct value *x, *y, *zero, *size, *other, *minus, *out;
    TRY(site_in(s, "x", &x));
    TRY(site_in(s, "y", &y));
    TRY(add1(s, "abs", x, &size));
    TRY(add1(s, "affine", size, &other));
    *(struct affine_attrs *)node_attrs(other->producer) = (struct affine_attrs){ -1, 0 };
    TRY(site_number(s, y->dtype, 0, 0, &zero));
    TRY(site_add2(s, "less", y, zero, &minus));
    minus->dtype = DTYPE_BOOL;
    struct value *in[] = { minus, other, size };
    TRY(site_add1(s, "where", in, 3, &out));
    out->dtype = x->dtype;
    return site_bind(s, "out", out);
}

// clang-format off
const struct op_row paddle_places[] = {
    { "index_put",     "scatter_nd",   import_index_put,       LOD_OWN },
    { "masked_fill",   "where",        import_masked_fill,     LOD_OWN },
    { "searchsorted",  "less",         import_search,          LOD_OWN },
    { "segment_pool",  "scatter_rows", import_segment_pool,    LOD_OWN },
    { "tril_indices",  "identity",     import_triangle_places, LOD_OWN },
    { "triu_indices",  "identity",     import_triangle_places, LOD_OWN },
    { "cross",         "roll",         import_cross,           LOD_OWN },
    { "copysign",      "where",        import_copysign,        LOD_OWN },
    { "is_empty",      "numel",        import_is_empty,        LOD_OWN },
    { "inverse",       "inverse",      import_square_matrix,   LOD_OWN },
    { "determinant",   "det",          import_square_matrix,   LOD_OWN },
    { "swiglu",        "swish",        import_swiglu,          LOD_OWN },
    { "fused_bias_residual_layernorm", "layer_norm", import_residual_norm, LOD_OWN },
    { "fused_rms_norm_quant", "rms_norm", import_residual_norm, LOD_OWN },
    { 0 },
};
// clang-format on
