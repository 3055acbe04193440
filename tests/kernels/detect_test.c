/* Values of the kernels of detection, worked out by hand; what the framework gives is in tests/data/ops. And that numbers
 * from outside which do not add up are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run_node.h"

struct known {
    const char *op, *attrs, *in, *out;
};

#define NMS       "nms_top_k=-1 keep_top_k=-1 background=-1 nms_threshold=0.5 eta=1 score_threshold=0.1 "
#define TWO_BOXES "f[1,3,4]{0,0,2,2,0,0,2,1.9,5,5,6,6}"

// clang-format off
static const struct known known[] = {
    { "prior_box", "min_sizes=[4] max_sizes=[9] ratios=[4] variances=[1,2,3,4] offset=0.5", "f[1,1,1,1] f[1,1,10,20]",
      "f[1,1,3,4]{0.4,0.3,0.6,0.7,0.3,0.4,0.7,0.6,0.35,0.2,0.65,0.8} f[1,1,3,4]{1,2,3,4,1,2,3,4,1,2,3,4}" },
    { "prior_box", "min_sizes=[4] max_sizes=[9] ratios=[4] variances=[1,1,1,1] offset=0.5 max_early=true clip=true", "f[1,1,1,1] f[1,1,10,20]",
      "f[1,1,3,4]{0.4,0.3,0.6,0.7,0.35,0.2,0.65,0.8,0.3,0.4,0.7,0.6} f[1,1,3,4]{1,1,1,1,1,1,1,1,1,1,1,1}" },
    { "density_prior_box", "sizes=[4] densities=[2] ratios=[1] variances=[1,1,1,1] offset=0.5 flat=true", "f[1,1,1,1] f[1,1,8,8]",
      "f[4,4]{0,0,0.5,0.5,0.5,0,1,0.5,0,0.5,0.5,1,0.5,0.5,1,1} f[4,4]{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}" },
    { "anchors", "sizes=[16] ratios=[1] variances=[1,1,1,1] stride=[8,8] offset=0.5", "f[1,1,1,2]",
      "f[1,2,1,4]{-4,-4,11,11,4,-4,19,11} f[1,2,1,4]{1,1,1,1,1,1,1,1}" },
    { "box_coder", "", "f[1,4]{0,0,2,4} f[1,1,4]{0.5,0.25,0,0} f[1,4]{1,1,1,1}", "f[1,1,4]{1,1,3,5}" },
    { "box_coder", "axis=1 variances=[2,1,1,1]", "f[1,4]{0,0,2,4} f[1,1,4]{0.5,0.25,0,0}", "f[1,1,4]{2,1,4,5}" },
    { "box_coder", "pixels=true", "f[1,4]{0,0,1,3} f[1,1,4]{0,0,0,0}", "f[1,1,4]{0,0,1,3}" },
    { "box_coder", "encode=true", "f[1,4]{0,0,2,4} f[1,4]{1,1,3,5}", "f[1,1,4]{0.5,0.25,0,0}" },
    { "box_clip", "", "f[2,4]{-1,2,30,40,-1,2,3,40} f[2,3]{20,20,1,20,20,2} l{0,1,2}", "f[2,4]{0,2,19,19,0,2,3,9}" },
    { "box_clip", "", "f[2,1,4]{-1,2,30,40,-1,2,3,40} f[2,3]{20,20,1,20,20,2}", "f[2,1,4]{0,2,19,19,0,2,3,9}" },
    { "yolo_box", "anchors=[4,8] classes=1 downsample=8 scale=1 threshold=0.1", "f[1,6,1,1]{0,0,0,0,0,0} i[1,2]{16,32}", "f[1,1,4]{8,0,24,16} f[1,1,1]{0.25}" },
    { "yolo_box", "anchors=[4,8] classes=1 downsample=8 scale=1 threshold=0.9", "f[1,6,1,1]{0,0,0,0,0,0} i[1,2]{16,32}", "f[1,1,4]{0,0,0,0} f[1,1,1]{0}" },
    { "yolo_box", "anchors=[4,8] classes=1 downsample=8 scale=1 threshold=0.1 clip=true iou_aware=true iou_factor=0.5", "f[1,7,1,1]{0,0,0,9,9,0,0} i[1,2]{16,32}", "f[1,1,4]{0,0,31,15} f[1,1,1]{0.25}" },
    { "iou_similarity", "", "f[1,4]{0,0,2,2} f[2,4]{1,1,3,3,5,5,6,6}", "f[1,2]{0.142857143,0}" },
    { "bipartite_match", "", "f[2,2]{0.9,0.8,0.7,0.1}", "i[1,2]{0,1} f[1,2]{0.9,0.1}" },
    { "bipartite_match", "per_prediction=true threshold=0.5", "f[1,2]{0.9,0.8}", "i[1,2]{0,0} f[1,2]{0.9,0.8}" },
    { "polygon_box", "", "f[1,2,1,2]{1,1,1,1}", "f[1,2,1,2]{-1,3,-1,-1}" },
    { "roi_align", "height=1 width=1 scale=1 samples=1", "f[1,1,2,2]{1,2,3,4} f[1,4]{0,0,1,1}", "f[1,1,1,1]{2.5}" },
    { "roi_align", "height=1 width=2 scale=1 aligned=true", "f[2,1,1,2]{1,2,3,4} f[2,4]{0,0,2,1,0,0,2,1} i{1,1}", "f[2,1,1,2]{1,2,3,4}" },
    { "roi_pool", "height=1 width=2 scale=1", "f[1,1,2,2]{1,2,3,4} f[1,4]{0,0,1,1}", "f[1,1,1,2]{3,4}" },
    { "psroi_pool", "height=1 width=2 scale=1 channels=1", "f[1,2,1,2]{1,2,3,4} f[1,4]{0,0,1,0}", "f[1,1,1,2]{1,4}" },
    { "prroi_pool", "height=1 width=1 scale=1", "f[1,1,1,3]{1,2,4} f[1,4]{0,-1,2,1}", "f[1,1,1,1]{1.125}" },
    { "multiclass_nms", NMS, TWO_BOXES " f[1,2,3]{0.5,0.9,0.2,0,0.3,0}", "f[3,6]{0,0.9,0,0,2,1.9,0,0.2,5,5,6,6,1,0.3,0,0,2,1.9} i[3,1]{1,2,1} i{3} l{0,3}" },
    { "multiclass_nms", NMS "keep_top_k=2", TWO_BOXES " f[1,2,3]{0.5,0.9,0.2,0,0.3,0}", "f[2,6]{0,0.9,0,0,2,1.9,1,0.3,0,0,2,1.9} i[2,1]{1,1} i{2} l{0,2}" },
    { "multiclass_nms", NMS "nms_top_k=1 background=1", TWO_BOXES " f[1,2,3]{0.5,0.9,0.2,0,0.3,0}", "f[1,6]{0,0.9,0,0,2,1.9} i[1,1]{1} i{1} l{0,1}" },
    { "multiclass_nms", NMS "nothing=true", TWO_BOXES " f[1,1,3]{0,0,0}", "f[1,1]{-1} i[0,1] i{0} l{0,1}" },
    { "multiclass_nms", NMS, TWO_BOXES " f[1,1,3]{0,0,0}", "f[0,6] i[0,1] i{0} l{0,0}" },
    { "multiclass_nms", NMS, "f[3,1,4]{0,0,2,2,0,0,2,1.9,5,5,6,6} f[3,1]{0.5,0.9,0.2} l{1,2}", "f[3,6]{0,0.5,0,0,2,2,0,0.9,0,0,2,1.9,0,0.2,5,5,6,6} i[3,1]{0,1,2} i{1,2} l{0,1,3}" },
    { "multiclass_nms", NMS "merge=true", TWO_BOXES " f[1,1,3]{0.5,0.5,0.2}", "f[2,6]{0,1,0,0,2,1.95,0,0.2,5,5,6,6} i[2,1]{0,2} i{2} l{0,2}" },
    { "nms_each", "", "f[1,3,4]{0,0,2,2,0,0,2,1.9,5,5,6,6} f[1,2,3]{0.5,0.9,0.2,0,0.3,0} l{2} f{0.5} f{0.1}", "l[3,3]{0,0,1,0,0,2,0,1,1}" },
    { "nms_each", "", "f[1,3,4]{0,0,2,2,2,1.9,0,0,5,5,6,6} f[1,1,3]{0.5,0.9,0.2} l{1} f{0.5}", "l[1,3]{0,0,1}" },
    { "nms_each", "centred=true", "f[1,2,4]{1,1,2,2,1,0.95,2,1.9} f[1,1,2]{0.9,0.5} l{2} f{0.5}", "l[1,3]{0,0,0}" },
    { "nms_each", "", "f[1,1,4]{0,0,1,1} f[1,1,1]{0.5}", "l[0,3]" },
    { "retina_boxes", "levels=1 nms_top_k=3 keep_top_k=2 nms_threshold=0.5 eta=1", "f[1,2,4]{0,0,0,0,0,0,0,0} f[1,2,2]{0.9,0.1,0.5,0.8} f[2,4]{0,0,9,9,0,0,9,8} f[1,3]{8,8,1}",
      "f[2,6]{1,0.9,0,0,7,7,2,0.8,0,0,7,7} l{0,2}" },
    { "nms_ordered", "threshold=0.5", "f[3,4]{0,0,2,2,0,0,2,1.9,5,5,6,6}", "l{0,2}" },
    { "decode_assign", "limit=4", "f[1,4]{0,0,3,3} f{1,1,1,1} f[1,8]{0,0,0,0,1,0,0,0} f[1,2]{0.9,0.1}", "f[1,8]{0,0,3,3,4,0,7,3} f[1,4]{4,0,7,3}" },
    { "matrix_nms", NMS "post_threshold=0.1", TWO_BOXES " f[1,1,3]{0.5,0.9,0.2}", "f[2,6]{0,0.9,0,0,2,1.9,0,0.2,5,5,6,6} i[2,1]{1,2} i{2} l{0,2}" },
    { "matrix_nms", NMS "gaussian=true sigma=0.5", TWO_BOXES " f[1,1,3]{0.5,0.9,0.2}", "f[3,6]{0,0.9,0,0,2,1.9,0,0.318416,0,0,2,2,0,0.2,5,5,6,6} i[3,1]{1,0,2} i{3} l{0,3}" },
    { "proposals", "pre_top=2 post_top=2 threshold=0.5", "f[1,1,1,3]{0.1,0.9,0.5} f[1,4,1,3]{0,0,0,0,0,0,0,0,0,0,0,0} f[1,2]{9,9} f[3,4]{0,0,4,4,2,2,8,8,5,5,12,12} f[3,4]{1,1,1,1,1,1,1,1,1,1,1,1}",
      "f[2,4]{2,2,8,8,5,5,9,9} f[2,1]{0.9,0.5} i{2} l{0,2}" },
    { "proposals", "threshold=0.5 min_size=20", "f[1,1,1,1]{0.1} f[1,4,1,1]{0,0,0,0} f[1,2]{9,9} f[1,4]{0,0,4,4} f[1,4]{1,1,1,1}", "f[1,4]{0,0,0,0} f[1,1]{0} i{1} l{0,1}" },
    { "distribute_rois", "outs=7 min_level=2 max_level=3 refer_level=2 refer_scale=8", "f[3,4]{0,0,20,20,0,0,4,4,0,0,30,30} i{2,1}",
      "f[1,4]{0,0,4,4} f[2,4]{0,0,20,20,0,0,30,30} i{1,0} i{1,1} l{0,1,1} l{0,1,2} i[3,1]{1,0,2}" },
    { "collect_rois", "levels=2 top=2", "f[2,4]{1,1,1,1,2,2,2,2} f[1,4]{3,3,3,3} f{0.5,0.9} f{0.7} i{1,1} i{1,0}", "f[2,4]{3,3,3,3,2,2,2,2} i{1,1} l{0,1,2}" },
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
    int count = spec_read(k->out, 1, &r.spec.arena, want);
    for (int i = 0; i < count; i++)
        if (!(spec_error(&got[i], &want[i]) <= 1e-6))
            fail_msg("%s %s of %s: output %d differs by %g", k->op, k->attrs, k->in, i,
                     spec_error(&got[i], &want[i]));
    run_node_deinit(&r);
}

static void ref_kernels_give_known_values(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        try_known(&known[i]);
}

static void kernels_agree_with_ref(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        assert_true(run_compare(known[i].op, known[i].attrs, known[i].in, SPEC_MAX, 1e-5) >= 1);
}

/* What is not a number, infinite or huge goes through without harm. */
static void any_numbers_are_survived(void **state)
{
    static const char *const rows[][3] = {
        { "roi_align", "height=2 width=2 scale=1",
          "f[1,1,2,2] f[4,4]{nan,0,1,1,-1e30,-1e30,1e30,1e30,0,0,inf,inf,9,9,1,1}" },
        { "roi_align", "height=2 width=2 scale=1 aligned=true",
          "f[1,1,2,2] f[4,4]{nan,0,1,1,-1e30,-1e30,1e30,1e30,0,0,inf,inf,9,9,1,1}" },
        { "roi_pool", "height=2 width=2 scale=1",
          "f[1,1,2,2] f[4,4]{nan,0,1,1,-1e30,-1e30,1e30,1e30,0,0,inf,inf,9,9,1,1}" },
        { "psroi_pool", "height=1 width=1 channels=1 scale=1",
          "f[1,1,2,2] f[4,4]{nan,0,1,1,-1e30,-1e30,1e30,1e30,0,0,inf,inf,9,9,1,1}" },
        { "prroi_pool", "height=2 width=2 scale=1",
          "f[1,1,2,2] f[4,4]{nan,0,1,1,-1e30,-1e30,1e30,1e30,0,0,inf,inf,9,9,1,1}" },
        { "multiclass_nms", NMS, "f[1,3,4]{nan,inf,-inf,1,0,0,1,1,2,2,1,1} f[1,1,3]{nan,inf,0.5}" },
        { "matrix_nms", NMS, "f[1,3,4]{nan,inf,-inf,1,0,0,1,1,2,2,1,1} f[1,1,3]{nan,inf,0.5}" },
        { "proposals", "threshold=0.5",
          "f[1,1,1,2]{nan,1} f[1,4,1,2]{nan,inf,0,0,0,1e30,0,0} f[1,2]{9,nan} f[2,4] f[2,4]" },
        { "distribute_rois", "outs=7 min_level=2 max_level=3 refer_level=2 refer_scale=8",
          "f[2,4]{nan,0,1,1,0,0,inf,inf}" },
        { "collect_rois", "levels=1 top=2", "f[2,4] f{nan,nan} i{2}" },
        { "grid_sample", "mode=cubic padding=reflection",
          "f[1,1,2,2] f[1,1,3,2]{nan,0,1e30,-1e30,inf,-inf}" },
        { "deform_conv", "groups=1 deform_groups=1",
          "f[1,1,2,2] f[1,1,1,1] f[1,2,2,2]{nan,inf,1e30,-1e30,0,-inf,9,1}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        run_compare(rows[i][0], rows[i][1], rows[i][2], SPEC_MAX, INFINITY);
}

static void expect_refusal(const char *op, const char *attrs, const char *in)
{
    struct run_node r;
    struct err e = { "" };
    assert_int_equal(run_node_init(&r, op, attrs, in, SPEC_MAX, &e), OK);
    run_place(&r);
    assert_int_equal(run_kernel(&r, kernel_at(op, 0), &e), INVALID);
    assert_non_null(strstr(e.text, "do not add up to its"));
    run_node_deinit(&r);
}

static void counts_that_do_not_add_up_are_refused(void **state)
{
    static const char *const counts[] = { "i{1,2}",           "i{1,0}",     "i{-1,3}",
                                          "l{9000000000,-1}", "- l{0,1,3}", "- l{1,1,2}",
                                          "- l{0,3,2}" };
    char in[128];
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        snprintf(in, sizeof(in), "f[2,1,2,2] f[2,4] %s", counts[i]);
        expect_refusal("roi_align", "height=1 width=1 scale=1", in);
        snprintf(in, sizeof(in), "f[2,1,4] f[2,1] %s", counts[i]);
        expect_refusal("multiclass_nms", NMS, in);
        snprintf(in, sizeof(in), "f[2,4] %s", counts[i]);
        expect_refusal("distribute_rois",
                       "outs=7 min_level=2 max_level=3 refer_level=2 refer_scale=8", in);
    }
    expect_refusal("collect_rois", "levels=1 top=2", "f[2,4] f{1,2} i{1,2}");
    expect_refusal("bipartite_match", "", "f[2,3] l{0,1,3}");
    expect_refusal("box_clip", "", "f[2,4] f[2,3] l{0,1,3}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_kernels_give_known_values),
        cmocka_unit_test(kernels_agree_with_ref),
        cmocka_unit_test(any_numbers_are_survived),
        cmocka_unit_test(counts_that_do_not_add_up_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
