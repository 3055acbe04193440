/* Paddle's quantised forms. */
#include "graph/attrs_quant.h"
#include "graph/ops.h"

static status check_scale(const struct type *in, bool per_axis, int32_t axis, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = &in[0].shape;
    TRY(want_dtype(&in[1], DTYPE_F32, "its scale", e));
    int at = per_axis ? shape_axis(x, axis) : 0;
    if (at < 0)
        return err_set(e, INVALID, "axis %d does not fit %d dimensions", axis, x->rank);
    int64_t want = per_axis ? x->dim[at] : 1;
    if (shape_numel(&in[1].shape) == want)
        return OK;
    return err_set(e, INVALID, "%lld scales expected, got %s", (long long)want,
                   shape_text(&in[1].shape, text, sizeof(text)));
}

static status infer_quant(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    const struct fake_quant_attrs *a = n->attrs;
    TRY(want_dtype(&in[0], DTYPE_F32, "its input", e));
    TRY(check_scale(in, a->per_axis, a->axis, e));
    if (a->bits < 2 || a->bits > 16)
        return err_set(e, INVALID, "%d bits", a->bits);
    return infer_same(n, in, out, e);
}

static status infer_dequant(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct fake_dequant_attrs *a = n->attrs;
    if (in[0].dtype != DTYPE_I8)
        TRY(want_dtype(&in[0], DTYPE_F32, "its input", e));
    TRY(check_scale(in, a->per_axis, a->axis, e));
    if (n->in_count > 2 && n->in[2] != NULL) {
        TRY(want_dtype(&in[2], DTYPE_F32, "its second scale", e));
        if (shape_numel(&in[2].shape) != 1)
            return err_set(e, INVALID, "a second scale of one element expected");
    }
    if (!(a->range > 0))
        return err_set(e, INVALID, "a range of %g", (double)a->range);
    out[0] = (struct type){ DTYPE_F32, in[0].shape, NULL };
    return OK;
}

/* Scale and zero point, in inputs 1 and 2: one each, or as many as dimension axis has. */
static status check_steps(const struct node *n, const struct type *in, dtype zero, struct err *e)
{
    int axis = shape_axis(&in[0].shape, ((const struct quant_attrs *)n->attrs)->axis);
    int64_t count = shape_numel(&in[1].shape);
    TRY(want_dtype(&in[1], DTYPE_F32, "its scale", e));
    if (count != 1 && (axis < 0 || count != in[0].shape.dim[axis]))
        return err_set(e, INVALID, "%lld scales do not fit the axis", (long long)count);
    if (n->in_count < 3 || n->in[2] == NULL)
        return OK;
    TRY(want_dtype(&in[2], zero, "its zero point", e));
    return shape_numel(&in[2].shape) == count
               ? OK
               : err_set(e, INVALID, "%lld scales and %lld zero points", (long long)count,
                         (long long)shape_numel(&in[2].shape));
}

static status infer_quantize(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    const struct quant_attrs *a = n->attrs;
    dtype to = a->to == RESULT_I8 ? DTYPE_I8 : DTYPE_U8;
    TRY(want_dtype(&in[0], DTYPE_F32, "its input", e));
    if (a->to == RESULT_F32)
        return err_set(e, INVALID, "it makes int8 or uint8");
    TRY(check_steps(n, in, to, e));
    out[0] = (struct type){ to, in[0].shape, NULL };
    return OK;
}

static status infer_dequantize(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    if (!is_integer8(in[0].dtype))
        return err_set(e, INVALID, "int8 or uint8 expected, got %s", dtype_name(in[0].dtype));
    TRY(check_steps(n, in, in[0].dtype, e));
    out[0] = (struct type){ DTYPE_F32, in[0].shape, NULL };
    return OK;
}

// clang-format off
static const struct attr_field step_fields[] = {
    FIELD(quant_attrs, axis, ATTR_I32), FIELD_ENUM(quant_attrs, to, result_names),
    FIELD(quant_attrs, multiply, ATTR_BOOL), FIELD(quant_attrs, away, ATTR_BOOL),
    { 0 },
};
static const struct attr_field quant_fields[] = {
    FIELD(fake_quant_attrs, axis, ATTR_I32), FIELD(fake_quant_attrs, bits, ATTR_I32),
    FIELD(fake_quant_attrs, per_axis, ATTR_BOOL), FIELD(fake_quant_attrs, away, ATTR_BOOL),
    FIELD(fake_quant_attrs, back, ATTR_BOOL), { 0 },
};
static const struct attr_field dequant_fields[] = {
    FIELD(fake_dequant_attrs, axis, ATTR_I32), FIELD(fake_dequant_attrs, range, ATTR_F32),
    FIELD(fake_dequant_attrs, per_axis, ATTR_BOOL), { 0 },
};

const struct op ops_quant[] = {
    { "fake_quant",   2, 2, 1, OP_INPLACE, quant_fields,   sizeof(struct fake_quant_attrs),   infer_quant },
    { "fake_dequant", 2, 3, 1, 0,          dequant_fields, sizeof(struct fake_dequant_attrs), infer_dequant },
    { "quantize",     2, 3, 1, 0,          step_fields,    sizeof(struct quant_attrs),        infer_quantize },
    { "dequantize",   2, 3, 1, 0,          step_fields,    sizeof(struct quant_attrs),        infer_dequantize },
    { 0 },
};
// clang-format on
