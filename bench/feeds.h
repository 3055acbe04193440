/* Made-up feeds for what measures inside the process: every open dimension but the first, and the rows of a ragged input, is
 * the length; integers are ids below 50 in the first input of a shape and zeros in the next ones; an input of one number for
 * each row is the length itself. */
#pragma once

#include "base/arena.h"
#include "exec/model.h"

#include <string.h>

static void feeds_fill(const struct tensor *t, void *data, int64_t length, bool ids)
{
    int64_t n = shape_numel(&t->shape), size = (int64_t)dtype_size(t->dtype);
    for (int64_t i = 0; i < n; i++) {
        int64_t number = t->shape.rank == 1 ? length : ids ? 1 + i * 7 % 49 : 0;
        switch (t->dtype) {
        case DTYPE_I64: ((int64_t *)data)[i] = number; break;
        case DTYPE_I32: ((int32_t *)data)[i] = (int32_t)number; break;
        case DTYPE_F32: ((float *)data)[i] = (float)(i * 37 % 101) / 101 - 0.5f; break;
        default: memset((char *)data + i * size, 0, (size_t)size);
        }
    }
}

static void feeds_make_one(const struct port *p, int64_t batch, int64_t length, bool ids,
                           struct arena *a, struct tensor *t)
{
    *t = (struct tensor){ .dtype = p->dtype, .shape = p->shape };
    for (int d = 0; d < t->shape.rank; d++)
        if (t->shape.dim[d] < 0 && p->lod_levels > 0)
            t->shape.dim[d] = d == 0 ? length : 1;
        else if (t->shape.dim[d] < 0)
            t->shape.dim[d] = d == 0 ? batch : length;
    void *data = arena_zalloc(a, (size_t)tensor_bytes(t) + 1);
    int64_t *offset = arena_zalloc(a, 2 * sizeof(*offset));
    offset[1] = length;
    feeds_fill(t, data, length, ids);
    t->data = data;
    t->lod.levels = p->lod_levels;
    for (int l = 0; l < p->lod_levels; l++)
        t->lod.level[l] = (struct lod_level){ offset, 2 };
}

static struct tensor *feeds_make(const struct model *m, int64_t batch, int64_t length,
                                 struct arena *a)
{
    int count;
    const struct port *port = model_inputs(m, &count);
    struct tensor *in = arena_zalloc(a, ((size_t)count + 1) * sizeof(*in));
    for (int i = 0; i < count; i++) {
        bool ids = true;
        for (int k = 0; k < i; k++)
            ids =
                ids && (port[k].dtype != port[i].dtype || port[k].shape.rank != port[i].shape.rank);
        feeds_make_one(&port[i], batch, length, ids, a, &in[i]);
    }
    return in;
}
