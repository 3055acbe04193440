#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/map.h"

#include <pthread.h>
#include <stdio.h>

#define COUNT 5000

static struct arena arena;
static struct map m;

static int setup(void **state)
{
    arena_init(&arena, 0);
    map_init(&m, &arena);
    return 0;
}

static int teardown(void **state)
{
    arena_deinit(&arena);
    return 0;
}

/* The value of name i is any pointer that is its own; COUNT of them fill the map. */
static int values[COUNT];

static void fill(void)
{
    for (int i = 0; i < COUNT; i++)
        assert_true(map_put(&m, str_of(arena_printf(&arena, "conv%d.w_0", i)), &values[i]));
}

static bool all_there(void)
{
    for (int i = 0; i < COUNT; i++) {
        char name[32];
        snprintf(name, sizeof(name), "conv%d.w_0", i);
        if (map_get(&m, str_of(name)) != &values[i])
            return false;
    }
    return map_get(&m, STR("conv.w_0")) == NULL;
}

static void every_name_leads_to_its_value(void **state)
{
    assert_null(map_get(&m, STR("conv0.w_0")));
    fill();
    assert_int_equal(m.count, COUNT);
    assert_true(all_there());
}

static void the_first_value_of_a_name_stays(void **state)
{
    assert_true(map_put(&m, STR("x"), &values[0]));
    assert_false(map_put(&m, STR("x"), &values[1]));
    assert_ptr_equal(map_get(&m, STR("x")), &values[0]);
    assert_int_equal(m.count, 1);
}

static void names_are_bytes(void **state)
{
    static const struct str names[] = { { "", 0 },     { "\0", 1 },   { "\0\0", 2 },
                                        { "a\0b", 3 }, { "a\0c", 3 }, { "\xff", 1 } };
    for (int i = 0; i < 6; i++)
        assert_true(map_put(&m, names[i], &values[i]));
    for (int i = 0; i < 6; i++)
        assert_ptr_equal(map_get(&m, names[i]), &values[i]);
    assert_null(map_get(&m, STR("a")));
}

static void no_slot_is_crowded(void **state)
{
    int in_slot[256] = { 0 };
    for (int i = 0; i < 256 * 64; i++) {
        char name[32];
        int n = snprintf(name, sizeof(name), "%d", i * 256); /* the same end, a regular rest */
        in_slot[map_hash((struct str){ name, (size_t)n }) % 256]++;
    }
    for (int i = 0; i < 256; i++)
        assert_in_range(in_slot[i], 16, 160); /* 64 on average, 8 the deviation */
}

static void *read_all(void *failures)
{
    if (!all_there())
        __atomic_fetch_add((int *)failures, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void a_built_map_is_read_by_any_thread(void **state)
{
    pthread_t thread[4];
    int failures = 0;
    fill();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, read_all, &failures), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_name_leads_to_its_value, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_value_of_a_name_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_built_map_is_read_by_any_thread, setup, teardown),
        cmocka_unit_test(no_slot_is_crowded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
