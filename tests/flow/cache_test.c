#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "flow/cache.h"

static struct infer_request ask(struct named_tensor *feed, const float *x, int64_t n)
{
    *feed = (struct named_tensor){ STR("x"), STR("x"), { DTYPE_F32, SHAPE(1, n), x, { 0 } } };
    return (struct infer_request){ .feed = feed, .feed_count = 1 };
}

static void put(struct cache *c, struct arena *a, float question, float answer)
{
    struct named_tensor feed;
    float *out = arena_alloc(a, sizeof(*out));
    *out = answer;
    struct named_tensor t = { STR("y"), STR("y"), { DTYPE_F32, SHAPE(1), out, { 0 } } };
    struct infer_output o = { STR("infer"), &t, 1 };
    struct infer_request r = ask(&feed, &question, 1);
    cache_put(c, cache_key(c, &r, a), &(struct infer_reply){ .output = &o, .output_count = 1 });
    *out = -1; /* what was put is a copy */
}

static bool get(struct cache *c, struct arena *a, float question, float *answer)
{
    struct named_tensor feed;
    struct infer_reply reply;
    struct infer_request r = ask(&feed, &question, 1);
    r.log_id = (uint64_t)question; /* is no part of it */
    if (!cache_get(c, cache_key(c, &r, a), a, &reply))
        return false;
    *answer = *(const float *)reply.output[0].tensor[0].tensor.data;
    return str_is(reply.output[0].engine, "infer");
}

static void the_same_request_gets_the_same_answer(void **state)
{
    struct cache_counters n = { 0 };
    struct cache *c = cache_new(1 << 20, &n);
    struct arena a;
    float y;
    arena_init(&a, 0);
    assert_false(get(c, &a, 1, &y));
    for (int i = 0; i < 50; i++)
        put(c, &a, (float)i, (float)i * 2);
    for (int i = 0; i < 50; i++) {
        assert_true(get(c, &a, (float)i, &y));
        assert_true(y == (float)i * 2);
    }
    assert_int_equal(atomic_load(&n.hits), 50);
    assert_int_equal(atomic_load(&n.misses), 1);
    arena_deinit(&a);
    cache_free(c);
}

static void it_stays_within_its_bytes_and_drops_the_oldest(void **state)
{
    struct cache_counters n = { 0 };
    struct cache *c = cache_new(16 << 10, &n);
    struct arena a;
    float y;
    arena_init(&a, 0);
    for (int i = 0; i < 1000; i++) {
        put(c, &a, (float)i, 1);
        assert_true(get(c, &a, 0, &y) || i > 0);
        if (i == 0)
            continue;
        assert_true(get(c, &a, 0, &y)); /* used all the time, so that it stays */
        assert_true(atomic_load(&n.bytes) <= 16 << 10);
    }
    assert_false(get(c, &a, 1, &y));
    assert_true(get(c, &a, 999, &y));
    assert_true(atomic_load(&n.evictions) > 900);
    arena_deinit(&a);
    cache_free(c);
}

static void an_answer_outlives_its_entry(void **state)
{
    struct cache_counters n = { 0 };
    struct cache *c = cache_new(16 << 10, &n);
    struct arena a, held;
    struct named_tensor feed;
    struct infer_reply reply;
    float one = 1;
    arena_init(&a, 0);
    arena_init(&held, 0);
    put(c, &a, 1, 42);
    struct infer_request r = ask(&feed, &one, 1);
    assert_true(cache_get(c, cache_key(c, &r, &a), &held, &reply));
    cache_free(c);
    assert_true(*(const float *)reply.output[0].tensor[0].tensor.data == 42);
    arena_deinit(&held);
    arena_deinit(&a);
}

static void requests_that_differ_in_anything_have_different_keys(void **state)
{
    static const float x[2] = { 1, 2 };
    struct cache_counters n = { 0 };
    struct cache *c = cache_new(1 << 20, &n);
    struct arena a;
    struct named_tensor f1, f2;
    struct str fetch = STR("y");
    arena_init(&a, 0);
    struct infer_request base = ask(&f1, x, 2), other = ask(&f2, x, 2);
    struct str key = cache_key(c, &base, &a);
    assert_true(str_eq(key, cache_key(c, &other, &a)));
    f2.tensor.shape = SHAPE(2, 1);
    assert_false(str_eq(key, cache_key(c, &other, &a)));
    f2 = f1;
    f2.tensor.dtype = DTYPE_I32;
    assert_false(str_eq(key, cache_key(c, &other, &a)));
    f2 = f1;
    f2.alias = STR("z");
    assert_false(str_eq(key, cache_key(c, &other, &a)));
    f2 = f1;
    other.fetch = &fetch;
    other.fetch_count = 1;
    struct str fetches_y = cache_key(c, &other, &a);
    assert_false(str_eq(key, fetches_y));
    fetch = STR("z");
    assert_false(str_eq(fetches_y, cache_key(c, &other, &a)));
    arena_deinit(&a);
    cache_free(c);
}

static void what_is_too_large_is_not_kept(void **state)
{
    static float x[8192];
    struct cache_counters n = { 0 };
    struct cache *c = cache_new(16 << 10, &n);
    struct arena a;
    struct named_tensor feed;
    arena_init(&a, 0);
    struct infer_request r = ask(&feed, x, 8192);
    assert_int_equal(cache_key(c, &r, &a).n, 0);
    arena_deinit(&a);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_request_gets_the_same_answer),
        cmocka_unit_test(it_stays_within_its_bytes_and_drops_the_oldest),
        cmocka_unit_test(an_answer_outlives_its_entry),
        cmocka_unit_test(requests_that_differ_in_anything_have_different_keys),
        cmocka_unit_test(what_is_too_large_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
