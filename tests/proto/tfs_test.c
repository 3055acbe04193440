#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/tfs.h"

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
static const struct call_port port[] = {
    { { "x_var", 5 },     { "x", 1 },     DTYPE_F32,   false, { 2, { -1, 2 } } },
    { { "words_var", 9 }, { "words", 5 }, DTYPE_I64,   true,  { 2, { -1, 1 } } },
    { { "t_var", 5 },     { "t", 1 },     DTYPE_BYTES, false, { 1, { -1 } } },
};
// clang-format on
static const struct call_ports one = { port, 1 }, two = { port, 2 }, text = { port + 2, 1 };

static status reads(const struct call_ports *ports, const char *json, struct tfs_form *form,
                    struct infer_request *out, struct err *e)
{
    *out = (struct infer_request){ 0 };
    return tfs_request_from_json(str_of(json), ports, &arena, form, out, e);
}

/* The request's feeds as the answer: what comes out is what went in. */
static void answers(const struct call_ports *ports, enum tfs_kind kind, const char *json,
                    const char *want)
{
    struct tfs_form form = { .kind = kind };
    struct infer_request r;
    struct err e = { "" };
    struct buf b;
    if (reads(ports, json, &form, &r, &e) != OK)
        fail_msg("%s: %s", json, e.text);
    struct infer_output o = { STR("op"), r.feed, r.feed_count };
    struct infer_reply reply = { .output = &o, .output_count = 1 };
    buf_init(&b, 4096);
    if (tfs_reply_to_json(&form, &reply, &b, &e) != OK)
        fail_msg("%s: %s", json, e.text);
    buf_byte(&b, 0);
    assert_string_equal((const char *)b.data, want);
    buf_deinit(&b);
}

static void rows_and_columns(void **state)
{
    answers(&one, TFS_PREDICT, "{\"instances\":[[1,2],[3,4.5]]}",
            "{\"predictions\":[[1.0,2.0],[3.0,4.5]]}");
    answers(&one, TFS_PREDICT, "{\"instances\":[{\"x\":[1,2]},{\"x\":[3,4]}]}",
            "{\"predictions\":[[1.0,2.0],[3.0,4.0]]}");
    answers(&one, TFS_PREDICT, "{\"signature_name\":\"serving_default\",\"inputs\":[[1,2]]}",
            "{\"outputs\":[[1.0,2.0]]}");
    answers(&one, TFS_PREDICT, "{\"inputs\":{\"x_var\":[[1,NaN],[Infinity,-Infinity]]}}",
            "{\"outputs\":[[1.0,NaN],[Infinity,-Infinity]]}");
    answers(&two, TFS_PREDICT,
            "{\"instances\":[{\"x\":[1,2],\"words\":[5]},{\"words\":[6,7],\"x\":[3,4]}]}",
            "{\"predictions\":[{\"x\":[1.0,2.0],\"words\":[[5]]},{\"x\":[3.0,4.0],\"words\":[[6],["
            "7]]}]}");
    answers(&two, TFS_PREDICT, "{\"inputs\":{\"x\":[[1,2],[3,4]],\"words\":[[[5],[6]],[7]]}}",
            "{\"outputs\":{\"x\":[[1.0,2.0],[3.0,4.0]],\"words\":[[5],[6],[7]]}}");
    answers(&text, TFS_PREDICT, "{\"instances\":[\"ab\",{\"b64\":\"Y2Q=\"},{\"t\":\"e\"}]}",
            "{\"predictions\":[\"ab\",\"cd\",\"e\"]}");
    answers(&text, TFS_PREDICT, "{\"instances\":[{\"b64\":\"/w==\"}]}",
            "{\"predictions\":[{\"b64\":\"/w==\"}]}");
    answers(&one, TFS_CLASSIFY, "{\"examples\":[{\"x\":[1,2]}]}",
            "{\"results\":[[[\"0\",1.0],[\"1\",2.0]]]}");
    answers(&two, TFS_CLASSIFY,
            "{\"context\":{\"x\":[1,2]},\"examples\":[{\"words\":[3]},{\"words\":[4]}]}",
            "{\"results\":[[[\"0\",1.0],[\"1\",2.0]],[[\"0\",1.0],[\"1\",2.0]]]}");
}

static void faults(void **state)
{
    // clang-format off
    static const struct { const struct call_ports *ports; const char *json, *words; } rows[] = {
        { &one, "", "JSON Parse error: The document is empty" },
        { &one, "{", "JSON Parse error: Invalid value. byte 1: the object does not end" },
        { &one, "{}", "Missing 'inputs' or 'instances' key" },
        { &one, "{\"inputs\":[[1,2]],\"instances\":[[1,2]]}", "Not formatted correctly expecting only either one of 'inputs' or 'instances' keys exist" },
        { &one, "{\"instances\":3}", "JSON Value: 'instances' must be a list of at least one element" },
        { &one, "{\"instances\":[]}", "Failed to process element: input 'x' of the signature is missing or empty" },
        { &one, "{\"instances\":[[1,\"a\"]]}", "JSON Value of input 'x' is not of expected type: float (byte 17: expected a number, \"NaN\", \"Infinity\" or \"-Infinity\")" },
        { &one, "{\"instances\":[[1,2],[3]]}", "Encountered list at unexpected size: input 'x' has an instance of shape [1], those before are of shape [2]" },
        { &one, "{\"instances\":[{\"z\":1}]}", "Failed to process element: JSON object: input 'z' is not found in the signature, whose 1 input(s) begin with 'x'" },
        { &two, "{\"instances\":[[1,2]]}", "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map: the model has 2" },
        { &two, "{\"instances\":[{\"x\":[1,2],\"words\":[1]},{\"x\":[1,2]}]}", "Failed to process element: 1 of 'instances' list. JSON object: input 'words' must be in every one, once" },
        { &two, "{\"inputs\":{\"x\":[[1,2]]}}", "Failed to process element: input 'words' of the signature is missing or empty" },
        { &one, "{\"signature_name\":\"s\",\"inputs\":[[1,2]]}", "Serving signature name: \"s\" not found in signature def; there is \"serving_default\"" },
        { &text, "{\"instances\":[{\"b64\":\"!\"}]}", "JSON Value of input 't' is not of expected type: string (byte 24: expected an object with a single key b64 and base64 in it)" },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tfs_form form = { 0 };
        struct infer_request r;
        struct err e = { "" };
        status s = reads(rows[i].ports, rows[i].json, &form, &r, &e);
        if (s != INVALID || strcmp(e.text, rows[i].words) != 0)
            fail_msg("%s\n  gives %d: %s\n  wants %s", rows[i].json, s, e.text, rows[i].words);
    }
}

static void many_sequences_keep_their_offsets(void **state)
{
    struct buf b;
    struct tfs_form form = { 0 };
    struct infer_request r;
    buf_init(&b, 1 << 20);
    buf_str(&b, "{\"instances\":[");
    for (int i = 0; i < 100; i++)
        buf_printf(&b, "%s{\"x\":[1,2],\"words\":%s}", i > 0 ? "," : "", i % 2 ? "[1,2,3]" : "[4]");
    buf_str(&b, "]}");
    buf_byte(&b, 0);
    assert_int_equal(reads(&two, (const char *)b.data, &form, &r, NULL), OK);
    assert_int_equal(form.batch, 100);
    assert_int_equal(r.feed[1].tensor.lod.level[0].count, 101);
    assert_int_equal(r.feed[1].tensor.lod.level[0].offset[100], 200);
    assert_int_equal(lod_check(&r.feed[1].tensor.lod, r.feed[1].tensor.shape.dim[0], "w", NULL),
                     OK);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_columns),
        cmocka_unit_test(faults),
        cmocka_unit_test(many_sequences_keep_their_offsets),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
