/* What both kernels of attention share: sizes, and how the mask repeats. */
#pragma once

#include "graph/attrs_attention.h"
#include "kernels/kernel.h"

struct attention {
    struct attention_dims d;
    float scale;
    int64_t mask_step[4]; /* along batch, heads, queries, keys; 0 where it repeats */
};

status attention_sizes(const struct kernel_ctx *ctx, struct attention *out, struct err *e);
