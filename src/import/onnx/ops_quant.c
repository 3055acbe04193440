/* Integers that stand for numbers: y = round(x / scale) + zero, kept within the integer's range. */
#include "graph/attrs_image.h"
#include "graph/attrs_quant.h"
#include "graph/attrs_reduce.h"
#include "import/onnx/build.h"
#include "import/onnx/narrow.h"
#include "import/onnx/scaling.h"

#include <math.h>
#include <string.h>

struct range {
    dtype dtype;
    double low, high;
};

static const struct range ranges[] = {
    { DTYPE_U8, 0, 255 },
    { DTYPE_I8, -128, 127 },
    { DTYPE_U16, 0, 65535 },
    { DTYPE_I16, -32768, 32767 },
};

static status range_of(struct onnx_site *s, dtype d, const struct range **out)
{
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        *out = &ranges[i];
        if (ranges[i].dtype == d)
            return OK;
    }
    return onnx_fault(s, UNSUPPORTED, "numbers quantised to %s", dtype_name(d));
}

/* Scales of an axis, [n], are laid along it: [n, 1, 1]. */
static status along(struct onnx_site *s, struct value *v, const struct value *x, int64_t axis,
                    struct value **out)
{
    *out = v;
    int at = declared_axis(x, axis);
    if (v == NULL || v->shape.rank == 0 || (v->shape.rank == 1 && v->shape.dim[0] == 1))
        return OK;
    if (v->shape.rank != 1 || at < 0)
        return onnx_fault(s, UNSUPPORTED,
                          "scales of %d dimensions, or an axis of an input of no known number of "
                          "dimensions",
                          v->shape.rank);
    struct attr_ints ones = { 0 };
    for (int i = at + 1; i < x->shape.rank; i++)
        ones.v[ones.count++] = i - at;
    return ones.count > 0 ? build_unsqueeze(s, v, &ones, out) : OK;
}

status scaling_read(struct onnx_site *s, int scale, int zero, const struct value *x, int64_t axis,
                    struct scaling *out)
{
    TRY(onnx_in(s, scale, &out->scale));
    TRY(onnx_in_optional(s, zero, &out->zero));
    TRY(along(s, out->scale, x, axis, &out->scale));
    return along(s, out->zero, x, axis, &out->zero);
}

status scaling_undo(struct onnx_site *s, struct value *x, const struct scaling *by,
                    struct value **out)
{
    struct value *zero;
    TRY(build_cast(s, x, DTYPE_F32, out));
    if (by->zero != NULL) {
        TRY(build_cast(s, by->zero, DTYPE_F32, &zero));
        TRY(build2(s, "sub", *out, zero, out));
    }
    return by->scale != NULL ? build2(s, "mul", *out, by->scale, out) : OK;
}

status scaling_apply(struct onnx_site *s, struct value *x, const struct scaling *by, dtype to,
                     struct value **out)
{
    const struct range *range;
    struct value *zero, *cut;
    TRY(range_of(s, to, &range));
    TRY(build2(s, "div", x, by->scale, out));
    TRY(build1(s, "round_even", *out, out));
    if (by->zero != NULL) {
        TRY(build_cast(s, by->zero, DTYPE_F32, &zero));
        TRY(build2(s, "add", *out, zero, out));
    }
    TRY(build1(s, "clip", *out, &cut));
    *(struct curve_attrs *)node_attrs(cut->producer) =
        (struct curve_attrs){ (float)range->low, (float)range->high, 0 };
    return build_cast(s, cut, to, out);
}

/* Int8 and uint8 by one scale, or by one for each element of an axis: an operator of its own, which kernels of integers
 * know. *out NULL: it is not of this kind. */
static status by_steps(struct onnx_site *s, const char *op, struct value *x, dtype integers,
                       int64_t axis, struct value **out)
{
    struct value *in[3] = { x };
    *out = NULL;
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_in_optional(s, 2, &in[2]));
    bool narrow = integers == DTYPE_I8 || integers == DTYPE_U8;
    bool blocks = onnx_i64(s, "block_size", 0) != 0;
    if (!narrow || blocks || in[1]->dtype != DTYPE_F32 || in[1]->shape.rank > 1 ||
        in[1]->shape.rank < 0)
        return OK;
    TRY(onnx_add1(s, op, in, in[2] != NULL ? 3 : 2, out));
    struct quant_attrs *a = node_attrs((*out)->producer);
    a->axis = (int32_t)axis;
    if (strcmp(op, "quantize") == 0)
        a->to = integers == DTYPE_I8 ? RESULT_I8 : RESULT_U8;
    (*out)->shape = x->shape;
    (*out)->dtype = a->to == RESULT_F32 ? DTYPE_F32 : integers;
    return OK;
}

/* To a type below a byte: integers are kept within its range, floats are rounded by their own rule. */
static status quantize_narrow(struct onnx_site *s, struct value *x, const struct scaling *by,
                              const struct onnx_narrow *to, struct value **out)
{
    struct value *zero;
    TRY(build2(s, "div", x, by->scale, out));
    if (!to->is_float)
        TRY(build1(s, "round_even", *out, out));
    if (by->zero != NULL) {
        TRY(build_cast(s, by->zero, DTYPE_F32, &zero));
        TRY(build2(s, "add", *out, zero, out));
    }
    if (!to->is_float) {
        TRY(build1(s, "clip", *out, out));
        *(struct curve_attrs *)node_attrs((*out)->producer) =
            (struct curve_attrs){ (float)to->low, (float)to->high, 0 };
    }
    return onnx_to_narrow(s, *out, to, out);
}

/* Scales of blocks: each serves block_size neighbours along axis. */
static status spread_blocks(struct onnx_site *s, struct value *x, struct value **v)
{
    struct value *place, *size;
    int64_t block = onnx_i64(s, "block_size", 0);
    int axis = declared_axis(x, onnx_i64(s, "axis", 1));
    if (*v == NULL)
        return OK;
    if (axis < 0 || block < 1)
        return onnx_fault(s, INVALID, "blocks of %lld along axis %lld", (long long)block,
                          (long long)onnx_i64(s, "axis", 1));
    TRY(build_places(s, x, axis, &place));
    TRY(onnx_add_ints(s, &(struct attr_ints){ 1, { block } }, &size));
    TRY(build2(s, "floordiv", place, size, &place));
    TRY(build_gather(s, *v, place, axis, v));
    (*v)->shape = x->shape;
    return OK;
}

static status read_operand_scaling(struct onnx_site *s, struct value *x, struct scaling *by)
{
    if (onnx_i64(s, "block_size", 0) == 0)
        return scaling_read(s, 1, 2, x, onnx_i64(s, "axis", 1), by);
    TRY(onnx_in(s, 1, &by->scale));
    TRY(onnx_in_optional(s, 2, &by->zero));
    TRY(spread_blocks(s, x, &by->scale));
    return spread_blocks(s, x, &by->zero);
}

static status import_quantize(struct onnx_site *s)
{
    struct value *x, *out;
    struct scaling by;
    dtype to;
    struct value *zero;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in_optional(s, 2, &zero));
    const struct onnx_narrow *narrow = onnx_narrow_find(onnx_i32(s, "output_dtype", 0));
    if (narrow == NULL && zero != NULL)
        narrow = onnx_marked(s->import, zero);
    if (narrow != NULL) {
        TRY(read_operand_scaling(s, x, &by));
        TRY(quantize_narrow(s, x, &by, narrow, &out));
        return onnx_bind(s, 0, out);
    }
    to = zero != NULL ? zero->dtype : DTYPE_U8;
    out = NULL;
    if (onnx_i64(s, "output_dtype", 0) == 0 && x->dtype == DTYPE_F32)
        TRY(by_steps(s, "quantize", x, to, onnx_i64(s, "axis", 1), &out));
    if (out != NULL)
        return onnx_bind(s, 0, out);
    TRY(read_operand_scaling(s, x, &by));
    if (onnx_i64(s, "output_dtype", 0) != 0)
        TRY(onnx_type_attr(s, "output_dtype", to, &to));
    TRY(scaling_apply(s, x, &by, to, &out));
    return onnx_bind(s, 0, out);
}

static status import_dequantize(struct onnx_site *s)
{
    struct value *x, *out;
    struct scaling by;
    TRY(onnx_in(s, 0, &x));
    TRY(by_steps(s, "dequantize", x, x->dtype, onnx_i64(s, "axis", 1), &out));
    if (out != NULL)
        return onnx_bind(s, 0, out);
    TRY(read_operand_scaling(s, x, &by));
    TRY(scaling_undo(s, x, &by, &out));
    return onnx_bind(s, 0, out);
}

status scaling_of_range(struct onnx_site *s, struct value *x, struct scaling *out)
{
    static const struct attr_ints all = { 0 };
    struct value *low, *high, *width, *zero;
    TRY(build_reduce(s, REDUCE_MIN, x, &all, false, &low));
    TRY(build_reduce(s, REDUCE_MAX, x, &all, false, &high));
    TRY(build_by(s, "min", low, 0, &low));
    TRY(build_by(s, "max", high, 0, &high));
    TRY(build2(s, "sub", high, low, &width));
    TRY(build_by(s, "div", width, 255, &out->scale));
    TRY(build2(s, "div", low, out->scale, &zero));
    TRY(build_affine(s, zero, -1, 0, &zero));
    TRY(build1(s, "round_even", zero, &zero));
    TRY(build1(s, "clip", zero, &zero));
    *(struct curve_attrs *)node_attrs(zero->producer) = (struct curve_attrs){ 0, 255, 0 };
    return build_cast(s, zero, DTYPE_U8, &out->zero);
}

static status import_dynamic_quantize(struct onnx_site *s)
{
    struct value *x, *out;
    struct scaling by;
    TRY(onnx_in(s, 0, &x));
    TRY(scaling_of_range(s, x, &by));
    TRY(scaling_apply(s, x, &by, DTYPE_U8, &out));
    TRY(onnx_bind(s, 0, out));
    TRY(onnx_bind(s, 1, by.scale));
    return onnx_bind(s, 2, by.zero);
}

/* ---- products of quantised tensors ---- */

/* Row or column scales of a matrix: [n] of the left one belong to its rows. */
static int64_t scale_axis(int operand)
{
    return operand == 0 ? -2 : -1;
}

static status import_qlinear_matmul(struct onnx_site *s)
{
    struct value *x[2], *product, *out;
    struct scaling by;
    for (int i = 0; i < 2; i++) {
        TRY(onnx_in(s, 3 * i, &x[i]));
        TRY(scaling_read(s, 3 * i + 1, 3 * i + 2, x[i], scale_axis(i), &by));
        TRY(scaling_undo(s, x[i], &by, &x[i]));
    }
    TRY(build_matmul(s, x[0], x[1], false, &product));
    TRY(scaling_read(s, 6, 7, product, -2, &by));
    TRY(scaling_apply(s, product, &by, by.zero != NULL ? by.zero->dtype : DTYPE_U8, &out));
    return onnx_bind(s, 0, out);
}

static status import_matmul_integer(struct onnx_site *s)
{
    struct value *x[2], *product, *out;
    for (int i = 0; i < 2; i++) {
        struct scaling by = { NULL, NULL };
        TRY(onnx_in(s, i, &x[i]));
        TRY(onnx_in_optional(s, 2 + i, &by.zero));
        TRY(along(s, by.zero, x[i], scale_axis(i), &by.zero));
        TRY(scaling_undo(s, x[i], &by, &x[i]));
    }
    TRY(build_matmul(s, x[0], x[1], false, &product));
    TRY(build_cast(s, product, DTYPE_I32, &out));
    return onnx_bind(s, 0, out);
}

/* A convolution of two tensors that are floats again; pads are zeros, which the zero point was taken out for. */
static status convolve(struct onnx_site *s, struct value *x, struct value *w, struct value **out)
{
    TRY(onnx_add1(s, "conv_nd", (struct value *[]){ x, w }, 2, out));
    *(struct conv_nd_attrs *)node_attrs((*out)->producer) =
        (struct conv_nd_attrs){ .stride = onnx_i64s(s, "strides"),
                                .dilation = onnx_i64s(s, "dilations"),
                                .pads = onnx_i64s(s, "pads"),
                                .groups = onnx_i32(s, "group", 1) };
    declare_unknown(*out);
    if (!str_is(onnx_str(s, "auto_pad", "NOTSET"), "NOTSET"))
        return onnx_fault(s, UNSUPPORTED, "auto_pad; export with explicit pads");
    return OK;
}

static status import_conv_integer(struct onnx_site *s)
{
    struct value *x[2], *out;
    for (int i = 0; i < 2; i++) {
        struct scaling by = { NULL, NULL };
        TRY(onnx_in(s, i, &x[i]));
        TRY(onnx_in_optional(s, 2 + i, &by.zero));
        TRY(along(s, by.zero, x[i], i == 0 ? 1 : 0, &by.zero));
        TRY(scaling_undo(s, x[i], &by, &x[i]));
    }
    TRY(convolve(s, x[0], x[1], &out));
    TRY(build_cast(s, out, DTYPE_I32, &out));
    return onnx_bind(s, 0, out);
}

/* The bias is int32 in units of x_scale * w_scale. */
static status add_integer_bias(struct onnx_site *s, const struct scaling by[2], int axes,
                               struct value **sum)
{
    struct value *bias, *unit;
    struct attr_ints at = { .count = axes };
    TRY(onnx_in_optional(s, 8, &bias));
    if (bias == NULL)
        return OK;
    for (int i = 0; i < axes; i++)
        at.v[i] = i + 1;
    TRY(build_cast(s, bias, DTYPE_F32, &bias));
    TRY(build_unsqueeze(s, bias, &at, &bias));
    TRY(build2(s, "mul", bias, by[0].scale, &bias));
    unit = by[1].scale;
    if (unit->shape.rank > axes + 1) /* [O, 1, 1, 1], as it lies along the filter */
        TRY(onnx_add_reshape(s, unit, &(struct attr_ints){ 3, { -1, 1, 1 } }, &unit));
    TRY(build2(s, "mul", bias, unit, &bias));
    return build2(s, "add", *sum, bias, sum);
}

static status import_qlinear_conv(struct onnx_site *s)
{
    struct value *x[2], *out;
    struct scaling by[2], to;
    for (int i = 0; i < 2; i++) {
        TRY(onnx_in(s, 3 * i, &x[i]));
        TRY(scaling_read(s, 3 * i + 1, 3 * i + 2, x[i], i == 0 ? 1 : 0, &by[i]));
        TRY(scaling_undo(s, x[i], &by[i], &x[i]));
    }
    int axes = x[1]->shape.rank - 2;
    if (axes < 1 || axes > SPATIAL_MAX)
        return onnx_fault(s, UNSUPPORTED, "a filter whose shape the file does not tell");
    TRY(convolve(s, x[0], x[1], &out));
    TRY(add_integer_bias(s, by, axes, &out));
    TRY(scaling_read(s, 6, 7, out, 1, &to));
    TRY(scaling_apply(s, out, &to, to.zero != NULL ? to.zero->dtype : DTYPE_U8, &out));
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_quant[] = {
    { "QuantizeLinear",        "div",     import_quantize },
    { "DequantizeLinear",      "mul",     import_dequantize },
    { "DynamicQuantizeLinear", "div",     import_dynamic_quantize },
    { "QLinearMatMul",         "matmul",  import_qlinear_matmul },
    { "QLinearConv",           "conv_nd", import_qlinear_conv },
    { "MatMulInteger",         "matmul",  import_matmul_integer },
    { "ConvInteger",           "conv_nd", import_conv_integer },
    { 0 },
};
// clang-format on
