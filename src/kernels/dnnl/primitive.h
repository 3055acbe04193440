/* Private to the files that make oneDNN's primitives: what one is, and how memory is described. convolution.c and onednn.c make
 * them, weights.c packs for them, primitive.c runs them. What differs between oneDNN's versions stays in these. */
#pragma once

#include "kernels/dnnl/library.h"
#include "kernels/dnnl/onednn.h"

#include <stdatomic.h>

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

/* What follows the convolution itself. */
struct tail {
    struct act_fn act;
    bool sum, act_first;
    const struct onednn_units *units; /* of integers; else NULL */
};

/* ---- describe.c ---- */

extern const dnnl_format_tag_t desc_layout[]; /* by enum layout */

dnnl_data_type_t desc_type(dtype d);
dnnl_memory_desc_t desc_typed(int rank, const dnnl_dim_t *dim, dnnl_data_type_t type,
                              dnnl_format_tag_t tag);
dnnl_memory_desc_t desc_tag(int rank, const dnnl_dim_t *dim, dnnl_format_tag_t tag);
dnnl_memory_desc_t desc_plain(int rank, const dnnl_dim_t *dim);
dnnl_memory_desc_t desc_shape(const struct shape *s);
dnnl_memory_desc_t desc_image_of(const struct shape *s, dnnl_data_type_t type,
                                 dnnl_format_tag_t tag);
dnnl_memory_desc_t desc_image(const struct shape *s, dnnl_format_tag_t tag);
/* [O, C, h, w], or [groups, O / groups, C, h, w]. */
dnnl_memory_desc_t desc_filter(const struct shape *w, int64_t groups, bool any);
/* The result's type: bfloat16 where its readers want that, and the caller knows layouts. */
dnnl_data_type_t desc_result(const struct kernel_ctx *ctx, bool narrow);
/* How input `index` lies now. */
enum layout ctx_have(const struct kernel_ctx *ctx, int index);
/* Whether there is such an input. */
bool ctx_has(const struct kernel_ctx *ctx, int index);
/* Tells the caller how the primitive wants its image and leaves its result; false where we have no word for it. */
bool primitive_tell_layouts(const struct onednn *o, const struct kernel_ctx *ctx);

/* ---- primitive.c ---- */

void primitive_threads(int count);
status primitive_fault(dnnl_status_t s, const char *what, struct err *e);
/* An empty one that takes these arguments; weighted: of a filter or matrix, and the input `bias` where there is one. */
struct onednn *primitive_new(const struct kernel_ctx *ctx, const int *arg, int arg_count);
struct onednn *primitive_new_weighted(const struct kernel_ctx *ctx, int bias);
/* Its description, then itself; a description may be tried again with another one. */
status primitive_describe(struct onednn *o, const void *op_desc, const struct tail *tail,
                          struct err *e);
status primitive_make(struct onednn *o, struct err *e);
status primitive_make_weighted(struct onednn *o, struct err *e);
/* Gives o to *out, or, where s is a fault, frees it; gives s. */
status primitive_finish(struct onednn *o, status s, struct onednn **out);
