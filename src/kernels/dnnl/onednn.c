#include "kernels/dnnl/onednn.h"

#include "base/map.h"
#include "base/mem.h"
#include "graph/attrs_image.h"
#include "kernels/dnnl/filter.h"
#include "kernels/dnnl/library.h"

#include <stdatomic.h>
#include <string.h>

#define ARGS_MAX 6
#define SLOTS    4

/* What one run needs for itself. A memory object carries its data pointer, so two runs cannot share one. `data` is what it
 * carries now: setting a pointer makes oneDNN write zeros behind the channels, so it is done only where it changes. */
struct slot {
    atomic_flag busy;
    dnnl_stream_t stream;
    dnnl_exec_arg_t arg[ARGS_MAX];
    const void *data[ARGS_MAX];
};

struct onednn {
    dnnl_engine_t engine;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t filter; /* the layout it wants */
    dnnl_memory_desc_t plain;  /* the model's */
    int arg[ARGS_MAX];         /* which arguments it takes */
    int arg_count;
    int threads;
    size_t scratch_bytes;
    struct slot slot[SLOTS];
};

/* The setting belongs to the calling thread, so each call says it: most of our parallelism is requests, and a team of
 * threads for one small layer costs more than it brings. */
static void use_threads(int count)
{
    dnnl_library()->set_num_threads(count);
}

static status fault(dnnl_status_t s, const char *what, struct err *e)
{
    if (s == dnnl_success)
        return OK;
    if (dnnl_library_fault() != NULL)
        return err_set(e, UNSUPPORTED, "oneDNN: %s; install Debian's libdnnl2 or its like",
                       dnnl_library_fault());
    return err_set(e, s == dnnl_out_of_memory ? NO_MEMORY : UNSUPPORTED,
                   "oneDNN: %s failed with status %d", what, (int)s);
}

static dnnl_data_type_t type_of(dtype d)
{
    switch (d) {
    case DTYPE_I8: return dnnl_s8;
    case DTYPE_U8: return dnnl_u8;
    case DTYPE_BF16: return dnnl_bf16;
    default: return dnnl_f32;
    }
}

static dnnl_memory_desc_t typed_desc(int rank, const dnnl_dim_t *dim, dnnl_data_type_t type,
                                     dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t d;
    dnnl_memory_desc_init_by_tag(&d, rank, dim, type, tag);
    return d;
}

static dnnl_memory_desc_t tag_desc(int rank, const dnnl_dim_t *dim, dnnl_format_tag_t tag)
{
    return typed_desc(rank, dim, dnnl_f32, tag);
}

static dnnl_memory_desc_t plain_desc(int rank, const dnnl_dim_t *dim)
{
    static const dnnl_format_tag_t tag[] = {
        dnnl_format_tag_undef, dnnl_a, dnnl_ab, dnnl_abc, dnnl_abcd, dnnl_abcde
    };
    return tag_desc(rank, dim, tag[rank]);
}

static dnnl_memory_desc_t shape_desc(const struct shape *s)
{
    dnnl_dims_t dim = { 0 };
    memcpy(dim, s->dim, (size_t)s->rank * sizeof(*dim));
    return plain_desc(s->rank, dim);
}

/* ---- layouts of images ---- */

static const dnnl_format_tag_t layout_tag[] = { [LAYOUT_PLAIN] = dnnl_nchw,
                                                [LAYOUT_C8] = dnnl_nChw8c,
                                                [LAYOUT_C16] = dnnl_nChw16c,
                                                [LAYOUT_LAST] = dnnl_nhwc };

static dnnl_memory_desc_t typed_image(const struct shape *s, dnnl_data_type_t type,
                                      dnnl_format_tag_t tag)
{
    dnnl_dims_t dim = { s->dim[0], s->dim[1], s->dim[2], s->dim[3] };
    return typed_desc(4, dim, type, tag);
}

static dnnl_memory_desc_t image_desc(const struct shape *s, dnnl_format_tag_t tag)
{
    return typed_image(s, dnnl_f32, tag);
}

/* Which of ours d is; false where it is none. */
static bool layout_of(const dnnl_memory_desc_t *d, const struct shape *s, enum layout *out)
{
    for (size_t i = 0; i < ARRAY_LEN(layout_tag); i++) {
        dnnl_memory_desc_t want = typed_image(s, d->data_type, layout_tag[i]);
        if (!dnnl_memory_desc_equal(d, &want))
            continue;
        *out = d->data_type == dnnl_bf16 ? layout_narrow((enum layout)i) : (enum layout)i;
        return true;
    }
    return false;
}

static enum layout have(const struct kernel_ctx *ctx, int index)
{
    return ctx->have != NULL ? ctx->have[index] : LAYOUT_PLAIN;
}

/* Tells the caller how the primitive wants its image and leaves its result; false where we have no word for it. */
static bool tell_layouts(const struct onednn *o, const struct kernel_ctx *ctx)
{
    enum layout src, dst;
    if (!layout_of(dnnl_primitive_desc_query_md(o->desc, dnnl_query_src_md, 0), &ctx->in[0].shape,
                   &src) ||
        !layout_of(dnnl_primitive_desc_query_md(o->desc, dnnl_query_dst_md, 0), &ctx->out[0].shape,
                   &dst))
        return false;
    if (ctx->want != NULL) {
        ctx->want[0] = src;
        ctx->give[0] = dst;
    }
    return true;
}

/* The result's type: bfloat16 where its readers want that, and the caller knows layouts. */
static dnnl_data_type_t result_type(const struct kernel_ctx *ctx, bool narrow)
{
    return narrow && ctx->narrow && ctx->give != NULL ? dnnl_bf16 : type_of(ctx->out[0].dtype);
}

/* [O, C, h, w], or [groups, O / groups, C, h, w]. */
static dnnl_memory_desc_t filter_desc(const struct shape *w, int64_t groups, bool any)
{
    dnnl_dims_t dim = { groups, w->dim[0] / groups, w->dim[1], w->dim[2], w->dim[3] };
    dnnl_dims_t one_group = { w->dim[0], w->dim[1], w->dim[2], w->dim[3] };
    int rank = groups > 1 ? 5 : 4;
    return any ? tag_desc(rank, groups > 1 ? dim : one_group, dnnl_format_tag_any)
               : plain_desc(rank, groups > 1 ? dim : one_group);
}

/* ---- making one ---- */

/* One or two of oneDNN's elementwise functions make one of our activations. */
struct part {
    dnnl_alg_kind_t alg;
    float alpha, beta;
};

static int act_parts(struct act_fn f, struct part part[2])
{
    switch (f.kind) {
    case ACT_RELU: part[0] = (struct part){ dnnl_eltwise_relu, 0, 0 }; return 1;
    case ACT_TANH: part[0] = (struct part){ dnnl_eltwise_tanh, 0, 0 }; return 1;
    case ACT_SIGMOID: part[0] = (struct part){ dnnl_eltwise_logistic, 0, 0 }; return 1;
    case ACT_CLIP: part[0] = (struct part){ dnnl_eltwise_clip, f.alpha, f.beta }; return 1;
    case ACT_LEAKY_RELU: part[0] = (struct part){ dnnl_eltwise_relu, f.alpha, 0 }; return 1;
    case ACT_ELU: part[0] = (struct part){ dnnl_eltwise_elu, f.alpha, 0 }; return 1;
    case ACT_HARD_SIGMOID:
        part[0] = (struct part){ dnnl_eltwise_linear, f.alpha, f.beta };
        part[1] = (struct part){ dnnl_eltwise_clip, 0, 1 };
        return 2;
    case ACT_HARD_SWISH: part[0] = (struct part){ dnnl_eltwise_hardswish, 0, 0 }; return 1;
    case ACT_SWISH: part[0] = (struct part){ dnnl_eltwise_swish, f.alpha, 0 }; return 1;
    case ACT_MISH: part[0] = (struct part){ dnnl_eltwise_mish, 0, 0 }; return 1;
    case ACT_GELU: part[0] = (struct part){ dnnl_eltwise_gelu_erf, 0, 0 }; return 1;
    case ACT_GELU_TANH: part[0] = (struct part){ dnnl_eltwise_gelu_tanh, 0, 0 }; return 1;
    default: return 0;
    }
}

const char *onednn_refuse_act(struct act_fn f)
{
    bool usual_swish = f.alpha == 6 && f.beta == 6 && f.gamma == 3;
    if (f.kind == ACT_HARD_SWISH && !usual_swish)
        return "its hard_swish is not the usual one";
    if (f.kind == ACT_MISH && f.alpha > 0 &&
        f.alpha < 15) /* above, tanh(softplus(x)) is 1 in any case */
        return "its mish is not the usual one";
    return NULL;
}

/* scale: the result is multiplied by it. */
static void append_act(dnnl_post_ops_t ops, struct act_fn f, float scale)
{
    struct part part[2];
    int count = act_parts(f, part);
    for (int i = 0; i < count; i++)
        dnnl_post_ops_append_eltwise(ops, i == count - 1 ? scale : 1, part[i].alg, part[i].alpha,
                                     part[i].beta);
}

/* What follows the convolution itself. */
struct tail {
    struct act_fn act;
    bool sum, act_first;
    const struct onednn_units *units; /* of integers; else NULL */
};

static void append_sum(dnnl_post_ops_t ops, const struct tail *t)
{
    if (t->units == NULL || t->units->sum_type == DTYPE_F32)
        dnnl_post_ops_append_sum(ops, 1);
    else
        dnnl_post_ops_append_sum_v3(ops, t->units->sum_scale, t->units->sum_zero,
                                    type_of(t->units->sum_type));
}

static void append_units(dnnl_primitive_attr_t attr, const struct onednn_units *u)
{
    if (u == NULL)
        return;
    dnnl_primitive_attr_set_output_scales(attr, u->count, 2, u->scale); /* 2: of dimension 1 */
    if (u->x_zero != 0)
        dnnl_primitive_attr_set_zero_points(attr, DNNL_ARG_SRC, 1, 0, &u->x_zero);
    if (u->out_zero != 0)
        dnnl_primitive_attr_set_zero_points(attr, DNNL_ARG_DST, 1, 0, &u->out_zero);
}

static void append_tail(dnnl_primitive_attr_t attr, const struct tail *t)
{
    float act_scale = t->units != NULL ? t->units->act_scale : 1;
    dnnl_post_ops_t ops;
    append_units(attr, t->units);
    dnnl_post_ops_create(&ops);
    if (t->act_first)
        append_act(ops, t->act, act_scale);
    if (t->sum)
        append_sum(ops, t);
    if (!t->act_first)
        append_act(ops, t->act, act_scale);
    dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
}

static status make_slot(struct onednn *o, struct slot *s, struct err *e)
{
    atomic_flag_clear(&s->busy);
    TRY(fault(dnnl_stream_create(&s->stream, o->engine, dnnl_stream_default_flags), "a stream", e));
    for (int i = 0; i < o->arg_count; i++) {
        const dnnl_memory_desc_t *d =
            dnnl_primitive_desc_query_md(o->desc, dnnl_query_exec_arg_md, o->arg[i]);
        s->arg[i].arg = o->arg[i];
        TRY(fault(dnnl_memory_create(&s->arg[i].memory, d, o->engine, DNNL_MEMORY_NONE),
                  "a memory object", e));
    }
    return OK;
}

static status make_desc(struct onednn *o, const void *op_desc, const struct tail *tail,
                        struct err *e)
{
    dnnl_primitive_attr_t attr;
    use_threads(o->threads);
    if (o->engine == NULL)
        TRY(fault(dnnl_engine_create(&o->engine, dnnl_cpu, 0), "an engine", e));
    TRY(fault(dnnl_primitive_attr_create(&attr), "attributes", e));
    dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (tail != NULL)
        append_tail(attr, tail);
    dnnl_primitive_desc_destroy(o->desc); /* of an earlier try */
    o->desc = NULL;
    dnnl_status_t s = dnnl_primitive_desc_create(&o->desc, op_desc, attr, o->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    return fault(s, "a primitive's description", e);
}

static status make_primitive(struct onednn *o, struct err *e)
{
    TRY(fault(dnnl_primitive_create(&o->primitive, o->desc), "a primitive", e));
    o->scratch_bytes = dnnl_memory_desc_get_size(
        dnnl_primitive_desc_query_md(o->desc, dnnl_query_scratchpad_md, 0));
    for (int i = 0; i < SLOTS; i++)
        TRY(make_slot(o, &o->slot[i], e));
    return OK;
}

static struct onednn *new_onednn(const struct kernel_ctx *ctx, const int *arg, int arg_count)
{
    struct onednn *o = mem_zalloc(sizeof(*o));
    o->threads = ctx->threads > 0 ? ctx->threads : 1;
    o->arg_count = arg_count;
    memcpy(o->arg, arg, (size_t)arg_count * sizeof(*arg));
    return o;
}

static status finish(struct onednn *o, status s, struct onednn **out)
{
    if (s != OK) {
        onednn_free(o);
        return s;
    }
    *out = o;
    return OK;
}

static bool has(const struct kernel_ctx *ctx, int index)
{
    return ctx->in[index].shape.rank >= 0;
}

/* Of a filter or matrix, and the input `bias` where there is one. */
static struct onednn *new_weighted(const struct kernel_ctx *ctx, int bias)
{
    static const int arg[] = { DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, DNNL_ARG_WEIGHTS,
                               DNNL_ARG_BIAS };
    return new_onednn(ctx, arg, has(ctx, bias) ? 5 : 4);
}

static status make_weighted(struct onednn *o, struct err *e)
{
    TRY(make_primitive(o, e));
    o->filter = *dnnl_primitive_desc_query_md(o->desc, dnnl_query_weights_md, 0);
    return OK;
}

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
    dnnl_data_type_t type = way->narrow ? dnnl_bf16 : type_of(ctx->in[0].dtype);
    dnnl_memory_desc_t src = typed_image(&ctx->in[0].shape, type, way->src);
    dnnl_memory_desc_t dst =
        typed_image(&ctx->out[0].shape, result_type(ctx, way->narrow), way->dst);
    dnnl_memory_desc_t any = filter_desc(&ctx->in[1].shape, a->groups, true), bias;
    any.data_type = way->narrow ? dnnl_bf16 : type_of(ctx->in[1].dtype);
    dnnl_dims_t stride = { w->stride_h, w->stride_w };
    dnnl_dims_t dilate = { w->dilation_h - 1, w->dilation_w - 1 }; /* oneDNN counts the holes */
    dnnl_dims_t before = { w->pad_top, w->pad_left }, after = { w->pad_bottom, w->pad_right };
    if (has(ctx, CONV_BIAS))
        bias = shape_desc(&ctx->in[CONV_BIAS].shape);
    return fault(dnnl_dilated_convolution_forward_desc_init(
                     d, dnnl_forward_inference, way->alg, &src, &any,
                     has(ctx, CONV_BIAS) ? &bias : NULL, &dst, stride, dilate, before, after),
                 "the description of a convolution", e);
}

static status try_conv(const struct kernel_ctx *ctx, const struct window *w, struct onednn *o,
                       const struct way *way, struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    const struct tail tail = { { a->act, a->act_alpha, a->act_beta, a->act_gamma },
                               has(ctx, CONV_RESIDUAL),
                               a->act_first,
                               way->units };
    dnnl_convolution_desc_t d;
    TRY(describe_conv(ctx, w, way, &d, e));
    TRY(make_desc(o, &d, way->bare ? NULL : &tail, e));
    return tell_layouts(o, ctx) ? OK : err_set(e, UNSUPPORTED, "oneDNN wants a layout of its own");
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

/* The ways worth trying, best first; how many. Blocks of 16 channels were measured to be as fast as oneDNN's own choice
 * (channels last) or faster, all in all, and winograd speaks nothing else. */
static int list_ways(const struct kernel_ctx *ctx, const struct window *w, struct way way[WAYS_MAX])
{
    static const struct way winograd = {
        dnnl_convolution_winograd, dnnl_nChw16c, dnnl_nChw16c, false, false, NULL
    };
    static const struct way bare = {
        dnnl_convolution_winograd, dnnl_nChw16c, dnnl_nChw16c, true, false, NULL
    };
    static const struct way blocks = {
        dnnl_convolution_direct, dnnl_nChw16c, dnnl_nChw16c, false, false, NULL
    };
    static const struct way first = {
        dnnl_convolution_direct, dnnl_nchw, dnnl_nChw16c, false, false, NULL
    };
    static const struct way any = {
        dnnl_convolution_auto, dnnl_format_tag_any, dnnl_format_tag_any, false, false, NULL
    };
    static const struct way plain = {
        dnnl_convolution_auto, dnnl_nchw, dnnl_nchw, false, false, NULL
    };
    int count = 0;
    if (ctx->have != NULL) {
        if (suits_winograd(ctx, w)) {
            way[count++] = winograd;
            if (ctx->in[1].shape.dim[0] % 16 ==
                0) /* else activations would have to spare the zeros behind */
                way[count++] = bare;
        }
        way[count++] = ctx->in[0].shape.dim[1] < 16 ? first : blocks;
        way[count++] = any;
    }
    way[count++] = plain;
    return count;
}

/* The same for operands in bfloat16: an image's own layout first, since bringing it to another one takes longer than the
 * better layout saves. Channels last is the better one. */
static int list_narrow_ways(const struct kernel_ctx *ctx, struct way way[WAYS_MAX])
{
    static const struct way blocks = {
        dnnl_convolution_direct, dnnl_nChw16c, dnnl_nChw16c, false, true, NULL
    };
    static const struct way any = {
        dnnl_convolution_auto, dnnl_format_tag_any, dnnl_format_tag_any, false, true, NULL
    };
    static const struct way plain = {
        dnnl_convolution_auto, dnnl_nchw, dnnl_nchw, false, true, NULL
    };
    static const struct way last = {
        dnnl_convolution_direct, dnnl_nhwc, dnnl_nhwc, false, true, NULL
    };
    bool in_blocks = have(ctx, 0) == LAYOUT_C16;
    int count = 0;
    if (ctx->have != NULL && in_blocks)
        way[count++] = blocks;
    if (ctx->have != NULL)
        way[count++] = last;
    if (ctx->have != NULL && !in_blocks && ctx->in[0].shape.dim[1] >= 16)
        way[count++] = blocks;
    if (ctx->have != NULL)
        way[count++] = any;
    way[count++] = plain;
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
    const struct way last = { dnnl_convolution_direct, dnnl_nhwc, dnnl_nhwc, false, false, units };
    struct onednn *o = new_weighted(ctx, CONV_BIAS);
    o->plain = filter_desc(&ctx->in[1].shape, a->groups, false);
    o->plain.data_type = dnnl_s8;
    status s = try_conv(ctx, w, o, &last, e);
    if (s == OK)
        s = make_weighted(o, e);
    return finish(o, s, out);
}

status onednn_conv(const struct kernel_ctx *ctx, const struct window *w, bool narrow,
                   struct onednn **out, bool *bare, struct err *e)
{
    const struct conv_attrs *a = ctx->node->attrs;
    struct onednn *o = new_weighted(ctx, CONV_BIAS);
    o->plain = filter_desc(&ctx->in[1].shape, a->groups, false);
    status s = find_way(ctx, w, narrow, o, bare, e);
    if (s == OK)
        s = make_weighted(o, e);
    return finish(o, s, out);
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
    dnnl_memory_desc_t src = image_desc(&ctx->in[0].shape, tag);
    dnnl_memory_desc_t dst = image_desc(&ctx->out[0].shape, tag), bias;
    dnnl_memory_desc_t any = tag_desc(o->plain.ndims, o->plain.dims, dnnl_format_tag_any);
    dnnl_dims_t stride = { h->stride, w->stride };
    dnnl_dims_t dilate = { h->dilation - 1, w->dilation - 1 };
    dnnl_dims_t before = { h->before, w->before };
    /* As oneDNN has it: what brings the result to its size. */
    dnnl_dims_t after = {
        (h->in - 1) * h->stride + (h->kernel - 1) * h->dilation + 1 - h->before - h->out,
        (w->in - 1) * w->stride + (w->kernel - 1) * w->dilation + 1 - w->before - w->out
    };
    dnnl_deconvolution_desc_t d;
    if (has(ctx, CONV_BIAS))
        bias = shape_desc(&ctx->in[CONV_BIAS].shape);
    TRY(fault(dnnl_dilated_deconvolution_forward_desc_init(
                  &d, dnnl_forward_inference, dnnl_deconvolution_direct, &src, &any,
                  has(ctx, CONV_BIAS) ? &bias : NULL, &dst, stride, dilate, before, after),
              "the description of a transposed convolution", e));
    TRY(make_desc(o, &d, NULL, e));
    return tell_layouts(o, ctx) ? OK : err_set(e, UNSUPPORTED, "oneDNN wants a layout of its own");
}

status onednn_deconv(const struct kernel_ctx *ctx, const struct span *h, const struct span *w,
                     struct onednn **out, struct err *e)
{
    const struct conv_nd_attrs *a = ctx->node->attrs;
    struct onednn *o = new_weighted(ctx, CONV_BIAS);
    o->plain = turned_filter_desc(&ctx->in[1].shape, a->groups);
    status s = try_deconv(ctx, h, w, o, ctx->have != NULL, e);
    if (s != OK && ctx->have != NULL)
        s = try_deconv(ctx, h, w, o, false, e);
    if (s == OK)
        s = make_weighted(o, e);
    return finish(o, s, out);
}

/* A product of two matrices with all that hangs on it. */
static status make_matmul(const struct kernel_ctx *ctx, const struct matmul_dims *d,
                          dnnl_data_type_t a_type, dnnl_data_type_t b_type, dnnl_data_type_t c_type,
                          const struct onednn_units *units, struct onednn *o, struct err *e)
{
    const struct matmul_attrs *m = ctx->node->attrs;
    const struct tail tail = {
        { m->act, m->act_alpha, m->act_beta, m->act_gamma }, has(ctx, MATMUL_RESIDUAL), true, units
    };
    dnnl_dims_t a = { d->m, d->k }, b = { d->k, d->n }, c = { d->m, d->n }, row = { 1, d->n };
    dnnl_dims_t step = { d->trans_b ? 1 : d->n, d->trans_b ? d->k : 1 };
    dnnl_memory_desc_t src = typed_desc(2, a, a_type, dnnl_ab);
    dnnl_memory_desc_t dst = typed_desc(2, c, c_type, dnnl_ab);
    dnnl_memory_desc_t any = typed_desc(2, b, b_type, dnnl_format_tag_any);
    dnnl_memory_desc_t bias = typed_desc(2, row, dnnl_f32, dnnl_ab);
    dnnl_matmul_desc_t desc;
    dnnl_memory_desc_init_by_strides(&o->plain, 2, b, type_of(ctx->in[1].dtype), step);
    TRY(fault(dnnl_matmul_desc_init(&desc, &src, &any, has(ctx, MATMUL_BIAS) ? &bias : NULL, &dst),
              "the description of a product", e));
    TRY(make_desc(o, &desc, &tail, e));
    return make_weighted(o, e);
}

status onednn_matmul_bf16(const struct kernel_ctx *ctx, const struct matmul_dims *d,
                          struct onednn **out, struct err *e)
{
    struct onednn *o = new_weighted(ctx, MATMUL_BIAS);
    dnnl_data_type_t result = result_type(ctx, true);
    status s = make_matmul(ctx, d, dnnl_bf16, dnnl_bf16, result, NULL, o, e);
    return finish(o, s, out);
}

status onednn_matmul_int8(const struct kernel_ctx *ctx, const struct matmul_dims *d,
                          const struct onednn_units *units, struct onednn **out, struct err *e)
{
    struct onednn *o = new_weighted(ctx, MATMUL_BIAS);
    status s = make_matmul(ctx, d, type_of(ctx->in[0].dtype), dnnl_s8, type_of(ctx->out[0].dtype),
                           units, o, e);
    return finish(o, s, out);
}

static bool has_isa(dnnl_cpu_isa_t isa)
{
    return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

bool kernel_has_bf16(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_bf16);
}

bool kernel_has_int8(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_vnni) || has_isa(dnnl_cpu_isa_avx2_vnni);
}

status onednn_pool(const struct kernel_ctx *ctx, const struct window *w, struct onednn **out,
                   struct err *e)
{
    static const dnnl_alg_kind_t alg[] = { [POOL_MAX] = dnnl_pooling_max,
                                           [POOL_AVG] = dnnl_pooling_avg_exclude_padding,
                                           [POOL_AVG_WITH_PADS] =
                                               dnnl_pooling_avg_include_padding };
    static const int arg[] = { DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD };
    const struct pool_attrs *a = ctx->node->attrs;
    struct onednn *o = new_onednn(ctx, arg, ARRAY_LEN(arg));
    dnnl_pooling_desc_t d;
    bool integers = ctx->in[0].dtype != DTYPE_F32;
    dnnl_format_tag_t tag = integers ? dnnl_nhwc : layout_tag[have(ctx, 0)];
    bool narrow = !integers && (tag == dnnl_nhwc || tag == dnnl_nChw16c);
    dnnl_data_type_t type = result_type(ctx, narrow);
    dnnl_memory_desc_t src = typed_image(&ctx->in[0].shape, type, tag);
    dnnl_memory_desc_t dst = typed_image(&ctx->out[0].shape, type, tag);
    dnnl_dims_t stride = { w->stride_h, w->stride_w }, kernel = { w->kernel_h, w->kernel_w };
    dnnl_dims_t before = { w->pad_top, w->pad_left }, after = { w->pad_bottom, w->pad_right };
    status s = fault(dnnl_pooling_forward_desc_init(&d, dnnl_forward_inference, alg[a->mode], &src,
                                                    &dst, stride, kernel, before, after),
                     "the description of a pooling", e);
    if (s == OK)
        s = make_desc(o, &d, NULL, e);
    if (s == OK)
        s = tell_layouts(o, ctx) ? make_primitive(o, e)
                                 : err_set(e, UNSUPPORTED, "oneDNN wants a layout of its own");
    return finish(o, s, out);
}

void onednn_free(struct onednn *o)
{
    if (o == NULL)
        return;
    for (int i = 0; i < SLOTS; i++) {
        for (int k = 0; k < ARGS_MAX; k++)
            dnnl_memory_destroy(o->slot[i].arg[k].memory);
        dnnl_stream_destroy(o->slot[i].stream);
    }
    dnnl_primitive_destroy(o->primitive);
    dnnl_primitive_desc_destroy(o->desc);
    dnnl_engine_destroy(o->engine);
    mem_free(o);
}

size_t onednn_scratch_bytes(const struct onednn *o)
{
    return o->scratch_bytes;
}

/* ---- weights ---- */

struct packing {
    const struct onednn *o;
    const void *from;
    const float *scale; /* NULL, or of floats alone */
    struct err *err;
};

static dnnl_status_t run_reorder(const struct onednn *o, dnnl_memory_t from, dnnl_memory_t to)
{
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t p = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_exec_arg_t arg[] = { { DNNL_ARG_FROM, from }, { DNNL_ARG_TO, to } };
    dnnl_status_t s = dnnl_reorder_primitive_desc_create(&desc, &o->plain, o->engine, &o->filter,
                                                         o->engine, NULL);
    if (s == dnnl_success)
        s = dnnl_primitive_create(&p, desc);
    if (s == dnnl_success)
        s = dnnl_stream_create(&stream, o->engine, dnnl_stream_default_flags);
    if (s == dnnl_success)
        s = dnnl_primitive_execute(p, stream, 2, arg);
    if (s == dnnl_success)
        s = dnnl_stream_wait(stream);
    dnnl_stream_destroy(stream);
    dnnl_primitive_destroy(p);
    dnnl_primitive_desc_destroy(desc);
    return s;
}

static dnnl_status_t pack_from(const struct onednn *o, const void *plain, void *memory)
{
    dnnl_memory_t from = NULL, to = NULL;
    dnnl_status_t s = dnnl_memory_create(&from, &o->plain, o->engine, (void *)plain);
    if (s == dnnl_success)
        s = dnnl_memory_create(&to, &o->filter, o->engine, memory);
    if (s == dnnl_success)
        s = run_reorder(o, from, to);
    dnnl_memory_destroy(from);
    dnnl_memory_destroy(to);
    return s;
}

/* The filter with each output channel multiplied; the channels are the first dimension, or the first two. */
static void scale_filter(const struct packing *p, size_t elements, float *out)
{
    const dnnl_memory_desc_t *d = &p->o->plain;
    size_t channels = (size_t)(d->ndims == 5 ? d->dims[0] * d->dims[1] : d->dims[0]);
    size_t each = elements / channels;
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < each; i++)
            out[c * each + i] = float_at(p->from, (int64_t)(c * each + i)) * p->scale[c];
}

/* Of a transformed filter, as filter.h has it; false where that has no word for it. */
static bool winograd_of(const dnnl_memory_desc_t *d, struct winograd *w)
{
    const dnnl_wino_desc_t *from = &d->format_desc.wino_desc;
    if (d->format_kind != dnnl_format_kind_wino || from->r != 3 || from->ic_block != 16 ||
        from->oc_block != 16 || from->adj_scale != 1 || (from->alpha != 4 && from->alpha != 6))
        return false;
    *w = (struct winograd){ .alpha = from->alpha, .o = from->oc, .i = from->ic };
    w->group_o = w->group_i = 1;
    switch (from->wino_format) {
    case dnnl_wino_wei_aaOio: w->order = WINOGRAD_PLAIN; break;
    case dnnl_wino_wei_aaOBiOo:
        w->order = WINOGRAD_GROUPED;
        w->group_o = from->oc2_block;
        break;
    case dnnl_wino_wei_OBaaIBOIio:
        w->order = WINOGRAD_BLOCKED;
        w->group_o = from->oc2_block;
        w->group_i = from->ic2_block;
        break;
    default: return false;
    }
    size_t bytes = (size_t)(w->alpha * w->alpha * w->o * w->i) * sizeof(float);
    return bytes == dnnl_memory_desc_get_size(d);
}

/* Packs it ourselves, where we know how; oneDNN's reorders are plain loops, some of them eight times slower. */
static bool pack_ours(const struct packing *p, void *memory)
{
    const dnnl_memory_desc_t *from = &p->o->plain, *to = &p->o->filter;
    dnnl_memory_desc_t dense = plain_desc(from->ndims, from->dims);
    dnnl_memory_desc_t blocks = tag_desc(4, from->dims, dnnl_ABcd16b16a);
    struct winograd w;
    if (from->ndims != 4 || to->data_type != dnnl_f32 || !dnnl_memory_desc_equal(from, &dense))
        return false;
    struct filter f = { p->from, p->scale, from->dims[0], from->dims[1],
                        from->dims[2] * from->dims[3] };
    bool turned = f.taps == 9 && winograd_of(to, &w);
    if (turned)
        filter_winograd(&f, &w, memory);
    else if (dnnl_memory_desc_equal(to, &blocks))
        filter_blocks(&f, memory);
    else
        return false;
    return true;
}

static status fill_pack(void *arg, void *memory)
{
    const struct packing *p = arg;
    if (pack_ours(p, memory))
        return OK;
    if (p->scale == NULL)
        return fault(pack_from(p->o, p->from, memory), "packing a filter", p->err);
    size_t bytes = dnnl_memory_desc_get_size(&p->o->plain);
    float *scaled = mem_try_aligned(bytes, 64);
    if (scaled == NULL)
        return err_set(p->err, NO_MEMORY, "no memory for %zu bytes of a filter", bytes);
    scale_filter(p, bytes / sizeof(float), scaled);
    dnnl_status_t s = pack_from(p->o, scaled, memory);
    mem_free(scaled);
    return fault(s, "packing a filter", p->err);
}

status onednn_pack(const struct onednn *o, struct packs *packs, const void *filter,
                   const float *scale, const void **packed, struct err *e)
{
    struct packing p = { o, filter, scale, e };
    *packed = filter;
    if (scale == NULL && dnnl_memory_desc_equal(&o->plain, &o->filter))
        return OK;
    struct {
        dnnl_memory_desc_t filter;
        const float *scale;
    } key;
    memset(&key, 0, sizeof(key)); /* its holes are hashed too */
    key.filter = o->filter;
    key.scale = scale;
    return packs_get(packs, filter, map_hash((struct str){ (const char *)&key, sizeof(key) }),
                     dnnl_memory_desc_get_size(&o->filter), fill_pack, &p, packed);
}

/* ---- running ---- */

static struct slot *take_slot(struct onednn *o)
{
    for (;;) /* as many threads run one model as there are cores, and a run is short */
        for (int i = 0; i < SLOTS; i++)
            if (!atomic_flag_test_and_set_explicit(&o->slot[i].busy, memory_order_acquire))
                return &o->slot[i];
}

static const void *data_of(const struct onednn_data *d, int arg)
{
    switch (arg) {
    case DNNL_ARG_SRC: return d->src;
    case DNNL_ARG_DST: return d->dst;
    case DNNL_ARG_SCRATCHPAD: return d->scratch;
    case DNNL_ARG_WEIGHTS: return d->filter;
    default: return d->bias;
    }
}

static dnnl_status_t point(const struct onednn *o, struct slot *s, const struct onednn_data *d)
{
    dnnl_status_t status_now = dnnl_success;
    for (int i = 0; i < o->arg_count && status_now == dnnl_success; i++) {
        const void *data = data_of(d, o->arg[i]);
        if (s->data[i] == data)
            continue;
        status_now = dnnl_memory_set_data_handle_v2(s->arg[i].memory, (void *)data, s->stream);
        s->data[i] = status_now == dnnl_success ? data : NULL;
    }
    return status_now;
}

status onednn_run(struct onednn *o, const struct onednn_data *d, struct err *e)
{
    struct slot *s = take_slot(o);
    use_threads(o->threads);
    dnnl_status_t status_now = point(o, s, d);
    if (status_now == dnnl_success)
        status_now = dnnl_primitive_execute(o->primitive, s->stream, o->arg_count, s->arg);
    if (status_now == dnnl_success)
        status_now = dnnl_stream_wait(s->stream);
    atomic_flag_clear_explicit(&s->busy, memory_order_release);
    return status_now == dnnl_success
               ? OK
               : err_set(e, INTERNAL, "oneDNN: a run failed with status %d", (int)status_now);
}

status onednn_sgemm(const struct sgemm *g)
{
    use_threads(g->threads > 0 ? g->threads : 1);
    dnnl_status_t s = dnnl_sgemm(g->trans_a ? 'T' : 'N', g->trans_b ? 'T' : 'N', g->m, g->n, g->k,
                                 g->alpha, g->a, g->lda, g->b, g->ldb, 0, g->c, g->ldc);
    return s == dnnl_success ? OK : INTERNAL;
}
