/* NumPy's files: .npz (a zip of .npy members, stored or deflated) and .npy (versions 1 to 3), read from mapped bytes and
 * written whole. Format: numpy.org/doc/stable/reference/generated/numpy.lib.format.html and PKWARE's APPNOTE (zip64 read).
 * Pickled (object) arrays are refused. Fortran order is turned to C order while reading. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "tensor/tensor.h"

struct npz_array {
    struct str name; /* without ".npy" */
    struct tensor tensor;
};

struct npz {
    struct npz_array *array;
    int count;
};

/* Arrays are views of `bytes` where they are stored and aligned, else copies in the arena. CRCs are checked. */
status npz_read(struct str bytes, const char *file, struct arena *a, struct npz *out,
                struct err *e);
status npy_read(struct str bytes, const char *file, struct arena *a, struct tensor *out,
                struct err *e);
const struct tensor *npz_find(const struct npz *z, struct str name); /* NULL: not there */

void npz_write(const struct npz_array *arrays, int count,
               struct buf *out); /* stored, as np.savez writes */
void npy_write(const struct tensor *t, struct buf *out);
