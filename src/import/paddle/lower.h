/* A decoded program and its parameters to a graph: block 0 is walked once, feed and fetch become
 * the graph's ends, every other operator is translated by its row (ops.h). */
#pragma once

#include "import/conf.h"
#include "import/paddle/params.h"
#include "import/paddle/program.h"
#include "import/ports.h"

struct lower_in {
    const struct program *program;
    const struct params *params;
    const struct conf *conf; /* makes a feed ragged where it says so; NULL: none */
};

/* Notes the operators that nobody translates; names are the program's. */
struct unknown_list;
void lower_check(const struct program *p, struct unknown_list *unknown);
/* Fills g, whose arena then holds all names; the program may go away, the parameters' tensors may
 * not. *names: the file's names of g's inputs and outputs. Words do not name the file: the caller
 * prefixes. */
status lower_program(const struct lower_in *in, struct graph *g, struct port_names *names,
                     struct err *e);
