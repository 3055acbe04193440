/* com.microsoft's operators on quantised tensors: numbers again, the operator, and quantised as the result asks for. */
#include "graph/attrs_image.h"
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"
#include "import/onnx/build.h"
#include "import/onnx/scaling.h"

#include <string.h>

/* Inputs at, at + 1 and at + 2 (a tensor, its scale, its zero point) as float32. */
static status read_quantised(struct onnx_site *s, int at, struct value **out)
{
    struct scaling by;
    struct value *x;
    TRY(onnx_in(s, at, &x));
    TRY(scaling_read(s, at + 1, at + 2, x, 0, &by));
    return scaling_undo(s, x, &by, out);
}

/* Quantised by inputs at and at + 1, and bound. */
static status bind_quantised(struct onnx_site *s, int at, struct value *x)
{
    struct scaling by;
    struct value *out;
    TRY(scaling_read(s, at, at + 1, x, 0, &by));
    TRY(scaling_apply(s, x, &by, by.zero != NULL ? by.zero->dtype : DTYPE_U8, &out));
    return onnx_bind(s, 0, out);
}

static status import_binary(struct onnx_site *s)
{
    struct value *a, *b, *out;
    TRY(read_quantised(s, 0, &a));
    TRY(read_quantised(s, 3, &b));
    TRY(build2(s, s->row->canonical, a, b, &out));
    return bind_quantised(s, 6, out);
}

static status import_unary(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(read_quantised(s, 0, &x));
    TRY(build1(s, s->row->canonical, x, &out));
    if (strcmp(s->row->canonical, "leaky_relu") == 0)
        ((struct curve_attrs *)node_attrs(out->producer))->alpha = onnx_f32(s, "alpha", 0.01f);
    return bind_quantised(s, 3, out);
}

static status import_softmax(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(read_quantised(s, 0, &x));
    TRY(build_along(s, "softmax", x, onnx_i32(s, "axis", -1), &out));
    return bind_quantised(s, 3, out);
}

static status import_global_average(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(read_quantised(s, 0, &x));
    struct attr_ints axes = { .count = x->shape.rank - 2 };
    if (axes.count < 1)
        return onnx_fault(s, UNSUPPORTED, "an image of %d dimensions", x->shape.rank);
    for (int i = 0; i < axes.count; i++)
        axes.v[i] = i + (onnx_bool(s, "channels_last", false) ? 1 : 2);
    TRY(build_reduce(s, REDUCE_MEAN, x, &axes, true, &out));
    return bind_quantised(s, 3, out);
}

static status import_concat(struct onnx_site *s)
{
    struct value *in[UINT8_MAX], *out;
    int count = (s->node->in_count - 2) / 3;
    if (count < 1 || count > UINT8_MAX || s->node->in_count != 2 + 3 * count)
        return onnx_fault(s, INVALID, "%d inputs, expected 2 and 3 for each tensor",
                          s->node->in_count);
    for (int i = 0; i < count; i++)
        TRY(read_quantised(s, 2 + 3 * i, &in[i]));
    TRY(build_concat(s, in, count, onnx_i32(s, "axis", 0), &out));
    return bind_quantised(s, 0, out);
}

/* ---- products ---- */

/* A bias of int32 is in units of both scales. */
static status add_whole_bias(struct onnx_site *s, struct value **sum)
{
    struct value *bias, *a, *b;
    TRY(onnx_in_optional(s, 6, &bias));
    if (bias == NULL)
        return OK;
    TRY(onnx_in(s, 1, &a));
    TRY(onnx_in(s, 4, &b));
    TRY(build_cast(s, bias, DTYPE_F32, &bias));
    TRY(build2(s, "mul", bias, a, &bias));
    TRY(build2(s, "mul", bias, b, &bias));
    if (onnx_f32(s, "alpha", 1) != 1)
        TRY(build_affine(s, bias, (double)onnx_f32(s, "alpha", 1), 0, &bias));
    return build2(s, "add", *sum, bias, sum);
}

static status import_gemm(struct onnx_site *s)
{
    struct value *a, *b, *scale, *out;
    struct scaling by;
    bool trans_b = onnx_bool(s, "transB", false);
    TRY(read_quantised(s, 0, &a));
    TRY(onnx_in(s, 3, &b));
    TRY(scaling_read(s, 4, 5, b, trans_b ? 0 : 1, &by));
    TRY(scaling_undo(s, b, &by, &b));
    TRY(build_matmul(s, a, b, trans_b, &out));
    struct matmul_attrs *m = node_attrs(out->producer);
    m->trans_a = onnx_bool(s, "transA", false);
    m->alpha = onnx_f32(s, "alpha", 1);
    out->shape = SHAPE(-1, -1);
    TRY(add_whole_bias(s, &out));
    TRY(onnx_in_optional(s, 7, &scale));
    return scale != NULL ? bind_quantised(s, 7, out) : onnx_bind(s, 0, out);
}

static status add_bias(struct onnx_site *s, int input, struct value **x)
{
    struct value *bias;
    TRY(onnx_in_optional(s, input, &bias));
    return bias != NULL ? build2(s, "add", *x, bias, x) : OK;
}

/* a, b, scales of both, zero points of both, bias */
static status import_integers_to_float(struct onnx_site *s)
{
    struct value *x[2], *out;
    struct scaling by;
    for (int i = 0; i < 2; i++) {
        TRY(onnx_in(s, i, &x[i]));
        TRY(scaling_read(s, 2 + i, 4 + i, x[i], i == 0 ? -2 : -1, &by));
        TRY(scaling_undo(s, x[i], &by, &x[i]));
    }
    TRY(build_matmul(s, x[0], x[1], false, &out));
    TRY(add_bias(s, 6, &out));
    return onnx_bind(s, 0, out);
}

/* The left one is quantised by its own range, then the same. */
static status import_dynamic_matmul(struct onnx_site *s)
{
    struct value *a, *b, *rounded, *out;
    struct scaling by;
    TRY(onnx_in(s, 0, &a));
    TRY(scaling_of_range(s, a, &by));
    TRY(scaling_apply(s, a, &by, DTYPE_U8, &rounded));
    TRY(scaling_undo(s, rounded, &by, &a));
    TRY(onnx_in(s, 1, &b));
    TRY(scaling_read(s, 2, 3, b, -1, &by));
    TRY(scaling_undo(s, b, &by, &b));
    TRY(build_matmul(s, a, b, false, &out));
    TRY(add_bias(s, 4, &out));
    return onnx_bind(s, 0, out);
}

/* ---- weights of few bits, in blocks ---- */

struct blocks {
    const struct tensor *data, *scale, *zero; /* zero NULL: the middle of the range */
    int64_t rows, columns, size, count;       /* count: blocks of a row */
    int bits;
};

static status read_blocks(struct onnx_site *s, struct blocks *b)
{
    b->columns = onnx_i64(s, "K", 0);
    b->rows = onnx_i64(s, "N", 0);
    b->bits = onnx_i32(s, "bits", 4);
    b->size = onnx_i64(s, "block_size", 0);
    if (b->rows < 1 || b->columns < 1 || b->rows > INT32_MAX || b->columns > INT32_MAX ||
        b->size < 16 || b->size > INT32_MAX || (b->bits != 4 && b->bits != 8))
        return onnx_fault(s, UNSUPPORTED, "weights of %lld x %lld, blocks of %lld, %d bits",
                          (long long)b->rows, (long long)b->columns, (long long)b->size, b->bits);
    b->count = (b->columns + b->size - 1) / b->size;
    TRY(onnx_const(s, 1, "its weights", &b->data));
    TRY(onnx_const(s, 2, "its scales", &b->scale));
    TRY(onnx_const(s, 3, "its zero points", &b->zero));
    int64_t bytes = b->rows * b->count * (b->size * b->bits / 8);
    if (b->data == NULL || b->scale == NULL || b->data->dtype != DTYPE_U8 ||
        b->scale->dtype != DTYPE_F32 || shape_numel(&b->data->shape) != bytes ||
        shape_numel(&b->scale->shape) != b->rows * b->count)
        return onnx_fault(s, UNSUPPORTED,
                          "weights that are not %lld bytes, or their scales no "
                          "float32",
                          (long long)bytes);
    int64_t zeros = b->rows * (b->bits == 8 ? b->count : (b->count + 1) / 2);
    if (b->zero != NULL && (b->zero->dtype != DTYPE_U8 || shape_numel(&b->zero->shape) != zeros))
        return onnx_fault(s, UNSUPPORTED, "zero points that are not %lld bytes", (long long)zeros);
    return OK;
}

/* The i-th number of `bits` bits, the lower half of a byte first. */
static int few_bits(const uint8_t *p, int64_t i, int bits)
{
    if (bits == 8)
        return p[i];
    return i % 2 == 0 ? p[i / 2] & 15 : p[i / 2] >> 4;
}

static void fill_row(const struct blocks *b, int64_t row, float *out)
{
    const uint8_t *data = (const uint8_t *)b->data->data;
    const float *scale = (const float *)b->scale->data + row * b->count;
    const uint8_t *zeros = NULL;
    if (b->zero != NULL)
        zeros =
            (const uint8_t *)b->zero->data + row * (b->bits == 8 ? b->count : (b->count + 1) / 2);
    for (int64_t k = 0; k < b->columns; k++) {
        int64_t block = k / b->size;
        int zero = zeros != NULL ? few_bits(zeros, block, b->bits) : 1 << (b->bits - 1);
        const uint8_t *p = data + (row * b->count + block) * (b->size * b->bits / 8);
        out[k] = (float)(few_bits(p, k % b->size, b->bits) - zero) * scale[block];
    }
}

static status import_few_bits_matmul(struct onnx_site *s)
{
    struct blocks b;
    struct value *x, *w, *groups, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in_optional(s, 4, &groups));
    if (groups != NULL)
        return onnx_fault(s, UNSUPPORTED, "an order of blocks (g_idx)");
    TRY(read_blocks(s, &b));
    float *weights =
        arena_try_array(s->import->scratch, (size_t)b.rows * (size_t)b.columns, sizeof(*weights));
    if (weights == NULL)
        return onnx_fault(s, NO_MEMORY, "no memory for %lld x %lld weights", (long long)b.rows,
                          (long long)b.columns);
    for (int64_t row = 0; row < b.rows; row++)
        fill_row(&b, row, weights + row * b.columns);
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(b.rows, b.columns), weights, &w));
    TRY(build_matmul(s, x, w, true, &out));
    declare_unknown(out);
    TRY(add_bias(s, 5, &out));
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_qlinear[] = {
    { "QLinearAdd",               "add",        import_binary },
    { "QLinearMul",               "mul",        import_binary },
    { "QLinearSigmoid",           "sigmoid",    import_unary },
    { "QLinearLeakyRelu",         "leaky_relu", import_unary },
    { "QLinearSoftmax",           "softmax",    import_softmax },
    { "QLinearGlobalAveragePool", "reduce",     import_global_average },
    { "QLinearConcat",            "concat",     import_concat },
    { "QGemm",                    "matmul",     import_gemm },
    { "MatMulIntegerToFloat",     "matmul",     import_integers_to_float },
    { "DynamicQuantizeMatMul",    "matmul",     import_dynamic_matmul },
    { "MatMulNBits",              "matmul",     import_few_bits_matmul },
    { 0 },
};
// clang-format on
