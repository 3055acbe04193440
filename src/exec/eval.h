/* Computing a node while planning or loading, out of constants: by the kernel that a plan would use. */
#pragma once

#include "exec/model.h"
#include "kernels/kernel.h"

struct eval {
    struct packs *packs;
    const struct model_options *options;
    struct arena *keep; /* results live here */
};

/* Whether planning can compute n: nothing but constants is looked at, and running it twice gives the same. */
bool eval_can(const struct node *n, const struct type *in);
/* Whether results of these types are worth keeping in every plan. */
bool eval_is_small(const struct node *n, const struct type *out);
/* Fills out[i].constant of each output, and corrects its shape where only running tells. in: padded as kernels want it;
 * out: as inference gave it. NO_MEMORY where a result does not fit. */
status eval_node(const struct eval *v, const struct node *n, const struct type *in,
                 struct type *out, struct err *e);

/* The first kernel that takes the node, or with options->ref_only the last. */
status choose_kernel(const struct model_options *options, const struct kernel_ctx *ctx,
                     const struct kernel **out, struct buf *explain, struct err *e);
/* Arguments that a kernel of n looks at: an operator with few inputs has one for each optional one too, absent or not,
 * so that its kernels need not count. */
int padded_in_count(const struct node *n);

/* Whether n's inference looks at the elements of its input i. */
static inline bool op_needs(const struct op *op, int i)
{
    return i < 8 && (op->flags & OP_NEEDS(i));
}

/* What a kernel may take for a constant: it packs weights by their address, which must be the model's, and not that of
 * something that was computed for this plan and is gone with it. Elements that inference needs may be looked at. in: padded. */
void types_for_kernel(const struct node *n, struct type *in);
/* Constants that k's prepare looks at are aligned; copies are packs, their tensors in the arena. NO_MEMORY. */
status types_align(struct packs *packs, struct arena *a, const struct kernel *k, struct type *in,
                   int count);

/* Replaces what only constants decide by constants, once for all plans: weights that are dequantised, scales that are
 * multiplied. Results much larger than what they are made from stay as they are. */
status fold_constants(struct graph *g, struct packs *packs, const struct model_options *options,
                      struct err *e);
