/* Copying by a view (graph/attrs_move.h): what the ref and the cpu kernels of transpose, slice, expand and their like
 * share. */
#pragma once

#include "graph/attrs_image.h"
#include "kernels/kernel.h"

struct walk {
    int rank;
    int64_t dim[VIEW_RANK_MAX], step[VIEW_RANK_MAX]; /* in elements of the input */
    int64_t offset, count;                           /* of all elements that come out */
    size_t size;                                     /* of an element */
};

/* The walk of the node in the plan's arena. */
status walk_prepare(const struct kernel_ctx *ctx, view_fn *view, void **state, struct err *e);
/* Dimensions of 1 go away, and those that lie behind each other in the input as in the output become one. */
void walk_merge(struct walk *w);
/* Steps index to the next place of the first `rank` dimensions and moves *at along; false behind the last. */
bool walk_next(const struct walk *w, int rank, int64_t *index, int64_t *at);

/* The rows of a kernel table that are one walk each: X(operator, its view). */
#define WALK_LIST(X)                       \
    X(transpose, transpose_view)           \
    X(flip, flip_view)                     \
    X(diagonal, diagonal_view)             \
    X(slice, slice_view)                   \
    X(split_part, split_view)              \
    X(expand, expand_view)                 \
    X(expand_as, expand_as_view)           \
    X(tile, tile_view)                     \
    X(depth_to_space, depth_to_space_view) \
    X(space_to_depth, space_to_depth_view) \
    X(channel_shuffle, channel_shuffle_view)
