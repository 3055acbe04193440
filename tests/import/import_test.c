/* Whole models from disk: what the zoo's directories become, and what is said of those that are
 * none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "import/import.h"
#include "import/program_builder.h"

#include <string.h>

#define ZOO OAR_SOURCE_DIR "/tests/data/zoo/"

struct want_port {
    const char *name, *alias;
    dtype dtype;
    struct shape shape;
    int lod_levels;
};

struct want {
    const char *dir;
    struct want_port in, out; /* the first of each */
    int in_count;
    uint64_t param_bytes;
};

/* By hand from each directory's meta.json. */
// clang-format off
#define X_F32(...)  { "x", "x", DTYPE_F32, SHAPE(__VA_ARGS__), 0 }
#define WORDS       { "words", "words", DTYPE_I64, SHAPE(-1, 1), 1 }
#define SCALE_0     "save_infer_model/scale_0.tmp_0"
static const struct want wants[] = {
    { "fit_a_line/pdmodel26",        X_F32(-1, 13), { SCALE_0, "price", DTYPE_F32, SHAPE(-1, 1), 0 }, 1, 56 },
    { "fit_a_line/pdmodel33",        X_F32(-1, 13), { "fc_0.tmp_1", "price", DTYPE_F32, SHAPE(-1, 1), 0 }, 1, 56 },
    { "fit_a_line/legacy_combined",  X_F32(-1, 13), { SCALE_0, "price", DTYPE_F32, SHAPE(-1, 1), 0 }, 1, 56 },
    { "fit_a_line/legacy_scattered", X_F32(-1, 13), { SCALE_0, "price", DTYPE_F32, SHAPE(-1, 1), 0 }, 1, 56 },
    { "diabetes/pdmodel26",          X_F32(-1, 10), { SCALE_0, "progression", DTYPE_F32, SHAPE(-1, 1), 0 }, 1, 44 },
    { "lenet_digits/pdmodel26",      X_F32(-1, 1, 28, 28), { SCALE_0, "prob", DTYPE_F32, SHAPE(-1, 10), 0 }, 1, 246440 },
    { "imdb_bow/pdmodel26",          WORDS, { SCALE_0, "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 157512 },
    { "imdb_bow/pdmodel33",          WORDS, { "fc_2.tmp_2", "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 157512 },
    { "imdb_bow/legacy_combined",    WORDS, { SCALE_0, "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 157512 },
    { "imdb_bow/legacy_scattered",   WORDS, { SCALE_0, "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 157512 },
    { "imdb_cnn/pdmodel26",          WORDS, { SCALE_0, "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 190280 },
    { "imdb_cnn/pdmodel33",          WORDS, { "fc_1.tmp_2", "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 190280 },
    { "imdb_cnn/legacy_combined",    WORDS, { SCALE_0, "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 190280 },
    { "imdb_lstm/pdmodel26",         WORDS, { SCALE_0, "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 274760 },
    { "imdb_lstm/pdmodel33",         WORDS, { "fc_2.tmp_2", "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 274760 },
    { "imdb_lstm/legacy_combined",   WORDS, { SCALE_0, "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 274760 },
    { "imdb_lstm/legacy_scattered",  WORDS, { SCALE_0, "prediction", DTYPE_F32, SHAPE(-1, 2), 0 }, 1, 274760 },
    { "wide_deep/pdmodel26",         { "C1", "C1", DTYPE_I64, SHAPE(-1, 1), 0 },
                                     { SCALE_0, "prob", DTYPE_F32, SHAPE(-1, 1), 0 }, 27, 204544 },
};
// clang-format on

static void check_port(const struct port *p, const struct want_port *w)
{
    assert_string_equal(p->name, w->name);
    assert_string_equal(p->alias, w->alias);
    assert_int_equal(p->dtype, w->dtype);
    assert_true(shape_eq(&p->shape, &w->shape));
    assert_int_equal(p->lod_levels, w->lod_levels);
    assert_int_equal(p->ragged, w->lod_levels > 0);
    assert_int_equal(p->value, 0);
}

static void zoo_models_import_as_recorded(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        const struct want *w = &wants[i];
        struct imported m;
        struct err e = { "" };
        char path[512];
        snprintf(path, sizeof(path), ZOO "%s", w->dir);
        if (import_model(path, &m, &e) != OK)
            fail_msg("%s", e.text);
        assert_int_equal(m.input_count, w->in_count);
        assert_int_equal(m.output_count, 1);
        check_port(&m.inputs[0], &w->in);
        check_port(&m.outputs[0], &w->out);
        assert_int_equal(m.param_bytes, w->param_bytes);
        assert_string_equal(m.format, "paddle");
        assert_non_null(strstr(m.conf_path, "serving_server_conf.prototxt"));
        import_free(&m);
    }
}

static void wide_deep_has_its_feeds_in_column_order(void **state)
{
    struct imported m;
    char name[8];
    assert_int_equal(import_model(ZOO "wide_deep/pdmodel26", &m, NULL), OK);
    for (int i = 0; i < 26; i++) {
        snprintf(name, sizeof(name), "C%d", i + 1);
        assert_string_equal(m.inputs[i].name, name);
        assert_int_equal(m.inputs[i].value, i);
        assert_string_equal(m.graph->inputs[i]->name, name);
    }
    assert_string_equal(m.inputs[26].name, "dense_input");
    assert_int_equal(m.inputs[26].dtype, DTYPE_F32);
    import_free(&m);
}

static void a_ragged_feed_hangs_on_its_offsets(void **state)
{
    struct imported m;
    assert_int_equal(import_model(ZOO "imdb_bow/pdmodel26", &m, NULL), OK);
    const struct value *words = m.graph->inputs[0];
    assert_int_equal(m.graph->input_count, 1);
    assert_int_equal(words->lod_levels, 1);
    assert_string_equal(words->lod[0]->name, "words.lod0");
    assert_int_equal(words->lod[0]->dtype, DTYPE_I64);
    assert_true(shape_eq(&words->lod[0]->shape, &SHAPE(-1)));
    import_free(&m);
}

static void the_program_file_may_be_named_itself(void **state)
{
    struct imported m;
    assert_int_equal(import_model(ZOO "fit_a_line/pdmodel26/inference.pdmodel", &m, NULL), OK);
    assert_int_equal(m.param_count, 14);
    import_free(&m);
    assert_int_equal(import_model(ZOO "fit_a_line/legacy_scattered/__model__", &m, NULL), OK);
    assert_int_equal(m.param_count, 14);
    import_free(&m);
}

static void refuse(const char *path, status want, const char *words)
{
    struct imported m;
    struct err e = { "" };
    status s = import_model(path, &m, &e);
    if (s == OK)
        import_free(&m);
    if (s != want || strstr(e.text, words) == NULL)
        fail_msg("%s: wanted %s with '%s', got %s: %s", path, status_text(want), words,
                 status_text(s), e.text);
}

static void what_is_no_model_is_named_with_what_is_there(void **state)
{
    struct temp_dir d;
    temp_dir_make(&d);
    refuse("no/such/place", NOT_FOUND, "no/such/place");
    refuse(d.path, NOT_FOUND, "there is: nothing");
    temp_write(&d, "weights.bin", "x", 1);
    refuse(d.path, NOT_FOUND, "there is: weights.bin");
    temp_write(&d, "__model__", "\x0a\x00", 2);
    temp_write(&d, "a.pdmodel", "\x0a\x00", 2);
    refuse(d.path, INVALID, "__model__, a.pdmodel");
    temp_dir_remove(&d);
}

static void formats_that_are_not_read_yet_say_so(void **state)
{
    struct temp_dir d;
    temp_dir_make(&d);
    temp_write(&d, "encrypt_model", "x", 1);
    refuse(d.path, UNSUPPORTED, "encrypted");
    temp_dir_remove(&d);
}

static void an_empty_pir_program_is_refused(void **state)
{
    static const char pir[] = "{\"base_code\":{\"magic\":\"pir\",\"version\":4},\"program\":{}}";
    struct temp_dir d;
    char path[128];
    temp_dir_make(&d);
    temp_write(&d, "inference.json", pir, sizeof(pir) - 1);
    refuse(d.path, CORRUPT, "expected magic 'pir' and one block, got 0");
    snprintf(path, sizeof(path), "%s/inference.json", d.path);
    refuse(path, CORRUPT, "expected magic 'pir' and one block, got 0");
    temp_dir_remove(&d);
}

static void a_missing_parameter_file_is_named(void **state)
{
    struct temp_dir d;
    temp_dir_make(&d);
    temp_copy(&d, ZOO "fit_a_line/pdmodel26", "inference.pdmodel");
    refuse(d.path, NOT_FOUND, "/fc_0.b_0: the file of parameter 'fc_0.b_0' is missing");
    temp_copy(&d, ZOO "fit_a_line/legacy_scattered", "fc_0.b_0");
    refuse(d.path, NOT_FOUND, "/fc_0.w_0: the file of parameter 'fc_0.w_0' is missing");
    temp_copy(&d, ZOO "fit_a_line/legacy_scattered", "fc_0.w_0");
    struct imported m;
    assert_int_equal(import_model(d.path, &m, NULL), OK);
    assert_null(m.conf_path);
    assert_string_equal(m.outputs[0].alias, "save_infer_model/scale_0.tmp_0");
    import_free(&m);
    temp_dir_remove(&d);
}

static void any_usual_name_of_parameters_is_found(void **state)
{
    static const char *const names[] = { "__params__", "params", "other.pdiparams" };
    struct file_map *map;
    struct str bytes = read_all(ZOO "fit_a_line/pdmodel26/inference.pdiparams", &map);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct temp_dir d;
        struct imported m;
        temp_dir_make(&d);
        temp_copy(&d, ZOO "fit_a_line/pdmodel26", "inference.pdmodel");
        temp_write(&d, names[i], bytes.p, bytes.n);
        assert_int_equal(import_model(d.path, &m, NULL), OK);
        import_free(&m);
        temp_write(&d, "z.pdiparams", bytes.p, bytes.n);
        refuse(d.path, INVALID, "several parameter files");
        temp_write(&d, "inference.pdiparams", bytes.p, bytes.n); /* the namesake goes first */
        assert_int_equal(import_model(d.path, &m, NULL), OK);
        import_free(&m);
        temp_dir_remove(&d);
    }
    file_map_unref(map);
    refuse(ZOO "fit_a_line/pdmodel26/inference.pdiparams", INVALID, "this is a parameter file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zoo_models_import_as_recorded),
        cmocka_unit_test(wide_deep_has_its_feeds_in_column_order),
        cmocka_unit_test(a_ragged_feed_hangs_on_its_offsets),
        cmocka_unit_test(the_program_file_may_be_named_itself),
        cmocka_unit_test(what_is_no_model_is_named_with_what_is_there),
        cmocka_unit_test(formats_that_are_not_read_yet_say_so),
        cmocka_unit_test(an_empty_pir_program_is_refused),
        cmocka_unit_test(a_missing_parameter_file_is_named),
        cmocka_unit_test(any_usual_name_of_parameters_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
