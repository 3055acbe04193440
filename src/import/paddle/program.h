/* Paddle's program file (ProgramDesc, protobuf) as plain structs.
 *
 * Names and strings are views of the file's bytes; arrays live in the caller's arena. Nothing here
 * knows what an operator means: lower.c and the ops_*.c tables do. Fields that no importer reads
 * (scalars, versions of operators) are skipped. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

#include <stdbool.h>
#include <stdint.h>

#define PROGRAM_BYTES_MAX ((size_t)256 << 20) /* of the file; real ones are some hundred KiB */
#define PROGRAM_ARENA_MAX ((size_t)2 << 30)   /* of the structs */

enum var_kind { /* VarType.Type, as far as anybody asks */
    VAR_LOD_TENSOR = 7,
    VAR_FEED_MINIBATCH = 9,
    VAR_FETCH_LIST = 10,
    VAR_TENSOR_ARRAY = 13,
};

struct var_desc {
    struct str name;
    int32_t kind;      /* enum var_kind or another number of VarType.Type; -1: not told */
    int32_t data_type; /* VarType.Type of the elements; -1: not told */
    bool persistable;
    struct shape shape; /* -1 where a request decides */
    int32_t lod_level;
};

enum attr_kind { /* AttrType */
    KIND_INT = 0,
    KIND_FLOAT = 1,
    KIND_STRING = 2,
    KIND_INTS = 3,
    KIND_FLOATS = 4,
    KIND_BOOLEAN = 6,
    KIND_BOOLEANS = 7,
    KIND_BLOCK = 8,
    KIND_LONG = 9,
    KIND_LONGS = 11,
    KIND_FLOAT64S = 12,
    KIND_FLOAT64 = 15,
};

struct attr_desc {
    struct str name;
    int32_t kind;  /* enum attr_kind or another number of AttrType */
    int64_t i;     /* INT, LONG, BOOLEAN, BLOCK */
    double f;      /* FLOAT, FLOAT64 */
    struct str s;  /* STRING */
    int64_t *ints; /* INTS, LONGS, BOOLEANS, whole SCALARS */
    int int_count;
    double *floats; /* FLOATS, FLOAT64S, other SCALARS */
    int float_count;
    struct str *strings; /* STRINGS */
    int string_count;
};

struct slot_desc {
    struct str name;
    struct str *arg; /* names of variables */
    int arg_count;
};

struct op_desc {
    struct str type;
    struct slot_desc *in, *out;
    struct attr_desc *attr;
    int in_count, out_count, attr_count;
};

struct block_desc {
    struct var_desc *var;
    struct op_desc *op;
    int var_count, op_count;
};

struct program {
    struct block_desc *block; /* at least one */
    int block_count;
    int64_t version; /* 2006002 for 2.6.2; 0 where the file does not say */
};

/* Decodes the bytes of a program file. Whatever is not a program is CORRUPT, with words that say
 * where. The result is good as long as the bytes and the arena are. */
status program_decode(struct str bytes, struct arena *a, struct program *out, struct err *e);

/* Element type for VarType.Type; false for those that no tensor of ours can hold. */
bool program_dtype(int32_t data_type, dtype *out);
/* The type that such elements are computed in: narrow floats are stored and fed as what they are and become float32. */
bool program_computed(int32_t data_type, dtype *out);

/* A persistable tensor, which is stored outside the program file. */
bool var_is_param(const struct var_desc *v);

const struct slot_desc *op_slot_in(const struct op_desc *op, const char *name); /* NULL: absent */
const struct slot_desc *op_slot_out(const struct op_desc *op, const char *name);
const struct attr_desc *op_attr(const struct op_desc *op, const char *name); /* NULL: absent */
