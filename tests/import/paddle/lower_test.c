#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "graph/attrs.h"
#include "import/paddle/lower.h"
#include "import/program_builder.h"

#include <string.h>

#define ZOO OAR_SOURCE_DIR "/tests/data/zoo/"

/* What a written program becomes. Parameters are zeros. */
struct lowered {
    struct arena arena;
    struct buf bytes;
    struct program program;
    struct params params;
    struct port_names names;
    struct graph *graph;
    struct err err;
};

static status lower_bytes(struct lowered *l, struct str bytes)
{
    static const float zeros[1 << 16];
    TRY(program_decode(bytes, &l->arena, &l->program, &l->err));
    map_init(&l->params.by_name, &l->arena);
    for (int i = 0; i < l->program.block[0].var_count; i++) {
        const struct var_desc *v = &l->program.block[0].var[i];
        struct tensor *t = arena_zalloc(&l->arena, sizeof(*t));
        *t = (struct tensor){ .dtype = DTYPE_F32, .shape = v->shape, .data = zeros };
        if (var_is_param(v) && tensor_bytes(t) >= 0 && (size_t)tensor_bytes(t) <= sizeof(zeros))
            map_put(&l->params.by_name, v->name, t);
    }
    struct lower_in in = { &l->program, &l->params, NULL };
    return lower_program(&in, l->graph, &l->names, &l->err);
}

static status lower(struct lowered *l, struct program_builder *b)
{
    memset(l, 0, sizeof(*l));
    arena_init(&l->arena, 0);
    l->graph = graph_new();
    finish_program(b, &l->bytes);
    builder_deinit(b);
    return lower_bytes(l, buf_view(&l->bytes));
}

static void done(struct lowered *l)
{
    graph_free(l->graph);
    buf_deinit(&l->bytes);
    arena_deinit(&l->arena);
}

static void must(struct lowered *l, struct program_builder *b)
{
    if (lower(l, b) != OK)
        fail_msg("%s", l->err.text);
}

static void refuse(struct program_builder *b, status want, const char *words)
{
    struct lowered l;
    status s = lower(&l, b);
    if (s != want || strstr(l.err.text, words) == NULL)
        fail_msg("wanted %s with '%s', got %s: %s", status_text(want), words, status_text(s),
                 l.err.text);
    done(&l);
}

/* The k-th node of this operator. */
static const struct node *node_of(const struct graph *g, const char *op, int k)
{
    for (uint32_t i = 0; i < g->node_count; i++)
        if (strcmp(g->nodes[i]->op->name, op) == 0 && k-- == 0)
            return g->nodes[i];
    return NULL;
}

static int count_of(const struct graph *g, const char *op)
{
    int n = 0;
    while (node_of(g, op, n) != NULL)
        n++;
    return n;
}

/* x: fed with this LoD level and shape [-1, 4]; y [.., ..] a parameter of its dims; out fetched. */
static void begin(struct program_builder *b, int lod_level)
{
    builder_init(b);
    ADD_VAR(b, "x", 5, lod_level, 0, -1, 4);
    ADD_VAR(b, "out", 5, lod_level, 0, -1, 4);
    add_end(b, "feed", "feed", "x", 0);
}

static void finish(struct program_builder *b)
{
    add_end(b, "fetch", "out", "fetch", 0);
}

static void begin_binary(struct program_builder *b, const char *type)
{
    begin_op(b, type);
    put_slot(b, 1, "X", "x");
    put_slot(b, 1, "Y", "y");
    put_slot(b, 2, "Out", "out");
}

/* ---- what is refused ---- */

static void all_unknown_operators_are_told_at_once(void **state)
{
    struct program_builder b;
    begin(&b, 0);
    add_op(&b, "foo", "x", "a");
    add_op(&b, "relu", "x", "a");
    add_op(&b, "bar", "a", "a");
    add_op(&b, "foo", "a", "out");
    finish(&b);
    refuse(&b, UNSUPPORTED,
           "operator 'foo' (2 times, first at operator 1 of block 0), "
           "'bar' (1 time, first at operator 3 of block 0)");
}

static void sequence_operators_want_lod(void **state)
{
    struct program_builder b;
    begin(&b, 0);
    add_op(&b, "sequence_pool", "x", "out");
    finish(&b);
    refuse(&b, INVALID,
           "operator 'sequence_pool' (operator 1 of block 0): its input 'x' has no LoD");
}

static void what_nobody_wrote_is_refused(void **state)
{
    struct program_builder b;
    begin(&b, 0);
    add_op(&b, "relu", "ghost", "out");
    finish(&b);
    refuse(&b, INVALID, "'ghost' is neither a feed nor a parameter nor written before");
    begin(&b, 0);
    refuse(&b, INVALID, "no fetch operator");
    begin(&b, 0);
    add_end(&b, "feed", "feed", "x", 1);
    finish(&b);
    refuse(&b, INVALID, "'x' is fed or written already");
    begin(&b, 0);
    ADD_VAR(&b, "y", 5, 0, 0, -1, 4);
    add_end(&b, "feed", "feed", "y", 0);
    add_end(&b, "fetch", "x", "fetch", 0);
    refuse(&b, INVALID, "both feed column 0");
}

static void an_attribute_of_a_wrong_kind_is_named(void **state)
{
    struct program_builder b;
    begin(&b, 0);
    begin_op(&b, "softmax");
    put_slot(&b, 1, "X", "x");
    put_slot(&b, 2, "Out", "out");
    put_str_attr(&b, "axis", "last");
    end_op(&b);
    finish(&b);
    refuse(&b, INVALID, "attribute 'axis': expected an integer");
}

/* ---- how operators come over ---- */

static void attributes_may_be_int_or_long_or_absent(void **state)
{
    static const int kind[] = { 0, 9 }; /* INT, LONG */
    static const uint32_t field[] = { 3, 13 };
    for (int i = 0; i < 3; i++) {
        struct program_builder b;
        struct lowered l;
        begin(&b, 0);
        begin_op(&b, "softmax");
        put_slot(&b, 1, "X", "x");
        put_slot(&b, 2, "Out", "out");
        if (i < 2)
            put_int_attr(&b, "axis", kind[i], field[i], -2);
        end_op(&b);
        finish(&b);
        must(&l, &b);
        const struct axis_attrs *a = node_of(l.graph, "softmax", 0)->attrs;
        assert_int_equal(a->axis, i < 2 ? -2 : -1);
        done(&l);
    }
}

static void mul_of_matrices_needs_no_reshape(void **state)
{
    struct program_builder b;
    struct lowered l;
    begin(&b, 0);
    ADD_VAR(&b, "y", 5, 0, 1, 4, 4);
    begin_binary(&b, "mul");
    end_op(&b);
    finish(&b);
    must(&l, &b);
    assert_int_equal(l.graph->node_count, 1);
    const struct node *n = node_of(l.graph, "matmul", 0);
    assert_string_equal(n->out[0]->name, "out");
    assert_string_equal(n->in[1]->name, "y");
    assert_non_null(n->in[1]->constant);
    assert_true(((const struct matmul_attrs *)n->attrs)->alpha == 1);
    done(&l);
}

static void mul_of_more_dimensions_is_reshaped(void **state)
{
    struct program_builder b;
    struct lowered l;
    builder_init(&b);
    ADD_VAR(&b, "x", 5, 0, 0, -1, 5, 2, 3);
    ADD_VAR(&b, "y", 5, 0, 1, 2, 3, 7, 2);
    ADD_VAR(&b, "out", 5, 0, 0, -1, 5, 7, 2);
    add_end(&b, "feed", "feed", "x", 0);
    begin_binary(&b, "mul");
    put_int_attr(&b, "x_num_col_dims", 0, 3, 2);
    put_int_attr(&b, "y_num_col_dims", 0, 3, 2);
    end_op(&b);
    finish(&b);
    must(&l, &b);
    assert_int_equal(count_of(l.graph, "reshape"), 3);
    const struct reshape_attrs *y = node_of(l.graph, "reshape", 0)->attrs;
    const struct reshape_attrs *x = node_of(l.graph, "reshape", 1)->attrs;
    const struct reshape_attrs *out = node_of(l.graph, "reshape", 2)->attrs;
    assert_memory_equal(&y->shape, (&(struct attr_ints){ 2, { 6, 14 } }), sizeof(y->shape));
    assert_memory_equal(&x->shape, (&(struct attr_ints){ 3, { 0, 0, 6 } }), sizeof(x->shape));
    assert_memory_equal(&out->shape, (&(struct attr_ints){ 4, { 0, 0, 7, 2 } }),
                        sizeof(out->shape));
    assert_string_equal(l.graph->outputs[0]->name, "out");
    done(&l);
}

/* Y [3] laid over X [-1, 3, 4] from axis 1 on is [3, 1] to NumPy; on the last dimensions nothing is
 * to do. */
static void elementwise_axis_appends_ones(void **state)
{
    for (int axis = -1; axis <= 1; axis++) {
        struct program_builder b;
        struct lowered l;
        builder_init(&b);
        ADD_VAR(&b, "x", 5, 0, 0, 3, 3, 3);
        ADD_VAR(&b, "y", 5, 0, 1, 3);
        ADD_VAR(&b, "out", 5, 0, 0, 3, 3, 3);
        add_end(&b, "feed", "feed", "x", 0);
        begin_binary(&b, "elementwise_add");
        put_int_attr(&b, "axis", 0, 3, axis);
        end_op(&b);
        finish(&b);
        must(&l, &b);
        const struct node *n = node_of(l.graph, "reshape", 0);
        assert_int_equal(n == NULL, axis == -1);
        if (n != NULL) {
            const struct reshape_attrs *a = n->attrs;
            assert_int_equal(a->shape.count, 3 - axis);
            assert_int_equal(a->shape.v[0], 0);
            assert_int_equal(a->shape.v[1], 1);
            assert_ptr_equal(node_of(l.graph, "add", 0)->in[1], n->out[0]);
        }
        done(&l);
    }
}

static void elementwise_cuts_ones_that_stick_out(void **state)
{
    struct program_builder b;
    struct lowered l;
    begin(&b, 0);
    ADD_VAR(&b, "y", 5, 0, 1, 4, 1);
    begin_binary(&b, "elementwise_mul");
    put_int_attr(&b, "axis", 0, 3, 1);
    end_op(&b);
    finish(&b);
    must(&l, &b);
    const struct reshape_attrs *a = node_of(l.graph, "reshape", 0)->attrs;
    assert_memory_equal(&a->shape, (&(struct attr_ints){ 1, { 0 } }), sizeof(a->shape));
    done(&l);
    begin(&b, 0);
    ADD_VAR(&b, "y", 5, 0, 1, 4, 4);
    begin_binary(&b, "elementwise_mul");
    put_int_attr(&b, "axis", 0, 3, 1);
    end_op(&b);
    finish(&b);
    refuse(&b, INVALID, "axis 1 does not fit inputs of 2 and 2 dimensions");
}

static void bias_before_scale_is_scaled(void **state)
{
    struct program_builder b;
    struct lowered l;
    begin(&b, 0);
    begin_op(&b, "scale");
    put_slot(&b, 1, "X", "x");
    put_slot(&b, 2, "Out", "out");
    put_int_attr(&b, "scale", 0, 3, 3);
    put_int_attr(&b, "bias", 0, 3, 5);
    put_int_attr(&b, "bias_after_scale", 6, 10, 0);
    end_op(&b);
    finish(&b);
    must(&l, &b);
    const struct affine_attrs *a = node_of(l.graph, "affine", 0)->attrs;
    assert_true(a->scale == 3 && a->bias == 15);
    done(&l);
}

static void dropout_does_nothing_or_scales_down(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct program_builder b;
        struct lowered l;
        begin(&b, 0);
        begin_op(&b, "dropout");
        put_slot(&b, 1, "X", "x");
        put_slot(&b, 2, "Out", "out");
        if (i == 0)
            put_str_attr(&b, "dropout_implementation", "upscale_in_train");
        end_op(&b);
        finish(&b);
        must(&l, &b);
        assert_int_equal(count_of(l.graph, "identity"), i == 0);
        if (i == 1) {
            const struct affine_attrs *a = node_of(l.graph, "affine", 0)->attrs;
            assert_true(a->scale == 0.5f && a->bias == 0);
        }
        done(&l);
    }
}

static void a_name_written_twice_gets_another_value(void **state)
{
    struct program_builder b;
    struct lowered l;
    begin(&b, 0);
    add_op(&b, "relu", "x", "out");
    add_op(&b, "tanh", "out", "out");
    finish(&b);
    must(&l, &b);
    assert_string_equal(l.graph->nodes[0]->out[0]->name, "out");
    assert_string_equal(l.graph->nodes[1]->out[0]->name, "out@2");
    assert_ptr_equal(l.graph->outputs[0], l.graph->nodes[1]->out[0]);
    assert_string_equal(l.names.output[0], "out");
    done(&l);
}

/* ---- LoD ---- */

static void lod_is_shared_until_a_pool_takes_it(void **state)
{
    struct program_builder b;
    struct lowered l;
    begin(&b, 2);
    ADD_VAR(&b, "y", 5, 0, 1, 4, 4);
    begin_op(&b, "mul");
    put_slot(&b, 1, "X", "x");
    put_slot(&b, 1, "Y", "y");
    put_slot(&b, 2, "Out", "h");
    end_op(&b);
    add_op(&b, "sequence_pool", "h", "p");
    add_op(&b, "sequence_pool", "p", "out");
    finish(&b);
    must(&l, &b);
    const struct value *x = l.graph->inputs[0];
    const struct node *inner = node_of(l.graph, "seq_pool", 0);
    const struct node *outer = node_of(l.graph, "seq_pool", 1);
    assert_int_equal(x->lod_levels, 2);
    assert_int_equal(inner->in[0]->lod_levels, 2);
    assert_ptr_equal(inner->in[1], x->lod[1]);
    assert_int_equal(inner->out[0]->lod_levels, 1);
    assert_ptr_equal(outer->in[1], x->lod[0]);
    assert_int_equal(l.graph->outputs[0]->lod_levels, 0);
    done(&l);
}

static void a_reshape_keeps_lod_only_with_the_rows(void **state)
{
    static const int64_t first[] = { 0, -1, 2 };
    for (int i = 0; i < 3; i++) {
        struct program_builder b;
        struct lowered l;
        struct buf attr;
        begin(&b, 1);
        begin_op(&b, "reshape2");
        put_slot(&b, 1, "X", "x");
        put_slot(&b, 2, "Out", "out");
        buf_init(&attr, 1024);
        pb_put_bytes(&attr, 1, STR("shape"));
        pb_put_u64(&attr, 2, 3);
        pb_put_u64(&attr, 6, (uint64_t)first[i]);
        pb_put_u64(&attr, 6, 4);
        pb_put_bytes(&b.op, 4, buf_view(&attr));
        buf_deinit(&attr);
        end_op(&b);
        finish(&b);
        must(&l, &b);
        assert_int_equal(l.graph->outputs[0]->lod_levels, i < 2);
        done(&l);
    }
}

static void an_unused_feed_is_still_an_input(void **state)
{
    struct program_builder b;
    struct lowered l;
    begin(&b, 0);
    ADD_VAR(&b, "spare", 3, 0, 0, -1, 1);
    add_end(&b, "feed", "feed", "spare", 1);
    add_op(&b, "relu", "x", "out");
    finish(&b);
    must(&l, &b);
    assert_int_equal(l.graph->input_count, 2);
    assert_string_equal(l.graph->inputs[1]->name, "spare");
    done(&l);
}

/* ---- hostile bytes ---- */

/* One flipped bit a run: refused or lowered, never a crash (under ASan and UBSan in CI). */
static void flipped_bits_do_no_harm(void **state)
{
    struct file_map *map;
    struct str bytes = read_all(ZOO "lenet_digits/pdmodel26/inference.pdmodel", &map);
    uint64_t random = 20260117;
    char *copy = memcpy(mem_alloc(bytes.n), bytes.p, bytes.n);
    int accepted = 0;
    for (int i = 0; i < 10000; i++) {
        struct lowered l = { .err = { "" } };
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t bit = (size_t)(random >> 20) % (bytes.n * 8);
        copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
        arena_init(&l.arena, PROGRAM_ARENA_MAX);
        l.graph = graph_new();
        status s = lower_bytes(&l, (struct str){ copy, bytes.n });
        accepted += s == OK;
        assert_int_equal(l.err.text[0] == '\0', s == OK);
        done(&l);
        copy[bit / 8] = bytes.p[bit / 8];
    }
    assert_in_range(accepted, 1, 9999); /* both happen */
    mem_free(copy);
    file_map_unref(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_unknown_operators_are_told_at_once),
        cmocka_unit_test(sequence_operators_want_lod),
        cmocka_unit_test(what_nobody_wrote_is_refused),
        cmocka_unit_test(an_attribute_of_a_wrong_kind_is_named),
        cmocka_unit_test(attributes_may_be_int_or_long_or_absent),
        cmocka_unit_test(mul_of_matrices_needs_no_reshape),
        cmocka_unit_test(mul_of_more_dimensions_is_reshaped),
        cmocka_unit_test(elementwise_axis_appends_ones),
        cmocka_unit_test(elementwise_cuts_ones_that_stick_out),
        cmocka_unit_test(bias_before_scale_is_scaled),
        cmocka_unit_test(dropout_does_nothing_or_scales_down),
        cmocka_unit_test(a_name_written_twice_gets_another_value),
        cmocka_unit_test(lod_is_shared_until_a_pool_takes_it),
        cmocka_unit_test(a_reshape_keeps_lod_only_with_the_rows),
        cmocka_unit_test(an_unused_feed_is_still_an_input),
        cmocka_unit_test(flipped_bits_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
