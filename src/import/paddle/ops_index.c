/* What chooses elements by number or by rank. */
#include "graph/attrs_index.h"
#include "graph/attrs_move.h"
#include "import/paddle/site.h"

/* ---- gather and scatter ---- */

static status add_gather(struct site *s, struct value *x, struct value *index, int axis,
                         struct value **out)
{
    struct value *in[] = { x, index };
    TRY(site_add1(s, "gather", in, 2, out));
    ((struct gather_attrs *)node_attrs((*out)->producer))->axis = axis;
    return OK;
}

/* An index of [n, 1] means the same as one of [n]. */
static status flat_index(struct site *s, const char *slot, struct value **out)
{
    TRY(site_in(s, slot, out));
    if ((*out)->shape.rank == 2)
        TRY(site_reshape(s, *out, &(struct attr_ints){ 1, { -1 } }, out));
    return OK;
}

static status import_gather(struct site *s)
{
    struct value *x, *index, *out;
    TRY(site_in(s, "X", &x));
    TRY(flat_index(s, "Index", &index));
    TRY(site_refuse_in(s, "Axis"));
    TRY(add_gather(s, x, index, attr_i32(s, "axis", 0), &out));
    return site_bind(s, "Out", out);
}

static status import_index_select(struct site *s)
{
    struct value *x, *index, *out;
    TRY(site_in(s, "X", &x));
    TRY(flat_index(s, "Index", &index));
    TRY(add_gather(s, x, index, attr_i32(s, "dim", 0), &out));
    return site_bind(s, "Out", out);
}

static status import_gather_nd(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Index", &in[1]));
    TRY(site_add1(s, "gather_nd", in, 2, &out));
    return site_bind(s, "Out", out);
}

static status add_take_along(struct site *s, const char *x, const char *out_slot, int axis)
{
    struct value *in[2], *out;
    TRY(site_in(s, x, &in[0]));
    TRY(site_in(s, "Index", &in[1]));
    TRY(site_add1(s, "take_along", in, 2, &out));
    ((struct gather_attrs *)node_attrs(out->producer))->axis = axis;
    return site_bind(s, out_slot, out);
}

static status import_take_along_axis(struct site *s)
{
    return add_take_along(s, "Input", "Result", attr_i32(s, "Axis", 0));
}

/* Row by row: index [n, k] chooses k of each row of x [n, m]. */
static status import_index_sample(struct site *s)
{
    return add_take_along(s, "X", "Out", 1);
}

static status import_put_along_axis(struct site *s)
{
    static const char *const reduce[] = { "assign", "add", "mul", "amax", "amin", NULL };
    struct value *in[3], *out;
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "Index", &in[1]));
    TRY(site_in(s, "Value", &in[2]));
    if (!attr_bool(s, "Include_self", true))
        return site_fault(s, UNSUPPORTED, "Include_self false");
    struct scatter_attrs a = { .axis = attr_i32(s, "Axis", 0) };
    struct str how = attr_str(s, "Reduce", "assign");
    a.mode = str_is(how, "multiply") ? SCATTER_MUL : attr_enum(s, "Reduce", "assign", reduce);
    TRY(site_add1(s, "put_along", in, 3, &out));
    *(struct scatter_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Result", out);
}

static status import_scatter(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(flat_index(s, "Ids", &in[1]));
    TRY(site_in(s, "Updates", &in[2]));
    bool overwrite = attr_bool(s, "overwrite", true);
    TRY(site_add1(s, "scatter_rows", in, 3, &out));
    *(struct scatter_attrs *)node_attrs(out->producer) =
        (struct scatter_attrs){ .mode = overwrite ? SCATTER_SET : SCATTER_ADD,
                                .afresh = !overwrite };
    return site_bind(s, "Out", out);
}

static status import_scatter_nd_add(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Index", &in[1]));
    TRY(site_in(s, "Updates", &in[2]));
    TRY(site_add1(s, "scatter_nd", in, 3, &out));
    ((struct scatter_attrs *)node_attrs(out->producer))->mode = SCATTER_ADD;
    return site_bind(s, "Out", out);
}

static status import_where(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "Condition", &in[0]));
    TRY(site_in(s, "X", &in[1]));
    TRY(site_in(s, "Y", &in[2]));
    TRY(site_add1(s, "where", in, 3, &out));
    out->dtype = in[1]->dtype;
    return site_bind(s, "Out", out);
}

/* ---- one_hot ---- */

static status add_one_hot(struct site *s, struct value *ids)
{
    struct value *in[2] = { ids }, *out;
    TRY(site_in_optional(s, "depth_tensor", &in[1]));
    struct one_hot_attrs a = { .depth = attr_i32(s, "depth", -1),
                               .lenient = attr_bool(s, "allow_out_of_range", false) };
    dtype d = DTYPE_F32;
    if (!program_computed(attr_i32(s, "dtype", 5), &d))
        return site_fault(s, UNSUPPORTED, "dtype %d of VarType", attr_i32(s, "dtype", 5));
    a.dtype = d;
    TRY(site_add1(s, "one_hot", in, in[1] != NULL ? 2 : 1, &out));
    *(struct one_hot_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Out", out);
}

static status import_one_hot_v2(struct site *s)
{
    struct value *ids;
    TRY(site_in(s, "X", &ids));
    return add_one_hot(s, ids);
}

/* The first kind takes ids [..., 1]; the last dimension becomes the new one. */
static status import_one_hot(struct site *s)
{
    struct value *ids;
    TRY(site_in(s, "X", &ids));
    int rank = ids->shape.rank;
    if (rank < 1 || (ids->shape.dim[rank - 1] != 1 && ids->shape.dim[rank - 1] != -1))
        return site_fault(s, INVALID, "its input '%s' must be [..., 1]", ids->name);
    TRY(site_reshape(s, ids, &(struct attr_ints){ .count = rank - 1 }, &ids));
    return add_one_hot(s, ids);
}

/* ---- order ---- */

static status bind_top(struct site *s, struct node *n, const char *places)
{
    n->out[0]->dtype = n->in[0]->dtype;
    TRY(site_bind(s, "Out", n->out[0]));
    return site_bind(s, places, n->out[1]);
}

static status import_top_k(struct site *s)
{
    struct value *in[2];
    struct node *n;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in_optional(s, "K", &in[1]));
    struct top_k_attrs a = { .k = attr_i32(s, "k", 1),
                             .axis = attr_i32(s, "axis", -1),
                             .smallest = !attr_bool(s, "largest", true) };
    TRY(site_add(s, "top_k", in, in[1] != NULL ? 2 : 1, &n));
    *(struct top_k_attrs *)node_attrs(n) = a;
    return bind_top(s, n, "Indices");
}

static status import_argsort(struct site *s)
{
    struct value *x;
    struct node *n;
    TRY(site_in(s, "X", &x));
    struct top_k_attrs a = { .axis = attr_i32(s, "axis", -1),
                             .smallest = !attr_bool(s, "descending", false) };
    TRY(site_add(s, "argsort", &x, 1, &n));
    *(struct top_k_attrs *)node_attrs(n) = a;
    return bind_top(s, n, "Indices");
}

static status import_arg(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    dtype d = DTYPE_I64;
    int32_t code = attr_i32(s, "dtype", -1);
    if (code != -1 && !program_computed(code, &d))
        return site_fault(s, UNSUPPORTED, "dtype %d of VarType", code);
    struct arg_reduce_attrs a = { .axis = attr_i32(s, "axis", -1),
                                  .dtype = d,
                                  .smallest = str_is(s->op->type, "arg_min"),
                                  .keep_dims = attr_bool(s, "keepdims", false),
                                  .flatten = attr_bool(s, "flatten", false) };
    TRY(site_add1(s, "arg_reduce", &x, 1, &out));
    *(struct arg_reduce_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_index[] = {
    { "gather",          "gather",       import_gather,          LOD_OWN },
    { "index_select",    "gather",       import_index_select,    LOD_OWN },
    { "gather_nd",       "gather_nd",    import_gather_nd,       LOD_OWN },
    { "take_along_axis", "take_along",   import_take_along_axis, LOD_OWN },
    { "index_sample",    "take_along",   import_index_sample,    LOD_OWN },
    { "put_along_axis",  "put_along",    import_put_along_axis,  LOD_OWN },
    { "scatter",         "scatter_rows", import_scatter,         LOD_OWN },
    { "scatter_nd_add",  "scatter_nd",   import_scatter_nd_add,  LOD_OWN },
    { "where",           "where",        import_where,           LOD_OWN },
    { "one_hot",         "one_hot",      import_one_hot,         LOD_SHARE },
    { "one_hot_v2",      "one_hot",      import_one_hot_v2,      LOD_SHARE },
    { "top_k",           "top_k",        import_top_k,           LOD_SHARE },
    { "top_k_v2",        "top_k",        import_top_k,           LOD_SHARE },
    { "argsort",         "argsort",      import_argsort,         LOD_SHARE },
    { "arg_max",         "arg_reduce",   import_arg,             LOD_OWN },
    { "arg_min",         "arg_reduce",   import_arg,             LOD_OWN },
    { 0 },
};
// clang-format on
