/* Images and volumes: convolution, pooling, normalisation by channel, resizing, padding, sampling. */
#include "graph/attrs_detect.h"
#include "graph/attrs_image.h"
#include "graph/attrs_move.h"
#include "graph/attrs_nms_each.h"
#include "graph/attrs_reduce.h"
#include "import/onnx/build.h"

#include <string.h>

/* ---- windows ---- */

struct window_lists {
    struct attr_ints kernel, stride, dilation, pads;
    int axes; /* spatial */
    int32_t auto_pad;
};

static int64_t nth(const struct attr_ints *v, int i, int64_t otherwise)
{
    return i < v->count ? v->v[i] : otherwise;
}

/* The result is as large as the input over the stride; what is odd goes in front. */
static status pads_of_same_lower(struct onnx_site *s, const struct value *x, struct window_lists *w)
{
    w->pads.count = 2 * w->axes;
    for (int i = 0; i < w->axes; i++) {
        int64_t in = x->shape.rank == w->axes + 2 ? x->shape.dim[2 + i] : -1, before, after;
        int64_t stride = nth(&w->stride, i, 1),
                extent = (w->kernel.v[i] - 1) * nth(&w->dilation, i, 1) + 1;
        if (in < 0 || stride < 1)
            return onnx_fault(s, UNSUPPORTED,
                              "auto_pad SAME_LOWER of an image of no known size; export with "
                              "explicit pads");
        int64_t out = (in + stride - 1) / stride, total = (out - 1) * stride + extent - in;
        total = total > 0 ? total : 0;
        after = total / 2;
        before = total - after;
        w->pads.v[i] = before;
        w->pads.v[w->axes + i] = after;
    }
    w->auto_pad = PAD_EXPLICIT;
    return OK;
}

static status read_windows(struct onnx_site *s, const struct value *x, const struct value *filter,
                           struct window_lists *w)
{
    static const char *const algorithm[] = { "NOTSET", "SAME_UPPER", "VALID", "SAME_LOWER", NULL };
    *w = (struct window_lists){ .kernel = onnx_i64s(s, "kernel_shape"),
                                .stride = onnx_i64s(s, "strides"),
                                .dilation = onnx_i64s(s, "dilations"),
                                .pads = onnx_i64s(s, "pads"),
                                .auto_pad = onnx_enum(s, "auto_pad", "NOTSET", algorithm) };
    for (int i = 2; filter != NULL && w->kernel.count == 0 && i < filter->shape.rank; i++)
        w->kernel.v[i - 2] = filter->shape.dim[i];
    if (w->kernel.count == 0 && filter != NULL)
        w->kernel.count = filter->shape.rank > 2 ? filter->shape.rank - 2 : 0;
    w->axes = w->kernel.count;
    if (w->axes < 1 || w->axes > SPATIAL_MAX)
        return onnx_fault(s, UNSUPPORTED, "a window of %d dimensions, 1 to %d are supported",
                          w->axes, SPATIAL_MAX);
    if (w->auto_pad == 3)
        return pads_of_same_lower(s, x, w);
    return OK;
}

static status to_i32(struct onnx_site *s, int64_t v, int32_t *out)
{
    *out = (int32_t)v;
    return v >= INT32_MIN && v <= INT32_MAX
               ? OK
               : onnx_fault(s, INVALID, "a stride, dilation, pad or window of %lld", (long long)v);
}

static void declare_image(struct value *out, int64_t channels)
{
    declare_unknown(out);
    if (out->shape.rank > 1)
        out->shape.dim[1] = channels;
}

/* ---- convolution ---- */

static status plain_conv(struct onnx_site *s, const struct window_lists *w, struct conv_attrs *a)
{
    TRY(to_i32(s, nth(&w->stride, 0, 1), &a->stride_h));
    TRY(to_i32(s, nth(&w->stride, 1, 1), &a->stride_w));
    TRY(to_i32(s, nth(&w->dilation, 0, 1), &a->dilation_h));
    TRY(to_i32(s, nth(&w->dilation, 1, 1), &a->dilation_w));
    TRY(to_i32(s, nth(&w->pads, 0, 0), &a->pad_top));
    TRY(to_i32(s, nth(&w->pads, 1, 0), &a->pad_left));
    TRY(to_i32(s, nth(&w->pads, 2, 0), &a->pad_bottom));
    TRY(to_i32(s, nth(&w->pads, 3, 0), &a->pad_right));
    a->groups = onnx_i32(s, "group", 1);
    a->auto_pad = w->auto_pad;
    return OK;
}

static struct conv_nd_attrs conv_nd_of(struct onnx_site *s, const struct window_lists *w)
{
    return (struct conv_nd_attrs){ .stride = w->stride,
                                   .dilation = w->dilation,
                                   .pads = w->pads,
                                   .groups = onnx_i32(s, "group", 1),
                                   .auto_pad = w->auto_pad };
}

static status conv_in(struct onnx_site *s, struct value *in[3], int *count)
{
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_in_optional(s, 2, &in[2]));
    *count = in[2] != NULL ? 3 : 2;
    return OK;
}

static status import_conv(struct onnx_site *s)
{
    struct value *in[3], *out;
    struct window_lists w;
    int count;
    TRY(conv_in(s, in, &count));
    TRY(read_windows(s, in[0], in[1], &w));
    if (w.axes == 2) {
        TRY(onnx_add1(s, "conv2d", in, count, &out));
        TRY(plain_conv(s, &w, node_attrs(out->producer)));
    } else {
        TRY(onnx_add1(s, "conv_nd", in, count, &out));
        *(struct conv_nd_attrs *)node_attrs(out->producer) = conv_nd_of(s, &w);
    }
    declare_image(out, in[1]->shape.rank > 0 ? in[1]->shape.dim[0] : -1);
    return onnx_bind(s, 0, out);
}

/* An output of a given size, or of the input's times the stride, asks for pads of its own. */
static status pads_for_size(struct onnx_site *s, const struct value *x, struct window_lists *w,
                            const struct attr_ints *more)
{
    struct attr_ints size = onnx_i64s(s, "output_shape");
    bool same = w->auto_pad == PAD_SAME || str_is(onnx_str(s, "auto_pad", ""), "SAME_LOWER");
    bool upper = !str_is(onnx_str(s, "auto_pad", ""), "SAME_LOWER");
    if (size.count == 0 && !same)
        return OK;
    w->pads.count = 2 * w->axes;
    w->auto_pad = PAD_EXPLICIT;
    for (int i = 0; i < w->axes; i++) {
        int64_t in = x->shape.rank == w->axes + 2 ? x->shape.dim[2 + i] : -1;
        int64_t stride = nth(&w->stride, i, 1);
        if (in < 0)
            return onnx_fault(s, UNSUPPORTED,
                              "an output_shape or auto_pad for an image of no "
                              "known size; export with explicit pads");
        int64_t want = size.count > 0 ? nth(&size, size.count - w->axes + i, 0) : in * stride;
        int64_t total = stride * (in - 1) + nth(more, i, 0) +
                        (w->kernel.v[i] - 1) * nth(&w->dilation, i, 1) + 1 - want;
        total = total > 0 ? total : 0;
        w->pads.v[i] = upper ? total / 2 : total - total / 2;
        w->pads.v[w->axes + i] = total - w->pads.v[i];
    }
    return OK;
}

static status import_conv_transpose(struct onnx_site *s)
{
    struct value *in[3], *out;
    struct window_lists w;
    struct attr_ints more = onnx_i64s(s, "output_padding");
    int count;
    TRY(conv_in(s, in, &count));
    if (str_is(onnx_str(s, "auto_pad", "NOTSET"), "SAME_LOWER") && in[0]->shape.rank < 3)
        return onnx_fault(s, UNSUPPORTED, "auto_pad of an image of no known size");
    TRY(read_windows(s, in[0], in[1], &w));
    TRY(pads_for_size(s, in[0], &w, &more));
    TRY(onnx_add1(s, "conv_transpose", in, count, &out));
    struct conv_nd_attrs *a = node_attrs(out->producer);
    *a = conv_nd_of(s, &w);
    a->more = more;
    declare_image(out, -1);
    return onnx_bind(s, 0, out);
}

/* [O] to [O, 1, 1], so that it is added to each channel. */
static status by_channel(struct onnx_site *s, struct value *v, int axes, struct value **out)
{
    struct attr_ints at = { .count = axes };
    for (int i = 0; i < axes; i++)
        at.v[i] = i + 1;
    return build_unsqueeze(s, v, &at, out);
}

static status import_deform_conv(struct onnx_site *s)
{
    struct value *in[4], *bias, *out;
    struct window_lists w;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_in(s, 2, &in[2]));
    TRY(onnx_in_optional(s, 3, &bias));
    TRY(onnx_in_optional(s, 4, &in[3]));
    TRY(read_windows(s, in[0], in[1], &w));
    TRY(onnx_add1(s, "deform_conv", in, in[3] != NULL ? 4 : 3, &out));
    *(struct deform_conv_attrs *)node_attrs(out->producer) = (struct deform_conv_attrs){
        .stride = w.stride,
        .dilation = w.dilation,
        .pads = w.pads,
        .groups = onnx_i32(s, "group", 1),
        .deform_groups = onnx_i32(s, "offset_group", 1),
    };
    if (bias != NULL) {
        TRY(by_channel(s, bias, 2, &bias));
        TRY(build2(s, "add", out, bias, &out));
    }
    declare_image(out, -1);
    return onnx_bind(s, 0, out);
}

/* ---- pooling ---- */

static bool all_ones(const struct attr_ints *v)
{
    for (int i = 0; i < v->count; i++)
        if (v->v[i] != 1)
            return false;
    return true;
}

static status plain_pool(struct onnx_site *s, const struct window_lists *w, struct pool_attrs *a)
{
    TRY(to_i32(s, w->kernel.v[0], &a->kernel_h));
    TRY(to_i32(s, w->kernel.v[1], &a->kernel_w));
    TRY(to_i32(s, nth(&w->stride, 0, 1), &a->stride_h));
    TRY(to_i32(s, nth(&w->stride, 1, 1), &a->stride_w));
    TRY(to_i32(s, nth(&w->pads, 0, 0), &a->pad_top));
    TRY(to_i32(s, nth(&w->pads, 1, 0), &a->pad_left));
    TRY(to_i32(s, nth(&w->pads, 2, 0), &a->pad_bottom));
    TRY(to_i32(s, nth(&w->pads, 3, 0), &a->pad_right));
    a->auto_pad = w->auto_pad;
    a->ceil_mode = a->ceil_inside = onnx_bool(s, "ceil_mode", false);
    return OK;
}

static struct pool_nd_attrs pool_nd_of(struct onnx_site *s, const struct window_lists *w,
                                       int32_t mode)
{
    bool ceil_mode = onnx_bool(s, "ceil_mode", false);
    return (struct pool_nd_attrs){ .mode = mode,
                                   .kernel = w->kernel,
                                   .stride = w->stride,
                                   .dilation = w->dilation,
                                   .pads = w->pads,
                                   .auto_pad = w->auto_pad,
                                   .ceil_mode = ceil_mode,
                                   .ceil_inside = ceil_mode };
}

static status add_pool(struct onnx_site *s, int32_t mode, struct value *x, struct value **out)
{
    struct window_lists w;
    TRY(read_windows(s, x, NULL, &w));
    if (w.axes == 2 && all_ones(&w.dilation)) {
        TRY(build1(s, "pool2d", x, out));
        struct pool_attrs *a = node_attrs((*out)->producer);
        a->mode = mode;
        TRY(plain_pool(s, &w, a));
    } else {
        TRY(build1(s, "pool_nd", x, out));
        *(struct pool_nd_attrs *)node_attrs((*out)->producer) = pool_nd_of(s, &w, mode);
    }
    declare_image(*out, x->shape.rank > 1 ? x->shape.dim[1] : -1);
    return OK;
}

/* int64 [1]: the elements of one channel. */
static status build_plane(struct onnx_site *s, struct value *x, struct value **out)
{
    struct value *shape, *spatial;
    TRY(build_shape(s, x, &shape));
    TRY(build_slice(s, shape, 0, 2, INT64_MAX, &spatial));
    return build_reduce(s, REDUCE_PROD, spatial, &(struct attr_ints){ 0 }, true, out);
}

/* Places within a channel become those ONNX counts: over all images and channels; with storage_order 1 column by column. */
static status count_places(struct onnx_site *s, struct value *x, struct value *within,
                           struct value **out)
{
    struct value *plane, *images, *channels, *channel, *first;
    struct attr_ints behind = { .count = within->shape.rank - 1 };
    for (int i = 0; i < behind.count; i++)
        behind.v[i] = i + 1;
    TRY(build_cast(s, within, DTYPE_I64, &within));
    if (onnx_bool(s, "storage_order", false)) {
        struct value *width, *height, *row, *column;
        TRY(build_dim(s, x, -1, &width));
        TRY(build_dim(s, x, 2, &height));
        TRY(build2(s, "floordiv", within, width, &row));
        TRY(build2(s, "mod", within, width, &column));
        TRY(build2(s, "mul", column, height, &column));
        TRY(build2(s, "add", column, row, &within));
    }
    TRY(build_plane(s, x, &plane));
    TRY(build_dim(s, x, 1, &channels));
    TRY(build_places(s, x, 0, &images));
    TRY(build_places(s, x, 1, &channel));
    TRY(build2(s, "mul", images, channels, &images));
    TRY(build_unsqueeze(s, images, &behind, &images));
    behind.count--;
    TRY(build_unsqueeze(s, channel, &behind, &channel));
    TRY(build2(s, "add", images, channel, &first));
    TRY(build2(s, "mul", first, plane, &first));
    return build2(s, "add", within, first, out);
}

static status max_pool_places(struct onnx_site *s, struct value *x)
{
    struct window_lists w;
    struct node *n;
    struct value *places;
    TRY(read_windows(s, x, NULL, &w));
    if (x->shape.rank != w.axes + 2 || (onnx_bool(s, "storage_order", false) && w.axes != 2))
        return onnx_fault(s, UNSUPPORTED, "the places of maxima in %d dimensions", x->shape.rank);
    TRY(onnx_add(s, "max_pool_index", &x, 1, &n));
    *(struct pool_nd_attrs *)node_attrs(n) = pool_nd_of(s, &w, POOL_MAX);
    for (int i = 0; i < 2; i++) {
        n->out[i]->dtype = i == 0 ? x->dtype : DTYPE_I32;
        n->out[i]->shape = x->shape;
        declare_image(n->out[i], x->shape.dim[1]);
    }
    TRY(count_places(s, x, n->out[1], &places));
    TRY(onnx_bind(s, 0, n->out[0]));
    return onnx_bind(s, 1, places);
}

/* Bytes are pooled as floats. */
static status import_max_pool(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    dtype d = x->dtype;
    if (d == DTYPE_U8 || d == DTYPE_I8)
        TRY(build_cast(s, x, DTYPE_F32, &x));
    if (onnx_wants(s, 1))
        return max_pool_places(s, x);
    TRY(add_pool(s, POOL_MAX, x, &out));
    if (d == DTYPE_U8 || d == DTYPE_I8)
        TRY(build_cast(s, out, d, &out));
    return onnx_bind(s, 0, out);
}

/* The size that a pooling with these windows came from. */
static status unpooled_size(struct onnx_site *s, const struct value *x,
                            const struct window_lists *w, struct attr_ints *size)
{
    size->count = w->axes;
    for (int i = 0; i < w->axes; i++) {
        int64_t in = x->shape.rank == w->axes + 2 ? x->shape.dim[2 + i] : -1;
        if (in < 0)
            return onnx_fault(s, UNSUPPORTED, "an image of no known size");
        size->v[i] = (in - 1) * nth(&w->stride, i, 1) + w->kernel.v[i] - nth(&w->pads, i, 0) -
                     nth(&w->pads, w->axes + i, 0);
    }
    return OK;
}

/* Larger, where the node asks for it, with zeros behind. */
static status widen_to(struct onnx_site *s, struct value *x, struct value *want, struct value **out)
{
    struct value *have, *more, *none, *pads;
    TRY(build_shape(s, x, &have));
    TRY(build2(s, "sub", want, have, &more));
    TRY(build_affine(s, more, 0, 0, &none));
    TRY(build_concat(s, (struct value *[]){ none, more }, 2, 0, &pads));
    TRY(onnx_add1(s, "pad", (struct value *[]){ x, pads }, 2, out));
    declare_unknown(*out);
    return OK;
}

static status import_max_unpool(struct onnx_site *s)
{
    struct value *x, *at, *want, *out;
    struct window_lists w;
    struct attr_ints size = { 0 };
    int64_t plane = 1;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &at));
    TRY(onnx_in_optional(s, 2, &want));
    TRY(read_windows(s, x, NULL, &w));
    TRY(unpooled_size(s, x, &w, &size));
    for (int i = 0; i < size.count; i++)
        if (size.v[i] < 1 || __builtin_mul_overflow(plane, size.v[i], &plane) || plane > INT32_MAX)
            return onnx_fault(s, INVALID, "an image of %lld elements along an axis",
                              (long long)size.v[i]);
    TRY(build_by(s, "mod", at, (double)plane, &at)); /* ONNX counts over all channels */
    TRY(onnx_add1(s, "max_unpool", (struct value *[]){ x, at }, 2, &out));
    ((struct unpool_attrs *)node_attrs(out->producer))->size = size;
    for (int i = 0; i < size.count; i++)
        out->shape.dim[2 + i] = size.v[i];
    if (want != NULL)
        TRY(widen_to(s, out, want, &out));
    return onnx_bind(s, 0, out);
}

static status import_average_pool(struct onnx_site *s)
{
    struct value *x, *out;
    bool pads = onnx_bool(s, "count_include_pad", false);
    TRY(onnx_in(s, 0, &x));
    TRY(add_pool(s, pads ? POOL_AVG_WITH_PADS : POOL_AVG, x, &out));
    return onnx_bind(s, 0, out);
}

/* The root of the sum of powers: the mean over the whole window, pads counted, times the window. */
static status import_lp_pool(struct onnx_site *s)
{
    struct value *x, *out;
    int64_t p = onnx_i64(s, "p", 2), window = 1;
    struct attr_ints kernel = onnx_i64s(s, "kernel_shape");
    for (int i = 0; i < kernel.count; i++)
        window *= kernel.v[i] > 0 && kernel.v[i] < 1 << 15 ? kernel.v[i] : 1;
    if (onnx_bool(s, "ceil_mode", false))
        return onnx_fault(s, UNSUPPORTED, "ceil_mode");
    TRY(onnx_in(s, 0, &x));
    TRY(build1(s, "abs", x, &x));
    TRY(build_by(s, "pow", x, (double)p, &x));
    TRY(add_pool(s, POOL_AVG_WITH_PADS, x, &out));
    TRY(build_affine(s, out, (double)window, 0, &out));
    TRY(build_by(s, "pow", out, 1.0 / (double)p, &out));
    return onnx_bind(s, 0, out);
}

static status import_global_pool(struct onnx_site *s)
{
    struct value *x, *out;
    bool max = str_is(s->node->type, "GlobalMaxPool");
    struct attr_ints axes = { 0 };
    TRY(onnx_in(s, 0, &x));
    if (x->shape.rank == 4) {
        TRY(build1(s, "pool2d", x, &out));
        struct pool_attrs *a = node_attrs(out->producer);
        *a = (struct pool_attrs){ .mode = max ? POOL_MAX : POOL_AVG, .global = true };
        out->shape.dim[2] = out->shape.dim[3] = 1;
        return onnx_bind(s, 0, out);
    }
    if (x->shape.rank < 3)
        return onnx_fault(s, UNSUPPORTED, "an image of no known number of dimensions");
    for (int i = 2; i < x->shape.rank; i++)
        axes.v[axes.count++] = i;
    TRY(build_reduce(s, max ? REDUCE_MAX : REDUCE_MEAN, x, &axes, true, &out));
    return onnx_bind(s, 0, out);
}

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
    { "Conv",                  "conv2d",         import_conv },
    { "ConvTranspose",         "conv_transpose", import_conv_transpose },
    { "DeformConv",            "deform_conv",    import_deform_conv },
    { "MaxPool",               "pool2d",         import_max_pool },
    { "AveragePool",           "pool2d",         import_average_pool },
    { "MaxUnpool",             "max_unpool",     import_max_unpool },
    { "LpPool",                "pool2d",         import_lp_pool },
    { "GlobalMaxPool",         "pool2d",         import_global_pool },
    { "GlobalAveragePool",     "pool2d",         import_global_pool },
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
