#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "codec/json.h"
#include "tensor/shape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    arena_deinit(&arena);
    return 0;
}

static struct json reader(const char *text)
{
    struct json j;
    json_init(&j, str_of(text), &arena);
    return j;
}

/* What is wrong with the text when it is read as any value; "" when nothing is. */
static const char *fault_of(const char *text)
{
    struct json j = reader(text);
    struct err e = { "" };
    json_skip(&j);
    status s = json_end(&j, &e);
    assert_int_equal(s, e.text[0] != '\0' ? INVALID : OK);
    return arena_printf(&arena, "%s", e.text);
}

static void values_are_taken_in_order(void **state)
{
    struct json j = reader(" { \"a\" : 1 , \"b\":[true,null,\"x\"], \"c\":{} ,\"d\":-2.5e1}\n");
    struct str key;
    assert_int_equal(json_peek(&j), JSON_OBJECT);
    json_object(&j);
    assert_true(json_key(&j, &key) && str_is(key, "a"));
    assert_int_equal(json_i64(&j), 1);
    assert_true(json_key(&j, &key) && str_is(key, "b"));
    json_array(&j);
    assert_true(json_item(&j));
    assert_int_equal(json_peek(&j), JSON_BOOL);
    assert_true(json_bool(&j));
    assert_true(json_item(&j));
    json_null(&j);
    assert_true(json_item(&j));
    assert_true(str_is(json_string(&j), "x"));
    assert_false(json_item(&j));
    assert_true(json_key(&j, &key) && str_is(key, "c"));
    json_object(&j);
    assert_false(json_key(&j, &key));
    assert_true(json_key(&j, &key) && str_is(key, "d"));
    assert_true(json_number(&j) == -25);
    assert_false(json_key(&j, &key));
    assert_int_equal(json_end(&j, NULL), OK);
}

static void faults_name_their_place(void **state)
{
    assert_string_equal(fault_of("[1,2 3]"), "byte 5: expected ',' or ']'");
    assert_string_equal(fault_of("{\"a\" 1}"), "byte 5: expected ':'");
    assert_string_equal(fault_of("{a:1}"), "byte 1: expected a member's name in quotes");
    assert_string_equal(fault_of("[1] x"), "byte 4: expected the end of the text");
    assert_string_equal(fault_of("\"abc"), "byte 1: the string does not end");
    assert_string_equal(fault_of("\"a\\qc\""), "byte 2: unknown escape in a string");
}

static void what_is_not_json_is_refused(void **state)
{
    static const char *const text[] = {
        "",
        "[",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "[,1]",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "--1",
        "0x10",
        "NaN",
        "Infinity",
        "tru",
        "nul",
        "falsey",
        "\"\x01\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\\\"",
        "[1}",
        "{\"a\":1]",
        "{\"a\"}",
        "{1:2}",
        "\"\\ud800\\u0041\"",
        "1 2",
        "'a'",
        "[1 , , 2]",
        "\"\xed\xa0\x80\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(text); i++)
        if (fault_of(text[i])[0] == '\0')
            fail_msg("accepted: %s", text[i]);
}

static void a_fault_sticks(void **state)
{
    struct json j = reader("[1,x,2]");
    json_array(&j);
    assert_true(json_item(&j));
    json_i64(&j);
    assert_true(json_item(&j));
    json_i64(&j);
    assert_true(json_failed(&j));
    json_fail(&j, "something else");
    assert_false(json_item(&j));
    assert_int_equal(json_i64(&j), 0);
    assert_int_equal(json_string(&j).n, 0);
    struct err e;
    assert_int_equal(json_end(&j, &e), INVALID);
    assert_string_equal(e.text, "byte 3: expected a number");
}

static void depth_is_bounded(void **state)
{
    char text[LIMIT_JSON_DEPTH * 2 + 4] = "";
    memset(text, '[', LIMIT_JSON_DEPTH);
    memset(text + LIMIT_JSON_DEPTH, ']', LIMIT_JSON_DEPTH);
    assert_string_equal(fault_of(text), "");
    memset(text, '[', LIMIT_JSON_DEPTH + 1);
    memset(text + LIMIT_JSON_DEPTH + 1, ']', LIMIT_JSON_DEPTH + 1);
    assert_non_null(strstr(fault_of(text), "nested too deep"));
}

static void strings_are_views_or_unescaped(void **state)
{
    struct json j = reader("[\"plain \xe4\xb8\xad\", \"\\\"\\\\\\/\\b\\f\\n\\r\\t\", "
                           "\"\\u00e9\\u4e2d\\ud83d\\ude00\", "
                           "\"a\\u0000b\"]");
    json_array(&j);
    json_item(&j);
    struct str s = json_string(&j);
    assert_true(s.p > j.start && s.p < j.end && str_is(s, "plain \xe4\xb8\xad"));
    json_item(&j);
    assert_true(str_is(json_string(&j), "\"\\/\b\f\n\r\t"));
    json_item(&j);
    assert_true(str_is(json_string(&j), "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80"));
    json_item(&j);
    assert_true(str_eq(json_string(&j), (struct str){ "a\0b", 3 }));
    assert_false(json_item(&j));
    assert_int_equal(json_end(&j, NULL), OK);
}

static void memory_of_strings_is_bounded(void **state)
{
    struct arena small;
    struct json j;
    struct err e;
    char text[40000];
    memset(text, 'x', sizeof(text));
    memcpy(text, "\"\\n", 3);
    text[sizeof(text) - 1] = '"';
    arena_init(&small, 20000);
    json_init(&j, (struct str){ text, sizeof(text) }, &small);
    json_string(&j);
    assert_int_equal(json_end(&j, &e), NO_MEMORY);
    arena_deinit(&small);
}

static void integers_fit_or_are_refused(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = { { "0", 0 },
                 { "-0", 0 },
                 { "9223372036854775807", INT64_MAX },
                 { "-9223372036854775808", INT64_MIN },
                 { "\"-12\"", -12 },
                 { "1.0", 1 },
                 { "1e3", 1000 },
                 { "120e-1", 12 },
                 { "0e99999999999999999999", 0 } };
    static const char *const bad[] = { "9223372036854775808",
                                       "-9223372036854775809",
                                       "1.5",
                                       "1e-1",
                                       "1e19",
                                       "\"\"",
                                       "\"1.0\"",
                                       "\"x\"",
                                       "true",
                                       "[1]",
                                       "99999999999999999999999",
                                       "1e400000000000" };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct json j = reader(good[i].text);
        assert_true(json_i64(&j) == good[i].value);
        assert_int_equal(json_end(&j, NULL), OK);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct json j = reader(bad[i]);
        json_i64(&j);
        assert_int_equal(json_end(&j, NULL), INVALID);
    }
    struct json j = reader("18446744073709551615");
    assert_true(json_u64(&j) == UINT64_MAX);
    assert_false(json_failed(&j));
    j = reader("18446744073709551616");
    json_u64(&j);
    assert_true(json_failed(&j));
    j = reader("-1");
    json_u64(&j);
    assert_true(json_failed(&j));
}

static void check_double(const char *text)
{
    struct json j = reader(text);
    double v = json_number(&j), want = strtod(text, NULL);
    if (isinf(want))
        return;
    assert_int_equal(json_end(&j, NULL), OK);
    if (memcmp(&v, &want, sizeof(v)) != 0)
        fail_msg("%s: %a instead of %a", text, v, want);
    float f = 0, narrow = (float)want;
    if (isinf(narrow))
        return;
    struct json_array a = { .dtype = DTYPE_F32, .to = &f, .max = 1 };
    char row[2000];
    snprintf(row, sizeof(row), "[%s]", text);
    j = reader(row);
    json_numbers(&j, &a);
    assert_int_equal(json_end(&j, NULL), OK);
    if (memcmp(&f, &narrow, sizeof(f)) != 0)
        fail_msg("%s: %a instead of %a", text, (double)f, (double)narrow);
}

static uint64_t random_next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void decimals_are_read_exactly(void **state)
{
    static const char *const text[] = {
        "0",
        "-0",
        "0.0137",
        "-0.1136",
        "0.30000000000000004",
        "9007199254740993",
        "9007199254740992.5",
        "1e22",
        "1e23",
        "1.7976931348623157e308",
        "4.9e-324",
        "2.4703282292062327e-324",
        "2.5e-324",
        "1e-400",
        "0.000000000000000000000000000000000000000000000000000001",
        "1.00000005960464477539062500",
        "1.0000000596046447753906249",
        "1.00000005960464477539062501",
        "3.4028234663852886e38",
        "1e-45",
        "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017"
        "977587207096330286"
        "416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764"
        "475730270069855571"
        "366959622842914819860834936475292719074168444365510704342711559699508093042880",
        "123456789012345678901234567890",
        "0.1e-300",
        "8.5899345920000001e9",
        "16777217",
        "16777219",
        "33554435",
    };
    for (size_t i = 0; i < ARRAY_LEN(text); i++)
        check_double(text[i]);
    uint64_t seed = 88172645463325252u;
    char long_text[1500];
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = random_next(&seed);
        char number[64];
        double v;
        memcpy(&v, &bits, sizeof(v));
        if (!isfinite(v))
            continue;
        int digits = (int)(random_next(&seed) % 20);
        snprintf(number, sizeof(number), "%.*e", digits, v);
        check_double(number);
        snprintf(number, sizeof(number), "%.*g", digits + 1,
                 (double)(float)ldexp((double)(bits >> 40), (int)(bits % 64) - 40));
        check_double(number);
    }
    /* Digits beyond those that are kept decide: 2^-1 + 2^-54 is half way to the next double. */
    snprintf(long_text, sizeof(long_text),
             "0.500000000000000055511151231257827021181583404541015625%0900d", 0);
    check_double(long_text);
    snprintf(long_text, sizeof(long_text),
             "0.500000000000000055511151231257827021181583404541015625%0900d", 1);
    check_double(long_text);
}

static void words_for_numbers_that_json_lacks(void **state)
{
    struct json j = reader("[\"nan\", \"Infinity\", \"-INFINITY\", 1]");
    double v[4];
    struct json_array a = { .dtype = DTYPE_F64, .to = v, .max = 4 };
    json_numbers(&j, &a);
    assert_int_equal(json_end(&j, NULL), OK);
    assert_true(isnan(v[0]) && v[1] == (double)INFINITY && v[2] == -(double)INFINITY && v[3] == 1);
    static const char *const bad[] = { "1e309", "-1e309", "\"inf\"", "\"1.5\"", "null", "true" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        j = reader(bad[i]);
        json_float(&j);
        assert_true(json_failed(&j));
    }
}

static void nested_rows_fill_one_array(void **state)
{
    struct json j = reader("[[[1,2],[3,4],[5,6]],[[7,8],[9,10],[11,12]]]");
    int32_t v[12];
    int64_t dims[SHAPE_MAX];
    assert_int_equal(json_count_numbers(&j), 12);
    struct json_array a = { .dtype = DTYPE_I32, .to = v, .max = 12, .dims = dims };
    json_numbers(&j, &a);
    assert_int_equal(json_end(&j, NULL), OK);
    assert_int_equal(a.rank, 3);
    assert_int_equal(a.count, 12);
    assert_true(dims[0] == 2 && dims[1] == 3 && dims[2] == 2);
    for (int i = 0; i < 12; i++)
        assert_int_equal(v[i], i + 1);
}

static void shapes_of_empty_rows_and_scalars(void **state)
{
    static const struct {
        const char *text;
        int rank;
        int64_t dims[2];
    } rows[] = {
        { "5", 0, { 0 } }, { "[]", 1, { 0 } }, { "[[],[]]", 2, { 2, 0 } }, { "[[]]", 2, { 1, 0 } }
    };
    float v[4];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json j = reader(rows[i].text);
        int64_t dims[SHAPE_MAX] = { 0 };
        struct json_array a = { .dtype = DTYPE_F32, .to = v, .max = 4, .dims = dims };
        json_numbers(&j, &a);
        assert_int_equal(json_end(&j, NULL), OK);
        assert_int_equal(a.rank, rows[i].rank);
        assert_memory_equal(dims, rows[i].dims, sizeof(rows[i].dims));
    }
}

static void rows_that_do_not_match_are_refused(void **state)
{
    static const char *const text[] = { "[[1,2],[3]]",
                                        "[1,[2]]",
                                        "[[1],2]",
                                        "[[],[1]]",
                                        "[[[]],[1]]",
                                        "[[],[[]]]",
                                        "[[[[[[[[[1]]]]]]]]]",
                                        "{}",
                                        "[\"x\"]",
                                        "[1,2,3,4,5,6,7,8,9]",
                                        "[null]" };
    float v[8];
    for (size_t i = 0; i < ARRAY_LEN(text); i++) {
        struct json j = reader(text[i]);
        int64_t dims[SHAPE_MAX];
        struct json_array a = { .dtype = DTYPE_F32, .to = v, .max = 8, .dims = dims };
        json_numbers(&j, &a);
        if (!json_failed(&j))
            fail_msg("accepted: %s", text[i]);
    }
    struct json j = reader("[[1]]");
    struct json_array a = { .dtype = DTYPE_F32, .to = v, .max = 8 };
    json_numbers(&j, &a);
    assert_true(json_failed(&j));
}

static void every_type_keeps_its_range(void **state)
{
    static const struct {
        dtype dtype;
        const char *good, *bad;
    } rows[] = { { DTYPE_I8, "[-128,127]", "[128]" },
                 { DTYPE_U8, "[0,255]", "[256]" },
                 { DTYPE_I16, "[-32768,32767]", "[32768]" },
                 { DTYPE_U16, "[0,65535]", "[-1]" },
                 { DTYPE_I32, "[-2147483648,2147483647]", "[2147483648]" },
                 { DTYPE_U32, "[0,4294967295]", "[4294967296]" },
                 { DTYPE_I64, "[-9223372036854775808]", "[1e30]" },
                 { DTYPE_U64, "[18446744073709551615]", "[18446744073709551616]" },
                 { DTYPE_BOOL, "[true,false,1,0]", "[2]" },
                 { DTYPE_F16, "[65504.0,-0.5,\"NaN\"]", "[65536]" },
                 { DTYPE_BF16, "[1.0,-2.5]", "[3.4e38,1e39]" },
                 { DTYPE_F32, "[3.4028234663852886e38]", "[3.5e38]" },
                 { DTYPE_F64, "[1.5]", "[1e309]" },
                 { DTYPE_F64, "[]", "[-]" } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t v[8] = { 0 };
        struct json_array a = { .dtype = rows[i].dtype, .to = v, .max = 8 };
        struct json j = reader(rows[i].good);
        struct buf b;
        json_numbers(&j, &a);
        assert_int_equal(json_end(&j, NULL), OK);
        buf_init(&b, 1000);
        json_put_numbers(&b, rows[i].dtype, v, a.count);
        if (rows[i].dtype != DTYPE_F32 && rows[i].dtype != DTYPE_BOOL &&
            !str_is(buf_view(&b), rows[i].good))
            fail_msg("%s came back as %.*s", rows[i].good, STR_ARG(buf_view(&b)));
        buf_deinit(&b);
        j = reader(rows[i].bad);
        json_numbers(&j, &a);
        if (!json_failed(&j))
            fail_msg("%s took %s", dtype_name(rows[i].dtype), rows[i].bad);
    }
    struct json j = reader("[1]");
    char c[16];
    struct json_array a = { .dtype = DTYPE_C64, .to = c, .max = 1 };
    json_numbers(&j, &a);
    assert_true(json_failed(&j));
}

static void counting_takes_nothing_and_stops_at_the_end_of_the_value(void **state)
{
    static const struct {
        const char *text;
        int64_t count;
    } rows[] = { { "[1,2,3],4,5", 3 },
                 { " [ 1.25e-07 , 22222222222222 , -3 , 4,5,6,7,8,9 ] , 4", 9 },
                 { "[[1,2],[3,4]],9", 4 },
                 { "[\"a,b\\\"]\",\"c\"],9", 2 },
                 { "5,6", 1 },
                 { "\"a,b\",6", 1 },
                 { "[]", 1 },
                 { "[1,2", 2 },
                 { "[\"", 1 },
                 { "[\"\\", 1 },
                 { "", 1 } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json j = reader(rows[i].text);
        assert_int_equal(json_count_numbers(&j), rows[i].count);
        assert_true(j.p == j.start);
    }
}

static const char *written(double v)
{
    struct buf b;
    buf_init(&b, 100);
    json_put_double(&b, v);
    const char *text = arena_strndup(&arena, (const char *)b.data, b.len);
    buf_deinit(&b);
    return text;
}

static void doubles_are_written_as_json2pb_writes_them(void **state)
{
    static const struct {
        double v;
        const char *text;
    } rows[] = { { 0, "0.0" },
                 { -0.0, "-0.0" },
                 { 1, "1.0" },
                 { -13, "-13.0" },
                 { 0.1, "0.1" },
                 { 0.5, "0.5" },
                 { 0.30000000000000004, "0.30000000000000004" },
                 { (double)18.901152f, "18.901151657104492" },
                 { (double)0.0137f, "0.013700000010430813" },
                 { 1e-5, "0.00001" },
                 { 1.5e-7, "1.5e-7" },
                 { 1e21, "1e21" },
                 { 1e20, "100000000000000000000.0" },
                 { 1.5e22, "1.5e22" },
                 { 9007199254740991, "9007199254740991.0" },
                 { 9007199254740992, "9007199254740992.0" },
                 { 4503599627370495.5, "4503599627370495.5" },
                 { 1.7976931348623157e308, "1.7976931348623157e308" },
                 { 5e-324, "5e-324" },
                 { 2.2250738585072014e-308, "2.2250738585072014e-308" },
                 { 123456.789, "123456.789" },
                 { 0x1p-44, "5.684341886080802e-14" },
                 { (double)NAN, "\"NaN\"" },
                 { -(double)INFINITY, "\"-Infinity\"" } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_string_equal(written(rows[i].v), rows[i].text);
}

/* The significant digits of a number's text, without zeros at either end. */
static int digits_of(const char *text, char digits[64])
{
    int n = 0, used = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text < '0' || *text > '9' || (n == 0 && *text == '0'))
            continue;
        digits[n++] = *text;
        if (*text != '0')
            used = n;
    }
    digits[used] = '\0';
    return used;
}

/* No shorter text may read back the same, and no other of that length be nearer. */
static void check_shortest(double v)
{
    char other[64], digits[64], other_digits[64];
    const char *text = written(v);
    if (strtod(text, NULL) != v)
        fail_msg("%a is written %s", v, text);
    int n = digits_of(text, digits);
    if (n > 1) {
        snprintf(other, sizeof(other), "%.*e", n - 2, v);
        if (strtod(other, NULL) == v)
            fail_msg("%s is longer than %s", text, other);
    }
    snprintf(other, sizeof(other), "%.*e", n > 0 ? n - 1 : 0, v);
    digits_of(other, other_digits);
    if (strtod(other, NULL) == v && strcmp(digits, other_digits) != 0)
        fail_msg("%s is farther than %s", text, other);
}

static void doubles_are_written_shortest(void **state)
{
    uint64_t seed = 0x9e3779b97f4a7c15u;
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = random_next(&seed);
        double v;
        memcpy(&v, &bits, sizeof(v));
        if (isfinite(v))
            check_shortest(v);
        double near_one = ldexp((double)(bits >> 11), -(int)(bits % 100));
        check_shortest(near_one);
        check_shortest((double)(float)near_one);
        check_shortest((double)(int64_t)(bits >> 40) / 1000);
        if (i % 1000 == 0)
            arena_reset(&arena);
    }
    for (int e = -1074; e < 1024; e++) {
        check_shortest(ldexp(1, e));
        check_shortest(nextafter(ldexp(1, e), 0));
        check_shortest(nextafter(ldexp(1, e), INFINITY));
    }
}

static void arrays_of_any_length_are_written(void **state)
{
    struct buf b;
    float v[1000], back[1000];
    for (int i = 0; i < 1000; i++)
        v[i] = (float)i / 7;
    for (int64_t n = 0; n <= 1000; n = n < 200 ? n + 1 : n + 100) {
        buf_init(&b, 1 << 20);
        json_put_numbers(&b, DTYPE_F32, v, n);
        assert_int_equal(buf_check(&b), OK);
        struct json j;
        json_init(&j, buf_view(&b), &arena);
        struct json_array a = { .dtype = DTYPE_F32, .to = back, .max = 1000 };
        json_numbers(&j, &a);
        assert_int_equal(json_end(&j, NULL), OK);
        assert_int_equal(a.count, n);
        if (n > 0)
            assert_memory_equal(v, back, (size_t)n * sizeof(float));
        buf_deinit(&b);
    }
    buf_init(&b, 100);
    json_put_numbers(&b, DTYPE_F32, v, 1000);
    assert_int_equal(buf_check(&b), TOO_LARGE);
    buf_deinit(&b);
}

static void strings_are_escaped(void **state)
{
    struct buf b;
    buf_init(&b, 1000);
    json_put_string(&b, (struct str){ "a\"\\\b\f\n\r\t\x01\0/\xe4\xb8\xad\xff\xe4\xb8z", 18 });
    assert_true(
        str_is(buf_view(&b),
               "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u0000/\xe4\xb8\xad\xef\xbf\xbd\xef\xbf\xbd"
               "\xef\xbf\xbdz\""));
    buf_clear(&b);
    json_put_string(&b, (struct str){ NULL, 0 });
    assert_true(str_is(buf_view(&b), "\"\""));
    buf_deinit(&b);
}

static void floats_have_the_fewest_digits_that_read_back(void **state)
{
    static const struct {
        float v;
        const char *text;
    } rows[] = {
        { 0.1f, "[0.1]" },
        { 18.901152f, "[18.901152]" },
        { 0, "[0.0]" },
        { -0.0f, "[-0.0]" },
        { 1e-45f, "[1e-45]" },
        { 3.4028235e38f, "[3.4028235e38]" },
        { 1.17549435e-38f, "[1.1754944e-38]" },
        { 0x1p-24f, "[5.9604645e-8]" },
        { 9.8e7f, "[98000000.0]" },
        { 1e23f, "[1e23]" },
        { -7.5f, "[-7.5]" },
        { (float)INFINITY, "[\"Infinity\"]" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b;
        buf_init(&b, 100);
        json_put_shortest(&b, DTYPE_F32, &rows[i].v, 1);
        buf_byte(&b, 0);
        assert_string_equal((const char *)b.data, rows[i].text);
        buf_deinit(&b);
    }
}

/* Every exponent and sign, and what lies beside powers of two: strtof is the judge. */
static void floats_read_back(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    for (uint32_t bits = 1; bits < 0xff800000; bits += bits % 8388608 < 3 ? 1 : 838609) {
        float v;
        memcpy(&v, &bits, sizeof(v));
        if (isnan(v) || isinf(v))
            continue;
        buf_clear(&b);
        json_put_shortest(&b, DTYPE_F32, &v, 1);
        buf_byte(&b, 0);
        if (strtof((const char *)b.data + 1, NULL) != v)
            fail_msg("%a became %s", (double)v, (const char *)b.data);
    }
    buf_deinit(&b);
}

/* Texts of every length of digits before and behind the point, in rows long enough for the quick way: strtof is the judge. */
static void floats_are_read_as_strtof_reads_them(void **state)
{
    static char text[64 * 40];
    uint64_t seed = 1;
    for (int round = 0; round < 800; round++) {
        float want[60], got[60];
        size_t n = 0;
        text[n++] = '[';
        for (int i = 0; i < 60; i++) {
            char digits[40];
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            int whole = (int)(seed >> 60) % 5, fraction = (int)(seed >> 55 & 31) % 19;
            uint64_t big = seed >> 5, small = seed * 7919 >> 3;
            char a[24], b[24];
            snprintf(a, sizeof(a), "%llu",
                     (unsigned long long)(big % (whole == 0   ? 1
                                                 : whole == 1 ? 10
                                                 : whole == 2 ? 1000
                                                 : whole == 3 ? 100000
                                                              : UINT64_MAX)));
            snprintf(b, sizeof(b), "%019llu", (unsigned long long)small);
            snprintf(digits, sizeof(digits), fraction > 0 ? "%s%s.%.*s" : "%s%s",
                     seed & 2 ? "-" : "", a, fraction, b);
            want[i] = strtof(digits, NULL);
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s",
                                  i > 0 ? i % 7 ? "," : ", " : "", digits);
        }
        text[n++] = ']';
        struct json j;
        struct json_array array = {
            .dtype = DTYPE_F32, .to = got, .max = 60, .any_rank = round & 1
        };
        json_init(&j, (struct str){ text, n }, NULL);
        json_numbers(&j, &array);
        assert_int_equal(json_end(&j, NULL), OK);
        assert_int_equal(array.count, 60);
        for (int i = 0; i < 60; i++)
            if (got[i] != want[i])
                fail_msg("%.*s: number %d is %a, not %a", (int)n, text, i, (double)got[i],
                         (double)want[i]);
    }
}

static void numbers_nested_in_any_way(void **state)
{
    struct json j;
    int32_t to[4];
    struct json_array a = { .dtype = DTYPE_I32, .to = to, .max = 4, .any_rank = true };
    json_init(&j, STR("[1,[[2],[]],[3,4]]"), NULL);
    json_numbers(&j, &a);
    assert_int_equal(json_end(&j, NULL), OK);
    assert_int_equal(a.count, 4);
    assert_int_equal(to[3], 4);
    json_init(&j, STR("5"), NULL);
    json_numbers(&j, &a);
    assert_int_equal(to[0], 5);
    json_init(&j, STR("[1,2,3,4,5]"), NULL);
    json_numbers(&j, &a);
    assert_int_equal(json_end(&j, NULL), INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_have_the_fewest_digits_that_read_back),
        cmocka_unit_test(floats_read_back),
        cmocka_unit_test(floats_are_read_as_strtof_reads_them),
        cmocka_unit_test(numbers_nested_in_any_way),
        cmocka_unit_test_setup_teardown(values_are_taken_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(faults_name_their_place, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_json_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fault_sticks, setup, teardown),
        cmocka_unit_test_setup_teardown(depth_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_are_views_or_unescaped, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_of_strings_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(integers_fit_or_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(decimals_are_read_exactly, setup, teardown),
        cmocka_unit_test_setup_teardown(words_for_numbers_that_json_lacks, setup, teardown),
        cmocka_unit_test_setup_teardown(nested_rows_fill_one_array, setup, teardown),
        cmocka_unit_test_setup_teardown(shapes_of_empty_rows_and_scalars, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_that_do_not_match_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(every_type_keeps_its_range, setup, teardown),
        cmocka_unit_test_setup_teardown(counting_takes_nothing_and_stops_at_the_end_of_the_value,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(doubles_are_written_as_json2pb_writes_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(doubles_are_written_shortest, setup, teardown),
        cmocka_unit_test_setup_teardown(arrays_of_any_length_are_written, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_are_escaped, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
