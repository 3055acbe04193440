/* Dimensions of a tensor, outermost first. -1 stands for a dimension that is known only when a request comes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHAPE_MAX 8

struct shape {
    int32_t rank; /* 0: a scalar */
    int64_t dim[SHAPE_MAX];
};

#define SHAPE(...)                                                                    \
    ((struct shape){ (int32_t)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), \
                     { __VA_ARGS__ } })

/* Product of the dimensions; -1 when one is negative or the product of those that are not 0 does not fit, so that a
 * part of the product (shape_span) fits whenever this does. */
int64_t shape_numel(const struct shape *s);
/* Product of dim[from] .. dim[to-1]; all must be known. */
int64_t shape_span(const struct shape *s, int from, int to);
bool shape_eq(const struct shape *a, const struct shape *b);
/* Same rank, and equal wherever `pattern` does not say -1. */
bool shape_matches(const struct shape *s, const struct shape *pattern);
/* -rank .. rank-1 to 0 .. rank-1, or -1 when outside. */
int shape_axis(const struct shape *s, int64_t axis);
/* NumPy broadcasting of two shapes; false when they do not agree. */
bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out);
/* "[2, 13]" into out (always terminated); returns out. */
const char *shape_text(const struct shape *s, char *out, size_t size);

#define SHAPE_TEXT_MAX (SHAPE_MAX * 22 + 3)
