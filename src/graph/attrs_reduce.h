/* Attribute structs of the operators that bring many elements down to one, or run along an axis. */
#pragma once

#include "graph/op.h"

enum reduce_mode {
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_PROD,
    REDUCE_ALL, /* of bools */
    REDUCE_ANY,
    REDUCE_LOG_SUM_EXP,
    REDUCE_L1,
    REDUCE_L2,
    REDUCE_SUM_SQUARE,
    REDUCE_LOG_SUM,
    REDUCE_LP,   /* (sum |x|^p)^(1/p) */
    REDUCE_ZERO, /* how many are not 0 */
    REDUCE_COUNT,
};
extern const char *const reduce_names[];

/* reduce: over axes; none: over all. Input 1: axes (optional). */
struct reduce_attrs {
    int32_t mode; /* enum reduce_mode */
    struct attr_ints axes;
    bool keep_dims;
    bool none_is_none; /* without axes nothing is reduced: ONNX's noop_with_empty_axes */
    bool
        of_none; /* max and min of no element: the lowest and the highest number, rather than a fault */
    float p;     /* REDUCE_LP */
};

/* Which dimensions go: drop[i]. */
status reduce_axes(const struct node *n, const struct type *in, bool drop[SHAPE_MAX],
                   struct err *e);

enum scan_mode {
    SCAN_SUM,
    SCAN_PROD,
    SCAN_MAX,
    SCAN_MIN,
    SCAN_LOG_SUM_EXP,
};
extern const char *const scan_names[];

/* scan: running sums (products) along axis. exclusive: without the element itself. reverse: from the end. Input 1: the axis
 * (optional, one int32 or int64); it then counts, not the attribute. */
struct scan_attrs {
    int32_t mode; /* enum scan_mode */
    int32_t axis;
    bool exclusive, reverse;
};

/* The axis counted from the front; 0 for a scalar. */
status scan_axis(const struct node *n, const struct type *in, int *axis, struct err *e);

/* layer_norm, rms_norm: over the dimensions from `begin` on: (x - mean) / sqrt(variance + epsilon) * scale + bias, and
 * without mean and with the mean square for the variance. Inputs: x, scale, bias (optional, flat, as many elements as are
 * normalised together). */
struct layer_norm_attrs {
    int32_t begin;
    float epsilon;
};

/* l2_normalize: x / sqrt(sum of squares along axis + epsilon); at_least: / max(root, epsilon). */
struct l2_attrs {
    int32_t axis;
    float epsilon;
    bool at_least;
};
