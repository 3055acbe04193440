/* Private to lowering: what the walk over a program keeps (lower.c), and the operators that hold blocks (control.c). */
#pragma once

#include "import/paddle/lower.h"
#include "import/paddle/scope.h"
#include "import/paddle/site.h"

/* A feed or fetch operator: where its variable belongs. */
struct end {
    int64_t col;
    struct str name;
    struct value *value;
};

struct ends {
    struct end *end;
    int count;
};

struct lower {
    const struct lower_in *in;
    struct graph *graph;
    struct arena scratch;
    struct ends feeds, fetches;
    bool *lowered; /* by block: each is the body of one operator */
    struct err *err;
};

/* The operators of the block numbered `index`, into the scope's graph. */
status lower_block(struct lower *l, struct scope *scope, int index);

control_fn *control_lowering(struct str type); /* NULL: it is none */
