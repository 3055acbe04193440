/* Two tensors, broadcast as NumPy does. */
#include "graph/ops.h"

static status infer_binary(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    if (in[0].dtype != in[1].dtype)
        return err_set(e, INVALID, "its inputs are %s and %s, expected one dtype",
                       dtype_name(in[0].dtype), dtype_name(in[1].dtype));
    out[0] = (struct type){ .dtype = in[0].dtype };
    if (!shape_broadcast(&in[0].shape, &in[1].shape, &out[0].shape))
        return err_set(e, INVALID, "shapes %s and %s do not broadcast",
                       shape_text(&in[0].shape, a, sizeof(a)),
                       shape_text(&in[1].shape, b, sizeof(b)));
    return OK;
}

static status infer_truth(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    TRY(infer_binary(n, in, out, e));
    out[0].dtype = DTYPE_BOOL;
    return OK;
}

/* prelu: a > 0 ? a : a b. heaviside: 0 below 0, 1 above, b at it. floordiv and mod as Python has them: the quotient is
 * rounded down, the remainder has the divisor's sign; rem as C's fmod: it has the dividend's. shift_left, shift_right: by
 * b bits; a negative count, or one that reaches the width, leaves nothing but the sign. */
#define MAP (OP_INPLACE | OP_ELEMENTWISE)

// clang-format off
const struct op ops_binary[] = {
    { "add",           2, 2, 1, MAP, NULL, 0, infer_binary },
    { "sub",           2, 2, 1, MAP, NULL, 0, infer_binary },
    { "mul",           2, 2, 1, MAP, NULL, 0, infer_binary },
    { "div",           2, 2, 1, MAP, NULL, 0, infer_binary },
    { "max",           2, 2, 1, MAP, NULL, 0, infer_binary },
    { "min",           2, 2, 1, MAP, NULL, 0, infer_binary },
    { "pow",           2, 2, 1, MAP, NULL, 0, infer_binary },
    { "fmax",          2, 2, 1, MAP, NULL, 0, infer_binary },
    { "fmin",          2, 2, 1, MAP, NULL, 0, infer_binary },
    { "prelu",         2, 2, 1, MAP, NULL, 0, infer_binary },
    { "heaviside",     2, 2, 1, MAP, NULL, 0, infer_binary },
    { "mod",           2, 2, 1, MAP, NULL, 0, infer_binary },
    { "rem",           2, 2, 1, MAP, NULL, 0, infer_binary },
    { "floordiv",      2, 2, 1, MAP, NULL, 0, infer_binary },
    { "atan2",         2, 2, 1, MAP, NULL, 0, infer_binary },
    { "bitwise_and",   2, 2, 1, MAP, NULL, 0, infer_binary },
    { "bitwise_or",    2, 2, 1, MAP, NULL, 0, infer_binary },
    { "bitwise_xor",   2, 2, 1, MAP, NULL, 0, infer_binary },
    { "shift_left",    2, 2, 1, MAP, NULL, 0, infer_binary },
    { "shift_right",   2, 2, 1, MAP, NULL, 0, infer_binary },
    { "equal",         2, 2, 1, MAP, NULL, 0, infer_truth },
    { "not_equal",     2, 2, 1, MAP, NULL, 0, infer_truth },
    { "less",          2, 2, 1, MAP, NULL, 0, infer_truth },
    { "less_equal",    2, 2, 1, MAP, NULL, 0, infer_truth },
    { "greater",       2, 2, 1, MAP, NULL, 0, infer_truth },
    { "greater_equal", 2, 2, 1, MAP, NULL, 0, infer_truth },
    { "and",           2, 2, 1, MAP, NULL, 0, infer_truth },
    { "or",            2, 2, 1, MAP, NULL, 0, infer_truth },
    { "xor",           2, 2, 1, MAP, NULL, 0, infer_truth },
    { 0 },
};
// clang-format on
