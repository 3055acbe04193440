/* Operators of detection. Which boxes belong to which image, old programs say by LoD, newer ones by a tensor of counts:
 * both come out of every operator that makes boxes, and either goes into one that takes them. */
#include "graph/attrs_detect.h"
#include "import/paddle/site.h"

#include <string.h>

static status read_floats(struct site *s, const char *name, struct attr_floats *out)
{
    int count;
    const double *v = attr_f64s(s, name, &count);
    if (count > ATTR_INTS_MAX)
        return site_fault(s, UNSUPPORTED, "attribute '%s': %d numbers, at most %d", name, count,
                          ATTR_INTS_MAX);
    out->count = count;
    for (int i = 0; i < count; i++)
        out->v[i] = (float)v[i];
    return OK;
}

/* Counts of boxes by image from a slot, or the offsets of x; both may stay NULL. */
static status read_images(struct site *s, const char *slot, const struct value *x,
                          struct value **counts, struct value **offsets)
{
    TRY(site_in_optional(s, slot, counts));
    *offsets = *counts == NULL && x->lod_levels > 0 ? x->lod[x->lod_levels - 1] : NULL;
    return OK;
}

static void set_lod(struct value *v, struct value *offsets)
{
    offsets->dtype = DTYPE_I64;
    offsets->shape = SHAPE(-1);
    v->lod[0] = offsets;
    v->lod_levels = 1;
}

/* ---- boxes by place ---- */

static status bind_places(struct site *s, const char *boxes, struct node *n)
{
    n->out[0]->dtype = n->out[1]->dtype = DTYPE_F32;
    TRY(site_bind(s, boxes, n->out[0]));
    return site_bind(s, "Variances", n->out[1]);
}

static status import_prior_box(struct site *s)
{
    struct value *in[2];
    struct node *n;
    struct prior_attrs a = { .flip = attr_bool(s, "flip", true),
                             .clip = attr_bool(s, "clip", true),
                             .max_early = attr_bool(s, "min_max_aspect_ratios_order", false),
                             .step_w = (float)attr_f64(s, "step_w", 0),
                             .step_h = (float)attr_f64(s, "step_h", 0),
                             .offset = (float)attr_f64(s, "offset", 0.5) };
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "Image", &in[1]));
    TRY(read_floats(s, "min_sizes", &a.min_sizes));
    TRY(read_floats(s, "max_sizes", &a.max_sizes));
    TRY(read_floats(s, "aspect_ratios", &a.ratios));
    TRY(read_floats(s, "variances", &a.variances));
    TRY(site_add(s, "prior_box", in, 2, &n));
    *(struct prior_attrs *)node_attrs(n) = a;
    return bind_places(s, "Boxes", n);
}

static status import_density(struct site *s)
{
    struct value *in[2];
    struct node *n;
    struct density_attrs a = { .densities = attr_i64s(s, "densities"),
                               .clip = attr_bool(s, "clip", true),
                               .flat = attr_bool(s, "flatten_to_2d", false),
                               .step_w = (float)attr_f64(s, "step_w", 0),
                               .step_h = (float)attr_f64(s, "step_h", 0),
                               .offset = (float)attr_f64(s, "offset", 0.5) };
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "Image", &in[1]));
    TRY(read_floats(s, "fixed_sizes", &a.sizes));
    TRY(read_floats(s, "fixed_ratios", &a.ratios));
    TRY(read_floats(s, "variances", &a.variances));
    TRY(site_add(s, "density_prior_box", in, 2, &n));
    *(struct density_attrs *)node_attrs(n) = a;
    return bind_places(s, "Boxes", n);
}

static status import_anchors(struct site *s)
{
    struct value *x;
    struct node *n;
    struct anchor_attrs a = { .offset = (float)attr_f64(s, "offset", 0.5) };
    TRY(site_in(s, "Input", &x));
    TRY(read_floats(s, "anchor_sizes", &a.sizes));
    TRY(read_floats(s, "aspect_ratios", &a.ratios));
    TRY(read_floats(s, "variances", &a.variances));
    TRY(read_floats(s, "stride", &a.stride));
    TRY(site_add(s, "anchors", &x, 1, &n));
    *(struct anchor_attrs *)node_attrs(n) = a;
    return bind_places(s, "Anchors", n);
}

/* ---- boxes by boxes ---- */

static status import_box_coder(struct site *s)
{
    static const char *const code[] = { "decode_center_size", "encode_center_size", NULL };
    struct value *in[3], *out;
    struct box_coder_attrs a = { .encode =
                                     attr_enum(s, "code_type", "encode_center_size", code) == 1,
                                 .pixels = !attr_bool(s, "box_normalized", true),
                                 .axis = attr_i32(s, "axis", 0) };
    TRY(site_in(s, "PriorBox", &in[0]));
    TRY(site_in(s, "TargetBox", &in[1]));
    TRY(site_in_optional(s, "PriorBoxVar", &in[2]));
    TRY(read_floats(s, "variance", &a.variances));
    TRY(site_add1(s, "box_coder", in, 3, &out));
    *(struct box_coder_attrs *)node_attrs(out->producer) = a;
    TRY(site_bind(s, "OutputBox", out));
    site_share_lod(out, in[1], in[1]->lod_levels);
    return OK;
}

static status import_assign_boxes(struct site *s)
{
    static const char *const slot[] = { "PriorBox", "PriorBoxVar", "TargetBox", "BoxScore" };
    struct value *in[4];
    struct node *n;
    for (int i = 0; i < 4; i++)
        TRY(site_in(s, slot[i], &in[i]));
    TRY(site_add(s, "decode_assign", in, 4, &n));
    ((struct assign_attrs *)node_attrs(n))->limit = (float)attr_f64(s, "box_clip", 4.135);
    n->out[0]->dtype = n->out[1]->dtype = in[0]->dtype;
    TRY(site_bind(s, "DecodeBox", n->out[0]));
    TRY(site_bind(s, "OutputAssignBox", n->out[1]));
    site_share_lod(n->out[0], in[0], in[0]->lod_levels);
    site_share_lod(n->out[1], in[0], in[0]->lod_levels);
    return OK;
}

static status import_box_clip(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "ImInfo", &in[1]));
    in[2] = in[0]->lod_levels > 0 ? in[0]->lod[in[0]->lod_levels - 1] : NULL;
    TRY(site_add1(s, "box_clip", in, in[2] != NULL ? 3 : 2, &out));
    TRY(site_bind(s, "Output", out));
    site_share_lod(out, in[0], in[0]->lod_levels);
    return OK;
}

static status import_yolo_box(struct site *s)
{
    struct value *in[2];
    struct node *n;
    struct yolo_attrs a = { .anchors = attr_i64s(s, "anchors"),
                            .classes = attr_i32(s, "class_num", 0),
                            .downsample = attr_i32(s, "downsample_ratio", 32),
                            .threshold = (float)attr_f64(s, "conf_thresh", 0.01),
                            .scale = (float)attr_f64(s, "scale_x_y", 1),
                            .iou_factor = (float)attr_f64(s, "iou_aware_factor", 0.5),
                            .clip = attr_bool(s, "clip_bbox", true),
                            .iou_aware = attr_bool(s, "iou_aware", false) };
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "ImgSize", &in[1]));
    TRY(site_add(s, "yolo_box", in, 2, &n));
    *(struct yolo_attrs *)node_attrs(n) = a;
    n->out[0]->dtype = n->out[1]->dtype = in[0]->dtype;
    TRY(site_bind(s, "Boxes", n->out[0]));
    return site_bind(s, "Scores", n->out[1]);
}

static status import_iou(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Y", &in[1]));
    TRY(site_add1(s, "iou_similarity", in, 2, &out));
    ((struct iou_attrs *)node_attrs(out->producer))->pixels = !attr_bool(s, "box_normalized", true);
    TRY(site_bind(s, "Out", out));
    site_share_lod(out, in[0], in[0]->lod_levels);
    return OK;
}

static status import_match(struct site *s)
{
    static const char *const type[] = { "bipartite", "per_prediction", NULL };
    struct value *in[2];
    struct node *n;
    TRY(site_in(s, "DistMat", &in[0]));
    in[1] = in[0]->lod_levels > 0 ? in[0]->lod[in[0]->lod_levels - 1] : NULL;
    TRY(site_add(s, "bipartite_match", in, in[1] != NULL ? 2 : 1, &n));
    *(struct match_attrs *)node_attrs(n) =
        (struct match_attrs){ attr_enum(s, "match_type", "bipartite", type) == 1,
                              (float)attr_f64(s, "dist_threshold", 0.5) };
    n->out[0]->dtype = DTYPE_I32;
    n->out[1]->dtype = in[0]->dtype;
    TRY(site_bind(s, "ColToRowMatchIndices", n->out[0]));
    return site_bind(s, "ColToRowMatchDist", n->out[1]);
}

static status import_polygon(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "Input", &x));
    TRY(site_add1(s, "polygon_box", &x, 1, &out));
    return site_bind(s, "Output", out);
}

/* ---- features by boxes ---- */

static status add_roi(struct site *s, const char *counts)
{
    struct value *in[4], *out;
    int32_t samples = attr_i32(s, "sampling_ratio", -1);
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "ROIs", &in[1]));
    TRY(read_images(s, counts, in[1], &in[2], &in[3]));
    TRY(site_add1(s, s->row->canonical, in, 4, &out));
    *(struct roi_attrs *)node_attrs(out->producer) =
        (struct roi_attrs){ .height = attr_i32(s, "pooled_height", 1),
                            .width = attr_i32(s, "pooled_width", 1),
                            .channels = attr_i32(s, "output_channels", 0),
                            .samples = samples > 0 ? samples : 0,
                            .scale = (float)attr_f64(s, "spatial_scale", 1),
                            .aligned = attr_bool(s, "aligned", false) };
    return site_bind(s, "Out", out);
}

static status import_roi(struct site *s)
{
    return add_roi(s, "RoisNum");
}

static status import_prroi(struct site *s)
{
    return add_roi(s, "BatchRoINums");
}

/* ---- choosing ---- */

static int slot_count(const struct slot_desc *d)
{
    return d != NULL ? d->arg_count : 0;
}

/* The first versions tell images by LoD, the later ones by counts alone. */
static status bind_selected(struct site *s, struct node *n, const char *rows, const char *index,
                            const char *counts, bool by_lod)
{
    n->out[0]->dtype = DTYPE_F32;
    n->out[1]->dtype = n->out[2]->dtype = DTYPE_I32;
    TRY(site_bind(s, rows, n->out[0]));
    TRY(site_bind(s, index, n->out[1]));
    TRY(site_bind(s, counts, n->out[2]));
    for (int i = 0; i < 2 && by_lod; i++)
        set_lod(n->out[i], n->out[3]);
    return OK;
}

static void read_tops(struct site *s, struct nms_attrs *a)
{
    a->background = attr_i32(s, "background_label", 0);
    a->nms_top_k = attr_i32(s, "nms_top_k", -1);
    a->keep_top_k = attr_i32(s, "keep_top_k", -1);
    a->score_threshold = (float)attr_f64(s, "score_threshold", 0);
    a->pixels = !attr_bool(s, "normalized", true);
}

static status import_nms(struct site *s)
{
    struct value *in[4];
    struct node *n;
    struct nms_attrs a = { .nms_threshold = (float)attr_f64(s, "nms_threshold", 0.3),
                           .eta = (float)attr_f64(s, "nms_eta", 1),
                           .nothing = slot_count(op_slot_out(s->op, "Index")) == 0,
                           .merge = str_is(s->op->type, "locality_aware_nms") };
    TRY(site_in(s, "BBoxes", &in[0]));
    TRY(site_in(s, "Scores", &in[1]));
    TRY(read_images(s, "RoisNum", in[0], &in[2], &in[3]));
    read_tops(s, &a);
    TRY(site_add(s, "multiclass_nms", in, 4, &n));
    *(struct nms_attrs *)node_attrs(n) = a;
    return bind_selected(s, n, "Out", "Index", "NmsRoisNum",
                         !str_is(s->op->type, "multiclass_nms3"));
}

static status import_retina(struct site *s)
{
    static const char *const slot[] = { "BBoxes", "Scores", "Anchors" };
    struct value **v, *in[3 * LEVELS_MAX + 1];
    struct node *n;
    int levels = 0, count;
    for (int i = 0; i < 3; i++) {
        TRY(site_ins(s, slot[i], &v, &count));
        if (count > LEVELS_MAX || (i > 0 && count != levels))
            return site_fault(s, INVALID, "%d variables as input %s, %d as %s", count, slot[i],
                              levels, slot[0]);
        levels = count;
        memcpy(in + i * levels, v, (size_t)levels * sizeof(*in));
    }
    TRY(site_in(s, "ImInfo", &in[3 * levels]));
    TRY(site_add(s, "retina_boxes", in, 3 * levels + 1, &n));
    *(struct retina_attrs *)node_attrs(n) =
        (struct retina_attrs){ .levels = levels,
                               .nms_top_k = attr_i32(s, "nms_top_k", -1),
                               .keep_top_k = attr_i32(s, "keep_top_k", 0),
                               .score_threshold = (float)attr_f64(s, "score_threshold", 0),
                               .nms_threshold = (float)attr_f64(s, "nms_threshold", 0.3),
                               .eta = (float)attr_f64(s, "nms_eta", 1) };
    n->out[0]->dtype = DTYPE_F32;
    TRY(site_bind(s, "Out", n->out[0]));
    set_lod(n->out[0], n->out[1]);
    return OK;
}

static status import_ordered(struct site *s)
{
    struct value *x;
    struct node *n;
    TRY(site_in(s, "Boxes", &x));
    TRY(site_add(s, "nms_ordered", &x, 1, &n));
    ((struct ordered_attrs *)node_attrs(n))->threshold = (float)attr_f64(s, "iou_threshold", 1);
    n->out[0]->dtype = DTYPE_I64;
    return site_bind(s, "KeepBoxesIdxs", n->out[0]);
}

static status import_matrix_nms(struct site *s)
{
    struct value *in[2];
    struct node *n;
    struct nms_attrs a = { .post_threshold = (float)attr_f64(s, "post_threshold", 0),
                           .sigma = (float)attr_f64(s, "gaussian_sigma", 2),
                           .gaussian = attr_bool(s, "use_gaussian", false) };
    TRY(site_in(s, "BBoxes", &in[0]));
    TRY(site_in(s, "Scores", &in[1]));
    read_tops(s, &a);
    TRY(site_add(s, "matrix_nms", in, 2, &n));
    *(struct nms_attrs *)node_attrs(n) = a;
    return bind_selected(s, n, "Out", "Index", "RoisNum", false);
}

static status add_proposals(struct site *s, const char *info, bool by_scale)
{
    static const char *const slot[] = { "Scores", "BboxDeltas", NULL, "Anchors", "Variances" };
    struct value *in[5];
    struct node *n;
    for (int i = 0; i < 5; i++)
        TRY(site_in(s, slot[i] != NULL ? slot[i] : info, &in[i]));
    TRY(site_add(s, "proposals", in, 5, &n));
    *(struct proposals_attrs *)node_attrs(n) =
        (struct proposals_attrs){ .pre_top = attr_i32(s, "pre_nms_topN", 6000),
                                  .post_top = attr_i32(s, "post_nms_topN", 1000),
                                  .threshold = (float)attr_f64(s, "nms_thresh", 0.5),
                                  .min_size = (float)attr_f64(s, "min_size", 0.1),
                                  .eta = (float)attr_f64(s, "eta", 1),
                                  .pixels = by_scale || attr_bool(s, "pixel_offset", true),
                                  .by_scale = by_scale };
    TRY(bind_selected(s, n, "RpnRois", "RpnRoiProbs", "RpnRoisNum", by_scale));
    n->out[1]->dtype = in[0]->dtype;
    return OK;
}

static status import_proposals(struct site *s)
{
    return add_proposals(s, "ImInfo", true);
}

static status import_proposals_v2(struct site *s)
{
    return add_proposals(s, "ImShape", false);
}

static status import_distribute(struct site *s)
{
    struct value *in[3];
    struct node *n;
    struct distribute_attrs a = { .min_level = attr_i32(s, "min_level", 2),
                                  .max_level = attr_i32(s, "max_level", 5),
                                  .refer_level = attr_i32(s, "refer_level", 4),
                                  .refer_scale = attr_i32(s, "refer_scale", 224),
                                  .pixels = attr_bool(s, "pixel_offset", true) };
    int64_t levels = (int64_t)a.max_level - a.min_level + 1;
    if (levels < 1 || levels > LEVELS_MAX || site_out_count(s, "MultiFpnRois") != levels)
        return site_fault(s, INVALID, "levels %d to %d for %d outputs MultiFpnRois", a.min_level,
                          a.max_level, site_out_count(s, "MultiFpnRois"));
    TRY(site_in(s, "FpnRois", &in[0]));
    TRY(read_images(s, "RoisNum", in[0], &in[1], &in[2]));
    TRY(site_add_outs(s, "distribute_rois", in, 3, (int)(3 * levels + 1), &n));
    *(struct distribute_attrs *)node_attrs(n) = a;
    for (int i = 0; i < levels; i++) {
        struct value *rois = n->out[i], *counts = n->out[levels + i];
        rois->dtype = in[0]->dtype;
        counts->dtype = DTYPE_I32;
        TRY(site_bind_at(s, "MultiFpnRois", i, rois));
        set_lod(rois, n->out[2 * levels + i]);
        if (i < site_out_count(s, "MultiLevelRoIsNum"))
            TRY(site_bind_at(s, "MultiLevelRoIsNum", i, counts));
    }
    n->out[3 * levels]->dtype = DTYPE_I32;
    return site_bind(s, "RestoreIndex", n->out[3 * levels]);
}

/* Counts of each level from their slot, or the offsets of its rois. */
static status read_level_counts(struct site *s, int levels, struct value **rois,
                                struct value **counts, bool *by_offsets)
{
    struct value **given;
    int count;
    *by_offsets = slot_count(op_slot_in(s->op, "MultiLevelRoIsNum")) == 0;
    if (!*by_offsets) {
        TRY(site_ins(s, "MultiLevelRoIsNum", &given, &count));
        if (count != levels)
            return site_fault(s, INVALID, "%d counts for %d levels", count, levels);
        memcpy(counts, given, (size_t)levels * sizeof(*counts));
        return OK;
    }
    for (int i = 0; i < levels; i++) {
        if (rois[i]->lod_levels == 0)
            return site_fault(s, INVALID, "its input '%s' has neither LoD nor counts",
                              rois[i]->name);
        counts[i] = rois[i]->lod[rois[i]->lod_levels - 1];
    }
    return OK;
}

static status import_collect(struct site *s)
{
    struct value **rois, **scores, *in[3 * LEVELS_MAX];
    struct node *n;
    struct collect_attrs a = { .top = attr_i32(s, "post_nms_topN", 0) };
    int count;
    TRY(site_ins(s, "MultiLevelRois", &rois, &a.levels));
    TRY(site_ins(s, "MultiLevelScores", &scores, &count));
    if (a.levels != count || a.levels > LEVELS_MAX)
        return site_fault(s, INVALID, "rois of %d levels and scores of %d", a.levels, count);
    memcpy(in, rois, (size_t)a.levels * sizeof(*in));
    memcpy(in + a.levels, scores, (size_t)a.levels * sizeof(*in));
    TRY(read_level_counts(s, a.levels, rois, in + 2 * a.levels, &a.by_offsets));
    TRY(site_add(s, "collect_rois", in, 3 * a.levels, &n));
    *(struct collect_attrs *)node_attrs(n) = a;
    n->out[0]->dtype = rois[0]->dtype;
    n->out[1]->dtype = DTYPE_I32;
    TRY(site_bind(s, "FpnRois", n->out[0]));
    set_lod(n->out[0], n->out[2]);
    return site_bind(s, "RoisNum", n->out[1]);
}

// clang-format off
const struct op_row paddle_boxes[] = {
    { "prior_box",                "prior_box",         import_prior_box,    LOD_OWN },
    { "density_prior_box",        "density_prior_box", import_density,      LOD_OWN },
    { "anchor_generator",         "anchors",           import_anchors,      LOD_OWN },
    { "box_coder",                "box_coder",         import_box_coder,    LOD_OWN },
    { "box_clip",                 "box_clip",          import_box_clip,     LOD_OWN },
    { "yolo_box",                 "yolo_box",          import_yolo_box,     LOD_OWN },
    { "iou_similarity",           "iou_similarity",    import_iou,          LOD_OWN },
    { "bipartite_match",          "bipartite_match",   import_match,        LOD_OWN },
    { "polygon_box_transform",    "polygon_box",       import_polygon,      LOD_SHARE },
    { "roi_align",                "roi_align",         import_roi,          LOD_OWN },
    { "roi_pool",                 "roi_pool",          import_roi,          LOD_OWN },
    { "psroi_pool",               "psroi_pool",        import_roi,          LOD_OWN },
    { "prroi_pool",               "prroi_pool",        import_prroi,        LOD_OWN },
    { "multiclass_nms",           "multiclass_nms",    import_nms,          LOD_OWN },
    { "multiclass_nms2",          "multiclass_nms",    import_nms,          LOD_OWN },
    { "multiclass_nms3",          "multiclass_nms",    import_nms,          LOD_OWN },
    { "locality_aware_nms",       "multiclass_nms",    import_nms,          LOD_OWN },
    { "retinanet_detection_output", "retina_boxes",    import_retina,       LOD_OWN },
    { "nms",                      "nms_ordered",       import_ordered,      LOD_OWN },
    { "box_decoder_and_assign",   "decode_assign",     import_assign_boxes, LOD_OWN },
    { "matrix_nms",               "matrix_nms",        import_matrix_nms,   LOD_OWN },
    { "generate_proposals",       "proposals",         import_proposals,    LOD_OWN },
    { "generate_proposals_v2",    "proposals",         import_proposals_v2, LOD_OWN },
    { "distribute_fpn_proposals", "distribute_rois",   import_distribute,   LOD_OWN },
    { "collect_fpn_proposals",    "collect_rois",      import_collect,      LOD_OWN },
    { 0 },
};
// clang-format on
