/* From a lowered graph and the serving configuration to what clients see. No format's business:
 * every importer ends here. */
#pragma once

#include "import/conf.h"
#include "import/import.h"

/* What an importer knows of the graph's ends: the file's names of graph->inputs and graph->outputs,
 * by index (an output's value may have got another name). */
struct port_names {
    const char **input, **output;
};

/* Fills the ports of m, whose graph has its inputs and outputs set. Configuration and program must
 * agree: an unknown variable, another type, another raggedness or size is CONFLICT, and the words
 * name both. model: the program's path, for the words. Everything lives in the graph's arena. */
status ports_make(const struct port_names *names, const struct conf *c, const char *model,
                  struct imported *m, struct err *e);
