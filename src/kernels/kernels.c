#include "kernels/kernel.h"

#include "base/buf.h"
#include "kernels/tables.h"

#include <string.h>

/* Best first; ref last. One backend's families a line. */
// clang-format off
static const struct kernel *const families[] = {
    cpu_reduce, cpu_sort, cpu_quant, ref_random, ref_signal, ref_linear_attention, ref_narrow,
    ref_quant, ref_choose, ref_trees, ref_nms_each,
    ref_matrices,
    cpu_recurrent, ref_recurrent, ref_ragged,
    dnnl_columns, cpu_channels, cpu_conv_rows,
    dnnl_integers, cpu_integers, ref_integers,
    dnnl_matmul, dnnl_conv, dnnl_pool, cpu_attention, cpu_deconv, dnnl_deconv,
    cpu_matmul, cpu_binary, cpu_sequence, cpu_rnn, cpu_unary,
    cpu_move, cpu_norm, cpu_image,
    ref_unary, ref_binary, ref_matmul, ref_conv, ref_pool, ref_softmax, ref_shape, ref_index, ref_sequence, ref_rnn,
    ref_move, ref_sort, ref_reduce,
    ref_fill, ref_array,
    ref_norm, ref_conv_nd, ref_pool_nd, ref_resize, ref_rearrange,
    ref_attention,
    ref_detect, ref_roi, ref_select, ref_retina,
};
// clang-format on

const struct kernel *kernel_at(const char *op, size_t index)
{
    for (size_t f = 0; f < ARRAY_LEN(families); f++)
        for (const struct kernel *k = families[f]; k->op != NULL; k++)
            if (strcmp(k->op, op) == 0 && index-- == 0)
                return k;
    return NULL;
}

/* Why k does not take the node; NULL: it does. */
static const char *refusal(const struct kernel *k, const struct kernel_ctx *ctx)
{
    if (!(k->dtypes & DTYPE_BIT(ctx->in[0].dtype)))
        return "not for this dtype";
    return k->refuse != NULL ? k->refuse(ctx) : NULL;
}

/* Whether k is tried for the node and takes it; a refusal is told. */
static bool takes(const struct kernel *k, const struct kernel_ctx *ctx, struct buf *explain)
{
    const char *why = refusal(k, ctx);
    if (why != NULL && explain != NULL)
        buf_printf(explain, "%-24s not %s: %s\n", ctx->node->name, k->name, why);
    return why == NULL;
}

status kernel_choose(const struct kernel_ctx *ctx, const struct kernel **out, struct buf *explain,
                     struct err *e)
{
    const char *op = ctx->node->op->name;
    for (size_t f = 0; f < ARRAY_LEN(families); f++)
        for (const struct kernel *k = families[f]; k->op != NULL; k++)
            if (k->op[0] == op[0] && strcmp(k->op, op) == 0 && takes(k, ctx, explain)) {
                *out = k;
                return OK;
            }
    return err_set(e, UNSUPPORTED, "no kernel computes '%s' of %s", op,
                   dtype_name(ctx->in[0].dtype));
}
