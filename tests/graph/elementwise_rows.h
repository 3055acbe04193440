/* Rows of op_test.c for elementwise operators: included there. */
#pragma once

#define SAME_ROW(op)               \
    {                              \
        op, "", "f[2,3]", "f[2,3]" \
    }
#define CURVE_ROW(op)                                    \
    {                                                    \
        op, "alpha=1 beta=2 gamma=3", "d[2,1]", "d[2,1]" \
    }
#define TELL_ROW(op)               \
    {                              \
        op, "", "f[2,3]", "b[2,3]" \
    }
#define PAIR_ROW(op)                    \
    {                                   \
        op, "", "f[2,3] f[3]", "f[2,3]" \
    }
#define TRUTH_ROW(op)                     \
    {                                     \
        op, "", "l[2,3] l[2,1]", "b[2,3]" \
    }

// clang-format off
static const struct row elementwise_rows[] = {
    SAME_ROW("expm1"), SAME_ROW("log1p"), SAME_ROW("log2"), SAME_ROW("log10"), SAME_ROW("rsqrt"),
    SAME_ROW("reciprocal"), SAME_ROW("sign"), SAME_ROW("floor"), SAME_ROW("ceil"), SAME_ROW("round"),
    SAME_ROW("round_even"), SAME_ROW("trunc"), SAME_ROW("sin"), SAME_ROW("cos"), SAME_ROW("tan"),
    SAME_ROW("asin"), SAME_ROW("acos"), SAME_ROW("atan"), SAME_ROW("sinh"), SAME_ROW("cosh"), SAME_ROW("asinh"),
    SAME_ROW("acosh"), SAME_ROW("atanh"), SAME_ROW("erf"), SAME_ROW("softsign"), SAME_ROW("logsigmoid"),
    SAME_ROW("tanh_shrink"), SAME_ROW("gelu"), SAME_ROW("gelu_tanh"), SAME_ROW("lgamma"), SAME_ROW("digamma"),
    SAME_ROW("erfinv"),
    CURVE_ROW("clip"), CURVE_ROW("leaky_relu"), CURVE_ROW("elu"), CURVE_ROW("celu"), CURVE_ROW("selu"),
    CURVE_ROW("hard_sigmoid"), CURVE_ROW("hard_swish"), CURVE_ROW("swish"), CURVE_ROW("mish"),
    CURVE_ROW("softplus"), CURVE_ROW("soft_relu"), CURVE_ROW("stanh"), CURVE_ROW("hard_shrink"),
    CURVE_ROW("soft_shrink"), CURVE_ROW("thresholded_relu"), CURVE_ROW("logit"), CURVE_ROW("power"),
    TELL_ROW("not"), TELL_ROW("isnan"), TELL_ROW("isinf"), TELL_ROW("isfinite"),
    PAIR_ROW("fmax"), PAIR_ROW("fmin"), PAIR_ROW("mod"), PAIR_ROW("rem"), PAIR_ROW("floordiv"), PAIR_ROW("atan2"),
    PAIR_ROW("prelu"), PAIR_ROW("heaviside"),
    TRUTH_ROW("equal"), TRUTH_ROW("not_equal"), TRUTH_ROW("less"), TRUTH_ROW("less_equal"), TRUTH_ROW("greater"),
    TRUTH_ROW("greater_equal"), TRUTH_ROW("and"), TRUTH_ROW("or"), TRUTH_ROW("xor"),
    { "bitwise_not", "", "i[3]",      "i[3]" },
    { "bitwise_and", "", "i[3] i[1]", "i[3]" },
    { "bitwise_or",  "", "b[3] b[1]", "b[3]" },
    { "bitwise_xor", "", "l[3] l[1]", "l[3]" },
    { "shift_left",  "", "l[3] l[1]", "l[3]" },
    { "shift_right", "", "u[3] u[3]", "u[3]" },
    { "shift_right", "", "l[3] u[3]", "!expected one dtype" },
    { "less",        "", "f[2] f[3]", "!do not broadcast" },
    { "equal",       "", "f[2] l[2]", "!expected one dtype" },
};
// clang-format on
