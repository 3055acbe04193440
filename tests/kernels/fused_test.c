/* conv2d, pool2d and matmul with everything that passes hang on them: every kernel against ref, in every layout that it
 * chooses for itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/kernel.h"
#include "spec_node.h"

#define TOLERANCE 1e-5

static void *bytes_for(struct arena *a, const struct type *t, enum layout l)
{
    int64_t bytes = layout_bytes(&t->shape, l, sizeof(float));
    assert_true(bytes >= 0);
    void *p = mem_try_aligned((size_t)bytes + 64, 64);
    assert_non_null(p);
    memset(p, 0xff, (size_t)bytes + 64); /* NaN wherever a kernel does not write */
    arena_defer(a, mem_free, p);
    return p;
}

static const void *reorder(struct arena *a, const struct type *t, const void *from, enum layout had,
                           enum layout wanted)
{
    struct reorder r = { t->shape, had, wanted, sizeof(float) };
    struct err e = { "" };
    void *to = bytes_for(a, t, wanted);
    const void *in[] = { from };
    void *out[] = { to };
    struct kernel_io io = { .in = in, .out = out, .err = &e };
    assert_int_equal(layout_reorder.run(&r, &io), OK);
    return to;
}

static bool narrow;       /* bfloat16 is asked for */
static bool handed_on;    /* and readers want the result so */
static enum layout given; /* the layout in which images come */
static int threads = 1;   /* that compute together */

static bool is_image(const struct spec_node *n, int i)
{
    return n->type[i].shape.rank == 4 && n->type[i].dtype == DTYPE_F32 &&
           (i == 0 || strcmp(n->node.op->name, "concat") == 0);
}

/* As a plan does: choose layouts, bring the inputs to them, run, bring the result back. */
static void compute(const struct kernel *k, struct spec_node *n, struct packs *packs,
                    struct tensor *result)
{
    enum layout have[8] = { 0 }, want[8] = { 0 }, give[1] = { 0 };
    int over = -1;
    struct err e = { "" };
    for (int i = 0; i < n->node.in_count; i++)
        have[i] = is_image(n, i) ? given : LAYOUT_PLAIN;
    struct kernel_ctx ctx = { .node = &n->node,
                              .in = n->type,
                              .out = n->out,
                              .arena = &n->arena,
                              .packs = packs,
                              .threads = threads,
                              .bf16 = narrow,
                              .narrow = handed_on,
                              .have = have,
                              .want = want,
                              .give = give,
                              .over = &over };
    void *state = NULL;
    size_t scratch = 0;
    if (k->prepare(&ctx, &state, &scratch, &e) != OK)
        fail_msg("%s: %s", k->name, e.text);
    const void *in[8] = { NULL };
    for (int i = 0; i < n->node.in_count; i++)
        if (n->type[i].shape.rank >= 0)
            in[i] = want[i] == LAYOUT_PLAIN
                        ? n->in[i].data
                        : reorder(&n->arena, &n->type[i], n->in[i].data, LAYOUT_PLAIN, want[i]);
    void *out[] = { bytes_for(&n->arena, &n->out[0], give[0]) };
    struct tensor room = { .dtype = DTYPE_U8, .shape = SHAPE((int64_t)scratch + 64) };
    spec_place(&room, &n->arena);
    void *aligned = (void *)(((uintptr_t)room.data + 63) / 64 * 64);
    struct kernel_io io = { .in = in, .out = out, .scratch = aligned, .err = &e };
    for (int twice = 0; twice < 2; twice++) /* a state is used again */
        if (k->run(state, &io) != OK)
            fail_msg("%s: %s", k->name, e.text);
    *result = (struct tensor){ .dtype = n->out[0].dtype, .shape = n->out[0].shape };
    result->data = give[0] == LAYOUT_PLAIN
                       ? out[0]
                       : reorder(&n->arena, &n->out[0], out[0], give[0], LAYOUT_PLAIN);
    if (k->release != NULL)
        k->release(state);
}

static bool takes(const struct kernel *k, struct spec_node *n)
{
    enum layout have[8] = { 0 };
    struct kernel_ctx ctx = { .node = &n->node,
                              .in = n->type,
                              .out = n->out,
                              .threads = threads,
                              .bf16 = narrow,
                              .have = have };
    return (k->dtypes & DTYPE_BIT(n->type[0].dtype)) &&
           (k->refuse == NULL || k->refuse(&ctx) == NULL);
}

/* Compares all kernels of op on these inputs with the last one, ref; returns how many there were. */
static int compare(const char *op, const char *attrs, const char *in)
{
    struct spec_node n;
    struct err e = { "" };
    spec_node_init(&n, op, attrs, in);
    for (int i = 1; i < n.node.in_count;
         i++) /* weights; a residual never is asked for as a constant */
        if (n.type[i].shape.rank >= 0)
            n.type[i].constant = &n.in[i];
    if (n.node.op->infer(&n.node, n.type, n.out, &e) != OK)
        fail_msg("%s %s of %s: %s", op, attrs, in, e.text);
    const struct kernel *k, *ref = NULL;
    struct packs *packs = packs_new();
    struct tensor want, got;
    for (size_t i = 0; (k = kernel_at(op, i)) != NULL; i++)
        ref = k;
    compute(ref, &n, packs, &want);
    int count = 0;
    for (size_t i = 0; (k = kernel_at(op, i)) != ref; i++) {
        if (!takes(k, &n))
            continue;
        count++;
        compute(k, &n, packs, &got);
        double error = spec_error(&got, &want);
        if (!(error <= (narrow ? 2e-2 : TOLERANCE)))
            fail_msg("%s: %s of %s differs by %g", k->name, attrs, in, error);
    }
    packs_free(packs);
    spec_node_deinit(&n);
    return count;
}

static const char *const acts[] = {
    "",
    "act=relu",
    "act=tanh",
    "act=sigmoid",
    "act=clip act_alpha=-0.2 act_beta=0.5",
    "act=leaky_relu act_alpha=0.1",
    "act=elu act_alpha=0.7",
    "act=hard_sigmoid act_alpha=0.2 act_beta=0.5",
    "act=hard_swish act_alpha=6 act_beta=6 act_gamma=3",
    "act=swish act_alpha=1",
    "act=mish",
    "act=gelu",
    "act=gelu_tanh",
};

#define CONV "stride_h=1 stride_w=1 dilation_h=1 dilation_w=1 "
#define MUL  "alpha=0.5 "

static void convolutions_with_tails(void **state)
{
    static const char *const tail[] = {
        "", " f[8]", " - f[8]", " f[8] f[8]", " f[8] f[8] f[1,8,4,5]", " - - f[1,8,4,5]"
    };
    for (size_t a = 0; a < ARRAY_LEN(acts); a++)
        for (size_t t = 0; t < ARRAY_LEN(tail); t++)
            for (int first = 0; first < 2; first++) {
                char attrs[256], in[256];
                snprintf(attrs, sizeof(attrs), CONV "groups=1 %s%s%s", acts[a], *acts[a] ? " " : "",
                         first ? "act_first=true" : "act_first=false");
                snprintf(in, sizeof(in), "f[1,16,6,7] f[8,16,3,3]%s", tail[t]);
                assert_true(compare("conv2d", attrs, in) > 0);
            }
}

static void convolutions_of_all_shapes(void **state)
{
    static const char *const rows[][2] = {
        { CONV "groups=1", "f[1,3,17,19] f[16,3,3,3] f[16]" },
        { CONV "groups=1", "f[2,24,9,9] f[40,24,1,1] f[40] f[40] f[2,40,9,9]" },
        { CONV "groups=1", "f[1,16,20,18] f[32,16,3,3] f[32]" },
        { CONV
          "groups=1 pad_top=1 pad_left=1 pad_bottom=1 pad_right=1 act=leaky_relu act_alpha=0.1",
          "f[1,16,16,18] f[32,16,3,3] f[32] f[32] f[1,32,16,18]" },
        { CONV "groups=1 pad_top=1 pad_left=1 pad_bottom=1 pad_right=1 act=sigmoid act_first=true",
          "f[2,20,16,18] f[32,20,3,3] f[32] f[32] f[2,32,16,18]" },
        { CONV "groups=1 act=mish", "f[1,16,20,18] f[24,16,3,3] f[24]" },
        /* texts: windows as wide as the image */
        { CONV "groups=1 pad_top=2 pad_bottom=1 act=relu", "f[2,1,9,5] f[7,1,3,5] f[7] f[7]" },
        { "stride_h=2 stride_w=1 dilation_h=1 dilation_w=1 groups=1 act=gelu",
          "f[1,1,12,16] f[24,1,4,16] f[24]" },
        { CONV "groups=1", "f[1,1,3,8] f[4,1,3,8]" },
        /* the layouts of transformed filters, with channels that do not fill a block, and of blocks */
        { CONV "groups=1 pad_top=1 pad_left=1 pad_bottom=1 pad_right=1",
          "f[1,96,14,14] f[96,96,3,3] f[96] f[96]" },
        { CONV "groups=1 pad_top=1 pad_left=1 pad_bottom=1 pad_right=1",
          "f[1,40,18,18] f[72,40,3,3] f[72] f[72]" },
        { CONV "groups=1 pad_top=1 pad_left=1 pad_bottom=1 pad_right=1",
          "f[1,128,16,16] f[64,128,3,3] f[64] f[64]" },
        { CONV "groups=1 pad_top=1 pad_left=1 pad_bottom=1 pad_right=1",
          "f[1,20,16,16] f[136,20,3,3] f[136]" },
        { CONV "groups=1", "f[1,40,9,9] f[40,40,3,3] f[40] f[40]" },
        { CONV "groups=1", "f[1,40,9,9] f[24,40,1,5]" },
        { CONV "groups=1", "f[1,1,5,5] f[1,1,5,5]" },
        { CONV "groups=1", "f[1,72,1,1] f[24,72,1,1] f[24]" },
        { CONV "groups=24 pad_top=1 pad_left=1 pad_bottom=1 pad_right=1",
          "f[1,24,7,5] f[24,1,3,3] f[24] f[24]" },
        { CONV "groups=5", "f[1,10,7,5] f[15,2,3,3] f[15] f[15] f[1,15,5,3]" },
        { "stride_h=2 stride_w=2 dilation_h=1 dilation_w=1 groups=1 pad_top=3 pad_left=3 "
          "pad_bottom=3 pad_right=3",
          "f[1,3,32,32] f[64,3,7,7] f[64]" },
        { "stride_h=1 stride_w=2 dilation_h=2 dilation_w=3 groups=1 pad_left=1",
          "f[3,17,12,15] f[33,17,3,2] f[33]" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_true(compare("conv2d", rows[i][0], rows[i][1]) > 0);
}

static void products_with_tails(void **state)
{
    static const char *const in[] = {
        "f[3,5] f[5,7]",
        "f[3,5] f[5,7] f[7]",
        "f[33,70] f[70,65] f[65] f[33,65]",
        "f[2,3,40] f[40,48] f[48]",
        "f[1,64] f[64,1000] f[1000]",
        "f[130,64] f[64,96] - f[130,96]",
        "f[4,3,8] f[4,8,9]",
        "f[20,24] f[24,2] f[2]",
        "f[1,70] f[70,100]",
        "f[40,300] f[300,200] f[200]",
        "f[19,13] f[13,1] f[1]",
        "f[8,1] f[1,1]",
        "f[5,32] f[32,1] f[1] f[5,1]",
        "f[17,33] f[33,1] f[1]",
        "f[9,6] f[6,5] f[5] f[9,5]",
    };
    for (size_t a = 0; a < ARRAY_LEN(acts); a++)
        for (size_t i = 0; i < ARRAY_LEN(in); i++) {
            char attrs[256];
            snprintf(attrs, sizeof(attrs), "%s%s%s", "alpha=0.5", *acts[a] ? " " : "", acts[a]);
            compare("matmul", attrs, in[i]);
        }
}

static void attentions(void **state)
{
    static const char *const rows[][2] = {
        { "scale=0.125", "f[1,5,2,8] f[1,7,2,8] f[1,7,2,6]" },
        { "scale=0.125", "f[2,130,3,64] f[2,130,3,64] f[2,130,3,64] f[2,1,1,130]" },
        { "scale=1 q_heads_first=true", "f[2,3,65,16] f[2,9,3,16] f[2,9,3,16] f[65,9]" },
        { "scale=0.5 k_heads_first=true v_heads_first=true",
          "f[1,4,2,8] f[1,2,5,8] f[1,2,5,3] f[]" },
        { "scale=0.5 out_heads_first=true", "f[2,4,2,8] f[2,5,2,8] f[2,5,2,3] f[2,2,4,5]" },
        { "scale=0.5", "f[2,4,2,8] f[2,5,2,8] f[2,5,2,3] f[1,2,4,1]" },
        { "scale=0.5", "f[1,4,3,8] f[2,5,1,8] f[2,5,3,3]" },
        { "scale=0.5 k_part=1 v_part=2", "f[2,33,3,2,40] f[2,33,3,2,40] f[2,33,3,2,40]" },
        { "scale=0.5 v_part=1 k_heads_first=true", "f[1,25,2,7] f[1,2,49,7] f[1,49,2,2,33]" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_true(compare("attention", rows[i][0], rows[i][1]) > 0);
}

static void rows_and_norms(void **state)
{
    static const char *const rows[][3] = {
        { "softmax", "axis=-1", "f[3,33]" },
        { "softmax", "axis=1", "f[2,5,7]" },
        { "softmax", "axis=0", "f[3,1000]" },
        { "softmax", "axis=0", "f[4]" },
        { "layer_norm", "begin=1 epsilon=0.00001", "f[3,33] f[33] f[33]" },
        { "layer_norm", "begin=2 epsilon=0.00001", "f[2,3,768] f[768] f[768]" },
        { "layer_norm", "begin=1 epsilon=0.1", "f[2,3,5] f[15]" },
        { "layer_norm", "begin=1 epsilon=0.1", "f[2,3,5] - f[15]" },
        { "rms_norm", "begin=1 epsilon=0.1", "f[2,35] f[35]" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_true(compare(rows[i][0], rows[i][1], rows[i][2]) > 0);
}

static void images_in_any_layout(void **state)
{
    static const char *const rows[][3] = {
        { "pool2d", "mode=avg kernel_h=1 kernel_w=1 adaptive=true", "f[1,24,7,5]" },
        { "pool2d", "mode=avg kernel_h=2 kernel_w=3 adaptive=true", "f[2,8,4,9]" },
        { "pool2d", "mode=max kernel_h=3 kernel_w=3 stride_h=2 stride_w=2 pad_top=1 pad_left=1",
          "f[2,24,9,8]" },
        { "pool2d", "mode=max kernel_h=2 kernel_w=2 stride_h=2 stride_w=2 ceil_mode=true",
          "f[1,16,9,7]" },
        { "conv_transpose", "groups=1 stride=[2,2]", "f[1,24,5,7] f[24,8,2,2] f[8]" },
        { "conv_transpose", "groups=1 stride=[2,1] pads=[1,0,1,1] more=[1,0]",
          "f[2,5,5,7] f[5,3,3,4]" },
        { "conv_transpose", "groups=2 stride=[2,2] dilation=[1,2] pads=[1,1,1,1]",
          "f[1,8,5,7] f[8,3,3,3] f[6]" },
        { "resize", "mode=nearest place=asymmetric scale=[2,2]", "f[1,24,3,4]" },
        { "resize", "mode=linear place=half_pixel size=[7,9]", "f[2,24,3,4]" },
        { "resize", "mode=linear place=corners size=[2,9]", "f[1,3,5,4]" },
        { "resize", "mode=linear place=asymmetric size=[9] axes=[3]", "f[1,16,5,4]" },
        { "concat", "axis=1", "f[1,16,3,4] f[1,8,3,4] f[1,32,3,4]" },
        { "concat", "axis=3", "f[1,16,3,4] f[1,16,3,1]" },
        { "concat", "axis=1", "f[2,3] f[2,0] f[2,4]" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (given = LAYOUT_PLAIN; given <= LAYOUT_LAST; given++)
            assert_true(compare(rows[i][0], rows[i][1], rows[i][2]) > 0);
    given = LAYOUT_PLAIN;
}

/* bfloat16 keeps 8 bits of a number: errors of a few thousandths, on processors that have it. */
static void in_bfloat16(void **state)
{
    narrow = true;
    for (int twice = 0; twice < 2; twice++) {
        handed_on = twice == 1;
        convolutions_of_all_shapes(state);
        products_with_tails(state);
        attentions(state);
        rows_and_norms(state);
    }
    handed_on = false;
    narrow = false;
}

/* Rows of b a multiple of a page apart; the last rows, and the last stretch of the inner dimension, are odd. */
static void products_of_far_rows(void **state)
{
    static const char *const in[] = {
        "f[40,450] f[450,1024]",
        "f[150,130] f[130,1024] f[1024]",
        "f[27,800] f[800,1024] f[1024] f[27,1024]",
    };
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        compare("matmul", "alpha=0.5 act=gelu", in[i]);
}

/* Each thread has a part of the rows, of the columns, or of the heads. */
static void by_several_threads(void **state)
{
    for (threads = 2; threads <= 5; threads += 3) {
        assert_true(compare("matmul", "alpha=1 act=relu", "f[300,200] f[200,280] f[280]") > 0);
        assert_true(compare("matmul", "alpha=1", "f[90,200] f[200,1024] f[1024] f[90,1024]") > 0);
        assert_true(compare("matmul", "alpha=1 trans_b=true", "f[90,200] f[1000,200]") > 0);
        assert_true(compare("matmul", "alpha=1 trans_a=true", "f[200,300] f[200,299]") > 0);
        attentions(state);
    }
    threads = 1;
}

#define ALL_LAYOUTS ((int)LAYOUT_LAST | (int)LAYOUT_NARROW)

static void round_all(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = bf16_to_f32(f32_to_bf16(x[i]));
}

/* There and back again through every pair of layouts. */
static void reorders(void **state)
{
    static const char *const shapes[] = { "f[1,16,4,5]", "f[2,33,7,9]", "f[3,1,1,1]", "f[1,40,1,1]",
                                          "f[1,48,16,16]" };
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (int a = LAYOUT_PLAIN; a <= ALL_LAYOUTS; a++)
            for (int b = LAYOUT_PLAIN; b <= ALL_LAYOUTS; b++) {
                struct spec_node n;
                spec_node_init(&n, "relu", "", shapes[i]);
                const void *p = reorder(&n.arena, &n.type[0], n.in[0].data, LAYOUT_PLAIN, a);
                p = reorder(&n.arena, &n.type[0], p, a, b);
                p = reorder(&n.arena, &n.type[0], p, b, LAYOUT_PLAIN);
                if (layout_is_narrow(a) || layout_is_narrow(b))
                    round_all((float *)n.in[0].data, shape_numel(&n.in[0].shape));
                assert_memory_equal(p, n.in[0].data, (size_t)tensor_bytes(&n.in[0]));
                spec_node_deinit(&n);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions_with_tails),
        cmocka_unit_test(convolutions_of_all_shapes),
        cmocka_unit_test(products_with_tails),
        cmocka_unit_test(attentions),
        cmocka_unit_test(rows_and_norms),
        cmocka_unit_test(images_in_any_layout),
        cmocka_unit_test(in_bfloat16),
        cmocka_unit_test(products_of_far_rows),
        cmocka_unit_test(by_several_threads),
        cmocka_unit_test(reorders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
