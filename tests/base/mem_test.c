#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
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

/* Across the sizes at which blocks begin to be mapped and kept, content goes along. */
static void growing_and_shrinking_keep_content(void **state)
{
    static const size_t sizes[] = { 100,    300000, 5000000, 20000000, 21000000,
                                    700000, 300001, 10,      8000000,  0 };
    unsigned char *p = NULL;
    size_t had = 0;
    mem_keep((size_t)64 << 20);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            p = mem_resize_try(p, sizes[i]);
            assert_non_null(p);
            size_t kept = had < sizes[i] ? had : sizes[i];
            for (size_t k = 0; k < kept; k += 4093)
                assert_int_equal(p[k], k % 251);
            for (size_t k = 0; k < sizes[i]; k++)
                p[k] = (unsigned char)(k % 251);
            had = sizes[i];
        }
        mem_rest();
    }
    mem_free(p);
    mem_keep(0);
}

static size_t resident(void)
{
    unsigned long long total = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%llu %llu", &total, &pages), 2);
    fclose(f);
    return (size_t)pages * 4096;
}

static void what_is_kept_is_used_again_and_given_back(void **state)
{
    const size_t size = (size_t)32 << 20;
    mem_keep((size_t)64 << 20);
    size_t before __attribute__((unused)) = resident(); /* a sanitizer keeps what is freed */
    char *p = mem_try(size);
    memset(p, 1, size);
    mem_free(p);
    char *again = mem_try(size);
#ifndef __SANITIZE_ADDRESS__
    assert_ptr_equal(again, p);
    assert_true(resident() > before + size / 2);
#endif
    memset(again, 2, size);
    mem_free(again);
    mem_rest();
    mem_rest(); /* nobody wanted it in between */
#ifndef __SANITIZE_ADDRESS__
    assert_true(resident() < before + size / 2);
#endif
    mem_keep(0);
}

#define SHARERS 4

static void *take_and_give(void *arg)
{
    unsigned char mark = *(unsigned char *)arg;
    for (int i = 0; i < 300; i++) {
        size_t size = (size_t)(200 + i * 7 % 900) << 10;
        unsigned char *p = mem_try(size);
        assert_non_null(p);
        p[0] = p[size - 1] = p[size / 2] = mark;
        assert_true(p[0] == mark && p[size - 1] == mark && p[size / 2] == mark);
        mem_free(p);
        if (i % 50 == 0)
            mem_rest();
    }
    return NULL;
}

static void threads_share_what_is_kept(void **state)
{
    pthread_t thread[SHARERS];
    unsigned char mark[SHARERS] = { 1, 2, 3, 4 };
    mem_keep((size_t)2 << 20);
    for (int i = 0; i < SHARERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, take_and_give, &mark[i]), 0);
    for (int i = 0; i < SHARERS; i++)
        pthread_join(thread[i], NULL);
    mem_keep(0);
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
        cmocka_unit_test(growing_and_shrinking_keep_content),
        cmocka_unit_test(what_is_kept_is_used_again_and_given_back),
        cmocka_unit_test(threads_share_what_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
