#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "graph/attrs.h"
#include "graph/op.h"

#include <string.h>

static void expect_dot(const struct graph *g, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    graph_to_dot(g, &out);
    buf_byte(&out, 0);
    assert_int_equal(buf_check(&out), OK);
    assert_string_equal((const char *)out.data, want);
    buf_deinit(&out);
}

static struct value *add_value(struct graph *g, const char *name, struct shape s)
{
    struct value *v = NULL;
    assert_int_equal(graph_add_value(g, name, DTYPE_F32, &s, &v, NULL), OK);
    return v;
}

static void operators_are_boxes_and_parameters_stand_in_them(void **state)
{
    static const float data[12];
    struct tensor w = { .dtype = DTYPE_F32, .shape = SHAPE(4, 3), .data = data };
    struct graph *g = graph_new();
    struct value *in[2] = { add_value(g, "x", SHAPE(-1, 4)) };
    struct node *n = NULL, *relu = NULL;
    graph_add_constant(g, "fc.w", &w, &in[1], NULL);
    graph_add_node(g, op_find("matmul"), NULL, in, 2, &n, NULL);
    *(struct matmul_attrs *)node_attrs(n) = (struct matmul_attrs){ .trans_b = true, .alpha = 0.5f };
    graph_add_node(g, op_find("relu"), NULL, &n->out[0], 1, &relu, NULL);
    graph_set_inputs(g, in, 1);
    graph_set_outputs(g, relu->out, 1);
    expect_dot(
        g, "digraph model {\n"
           "  node [fontname=\"Helvetica\"];\n"
           "  v0 [shape=ellipse, label=\"x\\nfloat32 [-1, 4]\"];\n"
           "  n0 [shape=box, label=\"matmul\\ntrans_b=true alpha=0.5\\nfc.w\\nfloat32 [4, 3]\"];\n"
           "  v2 [shape=plaintext, label=\"%2\\nfloat32 []\"];\n"
           "  v0 -> n0;\n"
           "  n0 -> v2;\n"
           "  n1 [shape=box, label=\"relu\"];\n"
           "  v3 [shape=ellipse, label=\"%3\\nfloat32 []\"];\n"
           "  v2 -> n1;\n"
           "  n1 -> v3;\n"
           "}\n");
    graph_free(g);
}

static void offsets_of_a_ragged_feed_are_fed_too(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_value(g, "words", SHAPE(-1, 1));
    x->lod[0] = add_value(g, "words.lod0", SHAPE(-1));
    x->lod_levels = 1;
    graph_set_inputs(g, &x, 1);
    expect_dot(g, "digraph model {\n"
                  "  node [fontname=\"Helvetica\"];\n"
                  "  v0 [shape=ellipse, label=\"words\\nfloat32 [-1, 1]\"];\n"
                  "  v1 [shape=ellipse, label=\"words.lod0\\nfloat32 [-1]\"];\n"
                  "}\n");
    graph_free(g);
}

static void absent_inputs_have_no_edge(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_value(g, "x", SHAPE(1));
    struct value *in[] = { x, x, NULL };
    struct node *n = NULL;
    graph_add_node(g, op_find("conv2d"), NULL, in, 3, &n, NULL);
    struct buf out;
    buf_init(&out, 1 << 16);
    graph_to_dot(g, &out);
    buf_byte(&out, 0);
    const char *edge = strstr((const char *)out.data, "v0 -> n0");
    assert_non_null(edge);
    assert_non_null(strstr(edge + 1, "v0 -> n0"));
    buf_deinit(&out);
    graph_free(g);
}

static void names_from_files_cannot_end_the_text(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_value(g, "a\"]; evil [\\\n\xff", SHAPE(1));
    graph_set_inputs(g, &x, 1);
    expect_dot(g, "digraph model {\n"
                  "  node [fontname=\"Helvetica\"];\n"
                  "  v0 [shape=ellipse, label=\"a?]; evil [???\\nfloat32 [1]\"];\n"
                  "}\n");
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_are_boxes_and_parameters_stand_in_them),
        cmocka_unit_test(offsets_of_a_ragged_feed_are_fed_too),
        cmocka_unit_test(absent_inputs_have_no_edge),
        cmocka_unit_test(names_from_files_cannot_end_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
