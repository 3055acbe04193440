/* What chooses by what elements are, and odd makers of tensors. */
#include "graph/attrs_choose.h"
#include "graph/attrs_control.h"
#include "import/paddle/site.h"

static status import_masked_select(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Mask", &in[1]));
    TRY(site_add1(s, "masked_select", in, 2, &out));
    out->shape = SHAPE(-1);
    return site_bind(s, "Y", out);
}

static status import_where_index(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "Condition", &x));
    TRY(site_add1(s, "nonzero", &x, 1, &out));
    out->dtype = DTYPE_I64;
    return site_bind(s, "Out", out);
}

/* ---- unique ---- */

/* An output of places, in the dtype that the operator asks for. */
static status bind_places(struct site *s, const char *slot, struct value *v, dtype to)
{
    struct value *out;
    if (site_out_count(s, slot) == 0)
        return OK;
    v->dtype = DTYPE_I64;
    v->shape = SHAPE(-1);
    TRY(site_add1(s, "cast", &v, 1, &out));
    ((struct dtype_attrs *)node_attrs(out->producer))->dtype = (int32_t)to;
    out->dtype = to;
    return site_bind(s, slot, out);
}

static status add_unique(struct site *s, struct unique_attrs a)
{
    struct value *x;
    struct node *n;
    dtype to = DTYPE_I64;
    TRY(site_in(s, "X", &x));
    if (attr_i64s(s, "axis").count > 0)
        return site_fault(s, UNSUPPORTED, "axis: only elements of the whole tensor are compared");
    if (!program_computed(attr_i32(s, "dtype", 3), &to))
        return site_fault(s, UNSUPPORTED, "dtype %d of VarType", attr_i32(s, "dtype", 3));
    TRY(site_add(s, "unique", &x, 1, &n));
    *(struct unique_attrs *)node_attrs(n) = a;
    n->out[0]->dtype = x->dtype;
    n->out[0]->shape = SHAPE(-1);
    TRY(site_bind(s, "Out", n->out[0]));
    TRY(bind_places(s, "Indices", n->out[1], to));
    TRY(bind_places(s, "Index", n->out[2], to));
    return bind_places(s, "Counts", n->out[3], to);
}

/* Without is_sorted, as 1.x wrote it, elements keep the order in which they appear. */
static status import_unique(struct site *s)
{
    return add_unique(s, (struct unique_attrs){ .unsorted = !attr_bool(s, "is_sorted", false) });
}

static status import_unique_consecutive(struct site *s)
{
    struct value *x;
    struct node *n;
    dtype to = DTYPE_I64;
    TRY(site_in(s, "X", &x));
    if (attr_i64s(s, "axis").count > 0)
        return site_fault(s, UNSUPPORTED, "axis: only elements of the whole tensor are compared");
    if (!program_computed(attr_i32(s, "dtype", 3), &to))
        return site_fault(s, UNSUPPORTED, "dtype %d of VarType", attr_i32(s, "dtype", 3));
    TRY(site_add(s, "unique", &x, 1, &n));
    ((struct unique_attrs *)node_attrs(n))->consecutive = true;
    n->out[0]->dtype = x->dtype;
    n->out[0]->shape = SHAPE(-1);
    TRY(site_bind(s, "Out", n->out[0]));
    TRY(bind_places(s, "Index", n->out[2], to));
    return bind_places(s, "Counts", n->out[3], to);
}

/* ---- makers ---- */

static status read_dtype(struct site *s, dtype *out)
{
    int32_t code = attr_i32(s, "dtype", 5);
    return program_computed(code, out) ? OK
                                       : site_fault(s, UNSUPPORTED, "dtype %d of VarType", code);
}

static status import_linspace(struct site *s)
{
    struct value *in[3], *out;
    dtype d = DTYPE_F32;
    TRY(site_in(s, "Start", &in[0]));
    TRY(site_in(s, "Stop", &in[1]));
    TRY(site_in(s, "Num", &in[2]));
    TRY(read_dtype(s, &d));
    TRY(site_add1(s, "linspace", in, 3, &out));
    ((struct linspace_attrs *)node_attrs(out->producer))->dtype = (int32_t)d;
    out->dtype = d;
    out->shape = SHAPE(-1);
    return site_bind(s, "Out", out);
}

/* eye: ones of a vector on the diagonal of a matrix, which is cut to its columns and rows. */
static status import_eye(struct site *s)
{
    int64_t rows = attr_i64(s, "num_rows", 0), columns = attr_i64(s, "num_columns", -1);
    struct value *ones, *square, *out;
    dtype d = DTYPE_F32;
    TRY(read_dtype(s, &d));
    if (columns < 0)
        columns = rows;
    int64_t size = rows > columns ? rows : columns;
    if (rows < 0 || size > INT32_MAX)
        return site_fault(s, INVALID, "%lld rows and %lld columns", (long long)rows,
                          (long long)columns);
    TRY(site_add1(s, "fill", NULL, 0, &ones));
    *(struct fill_attrs *)node_attrs(ones->producer) = (struct fill_attrs){
        .shape = { 1, { size } }, .dtype = (int32_t)d, .value = 1, .integer = 1
    };
    ones->dtype = d;
    ones->shape = SHAPE(size);
    TRY(site_add1(s, "diag", &ones, 1, &square));
    TRY(site_add1(s, "slice", &square, 1, &out));
    *(struct slice_attrs *)node_attrs(out->producer) =
        (struct slice_attrs){ .starts = { 2, { 0, 0 } }, .ends = { 2, { rows, columns } } };
    out->shape = SHAPE(rows, columns);
    return site_bind(s, "Out", out);
}

static status import_diag(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(
        s, s->row->lod == LOD_OWN && op_slot_in(s->op, "Diagonal") != NULL ? "Diagonal" : "X", &x));
    TRY(site_add1(s, "diag", &x, 1, &out));
    *(struct diag_attrs *)node_attrs(out->producer) =
        (struct diag_attrs){ .offset = attr_i32(s, "offset", 0),
                             .padding = (float)attr_f64(s, "padding_value", 0) };
    return site_bind(s, "Out", out);
}

/* ---- set_value ---- */

/* The attribute that bears the values: `values` in newer files, one of a name for each dtype in older ones. */
static const struct attr_desc *values_attr(const struct site *s)
{
    static const char *const names[] = { "values",       "fp32_values", "int32_values",
                                         "int64_values", "fp64_values", "bool_values" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct attr_desc *a = op_attr(s->op, names[i]);
        if (a != NULL && a->int_count + a->float_count > 0)
            return a;
    }
    return NULL;
}

static void put_number(dtype d, void *to, int i, double f, int64_t n)
{
    switch (d) {
    case DTYPE_F32: ((float *)to)[i] = (float)f; break;
    case DTYPE_F64: ((double *)to)[i] = f; break;
    case DTYPE_I32: ((int32_t *)to)[i] = (int32_t)n; break;
    case DTYPE_I64: ((int64_t *)to)[i] = n; break;
    default: ((uint8_t *)to)[i] = n != 0; break;
    }
}

/* They as a constant of x's dtype. */
static status values_constant(struct site *s, dtype d, struct value **out)
{
    const struct attr_desc *a = values_attr(s);
    struct attr_ints shape = attr_i64s(s, "shape");
    struct tensor t = { .dtype = d, .shape = { .rank = shape.count } };
    if (a == NULL)
        return site_fault(s, UNSUPPORTED, "neither an input ValueTensor nor values");
    for (int i = 0; i < shape.count && i < SHAPE_MAX; i++)
        t.shape.dim[i] = shape.v[i];
    int count = a->int_count + a->float_count;
    if (shape.count > SHAPE_MAX || shape_numel(&t.shape) != count ||
        (a->int_count > 0 && a->float_count > 0))
        return site_fault(s, INVALID, "%d values do not fill their shape", count);
    void *data = arena_try_array(&s->graph->arena, (size_t)count, 8);
    if (data == NULL || (dtype_size(d) != 8 && dtype_size(d) != 4 && d != DTYPE_BOOL))
        return site_fault(s, UNSUPPORTED, "%d values of %s", count, dtype_name(d));
    for (int i = 0; i < count; i++) {
        double f = a->float_count > 0 ? a->floats[i] : (double)a->ints[i];
        bool fits = f >= -9.2e18 && f <= 9.2e18;
        put_number(d, data, i, f, a->int_count > 0 ? a->ints[i] : fits ? (int64_t)f : 0);
    }
    t.data = data;
    return graph_add_constant(s->graph, NULL, &t, out, s->err);
}

/* v with `count` dimensions of 1 at these places of the result. */
static status insert_ones(struct site *s, struct value *v, const struct attr_ints *at,
                          struct value **out)
{
    *out = v;
    if (at->count == 0)
        return OK;
    TRY(site_add1(s, "unsqueeze", &v, 1, out));
    *(struct axes_attrs *)node_attrs((*out)->producer) =
        (struct axes_attrs){ .axes = *at, .together = true };
    (*out)->shape.rank = v->shape.rank + at->count;
    return OK;
}

/* The value is broadcast to the slice without the dimensions that it loses; those are 1 then. */
static status widen_value(struct site *s, struct value *v, int rank,
                          const struct attr_ints *decreased, struct value **out)
{
    struct attr_ints front = { .count = rank - decreased->count - v->shape.rank };
    *out = v;
    if (decreased->count == 0)
        return OK;
    if (front.count < 0)
        return site_fault(s, INVALID, "a value of %d dimensions for a slice of %d", v->shape.rank,
                          rank - decreased->count);
    for (int i = 0; i < front.count; i++)
        front.v[i] = i;
    TRY(insert_ones(s, v, &front, out));
    return insert_ones(s, *out, decreased, out);
}

static status import_set_value(struct site *s)
{
    struct value *in[6] = { NULL }, *out;
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in_optional(s, "ValueTensor", &in[1]));
    TRY(site_in_ints(s, NULL, "StartsTensorList", &in[2]));
    TRY(site_in_ints(s, NULL, "EndsTensorList", &in[3]));
    TRY(site_in_ints(s, NULL, "StepsTensorList", &in[5]));
    struct attr_ints decreased = attr_i64s(s, "decrease_axes");
    if (attr_i64s(s, "none_axes").count > 0)
        return site_fault(s, UNSUPPORTED, "none_axes");
    if (in[1] == NULL)
        TRY(values_constant(s, in[0]->dtype, &in[1]));
    TRY(widen_value(s, in[1], in[0]->shape.rank, &decreased, &in[1]));
    struct slice_attrs a = { .axes = attr_i64s(s, "axes"),
                             .starts = attr_i64s(s, "starts"),
                             .ends = attr_i64s(s, "ends"),
                             .steps = attr_i64s(s, "steps") };
    TRY(site_add1(s, "put_slice", in,
                  in[5] != NULL   ? 6
                  : in[3] != NULL ? 4
                  : in[2] != NULL ? 3
                                  : 2,
                  &out));
    *(struct slice_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Out", out);
}

/* ---- the rest ---- */

static status import_repeat_interleave(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in_optional(s, "RepeatsTensor", &in[1]));
    TRY(site_add1(s, "repeat", in, in[1] != NULL ? 2 : 1, &out));
    *(struct repeat_attrs *)node_attrs(out->producer) =
        (struct repeat_attrs){ .times = attr_i64(s, "Repeats", 1), .axis = attr_i32(s, "dim", 0) };
    return site_bind(s, "Out", out);
}

static status import_shard_index(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "shard_index", &x, 1, &out));
    *(struct shard_attrs *)node_attrs(out->producer) =
        (struct shard_attrs){ .count = attr_i64(s, "index_num", 0),
                              .shards = attr_i64(s, "nshards", 1),
                              .shard = attr_i64(s, "shard_id", 0),
                              .other = attr_i64(s, "ignore_value", -1) };
    return site_bind(s, "Out", out);
}

static status import_multiplex(struct site *s)
{
    struct value **x, *out;
    int count;
    TRY(site_ins(s, "X", &x, &count));
    struct value **in = arena_zalloc(s->scratch, ((size_t)count + 1) * sizeof(*in));
    for (int i = 0; i < count; i++)
        in[i + 1] = x[i];
    TRY(site_in(s, "Ids", &in[0]));
    TRY(site_add1(s, "multiplex", in, count + 1, &out));
    out->dtype = x[0]->dtype;
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_choose[] = {
    { "masked_select",      "masked_select", import_masked_select,      LOD_OWN },
    { "where_index",        "nonzero",       import_where_index,        LOD_OWN },
    { "unique",             "unique",        import_unique,             LOD_OWN },
    { "unique_consecutive", "unique",        import_unique_consecutive, LOD_OWN },
    { "linspace",           "linspace",      import_linspace,           LOD_OWN },
    { "eye",                "diag",          import_eye,                LOD_OWN },
    { "diag",               "diag",          import_diag,               LOD_OWN },
    { "diag_v2",            "diag",          import_diag,               LOD_OWN },
    { "set_value",          "put_slice",     import_set_value,          LOD_OWN },
    { "repeat_interleave",  "repeat",        import_repeat_interleave,  LOD_OWN },
    { "shard_index",        "shard_index",   import_shard_index,        LOD_SHARE },
    { "multiplex",          "multiplex",     import_multiplex,          LOD_OWN },
    { 0 },
};
// clang-format on
