/* ONNX's element types of less than a byte's worth: floats of 8 and 4 bits, integers of 4 and 2. The graph holds the floats
 * as float32 whose numbers the format has, the integers as int8 or uint8. At the graph's ends the floats are codes, uint8
 * (tensor/narrow.h). Which values are such is remembered while importing (onnx_mark), for CastLike and zero points. */
#pragma once

#include "import/onnx/site.h"
#include "tensor/narrow.h"

#include <stdbool.h>
#include <stdint.h>

struct onnx_narrow {
    int32_t data_type; /* TensorProto.DataType */
    bool is_float;
    enum narrow format; /* of a float */
    dtype held;
    int bits;
    double low, high; /* of an integer */
};

/* NULL: none of these. */
const struct onnx_narrow *onnx_narrow_find(int32_t data_type);

/* numel packed elements (the first in the lowest bits) to elements of the held dtype. */
void onnx_narrow_unpack(const struct onnx_narrow *t, const uint8_t *packed, int64_t numel,
                        void *out);

void onnx_mark(struct onnx_import *import, const struct value *v, const struct onnx_narrow *t);
const struct onnx_narrow *onnx_marked(const struct onnx_import *import, const struct value *v);

/* x as numbers of the type: rounded, or cut to the bits; marked. */
status onnx_to_narrow(struct onnx_site *s, struct value *x, const struct onnx_narrow *t,
                      struct value **out);
