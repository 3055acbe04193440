/* Normalisation, and convolution and pooling other than plain 2-D. */
#include "import/paddle/image.h"

#include <string.h>

/* ---- normalisation ---- */

static status import_batch_norm(struct site *s)
{
    static const char *const slot[] = { "X", "Scale", "Bias", "Mean", "Variance" };
    struct value *in[5], *out;
    bool last;
    for (int i = 0; i < 5; i++)
        TRY(site_in(s, slot[i], &in[i]));
    TRY(image_layout(s, "data_layout", &last));
    TRY(site_add1(s, "batch_norm", in, 5, &out));
    *(struct norm_attrs *)node_attrs(out->producer) =
        (struct norm_attrs){ .epsilon = (float)attr_f64(s, "epsilon", 1e-5), .channel_last = last };
    return site_bind(s, "Y", out);
}

/* batch_norm whose result an activation overwrites. */
static status import_inplace_abn(struct site *s)
{
    static const char *const names[] = { "identity", "leaky_relu", "elu", "", NULL };
    int32_t kind = attr_enum(s, "activation", "identity", names);
    if (kind != 0 && kind != 3)
        return site_fault(s, UNSUPPORTED, "activation %s", names[kind]);
    return import_batch_norm(s);
}

static status import_own_norm(struct site *s)
{
    struct value *in[3], *out;
    bool last = false;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in_optional(s, "Scale", &in[1]));
    TRY(site_in_optional(s, "Bias", &in[2]));
    if (op_attr(s->op, "data_layout") != NULL)
        TRY(image_layout(s, "data_layout", &last));
    TRY(site_add1(s, s->row->canonical, in, 3, &out));
    *(struct norm_attrs *)node_attrs(out->producer) =
        (struct norm_attrs){ .epsilon = (float)attr_f64(s, "epsilon", 1e-5),
                             .groups = attr_i32(s, "groups", 1),
                             .channel_last = last };
    return site_bind(s, "Y", out);
}

static status import_lrn(struct site *s)
{
    struct value *x, *out;
    bool last;
    TRY(site_in(s, "X", &x));
    TRY(image_layout(s, "data_format", &last));
    TRY(site_add1(s, "lrn", &x, 1, &out));
    *(struct lrn_attrs *)node_attrs(out->producer) =
        (struct lrn_attrs){ .size = attr_i32(s, "n", 5),
                            .alpha = (float)attr_f64(s, "alpha", 1e-4),
                            .beta = (float)attr_f64(s, "beta", 0.75),
                            .k = (float)attr_f64(s, "k", 2),
                            .channel_last = last };
    return site_bind(s, "Out", out);
}

static status import_affine_channel(struct site *s)
{
    struct value *x, *v[2], *in[2], *out;
    bool last;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Scale", &v[0]));
    TRY(site_in(s, "Bias", &v[1]));
    TRY(image_layout(s, "data_layout", &last));
    for (int i = 0; i < 2; i++)
        TRY(image_per_channel(s, v[i], x->shape.rank, last, &v[i]));
    in[0] = x;
    in[1] = v[0];
    TRY(site_add1(s, "mul", in, 2, &out));
    in[0] = out;
    in[1] = v[1];
    TRY(site_add1(s, "add", in, 2, &out));
    return site_bind(s, "Out", out);
}

/* (x - sum / size) * sqrt(size / square_sum), then optionally scaled and shifted. */
static status import_data_norm(struct site *s)
{
    struct value *x, *size, *sum, *squares, *mean, *scale, *y;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "BatchSize", &size));
    TRY(site_in(s, "BatchSum", &sum));
    TRY(site_in(s, "BatchSquareSum", &squares));
    if (attr_i32(s, "slot_dim", -1) > 0)
        return site_fault(s, UNSUPPORTED, "slot_dim %d", attr_i32(s, "slot_dim", -1));
    TRY(site_add2(s, "div", sum, size, &mean));
    TRY(site_add2(s, "div", size, squares, &scale));
    TRY(site_add1(s, "sqrt", &scale, 1, &scale));
    TRY(site_add2(s, "sub", x, mean, &y));
    TRY(site_add2(s, "mul", y, scale, &y));
    if (attr_bool(s, "enable_scale_and_shift", false)) {
        struct value *by, *more;
        TRY(site_in(s, "scale_w", &by));
        TRY(site_in(s, "bias", &more));
        TRY(site_add2(s, "mul", y, by, &y));
        TRY(site_add2(s, "add", y, more, &y));
    }
    return site_bind(s, "Y", y);
}

/* ---- convolution ---- */

static status read_conv(struct site *s, int axes, struct conv_nd_attrs *a)
{
    TRY(image_list(s, "strides", axes, 1, &a->stride));
    TRY(image_list(s, "dilations", axes, 1, &a->dilation));
    TRY(image_pads(s, axes, &a->pads, &a->auto_pad));
    a->groups = attr_i32(s, "groups", 1);
    if (a->auto_pad == PAD_SAME) /* Paddle ignores dilation there */
        for (int i = 0; i < axes; i++)
            a->dilation.v[i] = 1;
    return OK;
}

static status add_conv(struct site *s, const char *op, const struct conv_nd_attrs *a)
{
    struct value *in[3], *out;
    bool last;
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "Filter", &in[1]));
    TRY(site_in_optional(s, "Bias", &in[2]));
    TRY(image_layout(s, "data_format", &last));
    TRY(image_channels_first(s, in[0], last, &in[0]));
    TRY(site_add1(s, op, in, in[2] != NULL ? 3 : 2, &out));
    *(struct conv_nd_attrs *)node_attrs(out->producer) = *a;
    TRY(image_channels_last(s, out, last, &out));
    return site_bind(s, "Output", out);
}

static status import_conv3d(struct site *s)
{
    struct conv_nd_attrs a = { 0 };
    TRY(read_conv(s, 3, &a));
    return add_conv(s, "conv_nd", &a);
}

static status import_transpose(struct site *s, int axes)
{
    struct conv_nd_attrs a = { 0 };
    TRY(site_refuse_in(s, "OutputSizeTensor"));
    TRY(site_refuse_in(s, "OutputSizeTensorList"));
    TRY(site_refuse_in(s, "output_size"));
    TRY(read_conv(s, axes, &a));
    if (attr_i64s(s, "output_padding").count > 0)
        TRY(image_list(s, "output_padding", axes, 0, &a.more));
    if (attr_i64s(s, "output_size").count > 0)
        TRY(image_list(s, "output_size", axes, 0, &a.size));
    if (a.size.count > 0)
        a.more.count = 0;
    return add_conv(s, "conv_transpose", &a);
}

static status import_transpose2d(struct site *s)
{
    return import_transpose(s, 2);
}

static status import_transpose3d(struct site *s)
{
    return import_transpose(s, 3);
}

static status import_deform(struct site *s)
{
    struct value *in[4], *out;
    struct deform_conv_attrs a = { .groups = attr_i32(s, "groups", 1),
                                   .deform_groups = attr_i32(s, "deformable_groups", 1) };
    int32_t auto_pad;
    TRY(image_list(s, "strides", 2, 1, &a.stride));
    TRY(image_list(s, "dilations", 2, 1, &a.dilation));
    TRY(image_pads(s, 2, &a.pads, &auto_pad));
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "Filter", &in[1]));
    TRY(site_in(s, "Offset", &in[2]));
    TRY(site_in_optional(s, "Mask", &in[3]));
    TRY(site_add1(s, "deform_conv", in, in[3] != NULL ? 4 : 3, &out));
    *(struct deform_conv_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Output", out);
}

/* ---- pooling ---- */

static status read_pool(struct site *s, int axes, struct pool_nd_attrs *a)
{
    TRY(image_list(s, "ksize", axes, 1, &a->kernel));
    TRY(image_list(s, "strides", axes, 1, &a->stride));
    TRY(image_pads(s, axes, &a->pads, &a->auto_pad));
    a->ceil_mode = attr_bool(s, "ceil_mode", false);
    a->global = attr_bool(s, "global_pooling", false);
    a->adaptive = attr_bool(s, "adaptive", false) && !a->global;
    return OK;
}

static status import_pool3d(struct site *s)
{
    static const char *const type[] = { "max", "avg", NULL };
    struct pool_nd_attrs a = { .mode = POOL_MAX };
    struct value *x, *out;
    bool last;
    TRY(image_layout(s, "data_format", &last));
    TRY(read_pool(s, 3, &a));
    if (attr_enum(s, "pooling_type", "max", type) == 1)
        a.mode = attr_bool(s, "exclusive", true) ? POOL_AVG : POOL_AVG_WITH_PADS;
    TRY(image_pads_agree(s, a.mode, a.auto_pad, &a.pads));
    TRY(site_in(s, "X", &x));
    TRY(image_channels_first(s, x, last, &x));
    TRY(site_add1(s, "pool_nd", &x, 1, &out));
    *(struct pool_nd_attrs *)node_attrs(out->producer) = a;
    TRY(image_channels_last(s, out, last, &out));
    return site_bind(s, "Out", out);
}

static status import_pool_index(struct site *s, int axes)
{
    struct pool_nd_attrs a = { .mode = POOL_MAX };
    struct value *x;
    struct node *n;
    TRY(read_pool(s, axes, &a));
    TRY(site_in(s, "X", &x));
    TRY(site_add(s, "max_pool_index", &x, 1, &n));
    *(struct pool_nd_attrs *)node_attrs(n) = a;
    n->out[0]->dtype = x->dtype;
    n->out[1]->dtype = DTYPE_I32;
    TRY(site_bind(s, "Out", n->out[0]));
    return site_bind(s, "Mask", n->out[1]);
}

static status import_pool2d_index(struct site *s)
{
    return import_pool_index(s, 2);
}

static status import_pool3d_index(struct site *s)
{
    return import_pool_index(s, 3);
}

/* unpool: the output's size is told, or what made the pooled image so large. */
static status import_unpool(struct site *s, int axes)
{
    struct value *in[2], *out;
    struct unpool_attrs a = { 0 };
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in(s, "Indices", &in[1]));
    TRY(site_refuse_in(s, "OutputSize"));
    TRY(image_list(s, "output_size", axes, 0, &a.size));
    TRY(site_add1(s, "max_unpool", in, 2, &out));
    *(struct unpool_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Out", out);
}

static status import_unpool2d(struct site *s)
{
    return import_unpool(s, 2);
}

static status import_unpool3d(struct site *s)
{
    return import_unpool(s, 3);
}

// clang-format off
const struct op_row paddle_image_nd[] = {
    { "batch_norm",                 "batch_norm",     import_batch_norm,     LOD_SHARE },
    { "sync_batch_norm",            "batch_norm",     import_batch_norm,     LOD_SHARE },
    { "inplace_abn",                "batch_norm",     import_inplace_abn,    LOD_SHARE },
    { "instance_norm",              "instance_norm",  import_own_norm,       LOD_SHARE },
    { "group_norm",                 "group_norm",     import_own_norm,       LOD_SHARE },
    { "lrn",                        "lrn",            import_lrn,            LOD_SHARE },
    { "affine_channel",             "mul",            import_affine_channel, LOD_SHARE },
    { "data_norm",                  "mul",            import_data_norm,      LOD_SHARE },
    { "conv3d",                     "conv_nd",        import_conv3d,         LOD_SHARE },
    { "conv2d_transpose",           "conv_transpose", import_transpose2d,    LOD_SHARE },
    { "depthwise_conv2d_transpose", "conv_transpose", import_transpose2d,    LOD_SHARE },
    { "conv3d_transpose",           "conv_transpose", import_transpose3d,    LOD_SHARE },
    { "deformable_conv",            "deform_conv",    import_deform,         LOD_SHARE },
    { "deformable_conv_v1",         "deform_conv",    import_deform,         LOD_SHARE },
    { "pool3d",                     "pool_nd",        import_pool3d,         LOD_SHARE },
    { "max_pool2d_with_index",      "max_pool_index", import_pool2d_index,   LOD_SHARE },
    { "max_pool3d_with_index",      "max_pool_index", import_pool3d_index,   LOD_SHARE },
    { "unpool",                     "max_unpool",     import_unpool2d,       LOD_SHARE },
    { "unpool3d",                   "max_unpool",     import_unpool3d,       LOD_SHARE },
    { 0 },
};
// clang-format on
