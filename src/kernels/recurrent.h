/* What the ref and the cpu kernels of recurrent layers share: sizes, and the paths that decoders look for. */
#pragma once

#include "graph/attrs_recurrent.h"
#include "kernels/kernel.h"

enum rnn_input {
    RNN_X,
    RNN_WEIGHT,
    RNN_BIAS,
    RNN_H0,
    RNN_C0,
    RNN_LENGTHS,
};

struct rnn_sizes {
    int64_t steps, rows, width, gates; /* gates: of a row, gates * width numbers */
    struct rnn_attrs attrs;
    bool wide; /* int64 lengths */
};
void rnn_sizes(const struct kernel_ctx *ctx, struct rnn_sizes *out);
/* Whether row i still runs at step t. lengths may be NULL. */
bool rnn_runs(const struct rnn_sizes *s, const void *lengths, int64_t i, int64_t t);
/* INVALID unless all lengths are in 0 .. steps. */
status rnn_check_lengths(const struct rnn_sizes *s, const void *lengths, struct err *e);

enum gru_input {
    GRU_X,
    GRU_WEIGHT,
    GRU_OFFSETS,
    GRU_BIAS,
    GRU_H0,
};

struct gru_sizes {
    int64_t sequences, rows, width;
    struct gru_attrs attrs;
};
void gru_sizes(const struct kernel_ctx *ctx, struct gru_sizes *out);
