/* Graph to graph. Each pass is a file and a row; the list and its order are in passes.c. A pass keeps the meaning of the
 * graph to the last bit or says in its file what it changes and by how much. */
#pragma once

#include "base/err.h"
#include "graph/graph.h"

struct pass {
    const char *name;
    const char *what; /* one line for `oar inspect --passes` */
    /* Rewrites g; *changes counts what it did. */
    status (*run)(struct graph *g, int *changes, struct err *e);
    bool integers; /* only where a quantised model is computed on its integers */
};

/* All rows, in order, then graph_check; first on the graphs inside. integers: those for integers too. */
status passes_run(struct graph *g, bool integers, struct err *e);
/* In front of passes_run with integers, once before constants are folded, and once behind. *changes counts. */
status passes_take_integers(struct graph *g, int *changes, struct err *e);
const struct pass *pass_at(size_t index); /* NULL behind the last */
