/* What the kernels of resize share: which elements of an axis make one of its result, and with what weights. */
#pragma once

#include "graph/attrs_image.h"

#define RESIZE_TAPS 4

struct resize_tap {
    int64_t at[RESIZE_TAPS]; /* place along the axis, times step */
    float weight[RESIZE_TAPS];
};

int resize_taps(int32_t mode); /* how many of them count */
void resize_tap(const struct resize_attrs *a, const struct resize_axis *x, int64_t o, int64_t step,
                struct resize_tap *t);
/* Weights of the four elements at distances 1 + d, d, 1 - d and 2 - d; a: as in attrs. */
void resize_cubic(float a, float d, float weight[RESIZE_TAPS]);
