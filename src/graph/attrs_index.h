/* Attribute structs of the operators that choose elements by number or by rank. An index is int64 or int32; one below 0
 * counts from the end. An index outside makes the run fail INVALID. */
#pragma once

#include "graph/op.h"

/* gather: inputs x, index (any shape); out x.shape[:axis] + index.shape + x.shape[axis+1:].
 * gather_nd: inputs x, index [..., k]: each row of index names the first k dimensions; out index.shape[:-1] +
 * x.shape[k:].
 * take_along, put_along: x and index of one rank, index nowhere larger than x but along axis. out[i][j][k] =
 * x[i][index[i][j][k]][k] for axis 1. put_along: inputs x, index, updates (of index's shape); out is x with these put in.
 * scatter_rows: inputs x, index [n], updates [n] + x.shape[1:]. scatter_nd: inputs x, index, updates as gather_nd gives. */
struct gather_attrs {
    int32_t axis;
};

enum scatter_mode {
    SCATTER_SET, /* the last one that names a place counts */
    SCATTER_ADD,
    SCATTER_MUL,
    SCATTER_MAX,
    SCATTER_MIN,
};
extern const char *const scatter_names[];

struct scatter_attrs {
    int32_t axis; /* put_along alone */
    int32_t mode; /* enum scatter_mode */
    bool afresh;  /* scatter_rows: rows that are named begin with 0 rather than with x's */
};

/* one_hot: inputs ids (any shape), depth (optional); a last dimension of `depth` with 1 at the id. lenient: an id outside
 * gives zeros, rather than a fault. negative: ids below 0 count from the end. */
struct one_hot_attrs {
    int64_t depth;
    int32_t dtype;
    bool lenient, negative;
};

/* top_k: outputs the k largest (or smallest) along axis, in order, and their places (int64); the earlier one first where
 * two are equal. Input 1: k (optional). argsort: outputs all in order and their places; stable. NaN counts as the
 * largest. */
struct top_k_attrs {
    int64_t k; /* top_k alone */
    int32_t axis;
    bool smallest;
};

/* arg_reduce: the place of the largest (or smallest) along axis, the first one of equals. dtype: of the places. */
struct arg_reduce_attrs {
    int32_t axis;
    int32_t dtype;
    bool smallest, keep_dims, flatten, last; /* last: the last one of equals */
};
