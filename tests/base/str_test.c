#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/str.h"

#include <math.h>

static void equal_is_length_and_bytes(void **state)
{
    struct str none = { 0 };
    assert_true(str_eq(none, STR("")));
    assert_true(str_eq(STR("a\0b"), STR("a\0b")));
    assert_false(str_eq(STR("a\0b"), STR("a\0c")));
    assert_false(str_eq(STR("a"), STR("ab")));
    assert_true(str_is(none, NULL));
    assert_int_equal(str_of(NULL).n, 0);
    assert_true(str_eq_nocase(STR("Content-Length"), STR("cONTENT-lENGTH")));
    assert_false(str_eq_nocase(STR("@[`{"), STR("`{@["))); /* 32 apart, but no letters */
    assert_false(str_eq_nocase(STR("a"), STR("ab")));
}

static void ends_are_looked_at_only_within(void **state)
{
    struct str inner = { "xw_0.npyx" + 1, 7 };
    assert_true(str_starts(inner, "w_") && str_ends(inner, ".npy") && str_starts(inner, ""));
    assert_true(str_starts(inner, "w_0.npy") && str_ends(inner, "w_0.npy"));
    assert_false(str_starts(inner, "w_0.npyx") || str_ends(inner, "xw_0.npy"));
    assert_false(str_starts(inner, "x") || str_ends(inner, "x"));
}

static void trimming_takes_spaces_and_tabs(void **state)
{
    assert_true(str_is(str_trim(STR(" \t a b\t ")), "a b"));
    assert_true(str_is(str_trim(STR(" \t ")), ""));
    assert_true(str_is(str_trim(STR("\na\r")), "\na\r"));
    assert_int_equal(str_trim((struct str){ 0 }).n, 0);
}

static void cutting_yields_every_part(void **state)
{
    static const char *const parts[] = { "a", "", "bc", "" };
    struct str rest = STR("a,,bc,"), head;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        assert_int_equal(str_cut(&rest, ',', &head), i + 1 < ARRAY_LEN(parts));
        assert_true(str_is(head, parts[i]));
    }
    assert_int_equal(rest.n, 0);
    assert_false(str_cut(&rest, ',', &head));
    assert_int_equal(head.n, 0);
}

static void whole_numbers_are_read_to_their_limits(void **state)
{
    static const struct {
        const char *text;
        bool i, u;
        int64_t value;
    } rows[] = {
        { "0", true, true, 0 },
        { "-0", true, false, 0 },
        { "007", true, true, 7 },
        { "9223372036854775807", true, true, INT64_MAX },
        { "9223372036854775808", false, true, 0 },
        { "-9223372036854775808", true, false, INT64_MIN },
        { "-9223372036854775809", false, false, 0 },
        { "18446744073709551615", false, true, 0 },
        { "18446744073709551616", false, false, 0 },
        { "99999999999999999999999", false, false, 0 },
        { "", false, false, 0 },
        { "-", false, false, 0 },
        { "--1", false, false, 0 },
        { "+1", false, false, 0 },
        { " 1", false, false, 0 },
        { "1 ", false, false, 0 },
        { "1x", false, false, 0 },
        { "0x10", false, false, 0 },
        { "1.0", false, false, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t v;
        uint64_t u;
        if (str_to_i64(str_of(rows[i].text), &v) != rows[i].i ||
            str_to_u64(str_of(rows[i].text), &u) != rows[i].u)
            fail_msg("'%s' should%s be read", rows[i].text, rows[i].i ? "" : " not");
        if (rows[i].i)
            assert_true(v == rows[i].value);
        if (rows[i].i && rows[i].u)
            assert_true(u == (uint64_t)rows[i].value);
    }
    uint64_t most;
    assert_true(str_to_u64(STR("18446744073709551615"), &most) && most == UINT64_MAX);
    int64_t inner;
    assert_true(str_to_i64((struct str){ "12345", 2 }, &inner) && inner == 12);
}

static void decimal_numbers_are_read_whole(void **state)
{
    static const struct {
        const char *text;
        double value; /* NAN: refused */
    } rows[] = {
        { "0", 0 },
        { "-2.5e1", -25 },
        { ".5", 0.5 },
        { "5.", 5 },
        { "1e-400", 0 },
        { "1.7976931348623157e308", 1.7976931348623157e308 },
        { "1e309", NAN },
        { "-1e999", NAN },
        { "inf", NAN },
        { "nan", NAN },
        { "0x10", NAN },
        { "", NAN },
        { ".", NAN },
        { "-", NAN },
        { "1e", NAN },
        { " 1", NAN },
        { "\t1", NAN },
        { "\n1", NAN },
        { "1 ", NAN },
        { "1,5", NAN },
        { "1.2.3", NAN },
        { "0000000000000000000000000000000000000000000000000000000000000001", NAN }, /* 64 */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double v;
        bool read = str_to_double(str_of(rows[i].text), &v);
        if (read == (bool)isnan(rows[i].value) || (read && v != rows[i].value))
            fail_msg("'%s' is %s", rows[i].text, read ? "read" : "refused");
    }
    double v;
    assert_false(str_to_double(STR("1\0002"), &v));
    assert_true(str_to_double((struct str){ "1.25", 3 }, &v) && v == 1.2);
}

static void utf8_is_what_rfc_3629_says(void **state)
{
    static const struct str good[] = {
        STR(""),
        STR("plain\0"),
        STR("\xc2\x80\xdf\xbf"),
        STR("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"),
        STR("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"),
    };
    static const struct str bad[] = {
        STR("\x80"),             /* follows nothing */
        STR("\xc1\xbf"),         /* '\x7f' in two bytes */
        STR("\xe0\x9f\xbf"),     /* overlong */
        STR("\xed\xa0\x80"),     /* a surrogate */
        STR("\xf0\x8f\xbf\xbf"), /* overlong */
        STR("\xf4\x90\x80\x80"), /* above U+10FFFF */
        STR("\xf5\x80\x80\x80"),
        STR("\xc2"), /* cut off */
        STR("\xe2\x82"),
        STR("\xf0\x9f\x98"),
        STR("\xc2\x41"), /* not followed */
        STR("\xe2\x82\x41"),
        STR("\xff"),
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!str_is_utf8(good[i]))
            fail_msg("good row %zu", i);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (str_is_utf8(bad[i]))
            fail_msg("bad row %zu", i);
}

static const char *nearest(const char *word)
{
    static const char *const names[] = { "relu", "relu6", "sigmoid", "softmax", "conv2d" };
    const char *near = str_nearest(str_of(word), names, ARRAY_LEN(names));
    return near != NULL ? near : "none";
}

static void the_nearest_name_is_what_was_meant(void **state)
{
    assert_string_equal(nearest("relu"), "relu");
    assert_string_equal(nearest("relu7"), "relu"); /* as near as relu6, and first */
    assert_string_equal(nearest("sigmiod"), "sigmoid");
    assert_string_equal(nearest("SOFTMAX"), "softmax");
    assert_string_equal(nearest("onv2d"), "conv2d");
    assert_string_equal(nearest("transpose"), "none");
    assert_string_equal(nearest(""), "none");
    char endless[100];
    memset(endless, 'r', sizeof(endless));
    assert_null(str_nearest((struct str){ endless, 100 }, (const char *[]){ "r" }, 1));
    assert_null(str_nearest(STR("relu"), NULL, 0));
}

static void a_hint_names_what_was_meant_or_where_to_begin(void **state)
{
    assert_string_equal(str_hint("copy", "reader").text, "; did you mean 'copy'?");
    assert_string_equal(str_hint(NULL, "reader").text, "; the first one is 'reader'");
    assert_string_equal(str_hint(NULL, NULL).text, "");
}

static void bytes_are_taken_off_the_front_or_none_is(void **state)
{
    struct str s = STR("abcde");
    char to[4] = "";
    assert_true(str_take(&s, to, 2));
    assert_memory_equal(to, "ab", 3);
    assert_false(str_take(&s, to, 4));
    assert_true(str_is(s, "cde") && to[0] == 'a');
    assert_true(str_take(&s, to, 3) && s.n == 0);
    assert_true(str_take(&s, to, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_is_length_and_bytes),
        cmocka_unit_test(ends_are_looked_at_only_within),
        cmocka_unit_test(trimming_takes_spaces_and_tabs),
        cmocka_unit_test(cutting_yields_every_part),
        cmocka_unit_test(whole_numbers_are_read_to_their_limits),
        cmocka_unit_test(decimal_numbers_are_read_whole),
        cmocka_unit_test(utf8_is_what_rfc_3629_says),
        cmocka_unit_test(the_nearest_name_is_what_was_meant),
        cmocka_unit_test(a_hint_names_what_was_meant_or_where_to_begin),
        cmocka_unit_test(bytes_are_taken_off_the_front_or_none_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
