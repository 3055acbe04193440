#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

bool str_starts(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

bool str_ends(struct str s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

bool str_cut(struct str *s, char sep, struct str *head)
{
    const char *at = s->n != 0 ? memchr(s->p, sep, s->n) : NULL;
    if (at == NULL) {
        *head = *s;
        *s = (struct str){ 0 };
        return false;
    }
    size_t n = (size_t)(at - s->p);
    *head = (struct str){ s->p, n };
    *s = (struct str){ at + 1, s->n - n - 1 };
    return true;
}

bool str_to_u64(struct str s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

bool str_take(struct str *s, void *to, size_t n)
{
    if (s->n < n)
        return false;
    memcpy(to, s->p, n);
    s->p += n;
    s->n -= n;
    return true;
}

bool str_to_i64(struct str s, int64_t *out)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    uint64_t v;
    if (negative) {
        s.p++;
        s.n--;
    }
    if (!str_to_u64(s, &v) || v > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool str_to_double(struct str s, double *out)
{
    char small[64]; /* strtod wants an end; no honest number is longer */
    if (s.n == 0 || s.n >= sizeof(small))
        return false;
    memcpy(small, s.p, s.n);
    small[s.n] = '\0';
    if (strspn(small, "+-.0123456789eE") != s.n) /* strtod would also read " inf", nan, 0x1p3 */
        return false;
    char *end;
    *out = strtod(small, &end);
    return end == small + s.n && isfinite(*out);
}

/* Bytes that follow a lead byte, or -1; *low and *high bound the first of them (RFC 3629, table in section 4). */
static int utf8_follow(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (lead < 0x80)
        return 0;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 1;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0)
            *low = 0xa0;
        if (lead == 0xed)
            *high = 0x9f;
        return 2;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0)
            *low = 0x90;
        if (lead == 0xf4)
            *high = 0x8f;
        return 3;
    }
    return -1;
}

bool str_is_utf8(struct str s)
{
    const uint8_t *p = (const uint8_t *)s.p, *end = p + s.n;
    while (p < end) {
        uint8_t low, high;
        int follow = utf8_follow(*p++, &low, &high);
        if (follow < 0 || end - p < follow)
            return false;
        for (int i = 0; i < follow; i++, low = 0x80, high = 0xbf) {
            if (*p < low || *p > high)
                return false;
            p++;
        }
    }
    return true;
}

#define NEAREST_MAX 64

/* Levenshtein distance with one row kept; words longer than NEAREST_MAX never count as near. */
static size_t distance(struct str a, struct str b)
{
    size_t row[NEAREST_MAX + 1];
    if (a.n > NEAREST_MAX || b.n > NEAREST_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = diagonal + (lower(a.p[i - 1]) != lower(b.p[j - 1]));
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b.n];
}

const char *str_nearest(struct str word, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    size_t best_distance = 1 + word.n / 3; /* farther than that is another word */
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, str_of(candidates[i]));
        if (d <= best_distance && (best == NULL || d < best_distance)) {
            best_distance = d;
            best = candidates[i];
        }
    }
    return best;
}

struct hint str_hint(const char *near, const char *first)
{
    struct hint h = { "" };
    if (near != NULL)
        snprintf(h.text, sizeof(h.text), "; did you mean '%s'?", near);
    else if (first != NULL)
        snprintf(h.text, sizeof(h.text), "; the first one is '%s'", first);
    return h;
}
