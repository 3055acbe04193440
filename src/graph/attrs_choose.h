/* Attribute structs of the operators that choose by what elements are, and of odd makers of tensors. */
#pragma once

#include "graph/attrs_move.h"
#include "graph/op.h"

/* masked_select: inputs x, mask (bool, broadcast with x); the elements where it is true, in a row.
 * nonzero: x; the places of elements that are not 0: int64 [n, rank]. */

/* unique: x; outputs the elements that are different, sorted (or, consecutive, without neighbours that are equal); the
 * place of the first of each; for each element of x which of them it is; how often each occurs. All in a row. */
struct unique_attrs {
    bool consecutive;
    bool unsorted; /* in the order in which they appear */
};

/* linspace: inputs start, stop, num (one element each): num numbers from start to stop. */
struct linspace_attrs {
    int32_t dtype;
};

/* diag: x [n] makes a matrix with it on a diagonal and `padding` elsewhere; x [n, m] gives its diagonal. */
struct diag_attrs {
    int32_t offset;
    float padding;
};

/* put_slice: inputs x, value, then starts, ends, axes, steps (optional, as slice has them): x with the slice replaced by
 * value, which is broadcast. */

view_fn put_slice_view; /* of what is replaced */

/* repeat: each element along axis `times` times, one behind another. Input 1: the times of each element, or one number
 * (optional). */
struct repeat_attrs {
    int64_t times;
    int32_t axis;
};

/* Its axis, and the size that it has in the result. */
status repeat_size(const struct node *n, const struct type *in, int *axis, int64_t *size,
                   struct err *e);

/* shard_index: ids of shard `shard` of `shards`, counted from its beginning; `other` for the rest. */
struct shard_attrs {
    int64_t count, shards, shard, other;
};

/* multiplex: inputs ids [n, 1], then tensors of one shape [n, ...]: row i of the ids[i]-th. */
