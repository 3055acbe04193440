#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/tensor.h"

static void bytes_are_elements_times_size(void **state)
{
    const struct {
        struct tensor t;
        int64_t bytes;
    } rows[] = {
        { { .dtype = DTYPE_F32, .shape = SHAPE(2, 13) }, 104 },
        { { .dtype = DTYPE_C128, .shape = SHAPE(3) }, 48 },
        { { .dtype = DTYPE_BOOL }, 1 }, /* a scalar */
        { { .dtype = DTYPE_I64, .shape = SHAPE(5, 0) }, 0 },
        { { .dtype = DTYPE_F32, .shape = SHAPE(-1, 13) }, -1 },
        { { .dtype = DTYPE_U8, .shape = SHAPE(INT64_MAX) }, INT64_MAX },
        { { .dtype = DTYPE_F16, .shape = SHAPE(INT64_MAX / 2 + 1) }, -1 },
        { { .dtype = DTYPE_U8, .shape = SHAPE(INT64_MAX, 2) }, -1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_true(tensor_bytes(&rows[i].t) == rows[i].bytes);
}

#define LEVEL(...)                                                                             \
    {                                                                                          \
        (const int64_t[]){ __VA_ARGS__ }, sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t) \
    }

struct row {
    struct lod lod;
    int64_t rows;
    const char *fault; /* NULL: none */
};

static void check_rows(const struct row *row, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct err e = { "" };
        status s = lod_check(&row[i].lod, row[i].rows, "feed 'words'", &e);
        assert_string_equal(e.text, row[i].fault != NULL ? row[i].fault : "");
        assert_int_equal(s, row[i].fault != NULL ? INVALID : OK);
        assert_int_equal(lod_check(&row[i].lod, row[i].rows, "feed 'words'", NULL), s);
    }
}

static void levels_that_fit_together_are_taken(void **state)
{
    const struct row rows[] = {
        { .lod = { 0 }, .rows = 5 }, /* not ragged */
        { .lod = { 1, { LEVEL(0, 3, 8) } }, .rows = 8 },
        { .lod = { 1, { LEVEL(0, 0, 8, 8) } }, .rows = 8 }, /* empty sequences */
        { .lod = { 1, { LEVEL(0) } }, .rows = 0 },          /* no sequence */
        { .lod = { 2, { LEVEL(0, 2, 3), LEVEL(0, 1, 4, 9) } }, .rows = 9 },
        { .lod = { 4, { LEVEL(0, 1), LEVEL(0, 1), LEVEL(0, 2), LEVEL(0, 1, 7) } }, .rows = 7 },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void what_does_not_fit_is_told_with_both_numbers(void **state)
{
    const struct row rows[] = {
        { { 1, { { NULL, 0 } } }, 8, "feed 'words': LoD level 0 must begin with 0, it is empty" },
        { { 1, { { NULL, -1 } } }, 8, "feed 'words': LoD level 0 must begin with 0, it is empty" },
        { { 1, { LEVEL(1, 8) } }, 8, "feed 'words': LoD level 0 must begin with 0, it does not" },
        { { 1, { LEVEL(-1, 8) } }, 8, "feed 'words': LoD level 0 must begin with 0, it does not" },
        { { 1, { LEVEL(0, 5, 3, 8) } },
          8,
          "feed 'words': LoD level 0 must rise, but offset 2 is 3 after 5" },
        { { 1, { LEVEL(0, INT64_MIN) } },
          INT64_MIN,
          "feed 'words': LoD level 0 must rise, but offset 1 is -9223372036854775808 after 0" },
        { { 1, { LEVEL(0, 3, 8) } }, 9, "feed 'words': LoD level 0 must end at 9, it ends at 8" },
        { { 1, { LEVEL(0, 3, 8) } }, 7, "feed 'words': LoD level 0 must end at 7, it ends at 8" },
        { { 1, { LEVEL(0) } }, 1, "feed 'words': LoD level 0 must end at 1, it ends at 0" },
        { { 2, { LEVEL(0, 2, 4), LEVEL(0, 1, 4, 9) } },
          9,
          "feed 'words': LoD level 0 must end at 3, it ends at 4" },
        { { 2, { LEVEL(0, 2, 3), LEVEL(0, 4, 1, 9) } },
          9,
          "feed 'words': LoD level 1 must rise, but offset 2 is 1 after 4" },
        { { 2, { LEVEL(0, 0), { NULL, INT64_MIN } } },
          9,
          "feed 'words': LoD level 1 must begin with 0, it is empty" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_elements_times_size),
        cmocka_unit_test(levels_that_fit_together_are_taken),
        cmocka_unit_test(what_does_not_fit_is_told_with_both_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
