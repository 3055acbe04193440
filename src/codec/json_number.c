/* One number: up to 19 digits are gathered in an integer and scaled by one operation where that is exact; what lies outside goes
 * to the C library. */
#include "codec/json_parts.h"

#include <stdio.h>
#include <stdlib.h>

#define TEN_18       1000000000000000000u
#define EXPONENT_MAX 1000000000000 /* farther than any number of digits could bring back */

static inline const char *scan_digits(const char *p, const char *end, struct json_decimal *n)
{
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (n->digits < TEN_18) {
            n->digits = n->digits * 10 + (uint64_t)(*p - '0');
        } else {
            n->exponent++;
            n->cut |= *p != '0';
        }
    }
    return p;
}

/* p is behind the 'e'; NULL: no digits. */
static const char *scan_exponent(const char *p, const char *end, struct json_decimal *n)
{
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    const char *begin = p;
    int64_t v = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        v = v < EXPONENT_MAX ? v * 10 + (*p - '0') : v;
    n->given = negative ? -v : v;
    n->exponent += n->given;
    return p > begin ? p : NULL;
}

bool json_scan_number(struct json *j, struct json_decimal *n)
{
    json_skip_space(j);
    const char *begin = j->p, *p = begin, *end = j->end;
    *n = (struct json_decimal){ .negative = p < end && *p == '-' };
    if (n->negative)
        p++;
    const char *whole = p;
    p = scan_digits(p, end, n);
    bool good = p > whole && (*whole != '0' || p == whole + 1);
    if (good && p < end && *p == '.') {
        const char *fraction = ++p;
        p = scan_digits(p, end, n);
        n->exponent -= p - fraction;
        good = p > fraction;
    }
    if (good && p < end && (*p == 'e' || *p == 'E')) {
        p = scan_exponent(p + 1, end, n);
        good = p != NULL;
    }
    if (!good) {
        json_fail(j, "expected a number");
        return false;
    }
    n->text = (struct str){ begin, (size_t)(p - begin) };
    j->p = p;
    return true;
}

// clang-format off
const double json_power_of_ten[23] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
    1e20, 1e21, 1e22,
};
// clang-format on

/* The right double for up to 2^53, else at most 2 units in the last place beside it. */
static inline bool near_double(const struct json_decimal *n, double *out)
{
    if (n->cut || n->exponent < -22 || n->exponent > 22)
        return false;
    double v = (double)n->digits;
    v = n->exponent < 0 ? v / json_power_of_ten[-n->exponent] : v * json_power_of_ten[n->exponent];
    *out = n->negative ? -v : v;
    return true;
}

#define DIGITS_MAX 800 /* 767 decide any double; one more tells that others follow */

/* strtod on a copy that has no decimal point (whose character the locale chooses) and an end. */
static double library_double(const struct json_decimal *n)
{
    char text[DIGITS_MAX + 40];
    size_t len = 0;
    int64_t exponent = n->given;
    bool fraction = false, cut = false;
    for (size_t i = 0; i < n->text.n && (n->text.p[i] | 0x20) != 'e'; i++) {
        char c = n->text.p[i];
        if (c == '.')
            fraction = true;
        if (c < '0' || c > '9')
            continue;
        if (len < DIGITS_MAX && (len > 0 || c != '0'))
            text[len++] = c;
        else if (len > 0) {
            cut |= c != '0';
            exponent++;
        }
        exponent -= fraction;
    }
    if (cut) {
        text[len++] = '1';
        exponent--;
    }
    snprintf(text + len, sizeof(text) - len, "%se%lld", len == 0 ? "0" : "", (long long)exponent);
    double v = strtod(text, NULL);
    return n->negative ? -v : v;
}

static inline double to_double(const struct json_decimal *n)
{
    double v;
    return n->digits <= (uint64_t)1 << 53 && near_double(n, &v) ? v : library_double(n);
}

/* What (float)to_double(n) is, but quick for the 17 digits in which json2pb and Python write a float: they are too many for
 * an exact double, yet every double near the right one becomes the same float. */
float json_to_float(const struct json_decimal *n)
{
    double v;
    float f;
    if (near_double(n, &v) && json_sure_float(v, &f))
        return f;
    return (float)to_double(n);
}

/* The size of a whole number; 1.0 and 1e3 are whole too. */
static bool to_whole(const struct json_decimal *n, uint64_t *out)
{
    uint64_t v = n->digits;
    int64_t x = n->exponent;
    if (n->cut) /* only the 20 plain digits of a large uint64 can still fit */
        return str_to_u64((struct str){ n->text.p + n->negative, n->text.n - n->negative }, out);
    if (v == 0)
        x = 0;
    for (; x < 0 && v % 10 == 0; x++)
        v /= 10;
    if (x < 0)
        return false;
    for (; x > 0; x--)
        if (__builtin_mul_overflow(v, (uint64_t)10, &v))
            return false;
    *out = v;
    return true;
}

double json_number(struct json *j)
{
    struct json_decimal n;
    if (!json_scan_number(j, &n))
        return 0;
    double v = to_double(&n);
    if (!isinf(v))
        return v;
    json_fail_at(j, n.text.p, "a number too large for float64");
    return 0;
}

double json_word_double(struct json *j)
{
    const char *at = j->p;
    struct str s = json_string(j);
    if (str_eq_nocase(s, STR("NaN")))
        return (double)NAN;
    if (str_eq_nocase(s, STR("Infinity")))
        return (double)INFINITY;
    if (str_eq_nocase(s, STR("-Infinity")))
        return -(double)INFINITY;
    json_fail_at(j, at, "expected a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
    return 0;
}

bool json_take_bare(struct json *j, double *out)
{
    if (!j->loose)
        return false;
    if (json_take_word(j, "NaN", 3))
        *out = (double)NAN;
    else if (json_take_word(j, "Infinity", 8))
        *out = (double)INFINITY;
    else if (json_take_word(j, "-Infinity", 9))
        *out = -(double)INFINITY;
    else
        return false;
    return true;
}

double json_float(struct json *j)
{
    double v;
    if (json_take_bare(j, &v))
        return v;
    return json_quoted(j) ? json_word_double(j) : json_number(j);
}

int64_t json_i64(struct json *j)
{
    const char *at = j->p;
    int64_t v = 0;
    if (json_quoted(j)) {
        if (!str_to_i64(json_string(j), &v))
            json_fail_at(j, at, "expected a whole number in the range of int64");
        return v;
    }
    struct json_decimal n;
    uint64_t size;
    if (!json_scan_number(j, &n))
        return 0;
    if (to_whole(&n, &size) && size <= (uint64_t)INT64_MAX + n.negative)
        return n.negative ? (int64_t)(0 - size) : (int64_t)size;
    json_fail_at(j, n.text.p, "expected a whole number in the range of int64");
    return 0;
}

uint64_t json_u64(struct json *j)
{
    const char *at = j->p;
    uint64_t v = 0;
    if (json_quoted(j)) {
        if (!str_to_u64(json_string(j), &v))
            json_fail_at(j, at, "expected a whole number in the range of uint64");
        return v;
    }
    struct json_decimal n;
    if (!json_scan_number(j, &n))
        return 0;
    if (to_whole(&n, &v) && (!n.negative || v == 0))
        return v;
    json_fail_at(j, n.text.p, "expected a whole number in the range of uint64");
    return 0;
}
