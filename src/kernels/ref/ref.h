/* What the plain kernels share. They are the truth that fast kernels are compared with: written to be read, sums in
 * double. */
#pragma once

#include "graph/attrs.h"
#include "kernels/kernel.h"

#include <math.h>

#define F32_ONLY DTYPE_BIT(DTYPE_F32)

static inline double ref_act(int32_t kind, double x)
{
    switch (kind) {
    case ACT_RELU: return x > 0 || isnan(x) ? x : 0;
    case ACT_TANH: return tanh(x);
    case ACT_SIGMOID: return 1 / (1 + exp(-x));
    default: return x;
    }
}

/* INVALID unless the offsets rise from 0 to rows: they may come from another branch of a model than the rows do. */
status ref_check_offsets(const int64_t *offset, int64_t sequences, int64_t rows, struct err *e);
