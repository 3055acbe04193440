/* oneDNN behind a small door: dnnl.h is included in onednn.c alone, so that what differs between its versions stays there.
 * Everything runs on the calling thread; images are NCHW, weights in whatever layout the primitive likes best. */
#pragma once

#include "graph/attrs.h"
#include "kernels/kernel.h"

struct onednn; /* one primitive; may be run by several threads at once */

/* UNSUPPORTED when oneDNN does not take it. ctx is conv2d's or pool2d's; a conv2d's filter is a constant. */
status onednn_conv(const struct kernel_ctx *ctx, const struct window *w, struct onednn **out,
                   struct err *e);
status onednn_pool(const struct kernel_ctx *ctx, const struct window *w, struct onednn **out,
                   struct err *e);
void onednn_free(struct onednn *o);

size_t onednn_scratch_bytes(const struct onednn *o);
/* The constant filter in the primitive's layout, from packs; the filter itself where that is its layout already. */
status onednn_pack(const struct onednn *o, struct packs *packs, const void *filter,
                   const void **packed, struct err *e);
/* filter and bias NULL where the operator has none. */
status onednn_run(struct onednn *o, const void *src, const void *filter, const void *bias,
                  void *dst, void *scratch, struct err *e);

/* out [m, n] = alpha * a x b, rows following each other; a [m, k] or [k, m], b [k, n] or [n, k]. */
status onednn_sgemm(const struct matmul_dims *d, float alpha, const float *a, const float *b,
                    float *out);
