#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "flow/rows.h"

#include <string.h>

static const float six[6] = { 1, 2, 3, 4, 5, 6 };

static void a_slice_is_a_view_of_its_rows(void **state)
{
    struct arena a;
    const struct tensor t = { DTYPE_F32, SHAPE(3, 2), six, { 0 } };
    arena_init(&a, 0);
    struct tensor s = rows_slice(&t, 1, 3, &a);
    assert_ptr_equal(s.data, six + 2);
    assert_int_equal(s.shape.dim[0], 2);
    assert_int_equal(rows_count(&t), 3);
    arena_deinit(&a);
}

/* Two levels: three documents of 2, 0 and 1 sentences, whose words are 1 + 2 and 3. */
static void a_ragged_slice_has_its_own_offsets(void **state)
{
    static const int64_t outer[] = { 0, 2, 2, 3 }, inner[] = { 0, 1, 3, 6 };
    struct arena a;
    const struct tensor t = { DTYPE_F32, SHAPE(6, 1), six, { 2, { { outer, 4 }, { inner, 4 } } } };
    arena_init(&a, 0);
    struct tensor s = rows_slice(&t, 1, 3, &a);
    assert_int_equal(rows_count(&s), 2);
    assert_int_equal(s.shape.dim[0], 3);
    assert_ptr_equal(s.data, six + 3);
    assert_memory_equal(s.lod.level[0].offset, ((int64_t[]){ 0, 0, 1 }), 3 * sizeof(int64_t));
    assert_memory_equal(s.lod.level[1].offset, ((int64_t[]){ 0, 3 }), 2 * sizeof(int64_t));
    arena_deinit(&a);
}

static void cutting_and_joining_gives_back_what_was(void **state)
{
    static const int64_t outer[] = { 0, 2, 2, 3 }, inner[] = { 0, 1, 3, 6 };
    struct arena a;
    const struct tensor t = { DTYPE_F32, SHAPE(6, 1), six, { 2, { { outer, 4 }, { inner, 4 } } } };
    arena_init(&a, 0);
    for (int64_t cut = 0; cut <= 3; cut++) {
        struct tensor x = rows_slice(&t, 0, cut, &a), y = rows_slice(&t, cut, 3, &a), out;
        assert_true(rows_joinable(&x, &y));
        assert_int_equal(rows_join((const struct tensor *[]){ &x, &y }, 2, &a, &out), OK);
        assert_memory_equal(out.data, six, sizeof(six));
        assert_memory_equal(out.lod.level[0].offset, outer, sizeof(outer));
        assert_memory_equal(out.lod.level[1].offset, inner, sizeof(inner));
    }
    arena_deinit(&a);
}

static void what_differs_in_more_than_rows_is_not_joinable(void **state)
{
    const struct tensor t = { DTYPE_F32, SHAPE(3, 2), six, { 0 } };
    const struct tensor wide = { DTYPE_F32, SHAPE(2, 3), six, { 0 } };
    const struct tensor ints = { DTYPE_I32, SHAPE(3, 2), six, { 0 } };
    const struct tensor flat = { DTYPE_F32, SHAPE(6), six, { 0 } };
    const struct tensor scalar = { DTYPE_F32, { 0 }, six, { 0 } };
    assert_false(rows_joinable(&t, &wide));
    assert_false(rows_joinable(&t, &ints));
    assert_false(rows_joinable(&t, &flat));
    assert_false(rows_joinable(&scalar, &scalar));
    assert_int_equal(rows_count(&scalar), -1);
}

static void padding_fills_one_axis_and_trimming_takes_it_away(void **state)
{
    struct arena a;
    struct tensor padded, back;
    const struct tensor t = { DTYPE_F32, SHAPE(2, 3), six, { 0 } };
    const float want[10] = { 1, 2, 3, -1, -1, 4, 5, 6, -1, -1 };
    arena_init(&a, 0);
    assert_int_equal(rows_pad(&t, &(struct rows_pad){ 1, 5, -1 }, &a, &padded), OK);
    assert_memory_equal(padded.data, want, sizeof(want));
    assert_int_equal(rows_trim(&padded, 1, 3, &a, &back), OK);
    assert_memory_equal(back.data, six, sizeof(six));
    arena_deinit(&a);
}

static void padding_takes_every_number_type(void **state)
{
    static const dtype types[] = { DTYPE_I64,  DTYPE_I32, DTYPE_I16, DTYPE_I8,   DTYPE_U8,
                                   DTYPE_BOOL, DTYPE_F64, DTYPE_F16, DTYPE_BF16, DTYPE_U64 };
    static const uint8_t zeros[64];
    struct arena a;
    struct tensor out;
    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        const struct tensor t = { types[i], SHAPE(1, 1), zeros, { 0 } };
        assert_int_equal(rows_pad(&t, &(struct rows_pad){ 1, 2, 1 }, &a, &out), OK);
        assert_int_not_equal(
            memcmp((const uint8_t *)out.data + dtype_size(types[i]), zeros, dtype_size(types[i])),
            0);
    }
    const struct tensor t = { DTYPE_C64, SHAPE(1, 1), zeros, { 0 } };
    assert_int_equal(rows_pad(&t, &(struct rows_pad){ 1, 2, 1 }, &a, &out), UNSUPPORTED);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slice_is_a_view_of_its_rows),
        cmocka_unit_test(a_ragged_slice_has_its_own_offsets),
        cmocka_unit_test(cutting_and_joining_gives_back_what_was),
        cmocka_unit_test(what_differs_in_more_than_rows_is_not_joinable),
        cmocka_unit_test(padding_fills_one_axis_and_trimming_takes_it_away),
        cmocka_unit_test(padding_takes_every_number_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
