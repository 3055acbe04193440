/* Shapes before anybody knows the request: every dimension is a number or a symbol, and two dimensions with the same symbol
 * are equal whatever is fed. So a pass can tell that two values have one shape without knowing it. */
#pragma once

#include "graph/graph.h"

struct symbols;

struct symbols *symbols_new(const struct graph *g);
void symbols_free(struct symbols *s);

/* A negative dimension is a symbol. Rank -1: nothing is known. Of values that the graph had when symbols_new saw it. */
const struct shape *symbols_shape(const struct symbols *s, const struct value *v);
/* Whether both certainly have the same shape. */
bool symbols_same(const struct symbols *s, const struct value *a, const struct value *b);
