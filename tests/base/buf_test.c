#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static struct buf b;

static int setup(void **state)
{
    buf_init(&b, 1000);
    return 0;
}

static int teardown(void **state)
{
    mem_fail_nth(0);
    buf_deinit(&b);
    return 0;
}

static void pieces_become_one(void **state)
{
    buf_append(&b, "\0a", 2);
    buf_str(&b, "bc");
    buf_byte(&b, 0xff);
    buf_printf(&b, "%d %s", 12, "x");
    buf_append(&b, NULL, 0);
    assert_true(str_eq(buf_view(&b), STR("\0abc\xff"
                                         "12 x")));
    assert_int_equal(buf_check(&b), OK);
}

static void growing_keeps_what_is_there(void **state)
{
    buf_init(&b, SIZE_MAX); /* no maximum to speak of: sizes must not wrap */
    for (int i = 0; i < 30000; i++)
        buf_append(&b, &(uint8_t){ (uint8_t)(i % 251) }, 1);
    assert_int_equal(b.len, 30000);
    for (int i = 0; i < 30000; i++)
        assert_int_equal(b.data[i], i % 251);
    assert_null(buf_reserve(&b, SIZE_MAX - 30000)); /* within the maximum; no machine has it */
    assert_int_equal(buf_check(&b), NO_MEMORY);
    buf_clear(&b);
    buf_byte(&b, 1);
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_int_equal(buf_check(&b), TOO_LARGE);
}

static void it_fills_to_its_maximum_and_no_further(void **state)
{
    for (int i = 0; i < 1000; i++)
        buf_byte(&b, 'x');
    assert_int_equal(buf_check(&b), OK);
    assert_true(b.cap <= 1000);
    buf_byte(&b, 'y');
    assert_int_equal(buf_check(&b), TOO_LARGE);
    assert_int_equal(b.len, 1000);
}

static void a_failure_sticks_until_cleared(void **state)
{
    buf_str(&b, "before");
    assert_null(buf_reserve(&b, 995));
    buf_str(&b, "x"); /* would fit, but what came before it is missing */
    buf_printf(&b, "%d", 1);
    assert_null(buf_reserve(&b, 1));
    assert_int_equal(buf_check(&b), TOO_LARGE);
    assert_true(str_is(buf_view(&b), "before"));
    buf_clear(&b);
    buf_str(&b, "x");
    assert_int_equal(buf_check(&b), OK);
    assert_true(str_is(buf_view(&b), "x"));
}

static void out_of_memory_is_a_failure_of_its_own(void **state)
{
    mem_fail_nth(1);
    buf_str(&b, "x");
    assert_int_equal(buf_check(&b), NO_MEMORY);
    buf_clear(&b);
    buf_str(&b, "kept");
    mem_fail_nth(1);
    assert_null(buf_reserve(&b, 900));
    assert_int_equal(buf_check(&b), NO_MEMORY);
    assert_true(str_is(buf_view(&b), "kept"));
}

static void reserved_room_is_the_callers(void **state)
{
    uint8_t *to = buf_reserve(&b, 600);
    for (int i = 0; i < 600; i++)
        to[i] = (uint8_t)i;
    assert_int_equal(b.len, 0);
    b.len += 600;
    assert_ptr_equal(buf_reserve(&b, b.cap - b.len), b.data + 600); /* no move while it fits */
    assert_int_equal(b.data[599], 599 & 0xff);
}

static void nothing_fits_a_maximum_of_nothing(void **state)
{
    buf_init(&b, 0);
    buf_append(&b, "", 0);
    buf_str(&b, "");
    assert_int_equal(buf_check(&b), OK);
    buf_byte(&b, 1);
    assert_int_equal(buf_check(&b), TOO_LARGE);
}

static void printing_wants_room_for_the_terminator(void **state)
{
    buf_printf(&b, "%0*d", 990, 7);
    buf_printf(&b, "%s", "012345678");
    assert_int_equal(buf_check(&b), OK);
    assert_int_equal(b.len, 999);
    assert_memory_equal(b.data + 988, "07012345678", 11);
    buf_printf(&b, "%s", "x");
    assert_int_equal(buf_check(&b), TOO_LARGE);
}

static void consumed_bytes_leave_the_rest(void **state)
{
    buf_str(&b, "request one, half of");
    buf_consume(&b, 13);
    assert_true(str_is(buf_view(&b), "half of"));
    buf_consume(&b, 0);
    assert_true(str_is(buf_view(&b), "half of"));
    buf_consume(&b, 100);
    assert_int_equal(b.len, 0);
    buf_consume(&b, 1);
    assert_int_equal(b.len, 0);
}

static void only_an_empty_buffer_shrinks(void **state)
{
    buf_str(&b, "x");
    buf_shrink(&b, 0);
    assert_true(str_is(buf_view(&b), "x"));
    buf_clear(&b);
    buf_shrink(&b, b.cap);
    assert_int_not_equal(b.cap, 0);
    buf_shrink(&b, b.cap - 1);
    assert_int_equal(b.cap, 0);
    buf_str(&b, "usable again");
    assert_true(str_is(buf_view(&b), "usable again"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pieces_become_one, setup, teardown),
        cmocka_unit_test_setup_teardown(growing_keeps_what_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(it_fills_to_its_maximum_and_no_further, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_sticks_until_cleared, setup, teardown),
        cmocka_unit_test_setup_teardown(out_of_memory_is_a_failure_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(reserved_room_is_the_callers, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_fits_a_maximum_of_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(printing_wants_room_for_the_terminator, setup, teardown),
        cmocka_unit_test_setup_teardown(consumed_bytes_leave_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(only_an_empty_buffer_shrinks, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
