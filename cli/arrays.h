/* Named arrays on disk (.npz), and how their names meet those of a model.
 *
 * An input's array bears its name, its alias, or inN for the N-th input. The offsets of a ragged
 * one stand beside it as NAME.lod (level 0), NAME.lod1 and so on, or NAME_lod0, NAME_lod1. Outputs
 * are written under their aliases the same way. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/file.h"
#include "codec/npz.h"
#include "import/import.h"
#include "tensor/tensor.h"

struct arrays {
    const char *path; /* borrowed */
    struct file_map *map;
    struct npz npz; /* views of the map, and of the arena that it was opened with */
};

status arrays_open(const char *path, struct arena *a, struct arrays *out, struct err *e);
void arrays_close(struct arrays *f);

/* One tensor for each port, in their order. The words tell what is wanted and what the file has. */
status arrays_bind(const struct arrays *f, const struct port *ports, int count, struct arena *a,
                   struct tensor **out, struct err *e);

/* The array under this very name, its offsets hung on it; NOT_FOUND (without words) when it is not
 * there. */
status arrays_get(const struct arrays *f, struct str name, struct arena *a, struct tensor *out,
                  struct err *e);
/* Whether a name is that of another array's offsets. */
bool arrays_is_lod(const struct arrays *f, struct str name);
/* "in3" is 3; -1: no such name. */
int arrays_index(struct str name);

/* Writes tensors under their aliases, offsets beside them. An alias that comes twice gives way to
 * the name. */
status arrays_save(const char *path, const struct named_tensor *t, int count, struct err *e);
