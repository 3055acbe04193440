/* Model files to graph. A format is a row: detect by the files at a path, then load.
 *
 * Parameters are mapped and used in place: the result holds the mappings, and the graph's constants point into them. */
#pragma once

#include "base/err.h"
#include "base/file.h"
#include "graph/graph.h"

#include <stdbool.h>

/* One input or output as clients see it. */
struct port {
    const char *name;  /* the model's own */
    const char *alias; /* the client's; equals name where nothing else is said */
    dtype dtype;
    struct shape shape; /* with the batch dimension; -1 where a request decides */
    bool ragged;        /* takes or gives LoD */
    int32_t lod_levels; /* of the value in the graph */
    int value;          /* index in graph->inputs or graph->outputs */
};

struct imported {
    struct graph *graph;
    struct port *inputs,
        *outputs; /* in the configuration's order where there is one, else in column order */
    int input_count, output_count;
    struct file_map **maps;
    int map_count;
    const char *format;                /* "paddle", ... */
    const char *program;               /* the program file, for words; NULL: the path itself */
    const char *conf_path;             /* the serving configuration that was read, or NULL */
    uint64_t param_bytes, param_count; /* elements are counted in param_count */
};

/* path: a model directory, or the program file itself. On failure nothing is left behind. The words begin with the file
 * that is at fault. */
status import_model(const char *path, struct imported *out, struct err *e);
void import_free(struct imported *m);
/* Notes all operators of the model at path that nobody translates; reads no parameters. */
struct unknown_list;
status import_check(const char *path, struct unknown_list *unknown, struct err *e);
/* Whether a model of some format lies at path itself. */
bool import_detect(const char *path);
/* Kernels have made copies of their own of many parameters: what is mapped need not stay in memory. Any thread, while others
 * read. */
void import_forget(const struct imported *m);
/* Makes the parameters independent of their files (file_map_detach). */
status import_detach(struct imported *m, struct err *e);
