/* Shapes, types and layouts in oneDNN's words. */
#include "kernels/dnnl/primitive.h"

#include <string.h>

dnnl_data_type_t desc_type(dtype d)
{
    switch (d) {
    case DTYPE_I8: return dnnl_s8;
    case DTYPE_U8: return dnnl_u8;
    case DTYPE_BF16: return dnnl_bf16;
    default: return dnnl_f32;
    }
}

dnnl_memory_desc_t desc_typed(int rank, const dnnl_dim_t *dim, dnnl_data_type_t type,
                              dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t d;
    dnnl_memory_desc_init_by_tag(&d, rank, dim, type, tag);
    return d;
}

dnnl_memory_desc_t desc_tag(int rank, const dnnl_dim_t *dim, dnnl_format_tag_t tag)
{
    return desc_typed(rank, dim, dnnl_f32, tag);
}

dnnl_memory_desc_t desc_plain(int rank, const dnnl_dim_t *dim)
{
    static const dnnl_format_tag_t tag[] = {
        dnnl_format_tag_undef, dnnl_a, dnnl_ab, dnnl_abc, dnnl_abcd, dnnl_abcde
    };
    return desc_tag(rank, dim, tag[rank]);
}

dnnl_memory_desc_t desc_shape(const struct shape *s)
{
    dnnl_dims_t dim = { 0 };
    memcpy(dim, s->dim, (size_t)s->rank * sizeof(*dim));
    return desc_plain(s->rank, dim);
}

/* ---- layouts of images ---- */

const dnnl_format_tag_t desc_layout[] = { [LAYOUT_PLAIN] = dnnl_nchw,
                                          [LAYOUT_C8] = dnnl_nChw8c,
                                          [LAYOUT_C16] = dnnl_nChw16c,
                                          [LAYOUT_LAST] = dnnl_nhwc };

dnnl_memory_desc_t desc_image_of(const struct shape *s, dnnl_data_type_t type,
                                 dnnl_format_tag_t tag)
{
    dnnl_dims_t dim = { s->dim[0], s->dim[1], s->dim[2], s->dim[3] };
    return desc_typed(4, dim, type, tag);
}

dnnl_memory_desc_t desc_image(const struct shape *s, dnnl_format_tag_t tag)
{
    return desc_image_of(s, dnnl_f32, tag);
}

/* Which of ours d is; false where it is none. */
static bool layout_of(const dnnl_memory_desc_t *d, const struct shape *s, enum layout *out)
{
    for (size_t i = 0; i < ARRAY_LEN(desc_layout); i++) {
        dnnl_memory_desc_t want = desc_image_of(s, d->data_type, desc_layout[i]);
        if (!dnnl_memory_desc_equal(d, &want))
            continue;
        *out = d->data_type == dnnl_bf16 ? layout_narrow((enum layout)i) : (enum layout)i;
        return true;
    }
    return false;
}

enum layout ctx_have(const struct kernel_ctx *ctx, int index)
{
    return ctx->have != NULL ? ctx->have[index] : LAYOUT_PLAIN;
}

/* Tells the caller how the primitive wants its image and leaves its result; false where we have no word for it. */
bool primitive_tell_layouts(const struct onednn *o, const struct kernel_ctx *ctx)
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
dnnl_data_type_t desc_result(const struct kernel_ctx *ctx, bool narrow)
{
    return narrow && ctx->narrow && ctx->give != NULL ? dnnl_bf16 : desc_type(ctx->out[0].dtype);
}

/* [O, C, h, w], or [groups, O / groups, C, h, w]. */
dnnl_memory_desc_t desc_filter(const struct shape *w, int64_t groups, bool any)
{
    dnnl_dims_t dim = { groups, w->dim[0] / groups, w->dim[1], w->dim[2], w->dim[3] };
    dnnl_dims_t one_group = { w->dim[0], w->dim[1], w->dim[2], w->dim[3] };
    int rank = groups > 1 ? 5 : 4;
    return any ? desc_tag(rank, groups > 1 ? dim : one_group, dnnl_format_tag_any)
               : desc_plain(rank, groups > 1 ? dim : one_group);
}
