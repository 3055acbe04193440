/* Plans of one model for many shapes: found again, bounded, and right whatever was planned before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "exec/exec.h"
#include "zoo.h"

#define LOOP OAR_SOURCE_DIR "/tests/data/zoo/ops_array_loop/pdmodel26"

static struct model *open_loop(const struct model_options *opt)
{
    struct err e = { "" };
    struct model *m = NULL;
    if (model_open(LOOP, opt, &m, &e) != OK)
        fail_msg("%s", e.text);
    return m;
}

static status run_rows(struct exec *x, struct model *m, int64_t rows, int64_t steps,
                       struct tensor out[4], struct err *e)
{
    static float ones[64 * 3];
    for (size_t i = 0; i < ARRAY_LEN(ones); i++)
        ones[i] = 1;
    struct tensor in[] = { { .dtype = DTYPE_F32, .shape = SHAPE(rows, 3), .data = ones },
                           { .dtype = DTYPE_I64, .shape = SHAPE(1), .data = &steps } };
    return exec_run(x, m, in, out, e);
}

/* steps + 1 powers of x are joined: more plans than an executor remembers, some of them again and again. */
static void many_shapes_in_any_order(void **state)
{
    struct model *m = open_loop(NULL);
    struct exec *x = exec_new();
    for (int round = 0; round < 200; round++) {
        int64_t rows = 1 + round * 7 % 23, steps = round % 5;
        struct tensor out[4];
        struct err e = { "" };
        if (run_rows(x, m, rows, steps, out, &e) != OK)
            fail_msg("%s", e.text);
        assert_true(shape_eq(&out[0].shape, &SHAPE((steps + 1) * rows, 3)));
        assert_true(shape_eq(&out[1].shape, &SHAPE(rows, steps + 1, 3)));
        assert_float_equal(*(const float *)out[2].data, (float)(steps + 1), 0);
    }
    exec_free(x);
    model_unref(m);
}

static void memory_is_given_back_and_taken_again(void **state)
{
    struct model *m = open_loop(NULL);
    struct exec *x = exec_new();
    struct tensor out[4];
    for (int round = 0; round < 3; round++) {
        assert_int_equal(run_rows(x, m, 5, 3, out, NULL), OK);
        assert_true(exec_bytes(x) > 0);
        exec_trim(x, 0);
        assert_true(exec_bytes(x) == 0);
    }
    exec_free(x);
    model_unref(m);
}

static void a_fault_in_a_loop_leaves_the_executor_usable(void **state)
{
    struct model *m = open_loop(NULL);
    struct exec *x = exec_new();
    struct tensor out[4];
    struct err e = { "" };
    assert_int_equal(run_rows(x, m, 2, -1, out, &e), INVALID); /* reads tensor -1 */
    assert_non_null(strstr(e.text, "tensor -1 of an array of 1"));
    assert_int_equal(run_rows(x, m, 2, 2, out, &e), OK);
    assert_true(shape_eq(&out[0].shape, &SHAPE(6, 3)));
    exec_free(x);
    model_unref(m);
}

static void memory_that_runs_out_is_no_crash(void **state)
{
    struct model *m = open_loop(NULL);
    for (long n = 1; n < 60; n++) {
        struct exec *x = exec_new();
        struct tensor out[4];
        struct err e = { "" };
        mem_fail_nth(n);
        status s = run_rows(x, m, 3, 3, out, &e);
        mem_fail_nth(0);
        assert_true(s == OK || s == NO_MEMORY);
        assert_int_equal(run_rows(x, m, 3, 3, out, &e), OK);
        exec_free(x);
    }
    model_unref(m);
}

static void a_small_arena_refuses_the_run(void **state)
{
    struct model *m = open_loop(&(struct model_options){ .max_arena_bytes = 4096 });
    struct exec *x = exec_new();
    struct tensor out[4];
    struct err e = { "" };
    assert_int_equal(run_rows(x, m, 60, 400, out, &e), TOO_LARGE);
    assert_non_null(strstr(e.text, "--max-arena"));
    assert_int_equal(run_rows(x, m, 1, 1, out, &e), OK);
    exec_free(x);
    model_unref(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_shapes_in_any_order),
        cmocka_unit_test(memory_is_given_back_and_taken_again),
        cmocka_unit_test(a_fault_in_a_loop_leaves_the_executor_usable),
        cmocka_unit_test(memory_that_runs_out_is_no_crash),
        cmocka_unit_test(a_small_arena_refuses_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
