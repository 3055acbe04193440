/* A decoded ONNX model to a graph: inputs become the graph's inputs, each node is translated by its row (ops.h), a node
 * that calls a function of the model's own becomes the function's nodes. */
#pragma once

#include "import/onnx/proto.h"
#include "import/onnx/tensors.h"
#include "import/ports.h"
#include "import/unknown.h"

/* Notes the operators that nobody translates and that are no functions of the model. */
void onnx_find_unknown(const struct onnx_model *m, struct unknown_list *l);
/* Fills g, whose arena then holds all names; the model may go away, what tensors point into may not. *names: the file's
 * names of g's inputs and outputs. Words do not name the file: the caller prefixes. */
status onnx_lower(const struct onnx_model *m, struct onnx_tensors *tensors, struct graph *g,
                  struct port_names *names, struct err *e);
