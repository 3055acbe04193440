/* Operators of detection whose results have sizes that follow from the inputs' sizes; the others: ops_select.c. */
#include "graph/attrs_detect.h"
#include "graph/ops.h"

#include <math.h>
#include <string.h>

#define SIZE_LIMIT ((int64_t)1 << 31)

static status want_boxes(const struct type *t, int rank, const char *what, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    TRY(want_rank(t, rank, what, e));
    if (t->shape.dim[rank - 1] == 4)
        return OK;
    return err_set(e, INVALID, "expected boxes of 4 as %s, got %s", what,
                   shape_text(&t->shape, text, sizeof(text)));
}

status want_images(const struct node *n, const struct type *in, int i, int64_t images,
                   struct err *e)
{
    if (has_input(n, i)) {
        TRY(want_rank(&in[i], 1, "its counts", e));
        if (in[i].dtype != DTYPE_I32 && in[i].dtype != DTYPE_I64)
            return err_set(e, INVALID, "expected int32 or int64 counts, got %s",
                           dtype_name(in[i].dtype));
    }
    int64_t count = has_input(n, i) ? in[i].shape.dim[0] : 1;
    if (!has_input(n, i) && has_input(n, i + 1))
        TRY(want_offsets(&in[i + 1], &count, e));
    if (images < 0 || count == images)
        return OK;
    return err_set(e, INVALID, "boxes of %lld images for %lld images", (long long)count,
                   (long long)images);
}

/* ---- boxes by place ---- */

void prior_ratios(const struct prior_attrs *a, float out[2 * ATTR_INTS_MAX + 1], int *count)
{
    out[0] = 1;
    *count = 1;
    for (int i = 0; i < a->ratios.count; i++) {
        bool known = false;
        for (int k = 0; k < *count; k++)
            known = known || fabsf(a->ratios.v[i] - out[k]) < 1e-6f;
        if (known)
            continue;
        out[(*count)++] = a->ratios.v[i];
        if (a->flip)
            out[(*count)++] = 1 / a->ratios.v[i];
    }
}

int64_t prior_count(const struct prior_attrs *a)
{
    float ratios[2 * ATTR_INTS_MAX + 1];
    int count;
    prior_ratios(a, ratios, &count);
    return (int64_t)count * a->min_sizes.count + a->max_sizes.count;
}

static bool all_positive(const struct attr_floats *v)
{
    for (int i = 0; i < v->count; i++)
        if (!(v->v[i] > 0 && v->v[i] < 1e9f))
            return false;
    return true;
}

/* [H, W, per, 4] twice, from a feature of rank 4. */
static status place_boxes(const struct type *feature, int64_t per, struct type *out, struct err *e)
{
    const struct shape *f = &feature->shape;
    TRY(want_rank(feature, 4, "its feature", e));
    if (f->dim[2] < 1 || f->dim[3] < 1 || f->dim[2] >= SIZE_LIMIT || f->dim[3] >= SIZE_LIMIT)
        return err_set(e, INVALID, "a feature of %lld x %lld", (long long)f->dim[2],
                       (long long)f->dim[3]);
    out[0] = out[1] = (struct type){ DTYPE_F32, SHAPE(f->dim[2], f->dim[3], per, 4), NULL };
    return OK;
}

static status infer_prior(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    const struct prior_attrs *a = n->attrs;
    TRY(want_rank(&in[1], 4, "its image", e));
    if (a->min_sizes.count < 1 || a->variances.count != 4 ||
        (a->max_sizes.count != 0 && a->max_sizes.count != a->min_sizes.count))
        return err_set(e, INVALID, "%d smallest and %d largest sizes, %d variances",
                       a->min_sizes.count, a->max_sizes.count, a->variances.count);
    if (!all_positive(&a->min_sizes) || !all_positive(&a->max_sizes) || !all_positive(&a->ratios))
        return err_set(e, INVALID, "its sizes and ratios must be positive");
    return place_boxes(&in[0], prior_count(a), out, e);
}

static status infer_density(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct density_attrs *a = n->attrs;
    int64_t per = 0;
    TRY(want_rank(&in[1], 4, "its image", e));
    if (a->sizes.count < 1 || a->sizes.count != a->densities.count || a->ratios.count < 1 ||
        a->variances.count != 4)
        return err_set(e, INVALID, "%d sizes, %d densities, %d ratios and %d variances",
                       a->sizes.count, a->densities.count, a->ratios.count, a->variances.count);
    if (!all_positive(&a->sizes) || !all_positive(&a->ratios))
        return err_set(e, INVALID, "its sizes and ratios must be positive");
    for (int i = 0; i < a->densities.count; i++) {
        if (a->densities.v[i] < 1 || a->densities.v[i] > 4096)
            return err_set(e, INVALID, "a density of %lld", (long long)a->densities.v[i]);
        per += a->densities.v[i] * a->densities.v[i] * a->ratios.count;
    }
    TRY(place_boxes(&in[0], per, out, e));
    if (a->flat) {
        if (shape_numel(&out[0].shape) < 0)
            return err_set(e, TOO_LARGE, "the number of boxes overflows");
        out[0].shape = out[1].shape = SHAPE(shape_numel(&out[0].shape) / 4, 4);
    }
    return OK;
}

static status infer_anchors(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct anchor_attrs *a = n->attrs;
    if (a->sizes.count < 1 || a->ratios.count < 1 || a->variances.count != 4 ||
        a->stride.count != 2 || !all_positive(&a->sizes) || !all_positive(&a->ratios) ||
        !all_positive(&a->stride))
        return err_set(e, INVALID, "%d sizes, %d ratios, %d strides and %d variances",
                       a->sizes.count, a->ratios.count, a->stride.count, a->variances.count);
    return place_boxes(&in[0], (int64_t)a->sizes.count * a->ratios.count, out, e);
}

/* ---- boxes by boxes ---- */

static status infer_box_coder(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    const struct box_coder_attrs *a = n->attrs;
    const struct shape *prior = &in[0].shape, *target = &in[1].shape;
    TRY(want_boxes(&in[0], 2, "its priors", e));
    TRY(want_dtype(&in[1], in[0].dtype, "its targets", e));
    TRY(want_boxes(&in[1], a->encode ? 2 : 3, "its targets", e));
    if (has_input(n, 2)) {
        TRY(want_dtype(&in[2], in[0].dtype, "its variances", e));
        if (!shape_eq(&in[2].shape, prior))
            return err_set(e, INVALID, "its variances differ in shape from its priors");
    }
    if (a->variances.count != 0 && a->variances.count != 4)
        return err_set(e, INVALID, "%d variances, expected 4", a->variances.count);
    if (a->axis < 0 || a->axis > 1)
        return err_set(e, INVALID, "axis %d, expected 0 or 1", a->axis);
    if (!a->encode && target->dim[a->axis == 0 ? 1 : 0] != prior->dim[0])
        return err_set(e, INVALID, "%lld priors and targets of %lld, %lld",
                       (long long)prior->dim[0], (long long)target->dim[0],
                       (long long)target->dim[1]);
    out[0] = (struct type){ in[0].dtype,
                            a->encode ? SHAPE(target->dim[0], prior->dim[0], 4)
                                      : SHAPE(target->dim[0], target->dim[1], 4),
                            NULL };
    return OK;
}

static status infer_assign(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct shape *prior = &in[0].shape, *var = &in[1].shape, *score = &in[3].shape;
    int64_t width;
    TRY(want_boxes(&in[0], 2, "its priors", e));
    for (int i = 1; i < 4; i++)
        TRY(want_dtype(&in[i], in[0].dtype, "its other inputs", e));
    TRY(want_rank(&in[2], 2, "its deltas", e));
    TRY(want_rank(&in[3], 2, "its scores", e));
    if (__builtin_mul_overflow(score->dim[1], 4, &width) || in[2].shape.dim[1] != width ||
        in[2].shape.dim[0] != prior->dim[0] || score->dim[0] != prior->dim[0])
        return err_set(e, INVALID, "%lld priors, %lld rows of %lld deltas and %lld scores",
                       (long long)prior->dim[0], (long long)in[2].shape.dim[0],
                       (long long)in[2].shape.dim[1], (long long)score->dim[1]);
    if (!shape_eq(var, prior) && !(var->rank == 1 && var->dim[0] == 4))
        return err_set(e, INVALID, "expected 4 variances, or 4 for each prior");
    out[0] = (struct type){ in[0].dtype, in[2].shape, NULL };
    out[1] = (struct type){ in[0].dtype, *prior, NULL };
    return OK;
}

static status infer_box_clip(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    int rank = in[0].shape.rank;
    int64_t images = 1;
    TRY(want_boxes(&in[0], rank < 2 ? 2 : rank, "its boxes", e));
    TRY(want_rank(&in[1], 2, "its image sizes", e));
    TRY(want_dtype(&in[1], in[0].dtype, "its image sizes", e));
    if (has_input(n, 2))
        TRY(want_offsets(&in[2], &images, e));
    else if (rank > 2)
        images = in[0].shape.dim[0];
    if (in[1].shape.dim[0] != images || in[1].shape.dim[1] != 3)
        return err_set(e, INVALID, "sizes of %lld images for %lld, of %lld numbers, expected 3",
                       (long long)in[1].shape.dim[0], (long long)images,
                       (long long)in[1].shape.dim[1]);
    return infer_same(n, in, out, e);
}

static status check_yolo(const struct yolo_attrs *a, const struct type *x, struct err *e)
{
    int64_t anchors = a->anchors.count / 2;
    if (anchors < 1 || a->anchors.count % 2 != 0 || a->classes < 1 || a->downsample < 1)
        return err_set(e, INVALID, "%d numbers of anchors, %d classes, downsampling by %d",
                       a->anchors.count, a->classes, a->downsample);
    for (int i = 0; i < a->anchors.count; i++)
        if (a->anchors.v[i] < 1 || a->anchors.v[i] >= SIZE_LIMIT)
            return err_set(e, INVALID, "an anchor of %lld", (long long)a->anchors.v[i]);
    int64_t channels = anchors * ((int64_t)a->classes + (a->iou_aware ? 6 : 5));
    if (x->shape.dim[1] != channels)
        return err_set(e, INVALID, "%lld channels, expected %lld", (long long)x->shape.dim[1],
                       (long long)channels);
    return OK;
}

static status infer_yolo(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct yolo_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    TRY(want_rank(&in[0], 4, "its feature", e));
    TRY(check_yolo(a, &in[0], e));
    TRY(want_dtype(&in[1], DTYPE_I32, "its image sizes", e));
    if (in[1].shape.rank != 2 || in[1].shape.dim[0] != x->dim[0] || in[1].shape.dim[1] != 2)
        return err_set(e, INVALID, "expected image sizes [%lld, 2]", (long long)x->dim[0]);
    if (x->dim[2] >= 65536 || x->dim[3] >= 65536)
        return err_set(e, TOO_LARGE, "a feature of %lld x %lld", (long long)x->dim[2],
                       (long long)x->dim[3]);
    int64_t boxes = a->anchors.count / 2 * x->dim[2] * x->dim[3];
    out[0] = (struct type){ in[0].dtype, SHAPE(x->dim[0], boxes, 4), NULL };
    out[1] = (struct type){ in[0].dtype, SHAPE(x->dim[0], boxes, a->classes), NULL };
    return OK;
}

static status infer_iou(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    TRY(want_boxes(&in[0], 2, "its first boxes", e));
    TRY(want_boxes(&in[1], 2, "its second boxes", e));
    TRY(want_dtype(&in[1], in[0].dtype, "its second boxes", e));
    out[0] = (struct type){ in[0].dtype, SHAPE(in[0].shape.dim[0], in[1].shape.dim[0]), NULL };
    return OK;
}

static status infer_match(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    int64_t images = 1;
    TRY(want_rank(&in[0], 2, "its distances", e));
    if (has_input(n, 1))
        TRY(want_offsets(&in[1], &images, e));
    out[0] = (struct type){ DTYPE_I32, SHAPE(images, in[0].shape.dim[1]), NULL };
    out[1] = (struct type){ in[0].dtype, SHAPE(images, in[0].shape.dim[1]), NULL };
    return OK;
}

static status infer_polygon(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    TRY(want_rank(&in[0], 4, "its geometry", e));
    if (in[0].shape.dim[1] % 2 != 0)
        return err_set(e, INVALID, "an odd number of channels");
    return infer_same(n, in, out, e);
}

/* ---- features by boxes ---- */

static status want_image_of_each(const struct node *n, const struct type *in, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    if (!has_input(n, 2) || in[2].shape.rank != 1 || in[2].shape.dim[0] != in[1].shape.dim[0] ||
        (in[2].dtype != DTYPE_I32 && in[2].dtype != DTYPE_I64))
        return err_set(e, INVALID, "expected the image of each of %lld rois, got %s of %s",
                       (long long)in[1].shape.dim[0],
                       has_input(n, 2) ? shape_text(&in[2].shape, text, sizeof(text)) : "nothing",
                       dtype_name(in[2].dtype));
    return OK;
}

static status infer_roi(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    const struct roi_attrs *a = n->attrs;
    TRY(want_rank(&in[0], 4, "its feature", e));
    TRY(want_boxes(&in[1], 2, "its rois", e));
    TRY(want_dtype(&in[1], in[0].dtype, "its rois", e));
    TRY(a->by_image ? want_image_of_each(n, in, e) : want_images(n, in, 2, in[0].shape.dim[0], e));
    if (a->height < 1 || a->width < 1 || a->samples > 1024 || !(a->scale > 0 && a->scale < 1e9f))
        return err_set(e, INVALID, "bins of %d x %d, %d samples, a scale of %g", a->height,
                       a->width, a->samples, (double)a->scale);
    for (int i = 1; i < 4; i++)
        if (in[0].shape.dim[i] < 1 || in[0].shape.dim[i] >= SIZE_LIMIT)
            return err_set(e, INVALID, "a feature without elements, or too large");
    out[0] =
        (struct type){ in[0].dtype,
                       SHAPE(in[1].shape.dim[0], in[0].shape.dim[1], a->height, a->width), NULL };
    return OK;
}

static status infer_psroi(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    const struct roi_attrs *a = n->attrs;
    int64_t channels;
    TRY(infer_roi(n, in, out, e));
    if (__builtin_mul_overflow((int64_t)a->channels * a->height, a->width, &channels) ||
        a->channels < 1 || channels != in[0].shape.dim[1])
        return err_set(e, INVALID, "%lld channels are not %d x %d x %d",
                       (long long)in[0].shape.dim[1], a->channels, a->height, a->width);
    out[0].shape.dim[1] = a->channels;
    return OK;
}

static const struct attr_field prior_fields[] = {
    FIELD(prior_attrs, min_sizes, ATTR_F32S),
    FIELD(prior_attrs, max_sizes, ATTR_F32S),
    FIELD(prior_attrs, ratios, ATTR_F32S),
    FIELD(prior_attrs, variances, ATTR_F32S),
    FIELD(prior_attrs, flip, ATTR_BOOL),
    FIELD(prior_attrs, clip, ATTR_BOOL),
    FIELD(prior_attrs, max_early, ATTR_BOOL),
    FIELD(prior_attrs, step_w, ATTR_F32),
    FIELD(prior_attrs, step_h, ATTR_F32),
    FIELD(prior_attrs, offset, ATTR_F32),
    { 0 },
};

static const struct attr_field density_fields[] = {
    FIELD(density_attrs, sizes, ATTR_F32S),     FIELD(density_attrs, ratios, ATTR_F32S),
    FIELD(density_attrs, variances, ATTR_F32S), FIELD(density_attrs, densities, ATTR_I64S),
    FIELD(density_attrs, clip, ATTR_BOOL),      FIELD(density_attrs, flat, ATTR_BOOL),
    FIELD(density_attrs, step_w, ATTR_F32),     FIELD(density_attrs, step_h, ATTR_F32),
    FIELD(density_attrs, offset, ATTR_F32),     { 0 },
};

static const struct attr_field anchor_fields[] = {
    FIELD(anchor_attrs, sizes, ATTR_F32S),     FIELD(anchor_attrs, ratios, ATTR_F32S),
    FIELD(anchor_attrs, variances, ATTR_F32S), FIELD(anchor_attrs, stride, ATTR_F32S),
    FIELD(anchor_attrs, offset, ATTR_F32),     { 0 },
};

static const struct attr_field coder_fields[] = {
    FIELD(box_coder_attrs, encode, ATTR_BOOL),
    FIELD(box_coder_attrs, pixels, ATTR_BOOL),
    FIELD(box_coder_attrs, axis, ATTR_I32),
    FIELD(box_coder_attrs, variances, ATTR_F32S),
    { 0 },
};

static const struct attr_field assign_fields[] = {
    FIELD(assign_attrs, limit, ATTR_F32),
    { 0 },
};

static const struct attr_field yolo_fields[] = {
    FIELD(yolo_attrs, anchors, ATTR_I64S),
    FIELD(yolo_attrs, classes, ATTR_I32),
    FIELD(yolo_attrs, downsample, ATTR_I32),
    FIELD(yolo_attrs, threshold, ATTR_F32),
    FIELD(yolo_attrs, scale, ATTR_F32),
    FIELD(yolo_attrs, iou_factor, ATTR_F32),
    FIELD(yolo_attrs, clip, ATTR_BOOL),
    FIELD(yolo_attrs, iou_aware, ATTR_BOOL),
    { 0 },
};

static const struct attr_field iou_fields[] = {
    FIELD(iou_attrs, pixels, ATTR_BOOL),
    { 0 },
};

static const struct attr_field match_fields[] = {
    FIELD(match_attrs, per_prediction, ATTR_BOOL),
    FIELD(match_attrs, threshold, ATTR_F32),
    { 0 },
};

static const struct attr_field roi_fields[] = {
    FIELD(roi_attrs, height, ATTR_I32),
    FIELD(roi_attrs, width, ATTR_I32),
    FIELD(roi_attrs, channels, ATTR_I32),
    FIELD(roi_attrs, samples, ATTR_I32),
    FIELD(roi_attrs, scale, ATTR_F32),
    FIELD(roi_attrs, aligned, ATTR_BOOL),
    FIELD(roi_attrs, by_image, ATTR_BOOL),
    FIELD(roi_attrs, largest, ATTR_BOOL),
    { 0 },
};

#define SIZES OP_SHAPE_ONLY

// clang-format off
const struct op ops_detect[] = {
    { "prior_box",         2, 2, 2, SIZES,      prior_fields,   sizeof(struct prior_attrs),     infer_prior },
    { "density_prior_box", 2, 2, 2, SIZES,      density_fields, sizeof(struct density_attrs),   infer_density },
    { "anchors",           1, 1, 2, SIZES,      anchor_fields,  sizeof(struct anchor_attrs),    infer_anchors },
    { "box_coder",         2, 3, 1, 0,          coder_fields,   sizeof(struct box_coder_attrs), infer_box_coder },
    { "decode_assign",     4, 4, 2, 0,          assign_fields,  sizeof(struct assign_attrs),    infer_assign },
    { "box_clip",          2, 3, 1, 0,          NULL,           0,                              infer_box_clip },
    { "yolo_box",          2, 2, 2, 0,          yolo_fields,    sizeof(struct yolo_attrs),      infer_yolo },
    { "iou_similarity",    2, 2, 1, 0,          iou_fields,     sizeof(struct iou_attrs),       infer_iou },
    { "bipartite_match",   1, 2, 2, 0,          match_fields,   sizeof(struct match_attrs),     infer_match },
    { "polygon_box",       1, 1, 1, 0,          NULL,           0,                              infer_polygon },
    { "roi_align",         2, 4, 1, 0,          roi_fields,     sizeof(struct roi_attrs),       infer_roi },
    { "roi_pool",          2, 4, 1, 0,          roi_fields,     sizeof(struct roi_attrs),       infer_roi },
    { "psroi_pool",        2, 4, 1, 0,          roi_fields,     sizeof(struct roi_attrs),       infer_psroi },
    { "prroi_pool",        2, 4, 1, 0,          roi_fields,     sizeof(struct roi_attrs),       infer_roi },
    { 0 },
};
// clang-format on
