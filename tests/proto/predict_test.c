#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "proto/predict.h"

#include <stdio.h>

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    arena_deinit(&arena);
    return 0;
}

// clang-format off
static const struct call_port port[] = {
    { { "x_var", 5 },     { "x", 1 },     DTYPE_F32,   false, { 2, { -1, 3 } } },
    { { "words_var", 9 }, { "words", 5 }, DTYPE_I64,   true,  { 2, { -1, 1 } } },
    { { "id_var", 6 },    { "id", 2 },    DTYPE_I32,   false, { 2, { -1, 1 } } },
    { { "text_var", 8 },  { "text", 4 },  DTYPE_BYTES, false, { 1, { -1 } } },
    { { "emb_var", 7 },   { "emb", 3 },   DTYPE_F32,   true,  { 2, { -1, 2 } } },
    { { "any", 3 },       { "", 0 },      DTYPE_F64,   false, { 3, { -1, -1, -1 } } },
    { { "scalar", 6 },    { "", 0 },      DTYPE_F32,   false, { 0 } },
};
// clang-format on
static const struct call_ports ports = { port, ARRAY_LEN(port) };

static struct infer_request read_text(const char *text)
{
    struct infer_request r;
    struct err e = { "" };
    if (predict_request_from_json(str_of(text), &ports, &arena, &r, &e) != OK)
        fail_msg("%s: %s", text, e.text);
    return r;
}

static void refuses(const char *text, const char *words)
{
    struct infer_request r;
    struct err e = { "" };
    assert_int_equal(predict_request_from_json(str_of(text), &ports, &arena, &r, &e), INVALID);
    assert_string_equal(e.text, words);
}

static const struct tensor *only(const struct infer_request *r, const char *name)
{
    assert_int_equal(r->feed_count, 1);
    assert_true(str_is(r->feed[0].name, name));
    return &r->feed[0].tensor;
}

static void one_row_gets_its_batch_dimension(void **state)
{
    struct infer_request r = read_text("{\"feed\":[{\"x\":[1,2,3]}],\"fetch\":[\"price\"]}");
    const struct tensor *t = only(&r, "x_var");
    assert_true(str_is(r.feed[0].alias, "x"));
    assert_int_equal(t->dtype, DTYPE_F32);
    assert_true(shape_eq(&t->shape, &SHAPE(1, 3)));
    assert_memory_equal(t->data, ((float[]){ 1, 2, 3 }), 12);
    assert_int_equal(r.fetch_count, 1);
    assert_true(str_is(r.fetch[0], "price"));
}

static void members_are_rows_of_one_batch(void **state)
{
    struct infer_request r =
        read_text("{\"feed\":[{\"x\":[1,2,3],\"id\":7},{\"id\":[8],\"x_var\":[4,5,6]},"
                  "{\"x\":[[7,8,9],[10,11,12]],\"id\":[[9],[10]]}],\"fetch\":[]}");
    assert_int_equal(r.feed_count, 2);
    const struct tensor *x = &r.feed[0].tensor, *id = &r.feed[1].tensor;
    assert_true(shape_eq(&x->shape, &SHAPE(4, 3)));
    for (int i = 0; i < 12; i++)
        assert_true(((const float *)x->data)[i] == (float)(i + 1));
    assert_true(shape_eq(&id->shape, &SHAPE(4, 1)));
    assert_memory_equal(id->data, ((int32_t[]){ 7, 8, 9, 10 }), 16);
}

static void other_forms_of_feed_and_fetch(void **state)
{
    struct infer_request r =
        read_text("{\"fetch\":null,\"other\":[{}],\"feed\":{\"x\":[[1,2,3]]}}");
    assert_true(shape_eq(&only(&r, "x_var")->shape, &SHAPE(1, 3)));
    assert_int_equal(r.fetch_count, 0);
    r = read_text("{\"feed\":[{\"any\":[[1,2],[3,4]]}]}");
    assert_true(shape_eq(&only(&r, "any")->shape, &SHAPE(1, 2, 2)));
    r = read_text("{\"feed\":[{\"scalar\":1.5}]}");
    assert_int_equal(only(&r, "scalar")->shape.rank, 0);
}

static void check_lod_of(const struct tensor *t, int level, const int64_t *want, int64_t count)
{
    assert_true(level < t->lod.levels);
    assert_int_equal(t->lod.level[level].count, count);
    assert_memory_equal(t->lod.level[level].offset, want, (size_t)count * sizeof(*want));
}

static void ragged_members_are_sequences(void **state)
{
    struct infer_request r = read_text(
        "{\"feed\":[{\"words\":[8,233,52]},{\"words\":[]},{\"words\":[[601],[7]]},{\"words\":5}]}");
    const struct tensor *t = only(&r, "words_var");
    assert_true(shape_eq(&t->shape, &SHAPE(6, 1)));
    assert_memory_equal(t->data, ((int64_t[]){ 8, 233, 52, 601, 7, 5 }), 48);
    check_lod_of(t, 0, (int64_t[]){ 0, 3, 3, 5, 6 }, 5);
}

static void given_offsets_are_kept_and_joined(void **state)
{
    struct infer_request r = read_text("{\"feed\":[{\"words.lod\":[0,1,4],\"words\":[1,2,3,4]},{"
                                       "\"words\":[5,6],\"words.lod\":[0,2]}]}");
    check_lod_of(only(&r, "words_var"), 0, (int64_t[]){ 0, 1, 4, 6 }, 4);
    r = read_text("{\"feed\":[{\"emb\":[[1,2],[3,4],[5,6]],\"emb.lod\":[0,2,0,1,3]},{\"emb\":[[7,8]"
                  "],\"emb.lod\":[0,1,0,1]}]}");
    const struct tensor *t = only(&r, "emb_var");
    assert_true(shape_eq(&t->shape, &SHAPE(4, 2)));
    check_lod_of(t, 0, (int64_t[]){ 0, 2, 3 }, 3);
    check_lod_of(t, 1, (int64_t[]){ 0, 1, 3, 4 }, 4);
    r = read_text("{\"feed\":[{\"emb\":[1,2]}]}"); /* one row of the known length */
    assert_true(shape_eq(&only(&r, "emb_var")->shape, &SHAPE(1, 2)));
}

static void strings_are_joined(void **state)
{
    struct infer_request r =
        read_text("{\"feed\":[{\"text\":\"ab\"},{\"text\":[\"\\u00e9\",\"\"]}]}");
    const struct tensor *t = only(&r, "text_var");
    assert_true(shape_eq(&t->shape, &SHAPE(7)));
    assert_memory_equal(t->data, "ab\0\xc3\xa9\0", 7);
}

static void what_is_wrong_is_named(void **state)
{
    refuses("", "the JSON body, byte 0: expected an object");
    refuses("[]", "the JSON body, byte 0: expected an object");
    refuses("{}", "there is no \"feed\": expected {\"feed\":[{NAME:VALUE}],\"fetch\":[NAME]}");
    refuses("{\"feed\":[]}",
            "there is no \"feed\": expected {\"feed\":[{NAME:VALUE}],\"fetch\":[NAME]}");
    refuses("{\"feed\":[{}]}", "feed 0 gives no input");
    refuses("{\"feed\":1}", "the JSON body, byte 8: expected an array");
    refuses("{\"feed\":[1]}", "feed 0: byte 9: expected an object");
    refuses("{\"feed\":[{\"wordz\":[1]}]}",
            "feed 0: 'wordz' is no input of the model; did you mean 'words'?");
    refuses("{\"feed\":[{\"nonsense\":[1]}]}",
            "feed 0: 'nonsense' is no input of the model; the first one is 'x'");
    refuses("{\"feed\":[{\"x\":[1,2,3]},{\"x\":[1,\"a\",3]}]}",
            "feed 1: 'x': byte 31: expected a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
    refuses("{\"feed\":[{\"x\":[1,2]}]}", "feed 0: 'x': a value of shape [2] does not fit the "
                                          "model's [-1, 3], whose first dimension counts the "
                                          "batch and may be left out");
    refuses("{\"feed\":[{\"x\":[[[1,2,3]]]}]}",
            "feed 0: 'x': a value of shape [1, 1, 3] does not fit the model's [-1, 3], whose first "
            "dimension counts "
            "the batch and may be left out");
    refuses("{\"feed\":[{\"x\":[[1,2,3],[1,2]]}]}",
            "feed 0: 'x': byte 28: a row of another length than the one before");
    refuses("{\"feed\":[{\"any\":[[1,2]]},{\"any\":[[1]]}]}",
            "feed 1: 'any': rows of shape [1, 1], those before are [1, 2]");
    refuses("{\"feed\":[{\"x\":[1,2,3],\"id\":1},{\"id\":1}]}",
            "feed 1: 'x' is missing; all feeds must have the same names");
    refuses("{\"feed\":[{\"x\":[1,2,3]},{\"x\":[1,2,3],\"id\":1}]}",
            "feed 1: 'id' is not in the feeds before; all must have the same names");
    refuses("{\"feed\":[{\"x\":[1,2,3],\"x\":[1,2,3]}]}", "feed 0: 'x' is given twice");
    refuses("{\"feed\":{\"x\":[1,2,3]},\"feed\":{\"x\":[1,2,3]}}", "\"feed\" is given twice");
    refuses("{\"feed\":[{\"words\":[1.5]}]}",
            "feed 0: 'words': byte 19: expected a whole number in the range of int64");
    refuses("{\"feed\":[{\"x\":null}]}", "feed 0: 'x': byte 14: expected a number");
    refuses("{\"feed\":[{\"x\":[1,2,3]}],\"fetch\":[1]}",
            "the JSON body, byte 33: expected a string");
}

static void wrong_offsets_are_named(void **state)
{
    refuses("{\"feed\":[{\"words\":[1,2],\"words.lod\":[0,3]}]}",
            "feed 0: 'words': LoD level 0 must end at 2, it ends at 3");
    refuses("{\"feed\":[{\"words\":[1,2],\"words.lod\":[0,2,1,2]}]}",
            "feed 0: 'words': LoD level 0 must rise, but offset 2 is 1 after 2");
    refuses("{\"feed\":[{\"words\":[1,2],\"words.lod\":[]}]}", "feed 0: 'words': an empty lod");
    refuses("{\"feed\":[{\"x\":[1,2,3],\"x.lod\":[0,1]}]}",
            "feed 0: 'x.lod': the model's input is not ragged");
    refuses("{\"feed\":[{\"x\":[1,2,3],\"words.lod\":[0,1]}]}",
            "feed 0: a lod is given twice or without its values");
    refuses("{\"feed\":[{\"emb\":[[1,2]],\"emb.lod\":[0,1,0,1]},{\"emb\":[[1,2]]}]}",
            "feed 1: 'emb': 1 levels of lod, before 2");
    refuses("{\"feed\":[{\"words.lod\":[0,1]}]}", "feed 0 gives no input");
}

static void every_truncation_is_refused_with_words(void **state)
{
    struct str text = STR("{\"feed\":[{\"x\":[1,2e1,3],\"words.lod\":[0,1,2],\"words\":[5,6],"
                          "\"text\":\"a\\u4e2d\"}],\"fetch\":[\"p\"]}");
    struct infer_request r;
    assert_int_equal(predict_request_from_json(text, &ports, &arena, &r, NULL), OK);
    for (size_t n = 0; n < text.n; n++) {
        struct err e = { "" };
        char *copy = mem_alloc(n + 1);
        memcpy(copy + 1, text.p, n);
        assert_int_equal(
            predict_request_from_json((struct str){ copy + 1, n }, &ports, &arena, &r, &e),
            INVALID);
        assert_true(e.text[0] != '\0');
        mem_free(copy);
    }
}

static void many_members_cost_no_more_than_their_text(void **state)
{
    struct buf b;
    struct infer_request r;
    struct arena bounded;
    buf_init(&b, 1 << 22);
    buf_str(&b, "{\"feed\":[");
    for (int i = 0; i < 100000; i++)
        buf_str(&b, i == 0 ? "{\"words\":[1]}" : ",{\"words\":[1]}");
    buf_str(&b, "]}");
    arena_init(&bounded, 16 << 20);
    assert_int_equal(predict_request_from_json(buf_view(&b), &ports, &bounded, &r, NULL), OK);
    assert_int_equal(r.feed[0].tensor.lod.level[0].count, 100001);
    arena_deinit(&bounded);
    struct err e = { "" };
    arena_init(&bounded, 1 << 20);
    assert_int_equal(predict_request_from_json(buf_view(&b), &ports, &bounded, &r, &e), NO_MEMORY);
    assert_true(e.text[0] != '\0');
    arena_deinit(&bounded);
    buf_deinit(&b);
}

static void a_request_is_written_as_it_is_read(void **state)
{
    static const char text[] =
        "{\"feed\":[{\"x\":[[1.0,2.0,3.0],[4.0,5.0,6.0]],\"words\":[[8],[9]],\"words.lod\":[0,0,2],"
        "\"text\":[\"a\",\"b\\\"c\"],\"scalar\":2.5}],\"fetch\":[\"price\",\"p2\"]}";
    struct infer_request r = read_text(text);
    struct buf b;
    buf_init(&b, 1000);
    predict_request_to_json(&r, &b);
    assert_true(str_is(buf_view(&b), text));
    buf_deinit(&b);
}

static void a_reply_has_nested_lists_under_aliases(void **state)
{
    static const float price[2] = { 18.901152f, 15.5f };
    static const int64_t words[3] = { 1, 2, 3 }, lod[3] = { 0, 1, 3 };
    static const uint8_t truth[2] = { 1, 0 };
    struct named_tensor first[3] = {
        { STR("fc_0.tmp_1"),
          STR("price"),
          { .dtype = DTYPE_F32, .shape = SHAPE(2, 1), .data = price } },
        { STR("o_words"), { "", 0 }, { .dtype = DTYPE_I64, .shape = SHAPE(3, 1), .data = words } },
        { STR("none"), STR("none"), { .dtype = DTYPE_I32, .shape = SHAPE(2, 0), .data = words } },
    };
    struct named_tensor second[2] = {
        { STR("other"), STR("price"), { .dtype = DTYPE_F32, .shape = SHAPE(2, 1), .data = price } },
        { STR("b"), STR("truth"), { .dtype = DTYPE_BOOL, .shape = SHAPE(2), .data = truth } },
    };
    first[1].tensor.lod = (struct lod){ 1, { { lod, 3 } } };
    struct infer_output o[2] = { { STR("a"), first, 3 }, { STR("b"), second, 2 } };
    struct infer_reply r = { .output = o, .output_count = 2 };
    struct buf b;
    buf_init(&b, 1000);
    predict_reply_to_json(&r, &b);
    assert_true(
        str_is(buf_view(&b),
               "{\"result\":{\"price\":[[18.901151657104492],[15.5]],\"o_words\":[[1],[2],[3]],"
               "\"o_words.lod\":[0,1,3],\"none\":[[],[]],\"truth\":[true,false]}}"));
    buf_clear(&b);
    predict_reply_to_json(&(struct infer_reply){ 0 }, &b);
    assert_true(str_is(buf_view(&b), "{\"result\":{}}"));
    buf_deinit(&b);
    buf_init(&b, 20);
    predict_reply_to_json(&r, &b);
    assert_int_equal(buf_check(&b), TOO_LARGE);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_row_gets_its_batch_dimension, setup, teardown),
        cmocka_unit_test_setup_teardown(members_are_rows_of_one_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(other_forms_of_feed_and_fetch, setup, teardown),
        cmocka_unit_test_setup_teardown(ragged_members_are_sequences, setup, teardown),
        cmocka_unit_test_setup_teardown(given_offsets_are_kept_and_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_are_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_offsets_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation_is_refused_with_words, setup, teardown),
        cmocka_unit_test_setup_teardown(many_members_cost_no_more_than_their_text, setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_is_written_as_it_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reply_has_nested_lists_under_aliases, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
