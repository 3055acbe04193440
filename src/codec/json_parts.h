/* Private to the room: what the files that read JSON share (json.c: texts and their structure; json_number.c: one number;
 * json_rows.c: many). */
#pragma once

#include "codec/json.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Ends the text too, so that every later call returns at once. */
void json_fail_at(struct json *j, const char *at, const char *fault);

static inline void json_skip_space(struct json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\t' || *j->p == '\r'))
        j->p++;
}

/* Whether a string stands where a number may; skips space. */
static inline bool json_quoted(struct json *j)
{
    json_skip_space(j);
    return j->p < j->end && *j->p == '"';
}

/* Steps over a word when it is next. */
bool json_take_word(struct json *j, const char *word, size_t n);
/* One of the bare words of loose JSON; false: none is next. */
bool json_take_bare(struct json *j, double *out);
/* "NaN" and the like, at a quotation mark. */
double json_word_double(struct json *j);

/* digits * 10^exponent, as far as 19 digits hold it. */
struct json_decimal {
    uint64_t digits;
    int64_t exponent;
    int64_t given; /* the exponent as it was written */
    bool negative;
    bool cut; /* a digit that is not 0 did not fit any more */
    struct str text;
};

bool json_scan_number(struct json *j, struct json_decimal *n);
/* What it is as a float, infinite where that is too large. */
float json_to_float(const struct json_decimal *n);
extern const double json_power_of_ten[23];

/* The float nearest to v, which is at most 4 units of its last place beside the decimal number that is meant; false: that is
 * too near to the middle of two floats, which the 29 bits that a float lacks tell, or out of the plain range. */
static inline bool json_sure_float(double v, float *out)
{
    double size = fabs(v);
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    uint64_t beyond = bits & 0x1fffffff;
    *out = (float)v;
    return size >= FLT_MIN && size <= (double)FLT_MAX / 2 &&
           (beyond < 0x10000000 - 4 || beyond > 0x10000000 + 4);
}
