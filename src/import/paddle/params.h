// clang-format off
/* Paddle's parameter files: LoDTensor streams, one a file or all in one.
 *
 *     u32 version 0 | u64 LoD levels, each: u64 bytes + that many | u32 version 0
 *     i32 size of TensorDesc | TensorDesc (protobuf: 1 data_type, 2 dims) | data, row-major
 *
 * A combined file has them back to back in byte-wise order of the variables' names, and names
 * nothing itself. All little-endian. Constants point into the mapping where their bytes are aligned
 * to the element, and where they are large (tensor_is_aligned); the headers are of odd lengths, so in a
 * combined file most are not, and small ones get an aligned copy. */
// clang-format on
#pragma once

#include "base/arena.h"
#include "base/file.h"
#include "base/map.h"
#include "import/paddle/program.h"
#include "tensor/tensor.h"

#include <stdint.h>

struct params {
    struct map by_name;    /* name of the variable -> struct tensor */
    struct file_map **map; /* those that tensors point into; the caller unrefs them */
    int map_count;
    uint64_t bytes, elements; /* of all tensors together */
};

/* Where to read from: one file, or (file NULL) one file per variable in dir. */
struct params_source {
    const char *dir, *file;
};

/* Reads every parameter of the program's block 0. Tensors and copies live in `a`, which must
 * outlive out->map. On failure no mapping is left. Words begin with the file. */
status params_load(const struct params_source *from, const struct program *p, struct arena *a,
                   struct params *out, struct err *e);

/* The same from the bytes of a combined file called `file`, which the tensors may point into
 * (*borrows tells). */
status params_read_combined(struct str bytes, const char *file, const struct program *p,
                            struct arena *a, struct params *out, bool *borrows, struct err *e);
