#include "kernels/attention.h"

status attention_sizes(const struct kernel_ctx *ctx, struct attention *out, struct err *e)
{
    const struct attention_attrs *a = ctx->node->attrs;
    const struct shape *mask = &ctx->in[3].shape;
    int64_t step = 1;
    *out = (struct attention){ .scale = a->scale };
    TRY(attention_dims(a, &ctx->in[0].shape, &ctx->in[1].shape, &ctx->in[2].shape, &out->d, e));
    for (int i = mask->rank - 1; i >= 0; i--) {
        out->mask_step[4 - mask->rank + i] = mask->dim[i] > 1 ? step : 0;
        step *= mask->dim[i];
    }
    return OK;
}
