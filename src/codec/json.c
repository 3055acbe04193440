/* Reading: a text's structure, strings and words. json_number.c and json_rows.c read numbers, json_write.c writes. */
#include "codec/json_parts.h"

#include "base/limits.h"

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

void json_fail_at(struct json *j, const char *at, const char *fault)
{
    if (j->fault != NULL)
        return;
    j->fault = fault;
    j->fault_at = (size_t)(at - j->start);
    j->p = j->end;
}

void json_fail(struct json *j, const char *fault)
{
    json_fail_at(j, j->p, fault);
}

/* Steps over c when it is next. */
static inline bool take(struct json *j, char c)
{
    json_skip_space(j);
    if (j->p >= j->end || *j->p != c)
        return false;
    j->p++;
    return true;
}

status json_end(struct json *j, struct err *e)
{
    json_skip_space(j);
    if (j->p < j->end)
        json_fail(j, "expected the end of the text");
    if (j->fault == NULL)
        return OK;
    return err_set(e, j->fault == no_memory ? NO_MEMORY : INVALID, "byte %zu: %s", j->fault_at,
                   j->fault);
}

json_kind json_peek(struct json *j)
{
    json_skip_space(j);
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
            json_fail_at(j, at, "unknown escape in a string");
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
            json_fail_at(j, p, "control character in a string");
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

bool json_take_word(struct json *j, const char *word, size_t n)
{
    json_skip_space(j);
    if ((size_t)(j->end - j->p) < n || memcmp(j->p, word, n) != 0)
        return false;
    j->p += n;
    return true;
}

bool json_bool(struct json *j)
{
    if (json_take_word(j, "true", 4))
        return true;
    if (!json_take_word(j, "false", 5))
        json_fail(j, "expected true or false");
    return false;
}

void json_null(struct json *j)
{
    if (!json_take_word(j, "null", 4))
        json_fail(j, "expected null");
}

/* ---- whatever it is ---- */

void json_skip(struct json *j)
{
    struct json_decimal n;
    struct str key;
    double word;
    switch (json_peek(j)) {
    case JSON_NONE: json_fail(j, "expected a value"); break;
    case JSON_NULL: json_null(j); break;
    case JSON_BOOL: json_bool(j); break;
    case JSON_NUMBER:
        if (!json_take_bare(j, &word))
            json_scan_number(j, &n);
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
