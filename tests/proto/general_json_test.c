#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/general_model.h"

#include <math.h>
#include <stdio.h>

#define CAPTURES OAR_SOURCE_DIR "/tests/data/captures/"

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

static void unmap(void *m)
{
    file_map_unref(m);
}

static struct str read_capture(const char *name)
{
    char path[512];
    struct file_map *m;
    struct err e = { "" };
    snprintf(path, sizeof(path), CAPTURES "%s.bin", name);
    if (file_map_open(path, 1 << 20, &m, &e) != OK)
        fail_msg("%s", e.text);
    arena_defer(&arena, unmap, m);
    return (struct str){ (const char *)file_map_data(m), file_map_size(m) };
}

static struct str http_body(const char *name)
{
    struct str bytes = read_capture(name);
    const char *end = memmem(bytes.p, bytes.n, "\r\n\r\n", 4);
    assert_non_null(end);
    return (struct str){ end + 4, bytes.n - (size_t)(end + 4 - bytes.p) };
}

static struct infer_request request_of(struct str text)
{
    struct infer_request r;
    struct err e = { "" };
    if (general_request_from_json(text, &arena, &r, &e) != OK)
        fail_msg("%.*s: %s", STR_ARG(text), e.text);
    return r;
}

static void refuses(const char *text, const char *words)
{
    struct infer_request r;
    struct err e = { "" };
    assert_int_equal(general_request_from_json(str_of(text), &arena, &r, &e), INVALID);
    assert_string_equal(e.text, words);
}

static void the_captured_float_request_is_read(void **state)
{
    static const float x[13] = { 0.0137f,  -0.1136f, 0.2553f, -0.0692f, 0.0582f, -0.0727f, -0.1583f,
                                 -0.0584f, 0.6283f,  0.4919f, 0.1856f,  0.0795f, -0.0332f };
    struct infer_request r = request_of(http_body("21_http_json.http_req"));
    assert_int_equal(r.feed_count, 1);
    assert_true(str_is(r.feed[0].name, "x") && str_is(r.feed[0].alias, "x"));
    assert_int_equal(r.feed[0].tensor.dtype, DTYPE_F32);
    assert_true(shape_eq(&r.feed[0].tensor.shape, &SHAPE(1, 13)));
    assert_memory_equal(r.feed[0].tensor.data, x, sizeof(x));
    assert_int_equal(r.fetch_count, 1);
    assert_true(str_is(r.fetch[0], "price"));
    assert_true(!r.profile && r.log_id == 0);
}

static void the_captured_request_of_all_types_is_read(void **state)
{
    struct infer_request r = request_of(http_body("24_http_json_types.http_req"));
    assert_int_equal(r.feed_count, 4);
    assert_int_equal(r.fetch_count, 0);
    assert_true(shape_eq(&r.feed[0].tensor.shape, &SHAPE(1, 2, 3)));
    assert_int_equal(r.feed[1].tensor.dtype, DTYPE_I64);
    assert_memory_equal(r.feed[1].tensor.data, ((int64_t[]){ 1, -2, 3 }), 24);
    assert_int_equal(r.feed[2].tensor.dtype, DTYPE_I32);
    assert_memory_equal(r.feed[2].tensor.data, ((int32_t[]){ 1, 2, 3 }), 12);
    assert_int_equal(r.feed[3].tensor.dtype, DTYPE_BYTES);
    assert_true(shape_eq(&r.feed[3].tensor.shape, &SHAPE(5)));
    assert_memory_equal(r.feed[3].tensor.data, "h\xe4\xb8\xad", 5);
}

static void json_and_protobuf_of_one_request_are_the_same(void **state)
{
    struct infer_request json = request_of(http_body("21_http_json.http_req"));
    struct buf b;
    buf_init(&b, 1 << 20);
    general_request_to_pb(&json, &b);
    assert_true(str_eq(buf_view(&b), read_capture("30_grpc.grpc_msg")));
    buf_deinit(&b);
}

static void the_rules_of_json2pb_hold(void **state)
{
    struct infer_request r = request_of(STR(""));
    assert_int_equal(r.feed_count, 0);
    r = request_of(STR("{}"));
    assert_int_equal(r.feed_count, 0);
    r = request_of(STR(
        "{\"tensor\":null,\"unknown\":{\"a\":[1,{}]},\"fetch_var_names\":null,\"log_id\":\"12\","
        "\"profile_server\":true}"));
    assert_true(r.feed_count == 0 && r.fetch_count == 0 && r.log_id == 12 && r.profile);
    r = request_of(STR("{\"log_id\":{},\"profile_server\":1}")); /* wrong kinds are passed over */
    assert_true(r.log_id == 0 && !r.profile);
    r = request_of(STR("{\"tensor\":[{\"int64_data\":[\"-7\",8],\"shape\":[2],\"lod\":null}],\"log_"
                       "id\":18446744073709551615}"));
    assert_memory_equal(r.feed[0].tensor.data, ((int64_t[]){ -7, 8 }), 16);
    assert_true(r.log_id == UINT64_MAX);
    r = request_of(STR("{\"tensor\":[{\"float_data\":[\"nan\",\"Infinity\",\"-INFINITY\",1],"
                       "\"shape\":[4],\"elem_type\":1}]}"));
    const float *v = r.feed[0].tensor.data;
    assert_true(isnan(v[0]) && isinf(v[1]) && v[1] > 0 && isinf(v[2]) && v[2] < 0 && v[3] == 1);
    r = request_of(
        STR("{\"tensor\":[{\"tensor_content\":\"AAECfw==\",\"elem_type\":8,\"shape\":[4]}]}"));
    assert_memory_equal(r.feed[0].tensor.data, "\0\1\2\x7f", 4);
    r = request_of(
        STR("{\"tensor\":[{\"tensor_content\":\"AACAPwAAAEA=\",\"elem_type\":1,\"shape\":[2]}]}"));
    assert_memory_equal(r.feed[0].tensor.data, ((float[]){ 1, 2 }), 8);
    r = request_of(STR("{\"tensor\":[{\"bool_data\":[true,false],\"elem_type\":9,\"shape\":[2],"
                       "\"name\":\"\\u0078\"}]}"));
    assert_memory_equal(r.feed[0].tensor.data, "\1\0", 2);
    assert_true(str_is(r.feed[0].name, "x"));
    r = request_of(
        STR("{\"tensor\":[{\"complex64_data\":[1,2,3,4],\"elem_type\":10,\"shape\":[2]}]}"));
    assert_memory_equal(r.feed[0].tensor.data, ((float[]){ 1, 2, 3, 4 }), 16);
}

static void what_is_wrong_is_named(void **state)
{
    refuses("hello", "the JSON body, byte 0: expected an object");
    refuses("{\"tensor\":{}}", "the JSON body, byte 10: expected an array");
    refuses("{\"tensor\":[1]}", "tensor 0: byte 11: expected an object");
    refuses("{\"tensor\":[{\"float_data\":1}]}",
            "tensor 0: float_data: byte 25: expected an array");
    refuses(
        "{\"tensor\":[{\"float_data\":[1,\"x\"]}]}",
        "tensor 0: float_data: byte 28: expected a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
    refuses("{\"tensor\":[{\"int_data\":[2147483648]}]}",
            "tensor 0: int_data: byte 24: a number out of the range of its type");
    refuses("{\"tensor\":[{\"int64_data\":[1.5]}]}",
            "tensor 0: int64_data: byte 26: expected a whole number in the range of int64");
    refuses("{\"tensor\":[{\"tensor_content\":\"A\"}]}",
            "tensor 0: tensor_content: byte 32: the string is not base64");
    refuses("{\"tensor\":[{\"float_data\":[1,2],\"elem_type\":1,\"shape\":[3],\"name\":\"x\"}]}",
            "tensor 0 'x': shape [3] of float32 means 3 in float_data, which holds 2");
    refuses("{\"tensor\":[{\"float_data\":[1,2],\"shape\":[2],\"name\":\"x\"}]}",
            "tensor 0 'x': elem_type 0 (int64) wants its elements in int64_data, but they are in "
            "float_data; set "
            "elem_type or move them");
    refuses("{\"tensor\":[{\"elem_type\":77}]}",
            "tensor 0 '': elem_type 77 is unknown; 0 is int64, 1 float32, 2 int32, 20 string");
    refuses("{\"tensor\":[{\"int64_data\":[1,2],\"shape\":[2],\"lod\":[0,3],\"name\":\"w\"}]}",
            "tensor 0 'w': LoD level 0 must end at 2, it ends at 3");
    refuses("{\"fetch_var_names\":[1]}", "the JSON body, byte 20: expected a string");
    refuses("{\"tensor\":[{}]}",
            "tensor 0 '': shape [] of int64 means 1 in int64_data, which holds 0");
    refuses("{\"tensor\":[]} x", "the JSON body, byte 14: expected the end of the text");
}

static void too_many_tensors_are_refused(void **state)
{
    struct buf b;
    struct infer_request r;
    struct err e = { "" };
    buf_init(&b, 1 << 20);
    buf_str(&b, "{\"tensor\":[");
    for (int i = 0; i <= LIMIT_REQUEST_TENSORS; i++)
        buf_str(&b, i == 0 ? "{\"shape\":[0]}" : ",{\"shape\":[0]}");
    buf_str(&b, "]}");
    assert_int_equal(general_request_from_json(buf_view(&b), &arena, &r, &e), INVALID);
    assert_string_equal(e.text, "more than 4096 tensors");
    buf_deinit(&b);
}

static void memory_is_bounded(void **state)
{
    struct arena small;
    struct buf b;
    struct infer_request r;
    struct err e = { "" };
    buf_init(&b, 1 << 20);
    buf_str(&b, "{\"tensor\":[{\"float64_data\":[1");
    for (int i = 0; i < 50000; i++)
        buf_str(&b, ",1");
    buf_str(&b, "]}]}");
    arena_init(&small, 200000);
    assert_int_equal(general_request_from_json(buf_view(&b), &small, &r, &e), NO_MEMORY);
    assert_true(e.text[0] != '\0');
    arena_deinit(&small);
    buf_deinit(&b);
}

static void every_truncation_is_refused_with_words(void **state)
{
    static const char *const names[] = { "21_http_json.http_req", "24_http_json_types.http_req" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str text = http_body(names[i]);
        for (size_t n = 1; n < text.n; n++) {
            struct infer_request r;
            struct infer_reply reply;
            struct err e = { "" };
            char *copy = mem_alloc(n);
            memcpy(copy, text.p, n);
            assert_int_equal(general_request_from_json((struct str){ copy, n }, &arena, &r, &e),
                             INVALID);
            assert_true(e.text[0] != '\0');
            e.text[0] = '\0';
            assert_int_equal(general_reply_from_json((struct str){ copy, n }, &arena, &reply, &e),
                             INVALID);
            assert_true(e.text[0] != '\0');
            mem_free(copy);
        }
    }
}

#define PRICE_REPLY                                                                               \
    "{\"outputs\":[{\"tensor\":[{\"float_data\":[18.901151657104492],\"elem_type\":1,\"shape\":[" \
    "1,1],"                                                                                       \
    "\"name\":\"fc_0.tmp_1\",\"alias_name\":\"price\"}],\"engine_name\":\"GeneralInferOp_0\"}],"  \
    "\"profile_time\":[1700000000000001,1700000000000002]}"

static void the_canonical_reply_is_written_and_read(void **state)
{
    static const float price = 18.901152f;
    struct named_tensor t = { STR("fc_0.tmp_1"),
                              STR("price"),
                              { .dtype = DTYPE_F32, .shape = SHAPE(1, 1), .data = &price } };
    struct infer_output o = { STR("GeneralInferOp_0"), &t, 1 };
    int64_t stamps[] = { 1700000000000001, 1700000000000002 };
    struct infer_reply in = { &o, 1, stamps, 2, { 0 } }, r;
    struct buf b;
    buf_init(&b, 1000);
    general_reply_to_json(&in, &b);
    assert_true(str_is(buf_view(&b), PRICE_REPLY));
    assert_int_equal(general_reply_from_json(buf_view(&b), &arena, &r, NULL), OK);
    assert_int_equal(r.output_count, 1);
    assert_true(str_is(r.output[0].engine, "GeneralInferOp_0"));
    assert_memory_equal(r.output[0].tensor[0].tensor.data, &price, sizeof(price));
    assert_memory_equal(r.stamp_us, stamps, sizeof(stamps));
    buf_deinit(&b);
}

static void a_reply_of_the_original_is_read(void **state)
{
    struct infer_reply r;
    struct err e = { "" };
    struct str text = STR(
        "{\"outputs\": [{\"tensor\": [{\"int64_data\": [\"1\", \"-2\", \"3\"], \"shape\": [1, 3], "
        "\"name\": \"o_xi\", \"alias_name\": \"o_xi\"}], \"engine_name\": \"general_infer_0\"}]}");
    assert_int_equal(general_reply_from_json(text, &arena, &r, &e), OK);
    assert_memory_equal(r.output[0].tensor[0].tensor.data, ((int64_t[]){ 1, -2, 3 }), 24);
    assert_int_equal(
        general_reply_from_json(STR("{\"err_no\":5000,\"err_msg\":\"no\"}"), &arena, &r, &e),
        INTERNAL);
    assert_string_equal(e.text, "the server answers err_no 5000: no");
    assert_int_equal(general_reply_from_json(
                         STR("{\"outputs\":[{},{\"tensor\":[{\"shape\":[1]}]}]}"), &arena, &r, &e),
                     INVALID);
    assert_string_equal(
        e.text, "output 1: tensor 0 '': shape [1] of int64 means 1 in int64_data, which holds 0");
}

static void defaults_are_not_written(void **state)
{
    static const int64_t words[2] = { 8, -233 }, lod[3] = { 0, 1, 2 };
    struct named_tensor t = { STR("words"),
                              { "", 0 },
                              { .dtype = DTYPE_I64, .shape = SHAPE(2, 1), .data = words } };
    t.tensor.lod = (struct lod){ 1, { { lod, 3 } } };
    struct infer_request r = { .feed = &t, .feed_count = 1 };
    struct buf b;
    buf_init(&b, 1000);
    general_request_to_json(&r, &b);
    assert_true(str_is(buf_view(&b), "{\"tensor\":[{\"int64_data\":[8,-233],\"shape\":[2,1],"
                                     "\"lod\":[0,1,2],\"name\":\"words\"}]}"));
    buf_clear(&b);
    general_request_to_json(&(struct infer_request){ 0 }, &b);
    assert_true(str_is(buf_view(&b), "{}"));
    buf_clear(&b);
    general_reply_to_json(&(struct infer_reply){ 0 }, &b);
    assert_true(str_is(buf_view(&b), "{}"));
    buf_deinit(&b);
}

static void every_type_comes_back(void **state)
{
    static const uint64_t bits[4] = { 0x0102030405060708u, 0x3f8000003f800001u, 0x3f8000003f800000u,
                                      1 };
    static const uint8_t truth[4] = { 1, 0, 1, 1 };
    for (int code = 0; code < 21; code++) {
        if (!dtype_valid(code))
            continue;
        struct named_tensor x = { STR("x"),
                                  STR("a\"b"),
                                  { .dtype = (dtype)code, .shape = SHAPE(2, 1) } };
        struct str fetch[2] = { STR("one"), STR("two") };
        x.tensor.data = code == DTYPE_BOOL ? (const void *)truth : (const void *)bits;
        struct infer_request in = { .feed = &x,
                                    .feed_count = 1,
                                    .fetch = fetch,
                                    .fetch_count = 2,
                                    .profile = true,
                                    .log_id = UINT64_MAX };
        struct buf b;
        buf_init(&b, 10000);
        general_request_to_json(&in, &b);
        struct infer_request r = request_of(buf_view(&b));
        assert_int_equal(r.feed[0].tensor.dtype, code);
        assert_true(str_is(r.feed[0].alias, "a\"b"));
        assert_true(shape_eq(&r.feed[0].tensor.shape, &x.tensor.shape));
        assert_memory_equal(r.feed[0].tensor.data, x.tensor.data, (size_t)tensor_bytes(&x.tensor));
        assert_true(r.profile && r.log_id == UINT64_MAX && r.fetch_count == 2 &&
                    str_is(r.fetch[1], "two"));
        buf_deinit(&b);
    }
}

static void strings_and_bytes_go_where_they_can(void **state)
{
    struct named_tensor t = { STR("s"),
                              { "", 0 },
                              { .dtype = DTYPE_BYTES, .shape = SHAPE(6), .data = "ab\0\xc3\xa9" } };
    struct infer_request in = { .feed = &t, .feed_count = 1 };
    struct buf b;
    buf_init(&b, 1000);
    general_request_to_json(&in, &b);
    assert_true(str_is(buf_view(&b), "{\"tensor\":[{\"data\":[\"ab\",\"\xc3\xa9\"],\"elem_type\":"
                                     "20,\"shape\":[2],\"name\":\"s\"}]}"));
    struct infer_request r = request_of(buf_view(&b));
    assert_true(shape_eq(&r.feed[0].tensor.shape, &SHAPE(6)));
    assert_memory_equal(r.feed[0].tensor.data, t.tensor.data, 6);
    buf_clear(&b);
    t.tensor.data = "\xff\xd8\xff\xe0 "; /* no UTF-8: cannot be strings */
    general_request_to_json(&in, &b);
    assert_true(str_is(buf_view(&b), "{\"tensor\":[{\"elem_type\":20,\"shape\":[6],\"name\":\"s\","
                                     "\"tensor_content\":\"/9j/4CAA\"}]}"));
    r = request_of(buf_view(&b));
    assert_memory_equal(r.feed[0].tensor.data, t.tensor.data, 6);
    buf_deinit(&b);
}

static void an_output_that_does_not_fit_is_told(void **state)
{
    static const float v[1000];
    struct named_tensor t = { STR("x"),
                              STR("x"),
                              { .dtype = DTYPE_F32, .shape = SHAPE(1000), .data = v } };
    struct infer_request in = { .feed = &t, .feed_count = 1 };
    struct buf b;
    buf_init(&b, 1000);
    general_request_to_json(&in, &b);
    assert_int_equal(buf_check(&b), TOO_LARGE);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_captured_float_request_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(the_captured_request_of_all_types_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(json_and_protobuf_of_one_request_are_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_rules_of_json2pb_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_tensors_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation_is_refused_with_words, setup, teardown),
        cmocka_unit_test_setup_teardown(the_canonical_reply_is_written_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reply_of_the_original_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(defaults_are_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(every_type_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_and_bytes_go_where_they_can, setup, teardown),
        cmocka_unit_test_setup_teardown(an_output_that_does_not_fit_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
