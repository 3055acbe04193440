/* Products and poolings. */
#include "kernels/dnnl/primitive.h"

#include "graph/attrs_image.h"

/* A product of two matrices with all that hangs on it. */
static status make_matmul(const struct kernel_ctx *ctx, const struct matmul_dims *d,
                          dnnl_data_type_t a_type, dnnl_data_type_t b_type, dnnl_data_type_t c_type,
                          const struct onednn_units *units, struct onednn *o, struct err *e)
{
    const struct matmul_attrs *m = ctx->node->attrs;
    const struct tail tail = { { m->act, m->act_alpha, m->act_beta, m->act_gamma },
                               ctx_has(ctx, MATMUL_RESIDUAL),
                               true,
                               units };
    dnnl_dims_t a = { d->m, d->k }, b = { d->k, d->n }, c = { d->m, d->n }, row = { 1, d->n };
    dnnl_dims_t step = { d->trans_b ? 1 : d->n, d->trans_b ? d->k : 1 };
    dnnl_memory_desc_t src = desc_typed(2, a, a_type, dnnl_ab);
    dnnl_memory_desc_t dst = desc_typed(2, c, c_type, dnnl_ab);
    dnnl_memory_desc_t any = desc_typed(2, b, b_type, dnnl_format_tag_any);
    dnnl_memory_desc_t bias = desc_typed(2, row, dnnl_f32, dnnl_ab);
    dnnl_matmul_desc_t desc;
    dnnl_memory_desc_init_by_strides(&o->plain, 2, b, desc_type(ctx->in[1].dtype), step);
    TRY(primitive_fault(
        dnnl_matmul_desc_init(&desc, &src, &any, ctx_has(ctx, MATMUL_BIAS) ? &bias : NULL, &dst),
        "the description of a product", e));
    TRY(primitive_describe(o, &desc, &tail, e));
    return primitive_make_weighted(o, e);
}

status onednn_matmul_bf16(const struct kernel_ctx *ctx, const struct matmul_dims *d,
                          struct onednn **out, struct err *e)
{
    struct onednn *o = primitive_new_weighted(ctx, MATMUL_BIAS);
    dnnl_data_type_t result = desc_result(ctx, true);
    status s = make_matmul(ctx, d, dnnl_bf16, dnnl_bf16, result, NULL, o, e);
    return primitive_finish(o, s, out);
}

status onednn_matmul_int8(const struct kernel_ctx *ctx, const struct matmul_dims *d,
                          const struct onednn_units *units, struct onednn **out, struct err *e)
{
    struct onednn *o = primitive_new_weighted(ctx, MATMUL_BIAS);
    status s = make_matmul(ctx, d, desc_type(ctx->in[0].dtype), dnnl_s8,
                           desc_type(ctx->out[0].dtype), units, o, e);
    return primitive_finish(o, s, out);
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
    struct onednn *o = primitive_new(ctx, arg, ARRAY_LEN(arg));
    dnnl_pooling_desc_t d;
    bool integers = ctx->in[0].dtype != DTYPE_F32;
    dnnl_format_tag_t tag = integers ? dnnl_nhwc : desc_layout[ctx_have(ctx, 0)];
    bool narrow = !integers && (tag == dnnl_nhwc || tag == dnnl_nChw16c);
    dnnl_data_type_t type = desc_result(ctx, narrow);
    dnnl_memory_desc_t src = desc_image_of(&ctx->in[0].shape, type, tag);
    dnnl_memory_desc_t dst = desc_image_of(&ctx->out[0].shape, type, tag);
    dnnl_dims_t stride = { w->stride_h, w->stride_w }, kernel = { w->kernel_h, w->kernel_w };
    dnnl_dims_t before = { w->pad_top, w->pad_left }, after = { w->pad_bottom, w->pad_right };
    status s =
        primitive_fault(dnnl_pooling_forward_desc_init(&d, dnnl_forward_inference, alg[a->mode],
                                                       &src, &dst, stride, kernel, before, after),
                        "the description of a pooling", e);
    if (s == OK)
        s = primitive_describe(o, &d, NULL, e);
    if (s == OK)
        s = primitive_tell_layouts(o, ctx)
                ? primitive_make(o, e)
                : err_set(e, UNSUPPORTED, "oneDNN wants a layout of its own");
    return primitive_finish(o, s, out);
}
