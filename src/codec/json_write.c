/* The writing half of json.h. */
#include "codec/json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- strings ---- */

/* Bytes at p that go out as they are; 0: the byte there needs something in its place. */
static size_t plain_bytes(const char *p, const char *end)
{
    uint8_t c = (uint8_t)*p;
    if (c < 0x80)
        return c >= 0x20 && c != '"' && c != '\\';
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    return (size_t)(end - p) >= n && str_is_utf8((struct str){ p, n }) ? n : 0;
}

static void put_escaped(struct buf *b, char c)
{
    static const char value[] = "\"\\\b\f\n\r\t", name[] = "\"\\bfnrt";
    const char *at = memchr(value, c, sizeof(value) - 1);
    if (at != NULL) {
        buf_byte(b, '\\');
        buf_byte(b, (uint8_t)name[at - value]);
    } else if ((uint8_t)c < 0x20) {
        buf_printf(b, "\\u%04x", (unsigned)c);
    } else {
        buf_str(b, "\xef\xbf\xbd"); /* U+FFFD */
    }
}

void json_put_string(struct buf *b, struct str s)
{
    buf_byte(b, '"');
    for (size_t i = 0, from = 0; i < s.n; from = i) {
        size_t n = 1;
        while (i < s.n && (n = plain_bytes(s.p + i, s.p + s.n)) > 0)
            i += n;
        buf_append(b, s.p + from, i - from);
        if (i < s.n)
            put_escaped(b, s.p[i++]);
    }
    buf_byte(b, '"');
}

/* ---- numbers ---- */

#define TEXT_MAX 80 /* of one element, a complex number's two parts included */

static const char digit_pair[] = "00010203040506070809101112131415161718192021222324"
                                 "25262728293031323334353637383940414243444546474849"
                                 "50515253545556575859606162636465666768697071727374"
                                 "75767778798081828384858687888990919293949596979899";

static size_t u64_text(char *to, uint64_t v)
{
    char text[20], *p = text + sizeof(text);
    for (; v >= 100; v /= 100)
        memcpy(p -= 2, digit_pair + v % 100 * 2, 2);
    if (v >= 10)
        memcpy(p -= 2, digit_pair + v * 2, 2);
    else
        *--p = (char)('0' + v);
    size_t n = (size_t)(text + sizeof(text) - p);
    memcpy(to, p, n);
    return n;
}

static size_t i64_text(char *to, int64_t v)
{
    *to = '-';
    return v < 0 ? 1 + u64_text(to + 1, 0 - (uint64_t)v) : u64_text(to, (uint64_t)v);
}

typedef unsigned __int128 u128;

/* 5^k for k up to 54. */
static u128 power_of_five(unsigned k)
{
    // clang-format off
    static const uint64_t power[] = {
        1u, 5u, 25u, 125u, 625u, 3125u, 15625u, 78125u, 390625u, 1953125u, 9765625u, 48828125u,
        244140625u, 1220703125u, 6103515625u, 30517578125u, 152587890625u, 762939453125u,
        3814697265625u, 19073486328125u, 95367431640625u, 476837158203125u, 2384185791015625u,
        11920928955078125u, 59604644775390625u, 298023223876953125u, 1490116119384765625u,
        7450580596923828125u,
    };
    // clang-format on
    return k < 28 ? power[k] : (u128)power[27] * power[(k - 27) % 28];
}

#define TEN_17 100000000000000000u

/* The fewest digits, and of those the nearest, that read back as v = m * 2^e, for 1e-15 <= v <
 * 2^52: *digits * 10^*x.
 *
 * v * 10^k = m * 5^k * 2^(e+k) has 17 digits before the point for the right k, and 128 bits hold it
 * exactly; the doubles beside v are then between 0.5 and 23 units away, so that the only candidates
 * are the multiples of 100 around it, else those of 10, else of 1. A candidate reads back as v when
 * it is nearer to v than half way to the neighbour (half way itself belongs to the even m). */
static void shortest(uint64_t m, int e, uint64_t *digits, int *x)
{
    int k = 16 - (e + 52) * 1233 / 4096 + (e + 52 < 0); /* 1233/4096: log10 of 2 */
    if ((uint64_t)((m * power_of_five(k)) >> -(e + k)) >= TEN_17)
        k--;
    int shift = -(e + k);
    u128 gap = power_of_five(k), v = m * gap;
    uint64_t whole = (uint64_t)(v >> shift);
    int below = m == (uint64_t)1 << 52 ? 4 : 2; /* the neighbour below a power of two is nearer */
    bool even = m % 2 == 0;
    *x = -k;
    for (uint64_t unit = 100;; unit /= 10) {
        uint64_t low = whole - whole % unit, high = low + unit;
        u128 down = v - ((u128)low << shift), up = ((u128)high << shift) - v;
        bool low_fits = down * (u128)below < gap + even, high_fits = up * 2 < gap + even;
        if (!low_fits && !high_fits && unit > 1)
            continue;
        bool low_nearer = down < up || (down == up && low / unit % 2 == 0);
        *digits = low_fits && (!high_fits || low_nearer) ? low : high;
        return;
    }
}

/* The same for a float32 v = c * 2^q of any size, by Schubfach (R. Giulietti, "The Schubfach way to render doubles",
 * 2020): with 10^k the largest power of ten not above the distance of v's neighbours, the answer is among the two
 * multiples of 10^(k+1) around v, else among those of 10^k. The bounds of what reads back as v are computed in units of a
 * quarter of 10^k, rounded to odd, which keeps every comparison exact. */

/* floor(10^k / 2^(floor(log2(10^k)) - 63)) + 1 for k = -31 .. 45. */
static uint64_t scaled_power_of_ten(int k)
{
    // clang-format off
    static const uint64_t power[] = {
        0x81ceb32c4b43fcf5, 0xa2425ff75e14fc32, 0xcad2f7f5359a3b3f, 0xfd87b5f28300ca0e,
        0x9e74d1b791e07e49, 0xc612062576589ddb, 0xf79687aed3eec552, 0x9abe14cd44753b53,
        0xc16d9a0095928a28, 0xf1c90080baf72cb2, 0x971da05074da7bef, 0xbce5086492111aeb,
        0xec1e4a7db69561a6, 0x9392ee8e921d5d08, 0xb877aa3236a4b44a, 0xe69594bec44de15c,
        0x901d7cf73ab0acda, 0xb424dc35095cd810, 0xe12e13424bb40e14, 0x8cbccc096f5088cc,
        0xafebff0bcb24aaff, 0xdbe6fecebdedd5bf, 0x89705f4136b4a598, 0xabcc77118461cefd,
        0xd6bf94d5e57a42bd, 0x8637bd05af6c69b6, 0xa7c5ac471b478424, 0xd1b71758e219652c,
        0x83126e978d4fdf3c, 0xa3d70a3d70a3d70b, 0xcccccccccccccccd, 0x8000000000000001,
        0xa000000000000001, 0xc800000000000001, 0xfa00000000000001, 0x9c40000000000001,
        0xc350000000000001, 0xf424000000000001, 0x9896800000000001, 0xbebc200000000001,
        0xee6b280000000001, 0x9502f90000000001, 0xba43b74000000001, 0xe8d4a51000000001,
        0x9184e72a00000001, 0xb5e620f480000001, 0xe35fa931a0000001, 0x8e1bc9bf04000001,
        0xb1a2bc2ec5000001, 0xde0b6b3a76400001, 0x8ac7230489e80001, 0xad78ebc5ac620001,
        0xd8d726b7177a8001, 0x878678326eac9001, 0xa968163f0a57b401, 0xd3c21bcecceda101,
        0x84595161401484a1, 0xa56fa5b99019a5c9, 0xcecb8f27f4200f3b, 0x813f3978f8940985,
        0xa18f07d736b90be6, 0xc9f2c9cd04674edf, 0xfc6f7c4045812297, 0x9dc5ada82b70b59e,
        0xc5371912364ce306, 0xf684df56c3e01bc7, 0x9a130b963a6c115d, 0xc097ce7bc90715b4,
        0xf0bdc21abb48db21, 0x96769950b50d88f5, 0xbc143fa4e250eb32, 0xeb194f8e1ae525fe,
        0x92efd1b8d0cf37bf, 0xb7abc627050305ae, 0xe596b7b0c643c71a, 0x8f7e32ce7bea5c70,
        0xb35dbf821ae4f38c,
    };
    // clang-format on
    return power[k + 31];
}

/* g * c / 2^64, its last bit set when anything was cut off. */
static inline uint32_t round_to_odd(uint64_t g, uint32_t c)
{
    u128 p = (u128)g * c;
    uint32_t whole = (uint32_t)(p >> 64), rest = (uint32_t)(p >> 32);
    return whole | (rest > 1);
}

static inline int floor_shift(int v, int bits)
{
    return v >> bits; /* arithmetic: towards minus infinity */
}

static inline void shortest_single(uint32_t bits, uint32_t *digits, int *x)
{
    uint32_t fraction = bits & 0x7fffff, biased = bits >> 23;
    uint32_t c = biased != 0 ? fraction | 1u << 23 : fraction;
    int q = (biased != 0 ? (int)biased : 1) - 150;
    bool odd = c % 2 != 0,
         closer = fraction == 0 && biased > 1; /* the neighbour below a power of two */
    int k = floor_shift(q * 1262611 - (closer ? 524031 : 0), 22);
    int h = q + floor_shift(-k * 1741647, 19) + 1;
    uint64_t g = scaled_power_of_ten(-k);
    uint32_t v = round_to_odd(g, (4 * c) << h);
    uint32_t lower = round_to_odd(g, (4 * c - 2 + closer) << h) + odd;
    uint32_t upper = round_to_odd(g, (4 * c + 2) << h) - odd;
    uint32_t s = v / 4, tens = s / 10;
    *x = k;
    if (s >= 10) {
        bool below = lower <= 40 * tens, above = 40 * tens + 40 <= upper;
        if (below != above) {
            *digits = tens + above;
            *x = k + 1;
            return;
        }
    }
    bool below = lower <= 4 * s, above = 4 * s + 4 <= upper;
    uint32_t middle = 4 * s + 2;
    bool up = below != above ? above : v > middle || (v == middle && s % 2 != 0);
    *digits = s + up;
}

/* For sizes that are rare in answers: asks the C library for more and more digits until they read
 * back. */
static void library_shortest(double v, uint64_t *digits, int *x)
{
    char text[40];
    int precision = v < DBL_MIN ? 0 : 14; /* subnormal numbers hold fewer than 15 digits */
    do
        snprintf(text, sizeof(text), "%.*e", precision, v);
    while (strtod(text, NULL) != v && ++precision < 17);
    const char *p = text;
    for (*digits = 0; *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') /* the locale chooses the point */
            *digits = *digits * 10 + (uint64_t)(*p - '0');
    *x = (int)strtol(p + 1, NULL, 10) - (precision < 17 ? precision : 16);
}

/* Where the point goes, and from where on there is an exponent, is as in rapidjson, which json2pb
 * prints with. */
static size_t place_point(char *to, uint64_t digits, int x)
{
    char text[20];
    size_t n = u64_text(text, digits), len = 0;
    int point = (int)n + x; /* digits before it */
    if (point > 21 || point <= -6) {
        to[len++] = text[0];
        if (n > 1)
            to[len++] = '.';
        memcpy(to + len, text + 1, n - 1);
        len += n - 1;
        to[len++] = 'e';
        return len + i64_text(to + len, point - 1);
    }
    if (point <= 0) {
        memcpy(to, "0.00000", 7);
        memcpy(to + 2 - point, text, n);
        return n + (size_t)(2 - point);
    }
    size_t before = (size_t)point < n ? (size_t)point : n;
    memcpy(to, text, before);
    memset(to + before, '0', (size_t)point - before);
    len = (size_t)point;
    to[len++] = '.';
    if (before == n)
        to[len++] = '0';
    memcpy(to + len, text + before, n - before);
    return len + n - before;
}

static size_t put_digits(char *to, uint64_t digits, int x)
{
    if (digits % 100000000 == 0) {
        digits /= 100000000;
        x += 8;
    }
    for (; digits % 10 == 0; x++)
        digits /= 10;
    return place_point(to, digits, x);
}

static bool whole_text(char *to, double v, size_t *n)
{
    if (v >= 0x1p53 || v != (double)(uint64_t)v)
        return false;
    *n = u64_text(to, (uint64_t)v);
    memcpy(to + *n, ".0", 2);
    *n += 2;
    return true;
}

static size_t positive_text(char *to, double v)
{
    uint64_t bits, digits;
    int x;
    size_t n;
    if (whole_text(to, v, &n))
        return n;
    memcpy(&bits, &v, sizeof(bits));
    if (v >= 1e-15 && v < 0x1p52)
        shortest((bits & 0xfffffffffffff) | (uint64_t)1 << 52, (int)(bits >> 52) - 1075, &digits,
                 &x);
    else
        library_shortest(v, &digits, &x);
    return put_digits(to, digits, x);
}

#define EACH(byte) ((uint64_t)0x0101010101010101 * (byte))

/* v < 10^8 as eight digits, the first one in the lowest byte: all of them are cut out of v side by side. */
static inline uint64_t eight_digits(uint32_t v)
{
    uint64_t fours = (v / 10000) | (uint64_t)(v % 10000) << 32;
    uint64_t hundreds = (fours * 10486) >> 20 & 0x7f0000007f; /* / 100, below 10^4 */
    uint64_t twos = hundreds | (fours - hundreds * 100) << 16;
    uint64_t tens = (twos * 103) >> 10 & 0x0f000f000f000f; /* / 10, below 100 */
    return tens | (twos - tens * 10) << 8;
}

/* One to nine digits as text, the first one in the lowest byte; *n: how many. v > 0. They stay in registers: text that was stored in
 * pieces and is loaded as a whole has to wait for each of them. */
static inline u128 nine_digits(uint32_t v, size_t *n)
{
    uint32_t first = v / 100000000;
    uint64_t eight = eight_digits(v % 100000000);
    if (first > 0) {
        *n = 9;
        return (u128)(eight + EACH('0')) << 8 | ('0' + first);
    }
    int zeros = __builtin_ctzll(eight) / 8;
    *n = (size_t)(8 - zeros);
    return (eight + EACH('0')) >> (8 * zeros);
}

/* place_point for what most floats are; 24 bytes are written. */
static size_t place_single(char *to, uint32_t digits, int x)
{
    size_t n;
    for (; digits % 10 == 0; x++)
        digits /= 10;
    u128 text = nine_digits(digits, &n);
    int point = (int)n + x;
    if (point > -6 && point <= 0) {
        memcpy(to, "0.000000", 8);
        memcpy(to + 2 - point, &text, sizeof(text));
        return n + (size_t)(2 - point);
    }
    if (point > 0 && point < (int)n) {
        uint64_t behind = (uint64_t)(text >> (8 * point)); /* nine digits less one at most */
        memcpy(to, &text, sizeof(text));
        memcpy(to + point + 1, &behind, sizeof(behind));
        to[point] = '.';
        return n + 1;
    }
    return place_point(to, digits, x);
}

static size_t positive_single(char *to, float v)
{
    uint32_t bits, digits;
    int x;
    size_t n;
    if ((v >= 1 || v == 0) && whole_text(to, (double)v, &n))
        return n;
    memcpy(&bits, &v, sizeof(bits));
    shortest_single(bits, &digits, &x);
    return place_single(to, digits, x);
}

static size_t word_text(char *to, const char *word)
{
    size_t n = strlen(word);
    memcpy(to, word, n);
    return n;
}

static size_t double_text(char *to, double v)
{
    if (isnan(v))
        return word_text(to, "\"NaN\"");
    if (isinf(v))
        return word_text(to, v < 0 ? "\"-Infinity\"" : "\"Infinity\"");
    if (!signbit(v))
        return positive_text(to, v);
    *to = '-';
    return 1 + positive_text(to + 1, -v);
}

static size_t single_text(char *to, float v)
{
    if (!isfinite(v))
        return double_text(to, (double)v);
    size_t sign = signbit(v) != 0; /* no branch: nobody can foretell it */
    *to = '-';
    return sign + positive_single(to + sign, fabsf(v));
}

void json_put_double(struct buf *b, double v)
{
    char text[TEXT_MAX];
    buf_append(b, text, double_text(text, v));
}

void json_put_float(struct buf *b, float v)
{
    json_put_double(b, (double)v);
}

void json_put_i64(struct buf *b, int64_t v)
{
    char text[TEXT_MAX];
    buf_append(b, text, i64_text(text, v));
}

/* Writes the element at p (of any alignment); returns the length. */
typedef size_t element_fn(char *to, const void *p);

#define ELEMENT(name, type, write)              \
    static size_t name(char *to, const void *p) \
    {                                           \
        type v;                                 \
        memcpy(&v, p, sizeof(v));               \
        return write;                           \
    }
ELEMENT(put_i64, int64_t, i64_text(to, v))
ELEMENT(put_i32, int32_t, i64_text(to, v))
ELEMENT(put_i16, int16_t, i64_text(to, v))
ELEMENT(put_i8, int8_t, i64_text(to, v))
ELEMENT(put_u64, uint64_t, u64_text(to, v))
ELEMENT(put_u32, uint32_t, u64_text(to, v))
ELEMENT(put_u16, uint16_t, u64_text(to, v))
ELEMENT(put_u8, uint8_t, u64_text(to, v))
ELEMENT(put_f64, double, double_text(to, v))
ELEMENT(put_f32, float, double_text(to, (double)v))
ELEMENT(put_f16, uint16_t, double_text(to, (double)f16_to_f32(v)))
ELEMENT(put_bf16, uint16_t, double_text(to, (double)bf16_to_f32(v)))
ELEMENT(put_single, float, single_text(to, v))
ELEMENT(put_single_f16, uint16_t, single_text(to, f16_to_f32(v)))
ELEMENT(put_single_bf16, uint16_t, single_text(to, bf16_to_f32(v)))
ELEMENT(put_bool, uint8_t, word_text(to, v != 0 ? "true" : "false"))

static size_t put_pair(char *to, const void *p, element_fn *put, size_t size)
{
    size_t n = put(to, p);
    to[n++] = ',';
    return n + put(to + n, (const uint8_t *)p + size);
}

static size_t put_c64(char *to, const void *p)
{
    return put_pair(to, p, put_f32, sizeof(float));
}

static size_t put_c128(char *to, const void *p)
{
    return put_pair(to, p, put_f64, sizeof(double));
}

// clang-format off
static element_fn *const element[] = {
    [DTYPE_I64] = put_i64, [DTYPE_F32] = put_f32,   [DTYPE_I32] = put_i32,   [DTYPE_F64] = put_f64,
    [DTYPE_I16] = put_i16, [DTYPE_F16] = put_f16,   [DTYPE_BF16] = put_bf16, [DTYPE_U8] = put_u8,
    [DTYPE_I8] = put_i8,   [DTYPE_BOOL] = put_bool, [DTYPE_C64] = put_c64,   [DTYPE_C128] = put_c128,
    [DTYPE_U16] = put_u16, [DTYPE_U32] = put_u32,   [DTYPE_U64] = put_u64,   [DTYPE_BYTES] = put_u8,
};
// clang-format on

static element_fn *shortest_element(dtype d)
{
    switch (d) {
    case DTYPE_F32: return put_single;
    case DTYPE_F16: return put_single_f16;
    case DTYPE_BF16: return put_single_bf16;
    default: return element[d];
    }
}

static inline void put_list(struct buf *b, element_fn *put, size_t size, const void *data,
                            int64_t n)
{
    char text[2048];
    const uint8_t *p = data;
    size_t len = 0;
    text[len++] = '[';
    for (int64_t i = 0; i < n; i++, p += size) {
        if (i > 0)
            text[len++] = ',';
        len += put(text + len, p);
        if (len < sizeof(text) - TEXT_MAX)
            continue;
        buf_append(b, text, len);
        len = 0;
        if (buf_check(b) != OK)
            return;
    }
    text[len++] = ']';
    buf_append(b, text, len);
}

void json_put_numbers(struct buf *b, dtype d, const void *data, int64_t n)
{
    put_list(b, element[d], dtype_size(d), data, n);
}

void json_put_shortest(struct buf *b, dtype d, const void *data, int64_t n)
{
    if (d == DTYPE_F32) /* the hot path: the compiler sees the function */
        put_list(b, put_single, sizeof(float), data, n);
    else
        put_list(b, shortest_element(d), dtype_size(d), data, n);
}

void json_put_bare(struct buf *b, dtype d, const void *data)
{
    char text[TEXT_MAX];
    size_t n = shortest_element(d)(text, data);
    bool word = text[0] == '"';
    buf_append(b, text + word, n - 2 * word);
}
