/* Attribute structs of the operators that move elements and compute nothing, and the one picture that most of them share:
 * an output that walks over its input in steps. A zeroed struct is the default of every field. Where an operator takes
 * both an attribute and an optional input for the same thing, the input counts; it must be known while planning. */
#pragma once

#include "graph/op.h"

/* transpose: output dimension i is input dimension perm[i]; no perm turns them all round. */
struct transpose_attrs {
    struct attr_ints perm;
};

/* squeeze: the dimensions in axes, which must be 1, go away; no axes: all that are 1. unsqueeze: dimensions of 1 appear
 * where axes says, one after another as Paddle does (`together`: places in the result, as ONNX does). flip: elements
 * along these axes run backwards. Input 1 of squeeze and unsqueeze: axes (optional). */
struct axes_attrs {
    struct attr_ints axes;
    bool together; /* unsqueeze alone */
    bool lenient;  /* squeeze alone: a dimension that is not 1 stays, as Paddle has it */
};

/* slice: NumPy's, with bounds cut to the dimension; steps may be negative, none means 1. Inputs: x, starts, ends, axes,
 * steps (all but x optional). No axes: 0, 1, ... Ends below -dim with a negative step mean "to the very beginning". */
struct slice_attrs {
    struct attr_ints axes, starts, ends, steps;
    /* with a negative step, an end of -1 is the very beginning, and one before it is 0: Paddle's reading */
    bool front;
};

/* split_part: part `index` of x cut along axis: into `count` equal parts, or, with count 0, into sections (one may be -1).
 * A node makes one part, so that a graph that needs few of them copies few. Input 1: sections (optional). */
struct split_attrs {
    int32_t axis, index, count;
    struct attr_ints sections;
};

/* expand: x repeated to shape, NumPy's broadcasting; -1 keeps x's dimension. Input 1: shape (optional). both: a dimension
 * of 1 in shape keeps x's, as ONNX's Expand does. expand_as: inputs x, like, ...: to the shape that all
 * but x have together. */
struct expand_attrs {
    struct attr_ints shape;
    bool both;
};

/* tile: x's dimension i is repeated repeats[i] times; the shorter of both is filled up with 1s in front. Input 1: repeats
 * (optional). */
struct tile_attrs {
    struct attr_ints repeats;
};

/* diagonal: dimensions axis1 and axis2 become one, the last, along their diagonal; offset: so many columns to the right. */
struct diagonal_attrs {
    int32_t offset, axis1, axis2;
};

/* roll: elements move shifts[i] places along axes[i] and come in again at the other end; no axes: over the flat x. */
struct roll_attrs {
    struct attr_ints shifts, axes;
};

/* triangle: what lies above (lower) or below (upper) a diagonal of the last two dimensions becomes 0. */
struct triangle_attrs {
    bool upper;
    int32_t diagonal;
};

#define VIEW_RANK_MAX (2 * SHAPE_MAX)

/* Element (i0, i1, ...) of the result, counted over dim, lies at offset + i0 * step[0] + ... of the input. dim is the
 * result's shape, but for tile, which counts each dimension as two. */
struct view {
    struct shape shape; /* of the result */
    int rank;
    int64_t dim[VIEW_RANK_MAX], step[VIEW_RANK_MAX];
    int64_t offset;
};

/* What each of these operators is for concrete inputs; a fault has words. A result without elements has no use for the
 * steps. */
typedef status view_fn(const struct node *n, const struct type *in, struct view *out,
                       struct err *e);
view_fn transpose_view, slice_view, split_view, expand_view, expand_as_view, tile_view, flip_view,
    diagonal_view;

/* The integers that input i of the node holds where it is there and known, else attr. UNSUPPORTED when only a run can
 * tell; what: "its shape". */
status ints_of(const struct node *n, const struct type *in, int i, const struct attr_ints *attr,
               const char *what, struct attr_ints *out, struct err *e);
