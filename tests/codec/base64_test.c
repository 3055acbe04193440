#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/base64.h"

#include <string.h>

/* The pairs of RFC 4648, section 10. */
static const char *const pairs[][2] = {
    { "", "" },
    { "f", "Zg==" },
    { "fo", "Zm8=" },
    { "foo", "Zm9v" },
    { "foob", "Zm9vYg==" },
    { "fooba", "Zm9vYmE=" },
    { "foobar", "Zm9vYmFy" },
};

static void the_standards_pairs_hold(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct buf b;
        buf_init(&b, 64);
        base64_encode(str_of(pairs[i][0]), &b);
        assert_true(str_is(buf_view(&b), pairs[i][1]));
        buf_clear(&b);
        assert_true(base64_decode(str_of(pairs[i][1]), &b));
        assert_true(str_is(buf_view(&b), pairs[i][0]));
        buf_deinit(&b);
    }
}

static void every_byte_comes_back(void **state)
{
    char bytes[256];
    struct buf text, back;
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    buf_init(&text, 1024);
    buf_init(&back, 1024);
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        buf_clear(&text);
        buf_clear(&back);
        base64_encode((struct str){ bytes, n }, &text);
        assert_true(base64_decode(buf_view(&text), &back));
        assert_true(str_eq(buf_view(&back), (struct str){ bytes, n }));
    }
    buf_deinit(&text);
    buf_deinit(&back);
}

static bool decodes(const char *text)
{
    struct buf b;
    buf_init(&b, 64);
    bool ok = base64_decode(str_of(text), &b);
    buf_deinit(&b);
    return ok;
}

static void padding_may_be_left_out(void **state)
{
    assert_true(decodes("Zg"));
    assert_true(decodes("Zm8"));
}

static void what_is_not_base64_is_refused(void **state)
{
    static const char *const texts[] = { "Z", "Zm9vY", "Zm 8=", "Zm9v-_==", "=", "Zg=", "Zg===" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(decodes(texts[i]));
}

static void a_result_beyond_the_maximum_is_refused(void **state)
{
    struct buf b;
    buf_init(&b, 4);
    assert_false(base64_decode(STR("Zm9vYmFy"), &b));
    assert_int_equal(buf_check(&b), TOO_LARGE);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standards_pairs_hold),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(padding_may_be_left_out),
        cmocka_unit_test(what_is_not_base64_is_refused),
        cmocka_unit_test(a_result_beyond_the_maximum_is_refused),
    };
    return cmocka_run_group_tests_name("codec/base64", tests, NULL, NULL);
}
