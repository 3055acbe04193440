/* Arrays of numbers, flat or in rows: the hot path of JSON requests. */
#include "codec/json_parts.h"

#include "tensor/shape.h"

/* ---- floats in a row ---- */

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
    double v = (double)digits / json_power_of_ten[fraction];
    if (digits == 0) {
        *out = negative ? -0.0f : 0.0f;
        return end;
    }
    return json_sure_float(negative ? -v : v, out) ? end : NULL;
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
        json_fail_at(j, at, "a number out of the range of its type");
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
    if (json_quoted(j))
        return (float)json_word_double(j);
    if (json_take_bare(j, &word))
        return (float)word;
    struct json_decimal n;
    if (!json_scan_number(j, &n))
        return 0;
    float v = json_to_float(&n);
    if (!isinf(v))
        return v;
    json_fail_at(j, n.text.p, "a number too large for float32");
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
        json_fail_at(j, at, "a number out of the range of its type");
    memcpy(to, &bits, sizeof(bits));
}

/* 0 and 1 too, since that is how array libraries print truth. */
static void store_bool(struct json *j, dtype d, void *to)
{
    const char *at = j->p;
    uint64_t v = json_peek(j) == JSON_NUMBER ? json_u64(j) : json_bool(j);
    if (v > 1)
        json_fail_at(j, at, "expected true or false");
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
        json_skip_space(j);
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
    json_skip_space(j);
    if (j->p >= j->end || *j->p != '[') {
        take_scalar(j, r);
        return;
    }
    for (json_array(j); json_item(j);) {
        json_skip_space(j);
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

/* Steps over words of 8 bytes that are digits and separators alone and counts their commas. */
static const char *count_commas(const char *p, const char *end, int64_t *commas)
{
    for (; end - p >= 8; p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        uint64_t quote = w ^ EACH('"'), comma = w ^ EACH(',');
        uint64_t no_quote = (quote + EACH(0x7f)) & EACH(0x80);
        if ((w & EACH(0xc0)) != 0 || no_quote != EACH(0x80))
            break; /* a letter, a bracket or a quotation mark is among them */
        uint64_t found = ~(comma + EACH(0x7f)) & EACH(0x80);
        *commas += (int64_t)((found >> 7) * EACH(1) >> 56); /* the sum of the bytes */
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
