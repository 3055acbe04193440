/* Elementwise operators care for no layout: an image with its channels in blocks is to them an array of another shape, as
 * long as all operands are. */
#pragma once

#include "graph/op.h"
#include "kernels/layout.h"

/* For an elementwise node whose inputs lie as `have` says. Where it can work on an image's own layout: gives that (to be
 * that of output 0), how each input is wanted, and rewrites the types to the row-major shapes that the arrays then really
 * have. Else false, and nothing is changed. count: of in, have and want. */
bool spread(const struct node *n, struct type *in, int count, struct type *out,
            const enum layout *have, enum layout *want, enum layout *give);
