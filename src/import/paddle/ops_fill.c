/* Tensors from nothing but numbers and shapes, the change of dtype, and counting. */
#include "graph/attrs_control.h"
#include "import/paddle/site.h"

#include <math.h>
#include <string.h>

/* ---- numbers ---- */

/* VarType.Type in an attribute to the dtype that it is computed in. */
static status read_dtype(struct site *s, const char *name, dtype otherwise, dtype *out)
{
    int32_t code = attr_i32(s, name, -1);
    *out = otherwise;
    if (code == -1 || program_computed(code, out))
        return OK;
    return site_fault(s, UNSUPPORTED, "attribute '%s' is type %d of VarType", name, code);
}

/* The number to fill with: text where there is some, since a float does not hold every integer. */
static status read_value(struct site *s, double *value, int64_t *integer)
{
    struct str text = attr_str(s, "str_value", "");
    *value = attr_f64(s, "value", 0);
    if (text.n > 0 && !str_to_double(text, value)) {
        if (!str_is(text, "inf") && !str_is(text, "-inf") && !str_is(text, "nan"))
            return site_fault(s, INVALID, "attribute 'str_value': '%.*s' is no number",
                              STR_ARG(text));
        *value = str_is(text, "nan") ? (double)NAN : str_is(text, "inf") ? HUGE_VAL : -HUGE_VAL;
    }
    if (text.n == 0 || !str_to_i64(text, integer))
        *integer = f64_to_i64(*value);
    return OK;
}

/* ---- fill_constant and its like ---- */

static status import_fill_constant(struct site *s)
{
    struct value *shape, *value, *out;
    struct fill_attrs a = { .shape = attr_i64s(s, "shape") };
    dtype d;
    TRY(site_in_ints(s, "ShapeTensor", "ShapeTensorList", &shape));
    TRY(site_in_optional(s, "ValueTensor", &value));
    TRY(read_dtype(s, "dtype", DTYPE_F32, &d));
    TRY(read_value(s, &a.value, &a.integer));
    a.dtype = d;
    struct value *in[] = { shape, value };
    TRY(site_add1(s, "fill", in, value != NULL ? 2 : shape != NULL ? 1 : 0, &out));
    *(struct fill_attrs *)node_attrs(out->producer) = a;
    out->dtype = d;
    return site_bind(s, "Out", out);
}

static status add_fill_like(struct site *s, struct value *x, const struct fill_like_attrs *a)
{
    struct value *out;
    TRY(site_add1(s, "fill_like", &x, 1, &out));
    *(struct fill_like_attrs *)node_attrs(out->producer) = *a;
    out->dtype = (dtype)a->dtype;
    return site_bind(s, "Out", out);
}

static status import_fill_batch(struct site *s)
{
    struct value *x;
    dtype d;
    TRY(site_in(s, "Input", &x));
    struct fill_like_attrs a = { .shape = attr_i64s(s, "shape"),
                                 .from_dim = attr_i32(s, "input_dim_idx", 0),
                                 .to_dim = attr_i32(s, "output_dim_idx", 0) };
    TRY(read_dtype(s, "dtype", DTYPE_F32, &d));
    TRY(read_value(s, &a.value, &a.integer));
    a.dtype = d;
    if (x->lod_levels > 0 && a.from_dim == 0)
        return site_fault(s, UNSUPPORTED, "its input '%s' has LoD: the number of sequences",
                          x->name);
    return add_fill_like(s, x, &a);
}

static status import_fill_any(struct site *s)
{
    struct value *x;
    struct fill_like_attrs a = { .to_dim = 0 };
    dtype d;
    TRY(site_in(s, "X", &x));
    TRY(read_dtype(s, "dtype", x->dtype, &d));
    TRY(read_value(s, &a.value, &a.integer));
    a.dtype = d;
    return add_fill_like(s, x, &a);
}

/* ---- assign_value ---- */

/* The list that holds the values: `values` in newer files, one of a name for each dtype in older ones. */
static const char *values_name(const struct site *s, dtype d)
{
    static const char *const name[] = {
        [DTYPE_F32] = "fp32_values",  [DTYPE_F64] = "fp64_values",  [DTYPE_I32] = "int32_values",
        [DTYPE_I64] = "int64_values", [DTYPE_BOOL] = "bool_values",
    };
    if (op_attr(s->op, "values") != NULL)
        return "values";
    return d < ARRAY_LEN(name) ? name[d] : NULL;
}

static void put_value(dtype d, const struct attr_desc *a, int i, void *to)
{
    bool is_int = a->ints != NULL;
    double f = is_int ? (double)a->ints[i] : a->floats[i];
    int64_t n = is_int ? a->ints[i] : f64_to_i64(f);
    float narrow = (float)f;
    switch (d) {
    case DTYPE_F32: memcpy((float *)to + i, &narrow, sizeof(narrow)); break;
    case DTYPE_F64: memcpy((double *)to + i, &f, sizeof(f)); break;
    case DTYPE_I32: ((int32_t *)to)[i] = (int32_t)n; break;
    case DTYPE_I64: ((int64_t *)to)[i] = n; break;
    default: ((uint8_t *)to)[i] = n != 0; break;
    }
}

static status read_values(struct site *s, dtype d, struct tensor *t)
{
    const char *name = values_name(s, d);
    const struct attr_desc *a = name != NULL ? op_attr(s->op, name) : NULL;
    int64_t n = shape_numel(&t->shape);
    int count = a == NULL ? 0 : a->int_count > 0 ? a->int_count : a->float_count;
    if ((a == NULL && n != 0) || n != count)
        return site_fault(s, INVALID, "its shape wants %lld values of %s, it has %d", (long long)n,
                          dtype_name(d), count);
    void *data = arena_try_array(&s->graph->arena, (size_t)n + 1, dtype_size(d));
    if (data == NULL)
        return site_fault(s, NO_MEMORY, "no memory for %d values", count);
    for (int i = 0; i < count; i++)
        put_value(d, a, i, data);
    t->data = data;
    return OK;
}

static status import_assign_value(struct site *s)
{
    struct attr_ints shape = attr_i64s(s, "shape");
    struct value *value, *out;
    struct tensor t = { .shape = { .rank = shape.count } };
    if (shape.count > SHAPE_MAX)
        return site_fault(s, UNSUPPORTED, "a shape of %d dimensions", shape.count);
    for (int i = 0; i < shape.count; i++)
        t.shape.dim[i] = shape.v[i];
    TRY(read_dtype(s, "dtype", DTYPE_F32, &t.dtype));
    TRY(read_values(s, t.dtype, &t));
    TRY(graph_add_constant(s->graph, NULL, &t, &value, s->err));
    TRY(site_add1(s, "identity", &value, 1, &out)); /* a variable may be written again */
    return site_bind(s, "Out", out);
}

/* ---- the rest ---- */

static status import_assign(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "identity", &x, 1, &out));
    return site_bind(s, "Out", out);
}

static status import_cast(struct site *s)
{
    struct value *x, *out;
    dtype d;
    TRY(site_in(s, "X", &x));
    TRY(read_dtype(s, "out_dtype", x->dtype, &d));
    TRY(site_add1(s, "cast", &x, 1, &out));
    ((struct dtype_attrs *)node_attrs(out->producer))->dtype = d;
    out->dtype = d;
    return site_bind(s, "Out", out);
}

static status import_shape(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "Input", &x));
    TRY(site_add1(s, "shape", &x, 1, &out));
    const struct var_desc *d = site_declared(s, "Out");
    dtype to = d != NULL && d->data_type == 3 ? DTYPE_I64 : DTYPE_I32; /* VarType: INT64 */
    ((struct dtype_attrs *)node_attrs(out->producer))->dtype = to;
    out->dtype = to;
    out->shape = SHAPE(x->shape.rank);
    return site_bind(s, "Out", out);
}

static status import_size(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "Input", &x));
    TRY(site_add1(s, "numel", &x, 1, &out));
    out->dtype = DTYPE_I64;
    out->shape = (struct shape){ .rank = 0 };
    return site_bind_one(s, "Out", out);
}

static status import_range(struct site *s)
{
    struct value *in[3], *out;
    dtype d;
    TRY(site_in(s, "Start", &in[0]));
    TRY(site_in(s, "End", &in[1]));
    TRY(site_in(s, "Step", &in[2]));
    TRY(read_dtype(s, "dtype", in[0]->dtype, &d)); /* newer files have numbers of another dtype */
    for (int i = 0; i < 3; i++)
        TRY(site_cast(s, in[i], d, &in[i]));
    TRY(site_add1(s, "range", in, 3, &out));
    out->shape = SHAPE(-1);
    return site_bind(s, "Out", out);
}

static status import_increment(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_number(s, in[0]->dtype, in[0]->shape.rank > 0 ? 1 : 0, attr_f64(s, "step", 1),
                    &in[1]));
    TRY(site_add1(s, "add", in, 2, &out));
    return site_bind(s, "Out", out);
}

/* Which of the variables X is Out, by the number in Mask. */
static status import_select_input(struct site *s)
{
    struct value **x, *out;
    int count;
    TRY(site_ins(s, "X", &x, &count));
    struct value **in = arena_zalloc(s->scratch, ((size_t)count + 1) * sizeof(*in));
    memcpy(in + 1, x, (size_t)count * sizeof(*in));
    TRY(site_in(s, "Mask", &in[0]));
    TRY(site_add1(s, "select", in, count + 1, &out));
    out->dtype = x[0]->dtype;
    out->shape = x[0]->shape;
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_fill[] = {
    { "fill_constant",                 "fill",      import_fill_constant, LOD_OWN },
    { "fill_constant_batch_size_like", "fill_like", import_fill_batch,    LOD_OWN },
    { "fill_any_like",                 "fill_like", import_fill_any,      LOD_SHARE },
    { "fill_zeros_like",               "fill_like", import_fill_any,      LOD_SHARE },
    { "fill_zeros_like2",              "fill_like", import_fill_any,      LOD_SHARE },
    { "assign_value",                  "identity",  import_assign_value,  LOD_OWN },
    { "assign",                        "identity",  import_assign,        LOD_SHARE },
    { "cast",                          "cast",      import_cast,          LOD_SHARE },
    { "shape",                         "shape",     import_shape,         LOD_OWN },
    { "size",                          "numel",     import_size,          LOD_OWN },
    { "range",                         "range",     import_range,         LOD_OWN },
    { "increment",                     "add",       import_increment,     LOD_SHARE },
    { "select_input",                  "select",    import_select_input,  LOD_OWN },
    { 0 },
};
// clang-format on
