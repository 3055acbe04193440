/* Lists whose lengths are not told beforehand: they double in an arena. */
#pragma once

#include "base/arena.h"

/* Room for one more zeroed element of `size` bytes in *(T **)list, counted in *count; the element, or NULL where memory is
 * out. */
void *pir_push(struct arena *a, void *list, int *count, size_t size);
