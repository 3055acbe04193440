/* How an image lies in memory. Operators speak of NCHW; between kernels that like it better a plan keeps an image with its
 * channels in blocks, or last. Float images have any layout, those of other elements LAYOUT_PLAIN or LAYOUT_LAST. */
#pragma once

#include "tensor/shape.h"

#include <stdbool.h>
#include <stddef.h>

enum layout {
    LAYOUT_PLAIN, /* row-major in the order of the shape: the only one for what is not an image */
    LAYOUT_C8,    /* [N, C/8, H, W, 8]; channels behind the last one are zeros */
    LAYOUT_C16,   /* [N, C/16, H, W, 16], the same */
    LAYOUT_LAST,  /* [N, H, W, C] */
    /* Added to one of them: the floats, of whatever rank, are kept as bfloat16. Kernels are told the layout alone; a kernel
     * that wants it so says so in want, and gives it so where the caller says that readers do. */
    LAYOUT_NARROW,
};

static inline enum layout layout_wide(enum layout l)
{
    return (enum layout)((int)l & ~(int)LAYOUT_NARROW);
}

static inline enum layout layout_narrow(enum layout l)
{
    return (enum layout)((int)l | (int)LAYOUT_NARROW);
}

static inline bool layout_is_narrow(enum layout l)
{
    return ((int)l & (int)LAYOUT_NARROW) != 0;
}

/* The row-major shape that an array of this shape and layout really has. */
struct shape layout_shape(const struct shape *s, enum layout l);
/* Its bytes, of elements of `size` bytes; -1 where they overflow. */
int64_t layout_bytes(const struct shape *s, enum layout l, size_t size);
/* Channels of a block; 1 where the layout has none. */
int64_t layout_block(enum layout l);
/* Whether the same bytes serve as both. */
bool layout_same(const struct shape *s, enum layout a, enum layout b);

struct kernel;
/* The kernel that brings its input 0 from one layout into another. `state` must live as long as it runs. */
struct reorder {
    struct shape shape;
    enum layout from, to;
    size_t size; /* of an element: 1, 2 or 4 bytes */
};
extern const struct kernel layout_reorder;
