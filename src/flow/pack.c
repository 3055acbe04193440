#include "flow/pack.h"

#include <string.h>

#define TENSORS_MAX 4096

void pack_i64(struct buf *b, int64_t v)
{
    buf_append(b, &v, sizeof(v));
}

void pack_bytes(struct buf *b, const void *p, size_t n)
{
    pack_i64(b, (int64_t)n);
    if (n > 0)
        buf_append(b, p, n);
}

void pack_tensor(struct buf *b, const struct named_tensor *t)
{
    const struct tensor *x = &t->tensor;
    pack_bytes(b, t->name.p, t->name.n);
    pack_bytes(b, t->alias.p, t->alias.n);
    pack_i64(b, x->dtype);
    pack_bytes(b, x->shape.dim, (size_t)x->shape.rank * sizeof(int64_t));
    pack_i64(b, x->lod.levels);
    for (int l = 0; l < x->lod.levels; l++)
        pack_bytes(b, x->lod.level[l].offset, (size_t)x->lod.level[l].count * sizeof(int64_t));
    pack_bytes(b, x->data, (size_t)tensor_bytes(x));
}

bool unpack_i64(struct str *s, int64_t *out)
{
    return str_take(s, out, sizeof(*out));
}

bool unpack_bytes(struct str *s, struct arena *a, struct str *out)
{
    int64_t n;
    if (!unpack_i64(s, &n) || n < 0 || (uint64_t)n > s->n)
        return false;
    char *p = arena_try(a, (size_t)n + 1, 64);
    if (p == NULL)
        return false;
    p[n] = '\0';
    *out = (struct str){ p, (size_t)n };
    return str_take(s, p, (size_t)n);
}

static bool unpack_lod(struct str *s, struct arena *a, struct tensor *t)
{
    int64_t levels;
    if (!unpack_i64(s, &levels) || levels < 0 || levels > LOD_MAX)
        return false;
    t->lod.levels = (int32_t)levels;
    for (int l = 0; l < levels; l++) {
        struct str offsets;
        if (!unpack_bytes(s, a, &offsets) || offsets.n % sizeof(int64_t) != 0)
            return false;
        t->lod.level[l] = (struct lod_level){ (const int64_t *)(const void *)offsets.p,
                                              (int64_t)(offsets.n / sizeof(int64_t)) };
    }
    return true;
}

bool unpack_tensor(struct str *s, struct arena *a, struct named_tensor *out)
{
    struct str shape, data;
    struct tensor *t = &out->tensor;
    int64_t type;
    *out = (struct named_tensor){ 0 };
    if (!unpack_bytes(s, a, &out->name) || !unpack_bytes(s, a, &out->alias) ||
        !unpack_i64(s, &type) || !unpack_bytes(s, a, &shape) || !unpack_lod(s, a, t) ||
        !unpack_bytes(s, a, &data))
        return false;
    if (type < 0 || type > 64 || !dtype_valid((int)type) || shape.n > sizeof(t->shape.dim))
        return false;
    t->dtype = (dtype)type;
    t->shape.rank = (int32_t)(shape.n / sizeof(int64_t));
    memcpy(t->shape.dim, shape.p, (size_t)t->shape.rank * sizeof(int64_t));
    t->data = data.p;
    int64_t rows = t->shape.rank > 0 ? t->shape.dim[0] : 1;
    return tensor_bytes(t) == (int64_t)data.n &&
           (t->lod.levels == 0 || lod_check(&t->lod, rows, "", NULL) == OK);
}

bool unpack_tensors(struct str *s, int64_t count, struct arena *a, struct named_tensor **out)
{
    if (count < 0 || count > TENSORS_MAX)
        return false;
    struct named_tensor *t = arena_zalloc(a, ((size_t)count + 1) * sizeof(*t));
    *out = t;
    for (int64_t i = 0; i < count; i++)
        if (!unpack_tensor(s, a, &t[i]))
            return false;
    return true;
}
