/* Small models that the onnx package wrote (the seeds of the fuzzer), and what becomes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "graph/op.h"
#include "import/onnx/lower.h"
#include "import/onnx/onnx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEEDS OAR_SOURCE_DIR "/tests/fuzz/corpus/onnx/"

struct lowered {
    struct arena arena;
    struct file_map *map;
    struct graph *graph;
    struct onnx_model model;
    struct onnx_tensors tensors;
    struct port_names names;
    struct err err;
    status result;
};

static void lower_bytes(struct lowered *l, struct str bytes)
{
    arena_init(&l->arena, 0);
    l->err.text[0] = '\0';
    l->graph = graph_new();
    l->tensors = (struct onnx_tensors){ .dir = "nowhere", .arena = &l->graph->arena };
    l->result = onnx_decode(bytes, &l->arena, &l->model, &l->err);
    if (l->result == OK)
        l->result = onnx_lower(&l->model, &l->tensors, l->graph, &l->names, &l->err);
}

static void drop(struct lowered *l)
{
    graph_free(l->graph);
    arena_deinit(&l->arena);
}

static struct file_map *seed(const char *name)
{
    char path[512];
    struct file_map *m;
    snprintf(path, sizeof(path), SEEDS "%s", name);
    assert_int_equal(file_map_open(path, 1 << 20, &m, NULL), OK);
    return m;
}

static struct str bytes_of(const struct file_map *m)
{
    return (struct str){ (const char *)file_map_data(m), file_map_size(m) };
}

/* The operators in order, "matmul add relu". */
static const char *operators_of(struct lowered *l)
{
    const char *text = "";
    for (uint32_t i = 0; i < l->graph->node_count; i++)
        text =
            arena_printf(&l->arena, "%s%s%s", text, i > 0 ? " " : "", l->graph->nodes[i]->op->name);
    return text;
}

static void nodes_become_operators(void **state)
{
    static const char *const rows[][2] = {
        { "mlp", "matmul add relu softmax" },
        { "lists", "matmul reshape" },
        { "shapes", "shape slice concat reshape unsqueeze transpose" },
        { "function", "mul mul" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct file_map *m = seed(rows[i][0]);
        struct lowered l;
        lower_bytes(&l, bytes_of(m));
        assert_string_equal(l.err.text, "");
        assert_string_equal(operators_of(&l), rows[i][1]);
        assert_string_equal(l.names.input[0], "x");
        assert_string_equal(l.names.output[0], "y");
        assert_true(shape_eq(&l.graph->inputs[0]->shape, &SHAPE(-1, 4)));
        drop(&l);
        file_map_unref(m);
    }
}

static void lists_of_numbers_are_constants(void **state)
{
    struct file_map *m = seed("lists");
    struct lowered l;
    lower_bytes(&l, bytes_of(m));
    const struct tensor *w = l.graph->nodes[0]->in[1]->constant;
    assert_non_null(w);
    assert_true(shape_eq(&w->shape, &SHAPE(4, 3)));
    for (int i = 0; i < 12; i++)
        assert_true(((const float *)w->data)[i] == (float)i);
    drop(&l);
    file_map_unref(m);
}

static void every_truncation_is_refused_with_words(void **state)
{
    static const char *const names[] = { "mlp", "lists", "shapes", "function", "branches" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct file_map *m = seed(names[i]);
        for (size_t n = 0; n < file_map_size(m); n++) {
            struct lowered l;
            lower_bytes(&l, (struct str){ (const char *)file_map_data(m), n });
            /* A cut at the end of a field leaves a message: then it is one that lacks something. */
            if (l.result != OK)
                assert_true(l.err.text[0] != '\0');
            else
                assert_true(l.graph->output_count == 1);
            drop(&l);
        }
        file_map_unref(m);
    }
}

static void flipped_bits_do_no_harm(void **state)
{
    struct file_map *m = seed("shapes");
    size_t n = file_map_size(m);
    char bytes[4096];
    assert_true(n <= sizeof(bytes));
    for (size_t bit = 0; bit < n * 8; bit++) {
        struct lowered l;
        memcpy(bytes, file_map_data(m), n);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        lower_bytes(&l, (struct str){ bytes, n });
        assert_true(l.result == OK || l.err.text[0] != '\0');
        drop(&l);
    }
    file_map_unref(m);
}

/* The TensorProto of a float tensor "w" of 2 numbers in another file. */
static struct onnx_tensor beside(const char *location, int64_t offset, int64_t length)
{
    return (struct onnx_tensor){ .name = STR("w"),
                                 .data_type = 1,
                                 .shape = SHAPE(2),
                                 .external = true,
                                 .location = str_of(location),
                                 .offset = offset,
                                 .length = length };
}

struct place {
    const char *location;
    int64_t offset, length;
    const char *words; /* NULL: it is read */
};

static void numbers_beside_the_model_are_bounded(void **state)
{
    static const float numbers[4] = { 1, 2, 3, 4 };
    static const struct place places[] = {
        { "w.bin", 8, 8, NULL },
        { "w.bin", 8, -1, NULL },
        { "./w.bin", 0, 8, NULL },
        { "w.bin", 12, 8, "tensor 'w': bytes 12 to 20 of 'w.bin', which has 16" },
        { "w.bin", INT64_MAX, INT64_MAX, "tensor 'w': bytes " },
        { "w.bin", 0, 16, "tensor 'w': its shape needs 8 bytes, 16 are there" },
        { "../w.bin", 0, 8, "tensor 'w': its file '../w.bin' must be a path below" },
        { "/etc/passwd", 0, 8, "tensor 'w': its file '/etc/passwd' must be a path below" },
        { "a/../../w.bin", 0, 8, "tensor 'w': its file 'a/../../w.bin' must be a path below" },
        { "", 0, 8, "tensor 'w': its file '' must be a path below" },
        { "none.bin", 0, 8, "tensor 'w': " },
    };
    char dir[] = "/tmp/oar_onnx_XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/w.bin", dir);
    assert_int_equal(file_write(path, numbers, sizeof(numbers), NULL), OK);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        struct onnx_tensor t = beside(places[i].location, places[i].offset, places[i].length);
        struct arena arena;
        struct tensor out;
        struct err e = { "" };
        arena_init(&arena, 0);
        struct onnx_tensors tensors = { .dir = dir, .arena = &arena };
        status s = onnx_tensor_read(&tensors, &t, &out, &e);
        assert_int_equal(s == OK, places[i].words == NULL);
        if (s == OK)
            assert_true(*(const float *)out.data == (float)(1 + places[i].offset / 4));
        else
            assert_int_equal(strncmp(e.text, places[i].words, strlen(places[i].words)), 0);
        for (int k = 0; k < tensors.map_count; k++)
            file_map_unref(tensors.map[k]);
        arena_deinit(&arena);
    }
    unlink(path);
    rmdir(dir);
}

static void all_unknown_operators_are_told_at_once(void **state)
{
    /* A graph of three nodes: Foo -> a, my.Bar -> b, Foo -> c (no names). */
    static const char bytes[] = "\x08\x08\x3a\x2a"
                                "\x0a\x08\x12\x01"
                                "a\x22\x03"
                                "Foo"
                                "\x0a\x0c\x12\x01"
                                "b\x22\x03"
                                "Bar\x3a\x02"
                                "my"
                                "\x0a\x08\x12\x01"
                                "c\x22\x03"
                                "Foo"
                                "\x0a\x06\x22\x04"
                                "Relu";
    struct lowered l;
    lower_bytes(&l, (struct str){ bytes, sizeof(bytes) - 1 });
    assert_int_equal(l.result, UNSUPPORTED);
    assert_string_equal(l.err.text, "not supported: operator 'Foo' (2 times, first as ''), "
                                    "'my.Bar' (1 time, first as '')");
    drop(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_become_operators),
        cmocka_unit_test(lists_of_numbers_are_constants),
        cmocka_unit_test(every_truncation_is_refused_with_words),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(numbers_beside_the_model_are_bounded),
        cmocka_unit_test(all_unknown_operators_are_told_at_once),
    };
    return cmocka_run_group_tests_name("import/onnx", tests, NULL, NULL);
}
