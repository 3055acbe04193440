/* Walking two operands that broadcast to one result: dimensions that both operands step through alike are merged, so
 * that the innermost one is as long as can be. */
#pragma once

#include "tensor/shape.h"

struct broadcast {
    int rank; /* at least 1 */
    int64_t dim[SHAPE_MAX];
    int64_t step_a[SHAPE_MAX], step_b[SHAPE_MAX]; /* in elements; 0 where the operand repeats */
};

/* a and b are known to broadcast to out. */
void broadcast_plan(const struct shape *a, const struct shape *b, const struct shape *out,
                    struct broadcast *plan);
/* Steps index (rank - 1 outer dimensions, zeroed at first) to the next row of the innermost dimension and moves the
 * operands' positions along; false behind the last. */
bool broadcast_next(const struct broadcast *plan, int64_t *index, int64_t *at_a, int64_t *at_b);
