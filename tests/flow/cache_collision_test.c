/* The cache where all hashes are one: it compares whole keys. The file is compiled in, with another hash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/map.h"

static uint64_t same_hash(struct str key)
{
    return 7;
}

#define map_hash same_hash
#include "../../src/flow/cache.c"

static void keys_of_one_hash_have_their_own_answers(void **state)
{
    struct cache_counters n = { 0 };
    struct cache *c = cache_new(1 << 20, &n);
    struct infer_reply reply;
    struct arena a;
    arena_init(&a, 0);
    for (int i = 0; i < 100; i++) {
        float answer = (float)i;
        struct named_tensor t = { STR("y"), STR("y"), { DTYPE_F32, SHAPE(1), &answer, { 0 } } };
        struct infer_output o = { STR("infer"), &t, 1 };
        cache_put(c, (struct str){ (const char *)&i, sizeof(i) },
                  &(struct infer_reply){ .output = &o, .output_count = 1 });
    }
    for (int i = 0; i < 100; i++) {
        assert_true(cache_get(c, (struct str){ (const char *)&i, sizeof(i) }, &a, &reply));
        assert_true(*(const float *)reply.output[0].tensor[0].tensor.data == (float)i);
    }
    int other = 100;
    assert_false(cache_get(c, (struct str){ (const char *)&other, sizeof(other) }, &a, &reply));
    arena_deinit(&a);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_one_hash_have_their_own_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
