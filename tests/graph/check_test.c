/* graph_check: one sound graph, and one row for each way of breaking it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/attrs.h"
#include "graph/op.h"

#include <string.h>

/* x (ragged by `offsets`) x w -> product -> hidden (reshape); lstm over it gives two outputs. */
struct sound {
    struct graph *graph;
    struct value *x, *offsets;
    struct node *matmul, *reshape, *lstm;
};

static struct value *add_value(struct graph *g, const char *name)
{
    static const struct shape s = { 2, { -1, 4 } };
    struct value *v = NULL;
    assert_int_equal(graph_add_value(g, name, DTYPE_F32, &s, &v, NULL), OK);
    return v;
}

static struct value *add_constant(struct graph *g, const char *name)
{
    static const float data[16];
    struct tensor t = { .dtype = DTYPE_F32, .shape = SHAPE(4, 4), .data = data };
    struct value *v = NULL;
    assert_int_equal(graph_add_constant(g, name, &t, &v, NULL), OK);
    return v;
}

static struct node *add_node(struct graph *g, const char *op, const char *origin, struct value **in,
                             int count)
{
    struct node *n = NULL;
    assert_int_equal(graph_add_node(g, op_find(op), origin, in, count, &n, NULL), OK);
    return n;
}

static struct sound make(void)
{
    struct sound s = { .graph = graph_new() };
    struct graph *g = s.graph;
    s.x = add_value(g, "x");
    s.offsets = add_value(g, "x.lod0");
    s.x->lod[0] = s.offsets;
    s.x->lod_levels = 1;
    s.matmul = add_node(g, "matmul", "mul (operator 0)",
                        (struct value *[]){ s.x, add_constant(g, "w") }, 2);
    s.reshape = add_node(g, "reshape", NULL, &s.matmul->out[0], 1);
    struct value *in[] = { s.reshape->out[0],    s.offsets, add_constant(g, "u"),
                           add_constant(g, "b"), NULL,      s.x };
    s.lstm = add_node(g, "lstm", "lstm (operator 2)", in, 6);
    s.lstm->out[0]->lod[0] = s.offsets;
    s.lstm->out[0]->lod_levels = 1;
    graph_set_inputs(g, &s.x, 1);
    graph_set_outputs(g, s.lstm->out, 2);
    return s;
}

static void a_sound_graph_passes(void **state)
{
    struct sound s = make();
    struct err e = { "" };
    assert_int_equal(graph_check(s.graph, &e), OK);
    assert_string_equal(e.text, "");
    graph_free(s.graph);
}

static void an_empty_graph_passes(void **state)
{
    struct graph *g = graph_new();
    assert_int_equal(graph_check(g, NULL), OK);
    graph_free(g);
}

/* ---- ways of breaking it ---- */

static void too_few_inputs(struct sound *s)
{
    s->matmul->in_count = 1;
}

static void too_many_inputs(struct sound *s)
{
    static struct value *in[3];
    for (int i = 0; i < 3; i++)
        in[i] = s->matmul->in[0];
    s->reshape->in = in;
    s->reshape->in_count = 3;
}

static void required_input_missing(struct sound *s)
{
    s->lstm->in[2] = NULL;
}

static void input_not_fed(struct sound *s)
{
    s->matmul->in[0] = add_value(s->graph, "stranger");
}

static void wrong_order(struct sound *s)
{
    struct node *first = s->graph->nodes[0];
    s->graph->nodes[0] = s->graph->nodes[1];
    s->graph->nodes[1] = first;
}

static void optional_input_not_fed(struct sound *s)
{
    s->lstm->in[4] = add_value(s->graph, "h0");
}

static void made_twice(struct sound *s)
{
    s->lstm->out[0] = s->reshape->out[0];
}

static void made_by_another(struct sound *s)
{
    s->reshape->out[0]->producer = s->matmul;
}

static void makes_an_input(struct sound *s)
{
    s->reshape->out[0] = s->x;
    s->x->producer = s->reshape;
}

static void act_too_large(struct sound *s)
{
    ((struct matmul_attrs *)node_attrs(s->matmul))->act = ACT_COUNT;
}

static void act_negative(struct sound *s)
{
    ((struct lstm_attrs *)node_attrs(s->lstm))->cell_act = -1;
}

static void count_too_large(struct sound *s)
{
    ((struct reshape_attrs *)node_attrs(s->reshape))->shape.count = ATTR_INTS_MAX + 1;
}

static void count_negative(struct sound *s)
{
    ((struct reshape_attrs *)node_attrs(s->reshape))->shape.count = -1;
}

static void output_unknown(struct sound *s)
{
    s->graph->outputs[1] = add_value(s->graph, "stranger");
}

static void output_swept_away(struct sound *s)
{
    s->graph->node_count = 2;
}

static void lod_unknown(struct sound *s)
{
    s->lstm->out[0]->lod[0] = add_value(s->graph, "stranger");
}

static void every_break_is_found_and_named(void **state)
{
    // clang-format off
    static const struct {
        void (*spoil)(struct sound *s);
        const char *words;
    } rows[] = {
        { too_few_inputs,         "node 'matmul_0': 1 inputs, expected 2 to 5" },
        { too_many_inputs,        "node 'reshape_1': 3 inputs, expected 1 to 2" },
        { required_input_missing, "node 'lstm_2' (lstm (operator 2)): a required input is missing" },
        { input_not_fed,          "node 'matmul_0': its input 'stranger' is neither fed nor made before it" },
        { wrong_order,            "node 'reshape_1': its input '%3' is neither fed nor made before it" },
        { optional_input_not_fed, "node 'lstm_2': its input 'h0' is neither fed nor made before it" },
        { made_twice,             "node 'lstm_2' (lstm (operator 2)): one of its outputs is made twice" },
        { made_by_another,        "node 'reshape_1' (reshape): one of its outputs is made twice" },
        { makes_an_input,         "node 'reshape_1' (reshape): one of its outputs is made twice" },
        { act_too_large,          "node 'matmul_0': attribute 'act' is out of range" },
        { act_negative,           "node 'lstm_2': attribute 'cell_act' is out of range" },
        { count_too_large,        "node 'reshape_1': attribute 'shape' is out of range" },
        { count_negative,         "node 'reshape_1': attribute 'shape' is out of range" },
        { output_unknown,         "output 'stranger' is neither fed nor computed" },
        { output_swept_away,      "output '%7' is neither fed nor computed" },
        { lod_unknown,            "the LoD of output '%7' is not computed" },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sound s = make();
        struct err e = { "" };
        rows[i].spoil(&s);
        assert_int_equal(graph_check(s.graph, &e), INVALID);
        assert_string_equal(e.text, rows[i].words);
        graph_free(s.graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_graph_passes),
        cmocka_unit_test(an_empty_graph_passes),
        cmocka_unit_test(every_break_is_found_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
