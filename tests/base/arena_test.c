#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)16 << 10)

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    mem_fail_nth(0);
    arena_deinit(&arena);
    return 0;
}

static void blocks_are_aligned_and_apart(void **state)
{
    uint8_t *block[300];
    size_t size[300];
    for (size_t i = 0; i < 300; i++) {
        size_t align = (size_t)1 << (i % 13); /* 1 .. 4096; at least 16 is given */
        size[i] = i * 37 % 1000 + (i % 50 == 0 ? CHUNK_BYTES : 0);
        block[i] = arena_try(&arena, size[i], align);
        assert_non_null(block[i]);
        assert_int_equal((uintptr_t)block[i] % (align < 16 ? 16 : align), 0);
        memset(block[i], (int)(i & 0xff), size[i]);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t k = 0; k < size[i]; k++)
            if (block[i][k] != (i & 0xff))
                fail_msg("block %zu was written over at %zu", i, k);
}

static void arrays_are_zeroed_in_memory_used_before(void **state)
{
    for (int round = 0; round < 2; round++) {
        uint8_t *p = arena_try_array(&arena, 100, 9), *q = arena_zalloc(&arena, 900);
        for (int i = 0; i < 900; i++)
            assert_true(p[i] == 0 && q[i] == 0);
        memset(p, 0xff, 900);
        memset(q, 0xff, 900);
        arena_reset(&arena);
    }
}

static void sizes_from_outside_are_refused_not_wrapped(void **state)
{
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 4096, PTRDIFF_MAX };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size_t align = 16; align <= 4096; align *= 256)
            assert_null(arena_try(&arena, sizes[i], align));
    assert_null(arena_try_array(&arena, SIZE_MAX / 8 + 1, 8));
    assert_null(arena_try_array(&arena, SIZE_MAX / 8, 8));
    assert_int_equal(arena.total_bytes, 0);
}

static void the_limit_holds_for_sizes_from_outside_alone(void **state)
{
    arena_init(&arena, 10 * CHUNK_BYTES);
    size_t got = 0;
    while (arena_try(&arena, CHUNK_BYTES - 16, 16) != NULL)
        got++;
    assert_int_equal(got, 10);
    assert_null(arena_try(&arena, 2 * CHUNK_BYTES, 16));
    assert_non_null(arena_alloc(&arena, 100)); /* small and ours */
    assert_null(arena_try(&arena, CHUNK_BYTES, 16));
    arena_reset(&arena);
    assert_non_null(arena_try(&arena, 8 * CHUNK_BYTES, 16));
}

static void a_recycled_arena_asks_nobody(void **state)
{
    arena_try(&arena, 100 * CHUNK_BYTES, 16);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++)
            assert_non_null(arena_try(&arena, 100, 16));
        if (round > 0)
            assert_int_equal(arena.total_bytes, CHUNK_BYTES);
        arena_reset(&arena);
        mem_fail_nth(1);
    }
    assert_null(arena_try(&arena, 2 * CHUNK_BYTES, 16)); /* the failure is still to come */
}

static void large_blocks_leave_the_chunk_to_small_ones(void **state)
{
    char *first = arena_alloc(&arena, 16);
    arena_alloc(&arena, CHUNK_BYTES);
    assert_ptr_equal(arena_alloc(&arena, 16), first + 16);
}

static void out_of_memory_is_null(void **state)
{
    mem_fail_nth(1);
    assert_null(arena_try(&arena, 100, 16));
    assert_int_equal(arena.total_bytes, 0);
    mem_fail_nth(1);
    assert_null(arena_try_array(&arena, 3, CHUNK_BYTES));
    assert_non_null(arena_try_array(&arena, 3, CHUNK_BYTES));
}

static char order[8];

static void note(void *letter)
{
    size_t n = strlen(order);
    order[n] = *(char *)letter;
}

static void cleanups_run_once_newest_first(void **state)
{
    memset(order, 0, sizeof(order));
    char *letters = arena_strndup(&arena, "abcd", 4); /* theirs still when they run */
    for (int i = 0; i < 3; i++)
        arena_defer(&arena, note, &letters[i]);
    arena_reset(&arena);
    assert_string_equal(order, "cba");
    letters = arena_strndup(&arena, "abcd", 4);
    arena_defer(&arena, note, &letters[3]);
    arena_deinit(&arena);
    assert_string_equal(order, "cbad");
}

static void texts_of_any_length_are_terminated(void **state)
{
    char long_text[1000];
    memset(long_text, 'x', sizeof(long_text));
    for (int n = 250; n < 260; n++) { /* about where the stack's buffer ends */
        char *text = arena_printf(&arena, "%.*s", n, long_text);
        assert_int_equal(strlen(text), n);
    }
    assert_string_equal(arena_printf(&arena, "%d-%s", 3, "b"), "3-b");
    assert_string_equal(arena_strndup(&arena, "abc", 2), "ab");
    assert_string_equal(arena_strndup(&arena, "", 0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocks_are_aligned_and_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(arrays_are_zeroed_in_memory_used_before, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_from_outside_are_refused_not_wrapped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_limit_holds_for_sizes_from_outside_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_recycled_arena_asks_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(large_blocks_leave_the_chunk_to_small_ones, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(out_of_memory_is_null, setup, teardown),
        cmocka_unit_test_setup_teardown(cleanups_run_once_newest_first, setup, teardown),
        cmocka_unit_test_setup_teardown(texts_of_any_length_are_terminated, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
