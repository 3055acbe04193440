/* Operators that answer by chance: what holds of every answer, and what holds of many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "run_node.h"

/* Runs the only kernel of the node. */
static status run_once(struct run_node *r, const char *op, const char *attrs, const char *in,
                       struct err *e)
{
    TRY(run_node_init(r, op, attrs, in, 0, e));
    run_place(r);
    return run_kernel(r, kernel_at(op, 0), e);
}

static double mean_of(const struct tensor *t)
{
    double sum = 0;
    for (int64_t i = 0; i < shape_numel(&t->shape); i++)
        sum += (double)spec_get(t, i);
    return sum / (double)shape_numel(&t->shape);
}

static double deviation_of(const struct tensor *t)
{
    double sum = 0, mean = mean_of(t);
    for (int64_t i = 0; i < shape_numel(&t->shape); i++)
        sum += pow((double)spec_get(t, i) - mean, 2);
    return sqrt(sum / (double)shape_numel(&t->shape));
}

static void expect(const char *attrs, double mean, double deviation, double low, double high)
{
    struct run_node r;
    struct err e = { "" };
    if (run_once(&r, "random", attrs, "", &e) != OK)
        fail_msg("%s: %s", attrs, e.text);
    assert_true(fabs(mean_of(&r.out[0]) - mean) < 0.05 * deviation);
    assert_true(fabs(deviation_of(&r.out[0]) - deviation) < 0.05 * deviation);
    for (int64_t i = 0; i < shape_numel(&r.out[0].shape); i++)
        assert_true(spec_get(&r.out[0], i) >= low && spec_get(&r.out[0], i) <= high);
    run_node_deinit(&r);
}

static void numbers_are_spread_as_asked(void **state)
{
    expect("shape=[100,100] dtype=1 a=-1 b=3 seed=7", 1, 4 / sqrt(12), -1, 3);
    expect("shape=[10000] dtype=3 kind=normal a=2 b=3 seed=7", 2, 3, -100, 100);
    expect("shape=[10000] dtype=1 kind=truncated a=0 b=1 seed=7", 0, 0.8796, -2, 2);
    expect("shape=[10000] dtype=0 a=-2 b=3 seed=7", 0, sqrt(2), -2, 2);
}

static void a_seed_gives_the_same_again_and_none_gives_others(void **state)
{
    struct run_node a, b;
    struct err e = { "" };
    for (int seed = 0; seed < 2; seed++) {
        char attrs[64];
        snprintf(attrs, sizeof(attrs), "shape=[16] dtype=1 b=1 seed=%d", seed);
        assert_int_equal(run_once(&a, "random", attrs, "", &e), OK);
        assert_int_equal(run_once(&b, "random", attrs, "", &e), OK);
        assert_true((spec_error(&a.out[0], &b.out[0]) == 0) == (seed != 0));
        run_node_deinit(&a);
        run_node_deinit(&b);
    }
}

static void samples_follow_their_weights(void **state)
{
    struct run_node r;
    struct err e = { "" };
    assert_int_equal(run_once(&r, "sample", "count=10000 replace=true seed=3", "f{0,1,3}", &e), OK);
    assert_true(fabs(mean_of(&r.out[0]) - 1.75) < 0.03);
    run_node_deinit(&r);
    assert_int_equal(run_once(&r, "sample", "count=3", "f[1,4]{0,1,2,3}", &e), OK);
    bool seen[4] = { false };
    for (int i = 0; i < 3; i++)
        seen[((const int64_t *)r.out[0].data)[i]] = true;
    assert_true(!seen[0] && seen[1] && seen[2] && seen[3]);
    run_node_deinit(&r);
}

static void what_is_no_weight_is_refused(void **state)
{
    static const struct {
        const char *attrs, *in, *words;
    } rows[] = {
        { "count=1", "f{0,0}", "row 0 has fewer than 1 weights above 0" },
        { "count=2", "f{1,0}", "row 0 has fewer than 2 weights above 0" },
        { "count=1", "f{1,-1}", "weight 1 of row 0 is -1" },
        { "count=1", "f[2,1]{1,nan}", "weight 0 of row 1 is" },
        { "count=1", "f{inf}", "weight 0 of row 0 is inf" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct run_node r;
        struct err e = { "" };
        if (run_once(&r, "sample", rows[i].attrs, rows[i].in, &e) != INVALID ||
            strstr(e.text, rows[i].words) == NULL)
            fail_msg("%s: '%s'", rows[i].in, e.text);
        run_node_deinit(&r);
    }
}

static void beams_are_followed_back(void **state)
{
    struct run_node r;
    struct err e = { "" };
    struct tensor want[SPEC_MAX];
    assert_int_equal(run_once(&r, "gather_tree", "", "i[2,1,2]{1,2,3,4} i[2,1,2]{0,0,1,0}", &e),
                     OK);
    spec_read("i[2,1,2]{2,1,3,4}", 1, &r.spec.arena, want);
    assert_true(spec_error(&r.out[0], &want[0]) == 0);
    run_node_deinit(&r);
    assert_int_equal(run_once(&r, "gather_tree", "", "i[2,1,2]{1,2,3,4} i[2,1,2]{0,0,2,0}", &e),
                     INVALID);
    assert_non_null(strstr(e.text, "parent 2 (step 1) is not in 0 .. 1"));
    run_node_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_spread_as_asked),
        cmocka_unit_test(a_seed_gives_the_same_again_and_none_gives_others),
        cmocka_unit_test(samples_follow_their_weights),
        cmocka_unit_test(what_is_no_weight_is_refused),
        cmocka_unit_test(beams_are_followed_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
