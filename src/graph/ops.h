/* Private to the room: the families of operators, and what their inference functions share. Each family ends with a row
 * without name. */
#pragma once

#include "graph/attrs.h"
#include "graph/op.h"

extern const struct op ops_unary[], ops_binary[], ops_matmul[], ops_conv[], ops_pool[],
    ops_softmax[], ops_shape[], ops_index[], ops_sequence[], ops_rnn[], ops_fill[], ops_control[],
    ops_array[];

extern const struct op ops_attention[];
extern const struct op ops_move[], ops_reduce[];

extern const struct op ops_norm[], ops_conv_nd[], ops_resize[], ops_rearrange[], ops_detect[],
    ops_select[];

extern const struct op ops_recurrent[], ops_ragged[];

extern const struct op ops_quant[], ops_choose[], ops_trees[], ops_nms_each[];
extern const struct op ops_matrices[];

extern const struct op ops_random[], ops_signal[], ops_linear_attention[], ops_narrow[];

#define FIELD(type, member, kind)                          \
    {                                                      \
#member, kind, offsetof(struct type, member), NULL \
    }
#define FIELD_ENUM(type, member, list)                          \
    {                                                           \
#member, ATTR_ENUM, offsetof(struct type, member), list \
    }

/* The rows of a struct integers named q. */
#define FIELDS_INTEGERS(type)                                                     \
    FIELD(type, q.x_zero, ATTR_OFFSET), FIELD_ENUM(type, q.result, result_names), \
        FIELD(type, q.out_scale, ATTR_F32), FIELD(type, q.out_zero, ATTR_OFFSET), \
        FIELD(type, q.residual_scale, ATTR_F32), FIELD(type, q.residual_zero, ATTR_OFFSET)

/* Whether the optional input i is there. */
bool has_input(const struct node *n, int i);
bool is_integer8(dtype d);
/* Checks a product's numbers and types where in[0] is of integers, or that there are none; gives the result's dtype. */
status want_integers(const struct integers *q, const struct node *n, const struct type *in,
                     int residual, int scale, dtype *out, struct err *e);
/* Output 0 is typed like input 0. */
status infer_same(const struct node *n, const struct type *in, struct type *out, struct err *e);

/* INVALID with words where t is not of this rank or dtype; `what` names it. */
status want_rank(const struct type *t, int rank, const char *what, struct err *e);
status want_dtype(const struct type *t, dtype d, const char *what, struct err *e);
/* INVALID where n has the optional input `index`, of type t, and it is not of this dtype and shape: what is added to a
 * result (ops_matmul.c). */
status want_residual(const struct node *n, const struct type *t, int index, dtype d,
                     const struct shape *shape, struct err *e);
/* INVALID where the optional input `index` is there and is not a vector of `count` numbers: a bias, or the scale of
 * integers in in[0] (ops_matmul.c). */
status want_vector(const struct node *n, const struct type *in, int index, const char *what,
                   int64_t count, struct err *e);
/* The shape that the elements of a vector of at most SHAPE_MAX int32 or int64 say (ops_fill.c); -1 and 0 as they are. */
status shape_from_elements(const struct tensor *t, struct shape *out, struct err *e);
/* INVALID where inputs i (counts of boxes by image, int32 or int64) and i + 1 (offsets), which may be absent, are not of
 * `images` images; -1: of any number (ops_detect.c). */
status want_images(const struct node *n, const struct type *in, int i, int64_t images,
                   struct err *e);
/* Offsets of n sequences: int64 [n+1]; gives n. */
status want_offsets(const struct type *t, int64_t *sequences, struct err *e);
/* TOO_LARGE for an image that is empty in another dimension and so large in this that counting places would overflow
 * (ops_conv.c). */
status want_image_size(const struct shape *x, struct err *e);
/* Pads of one axis for SAME (ops_conv.c). extent: what the window spans, dilation included. */
void same_pads(int64_t in, int64_t extent, int64_t stride, int64_t *before, int64_t *after);
