/* How much arithmetic a node is: for profiles, which compare it with what the machine can do. */
#pragma once

#include "graph/op.h"

/* Multiplications and additions; 0 for operators that only move elements, or whose work is not worth counting. */
double node_flops(const struct node *n, const struct type *in, const struct type *out);
