#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "graph/attrs.h"
#include "graph/op.h"

#include <string.h>

static const struct shape row = { 2, { -1, 4 } };

static struct value *add_value(struct graph *g, const char *name)
{
    struct value *v = NULL;
    assert_int_equal(graph_add_value(g, name, DTYPE_F32, &row, &v, NULL), OK);
    return v;
}

static struct node *add_node(struct graph *g, const char *op, struct value *a, struct value *b)
{
    struct value *in[] = { a, b };
    struct node *n = NULL;
    assert_int_equal(graph_add_node(g, op_find(op), "made here", in, b != NULL ? 2 : 1, &n, NULL),
                     OK);
    return n;
}

static void set_output(struct graph *g, struct value *v)
{
    assert_int_equal(graph_set_outputs(g, &v, 1), OK);
}

/* ---- building ---- */

static void values_have_names_of_their_own(void **state)
{
    struct graph *g = graph_new();
    char name[] = "x";
    const struct value *x = add_value(g, name);
    name[0] = '?';
    assert_string_equal(x->name, "x");
    assert_string_equal(add_value(g, NULL)->name, "%1");
    assert_int_equal(x->id, 0);
    assert_int_equal(x->dtype, DTYPE_F32);
    assert_true(shape_eq(&x->shape, &row));
    assert_null(x->producer);
    assert_null(x->constant);
    assert_int_equal(g->value_count, 2);
    graph_free(g);
}

static void a_constant_is_a_view_of_its_bytes(void **state)
{
    static const float data[] = { 1, 2, 3 };
    struct tensor t = { .dtype = DTYPE_F32, .shape = SHAPE(3), .data = data };
    struct graph *g = graph_new();
    struct value *v = NULL;
    assert_int_equal(graph_add_constant(g, "w", &t, &v, NULL), OK);
    t.shape = SHAPE(1);
    assert_ptr_equal(v->constant->data, data);
    assert_true(shape_eq(&v->constant->shape, &SHAPE(3)));
    assert_true(shape_eq(&v->shape, &SHAPE(3)));
    graph_free(g);
}

static void a_node_brings_its_outputs_and_zeroed_attributes(void **state)
{
    struct graph *g = graph_new();
    struct value *in[] = { add_value(g, "x"), add_value(g, "o"), add_value(g, "w"),
                           add_value(g, "b"), NULL };
    struct node *n = NULL;
    assert_int_equal(graph_add_node(g, op_find("lstm"), "lstm (operator 7)", in, 5, &n, NULL), OK);
    assert_string_equal(n->name, "lstm_0");
    assert_string_equal(n->origin, "lstm (operator 7)");
    assert_int_equal(n->in_count, 5);
    assert_ptr_equal(n->in[3], in[3]);
    assert_null(n->in[4]);
    assert_true(n->in != in);
    assert_int_equal(n->out_count, 2);
    assert_ptr_equal(n->out[0]->producer, n);
    assert_ptr_equal(n->out[1]->producer, n);
    static const struct lstm_attrs zeros;
    assert_memory_equal(node_attrs(n), &zeros, sizeof(zeros));
    assert_string_equal(add_node(g, "relu", in[0], NULL)->name, "relu_1");
    assert_null(add_node(g, "relu", in[0], NULL)->attrs);
    graph_free(g);
}

static void more_inputs_than_a_byte_counts_are_refused(void **state)
{
    struct graph *g = graph_new();
    struct value *in[256], *x = add_value(g, "x");
    struct node *n = NULL;
    struct err e = { "" };
    for (int i = 0; i < 256; i++)
        in[i] = x;
    assert_int_equal(graph_add_node(g, op_find("concat"), NULL, in, 256, &n, &e), TOO_LARGE);
    assert_string_equal(e.text, "concat: 256 inputs, at most 255");
    assert_int_equal(graph_add_node(g, op_find("concat"), NULL, in, 255, &n, &e), OK);
    assert_int_equal(graph_add_input(g, n, x, &e), TOO_LARGE);
    assert_non_null(strstr(e.text, "more than 255 inputs"));
    assert_int_equal(n->in_count, 255);
    assert_int_equal(graph_add_node(g, op_find("concat"), NULL, NULL, 0, &n, &e), OK);
    graph_free(g);
}

static void a_graph_has_a_largest_size(void **state)
{
    struct graph *g = graph_new();
    struct value *v = NULL;
    struct node *n = NULL;
    struct err e = { "" };
    struct value *x = add_value(g, "x");
    g->value_count = g->value_cap = LIMIT_GRAPH_VALUES;
    assert_int_equal(graph_add_value(g, "y", DTYPE_F32, &row, &v, &e), TOO_LARGE);
    assert_non_null(strstr(e.text, "more than 2097152 values"));
    g->value_count = g->value_cap = 1;
    g->node_count = g->node_cap = LIMIT_GRAPH_NODES;
    assert_int_equal(graph_add_node(g, op_find("relu"), NULL, &x, 1, &n, &e), TOO_LARGE);
    assert_non_null(strstr(e.text, "more than 1048576 nodes"));
    g->node_count = g->node_cap = 0;
    graph_free(g);
}

static void memory_that_is_out_is_told(void **state)
{
    struct graph *g = graph_new();
    struct value *v = NULL;
    struct err e = { "" };
    mem_fail_nth(1);
    assert_int_equal(graph_add_value(g, "x", DTYPE_F32, &row, &v, &e), NO_MEMORY);
    mem_fail_nth(0);
    assert_string_equal(e.text, "no memory for 64 values");
    assert_int_equal(g->value_count, 0);
    for (int i = 0; i < 65; i++)
        add_value(g, NULL);
    assert_int_equal(g->values[64]->id, 64);
    graph_free(g);
    graph_free(NULL);
}

/* ---- what passes use ---- */

static void an_input_is_added_behind_the_others(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_value(g, "x"), *w = add_value(g, "w"), *b = add_value(g, "b");
    struct node *n = add_node(g, "matmul", x, w);
    assert_int_equal(graph_add_input(g, n, b, NULL), OK);
    assert_int_equal(n->in_count, 3);
    assert_ptr_equal(n->in[0], x);
    assert_ptr_equal(n->in[1], w);
    assert_ptr_equal(n->in[2], b);
    graph_free(g);
}

static void an_absorbed_node_gives_its_output_away(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_value(g, "x");
    struct node *n = add_node(g, "exp", x, NULL), *user = add_node(g, "relu", n->out[0], NULL);
    struct value *y = user->out[0];
    set_output(g, y);
    graph_absorb(n, user);
    assert_ptr_equal(n->out[0], y);
    assert_ptr_equal(y->producer, n);
    graph_sweep(g);
    assert_int_equal(g->node_count, 1);
    assert_ptr_equal(g->nodes[0], n);
    graph_free(g);
}

/* x -> copy -> copy -> relu, all three forwarded to x at once. */
static void replacements_are_followed_along_chains(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_value(g, "x"), *other = add_value(g, "other");
    struct value *a = add_node(g, "identity", x, NULL)->out[0];
    struct value *b = add_node(g, "identity", a, NULL)->out[0];
    struct node *relu = add_node(g, "relu", b, NULL), *add = add_node(g, "add", other, b);
    struct value *in[] = { x, other, x, other, NULL, b };
    struct node *lstm = NULL;
    assert_int_equal(graph_add_node(g, op_find("lstm"), NULL, in, 6, &lstm, NULL), OK);
    add->out[0]->lod[0] = b;
    add->out[0]->lod_levels = 1;
    set_output(g, b);
    struct value *by_id[32] = { 0 };
    by_id[b->id] = a;
    by_id[a->id] = x;
    graph_forward(g, by_id);
    assert_ptr_equal(relu->in[0], x);
    assert_ptr_equal(add->in[0], other);
    assert_ptr_equal(add->in[1], x);
    assert_null(lstm->in[4]);
    assert_ptr_equal(lstm->in[5], x);
    assert_ptr_equal(add->out[0]->lod[0], x);
    assert_ptr_equal(g->outputs[0], x);
    graph_free(g);
}

static void uses_are_inputs_outputs_and_their_offsets(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_value(g, "x"), *offsets = add_value(g, "offsets");
    struct value *square = add_node(g, "mul", x, x)->out[0];
    struct value *inner = add_node(g, "relu", square, NULL)->out[0];
    inner->lod[0] = square->lod[0] = offsets;
    inner->lod_levels = square->lod_levels = 1;
    set_output(g, inner);
    int uses[16];
    graph_count_uses(g, uses);
    assert_int_equal(uses[x->id], 2);
    assert_int_equal(uses[square->id], 1);
    assert_int_equal(uses[inner->id], 1);
    assert_int_equal(uses[offsets->id], 1); /* of the output; what lies between does not count */
    graph_free(g);
}

static void what_nobody_uses_is_swept_away(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_value(g, "x");
    struct node *kept = add_node(g, "exp", x, NULL);
    struct node *dead = add_node(g, "log", kept->out[0], NULL);
    add_node(g, "sqrt", dead->out[0], NULL); /* its end: a whole chain goes */
    struct node *offsets = add_node(g, "abs", x, NULL);
    struct node *last = add_node(g, "relu", kept->out[0], NULL);
    last->out[0]->lod[0] = offsets->out[0];
    last->out[0]->lod_levels = 1;
    set_output(g, last->out[0]);
    graph_sweep(g);
    assert_int_equal(g->node_count, 3);
    assert_ptr_equal(g->nodes[0], kept);
    assert_ptr_equal(g->nodes[1], offsets);
    assert_ptr_equal(g->nodes[2], last);
    graph_free(g);
}

static void a_node_stays_for_one_of_its_outputs(void **state)
{
    struct graph *g = graph_new();
    struct value *x = add_value(g, "x");
    struct value *in[] = { x, x, x, x };
    struct node *n = NULL;
    assert_int_equal(graph_add_node(g, op_find("lstm"), NULL, in, 4, &n, NULL), OK);
    set_output(g, n->out[1]);
    graph_sweep(g);
    assert_int_equal(g->node_count, 1);
    assert_int_equal(graph_set_outputs(g, NULL, 0), OK);
    graph_sweep(g);
    assert_int_equal(g->node_count, 0);
    graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_have_names_of_their_own),
        cmocka_unit_test(a_constant_is_a_view_of_its_bytes),
        cmocka_unit_test(a_node_brings_its_outputs_and_zeroed_attributes),
        cmocka_unit_test(more_inputs_than_a_byte_counts_are_refused),
        cmocka_unit_test(a_graph_has_a_largest_size),
        cmocka_unit_test(memory_that_is_out_is_told),
        cmocka_unit_test(an_input_is_added_behind_the_others),
        cmocka_unit_test(an_absorbed_node_gives_its_output_away),
        cmocka_unit_test(replacements_are_followed_along_chains),
        cmocka_unit_test(uses_are_inputs_outputs_and_their_offsets),
        cmocka_unit_test(what_nobody_uses_is_swept_away),
        cmocka_unit_test(a_node_stays_for_one_of_its_outputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
