/* Attribute structs of the operators on images and volumes: x is [N, C, spatial...], or [N, spatial..., C] where an
 * attribute says channel_last. A zeroed struct is the default of every field. */
#pragma once

#include "graph/attrs.h"
#include "graph/attrs_move.h"

#define SPATIAL_MAX 3

/* batch_norm: (x - mean) / sqrt(variance + epsilon) * scale + bias; inputs x, scale, bias, mean, variance, the last four
 * [C]. instance_norm: the same with mean and variance of each image's own channel; group_norm: of each group of C / groups
 * channels; their inputs: x, scale (optional, [C]), bias (optional, [C]). */
struct norm_attrs {
    float epsilon;
    int32_t groups; /* group_norm alone */
    bool channel_last;
};

/* lrn: x / (k + alpha * sum of the squares of `size` neighbouring channels) ^ beta. */
struct lrn_attrs {
    int32_t size;
    float alpha, beta, k;
    bool channel_last;
};

/* conv_nd: x [N, C, 1 to 3 spatial], w [O, C/groups, ...], bias (optional, [O]). conv_transpose: w [C, O/groups, ...]; the
 * result has (in - 1) * stride - pads + (kernel - 1) * dilation + 1 + more elements along an axis, or size's. */
struct conv_nd_attrs {
    struct attr_ints stride, dilation; /* one for each spatial axis; none: 1 */
    struct attr_ints pads;             /* before each axis, then behind each; none: 0 */
    struct attr_ints more, size;       /* conv_transpose alone, each may be empty */
    int32_t groups;
    int32_t auto_pad; /* enum auto_pad */
};

/* What a window does along one axis, everything worked out. */
struct span {
    int64_t in, kernel, stride, dilation, before, after, out;
};

/* Axes that x does not have come first, with one element and a window of one. Words say what does not fit. */
status conv_nd_spans(const struct conv_nd_attrs *a, const struct shape *x, const struct shape *w,
                     bool transposed, struct span out[SPATIAL_MAX], struct err *e);

/* deform_conv: deformable convolution, 2-D. Inputs x, w [O, C/groups, kh, kw], offset [N, 2 * deform_groups * kh * kw, oh,
 * ow] (y and x of each tap), mask (optional, [N, deform_groups * kh * kw, oh, ow]). */
struct deform_conv_attrs {
    struct attr_ints stride, dilation, pads; /* as conv_nd's */
    int32_t groups, deform_groups;
};
status deform_conv_spans(const struct deform_conv_attrs *a, const struct shape *x,
                         const struct shape *w, struct span out[SPATIAL_MAX], struct err *e);

/* pool_nd: pool2d's rules for 1 to 3 spatial axes, and windows with gaps. max_pool_index: mode max; a second output holds,
 * as int32 counted within the channel, where each maximum is. */
struct pool_nd_attrs {
    int32_t mode; /* enum pool_mode */
    struct attr_ints kernel, stride, dilation, pads;
    int32_t auto_pad;
    bool ceil_mode, global, adaptive;
    bool ceil_inside; /* as pool2d's */
};
status pool_nd_spans(const struct pool_nd_attrs *a, const struct shape *x,
                     struct span out[SPATIAL_MAX], struct err *e);

/* max_unpool: inputs x, indices (int32 or int64) of max_pool_index; out has the spatial `size`, zeros where no index
 * points. */
struct unpool_attrs {
    struct attr_ints size;
};

enum resize_mode {
    RESIZE_NEAREST,
    RESIZE_LINEAR,
    RESIZE_CUBIC,
};
extern const char *const resize_mode_names[];

/* Which place of the input an element o of the output stands for, with r input elements to one of the output. */
enum resize_place {
    PLACE_HALF_PIXEL,      /* (o + 0.5) r - 0.5 */
    PLACE_ASYMMETRIC,      /* o r */
    PLACE_CORNERS,         /* o (in - 1) / (out - 1) */
    PLACE_HALF_PIXEL_OR_0, /* as the first, but 0 where the output has one element (PyTorch) */
};
extern const char *const resize_place_names[];

/* How nearest rounds the place. */
enum resize_round {
    ROUND_DOWN,
    ROUND_HALF_UP,   /* floor(place + 0.5) */
    ROUND_HALF_DOWN, /* ceil(place - 0.5) */
    ROUND_UP,
};
extern const char *const resize_round_names[];

/* resize: inputs x, size (optional, int32 or int64), scale (optional, f32). axes are resized, in the order of size and
 * scale; none: all spatial axes of [N, C, ...], or all axes where there are as many sizes or scales. The size tensor overrules the scale tensor, that the attribute scale,
 * that the attribute size. A scale gives floor(in * scale) elements. */
struct resize_attrs {
    int32_t mode;  /* enum resize_mode */
    int32_t place; /* enum resize_place */
    int32_t round; /* enum resize_round */
    float cubic;   /* the coefficient a of the cubic kernel; -0.75 for Paddle */
    struct attr_ints axes, size;
    struct attr_floats scale;
    bool ratio_of_sizes; /* r is always in / out, never 1 / scale */
};

/* How one axis is resized: ratio is r above. */
struct resize_axis {
    int64_t in, out;
    int axis;
    float ratio;
};
/* Works out every axis; count of them. */
status resize_plan(const struct node *n, const struct type *in, struct resize_axis out[SHAPE_MAX],
                   int *count, struct err *e);

enum pad_mode {
    PADDING_CONSTANT,
    PADDING_REFLECT, /* the edge is not repeated */
    PADDING_EDGE,
    PADDING_WRAP,
};
extern const char *const pad_mode_names[];

/* pad: inputs x, pads (optional: before each axis, then behind each), value (optional, one element). Negative pads cut. */
struct pad_attrs {
    int32_t mode; /* enum pad_mode */
    struct attr_ints pads;
    float value;
};
/* Pads of every axis, from the input or the attribute. */
status pad_amounts(const struct node *n, const struct type *in, int64_t before[SHAPE_MAX],
                   int64_t after[SHAPE_MAX], struct err *e);

enum grid_padding {
    GRID_ZEROS,
    GRID_BORDER,
    GRID_REFLECTION,
};
extern const char *const grid_padding_names[];

/* grid_sample: inputs x [N, C, H, W] or [N, C, D, H, W], grid [N, out..., 2 or 3] of places in -1 .. 1, x first. */
struct grid_attrs {
    int32_t mode;    /* enum resize_mode: nearest, linear or cubic */
    int32_t padding; /* enum grid_padding */
    bool align_corners;
    /* nearest, zeros: a place outside the outermost elements' middles is 0 even where it rounds to one */
    bool strict;
};

/* affine_grid: inputs theta [N, 2, 3] or [N, 3, 4], size (optional, int32 or int64: N, C, H, W or N, C, D, H, W); out [N, H,
 * W, 2] or [N, D, H, W, 3]. */
struct affine_grid_attrs {
    struct attr_ints size;
    bool align_corners;
};

/* depth_to_space: C = block * block * c channels become c, H and W block times as large. blocks_first: the block's places
 * are the outermost part of the channel (ONNX's DCR), else the innermost (Paddle's pixel_shuffle, CRD). space_to_depth:
 * the other way. */
struct block_attrs {
    int32_t block;
    bool blocks_first, channel_last;
};

view_fn depth_to_space_view, space_to_depth_view, channel_shuffle_view;

/* channel_shuffle: channels as [groups, C / groups] transposed. maxout: the maximum of `groups` neighbours along axis. */
struct groups_attrs {
    int32_t groups, axis;
    bool channel_last;
};

/* im2col: x [N, C, H, W] to [N, C * kh * kw, places]. col2im: the sums the other way, to [N, C, size] of 1 to 3 spatial
 * axes. kernel, stride, dilation: one for each axis; pads: before each axis, then behind each. Inputs 1 and 2 of col2im:
 * size and kernel (optional, int32 or int64); they then count, not the attributes. */
struct im2col_attrs {
    struct attr_ints kernel, stride, dilation, pads, size;
};
status im2col_spans(const struct im2col_attrs *a, int64_t h, int64_t w,
                    struct span out[SPATIAL_MAX], struct err *e);
/* Of col2im; axes: how many are spatial, the last of out. */
status col2im_spans(const struct node *n, const struct type *in, struct span out[SPATIAL_MAX],
                    int *axes, struct err *e);

/* temporal_shift: x [N * segments, C, H, W]; a part `ratio` of the channels comes from the segment
 * before, as much from the one behind, zeros outside. */
struct temporal_attrs {
    int32_t segments;
    float ratio;
    bool channel_last;
};
