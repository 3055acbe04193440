/* Recurrent layers and ragged rows: values of the ref kernels where they are known, every other kernel against ref, and
 * the faults of lengths and offsets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/xxhash.h"
#include "run_node.h"

struct known {
    const char *op, *attrs, *in, *out;
};

// clang-format off
static const struct known known[] = {
    { "rnn",              "mode=relu",                 "f[2,1,1]{1,2} f[1,1]{10} f[1]{0.5} f[1,1]{1}", "f[2,1,1]{11.5,117.5} f[1,1]{117.5} f[1,1]{0}" },
    { "rnn",              "mode=relu reverse=true",    "f[3,1,1]{1,2,9} f[1,1]{10} - - - l{2}",  "f[3,1,1]{21,2,0} f[1,1]{21} f[1,1]{0}" },
    { "rnn",              "mode=lstm",                 "f[1,1,4]{0,0,1,0} f[4,1]{0,0,0,0} - - f[1,1]{2}", "f[1,1,1]{0.440564814} f[1,1]{0.440564814} f[1,1]{1.380797078}" },
    { "rnn",              "mode=gru",                  "f[1,1,3]{0,0,1} f[3,1]{0,0,2} - f[1,1]{1}", "f[1,1,1]{0.982013790} f[1,1]{0.982013790} f[1,1]{0}" },
    { "gru",              "gate_act=sigmoid candidate_act=tanh", "f[1,3]{0,0,1} f[1,3]{0,0,2} l{0,1} - f[1,1]{1}", "f[1,1]{0.982013790}" },
    { "gru",              "reverse=true",              "f[3,3]{1,0,1,1,0,2,1,0,3} f[1,3]{0,0,0} l{0,2,3}", "f[3,1]{1,2,3}" },
    { "crf_decode",       "",                          "f[3,2]{1,0,0,1,5,0} l{0,2,3} f[4,2]{0,0,0,0,0,0,0,0}", "l[3,1]{0,1,0}" },
    { "crf_decode",       "",                          "f[2,2]{1,0,0,1} l{0,2} f[4,2]{0,0,0,0,0,-5,0,0}", "l[2,1]{0,0}" },
    { "row_conv",         "",                          "f[3,1]{1,2,3} l{0,2,3} f[2,1]{1,10}",         "f[3,1]{21,2,3}" },
    { "seq_softmax",      "",                          "f[3,1]{0,0,7} l{0,2,3}",                      "f[3,1]{0.5,0.5,1}" },
    { "seq_reverse",      "",                          "i[3,2]{1,2,3,4,5,6} l{0,2,3}",                "i[3,2]{3,4,1,2,5,6}" },
    { "seq_repeat",       "",                          "i[2,1]{7,8} l{0,2,3} f[3]",                   "i[3,1]{7,7,8}" },
    { "seq_expand",       "",                          "i[3,1]{1,2,3} l{0,2,3} l{0,1,3}",             "i[4,1]{1,1,2,3} l{0,1,2,4}" },
    { "seq_expand",       "",                          "i[2,1]{1,2} l{0,2,2}",                        "i[2,1]{1,1} l{0,1,2}" },
    { "seq_concat",       "",                          "i[3,1]{1,2,3} l{0,2,3} i[2,1]{8,9} l{0,0,2}", "i[5,1]{1,2,3,8,9} l{0,2,5}" },
    { "seq_enumerate",    "window=2",                  "l[3,1]{1,2,3} l{0,2,3}",                      "l[3,2]{1,2,2,0,3,0}" },
    { "seq_mask",         "dtype=2",                   "l{1,0,5} l{3}",                               "i[3,3]{1,0,0,0,0,0,1,1,1}" },
    { "seq_scatter",      "",                          "f[2,2]{0,0,1,1} l[3,1]{1,1,0} l{0,2,3} f[3]{5,6,7}", "f[2,2]{0,11,8,1}" },
    { "ctc_align_padded", "pad=7",                     "i[1,5]{1,1,0,1,2} i{4}",                      "i[1,5]{1,1,7,7,7} i[1,1]{2}" },
    { "edit_distance",    "",                          "l[4,1]{1,2,3,4} l{0,3,4} l[4,1]{1,3,9,4} l{0,3,4}", "f[2,1]{2,0}" },
    { "edit_distance",    "padded=true normalized=true", "l[1,3]{1,2,3} l{2} l[1,4]{1,2,3,4} l{4}",   "f[1,1]{0.5}" },
    { "cvm",              "",                          "f[1,3]{0,0,5}",                               "f[1,3]{0,0,5}" },
    { "cvm",              "drop=true",                 "f[1,3]{0,0,5}",                               "f[1,1]{5}" },
};

static const struct known odd[] = {
    { "crf_decode_padded", "",                         "f[1,3,2]{1,0,0,1,9,9} l{2} f[4,2]{0,0,0,0,0,0,0,0}", "l[1,3]{0,1,0}" },
    { "fake_quant",       "bits=8",                    "f{0.5,1.5,-9} f{127}",                        "f{0,2,-9}" },
    { "fake_quant",       "bits=8 away=true",          "f{0.5,1.5,-2.5} f{127}",                      "f{1,2,-3}" },
    { "fake_quant",       "bits=8",                    "f{1000,-1000} f{127}",                        "f{127,-128}" },
    { "fake_quant",       "bits=8 away=true back=true", "f{1000,-1000,0.4} f{127}",                   "f{127,-127,0}" },
    { "fake_quant",       "bits=4 per_axis=true axis=0", "f[2,1]{1,1} f{7,14}",                       "f[2,1]{1,0}" },
    { "fake_dequant",     "range=2",                   "f{1,3} f{4}",                                 "f{2,6}" },
    { "fake_dequant",     "range=2 per_axis=true axis=1", "f[1,2]{1,3} f{4,2} f{10}",                 "f[1,2]{20,30}" },
    { "linspace",         "dtype=1",                   "f{0} f{1} l{5}",                              "f{0,0.25,0.5,0.75,1}" },
    { "linspace",         "dtype=2",                   "f{0} f{3} l{1}",                              "i{0}" },
    { "diag",             "offset=1 padding=9",        "f{1,2}",                                      "f[3,3]{9,1,9,9,9,2,9,9,9}" },
    { "diag",             "offset=-1",                 "i[2,2]{1,2,3,4}",                             "i{3}" },
    { "put_slice",        "axes=[1] starts=[2] ends=[-3] steps=[-2]", "i[2,3]{1,2,3,4,5,6} i[2,1]{8,9}", "i[2,3]{1,2,8,4,5,9}" },
    { "put_slice",        "axes=[0] starts=[5] ends=[9]", "i{1,2} i{9}",                              "i{1,2}" },
    { "repeat",           "axis=0",                    "i[2,2]{1,2,3,4} l{2}",                        "i[4,2]{1,2,1,2,3,4,3,4}" },
    { "repeat",           "axis=1",                    "i[2,2]{1,2,3,4} i{0,2}",                      "i[2,2]{2,2,4,4}" },
    { "multiplex",        "",                          "l[2,1]{1,0} i[2,1]{1,2} i[2,1]{3,4}",         "i[2,1]{3,2}" },
};

static const struct known dynamic[] = {
    { "viterbi",          "",                          "f[1,3,2]{1,0,0,1,9,9} f[2,2]{0,0,0,0} l{2}",  "f[1]{2} l[1,2]{0,1}" },
    { "viterbi",          "",                          "f[2,3,2]{1,0,0,1,9,9,0,1,1,0,9,9} f[2,2]{0,0,0,0} l{1,2}",  "f[2]{1,2} l[2,2]{0,0,1,0}" },
    { "masked_select",    "",                          "i[2,2]{1,2,3,4} b[2]{0,1}",                   "i[2]{2,4}" },
    { "masked_select",    "",                          "i[2]{1,2} b[2,2]{0,1,1,1}",                   "i[3]{2,1,2}" },
    { "nonzero",          "",                          "f[2,2]{0,2,0,4}",                             "l[2,2]{0,1,1,1}" },
    { "nonzero",          "",                          "b[3]{0,0,0}",                                 "l[0,1]" },
    { "unique",           "",                          "i{3,1,3,2}",                                  "i{1,2,3} l{1,3,0} l{2,0,2,1} l{1,1,2}" },
    { "unique",           "unsorted=true",             "i{3,1,3,2}",                                  "i{3,1,2} l{0,1,3} l{0,1,0,2} l{2,1,1}" },
    { "unique",           "consecutive=true",          "f{3,3,1,3}",                                  "f{3,1,3} l{0,2,3} l{0,0,1,2} l{2,1,1}" },
    { "seq_unpad",        "",                          "i[2,3]{1,2,3,4,5,6} l{1,2}",                  "i[3,1]{1,4,5} l{0,1,3}" },
    { "seq_slice",        "",                          "i[4,1]{1,2,3,4} l{0,3,4} l{1,0} l{2,0}",      "i[2,1]{2,3} l{0,2,2}" },
    { "seq_erase",        "tokens=[2,4]",              "l[4,1]{1,2,3,4} l{0,3,4}",                    "l[2,1]{1,3} l{0,2,2}" },
    { "ctc_align",        "",                          "i[5,1]{1,1,0,1,2} l{0,4,5}",                  "i[3,1]{1,1,2} l{0,2,3}" },
    { "ctc_align",        "keep=true",                 "i[3,1]{1,1,0} l{0,3}",                        "i[2,1]{1,1} l{0,2}" },
    { "ctc_align",        "",                          "i[2,1]{0,0} l{0,2}",                          "i[1,1]{-1} l{0,0}" },
};
// clang-format on

static void compare(struct run_node *r, const struct known *k)
{
    struct tensor got[SPEC_MAX], want[SPEC_MAX];
    run_ref(r, got);
    int count = spec_read(k->out, 1, &r->spec.arena, want);
    for (int i = 0; i < count; i++)
        if (!(spec_error(&got[i], &want[i]) <= 2e-7))
            fail_msg("%s %s of %s: output %d differs by %g", k->op, k->attrs, k->in, i,
                     spec_error(&got[i], &want[i]));
}

static void try_known(const struct known *k)
{
    struct run_node r;
    struct err e = { "" };
    if (run_node_init(&r, k->op, k->attrs, k->in, 1, &e) != OK)
        fail_msg("%s: %s", k->op, e.text);
    compare(&r, k);
    run_node_deinit(&r);
}

static void ref_kernels_give_known_values(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        try_known(&known[i]);
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        try_known(&odd[i]);
    for (size_t i = 0; i < ARRAY_LEN(dynamic); i++)
        try_known(&dynamic[i]);
}

static const struct {
    const char *op, *attrs, *in;
} fast[] = {
    { "rnn", "mode=lstm", "f[5,3,28] f[28,7] f[28] f[3,7] f[3,7] l{5,2,0}" },
    { "rnn", "mode=lstm reverse=true", "f[4,1,132] f[132,33] f[132]" },
    { "rnn", "mode=gru reverse=true", "f[5,3,99] f[99,33] f[99] f[3,33] - i{1,5,3}" },
    { "rnn", "mode=gru", "f[5,4,51] f[51,17]" },
    { "rnn", "mode=gru", "f[0,4,51] f[51,17]" },
    { "rnn", "mode=tanh", "f[5,2,5] f[5,5] f[5]" },
    { "rnn", "mode=relu", "f[5,9,16] f[16,16] f[16]" },
    { "gru", "gate_act=sigmoid candidate_act=tanh",
      "f[20,15] f[5,15] l{0,3,3,9,10,14,20} f[1,15] f[6,5]" },
    { "lstm", "gate_act=sigmoid cell_act=tanh candidate_act=tanh",
      "f[20,20] l{0,3,3,9,10,14,20} f[5,20] f[1,20] f[6,5] f[6,5]" },
    { "lstm", "gate_act=sigmoid cell_act=tanh candidate_act=tanh peepholes=true reverse=true",
      "f[20,132] l{0,1,9,9,17,20} f[33,132] f[1,231]" },
    { "lstm", "gate_act=sigmoid cell_act=tanh candidate_act=relu peepholes=true",
      "f[4,12] l{0,1,4} f[3,12] f[1,21]" },
    { "gru", "gate_act=sigmoid candidate_act=tanh", "f[7,99] f[33,99] l{0,3,3,7} f[1,99]" },
    { "gru", "gate_act=sigmoid candidate_act=tanh reverse=true origin=true",
      "f[5,15] f[5,15] l{0,2,5} - f[2,5]" },
    { "gru", "gate_act=sigmoid candidate_act=tanh", "f[4,48] f[16,48] - f[48] f[4,16]" },
};

static void fast_kernels_agree_with_ref(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(fast); i++)
        if (run_compare(fast[i].op, fast[i].attrs, fast[i].in, 1, 2e-6) < 2)
            fail_msg("%s %s of %s: no fast kernel", fast[i].op, fast[i].attrs, fast[i].in);
}

static const struct known faults[] = {
    { "rnn", "mode=relu", "f[2,1,1] f[1,1] - - - l{3}", "length 3 (row 0) is not in 0 .. 2" },
    { "rnn", "mode=relu", "f[2,1,1] f[1,1] - - - i{-1}", "length -1 (row 0) is not in 0 .. 2" },
    { "gru", "", "f[3,3] f[1,3] l{0,2}", "its 1 sequences do not add up to its 3 rows" },
    { "gru", "gate_act=sigmoid candidate_act=tanh", "f[3,3] f[1,3] l{0,4,3}", "do not add up" },
    { "viterbi", "", "f[1,2,2] f[2,2] l{3}", "length 3 (row 0) is not in 1 .. 2" },
    { "viterbi", "", "f[1,2,2] f[2,2] l{0}", "length 0 (row 0) is not in 1 .. 2" },
    { "crf_decode", "", "f[3,2] l{0,9} f[4,2]", "do not add up" },
    { "crf_decode_padded", "", "f[1,2,2] l{3} f[4,2]", "length 3 (row 0) is not in 1 .. 2" },
    { "multiplex", "", "l{2} f[1,1] f[1,1]", "id 2 (row 0) is not in 0 .. 1" },
    { "row_conv", "", "f[3,2] l{1,3} f[4,2]", "do not add up" },
    { "seq_softmax", "", "f[3,1] l{0,9}", "do not add up" },
    { "seq_reverse", "", "f[3,1] l{0,5,3}", "do not add up" },
    { "seq_repeat", "", "f[2,1] l{0,5,3} f[3]", "do not add up" },
    { "seq_concat", "", "f[3,1] l{0,3} f[3,1] l{0,4}", "do not add up" },
    { "seq_pad", "", "f[3,1] l{0,3} f[1]", "a sequence of 3 rows does not fit 0" },
    { "seq_unpad", "", "f[1,3] l{4}", "length 4 (row 0) is not in 0 .. 3" },
    { "seq_unpad", "", "f[1,3] l{-1}", "length -1 (row 0) is not in 0 .. 3" },
    { "seq_slice", "", "f[3,1] l{0,3} l{1} l{3}", "3 rows from 1 on of sequence 0, which has 3" },
    { "seq_slice", "", "f[3,1] l{0,3} l{-1} l{3}", "3 rows from -1 on" },
    { "seq_slice", "", "f[3,1] l{0,3} l{1} l{9223372036854775807}", "rows from 1 on" },
    { "seq_scatter", "", "f[1,2] l[1,1]{2} l{0,1} f[1]", "id 2 (row 0) is not in 0 .. 1" },
    { "ctc_align_padded", "", "i[1,2] i{3}", "length 3 (row 0) is not in 0 .. 2" },
    { "edit_distance", "padded=true", "l[1,2] l{3} l[1,2] l{1}",
      "length 3 (row 0) is not in 0 .. 2" },
    { "edit_distance", "normalized=true", "l[1,1] l{0,1} l[0,1] l{0,0}", "sequence 0 is empty" },
};

/* Runs every kernel that takes the node: all must say the same. */
static void try_fault(const struct known *k)
{
    struct run_node r;
    struct err e = { "" };
    const struct kernel *row;
    if (run_node_init(&r, k->op, k->attrs, k->in, 1, &e) != OK)
        fail_msg("%s of %s: %s", k->op, k->in, e.text);
    for (size_t i = 0; (row = kernel_at(k->op, i)) != NULL; i++) {
        if (!run_takes(&r, row))
            continue;
        run_place(&r);
        if (run_kernel(&r, row, &e) != INVALID || strstr(e.text, k->out) == NULL)
            fail_msg("%s of %s by %s: %s", k->op, k->in, row->name, e.text);
    }
    run_node_deinit(&r);
}

static void lengths_and_offsets_outside_are_refused(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        try_fault(&faults[i]);
}

/* From the reference implementation's own test vectors: the empty text, and "abc". */
static void the_hash_is_xxh64(void **state)
{
    assert_true(xxhash64("", 0, 0) == 0xef46db3751d8e999u);
    assert_true(xxhash64("abc", 3, 0) == 0x44bc2cf5ad770999u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_kernels_give_known_values),
        cmocka_unit_test(fast_kernels_agree_with_ref),
        cmocka_unit_test(lengths_and_offsets_outside_are_refused),
        cmocka_unit_test(the_hash_is_xxh64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
