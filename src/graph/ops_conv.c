#include "graph/ops.h"

const char *const auto_pad_names[] = { "explicit", "same", "valid", NULL };

/* Pads of one axis so that the output has ceil(in / stride) places; the odd one goes behind, as TensorFlow and Paddle
 * have it. */
void same_pads(int64_t in, int64_t extent, int64_t stride, int64_t *before, int64_t *after)
{
    int64_t out = (in + stride - 1) / stride;
    int64_t total = (out - 1) * stride + extent - in;
    if (total < 0)
        total = 0;
    *before = total / 2;
    *after = total - total / 2;
}

status want_image_size(const struct shape *x, struct err *e)
{
    if (x->dim[2] <= INT32_MAX && x->dim[3] <= INT32_MAX)
        return OK;
    return err_set(e, TOO_LARGE, "an image of %lld x %lld is too large", (long long)x->dim[2],
                   (long long)x->dim[3]);
}

static status check_numbers(const struct conv_attrs *a, struct err *e)
{
    if (a->stride_h < 1 || a->stride_w < 1 || a->dilation_h < 1 || a->dilation_w < 1)
        return err_set(e, INVALID, "strides %d, %d and dilations %d, %d must be 1 or more",
                       a->stride_h, a->stride_w, a->dilation_h, a->dilation_w);
    if (a->pad_top < 0 || a->pad_bottom < 0 || a->pad_left < 0 || a->pad_right < 0)
        return err_set(e, INVALID, "pads %d, %d, %d, %d must not be negative", a->pad_top,
                       a->pad_bottom, a->pad_left, a->pad_right);
    return OK;
}

status conv_window(const struct conv_attrs *a, const struct shape *x, const struct shape *w,
                   struct window *out, struct err *e)
{
    TRY(check_numbers(a, e));
    TRY(want_image_size(x, e));
    *out = (struct window){ w->dim[2],     w->dim[3],     a->stride_h, a->stride_w,
                            a->dilation_h, a->dilation_w, a->pad_top,  a->pad_bottom,
                            a->pad_left,   a->pad_right,  .out_h = 0,  .out_w = 0 };
    if (w->dim[2] < 1 || w->dim[3] < 1 || w->dim[2] > INT32_MAX || w->dim[3] > INT32_MAX)
        return err_set(e, INVALID, "a filter without elements");
    int64_t extent_h = (out->kernel_h - 1) * a->dilation_h + 1;
    int64_t extent_w = (out->kernel_w - 1) * a->dilation_w + 1;
    if (a->auto_pad == PAD_VALID)
        out->pad_top = out->pad_bottom = out->pad_left = out->pad_right = 0;
    if (a->auto_pad == PAD_SAME) {
        same_pads(x->dim[2], extent_h, a->stride_h, &out->pad_top, &out->pad_bottom);
        same_pads(x->dim[3], extent_w, a->stride_w, &out->pad_left, &out->pad_right);
    }
    int64_t free_h = x->dim[2] + out->pad_top + out->pad_bottom - extent_h;
    int64_t free_w = x->dim[3] + out->pad_left + out->pad_right - extent_w;
    if (free_h < 0 || free_w < 0)
        return err_set(e, INVALID, "the filter (%lld x %lld) is larger than the padded image",
                       (long long)extent_h, (long long)extent_w);
    out->out_h = free_h / a->stride_h + 1;
    out->out_w = free_w / a->stride_w + 1;
    return OK;
}

static status check_channels(const struct conv_attrs *a, const struct type *in, struct err *e)
{
    char x[SHAPE_TEXT_MAX], w[SHAPE_TEXT_MAX];
    int64_t groups = a->groups;
    if (groups < 1 || in[1].shape.dim[0] % groups != 0 || in[0].shape.dim[1] % groups != 0 ||
        in[0].shape.dim[1] / groups != in[1].shape.dim[1])
        return err_set(e, INVALID, "image %s and filter %s do not agree in %lld group(s)",
                       shape_text(&in[0].shape, x, sizeof(x)),
                       shape_text(&in[1].shape, w, sizeof(w)), (long long)groups);
    return OK;
}

static status infer_conv(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    const struct conv_attrs *a = n->attrs;
    struct window w;
    dtype result;
    TRY(want_rank(&in[0], 4, "its image", e));
    TRY(want_rank(&in[1], 4, "its filter", e));
    TRY(want_dtype(&in[1], is_integer8(in[0].dtype) ? DTYPE_I8 : in[0].dtype, "its filter", e));
    TRY(want_integers(&a->q, n, in, CONV_RESIDUAL, CONV_SCALE, &result, e));
    TRY(check_channels(n->attrs, in, e));
    TRY(want_vector(n, in, CONV_BIAS, "bias", in[1].shape.dim[0], e));
    TRY(want_vector(n, in, CONV_SCALE, "scale", in[1].shape.dim[0], e));
    TRY(conv_window(n->attrs, &in[0].shape, &in[1].shape, &w, e));
    out[0] = (struct type){ result, SHAPE(in[0].shape.dim[0], in[1].shape.dim[0], w.out_h, w.out_w),
                            NULL };
    dtype added = is_integer8(in[0].dtype) ? in[CONV_RESIDUAL].dtype : in[0].dtype;
    return want_residual(n, &in[CONV_RESIDUAL], CONV_RESIDUAL, added, &out[0].shape, e);
}

static const struct attr_field fields[] = {
    FIELD(conv_attrs, stride_h, ATTR_I32),
    FIELD(conv_attrs, stride_w, ATTR_I32),
    FIELD(conv_attrs, dilation_h, ATTR_I32),
    FIELD(conv_attrs, dilation_w, ATTR_I32),
    FIELD(conv_attrs, pad_top, ATTR_I32),
    FIELD(conv_attrs, pad_bottom, ATTR_I32),
    FIELD(conv_attrs, pad_left, ATTR_I32),
    FIELD(conv_attrs, pad_right, ATTR_I32),
    FIELD(conv_attrs, groups, ATTR_I32),
    FIELD_ENUM(conv_attrs, auto_pad, auto_pad_names),
    FIELD_ENUM(conv_attrs, act, act_names),
    FIELD(conv_attrs, act_alpha, ATTR_F32),
    FIELD(conv_attrs, act_beta, ATTR_F32),
    FIELD(conv_attrs, act_gamma, ATTR_F32),
    FIELD(conv_attrs, act_first, ATTR_BOOL),
    FIELDS_INTEGERS(conv_attrs),
    { 0 },
};

const struct op ops_conv[] = {
    { "conv2d", 2, 5, 1, 0, fields, sizeof(struct conv_attrs), infer_conv },
    { 0 },
};
