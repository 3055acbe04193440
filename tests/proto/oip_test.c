#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/oip.h"

#include <stdio.h>
#include <string.h>

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
static const struct call_port in_port[] = {
    { { "x_var", 5 },     { "x", 1 },     DTYPE_F32, false, { 2, { -1, 3 } } },
    { { "words_var", 9 }, { "words", 5 }, DTYPE_I64, true,  { 2, { -1, 1 } } },
};
static const struct call_port out_port[] = {
    { { "y_var", 5 },   { "y", 1 },   DTYPE_F32, false, { 2, { -1, 4 } } },
    { { "seq_var", 7 }, { "seq", 3 }, DTYPE_I64, true,  { 2, { -1, 1 } } },
};
static const struct call_port text_port[] = { { { "t", 1 }, { "t", 1 }, DTYPE_BYTES, false, { 1, { -1 } } } };
static const struct str label[] = { { "cat", 3 }, { "dog", 3 } };
// clang-format on
static const struct oip_model one = { { "m", 1 },      { "1", 1 }, { in_port, 1 },
                                      { out_port, 1 }, NULL,       0 };
static const struct oip_model two = { { "m", 1 },      { "1", 1 }, { in_port, 2 },
                                      { out_port, 2 }, label,      2 };
static const struct oip_model text = { { "m", 1 },      { "1", 1 }, { text_port, 1 },
                                       { out_port, 1 }, NULL,       0 };

static status read_and_bind(const struct oip_model *m, const char *json, struct str tail,
                            struct oip_request *r, struct infer_request *out, struct err *e)
{
    *out = (struct infer_request){ 0 };
    TRY(oip_request_from_json(str_of(json), tail, m, &arena, r, e));
    return oip_bind(r, m, NULL, NULL, &arena, out, e);
}

static struct infer_request reads(const struct oip_model *m, const char *json,
                                  struct oip_request *r)
{
    struct infer_request out;
    struct err e = { "" };
    if (read_and_bind(m, json, (struct str){ "", 0 }, r, &out, &e) != OK)
        fail_msg("%s: %s", json, e.text);
    return out;
}

static void elements_come_flat_or_nested_in_any_order_of_members(void **state)
{
    static const char *const same[] = {
        "{\"inputs\":[{\"name\":\"x\",\"shape\":[2,3],\"datatype\":\"FP32\",\"data\":[1,2,3,4,5,6]}"
        "]}",
        "{\"inputs\":[{\"data\":[[1,2,3],[4,5,6.0]],\"datatype\":\"FP32\",\"shape\":[2,3],\"name\":"
        "\"x\"}]}",
        "{\"id\":\"a\",\"inputs\":[{\"name\":\"x_var\",\"shape\":[2,3],\"data\":[[[1],[2],[3]],4,5,"
        "6],"
        "\"datatype\":\"FP32\",\"unknown\":{\"a\":[]}}],\"model_name\":\"z\"}",
    };
    static const float want[] = { 1, 2, 3, 4, 5, 6 };
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        struct oip_request r;
        struct infer_request out = reads(&one, same[i], &r);
        assert_int_equal(out.feed_count, 1);
        assert_int_equal(out.feed[0].tensor.shape.dim[0], 2);
        assert_memory_equal(out.feed[0].tensor.data, want, sizeof(want));
    }
}

static void binary_tensors_follow_in_the_order_of_inputs(void **state)
{
    const char *json =
        "{\"inputs\":[{\"name\":\"words\",\"shape\":[2,1],\"datatype\":\"INT64\",\"parameters\":"
        "{\"binary_data_size\":16}},{\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"FP32\","
        "\"parameters\":{\"binary_data_size\":12}}]}";
    char tail[1 + 28];
    const int64_t words[] = { 7, 8 };
    const float x[] = { 1, 2, 3 };
    memcpy(tail + 1, words, 16); /* not aligned, as on the wire */
    memcpy(tail + 17, x, 12);
    struct oip_request r;
    struct infer_request out;
    struct err e = { "" };
    assert_int_equal(read_and_bind(&two, json, (struct str){ tail + 1, 28 }, &r, &out, &e), OK);
    assert_memory_equal(out.feed[0].tensor.data, x, 12);
    assert_memory_equal(out.feed[1].tensor.data, words, 16);
    assert_int_equal((uintptr_t)out.feed[1].tensor.data % 8, 0);
    assert_int_equal(read_and_bind(&two, json, (struct str){ tail + 1, 27 }, &r, &out, &e),
                     INVALID);
    assert_string_equal(
        e.text, "unexpected size for input 'x', expecting 1 additional bytes for model 'm'");
}

static void sequences_take_offsets_or_a_batch(void **state)
{
    struct oip_request r;
    const char *x = "{\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"FP32\",\"data\":[1,2,3]}";
    char json[1024];
    snprintf(json, sizeof(json),
             "{\"inputs\":[%s,{\"name\":\"words\",\"shape\":[5,1],\"datatype\":\"INT64\",\"data\":["
             "1,2,3,4,5]},"
             "{\"name\":\"words.lod\",\"shape\":[3],\"datatype\":\"INT64\",\"data\":[0,2,5]}]}",
             x);
    struct infer_request out = reads(&two, json, &r);
    assert_int_equal(out.feed[1].tensor.lod.levels, 1);
    assert_int_equal(out.feed[1].tensor.lod.level[0].offset[1], 2);
    snprintf(json, sizeof(json),
             "{\"inputs\":[%s,{\"name\":\"words\",\"shape\":[2,3,1],\"datatype\":\"INT64\","
             "\"data\":[1,2,3,4,5,6]}]}",
             x);
    out = reads(&two, json, &r);
    assert_int_equal(out.feed[1].tensor.shape.rank, 2);
    assert_int_equal(out.feed[1].tensor.shape.dim[0], 6);
    assert_int_equal(out.feed[1].tensor.lod.level[0].count, 3);
    assert_int_equal(out.feed[1].tensor.lod.level[0].offset[2], 6);
}

static void strings_end_with_a_nul_each(void **state)
{
    struct oip_request r;
    struct infer_request out = reads(&text,
                                     "{\"inputs\":[{\"name\":\"t\",\"shape\":[2],\"datatype\":"
                                     "\"BYTES\",\"data\":[\"ab\",\"\"]}]}",
                                     &r);
    assert_memory_equal(out.feed[0].tensor.data, "ab\0\0", 4);
    assert_int_equal(out.feed[0].tensor.shape.dim[0], 4);
    const char *json = "{\"inputs\":[{\"name\":\"t\",\"shape\":[2],\"datatype\":\"BYTES\","
                       "\"parameters\":{\"binary_data_size\":11}}]}";
    struct err e = { "" };
    assert_int_equal(
        read_and_bind(&text, json, (struct str){ "\2\0\0\0ab\1\0\0\0c", 11 }, &r, &out, &e), OK);
    assert_memory_equal(out.feed[0].tensor.data, "ab\0c\0", 5);
    assert_int_equal(
        read_and_bind(&text, json, (struct str){ "\2\0\0\0ab\2\0\0\0c", 11 }, &r, &out, &e),
        INVALID);
    assert_string_equal(e.text,
                        "incomplete string data for inference input 't', expecting string of "
                        "length 2 but only 1 bytes available");
}

#define X_DATA "\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"FP32\",\"data\":[1,2,3]"

static void faults_are_told_as_triton_tells_them(void **state)
{
    // clang-format off
    static const struct { const char *json; status s; const char *words; } rows[] = {
        { "", MALFORMED, "failed to parse the request JSON buffer: byte 0: expected an object" },
        { "{", MALFORMED, "failed to parse the request JSON buffer: byte 1: the object does not end" },
        { "{}", MALFORMED, "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'" },
        { "[]", MALFORMED, "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'" },
        { "{\"inputs\":1}", MALFORMED, "Unable to parse 'inputs': attempt to access JSON non-array as array" },
        { "{\"inputs\":[1]}", MALFORMED, "Unable to parse 'inputs': attempt to access JSON non-object as object" },
        { "{\"inputs\":[]}", INVALID, "[request id: <id_unknown>] expected 1 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing required input(s) ['x']. Please provide all required input(s)." },
        { "{\"inputs\":[{\"name\":\"z\",\"shape\":[1,3],\"datatype\":\"FP32\",\"data\":[1,2,3]}]}", INVALID, "unexpected inference input 'z' for model 'm'; did you mean 'x'?" },
        { "{\"inputs\":[{" X_DATA "},{" X_DATA "}]}", INVALID, "input 'x' already exists in request" },
        { "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"FP64\",\"data\":[1,2,3]}]}", INVALID, "inference input 'x' data-type is 'FP64', but model 'm' expects 'FP32'" },
        { "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"FP31\",\"data\":[1,2,3]}]}", INVALID, "invalid datatype for input x: 'FP31'; expected BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64 or BYTES" },
        { "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,2],\"datatype\":\"FP32\",\"data\":[1,2]}]}", INVALID, "unexpected shape for input 'x' for model 'm'. Expected [-1, 3], got [1, 2]." },
        { "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"FP32\",\"data\":[1,2]}]}", MALFORMED, "Unable to parse 'data': Shape does not match true shape of 'data' field: input 'x' has 3 elements by its shape, 2 in its data" },
        { "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"FP32\",\"data\":[1,2,3,4]}]}", MALFORMED, "Unable to parse 'data': Shape does not match true shape of 'data' field: input 'x' has 3 elements by its shape, more in its data" },
        { "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"FP32\",\"data\":[1,\"a\",3]}]}", MALFORMED, "Unable to parse 'data': attempt to access JSON non-double as double: input 'x', byte 65: expected a number, \"NaN\", \"Infinity\" or \"-Infinity\"" },
        { "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"FP32\"}]}", INVALID, "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', 'shared_memory_region' in 'parameters'. But no field is set" },
        { "{\"inputs\":[{" X_DATA ",\"parameters\":{\"binary_data_size\":0}}]}", INVALID, "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', 'shared_memory_region' in 'parameters'. But multiple fields are set" },
        { "{\"inputs\":[{\"name\":\"x\",\"shape\":[-1,3],\"datatype\":\"FP32\",\"data\":[]}]}", MALFORMED, "Unable to parse 'shape': attempt to access JSON non-unsigned-integer as unsigned-integer" },
        { "{\"inputs\":[{\"name\":\"x\",\"shape\":[1152921504606846978,16],\"datatype\":\"FP32\",\"data\":[1]}]}", INVALID, "shape of input 'x' causes total element count to exceed maximum size of 9223372036854775807" },
        { "{\"inputs\":[{" X_DATA "}],\"outputs\":[{\"name\":\"q\"}]}", INVALID, "unexpected inference output 'q' for model 'm'; did you mean 'y'?" },
        { "{\"inputs\":[{" X_DATA "}],\"outputs\":[{\"name\":\"y\"},{\"name\":\"y\"}]}", INVALID, "output 'y' already exists in request" },
        { "{\"inputs\":[{" X_DATA "}],\"parameters\":{\"triton_x\":1}}", INVALID, "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified." },
        { "{\"inputs\":[{" X_DATA "}],\"parameters\":{\"x\":[]}}", INVALID, "parameter 'x' has invalid type. It should be either 'int', 'bool', or 'string'." },
        { "{\"inputs\":[{" X_DATA ",\"parameters\":{\"shared_memory_region\":\"r\"}}]}", INVALID, "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', 'shared_memory_region' in 'parameters'. But multiple fields are set" },
        { "{\"inputs\":[{\"shape\":[1,3],\"datatype\":\"FP32\",\"data\":[1,2,3]}]}", MALFORMED, "Unable to parse 'name': attempt to access non-existing object member 'name'" },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct oip_request r;
        struct infer_request out;
        struct err e = { "" };
        status s = read_and_bind(&one, rows[i].json, (struct str){ "", 0 }, &r, &out, &e);
        if (s != rows[i].s || strcmp(e.text, rows[i].words) != 0)
            fail_msg("%s\n  gives %d: %s\n  wants %d: %s", rows[i].json, s, e.text, rows[i].s,
                     rows[i].words);
    }
}

static void parameters_find_their_places(void **state)
{
    struct oip_request r;
    reads(&one,
          "{\"inputs\":[{" X_DATA
          "}],\"outputs\":[{\"name\":\"y\",\"parameters\":{\"binary_data\":true,"
          "\"classification\":3}}],\"parameters\":{\"binary_data_output\":true,\"timeout\":1500,"
          "\"priority\":1,"
          "\"sequence_id\":18446744073709551615,\"mine\":\"text\",\"ratio\":0.5}}",
          &r);
    assert_true(r.binary_output);
    assert_int_equal(r.timeout_us, 1500);
    assert_int_equal(r.output[0].binary, 1);
    assert_int_equal(r.output[0].classes, 3);
    assert_int_equal(r.param_count, 3);
    assert_int_equal(r.param[0].kind, OIP_UINT);
    assert_int_equal((uint64_t)r.param[0].integer, UINT64_MAX);
    assert_int_equal(r.param[1].kind, OIP_STRING);
    assert_int_equal(r.param[2].kind, OIP_DOUBLE);
}

static void replies_are_written_as_asked(const char *outputs, const char *want, size_t tail)
{
    static const float y[] = { 0.25f, 0.5f, 0.125f, 0.5f };
    static const int64_t seq[] = { 1, 2, 3 }, offset[] = { 0, 1, 3 };
    const struct named_tensor tensor[] = {
        { STR("y_var"), STR("y"), { DTYPE_F32, SHAPE(1, 4), y, { 0 } } },
        { STR("seq_var"), STR("seq"), { DTYPE_I64, SHAPE(3, 1), seq, { 1, { { offset, 3 } } } } },
    };
    char json[1024];
    snprintf(json, sizeof(json),
             "{\"inputs\":[{" X_DATA
             "},{\"name\":\"words\",\"shape\":[1],\"datatype\":\"INT64\",\"data\":[1]}]%s}",
             outputs);
    struct oip_request r;
    struct infer_request request = reads(&two, json, &r);
    struct named_tensor chosen[4];
    int n = request.fetch_count > 0 ? request.fetch_count : 2;
    for (int i = 0; i < n; i++)
        chosen[i] = tensor[request.fetch_count > 0 ? str_is(request.fetch[i], "seq_var") : i];
    struct infer_output o = { STR("op"), chosen, n };
    struct infer_reply reply = { .output = &o, .output_count = 1 };
    struct oip_output *out;
    int count;
    assert_int_equal(oip_outputs(&r, &two, &reply, &arena, &out, &count, NULL), OK);
    struct buf b;
    size_t json_bytes;
    bool binary;
    buf_init(&b, 4096);
    oip_reply_to_json(
        &(struct oip_reply){
            .id = STR("i\""), .model = &two, .output = out, .output_count = count },
        &b, &json_bytes, &binary);
    assert_int_equal(b.len - json_bytes, tail);
    assert_int_equal(binary, tail > 0);
    b.data[json_bytes] = '\0'; /* the tail, if any, was counted */
    assert_string_equal((const char *)b.data, want);
    buf_deinit(&b);
}

#define REPLY "{\"id\":\"i\\\"\",\"model_name\":\"m\",\"model_version\":\"1\",\"outputs\":["

static void replies(void **state)
{
    replies_are_written_as_asked(
        "",
        REPLY
        "{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[0.25,0.5,0.125,0.5]},"
        "{\"name\":\"seq\",\"datatype\":\"INT64\",\"shape\":[3,1],\"data\":[1,2,3]},"
        "{\"name\":\"seq.lod\",\"datatype\":\"INT64\",\"shape\":[3],\"data\":[0,1,3]}]}",
        0);
    replies_are_written_as_asked(
        ",\"outputs\":[{\"name\":\"seq.lod\",\"parameters\":{\"binary_data\":true}}]",
        REPLY "{\"name\":\"seq.lod\",\"datatype\":\"INT64\",\"shape\":[3],\"parameters\":{\"binary_"
              "data_size\":24}}]}",
        24);
    replies_are_written_as_asked(
        ",\"outputs\":[{\"name\":\"y\",\"parameters\":{\"classification\":3}}]",
        REPLY "{\"name\":\"y\",\"datatype\":\"BYTES\",\"shape\":[1,3],\"data\":[\"0.500000:1:dog\","
              "\"0.500000:3\",\"0.250000:0:cat\"]}]}",
        0);
}

static void a_raw_body_is_the_only_input(void **state)
{
    static const float x[] = { 1, 2, 3, 4, 5, 6 };
    struct oip_request r;
    struct infer_request out = { 0 };
    struct err e = { "" };
    assert_int_equal(
        oip_request_from_raw((struct str){ (const char *)x, sizeof(x) }, &one, &arena, &r, &e), OK);
    assert_int_equal(oip_bind(&r, &one, NULL, NULL, &arena, &out, &e), OK);
    assert_int_equal(out.feed[0].tensor.shape.dim[0], 2);
    assert_true(r.binary_output);
    assert_int_equal(oip_request_from_raw((struct str){ "x", 1 }, &two, &arena, &r, &e), INVALID);
    assert_int_equal(oip_request_from_raw((struct str){ "x", 1 }, &one, &arena, &r, &e), INVALID);
    assert_string_equal(e.text, "Raw input 'x' has 1 bytes, which is no multiple of the 12 of one "
                                "row");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_come_flat_or_nested_in_any_order_of_members),
        cmocka_unit_test(binary_tensors_follow_in_the_order_of_inputs),
        cmocka_unit_test(sequences_take_offsets_or_a_batch),
        cmocka_unit_test(strings_end_with_a_nul_each),
        cmocka_unit_test(faults_are_told_as_triton_tells_them),
        cmocka_unit_test(parameters_find_their_places),
        cmocka_unit_test(replies),
        cmocka_unit_test(a_raw_body_is_the_only_input),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
