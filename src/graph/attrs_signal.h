/* Attribute structs of the operators on signals. */
#pragma once

#include "graph/op.h"

/* dft: the discrete Fourier transform along an axis. Input x: numbers with a last dimension of 1 (real) or 2 (real and
 * imaginary part). Input 1: length (optional, one int32 or int64): x is cut or filled up with zeros to it. Input 2: axis
 * (optional, the same); it then counts, not the attribute. Output: as x, with `length` along the axis and a last
 * dimension of 2; y[k] = sum of x[n] e^(-2 pi i k n / length). inverse: e^(+...), over length. one_sided: of a real x the
 * first length / 2 + 1; with inverse, x holds these, and the output is real ([..., 1]) of `length`, by default
 * 2 (x's - 1). */
struct dft_attrs {
    int32_t axis;
    bool inverse, one_sided;
};

/* Everything worked out: elements of x and of the result along the axis, and the transform's own length. */
struct dft_dims {
    int axis;
    int64_t in, length, out;
    bool complex_in, complex_out;
};
status dft_dims(const struct node *n, const struct type *in, struct dft_dims *out, struct err *e);
