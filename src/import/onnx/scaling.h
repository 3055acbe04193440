/* How a tensor of integers stands for numbers: (q - zero) * scale. */
#pragma once

#include "import/onnx/site.h"

struct scaling {
    struct value *scale, *zero; /* zero NULL: 0 */
};

/* Of inputs `scale` and `zero` (which may be left out), laid along an axis of x where they are lists. */
status scaling_read(struct onnx_site *s, int scale, int zero, const struct value *x, int64_t axis,
                    struct scaling *out);
/* To uint8, with a range that holds all of x and 0. */
status scaling_of_range(struct onnx_site *s, struct value *x, struct scaling *out);
/* Integers to float32. scale NULL: 1. */
status scaling_undo(struct onnx_site *s, struct value *x, const struct scaling *by,
                    struct value **out);
/* Numbers to integers of dtype `to`, rounded to even neighbours and kept in its range. */
status scaling_apply(struct onnx_site *s, struct value *x, const struct scaling *by, dtype to,
                     struct value **out);
