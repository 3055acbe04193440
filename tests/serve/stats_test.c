#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "serve/stats.h"

static struct stats lane[2];

static struct stats_call call_of(const char *model, uint64_t ns, status result)
{
    struct stats_call c = { .key = { model, 1, "p", "f" }, .result = result, .rows = 2 };
    c.total_ns = ns;
    c.stage_ns[STAGE_COMPUTE] = ns;
    return c;
}

static void bounds_rise_and_hold_what_they_say(void **state)
{
    stats_init(&lane[0]);
    for (int i = 0; i < STATS_BUCKETS - 1; i++) {
        uint64_t bound = stats_bound_ns(i);
        assert_true(bound < stats_bound_ns(i + 1));
        struct stats_call on = call_of("m", bound, OK), above = call_of("m", bound + 1, OK);
        stats_add(&lane[0], &on);
        assert_int_equal(counter_get(&lane[0].entry[0]->total.bucket[i]), i == 0 ? 1 : 2);
        stats_add(&lane[0], &above);
        assert_int_equal(counter_get(&lane[0].entry[0]->total.bucket[i + 1]), 1);
    }
    assert_int_equal(stats_calls(&lane[0].entry[0]->total), 2 * (STATS_BUCKETS - 1));
    struct stats_call least = call_of("m", 0, OK), most = call_of("m", UINT64_MAX, OK);
    stats_add(&lane[0], &least);
    stats_add(&lane[0], &most);
    assert_int_equal(counter_get(&lane[0].entry[0]->total.bucket[0]), 2);
    stats_deinit(&lane[0]);
}

static void every_time_is_counted_at_the_first_bound_that_holds_it(void **state)
{
    stats_init(&lane[0]);
    for (int bit = 0; bit < 64; bit++)
        for (int beside = -1; beside <= 1; beside++) {
            uint64_t ns = ((uint64_t)1 << bit) + (uint64_t)beside;
            int i = 0;
            while (ns > stats_bound_ns(i))
                i++;
            uint64_t before =
                lane[0].count > 0 ? counter_get(&lane[0].entry[0]->total.bucket[i]) : 0;
            struct stats_call c = call_of("m", ns, OK);
            stats_add(&lane[0], &c);
            assert_int_equal(counter_get(&lane[0].entry[0]->total.bucket[i]), before + 1);
        }
    stats_deinit(&lane[0]);
}

static void lanes_add_up(void **state)
{
    struct stats_entry sum = { 0 };
    for (int i = 0; i < 2; i++) {
        stats_init(&lane[i]);
        struct stats_call good = call_of("a", 1000, OK), bad = call_of("a", 9, INVALID);
        stats_add(&lane[i], &good);
        stats_add(&lane[i], &bad);
        stats_sum(&sum, lane[i].entry[0]);
    }
    assert_int_equal(counter_get(&sum.by_status[0]), 2);
    assert_int_equal(counter_get(&sum.by_status[-INVALID]), 2);
    assert_int_equal(counter_get(&sum.rows), 4);
    assert_int_equal(counter_get(&sum.total.sum_ns), 2000);
    assert_int_equal(counter_get(&sum.batch[0].rows), 2);
    assert_int_equal(counter_get(&sum.batch[0].calls), 2);
    for (int i = 0; i < 2; i++)
        stats_deinit(&lane[i]);
}

static void entries_are_bounded(void **state)
{
    stats_init(&lane[0]);
    for (int i = 0; i < STATS_ENTRIES + 10; i++) {
        struct stats_call c = call_of("a", 1, OK);
        c.key.version = i;
        stats_add(&lane[0], &c);
    }
    assert_int_equal(atomic_load(&lane[0].count), STATS_ENTRIES);
    stats_deinit(&lane[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_rise_and_hold_what_they_say),
        cmocka_unit_test(every_time_is_counted_at_the_first_bound_that_holds_it),
        cmocka_unit_test(lanes_add_up),
        cmocka_unit_test(entries_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
