/* Private to the room: the passes, one file each. */
#pragma once

#include "passes/passes.h"

#include <string.h>

status drop_identity(struct graph *g, int *changes, struct err *e);
status fold_scale(struct graph *g, int *changes, struct err *e);
status fuse_attention(struct graph *g, int *changes, struct err *e);
status fuse_bias(struct graph *g, int *changes, struct err *e);
status fuse_act(struct graph *g, int *changes, struct err *e);
status fuse_residual(struct graph *g, int *changes, struct err *e);
status take_integers(struct graph *g, int *changes, struct err *e);
status hoist_dequantize(struct graph *g, int *changes, struct err *e);
status drop_requantise(struct graph *g, int *changes, struct err *e);
status keep_integers(struct graph *g, int *changes, struct err *e);

/* Whether n, which may be NULL, is the operator `op`. Here, so that an analyser of one file sees that it is not NULL then. */
static inline bool is_op(const struct node *n, const char *op)
{
    return n != NULL && strcmp(n->op->name, op) == 0;
}
/* For a fusion: the node that makes v, where it is the operator `op` and nobody but one node uses v; else NULL. */
struct node *sole_producer(const struct value *v, const char *op, const int *uses);
/* A constant vector; data is borrowed. */
status add_floats(struct graph *g, const float *data, int64_t count, struct value **out,
                  struct err *e);
/* v becomes n's input `index`; those in front of it that n does not have are absent. */
status put_input(struct graph *g, struct node *n, int index, struct value *v, struct err *e);
/* The field of n's attributes; NULL where its operator has none of this name. */
void *pass_field(const struct node *n, const char *name);
