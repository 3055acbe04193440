#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/compress.h"

#include <string.h>

static const compression all[] = { COMPRESSION_NONE, COMPRESSION_SNAPPY, COMPRESSION_GZIP,
                                   COMPRESSION_ZLIB, COMPRESSION_LZ4,    COMPRESSION_ZSTD };

static char text[100000];

static struct str sample(size_t n)
{
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(i * i >> 7);
    return (struct str){ text, n };
}

static void what_is_packed_comes_back(void **state)
{
    static const size_t sizes[] = { 0, 1, 1000, sizeof(text) };
    struct buf packed, back;
    buf_init(&packed, 1 << 20);
    buf_init(&back, sizeof(text)); /* exactly as large as the largest */
    for (size_t c = 0; c < ARRAY_LEN(all); c++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct str in = sample(sizes[i]);
            buf_clear(&packed);
            buf_clear(&back);
            assert_int_equal(compress_bytes(all[c], in, &packed, NULL), OK);
            assert_int_equal(decompress(all[c], buf_view(&packed), &back, NULL), OK);
            assert_true(str_eq(buf_view(&back), in));
        }
    }
    buf_deinit(&packed);
    buf_deinit(&back);
}

static void a_bomb_ends_at_the_maximum(void **state)
{
    struct buf packed, small;
    memset(text, 0, sizeof(text));
    buf_init(&packed, 1 << 20);
    buf_init(&small, sizeof(text) - 1);
    for (size_t c = 0; c < ARRAY_LEN(all); c++) {
        struct err e = { "" };
        buf_clear(&packed);
        buf_clear(&small);
        assert_int_equal(compress_bytes(all[c], (struct str){ text, sizeof(text) }, &packed, NULL),
                         OK);
        assert_int_equal(decompress(all[c], buf_view(&packed), &small, &e), TOO_LARGE);
        assert_true(e.text[0] != '\0' && small.len <= small.max);
    }
    buf_deinit(&packed);
    buf_deinit(&small);
}

static void every_truncation_is_refused(void **state)
{
    struct buf packed, back;
    buf_init(&packed, 1 << 20);
    buf_init(&back, 1 << 20);
    for (size_t c = 1; c < ARRAY_LEN(all); c++) {
        buf_clear(&packed);
        assert_int_equal(compress_bytes(all[c], sample(300), &packed, NULL), OK);
        for (size_t n = 0; n < packed.len; n++) {
            struct err e = { "" };
            buf_clear(&back);
            assert_int_equal(decompress(all[c], (struct str){ (char *)packed.data, n }, &back, &e),
                             INVALID);
            assert_true(e.text[0] != '\0');
        }
    }
    buf_deinit(&packed);
    buf_deinit(&back);
}

static void bytes_behind_the_end_are_refused(void **state)
{
    struct buf packed, back;
    struct err e;
    buf_init(&packed, 1 << 20);
    buf_init(&back, 1 << 20);
    assert_int_equal(compress_bytes(COMPRESSION_GZIP, sample(300), &packed, NULL), OK);
    buf_str(&packed, "more");
    assert_int_equal(decompress(COMPRESSION_GZIP, buf_view(&packed), &back, &e), INVALID);
    assert_string_equal(e.text, "4 bytes follow the compressed ones");
    buf_deinit(&packed);
    buf_deinit(&back);
}

static void an_unknown_format_is_refused(void **state)
{
    struct buf out;
    struct err e;
    buf_init(&out, 64);
    assert_int_equal(decompress((compression)77, STR("x"), &out, &e), UNSUPPORTED);
    assert_non_null(strstr(e.text, "77"));
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(a_bomb_ends_at_the_maximum),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(bytes_behind_the_end_are_refused),
        cmocka_unit_test(an_unknown_format_is_refused),
    };
    return cmocka_run_group_tests_name("codec/compress", tests, NULL, NULL);
}
