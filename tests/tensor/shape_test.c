#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "tensor/shape.h"

#include <string.h>

#define SCALAR ((struct shape){ 0 })
#define BIG    ((int64_t)1 << 40)

static void the_number_of_elements(void **state)
{
    const struct {
        struct shape shape;
        int64_t numel;
    } rows[] = {
        { SCALAR, 1 },
        { SHAPE(2, 3, 4), 24 },
        { SHAPE(1, 1, 1, 1, 1, 1, 1, 7), 7 },
        { SHAPE(3, 0, 5), 0 },
        { SHAPE(-1, 13), -1 },
        { SHAPE(0, -1), -1 },
        { SHAPE(-2, -3), -1 },
        { SHAPE(INT64_MAX), INT64_MAX },
        { SHAPE(INT64_MAX / 2 + 1, 2), -1 },
        { SHAPE(BIG, BIG), -1 },
        { SHAPE(BIG, BIG, 0), -1 }, /* as below, in whatever order */
        { SHAPE(0, BIG, BIG), -1 }, /* parts of it are multiplied: shape_span */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (shape_numel(&rows[i].shape) != rows[i].numel)
            fail_msg("row %zu: %lld", i, (long long)shape_numel(&rows[i].shape));
}

static void a_span_is_a_part_of_the_product(void **state)
{
    struct shape s = SHAPE(2, 3, 4, 5);
    assert_int_equal(shape_span(&s, 0, 4), 120);
    assert_int_equal(shape_span(&s, 1, 3), 12);
    assert_int_equal(shape_span(&s, 4, 4), 1);
}

static void equality_asks_for_all_and_patterns_for_what_is_known(void **state)
{
    struct shape s = SHAPE(2, 13), other = SHAPE(2, 14), flat = SHAPE(26), longer = SHAPE(2, 13, 1);
    struct shape any = SHAPE(-1, 13), rank2 = SHAPE(-1, -1);
    assert_true(shape_eq(&s, &SHAPE(2, 13)));
    assert_true(shape_eq(&SCALAR, &SCALAR));
    assert_false(shape_eq(&s, &other) || shape_eq(&s, &flat) || shape_eq(&s, &longer));
    assert_false(shape_eq(&s, &any));
    assert_true(shape_matches(&s, &any) && shape_matches(&s, &rank2) && shape_matches(&s, &s));
    assert_true(shape_matches(&any, &any));
    assert_false(shape_matches(&other, &any) || shape_matches(&any, &s));
    assert_false(shape_matches(&flat, &rank2) || shape_matches(&longer, &rank2));
}

static void axes_count_from_either_end(void **state)
{
    struct shape s = SHAPE(2, 3, 4);
    static const struct {
        int64_t axis;
        int at;
    } rows[] = { { 0, 0 },  { 2, 2 },   { 3, -1 },         { -1, 2 },
                 { -3, 0 }, { -4, -1 }, { INT64_MAX, -1 }, { INT64_MIN, -1 } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(shape_axis(&s, rows[i].axis), rows[i].at);
    assert_int_equal(shape_axis(&SCALAR, 0), -1);
}

static void broadcasting_is_numpys(void **state)
{
    const struct {
        struct shape a, b, out;
        bool agree;
    } rows[] = {
        { SHAPE(2, 3), SHAPE(2, 3), SHAPE(2, 3), true },
        { SHAPE(2, 3), SHAPE(3), SHAPE(2, 3), true },
        { SHAPE(2, 3), SCALAR, SHAPE(2, 3), true },
        { SCALAR, SCALAR, SCALAR, true },
        { SHAPE(8, 1, 6, 1), SHAPE(7, 1, 5), SHAPE(8, 7, 6, 5), true },
        { SHAPE(1, 1), SHAPE(4), SHAPE(1, 4), true },
        { SHAPE(0), SHAPE(1), SHAPE(0), true },
        { SHAPE(5, 0), SHAPE(1, 1), SHAPE(5, 0), true },
        { SHAPE(-1, 3), SHAPE(1, 3), SHAPE(-1, 3), true },
        { SHAPE(2), SHAPE(3), SCALAR, false },
        { SHAPE(2, 3), SHAPE(2), SCALAR, false },
        { SHAPE(0), SHAPE(2), SCALAR, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct shape ab = SHAPE(77), ba = rows[i].a, untouched = SHAPE(77);
        bool agree = shape_broadcast(&rows[i].a, &rows[i].b, &ab);
        assert_int_equal(agree, shape_broadcast(&rows[i].b, &ba, &ba)); /* in place, and turned */
        assert_int_equal(agree, rows[i].agree);
        assert_true(shape_eq(&ab, agree ? &rows[i].out : &untouched));
        assert_true(!agree || shape_eq(&ab, &ba));
    }
}

static void text_is_cut_to_its_room_and_terminated(void **state)
{
    char text[SHAPE_TEXT_MAX];
    assert_string_equal(shape_text(&SHAPE(2, 13), text, sizeof(text)), "[2, 13]");
    assert_string_equal(shape_text(&SHAPE(-1), text, sizeof(text)), "[-1]");
    assert_string_equal(shape_text(&SCALAR, text, sizeof(text)), "[]");
    struct shape longest = { .rank = SHAPE_MAX };
    for (int i = 0; i < SHAPE_MAX; i++)
        longest.dim[i] = INT64_MIN;
    shape_text(&longest, text, sizeof(text));
    assert_int_equal(text[strlen(text) - 1], ']');
    for (size_t size = 0; size <= strlen("[2, 13]"); size++) {
        memset(text, 'x', sizeof(text));
        shape_text(&SHAPE(2, 13), text, size);
        if (size > 0) {
            assert_int_equal(strlen(text), size - 1);
            assert_memory_equal(text, "[2, 13]", size - 1);
        }
        assert_int_equal(text[size], 'x');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_number_of_elements),
        cmocka_unit_test(a_span_is_a_part_of_the_product),
        cmocka_unit_test(equality_asks_for_all_and_patterns_for_what_is_known),
        cmocka_unit_test(axes_count_from_either_end),
        cmocka_unit_test(broadcasting_is_numpys),
        cmocka_unit_test(text_is_cut_to_its_room_and_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
