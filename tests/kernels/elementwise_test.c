/* Values of the elementwise ref kernels where they are known, and every other kernel against ref over ways of
 * broadcasting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run_node.h"

struct known {
    const char *op, *attrs, *in, *out;
};

// clang-format off
static const struct known known[] = {
    { "relu",         "",                       "f{-1,0,2}",            "f{0,0,2}" },
    { "clip",         "alpha=-1 beta=2",        "f{-3,0.5,7}",          "f{-1,0.5,2}" },
    { "clip",         "alpha=-1 beta=2",        "l{-3,1,7}",            "l{-1,1,2}" },
    { "rem",          "",                       "f{-7,7} f{3,-3}",      "f{-1,1}" },
    { "rem",          "",                       "l{-7,7,5} l{3,-3,0}",  "l{-1,1,0}" },
    { "mod",          "",                       "l{-7,7,5} l{3,-3,0}",  "l{2,-2,0}" },
    { "shift_left",   "",                       "i{1,-1,3} i{3,31,32}", "i{8,-2147483648,0}" },
    { "shift_right",  "",                       "i{8,-8,-8,5} i{2,1,40,-1}", "i{2,-4,-1,0}" },
    { "shift_right",  "",                       "u{200,200} u{1,8}",    "u{100,0}" },
    { "shift_right",  "",                       "w{18446744073709551615} w{63}", "w{1}" },
    { "div",          "",                       "w{18446744073709551614} w{2}", "w{9223372036854775807}" },
    { "max",          "",                       "w{18446744073709551614} w{2}", "w{18446744073709551614}" },
    { "less",         "",                       "w{2} w{18446744073709551614}", "b{1}" },
    { "mod",          "",                       "w{18446744073709551615} w{10}", "w{5}" },
    { "leaky_relu",   "alpha=0.5",              "f{-2,3}",              "f{-1,3}" },
    { "hard_sigmoid", "alpha=0.25 beta=0.5",    "f{-4,0,1,4}",          "f{0,0.5,0.75,1}" },
    { "hard_swish",   "alpha=6 beta=6 gamma=3", "f{-4,0,3,9}",          "f{0,0,3,9}" },
    { "softplus",     "alpha=1 beta=20",        "f{0,30}",              "f{0.693147181,30}" },
    { "mish",         "alpha=20",               "f{0,25,1}",            "f{0,25,0.865098388}" },
    { "gelu",         "",                       "f{0,1,-1}",            "f{0,0.841344746,-0.158655254}" },
    { "gelu_tanh",    "",                       "f{0,1,-1}",            "f{0,0.841191991,-0.158808009}" },
    { "swish",        "alpha=1",                "f{0,2}",               "f{0,1.761594156}" },
    { "elu",          "alpha=2",                "f{-1,3}",              "f{-1.264241118,3}" },
    { "celu",         "alpha=2",                "f{-2,3}",              "f{-1.264241118,3}" },
    { "selu",         "alpha=2 beta=3",         "f{-1,3}",              "f{-3.792723353,6}" },
    { "stanh",        "alpha=1 beta=2",         "f{0.5}",               "f{0.924234315}" },
    { "hard_shrink",  "alpha=0.5",              "f{-1,0.4,0.6}",        "f{-1,0,0.6}" },
    { "soft_shrink",  "alpha=0.5",              "f{-1,0.4,0.75}",       "f{-0.5,0,0.25}" },
    { "thresholded_relu", "alpha=1 beta=0",     "f{0.5,2}",             "f{0,2}" },
    { "soft_relu",    "alpha=2",                "f{0,9}",               "f{0.693147181,2.126928011}" },
    { "logit",        "alpha=0.1",              "f{0.5,0.01}",          "f{0,-2.197224577}" },
    { "power",        "alpha=3",                "f{2,-2}",              "f{8,-8}" },
    { "affine",       "scale=2 bias=1",         "l{3,4611686018427387905}", "l{7,-9223372036854775805}" },
    { "round",        "",                       "f{0.5,1.5,-2.5}",      "f{1,2,-3}" },
    { "round_even",   "",                       "f{0.5,1.5,-2.5}",      "f{0,2,-2}" },
    { "sign",         "",                       "f{-3,0,5}",            "f{-1,0,1}" },
    { "digamma",      "",                       "f{1,0.5,-0.5}",        "f{-0.577215665,-1.963510026,0.036489974}" },
    { "lgamma",       "",                       "f{3,0.5}",             "f{0.693147181,0.572364943}" },
    { "erfinv",       "",                       "f{0,0.5,-0.9}",        "f{0,0.476936276,-1.163087154}" },
    { "logsigmoid",   "",                       "f{0,-100}",            "f{-0.693147181,-100}" },
    { "not",          "",                       "b{0,1}",               "b{1,0}" },
    { "isfinite",     "",                       "f{0,1e9}",             "b{1,1}" },
    { "isnan",        "",                       "f{nan,1}",             "b{1,0}" },
    { "isinf",        "",                       "f{-inf,1}",            "b{1,0}" },
    { "bitwise_not",  "",                       "i{0,5}",               "i{-1,-6}" },
    { "div",          "",                       "l{7,-7,1} l{2,2,0}",   "l{3,-3,0}" },
    { "floordiv",     "",                       "l{7,-7,1} l{2,2,0}",   "l{3,-4,0}" },
    { "floordiv",     "",                       "f{7,-7} f{2}",         "f{3,-4}" },
    { "mod",          "",                       "l{7,-7,7,1} l{3,3,-3,0}", "l{1,2,-2,0}" },
    { "mod",          "",                       "f{7,-7,7} f{3,3,-3}",  "f{1,2,-2}" },
    { "div",          "",                       "l{-9223372036854775808} l{-1}", "l{-9223372036854775808}" },
    { "pow",          "",                       "i{3,-2,2} i{4,3,-1}",  "i{81,-8,0}" },
    { "fmax",         "",                       "f{1,nan} f{nan,2}",    "f{1,2}" },
    { "max",          "",                       "f{1,nan} f{nan,2}",    "f{nan,nan}" },
    { "fmin",         "",                       "f{1,nan} f{nan,2}",    "f{1,2}" },
    { "atan2",        "",                       "f{1} f{-1}",           "f{2.356194490}" },
    { "heaviside",    "",                       "f{-2,0,4} f{0.5}",     "f{0,0.5,1}" },
    { "prelu",        "",                       "f{-2,4} f{0.25}",      "f{-0.5,4}" },
    { "less",         "",                       "l{1,2,3} l{2}",        "b{1,0,0}" },
    { "greater_equal", "",                      "f{1,nan,3} f{2}",      "b{0,0,1}" },
    { "not_equal",    "",                       "f{nan} f{nan}",        "b{1}" },
    { "xor",          "",                       "b{0,1,1} b{1,1,0}",    "b{1,0,1}" },
    { "and",          "",                       "f{0,0.5} f{1}",        "b{0,1}" },
    { "bitwise_and",  "",                       "i{6,5} i{3}",          "i{2,1}" },
    { "bitwise_xor",  "",                       "b{0,1} b{1}",          "b{1,0}" },
};
// clang-format on

static void try_known(const struct known *k)
{
    struct run_node r;
    struct tensor got[SPEC_MAX], want[SPEC_MAX];
    struct err e = { "" };
    if (run_node_init(&r, k->op, k->attrs, k->in, SPEC_MAX, &e) != OK)
        fail_msg("%s: %s", k->op, e.text);
    run_ref(&r, got);
    spec_read(k->out, 1, &r.spec.arena, want);
    if (!(spec_error(&got[0], &want[0]) <= 2e-7))
        fail_msg("%s %s of %s: differs by %g", k->op, k->attrs, k->in,
                 spec_error(&got[0], &want[0]));
    run_node_deinit(&r);
}

static void ref_kernels_give_known_values(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        try_known(&known[i]);
}

static const char *const shapes[] = {
    "f[] f[]",
    "f[7] f[7]",
    "f[3,5] f[]",
    "f[] f[3,5]",
    "f[2,3,4,5] f[3,1,1]",
    "f[2,3,4,5] f[5]",
    "f[2,3,4,5] f[2,1,4,1]",
    "f[4,1] f[1,33]",
    "f[0,3] f[3]",
    "f[65] f[1]",
    "f[2,1,3] f[2,17,1]",
};

static void try_pairs(const char *op, const char *letters)
{
    char text[128];
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (const char *l = letters; *l != '\0'; l++) {
            snprintf(text, sizeof(text), "%s", shapes[i]);
            for (char *c = text; (c = strchr(c, 'f')) != NULL; c++)
                *c = *l;
            assert_true(run_compare(op, "", text, SPEC_MAX, 1e-6) >= 1);
        }
}

static void binary_kernels_agree_with_ref(void **state)
{
    static const char *const numbers[] = { "add", "sub", "mul",  "div",      "max",   "min",
                                           "pow", "mod", "fmax", "floordiv", "prelu", "less" };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        try_pairs(numbers[i], "fdilu");
    try_pairs("and", "fdilub");
    try_pairs("bitwise_or", "ilub");
}

static void unary_kernels_agree_with_ref(void **state)
{
    static const char *const in[] = { "f[]", "f[0,3]", "f[1000]", "d[33]", "f[3,7,5]" };
    const struct kernel *k;
    for (size_t i = 0; op_at(i) != NULL; i++) {
        const struct op *o = op_at(i);
        bool elementwise = o->in_max == 1 && (o->flags & OP_ELEMENTWISE) && !(o->flags & OP_VIEW);
        if (!elementwise || (k = kernel_at(o->name, 0)) == NULL || !(k->dtypes & DTYPE_BIT(1)))
            continue;
        bool curve = o->attrs_size == sizeof(struct curve_attrs);
        for (size_t j = 0; j < ARRAY_LEN(in); j++)
            run_compare(o->name, curve ? "alpha=0.25 beta=0.75 gamma=0.5" : "", in[j], SPEC_MAX,
                        1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_kernels_give_known_values),
        cmocka_unit_test(binary_kernels_agree_with_ref),
        cmocka_unit_test(unary_kernels_agree_with_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
