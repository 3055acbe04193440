/* Private to the room: what the passes over quantised models share. */
#pragma once

#include "graph/attrs.h"
#include "graph/attrs_quant.h"
#include "graph/graph.h"

/* What one number for a whole tensor says integers stand for. */
struct step {
    float scale;
    int32_t zero;
    bool multiply; /* scale is a factor, of quantize alone */
    dtype dtype;
};

/* Whether n is the operator `op` (quantize, dequantize) with one constant scale; gives it. */
bool read_step(const struct node *n, const char *op, struct step *out);
/* The same of the node that makes v. */
bool made_by_step(const struct value *v, const char *op, struct step *out);

/* What n's attributes say of integers; NULL: it is neither a product nor a convolution. */
struct integers *integers_field(struct node *n);
