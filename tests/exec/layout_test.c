#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "exec/plan.h"

#define COUNT 200

static uint64_t random_next(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return *s >> 33;
}

static void no_two_that_live_together_overlap(void **state)
{
    uint64_t seed = 7;
    for (int round = 0; round < 50; round++) {
        struct arena a;
        struct extent e[COUNT];
        arena_init(&a, 0);
        for (int i = 0; i < COUNT; i++) {
            int first = (int)(random_next(&seed) % 100);
            e[i] = (struct extent){ .bytes = random_next(&seed) % 5000,
                                    .first = first,
                                    .last = first + (int)(random_next(&seed) % 10) };
        }
        size_t total = layout_extents(e, COUNT, &a);
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(e[i].offset % 64, 0);
            assert_true(e[i].offset + e[i].bytes <= total);
            for (int k = 0; k < i; k++) {
                bool together = e[i].first <= e[k].last && e[k].first <= e[i].last;
                bool apart = e[i].offset + e[i].bytes <= e[k].offset ||
                             e[k].offset + e[k].bytes <= e[i].offset;
                assert_true(!together || apart);
            }
        }
        arena_deinit(&a);
    }
}

static void a_chain_needs_two_buffers(void **state)
{
    struct arena a;
    struct extent e[10];
    arena_init(&a, 0);
    for (int i = 0; i < 10; i++)
        e[i] = (struct extent){ .bytes = 1000, .first = i, .last = i + 1 };
    assert_int_equal(layout_extents(e, 10, &a), 2 * 1024);
    arena_deinit(&a);
}

static void sizes_that_overflow_are_told(void **state)
{
    struct arena a;
    struct extent e[3] = { { .bytes = SIZE_MAX / 2 - 64, .last = 1 },
                           { .bytes = SIZE_MAX / 2 - 64, .last = 1 },
                           { .bytes = 1000, .last = 1 } };
    arena_init(&a, 0);
    assert_true(layout_extents(e, 3, &a) == SIZE_MAX);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_two_that_live_together_overlap),
        cmocka_unit_test(a_chain_needs_two_buffers),
        cmocka_unit_test(sizes_that_overflow_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
