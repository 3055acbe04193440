/* Attribute structs of the operators that rearrange ragged rows. x holds the rows of all sequences, offsets (int64 [n+1])
 * says where each begins. What makes new sequences gives their offsets as its last output. */
#pragma once

#include "graph/op.h"

/* seq_softmax: inputs x [T] or [T, 1], offsets: over each sequence.
 * seq_reverse: inputs x, offsets: the rows of each sequence the other way round.
 * seq_repeat: inputs x [n, ...], offsets, like [R, ...]: row i as often as sequence i has rows; R rows come out.
 * seq_expand: inputs x [T, ...], offsets, x_offsets (optional): sequence (or row) i of x as often as offsets say that
 * sequence i has rows; outputs rows, their offsets.
 * seq_concat: inputs x, offsets, x, offsets, ...: sequence i of all, one behind another.
 * seq_unpad: inputs x [n, L, ...], lengths [n]: the first rows of each.
 * seq_slice: inputs x, offsets, starts [n], lengths [n]: a part of each sequence.
 * seq_scatter: inputs x [n, D], ids (int64 [T]), offsets, updates [T]: x[i][ids[t]] += updates[t] for t of sequence i. */

/* seq_pad: inputs x [T, ...], offsets, value (one element, or a whole row); outputs [n, L, ...], lengths int64 [n].
 * length: L; -1: that of the longest. */
struct seq_pad_attrs {
    int64_t length;
};

/* seq_scale: input 0 x [T, D], input 1 offsets: what the offsets are when the same elements are seen as rows of
 * `width`. */
struct seq_scale_attrs {
    int64_t width;
};

/* seq_enumerate: inputs x [T, 1] of ids, offsets; out [T, window]: the ids from each place on, pad behind the end. */
struct seq_enumerate_attrs {
    int64_t pad;
    int32_t window;
};

/* seq_erase: inputs x [T, 1] of ids, offsets: without those ids. */
struct seq_erase_attrs {
    struct attr_ints tokens;
};

/* seq_mask: inputs lengths (any shape), the longest (optional, one integer); a last dimension of `longest` with 1 where
 * its index is below the length. */
struct seq_mask_attrs {
    int64_t longest;
    int32_t dtype;
};

/* ctc_align: repetitions and blanks taken out. Inputs: x [T, 1] of ids, offsets; outputs rows [T', 1], their offsets; if
 * nothing is left at all, one row of -1. ctc_align_padded: inputs x [N, T], lengths [N]; outputs [N, T] filled up with
 * `pad`, lengths [N, 1]. */
struct ctc_align_attrs {
    int32_t blank;
    int32_t pad; /* ctc_align_padded alone */
    bool keep;   /* repetitions stay */
};

/* edit_distance: of sequence i of the one and sequence i of the other; inputs x [T, 1], offsets, y [R, 1], offsets; or
 * padded: x [N, T], lengths [N], y [N, R], lengths [N]. Output [N, 1]. */
struct edit_distance_attrs {
    bool padded, normalized; /* by the length of y */
};

/* hash: x [T, k] of ids; out [T, count, 1] of the same dtype: xxHash64 of the row's bytes, with seeds 0, 1, ..., modulo
 * `modulo`. */
struct hash_attrs {
    int64_t modulo;
    int32_t count;
};

/* cvm: x [T, D] whose first two columns count shows and clicks; log(show + 1) and log(click + 1) - log(show + 1) in their
 * place, or without them (drop). */
struct cvm_attrs {
    bool drop;
};
