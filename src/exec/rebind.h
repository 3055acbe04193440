/* A plan for shapes never seen before, out of one for others: what changes with the shapes is inferred and prepared anew, by
 * the kernels that the other plan chose where they take it, and all else is shared: the other steps, the order, and the places
 * in the workspace, which have some room to spare. For small models of texts, where planning takes longer than running. */
#pragma once

#include "exec/plan.h"

/* What a plan keeps of its making for those that are made out of it. */
struct recipe {
    const struct type *type; /* by value id; rank below 0: there is none */
    const size_t *room;      /* by value id: bytes that its place has */
    /* by node: its step; STEP_VIEW: an input under another shape; STEP_DONE: nothing is left to run */
    const int *step;
    size_t scratch_room;
};
#define STEP_VIEW (-1)
#define STEP_DONE (-2)

/* Whether r differs from what base was made for in dimensions alone, and not so much that base would be a bad pattern. */
bool rebind_suits(const struct plan *base, const struct plan_request *r);
/* Without words, TOO_LARGE: these shapes do not go into base's places, or not together; UNSUPPORTED: no plan of this model is a pattern for
 * others. The new plan keeps base. */
status rebind(struct plan *base, const struct plan_request *r, struct plan **out);
