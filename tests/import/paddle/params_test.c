#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "import/paddle/params.h"
#include "import/program_builder.h"

#include <string.h>

#define ZOO OAR_SOURCE_DIR "/tests/data/zoo/"

struct fixture {
    struct arena arena;
    struct file_map *program_map, *params_map;
    struct program program;
    struct str bytes; /* of the parameter file */
};

static void open_fixture(struct fixture *f)
{
    arena_init(&f->arena, 0);
    struct str program = read_all(ZOO "fit_a_line/pdmodel26/inference.pdmodel", &f->program_map);
    assert_int_equal(program_decode(program, &f->arena, &f->program, NULL), OK);
    f->bytes = read_all(ZOO "fit_a_line/pdmodel26/inference.pdiparams", &f->params_map);
}

static void close_fixture(struct fixture *f)
{
    file_map_unref(f->program_map);
    file_map_unref(f->params_map);
    arena_deinit(&f->arena);
}

static status read_combined(struct fixture *f, const void *data, size_t n, struct params *out,
                            bool *borrows, struct err *e)
{
    return params_read_combined((struct str){ data, n }, "p", &f->program, &f->arena, out, borrows,
                                e);
}

static void combined_and_scattered_files_hold_the_same(void **state)
{
    struct fixture f;
    struct params combined, scattered;
    bool borrows;
    open_fixture(&f);
    assert_int_equal(read_combined(&f, f.bytes.p, f.bytes.n, &combined, &borrows, NULL), OK);
    struct params_source from = { ZOO "fit_a_line/legacy_scattered", NULL };
    assert_int_equal(params_load(&from, &f.program, &f.arena, &scattered, NULL), OK);
    static const char *const names[] = { "fc_0.w_0", "fc_0.b_0" };
    for (int i = 0; i < 2; i++) {
        const struct tensor *a = map_get(&combined.by_name, str_of(names[i]));
        const struct tensor *b = map_get(&scattered.by_name, str_of(names[i]));
        assert_true(shape_eq(&a->shape, i == 0 ? &SHAPE(13, 1) : &SHAPE(1)));
        assert_true(shape_eq(&b->shape, &a->shape));
        assert_memory_equal(a->data, b->data, (size_t)tensor_bytes(a));
        assert_int_equal((uintptr_t)a->data % 4, 0);
    }
    assert_int_equal(combined.bytes, 56);
    assert_int_equal(combined.elements, 14);
    for (int i = 0; i < scattered.map_count; i++)
        file_map_unref(scattered.map[i]);
    close_fixture(&f);
}

static void a_tensor_is_copied_only_where_it_is_unaligned(void **state)
{
    struct fixture f;
    open_fixture(&f);
    for (size_t shift = 0; shift < 8; shift++) {
        struct params p;
        bool borrows;
        char *copy = mem_alloc(f.bytes.n + 8);
        memcpy(copy + shift, f.bytes.p, f.bytes.n);
        assert_int_equal(read_combined(&f, copy + shift, f.bytes.n, &p, &borrows, NULL), OK);
        const struct tensor *w = map_get(&p.by_name, STR("fc_0.w_0"));
        const struct tensor *b = map_get(&p.by_name, STR("fc_0.b_0"));
        size_t start = (size_t)(copy + shift), end = start + f.bytes.n;
        bool w_inside = (size_t)w->data >= start && (size_t)w->data < end;
        bool b_inside = (size_t)b->data >= start && (size_t)b->data < end;
        assert_int_equal(w_inside || b_inside, borrows);
        assert_int_equal((uintptr_t)w->data % 4, 0);
        assert_int_equal((uintptr_t)b->data % 4, 0);
        mem_free(copy);
    }
    close_fixture(&f);
}

static void every_truncation_is_refused(void **state)
{
    struct fixture f;
    open_fixture(&f);
    for (size_t n = 0; n < f.bytes.n; n++) {
        struct params p;
        struct err e = { "" };
        bool borrows;
        char *copy = memcpy(mem_alloc(n + 1), f.bytes.p, n);
        assert_int_equal(read_combined(&f, copy, n, &p, &borrows, &e), CORRUPT);
        assert_non_null(strstr(e.text, "parameter 'fc_0."));
        mem_free(copy);
    }
    close_fixture(&f);
}

static void bytes_left_behind_are_refused(void **state)
{
    struct fixture f;
    struct params p;
    struct err e = { "" };
    bool borrows;
    open_fixture(&f);
    char *copy = mem_zalloc(f.bytes.n + 3);
    memcpy(copy, f.bytes.p, f.bytes.n);
    assert_int_equal(read_combined(&f, copy, f.bytes.n + 3, &p, &borrows, &e), CORRUPT);
    assert_non_null(strstr(e.text, "3 bytes are left behind the last of 2 parameters"));
    mem_free(copy);
    close_fixture(&f);
}

static void another_models_file_is_refused(void **state)
{
    struct fixture f;
    struct params p;
    struct err e = { "" };
    open_fixture(&f);
    struct params_source from = { NULL, ZOO "diabetes/pdmodel26/inference.pdiparams" };
    assert_int_equal(params_load(&from, &f.program, &f.arena, &p, &e), CORRUPT);
    assert_non_null(strstr(e.text, "the program declares [13, 1], the file holds [10, 1]"));
    assert_int_equal(p.map_count, 0);
    close_fixture(&f);
}

/* Upper case sorts before lower, and digits before both, byte by byte. */
static void combined_files_are_in_order_of_names(void **state)
{
    static const char *const in_order[] = { "SparseFeatFactors", "conv2d_10.w_0", "conv2d_2.w_0",
                                            "fc_0" };
    static const int declared[] = { 3, 2, 0, 1 };
    /* header, then TensorDesc { float32, [1] } and one float */
    static const char head[] = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\x08\x05\x10\x01";
    struct program_builder b;
    struct program p;
    struct params params;
    struct arena a;
    struct buf program, file;
    bool borrows;
    builder_init(&b);
    buf_init(&file, 1 << 16);
    for (int i = 0; i < 4; i++) {
        ADD_VAR(&b, in_order[declared[i]], 5, 0, 1, 1);
        buf_append(&file, head, sizeof(head) - 1);
        buf_append(&file, &(float){ (float)i }, 4);
    }
    finish_program(&b, &program);
    arena_init(&a, 0);
    assert_int_equal(program_decode(buf_view(&program), &a, &p, NULL), OK);
    assert_int_equal(params_read_combined(buf_view(&file), "p", &p, &a, &params, &borrows, NULL),
                     OK);
    for (int i = 0; i < 4; i++) {
        const struct tensor *t = map_get(&params.by_name, str_of(in_order[i]));
        assert_true(*(const float *)t->data == (float)i);
    }
    arena_deinit(&a);
    buf_deinit(&file);
    buf_deinit(&program);
    builder_deinit(&b);
}

static void a_name_never_leads_out_of_the_directory(void **state)
{
    static const char *const names[] = { "/etc/passwd", "../w", "a/../../w", ".." };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct program_builder b;
        struct buf program;
        struct program p;
        struct params params;
        struct arena a;
        struct err e = { "" };
        builder_init(&b);
        ADD_VAR(&b, names[i], 5, 0, 1, 1);
        finish_program(&b, &program);
        arena_init(&a, 0);
        assert_int_equal(program_decode(buf_view(&program), &a, &p, NULL), OK);
        assert_int_equal(
            params_load(&(struct params_source){ "some/dir", NULL }, &p, &a, &params, &e), CORRUPT);
        assert_non_null(strstr(e.text, "outside the directory"));
        arena_deinit(&a);
        buf_deinit(&program);
        builder_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(combined_and_scattered_files_hold_the_same),
        cmocka_unit_test(a_tensor_is_copied_only_where_it_is_unaligned),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(bytes_left_behind_are_refused),
        cmocka_unit_test(another_models_file_is_refused),
        cmocka_unit_test(combined_files_are_in_order_of_names),
        cmocka_unit_test(a_name_never_leads_out_of_the_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
