/* What the kernels of detection share: areas and overlaps of boxes, and which rows belong to which image. */
#pragma once

#include "graph/attrs_detect.h"
#include "kernels/ref/ref.h"

/* Rows [from, to) of one image after the other. */
struct images {
    int64_t count, rows;
    bool wide, by_counts, by_offsets; /* wide: counts are int64 */
};

struct image_rows {
    int64_t image, from, to;
};

/* in: the types of a node whose input i is counts and i + 1 offsets. */
static inline struct images images_of(const struct type *in, int i, int64_t rows)
{
    bool counts = in[i].shape.rank >= 0, offsets = !counts && in[i + 1].shape.rank >= 0;
    return (struct images){ .count = counts    ? in[i].shape.dim[0]
                                     : offsets ? in[i + 1].shape.dim[0] - 1
                                               : 1,
                            .rows = rows,
                            .wide = counts && in[i].dtype == DTYPE_I64,
                            .by_counts = counts,
                            .by_offsets = offsets };
}

/* Steps r, zeroed at first, to the next image (r->image counts from 1 on then); a fault where the numbers do not add up
 * to the rows. */
static inline status images_next(const struct images *m, const void *counts, const int64_t *offsets,
                                 struct image_rows *r, struct err *e)
{
    int64_t i = r->image++, size = m->rows;
    if (m->by_counts && counts != NULL)
        size = m->wide ? ((const int64_t *)counts)[i] : ((const int32_t *)counts)[i];
    if (m->by_offsets && offsets != NULL)
        size = offsets[i] == r->to ? offsets[i + 1] - offsets[i] : -1;
    r->from = r->to;
    if (size < 0 || size > m->rows - r->from || (r->image == m->count && r->from + size != m->rows))
        return err_set(e, INVALID, "the boxes of its %lld images do not add up to its %lld rows",
                       (long long)m->count, (long long)m->rows);
    r->to = r->from + size;
    return OK;
}

/* Sorts indices by falling score, equal ones by rising index; NaN comes last (select.c). */
void boxes_sort(const float *score, int32_t *index, int64_t n);

/* pixels: a box from element 3 to element 3 is 1 wide. */
static inline float box_area(const float *b, bool pixels)
{
    float more = pixels ? 1 : 0;
    if (b[2] < b[0] || b[3] < b[1])
        return 0;
    return (b[2] - b[0] + more) * (b[3] - b[1] + more);
}

/* Intersection over union; 0 for boxes apart. */
static inline float box_iou(const float *a, const float *b, bool pixels)
{
    float more = pixels ? 1 : 0;
    if (b[0] > a[2] || b[2] < a[0] || b[1] > a[3] || b[3] < a[1])
        return 0;
    float w = fminf(a[2], b[2]) - fmaxf(a[0], b[0]) + more;
    float h = fminf(a[3], b[3]) - fmaxf(a[1], b[1]) + more;
    return w * h / (box_area(a, pixels) + box_area(b, pixels) - w * h);
}
