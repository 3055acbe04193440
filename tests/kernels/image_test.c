/* Values of the ref kernels on images where they are known by hand or by another operator, and every other kernel
 * against ref. What the framework gives for them is in tests/data/ops. */
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
    { "batch_norm", "epsilon=0", "f[1,2,1,2]{1,2,3,4} f{2,1} f{1,0} f{1,2} f{4,1}", "f[1,2,1,2]{1,2,1,2}" },
    { "batch_norm", "epsilon=0 channel_last=true", "f[1,2,2]{1,3,2,4} f{2,1} f{1,0} f{1,2} f{4,1}", "f[1,2,2]{1,1,2,2}" },
    { "instance_norm", "", "f[1,2,2]{1,3,5,5} f{1,1} f{0,2}", "f[1,2,2]{-1,1,nan,nan}" },
    { "group_norm", "groups=1", "f[1,2,2]{-1,1,-1,1} - f{0,1}", "f[1,2,2]{-1,1,0,2}" },
    { "lrn", "size=3 alpha=1 beta=1 k=1", "f[1,3,1,1]{1,2,3}", "f[1,3,1,1]{0.166666667,0.133333333,0.214285714}" },
    { "conv_nd", "groups=1", "f[1,1,4]{1,2,3,4} f[1,1,2]{1,-1} f{10}", "f[1,1,3]{9,9,9}" },
    { "conv_transpose", "groups=1 stride=[2]", "f[1,1,2]{1,2} f[1,1,3]{1,10,100}", "f[1,1,5]{1,10,102,20,200}" },
    { "conv_transpose", "groups=2 pads=[0,1]", "f[1,2,2]{1,2,3,4} f[2,1,2]{1,10,1,10}", "f[1,2,2]{1,12,3,34}" },
    { "pool_nd", "kernel=[2] mode=avg pads=[1,0]", "f[1,1,3]{1,2,4}", "f[1,1,3]{1,1.5,3}" },
    { "pool_nd", "kernel=[2] mode=avg_with_pads pads=[1,0]", "f[1,1,3]{1,2,4}", "f[1,1,3]{0.5,1.5,3}" },
    { "pool_nd", "kernel=[2] mode=max adaptive=true", "f[1,1,3]{1,7,4}", "f[1,1,2]{7,7}" },
    { "pool_nd", "kernel=[2] mode=max dilation=[2]", "f[1,1,4]{7,1,2,3}", "f[1,1,2]{7,3}" },
    { "pool_nd", "kernel=[2] mode=avg dilation=[2] pads=[1,1]", "f[1,1,3]{1,3,7}", "f[1,1,3]{3,4,3}" },
    { "pool_nd", "kernel=[2] mode=avg_with_pads dilation=[2] pads=[1,1]", "f[1,1,3]{1,3,7}", "f[1,1,3]{1.5,4,1.5}" },
    { "pool_nd", "kernel=[2] mode=avg stride=[3] dilation=[3] pads=[1,2]", "f[1,1,2]{1,3}", "f[1,1,1]{0}" },
    { "max_pool_index", "kernel=[2,2] dilation=[1,2]", "f[1,1,2,3]{1,9,3,4,5,6}", "f[1,1,1,1]{6} i[1,1,1,1]{5}" },
    { "max_pool_index", "kernel=[2,2]", "f[1,1,2,3]{1,9,3,4,5,6}", "f[1,1,1,2]{9,9} i[1,1,1,2]{1,1}" },
    { "max_unpool", "size=[2,3]", "f[1,1,1,2]{9,6} i[1,1,1,2]{1,5}", "f[1,1,2,3]{0,9,0,0,0,6}" },
    { "resize", "mode=nearest place=asymmetric size=[1,4]", "f[1,1,1,2]{1,2}", "f[1,1,1,4]{1,1,2,2}" },
    { "resize", "mode=linear place=half_pixel size=[1,4]", "f[1,1,1,2]{1,2}", "f[1,1,1,4]{1,1.25,1.75,2}" },
    { "resize", "mode=linear place=corners size=[1,4]", "f[1,1,1,2]{0,3}", "f[1,1,1,4]{0,1,2,3}" },
    { "resize", "mode=linear place=asymmetric axes=[0] scale=[2]", "f{0,2,4}", "f{0,1,2,3,4,4}" },
    { "resize", "mode=cubic place=corners cubic=-0.75 size=[1,2]", "f[1,1,1,3]{1,5,9}", "f[1,1,1,2]{1,9}" },
    { "resize", "mode=nearest place=half_pixel round=half_down size=[1,2]", "f[1,1,1,4]{1,2,3,4}", "f[1,1,1,2]{1,3}" },
    { "pad", "pads=[0,1,0,2] value=9", "f[1,2]{1,2}", "f[1,5]{9,1,2,9,9}" },
    { "pad", "pads=[2,1] mode=reflect", "l{1,2,3}", "l{3,2,1,2,3,2}" },
    { "pad", "pads=[2,1] mode=edge", "i{1,2,3}", "i{1,1,1,2,3,3}" },
    { "pad", "pads=[2,1] mode=wrap", "u{1,2,3}", "u{2,3,1,2,3,1}" },
    { "pad", "pads=[-1,1] value=7", "f{1,2,3}", "f{2,3,7}" },
    { "grid_sample", "mode=linear align_corners=true", "f[1,1,1,3]{1,2,4} f[1,1,3,2]{-1,0,0.5,0,3,0}", "f[1,1,1,3]{1,3,0}" },
    { "grid_sample", "mode=linear align_corners=true padding=border", "f[1,1,1,3]{1,2,4} f[1,1,1,2]{3,0}", "f[1,1,1,1]{4}" },
    { "grid_sample", "mode=linear align_corners=true padding=reflection", "f[1,1,1,3]{1,2,4} f[1,1,1,2]{2,0}", "f[1,1,1,1]{2}" },
    { "grid_sample", "mode=nearest", "f[1,1,1,2]{1,2} f[1,1,2,2]{-0.9,0,nan,0}", "f[1,1,1,2]{1,0}" },
    { "affine_grid", "size=[1,1,1,2] align_corners=true", "f[1,2,3]{1,0,0,0,1,5}", "f[1,1,2,2]{-1,4,1,4}" },
    { "affine_grid", "size=[1,1,1,1,2] align_corners=true", "f[1,3,4]{1,0,0,0,0,1,0,5,0,0,2,0}", "f[1,1,1,2,3]{-1,4,-2,1,4,-2}" },
    { "affine_grid", "size=[1,1,1,2]", "f[1,2,3]{2,0,0,0,1,0}", "f[1,1,2,2]{-1,0,1,0}" },
    { "depth_to_space", "block=2", "f[1,4,1,1]{1,2,3,4}", "f[1,1,2,2]{1,2,3,4}" },
    { "depth_to_space", "block=2 blocks_first=true", "f[1,8,1,1]{1,2,3,4,5,6,7,8}", "f[1,2,2,2]{1,3,5,7,2,4,6,8}" },
    { "space_to_depth", "block=2", "f[1,2,2,2]{1,2,3,4,5,6,7,8}", "f[1,8,1,1]{1,2,3,4,5,6,7,8}" },
    { "space_to_depth", "block=2 blocks_first=true", "f[1,2,2,2]{1,3,5,7,2,4,6,8}", "f[1,8,1,1]{1,2,3,4,5,6,7,8}" },
    { "channel_shuffle", "groups=2", "l[1,4,1,1]{1,2,3,4}", "l[1,4,1,1]{1,3,2,4}" },
    { "maxout", "groups=2 axis=1", "f[1,4,1]{1,2,4,3}", "f[1,2,1]{2,4}" },
    { "im2col", "kernel=[1,2] pads=[0,1,0,0]", "f[1,1,1,2]{1,2}", "f[1,2,2]{0,1,1,2}" },
    { "col2im", "", "f[1,2,2]{1,2,10,20} l{1,3} l{1,2}", "f[1,1,1,3]{1,12,20}" },
    { "col2im", "kernel=[2,1,1] size=[2,1,2]", "f[1,2,2]{1,2,10,20}", "f[1,1,2,1,2]{1,2,10,20}" },
    { "col2im", "kernel=[1,2] size=[1,3]", "f[1,2,2]{1,2,10,20}", "f[1,1,1,3]{1,12,20}" },
    { "temporal_shift", "segments=2 ratio=0.25", "f[2,4,1,1]{1,2,3,4,5,6,7,8}", "f[2,4,1,1]{0,6,3,4,1,0,7,8}" },
    { "even_offsets", "", "f[2,3]", "l{0,3,6}" },
    { "deform_conv", "groups=1 deform_groups=1", "f[1,1,1,2]{2,4} f[1,1,1,1]{10} f[1,2,1,2]{0,0,0.5,0.5} f[1,1,1,2]{1,0.5}", "f[1,1,1,2]{30,10}" },
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
    int count = spec_read(k->out, 1, &r.spec.arena, want);
    for (int i = 0; i < count; i++)
        if (!(spec_error(&got[i], &want[i]) <= 3e-7))
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
        assert_true(run_compare(known[i].op, known[i].attrs, known[i].in, 1, 1e-5) >= 1);
}

// clang-format off
static const char *const grid[][3] = {
    { "conv_nd", "groups=2 stride=[1,2,1] pads=[1,0,1,1,1,0]", "f[2,4,5,6,7] f[6,2,2,3,3] f[6]" },
    { "conv_nd", "groups=1 dilation=[2,1,3] pads=[2,1,3,2,1,3]", "f[1,3,5,6,7] f[5,3,3,3,3]" },
    { "conv_nd", "groups=1 stride=[3] pads=[4,5]", "f[3,2,17] f[4,2,5] f[4]" },
    { "conv_nd", "groups=3 pads=[9,9]", "f[1,3,2] f[3,1,4]" },
    { "conv_nd", "groups=1 stride=[2,2] pads=[1,1,1,1]", "f[1,40,90,90] f[3,40,3,3]" },
    { "deform_conv", "groups=2 deform_groups=4 pads=[1,1,1,1]", "f[2,8,9,10] f[6,4,3,3] f[2,72,9,10] f[2,36,9,10]" },
    { "deform_conv", "groups=4 deform_groups=2 stride=[2,1] dilation=[2,1]", "f[1,8,9,10] f[8,2,2,3] f[1,24,4,8]" },
    { "deform_conv", "groups=1 deform_groups=1 pads=[1,1,1,1]", "f[1,30,70,70] f[4,30,3,3] f[1,18,70,70]" },
    { "batch_norm", "epsilon=1.5", "f[3,5,7,9] f[5] f[5] f[5] f[5]" },
    { "batch_norm", "epsilon=1.5 channel_last=true", "f[3,7,5] f[5] f[5] f[5] f[5]" },
    { "instance_norm", "epsilon=0.01", "f[2,3,5,7,3] f[3] -" },
    { "group_norm", "epsilon=0.01 groups=3", "f[2,6,11] - f[6]" },
    { "group_norm", "epsilon=0.01 groups=2 channel_last=true", "f[2,11,6] f[6] f[6]" },
    { "depth_to_space", "block=3", "l[2,18,4,5]" },
    { "depth_to_space", "block=2 blocks_first=true", "u[2,8,3,5]" },
    { "depth_to_space", "block=2 blocks_first=true channel_last=true", "d[2,3,5,8]" },
    { "space_to_depth", "block=2 channel_last=true", "f[2,4,6,3]" },
    { "channel_shuffle", "groups=4 channel_last=true", "f[2,3,5,8]" },
};
// clang-format on

static void kernels_agree_with_ref_over_a_grid(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(grid); i++)
        assert_true(run_compare(grid[i][0], grid[i][1], grid[i][2], 1, 1e-5) >= 1);
}

static void an_index_outside_its_plane_is_refused(void **state)
{
    struct run_node r;
    struct err e = { "" };
    assert_int_equal(
        run_node_init(&r, "max_unpool", "size=[2,2]", "f[1,1,1,2]{1,2} l[1,1,1,2]{0,4}", 1, &e),
        OK);
    run_place(&r);
    assert_int_equal(run_kernel(&r, kernel_at("max_unpool", 0), &e), INVALID);
    assert_non_null(strstr(e.text, "index 4 is outside a plane of 4"));
    run_node_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_kernels_give_known_values),
        cmocka_unit_test(kernels_agree_with_ref),
        cmocka_unit_test(kernels_agree_with_ref_over_a_grid),
        cmocka_unit_test(an_index_outside_its_plane_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
