/* Attribute structs of the operators on floats of 8 and 4 bits (tensor/narrow.h), which the engine holds as float32. */
#pragma once

#include "graph/op.h"
#include "tensor/narrow.h"

/* round_narrow: x float32, each as the nearest number of the format. to_codes: the same as codes, uint8. from_codes: uint8
 * codes to float32. */
struct narrow_attrs {
    int32_t format; /* enum narrow */
    bool saturate;
    int32_t round; /* enum narrow_round */
};
