#include "flow/rows.h"

#include "base/mem.h"

#include <string.h>

#define ALIGN 64 /* what kernels like best */

int64_t rows_count(const struct tensor *t)
{
    if (t->lod.levels > 0)
        return t->lod.level[0].count - 1;
    return t->shape.rank > 0 ? t->shape.dim[0] : -1;
}

/* Bytes of one step along the first dimension. */
static size_t row_bytes(const struct tensor *t)
{
    size_t n = dtype_size(t->dtype);
    for (int d = 1; d < t->shape.rank; d++)
        n *= (size_t)t->shape.dim[d];
    return n;
}

/* ---- cutting ---- */

static struct lod_level slice_level(const struct lod_level *l, int64_t begin, int64_t end,
                                    struct arena *a)
{
    int64_t *o = arena_alloc(a, (size_t)(end - begin + 1) * sizeof(*o));
    for (int64_t i = begin; i <= end; i++)
        o[i - begin] = l->offset[i] - l->offset[begin];
    return (struct lod_level){ o, end - begin + 1 };
}

struct tensor rows_slice(const struct tensor *t, int64_t begin, int64_t end, struct arena *a)
{
    struct tensor out = *t;
    for (int l = 0; l < t->lod.levels; l++) {
        const struct lod_level *from = &t->lod.level[l];
        out.lod.level[l] = slice_level(from, begin, end, a);
        int64_t b = from->offset[begin];
        end = from->offset[end];
        begin = b;
    }
    out.shape.dim[0] = end - begin;
    out.data = (const uint8_t *)t->data + (size_t)begin * row_bytes(t);
    return out;
}

/* ---- joining ---- */

bool rows_joinable(const struct tensor *a, const struct tensor *b)
{
    if (a->dtype != b->dtype || a->shape.rank != b->shape.rank || a->shape.rank < 1 ||
        a->lod.levels != b->lod.levels)
        return false;
    for (int d = 1; d < a->shape.rank; d++)
        if (a->shape.dim[d] != b->shape.dim[d])
            return false;
    return true;
}

static bool join_level(const struct tensor *const *t, int count, int level, struct arena *a,
                       struct lod_level *out)
{
    int64_t total = 1, base = 0, at = 0;
    for (int i = 0; i < count; i++)
        total += t[i]->lod.level[level].count - 1;
    int64_t *o = arena_try_array(a, (size_t)total, sizeof(*o));
    if (o == NULL)
        return false;
    for (int i = 0; i < count; i++) {
        const struct lod_level *l = &t[i]->lod.level[level];
        for (int64_t k = 1; k < l->count; k++)
            o[++at] = base + l->offset[k];
        base += l->offset[l->count - 1];
    }
    *out = (struct lod_level){ o, total };
    return true;
}

status rows_join(const struct tensor *const *t, int count, struct arena *a, struct tensor *out)
{
    size_t row = row_bytes(t[0]), bytes;
    int64_t total = 0;
    *out = *t[0];
    for (int i = 0; i < count; i++)
        total += t[i]->shape.dim[0];
    if (!mem_mul(row, (size_t)total, &bytes))
        return NO_MEMORY;
    uint8_t *data = arena_try(a, bytes + 1, ALIGN);
    if (data == NULL)
        return NO_MEMORY;
    out->data = data;
    out->shape.dim[0] = total;
    for (int i = 0; i < count; i++) {
        size_t n = (size_t)t[i]->shape.dim[0] * row;
        if (n > 0)
            memcpy(data, t[i]->data, n);
        data += n;
    }
    for (int l = 0; l < out->lod.levels; l++)
        if (!join_level(t, count, l, a, &out->lod.level[l]))
            return NO_MEMORY;
    return OK;
}

/* ---- padding ---- */

/* t as `outer` blocks of shape.dim[axis] * inner bytes. */
struct blocks {
    size_t outer, inner;
};

static struct blocks blocks_of(const struct tensor *t, int axis)
{
    struct blocks b = { 1, dtype_size(t->dtype) };
    for (int d = 0; d < t->shape.rank; d++)
        *(d < axis ? &b.outer : &b.inner) *= d == axis ? 1 : (size_t)t->shape.dim[d];
    return b;
}

static uint8_t *resized(const struct tensor *t, int axis, int64_t length, struct blocks b,
                        struct arena *a, struct tensor *out)
{
    size_t bytes;
    if (!mem_mul(b.outer, b.inner, &bytes) || !mem_mul(bytes, (size_t)length, &bytes))
        return NULL;
    uint8_t *data = arena_try(a, bytes + 1, ALIGN);
    *out = *t;
    out->data = data;
    out->shape.dim[axis] = length;
    return data;
}

/* One element of the padding's value; false where the type is no number. */
static bool element_of(dtype d, double value, uint8_t *to)
{
    const float f = (float)value;
    const uint16_t h = f32_to_f16(f), b = f32_to_bf16(f);
    const int64_t i = (int64_t)value; /* little-endian: its first bytes are the narrower ones */
    switch (d) {
    case DTYPE_F32: memcpy(to, &f, sizeof(f)); return true;
    case DTYPE_F64: memcpy(to, &value, sizeof(value)); return true;
    case DTYPE_F16: memcpy(to, &h, sizeof(h)); return true;
    case DTYPE_BF16: memcpy(to, &b, sizeof(b)); return true;
    case DTYPE_I64:
    case DTYPE_U64:
    case DTYPE_U32:
    case DTYPE_U16:
    case DTYPE_I32:
    case DTYPE_I16:
    case DTYPE_I8:
    case DTYPE_U8:
    case DTYPE_BOOL: memcpy(to, &i, dtype_size(d)); return true;
    default: memset(to, 0, dtype_size(d)); return value == 0;
    }
}

static void fill(uint8_t *to, size_t bytes, const uint8_t *element, size_t size)
{
    for (size_t at = 0; at < bytes; at += size)
        memcpy(to + at, element, size);
}

status rows_pad(const struct tensor *t, const struct rows_pad *pad, struct arena *a,
                struct tensor *out)
{
    uint8_t element[16];
    struct blocks b = blocks_of(t, pad->axis);
    size_t had = (size_t)t->shape.dim[pad->axis] * b.inner, want = (size_t)pad->length * b.inner;
    if (!element_of(t->dtype, pad->value, element))
        return UNSUPPORTED;
    uint8_t *to = resized(t, pad->axis, pad->length, b, a, out);
    if (to == NULL)
        return NO_MEMORY;
    for (size_t i = 0; i < b.outer; i++, to += want) {
        memcpy(to, (const uint8_t *)t->data + i * had, had);
        fill(to + had, want - had, element, dtype_size(t->dtype));
    }
    return OK;
}

status rows_trim(const struct tensor *t, int axis, int64_t length, struct arena *a,
                 struct tensor *out)
{
    struct blocks b = blocks_of(t, axis);
    size_t had = (size_t)t->shape.dim[axis] * b.inner, want = (size_t)length * b.inner;
    uint8_t *to = resized(t, axis, length, b, a, out);
    if (to == NULL)
        return NO_MEMORY;
    for (size_t i = 0; i < b.outer; i++)
        memcpy(to + i * want, (const uint8_t *)t->data + i * had, want);
    return OK;
}

/* ---- copying ---- */

status rows_copy(const struct tensor *t, struct arena *a, struct tensor *out)
{
    int64_t bytes = tensor_bytes(t);
    void *data = bytes < 0 ? NULL : arena_try(a, (size_t)bytes + 1, 64);
    if (data == NULL)
        return NO_MEMORY;
    if (bytes > 0)
        memcpy(data, t->data, (size_t)bytes);
    *out = *t;
    out->data = data;
    for (int l = 0; l < t->lod.levels; l++) {
        const struct lod_level *from = &t->lod.level[l];
        int64_t *o = arena_try_array(a, (size_t)from->count, sizeof(*o));
        if (o == NULL)
            return NO_MEMORY;
        memcpy(o, from->offset, (size_t)from->count * sizeof(*o));
        out->lod.level[l].offset = o;
    }
    return OK;
}
