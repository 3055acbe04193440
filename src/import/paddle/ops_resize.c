/* Resizing, padding, sampling, and moving elements between channels and places. */
#include "graph/attrs_move.h"
#include "import/paddle/image.h"

#include <math.h>
#include <string.h>

/* ---- interpolation, both versions: the second differs in where its ratio comes from ---- */

struct interp {
    const char *type;
    int axes; /* spatial */
    int32_t mode;
};

static const struct interp interps[] = {
    { "linear_interp", 1, RESIZE_LINEAR },    { "linear_interp_v2", 1, RESIZE_LINEAR },
    { "nearest_interp", 2, RESIZE_NEAREST },  { "nearest_interp_v2", 2, RESIZE_NEAREST },
    { "bilinear_interp", 2, RESIZE_LINEAR },  { "bilinear_interp_v2", 2, RESIZE_LINEAR },
    { "bicubic_interp", 2, RESIZE_CUBIC },    { "bicubic_interp_v2", 2, RESIZE_CUBIC },
    { "trilinear_interp", 3, RESIZE_LINEAR }, { "trilinear_interp_v2", 3, RESIZE_LINEAR },
};

static const struct interp *find_interp(const struct site *s)
{
    for (size_t i = 0; i < ARRAY_LEN(interps); i++)
        if (str_is(s->op->type, interps[i].type))
            return &interps[i];
    return &interps[0];
}

/* The size as one tensor: OutSize, or the list SizeTensor joined. */
static status read_size_tensor(struct site *s, struct value **out)
{
    const struct slot_desc *list = op_slot_in(s->op, "SizeTensor");
    struct value **part;
    int count;
    TRY(site_in_optional(s, "OutSize", out));
    if (list == NULL || list->arg_count == 0)
        return OK;
    TRY(site_ins(s, "SizeTensor", &part, &count));
    for (int i = 0; i < count; i++)
        TRY(site_reshape(s, part[i], &(struct attr_ints){ 1, { 1 } }, &part[i]));
    TRY(site_add1(s, "concat", part, count, out));
    (*out)->shape = SHAPE(count);
    return OK;
}

static status read_scale(struct site *s, int axes, struct attr_floats *out)
{
    int count;
    const double *v = attr_f64s(s, "scale", &count);
    if (count > axes)
        return site_fault(s, INVALID, "%d scales for %d axes", count, axes);
    for (int i = 0; i < count; i++) {
        if (v[i] > 0)
            out->v[out->count++] = (float)v[i];
    }
    if (out->count > 0 && out->count != count)
        return site_fault(s, INVALID, "some scales are positive, some are not");
    return OK;
}

static void read_places(struct site *s, const struct interp *p, struct resize_attrs *a)
{
    bool corners = attr_bool(s, "align_corners", true), half = attr_i32(s, "align_mode", 1) == 0;
    a->mode = p->mode;
    a->cubic = -0.75f;
    if (p->mode == RESIZE_NEAREST) {
        a->place = corners ? PLACE_CORNERS : PLACE_ASYMMETRIC;
        a->round = corners ? ROUND_HALF_UP : ROUND_DOWN;
    } else if (p->mode == RESIZE_LINEAR) {
        a->place = corners ? PLACE_CORNERS : half ? PLACE_HALF_PIXEL : PLACE_ASYMMETRIC;
    } else {
        a->place = corners ? PLACE_CORNERS : PLACE_HALF_PIXEL;
    }
}

static void read_sizes(struct site *s, int axes, struct attr_ints *out)
{
    static const char *const name[] = { "out_d", "out_h", "out_w" };
    out->count = axes;
    for (int i = 0; i < axes; i++)
        out->v[i] = attr_i32(s, name[3 - axes + i], -1);
}

static status import_interp(struct site *s)
{
    const struct interp *p = find_interp(s);
    struct resize_attrs a = { 0 };
    struct value *in[3], *out;
    bool last;
    TRY(site_in(s, "X", &in[0]));
    TRY(read_size_tensor(s, &in[1]));
    TRY(site_in_optional(s, "Scale", &in[2]));
    TRY(image_layout(s, "data_layout", &last));
    TRY(read_scale(s, p->axes, &a.scale));
    read_places(s, p, &a);
    read_sizes(s, p->axes, &a.size);
    a.ratio_of_sizes = p->type[strlen(p->type) - 1] == 'p'; /* not _v2 */
    a.axes.count = p->axes;
    for (int i = 0; i < p->axes; i++)
        a.axes.v[i] = i + (last ? 1 : 2);
    TRY(site_add1(s, "resize", in, 3, &out));
    *(struct resize_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Out", out);
}

/* ---- padding ---- */

static status add_pad(struct site *s, struct value *x, const struct pad_attrs *a)
{
    struct value *out;
    TRY(site_add1(s, "pad", &x, 1, &out));
    *(struct pad_attrs *)node_attrs(out->producer) = *a;
    return site_bind(s, "Out", out);
}

/* The list of the attribute, or what the tensor in the slot holds where that is known. */
static status read_paddings(struct site *s, const char *slot, struct attr_ints *out)
{
    struct value *v;
    TRY(site_in_optional(s, slot, &v));
    *out = attr_i64s(s, "paddings");
    if (v == NULL)
        return OK;
    const struct tensor *t = v->constant;
    if (t == NULL || (t->dtype != DTYPE_I32 && t->dtype != DTYPE_I64) ||
        shape_numel(&t->shape) > ATTR_INTS_MAX)
        return site_fault(s, UNSUPPORTED, "pads that are known only when it runs ('%s')", v->name);
    out->count = (int32_t)shape_numel(&t->shape);
    for (int i = 0; i < out->count; i++)
        out->v[i] =
            t->dtype == DTYPE_I32 ? ((const int32_t *)t->data)[i] : ((const int64_t *)t->data)[i];
    return OK;
}

/* pad: before and behind each dimension in turn. */
static status import_pad(struct site *s)
{
    struct value *x;
    struct attr_ints v;
    struct pad_attrs a = { .value = (float)attr_f64(s, "pad_value", 0) };
    TRY(site_in(s, "X", &x));
    TRY(read_paddings(s, "PaddingsTensor", &v));
    int rank = v.count / 2;
    if (v.count % 2 != 0)
        return site_fault(s, INVALID, "attribute 'paddings': %d numbers", v.count);
    a.pads.count = v.count;
    for (int i = 0; i < rank; i++) {
        a.pads.v[i] = v.v[2 * i];
        a.pads.v[rank + i] = v.v[2 * i + 1];
    }
    return add_pad(s, x, &a);
}

/* Pads of the spatial axes to those of all dimensions. v: (before, behind) of each axis; the innermost axis first where
 * `inner_first`. */
static status spatial_pads(struct site *s, const struct attr_ints *v, int axes, bool channel_last,
                           bool inner_first, struct attr_ints *out)
{
    int rank = axes + 2;
    if (v->count != 2 * axes)
        return site_fault(s, INVALID, "attribute 'paddings': expected %d numbers, got %d", 2 * axes,
                          v->count);
    *out = (struct attr_ints){ .count = 2 * rank };
    for (int i = 0; i < axes; i++) {
        int axis = (channel_last ? 1 : 2) + (inner_first ? axes - 1 - i : i);
        out->v[axis] = v->v[2 * i];
        out->v[rank + axis] = v->v[2 * i + 1];
    }
    return OK;
}

static status import_pad2d(struct site *s)
{
    static const char *const mode[] = { "constant", "reflect", "edge", NULL };
    struct value *x;
    struct attr_ints v;
    bool last;
    struct pad_attrs a = { .mode = attr_enum(s, "mode", "constant", mode),
                           .value = (float)attr_f64(s, "pad_value", 0) };
    TRY(site_in(s, "X", &x));
    TRY(image_layout(s, "data_format", &last));
    TRY(read_paddings(s, "Paddings", &v));
    TRY(spatial_pads(s, &v, 2, last, false, &a.pads));
    return add_pad(s, x, &a);
}

static status import_pad3d(struct site *s)
{
    static const char *const mode[] = { "constant", "reflect", "replicate", "circular", NULL };
    struct value *x;
    struct attr_ints v;
    bool last;
    struct pad_attrs a = { .mode = attr_enum(s, "mode", "constant", mode),
                           .value = (float)attr_f64(s, "value", 0) };
    TRY(site_in(s, "X", &x));
    TRY(image_layout(s, "data_format", &last));
    TRY(read_paddings(s, "Paddings", &v));
    TRY(spatial_pads(s, &v, 3, last, true, &a.pads));
    return add_pad(s, x, &a);
}

/* A part of x: `shape` elements of each dimension from `offsets` on; a shape of -1 goes to the end. */
static status import_crop(struct site *s)
{
    struct value *x, *out;
    struct slice_attrs a = { 0 };
    static const char *const not_read[] = { "Y", "Shape", "Offsets", "ShapeTensor",
                                            "OffsetsTensor" };
    for (size_t i = 0; i < ARRAY_LEN(not_read); i++)
        TRY(site_refuse_in(s, not_read[i]));
    struct attr_ints shape = attr_i64s(s, "shape"), from = attr_i64s(s, "offsets");
    TRY(site_in(s, "X", &x));
    if (shape.count != x->shape.rank || (from.count != 0 && from.count != shape.count))
        return site_fault(s, INVALID, "%d sizes and %d offsets for %d dimensions", shape.count,
                          from.count, x->shape.rank);
    a.axes.count = a.starts.count = a.ends.count = shape.count;
    for (int i = 0; i < shape.count; i++) {
        int64_t end = INT64_MAX;
        a.axes.v[i] = i;
        a.starts.v[i] = from.count > 0 ? from.v[i] : 0;
        if (a.starts.v[i] < 0 ||
            (shape.v[i] >= 0 && __builtin_add_overflow(a.starts.v[i], shape.v[i], &end)))
            return site_fault(s, INVALID, "offset %lld and size %lld", (long long)a.starts.v[i],
                              (long long)shape.v[i]);
        a.ends.v[i] = end;
    }
    TRY(site_add1(s, "slice", &x, 1, &out));
    *(struct slice_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Out", out);
}

/* ---- grids ---- */

static status import_grid_sampler(struct site *s)
{
    static const char *const mode[] = { "nearest", "bilinear", NULL };
    static const char *const padding[] = { "zeros", "border", "reflection", NULL };
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Grid", &in[1]));
    TRY(site_add1(s, "grid_sample", in, 2, &out));
    struct grid_attrs *a = node_attrs(out->producer);
    *a = (struct grid_attrs){ .mode = attr_enum(s, "mode", "bilinear", mode),
                              .padding = attr_enum(s, "padding_mode", "zeros", padding),
                              .align_corners = attr_bool(s, "align_corners", true) };
    a->strict = in[0]->shape.rank == 5 && a->mode == RESIZE_NEAREST && a->padding == GRID_ZEROS;
    return site_bind(s, "Output", out);
}

static status import_affine_grid(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "Theta", &in[0]));
    TRY(site_in_optional(s, "OutputShape", &in[1]));
    TRY(site_add1(s, "affine_grid", in, in[1] != NULL ? 2 : 1, &out));
    struct affine_grid_attrs *a = node_attrs(out->producer);
    a->align_corners = attr_bool(s, "align_corners", true);
    a->size = attr_i64s(s, "output_shape");
    return site_bind(s, "Output", out);
}

/* ---- channels and places ---- */

static status add_blocks(struct site *s, const char *op, const char *attr)
{
    struct value *x, *out;
    bool last;
    TRY(site_in(s, "X", &x));
    TRY(image_layout(s, "data_format", &last));
    TRY(site_add1(s, op, &x, 1, &out));
    *(struct block_attrs *)node_attrs(out->producer) =
        (struct block_attrs){ .block = attr_i32(s, attr, 1), .channel_last = last };
    return site_bind(s, "Out", out);
}

static status import_pixel_shuffle(struct site *s)
{
    return add_blocks(s, "depth_to_space", "upscale_factor");
}

static status import_pixel_unshuffle(struct site *s)
{
    return add_blocks(s, "space_to_depth", "downscale_factor");
}

static status add_groups(struct site *s, const char *attr, int32_t axis, bool last)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, s->row->canonical, &x, 1, &out));
    *(struct groups_attrs *)node_attrs(out->producer) =
        (struct groups_attrs){ .groups = attr_i32(s, attr, 1), .axis = axis, .channel_last = last };
    return site_bind(s, "Out", out);
}

static status import_channel_shuffle(struct site *s)
{
    bool last;
    TRY(image_layout(s, "data_format", &last));
    return add_groups(s, "groups", 0, last);
}

static status import_shuffle_channel(struct site *s)
{
    return add_groups(s, "group", 0, false);
}

static status import_maxout(struct site *s)
{
    return add_groups(s, "groups", attr_i32(s, "axis", 1), false);
}

static status read_im2col(struct site *s, const char *kernel, struct im2col_attrs *a)
{
    TRY(image_list(s, kernel, 2, 1, &a->kernel));
    TRY(image_list(s, "strides", 2, 1, &a->stride));
    TRY(image_list(s, "dilations", 2, 1, &a->dilation));
    struct attr_ints pads = attr_i64s(s, "paddings");
    a->pads.count = 4;
    for (int i = 0; i < 4; i++)
        a->pads.v[i] = pads.count > 0 ? pads.v[pads.count == 4   ? i
                                               : pads.count == 2 ? i % 2
                                                                 : 0]
                                      : 0;
    return OK;
}

static status import_unfold(struct site *s)
{
    struct value *x, *out;
    struct im2col_attrs a = { 0 };
    TRY(read_im2col(s, "kernel_sizes", &a));
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "im2col", &x, 1, &out));
    *(struct im2col_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Y", out);
}

/* The windows of each image as the rows of a sequence. */
static status import_im2sequence(struct site *s)
{
    struct value *x, *columns, *rows, *out;
    struct im2col_attrs a = { .dilation = { 2, { 1, 1 } }, .pads = attr_i64s(s, "paddings") };
    struct node *offsets;
    TRY(site_refuse_in(s, "Y"));
    TRY(image_list(s, "kernels", 2, 1, &a.kernel));
    TRY(image_list(s, "strides", 2, 1, &a.stride));
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "im2col", &x, 1, &columns));
    *(struct im2col_attrs *)node_attrs(columns->producer) = a;
    columns->shape = SHAPE(x->shape.dim[0], -1, -1);
    TRY(site_add1(s, "transpose", &columns, 1, &rows));
    ((struct transpose_attrs *)node_attrs(rows->producer))->perm =
        (struct attr_ints){ 3, { 0, 2, 1 } };
    TRY(site_add(s, "even_offsets", &rows, 1, &offsets));
    offsets->out[0]->dtype = DTYPE_I64;
    offsets->out[0]->shape = SHAPE(-1);
    TRY(site_add1(s, "flatten", &rows, 1, &out));
    *(struct flatten_attrs *)node_attrs(out->producer) = (struct flatten_attrs){ 0, 1 };
    TRY(site_bind(s, "Out", out));
    out->lod[0] = offsets->out[0];
    out->lod_levels = 1;
    return OK;
}

static status import_fold(struct site *s)
{
    struct value *x, *out;
    struct im2col_attrs a = { 0 };
    TRY(read_im2col(s, "kernel_sizes", &a));
    TRY(image_list(s, "output_sizes", 2, 1, &a.size));
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "col2im", &x, 1, &out));
    *(struct im2col_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Y", out);
}

static status import_temporal_shift(struct site *s)
{
    struct value *x, *out;
    bool last;
    TRY(site_in(s, "X", &x));
    TRY(image_layout(s, "data_format", &last));
    TRY(site_add1(s, "temporal_shift", &x, 1, &out));
    *(struct temporal_attrs *)node_attrs(out->producer) =
        (struct temporal_attrs){ .segments = attr_i32(s, "seg_num", 1),
                                 .ratio = (float)attr_f64(s, "shift_ratio", 0.25),
                                 .channel_last = last };
    return site_bind(s, "Out", out);
}

/* Alpha for all, for each channel, or for each element of an image. */
static status import_prelu(struct site *s)
{
    static const char *const mode[] = { "all", "channel", "element", NULL };
    struct value *in[2], *out;
    bool last = false;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Alpha", &in[1]));
    int32_t kind = attr_enum(s, "mode", "all", mode);
    if (op_attr(s->op, "data_format") != NULL)
        TRY(image_layout(s, "data_format", &last));
    if (kind == 0)
        TRY(site_reshape(s, in[1], &(struct attr_ints){ 1, { 1 } }, &in[1]));
    if (kind == 1)
        TRY(image_per_channel(s, in[1], in[0]->shape.rank, last, &in[1]));
    TRY(site_add1(s, "prelu", in, 2, &out));
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_resize[] = {
    { "linear_interp",       "resize",          import_interp,          LOD_SHARE },
    { "linear_interp_v2",    "resize",          import_interp,          LOD_SHARE },
    { "nearest_interp",      "resize",          import_interp,          LOD_SHARE },
    { "nearest_interp_v2",   "resize",          import_interp,          LOD_SHARE },
    { "bilinear_interp",     "resize",          import_interp,          LOD_SHARE },
    { "bilinear_interp_v2",  "resize",          import_interp,          LOD_SHARE },
    { "bicubic_interp",      "resize",          import_interp,          LOD_SHARE },
    { "bicubic_interp_v2",   "resize",          import_interp,          LOD_SHARE },
    { "trilinear_interp",    "resize",          import_interp,          LOD_SHARE },
    { "trilinear_interp_v2", "resize",          import_interp,          LOD_SHARE },
    { "pad",                 "pad",             import_pad,             LOD_OWN },
    { "pad2d",               "pad",             import_pad2d,           LOD_SHARE },
    { "pad3d",               "pad",             import_pad3d,           LOD_SHARE },
    { "crop",                "slice",           import_crop,            LOD_OWN },
    { "crop_tensor",         "slice",           import_crop,            LOD_OWN },
    { "grid_sampler",        "grid_sample",     import_grid_sampler,    LOD_SHARE },
    { "affine_grid",         "affine_grid",     import_affine_grid,     LOD_OWN },
    { "pixel_shuffle",       "depth_to_space",  import_pixel_shuffle,   LOD_SHARE },
    { "pixel_unshuffle",     "space_to_depth",  import_pixel_unshuffle, LOD_SHARE },
    { "channel_shuffle",     "channel_shuffle", import_channel_shuffle, LOD_SHARE },
    { "shuffle_channel",     "channel_shuffle", import_shuffle_channel, LOD_SHARE },
    { "maxout",              "maxout",          import_maxout,          LOD_SHARE },
    { "unfold",              "im2col",          import_unfold,          LOD_OWN },
    { "im2sequence",         "im2col",          import_im2sequence,     LOD_OWN },
    { "fold",                "col2im",          import_fold,            LOD_OWN },
    { "temporal_shift",      "temporal_shift",  import_temporal_shift,  LOD_OWN },
    { "prelu",               "prelu",           import_prelu,           LOD_SHARE },
    { 0 },
};
// clang-format on
