/* Images and volumes: normalisation by channel, resizing, padding, sampling, detection. */
#include "graph/attrs_detect.h"
#include "graph/attrs_image.h"
#include "graph/attrs_nms_each.h"
#include "import/onnx/build.h"

#include <string.h>

/* ---- normalisation ---- */

static status import_batch_norm(struct onnx_site *s)
{
    struct value *in[5], *out;
    if (onnx_bool(s, "training_mode", false) || (s->opset < 7 && !onnx_bool(s, "is_test", false)))
        return onnx_fault(s, UNSUPPORTED, "it is in training mode; export the model for inference");
    if (!onnx_bool(s, "spatial", true))
        return onnx_fault(s, UNSUPPORTED, "spatial 0");
    for (int i = 0; i < 5; i++)
        TRY(onnx_in(s, i, &in[i]));
    TRY(onnx_add1(s, "batch_norm", in, 5, &out));
    ((struct norm_attrs *)node_attrs(out->producer))->epsilon = onnx_f32(s, "epsilon", 1e-5f);
    return onnx_bind(s, 0, out);
}

static status import_own_norm(struct onnx_site *s)
{
    struct value *in[3], *out;
    for (int i = 0; i < 3; i++)
        TRY(onnx_in(s, i, &in[i]));
    TRY(onnx_add1(s, s->row->canonical, in, 3, &out));
    *(struct norm_attrs *)node_attrs(out->producer) =
        (struct norm_attrs){ .epsilon = onnx_f32(s, "epsilon", 1e-5f),
                             .groups = onnx_i32(s, "num_groups", 1) };
    return onnx_bind(s, 0, out);
}

static status import_lrn(struct onnx_site *s)
{
    struct value *x, *out;
    int32_t size = onnx_i32(s, "size", 1);
    TRY(onnx_in(s, 0, &x));
    if (size < 1)
        return onnx_fault(s, INVALID, "a size of %d", size);
    TRY(build1(s, "lrn", x, &out));
    *(struct lrn_attrs *)node_attrs(out->producer) = (struct lrn_attrs){
        .size = size,
        .alpha = onnx_f32(s, "alpha", 1e-4f) / (float)size,
        .beta = onnx_f32(s, "beta", 0.75f),
        .k = onnx_f32(s, "bias", 1),
    };
    return onnx_bind(s, 0, out);
}

/* ---- resizing ---- */

static status read_resize(struct onnx_site *s, struct resize_attrs *a)
{
    static const char *const mode[] = { "nearest", "linear", "cubic", NULL };
    static const char *const place[] = { "half_pixel", "asymmetric", "align_corners",
                                         "pytorch_half_pixel", NULL };
    static const char *const rounding[] = { "floor", "round_prefer_ceil", "round_prefer_floor",
                                            "ceil", NULL };
    static const char *const refused[] = { "antialias", "exclude_outside" };
    bool old = s->opset < 11 || str_is(s->node->type, "Upsample");
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (onnx_bool(s, refused[i], false))
            return onnx_fault(s, UNSUPPORTED, "%s", refused[i]);
    if (!str_is(onnx_str(s, "keep_aspect_ratio_policy", "stretch"), "stretch"))
        return onnx_fault(s, UNSUPPORTED, "a keep_aspect_ratio_policy other than stretch");
    *a = (struct resize_attrs){
        .mode = onnx_enum(s, "mode", "nearest", mode),
        .place = old ? PLACE_ASYMMETRIC
                     : onnx_enum(s, "coordinate_transformation_mode", "half_pixel", place),
        .round = old ? ROUND_DOWN : onnx_enum(s, "nearest_mode", "round_prefer_floor", rounding),
        .cubic = onnx_f32(s, "cubic_coeff_a", -0.75f),
        .axes = onnx_i64s(s, "axes"),
    };
    return OK;
}

/* Factors that the file holds: axes that stay as they are need no mention. */
static status known_scales(struct onnx_site *s, const float *factor, int64_t count,
                           struct resize_attrs *a)
{
    struct attr_ints axes = a->axes;
    a->axes.count = 0;
    if (count > ATTR_INTS_MAX || (axes.count > 0 && axes.count != count))
        return onnx_fault(s, INVALID, "%lld scales for %d axes", (long long)count, axes.count);
    for (int i = 0; i < count; i++) {
        if (factor[i] == 1 && count > 1)
            continue;
        a->axes.v[a->axes.count++] = axes.count > 0 ? axes.v[i] : i;
        a->scale.v[a->scale.count++] = factor[i];
    }
    return OK;
}

static status known_sizes(const struct value *x, const struct attr_ints *size,
                          struct resize_attrs *a)
{
    struct attr_ints axes = a->axes;
    a->axes.count = 0;
    for (int i = 0; i < size->count; i++) {
        int64_t axis = axes.count == size->count ? axes.v[i] : i;
        int at = declared_axis(x, axis);
        if (at >= 0 && x->shape.dim[at] == size->v[i] && size->count > 1)
            continue;
        a->axes.v[a->axes.count++] = axis;
        a->size.v[a->size.count++] = size->v[i];
    }
    return OK;
}

/* Where in the node's inputs scales and sizes are; roi, which only tf_crop_and_resize reads, is passed over. */
static status resize_in(struct onnx_site *s, struct value **scales, struct value **sizes,
                        struct attr_floats *attr)
{
    const struct onnx_attr *a = onnx_attr(s, "scales");
    int at = s->opset < 11 || str_is(s->node->type, "Upsample") ? 1 : 2;
    *sizes = NULL;
    *scales = NULL;
    if (a != NULL && a->float_count <= ATTR_INTS_MAX && a->float_count > 0) {
        attr->count = a->float_count;
        memcpy(attr->v, a->floats, (size_t)a->float_count * sizeof(float));
        return OK;
    }
    TRY(onnx_in_optional(s, at, scales));
    if (*scales != NULL && (*scales)->constant != NULL &&
        shape_numel(&(*scales)->constant->shape) == 0)
        *scales = NULL; /* an empty one stands for none */
    if (at == 2)
        TRY(onnx_in_optional(s, 3, sizes));
    return *scales != NULL || *sizes != NULL ? OK
                                             : onnx_fault(s, INVALID, "neither scales nor sizes");
}

/* The node stays what it was where nothing is resized. */
static status add_resize(struct onnx_site *s, struct value *const in[3],
                         const struct resize_attrs *a, struct value **out)
{
    bool nothing = in[1] == NULL && in[2] == NULL && a->axes.count == 0;
    int count = in[2] != NULL ? 3 : in[1] != NULL ? 2 : 1;
    TRY(onnx_add1(s, nothing ? "identity" : "resize", in, nothing ? 1 : count, out));
    if (!nothing)
        *(struct resize_attrs *)node_attrs((*out)->producer) = *a;
    declare_unknown(*out);
    return OK;
}

static status import_resize(struct onnx_site *s)
{
    struct value *in[3] = { NULL }, *scales, *sizes, *out;
    struct resize_attrs a;
    struct attr_floats factors = { 0 };
    TRY(onnx_in(s, 0, &in[0]));
    TRY(read_resize(s, &a));
    TRY(resize_in(s, &scales, &sizes, &factors));
    if (sizes != NULL && sizes->constant != NULL) {
        struct attr_ints known;
        TRY(onnx_const_ints(s, 3, "its sizes", &known));
        TRY(known_sizes(in[0], &known, &a));
    } else if (sizes != NULL) {
        in[1] = sizes;
    } else if (factors.count > 0) {
        TRY(known_scales(s, factors.v, factors.count, &a));
    } else if (scales->constant != NULL && scales->dtype == DTYPE_F32) {
        TRY(known_scales(s, scales->constant->data, shape_numel(&scales->constant->shape), &a));
    } else {
        in[2] = scales;
    }
    if ((in[1] != NULL || in[2] != NULL) && a.axes.count == 0)
        for (int i = 0; i < in[0]->shape.rank; i++)
            a.axes.v[a.axes.count++] = i;
    TRY(add_resize(s, in, &a, &out));
    return onnx_bind(s, 0, out);
}

/* ---- padding ---- */

/* Numbers of some axes become numbers of all: 0 of the others. */
static status spread_by_axes(struct onnx_site *s, int rank, struct value *axes, struct value *some,
                             struct value **out)
{
    struct value *zeros;
    TRY(onnx_add_ints(s, &(struct attr_ints){ .count = rank }, &zeros));
    TRY(build_cast(s, axes, DTYPE_I64, &axes));
    TRY(build_cast(s, some, DTYPE_I64, &some));
    return onnx_add1(s, "put_along", (struct value *[]){ zeros, axes, some }, 3, out);
}

/* [before of some axes, behind them] to the same of all axes. */
static status spread_pads(struct onnx_site *s, const struct value *x, struct value *axes,
                          struct value **pads)
{
    struct value *half[2], *count, *twice, *from[3], *zero, *part;
    int rank = x->shape.rank;
    if (rank < 0)
        return onnx_fault(s, UNSUPPORTED, "axes of an input of no known number of dimensions");
    TRY(onnx_add_ints(s, &(struct attr_ints){ 1, { 0 } }, &zero));
    TRY(build_dim(s, axes, 0, &count));
    TRY(build_affine(s, count, 2, 0, &twice));
    from[0] = zero;
    from[1] = count;
    from[2] = twice;
    for (int i = 0; i < 2; i++) {
        TRY(onnx_add1(s, "slice", (struct value *[]){ *pads, from[i], from[i + 1] }, 3, &part));
        part->shape = axes->shape;
        TRY(spread_by_axes(s, rank, axes, part, &half[i]));
    }
    return build_concat(s, half, 2, 0, pads);
}

static status read_pads(struct onnx_site *s, struct value *in[3], struct pad_attrs *a)
{
    if (s->opset < 11) {
        a->pads = onnx_i64s(s, s->opset < 2 ? "paddings" : "pads");
        a->value = onnx_f32(s, "value", 0);
        return OK;
    }
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_in_optional(s, 2, &in[2]));
    struct value *some;
    TRY(onnx_in_optional(s, 3, &some));
    if (some != NULL)
        return spread_pads(s, in[0], some, &in[1]);
    if (in[1]->constant == NULL)
        return OK;
    TRY(onnx_const_ints(s, 1, "its pads", &a->pads));
    in[1] = NULL;
    return OK;
}

static status import_pad(struct onnx_site *s)
{
    static const char *const mode[] = { "constant", "reflect", "edge", "wrap", NULL };
    struct value *in[3] = { NULL }, *out;
    struct pad_attrs a = { .mode = onnx_enum(s, "mode", "constant", mode) };
    TRY(onnx_in(s, 0, &in[0]));
    TRY(read_pads(s, in, &a));
    TRY(onnx_add1(s, "pad", in, in[2] != NULL ? 3 : in[1] != NULL ? 2 : 1, &out));
    *(struct pad_attrs *)node_attrs(out->producer) = a;
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

/* ---- cutting and padding to a size ---- */

/* Of each axis of `diff` (wanted less had): what is cut in front, padded in front and padded behind; the odd one goes
 * behind. */
struct centring {
    struct value *cut, *before, *behind;
};

static status centre(struct onnx_site *s, struct value *diff, struct centring *c)
{
    struct value *less, *more, *two, *zero;
    TRY(onnx_add_ints(s, &(struct attr_ints){ 1, { 2 } }, &two));
    TRY(onnx_add_ints(s, &(struct attr_ints){ 1, { 0 } }, &zero));
    TRY(build_affine(s, diff, -1, 0, &less));
    TRY(build2(s, "max", less, zero, &less));
    TRY(build2(s, "floordiv", less, two, &c->cut));
    TRY(build2(s, "max", diff, zero, &more));
    TRY(build2(s, "floordiv", more, two, &c->before));
    return build2(s, "sub", more, c->before, &c->behind);
}

static status import_center_crop_pad(struct onnx_site *s)
{
    struct value *x, *want, *axes, *have, *diff, *end, *shape, *cut, *pads[2], *all, *out;
    struct attr_ints listed = onnx_i64s(s, "axes");
    struct centring c;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &want));
    int rank = x->shape.rank;
    if (rank < 0)
        return onnx_fault(s, UNSUPPORTED, "an input of no known number of dimensions");
    for (int i = 0; i < rank && onnx_attr(s, "axes") == NULL; i++)
        listed.v[listed.count++] = i;
    TRY(onnx_add_ints(s, &listed, &axes));
    TRY(build_cast(s, want, DTYPE_I64, &want));
    TRY(build_shape(s, x, &shape));
    TRY(build_gather(s, shape, axes, 0, &have));
    TRY(build2(s, "sub", want, have, &diff));
    TRY(centre(s, diff, &c));
    TRY(build2(s, "min", want, have, &end));
    TRY(build2(s, "add", c.cut, end, &end));
    TRY(onnx_add1(s, "slice", (struct value *[]){ x, c.cut, end, axes }, 4, &cut));
    declare_unknown(cut);
    TRY(spread_by_axes(s, rank, axes, c.before, &pads[0]));
    TRY(spread_by_axes(s, rank, axes, c.behind, &pads[1]));
    TRY(build_concat(s, pads, 2, 0, &all));
    TRY(onnx_add1(s, "pad", (struct value *[]){ cut, all }, 2, &out));
    return onnx_bind(s, 0, out);
}

/* ---- sampling ---- */

static status import_grid_sample(struct onnx_site *s)
{
    static const char *const mode[] = { "nearest", "bilinear", "bicubic", NULL };
    static const char *const mode20[] = { "nearest", "linear", "cubic", NULL };
    static const char *const padding[] = { "zeros", "border", "reflection", NULL };
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_add1(s, "grid_sample", in, 2, &out));
    *(struct grid_attrs *)node_attrs(out->producer) = (struct grid_attrs){
        .mode = s->opset < 20 ? onnx_enum(s, "mode", "bilinear", mode)
                              : onnx_enum(s, "mode", "linear", mode20),
        .padding = onnx_enum(s, "padding_mode", "zeros", padding),
        .align_corners = onnx_bool(s, "align_corners", false),
    };
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

static status import_affine_grid(struct onnx_site *s)
{
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_add1(s, "affine_grid", in, 2, &out));
    ((struct affine_grid_attrs *)node_attrs(out->producer))->align_corners =
        onnx_bool(s, "align_corners", false);
    out->shape.rank = -1;
    return onnx_bind(s, 0, out);
}

static status import_blocks(struct onnx_site *s)
{
    struct value *x, *out;
    bool crd = str_is(onnx_str(s, "mode", "DCR"), "CRD");
    TRY(onnx_in(s, 0, &x));
    TRY(build1(s, s->row->canonical, x, &out));
    *(struct block_attrs *)node_attrs(out->producer) =
        (struct block_attrs){ .block = onnx_i32(s, "blocksize", 1), .blocks_first = !crd };
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

static status import_col2im(struct onnx_site *s)
{
    struct value *in[3], *out;
    for (int i = 0; i < 3; i++)
        TRY(onnx_in(s, i, &in[i]));
    TRY(onnx_add1(s, "col2im", in, 3, &out));
    *(struct im2col_attrs *)node_attrs(out->producer) =
        (struct im2col_attrs){ .stride = onnx_i64s(s, "strides"),
                               .dilation = onnx_i64s(s, "dilations"),
                               .pads = onnx_i64s(s, "pads") };
    int64_t axes = in[1]->shape.rank == 1 ? in[1]->shape.dim[0] : -1;
    out->shape.rank = axes >= 0 && axes <= SPATIAL_MAX ? 2 + (int32_t)axes : -1;
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

/* ---- detection ---- */

static status import_nms(struct onnx_site *s)
{
    struct value *in[5], *out;
    int count = 2;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    for (int i = 2; i < 5; i++) {
        TRY(onnx_in_optional(s, i, &in[i]));
        count = in[i] != NULL ? i + 1 : count;
    }
    TRY(onnx_add1(s, "nms_each", in, count, &out));
    ((struct nms_each_attrs *)node_attrs(out->producer))->centred =
        onnx_i64(s, "center_point_box", 0) == 1;
    out->dtype = DTYPE_I64;
    out->shape = SHAPE(-1, 3);
    return onnx_bind(s, 0, out);
}

static status import_roi_align(struct onnx_site *s)
{
    static const char *const mode[] = { "avg", "max", NULL };
    struct value *in[3], *out;
    for (int i = 0; i < 3; i++)
        TRY(onnx_in(s, i, &in[i]));
    TRY(onnx_add1(s, "roi_align", in, 3, &out));
    const char *half = s->opset >= 16 ? "half_pixel" : "output_half_pixel";
    *(struct roi_attrs *)node_attrs(out->producer) = (struct roi_attrs){
        .height = onnx_i32(s, "output_height", 1),
        .width = onnx_i32(s, "output_width", 1),
        .samples = onnx_i32(s, "sampling_ratio", 0),
        .scale = onnx_f32(s, "spatial_scale", 1),
        .aligned = str_is(onnx_str(s, "coordinate_transformation_mode", half), "half_pixel"),
        .by_image = true,
        .largest = onnx_enum(s, "mode", "avg", mode) == 1,
    };
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_image[] = {
    { "BatchNormalization",    "batch_norm",     import_batch_norm },
    { "InstanceNormalization", "instance_norm",  import_own_norm },
    { "GroupNormalization",    "group_norm",     import_own_norm },
    { "LRN",                   "lrn",            import_lrn },
    { "Resize",                "resize",         import_resize },
    { "Upsample",              "resize",         import_resize },
    { "Pad",                   "pad",            import_pad },
    { "CenterCropPad",         "pad",            import_center_crop_pad },
    { "GridSample",            "grid_sample",    import_grid_sample },
    { "AffineGrid",            "affine_grid",    import_affine_grid },
    { "DepthToSpace",          "depth_to_space", import_blocks },
    { "SpaceToDepth",          "space_to_depth", import_blocks },
    { "Col2Im",                "col2im",         import_col2im },
    { "NonMaxSuppression",     "nms_each",       import_nms },
    { "RoiAlign",              "roi_align",      import_roi_align },
    { 0 },
};
// clang-format on
