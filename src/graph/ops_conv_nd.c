/* Convolutions other than the plain 2-D one, and pooling in any number of dimensions. */
#include "graph/attrs_image.h"
#include "graph/ops.h"

#include <string.h>

#define SIZE_LIMIT ((int64_t)1 << 31)

/* The number for spatial axis i of `axes`; `otherwise` where the list is empty. */
static int64_t pick(const struct attr_ints *v, int i, int64_t otherwise)
{
    return v->count > i ? v->v[i] : otherwise;
}

static status want_count(const struct attr_ints *v, int count, const char *what, struct err *e)
{
    if (v->count == 0 || v->count == count)
        return OK;
    return err_set(e, INVALID, "%d %s, expected %d", v->count, what, count);
}

static status want_bounds(const struct span *s, struct err *e)
{
    int64_t v[] = { s->in, s->kernel, s->stride, s->dilation, s->before, s->after };
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        if (v[i] < 0 || v[i] >= SIZE_LIMIT)
            return err_set(e, TOO_LARGE, "a size, stride or pad of %lld", (long long)v[i]);
    if (s->kernel < 1 || s->stride < 1 || s->dilation < 1)
        return err_set(e, INVALID, "a window of %lld, stride %lld and dilation %lld",
                       (long long)s->kernel, (long long)s->stride, (long long)s->dilation);
    if ((s->kernel - 1) * s->dilation >= SIZE_LIMIT)
        return err_set(e, TOO_LARGE, "a window of %lld with dilation %lld", (long long)s->kernel,
                       (long long)s->dilation);
    return OK;
}

/* Axes that x does not have, so that every loop has three. */
static void fill_missing(struct span out[SPATIAL_MAX], int axes)
{
    for (int i = 0; i < SPATIAL_MAX - axes; i++)
        out[i] = (struct span){ 1, 1, 1, 1, 0, 0, 1 };
}

struct window_lists {
    const struct attr_ints *stride, *dilation, *pads;
    int32_t auto_pad;
};

/* The spans of `axes` spatial axes without their outputs; sizes and kernels are in out already. */
static status read_spans(const struct window_lists *l, int axes, struct span *out, struct err *e)
{
    TRY(want_count(l->stride, axes, "strides", e));
    TRY(want_count(l->dilation, axes, "dilations", e));
    TRY(want_count(l->pads, 2 * axes, "pads", e));
    for (int i = 0; i < axes; i++) {
        struct span *s = &out[i];
        s->stride = pick(l->stride, i, 1);
        s->dilation = pick(l->dilation, i, 1);
        s->before = l->auto_pad == PAD_EXPLICIT ? pick(l->pads, i, 0) : 0;
        s->after = l->auto_pad == PAD_EXPLICIT ? pick(l->pads, axes + i, 0) : 0;
        TRY(want_bounds(s, e));
        if (l->auto_pad == PAD_SAME)
            same_pads(s->in, (s->kernel - 1) * s->dilation + 1, s->stride, &s->before, &s->after);
    }
    return OK;
}

static status slide(struct span *s, struct err *e)
{
    int64_t room = s->in + s->before + s->after - ((s->kernel - 1) * s->dilation + 1);
    if (room < 0)
        return err_set(e, INVALID, "the filter (%lld) is larger than the padded image (%lld)",
                       (long long)((s->kernel - 1) * s->dilation + 1),
                       (long long)(s->in + s->before + s->after));
    s->out = room / s->stride + 1;
    return OK;
}

static status spread(struct span *s, int64_t more, int64_t size, struct err *e)
{
    if (s->in < 1 || more < 0 || more >= SIZE_LIMIT)
        return err_set(e, INVALID, "%lld elements and %lld more do not make sense",
                       (long long)s->in, (long long)more);
    s->out =
        (s->in - 1) * s->stride - s->before - s->after + (s->kernel - 1) * s->dilation + 1 + more;
    if (size >= 0) {
        if (size < s->out || size >= s->out + s->stride)
            return err_set(e, INVALID, "an output of %lld, expected %lld to %lld", (long long)size,
                           (long long)s->out, (long long)(s->out + s->stride - 1));
        s->out = size;
    }
    if (s->out < 1 || s->out >= SIZE_LIMIT)
        return err_set(e, INVALID, "an output of %lld elements", (long long)s->out);
    return OK;
}

status conv_nd_spans(const struct conv_nd_attrs *a, const struct shape *x, const struct shape *w,
                     bool transposed, struct span out[SPATIAL_MAX], struct err *e)
{
    int axes = x->rank - 2;
    struct window_lists l = { &a->stride, &a->dilation, &a->pads, a->auto_pad };
    if (axes < 1 || axes > SPATIAL_MAX || w->rank != x->rank)
        return err_set(e, INVALID, "an image of %d and a filter of %d dimensions", x->rank,
                       w->rank);
    struct span *s = out + SPATIAL_MAX - axes;
    fill_missing(out, axes);
    for (int i = 0; i < axes; i++)
        s[i] = (struct span){ .in = x->dim[2 + i], .kernel = w->dim[2 + i] };
    TRY(read_spans(&l, axes, s, e));
    TRY(want_count(&a->more, axes, "paddings of the output", e));
    TRY(want_count(&a->size, axes, "sizes of the output", e));
    for (int i = 0; i < axes; i++)
        TRY(transposed ? spread(&s[i], pick(&a->more, i, 0), pick(&a->size, i, -1), e)
                       : slide(&s[i], e));
    return OK;
}

static void put_spans(const struct span spans[SPATIAL_MAX], int axes, struct shape *s)
{
    for (int i = 0; i < axes; i++)
        s->dim[2 + i] = spans[SPATIAL_MAX - axes + i].out;
}

static status check_bias(const struct node *n, const struct type *in, int64_t channels,
                         struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    if (n->in_count < 3 || n->in[2] == NULL)
        return OK;
    TRY(want_dtype(&in[2], in[0].dtype, "its bias", e));
    if (in[2].shape.rank == 1 && in[2].shape.dim[0] == channels)
        return OK;
    return err_set(e, INVALID, "expected a bias of shape [%lld], got %s", (long long)channels,
                   shape_text(&in[2].shape, text, sizeof(text)));
}

static status groups_fault(const struct type *in, int64_t groups, struct err *e)
{
    char x[SHAPE_TEXT_MAX], w[SHAPE_TEXT_MAX];
    return err_set(e, INVALID, "image %s and filter %s do not agree in %lld group(s)",
                   shape_text(&in[0].shape, x, sizeof(x)), shape_text(&in[1].shape, w, sizeof(w)),
                   (long long)groups);
}

static status infer_conv_nd(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    const struct conv_nd_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape, *w = &in[1].shape;
    struct span spans[SPATIAL_MAX];
    TRY(want_dtype(&in[1], in[0].dtype, "its filter", e));
    TRY(conv_nd_spans(a, x, w, false, spans, e));
    if (a->groups < 1 || x->dim[1] % a->groups != 0 || w->dim[0] % a->groups != 0 ||
        x->dim[1] / a->groups != w->dim[1])
        return groups_fault(in, a->groups, e);
    TRY(check_bias(n, in, w->dim[0], e));
    out[0] = (struct type){ in[0].dtype, *x, NULL };
    out[0].shape.dim[1] = w->dim[0];
    put_spans(spans, x->rank - 2, &out[0].shape);
    return OK;
}

static status infer_conv_transpose(const struct node *n, const struct type *in, struct type *out,
                                   struct err *e)
{
    const struct conv_nd_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape, *w = &in[1].shape;
    struct span spans[SPATIAL_MAX];
    TRY(want_dtype(&in[1], in[0].dtype, "its filter", e));
    TRY(conv_nd_spans(a, x, w, true, spans, e));
    if (a->groups < 1 || x->dim[1] % a->groups != 0 || w->dim[0] != x->dim[1] ||
        w->dim[1] >= SIZE_LIMIT)
        return groups_fault(in, a->groups, e);
    TRY(check_bias(n, in, w->dim[1] * a->groups, e));
    out[0] = (struct type){ in[0].dtype, *x, NULL };
    out[0].shape.dim[1] = w->dim[1] * a->groups;
    put_spans(spans, x->rank - 2, &out[0].shape);
    return OK;
}

/* ---- deformable ---- */

status deform_conv_spans(const struct deform_conv_attrs *a, const struct shape *x,
                         const struct shape *w, struct span out[SPATIAL_MAX], struct err *e)
{
    struct conv_nd_attrs plain = { .stride = a->stride, .dilation = a->dilation, .pads = a->pads };
    return conv_nd_spans(&plain, x, w, false, out, e);
}

/* [N, channels, oh, ow] */
static status want_taps(const struct type *t, const struct type *out, int64_t channels,
                        const char *what, struct err *e)
{
    char want[SHAPE_TEXT_MAX], got[SHAPE_TEXT_MAX];
    struct shape s = out->shape;
    s.dim[1] = channels;
    TRY(want_dtype(t, out->dtype, what, e));
    if (shape_eq(&t->shape, &s))
        return OK;
    return err_set(e, INVALID, "expected %s as %s, got %s", shape_text(&s, want, sizeof(want)),
                   what, shape_text(&t->shape, got, sizeof(got)));
}

static status infer_deform_conv(const struct node *n, const struct type *in, struct type *out,
                                struct err *e)
{
    const struct deform_conv_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape, *w = &in[1].shape;
    struct span spans[SPATIAL_MAX];
    TRY(want_rank(&in[0], 4, "its image", e));
    TRY(want_rank(&in[1], 4, "its filter", e));
    TRY(want_dtype(&in[1], in[0].dtype, "its filter", e));
    TRY(deform_conv_spans(a, x, w, spans, e));
    if (a->groups < 1 || x->dim[1] % a->groups != 0 || w->dim[0] % a->groups != 0 ||
        x->dim[1] / a->groups != w->dim[1])
        return groups_fault(in, a->groups, e);
    if (a->deform_groups < 1 || x->dim[1] % a->deform_groups != 0)
        return err_set(e, INVALID, "%lld channels do not make %d deformable groups",
                       (long long)x->dim[1], a->deform_groups);
    int64_t taps = (int64_t)a->deform_groups;
    if (__builtin_mul_overflow(taps, spans[1].kernel * spans[2].kernel, &taps) ||
        taps >= SIZE_LIMIT || x->dim[1] >= SIZE_LIMIT)
        return err_set(e, TOO_LARGE, "too many taps of the filter");
    out[0] =
        (struct type){ in[0].dtype, SHAPE(x->dim[0], w->dim[0], spans[1].out, spans[2].out), NULL };
    TRY(want_taps(&in[2], &out[0], 2 * taps, "its offsets", e));
    return n->in_count > 3 && n->in[3] != NULL ? want_taps(&in[3], &out[0], taps, "its mask", e)
                                               : OK;
}

/* ---- pooling ---- */

static int64_t extent_of(const struct span *s)
{
    return (s->kernel - 1) * s->dilation + 1;
}

static bool sees_image(const struct span *s)
{
    return s->out > 0 && s->before < extent_of(s) && (s->out - 1) * s->stride - s->before < s->in;
}

static status pool_axis(const struct pool_nd_attrs *a, struct span *s, struct err *e)
{
    if (a->global)
        *s = (struct span){ s->in, s->in, 1, 1, 0, 0, 1 };
    else if (a->adaptive)
        *s = (struct span){ s->in, 1, 1, 1, 0, 0, s->kernel };
    else {
        int64_t room = s->in + s->before + s->after - extent_of(s);
        s->out = room < 0 ? 0 : (room + (a->ceil_mode ? s->stride - 1 : 0)) / s->stride + 1;
        if (a->ceil_inside && s->out > 1 && (s->out - 1) * s->stride >= s->in + s->before)
            s->out--;
    }
    if (s->in < 1 || (!a->adaptive && !sees_image(s)))
        return err_set(e, INVALID, "some of the windows of %lld lie outside the image",
                       (long long)s->kernel);
    return OK;
}

status pool_nd_spans(const struct pool_nd_attrs *a, const struct shape *x,
                     struct span out[SPATIAL_MAX], struct err *e)
{
    static const struct attr_ints none = { 0 };
    int axes = x->rank - 2;
    struct window_lists l = { &a->stride, &a->dilation, &a->pads, a->auto_pad };
    if (axes < 1 || axes > SPATIAL_MAX)
        return err_set(e, INVALID, "an image of %d dimensions", x->rank);
    TRY(want_count(&a->kernel, axes, "kernels", e));
    struct span *s = out + SPATIAL_MAX - axes;
    fill_missing(out, axes);
    for (int i = 0; i < axes; i++)
        s[i] =
            (struct span){ .in = x->dim[2 + i], .kernel = a->global ? 1 : pick(&a->kernel, i, 1) };
    if (a->global || a->adaptive)
        l = (struct window_lists){ &none, &none, &none, PAD_EXPLICIT };
    TRY(read_spans(&l, axes, s, e));
    for (int i = 0; i < axes; i++)
        TRY(pool_axis(a, &s[i], e));
    return OK;
}

static status infer_pool_nd(const struct node *n, const struct type *in, struct type *out,
                            struct err *e)
{
    struct span spans[SPATIAL_MAX];
    TRY(pool_nd_spans(n->attrs, &in[0].shape, spans, e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    put_spans(spans, in[0].shape.rank - 2, &out[0].shape);
    return OK;
}

static status infer_pool_index(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    int64_t numel = 1;
    TRY(infer_pool_nd(n, in, out, e));
    for (int i = 2; i < in[0].shape.rank; i++)
        if (__builtin_mul_overflow(numel, in[0].shape.dim[i], &numel) || numel > INT32_MAX)
            return err_set(e, TOO_LARGE, "places of this image do not fit an int32");
    out[1] = (struct type){ DTYPE_I32, out[0].shape, NULL };
    return OK;
}

static status infer_unpool(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct unpool_attrs *a = n->attrs;
    int axes = in[0].shape.rank - 2;
    if (in[1].dtype != DTYPE_I32 && in[1].dtype != DTYPE_I64)
        return err_set(e, INVALID, "expected int32 or int64 indices, got %s",
                       dtype_name(in[1].dtype));
    if (axes < 1 || a->size.count != axes || !shape_eq(&in[0].shape, &in[1].shape))
        return err_set(e, INVALID, "x of %d dimensions, its indices and %d sizes do not agree",
                       in[0].shape.rank, a->size.count);
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    for (int i = 0; i < axes; i++) {
        if (a->size.v[i] < 1 || a->size.v[i] >= SIZE_LIMIT)
            return err_set(e, INVALID, "an output of %lld elements", (long long)a->size.v[i]);
        out[0].shape.dim[2 + i] = a->size.v[i];
    }
    return OK;
}

static const struct attr_field conv_fields[] = {
    FIELD(conv_nd_attrs, stride, ATTR_I64S),
    FIELD(conv_nd_attrs, dilation, ATTR_I64S),
    FIELD(conv_nd_attrs, pads, ATTR_I64S),
    FIELD(conv_nd_attrs, more, ATTR_I64S),
    FIELD(conv_nd_attrs, size, ATTR_I64S),
    FIELD(conv_nd_attrs, groups, ATTR_I32),
    FIELD_ENUM(conv_nd_attrs, auto_pad, auto_pad_names),
    { 0 },
};

static const struct attr_field deform_fields[] = {
    FIELD(deform_conv_attrs, stride, ATTR_I64S),
    FIELD(deform_conv_attrs, dilation, ATTR_I64S),
    FIELD(deform_conv_attrs, pads, ATTR_I64S),
    FIELD(deform_conv_attrs, groups, ATTR_I32),
    FIELD(deform_conv_attrs, deform_groups, ATTR_I32),
    { 0 },
};

static const struct attr_field pool_fields[] = {
    FIELD_ENUM(pool_nd_attrs, mode, pool_mode_names),
    FIELD(pool_nd_attrs, kernel, ATTR_I64S),
    FIELD(pool_nd_attrs, stride, ATTR_I64S),
    FIELD(pool_nd_attrs, dilation, ATTR_I64S),
    FIELD(pool_nd_attrs, pads, ATTR_I64S),
    FIELD_ENUM(pool_nd_attrs, auto_pad, auto_pad_names),
    FIELD(pool_nd_attrs, ceil_mode, ATTR_BOOL),
    FIELD(pool_nd_attrs, global, ATTR_BOOL),
    FIELD(pool_nd_attrs, adaptive, ATTR_BOOL),
    FIELD(pool_nd_attrs, ceil_inside, ATTR_BOOL),
    { 0 },
};

static const struct attr_field unpool_fields[] = {
    FIELD(unpool_attrs, size, ATTR_I64S),
    { 0 },
};

// clang-format off
const struct op ops_conv_nd[] = {
    { "conv_nd",        2, 3, 1, 0, conv_fields,   sizeof(struct conv_nd_attrs),     infer_conv_nd },
    { "conv_transpose", 2, 3, 1, 0, conv_fields,   sizeof(struct conv_nd_attrs),     infer_conv_transpose },
    { "deform_conv",    3, 4, 1, 0, deform_fields, sizeof(struct deform_conv_attrs), infer_deform_conv },
    { "pool_nd",        1, 1, 1, 0, pool_fields,   sizeof(struct pool_nd_attrs),     infer_pool_nd },
    { "max_pool_index", 1, 1, 2, 0, pool_fields,   sizeof(struct pool_nd_attrs),     infer_pool_index },
    { "max_unpool",     2, 2, 1, 0, unpool_fields, sizeof(struct unpool_attrs),      infer_unpool },
    { 0 },
};
// clang-format on
