/* Reading; json_write.c writes. Numbers are the hot path: up to 19 digits are gathered in an
 * integer and scaled by one operation where that is exact; what lies outside goes to the C library.
 */
#include "codec/json.h"

#include "base/limits.h"
#include "tensor/shape.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char no_memory[] = "memory for strings is out";

// clang-format off
static const char *const kind_name[] = {
    [JSON_NONE] = "nothing",    [JSON_NULL] = "null",       [JSON_BOOL] = "true or false",
    [JSON_NUMBER] = "a number", [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",
    [JSON_OBJECT] = "an object",
};
// clang-format on

const char *json_kind_name(json_kind k)
{
    return kind_name[k];
}

void json_init(struct json *j, struct str text, struct arena *a)
{
    const char *p = text.p != NULL ? text.p : "";
    *j = (struct json){ .start = p,
                        .p = p,
                        .end = p + text.n,
                        .arena = a,
                        .max_depth =
                            a != NULL && a->max_depth > 0 ? a->max_depth : LIMIT_JSON_DEPTH };
}

bool json_failed(const struct json *j)
{
    return j->fault != NULL;
}

/* Ends the text too, so that every later call returns at once. */
static void fail_at(struct json *j, const char *at, const char *fault)
{
    if (j->fault != NULL)
        return;
    j->fault = fault;
    j->fault_at = (size_t)(at - j->start);
    j->p = j->end;
}

void json_fail(struct json *j, const char *fault)
{
    fail_at(j, j->p, fault);
}

static inline void skip_space(struct json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\t' || *j->p == '\r'))
        j->p++;
}

/* Steps over c when it is next. */
static inline bool take(struct json *j, char c)
{
    skip_space(j);
    if (j->p >= j->end || *j->p != c)
        return false;
    j->p++;
    return true;
}

status json_end(struct json *j, struct err *e)
{
    skip_space(j);
    if (j->p < j->end)
        json_fail(j, "expected the end of the text");
    if (j->fault == NULL)
        return OK;
    return err_set(e, j->fault == no_memory ? NO_MEMORY : INVALID, "byte %zu: %s", j->fault_at,
                   j->fault);
}

json_kind json_peek(struct json *j)
{
    skip_space(j);
    if (j->p >= j->end)
        return JSON_NONE;
    switch (*j->p) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case '"': return JSON_STRING;
    case 'n': return JSON_NULL;
    case 't':
    case 'f': return JSON_BOOL;
    default: break;
    }
    if (*j->p == '-' || (*j->p >= '0' && *j->p <= '9'))
        return JSON_NUMBER;
    if (j->loose && (*j->p == 'N' || *j->p == 'I'))
        return JSON_NUMBER;
    json_fail(j, "expected a value");
    return JSON_NONE;
}

/* ---- structure ---- */

static void enter(struct json *j, char bracket, const char *expected)
{
    if (!take(j, bracket)) {
        json_fail(j, expected);
    } else if (j->depth >= j->max_depth) {
        json_fail(j, "nested too deep");
    } else {
        j->depth++;
        j->first = true;
    }
}

void json_object(struct json *j)
{
    enter(j, '{', "expected an object");
}

void json_array(struct json *j)
{
    enter(j, '[', "expected an array");
}

/* To the next item of the innermost array or object; false at its end, which is taken. */
static inline bool step(struct json *j, char close)
{
    if (take(j, close)) {
        if (j->depth > 0)
            j->depth--;
        j->first = false;
        return false;
    }
    if (!j->first && !take(j, ','))
        json_fail(j, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    else if (j->p >= j->end)
        json_fail(j, close == '}' ? "the object does not end" : "the array does not end");
    j->first = false;
    return j->fault == NULL;
}

bool json_item(struct json *j)
{
    return step(j, ']');
}

/* ---- strings ---- */

static const struct str nothing = { "", 0 };

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    int32_t v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

static char *put_utf8(char *to, int32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    int follow = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };
    *to++ = (char)(lead[follow] | c >> (6 * follow));
    while (follow-- > 0)
        *to++ = (char)(0x80 | (c >> (6 * follow) & 0x3f));
    return to;
}

/* The code point of the escape at *p (behind its backslash), which is stepped over; -1: none. */
static int32_t take_escape(const char **p, const char *end)
{
    static const char name[] = "\"\\/bfnrt", value[] = "\"\\/\b\f\n\r\t";
    const char *at = *p < end ? memchr(name, **p, sizeof(name) - 1) : NULL;
    if (at != NULL) {
        (*p)++;
        return value[at - name];
    }
    int32_t c = *p < end && **p == 'u' ? hex4(*p + 1, end) : -1;
    if (c < 0 || (c >= 0xdc00 && c < 0xe000))
        return -1;
    *p += 5;
    if (c < 0xd800 || c >= 0xe000)
        return c;
    int32_t low = end - *p >= 2 && (*p)[0] == '\\' && (*p)[1] == 'u' ? hex4(*p + 2, end) : -1;
    if (low < 0xdc00 || low >= 0xe000)
        return -1;
    *p += 6;
    return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
}

/* No escape is shorter than what it stands for, so that raw.n bytes are enough. */
static struct str unescape(struct json *j, struct str raw)
{
    char *copy = arena_try(j->arena, raw.n, 1), *to = copy;
    if (copy == NULL) {
        json_fail(j, no_memory);
        return nothing;
    }
    for (const char *p = raw.p, *end = p + raw.n; p < end;) {
        if (*p != '\\') {
            *to++ = *p++;
            continue;
        }
        const char *at = p++;
        int32_t c = take_escape(&p, end);
        if (c < 0) {
            fail_at(j, at, "unknown escape in a string");
            return nothing;
        }
        to = put_utf8(to, c);
    }
    return (struct str){ copy, (size_t)(to - copy) };
}

static struct str take_string(struct json *j, const char *expected)
{
    if (!take(j, '"')) {
        json_fail(j, expected);
        return nothing;
    }
    const char *p = j->p;
    bool escaped = false;
    uint8_t all = 0;
    for (; p < j->end && *p != '"'; p++) {
        all |= (uint8_t)*p;
        if ((uint8_t)*p < 0x20) {
            fail_at(j, p, "control character in a string");
            return nothing;
        }
        if (*p == '\\') {
            escaped = true;
            if (++p >= j->end)
                break;
        }
    }
    struct str raw = { j->p, (size_t)(p - j->p) };
    if (p >= j->end) {
        json_fail(j, "the string does not end");
        return nothing;
    }
    if (all >= 0x80 && !str_is_utf8(raw)) {
        json_fail(j, "a string that is not UTF-8");
        return nothing;
    }
    j->p = p + 1;
    return escaped ? unescape(j, raw) : raw;
}

struct str json_string(struct json *j)
{
    return take_string(j, "expected a string");
}

bool json_key(struct json *j, struct str *key)
{
    if (!step(j, '}'))
        return false;
    *key = take_string(j, "expected a member's name in quotes");
    if (!take(j, ':'))
        json_fail(j, "expected ':'");
    return j->fault == NULL;
}

/* ---- words ---- */

static bool take_word(struct json *j, const char *word, size_t n)
{
    skip_space(j);
    if ((size_t)(j->end - j->p) < n || memcmp(j->p, word, n) != 0)
        return false;
    j->p += n;
    return true;
}

bool json_bool(struct json *j)
{
    if (take_word(j, "true", 4))
        return true;
    if (!take_word(j, "false", 5))
        json_fail(j, "expected true or false");
    return false;
}

void json_null(struct json *j)
{
    if (!take_word(j, "null", 4))
        json_fail(j, "expected null");
}

/* ---- numbers ---- */

/* digits * 10^exponent, as far as 19 digits hold it. */
struct number {
    uint64_t digits;
    int64_t exponent;
    int64_t given; /* the exponent as it was written */
    bool negative;
    bool cut; /* a digit that is not 0 did not fit any more */
    struct str text;
};

#define TEN_18       1000000000000000000u
#define EXPONENT_MAX 1000000000000 /* farther than any number of digits could bring back */

static inline const char *scan_digits(const char *p, const char *end, struct number *n)
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
static const char *scan_exponent(const char *p, const char *end, struct number *n)
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

static bool scan_number(struct json *j, struct number *n)
{
    skip_space(j);
    const char *begin = j->p, *p = begin, *end = j->end;
    *n = (struct number){ .negative = p < end && *p == '-' };
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
static const double power_of_ten[] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
    1e20, 1e21, 1e22,
};
// clang-format on

/* The right double for up to 2^53, else at most 2 units in the last place beside it. */
static inline bool near_double(const struct number *n, double *out)
{
    if (n->cut || n->exponent < -22 || n->exponent > 22)
        return false;
    double v = (double)n->digits;
    v = n->exponent < 0 ? v / power_of_ten[-n->exponent] : v * power_of_ten[n->exponent];
    *out = n->negative ? -v : v;
    return true;
}

#define DIGITS_MAX 800 /* 767 decide any double; one more tells that others follow */

/* strtod on a copy that has no decimal point (whose character the locale chooses) and an end. */
static double library_double(const struct number *n)
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

static inline double to_double(const struct number *n)
{
    double v;
    return n->digits <= (uint64_t)1 << 53 && near_double(n, &v) ? v : library_double(n);
}

/* The float nearest to v, which is at most 4 units of its last place beside the decimal number that is meant; false: that is
 * too near to the middle of two floats, which the 29 bits that a float lacks tell, or out of the plain range. */
static inline bool sure_float(double v, float *out)
{
    double size = fabs(v);
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    uint64_t beyond = bits & 0x1fffffff;
    *out = (float)v;
    return size >= FLT_MIN && size <= (double)FLT_MAX / 2 &&
           (beyond < 0x10000000 - 4 || beyond > 0x10000000 + 4);
}

/* What (float)to_double(n) is, but quick for the 17 digits in which json2pb and Python write a float: they are too many for
 * an exact double, yet every double near the right one becomes the same float. */
static inline float to_float(const struct number *n)
{
    double v;
    float f;
    if (near_double(n, &v) && sure_float(v, &f))
        return f;
    return (float)to_double(n);
}

/* ---- floats in a row: the hot path of JSON requests ---- */

#define EACH(byte) ((uint64_t)0x0101010101010101 * (byte))

/* Eight digits at once: whether the bytes of w are digits, and the number that they are (the first one weighs most). */
static inline bool are_digits(uint64_t w)
{
    return ((w & EACH(0xf0)) | ((w + EACH(0x06)) & EACH(0xf0)) >> 4) == EACH(0x33);
}

static inline uint64_t eight_digits(uint64_t w)
{
    w = (w & EACH(0x0f)) * 2561 >> 8;             /* pairs */
    w = (w & 0x00ff00ff00ff00ff) * 6553601 >> 16; /* fours */
    return (w & 0x0000ffff0000ffff) * 42949672960001ull >> 32;
}

static inline const char *quick_digits(const char *p, uint64_t *digits)
{
    for (int i = 0; i < 2; i++) {
        uint64_t w;
        memcpy(&w, p, sizeof(w));
        if (!are_digits(w))
            break;
        *digits = *digits * 100000000 + eight_digits(w);
        p += 8;
    }
    for (int i = 0; i < 8 && *p >= '0' && *p <= '9'; i++, p++)
        *digits = *digits * 10 + (uint64_t)(*p - '0');
    return p;
}

#define QUICK_BYTES  32 /* of text that must be there: more than any number that is read here */
#define QUICK_DIGITS 19

/* A number without exponent of at most 19 digits; NULL: something else, or one that needs more care. */
static inline const char *quick_float(const char *p, float *out)
{
    bool negative = *p == '-';
    const char *whole = p += negative, *end;
    uint64_t digits = 0;
    int fraction = 0;
    for (; *p >= '0' && *p <= '9' && p - whole < QUICK_DIGITS; p++)
        digits = digits * 10 + (uint64_t)(*p - '0');
    if (p == whole || (*whole == '0' && p > whole + 1))
        return NULL;
    end = p;
    if (*p == '.') {
        if (p - whole > 3) /* so that what is read here ends before QUICK_BYTES */
            return NULL;
        end = quick_digits(p + 1, &digits);
        fraction = (int)(end - p - 1);
        if (fraction == 0 || fraction + (*whole != '0' ? p - whole : 0) > QUICK_DIGITS)
            return NULL;
    }
    if ((*end | 0x20) == 'e' || (*end >= '0' && *end <= '9'))
        return NULL;
    double v = (double)digits / power_of_ten[fraction];
    if (digits == 0) {
        *out = negative ? -0.0f : 0.0f;
        return end;
    }
    return sure_float(negative ? -v : v, out) ? end : NULL;
}

/* Takes plain numbers into to, as many as there is room for, from text behind which QUICK_BYTES can be read. *p: at a value,
 * or at the bracket behind the last one. */
static int64_t quick_run(const char **p, const char *end, float *to, int64_t room)
{
    const char *at = *p, *behind;
    int64_t n = 0;
    while (n < room && at < end && (behind = quick_float(at, &to[n])) != NULL &&
           (*behind == ',' || *behind == ']') && behind < end) {
        n++;
        *p = behind;
        if (*behind == ']')
            break;
        for (at = behind + 1; at < end && *at == ' '; at++)
            continue;
        *p = at;
    }
    return n;
}

/* Takes numbers as long as they are plain ones, and counts them; then stands at a value that is none, or at the bracket
 * that ends the row. The last bytes of the text are read from a copy with zeros behind it. */
static int64_t take_quick_floats(struct json *j, struct json_array *a)
{
    char tail[2 * QUICK_BYTES];
    float *to = (float *)a->to + a->count;
    int64_t room = a->max - a->count, n = 0;
    const char *safe = j->end - j->p > QUICK_BYTES ? j->end - QUICK_BYTES : j->p;
    if (j->p < safe)
        n = quick_run(&j->p, safe, to, room);
    if (j->end - j->p <= QUICK_BYTES && j->p < j->end && *j->p != ']') {
        const char *p = tail;
        size_t left = (size_t)(j->end - j->p);
        memcpy(tail, j->p, left);
        memset(tail + left, 0, sizeof(tail) - left);
        n += quick_run(&p, tail + left, to + n, room - n);
        j->p += p - tail;
    }
    a->count += n;
    return n;
}

/* The size of a whole number; 1.0 and 1e3 are whole too. */
static bool to_whole(const struct number *n, uint64_t *out)
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
    struct number n;
    if (!scan_number(j, &n))
        return 0;
    double v = to_double(&n);
    if (!isinf(v))
        return v;
    fail_at(j, n.text.p, "a number too large for float64");
    return 0;
}

/* Whether a string stands where a number may; skips space. */
static inline bool quoted(struct json *j)
{
    skip_space(j);
    return j->p < j->end && *j->p == '"';
}

static double word_double(struct json *j)
{
    const char *at = j->p;
    struct str s = json_string(j);
    if (str_eq_nocase(s, STR("NaN")))
        return (double)NAN;
    if (str_eq_nocase(s, STR("Infinity")))
        return (double)INFINITY;
    if (str_eq_nocase(s, STR("-Infinity")))
        return -(double)INFINITY;
    fail_at(j, at, "expected a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
    return 0;
}

/* One of the bare words of loose JSON; false: none is next. */
static bool take_bare(struct json *j, double *out)
{
    if (!j->loose)
        return false;
    if (take_word(j, "NaN", 3))
        *out = (double)NAN;
    else if (take_word(j, "Infinity", 8))
        *out = (double)INFINITY;
    else if (take_word(j, "-Infinity", 9))
        *out = -(double)INFINITY;
    else
        return false;
    return true;
}

double json_float(struct json *j)
{
    double v;
    if (take_bare(j, &v))
        return v;
    return quoted(j) ? word_double(j) : json_number(j);
}

int64_t json_i64(struct json *j)
{
    const char *at = j->p;
    int64_t v = 0;
    if (quoted(j)) {
        if (!str_to_i64(json_string(j), &v))
            fail_at(j, at, "expected a whole number in the range of int64");
        return v;
    }
    struct number n;
    uint64_t size;
    if (!scan_number(j, &n))
        return 0;
    if (to_whole(&n, &size) && size <= (uint64_t)INT64_MAX + n.negative)
        return n.negative ? (int64_t)(0 - size) : (int64_t)size;
    fail_at(j, n.text.p, "expected a whole number in the range of int64");
    return 0;
}

uint64_t json_u64(struct json *j)
{
    const char *at = j->p;
    uint64_t v = 0;
    if (quoted(j)) {
        if (!str_to_u64(json_string(j), &v))
            fail_at(j, at, "expected a whole number in the range of uint64");
        return v;
    }
    struct number n;
    if (!scan_number(j, &n))
        return 0;
    if (to_whole(&n, &v) && (!n.negative || v == 0))
        return v;
    fail_at(j, n.text.p, "expected a whole number in the range of uint64");
    return 0;
}

void json_skip(struct json *j)
{
    struct number n;
    struct str key;
    double word;
    switch (json_peek(j)) {
    case JSON_NONE: json_fail(j, "expected a value"); break;
    case JSON_NULL: json_null(j); break;
    case JSON_BOOL: json_bool(j); break;
    case JSON_NUMBER:
        if (!take_bare(j, &word))
            scan_number(j, &n);
        break;
    case JSON_STRING: json_string(j); break;
    case JSON_ARRAY:
        json_array(j);
        while (json_item(j))
            json_skip(j);
        break;
    case JSON_OBJECT:
        json_object(j);
        while (json_key(j, &key))
            json_skip(j);
        break;
    }
}

/* ---- arrays of numbers ---- */

/* Takes one scalar of dtype d into `to`. */
typedef void store_fn(struct json *j, dtype d, void *to);

struct range {
    int64_t low, high;
};

// clang-format off
static const struct range int_range[] = {
    [DTYPE_I64] = { INT64_MIN, INT64_MAX }, [DTYPE_I32] = { INT32_MIN, INT32_MAX },
    [DTYPE_I16] = { INT16_MIN, INT16_MAX }, [DTYPE_I8] = { INT8_MIN, INT8_MAX },
    [DTYPE_U8] = { 0, UINT8_MAX },          [DTYPE_U16] = { 0, UINT16_MAX },
    [DTYPE_U32] = { 0, UINT32_MAX },
};
// clang-format on

static void store_int(struct json *j, dtype d, void *to)
{
    const char *at = j->p;
    int64_t v = json_i64(j);
    if (v < int_range[d].low || v > int_range[d].high)
        fail_at(j, at, "a number out of the range of its type");
    memcpy(to, &v, dtype_size(d)); /* little-endian: the low bytes come first */
}

static void store_u64(struct json *j, dtype d, void *to)
{
    uint64_t v = json_u64(j);
    memcpy(to, &v, sizeof(v));
}

static void store_f64(struct json *j, dtype d, void *to)
{
    double v = json_float(j);
    memcpy(to, &v, sizeof(v));
}

static inline float take_float(struct json *j)
{
    double word;
    if (quoted(j))
        return (float)word_double(j);
    if (take_bare(j, &word))
        return (float)word;
    struct number n;
    if (!scan_number(j, &n))
        return 0;
    float v = to_float(&n);
    if (!isinf(v))
        return v;
    fail_at(j, n.text.p, "a number too large for float32");
    return 0;
}

static void store_f32(struct json *j, dtype d, void *to)
{
    float v = take_float(j);
    memcpy(to, &v, sizeof(v));
}

static void store_half(struct json *j, dtype d, void *to)
{
    const char *at = j->p;
    float v = take_float(j);
    uint16_t bits = d == DTYPE_F16 ? f32_to_f16(v) : f32_to_bf16(v);
    float back = d == DTYPE_F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
    if (isinf(back) && !isinf(v))
        fail_at(j, at, "a number out of the range of its type");
    memcpy(to, &bits, sizeof(bits));
}

/* 0 and 1 too, since that is how array libraries print truth. */
static void store_bool(struct json *j, dtype d, void *to)
{
    const char *at = j->p;
    uint64_t v = json_peek(j) == JSON_NUMBER ? json_u64(j) : json_bool(j);
    if (v > 1)
        fail_at(j, at, "expected true or false");
    *(uint8_t *)to = (uint8_t)v;
}

// clang-format off
static store_fn *const store[] = {
    [DTYPE_I64] = store_int, [DTYPE_F32] = store_f32,  [DTYPE_I32] = store_int,   [DTYPE_F64] = store_f64,
    [DTYPE_I16] = store_int, [DTYPE_F16] = store_half, [DTYPE_BF16] = store_half, [DTYPE_U8] = store_int,
    [DTYPE_I8] = store_int,  [DTYPE_BOOL] = store_bool, [DTYPE_U16] = store_int,  [DTYPE_U32] = store_int,
    [DTYPE_U64] = store_u64,
};
// clang-format on

struct rows {
    struct json_array *a;
    store_fn *store;
    uint8_t *to;
    size_t size;
    bool quick;              /* floats whose place in memory is right */
    int rank;                /* -1: not known before the first scalar or empty row */
    int64_t dims[SHAPE_MAX]; /* -1: not known before the first row of that level ends */
};

static bool at_bracket(const struct json *j)
{
    return j->p < j->end && *j->p == ']';
}

static inline void take_scalar(struct json *j, struct rows *r)
{
    if (r->a->count >= r->a->max) {
        json_fail(j, "more numbers than there is room for");
        return;
    }
    r->store(j, r->a->dtype, r->to + (size_t)r->a->count * r->size);
    r->a->count++;
}

static void take_row(struct json *j, struct rows *r, int level)
{
    int64_t n = 0;
    if (level >= SHAPE_MAX) {
        json_fail(j, "an array of more than 8 dimensions");
        return;
    }
    for (json_array(j); json_item(j); n++) {
        skip_space(j);
        if (r->quick && r->rank == level + 1) {
            int64_t quick = take_quick_floats(j, r->a);
            n += quick;
            if (quick > 0 && at_bracket(j)) {
                n--; /* this turn of the loop counts one */
                continue;
            }
        }
        bool inner = j->p < j->end && *j->p == '[';
        if (r->rank < 0 && !inner)
            r->rank = level + 1;
        if (inner && r->rank == level + 1)
            json_fail(j, "expected a number, found an array");
        else if (!inner && r->rank != level + 1)
            json_fail(j, "expected an array, as in the rows before");
        else if (inner)
            take_row(j, r, level + 1);
        else
            take_scalar(j, r);
    }
    if (r->rank < 0)
        r->rank = level + 1;
    if (r->dims[level] < 0)
        r->dims[level] = n;
    else if (r->dims[level] != n)
        json_fail(j, "a row of another length than the one before");
}

/* Scalars and arrays of any depth, all in one row. */
static void take_any(struct json *j, struct rows *r)
{
    skip_space(j);
    if (j->p >= j->end || *j->p != '[') {
        take_scalar(j, r);
        return;
    }
    for (json_array(j); json_item(j);) {
        skip_space(j);
        if (r->quick && take_quick_floats(j, r->a) > 0 && at_bracket(j))
            continue;
        take_any(j, r); /* no deeper than json_array allows */
    }
}

void json_numbers(struct json *j, struct json_array *a)
{
    struct rows r = { .a = a, .to = a->to, .size = dtype_size(a->dtype) };
    bool known = (size_t)a->dtype < ARRAY_LEN(store) && store[a->dtype] != NULL;
    a->count = 0;
    a->rank = 0;
    if (!known) {
        json_fail(j, "elements of this type cannot be given as JSON numbers");
        return;
    }
    r.store = store[a->dtype];
    r.quick = a->dtype == DTYPE_F32 && (uintptr_t)a->to % _Alignof(float) == 0;
    if (a->any_rank) {
        take_any(j, &r);
        return;
    }
    r.rank = a->dims != NULL ? -1 : 1;
    for (int i = 0; i < SHAPE_MAX; i++)
        r.dims[i] = -1;
    if (a->dims != NULL && json_peek(j) != JSON_ARRAY) {
        take_scalar(j, &r);
        return;
    }
    take_row(j, &r, 0);
    a->rank = r.rank;
    if (a->dims != NULL && !json_failed(j))
        memcpy(a->dims, r.dims, (size_t)r.rank * sizeof(r.dims[0]));
}

#define EACH_BYTE(c) ((uint64_t)0x0101010101010101 * (c))

/* Steps over words of 8 bytes that are digits and separators alone and counts their commas. */
static const char *count_commas(const char *p, const char *end, int64_t *commas)
{
    for (; end - p >= 8; p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        uint64_t quote = w ^ EACH_BYTE('"'), comma = w ^ EACH_BYTE(',');
        uint64_t no_quote = (quote + EACH_BYTE(0x7f)) & EACH_BYTE(0x80);
        if ((w & EACH_BYTE(0xc0)) != 0 || no_quote != EACH_BYTE(0x80))
            break; /* a letter, a bracket or a quotation mark is among them */
        uint64_t found = ~(comma + EACH_BYTE(0x7f)) & EACH_BYTE(0x80);
        *commas += (int64_t)((found >> 7) * EACH_BYTE(1) >> 56); /* the sum of the bytes */
    }
    return p;
}

static const char *end_of_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\' && end - p > 1)
            p++;
    return p;
}

int64_t json_count_numbers(const struct json *j)
{
    int64_t commas = 0, depth = 0;
    for (const char *p = j->p; p < j->end; p++) {
        p = depth > 0 ? count_commas(p, j->end, &commas) : p;
        if (p >= j->end)
            break;
        if (*p == '"')
            p = end_of_string(p, j->end);
        else if (*p == '[' || *p == '{')
            depth++;
        else if ((*p == ']' || *p == '}') && --depth <= 0)
            break;
        else if (*p == ',' && depth == 0)
            break; /* behind a scalar */
        else
            commas += *p == ',';
    }
    return commas + 1;
}
