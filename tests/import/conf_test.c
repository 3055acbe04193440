#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "import/conf.h"
#include "tensor/dtype.h"

#include <string.h>

/* The configuration of fit_a_line in both forms; the bytes are those that Paddle Serving wrote. */
static const char text[] = "feed_var { name: \"x\" alias_name: \"x\" is_lod_tensor: false "
                           "feed_type: 1 shape: 13 }\n"
                           "fetch_var { name: \"fc_0.tmp_1\" alias_name: \"price\" "
                           "is_lod_tensor: false fetch_type: 1 shape: 1 }\n";
static const char binary[] = "\x0a\x0c\x0a\x01\x78\x12\x01\x78\x18\x00\x20\x01\x28\x0d\x12\x19"
                             "\x0a\x0a\x66\x63\x5f\x30\x2e\x74\x6d\x70\x5f\x31\x12\x05\x70\x72"
                             "\x69\x63\x65\x18\x00\x20\x01\x28\x01";

static void check_fit_a_line(const struct conf *c)
{
    assert_int_equal(c->feed_count, 1);
    assert_int_equal(c->fetch_count, 1);
    assert_true(str_is(c->feed[0].name, "x"));
    assert_int_equal(c->feed[0].type, DTYPE_F32);
    assert_int_equal(c->feed[0].rank, 1);
    assert_int_equal(c->feed[0].numel, 13);
    assert_true(c->feed[0].has_lod && !c->feed[0].lod);
    assert_true(str_is(c->fetch[0].name, "fc_0.tmp_1"));
    assert_true(str_is(c->fetch[0].alias, "price"));
    assert_ptr_equal(conf_find_feed(c, STR("x")), &c->feed[0]);
    assert_null(conf_find_feed(c, STR("y")));
}

static void both_forms_say_the_same(void **state)
{
    struct arena a;
    struct conf c;
    arena_init(&a, 0);
    assert_int_equal(conf_parse_text(str_of(text), "f", &a, &c, NULL), OK);
    check_fit_a_line(&c);
    assert_int_equal(
        conf_parse_binary((struct str){ binary, sizeof(binary) - 1 }, "f", &a, &c, NULL), OK);
    check_fit_a_line(&c);
    arena_deinit(&a);
}

static void refuse_text(const char *what, status want, const char *words)
{
    struct arena a;
    struct conf c;
    struct err e = { "" };
    arena_init(&a, 0);
    status s = conf_parse_text(str_of(what), "dir/f", &a, &c, &e);
    if (s != want || strstr(e.text, words) == NULL || strncmp(e.text, "dir/f:", 6) != 0)
        fail_msg("wanted %s with '%s', got %s: %s", status_text(want), words, status_text(s),
                 e.text);
    arena_deinit(&a);
}

static void faults_name_the_place(void **state)
{
    refuse_text("feed_var { name: \"x\"\n colour: 1 }\n", INVALID, "f:2: unknown field 'colour'");
    refuse_text("feeds { }", INVALID, "unknown field 'feeds'");
    refuse_text("feed_var { alias_name: \"x\" }", INVALID, "has no name");
    refuse_text("feed_var: 3", INVALID, "expected a message");
    refuse_text("feed_var { name: \"\" }", INVALID, "expected a name");
    refuse_text("feed_var { name: \"x\" }", INVALID, "no fetch_var");
    refuse_text("feed_var { name: \"x\" } feed_var { name: \"x\" alias_name: \"y\" } "
                "fetch_var { name: \"z\" }",
                CONFLICT, "'x' is listed twice");
    refuse_text("feed_var { name: \"x\" } feed_var { name: \"y\" alias_name: \"x\" } "
                "fetch_var { name: \"z\" }",
                CONFLICT, "alias 'x' stands for two");
}

static void every_truncation_of_the_binary_form_is_refused(void **state)
{
    struct arena a;
    struct conf c;
    arena_init(&a, 0);
    for (size_t n = 0; n < sizeof(binary) - 1; n++) {
        struct err e = { "" };
        assert_int_not_equal(conf_parse_binary((struct str){ binary, n }, "f", &a, &c, &e), OK);
        assert_string_not_equal(e.text, "");
    }
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_say_the_same),
        cmocka_unit_test(faults_name_the_place),
        cmocka_unit_test(every_truncation_of_the_binary_form_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
