#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/prototxt.h"

#include "base/limits.h"

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

static struct prototxt *parsed(const char *text)
{
    struct prototxt *p;
    struct err e = { "" };
    assert_int_equal(prototxt_parse(str_of(text), "f", &arena, &p, &e), OK);
    return p;
}

/* The words of the refusal. */
static const char *fault_of(const char *text)
{
    struct prototxt *p;
    struct err e = { "" };
    assert_int_equal(prototxt_parse(str_of(text), "f", &arena, &p, &e), INVALID);
    return arena_printf(&arena, "%s", e.text);
}

static void a_serving_configuration_is_read(void **state)
{
    const struct prototxt *p = parsed("# written by save_model\n"
                                      "feed_var {\n  name: \"x\"\n  alias_name: \"x\"\n"
                                      "  is_lod_tensor: false\n  feed_type: 1\n  shape: 13\n}\n"
                                      "fetch_var { name: \"fc_0\" shape: [ 1, 2 ] }\n");
    assert_true(str_is(p->name, "feed_var") && p->is_message && p->line == 2);
    const struct prototxt *f = p->child;
    assert_true(str_is(f->name, "name") && f->is_string && str_is(f->text, "x") && f->line == 3);
    bool flag = true;
    int64_t type = 0;
    f = f->next->next;
    assert_int_equal(prototxt_bool(f, "f", &flag, NULL), OK);
    assert_false(flag);
    assert_int_equal(prototxt_i64(f->next, "f", &type, NULL), OK);
    assert_int_equal(type, 1);
    f = p->next->child->next;
    assert_true(str_is(f->name, "shape") && str_is(f->text, "1"));
    assert_true(str_is(f->next->name, "shape") && str_is(f->next->text, "2"));
    assert_null(p->next->next);
}

static void strings_are_unescaped_and_joined(void **state)
{
    const struct prototxt *p = parsed("a: \"x\\n\\x41\\101\\\"\" 'y' b: ''");
    assert_true(str_is(p->text, "x\nAA\"y"));
    assert_true(p->next->is_string && p->next->text.n == 0);
}

static void both_brackets_and_separators_are_taken(void **state)
{
    const struct prototxt *p = parsed("a < b: 1; c: two, >; d: [ { e: -3 }, { e: 4 } ] f: []");
    assert_true(str_is(parsed("d [ { e: 3 } ]")->child->text, "3")); /* as people write messages */
    assert_true(str_is(p->child->next->text, "two"));
    assert_true(str_is(p->next->name, "d") && str_is(p->next->child->text, "-3"));
    assert_true(str_is(p->next->next->child->text, "4"));
    assert_null(p->next->next->next);
    assert_null(parsed(" # nothing"));
}

static void faults_name_the_line_and_what_was_expected(void **state)
{
    assert_string_equal(fault_of("a: 1\nb 2"), "f:2: expected ':' behind a field's name, got '2'");
    assert_string_equal(fault_of("a {\n b: 1\n"),
                        "f:3: expected the end of a message, the file ends");
    assert_string_equal(fault_of("a: \"x\n"),
                        "f:1: expected the closing quote of a string, got '?'");
    assert_string_equal(fault_of("a: [1 2]"), "f:1: expected ',' or ']', got '2'");
    assert_string_equal(fault_of("a: }"), "f:1: expected a value, got '}'");
    assert_string_equal(fault_of("}"), "f:1: expected a field's name, got '}'");
}

static void depth_is_bounded(void **state)
{
    char text[3 * (LIMIT_JSON_DEPTH + 2) + 1] = "";
    for (int i = 0; i < LIMIT_JSON_DEPTH + 1; i++)
        memcpy(text + 2 * i, "a{", 3);
    assert_non_null(strstr(fault_of(text), "nested deeper"));
}

static void every_truncation_is_read_or_refused_with_words(void **state)
{
    static const char whole[] = "a { b: \"x\\101\" 'y' c: [1, -2.5] d <e: true>; } # end\nf: 'z'";
    for (size_t n = 0; n < sizeof(whole); n++) {
        struct prototxt *p;
        struct err e = { "" };
        status s = prototxt_parse((struct str){ whole, n }, "f", &arena, &p, &e);
        assert_int_equal(s == OK, e.text[0] == '\0');
    }
}

static void a_value_of_another_kind_is_refused(void **state)
{
    struct err e;
    int64_t i;
    bool b;
    assert_int_equal(prototxt_i64(parsed("n: 'x'"), "f", &i, &e), INVALID);
    assert_string_equal(e.text, "f:1: n: expected an integer, got 'x'");
    assert_int_equal(prototxt_i64(parsed("n: '1'"), "f", &i, &e), INVALID);
    assert_int_equal(prototxt_i64(parsed("n: 99999999999999999999"), "f", &i, &e), INVALID);
    assert_int_equal(prototxt_bool(parsed("n: 2"), "f", &b, &e), INVALID);
    assert_string_equal(e.text, "f:1: n: expected true or false, got '2'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_serving_configuration_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_are_unescaped_and_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(both_brackets_and_separators_are_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(faults_name_the_line_and_what_was_expected, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(depth_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation_is_read_or_refused_with_words, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_value_of_another_kind_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests_name("codec/prototxt", tests, NULL, NULL);
}
