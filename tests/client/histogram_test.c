#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/histogram.h"

#include <stdlib.h>

static void nothing_measured(void **state)
{
    struct histogram *h = histogram_new();
    assert_int_equal(histogram_quantile(h, 0.5), 0);
    assert_int_equal(h->count, 0);
    histogram_free(h);
}

static void small_values_are_exact(void **state)
{
    struct histogram *h = histogram_new();
    for (uint64_t v = 1; v <= 100; v++)
        histogram_add(h, v);
    assert_int_equal(histogram_quantile(h, 0), 1);
    assert_int_equal(histogram_quantile(h, 0.5), 50);
    assert_int_equal(histogram_quantile(h, 0.99), 99);
    assert_int_equal(histogram_quantile(h, 1), 100);
    histogram_free(h);
}

/* One value at a time, over all magnitudes: what comes back is within the promised 0.4 %. */
static void every_magnitude_is_near(void **state)
{
    for (int shift = 0; shift < 64; shift++) {
        uint64_t low = (uint64_t)1 << shift, high = low + (low - 1);
        uint64_t values[] = { low, low + low / 3, high };
        for (int i = 0; i < 3; i++) {
            struct histogram *h = histogram_new();
            histogram_add(h, 0);
            histogram_add(h, values[i]);
            histogram_add(h, UINT64_MAX);
            double got = (double)histogram_quantile(h, 0.67), want = (double)values[i];
            assert_true(got >= want * 0.996 && got <= want * 1.004);
            histogram_free(h);
        }
    }
}

static void extremes_are_kept(void **state)
{
    struct histogram *h = histogram_new();
    histogram_add(h, 1000003);
    histogram_add(h, 5000011);
    assert_int_equal(h->min, 1000003);
    assert_int_equal(h->max, 5000011);
    assert_int_equal(histogram_quantile(h, 1), 5000011);
    histogram_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_measured),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(every_magnitude_is_near),
        cmocka_unit_test(extremes_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
