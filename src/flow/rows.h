/* The rows of a batch: cutting a request's tensors by rows and putting several requests' tensors one behind the other.
 *
 * A dense tensor's rows are its first dimension; a ragged one's are the sequences of its outermost LoD level, whose
 * elements of data lie behind one another, so that joining them needs no padding. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "tensor/tensor.h"

/* -1: a tensor without dimensions has no rows. */
int64_t rows_count(const struct tensor *t);
/* Rows from `begin` to before `end` (0 <= begin <= end <= count): a view of t's elements; offsets are made in the arena. */
struct tensor rows_slice(const struct tensor *t, int64_t begin, int64_t end, struct arena *a);
/* Whether a and b differ in nothing but their number of rows and the lengths of their sequences. */
bool rows_joinable(const struct tensor *a, const struct tensor *b);
/* All of t[0..count), joinable, as one tensor whose elements lie in the arena. NO_MEMORY. */
status rows_join(const struct tensor *const *t, int count, struct arena *a, struct tensor *out);

/* How a dimension that differs between requests is made equal. */
struct rows_pad {
    int axis;       /* 1 or more */
    int64_t length; /* what it becomes */
    double value;   /* of the new elements */
};
/* t with its axis made longer; the elements lie in the arena. UNSUPPORTED for an element type that is no number. */
status rows_pad(const struct tensor *t, const struct rows_pad *pad, struct arena *a,
                struct tensor *out);
/* t with its axis cut to `length`; the elements lie in the arena. out is not t. */
status rows_trim(const struct tensor *t, int axis, int64_t length, struct arena *a,
                 struct tensor *out);
/* A copy of t, LoD included, in the arena. NO_MEMORY. */
status rows_copy(const struct tensor *t, struct arena *a, struct tensor *out);
