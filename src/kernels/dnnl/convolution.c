/* Convolutions and transposed ones: which of oneDNN's ways suits. */
#include "kernels/dnnl/primitive.h"

#include "graph/attrs_image.h"

#include <string.h>

/* One way to compute a convolution. */
struct way {
    dnnl_alg_kind_t alg;
    dnnl_format_tag_t src, dst;
    bool bare;   /* without activation and residual */
    bool narrow; /* image and filter in bfloat16 */
    const struct onednn_units *units;
};

static status describe_conv(const struct kernel_ctx *ctx, const struct window *w,
                            const struct way *way, dnnl_convolution_desc_t *d, struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    dnnl_data_type_t type = way->narrow ? dnnl_bf16 : desc_type(ctx->in[0].dtype);
    dnnl_memory_desc_t src = desc_image_of(&ctx->in[0].shape, type, way->src);
    dnnl_memory_desc_t dst =
        desc_image_of(&ctx->out[0].shape, desc_result(ctx, way->narrow), way->dst);
    dnnl_memory_desc_t any = desc_filter(&ctx->in[1].shape, a->groups, true), bias;
    any.data_type = way->narrow ? dnnl_bf16 : desc_type(ctx->in[1].dtype);
    dnnl_dims_t stride = { w->stride_h, w->stride_w };
    dnnl_dims_t dilate = { w->dilation_h - 1, w->dilation_w - 1 }; /* oneDNN counts the holes */
    dnnl_dims_t before = { w->pad_top, w->pad_left }, after = { w->pad_bottom, w->pad_right };
    if (ctx_has(ctx, CONV_BIAS))
        bias = desc_shape(&ctx->in[CONV_BIAS].shape);
    return primitive_fault(
        dnnl_dilated_convolution_forward_desc_init(d, dnnl_forward_inference, way->alg, &src, &any,
                                                   ctx_has(ctx, CONV_BIAS) ? &bias : NULL, &dst,
                                                   stride, dilate, before, after),
        "the description of a convolution", e);
}

static status try_conv(const struct kernel_ctx *ctx, const struct window *w, struct onednn *o,
                       const struct way *way, struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    const struct tail tail = { { a->act, a->act_alpha, a->act_beta, a->act_gamma },
                               ctx_has(ctx, CONV_RESIDUAL),
                               a->act_first,
                               way->units };
    dnnl_convolution_desc_t d;
    TRY(describe_conv(ctx, w, way, &d, e));
    TRY(primitive_describe(o, &d, way->bare ? NULL : &tail, e));
    return primitive_tell_layouts(o, ctx)
               ? OK
               : err_set(e, UNSUPPORTED, "oneDNN wants a layout of its own");
}

/* Winograd's way (tiles of 4 x 4 by 3 x 3) does with a quarter of the multiplications: measured, a convolution of 96
 * channels takes 0.4 of the direct one's time, and the error of whole networks stays what it is (their roundings elsewhere are
 * larger). Small images do not pay for the weights, which take four times the space.
 *
 * Its roundings are some times those of the direct way, and what the first layers round goes through all others: the three
 * layers of 64 channels at 56 x 56 of resnet50 alone made its result differ by 1.28e-4 from Paddle's recording, 0.98e-4
 * without them (1.03e-4 where no layer goes winograd's way: most of it is other roundings), and save 4 % of its time.
 * So few channels go the direct way unless there are many places, where winograd saves much more (yolov3 13 %, unet 31 %). */
#define FEW_CHANNELS 64
#define MANY_PLACES  (64 * 64)

static bool suits_winograd(const struct kernel_ctx *ctx, const struct window *w)
{
    const struct conv_attrs *a = ctx->node->attrs;
    const struct shape *f = &ctx->in[1].shape;
    return w->kernel_h == 3 && w->kernel_w == 3 && w->stride_h == 1 && w->stride_w == 1 &&
           w->dilation_h == 1 && w->dilation_w == 1 && a->groups == 1 && f->dim[0] >= 16 &&
           f->dim[1] >= 16 && w->out_h >= 14 && w->out_w >= 14 &&
           (f->dim[1] > FEW_CHANNELS || w->out_h * w->out_w >= MANY_PLACES);
}

/* Above so many multiplications, winograd's way on floats was measured to be faster than the direct one on bfloat16 (unet:
 * 1.1 to 1.7 times); below, slower. */
#define WINOGRAD_WORK 5e8

bool onednn_prefers_floats(const struct kernel_ctx *ctx, const struct window *w)
{
    const struct shape *f = &ctx->in[1].shape;
    double work = (double)(f->dim[0] * f->dim[1]) * 9 * (double)w->out_h * (double)w->out_w;
    return ctx->have != NULL && suits_winograd(ctx, w) && work > WINOGRAD_WORK;
}

#define WAYS_MAX 6

static const struct way way_winograd = { .alg = dnnl_convolution_winograd,
                                         .src = dnnl_nChw16c,
                                         .dst = dnnl_nChw16c };
static const struct way way_bare = {
    .alg = dnnl_convolution_winograd, .src = dnnl_nChw16c, .dst = dnnl_nChw16c, .bare = true
};
static const struct way way_blocks = { .alg = dnnl_convolution_direct,
                                       .src = dnnl_nChw16c,
                                       .dst = dnnl_nChw16c };
static const struct way way_first = { .alg = dnnl_convolution_direct,
                                      .src = dnnl_nchw,
                                      .dst = dnnl_nChw16c };
static const struct way way_last = { .alg = dnnl_convolution_direct,
                                     .src = dnnl_nhwc,
                                     .dst = dnnl_nhwc };
static const struct way way_any = { .alg = dnnl_convolution_auto,
                                    .src = dnnl_format_tag_any,
                                    .dst = dnnl_format_tag_any };
static const struct way way_plain = { .alg = dnnl_convolution_auto,
                                      .src = dnnl_nchw,
                                      .dst = dnnl_nchw };

/* The ways worth trying, best first; how many. Blocks of 16 channels were measured to be as fast as oneDNN's own choice
 * (channels last) or faster, all in all, and winograd speaks nothing else. */
static int list_ways(const struct kernel_ctx *ctx, const struct window *w, struct way way[WAYS_MAX])
{
    int count = 0;
    if (ctx->have != NULL) {
        if (suits_winograd(ctx, w)) {
            way[count++] = way_winograd;
            if (ctx->in[1].shape.dim[0] % 16 ==
                0) /* else activations would have to spare the zeros behind */
                way[count++] = way_bare;
        }
        way[count++] = ctx->in[0].shape.dim[1] < 16 ? way_first : way_blocks;
        way[count++] = way_any;
    }
    way[count++] = way_plain;
    return count;
}

/* The same for operands in bfloat16: an image's own layout first, since bringing it to another one takes longer than the
 * better layout saves. Channels last is the better one. */
static int list_narrow_ways(const struct kernel_ctx *ctx, struct way way[WAYS_MAX])
{
    bool in_blocks = ctx_have(ctx, 0) == LAYOUT_C16;
    int count = 0;
    if (ctx->have != NULL && in_blocks)
        way[count++] = way_blocks;
    if (ctx->have != NULL)
        way[count++] = way_last;
    if (ctx->have != NULL && !in_blocks && ctx->in[0].shape.dim[1] >= 16)
        way[count++] = way_blocks;
    if (ctx->have != NULL)
        way[count++] = way_any;
    way[count++] = way_plain;
    return count;
}

/* Where an instruction set is missing oneDNN falls back to plain loops rather than refuse. */
static bool is_fast(const struct onednn *o)
{
    const char *name = NULL;
    dnnl_primitive_desc_query(o->desc, dnnl_query_impl_info_str, 0, (void *)&name);
    return name != NULL && strncmp(name, "ref", 3) != 0 && strncmp(name, "gemm", 4) != 0;
}

/* The first way that is fast; where none is, the last one. */
static status find_way(const struct kernel_ctx *ctx, const struct window *w, bool narrow,
                       struct onednn *o, bool *bare, struct err *e)
{
    struct way way[WAYS_MAX];
    int count = narrow ? list_narrow_ways(ctx, way) : list_ways(ctx, w, way);
    for (int i = 0; i < count; i++)
        way[i].narrow = narrow;
    for (int i = 0; i < count - 1; i++) {
        *bare = way[i].bare;
        if (try_conv(ctx, w, o, &way[i], NULL) == OK && is_fast(o))
            return OK;
    }
    *bare = false;
    return try_conv(ctx, w, o, &way[count - 1], e);
}

/* Blocks of channels are no layout of integers here: channels last, which oneDNN likes best for them. */
status onednn_conv_int8(const struct kernel_ctx *ctx, const struct window *w,
                        const struct onednn_units *units, struct onednn **out, struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    struct way way = way_last;
    way.units = units;
    struct onednn *o = primitive_new_weighted(ctx, CONV_BIAS);
    o->plain = desc_filter(&ctx->in[1].shape, a->groups, false);
    o->plain.data_type = dnnl_s8;
    status s = try_conv(ctx, w, o, &way, e);
    if (s == OK)
        s = primitive_make_weighted(o, e);
    return primitive_finish(o, s, out);
}

status onednn_conv(const struct kernel_ctx *ctx, const struct window *w, bool narrow,
                   struct onednn **out, bool *bare, struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    struct onednn *o = primitive_new_weighted(ctx, CONV_BIAS);
    o->plain = desc_filter(&ctx->in[1].shape, a->groups, false);
    status s = find_way(ctx, w, narrow, o, bare, e);
    if (s == OK)
        s = primitive_make_weighted(o, e);
    return primitive_finish(o, s, out);
}

/* oneDNN wants [O, C, h, w] or [groups, O / groups, C / groups, h, w]; the file has [C, O / groups, h, w]. */
static dnnl_memory_desc_t turned_filter_desc(const struct shape *w, int64_t groups)
{
    dnnl_dim_t taps = w->dim[2] * w->dim[3], row = w->dim[1] * taps;
    dnnl_dims_t dim = { groups, w->dim[1], w->dim[0] / groups, w->dim[2], w->dim[3] };
    dnnl_dims_t step = { w->dim[0] / groups * row, taps, row, w->dim[3], 1 };
    int skip = groups > 1 ? 0 : 1;
    dnnl_memory_desc_t d;
    dnnl_memory_desc_init_by_strides(&d, 5 - skip, dim + skip, dnnl_f32, step + skip);
    return d;
}

static status try_deconv(const struct kernel_ctx *ctx, const struct span *h, const struct span *w,
                         struct onednn *o, bool any_layout, struct err *e)
{
    dnnl_format_tag_t tag = any_layout ? dnnl_format_tag_any : dnnl_nchw;
    dnnl_memory_desc_t src = desc_image(&ctx->in[0].shape, tag);
    dnnl_memory_desc_t dst = desc_image(&ctx->out[0].shape, tag), bias;
    dnnl_memory_desc_t any = desc_tag(o->plain.ndims, o->plain.dims, dnnl_format_tag_any);
    dnnl_dims_t stride = { h->stride, w->stride };
    dnnl_dims_t dilate = { h->dilation - 1, w->dilation - 1 };
    dnnl_dims_t before = { h->before, w->before };
    /* As oneDNN has it: what brings the result to its size. */
    dnnl_dims_t after = {
        (h->in - 1) * h->stride + (h->kernel - 1) * h->dilation + 1 - h->before - h->out,
        (w->in - 1) * w->stride + (w->kernel - 1) * w->dilation + 1 - w->before - w->out
    };
    dnnl_deconvolution_desc_t d;
    if (ctx_has(ctx, CONV_BIAS))
        bias = desc_shape(&ctx->in[CONV_BIAS].shape);
    TRY(primitive_fault(dnnl_dilated_deconvolution_forward_desc_init(
                            &d, dnnl_forward_inference, dnnl_deconvolution_direct, &src, &any,
                            ctx_has(ctx, CONV_BIAS) ? &bias : NULL, &dst, stride, dilate, before,
                            after),
                        "the description of a transposed convolution", e));
    TRY(primitive_describe(o, &d, NULL, e));
    return primitive_tell_layouts(o, ctx)
               ? OK
               : err_set(e, UNSUPPORTED, "oneDNN wants a layout of its own");
}

status onednn_deconv(const struct kernel_ctx *ctx, const struct span *h, const struct span *w,
                     struct onednn **out, struct err *e)
{
    const struct conv_nd_attrs *a = ctx->node->attrs;
    struct onednn *o = primitive_new_weighted(ctx, CONV_BIAS);
    o->plain = turned_filter_desc(&ctx->in[1].shape, a->groups);
    status s = try_deconv(ctx, h, w, o, ctx->have != NULL, e);
    if (s != OK && ctx->have != NULL)
        s = try_deconv(ctx, h, w, o, false, e);
    if (s == OK)
        s = primitive_make_weighted(o, e);
    return primitive_finish(o, s, out);
}
