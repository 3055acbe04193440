/* Each rewriting pass on a small graph: what comes in as lines of text, and the lines that are left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "passes/passes.h"
#include "spec_node.h"

#define LINES 24

/* "y = conv2d x w" with its attributes; "x : f[-1,3,8,8]" a feed; "w # f[4,3,3,3]" a constant. The last value is the output. */
struct line {
    const char *text, *attrs;
};

struct row {
    const char *pass;
    struct line in[LINES];
    const char *out[LINES];
};

struct names {
    struct value *value[64];
    int count;
};

static struct value *find(const struct names *n, const char *name, size_t length)
{
    for (int i = n->count; i-- > 0;)
        if (strlen(n->value[i]->name) == length && strncmp(n->value[i]->name, name, length) == 0)
            return n->value[i];
    fail_msg("no value '%.*s'", (int)length, name);
    return NULL;
}

static const char *copy(struct graph *g, const char *s, size_t n)
{
    return arena_strndup(&g->arena, s, n);
}

/* name and what follows the sign behind it */
static struct value *add_leaf(struct graph *g, const char *text, bool constant)
{
    size_t length = strcspn(text, " ");
    const char *spec = text + length + 3;
    const char *name = copy(g, text, length);
    struct value *v;
    struct err e = { "" };
    if (constant) {
        struct tensor t[SPEC_MAX];
        assert_int_equal(spec_read(spec, 7, &g->arena, t), 1);
        assert_int_equal(graph_add_constant(g, name, &t[0], &v, &e), OK);
        return v;
    }
    struct shape s;
    spec_shape(spec + 1, &s);
    assert_int_equal(graph_add_value(g, name, spec_dtype(spec[0]), &s, &v, &e), OK);
    return v;
}

static struct value *add_line(struct graph *g, const struct names *known, const struct line *l)
{
    size_t length = strcspn(l->text, " ");
    const char *s = l->text + length + 3;
    size_t op = strcspn(s, " ");
    struct value *in[16];
    int count = 0;
    struct node *n;
    struct err e = { "" };
    const char *name = copy(g, s, op);
    for (const char *p = s + op; *p == ' ';) {
        size_t word = strcspn(++p, " ");
        in[count++] = *p == '-' ? NULL : find(known, p, word);
        p += word;
    }
    assert_int_equal(graph_add_node(g, spec_op(name), "", in, count, &n, &e), OK);
    if (l->attrs != NULL)
        spec_attrs(n->op, l->attrs, node_attrs(n));
    n->out[0]->name = copy(g, l->text, length);
    return n->out[0];
}

static struct graph *build(const struct row *r)
{
    struct graph *g = graph_new();
    struct names n = { .count = 0 };
    struct value *feed[16];
    int feeds = 0;
    for (const struct line *l = r->in; l->text != NULL; l++) {
        char sign = l->text[strcspn(l->text, " ") + 1];
        struct value *v = sign == '=' ? add_line(g, &n, l) : add_leaf(g, l->text, sign == '#');
        if (sign == ':')
            feed[feeds++] = v;
        n.value[n.count++] = v;
    }
    graph_set_inputs(g, feed, feeds);
    graph_set_outputs(g, &n.value[n.count - 1], 1);
    return g;
}

static void put_node(const struct node *n, struct buf *out)
{
    char attrs[512];
    attrs_text(n, attrs, sizeof(attrs));
    buf_printf(out, "%s = %s", n->out[0]->name, n->op->name);
    for (int i = 0; i < n->in_count; i++)
        buf_printf(out, " %s",
                   n->in[i] == NULL ? "-" : (n->in[i]->name[0] == '%' ? "new" : n->in[i]->name));
    buf_printf(out, "%s%s\n", attrs[0] != '\0' ? " | " : "", attrs);
}

static void run_pass(const char *name, struct graph *g)
{
    struct err e = { "" };
    int changes = 0;
    const struct pass *p = NULL;
    for (size_t i = 0; (p = pass_at(i)) != NULL && strcmp(p->name, name) != 0;)
        i++;
    if (p == NULL)
        fail_msg("no pass '%s'", name);
    assert_int_equal(p->run(g, &changes, &e), OK);
    graph_sweep(g);
    if (graph_check(g, &e) != OK)
        fail_msg("%s: %s", name, e.text);
}

static void expect(const struct row *r)
{
    struct buf got, want;
    struct graph *g = build(r);
    buf_init(&got, 1 << 16);
    buf_init(&want, 1 << 16);
    run_pass(r->pass, g);
    for (uint32_t i = 0; i < g->node_count; i++)
        put_node(g->nodes[i], &got);
    for (int i = 0; r->out[i] != NULL; i++)
        buf_printf(&want, "%s\n", r->out[i]);
    buf_byte(&got, '\0');
    buf_byte(&want, '\0');
    assert_string_equal((const char *)got.data, (const char *)want.data);
    buf_deinit(&got);
    buf_deinit(&want);
    graph_free(g);
}

#define CONV "stride_h=1 stride_w=1 dilation_h=1 dilation_w=1 groups=1"
#define SAME CONV " pad_top=1 pad_bottom=1 pad_left=1 pad_right=1"
#define CONV_OUT                                                                         \
    "stride_h=1 stride_w=1 dilation_h=1 dilation_w=1 pad_top=0 pad_bottom=0 pad_left=0 " \
    "pad_right=0 groups=1"
#define SAME_OUT                                                                         \
    "stride_h=1 stride_w=1 dilation_h=1 dilation_w=1 pad_top=1 pad_bottom=1 pad_left=1 " \
    "pad_right=1 groups=1"

// clang-format off
static const struct row rows[] = {
    /* numbers of the activation go along */
    { "fuse_act",
      { { "x : f[-1,3,8,8]", NULL }, { "w # f[4,3,3,3]", NULL }, { "c = conv2d x w", CONV },
        { "y = leaky_relu c", "alpha=0.5" } },
      { "y = conv2d x w | " CONV_OUT " act=leaky_relu act_alpha=0.5" } },
    /* two uses: it stays */
    { "fuse_act",
      { { "x : f[-1,3,8,8]", NULL }, { "w # f[4,3,3,3]", NULL }, { "c = conv2d x w", CONV },
        { "r = relu c", NULL }, { "y = add r c", NULL } },
      { "c = conv2d x w | " CONV_OUT "", "r = relu c", "y = add r c" } },
    { "fold_scale",
      { { "x : f[-1,3,8,8]", NULL }, { "w # f[4,3,3,3]", NULL }, { "s # f[4]", NULL }, { "b # f[4]", NULL },
        { "m # f[4]", NULL }, { "v # f{1,2,3,4}", NULL }, { "c = conv2d x w", CONV },
        { "y = batch_norm c s b m v", "epsilon=0.001" } },
      { "y = conv2d x w new new | " CONV_OUT "" } },
    { "fold_scale",
      { { "x : f[-1,3,8,8]", NULL }, { "w # f[4,3,3,3]", NULL }, { "s # f[4,1,1]", NULL }, { "c = conv2d x w", CONV },
        { "m = mul s c", NULL }, { "y = affine m", "scale=2 bias=1" } },
      { "y = conv2d x w new new | " CONV_OUT "" } },
    { "fold_scale",
      { { "x : f[-1,3,8,8]", NULL }, { "w # f[3,4,2,2]", NULL }, { "b # f[1,4,1,1]", NULL }, { "s # f[1,4,1,1]", NULL },
        { "c = conv_transpose x w", "groups=1 stride=[2,2]" }, { "a = add c b", NULL }, { "y = mul a s", NULL } },
      { "y = conv_transpose x new new | stride=[2,2] dilation=[] pads=[] more=[] size=[] groups=1" } },
    /* a vector along the width is no channels' */
    { "fold_scale",
      { { "x : f[-1,3,6,6]", NULL }, { "w # f[4,3,3,3]", NULL }, { "s # f[4]", NULL }, { "c = conv2d x w", CONV },
        { "y = mul c s", NULL } },
      { "c = conv2d x w | " CONV_OUT "", "y = mul c s" } },
    /* what is behind an activation does not scale what is before it */
    { "fold_scale",
      { { "x : f[-1,3,6,6]", NULL }, { "w # f[4,3,3,3]", NULL }, { "s # f[4,1,1]", NULL },
        { "c = conv2d x w", CONV " act=relu" }, { "y = mul c s", NULL } },
      { "c = conv2d x w | " CONV_OUT " act=relu", "y = mul c s" } },
    /* a product of integers makes the integers that its only reader quantises to */
    { "keep_integers",
      { { "x : u[-1,16,8,8]", NULL }, { "w # c[16,16,3,3]", NULL }, { "s # f[16]", NULL }, { "t # f{0.5}", NULL },
        { "c = conv2d x w - s", CONV }, { "y = quantize c t", "to=uint8" } },
      { "y = conv2d x w - s | " CONV_OUT " q.result=uint8 q.out_scale=0.5" } },
    { "keep_integers",
      { { "x : f[-1,3,8,8]", NULL }, { "t # f{0.5}", NULL }, { "p = pool2d x", "kernel_h=2 kernel_w=2 stride_h=2 stride_w=2" },
        { "y = quantize p t", "to=int8" } },
      { "p = quantize x t | axis=0 to=int8",
        "y = pool2d p | kernel_h=2 kernel_w=2 stride_h=2 stride_w=2 pad_top=0 pad_bottom=0 pad_left=0 pad_right=0" } },
    /* two readers: it stays a float */
    { "keep_integers",
      { { "x : u[-1,16,8,8]", NULL }, { "w # c[16,16,3,3]", NULL }, { "s # f[16]", NULL }, { "t # f{0.5}", NULL },
        { "c = conv2d x w - s", CONV }, { "q = quantize c t", "to=uint8" }, { "d = dequantize q t", NULL }, { "y = add c d", NULL } },
      { "c = conv2d x w - s | " CONV_OUT, "q = quantize c t | axis=0 to=uint8", "d = dequantize q t | axis=0", "y = add c d" } },
    { "hoist_dequantize",
      { { "x : f[-1,16,8,8]", NULL }, { "t # f{0.5}", NULL }, { "r = relu x", NULL }, { "z = tanh x", NULL },
        { "q = quantize r t", "to=uint8" }, { "d = identity q", NULL }, { "y = add z d", NULL } },
      { "r = relu x", "q = quantize r t | axis=0 to=uint8", "z = tanh x", "d = identity q", "y = add z d" } },
    /* x + conv(x): of one shape whatever is fed, since the window keeps it */
    { "fuse_residual",
      { { "x : f[-1,4,-1,-1]", NULL }, { "w # f[4,4,3,3]", NULL }, { "c = conv2d x w", SAME }, { "y = add x c", NULL } },
      { "y = conv2d x w - - x | " SAME_OUT "" } },
    { "fuse_residual",
      { { "x : f[-1,4,-1,-1]", NULL }, { "w # f[4,4,3,3]", NULL }, { "c = conv2d x w", SAME " act=relu" },
        { "y = add c x", NULL } },
      { "y = conv2d x w - - x | " SAME_OUT " act=relu act_first=true" } },
    /* not of one shape: without pads the result is smaller */
    { "fuse_residual",
      { { "x : f[-1,4,-1,-1]", NULL }, { "w # f[4,4,3,3]", NULL }, { "c = conv2d x w", CONV }, { "y = add x c", NULL } },
      { "c = conv2d x w | " CONV_OUT "", "y = add x c" } },
    /* two feeds may differ: one would be repeated along the batch */
    { "fuse_residual",
      { { "x : f[-1,4,6,6]", NULL }, { "z : f[-1,4,6,6]", NULL }, { "w # f[4,4,3,3]", NULL }, { "c = conv2d x w", SAME },
        { "y = add z c", NULL } },
      { "c = conv2d x w | " SAME_OUT "", "y = add z c" } },
    /* two ways that halve the image alike: the later product takes the earlier one up */
    { "fuse_residual",
      { { "x : f[-1,4,-1,-1]", NULL }, { "w # f[4,4,3,3]", NULL }, { "u # f[4,4,1,1]", NULL },
        { "a = conv2d x w", "stride_h=2 stride_w=2 dilation_h=1 dilation_w=1 groups=1 pad_top=1 pad_bottom=1 pad_left=1 pad_right=1" },
        { "b = conv2d x u", "stride_h=2 stride_w=2 dilation_h=1 dilation_w=1 groups=1" }, { "y = add a b", NULL } },
      { "a = conv2d x w | stride_h=2 stride_w=2 dilation_h=1 dilation_w=1 pad_top=1 pad_bottom=1 pad_left=1 pad_right=1 groups=1",
        "y = conv2d x u - - a | stride_h=2 stride_w=2 dilation_h=1 dilation_w=1 pad_top=0 pad_bottom=0 pad_left=0 pad_right=0 groups=1" } },
    { "fuse_residual",
      { { "x : f[-1,-1,8]", NULL }, { "w # f[8,8]", NULL }, { "b # f[8]", NULL }, { "p = matmul x w b", "alpha=1" },
        { "y = add p x", NULL } },
      { "y = matmul x w b x | alpha=1" } },
    /* what a reshape leaves open is the batch, and a sequence that something unknown is joined to has one too */
    { "fuse_residual",
      { { "x : f[-1,8,2,3]", NULL }, { "z : f[-1,-1,-1]", NULL }, { "w # f[8,8]", NULL }, { "e = expand z", "shape=[-1,1,8]" },
        { "t = flatten x", "start=2 stop=3" }, { "u = transpose t", "perm=[0,2,1]" }, { "c = concat e u", "axis=1" },
        { "k # f[1,7,8]", NULL }, { "s = add c k", NULL }, { "h = reshape s", "shape=[-1,7,2,4]" },
        { "g = reshape h", "shape=[-1,7,8]" }, { "p = matmul g w", "alpha=1" }, { "y = add s p", NULL } },
      { "e = expand z | shape=[-1,1,8]", "t = flatten x | start=2 stop=3", "u = transpose t | perm=[0,2,1]", "c = concat e u | axis=1",
        "s = add c k", "h = reshape s | shape=[-1,7,2,4]", "g = reshape h | shape=[-1,7,8]", "y = matmul g w - s | alpha=1" } },
    /* another number of rows is not the batch */
    { "fuse_residual",
      { { "x : f[-1,4]", NULL }, { "w # f[4,4]", NULL }, { "h = reshape x", "shape=[-1,2]" }, { "g = reshape h", "shape=[-1,4]" },
        { "o : f[-1,4]", NULL }, { "p = matmul g w", "alpha=1" }, { "y = add o p", NULL } },
      { "h = reshape x | shape=[-1,2]", "g = reshape h | shape=[-1,4]", "p = matmul g w | alpha=1", "y = add o p" } },
    /* heads in front of tokens and back again */
    { "fuse_attention",
      { { "x : f[-1,-1,64]", NULL }, { "mask : f[-1,1,1,-1]", NULL }, { "h = reshape x", "shape=[0,0,4,16]" },
        { "q = transpose h", "perm=[0,2,1,3]" }, { "qs = affine q", "scale=0.25" }, { "k = transpose h", "perm=[0,2,1,3]" },
        { "v = transpose h", "perm=[0,2,1,3]" }, { "s = matmul qs k", "alpha=1 trans_b=true" }, { "t = add s mask", NULL },
        { "p = softmax t", "axis=-1" }, { "o = matmul p v", "alpha=1" }, { "y = transpose o", "perm=[0,2,1,3]" } },
      { "h = reshape x | shape=[0,0,4,16]", "y = attention h h h mask | scale=0.25 q_part=0 k_part=0 v_part=0" } },
    /* keys turned by a transposition of their own */
    { "fuse_attention",
      { { "h : f[-1,-1,4,16]", NULL }, { "d # f{4}", NULL }, { "q = transpose h", "perm=[0,2,1,3]" },
        { "k = transpose h", "perm=[0,2,3,1]" }, { "v = transpose h", "perm=[0,2,1,3]" }, { "s = matmul q k", "alpha=1" },
        { "t = div s d", NULL }, { "p = softmax t", "axis=3" }, { "y = matmul p v", "alpha=1" } },
      { "y = attention h h h | scale=0.25 out_heads_first=true q_part=0 k_part=0 v_part=0" } },
    /* query, key and value cut out of one projection */
    { "fuse_attention",
      { { "x : f[-1,-1,192]", NULL }, { "h = reshape x", "shape=[0,0,3,4,16]" }, { "u = transpose h", "perm=[2,0,3,1,4]" },
        { "a = slice u", "axes=[0] starts=[0] ends=[1]" }, { "q = squeeze a", "axes=[0]" },
        { "b = slice u", "axes=[0] starts=[1] ends=[2]" }, { "k = squeeze b", "axes=[0]" },
        { "c = slice u", "axes=[0] starts=[2] ends=[3]" }, { "v = squeeze c", "axes=[0]" },
        { "s = matmul q k", "alpha=0.5 trans_b=true" }, { "p = softmax s", "axis=-1" }, { "o = matmul p v", "alpha=1" },
        { "y = transpose o", "perm=[0,2,1,3]" } },
      { "h = reshape x | shape=[0,0,3,4,16]",
        "y = attention h h h | scale=0.5 q_part=0 k_part=1 v_part=2" } },
    /* the same out of something whose shape nobody knows before it is reshaped, keys turned once more */
    { "fuse_attention",
      { { "w : f[-1,-1,-1]", NULL }, { "x = expand w", "shape=[-1,17,192]" }, { "h = reshape x", "shape=[-1,17,3,4,16]" },
        { "u = transpose h", "perm=[2,0,3,1,4]" }, { "a = slice u", "axes=[0] starts=[0] ends=[1]" }, { "q = squeeze a", "axes=[0]" },
        { "b = slice u", "axes=[0] starts=[1] ends=[2]" }, { "k = squeeze b", "axes=[0]" },
        { "c = slice u", "axes=[0] starts=[2] ends=[3]" }, { "v = squeeze c", "axes=[0]" },
        { "t = transpose k", "perm=[0,1,3,2]" }, { "s = matmul q t", "alpha=0.5" }, { "p = softmax s", "axis=-1" },
        { "o = matmul p v", "alpha=1" }, { "y = transpose o", "perm=[0,2,1,3]" } },
      { "x = expand w | shape=[-1,17,192]", "h = reshape x | shape=[-1,17,3,4,16]",
        "y = attention h h h | scale=0.5 q_part=0 k_part=1 v_part=2" } },
    /* a softmax over heads is another thing */
    { "fuse_attention",
      { { "h : f[-1,-1,4,16]", NULL }, { "q = transpose h", "perm=[0,2,1,3]" }, { "k = transpose h", "perm=[0,2,1,3]" },
        { "s = matmul q k", "alpha=1 trans_b=true" }, { "p = softmax s", "axis=1" }, { "y = matmul p q", "alpha=1" } },
      { "q = transpose h | perm=[0,2,1,3]", "k = transpose h | perm=[0,2,1,3]", "s = matmul q k | trans_b=true alpha=1",
        "p = softmax s | axis=1", "y = matmul p q | alpha=1" } },
};
// clang-format on

static void every_row(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(&rows[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_row) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
