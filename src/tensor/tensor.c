#include "tensor/tensor.h"

int64_t tensor_bytes(const struct tensor *t)
{
    int64_t n = shape_numel(&t->shape), bytes;
    if (n < 0 || __builtin_mul_overflow(n, (int64_t)dtype_size(t->dtype), &bytes))
        return -1;
    return bytes;
}

static status level_check(const struct lod_level *l, int level, int64_t end, const char *what,
                          struct err *e)
{
    if (l->count < 1 || l->offset[0] != 0)
        return err_set(e, INVALID, "%s: LoD level %d must begin with 0, it %s", what, level,
                       l->count < 1 ? "is empty" : "does not");
    for (int64_t i = 1; i < l->count; i++)
        if (l->offset[i] < l->offset[i - 1])
            return err_set(
                e, INVALID, "%s: LoD level %d must rise, but offset %lld is %lld after %lld", what,
                level, (long long)i, (long long)l->offset[i], (long long)l->offset[i - 1]);
    if (l->offset[l->count - 1] != end)
        return err_set(e, INVALID, "%s: LoD level %d must end at %lld, it ends at %lld", what,
                       level, (long long)end, (long long)l->offset[l->count - 1]);
    return OK;
}

status lod_check(const struct lod *lod, int64_t rows, const char *what, struct err *e)
{
    int64_t end = rows;
    for (int i = lod->levels;
         i-- > 0;) { /* inside out: a level's count is trusted once it is checked */
        TRY(level_check(&lod->level[i], i, end, what, e));
        end = lod->level[i].count - 1;
    }
    return OK;
}

bool tensor_is_aligned(const struct tensor *t)
{
    size_t element = dtype_size(t->dtype) > 8 ? 8 : dtype_size(t->dtype);
    return element == 0 || (uintptr_t)t->data % element == 0;
}
