/* Attribute structs of the operators of detection. Boxes are [.., 4]: left, top, right, bottom. Where boxes of several
 * images follow each other, an optional input says how many each image has: `counts` (int32 or int64 [N]), or `offsets`
 * (int64 [N+1], LoD's); with neither, all belong to one image. */
#pragma once

#include "graph/attrs.h"

#define LEVELS_MAX 16 /* of a pyramid */

/* prior_box: inputs feature [N, C, H, W], image [N, C, h, w]; outputs boxes and variances [H, W, priors, 4], in parts of
 * the image. For each of min_sizes: a box of each ratio, and one of sqrt(min * max), max after the ratios, or in front of
 * those that are not 1 where max_early. */
struct prior_attrs {
    struct attr_floats min_sizes, max_sizes, ratios, variances;
    bool flip, clip, max_early;   /* flip: 1 / ratio too */
    float step_w, step_h, offset; /* steps of 0: the image's size by the feature's */
};
/* The ratios that are really used: 1 first, doubles left out. */
void prior_ratios(const struct prior_attrs *a, float out[2 * ATTR_INTS_MAX + 1], int *count);
int64_t prior_count(const struct prior_attrs *a);

/* density_prior_box: the same inputs and outputs; for each of sizes, densities[i]^2 shifted boxes of each ratio. flat:
 * outputs are [H * W * priors, 4]. */
struct density_attrs {
    struct attr_floats sizes, ratios, variances;
    struct attr_ints densities;
    bool clip, flat;
    float step_w, step_h, offset;
};

/* anchors: input feature [N, C, H, W]; outputs boxes and variances [H, W, ratios * sizes, 4], in elements of the image. */
struct anchor_attrs {
    struct attr_floats sizes, ratios, variances, stride;
    float offset;
};

/* box_coder: inputs priors [P, 4], targets, variances (optional, [P, 4]). Targets to decode [N, P, 4] (axis 1: [P, N, 4]),
 * to encode [N, 4]; out [N, P, 4]. */
struct box_coder_attrs {
    bool encode, pixels; /* pixels: a box of one element has width 0 */
    int32_t axis;
    struct attr_floats variances; /* 4, or none */
};

/* box_clip: inputs boxes [n, ..., 4], info [N, 3] (height, width, scale of each image), offsets (optional). */

/* yolo_box: inputs x [N, anchors * (5 + classes), H, W], with iou_aware anchors * (6 + classes) channels, image sizes
 * int32 [N, 2]; outputs boxes [N, anchors * H * W, 4], scores [N, anchors * H * W, classes]. */
struct yolo_attrs {
    struct attr_ints anchors; /* width and height of each */
    int32_t classes, downsample;
    float threshold, scale, iou_factor;
    bool clip, iou_aware;
};

/* iou_similarity: inputs x [N, 4], y [M, 4]; out [N, M]. */
struct iou_attrs {
    bool pixels;
};

/* roi_align, roi_pool, psroi_pool, prroi_pool: inputs x [N, C, H, W], rois [n, 4], counts, offsets; out [n, C, height,
 * width]; psroi_pool: C is channels * height * width, the result's `channels`. by_image, of roi_align: input 2 is instead
 * [n], int64 or int32, and says of which image each roi is. */
struct roi_attrs {
    int32_t height, width, channels;
    int32_t samples; /* along each axis of a bin; 0: as many as the bin has elements */
    float scale;     /* of the feature to what the rois are in */
    bool aligned;
    bool by_image;
    /* roi_align: of its samples and their neighbours' shares, where else it is the samples' mean */
    bool largest;
};

/* multiclass_nms: inputs boxes [N, M, 4] (or 6 to 32 numbers: the corners of polygons), scores [N, classes, M], or boxes [M, classes, 4], scores [M, classes] with counts
 * or offsets. Outputs: rows label, score, box; int32 index of each row's box; int32 count of each image; int64 offsets.
 * nothing: without any, one row of one -1 and offsets 0, 1 come out. merge, for the first form: before, each box that
 * overlaps the last one left is merged into it, places weighted by scores, scores added up. matrix_nms: the first form and the same outputs. */
struct nms_attrs {
    int32_t background, nms_top_k, keep_top_k; /* background, tops: -1 for none */
    float score_threshold, nms_threshold, eta, post_threshold, sigma;
    bool pixels, gaussian, nothing, merge;
};

/* retina_boxes: RetinaNet's last step. Inputs, `levels` of each: deltas [N, M, 4], scores [N, M, classes], anchors [M, 4];
 * then info [N, 3] (height, width, scale). Of each level the best nms_top_k scores above the threshold (above 0 in the last
 * level) become boxes, which are suppressed class by class; the best keep_top_k come out as rows label (from 1 on), score,
 * box, and int64 offsets. */
struct retina_attrs {
    int32_t levels, nms_top_k, keep_top_k; /* nms_top_k: -1 for all */
    float score_threshold, nms_threshold, eta;
};

/* nms_ordered: boxes [n, 4], the best first; out int64: the places of those that overlap no kept one by more than
 * threshold. */
struct ordered_attrs {
    float threshold;
};

/* decode_assign: inputs priors [n, 4], variances [4] or [n, 4], deltas [n, 4 C], scores [n, C]; outputs every class's box
 * [n, 4 C], and the best class's, class 0 aside, [n, 4]. */
struct assign_attrs {
    float limit; /* of the logarithm of a box's growth */
};

/* proposals: inputs scores [N, A, H, W], deltas [N, 4 A, H, W], info [N, 2] (height, width) or [N, 3] (and scale),
 * anchors [H, W, A, 4], variances (the same). Outputs rois [n, 4], scores [n, 1], int32 counts, int64 offsets. */
struct proposals_attrs {
    int32_t pre_top, post_top;
    float threshold, min_size, eta;
    bool pixels, by_scale;
};

/* distribute_rois: inputs rois [n, 4], counts, offsets. Outputs, `levels` of each: rois, int32 counts, int64 offsets; then
 * int32 [n, 1]: where each roi went. Level of a roi: refer_level + log2(sqrt(area) / refer_scale), kept within. */
struct distribute_attrs {
    int32_t min_level, max_level, refer_level, refer_scale;
    bool pixels;
};

/* collect_rois: `levels` rois [n, 4], as many scores [n, 1], as many counts (or, by_offsets, offsets); outputs the best
 * `top` rois by image, int32 counts, int64 offsets. */
struct collect_attrs {
    int32_t top, levels;
    bool by_offsets;
};

/* bipartite_match: input distances [n, M], offsets; outputs int32 [N, M] row matched to each column (-1: none), f32 [N, M]
 * its distance. per_prediction: unmatched columns take their best row above threshold. */
struct match_attrs {
    bool per_prediction;
    float threshold;
};

/* polygon_box_transform: x [N, 8, H, W]: even channels become 4 w - x, odd ones 4 h - x. */
