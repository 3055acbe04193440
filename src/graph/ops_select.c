/* Operators of detection that keep as many boxes as the data say: inference gives bounds. */
#include "graph/attrs_detect.h"
#include "graph/ops.h"

#include <math.h>

#define SIZE_LIMIT ((int64_t)1 << 31)

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows, a number for each, counts by image and offsets, for at most `rows` boxes of `images` images. */
static status put_selected(int64_t images, int64_t rows, int64_t width, dtype d, struct type out[4],
                           struct err *e)
{
    if (rows >= SIZE_LIMIT || images >= SIZE_LIMIT)
        return err_set(e, TOO_LARGE, "%lld boxes of %lld images are too many", (long long)rows,
                       (long long)images);
    out[0] = (struct type){ d, SHAPE(rows, width), NULL };
    out[1] = (struct type){ DTYPE_I32, SHAPE(rows, 1), NULL };
    out[2] = (struct type){ DTYPE_I32, SHAPE(images), NULL };
    out[3] = (struct type){ DTYPE_I64, SHAPE(images + 1), NULL };
    return OK;
}

static status disagree(const struct type *in, struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    return err_set(e, INVALID, "boxes %s and scores %s do not agree",
                   shape_text(&in[0].shape, a, sizeof(a)), shape_text(&in[1].shape, b, sizeof(b)));
}

/* What one image may keep of `classes` classes of `boxes` boxes. */
static int64_t most_kept(const struct nms_attrs *a, int64_t classes, int64_t boxes)
{
    int64_t per_class = a->nms_top_k > -1 ? smaller(a->nms_top_k, boxes) : boxes;
    int64_t all = classes * per_class;
    return a->keep_top_k > -1 ? smaller(a->keep_top_k, all) : all;
}

#define POLYGON_MAX 32 /* numbers of a polygon */

static status check_nms(const struct nms_attrs *a, const struct type *in, struct err *e)
{
    if (a->nms_top_k < -1 || a->keep_top_k < -1)
        return err_set(e, INVALID, "it keeps %d of each class and %d in all", a->nms_top_k,
                       a->keep_top_k);
    if (isnan(a->score_threshold) || isnan(a->nms_threshold) || isnan(a->eta))
        return err_set(e, INVALID, "a threshold is not a number");
    return want_dtype(&in[1], in[0].dtype, "its scores", e);
}

/* Boxes [N, M, 4], or of polygons with up to 16 corners, scores [N, classes, M]. */
static status infer_by_image(const struct nms_attrs *a, const struct type *in, int64_t widest,
                             struct type *out, struct err *e)
{
    const struct shape *box = &in[0].shape, *score = &in[1].shape;
    if (box->rank != 3 || score->rank != 3 || box->dim[0] != score->dim[0] ||
        box->dim[1] != score->dim[2])
        return disagree(in, e);
    int64_t width = box->dim[2];
    if (width != 4 && !(width >= 6 && width <= widest && width % 2 == 0))
        return err_set(e, UNSUPPORTED, "boxes of %lld numbers, expected 4%s", (long long)width,
                       widest > 4 ? ", or two for each corner of a polygon" : "");
    if (score->dim[0] >= SIZE_LIMIT || score->dim[1] >= SIZE_LIMIT || score->dim[2] >= SIZE_LIMIT ||
        shape_numel(score) < 0)
        return err_set(e, TOO_LARGE, "too many boxes");
    int64_t rows = score->dim[0] * most_kept(a, score->dim[1], score->dim[2]);
    return put_selected(score->dim[0], rows > 0 ? rows : 1, 2 + width, in[0].dtype, out, e);
}

/* Boxes [M, classes, 4], scores [M, classes], M in parts by image. */
static status infer_by_part(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct nms_attrs *a = n->attrs;
    const struct shape *box = &in[0].shape, *score = &in[1].shape;
    bool counts = in[2].shape.rank >= 0;
    int64_t images = counts ? in[2].shape.dim[0] : 1;
    if (box->rank != 3 || box->dim[0] != score->dim[0] || box->dim[1] != score->dim[1] ||
        box->dim[2] != 4)
        return disagree(in, e);
    TRY(want_images(n, in, 2, -1, e));
    if (!counts && in[3].shape.rank >= 0)
        TRY(want_offsets(&in[3], &images, e));
    if (score->dim[0] >= SIZE_LIMIT || score->dim[1] >= SIZE_LIMIT || shape_numel(score) < 0 ||
        images < 0 || images >= SIZE_LIMIT)
        return err_set(e, TOO_LARGE, "too many boxes");
    int64_t rows = score->dim[0] * score->dim[1];
    if (a->keep_top_k > -1)
        rows = smaller(rows, images * a->keep_top_k);
    return put_selected(images, rows > 0 ? rows : 1, 6, in[0].dtype, out, e);
}

static status infer_nms(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    TRY(check_nms(n->attrs, in, e));
    if (((const struct nms_attrs *)n->attrs)->merge && in[1].shape.rank == 2)
        return err_set(e, UNSUPPORTED, "merging boxes that come in parts");
    TRY(in[1].shape.rank == 2 ? infer_by_part(n, in, out, e)
                              : infer_by_image(n->attrs, in, POLYGON_MAX, out, e));
    if (((const struct nms_attrs *)n->attrs)->nothing && out[3].shape.dim[0] < 2)
        out[3].shape.dim[0] = 2; /* offsets 0, 1 also where there is no image */
    return OK;
}

static status infer_matrix_nms(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    const struct nms_attrs *a = n->attrs;
    TRY(check_nms(a, in, e));
    if (a->merge || a->nothing)
        return err_set(e, UNSUPPORTED, "it neither merges boxes nor makes a row of nothing");
    return infer_by_image(a, in, 4, out, e);
}

static status infer_ordered(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    TRY(want_rank(&in[0], 2, "its boxes", e));
    if (in[0].shape.dim[1] != 4 || in[0].shape.dim[0] >= SIZE_LIMIT)
        return err_set(e, INVALID, "boxes of %lld numbers, expected 4",
                       (long long)in[0].shape.dim[1]);
    out[0] = (struct type){ DTYPE_I64, SHAPE(in[0].shape.dim[0]), NULL };
    return OK;
}

/* ---- proposals ---- */

static bool is_shape(const struct shape *s, int64_t a, int64_t b, int64_t c, int64_t d)
{
    return s->rank == 4 && s->dim[0] == a && s->dim[1] == b && s->dim[2] == c && s->dim[3] == d;
}

/* Anchors [H, W, A, 4] or any other shape of as many numbers. */
static bool holds_boxes(const struct shape *s, int64_t boxes)
{
    return s->rank >= 1 && s->dim[s->rank - 1] == 4 && shape_numel(s) == boxes * 4;
}

static status infer_proposals(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    const struct proposals_attrs *a = n->attrs;
    const struct shape *score = &in[0].shape;
    TRY(want_rank(&in[0], 4, "its scores", e));
    for (int i = 1; i < 5; i++)
        TRY(want_dtype(&in[i], in[0].dtype, "its other inputs", e));
    for (int i = 0; i < 4; i++)
        if (score->dim[i] >= SIZE_LIMIT || shape_numel(score) < 0)
            return err_set(e, TOO_LARGE, "too many anchors");
    int64_t boxes = shape_span(score, 1, 4), images = score->dim[0];
    if (boxes < 1 || boxes >= SIZE_LIMIT ||
        !is_shape(&in[1].shape, images, 4 * score->dim[1], score->dim[2], score->dim[3]))
        return err_set(e, INVALID, "its scores and deltas do not agree");
    if (!holds_boxes(&in[3].shape, boxes) || !holds_boxes(&in[4].shape, boxes))
        return err_set(e, INVALID, "expected %lld anchors and variances", (long long)boxes);
    TRY(want_rank(&in[2], 2, "its image sizes", e));
    if (in[2].shape.dim[0] != images || in[2].shape.dim[1] < (a->by_scale ? 3 : 2))
        return err_set(e, INVALID, "sizes of %lld images for %lld", (long long)in[2].shape.dim[0],
                       (long long)images);
    if (!(a->threshold > 0) || isnan(a->min_size) || isnan(a->eta))
        return err_set(e, UNSUPPORTED, "an overlap of at most %g", (double)a->threshold);
    int64_t kept = a->pre_top > 0 ? smaller(a->pre_top, boxes) : boxes;
    kept = a->post_top > 0 ? smaller(a->post_top, kept) : kept;
    int64_t rows = images * kept;
    TRY(put_selected(images, rows > 0 ? rows : 1, 4, in[0].dtype, out, e));
    out[1].dtype = in[0].dtype;
    return OK;
}

/* ---- levels of a pyramid ---- */

static status infer_distribute(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    const struct distribute_attrs *a = n->attrs;
    int64_t levels = (int64_t)a->max_level - a->min_level + 1, images = 1;
    TRY(want_rank(&in[0], 2, "its rois", e));
    TRY(want_images(n, in, 1, -1, e));
    if (levels < 1 || levels > LEVELS_MAX || n->out_count != 3 * levels + 1 || a->refer_scale < 1)
        return err_set(e, INVALID, "levels %d to %d, a scale of %d", a->min_level, a->max_level,
                       a->refer_scale);
    if (in[0].shape.dim[1] != 4 || in[0].shape.dim[0] >= SIZE_LIMIT)
        return err_set(e, INVALID, "rois of %lld numbers, expected 4",
                       (long long)in[0].shape.dim[1]);
    if (in[1].shape.rank >= 0)
        images = in[1].shape.dim[0];
    else if (n->in_count > 2 && in[2].shape.rank >= 0)
        TRY(want_offsets(&in[2], &images, e));
    for (int64_t i = 0; i < levels; i++) {
        out[i] = (struct type){ in[0].dtype, in[0].shape, NULL };
        out[levels + i] = (struct type){ DTYPE_I32, SHAPE(images), NULL };
        out[2 * levels + i] = (struct type){ DTYPE_I64, SHAPE(images + 1), NULL };
    }
    out[3 * levels] = (struct type){ DTYPE_I32, SHAPE(in[0].shape.dim[0], 1), NULL };
    return OK;
}

static status check_level(const struct collect_attrs *a, const struct type *in, int i,
                          int64_t images, struct err *e)
{
    const struct type *roi = &in[i], *score = &in[a->levels + i], *count = &in[2 * a->levels + i];
    TRY(want_rank(roi, 2, "its rois", e));
    TRY(want_dtype(roi, DTYPE_F32, "its rois", e));
    TRY(want_dtype(score, DTYPE_F32, "its scores", e));
    TRY(want_rank(count, 1, "its counts", e));
    TRY(want_dtype(count, a->by_offsets ? DTYPE_I64 : DTYPE_I32, "its counts", e));
    if (roi->shape.dim[1] != 4 || shape_numel(&score->shape) != roi->shape.dim[0] ||
        roi->shape.dim[0] >= SIZE_LIMIT || count->shape.dim[0] != images + a->by_offsets)
        return err_set(e, INVALID, "rois, scores and counts of level %d do not agree", i);
    return OK;
}

static status infer_collect(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct collect_attrs *a = n->attrs;
    int64_t rows = 0;
    if (a->levels < 1 || a->levels > LEVELS_MAX || n->in_count != 3 * a->levels || a->top < 0)
        return err_set(e, INVALID, "%d inputs for %d levels, the best %d", n->in_count, a->levels,
                       a->top);
    int64_t images = in[2 * a->levels].shape.rank == 1 ? in[2 * a->levels].shape.dim[0] : 1;
    images -= a->by_offsets ? 1 : 0;
    if (images < 0 || images >= SIZE_LIMIT)
        return err_set(e, INVALID, "%lld images", (long long)images);
    for (int i = 0; i < a->levels; i++) {
        TRY(check_level(a, in, i, images, e));
        rows += in[i].shape.dim[0];
    }
    rows = smaller(rows, a->top);
    out[0] = (struct type){ in[0].dtype, SHAPE(rows, 4), NULL };
    out[1] = (struct type){ DTYPE_I32, SHAPE(images), NULL };
    out[2] = (struct type){ DTYPE_I64, SHAPE(images + 1), NULL };
    return OK;
}

/* ---- retina_boxes ---- */

static status check_retina(const struct retina_attrs *a, const struct node *n, struct err *e)
{
    if (a->levels < 1 || a->levels > LEVELS_MAX || n->in_count != 3 * a->levels + 1)
        return err_set(e, INVALID, "%d inputs for %d levels", n->in_count, a->levels);
    if (a->nms_top_k < -1 || a->keep_top_k < 0 || isnan(a->nms_threshold) || isnan(a->eta))
        return err_set(e, INVALID, "it keeps %d of each level and %d in all", a->nms_top_k,
                       a->keep_top_k);
    return OK;
}

/* Level i's boxes of one image go to *kept. */
static status check_retina_level(const struct retina_attrs *a, const struct type *in, int i,
                                 int64_t *kept, struct err *e)
{
    const struct type *delta = &in[i], *score = &in[a->levels + i],
                      *anchor = &in[2 * a->levels + i];
    const struct shape *s = &score->shape, *first = &in[a->levels].shape;
    for (int k = 0; k < 3; k++)
        TRY(want_dtype(&in[k * a->levels + i], DTYPE_F32, "its levels", e));
    if (delta->shape.rank != 3 || s->rank != 3 || anchor->shape.rank != 2 ||
        delta->shape.dim[2] != 4 || anchor->shape.dim[1] != 4 || s->dim[1] != delta->shape.dim[1] ||
        s->dim[1] != anchor->shape.dim[0] || s->dim[0] != delta->shape.dim[0] ||
        s->dim[0] != first->dim[0] || s->dim[2] != first->dim[2])
        return err_set(e, INVALID, "deltas, scores and anchors of level %d do not agree", i);
    if (s->dim[0] >= SIZE_LIMIT || shape_numel(s) < 0 || s->dim[2] > 1 << 20 ||
        shape_numel(s) >= SIZE_LIMIT)
        return err_set(e, TOO_LARGE, "too many boxes");
    int64_t boxes = shape_numel(s) > 0 ? s->dim[1] * s->dim[2] : 0;
    *kept += a->nms_top_k > -1 ? smaller(a->nms_top_k, boxes) : boxes;
    return OK;
}

static status infer_retina(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct retina_attrs *a = n->attrs;
    struct type four[4];
    int64_t kept = 0;
    TRY(check_retina(a, n, e));
    for (int i = 0; i < a->levels; i++)
        TRY(check_retina_level(a, in, i, &kept, e));
    const struct type *info = &in[3 * a->levels];
    int64_t images = in[0].shape.dim[0];
    TRY(want_dtype(info, DTYPE_F32, "its image sizes", e));
    if (info->shape.rank != 2 || info->shape.dim[0] != images || info->shape.dim[1] != 3)
        return err_set(e, INVALID, "expected image sizes [%lld, 3]", (long long)images);
    int64_t rows = images * smaller(kept, a->keep_top_k);
    TRY(put_selected(images, rows, 6, DTYPE_F32, four, e));
    out[0] = four[0];
    out[1] = four[3];
    return OK;
}

static const struct attr_field retina_fields[] = {
    FIELD(retina_attrs, levels, ATTR_I32),
    FIELD(retina_attrs, nms_top_k, ATTR_I32),
    FIELD(retina_attrs, keep_top_k, ATTR_I32),
    FIELD(retina_attrs, score_threshold, ATTR_F32),
    FIELD(retina_attrs, nms_threshold, ATTR_F32),
    FIELD(retina_attrs, eta, ATTR_F32),
    { 0 },
};

static const struct attr_field nms_fields[] = {
    FIELD(nms_attrs, background, ATTR_I32),
    FIELD(nms_attrs, nms_top_k, ATTR_I32),
    FIELD(nms_attrs, keep_top_k, ATTR_I32),
    FIELD(nms_attrs, score_threshold, ATTR_F32),
    FIELD(nms_attrs, nms_threshold, ATTR_F32),
    FIELD(nms_attrs, eta, ATTR_F32),
    FIELD(nms_attrs, post_threshold, ATTR_F32),
    FIELD(nms_attrs, sigma, ATTR_F32),
    FIELD(nms_attrs, pixels, ATTR_BOOL),
    FIELD(nms_attrs, gaussian, ATTR_BOOL),
    FIELD(nms_attrs, nothing, ATTR_BOOL),
    FIELD(nms_attrs, merge, ATTR_BOOL),
    { 0 },
};

static const struct attr_field ordered_fields[] = {
    FIELD(ordered_attrs, threshold, ATTR_F32),
    { 0 },
};

static const struct attr_field proposals_fields[] = {
    FIELD(proposals_attrs, pre_top, ATTR_I32),   FIELD(proposals_attrs, post_top, ATTR_I32),
    FIELD(proposals_attrs, threshold, ATTR_F32), FIELD(proposals_attrs, min_size, ATTR_F32),
    FIELD(proposals_attrs, eta, ATTR_F32),       FIELD(proposals_attrs, pixels, ATTR_BOOL),
    FIELD(proposals_attrs, by_scale, ATTR_BOOL), { 0 },
};

static const struct attr_field distribute_fields[] = {
    FIELD(distribute_attrs, min_level, ATTR_I32),   FIELD(distribute_attrs, max_level, ATTR_I32),
    FIELD(distribute_attrs, refer_level, ATTR_I32), FIELD(distribute_attrs, refer_scale, ATTR_I32),
    FIELD(distribute_attrs, pixels, ATTR_BOOL),     { 0 },
};

static const struct attr_field collect_fields[] = {
    FIELD(collect_attrs, top, ATTR_I32),
    FIELD(collect_attrs, levels, ATTR_I32),
    FIELD(collect_attrs, by_offsets, ATTR_BOOL),
    { 0 },
};

// clang-format off
const struct op ops_select[] = {
    { "multiclass_nms",  2, 4,              4,       OP_DYNAMIC, nms_fields,        sizeof(struct nms_attrs),        infer_nms },
    { "matrix_nms",      2, 2,              4,       OP_DYNAMIC, nms_fields,        sizeof(struct nms_attrs),        infer_matrix_nms },
    { "nms_ordered",     1, 1,              1,       OP_DYNAMIC, ordered_fields,    sizeof(struct ordered_attrs),    infer_ordered },
    { "proposals",       5, 5,              4,       OP_DYNAMIC, proposals_fields,  sizeof(struct proposals_attrs),  infer_proposals },
    { "retina_boxes",    4, 3 * LEVELS_MAX + 1, 2,   OP_DYNAMIC, retina_fields,     sizeof(struct retina_attrs),     infer_retina },
    { "distribute_rois", 1, 3,              OUT_ANY, OP_DYNAMIC, distribute_fields, sizeof(struct distribute_attrs), infer_distribute },
    { "collect_rois",    3, 3 * LEVELS_MAX, 3,       OP_DYNAMIC, collect_fields,    sizeof(struct collect_attrs),    infer_collect },
    { 0 },
};
// clang-format on
