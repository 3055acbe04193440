/* The numbers of an ONNX model's tensors: raw in the model file, as lists of numbers in it, or in files beside it.
 *
 * Raw numbers are used in place where they are aligned to their element, else copied to the graph's arena. Files beside the
 * model are mapped once each; a name never leads out of the model's directory. */
#pragma once

#include "base/file.h"
#include "import/onnx/proto.h"
#include "tensor/tensor.h"

struct onnx_tensors {
    const char *dir;
    struct arena *arena; /* where copies and mapping lists live: the graph's */
    struct file_map **map;
    struct str *name; /* of the mappings behind the model file's own, as the model calls them */
    int map_count, map_cap;
    uint64_t bytes, elements; /* of all that were read */
};

/* Words name the tensor, but not the model's file. */
status onnx_tensor_read(struct onnx_tensors *r, const struct onnx_tensor *t, struct tensor *out,
                        struct err *e);
