/* Attribute structs of the operators of classical machine learning. */
#pragma once

#include "graph/op.h"

enum tree_sum {
    TREE_SUM,
    TREE_MIN,
    TREE_MAX,
};
extern const char *const tree_sum_names[];

/* How a node compares its feature with its threshold: true goes to `yes`. */
enum tree_branch {
    TREE_LEAF,
    TREE_AT_MOST,
    TREE_BELOW,
    TREE_AT_LEAST,
    TREE_ABOVE,
    TREE_EQUAL,
    TREE_UNEQUAL,
    TREE_BRANCH_COUNT,
};

/* Columns of a row of `nodes`. */
enum tree_column {
    TREE_FEATURE,
    TREE_BRANCH, /* enum tree_branch */
    TREE_YES,
    TREE_NO,      /* rows of nodes */
    TREE_NAN_YES, /* a feature that is NaN goes to yes: 1, or by the comparison: 0 */
    TREE_FIRST,
    TREE_COUNT, /* of a leaf: its rows of targets and weights */
    TREE_COLUMNS,
};

/* trees: inputs x float32 [N, features]; then constants: nodes int32 [n, TREE_COLUMNS], thresholds float32 [n], targets
 * int32 [l] and weights float32 [l] of leaves, roots int32 [t], base float32 [targets] or absent. Output float32 [N,
 * targets]: for each target the sum (least, largest) of the weights of the leaves that a row comes to, plus base. */
struct trees_attrs {
    int32_t targets;
    int32_t sum; /* enum tree_sum */
};
