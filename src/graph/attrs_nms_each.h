/* Attribute struct of ONNX's suppression of boxes. */
#pragma once

#include "graph/op.h"

/* nms_each: for each image and class alone, the boxes that no better one overlaps. Inputs boxes [N, M, 4], scores [N, C,
 * M], then one number each, where given: int64 how many at most (0 or none: none at all), float32 overlap that is too
 * much (0), float32 score that is too low. Output int64 [n, 3]: image, class, box; by image, class, falling score. Boxes
 * are two opposite corners (y, x first), or, centred, x and y of the middle, width, height. */
struct nms_each_attrs {
    bool centred;
};
