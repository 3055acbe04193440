/* ONNX's model file (ModelProto, protobuf) as plain structs. Field numbers: onnx.proto of the ONNX project.
 *
 * Names, texts and raw numbers are views of the file's bytes; arrays live in the caller's arena. Nothing here knows what
 * an operator means: lower.c and the ops_*.c tables do. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

#include <stdbool.h>
#include <stdint.h>

#define ONNX_BYTES_MAX ((size_t)2 << 30) /* a protobuf message cannot be larger */
#define ONNX_ARENA_MAX ((size_t)4 << 30) /* of the structs */

enum onnx_attr_type { /* AttributeProto.AttributeType */
    ONNX_FLOAT = 1,
    ONNX_INT = 2,
    ONNX_STRING = 3,
    ONNX_TENSOR = 4,
    ONNX_GRAPH = 5,
    ONNX_FLOATS = 6,
    ONNX_INTS = 7,
    ONNX_STRINGS = 8,
};

/* A TensorProto. Its numbers are in raw, in one of the lists, or in another file. */
struct onnx_tensor {
    struct str name;
    int32_t data_type; /* TensorProto.DataType */
    struct shape shape;
    struct str raw;
    struct str message; /* for the lists: fields 4, 5, 7, 10, 11 of it */
    bool external;
    struct str location;    /* relative to the model's directory */
    int64_t offset, length; /* -1: to the file's end */
};

struct onnx_graph;

struct onnx_attr {
    struct str name;
    /* of a function's node: the attribute of the call that stands here; n == 0: none */
    struct str ref;
    int32_t type; /* enum onnx_attr_type, or another number; 0: an old file that does not say */
    int64_t i;
    float f;
    struct str s;
    const struct onnx_tensor *tensor;
    struct onnx_graph *graph;
    int64_t *ints;
    float *floats;
    struct str *strings;
    int int_count, float_count, string_count;
};

struct onnx_node {
    struct str type, domain, name;
    struct str *in, *out; /* n == 0: an optional one that is left out */
    struct onnx_attr *attr;
    int in_count, out_count, attr_count;
};

/* An input, an output, or what is told of a value in between. */
struct onnx_port {
    struct str name;
    int32_t data_type; /* 0: not told, or no tensor */
    bool has_shape;
    struct shape shape; /* -1 where a request decides */
};

struct onnx_graph {
    struct str name;
    struct onnx_node *node;
    struct onnx_tensor *initializer;
    struct onnx_port *in, *out, *info;
    int node_count, initializer_count, in_count, out_count, info_count;
};

/* A function of the model's own, which a node may call by domain and name. */
struct onnx_function {
    struct str name, domain;
    struct str *in, *out;
    struct onnx_node *node;
    struct onnx_attr *attr; /* defaults */
    int in_count, out_count, node_count, attr_count;
};

struct onnx_model {
    struct onnx_graph graph;
    struct onnx_function *function;
    int function_count;
    int64_t ir_version;
    int64_t opset; /* of the default domain; 1 where the file does not say */
    int64_t ml_opset;
};

/* Decodes the bytes of a model file. Whatever is not a model is CORRUPT, with words that say where. The result is good as
 * long as the bytes and the arena are. */
status onnx_decode(struct str bytes, struct arena *a, struct onnx_model *out, struct err *e);

/* Element type for TensorProto.DataType; of those below a byte (narrow.h), the one that holds them. false for those that
 * no tensor of ours can hold. */
bool onnx_dtype(int32_t data_type, dtype *out);

const struct onnx_attr *onnx_attr_find(const struct onnx_node *n,
                                       const char *name); /* NULL: absent */
