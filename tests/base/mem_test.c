#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static void blocks_of_no_size_are_blocks(void **state)
{
    void *blocks[] = { mem_alloc(0), mem_zalloc(0), mem_try(0), mem_resize_try(NULL, 0),
                       mem_try_aligned(0, 64) };
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        assert_non_null(blocks[i]);
        mem_free(blocks[i]);
    }
    mem_free(NULL);
}

static void zeroed_means_zeroed(void **state)
{
    char *p = mem_zalloc(1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(p[i], 0);
    mem_free(p);
}

static void alignment_is_what_was_asked(void **state)
{
    for (size_t align = 16; align <= 4096; align *= 2) {
        for (size_t size = 1; size < 5000; size += 999) {
            char *p = mem_try_aligned(size, align);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % align, 0);
            memset(p, 1, size);
            mem_free(p);
        }
    }
}

static void impossible_sizes_are_refused(void **state)
{
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 63, (size_t)PTRDIFF_MAX + 1 };
    char *kept = mem_strdup("kept");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_null(mem_try(sizes[i]));
        assert_null(mem_try_aligned(sizes[i], 4096));
        assert_null(mem_resize_try(kept, sizes[i]));
        assert_string_equal(kept, "kept");
    }
    mem_free(kept);
}

static void sums_and_products_do_not_wrap(void **state)
{
    size_t out = 7;
    assert_false(mem_mul(SIZE_MAX / 2 + 1, (size_t)2, &out));
    assert_false(mem_add(SIZE_MAX, (size_t)1, &out));
    assert_true(mem_mul(SIZE_MAX / 2, (size_t)2, &out));
    assert_true(out == SIZE_MAX - 1);
    assert_true(mem_add(out, (size_t)1, &out));
    assert_true(out == SIZE_MAX);
}

static void the_nth_try_fails_once(void **state)
{
    char *p = mem_strdup("kept");
    mem_fail_nth(3);
    mem_free(mem_alloc(1)); /* does not count: it is not one that may fail */
    void *first = mem_try(1), *second = mem_try_aligned(1, 64);
    assert_true(first != NULL && second != NULL);
    assert_null(mem_resize_try(p, 100));
    assert_string_equal(p, "kept");
    p = mem_resize_try(p, 100);
    assert_string_equal(p, "kept");
    mem_fail_nth(1);
    mem_fail_nth(0);
    void *third = mem_try(1);
    assert_non_null(third);
    mem_free(first);
    mem_free(second);
    mem_free(third);
    mem_free(p);
}

#define THREADS 4
#define TRIES   2000

static void *try_often(void *failed)
{
    for (int i = 0; i < TRIES; i++) {
        void *p = mem_try(16);
        if (p == NULL)
            atomic_fetch_add((atomic_int *)failed, 1);
        mem_free(p);
    }
    return NULL;
}

static void threads_share_one_failure(void **state)
{
    pthread_t thread[THREADS];
    atomic_int failed = 0;
    mem_fail_nth(THREADS * TRIES / 2);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, try_often, &failed), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    mem_fail_nth(0);
    assert_int_equal(failed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_no_size_are_blocks),
        cmocka_unit_test(zeroed_means_zeroed),
        cmocka_unit_test(alignment_is_what_was_asked),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(sums_and_products_do_not_wrap),
        cmocka_unit_test(the_nth_try_fails_once),
        cmocka_unit_test(threads_share_one_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
