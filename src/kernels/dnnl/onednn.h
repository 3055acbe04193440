/* oneDNN behind a small door: what differs between its versions stays in the files behind primitive.h.
 * Primitives choose the layouts of images and weights that they like best. */
#pragma once

#include "graph/attrs.h"
#include "kernels/kernel.h"

struct onednn; /* one primitive; may be run by several threads at once */

/* What a run reads and writes; NULL where the primitive has none. */
struct onednn_data {
    const void *src, *filter, *bias;
    void *dst, *scratch;
};

/* UNSUPPORTED when oneDNN does not take it. ctx is conv2d's or pool2d's; a conv2d's filter is a constant. Fills in ctx's
 * want and give. *bare: the primitive leaves activation and residual to the caller. narrow: it takes the image as bfloat16, in the layout that
 * it wants. */
status onednn_conv(const struct kernel_ctx *ctx, const struct window *w, bool narrow,
                   struct onednn **out, bool *bare, struct err *e);
/* Whether a convolution is faster on floats than on bfloat16. */
bool onednn_prefers_floats(const struct kernel_ctx *ctx, const struct window *w);

/* What integers stand for, worked into what oneDNN computes: out = act_scale * act(scale * ((x - x_zero) conv w + bias) +
 * sum_scale * (residual - sum_zero)) + out_zero, or the sum behind the activation; bias is in units of the products. */
struct onednn_units {
    const float *scale; /* for each output channel */
    int64_t count;
    int32_t x_zero, out_zero, sum_zero;
    float act_scale, sum_scale;
    dtype sum_type;
};
/* Of int8 or uint8 with its channels last. */
status onednn_conv_int8(const struct kernel_ctx *ctx, const struct window *w,
                        const struct onednn_units *units, struct onednn **out, struct err *e);
/* [m, k] times a constant [k, n], or [n, k] where trans_b. */
status onednn_matmul_int8(const struct kernel_ctx *ctx, const struct matmul_dims *d,
                          const struct onednn_units *units, struct onednn **out, struct err *e);
/* [m, k] in bfloat16 times a constant [k, n], or [n, k] where trans_b, with bias, activation and sum; in bfloat16 where
 * ctx->narrow, else in float. */
status onednn_matmul_bf16(const struct kernel_ctx *ctx, const struct matmul_dims *d,
                          struct onednn **out, struct err *e);
status onednn_pool(const struct kernel_ctx *ctx, const struct window *w, struct onednn **out,
                   struct err *e);
/* ctx is conv_transpose's on [N,C,H,W]; h and w: its two last spans. */
struct span;
status onednn_deconv(const struct kernel_ctx *ctx, const struct span *h, const struct span *w,
                     struct onednn **out, struct err *e);
void onednn_free(struct onednn *o);

/* Why oneDNN does not do this activation as we do; NULL: it does. */
const char *onednn_refuse_act(struct act_fn f);

size_t onednn_scratch_bytes(const struct onednn *o);
/* The constant filter in the primitive's layout, from packs, each of its output channels multiplied by its scale (NULL:
 * as it is); the filter itself where that is its layout already. */
status onednn_pack(const struct onednn *o, struct packs *packs, const void *filter,
                   const float *scale, const void **packed, struct err *e);
status onednn_run(struct onednn *o, const struct onednn_data *d, struct err *e);

/* c [m, n] = alpha * a x b; a [m, k] or, trans_a, [k, m]; b [k, n] or [n, k]; rows lda, ldb, ldc elements apart. */
struct sgemm {
    int64_t m, n, k;
    float alpha;
    const float *a, *b;
    float *c;
    int64_t lda, ldb, ldc;
    bool trans_a, trans_b;
    int threads;
};
status onednn_sgemm(const struct sgemm *g);
