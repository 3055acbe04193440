/* What the variables of a block stand for while it is lowered. A block inside another (the body of a loop, a branch)
 * becomes a graph of its own that sees nothing but its inputs: a variable of a block around it is captured when it is first
 * looked at, as one more input, for which the node hands in what the variable stands for outside. */
#pragma once

#include "base/map.h"
#include "graph/graph.h"
#include "import/paddle/program.h"

struct capture {
    struct value *outer, *inner; /* outer: in the graph around */
};

struct scope {
    struct scope *parent; /* NULL: block 0 */
    struct graph *graph;
    struct arena *scratch;    /* of the import: gone when it ends */
    const struct map *params; /* name -> struct tensor */
    struct map vars;          /* name -> struct var_desc of this block */
    struct map bound;         /* name -> struct binding */
    struct capture *capture;
    int capture_count, capture_cap;
    int depth; /* blocks around this one */
};

/* Declares the variables of the block. Everything but the graph lives in parent's scratch arena, or, for block 0, in
 * `scratch`. */
status scope_init(struct scope *s, struct scope *parent, struct graph *g, struct arena *scratch,
                  const struct map *params, const struct block_desc *block, struct err *e);

/* What name stands for now: bound here, a parameter (made a constant first), or captured. NULL: nothing. */
status scope_resolve(struct scope *s, struct str name, struct value **out, struct err *e);
/* Whether name stands for something here or around, without a look at it. */
bool scope_knows(const struct scope *s, struct str name);
/* Whether it is bound in this very block: captured, or written. */
bool scope_has(const struct scope *s, struct str name);
void scope_bind(struct scope *s, struct str name, struct value *v);
/* A name for a new value of this variable: its own for the first, name@2 for the next; names are unique in a graph. */
const char *scope_name(const struct scope *s, struct str name);
/* The declaration, in this block or the nearest one around; NULL: none. */
const struct var_desc *scope_var(const struct scope *s, struct str name);
/* The inner value for `outer`: its offsets come along. */
status scope_capture(struct scope *s, struct value *outer, struct value **inner, struct err *e);
