/* attention: softmax(scale * q k' + mask) v for each of B images and H heads; passes make it, files do not hold it.
 * Inputs: q [B,M,H,D], k [B,N,H,D], v [B,N,H,E], each as [B,H,...] where its flag says that heads come first, and with one
 * image or one head that serves all, or as part `q_part` (k_part, v_part) of [B,M,parts,H,D], which holds several of them; mask
 * (optional), which broadcasts to [B,H,M,N]. Output [B,M,H,E], or [B,H,M,E] where out_heads_first. */
#pragma once

#include "graph/op.h"

struct attention_attrs {
    float scale;
    bool q_heads_first, k_heads_first, v_heads_first, out_heads_first;
    int32_t q_part, k_part, v_part;
};

/* One operand: [batch, tokens, heads, width], where it begins, and how far apart its elements lie in each of the first three. */
struct attention_side {
    int64_t tokens, width;
    int64_t batch_step, token_step, head_step;
    int64_t offset;
};

struct attention_dims {
    int64_t batch, heads;
    struct attention_side q, k, v, out;
};
/* INVALID where the shapes do not agree. */
status attention_dims(const struct attention_attrs *a, const struct shape *q, const struct shape *k,
                      const struct shape *v, struct attention_dims *out, struct err *e);
