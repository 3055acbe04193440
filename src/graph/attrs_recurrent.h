/* Attribute structs of recurrent layers and of what reads their results. */
#pragma once

#include "graph/op.h"

enum rnn_mode {
    RNN_LSTM, /* gates in the order input, forget, candidate, output */
    RNN_GRU,  /* reset, update, candidate */
    RNN_TANH,
    RNN_RELU,
};
extern const char *const rnn_names[];

/* rnn: one layer in one direction over padded steps. Inputs: x [T, N, G * H], already projected, its bias added; w
 * [G * H, H]; bias of the recurrent product [G * H] (optional); h0, c0 [N, H] (optional; c0 for lstm alone); lengths [N]
 * (int64 or int32, optional): behind its length a row keeps its state and gives zeros. Outputs: y [T, N, H], the last h
 * and the last c [N, H] (zeros but for lstm). reverse: from the last step to the first. GRU: h = (1 - update) * candidate
 * + update * h; the reset gate is applied behind the recurrent product, or before it (reset_first). */
struct rnn_attrs {
    int32_t mode; /* enum rnn_mode */
    bool reverse, reset_first;
};

/* gru: Paddle's dynamic_gru over ragged rows. Inputs: x [T, 3D] (projected; update, reset, candidate), w (3D * D elements:
 * [D, 2D] for update and reset, then [D, D] for the candidate), offsets (optional: without them each row is a sequence),
 * bias [1, 3D] (optional), h0 [n, D] (optional). Output: hidden [T, D]. h = (1 - update) * h + update * candidate, or with
 * origin the other way round. */
struct gru_attrs {
    bool reverse, origin;
    int32_t gate_act, candidate_act; /* enum act */
};

/* crf_decode: the best path through a chain. Inputs: emission [T, K], offsets, transition [K + 2, K]: what it costs to
 * begin, to end, then from row to column. Output: int64 [T, 1]. crf_decode_padded: emission [N, T, K], lengths [N] for
 * the offsets; output int64 [N, T], zeros behind each length.
 * viterbi: the same over padded steps. Inputs: potentials [N, T, K], transition [K, K], lengths [N]. With tags the last
 * two of K stand for the end and the beginning. Outputs: scores [N], paths int64 [N, the longest], zeros
 * behind each length. */
struct viterbi_attrs {
    bool tags;
};

/* row_conv: inputs x [T, D], offsets, filter [k, D]; out[t] = sum of x[t + i] * filter[i] inside the sequence. */
