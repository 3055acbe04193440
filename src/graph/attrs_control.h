/* Attribute structs of the operators that run graphs, and of those that make tensors from nothing. */
#pragma once

#include "graph/op.h"

/* while: inputs are the condition (one bool), the loop's values, then what the body only looks at. The body takes all
 * but the condition and gives the next condition, then the loop's next values; the outputs are the last ones. */
struct while_attrs {
    struct graph *body;
};

/* if: inputs are the condition (one bool), then what the branches look at; both take them in this order and give as many
 * values as the node. */
struct if_attrs {
    struct graph *then_graph, *else_graph;
};

/* fill: a tensor of one number. Its shape is that of the attribute, or, where it has input 0 (int64 or int32 [rank]),
 * the elements of that. Input 1 (optional): the number, of the same dtype. Integers count as `integer`, since a double
 * does not hold every one. */
struct fill_attrs {
    struct attr_ints shape;
    int32_t dtype; /* enum dtype */
    double value;
    int64_t integer;
};

/* fill_like: a tensor of one number in the shape of input 0, where dimension from_dim of the input, if dim is not
 * negative, is put in the place of dimension to_dim of `shape`. */
struct fill_like_attrs {
    struct attr_ints shape; /* count 0: that of input 0 */
    int32_t from_dim, to_dim;
    int32_t dtype;
    double value;
    int64_t integer;
};

/* bit_cast: the bytes of x's elements under another dtype of the same size. Half precision is computed in as float32
 * (import/half.h): where `from` is float16 or bfloat16 x may be float32 and is rounded first, and where `to` is, the result
 * is float32. */
struct bit_cast_attrs {
    int32_t from, to; /* enum dtype */
};

/* cast, and others whose result has a dtype of its own. */
struct dtype_attrs {
    int32_t dtype;
};
