/* A tensor: dtype, shape, and a view of dense little-endian row-major elements that somebody else keeps alive.
 *
 * Raggedness (LoD, "level of detail"): a ragged tensor holds the rows of all its sequences one after another, and each
 * level is a list of rising offsets that starts at 0: level 0 of {0, 3, 8} says two sequences of 3 and 5 rows. The
 * offsets of the last level end at the number of rows; those of an outer level end at the number of sequences inside.
 *
 * Views are plain values: whoever makes one says in its contract how long the bytes live (a request's arena, an
 * executor's workspace until its next run, a model until it is freed). */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

#include <stdint.h>

#define LOD_MAX 4

struct lod_level {
    const int64_t *offset; /* count of them, rising, offset[0] == 0 */
    int64_t count;         /* number of sequences + 1 */
};

struct lod {
    int32_t levels; /* 0: not ragged */
    struct lod_level level[LOD_MAX];
};

struct tensor {
    dtype dtype;
    struct shape shape;
    /* shape_numel * dtype_size bytes; aligned to the element, but see tensor_is_aligned */
    const void *data;
    struct lod lod;
};

/* What a graph of operators passes around, and what every protocol's request and reply decodes to. */
struct named_tensor {
    struct str name;  /* the model's own name */
    struct str alias; /* the name clients use; may be empty */
    struct tensor tensor;
};

/* Bytes of the elements; -1 when the shape is not fully known or too large. */
int64_t tensor_bytes(const struct tensor *t);
/* False for a large parameter that lies in its file as it happens to: whoever reads its elements takes an aligned copy, or
 * reads each with float_at. Everything that a kernel or a request holds is aligned. */
bool tensor_is_aligned(const struct tensor *t);

static inline float float_at(const void *elements, int64_t i)
{
    float f;
    memcpy(&f, (const char *)elements + i * (int64_t)sizeof(f), sizeof(f));
    return f;
}

/* Checks the whole LoD of t against its rows: each level rises from 0 and ends where the next begins. The words name
 * `what` ("feed 'words'"), the level, and both numbers. */
status lod_check(const struct lod *lod, int64_t rows, const char *what, struct err *e);
