/* Overlap of polygons, as their corners x, y, x, y, ...: in either direction, convex or not, but not through themselves. */
#pragma once

#include <stdint.h>

/* Intersection over union; 0 where one has no area. */
float polygon_iou(const float *a, const float *b, int corners);
