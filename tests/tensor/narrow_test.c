/* Known numbers of the formats, and every code there and back. That the formats are those of others: ONNX's own tests
 * (tools/onnx_check) compare with ml_dtypes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "tensor/narrow.h"

#define FORMATS 6

static const struct narrow_rule keep = { .saturate = false, .round = NARROW_DOWN };
static const struct narrow_rule saturate = { .saturate = true, .round = NARROW_UP };

static void every_code_comes_back(void **state)
{
    for (int f = 0; f < FORMATS; f++) {
        for (int code = 0; code < (f == NARROW_E2M1 ? 16 : 256); code++) {
            float x = narrow_to_f32((enum narrow)f, (uint8_t)code);
            uint8_t back = narrow_from_f32((enum narrow)f, x, keep);
            if (isnan(x))
                assert_true(isnan(narrow_to_f32((enum narrow)f, back)));
            else
                assert_int_equal(back, code);
        }
    }
}

static void known_numbers(void **state)
{
    static const struct {
        enum narrow format;
        uint8_t code;
        float x;
    } rows[] = {
        { NARROW_E4M3, 0x38, 1 },         { NARROW_E4M3, 0x7e, 448 },
        { NARROW_E4M3, 0x01, 0x1p-9f },   { NARROW_E4M3, 0xb8, -1 },
        { NARROW_E4M3FNUZ, 0x40, 1 },     { NARROW_E4M3FNUZ, 0x7f, 240 },
        { NARROW_E5M2, 0x3c, 1 },         { NARROW_E5M2, 0x7b, 57344 },
        { NARROW_E5M2, 0x7c, INFINITY },  { NARROW_E5M2FNUZ, 0x40, 1 },
        { NARROW_E5M2FNUZ, 0x7f, 57344 }, { NARROW_E2M1, 0x1, 0.5f },
        { NARROW_E2M1, 0x7, 6 },          { NARROW_E2M1, 0xf, -6 },
        { NARROW_E8M0, 127, 1 },          { NARROW_E8M0, 0, 0x1p-127f },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_true(narrow_to_f32(rows[i].format, rows[i].code) == rows[i].x);
    assert_true(isnan(narrow_to_f32(NARROW_E4M3, 0x7f)));
    assert_true(isnan(narrow_to_f32(NARROW_E4M3FNUZ, 0x80)));
    assert_true(isnan(narrow_to_f32(NARROW_E8M0, 0xff)));
}

static void halves_go_to_the_even_code(void **state)
{
    assert_int_equal(narrow_from_f32(NARROW_E2M1, 2.5f, saturate), 4);     /* 2, not 3 */
    assert_int_equal(narrow_from_f32(NARROW_E2M1, 3.5f, saturate), 6);     /* 4, not 3 */
    assert_int_equal(narrow_from_f32(NARROW_E4M3, 1.0625f, saturate), 56); /* 1 */
    assert_int_equal(narrow_from_f32(NARROW_E4M3, 0x1p-10f, saturate), 0);
    assert_int_equal(narrow_from_f32(NARROW_E4M3, 0x1.8p-10f, saturate), 1);
}

static void what_is_too_large(void **state)
{
    assert_int_equal(narrow_from_f32(NARROW_E4M3, 1e6f, saturate), 0x7e);
    assert_int_equal(narrow_from_f32(NARROW_E4M3, -INFINITY, saturate), 0xfe);
    assert_int_equal(narrow_from_f32(NARROW_E4M3, 464, keep), 0x7e); /* half way: the even one */
    assert_int_equal(narrow_from_f32(NARROW_E4M3, 465, keep), 0x7f); /* NaN */
    assert_int_equal(narrow_from_f32(NARROW_E5M2, 1e6f, keep), 0x7c);
    assert_int_equal(narrow_from_f32(NARROW_E5M2, 61440, keep), 0x7c);
    assert_int_equal(narrow_from_f32(NARROW_E5M2FNUZ, 1e6f, keep), 0x80);
    assert_int_equal(narrow_from_f32(NARROW_E2M1, -9, keep), 0xf);
    assert_int_equal(narrow_from_f32(NARROW_E4M3FNUZ, -0.0f, keep), 0); /* it has no -0 */
}

static void powers_of_two_round_as_told(void **state)
{
    struct narrow_rule up = { true, NARROW_UP }, down = { true, NARROW_DOWN },
                       near = { true, NARROW_NEAREST };
    assert_int_equal(narrow_from_f32(NARROW_E8M0, 1.25f, up), 128);
    assert_int_equal(narrow_from_f32(NARROW_E8M0, 1.25f, down), 127);
    assert_int_equal(narrow_from_f32(NARROW_E8M0, 1.25f, near), 127);
    assert_int_equal(narrow_from_f32(NARROW_E8M0, 1.75f, near), 128);
    assert_int_equal(narrow_from_f32(NARROW_E8M0, 0x1.8p127f, up), 254);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_comes_back),       cmocka_unit_test(known_numbers),
        cmocka_unit_test(halves_go_to_the_even_code),  cmocka_unit_test(what_is_too_large),
        cmocka_unit_test(powers_of_two_round_as_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
