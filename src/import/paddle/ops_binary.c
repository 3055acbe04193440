/* Elementwise operators of two tensors, with Paddle's own broadcasting. */
#include "import/paddle/site.h"

#include <string.h>

/* The operand of lower rank as NumPy's broadcasting wants it: Paddle lays its dimensions over those
 * of the other from `axis` on, NumPy over the last ones, so dimensions of 1 are appended. Paddle
 * also lets it end in 1s that stick out, which are cut. */
static status align(struct site *s, struct value *low, int high_rank, int axis, struct value **out)
{
    int rank = low->shape.rank;
    while (axis + rank > high_rank && rank > 0 && low->shape.dim[rank - 1] == 1)
        rank--;
    if (axis < 0 || axis + rank > high_rank)
        return site_fault(s, INVALID, "axis %d does not fit inputs of %d and %d dimensions", axis,
                          high_rank, low->shape.rank);
    struct attr_ints to = { .count = high_rank - axis };
    for (int i = rank; i < to.count; i++)
        to.v[i] = 1;
    *out = low;
    return to.count == low->shape.rank ? OK : site_reshape(s, low, &to, out);
}

static status broadcast_in(struct site *s, struct value *in[2])
{
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Y", &in[1]));
    int axis = attr_i32(s, "axis", -1);
    int low = in[1]->shape.rank <= in[0]->shape.rank ? 1 : 0; /* the operand of lower rank */
    if (axis == -1)
        return OK;
    return align(s, in[low], in[1 - low]->shape.rank, axis, &in[low]);
}

/* Of truths, a sum is "or" and a product is "and"; bits of them are truths. */
static const char *of_truths(const char *canonical)
{
    static const char *const row[][2] = {
        { "add", "or" },          { "max", "or" },          { "mul", "and" },
        { "min", "and" },         { "bitwise_and", "and" }, { "bitwise_or", "or" },
        { "bitwise_xor", "xor" },
    };
    for (size_t i = 0; i < ARRAY_LEN(row); i++)
        if (strcmp(canonical, row[i][0]) == 0)
            return row[i][1];
    return canonical;
}

static status import_elementwise(struct site *s)
{
    struct value *in[2], *out;
    const char *op = s->row->canonical;
    TRY(broadcast_in(s, in));
    bool truths = in[0]->dtype == DTYPE_BOOL && in[1]->dtype == DTYPE_BOOL;
    TRY(site_add1(s, truths ? of_truths(op) : op, in, 2, &out));
    return site_bind(s, "Out", out);
}

/* What an optimiser of Paddle's put an activation or factors into. */
static status import_fused(struct site *s)
{
    if (attr_str(s, "fuse_activation", "").n > 0 || attr_f64(s, "scale_x", 1) != 1 ||
        attr_f64(s, "scale_y", 1) != 1 || attr_f64(s, "scale_out", 1) != 1)
        return site_fault(s, UNSUPPORTED, "a fused activation or factor");
    return import_elementwise(s);
}

/* x + weight * (y - x) */
static status import_lerp(struct site *s)
{
    struct value *x, *y, *weight, *part, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(site_in(s, "Weight", &weight));
    TRY(site_add1(s, "sub", (struct value *[]){ y, x }, 2, &part));
    TRY(site_add1(s, "mul", (struct value *[]){ weight, part }, 2, &part));
    TRY(site_add1(s, "add", (struct value *[]){ x, part }, 2, &out));
    return site_bind(s, "Out", out);
}

static status import_truth(struct site *s)
{
    struct value *in[2], *out;
    TRY(broadcast_in(s, in));
    TRY(site_add1(s, s->row->canonical, in, 2, &out));
    out->dtype = DTYPE_BOOL;
    return site_bind(s, "Out", out);
}

static status import_atan2(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X1", &in[0]));
    TRY(site_in(s, "X2", &in[1]));
    TRY(site_add1(s, "atan2", in, 2, &out));
    return site_bind(s, "Out", out);
}

/* The sum of any number of tensors of one shape. */
static status import_sum(struct site *s)
{
    struct value **in, *out;
    int count;
    TRY(site_ins(s, "X", &in, &count));
    if (count == 1)
        TRY(site_add1(s, "identity", in, 1, &out));
    else
        out = in[0];
    for (int i = 1; i < count; i++) {
        struct value *pair[2] = { out, in[i] };
        TRY(site_add1(s, "add", pair, 2, &out));
    }
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_binary[] = {
    { "elementwise_add",      "add",           import_elementwise, LOD_SHARE },
    { "elementwise_sub",      "sub",           import_elementwise, LOD_SHARE },
    { "elementwise_mul",      "mul",           import_elementwise, LOD_SHARE },
    { "elementwise_div",      "div",           import_elementwise, LOD_SHARE },
    { "elementwise_max",      "max",           import_elementwise, LOD_SHARE },
    { "elementwise_min",      "min",           import_elementwise, LOD_SHARE },
    { "elementwise_pow",      "pow",           import_elementwise, LOD_SHARE },
    { "elementwise_mod",      "mod",           import_elementwise, LOD_SHARE },
    { "elementwise_floordiv", "floordiv",      import_elementwise, LOD_SHARE },
    { "elementwise_fmax",     "fmax",          import_elementwise, LOD_SHARE },
    { "elementwise_fmin",     "fmin",          import_elementwise, LOD_SHARE },
    { "elementwise_heaviside", "heaviside",    import_elementwise, LOD_SHARE },
    { "fused_elementwise_add", "add",          import_fused,       LOD_SHARE },
    { "fused_elementwise_sub", "sub",          import_fused,       LOD_SHARE },
    { "fused_elementwise_mul", "mul",          import_fused,       LOD_SHARE },
    { "fused_elementwise_div", "div",          import_fused,       LOD_SHARE },
    { "lerp",                 "add",           import_lerp,        LOD_SHARE },
    { "maximum",              "max",           import_elementwise, LOD_SHARE },
    { "minimum",              "min",           import_elementwise, LOD_SHARE },
    { "minus",                "sub",           import_elementwise, LOD_SHARE },
    { "atan2",                "atan2",         import_atan2,       LOD_SHARE },
    { "sum",                  "add",           import_sum,         LOD_SHARE },
    { "equal",                "equal",         import_truth,       LOD_SHARE },
    { "not_equal",            "not_equal",     import_truth,       LOD_SHARE },
    { "less_than",            "less",          import_truth,       LOD_SHARE },
    { "less_equal",           "less_equal",    import_truth,       LOD_SHARE },
    { "greater_than",         "greater",       import_truth,       LOD_SHARE },
    { "greater_equal",        "greater_equal", import_truth,       LOD_SHARE },
    { "logical_and",          "and",           import_truth,       LOD_SHARE },
    { "logical_or",           "or",            import_truth,       LOD_SHARE },
    { "logical_xor",          "xor",           import_truth,       LOD_SHARE },
    { "bitwise_left_shift",   "shift_left",    import_elementwise, LOD_SHARE },
    { "bitwise_right_shift",  "shift_right",   import_elementwise, LOD_SHARE },
    { "bitwise_and",          "bitwise_and",   import_elementwise, LOD_SHARE },
    { "bitwise_or",           "bitwise_or",    import_elementwise, LOD_SHARE },
    { "bitwise_xor",          "bitwise_xor",   import_elementwise, LOD_SHARE },
    { 0 },
};
// clang-format on
