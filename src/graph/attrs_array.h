/* Tensor arrays: lists of tensors that grow in loops. One is a value like any other, uint8 [bytes], that holds its tensors
 * with their shapes and offsets (kernels/array.h has the layout), so that loops, branches and plans need to know nothing of
 * it. What is written makes a new one. No bytes at all are an array without tensors. */
#pragma once

#include "graph/op.h"

/* array_write: inputs array, index (one integer), x, then x's offsets of each level; out: the array with x at index, which
 * is in it or one behind its end.
 * array_read: inputs array, index; outputs the tensor, then its offsets of each level (`levels`).
 * array_length: int64 [1].
 * array_join: all tensors along axis, or, with `stack`, along a new one; outputs the tensor and the size of each part along
 * axis (int32 [n]). */
struct array_attrs {
    int32_t dtype;  /* of the tensors: array_read, array_join */
    int32_t levels; /* array_read */
    int32_t axis;   /* array_join */
    bool stack;
};

/* rank_table: input offsets (int64 [n+1]); out int64 [n, 2]: number and length of each sequence, longest first, the earlier
 * first of equals.
 * rank_longest: input a rank table; out int64 [1].
 * rank_split: inputs x [T, ...], offsets, rank table; out an array: tensor t has row t of every sequence that is longer than
 * t, in the table's order.
 * rank_join: inputs such an array, rank table; outputs x [T, ...] in the sequences' own order, and its offsets.
 * rank_shrink: inputs x [n, ...], index (one integer), rank table; out the rows of x for sequences longer than index.
 * rank_reorder: inputs x [n, ...], rank table; out its rows in the table's order. With x's offsets as input 2, sequences move
 * instead of rows, and output 1 has the new offsets. */
