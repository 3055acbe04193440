/* Einstein's sums as canonical operators: pairs of operands become products of matrices, with what surrounds them. Labels
 * are letters; an ellipsis and a label that comes twice in an operand (its diagonal) are understood. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "graph/graph.h"

/* How an importer adds a node with one output (whose declared type is then in[0]'s), and refuses the equation. */
struct einsum_maker {
    void *site;
    status (*add)(void *site, const char *op, struct value *const *in, int count,
                  struct value **out);
    status (*refuse)(void *site);
};

/* The number of dimensions of every operand must be declared. *out may be an operand itself. */
status einsum_build(const struct einsum_maker *m, struct str equation, struct value *const *in,
                    int count, struct value **out);
