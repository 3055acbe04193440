#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "tensor/dtype.h"

#include <math.h>

static void each_type_has_its_size_and_names(void **state)
{
    static const struct {
        int code; /* Paddle Serving's elem_type */
        dtype d;
        size_t size;
        const char *name, *oip, *npy;
    } rows[] = {
        { 0, DTYPE_I64, 8, "int64", "INT64", "<i8" },
        { 1, DTYPE_F32, 4, "float32", "FP32", "<f4" },
        { 2, DTYPE_I32, 4, "int32", "INT32", "<i4" },
        { 3, DTYPE_F64, 8, "float64", "FP64", "<f8" },
        { 4, DTYPE_I16, 2, "int16", "INT16", "<i2" },
        { 5, DTYPE_F16, 2, "float16", "FP16", "<f2" },
        { 6, DTYPE_BF16, 2, "bfloat16", "BF16", "<V2" },
        { 7, DTYPE_U8, 1, "uint8", "UINT8", "|u1" },
        { 8, DTYPE_I8, 1, "int8", "INT8", "|i1" },
        { 9, DTYPE_BOOL, 1, "bool", "BOOL", "|b1" },
        { 10, DTYPE_C64, 8, "complex64", "COMPLEX64", "<c8" },
        { 11, DTYPE_C128, 16, "complex128", "COMPLEX128", "<c16" },
        { 14, DTYPE_U64, 8, "uint64", "UINT64", "<u8" },
        { 20, DTYPE_BYTES, 1, "bytes", "BYTES", "|S1" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        dtype by_name, by_oip, by_npy;
        char npy[8];
        assert_int_equal(rows[i].d, rows[i].code);
        assert_true(dtype_valid(rows[i].code));
        assert_int_equal(dtype_size(rows[i].d), rows[i].size);
        assert_string_equal(dtype_name(rows[i].d), rows[i].name);
        dtype_to_npy(rows[i].d, npy);
        assert_string_equal(npy, rows[i].npy);
        assert_true(dtype_from_name(str_of(rows[i].name), &by_name) && by_name == rows[i].d);
        assert_true(dtype_from_name(str_of(rows[i].oip), &by_oip) && by_oip == rows[i].d);
        assert_true(dtype_from_npy(str_of(npy), &by_npy) && by_npy == rows[i].d);
    }
}

static void other_codes_are_none(void **state)
{
    static const int codes[] = { -1, 15, 19, 21, 1000, INT32_MIN, INT32_MAX };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        assert_false(dtype_valid(codes[i]));
        assert_int_equal(dtype_size((dtype)codes[i]), 0);
        assert_string_equal(dtype_name((dtype)codes[i]), "unknown");
    }
}

static void other_names_are_refused(void **state)
{
    static const char *const names[] = { "", "float", "Float32", "fp32", "float32 ", "unknown" };
    static const char *const descrs[] = { "",     "<",    "<f",  ">f4", "f4",   "<f3",
                                          "<f4x", "<f-4", "<O8", "|O",  "<U10", "<M8[ns]" };
    dtype d;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_false(dtype_from_name(str_of(names[i]), &d));
    for (size_t i = 0; i < ARRAY_LEN(descrs); i++)
        if (dtype_from_npy(str_of(descrs[i]), &d))
            fail_msg("'%s' is read", descrs[i]);
}

/* A narrow float type by its numbers of bits, as its definition says. */
static double narrow_value(unsigned h, int exponent_bits, int fraction_bits)
{
    int most = (1 << exponent_bits) - 1, bias = most / 2;
    int exponent = (int)(h >> fraction_bits) & most;
    double fraction = (double)(h & ((1u << fraction_bits) - 1)) / (double)(1 << fraction_bits);
    double v = exponent == most ? (fraction != 0 ? NAN : INFINITY)
               : exponent == 0  ? ldexp(fraction, 1 - bias)
                                : ldexp(1 + fraction, exponent - bias);
    return h & 0x8000 ? -v : v;
}

struct narrow {
    float (*widen)(uint16_t);
    uint16_t (*round)(float);
    int exponent_bits, fraction_bits;
};

static const struct narrow f16 = { f16_to_f32, f32_to_f16, 5, 10 };
static const struct narrow bf16 = { bf16_to_f32, f32_to_bf16, 8, 7 };

/* All 65536 values: each is what the definition says, and comes back as it was. */
static void check_every_value(const struct narrow *t)
{
    for (unsigned h = 0; h < 0x10000; h++) {
        float v = t->widen((uint16_t)h);
        double want = narrow_value(h, t->exponent_bits, t->fraction_bits);
        uint16_t back = t->round(v);
        bool same = isnan(want) ? isnan(v) && isnan(t->widen(back)) && !((back ^ h) & 0x8000)
                                : (double)v == want && !signbit(v) == !(h & 0x8000) && back == h;
        if (!same)
            fail_msg("%04x is %a, should be %a; it comes back as %04x", h, (double)v, want, back);
    }
}

/* Between each two neighbours: the middle goes to the even one, what is beside it to the nearer. The neighbour of the
 * largest number is where the next would be, and is infinity. */
static void check_rounding(const struct narrow *t)
{
    unsigned infinite = ((1u << t->exponent_bits) - 1) << t->fraction_bits;
    for (unsigned h = 0; h < infinite; h++) {
        double low = narrow_value(h, t->exponent_bits, t->fraction_bits);
        double below = h > 0 ? low - narrow_value(h - 1, t->exponent_bits, t->fraction_bits) : 0;
        double step = h + 1 == infinite
                          ? below
                          : narrow_value(h + 1, t->exponent_bits, t->fraction_bits) - low;
        float middle = (float)(low + step / 2);
        uint16_t even = (uint16_t)(h + (h & 1));
        bool right = t->round(middle) == even && t->round(-middle) == (even | 0x8000) &&
                     t->round(nextafterf(middle, 0)) == h &&
                     t->round(nextafterf(middle, INFINITY)) == h + 1;
        if (!right)
            fail_msg("beside %a, between %04x and %04x", (double)middle, h, h + 1);
    }
    assert_int_equal(t->round(INFINITY), infinite);
    assert_int_equal(t->round(-INFINITY), infinite | 0x8000);
}

static void f16_values_come_back(void **state)
{
    check_every_value(&f16);
}

static void f16_rounds_to_even(void **state)
{
    check_rounding(&f16);
    assert_int_equal(f32_to_f16(65504), 0x7bff);
    assert_int_equal(f32_to_f16(65520), 0x7c00); /* the first that is infinite */
    assert_int_equal(f32_to_f16(0x1p-25f), 0);   /* half of the least: 0 is even */
    assert_int_equal(f32_to_f16(3.4e38f), 0x7c00);
    assert_int_equal(f32_to_f16(-1e-45f), 0x8000);
}

static void bf16_values_come_back(void **state)
{
    check_every_value(&bf16);
}

static void bf16_rounds_to_even(void **state)
{
    check_rounding(&bf16);
    assert_int_equal(f32_to_bf16(3.4028235e38f), 0x7f80);
    assert_int_equal(f32_to_bf16(1.00390625f), 0x3f80); /* 1 + 2^-8 */
    assert_int_equal(f32_to_bf16(1.01171875f), 0x3f82); /* 1 + 3 * 2^-8 */
}

/* A NaN whose set bits are all below those that are kept must not become infinity. */
static void nan_stays_nan(void **state)
{
    for (uint32_t bits = 0x7f800001; bits < 0x7f810000; bits += 0x1357) {
        float nan;
        memcpy(&nan, &bits, sizeof(nan));
        assert_true(isnan(f16_to_f32(f32_to_f16(nan))));
        assert_true(isnan(bf16_to_f32(f32_to_bf16(nan))));
    }
}

static void what_no_int64_holds_is_the_smallest(void **state)
{
    assert_int_equal(f64_to_i64(-2.9), -2);
    assert_int_equal(f64_to_i64(-0x1p63), INT64_MIN);
    assert_int_equal(f64_to_i64(0x1p63), INT64_MIN);
    assert_int_equal(f64_to_i64((double)-INFINITY), INT64_MIN);
    assert_int_equal(f64_to_i64((double)NAN), INT64_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_has_its_size_and_names),
        cmocka_unit_test(other_codes_are_none),
        cmocka_unit_test(other_names_are_refused),
        cmocka_unit_test(f16_values_come_back),
        cmocka_unit_test(f16_rounds_to_even),
        cmocka_unit_test(bf16_values_come_back),
        cmocka_unit_test(bf16_rounds_to_even),
        cmocka_unit_test(nan_stays_nan),
        cmocka_unit_test(what_no_int64_holds_is_the_smallest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
