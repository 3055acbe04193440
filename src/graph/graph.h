/* The intermediate representation: a list of nodes in execution order over values, from any file format.
 *
 * Raggedness is explicit here: where Paddle carries LoD beside a tensor, a ragged value points to the values that hold
 * its offsets (int64, one per level), and sequence operators take offsets as an ordinary input. So no kernel, pass or
 * plan knows about LoD; only importers (which apply Paddle's sharing rules) and the executor's ends (which bind a feed's
 * offsets and hand out a fetch's) do.
 *
 * A graph and all that hangs on it live in its own arena; constants are views of mapped files or arena copies. Built and
 * rewritten by one thread, then immutable and free for any reader. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "tensor/tensor.h"

#include <stdbool.h>
#include <stdint.h>

struct op;
struct node;

struct value {
    const char *name;              /* unique in the graph where the file named it; never NULL */
    struct node *producer;         /* NULL: an input or a constant */
    const struct tensor *constant; /* a parameter or a folded result; NULL: computed or fed */
    struct value *lod[LOD_MAX];    /* offsets of each level, for a ragged value */
    int32_t lod_levels;
    dtype dtype;        /* as the file declares it; a plan's inference decides */
    struct shape shape; /* as the file declares it, -1 where a request decides */
    uint32_t id;        /* index in graph->values */
};

struct node {
    const struct op *op;
    const char *name;   /* for people: "conv2d_0" */
    const char *origin; /* the file's operator and its place: "conv2d (operator 3)"; for messages */
    struct value **in;
    struct value **out;
    int in_count, out_count;
    const void *attrs; /* the struct that op->attrs describes; NULL when it has none */
};

struct graph {
    struct arena arena;
    struct value **values;
    uint32_t value_count, value_cap;
    struct node **
        nodes; /* execution order: every input of a node is an input, a constant or made before it */
    uint32_t node_count, node_cap;
    struct value **inputs; /* feeds in column order; a ragged one's offsets are its value->lod */
    int input_count;
    struct value **outputs; /* fetches in column order */
    int output_count;
};

struct graph *graph_new(void);
void graph_free(struct graph *g);

/* A new value; the name is copied. NULL name: one is made up ("%12"). Refused beyond LIMIT_GRAPH_VALUES. */
status graph_add_value(struct graph *g, const char *name, dtype d, const struct shape *s,
                       struct value **out, struct err *e);
/* A value that is the constant t (a plain view, copied as a struct; the bytes must outlive the graph). */
status graph_add_constant(struct graph *g, const char *name, const struct tensor *t,
                          struct value **out, struct err *e);
/* Appends a node with op->out_count fresh values under made-up names; attrs of op->attrs_size bytes are zeroed
 * for the caller to fill (reach them by node_attrs). in[i] may be NULL for an optional input. origin is borrowed. */
status graph_add_node(struct graph *g, const struct op *op, const char *origin,
                      struct value *const *in, int in_count, struct node **out, struct err *e);
/* The same for an operator that makes as many values as the node says (OUT_ANY). */
status graph_add_node_outs(struct graph *g, const struct op *op, const char *origin,
                           struct value *const *in, int in_count, int out_count, struct node **out,
                           struct err *e);

void *node_attrs(struct node *n);

/* A graph of its own for a node's attribute: the body of a loop, a branch. It sees nothing of g but what the node hands
 * to it: its inputs are the node's inputs, in the order that the operator says. g frees it. */
struct graph *graph_new_inner(struct graph *g);
/* The i-th graph among n's attributes; NULL behind the last. */
struct graph *node_graph(const struct node *n, int i);

status graph_set_inputs(struct graph *g, struct value *const *values, int count);
status graph_set_outputs(struct graph *g, struct value *const *values, int count);

/* Arity, order, no missing values, attribute schema, outputs reachable: what an importer owes. The words name the node. */
status graph_check(const struct graph *g, struct err *e);

/* ---- for passes ---- */

/* Appends one more input to n (refused beyond 255). */
status graph_add_input(struct graph *g, struct node *n, struct value *v, struct err *e);
/* n makes from now on what `user`, a node with one output behind it, made; user makes nothing any more, and the next
 * graph_sweep takes it away. */
void graph_absorb(struct node *n, struct node *user);
/* Every use of a value v (as a node's input, a LoD, an output) becomes by_id[v->id] where that is not NULL; chains are
 * followed. One walk over the graph, so a pass collects its replacements first. */
void graph_forward(struct graph *g, struct value **by_id);
/* uses[id]: how often the value is an input, an output, or the LoD of an output. */
void graph_count_uses(const struct graph *g, int *uses);
/* Removes nodes whose results nobody uses. */
void graph_sweep(struct graph *g);

/* Graphviz text, for `oar inspect --dot`. */
struct buf;
void graph_to_dot(const struct graph *g, struct buf *out);
