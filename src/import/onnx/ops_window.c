/* Windows that go over images and volumes: convolution and pooling. */
#include "graph/attrs_image.h"
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

static status max_pool_places(struct onnx_site *s, struct value *x, dtype d)
{
    struct window_lists w;
    struct node *n;
    struct value *places, *largest;
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
    TRY(build_cast(s, n->out[0], d, &largest));
    TRY(onnx_bind(s, 0, largest));
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
        return max_pool_places(s, x, d);
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

// clang-format off
const struct onnx_row onnx_window[] = {
    { "Conv",                  "conv2d",         import_conv },
    { "ConvTranspose",         "conv_transpose", import_conv_transpose },
    { "DeformConv",            "deform_conv",    import_deform_conv },
    { "MaxPool",               "pool2d",         import_max_pool },
    { "AveragePool",           "pool2d",         import_average_pool },
    { "MaxUnpool",             "max_unpool",     import_max_unpool },
    { "LpPool",                "pool2d",         import_lp_pool },
    { "GlobalMaxPool",         "pool2d",         import_global_pool },
    { "GlobalAveragePool",     "pool2d",         import_global_pool },
    { 0 },
};
// clang-format on
