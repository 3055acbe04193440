/* Operators that move, choose and reduce: values of the ref kernels where they are known, and every other kernel against
 * ref over shapes. */
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
    { "transpose",    "perm=[1,0]",                        "i[2,3]{1,2,3,4,5,6}",               "i[3,2]{1,4,2,5,3,6}" },
    { "det",          "",                                  "f[2,2,2]{1,2,3,4,0,2,3,0}",         "f[2]{-2,-6}" },
    { "inverse",      "",                                  "f[2,2]{0,2,4,0}",                   "f[2,2]{0,0.25,0.5,0}" },
    { "couple",       "",                                  "f[1,1]{0.5}",                       "f[1,2]{0.5,0.5}" },
    { "couple",       "",                                  "f[1,3]{0.5,0.5,0.5}",               "f[1,3]{0.333333343,0.333333343,0.333333343}" },
    { "flip",         "axes=[1]",                          "i[2,3]{1,2,3,4,5,6}",               "i[2,3]{3,2,1,6,5,4}" },
    { "diagonal",     "axis2=1 offset=1",                  "i[2,3]{1,2,3,4,5,6}",               "i[2]{2,6}" },
    { "diagonal",     "axis1=1 axis2=0 offset=1",          "i[2,3]{1,2,3,4,5,6}",               "i[1]{4}" },
    { "slice",        "axes=[1] starts=[-1] ends=[-4] steps=[-2]", "i[2,3]{1,2,3,4,5,6}",       "i[2,2]{3,1,6,4}" },
    { "slice",        "axes=[0] starts=[1] ends=[9]",      "u[3]{1,2,3}",                       "u[2]{2,3}" },
    { "split_part",   "axis=1 index=1 sections=[1,-1]",    "i[2,3]{1,2,3,4,5,6}",               "i[2,2]{2,3,5,6}" },
    { "expand",       "shape=[2,2,3]",                     "i[2,1]{1,2}",                       "i[2,2,3]{1,1,1,2,2,2,1,1,1,2,2,2}" },
    { "expand_as",    "",                                  "i[1,2]{1,2} f[2,2]",                "i[2,2]{1,2,1,2}" },
    { "tile",         "repeats=[2,2]",                     "i[1,2]{1,2}",                       "i[2,4]{1,2,1,2,1,2,1,2}" },
    { "roll",         "shifts=[1,-1] axes=[0,1]",          "i[2,3]{1,2,3,4,5,6}",               "i[2,3]{5,6,4,2,3,1}" },
    { "roll",         "shifts=[-7]",                       "i[2,3]{1,2,3,4,5,6}",               "i[2,3]{2,3,4,5,6,1}" },
    { "triangle",     "",                                  "i[2,3]{1,2,3,4,5,6}",               "i[2,3]{1,0,0,4,5,0}" },
    { "triangle",     "upper=true diagonal=1",             "i[2,3]{1,2,3,4,5,6}",               "i[2,3]{0,2,3,0,0,6}" },
    { "gather",       "axis=1",                            "i[2,3]{1,2,3,4,5,6} l{2,-3,2}",     "i[2,3]{3,1,3,6,4,6}" },
    { "gather_nd",    "",                                  "i[2,3]{1,2,3,4,5,6} l[2,2]{1,2,0,-1}", "i[2]{6,3}" },
    { "take_along",   "axis=1",                            "i[2,3]{1,2,3,4,5,6} i[2,2]{2,0,1,1}", "i[2,2]{3,1,5,5}" },
    { "take_along",   "axis=0",                            "i[2,3]{1,2,3,4,5,6} i[1,2]{1,0}",   "i[1,2]{4,2}" },
    { "put_along",    "axis=1",                            "i[2,3]{1,2,3,4,5,6} l[2,1]{2,0} i[2,1]{9,8}", "i[2,3]{1,2,9,8,5,6}" },
    { "put_along",    "axis=1 mode=add",                   "f[1,3]{1,2,3} l[1,2]{2,2} f[1,2]{4,5}", "f[1,3]{1,2,12}" },
    { "scatter_rows", "",                                  "i[3,1]{1,2,3} l{2,0,2} i[3,1]{7,8,9}", "i[3,1]{8,2,9}" },
    { "scatter_rows", "mode=add afresh=true",              "i[3,1]{1,2,3} l{2,0,2} i[3,1]{7,8,9}", "i[3,1]{8,2,16}" },
    { "scatter_nd",   "mode=add",                          "i[2,2]{1,2,3,4} l[2,1]{1,1} i[2,2]{1,2,3,4}", "i[2,2]{1,2,7,10}" },
    { "scatter_nd",   "mode=add",                          "i[2,2]{1,2,3,4} l[2,2]{1,1,0,1} i[2]{5,6}", "i[2,2]{1,8,3,9}" },
    { "where",        "",                                  "b[2,1]{1,0} i[2]{1,2} i{9}",        "i[2,2]{1,2,9,9}" },
    { "argsort",      "axis=-1 smallest=true",             "f{3,nan,1,3}",                      "f{1,3,3,nan}" },
    { "top_k",        "axis=0",                            "f{3,nan,1,3} l{3}",                 "f{nan,3,3}" },
    { "top_k",        "axis=1 smallest=true",              "l[2,3]{3,1,2,6,5,4} i{1}",          "l[2,1]{1,4}" },
    { "one_hot",      "dtype=1",                           "l{1,0} l{3}",                       "f[2,3]{0,1,0,1,0,0}" },
    { "one_hot",      "lenient=true negative=true",        "i{-1,7} l{2}",                      "l[2,2]{0,1,0,0}" },
    { "tile",         "",                                  "i{1,2} l{2}",                       "i{1,2,1,2}" },
    { "reduce",       "mode=sum",                          "i[2,2]{1,2,3,4} l{1}",              "i[2]{3,7}" },
    { "arg_reduce",   "axis=-1",                           "f{1,3,3}",                          "l[]{1}" },
    { "arg_reduce",   "axis=-1 last=true",                 "f{1,3,3}",                          "l[]{2}" },
    { "arg_reduce",   "axis=0 smallest=true dtype=2",      "i[2,2]{1,5,0,7}",                   "i[2]{1,0}" },
    { "reduce",       "mode=sum axes=[0]",                 "l[2,2]{1,2,3,4}",                   "l[2]{4,6}" },
    { "reduce",       "mode=mean",                         "f[2,2]{1,2,3,4}",                   "f[]{2.5}" },
    { "reduce",       "mode=max axes=[1]",                 "f[2,2]{1,nan,3,4}",                 "f[2]{nan,4}" },
    { "reduce",       "mode=min axes=[1]",                 "i[2,2]{1,-2,3,4}",                  "i[2]{-2,3}" },
    { "reduce",       "mode=prod axes=[-1]",               "f[2,2]{1,2,3,4}",                   "f[2]{2,12}" },
    { "reduce",       "mode=all axes=[1]",                 "b[2,2]{1,1,1,0}",                   "b[2]{1,0}" },
    { "reduce",       "mode=any axes=[1]",                 "b[2,2]{0,0,1,0}",                   "b[2]{0,1}" },
    { "reduce",       "mode=logsumexp",                    "f{1000,1000}",                      "f[]{1000.693147181}" },
    { "reduce",       "mode=l1",                           "f{-3,4}",                           "f[]{7}" },
    { "reduce",       "mode=l2",                           "f{-3,4}",                           "f[]{5}" },
    { "reduce",       "mode=sum_square",                   "f{-3,4}",                           "f[]{25}" },
    { "reduce",       "mode=log_sum",                      "f{1,1}",                            "f[]{0.693147181}" },
    { "reduce",       "mode=lp p=3",                       "f{-1,2}",                           "f[]{2.080083823}" },
    { "reduce",       "mode=count_nonzero axes=[0]",       "f[2,2]{0,2,0,4}",                   "l[2]{0,2}" },
    { "scan",         "mode=sum axis=1",                   "l[2,2]{1,2,3,4}",                   "l[2,2]{1,3,3,7}" },
    { "scan",         "mode=sum axis=0 exclusive=true reverse=true", "f{1,2,3}",                "f{5,3,0}" },
    { "scan",         "mode=sum",                          "l[2,2]{1,2,3,4} l{1}",              "l[2,2]{1,3,3,7}" },
    { "dft",          "axis=0",                            "f[4,1]{1,2,3,4}",                   "f[4,2]{10,0,-2,2,-2,0,-2,-2}" },
    { "dft",          "axis=0 one_sided=true",             "f[3,1]{1,2,3}",                     "f[2,2]{6,0,-1.5,0.866025404}" },
    { "dft",          "axis=0 one_sided=true inverse=true", "f[2,2]{6,0,-1.5,0.866025404} l{3}", "f[3,1]{1,2,3}" },
    { "dft",          "axis=0 inverse=true",               "f[6,2]{6,0,0,0,0,0,0,0,0,0,0,0}",   "f[6,2]{1,0,1,0,1,0,1,0,1,0,1,0}" },
    { "dft",          "axis=0",                            "f[1,1]{5} l{2}",                    "f[2,2]{5,0,5,0}" },
    { "linear_attention", "q_heads=1 kv_heads=1 scale=1",  "f[1,2,1]{1,2} f[1,2,1]{1,3} f[1,2,1]{5,7}", "f[1,2,1]{5,52} f[1,1,1,1]{26}" },
    { "linear_attention", "q_heads=2 kv_heads=1 scale=1",  "f[1,1,2]{1,2} f[1,1,1]{1} f[1,1,1]{5} f[1,1,1,1]{1}", "f[1,1,2]{6,12} f[1,1,1,1]{6}" },
    { "linear_attention", "q_heads=1 kv_heads=1 scale=2",  "f[1,1,1]{1} f[1,1,1]{2} f[1,1,1]{5} f[1,1,1,1]{1} f[1,1,1]{0} f[1,1,1]{0.5}", "f[1,1,1]{8} f[1,1,1,1]{4}" },
    { "round_narrow", "format=float4_e2m1fn",              "f{0.6,-2.4,9}",                     "f{0.5,-2,6}" },
    { "to_codes",     "format=float8_e4m3fn",              "f{1,-448,1000}",                    "u{56,254,127}" },
    { "to_codes",     "format=float8_e4m3fn saturate=true", "f{1,-448,1000}",                   "u{56,254,126}" },
    { "from_codes",   "format=float8_e5m2",                "u{60,123,252}",                     "f{1,57344,-inf}" },
    { "bit_cast",     "from=2 to=1",                       "i{1065353216,0}",                   "f{1,0}" },
    { "bit_cast",     "from=7 to=9",                       "u{2,0,1}",                          "b{1,0,1}" },
    { "scan",         "mode=prod axis=0",                  "f{1,2,3}",                          "f{1,2,6}" },
    { "scan",         "mode=logsumexp axis=0",             "f{0,0}",                            "f{0,0.693147181}" },
    { "layer_norm",   "begin=0",                           "f{1,3}",                            "f{-1,1}" },
    { "layer_norm",   "begin=0",                           "f{1,3} f{2,3} f{1,0}",              "f{-1,3}" },
    { "rms_norm",     "begin=0",                           "f{1,7}",                            "f{0.2,1.4}" },
    { "matmul",       "alpha=1",                           "l[1,2]{3,4} l[2,2]{1,2,3,4}",       "l[1,2]{15,22}" },
    { "matmul",       "alpha=1",                           "i[2]{65536,0} i[2]{65536,0}",       "i[]{0}" },
    { "matmul",       "alpha=2 trans_b=true",              "d[1,2]{3,4} d[2,2]{1,2,3,4} d{1,1}", "d[1,2]{23,51}" },
    { "l2_normalize", "axis=0",                            "f{3,4}",                            "f{0.6,0.8}" },
};
// clang-format on

static void try_known(const struct known *k)
{
    struct run_node r;
    struct tensor got[SPEC_MAX], want[SPEC_MAX];
    struct err e = { "" };
    if (run_node_init(&r, k->op, k->attrs, k->in, 1, &e) != OK)
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

struct same {
    const char *op, *attrs, *in; /* the letter of input 0 changes */
};

// clang-format off
static const struct same moves[] = {
    { "transpose",  "perm=[0,2,1,3]",                            "f[2,5,3,4]" },
    { "transpose",  "perm=[1,0]",                                "f[33,17]" },
    { "transpose",  "perm=[1,0]",                                "f[1,17]" },
    { "transpose",  "perm=[0,2,3,1]",                            "f[2,19,5,7]" },
    { "transpose",  "perm=[0,3,1,2]",                            "f[2,5,7,18]" },
    { "transpose",  "perm=[3,2,1,0]",                            "f[2,3,4,5]" },
    { "transpose",  "perm=[2,0,3,1,4]",                          "f[2,3,4,5,2]" },
    { "transpose",  "perm=[2,0,1]",                              "f[0,3,4]" },
    { "transpose",  "",                                          "f[]" },
    { "flip",       "axes=[0,2]",                                "f[3,4,5]" },
    { "flip",       "axes=[1]",                                  "f[3,4,5]" },
    { "diagonal",   "axis1=1 axis2=3 offset=-1",                 "f[2,4,3,5]" },
    { "diagonal",   "axis2=1 offset=7",                          "f[2,4,3]" },
    { "slice",      "axes=[0,2] starts=[1,-2] ends=[3,9]",       "f[4,3,5]" },
    { "slice",      "axes=[1,2] starts=[4,0] ends=[-9,5] steps=[-2,3]", "f[2,5,7]" },
    { "slice",      "axes=[1] starts=[2] ends=[2]",              "f[2,5,7]" },
    { "split_part", "axis=1 index=1 count=3",                    "f[2,6,5]" },
    { "split_part", "axis=-1 index=0 sections=[2,-1]",           "f[2,6,5]" },
    { "expand",     "shape=[3,-1,4,5]",                          "f[2,1,5]" },
    { "expand",     "shape=[2,3,7]",                             "f[2,3,1]" },
    { "expand",     "shape=[4]",                                 "f[]" },
    { "expand_as",  "",                                          "f[2,1,5] f[3,2,4,5]" },
    { "tile",       "repeats=[2,3]",                             "f[3,4]" },
    { "tile",       "repeats=[2,1,3]",                           "f[2,5]" },
    { "tile",       "repeats=[2]",                               "f[3,1,5]" },
    { "tile",       "repeats=[0]",                               "f[3,5]" },
};
// clang-format on

static void fast_moves_agree_with_ref(void **state)
{
    char text[128];
    for (size_t i = 0; i < ARRAY_LEN(moves); i++)
        for (const char *letter = "fdilub"; *letter != '\0'; letter++) {
            snprintf(text, sizeof(text), "%c%s", *letter, moves[i].in + 1);
            if (run_compare(moves[i].op, moves[i].attrs, text, SPEC_MAX, 0) < 2)
                fail_msg("%s of %s: no fast kernel", moves[i].op, text);
        }
}

static const struct same folds[] = {
    { "reduce", "mode=sum axes=[1]", "f[5,37]" },
    { "reduce", "mode=mean axes=[-1]", "f[2,3,65]" },
    { "reduce", "mode=max axes=[0]", "f[7,19]" },
    { "reduce", "mode=min axes=[1,2]", "f[3,4,5,6]" },
    { "reduce", "mode=l1", "f[3,4,5]" },
    { "reduce", "mode=l2 axes=[0,1] keep_dims=true", "f[3,4,5]" },
    { "reduce", "mode=sum_square axes=[1]", "f[3,1,5]" },
    { "reduce", "mode=max axes=[1]", "f[2,3]{1,nan,2,-inf,3,nan}" },
    { "reduce", "mode=min axes=[0]", "f[2,3]{1,nan,2,-inf,3,nan}" },
    { "reduce", "mode=mean axes=[0]", "f[]" },
    { "reduce", "mode=sum axes=[1]", "f[0,3]" },
    { "top_k", "axis=-1", "f[3,100] l{5}" },
    { "top_k", "axis=1 smallest=true", "f[3,100] l{64}" },
    { "top_k", "axis=0", "f{1,nan,3,3,-0,0,inf,-inf} l{8}" },
    { "top_k", "axis=0 smallest=true", "f{1,nan,3,3,-0,0,inf,-inf} l{8}" },
    { "top_k", "axis=0", "f[5] l{0}" },
    { "arg_reduce", "axis=-1", "f[3,100]" },
    { "arg_reduce", "axis=1 smallest=true dtype=2", "f[3,100]" },
    { "arg_reduce", "flatten=true", "f[3,5]" },
    { "arg_reduce", "axis=-1", "f[3,4]{1,nan,3,3,-0,0,inf,inf,-inf,-inf,-inf,-inf}" },
    { "arg_reduce", "axis=-1 smallest=true", "f[3,4]{1,nan,3,3,-0,0,inf,inf,-inf,-inf,-inf,-inf}" },
};

static void fast_folds_agree_with_ref(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(folds); i++)
        if (run_compare(folds[i].op, folds[i].attrs, folds[i].in, 1, 1e-6) < 2)
            fail_msg("%s of %s: no fast kernel", folds[i].op, folds[i].in);
}

static const struct same quantised[] = {
    { "fake_quant", "bits=8", "f[3,50] f{0.7}" },
    { "fake_quant", "bits=8 away=true", "f[3,50] f{0.7}" },
    { "fake_quant", "bits=4 away=true back=true", "f[3,50] f{1}" },
    { "fake_quant", "bits=16 back=true", "f[3,50] f{0.5}" },
    { "fake_quant", "bits=8 per_axis=true axis=1", "f[2,3,9] f{0.1,0.5,2}" },
    { "fake_quant", "bits=8 away=true", "f{0.5,1.5,-2.5,nan,inf,-inf,127,-127,126.5} f{127}" },
    { "fake_quant", "bits=8", "f{0.5,1.5,-2.5,nan,inf,-inf,127,-127.5,126.5} f{127}" },
    { "fake_quant", "bits=8", "f{0.5,-1} f{0}" },
};

static void fast_quantisation_is_that_of_ref(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(quantised); i++)
        if (run_compare(quantised[i].op, quantised[i].attrs, quantised[i].in, 1, 0) < 2)
            fail_msg("%s of %s: no fast kernel", quantised[i].op, quantised[i].in);
}

/* Runs every kernel that takes the node; the last one's status. */
static status run_fails(const char *op, const char *attrs, const char *in, struct err *e)
{
    struct run_node r;
    const struct kernel *k;
    status s = run_node_init(&r, op, attrs, in, 1, e);
    for (size_t i = 0; s == OK && (k = kernel_at(op, i)) != NULL; i++) {
        if (!run_takes(&r, k))
            continue;
        run_place(&r);
        s = run_kernel(&r, k, e);
        if (s == INVALID && kernel_at(op, i + 1) != NULL)
            s = OK;
    }
    run_node_deinit(&r);
    return s;
}

static const struct known outside[] = {
    { "gather", "", "f[3,2] l{3}", "index 3 (element 0) is not in the 3 that there are" },
    { "gather", "", "f[3,2] l{0,-4}", "index -4 (element 1) is not in the 3" },
    { "one_hot", "dtype=1", "l{3} l{3}", "id 3 (element 0) is not in 0 .. 2" },
    { "gather_nd", "", "f[3,2] l[1,2]{0,2}", "index 2 (element 1) is not in the 2" },
    { "take_along", "axis=1", "f[1,3] l[1,1]{9223372036854775807}", "is not in the 3" },
    { "put_along", "axis=1", "f[1,3] l[1,1]{-9223372036854775808} f[1,1]", "is not in the 3" },
    { "scatter_rows", "", "f[3] l{3} f[1]", "index 3 (element 0) is not in the 3" },
    { "scatter_nd", "mode=add", "f[3] l[1,1]{-4} f[1]", "index -4 (element 0) is not in the 3" },
};

/* Every kernel refuses an index that points nowhere, and looks at nothing there. */
static void indices_outside_are_refused(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(outside); i++) {
        const struct known *k = &outside[i];
        struct err e = { "" };
        if (run_fails(k->op, k->attrs, k->in, &e) != INVALID || strstr(e.text, k->out) == NULL)
            fail_msg("%s of %s: %s", k->op, k->in, e.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_kernels_give_known_values),
        cmocka_unit_test(fast_moves_agree_with_ref),
        cmocka_unit_test(fast_folds_agree_with_ref),
        cmocka_unit_test(fast_quantisation_is_that_of_ref),
        cmocka_unit_test(indices_outside_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
