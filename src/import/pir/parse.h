/* The JSON of a PIR program as plain structs. Ids of values: above 0 for results of operators, below 0 for what a block
 * is given, 0 for an operand that is absent. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "tensor/shape.h"

#include <stdbool.h>
#include <stdint.h>

struct pir_type {
    struct str element; /* "0.t_f32"; empty where it is no tensor */
    struct shape shape; /* -1 where a request decides */
    int32_t lod_level;
    struct pir_type *item; /* of a list (0.t_vec): item_count of them */
    int item_count;
    bool is_list;
    bool is_array; /* tensors that operators append, element and shape are one's */
};

struct pir_value {
    int64_t id;
    struct pir_type type;
};

/* An attribute's value: the one field that its kind fills. */
struct pir_attr {
    struct str name;
    struct str kind; /* "0.a_i32"; of a list that of its elements, "" for an empty one */
    bool is_list;
    int64_t i; /* integers and truths */
    double f;  /* floats */
    struct str s;
    int64_t *ints; /* lists */
    double *floats;
    int count;
};

struct pir_block;

struct pir_op {
    struct str name; /* "1.conv2d"; "p" for a parameter */
    int64_t *in;
    struct pir_value *out;
    struct pir_attr *attr;
    struct pir_block *block; /* one for each region */
    struct str param;        /* a parameter's name */
    int in_count, out_count, attr_count, block_count;
    bool persistable;          /* of a parameter: it is in the parameter file */
    struct str text, operands; /* its JSON, and within it the array of its operands; views */
};

struct pir_block {
    struct pir_value *arg;
    struct pir_op *op;
    int arg_count, op_count;
};

struct pir_file {
    int64_t version;
    struct pir_block block;
};

/* The structs live in the arena, strings are views of the text where they can be. */
status pir_parse(struct str text, struct arena *a, struct pir_file *out, struct err *e);
