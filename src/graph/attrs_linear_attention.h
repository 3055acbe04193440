/* linear_attention: attention without a softmax, as a state that each token changes and reads. Inputs, with H heads of
 * keys and a multiple of them of queries: q [B, T, Hq * K], k [B, T, H * K], v [B, T, H * V]; the state to begin with [B, H,
 * K, V] (optional: zeros); decay g [B, T, H * K] or [B, T, H] (optional); beta [B, T, H] or [B, T, 1] (optional). Outputs:
 * [B, T, Hq * V] and the last state [B, H, K, V].
 *
 * Of one head, token by token: S = exp(g) S where there is a decay; v' = v, or, where there is a beta, beta (v - S' k);
 * S = S + k v'; out = scale S' q. Each head of keys serves Hq / H neighbouring heads of queries. */
#pragma once

#include "graph/op.h"

struct linear_attention_attrs {
    int32_t q_heads, kv_heads;
    float scale; /* 0: 1 / sqrt(K) */
};

enum linear_attention_input {
    LINEAR_Q,
    LINEAR_K,
    LINEAR_V,
    LINEAR_STATE,
    LINEAR_DECAY,
    LINEAR_BETA,
};

struct linear_attention_dims {
    int64_t batch, tokens, q_heads, kv_heads, key, value; /* the last two: of one head */
    bool decay_by_key, beta_by_head;
};
/* INVALID where the shapes do not agree. */
status linear_attention_dims(const struct node *n, const struct type *in,
                             struct linear_attention_dims *out, struct err *e);
