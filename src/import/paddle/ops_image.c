/* Convolution and pooling of images. */
#include "import/paddle/image.h"

static status to_i32(struct site *s, const char *name, int64_t v, int32_t *out)
{
    if (v < INT32_MIN || v > INT32_MAX)
        return site_fault(s, INVALID, "attribute '%s': %lld is out of range", name, (long long)v);
    *out = (int32_t)v;
    return OK;
}

/* A pair (height, width); one number stands for both. */
static status read_pair(struct site *s, const char *name, int32_t otherwise, int32_t *h, int32_t *w)
{
    struct attr_ints v = attr_i64s(s, name);
    if (v.count == 0)
        v = (struct attr_ints){ 1, { otherwise } };
    if (v.count > 2)
        return site_fault(s, INVALID, "attribute '%s': expected 2 numbers, got %d", name, v.count);
    TRY(to_i32(s, name, v.v[0], h));
    return to_i32(s, name, v.v[v.count - 1], w);
}

struct pads {
    int32_t top, bottom, left, right;
    int32_t auto_pad;
};

/* paddings: (height, width) or (top, bottom, left, right); padding_algorithm overrules them. */
static status read_pads(struct site *s, struct pads *out)
{
    static const char *const algorithm[] = { "EXPLICIT", "SAME", "VALID", NULL };
    struct attr_ints v = attr_i64s(s, "paddings");
    *out = (struct pads){ .auto_pad = attr_enum(s, "padding_algorithm", "EXPLICIT", algorithm) };
    if (v.count == 0 || out->auto_pad != PAD_EXPLICIT)
        return OK;
    if (v.count != 2 && v.count != 4)
        return site_fault(s, INVALID, "attribute 'paddings': expected 2 or 4 numbers, got %d",
                          v.count);
    bool four = v.count == 4;
    TRY(to_i32(s, "paddings", v.v[0], &out->top));
    TRY(to_i32(s, "paddings", v.v[four ? 1 : 0], &out->bottom));
    TRY(to_i32(s, "paddings", v.v[four ? 2 : 1], &out->left));
    return to_i32(s, "paddings", v.v[four ? 3 : 1], &out->right);
}

/* What a fusing optimiser of Paddle's may have put into a convolution. */
static status refuse_fused(struct site *s)
{
    TRY(site_refuse_in(s, "ResidualData"));
    if (attr_bool(s, "fuse_relu", false) || attr_str(s, "fuse_activation", "").n > 0)
        return site_fault(s, UNSUPPORTED,
                          "it holds a fused activation; save the model without Paddle's graph "
                          "optimisation");
    return OK;
}

static status read_conv(struct site *s, struct conv_attrs *a)
{
    struct pads p;
    TRY(refuse_fused(s));
    TRY(read_pair(s, "strides", 1, &a->stride_h, &a->stride_w));
    TRY(read_pair(s, "dilations", 1, &a->dilation_h, &a->dilation_w));
    TRY(read_pads(s, &p));
    a->pad_top = p.top;
    a->pad_bottom = p.bottom;
    a->pad_left = p.left;
    a->pad_right = p.right;
    a->auto_pad = p.auto_pad;
    a->groups = attr_i32(s, "groups", 1);
    if (p.auto_pad == PAD_SAME) /* Paddle ignores dilation there */
        a->dilation_h = a->dilation_w = 1;
    return OK;
}

static status import_conv(struct site *s)
{
    struct value *in[3], *out;
    struct conv_attrs a = { 0 };
    bool last;
    TRY(image_layout(s, "data_format", &last));
    TRY(read_conv(s, &a));
    TRY(site_in(s, "Input", &in[0]));
    TRY(site_in(s, "Filter", &in[1]));
    TRY(site_in_optional(s, "Bias", &in[2]));
    TRY(image_channels_first(s, in[0], last, &in[0]));
    TRY(site_add1(s, "conv2d", in, in[2] != NULL ? 3 : 2, &out));
    *(struct conv_attrs *)node_attrs(out->producer) = a;
    TRY(image_channels_last(s, out, last, &out));
    return site_bind(s, "Output", out);
}

static status read_pool(struct site *s, struct pool_attrs *a)
{
    static const char *const type[] = { "max", "avg", NULL };
    struct pads p;
    TRY(read_pair(s, "ksize", 1, &a->kernel_h, &a->kernel_w));
    TRY(read_pair(s, "strides", 1, &a->stride_h, &a->stride_w));
    TRY(read_pads(s, &p));
    a->ceil_mode = attr_bool(s, "ceil_mode", false);
    a->global = attr_bool(s, "global_pooling", false);
    a->adaptive = attr_bool(s, "adaptive", false) && !a->global;
    a->mode = POOL_MAX;
    if (attr_enum(s, "pooling_type", "max", type) == 1)
        a->mode = attr_bool(s, "exclusive", true) ? POOL_AVG : POOL_AVG_WITH_PADS;
    if (a->global || a->adaptive) /* pads do not count there */
        return OK;
    a->pad_top = p.top;
    a->pad_bottom = p.bottom;
    a->pad_left = p.left;
    a->pad_right = p.right;
    a->auto_pad = p.auto_pad;
    return OK;
}

static status import_pool(struct site *s)
{
    struct value *x, *out;
    struct pool_attrs a = { 0 };
    bool last;
    TRY(image_layout(s, "data_format", &last));
    TRY(read_pool(s, &a));
    struct attr_ints pads = { 4, { a.pad_top, a.pad_left, a.pad_bottom, a.pad_right } };
    TRY(image_pads_agree(s, a.mode, a.auto_pad, &pads));
    TRY(site_in(s, "X", &x));
    TRY(image_channels_first(s, x, last, &x));
    TRY(site_add1(s, "pool2d", &x, 1, &out));
    *(struct pool_attrs *)node_attrs(out->producer) = a;
    TRY(image_channels_last(s, out, last, &out));
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_image[] = {
    { "conv2d",           "conv2d", import_conv, LOD_SHARE },
    { "depthwise_conv2d", "conv2d", import_conv, LOD_SHARE },
    { "pool2d",           "pool2d", import_pool, LOD_SHARE },
    { 0 },
};
// clang-format on
