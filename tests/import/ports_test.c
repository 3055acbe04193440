/* Configuration against program, through whole models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "import/import.h"
#include "import/program_builder.h"

#include <string.h>

#define ZOO OAR_SOURCE_DIR "/tests/data/zoo/"

#define FETCH_PRICE "fetch_var { name: \"save_infer_model/scale_0.tmp_0\" alias_name: \"price\" }"
#define FETCH_WORDS "fetch_var { name: \"save_infer_model/scale_0.tmp_0\" alias_name: \"p\" }"

static void make_model(struct temp_dir *d, const char *dir, const char *conf)
{
    temp_dir_make(d);
    temp_copy(d, dir, "inference.pdmodel");
    temp_copy(d, dir, "inference.pdiparams");
    temp_write(d, "serving_server_conf.prototxt", conf, strlen(conf));
}

static void conflict(const char *dir, const char *conf, const char *words)
{
    struct temp_dir d;
    struct imported m;
    struct err e = { "" };
    make_model(&d, dir, conf);
    status s = import_model(d.path, &m, &e);
    if (s == OK)
        import_free(&m);
    temp_dir_remove(&d);
    if (s != CONFLICT || strstr(e.text, words) == NULL ||
        strstr(e.text, "serving_server_conf.prototxt: ") == NULL ||
        strstr(e.text, "inference.pdmodel") == NULL)
        fail_msg("wanted a contradiction with '%s', got %s: %s", words, status_text(s), e.text);
}

static void contradictions_name_both_sides(void **state)
{
#define FIT(conf, words) conflict(ZOO "fit_a_line/pdmodel26", conf, words)
    FIT("feed_var { name: \"y\" } " FETCH_PRICE, "feed_var 'y' is no input of");
    FIT("feed_var { name: \"x\" feed_type: 0 } " FETCH_PRICE, "type 0 (int64), but");
    FIT("feed_var { name: \"x\" feed_type: 20 shape: 1 } " FETCH_PRICE, "type 20 (bytes), but");
    FIT("feed_var { name: \"x\" feed_type: 77 } " FETCH_PRICE, "type 77 (unknown), but");
    FIT("feed_var { name: \"x\" shape: 12 } " FETCH_PRICE, "12 elements, but");
    FIT("feed_var { name: \"x\" } fetch_var { name: \"z\" }", "fetch_var 'z' is no output of");
    FIT(FETCH_PRICE, "the input 'x' of");
    conflict(ZOO "imdb_bow/pdmodel26",
             "feed_var { name: \"words\" is_lod_tensor: false feed_type: 0 shape: 1 } " FETCH_WORDS,
             "is_lod_tensor: false");
}

static void accept(const char *dir, const char *conf, struct temp_dir *d, struct imported *m)
{
    struct err e = { "" };
    make_model(d, dir, conf);
    if (import_model(d->path, m, &e) != OK)
        fail_msg("%s: %s", conf, e.text);
}

static void what_people_leave_out_or_edit_is_accepted(void **state)
{
    static const char *const confs[] = {
        "feed_var { name: \"x\" } " FETCH_PRICE,
        "feed_var { name: \"x\" shape: -1 shape: 13 } " FETCH_PRICE,
        "feed_var { name: \"x\" alias_name: \"house\" feed_type: 1 shape: 13 } " FETCH_PRICE,
    };
    for (size_t i = 0; i < ARRAY_LEN(confs); i++) {
        struct temp_dir d;
        struct imported m;
        accept(ZOO "fit_a_line/pdmodel26", confs[i], &d, &m);
        assert_string_equal(m.inputs[0].alias, i == 2 ? "house" : "x");
        assert_string_equal(m.inputs[0].name, "x");
        import_free(&m);
        temp_dir_remove(&d);
    }
}

static void a_feed_becomes_ragged_where_only_the_configuration_says_so(void **state)
{
    struct temp_dir d;
    struct imported m;
    accept(ZOO "fit_a_line/pdmodel26", "feed_var { name: \"x\" is_lod_tensor: true } " FETCH_PRICE,
           &d, &m);
    assert_true(m.inputs[0].ragged);
    assert_int_equal(m.inputs[0].lod_levels, 1);
    assert_ptr_equal(m.graph->outputs[0]->lod[0], m.graph->inputs[0]->lod[0]);
    assert_true(m.outputs[0].ragged);
    import_free(&m);
    temp_dir_remove(&d);
}

static void ports_come_in_the_order_of_the_configuration(void **state)
{
    struct program_builder b;
    struct buf program;
    struct temp_dir d;
    struct imported m;
    static const char conf[] = "feed_var { name: \"b\" } feed_var { name: \"a\" } "
                               "fetch_var { name: \"d\" } fetch_var { name: \"c\" }";
    builder_init(&b);
    ADD_VAR(&b, "a", 5, 0, 0, -1, 2);
    ADD_VAR(&b, "b", 5, 0, 0, -1, 3);
    ADD_VAR(&b, "c", 5, 0, 0, -1, 2);
    ADD_VAR(&b, "d", 5, 0, 0, -1, 3);
    add_end(&b, "feed", "feed", "b", 1); /* as Paddle stores them: last column first */
    add_end(&b, "feed", "feed", "a", 0);
    add_op(&b, "relu", "a", "c");
    add_op(&b, "tanh", "b", "d");
    add_end(&b, "fetch", "c", "fetch", 0);
    add_end(&b, "fetch", "d", "fetch", 1);
    finish_program(&b, &program);
    temp_dir_make(&d);
    temp_write(&d, "__model__", program.data, program.len);
    temp_write(&d, "serving_server_conf.prototxt", conf, strlen(conf));
    assert_int_equal(import_model(d.path, &m, NULL), OK);
    assert_string_equal(m.graph->inputs[0]->name, "a");
    assert_string_equal(m.inputs[0].name, "b");
    assert_int_equal(m.inputs[0].value, 1);
    assert_string_equal(m.outputs[0].name, "d");
    assert_int_equal(m.outputs[0].value, 1);
    assert_int_equal(m.outputs[1].value, 0);
    import_free(&m);
    temp_dir_remove(&d);
    buf_deinit(&program);
    builder_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contradictions_name_both_sides),
        cmocka_unit_test(what_people_leave_out_or_edit_is_accepted),
        cmocka_unit_test(a_feed_becomes_ragged_where_only_the_configuration_says_so),
        cmocka_unit_test(ports_come_in_the_order_of_the_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
