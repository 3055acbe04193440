/* What a zygote says there is to run. */
#include "crew/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static status read(const char *text, struct crew_conf *out, struct err *e)
{
    static struct arena arena;
    static int begun;
    if (begun++ == 0)
        arena_init(&arena, 0);
    arena_reset(&arena);
    return crew_conf_read(str_of(text), &arena, out, e);
}

static void a_graph_is_read(void **unused)
{
    struct crew_conf c;
    struct err e = { "" };
    assert_int_equal(
        read("{\"name\":\"ocr\",\"pipeline\":true,\"retry\":2,\"unknown\":[1,{}],\"operators\":["
             "{\"name\":\"det\",\"inputs\":[-1],\"batch_size\":8,\"batch_wait_ms\":5},"
             "{\"name\":\"rec\",\"inputs\":[0,-1],\"jump\":[1]}],\"processes\":[[0,0,1],[1]]}",
             &c, &e),
        OK);
    assert_string_equal(c.name, "ocr");
    assert_true(c.pipeline && c.retry == 2 && c.op_count == 2 && c.process_count == 2);
    assert_string_equal(c.op[1].name, "rec");
    assert_int_equal(c.op[0].batch_size, 8);
    assert_int_equal(c.op[1].input[1], -1);
    assert_int_equal(c.process[0].count, 3);
    assert_int_equal(c.timeout_ms, 120000);
}

static void what_is_wrong_is_said(void **unused)
{
    static const struct {
        const char *text, *words;
    } row[] = {
        { "", "byte" },
        { "{}", "has operators and processes" },
        { "{\"operators\":[{\"name\":\"a\",\"inputs\":[0]}],\"processes\":[[0]]}",
          "its inputs come before it" },
        { "{\"operators\":[{\"name\":\"a\",\"inputs\":[-2]}],\"processes\":[[0]]}",
          "out of its range" },
        { "{\"operators\":[{\"name\":\"a\",\"inputs\":[-1]}],\"processes\":[[]]}", "no slot" },
        { "{\"operators\":[{\"name\":\"a\",\"inputs\":[-1]}],\"processes\":[[0],[1]]}",
          "operators that there are" },
        { "{\"operators\":[{\"name\":\"a\",\"inputs\":[-1],\"jump\":[1]}],\"processes\":[[0]]}",
          "operator 0 ('a')" },
        { "{\"retry\":0}", "out of its range" },
        { "{\"operators\":[{\"batch_size\":257}]}", "out of its range" },
    };
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct crew_conf c;
        struct err e = { "" };
        assert_int_not_equal(read(row[i].text, &c, &e), OK);
        assert_non_null(strstr(e.text, row[i].words));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_graph_is_read),
        cmocka_unit_test(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
