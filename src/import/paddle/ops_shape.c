/* What moves elements and computes nothing: reshape, flatten, concat, look-ups. */
#include "import/paddle/site.h"

static bool rest_is_equal(const struct shape *a, const struct shape *b)
{
    struct shape x = { 0 }, y = { 0 };
    for (int i = 1; i < a->rank; i++)
        x.dim[x.rank++] = a->dim[i];
    for (int i = 1; i < b->rank; i++)
        y.dim[y.rank++] = b->dim[i];
    return shape_numel(&x) >= 0 && shape_numel(&x) == shape_numel(&y);
}

/* Sequences survive a change of shape that leaves the rows as they are. */
static status bind_reshaped(struct site *s, const struct value *x, bool keeps_rows, struct value *v)
{
    TRY(site_bind(s, "Out", v));
    if (keeps_rows)
        site_share_lod(v, x, x->lod_levels);
    return OK;
}

/* The shape is computed; how many dimensions it has, the program declares of the output. */
static status reshape_to(struct site *s, struct value *x, struct value *shape)
{
    struct value *out;
    TRY(site_add1(s, "reshape", (struct value *[]){ x, shape }, 2, &out));
    return bind_reshaped(s, x, false, out);
}

static status import_reshape(struct site *s)
{
    struct value *x, *shape, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in_ints(s, "Shape", "ShapeTensor", &shape));
    if (shape != NULL)
        return reshape_to(s, x, shape);
    struct attr_ints to = attr_i64s(s, "shape");
    if (to.count == 0 && op_attr(s->op, "shape") == NULL)
        return site_fault(s, INVALID, "attribute 'shape' is missing");
    TRY(site_add_reshape(s, x, &to, &out));
    bool keeps_rows =
        to.count > 0 && (to.v[0] == 0 || (to.v[0] == -1 && rest_is_equal(&x->shape, &out->shape)));
    return bind_reshaped(s, x, keeps_rows, out);
}

static status add_flatten(struct site *s, struct value *x, int start, int stop, struct value **out)
{
    TRY(site_add1(s, "flatten", &x, 1, out));
    *(struct flatten_attrs *)node_attrs((*out)->producer) = (struct flatten_attrs){ start, stop };
    return OK;
}

static status import_flatten_range(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    int start = attr_i32(s, "start_axis", 1), stop = attr_i32(s, "stop_axis", 1);
    TRY(add_flatten(s, x, start, stop, &out));
    return bind_reshaped(s, x, shape_axis(&x->shape, start) > 0, out);
}

/* To a matrix: the first `axis` dimensions are the rows. */
static status import_flatten(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    int axis = attr_i32(s, "axis", 1), rank = x->shape.rank;
    if (axis < 0 || axis > rank || rank == 0)
        return site_fault(s, INVALID, "axis %d does not fit an input of %d dimensions", axis, rank);
    if (axis == 1) {
        TRY(add_flatten(s, x, 1, -1, &out));
    } else if (axis == 0) {
        TRY(site_add_reshape(s, x, &(struct attr_ints){ 2, { 1, -1 } }, &out));
    } else if (axis == rank) {
        TRY(site_add_reshape(s, x, &(struct attr_ints){ 2, { -1, 1 } }, &out));
    } else {
        TRY(add_flatten(s, x, axis, -1, &out));
        TRY(add_flatten(s, out, 0, axis - 1, &out));
    }
    return bind_reshaped(s, x, axis == 1, out);
}

static status import_concat(struct site *s)
{
    struct value **in, *out;
    int count;
    TRY(site_ins(s, "X", &in, &count));
    TRY(site_refuse_in(s, "AxisTensor"));
    int axis = attr_i32(s, "axis", 0);
    if (s->ragged != NULL && shape_axis(&in[0]->shape, axis) == 0)
        return site_fault(s, UNSUPPORTED,
                          "it joins the rows of sequences ('%s' has LoD); only axis 1 and up are "
                          "supported there",
                          s->ragged->name);
    TRY(site_add1(s, "concat", in, count, &out));
    ((struct axis_attrs *)node_attrs(out->producer))->axis = axis;
    return site_bind(s, "Out", out);
}

/* ---- look-ups ---- */

/* padding_idx: -1 says that no row is; other negative numbers count from the table's end. */
static void read_padding(struct site *s, const struct value *table, struct embedding_attrs *a)
{
    int64_t id = attr_i64(s, "padding_idx", -1);
    a->has_padding = id != -1;
    a->padding_id = id < -1 && table->shape.rank > 0 ? id + table->shape.dim[0] : id;
}

static status add_lookup(struct site *s, struct value *ids, struct value *table)
{
    struct value *in[] = { ids, table }, *out;
    TRY(site_add1(s, "embedding", in, 2, &out));
    out->dtype = table->dtype;
    read_padding(s, table, node_attrs(out->producer));
    return site_bind(s, "Out", out);
}

/* The first kind takes ids [..., 1]; the last dimension goes away. */
static status import_lookup_table(struct site *s)
{
    struct value *ids, *table;
    TRY(site_in(s, "Ids", &ids));
    TRY(site_in(s, "W", &table));
    int rank = ids->shape.rank;
    if (rank < 2 || (ids->shape.dim[rank - 1] != 1 && ids->shape.dim[rank - 1] != -1))
        return site_fault(s, INVALID, "its input '%s' must be [..., 1]", ids->name);
    TRY(site_reshape(s, ids, &(struct attr_ints){ .count = rank - 1 }, &ids));
    return add_lookup(s, ids, table);
}

static status import_lookup_table_v2(struct site *s)
{
    struct value *ids, *table;
    TRY(site_in(s, "Ids", &ids));
    TRY(site_in(s, "W", &table));
    return add_lookup(s, ids, table);
}

// clang-format off
const struct op_row paddle_shape[] = {
    { "reshape",                  "reshape",   import_reshape,         LOD_OWN },
    { "reshape2",                 "reshape",   import_reshape,         LOD_OWN },
    { "flatten",                  "flatten",   import_flatten,         LOD_OWN },
    { "flatten2",                 "flatten",   import_flatten,         LOD_OWN },
    { "flatten_contiguous_range", "flatten",   import_flatten_range,   LOD_OWN },
    { "concat",                   "concat",    import_concat,          LOD_SHARE },
    { "lookup_table",             "embedding", import_lookup_table,    LOD_SHARE },
    { "lookup_table_v2",          "embedding", import_lookup_table_v2, LOD_SHARE },
    { 0 },
};
// clang-format on
