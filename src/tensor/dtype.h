/* Element types. The numbers are Paddle Serving's elem_type codes (0 to 11 and 20), so that the wire needs no table;
 * the unsigned ones that it lacks follow them. */
#pragma once

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

// clang-format off
/*   name   code  bytes  text          npy kind  Open Inference Protocol name */
#define DTYPE_MAP(X)                                     \
    X(I64,    0,   8,   "int64",       'i',   "INT64")   \
    X(F32,    1,   4,   "float32",     'f',   "FP32")    \
    X(I32,    2,   4,   "int32",       'i',   "INT32")   \
    X(F64,    3,   8,   "float64",     'f',   "FP64")    \
    X(I16,    4,   2,   "int16",       'i',   "INT16")   \
    X(F16,    5,   2,   "float16",     'f',   "FP16")    \
    X(BF16,   6,   2,   "bfloat16",    'V',   "BF16")    \
    X(U8,     7,   1,   "uint8",       'u',   "UINT8")   \
    X(I8,     8,   1,   "int8",        'i',   "INT8")    \
    X(BOOL,   9,   1,   "bool",        'b',   "BOOL")    \
    X(C64,   10,   8,   "complex64",   'c',   "COMPLEX64")  \
    X(C128,  11,  16,   "complex128",  'c',   "COMPLEX128") \
    X(U16,   12,   2,   "uint16",      'u',   "UINT16")  \
    X(U32,   13,   4,   "uint32",      'u',   "UINT32")  \
    X(U64,   14,   8,   "uint64",      'u',   "UINT64")  \
    X(BYTES, 20,   1,   "bytes",       'S',   "BYTES")
// clang-format on

typedef enum dtype {
#define X(name, code, bytes, text, kind, oip) DTYPE_##name = code,
    DTYPE_MAP(X)
#undef X
} dtype;

#define DTYPE_BIT(d) (1u << (d)) /* for sets of dtypes */

bool dtype_valid(int code);
size_t dtype_size(dtype d);      /* bytes of one element; 0 for a code that is none */
const char *dtype_name(dtype d); /* "float32"; "unknown" for a code that is none */
bool dtype_from_name(struct str name, dtype *out); /* either vocabulary: "float32", "FP32" */
const char *dtype_oip(dtype d);                    /* the Open Inference Protocol's name: "FP32" */
/* The descr of a .npy header ("<f4"), and back. */
bool dtype_from_npy(struct str descr, dtype *out);
void dtype_to_npy(dtype d, char out[8]);

/* Numbers of the narrow float types, exactly as IEEE 754 and bfloat16 define them (round to nearest even). */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);
/* Cut as x86 cuts it also where C leaves it open: beyond int64, and of NaN, INT64_MIN. */
int64_t f64_to_i64(double x);
