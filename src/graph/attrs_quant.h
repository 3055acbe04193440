/* Attribute structs of Paddle's quantised forms, which keep numbers of few bits in floats. */
#pragma once

#include "graph/op.h"

/* fake_quant: inputs x, scale ([1] or a scalar; with axis, one for each element of that dimension): x / scale * top rounded
 * to an integer, where top = 2^(bits - 1) - 1; a float still. away: halves are rounded away from 0 and x is cut to
 * +-scale first; otherwise to the even neighbour, and cut to -top - 1 .. top. back: times scale / top again.
 * Arithmetic and order are Paddle's (ClipAndFakeQuantFunctor and its kin), so that results agree to the last bit. */
struct fake_quant_attrs {
    int32_t axis; /* of the scales; per_axis alone */
    int32_t bits;
    bool per_axis, away, back;
};

/* quantize: inputs x (float32), scale (float32), zero (optional, of dtype `to`): round_even(x / scale) + zero, kept in
 * to's range; with `multiply`, scale is a factor instead: round_even(x * scale); with `away`, halves
 * go away from 0 and int8 begins at -127, as Paddle's older operators have it. dequantize: inputs q (int8 or uint8),
 * scale, zero (optional, q's dtype): (q - zero) * scale. scale and zero have one element, or one for each of dimension
 * axis. */
struct quant_attrs {
    int32_t axis;
    int32_t to; /* enum result, of quantize alone: int8 or uint8 */
    bool multiply, away;
};

/* fake_dequant: inputs x (float32 or int8), scale (as above), second (optional, one element): x * scale (* second) /
 * range, a float32. */
struct fake_dequant_attrs {
    int32_t axis;
    float range;
    bool per_axis;
};
