/* Tensors from nothing but numbers and shapes, and the change of dtype. */
#include "graph/attrs_control.h"
#include "graph/ops.h"

#include <math.h>

static status want_valid_dtype(int32_t d, struct err *e)
{
    return dtype_valid(d) && d != DTYPE_BYTES ? OK : err_set(e, INVALID, "no dtype has code %d", d);
}

status shape_from_elements(const struct tensor *t, struct shape *out, struct err *e)
{
    int64_t n = shape_numel(&t->shape);
    if ((t->dtype != DTYPE_I64 && t->dtype != DTYPE_I32) || n < 0 || n > SHAPE_MAX)
        return err_set(e, INVALID, "a shape of %lld numbers of %s, expected at most %d integers",
                       (long long)n, dtype_name(t->dtype), SHAPE_MAX);
    *out = (struct shape){ .rank = (int32_t)n };
    for (int i = 0; i < out->rank; i++)
        out->dim[i] =
            t->dtype == DTYPE_I64 ? ((const int64_t *)t->data)[i] : ((const int32_t *)t->data)[i];
    return OK;
}

static status check_size(const struct shape *s, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    if (shape_numel(s) >= 0)
        return OK;
    return err_set(e, INVALID, "%s is no shape to fill", shape_text(s, text, sizeof(text)));
}

static status shape_from_ints(const struct attr_ints *v, struct shape *out, struct err *e)
{
    if (v->count > SHAPE_MAX)
        return err_set(e, INVALID, "a shape of %d dimensions, at most %d", v->count, SHAPE_MAX);
    *out = (struct shape){ .rank = v->count };
    for (int i = 0; i < v->count; i++)
        out->dim[i] = v->v[i];
    return OK;
}

static status infer_fill(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct fill_attrs *a = n->attrs;
    out[0] = (struct type){ .dtype = (dtype)a->dtype };
    TRY(want_valid_dtype(a->dtype, e));
    if (in[0].shape.rank >= 0)
        TRY(shape_from_elements(in[0].constant, &out[0].shape, e));
    else
        TRY(shape_from_ints(&a->shape, &out[0].shape, e));
    if (in[1].shape.rank >= 0 && (in[1].dtype != out[0].dtype || shape_numel(&in[1].shape) != 1))
        return err_set(e, INVALID, "expected one number of %s to fill with",
                       dtype_name(out[0].dtype));
    return check_size(&out[0].shape, e);
}

static status infer_fill_like(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    const struct fill_like_attrs *a = n->attrs;
    out[0] = (struct type){ .dtype = (dtype)a->dtype, .shape = in[0].shape };
    TRY(want_valid_dtype(a->dtype, e));
    if (a->shape.count == 0)
        return OK;
    TRY(shape_from_ints(&a->shape, &out[0].shape, e));
    if (a->from_dim < 0 || a->from_dim >= in[0].shape.rank || a->to_dim < 0 ||
        a->to_dim >= out[0].shape.rank)
        return err_set(e, INVALID, "dimension %d of its input and %d of its result do not exist",
                       a->from_dim, a->to_dim);
    out[0].shape.dim[a->to_dim] = in[0].shape.dim[a->from_dim];
    return check_size(&out[0].shape, e);
}

static status infer_shape(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    out[0] = (struct type){ (dtype)((const struct dtype_attrs *)n->attrs)->dtype,
                            SHAPE(in[0].shape.rank), NULL };
    if (out[0].dtype == DTYPE_I32 || out[0].dtype == DTYPE_I64)
        return OK;
    return err_set(e, INVALID, "a shape is int32 or int64, not %s", dtype_name(out[0].dtype));
}

static status infer_numel(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    out[0] = (struct type){ DTYPE_I64, { .rank = 0 }, NULL };
    return OK;
}

static status infer_cast(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    int32_t to = ((const struct dtype_attrs *)n->attrs)->dtype;
    TRY(want_valid_dtype(to, e));
    out[0] = (struct type){ (dtype)to, in[0].shape, NULL };
    return OK;
}

static bool is_half(int32_t d)
{
    return d == DTYPE_F16 || d == DTYPE_BF16;
}

static status infer_bit_cast(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    const struct bit_cast_attrs *a = n->attrs;
    TRY(want_valid_dtype(a->from, e));
    TRY(want_valid_dtype(a->to, e));
    TRY(want_dtype(&in[0], is_half(a->from) ? DTYPE_F32 : (dtype)a->from, "its input", e));
    if (dtype_size((dtype)a->from) != dtype_size((dtype)a->to))
        return err_set(e, INVALID, "the bytes of %s cannot be %s", dtype_name((dtype)a->from),
                       dtype_name((dtype)a->to));
    out[0] = (struct type){ is_half(a->to) ? DTYPE_F32 : (dtype)a->to, in[0].shape, NULL };
    return OK;
}

/* One element as a number; integers are exact below 2^53, and no range is longer. */
static status read_number(const struct type *t, const char *what, double *out, struct err *e)
{
    const void *p = t->constant->data;
    if (shape_numel(&t->shape) != 1)
        return err_set(e, INVALID, "its %s is not one number", what);
    switch (t->dtype) {
    case DTYPE_F32: *out = (double)*(const float *)p; return OK;
    case DTYPE_F64: *out = *(const double *)p; return OK;
    case DTYPE_I32: *out = *(const int32_t *)p; return OK;
    case DTYPE_I64: *out = (double)*(const int64_t *)p; return OK;
    default: return err_set(e, UNSUPPORTED, "its %s is %s", what, dtype_name(t->dtype));
    }
}

/* start, start + step, ... below (or, with a negative step, above) end. */
static status infer_range(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    double start, end, step;
    if (in[0].dtype != in[1].dtype || in[0].dtype != in[2].dtype)
        return err_set(e, INVALID, "its start, end and step are of different dtypes");
    TRY(read_number(&in[0], "start", &start, e));
    TRY(read_number(&in[1], "end", &end, e));
    TRY(read_number(&in[2], "step", &step, e));
    double count = ceil((end - start) / step);
    if (!(step != 0) || !(count < 0x1p53))
        return err_set(e, INVALID, "from %g to %g in steps of %g never ends", start, end, step);
    out[0] = (struct type){ in[0].dtype, SHAPE(count > 0 ? (int64_t)count : 0), NULL };
    return OK;
}

static const struct attr_field fill_fields[] = {
    FIELD(fill_attrs, shape, ATTR_I64S),
    FIELD(fill_attrs, dtype, ATTR_I32),
    { 0 },
};

static const struct attr_field fill_like_fields[] = {
    FIELD(fill_like_attrs, shape, ATTR_I64S),
    FIELD(fill_like_attrs, from_dim, ATTR_I32),
    FIELD(fill_like_attrs, to_dim, ATTR_I32),
    FIELD(fill_like_attrs, dtype, ATTR_I32),
    { 0 },
};

static const struct attr_field dtype_fields[] = {
    FIELD(dtype_attrs, dtype, ATTR_I32),
    { 0 },
};

static const struct attr_field bit_cast_fields[] = {
    FIELD(bit_cast_attrs, from, ATTR_I32),
    FIELD(bit_cast_attrs, to, ATTR_I32),
    { 0 },
};

// clang-format off
const struct op ops_fill[] = {
    { "fill",      0, 2, 1, OP_NEEDS(0),       fill_fields,      sizeof(struct fill_attrs),      infer_fill },
    { "fill_like", 1, 1, 1, OP_SHAPE_ONLY,     fill_like_fields, sizeof(struct fill_like_attrs), infer_fill_like },
    { "shape",     1, 1, 1, OP_SHAPE_ONLY,     dtype_fields,     sizeof(struct dtype_attrs),     infer_shape },
    { "numel",     1, 1, 1, OP_SHAPE_ONLY,     NULL,             0,                              infer_numel },
    { "cast",      1, 1, 1, OP_ELEMENTWISE | OP_INPLACE, dtype_fields, sizeof(struct dtype_attrs), infer_cast },
    { "bit_cast",  1, 1, 1, 0,                 bit_cast_fields,  sizeof(struct bit_cast_attrs),  infer_bit_cast },
    { "range",     3, 3, 1, OP_NEEDS(0) | OP_NEEDS(1) | OP_NEEDS(2), NULL, 0,                    infer_range },
    { 0 },
};
// clang-format on
