#include "exec/plan.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
    const struct extent *x = *(struct extent *const *)a, *y = *(struct extent *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return (x->first > y->first) - (x->first < y->first);
}

static bool overlap_in_time(const struct extent *a, const struct extent *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset where x fits between the placed ones that live at the same time. `placed` is
 * kept in the order of offsets, so that one walk sees the gaps from low to high. */
static size_t lowest_gap(const struct extent *x, struct extent *const *placed, int count)
{
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        const struct extent *p = placed[i];
        if (!overlap_in_time(x, p))
            continue;
        if (p->offset >= at && p->offset - at >= x->bytes)
            break;
        if (p->offset + p->bytes > at)
            at = p->offset + p->bytes;
    }
    return at;
}

static void insert_by_offset(struct extent **placed, int count, struct extent *x)
{
    int i = count;
    while (i > 0 && placed[i - 1]->offset > x->offset) {
        placed[i] = placed[i - 1];
        i--;
    }
    placed[i] = x;
}

#define ALIGN_BYTES 64

size_t layout_extents(struct extent *e, int count, struct arena *scratch)
{
    size_t total = 0, sum = 0;
    struct extent **order = arena_try_array(scratch, (size_t)count + 1, sizeof(*order));
    struct extent **placed = arena_try_array(scratch, (size_t)count + 1, sizeof(*placed));
    if (order == NULL || placed == NULL)
        return SIZE_MAX;
    for (int i = 0; i < count; i++) {
        if (e[i].bytes > SIZE_MAX / 2 - ALIGN_BYTES)
            return SIZE_MAX;
        e[i].bytes = (e[i].bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
        if (__builtin_add_overflow(sum, e[i].bytes, &sum)) /* offsets never pass the sum of all */
            return SIZE_MAX;
        order[i] = &e[i];
    }
    qsort(order, (size_t)count, sizeof(*order), by_size);
    for (int i = 0; i < count; i++) {
        order[i]->offset = lowest_gap(order[i], placed, i);
        insert_by_offset(placed, i, order[i]);
        if (order[i]->offset + order[i]->bytes > total)
            total = order[i]->offset + order[i]->bytes;
    }
    return total;
}
