/* Graphs in half precision after half_widen: nothing between the inputs and the outputs is half. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/attrs_control.h"
#include "graph/op.h"
#include "import/half.h"

#include <string.h>

static const struct shape row = { 1, { 2 } };
static const uint16_t one_and_half[2] = { 0x3c00, 0x3800 }; /* float16 */

static struct value *add_input(struct graph *g, dtype d)
{
    struct value *v = NULL;
    assert_int_equal(graph_add_value(g, "x", d, &row, &v, NULL), OK);
    assert_int_equal(graph_set_inputs(g, &v, 1), OK);
    return v;
}

static struct value *add_constant(struct graph *g)
{
    struct value *v = NULL;
    const struct tensor t = { .dtype = DTYPE_F16, .shape = row, .data = one_and_half };
    assert_int_equal(graph_add_constant(g, "w", &t, &v, NULL), OK);
    return v;
}

static struct node *add_node(struct graph *g, const char *op, struct value *a, struct value *b)
{
    struct value *in[] = { a, b };
    struct node *n = NULL;
    assert_int_equal(graph_add_node(g, op_find(op), "made here", in, b != NULL ? 2 : 1, &n, NULL),
                     OK);
    n->out[0]->dtype = a->dtype;
    return n;
}

static void expect_cast(const struct node *n, dtype to)
{
    assert_string_equal(n->op->name, "cast");
    assert_int_equal(((const struct dtype_attrs *)n->attrs)->dtype, to);
}

static void constants_are_widened_exactly(void **state)
{
    struct graph *g = graph_new();
    struct value *w = add_constant(g);
    assert_int_equal(half_widen(g, NULL), OK);
    assert_int_equal(w->constant->dtype, DTYPE_F32);
    assert_true(((const float *)w->constant->data)[0] == 1.0f);
    assert_true(((const float *)w->constant->data)[1] == 0.5f);
    graph_free(g);
}

static void casts_to_half_become_such_to_float(void **state)
{
    struct graph *g = graph_new();
    struct node *n = add_node(g, "cast", add_input(g, DTYPE_F32), NULL);
    ((struct dtype_attrs *)node_attrs(n))->dtype = DTYPE_BF16;
    n->out[0]->dtype = DTYPE_BF16;
    struct node *last = add_node(g, "relu", n->out[0], NULL);
    last->out[0]->dtype = DTYPE_F32;
    assert_int_equal(graph_set_outputs(g, last->out, 1), OK);
    assert_int_equal(half_widen(g, NULL), OK);
    expect_cast(n, DTYPE_F32);
    assert_int_equal(n->out[0]->dtype, DTYPE_F32);
    assert_int_equal(g->node_count, 2);
    graph_free(g);
}

static void clients_see_half_where_the_model_says_so(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_input(g, DTYPE_F16);
    struct node *add = add_node(g, "add", x, add_constant(g));
    assert_int_equal(graph_set_outputs(g, add->out, 1), OK);
    assert_int_equal(half_widen(g, NULL), OK);
    assert_int_equal(graph_check(g, NULL), OK);
    assert_int_equal(g->node_count, 3);
    expect_cast(g->nodes[0], DTYPE_F32);
    assert_ptr_equal(g->nodes[0]->in[0], x);
    assert_ptr_equal(add->in[0], g->nodes[0]->out[0]);
    expect_cast(g->nodes[2], DTYPE_F16);
    assert_ptr_equal(g->outputs[0], g->nodes[2]->out[0]);
    assert_int_equal(g->inputs[0]->dtype, DTYPE_F16);
    assert_int_equal(g->outputs[0]->dtype, DTYPE_F16);
    graph_free(g);
}

static void a_graph_without_half_stays_as_it_is(void **state)
{
    struct graph *g = graph_new();
    struct node *n = add_node(g, "relu", add_input(g, DTYPE_F32), NULL);
    assert_int_equal(graph_set_outputs(g, n->out, 1), OK);
    assert_int_equal(half_widen(g, NULL), OK);
    assert_int_equal(g->node_count, 1);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_are_widened_exactly),
        cmocka_unit_test(casts_to_half_become_such_to_float),
        cmocka_unit_test(clients_see_half_where_the_model_says_so),
        cmocka_unit_test(a_graph_without_half_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
