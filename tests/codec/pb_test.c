#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/pb.h"

#include <string.h>

/* Bytes of the examples in the specification of the encoding. */
static void the_specifications_examples_are_read(void **state)
{
    struct pb r;
    pb_init(&r, STR("\x08\x96\x01")); /* field 1: 150 */
    assert_true(pb_next(&r));
    assert_int_equal(r.field, 1);
    assert_int_equal(pb_varint(&r), 150);
    assert_false(pb_next(&r));
    assert_true(pb_ok(&r));

    pb_init(&r, STR("\x12\x07testing")); /* field 2: a string */
    assert_true(pb_next(&r));
    assert_true(str_is(pb_bytes(&r), "testing"));
    assert_true(pb_ok(&r));

    pb_init(&r, STR("\x22\x06\x03\x8e\x02\x9e\xa7\x05")); /* field 4: packed 3, 270, 86942 */
    assert_true(pb_next(&r));
    struct str packed = pb_bytes(&r);
    assert_int_equal(pb_count_varints(packed), 3);
    struct pb p;
    pb_init(&p, packed);
    assert_int_equal(pb_raw_varint(&p), 3);
    assert_int_equal(pb_raw_varint(&p), 270);
    assert_int_equal(pb_raw_varint(&p), 86942);
    assert_false(pb_more(&p));
}

static void every_width_of_varint_comes_back(void **state)
{
    struct buf b;
    buf_init(&b, 4096);
    for (int bit = 0; bit < 64; bit++) {
        uint64_t v[] = { (uint64_t)1 << bit, ((uint64_t)1 << bit) - 1,
                         ~(((uint64_t)1 << bit) - 1) };
        for (size_t i = 0; i < ARRAY_LEN(v); i++) {
            struct pb r;
            buf_clear(&b);
            pb_put_varint(&b, v[i]);
            assert_int_equal(b.len, pb_size_varint(v[i]));
            pb_init(&r, buf_view(&b));
            assert_true(pb_raw_varint(&r) == v[i]);
            assert_true(pb_ok(&r) && !pb_more(&r));
        }
    }
    buf_deinit(&b);
}

static void written_sizes_are_as_foretold(void **state)
{
    static const uint32_t fields[] = { 1, 15, 16, 2047, 2048, 0x1fffffff };
    struct buf b;
    buf_init(&b, 4096);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        buf_clear(&b);
        pb_put_u64(&b, fields[i], 300);
        assert_int_equal(b.len, pb_size_u64(fields[i], 300));
        buf_clear(&b);
        pb_put_bytes(&b, fields[i], STR("some bytes"));
        assert_int_equal(b.len, pb_size_bytes(fields[i], 10));
    }
    buf_deinit(&b);
}

/* One field of each wire type. */
static const char message[] = "\x08\x96\x01"                         /* 1: 150 */
                              "\x15\x00\x00\x80\x3f"                 /* 2: 1.0f */
                              "\x19\x00\x00\x00\x00\x00\x00\x00\x40" /* 3: 2.0 */
                              "\x22\x03xyz";                         /* 4: "xyz" */

static int read_all(struct str bytes, bool *ok)
{
    struct pb r;
    int fields = 0;
    pb_init(&r, bytes);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: assert_true(pb_varint(&r) == 150 || r.bad); break;
        case 2: assert_true(pb_float(&r) == 1.0f || r.bad); break;
        case 3: assert_true(pb_double(&r) == 2.0 || r.bad); break;
        default: assert_true(str_is(pb_bytes(&r), "xyz") || r.bad); break;
        }
        fields += !r.bad;
    }
    *ok = pb_ok(&r);
    return fields;
}

static void every_truncation_ends_at_a_field_or_is_a_fault(void **state)
{
    static const size_t ends[] = { 0, 3, 8, 17, 22 };
    for (size_t n = 0; n < sizeof(message); n++) {
        bool ok, at_end = false;
        int before = 0, fields = read_all((struct str){ message, n }, &ok);
        for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
            at_end = at_end || n == ends[i];
            before += i > 0 && ends[i] <= n;
        }
        assert_int_equal(ok, at_end);
        assert_int_equal(fields, before);
    }
}

static void unknown_fields_are_skipped(void **state)
{
    struct pb r;
    int fields = 0;
    pb_init(&r, (struct str){ message, sizeof(message) - 1 });
    for (; pb_next(&r); fields++)
        pb_skip(&r);
    assert_true(pb_ok(&r));
    assert_int_equal(fields, 4);
}

static bool is_fault(struct str bytes)
{
    struct pb r;
    pb_init(&r, bytes);
    while (pb_next(&r))
        pb_skip(&r);
    return !pb_ok(&r);
}

static void what_no_writer_makes_is_a_fault(void **state)
{
    assert_true(is_fault(STR("\x00\x01")));                                     /* field 0 */
    assert_true(is_fault(STR("\x0b")));                                         /* a group */
    assert_true(is_fault(STR("\x0e\x01")));                                     /* wire type 6 */
    assert_true(is_fault(STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"))); /* 65 bits */
    assert_true(is_fault(STR("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))); /* 2^64-1 bytes */
    assert_true(is_fault(STR("\x88\x80\x80\x80\x80\x80\x01\x00")));             /* field 2^38 */
}

static void a_wrong_wire_type_is_a_fault_and_sticks(void **state)
{
    struct pb r;
    pb_init(&r, STR("\x08\x01\x10\x02"));
    assert_true(pb_next(&r));
    assert_int_equal(pb_bytes(&r).n, 0);
    assert_false(pb_next(&r));
    assert_false(pb_ok(&r));
    assert_int_equal(pb_varint(&r), 0);
}

static void a_large_field_is_found_from_the_front(void **state)
{
    /* 1 { 10: 1, 2: 400 bytes }, as far as it has come */
    const char front[] = "\x0a\x97\x03\x50\x01\x12\x90\x03"
                         "abcd";
    struct str all = { front, sizeof(front) - 1 };
    assert_int_equal(pb_find_large(all, 300, 1), 8);
    assert_int_equal(pb_find_large(all, 300, 0), 3);
    assert_int_equal(pb_find_large(all, 1000, 1), 0);
    for (size_t n = 0; n < 8; n++)
        assert_int_equal(pb_find_large((struct str){ front, n }, 300, 1), 0);
    const char rubbish[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_int_equal(pb_find_large((struct str){ rubbish, 12 }, 1, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_specifications_examples_are_read),
        cmocka_unit_test(every_width_of_varint_comes_back),
        cmocka_unit_test(written_sizes_are_as_foretold),
        cmocka_unit_test(every_truncation_ends_at_a_field_or_is_a_fault),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(what_no_writer_makes_is_a_fault),
        cmocka_unit_test(a_wrong_wire_type_is_a_fault_and_sticks),
        cmocka_unit_test(a_large_field_is_found_from_the_front),
    };
    return cmocka_run_group_tests_name("codec/pb", tests, NULL, NULL);
}
