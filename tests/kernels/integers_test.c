/* Products, convolutions and pooling of int8 and uint8: every kernel against ref, with everything that passes hang on them,
 * in the layouts that it asks for. A result of integers may differ by one step where ref's lies on a half. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/kernel.h"
#include "spec_node.h"

static void *room(struct arena *a, const struct type *t, enum layout l)
{
    int64_t bytes = layout_bytes(&t->shape, l, dtype_size(t->dtype));
    assert_true(bytes >= 0);
    void *p = mem_try_aligned((size_t)bytes + 64, 64);
    assert_non_null(p);
    memset(p, 0xa5, (size_t)bytes + 64);
    arena_defer(a, mem_free, p);
    return p;
}

static const void *reorder(struct arena *a, const struct type *t, const void *from, enum layout had,
                           enum layout wanted)
{
    struct reorder r = { t->shape, had, wanted, dtype_size(t->dtype) };
    struct err e = { "" };
    void *to = room(a, t, wanted);
    const void *in[] = { from };
    void *out[] = { to };
    struct kernel_io io = { .in = in, .out = out, .err = &e };
    if (had == LAYOUT_PLAIN && wanted == LAYOUT_PLAIN)
        return from;
    assert_int_equal(layout_reorder.run(&r, &io), OK);
    return to;
}

struct subject {
    struct spec_node n;
    struct packs *packs;
    enum layout have[8], want[8], give[1];
    int over;
};

static struct kernel_ctx ctx_of(struct subject *s)
{
    memset(s->have, 0, sizeof(s->have));
    memset(s->want, 0, sizeof(s->want));
    s->give[0] = LAYOUT_PLAIN;
    s->over = -1;
    return (struct kernel_ctx){ .node = &s->n.node,
                                .in = s->n.type,
                                .out = s->n.out,
                                .arena = &s->n.arena,
                                .packs = s->packs,
                                .threads = 1,
                                .have = s->have,
                                .want = s->want,
                                .give = s->give,
                                .over = &s->over };
}

static const void *input(struct subject *s, int i)
{
    if (s->n.type[i].shape.rank < 0)
        return NULL;
    /* oneDNN wants its data aligned to an element, which the text's is */
    return reorder(&s->n.arena, &s->n.type[i], s->n.in[i].data, LAYOUT_PLAIN, s->want[i]);
}

/* As a plan does; lay_over: the result is written over the input that the kernel asks for. */
static void compute(const struct kernel *k, struct subject *s, bool lay_over, struct tensor *result)
{
    struct kernel_ctx ctx = ctx_of(s);
    struct err e = { "" };
    void *state = NULL;
    size_t scratch = 0;
    if (k->prepare(&ctx, &state, &scratch, &e) != OK)
        fail_msg("%s: %s", k->name, e.text);
    const void *in[8] = { NULL };
    void *out[] = { room(&s->n.arena, &s->n.out[0], s->give[0]) };
    for (int i = 0; i < s->n.node.in_count; i++)
        in[i] = input(s, i);
    if (lay_over && s->over >= 0) {
        memcpy(out[0], in[s->over],
               (size_t)layout_bytes(&s->n.out[0].shape, s->give[0], dtype_size(s->n.out[0].dtype)));
        in[s->over] = out[0];
    }
    struct type bytes = { .dtype = DTYPE_U8, .shape = SHAPE((int64_t)scratch + 64) };
    struct kernel_io io = {
        .in = in, .out = out, .scratch = room(&s->n.arena, &bytes, LAYOUT_PLAIN), .err = &e
    };
    if (k->run(state, &io) != OK)
        fail_msg("%s: %s", k->name, e.text);
    *result = (struct tensor){ .dtype = s->n.out[0].dtype, .shape = s->n.out[0].shape };
    result->data = reorder(&s->n.arena, &s->n.out[0], out[0], s->give[0], LAYOUT_PLAIN);
    if (k->release != NULL)
        k->release(state);
}

static bool takes(const struct kernel *k, struct subject *s)
{
    struct kernel_ctx ctx = ctx_of(s);
    return (k->dtypes & DTYPE_BIT(s->n.type[0].dtype)) &&
           (k->refuse == NULL || k->refuse(&ctx) == NULL);
}

static bool close_enough(const struct tensor *got, const struct tensor *want)
{
    if (want->dtype == DTYPE_F32)
        return spec_error(got, want) <= 1e-5;
    for (int64_t i = 0; i < shape_numel(&want->shape); i++)
        if (fabsl(spec_get(got, i) - spec_get(want, i)) > 1)
            return false;
    return true;
}

/* How many kernels besides ref took it. */
static int compare(const char *op, const char *attrs, const char *in)
{
    struct subject s = { .packs = packs_new() };
    struct err e = { "" };
    struct tensor want, got;
    const struct kernel *k, *ref = NULL;
    int count = 0;
    spec_node_init(&s.n, op, attrs, in);
    for (int i = 1; i < s.n.node.in_count; i++)
        if (s.n.type[i].shape.rank >= 0)
            s.n.type[i].constant = &s.n.in[i];
    if (s.n.node.op->infer(&s.n.node, s.n.type, s.n.out, &e) != OK)
        fail_msg("%s %s of %s: %s", op, attrs, in, e.text);
    for (size_t i = 0; (k = kernel_at(op, i)) != NULL; i++)
        if (takes(k, &s))
            ref = k;
    assert_non_null(ref);
    compute(ref, &s, false, &want);
    for (size_t i = 0; (k = kernel_at(op, i)) != ref; i++)
        for (int over = 0; over < 2 && takes(k, &s); over++, count++) {
            compute(k, &s, over == 1, &got);
            if (!close_enough(&got, &want))
                fail_msg("%s: %s of %s differs", k->name, attrs, in);
        }
    packs_free(s.packs);
    spec_node_deinit(&s.n);
    return count / 2;
}

static const char *const acts[] = {
    "",
    " act=relu",
    " act=leaky_relu act_alpha=0.1",
    " act=clip act_alpha=0 act_beta=6",
    " act=hard_swish act_alpha=6 act_beta=6 act_gamma=3",
    " act=sigmoid",
    " act=swish act_alpha=1",
    " act=gelu",
};

struct image_case {
    const char *attrs; /* of the window */
    const char *x, *w;
    const char *out; /* its shape */
    int channels;
};

static const struct image_case images[] = {
    { "stride_h=1 stride_w=1 pad_top=1 pad_left=1 pad_bottom=1 pad_right=1 groups=1", "[2,16,7,9]",
      "[32,16,3,3]", "[2,32,7,9]", 32 },
    { "stride_h=2 stride_w=1 groups=1", "[1,3,11,8]", "[5,3,3,2]", "[1,5,5,7]", 5 },
    { "stride_h=1 stride_w=1 groups=1", "[1,64,5,5]", "[48,64,1,1]", "[1,48,5,5]", 48 },
    { "stride_h=1 stride_w=1 groups=2", "[1,6,5,5]", "[4,3,1,1]", "[1,4,5,5]", 4 },
    { "stride_h=1 stride_w=1 pad_top=1 pad_left=1 pad_bottom=1 pad_right=1 groups=16", "[1,16,6,6]",
      "[16,1,3,3]", "[1,16,6,6]", 16 },
    { "stride_h=2 stride_w=2 pad_top=3 pad_left=3 pad_bottom=3 pad_right=3 groups=1", "[1,3,20,20]",
      "[16,3,7,7]", "[1,16,10,10]", 16 },
};

/* What comes out of integers in sums of some hundreds is brought near the result's range. */
static const char *const results[] = {
    "",
    " q.result=int8 q.out_scale=0.31",
    " q.result=uint8 q.out_scale=0.4 q.out_zero=117",
    " q.result=uint8 q.out_scale=0.9",
};

static void conv_case(const struct image_case *c, char of, const char *curve, const char *result,
                      int residual, int zero)
{
    char attrs[512], in[256], added[64] = "-";
    const char *r = residual == 0          ? "-"
                    : result[0] == '\0'    ? "f"
                    : strstr(result, "=i") ? "c"
                                           : "u";
    if (residual > 0)
        snprintf(added, sizeof(added), "%s%s", r, c->out);
    snprintf(attrs, sizeof(attrs), "%s dilation_h=1 dilation_w=1%s%s%s%s%s", c->attrs, curve,
             result,
             residual > 0 && result[0] != '\0' ? " q.residual_scale=0.23 q.residual_zero=3" : "",
             residual == 2 ? " act_first=true" : "", zero != 0 ? " q.x_zero=5" : "");
    snprintf(in, sizeof(in), "%c%s c%s f[%d] f[%d] %s", of, c->x, c->w, c->channels, c->channels,
             added);
    compare("conv2d", attrs, in);
}

static void convolutions_are_those_of_ref(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(images); i++)
        for (size_t r = 0; r < ARRAY_LEN(results); r++)
            for (int residual = 0; residual < 3; residual++)
                for (int zero = 0; zero < 2; zero++) {
                    conv_case(&images[i], 'u', acts[(i + r) % ARRAY_LEN(acts)], results[r],
                              residual, zero);
                    conv_case(&images[i], 'c', acts[(i + r + 1) % ARRAY_LEN(acts)], results[r],
                              residual, zero);
                }
}

static void every_activation_is_that_of_ref(void **state)
{
    for (size_t a = 0; a < ARRAY_LEN(acts); a++)
        for (size_t r = 0; r < ARRAY_LEN(results); r++)
            for (int residual = 0; residual < 3; residual++)
                conv_case(&images[2], 'u', acts[a], results[r], residual, 0);
}

static void products_are_those_of_ref(void **state)
{
    static const char *const in[][3] = {
        { "[1,64]", "c[64,10] f[10]", "[1,10] f[10]" },
        { "[3,5,40]", "c[40,33] -", "[3,5,33] f[33]" },
        { "[17,8]", "c[8,1] f[1]", "[17,1] f[1]" },
        { "[8]", "c[8,4] f[4]", "[4] f[4]" },
    };
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        for (size_t r = 0; r < ARRAY_LEN(results); r++)
            for (int signs = 0; signs < 2; signs++) {
                char attrs[256], text[256];
                bool whole = results[r][0] != '\0';
                const char *added = !whole ? "f" : strstr(results[r], "=i") ? "c" : "u";
                snprintf(attrs, sizeof(attrs), "alpha=1%s%s%s", acts[r], results[r],
                         whole ? " q.residual_scale=0.2 q.residual_zero=1" : "");
                snprintf(text, sizeof(text), "%s%s %s %s%s", signs ? "c" : "u", in[i][0], in[i][1],
                         added, in[i][2]);
                compare("matmul", attrs, text);
            }
}

static void pooling_is_that_of_ref(void **state)
{
    static const char window[] = "mode=max kernel_h=3 kernel_w=2 stride_h=2 stride_w=1 pad_top=1 "
                                 "pad_left=1 pad_bottom=1 pad_right=0";
    assert_true(compare("pool2d", window, "u[2,16,9,7]") > 0);
    assert_true(compare("pool2d", window, "c[2,5,9,7]") > 0);
    assert_true(compare("pool2d", "mode=max global=true", "c[1,32,6,6]") > 0);
}

static void common_ones_have_fast_kernels(void **state)
{
    assert_true(compare("conv2d",
                        "stride_h=1 stride_w=1 dilation_h=1 dilation_w=1 groups=1 q.result=uint8 "
                        "q.out_scale=0.5",
                        "u[1,16,5,5] c[16,16,3,3] f[16] f[16]") > 0);
    assert_true(compare("matmul", "alpha=1 q.result=uint8 q.out_scale=0.5",
                        "u[2,16] c[16,16] f[16] - f[16]") > 0);
    assert_true(compare("matmul", "alpha=1 trans_b=true", "c[2,16] c[9,16] - - f[9]") > 0);
}

static void quantising_is_that_of_ref(void **state)
{
    static const char *const rows[][2] = {
        { "to=int8", "f[3,50] f{0.007}" },
        { "to=uint8", "f[3,50] f{0.007} u{128}" },
        { "to=uint8 multiply=true", "f[3,50] f{90} u{3}" },
        { "to=int8 multiply=true away=true", "f[3,50] f{150}" },
        { "to=int8 multiply=true away=true",
          "f{0.5,1.5,-2.5,0.49999997,inf,-inf,127,-127.5,126.5} f{1}" },
        { "to=int8", "f{0.5,1.5,-2.5,nan,inf,-inf,127,-127.5,126.5,1e30} f{1}" },
        { "to=int8", "f{0.5,1.5,-2.5,nan,inf,-inf,127,-127.5,126.5,1e30} f{1} c{-7}" },
        { "to=uint8 multiply=true",
          "f{0.5,1.5,-2.5,nan,inf,-inf,127,-127.5,126.5,1e30} f{2} u{100}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_true(compare("quantize", rows[i][0], rows[i][1]) > 0);
    assert_true(compare("dequantize", "", "u[3,50] f{0.3} u{4}") > 0);
    assert_true(compare("dequantize", "", "c[3,50] f{0.3}") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions_are_those_of_ref),
        cmocka_unit_test(every_activation_is_that_of_ref),
        cmocka_unit_test(products_are_those_of_ref),
        cmocka_unit_test(pooling_is_that_of_ref),
        cmocka_unit_test(common_ones_have_fast_kernels),
        cmocka_unit_test(quantising_is_that_of_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
