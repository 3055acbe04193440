/* A borrowed piece of text or bytes: pointer and length, not terminated, never owned. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){ (literal), sizeof(literal) - 1 })
#define STR_ARG(s) \
    (int)((s).n > 512 ? 512 : (s).n), (s).p /* for "%.*s": cut, since names come from outside */

static inline struct str str_of(const char *s)
{
    return (struct str){ s, s != NULL ? strlen(s) : 0 };
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_is(struct str a, const char *b)
{
    return str_eq(a, str_of(b));
}

bool str_eq_nocase(struct str a, struct str b); /* ASCII */
bool str_starts(struct str s, const char *prefix);
bool str_ends(struct str s, const char *suffix);
struct str str_trim(struct str s); /* spaces and tabs at both ends */

/* Cuts s at the first sep: the part before goes to *head, s keeps the part after. false when sep does not occur (then
 * *head is all of s and s is empty). */
bool str_cut(struct str *s, char sep, struct str *head);

/* Copies the first n bytes of s to `to` and takes them off s; false, and nothing happens, where s has fewer. */
bool str_take(struct str *s, void *to, size_t n);

/* Whole-string decimal numbers; false on anything else, overflow included (*out then means nothing). */
bool str_to_i64(struct str s, int64_t *out);
bool str_to_u64(struct str s, uint64_t *out);
bool str_to_double(struct str s, double *out);

bool str_is_utf8(struct str s);

/* The candidate nearest to `word` by edit distance, or NULL when none is near enough to be what was meant. */
const char *str_nearest(struct str word, const char *const *candidates, size_t count);

/* What an error says behind a word that is not known: "; did you mean 'NEAR'?", where near is NULL "; the first one is
 * 'FIRST'", where both are nothing. */
struct hint {
    char text[160];
};
struct hint str_hint(const char *near, const char *first);
