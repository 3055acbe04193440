/* Half precision (float16, bfloat16) is stored and sent, never computed in: no kernel gains by it on the processors that
 * we know, and single precision is the better answer. So constants are widened when a model is imported, casts and fills
 * to half become such to float32, and inputs and outputs that are declared half keep their type for clients, with a cast
 * behind or before them. */
#pragma once

#include "base/err.h"
#include "graph/graph.h"

status half_widen(struct graph *g, struct err *e);
