/* PIR programs written by hand: what they become, and how bad ones are refused. Real ones are tests/e2e/test_zoo.py's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "import/pir/pir.h"
#include "import/pir/table.h"

#include <stdio.h>
#include <string.h>

#define HEAD                                                                            \
    "{\"base_code\":{\"magic\":\"pir\",\"version\":4,\"trainable\":true},\"program\":{" \
    "\"regions\":[{\"#\":\"region_0\",\"blocks\":[{\"#\":\"block_0\",\"args\":[],\"ops\":["
#define TAIL "]}]}]}}"
#define F32(dims) \
    "\"TT\":{\"#\":\"0.t_dtensor\",\"D\":[{\"#\":\"0.t_f32\"},[" dims "],\"NCHW\",[],0]}"
#define I64(dims) \
    "\"TT\":{\"#\":\"0.t_dtensor\",\"D\":[{\"#\":\"0.t_i64\"},[" dims "],\"NCHW\",[],0]}"
#define BOOL          "\"TT\":{\"#\":\"0.t_dtensor\",\"D\":[{\"#\":\"0.t_bool\"},[1],\"NCHW\",[],0]}"
#define TEXT(name, v) "{\"N\":\"" name "\",\"AT\":{\"#\":\"0.a_str\",\"D\":\"" v "\"}}"
#define INT(name, v)  "{\"N\":\"" name "\",\"AT\":{\"#\":\"0.a_i32\",\"D\":" v "}}"
#define OP(name, attrs, in, out) \
    "{\"#\":\"" name "\",\"A\":[" attrs "],\"I\":[" in "],\"O\":[" out "],\"OA\":[]}"
#define DATA(id, name) OP("1.data", TEXT("name", name), "", "{\"%\":" id "," F32("-1,4") "}")
#define FETCH(id)                                                          \
    OP("1.fetch", TEXT("name", "y") "," INT("col", "0"), "{\"%\":" id "}", \
       "{\"%\":99," F32("-1,4") "}")
#define AXES(id, v)                                                                      \
    OP("1.full_int_array",                                                               \
       "{\"N\":\"value\",\"AT\":{\"#\":\"0.a_array\",\"D\":[{\"#\":\"0.a_i64\",\"D\":" v \
       "}]}},{\"N\":\"dtype\",\"AT\":{\"#\":\"1.a_dtype\",\"D\":\"int64\"}}",            \
       "", "{\"%\":" id "," I64("1") "}")
#define ONE(id, v)                                                                             \
    OP("1.full",                                                                               \
       "{\"N\":\"value\",\"AT\":{\"#\":\"0.a_f64\",\"D\":" v                                   \
       "}},{\"N\":\"dtype\",\"AT\":{\"#\":\"1.a_dtype\",\"D\":\"float32\"}},{\"N\":\"shape\"," \
       "\"AT\":{\"#\":\"1.a_intarray\",\"D\":[1]}}",                                           \
       "", "{\"%\":" id "," F32("1") "}")

static status decode(const char *text, struct arena *a, struct program *p, struct err *e)
{
    e->text[0] = '\0';
    return pir_decode(str_of(text), a, p, e);
}

static const struct op_desc *find_op(const struct block_desc *b, const char *type)
{
    for (int i = 0; i < b->op_count; i++)
        if (str_is(b->op[i].type, type))
            return &b->op[i];
    fail_msg("no operator '%s'", type);
    return NULL;
}

static void numbers_become_attributes(void **state)
{
    struct arena a;
    struct program p;
    struct err e;
    arena_init(&a, 0);
    assert_int_equal(
        decode(HEAD DATA("1", "x") "," AXES("2", "1") "," OP(
                   "1.sum",
                   "{\"N\":\"keepdim\",\"AT\":{\"#\":\"0.a_bool\",\"D\":true}},{\"N\":\"dtype\","
                   "\"AT\":{\"#\":\"1.a_dtype\",\"D\":\"Undefined(ALL_DTYPE)\"}}",
                   "{\"%\":1},{\"%\":2}", "{\"%\":3," F32("-1,1") "}") "," FETCH("3") TAIL,
               &a, &p, &e),
        OK);
    const struct op_desc *sum = find_op(&p.block[0], "reduce_sum");
    assert_true(str_is(op_slot_in(sum, "X")->arg[0], "x"));
    assert_int_equal(sum->in_count, 1);
    assert_int_equal(op_attr(sum, "dim")->int_count, 1);
    assert_int_equal(op_attr(sum, "dim")->ints[0], 1);
    assert_int_equal(op_attr(sum, "keep_dim")->i, 1);
    assert_null(op_attr(sum, "out_dtype"));
    const struct op_desc *fetch = find_op(&p.block[0], "fetch");
    assert_true(str_is(op_slot_in(fetch, "X")->arg[0], "y"));
    arena_deinit(&a);
}

static void lists_are_names(void **state)
{
    struct arena a;
    struct program p;
    struct err e;
    arena_init(&a, 0);
    assert_int_equal(
        decode(HEAD DATA("1", "x") "," DATA("2", "z") "," OP(
                   "0.combine", "", "{\"%\":1},{\"%\":2}",
                   "{\"%\":3}") "," ONE("4", "1") "," OP("1.concat", "", "{\"%\":3},{\"%\":4}",
                                                         "{\"%\":5," F32("-1,8") "}") "," FETCH("5")
                   TAIL,
               &a, &p, &e),
        OK);
    const struct op_desc *concat = find_op(&p.block[0], "concat");
    assert_int_equal(op_slot_in(concat, "X")->arg_count, 2);
    assert_true(str_is(op_slot_in(concat, "X")->arg[1], "z"));
    assert_true(op_attr(concat, "axis")->i == 1);
    arena_deinit(&a);
}

/* while (c) x = relu(x): the body assigns to what the loop's values are called outside. */
#define LOOP(yield)                                                                              \
    "{\"#\":\"1.while\",\"A\":[],\"I\":[{\"%\":2},{\"%\":1}],\"O\":[{\"%\":3," F32(              \
        "-1,4") "}],\"regions\":[{\"#\":\"region_1\",\"blocks\":[{\"#\":\"block_1\",\"args\":[{" \
                "\"#\":-1," F32("-1,4") "}],\"ops\":[" OP(                                       \
                    "1.relu", "", "{\"%\":-1}",                                                  \
                    "{\"%\":4," F32("-1,4") "}") "," OP("2.yield", "", yield, "") "]}]}]}"

static void a_loop_assigns_to_variables(void **state)
{
    struct arena a;
    struct program p;
    struct err e;
    arena_init(&a, 0);
    assert_int_equal(
        decode(HEAD DATA("1", "x") "," OP("1.data", TEXT("name", "c"), "",
                                          "{\"%\":2," BOOL
                                          "}") "," LOOP("{\"%\":2},{\"%\":4}") "," FETCH("3") TAIL,
               &a, &p, &e),
        OK);
    assert_int_equal(p.block_count, 2);
    const struct op_desc *loop = find_op(&p.block[0], "while");
    assert_int_equal(op_attr(loop, "sub_block")->kind, KIND_BLOCK);
    assert_int_equal(op_attr(loop, "sub_block")->i, 1);
    struct str condition = op_slot_in(loop, "Condition")->arg[0];
    bool written = false;
    for (int i = 0; i < p.block[1].op_count; i++)
        if (str_is(p.block[1].op[i].type, "assign"))
            written = written || str_eq(op_slot_out(&p.block[1].op[i], "Out")->arg[0], condition);
    assert_true(written);
    arena_deinit(&a);
}

struct bad {
    const char *text;
    status status;
    const char *words;
};

static void bad_programs_are_refused_with_words(void **state)
{
    static const struct bad rows[] = {
        { "", CORRUPT, "not a PIR program" },
        { "{", CORRUPT, "not a PIR program" },
        { "[1]", CORRUPT, "expected" },
        { "{\"base_code\":{\"magic\":\"pit\"}}", CORRUPT, "expected magic 'pir'" },
        { HEAD OP("1.no_such_op", "", "", "") "," OP("1.no_such_op", "", "", "") TAIL, UNSUPPORTED,
          "'1.no_such_op' (2 times, first at operator 0 of block 0)" },
        { HEAD OP("1.relu", "", "{\"%\":7}", "{\"%\":1," F32("1") "}") TAIL, CORRUPT,
          "one of its operands is made nowhere before it" },
        { HEAD OP("1.relu", "", "{\"%\":1}", "{\"%\":1," F32("1") "}") TAIL, CORRUPT,
          "one of its operands is made nowhere before it" },
        { HEAD DATA("1", "x") "," DATA("1", "y") TAIL, CORRUPT, "two of one number" },
        { HEAD DATA("4611686018427387904", "x") TAIL, TOO_LARGE,
          "a value has the number 4611686018427387904" },
        { HEAD DATA("1", "x") "," OP("1.sum", "", "{\"%\":1},{\"%\":1}", "{\"%\":3," F32("1") "}")
              TAIL,
          UNSUPPORTED, "its dim is computed" },
        { HEAD DATA("1", "x") "," OP("1.data", TEXT("name", "c"), "",
                                     "{\"%\":2," BOOL "}") "," LOOP("{\"%\":2}") TAIL,
          CORRUPT, "it does not yield as many values as are expected" },
        { HEAD OP("2.yield", "", "", "") TAIL, CORRUPT,
          "it does not yield as many values as are expected" },
        { HEAD OP("0.split", "", "", "") TAIL, CORRUPT, "an operand is missing" },
        { HEAD OP("1.fetch", "", "{\"%\":0}", "") TAIL, CORRUPT, "an operand is missing" },
        { HEAD OP("1.if", "", "{\"%\":0}", "") TAIL, CORRUPT, "an operand is missing" },
        { HEAD "{\"#\":\"p\",\"A\":[0,1,1,\"w\"],\"O\":{\"%\":1," F32(
              "2,2,2,2,2,2,2,2,2") "},\"OA\":[1]}" TAIL,
          CORRUPT, "at most 8 dimensions" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a;
        struct program p;
        struct err e;
        arena_init(&a, 0);
        status s = decode(rows[i].text, &a, &p, &e);
        if (s != rows[i].status || strstr(e.text, rows[i].words) == NULL)
            fail_msg("row %zu: %s, '%s'", i, status_text(s), e.text);
        arena_deinit(&a);
    }
}

static void every_truncation_is_refused(void **state)
{
    static const char text[] = HEAD DATA("1", "x") "," AXES("2", "1") "," OP(
        "1.relu", "", "{\"%\":1}", "{\"%\":3," F32("-1,4") "}") "," FETCH("3") TAIL;
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        struct arena a;
        struct program p;
        struct err e = { "" };
        arena_init(&a, 0);
        assert_int_not_equal(pir_decode((struct str){ text, n }, &a, &p, &e), OK);
        assert_true(e.text[0] != '\0');
        arena_deinit(&a);
    }
}

static void names_in_the_table_are_unique(void **state)
{
    for (int i = 0; pir_row_at(i) != NULL; i++)
        assert_ptr_equal(pir_row_find(str_of(pir_row_at(i)->name)), pir_row_at(i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_become_attributes),
        cmocka_unit_test(lists_are_names),
        cmocka_unit_test(a_loop_assigns_to_variables),
        cmocka_unit_test(bad_programs_are_refused_with_words),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(names_in_the_table_are_unique),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
