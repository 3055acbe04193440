/* PaddleSlim's quantised forms. Scales that are observed while training stand in the file; zero points are 0 there and
 * Paddle's own kernels do not read them. */
#include "graph/attrs_quant.h"
#include "graph/attrs_reduce.h"
#include "import/paddle/site.h"

#include <string.h>

static status add_quant(struct site *s, struct value *x, struct value *scale,
                        const struct fake_quant_attrs *a, struct value **out)
{
    struct value *in[] = { x, scale };
    TRY(site_add1(s, "fake_quant", in, 2, out));
    *(struct fake_quant_attrs *)node_attrs((*out)->producer) = *a;
    return OK;
}

static status add_dequant(struct site *s, struct value *x, struct value *scale,
                          struct value *second, const struct fake_dequant_attrs *a,
                          struct value **out)
{
    struct value *in[] = { x, scale, second };
    TRY(site_add1(s, "fake_dequant", in, second != NULL ? 3 : 2, out));
    *(struct fake_dequant_attrs *)node_attrs((*out)->producer) = *a;
    (*out)->dtype = DTYPE_F32;
    return OK;
}

/* What bits can hold, as Paddle says it. */
static float top_of(int32_t bits)
{
    return bits >= 2 && bits <= 16 ? (float)((1 << (bits - 1)) - 1) : 0;
}

/* round_type 0 rounds halves to even, 1 away from 0 after cutting. */
static struct fake_quant_attrs read_quant(struct site *s, int32_t round_type)
{
    return (struct fake_quant_attrs){ .bits = attr_i32(s, "bit_length", 8),
                                      .away = attr_i32(s, "round_type", round_type) != 0 };
}

/* The largest magnitude of x, or of each element of dimension axis. */
static status abs_max(struct site *s, struct value *x, bool per_axis, int axis, struct value **out)
{
    struct value *magnitude;
    TRY(site_add1(s, "abs", &x, 1, &magnitude));
    TRY(site_add1(s, "reduce", &magnitude, 1, out));
    struct reduce_attrs *r = node_attrs((*out)->producer);
    r->mode = REDUCE_MAX;
    for (int i = 0; per_axis && i < x->shape.rank; i++)
        if (i != axis)
            r->axes.v[r->axes.count++] = i;
    r->none_is_none = per_axis;
    return OK;
}

/* A fresh value, always with one dimension: the variable may be the input that it was read from. */
static status bind_scale(struct site *s, struct value *scale)
{
    struct value *copy;
    if (site_out_count(s, "OutScale") == 0)
        return OK;
    TRY(site_add_reshape(s, scale, &(struct attr_ints){ 1, { -1 } }, &copy));
    return site_bind(s, "OutScale", copy);
}

static bool ends_with(struct str s, const char *end)
{
    size_t n = strlen(end);
    return s.n >= n && memcmp(s.p + s.n - n, end, n) == 0;
}

static bool starts_with(struct str s, const char *start)
{
    size_t n = strlen(start);
    return s.n >= n && memcmp(s.p, start, n) == 0;
}

/* fake_[channel_wise_]quantize[_dequantize]_{abs_max, range_abs_max, moving_average_abs_max}: the first kind looks for
 * its scale in x itself, the others have it. */
static status import_fake_quantize(struct site *s)
{
    struct value *x, *scale, *out;
    struct fake_quant_attrs a = read_quant(s, 1);
    TRY(site_in(s, "X", &x));
    a.back = starts_with(s->op->type, "fake_quantize_dequantize") ||
             starts_with(s->op->type, "fake_channel_wise_quantize_dequantize");
    a.per_axis = starts_with(s->op->type, "fake_channel_wise");
    a.axis = a.per_axis ? attr_i32(s, "quant_axis", 0) : 0;
    if (a.per_axis && (a.axis < 0 || a.axis >= x->shape.rank))
        return site_fault(s, INVALID, "quant_axis %d does not fit %d dimensions", a.axis,
                          x->shape.rank);
    bool has_scale =
        ends_with(s->op->type, "range_abs_max") || ends_with(s->op->type, "moving_average_abs_max");
    TRY(has_scale ? site_in(s, "InScale", &scale) : abs_max(s, x, a.per_axis, a.axis, &scale));
    TRY(add_quant(s, x, scale, &a, &out));
    TRY(site_bind(s, "Out", out));
    return bind_scale(s, scale);
}

/* Watches and changes nothing. */
static status import_observer(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "identity", &x, 1, &out));
    return site_bind(s, "Out", out);
}

static status copy_y(struct site *s, struct value *x)
{
    struct value *out;
    TRY(site_add1(s, "identity", &x, 1, &out));
    return site_bind(s, "Y", out);
}

static status import_quantize_linear(struct site *s)
{
    struct value *x, *scale, *out;
    int32_t axis = attr_i32(s, "quant_axis", -1);
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Scale", &scale));
    if (attr_bool(s, "only_observer", false))
        return copy_y(s, x);
    struct fake_quant_attrs a = read_quant(s, 0);
    a.per_axis = axis >= 0;
    a.axis = axis >= 0 ? axis : 0;
    TRY(add_quant(s, x, scale, &a, &out));
    return site_bind(s, "Y", out);
}

static status import_dequantize_linear(struct site *s)
{
    struct value *x, *scale, *out;
    int32_t axis = attr_i32(s, "quant_axis", -1);
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Scale", &scale));
    if (attr_bool(s, "only_observer", false))
        return copy_y(s, x);
    struct fake_dequant_attrs a = { .per_axis = axis >= 0,
                                    .axis = axis >= 0 ? axis : 0,
                                    .range = top_of(attr_i32(s, "bit_length", 8)) };
    TRY(add_dequant(s, x, scale, NULL, &a, &out));
    return site_bind(s, "Y", out);
}

static status import_fake_dequantize(struct site *s)
{
    struct value *x, *scale, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Scale", &scale));
    struct fake_dequant_attrs a = { .range = (float)attr_f64(s, "max_range", 0) };
    TRY(add_dequant(s, x, scale, NULL, &a, &out));
    return site_bind(s, "Out", out);
}

/* One scale for each channel of a weight; or, of a product, the weight's channels and the input's scale. */
static status import_channel_dequantize(struct site *s)
{
    struct value *x, **scale, *out;
    int count;
    TRY(site_in(s, "X", &x));
    TRY(site_ins(s, "Scales", &scale, &count));
    struct attr_ints bits = attr_i64s(s, "quant_bits");
    if (count > 2 || bits.count < count)
        return site_fault(s, INVALID, "%d scales and %d quant_bits", count, bits.count);
    struct fake_dequant_attrs a = { .per_axis = true, .range = 1 };
    a.axis = count == 2 ? attr_i32(s, "x_num_col_dims", 1) : attr_i32(s, "quant_axis", 0);
    for (int i = 0; i < count; i++)
        a.range *= top_of((int32_t)(bits.v[i] >= 2 && bits.v[i] <= 16 ? bits.v[i] : 0));
    TRY(add_dequant(s, x, scale[0], count == 2 ? scale[1] : NULL, &a, &out));
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_quant[] = {
    { "fake_quantize_abs_max",                            "fake_quant",   import_fake_quantize,      LOD_SHARE },
    { "fake_quantize_range_abs_max",                      "fake_quant",   import_fake_quantize,      LOD_SHARE },
    { "fake_quantize_moving_average_abs_max",             "fake_quant",   import_fake_quantize,      LOD_SHARE },
    { "fake_quantize_dequantize_abs_max",                 "fake_quant",   import_fake_quantize,      LOD_SHARE },
    { "fake_quantize_dequantize_moving_average_abs_max",  "fake_quant",   import_fake_quantize,      LOD_SHARE },
    { "fake_channel_wise_quantize_abs_max",               "fake_quant",   import_fake_quantize,      LOD_SHARE },
    { "fake_channel_wise_quantize_dequantize_abs_max",    "fake_quant",   import_fake_quantize,      LOD_SHARE },
    { "moving_average_abs_max_scale",                     "identity",     import_observer,           LOD_SHARE },
    { "quantize_linear",                                  "fake_quant",   import_quantize_linear,    LOD_SHARE },
    { "dequantize_linear",                                "fake_dequant", import_dequantize_linear,  LOD_SHARE },
    { "fake_dequantize_max_abs",                          "fake_dequant", import_fake_dequantize,    LOD_SHARE },
    { "fake_channel_wise_dequantize_max_abs",             "fake_dequant", import_channel_dequantize, LOD_SHARE },
    { 0 },
};
// clang-format on
