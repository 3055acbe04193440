#include "graph/ops.h"

const char *const pool_mode_names[] = { "max", "avg", "avg_with_pads", NULL };

/* One axis of the window. */
struct axis {
    int64_t in, kernel, stride, before, after, out;
};

static void slide(struct axis *x, const struct pool_attrs *a)
{
    if (a->auto_pad == PAD_VALID)
        x->before = x->after = 0;
    if (a->auto_pad == PAD_SAME)
        same_pads(x->in, x->kernel, x->stride, &x->before, &x->after);
    int64_t room = x->in + x->before + x->after - x->kernel;
    x->out = room < 0 ? 0 : (room + (a->ceil_mode ? x->stride - 1 : 0)) / x->stride + 1;
    if (a->ceil_inside && x->out > 1 && (x->out - 1) * x->stride >= x->in + x->before)
        x->out--;
}

/* Whether every window sees at least one element of the image. */
static bool windows_see_image(const struct axis *x)
{
    return x->out > 0 && x->before < x->kernel && (x->out - 1) * x->stride - x->before < x->in;
}

static bool numbers_are_sane(const struct pool_attrs *a)
{
    return a->global ||
           (a->kernel_h >= 1 && a->kernel_w >= 1 &&
            (a->adaptive || (a->stride_h >= 1 && a->stride_w >= 1 && a->pad_top >= 0 &&
                             a->pad_bottom >= 0 && a->pad_left >= 0 && a->pad_right >= 0)));
}

status pool_window(const struct pool_attrs *a, const struct shape *x, struct window *out,
                   struct err *e)
{
    if (!numbers_are_sane(a))
        return err_set(e, INVALID, "window %d x %d, strides %d, %d or pads do not make sense",
                       a->kernel_h, a->kernel_w, a->stride_h, a->stride_w);
    TRY(want_image_size(x, e));
    struct axis h = { x->dim[2], a->kernel_h, a->stride_h, a->pad_top, a->pad_bottom, 0 };
    struct axis w = { x->dim[3], a->kernel_w, a->stride_w, a->pad_left, a->pad_right, 0 };
    if (a->global) {
        h = (struct axis){ h.in, h.in, 1, 0, 0, 1 };
        w = (struct axis){ w.in, w.in, 1, 0, 0, 1 };
    } else if (a->adaptive) {
        h = (struct axis){ h.in, 1, 1, 0, 0, a->kernel_h };
        w = (struct axis){ w.in, 1, 1, 0, 0, a->kernel_w };
    } else {
        slide(&h, a);
        slide(&w, a);
    }
    if (h.in < 1 || w.in < 1 ||
        (!a->adaptive && (!windows_see_image(&h) || !windows_see_image(&w))))
        return err_set(e, INVALID, "some of the %lld x %lld windows lie outside the image",
                       (long long)h.kernel, (long long)w.kernel);
    *out = (struct window){ h.kernel, w.kernel, h.stride, w.stride, 1,     1,
                            h.before, h.after,  w.before, w.after,  h.out, w.out };
    return OK;
}

static status infer_pool(const struct node *n, const struct type *in, struct type *out,
                         struct err *e)
{
    struct window w;
    TRY(want_rank(&in[0], 4, "its image", e));
    TRY(pool_window(n->attrs, &in[0].shape, &w, e));
    out[0] = (struct type){ in[0].dtype,
                            SHAPE(in[0].shape.dim[0], in[0].shape.dim[1], w.out_h, w.out_w), NULL };
    return OK;
}

static const struct attr_field fields[] = {
    FIELD_ENUM(pool_attrs, mode, pool_mode_names),
    FIELD(pool_attrs, kernel_h, ATTR_I32),
    FIELD(pool_attrs, kernel_w, ATTR_I32),
    FIELD(pool_attrs, stride_h, ATTR_I32),
    FIELD(pool_attrs, stride_w, ATTR_I32),
    FIELD(pool_attrs, pad_top, ATTR_I32),
    FIELD(pool_attrs, pad_bottom, ATTR_I32),
    FIELD(pool_attrs, pad_left, ATTR_I32),
    FIELD(pool_attrs, pad_right, ATTR_I32),
    FIELD_ENUM(pool_attrs, auto_pad, auto_pad_names),
    FIELD(pool_attrs, ceil_mode, ATTR_BOOL),
    FIELD(pool_attrs, global, ATTR_BOOL),
    FIELD(pool_attrs, adaptive, ATTR_BOOL),
    FIELD(pool_attrs, ceil_inside, ATTR_BOOL),
    { 0 },
};

const struct op ops_pool[] = {
    { "pool2d", 1, 1, 1, 0, fields, sizeof(struct pool_attrs), infer_pool },
    { 0 },
};
