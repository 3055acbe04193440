#include "tensor/shape.h"

#include <stdio.h>

int64_t shape_numel(const struct shape *s)
{
    int64_t n = 1;
    bool empty = false;
    for (int i = 0; i < s->rank; i++) {
        empty = empty || s->dim[i] == 0;
        if (s->dim[i] < 0 || (s->dim[i] > 0 && __builtin_mul_overflow(n, s->dim[i], &n)))
            return -1;
    }
    return empty ? 0 : n;
}

int64_t shape_span(const struct shape *s, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++)
        n *= s->dim[i];
    return n;
}

bool shape_eq(const struct shape *a, const struct shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

bool shape_matches(const struct shape *s, const struct shape *pattern)
{
    if (s->rank != pattern->rank)
        return false;
    for (int i = 0; i < s->rank; i++)
        if (pattern->dim[i] >= 0 && s->dim[i] != pattern->dim[i])
            return false;
    return true;
}

int shape_axis(const struct shape *s, int64_t axis)
{
    if (axis < 0)
        axis += s->rank;
    return axis >= 0 && axis < s->rank ? (int)axis : -1;
}

bool shape_broadcast(const struct shape *a, const struct shape *b, struct shape *out)
{
    int rank = a->rank > b->rank ? a->rank : b->rank;
    struct shape r = { .rank = rank };
    for (int i = 1; i <= rank; i++) {
        int64_t x = i <= a->rank ? a->dim[a->rank - i] : 1;
        int64_t y = i <= b->rank ? b->dim[b->rank - i] : 1;
        if (x != y && x != 1 && y != 1)
            return false;
        r.dim[rank - i] = x == 1 ? y : x;
    }
    *out = r;
    return true;
}

const char *shape_text(const struct shape *s, char *out, size_t size)
{
    size_t n = 0;
    if (size == 0)
        return out;
    out[0] = '\0';
    for (int i = 0; i <= s->rank && n < size; i++) {
        int w = i == s->rank ? snprintf(out + n, size - n, "%s]", i == 0 ? "[" : "")
                             : snprintf(out + n, size - n, "%s%lld", i == 0 ? "[" : ", ",
                                        (long long)s->dim[i]);
        n += w > 0 ? (size_t)w : 0;
    }
    return out;
}
