/* Operators that run graphs: loops and branches. A step of one is run by a row of control.c instead of a kernel; its
 * graphs are planned and run like any other, with the step's inputs as what they are given. */
#pragma once

#include "exec/plan.h"

struct exec;

/* One step with graphs at run time. out: node->out_count cells to fill; their bytes must live as long as this run. */
struct control_call {
    struct exec *exec;
    struct model *model;
    const struct node *node;
    const struct cell *in; /* node->in_count of them */
    struct cell *out;
    struct err *err;
};

struct control {
    const char *op;
    status (*run)(const struct control_call *c);
};

const struct control *control_find(const char *op); /* NULL: no row */
