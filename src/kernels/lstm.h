/* What both kernels of lstm share: one step of one sequence, but for the product with the recurrent weight. */
#pragma once

#include "graph/attrs.h"
#include "kernels/kernel.h"

struct lstm_sizes {
    int64_t sequences, rows, width;
    struct lstm_attrs attrs;
};

enum lstm_input {
    LSTM_X,
    LSTM_OFFSETS,
    LSTM_WEIGHT,
    LSTM_BIAS,
    LSTM_H0,
    LSTM_C0
};

void lstm_sizes(const struct kernel_ctx *ctx, struct lstm_sizes *out);

/* gates: [4 * width], candidate, input, forget, output, with everything added but peepholes. c_before: [width]. Writes
 * cell and hidden of this step. Formula: Paddle's dynamic_lstm (Hochreiter and Schmidhuber, with peepholes by Gers). */
void lstm_step(const struct lstm_sizes *s, const float *gates, const float *bias,
               const float *c_before, float *cell, float *hidden);
