/* Building blocks for operators of ONNX that become several of ours: each adds a node and says what is known of its
 * result. */
#pragma once

#include "import/onnx/site.h"

/* What a row names whose operator is one of ours, of one input. */
status import_plain(struct onnx_site *s);

/* Two tensors, broadcast. */
status build2(struct onnx_site *s, const char *op, struct value *a, struct value *b,
              struct value **out);
/* The same with a number of a's dtype on the right. */
status build_by(struct onnx_site *s, const char *op, struct value *a, double number,
                struct value **out);
status build1(struct onnx_site *s, const char *op, struct value *x, struct value **out);
status build_affine(struct onnx_site *s, struct value *x, double scale, double bias,
                    struct value **out);
status build_cast(struct onnx_site *s, struct value *x, dtype d, struct value **out);
status build_where(struct onnx_site *s, struct value *condition, struct value *yes,
                   struct value *no, struct value **out);
status build_matmul(struct onnx_site *s, struct value *a, struct value *b, bool trans_b,
                    struct value **out);
/* An operator with axis_attrs. */
status build_along(struct onnx_site *s, const char *op, struct value *x, int32_t axis,
                   struct value **out);
status build_log_softmax(struct onnx_site *s, struct value *x, int32_t axis, struct value **out);
/* mode: enum reduce_mode (graph/attrs_reduce.h). axes count 0: over all. */
status build_reduce(struct onnx_site *s, int32_t mode, struct value *x,
                    const struct attr_ints *axes, bool keep_dims, struct value **out);

status build_transpose(struct onnx_site *s, struct value *x, const struct attr_ints *perm,
                       struct value **out);
/* Dimensions of 1 at these places of the result. */
status build_unsqueeze(struct onnx_site *s, struct value *x, const struct attr_ints *axes,
                       struct value **out);
/* x[.., from:to, ..] along axis. */
status build_slice(struct onnx_site *s, struct value *x, int32_t axis, int64_t from, int64_t to,
                   struct value **out);
status build_concat(struct onnx_site *s, struct value *const *in, int count, int32_t axis,
                    struct value **out);
status build_gather(struct onnx_site *s, struct value *x, struct value *index, int32_t axis,
                    struct value **out);

/* int64 [rank]. */
status build_shape(struct onnx_site *s, struct value *x, struct value **out);
/* int64 [1]: one dimension of x; negative counts from the end. */
status build_dim(struct onnx_site *s, struct value *x, int axis, struct value **out);
/* 0, step, ... below end: int64 scalars. step NULL: 1. */
status build_range(struct onnx_site *s, struct value *end, struct value *step, struct value **out);
/* int64 [size]: 0, 1, ... up to the size of a dimension of x. */
status build_places(struct onnx_site *s, struct value *x, int axis, struct value **out);
/* For each row of scores the label, of `count`, that has the largest. */
status build_best_label(struct onnx_site *s, const int64_t *label, int count, struct value *scores,
                        struct value **out);
/* x under the shape that another value holds. rank: -1 where it is not known. */
status build_reshape_to(struct onnx_site *s, struct value *x, struct value *shape, int32_t rank,
                        struct value **out);

/* As far as the file tells. */
struct shape declared_broadcast(const struct shape *a, const struct shape *b);
/* The number of dimensions stays known, their sizes do not. */
void declare_unknown(struct value *v);
/* axis counted from the front; -1 where the number of dimensions is not known or does not have it. */
int declared_axis(const struct value *v, int64_t axis);
bool dtype_is_float(dtype d);
